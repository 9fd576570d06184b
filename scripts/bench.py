"""The benchmark: plain torch, torch.func vmap and the engines side by side, one thread each.

    python scripts/bench.py [--quick] [--full] [--json FILE] [--figure FILE]

Every round times each contender on each of its networks, one after the other, with the machine's own float32 matrix
product between them, so that all see the same machine; the figures are medians over the rounds, in processor time. The
engines are timed through their public `train()`. `native` is timed on each of the 216 networks of the published grid,
`stacked` on the fleets that they form; plain torch and vmap on some of them, and the rest is interpolated: the table,
the figure and the JSON say which. Beside it: what a sweep costs per 1000 cells (on the clock), and its memory.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmark.contenders import (
    BenchmarkError,
    Contender,
    Trained,
    TrainedInFleets,
    cell_of,
    contenders,
    matmul_rate,
    train_seconds,
)
from benchmark.grid import DEPTHS, EPOCHS, GRID, WIDTHS, subgrid
from benchmark.plan import Plan
from benchmark.report import MATMUL_SIZE, Measured, summary
from benchmark.show import draw, print_report
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import jumpstart_exp
from jumpstart_exp.console import complain, notes, output
from jumpstart_exp.limits import cpu_count

MATMUL_EVERY = 20
"""Measurements between two of the matrix product."""


def main() -> None:
    """Measure, print, draw, and write the JSON."""
    parser = argparse.ArgumentParser(description="Time the engines beside plain torch, one thread each.")
    parser.add_argument("--quick", action="store_true", help="fewer networks and rounds: within a minute")
    parser.add_argument("--full", action="store_true", help="train the whole grid for all its epochs with native, too")
    parser.add_argument(
        "--rounds", type=int, help="how often everything is timed; the default is 3, with --quick at most"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--figure", type=Path, metavar="FILE", default=Path("results/figures/bench.png"))
    options = parser.parse_args()
    try:
        report = run(Plan(options.quick, options.rounds), options.full)
        print_report(output(), report)
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=1) + "\n")
        draw(report, options.figure)
        output().print(f"figure: {options.figure}")
    except KeyboardInterrupt:
        complain("stopped: nothing was written")
        sys.exit(130)
    except (OSError, BenchmarkError) as error:
        complain(str(error))
        sys.exit(1)


def run(plan: Plan, full: bool) -> dict[str, Any]:
    """Measure everything; the report as it stands in the JSON."""
    started = time.perf_counter()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    machine = describe_machine()
    with progress() as bar:
        task = bar.add_task("overhead of a sweep", total=None)
        overhead = measure_overhead(plan.overhead_cells)
        bar.update(task, description="choosing the fastest plain torch")
        found, missing = contenders(**plan.limits)
        plan.hurry(time.perf_counter() - started)
        measured = time_rounds(found, plan, bar, started)
        if full:
            measured.trained = train_whole_grid(found, bar)
    return {
        "seconds": time.perf_counter() - started,
        "quick": plan.quick,
        "threads": 1,
        "epochs": EPOCHS,
        "machine": machine,
        "contenders": {contender.name: contender.about() for contender in found},
        "missing": missing,
        **summary(plan, measured),
        "overhead": overhead,
    }


def time_rounds(found: Sequence[Contender], plan: Plan, bar: Progress, started: float) -> Measured:
    """Rounds over all networks and contenders, interleaved; the last are left out where the time is up."""
    measured = Measured(steps={contender.name: {} for contender in found})
    shapes = {contender.name: set(plan.shapes(contender.name)) for contender in found}
    in_fleets = [contender for contender in found if isinstance(contender, TrainedInFleets)]
    task, done = bar.task_ids[0], 0
    bar.update(task, total=plan.rounds * (sum(map(len, shapes.values())) + len(in_fleets)))
    for number in range(1, plan.rounds + 1):
        round_started = time.perf_counter()
        bar.update(task, description=f"round {number} of {plan.rounds}")
        for contender in in_fleets:
            core_seconds = EPOCHS * contender.sample_grid(plan.seconds_of(contender.name))
            measured.grids.setdefault(contender.name, []).append(core_seconds)
            bar.advance(task)
        for shape in sorted(set().union(*shapes.values())):
            for contender in found:
                if shape not in shapes[contender.name]:
                    continue
                if done % MATMUL_EVERY == 0:
                    measured.matmul.append(matmul_rate(MATMUL_SIZE))
                done += 1
                seconds = contender.sample(shape, plan.seconds_of(contender.name))
                measured.steps[contender.name].setdefault(shape, []).append(seconds)
                bar.advance(task)
        now = time.perf_counter()
        if not bar.console.is_terminal:
            bar.console.print(f"round {number} of {plan.rounds}: {now - round_started:.0f} s")
        if now - started + (now - round_started) > plan.seconds:
            break
    return measured


def train_whole_grid(found: Sequence[Contender], bar: Progress) -> dict[str, float]:
    """Seconds that `native` takes for the grid, start-up and all, bare and with defaults.

    Each depth is a call, the two in turn. A network that diverged took fewer steps: the time is scaled up.
    """
    natives = [one for one in found if isinstance(one, Trained) and one.name.startswith("native")]
    task = bar.add_task("the whole grid", total=len(GRID) * len(natives))
    seconds = {contender.name: 0.0 for contender in natives}
    for depth in reversed(DEPTHS):
        cells = [cell_of(shape, EPOCHS) for shape in subgrid([depth], WIDTHS)]
        for contender in natives:
            took, steps = train_seconds(contender.engine, cells, lambda: bar.advance(task))
            seconds[contender.name] += took * len(cells) * EPOCHS / steps
    return seconds


def measure_overhead(cells: int) -> dict[str, Any]:
    """Seconds per 1000 cells by part and the peak memory of a sweep of `cells` cells, from a process of its own."""
    folder = Path("results").resolve()
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmark.overhead", str(cells), str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"measuring a sweep's overhead failed:\n{done.stderr.strip()}")
    measured = json.loads(done.stdout)
    parts = ("compose", "key", "look_up", "fleets", "write")
    per_1000 = {part: measured[part] / cells * 1000 for part in (*parts, "hydra")}
    per_1000["total"] = sum(per_1000[part] for part in parts)
    return {"cells": cells, "parts": parts, "per_1000": per_1000, "peak_bytes": measured["peak_bytes"]}


def describe_machine() -> dict[str, Any]:
    """Processor, cores that may be used, load before the start, versions."""
    cores = cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    if load > cores / 2:
        notes().print(f"[yellow]warning:[/] the machine is busy (load {load:.1f} on {cores} cores)")
    return {
        "cpu": _cpu(),
        "cores": cores,
        "load_before": load,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "jumpstart_exp": jumpstart_exp.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def progress() -> Progress:
    """A bar on standard error; none where that is no terminal."""
    console = notes()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


if __name__ == "__main__":
    main()
