"""A sweep that is killed, stopped or finished: nothing that was done is lost, and the rest is trained."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import pandas as pd
import pytest
from program import Program, ask_to_end, stand_still_with_two_stored, store_at_once, worker_processes

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import ENGINES
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.records import Records

ENGINES_HERE = [name for name, engine in ENGINES.items() if engine.refuses(Cell()) is None]
SECONDS = {"eager": 4.0, "stacked": 40.0}
"""Core-seconds that the sweep takes in `eager`; an engine that is not here gets one of its own."""
FASTEST = ENGINES_HERE[-1]
EACH_ENGINE = [pytest.param(name, marks=[] if name == FASTEST else pytest.mark.soak) for name in ENGINES_HERE]
EXACT = {"eager", "native"}
"""Engines whose results neither fleet mates nor the number of threads change by a bit."""

GRID = {"method": ["relu", "sep_up"], "depth": [2, 12], "seed": [0, 1]}
COUNT = 16
RUN_DEPENDENT = ["seconds", "peak_memory_bytes", "started", "labels", "git_commit", "git_dirty"]

Start = Callable[..., Program]


def sweep(engine: str, workers: int) -> list[str]:
    """Arguments of a sweep over 16 cells, half of them trained twice as long, that takes this engine a while."""
    seconds = SECONDS.get(engine, 1.0)
    timed = ENGINES["eager" if engine in SECONDS else engine]
    penalties = [PenaltySpec(), PenaltySpec(kind="UP")]
    once = [
        timed.estimate_seconds(Cell(depth=depth, width=3, penalty=penalty, optimizer=OptimizerSpec(epochs=1000)))
        for depth in GRID["depth"]
        for penalty in penalties
    ]
    epochs = round(1000 * seconds / (sum(once) * len(GRID["seed"]) * 3))
    grid = [f"{name}={','.join(map(str, values))}" for name, values in GRID.items()]
    more = [f"engine={engine}", "device=cpu", f"hydra.launcher.workers={workers}"]
    return ["-m", *grid, "width=3", f"optimizer.epochs={epochs},{2 * epochs}", *more]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start `python -m jumpstart_exp` in a folder; what still runs at the end is killed."""
    running: list[Program] = []

    def run(folder: Path, arguments: Sequence[str], first: Callable[[], None] | None = None) -> Program:
        running.append(Program("jumpstart_exp", arguments, folder, first=first))
        return running[-1]

    yield run
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def uninterrupted(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The results of an engine's sweep, trained once."""

    @cache
    def trained(engine: str) -> Path:
        folder = tmp_path_factory.mktemp(engine)
        process = start(folder, sweep(engine, 2))
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        return folder / "results"

    return trained


def until(holds: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def cpu_ticks(pids: list[int]) -> int:
    """Of those that are there still: a worker for which there is no fleet left ends."""
    stats = []
    for pid in pids:
        with contextlib.suppress(OSError):
            stats.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split())
    return sum(int(stat[11]) + int(stat[12]) for stat in stats)


def state(pid: int) -> str:
    """Its letter; Z if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def alive(pid: int) -> bool:
    return state(pid) != "Z"


def comparable(folder: Path) -> pd.DataFrame:
    return Store(folder).cells().drop(columns=RUN_DEPENDENT).sort_values("key", ignore_index=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_killed_sweep_resumes_to_the_uninterrupted_result(engine, workers, start, uninterrupted, tmp_path):
    whole = uninterrupted(engine)
    store = Store(tmp_path / "results")

    process = start(tmp_path, sweep(engine, workers), stand_still_with_two_stored)
    until(lambda: state(process.pid) == "T", "two cells are stored, and all stand still")
    trainers = [pid for pid in worker_processes(process.pid) if alive(pid)]
    before = cpu_ticks(trainers)
    for pid in trainers:
        os.kill(pid, signal.SIGCONT)
    until(lambda: cpu_ticks(trainers) > before + 5, "the workers compute", 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = store.stored()
    assert len(trainers) >= 1 and 2 <= len(kept) < COUNT, "cells were in training at the kill"
    until(lambda: not any(alive(pid) for pid in trainers), "the workers end with their parent", 30)

    again = start(tmp_path, sweep(engine, workers))
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert f"{COUNT} cells: {len(kept)} stored in results, {COUNT - len(kept)} to train" in output
    found, expected = comparable(tmp_path / "results"), comparable(whole)
    columns = list(found) if engine in EXACT else ["key", "method", "depth", "seed", "status", "engine", "epochs_run"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    curves = [Store(folder).curves() for folder in (tmp_path / "results", whole)]
    columns = list(curves[0]) if engine in EXACT else ["key", "epoch"]
    pd.testing.assert_frame_equal(curves[0][columns], curves[1][columns])


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_stopped_sweep_keeps_what_is_done_and_says_how_to_go_on(engine, stop, start, tmp_path):
    # one cell that does not end, so that no machine is too fast to be stopped in time
    store = Store(tmp_path / "results")
    more = [f"engine={engine}", "device=cpu", "hydra.launcher.workers=2"]
    grid = ["-m", "method=sep_up", "depth=12", "width=3", "optimizer.epochs=100,101,102,103,104,1000000"]
    process = start(tmp_path, [*grid, *more], store_at_once)
    until(lambda: len(store.stored()) >= 2, "two cells are stored")
    os.killpg(process.pid, stop)  # Ctrl-C and a scheduler's request reach the whole group
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    done = len(store.stored())
    assert f"stopped: {done} of 6 cells are done" in output and "same command again" in output
    assert "Traceback" not in output
    assert 2 <= done < 6


KEPT = 2


def long_cells(engine: str) -> list[str]:
    """Settings of cells that train for a while each, and are not kept before they are asked to end."""
    seconds = {"stacked": 4}.get(engine, 0.5)  # by the estimates of eager, or its own of an engine that is not here
    timed = ENGINES["eager" if engine in SECONDS else engine]
    once = timed.estimate_seconds(
        Cell(depth=12, width=3, penalty=PenaltySpec(kind="UP"), optimizer=OptimizerSpec(epochs=1000))
    )
    more = [f"engine={engine}", "device=cpu", "checkpoint_minutes=600"]
    return ["method=sep_up", "depth=12", "width=3", f"optimizer.epochs={round(1000 * seconds / once)}", *more]


def long_sweep(engine: str) -> list[str]:
    return ["-m", "seed=0,1", *long_cells(engine), "hydra.launcher.workers=2"]


@pytest.fixture(scope="module")
def trained_at_once(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The results of an engine's sweep over long cells, never stopped."""

    @cache
    def trained(engine: str) -> Path:
        folder = tmp_path_factory.mktemp(engine)
        process = start(folder, long_sweep(engine))
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        return folder / "results"

    return trained


def in_training(folder: Path) -> set[str]:
    """The keys of the cells in training, as the records tell."""
    return {key for run in Records(folder / "results").runs() for key in run.training}


def assert_equal_but_later(folder: Path, whole: Path, engine: str, second_start: str) -> None:
    """The same results as at once, of trainings that had begun before the second start."""
    found = comparable(folder / "results")
    expected = comparable(whole)
    expected = expected[expected["key"].isin(found["key"])].reset_index(drop=True)
    columns = list(found) if engine in EXACT else ["key", "method", "depth", "seed", "status", "engine", "epochs_run"]
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert (Store(folder / "results").cells()["started"] < second_start).all()
    assert not list((folder / "results" / "checkpoints").iterdir())


def next_second() -> str:
    """When it has begun: so are trainings dated."""
    begun = time.time() // 1 + 1
    time.sleep(max(0.0, begun - time.time()))
    return datetime.fromtimestamp(begun, UTC).isoformat(timespec="seconds")


@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_stopped_sweep_keeps_what_is_in_training(engine, start, trained_at_once, tmp_path):
    whole = trained_at_once(engine)
    request = signal.SIGINT if engine == "eager" else signal.SIGTERM
    process = start(tmp_path, long_sweep(engine), partial(ask_to_end, KEPT, request, group=True))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "stopping: what is in training is kept for the next run" in output
    assert "stopped: 0 of 2 cells are done" in output
    keys = set(Store(whole).cells()["key"])
    assert {path.name for path in (tmp_path / "results" / "checkpoints").iterdir()} == {f"{key}.pt" for key in keys}
    assert not Store(tmp_path / "results").stored()

    second_start = next_second()
    again = start(tmp_path, long_sweep(engine))
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert "2 cells go on from a checkpoint" in output
    assert_equal_but_later(tmp_path, whole, engine, second_start)


@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_stopped_cell_goes_on_from_where_it_was(engine, start, trained_at_once, tmp_path):
    whole = trained_at_once(engine)
    process = start(tmp_path, ["seed=0", *long_cells(engine)], partial(ask_to_end, 1, signal.SIGINT, group=False))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "stopped: a checkpoint is kept; the same command goes on from there" in output
    assert "Traceback" not in output
    assert len(list((tmp_path / "results" / "checkpoints").glob("*.pt"))) == 1

    second_start = next_second()
    again = start(tmp_path, ["seed=0", *long_cells(engine)])
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert_equal_but_later(tmp_path, whole, engine, second_start)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_second_ctrl_c_ends_a_sweep_whose_cells_cannot_be_kept(start, tmp_path):
    process = start(tmp_path, [*long_sweep("eager"), "optimizer.epochs=1000000"])
    until(lambda: len(in_training(tmp_path)) == KEPT, "both cells are in training")
    trainers = worker_processes(process.pid)
    for pid in trainers:
        os.kill(pid, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    until(lambda: "stopping: what is in training is kept" in process.output(), "it says so")
    assert process.poll() is None, "it waits for them"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "stopped: 0 of 2 cells are done" in output
    assert not any(alive(pid) for pid in trainers)
