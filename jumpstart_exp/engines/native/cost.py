"""What a cell costs in the C++ engine: a sum of terms in the network's sizes, fitted by `scripts/fit_costs.py`."""

import math
from collections.abc import Mapping

from jumpstart_exp.cell import Cell
from jumpstart_exp.networks.activations import activation_of


def cost_terms(cell: Cell) -> tuple[float, ...]:
    """What the time of a step with dropout is a sum of, each with its weight in `_STEP_NANOSECONDS`."""
    lanes = 8 if cell.precision == "float64" else 16
    train, val = (math.ceil(points / lanes) for points in cell.dataset.sizes())
    # a filter of two taps multiplies each channel's two positions three times
    rows, outputs = cell.width * cell.positions, activation_of(cell.network).outputs
    products = outputs * cell.width**2 * (3 if cell.positions == 2 else 1)
    has_penalty, has_norm = cell.penalty_weight > 0, cell.network.norm == "batch"
    in_registers = cell.positions == 1 and cell.penalty.ties == "single"
    apart = has_penalty and cell.penalty.kind != "L" and not in_registers
    drawn = apart and cell.penalty.ties == "random"
    between = (products * train, products * val, products)
    a_layer = (
        1.0,
        rows * train,
        rows * val,
        float(has_penalty),
        rows * train * has_penalty,
        float(apart),
        rows * train * apart,
        rows * train * drawn,
        rows * train * has_norm,
        rows * train * (cell.dropout.rate > 0),
    )
    return (1.0, *((cell.depth - 1) * term for term in between), *(cell.depth * term for term in a_layer))


_STEP_NANOSECONDS = (239.4, 0.494, 2.07, 0.0, 79.56, 0.0, 16.8, 2.505, 3.102, 94.14, 0.0, 3.815, 8.139, 18.38)
"""Fitted by `scripts/fit_costs.py`; the last term is that of dropout."""


_PASS_NANOSECONDS: Mapping[str, float] = {
    "relu": 2.0,
    "leaky_relu": 2.3,
    "prelu": 2.3,
    "tat": 2.5,
    "crelu": 4.0,
    "elu": 4.9,
    "selu": 5.1,
    "logistic": 6.9,
    "silu": 7.5,
    "tanh": 8.3,
    "sigmoid": 8.3,
    "gelu": 10.2,
    "softplus": 10.7,
}
"""Of an activation's own pass over a vector of a layer's outputs: measured by `scripts/bench_blocks.py`."""

_SKIP_NANOSECONDS, _LAYER_NORM_NANOSECONDS = 1.0, 6.0
"""Of a vector, likewise."""

_JOINED_SKIP_NANOSECONDS, _JOINED_LAYER_NORM_NANOSECONDS = 1.6, 2.8
"""Of a vector, likewise, of the ReLU's skips and the layer norm of narrow layers: parts of the products."""


def _block_nanoseconds(cell: Cell) -> float:
    """What blocks add to a step."""
    lanes = 8 if cell.precision == "float64" else 16
    vectors = sum(math.ceil(points / lanes) for points in cell.dataset.sizes())
    is_relu, norm = cell.network.activation == "relu", cell.network.norm
    a_vector = 0.0
    if norm == "layer":
        is_joined = is_relu and not cell.blocks and cell.positions == 1 and cell.width <= 4
        a_vector = _JOINED_LAYER_NORM_NANOSECONDS if is_joined else _LAYER_NORM_NANOSECONDS
    if is_relu and cell.blocks and norm == "none":
        return cell.depth * cell.width * cell.positions * vectors * _JOINED_SKIP_NANOSECONDS
    if not is_relu or cell.blocks:
        a_vector += _PASS_NANOSECONDS[cell.network.activation]
    if cell.blocks:
        a_vector += _SKIP_NANOSECONDS
    return cell.depth * cell.width * cell.positions * vectors * a_vector


def seconds_of(cell: Cell, epochs: float) -> float:
    """Seconds on one core of a processor with AVX-512 for the cell's first epochs."""
    *terms, dropout = (weight * term for weight, term in zip(_STEP_NANOSECONDS, cost_terms(cell), strict=True))
    return 1e-9 * (epochs * (sum(terms) + _block_nanoseconds(cell)) + min(epochs, cell.dropout.anneal_epochs) * dropout)
