"""What a GPU has to show, by one command of at most 8 minutes: python scripts/gpu_check.py, or make gpu-check.

    python scripts/gpu_check.py [--minutes M] [--only PART …] [--dry] [--into FOLDER]

It takes CUDA and torch, but neither a network nor a compiler or an installation of jumpstart_exp, and writes
gpu_check.json and gpu_check.md into results/ after every part: who ends it early has what was found by then. A part has
a process of its own and a share of the time; what does not fit is left out or extrapolated, and says so. The exit code
is 1 where a check failed or a part could not be done, 2 where there is no CUDA device or a package is missing.

--dry does all of it in small on the CPU: it tries the check, not a GPU, and says so.
"""

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BEGUN = time.monotonic()
ROOT = Path(__file__).resolve().parent.parent
PATHS = [ROOT, ROOT / "scripts"]  # this checkout, whatever is installed
sys.path[:0] = map(str, PATHS)

from gpu.findings import Clock, Findings, markdown, write_findings, write_whole  # noqa: E402

PACKAGES = ("torch", "numpy", "pandas", "rich", "scipy")
"""What it needs; the store takes more, and is left out where that is missing."""

PARTS = {
    "contract": ("Contract: engines and penalties against float64 on the CPU", 1.3),
    "memory": ("Out of memory: fleets are halved", 0.5),
    "grid": ("The published grid: 7 methods × 10 seeds × 216 networks × 5,000 steps", 3.9),
    "images": ("A step of a CNN, with and without the penalty", 0.9),
    "processes": ("Several processes on one GPU, and workers of a sweep", 1.4),
}
"""Title and share of the time, in the order in which they are done."""

GRACE = 20.0
"""Seconds beyond its share after which a part is ended; they are kept back from the beginning."""


def main() -> int:
    """Do the parts, write what they find; the exit code."""
    options = _options()
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"error: {sys.executable} lacks {', '.join(missing)}: install it, or take another Python", file=sys.stderr
        )
        return 2
    if options.child:
        return child(options)
    if not options.dry:
        import torch

        if not torch.cuda.is_available():
            print("no CUDA device here: --dry tries the check itself, in small on the CPU", file=sys.stderr)
            return 2
    try:
        options.into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"error: --into {options.into}: {error.strerror}", file=sys.stderr)
        return 2
    return check(options)


def check(options: argparse.Namespace) -> int:
    """Every part in a process of its own (all in one if dry), reported as they are done."""
    begun, clock = datetime.now(UTC).isoformat(timespec="seconds"), BEGUN
    names = options.only or list(PARTS)
    found: dict[str, Findings] = {}
    machine: dict[str, Any] = {}
    for group in [names] if options.dry else [[name] for name in names]:
        left = 60 * options.minutes - GRACE - (time.monotonic() - clock)
        rest = sum(PARTS[name][1] for name in names if name not in found)
        allotted = [max(0.0, left * PARTS[name][1] / rest) for name in group]
        of_group, machine_of_group = _done_by_child(group, allotted, options)
        found |= of_group
        machine = machine or machine_of_group
        seconds = round(time.monotonic() - clock, 1)
        about = {"begun": begun, "seconds": seconds, "minutes": options.minutes, "dry": options.dry}
        is_ok = all(part.is_ok for part in found.values())
        write_findings(options.into / "gpu_check.json", found, ok=is_ok, machine=machine, **about)
        write_whole(options.into / "gpu_check.md", markdown(found, machine, **about))
        for name in group:
            print(f"{found[name].seconds:4.0f} s  {found[name].title}: {found[name].words}", flush=True)
    for part in found.values():
        for one in part.checks:
            if not one.ok:
                print(f"FAILED: {one.name}: {one.value:.3g}, allowed {one.allowed:.3g}")
    checks = sum(len(part.checks) for part in found.values())
    cut = sum(part.is_cut for part in found.values())
    holds = f"all {checks} checks hold" + f", {cut} of {len(found)} parts ended early" * (cut > 0)
    print(f"{options.into / 'gpu_check.md'}: {holds if is_ok else 'FAILED'}")
    return 0 if is_ok else 1


def _done_by_child(
    group: Sequence[str], allotted: Sequence[float], options: argparse.Namespace
) -> tuple[dict[str, Findings], dict[str, Any]]:
    """What a process found of these parts, also where it did not come to its end."""
    into = options.into / ".gpu_check_part.json"
    into.unlink(missing_ok=True)
    clock = time.monotonic()  # of the system, so that the process's own start counts
    command = [sys.executable, __file__, "--child", *group, "--seconds", *map(str, allotted), "--since", str(clock)]
    command += ["--into", str(into)]
    path = os.pathsep.join([*map(str, PATHS), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen([*command, *(["--dry"] if options.dry else [])], env={**os.environ, "PYTHONPATH": path})
    try:
        code = process.wait(sum(allotted) + GRACE)
        ended = f"its process ended with code {code}" if code else ""
    except subprocess.TimeoutExpired:
        ended = f"ended {GRACE:.0f} s after its time was over"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    said = json.loads(into.read_text()) if into.is_file() else {"parts": {}, "machine": {}}
    into.unlink(missing_ok=True)
    found = {name: Findings.read({k: v for k, v in part.items() if k != "ok"}) for name, part in said["parts"].items()}
    for name, seconds in zip(group, allotted, strict=True):
        if name not in found:
            found[name] = Findings(PARTS[name][0], time.monotonic() - clock, seconds, error="it did not begin")
        if ended and not found[name].error:
            found[name].error = ended
    return found, said["machine"]


def child(options: argparse.Namespace) -> int:
    """Do parts in this process; after every one what was found is written."""
    import torch
    from gpu import contract, device, grid, images, memory, processes

    here = Path(sys.modules["jumpstart_exp"].__file__ or "").parent.parent
    if here != ROOT:
        raise SystemExit(f"error: jumpstart_exp is imported from {here}, and not from {ROOT}")
    run: dict[str, Callable[[Findings, Clock, torch.device], None]] = {
        "contract": contract.run,
        "memory": memory.run,
        "grid": grid.run,
        "images": images.run,
        "processes": processes.run,
    }
    where = torch.device("cpu" if options.dry else "cuda")
    torch.set_num_threads(1)
    found: dict[str, Findings] = {}
    machine = device.machine(where)
    begun = options.since
    for name, seconds in zip(options.child, options.seconds, strict=True):
        part = found[name] = Findings(PARTS[name][0], allotted=seconds, on_gpu=not options.dry)
        clock = Clock(seconds, begun)
        part.keep = lambda: write_findings(options.into, found, machine=machine)
        try:
            run[name](part, clock, where)
        except Exception as error:  # whatever it is, the other parts go on
            lines = str(error).strip().splitlines() or [""]
            part.error = f"{type(error).__name__}: {lines[0]}"[:500]
            traceback.print_exc()
        if not (part.error or part.checks or part.tables):
            part.error = "nothing of it could be done in its time"
        begun = time.monotonic()
        part.seconds = begun - clock.begun
        if not part.error:
            device.free(where)
        part.keep()
    return 0


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not allowed: it must be a number above 0")
    return minutes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a GPU has to show, by one command of at most 8 minutes.")
    parser.add_argument(
        "--minutes", type=_minutes, default=8.0, help="of all parts together, at most; the default is 8"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--dry", action="store_true", help="all of it in small on the CPU: a check of the check")
    parser.add_argument("--into", type=Path, default=ROOT / "results", help="the folder of what it writes: results/")
    parser.add_argument("--child", nargs="+", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", nargs="+", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--since", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
