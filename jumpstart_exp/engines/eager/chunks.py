"""Penalty and census of points that go through the network in parts: extremes of channels grow, others add up."""

import math

import torch
from torch import Tensor

from jumpstart_exp.losses.separation import Extremes, SeparationPenalty
from jumpstart_exp.settings import setting_error


class PenaltyOfParts:
    """The penalty of a batch whose points come in parts: a point's constraints are its own, the others grow."""

    def __init__(self, penalty: SeparationPenalty) -> None:
        self.penalty, self.kinds = penalty, penalty.spec.kind
        self._grown: dict[tuple[int, str], tuple[Tensor, Tensor]] = {}
        self._sum, self._sum_of_squares = 0.0, 0.0
        self._sums, self._counts = dict.fromkeys(self.kinds, 0.0), dict.fromkeys(self.kinds, 0)

    def add(self, layer: int, extremes: Extremes) -> None:
        """A part's extremes of one layer."""
        for kind, (largest, smallest) in extremes.items():
            if kind == "P":
                self._add_pairs(layer, kind, largest, smallest)
            else:
                known = self._grown.get((layer, kind), (largest, smallest))
                self._grown[layer, kind] = torch.maximum(known[0], largest), torch.minimum(known[1], smallest)

    def value(self) -> float:
        """The penalty, before λ, of all parts that were added."""
        for (layer, kind), (largest, smallest) in self._grown.items():
            self._add_pairs(layer, kind, largest, smallest)
        self._grown.clear()
        match self.penalty.spec.aggregate:
            case "sum":
                return self._sum
            case "mean":
                return self._sum / sum(self._counts.values())
            case "balanced":
                return sum(self._sums[kind] / self._counts[kind] for kind in self.kinds)
            case "l2":
                return math.sqrt(self._sum_of_squares)
            case "sum_sq":
                return self._sum_of_squares
            case other:
                raise setting_error("penalty.aggregate", other, "sum, mean, l2, sum_sq or balanced")

    def _add_pairs(self, layer: int, kind: str, largest: Tensor, smallest: Tensor) -> None:
        weights = self.penalty.spec.layer_weights
        v = self.penalty.pairs(kind, largest, smallest).double() * (1.0 if weights is None else weights[layer])
        total = v.sum().item()
        self._sum += total
        self._sums[kind] += total
        self._sum_of_squares += v.square().sum().item()
        self._counts[kind] += v.numel()


class LayerCounts:
    """Dead and linear units and points of one layer, over points that come in parts."""

    def __init__(self) -> None:
        self.units: Tensor | None = None
        self.dead_points, self.linear_points, self.points = 0, 0, 0

    def add(self, units: Tensor, points: Tensor) -> None:
        """A part's extremes of the channels (2, channels) and of the points (2, points)."""
        known = units if self.units is None else self.units
        self.units = torch.stack([torch.maximum(known[0], units[0]), torch.minimum(known[1], units[1])])
        self.dead_points += int((points[0] <= 0).sum())
        self.linear_points += int((points[1] > 0).sum())
        self.points += points.shape[1]

    def fractions(self) -> tuple[float, float, float, float]:
        """Of dead and linear units, and of dead and linear points."""
        assert self.units is not None
        dead, linear = (self.units[0] <= 0).double().mean(), (self.units[1] > 0).double().mean()
        return dead.item(), linear.item(), self.dead_points / self.points, self.linear_points / self.points
