"""The separation penalty of a fleet, and its gradient."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.stacked.layout import LayerLayout
from jumpstart_exp.engines.stacked.random_bits import draws_of_rows
from jumpstart_exp.randomness import Stream
from jumpstart_exp.settings import setting_error

_TIE_STREAMS = {
    ("U", "above"): Stream.TIE_UNIT_ABOVE,
    ("U", "below"): Stream.TIE_UNIT_BELOW,
    ("P", "above"): Stream.TIE_POINT_ABOVE,
    ("P", "below"): Stream.TIE_POINT_BELOW,
    ("L", "above"): Stream.TIE_LAYER_ABOVE,
    ("L", "below"): Stream.TIE_LAYER_BELOW,
}


class Penalty:
    """The separation penalty of every network, and its gradient.

    Axes are (rows, channels, positions, points) throughout; the maxima and minima of a constraint run over some of
    the last three, which stay as axes of length 1.
    """

    def __init__(self, rows: LayerLayout) -> None:
        self.rows = rows
        cells, spec = rows.cells, rows.cells[0].penalty
        self.aggregate, self.ties = spec.aggregate, spec.ties
        self.axes = {kind: _axes(kind, spec.scope) for kind in spec.kind}
        specs = [cell.penalty for cell in cells]
        places = list(zip(rows.owner.tolist(), rows.layer_of.tolist(), strict=True))
        layer_weights = rows.numbers(1.0 if (own := specs[i].layer_weights) is None else own[k] for i, k in places)

        def by_row(values: Iterable[float]) -> Tensor:
            return rows.numbers(values)[rows.owner]

        def rounded(numbers: Tensor) -> Tensor:
            return numbers.to(rows.dtype)[:, None, None, None]

        counts = {
            kind: [cell.depth * _constraints(kind, spec.scope, cell, rows.n_train) for cell in cells]
            for kind in self.axes
        }
        self.shares = {}
        for kind in self.axes:
            # a constraint of a padded unit counts for nothing
            real = rows.is_real[:, :, None, None] if kind == "U" else 1
            for number, side in enumerate(("above", "below")):
                of_side = [own.shares(kind)[number] for own in specs]
                if self.aggregate == "balanced":  # a kind's mean is a sum of smaller shares
                    of_side = [share / count for share, count in zip(of_side, counts[kind], strict=True)]
                self.shares[kind, side] = rounded(layer_weights * by_row(of_side)) * real
        self.bound, self.schedule, self.steps = spec.upper_bound, spec.schedule, cells[0].optimizer.epochs
        self.margins = {
            "above": rounded(by_row(own.margin_above for own in specs)),
            "below": rounded(by_row(own.margin_below for own in specs)),
        }
        self.padding_bias = {"above": rows.padding_bias(-math.inf), "below": rows.padding_bias(math.inf)}
        pairs = [sum(own) for own in zip(*counts.values(), strict=True)]
        self.pairs = rows.numbers(pairs).to(rows.dtype)
        match self.aggregate:
            case "sum" | "l2" | "balanced":
                factors = [1.0] * len(cells)
            case "mean":
                factors = [1 / own for own in pairs]
            case "sum_sq":
                factors = [2.0] * len(cells)
            case other:
                raise setting_error("penalty.aggregate", other, "sum, mean, l2, sum_sq or balanced")
        self.is_squared = self.aggregate in ("l2", "sum_sq")
        self.weight = rounded(by_row(own.weight * factor for own, factor in zip(specs, factors, strict=True)))
        # the largest where the entry comes first in (point, channel, position) order
        entries = rows.n_train * rows.units
        order = torch.arange(entries, 0, -1, device=rows.device, dtype=rows.dtype)
        self.bits = torch.int64 if rows.dtype == torch.float64 else torch.int32
        self.rank = order.view(rows.n_train, rows.width, rows.positions).permute(1, 2, 0).contiguous()

    def __call__(self, pre: Tensor, grad_pre: Tensor | None = None, epoch: Tensor | None = None) -> Tensor:
        """The penalty of every network before λ; λ, by its schedule, times its gradient is added to `grad_pre`.

        Args:
            pre: pre-activations of all rows on the training points.
            grad_pre: of the same shape; None for the value alone.
            epoch: counted from 0, for λ's schedule and the draws of random ties.
        """
        weight = self.weight if epoch is None else self._scheduled(epoch)
        match self.aggregate:
            case "sum" | "sum_sq" | "balanced":
                return self._sweep(pre, grad_pre, weight, epoch)
            case "mean":
                return self._sweep(pre, grad_pre, weight, epoch) / self.pairs
            case "l2":
                norm = self._sweep(pre, None, weight, None).sqrt()
                if grad_pre is not None:
                    inverse = norm.reciprocal().masked_fill_(norm == 0, 0)
                    self._sweep(pre, grad_pre, weight * inverse[self.rows.owner, None, None, None], epoch)
                return norm
            case other:
                raise setting_error("penalty.aggregate", other, "sum, mean, l2, sum_sq or balanced")

    def _scheduled(self, epoch: Tensor) -> Tensor:
        """λ of every row in an epoch, which is a step."""
        match self.schedule:
            case "constant":
                return self.weight
            case "cosine":
                factor = 0.5 * (1 + torch.cos(math.pi * (epoch.double() / self.steps)))
            case "linear":
                factor = 1 - epoch.double() / self.steps
            case other:
                raise setting_error("penalty.schedule", other, "constant, cosine or linear")
        return self.weight * factor.to(self.rows.dtype)

    def _sweep(self, pre: Tensor, grad_pre: Tensor | None, weight: Tensor, epoch: Tensor | None) -> Tensor:
        """Σv or Σv² of every network; adds weight·∂v (times v where squared) to the grad_pre."""
        totals = []
        for rows in self.rows.chunks():
            total = pre.new_zeros(rows.stop - rows.start)
            for kind, axes in self.axes.items():
                found = {side: self._deficits(pre[rows], rows, side, axes) for side in ("above", "below")}
                above, below = (found[side][2] * self.shares[kind, side][rows] for side in found)
                pair = above + below
                total += (pair.square() if self.is_squared else pair).sum((1, 2, 3))
                if grad_pre is None:
                    continue
                for side, (entries, extreme, deficit) in found.items():
                    steepness = self.shares[kind, side][rows] * weight[rows]
                    if self.bound is not None:  # beyond it, the other way
                        beyond = extreme > self.bound if side == "above" else extreme < -self.bound
                        steepness = torch.where(beyond, -steepness, steepness)
                    coefficient = deficit.sign_().mul_(steepness * pair if self.is_squared else steepness)
                    chosen = torch.eq(entries, extreme, out=torch.empty_like(grad_pre[rows]))
                    match self.ties:
                        case "shared":
                            coefficient = coefficient / chosen.sum(axes, keepdim=True)
                        case "single":
                            # no number is negative, so their bits are in the same order, and faster to compare
                            lowest = chosen.mul_(self.rank).view(self.bits).amax(axes, keepdim=True)
                            torch.eq(chosen, lowest.view(chosen.dtype), out=chosen)
                        case "random":
                            chosen = self._drawn(chosen, kind, side, axes, rows, epoch)
                        case other:
                            raise setting_error("penalty.ties", other, "shared, single or random")
                    grad_pre[rows].addcmul_(chosen, coefficient, value=-1 if side == "above" else 1)
            totals.append(total)
        return self.rows.by_network(torch.cat(totals))

    def _deficits(self, pre: Tensor, rows: slice, side: str, axes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """The entries, where padding is beyond all others; every constraint's extreme; its deficit."""
        padding_bias, margin = self.padding_bias[side], self.margins[side][rows]
        entries = pre if padding_bias is None or 1 not in axes else pre + padding_bias[rows]
        if side == "above":
            extreme = entries.amax(axes, keepdim=True)
            deficit = margin - extreme
        else:
            extreme = entries.amin(axes, keepdim=True)
            deficit = extreme - margin
        if self.bound is not None:
            beyond = extreme - self.bound if side == "above" else -self.bound - extreme
            torch.maximum(deficit, beyond, out=deficit)
        return entries, extreme, deficit.clamp_min_(0)

    def _drawn(
        self, tied: Tensor, kind: str, side: str, axes: tuple[int, ...], rows: slice, epoch: Tensor | None
    ) -> Tensor:
        """1 at the k-th tied entry of every constraint in (point, channel, position) order, k = ⌊draw · tied / 2³²⌋."""
        all_rows = self.rows
        assert epoch is not None
        points = all_rows.training_points if kind == "P" else all_rows.training_points[:1]
        constraints = [1 if axis in axes else tied.shape[axis] for axis in (1, 2, 3)]
        numbers = draws_of_rows(
            _TIE_STREAMS[kind, side],
            all_rows.seeds[all_rows.owner[rows]],
            epoch,
            all_rows.layer_of[rows],
            points,
            constraints[0] * constraints[1],
        )
        kept_axes = [axis for axis in (1, 2, 3) if axis not in axes]
        entry_axes = [axis for axis in (3, 1, 2) if axis in axes]
        order = [0, *kept_axes, *entry_axes]
        arranged = tied.permute(order)
        is_tied = arranged.flatten(1 + len(kept_axes)) > 0
        k = (numbers.view(is_tied.shape[:-1]) * is_tied.sum(-1)) >> 32
        is_chosen = is_tied & (is_tied.cumsum(-1) == k[..., None] + 1)
        inverse_order = [order.index(axis) for axis in range(4)]
        return is_chosen.view(arranged.shape).permute(inverse_order).to(tied.dtype)


def _axes(kind: str, scope: str) -> tuple[int, ...]:
    """The axes over which a constraint's maximum runs."""
    match kind, scope:
        case "L", _:
            return (1, 2, 3)
        case "U", "channel":
            return (2, 3)
        case "U", "position":
            return (3,)
        case "P", "channel":
            return (1, 2)
        case "P", "position":
            return (1,)
        case other:
            raise ValueError(f"penalty.kind and penalty.scope are {other}")


def _constraints(kind: str, scope: str, cell: Cell, points: int) -> int:
    """Pairs of constraints that a hidden layer has."""
    each = {"position": cell.positions, "channel": 1}[scope]
    return {"U": cell.width * each, "P": points * each, "L": 1}[kind]
