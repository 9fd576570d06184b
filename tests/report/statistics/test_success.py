"""Which seeds train, counted by hand."""

import numpy as np
import pytest
from scipy import stats
from stored_tables import CIFAR10, MNIST, cell, row, table

from jumpstart_exp.report.statistics.success import train_shares, trained
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids


def only(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


def test_thresholds_are_095_for_moons_and_twice_the_majority_share_for_images() -> None:
    settings = ({}, MNIST, CIFAR10, CIFAR10 | {"dataset": {"name": "cifar100"}})
    found = [only([row(cell("relu", 2, 2, 0, **of), 0.5)]).threshold for of in settings]
    assert found == pytest.approx([0.95, 2 * 6742 / 60_000, 0.2, 0.02])  # 6,742 ones of 60,000 digits


def test_a_seed_trains_from_the_threshold_on_at_its_moment() -> None:
    rows = [row(cell("relu", 2, 2, seed), value) for seed, value in enumerate((80 / 85, 81 / 85, 0.95, 1.0))]
    for each, last in zip(rows, (1.0, 0.9, 0.95, None), strict=True):
        each["train_acc_last"] = last
    assert trained(only(rows), "best")[0, 0, 0].tolist() == [False, True, True, True]
    assert trained(only(rows), "last")[0, 0, 0].tolist() == [True, False, True, False]
    assert trained(only(rows).at_threshold(1.0), "best")[0, 0, 0].tolist() == [False, False, False, True]


def test_an_accuracy_that_misses_the_threshold_by_rounding_alone_trains() -> None:
    rows = [row(cell("relu", 2, 2, 0, **CIFAR10), 0.1 + 0.1 - 1e-12), row(cell("relu", 2, 2, 1, **CIFAR10), 0.2 - 1e-6)]
    assert trained(only(rows), "best")[0, 0, 0].tolist() == [True, False]


def test_shares_count_lost_seeds_and_not_missing_ones() -> None:
    rows = [row(cell("relu", 2, 2, seed), 0.97) for seed in range(3)]
    rows += [row(cell("relu", 2, 2, 3), 0.99, "diverged"), row(cell("relu", 2, 2, 4), None, "failed")]
    rows += [row(cell("sep_up", 2, 4, 0), 0.97)]
    shares = train_shares(only(rows), "best")
    assert shares.trained[:, 0].tolist() == [[3, 0], [0, 1]]
    assert shares.seeds[:, 0].tolist() == [[5, 0], [0, 1]]
    np.testing.assert_array_equal(shares.share[:, 0], [[0.6, np.nan], [np.nan, 1.0]])
    found = stats.binomtest(3, 5).proportion_ci(method="wilson")
    assert (shares.low[0, 0, 0], shares.high[0, 0, 0]) == pytest.approx((found.low, found.high))
    assert np.isnan(shares.low[0, 0, 1])
