"""A column of a table over depth × width: every mean is one over seeds, and nothing else is ever averaged."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.figures.drawing import ReportFigure
from jumpstart_exp.report.figures.metric_heatmap import metric_heatmap
from jumpstart_exp.report.table.grid import GridError
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import cell_schema, result_row

METHODS = {"sep_up": PenaltySpec(kind="UP"), "relu": PenaltySpec()}


def row(depth: int = 1, width: int = 2, seed: int = 0, method: str = "relu", **values: Any) -> dict[str, Any]:
    weight, lr = values.pop("weight", 1e-4), values.pop("lr", 0.01)
    penalty = PenaltySpec(kind=METHODS[method].kind, weight=weight)
    cell = Cell(depth=depth, width=width, seed=seed, method=method, penalty=penalty, optimizer=OptimizerSpec(lr=lr))
    return {**result_row(Result(cell, "done", "native", train_acc=Metric(0.5, 0.6, 1), seconds=1.0)), **values}


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=cell_schema().names)


def grid_of(**axes: list[Any]) -> pd.DataFrame:
    """Rows of both methods with made-up accuracies."""
    numbers = np.random.default_rng(0)
    return table(
        [
            row(depth, width, seed, method, train_acc_best=float(numbers.uniform(0.5, 1)))
            for depth in (10, 1)
            for width in (2, 4, 3)
            for seed in range(3)
            for method in ("sep_up", "relu")
        ]
    )


def panels(figure: Any) -> list[Any]:
    return [ax for ax in figure.axes if ax.get_xticks().size and ax.get_label() != "<colorbar>"]


def drawn(ax: Any) -> np.ndarray[Any, Any]:
    """A panel's values, (depths, widths)."""
    (mesh,) = [each for each in ax.collections if isinstance(each, QuadMesh)]
    array = mesh.get_array()
    assert array is not None
    return np.asarray(np.ma.filled(array.astype(float), np.nan)).reshape(array.shape).T


def test_every_value_is_the_mean_over_seeds() -> None:
    rows = grid_of()
    figure = metric_heatmap(rows, "train_acc_best")
    relu, sep_up = panels(figure)
    assert [ax.get_title() for ax in (relu, sep_up)] == ["ReLU", "Sep-UP"]
    for ax, method in ((relu, "relu"), (sep_up, "sep_up")):
        assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "10"]
        own = rows[rows["method"] == method]
        wanted = [[own[(own.depth == d) & (own.width == w)].train_acc_best.mean() for w in (2, 3, 4)] for d in (1, 10)]
        np.testing.assert_allclose(drawn(ax), wanted)
    assert [label.get_text() for label in relu.get_yticklabels()] == ["2", "3", "4"]
    title = figure.get_suptitle()
    assert "training accuracy at the best epoch" in title
    assert "mean over 3 seeds" in title
    (mesh,) = [each for each in relu.collections if isinstance(each, QuadMesh)]
    assert mesh.get_clim() == (0.5, 1.0), "from chance on"


def test_what_is_missing_lost_or_partly_lost_is_marked_and_no_value() -> None:
    rows = table(
        [
            *(row(1, 2, seed) for seed in (0, 1)),
            *(row(2, 2, seed, status=status) for seed, status in enumerate(("done", "diverged"))),
            *(row(3, 2, seed, status="failed") for seed in (0, 1)),
            row(1, 3),
        ]
    )
    figure = metric_heatmap(rows, "train_acc_best")
    values = drawn(panels(figure)[0])
    assert values[:, 0].tolist()[:2] == [0.6, 0.6], "the best of a diverged training counts for nothing"
    assert np.isnan(values[2, 0]) and np.isnan(values[1, 1])
    legend = {text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()}
    assert legend == {"missing", "diverged or failed", "some seeds diverged or failed: mean of the others"}
    assert "1 diverged" in figure.get_suptitle() and "2 failed" in figure.get_suptitle()
    assert "1–2 seeds" in figure.get_suptitle()


def test_datasets_are_rows_of_panels() -> None:
    rows = grid_of()
    other = rows[(rows["depth"] == 1) & (rows["method"] == "relu")].assign(dataset="mnist")
    figure = metric_heatmap(pd.concat([rows, other]), "train_acc_best")
    above, right, below, nothing = panels(figure)
    assert above.get_ylabel() == "MOONS\nwidth" and below.get_ylabel() == "MNIST\nwidth"
    np.testing.assert_allclose(drawn(below)[0], drawn(above)[0])
    assert np.isnan(drawn(below)[1]).all() and np.isnan(drawn(nothing)).all()
    assert not np.isnan(drawn(right)).any()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [row(lr=0.01), row(lr=0.1, seed=1)],
            "optimizer.lr has 2 values for relu on moons (0.01, 0.1), and only seeds are averaged: draw one of them, "
            "df[df['optimizer.lr'] == 0.01]",
        ),
        (
            [row(), row(method="sep_up"), row(method="sep_up", weight=1e-3)],
            "penalty.weight has 2 values for sep_up on moons (0.0001, 0.001), and only seeds are averaged: draw one of "
            "them, df[df['penalty.weight'].isna() | (df['penalty.weight'] == 0.0001)]",
        ),
        ([row(method="sep_up"), row(method="sep_up", weight=0)], "penalty.kind has 2 values for sep_up"),
        ([row(1), row(2, lr=0.1)], "optimizer.lr has 2 values"),  # of different depths
        ([row(), row()], "two results for relu 1×2 seed 0 on moons"),
        ([], "the table has no rows"),
    ],
)
def test_nothing_but_seeds_is_averaged(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(GridError) as caught:
        metric_heatmap(table(rows), "train_acc_best")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_table_holds_is_chosen_by_the_setting_that_it_follows_from() -> None:
    df = table([row(), row(2)]).assign(**{"dataset.loader": ["load_iris", "load_wine"], "dataset.content": ["a", "b"]})
    with pytest.raises(GridError, match=r"^dataset\.loader has 2 values"):
        metric_heatmap(df, "train_acc_best")


def test_the_choice_that_is_offered_can_be_drawn() -> None:
    df = table([row(), row(method="sep_up"), row(method="sep_up", weight=1e-3)])
    with pytest.raises(GridError) as caught:
        metric_heatmap(df, "train_acc_best")
    chosen = eval(str(caught.value).rpartition("draw one of them, ")[2], {"df": df})
    assert len(panels(metric_heatmap(chosen, "train_acc_best"))) == 2


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("train_acc_bst", "the table has no column train_acc_bst; did you mean train_acc_best?"),
        ("error", "error cannot be drawn"),
        ("optimizer.lr", "optimizer.lr cannot be drawn"),
        ("depth", "depth cannot be drawn"),
    ],
)
def test_only_numbers_that_a_training_gives_are_drawn(column: str, message: str) -> None:
    with pytest.raises(GridError, match=message):
        metric_heatmap(table([row()]), column)


def test_a_table_without_its_settings_is_refused() -> None:
    whole = table([row()])
    with pytest.raises(GridError, match=r"the table lacks settings, say optimizer\.lr"):
        metric_heatmap(whole.drop(columns="optimizer.lr"), "train_acc_best")
    with pytest.raises(GridError, match="the table has no column status"):
        metric_heatmap(whole.drop(columns="status"), "train_acc_best")


@pytest.mark.parametrize(
    ("column", "values", "limits"),
    [
        ("dead_units_last", [0.25, 0.5], (0, 1)),
        ("seconds", [2.0, 8.0], (2, 8)),
        ("trains", [True, False], (0, 1)),
        ("mine", [-1.0, -1.0], (-1, 0)),
        ("val_acc_last", [0.5, 0.7], (0.5, 1)),
        ("firing_rate_last", [0.3, 0.7], (0, 1)),
    ],
)
def test_the_scale_is_that_of_the_column(column: str, values: list[Any], limits: tuple[float, float]) -> None:
    rows = table([row(1), row(2)])
    rows[column] = pd.Series(values)
    (panel,) = panels(metric_heatmap(rows, column))
    (mesh,) = [each for each in panel.collections if isinstance(each, QuadMesh)]
    assert mesh.get_clim() == limits


def test_a_value_that_a_finished_training_lacks_is_refused_and_not_called_lost() -> None:
    rows = table([row(1), row(2, train_acc_best=None)]).astype({"train_acc_best": "float64"})
    with pytest.raises(GridError, match=r"^train_acc_best is null in 1 of the 2 cells of relu on moons that are done$"):
        metric_heatmap(rows, "train_acc_best")
    rows["train_r2_best"] = 0.5
    with pytest.raises(GridError, match=r"that are done; of its task is train_r2_best$"):
        metric_heatmap(rows, "train_acc_best")


def test_r2_goes_from_0_to_1() -> None:
    rows = table([row(1, dataset="sklearn"), row(2, dataset="sklearn")])
    rows["dataset.loader"] = "load_diabetes"
    rows["train_r2_best"] = [-0.2, 0.7]
    figure = metric_heatmap(rows, "train_r2_best")
    (panel,) = panels(figure)
    (mesh,) = [each for each in panel.collections if isinstance(each, QuadMesh)]
    assert mesh.get_clim() == (0, 1)
    assert figure.get_suptitle().startswith("training R² at the best epoch")


def test_it_leaves_nothing_of_pyplot_behind_and_is_drawn_alike_everywhere(tmp_path: Path) -> None:
    rows, before = table([row(), row(2, status="diverged")]), dict(matplotlib.rcParams)
    figure = metric_heatmap(rows, "train_acc_best")
    assert isinstance(figure, ReportFigure)
    assert plt.get_fignums() == []
    figure.savefig(tmp_path / "one.png")
    with plt.style.context("dark_background"):
        again = metric_heatmap(rows, "train_acc_best")
        again.savefig(tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert dict(matplotlib.rcParams) == before
    png, size = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert {*size} == {"width", "height"}
