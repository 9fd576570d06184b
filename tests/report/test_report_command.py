"""`python -m jumpstart_exp.report` with what it makes besides heatmaps."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.sweeps import STARTING, Deed, How, Sweeps
from faults.test_full_disk import obey_permissions
from stored_tables import CIFAR10, cell, grid_rows, row, table

from jumpstart_exp.report.__main__ import main
from jumpstart_exp.report.papers.published import published_dir
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.report.unchanged import RECORD
from jumpstart_exp.result import Result
from jumpstart_exp.store import Store

METHODS = ("relu", "sep_up")


def cnns() -> list[dict]:
    return grid_rows(["relu", "sep_up"], [10, 20], [8, 16], [0], lambda c: 0.3 + c.width / 100, **CIFAR10)


def moons() -> list[dict]:
    return [row(cell("relu", depth, 2, 0), 0.9) for depth in (1, 2)]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make the store in the returned folder hold the rows."""

    def store(rows: list[dict]) -> Path:
        monkeypatch.setattr(Store, "cells", lambda self: table(rows))
        return tmp_path

    return store


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {RECORD}


def expected(rows: list[dict]) -> dict[str, list[str]]:
    """Lines and files of each kind for the one figure of the rows."""
    (grid,) = figure_grids(table(rows))
    slug = grid.slug
    return {
        "heatmaps": [f"figures/{slug}_{at_epoch}.png (and .pdf)" for at_epoch in ("best", "last")],
        "scatters": [f"figures/{slug}_scatter_{at_epoch}.png (and .pdf)" for at_epoch in ("best", "last")],
        "tables": [
            *(f"tables/{slug}_{at_epoch}.md (and .tex, .csv)" for at_epoch in ("best", "last")),
            f"tables/{slug}_cost.md (and .csv)",
        ],
    }


def named_in(lines: list[str]) -> set[str]:
    found = set()
    for line in lines:
        first, _, others = line.rstrip(")").partition(" (and ")
        found |= {first, *(first.rsplit(".", 1)[0] + other for other in others.split(", ") if other)}
    return found


def test_everything_is_made_and_listed_a_line_each(stored, capsys) -> None:
    results = stored(cnns())
    assert main([f"results_dir={results}"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "CIFAR-10 · cnn · 400 epochs: 8 cells, 2 methods, 1 seed"
    kinds = expected(cnns())
    old = [f"  {results}/{line}" for kind in kinds for line in kinds[kind]]
    assert lines[: len(old)] == old
    assert lines[-2:] == ["the page", f"  {results}/report.html"]
    listed = [line.removeprefix(f"  {results}/") for line in lines if line.startswith("  ")]
    assert files(results) == named_in(listed)
    assert {"figures", "tables", "."} == {str(Path(line).parent) for line in listed}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("only", ["heatmaps", "scatters", "tables"])
def test_only_one_kind_is_made_where_it_is_asked_for(stored, capsys, only) -> None:
    results = stored(cnns() + moons())
    assert main([f"only={only}", f"results_dir={results}"]) == 0
    shown = capsys.readouterr().out.splitlines()
    made = expected(cnns())[only] + (expected(moons())["heatmaps"] if only == "heatmaps" else [])
    assert [line for line in shown if line.startswith("  ")] == [f"  {results}/{line}" for line in made]
    assert files(results) == named_in(made)
    assert ("MOONS" in "".join(shown)) is (only == "heatmaps")


@pytest.mark.parametrize(("only", "missing"), [("scatters", "network.layout=cnn"), ("tables", "two methods or more")])
def test_nothing_to_draw_says_what_is_missing(stored, capsys, only, missing) -> None:
    results = stored(moons())
    assert main([f"results_dir={results}", f"only={only}"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and f"only={only}" in shown and missing in shown and str(results) in shown
    assert not files(results)


def test_only_knows_its_kinds(capsys) -> None:
    assert main(["only=pictures"]) == 2
    first = "page, heatmaps, scatters, tables, seeds, sweeps, comparison"
    kinds = f"{first}, atlas, inside, geometry, relaxation, initialisation"
    assert capsys.readouterr().err == f"error: only=pictures is not allowed: one of {kinds}\n"
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {kind}" in shown for kind in kinds.split(", "))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["threshold=1.5"], "threshold=1.5 is not allowed: it must be above 0 and at most 1"),
        (["threshold=nan"], "threshold=nan is not allowed: it must be above 0 and at most 1"),
        (["threshold=much"], "threshold=much is not allowed: it must be above 0 and at most 1"),
        (
            ["figure=cpaior-2", "threshold=0.9"],
            "threshold= goes with the papers' tables: it changes nothing in cpaior-2",
        ),
        (["figure=cpaior-2", "variant=authors"], "variant=authors is not allowed: one of paper, code"),
        (["figure=cpaior-2", "moment=first"], "moment=first is not allowed: one of best, last"),
        (["swept=none"], "swept=none is not allowed: one of best, all"),
        (["figure=cpaior-2", "swept=all"], "swept= and figure= do not go together"),
        (["variant=code"], "variant= goes with figure=NAME, a figure of the papers"),
        (["figure=cpaior-2", "only=page"], "only= and figure= do not go together: one figure of the papers, or all of"),
        (["figure="], "'figure=' is not an argument of the report: results_dir=FOLDER, only="),
    ],
)
def test_a_bad_argument_is_answered_in_a_line(capsys, arguments, said) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}") and shown.count("\n") == 1


def test_the_threshold_decides_which_networks_train(stored, capsys) -> None:
    results = stored(cnns())
    (grid,) = figure_grids(table(cnns()))
    for threshold, trained in (("0.3", "8"), ("0.99", "0")):
        assert main([f"results_dir={results}", "only=tables", f"threshold={threshold}"]) == 0
        text = (results / "tables" / f"{grid.slug}_best.csv").read_text()
        counts = next(line for line in text.splitlines() if line.startswith("trained,")).split(",")[1:]
        assert sum(map(int, counts[::2])) == int(trained)


def over_rates(count: int) -> list[dict]:
    """Two methods of one network and one seed at so many learning rates."""
    rates = [0.1 / 2**number for number in range(count)]
    return [of for rate in rates for of in grid_rows([*METHODS], [2], [2], [0], lambda _: 0.9, optimizer__lr=rate)]


@pytest.mark.usefixtures("undrawn")
def test_the_number_of_files_of_a_sweep_is_bounded(stored, capsys) -> None:
    written: dict[int, set[str]] = {}
    for count in (6, 30):
        results = stored(over_rates(count))
        for only in ("heatmaps", "tables", "seeds", "sweeps"):
            assert main([f"results_dir={results}", f"only={only}"]) == 0
        written[count] = files(results)
        shutil.rmtree(results / "figures")
        shutil.rmtree(results / "tables")
    assert len(written[6]) == len(written[30]) < 40
    assert sum("_over_optimizer-lr_" in name for name in written[30]) == 5, "a figure (2 files) and a table (3)"
    assert "the best of 30 figures over optimizer.lr, 29 of them on the page only" in capsys.readouterr().out
    results = stored(over_rates(6))
    assert main([f"results_dir={results}", "only=heatmaps", "swept=all"]) == 0
    assert len(files(results)) == 6 * 4


@pytest.mark.usefixtures("undrawn")
def test_before_training_only_few_values_of_a_datasets_setting_are_drawn(stored) -> None:
    census = {"dead_units_by_layer_start": [0.5, 0.5], "dead_points_by_layer_start": [0.0, 0.5]}
    rows = [row(cell("relu", 2, 2, 0, dataset__noise=noise / 100), 0.9) | census for noise in range(1, 8)]
    results = stored(rows)
    assert main([f"results_dir={results}", "only=initialisation"]) == 0
    assert len(files(results)) == 2


def test_a_figure_of_a_paper_is_drawn_by_its_name_or_says_what_to_train(stored, capsys) -> None:
    results = stored(moons())
    assert main([f"results_dir={results}", "figure=cpaior-9"]) == 1
    assert "figure=cpaior-9" in capsys.readouterr().err
    assert main([f"results_dir={results}", "figure=iclr-2"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "+experiment=iclr_mnist" in shown
    assert not files(results)


def test_a_published_number_that_was_changed_stops_the_comparison(stored, tmp_path, monkeypatch, capsys) -> None:
    results = stored(moons())
    altered = tmp_path / "numbers"
    shutil.copytree(published_dir(), altered)
    path = altered / "moons_50x4.csv"
    path.write_text(path.read_text().replace("0.8117", "0.8000", 1))
    monkeypatch.setattr("jumpstart_exp.report.papers.published.published_dir", lambda: altered)
    assert main([f"results_dir={results}", "only=comparison"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "moons_50x4.csv" in shown
    assert not (results / "tables").exists()


def test_a_folder_of_tables_that_cannot_be_written_is_one_line(stored, capsys) -> None:
    results = stored(cnns())
    (results / "tables").write_text("in the way")
    assert main([f"results_dir={results}", "only=tables"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and f"cannot write into {results / 'tables'}" in shown


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Path]:
    """The results of two methods, of no published study, which can be read and not written."""
    store = Store(tmp_path / "results")
    cells = [cell(method, depth, 2, 0, optimizer__epochs=77) for method in METHODS for depth in (1, 2)]
    store.write([Result(each, "done", "eager") for each in cells])
    store.curves_dir.mkdir(exist_ok=True)
    folders = [store.results_dir, store.cells_dir, store.curves_dir]
    for folder in folders:
        folder.chmod(0o555)
    yield store.results_dir
    for folder in folders:
        folder.chmod(0o755)


def report(results: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines of the command, to which permissions apply even where it is root's."""
    with Sweeps() as programs:
        how = How(deeds=(Deed(STARTING, 1, obey_permissions),))
        code, said = programs.run(results.parent, ["results_dir=results", *arguments], how, "jumpstart_exp.report")
    return code, said.splitlines()


def test_results_that_cannot_be_written_are_one_line(guarded: Path) -> None:
    code, lines = report(guarded, "only=heatmaps")
    errors = [line for line in lines if line.startswith("error")]
    assert (code, errors) == (1, [f"error: cannot write into results/figures: {os.strerror(errno.EACCES)}"])
    assert {path.name for path in guarded.iterdir()} == {"cells", "curves"}


def test_only_the_folders_of_the_report_have_to_be_writable(guarded: Path) -> None:
    before = files(guarded)
    guarded.chmod(0o755)
    for name in ("figures", "tables"):
        (guarded / name).mkdir()
    guarded.chmod(0o555)
    code, lines = report(guarded)
    # the page lies beside them, and comes last
    assert (code, lines.pop()) == (1, f"error: cannot write into results: {os.strerror(errno.EACCES)}"), lines
    listed = named_in([line.removeprefix("  results/") for line in lines if line.startswith("  ")])
    assert files(guarded) == before | listed
    assert {Path(name).parent.name for name in listed} == {"figures", "tables"}
