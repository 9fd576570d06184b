"""The extremes of a layer's constraints, kept as the indices of the entries that have them.

A convolution's channel has its largest and smallest entry over points and positions, a point over channels and
positions (CPAIOR, section 3). All that their gradient needs is where they are: no pre-activation is kept, and whoever
changes it in place afterwards changes neither value nor gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from jumpstart_exp.losses.tied_entries import Chosen, Rows, chosen_by_channel, chosen_by_position
from jumpstart_exp.settings import SettingError, setting_error

Side = tuple[str, bool]
"""A kind (U, P, L) and whether it is the maxima."""


def constraint_extremes(
    g: Tensor, kinds: str, *, ties: str, scope: str, draw: Callable[[str, int], Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """The largest and smallest entry of every constraint by kind, flat and in at least float32, differentiable.

    The gradient is of the dtype of g and has derivatives of its own. An extreme over something that is no number is
    none.

    Args:
        g: pre-activations (points, channels, *positions), real floating-point numbers.
        kinds: U, P, UP or L.
        ties: single, shared or random.
        scope: channel or position.
        draw: (constraint, count) → draws for `random` ties, as `TieDraws`.
    """
    if scope not in ("channel", "position"):
        raise setting_error("penalty.scope", scope, "channel or position")
    sides = [(kind, largest) for kind in kinds for largest in (True, False)]
    rows = Rows.of(g)
    if not (g.requires_grad and torch.is_grad_enabled()):
        found = [_values(rows, kind, scope, largest=largest) for kind, largest in sides]
    else:
        by_position = scope == "position" or rows.by_channel.shape[2] == 1
        in_order = ties == "single" and scope == "channel"
        if by_position and kinds != "L":
            chosen = [
                chosen_by_position(rows, kind, ties, _of_side(draw, kind, largest), largest=largest)
                for kind, largest in sides
            ]
        elif ties == "single":
            chosen = _single_of_channels(rows, sides)
        else:
            chosen = [
                chosen_by_channel(rows, kind, ties, _of_side(draw, kind, largest), largest=largest)
                for kind, largest in sides
            ]
        groups = [chosen] if in_order else [chosen[first : first + 2] for first in range(0, len(chosen), 2)]
        flat = _Extremes.apply(g, groups, rows)  # type: ignore[no-untyped-call]
        found = list(torch.split(flat, [len(side.values) for side in chosen]))
    return {kind: (found[2 * index], found[2 * index + 1]) for index, kind in enumerate(kinds)}


def whole_extremes(g: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima and minima of the channels (2, channels) and of the points (2, points), differentiable.

    Several equal entries: the gradient goes to the lowest flat index in (point, channel, position) order.

    Args:
        g: pre-activations (points, channels, *positions).
    """
    found = constraint_extremes(g, "UP", ties="single", scope="channel", draw=_no_draw)
    return torch.stack(found["U"]), torch.stack(found["P"])


def find_extremes(g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Extremes of channels and points with their entries, in torch's operations, on any device.

    Args:
        g: pre-activations (points, channels, *positions).

    Returns:
        maxima and minima of the channels (2, channels) in at least float32; their entries (2, channels, 3) as (point,
        channel, position); the same of the points.
    """
    rows = g.detach().flatten(2)
    points, channels = rows.shape[:2]
    largest, smallest = rows.amax(2), rows.amin(2)
    every_channel, every_point = torch.arange(channels, device=g.device), torch.arange(points, device=g.device)
    found: tuple[list[Tensor], ...] = ([], [], [], [])
    for values, sign in ((largest, 1), (smallest, -1)):
        for axis, (kept, entries) in enumerate((found[:2], found[2:])):
            best = (sign * values).argmax(dim=axis)
            point, channel = (best, every_channel) if axis == 0 else (every_point, best)
            position = (sign * rows[point, channel]).argmax(dim=1)
            kept.append(_widened(values[point, channel]))
            entries.append(torch.stack([point, channel, position], dim=1))
    units, unit_entries, of_points, point_entries = (torch.stack(part) for part in found)
    return units, unit_entries, of_points, point_entries


def flat_entries(entries: Tensor, like: Tensor) -> Tensor:
    """Entries (…, 3) as indices into the memory of (points, channels, *positions), contiguous or channels last."""
    of_point, of_channel, of_position = like.flatten(2).stride()
    return entries[..., 0] * of_point + entries[..., 1] * of_channel + entries[..., 2] * of_position


def check_pre_activation(g: Tensor, layer: int) -> None:
    """That there is something to take extremes of.

    Raises:
        SettingError: g is not (points, channels, *positions) of real floating-point numbers, or is empty.
    """
    if not g.is_floating_point():
        raise SettingError(f"pre-activations of layer {layer} are {g.dtype}: they must be real floating-point numbers")
    if g.dim() < 2:
        shape = tuple(g.shape)
        raise SettingError(f"pre-activations of layer {layer} are {shape}: they must be (points, channels, *positions)")
    if g.numel() == 0:
        raise SettingError(f"pre-activations of layer {layer} are empty, {tuple(g.shape)}: there must be at least one")


def _values(rows: Rows, kind: str, scope: str, *, largest: bool) -> Tensor:
    """Extremes alone."""

    def reduced(numbers: Tensor, *axes: int) -> Tensor:
        return numbers.amax(axes) if largest else numbers.amin(axes)

    channels, positions = (2, 1) if rows.channels_last else (1, 2)
    if scope == "channel" or kind == "L":
        table = reduced(rows.dense, positions)
        found = reduced(table, *{"U": (0,), "P": (1,), "L": (0, 1)}[kind])
    else:
        found = reduced(rows.dense, {"U": 0, "P": channels}[kind])
        if kind == "U" and rows.channels_last:  # constraints are in (channel, position) order
            found = found.t()
    return _widened(found).flatten()


def _single_of_channels(rows: Rows, sides: Sequence[Side]) -> list[Chosen]:
    """The lowest index's entries of whole channels, points or the layer."""
    units, unit_entries, points, point_entries = find_extremes(rows.by_channel)
    chosen = []
    for kind, largest in sides:
        side = 0 if largest else 1
        match kind:
            case "U":
                values, entries = units[side], unit_entries[side]
            case "P":
                values, entries = points[side], point_entries[side]
            case "L":  # a tie is the first point's
                best = (points[side].argmax() if largest else points[side].argmin())[None]
                # an index without axes would be asked of the device, which a CUDA graph cannot have
                values, entries = points[side].index_select(0, best), point_entries[side].index_select(0, best)
            case other:
                raise setting_error("penalty.kind", other, "U, P, UP or L")
        chosen.append(Chosen(values, rows.flat(*entries.unbind(1))))
    return chosen


def _of_side(draw: Callable[[str, int], Tensor], kind: str, largest: bool) -> Callable[[int], Tensor]:
    return lambda count: draw(kind + ("+" if largest else "-"), count)


def _no_draw(constraint: str, count: int) -> Tensor:
    raise AssertionError(f"single ties draw nothing, but {count} of {constraint} were asked for")


def _widened(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


class _Extremes(torch.autograd.Function):
    """Extremes that were found, and their gradient: of that, every derivative is autograd's.

    What the backward pass needs is not among the saved tensors: nobody can change it, and a checkpointed block whose
    recomputation takes no extremes finds as many saved tensors as there were.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, groups: Sequence[Sequence[Chosen]], rows: Rows) -> Tensor:
        small = torch.int32 if g.numel() < 2**31 else torch.int64
        ctx.sizes = [len(side.values) for group in groups for side in group]
        ctx.groups = [[(side.entries.to(small), side.counts) for side in group] for group in groups]
        ctx.shape, ctx.dtype = g.shape, g.dtype
        ctx.dense_shape, ctx.channels_last = rows.dense.shape, rows.channels_last
        return _widened(torch.cat([side.values for group in groups for side in group]))

    @staticmethod
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor, None, None]:
        pulls = iter(torch.split(pull, ctx.sizes))
        total: Tensor | None = None
        for group in ctx.groups:  # the sum of each group, and of the sums: as autograd sums a kind's two sides
            parts = []
            for entries, counts in group:
                own = next(pulls)
                if counts is not None:
                    own = (own / counts).repeat_interleave(counts, output_size=len(entries))
                parts.append(own)
            indices = torch.cat([entries for entries, _ in group])
            numbers = pull.new_zeros(ctx.dense_shape.numel(), dtype=ctx.dtype)
            numbers = numbers.index_add_(0, indices, torch.cat(parts).to(ctx.dtype))
            total = numbers if total is None else total.add_(numbers)
        assert total is not None
        dense = total.view(ctx.dense_shape)
        return (dense.transpose(1, 2) if ctx.channels_last else dense).reshape(ctx.shape), None, None
