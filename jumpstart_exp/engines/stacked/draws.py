"""What networks of one architecture draw at random, each from its own streams, as tensors for all of them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.eager.random_draws import TIE_STREAMS, input_shapes
from jumpstart_exp.engines.stacked.random_bits import draws_of_rows
from jumpstart_exp.losses.separation import TieDraws
from jumpstart_exp.networks.build import dtype
from jumpstart_exp.randomness import Stream

TieRequests = Mapping[tuple[str, int], int]
"""Of every constraint ("U+", …, "L-") and layer, how many draws a batch takes."""


class Draws:
    """The draws of a fleet, as `eager.random_draws` has those of a cell.

    Args:
        cells: of one architecture.
        device: where the draws are.
    """

    def __init__(self, cells: Sequence[Cell], device: torch.device) -> None:
        self.cells, self.device = cells, device
        self.seeds = torch.tensor([cell.seed for cell in cells], device=device)
        rates = [(cell.dropout.rate, float(cell.dropout.anneal_epochs)) for cell in cells]
        self.rates, self.anneal_epochs = torch.tensor(rates, dtype=torch.float64, device=device).T
        self.last_dropped = max((anneal if rate else 0) for rate, anneal in rates)

    def orders(self, epoch: int, n_train: int) -> Tensor:
        """Every network's order of the training points in an epoch (counted from 0), (networks, points)."""
        points = torch.arange(n_train, device=self.device)
        if not self.cells[0].optimizer.shuffle:
            return points.expand(len(self.cells), -1)
        numbers = self._of_layers(Stream.BATCH_ORDER, epoch, [0], points, 1)
        return numbers.flatten(1).argsort(dim=1, stable=True)

    def dropout(self, epoch: int, points: Tensor) -> list[Tensor]:
        """A factor for every hidden layer's input, (networks, points, *shape of an input); none after the annealing.

        Args:
            epoch: counted from 0.
            points: their indices, (points,), or of every network its own, (networks, points).
        """
        if epoch >= self.last_dropped:
            return []
        rate = (self.rates * (1 - epoch / self.anneal_epochs)).clamp_min(0)
        threshold, scale = (rate * 2**32).floor().long(), 1 / (1 - rate)
        shapes = input_shapes(self.cells[0])
        factors: dict[int, Tensor] = {}
        for shape in dict.fromkeys(shapes):
            layers = [layer for layer, own in enumerate(shapes) if own == shape]
            drawn = self._of_layers(Stream.DROPOUT, epoch, layers, points, math.prod(shape))
            kept = (drawn >= threshold[:, None, None, None]) * scale[:, None, None, None]
            kept = kept.transpose(2, 3).to(dtype(self.cells[0]))  # (networks, layers, points, units)
            factors |= {
                layer: own.reshape(*own.shape[:2], *shape) for layer, own in zip(layers, kept.unbind(1), strict=True)
            }
        return [factors[layer] for layer in range(len(shapes))]

    def ties(self, requests: TieRequests, epoch: int, batch: int, points: Tensor) -> dict[str, Tensor]:
        """Draws for random ties of a batch, of every constraint and layer ("U+0"), (networks, draws)."""
        found: dict[str, Tensor] = {}
        for constraint, count in dict.fromkeys((constraint, count) for (constraint, _), count in requests.items()):
            layers = [layer for (own, layer), of in requests.items() if (own, of) == (constraint, count)]
            # a unit's or layer's constraint belongs to a batch, a point's to the point
            of_points = constraint.startswith("P")
            where = points if of_points else torch.tensor([batch], device=self.device)
            units = count // points.shape[-1] if of_points else count
            drawn = self._of_layers(TIE_STREAMS[constraint], epoch, layers, where, units)
            drawn = drawn.transpose(2, 3).flatten(2)
            found |= {f"{constraint}{layer}": drawn[:, index] for index, layer in enumerate(layers)}
        return found

    def _of_layers(self, stream: Stream, epoch: int, layers: Sequence[int], points: Tensor, units: int) -> Tensor:
        """(networks, layers, units, points), int64."""
        count = len(layers)
        of_rows = points if points.dim() == 1 else points.repeat_interleave(count, 0)
        numbers = torch.tensor(layers, device=self.device).repeat(len(self.cells))
        now = torch.tensor(epoch, device=self.device)
        drawn = draws_of_rows(stream, self.seeds.repeat_interleave(count), now, numbers, of_rows, units)
        return drawn.view(len(self.cells), count, *drawn.shape[1:])


def tie_draws(drawn: Mapping[str, Tensor]) -> TieDraws:
    """What `Draws.ties` gave, for a network."""
    return lambda constraint, layer, count: drawn[f"{constraint}{layer}"]


class TieNotes:
    """Draws of zeros that note what was asked for."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}

    def __call__(self, constraint: str, layer: int, count: int) -> Tensor:
        """Which of the tied entries is taken does not change a value."""
        self.requests[constraint, layer] = count
        return torch.from_numpy(np.zeros(count, dtype=np.int64))
