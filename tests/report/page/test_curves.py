"""Curves that are thinned: which points stay, and how many."""

import math
from pathlib import Path

import numpy as np
import pytest
from page_stores import cell, moons, result, stored
from test_packing import decoded

from jumpstart_exp.report.page.curves import LEAST_POINTS, ThinCurves, add_curves, read_curves, thinned
from jumpstart_exp.report.page.packing import Block, text_length
from jumpstart_exp.result import CurveRow
from jumpstart_exp.store import Store

NAMES = ("train_acc", "val_acc", "train_loss", "val_loss", "dead_units", "dead_points")


def noisy(cells: int, rows: int, seed: int = 0) -> ThinCurves:
    random = np.random.default_rng(seed)
    epochs = np.tile(np.arange(1, rows + 1) * 50, (cells, 1))
    return ThinCurves(epochs, {name: random.random((cells, rows), np.float32) for name in NAMES}, rows)


@pytest.mark.parametrize("points", [LEAST_POINTS, 40, 99])
def test_ends_and_extremes_of_accuracies_and_losses_stay(points: int) -> None:
    whole = noisy(50, 101)
    thin = thinned(whole, points)
    assert thin.epochs.shape == (50, points)
    assert np.all(np.diff(thin.epochs, axis=1) > 0)
    np.testing.assert_array_equal(thin.epochs[:, [0, -1]], whole.epochs[:, [0, -1]])
    for name in ("train_acc", "val_acc", "train_loss", "val_loss"):
        np.testing.assert_array_equal(thin.values[name].max(axis=1), whole.values[name].max(axis=1))
        np.testing.assert_array_equal(thin.values[name].min(axis=1), whole.values[name].min(axis=1))


def test_every_point_that_stays_has_its_own_values() -> None:
    whole = noisy(20, 101)
    thin = thinned(whole, 30)
    for name in NAMES:
        rows = np.arange(20)[:, None]
        np.testing.assert_array_equal(thin.values[name], whole.values[name][rows, thin.epochs // 50 - 1])


def test_points_are_spread_evenly() -> None:
    steady = ThinCurves(np.arange(1, 102)[None, :], {name: np.full((1, 101), 0.5, np.float32) for name in NAMES}, 101)
    assert np.diff(thinned(steady, 26).epochs).max() <= 5


def test_shorter_curves_beside_longer_ones_keep_as_many_points() -> None:
    whole = noisy(2, 101)
    whole.epochs[1, 40:] = whole.epochs[1, 39]  # the second one ends at its 40th point
    thin = thinned(whole, 30)
    assert len(np.unique(thin.epochs[1])) == 30 and thin.epochs[1, -1] == 40 * 50


def test_curves_are_read_in_the_order_of_the_keys(tmp_path: Path) -> None:
    results = moons()
    store = stored(tmp_path, results)
    keys = [each.cell.key for each in results][::-1]
    curves = read_curves(store, keys)
    for place, each in enumerate(results[::-1]):
        epochs = [row.epoch for row in each.curve]
        assert sorted({*curves.epochs[place].tolist()} - {0}) == epochs
        if epochs:
            np.testing.assert_allclose(
                curves.values["val_acc"][place, : len(epochs)], [row.val_acc for row in each.curve], rtol=1e-6
            )


def test_curves_are_read_in_parts_of_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = moons()
    store = stored(tmp_path, results)
    keys = [each.cell.key for each in results]
    whole = read_curves(store, keys)
    asked: list[int] = []
    read = Store.curves

    def counted(self: Store, keys: list[str]) -> object:
        asked.append(len(keys))
        return read(self, keys)

    monkeypatch.setattr("jumpstart_exp.report.page.curves._TOGETHER", 10)
    monkeypatch.setattr(Store, "curves", counted)
    again = read_curves(store, keys)
    assert asked == [10, 10, 10, len(keys) - 30]
    np.testing.assert_array_equal(whole.epochs, again.epochs)
    np.testing.assert_array_equal(whole.values["train_acc"], again.values["train_acc"])


def test_a_cell_that_has_no_curve_has_no_epoch(tmp_path: Path) -> None:
    without = result(cell("relu", 1, 2, 0), "failed", curve=())
    curves = read_curves(stored(tmp_path, [without]), [without.cell.key])
    assert not curves.epochs.any()


def test_curves_get_the_points_for_which_there_is_room() -> None:
    curves = noisy(300, 101)
    roomy, tight, least = Block(), Block(), Block()
    assert add_curves(roomy, curves, 10**6) == (101, NAMES)
    points, names = add_curves(tight, curves, 120_000)
    assert LEAST_POINTS <= points < 101 and names == NAMES and text_length(tight.length) <= 120_000
    assert add_curves(least, curves, 0) == (LEAST_POINTS, ("train_acc", "val_acc"))


def test_losses_stay_longer_than_the_census() -> None:
    curves = noisy(300, 101)
    lengths = {}
    for room in range(20_000, 100_000, 4_000):
        block = Block()
        points, names = add_curves(block, curves, room)
        lengths[names] = text_length(block.length)
        assert names == NAMES or points == LEAST_POINTS
        assert names == NAMES[:2] or lengths[names] <= room
    assert set(lengths) == {NAMES, NAMES[:4], NAMES[:2]}


def test_losses_of_curves_are_right_to_one_part_in_a_hundred(tmp_path: Path) -> None:
    losses = [2.5, 0.6931, 1e-5, 0.0, 1e30, math.inf, math.nan]
    curve = tuple(CurveRow(epoch, 1.0, 1.0, loss, 0.1, None, 0, 0, 0, 0) for epoch, loss in enumerate(losses, start=1))
    own = result(cell("relu", 1, 2, 0), curve=curve)
    block = Block()
    add_curves(block, read_curves(stored(tmp_path, [own]), [own.cell.key]), 10**6)
    shown = decoded(block, "curves.train_loss")[0]
    np.testing.assert_allclose(shown[:4], losses[:4], rtol=0.01)
    assert shown[4] == pytest.approx(2.0**60) and np.isnan(shown[5:]).all()


def test_curves_stand_behind_what_the_block_had() -> None:
    curves, empty, filled = noisy(3, 30), Block(), Block()
    filled.add("before", np.arange(1000, dtype=np.uint16))
    offset = filled.length
    add_curves(empty, curves, 10**6)
    add_curves(filled, curves, 10**6)
    assert filled.entries["curves.val_acc"]["start"] == empty.entries["curves.val_acc"]["start"] + offset
    assert filled.parts[1:] == empty.parts
