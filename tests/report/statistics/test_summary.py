"""Table 1's numbers against counts by hand."""

import pytest
from stored_tables import CIFAR10, cell, only, row

from jumpstart_exp.report.statistics.summary import BestNetwork, summarise


def test_networks_that_train_are_single_runs_that_reach_the_threshold_at_that_moment() -> None:
    accuracies = {"relu": (0.95, 0.94, 1.05 - 0.1), "sep_up": (0.96, 1.0, 0.7)}
    rows = [row(cell(m, 2, 2, seed), value) for m, values in accuracies.items() for seed, value in enumerate(values)]
    rows += [row(cell("relu", 3, 2, 0), 0.99, "diverged"), row(cell("sep_up", 3, 2, 0), None, "failed")]
    best, last = (summarise(only(rows), at_epoch) for at_epoch in ("best", "last"))
    assert best.threshold == 0.95
    assert [m.trained for m in best.methods] == [2, 2], "0.95 itself trains"
    assert [m.trained for m in last.methods] == [0, 0], "at the last epoch all have 0.1 less"
    assert [m.trained for m in summarise(only(rows).at_threshold(0.85), "last").methods] == [2, 2]
    assert [(m.networks, m.seeds, m.diverged, m.failed) for m in best.methods] == [(4, 3, 1, 0), (4, 3, 0, 1)]


def test_training_is_judged_by_training_accuracy() -> None:
    low_val = row(cell("relu", 2, 2, 0), 0.96)  # validation 0.91
    assert [m.trained for m in summarise(only([low_val, row(cell("sep_up", 2, 2, 0), 0.5)]), "best").methods] == [1, 0]


def test_the_best_network_is_the_best_single_run() -> None:
    rows = [row(cell("relu", 2, 4, seed), value) for seed, value in ((3, 0.5), (7, 0.9))]
    rows += [row(cell("relu", 5, 4, seed), 0.8) for seed in (3, 7)]  # the better mean
    rows += [row(cell("relu", 9, 4, 3), 0.99, "diverged"), row(cell("sep_up", 2, 4, 3), None, "failed")]
    relu, sep_up = summarise(only(rows), "last").methods
    assert relu.best["train_acc"] == BestNetwork(pytest.approx(0.8), 2, 4, 7)
    assert relu.best["val_acc"] == BestNetwork(pytest.approx(0.75), 2, 4, 7)
    assert sep_up.best == {"train_acc": None, "val_acc": None}


def test_wins_are_by_pair_over_the_seeds_that_all_methods_have() -> None:
    rows = []
    for seed, one, other in ((0, 0.9, 0.8), (1, 0.2, 0.4)):  # 0.55 against 0.6
        rows += [row(cell("relu", 2, 2, seed), one), row(cell("sep_up", 2, 2, seed), other)]
    rows += [row(cell("relu", 2, 2, 2), 1.0)]  # relu alone: not compared
    rows += [row(cell("relu", 3, 2, 0), 0.9), row(cell("sep_up", 3, 2, 0), 0.6)]
    for seed, one, other in ((0, 0.1, 0.3), (1, 0.2, 0.2), (2, 0.3, 0.1)):  # equal but for rounding
        rows += [row(cell("relu", 4, 2, seed), one), row(cell("sep_up", 4, 2, seed), other)]
    rows += [row(cell("relu", 5, 2, 0), 0.9), row(cell("sep_up", 5, 2, 0), 0.9, "diverged")]
    rows += [row(cell("relu", 6, 2, 0), 0.9), row(cell("sep_up", 6, 2, 1), 0.8)]  # no seed in common
    rows += [row(cell("sep_up", 7, 2, 0), 0.9)]
    summary = summarise(only(rows), "best")
    assert [m.wins for m in summary.methods] == [{"train_acc": 1, "val_acc": 1}] * 2
    assert summary.ties == {"train_acc": 1, "val_acc": 1}
    assert summary.compared == {"train_acc": 3, "val_acc": 3}
    assert summary.left_out == {"train_acc": 3, "val_acc": 3}


def test_training_and_validation_are_won_apart_and_a_tie_at_the_top_is_nobodys() -> None:
    rows = [row(cell(m, 2, 2, 0, **CIFAR10), value) for m, value in (("relu", 0.5), ("sep_u", 0.6), ("sep_up", 0.6))]
    rows[0]["val_acc_best"] = 0.9
    summary = summarise(only(rows), "best")
    assert [m.wins["train_acc"] for m in summary.methods] == [0, 0, 0]
    assert [m.wins["val_acc"] for m in summary.methods] == [1, 0, 0]
    assert summary.ties == {"train_acc": 1, "val_acc": 0}
    assert summary.threshold == pytest.approx(0.2)


def test_places_that_no_method_has_are_not_left_out_pairs() -> None:
    rows = [row(cell(m, d, w, 0), 0.6) for m in ("relu", "sep_up") for d, w in ((2, 2), (3, 3))]
    summary = summarise(only(rows), "best")
    assert (summary.compared["train_acc"], summary.left_out["train_acc"]) == (2, 0)


def test_each_method_is_also_compared_with_relu_alone() -> None:
    rows = []
    for depth, relu, one, other in ((2, 0.5, 0.6, 0.9), (3, 0.5, 0.4, 0.6), (4, 0.5, 0.5, 0.7)):
        accuracies = {"relu": relu, "sep_u": one, "sep_up": other}
        rows += [row(cell(method, depth, 2, 0), value) for method, value in accuracies.items()]
    rows += [row(cell("relu", 5, 2, 0), 0.5), row(cell("sep_u", 5, 2, 0), 0.6)]  # sep_up is not there
    rows += [row(cell("sep_up", 6, 2, 0), 0.9)]
    relu, sep_u, sep_up = summarise(only(rows), "best").methods
    assert relu.beats_baseline is None
    assert sep_u.beats_baseline == {"train_acc": (2, 4), "val_acc": (2, 4)}
    assert sep_up.beats_baseline == {"train_acc": (3, 3), "val_acc": (3, 3)}
    assert [m.wins["val_acc"] for m in (relu, sep_u, sep_up)] == [0, 0, 3]


def test_without_relu_nothing_is_compared_with_it() -> None:
    rows = [row(cell(method, 2, 2, 0), 0.5) for method in ("sep_u", "sep_up")]
    assert [m.beats_baseline for m in summarise(only(rows), "best").methods] == [None, None]
