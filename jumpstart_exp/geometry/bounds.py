"""Bounds on gradients of earlier layers, known before they are computed, and where backpropagation may stop.

Source: Geometry, section 5.3, equations 14 and 15, figure 17. They hold for any activation of one output a unit: the
paper's σ_γ' at the entry of v nearest to 0 is the greatest absolute value of the derivative.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from jumpstart_exp.geometry.gradients import (
    Backpropagation,
    Classes,
    Loss,
    backpropagation,
    cross_entropy,
    row_norms,
)
from jumpstart_exp.geometry.layered import LayeredNetwork, Nonlinearity, identity
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.settings import SettingError, setting_error

ROUNDING, SMALLEST = 1e-12, 1e-290
"""Each bound is so much larger, relatively, than computed: more than float64 loses. So no computed gradient is above
its bound, as long as it is not below `SMALLEST`, where float64 begins to lose digits."""

NORMS = ("maximum", "frobenius")
"""What is bounded: max |∂f/∂A_k| = ‖x‖∞‖y‖∞ or ‖∂f/∂A_k‖_F = ‖x‖₂‖y‖₂."""


def two_norm_bounds(mask: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both bounds on ‖y_{k−1}‖₂, (points,) (equation 14).

    Args:
        mask: ν_{k−1}'(v_{k−1}), (points, inputs of layer k).
        weight: A_k, (outputs, inputs).
        y: ∂f/∂v_k, (points, outputs).

    Returns:
        max |mask| · ‖A_kᵀ y_k‖₂, and the looser max |mask| · σ_max(A_k) · ‖y_k‖₂.
    """
    greatest = mask.abs().amax(1) * (1 + ROUNDING)
    return greatest * row_norms(y @ weight)[1], greatest * _largest_singular_value(weight) * row_norms(y)[1]


def maximum_norm_bounds(mask: Tensor, weight: Tensor, y_norm: Tensor) -> tuple[Tensor, Tensor]:
    """Both bounds on ‖y_{k−1}‖∞, (points,) (equation 15).

    z_k = A_kᵀ y_k: the [A_k]_i of the paper are the columns of A_k.

    Args:
        mask: ν_{k−1}'(v_{k−1}), (points, inputs of layer k).
        weight: A_k, (outputs, inputs).
        y_norm: ‖∂f/∂v_k‖₂ or a bound on it, (points,).

    Returns:
        max_i |mask_i| ‖[A_k]_i‖₂ · ‖y_k‖₂, and the looser max |mask| · max_i ‖[A_k]_i‖₂ · ‖y_k‖₂.
    """
    columns, y_norm = weight.norm(dim=0), y_norm * (1 + ROUNDING)
    return (mask.abs() * columns).amax(1) * y_norm, mask.abs().amax(1) * columns.amax() * y_norm


def gradient_bounds(network: LayeredNetwork, passed: Backpropagation, known: int, norm: str = "frobenius") -> Tensor:
    """Bounds on the gradients of all layers before one whose y is known, (known − 1, points), layer 1 first.

    From y_k the second bound of equation 14 goes down layer by layer; for `maximum` the first of equation 15 is the
    last step. A row bounds the gradient by the weights and that by the biases: it is max(‖x_{k−1}‖, 1) ‖y_k‖.

    Args:
        network: whose pass it is.
        passed: the pass; of its backward part only y of the known layer is used.
        known: the layer, from 1.
        norm: `frobenius` bounds ‖∂f/∂A_k‖_F and ‖∂f/∂b_k‖₂; `maximum` max |∂f/∂A_k| and max |∂f/∂b_k|.

    Raises:
        SettingError: there is no such layer or norm.
    """
    if not 1 <= known <= len(passed.y):
        raise setting_error("known", known, f"a layer from 1 to {len(passed.y)}")
    which = _which(norm)
    weights = [weight.detach() for weight in network.weights]
    reached = row_norms(passed.y[known - 1])[1]
    bounds: list[Tensor] = []
    for layer in range(known - 1, 0, -1):  # from y of layer + 1 to y of layer
        mask, weight = passed.masks[layer - 1], weights[layer]
        largest = maximum_norm_bounds(mask, weight, reached)[0]
        reached = mask.abs().amax(1) * _largest_singular_value(weight) * reached * (1 + ROUNDING)
        of_y = (largest, reached)[which]
        bounds.append(_of_inputs(passed, layer, which) * of_y * (1 + ROUNDING))
    return torch.stack(bounds[::-1]) if bounds else torch.empty(0, len(reached), dtype=reached.dtype)


def gradient_sizes(passed: Backpropagation, norm: str = "frobenius") -> Tensor:
    """What `gradient_bounds` bounds, computed: max(‖x_{k−1}‖, 1) ‖y_k‖, (layers, points)."""
    which = _which(norm)
    return torch.stack([_of_inputs(passed, layer, which) * row_norms(y)[which] for layer, y in enumerate(passed.y, 1)])


@dataclass(frozen=True, eq=False)
class PartialBackpropagation:
    """How far each point is propagated back, and what that leaves out.

    Attributes:
        reached: the least layer, from 1, of which y is computed, (points,).
        thresholds: of layers 1, 2, … but the last.
        bounds: given y of the last layer, of all others, (layers − 1, points), layer 1 first.
        sizes: what they bound, of all layers, (layers, points).
    """

    reached: Tensor
    thresholds: tuple[float, ...]
    bounds: Tensor
    sizes: Tensor

    def frame(self) -> pd.DataFrame:
        """A row a layer but the last.

        `layer` from 1; `threshold`; `share` of the points that reach it, in [0, 1]; `lost`: the part of the layer's
        gradient, summed over all points, at those that do not, NaN of none; `largest_left_out`: the greatest gradient
        among them, below the threshold, 0 of none; `tightness`: the median over the points of gradient / bound given y
        of the last layer, at most 1; NaN where every bound is below `SMALLEST`.
        """
        rows = []
        for layer, threshold in enumerate(self.thresholds, 1):
            size, bound, stopped = self.sizes[layer - 1], self.bounds[layer - 1], self.reached > layer
            total = float(size.sum())
            is_bounded = bound > SMALLEST
            rows.append(
                {
                    "layer": layer,
                    "threshold": threshold,
                    "share": 1 - float(stopped.double().mean()),
                    "lost": float(size[stopped].sum()) / total if total > 0 else np.nan,
                    "largest_left_out": float(size[stopped].max()) if stopped.any() else 0.0,
                    "tightness": float((size / bound)[is_bounded].median()) if is_bounded.any() else np.nan,
                }
            )
        return pd.DataFrame(rows)


def partial_backpropagation(
    network: LayeredNetwork,
    points: Tensor,
    classes: Classes,
    thresholds: Sequence[float],
    norm: str = "frobenius",
    loss: Loss = cross_entropy,
) -> PartialBackpropagation:
    """Where backpropagation stops if it stops as soon as every earlier gradient is known to be small (figure 17).

    Args:
        network: of two or more layers.
        points: (points, inputs).
        classes: of the points, or a function of them.
        thresholds: of layers 1, 2, … but the last: a point stops where the bound of every earlier layer is below its.
            The paper has 0.05 for layer 1 and 0.01 for layer 2.
        norm: what is bounded, as in `gradient_bounds`.
        loss: another loss than the cross entropy.

    Raises:
        SettingError: there is no such norm, a threshold is missing or below 0, or a unit has several outputs.
    """
    last = len(network.weights)
    if len(thresholds) != last - 1 or not all(threshold >= 0 for threshold in thresholds):
        raise setting_error(
            "thresholds", tuple(thresholds), f"{last - 1} numbers of at least 0, one a layer but the last"
        )
    passed = backpropagation(network, points, classes, loss)
    limits = torch.tensor(list(thresholds), dtype=torch.float64)[:, None]
    reached = torch.full((len(points),), last)
    for known in range(last, 1, -1):
        bounds = gradient_bounds(network, passed, known, norm)
        is_small = (bounds < limits[: known - 1]).all(0)
        reached[(reached == known) & ~is_small] = known - 1
    return PartialBackpropagation(
        reached, tuple(thresholds), gradient_bounds(network, passed, last, norm), gradient_sizes(passed, norm)
    )


def layers_of(model: nn.Module) -> LayeredNetwork:
    """A multilayer perceptron of ours as the paper writes networks, in float64; its outputs are logits.

    Raises:
        SettingError: it is another model, or has more than affine maps and activations of one output a unit.
    """
    if not isinstance(model, RectangularMLP):
        raise setting_error("model", type(model).__name__, "a RectangularMLP")
    for what, is_there in {
        "convolutions": model.is_conv,
        "norms": bool(model.norms),
        "skips": any(place is not None for place in model.places),
        "Farkas layers": any(not isinstance(layer, nn.Linear) for layer in model.hidden),
        "units of two outputs": model.activation.outputs != 1,
    }.items():
        if is_there:
            raise SettingError(f"the network has {what}: equation 1 has only affine maps and activations of one output")
    layers = []
    for number, layer in enumerate([*model.hidden, model.output]):
        assert isinstance(layer, nn.Linear)
        weight = layer.weight.detach().double().cpu()
        offset = torch.zeros(len(weight)) if layer.bias is None else -layer.bias.detach().double().cpu()
        is_last = number == len(model.hidden)
        nonlinearity = (
            identity()
            if is_last
            else Nonlinearity(model.activation, float(torch.as_tensor(model.number_of(number)).detach()))
        )
        layers.append((weight, offset, nonlinearity))
    return LayeredNetwork(layers)


def _which(norm: str) -> int:
    """The number of a norm among `NORMS`, which are those of `row_norms`."""
    if norm not in NORMS:
        raise setting_error("norm", norm, f"one of {', '.join(NORMS)}")
    return NORMS.index(norm)


def _of_inputs(passed: Backpropagation, layer: int, which: int) -> Tensor:
    """max(‖x_{k−1}‖, 1), (points,): the 1 is for the biases."""
    return row_norms(passed.inputs[layer - 1])[which].clamp_min(1)


def _largest_singular_value(weight: Tensor) -> Tensor:
    found: Tensor = torch.linalg.matrix_norm(weight.detach(), 2)
    return found
