"""The sequel's tables: of a small store made without training, against numbers worked out here."""

import csv
import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from study_rows import at_seed

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.report.atlas.sequel import convergence_table, sequel_jobs, trainability_table, wins_table
from jumpstart_exp.report.atlas.sequel_figure import compared, wins_figure
from jumpstart_exp.report.atlas.sequel_measures import Sequel, area, sequel_of
from jumpstart_exp.report.registry import Stored
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.report.tables.table import as_markdown
from jumpstart_exp.result import CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.store import Store

METHODS = ("relu", "sep_up_balanced", "balanced_points")
LOADERS = {"load_iris": "iris", "load_diabetes": "diabetes"}
SEEDS = range(7)
CENSUS = LayerCensus(*((0.1,) * 50 for _ in range(4)))

SCORES = {
    ("relu", "load_iris"): 0.4,
    ("relu", "load_diabetes"): -0.5,
    ("sep_up_balanced", "load_iris"): 0.93,
    ("sep_up_balanced", "load_diabetes"): 0.6,
    ("balanced_points", "load_iris"): 0.9,
    ("balanced_points", "load_diabetes"): 0.3,
}
"""Training score at the last epoch, of all seeds; validation is 0.1 less. At the best epoch it is 0.05 more."""


def loader(of: Cell) -> str:
    return str(of.dataset.loader)


def small(folder: Path, seeds: Iterable[int] = SEEDS) -> list[Cell]:
    cells = [
        cell
        for cell in experiment_cells("sequel_tables", "paper")
        if cell.method in METHODS and loader(cell) in LOADERS
    ]
    assert len(cells) == len(METHODS) * len(LOADERS)
    return [at_seed(cell, seed) for cell in with_contents(cells, folder) for seed in seeds]


def result(of: Cell) -> Result:
    score = SCORES[of.method, loader(of)] + of.seed / 1000
    guess = of.dataset.chance
    census = (0.1,) * 4
    return Result(
        of,
        "done",
        "native",
        n_params=1000,
        epochs_run=3000,
        train_acc=Metric(score, score + 0.05, 50),
        val_acc=Metric(score - 0.1, score - 0.05, 60),
        train_loss=Metric(0.25, 0.125, 70),
        val_loss=Metric(2.5, 0.5, 80),
        census_start=CENSUS,
        census_last=CENSUS,
        seconds=1.0,
        # from guessing up to epoch 1001, then level
        curve=tuple(
            CurveRow(epoch, value, value, 0.5, 0.5, 0.1, *census)
            for epoch, value in ((1, guess), (1001, score), (3000, score))
        ),
    )


def write(folder: Path, results: Iterable[Result]) -> Sequel:
    store = Store(folder)
    store.write([*results])
    found = sequel_of(StudyTable(store.cells()), store)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def sequel(tmp_path_factory: pytest.TempPathFactory) -> Sequel:
    folder = tmp_path_factory.mktemp("sequel")
    return write(folder, map(result, small(folder)))


def numbers(text: str) -> dict[str, list[str]]:
    """A Markdown table's cells by the first of each line."""
    lines = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in text.splitlines() if "|" in line]
    return {first: rest for first, *rest in lines}


def test_every_network_of_the_study_is_found_at_its_place(sequel: Sequel) -> None:
    assert (sequel.methods, sequel.datasets, sequel.seeds) == (METHODS, ("diabetes", "iris"), tuple(SEEDS))
    assert sequel.rules == ("R² 0.5", "accuracy 0.9")
    for i, method in enumerate(METHODS):
        for j, name in enumerate(("load_diabetes", "load_iris")):
            guess = {"load_diabetes": 0.0, "load_iris": 1 / 3}[name]
            for seed in SEEDS:
                score = SCORES[method, name] + seed / 1000
                above = max(score, guess)
                assert sequel.validation[i, j, seed] == pytest.approx(max(score - 0.1, guess))
                assert sequel.areas[i, j, seed] == pytest.approx((1000 * (guess + above) / 2 + 1999 * above) / 2999)
                needed = {"load_diabetes": 0.5, "load_iris": 0.9}[name]
                assert sequel.trained["last"][i, j, seed] == (score >= needed)
                assert sequel.trained["best"][i, j, seed] == (score + 0.05 >= needed)


def test_what_diverged_or_failed_counts_as_guessing(tmp_path: Path) -> None:
    results = {(own.cell.method, loader(own.cell), own.cell.seed): own for own in map(result, small(tmp_path))}
    lost, failed = ("sep_up_balanced", "load_iris", 2), ("sep_up_balanced", "load_diabetes", 3)
    results[lost] = dataclasses.replace(
        results[lost],
        status="diverged",
        epochs_run=1002,
        diverged_epoch=1002,
        **{name: Metric(None, 0.95, 50) for name in ("train_acc", "val_acc", "train_loss", "val_loss")},
        curve=results[lost].curve[:2],
    )
    results[failed] = Result(results[failed].cell, "failed", "native", error="none")
    del results["relu", "load_iris", 0]
    found = write(tmp_path, results.values())
    diabetes, iris = 0, 1
    assert found.validation[1, iris, 2] == pytest.approx(1 / 3)
    assert found.trained["last"][1, iris, 2] == found.trained["best"][1, iris, 2] == 0
    own = 0.932
    assert found.areas[1, iris, 2] == pytest.approx((1000 * (1 / 3 + own) / 2 + 1999 / 3) / 2999)
    for values in (found.validation, found.areas, found.trained["last"], found.trained["best"]):
        assert values[1, diabetes, 3] == 0
        assert np.isnan(values[0, iris, 0]), "no cell"
        assert np.isnan(values).sum() == 1
    lines = numbers(as_markdown(trainability_table(found)))
    assert lines["Sep-UP balanced"][:2] == ["6 of 7", "6 of 7"]
    assert lines["ReLU"][:2] == ["0 of 7", "0 of 6"]


@pytest.mark.parametrize(
    ("epochs", "scores", "last", "area_of"),
    [
        ([1, 3], [0.0, 1.0], 3, 0.5),
        ([1, 2, 4], [1.0, 0.5, 0.5], 4, (0.75 + 1.0) / 3),
        ([1, 3], [1.0, 1.0], 5, 0.5 + 0.5 * 0.2),  # it ends early: guessing from there on
        ([1, 3], [math.nan, -7.0], 3, 0.2),
        ([1], [0.7], 1, 0.7),
    ],
)
def test_the_area_under_a_curve(epochs: list[int], scores: list[float], last: int, area_of: float) -> None:
    guess = 0.2 if last != 4 and scores[0] != 0.0 else 0.0
    assert area(np.array(epochs, float), np.array(scores), last, guess) == pytest.approx(area_of)


def test_cells_without_curves_have_no_area(tmp_path: Path) -> None:
    found = write(tmp_path, (dataclasses.replace(result(cell), curve=()) for cell in small(tmp_path, [0, 1])))
    assert np.isnan(found.areas).all()
    assert numbers(as_markdown(convergence_table(found)))["ReLU"] == ["–", "–", "–"]


def test_trainability_is_the_share_of_datasets_by_seed(sequel: Sequel) -> None:
    table = trainability_table(sequel)
    lines = numbers(as_markdown(table))
    # at the best epoch Sep-UP balanced has all, its points 0.95 on iris, 0.35 on diabetes
    assert lines["ReLU"] == ["0 of 7", "0 of 7", *["0.000 (range 0.000 to 0.000)"] * 2]
    assert lines["Sep-UP balanced"] == ["7 of 7", "7 of 7", *["1.000 (range 1.000 to 1.000)"] * 2]
    assert lines["Balanced, points"] == ["0 of 7", "7 of 7", *["0.500 (range 0.500 to 0.500)"] * 2]
    assert "R² 0.5 (diabetes), accuracy 0.9 (iris)" in table.caption
    assert len(table.values) == len(METHODS) * 3 * 2


def test_convergence_over_all_is_the_mean_of_the_datasets(sequel: Sequel) -> None:
    values = convergence_table(sequel).values.set_index(["method", "dataset"])
    for i, method in enumerate(METHODS):
        own = [sequel.areas[i, j].mean() for j in (0, 1)]
        assert values.loc[(method, "all"), "value"] == pytest.approx(np.mean(own))
        for name, mean in zip(sequel.datasets, own, strict=True):
            assert values.loc[(method, name), "value"] == pytest.approx(mean)
            assert values.loc[(method, name), "seeds"] == 7


def test_wins_over_datasets(sequel: Sequel) -> None:
    """At every seed each method is apart from the next by the same; on diabetes two of ReLU's scores are guesses."""
    lines = numbers(as_markdown(wins_table(sequel, "validation")))
    assert lines["Sep-UP balanced"] == ["4–0–0", "", "2–0–0"]
    assert lines["ReLU"] == ["0–0–4", "0–0–2", ""]
    assert lines["Balanced, points"] == ["2–0–2", "0–0–2", "2–0–0"]


def test_few_seeds_are_draws_and_the_table_says_so(tmp_path: Path) -> None:
    found = write(tmp_path, map(result, small(tmp_path, range(5))))
    table = wins_table(found, "convergence")
    assert set(table.values["drawn"]) == {2}
    assert "All are draws: of fewer than 6 common seeds no difference can be decided." in table.caption


def test_the_matrix_shows_the_tables_numbers(sequel: Sequel) -> None:
    figure = wins_figure(sequel)
    for ax, measured in zip(figure.axes, ("validation", "convergence"), strict=True):
        values = wins_table(sequel, measured).values
        told = {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts}
        expected = {
            (METHODS.index(row.method), METHODS.index(row.other)): f"{row.won}–{row.drawn}–{row.lost}"
            for row in values.itertuples()
        }
        assert told == expected
    assert all(isinstance(text, Text) for text in figure.texts)
    with pytest.raises(ValueError, match="measured=loss is not known: one of validation, convergence"):
        compared(sequel, "loss")


def test_all_files_are_made_of_a_store_that_has_the_study(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write([*map(result, small(tmp_path, [0]))])
    table = store.cells()
    stored = Stored(tmp_path, tmp_path, store, table, (), (), None)
    paths = [path for job in sequel_jobs(stored) for path in job.write(tmp_path / "drawn")]
    names = ["trainability", "convergence", "wins_validation", "wins_convergence"]
    kinds = [f"sequel_{name}.{kind}" for name in names for kind in ("md", "tex", "csv")]
    assert {path.name for path in paths} == {*kinds, "sequel_wins.png", "sequel_wins.pdf"}
    with (tmp_path / "drawn" / "sequel_wins_validation.csv").open() as file:
        assert len([*csv.DictReader(file)]) == len(METHODS) * (len(METHODS) - 1)


def test_a_store_without_the_study_has_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert sequel_of(StudyTable(pd.DataFrame()), store) is None
    store.write([result(cell) for cell in small(tmp_path, [0]) if cell.method == "relu"])
    table = store.cells()
    assert sequel_of(StudyTable(table), store) is None, "nothing to compare"
    assert [*sequel_jobs(Stored(tmp_path, tmp_path, store, table, (), (), None))] == []
