"""`python -m jumpstart_exp.status`: what has become of every cell, at any time, from anywhere."""

import json
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from jumpstart_exp.console import complain, output, show_warning
from jumpstart_exp.settings import legible

if TYPE_CHECKING:
    from jumpstart_exp.cluster.survey import Loss, Survey

USAGE = """\
Usage: python -m jumpstart_exp.status [results_dir=results] [format=table|json]

Tells what has become of every cell in a results folder, of sweeps here and on a cluster:
  done      trained, the result is stored (diverged: its training met a NaN)
  running   in training now
  queued    a process or a job has it, but has not begun it
  failed    its training failed, and that is stored: retry=failed trains it again
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
    values = {"results_dir": "results", "format": "table"}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        if name not in values or not value:
            return _fail(f"{argument!r} is not an argument: results_dir=FOLDER, format=table|json or --help", 2)
        values[name] = value[1:-1] if len(value) > 1 and value[0] == value[-1] in ("'", '"') else value
    if values["format"] not in ("table", "json"):
        return _fail(f"format={values['format']} is not allowed: one of table, json", 2)
    return _status(Path(values["results_dir"]).expanduser(), as_json=values["format"] == "json")


def _status(results_dir: Path, *, as_json: bool) -> int:
    from jumpstart_exp.cluster.survey import Watch
    from jumpstart_exp.store import StoreError

    if not results_dir.is_dir():
        return _fail(f"results_dir={str(results_dir)!r}: there is no such folder", 1)
    try:
        survey = Watch(results_dir).look()
    except StoreError as error:
        return _fail(str(error), 1)
    if as_json:
        print(json.dumps(_plain(survey), indent=1))
    else:
        _show(results_dir, survey)
    counts = survey.counts()
    return 3 if counts["failed"] or counts["lost"] else 0


def _show(results_dir: Path, survey: "Survey") -> None:
    from jumpstart_exp.cluster.survey import words

    console = output()
    counts = survey.counts()
    cells = _count(sum(counts.values()), "cell", "cells")
    table = Table(title=escape(f"{results_dir}: {cells}"), title_justify="left", show_header=False)
    done = counts["done"] + counts["diverged"]
    table.add_row("done", str(done), f"{counts['diverged']} diverged" if counts["diverged"] else "")
    for state, hint in (
        ("running", f"in {_count(survey.tasks.get('running', 0), 'process', 'processes')}"),
        ("queued", _queued(survey)),
        ("failed", "retry=failed trains them again"),
        ("stopped", "the same command goes on"),
        ("lost", "the same command trains them again"),
    ):
        table.add_row(state, str(counts[state]), hint if counts[state] else "")
    table.add_row("time left", _time_left(survey), "")
    console.print(table)
    if survey.remark:
        console.print(
            f"[yellow]note:[/] {escape(legible(survey.remark, _LONGEST))}; what has not begun is taken for queued"
        )
    for failure in survey.failures[:_MOST]:
        error = legible(failure.error.splitlines()[0], _LONGEST)
        console.print(f"failed: {legible(failure.cell)}: {error}", markup=False)
    if len(survey.failures) > _MOST:
        console.print(f"… and {len(survey.failures) - _MOST} more that failed")
    for loss in sorted(survey.losses, key=lambda one: one.state != "lost")[:_MOST]:
        job = f"job {legible(loss.job)}" if loss.job else _sweep(loss)
        cells = _count(len(loss.keys), "cell", "cells")
        console.print(f"{loss.state}: {cells} of {job}: {legible(words(loss), _LONGEST)}", markup=False)
    if len(survey.losses) > _MOST:
        console.print(f"… and {len(survey.losses) - _MOST} more jobs and sweeps with cells that nothing trains")


def _sweep(loss: "Loss") -> str:
    """The sweep by its beginning, which its name begins with."""
    match = re.match(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-", loss.sweep, re.ASCII)
    return "the sweep of {}-{}-{} {}:{}:{}".format(*match.groups()) if match else legible(loss.sweep)


def _queued(survey: "Survey") -> str:
    tasks = survey.tasks.get("queued", 0)
    return f"{_count(tasks, 'task waits', 'tasks wait')} for a node" if tasks else "next in the processes that run"


def _time_left(survey: "Survey") -> str:
    from jumpstart_exp.sweep.progress import duration

    if not survey.active:
        return "–"
    if survey.seconds_left is None:
        return "not known until something runs"
    return f"about {duration(survey.seconds_left)}"


def _plain(survey: "Survey") -> dict[str, object]:
    return {
        "cells": survey.counts(),
        "tasks": dict(survey.tasks),
        "jobs": list(survey.jobs),
        "seconds_left": survey.seconds_left,
        "failed": [{"cell": one.cell, "error": one.error} for one in survey.failures],
        "lost": [
            {
                "sweep": one.sweep,
                "job": one.job,
                "keys": sorted(one.keys),
                "state": one.state,
                "reason": one.reason,
                "log": one.log,
            }
            for one in survey.losses
        ],
        "remark": survey.remark,
    }


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
