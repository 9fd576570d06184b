"""What has become of sweeps, cell by cell: from the store, the records of who trains what, and SLURM."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jumpstart_exp.cluster import slurm
from jumpstart_exp.settings import legible
from jumpstart_exp.store import Store, StoreError
from jumpstart_exp.sweep.records import STOCK, Records, Run, Submission, is_alive

STATES = ("done", "diverged", "running", "queued", "failed", "stopped", "lost")
"""What a cell can be. The last two: nothing trains it any more and there is no result; it was told to end, or not."""

ENDED = "ended"
"""What is known of a job that SLURM's queue has forgotten."""


_TAIL = 4000
"""Bytes of an output's end that are looked at."""

_SAID = 160
"""Characters of an output's last line that are shown."""

_NOT_OURS = ("srun:", "slurmstepd", "submitit ", "┃", "│", "┏", "┡", "└")


@dataclass(frozen=True)
class Loss:
    """Cells (by key) that nothing trains any more: of which sweep and job, why, and where that wrote its output.

    `traceback` is of the error that ended their process, if one did.
    """

    sweep: str
    job: str | None
    keys: frozenset[str]
    reason: str
    log: str | None
    state: str = "lost"  # or stopped
    traceback: str | None = None


@dataclass(frozen=True)
class Failure:
    """A cell that failed, in words, and why."""

    cell: str
    error: str


@dataclass(frozen=True)
class SweepState:
    """A look at a results folder.

    Args:
        states: what each cell is, of `STATES`, by key.
        tasks: processes and cluster tasks by state: `running`, `queued`.
        seconds_left: estimated seconds until nothing runs or is queued, by the processes that run now; None: not known.
        losses: what was stopped or lost.
        failures: what failed.
        active: keys that are running or queued.
        jobs: job arrays of which something runs or is queued.
        remark: why SLURM could not be asked, if so.
        left_out: stored rows that no training can have written.
        of_other_numerics: stored cells of other numerics than this version's.
    """

    states: Mapping[str, str]
    tasks: Mapping[str, int]
    seconds_left: float | None
    losses: Sequence[Loss]
    failures: Sequence[Failure]
    active: frozenset[str]
    jobs: Sequence[str]
    remark: str | None = None
    left_out: int = 0
    of_other_numerics: int = 0

    def counts(self) -> dict[str, int]:
        """Cells by state."""
        found = Counter(self.states.values())
        return {state: found[state] for state in STATES}

    def states_of(self, keys: Iterable[str]) -> dict[str, str]:
        """The states of these cells; of one that nobody knows: lost."""
        return {key: self.states.get(key, "lost") for key in keys}


@dataclass
class _Look:
    """What is found out in the course of one look."""

    stored: Mapping[str, Mapping[str, Any]]  # rows of the store by key
    states: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    tasks: Counter[str] = field(default_factory=Counter)
    losses: list[Loss] = field(default_factory=list)
    jobs: dict[str, None] = field(default_factory=dict)
    lanes: int = 0
    runs: list[Run] = field(default_factory=list)  # those at work

    def note(self, keys: Sequence[str], state: str) -> None:
        """These cells are in this state, unless more is known of them; what is stored is not looked at again."""
        for key in keys:
            known = self.states.get(key)
            if known is None or STATES.index(state) < STATES.index(known):
                self.states[key] = state


class SweepMonitor:
    """Looks at a results folder again and again, each time reading only what is new in the store.

    Args:
        results_dir: the folder.
    """

    def __init__(self, results_dir: Path) -> None:
        self.records = Records(results_dir)
        self.follower = Store(results_dir).follow(["seconds", "error", "dataset", "depth", "width", "seed"])
        self.ends: dict[str, str] = {}

    def look(self) -> SweepState:
        """What has become of everything.

        Raises:
            StoreError: the store cannot be read.
        """
        seen = self._look()
        if any(loss.state == "lost" for loss in seen.losses):
            # a network file system shows its client a folder as it is when the client has changed it
            with contextlib.suppress(StoreError):
                self.follower.store.check_writable()
            seen = self._look()
        return seen

    def _look(self) -> SweepState:
        # SLURM and the records before the store: what ends meanwhile is in the store then, and not lost
        submissions, runs = self.records.submissions(), self.records.runs()
        remark = None
        known: dict[str, str] | None = None
        if submissions:
            try:
                submissions = [_with_jobs(submission) for submission in submissions]
                known = slurm.states(_names(submissions))
            except slurm.UnreachableError as error:
                remark = str(error)
        look = _Look(self.follower.rows())
        look.states = {key: row["status"] for key, row in look.stored.items()}
        latest = {run.job: run.name for run in runs if run.job is not None}  # a task that began again left others
        alive = [run for run in runs if _trains(run, known) and (run.job is None or latest[run.job] == run.name)]
        for run in alive:
            self._note_run(look, run)
        submits = self.records.is_submitting()
        for submission in submissions:
            _note_submission(look, submission, alive, runs, known, submits=submits)
        submitted = {job for submission in submissions for job in submission.jobs().values()}
        for run in reversed(runs):  # the latest tells
            if run not in alive and _task(run.job) not in submitted:
                look.costs.update(run.costs)
                state, reason = "lost", f"its process on {run.host} has ended"
                if run.state == "stopped":
                    state, reason = "stopped", "it was told to end"
                elif run.error is not None:
                    reason = f"its process on {run.host} has ended by {''.join(run.error.splitlines()[:1])}"
                keys = frozenset(run.costs)
                _note_loss(look, Loss(run.name, run.job, keys, reason, run.log, state, run.traceback))
        self._learn_ends([loss.job for loss in look.losses if loss.job and loss.reason == ENDED])
        look.losses = [replace(one, reason=self.ends.get(_task(one.job)) or one.reason) for one in look.losses]
        store = self.follower.store
        return replace(_sweep_state(look, remark), left_out=store.left_out, of_other_numerics=store.of_other_numerics)

    def _learn_ends(self, jobs: Sequence[str]) -> None:
        """Ask the accounting, which may lag, about jobs that the queue has forgotten."""
        new = [_task(job) for job in jobs if _task(job) not in self.ends]
        if new:
            self.ends |= slurm.ends(new)

    def _note_run(self, look: _Look, run: Run) -> None:
        look.costs.update(run.costs)
        look.shares.update(run.training)
        look.tasks["running"] += 1
        look.lanes += run.at_once
        look.runs.append(run)
        look.note(list(run.training), "running")
        # what has failed before is trained again, what this run has seen fail is not
        look.note([key for key in run.costs if key not in run.training and key not in run.failed], "queued")
        if run.job is not None and "_" in run.job:
            look.jobs[run.job.partition("_")[0]] = None


def _names(submissions: Sequence[Submission]) -> dict[str, str | None]:
    """The job arrays of all submissions, and the names that make sure that they are theirs; None: not known."""
    return {
        array.job: None if submission.launcher == STOCK else array.name
        for submission in submissions
        for array in submission.arrays
        if array.job is not None
    }


def _with_jobs(submission: Submission) -> Submission:
    """The submission with the numbers of arrays that its submitter could not write down."""
    unknown = [array.name for array in submission.arrays if array.job is None]
    if not unknown:
        return submission
    found = slurm.arrays_named(unknown)  # it was killed after sbatch
    arrays = [replace(array, job=array.job or found.get(array.name)) for array in submission.arrays]
    return replace(submission, arrays=arrays)


def _trains(run: Run, known: Mapping[str, str] | None) -> bool:
    """Whether a run's process is at work: SLURM knows best, then its machine, then its last sign of life."""
    if run.job is not None and known is not None and run.state == "running":
        task = run.job if "_" in run.job else f"{run.job}_0"
        if task in known:
            return known[task] in slurm.RUNNING
    return is_alive(run)


def _note_submission(
    look: _Look,
    submission: Submission,
    alive: Sequence[Run],
    runs: Sequence[Run],
    known: Mapping[str, str] | None,
    *,
    submits: bool,
) -> None:
    look.costs.update(submission.costs)
    at_work = {_task(run.job) for run in alive if run.job}
    jobs = submission.jobs()
    over = ("done", "diverged") if submission.retries else ("done", "diverged", "failed")
    for number, keys in enumerate(submission.tasks):
        rest = [key for key in keys if look.states.get(key) not in over]
        job = jobs.get(number)
        if job in at_work:
            look.jobs[(job or "").partition("_")[0]] = None
            continue
        if not rest:
            continue
        log = submission.log(number)
        state = known.get(job, "") if known is not None and job else ""
        own = [run for run in runs if job and _task(run.job) == job]
        if known is None:
            # without SLURM only what began and gives no sign is known to be lost: what was stopped may be requeued
            state = ENDED if any(run.state != "stopped" for run in own) else "PENDING"
        elif job is None and submits:
            state = "PENDING"
        if state not in slurm.QUEUED | slurm.RUNNING:
            rest = [key for key in rest if look.states.get(key) != "failed"]  # that was its end
        if state in slurm.QUEUED or state in slurm.RUNNING:
            look.tasks["running" if state in slurm.RUNNING else "queued"] += 1
            if job is not None:
                look.jobs[job.partition("_")[0]] = None
            look.note(rest, "queued")
        elif rest and submission.ended is not None:
            _note_loss(look, Loss(submission.name, job, frozenset(rest), submission.ended, log, "stopped"))
        elif rest and job is None:
            _note_loss(look, Loss(submission.name, None, frozenset(rest), "it was never submitted", None))
        elif rest:
            trace = own[-1].traceback if own else None
            name = submission.job(number)
            _note_loss(look, Loss(submission.name, name, frozenset(rest), state or ENDED, log, traceback=trace))


def _note_loss(look: _Look, loss: Loss) -> None:
    look.note([key for key in sorted(loss.keys) if key not in look.states], loss.state)
    look.losses.append(loss)


def _task(job: str | None) -> str:
    return "" if job is None else job if "_" in job else f"{job}_0"


def _sweep_state(look: _Look, remark: str | None) -> SweepState:
    active = frozenset(key for key, state in look.states.items() if state in ("running", "queued"))
    losses = []
    counted: set[str] = set()
    for loss in look.losses:
        lost = frozenset(key for key in loss.keys if look.states[key] == loss.state) - counted
        counted |= lost
        if lost:
            losses.append(replace(loss, keys=lost))
    failures = [
        Failure(
            f"{row['dataset']} {row['method']} {row['depth']}×{row['width']} seed {row['seed']}",
            (row["error"] or "").strip() or "failed",
        )
        for key, row in look.stored.items()
        if look.states[key] == "failed"
    ]
    return SweepState(
        look.states,
        look.tasks,
        _seconds_left(look, active),
        losses,
        failures,
        active,
        list(look.jobs),
        remark,
    )


def _seconds_left(look: _Look, active: frozenset[str]) -> float | None:
    """By what the processes at work expect of themselves; before that by what is done, against its estimates."""
    if not active:
        return 0.0
    if not look.lanes:
        return None
    rest = {key: look.costs.get(key, 0.0) * (1 - look.shares.get(key, 0.0)) for key in active}
    told, told_work = 0.0, 0.0
    longest = 0.0
    for run in look.runs:
        work = sum(rest.get(key, 0.0) for key in run.costs)
        if run.seconds_left is not None and work:
            longest = max(longest, run.seconds_left - run.age)
            told += run.seconds_left * run.at_once
            told_work += work
    if told_work:
        pace = told / told_work
    else:
        stored = ((key, look.stored[key]["seconds"]) for key in look.costs.keys() & look.stored.keys())
        done = {key: seconds for key, seconds in stored if seconds is not None and not math.isnan(seconds)}
        expected = sum(look.costs[key] for key in done)
        pace = sum(done.values()) / expected if expected > 0 else 1.0
        longest = pace * max(rest.values())
    return max(longest, pace * sum(rest.values()) / look.lanes)


def words(loss: Loss) -> str:
    """Why, and what its output says last: for a person."""
    said = _last_words(loss.log)
    if loss.log is None:
        return loss.reason
    return f"{loss.reason}{f' ({said})' if said else ''}; its output: {loss.log}"


def _last_words(log: str | None) -> str:
    """The last line of a task's output that is not about the scheduler's own business."""
    if log is None:
        return ""
    try:
        with Path(log).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    own = [line.strip() for line in lines if line.strip() and not line.startswith(_NOT_OURS)]
    if not lines:
        return "there is none: did a command of hydra.launcher.setup fail?"
    return legible(own[-1], _SAID) if own else ""
