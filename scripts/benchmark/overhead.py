"""What a sweep costs beside its training, in time and memory: python -m benchmark.overhead CELLS FOLDER, in scripts/.

Composes the published grid over as many seeds as CELLS takes, hashes the keys, looks the cells up in the store, forms
fleets, writes ready-made results with curves of 100 rows as a sweep does, and looks every cell up again. FOLDER is a
folder on the disk to measure. Prints JSON. In a process of its own, so that the peak memory is this work's alone.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra

from benchmark.grid import DEPTHS, GRID, WIDTHS
from jumpstart_exp.cell import Cell
from jumpstart_exp.config.composition import compose_cells
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.schema import conf_dir, register_schema
from jumpstart_exp.engines import choose_engines
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.result import CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.fleets import form_phases
from jumpstart_exp.sweep.runner import STORE_AFTER_CELLS, plan

METHODS = ("relu", "sep_up")
CURVE_ROWS = 100
HYDRA_SAMPLE = 20


def measure(count: int, folder: Path) -> dict[str, float]:
    """Seconds for `count` cells by part, Hydra's own composition among them (a sample, scaled up), and peak memory."""
    seconds: dict[str, float] = {}

    @contextmanager
    def clock(part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - start

    register_schema()
    with initialize_config_dir(version_base="1.3", config_dir=conf_dir()):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        loader = hydra.config_loader
        assert isinstance(loader, ConfigLoaderImpl)
        master = compose("config", return_hydra_config=True)
        with clock("compose"):
            jobs = expand_jobs(loader, None, sweep_of(count))[:count]
            cells = compose_cells(loader, master, jobs)
        with clock("hydra"):
            for job in jobs[:: max(1, len(jobs) // HYDRA_SAMPLE)][:HYDRA_SAMPLE]:
                loader.load_sweep_config(master, list(job))
        seconds["hydra"] *= count / min(count, HYDRA_SAMPLE)
    with clock("key"):
        keys = {cell.key for cell in cells}
    assert len(keys) == count
    store = Store(folder)
    store.check_writable()
    with clock("look_up"):
        todo = plan(cells, store, "none")
    choose_engines("auto", "cpu", cells[:1])  # what it imports takes seconds, of one cell as of many
    with clock("fleets"):
        phases = form_phases(todo.to_train, choose_engines("auto", "cpu", todo.to_train), 2, None, folder)
        for phase in phases:
            phase.estimate_memory_bytes()
    kept = []
    numbers = np.random.default_rng(0)
    for first in range(0, count, STORE_AFTER_CELLS):
        results = [finished(cell, numbers) for cell in todo.to_train[first : first + STORE_AFTER_CELLS]]
        with clock("write"):
            store.write(results)
            kept += [replace(result, curve=(), census_start=None, census_last=None) for result in results]
    with clock("look_up"):
        again = plan(cells, store, "none")
    assert not again.to_train and len(kept) == count
    return {**seconds, "peak_bytes": own_peak_memory_bytes()}


def own_peak_memory_bytes() -> int:
    """Largest resident size of this program; Linux's `ru_maxrss` also counts the one that started it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak_memory_bytes()


def sweep_of(count: int) -> list[str]:
    """A command line's overrides for the published grid, over seeds enough for `count` cells."""
    axes = {"method": METHODS, "depth": DEPTHS, "width": WIDTHS}
    seeds = -(-count // (len(METHODS) * len(GRID)))
    return [f"seed=range(0,{seeds})", *(f"{name}={','.join(map(str, axis))}" for name, axis in axes.items())]


def finished(cell: Cell, numbers: np.random.Generator) -> Result:
    """A result as an engine hands it over, its numbers drawn."""
    curve = tuple(
        CurveRow(50 * row, *values) for row, values in enumerate(numbers.random((CURVE_ROWS, 9)).tolist(), start=1)
    )
    # the best accuracy is the larger, the best loss the smaller
    pairs = np.sort(numbers.random((4, 2)), axis=1).tolist()
    metrics = [Metric(low, high, 17) for low, high in pairs[:2]] + [Metric(high, low, 17) for low, high in pairs[2:]]
    before, after = (LayerCensus(*map(tuple, layers)) for layers in numbers.random((2, 4, cell.depth)).tolist())
    return Result(
        cell, "done", "native", "cpu", 500, 5000, None, *metrics, 3.0, 1.0, before, after, 0.5, 10**8, curve=curve
    )


def main() -> None:
    """Print the measurement as JSON."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=sys.argv[2]) as folder:
        print(json.dumps(measure(int(sys.argv[1]), Path(folder))))


if __name__ == "__main__":
    main()
