"""What the C++ extension does for CNNs and `eager`: extremes of channels and positions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jumpstart_exp.engines.native.extension import native


def separate(
    g: Tensor, margin_above: float, margin_below: float, instruction_set: str = ""
) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """ReLU in place, with the extremes of every channel and point and where they are; None where it cannot be done.

    Args:
        g: pre-activations (points, channels, height, width), on the CPU, channels last in memory.
        margin_above: entries of maxima that reach it are not looked for: they are given as 0.
        margin_below: the same for minima.
        instruction_set: one of `instruction_sets()`; empty for the first.

    Returns:
        maxima and minima of the channels (2, channels); flat indices into g's memory of the entries that have them, the
        lowest in (point, channel, position) order; the same of the points, (2, points).
    """
    if not takes_rows(g):
        return None
    points, channels = g.shape[:2]
    found = [g.new_empty(2, count, dtype=dtype) for count in (channels, points) for dtype in (g.dtype, torch.int64)]
    native.separate(_rows(g), *found, margin_above, margin_below, instruction_set)
    return found[0], found[1], found[2], found[3]


def takes_rows(g: Tensor) -> bool:
    """Whether the functions of this module can do it: on the CPU, channels last in memory."""
    known = native is not None and g.device.type == "cpu" and g.dtype in (torch.float32, torch.float64)
    return known and g.is_contiguous(memory_format=torch.channels_last)


def find_positions(g: Tensor, instruction_set: str = "") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Extremes of constraints of one position each, and how many entries share them.

    Args:
        g: pre-activations (points, channels, height, width) for which `takes_rows` holds.
        instruction_set: one of `instruction_sets()`; empty for the first.

    Returns:
        maxima and minima of the units over the points (2, positions, channels), and how many entries have each; of the
        points over the channels (2, points, positions), and how many.
    """
    rows = _rows(g)
    units, points = _empty(rows, 2)
    native.find_positions(rows, units, points, False, instruction_set)
    return units[0], units[1], points[0], points[1]


@dataclass(frozen=True)
class SharedExtremes:
    """Extremes of constraints of one position each, maxima and minima, whose ties share the gradient.

    Attributes:
        units: over the points, (2, positions, channels).
        unit_shares: how many entries have each, in the values' dtype.
        points: over the channels, (2, points, positions).
        point_firsts: the channel of the first entry that has each, uint8.
        point_counts: how many entries have each, uint8; None where that is one everywhere.
        activations: of the ReLU, shaped and laid out like the pre-activations.
    """

    units: Tensor
    unit_shares: Tensor
    points: Tensor
    point_firsts: Tensor
    point_counts: Tensor | None
    activations: Tensor


MOST_CHANNELS_OF_SHARED = 255
"""Of `find_shared`: a byte holds an index or a count of them."""


def find_shared(g: Tensor, instruction_set: str = "") -> SharedExtremes:
    """As `find_positions`, with what is little to keep of the points, and the ReLU.

    Args:
        g: as `find_positions` has it, of at most `MOST_CHANNELS_OF_SHARED` channels.
        instruction_set: one of `instruction_sets()`; empty for the first.
    """
    rows, activations = _rows(g), torch.empty_like(g)
    units, (points,) = _empty(rows, 2)[0], _empty(rows, 1)[1]
    counts, firsts = (torch.empty(points.shape, dtype=torch.uint8) for _ in range(2))
    any_tied = native.find_shared(rows, *units, points, counts, firsts, _rows(activations), instruction_set)
    return SharedExtremes(units[0], units[1], points, firsts, counts if any_tied else None, activations)


def shared_gradients_(
    gradient: Tensor,
    g: Tensor,
    units: Tensor,
    unit_pulls: Tensor,
    point_firsts: Tensor,
    point_counts: Tensor | None,
    margins: tuple[float, float],
    point_pulls: tuple[float, float],
    instruction_set: str = "",
) -> None:
    """The gradient of the ReLU's outputs becomes, in place, that of g and of its constraints.

    Args:
        gradient: laid out like g.
        g: pre-activations for which `takes_rows` holds.
        units: as `find_shared` has them.
        unit_pulls: the gradient of each entry that has the extreme.
        point_firsts: as `find_shared` has them.
        point_counts: likewise.
        margins: below the first a point's maximum is pulled, above the second its minimum.
        point_pulls: the gradients of a maximum and a minimum that are pulled, which tied entries share.
        instruction_set: one of `instruction_sets()`; empty for the first.
    """
    native.shared_gradients(
        _rows(g), units, unit_pulls, point_firsts, point_counts, margins, point_pulls, _rows(gradient), instruction_set
    )


def position_gradients(
    g: Tensor, units: Tensor, unit_grads: Tensor, points: Tensor, point_grads: Tensor, instruction_set: str = ""
) -> Tensor:
    """The gradient of g where every entry that has an extreme is pulled, in g's layout.

    Args:
        g: as `find_positions` had it.
        units: the units' extremes.
        unit_grads: the gradient of each entry that has one, shaped like them.
        points: the points' extremes.
        point_grads: the gradient of each entry that has one.
        instruction_set: as `find_positions` had it.
    """
    gradient = torch.empty_like(g)
    grads = [part.contiguous() for part in (unit_grads, point_grads)]
    native.position_gradients(_rows(g), units, grads[0], points, grads[1], _rows(gradient), instruction_set)
    return gradient


@dataclass(frozen=True)
class Places:
    """Extremes of constraints over one axis, and the entries that have them.

    Attributes:
        values: maxima and minima, (2, …).
        first: index along the axis of the first entry that has each, in the values' dtype, shaped like them.
        last: of the last one; None where it was not asked for.
    """

    values: Tensor
    first: Tensor
    last: Tensor | None = None


def find_places(g: Tensor, *, with_last: bool, instruction_set: str = "") -> tuple[Places, Places] | None:
    """Extremes of constraints of one position each, and where they are; None where an entry is no number.

    Args:
        g: as `find_positions` has it; indices are exact in up to 2²⁴ points and channels, more are refused.
        with_last: whether the last entry that has an extreme is asked for, too.
        instruction_set: one of `instruction_sets()`; empty for the first.

    Returns:
        of the units over the points, (2, positions, channels); of the points over the channels, (2, points, positions).
    """
    rows = _rows(g)
    units, points = _empty(rows, 3 if with_last else 2)
    if native.find_positions(rows, units, points, True, instruction_set):
        return None
    return Places(*units), Places(*points)


def place_gradients(
    unit_first: Tensor,
    unit_grads: Tensor,
    point_first: Tensor,
    point_grads: Tensor,
    like: Tensor,
    instruction_set: str = "",
) -> Tensor:
    """The gradient of pre-activations of which one entry a constraint is pulled.

    Args:
        unit_first: its index along the points, of every unit's maximum and minimum, (2, positions, channels).
        unit_grads: what it is pulled by, shaped like them.
        point_first: its index along the channels, (2, points, positions).
        point_grads: what it is pulled by.
        like: a tensor of the pre-activations' shape, dtype and layout, for which `takes_rows` holds.
        instruction_set: one of `instruction_sets()`; empty for the first.
    """
    gradient = torch.empty_like(like)
    parts = [part.to(like.dtype).contiguous() for part in (unit_grads, unit_first, point_grads, point_first)]
    native.position_gradients(None, *parts, _rows(gradient), instruction_set)
    return gradient


def _empty(rows: Tensor, parts: int) -> tuple[list[Tensor], list[Tensor]]:
    """For the units and the points of (points, positions, channels): so many tensors of two numbers a constraint."""
    points, positions, channels = rows.shape
    shapes = (2, positions, channels), (2, points, positions)
    units, of_points = ([rows.new_empty(shape) for _ in range(parts)] for shape in shapes)
    return units, of_points


def _rows(g: Tensor) -> Tensor:
    """(points, positions, channels) in g's own memory."""
    return g.detach().permute(0, 2, 3, 1).flatten(1, 2)
