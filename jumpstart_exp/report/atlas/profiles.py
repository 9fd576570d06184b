"""Performance profiles: the share of places that at least so many of the seeds train (Dolan and Moré 2002)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import EQUAL, LEAST_FOR_BOOTSTRAP, Floats, drawn_counts, student_interval
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid

_AT_ONCE = 100  # resamples, so that few megabytes are needed


@dataclass(frozen=True, eq=False)
class Profiles:
    """`share` of a method's places at which at least the share `tau` of the seeds train, (methods, taus).

    `low` and `high` are pointwise intervals (95 %) of what as many other seeds would give on average, NaN with fewer
    than `LEAST_FOR_BOOTSTRAP`: Student's t of the spread over resampled seeds, the same ones for all methods and τ.
    Percentiles of the resamples would be beside it, most of all at both ends, where a place that all seeds train is one
    that every resample does (in simulations they held it in 33 to 58 % there, these in 83 to 98 %). NaN also where
    the seeds agree: what is rare is then not among them. `places` are how many each method has.
    """

    tau: Floats
    share: Floats
    low: Floats
    high: Floats
    places: NDArray[np.int64]


def profiles(grid: FigureGrid, at_epoch: str) -> Profiles:
    """Every method's profile at the "best" or "last" epoch, over τ from one seed's share to 1."""
    succeeded, present = trained(grid, at_epoch).astype(np.float64), grid.present.astype(np.float64)
    seeds = len(grid.seeds)
    tau = np.arange(1, seeds + 1) / seeds
    places = np.asarray(grid.present.any(axis=-1).sum(axis=(1, 2)), np.int64)

    def shares(times: Floats) -> Floats:
        """Of seeds that count so often, (sets, seeds): (sets, methods, taus)."""
        count, total = (np.tensordot(times, of, (1, 3)) for of in (succeeded, present))
        reached = np.where(total > 0, count / np.maximum(total, 1), -1.0)
        own = np.maximum((total > 0).sum(axis=(2, 3)), 1)
        return np.stack([(reached >= least - EQUAL).sum(axis=(2, 3)) / own for least in tau], axis=-1)

    (share,) = shares(np.ones((1, seeds)))
    low = high = np.full(share.shape, np.nan)
    is_whole = bool((grid.present.all(axis=-1) | ~grid.present.any(axis=-1)).all())
    if seeds >= LEAST_FOR_BOOTSTRAP and is_whole:
        drawn = drawn_counts(seeds)
        parts = [shares(drawn[start : start + _AT_ONCE]) for start in range(0, len(drawn), _AT_ONCE)]
        spread = np.concatenate(parts).std(axis=0)
        # a resample of n seeds has (n − 1)/n of their variance
        ends = student_interval(share, spread * np.sqrt(seeds / (seeds - 1)), seeds)
        low, high = (np.where(spread > EQUAL, np.clip(end, 0, 1), np.nan) for end in ends)
    return Profiles(tau, share, low, high, places)
