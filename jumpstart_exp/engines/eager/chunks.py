"""Penalty and census of points that go through the network in parts: extremes of channels grow, others add up."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jumpstart_exp.losses.separation import Extremes, SeparationPenalty
from jumpstart_exp.measures.census import dormant_share
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


@dataclass(frozen=True)
class LayerPart:
    """What a layer makes of some points.

    Attributes:
        smallest_units: smallest pre-activation of each channel, (channels,).
        smallest_points: and of each point, (points,).
        fires: pre-activations above 0 of each channel, their number (channels,).
        sizes: the sum of |output| of each channel, (channels,) in float64.
        positions: that a channel has.
        dead_units: channels without a slope anywhere, (channels,); None of a smooth activation.
        dead_points: and points, (points,).
    """

    smallest_units: Tensor
    smallest_points: Tensor
    fires: Tensor
    sizes: Tensor
    positions: int
    dead_units: Tensor | None
    dead_points: Tensor | None

    @classmethod
    def of(cls, extremes: tuple[Tensor, Tensor], fires: Tensor, h: Tensor, off: Tensor | None) -> "LayerPart":
        """From the extremes of channels and points, firings, activations, and where there is no slope, if anywhere."""
        sizes = h.abs().sum((0, 2, 3), dtype=torch.float64).view(-1, len(fires)).sum(0)
        dead = (None, None) if off is None else (off.all(3).all(2).all(0), off.all(3).all(2).all(1))
        return cls(extremes[0][1], extremes[1][1], fires, sizes, h[0, 0].numel(), *dead)


class LayerCounts:
    """The census of one layer, over points that come in parts."""

    def __init__(self) -> None:
        self.smallest: Tensor | None = None
        self.dead: Tensor | None = None
        self.fired: Tensor | float = 0.0
        self.sizes: Tensor | float = 0.0
        self.dead_points, self.linear_points, self.points, self.positions = 0, 0, 0, 1

    def add(self, part: LayerPart) -> None:
        """A part of the points."""
        self.fired, self.sizes, self.positions = self.fired + part.fires, self.sizes + part.sizes, part.positions
        smallest = part.smallest_units
        self.smallest = smallest if self.smallest is None else torch.minimum(self.smallest, smallest)
        if part.dead_units is not None and part.dead_points is not None:
            self.dead = part.dead_units if self.dead is None else self.dead & part.dead_units
            self.dead_points += int(part.dead_points.sum())
        self.linear_points += int((part.smallest_points > 0).sum())
        self.points += len(part.smallest_points)

    def fractions(self) -> tuple[float, ...]:
        """In the order of `CENSUS`, then `ACTIVITY`."""
        assert self.smallest is not None and isinstance(self.fired, Tensor) and isinstance(self.sizes, Tensor)
        entries = self.points * self.positions
        activity = (
            dormant_share(self.sizes / entries).item(),
            (self.fired.sum().double() / (entries * len(self.fired))).item(),
        )
        if self.dead is None:
            return (*[math.nan] * 4, *activity)
        dead, linear = self.dead.double().mean(), (self.smallest > 0).double().mean()
        points = self.dead_points / self.points, self.linear_points / self.points
        return dead.item(), linear.item(), *points, *activity
