"""Whole sweeps as processes that can be watched and harmed, and what their stores hold."""

import contextlib
import os
import re
import runpy
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from program import FORKED, fork_server_of_workers, worker_processes

from jumpstart_exp.cluster.sweep_state import SweepMonitor
from jumpstart_exp.store import Store

RUN_DEPENDENT = ["seconds", "peak_memory_bytes", "started", "labels", "git_commit", "git_dirty"]

STARTING, PLANNING, WORKERS, TRAINING = "starting", "planning", "workers starting", "training"
CURVES, CELLS, STORING, FINISHING = "storing curves", "storing cells", "storing", "finishing"
FLEET_FOR = "a fleet for"
PHASES = (STARTING, PLANNING, WORKERS, TRAINING, CURVES, CELLS, FINISHING)
"""What a sweep's process goes through, in order; storing comes again and again."""


@dataclass(frozen=True)
class Deed:
    """A call, in the sweep's own process, when a phase begins for the `entry`-th time."""

    phase: str
    entry: int
    function: Callable[..., None]
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class How:
    """How a sweep's process is started.

    `deeds` are done in it; `fresh` lets Python begin from nothing, without phases and deeds but those of `STARTING`;
    `slow_disk` seconds pass in every fsync; results are stored when there are `store_after`; `environment` is added to
    this one's.
    """

    fresh: bool = False
    deeds: tuple[Deed, ...] = ()
    slow_disk: float = 0.0
    store_after: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Sweep:
    """A running `python -m MODULE` in a session of its own: its output, its phases, its workers."""

    def __init__(self, folder: Path, arguments: Sequence[str], how: How, module: str) -> None:
        self.folder, self.module = folder, module
        outside = folder.parent / "said"  # apart: the folder may be full, or have any name
        outside.mkdir(exist_ok=True)
        number = len(list(outside.iterdir())) // 2
        self.said, self.log = (outside / f"{number}.{kind}" for kind in ("output", "phases"))
        self.said.touch()
        self.log.touch()
        self.process = FORKED.Process(
            target=live, args=(module, list(arguments), folder, self.said, self.log, how, dict(os.environ))
        )
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def output(self) -> str:
        """What it has said until now, errors included."""
        return self.said.read_text(errors="replace")

    def phases(self) -> list[tuple[float, str]]:
        """What it has gone through: when each phase began (`time.monotonic`), and which."""
        lines = [line.partition(" ") for line in self.log.read_text().splitlines()]
        return [(float(when), name) for when, _, name in lines]

    def phase(self) -> str:
        """What it is, or was last, about."""
        return [STARTING, *(name for _, name in self.phases())][-1]

    def reported(self) -> int:
        """The cells that it has reported done."""
        return max([int(count) for count in re.findall(r"^(\d+)/\d+ cells,", self.output(), re.M)], default=0)

    def workers(self) -> list[int]:
        """Its worker processes, but for those that have ended."""
        return [pid for pid in worker_processes(self.pid) if is_running(pid)]

    @property
    def has_ended(self) -> bool:
        return self.process.exitcode is not None

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send it, or its whole session, a signal."""
        with contextlib.suppress(ProcessLookupError):
            has_group = os.getpgid(self.pid) == self.pid  # not yet in its very first moments
            (os.killpg if group and has_group else os.kill)(self.pid, number)

    def ended(self, seconds: float = 300) -> int:
        """Its exit code, waited for."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"it does not end within {seconds} s:\n{self.output()}"
        return self.process.exitcode


class Sweeps:
    """Starts sweeps; what is still there at the end is killed."""

    def __init__(self) -> None:
        self.all: list[Sweep] = []

    def start(
        self, folder: Path, arguments: Sequence[str], how: How | None = None, module: str = "jumpstart_exp"
    ) -> Sweep:
        folder.mkdir(parents=True, exist_ok=True)
        self.all.append(Sweep(folder, arguments, how or How(), module))
        return self.all[-1]

    def run(
        self, folder: Path, arguments: Sequence[str], how: How | None = None, module: str = "jumpstart_exp"
    ) -> tuple[int, str]:
        """Exit code and output."""
        sweep = self.start(folder, arguments, how, module)
        return sweep.ended(), sweep.output()

    def __enter__(self) -> "Sweeps":
        return self

    def __exit__(self, *_: object) -> None:
        for sweep in self.all:
            if not sweep.has_ended:
                sweep.signal(signal.SIGKILL, group=True)
            sweep.process.join()
            sweep.process.close()


def live(
    module: str, arguments: list[str], folder: Path, said: Path, log: Path, how: How, environment: dict[str, str]
) -> None:
    """What `python -m` does, in a process that is there; it notes what it goes through."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment | how.environment)
    os.chdir(folder)
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    notes = log.open("a", buffering=1)  # before a user without rights has to open it
    entries: Counter[str] = Counter()

    def note(phase: str) -> None:
        notes.write(f"{time.monotonic()} {phase}\n")
        entries[phase] += 1
        for deed in how.deeds:
            if (deed.phase, deed.entry) == (phase, entries[phase]):
                deed.function(*deed.values)

    note(STARTING)
    if how.fresh:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])
    fork_server_of_workers()
    note_phases(note, how)
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(folder))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        note("")


def die(after: float, group: bool) -> None:
    """Kill this process, or its group, so many seconds from now: from outside one comes too late for short phases."""

    def kill() -> None:
        time.sleep(after)
        (os.killpg if group else os.kill)(os.getpid(), signal.SIGKILL)

    if after:
        threading.Thread(target=kill, daemon=True).start()
    else:
        kill()


def note_phases(note: Callable[[str], Any], how: How) -> None:
    """Say what this process begins, by wrapping what it calls; results are stored, and said to be, at once."""
    import jumpstart_exp.store as store
    from jumpstart_exp import launcher
    from jumpstart_exp.sweep import progress, runner, workers

    def begins(owner: Any, name: str, phase: Callable[..., str], after: str | None = None) -> None:
        function = getattr(owner, name)

        def noting(*values: Any, **named: Any) -> Any:
            note(phase(*values))
            try:
                return function(*values, **named)
            finally:
                if after is not None:
                    note(after)

        setattr(owner, name, noting)

    begins(launcher, "compose_sweep", lambda *_: PLANNING)
    begins(runner, "train_in_parallel", lambda *_: WORKERS)
    begins(workers._Worker, "start", lambda *_: TRAINING)
    begins(workers._Worker, "start", lambda worker, _: f"{FLEET_FOR} {worker.process.pid}")
    begins(store, "write_durably", lambda _, path: CURVES if path.parent.name == "curves" else CELLS, STORING)
    begins(store.Store, "write", lambda *_: STORING, TRAINING)
    begins(runner, "outcome_table", lambda *_: FINISHING)
    progress._PLAIN_EVERY = 0.05
    if how.store_after is not None:
        runner.STORE_AFTER_CELLS = how.store_after
    if how.slow_disk:
        fsync = os.fsync

        def slow(descriptor: Any) -> None:
            time.sleep(how.slow_disk)
            fsync(descriptor)

        os.fsync = slow


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(holds: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


# What stores hold


def comparable(results: Path) -> pd.DataFrame:
    """The rows without what differs from run to run."""
    return Store(results).cells().drop(columns=RUN_DEPENDENT)


def assert_same_results(results: Path, expected: Path) -> None:
    """Rows and curves are equal to the bit."""
    pd.testing.assert_frame_equal(comparable(results), comparable(expected))
    pd.testing.assert_frame_equal(Store(results).curves(), Store(expected).curves())


def rows_by_key(results: Path) -> Counter[str]:
    """How many rows the parts have of every key, however many the reader gives."""
    found: Counter[str] = Counter()
    for path in (results / "cells").glob("[!.]*.parquet"):
        found.update(pq.read_table(path, columns=["key"])["key"].to_pylist())
    return found


def done(results: Path) -> set[str]:
    return {key for key, known in Store(results).stored().items() if known.status == "done"}


@dataclass
class Reader:
    """Reads a store and its sweeps' status all the while, as reports and people do; whatever goes wrong is an error.

    Warnings are errors in the tests. `seen` are the keys of all cells that were trained at any time.
    """

    results: Path
    seen: set[str] = field(default_factory=set)
    looks: int = 0
    error: BaseException | None = None
    over: threading.Event = field(default_factory=threading.Event)

    def _read(self) -> None:
        try:
            watch = SweepMonitor(self.results)
            while not self.over.wait(0.1):
                self.looks += 1
                states = watch.look().states
                rows = {key for key, state in states.items() if state in ("done", "diverged")}
                assert self.seen <= rows, "rows that were there are gone"
                self.seen |= rows
                if self.looks % 5 == 0:
                    cells = Store(self.results).cells(["key", "status"])
                    assert cells["key"].is_unique
                    assert self.seen <= set(cells["key"])
                    curves = set(Store(self.results).curves()["key"])
                    assert set(cells.loc[cells["status"] == "done", "key"]) <= curves, "a row without its curve"
        except BaseException as error:  # the test's thread raises it
            self.error = error

    def __enter__(self) -> "Reader":
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join()
        if self.error is not None and error is None:
            raise self.error


# Kills, counted


@dataclass
class Kills:
    """How many kills hit which phase, and how many rows that were reported done were lost by them."""

    fault: str
    hits: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    def hit(self, phase: str, lost: int) -> None:
        self.hits[phase] += 1
        self.lost[phase] += lost

    @contextlib.contextmanager
    def logged(self) -> Iterator["Kills"]:
        """Append the counts to the file that JUMPSTART_FAULT_LOG names, if any: FAULT,PHASE,kills,rows_lost."""
        try:
            yield self
        finally:
            if path := os.environ.get("JUMPSTART_FAULT_LOG"):
                with Path(path).open("a") as file:
                    for phase, count in self.hits.items():
                        file.write(f"{self.fault},{phase},{count},{self.lost[phase]}\n")
