"""The frontier: for each width the greatest depth that trains (CPAIOR, section 4, in words), statistics only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.cost import BASELINE
from jumpstart_exp.report.grid import FigureGrid
from jumpstart_exp.report.statistics import Floats, percentile_interval, resamples
from jumpstart_exp.report.success import trained

LEAST_SHARE = 0.5
"""A depth fails when fewer seeds than this share train."""

Start = Literal["grid", "first"]
"""Where a frontier begins: at the grid's shallowest depth, or at the width's first depth that does not fail.

One hidden layer of a few units cannot fit MOONS to 0.95, whatever the method: counted from the grid's shallowest depth
such widths have no frontier at all, although they train at greater depths.
"""


@dataclass(frozen=True)
class FrontierPoint:
    """One width: the deepest depth of the grid with no failing depth before it.

    `depth` is None where there is none: the depth at which it begins (`Start`) fails already. `low` and `high` are the
    interval (95 %) over resampled seeds, 0 for no depth at all; None with fewer than two seeds. `is_open` says that no
    greater depth of the grid fails: the frontier is at least there. `is_cut` says that the next depth is missing from
    the store.
    """

    width: int
    depth: int | None
    low: int | None
    high: int | None
    seeds: int
    is_open: bool
    is_cut: bool


@dataclass(frozen=True)
class Frontier:
    """A method's frontier, a point a width that has any cell."""

    method: str
    points: tuple[FrontierPoint, ...]


@dataclass(frozen=True)
class FrontierRatio:
    """How many times deeper a method trains than another: geometric mean of the frontiers' ratios over `widths`.

    `low` and `high` are the interval (95 %) over resampled seeds, None with fewer than two. `left_out` are the widths
    at which one of the two has no frontier. `at_least` are those of `widths` where the method's frontier is the grid's
    end (or the store's): the ratio is then a lower bound. `resamples_without` of the resampled sets of seeds had no
    width at all and are left out.
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
    seeds: int
    resamples_without: int


def frontiers(
    grid: FigureGrid, moment: str, threshold: float | None = None, *, start: Start = "grid"
) -> tuple[Frontier, ...]:
    """Every method's frontier, in the grid's order; `moment` is "best" or "last"."""
    succeeded = trained(grid, moment, threshold)
    found = []
    for method, label in enumerate(grid.methods):
        passes = _passes(succeeded[method], grid.present[method])
        steps = _steps(passes, start)
        low, high = _interval(succeeded[method], grid.present[method], grid.depths, start)
        points = []
        for width, value in enumerate(grid.widths):
            if not grid.present[method, :, width].any():
                continue
            step = int(steps[width])
            seeds = int(grid.present[method, :, width].any(axis=0).sum())
            end = step == len(grid.depths)
            is_cut = not end and not grid.present[method, step, width].any()
            points.append(
                FrontierPoint(
                    width=value,
                    depth=grid.depths[step - 1] if step else None,
                    low=None if seeds < 2 else int(low[width]),
                    high=None if seeds < 2 else int(high[width]),
                    seeds=seeds,
                    is_open=step > 0 and (end or is_cut),
                    is_cut=is_cut,
                )
            )
        found.append(Frontier(label, tuple(points)))
    return tuple(found)


def frontier_ratio(
    grid: FigureGrid,
    moment: str,
    method: str,
    baseline: str = BASELINE,
    threshold: float | None = None,
    *,
    start: Start = "grid",
) -> FrontierRatio | None:
    """How many times deeper `method` trains than `baseline`; None where no width has both frontiers.

    The seeds that both methods have are resampled together, and the whole statistic, the choice of widths included, is
    computed anew each time.

    Raises:
        ValueError: the grid has no such method.
    """
    pair = [grid.methods.index(method), grid.methods.index(baseline)]
    succeeded, present = trained(grid, moment, threshold)[pair], grid.present[pair]
    depths = np.array([np.nan, *grid.depths])
    reached = np.array([depths[_steps(_passes(succeeded[i], present[i]), start)] for i in range(2)])
    both = ~np.isnan(reached).any(axis=0)
    if not both.any():
        return None
    ratios = reached[0] / reached[1]
    own = next(frontier for frontier in frontiers(grid, moment, threshold, start=start) if frontier.method == method)
    is_open = {point.width for point in own.points if point.is_open}
    widths = _values(grid.widths, both)
    seeds = np.flatnonzero(present.any(axis=(1, 2)).all(axis=0))
    values = np.full(0, np.nan)
    if len(seeds) > 1:
        drawn = seeds[resamples(len(seeds))]
        steps = [_resampled_steps(succeeded[i], present[i], drawn, start) for i in range(2)]
        logs = np.log(depths[steps[0]]) - np.log(depths[steps[1]])
        counts = (~np.isnan(logs)).sum(axis=1)
        values = np.where(counts > 0, np.exp(np.nansum(logs, axis=1) / np.maximum(counts, 1)), np.nan)
    low, high = percentile_interval(values[:, None]) if len(values) else (np.full(1, np.nan),) * 2
    return FrontierRatio(
        method=method,
        baseline=baseline,
        ratio=float(np.exp(np.log(ratios[both]).mean())),
        low=None if np.isnan(low[0]) else float(low[0]),
        high=None if np.isnan(high[0]) else float(high[0]),
        widths=widths,
        ratios=tuple(float(ratio) for ratio in ratios[both]),
        left_out=_values(grid.widths, ~both),
        at_least=tuple(width for width in widths if width in is_open),
        seeds=len(seeds),
        resamples_without=int(np.isnan(values).sum()),
    )


def _passes(succeeded: NDArray[np.bool_], present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which depths do not fail, (…, depths, widths), of (…, depths, widths, seeds); a missing one does."""
    seeds = present.sum(axis=-1)
    return np.asarray((seeds > 0) & (succeeded.sum(axis=-1) >= LEAST_SHARE * seeds))


def _steps(passes: NDArray[np.bool_], start: Start) -> NDArray[np.int64]:
    """How many depths there are up to the frontier, (…, widths), of (…, depths, widths); 0 where there is none."""
    before = ~np.logical_or.accumulate(passes, axis=-2) if start == "first" else np.zeros_like(passes)
    reached = np.logical_and.accumulate(before | passes, axis=-2).sum(axis=-2)
    return np.asarray(np.where(passes.any(axis=-2), reached, 0), dtype=np.int64)


def _interval(
    succeeded: NDArray[np.bool_], present: NDArray[np.bool_], depths: Sequence[int], start: Start
) -> tuple[Floats, Floats]:
    """The interval of every width's frontier, a depth of the grid or 0, over resampled seeds."""
    seeds = np.flatnonzero(present.any(axis=(0, 1)))
    if len(seeds) < 2:
        return np.zeros(present.shape[1]), np.zeros(present.shape[1])
    steps = _resampled_steps(succeeded, present, seeds[resamples(len(seeds))], start)
    reached = np.sort(np.array([0, *depths], dtype=np.float64)[steps], axis=0)
    # depths of the grid only: nothing between two of them was trained
    first = int(np.floor(0.025 * (len(reached) - 1)))
    return reached[first], reached[len(reached) - 1 - first]


def _resampled_steps(
    succeeded: NDArray[np.bool_], present: NDArray[np.bool_], drawn: NDArray[np.int64], start: Start
) -> NDArray[np.int64]:
    """`_steps` of every resample, (resamples, widths), of (depths, widths, seeds) and (resamples, seeds)."""
    times = np.zeros((len(drawn), present.shape[-1]))
    np.add.at(times, (np.arange(len(drawn))[:, None], drawn), 1.0)
    trained_count, count = (
        np.einsum("rs,dws->rdw", times, values.astype(np.float64)) for values in (succeeded, present)
    )
    return _steps((count > 0) & (trained_count >= LEAST_SHARE * count), start)


def _values(widths: Sequence[int], where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(width for width, chosen in zip(widths, where, strict=True) if chosen)
