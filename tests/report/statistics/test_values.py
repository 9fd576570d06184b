"""Values against each other: shares, the best one, and tests held against independent computations."""

import itertools
from collections.abc import Set
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata
from stored_tables import grid_rows, table

from jumpstart_exp.report.statistics.intervals import false_discovery, wilson
from jumpstart_exp.report.statistics.values import (
    ALIKE,
    NONE_TRAINS,
    NOT_COMPARED,
    PERMUTATIONS,
    ValueComparison,
    compare_values,
)
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.table.sweeps import sweeps


def swept(accuracy: np.ndarray, lost: Set[tuple[int, int, int]] = frozenset()) -> FigureGrid:
    """ReLU at learning rates 1, 2, …; (rates, depths, seeds) training accuracies, NaN for none; `lost` diverged."""
    rows = []
    for rate, depth, seed in np.ndindex(accuracy.shape):
        if np.isnan(accuracy[rate, depth, seed]):
            continue
        (of,) = grid_rows(
            ["relu"], [depth + 1], [2], [seed], lambda _, v=accuracy[rate, depth, seed]: v, optimizer__lr=rate + 1.0
        )
        if (rate, depth, seed) in lost:
            of |= {"status": "diverged", "train_acc_last": None, "val_acc_last": None}
        rows.append(of)
    cells = table(rows)
    (sweep,) = sweeps(figure_grids(cells), cells)
    return sweep.methods[0].grid


def best(accuracy: np.ndarray, lost: Set[tuple[int, int, int]] = frozenset()) -> ValueComparison:
    return compare_values(swept(accuracy, lost), "best")


def test_shares_and_accuracies_are_over_all_networks_of_a_value() -> None:
    accuracy = np.array([[[1.0, 0.9], [0.96, 0.5]], [[0.97, 0.95], [0.95, 0.8]]])  # rates, depths, seeds
    found = best(accuracy, lost={(1, 1, 0)})
    assert found.trained.tolist() == [2, 2] and found.networks.tolist() == [4, 4] and found.pairs == 2
    np.testing.assert_allclose(found.by_seed, [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose((found.low, found.high), [[0, 0.5], [1, 0.5]], err_msg="lowest and highest seed")
    np.testing.assert_allclose(found.train_acc, [(0.95 + 0.73) / 2, (0.96 + 0.8) / 2], err_msg="diverged has none")
    assert found.best.tolist() == [False, True], "of equal shares the higher training accuracy"


def test_one_pair_has_wilsons_interval() -> None:
    found = best(np.array([[[1.0, 0.9, 1.0]], [[0.5, 0.5, 0.5]]]))
    np.testing.assert_allclose((found.low, found.high), wilson([2, 0], 3))


def test_where_no_network_trains_no_value_is_the_best() -> None:
    found = best(np.array([[[0.8, 0.9]], [[0.5, 0.5]]]))
    assert not found.best.any() and found.reference == 0


def test_the_best_value_of_each_pair_or_why_there_is_none() -> None:
    nan = np.nan
    accuracy = np.array(
        [
            [[0.96, 0.96], [0.99, 0.9], [1.0, 1.0], [0.5, 0.6], [1.0, nan]],
            [[0.97, 0.96], [0.95, 0.95], [1.0, 1.0], [0.5, 0.7], [nan, 1.0]],
        ]
    )
    assert best(accuracy).best_at.ravel().tolist() == [1, 1, ALIKE, NONE_TRAINS, NOT_COMPARED]
    assert best(accuracy, lost={(1, 0, 0)}).best_at.ravel().tolist()[0] == 0, "a network that diverged does not train"


def exact(ranks: np.ndarray) -> float:
    """Friedman's permutation p-value of ranks (seeds, values), all orders counted."""
    found = (ranks.sum(axis=0) ** 2).sum()
    orders = [*itertools.permutations(range(ranks.shape[1]))]
    totals = [
        sum(ranks[seed][list(order)] for seed, order in enumerate(chosen))
        for chosen in itertools.product(orders, repeat=len(ranks))
    ]
    return float(np.mean([(total**2).sum() >= found - 1e-9 for total in totals]))


def test_whether_values_differ_is_friedmans_test() -> None:
    draws = np.random.default_rng(5)
    for shift in (0.0, 0.05, 0.1):
        accuracy = np.round(0.6 + 0.1 * draws.random((3, 1, 4)) + shift * np.arange(3)[:, None, None], 2)
        ranks = rankdata(accuracy[:, 0], axis=0).T
        assert best(accuracy).p == pytest.approx(exact(ranks), abs=4 * 0.5 / PERMUTATIONS**0.5)
    accuracy = 0.6 + 0.2 * draws.random((4, 1, 40)) + 0.02 * np.arange(4)[:, None, None]
    assert best(accuracy).p == pytest.approx(friedmanchisquare(*accuracy[:, 0]).pvalue, abs=0.03)


def test_a_network_that_diverged_ranks_last() -> None:
    accuracy = np.full((2, 1, 8), 0.9) + 0.01 * np.arange(2)[:, None, None]
    assert best(accuracy).p == pytest.approx(2**-7, abs=0.01)
    assert best(accuracy, lost={(1, 0, seed) for seed in range(4)}).p == 1


def test_pairs_are_corrected_for_their_number_and_equal_values_give_no_test() -> None:
    accuracy = 0.6 + 0.01 * np.random.default_rng(3).random((2, 3, 8))
    accuracy[1, 0] += 0.2
    accuracy[:, 2] = 0.7
    found = best(accuracy)
    raw = np.array([exact_of(accuracy[:, depth]) for depth in (0, 1)])
    np.testing.assert_allclose(found.p_at.ravel()[:2], false_discovery(raw), atol=0.04)
    assert np.isnan(found.p_at.ravel()[2]) and found.significant().ravel().tolist() == [True, False, False]


def exact_of(accuracy: np.ndarray) -> float:
    """The exact p-value of two values over seeds, (values, seeds): the signs of differences of ranks."""
    ranks = rankdata(accuracy, axis=0)
    signs = np.array([*itertools.product((1, -1), repeat=ranks.shape[1])])
    differences = ranks[1] - ranks[0]
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum())))


def test_values_are_held_against_the_best_corrected_for_all_pairs_of_them() -> None:
    draws = np.random.default_rng(1).random((3, 1, 7)) / 100
    found = best(np.array([0.97, 0.9, 0.5])[:, None, None] + draws)
    assert found.reference == 0 and np.isnan(found.share_p[0])
    # each pair of the first trains in all seven seeds or in none: 2 ** -6; the third pair never differs
    np.testing.assert_allclose(found.share_p[1:], false_discovery([2**-6, 2**-6, 1.0])[:2])
    np.testing.assert_allclose(found.train_acc_p[1:], [2**-6] * 2)
    assert found.told_from_best().tolist() == [False, True, True]


def test_one_seed_gives_no_test() -> None:
    found = best(np.array([[[1.0], [0.9]], [[0.5], [0.6]]]))
    assert found.p is None and np.isnan(found.p_at).all() and np.isnan(found.share_p).all()


def test_values_without_a_difference_differ_in_one_of_twenty() -> None:
    draws = 0.6 + 0.3 * np.random.default_rng(11).random((200, 4, 2, 1, 5))
    grid = swept(draws[0, :, :, 0])
    found = [compare_values(replace(grid, accuracy={**grid.accuracy, "train_acc_best": of}), "best") for of in draws]
    rejected = np.mean([of.p is not None and of.p <= 0.05 for of in found])
    assert rejected <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
