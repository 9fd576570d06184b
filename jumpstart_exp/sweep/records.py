"""Records of who trains what, in RESULTS_DIR/sweeps: for `python -m jumpstart_exp.status`, and to submit nothing twice.

They are told by nobody's memory and no row depends on them: a process that trains keeps a *run record* (what it was to
train, what it is training, a heartbeat), and a sweep that was submitted to a cluster has a *submission* (which cells
are in which job). Each carries a checksum; one that is damaged is named, and what cannot be read is as good as none.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import platform
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jumpstart_exp.console import Notice
from jumpstart_exp.result import traceback_of
from jumpstart_exp.store.parts import make_folder, sync_folder
from jumpstart_exp.sweep.stopping import TOLD_TO_END

BEAT_SECONDS = 10.0
"""Seconds between two heartbeats of a process that trains."""

STALE_SECONDS = 90.0
"""A process that has not given a sign for so long is taken for dead where nothing better is known."""

STOCK = "submitit_slurm"
"""Hydra's own launcher on SLURM: every job has a folder."""

_VERSION = 1

_UNUSABLE = (AttributeError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading a file raises that is no record."""


class RecordWarning(Notice):
    """A record is damaged and left out; the message names it."""


@dataclass(frozen=True)
class Job:
    """The cluster's job that this process is, and the file that its output goes to."""

    name: str
    log: str | None = None


def current_job() -> Job | None:
    """The SLURM job that this process is in, if any: "ARRAY_INDEX", or the number of a job that is no array."""
    number = os.environ.get("SLURM_JOB_ID")
    if not number:
        return None
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    try:
        log = os.readlink("/proc/self/fd/1")  # noqa: PTH115 - a text, which may name a pipe
    except OSError:
        log = ""
    return Job(f"{array}_{index}" if array and index else number, log if log.startswith("/") else None)


@dataclass(frozen=True)
class Run:
    """A process that trains, as its record tells.

    `costs` are estimated core-seconds by key, of all that it was to train; `training` the share done, from 0 to 1, of
    what it trains now, `failed` what it has seen fail; `state` is `running`, or how it ended: `stopped` by a signal,
    or `crashed` by an error; `seconds_left` is its own estimate, of the moment of its last sign.
    """

    name: str
    host: str
    machine: str  # which boot and container it is in: names of hosts are not unique
    process: str  # the process's number and when it began, which tells it from a later one of the same number
    job: str | None
    state: str
    at_once: int
    log: str | None
    training: Mapping[str, float]
    failed: frozenset[str]
    costs: Mapping[str, float]
    age: float  # seconds since the last sign, by the file system's clock
    seconds_left: float | None = None
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Array:
    """Tasks that were submitted as one job array: numbers `first` to `first + count - 1`; `job` None: not known."""

    first: int
    count: int
    job: str | None
    name: str


@dataclass(frozen=True)
class Submission:
    """A sweep on a cluster: what is in which task, and which job arrays the tasks are.

    `tasks` holds each task's keys, `costs` the estimated core-seconds by key, `folder` has the tasks' logs; `retries`
    tells whether its tasks train again what has failed before; `ended` is why it was ended as a whole, if it was.
    """

    name: str
    launcher: str
    folder: str
    at_once: int  # cells that a task trains at the same time
    tasks: Sequence[Sequence[str]]
    costs: Mapping[str, float]
    retries: bool
    arrays: Sequence[Array]
    ended: str | None = None

    def jobs(self) -> dict[int, str]:
        """The job of every task that is known to be submitted: task number → "ARRAY_INDEX"."""
        return {
            array.first + index: f"{array.job}_{index}"
            for array in self.arrays
            if array.job is not None
            for index in range(array.count)
        }

    def job(self, number: int) -> str | None:
        """A task as SLURM names it: a task alone is a job and no array; None if it is not known to be submitted."""
        for array in self.arrays:
            index = number - array.first
            if array.job is not None and 0 <= index < array.count:
                return f"{array.job}_{index}" if array.count > 1 else array.job
        return None

    def log(self, number: int) -> str | None:
        """The file of a task's output; None if it is not known to be submitted."""
        job = self.job(number)
        if job is None:
            return None
        folder = f"{self.folder}/{job}" if self.launcher == STOCK else self.folder
        return f"{folder}/{job}_0_log.out"


class Records:
    """The records in a results folder.

    Args:
        results_dir: the folder, which may not exist yet.
    """

    def __init__(self, results_dir: Path) -> None:
        self.folder = results_dir / "sweeps"
        self._submits = False
        self._warned: set[Path] = set()

    def keep_submission(self, submission: Submission) -> None:
        """Write a submission, or what has become known of it; when this returns it is durable.

        Raises:
            OSError: it cannot be written.
        """
        _write(self.folder / f"{submission.name}.submission.json", asdict(submission), durable=True)

    def end_submission(self, name: str, reason: str) -> None:
        """Note that a submission is over: none of its tasks is to train any more. The first reason stays.

        Raises:
            OSError: it cannot be written.
        """
        if self.why_ended(name) is None:
            _write(self.folder / f"{name}.ended.json", {"version": _VERSION, "reason": reason}, durable=True)

    def why_ended(self, name: str) -> str | None:
        """Why a submission is over; None if it is not."""
        with contextlib.suppress(*_UNUSABLE):
            return _text(self._content(self.folder / f"{name}.ended.json")["reason"])
        return None

    @contextlib.contextmanager
    def alone(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Be the only one that submits, as far as the file system has locks; the lock ends with the process.

        Args:
            on_wait: is called if another process has to be waited for.
        """
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):  # no locks here, or no folder: that comes up later
                make_folder(self.folder)
                lock = held.enter_context((self.folder / ".submission.lock").open("a"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    on_wait()
                    fcntl.flock(lock, fcntl.LOCK_EX)
            self._submits = True
            try:
                yield
            finally:
                self._submits = False

    def is_submitting(self) -> bool:
        """Whether another process submits a sweep at this moment, as far as the file system has locks."""
        if self._submits:
            return False
        try:
            with (self.folder / ".submission.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def submissions(self) -> list[Submission]:
        """All submissions, in the order of their names."""
        self._clock()  # who has changed a network folder sees it as it is
        found = []
        for path, content in self._read("*.submission.json"):
            with contextlib.suppress(*_UNUSABLE):
                name = path.name.removesuffix(".submission.json")
                found.append(replace(_submission(name, content), ended=self.why_ended(name)))
        return found

    def runs(self) -> list[Run]:
        """All run records, dead or alive."""
        now = self._clock()
        found = []
        for path, content in self._read("*.run.json"):
            with contextlib.suppress(*_UNUSABLE):
                name = path.name.removesuffix(".run.json")
                costs = self._content(path.with_name(f"{name}.cells.json"))
                found.append(_run(name, content, costs, max(0.0, now - path.stat().st_mtime)))
        return found

    def remove(self, name: str) -> None:
        """Drop the record of this run or submission."""
        for kind in ("run", "cells", "ended", "submission"):
            with contextlib.suppress(OSError):
                (self.folder / f"{name}.{kind}.json").unlink(missing_ok=True)

    def _read(self, pattern: str) -> Iterable[tuple[Path, dict[str, Any]]]:
        try:
            paths = sorted(path for path in self.folder.glob(pattern) if not path.name.startswith("."))
        except OSError:
            return
        for path in paths:
            with contextlib.suppress(*_UNUSABLE):
                content = self._content(path)
                if content.pop("version", None) == _VERSION:
                    yield path, content

    def _content(self, path: Path) -> dict[str, Any]:
        """What a file says, without the checksum that those of before do not have.

        Raises:
            ValueError: it is damaged.
            Exception: one of `_UNUSABLE`, where it is no record.
        """
        text = path.read_bytes()
        try:
            content: dict[str, Any] = json.loads(text)
        except (RecursionError, ValueError):
            self._warn_of_damage(path, "it is not JSON")
            raise
        told = content.pop("checksum", None)
        if told is not None and told != _checksum(content):
            self._warn_of_damage(path, "its checksum does not fit")
            raise ValueError("it is damaged")
        return content

    def _warn_of_damage(self, path: Path, reason: str) -> None:
        if path not in self._warned:  # once, however often there is a look
            self._warned.add(path)
            warnings.warn(f"{path} is damaged and left out: {reason}", RecordWarning, stacklevel=3)

    def _clock(self) -> float:
        """What time it is for the machine that keeps the files; this one's where nothing can be written."""
        probe = self.folder / f".clock-{uuid.uuid4().hex}"
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:
            return time.time()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)


class Heartbeat:
    """Keeps this process's run record; a disk that takes no record stops no training.

    As a context it is the record's life: at its end nothing is left of the record, unless something is left to do
    because a signal or an error has ended the training.

    Args:
        records: where.
        costs: estimated core-seconds by key of all that is to be trained.
        at_once: cells that are trained at the same time.
        job: the cluster's job that this process is.
    """

    def __init__(self, records: Records, costs: Mapping[str, float], at_once: int, job: Job | None = None) -> None:
        self.records, self.job, self.at_once = records, job, at_once
        self.name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
        self.training: dict[str, float] = {}
        self.failed: list[str] = []
        self.seconds_left: float | None = None
        self.error: BaseException | None = None
        self.next_beat = 0.0
        self.costs: Mapping[str, float] | None = costs  # None as soon as they are written
        self.beat()

    def progress(self, key: str, share: float) -> None:
        """This share of a cell is trained."""
        if key not in self.training:  # what has just begun is worth a sign
            self.next_beat = min(self.next_beat, time.monotonic() + 1)
        self.training[key] = share

    def finished(self, key: str, *, has_failed: bool = False) -> None:
        """A cell is in training no more."""
        self.training.pop(key, None)
        if has_failed:
            self.failed.append(key)

    def beat(self, state: str = "running") -> None:
        """Give a sign, if it is time or the state is another one."""
        now = time.monotonic()
        if state == "running" and now < self.next_beat:
            return
        self.next_beat = now + BEAT_SECONDS
        content = {
            "version": _VERSION,
            "name": self.name,
            "host": platform.node(),
            "machine": machine_identity(),
            "process": process_identity(os.getpid()),
            "job": self.job.name if self.job else None,
            "state": state,
            "at_once": self.at_once,
            "log": self.job.log if self.job else None,
            "training": {key: round(share, 4) for key, share in self.training.items()},
            "failed": self.failed,
            "seconds_left": self.seconds_left,
            "error": None if self.error is None else f"{type(self.error).__name__}: {self.error}",
            "traceback": None if self.error is None else traceback_of(self.error),
        }
        with contextlib.suppress(OSError):
            if self.costs is not None:
                _write(self.records.folder / f"{self.name}.cells.json", dict(self.costs))
                self.costs = None
            _write(self.records.folder / f"{self.name}.run.json", content)

    def __enter__(self) -> "Heartbeat":
        """The record is there since it was made."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """This process trains no more."""
        if error is None:
            self.records.remove(self.name)
        elif isinstance(error, TOLD_TO_END):
            self.beat("stopped")
        else:
            self.error = error
            self.beat("crashed")


def process_identity(pid: int) -> str:
    """A process's number and, where the system tells (Linux), when it began; empty if there is no such process."""
    with contextlib.suppress(OSError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state[0] in "ZX" else f"{pid}@{state[19]}"  # one that has ended stays until its parent looks
    with contextlib.suppress(OSError):
        if not Path("/proc/self/stat").exists():
            os.kill(pid, 0)
            return str(pid)
    return ""


def machine_identity() -> str:
    """What tells this machine, and the container that the process is in, from others of the same name (Linux)."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    return platform.node()


def is_alive(run: Run) -> bool:
    """Whether a run's process still trains, as far as this machine can tell."""
    if run.state != "running":
        return False
    if run.machine == machine_identity():
        number = run.process.partition("@")[0]
        return number.isdecimal() and process_identity(int(number)) == run.process
    return run.age < STALE_SECONDS


def _run(name: str, content: Mapping[str, Any], costs: Any, age: float) -> Run:
    return Run(
        name,
        _text(content["host"]),
        _text(content["machine"]),
        _text(content["process"]),
        None if content["job"] is None else _text(content["job"]),
        _text(content["state"]),
        int(content["at_once"]),
        None if content["log"] is None else _text(content["log"]),
        _numbers(content["training"]),
        frozenset(map(_text, content["failed"])),
        _numbers(costs),
        age,
        None if content["seconds_left"] is None else float(content["seconds_left"]),
        *(None if content.get(name) is None else _text(content[name]) for name in ("error", "traceback")),
    )


def _submission(name: str, content: Mapping[str, Any]) -> Submission:
    tasks = [[_text(key) for key in task] for task in content["tasks"]]
    arrays = [
        Array(
            int(array["first"]),
            int(array["count"]),
            None if array["job"] is None else _text(array["job"]),
            _text(array["name"]),
        )
        for array in content["arrays"]
    ]
    for array in arrays:
        if not 0 <= array.first <= array.first + array.count <= len(tasks):
            raise ValueError("there are no such tasks")
        if not (array.job or "0").isdecimal():  # it would be asked for together with others
            raise ValueError("there is no such job")
    return Submission(
        name,
        _text(content["launcher"]),
        _text(content["folder"]),
        int(content["at_once"]),
        tasks,
        _numbers(content["costs"]),
        bool(content["retries"]),
        arrays,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("it must be a text")
    return value


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    found = {key: float(value) for key, value in values.items()}
    if not all(map(math.isfinite, found.values())):
        raise ValueError("it must be finite")
    return found


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, content: Mapping[str, Any], *, durable: bool = False) -> None:
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        content = {"version": _VERSION, **content} if path.name.endswith(".submission.json") else content
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"checksum": _checksum(content), **content}, file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
