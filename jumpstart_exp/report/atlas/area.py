"""The area under the frontier, by which methods are ranked, and what is certain of the ranks: statistics only.

Intervals hold for all methods at once: the seeds are resampled together for all of them, and how far off the worst
method is in 95 % of the resamples is the half width of every interval (a sup-t band without studentising: Romano and
Wolf, Econometrica 2005). Ranks follow from the differences of all pairs in the same way (Mogstad, Romano, Shaikh and
Wilhelm, Review of Economic Studies 2024).
"""

from dataclasses import dataclass
from typing import Any

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
from jumpstart_exp.report.table.grid import FigureGrid


@dataclass(frozen=True, eq=False)
class Areas:
    """The area under every method's frontier at one moment, (methods,) each, in the order of the grid's methods.

    `area` is the share of depth × width below the frontier: the mean over the grid's widths of the greatest depth that
    trains, over the deepest of the grid. `low` and `high` are ends of simultaneous intervals (95 %), NaN with fewer
    than `LEAST_FOR_BOOTSTRAP` seeds. `rank` is 1 for the largest, the same for equal ones; `first` and `last` are the
    ranks that are not excluded (NaN likewise). `seeds` are those that every method has at all of its places; `lacking`
    counts places of a method's own widths at which it has not all of them: its area may then be too small.
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


def frontier_depths(grid: FigureGrid, passes: NDArray[np.bool_]) -> Floats:
    """The greatest depth without a failure since the first that passes, (…, widths), of (…, depths, widths), or 0.

    Counted from the first depth that trains: one hidden layer alone is too little for thin networks.
    """
    return np.array([0, *grid.depths], dtype=np.float64)[frontier_steps(passes, "first")]


def areas(atlas: Atlas, at_epoch: str) -> Areas:
    """Every method's area at the "best" or the "last" epoch."""
    grid = atlas.grid
    succeeded = trained(grid, at_epoch)
    common = _common_seeds(grid)
    count = int(common.sum())
    passes = _passes(np.asarray(succeeded.sum(axis=-1)), np.asarray(grid.present.sum(axis=-1)))
    area = frontier_depths(grid, passes).mean(axis=-1) / grid.depths[-1]
    low, high, first, last = (np.full(len(area), np.nan) for _ in range(4))
    if count >= LEAST_FOR_BOOTSTRAP and len(area) > 1:
        own, there = succeeded[..., common], np.asarray(grid.present[..., common].any(axis=-1))
        resampled = np.stack(
            [
                frontier_depths(grid, _passes(own @ times, there * count)).mean(axis=-1) / grid.depths[-1]
                for times in drawn_counts(count)
            ]
        )
        # a resample of n seeds has (n − 1)/n of their variance
        off = (resampled - area) * np.sqrt(count / (count - 1))
        half, apart = np.quantile([np.abs(off).max(axis=1), off.max(axis=1) - off.min(axis=1)], CONFIDENCE, axis=1)
        low, high = np.clip(area - half, 0, 1), np.clip(area + half, 0, 1)
        larger = area[None, :] - area[:, None] > apart + EQUAL  # (method, another one that is larger for certain)
        first, last = 1.0 + larger.sum(axis=1), len(area) - larger.sum(axis=0).astype(np.float64)
    rank = 1 + (area[None, :] > area[:, None] + EQUAL).sum(axis=1)
    lacking = (grid.present.sum(axis=-1) < len(grid.seeds)) & _own_widths(grid)[:, None, :]
    return Areas(at_epoch, area, low, high, rank, first, last, count, lacking.sum(axis=(1, 2)))


def _passes(succeeded: NDArray[Any], seeds: NDArray[Any]) -> NDArray[np.bool_]:
    """Where at least half of the seeds train; a place without any does not."""
    return np.asarray((seeds > 0) & (succeeded >= LEAST_SHARE * seeds))


def _common_seeds(grid: FigureGrid) -> NDArray[np.bool_]:
    """The seeds that every method has at all places of the widths that it has, (seeds,)."""
    lacks_width = ~_own_widths(grid)[:, None, :, None]
    return np.asarray((grid.present | lacks_width).all(axis=(0, 1, 2)))


def _own_widths(grid: FigureGrid) -> NDArray[np.bool_]:
    """The widths at which each method has any cell, (methods, widths)."""
    return np.asarray(grid.present.any(axis=(1, 3)))
