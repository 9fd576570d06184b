"""Figures of trainings with relaxed layers, read back from their artists."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored_tables import cell, row, table

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.figures.relaxation import hidden_losses, relaxation_figure, relaxed_trainings
from jumpstart_exp.report.registry import Stored, sections
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.result import CurveRow, Result
from jumpstart_exp.store import Store

EPOCHS = (1, 10, 20)


def curve_of(of: Cell) -> tuple[CurveRow, ...]:
    """Losses that fall with the epoch and rise with the seed; hidden ones tell layer, epoch and seed."""
    rows = []
    for epoch in EPOCHS:
        plain = CurveRow(epoch, 0.5, 0.5, 1 / epoch + of.seed, 0.7, None, None, None, None, None)
        if of.rai.weight:
            losses = tuple(layer * 10.0 ** -(epoch // 10) * (1 + of.seed) for layer in range(1, of.depth + 1))
            plain = dataclasses.replace(plain, logit_gap=0.1 * epoch, largest_z=2.0 + of.seed, hidden_losses=losses)
        rows.append(plain)
    return tuple(rows)


def stored(tmp_path: Path, sizes: list[tuple[int, int]], methods: tuple[str, ...] = ("relu", "rai")) -> Store:
    cells = [
        cell(method, depth, width, seed, rai__weight=1.0 if method == "rai" else 0.0)
        for method in methods
        for depth, width in sizes
        for seed in (0, 1, 4)
    ]
    store = Store(tmp_path)
    done = [Result(each, "done", "eager", curve=curve_of(each)) for each in cells]
    store.write(done)
    return store


def grid_of(store: Store) -> tuple[FigureGrid, pd.DataFrame]:
    cells = store.cells()
    (grid,) = figure_grids(cells)
    return grid, cells


def test_a_row_has_losses_hidden_losses_and_distances_of_every_seed(tmp_path: Path) -> None:
    store = stored(tmp_path, [(3, 4)])
    grid, cells = grid_of(store)
    (training,) = relaxed_trainings(grid, cells, store.curves())
    assert (training.title, training.depth, training.width) == ("RAI", 3, 4)
    assert (len(training.seeds), len(training.ordinary)) == (3, 3)
    with plain_style():
        figure = relaxation_figure(grid, [training])
    lines: dict[str, list[list[float]]] = {}
    for ax in figure.axes:
        for line in ax.lines:
            lines.setdefault(str(line.get_gid()), []).append(np.asarray(line.get_ydata(), np.float64).tolist())
    falling = [[1 / epoch + seed for epoch in EPOCHS] for seed in (0, 1, 4)]
    np.testing.assert_allclose(sorted(lines["relaxed"]), falling)
    np.testing.assert_allclose(sorted(lines["ordinary"]), falling)
    np.testing.assert_allclose(lines["logit_gap"], [[0.1, 1.0, 2.0]] * 3)
    assert sorted(lines["largest_z"]) == [[2.0] * 3, [3.0] * 3, [6.0] * 3]
    (mesh,) = [
        mesh
        for ax in figure.axes
        for mesh in ax.collections
        if mesh.get_array() is not None and mesh.get_array().size == 9
    ]
    # the median seed is 1: twice the layer's number, a tenth of it every ten epochs
    expected = [[2.0 * layer * 10.0**-tens for tens in (0, 1, 2)] for layer in (1, 2, 3)]
    np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(3, 3), expected)


def test_the_median_is_over_the_seeds_that_have_the_epoch_and_a_finite_loss() -> None:
    def curve(losses: dict[int, float]) -> pd.DataFrame:
        return pd.DataFrame({"epoch": [*losses], "hidden_losses": [[loss, np.inf] for loss in losses.values()]})

    epochs, losses = hidden_losses([curve({1: 1.0, 5: 7.0, 9: 3.0}), curve({1: 2.0, 9: np.inf}), curve({1: 6.0})])
    assert epochs.tolist() == [1, 5, 9]
    assert losses[:, 0].tolist() == [2.0, 7.0, 3.0] and np.isnan(losses[:, 1]).all()


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({}, ["1", "2", "3", "4"]),
        ({"every": 2, "include_output": True}, ["2", "4", "out"]),
        ({"layers": (1, 4)}, ["1", "4"]),
        ({"every": 9, "include_output": True}, ["out"]),
    ],
)
def test_layers_bear_their_own_numbers_and_what_diverged_is_told(settings: dict[str, Any], layers: list[str]) -> None:
    of = cell("rai", 4, 2, 0, rai__weight=1.0, **{f"rai__{name}": value for name, value in settings.items()})
    cells = [of, dataclasses.replace(of, seed=1)]
    rows = table([row(cells[0], 0.5), row(cells[1], 0.5, "diverged")])
    (grid,) = figure_grids(rows)
    losses = [[1.0, np.inf, 0.0, 1e-3, 1e-2][: len(layers)]] * 2
    curve = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.5], "logit_gap": [0.1, 0.2], "largest_z": [1.0, 2.0]})
    curves = pd.concat([curve.assign(key=own.key, hidden_losses=losses) for own in cells])
    (training,) = relaxed_trainings(grid, rows, curves)
    assert [*training.layers] == layers
    with plain_style():
        figure = relaxation_figure(grid, [training])
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == layers
    assert "1 diverged" in figure.axes[0].get_ylabel()
    shown = np.ma.asarray(figure.axes[1].collections[0].get_array())
    if len(layers) > 2:
        assert shown.mask.reshape(len(layers), 2)[1].all(), "what is not finite has a colour of its own"
        assert (shown.reshape(len(layers), 2)[2] < figure.axes[1].collections[0].norm.vmin).all(), "and 0 another"


def test_the_deepest_networks_are_shown_and_the_rest_is_told(tmp_path: Path) -> None:
    store = stored(tmp_path, [(depth, 2) for depth in (2, 3, 4, 5, 6, 7, 8)], methods=("rai",))
    grid, cells = grid_of(store)
    found = relaxed_trainings(grid, cells, store.curves())
    assert [training.depth for training in found] == [8, 7, 6, 5, 4, 3, 2] and not any(t.ordinary for t in found)
    with plain_style():
        figure = relaxation_figure(grid, found)
    assert "6 of 7 networks" in figure.get_supxlabel()
    assert "8×2" in figure.axes[0].get_ylabel()
    with pytest.raises(ValueError, match="there is none"):
        relaxation_figure(grid, [])


def test_the_report_draws_it_and_of_stores_without_relaxed_layers_nothing(tmp_path: Path) -> None:
    for methods, drawn in ((("relu", "rai"), 1), (("relu",), 0)):
        folder = tmp_path / str(drawn)
        store = stored(folder, [(3, 4)], methods)
        grid, cells = grid_of(store)
        made = Stored(folder, tmp_path, store, cells, (grid,), (), None)
        jobs = [job for _, found in sections(made, "relaxation") for job in found]
        assert len(jobs) == drawn


def test_ordinary_training_of_another_network_is_not_beside_it() -> None:
    cells = [cell("rai", 3, 4, 0, rai__weight=1.0), cell("tanh", 3, 4, 0, network__activation="tanh")]
    rows = table([row(each, 0.5) for each in cells])
    (grid,) = figure_grids(rows)
    curves = pd.concat(
        [pd.DataFrame([dataclasses.asdict(each) for each in curve_of(own)]).assign(key=own.key) for own in cells]
    )
    (training,) = relaxed_trainings(grid, rows, curves)
    assert not training.ordinary
