"""`python -m jumpstart_exp.status`: what has become of every cell, at any time, from anywhere."""

import json
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from jumpstart_exp.arguments import read_arguments
from jumpstart_exp.console import complain, output, show_warning
from jumpstart_exp.settings import SettingError, legible, setting_error

if TYPE_CHECKING:
    import pandas as pd

    from jumpstart_exp.cluster.sweep_state import Loss, SweepState
    from jumpstart_exp.store import Store

USAGE = """\
Usage: python -m jumpstart_exp.status [results_dir=results] [format=table|json] [failed=all|KEY]

Tells what has become of every cell in a results folder, of sweeps here and on a cluster:
  done      trained, the result is stored (diverged: its training met a NaN)
  running   in training now
  queued    a process or a job has it, but has not begun it
  failed    its training failed, and that is stored: retry=failed trains it again, failed=all shows each
            one's whole traceback, failed=KEY that of one (a key or its beginning)
  stopped   its sweep was stopped by Ctrl-C or SIGTERM: the same command goes on
  lost      nothing trains it any more and there is no result: the same command trains it again
and how long the rest takes as it goes now. It reads the folder, and asks SLURM where there is one;
where there is none, processes that gave no sign of life for a while count as dead.
Exit code: 0, or 1 if the folder cannot be read, 3 if cells failed or were lost.
"""

_MOST = 10
"""Failures and losses that are listed."""

_LONGEST = 5000
"""Characters of a stored text that are shown."""


def main(arguments: list[str]) -> int:
    """Print the status; returns the exit code: 0, 1 for no store, 2 for a bad argument, 3 for failed or lost cells."""
    warnings.showwarning = show_warning
    refusal = "is not an argument: results_dir=FOLDER, format=table|json, failed=all|KEY or --help"
    try:
        given = read_arguments(arguments, {"results_dir": (), "format": ("table", "json"), "failed": ()}, refusal)
        if given is None:
            print(USAGE, end="")
            return 0
        return _status(given.values)
    except SettingError as error:
        return _fail(str(error), 2)


def _status(values: Mapping[str, str]) -> int:
    """Show the status, or the failures asked for.

    Raises:
        SettingError: no cell that failed has such a key.
    """
    from jumpstart_exp.cluster.sweep_state import SweepMonitor
    from jumpstart_exp.store import Store, StoreError

    results_dir, as_json = Path(values.get("results_dir", "results")).expanduser(), values.get("format") == "json"
    if not results_dir.is_dir():
        return _fail(f"results_dir={str(results_dir)!r}: there is no such folder", 1)
    try:
        if "failed" in values:
            return _show_failed(_failed(Store(results_dir), values["failed"]), as_json=as_json)
        sweep = SweepMonitor(results_dir).look()
    except StoreError as error:
        return _fail(str(error), 1)
    if as_json:
        print(json.dumps(_plain(sweep), indent=1))
    else:
        _show(results_dir, sweep)
    counts = sweep.counts()
    return 3 if counts["failed"] or counts["lost"] else 0


def _failed(store: "Store", wanted: str) -> "pd.DataFrame":
    """The rows of the failed cells whose key begins so, or of all.

    Raises:
        SettingError: there is none of such a key.
    """
    columns = ["dataset", "method", "depth", "width", "seed", "engine", "device", "started", "error", "traceback"]
    rows = store.cells(columns, where={"status": "failed"})
    if wanted == "all":
        return rows
    own = rows[rows["key"].str.startswith(wanted)]
    if own.empty:
        raise setting_error(
            "failed", wanted, f"all, or the beginning of a failed cell's key ({len(rows)} cells failed)"
        )
    return own


def _show_failed(rows: "pd.DataFrame", *, as_json: bool) -> int:
    """Every failure with all that is known of it: its traceback, or its error where there is none."""
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
    if as_json:
        print(json.dumps(found, indent=1))
        return 3 if found else 0
    console = output()
    for one in found:
        head = f"failed: {one['cell']}, key={one['key']}, engine {one['engine']} on {one['device']}, {one['started']}"
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
    if sweep.failures:
        console.print("failed=all shows the whole traceback of each")
    for loss in sorted(sweep.losses, key=lambda one: one.state != "lost")[:_MOST]:
        job = f"job {legible(loss.job)}" if loss.job else _sweep(loss)
        cells = _count(len(loss.keys), "cell", "cells")
        console.print(f"{loss.state}: {cells} of {job}: {legible(words(loss), _LONGEST)}", markup=False)
    if len(sweep.losses) > _MOST:
        console.print(f"… and {len(sweep.losses) - _MOST} more jobs and sweeps with cells that nothing trains")


def _sweep(loss: "Loss") -> str:
    """The sweep by its beginning, which its name begins with."""
    match = re.match(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-", loss.sweep, re.ASCII)
    return "the sweep of {}-{}-{} {}:{}:{}".format(*match.groups()) if match else legible(loss.sweep)


def _queued(sweep: "SweepState") -> str:
    tasks = sweep.tasks.get("queued", 0)
    return f"{_count(tasks, 'task waits', 'tasks wait')} for a node" if tasks else "next in the processes that run"


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
            }
            for one in sweep.losses
        ],
        "remark": sweep.remark,
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
