"""The area under the frontier, by which methods are ranked, and what is certain of the ranks: statistics only.

The area is a share of the figure: depth 0 to the grid's deepest, and the grid's widths at equal distances, as the
figures draw them: every width counts the same. Thin networks are what it is about, and on a linear axis widths 1
to 5 of 25 would be a sixth of it. The frontier is that of `statistics/frontier.py` with start="first": counted from the
grid's shallowest depth, widths at which one hidden layer alone is too little would have none, although they train
deeper. A width without a frontier counts 0. Depths that a method has nowhere are no part of its frontier.

Intervals hold for all methods at once: whole seeds are resampled, the same ones for all methods, and how far off the
worst method is in 95 % of the resamples is the half width of every interval (Romano and Wolf, Econometrica 2005,
without studentising: where all seeds agree the standard error is 0, and an interval of no width would be wrong; in
simulations of eight methods and ten seeds all areas were held in 95 to 100 %, studentised in 91 to 100 %). Ranks
follow from the differences of all pairs in the same way (Mogstad, Romano, Shaikh and Wilhelm, Review of Economic
Studies 2024).

With fewer than `LEAST_FOR_BOOTSTRAP` seeds there is no interval: so few have too few different resamples, of five
seeds 126, and what is rare is in none of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.statistics.frontier import LEAST_SHARE, frontier_steps
from jumpstart_exp.report.statistics.intervals import (
    CONFIDENCE,
    EQUAL,
    LEAST_FOR_BOOTSTRAP,
    Floats,
    drawn_counts,
)
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid, once_a_grid

_AT_ONCE = 100  # resamples, so that few megabytes are needed


@dataclass(frozen=True, eq=False)
class Areas:
    """The area under every method's frontier at one moment, (methods,) each, in the order of the grid's methods.

    `area` is the share of the figure below the frontier, over all seeds that the method has at each place. `low` and
    `high` are ends of simultaneous intervals (95 %), NaN with fewer than `LEAST_FOR_BOOTSTRAP` seeds. `rank` is 1 for
    the largest, the same for equal ones; `first` and `last` are the ranks that are not excluded (NaN likewise).
    `seeds` are those that every method has at all places at which it has any: those that are resampled. `lacking`
    counts the places at which a method has fewer seeds than another: its area may then be too small.
    """

    at_epoch: str
    area: Floats
    low: Floats
    high: Floats
    rank: NDArray[np.int64]
    first: Floats
    last: Floats
    seeds: int
    lacking: NDArray[np.int64]

    def order(self) -> NDArray[np.int64]:
        """The methods' places, the largest area first."""
        return np.lexsort((np.arange(len(self.area)), self.rank))


def areas(atlas: Atlas, at_epoch: str) -> Areas:
    """Every method's area at the "best" or the "last" epoch."""
    return _areas(atlas.grid, at_epoch)


def ranking(atlas: Atlas) -> tuple[str, ...]:
    """The methods, the largest area at the last epoch first."""
    return tuple(atlas.grid.methods[place] for place in areas(atlas, "last").order())


@once_a_grid
def _areas(grid: FigureGrid, at_epoch: str) -> Areas:
    counts = np.asarray(grid.present.sum(axis=-1), np.float64)
    area = _shares(grid, np.asarray(trained(grid, at_epoch).sum(axis=-1), np.float64), counts)
    there = counts > 0
    common = np.asarray((grid.present | ~there[..., None]).all(axis=(0, 1, 2)))
    low, high, first, last = (np.full(len(area), np.nan) for _ in range(4))
    if common.sum() >= LEAST_FOR_BOOTSTRAP:
        off = _deviations(grid, at_epoch, common)
        half, apart = np.quantile([np.abs(off).max(axis=1), np.ptp(off, axis=1)], CONFIDENCE, axis=1)
        low, high = np.clip(area - half, 0, 1), np.clip(area + half, 0, 1)
        larger = area[None, :] - area[:, None] > apart + EQUAL  # (method, another one that is larger for certain)
        first, last = 1.0 + larger.sum(axis=1), len(area) - larger.sum(axis=0).astype(np.float64)
    rank = 1 + (area[None, :] > area[:, None] + EQUAL).sum(axis=1)
    lacking = (counts < counts.max(axis=0)).sum(axis=(1, 2))
    return Areas(at_epoch, area, low, high, rank, first, last, int(common.sum()), lacking)


def _deviations(grid: FigureGrid, at_epoch: str, common: NDArray[np.bool_]) -> Floats:
    """How far the areas of every resample of these seeds are from those of the seeds, (resamples, methods)."""
    count = int(common.sum())
    succeeded = np.asarray(trained(grid, at_epoch)[..., common], np.float64)
    counts = np.asarray(grid.present[..., common].any(axis=-1) * count, np.float64)
    drawn = drawn_counts(count)
    parts = [drawn[start : start + _AT_ONCE] for start in range(0, len(drawn), _AT_ONCE)]
    resampled = np.concatenate([_shares(grid, np.tensordot(part, succeeded, (1, 3)), counts) for part in parts])
    # a resample of n seeds has (n − 1)/n of their variance
    return np.asarray((resampled - _shares(grid, succeeded.sum(axis=-1), counts)) * np.sqrt(count / (count - 1)))


def _shares(grid: FigureGrid, succeeded: Floats, counts: Floats) -> Floats:
    """The share of the figure below each method's frontier, (…, methods).

    Args:
        grid: whose methods, depths and widths they are.
        succeeded: how many seeds train, (…, methods, depths, widths).
        counts: of how many, (methods, depths, widths).
    """
    passes = (counts > 0) & (succeeded >= LEAST_SHARE * counts)
    found = np.zeros(passes.shape[:-2])
    for own, methods in _by_depths(grid):
        depths = np.array([0, *np.array(grid.depths)[own]], np.float64)
        reached = depths[frontier_steps(passes[..., methods, :, :][..., own, :], "first")]
        found[..., methods] = reached.mean(axis=-1) / grid.depths[-1]
    return found


def _by_depths(grid: FigureGrid) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """The depths that methods have at any width, (depths,), and the methods that have just these."""
    kinds, of = np.unique(grid.present.any(axis=(2, 3)), axis=0, return_inverse=True)
    return [(own, np.flatnonzero(of.ravel() == kind)) for kind, own in enumerate(kinds)]
