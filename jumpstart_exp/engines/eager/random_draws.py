"""What a training draws at random: the order of batches, dropout, random ties, all addressed by epoch and point."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.losses.separation import TieDraws
from jumpstart_exp.networks.activations import activation_of
from jumpstart_exp.networks.build import dtype
from jumpstart_exp.randomness import Stream, keep_threshold, random_bits
from jumpstart_exp.settings import setting_error

Points = npt.NDArray[np.int64]

TIE_STREAMS = {
    "U+": Stream.TIE_UNIT_ABOVE,
    "U-": Stream.TIE_UNIT_BELOW,
    "P+": Stream.TIE_POINT_ABOVE,
    "P-": Stream.TIE_POINT_BELOW,
    "L+": Stream.TIE_LAYER_ABOVE,
    "L-": Stream.TIE_LAYER_BELOW,
}


def batches(cell: Cell, n_train: int, epoch: int) -> Iterator[Points | None]:
    """Indices of the training points of every batch of an epoch (counted from 0); None for all in order."""
    size = cell.batch_size
    if size == n_train:
        yield None
        return
    order = np.arange(n_train)
    if cell.optimizer.shuffle:
        numbers = random_bits(Stream.BATCH_ORDER, cell.seed, epoch, [0], order, 1)[0, :, 0]
        order = np.argsort(numbers, kind="stable")
    for first in range(0, n_train, size):
        yield order[first : first + size]


def is_drawn(cell: Cell, epoch: int) -> bool:
    """Whether anything is drawn for the points of an epoch's batches: dropout, or ties."""
    return _dropout_rate(cell, epoch) > 0 or _has_random_ties(cell)


def _dropout_rate(cell: Cell, epoch: int) -> float:
    return cell.dropout.rate * (1 - epoch / cell.dropout.anneal_epochs)


def _has_random_ties(cell: Cell) -> bool:
    return cell.penalty_weight != 0 and cell.penalty.ties == "random"


def dropout_factors(cell: Cell, epoch: int, points: Points, device: torch.device) -> list[Tensor] | None:
    """A factor for the input of every hidden layer, shaped like it; None where nothing is dropped any more."""
    rate = _dropout_rate(cell, epoch)
    if rate <= 0:
        return None
    threshold, scale = keep_threshold(rate), 1 / (1 - rate)
    shapes = input_shapes(cell)
    factors: list[Tensor] = []
    # a CNN's layers one by one: their draws take many times the memory of their activations
    groups = [[layer] for layer in range(1, cell.depth)] if len(shapes[0]) == 3 else _alike(shapes[1:], 1)
    for layers in [[0], *groups]:
        shape = shapes[layers[0]]
        drawn = random_bits(Stream.DROPOUT, cell.seed, epoch, layers, points, math.prod(shape))
        kept = torch.from_numpy((drawn >= threshold) * scale).to(device, dtype(cell))
        factors += kept.reshape(*kept.shape[:2], *shape).unbind()
    return factors


def tie_draws(cell: Cell, epoch: int, batch: int, points: Points) -> TieDraws | None:
    """Draws for random ties of a batch; None where the cell has none."""
    if not _has_random_ties(cell):
        return None

    def drawn(constraint: str, layer: int, count: int) -> Tensor:
        # a unit's or layer's constraint belongs to a batch, a point's to the point
        stream, seed = TIE_STREAMS[constraint], cell.seed
        if constraint.startswith("P"):
            numbers = random_bits(stream, seed, epoch, [layer], points, count // len(points))[0]
        else:
            numbers = random_bits(stream, seed, epoch, [layer], [batch], count)[0]
        return torch.from_numpy(numbers.reshape(-1).astype(np.int64))

    return drawn


def _alike(shapes: Sequence[tuple[int, ...]], first: int) -> list[list[int]]:
    """Neighbours of one shape, as lists of their numbers from `first` on."""
    numbered = itertools.groupby(enumerate(shapes, first), key=lambda layer: layer[1])
    return [[number for number, _ in layers] for _, layers in numbered]


def input_shapes(cell: Cell) -> list[tuple[int, ...]]:
    """Shape of every hidden layer's input, without the points."""
    positions: tuple[int, ...]
    match cell.network.layout:
        case "cnn":
            assert cell.dataset.image is not None
            first, positions = cell.dataset.image[0], cell.dataset.image[1:]
        case "conv2x1":
            first, positions = 1, (2,)
        case "mlp":
            first, positions = cell.dataset.features, ()
        case other:
            raise setting_error("network.layout", other, "mlp, conv2x1 or cnn")
    outputs = activation_of(cell.network).outputs
    return [(channels, *positions) for channels in (first, *(outputs * width for width in cell.widths[:-1]))]
