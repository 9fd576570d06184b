"""What a CNN's layer of constraints of one position each brings to the penalty, in C++: every entry is read once.

Shared ties: the extremes are kept and how many entries share them, and the backward pass compares with them. Of single
and random ties the entry of each extreme is kept, as an index along the points or along the channels.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from jumpstart_exp.engines.eager.activating import convolution_gradients
from jumpstart_exp.engines.native.kernels import (
    MOST_CHANNELS_OF_SHARED,
    Places,
    find_places,
    find_positions,
    find_shared,
    place_gradients,
    position_gradients,
    shared_gradients_,
    takes_rows,
)
from jumpstart_exp.losses.separation import Extremes, SeparationPenalty, TieDraws
from jumpstart_exp.settings import setting_error

_LISTED_AT_ONCE = 1 << 22
"""Numbers that are copied at once to count tied entries."""


def shared_part(g: Tensor, penalty: SeparationPenalty, layer: int) -> tuple[Tensor, tuple[int, ...]]:
    """The layer's part of the penalty, as `SeparationPenalty.part` has it, where ties share the gradient.

    Args:
        g: pre-activations that `takes_rows` takes.
        penalty: of the kinds U and P.
        layer: its number, for its weight.
    """
    values, counts = _PartOfShared.apply(g, penalty, layer)  # type: ignore[no-untyped-call]
    return values, counts


def place_extremes(g: Tensor, penalty: SeparationPenalty, layer: int, tie_draws: TieDraws | None) -> Extremes | None:
    """The layer's extremes with one entry each that gets the gradient; None where an entry of g is no number.

    Equal to `SeparationPenalty.layer_extremes`, the order of their sums too.

    Args:
        g: pre-activations that `takes_rows` takes.
        penalty: of the kinds U and P, ties single or random.
        layer: its number, for the draws.
        tie_draws: addressed draws; None for torch's generator, of which as many are drawn whatever is tied.
    """
    match penalty.spec.ties:
        case "single":
            with_last = False
        case "random":
            with_last = g.requires_grad and torch.is_grad_enabled()  # values need no draw
        case other:
            raise setting_error("penalty.ties", other, "single or random")
    found = find_places(g, with_last=with_last)
    if found is None:
        return None
    units, points = found
    if with_last:
        rows = g.detach().permute(0, 2, 3, 1).flatten(1, 2)
        for kind in penalty.spec.kind:
            for side, sign in enumerate("+-"):
                of_kind = units if kind == "U" else points
                _draw(rows, kind, of_kind, side, _draws_of(tie_draws, kind + sign, layer))
    flat_units, flat_points = _PlaceExtremes.apply(g, units, points)  # type: ignore[no-untyped-call]
    return _by_kind(penalty, flat_units, flat_points)


class _PartOfShared(torch.autograd.Function):
    """What a layer brings where ties share their gradient.

    Beside g the extremes are kept, which are few: to find them once more would take as long as a tenth of a step.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, penalty: SeparationPenalty, layer: int) -> tuple[Tensor, tuple[int, ...]]:
        units, unit_shares, points, point_shares = find_positions(g)
        ctx.save_for_backward(g, units, unit_shares, points, point_shares.to(_small(g.shape[1])))
        ctx.penalty, ctx.layer = penalty, layer
        return penalty.part(layer, _by_kind(penalty, units, points))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor, _: None) -> tuple[Tensor, None, None]:
        g, units, unit_shares, points, point_shares = ctx.saved_tensors
        with torch.enable_grad():
            units, points = (extremes.detach().requires_grad_() for extremes in (units, points))
            values, _counts = ctx.penalty.part(ctx.layer, _by_kind(ctx.penalty, units, points))
        unit_grad, point_grad = torch.autograd.grad(values, (units, points), pull, materialize_grads=True)
        units, points = units.detach(), points.detach()
        gradient = position_gradients(g, units, unit_grad / unit_shares, points, point_grad / point_shares)
        return gradient, None, None


def fuses_shared(g: Tensor, penalty: SeparationPenalty) -> bool:
    """Whether `convolution_and_part` takes the layer: what violates its constraints of a kind is pulled all alike.

    Args:
        g: pre-activations.
        penalty: any.
    """
    spec = penalty.spec
    is_shared = spec.scope == "position" and spec.ties == "shared" and spec.kind in ("U", "P", "UP")
    is_alike = spec.aggregate in ("sum", "mean", "balanced") and spec.upper_bound is None
    return is_shared and is_alike and takes_rows(g) and g.shape[1] <= MOST_CHANNELS_OF_SHARED


def convolution_and_part(
    g: Tensor, weight: Tensor, bias: Tensor, padding: int, penalty: SeparationPenalty, layer: int
) -> tuple[Tensor, tuple[Tensor, tuple[int, ...]]]:
    """A convolution of ReLU(g), and what g brings to the penalty: both passes read and write every entry once.

    Beside g, of a point's extreme its channel is kept, and the number of entries that have it where some are tied.

    Args:
        g: pre-activations for which `fuses_shared` holds.
        weight: of the convolution.
        bias: likewise.
        padding: on each side.
        penalty: of shared ties.
        layer: g's number, for its weight.
    """
    out, values, counts = _ConvolutionOfShared.apply(g, weight, bias, padding, penalty, layer)  # type: ignore[no-untyped-call]
    return out, (values, counts)


class _ConvolutionOfShared(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, g: Tensor, weight: Tensor, bias: Tensor, padding: int, penalty: SeparationPenalty, layer: int
    ) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        found = find_shared(g)
        ctx.save_for_backward(g, weight, found.units, found.unit_shares, found.point_firsts, found.point_counts)
        ctx.padding, ctx.penalty, ctx.layer = padding, penalty, layer
        values, counts = penalty.part(layer, _by_kind(penalty, found.units, found.points))
        return F.conv2d(found.activations, weight, bias, padding=padding), values, counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, pull: Tensor, _: None) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        g, weight, units, unit_shares, point_firsts, point_counts = ctx.saved_tensors
        below, of_weight, of_bias = convolution_gradients(grad, torch.relu(g), weight, ctx.padding)
        if below.stride() != g.stride():
            below = torch.empty_like(g).copy_(below)
        spec = ctx.penalty.spec
        pulls = _pulls_of_violated(ctx.penalty, ctx.layer, pull)
        none = pull.new_zeros(2)
        of_units, of_points = pulls.get("U", none), pulls.get("P", none)
        is_violated = torch.stack([units[0] < spec.margin_above, units[1] > spec.margin_below])
        unit_pulls = torch.where(is_violated, of_units[:, None, None], 0) / unit_shares
        margins = (spec.margin_above, spec.margin_below)
        above, below_pull = of_points.tolist()
        shared_gradients_(below, g, units, unit_pulls, point_firsts, point_counts, margins, (above, below_pull))
        return below, of_weight, of_bias, None, None, None


def _pulls_of_violated(penalty: SeparationPenalty, layer: int, pull: Tensor) -> dict[str, Tensor]:
    """The gradient of a maximum and of a minimum that violate their constraint, by kind: as autograd has it of one."""
    spec = penalty.spec
    far = 1 + abs(spec.margin_above) + abs(spec.margin_below)
    with torch.enable_grad():
        sides = (pull.new_tensor([spec.margin_above - far]), pull.new_tensor([spec.margin_below + far]))
        extremes = {kind: tuple(side.clone().requires_grad_() for side in sides) for kind in spec.kind}
        values, _ = penalty.part(layer, {kind: (pair[0], pair[1]) for kind, pair in extremes.items()})
    leaves = [side for pair in extremes.values() for side in pair]
    gradients = iter(torch.autograd.grad(values, leaves, pull, materialize_grads=True))
    return {kind: torch.cat([next(gradients), next(gradients)]) for kind in extremes}


class _PlaceExtremes(torch.autograd.Function):
    """Extremes (2, constraints) of units and points that were found, and their gradient."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, units: Places, points: Places) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(units.first.to(_small(g.shape[0])), points.first.to(_small(g.shape[1])))
        ctx.shape, ctx.dtype = g.shape, g.dtype
        # as everywhere, constraints are in (channel, position) or (point, position) order
        return units.values.transpose(1, 2).flatten(1), points.values.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, unit_grads: Tensor, point_grads: Tensor) -> tuple[Tensor, None, None]:
        unit_first, point_first = ctx.saved_tensors
        _, positions, channels = unit_first.shape
        like = torch.empty(ctx.shape, dtype=ctx.dtype, memory_format=torch.channels_last)
        of_units = unit_grads.view(2, channels, positions).transpose(1, 2)
        return place_gradients(unit_first, of_units, point_first, point_grads, like), None, None


def _draw(rows: Tensor, kind: str, found: Places, side: int, draws: Callable[[int, bool], Tensor | None]) -> None:
    """Replace the first of several tied entries by one that is drawn, in place.

    Args:
        rows: (points, positions, channels).
        kind: U or P.
        found: the kind's extremes and entries.
        side: 0 for the maxima, 1 for the minima.
        draws: (count, is something tied) → draws in the constraints' order, if they are needed.
    """
    assert found.last is not None
    values, first = found.values[side], found.first[side]
    tied = (first != found.last[side]).nonzero()
    drawn = draws(values.numel(), len(tied) > 0)
    if len(tied) == 0:
        return
    assert drawn is not None
    match kind:
        case "U":  # constraints are in (channel, position) order
            drawn = drawn.view(values.t().shape).t()
            size = rows.shape[0]
        case "P":
            drawn = drawn.view(values.shape)
            size = rows.shape[2]
        case other:
            raise setting_error("penalty.kind", other, "U or P")
    for some in torch.split(tied, max(1, _LISTED_AT_ONCE // size)):
        which = some.unbind(1)
        position = which[0] if kind == "U" else which[1]
        numbers = rows[:, position, which[1]].t() if kind == "U" else rows[which[0], position]
        equal = numbers == values[which][:, None]
        k = (drawn[which] * equal.sum(1)) >> 32
        first[which] = (equal.cumsum(1) <= k[:, None]).sum(1).to(first.dtype)


def _draws_of(tie_draws: TieDraws | None, constraint: str, layer: int) -> Callable[[int, bool], Tensor | None]:
    def drawn(count: int, is_tied: bool) -> Tensor | None:
        if tie_draws is None:  # a generator's next draws must not depend on what is tied
            return torch.randint(0, 2**32, (count,), dtype=torch.int64)
        return tie_draws(constraint, layer, count) if is_tied else None

    return drawn


def _by_kind(penalty: SeparationPenalty, units: Tensor, points: Tensor) -> Extremes:
    """Extremes by kind, from those of all units and points, (2, …) each."""
    both = {"U": units.unbind(), "P": points.unbind()}
    sides = {kind: both[kind] for kind in penalty.spec.kind}
    return {kind: (largest, smallest) for kind, (largest, smallest) in sides.items()}


def _small(count: int) -> torch.dtype:
    """Of indices and numbers of entries up to so many."""
    return torch.uint8 if count < 2**8 else torch.int32
