"""The process that forks workers: what it has in it, what it hands on, and what becomes of workers without it."""

import errno
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.forkserver import write_signed
from pathlib import Path
from typing import Any

import fake_engines
import pytest
from program import worker_processes

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.result import Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.sweep import worker_server as module
from jumpstart_exp.sweep.worker_server import WorkerServer, worker_server
from jumpstart_exp.sweep.workers import EngineSetup, Progress, WorkerStartError, prepare_workers, train_in_parallel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker begins anew")


def cell(seed: int, epochs: int = 3) -> Cell:
    return Cell(depth=2, width=2, seed=seed, optimizer=OptimizerSpec(epochs=epochs))


def setup_of(engine: Any) -> EngineSetup:
    return EngineSetup(engine, "cpu", None, Path("data"))


def results_of(engine: Any, cells: list[Cell], count: int = 1) -> list[Result]:
    events = train_in_parallel([[one] for one in cells], setup_of(engine), count)
    return [event for event in events if isinstance(event, Result)]


def open_in(pid: int) -> set[str]:
    """What a process has open, as soon as that stays as it is."""
    found: list[set[str]] = []
    while len(found) < 2 or found[-1] != found[-2]:
        time.sleep(0.1)
        found.append({str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()})
    return found[-1]


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test has none of those of other tests, and leaves none."""
    monkeypatch.setattr(module, "_servers", {})
    yield
    module._stop()


@pytest.fixture
def begun(no_server: None, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Servers that begin in the test."""
    found: list[Any] = []
    begin = module.begin

    def noting(requests: socket.socket) -> Any:
        found.append(begin(requests))
        return found[-1]

    monkeypatch.setattr(module, "begin", noting)
    return found


def test_all_workers_are_of_one_server_that_has_one_thread_and_nothing_of_theirs() -> None:
    assert results_of(EagerEngine, [cell(0)])[0].status == "done"
    server = worker_server().process.pid
    assert len(list(Path(f"/proc/{server}/task").iterdir())) == 1, "a fork has none of its other threads"
    before = open_in(server)
    assert [result.status for result in results_of(EagerEngine, [cell(seed) for seed in range(4)], 2)] == ["done"] * 4
    assert worker_server().process.pid == server
    assert open_in(server) == before, "no descriptor of a worker is left in it"
    assert worker_processes(os.getpid()) == []


class Telling(fake_engines.OneByOne):
    """What it is in, in the name of the result."""

    def trained(self, cell: Cell) -> Result:
        import torch

        told = [os.environ.get("TOLD", "nothing"), str(Path.cwd()), os.environ["OMP_NUM_THREADS"]]
        told += [str(torch.cuda.is_initialized()), str("sklearn.datasets" in sys.modules), sys.stdin.read()]
        return Result(cell, "done", "telling", started=" ".join(told))


def test_a_worker_has_the_environment_and_the_folder_of_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for told in ("before", "after"):
        monkeypatch.setenv("TOLD", told)
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        (result,) = results_of(Telling, [replace(cell(0), dataset=Moons(noise=0.1))])  # by scikit-learn
        assert result.started == f"{told} {tmp_path} 1 False True "


def test_a_server_that_is_killed_costs_no_cell(begun: list[Any]) -> None:
    """Its workers end with it; another one forks others."""
    endless = [cell(0, 10**9), cell(1)]
    results: list[Result] = []
    events = train_in_parallel([[one] for one in endless], setup_of(EagerEngine), 1)
    killed: list[int] = []
    for event in events:
        if isinstance(event, Progress) and event.cell.seed == 0 and event.epochs > 0:
            (worker,) = multiprocessing.active_children()
            if not killed:
                begun[0].kill()
                killed.append(worker.pid or 0)
            elif worker.pid not in killed:
                worker.kill()
        if isinstance(event, Result):
            results.append(event)
    assert len(begun) == 2 and len(killed) == 1
    assert [(result.cell.seed, result.status) for result in results] == [(0, "failed"), (1, "done")]
    assert "ended by signal 9" in (results[0].error or ""), "of its own worker's end, later"


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize(
    ("code", "how", "times"),
    [("raise SystemExit(3)", "with exit code 3", 1), ("os.kill(os.getpid(), 9)", r"by signal 9 \(SIGKILL\)", 4)],
)
def test_a_server_that_cannot_live_is_one_error(
    monkeypatch: pytest.MonkeyPatch, code: str, how: str, times: int
) -> None:
    """One that a signal ends is begun again some times."""
    begun = []

    def begin(requests: socket.socket) -> "subprocess.Popen[bytes]":
        begun.append(requests)
        return subprocess.Popen([sys.executable, "-c", f"import os; {code}"], pass_fds=[requests.fileno()])

    monkeypatch.setattr(module, "begin", begin)
    with pytest.raises(WorkerStartError, match=f"^the process that starts workers ended {how} before they could train"):
        results_of(fake_engines.OneByOne, [cell(0)])
    assert len(begun) == times


@pytest.mark.usefixtures("no_server")
def test_no_more_processes_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(threading.Thread):
        """A server that may not fork."""

        def __init__(self, requests: socket.socket) -> None:
            super().__init__(daemon=True)
            self.requests = requests.dup()
            self.start()

        def run(self) -> None:
            self.requests.send(b"!")
            while request := socket.recv_fds(self.requests, 1 << 16, 3):
                if not request[0]:
                    break
                if request[0] != b"fork":
                    self.requests.send(b"!")
                else:
                    write_signed(request[1][-1], -errno.EAGAIN)
                for descriptor in request[1]:
                    os.close(descriptor)
            self.requests.close()

        def poll(self) -> int | None:
            return None

        def kill(self) -> None:
            pass

        def wait(self, timeout: float | None = None) -> int:
            self.join()
            return 0

    monkeypatch.setattr(module, "begin", Refusing)
    with pytest.raises(WorkerStartError, match=r"^no worker process can be started: Resource temporarily unavailable$"):
        results_of(fake_engines.OneByOne, [cell(0)])


def test_what_cannot_be_imported_is_left_to_who_needs_it(begun: list[Any]) -> None:
    server = WorkerServer()
    server.load(["no_such_module", "torch.no_such_module"])
    while not server.is_ready():
        multiprocessing.connection.wait([server.requests], 1)
    assert begun[0].poll() is None
    server.requests.close()
    assert begun[0].wait(60) == 0, "it ends with what asks it"


@pytest.mark.usefixtures("no_server")
@pytest.mark.parametrize(
    ("system", "device"), [("linux", "cuda"), pytest.param("darwin", "cpu", marks=pytest.mark.soak)]
)
def test_where_a_fork_is_not_safe_workers_begin_anew(monkeypatch: pytest.MonkeyPatch, system: str, device: str) -> None:
    monkeypatch.setattr(module, "begin", None)
    monkeypatch.setattr(sys, "platform", system)
    setup = EngineSetup(fake_engines.OneByOne, device, None, Path("data"))
    prepare_workers([cell(0)], device)
    (result,) = [event for event in train_in_parallel([[cell(0)]], setup, 1) if isinstance(event, Result)]
    assert (result.status, result.started) == ("done", f"{device}, 1 threads")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
