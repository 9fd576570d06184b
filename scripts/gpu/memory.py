"""A fleet that does not fit is halved until it does: all of its cells are trained and stored, with equal results."""

import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gpu.contract import results_apart
from gpu.device import cell_of, free, largest, moons
from gpu.findings import Clock, Findings
from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.engines.stacked.fleet import Fleet
from jumpstart_exp.engines.stacked.functional import FunctionalFleet
from jumpstart_exp.result import Result

PATHS: dict[str, dict[str, Any]] = {
    "padded matrices": {"penalty": {"kind": "UP"}},
    "torch.func": {"network": {"activation": "elu"}, "penalty": {"kind": "UP"}},
}

SHARES = (0.95, 0.55)
"""Of the memory that the whole fleet takes at its peak: nearly enough, which fails late, and half."""


def run(found: Findings, clock: Clock, device: torch.device) -> None:
    """Both ways in which a fleet is trained, each with all the memory and with two shares of it."""
    if missing := missing_of_store():
        found.notes.append(f"not stored: {', '.join(missing)} missing")
    networks, depth, width = (8, 3, 4) if device.type == "cpu" else (256, 40, 25)
    for name, config in PATHS.items():
        cells = [
            cell_of(
                **config,
                depth=depth,
                width=width,
                seed=seed,
                precision="float64",
                optimizer={"epochs": 8, "lr": 1e-4},
            )
            for seed in range(networks if name == "padded matrices" else networks // 4)
        ]
        free(device)
        if clock.is_over(found, name):
            return
        whole, attempts = _trained(cells, device)
        found.expect(f"{name}, all the memory: attempts at a cell", attempts, 1)
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
        for share in SHARES:
            if clock.is_over(found, f"{name}, {share:.0%} of the memory"):
                return
            free(device)
            found.on_gpu = found.on_gpu and device.type == "cuda"
            with _limited(device, int(share * peak)) if device.type == "cuda" else _refused(len(cells) * share):
                halved, attempts = _trained(cells, device)
            where = f"{name}, {share:.0%} of the memory"
            found.check(f"{where}: results", largest([results_apart(halved[k], one) for k, one in whole.items()]), 1e-9)
            # the fleet must have met the limit: without that, nothing was tried
            found.check(f"{where}: 2 attempts or more at a cell, {attempts}", 2 - attempts, 0)
            found.row(
                "Fleets",
                fleet=f"{len(cells)} × {depth}×{width}, {name}",
                memory=share,
                MiB=peak / 2**20,
                attempts=attempts,
            )
        found.keep()


def _trained(cells: Sequence[Cell], device: torch.device) -> tuple[dict[str, Result], int]:
    """Results as the store has them taken and given back, and how often the cell that was begun most was begun.

    Raises:
        AssertionError: a cell is not done, or not in the store.
    """
    got: dict[str, Result] = {}
    begun: dict[str, int] = dict.fromkeys((cell.key for cell in cells), 0)

    def begin(cell: Cell, epochs: float) -> None:
        begun[cell.key] += epochs == 0

    engine = StackedEngine(device.type, curve_every=4)
    engine.train(cells, moons(), on_result=lambda one: got.update({one.cell.key: one}), on_progress=begin)
    not_done = [one.error or one.status for one in got.values() if one.status != "done"]
    if not_done or len(got) != len(cells):
        raise AssertionError(f"{len(got)} of {len(cells)} cells have results, not done: {not_done[:1]}")
    if not missing_of_store():
        _store(list(got.values()))
    return got, max(begun.values())


def missing_of_store() -> list[str]:
    """Packages that the store takes and this Python has not."""
    packages = {"pyarrow": "pyarrow", "hydra": "hydra-core", "omegaconf": "omegaconf"}
    return [package for name, package in packages.items() if importlib.util.find_spec(name) is None]


def _store(results: Sequence[Result]) -> None:
    """Write results, and look whether all are there.

    Raises:
        AssertionError: one is not.
    """
    from jumpstart_exp.store import Store  # it takes more packages than all else here

    with tempfile.TemporaryDirectory() as folder:
        Store(folder).write(results)
        stored = Store(Path(folder)).stored()
    if {key for key, one in stored.items() if one.status == "done"} != {one.cell.key for one in results}:
        raise AssertionError(f"{len(stored)} of {len(results)} cells are in the store")


@contextmanager
def _limited(device: torch.device, size: int) -> Iterator[None]:
    """No more than so many bytes for torch's allocator."""
    total = torch.cuda.get_device_properties(device).total_memory
    number = torch.cuda.current_device()
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), number)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, number)


@contextmanager
def _refused(most: float) -> Iterator[None]:
    """On the CPU, in place of the limit: fleets of more cells than this are an error as CUDA's."""
    kept = Fleet.train_epoch, FunctionalFleet.train_epoch

    def failing(own: Any) -> Any:
        def train_epoch(fleet: Fleet | FunctionalFleet) -> None:
            if len(fleet.cells) > most:
                raise torch.OutOfMemoryError("stood in for")
            own(fleet)

        return train_epoch

    Fleet.train_epoch, FunctionalFleet.train_epoch = map(failing, kept)
    try:
        yield
    finally:
        Fleet.train_epoch, FunctionalFleet.train_epoch = kept
