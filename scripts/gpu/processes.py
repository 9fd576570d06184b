"""Several processes on one GPU: how many steps of a CNN they take together."""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from gpu.device import cell_of, images, synchronise
from gpu.findings import Clock, Findings
from jumpstart_exp.engines.eager.engine import EagerEngine, torch_for
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.result import Result
from jumpstart_exp.sweep.workers import EngineSetup, train_in_parallel

START = 60.0
"""Seconds that processes have to get ready, at most."""


def run(found: Findings, clock: Clock, device: torch.device) -> None:
    """Workers of a sweep; CIFAR-10 20×32 with Sep-UP by 1, 2 and 4 processes, all at the same time."""
    is_dry = device.type == "cpu"
    if is_dry:
        found.notes.append("small CNNs on the CPU, in place of these")
    _sweep(found, device)
    found.keep()
    alone: float | None = None
    for count in (1, 2) if is_dry else (1, 2, 4):
        if clock.is_over(found, f"{count} processes", needs=0 if is_dry else 15):
            return
        steps = _together(count, 0.3 if is_dry else 5.0, device)
        alone = alone or steps
        rates = {"a second": steps, "× one": steps / alone}
        found.row("Steps of CIFAR-10 20×32, batch 128, Sep-UP", processes=count, **rates)
        found.keep()


def _sweep(found: Findings, device: torch.device) -> None:
    """Cells trained by the workers of a sweep: begun anew beside this process, which has begun CUDA itself."""
    torch.zeros(1, device=device)
    for engine in (StackedEngine, EagerEngine):
        cells = [
            cell_of(dataset={"name": "strip"}, depth=2, width=4, seed=seed, optimizer={"epochs": 10})
            for seed in range(4)
        ]
        setup = EngineSetup(engine, device.type, None, Path("no files needed"))
        said = train_in_parallel([cells[:2], cells[2:]], setup, 2)
        results = [one for one in said if isinstance(one, Result)]
        done = [one for one in results if one.status == "done" and one.device == device.type]
        found.expect(f"{engine.name}: cells trained by two workers of a sweep", len(done), len(cells))
        found.notes += [f"{engine.name}: {one.error}" for one in results if one.error][:1]


def _together(count: int, span: float, device: torch.device) -> float:
    """Steps a second of so many processes, begun when all are ready.

    Raises:
        AssertionError: one of them ended, or did not get ready in time.
    """
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; from gpu.processes import work; work()"]
    begun = time.monotonic()
    workers = [
        subprocess.Popen([*command, device.type, str(span)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for worker in workers:
            assert worker.stdin is not None and worker.stdout is not None
            if worker.stdout.readline() != "ready\n":
                raise AssertionError(f"a process of {count} ended with code {worker.wait()} before it was ready")
            if time.monotonic() - begun > START:
                raise AssertionError(f"{count} processes were not ready within {START:.0f} s")
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        answers = [worker.communicate(timeout=span + START)[0] for worker in workers]
        if any(worker.returncode for worker in workers):
            raise AssertionError(f"a process of {count} ended with code {max(w.returncode or 0 for w in workers)}")
        return sum(float(json.loads(answer)) for answer in answers)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


def work() -> None:
    """One of the processes: says that it is ready, waits for its word, and says how many steps a second it took."""
    device, span = torch.device(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(1)
    depth, width, batch = (2, 4, 8) if device.type == "cpu" else (20, 32, 128)
    cell = cell_of(
        dataset={"name": "cifar10", "n_train": 2 * batch, "n_val": 100},
        depth=depth,
        width=width,
        network={"layout": "cnn", "head": "max_avg_pool"},
        penalty={"kind": "UP"},
        optimizer={"batch_size": batch, "epochs": 1_000_000},
    )
    with torch_for(cell):
        training = Training(cell, images(cell), device)
        points = torch.arange(batch, device=device)
        step = training._train_batch if training.replayed is None else training._replay
        for _ in range(6):
            step(0, 0, points)
        synchronise(device)
        print("ready", flush=True)
        if sys.stdin.readline() != "go\n":
            return
        begun, steps = time.perf_counter(), 0
        while time.perf_counter() - begun < span:
            for _ in range(20 if device.type == "cuda" else 1):
                step(0, 0, points)
            synchronise(device)
            steps += 20 if device.type == "cuda" else 1
        print(json.dumps(steps / (time.perf_counter() - begun)), flush=True)
