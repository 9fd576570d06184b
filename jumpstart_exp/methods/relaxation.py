"""Relaxed activation identity: hidden values of every training point, trained beside the network's parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.late import LateModule
from jumpstart_exp.methods.interface import Batch
from jumpstart_exp.networks.activations import activation_of
from jumpstart_exp.randomness import Stream, random_bits
from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.rai import RaiSpec

if TYPE_CHECKING:
    from scipy import special
else:
    special = LateModule("scipy.special")

OUTPUT = "z.output"
"""Name of the outputs' relaxed values; those of hidden layer l, counted from 0, are `z.l`."""

CLAMP = 1e-6
"""δ: within (δ, 1 − δ) the entropy of relaxed values is as it is defined, beyond it goes on along its tangents."""


def relaxed_shapes(cell: Cell) -> dict[str, tuple[int, int]]:
    """(training points, units) of all relaxed values by name, in the order in which checkpoints keep them."""
    points = cell.dataset.sizes()[0]
    match cell.rai.relax:
        case "activation":
            each = activation_of(cell.network).outputs
        case "pre_activation":
            each = 1
        case other:
            raise setting_error("rai.relax", other, "activation or pre_activation")
    shapes = {f"z.{layer}": (points, each * cell.widths[layer]) for layer in cell.relaxed_layers}
    if cell.rai_weight and cell.rai.include_output:
        shapes[OUTPUT] = (points, cell.dataset.outputs)
    return shapes


class HiddenLoss:
    """The loss between relaxed values and what the layer makes of its input, means over points (equation 4)."""

    def __init__(self, spec: RaiSpec) -> None:
        self.spec = spec

    def of_layer(self, z: Tensor, pre: Tensor, out: Tensor) -> Tensor:
        """Of a hidden layer: (…,) of relaxed values, pre-activations and outputs (…, points, units)."""
        match self.spec.relax, self.spec.loss:
            case "activation", "squared":
                return self._reduced((z - out).square())
            case "pre_activation", "squared":
                return self._reduced((z - pre).square())
            case "activation", "cross_entropy":
                return self._reduced(_cross_entropy(z, pre, out))
            case "pre_activation", "cross_entropy":
                return self._reduced(_divergence(z, pre))
            case relax, loss:
                raise setting_error("rai.loss", loss, f"squared or cross_entropy for rai.relax={relax}")

    def of_outputs(self, z: Tensor, outputs: Tensor) -> Tensor:
        """Of the network's outputs: (…,) of two tensors (…, points, outputs)."""
        match self.spec.loss:
            case "squared":
                return self._reduced((z - outputs).square())
            case "cross_entropy":
                return self._reduced(_divergence(z, outputs))
            case other:
                raise setting_error("rai.loss", other, "squared or cross_entropy")

    def _reduced(self, losses: Tensor) -> Tensor:
        match self.spec.reduce:
            case "sum":
                return losses.sum(-1).mean(-1)
            case "mean":
                return losses.mean((-2, -1))
            case other:
                raise setting_error("rai.reduce", other, "sum or mean")


class RelaxedPass:
    """A pass through the network in which relaxed layers hand on their z; it notes the hidden losses on the way.

    Args:
        relaxation: of the cell.
        parameters: z by name.
    """

    def __init__(self, relaxation: "Relaxation", parameters: Mapping[str, Tensor]) -> None:
        self.of, self.parameters = relaxation, parameters
        self.losses: list[Tensor] = []

    def __call__(self, layer: int, pre: Tensor, activate: Callable[[Tensor], Tensor]) -> Tensor:
        """What the layer hands on, as `networks.rectangular.Relay` has it."""
        out = activate(pre)
        if layer not in self.of.layers:
            return out
        z = self.parameters[f"z.{layer}"]
        self.losses.append(self.of.hidden_loss.of_layer(z, pre, out))
        match self.of.spec.relax:
            case "activation":
                return z
            case "pre_activation":
                return activate(z)
            case other:
                raise setting_error("rai.relax", other, "activation or pre_activation")

    def judged(self, outputs: Tensor) -> Tensor:
        """What the task's loss is of, given the outputs of the pass: their z where they are relaxed, too."""
        if OUTPUT not in self.parameters:
            return outputs
        z = self.parameters[OUTPUT]
        self.losses.append(self.of.hidden_loss.of_outputs(z, outputs))
        return z


class Relaxation:
    """Relaxed activation identity (Mertens, equations 2 to 4) as a term of the loss, with z as its parameters."""

    needs_pre_activations: ClassVar[bool] = True

    def __init__(self, cell: Cell) -> None:
        self.spec = cell.rai
        self.hidden_loss = HiddenLoss(cell.rai)
        self.layers = frozenset(cell.relaxed_layers)
        self.activation = activation_of(cell.network)
        self.number = self.activation.number(cell.network, cell.depth)
        self.weights: Mapping[str, float] = {"relaxation": cell.rai_weight}
        self.rate = cell.rai.rate

    def extra_parameters(self, cell: Cell, data: Data) -> dict[str, Tensor]:
        """Relaxed values by name, as `rai.start` says; 0 where a forward pass gives them at the first step."""
        shapes = relaxed_shapes(cell)
        match cell.rai.start:
            case "forward":
                return {name: torch.zeros(shape) for name, shape in shapes.items()}
            case "random":
                return {name: self._drawn(cell, name, *shape) for name, shape in shapes.items()}
            case "targets":
                return {name: self._targets(cell, data.y_train, name, shape[1]) for name, shape in shapes.items()}
            case other:
                raise setting_error("rai.start", other, "forward, random or targets")

    def is_renewed(self, step: int) -> bool:
        """Whether z is taken from a forward pass before the step, counted from 0."""
        if step == 0:
            return self.spec.start == "forward"
        return self.spec.period > 0 and step % self.spec.period == 0

    def renewed(self, pre_activations: Sequence[Tensor], outs: Sequence[Tensor], outputs: Tensor) -> dict[str, Tensor]:
        """Relaxed values of a plain pass, by name: of its pre-activations, the layers' outputs, and the network's."""
        match self.spec.relax:
            case "activation":
                values = outs
            case "pre_activation":
                values = pre_activations
            case other:
                raise setting_error("rai.relax", other, "activation or pre_activation")
        found = {f"z.{layer}": values[layer] for layer in sorted(self.layers)}
        return found | ({OUTPUT: outputs} if self.spec.include_output else {})

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """The sum of the hidden losses."""
        assert batch.relaxed is not None
        return {"relaxation": torch.stack(list(batch.relaxed)).sum()}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Nothing of the plain composition."""
        return {}

    def measured(
        self, losses: Sequence[Tensor], judged: Tensor, plain: Tensor, parameters: Mapping[str, Tensor]
    ) -> Tensor:
        """How far the relaxed pass is from the plain one, (2 + relaxed layers,): gap, largest |z|, hidden losses.

        Args:
            losses: of each relaxed layer, the outputs' last.
            judged: what the task's loss is of, (points, outputs).
            plain: the outputs of the plain composition; the gap is the mean |difference|.
            parameters: z by name.
        """
        largest = torch.stack([z.abs().max() for z in parameters.values()]).max()
        return torch.stack([(judged - plain).abs().mean(), largest, *losses])

    def _drawn(self, cell: Cell, name: str, points: int, units: int) -> Tensor:
        """Standard normal pre-activations, a draw a point and unit, or what the layer's activation makes of them."""
        layer = cell.depth if name == OUTPUT else int(name.removeprefix("z."))
        is_output = name == OUTPUT or cell.rai.relax == "pre_activation"
        drawn = units if is_output else units // self.activation.outputs
        bits = random_bits(Stream.RELAXATION, cell.seed, 0, [layer], range(points), drawn)[0]
        pre = torch.from_numpy(special.ndtri((bits + 0.5) / 2.0**32))
        return pre if is_output else self.activation.value(pre, self.number)

    def _targets(self, cell: Cell, labels: Tensor, name: str, units: int) -> Tensor:
        """Every unit's target at every point: 0 or 1 of a class, in turn of all; ∓1 of pre-activations; or the number.

        Of two classes every unit has the class, of more unit u has whether the class is u modulo their number.
        """
        is_pre = name == OUTPUT or cell.rai.relax == "pre_activation"
        match cell.dataset.task:
            case "regression":
                return labels.double()[:, None].expand(-1, units).clone()
            case "classification":
                if cell.dataset.outputs == 1:
                    targets = labels.double()[:, None].expand(-1, units)
                else:
                    classes = torch.arange(units) % cell.dataset.outputs
                    targets = (labels[:, None] == classes).double()
                return 2 * targets - 1 if is_pre else targets.clone()
            case other:
                raise ValueError(f"dataset.task={other!r} has no targets of units")


def _softplus(x: Tensor) -> Tensor:
    return -F.logsigmoid(-x)


def _divergence(z: Tensor, pre: Tensor) -> Tensor:
    """Of the probabilities σ(pre) from σ(z), in nats."""
    z_now, now = z.detach(), pre.detach()
    aim, found = z_now.sigmoid(), now.sigmoid()
    value = _softplus(now) - _softplus(z_now) - aim * (now - z_now)
    return _known(value, (z, -aim * (1 - aim) * (now - z_now)), (pre, found - aim), now == z_now)


def _cross_entropy(z: Tensor, pre: Tensor, out: Tensor) -> Tensor:
    """Of σ(pre) = out from z, less the entropy of z, in nats; nearer than `CLAMP` to 0 and 1 that is its tangent."""
    z_now, now, found = z.detach(), pre.detach(), out.detach()
    inside = z_now.clamp(CLAMP, 1 - CLAMP)
    slope = torch.logit(inside)
    negative_entropy = inside * inside.log() + (1 - inside) * (1 - inside).log() + slope * (z_now - inside)
    value = negative_entropy + _softplus(now) - z_now * now
    return _known(value, (z, slope - now), (pre, found - z_now), found == z_now)


def _known(value: Tensor, of_z: tuple[Tensor, Tensor], of_pre: tuple[Tensor, Tensor], is_met: Tensor) -> Tensor:
    """A loss of that value and of those derivatives, which are 0 where its aim is met to the bit.

    By autograd they would be 0 but for rounding, of which Rprop and Adam make whole steps.
    """
    found = torch.where(is_met, 0.0, value.clamp_min(0))
    for tensor, derivative in (of_z, of_pre):
        found = found + torch.where(is_met, 0.0, derivative) * (tensor - tensor.detach())
    return found
