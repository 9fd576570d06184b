"""Extremes of equally shaped layers at once, by autograd alone: with padding, and where torch.func vectorises.

A deep, thin network's layers are so small that one operation on all of them takes hardly longer than on one.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from jumpstart_exp.settings import setting_error


def stacked_extremes(
    g: Tensor,
    kind: str,
    layers: Sequence[int],
    *,
    ties: str,
    scope: str,
    unit_mask: Tensor | None,
    point_mask: Tensor | None,
    draw: Callable[[str, int, int], Tensor],
) -> tuple[Tensor, Tensor]:
    """The largest and the smallest entry of every constraint of one kind, each (layers, constraints).

    Args:
        g: pre-activations of equally shaped layers, (layers, points, channels, positions).
        kind: U, P or L.
        layers: the layers' numbers, for the draws.
        ties: single, shared or random.
        scope: channel or position.
        unit_mask: True where a unit is real and not padding, shape (units,); None where all are.
        point_mask: the same of points, (points,).
        draw: (constraint, layer, count) → draws for `random` ties.
    """
    entries = _arranged(g, kind, scope)
    real_entries, real_constraints = _masks(g, kind, scope, unit_mask, point_mask)
    found = []
    for sign in (1, -1):
        signed = entries if sign > 0 else -entries
        if real_entries is not None:
            signed = signed.masked_fill(~real_entries, -torch.inf)
        match ties:
            case "shared":
                extreme = signed.amax(dim=2)
            case "single":
                extreme = signed.gather(2, signed.detach().argmax(dim=2, keepdim=True)).squeeze(2)
            case "random":
                constraint = kind + ("+" if sign > 0 else "-")
                chosen = _drawn_tie(signed.detach(), real_constraints, partial(draw, constraint), layers)
                extreme = signed.gather(2, chosen).squeeze(2)
            case other:
                raise setting_error("penalty.ties", other, "shared, single or random")
        if real_constraints is not None:
            extreme = extreme[:, real_constraints]
        found.append(sign * extreme)
    return found[0], found[1]


def _arranged(g: Tensor, kind: str, scope: str) -> Tensor:
    """(layers, constraints, entries): a constraint's entries in (point, channel, position) order."""
    layers, points, channels, positions = g.shape
    match kind, scope:
        case "L", _:
            return g.reshape(layers, 1, -1)
        case "U", "channel":
            return g.permute(0, 2, 1, 3).reshape(layers, channels, points * positions)
        case "U", "position":
            return g.permute(0, 2, 3, 1).reshape(layers, channels * positions, points)
        case "P", "channel":
            return g.reshape(layers, points, channels * positions)
        case "P", "position":
            return g.permute(0, 1, 3, 2).reshape(layers, points * positions, channels)
        case other:
            raise ValueError(f"penalty.kind and penalty.scope are {other}")


def _masks(
    g: Tensor, kind: str, scope: str, unit_mask: Tensor | None, point_mask: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Which entries (constraints × entries) and which constraints are real; None where all are."""
    if unit_mask is None and point_mask is None:
        return None, None
    _, points, channels, positions = g.shape
    units = torch.ones(channels, dtype=torch.bool) if unit_mask is None else unit_mask
    point = torch.ones(points, dtype=torch.bool) if point_mask is None else point_mask
    real = (point.to(g.device)[:, None] & units.to(g.device)[None, :])[None, :, :, None].expand(1, -1, -1, positions)
    entries = _arranged(real, kind, scope)[0]
    return entries, entries.any(dim=1)


def _drawn_tie(
    signed: Tensor,
    real_constraints: Tensor | None,
    draw: Callable[[int, int], Tensor],
    indices: Sequence[int],
) -> Tensor:
    """Index of the k-th tied entry of every constraint, k = ⌊draw · tied / 2³²⌋."""
    tied = (signed == signed.amax(dim=2, keepdim=True)) | signed.isnan()  # beside what is no number nothing is largest
    count = tied.shape[1] if real_constraints is None else int(real_constraints.sum())
    numbers = torch.zeros(tied.shape[:2], dtype=torch.int64, device=signed.device)
    drawn = torch.stack([draw(index, count) for index in indices]).to(signed.device)
    if real_constraints is None:
        numbers = drawn
    else:
        numbers[:, real_constraints] = drawn
    k = (numbers * tied.sum(dim=2)) >> 32
    reached = tied & (tied.cumsum(dim=2) == k[:, :, None] + 1)
    return reached.to(torch.uint8).argmax(dim=2, keepdim=True)
