"""What a command takes before and beside its work: processor time as a ratio to importing what it cannot do without.

    python scripts/bench_startup.py [--rounds N] [--json FILE]

Every command is a process of its own, with one thread; its time is that of the processor, user and system. In a round
each runs once, one after the other, so that all meet the same machine; the median of the rounds is told. What trains
nothing is compared with `python -c "import hydra, pyarrow"`, a native cell with `import torch` beside these. The folder
has a store of the cell and of the sweep that are run again; each command is run once before it is timed.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table

from jumpstart_exp.console import output

PLAIN, WITH_TORCH = "import hydra, pyarrow", "import torch, hydra, pyarrow"
BESIDE: dict[str, list[str]] = {PLAIN: ["-c", PLAIN], WITH_TORCH: ["-c", WITH_TORCH]}
"""What the commands are compared with."""

AIMS = {PLAIN: 1.5, WITH_TORCH: 1.3}

_CELL, _SWEEP = "depth=1 width=2 optimizer.epochs=2", "-m depth=1,2 width=2,3 optimizer.epochs=2"

COMMANDS: dict[str, tuple[str, str]] = {
    "--help": ("jumpstart_exp --help", PLAIN),
    "a setting that does not exist": ("jumpstart_exp depht=3", PLAIN),
    "a value that is not allowed": ("jumpstart_exp depth=0", PLAIN),
    "a sweep of bad values": ("jumpstart_exp -m depth=1,3,...,10", PLAIN),
    "status": ("jumpstart_exp.status", PLAIN),
    "dry run": ("jumpstart_exp dry_run=true", PLAIN),
    "dry run of a sweep": (f"jumpstart_exp {_SWEEP} dry_run=true", PLAIN),
    "dry run of a study": ("jumpstart_exp -m +experiment=quick dry_run=true", PLAIN),
    "stored cell again": (f"jumpstart_exp {_CELL}", PLAIN),
    "finished sweep again": (f"jumpstart_exp {_SWEEP}", PLAIN),
    "native cell": (f"jumpstart_exp {_CELL} results_dir=new", WITH_TORCH),
}
"""A line of arguments behind `python -m`, and what it is compared with."""


def processor_seconds(arguments: list[str], folder: Path) -> float:
    """User and system time of a process with these arguments of Python's, whatever it prints and however it ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int, folder: Path) -> dict[str, list[float]]:
    """Processor seconds of every process, by its name, in so many rounds."""
    lines = {**BESIDE, **{name: ["-m", *line.split()] for name, (line, _) in COMMANDS.items()}}
    found: dict[str, list[float]] = {name: [] for name in lines}
    for turn in range(rounds + 1):
        for name, arguments in lines.items():
            shutil.rmtree(folder / "new", ignore_errors=True)
            taken = processor_seconds(arguments, folder)
            if turn:  # the first is the warm-up
                found[name].append(taken)
    return found


def main(given: list[str] | None = None) -> None:
    """Measure, print a table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as name:
        for line in (_CELL, _SWEEP):
            processor_seconds(["-m", "jumpstart_exp", *line.split()], Path(name))
        seconds = measure(options.rounds, Path(name))
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    rows: list[dict[str, Any]] = [
        {"command": name, "beside": beside, "ratio": middle[name] / middle[beside], "aim": AIMS[beside]}
        for name, (_, beside) in COMMANDS.items()
    ]
    table = Table(title=f"processor time, median of {options.rounds} rounds", title_justify="left", box=None)
    for column in ("", "s", "ratio", "aim", "beside"):
        table.add_column(column, justify="right" if column in ("s", "ratio", "aim") else "left", no_wrap=True)
    for name in BESIDE:
        table.add_row(name, f"{middle[name]:.2f}", "1", "", "")
    for row in rows:
        name = row["command"]
        table.add_row(name, f"{middle[name]:.2f}", f"{row['ratio']:.2f}", f"{row['aim']:.1f}", row["beside"])
    output().print(table)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"rounds": options.rounds, "seconds": seconds, "median_seconds": middle, "commands": rows}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
