"""Intervals and tests over seeds: pure functions of arrays; what is drawn at random is seeded and stays the same."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
"""Level of every interval in the report."""

LEAST_FOR_INTERVAL = 6
"""Seeds from which on anything but a share has an interval; of fewer the seeds themselves are shown."""

LEAST_FOR_BOOTSTRAP = 10
"""Seeds from which on a bootstrap gives an interval."""

RESAMPLES = 2000
"""Bootstrap resamples behind an interval."""

EQUAL = 1e-9
"""Accuracies, their means and sums that differ by less differ in rounding only."""

Floats = NDArray[np.float64]

_TAILS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))  # percentiles


def wilson(successes: ArrayLike, trials: ArrayLike) -> tuple[Floats, Floats]:
    """The Wilson score interval of a share (Wilson, 1927), entry by entry.

    Args:
        successes: how many of the trials succeeded.
        trials: how many there were; both broadcast to one shape.

    Returns:
        low and high, fractions in [0, 1]; NaN where there were no trials.
    """
    count, total = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    known = np.where(total > 0, total, np.nan)
    share = count / known
    middle = share + z**2 / (2 * known)
    spread = z * np.sqrt(share * (1 - share) / known + z**2 / (4 * known**2))
    scale = 1 + z**2 / known
    # at the ends the exact bound is 0 or 1, which rounding would miss by a little
    low = np.where(count == 0, 0 * known, (middle - spread) / scale)
    high = np.where(count == total, 1 + 0 * known, (middle + spread) / scale)
    return low, high


def share_interval(successes: NDArray[np.int64], trials: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """A share with its Wilson interval, entry by entry; NaN where there were no trials."""
    share = np.divide(successes, trials, out=np.full(trials.shape, np.nan), where=trials > 0)
    return share, *wilson(successes, trials)


@cache
def resamples(count: int) -> NDArray[np.int64]:
    """Places drawn with replacement from `count`, (RESAMPLES, count); always the same ones."""
    drawn = np.random.Generator(np.random.PCG64(count)).integers(0, count, size=(RESAMPLES, count))
    drawn.setflags(write=False)
    return drawn


@cache
def drawn_counts(count: int) -> Floats:
    """How often each resample has each of `count` entries, (RESAMPLES, count)."""
    times = np.zeros((RESAMPLES, count))
    np.add.at(times, (np.arange(RESAMPLES)[:, None], resamples(count)), 1.0)
    times.setflags(write=False)
    return times


def percentile_interval(values: Floats) -> tuple[Floats, Floats]:
    """The percentile interval of bootstrapped values over the first axis; NaN values are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all values are NaN, so is the interval
        low, high = (np.nanpercentile if np.isnan(values).any() else np.percentile)(values, _TAILS, axis=0)
    return low, high


@dataclass(frozen=True, eq=False)
class Means:
    """Means over seeds, entry by entry; NaN where nothing is known.

    `low` and `high` are the interval (95 %) by Student's t, NaN with fewer than `LEAST_FOR_INTERVAL` values and where
    all of them agree: what is rare is then not among them. `least` and `most` are the lowest and the highest seed, NaN
    with fewer than two.
    """

    mean: Floats
    low: Floats
    high: Floats
    least: Floats
    most: Floats


def means(values: ArrayLike, between: tuple[float, float] = (-math.inf, math.inf)) -> Means:
    """Means over the last axis; NaN entries are left out.

    Args:
        values: (…, seeds).
        between: what the values can be; the interval stays within.
    """
    shape = np.shape(values)[:-1]
    mean, low, high, least, most = (np.full(math.prod(shape), np.nan) for _ in range(5))
    for own, packed in by_count(values):
        mean[own], count = packed.mean(axis=1), packed.shape[1]
        if count > 1:
            least[own], most[own] = packed.min(axis=1), packed.max(axis=1)
            low[own], high[own] = student_interval(mean[own], packed.std(axis=1, ddof=1) / math.sqrt(count), count)
            is_none = np.isnan(low[own]) | (most[own] - least[own] <= EQUAL)
            low[own], high[own] = (np.where(is_none, np.nan, np.clip(of[own], *between)) for of in (low, high))
    return Means(*(of.reshape(shape) for of in (mean, low, high, least, most)))


def student_interval(value: Floats, error: Floats, count: int, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Student's t interval of estimates with these standard errors from `count` seeds; NaN of too few seeds."""
    known = np.nan if count < LEAST_FOR_INTERVAL else _student_quantile(0.5 + confidence / 2, count - 1)
    return value - known * error, value + known * error


@cache
def _student_quantile(probability: float, freedom: int) -> float:
    from scipy.stats import t  # half a second, which figures without intervals are not to wait for

    return float(t.ppf(probability, freedom))


@cache
def wilson_coverage(trials: int) -> tuple[float, float]:
    """How often Wilson's interval of so many trials holds the share: over all shares on average, and at the worst."""
    from scipy.stats import binom

    counts = np.arange(trials + 1)
    low, high = (ends[:, None] for ends in wilson(counts, trials))
    even = np.linspace(0, 1, 2001)
    beside = [np.clip(ends + step, 0, 1).ravel() for ends in (low, high) for step in (-EQUAL, EQUAL)]
    shares = np.concatenate([even, *beside])  # coverage is lowest just beside the intervals' ends
    held = np.where((low <= shares) & (shares <= high), binom.pmf(counts[:, None], trials, shares), 0.0).sum(axis=0)
    return float(held[: len(even)].mean()), float(held.min())


@cache
def student_coverage(count: int) -> float:
    """How often Student's t interval of so many seeds holds the mean, at the worst of populations of two kinds.

    Seeds of two kinds, as those that train and those that stay at chance, with shares from a tenth to nine tenths. What
    a sample of one kind only gives is then around that kind, and does not hold the mean.
    """
    from scipy.stats import binom

    counts, shares = np.arange(count + 1)[:, None], np.linspace(0.1, 0.9, 801)
    found = counts / count
    low, high = student_interval(found, np.sqrt(found * (1 - found) / (count - 1)), count)
    held = np.where((low <= shares) & (shares <= high), binom.pmf(counts, count, shares), 0.0).sum(axis=0)
    return float(held.min())


def by_count(values: ArrayLike) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Rows with equally many known values together: their places among all rows, and those values, (rows, count).

    Args:
        values: (…, seeds), NaN for none; a row is what stands along the last axis. Rows without any are left out.
    """
    array = np.asarray(values, np.float64)
    rows = array.reshape(-1, array.shape[-1])
    known = ~np.isnan(rows)
    counts = known.sum(axis=1)
    for count in np.unique(counts[counts > 0]):
        own = np.flatnonzero(counts == count)
        yield own, rows[own][known[own]].reshape(len(own), count)


def false_discovery(p: ArrayLike) -> Floats:
    """P-values adjusted by Benjamini and Hochberg (1995) for their number; NaN entries are left out and stay NaN.

    Rejecting what is at most α keeps the expected share of false rejections at most α.
    """
    from scipy.stats import false_discovery_control

    adjusted = np.array(p, np.float64)
    known = ~np.isnan(adjusted)
    adjusted[known] = false_discovery_control(adjusted[known])
    return adjusted
