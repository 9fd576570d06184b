"""Paired differences and what the best epoch adds, against SciPy and slow computations."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from stored_tables import METHODS, cell, grid_rows, only, row

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.statistics.differences import (
    FLIPS,
    Estimate,
    best_minus_last,
    best_minus_last_by_method,
    comparisons,
    over_places,
    paired_differences,
    sign_flip_p,
)
from jumpstart_exp.report.table.grid import FigureGrid


def drawn(methods: list[str], depths: list[int], widths: list[int], seeds: int) -> tuple[FigureGrid, Callable]:
    """A grid of random accuracies, and the accuracy of a (method, depth, width, seed)."""
    random = np.random.default_rng(7)
    places = itertools.product(methods, depths, widths, range(seeds))
    values = {place: float(random.uniform(0.5, 1)) for place in places}

    def accuracy(c: Cell) -> float:
        return values[c.method, c.depth, c.width, c.seed]

    return only(grid_rows(methods, depths, widths, [*range(seeds)], accuracy)), lambda *place: values[place]


def test_every_method_is_compared_with_relu_and_sep_up_with_batch_norm_too() -> None:
    assert comparisons(["relu", "relu_bn", "sep_u", "sep_up"]) == (
        ("relu_bn", "relu"),
        ("sep_u", "relu"),
        ("sep_up", "relu"),
        ("sep_up", "relu_bn"),
    )
    assert comparisons(["relu_bn", "sep_up"]) == (("sep_up", "relu_bn"),)
    assert comparisons(["relu"]) == comparisons(["sep_u", "sep_up"]) == ()


@pytest.mark.parametrize("seeds", [2, 3, 5, 8, 12])
def test_few_seeds_have_scipys_exact_permutation_p_values(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    values = random.normal(0.3, 1, size=(6, seeds))
    values[0] = np.round(random.uniform(-1, 1, seeds) * 3) / 85  # with ties and zeros
    values[1] = np.abs(values[1])
    found = sign_flip_p(values)
    for p, differences in zip(found, values, strict=True):
        exact = stats.permutation_test(
            (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert p == pytest.approx(min(exact.pvalue, 1.0))
    assert found[1] == pytest.approx(2.0 ** (1 - seeds)), "the least that so many seeds can give"


def test_no_difference_and_a_single_seed_have_a_p_value_of_one_and_none_known_has_none() -> None:
    found = sign_flip_p([[0.0, 0.0, 0.0], [np.nan] * 3, [np.nan, 0.1, 0.1], [np.nan, np.nan, 0.7]])
    np.testing.assert_array_equal(found, [1.0, np.nan, 0.5, 1.0])


def test_equal_sums_count_whatever_their_rounding() -> None:
    # 0.1 + 0.2 - 0.3 and the like are 0 but for rounding: all flips are as far from 0 as this one or farther
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert sign_flip_p([0.3, 0.1, 0.2, 0.6]) == pytest.approx(2 / 16)


def test_many_seeds_have_seeded_random_flips_that_come_near_the_exact_p_value() -> None:
    values = np.random.default_rng(2).normal(0.35, 1, size=(4, 15))
    signs = np.array([*itertools.product((1.0, -1.0), repeat=15)])
    exact = (np.abs(signs @ values.T) >= np.abs(values.sum(axis=1)) - 1e-9).mean(axis=0)
    found = sign_flip_p(values)
    assert np.all(np.abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / FLIPS) + 1 / FLIPS)
    flips = 1 - 2.0 * np.random.Generator(np.random.PCG64([15, FLIPS])).integers(0, 2, size=(FLIPS, 15))
    as_far = (np.abs(flips @ values.T) >= np.abs(values.sum(axis=1)) - 1e-9).sum(axis=0)
    np.testing.assert_array_equal(found, (as_far + 1) / (FLIPS + 1), "always the same flips")
    assert sign_flip_p(np.ones(40)) == 1 / (FLIPS + 1), "never 0: the flips found include the one at hand"


def test_differences_are_paired_by_place_and_seed() -> None:
    grid, accuracy = drawn(["relu", "sep_up"], [1, 5], [2, 4], 7)
    of = paired_differences(grid, "sep_up", "relu", "train_acc", "best")
    for (i, depth), (j, width) in itertools.product(enumerate((1, 5)), enumerate((2, 4))):
        pairs = [accuracy("sep_up", depth, width, s) - accuracy("relu", depth, width, s) for s in range(7)]
        assert of.mean[i, j] == pytest.approx(np.mean(pairs))
        ends = stats.ttest_1samp(pairs, 0).confidence_interval(0.95)
        assert (of.low[i, j], of.high[i, j]) == pytest.approx((ends.low, ends.high))
        assert (of.least[i, j], of.most[i, j]) == (min(pairs), max(pairs))
        exact = stats.permutation_test((np.array(pairs),), np.sum, permutation_type="samples", n_resamples=np.inf)
        assert of.p[i, j] == pytest.approx(exact.pvalue)
    np.testing.assert_allclose(of.adjusted.ravel(), stats.false_discovery_control(of.p.ravel()))
    assert of.pairs.tolist() == [[7, 7], [7, 7]] and not of.left_out.any()


def test_seeds_without_a_partner_are_left_out_and_counted() -> None:
    rows = [row(cell("relu", 2, 2, seed), 0.5) for seed in (0, 1, 2)]
    rows += [row(cell("sep_up", 2, 2, seed), 0.6 + 0.1 * seed) for seed in (1, 2, 3, 4)]
    rows += [row(cell("relu", 2, 2, 5), 0.9, "diverged"), row(cell("sep_up", 2, 2, 5), 0.9)]
    rows += [row(cell("sep_up", 3, 2, 0), 0.9)]
    of = paired_differences(only(rows), "sep_up", "relu", "val_acc", "last")
    assert of.pairs.ravel().tolist() == [2, 0] and of.left_out.ravel().tolist() == [4, 1]
    np.testing.assert_allclose(of.mean.ravel(), [0.25, np.nan])
    assert np.isnan([of.p[1, 0], of.adjusted[1, 0], of.low[1, 0]]).all()


def test_seeds_that_train_are_compared_with_diverged_ones_as_not_trained() -> None:
    rows = [row(cell("relu", 2, 2, seed), 0.99, "diverged" if seed == 3 else "done") for seed in range(4)]
    rows += [row(cell("sep_up", 2, 2, seed), value) for seed, value in enumerate((0.99, 0.5, 0.99, 0.99, 0.99))]
    of = paired_differences(only(rows), "sep_up", "relu", "trains", "best")
    assert (of.mean[0, 0], of.pairs[0, 0], of.left_out[0, 0]) == (0.0, 4, 1)  # 0, -1, 0, +1
    assert paired_differences(only(rows).at_threshold(0.4), "sep_up", "relu", "trains", "best").mean[0, 0] == 0.25


def test_only_corrected_p_values_are_significant() -> None:
    random = np.random.default_rng(0)
    noise = {(m, d, s): random.normal(0, 0.01) for m in ("relu", "sep_up") for d in range(1, 21) for s in range(8)}
    grid = only(
        grid_rows(
            ["relu", "sep_up"],
            [*range(1, 21)],
            [2],
            [*range(8)],
            lambda c: 0.7 + noise[c.method, c.depth, c.seed] + 0.2 * (c.method == "sep_up" and c.depth <= 10),
        )
    )
    of = paired_differences(grid, "sep_up", "relu", "train_acc", "best")
    rejected = stats.false_discovery_control(of.p.ravel()) <= 0.05
    np.testing.assert_array_equal(of.significant().ravel(), rejected)
    assert rejected[:10].all() and of.p.ravel()[:10] == pytest.approx(2.0**-7)


def slow_over_places(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of the places' means, and Student's interval of the seeds' means over places."""
    by_seed = values.mean(axis=0)
    found = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    return float(by_seed.mean()), float(found.low), float(found.high)


def test_a_whole_seed_is_one_observation_of_the_mean_over_places() -> None:
    values = np.random.default_rng(1).normal(size=(5, 6))
    found = over_places(values)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx(slow_over_places(values))
    assert (found.least, found.most) == pytest.approx((values.mean(axis=0).min(), values.mean(axis=0).max()))
    assert (found.seeds, found.places) == (6, 5)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_fewer_than_six_seeds_at_any_place_have_a_range_and_no_interval(seeds: int) -> None:
    values = np.random.default_rng(1).normal(size=(5, 8))
    few = over_places(values[:, :seeds])
    assert few is not None and (few.low, few.high) == (None, None)
    assert few.least == pytest.approx(values[:, :seeds].mean(axis=0).min())
    values[1, seeds:] = np.nan
    growing = over_places(values)
    assert growing is not None and (growing.low, growing.high, growing.seeds) == (None, None, 8)


def test_a_seed_without_some_places_counts_for_what_it_adds() -> None:
    rng, held = np.random.default_rng(2), []
    for _ in range(2000):
        values = rng.normal(size=(1, 12)) + rng.normal(size=(6, 12))
        values[:3, :4] = np.nan
        of = over_places(values)
        assert of is not None and of.low is not None and of.high is not None
        held.append(of.low <= 0 <= of.high)
    assert 0.93 < np.mean(held) < 0.97


def test_places_without_any_value_and_seeds_without_any_are_none() -> None:
    values = np.array([[0.2, np.nan, 0.4], [np.nan, np.nan, np.nan], [0.4, np.nan, 0.6]])
    found = over_places(values)
    assert found is not None and (found.mean, found.seeds, found.places) == (pytest.approx(0.4), 2, 2)
    assert over_places([[0.2, np.nan]]) == Estimate(0.2, None, None, None, None, 1, 1)
    assert over_places([[np.nan, np.nan]]) is None


def test_the_overall_p_value_flips_whole_seeds() -> None:
    grid, accuracy = drawn(["relu", "sep_up"], [1, 5, 9], [2, 4], 5)
    of = paired_differences(grid, "sep_up", "relu", "train_acc", "best")
    places = [*itertools.product((1, 5, 9), (2, 4))]
    by_seed = [np.mean([accuracy("sep_up", d, w, s) - accuracy("relu", d, w, s) for d, w in places]) for s in range(5)]
    exact = stats.permutation_test((np.array(by_seed),), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert of.overall is not None and of.overall.mean == pytest.approx(np.mean(by_seed))
    assert of.overall_p == pytest.approx(exact.pvalue)


def test_without_a_pair_there_is_no_difference() -> None:
    of = paired_differences(
        only([row(cell("relu", 2, 2, 0), 0.5), row(cell("sep_up", 2, 2, 1), 0.5)]),
        "sep_up",
        "relu",
        "train_acc",
        "best",
    )
    assert of.overall is None and of.overall_p is None and np.isnan(of.mean).all() and of.left_out.sum() == 2


def test_flattery_is_best_minus_last_over_seeds_and_places() -> None:
    rows = []
    gaps = {
        "relu": {(2, 0): 0.0, (2, 1): 0.1, (3, 0): 0.2, (3, 1): 0.1},
        "sep_up": {(2, 0): 0.3, (2, 1): 0.4, (3, 0): 0.1},
    }
    for method, of_method in gaps.items():
        for (depth, seed), gap in of_method.items():
            rows.append(row(cell(method, depth, 2, seed), 0.97) | {"train_acc_last": 0.97 - gap, "val_acc_last": 0.92})
    rows.append(row(cell("sep_up", 3, 2, 1), 0.97, "diverged"))
    rows.append(row(cell("relu", 9, 2, 0), 0.97) | {"train_acc_last": 0.97 - 0.1, "val_acc_last": 0.92})
    grid = only(rows)
    relu, sep_up = best_minus_last_by_method(grid)
    assert relu.accuracy["train_acc"] is not None and sep_up.accuracy["train_acc"] is not None
    assert relu.accuracy["train_acc"].mean == pytest.approx(0.1)
    assert sep_up.accuracy["train_acc"].mean == pytest.approx((0.35 + 0.1) / 2)
    assert sep_up.accuracy["val_acc"] == Estimate(
        pytest.approx(0.0, abs=1e-12), None, None, *[pytest.approx(0.0, abs=1e-12)] * 2, 2, 2
    )
    assert relu.beyond_baseline == {"train_acc": None, "val_acc": None}
    beyond = sep_up.beyond_baseline["train_acc"]
    assert beyond is not None and beyond.mean == pytest.approx((0.3 - 0.1) / 2), "0.3 and 0.3 at 2, -0.1 at 3"
    assert (relu.trains["best"].mean, relu.trains["last"].mean) == (1.0, pytest.approx(0.5 / 3))
    assert (sep_up.trains["best"].mean, sep_up.trains["last"].mean) == (0.75, 0.0), "the diverged one never trains"
    np.testing.assert_allclose(best_minus_last(grid, "train_acc")[1, :, 0], [[0.3, 0.4], [0.1, np.nan], [np.nan] * 2])


def test_all_methods_can_be_flattered_without_relu() -> None:
    grid = only(grid_rows([*METHODS][1:], [1], [2], [0, 1], lambda c: 0.9))
    assert [of.method for of in best_minus_last_by_method(grid)] == list(grid.methods)
    assert all(of.beyond_baseline["train_acc"] is None for of in best_minus_last_by_method(grid))
