"""Which entries of a layer have the extreme of a constraint, and which of several gets the gradient.

Maxima and minima over one axis run at the speed of memory, a search for their place does not. So a place is found by
comparing with the extreme, once, and only where several entries have it are these listed one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from jumpstart_exp.settings import setting_error

_SMALL = 1 << 14
"""Numbers of a layer up to which torch's own search, one operation, is faster than a comparison's several."""

_LISTED_AT_ONCE = 1 << 22
"""Numbers that are copied at once to list tied entries."""


@dataclass(frozen=True)
class Rows:
    """A layer's numbers in the order in which they lie in memory: a copy where that is neither of the two.

    Attributes:
        dense: contiguous, (points, channels, positions), or (points, positions, channels) where `channels_last`.
        channels_last: which of the two.
    """

    dense: Tensor
    channels_last: bool

    @classmethod
    def of(cls, g: Tensor) -> "Rows":
        """Of pre-activations (points, channels, *positions), without their graph."""
        rows = g.detach()
        rows = rows[:, :, None] if g.dim() == 2 else rows.flatten(2)
        if not rows.is_contiguous() and (last := rows.transpose(1, 2)).is_contiguous():
            return cls(last, channels_last=True)
        return cls(rows.contiguous(), channels_last=False)

    @property
    def by_channel(self) -> Tensor:
        """A view (points, channels, positions)."""
        return self.dense.transpose(1, 2) if self.channels_last else self.dense

    def flat(self, point: Tensor, channel: Tensor, position: Tensor) -> Tensor:
        """The entries' indices in memory."""
        _, channels, positions = self.by_channel.shape
        if self.channels_last:
            return (point * positions + position) * channels + channel
        return (point * channels + channel) * positions + position


@dataclass(frozen=True)
class Chosen:
    """The extremes of one side of a layer's constraints of one kind, and the entries that get their gradients.

    Attributes:
        values: the extremes, (constraints,).
        entries: indices in memory, by constraint, (entries,).
        counts: how many of them each constraint has, (constraints,); None for one each.
    """

    values: Tensor
    entries: Tensor
    counts: Tensor | None = None


@dataclass(frozen=True)
class _Tied:
    """All entries that have their constraint's extreme, by constraint, then in (point, channel, position) order.

    Attributes:
        owners: their constraints, (entries,).
        entries: indices in memory, (entries,).
    """

    owners: Tensor
    entries: Tensor


def chosen_by_position(rows: Rows, kind: str, ties: str, draw: Callable[[int], Tensor], *, largest: bool) -> Chosen:
    """The entries of constraints over one axis: of one position each, or of layers with one position.

    Args:
        rows: the layer.
        kind: U (over the points) or P (over the channels).
        ties: single, shared or random.
        draw: so many draws for `random` ties.
        largest: maxima; else minima.
    """
    match kind:
        case "U":
            axis = 0
        case "P":
            axis = 2 if rows.channels_last else 1
        case other:
            raise setting_error("penalty.kind", other, "U or P")
    dense = rows.dense
    if ties == "single" and dense.numel() <= _SMALL:
        values, first = dense.max(axis) if largest else dense.min(axis)
        last = first
    else:
        values = dense.amax(axis) if largest else dense.amin(axis)
        first, last = _places(dense, values, axis, with_last=ties != "single")
    beginning = _without(dense, axis)
    step = dense.stride(axis)
    entries, is_tied = beginning + first * step, first != last
    if axis == 0 and rows.channels_last:  # constraints are in (channel, position) order
        values, entries, is_tied, beginning = values.t(), entries.t(), is_tied.t(), beginning.t()
    values, entries, is_tied, beginning = values.flatten(), entries.flatten(), is_tied.flatten(), beginning.flatten()
    if ties == "single":
        return Chosen(values, entries)
    constraints = is_tied.nonzero()[:, 0]
    if len(constraints) == 0:
        if ties == "random":
            draw(len(values))  # a generator's next draws must not depend on what is tied
        return Chosen(values, entries)
    begin, stop = beginning[constraints], values[constraints]
    places = torch.arange(dense.shape[axis], device=dense.device) * step
    flat = dense.flatten()
    which, place = _listed(begin, stop, lambda some: flat[some[:, None] + places], dense.shape[axis])
    owners = torch.cat([(~is_tied).nonzero()[:, 0], constraints[which]])
    order = owners.argsort(stable=True)
    entries = torch.cat([entries[~is_tied], begin[which] + place * step])
    return _choose(values, _Tied(owners[order], entries[order]), ties, draw)


def chosen_by_channel(rows: Rows, kind: str, ties: str, draw: Callable[[int], Tensor], *, largest: bool) -> Chosen:
    """The entries of constraints over all positions, where ties are not the lowest index's.

    Args:
        rows: the layer.
        kind: U, P or L.
        ties: shared or random.
        draw: so many draws for `random` ties.
        largest: maxima; else minima.
    """
    axis = 1 if rows.channels_last else 2
    table = rows.dense.amax(axis) if largest else rows.dense.amin(axis)  # (points, channels)
    axes = {"U": (0,), "P": (1,), "L": (0, 1)}[kind]
    extremes = table.amax(axes, keepdim=True) if largest else table.amin(axes, keepdim=True)
    has_extreme = (table == extremes) | table.isnan()
    if kind == "U":
        channel, point = has_extreme.t().nonzero().unbind(1)
        owners = channel
    else:
        point, channel = has_extreme.nonzero().unbind(1)
        owners = point if kind == "P" else torch.zeros_like(point)
    values = extremes.flatten()
    every = torch.arange(len(point), device=point.device)
    which, position = _listed(
        every, values[owners], lambda some: rows.by_channel[point[some], channel[some]], rows.dense.shape[axis]
    )
    return _choose(values, _Tied(owners[which], rows.flat(point[which], channel[which], position)), ties, draw)


def _without(dense: Tensor, axis: int) -> Tensor:
    """Indices in memory of the numbers that stand first along the axis, with the shape of the other two."""
    one, other = (
        torch.arange(dense.shape[own], device=dense.device) * dense.stride(own) for own in range(3) if own != axis
    )
    return one[:, None] + other


def _places(dense: Tensor, extremes: Tensor, axis: int, *, with_last: bool) -> tuple[Tensor, Tensor]:
    """Where along the axis the first and the last number stand that equal the extreme; the first for both if not asked.

    0 where none does: the extreme is no number.
    """
    size = dense.shape[axis]
    small = torch.uint8 if size < 2**8 else torch.int16 if size < 2**15 else torch.int32  # few bytes are fast
    rank = torch.arange(1, size + 1, device=dense.device).to(small).view([-1 if own == axis else 1 for own in range(3)])
    equal = dense == extremes.unsqueeze(axis)
    best = (equal * rank.flip(axis)).amax(axis).to(torch.int64)
    first = torch.where(best > 0, size - best, 0)
    if not with_last:
        return first, first
    return first, ((equal * rank).amax(axis).to(torch.int64) - 1).clamp_(min=0)


def _listed(
    constraints: Tensor, extremes: Tensor, numbers: Callable[[Tensor], Tensor], size: int
) -> tuple[Tensor, Tensor]:
    """Which of the rows, and where in them, equal their extremes: (entries,) each, row by row.

    Args:
        constraints: of each row, what `numbers` takes, (rows,).
        extremes: of each row, (rows,).
        numbers: the numbers of some rows, (some, size).
        size: numbers in a row.
    """
    step = max(1, _LISTED_AT_ONCE // size)
    found = []
    for start in range(0, len(constraints), step):
        some = numbers(constraints[start : start + step])
        places = ((some == extremes[start : start + step, None]) | some.isnan()).nonzero()
        found.append((places[:, 0] + start, places[:, 1]))
    which, place = (torch.cat(part) for part in zip(*found, strict=True))
    return which, place


def _choose(values: Tensor, tied: _Tied, ties: str, draw: Callable[[int], Tensor]) -> Chosen:
    counts = torch.bincount(tied.owners, minlength=len(values))
    match ties:
        case "shared":
            return Chosen(values, tied.entries, counts)
        case "random":
            k = (draw(len(values)).to(values.device) * counts) >> 32
            return Chosen(values, tied.entries[counts.cumsum(0) - counts + k])
        case other:
            raise setting_error("penalty.ties", other, "shared or random")
