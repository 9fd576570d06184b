"""Worker processes: fleets in parallel over the cores, and the end of a worker costs one cell at most."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.console import set_up_output, warn
from jumpstart_exp.limits import be_killed_first, memory_kills
from jumpstart_exp.result import Result, traceback_of
from jumpstart_exp.sweep.stopping import REQUESTS, Stop
from jumpstart_exp.sweep.worker_server import (
    NO_EXIT_CODE,
    ServerEndedError,
    WorkerProcess,
    WorkerServer,
    requests_held,
    worker_server,
)

if TYPE_CHECKING:
    from jumpstart_exp.engines import Engine
    from jumpstart_exp.engines.checkpoint import Checkpoints

_PROGRESS_EVERY = 0.25
"""Seconds between the progress reports of a worker."""

_MESSAGES_A_TURN = 100

_MOST_STILLBORN = 3
"""Workers in a row, or their server, that are replaced after a signal has ended them before their first fleet."""

_OPENMP = {"OMP_NUM_THREADS": "1"}
"""Of every worker's environment: thread pools that nobody uses would be made otherwise."""


@dataclass(frozen=True)
class EngineSetup:
    """Which engine trains, where, with which data, with how many threads a process, and where it keeps its state."""

    engine: "type[Engine]"
    device: str
    curve_every: int | None
    data_dir: Path
    threads: int = 1
    checkpoints: "Checkpoints | None" = None

    def make(self) -> "Engine":
        """The engine, ready to train."""
        return self.engine(self.device, self.curve_every, self.threads, self.checkpoints)


@dataclass(frozen=True)
class Progress:
    """A cell in training: epochs done so far."""

    cell: Cell
    epochs: float


class WorkerStartError(Exception):
    """Worker processes cannot be started here; no cell is to blame."""


@dataclass(frozen=True)
class _Crash:
    """What has ended a worker: the error in a line, and its traceback."""

    error: str
    traceback: str


@dataclass(frozen=True)
class _Ready:
    """A worker has its engine and waits for fleets."""


_Epochs = dict[str, float]
"""Epochs done of cells in training, by key."""

_Fleets = list[list[Cell]]


def train_in_parallel(
    fleets: Sequence[Sequence[Cell]], setup: EngineSetup, workers: int, stop: Stop | None = None
) -> Generator[Progress | Result | None, None, int | None]:
    """Train fleets of distinct cells in `workers` processes, in the order given, yielding what happens as it happens.

    None is yielded when nothing has happened for a quarter of a second. A worker that dies costs one cell, which
    becomes a `failed` result: what its fleet had finished stays, what it had not begun is trained by a new worker,
    and those that were in training are tried again in ever smaller fleets, until the one that kills is alone. After
    a worker that was killed for memory there are fewer of them (or fewer threads in it), and a warning says so; how
    many cells at once that leaves is returned, None where none was killed so.
    Closing the generator ends the workers at once. When `stop` is requested, or an error ends it, it does so as soon as
    every cell in training has a checkpoint (or when there is no more time, or it is requested again).

    Raises:
        WorkerStartError: a worker process ended before its first fleet; if by a signal, several in a row.
    """
    queue = deque([list(fleet) for fleet in fleets])
    modules = {*setup.engine.imports, *(name for fleet in queue for cell in fleet for name in cell.dataset.imports)}
    lowered: int | None = None
    pool: list[_Worker] = []
    died_at_start = 0
    if stop is None:
        stop = Stop()
    try:
        while (queue or pool) and not stop:
            waiting = sum(not worker.unfinished for worker in pool)
            wanted = min(workers - len(pool), len(queue) - waiting)
            awaited: list[socket.socket] = []
            try:
                for _ in range(wanted):
                    server = _server_with(modules) if _forks(setup.device) else None
                    if server is not None and not server.is_ready():
                        awaited = [server.requests]
                        break
                    pool.append(_Worker(setup, server))
            except ServerEndedError as ended:
                died_at_start += 1
                if ended.code >= 0 or died_at_start > _MOST_STILLBORN:
                    raise _not_started(ended.code) from None
            except OSError as error:
                raise WorkerStartError(f"no worker process can be started: {error.strerror or error}") from error
            for worker in pool:
                if worker.ready and not worker.unfinished and queue:
                    worker.start(queue.popleft())
                    died_at_start = 0
            busy = [worker for worker in pool if worker.unfinished or not worker.ready]
            answered = connection.wait([*awaited, *(worker.pipe for worker in busy)], timeout=0.25)
            if not answered:
                yield None
            for worker in busy:
                if worker.pipe in answered:
                    yield from worker.receive()
                if worker.dead and not stop and worker.has_lost_server():  # no cell is to blame
                    queue.extendleft([list(worker.unfinished.values())] if worker.unfinished else [])
                    worker.unfinished = {}
                elif worker.dead and not stop:  # one that is stopped leaves its cells to the next run
                    was_killed_for_memory = worker.was_killed_for_memory()
                    had_room = was_killed_for_memory and (workers > 1 or setup.threads > 1)
                    if had_room:
                        workers = max(1, sum(not one.dead for one in pool))
                        setup = replace(setup, threads=max(1, setup.threads // 2))
                    else:
                        died_at_start += not worker.unfinished
                    if was_killed_for_memory:
                        lowered = workers * setup.threads
                        warn(f"a worker process was killed for memory: {lowered} at once from now on")
                    rest, suspects, failed = worker.recover_cells(
                        is_alone=not had_room, is_replaced=had_room or died_at_start <= _MOST_STILLBORN
                    )
                    queue.extendleft(rest)
                    queue.extend(suspects)  # last: all that is innocent is done before the next one dies of them
                    yield from failed
            for worker in pool:
                if not queue and not worker.unfinished and not worker.dead:
                    worker.stop()
            pool = [worker for worker in pool if not worker.dead and (worker.unfinished or queue)]
        yield from _keep(pool, stop)
    except Exception:
        yield from _keep(pool, stop)
        raise
    finally:
        for worker in pool:
            worker.stop()
    return lowered


def _keep(pool: "list[_Worker]", stop: Stop) -> Iterator[Progress | Result | None]:
    """Have all cells in training kept; ends every worker as soon as its cells are, or when there is no more time."""
    deadline = time.monotonic() + stop.keep_seconds
    for worker in pool:
        worker.keep(stop.keep_seconds)
    while pool:
        over = stop.is_urgent or time.monotonic() >= deadline
        for worker in [worker for worker in pool if over or worker.has_kept()]:
            pool.remove(worker)
            yield from worker.drain()
        answered = connection.wait([worker.pipe for worker in pool], timeout=0.25)
        if not answered:
            yield None
        for worker in pool:
            if worker.pipe in answered:
                yield from worker.receive()


class _Worker:
    """One process and the fleet that it is training."""

    def __init__(self, setup: EngineSetup, server: WorkerServer | None) -> None:
        self.setup, self.server = setup, server
        self.pipe, theirs = multiprocessing.Pipe()
        self.control_pipe, their_wishes = multiprocessing.Pipe()  # apart: it is read while the worker trains
        self.process: BaseProcess
        self.kills_before = memory_kills()
        with theirs, their_wishes:
            if server is not None:
                self.process = WorkerProcess(server, [theirs.fileno(), their_wishes.fileno()])
                self.process.start()
            else:
                context = multiprocessing.get_context("spawn")
                self.process = context.Process(target=_begun_anew, args=(theirs, their_wishes), daemon=True)
                with _requests_held(), _without_main_module(), _one_thread():
                    self.process.start()
        self.unfinished: dict[str, Cell] = {}
        self.begun: dict[str, float] = {}
        self.fleet_size = 0
        self.ready = False
        self.dead = False
        self.crash: _Crash | None = None
        with contextlib.suppress(OSError):  # it died at once: receive() reports it
            self.pipe.send(_Surroundings.here())
            self.pipe.send(setup)

    def start(self, fleet: Sequence[Cell]) -> None:
        self.unfinished = {cell.key: cell for cell in fleet}
        self.begun, self.fleet_size = {}, len(fleet)
        with contextlib.suppress(OSError):  # it died while idle: receive() reports it
            self.pipe.send(fleet)

    def receive(self) -> Iterator[Progress | Result]:
        """What has come from the worker, news of other workers not kept waiting; its end is noted as `dead`."""
        try:
            for _ in range(_MESSAGES_A_TURN):
                message: _Epochs | Result | _Ready | _Crash = self.pipe.recv()
                if isinstance(message, _Ready):
                    self.ready = True
                elif isinstance(message, _Crash):
                    self.crash = message
                elif isinstance(message, Result):
                    if self.unfinished.pop(message.cell.key, None) is not None:
                        yield message
                else:
                    self.begun.update(message)
                    for key, epochs in message.items():
                        if key in self.unfinished:
                            yield Progress(self.unfinished[key], epochs)
                if not self.pipe.poll():
                    break
        except (EOFError, OSError):
            self.dead = True

    def has_lost_server(self) -> bool:
        """Whether the dead worker has ended because its server has: then nobody knows its exit code."""
        self.process.join()
        return self.server is not None and self.process.exitcode == NO_EXIT_CODE and self.server.has_ended()

    def was_killed_for_memory(self) -> bool:
        """Whether the dead worker was killed and, since it began, the system has killed something for memory."""
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL and memory_kills() > self.kills_before

    def recover_cells(self, *, is_alone: bool, is_replaced: bool) -> tuple[_Fleets, _Fleets, list[Result]]:
        """What a dead worker leaves: cells that it had not begun, fleets of which one may have killed it, failures.

        Args:
            is_alone: whether a single cell is to blame itself, and not what was trained beside it.
            is_replaced: whether it leaves nothing, and nothing is said, if a signal has ended it before it could train.

        Raises:
            WorkerStartError: it died before it had anything to train.
        """
        how = self._how_it_ended()
        if not self.unfinished:
            if is_replaced and (self.process.exitcode or 0) < 0:
                return [], [], []
            said = (self.process.exitcode or 0) >= 0 and self.crash is None
            hint = "; see its message above" if said else ""
            error = WorkerStartError(f"a worker process ended {how} before it could train{hint}")
            if self.crash is not None:
                error.add_note(self.crash.traceback)
            raise error
        cells, self.unfinished = list(self.unfinished.values()), {}
        if self.fleet_size == 1 and is_alone:
            reason = f"its worker process ended {how}"
            engine, device = self.setup.engine.name, self.setup.device
            epochs = f"{self.begun[cells[0].key]:g} epochs" if cells[0].key in self.begun else "nothing"
            known = f"process {self.process.pid}, engine {engine} on {device}, last heard of after {epochs}: {reason}"
            if self.crash is not None:
                known += f"\n{self.crash.traceback}"
            return [], [], [Result(cells[0], "failed", engine, device, error=reason, traceback=known)]
        suspects = [cell for cell in cells if cell.key in self.begun]
        rest = [cell for cell in cells if cell.key not in self.begun]
        if not suspects and len(rest) == self.fleet_size:
            suspects, rest = rest, []  # nothing is known of them: each may be the one
        half = (len(suspects) + 1) // 2
        return [rest] if rest else [], [fleet for fleet in (suspects[:half], suspects[half:]) if fleet], []

    def _how_it_ended(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        if code < 0:
            guess = ", killed for memory" if self.was_killed_for_memory() else "; out of memory?"
            return f"by signal {-code} ({signal.Signals(-code).name})" + (guess if code == -signal.SIGKILL else "")
        return f"by {self.crash.error}" if self.crash is not None else f"with exit code {code}"

    def keep(self, seconds: float) -> None:
        """Ask for a checkpoint of every cell in training."""
        with contextlib.suppress(OSError):
            self.control_pipe.send(seconds)

    def has_kept(self) -> bool:
        """Whether nothing of its cells in training would be lost with the process."""
        with contextlib.suppress(EOFError, OSError):
            return self.dead or not self.unfinished or not self.begun or self.control_pipe.poll()
        return True

    def drain(self) -> Iterator[Progress | Result]:
        """End the process at once; what it had said before."""
        self.process.kill()
        self.process.join()
        while not self.dead:
            yield from self.receive()
        self.stop()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.control_pipe.close()


def prepare_workers(cells: Iterable[Cell], device: str) -> None:
    """Have what workers need for these cells imported while this process does something else."""
    if _forks(device):
        with contextlib.suppress(ServerEndedError):  # who needs it begins another one
            _server_with({name for cell in cells for name in cell.dataset.imports})


def _forks(device: str) -> bool:
    """Whether workers are forked: what CUDA has begun does not bear it, nor do libraries of torch on other systems."""
    return device == "cpu" and sys.platform == "linux"


def _server_with(modules: Iterable[str]) -> WorkerServer:
    """This process's server of workers, which has imported the modules or is about to."""
    server = worker_server()
    server.load(modules)
    return server


def _not_started(code: int) -> WorkerStartError:
    """The error where the server of the workers cannot live."""
    how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
    return WorkerStartError(f"the process that starts workers ended {how} before they could train")


@dataclass(frozen=True)
class _Surroundings:
    """What a worker has from its parent as it is when the worker starts: the server may be older."""

    environment: dict[str, str]
    folder: str
    path: list[str]

    @classmethod
    def here(cls) -> "_Surroundings":
        return cls({**os.environ, **_OPENMP}, str(Path.cwd()), [str(folder) for folder in sys.path])

    def take_over(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.path[:] = self.path


@contextlib.contextmanager
def _requests_held() -> Iterator[None]:
    """As `requests_held`, also for Python's resource tracker, which comes with the first process that is spawned."""
    with requests_held():
        resource_tracker.ensure_running()  # for good: by itself it ignores but SIGINT and SIGTERM, and lets these pass
        signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)
        yield


@contextlib.contextmanager
def _without_main_module() -> Iterator[None]:
    """Processes that start do not run the program's main module again: it may be no file, or begin the sweep anew."""
    main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start have no pools of threads, which nobody would use."""
    before = {name: os.environ.get(name) for name in _OPENMP}
    os.environ.update(_OPENMP)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begun_anew(pipe: Any, control_pipe: Any) -> None:
    sys.exit(work(pipe, control_pipe, None))


def work(pipe: Any, control_pipe: Any, server: int | None) -> int:
    """A worker's life: fleets in, progress and results out, until the other end closes; gives its exit code.

    It ends, too, when something can be read from `server`, a file descriptor.
    """
    for request in REQUESTS:
        signal.signal(request, signal.SIG_IGN)  # they reach the whole group; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, REQUESTS)
    set_up_output()
    be_killed_first()  # the parent has what is finished
    threading.Thread(target=_heed_others, args=(control_pipe, server), daemon=True).start()
    try:
        pipe.recv().take_over()
        _train_fleets(pipe)
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(_Crash(f"{type(error).__name__}: {error}", traceback_of(error)))
        return 1
    return 0


def _train_fleets(pipe: Any) -> None:
    setup: EngineSetup = pipe.recv()
    from jumpstart_exp.engines import load_and_train

    engine = setup.make()
    pipe.send(_Ready())
    epochs_done: _Epochs = {}
    reported = time.monotonic()

    def progress(cell: Cell, epochs: float) -> None:
        nonlocal reported
        epochs_done[cell.key] = epochs
        # that a cell is begun is said at once: it may end this process
        if epochs == 0 or time.monotonic() - reported >= _PROGRESS_EVERY:
            reported = time.monotonic()
            pipe.send(epochs_done)
            epochs_done.clear()

    while True:
        try:
            fleet = pipe.recv()
        except EOFError:
            return
        load_and_train(engine, fleet, setup.data_dir, on_result=pipe.send, on_progress=progress)


def _heed_others(control_pipe: Any, server: int | None) -> None:
    """Keep the cells in training when the parent asks for it; end when it ends, or the server."""
    ends = [] if server is None else [server]
    while connection.wait([control_pipe, *ends]) == [control_pipe]:
        try:
            seconds = control_pipe.recv()
        except (EOFError, OSError):
            break
        from jumpstart_exp.engines.checkpoint import request_checkpoint, wait_until_kept

        request_checkpoint()
        wait_until_kept(seconds)
        with contextlib.suppress(OSError):
            control_pipe.send(None)
    os._exit(1)
