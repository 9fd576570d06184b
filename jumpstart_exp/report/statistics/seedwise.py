"""A seed as one repetition of a published experiment: one number a seed, and its interval over seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import EQUAL, Floats, mean_interval, percentile_interval, resamples
from jumpstart_exp.report.table.grid import FigureGrid

MOMENT = "best"
"""The published numbers are of the best epoch."""


@dataclass(frozen=True)
class Interval:
    """A number over seeds with its interval (95 %), None with fewer than two seeds."""

    value: float
    low: float | None
    high: float | None
    seeds: int


def over_seeds(values: Floats) -> Interval:
    """The mean of one number a seed, with its interval; NaN values are left out."""
    mean, low, high = mean_interval(values)
    return Interval(float(mean), or_none(low), or_none(high), int((~np.isnan(values)).sum()))


def ratio_over_seeds(totals: Floats, counts: Floats) -> Interval | None:
    """Σ totals / Σ counts of one entry a seed, its interval over resampled seeds; None where nothing is counted."""
    own = counts > 0
    totals, counts = totals[own], counts[own]
    if not len(counts):
        return None
    ratio = float(totals.sum() / counts.sum())
    if len(counts) < 2:
        return Interval(ratio, None, None, 1)
    drawn = resamples(len(counts))
    low, high = percentile_interval(totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return Interval(ratio, float(low), float(high), len(counts))


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
    higher = np.nan_to_num(first, nan=-1.0) > np.nan_to_num(second, nan=-1.0) + EQUAL
    return np.asarray(higher.sum(axis=axes), dtype=np.int64)


def or_none(value: float | Floats) -> float | None:
    """The number as Python has it; None for NaN."""
    return None if np.isnan(value) else float(value)
