"""Intervals and tests over seeds: pure functions of arrays; what is drawn at random is seeded and stays the same."""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
"""Level of every interval in the report."""

RESAMPLES = 2000
"""Bootstrap resamples behind an interval."""

Floats = NDArray[np.float64]


def wilson(successes: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """The Wilson score interval of a share (Wilson, 1927), entry by entry.

    Args:
        successes: how many of the trials succeeded.
        trials: how many there were; both broadcast to one shape.
        confidence: the interval's level.

    Returns:
        low and high, fractions in [0, 1]; NaN where there were no trials.
    """
    count, total = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    known = np.where(total > 0, total, np.nan)
    share = count / known
    middle = share + z**2 / (2 * known)
    spread = z * np.sqrt(share * (1 - share) / known + z**2 / (4 * known**2))
    scale = 1 + z**2 / known
    # at the ends the exact bound is 0 or 1, which rounding would miss by a little
    low = np.where(count == 0, 0 * known, (middle - spread) / scale)
    high = np.where(count == total, 1 + 0 * known, (middle + spread) / scale)
    return low, high


@cache
def resamples(count: int) -> NDArray[np.int64]:
    """Places drawn with replacement from `count`, (RESAMPLES, count); always the same ones."""
    drawn = np.random.Generator(np.random.PCG64(count)).integers(0, count, size=(RESAMPLES, count))
    drawn.setflags(write=False)
    return drawn


def percentile_interval(values: Floats, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """The percentile interval of bootstrapped values over the first axis; NaN values are left out."""
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    columns = values.reshape(len(values), math.prod(values.shape[1:]))
    known = ~np.isnan(columns)
    ends = np.full((2, columns.shape[1]), np.nan)
    whole = known.all(axis=0) & (len(values) > 0)
    ends[:, whole] = np.percentile(columns[:, whole], tails, axis=0) if whole.any() else 0.0
    for column in np.flatnonzero(known.any(axis=0) & ~whole):
        ends[:, column] = np.percentile(columns[known[:, column], column], tails)
    low, high = ends.reshape(2, *values.shape[1:])
    return low, high


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats, Floats]:
    """Mean over the last axis with its percentile bootstrap interval; NaN entries are left out.

    Every row's known values are resampled by themselves. With few seeds such an interval is somewhat too narrow.

    Args:
        values: (…, seeds).
        confidence: the interval's level.

    Returns:
        mean, low and high, (…); mean is NaN where nothing is known, low and high where there are fewer than two values.
    """
    array = np.asarray(values, np.float64)
    rows = array.reshape(-1, array.shape[-1])
    mean, low, high = (np.full(len(rows), np.nan) for _ in range(3))
    known = ~np.isnan(rows)
    counts = known.sum(axis=1)
    for count in np.unique(counts[counts > 0]):
        own = np.flatnonzero(counts == count)
        packed = rows[own][known[own]].reshape(len(own), count)
        mean[own] = packed.mean(axis=1)
        if count > 1:
            low[own], high[own] = _bootstrapped(packed, confidence)
    shape = array.shape[:-1]
    return mean.reshape(shape), low.reshape(shape), high.reshape(shape)


def false_discovery(p: ArrayLike) -> Floats:
    """P-values adjusted by Benjamini and Hochberg (1995) for their number; NaN entries are left out and stay NaN.

    Rejecting what is at most α keeps the expected share of false rejections at most α.
    """
    values = np.asarray(p, np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    given = values[known]
    order = np.argsort(-given, kind="stable")
    ranks = np.arange(len(given), 0, -1)
    found = np.minimum.accumulate(given[order] * len(given) / np.maximum(ranks, 1))
    back = np.empty(len(given))
    back[order] = np.minimum(found, 1.0)
    adjusted[known] = back
    return adjusted


def _bootstrapped(packed: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The interval of every row's mean, (rows, values); rows in blocks, so that memory stays small."""
    count = packed.shape[1]
    weights = np.zeros((RESAMPLES, count))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None], resamples(count)), 1 / count)
    parts = [percentile_interval(weights @ block.T, confidence) for block in _blocks(packed)]
    # a mean of equal values may differ from them in the last digit
    least, most = packed.min(axis=1), packed.max(axis=1)
    low, high = (np.concatenate(side) for side in zip(*parts, strict=True))
    return np.clip(low, least, most), np.clip(high, least, most)


def _blocks(packed: Floats) -> list[Floats]:
    return [packed[start : start + 2048] for start in range(0, len(packed), 2048)]
