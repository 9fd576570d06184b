"""The frontier: for each width the greatest depth that trains (CPAIOR, section 4, in words), statistics only.

Where a function takes methods, a ValueError says that the grid has no such method.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import (
    EQUAL,
    LEAST_FOR_BOOTSTRAP,
    LEAST_FOR_INTERVAL,
    Floats,
    drawn_counts,
    percentile_interval,
)
from jumpstart_exp.report.statistics.seedwise import or_none
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid, once_a_grid

LEAST_SHARE = 0.5
"""A depth fails when fewer seeds than this share train."""

Start = Literal["grid", "first"]
"""Where a frontier begins: at the grid's shallowest depth, or at the width's first depth that does not fail.

With one hidden layer plain ReLU networks of up to 15 units reach 0.95 on MOONS in fewer than half of the seeds:
counted from the grid's shallowest depth such widths have no frontier at all, although they train at greater depths.
"""

_Chosen = NDArray[np.bool_] | slice
_ALL = slice(None)


@dataclass(frozen=True)
class FrontierPoint:
    """One width: the deepest depth of the grid with no failing depth before it.

    The grid's depths are here those at which the method has any cell. `depth` is None where there is none: the depth at
    which it begins (`Start`) fails already. `seeds` are the fewest at the deciding places: the depths up to and
    including the first failing one. `low` and `high` are the interval (95 %) over resampled seeds, 0 for no depth at
    all; None where a place that decides it has fewer than `LEAST_FOR_BOOTSTRAP` seeds. `each` are the seeds' own, 0 for
    none, in their order: a place at which a seed is missing counts as over all seeds. `is_open` says that no greater
    depth of the grid fails: the frontier is at least there. `is_cut` says that the next depth is missing from the store
    at this width; without a depth, that the one which would decide is. `shallowest` is the width's least depth in the
    store.
    """

    width: int
    depth: int | None
    low: int | None
    high: int | None
    each: tuple[int, ...]
    seeds: int
    is_open: bool
    is_cut: bool
    shallowest: int


@dataclass(frozen=True)
class Frontier:
    """A method's frontier, a point a width that has any cell."""

    method: str
    points: tuple[FrontierPoint, ...]


@dataclass(frozen=True)
class FrontierRatio:
    """How many times deeper a method trains than another: geometric mean of the frontiers' ratios over `widths`.

    Frontiers are over the seeds that both have, and over the depths at which both have any cell of these: on a finer
    grid of depths a method could fail between the other's. They can so differ from those of `frontiers`. `seeds` are
    the fewest seeds at the deciding places (`FrontierPoint`) of `widths`. `low` and `high` are the interval (95 %)
    over resampled seeds, None where `seeds` are fewer than `LEAST_FOR_INTERVAL`; `distinct` is how many different
    ratios the resamples have, 0 without an interval. `each` are the ratios of those seeds that have one by themselves.
    `left_out` are the widths at which one of the two has
    no frontier. `at_least` are those of `widths` where the method's frontier is the end of these depths (or the
    store's): the ratio is then a lower bound; `at_most` those where the baseline's is. `resamples_without` of the
    resampled sets of seeds had no width at all and are left out.
    """

    ratio: float
    low: float | None
    high: float | None
    each: tuple[float, ...]
    widths: tuple[int, ...]
    left_out: tuple[int, ...]
    at_least: tuple[int, ...]
    at_most: tuple[int, ...]
    seeds: int
    resamples_without: int
    distinct: int


def frontiers(grid: FigureGrid, at_epoch: str, *, start: Start = "grid") -> tuple[Frontier, ...]:
    """Every method's frontier, in the grid's order; `at_epoch` is "best" or "last"."""
    return tuple(frontier(grid, at_epoch, method, start=start) for method in grid.methods)


@once_a_grid
def frontier(grid: FigureGrid, at_epoch: str, method: str, *, start: Start = "grid") -> Frontier:
    """One method's frontier."""
    reach = _Reach(grid, at_epoch, method, start)
    low, high = _ends(reach.resampled())
    fewest = reach.fewest(reach.deciding)
    # an interval rests on the places up to the one at which its upper end stops
    certain = reach.fewest(np.maximum(reach.deciding, high)) >= LEAST_FOR_BOOTSTRAP
    own = reach.of_each_seed()
    points = []
    for width in np.flatnonzero(reach.present.any(axis=(0, 2))):
        has_interval = certain[width] and not (reach.is_cut[width] and not reach.steps[width])
        points.append(
            FrontierPoint(
                width=grid.widths[width],
                depth=int(reach.depths[reach.steps[width]]) or None,
                low=int(reach.depths[low[width]]) if has_interval else None,
                high=int(reach.depths[high[width]]) if has_interval else None,
                each=tuple(int(reach.depths[step]) for step in own[reach.present[:, width].any(axis=0), width]),
                seeds=int(fewest[width]),
                is_open=bool(reach.is_open[width]),
                is_cut=bool(reach.is_cut[width]),
                shallowest=int(reach.depths[1:][reach.present[:, width].any(axis=-1)][0]),
            )
        )
    return Frontier(method, tuple(points))


@once_a_grid
def deepest_frontier(grid: FigureGrid, at_epoch: str, method: str, *, start: Start = "grid") -> FrontierPoint | None:
    """The greatest of a method's frontiers, at the first width that has it; None without any cell.

    Every width decides it: `seeds` are the fewest at the deciding places of all widths, the interval is that of the
    greatest frontier of each resample, `each` the greatest of each seed, and it is open where any width's is.
    """
    points = frontier(grid, at_epoch, method, start=start).points
    if not points:
        return None
    greatest = max(points, key=lambda point: (point.depth or 0, -point.width))
    low, high, reach = None, None, _Reach(grid, at_epoch, method, start)
    if all(point.low is not None for point in points):
        ends = _ends(reach.resampled().max(axis=1, keepdims=True))
        low, high = (int(reach.depths[end[0]]) for end in ends)
    return dataclasses.replace(
        greatest,
        low=low,
        high=high,
        each=tuple(int(reach.depths[step]) for step in reach.of_each_seed()[reach.seeds].max(axis=1)),
        seeds=min(point.seeds for point in points),
        is_open=any(point.is_open or point.is_cut for point in points),
        is_cut=any(point.is_cut for point in points),
    )


def common_seeds(grid: FigureGrid, *methods: str) -> NDArray[np.bool_]:
    """Which seeds all these methods have, at any place, (seeds,)."""
    own = [grid.methods.index(method) for method in methods]
    return np.asarray(grid.present[own].any(axis=(1, 2)).all(axis=0))


def common_depths(grid: FigureGrid, *methods: str) -> NDArray[np.bool_]:
    """At which depths all these methods have a cell of their common seeds, at any width, (depths,)."""
    own = [grid.methods.index(method) for method in methods]
    present = grid.present[own][..., common_seeds(grid, *methods)]
    return np.asarray(present.any(axis=(2, 3)).all(axis=0))


@once_a_grid
def frontier_ratio(
    grid: FigureGrid,
    at_epoch: str,
    method: str,
    baseline: str = BASELINE,
    *,
    start: Start = "grid",
) -> FrontierRatio | None:
    """How many times deeper `method` trains than `baseline`; None where no width has both frontiers.

    Only depths at which both methods have any cell count, and the seeds that both have; these are resampled together,
    and the whole statistic, the choice of widths included, is computed anew each time.
    """
    shared = common_depths(grid, method, baseline), common_seeds(grid, method, baseline)
    own, other = (_Reach(grid, at_epoch, each, start, *shared) for each in (method, baseline))
    both = (own.steps > 0) & (other.steps > 0)
    if not both.any():
        return None
    logs = (own.log_depths(own.steps) - other.log_depths(other.steps))[both]
    seeds = min(int(reach.fewest(reach.deciding)[both].min()) for reach in (own, other))
    low, high, without, distinct = None, None, 0, 0
    if seeds >= LEAST_FOR_INTERVAL:
        values = _ratios(own.log_depths(own.resampled()) - other.log_depths(other.resampled()))
        low, high = (or_none(end) for end in percentile_interval(values))
        without = int(np.isnan(values).sum())
        distinct = len(np.unique(np.rint(values[~np.isnan(values)] / EQUAL)))
    each = _ratios(own.log_depths(own.of_each_seed()) - other.log_depths(other.of_each_seed()))
    each = each[own.seeds & other.seeds & ~np.isnan(each)]
    pair = [grid.methods.index(method), grid.methods.index(baseline)]
    there = grid.present[pair][..., shared[1]].any(axis=(0, 1, 3))
    widths = np.array(grid.widths)
    return FrontierRatio(
        ratio=float(np.exp(logs.mean())),
        low=low,
        high=high,
        each=tuple(each.tolist()),
        widths=tuple(widths[both].tolist()),
        left_out=tuple(widths[there & ~both].tolist()),
        at_least=tuple(widths[both & own.is_open].tolist()),
        at_most=tuple(widths[both & other.is_open].tolist()),
        seeds=seeds,
        resamples_without=without,
        distinct=distinct,
    )


class _Reach:
    """How far one method trains over its own depths: those, of the ones given, at which it has a cell.

    `succeeded` and `present` are (depths, widths, seeds) of its own depths, `passes` (depths, widths) says which do
    not fail: a missing one does. `seeds` says which seeds it has anywhere, (seeds,). `depths` are 0 and its own depths;
    `steps` is the frontier's place among them, 0 for none; `deciding` is the same but where all depths decide. `steps`
    to `is_cut` are (widths,).
    """

    def __init__(
        self, grid: FigureGrid, at_epoch: str, method: str, start: Start, depths: _Chosen = _ALL, seeds: _Chosen = _ALL
    ) -> None:
        index = grid.methods.index(method)
        succeeded, present = (of[index][depths][..., seeds] for of in (trained(grid, at_epoch), grid.present))
        own = present.any(axis=(1, 2))
        self.start, self.seeds = start, present.any(axis=(0, 1))
        self.succeeded, self.present = succeeded[own], present[own]
        self.depths = np.array([0, *np.array(grid.depths)[depths][own]], dtype=np.float64)
        counts = self.present.sum(axis=-1)
        there = counts > 0
        self.passes = there & (self.succeeded.sum(axis=-1) >= LEAST_SHARE * counts)
        self.steps = frontier_steps(self.passes, start)
        # counted from the first depth that trains, all depths decide that there is none
        is_without = ~self.passes.any(axis=0) & (start == "first")
        self.deciding = np.where(is_without, len(there), self.steps)
        has_next = np.vstack([there, np.ones((1, there.shape[1]), dtype=np.bool_)])
        self.is_cut = np.where(is_without, ~there.all(axis=0), ~has_next[self.steps, np.arange(len(self.steps))])
        self.is_open = (self.steps > 0) & ((self.steps == len(there)) | self.is_cut)

    def fewest(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Fewest seeds of every width's places up to and including the one after so many steps; missing ones aside.

        0 where all of them are missing.
        """
        seeds = self.present.sum(axis=-1)
        counted = (np.arange(len(seeds))[:, None] <= steps) & (seeds > 0)
        most = self.present.shape[-1]
        least = np.where(counted, seeds, most).min(axis=0, initial=most)
        return np.asarray(np.where(counted.any(axis=0), least, 0), dtype=np.int64)

    def resampled(self) -> NDArray[np.int64]:
        """`steps` of every resample of the seeds that the method has anywhere, (resamples, widths).

        Where a place has seeds, but none that was drawn, it stays as it is: in a store that is still growing, few
        seeds at a place are no failure.
        """
        drawn = drawn_counts(int(self.seeds.sum()))
        trained_count, count = (
            (drawn @ values[..., self.seeds].reshape(-1, drawn.shape[1]).T.astype(np.float64)).reshape(
                -1, *values.shape[:2]
            )
            for values in (self.succeeded, self.present)
        )
        return frontier_steps(np.where(count > 0, trained_count >= LEAST_SHARE * count, self.passes), self.start)

    def of_each_seed(self) -> NDArray[np.int64]:
        """`steps` of every seed by itself, (seeds, widths); a place at which it is missing stays as it is."""
        own = np.where(self.present, self.succeeded, self.passes[..., None])
        return frontier_steps(np.moveaxis(own, -1, 0), self.start)

    def log_depths(self, steps: NDArray[np.int64]) -> Floats:
        """Logarithm of the depth after so many steps, of any shape; NaN where there is no frontier."""
        return np.log(np.where(steps > 0, self.depths[steps], np.nan))


def frontier_steps(passes: NDArray[np.bool_], start: Start) -> NDArray[np.int64]:
    """How many depths there are up to the frontier, (…, widths), of (…, depths, widths); 0 where there is none."""
    before = ~np.logical_or.accumulate(passes, axis=-2) if start == "first" else np.zeros_like(passes)
    reached = np.logical_and.accumulate(before | passes, axis=-2).sum(axis=-2)
    return np.asarray(np.where(passes.any(axis=-2), reached, 0), dtype=np.int64)


def _ratios(logs: Floats) -> Floats:
    """The geometric mean over the widths that have one, of logarithms (…, widths); NaN where none has."""
    counts = (~np.isnan(logs)).sum(axis=-1)
    return np.where(counts > 0, np.exp(np.nansum(logs, axis=-1) / np.maximum(counts, 1)), np.nan)


def _ends(resampled: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The interval of every column's steps: depths of the grid only, for nothing between two of them was trained."""
    ordered = np.sort(resampled, axis=0)
    first = int(np.floor(0.025 * (len(ordered) - 1)))
    return ordered[first], ordered[len(ordered) - 1 - first]
