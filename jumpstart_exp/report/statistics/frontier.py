"""The frontier: for each width the greatest depth that trains (CPAIOR, section 4, in words), statistics only.

Where a function takes methods, a ValueError says that the grid has no such method.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import Floats, drawn_counts, percentile_interval
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


@dataclass(frozen=True)
class FrontierPoint:
    """One width: the deepest depth of the grid with no failing depth before it.

    The grid's depths are here those at which the method has any cell. `depth` is None where there is none: the depth at
    which it begins (`Start`) fails already. `seeds` are the fewest at the deciding places: the depths up to and
    including the first failing one. `low` and `high` are the interval (95 %) over resampled seeds, 0 for no depth at
    all; None where a place that decides it has fewer than two seeds. `is_open` says that no greater depth of the grid
    fails: the frontier is at least there. `is_cut` says that the next depth is missing from the store at this width;
    without a depth, that the one which would decide is. `shallowest` is the width's least depth in the store.
    """

    width: int
    depth: int | None
    low: int | None
    high: int | None
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
    over resampled seeds, None where `seeds` are fewer than two. `left_out` are the widths at which one of the two has
    no frontier. `at_least` are those of `widths` where the method's frontier is the end of these depths (or the
    store's): the ratio is then a lower bound; `at_most` those where the baseline's is. `resamples_without` of the
    resampled sets of seeds had no width at all and are left out.
    """

    method: str
    baseline: str
    ratio: float
    low: float | None
    high: float | None
    widths: tuple[int, ...]
    ratios: tuple[float, ...]
    left_out: tuple[int, ...]
    at_least: tuple[int, ...]
    at_most: tuple[int, ...]
    seeds: int
    resamples_without: int


def frontiers(grid: FigureGrid, at_epoch: str, *, start: Start = "grid") -> tuple[Frontier, ...]:
    """Every method's frontier, in the grid's order; `at_epoch` is "best" or "last"."""
    return tuple(frontier(grid, at_epoch, method, start=start) for method in grid.methods)


@once_a_grid
def frontier(grid: FigureGrid, at_epoch: str, method: str, *, start: Start = "grid") -> Frontier:
    """One method's frontier."""
    reach = _reach_of(grid, at_epoch, method, start)
    low, high = _ends(_resampled(reach))
    fewest = _fewest(reach, reach.deciding)
    # an interval rests on the places up to the one at which its upper end stops
    certain = _fewest(reach, np.maximum(reach.deciding, high)) > 1
    points = []
    for width in np.flatnonzero(reach.present.any(axis=(0, 2))):
        has_interval = certain[width] and not (reach.is_cut[width] and not reach.steps[width])
        points.append(
            FrontierPoint(
                width=grid.widths[width],
                depth=int(reach.depths[reach.steps[width]]) or None,
                low=int(reach.depths[low[width]]) if has_interval else None,
                high=int(reach.depths[high[width]]) if has_interval else None,
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
    greatest frontier of each resample, and it is open where any width's is.
    """
    points = frontier(grid, at_epoch, method, start=start).points
    if not points:
        return None
    greatest = max(points, key=lambda point: (point.depth or 0, -point.width))
    low, high = None, None
    if all(point.low is not None for point in points):
        reach = _reach_of(grid, at_epoch, method, start)
        ends = _ends(_resampled(reach).max(axis=1, keepdims=True))
        low, high = (int(reach.depths[end[0]]) for end in ends)
    return dataclasses.replace(
        greatest,
        low=low,
        high=high,
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
    seeds_of_both = common_seeds(grid, method, baseline)
    shared = common_depths(grid, method, baseline)
    depths = [depth for depth, is_shared in zip(grid.depths, shared, strict=True) if is_shared]
    pair = np.array([grid.methods.index(method), grid.methods.index(baseline)])
    present = grid.present[pair][..., seeds_of_both]
    succeeded = trained(grid, at_epoch)[pair][..., seeds_of_both]
    own, other = (_reach(succeeded[i][shared], present[i][shared], depths, start) for i in range(2))
    both = (own.steps > 0) & (other.steps > 0)
    if not both.any():
        return None
    logs = _log_ratios(own, own.steps, other, other.steps)[both]
    seeds = min(int(_fewest(reach, reach.deciding)[both].min()) for reach in (own, other))
    low, high, without = None, None, 0
    if seeds > 1:
        resampled = _log_ratios(own, _resampled(own), other, _resampled(other))
        counts = (~np.isnan(resampled)).sum(axis=1)
        values = np.where(counts > 0, np.exp(np.nansum(resampled, axis=1) / np.maximum(counts, 1)), np.nan)
        low, high = (or_none(end[0]) for end in percentile_interval(values[:, None]))
        without = int(np.isnan(values).sum())
    return FrontierRatio(
        method=method,
        baseline=baseline,
        ratio=float(np.exp(logs.mean())),
        low=low,
        high=high,
        widths=_values(grid.widths, both),
        ratios=tuple(float(ratio) for ratio in np.exp(logs)),
        left_out=_values(grid.widths, present.any(axis=(0, 1, 3)) & ~both),
        at_least=_values(grid.widths, both & own.is_open),
        at_most=_values(grid.widths, both & other.is_open),
        seeds=seeds,
        resamples_without=without,
    )


@dataclass(frozen=True, eq=False)
class _Reach:
    """How far one method trains; `succeeded` and `present` are (depths, widths, seeds), of its own depths.

    `depths` are 0 and the method's own depths; `steps` is the frontier's place among them, 0 for none;
    `deciding` is the same but where all depths decide. `steps` to `is_cut` are (widths,).
    """

    succeeded: NDArray[np.bool_]
    present: NDArray[np.bool_]
    start: Start
    depths: Floats
    steps: NDArray[np.int64]
    deciding: NDArray[np.int64]
    is_open: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]


def _reach_of(grid: FigureGrid, at_epoch: str, method: str, start: Start) -> _Reach:
    own = grid.methods.index(method)
    return _reach(trained(grid, at_epoch)[own], grid.present[own], grid.depths, start)


def _reach(succeeded: NDArray[np.bool_], present: NDArray[np.bool_], depths: Sequence[int], start: Start) -> _Reach:
    """How far a method trains, of (depths, widths, seeds) each; depths at which it has no cell are none of its own."""
    own = present.any(axis=(1, 2))
    succeeded, present = succeeded[own], present[own]
    passes, there = _passes(succeeded, present), present.any(axis=-1)
    steps = _steps(passes, start)
    # counted from the first depth that trains, all depths decide that there is none
    is_without = ~passes.any(axis=0) & (start == "first")
    has_next = np.vstack([there, np.ones((1, there.shape[1]), dtype=np.bool_)])
    is_cut = np.where(is_without, ~there.all(axis=0), ~has_next[steps, np.arange(len(steps))])
    return _Reach(
        succeeded=succeeded,
        present=present,
        start=start,
        depths=np.array([0, *np.asarray(depths)[own]], dtype=np.float64),
        steps=steps,
        deciding=np.where(is_without, len(passes), steps),
        is_open=(steps > 0) & ((steps == len(succeeded)) | is_cut),
        is_cut=is_cut,
    )


def _passes(succeeded: NDArray[np.bool_], present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which depths do not fail, (depths, widths), of (depths, widths, seeds); a missing one does."""
    seeds = present.sum(axis=-1)
    return np.asarray((seeds > 0) & (succeeded.sum(axis=-1) >= LEAST_SHARE * seeds))


def _steps(passes: NDArray[np.bool_], start: Start) -> NDArray[np.int64]:
    """How many depths there are up to the frontier, (…, widths), of (…, depths, widths); 0 where there is none."""
    before = ~np.logical_or.accumulate(passes, axis=-2) if start == "first" else np.zeros_like(passes)
    reached = np.logical_and.accumulate(before | passes, axis=-2).sum(axis=-2)
    return np.asarray(np.where(passes.any(axis=-2), reached, 0), dtype=np.int64)


def _fewest(reach: _Reach, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fewest seeds of every width's places up to and including the one after so many steps; missing ones aside.

    0 where all of them are missing.
    """
    seeds = reach.present.sum(axis=-1)
    counted = (np.arange(len(seeds))[:, None] <= steps) & (seeds > 0)
    most = reach.present.shape[-1]
    least = np.where(counted, seeds, most).min(axis=0, initial=most)
    return np.asarray(np.where(counted.any(axis=0), least, 0), dtype=np.int64)


def _resampled(reach: _Reach) -> NDArray[np.int64]:
    """`steps` of every resample of the seeds that the method has anywhere, (resamples, widths).

    Where a place has seeds, but none that was drawn, it stays as it is: in a store that is still growing, few seeds
    at a place are no failure.
    """
    there = reach.present.any(axis=(0, 1))
    drawn = drawn_counts(int(there.sum()))
    trained_count, count = (
        (drawn @ values[..., there].reshape(-1, drawn.shape[1]).T.astype(np.float64)).reshape(-1, *values.shape[:2])
        for values in (reach.succeeded, reach.present)
    )
    passes = np.where(count > 0, trained_count >= LEAST_SHARE * count, _passes(reach.succeeded, reach.present))
    return _steps(passes, reach.start)


def _ends(resampled: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The interval of every column's steps: depths of the grid only, for nothing between two of them was trained."""
    ordered = np.sort(resampled, axis=0)
    first = int(np.floor(0.025 * (len(ordered) - 1)))
    return ordered[first], ordered[len(ordered) - 1 - first]


def _log_ratios(own: _Reach, steps: NDArray[np.int64], other: _Reach, others: NDArray[np.int64]) -> Floats:
    """Logarithm of own depth over the other's, (…, widths); NaN where one of them has no frontier."""
    logs = [
        np.log(np.where(places > 0, reach.depths[places], np.nan)) for reach, places in ((own, steps), (other, others))
    ]
    return np.asarray(logs[0] - logs[1])


def _values(widths: Sequence[int], where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(width for width, chosen in zip(widths, where, strict=True) if chosen)
