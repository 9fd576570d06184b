from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_engines import OneByOne, Threads
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines import Choice
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.sweep import fleets
from jumpstart_exp.sweep.fleets import PROCESS_BYTES, Phase, form_fleets, form_phases
from jumpstart_exp.sweep.time_left import makespan
from jumpstart_exp.sweep.workers import EngineSetup


class Groups(OneByOne):
    """Limited by the size of the largest cell."""

    @classmethod
    def fleet_limit(cls, cells, device):
        assert cells == sorted(cells, key=lambda cell: (-cell.depth, -cell.width))
        return 200 // cells[0].depth


def costs(cells: list[Cell]) -> dict[str, float]:
    return {cell.key: float(cell.depth * cell.width) for cell in cells}


def grid(*depths: int, widths: tuple[int, ...] = (2, 3)) -> list[Cell]:
    return [Cell(depth=depth, width=width) for depth in depths for width in widths]


@given(
    st.lists(
        st.builds(
            Cell,
            depth=st.integers(1, 300),
            width=st.integers(1, 30),
            network=st.sampled_from([NetworkSpec(), NetworkSpec(layout="conv2x1")]),
            dataset=st.sampled_from([Moons(), Moons(n_samples=50)]),
        ),
        min_size=1,
        unique=True,
    ),
    st.integers(1, 9),
)
def test_every_cell_is_in_one_fleet_of_its_kind(cells: list[Cell], processes: int) -> None:
    cost = costs(cells)
    formed = form_fleets(Groups, "cpu", cells, cost, processes)
    assert Counter(cell for fleet in formed for cell in fleet) == Counter(cells)
    for fleet in formed:
        assert len({(cell.dataset, cell.network.layout) for cell in fleet}) == 1
        assert len(fleet) <= max(1, 200 // max(cell.depth for cell in fleet))
    sums = [sum(cost[cell.key] for cell in fleet) for fleet in formed]
    assert sums == sorted(sums, reverse=True)


@pytest.mark.parametrize("processes", [2, 5])
def test_a_fleet_is_at_most_a_quarter_of_a_share_or_one_cell(processes: int) -> None:
    cells = [*grid(*range(1, 100)), Cell(depth=10_000)]
    cost = costs(cells)
    share = sum(cost.values()) / processes
    formed = form_fleets(OneByOne, "cpu", cells, cost, processes)
    assert [cell.depth for cell in formed[0]] == [10_000]
    assert all(sum(cost[cell.key] for cell in fleet) <= share / 4 for fleet in formed if len(fleet) > 1)
    assert max(map(len, formed)) > 3


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_end_together(processes: int) -> None:
    cells = grid(*range(1, 60))
    cost = costs(cells)
    sums = [sum(cost[cell.key] for cell in fleet) for fleet in form_fleets(OneByOne, "cpu", cells, cost, processes)]
    assert makespan(sums, processes) <= 1.05 * sum(sums) / processes


def test_cells_of_little_work_are_not_split_further_than_to_the_workers() -> None:
    cells = grid(8, 7, 6, 5)
    formed = form_fleets(OneByOne, "cpu", cells, dict.fromkeys(costs(cells), 0.1), 2)
    assert [[cell.depth for cell in fleet] for fleet in formed] == [[8, 8, 7, 7], [6, 6, 5, 5]]
    formed = form_fleets(OneByOne, "cpu", cells, dict.fromkeys(costs(cells), 10.0), 2)
    assert [[cell.depth for cell in fleet] for fleet in formed] == [[8], [8], [7], [7], [6], [6], [5], [5]]


def test_an_engine_with_threads_gets_all_at_once_largest_first() -> None:
    cells = [*grid(1, 7, 3), Cell(depth=2, width=100), Cell(depth=5, dataset=Moons(n_samples=50))]
    cost = costs(cells)
    formed = form_fleets(Threads, "cpu", cells, cost, 1)
    assert len(formed) == 2
    assert [cost[cell.key] for cell in formed[0]] == [200, 21, 14, 9, 6, 3, 2]


class Cuda(OneByOne):
    devices = ("cpu", "cuda")


class CudaSingles(Cuda):
    limit = 1


@pytest.mark.parametrize(
    ("engine", "device", "processes", "threads", "formed"),
    [
        (Threads, "cpu", 1, 3, [1]),
        (OneByOne, "cpu", 3, 1, range(12, 100)),
        (Cuda, "cuda", 1, 1, [1]),  # a GPU is filled by one process
        (CudaSingles, "cuda", 3, 1, [200]),
    ],
)
def test_processes_and_threads(
    monkeypatch: pytest.MonkeyPatch, engine: Any, device: str, processes: int, threads: int, formed: Container[int]
) -> None:
    monkeypatch.setattr(fleets, "available_memory_bytes", lambda device="cpu": 2**40)
    cells = grid(*range(1, 101))
    (phase,) = form_phases(cells, [Choice(engine, device)] * len(cells), 3, None, Path("data"))
    assert (phase.processes, phase.setup.threads) == (processes, threads)
    assert len(phase.fleets) in formed
    assert (phase.setup.engine, phase.setup.device) == (engine, device)


def test_no_more_processes_and_threads_than_cells() -> None:
    cells = grid(1, 2, 3, 4)
    choices = [Choice(Threads, "cpu")] * 3 + [Choice(OneByOne, "cpu")] * 5
    phases = form_phases(cells, choices, 64, None, Path("data"))
    assert [phase.at_once for phase in phases] == [3, 5]
    assert [phase.words() for phase in phases] == [
        "threads on cpu: 3 cells, 3 at once",
        "one_by_one on cpu: 5 cells, 5 at once",
    ]
    assert form_phases([], [], 64, None, Path("data")) == []


def phase(engine: Any, cells: list[Cell], workers: int) -> Phase:
    (made,) = form_phases(cells, [Choice(engine, "cpu")] * len(cells), workers, None, Path("data"))
    return made


def test_estimates_of_time_and_memory() -> None:
    cells = grid(40, 30, 20, 10, widths=(1, 2))
    threads = phase(Threads, cells, 2)
    assert threads.estimate_seconds() == 100
    assert threads.estimate_memory_bytes() == PROCESS_BYTES + 2**20 * 80
    setup = EngineSetup(OneByOne, "cpu", None, Path("data"))
    fleets_of_four = Phase(setup, [cells[:4], cells[4:]], costs(cells), 2)
    assert fleets_of_four.words() == "one_by_one on cpu: 8 cells in 2 fleets, 2 at once"
    assert fleets_of_four.estimate_seconds() == 210
    assert fleets_of_four.estimate_memory_bytes() == 2 * PROCESS_BYTES + 2**20 * 200
    assert phase(Threads, [*cells, Cell(depth=500)], 2).estimate_seconds() == 500


@pytest.mark.parametrize(
    ("engine", "at_once", "processes", "threads"),
    [
        (OneByOne, 8, 4, 1),
        (OneByOne, 3, 3, 1),
        (OneByOne, 1, 1, 1),
        (Threads, 8, 1, 4),
        (Threads, 3, 1, 3),
        (Threads, 1, 1, 1),
    ],
)
def test_a_phase_can_be_limited(engine: type[OneByOne], at_once: int, processes: int, threads: int) -> None:
    planned = phase(engine, [Cell(seed=seed) for seed in range(20)], 4)
    limited = planned.limited(at_once)
    assert (limited.processes, limited.setup.threads) == (processes, threads)
    assert (limited.fleets, limited.cost) == (planned.fleets, planned.cost)


def test_fleets_of_many_cells_are_formed_quickly() -> None:
    class Single(OneByOne):
        limit = 1

    cells = [Cell(depth=depth, seed=seed) for seed in range(200) for depth in range(1, 26)]
    assert len(form_fleets(Single, "cpu", cells, costs(cells), 2)) == 5000


def test_an_engine_that_takes_few_cells_is_not_asked_of_all_that_are_left_for_every_fleet() -> None:
    class Few(Cuda):
        limit = 70
        asked = 0

        @classmethod
        def fleet_limit(cls, cells: Sequence[Cell], device: str) -> int:
            cls.asked += len(cells)
            return cls.limit

    cells = [Cell(depth=depth, seed=seed) for seed in range(200) for depth in range(1, 26)]
    formed = form_fleets(Few, "cuda", cells, costs(cells), 1)
    assert [*map(len, formed)] == [70] * 71 + [30]
    assert Few.asked <= 4 * len(cells)


@pytest.mark.parametrize(("room", "threads"), [(0, 1), (2.5, 2), (100, 8)])
def test_no_more_threads_than_the_memory_holds_of_the_largest_cell(
    monkeypatch: pytest.MonkeyPatch, room: float, threads: int
) -> None:
    cells = [Cell(depth=depth, seed=seed) for depth in (1, 300) for seed in range(10)]
    free = PROCESS_BYTES + room * Threads.estimate_memory_bytes(cells[-1])
    monkeypatch.setattr(fleets, "available_memory_bytes", lambda device="cpu": int(free / 0.9) + 1)
    made = phase(Threads, cells, 8)
    assert (made.processes, made.setup.threads) == (1, threads)


@pytest.mark.parametrize(("room", "processes"), [(0, 1), (2.5, 2), (100, 8)])
def test_no_more_processes_than_the_memory_holds_of_the_largest_cell(
    monkeypatch: pytest.MonkeyPatch, room: float, processes: int
) -> None:
    cells = [Cell(depth=depth, seed=seed) for depth in (1, 300) for seed in range(10)]
    largest = PROCESS_BYTES + OneByOne.estimate_memory_bytes(cells[-1])
    monkeypatch.setattr(fleets, "available_memory_bytes", lambda device="cpu": int(room * largest / 0.9) + 1)
    (phase,) = form_phases(cells, [Choice(OneByOne, "cpu")] * len(cells), 8, None, Path("data"))
    assert phase.processes == processes
