"""Networks of a fleet between two epochs, as checkpoints keep them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.engines.stacked.metrics import FleetMetrics
from jumpstart_exp.engines.stacked.parameters import Blocks
from jumpstart_exp.engines.training_state import TrainingState, curve_array, curve_row
from jumpstart_exp.result import ACTIVITY, CENSUS

if TYPE_CHECKING:
    from jumpstart_exp.engines.stacked.fleet import Fleet

Array = npt.NDArray[np.float64]


def states_of(fleet: "Fleet") -> dict[int, TrainingState]:
    """The networks that are not done as they are now, by their index among the cells; seconds are 0."""
    stack, ledger, device = fleet.stack, fleet.ledger, torch.device("cpu")
    parts = {
        name: Blocks.of(flat.to(device), stack.block_shapes)
        for name, flat in {"parameters": stack.weights.flat, **fleet.optimizer.slots}.items()
    }
    running = None if stack.norm is None else torch.stack([stack.norm.mean, stack.norm.variance]).cpu()[..., 0, 0]
    metrics = np.stack([array(own) for own in _metrics(ledger)], -1)
    pending = np.stack([array(own) for own in (ledger.train_acc, ledger.train_loss)], -1)
    is_open = bool(ledger.is_open)
    # where an open epoch's numbers are not finite, the next step will say so
    goes_on = array(ledger.is_alive & ledger.was_finite if is_open else ledger.is_alive) > 0
    found = {}
    for index, place in enumerate(fleet.places):
        if index in fleet.handed_over or not goes_on[index]:
            continue
        cell, rows = fleet.cells[index], stack.rows_of[index, : fleet.cells[index].depth].cpu()
        own = {name: array(stack.flat(blocks, index)) for name, blocks in parts.items()}
        network = {
            "parameters": own.pop("parameters"),
            "running": np.zeros((2, cell.depth, 0)) if running is None else array(running[:, rows, : cell.width]),
        }
        found[place] = TrainingState(
            epochs=fleet.epochs_done,
            network=network,
            method={},
            optimizer=own,
            metrics=metrics[:, index],
            penalty_start=fleet.at_start.penalty_of(index) or 0.0,
            census_start=fleet.at_start.census[:, rows.numpy()],
            dead_at_some_layer_start=float(fleet.at_start.dead_at_some_layer[index]),
            curve=curve_array(list(fleet.curve_rows(index))),
            pending=pending[index] if is_open else pending[index, :0],
            seconds=0.0,
            started="",
        )
    return found


def restore(fleet: "Fleet", states: Sequence[TrainingState]) -> tuple[Array | None, Array, Array]:
    """Put every network into its state, in the fleet's order, all after the same epoch.

    Returns:
        of before the first step: penalties (networks,), census (6, rows), points dead at some layer (networks,).
    """
    stack, ledger = fleet.stack, fleet.ledger
    fleet.epochs_done = states[0].epochs
    _fill(fleet, stack.weights.flat, [own.network for own in states], "parameters")
    for name, slot in fleet.optimizer.slots.items():
        _fill(fleet, slot, [own.optimizer for own in states], name)
    if stack.norm is not None:
        host_running = torch.stack([stack.norm.mean, stack.norm.variance]).cpu()
        for index, own in enumerate(states):
            rows = stack.rows_of[index, : fleet.cells[index].depth].cpu()
            host_running[:, rows, : fleet.cells[index].width, 0, 0] = _tensor(own.network["running"], stack.dtype)
        stack.norm.mean.copy_(host_running[0])
        stack.norm.variance.copy_(host_running[1])
    is_open = len(states[0].pending) > 0
    ledger.epochs_done.fill_(fleet.epochs_done)
    ledger.epochs_run.fill_(fleet.epochs_done - is_open)
    ledger.is_open.fill_(is_open)
    metrics = np.stack([own.metrics for own in states], 1)
    for number, target in enumerate(_metrics(ledger)):
        target.copy_(_tensor(metrics[..., number], target.dtype))
    if is_open:
        pending = np.stack([own.pending for own in states])
        for number, target in enumerate((ledger.train_acc, ledger.train_loss)):
            target.copy_(_tensor(pending[:, number], target.dtype))
    census = np.zeros((len(CENSUS) + len(ACTIVITY), stack.n_rows))
    for index, own in enumerate(states):
        census[:, stack.rows_of[index, : fleet.cells[index].depth].cpu().numpy()] = own.census_start
        rows_before = [curve_row(int(epoch), *numbers) for epoch, *numbers in own.curve.tolist()]
        fleet.curves_before[index] = [
            row if fleet.penalty is not None else replace(row, penalty=None) for row in rows_before
        ]
    penalties = None if fleet.penalty is None else np.array([own.penalty_start for own in states])
    return penalties, census, np.array([own.dead_at_some_layer_start for own in states])


def array(tensor: Tensor) -> Array:
    """In float64, on the CPU."""
    found: Array = tensor.double().cpu().numpy()
    return found


def _fill(fleet: "Fleet", target: Tensor, vectors: Sequence[Mapping[str, Array]], name: str) -> None:
    """A number for every parameter, from each network's vector of that name."""
    host = Blocks.zeros(fleet.stack.block_shapes, torch.device("cpu"), fleet.stack.dtype)
    for index, own in enumerate(vectors):
        fleet.stack.fill(host, index, own[name])
    target.copy_(host.flat)


def _metrics(ledger: FleetMetrics) -> tuple[Tensor, Tensor, Tensor]:
    return ledger.last, ledger.best, ledger.best_epoch


def _tensor(array: Array, of: torch.dtype) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(of)
