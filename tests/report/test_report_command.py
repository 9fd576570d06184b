"""`python -m jumpstart_exp.report` with what it makes besides heatmaps."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.sweeps import STARTING, Deed, How, Sweeps
from faults.test_full_disk import obey_permissions
from stored_tables import CIFAR10, cell, grid_rows, row, table

from jumpstart_exp.report.__main__ import main
from jumpstart_exp.report.grid import figure_grids
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
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def expected(rows: list[dict]) -> dict[str, list[str]]:
    """Lines and files of each kind for the one figure of the rows."""
    (grid,) = figure_grids(table(rows))
    slug = grid.slug
    return {
        "heatmaps": [f"figures/{slug}_{moment}.png (and .pdf)" for moment in ("best", "last")],
        "scatters": [f"figures/{slug}_scatter_{moment}.png (and .pdf)" for moment in ("best", "last")],
        "tables": [
            *(f"tables/{slug}_{moment}.md (and .tex, .csv)" for moment in ("best", "last")),
            f"tables/{slug}_cost.md (and .csv)",
        ],
    }


def named_in(lines: list[str]) -> set[str]:
    found = set()
    for line in lines:
        first, _, others = line.rstrip(")").partition(" (and ")
        found |= {first, *(first.rsplit(".", 1)[0] + other for other in others.split(", "))}
    return found


def test_everything_is_made_and_listed_a_line_each(stored, capsys) -> None:
    results = stored(cnns())
    assert main([f"results_dir={results}"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "CIFAR-10 · cnn · 400 epochs: 8 cells, 2 methods, 1 seed"
    kinds = expected(cnns())
    listed = [line for kind in kinds for line in kinds[kind]]
    assert lines == [f"  {results}/{line}" for line in listed]
    assert files(results) == named_in(listed)


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
    assert capsys.readouterr().err == "error: only=pictures is not allowed: one of heatmaps, scatters, tables\n"
    assert main(["--help"]) == 0
    assert "only=heatmaps|scatters|tables" in capsys.readouterr().out


def test_a_folder_of_tables_that_cannot_be_written_is_one_line(stored, capsys) -> None:
    results = stored(cnns())
    (results / "tables").write_text("in the way")
    assert main([f"results_dir={results}", "only=tables"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and f"cannot write into {results / 'tables'}" in shown


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Path]:
    """The results of two methods, which can be read and not written."""
    store = Store(tmp_path / "results")
    store.write([Result(cell(method, depth, 2, 0), "done", "eager") for method in METHODS for depth in (1, 2)])
    store.curves_dir.mkdir(exist_ok=True)
    folders = [store.results_dir, store.cells_dir, store.curves_dir]
    for folder in folders:
        folder.chmod(0o555)
    yield store.results_dir
    for folder in folders:
        folder.chmod(0o755)


def report(results: Path) -> tuple[int, list[str]]:
    """Exit code and lines of the command, to which permissions apply even where it is root's."""
    with Sweeps() as programs:
        how = How(deeds=(Deed(STARTING, 1, obey_permissions),))
        code, said = programs.run(results.parent, ["results_dir=results"], how, "jumpstart_exp.report")
    return code, said.splitlines()


@pytest.mark.slow
def test_results_that_cannot_be_written_are_one_line(guarded: Path) -> None:
    code, lines = report(guarded)
    errors = [line for line in lines if not line.startswith("MOONS · ")]
    assert (code, errors) == (1, [f"error: cannot write into results/figures: {os.strerror(errno.EACCES)}"])
    assert {path.name for path in guarded.iterdir()} == {"cells", "curves"}


@pytest.mark.slow
def test_only_the_folders_of_the_report_have_to_be_writable(guarded: Path) -> None:
    before = files(guarded)
    guarded.chmod(0o755)
    for name in ("figures", "tables"):
        (guarded / name).mkdir()
    guarded.chmod(0o555)
    code, lines = report(guarded)
    assert code == 0, lines
    listed = named_in([line.removeprefix("  results/") for line in lines if line.startswith("  ")])
    assert len(lines) == 1 + len([line for line in lines if line.startswith("  ")])
    assert files(guarded) == before | listed
    assert {Path(name).parent.name for name in listed} == {"figures", "tables"}
