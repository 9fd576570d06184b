"""The published grid of 216 networks and the arithmetic over it: operations, interpolation, spread, ratios."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

DEPTHS = (1, 2, 3, 4, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150)
WIDTHS = (1, 2, 3, 4, 5, 10, 15, 20, 25)
EPOCHS = 5000
POINTS = 85


class Shape(NamedTuple):
    """A network's hidden layers and units a layer."""

    depth: int
    width: int

    def __str__(self) -> str:
        return f"{self.depth}x{self.width}"


GRID = tuple(Shape(depth, width) for depth in DEPTHS for width in WIDTHS)
"""MOONS as published (CPAIOR, figure 2)."""

NETWORKS = (Shape(10, 3), Shape(50, 4), Shape(150, 3), Shape(150, 25))
"""The four networks that the table shows one by one."""


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of `rounds` measurements."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one measurement."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def as_dict(self) -> dict[str, float]:
        """The four numbers by name."""
        return asdict(self)


def weights(shape: Shape) -> int:
    """Weights and biases of an MLP with two inputs and one logit."""
    depth, width = shape
    return 3 * width + (depth - 1) * width * (width + 1) + width + 1


def step_operations(shape: Shape) -> int:
    """Floating-point operations that a training step is counted as: 6 × points × weights."""
    return 6 * POINTS * weights(shape)


def grid_operations() -> int:
    """Operations of the whole grid, every network for all its epochs."""
    return EPOCHS * sum(map(step_operations, GRID))


def subgrid(depths: Sequence[int], widths: Sequence[int]) -> tuple[Shape, ...]:
    """Every pair of these depths and widths."""
    return tuple(Shape(depth, width) for depth in depths for width in widths)


def interpolate(timed: Mapping[Shape, float], depths: Sequence[int], widths: Sequence[int]) -> dict[Shape, float]:
    """Every network's cost: as timed, or linear in depth, then in width, between the timed ones around it.

    Args:
        timed: costs by network, the whole rectangle depths × widths among them.
        depths: the rectangle's depths, ascending, from the grid's least to its largest.
        widths: its widths, likewise.

    Raises:
        ValueError: the rectangle does not reach the grid's edges.
    """
    if (depths[0], depths[-1]) != (DEPTHS[0], DEPTHS[-1]) or (widths[0], widths[-1]) != (WIDTHS[0], WIDTHS[-1]):
        raise ValueError("costs are interpolated, never extrapolated: the timed networks must reach the grid's edges")
    rectangle = [[timed[Shape(depth, width)] for depth in depths] for width in widths]
    by_width = [np.interp(DEPTHS, depths, costs) for costs in rectangle]
    filled = np.array([np.interp(WIDTHS, widths, costs) for costs in np.transpose(by_width)])
    return {
        Shape(depth, width): timed.get(Shape(depth, width), float(filled[row, column]))
        for row, depth in enumerate(DEPTHS)
        for column, width in enumerate(WIDTHS)
    }


def core_seconds(step_seconds: Mapping[Shape, float]) -> float:
    """Seconds that one core needs for the whole grid."""
    return EPOCHS * sum(step_seconds[shape] for shape in GRID)


def ratios(grid: Mapping[str, float]) -> dict[str, float]:
    """How many times as long as the bare `native` each contender takes over the grid; empty without `native`."""
    if "native" not in grid:
        return {}
    return {f"{name} / native": seconds / grid["native"] for name, seconds in grid.items() if name != "native"}


def which(shapes: Iterable[Shape]) -> str:
    """Which networks these are, in words."""
    chosen = sorted(set(shapes))
    if len(chosen) == len(GRID):
        return f"all {len(GRID)}"
    by_depth: dict[int, list[int]] = {}
    for depth, width in chosen:
        by_depth.setdefault(depth, []).append(width)
    by_widths: dict[tuple[int, ...], list[int]] = {}
    for depth, widths in by_depth.items():
        by_widths.setdefault(tuple(widths), []).append(depth)
    parts = [
        f"depth {_listed(depths)} × {'every width' if widths == WIDTHS else f'width {_listed(widths)}'}"
        for widths, depths in by_widths.items()
    ]
    return f"{len(chosen)} of {len(GRID)} ({'; '.join(parts)})"


def _listed(values: Iterable[int]) -> str:
    return ",".join(map(str, values))
