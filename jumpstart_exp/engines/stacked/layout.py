"""How the hidden layers of a fleet lie in one tensor."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.networks.build import dtype

CACHED_NUMBERS = {"cpu": 1 << 17, "cuda": 1 << 26}
"""Numbers of a tensor that long element-wise passes treat at a time: on a CPU what its second-level cache holds."""


class LayerLayout:
    """The hidden layers of networks, layer after layer, and the padding of their units.

    Args:
        cells: of one `StackedEngine.fleet_group`, deepest first.
        n_train: training points.
        device: where the networks are.
    """

    def __init__(self, cells: Sequence[Cell], n_train: int, device: torch.device) -> None:
        self.cells, self.device, self.dtype, self.n_train = cells, device, dtype(cells[0]), n_train
        self.positions = cells[0].positions
        self.width = max(cell.width for cell in cells)
        self.units = self.width * self.positions
        self._number()
        self.training_points = torch.arange(n_train, device=device)
        self.seeds = self.numbers(cell.seed for cell in cells)

    def _number(self) -> None:
        depths = [cell.depth for cell in self.cells]
        self.counts = [sum(depth > layer for depth in depths) for layer in range(depths[0])]
        self.starts = [0, *itertools.accumulate(self.counts)]
        self.n_rows = self.starts[-1]
        rows_of = np.full((len(depths), depths[0]), self.n_rows)
        for layer, (start, count) in enumerate(zip(self.starts, self.counts, strict=False)):
            rows_of[:count, layer] = range(start, start + count)
        self.rows_of = torch.from_numpy(rows_of).to(self.device)
        self.owner = self.numbers(index for count in self.counts for index in range(count))
        self.layer_of = self.numbers(layer for layer, count in enumerate(self.counts) for _ in range(count))
        self.row_width = self.numbers(cell.width for cell in self.cells)[self.owner]
        self.is_real = torch.arange(self.width, device=self.device) < self.row_width[:, None]
        self.is_padded = any(cell.width < self.width for cell in self.cells)

    def numbers(self, values: Iterable[float]) -> Tensor:
        """A tensor of int64 or float64 numbers on the device."""
        return torch.from_numpy(np.array(list(values))).to(self.device)

    def by_channel(self, tensor: Tensor) -> Tensor:
        """(rows, channels, positions, points) of a tensor of (rows, units, points)."""
        return tensor.view(len(tensor), self.width, self.positions, tensor.shape[2])

    def by_network(self, rows: Tensor) -> Tensor:
        """The sum over each network's rows, of a number for each row: no network sees another's NaN."""
        return torch.cat([rows, rows.new_zeros(1)])[self.rows_of].sum(1)

    def chunks(self) -> Iterator[slice]:
        """All rows, in parts that are worked on together."""
        size = max(1, CACHED_NUMBERS[self.device.type] // (self.units * self.n_train))
        return (slice(first, min(first + size, self.n_rows)) for first in range(0, self.n_rows, size))

    def padding_bias(self, bound: float) -> Tensor | None:
        """What is added to pre-activations (rows, channels, 1, 1) so that padding is never the extreme."""
        if not self.is_padded:
            return None
        return torch.where(self.is_real, 0.0, bound).to(self.dtype)[:, :, None, None]
