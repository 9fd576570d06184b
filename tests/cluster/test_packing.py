"""Packing: every cell in one task, tasks as long as asked for and with the memory that they need."""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster.packing import START_SECONDS, Batch, pack
from jumpstart_exp.data.cifar10 import Cifar10
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.engines import ENGINES, Choice
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec

CNN = NetworkSpec(layout="cnn")
OPTIMIZER = OptimizerSpec(epochs=1, batch_size=32)
PROCESS_BYTES = 400e6
"""What Python with torch takes at least."""


def moons(number: int) -> Cell:
    return Cell(depth=1 + number % 7, width=1 + number % 5, seed=number)


def images(number: int) -> Cell:
    dataset = [Mnist(), Cifar10()][number % 2]
    return Cell(dataset=dataset, network=CNN, depth=2, width=1 + number % 9, seed=number, optimizer=OPTIMIZER)


CHOICES: list[tuple[Callable[[int], Cell], Choice]] = [
    (moons, Choice(ENGINES["native"], "cpu")),
    (moons, Choice(ENGINES["eager"], "cpu")),
    (moons, Choice(ENGINES["stacked"], "cuda")),
    (images, Choice(ENGINES["eager"], "cpu")),
    (images, Choice(ENGINES["eager"], "cuda")),
]

costs = st.one_of(st.floats(1e-6, 1e5), st.sampled_from([1e-6, 1.0, 50.0, 60.0, 1000.0]))
works = st.lists(st.tuples(st.integers(0, len(CHOICES) - 1), costs), max_size=60)


def packed(work: Sequence[tuple[int, float]], minutes: float, cpus: int) -> tuple[list[Batch], dict[str, Any]]:
    made = [(CHOICES[kind][0](number), CHOICES[kind][1], cost) for number, (kind, cost) in enumerate(work)]
    known = {cell.key: (choice, cost) for cell, choice, cost in made}
    return pack(
        [cell for cell, _, _ in made], [one for _, one, _ in made], [cost for *_, cost in made], minutes, cpus
    ), known


def ends(task: Sequence[float], lanes: int) -> list[tuple[float, int]]:
    """When each lane is done, and how many cells it has had: each takes the next cell when it is free."""
    free = [(0.0, lane, 0) for lane in range(lanes)]
    for cost in task:
        at, lane, count = heapq.heappop(free)
        heapq.heappush(free, (at + cost, lane, count + 1))
    return [(at, count) for at, _, count in free]


@given(works, st.floats(0.01, 500), st.integers(1, 20))
def test_every_cell_is_in_one_task_and_batches_are_of_one_kind(work, minutes, cpus):
    batches, known = packed(work, minutes, cpus)
    keys = [cell.key for batch in batches for task in batch.tasks for cell in task]
    assert sorted(keys) == sorted(known)
    assert all(task for batch in batches for task in batch.tasks)
    kinds = []
    for batch in batches:
        cells = [cell for task in batch.tasks for cell in task]
        (dataset,) = {cell.dataset.name for cell in cells}
        assert {(known[cell.key][0].engine.name, known[cell.key][0].device) for cell in cells} == {
            (batch.engine, batch.device)
        }
        kinds.append((batch.engine, batch.device, dataset))
    assert len(set(kinds)) == len(kinds)


@given(works, st.floats(0.01, 500), st.integers(1, 20))
def test_a_task_takes_as_long_as_asked_for_unless_a_single_cell_takes_longer(work, minutes, cpus):
    batches, known = packed(work, minutes, cpus)
    for batch in batches:
        lanes = cpus if batch.device == "cpu" else 1
        assert len(batch.seconds) == len(batch.tasks)
        for task, seconds in zip(batch.tasks, batch.seconds, strict=True):
            lane_ends = ends([known[cell.key][1] for cell in task], lanes)
            assert seconds == pytest.approx(START_SECONDS + max(at for at, _ in lane_ends))
            for at, count in lane_ends:
                assert count <= 1 or START_SECONDS + at <= 60 * minutes * (1 + 1e-9)


@given(works, st.floats(0.01, 500), st.integers(1, 20))
def test_a_task_is_only_closed_where_the_next_cell_has_no_room(work, minutes, cpus):
    batches, known = packed(work, minutes, cpus)
    for batch in batches:
        lanes = cpus if batch.device == "cpu" else 1
        for task, after in zip(batch.tasks, batch.tasks[1:], strict=False):
            earliest = min(at for at, _ in ends([known[cell.key][1] for cell in task], lanes))
            assert earliest > 0  # no lane is left without a cell
            following = known[after[0].key][1]
            assert START_SECONDS + earliest + following > 60 * minutes * (1 - 1e-9)


@given(works, st.floats(0.01, 500), st.integers(1, 20))
def test_the_memory_holds_the_largest_cells_of_any_task_at_once(work, minutes, cpus):
    batches, known = packed(work, minutes, cpus)
    for batch in batches:
        for task in batch.tasks:
            sizes = sorted((known[cell.key][0].engine.estimate_memory_bytes(cell) for cell in task), reverse=True)[
                :cpus
            ]
            processes = 1 if batch.engine == "native" else len(sizes)
            assert batch.memory_bytes >= sum(sizes) + (1 + processes) * PROCESS_BYTES


@given(works)
def test_the_longest_batch_comes_first(work):
    batches, _ = packed(work, 10, 4)
    longest = [max(batch.seconds) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_tasks_by_hand():
    # two lanes of 50 seconds beside the start: 40 and 30 | 20 behind the 30 | 15 has no room: a task of its own
    given_costs = [20.0, 40.0, 15.0, 30.0]
    cells = [moons(number) for number in range(4)]
    (batch,) = pack(cells, [Choice(NativeEngine, "cpu")] * 4, given_costs, 1.0, 2)
    assert batch.tasks == [[cells[1], cells[3], cells[0]], [cells[2]]]
    assert batch.seconds == [60.0, 25.0]


def test_a_gpu_trains_one_after_the_other():
    cells = [moons(number) for number in range(3)]
    (batch,) = pack(cells, [Choice(ENGINES["stacked"], "cuda")] * 3, [20.0, 20.0, 20.0], 1.0, 8)
    assert [len(task) for task in batch.tasks] == [2, 1]


def test_nothing_is_packed_into_nothing():
    assert pack([], [], [], 30.0, 4) == []
