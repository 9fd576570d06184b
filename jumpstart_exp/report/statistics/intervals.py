"""Intervals and tests over seeds: pure functions of arrays; what is drawn at random is seeded and stays the same."""

import math
import warnings
from collections.abc import Iterator
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

CONFIDENCE = 0.95
"""Level of every interval in the report."""

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
def drawn_counts(count: int, each: float = 1.0) -> Floats:
    """How often each resample has each of `count` entries, (RESAMPLES, count); a drawing counts `each`."""
    times = np.zeros((RESAMPLES, count))
    np.add.at(times, (np.arange(RESAMPLES)[:, None], resamples(count)), each)
    times.setflags(write=False)
    return times


def percentile_interval(values: Floats) -> tuple[Floats, Floats]:
    """The percentile interval of bootstrapped values over the first axis; NaN values are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all values are NaN, so is the interval
        low, high = (np.nanpercentile if np.isnan(values).any() else np.percentile)(values, _TAILS, axis=0)
    return low, high


def mean_interval(values: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Mean over the last axis with its percentile bootstrap interval; NaN entries are left out.

    Every row's known values are resampled by themselves. With few seeds such an interval is somewhat too narrow.

    Args:
        values: (…, seeds).

    Returns:
        mean, low and high, (…); mean is NaN where nothing is known, low and high where there are fewer than two values.
    """
    shape = np.shape(values)[:-1]
    mean, low, high = (np.full(math.prod(shape), np.nan) for _ in range(3))
    for own, packed in by_count(values):
        mean[own] = packed.mean(axis=1)
        if packed.shape[1] > 1:
            low[own], high[own] = _bootstrapped(packed)
    return mean.reshape(shape), low.reshape(shape), high.reshape(shape)


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
    adjusted = np.array(p, np.float64)
    known = ~np.isnan(adjusted)
    adjusted[known] = false_discovery_control(adjusted[known])
    return adjusted


def _bootstrapped(packed: Floats) -> tuple[Floats, Floats]:
    """The interval of every row's mean, (rows, values); rows in blocks, so that memory stays small."""
    weights = drawn_counts(packed.shape[1], 1 / packed.shape[1])
    blocks = (packed[start : start + 2048] for start in range(0, len(packed), 2048))
    low, high = np.concatenate([percentile_interval(weights @ block.T) for block in blocks], axis=1)
    # a mean of equal values may differ from them in the last digit
    least, most = packed.min(axis=1), packed.max(axis=1)
    return np.clip(low, least, most), np.clip(high, least, most)
