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

    The grid's depths are here those at which the method has any cell. `depth` is None where there is none: the depth at
    which it begins (`Start`) fails already. `low` and `high` are the interval (95 %) over resampled seeds, 0 for no
    depth at all; None with fewer than two seeds. `is_open` says that no greater depth of the grid fails: the frontier
    is at least there. `is_cut` says that the next depth is missing from the store at this width.
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

    Frontiers are over the `seeds` seeds that both have. `low` and `high` are the interval (95 %) over resampled seeds,
    None with fewer than two. `left_out` are the widths at which one of the two has no frontier. `at_least` are those of
    `widths` where the method's frontier is the grid's end (or the store's): the ratio is then a lower bound; `at_most`
    those where the baseline's is. `resamples_without` of the resampled sets of seeds had no width at all and are left
    out.
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


def frontiers(
    grid: FigureGrid, moment: str, threshold: float | None = None, *, start: Start = "grid"
) -> tuple[Frontier, ...]:
    """Every method's frontier, in the grid's order; `moment` is "best" or "last"."""
    succeeded = trained(grid, moment, threshold)
    found = []
    for method, label in enumerate(grid.methods):
        reach = _reach(succeeded[method], grid.present[method], grid.depths, start)
        low, high = _interval(reach)
        points = []
        for width, value in enumerate(grid.widths):
            seeds = int(grid.present[method, :, width].any(axis=0).sum())
            if not seeds:
                continue
            depth = int(reach.depths[reach.steps[width]])
            points.append(
                FrontierPoint(
                    width=value,
                    depth=depth or None,
                    low=None if seeds < 2 else int(low[width]),
                    high=None if seeds < 2 else int(high[width]),
                    seeds=seeds,
                    is_open=bool(reach.is_open[width]),
                    is_cut=bool(reach.is_cut[width]),
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
    both_have = grid.present[pair].any(axis=(1, 2)).all(axis=0)
    succeeded = trained(grid, moment, threshold)[pair][..., both_have]
    present = grid.present[pair][..., both_have]
    own, other = (_reach(succeeded[i], present[i], grid.depths, start) for i in range(2))
    both = (own.steps > 0) & (other.steps > 0)
    if not both.any():
        return None
    logs = _log_ratios(own, own.steps, other, other.steps)[both]
    seeds = int(both_have.sum())
    values = np.full(0, np.nan)
    if seeds > 1:
        drawn = resamples(seeds)
        resampled = _log_ratios(own, _resampled_steps(own, drawn), other, _resampled_steps(other, drawn))
        counts = (~np.isnan(resampled)).sum(axis=1)
        values = np.where(counts > 0, np.exp(np.nansum(resampled, axis=1) / np.maximum(counts, 1)), np.nan)
    low, high = percentile_interval(values[:, None]) if len(values) else (np.full(1, np.nan),) * 2
    return FrontierRatio(
        method=method,
        baseline=baseline,
        ratio=float(np.exp(logs.mean())),
        low=None if np.isnan(low[0]) else float(low[0]),
        high=None if np.isnan(high[0]) else float(high[0]),
        widths=_values(grid.widths, both),
        ratios=tuple(float(ratio) for ratio in np.exp(logs)),
        left_out=_values(grid.widths, present.any(axis=(0, 1, 3)) & ~both),
        at_least=_values(grid.widths, both & own.is_open),
        at_most=_values(grid.widths, both & other.is_open),
        seeds=seeds,
        resamples_without=int(np.isnan(values).sum()),
    )


@dataclass(frozen=True, eq=False)
class _Reach:
    """How far one method trains; `succeeded` and `present` are (depths, widths, seeds), of its own depths.

    `depths` are 0 and the method's own depths; `steps` is the frontier's place among them, 0 for none; `steps`,
    `is_open` and `is_cut` are (widths,).
    """

    succeeded: NDArray[np.bool_]
    present: NDArray[np.bool_]
    start: Start
    depths: Floats
    steps: NDArray[np.int64]
    is_open: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]


def _reach(succeeded: NDArray[np.bool_], present: NDArray[np.bool_], depths: Sequence[int], start: Start) -> _Reach:
    """How far a method trains, of (depths, widths, seeds) each; depths at which it has no cell are none of its own."""
    own = present.any(axis=(1, 2))
    succeeded, present = succeeded[own], present[own]
    steps = _steps(_passes(succeeded, present), start)
    at_end = steps == len(succeeded)
    has_next = np.vstack([present.any(axis=-1), np.ones((1, present.shape[1]), dtype=np.bool_)])
    is_cut = ~has_next[steps, np.arange(len(steps))]
    return _Reach(
        succeeded=succeeded,
        present=present,
        start=start,
        depths=np.array([0, *np.asarray(depths)[own]], dtype=np.float64),
        steps=steps,
        is_open=(steps > 0) & (at_end | is_cut),
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


def _interval(reach: _Reach) -> tuple[Floats, Floats]:
    """The interval of every width's frontier, a depth of the grid or 0, over resampled seeds."""
    seeds = np.flatnonzero(reach.present.any(axis=(0, 1)))
    if len(seeds) < 2:
        return np.zeros(len(reach.steps)), np.zeros(len(reach.steps))
    reached = np.sort(reach.depths[_resampled_steps(reach, seeds[resamples(len(seeds))])], axis=0)
    # depths of the grid only: nothing between two of them was trained
    first = int(np.floor(0.025 * (len(reached) - 1)))
    return reached[first], reached[len(reached) - 1 - first]


def _resampled_steps(reach: _Reach, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """`steps` of every resample, (resamples, widths), of the drawn seeds, (resamples, seeds).

    Where a place has seeds, but none that was drawn, it stays as it is: in a store that is still growing, few seeds
    at a place are no failure.
    """
    times = np.zeros((len(drawn), reach.present.shape[-1]))
    np.add.at(times, (np.arange(len(drawn))[:, None], drawn), 1.0)
    places = reach.present.shape[:-1]
    trained_count, count = (
        (times @ values.reshape(-1, values.shape[-1]).T.astype(np.float64)).reshape(len(drawn), *places)
        for values in (reach.succeeded, reach.present)
    )
    passes = np.where(count > 0, trained_count >= LEAST_SHARE * count, _passes(reach.succeeded, reach.present))
    return _steps(passes, reach.start)


def _log_ratios(own: _Reach, steps: NDArray[np.int64], other: _Reach, others: NDArray[np.int64]) -> Floats:
    """Logarithm of own depth over the other's, (…, widths); NaN where one of them has no frontier."""
    logs = [
        np.log(np.where(places > 0, reach.depths[places], np.nan)) for reach, places in ((own, steps), (other, others))
    ]
    return np.asarray(logs[0] - logs[1])


def _values(widths: Sequence[int], where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(width for width, chosen in zip(widths, where, strict=True) if chosen)
