"""Relaxed layers of a fleet: their values and optimizer, and a pass whose steps have no chain through depth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.schedules import hidden_factor
from jumpstart_exp.engines.stacked.optimizers import optimizer_of
from jumpstart_exp.engines.stacked.record import Array, array, tensor
from jumpstart_exp.engines.training_state import TrainingState
from jumpstart_exp.methods.relaxation import Relaxation, RelaxedPass, relaxed_shapes
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.settings import setting_error

Named = Mapping[str, Tensor]


class RelaxedValues:
    """All networks' relaxed values.

    Args:
        cells: of one `StackedEngine.fleet_group`.
        data: their dataset.
        weights: the networks' parameters, (numbers,): z is of their type, and where they are.
        network: one network, whose architecture is that of all.
    """

    def __init__(self, cells: Sequence[Cell], data: Data, weights: Tensor, network: RectangularMLP) -> None:
        one = cells[0]
        self.cells, self.network, self.of = cells, network, Relaxation(one)
        self.shapes = relaxed_shapes(one)
        self.numbers = sum(map(math.prod, self.shapes.values()))
        begins = [Relaxation(cell).extra_parameters(cell, data) for cell in cells]
        self.flat = torch.cat([values.flatten().to(weights) for own in begins for values in own.values()])
        self.gradients = torch.zeros_like(self.flat)
        owners = torch.arange(len(cells), device=weights.device).repeat_interleave(self.numbers)
        own_rates = [
            replace(cell, optimizer=replace(cell.optimizer, lr=cell.optimizer.lr * cell.rai.rate, weight_decay=0.0))
            for cell in cells
        ]
        self.optimizer = optimizer_of(own_rates, self.flat, self.gradients, lambda: owners)
        self.is_rising = any(cell.rai.schedule != "constant" for cell in cells)
        # one product for all layers: they are equal, and each is an affine map and an activation of one output a unit
        self.is_one_product = (
            len(one.relaxed_layers) == one.depth
            and one.network.widths is None
            and one.network.norm == "none"
            and not network.activation.is_trained
            and network.activation.outputs == 1
        )

    @property
    def rows(self) -> Tensor:
        """Relaxed values of every network, (networks, numbers)."""
        return self.flat.view(len(self.cells), -1)

    def factors(self, step: int, steps: int) -> Tensor | float:
        """What the weights of the hidden losses are at a step of what they are in the settings."""
        if not self.is_rising:
            return 1.0
        factors = [hidden_factor(cell.rai, step, steps) for cell in self.cells]
        return torch.tensor(factors, dtype=torch.float64).to(self.flat)

    def named(self, rows: Tensor) -> dict[str, Tensor]:
        """By name, (…, points, units) each, of (…, numbers)."""
        parts = torch.split(rows, [math.prod(shape) for shape in self.shapes.values()], dim=-1)
        return {
            name: part.view(*part.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def renew(self, parameters: Named, buffers: Named, flat: Tensor, x: Tensor) -> None:
        """Take z from a plain pass of all points.

        The relaxed pass that follows has to give z again to the bit: what is no difference but for rounding is a whole
        step of Rprop. Products of all layers at once may round otherwise than those of one, so it is repeated until
        nothing changes, which is once more where they do not; each time at least one layer more is exact.

        Args:
            parameters: of all networks by torch's names, (networks, …) each.
            buffers: of all networks.
            flat: all parameters, (networks, parameters).
            x: points, (points, features).
        """
        self.rows.copy_(vmap(self._plain, in_dims=(0, 0, 0, None))(parameters, buffers, flat, x))
        for _ in range(self.cells[0].depth if self.is_one_product else 0):
            again = vmap(self._again, in_dims=(0, 0, 0, None))(parameters, flat, self.rows, x)
            if torch.equal(again, self.rows):
                return
            self.rows.copy_(again)

    def _plain(self, parameters: Named, buffers: Named, flat: Tensor, x: Tensor) -> Tensor:
        """One network's z of a plain pass, (numbers,)."""
        activate = self.network.activation.value
        if not self.is_one_product:
            outputs, pre_activations = functional_call(self.network, {**parameters, **buffers}, (x,))
            numbers = [parameters.get(f"slopes.{layer}", self.network.number) for layer in range(len(pre_activations))]
            return self._row(pre_activations, list(map(activate, pre_activations, numbers)), outputs)
        weights, biases = self._blocks(flat)
        pre = [self._first(parameters, x)]
        for layer in range(len(weights)):
            handed = activate(pre[-1][None], self.network.number)
            pre.append((handed @ weights[layer : layer + 1].mT + biases[layer : layer + 1])[0])
        outs = [activate(own, self.network.number) for own in pre]
        return self._row(pre, outs, self._outputs(parameters, outs[-1]))

    def _again(self, parameters: Named, flat: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """What the relaxed pass of one network makes of z, (numbers,)."""
        pre, outs, outputs = self._one_product(parameters, flat, z, x)
        return self._row(pre.unbind(0), outs.unbind(0), outputs)

    def _row(self, pre_activations: Sequence[Tensor], outs: Sequence[Tensor], outputs: Tensor) -> Tensor:
        found = self.of.renewed(pre_activations, outs, outputs)
        return torch.cat([found[name].flatten() for name in self.shapes])

    def _blocks(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (layers, width, width) and biases (layers, 1, width) of all hidden layers but the first."""
        depth, width = self.cells[0].depth, self.cells[0].width
        behind, size = width * (self.cells[0].dataset.features + 1), width * (width + 1)
        blocks = flat[behind : behind + (depth - 1) * size].view(depth - 1, size)
        return blocks[:, : width * width].view(-1, width, width), blocks[:, None, width * width :]

    def _first(self, parameters: Named, x: Tensor) -> Tensor:
        return torch.addmm(parameters["hidden.0.bias"], x, parameters["hidden.0.weight"].T)

    def _outputs(self, parameters: Named, handed: Tensor) -> Tensor:
        return torch.addmm(parameters["output.bias"], handed, parameters["output.weight"].T)

    def _one_product(self, parameters: Named, flat: Tensor, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pre-activations and outputs of all hidden layers, (layers, points, width), and the network's outputs."""
        activate, number = self.network.activation.value, self.network.number
        values = self._values(z, len(x))
        match self.of.spec.relax:
            case "activation":
                handed = values
            case "pre_activation":
                handed = activate(values, number)
            case other:
                raise setting_error("rai.relax", other, "activation or pre_activation")
        weights, biases = self._blocks(flat)
        pre = torch.cat([self._first(parameters, x)[None], handed[:-1] @ weights.mT + biases])
        return pre, activate(pre, number), self._outputs(parameters, handed[-1])

    def _values(self, z: Tensor, points: int) -> Tensor:
        """Of all hidden layers, (layers, points, width)."""
        depth, width = self.cells[0].depth, self.cells[0].width
        return z[: depth * points * width].view(depth, points, width)

    def forward(
        self, parameters: Named, flat: Tensor, z: Tensor, x: Tensor
    ) -> tuple[Tensor, Sequence[Tensor], Tensor, Tensor]:
        """One network's relaxed pass, as `methods.relaxation.RelaxedPass` has it.

        Args:
            parameters: of the network and its buffers, by torch's names.
            flat: its parameters, (parameters,), in torch's order.
            z: its relaxed values, (numbers,).
            x: points, (points, features).

        Returns:
            outputs, pre-activations of the hidden layers, what the task's loss is of, hidden losses (relaxed layers,).
        """
        relay = RelaxedPass(self.of, self.named(z))
        if not self.is_one_product:
            outputs, pre_activations = functional_call(self.network, dict(parameters), (x, None, relay))
            return outputs, pre_activations, relay.judged(outputs), torch.stack(relay.losses)
        pre, outs, outputs = self._one_product(parameters, flat, z, x)
        losses = self.of.hidden_loss.of_layer(self._values(z, len(x)), pre, outs)
        judged = relay.judged(outputs)
        return outputs, pre.unbind(0), judged, torch.cat([losses, *(own[None] for own in relay.losses)])

    def measured(self, plain: Tensor, judged: Tensor, losses: Tensor, z: Tensor) -> Tensor:
        """Of one network what `Relaxation.measured` has, (2 + relaxed layers,)."""
        return self.of.measured(losses.unbind(0), judged, plain, self.named(z))

    def slots(self) -> dict[str, Array]:
        """The optimizer's slots, (networks, numbers) each."""
        return {name: array(slot.view(len(self.cells), -1)) for name, slot in self.optimizer.slots.items()}

    def fill(self, states: Sequence[TrainingState]) -> None:
        """Put every network's values, and their slots, into its state."""
        self.rows.copy_(tensor(np.stack([own.method["z"] for own in states]), self.flat.dtype))
        for name, slot in self.optimizer.slots.items():
            kept = np.stack([own.optimizer[name][-self.numbers :] for own in states])
            slot.view(len(self.cells), -1).copy_(tensor(kept, slot.dtype))
