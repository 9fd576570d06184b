"""Fleets: which cells are trained together, by which engine, and how many at once."""

import heapq
import itertools
import math
from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import Choice, Engine, once_for_all_seeds
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.limits import available_memory_bytes
from jumpstart_exp.sweep.time_left import makespan
from jumpstart_exp.sweep.workers import EngineSetup

PROCESS_BYTES = 450_000_000
"""Memory of a worker process before it trains anything: Python with torch."""

_ROOM = 0.9
"""The share of the free memory that processes may take."""

_PARTS = 4
"""A fleet is at most this part of a worker's share of the work that is left."""

_FIRST_LOOK = 64
"""Cells of which it is asked first how many fit into a fleet."""

_CALL_SECONDS = 100e-6
"""Seconds that a layer's calls take in a step, however many cells they are for: fleets of less work are too small."""


@dataclass(frozen=True)
class Phase:
    """What one engine trains on one device, in this order; of a pass the largest fleet first."""

    setup: EngineSetup
    fleets: Sequence[Sequence[Cell]]
    cost: Mapping[str, float]  # estimated seconds of every cell on one core, by key
    processes: int

    @property
    def units(self) -> Sequence[Sequence[Cell]]:
        """What is trained at a time: an engine with threads gives each a cell, any other a process a fleet."""
        if self.setup.engine.uses_threads:
            return [[cell] for fleet in self.fleets for cell in fleet]
        return self.fleets

    @property
    def at_once(self) -> int:
        """How many units are trained at the same time."""
        return self.processes * self.setup.threads

    def limited(self, at_once: int) -> "Phase":
        """The same with no more than this many units at the same time, at least one."""
        threads = max(1, min(self.setup.threads, at_once))
        processes = max(1, min(self.processes, at_once // threads))
        return replace(self, setup=replace(self.setup, threads=threads), processes=processes)

    def estimate_seconds(self) -> float:
        """Seconds of all of it."""
        return makespan([sum(self.cost[cell.key] for cell in unit) for unit in self.units], self.at_once)

    def estimate_memory_bytes(self) -> int:
        """Memory of its processes at their largest."""
        memory = once_for_all_seeds(self.setup.engine.estimate_memory_bytes)
        units = heapq.nlargest(self.at_once, (sum(map(memory, unit)) for unit in self.units))
        return self.processes * PROCESS_BYTES + sum(units)

    def words(self) -> str:
        """Engine, device, cells: "eager on cpu: 12 cells, 2 at once"."""
        count = sum(map(len, self.fleets))
        together = "" if len(self.units) == count else f" in {len(self.fleets)} fleet{'s' * (len(self.fleets) != 1)}"
        name = f"{self.setup.engine.name} on {self.setup.device}"
        return f"{name}: {count} cell{'s' * (count != 1)}{together}, {self.at_once} at once"


def form_phases(
    cells: Sequence[Cell],
    choices: Sequence[Choice],
    workers: int,
    curve_every: int | None,
    data_dir: Path,
    checkpoints: Checkpoints | None = None,
    pass_of: Mapping[str, int] | None = None,
) -> list[Phase]:
    """The phases of a sweep, one an engine and device; where there are passes, one a pass where the engine changes.

    Args:
        cells: distinct cells.
        choices: each one's engine and device.
        workers: cores to be used; fewer where the memory does not hold as many of the largest cell.
        curve_every: epochs between the rows of a curve; None for about 100 a cell.
        data_dir: folder of the datasets' files.
        checkpoints: where cells in training are kept; None for nowhere.
        pass_of: the number of each cell's pass, by key: a smaller one is trained first; None for one pass.
    """
    chosen: dict[tuple[type[Engine], str], list[Cell]] = {}
    for cell, choice in zip(cells, choices, strict=True):
        chosen.setdefault((choice.engine, choice.device), []).append(cell)
    passes: dict[int, list[Phase]] = {}
    for (engine, device), own in chosen.items():
        seconds = once_for_all_seeds(engine.estimate_seconds)
        cost = {cell.key: seconds(cell) for cell in own}
        has_gpu = not engine.uses_threads and _has_all(engine, device, own)
        at_once = 1 if has_gpu else min(workers, _fitting(engine, device, own))
        processes = 1 if engine.uses_threads else at_once
        of_pass: dict[int, list[Cell]] = {}
        for cell in own:
            of_pass.setdefault(pass_of[cell.key] if pass_of else 0, []).append(cell)
        formed = {number: form_fleets(engine, device, some, cost, processes) for number, some in of_pass.items()}
        largest = max(len(fleet) for fleets in formed.values() for fleet in fleets)
        threads = min(at_once, largest) if engine.uses_threads else 1
        setup = EngineSetup(engine, device, curve_every, data_dir, threads, checkpoints)
        for number, fleets in formed.items():
            own_cost = {cell.key: cost[cell.key] for fleet in fleets for cell in fleet}
            passes.setdefault(number, []).append(Phase(setup, fleets, own_cost, processes))
    return _joined([passes[number] for number in sorted(passes)])


def _joined(passes: Sequence[Sequence[Phase]]) -> list[Phase]:
    """All phases in order; the one that ends a pass goes on with the next pass's cells, its workers without a pause."""
    joined: list[Phase] = []
    for phases in passes:
        for phase in sorted(phases, key=lambda phase: not joined or phase.setup != joined[-1].setup):
            if joined and joined[-1].setup == phase.setup:
                before = joined[-1]
                fleets, cost = [*before.fleets, *phase.fleets], {**before.cost, **phase.cost}
                joined[-1] = replace(before, fleets=fleets, cost=cost)
            else:
                joined.append(phase)
    return [replace(phase, processes=min(phase.processes, len(phase.fleets))) for phase in joined]


def form_fleets(
    engine: type[Engine], device: str, cells: Sequence[Cell], cost: Mapping[str, float], processes: int
) -> list[list[Cell]]:
    """Cells that can be trained together, in fleets of similar ones, the largest fleet first.

    A process takes a fleet of at most a quarter of what would be its share of the work that is left, unless a single
    cell is more or the calls would take longer than the work in them: fleets become smaller, and all processes end
    together. An engine that has all cores or a GPU to itself gets the largest fleets that it takes.
    """
    groups: dict[Hashable, list[Cell]] = {}
    group_of = once_for_all_seeds(lambda cell: (cell.dataset, engine.fleet_group(cell)))
    for cell in cells:
        groups.setdefault(group_of(cell), []).append(cell)
    by_cost = sorted(groups.values(), key=lambda group: -sum(cost[cell.key] for cell in group))
    has_all = _has_all(engine, device, cells)
    total = left = sum(cost.values())
    fleets: list[list[Cell]] = []
    for group in by_cost:
        if engine.uses_threads:
            group.sort(key=lambda cell: -cost[cell.key])
        else:
            group.sort(key=lambda cell: (-cell.depth, -cell.width))
        ends = [0.0, *itertools.accumulate(cost[cell.key] for cell in group)]
        first = 0
        while first < len(group):
            calls = _CALL_SECONDS * group[first].optimizer.epochs * group[first].depth
            most = math.inf if has_all else max(left / (_PARTS * processes), min(calls, total / processes))
            fair = bisect_right(ends, ends[first] + most * (1 + 1e-9)) - 1
            fleet = _fitting_together(engine, device, group, first, max(fair, first + 1))
            fleets.append(fleet)
            left -= ends[first + len(fleet)] - ends[first]
            first += len(fleet)
    fleets.sort(key=lambda fleet: -sum(cost[cell.key] for cell in fleet))
    return fleets


def _fitting_together(engine: type[Engine], device: str, group: Sequence[Cell], first: int, end: int) -> list[Cell]:
    """The cells from the first on that fit into one fleet, one at least; few more than fit are looked at."""
    looked = _FIRST_LOOK
    while True:
        candidates = [*group[first : min(end, first + looked)]]
        limit = max(1, engine.fleet_limit(candidates, device))
        if limit < looked or first + looked >= end:
            return candidates[:limit]
        looked *= 2


def _fitting(engine: type[Engine], device: str, cells: Sequence[Cell]) -> int:
    """How many processes, or threads of one, have room for the largest cell at the same time, at least one."""
    largest = max(map(once_for_all_seeds(engine.estimate_memory_bytes), cells))
    room = available_memory_bytes(device)
    if device != "cpu":  # what a process takes on the device is about what it takes beside it
        room = min(room, available_memory_bytes())
    if engine.uses_threads:
        return max(1, (int(_ROOM * room) - PROCESS_BYTES) // max(1, largest))
    return max(1, int(_ROOM * room) // (PROCESS_BYTES + largest))


def _has_all(engine: type[Engine], device: str, cells: Sequence[Cell]) -> bool:
    """Whether one process is to have all cores, or the GPU: with threads, or where a GPU trains fleets."""
    if engine.uses_threads or device == "cpu":
        return engine.uses_threads
    smallest = min(cells, key=once_for_all_seeds(engine.estimate_memory_bytes))
    return engine.fleet_limit([smallest, smallest], device) > 1
