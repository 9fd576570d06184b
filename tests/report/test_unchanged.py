"""What is unchanged is not drawn again, and what changed in any way is."""

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from page_stores import cell, result

from jumpstart_exp.console import Notice
from jumpstart_exp.report import unchanged
from jumpstart_exp.report.__main__ import main
from jumpstart_exp.report.figures import heatmaps
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.registry import Job
from jumpstart_exp.report.unchanged import RECORD, Drawn
from jumpstart_exp.result import Metric
from jumpstart_exp.store import Store

DEPTHS = (1, 2)


@pytest.fixture
def results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with one figure of four cells, drawn."""
    write(tmp_path)
    report(tmp_path)
    capsys.readouterr()
    return tmp_path


def write(folder: Path, accuracy: float = 1.0, seed: int = 0, epochs: int = 5000) -> None:
    score = Metric(accuracy, accuracy, 1)
    cells = [cell(method, depth, 2, seed, optimizer={"epochs": epochs}) for method in KINDS for depth in DEPTHS]
    Store(folder).write([result(of, train_acc=score, val_acc=score, curve=()) for of in cells])


KINDS = ("relu", "sep_up")


def report(folder: Path, *arguments: str) -> None:
    assert main([f"results_dir={folder}", "only=heatmaps", *arguments]) == 0


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Every figure's file: which one it is, and when it was written."""
    found = {path.name: path.stat() for path in (folder / "figures").iterdir()}
    return {name: (of.st_ino, of.st_mtime_ns) for name, of in found.items()}


def redrawn(folder: Path, *arguments: str) -> set[str]:
    """The files that a report writes anew."""
    before = states(folder)
    report(folder, *arguments)
    return {name for name, state in states(folder).items() if before.get(name) != state}


def test_what_is_unchanged_is_left_alone_and_told(results, capsys) -> None:
    assert redrawn(results) == set()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert len(lines) == 2 and all(line.endswith(".png (and .pdf), unchanged") for line in lines)
    assert redrawn(results, "redraw=all") == {*states(results)} and len(states(results)) == 4


def other_versions(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = unchanged.version
    monkeypatch.setattr(unchanged, "version", lambda of: "0.0" if of == name else real(of))


CHANGES: dict[str, Callable[[Path, pytest.MonkeyPatch, Path], None]] = {
    "a result": lambda results, *_: write(results, 0.9, seed=1),
    "a value": lambda results, *_: (
        [[path.unlink() for path in (results / "cells").iterdir()], write(results, 0.9)][0] and None
    ),
    "matplotlib": lambda _results, patch, _tmp: other_versions(patch, "matplotlib"),
    "the package": lambda _results, patch, folder: patch.setattr(unchanged, "__file__", str(folder / "a" / "b.py")),
    "a published number": lambda _results, patch, folder: patch.setattr(unchanged, "published_dir", lambda: folder),
    "a configuration": lambda _results, patch, folder: patch.setattr(unchanged, "conf_dir", lambda: str(folder)),
    "no record": lambda results, *_: (results / RECORD).unlink(),
    "half a record": lambda results, *_: (results / RECORD).write_bytes((results / RECORD).read_bytes()[:-9]) and None,
    "another record": lambda results, *_: (results / RECORD).write_text('{"drawn": [1]}') and None,
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_draws_again(results, monkeypatch, tmp_path_factory, change) -> None:
    CHANGES[change](results, monkeypatch, tmp_path_factory.mktemp("other"))
    unchanged._of_program.cache_clear()
    try:
        assert redrawn(results) >= {*states(results)}
        assert redrawn(results) == set()
    finally:
        unchanged._of_program.cache_clear()


def test_an_option_draws_again(results) -> None:
    every = {*states(results)}
    assert redrawn(results, "threshold=0.5") == every and redrawn(results, "threshold=0.5") == set()
    assert redrawn(results) == every


def test_a_file_that_is_gone_or_altered_is_drawn_again_alone(results) -> None:
    png, *_ = sorted((results / "figures").glob("*_best.png"))
    content, pair = png.read_bytes(), {png.name, png.with_suffix(".pdf").name}
    for spoil in (png.unlink, lambda: png.write_bytes(content[:-1]), lambda: png.write_bytes(content[::-1])):
        spoil()
        assert redrawn(results) == pair and png.read_bytes() == content


def test_results_of_another_figure_leave_this_one(results) -> None:
    write(results, epochs=100)
    assert redrawn(results) == {*states(results)}  # of several figures each has a longer title
    before = {*states(results)}
    write(results, epochs=200)
    fresh = redrawn(results)
    assert len(fresh) == 4 and not fresh & before


def test_the_record_stays_small(results) -> None:
    for accuracy in (0.9, 0.8):
        [path.unlink() for path in (results / "cells").iterdir()]
        write(results, accuracy)
        report(results)
    drawn = json.loads((results / RECORD).read_bytes())["drawn"]
    assert sorted(name for files in drawn.values() for name, _ in files) == sorted(
        f"figures/{name}" for name in states(results)
    )


def test_what_nobody_can_fingerprint_is_always_made(tmp_path) -> None:
    drawn = Drawn(tmp_path, tmp_path / "data")
    assert drawn.fingerprint(Job("", lambda folder: [])) is None  # a function that is not of the package
    assert drawn.unchanged(None) is None


def test_files_behind_links_count_and_a_circle_has_no_fingerprint(tmp_path) -> None:
    results, data, elsewhere = (tmp_path / name for name in ("results", "data", "elsewhere"))
    for folder in (results / "snapshots", data, elsewhere):
        folder.mkdir(parents=True)
    for folder in (results / "snapshots", data):
        (folder / "of").symlink_to(elsewhere)

    def marks() -> list[str | None]:
        drawn = Drawn(results, data)
        return [drawn.fingerprint(Job("", partial(save_figure, folder))) for folder in (results, data)]

    before = marks()
    (elsewhere / "points.csv").write_text("1")
    after = marks()
    assert None not in (*before, *after) and not {*before} & {*after}
    (elsewhere / "itself").symlink_to(elsewhere)
    assert marks() == [None, None]


@pytest.mark.filterwarnings("default")
def test_what_was_drawn_with_a_warning_is_drawn_and_warned_of_again(results, monkeypatch, capsys) -> None:
    real = heatmaps._frontier_places

    def warned(*arguments: Any, **options: Any) -> Any:
        warnings.warn("left out", Notice, stacklevel=1)
        return real(*arguments, **options)

    monkeypatch.setattr(heatmaps, "_frontier_places", warned)
    for arguments in (["redraw=all"], [], []):
        assert redrawn(results, *arguments) == {*states(results)}
        assert "warning: left out" in capsys.readouterr().err


def test_ctrl_c_before_anything_is_drawn_is_told_in_a_line(results, monkeypatch, capsys) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "cells", stopped)
    assert main([f"results_dir={results}"]) == 130
    assert capsys.readouterr().err == "error: stopped: what is drawn stays, and the same command draws the rest\n"


def test_the_page_is_built_again_for_a_curve_alone(tmp_path, capsys) -> None:
    store, of = Store(tmp_path), cell("relu", 1, 2, 0)
    store.write([result(of)])

    def page() -> str:
        assert main([f"results_dir={tmp_path}", "only=page"]) == 0
        return capsys.readouterr().out

    assert "unchanged" not in page() and "report.html, unchanged" in page()
    (curves,) = (tmp_path / "curves").iterdir()
    curves.unlink()
    assert "unchanged" not in page()
