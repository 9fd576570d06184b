"""What the C++ extension does for CNNs and `eager`: extremes of channels and positions."""

import torch
from torch import Tensor

from jumpstart_exp.engines.native.extension import native


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets that the engine is built for and this processor has, the fastest first."""
    return () if native is None else tuple(native.instruction_sets())


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
    """Whether `separate`, `find_positions` and `position_gradients` can do it: on the CPU, channels last in memory."""
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
    points, positions, channels = rows.shape
    found = [rows.new_empty(2, *shape) for shape in ((positions, channels), (points, positions)) for _ in range(2)]
    native.separate_positions(rows, *found, None, instruction_set)
    return found[0], found[1], found[2], found[3]


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
    gradient = torch.zeros_like(g)
    grads = [part.contiguous() for part in (unit_grads, point_grads)]
    native.separate_positions(_rows(g), units, grads[0], points, grads[1], _rows(gradient), instruction_set)
    return gradient


def _rows(g: Tensor) -> Tensor:
    """(points, positions, channels) in g's own memory."""
    return g.detach().permute(0, 2, 3, 1).flatten(1, 2)
