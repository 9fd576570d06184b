"""The atlas: found in a store, summed up in a file, and drawn of it."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from atlas_stores import DEPTHS, METHODS, SEEDS, WIDTHS, cells, points, result, write_store
from study_rows import at_seed

from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.report.__main__ import main
from jumpstart_exp.report.atlas.atlas import MEASURES, MOMENTS, STUDIES, Atlas, atlas_of, atlases
from jumpstart_exp.report.atlas.rates import best_rates, rate_scores
from jumpstart_exp.report.atlas.summary import SummaryError, read_summary, summary_path, write_summary
from jumpstart_exp.report.table.grid import FigureGrid, GridError, one_figure
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.store import Store


def moons(store: Store) -> Atlas:
    (found,) = atlases(store.cells(), store)
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("atlas"))


def test_every_study_of_the_atlas_is_there_and_of_its_dataset() -> None:
    for study, dataset in STUDIES.items():
        assert {type(cell.dataset).name for cell in experiment_cells(study, "paper")} == {dataset}, study


def test_all_methods_are_in_one_figure_each_at_its_own_rate(store: Store) -> None:
    atlas = moons(store)
    assert atlas.study == "atlas_moons"
    assert (atlas.grid.depths, atlas.grid.widths, atlas.grid.seeds) == (DEPTHS, WIDTHS, SEEDS)
    assert {*atlas.grid.methods} == {*METHODS}
    assert atlas.grid.present.all()
    assert atlas.rates == {cell.method: cell.optimizer.lr for cell in cells()}
    assert len({*atlas.rates.values()}) > 1
    for cell in cells():
        place = [
            of.index(value)
            for of, value in zip(
                (atlas.grid.methods, atlas.grid.depths, atlas.grid.widths),
                (cell.method, cell.depth, cell.width),
                strict=True,
            )
        ]
        for seed in SEEDS:
            for at_epoch in ("best", "last"):
                own = points(at_seed(cell, seed), at_epoch) / 85
                if (cell.method, cell.depth) != ("rezero", 1):  # the same network as he, whose row it is
                    assert atlas.grid.accuracy[f"train_acc_{at_epoch}"][(*place, seed)] == own


def test_a_method_without_room_for_what_it_adds_has_its_networks_all_the_same(store: Store) -> None:
    grid = moons(store).grid
    he, rezero = (grid.methods.index(method) for method in ("he", "rezero"))
    assert grid.settings["rezero"]["network.skip_every"] == 1
    shallow = {cell.method: cell.key for cell in cells() if cell.depth == 1 and cell.width == 2}
    if shallow["he"] == shallow["rezero"]:
        assert (grid.rows[he, 0] == grid.rows[rezero, 0]).all()
    assert (grid.rows[he, 1] != grid.rows[rezero, 1]).all()


def test_the_census_is_that_of_each_moment_and_none_of_smooth_activations(store: Store) -> None:
    atlas = moons(store)
    assert {*atlas.census} == {(measure, moment) for measure in MEASURES for moment in MOMENTS}
    smooth = np.array([method == "gelu" for method in atlas.grid.methods])
    for moment, dead in zip(MOMENTS, (0.1, 0.2, 0.3), strict=True):
        found = atlas.census["dead_units", moment]
        assert np.isnan(found[smooth]).all()
        np.testing.assert_allclose(found[~smooth], np.broadcast_to(dead + np.array(SEEDS) / 100, found[~smooth].shape))


def test_a_store_of_a_few_methods_is_no_atlas(tmp_path: Path) -> None:
    few = write_store(tmp_path, methods=METHODS[:5])
    assert atlases(few.cells(), few) == []


def test_cells_at_another_rate_are_left_out(tmp_path: Path) -> None:
    store = write_store(tmp_path)
    other = [
        dataclasses.replace(cell, optimizer=dataclasses.replace(cell.optimizer, lr=0.5))
        for cell in cells()
        if cell.method == "relu"
    ]
    store.write([result(cell) for cell in other])
    assert moons(store).rates["relu"] == next(cell.optimizer.lr for cell in cells() if cell.method == "relu")


def same(one: Atlas, other: Atlas) -> None:
    assert (one.study, one.early, dict(one.rates)) == (other.study, other.early, dict(other.rates))
    for name, values in one.census.items():
        np.testing.assert_allclose(other.census[name], values, atol=6e-5)
    for field in dataclasses.fields(FigureGrid):
        own, read = getattr(one.grid, field.name), getattr(other.grid, field.name)
        match field.name:
            case "rows" | "memory":
                continue
            case "accuracy":
                for name in own:
                    np.testing.assert_array_equal(own[name], read[name])
            case "seconds":
                np.testing.assert_array_equal(own, read)
            case "settings":
                for label, settings in own.items():
                    assert read[label].items() <= settings.items()
                    assert read[label]["optimizer.epochs"] == 5000
            case _ if isinstance(own, np.ndarray):
                np.testing.assert_array_equal(own, read)
            case _:
                assert own == read, field.name


def test_a_summary_gives_the_atlas_back(store: Store, tmp_path: Path) -> None:
    atlas = moons(store)
    path = write_summary(atlas, tmp_path / "of" / "atlas_moons.parquet")
    same(atlas, read_summary(path))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    again = write_summary(read_summary(path), tmp_path / "again.parquet")
    assert again.read_bytes() == path.read_bytes()


def test_a_summary_of_a_part_gives_that_part_back(tmp_path: Path) -> None:
    store = write_store(tmp_path, seeds=[0])
    write_store(tmp_path, seeds=[1, 4], methods=["relu", "he"])
    failed = dataclasses.replace(result(at_seed(cells()[0], 7)), status="failed", error="none", curve=())
    store.write([failed])
    atlas = moons(store)
    assert not atlas.grid.present.all()
    assert atlas.grid.failed.any()
    same(atlas, read_summary(write_summary(atlas, tmp_path / "atlas.parquet")))


def test_what_is_no_summary_is_refused_in_a_line(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "atlas_moons.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(SummaryError, match=r"atlas_moons\.parquet is no summary of an atlas: ArrowInvalid"):
        read_summary(path)
    store.cells()[["key", "depth"]].to_parquet(path)
    with pytest.raises(SummaryError, match="is no summary of an atlas: KeyError"):
        read_summary(path)


def test_rows_that_differ_in_more_than_is_ignored_are_no_figure(store: Store) -> None:
    rows = StudyTable(store.cells()).rows_of_experiment("atlas_moons", "moons").reset_index(drop=True)
    with pytest.raises(GridError, match=r"^optimizer\.lr of the rows of one figure differs: 0\.0"):
        one_figure(rows)
    rows.loc[0, "optimizer.epochs"] = 77
    with pytest.raises(GridError, match=r"^optimizer\.epochs of the rows of one figure differs: "):
        one_figure(rows, ["optimizer.lr"])


def test_rows_of_a_method_at_two_rates_are_no_atlas(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    table = store.cells()
    index = StudyTable(table)
    rows = index.rows_of_experiment("atlas_moons", "moons")
    rows.loc[rows.index[rows["method"] == "relu"][0], "optimizer.lr"] = 0.02
    monkeypatch.setattr(index, "rows_of_experiment", lambda *_: rows)
    with pytest.raises(GridError, match=r"relu is trained at several learning rates: 0\.001 and 0\.02"):
        atlas_of("atlas_moons", index, store)


def test_the_command_makes_summaries_and_draws_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path)
    folder = f"results_dir={tmp_path}"
    assert main(["atlas", folder]) == 1
    assert f"error: no summary of an atlas in {tmp_path / 'atlas'}" in capsys.readouterr().err
    assert main(["atlas", folder, "summary=write"]) == 0
    made = capsys.readouterr().out
    assert str(summary_path(tmp_path, "atlas_moons")) in made
    assert "The atlas, atlas_moons: MOONS · mlp · 5000 epochs, 8 methods, 3 seeds" in made
    for name in ("cells", "curves"):
        for path in (tmp_path / name).iterdir():
            path.unlink()
    assert main(["atlas", folder]) == 0
    assert "unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["atlas", "figure=cpaior-2"], "figure= does not go with atlas"),
        (["atlas", "only=page"], "only= does not go with atlas"),
        (["summary=write"], "summary=write goes with atlas"),
        (["atlas", "summary=read"], "summary=read is not allowed: one of write"),
        (["atlsa"], "'atlsa' is not an argument of the report"),
    ],
)
def test_bad_arguments_are_refused(typed: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed) == 2
    assert message in capsys.readouterr().err


def test_a_store_without_an_atlas_has_no_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_store(tmp_path, methods=["relu"])
    assert main(["atlas", "summary=write", f"results_dir={tmp_path}"]) == 1
    assert (
        f"error: no atlas in {tmp_path}: it needs cells of 6 methods or more of one of atlas_moons, "
        in capsys.readouterr().err
    )


# The learning rates


def test_seeds_by_which_rates_are_chosen_are_not_compared_and_no_others_choose(tmp_path: Path) -> None:
    chosen_by = {cell.seed for cell in experiment_cells("atlas_rates", "paper")}
    assert chosen_by and not chosen_by & {*SEEDS}
    store = write_store(tmp_path, seeds=[*SEEDS, *chosen_by])
    assert moons(store).grid.seeds == SEEDS
    own = [cell for cell in experiment_cells("atlas_rates", "paper") if cell.method == "relu"]
    store.write([result(cell) for cell in own])
    store.write([result(at_seed(cell, 0)) for cell in own])
    scores = rate_scores(StudyTable(store.cells())).set_index("method")
    assert (scores.loc["relu", "cells"] == len({cell.key for cell in own}) / 5).all()


def test_a_methods_rate_is_that_of_its_highest_mean(tmp_path: Path) -> None:
    """Two methods at two rates; a diverged cell has 0; a method that lacks cells is left out."""
    wanted = {("he", 0.001): 0.6, ("he", 0.01): 0.8, ("relu", 0.001): 0.7, ("relu", 0.01): 0.9, ("tat", 0.001): 1.0}
    found = []
    for cell in experiment_cells("atlas_rates", "paper"):
        place = cell.method, cell.optimizer.lr
        if place not in wanted or (cell.method == "tat" and cell.depth > 2):
            continue
        made = result(cell)
        made = dataclasses.replace(made, train_acc=dataclasses.replace(made.train_acc, last=wanted[place], best=1.0))
        if place == ("relu", 0.01) and cell.depth > 2:
            made = dataclasses.replace(
                made,
                status="diverged",
                train_acc=dataclasses.replace(made.train_acc, last=None),
                diverged_epoch=7,
                val_acc=dataclasses.replace(made.val_acc, last=None),
                train_loss=dataclasses.replace(made.train_loss, last=None),
                val_loss=dataclasses.replace(made.val_loss, last=None),
                census_last=None,
            )
        found.append(made)
    store = Store(tmp_path)
    store.write(found)
    scores = rate_scores(StudyTable(store.cells()))
    means = {(row.method, row.learning_rate): row.mean for row in scores.itertuples()}
    assert means == pytest.approx(
        {**{place: wanted[place] for place in wanted if place[0] != "tat"}, ("relu", 0.01): 0.18}
    )
    assert best_rates(scores) == {"he": 0.01, "relu": 0.001}


def test_of_equal_rates_the_smallest_is_taken() -> None:
    scores = pd.DataFrame(
        {"method": ["he"] * 3, "learning_rate": [0.03, 0.001, 0.01], "mean": [0.9, 0.9, 0.2], "cells": 4}
    )
    assert best_rates(scores) == {"he": 0.001}


def test_what_is_tried_below_the_least_rate_is_not_chosen() -> None:
    scores = pd.DataFrame({"method": ["he"] * 2, "learning_rate": [0.0003, 0.01], "mean": [0.9, 0.2], "cells": 4})
    assert best_rates(scores) == {"he": 0.01}


def test_the_report_needs_no_torch(store: Store, tmp_path: Path) -> None:
    write_summary(moons(store), summary_path(tmp_path, "atlas_moons"))
    code = (
        "import sys; from jumpstart_exp.report.__main__ import main; "
        f"code = main(['atlas', 'results_dir={tmp_path}']); print('torch:', code, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "torch: 0 False"
