"""Sweeps by Hydra's own launchers (`basic`, `submitit_local`, `submitit_slurm`): a cell a job.

A job composes, trains and stores its cell by itself. Here is what no job can do: leave out what is stored, prepare the
data once, and account for every cell from the store, whatever has become of its job and of the jobs beside it.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster import ClusterError, slurm
from jumpstart_exp.config.composition import compose_cells
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.config.schema import plain_config, split_config
from jumpstart_exp.console import notes, output, warn
from jumpstart_exp.settings import SettingError, legible
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.records import STOCK, Array, Records, Submission
from jumpstart_exp.sweep.runner import (
    CellsFailedError,
    InterruptedSweepError,
    Plan,
    cells_words,
    clear_records,
    compact_if_many,
    dry_run_table,
    plan,
    prepare_data,
    stored_words,
)

_POLL_SECONDS = 2.0
_SACCT_SECONDS = 30.0

_SUBMITTED = "_submitted.pkl"
"""How the files end that submitit writes for every job."""

_REPLACED = ("%j", "%t", "%A", "%a")
"""What submitit and SLURM replace in the folder of a job's files: the numbers of the job, and of what is in it."""

_Job = Sequence[str]
"""A job's overrides."""


def launch_cells(launcher: Launcher, loader: Any, config: DictConfig, jobs: Sequence[_Job]) -> list[JobReturn]:
    """Launch a job for each cell that the store does not have, and account for all cells of the sweep.

    Args:
        launcher: one of Hydra's own, or another plugin that runs jobs one by one.
        loader: Hydra's configuration loader.
        config: the sweep's own composed configuration, Hydra's node included.
        jobs: each job's task overrides.

    Raises:
        SettingError: a job sets something that is not allowed; nothing was launched, or nothing of it could be run.
        CellsFailedError: cells failed or were lost; the message lists each with its reason. All others are stored.
        ClusterError: the launcher cannot submit jobs here, or did not.
        DataError: a dataset's files are missing or damaged and cannot be fetched.
        InterruptedSweepError: Ctrl-C; the message says what goes on without this process.
        StoreError: the store cannot be read or written.
    """
    cells = compose_cells(loader, config, jobs)
    settings = split_config(plain_config(config))[1]
    store = Store(Path(settings.results_dir))
    if not settings.dry_run:
        compact_if_many(store)
    todo = plan(cells, store, settings.retry)
    for warning, count in Counter(warning for cell in todo.to_train for warning in cell.warnings()).items():
        warn(f"{warning}; they are trained all the same ({count} of {len(todo.to_train)} cells)")
    console = output()
    if settings.dry_run:
        table = dry_run_table(todo, store, [])
        table.add_row("jobs", f"{len(todo.to_train)}, a cell each")
        console.print(table)
        return []
    wanted = {cell.key: cell for cell in todo.to_train}
    first_jobs: dict[str, _Job] = {}
    for cell, job in zip(cells, jobs, strict=True):
        first_jobs.setdefault(cell.key, job)
    executor = _Executor.of(launcher)
    if wanted and executor is not None:
        executor.check(len(wanted), settings, str(config.hydra.sweep.dir))
    store.check_writable()
    clear_records(Records(store.results_dir), todo.stored)
    prepare_data(todo.to_train, settings)
    counts = todo.stored_counts()
    console.print(
        f"{cells_words(len(todo.cells))}: {stored_words(counts)} in {settings.results_dir}, "
        + (f"{len(wanted)} to train, a job each" if wanted else "nothing to train"),
        markup=False,
    )
    returns: list[JobReturn] = []
    reasons: dict[str, str] = {}
    if wanted:
        keys = list(wanted)
        before = executor.submitted() if executor is not None else {}
        record = None
        if executor is not None and executor.name == "slurm":
            record = _keep_record(executor, todo.to_train, settings)
        try:
            returns, found = _launch(launcher, executor, [first_jobs[key] for key in keys], before)
        except (ClusterError, InterruptedSweepError):
            if executor is not None and record is not None and not _new_jobs(executor, before):
                Records(store.results_dir).remove(record)  # neither queued nor lost
            raise
        reasons = {keys[number]: reason for number, reason in found.items()}
    try:
        _account(todo, store, first_jobs, reasons)
    finally:
        clear_records(Records(store.results_dir), store.stored())
    return returns


@dataclass(frozen=True)
class _Executor:
    """Where submitit runs a launcher's jobs (`slurm`, `local`), and the folder of their files."""

    name: str
    folder: Path

    @classmethod
    def of(cls, launcher: Launcher) -> "_Executor | None":
        """The launcher's, if it is one of those that use submitit."""
        folder = getattr(launcher, "params", {}).get("submitit_folder")
        name = getattr(launcher, "_EXECUTOR", None)
        return cls(name, Path(str(folder))) if name in ("slurm", "local") and folder else None

    def check(self, jobs: int, settings: RunSettings, sweep_dir: str) -> None:
        """See to it that so many jobs can be submitted, and that their end will be noticed.

        Raises:
            SettingError: a folder's name cannot be used: that of the results, the sweep's, or that of the jobs' files.
            ClusterError: SLURM is not here, takes fewer jobs at once, or has no accounting.
        """
        if self.name != "slurm":
            return
        slurm.check_folder(Path(settings.results_dir))
        slurm.check_folder(Path(sweep_dir), "hydra.sweep.dir")
        whole = str(self.folder)
        for part in _REPLACED:
            whole = whole.replace(part, "")
        slurm.check_folder(Path(whole), "hydra.launcher.submitit_folder")
        if not slurm.is_here():
            raise ClusterError("hydra/launcher=submitit_slurm needs SLURM: there is no sbatch and squeue here")
        if jobs > (most := slurm.max_array_size()):
            raise ClusterError(
                f"hydra/launcher=submitit_slurm submits a job a cell, {jobs}, and SLURM takes {most} at once "
                "(MaxArraySize): hydra/launcher=fleet_slurm packs many cells into a job"
            )
        try:
            subprocess.run(["sacct", "-n", "-X", "-S", "now"], capture_output=True, timeout=_SACCT_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error).encode()
            raise ClusterError(
                f"hydra/launcher=submitit_slurm learns from sacct that a job has died, and sacct fails here "
                f"({' '.join(said.decode(errors='replace').split())}): hydra/launcher=fleet_slurm does without"
            ) from error

    def submitted(self) -> "dict[str, _Submitted]":
        """All jobs that have files in the folder, by their id."""
        from submitit.core.utils import JobPaths

        above = JobPaths.get_first_id_independent_folder(self.folder)
        found = [_Submitted(path.name.removesuffix(_SUBMITTED), path.parent) for path in above.rglob(f"*{_SUBMITTED}")]
        return {job.name: job for job in found}

    def alive(self, jobs: Sequence["_Submitted"]) -> list["_Submitted"]:
        """Those of these jobs that run or wait for their turn.

        Raises:
            UnreachableError: SLURM does not answer.
        """
        if self.name == "local":
            return [job for job in jobs if _is_running(int(job.name))]
        states = slurm.states({job.array: None for job in jobs})
        return [job for job in jobs if states.get(job.task) in slurm.QUEUED | slurm.RUNNING]


@dataclass(frozen=True)
class _Submitted:
    """A job that submitit has submitted: its id, and the folder of its files."""

    name: str
    folder: Path

    @property
    def array(self) -> str:
        return self.name.partition("_")[0]

    @property
    def task(self) -> str:
        """The job as SLURM's states name it."""
        return self.name if "_" in self.name else f"{self.name}_0"

    def number(self) -> int | None:
        """Its place in the launch; None if its file cannot be read."""
        try:
            place = pickle.loads((self.folder / f"{self.name}{_SUBMITTED}").read_bytes()).args[2]
        except Exception:  # whatever a broken pickle raises
            return None
        return place if isinstance(place, int) else None

    def error(self) -> str | None:
        """Why there is no result that the store would know of; None where there is one.

        Empty if the job could not say so itself.
        """
        try:
            outcome, value = pickle.loads((self.folder / f"{self.name}_0_result.pkl").read_bytes())
        except Exception:  # the job's end is told in other words then
            return ""
        return _failure(value) if outcome == "success" else _last_line(value)

    def log(self) -> Path:
        """What it wrote: its errors, if there are any."""
        logs = [self.folder / f"{self.name}_0_log.{end}" for end in ("err", "out")]
        return next((log for log in logs if log.exists() and log.stat().st_size), self.folder)


def _keep_record(executor: _Executor, cells: Sequence[Cell], settings: RunSettings) -> str:
    """Put on record which cells are submitted, for `python -m jumpstart_exp.status`, under the name that is returned.

    No job depends on it.
    """
    from submitit.core.utils import JobPaths

    from jumpstart_exp.engines import choose_engines

    # of GPUs the nodes know
    choices = choose_engines(settings.engine, settings.device, cells, has_cuda=settings.device == "cuda" or None)
    costs = {cell.key: choice.engine.estimate_seconds(cell) for cell, choice in zip(cells, choices, strict=True)}
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    folder = str(JobPaths.get_first_id_independent_folder(executor.folder).absolute())
    submission = Submission(
        name,
        STOCK,
        folder,
        at_once=1,
        tasks=[[cell.key] for cell in cells],
        costs=costs,
        arrays=[Array(0, len(cells), None, name)],
        retries=settings.retry == "failed",
    )
    with contextlib.suppress(OSError):
        Records(Path(settings.results_dir)).keep_submission(submission)
    return name


def _launch(
    launcher: Launcher, executor: _Executor | None, jobs: Sequence[_Job], before: Mapping[str, _Submitted]
) -> tuple[list[JobReturn], dict[int, str]]:
    """Launch these jobs and wait until all have ended: what they return, and by number what is known of failures.

    Args:
        launcher: what launches them.
        executor: where, if submitit does it.
        jobs: their overrides.
        before: what had been submitted before, by id.

    Raises:
        SettingError: no node can do what a job's settings ask for.
        ClusterError: nothing was submitted.
        InterruptedSweepError: Ctrl-C.
    """
    returns: list[JobReturn] = []
    try:
        returns = list(launcher.launch(jobs, initial_job_idx=0))
    except KeyboardInterrupt:
        if executor is None:
            raise
        raise _interrupted(executor, _new_jobs(executor, before)) from None
    except Exception as error:
        # submitit raises at the first job that ended without a result, while others go on
        if executor is None:
            raise
        submitted = _new_jobs(executor, before)
        if not submitted:
            raise ClusterError(f"nothing was submitted: {_last_line(error)}") from error
        try:
            _wait(executor, submitted)
        except KeyboardInterrupt:
            raise _interrupted(executor, submitted) from None
        return [], _reasons(executor, submitted)
    for done in returns:
        if isinstance(reason := done._return_value, SettingError):
            raise reason
    return returns, {number: reason for number, done in enumerate(returns) if (reason := _failure(done)) is not None}


def _new_jobs(executor: _Executor, before: Mapping[str, _Submitted]) -> list[_Submitted]:
    return [job for name, job in executor.submitted().items() if name not in before]


def _wait(executor: _Executor, jobs: Sequence[_Submitted]) -> None:
    told = 0
    silent = False
    while True:
        try:
            alive = executor.alive(jobs)
        except slurm.UnreachableError as error:
            if not silent:
                warn(f"{error}; waiting for it")
            silent = True
        else:
            silent = False
            if not alive:
                return
            if len(alive) != told:
                told = len(alive)
                notes().print(f"a job has ended without a result; waiting for the others: {told} of {len(jobs)}")
        time.sleep(_POLL_SECONDS)


def _reasons(executor: _Executor, jobs: Sequence[_Submitted]) -> dict[int, str]:
    """By number, why jobs left no result, and where they wrote about it."""
    errors = {job: error for job in jobs if (error := job.error()) is not None}
    ends: dict[str, str] = {}
    if executor.name == "slurm":
        ends = slurm.ends([job.task for job in errors])
        with contextlib.suppress(slurm.UnreachableError):
            ends |= slurm.states({job.array: None for job in errors})  # the accounting lags
    found = {}
    for job, error in errors.items():
        end = f"SLURM says {ends[job.task]}" if job.task in ends else "its job has ended"
        if (number := job.number()) is not None:
            found[number] = f"{error or end} ({job.log()})"
    return found


def _interrupted(executor: _Executor, jobs: Sequence[_Submitted]) -> InterruptedSweepError:
    """What Ctrl-C means: nothing for jobs on SLURM, and the end for those on this machine."""
    if not jobs:
        return InterruptedSweepError("stopped: nothing was submitted", signal.SIGINT)
    names = " ".join(sorted({job.array for job in jobs}, key=int))
    if executor.name == "slurm":
        words = (
            f"jobs that are submitted go on: squeue -j {names.replace(' ', ',')} shows them, scancel {names} ends them"
        )
    else:
        deadline = time.monotonic() + _POLL_SECONDS
        while (alive := executor.alive(jobs)) and time.monotonic() < deadline:
            time.sleep(0.1)
        names = " ".join(job.name for job in alive)
        words = f"jobs go on: kill {names} ends them" if alive else "the jobs are stopped, too"
    again = "run the same command again to train what is not stored by then"
    return InterruptedSweepError(f"stopped waiting: {words}; {again}", signal.SIGINT)


def _account(todo: Plan, store: Store, jobs: Mapping[str, _Job], reasons: Mapping[str, str]) -> None:
    """Say what the store has now, and raise for every cell that failed or was lost.

    Raises:
        CellsFailedError: with a line for each of them.
        StoreError: the store cannot be read or written.
    """
    stored = store.stored()
    store.add_labels([(key, label) for key, label in todo.new_labels if key in stored])
    failures = []
    statuses: Counter[str] = Counter()
    trained = {cell.key for cell in todo.to_train}
    earlier = 0
    for cell in todo.cells:
        known, reason = stored.get(cell.key), reasons.get(cell.key)
        status = "lost" if known is None or (known.status == "failed" and reason) else known.status
        if cell.key in trained:
            statuses[status] += 1
        elif status == "failed":
            earlier += 1
        if status in ("failed", "lost"):
            reason = reason or (known and known.error) or "its job left no result"
            failures.append(f"  {' '.join(jobs[cell.key])}: {reason.splitlines()[0]}")
    if trained:
        words = ", ".join(f"{count} {status}" for status, count in statuses.items())
        output().print(f"{cells_words(len(trained))}: {words}, stored in {store.cells_dir}", markup=False)
    if earlier:
        output().print(f"{cells_words(earlier)} failed in an earlier run: retry=failed trains them again")
    if failures:
        raise CellsFailedError(f"{len(failures)} of {len(todo.cells)} cells failed:\n" + "\n".join(failures))


def _failure(done: JobReturn) -> str | None:
    """Why a job failed; None if it did not, or if its cell did: the store knows why."""
    error = done._return_value if done.status == JobStatus.FAILED else None
    return None if error is None or isinstance(error, CellsFailedError) else _last_line(error)


def _last_line(error: object) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return legible(lines[-1].strip(), 500)


def _is_running(pid: int) -> bool:
    """Whether a child of this process runs."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
