"""The one line of words with which a single run ends."""

from collections.abc import Mapping
from typing import Any

import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.csv import Csv
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.sweep.verdict import ClassShares, verdict

MOONS = ClassShares([41 / 85, 44 / 85], [0.6, 0.4])


def words(of: Cell | None = None, shares: ClassShares | None = MOONS, **values: Any) -> str:
    row: Mapping[str, Any] = {
        **dict.fromkeys(["diverged_epoch", "penalty_start", "penalty_last"]),
        **dict.fromkeys(["train_acc_best", "train_acc_last", "val_acc_last"], 1.0),
        "status": "done",
        "train_acc_best_epoch": 7,
        "dead_points_by_layer_last": [0.0, 0.25],
        **values,
    }
    return verdict(of or Cell(depth=2), row, lambda: shares)


STUCK = {"train_acc_best": 44 / 85, "train_acc_last": 44 / 85, "val_acc_last": 0.4}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "it trains": ({}, "trains: training accuracy 1.0000 at the last epoch (0.95 or more)"),
    "just": ({"train_acc_last": 0.95}, "trains: training accuracy 0.9500 at the last epoch"),
    "lost": (
        {"train_acc_last": 0.7},
        "trained at its best epoch, lost it since: training accuracy 1.0000 at epoch 7, now 0.7000",
    ),
    "lost to one class": (
        {"train_acc_last": 41 / 85, "val_acc_last": 0.6},
        "trained at its best epoch, lost it since: training accuracy 1.0000 at epoch 7, now 0.4824: every point is put "
        "into one class",
    ),
    "stuck": (STUCK, "stuck at chance: every point is put into one class"),
    "stuck and dead": (
        {**STUCK, "dead_points_by_layer_last": [0.5, 1.0]},
        "stuck at chance: every point is put into one class (all are dead at layer 2)",
    ),
    "stuck between the classes": (
        {**STUCK, "val_acc_last": 0.5},
        "stuck at chance: it was never better than calling every point by the largest class",
    ),
    "better than chance": (
        {"train_acc_best": 0.9, "train_acc_last": 0.8},
        "does not train: its best training accuracy, 0.9000 at epoch 7, is below 0.95",
    ),
    "better than chance once": (
        {**STUCK, "train_acc_best": 0.9},
        "does not train: its best training accuracy, 0.9000 at epoch 7, is below 0.95; now every point is put into one "
        "class",
    ),
    "diverged": (
        {"status": "diverged", "diverged_epoch": 9, "train_acc_last": None, "val_acc_last": None},
        "diverged in epoch 9, which counts as not trained; its best training accuracy before was 1.0000",
    ),
    "diverged at once": (
        {"status": "diverged", "diverged_epoch": 1, "train_acc_best": None, "train_acc_last": None},
        "diverged in epoch 1, which counts as not trained",
    ),
    "a row without accuracy": ({"train_acc_best": None}, "nothing can be said of it: the row has no training accuracy"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_became_of_the_network_in_words(name: str) -> None:
    values, expected = CASES[name]
    found = words(**values)
    assert found == expected or (name == "just" and found.startswith(expected))


def test_the_accuracies_of_one_class_have_to_be_of_the_same_class() -> None:
    assert "one class" not in words(**{**STUCK, "val_acc_last": 0.6}), "0.6 is the share of the other class"


def test_without_the_points_only_what_is_dead_is_known() -> None:
    assert words(shares=None, **STUCK).startswith("does not train: its best training accuracy, 0.5176")
    dead = words(shares=None, **{**STUCK, "dead_points_by_layer_last": [1.0, 1.0]})
    assert dead.endswith("now every point is put into one class (all are dead at layer 1)")


def test_the_penalty_alone_learns_no_classes() -> None:
    alone = Cell(depth=2, penalty=PenaltySpec("UP"), task_loss=False)
    assert words(alone, penalty_start=52.25, penalty_last=0.5, **STUCK).endswith("says nothing of classes: 52.25 → 0.5")


NUMBERS = Csv(path="own.csv", target="y", task="regression", content="x", features=1, train_points=9, val_points=3)


@pytest.mark.parametrize(
    ("best", "last", "dead", "expected"),
    [
        (0.97, 0.96, 0.0, "trains: training R² 0.9600 at the last epoch (0.9 or more)"),
        (0.97, -2.5, 0.0, "trained at its best epoch, lost it since: training R² 0.9700 at epoch 7, now -2.5000"),
        (-0.2, -3.0, 0.0, "stuck at chance: it was never better than the mean of the targets"),
        (0.0, 0.0, 1.0, "stuck at chance: every point gets one number (all are dead at layer 2)"),
        (0.4, 0.3, 0.0, "does not train: its best training R², 0.4000 at epoch 7, is below 0.9"),
        (None, None, 0.0, "nothing can be said of it: the row has no training R²"),
    ],
)
def test_a_regression_is_told_by_its_r2(best: float | None, last: float | None, dead: float, expected: str) -> None:
    row = {"train_r2_best": best, "train_r2_last": last, "train_r2_best_epoch": 7, "train_acc_last": None}
    row |= {"train_acc_best": None, "dead_points_by_layer_last": [0.0, dead]}
    assert words(Cell(depth=2, dataset=NUMBERS), None, **row) == expected
