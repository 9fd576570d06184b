"""`python -m jumpstart_exp.status`: what it says of any folder, from anywhere, and its exit code."""

import json
import os
import platform
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.status import main
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.records import STALE_SECONDS, Array, Records, Submission, machine_identity, process_identity


def cell(seed: int) -> Cell:
    return Cell(depth=2, width=3, seed=seed, method="relu", optimizer=OptimizerSpec(epochs=2))


def keep_run(folder: Path, name: str, seeds: list[int], *, age: float = 0.0, **values: Any) -> None:
    """The record of a process that is this one, unless values say otherwise."""
    records = Records(folder)
    records.folder.mkdir(parents=True, exist_ok=True)
    content = {
        "version": 1,
        "name": name,
        "host": platform.node(),
        "machine": values.get("host", machine_identity()),
        "process": process_identity(os.getpid()),
        "job": None,
        "state": "running",
        "at_once": 2,
        "log": None,
        "training": {},
        "failed": [],
        "seconds_left": None,
    }
    (records.folder / f"{name}.cells.json").write_text(json.dumps({cell(seed).key: 60.0 for seed in seeds}))
    path = records.folder / f"{name}.run.json"
    path.write_text(json.dumps({**content, **values}))
    os.utime(path, (path.stat().st_mtime - age, path.stat().st_mtime - age))


def store(folder: Path, seed: int, status: Any = "done", error: str | None = None, trace: str | None = None) -> None:
    metric, own = Metric(0.5, 0.5, 1), cell(seed)
    result = Result(own, status, "eager", train_acc=metric, error=error, traceback=trace, seconds=60.0)
    Store(folder).write([result])


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder beside which no SLURM is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command shows them its own way
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def say(capsys):
    """What the command says: exit code, rows of its table by their name, all of its output."""

    def run(*arguments: str) -> tuple[int, dict[str, list[str]], str]:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        rows = [[part.strip() for part in line.split("│")[1:-1]] for line in out.splitlines() if line.count("│") > 2]
        return code, {row[0]: row[1:] for row in rows}, out + err

    return run


@pytest.fixture
def told(capsys):
    """What the command says with format=json, and its exit code."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main([*arguments, "format=json"])
        return code, json.loads(capsys.readouterr().out)

    return run


COUNTS = {"done": 0, "diverged": 0, "running": 0, "queued": 0, "failed": 0, "stopped": 0, "lost": 0}


def test_an_empty_folder_has_no_cells(results, say):
    code, rows, text = say()
    assert code == 0 and "results: 0 cells" in text
    assert {name: row[0] for name, row in rows.items()} == {
        "done": "0",
        "running": "0",
        "queued": "0",
        "failed": "0",
        "stopped": "0",
        "lost": "0",
        "time left": "–",
    }


def test_all_there_can_be(results, say, told):
    store(results, 0)
    store(results, 1, "diverged")
    store(results, 2, "failed", error="MemoryError: no\nmore")
    keep_run(results, "alive", [0, 3, 4], training={cell(3).key: 0.5})
    keep_run(results, "gone", [5, 6], host="node1", process="1@1", age=STALE_SECONDS + 60, log="/logs/x.out", job="9_1")
    code, rows, text = say("results_dir=results")
    assert code == 3
    assert rows["done"][:2] == ["2", "1 diverged"]
    assert rows["running"][:2] == ["1", "in 1 process"]
    assert rows["queued"][:2] == ["1", "next in the processes that run"]
    assert rows["failed"][:2] == ["1", "retry=failed trains them again"]
    assert rows["lost"][:2] == ["2", "the same command trains them again"]
    assert rows["time left"][0] == "about 1 min 00 s"  # two at once: what is longest is a whole cell of 60 s
    assert "failed: moons relu 2×3 seed 2: MemoryError: no\n" in text
    assert "lost: 2 cells of job 9_1: its process on node1 has ended; its output: /logs/x.out" in text
    code, found = told("results_dir=results")
    assert code == 3
    assert found["cells"] == {**dict.fromkeys(COUNTS, 1), "stopped": 0, "lost": 2}
    assert found["seconds_left"] == pytest.approx(60)
    assert found["failed"] == [{"cell": "moons relu 2×3 seed 2", "error": "MemoryError: no\nmore"}]
    (lost,) = found["lost"]
    assert lost["state"] == "lost"
    assert sorted(lost["keys"]) == sorted([cell(5).key, cell(6).key])
    assert (lost["job"], lost["log"], lost["sweep"]) == ("9_1", "/logs/x.out", "gone")
    assert found["tasks"] == {"running": 1} and found["remark"] is None


def test_queued_cells_are_next_only_where_something_is_in_training(results, say):
    keep_run(results, "begins", [0, 1])
    assert say()[1]["queued"][:2] == ["2", "in 1 process that trains nothing yet"]
    keep_run(results, "trains", [2, 3], training={cell(2).key: 0.5})
    assert say()[1]["queued"][:2] == ["3", "next in the processes that run"]


def test_a_process_that_has_ended_or_whose_number_another_has_is_lost(results, told):
    own = process_identity(os.getpid())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    keep_run(results, "ended", [0], process=f"{ended.pid}@5")
    keep_run(results, "reused", [1], process=own.partition("@")[0] + "@1")
    keep_run(results, "stopped", [2], state="stopped")
    keep_run(results, "quiet", [3], age=10 * STALE_SECONDS)  # its process is here
    code, found = told()
    assert code == 3 and found["cells"] == {**COUNTS, "queued": 1, "stopped": 1, "lost": 2}
    reasons = {one["sweep"]: one["reason"] for one in found["lost"]}
    assert reasons == {
        "ended": f"its process on {platform.node()} has ended",
        "reused": f"its process on {platform.node()} has ended",
        "stopped": "it was told to end",
    }


def test_what_was_stopped_is_told_from_what_was_lost(results, say, told):
    keep_run(results, "20261122-105534-0123abcd", [0, 1], state="stopped")
    code, rows, text = say()
    assert code == 0 and rows["stopped"][:2] == ["2", "the same command goes on"] and rows["lost"][:2] == ["0", ""]
    assert "\nstopped: 2 cells of the sweep of 2026-11-22 10:55:34: it was told to end\n" in text
    code, found = told()
    assert code == 0 and [one["state"] for one in found["lost"]] == ["stopped"]
    keep_run(results, "20991231-235959-0123abcd", [2], process="1@1")
    code, rows, text = say()
    assert code == 3 and (rows["stopped"][0], rows["lost"][0]) == ("2", "1")
    # what has to be looked at comes first
    assert text.index("\nlost: 1 cell of the sweep of 2099-12-31 23:59:59: ") < text.index("\nstopped: 2 cells")


TRACE = "Traceback (most recent call last):\n  File …\nStoreError: no space left"


def test_a_sweep_that_an_error_has_ended_is_lost_and_shows_its_traceback(results, say, told):
    store(results, 0, "failed", error="MemoryError: no more", trace="Traceback of cell 0")
    crash = {"state": "crashed", "error": "StoreError: no space left", "traceback": TRACE}
    keep_run(results, "20261122-105534-0123abcd", [1, 2], **crash)
    code, rows, text = say()
    reason = f"its process on {platform.node()} has ended by StoreError: no space left"
    assert code == 3 and rows["lost"][0] == "2" and rows["stopped"][0] == "0"
    assert f"\nlost: 2 cells of the sweep of 2026-11-22 10:55:34: {reason}\n" in text
    assert text.endswith("failed=all shows the whole traceback of each\n")
    code, _, text = say("failed=all")
    assert code == 3 and "failed: moons relu 2×3 seed 0" in text and "  Traceback of cell 0" in text
    assert f"lost: 2 cells of the sweep of 2026-11-22 10:55:34: {reason}\n  Traceback (most recent" in text
    code, _, text = say(f"failed={cell(2).key[:8]}")
    assert code == 3 and "StoreError" in text and "cell 0" not in text
    keys = sorted(cell(seed).key for seed in (1, 2))
    lost = {"sweep": "20261122-105534-0123abcd", "keys": keys, "error": reason, "traceback": TRACE}
    code, found = told("failed=all")
    assert code == 3 and found[1] == lost
    assert told()[1]["lost"][0]["traceback"] == TRACE


def test_no_stored_text_reaches_the_terminal_as_it_is(results, say):
    store(results, 0, "failed", error="a\x1b[2Jb")
    keep_run(results, "c\x1b[3Jd", [1], host="e\x1b[4Jf", process="1@1", age=STALE_SECONDS + 60)
    keep_run(results, "job", [2], host="node1", process="1@1", age=STALE_SECONDS + 60, job="9_\x1b[5J", log="/\x1b[6J")
    text = say()[2]
    assert "\x1b" not in text
    for shown in (r"a\x1b[2Jb", r"c\x1b[3Jd", r"e\x1b[4Jf", r"9_\x1b[5J", r"/\x1b[6J"):
        assert shown in text


def test_without_slurm_it_says_what_it_takes_for_queued(results, say, told):
    keys = [cell(seed).key for seed in range(3)]
    array = Array(0, 3, "7", "jumpstart-x")
    costs = dict.fromkeys(keys, 60.0)
    Records(results).keep_submission(
        Submission("x", "fleet_slurm", "/logs", 1, [[key] for key in keys], costs, False, [array])
    )
    keep_run(results, "task", [1], job="7_1", host="node1", machine="another", process="1@1", training={keys[1]: 0.0})
    code, rows, text = say()
    assert code == 0
    assert "note: SLURM is not here: there is no squeue; what has not begun is taken for queued" in text
    assert rows["running"][0] == "1" and rows["queued"][:2] == ["2", "2 tasks wait for a node"]
    code, found = told()
    assert found["remark"] == "SLURM is not here: there is no squeue" and found["jobs"] == ["7"]


def test_the_time_left_is_not_known_while_all_of_it_waits(results, say):
    Records(results).keep_submission(
        Submission("x", "fleet_slurm", "/", 1, [[cell(0).key]], {cell(0).key: 1.0}, False, [Array(0, 1, "7", "n")])
    )
    assert say()[1]["time left"][0] == "not known until something runs"


GARBAGE = ["", "{", "null", "[]", "[1]", '{"version": 1}', "\0", "[" * 100_000, '{"version": 1, "tasks": 3}']


@pytest.mark.filterwarnings("ignore::jumpstart_exp.sweep.records.RecordWarning")
def test_garbage_and_foreign_files_are_as_good_as_none(results, told, say):
    store(results, 0)
    keep_run(results, "good", [0, 1])
    folder = Records(results).folder
    for number, text in enumerate(GARBAGE):
        for kind in ("run", "cells", "submission"):
            (folder / f"garbage{number}.{kind}.json").write_text(text)
    keep_run(results, "odd", [2], training=[], process=7)
    keep_run(results, "newer", [3], version=99)
    (folder / "notes.txt").write_text("hello")
    (folder / "folder.run.json").mkdir()
    (results / "thesis.pdf").write_bytes(b"\xff\xfe")
    (results / "cells" / "notes.txt").write_text("hello")
    code, found = told()
    assert code == 0 and found["cells"] == {**COUNTS, "done": 1, "queued": 1}
    assert say()[0] == 0


def test_an_unreadable_part_is_a_warning(results, command):
    store(results, 0)
    (results / "cells" / "part-bad.parquet").write_bytes(b"nothing")
    done = command("format=json", module="jumpstart_exp.status")
    assert done.returncode == 0 and json.loads(done.stdout)["cells"] == {**COUNTS, "done": 1}
    assert done.stderr.startswith("warning: results/cells/part-bad.parquet is unreadable")
    assert done.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_can_be_looked_at(results, say):
    store(results, 0)
    keep_run(results, "good", [0, 1])
    before = sorted(results.rglob("*"))
    for path in [results, *results.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        code, rows, _ = say()
    finally:
        for path in [results, *results.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert code == 0 and rows["done"][0] == "1" and rows["queued"][0] == "1"
    assert sorted(results.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_who_may_only_read_sees_the_same(results, capsys):
    store(results, 0)
    keep_run(results, "dead", [1], process="1@1")
    modes = {path: path.stat().st_mode for path in results.parents if path.stat().st_mode & 0o055 != 0o055}
    for path, mode in modes.items():
        path.chmod(mode | 0o055)
    before = sorted(results.rglob("*"))
    capsys.readouterr()
    os.seteuid(65534)
    try:
        code = main(["format=json"])
    finally:
        os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)
    assert code == 3
    assert json.loads(capsys.readouterr().out)["cells"] == {**COUNTS, "done": 1, "lost": 1}
    assert sorted(results.rglob("*")) == before


def test_many_failures_and_losses_are_counted_and_some_are_listed(results, say, told):
    for seed in range(13):
        store(results, seed, "failed", error=f"error {seed}")
    for seed in range(20, 32):
        keep_run(results, f"run{seed}", [seed], process="1@1")
    code, rows, text = say()
    assert code == 3 and rows["failed"][0] == "13" and rows["lost"][0] == "12"
    assert text.count("\nfailed: ") == 10 and "… and 3 more that failed" in text
    assert text.count("\nlost: ") == 10 and "… and 2 more jobs and sweeps" in text
    _, found = told()
    assert len(found["failed"]) == 13 and len(found["lost"]) == 12


def test_failures_are_shown_whole(results, say, told):
    trace = 'Traceback:\n  File "x.py", line 1, in [bold]f\nValueError: a\x1b[2J'
    store(results, 0, "failed", error="ValueError: a", trace=trace)
    store(results, 1, "failed", error="MemoryError: no\nmore")
    store(results, 2)
    code, _, text = say("failed=all")
    ((head, *lines),) = (part.splitlines() for part in text.split("failed: ")[1:] if "seed 0" in part)
    assert code == 3 and text.count("failed: ") == 2
    assert head.startswith(f"moons relu 2×3 seed 0, key={cell(0).key}, engine eager on cpu")
    assert lines == ["  Traceback:", '    File "x.py", line 1, in [bold]f', "  ValueError: a\\x1b[2J"]
    assert "  MemoryError: no\n  more\n" in text  # older rows, and those of which there is no more
    code, _, text = say(f"failed={cell(1).key[:6]}")
    assert code == 3 and text.startswith("failed: moons relu 2×3 seed 1, key=") and text.count("failed: ") == 1
    code, found = told(f"failed={cell(0).key}")
    assert [(one["cell"], one["traceback"]) for one in found] == [("moons relu 2×3 seed 0", trace)]
    code, _, text = say(f"failed={cell(2).key}")
    assert code == 2 and text.count("\n") == 1 and "the beginning of a failed cell's key (2 cells failed)" in text


def test_without_failures_there_is_nothing_to_show(results, say):
    store(results, 0)
    assert say("failed=all")[::2] == (0, "no cell has failed\n")


@pytest.mark.parametrize("error", ["", "\n", "[bold]x[/nothing]", "x" * 5000, None])
def test_whatever_an_error_says_it_is_shown(results, say, error):
    store(results, 0, "failed", error=error)
    code, _, text = say()
    assert code == 3 and "failed: moons relu 2×3 seed 0: " + ((error or "").strip() or "failed") in text


NAMES = ["with space", "größe", "a'b", 'a"b', "a,b", "[red]", "[y", "a=b", "-dash", "a\nb"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_folder_may_have_any_name_and_be_quoted(results, say, name, quote):
    folder = results.parent / name
    folder.mkdir()
    store(folder, 0)
    code, rows, text = say(f"results_dir={quote}{name}{quote}")
    assert code == 0 and rows["done"][0] == "1" and f"{name}: 1 cell" in text


@pytest.mark.parametrize("name", ["'a", "a'", "\"a'", "'"])
def test_a_quote_alone_is_a_part_of_the_name(results, say, name):
    store(results.parent / name, 0)
    assert say(f"results_dir={name}")[0] == 0


def test_a_folder_that_is_not_there_is_an_error(results, say):
    code, _, text = say("results_dir=nowhere")
    assert code == 1 and text == "error: results_dir='nowhere': there is no such folder\n"
    (results.parent / "file").write_text("")
    assert say("results_dir=file")[0] == 1


def test_a_store_of_a_newer_version_is_an_error(results, say):
    store(results, 0)
    (part,) = (results / "cells").glob("*.parquet")
    table = pq.read_table(part)
    assert table.schema.metadata.keys() == {b"jumpstart_exp.store"}
    pq.write_table(table.replace_schema_metadata({"jumpstart_exp.store": "999"}), part)
    code, _, text = say()
    assert code == 1 and text.startswith("error: ") and text.count("\n") == 1


BAD = {
    "results": "'results' is not an argument",
    "--results_dir=x": "'--results_dir=x' is not an argument",
    "result_dir=x": "'result_dir=x' is not an argument",
    "results_dir=": "'results_dir=' is not an argument",
    "": "'' is not an argument",
    "format=xml": "format=xml is not allowed: one of table, json",
    "format=": "'format=' is not an argument",
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_arguments_are_refused_in_one_line(results, say, argument):
    code, _, text = say(argument)
    assert code == 2 and text.startswith(f"error: {BAD[argument]}") and text.count("\n") == 1


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_is_given_without_a_folder(say, tmp_path, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    code, _, text = say(flag)
    assert code == 0 and "python -m jumpstart_exp.status" in text
    assert all(word in text for word in ("done", "running", "queued", "failed", "stopped", "lost"))


def test_as_a_command(command, tmp_path):
    store(tmp_path / "results", 0)
    keep_run(tmp_path / "results", "run", [1], state="stopped")
    done = command("format=json", module="jumpstart_exp.status", fresh=True)
    assert done.returncode == 0 and json.loads(done.stdout)["cells"] == {**COUNTS, "done": 1, "stopped": 1}
    assert done.stderr == ""
