"""Intervals and corrections against SciPy and by-hand enumerations."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from jumpstart_exp.report.statistics.intervals import (
    RESAMPLES,
    false_discovery,
    mean_interval,
    percentile_interval,
    resamples,
    wilson,
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


def test_the_bootstrap_of_three_seeds_follows_its_27_resamples() -> None:
    values = np.array([0.5, 0.8, 0.95])
    every = sorted(np.mean(chosen) for chosen in itertools.product(values, repeat=3))
    mean, low, high = mean_interval(values)
    # each end has probability 1/27 > 2.5 %, so the interval of all resamples is the range
    assert (every[0], every[-1]) == pytest.approx((float(low), float(high)))
    assert mean == pytest.approx(0.75)


def test_bootstrap_intervals_are_scipys_but_for_chance() -> None:
    values = np.random.default_rng(3).normal(0.7, 0.1, size=20)
    found = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(4))
    mean, low, high = mean_interval(values)
    width = found.confidence_interval.high - found.confidence_interval.low
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(found.confidence_interval.low, abs=0.06 * width)
    assert high == pytest.approx(found.confidence_interval.high, abs=0.06 * width)


def test_the_interval_of_twenty_seeds_holds_the_mean_about_as_often_as_it_says() -> None:
    _, low, high = mean_interval(np.random.default_rng(5).normal(size=(2000, 20)))
    assert 0.90 < np.mean((low <= 0) & (high >= 0)) < 0.96


def test_unknown_values_are_left_out_and_one_value_has_no_interval() -> None:
    nan = np.nan
    values = np.array([[[0.2, nan, 0.4], [0.2, 0.4, nan]], [[nan, 0.6, nan], [nan, nan, nan]]])
    mean, low, high = mean_interval(values)
    np.testing.assert_allclose(mean, [[0.3, 0.3], [0.6, nan]])
    np.testing.assert_allclose(low, [[0.2, 0.2], [nan, nan]])
    np.testing.assert_allclose(high, [[0.4, 0.4], [nan, nan]])


def test_equal_values_have_an_interval_without_width() -> None:
    mean, low, high = mean_interval(np.full((1, 7), 0.1))
    assert low[0] == high[0] == 0.1 and mean[0] == pytest.approx(0.1)


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
