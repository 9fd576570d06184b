"""`python -m jumpstart_exp.status`: what has become of every cell, at any time, from anywhere."""

import gc

if __name__ == "__main__":
    gc.disable()  # the command is short, and of all that it imports nothing is ever freed

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.console import complain, output, set_up_output
from jumpstart_exp.folders import why_no_folder
from jumpstart_exp.settings import SettingError, legible, setting_error

if TYPE_CHECKING:
    from jumpstart_exp.cluster.sweep_state import SweepState
    from jumpstart_exp.store import Store

USAGE = """\
Usage: python -m jumpstart_exp.status [results_dir=results] [format=table|json] [failed=all|KEY]

Tells what has become of every cell in a results folder, of sweeps here and on a cluster:
  done      trained, the result is stored (diverged: its training met a NaN)
  running   in training now
  queued    a process or a job has it, but has not begun it
  failed    its training failed, and that is stored: retry=failed trains it again
  stopped   its sweep was stopped by Ctrl-C, SIGTERM or a hang-up: the same command goes on
  lost      nothing trains it any more and there is no result: the same command trains it again
and how long the rest takes as it goes now; where there are any, also
  left out        stored rows that no training can have written: a warning names them
  other numerics  cells that a version with other numerics trained: no figure, sweep or resume takes them
failed=all shows the whole traceback of every failed cell, and of every error that ended a sweep; failed=KEY
that of one cell (a key or its beginning).
It reads the folder, and asks SLURM where there is one;
where there is none, processes that gave no sign of life for a while count as dead.
Exit code: 0, or 1 if the folder cannot be read, 3 if cells failed or were lost.
"""

_MOST = 10
"""Failures and losses that are listed."""

_LONGEST = 5000
"""Characters of a stored text that are shown."""


def main(arguments: list[str]) -> int:
    """Print the status; returns the exit code: 0, 1 for no store, 2 for a bad argument, 3 for failed or lost cells."""
    set_up_output()
    refusal = "is not an argument: results_dir=FOLDER, format=table|json, failed=all|KEY or --help"
    try:
        given = read_arguments(arguments, {"results_dir": (), "format": ("table", "json"), "failed": ()}, refusal)
        if given is None:
            print(USAGE, end="")
            return 0
        return _status(given.values, given.folder("results_dir"))
    except SettingError as error:
        return _fail(str(error), 2)


def _status(values: Mapping[str, str], results_dir: Path) -> int:
    """Show the status, or the failures asked for.

    Raises:
        SettingError: no cell that failed has such a key.
    """
    from jumpstart_exp.cluster.sweep_state import SweepMonitor
    from jumpstart_exp.store import StoreError

    as_json = values.get("format") == "json"
    if why := why_no_folder(results_dir):
        return _fail(f"results_dir={str(results_dir)!r}: {why}", 1)
    try:
        monitor = SweepMonitor(results_dir)
        sweep = monitor.look()
        if "failed" in values:
            return _show_failed(_failures(monitor.follower.store, sweep, values["failed"]), as_json=as_json)
    except StoreError as error:
        return _fail(str(error), 1)
    if as_json:
        print(json.dumps(_plain(sweep), indent=1))
    else:
        _show(results_dir, sweep)
    counts = sweep.counts()
    return 3 if counts["failed"] or counts["lost"] else 0


def _failures(store: "Store", sweep: "SweepState", wanted: str) -> list[dict[str, Any]]:
    """All that is known of the failed cells whose key begins so, and of errors that lost such cells; or of all.

    Raises:
        SettingError: there is none of such a key.
    """
    columns = ["dataset", "method", "depth", "width", "seed", "engine", "device", "started", "error", "traceback"]
    rows = store.cells(columns, where={"status": "failed"})
    found: list[dict[str, Any]] = [
        {
            "key": str(row.key),
            "cell": f"{row.dataset} {row.method} {row.depth}×{row.width} seed {row.seed}",
            "engine": row.engine,
            "device": row.device,
            "started": row.started,
            "error": row.error if isinstance(row.error, str) else None,
            "traceback": row.traceback if isinstance(row.traceback, str) else None,
        }
        for row in rows.itertuples()
    ]
    found += [
        {"sweep": loss.sweep, "keys": sorted(loss.keys), "error": loss.reason, "traceback": loss.traceback}
        for loss in sweep.losses
        if loss.traceback is not None
    ]
    if wanted == "all":
        return found
    own = [one for one in found if any(key.startswith(wanted) for key in one.get("keys", [one.get("key", "")]))]
    if not own:
        allowed = f"all, or the beginning of a failed cell's key ({len(rows)} cells failed)"
        raise setting_error("failed", wanted, allowed)
    return own


def _show_failed(found: list[dict[str, Any]], *, as_json: bool) -> int:
    """Every failure with all that is known of it: its traceback, or its error where there is none."""
    if as_json:
        print(json.dumps(found, indent=1))
        return 3 if found else 0
    console = output()
    for one in found:
        if "sweep" in one:
            lost = _count(len(one["keys"]), "cell", "cells")
            head = f"lost: {lost} of {_sweep(one['sweep'])}: {one['error']}"
        else:
            how = f"engine {one['engine']} on {one['device']}, {one['started']}"
            head = f"failed: {one['cell']}, key={one['key']}, {how}"
        console.print(legible(head, _LONGEST), markup=False)
        for line in (one["traceback"] or one["error"] or "no error is stored").splitlines():
            console.print(f"  {legible(line, _LONGEST)}", markup=False)
    if not found:
        console.print("no cell has failed")
    return 3 if found else 0


def _show(results_dir: Path, sweep: "SweepState") -> None:
    from jumpstart_exp.cluster.sweep_state import words

    console = output()
    counts = sweep.counts()
    cells = _count(sum(counts.values()), "cell", "cells")
    table = Table(title=escape(f"{results_dir}: {cells}"), title_justify="left", show_header=False)
    done = counts["done"] + counts["diverged"]
    table.add_row("done", str(done), f"{counts['diverged']} diverged" if counts["diverged"] else "")
    for state, hint in (
        ("running", f"in {_count(sweep.tasks.get('running', 0), 'process', 'processes')}"),
        ("queued", _queued(sweep)),
        ("failed", "retry=failed trains them again"),
        ("stopped", "the same command goes on"),
        ("lost", "the same command trains them again"),
    ):
        table.add_row(state, str(counts[state]), hint if counts[state] else "")
    if sweep.left_out:
        table.add_row("left out", str(sweep.left_out), "rows that no training can have written")
    if sweep.of_other_numerics:
        table.add_row("other numerics", str(sweep.of_other_numerics), "no figure, sweep or resume takes them")
    table.add_row("time left", _time_left(sweep), "")
    console.print(table)
    if sweep.remark:
        console.print(
            f"[yellow]note:[/] {escape(legible(sweep.remark, _LONGEST))}; what has not begun is taken for queued"
        )
    for failure in sweep.failures[:_MOST]:
        error = legible(failure.error.splitlines()[0], _LONGEST)
        console.print(f"failed: {legible(failure.cell)}: {error}", markup=False)
    if len(sweep.failures) > _MOST:
        console.print(f"… and {len(sweep.failures) - _MOST} more that failed")
    for loss in sorted(sweep.losses, key=lambda one: one.state != "lost")[:_MOST]:
        job = f"job {legible(loss.job)}" if loss.job else _sweep(loss.sweep)
        cells = _count(len(loss.keys), "cell", "cells")
        console.print(f"{loss.state}: {cells} of {job}: {legible(words(loss), _LONGEST)}", markup=False)
    if len(sweep.losses) > _MOST:
        console.print(f"… and {len(sweep.losses) - _MOST} more jobs and sweeps with cells that nothing trains")
    if sweep.failures or any(loss.traceback for loss in sweep.losses):
        console.print("failed=all shows the whole traceback of each")


def _sweep(name: str) -> str:
    """The sweep by its beginning, which its name begins with."""
    match = re.match(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-", name, re.ASCII)
    return "the sweep of {}-{}-{} {}:{}:{}".format(*match.groups()) if match else legible(name)


def _queued(sweep: "SweepState") -> str:
    if tasks := sweep.tasks.get("queued", 0):
        return f"{_count(tasks, 'task waits', 'tasks wait')} for a node"
    if sweep.counts()["running"]:
        return "next in the processes that run"
    begins = sweep.tasks.get("running", 0)
    return f"in {_count(begins, 'process that trains', 'processes that train')} nothing yet" if begins else ""


def _time_left(sweep: "SweepState") -> str:
    from jumpstart_exp.sweep.progress import duration

    if not sweep.active:
        return "–"
    if sweep.seconds_left is None:
        return "not known until something runs"
    return f"about {duration(sweep.seconds_left)}"


def _plain(sweep: "SweepState") -> dict[str, object]:
    return {
        "cells": sweep.counts(),
        "tasks": dict(sweep.tasks),
        "jobs": list(sweep.jobs),
        "seconds_left": sweep.seconds_left,
        "failed": [{"cell": one.cell, "error": one.error} for one in sweep.failures],
        "lost": [
            {
                "sweep": one.sweep,
                "job": one.job,
                "keys": sorted(one.keys),
                "state": one.state,
                "reason": one.reason,
                "log": one.log,
                "traceback": one.traceback,
            }
            for one in sweep.losses
        ],
        "remark": sweep.remark,
        "left_out": sweep.left_out,
        "other_numerics": sweep.of_other_numerics,
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
