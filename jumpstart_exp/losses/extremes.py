"""Extremes of whole channels and points, found in two passes over a layer and kept as indices.

A convolution's channel has its largest and smallest entry over points and positions, a point over channels and
positions (CPAIOR, section 3). All that their gradient needs is where they are.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def whole_extremes(g: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima and minima of the channels (2, channels) and of the points (2, points), differentiable.

    Several equal entries: the gradient goes to the lowest flat index in (point, channel, position) order.

    Args:
        g: pre-activations (points, channels, *positions).
    """
    units, points = _WholeExtremes.apply(g)  # type: ignore[no-untyped-call]
    return units, points


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
            extreme = values[point, channel]
            kept.append(extreme.float() if extreme.dtype in (torch.bfloat16, torch.float16) else extreme)
            entries.append(torch.stack([point, channel, position], dim=1))
    units, unit_entries, of_points, point_entries = (torch.stack(part) for part in found)
    return units, unit_entries, of_points, point_entries


def flat_entries(entries: Tensor, like: Tensor) -> Tensor:
    """Entries (…, 3) as indices into the memory of (points, channels, *positions), contiguous or channels last."""
    of_point, of_channel, of_position = like.flatten(2).stride()
    return entries[..., 0] * of_point + entries[..., 1] * of_channel + entries[..., 2] * of_position


class _WholeExtremes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        units, unit_entries, points, point_entries = find_extremes(g)
        ctx.save_for_backward(unit_entries, point_entries)
        ctx.like = torch.empty_like(g, device="meta")
        ctx.device = g.device
        return units, points

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, unit_grad: Tensor, point_grad: Tensor) -> Tensor:
        last = ctx.like.dim() == 4 and ctx.like.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        grad = torch.zeros_like(ctx.like, device=ctx.device, memory_format=layout)
        entries = torch.cat([flat_entries(part, grad).flatten() for part in ctx.saved_tensors])
        pulls = torch.cat([unit_grad.flatten(), point_grad.flatten()]).to(grad.dtype)
        grad.as_strided((grad.numel(),), (1,)).index_add_(0, entries, pulls)
        return grad
