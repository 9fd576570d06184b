"""Running cells: what the store has is left out, the rest is trained, stored as it comes, and accounted for."""

import contextlib
import math
import shlex
import signal
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.console import notes, output, warn
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.limits import available_memory_bytes, cpu_count
from jumpstart_exp.result import Result
from jumpstart_exp.settings import legible, setting_error
from jumpstart_exp.store import Store, Stored, StoreError, result_row
from jumpstart_exp.sweep.bounds import check_count, check_hours, expected, long_words, refusals
from jumpstart_exp.sweep.passes import Pass, passes_of
from jumpstart_exp.sweep.pictures import Pictures
from jumpstart_exp.sweep.progress import Outcome, SweepProgress, duration, epoch_progress, outcome_table, result_table
from jumpstart_exp.sweep.records import Heartbeat, Job, Records, current_job, is_alive
from jumpstart_exp.sweep.stopping import EndedError, FirstFailureError, InterruptedSweepError, stoppable
from jumpstart_exp.sweep.verdict import ClassShares, verdict
from jumpstart_exp.sweep.workers import EngineSetup, Progress, prepare_workers, train_in_parallel

if TYPE_CHECKING:
    from jumpstart_exp.engines.checkpoint import Checkpoints
    from jumpstart_exp.sweep.fleets import Phase

STORE_AFTER_SECONDS = 2.0
STORE_AFTER_CELLS = 256
"""What is finished is stored when the first of it is so old, or so many wait; a part takes about the same for all."""

_MANY_ROWS = 200
"""Of a curve; where there are more, a quarter as many cells wait in memory."""

_LONGEST_REASON = 500
"""Letters of a failure's reason in a message."""


class CellsFailedError(Exception):
    """Some cells of a sweep failed; all others were trained and stored."""


@dataclass
class Plan:
    """What a sweep has to do: its distinct cells, minus what the store has."""

    cells: list[Cell]
    to_train: list[Cell]
    stored: dict[str, Stored]
    new_labels: list[tuple[str, str]] = field(default_factory=list)

    def stored_counts(self) -> Counter[str]:
        """How many of the sweep's cells are stored, by status."""
        keys = {cell.key for cell in self.cells}
        return Counter(known.status for key, known in self.stored.items() if key in keys)


def plan(cells: Sequence[Cell], store: Store, retry: str) -> Plan:
    """Leave out what is stored (failed cells too, unless `retry` is "failed"); equal cells are trained once."""
    stored = store.stored()
    distinct: dict[str, Cell] = {}
    labels: dict[tuple[str, str], None] = {}
    for cell in cells:
        distinct.setdefault(cell.key, cell)
        labels[cell.key, cell.method] = None
    to_train = {
        key: cell
        for key, cell in distinct.items()
        if key not in stored or (retry == "failed" and stored[key].status == "failed")
    }
    new_labels = [
        (key, label)
        for key, label in labels
        if label not in (stored[key].labels if key in stored else {distinct[key].method})
    ]
    return Plan(list(distinct.values()), list(to_train.values()), stored, new_labels)


def run_sweep(
    cells: Sequence[Cell], settings: RunSettings, workers: int | None, job: Job | None = None
) -> dict[str, str | None]:
    """Train what is missing of these cells and store it; by key the errors of cells that failed, now or earlier.

    Args:
        cells: the sweep; equal ones are trained once.
        settings: how they are run.
        workers: cores to be used; None for all that this process may use.
        job: the job of a cluster that this is a part of.

    Raises:
        SettingError: engine, device or number of workers cannot be had, or there is more to do than is allowed.
        DataError: a dataset's files are missing or damaged and cannot be fetched.
        StoreError: the store cannot be read or written.
        FirstFailureError: a cell failed, and fail_fast is set; what was finished is stored.
        InterruptedSweepError: Ctrl-C or a request to end; what was finished is stored.
        WorkerStartError: worker processes cannot be started; what was finished is stored.
    """
    console = output()
    store = Store(Path(settings.results_dir))
    cores = _worker_count(workers)
    if not settings.dry_run and job is None:  # the launcher has done it for all its tasks
        compact_if_many(store)
    todo = plan(cells, store, settings.retry)
    for warning, count in Counter(warning for cell in todo.to_train for warning in cell.warnings()).items():
        warn(f"{warning}; they are trained all the same ({count} of {len(todo.to_train)} cells)")
    settings = _without_locked_checkpoints(settings, todo.to_train)
    if todo.to_train and not settings.dry_run:
        # while this process imports torch, too; whether there is a GPU is not known yet
        prepare_workers(todo.to_train, "cuda" if settings.device == "cuda" else "cpu")
    passes = passes_of(todo.cells) if settings.redraw else []
    phases, remarks = _phases(todo.to_train, settings, cores, passes)
    needed = max((phase.estimate_memory_bytes() for phase in phases if phase.setup.device == "cpu"), default=0)
    if needed > (free := available_memory_bytes()):
        warn(
            f"training takes about {needed / 1e9:.1f} GB of memory, and {max(0, free) / 1e9:.1f} GB are free: "
            "processes may be killed for it"
        )
    if passes:
        remarks = [*remarks, f"pictures of {'; '.join(each.shows for each in passes)}"]
    if settings.dry_run:
        console.print(dry_run_table(todo, store, phases))
        for remark in [*remarks, *refusals(len(cells), *expected(phases), settings)]:
            console.print(remark)
        return {}
    if job is None:  # else the launcher has done it for all its tasks
        check_count(len(cells), settings)
        check_hours(*expected(phases), settings)
    store.check_writable()
    checkpoints = _checkpoints(settings)
    checkpoints.remove({key for key, known in todo.stored.items() if known.status != "failed"})
    prepare_data(todo.to_train, settings)
    counts = todo.stored_counts()
    console.print(
        f"{cells_words(len(todo.cells))}: {stored_words(counts)} in {settings.results_dir}, "
        f"{len(todo.to_train)} to train",
        markup=False,
    )
    kept = checkpoints.keys() & {cell.key for cell in todo.to_train}
    if kept:
        console.print(
            f"{cells_words(len(kept))} go on from a checkpoint" if len(kept) > 1 else "1 cell goes on from a checkpoint"
        )
    takes_long = [] if job else [words for words in [long_words(*expected(phases))] if words]
    for line in [*(f"engine {phase.words()}" for phase in phases), *remarks, *takes_long]:
        console.print(line)
    results: list[Result] = []
    if job is None:
        clear_records(Records(store.results_dir), todo.stored)
    with contextlib.ExitStack() as ends:
        pictures = ends.enter_context(Pictures(passes, todo.stored, settings)) if passes else None
        if todo.to_train:
            started = time.monotonic()
            results = _train(phases, store, checkpoints, job, settings, pictures)
            took = duration(time.monotonic() - started)  # the last picture is no training
        store.add_labels(todo.new_labels)
        if pictures is not None:
            pictures.finish()
    if todo.to_train:
        outcomes = [
            Outcome(one.cell.method, one.status, one.train_acc.best, one.cell.dataset.threshold, one.cell.dataset.task)
            for one in results
        ]
        console.print(outcome_table(outcomes))
        console.print(f"{cells_words(len(results))} in {took}, stored in {store.cells_dir}", markup=False)
    else:
        console.print("nothing to train")
    if counts["failed"] and settings.retry != "failed":
        console.print(f"{cells_words(counts['failed'])} failed in an earlier run: retry=failed trains them again")
    stored = {cell.key: todo.stored[cell.key] for cell in todo.cells if cell.key in todo.stored}
    earlier = {key: known.error or "failed" for key, known in stored.items() if known.status == "failed"}
    return earlier | {result.cell.key: result.error if result.status == "failed" else None for result in results}


def run_cell(cell: Cell, settings: RunSettings) -> None:
    """Train one cell in this process, unless it is stored; show its result, where it lies and what to do next.

    Raises:
        CellsFailedError: the cell failed; that is stored, too.
        KeyboardInterrupt: the training was asked to end; the message says what is kept of it.
        SettingError: engine or device cannot be had, or the training takes longer than is allowed.
        DataError: the dataset's files are missing or damaged and cannot be fetched.
        StoreError: the store cannot be read or written.
    """
    console = output()
    store = Store(Path(settings.results_dir))
    for warning in cell.warnings():
        warn(warning)
    todo = plan([cell], store, settings.retry)
    settings = _without_locked_checkpoints(settings, todo.to_train)
    phases, remarks = _phases(todo.to_train, settings, 1)
    if settings.dry_run:
        console.print(dry_run_table(todo, store, phases))
        remarks = [*remarks, *refusals(1, *expected(phases), settings)]
    else:
        check_hours(*expected(phases), settings)
        remarks = [*remarks, *filter(None, [long_words(*expected(phases))])]
    for remark in remarks:
        console.print(remark)
    if settings.dry_run:
        return
    if todo.to_train or todo.new_labels:
        store.check_writable()
    if todo.to_train:
        prepare_data([cell], settings)
        checkpoint = _checkpoints(settings).folder / f"{cell.key}.pt"
        if settings.checkpoint_minutes and checkpoint.exists():
            console.print("goes on from a checkpoint")
        try:
            with Heartbeat(Records(store.results_dir), phases[0].cost, 1, current_job()) as heart:
                result = _train_here(cell, phases[0].setup, notes(), heart)
                with stoppable():  # a request to end comes too late
                    store.write([result])
        except KeyboardInterrupt:
            if settings.checkpoint_minutes and checkpoint.exists():
                words = "a checkpoint is kept; the same command goes on from there"
            else:
                reason = "" if settings.checkpoint_minutes else " (checkpoint_minutes=null)"
                words = f"nothing was kept{reason}, the same command begins anew"
            # no Exception: Hydra would take it for the failure of a job, and begin the next one
            raise KeyboardInterrupt(f"stopped: {words}") from None
        except EndedError as ended:
            raise ended.error from None
        if result.status != "failed":
            _checkpoints(settings).remove({cell.key})
        row = result_row(result)
    else:
        store.add_labels(todo.new_labels)
        console.print(f"already stored in {settings.results_dir}: nothing to train", markup=False)
        row = store.row(cell.key)
    if row["status"] == "failed":
        raise CellsFailedError(f"{cell.title()} failed: {row['error']} (retry=failed trains it again)")
    console.print(result_table(cell, row))
    for line in (verdict(cell, row, lambda: _class_shares(cell, settings)), *_next_lines(cell, settings)):
        console.print(line, markup=False)


def _class_shares(cell: Cell, settings: RunSettings) -> ClassShares | None:
    """The classes' shares among the cell's points; None where its files are not there, and for a regression."""
    from jumpstart_exp.data.loading import load_arrays

    if cell.dataset.task == "regression":
        return None
    try:
        _, (_, y_train, _, y_val) = load_arrays(cell.dataset, Path(settings.data_dir))
    except DataError:
        return None
    counts = (Counter(y.tolist()) for y in (y_train, y_val))
    classes = range(cell.dataset.classes)
    return ClassShares(*([count[each] / count.total() for each in classes] for count in counts))


def _next_lines(cell: Cell, settings: RunSettings) -> list[str]:
    """Where the cell's row lies, and what can be done with it."""
    program, at = "python -m jumpstart_exp", ""
    if settings.results_dir != RunSettings().results_dir:
        at = f" results_dir={shlex.quote(settings.results_dir)}"
    steps = {
        f"{program}.report{at}": "figures and a page of all that is stored",
        f"{program}.inspect key={cell.key}{at}": "its parameters over the training, for figures of its inside",
    }
    if not settings.plot:
        steps["the same command with plot=true"] = "its losses, accuracy, census and decision surface"
    store = Store(settings.results_dir)
    lies = f"its row: key={cell.key} in {store.cells_dir}, its curve in {store.curves_dir}"
    return [lies, "next:", *(f"  {step}   {what}" for step, what in steps.items())]


def _phases(
    cells: Sequence[Cell], settings: RunSettings, workers: int, passes: Sequence[Pass] = ()
) -> "tuple[list[Phase], list[str]]":
    """What every engine trains, pass after pass, and why some cells are not trained by the fastest.

    Raises:
        SettingError: engine or device cannot be had.
    """
    from jumpstart_exp.engines import choose_engines, passed_over_lines
    from jumpstart_exp.sweep.fleets import form_phases

    choices = choose_engines(settings.engine, settings.device, cells)
    checkpoints = _checkpoints(settings) if settings.checkpoint_minutes else None
    pass_of = {cell.key: number for number, each in enumerate(passes) for cell in each.cells}
    phases = form_phases(cells, choices, workers, settings.curve_every, Path(settings.data_dir), checkpoints, pass_of)
    return phases, passed_over_lines(choices, cells, duration)


def _checkpoints(settings: RunSettings) -> "Checkpoints":
    from jumpstart_exp.engines.checkpoint import Checkpoints

    return Checkpoints(Path(settings.results_dir) / "checkpoints", settings.checkpoint_minutes or 0.0)


def _without_locked_checkpoints(settings: RunSettings, cells: Sequence[Cell]) -> RunSettings:
    """The settings, checkpoints left out where another user's are in their way: those are named, and left alone."""
    locked = _checkpoints(settings).locked({cell.key for cell in cells}) if settings.checkpoint_minutes else []
    if not locked:
        return settings
    more = f" and {len(locked) - 1} more" if len(locked) > 1 else ""
    warn(f"{locked[0]}{more} may not be read by this user: left alone, the cells are trained without")
    is_all = len(cells) == 1 or locked[0].suffix != ".pt"
    return replace(settings, checkpoint_minutes=None) if is_all else settings


def prepare_data(cells: Sequence[Cell], settings: RunSettings) -> None:
    """See to it that every dataset's files are there, before any worker needs them.

    Raises:
        DataError: files are missing or damaged and cannot be fetched.
    """
    from jumpstart_exp.data.loading import prepare

    data_dir = Path(settings.data_dir)
    # subsets are of the same files
    datasets = {(type(cell.dataset), tuple(cell.dataset.sources(data_dir))): cell.dataset for cell in cells}
    for dataset in datasets.values():
        prepare(dataset, data_dir, settings.download)


def compact_if_many(store: Store) -> None:
    """Put the store's parts into few if reading them would take long; where that fails it is no matter."""
    from jumpstart_exp.store.compaction import MANY_PARTS, BusyError, compact
    from jumpstart_exp.store.parts import part_names

    try:
        try:
            count = len(part_names(store.cells_dir))
        except OSError:  # who reads the store says so
            return
        if count <= MANY_PARTS:
            return
        notes().print(f"compacting {store.cells_dir}: {count} parts", markup=False)
        compact(store)
    except BusyError:  # another sweep does it
        return
    except (OSError, StoreError) as error:
        warn(str(error))


def clear_records(records: Records, stored: Mapping[str, Stored]) -> None:
    """Drop the records of runs that train no more, and of submissions, of which everything is stored."""
    over = {key for key, known in stored.items() if known.status != "failed"}
    for run in records.runs():
        if not is_alive(run) and all(key in stored for key in run.costs):
            records.remove(run.name)
    for submission in records.submissions():
        # what has failed may be about to be trained again
        if all(key in (over if submission.retries else stored) for task in submission.tasks for key in task):
            records.remove(submission.name)


def _train_here(cell: Cell, setup: EngineSetup, console: Console, heart: Heartbeat) -> Result:
    """Train a cell in this process; asked to end, it leaves a checkpoint first.

    Raises:
        KeyboardInterrupt: it was asked to end.
    """
    from jumpstart_exp.engines import load_and_train
    from jumpstart_exp.engines.checkpoint import are_all_kept, request_checkpoint

    results: list[Result] = []
    engine = setup.make()
    deadline = math.inf
    with epoch_progress(cell, console) as show, stoppable() as stop:

        def progress(of: Cell, epochs: float) -> None:
            nonlocal deadline
            show(of, epochs)
            heart.progress(of.key, engine.share_done(of, epochs))
            heart.beat()
            if stop.signal is not None and deadline == math.inf:
                deadline = time.monotonic() + stop.keep_seconds
                handler = stop.before.get(stop.signal)
                goes_on = callable(handler) and handler is not signal.default_int_handler  # as submitit's may
                if setup.checkpoints is not None and not goes_on:
                    console.print("stopping: what is in training is kept for the next run (Ctrl-C again: end at once)")
                request_checkpoint()
            if stop and (are_all_kept() or stop.is_urgent or time.monotonic() >= deadline):
                deadline = math.inf
                stop.hand_over()

        load_and_train(engine, [cell], setup.data_dir, on_result=results.append, on_progress=progress)
    return results[0]


def _train(
    phases: "Sequence[Phase]",
    store: Store,
    checkpoints: "Checkpoints",
    job: Job | None,
    settings: RunSettings,
    pictures: Pictures | None,
) -> list[Result]:
    console = notes() if pictures is None else pictures.console
    count = sum(len(fleet) for phase in phases for fleet in phase.fleets)
    results: list[Result] = []
    waiting: list[Result] = []
    oldest = 0.0
    records = Records(store.results_dir)
    costs = {key: cost for phase in phases for key, cost in phase.cost.items()}
    at_once = max(phase.at_once for phase in phases)

    def flush() -> None:
        store.write(waiting)
        stored = list(waiting)
        waiting.clear()
        checkpoints.remove({result.cell.key for result in stored if result.status != "failed"})
        # curves and censuses are in the store: of thousands of cells they would fill the memory
        results.extend(replace(result, curve=(), census_start=None, census_last=None) for result in stored)
        progress.stored(stored)
        if pictures is not None:
            pictures.stored(result.cell.key for result in stored)

    def happenings() -> Generator[Progress | Result | None]:
        most: int | None = None  # what kills for memory have left
        for planned in phases:
            if stop:
                return
            phase = planned if most is None else planned.limited(most)
            progress.begin(phase)
            lowered = yield from train_in_parallel(phase.fleets, phase.setup, phase.processes, stop)
            most = most if lowered is None else lowered

    with (
        SweepProgress(phases, console) as progress,
        stoppable() as stop,
        Heartbeat(records, costs, at_once, job) as heart,
    ):
        events = happenings()
        told = False
        failure: Result | None = None
        try:
            for event in events:
                if isinstance(event, Result):
                    oldest = oldest if waiting else time.monotonic()
                    waiting.append(event)
                    progress.finished(event)
                    heart.finished(event.cell.key, has_failed=event.status == "failed")
                    if settings.fail_fast and event.status == "failed" and not stop:
                        failure = event
                        stop.request(signal.SIGTERM)  # as if told to end: what is in training is kept
                elif isinstance(event, Progress):
                    progress.training(event.cell, event.epochs)
                    heart.progress(event.cell.key, progress.share_done(event.cell, event.epochs))
                if waiting and (stop or _are_many(waiting) or time.monotonic() - oldest >= STORE_AFTER_SECONDS):
                    flush()
                if stop and not told:
                    told = True
                    hint = "" if job else " (Ctrl-C again: end at once)"
                    console.print(f"stopping: what is in training is kept for the next run{hint}")
                progress.tick()
                if pictures is not None:
                    pictures.tick()
                heart.seconds_left = progress.left
                heart.beat()
            flush()
        except Exception:
            stop.request(signal.SIGTERM)  # as if told to end: what is in training is kept, what is finished is stored
            waiting.extend(event for event in events if isinstance(event, Result))
            with contextlib.suppress(StoreError):
                flush()
            raise
        finally:
            events.close()
        if failure is not None:
            kept = (
                "from checkpoints" if settings.checkpoint_minutes else "from their beginning (checkpoint_minutes=null)"
            )
            raise FirstFailureError(
                f"{failed_words(failure.cell.title(), failure.error)}; {len(results)} of {count} cells are stored in "
                f"{store.results_dir}, those in training go on {kept} with the same command; retry=failed tries the "
                "failed one again"
            )
        if stop.signal is not None:
            raise InterruptedSweepError(
                f"stopped: {len(results)} of {count} cells are done and stored in {store.results_dir}; "
                "run the same command again to go on",
                stop.signal,
            )
    return results


def _are_many(waiting: Sequence[Result]) -> bool:
    """Whether so many finished cells wait that they are to be stored."""
    has_many_rows = len(waiting[-1].curve) > _MANY_ROWS
    return len(waiting) >= (STORE_AFTER_CELLS // 4 if has_many_rows else STORE_AFTER_CELLS)


def _worker_count(workers: int | None) -> int:
    if workers is None:
        return cpu_count()
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise setting_error("hydra.launcher.workers", workers, "an integer of at least 1 or null")
    return workers


def dry_run_table(todo: Plan, store: Store, phases: "Sequence[Phase]") -> Table:
    """What a sweep would do, as a table: cells, what is stored, engines, time and memory."""
    methods = Counter(cell.method for cell in todo.cells)
    table = Table(title="dry run: nothing was trained or written", title_justify="left", show_header=False)
    table.add_row("cells", f"{len(todo.cells)} ({', '.join(f'{n} {method}' for method, n in methods.items())})")
    table.add_row("already stored", f"{stored_words(todo.stored_counts())} in {escape(str(store.results_dir))}")
    table.add_row("to train", str(len(todo.to_train)))
    for phase in phases:
        table.add_row("engine", phase.words())
    if phases:
        memory = max(phase.estimate_memory_bytes() for phase in phases)
        table.add_row("estimated time", f"about {duration(sum(phase.estimate_seconds() for phase in phases))}")
        table.add_row("estimated memory", f"about {memory / 2**30:.1f} GiB")
    return table


def failed_words(cell: str, error: str | None) -> str:
    """That a cell failed, by which fail_fast ends a sweep, and why: a line."""
    reason = next(iter((error or "").strip().splitlines()), "failed")
    return f"fail_fast=true ended the sweep: {cell} failed: {legible(reason, _LONGEST_REASON)}"


def stored_words(counts: Counter[str]) -> str:
    """How many are stored: "12 stored", "12 stored (1 diverged, 2 failed)"."""
    odd = ", ".join(f"{counts[status]} {status}" for status in ("diverged", "failed") if counts[status])
    return f"{counts.total()} stored" + (f" ({odd})" if odd else "")


def cells_words(count: int) -> str:
    """How many: "1 cell", "12 cells"."""
    return f"{count} cell{'s' * (count != 1)}"
