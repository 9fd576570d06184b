"""A seed as one repetition of a published experiment: one number a seed, its interval and range over seeds."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import EQUAL, LEAST_FOR_INTERVAL, Floats, means
from jumpstart_exp.report.table.grid import FigureGrid

MOMENT = "best"
"""The published numbers are of the best epoch."""


@dataclass(frozen=True)
class Interval:
    """A number over seeds: its interval (95 %) `low` to `high` by Student's t, its lowest and highest seed.

    None where `Means` has none. `count` is how many seeds it is of.
    """

    value: float
    low: float | None
    high: float | None
    least: float | None
    most: float | None
    count: int

    def ends(self) -> tuple[float, float] | None:
        """What decides: the interval, or the one value of all seeds if they agree; None of fewer than it takes."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        if self.least is None or self.most is None or self.count < LEAST_FOR_INTERVAL:
            return None
        return (self.least, self.most) if self.most - self.least <= EQUAL else None


def over_seeds(values: Floats) -> Interval:
    """The mean of one number a seed; NaN values are left out."""
    of = means(values)
    low, high, least, most = map(or_none, (of.low, of.high, of.least, of.most))
    return Interval(float(of.mean), low, high, least, most, int((~np.isnan(values)).sum()))


def ratio_over_seeds(totals: Floats, counts: Floats) -> Interval | None:
    """Σ totals / Σ counts of one entry a seed; None where nothing is counted.

    The standard error is that of a ratio of means (Cochran, 1977, equation 2.46), the range that of the seeds' own.
    """
    own = counts > 0
    totals, counts = totals[own], counts[own]
    if not len(counts):
        return None
    ratio = float(totals.sum() / counts.sum())
    # what a seed adds, so that the mean of these is the ratio and their spread its standard error
    parts = over_seeds(ratio + (totals - ratio * counts) / counts.mean())
    each = means(totals / counts)
    return replace(parts, value=ratio, least=or_none(each.least), most=or_none(each.most))


def complete_seeds(grid: FigureGrid, methods: tuple[str, ...], pairs: int) -> NDArray[np.int64]:
    """The places of the seeds that have all of so many depth-width pairs of these methods."""
    if any(method not in grid.methods for method in methods):
        return np.zeros(0, np.int64)
    rows = [grid.methods.index(method) for method in methods]
    counts = grid.present[rows].sum(axis=(1, 2))
    return np.flatnonzero(np.all(counts >= pairs, axis=0))


def wins_by_seed(first: Floats, second: Floats) -> NDArray[np.int64]:
    """At how many pairs the first accuracy is the higher one, seed by seed, of (…, seeds); any beats NaN."""
    axes = tuple(range(first.ndim - 1))
    higher = np.nan_to_num(first, nan=-np.inf) > np.nan_to_num(second, nan=-np.inf) + EQUAL
    return np.asarray(higher.sum(axis=axes), dtype=np.int64)


def or_none(value: float | Floats) -> float | None:
    """The number as Python has it; None for NaN."""
    return None if np.isnan(value) else float(value)
