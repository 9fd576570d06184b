"""Differences between methods, paired by seed and place, and what picking the best epoch adds: statistics only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import (
    EQUAL,
    LEAST_FOR_INTERVAL,
    Floats,
    by_count,
    false_discovery,
    means,
)
from jumpstart_exp.report.statistics.seedwise import or_none
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid, once_a_grid

LEAST_SEEDS = 2
"""Seeds of a place from which on there is something to say about seeds."""

LEVEL = 0.05
"""Adjusted p-value up to which a difference is called significant."""

MOST_ENUMERATED = 12
"""Seeds up to which all sign flips are counted; beyond, `FLIPS` of them are drawn."""

FLIPS = 9_999
"""Seeded random sign flips behind a p-value of many seeds; the least p-value is then 1 / (FLIPS + 1)."""

COMPARED = ("trains", "train_acc", "val_acc")
"""What is compared at a moment: whether a seed trains (0 or 1), training accuracy, and validation accuracy."""

_SECOND_PAIR = ("sep_up", "relu_bn")


@dataclass(frozen=True)
class Estimate:
    """A mean over places, each the mean of its seeds.

    `low` and `high` are its interval (95 %), Student's t over whole seeds, None where a place has fewer than
    `LEAST_FOR_INTERVAL` or all seeds agree. `least` and `most` are its lowest and highest seed, None of fewer than two.
    """

    mean: float
    low: float | None
    high: float | None
    least: float | None
    most: float | None
    seeds: int
    places: int


@dataclass(frozen=True, eq=False)
class PairedDifferences:
    """What a method has more than another at every place, paired by seed; arrays are (depths, widths).

    `mean` with its interval `low` to `high` and its lowest and highest seed, `least` and `most` (`Means`), over `pairs`
    seeds; `p` is the two-sided p-value of the sign-flip test, `adjusted` the same after Benjamini and Hochberg over
    this figure's places; all NaN where there is no pair. `left_out` seeds have only one of the two values. `overall` is
    over all places with a pair, `overall_p` its p-value with the signs of whole seeds flipped; None where there is no
    pair.
    """

    pairs: NDArray[np.int64]
    left_out: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    least: Floats
    most: Floats
    p: Floats
    adjusted: Floats
    overall: Estimate | None
    overall_p: float | None

    def significant(self) -> NDArray[np.bool_]:
        """Where the adjusted p-value is at most `LEVEL`, (depths, widths)."""
        return np.asarray(self.adjusted <= LEVEL)


@dataclass(frozen=True)
class BestMinusLast:
    """How much the best epoch flatters a method: best minus last, over all its places that have both.

    `accuracy` has an entry for train_acc and val_acc; `beyond_baseline` is by how much the baseline's own is exceeded
    at the seeds and places that both have (None for the baseline itself, or without it). `trains` is the share of
    cells that train at the best and at the last epoch, of all that the store has.
    """

    method: str
    accuracy: dict[str, Estimate | None]
    beyond_baseline: dict[str, Estimate | None]
    trains: dict[str, Estimate]


def comparisons(methods: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The pairs of method and baseline that are compared: each against ReLU, and Sep-UP against ReLU + BN."""
    pairs = [(method, BASELINE) for method in methods if method != BASELINE and BASELINE in methods]
    return (*pairs, *([_SECOND_PAIR] if {*_SECOND_PAIR} <= {*methods} else []))


@once_a_grid
def paired_differences(grid: FigureGrid, method: str, baseline: str, compared: str, at_epoch: str) -> PairedDifferences:
    """What `method` has more than `baseline`, place by place.

    Args:
        grid: the figure's cells.
        method: label of the one method.
        baseline: label of the other.
        compared: one of COMPARED. Accuracies need both networks trained to the end; "trains" needs both in the store,
            and one that diverged or failed does not train.
        at_epoch: "best" or "last" epoch.

    Raises:
        ValueError: the grid lacks one of the methods.
    """
    own, other = _values(grid, compared, at_epoch)[[grid.methods.index(label) for label in (method, baseline)]]
    differences = own - other
    p = sign_flip_p(differences)
    overall = over_places(differences)
    return PairedDifferences(
        pairs=np.asarray((~np.isnan(differences)).sum(axis=-1)),
        left_out=np.asarray((np.isnan(own) != np.isnan(other)).sum(axis=-1)),
        **vars(means(differences, (-1, 1))),
        p=p,
        adjusted=false_discovery(p),
        overall=overall,
        overall_p=None if overall is None else float(sign_flip_p(seed_parts(differences))),
    )


def best_minus_last(grid: FigureGrid, metric: str) -> Floats:
    """How far the best epoch is above the last, (methods, depths, widths, seeds), of "train_acc" or "val_acc"."""
    return grid.accuracy[f"{metric}_best"] - grid.accuracy[f"{metric}_last"]


@once_a_grid
def best_minus_last_by_method(grid: FigureGrid) -> tuple[BestMinusLast, ...]:
    """How much the best epoch flatters each method, in the grid's order."""
    gaps = {metric: best_minus_last(grid, metric) for metric in ("train_acc", "val_acc")}
    trains = {at_epoch: _values(grid, "trains", at_epoch) for at_epoch in MOMENTS}
    base = grid.methods.index(BASELINE) if BASELINE in grid.methods else None
    found = []
    for method, label in enumerate(grid.methods):
        accuracy = {metric: over_places(gap[method]) for metric, gap in gaps.items()}
        beyond = {
            metric: None if base in (None, method) else over_places(gap[method] - gap[base])
            for metric, gap in gaps.items()
        }
        shares = ((at_epoch, over_places(of_moment[method])) for at_epoch, of_moment in trains.items())
        found.append(BestMinusLast(label, accuracy, beyond, {name: share for name, share in shares if share}))
    return tuple(found)


def over_places(values: ArrayLike) -> Estimate | None:
    """Mean over places of the means over their seeds; None where nothing is known.

    A whole seed is one observation, because its networks share their random numbers. Where a seed lacks places, it
    counts for what it adds to the mean: the standard error is that of the sum of these parts.

    Args:
        values: (…, seeds), NaN for none.
    """
    array = np.asarray(values, np.float64)
    rows = array.reshape(-1, array.shape[-1])
    rows = rows[~np.isnan(rows).all(axis=1)]
    rows = rows[:, ~np.isnan(rows).all(axis=0)]
    if not rows.size:
        return None
    counts = (~np.isnan(rows)).sum(axis=1)
    by_place = np.nansum(rows, axis=1) / counts
    mean, seeds = float(by_place.mean()), rows.shape[1]
    parts = np.nansum((rows - by_place[:, None]) / counts[:, None], axis=0) * seeds / len(rows)
    of = means(mean + parts)
    has_interval = counts.min() >= LEAST_FOR_INTERVAL
    low, high = (or_none(end) if has_interval else None for end in (of.low, of.high))
    return Estimate(mean, low, high, or_none(of.least), or_none(of.most), seeds, len(rows))


def sign_flip_p(differences: ArrayLike) -> Floats:
    """Two-sided p-value of the sign-flip permutation test of a mean difference of 0, entry by entry.

    With no difference between the methods each seed's difference has either sign equally often: the p-value is the
    share of sign flips whose sum is at least as far from 0 as the one found. Up to `MOST_ENUMERATED` seeds all flips
    are counted, beyond `FLIPS` seeded random ones, the one found included (Phipson and Smyth, 2010). The least p-value
    of n seeds is 2 ** (1 - n).

    Args:
        differences: (…, seeds); NaN is left out.

    Returns:
        p-values (…), NaN where there is no difference.
    """
    shape = np.shape(differences)[:-1]
    found = np.full(math.prod(shape), np.nan)
    for own, packed in by_count(differences):
        count = packed.shape[1]
        signs = sign_flips(count)
        # a sum that equals the one found but for rounding counts as equal
        least = np.abs(packed.sum(axis=1)) - EQUAL * np.abs(packed).sum(axis=1)
        as_far = (np.abs(signs @ packed.T) >= least).sum(axis=0)
        found[own] = as_far / len(signs) if count <= MOST_ENUMERATED else (as_far + 1) / (FLIPS + 1)
    return found.reshape(shape)


@cache
def sign_flips(count: int) -> Floats:
    """Sign flips of so many seeds, (flips, count): all but for the sign of the whole, the first as it is; or FLIPS.

    Those are drawn at random, and always the same.
    """
    if count <= MOST_ENUMERATED:
        bits = (np.arange(2 ** (count - 1))[:, None] >> np.arange(count)) & 1
    else:
        bits = np.random.Generator(np.random.PCG64([count, FLIPS])).integers(0, 2, size=(FLIPS, count))
    return np.asarray(1.0 - 2.0 * bits)


def seed_parts(differences: Floats) -> Floats:
    """What each seed adds to the mean over places, (seeds,), of (…, seeds); NaN for a seed without any value."""
    rows = differences.reshape(-1, differences.shape[-1])
    rows = rows[~np.isnan(rows).all(axis=1)]
    parts = np.nansum(rows / (~np.isnan(rows)).sum(axis=1, keepdims=True) / len(rows), axis=0)
    return np.where(np.isnan(rows).all(axis=0), np.nan, parts)


def _values(grid: FigureGrid, compared: str, at_epoch: str) -> Floats:
    """What is compared, (methods, depths, widths, seeds), NaN for none."""
    if compared == "trains":
        return np.where(grid.present, trained(grid, at_epoch), np.nan)
    return grid.accuracy[f"{compared}_{at_epoch}"]
