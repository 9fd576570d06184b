"""Packing: which cells go into one task, and how much memory it needs."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import Choice
from jumpstart_exp.sweep.fleets import PROCESS_BYTES
from jumpstart_exp.sweep.time_left import makespan

START_SECONDS = 10.0
"""What a task takes before it trains: Python, torch, worker processes, the store."""

_MEMORY_TO_SPARE = 1.3


@dataclass(frozen=True)
class Batch:
    """Tasks that need the same: cells of one engine and dataset, the longest task first.

    `memory_bytes` is the estimate for a task, process included; `seconds` how long each task is estimated to take.
    """

    engine: str
    device: str
    tasks: Sequence[Sequence[Cell]]
    seconds: Sequence[float]
    memory_bytes: int


def pack(
    cells: Sequence[Cell], choices: Sequence[Choice], costs: Sequence[float], minutes: float, cpus: int
) -> list[Batch]:
    """Cells in tasks that are estimated to take so many minutes, or one cell where that takes longer.

    Args:
        cells: distinct cells.
        choices: each one's engine and device.
        costs: each one's estimated seconds on one core.
        minutes: what a task should take, its start included.
        cpus: cells that a task trains at the same time.
    """
    groups: dict[tuple[str, str, str], list[tuple[float, Cell, Choice]]] = {}
    for cell, choice, cost in zip(cells, choices, costs, strict=True):
        groups.setdefault((choice.engine.name, choice.device, cell.dataset.name), []).append((cost, cell, choice))
    batches = []
    for (engine, device, _), members in groups.items():
        # similar cells together: they end together, and need the same memory
        members.sort(key=lambda member: -member[0])
        lanes = cpus if device == "cpu" else 1
        limit = 60 * minutes - START_SECONDS
        tasks: list[list[tuple[float, Cell, Choice]]] = []
        loads: list[float] = []
        for member in members:
            if not tasks or (loads[0] and loads[0] + member[0] > limit):
                tasks.append([])
                loads = [0.0] * lanes
            tasks[-1].append(member)
            heapq.heapreplace(loads, loads[0] + member[0])
        memory = max(_memory([cell for _, cell, _ in task], task[0][2], cpus) for task in tasks)
        seconds = [START_SECONDS + makespan([cost for cost, _, _ in task], lanes) for task in tasks]
        batches.append(Batch(engine, device, [[cell for _, cell, _ in task] for task in tasks], seconds, memory))
    batches.sort(key=lambda batch: -max(batch.seconds))
    return batches


def _memory(cells: Sequence[Cell], choice: Choice, cpus: int) -> int:
    """What a task of these cells needs at most, all processes together."""
    engine = choice.engine
    largest = sorted((engine.estimate_memory_bytes(cell) for cell in cells), reverse=True)[:cpus]
    processes = 1 if engine.uses_threads else len(largest)
    return int(_MEMORY_TO_SPARE * ((1 + processes) * PROCESS_BYTES + sum(largest)))
