"""Submitting a sweep to SLURM, and waiting for it."""

import importlib.util
import shutil
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster import ClusterError, slurm
from jumpstart_exp.cluster.packing import Batch, pack
from jumpstart_exp.cluster.sweep_state import SweepMonitor, SweepState, words
from jumpstart_exp.cluster.task import FleetTask
from jumpstart_exp.config.cluster_settings import ClusterSettings
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.console import notes, output, redraws, warn
from jumpstart_exp.result import COLUMNS
from jumpstart_exp.settings import setting_error
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.bounds import check_count, check_hours, long_words, refusals
from jumpstart_exp.sweep.progress import Outcome, duration, outcome_table
from jumpstart_exp.sweep.records import Array, Records, Submission
from jumpstart_exp.sweep.runner import (
    Plan,
    cells_words,
    clear_records,
    compact_if_many,
    plan,
    prepare_data,
    stored_words,
)
from jumpstart_exp.sweep.stopping import FirstFailureError, InterruptedSweepError
from jumpstart_exp.sweep.time_left import makespan

LAUNCHER = "fleet_slurm"

_LOOK_EVERY = 2.0
_LOOK_AT_MOST_EVERY = 30.0
"""Seconds between two looks at the store and SLURM: more and more, as a sweep of hours needs no look a second."""

_PLAIN_EVERY = 60.0
"""Seconds between lines where no bar can be drawn."""

_SIGNAL_SECONDS = 120
"""Seconds before its time is up at which SLURM tells a task: enough for checkpoints on a slow disk."""


@dataclass(frozen=True)
class _Packed:
    """A sweep cut into tasks: batches of alike ones, and the estimated core-seconds of every cell."""

    batches: Sequence[Batch]
    costs: Mapping[str, float]
    active: int  # cells that other jobs have already

    @property
    def tasks(self) -> int:
        return sum(len(batch.tasks) for batch in self.batches)


def run_on_cluster(cells: Sequence[Cell], settings: RunSettings, cluster: ClusterSettings) -> dict[str, str | None]:
    """Submit what is neither stored nor running nor queued; wait for all of the sweep if that is wanted.

    Returns:
        by key the errors of cells that failed or were lost; None of those that are done, running or queued.

    Raises:
        SettingError: engine or device cannot be had, or there is more to do than is allowed.
        ClusterError: SLURM or submitit are not there, or refuse.
        FirstFailureError: a cell failed, and fail_fast is set.
        StoreError: the store cannot be read or written.
        DataError: a dataset's files are missing or damaged and cannot be fetched.
    """
    if settings.redraw:
        raise setting_error(
            "redraw", True, "false on a cluster", "python -m jumpstart_exp.report draws what is stored, at any time"
        )
    settings = replace(
        settings,
        results_dir=str(Path(settings.results_dir).absolute()),
        data_dir=str(Path(settings.data_dir).absolute()),
    )
    store, console = Store(Path(settings.results_dir)), output()
    watch = SweepMonitor(store.results_dir)
    records = watch.records
    if settings.dry_run:
        todo, packed = _planned(cells, store, watch, settings, cluster)
        console.print(_dry_run_table(todo, store, packed, cluster))
        for remark in refusals(len(cells), *_expected(packed, cluster), settings):
            console.print(remark)
        return {}
    check_count(len(cells), settings)
    check_cluster()
    slurm.check_folder(store.results_dir)
    store.check_writable()
    compact_if_many(store)
    # two at once would both find nothing queued
    with records.alone(lambda: notes().print("another sweep is being submitted: waiting for it")):
        todo, packed = _planned(cells, store, watch, settings, cluster)
        check_hours(*_expected(packed, cluster), settings)
        prepare_data(todo.to_train, settings)
        clear_records(records, todo.stored)
        counts = todo.stored_counts()
        console.print(
            f"{cells_words(len(todo.cells))}: {stored_words(counts)} in {settings.results_dir}, "
            + (f"{packed.active} running or queued, " if packed.active else "")
            + f"{len(packed.costs)} to submit",
            markup=False,
        )
        store.add_labels([(key, label) for key, label in todo.new_labels if key in todo.stored])
        if words := long_words(*_expected(packed, cluster)):
            console.print(words)
        if packed.costs:
            _submit(packed, cells, settings, cluster, records)
        else:
            console.print("nothing to submit")
    if counts["failed"] and settings.retry != "failed":
        console.print(f"{cells_words(counts['failed'])} failed in an earlier run: retry=failed trains them again")
    own = {cell.key for cell in todo.cells}
    if not cluster.wait:
        console.print(f"see python -m jumpstart_exp.status results_dir='{settings.results_dir}'", markup=False)
        later = {label for key, label in todo.new_labels if key not in todo.stored and key not in packed.costs}
        if later:
            console.print(
                f"give the same command again when they are done: only then they appear as {', '.join(later)} too"
            )
        return _errors(store, own, watch.look())
    seen = _wait(watch, own, notes())
    after = plan(cells, store, "none")
    store.add_labels([(key, label) for key, label in after.new_labels if key in after.stored])
    bests = {task: f"{names['train_acc']}_best" for task, names in COLUMNS.items()}
    rows = store.cells(["status", "method", *bests.values()])
    datasets = {cell.key: cell.dataset for cell in todo.to_train}
    rows = rows[rows["key"].isin({cell.key for cell in todo.to_train})]
    if len(rows):
        outcomes = []
        for row in rows.to_dict("records"):
            dataset = datasets[row["key"]]
            best = row[bests[dataset.task]]
            outcomes.append(Outcome(str(row["method"]), str(row["status"]), best, dataset.threshold, dataset.task))
        console.print(outcome_table(outcomes))
    clear_records(records, after.stored)
    if settings.fail_fast:
        _check_first_failure(records, own, after)
    return _errors(store, own, seen)


def _check_first_failure(records: Records, own: set[str], after: Plan) -> None:
    """See whether a failed cell has ended the sweep.

    Raises:
        FirstFailureError: it has; the message says which and why.
    """
    left = own - after.stored.keys()
    latest = (one for one in reversed(records.submissions()) if any(left & {*task} for task in one.tasks))
    if (submission := next(latest, None)) is not None and submission.ended is not None:
        raise FirstFailureError(
            f"{submission.ended}; {len(own) - len(left)} of {len(own)} cells are stored in {records.folder.parent}, "
            "the same command submits the rest, which goes on from checkpoints; retry=failed tries the failed one again"
        )


def _expected(packed: _Packed, cluster: ClusterSettings) -> tuple[float, str]:
    """The estimated seconds from the first task's begin to the last one's end, and how many run, in words."""
    seconds = max((makespan(batch.seconds, cluster.max_at_once) for batch in packed.batches), default=0.0)
    at_once = sum(min(len(batch.tasks), cluster.max_at_once) for batch in packed.batches)
    hours = sum(packed.costs.values()) / 3600
    return seconds, f"{_tasks(at_once)} at once, without SLURM's queue; {hours:.3g} core-hours"


def _planned(
    cells: Sequence[Cell], store: Store, watch: SweepMonitor, settings: RunSettings, cluster: ClusterSettings
) -> tuple[Plan, _Packed]:
    """What there is to do, and how it would be submitted.

    Raises:
        SettingError: engine or device cannot be had.
        ClusterError: SLURM cannot tell what is queued.
        StoreError: the store cannot be read.
    """
    active = _active(watch, settings.dry_run)
    todo = plan(cells, store, settings.retry)
    for warning, count in Counter(warning for cell in todo.to_train for warning in cell.warnings()).items():
        warn(f"{warning}; they are trained all the same ({count} of {len(todo.to_train)} cells)")
    packed = _packed(todo, active, settings, cluster)
    longest = max((max(batch.seconds) for batch in packed.batches), default=0.0)
    limit = 60 * cluster.minutes_until_timeout - _signal_seconds(cluster) - 60
    if longest > limit:
        warn(
            f"tasks are estimated to take up to {duration(longest)}, and SLURM tells them to end after about "
            f"{duration(max(0, limit))} (hydra.launcher.timeout_min): they go on from checkpoints, which takes longer"
        )
    return todo, packed


def check_cluster() -> None:
    """See to it that jobs can be submitted from here.

    Raises:
        ClusterError: submitit or SLURM is not there, or SLURM does not answer.
    """
    if importlib.util.find_spec("submitit") is None:
        raise ClusterError(f"hydra/launcher={LAUNCHER} needs the extra cluster: pip install '.[cluster]'")
    if not slurm.is_here():
        raise ClusterError(
            f"hydra/launcher={LAUNCHER} has to be started where sbatch and squeue are, on a login node of the cluster: "
            "they are not on this machine's PATH"
        )


def _active(watch: SweepMonitor, dry_run: bool) -> frozenset[str]:
    """Keys that jobs have already.

    Raises:
        ClusterError: SLURM cannot tell, so they might be submitted twice.
    """
    seen = watch.look()
    if seen.remark and not dry_run:
        raise ClusterError(f"{seen.remark}; it is needed to know what is queued already")
    return seen.active


def _packed(todo: Plan, active: frozenset[str], settings: RunSettings, cluster: ClusterSettings) -> _Packed:
    from jumpstart_exp.engines import choose_engines

    to_submit = [cell for cell in todo.to_train if cell.key not in active]
    # what the nodes have, not what this machine has
    choices = choose_engines(settings.engine, settings.device, to_submit, has_cuda=cluster.gpus_per_task > 0)
    costs = [choice.engine.estimate_seconds(cell) for cell, choice in zip(to_submit, choices, strict=True)]
    batches = pack(to_submit, choices, costs, cluster.minutes_per_task, cluster.cpus_per_task)
    by_key = {cell.key: cost for cell, cost in zip(to_submit, costs, strict=True)}
    return _Packed(batches, by_key, len(todo.to_train) - len(to_submit))


def _submit(
    packed: _Packed, cells: Sequence[Cell], settings: RunSettings, cluster: ClusterSettings, records: Records
) -> None:
    """Submit all tasks, an array after the other; what is submitted is on record at every instant.

    Raises:
        ClusterError: SLURM refuses; what was submitted before goes on.
    """
    labelled: dict[str, list[Cell]] = {}
    for cell in dict.fromkeys(cells):
        labelled.setdefault(cell.key, []).append(cell)
    limit = cluster.max_array_size or slurm.max_array_size()
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    folder = records.folder / name
    arrays: list[Array] = []
    work: list[tuple[Batch, list[Sequence[Cell]]]] = []
    first = 0
    for batch in packed.batches:
        for start in range(0, len(batch.tasks), limit):
            tasks = list(batch.tasks[start : start + limit])
            arrays.append(Array(first, len(tasks), None, f"jumpstart-{name[-8:]}-{first}"))
            work.append((batch, tasks))
            first += len(tasks)
    submission = Submission(
        name,
        LAUNCHER,
        str(folder),
        cluster.cpus_per_task,
        [[cell.key for cell in task] for _, tasks in work for task in tasks],
        packed.costs,
        settings.retry == "failed",
        arrays,
    )
    try:
        records.keep_submission(submission)
    except OSError as error:
        reason = error.strerror or error
        raise ClusterError(f"{records.folder} cannot be written: {reason}; nothing was submitted") from error
    for number, (batch, tasks) in enumerate(work):
        functions = [
            FleetTask(
                [one for cell in task for one in labelled[cell.key]],
                # as it was planned: a node may show more than a task has, or less
                replace(settings, engine=batch.engine, device=batch.device),
                cluster.cpus_per_task,
                cluster.max_requeues,
                name,
            )
            for task in tasks
        ]
        try:
            job = _submit_array(functions, folder, arrays[number].name, batch, cluster)
        except (subprocess.SubprocessError, RuntimeError, OSError, ValueError) as error:
            _take_back(arrays[number].name)
            kept = [array for array in arrays if array.job is not None]
            _forget_rest(records, submission, kept)
            raise ClusterError(_refusal(error, sum(array.count for array in kept), packed.tasks)) from error
        arrays[number] = replace(arrays[number], job=job)
        try:
            records.keep_submission(replace(submission, arrays=arrays))
        except OSError as error:  # it will be found by its name
            warn(f"job {job} was submitted, but its number cannot be written: {error.strerror or error}")
        words = f"{_tasks(len(tasks))}, {cells_words(sum(map(len, tasks)))}, {batch.engine} on {batch.device}"
        output().print(f"submitted job {job}: {words}")


def _submit_array(
    functions: Sequence[FleetTask], folder: Path, name: str, batch: Batch, cluster: ClusterSettings
) -> str:
    """The number of the job array, or of the job if there is one task only."""
    import submitit

    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=cluster.max_requeues)
    asked: dict[str, Any] = {
        "name": name,
        "timeout_min": cluster.minutes_until_timeout,
        "cpus_per_task": cluster.cpus_per_task,
        "tasks_per_node": 1,
        "nodes": 1,
        "mem_gb": cluster.mem_gb or max(1, -(-batch.memory_bytes // 10**9)),
        "slurm_array_parallelism": cluster.max_at_once,
        "slurm_signal_delay_s": _signal_seconds(cluster),
        "slurm_stderr_to_stdout": True,
    }
    if cluster.gpus_per_task and batch.device != "cpu":
        asked["gpus_per_node"] = cluster.gpus_per_task
    for option in ("partition", "account", "qos", "constraint"):
        if (value := getattr(cluster, option)) is not None:
            asked[f"slurm_{option}"] = value
    if cluster.extra.setup:
        asked["slurm_setup"] = list(cluster.extra.setup)
    # sites may have another default, and a task that is out of time has itself requeued
    asked["slurm_additional_parameters"] = {"requeue": True, **cluster.extra.additional_parameters}
    executor.update_parameters(**asked)
    with executor.batch():
        jobs = [executor.submit(function) for function in functions]
    return str(jobs[0].job_id).partition("_")[0]


def _signal_seconds(cluster: ClusterSettings) -> int:
    return min(_SIGNAL_SECONDS, 20 * cluster.minutes_until_timeout)


def _take_back(name: str) -> None:
    """End an array that SLURM took although sbatch failed, when its answer came late: its files are not in place.

    Raises:
        ClusterError: it is not known whether SLURM took it.
    """
    try:
        for job in slurm.arrays_named([name]).values():
            slurm.cancel(job)
    except slurm.UnreachableError as error:
        raise ClusterError(
            f"sbatch failed, and whether SLURM took the job {name} is not known: {error}; "
            "the same command finds out when SLURM answers again"
        ) from error


def _forget_rest(records: Records, submission: Submission, kept: Sequence[Array]) -> None:
    """What was not submitted is not on record: it is neither queued nor lost."""
    if not kept:
        records.remove(submission.name)
        shutil.rmtree(submission.folder, ignore_errors=True)  # batch scripts that nobody runs
        return
    tasks = submission.tasks[: max(array.first + array.count for array in kept)]
    keys = {key for task in tasks for key in task}
    costs = {key: cost for key, cost in submission.costs.items() if key in keys}
    records.keep_submission(replace(submission, tasks=tasks, costs=costs, arrays=kept))


def _refusal(error: Exception, submitted: int, total: int) -> str:
    words = getattr(error, "stderr", None) or str(error)
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if "sbatch" in line and not line.startswith(('Try "', "File "))]
    reason = said[0] if said else lines[-1] if lines else type(error).__name__
    if not submitted:
        return f"SLURM refuses: {reason}; nothing was submitted"
    went = f"{submitted} of {total} tasks were submitted and go on"
    return f"SLURM refuses: {reason}; {went}, the same command submits the rest"


def _wait(watch: SweepMonitor, own: set[str], console: Any) -> SweepState:
    """Until nothing of the sweep runs or is queued, with a line that tells how far it is.

    Raises:
        InterruptedSweepError: Ctrl-C; the jobs go on.
    """
    bar = Progress(
        TextColumn("on the cluster"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[words]}"),
        console=console,
        disable=not redraws(console),
    )
    task = bar.add_task("", total=len(own), words="")
    pause, told = _LOOK_EVERY, time.monotonic()
    words, seen, sure = "", None, False
    with bar:
        try:
            while True:
                seen = watch.look()
                states = seen.states_of(own)
                done = sum(state in ("done", "diverged", "failed") for state in states.values())
                before, words = words, _progress_words(done, len(own), seen)
                bar.update(task, completed=done, words=words)
                if bar.disable and words != before and time.monotonic() - told >= _PLAIN_EVERY:
                    told = time.monotonic()
                    console.print(words)
                seems_lost = "lost" in states.values()
                # what seems lost while SLURM does not answer may only have been requeued
                if own & seen.active:
                    sure = False
                elif not (seen.remark and seems_lost):
                    if sure or not seems_lost:
                        return seen
                    sure = True  # a network file system may be some seconds behind the node that wrote
                time.sleep(pause)
                pause = min(_LOOK_AT_MOST_EVERY, 1.05 * pause)
        except KeyboardInterrupt:
            jobs = " ".join(seen.jobs) if seen else ""
            raise InterruptedSweepError(
                "stopped waiting, the jobs go on: the same command waits again, python -m jumpstart_exp.status "
                f"results_dir='{watch.follower.store.results_dir}' tells how far they are"
                + (f", scancel {jobs} ends them" if jobs else ""),
                signal.SIGINT,
            ) from None


def _progress_words(done: int, total: int, seen: SweepState) -> str:
    parts = [f"{done}/{total} cells"]
    parts += [f"{_tasks(seen.tasks[state])} {state}" for state in ("running", "queued") if seen.tasks.get(state)]
    if seen.seconds_left is not None:
        parts.append(f"{duration(seen.seconds_left)} left")
    if seen.remark:
        parts.append(seen.remark)
    return ", ".join(parts)


def _errors(store: Store, own: set[str], seen: SweepState) -> dict[str, str | None]:
    """By key what went wrong."""
    states = seen.states_of(own)
    stored = store.stored() if "failed" in states.values() else {}
    errors: dict[str, str | None] = dict.fromkeys(own)
    for key, state in states.items():
        if state == "failed":
            errors[key] = stored[key].error or "failed"
        elif state == "lost":
            errors[key] = "lost: there is no record of its job; the same command trains it again"
    for loss in seen.losses:
        for key in loss.keys & own:
            job = f"job {loss.job}: " if loss.job else ""
            errors[key] = f"{loss.state}: {job}{words(loss)}; the same command trains it again"
    return errors


def _dry_run_table(todo: Plan, store: Store, packed: _Packed, cluster: ClusterSettings) -> Table:
    methods = Counter(cell.method for cell in todo.cells)
    table = Table(title="dry run: nothing was submitted or written", title_justify="left", show_header=False)
    table.add_row("cells", f"{len(todo.cells)} ({', '.join(f'{n} {method}' for method, n in methods.items())})")
    table.add_row("already stored", f"{stored_words(todo.stored_counts())} in {escape(str(store.results_dir))}")
    if packed.active:
        table.add_row("running or queued", str(packed.active))
    table.add_row("to submit", str(len(packed.costs)))
    for batch in packed.batches:
        longest, shortest = duration(max(batch.seconds)), duration(min(batch.seconds))
        memory = cluster.mem_gb or max(1, -(-batch.memory_bytes // 10**9))
        table.add_row(
            f"{batch.engine} on {batch.device}",
            f"{_tasks(len(batch.tasks))} of {_cpus(cluster.cpus_per_task)} and {memory:g} GB, "
            + (f"about {longest} each" if longest == shortest else f"about {shortest} to {longest} each"),
        )
    if packed.batches:
        seconds, how = _expected(packed, cluster)
        table.add_row("estimated time", f"about {duration(seconds)}: {how}")
        table.add_row("time limit of a task", f"{duration(60 * cluster.minutes_until_timeout)}, then it goes on anew")
    return table


def _cpus(count: int) -> str:
    return f"{count} CPU{'s' * (count != 1)}"


def _tasks(count: int) -> str:
    return f"{count} task{'s' * (count != 1)}"
