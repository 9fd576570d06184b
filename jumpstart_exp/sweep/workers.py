"""Worker processes: cells in parallel over the cores, and no worker's end harms another's cell."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.result import Result

_PROGRESS_EVERY = 0.5
"""Seconds between the progress reports of a worker."""


@dataclass(frozen=True)
class EngineSetup:
    """Which engine trains, where, and with which data."""

    engine: str
    device: str
    curve_every: int | None
    data_dir: Path


@dataclass(frozen=True)
class Progress:
    """A cell in training: epochs done so far."""

    cell: Cell
    epochs: int


class WorkerStartError(Exception):
    """Worker processes cannot be started here; no cell is to blame."""


@dataclass(frozen=True)
class _Ready:
    """A worker has its engine and waits for cells."""


def train_in_parallel(cells: Sequence[Cell], setup: EngineSetup, workers: int) -> Generator[Progress | Result | None]:
    """Train cells in `workers` processes, in the order given, yielding what happens as it happens.

    None is yielded when nothing has happened for a quarter of a second. A worker that dies costs the cell that it
    was training, which becomes a `failed` result; a new worker goes on with the rest. Closing the generator ends
    the workers at once.

    Raises:
        WorkerStartError: a worker process ended before it was ready for its first cell.
    """
    queue = deque(cells)
    pool: list[_Worker] = []
    # the children inherit it: thread pools that nobody uses would be made otherwise
    threads, os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS"), "1"
    try:
        pool = [_Worker(setup) for _ in range(min(workers, len(cells)))]
        while pool:
            for worker in pool:
                if worker.ready and worker.cell is None and queue:
                    worker.start(queue.popleft())
            busy = [worker for worker in pool if worker.cell or not worker.ready]
            answered = connection.wait([worker.pipe for worker in busy], timeout=0.25)
            if not answered:
                yield None
            for worker in busy:
                if worker.pipe in answered and (message := worker.receive()) is not None:
                    yield message
            pool = [_Worker(setup) if worker.dead and queue else worker for worker in pool]
            pool = [worker for worker in pool if worker.cell or (queue and not worker.dead)]
    finally:
        for worker in pool:
            worker.stop()
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = threads


class _Worker:
    """One process and the cell that it is training."""

    def __init__(self, setup: EngineSetup) -> None:
        context = multiprocessing.get_context("spawn")
        self.engine, self.device = setup.engine, setup.device
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(setup, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.cell: Cell | None = None
        self.ready = False
        self.dead = False

    def start(self, cell: Cell) -> None:
        self.cell = cell
        with contextlib.suppress(OSError):  # it died while idle: receive() reports it
            self.pipe.send(cell)

    def receive(self) -> Progress | Result | None:
        """The worker's next message; the `failed` result of its cell if it died; None when it became ready."""
        try:
            message: Progress | Result | _Ready = self.pipe.recv()
        except (EOFError, OSError):
            return self._died()
        if isinstance(message, _Ready):
            self.ready = True
            return None
        if isinstance(message, Result):
            self.cell = None
        return message

    def _died(self) -> Result:
        self.dead = True
        self.process.join()
        code = self.process.exitcode or 0
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
        if self.cell is None:
            raise WorkerStartError(f"a worker process ended {how} before it could train; see its message above")
        cell, self.cell = self.cell, None
        reason = f"its worker process ended {how}" + ("; out of memory?" if code == -signal.SIGKILL else "")
        return Result(cell, "failed", self.engine, self.device, error=reason)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _work(setup: EngineSetup, pipe: Any) -> None:
    """A worker's life: cells in, progress and results out, until the other end closes."""
    for request in (signal.SIGINT, signal.SIGTERM):
        signal.signal(request, signal.SIG_IGN)  # they reach the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from jumpstart_exp.engines import ENGINES, load_and_train

    engine = ENGINES[setup.engine](setup.device, setup.curve_every)
    pipe.send(_Ready())
    reported = time.monotonic()

    def progress(cell: Cell, epochs: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= _PROGRESS_EVERY:
            reported = time.monotonic()
            pipe.send(Progress(cell, epochs))

    while True:
        try:
            cell = pipe.recv()
        except EOFError:
            return
        load_and_train(engine, [cell], setup.data_dir, on_result=pipe.send, on_progress=progress)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
