"""The probability of improvement and its p-values against plain loops, SciPy and simulation."""

import itertools

import numpy as np
import pytest
from made_atlases import atlas_made
from scipy.stats import permutation_test, sem, t

from jumpstart_exp.report.atlas.improvement import Improvement, improvement, stepdown


def compared(last: np.ndarray, **made: object) -> Improvement:
    found = improvement(atlas_made(last, **made).grid, "relu")
    assert found is not None
    return found


def better(own: float, other: float) -> float:
    return 0.5 if abs(own - other) < 1e-9 else float(own > other)


def slow_p(parts: np.ndarray) -> list[list[float]]:
    """P-values of the tests' own sign flips, (flips, tests), of (tests, seeds), the first flip being none."""
    flips = [*itertools.product((1, -1), repeat=parts.shape[1])]
    sums = np.array(
        [[abs(sum(sign * part for sign, part in zip(flip, of, strict=True))) for of in parts] for flip in flips]
    )
    return [[float((sums[:, test] >= row[test] - 1e-12).mean()) for test in range(len(parts))] for row in sums]


def holm(p: list[float]) -> list[float]:
    order, adjusted, largest = np.argsort(p), np.zeros(len(p)), 0.0
    for step, test in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - step) * p[test]))
        adjusted[test] = largest
    return adjusted.tolist()


def test_it_is_the_share_of_pairs_that_are_better_ties_one_half() -> None:
    random = np.random.default_rng(0)
    last = random.choice([0.5, 0.6, 0.7, 1.0], size=(4, 3, 3, 7))
    found = compared(last)
    assert found.each[0] is None
    for method in (1, 2, 3):
        each = found.each[method]
        assert each is not None
        by_seed = np.array(
            [
                np.mean([better(last[method, d, w, seed], last[0, d, w, seed]) for d in range(3) for w in range(3)])
                for seed in range(7)
            ]
        )
        assert each.value == pytest.approx(by_seed.mean())
        ends = t.interval(0.95, 6, by_seed.mean(), sem(by_seed))
        assert (each.low, each.high) == pytest.approx(tuple(map(float, ends)))
        assert (each.least, each.most, each.count) == pytest.approx((by_seed.min(), by_seed.max(), 7))
        test = permutation_test(
            (by_seed - 0.5,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
        )
        assert found.p[method] == pytest.approx(test.pvalue)
    assert np.isnan([found.p[0], found.adjusted[0]]).all()


def test_a_network_that_diverged_is_worse_than_any_but_another_that_did() -> None:
    last = np.full((3, 3, 3, 1), 0.6)
    diverged = np.zeros(last.shape, dtype=bool)
    diverged[:2, 0, 0] = True  # both
    diverged[0, 1] = True  # relu at three places
    diverged[2, 2, 2] = True  # the other at one
    first, second = compared(last, diverged=diverged).each[1:]
    assert first is not None and second is not None
    assert first.value == pytest.approx((5 * 0.5 + 3 + 0.5) / 9)
    assert second.value == pytest.approx((4 * 0.5 + 3 + 1 + 0) / 9)


def test_only_seeds_and_places_that_both_have_are_compared() -> None:
    last = np.full((4, 3, 3, 6), 0.6)
    last[0, 1] = np.nan  # relu lacks a depth
    last[1, :, :, 2:] = np.nan
    last[1, 0] = 0.9
    last[2] = np.nan
    last[2, 1] = 0.9  # only where relu is not
    last[3, 0, 0, :5] = np.nan
    last[3, 0, 0, 5] = 1.0  # of one seed, at one place of six
    found = compared(last)
    first, second, third = found.each[1:]
    assert first is not None and third is not None
    # six places of equal weight: of those at depth 1 all are better, the others tie
    assert first.value == pytest.approx((3 * 1 + 3 * 0.5) / 6)
    assert second is None and np.isnan([found.p[2], found.adjusted[2]]).all()
    assert third.value == pytest.approx((5 * 0.5 + 1) / 6)
    assert third.low is None, "one seed at a place"
    assert found.least_p == 2**-5


def test_without_the_baseline_there_is_nothing() -> None:
    grid = atlas_made(np.ones((2, 3, 3, 2)), methods=("he", "crelu")).grid
    assert improvement(grid, "relu") is None


@pytest.mark.parametrize("seeds", [1, 3, 5, 10])
def test_no_p_value_is_below_the_least_and_the_clearest_has_it(seeds: int) -> None:
    last = np.full((6, 3, 3, seeds), 0.6)
    last[1:] = 1.0
    found = compared(last)
    assert found.least_p == 2.0 ** (1 - seeds)
    assert found.p[1:] == pytest.approx(found.least_p)
    assert found.adjusted[1:] == pytest.approx(found.least_p), "the flips that say so are the same ones for all"


def test_adjusted_p_values_are_those_of_all_flips_by_loops_and_never_above_holms() -> None:
    random = np.random.default_rng(2)
    strictly = 0
    for _ in range(6):
        parts = np.round(random.normal(0.4, 1, (5, 6)), 1)
        own = slow_p(parts)
        p, expected, largest = own[0], [0.0] * 5, 0.0
        order = sorted(range(5), key=lambda test: own[0][test])
        for step, test in enumerate(order):
            others = order[step:]
            largest = max(largest, float(np.mean([min(row[of] for of in others) <= p[test] + 1e-12 for row in own])))
            expected[test] = largest
        found = stepdown(parts)
        assert found == pytest.approx(expected)
        assert (found >= np.array(p) - 1e-12).all()
        assert (found <= np.array(holm(p)) + 1e-12).all()
        strictly += int((found < np.array(holm(p)) - 1e-12).sum())
    assert strictly > 10


def test_one_test_needs_no_correction_and_none_has_none() -> None:
    parts = np.array([[0.3, 0.1, -0.05, 0.2, np.nan]])
    assert stepdown(parts) == pytest.approx([2 * 2 / 16])  # with no sign, and with the smallest one's, flipped
    assert np.isnan(stepdown(np.full((2, 3), np.nan))).all()
    with_none = stepdown(np.vstack([parts, np.full((1, 5), np.nan)]))
    assert with_none[0] == pytest.approx(4 / 16) and np.isnan(with_none[1])


def test_many_seeds_have_drawn_flips_and_still_no_p_value_of_zero() -> None:
    parts = np.vstack([np.full(20, 0.3), np.random.default_rng(0).normal(size=20)])
    found = stepdown(parts)
    assert 1e-4 <= found[0] < 1e-3
    assert found[1] == pytest.approx(slow_p_drawn(parts[1]), abs=0.02)


def slow_p_drawn(parts: np.ndarray) -> float:
    test = permutation_test((parts,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1, vectorized=True)
    return float(test.pvalue)


def test_methods_that_are_no_better_are_called_so_in_at_most_five_of_a_hundred() -> None:
    """Methods and baseline alike, the seeds' luck shared: the baseline's makes all comparisons hang together."""
    random = np.random.default_rng(4)
    wrong = 0
    for _ in range(300):
        accuracy = random.normal(size=(9, 6, 7)) + random.normal(size=(1, 1, 7))
        accuracy += random.normal(size=(9, 1, 7))  # a method's luck with a seed, at all its places
        signs = np.sign(accuracy[1:] - accuracy[0]).mean(axis=1) / 2
        wrong += bool((stepdown(signs) <= 0.05).any())
    assert wrong <= 24  # 15 expected at the most, and two and a half standard deviations
