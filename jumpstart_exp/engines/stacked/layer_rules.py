"""A fleet's optimizer with what its settings say of layers: which are trained, and what is asked of rows of weights."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.layers import is_trained, limit_rows, row_weights
from jumpstart_exp.engines.stacked.optimizers import optimizer_of


class LayersOptimizer:
    """The optimizer of networks of one architecture: it sees the parameters of the layers that are trained alone.

    Args:
        cells: of one `StackedEngine.fleet_group`, alike in the layers that the settings name.
        shapes: of a network's parameters by torch's names, in their order.
        weights: all parameters of all networks, (networks · parameters,).
        gradients: of them, (networks · parameters,); a step spends them.
        batches: steps of an epoch.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        shapes: Mapping[str, tuple[int, ...]],
        weights: Tensor,
        gradients: Tensor,
        batches: int,
    ) -> None:
        self.weights, self.gradients = (flat.view(len(cells), -1) for flat in (weights, gradients))
        sizes = torch.tensor([math.prod(shape) for shape in shapes.values()])
        is_own = torch.tensor([is_trained(cells[0], name) for name in shapes]).repeat_interleave(sizes)
        self.columns = None if is_own.all() else is_own.nonzero()[:, 0].to(weights.device)
        self.own_weights, self.own_gradients = self._own(self.weights), self._own(self.gradients)
        owners = torch.arange(len(cells), device=weights.device).repeat_interleave(self.own_weights.shape[1])
        flats = (self.own_weights.view(-1), self.own_gradients.view(-1))
        self.optimizer = optimizer_of(cells, *flats, lambda: owners, batches)
        specs = [cell.optimizer for cell in cells]
        self.penalties = self._numbers([spec.row_penalty for spec in specs])
        self.limits = self._numbers([math.inf if spec.row_limit is None else spec.row_limit for spec in specs])
        self.is_penalised = any(spec.row_penalty for spec in specs)
        self.is_limited = any(spec.row_limit is not None for spec in specs)
        starts = dict(zip(shapes, (sizes.cumsum(0) - sizes).tolist(), strict=True))
        self.rows = [(starts[name], shapes[name]) for name in row_weights(cells[0])]

    def step(self, steps: Tensor) -> None:
        """One step down the gradients, after so many others (a number on the device)."""
        if self.is_penalised:
            for weight, gradient in zip(self._of_rows(self.weights), self._of_rows(self.gradients), strict=True):
                gradient.add_(weight * _like(self.penalties, weight).to(weight.dtype))
        if self.columns is not None:
            self.own_weights.copy_(self._own(self.weights))
            self.own_gradients.copy_(self._own(self.gradients))
        self.optimizer.step(steps)
        if self.columns is not None:
            self.weights.index_copy_(1, self.columns, self.own_weights)
        if self.is_limited:
            for weight in self._of_rows(self.weights):
                limit_rows(weight, _like(self.limits, weight), before=1)

    @property
    def slots(self) -> dict[str, Tensor]:
        """The optimizer's slots, (networks, parameters) each: its own, or copies with 0 for what is not trained."""
        own = {name: slot.view(len(self.weights), -1) for name, slot in self.optimizer.slots.items()}
        if self.columns is None:
            return own
        return {name: torch.zeros_like(self.weights).index_copy_(1, self.columns, slot) for name, slot in own.items()}

    def fill(self, slots: Mapping[str, Tensor]) -> None:
        """Put slots, (networks, parameters) each, into the optimizer."""
        for name, rows in slots.items():
            self.optimizer.slots[name].copy_(self._own(rows).reshape(-1))

    def _own(self, rows: Tensor) -> Tensor:
        """What is trained of (networks, parameters): a copy, but where it is all."""
        return rows if self.columns is None else rows[:, self.columns]

    def _of_rows(self, flat: Tensor) -> list[Tensor]:
        """The weights of which rows are penalised and limited, (networks, rows, inputs, …) each: views."""
        return [flat[:, start : start + math.prod(shape)].view(len(flat), *shape) for start, shape in self.rows]

    def _numbers(self, of_networks: Sequence[float]) -> Tensor:
        return torch.tensor(of_networks, dtype=torch.float64, device=self.weights.device)


def _like(numbers: Tensor, weight: Tensor) -> Tensor:
    """A number of every network, with as many axes as a weight of all networks."""
    return numbers.view(-1, *[1] * (weight.dim() - 1))
