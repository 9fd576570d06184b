"""Sweeps by Hydra's own launchers (`basic`, `submitit_local`, `submitit_slurm`): a cell a job.

A job composes, trains and stores its cell by itself. Here is what no job can do: leave out what is stored, prepare the
data once, and account for every cell from the store, whatever has become of its job and of the jobs beside it.
"""

import contextlib
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster import ClusterError, slurm
from jumpstart_exp.config.composition import compose_sweep
from jumpstart_exp.config.run import RunSettings, literal, text_override
from jumpstart_exp.config.schema import plain_config, split_config
from jumpstart_exp.console import notes, output, warn
from jumpstart_exp.folders import FOLDERS
from jumpstart_exp.limits import cpu_count
from jumpstart_exp.settings import SettingError, field_types, legible, setting_error
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.bounds import check_count, check_hours, long_words, refusals
from jumpstart_exp.sweep.records import STOCK, Array, Records, Submission
from jumpstart_exp.sweep.runner import (
    CellsFailedError,
    Plan,
    cells_words,
    clear_records,
    compact_if_many,
    dry_run_table,
    plan,
    prepare_data,
    stored_words,
)
from jumpstart_exp.sweep.stopping import InterruptedSweepError, stoppable
from jumpstart_exp.sweep.time_left import makespan

_LOOK_EVERY = 2.0
_LOOK_AT_MOST_EVERY = 30.0
"""Seconds between two looks at the jobs: more and more."""

_REPLACED = ("%j", "%t", "%A", "%a")
"""What submitit and SLURM replace in the folder of a job's files: the numbers of the job, and of what is in it."""

_Overrides = Sequence[str]
"""A job's overrides."""


def launch_cells(launcher: Launcher, loader: Any, config: DictConfig, jobs: Sequence[_Overrides]) -> list[JobReturn]:
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
    settings = split_config(plain_config(config))[1]
    executor = getattr(launcher, "_EXECUTOR", "")
    if settings.fail_fast:
        raise setting_error("fail_fast", True, "false for Hydra's own launchers", "a job knows nothing of the others")
    if settings.redraw:
        raise setting_error("redraw", True, "false for Hydra's own launchers", "a job knows nothing of the others")
    jobs, cells = compose_sweep(loader, config, jobs, settings)
    store = Store(Path(settings.results_dir))
    if not settings.dry_run:
        compact_if_many(store)
    todo = plan(cells, store, settings.retry)
    for warning, count in Counter(warning for cell in todo.to_train for warning in cell.warnings()).items():
        warn(f"{warning}; they are trained all the same ({count} of {len(todo.to_train)} cells)")
    console = output()
    costs = _costs(todo.to_train, settings)
    expected = _expected([*costs.values()], launcher, executor)
    if settings.dry_run:
        table = dry_run_table(todo, store, [])
        table.add_row("jobs", f"{len(todo.to_train)}, a cell each")
        console.print(table)
        for remark in refusals(len(cells), *expected, settings):
            console.print(remark)
        return []
    check_count(len(cells), settings)
    check_hours(*expected, settings)
    first_jobs: dict[str, _Overrides] = {}
    for cell, job in zip(cells, jobs, strict=True):
        first_jobs.setdefault(cell.key, job)
    if todo.to_train and executor == "slurm":
        _check_slurm(launcher, len(todo.to_train), settings, str(config.hydra.sweep.dir))
    store.check_writable()
    records = Records(store.results_dir)
    clear_records(records, todo.stored)
    prepare_data(todo.to_train, settings)
    console.print(
        f"{cells_words(len(todo.cells))}: {stored_words(todo.stored_counts())} in {settings.results_dir}, "
        + (f"{len(todo.to_train)} to train, a job each" if todo.to_train else "nothing to train"),
        markup=False,
    )
    if words := long_words(*expected):
        console.print(words)
    returns: Sequence[JobReturn | str] = []
    if todo.to_train:
        # where a job begins, in which folder and on which machine, is the launcher's and hydra.job.chdir's
        folders = {
            name: text_override(name, literal(str(Path(getattr(settings, name)).absolute()))) for name in FOLDERS
        }
        wanted = [
            [*(one for one in first_jobs[cell.key] if one.partition("=")[0] not in FOLDERS), *folders.values()]
            for cell in todo.to_train
        ]
        with _sweep_folder(Path(str(config.hydra.sweep.dir)), goes_on=executor in ("slurm", "local")):
            if executor in ("slurm", "local"):
                submitted: list[Any] = []
                try:
                    with _interrupted_afterwards():
                        submitted = _submit(launcher, wanted)
                        if executor == "slurm":
                            _keep_record(submitted, costs, settings, records)
                    returns = _outcomes(submitted, executor)
                except KeyboardInterrupt:
                    raise _interrupted(submitted, executor) from None
            else:
                returns = launcher.launch(wanted, initial_job_idx=0)
    reasons: dict[str, str] = {}
    for cell, done in zip(todo.to_train, returns, strict=True):
        error = done if isinstance(done, str) else done._return_value if done.status == JobStatus.FAILED else None
        if isinstance(error, SettingError):
            raise error
        if error is not None and not isinstance(error, CellsFailedError):  # of those the store knows why
            reasons[cell.key] = _last_line(error)
    try:
        _account(todo, store, first_jobs, reasons)
    finally:
        clear_records(records, store.stored())
    return [done for done in returns if isinstance(done, JobReturn)]


def _check_slurm(launcher: Any, jobs: int, settings: RunSettings, sweep_dir: str) -> None:
    """See to it that so many jobs can be submitted.

    Raises:
        SettingError: a folder's name cannot be used: that of the results, the sweep's, or that of the jobs' files.
        ClusterError: SLURM is not here, or takes fewer jobs at once.
    """
    slurm.check_folder(Path(settings.results_dir))
    slurm.check_folder(Path(sweep_dir), "hydra.sweep.dir")
    whole = str(launcher.params["submitit_folder"])
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


@contextlib.contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Requests to end as Ctrl-C at the end of the block: by then the numbers of jobs that were taken are on record."""
    with stoppable() as stop:
        yield
    if stop:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _sweep_folder(folder: Path, *, goes_on: bool) -> Iterator[None]:
    """The folder of the launcher's files within the block; afterwards nothing empty is left of it.

    Args:
        folder: the sweep's.
        goes_on: whether jobs may run on, and need their folders, where the block is interrupted.

    Raises:
        ClusterError: it cannot be made.
    """
    try:
        before = {path for path in (folder, *folder.parents) if path.is_dir()} | {*folder.rglob("*")}
        while not folder.is_dir():
            with contextlib.suppress(FileNotFoundError):  # another sweep has just removed its parent, which was empty
                folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"nothing was submitted: {folder} cannot be written: {error.strerror}") from error
    is_over = not goes_on
    try:
        yield
        is_over = True
    finally:
        for path in sorted({folder, *folder.parents, *folder.rglob("*")} - before, reverse=True) if is_over else ():
            with contextlib.suppress(OSError):  # it is not empty, or a file
                path.rmdir()


def _submit(launcher: Any, jobs: Sequence[_Overrides]) -> list[Any]:
    """Submit jobs as hydra-submitit-launcher does, which waits for them and gives up at the first that is lost.

    Returns:
        submitit's jobs, in order.

    Raises:
        ClusterError: nothing was submitted.
    """
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf  # type: ignore[import-untyped]

    name, params = launcher._EXECUTOR, dict(launcher.params)
    shared = field_types(BaseQueueConf)
    own = {"folder": params.pop("submitit_folder")}
    if "max_num_timeout" in params:
        own[f"{name}_max_num_timeout"] = params.pop("max_num_timeout")
    try:
        executor = submitit.AutoExecutor(cluster=name, **own)
        executor.update_parameters(**{key if key in shared else f"{name}_{key}": params[key] for key in params})
        state = Singleton.get_state()
        calls = [(list(job), "hydra.sweep.dir", number, f"job {number}", state) for number, job in enumerate(jobs)]
        return list(executor.map_array(launcher, *zip(*calls, strict=True)))
    except (subprocess.SubprocessError, RuntimeError, OSError, ValueError) as error:
        raise ClusterError(f"nothing was submitted: {_last_line(error)}") from error


def _costs(cells: Sequence[Cell], settings: RunSettings) -> dict[str, float]:
    """Each cell's estimated seconds on one core, by key.

    Raises:
        SettingError: engine or device cannot be had.
    """
    from jumpstart_exp.engines import choose_engines

    # of GPUs the nodes know
    choices = choose_engines(settings.engine, settings.device, cells, has_cuda=settings.device == "cuda" or None)
    return {cell.key: choice.engine.estimate_seconds(cell) for cell, choice in zip(cells, choices, strict=True)}


def _expected(costs: Sequence[float], launcher: Any, executor: str) -> tuple[float, str]:
    """The estimated seconds of jobs of these costs, without a queue, and how many run at the same time, in words."""
    match executor:
        case "slurm":
            at_once = launcher.params.get("array_parallelism") or len(costs)
        case "local":  # they all begin at once, and share the cores
            at_once = cpu_count()
        case _:
            at_once = 1
    seconds = makespan(sorted(costs, reverse=True), max(1, min(at_once, len(costs))))
    return seconds, f"{at_once} at once, a cell a job"


def _keep_record(jobs: Sequence[Any], costs: Mapping[str, float], settings: RunSettings, records: Records) -> None:
    """Put on record which cells are submitted, for `python -m jumpstart_exp.status`; no job depends on it."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    folder = str(jobs[0].paths.folder.parent.absolute())
    arrays = [Array(0, len(costs), _array(jobs[0]), name)]
    tasks = [[key] for key in costs]
    with contextlib.suppress(OSError):
        records.keep_submission(Submission(name, STOCK, folder, 1, tasks, costs, settings.retry == "failed", arrays))


def _outcomes(jobs: Sequence[Any], executor: str) -> list[JobReturn | str]:
    """Wait until all jobs have ended: what each returned, or why it returned nothing, and where it wrote about it."""
    _wait(jobs, executor)
    lost = [job for job in jobs if not job.paths.result_pickle.exists()]
    ends = slurm.ends([_task(job) for job in lost]) if executor == "slurm" else {}
    found: list[JobReturn | str] = []
    for job in jobs:
        if job in lost:
            end = f"SLURM says {ends[_task(job)]}" if _task(job) in ends else "its job has ended"
            found.append(f"{end} ({_log(job)})")
        elif (error := job.exception()) is not None:
            found.append(f"{_last_line(error)} ({_log(job)})")
        else:
            found.append(job.result())
    return found


def _wait(jobs: Sequence[Any], executor: str) -> None:
    every, told, silent = _LOOK_EVERY, 0, False
    while True:
        try:
            alive = _alive(jobs, executor)
        except slurm.UnreachableError as error:
            if not silent:
                warn(f"{error}; waiting for it")
            silent = True
        else:
            silent = False
            if not alive:
                return
            if len(alive) != told and any(job not in alive and not job.paths.result_pickle.exists() for job in jobs):
                told = len(alive)
                notes().print(f"a job has ended without a result; waiting for the others: {told} of {len(jobs)}")
        time.sleep(every)
        every = min(1.1 * every, _LOOK_AT_MOST_EVERY)


def _alive(jobs: Sequence[Any], executor: str) -> list[Any]:
    """Those that run or wait for their turn.

    Raises:
        UnreachableError: SLURM does not answer.
    """
    if executor == "local":
        return [job for job in jobs if not job.done()]
    states = slurm.states({_array(job): None for job in jobs})
    return [job for job in jobs if states.get(_task(job)) in slurm.QUEUED | slurm.RUNNING]


def _array(job: Any) -> str:
    return str(job.job_id).partition("_")[0]


def _task(job: Any) -> str:
    """The job as SLURM's states name it."""
    return job.job_id if "_" in job.job_id else f"{job.job_id}_0"


def _log(job: Any) -> Path:
    """What a job wrote: its errors, if there are any."""
    logs = (Path(job.paths.stderr), Path(job.paths.stdout))
    return next((log for log in logs if log.exists() and log.stat().st_size), Path(job.paths.folder))


def _interrupted(jobs: Sequence[Any], executor: str) -> InterruptedSweepError:
    """What Ctrl-C means: nothing for jobs on SLURM, and the end for those on this machine."""
    if executor == "slurm":
        names = " ".join(sorted({_array(job) for job in jobs}, key=int))
        words = (
            f"jobs that are submitted go on: squeue -j {names.replace(' ', ',')} shows them, scancel {names} ends them"
        )
    else:
        deadline = time.monotonic() + _LOOK_EVERY
        while (alive := _alive(jobs, executor)) and time.monotonic() < deadline:
            time.sleep(0.1)
        names = " ".join(job.job_id for job in alive)
        words = f"jobs go on: kill {names} ends them" if alive else "the jobs are stopped, too"
    again = "run the same command again to train what is not stored by then"
    return InterruptedSweepError(f"stopped waiting: {words}; {again}", signal.SIGINT)


def _account(todo: Plan, store: Store, jobs: Mapping[str, _Overrides], reasons: Mapping[str, str]) -> None:
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


def _last_line(error: object) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return legible(lines[-1].strip(), 500)
