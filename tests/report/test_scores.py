"""Figures, tables and the page speak of accuracy or of R², by the dataset of what they show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from stored_tables import cell, row, table

from jumpstart_exp.report.figures.heatmaps import heatmap_figure
from jumpstart_exp.report.figures.shares import moments_figure
from jumpstart_exp.report.figures.sweeps import values_figure
from jumpstart_exp.report.page.contents import page_contents
from jumpstart_exp.report.page.curves import read_curves
from jumpstart_exp.report.page.reproduce import commands
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.statistics.summary import summarise
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.table.sweeps import sweeps
from jumpstart_exp.report.tables.seeds import places_table
from jumpstart_exp.report.tables.summaries import summary_table
from jumpstart_exp.report.tables.table import as_markdown
from jumpstart_exp.result import CurveRow, Metric, Result
from jumpstart_exp.store import Store

CSV: dict[str, Any] = {
    "name": "csv",
    "path": "sub/own.csv",
    "target": "y",
    "task": "regression",
    "content": "sha256-a",
    "features": 3,
    "train_points": 30,
    "val_points": 10,
    "threshold": 0.8,
}
R2 = {0: 0.9, 1: -40.0, 2: 0.7}
"""Of each seed the best training R²."""


def r2_row(method: str, seed: int, depth: int = 2, **settings: Any) -> dict[str, Any]:
    made = row(cell(method, depth, 2, seed, **{"dataset": CSV, **settings}), R2[seed])
    empty = {name: None for name in made if "_acc_" in name}
    return {name.replace("_acc_", "_r2_"): value for name, value in made.items()} | empty


def rows(*methods: str) -> list[dict[str, Any]]:
    return [r2_row(method, seed, depth) for method in methods for depth in (2, 3) for seed in R2]


def only(made: list[dict[str, Any]]) -> FigureGrid:
    (grid,) = figure_grids(table(made))
    return grid


def test_a_regressions_grid_has_r2_and_its_datasets_threshold() -> None:
    grid = only(rows("relu"))
    assert (grid.score, grid.chance, grid.threshold, grid.dataset_title) == ("R²", 0.0, 0.8, "own.csv")
    assert grid.title.startswith("own.csv · mlp · 5000 epochs")
    np.testing.assert_array_equal(grid.accuracy["train_acc_best"][0, 0, 0], [*R2.values()])
    assert grid.trained("best")[0, 0, 0].tolist() == [True, False, False]
    assert train_shares(grid, "best").trained.tolist() == [[[1], [1]]]
    assert grid.mean("train_acc_best")[0, 0, 0] == pytest.approx(np.mean([*R2.values()]))
    assert summarise(grid, "best").methods[0].best["train_acc"].accuracy == 0.9


def test_accuracy_beside_a_regression_is_no_r2_and_null_is_no_score() -> None:
    made = [{**each, "train_acc_best": 1.0, "train_r2_best": None} for each in rows("relu")]
    grid = only(made)
    assert np.isnan(grid.accuracy["train_acc_best"]).all() and not grid.trained("best").any()


def test_figures_of_both_tasks_stand_side_by_side_each_in_its_words() -> None:
    moons = [row(cell("relu", depth, 2, seed), 0.97) for depth in (2, 3) for seed in (0, 1)]
    grids = {grid.task: grid for grid in figure_grids(table([*moons, *rows("relu")]))}
    words = {"classification": "accuracy", "regression": "R², below 0 as 0"}
    for task, grid in grids.items():
        figure = heatmap_figure(grid, "best")
        labels = {ax.get_ylabel() for part in figure.subfigs or [figure] for ax in part.axes}
        assert words[task] in labels, labels
        assert not (labels & {*words.values()} - {words[task]})


def written(figure: Figure) -> str:
    """All texts of a figure."""
    return " ".join(text.get_text() for text in figure.findobj(Text))


def test_captions_and_tables_speak_of_r2() -> None:
    grid = only(rows("relu", "sep_up"))
    for text in (
        summary_table(grid, "best").caption,
        as_markdown(places_table(grid, "best")),
        written(moments_figure(grid, "train_acc")),
    ):
        assert "R²" in text and "accurac" not in text, text
    shown = " ".join(written(moments_figure(grid, "train_acc")).split())
    assert "R² below 0 is drawn as 0, and differences beyond 1 as 1." in shown
    assert "a network trains if its training R² is at least 0.8" in as_markdown(places_table(grid, "best"))


def test_a_sweep_of_a_regression_is_drawn_from_0_on() -> None:
    made = [r2_row("relu", seed, optimizer__lr=lr) for lr in (0.001, 0.01, 0.1) for seed in R2]
    data = table(made)
    (sweep,) = sweeps(figure_grids(data), data)
    figure = values_figure(sweep)
    axes = [ax for ax in figure.axes if ax.get_ylabel() == "validation R²"]
    assert len(axes) == 2 and all(-0.1 < ax.get_ylim()[0] < 0 for ax in axes)


def test_the_title_tells_files_apart_and_leaves_out_what_they_tell_themselves() -> None:
    other = {**CSV, "path": "other.csv", "content": "sha256-b", "features": 9, "train_points": 99}
    edited = {**CSV, "content": "sha256-c", "features": 4}
    made = [r2_row("relu", 0, dataset=spec) for spec in (CSV, other, edited)]
    titles = sorted(grid.title for grid in figure_grids(table(made)))
    assert titles == [
        "other.csv · mlp · 5000 epochs",
        "own.csv · mlp · 5000 epochs · dataset.content=sha256-a",
        "own.csv · mlp · 5000 epochs · dataset.content=sha256-c",
    ]


def test_the_page_names_the_score_of_each_study_and_shows_r2_from_0_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = rows("relu")
    of = cell("relu", 2, 2, 0, dataset=CSV)
    curve = tuple(CurveRow(epoch, 0.5, -3.0, 0.5, 4.0, None, 0.0, 0.0, 0.0, 0.0) for epoch in (1, 2))
    store.write(
        [Result(of, "done", "eager", curve=curve, train_acc=Metric(0.5, 0.5, 1), val_acc=Metric(-3.0, -3.0, 1))]
    )
    moons = [row(cell("relu", 2, 2, 0), 0.97)]
    data = table([*made, *moons])
    grids = figure_grids(data)
    head, block = page_contents(data, store, grids)
    assert [study["score"] for study in head["studies"]] == [grid.score for grid in grids]
    assert {grid.score for grid in grids} == {"accuracy", "R²"}
    assert {"rows.train_acc_best", "curves.val_acc"} <= block.entries.keys()
    found = read_curves(store, [of.key])
    assert found.values["train_acc"].tolist() == [[0.5, 0.5]] and found.values["val_acc"].tolist() == [[-3.0, -3.0]]
    assert any("own.csv: training R² 0.8 or more" in line["texts"] for line in head["made"])


def test_the_command_of_a_tables_cell_states_what_was_found() -> None:
    (made,), _ = commands(table([r2_row("relu", 0)]))
    assert made.reason == ""
    for word in ("dataset=csv", "dataset.path=sub/own.csv", "dataset.content=sha256-a", "dataset.task=regression"):
        assert word in (made.before + made.after).split()


def sklearn_rows(**values: Any) -> list[dict[str, Any]]:
    """Rows of what scikit-learn draws, whose content follows from its parameters."""
    noise = values.get("noise", 0.0)
    spec = {"name": "sklearn", "loader": "make_friedman1", "n_samples": 40, "n_features": 10, "random_state": 0}
    found = {"content": f"sha256-{noise}", "features": 10, "train_points": 30, "val_points": 10, "noise": noise}
    return [r2_row("relu", seed, dataset={**spec, **found, **values}) for seed in R2]


def test_a_sweep_over_a_loaders_parameter_is_one_whatever_is_drawn() -> None:
    data = table([each for noise in (0.5, 1.0, 2.0) for each in sklearn_rows(noise=noise)])
    grids = figure_grids(data)
    assert [grid.title for grid in grids] == [
        f"make_friedman1 · mlp · 5000 epochs · dataset.noise={noise}" for noise in ("0.5", "1", "2")
    ]
    (sweep,) = sweeps(grids, data)
    assert (sweep.names, sweep.values["dataset.noise"]) == (("dataset.noise",), (0.5, 1.0, 2.0))


def test_figures_of_unlike_thresholds_are_no_sweep_and_unlike_contents_are_told() -> None:
    data = table([each for threshold in (0.5, 0.7) for each in sklearn_rows(threshold=threshold)])
    assert sweeps(figure_grids(data), data) == ()
    versions = table([*sklearn_rows(content="sha256-old"), *sklearn_rows(content="sha256-new")])
    assert [grid.title.rpartition(" · ")[2] for grid in figure_grids(versions)] == [
        "dataset.content=sha256-new",
        "dataset.content=sha256-old",
    ]
