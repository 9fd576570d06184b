import contextlib
import itertools
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import fake_engines
import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.result import Result, traceback_of
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.sweep import workers as module
from jumpstart_exp.sweep.stopping import REQUESTS
from jumpstart_exp.sweep.worker_server import WorkerProcess, worker_server
from jumpstart_exp.sweep.workers import EngineSetup, Progress, WorkerStartError, train_in_parallel

SETUP = EngineSetup(EagerEngine, "cpu", None, Path("data"))
ENDLESS = 10**9


def cell(seed: int, epochs: int = 3) -> Cell:
    return Cell(depth=2, width=2, seed=seed, penalty=PenaltySpec(kind="UP"), optimizer=OptimizerSpec(epochs=epochs))


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def both_train(events: Iterator[Progress | Result | None]) -> None:
    """Go on until the first two cells have both reported progress."""
    training: set[int] = set()
    while training != {0, 1}:
        event = next(events)
        if isinstance(event, Progress):
            training.add(event.cell.seed)


def runs(pid: int) -> bool:
    """Whether a process is there and not only waiting to be reaped."""
    try:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        stat = Path(f"/proc/{pid}/stat")
        state = stat.read_text().rpartition(")")[2].strip() if stat.exists() else ""
    return bool(state) and not state.startswith("Z")


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    yield
    assert wait_for(lambda: not multiprocessing.active_children())


def test_all_results_arrive_and_are_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cells = [cell(seed) for seed in range(5)]
    results = [
        event for event in train_in_parallel([cells[:1], cells[1:4], cells[4:]], SETUP, 2) if isinstance(event, Result)
    ]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert sorted(result.cell.seed for result in results) == [0, 1, 2, 3, 4]
    assert {result.status for result in results} == {"done"}

    here: list[Result] = []
    EagerEngine().train(cells, load(Moons(), Path("data")), on_result=here.append, on_progress=lambda *_: None)
    expected = {result.cell.key: result for result in here}
    for result in results:
        assert result.cell in cells
        assert result.curve == expected[result.cell.key].curve
        assert result.train_loss == expected[result.cell.key].train_loss
        assert result.penalty_last == expected[result.cell.key].penalty_last


def test_no_cells_need_no_workers() -> None:
    assert list(train_in_parallel([], SETUP, 4)) == []


def test_a_killed_worker_costs_only_the_cell_that_it_trained() -> None:
    results: list[Result] = []
    signals = [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]  # the first two are the parent's business
    for event in train_in_parallel([[cell(0)], [cell(1, ENDLESS)], [cell(2)], [cell(3)]], SETUP, 1):
        if isinstance(event, Progress) and event.cell.seed == 1 and event.epochs > 0:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signals.pop(0))
        if isinstance(event, Result):
            results.append(event)
    assert [(result.cell.seed, result.status) for result in results] == [
        (0, "done"),
        (1, "failed"),
        (2, "done"),
        (3, "done"),
    ]
    assert signals == []
    failed = results[1]
    assert failed.error is not None
    assert "ended by signal 9 (SIGKILL)" in failed.error
    assert "out of memory?" in failed.error
    assert "\n" not in failed.error
    assert (failed.engine, failed.device) == ("eager", "cpu")
    assert failed.traceback is not None
    assert re.search(rf"last heard of after \d+ epochs: {re.escape(failed.error)}$", failed.traceback)


def test_a_killed_worker_leaves_its_neighbour_alone_and_closing_ends_that_at_once() -> None:
    events = train_in_parallel([[cell(0, ENDLESS)], [cell(1, ENDLESS)]], SETUP, 2)
    both_train(events)
    victim, neighbour = multiprocessing.active_children()
    victim.kill()
    failed = next(event for event in events if isinstance(event, Result))
    assert failed.status == "failed"
    further = next(event for event in events if event is not None)
    assert isinstance(further, Progress)
    assert further.cell != failed.cell
    assert neighbour.is_alive()
    events.close()
    assert not neighbour.is_alive()


def test_workers_that_cannot_start_are_no_cells_fault() -> None:
    broken = EngineSetup(fake_engines.Broken, "cpu", None, Path("data"))
    with pytest.raises(WorkerStartError) as caught:
        list(train_in_parallel([[cell(0)]], broken, 1))
    assert str(caught.value) == "a worker process ended by RuntimeError: no such accelerator before it could train"
    assert "in __init__" in traceback_of(caught.value), "what the worker did is known"


def test_a_worker_that_cannot_start_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    """What they have in training is kept before the error is told."""
    setup = EngineSetup(fake_engines.SecondBroken, "cpu", None, Path("data"), checkpoints=Checkpoints(tmp_path, 600))
    with pytest.raises(WorkerStartError, match="no second accelerator"):
        list(train_in_parallel([[cell(0, ENDLESS)], [cell(1, ENDLESS)]], setup, 2))
    assert len(list(tmp_path.glob("*.pt"))) == 1


def test_a_worker_that_ends_by_an_error_says_which() -> None:
    setup = EngineSetup(fake_engines.Erring, "cpu", None, Path("data"))
    (failed,) = [event for event in train_in_parallel([[cell(0)]], setup, 1) if isinstance(event, Result)]
    assert failed.status == "failed"
    assert failed.error == "its worker process ended by ValueError: nobody expects this"
    assert failed.traceback is not None
    assert "last heard of after 0 epochs" in failed.traceback and "in train\n" in failed.traceback


@pytest.mark.parametrize(("engine", "workers", "threads"), [("OneByOne", 2, 1), ("Threads", 1, 3)])
def test_after_a_kill_for_memory_there_are_fewer_at_once_and_only_who_is_killed_alone_has_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], engine: str, workers: int, threads: int
) -> None:
    kills = itertools.count()
    monkeypatch.setattr(module, "memory_kills", lambda: next(kills))
    made = getattr(fake_engines, engine)
    deadly = cell(fake_engines.DEADLY)
    fleets = [[deadly], [cell(1)]] if engine == "OneByOne" else [[deadly, cell(1)]]
    events = train_in_parallel(fleets, EngineSetup(made, "cpu", None, Path("data"), threads), workers)
    results = {event.cell: event for event in events if isinstance(event, Result)}
    assert {one.seed: result.status for one, result in results.items()} == {1: "done", deadly.seed: "failed"}
    assert results[deadly].error == "its worker process ended by signal 9 (SIGKILL), killed for memory"
    warning = "warning: a worker process was killed for memory: 1 at once from now on"
    assert capsys.readouterr().err.splitlines() == [warning, warning], "when it has company, and when it is alone"


def test_workers_that_are_killed_for_memory_before_they_train_are_fewer_and_at_last_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = itertools.count()
    monkeypatch.setattr(module, "memory_kills", lambda: next(kills))
    monkeypatch.setattr(module, "_MOST_STILLBORN", 0)
    setup = EngineSetup(fake_engines.Stillborn, "cpu", None, Path("data"))
    with pytest.raises(WorkerStartError, match=r"SIGKILL.*, killed for memory before it could train$"):
        list(train_in_parallel([[cell(0)], [cell(1)]], setup, 2))
    assert "1 at once from now on" in capsys.readouterr().err


def end_by_request(pid: int | None) -> None:
    """Send a process all that asks it to end."""
    assert pid is not None
    for number in REQUESTS:
        os.kill(pid, number)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_workers_ignore_what_their_parent_decides_about_and_are_killed_for_memory_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From their very beginning, and their server, too."""
    start = WorkerProcess.start

    def asked_at_once(worker: WorkerProcess) -> None:
        start(worker)
        end_by_request(worker.pid)

    monkeypatch.setattr(WorkerProcess, "start", asked_at_once)
    with contextlib.closing(train_in_parallel([[cell(0, ENDLESS)]], SETUP, 1)) as events:
        assert isinstance(next(event for event in events if event is not None), Progress)
        (worker,) = multiprocessing.active_children()
        for pid in (worker.pid, worker_server().process.pid):
            end_by_request(pid)
        assert isinstance(next(event for event in events if event is not None), Progress)
        assert worker.is_alive() and worker_server().process.poll() is None
        assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "1000\n"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), "here they arrive as before"


def test_pythons_resource_tracker_outlives_requests_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it ignores only two of them; a worker that started after its end would bring a warning."""
    tracker: Any = resource_tracker.ResourceTracker()
    monkeypatch.setattr(resource_tracker, "ensure_running", tracker.ensure_running)
    with module._requests_held():
        pass
    for number in REQUESTS:
        os.kill(tracker._pid, number)
    os.close(tracker._fd)  # its parent's end
    _, status = os.waitpid(tracker._pid, 0)
    tracker._fd = tracker._pid = None
    assert os.waitstatus_to_exitcode(status) == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), "here they arrive as before"


def test_a_cell_is_known_to_train_from_its_first_moment() -> None:
    events = train_in_parallel([[cell(0, ENDLESS)]], SETUP, 1)
    first = next(event for event in events if event is not None)
    assert first == Progress(cell(0, ENDLESS), 0)
    events.close()


@pytest.mark.parametrize(
    ("engine", "workers", "deadly"),
    [
        ("OneByOne", 1, [2]),
        ("AllAtOnce", 2, [0, 5]),
        pytest.param("Silent", 1, [0, 5], marks=pytest.mark.soak),
        pytest.param("Threads", 2, [2], marks=pytest.mark.soak),
    ],
)
def test_a_deadly_cell_costs_only_itself_whatever_the_fleet(engine: str, workers: int, deadly: list[int]) -> None:
    made = getattr(fake_engines, engine)
    cells = [cell(fake_engines.DEADLY + seed if seed in deadly else seed) for seed in range(7)]
    setup = EngineSetup(made, "cpu", None, Path("data"), 3)
    results = [
        event for event in train_in_parallel([cells[:5], cells[5:]], setup, workers) if isinstance(event, Result)
    ]
    assert sorted(result.cell.key for result in results) == sorted(one.key for one in cells)
    failed = [result for result in results if result.status == "failed"]
    assert {result.cell.seed - fake_engines.DEADLY for result in failed} == set(deadly)
    for result in failed:
        assert result.error == "its worker process ended by signal 9 (SIGKILL); out of memory?"
        assert (result.engine, result.device) == (made.name, "cpu")
    assert {result.started for result in results if result.status == "done"} == {"cpu, 3 threads"}


def test_what_a_fleet_finished_is_not_trained_again_after_its_worker_died() -> None:
    cells = [cell(0), cell(1), cell(fake_engines.DEADLY), cell(3)]
    setup = EngineSetup(fake_engines.OneByOne, "cpu", None, Path("data"))
    events = [event for event in train_in_parallel([cells], setup, 1) if event is not None]
    begun = [event.cell.seed for event in events if isinstance(event, Progress)]
    assert begun == [0, 1, fake_engines.DEADLY, 3, fake_engines.DEADLY], "the suspect comes last, alone"


PARENT = """
import multiprocessing
from pathlib import Path

from jumpstart_exp.cell import Cell, OptimizerSpec
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.sweep.worker_server import worker_server
from jumpstart_exp.sweep.workers import EngineSetup, Progress, train_in_parallel

endless = Cell(depth=2, width=2, optimizer=OptimizerSpec(epochs=10**9))
for event in train_in_parallel([[endless]], EngineSetup(EagerEngine, "cpu", None, Path("data")), 1):
    if isinstance(event, Progress):
        print(worker_server().process.pid, *(one.pid for one in multiprocessing.active_children()), flush=True)
"""
"""Its main module is no file, and would begin the sweep anew."""


def test_workers_and_their_server_end_when_their_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        others = [int(pid) for pid in parent.stdout.readline().split()]
        try:
            assert len(others) == 2
            assert all(runs(pid) for pid in others)
            parent.kill()
            parent.wait()
            assert wait_for(lambda: not any(runs(pid) for pid in others))
        finally:
            parent.kill()
            for pid in filter(runs, others):
                os.kill(pid, signal.SIGKILL)
