"""Intervals and corrections against SciPy and by-hand enumerations."""

import math

import numpy as np
import pytest
from scipy import stats

from jumpstart_exp.report.statistics.differences import over_places
from jumpstart_exp.report.statistics.intervals import (
    LEAST_FOR_INTERVAL,
    RESAMPLES,
    false_discovery,
    means,
    percentile_interval,
    resamples,
    student_coverage,
    wilson,
    wilson_coverage,
)


@pytest.mark.parametrize("trials", [1, 3, 10, 20, 85])
def test_wilson_intervals_are_scipys(trials: int) -> None:
    counts = np.arange(trials + 1)
    low, high = wilson(counts, trials)
    for count in counts:
        found = stats.binomtest(int(count), trials).proportion_ci(0.95, method="wilson")
        assert (low[count], high[count]) == pytest.approx((found.low, found.high), abs=1e-12)
    assert low[0] == 0 and high[-1] == 1


def test_wilson_of_no_trials_is_unknown_and_shapes_are_kept() -> None:
    low, high = wilson([[0, 1], [0, 2]], [[0, 1], [2, 2]])
    assert low.shape == high.shape == (2, 2)
    assert np.isnan([low[0, 0], high[0, 0]]).all() and not np.isnan(low.ravel()[1:]).any()


@pytest.mark.parametrize("count", [2, 3, 20])
def test_resamples_are_places_drawn_with_replacement_and_always_the_same(count: int) -> None:
    drawn = resamples(count)
    assert drawn.shape == (RESAMPLES, count)
    shares = np.bincount(drawn.ravel(), minlength=count) / drawn.size
    assert shares == pytest.approx(1 / count, rel=0.1) and len(shares) == count
    resamples.cache_clear()
    np.testing.assert_array_equal(drawn, resamples(count))
    with pytest.raises(ValueError):
        drawn[0, 0] = 1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_below_six_seeds_a_mean_has_its_seeds_range_and_no_interval(seeds: int) -> None:
    values = np.array([0.5, 0.8, 0.95, 0.6, 0.7])[:seeds]
    of = means(values)
    assert np.isnan([of.low, of.high]).all()
    assert (of.mean, of.least, of.most) == pytest.approx((values.mean(), values.min(), values.max()))


@pytest.mark.parametrize("seeds", [LEAST_FOR_INTERVAL, 10, 20])
def test_from_six_seeds_on_a_mean_has_students_interval(seeds: int) -> None:
    values = np.random.default_rng(3).normal(0.7, 0.1, size=seeds)
    found = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    of = means(values)
    assert (of.low, of.high) == pytest.approx((found.low, found.high))
    assert means(values + 0.25, (0, 1)).high == pytest.approx(min(1, found.high + 0.25)), "no accuracy is above 1"


def test_where_all_seeds_agree_there_is_no_interval() -> None:
    of = means(np.full((1, 7), 0.1))
    assert np.isnan([of.low[0], of.high[0]]).all() and (of.least[0], of.most[0]) == (0.1, 0.1)


def test_unknown_values_are_left_out_and_one_value_has_no_range() -> None:
    nan = np.nan
    values = np.array([[[0.2, nan, 0.4], [0.2, 0.4, nan]], [[nan, 0.6, nan], [nan, nan, nan]]])
    of = means(values)
    np.testing.assert_allclose(of.mean, [[0.3, 0.3], [0.6, nan]])
    np.testing.assert_allclose(of.least, [[0.2, 0.2], [nan, nan]])
    np.testing.assert_allclose(of.most, [[0.4, 0.4], [nan, nan]])


@pytest.mark.parametrize("trials", [1, 3, 10])
def test_wilsons_coverage_is_that_of_scipys_intervals(trials: int) -> None:
    shares = np.linspace(0, 1, 4001)
    held = np.zeros(len(shares))
    for count in range(trials + 1):
        ends = stats.binomtest(count, trials).proportion_ci(0.95, method="wilson")
        held += ((ends.low <= shares) & (shares <= ends.high)) * stats.binom.pmf(count, trials, shares)
    average, lowest = wilson_coverage(trials)
    assert average == pytest.approx(held.mean(), abs=2e-3)
    assert held.min() - 2e-3 < lowest <= held.min(), "the lowest is just beside an interval's end"
    assert trials != 3 or (round(average, 3), round(lowest, 2)) == (0.956, 0.83)


def trained_or_not(share: float, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Accuracies of two kinds: a network trains, but for a point, or puts every point into one class."""
    return np.where(rng.random(shape) < share, 1 - 1e-3 * rng.integers(0, 2, shape), 0.5176)


def skewed(share: float, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Accuracies near 1 with a tail below, and some networks at chance."""
    tail = 1 - 0.4824 * rng.beta(0.8, 6.0, shape)
    return np.where(rng.random(shape) < share, tail, 0.5176)


def skewed_mean(share: float) -> float:
    return share * (1 - 0.4824 * 0.8 / 6.8) + (1 - share) * 0.5176


@pytest.mark.soak
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("seeds", [3, 6, 7, 10, 20])
def test_what_is_called_95_percent_covers_what_the_captions_state(seeds: int, share: float) -> None:
    rng, draws = np.random.default_rng([seeds, round(100 * share)]), 20_000
    noise = 0.01  # four standard errors of a coverage
    of_kinds, of_tail = (draw(share, rng, (draws, seeds)) for draw in (trained_or_not, skewed))
    for values, truth in ((of_kinds, 0.9995 * share + 0.5176 * (1 - share)), (of_tail, skewed_mean(share))):
        of = means(values, (0, 1))
        called = ~np.isnan(of.low)
        assert called.any() == (seeds >= LEAST_FOR_INTERVAL)
        if called.any():
            held = ((of.low <= truth) & (truth <= of.high))[called].mean()
            assert held > student_coverage(seeds) - noise
    low, high = wilson((of_kinds > 0.9).sum(axis=1), seeds)
    assert ((low <= share) & (share <= high)).mean() > wilson_coverage(seeds)[1] - noise


@pytest.mark.soak
@pytest.mark.parametrize("seeds", [6, 10, 20])
def test_a_whole_figures_interval_covers_95_percent(seeds: int) -> None:
    rng, held = np.random.default_rng(seeds), []
    shares = np.linspace(1, 0, 40)  # places from those where all train to those where none does
    for _ in range(3000):
        luck = 0.1 * rng.normal(size=seeds)  # what a seed's networks share
        trains = rng.random((40, seeds)) < np.clip(shares[:, None] + luck, 0, 1)
        of = over_places(np.where(trains, 1.0, 0.5176))
        assert of is not None and of.low is not None and of.high is not None
        held.append((of.low, of.high))
    truth = 0.5176 + 0.4824 * np.mean([np.clip(s + 0.1 * rng.normal(size=200_000), 0, 1).mean() for s in shares])
    low, high = np.array(held).T
    assert ((low <= truth) & (truth <= high)).mean() > 0.94


def test_percentiles_leave_out_unknown_resamples_column_by_column() -> None:
    values = np.array([[math.nan, 5.0, 1.0], [math.nan, math.nan, 2.0], [math.nan, 7.0, 3.0]])
    low, high = percentile_interval(values)
    np.testing.assert_allclose(low, [math.nan, 5.05, 1.05])
    np.testing.assert_allclose(high, [math.nan, 6.95, 2.95])


def test_false_discovery_adjusts_step_by_step_and_leaves_out_what_is_unknown() -> None:
    p = np.random.default_rng(0).uniform(size=40) ** 3
    p[:3] = 0.01  # ties
    # of the k-th smallest of m: the least of p · m / j over all j from k on (Benjamini and Hochberg, 1995)
    least = [min([1.0, *(q * len(p) / (p <= q).sum() for q in p if q >= own)]) for own in p]
    np.testing.assert_allclose(false_discovery(p), least)
    gaps = np.insert(p, [0, 7, 40], np.nan)
    np.testing.assert_allclose(false_discovery(gaps.reshape(1, 43)), [np.insert(least, [0, 7, 40], np.nan)])
    assert false_discovery([]).shape == (0,) and np.isnan(false_discovery([np.nan])).all()
