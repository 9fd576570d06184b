"""The report of a store of made-up results: seconds for all of it, again, one heatmap and the page.

    python scripts/bench_report.py [--cells N] [--rounds N] [--against CHECKOUT] [--json FILE]

The store has the published grids (`benchmark/made_up.py`). Every command is a process of its own, with its start-up:

* all: everything, into an empty folder;
* again: the same once more, of unchanged results;
* heatmap: `figure=cpaior-2`;
* heatmaps: `only=heatmaps` of a store of one study;
* page: `only=page`.

A time is the least of the rounds, in seconds of the clock and of processors, all processes together. With another
checkout of the package, say the last release, its commands run in turns with these, and the ratios are before : after.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmark.made_up import write_store
from rich.table import Table

from jumpstart_exp.console import output
from jumpstart_exp.limits import cpu_count

OURS = Path(__file__).resolve().parents[1]
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "again": (),
    "heatmap": ("figure=cpaior-2",),
    "heatmaps": ("only=heatmaps",),
    "page": ("only=page",),
}
ONE_STUDY = 400
"""Cells of a store of one study: the first that are written."""


def timed(checkout: Path, folder: Path, arguments: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of the clock and of processors that a report takes."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "jumpstart_exp.report", f"results_dir={folder}", *arguments]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    taken, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def emptied(folder: Path) -> None:
    """Leave the store alone, of what the report makes nothing."""
    for name in ("figures", "tables"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (".drawn.json", "report.html"):
        (folder / name).unlink(missing_ok=True)


def measure(cells: int, rounds: int, checkouts: Mapping[str, Path]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Times by command and checkout, a pair a round."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {name: {of: [] for of in checkouts} for name in COMMANDS}
    with tempfile.TemporaryDirectory() as name:
        folders = {"heatmaps": Path(name, "study")}
        write_store(folders["heatmaps"], ONE_STUDY)
        store = Path(name, "store")
        write_store(store, cells)
        for _ in range(rounds):
            for of, checkout in checkouts.items():
                emptied(store)
                for command, arguments in COMMANDS.items():
                    folder = folders.get(command, store)
                    if command != "again":
                        emptied(folder)
                    found[command][of].append(timed(checkout, folder, arguments))
    return found


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--against", type=Path, help="another checkout of the package: before")
    parser.add_argument("--json", type=Path)
    typed = parser.parse_args()
    checkouts = {"after": OURS} if typed.against is None else {"before": typed.against.resolve(), "after": OURS}
    times = measure(typed.cells, typed.rounds, checkouts)
    least = {
        name: {of: [min(each) for each in zip(*rounds, strict=True)] for of, rounds in by_checkout.items()}
        for name, by_checkout in times.items()
    }
    table = Table(title=f"the report of {typed.cells:,} cells, {cpu_count()} processors: seconds (of processors)")
    for heading in ("command", *checkouts, *(["ratio"] if len(checkouts) > 1 else [])):
        table.add_column(heading)
    for name, by_checkout in least.items():
        told = [f"{clock:.1f} ({processors:.1f})" for clock, processors in by_checkout.values()]
        if len(by_checkout) > 1:
            (before, before_cpu), (after, after_cpu) = by_checkout.values()
            told.append(f"{before / after:.2f} ({before_cpu / after_cpu:.2f})")
        table.add_row(name, *told)
    output().print(table)
    if typed.json:
        typed.json.write_text(json.dumps({"cells": typed.cells, "processors": cpu_count(), "seconds": least}, indent=1))


if __name__ == "__main__":
    main()
