import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_engines import DEADLY, OneByOne, Slow, Threads

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.engines import choice
from jumpstart_exp.result import CurveRow, Metric, Result
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store, StoreError
from jumpstart_exp.sweep import runner, workers
from jumpstart_exp.sweep.progress import SweepProgress
from jumpstart_exp.sweep.records import Records, Run
from jumpstart_exp.sweep.runner import CellsFailedError, plan, run_cell, run_sweep
from jumpstart_exp.sweep.stopping import REQUESTS, InterruptedSweepError, Stop
from jumpstart_exp.sweep.workers import EngineSetup, Progress, WorkerStartError

Events = Generator[Progress | Result | None]


def cell(seed: int = 0, method: str = "sep_up", **values: Any) -> Cell:
    return Cell(
        depth=2,
        width=3,
        seed=seed,
        method=method,
        penalty=PenaltySpec(kind="UP"),
        optimizer=OptimizerSpec(epochs=2),
        **values,
    )


def trained(of: Cell, status: Any = "done", error: str | None = None) -> Result:
    row = CurveRow(1, 0.5, 0.5, 0.7, 0.7, 0.1, 0.0, 0.0, 0.0, 0.0)
    return Result(of, status, "eager", train_acc=Metric(0.5, 0.5, 1), error=error, curve=(row,))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def settings(store: Store, tmp_path: Path) -> Callable[..., RunSettings]:
    def made(**values: Any) -> RunSettings:
        return RunSettings(results_dir=str(store.results_dir), data_dir=str(tmp_path / "data"), **values)

    return made


class Pool:
    """Stands in for the worker processes: trains nothing, and does what a test wants before each result."""

    def __init__(
        self, before: Callable[[int], None] | None = None, outcome: Callable[[Cell], Result] = trained
    ) -> None:
        self.before, self.outcome = before, outcome
        self.trained: list[Cell] = []
        self.calls = 0
        self.closed = False

    def __call__(self, fleets: Sequence[Sequence[Cell]], setup: EngineSetup, workers: int, stop: Stop) -> Events:
        self.calls += 1
        self.closed = False
        try:
            for number, one in enumerate(one for fleet in fleets for one in fleet):
                if self.before is not None:
                    self.before(number)
                if stop:
                    return
                yield None
                yield Progress(one, 1)
                self.trained.append(one)
                yield self.outcome(one)
        finally:
            self.closed = True


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pool]:
    def installed(*arguments: Any, **options: Any) -> Pool:
        made = Pool(*arguments, **options)
        monkeypatch.setattr(runner, "train_in_parallel", made)
        return made

    return installed


# What there is to do


def test_everything_is_to_do_at_first(store: Store) -> None:
    cells = [cell(seed) for seed in range(3)]
    todo = plan(cells, store, "none")
    assert (todo.cells, todo.to_train, todo.new_labels) == (cells, cells, [])
    assert todo.stored_counts() == {}


@pytest.mark.parametrize(("retry", "again"), [("none", []), ("failed", [2])])
def test_what_is_stored_is_left_out(store: Store, retry: str, again: list[int]) -> None:
    statuses = ["done", "diverged", "failed"]
    store.write([trained(cell(seed), status) for seed, status in enumerate(statuses)])
    store.write([trained(cell(99), "failed")])  # of another sweep
    todo = plan([cell(seed) for seed in range(5)], store, retry)
    assert [one.seed for one in todo.to_train] == [*again, 3, 4]
    assert len(todo.cells) == 5
    assert todo.stored_counts() == {"done": 1, "diverged": 1, "failed": 1}
    assert todo.new_labels == []


def test_a_cell_that_failed_and_was_done_since_is_not_tried_again(store: Store) -> None:
    store.write([trained(cell(), "failed")])
    store.write([trained(cell(), "done")])
    assert plan([cell()], store, "failed").to_train == []


def test_equal_cells_are_trained_once_under_all_their_labels(store: Store) -> None:
    cells = [cell(0, "a"), cell(0, "b"), cell(0, "a"), cell(1, "a")]
    todo = plan(cells, store, "none")
    assert todo.cells == todo.to_train == [cell(0, "a"), cell(1, "a")]
    assert todo.new_labels == [(cell(0).key, "b")]


def test_labels_that_the_store_lacks_are_to_be_added(store: Store) -> None:
    store.write([trained(cell(0, "a"))])
    todo = plan([cell(0, "b"), cell(0, "a"), cell(0, "b"), cell(0, "c")], store, "none")
    assert todo.to_train == []
    assert todo.new_labels == [(cell().key, "b"), (cell().key, "c")]


# Running it


def test_a_sweep_trains_stores_and_goes_on_where_it_stopped(
    store: Store, settings: Callable[..., RunSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    impossible = Cell(depth=3, width=10_000_000, method="too_wide")
    cells = [cell(0), cell(0, "same"), impossible, cell(1, network=NetworkSpec(layout="conv2x1"))]
    errors = run_sweep(cells, settings(), 1)
    assert {key for key, error in errors.items() if error is None} == {cells[0].key, cells[3].key}
    reason = errors[impossible.key]
    assert reason is not None
    assert "llocate" in reason
    rows = store.cells().set_index("key")
    assert rows["status"].to_dict() == {cells[0].key: "done", impossible.key: "failed", cells[3].key: "done"}
    assert rows["error"][impossible.key] == reason
    assert list(rows["labels"][cells[0].key]) == ["same", "sep_up"]
    assert set(store.curves()["key"]) == {cells[0].key, cells[3].key}
    assert "3 cells: 0 stored" in capsys.readouterr().out

    assert list(run_sweep(cells, settings(), 1)) == [impossible.key], "a failure stays one until it is mended"
    said = capsys.readouterr().out
    assert "3 cells: 3 stored (1 failed)" in said
    assert "nothing to train" in said
    assert "retry=failed" in said


def test_a_finished_sweep_starts_no_workers(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool]
) -> None:
    workers = pool()
    run_sweep([cell(0), cell(1)], settings(), 1)
    before = sorted(store.results_dir.rglob("*"))
    assert run_sweep([cell(1), cell(0)], settings(), 1) == {}
    assert workers.calls == 1
    assert sorted(store.results_dir.rglob("*")) == before


def test_only_what_is_missing_is_trained(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool]
) -> None:
    store.write([trained(cell(seed)) for seed in (1, 3)])
    workers = pool()
    run_sweep([cell(seed) for seed in range(5)], settings(), 1)
    assert sorted(one.seed for one in workers.trained) == [0, 2, 4]
    assert len(store.stored()) == 5


def test_the_largest_cells_are_trained_first(settings: Callable[..., RunSettings], pool: Callable[..., Pool]) -> None:
    workers = pool()
    run_sweep([Cell(depth=depth) for depth in (2, 50, 1, 10)], settings(), 1)
    assert [one.depth for one in workers.trained] == [50, 10, 2, 1]


def test_another_label_of_a_stored_cell_is_added_without_training(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool]
) -> None:
    workers = pool()
    run_sweep([cell(0, "first")], settings(), 1)
    run_sweep([cell(0, "second"), cell(0, "third")], settings(), 1)
    assert len(workers.trained) == 1
    assert store.stored()[cell().key].labels == {"first", "second", "third"}
    assert len(store.cells()) == 1


def test_failed_cells_are_returned_with_their_reason_and_stored(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool]
) -> None:
    pool(outcome=lambda of: trained(of, "failed", f"reason {of.seed}") if of.seed % 2 else trained(of))
    errors = run_sweep([cell(seed) for seed in range(4)], settings(), 1)
    assert errors == {cell(0).key: None, cell(1).key: "reason 1", cell(2).key: None, cell(3).key: "reason 3"}
    assert store.row(cell(3).key)["error"] == "reason 3"


def test_a_diverged_cell_is_no_failure(settings: Callable[..., RunSettings], pool: Callable[..., Pool]) -> None:
    pool(outcome=lambda of: trained(of, "diverged"))
    assert run_sweep([cell()], settings(), 1) == {cell().key: None}


def test_failed_cells_are_trained_again_on_request(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool]
) -> None:
    pool(outcome=lambda of: trained(of, "failed", "the first time"))
    run_sweep([cell(0), cell(1)], settings(), 1)
    workers = pool()
    assert set(run_sweep([cell(0), cell(1)], settings(), 1).values()) == {"the first time"}
    assert workers.calls == 0
    assert run_sweep([cell(0), cell(1)], settings(retry="failed"), 1) == {cell(0).key: None, cell(1).key: None}
    assert {known.status for known in store.stored().values()} == {"done"}


def test_a_sweep_warns_once_about_what_makes_no_sense(
    settings: Callable[..., RunSettings], pool: Callable[..., Pool], capsys: pytest.CaptureFixture[str]
) -> None:
    pool()
    thin = [Cell(width=1, seed=seed, penalty=PenaltySpec(kind="P")) for seed in range(3)]
    run_sweep([*thin, cell()], settings(), 1)
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warned) == 1
    assert "width 1" in warned[0]
    assert "(3 of 4 cells)" in warned[0]


def test_a_dry_run_trains_and_writes_nothing(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool], capsys: pytest.CaptureFixture[str]
) -> None:
    workers = pool()
    assert run_sweep([cell(0), cell(1)], settings(dry_run=True), 1) == {}
    assert workers.calls == 0
    assert not store.results_dir.exists()
    assert "dry run: nothing was trained or written" in capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, -1, True, 1.5, "two"])
def test_a_number_of_workers_that_cannot_be_is_refused(settings: Callable[..., RunSettings], workers: Any) -> None:
    with pytest.raises(SettingError, match=r"^hydra\.launcher\.workers=.* must be an integer of at least 1 or null$"):
        run_sweep([cell()], settings(), workers)


def test_an_unknown_engine_is_refused_before_anything_is_written(
    store: Store, settings: Callable[..., RunSettings]
) -> None:
    with pytest.raises(SettingError, match=r"^engine='eagre' is not allowed: it must be one of auto, eager"):
        run_sweep([cell()], settings(engine="eagre"), 1)
    assert not store.results_dir.exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(
    tmp_path: Path, pool: Callable[..., Pool]
) -> None:
    workers = pool()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        run_sweep([cell()], RunSettings(results_dir=str(tmp_path / "file" / "results")), 1)
    assert workers.calls == 0


# Nothing that is finished is lost


@pytest.mark.parametrize(("cells_at_once", "seconds"), [(64, 2.0), (1, 2.0), (64, 0.0), (2, 3600.0)])
def test_results_are_durable_before_they_are_reported(
    store: Store,
    settings: Callable[..., RunSettings],
    pool: Callable[..., Pool],
    monkeypatch: pytest.MonkeyPatch,
    cells_at_once: int,
    seconds: float,
) -> None:
    monkeypatch.setattr(runner, "STORE_AFTER_CELLS", cells_at_once)
    monkeypatch.setattr(runner, "STORE_AFTER_SECONDS", seconds)
    reported: list[str] = []
    report = SweepProgress.stored

    def watched(self: SweepProgress, results: Sequence[Result]) -> None:
        reported.extend(result.cell.key for result in results)
        assert set(reported) <= set(store.stored())
        report(self, results)

    monkeypatch.setattr(SweepProgress, "stored", watched)
    pool()
    run_sweep([cell(seed) for seed in range(5)], settings(), 1)
    assert sorted(reported) == sorted(cell(seed).key for seed in range(5))


@pytest.mark.parametrize(("cells_at_once", "seconds"), [(1, 3600.0), (64, 0.0)])
def test_results_are_stored_while_others_train(
    store: Store,
    settings: Callable[..., RunSettings],
    pool: Callable[..., Pool],
    monkeypatch: pytest.MonkeyPatch,
    cells_at_once: int,
    seconds: float,
) -> None:
    monkeypatch.setattr(runner, "STORE_AFTER_CELLS", cells_at_once)
    monkeypatch.setattr(runner, "STORE_AFTER_SECONDS", seconds)
    known: list[int] = []
    pool(lambda number: known.append(len(store.stored())))
    run_sweep([cell(seed) for seed in range(4)], settings(), 1)
    assert known == [0, 1, 2, 3]


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def request_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def time_is_up() -> None:
    os.kill(os.getpid(), signal.SIGUSR2)


def hang_up() -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def the_run(store: Store) -> Run:
    (run,) = Records(store.results_dir).runs()
    return run


@pytest.mark.parametrize("stop", [ctrl_c, request_to_end, hang_up, time_is_up])
def test_a_stopped_sweep_keeps_what_is_finished_and_says_how_to_go_on(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool], stop: Callable[[], None]
) -> None:
    cells = [cell(seed) for seed in range(5)]
    handlers = [signal.getsignal(number) for number in REQUESTS]
    workers = pool(lambda number: stop() if number == 2 else None)
    with pytest.raises(InterruptedSweepError) as caught:
        run_sweep(cells, settings(), 1)
    message = str(caught.value)
    assert message.startswith(f"stopped: 2 of 5 cells are done and stored in {store.results_dir}")
    assert "run the same command again to go on" in message
    assert "\n" not in message
    assert workers.closed
    assert set(store.stored()) == {one.key for one in workers.trained}
    assert len(store.stored()) == 2
    assert [signal.getsignal(number) for number in REQUESTS] == handlers
    assert the_run(store).state == "stopped"

    rest = pool()
    run_sweep(cells, settings(), 1)
    assert {one.key for one in rest.trained} == {one.key for one in cells} - {one.key for one in workers.trained}
    assert len(store.stored()) == 5


def test_a_second_ctrl_c_does_not_lose_what_is_finished(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def impatient(self: Store, results: Sequence[Result]) -> None:
        ctrl_c()
        request_to_end()
        write(self, results)

    pool(lambda number: ctrl_c() if number == 2 else None)
    monkeypatch.setattr(Store, "write", impatient)
    with pytest.raises(InterruptedSweepError, match=r"^stopped: 2 of 5 cells"):
        run_sweep([cell(seed) for seed in range(5)], settings(), 1)
    assert len(store.stored()) == 2


def test_ctrl_c_while_results_are_written_loses_none(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, stops = Store.write, iter([ctrl_c])

    def interrupted_once(self: Store, results: Sequence[Result]) -> None:
        next(stops, lambda: None)()
        write(self, results)

    pool()
    monkeypatch.setattr(Store, "write", interrupted_once)
    with pytest.raises(InterruptedSweepError, match=r"^stopped: 3 of 3 cells"):
        run_sweep([cell(seed) for seed in range(3)], settings(), 1)
    assert len(store.stored()) == 3


def test_what_is_finished_is_stored_when_the_workers_give_up(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool]
) -> None:
    def give_up(number: int) -> None:
        if number == 2:
            raise WorkerStartError("a worker process ended before it could train")

    workers = pool(give_up)
    with pytest.raises(WorkerStartError):
        run_sweep([cell(seed) for seed in range(5)], settings(), 1)
    assert workers.closed
    assert len(store.stored()) == 2
    run = the_run(store)
    assert run.state == "crashed" and run.traceback is not None and "give_up" in run.traceback
    assert run.error == "WorkerStartError: a worker process ended before it could train"


@pytest.mark.parametrize("method", ["training", "finished", "stored", "tick"])
def test_telling_that_fails_loses_nothing_that_is_finished(
    store: Store,
    settings: Callable[..., RunSettings],
    pool: Callable[..., Pool],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    """Whatever raises in the sweep's own process: what is finished is stored, once, and what is in training is kept."""

    def fail_later(self: SweepProgress, *values: Any) -> None:
        told.append(values)
        if len(told) > 2:
            raise ZeroDivisionError("in a message")

    told: list[Any] = []
    monkeypatch.setattr(runner, "STORE_AFTER_CELLS", 1 if method == "stored" else 64)
    monkeypatch.setattr(SweepProgress, method, fail_later)
    workers = pool()
    with pytest.raises(ZeroDivisionError):
        run_sweep([cell(seed) for seed in range(9)], settings(), 1)
    assert workers.closed
    rows = [row for part in store.cells_dir.glob("*.parquet") for row in pq.read_table(part)["key"].to_pylist()]
    assert sorted(rows) == sorted(one.key for one in workers.trained)
    assert rows
    run = the_run(store)
    assert (run.state, run.error) == ("crashed", "ZeroDivisionError: in a message")


def test_what_is_to_be_stored_does_not_wait_for_what_is_said(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError("in a message")

    pool()
    monkeypatch.setattr(runner, "outcome_table", fail)
    with pytest.raises(ZeroDivisionError):
        run_sweep([cell(0, "a"), cell(0, "b")], settings(), 1)
    assert store.stored()[cell().key].labels == {"a", "b"}


def test_what_is_in_training_is_kept_when_the_store_fails(
    store: Store, settings: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is finished is stored as soon as that can be written again."""
    write, refused = Store.write, []

    def full_at_first(self: Store, results: Sequence[Result]) -> None:
        if not refused:
            refused.append(results)
            raise StoreError("no space left")
        write(self, results)

    monkeypatch.setattr(Store, "write", full_at_first)
    monkeypatch.setattr(runner, "STORE_AFTER_SECONDS", 0.0)
    endless = replace(cell(1), optimizer=OptimizerSpec(epochs=100_000_000))
    with pytest.raises(StoreError, match="no space left"):
        run_sweep([cell(0), endless], settings(engine="eager", checkpoint_minutes=600.0), 2)
    assert set(store.stored()) == {cell(0).key}
    assert [path.stem for path in (store.results_dir / "checkpoints").iterdir()] == [endless.key]


def test_a_store_that_fails_stops_the_sweep_and_its_workers(
    store: Store, settings: Callable[..., RunSettings], pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(runner, "STORE_AFTER_CELLS", 1)
    monkeypatch.setattr(Store, "write", full)
    workers = pool()
    with pytest.raises(StoreError, match="no space left"):
        run_sweep([cell(seed) for seed in range(5)], settings(), 1)
    assert workers.closed
    assert len(workers.trained) == 1
    assert (the_run(store).state, the_run(store).error) == ("crashed", "StoreError: no space left")


# Several engines

BATCHES = OptimizerSpec(epochs=2, batch_size=20)


@pytest.fixture
def two_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "ENGINES", {"one_by_one": OneByOne, "threads": Threads})


def mixed() -> list[Cell]:
    """Five cells for `threads`, one of them deadly, and two that it refuses."""
    batches = [replace(cell(seed), optimizer=BATCHES) for seed in (0, 1)]
    return [cell(0), cell(1), batches[0], cell(DEADLY), cell(2), batches[1], cell(3)]


@pytest.mark.usefixtures("two_engines")
def test_after_a_kill_for_memory_the_next_engine_too_has_fewer_at_once(
    store: Store, settings: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = itertools.count()
    monkeypatch.setattr(workers, "memory_kills", lambda: next(kills))
    batches = [replace(cell(seed), optimizer=BATCHES) for seed in (0, DEADLY)]
    run_sweep([*batches, cell(0), cell(1)], settings(), 2)
    rows = store.cells().set_index("key")
    assert rows["status"][batches[1].key] == "failed"
    assert set(rows["started"][[cell(0).key, cell(1).key]]) == {"cpu, 1 threads"}


@pytest.mark.usefixtures("two_engines")
def test_two_engines_share_a_sweep(
    store: Store, settings: Callable[..., RunSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    cells = mixed()
    errors = run_sweep(cells, settings(), 2)
    assert set(errors) == {one.key for one in cells}
    assert [key for key, error in errors.items() if error] == [cell(DEADLY).key]
    rows = store.cells().set_index("key")
    assert len(rows) == 7
    refused = [one.key for one in cells if one.optimizer.batch_size]
    assert set(rows["engine"][refused]) == {"one_by_one"}
    assert set(rows["engine"].drop(refused)) == {"threads"}
    assert set(rows["started"].drop([*refused, cell(DEADLY).key])) == {"cpu, 2 threads"}
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        f"7 cells: 0 stored in {store.results_dir}, 7 to train",
        "engine threads on cpu: 5 cells, 2 at once",
        "engine one_by_one on cpu: 2 cells, 2 at once",
        "2 cells on one_by_one, about 2.0 s a cell on one core: threads trains full batches only",
    ]


@pytest.mark.usefixtures("two_engines")
def test_a_sweep_that_the_memory_does_not_hold_says_so_before(
    settings: Callable[..., RunSettings], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(mixed(), settings(dry_run=True), 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(runner, "available_memory_bytes", lambda: 330_000_000)
    run_sweep(mixed(), settings(dry_run=True), 2)
    assert "0.3 GB are free: processes may be killed for it" in capsys.readouterr().err


def test_as_many_cores_are_used_as_the_process_may_have(
    settings: Callable[..., RunSettings],
    pool: Callable[..., Pool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runner, "cpu_count", lambda: 3)
    pool()
    run_sweep([cell(seed) for seed in range(9)], settings(), None)
    assert "9 cells, 3 at once" in capsys.readouterr().out


@pytest.mark.usefixtures("two_engines")
def test_a_dry_run_says_what_each_engine_would_train(
    settings: Callable[..., RunSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    run_sweep(mixed(), settings(dry_run=True), 2)
    said = capsys.readouterr().out
    for text in ("threads on cpu: 5 cells, 2 at once", "one_by_one on cpu: 2 cells", "about 8.0 s", "about 0.8 GiB"):
        assert text in said
    assert "2 cells on one_by_one, about 2.0 s a cell on one core: threads trains full batches only" in said


@pytest.mark.usefixtures("two_engines")
def test_an_engine_asked_for_has_to_train_every_cell_that_is_left(
    store: Store, settings: Callable[..., RunSettings]
) -> None:
    with pytest.raises(SettingError, match=r"^engine='threads' .*every cell \(threads trains full batches only\)"):
        run_sweep(mixed(), settings(engine="threads"), 2)
    assert not store.results_dir.exists()
    store.write([trained(one) for one in mixed()])
    assert run_sweep(mixed(), settings(engine="threads"), 2) == {}


def test_a_fleet_in_training_is_stored_as_it_goes_and_stopped_at_once(
    store: Store, settings: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell is done every second of a fleet that never ends: the third sees the first stored."""
    monkeypatch.setattr(choice, "ENGINES", {"slow": Slow})
    finished: dict[str, float] = {}
    stored_after: list[float] = []
    note, write = SweepProgress.finished, Store.write

    def noted(self: SweepProgress, result: Result) -> None:
        finished[result.cell.key] = time.monotonic()
        note(self, result)
        if len(finished) == 6:
            stopped.append(time.monotonic())
            ctrl_c()

    def written(self: Store, results: Sequence[Result]) -> None:
        write(self, results)
        stored_after.extend(time.monotonic() - finished[result.cell.key] for result in results)

    stopped: list[float] = []
    monkeypatch.setattr(SweepProgress, "finished", noted)
    monkeypatch.setattr(Store, "write", written)
    with pytest.raises(InterruptedSweepError, match=r"^stopped: 6 of 9 cells"):
        run_sweep([cell(seed) for seed in range(9)], settings(), 2)
    assert time.monotonic() - stopped[0] < 1
    assert len(store.stored()) == len(stored_after) == 6
    assert max(stored_after) < runner.STORE_AFTER_SECONDS + 1


# One cell alone


def test_one_cell_is_trained_stored_and_shown_once(
    store: Store, settings: Callable[..., RunSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    run_cell(cell(), settings())
    assert store.stored()[cell().key].status == "done"
    assert cell().key in capsys.readouterr().out
    files = sorted(store.results_dir.rglob("*"))
    run_cell(cell(), settings())
    assert sorted(store.results_dir.rglob("*")) == files
    assert "already stored" in capsys.readouterr().out
    run_cell(cell(method="another"), settings())
    assert store.stored()[cell().key].labels == {"sep_up", "another"}


def test_one_cell_that_failed_is_an_error_until_it_is_tried_again(
    store: Store, settings: Callable[..., RunSettings]
) -> None:
    store.write([trained(cell(), "failed", "no memory")])
    with pytest.raises(
        CellsFailedError, match=r"^sep_up 2×3 seed 0 failed: no memory \(retry=failed trains it again\)$"
    ):
        run_cell(cell(), settings())
    run_cell(cell(), settings(retry="failed"))
    assert store.stored()[cell().key].status == "done"


@pytest.mark.usefixtures("two_engines")
def test_one_cell_goes_to_the_engine_that_can(
    store: Store, settings: Callable[..., RunSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    refused = replace(cell(), optimizer=BATCHES)
    run_cell(cell(), settings())
    run_cell(refused, settings())
    assert [store.row(one.key)["engine"] for one in (cell(), refused)] == ["threads", "one_by_one"]
    assert "threads trains full batches only: training on one_by_one, about" in capsys.readouterr().out
    with pytest.raises(SettingError, match="every cell"):
        run_cell(replace(refused, seed=1), settings(engine="threads"))


@pytest.mark.parametrize("engine", ["eager", "native"])
@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (600.0, "a checkpoint is kept; the same command goes on from there"),
        (None, "nothing was kept (checkpoint_minutes=null), the same command begins anew"),
    ],
)
def test_one_cell_that_is_stopped_says_what_is_kept(
    settings: Callable[..., RunSettings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    engine: str,
    minutes: float | None,
    words: str,
) -> None:
    of = Cell(depth=2, width=3, optimizer=OptimizerSpec(epochs=10_000_000))
    run = settings(engine=engine, device="cpu", checkpoint_minutes=minutes)
    checkpoint = Path(run.results_dir) / "checkpoints" / f"{of.key}.pt"
    if minutes is None:  # of an earlier run, and not used by this one
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"x")
    progress = runner.Heartbeat.progress

    def tell(heart: Any, key: str, share: float) -> None:
        if share > 0 and not told:
            told.append(key)
            os.kill(os.getpid(), signal.SIGINT)
        progress(heart, key, share)

    told: list[str] = []
    monkeypatch.setattr(runner.Heartbeat, "progress", tell)
    with pytest.raises(KeyboardInterrupt, match=f"^stopped: {re.escape(words)}$"):
        run_cell(of, run)
    out, err = capsys.readouterr()
    assert "goes on from a checkpoint" not in out
    assert err.count("stopping: what is in training is kept for the next run") == (minutes is not None)
    if minutes is not None:
        told.clear()
        with pytest.raises(KeyboardInterrupt):
            run_cell(of, run)
        assert "goes on from a checkpoint\n" in capsys.readouterr().out


@pytest.mark.parametrize("moment", ["training", "storing"])
def test_one_cell_that_an_error_ends_is_on_record(
    store: Store, settings: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def fail(*_: Any) -> Result:
        raise StoreError("no space left")

    monkeypatch.setattr(*{"training": (runner, "_train_here"), "storing": (Store, "write")}[moment], fail)
    with pytest.raises(StoreError):
        run_cell(cell(), settings())
    assert (the_run(store).state, the_run(store).error) == ("crashed", "StoreError: no space left")


def test_one_cell_that_is_finished_is_stored_whoever_asks_to_end(
    store: Store, settings: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def interrupted(self: Store, results: Sequence[Result]) -> None:
        for number in REQUESTS:
            os.kill(os.getpid(), number)
        write(self, results)

    monkeypatch.setattr(Store, "write", interrupted)
    run_cell(cell(), settings())
    assert store.stored()[cell().key].status == "done"
    assert Records(store.results_dir).runs() == []


@pytest.mark.parametrize("minutes", [10.0, None])
def test_what_ends_before_anything_is_kept_begins_anew(
    settings: Callable[..., RunSettings], monkeypatch: pytest.MonkeyPatch, minutes: float | None
) -> None:
    def stopped(*_: Any) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "_train_here", stopped)
    reason = "" if minutes else r" \(checkpoint_minutes=null\)"
    with pytest.raises(KeyboardInterrupt, match=f"^stopped: nothing was kept{reason}, the same command begins anew$"):
        run_cell(cell(), settings(checkpoint_minutes=minutes))


@pytest.mark.parametrize("engine", ["eager", "native"])
def test_a_job_that_is_ended_by_its_own_handler_leaves_no_failed_cell(tmp_path, monkeypatch, capsys, engine):
    """As submitit's handler does when a job has run out of time too often."""

    def give_up(number, frame):
        raise RuntimeError("timed-out too many times")

    progress = runner.Heartbeat.progress

    def tell(heart, key, share):
        if share > 0 and not told:
            told.append(key)
            os.kill(os.getpid(), signal.SIGUSR2)
        progress(heart, key, share)

    told: list[str] = []
    monkeypatch.setattr(runner.Heartbeat, "progress", tell)
    before = signal.signal(signal.SIGUSR2, give_up)
    try:
        with pytest.raises(RuntimeError, match="too many times"):
            run_cell(
                Cell(depth=2, width=3, optimizer=OptimizerSpec(epochs=10_000_000)),
                RunSettings(engine=engine, device="cpu", results_dir=str(tmp_path)),
            )
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert Store(tmp_path).stored() == {}
    assert told
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 1
    assert "stopping" not in capsys.readouterr().err, "such a handler may let it go on"
