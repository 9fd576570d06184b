"""Dormant units begin anew (ReDo: Sokar et al., ICML 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.networks.build import affine_layer
from jumpstart_exp.networks.initialisation import drawn
from jumpstart_exp.networks.rectangular import RectangularNetwork


def is_due(cell: Cell, steps: int) -> bool:
    """Whether a reset follows the step of that number, counted from 1."""
    return cell.reset.every > 0 and steps % cell.reset.every == 0


def dormant_units(h: Tensor, outputs: int, tau: float) -> Tensor:
    """Which units of a layer are dormant, (units,): mean|h|/(its mean over the units + 1e-9) ≤ τ.

    Args:
        h: activations of a batch, (points, outputs · units, …), the first output of every unit before the second.
        outputs: of a unit.
        tau: τ.
    """
    size = h.abs().transpose(0, 1).flatten(1).mean(1).view(outputs, -1).sum(0)
    return size <= tau * (size.mean() + 1e-9)


@torch.no_grad()
def reset_dormant_units(
    cell: Cell, network: RectangularNetwork, adam: torch.optim.Optimizer, pre_activations: Sequence[Tensor], steps: int
) -> None:
    """Draw the incoming weights of dormant units anew and make their outgoing weights 0, with the slots of both.

    Where a weight is both, it is 0. The number of the reset, from 1, is that of the layer's draw.

    Args:
        cell: what is trained.
        network: whose parameters change.
        adam: the optimizer, of any kind.
        pre_activations: of every hidden layer in the step before, which say which units are dormant.
        steps: done.
    """
    outputs, slots = network.activation.outputs, optimizer(cell.optimizer).slots
    dormant = [dormant_units(h, outputs, cell.reset.tau) for h in network.activated(pre_activations)]
    for index, (layer, units) in enumerate(zip(network.hidden, dormant, strict=True)):
        if not units.any():
            continue
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
        fresh = drawn(
            affine_layer(cell, index, tuple(weight.shape), steps // cell.reset.every),
            cell.network.init,
            cell.network.init_source,
        )
        for parameter, begins in zip((weight, bias), fresh, strict=True):
            is_new = units.view(-1, *[1] * (parameter.dim() - 1))
            _put(parameter, is_new, torch.from_numpy(begins).to(parameter), adam, slots)
    for following, units in zip([*network.hidden, network.output][1:], dormant, strict=True):
        weight, inputs = following.weight, units.repeat(outputs)
        assert isinstance(weight, Tensor)
        if following is network.output:
            inputs = network.seen_of_channels(inputs, weight.shape[1])
        _put(weight, inputs.view(1, -1, *[1] * (weight.dim() - 2)), torch.zeros_like(weight), adam, slots)


def _put(parameter: Tensor, where: Tensor, values: Tensor, adam: torch.optim.Optimizer, slots: Sequence[str]) -> None:
    """The values into those places, and 0 into the slots there."""
    parameter.copy_(torch.where(where, values, parameter))
    for slot in slots:
        kept = adam.state[parameter].get(slot)  # nothing is kept of what no gradient has reached
        if kept is not None:
            kept.copy_(torch.where(where, torch.zeros_like(kept), kept))
