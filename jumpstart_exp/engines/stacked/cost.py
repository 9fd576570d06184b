"""What a cell costs in the engine stacked, from fitted models."""

import math

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.engines.stacked.paths import is_padded, width_class


def seconds(cell: Cell) -> float:
    """Seconds of one CPU core for a cell among dozens of its like."""
    return (_padded_seconds if is_padded(cell) else _functional_seconds)(cell)


def memory_bytes(cell: Cell) -> int:
    """Memory that the cell takes in a fleet."""
    return (_padded_bytes if is_padded(cell) else _functional_bytes)(cell)


def _padded_seconds(cell: Cell) -> float:
    """Fitted to fleets of 72 at depths 1 to 150."""
    units = cell.width * cell.positions
    a_number = 2.2e-9 + (7e-9 if cell.penalty_weight else 0.0) + (9.5e-9 if cell.network.norm == "batch" else 0.0)
    if cell.dropout.rate:
        a_number += 18e-9 * min(1.0, cell.dropout.anneal_epochs / cell.optimizer.epochs)
    a_layer = 0.3e-6 + a_number * units * sum(cell.dataset.sizes()) + 9.6e-9 * units**2
    a_step = (4e-6 + cell.depth * a_layer) * (2 if cell.precision == "float64" else 1)
    return cell.optimizer.epochs * a_step


def _padded_bytes(cell: Cell) -> int:
    """Activations with their gradients, parameters with theirs and slots, all padded to the group's width."""
    n_train, n_val = cell.dataset.sizes()
    units = width_class(cell) * cell.positions
    buffers = 3 + (cell.network.norm == "batch") + (cell.dropout.rate > 0)
    weights = units * (units + 1)
    stored = (3 + len(optimizer(cell.optimizer).slots)) * weights // cell.positions + (
        2 * weights if cell.positions > 1 else 0
    )
    outside = (cell.dataset.features + cell.dataset.classes + 4) * (n_train + n_val + units)
    return _number(cell) * (
        cell.depth * (buffers * units * (n_train + n_val) + stored) + 5 * outside + units * (n_train + n_val)
    )


def _functional_seconds(cell: Cell) -> float:
    """Fitted to fleets of 72 at depths 10 and 50, widths 4 to 100: calls, which the fleet shares, and numbers."""
    n_train, n_val = cell.dataset.sizes()
    steps = math.ceil(n_train / cell.batch_size)
    units = cell.width * cell.positions
    is_normed = cell.network.norm != "none"
    a_call, calls = 10e-6 / 72, 40 + (60 if cell.penalty_weight else 0) + (70 if is_normed else 0)
    a_number = 12e-9 + (20e-9 if cell.penalty_weight else 0.0) + (15e-9 if is_normed else 0.0)
    if cell.dropout.rate:
        a_number += 40e-9 * min(1.0, cell.dropout.anneal_epochs / cell.optimizer.epochs)
    points = n_train + n_val / 3
    a_layer = a_call * calls * steps + a_number * units * points + 2e-10 * units**2 * points
    an_epoch = 40e-6 * steps + cell.depth * a_layer
    return cell.optimizer.epochs * an_epoch * (1.4 if cell.precision == "float64" else 1.0)


def _functional_bytes(cell: Cell) -> int:
    """What the backward pass needs of a batch, an evaluation of all points, parameters with gradients and slots."""
    n_train, n_val = cell.dataset.sizes()
    units = cell.depth * cell.width * cell.positions
    kept = 6 + (6 if cell.penalty_weight else 0) + (3 if cell.network.norm != "none" else 0)
    kept += 3 if cell.dropout.rate else 0
    weights = cell.depth * cell.width**2 + cell.width * cell.dataset.features + units
    if cell.rai_weight:
        weights += units * n_train  # relaxed values are trained as weights are
    points = cell.batch_size * (kept * units + 3 * cell.dataset.features)
    return _number(cell) * (
        points + 3 * units * (n_train + n_val) + (6 + len(optimizer(cell.optimizer).slots)) * weights
    )


def _number(cell: Cell) -> int:
    """Bytes of a number."""
    return 8 if cell.precision == "float64" else 4
