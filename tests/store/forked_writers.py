"""Processes that write, compact and read a store, and are killed while they do: forked, so that each costs little.

Run as a script it is the server, which has everything imported and forks a process for every job. A job tells through
shared memory in which phase of its work it is: only the calls that reach the disk are wrapped.
"""

import contextlib
import errno
import fcntl
import json
import mmap
import os
import random
import signal
import stat
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from jumpstart_exp.cell import Cell
from jumpstart_exp.result import CurveRow, LayerCensus, Result
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store, parts, result_row
from jumpstart_exp.store import compaction as compacting

WRITTEN = ("writing", "before fsync", "in fsync", "before rename", "before folder fsync", "after folder fsync")
DELETED = ("before deletion", "after deletion", "deletion durable")

WRITE_PHASES = ("between writes", *(f"{folder}: {phase}" for folder in ("curves", "cells") for phase in WRITTEN))
LABEL_PHASES = ("between labels", *(f"labels: {phase}" for phase in WRITTEN))
COMPACTION_PHASES = (
    "reading",
    *(f"{folder}: {phase}" for folder in ("curves", "cells") for phase in (*WRITTEN, *DELETED)),
)

BEFORE = {"write": WRITE_PHASES[0], "labels": LABEL_PHASES[0], "compact": COMPACTION_PHASES[0], "poll": ""}
"""The phase of each job from its first instant: it may be killed before it marks one."""

BATCH = 2


def cell_of(seed: int) -> Cell:
    return Cell(depth=2, width=3, seed=seed, method="UP", penalty=PenaltySpec(kind="UP"))


def epochs_of(seed: int) -> list[int]:
    """The epochs of a cell's curve: every fifth cell has none."""
    return list(range(1, 2 + seed % 3)) if seed % 5 else []


def result_of(seed: int, engine: str = "eager", status: Any = "done") -> Result:
    curve = tuple(
        CurveRow(epoch, 0.5, 0.25, 0.75, 1.25, None, 0.0, 0.1, 0.2, seed / 2**20) for epoch in epochs_of(seed)
    )
    census = LayerCensus(*[(0.5, seed / 2**20)] * 4)
    return Result(
        cell_of(seed), status, engine, n_params=seed + 1, census_start=census, census_last=census, curve=curve
    )


class Phases:
    """Tells the phase of this process's work, in memory that it shares with the server."""

    def __init__(self, shared: mmap.mmap, job: dict[str, Any]) -> None:
        self.shared, self.job = shared, job
        self.random = random.Random(job["seed"])
        self.kind = "labels" if job["work"] == "labels" else ""
        self.deleting = False
        self.times: Counter[str] = Counter()

    def mark(self, phase: str) -> None:
        self.shared[:64] = phase.encode().ljust(64)
        self.times[phase] += 1
        if self.times[phase] == 1 and phase == self.job.get("dies_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.times[phase] == 1 and phase == self.job.get("stops_at"):
            os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(self.random.uniform(0, self.job["dwell"]))  # short phases are hit as well as long ones

    def of(self, path: Path, phase: str) -> None:
        self.mark(f"{self.kind or path.name}: {phase}")

    def watch(self) -> None:
        write_pieces, fsync, replace, unlink = parts.write_pieces, os.fsync, Path.replace, Path.unlink

        def watched_write_pieces(file: Any, content: memoryview, *, is_sound: bool) -> None:
            self.deleting = False
            folder = Path(file.name).parent

            class Watched:
                pieces = 0

                def write(_, piece: Any) -> None:  # noqa: N805
                    file.write(piece)
                    file.flush()
                    Watched.pieces += 1
                    if Watched.pieces == 1:
                        self.of(folder, "writing")  # half of it is there

            write_pieces(Watched(), content, is_sound=is_sound)  # type: ignore[arg-type]
            self.of(folder, "before fsync")

        def watched_fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                self.of(path.parent, "in fsync")
                fsync(descriptor)
                self.of(path.parent, "before rename")
            else:
                fsync(descriptor)
                if path.name in ("cells", "curves"):
                    self.of(path, "deletion durable" if self.deleting else "after folder fsync")

        def watched_replace(source: Path, target: Path) -> Path:
            moved = replace(source, target)
            self.of(target.parent, "before folder fsync")
            return moved

        def watched_unlink(path: Path, missing_ok: bool = False) -> None:
            is_part = path.name.startswith("part-")
            if is_part:
                self.deleting = True
                self.of(path.parent, "before deletion")
            unlink(path, missing_ok=missing_ok)
            if is_part:
                self.of(path.parent, "after deletion")

        parts.write_pieces = watched_write_pieces
        os.fsync = watched_fsync
        Path.replace = watched_replace  # type: ignore[method-assign,assignment]
        Path.unlink = watched_unlink  # type: ignore[method-assign]


# What a job does; it reports each thing that is done


def write(store: Store, job: dict[str, Any], report: Callable[[Any], None], phases: Phases) -> None:
    """Store these cells, a batch after the other."""
    for start in range(0, len(job["seeds"]), BATCH):
        seeds = job["seeds"][start : start + BATCH]
        phases.mark("between writes")
        store.write([result_of(seed) for seed in seeds])
        report(seeds)
        time.sleep(job["pause"])


def labels(store: Store, job: dict[str, Any], report: Callable[[Any], None], phases: Phases) -> None:
    """Add labels, one after the other."""
    for seed, label in job["labels"]:
        phases.mark("between labels")
        store.add_labels([(cell_of(seed).key, label)])
        report([seed, label])


def compact(store: Store, job: dict[str, Any], report: Callable[[Any], None], phases: Phases) -> None:
    """Compact again and again, into small parts."""
    compacting._ROWS = job["rows"]
    if not job["locks"]:
        fcntl.flock = no_locks
    for _ in range(job["times"]):
        phases.mark("reading")
        found = compacting.compact(store)
        report([found.parts_before, found.parts_after])


def no_locks(*_: Any) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def poll(store: Store, job: dict[str, Any], report: Callable[[Any], None], phases: Phases) -> None:
    """Read in all ways until asked to stop: what was there once must be there for ever, just as it was."""
    warnings.simplefilter("error")
    follower = store.follow(["engine"])
    known: dict[str, tuple[str, int, list[str]]] = {}
    picked = random.Random(job["seed"])
    looks = 0
    while not phases.shared[64]:
        before = dict(known)
        stored = store.stored()
        assert stored.keys() >= before.keys(), "stored() lost a row"
        cells = store.cells(["engine", "seed"])
        assert cells["key"].is_unique, "cells() has a key twice"
        known = {row.key: (row.engine, row.seed, row.labels) for row in cells.itertuples()}
        assert known.keys() >= stored.keys(), "cells() lost a row"
        for key, row in before.items():
            assert known[key] == row, "cells() has another row"
        followed = follower.cells()
        assert followed["key"].is_unique, "follow() has a key twice"
        assert dict(zip(followed["key"], followed["engine"], strict=True)).items() >= {
            (key, engine) for key, (engine, _, _) in known.items()
        }, "follow() lost a row"
        curves = store.curves().groupby("key")["epoch"].agg(list).to_dict()
        for key, (_, seed, _) in known.items():
            assert curves.get(key, []) == epochs_of(seed), "curves() is not complete"
        if known:
            key = picked.choice(sorted(known))
            assert store.row(key)["engine"] == known[key][0], "row() has another row"
        looks += 1
        time.sleep(job["pause"])
    report(looks)


WORK = {job.__name__: job for job in (write, labels, compact, poll)}


# The server


class Server:
    """Forks a process for every job that it reads from standard input, and says what became of it."""

    def __init__(self) -> None:
        self.jobs: dict[int, tuple[int, mmap.mmap]] = {}

    def serve(self) -> None:
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(self, request.pop("do"))(**request)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    def start(self, job: dict[str, Any]) -> int:
        shared = mmap.mmap(-1, 128)
        shared[:64] = BEFORE[job["work"]].encode().ljust(64)
        receiver, sender = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(receiver)
            self.run(job, shared, sender)
        os.close(sender)
        self.jobs[pid] = receiver, shared
        while not shared[65]:  # it has begun
            time.sleep(0.0002)
        return pid

    def run(self, job: dict[str, Any], shared: mmap.mmap, sender: int) -> None:
        def report(what: Any) -> None:
            os.write(sender, (json.dumps(what) + "\n").encode())

        try:
            shared[65] = 1
            phases = Phases(shared, job)
            phases.watch()
            WORK[job["work"]](Store(Path(job["results_dir"])), job, report, phases)
            shared[:64] = b"finished".ljust(64)
        except BaseException as error:
            shared[:64] = f"{type(error).__name__}: {error}".encode()[:64].ljust(64)
            report(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)

    def stop(self, pid: int) -> None:
        self.jobs[pid][1][64] = 1

    def kill(self, pid: int, after: float, phase: str | None = None) -> None:
        shared = self.jobs[pid][1]
        deadline = time.monotonic() + 10
        while phase and shared[:64].decode().strip() not in (phase, "finished") and time.monotonic() < deadline:
            time.sleep(0.0001)
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)

    def wait_stopped(self, pid: int) -> None:
        os.waitpid(pid, os.WUNTRACED)

    def end(self, pid: int) -> dict[str, Any]:
        receiver, shared = self.jobs.pop(pid)
        with os.fdopen(receiver) as reports:
            found = [json.loads(line) for line in reports]
        _, status = os.waitpid(pid, 0)
        return {
            "phase": shared[:64].decode().strip(),
            "reports": found,
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        }


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the phase in which it ended, what it had reported, and whether it was killed."""

    phase: str
    reports: list[Any]
    killed: bool


class Forked:
    """The server, from outside."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, do: str, **request: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, work: str, store: Store, **job: Any) -> int:
        """Begin a job; its process id."""
        standard = {"seed": 0, "dwell": 0.0, "pause": 0.0, "rows": 4, "times": 1, "locks": True}
        pid: int = self.ask("start", job={"work": work, "results_dir": str(store.results_dir), **standard, **job})
        return pid

    def end(self, pid: int) -> Outcome:
        """Wait for the job's end."""
        return Outcome(**self.ask("end", pid=pid))

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@contextlib.contextmanager
def forked_server() -> Iterator[Forked]:
    server = Forked()
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Kill:
    """When a job dies: at the beginning of a phase, or at an instant after the beginning of one (None: of the job)."""

    phase: str | None
    after: float = 0.0
    exactly: bool = False

    def start(self, forked: Forked, work: str, store: Store, **job: Any) -> int:
        """Begin a job that is to die."""
        if self.exactly:
            return forked.start(work, store, dies_at=self.phase, **job)
        pid = forked.start(work, store, dwell=0.001, **job)
        forked.ask("kill", pid=pid, after=self.after, phase=self.phase)
        return pid


def kills(phases: Sequence[str], count: int, within: float, seed: int) -> Iterator[Kill]:
    """Every phase exactly; then `count` random instants, half of them spread over the phases."""
    yield from (Kill(phase, exactly=True) for phase in phases)
    instants = random.Random(seed)
    for number in range(count):
        if number % 2:
            yield Kill(phases[number // 2 % len(phases)], instants.uniform(0, 0.001))
        else:
            yield Kill(None, instants.uniform(0, within))


class KillLog:
    """How many kills hit each phase, and how many rows each of them cost."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.kills: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def add(self, phase: str, lost: int) -> None:
        self.kills[phase] += 1
        self.lost[phase] += lost

    def show(self) -> None:
        """Print the table; append it to the file that JUMPSTART_FAULT_LOG names."""
        print(f"{self.writer:<42}{'kills':>8}{'rows lost':>12}")
        for phase, count in sorted(self.kills.items()):
            print(f"{phase:<42}{count:>8}{self.lost[phase]:>12}")
        if name := os.environ.get("JUMPSTART_FAULT_LOG"):
            with Path(name).open("a") as log:
                log.writelines(
                    f"{self.writer},{phase},{self.kills[phase]},{self.lost[phase]}\n" for phase in self.kills
                )


def assert_same_frames(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True))


if __name__ == "__main__":
    result_row(result_of(0))  # asks git, once for all
    Server().serve()
