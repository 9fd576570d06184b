"""A request to keep every cell in training at once, for every engine."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract import Case, cloud, what_was_computed
from keeping import Killed, path_of, saves, state_of, train_kept

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import ENGINES, Engine, checkpoint
from jumpstart_exp.engines.checkpoint import (
    Checkpoints,
    CheckpointWriter,
    are_all_kept,
    request_checkpoint,
    wait_until_kept,
)
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.stacked import engine as stacked
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

THREADS = 2
CELLS = [
    Cell(cloud(), 3, 4, penalty=PenaltySpec("UP", 0.1), optimizer=OptimizerSpec(epochs=10**7), seed=seed)
    for seed in range(THREADS)
]
"""They train for longer than any test lasts."""
DATA = Case(CELLS[0]).data


@pytest.fixture(params=[name for name in ENGINES if name != "native" or instruction_sets()])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.02)
    engine = ENGINES[request.param]
    return lambda checkpoints: engine(threads=THREADS, checkpoints=checkpoints)


@pytest.fixture
def seldom(tmp_path: Path) -> Checkpoints:
    """Nothing is due in an hour."""
    return Checkpoints(tmp_path / "checkpoints", 60.0)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No engine leaves a cell in training behind, however it ended."""
    yield
    assert not checkpoint._kept_for


def until(engine: Engine, happens: Callable[[], bool]) -> list[str]:
    """Train until this is so, asked wherever progress is told; the cells that were kept, by key, in order."""
    kept: list[str] = []
    deadline = time.monotonic() + 60

    def progress(cell: Cell, epochs: float) -> None:
        if happens():
            raise Killed
        assert time.monotonic() < deadline, "it never happens"

    with saves(lambda key, state: kept.append(key)), pytest.raises(Killed):
        engine.train(CELLS, DATA, on_result=lambda result: None, on_progress=progress)
    return kept


def in_training(engine: Engine) -> list[Cell]:
    """`eager` trains one after the other."""
    return CELLS[:1] if engine.name == "eager" else CELLS


@pytest.mark.parametrize("way", ["here", "signal", "thread"])
def test_every_cell_in_training_is_kept_once(way: str, make: Callable[..., Engine], seldom: Checkpoints) -> None:
    engine, begun, asked = make(seldom), 0, threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: request_checkpoint())
    looks = 0

    def happens() -> bool:
        nonlocal begun, looks
        begun += 1
        if begun < 8:  # all have begun and trained
            return False
        if not asked.is_set():
            asked.set()
            assert are_all_kept(), "nothing was asked for"
            if way == "signal":
                os.kill(os.getpid(), signal.SIGUSR1)
            elif way == "thread":
                thread = threading.Thread(target=request_checkpoint)
                thread.start()
                thread.join()
            else:
                request_checkpoint()
            assert not are_all_kept()
            return False
        looks += are_all_kept()
        return looks > 8  # and goes on for some time

    try:
        kept = until(engine, happens)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert sorted(kept) == sorted(cell.key for cell in in_training(engine))
    assert all(path_of(seldom, cell).exists() for cell in in_training(engine))


def test_every_request_is_answered(make: Callable[..., Engine], seldom: Checkpoints) -> None:
    engine, requests, calls = make(seldom), 0, 0

    def happens() -> bool:
        nonlocal requests, calls
        calls += 1
        if calls < 8 or not are_all_kept():
            return False
        requests += 1
        if requests <= 3:
            request_checkpoint()
        return requests > 3

    kept = until(engine, happens)
    assert {kept.count(cell.key) for cell in in_training(engine)} == {3}


def test_a_thread_can_wait_for_it(make: Callable[..., Engine], seldom: Checkpoints) -> None:
    engine, over = make(seldom), threading.Event()
    calls = 0
    heard: list[tuple[bool, set[str]]] = []

    def ask() -> None:
        request_checkpoint()
        all_kept = wait_until_kept(60.0)
        heard.append((all_kept, {path.stem for path in seldom.folder.glob("*.pt")}))
        over.set()

    thread = threading.Thread(target=ask)

    def happens() -> bool:
        nonlocal calls
        calls += 1
        if calls == 8:
            thread.start()
        return over.is_set()

    until(engine, happens)
    thread.join()
    assert heard == [(True, {cell.key for cell in in_training(engine)})]


def test_what_was_kept_on_request_goes_on(make: Callable[..., Engine], seldom: Checkpoints) -> None:
    some = {"eager": 40, "stacked": 200, "native": 60_000}[make(None).name]  # of some tenths of a second
    cells = [dataclasses.replace(cell, optimizer=OptimizerSpec(epochs=some)) for cell in CELLS]
    expected, _ = train_kept(make(None), cells, DATA)
    requested: list[float] = []

    def progress(cell: Cell, epochs: float) -> None:
        if epochs > 0 and not requested:
            requested.append(epochs)
            request_checkpoint()

    make(seldom).train(cells, DATA, on_result=lambda result: None, on_progress=progress)
    kept = {cell.key: state_of(seldom, cell) for cell in cells if path_of(seldom, cell).exists()}
    assert kept
    found, told = train_kept(make(seldom), cells, DATA)
    for cell in cells:
        assert what_was_computed(found[cell.key]) == what_was_computed(expected[cell.key])
    for key, state in kept.items():
        assert told[key][:2] == [0, state["steps" if state["engine"] == "eager" else "epochs"]]


def test_without_checkpoints_nobody_is_waited_for(make: Callable[..., Engine], tmp_path: Path) -> None:
    engine, calls = make(None), 0

    def happens() -> bool:
        nonlocal calls
        calls += 1
        if calls == 8:
            request_checkpoint()
        assert are_all_kept() and wait_until_kept(0.0)
        return calls > 20

    assert until(engine, happens) == []


def test_a_disk_that_takes_nothing_is_not_waited_for(make: Callable[..., Engine], seldom: Checkpoints) -> None:
    seldom.folder.write_text("a file in place of the folder")
    engine, calls = make(seldom), 0

    def happens() -> bool:
        nonlocal calls
        calls += 1
        if calls == 8:
            request_checkpoint()
        return calls > 8 and are_all_kept()

    with pytest.warns(checkpoint.CheckpointWarning, match="takes no checkpoint"):
        until(engine, happens)


def test_who_has_begun_since_is_not_waited_for(seldom: Checkpoints) -> None:
    keeper = CheckpointWriter(seldom, "eager")
    keeper.begin(["a", "b"])
    request_checkpoint()
    keeper.begin(["a", "c"])
    assert [keeper.is_due(key) for key in ("a", "b", "c")] == [True, True, False]
    assert not wait_until_kept(0.0)
    keeper.save("a", {})
    assert not are_all_kept()
    keeper.end(["b"])
    assert are_all_kept() and wait_until_kept(0.0)
    keeper.end(["a", "c"])


def test_waiting_ends_in_time(seldom: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        seconds = 0.0

        def monotonic(self) -> float:
            return self.seconds

        def sleep(self, seconds: float) -> None:
            self.seconds += seconds

    clock = Clock()
    monkeypatch.setattr(checkpoint, "time", clock)
    keeper = CheckpointWriter(seldom, "eager")
    keeper.begin(["a"])
    request_checkpoint()
    assert not wait_until_kept(5.0)
    assert 5.0 <= clock.seconds < 5.1
    keeper.end(["a"])
