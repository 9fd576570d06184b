"""The values of swept settings against each other: networks that train, the best value, tests; statistics only."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.differences import LEAST_SEEDS, LEVEL, sign_flip_p
from jumpstart_exp.report.statistics.intervals import EQUAL, Floats, false_discovery, wilson
from jumpstart_exp.report.table.grid import FigureGrid, once_a_grid

MOST_TESTED = 60
"""Values up to which they are tested against each other."""

PERMUTATIONS = 1_999
"""Seeded random permutations behind a p-value of many values; the least p-value is 1 / (PERMUTATIONS + 1)."""

ALIKE, NONE_TRAINS, NOT_COMPARED = -1, -2, -3
"""Why a depth-width pair has no best value: several are equally good, no network trains, the values share no seed."""

_BLOCK = 4_000_000  # numbers that the permutations of one step may take


@dataclass(frozen=True, eq=False)
class ValueComparison:
    """One method's values at an epoch, over the same depth-width pairs; arrays are (values,) but where it is said.

    `trained` of `networks` train, `share` is their ratio; `low` and `high` are its Wilson interval (95 %) where there
    is one pair, else its lowest and highest seed. `by_seed` is every seed's share, (values, seeds), NaN for none.
    `train_acc` and `val_acc` are means over pairs of the means over seeds, NaN where nothing is known.

    `best` is where the most networks train, of equal shares where the training accuracy is the highest, and nowhere
    where no network trains; `reference` is one of these, or else of the highest accuracy. `share_p` and `train_acc_p`
    compare it with each other value, paired by seed (sign flips), after Benjamini and Hochberg over all pairs of
    values, so that it does not matter which one was picked; NaN without a test.

    `p` says whether the values differ at all (Friedman's test of the training accuracies, by permutation of the values
    within seeds), None without a test. At every pair, (depths, widths): `best_at` is the place of the best value or
    why there is none, `p_at` the same test there after the correction for the pairs.
    """

    pairs: int
    trained: NDArray[np.int64]
    networks: NDArray[np.int64]
    share: Floats
    low: Floats
    high: Floats
    by_seed: Floats
    train_acc: Floats
    val_acc: Floats
    best: NDArray[np.bool_]
    reference: int
    share_p: Floats
    train_acc_p: Floats
    p: float | None
    best_at: NDArray[np.int64]
    p_at: Floats

    def significant(self) -> NDArray[np.bool_]:
        """Where the values differ, the adjusted p-value being at most `LEVEL`, (depths, widths)."""
        return np.asarray(self.p_at <= LEVEL)

    def told_from_best(self) -> NDArray[np.bool_]:
        """Which values are told apart from the best one by one of the two tests, (values,)."""
        return np.asarray((self.share_p <= LEVEL) | (self.train_acc_p <= LEVEL))


@once_a_grid
def compare_values(grid: FigureGrid, at_epoch: str) -> ValueComparison:
    """Compare the values of a swept method, which its grid has as methods; `at_epoch` is "best" or "last"."""
    trains = np.where(grid.present, grid.trained(at_epoch), np.nan)
    accuracy = grid.accuracy[f"train_acc_{at_epoch}"]
    networks, trained = grid.present.sum(axis=(1, 2, 3)), np.nansum(trains, axis=(1, 2, 3)).astype(np.int64)
    share = trained / networks
    by_seed = mean_over(trains, (1, 2))
    pairs = int(grid.present.any(axis=(0, 3)).sum())
    if pairs == 1:
        low, high = wilson(trained, networks)
    else:
        low, high = np.nanmin(by_seed, axis=1), np.nanmax(by_seed, axis=1)
    train_acc, val_acc = (mean_over(grid.mean(f"{metric}_{at_epoch}"), (1, 2)) for metric in ("train_acc", "val_acc"))
    order = np.lexsort((np.nan_to_num(train_acc, nan=-np.inf), share))[::-1]
    reference = int(order[0])
    as_high = np.nan_to_num(train_acc, nan=-np.inf) > np.nan_to_num(train_acc[reference], nan=-np.inf) - EQUAL
    best = (share > max(share[reference] - EQUAL, 0)) & as_high
    tests = 1 < len(share) <= MOST_TESTED
    p, p_at = _friedman(accuracy, grid.present) if tests else (None, np.full(grid.present.shape[1:3], np.nan))
    return ValueComparison(
        pairs=pairs,
        trained=trained,
        networks=networks,
        share=share,
        low=low,
        high=high,
        by_seed=by_seed,
        train_acc=train_acc,
        val_acc=val_acc,
        best=best,
        reference=reference,
        share_p=_against(trains, reference, tests=tests),
        train_acc_p=_against(accuracy, reference, tests=tests),
        p=p,
        best_at=_best_at(trains, accuracy),
        p_at=false_discovery(p_at),
    )


def _against(values: Floats, reference: int, *, tests: bool) -> Floats:
    """Adjusted p-values of each value against the reference, of (values, depths, widths, seeds); NaN without a test."""
    found = np.full(len(values), np.nan)
    if not tests:
        return found
    first, second = np.triu_indices(len(values), 1)
    # what each seed has more, over the depth-width pairs at which it has both
    differences = np.stack([mean_over(values[i] - values[j], (0, 1)) for i, j in zip(first, second, strict=True)])
    differences[(~np.isnan(differences)).sum(axis=1) < LEAST_SEEDS] = np.nan
    adjusted = false_discovery(sign_flip_p(differences))
    of_reference = (first == reference) | (second == reference)
    found[(first + second - reference)[of_reference]] = adjusted[of_reference]
    return found


def _best_at(trains: Floats, accuracy: Floats) -> NDArray[np.int64]:
    """Each pair's best value over the seeds that all values have, or why there is none, (depths, widths)."""
    common = ~np.isnan(trains).any(axis=0)
    counts = np.maximum(common.sum(axis=-1), 1)
    share = np.where(common, np.nan_to_num(trains), 0.0).sum(axis=-1) / counts
    # a network that diverged has no accuracy, and is worse than any that has one
    known = common & ~np.isnan(accuracy)
    mean = np.where(known, np.nan_to_num(accuracy), 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    leading = share > share.max(axis=0) - EQUAL
    mean = np.where(leading, mean, -np.inf)
    leading &= mean > mean.max(axis=0) - EQUAL
    found = np.where(leading.sum(axis=0) == 1, leading.argmax(axis=0), ALIKE)
    found = np.where(share.max(axis=0) > 0, found, NONE_TRAINS)
    return np.where(common.any(axis=-1), found, NOT_COMPARED)


def _friedman(accuracy: Floats, present: NDArray[np.bool_]) -> tuple[float | None, Floats]:
    """P-values of Friedman's test (1937) by permutation: over all depth-width pairs, and at every one.

    The values are ranked seed by seed, a network that diverged or failed last; if they make no difference, each order
    of them within a seed is equally likely. The statistic is the spread of the values' mean ranks. A seed counts at a
    pair if all values have it there; the pairs of a seed are permuted together, because they share its random numbers.

    Args:
        accuracy: (values, depths, widths, seeds), NaN for none.
        present: which of them are in the store.

    Returns:
        The p-value of all pairs, None for no test, and (depths, widths) of each, NaN for no test: with fewer than
        two seeds, or where all ranks are equal.
    """
    from scipy.stats import rankdata

    complete = present.all(axis=0)
    ranks = rankdata(np.nan_to_num(accuracy, nan=-np.inf).round(9), axis=0)
    ranks = np.where(complete, ranks - ranks.mean(axis=0), 0.0)
    values, *shape, seeds = ranks.shape
    # seeds first, then values, then pairs; the last column is over all pairs
    packed = ranks.reshape(values, -1, seeds).transpose(2, 0, 1)
    packed = np.concatenate([packed, packed.sum(axis=2, keepdims=True)], axis=2)
    found = (packed.sum(axis=0) ** 2).sum(axis=0)
    as_far = np.ones(packed.shape[2])  # the order found
    step = max(_BLOCK // (values * packed.shape[2]), 1)
    orders = _orders(values, seeds)
    for start in range(0, PERMUTATIONS, step):
        block = orders[start : start + step]
        total = np.zeros((len(block), values, packed.shape[2]))
        for seed in range(seeds):
            total += packed[seed][block[:, seed]]
        as_far += ((total**2).sum(axis=1) >= found * (1 - EQUAL)).sum(axis=0)
    p = as_far / (PERMUTATIONS + 1)
    counted = complete.reshape(-1, seeds)
    tested = (counted.sum(axis=1) >= LEAST_SEEDS) & (np.abs(packed[:, :, :-1]).max(axis=(0, 1)) > EQUAL)
    whole = float(p[-1]) if counted.any(axis=0).sum() >= LEAST_SEEDS and tested.any() else None
    return whole, np.where(tested, p[:-1], np.nan).reshape(shape)


@cache
def _orders(values: int, seeds: int) -> NDArray[np.int16]:
    """Random orders of the values for each seed, (PERMUTATIONS, seeds, values); always the same ones."""
    drawn = np.random.Generator(np.random.PCG64([values, seeds])).random((PERMUTATIONS, seeds, values))
    orders = drawn.argsort(axis=-1).astype(np.int16)
    orders.setflags(write=False)
    return orders


def mean_over(values: Floats, axes: tuple[int, ...]) -> Floats:
    """The mean over these axes of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axes)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=axes) / np.maximum(count, 1), np.nan)
