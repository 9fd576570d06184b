import dataclasses
import io
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_engines import OneByOne, Threads
from rich.console import Console

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.result import Result
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.sweep import progress
from jumpstart_exp.sweep.fleets import Phase, form_fleets
from jumpstart_exp.sweep.progress import Outcome, SweepProgress, epoch_progress, outcome_table
from jumpstart_exp.sweep.time_left import makespan
from jumpstart_exp.sweep.workers import EngineSetup

DEPTHS = [*range(1, 6), *range(10, 55, 5), *range(60, 160, 10)]
WIDTHS = [*range(1, 6), *range(10, 30, 5)]
GRID = [Cell(depth=depth, width=width) for depth in DEPTHS for width in WIDTHS]
START_UP = 4.0


def estimated(cell: Cell) -> float:
    return cell.depth * (1 + cell.width**2 / 50)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def phase_of(engine: Any, cells: Sequence[Cell], at_once: int) -> Phase:
    cost = {cell.key: estimated(cell) for cell in cells}
    processes = 1 if engine.uses_threads else at_once
    fleets = form_fleets(engine, "cpu", cells, cost, processes)
    setup = EngineSetup(engine, "cpu", None, Path("data"), at_once if engine.uses_threads else 1)
    return Phase(setup, fleets, cost, processes)


def played(
    shown: SweepProgress, phase: Phase, clock: Clock, seconds: float, truth: Callable[[float], float] = float
) -> Iterator[tuple[float, float | None]]:
    """Play a phase that takes about `seconds`: the true and the estimated time left, every quarter of a second.

    A unit takes the sum of its cells' costs, each off by up to a tenth; its cells train together. `truth` makes the
    true costs of the estimated ones, up to a factor.
    """
    noise = random.Random(1)
    scale = seconds * phase.at_once / sum(map(truth, phase.cost.values()))
    free = [clock.now + START_UP] * phase.at_once
    plan: list[tuple[Sequence[Cell], float, float]] = []
    for unit in phase.units:
        worker = free.index(min(free))
        took = scale * sum(truth(phase.cost[cell.key]) * noise.uniform(0.9, 1.1) for cell in unit)
        plan.append((unit, free[worker], free[worker] + took))
        free[worker] += took
    shown.begin(phase)
    finished: set[str] = set()
    end = max(free)
    while clock.now < end:
        for unit, begins, ends in plan:
            for cell in unit if begins <= clock.now else ():
                if clock.now < ends:
                    fraction = (clock.now - begins) / (ends - begins)
                    shown.training(cell, int(fraction * cell.optimizer.epochs))
                elif cell.key not in finished:
                    finished.add(cell.key)
                    shown.finished(Result(cell, "done", "fake"))
        yield end - clock.now, shown.seconds_left()
        clock.now += 0.25


class Fleets(OneByOne):
    limit = 64


class Singles(OneByOne):
    limit = 1


@pytest.mark.parametrize("seconds", [60.0, 3000.0])
@pytest.mark.parametrize("at_once", [1, 2, 7])
@pytest.mark.parametrize("engine", [Singles, Fleets, Threads])
def test_the_time_left_is_within_a_fifth_after_a_tenth(engine: Any, at_once: int, seconds: float, clock: Clock) -> None:
    phase = phase_of(engine, GRID, at_once)
    shown = SweepProgress([phase], Console(quiet=True))
    moments = list(played(shown, phase, clock, seconds))
    whole = moments[0][0]
    checked = [(true, left) for true, left in moments if 0.1 * whole <= true <= 0.9 * whole]
    assert len(checked) > 150
    for true, left in checked:
        assert left is not None
        assert abs(left - true) <= 0.2 * true, f"{left:.1f} s said, {true:.1f} s true, of {whole:.1f} s"


@pytest.mark.parametrize("power", [0.93, 1.07])
@pytest.mark.parametrize("engine", [Singles, Fleets, Threads])
def test_estimates_that_err_by_size_mislead_little(engine: Any, power: float, clock: Clock) -> None:
    """The largest cells take two thirds more, or that much less, beside the smallest than was estimated."""
    phase = phase_of(engine, GRID, 2)
    shown = SweepProgress([phase], Console(quiet=True))
    moments = list(played(shown, phase, clock, 300.0, lambda cost: cost**power))
    whole = moments[0][0]
    for true, left in moments:
        if 0.1 * whole <= true <= 0.9 * whole:
            assert left is not None and abs(left - true) <= 0.3 * true


def test_another_engine_whose_costs_are_off_by_another_factor_has_its_own_pace(clock: Clock) -> None:
    first, second = phase_of(Threads, GRID, 2), phase_of(Singles, [Cell(depth=d, width=7) for d in range(1, 100)], 2)
    shown = SweepProgress([first, second], Console(quiet=True))
    for _, left in played(shown, first, clock, 60.0):
        if left is not None:  # the second is guessed from the first
            assert left > 60.0 * second.estimate_seconds() / first.estimate_seconds() * 0.8
    moments = list(played(shown, second, clock, 600.0))
    for true, left in moments:
        if 60 <= true <= 540:
            assert left is not None and abs(left - true) <= 0.2 * true


def test_a_cell_that_ends_early_or_begins_again_does_not_mislead(clock: Clock) -> None:
    cells = [Cell(depth=10, width=4, seed=seed) for seed in range(10)]
    phase = phase_of(Singles, cells, 1)
    shown = SweepProgress([phase], Console(quiet=True))
    shown.begin(phase)
    shown.training(cells[0], 0)
    clock.now += 70  # a worker's first step is slow: it says nothing of the pace
    shown.training(cells[0], 1)
    assert shown.seconds_left() is None
    clock.now += 10
    shown.finished(Result(cells[0], "done", "fake"))
    assert shown.seconds_left() == pytest.approx(90, rel=1e-3)
    shown.training(cells[1], 0)
    clock.now += 1
    shown.finished(Result(cells[1], "diverged", "fake", epochs_run=500))
    assert shown.seconds_left() == pytest.approx(80, rel=1e-3)
    shown.training(cells[2], 2500)
    clock.now += 5
    shown.training(cells[2], 2500)
    shown.training(cells[2], 0)  # its worker died: a new one begins anew
    left = shown.seconds_left()
    assert left is not None and 80 <= left <= 100
    shown.training(cells[0], 5000)  # late news of a finished cell
    assert shown.seconds_left() == left


def test_epochs_with_dropout_take_their_share_of_the_time() -> None:
    cell = Cell(depth=50, width=25, dropout=DropoutSpec(0.9, 1000))
    shares = [NativeEngine.share_done(cell, epochs) for epochs in (0, 500, 1000, 3000, 5000)]
    assert shares[0] == 0 and shares[4] == 1
    assert shares[2] == pytest.approx(2 * shares[1]) and shares[1] > 0.12  # not 0.1
    assert shares[4] - shares[3] == pytest.approx(shares[3] - shares[2])
    plain = dataclasses.replace(cell, dropout=DropoutSpec())
    assert NativeEngine.share_done(plain, 500) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("units", "at_once", "begun", "takes"),
    [([3, 2, 2], 1, [], 7), ([3, 2, 2], 2, [], 4), ([3, 2, 2], 9, [], 3), ([2, 1], 2, [5], 5), ([], 2, [], 0)],
)
def test_the_time_that_workers_take(units: list[float], at_once: int, begun: list[float], takes: float) -> None:
    assert makespan(units, at_once, begun) == takes


def test_many_cells_that_all_began_are_no_trouble(clock: Clock) -> None:
    cells = [Cell(depth=10, width=4, seed=seed) for seed in range(50)]
    phase = phase_of(Threads, cells, 2)
    shown = SweepProgress([phase], Console(quiet=True))
    shown.begin(phase)
    for epochs in (1, 501):
        for one in cells:
            shown.training(one, epochs)
        clock.now += 10
    assert shown.seconds_left() == pytest.approx(80, rel=1e-2)


def test_one_large_cell_keeps_the_end_away(clock: Clock) -> None:
    """When the others are through, one worker goes on alone."""
    large, small = Cell(depth=100, width=4), [Cell(depth=1, width=4, seed=seed) for seed in range(20)]
    phase = phase_of(Singles, [large, *small], 2)
    shown = SweepProgress([phase], Console(quiet=True))
    moments = list(played(shown, phase, clock, 60.0))
    for true, left in moments:
        if left is not None and true > 5:
            assert abs(left - true) <= 0.25 * true


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


WHERE_NO_BAR_IS = [(io.StringIO, {}), (io.StringIO, {"FORCE_COLOR": "1"}), (Terminal, {"TERM": "dumb"})]


@pytest.mark.parametrize(("file", "environment"), WHERE_NO_BAR_IS)
def test_where_no_bar_can_be_drawn_a_sweep_says_a_line_every_ten_seconds(
    file: Any, environment: dict[str, str], clock: Clock
) -> None:
    cells = [Cell(depth=10, width=4, seed=seed) for seed in range(3)]
    phase, said, began = phase_of(Threads, cells, 2), file(), clock.now
    with SweepProgress([phase], Console(file=said, _environ=environment)) as shown:
        for _ in played(shown, phase, clock, 60.0):
            shown.tick()
    lines = said.getvalue().splitlines()
    assert len(lines) == (clock.now - began) // 10
    assert all("0/3 cells, " in line and " left" in line for line in lines)


@pytest.mark.parametrize(("file", "environment"), WHERE_NO_BAR_IS)
def test_where_no_bar_can_be_drawn_one_cell_says_a_line_every_ten_seconds(
    file: Any, environment: dict[str, str], clock: Clock
) -> None:
    cell, said = Cell(), file()
    with epoch_progress(cell, Console(file=said, _environ=environment)) as show:
        for second in range(35):
            show(cell, 100.0 * second)
            clock.now += 1
    assert [line.partition(",")[0] for line in said.getvalue().splitlines()] == [
        "1000/5000 epochs",
        "2000/5000 epochs",
        "3000/5000 epochs",
    ]


def test_networks_are_counted_by_their_own_datasets_threshold() -> None:
    """On images twice the share of the largest class is a training; on MOONS it is 0.95."""
    digits, moons = Mnist.threshold, Moons.threshold
    outcomes = [
        Outcome("relu", "done", 0.5, digits, "classification"),
        Outcome("relu", "done", 0.5, moons, "classification"),
        Outcome("relu", "diverged", 1.0, moons, "classification"),
    ]
    table = outcome_table(outcomes)
    assert [list(column.cells) for column in table.columns] == [["relu"], ["3"], ["2"], ["1"], ["0"], ["1"]]
    assert str(table.columns[-1].header) == "train (training accuracy 0.2247 or 0.95 or more)"


def test_the_score_is_told_by_the_task_and_none_is_no_0() -> None:
    outcomes = [
        Outcome("relu", "done", -3.0, 0.9, "regression"),
        Outcome("relu", "done", 0.91, 0.9, "regression"),
        Outcome("relu", "done", None, 0.9, "regression"),
        Outcome("relu", "done", 0.96, Moons.threshold, "classification"),
    ]
    table = outcome_table(outcomes)
    assert [list(column.cells) for column in table.columns][-1] == ["2"]
    assert str(table.columns[-1].header) == "train (training R² 0.9, accuracy 0.95 or more)"
