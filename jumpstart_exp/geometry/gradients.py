"""The gradient of each point's loss by the weights of each layer, as a field over the inputs.

Source: Geometry, section 4.2, equations 9 and 10, figures 11 and 12.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from jumpstart_exp.geometry.layered import LayeredNetwork
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.recording import Affine, Recording, evaluating, in_float64, parameter_names, record
from jumpstart_exp.settings import SettingError, setting_error

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs (points, outputs), classes (points, …)) → a loss a point, (points,)."""

Classes = Tensor | Callable[[Tensor], Tensor]
"""The class of each point, (points,), or a function of the inputs (points, …) that gives them."""

_CHUNK_BYTES, _MOST_POINTS = 2**25, 2**13
"""What a forward pass of one part of the points may record: it stays near the processor."""

_CHECKED_POINTS = 4

QUANTITIES = ("maximum", "frobenius", "bias_maximum", "bias_norm")
"""What a field has of each layer and point."""


def cross_entropy(outputs: Tensor, classes: Tensor) -> Tensor:
    """−log p of each point's class, (points,), of logits (points, outputs).

    One logit is the log-odds of class 1 among two classes; several are what a softmax is given.
    """
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], classes.to(outputs.dtype), reduction="none")
    return F.cross_entropy(outputs, classes, reduction="none")


@dataclass(frozen=True, eq=False, repr=False)
class GradientField:
    """The size of ∂f/∂A_k and of ∂f/∂b_k, f the loss of one point, at every point and of every layer.

    A layer is a matrix of weights or a convolution's kernel; layers stand in the order of their computation. All arrays
    are in float64.

    Attributes:
        layers: the weights' names.
        coordinates: (points, 2) in the plane, or None for points that were given as they are.
        maximum: max |∂f/∂A_k|, (layers, points).
        frobenius: ‖∂f/∂A_k‖_F, (layers, points).
        bias_maximum: max |∂f/∂b_k|, (layers, points); NaN for a layer whose map itself adds no biases.
        bias_norm: ‖∂f/∂b_k‖₂, (layers, points); NaN likewise.
        losses: f, (points,).
        outputs: of the model, (points, outputs).
        shape: (down, across) of a plane's grid, row by row from the lowest v; None for points given as they are.
    """

    layers: tuple[str, ...]
    coordinates: Tensor | None
    maximum: Tensor
    frobenius: Tensor
    bias_maximum: Tensor
    bias_norm: Tensor
    losses: Tensor
    outputs: Tensor
    shape: tuple[int, int] | None

    def __repr__(self) -> str:
        return f"<GradientField: {len(self.layers)} layers, {self.maximum.shape[1]} points; .localisation(), .frame()>"

    def frame(self) -> pd.DataFrame:
        """A row a layer and point: `layer` from 1, `weight`, `u` and `v` or else `point`, and the four sizes."""
        count, points = self.maximum.shape
        place: dict[str, Any] = (
            {"point": np.tile(np.arange(points), count)}
            if self.coordinates is None
            else {name: np.tile(self.coordinates[:, axis].numpy(), count) for axis, name in enumerate("uv")}
        )
        layers = {"layer": np.repeat(np.arange(1, count + 1), points), "weight": np.repeat(self.layers, points)}
        return pd.DataFrame(layers | place | {name: getattr(self, name).numpy().ravel() for name in QUANTITIES})

    def localisation(self, share: float = 0.9, of: str = "maximum") -> pd.DataFrame:
        """How much of the plane has most of the gradient, a row a layer.

        Args:
            share: of the sum of the quantity over all points, above 0 and at most 1.
            of: the quantity, one of `QUANTITIES`.

        Returns:
            `layer` from 1, `weight`, `localisation`: the least fraction of the points, all of which stand for equal
            areas, that has this share; NaN where the gradient is 0 everywhere or not finite; and the quantity's
            `maximum` and `mean` over the points.

        Raises:
            SettingError: there is no such share or quantity.
        """
        if not 0 < share <= 1:
            raise setting_error("share", share, "a number above 0 and at most 1")
        if of not in QUANTITIES:
            raise setting_error("of", of, f"one of {', '.join(QUANTITIES)}")
        values: Tensor = getattr(self, of)
        summed = values.sort(1, descending=True).values.cumsum(1)
        total = summed[:, -1:]
        needed = 1 + (summed < share * total).sum(1)
        is_defined = (total[:, 0] > 0) & total[:, 0].isfinite()
        part = torch.where(is_defined, needed.double() / values.shape[1], torch.nan)
        return pd.DataFrame(
            {
                "layer": np.arange(1, len(self.layers) + 1),
                "weight": self.layers,
                "localisation": part.numpy(),
                "maximum": values.amax(1).numpy(),
                "mean": values.mean(1).numpy(),
            }
        )


def gradient_field(
    model: nn.Module,
    where: Plane | Tensor,
    classes: Classes,
    *,
    across: int = 200,
    loss: Loss = cross_entropy,
) -> GradientField:
    """The field of a model's gradients, in evaluation mode and float64 (equation 10, figure 12).

    The model itself stays as it is. Each weight has to be seen by `torch.nn.functional.linear` or a convolution; one
    that is used more than once, or at several positions of a point, is differentiated point by point, which is slower.

    Args:
        model: any torch model of logits, one row a point; of several outputs the first counts.
        where: a plane, or inputs (points, …).
        classes: of the points, or of a plane's grid; or a function of the inputs.
        across: points of a plane's grid each way.
        loss: another loss than the cross entropy.

    Raises:
        SettingError: a matrix of parameters is not seen, the loss or the outputs of a point depend on other points, or
            classes do not fit the outputs.
        TypeError: the model gives no tensor with a row a point.
    """
    coordinates, points, shape = _points(where, across)
    model = in_float64(model)
    for parameter in model.parameters():
        parameter.requires_grad_()
    given = classes_of(points, classes)
    with torch.enable_grad():
        per_point = _check(model, points, given, loss)
        layers = _layers_seen(model, record(model, points[:1]).affine)
        chunk = max(1, min(_MOST_POINTS, _CHUNK_BYTES // (8 * max(1, per_point))))
        sizes = torch.empty(len(QUANTITIES), len(layers), len(points), dtype=torch.float64)
        parts = []
        for at in range(0, len(points), chunk):
            part = slice(at, at + chunk)
            parts.append(_write_chunk(model, points[part], given[part], loss, layers, sizes[..., part]))
    losses, outputs = (torch.cat(each) for each in zip(*parts, strict=True))
    of_quantity = dict(zip(QUANTITIES, sizes, strict=True))
    return GradientField(tuple(layers), coordinates, losses=losses, outputs=outputs, shape=shape, **of_quantity)


def classes_of(points: Tensor, classes: Classes) -> Tensor:
    """The classes (points, …) of inputs (points, …).

    Raises:
        SettingError: there are more or fewer than points.
    """
    found = classes if isinstance(classes, Tensor) else classes(points)
    if found.dim() == 0 or len(found) != len(points):
        raise setting_error("classes", tuple(found.shape), f"one for each of the {len(points)} points")
    return found.detach().cpu()


def per_sample_gradients(
    model: nn.Module, names: Sequence[str], points: Tensor, classes: Tensor, loss: Loss = cross_entropy
) -> Mapping[str, Tensor]:
    """∂f/∂parameter of each point's loss, (points, *shape of the parameter), by the parameters' names.

    Raises:
        SettingError: the model cannot be differentiated for one point at a time.
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    chosen = {name: parameters[name] for name in names}

    def of_one(chosen: dict[str, Tensor], point: Tensor, label: Tensor) -> Tensor:
        found = torch.func.functional_call(model, {**parameters, **chosen}, (point[None],))
        outputs = found[0] if isinstance(found, tuple | list) else found
        return loss(outputs.reshape(1, -1), label[None]).sum()

    try:
        with evaluating(model):
            gradients: dict[str, Tensor] = torch.func.vmap(torch.func.grad(of_one), (None, 0, 0))(
                chosen, points, classes
            )
    except RuntimeError as error:
        raise SettingError(
            f"the gradient by {', '.join(names)} cannot be taken point by point: {str(error).splitlines()[0]}"
        ) from error
    return gradients


def row_norms(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest absolute value and 2-norm of each of (points, numbers), whose squares may be too small for float64."""
    # along the first axis torch is fast
    columns = torch.abs(rows.T, out=torch.empty(rows.T.shape, dtype=rows.dtype))
    largest = columns.amax(0)
    divisor = largest.clamp_min(torch.finfo(rows.dtype).tiny)
    return largest, columns.div_(divisor).square_().sum(0).sqrt_().mul_(divisor)


def _points(where: Plane | Tensor, across: int) -> tuple[Tensor | None, Tensor, tuple[int, int] | None]:
    if isinstance(where, Plane):
        if across < 1:
            raise setting_error("across", across, "an integer of at least 1")
        grid = where.grid(across)
        return grid, where.inputs(grid), (across, across)
    if where.dim() == 0 or len(where) == 0:
        raise setting_error("points", tuple(where.shape), "at least one point, (points, …)")
    return None, where.detach().double().cpu(), None


def _entering(points: Tensor) -> Tensor:
    return points.clone().requires_grad_()


def _check(model: nn.Module, points: Tensor, classes: Tensor, loss: Loss) -> int:
    """How many numbers a forward pass records for a point, once a few points alone gave what they give together."""
    chosen = torch.linspace(0, len(points) - 1, min(_CHECKED_POINTS, len(points))).long()
    found = record(model, points[chosen])
    if loss is cross_entropy:
        _check_classes(classes, found.outputs.shape[1])
    losses = loss(found.outputs, classes[chosen])
    if losses.shape != (len(chosen),):
        raise setting_error("loss", tuple(losses.shape), f"a number for each of {len(chosen)} points")
    for number, one in enumerate(chosen.tolist()):
        alone = record(model, points[one : one + 1]).outputs
        itself = loss(alone, classes[one : one + 1])
        for what, apart, together in (("output", alone[0], found.outputs[number]), ("loss", itself[0], losses[number])):
            if not torch.allclose(apart, together, rtol=1e-6, atol=1e-9, equal_nan=True):
                raise SettingError(f"the {what} of point {one} depends on the other points: it has no gradient alone")
    recorded = sum(each.inputs.numel() + each.outputs.numel() for each in found.affine) // len(chosen)
    is_simple = all(each.inputs.dim() == 2 for each in found.affine)
    return recorded + (0 if is_simple else sum(parameter.numel() for parameter in model.parameters()))


def _check_classes(classes: Tensor, outputs: int) -> None:
    most = max(outputs, 2) - 1
    is_whole = not (classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool)
    if classes.dim() != 1 or not is_whole:
        raise setting_error("classes", f"{classes.dtype} {tuple(classes.shape)}", "integers (points,)")
    if classes.min() < 0 or classes.max() > most:
        wrong = classes[(classes < 0) | (classes > most)][0]
        raise setting_error("classes", int(wrong), f"from 0 to {most} for {outputs} outputs")


def _layers_seen(model: nn.Module, seen: Sequence[Affine]) -> dict[str, list[int]]:
    """The weights that are seen, by name, each with the numbers of its affine maps.

    Raises:
        SettingError: a parameter of two or more axes is not among them, or there are none.
    """
    known = parameter_names(model)
    uses: dict[str, list[int]] = {}
    for number, affine in enumerate(seen):
        if id(affine.weight) in known:
            uses.setdefault(known[id(affine.weight)], []).append(number)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and name not in uses:
            raise SettingError(
                f"parameter {name} of shape {tuple(parameter.shape)} is not seen: a matrix of parameters has to be the "
                "weight of torch.nn.functional.linear or of a convolution that is given a row a point"
            )
    if not uses:
        raise SettingError("the model has no parameter that is the weight of a linear map or of a convolution")
    return uses


def _write_chunk(
    model: nn.Module,
    points: Tensor,
    classes: Tensor,
    loss: Loss,
    layers: Mapping[str, Sequence[int]],
    sizes: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sizes into (4, layers, points); losses (points,) and outputs (points, outputs)."""
    found = record(model, _entering(points))
    if _layers_seen(model, found.affine) != layers:
        raise SettingError("the model computes other layers for some points than for others")
    losses = loss(found.outputs, classes)
    numbers = [number for uses in layers.values() for number in uses]
    weights = [found.affine[uses[0]].weight for uses in layers.values()]
    arrived, by_weight = _backward(losses.sum(), found, numbers, weights)
    unread = []
    with torch.no_grad():
        for layer, (name, uses) in enumerate(layers.items()):
            affines, gradients = [found.affine[number] for number in uses], [arrived[number] for number in uses]
            of_bias = _bias_gradient(affines, gradients)
            sizes[2, layer], sizes[3, layer] = norms = row_norms(of_bias)
            if not _is_whole(affines, gradients, by_weight[layer]):
                unread.append((layer, name))
            else:
                for size, of_inputs, of_outputs in zip(
                    sizes[:2, layer], row_norms(affines[0].inputs), norms, strict=True
                ):
                    torch.mul(of_inputs, of_outputs, out=size)
            if any(affine.bias is None for affine in affines):
                sizes[2:, layer] = torch.nan
    if unread:
        slow = per_sample_gradients(model, [name for _, name in unread], points, classes, loss)
        for layer, name in unread:
            sizes[0, layer], sizes[1, layer] = row_norms(slow[name].flatten(1))
    return losses.detach(), found.outputs.detach()


def _backward(
    total: Tensor, found: Recording, numbers: Sequence[int], weights: Sequence[Tensor]
) -> tuple[dict[int, Tensor], list[Tensor]]:
    """Gradients of the outputs of affine maps, by their numbers, and of weights; 0 where the loss does not see them."""
    edges: list[GradientEdge] = []
    for number in numbers:
        edge = found.affine[number].edge
        assert edge is not None  # the inputs have gradients
        edges.append(edge)
    wanted: Any = [*edges, *weights]  # torch's types know the ones or the others
    gradients = torch.autograd.grad(total, wanted, allow_unused=True)
    tensors = [*(found.affine[number].outputs for number in numbers), *weights]
    full = [torch.zeros_like(at) if one is None else one for one, at in zip(gradients, tensors, strict=True)]
    return dict(zip(numbers, full[: len(numbers)], strict=True)), full[len(numbers) :]


def _is_whole(affines: Sequence[Affine], arrived: Sequence[Tensor], by_weight: Tensor) -> bool:
    """Whether Σ y xᵀ of one affine map is the gradient by its weight, so that y xᵀ is that of each point.

    Otherwise the weight has more uses, seen or not, or a point has several positions.
    """
    x, y = affines[0].inputs, arrived[0]
    if len(affines) > 1 or x.dim() > 2:
        return False
    slack = torch.finfo(x.dtype).eps ** 0.5 * float(x.norm() * y.norm())
    return torch.allclose(y.T @ x, by_weight, rtol=0, atol=slack, equal_nan=True)


def _bias_gradient(affines: Sequence[Affine], arrived: Sequence[Tensor]) -> Tensor:
    """The gradient by the bias as it is added to the outputs, (points, outputs)."""
    found = []
    for affine, gradient in zip(affines, arrived, strict=True):
        axis = -1 if affine.function == "linear" else 1
        found.append(gradient.movedim(axis, 1).flatten(2).sum(2) if gradient.dim() > 2 else gradient)
    return sum(found[1:], found[0])


@dataclass(frozen=True, eq=False)
class Backpropagation:
    """Every part of the forward and the backward pass of a network (equation 9); lists begin with layer 1.

    Attributes:
        inputs: x_{k−1}, (points, inputs of layer k); the last layer's output is `outputs`.
        pre: v_k = A_k x_{k−1} − b_k, (points, units).
        masks: ν_k'(v_k), (points, units).
        z: ∂f/∂x_k = A_{k+1}ᵀ y_{k+1}, (points, units); of the last layer the gradient of the loss.
        y: ∂f/∂v_k = ν_k'(v_k) · z, (points, units).
        outputs: x_n, (points, outputs).
        losses: f, (points,).
    """

    inputs: tuple[Tensor, ...]
    pre: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    z: tuple[Tensor, ...]
    y: tuple[Tensor, ...]
    outputs: Tensor
    losses: Tensor

    def weight_gradient(self, layer: int) -> Tensor:
        """∂f/∂A_k = y_k x_{k−1}ᵀ, (points, outputs, inputs), of a layer counted from 1 (equation 10)."""
        return self.y[layer - 1][:, :, None] * self.inputs[layer - 1][:, None, :]

    def bias_gradient(self, layer: int) -> Tensor:
        """∂f/∂b_k = −y_k, (points, outputs), of a layer counted from 1 (equation 10)."""
        return -self.y[layer - 1]


def backpropagation(
    network: LayeredNetwork, points: Tensor, classes: Classes, loss: Loss = cross_entropy
) -> Backpropagation:
    """Forward and backward pass of points (points, inputs) as the paper multiplies them out (equation 9).

    Raises:
        SettingError: a unit has several outputs (crelu), or classes do not fit.
    """
    given = classes_of(points, classes)
    x = points.detach().double()
    inputs, pre, masks = [], [], []
    with torch.no_grad():
        for weight, offset, nonlinearity in _layers(network):
            if nonlinearity.activation.outputs != 1:
                raise setting_error("outputs of a unit", nonlinearity.activation.outputs, "1 in equation 9")
            inputs.append(x)
            pre.append(F.linear(x, weight, -offset))
            masks.append(nonlinearity.derivative(pre[-1]))
            x = nonlinearity.value(pre[-1])
    outputs = x.detach().requires_grad_()
    if loss is cross_entropy:
        _check_classes(given, outputs.shape[1])
    with torch.enable_grad():
        losses = loss(outputs, given)
        (gradient,) = torch.autograd.grad(losses.sum(), outputs)
    z, y = [gradient], [masks[-1] * gradient]
    with torch.no_grad():
        for (weight, *_), mask in zip(_layers(network)[:0:-1], masks[-2::-1], strict=True):
            z.append(y[-1] @ weight)
            y.append(mask * z[-1])
    return Backpropagation(
        inputs=tuple(inputs),
        pre=tuple(pre),
        masks=tuple(masks),
        z=tuple(z[::-1]),
        y=tuple(y[::-1]),
        outputs=outputs.detach(),
        losses=losses.detach(),
    )


def _layers(network: LayeredNetwork) -> list[tuple[Tensor, Tensor, Any]]:
    return list(zip(network.weights, network.offsets, network.nonlinearities, strict=True))
