"""What a cell costs in the engine eager, from fitted models, and which way a CNN of it goes."""

import math
import operator

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.networks.activations import activation_of
from jumpstart_exp.networks.plain import is_plain


def is_fused(cell: Cell) -> bool:
    """Whether a CNN's training takes the pass that keeps no pre-activations."""
    return is_plain(cell.network, cell.depth) and cell.reset.every == 0 and cell.regulariser_weight == 0


def seconds_of(cell: Cell) -> float:
    """Seconds on one core: of an MLP from the calls that a step takes, of a CNN from its arithmetic."""
    n_train, n_val = cell.dataset.sizes()
    epochs, steps = cell.optimizer.epochs, cell.optimizer.epochs * math.ceil(n_train / cell.batch_size)
    if cell.network.layout == "cnn":
        taps = cell.network.kernel**2 / 9
        # ratios to the plain pass: batch norm, constraints for which the pre-activations are kept, precision
        slower = 1.0 if cell.network.norm == "none" else 1.8
        if not is_fused(cell):
            slower *= (3.0 if cell.penalty_weight else 2.0) * activation_of(cell.network).outputs
        elif cell.penalty_weight and (cell.penalty.scope == "position" or cell.penalty.ties != "single"):
            slower *= 3.0 if (cell.penalty.scope, cell.penalty.ties) == ("position", "shared") else 5.0
        slower *= {"float64": 8.0, "bf16": 2.3}.get(cell.precision, 1.0)
        # fitted to MNIST and CIFAR-10 at widths 2 to 192; a third of it is the pass forward
        a_position = 9e-9 + taps * (5.5e-9 * cell.width + 0.22e-9 * cell.width**2)
        a_point = cell.depth * cell.positions * a_position
        whole_sets = min(epochs, 12) + 1
        points = epochs * (n_train + n_val / 3) + whole_sets * n_train / 3
        seconds = slower * points * a_point + steps * (1e-3 + 150e-6 * cell.depth)
        dropped = min(epochs, cell.dropout.anneal_epochs) if cell.dropout.rate else 0
        return seconds + dropped * n_train * cell.depth * cell.positions * cell.width * 40e-9
    a_layer = 90e-6 * (3.0 if cell.positions > 1 else 1.0) + _seconds_of_blocks(cell)
    a_layer += 40e-6 if cell.penalty_weight else 0.0
    a_step = 500e-6 + (450e-6 if cell.penalty_weight else 0.0) + a_layer * cell.depth
    widths, outputs = cell.network.widths, activation_of(cell.network).outputs
    products = cell.depth * cell.width**2 if widths is None else sum(map(operator.mul, widths, widths[1:]))
    arithmetic = 6 * cell.batch_size * outputs * products * cell.positions**2 / 10e9
    return steps * (a_step + arithmetic)


def memory_bytes(cell: Cell) -> int:
    """What the cell adds to its process: activations with their gradients, parameters with theirs and slots."""
    number = {"float64": 8, "bf16": 2}.get(cell.precision, 4)
    units = cell.depth * cell.width * cell.positions * activation_of(cell.network).outputs
    copies = 3 + len(optimizer(cell.optimizer).slots)
    if cell.network.layout == "cnn":
        a_layer = number * cell.batch_size * cell.width * cell.positions * activation_of(cell.network).outputs
        # what a norm saw; by autograd pre-activations, activations and what their penalty makes of them
        keeps = 1 + (cell.network.norm != "none") + (0 if is_fused(cell) else 4 if cell.penalty_weight else 2)
        weights = 4 * copies * cell.depth * (cell.width * cell.network.kernel) ** 2
        weights += 200_000_000  # what an evaluation takes at most
        return a_layer * (cell.depth * keeps + 5) + weights + sum(cell.dataset.sizes()) * cell.dataset.features
    return number * (8 * units * cell.batch_size + copies * units * cell.width * cell.positions)


def _seconds_of_blocks(cell: Cell) -> float:
    """What a layer of an MLP takes a step beside affine map and ReLU: measured at 30×4."""
    network, activation = cell.network, activation_of(cell.network)
    seconds = 15e-6 if network.activation != "relu" else 0.0
    seconds += 40e-6 if activation.is_trained or activation.outputs > 1 else 0.0
    seconds += {"none": 0.0, "batch": 90e-6}.get(network.norm, 110e-6)  # a norm that joins is as layer norm
    seconds += 200e-6 if network.farkas else 0.0
    if cell.blocks:
        seconds += {"1": 25e-6 / network.skip_every, "zero": 70e-6 / network.skip_every, "fixup": 80e-6}[
            network.skip_scale
        ]
    return seconds + (120e-6 / cell.reset.every if cell.reset.every else 0.0)
