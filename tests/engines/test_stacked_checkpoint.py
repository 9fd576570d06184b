"""Fleets of the stacked engine that are interrupted: every cell goes on, in whatever fleet."""

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from contract import assert_same_result, what_was_computed
from keeping import Killed, State, drifting_away, kill_after, path_of, same, state_of, train_kept
from test_stacked import CASES, Recorder, data_of, graphs, make_cell, mixed_cells

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.stacked import engine as stacked
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.engines.stacked.fleet import Fleet
from jumpstart_exp.result import Result

__all__ = ["graphs"]  # a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 12


@pytest.fixture(autouse=True)
def look_after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.0)


@pytest.fixture
def always(tmp_path: Path) -> Checkpoints:
    """Checkpoints after every epoch."""
    return Checkpoints(tmp_path / "checkpoints", 0.0)


def uninterrupted(cells: Sequence[Cell]) -> dict[str, Result]:
    return uninterrupted_fleet(tuple(cells))


@cache
def uninterrupted_fleet(cells: tuple[Cell, ...]) -> dict[str, Result]:
    found, _ = train_kept(StackedEngine(curve_every=4), cells, data_of(cells[0]))
    return {key: what_was_computed(result) for key, result in found.items()}


def kept(cells: Sequence[Cell], checkpoints: Checkpoints, epochs: int, curve_every: int = 4) -> None:
    """Train a fleet until all of it was kept after so many epochs, and kill it."""
    engine = StackedEngine(curve_every=curve_every, checkpoints=checkpoints)
    train_kept(engine, cells, data_of(cells[0]), kill_after(epochs))
    assert all(state_of(checkpoints, cell)["epochs"] == epochs for cell in cells)


PRECISIONS = {name: CASES[name] for name in CASES} | {"float32": {**CASES["dropout"], "precision": "float32"}}


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_fleet_that_is_interrupted_ends_as_if_it_were_not(name: str, always: Checkpoints) -> None:
    """With the same mates to the bit: after an epoch that is surveyed, and after others."""
    cells = mixed_cells(**PRECISIONS[name])
    expected = uninterrupted(cells)
    for count in (1, 4, 6, 11) if name in ("relu_bn", "dropout") else (6,):
        kept(cells, always, count)
    engine = StackedEngine(curve_every=4, checkpoints=always)
    found, progress = train_kept(engine, cells, data_of(cells[0]))
    assert {key: what_was_computed(result) for key, result in found.items()} == expected
    assert all(told[:2] == [0, count] for told in progress.values())


@pytest.mark.parametrize("name", ["sep_up", "conv2x1 batch norm and dropout"])
def test_checkpoints_change_no_result_and_no_later_state(name: str, always: Checkpoints) -> None:
    cells = mixed_cells(**CASES[name])
    states: dict[tuple[str, int], State] = {}

    def record_training(key: str, state: State) -> bool:
        assert same(state, states.setdefault((key, state["epochs"]), state))
        return False

    found, _ = train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]), record_training)
    assert {key: what_was_computed(result) for key, result in found.items()} == uninterrupted(cells)
    assert len(states) == len(cells) * (EPOCHS - 1)
    kept(cells, always, 5)
    train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]), record_training)


@pytest.mark.parametrize("name", ["relu", "sep_up", "random ties", "dropout", "conv2x1 sep_up", "keras"])
def test_a_fleet_of_cells_that_were_kept_after_different_epochs(name: str, always: Checkpoints) -> None:
    """And of some that begin: to 1e-9 what each is alone in the reference."""
    cells = mixed_cells(**CASES[name])
    kept(cells[:2], always, 3)
    kept(cells[2:3], always, 8)
    kept(cells[3:5], always, 3)
    found, progress = train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]))
    assert [progress[cell.key][:2] for cell in cells] == [[0, 3], [0, 3], [0, 8], [0, 3], [0, 3], [0, 1]]
    expected, _ = train_kept(EagerEngine(curve_every=4), cells, data_of(cells[0]))
    for cell in cells:
        assert_same_result(found[cell.key], expected[cell.key], tolerance=1e-8)


def test_cells_after_the_same_epoch_train_as_one_fleet(always: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = mixed_cells()
    kept(cells[:2], always, 3)
    kept(cells[2:3], always, 8)
    kept(cells[3:5], always, 3)
    fleets: list[set[Cell]] = []
    begin = Fleet.__init__

    def noting(self: Fleet, mates: Sequence[Cell], *arguments: Any, **named: Any) -> None:
        fleets.append(set(mates))
        begin(self, mates, *arguments, **named)

    monkeypatch.setattr(Fleet, "__init__", noting)
    train_kept(StackedEngine(checkpoints=always), cells, data_of(cells[0]))
    assert fleets == [{cells[2]}, {*cells[:2], *cells[3:5]}, {cells[5]}]


def test_a_cell_that_was_kept_with_an_open_epoch_and_one_with_a_settled_one(
    always: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the same epoch: it was a row of one fleet's curve and not of the other's."""
    cells = mixed_cells([(3, 3), (2, 4)])
    kept(cells[:1], always, 6, curve_every=6)
    kept(cells[1:], always, 6, curve_every=4)
    assert [len(state_of(always, cell)["pending"]) for cell in cells] == [0, 2]
    expected, restored, fill = uninterrupted(cells), list[list[int]](), Fleet.fill

    def noting(whole: Fleet, states: Any) -> None:
        restored.append([len(own.pending) for own in states])
        fill(whole, states)

    monkeypatch.setattr(Fleet, "fill", noting)
    found, _ = train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]))
    assert restored == [[2], [0]], "two fleets"
    assert [row.epoch for row in found[cells[0].key].curve] == [1, 6, 8, 12]
    for cell in cells:
        without = (dataclasses.replace(run[cell.key], curve=()) for run in (found, expected))
        assert_same_result(*without)


@pytest.mark.parametrize("count", [1, 6, 11, 12])
def test_a_training_that_diverges_does_so_in_the_same_epoch(count: int, always: Checkpoints) -> None:
    """What is not finite any more, and is validated in the next step only, is not kept."""
    cell, data = drifting_away()
    expected, _ = train_kept(StackedEngine(curve_every=5), [cell], data)
    assert (expected[cell.key].status, expected[cell.key].diverged_epoch) == ("diverged", 12)
    train_kept(StackedEngine(curve_every=5, checkpoints=always), [cell], data, kill_after(count))
    again, progress = train_kept(StackedEngine(curve_every=5, checkpoints=always), [cell], data)
    assert progress[cell.key][:2] == [0, count if count < 12 else 1]
    assert what_was_computed(again[cell.key]) == what_was_computed(expected[cell.key])


def test_what_has_diverged_is_kept_no_more(always: Checkpoints) -> None:
    cells = [make_cell(depth=3, width=3, seed=seed, optimizer={"lr": 1e200 if seed == 1 else 0.01}) for seed in (0, 1)]
    saved: list[str] = []
    found, _ = train_kept(
        StackedEngine(checkpoints=always), cells, data_of(cells[0]), lambda key, state: saved.append(key)
    )
    diverged_epoch = found[cells[1].key].diverged_epoch
    assert diverged_epoch is not None and found[cells[0].key].status == "done"
    assert saved.count(cells[0].key) == EPOCHS - 1
    assert saved.count(cells[1].key) <= diverged_epoch


def test_the_halves_of_a_fleet_that_fails_go_on_as_well(always: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = mixed_cells()
    expected = uninterrupted(cells)
    kept(cells, always, 5)
    begin = Fleet.__init__

    def failing(self: Fleet, mates: Sequence[Cell], *arguments: Any, **named: Any) -> None:
        if len(mates) > 2:
            raise MemoryError
        begin(self, mates, *arguments, **named)

    monkeypatch.setattr(Fleet, "__init__", failing)
    found, progress = train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]))
    for cell in cells:
        assert_same_result(found[cell.key], expected[cell.key])
        told = progress[cell.key]
        assert told[:2] == [0, 5] and 1 not in told


@pytest.mark.parametrize("name", ["relu", "dropout", "random ties", "conv2x1 batch norm and dropout"])
def test_a_step_is_captured_after_the_state_is_there(name: str, always: Checkpoints, graphs: list[Recorder]) -> None:
    cells = mixed_cells(**CASES[name])
    expected = uninterrupted(cells)
    kept(cells, always, 2)
    before = len(graphs)
    found, _ = train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]))
    assert len(graphs) > before
    assert {key: what_was_computed(result) for key, result in found.items()} == expected


def test_seconds_add_up_and_the_start_is_the_first(always: Checkpoints) -> None:
    cells = mixed_cells([(3, 3), (2, 4)])
    kept(cells, always, 6)
    for cell, seconds in zip(cells, (5000.0, 7000.0), strict=True):
        started = f"2001-02-03T04:05:06+0{cell.seed}:00"
        always.save(cell.key, {**state_of(always, cell), "seconds": seconds, "started": started})
    found, _ = train_kept(StackedEngine(checkpoints=always), cells, data_of(cells[0]))
    for cell, seconds in zip(cells, (5000.0, 7000.0), strict=True):
        assert seconds < found[cell.key].seconds < seconds + 60
        assert found[cell.key].started == f"2001-02-03T04:05:06+0{cell.seed}:00"
        assert seconds < state_of(always, cell)["seconds"] < found[cell.key].seconds


@pytest.mark.parametrize("minutes", [None, 10.0])
def test_where_nothing_is_due_nothing_is_written(minutes: float | None, tmp_path: Path) -> None:
    cells, folder = mixed_cells(), tmp_path / "checkpoints"
    checkpoints = None if minutes is None else Checkpoints(folder, minutes)
    train_kept(StackedEngine(checkpoints=checkpoints), cells, data_of(cells[0]))
    assert not folder.exists()


def test_a_file_is_as_large_as_its_cell(always: Checkpoints) -> None:
    """A part of the fleet's tensors that were stored as it is would bring all of them."""
    cells = [make_cell(depth=2, width=3, seed=seed) for seed in range(40)]
    kept(cells, always, 3)
    parameters = state_of(always, cells[0])["network"]["parameters"]
    assert path_of(always, cells[0]).stat().st_size < 3 * parameters.numel() * 8 + 8000


def test_a_kill_between_two_files_costs_the_second_nothing_but_an_epoch(always: Checkpoints) -> None:
    cells = mixed_cells()
    expected = uninterrupted(cells)
    saved = 0

    def kill(key: str, state: State) -> None:
        nonlocal saved
        saved += 1
        if saved > 4 * len(cells) + 2:
            raise Killed

    train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]), kill)
    assert sorted(state_of(always, cell)["epochs"] for cell in cells) == [4] * (len(cells) - 2) + [5] * 2
    found, _ = train_kept(StackedEngine(curve_every=4, checkpoints=always), cells, data_of(cells[0]))
    for cell in cells:
        assert_same_result(found[cell.key], expected[cell.key])
