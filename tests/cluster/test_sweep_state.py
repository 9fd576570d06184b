"""What has become of cells: every combination of the store, records and SLURM; by priority, and never twice."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.fake_scheduler import Scheduler, hide_slurm
from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster import slurm
from jumpstart_exp.cluster.sweep_state import STATES, SweepMonitor, SweepState
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.records import (
    STALE_SECONDS,
    STOCK,
    Array,
    Records,
    Submission,
    machine_identity,
    process_identity,
)


def cell(seed: int) -> Cell:
    return Cell(depth=2, width=3, seed=seed, method="relu", optimizer=OptimizerSpec(epochs=2))


CELL, OTHER, THIRD = cell(0), cell(1), cell(2)
KEY = CELL.key


class Folder:
    """A results folder whose store and records say what a test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store, self.records = Store(path), Records(path)
        self.records.folder.mkdir(parents=True)

    def store_result(self, status: Any, of: Cell = CELL, error: str | None = None, seconds: float = 1.0) -> None:
        self.store.write([Result(of, status, "eager", train_acc=Metric(0.5, 0.5, 1), error=error, seconds=seconds)])

    def keep_run(
        self, name: str = "run", *, costs: dict[str, float] | None = None, age: float = 0.0, **values: Any
    ) -> None:
        content = {
            "version": 1,
            "name": name,
            "host": platform.node(),
            "machine": machine_identity(),
            "process": process_identity(os.getpid()),
            "job": None,
            "state": "running",
            "at_once": 1,
            "log": None,
            "training": {},
            "failed": [],
            "seconds_left": None,
        }
        (self.records.folder / f"{name}.cells.json").write_text(json.dumps(costs or {KEY: 10.0}))
        path = self.records.folder / f"{name}.run.json"
        path.write_text(json.dumps({**content, **values}))
        os.utime(path, (path.stat().st_mtime - age, path.stat().st_mtime - age))

    def submit(
        self, *tasks: list[str], job: str | None = "7", retries: bool = False, name: str = "sweep", **values: Any
    ) -> None:
        made = list(tasks) or [[KEY], [OTHER.key]]
        costs = {key: 10.0 for task in made for key in task}
        arrays = values.pop("arrays", None) or [Array(0, len(made), job, f"jumpstart-{name}")]
        self.records.keep_submission(Submission(name, "fleet_slurm", "/logs", 1, made, costs, retries, arrays))

    def look(self) -> SweepState:
        return SweepMonitor(self.path).look()

    def state(self) -> str | None:
        return self.look().states.get(KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "results")


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    return Scheduler(tmp_path / "slurm", monkeypatch)


@pytest.fixture(scope="module")
def dead() -> str:
    """The identity of a process that was there."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process_identity(process.pid)
    process.communicate()
    return identity


TASKS = ("none", "PENDING", "RUNNING", "FAILED", "gone", "silent")
"""What SLURM says of the cell's task: it has none, a state, SLURM has forgotten it, SLURM does not answer."""

ELSEWHERE = {"host": "node1", "machine": "another", "process": "1@1"}

RUNS: dict[str, dict[str, Any]] = {
    "no run": {},
    "job trains": {"job": "7_0", "training": {KEY: 0.5}},
    "job waits": {"job": "7_0"},
    "job stopped": {"job": "7_0", "state": "stopped"},
    "job crashed": {"job": "7_0", "state": "crashed", "error": "StoreError: no space"},
    "job dead": {"job": "7_0", "process": "dead", "training": {KEY: 0.5}},
    "job elsewhere": {"job": "7_0", "host": "node1", "machine": "another", "process": "1@1"},
    "job elsewhere, no sign": {
        "job": "7_0",
        "host": "node1",
        "machine": "another",
        "process": "1@1",
        "age": STALE_SECONDS + 60,
    },
    "here trains": {"training": {KEY: 0.5}},
    "here waits": {},
    "here stopped": {"state": "stopped"},
    "here crashed": {"state": "crashed", "error": "StoreError: no space"},
    "here dead": {"process": "dead", "training": {KEY: 0.5}},
    "elsewhere": ELSEWHERE,
    "elsewhere, no sign": {**ELSEWHERE, "age": STALE_SECONDS + 60},
}

# what SLURM says of a job is believed rather than its process, and a process rather than that there is a job
UNSTORED = """
                        none     PENDING  RUNNING  FAILED   gone     silent
no run                  -        queued   queued   lost     lost     queued
job trains              running  queued   running  lost     running  running
job waits               queued   queued   queued   lost     queued   queued
job stopped             stopped  queued   queued   lost     lost     queued
job crashed             lost     queued   queued   lost     lost     lost
job dead                lost     queued   running  lost     lost     lost
job elsewhere           queued   queued   queued   lost     queued   queued
job elsewhere, no sign  lost     queued   queued   lost     lost     lost
here trains             running  running  running  running  running  running
here waits              queued   queued   queued   queued   queued   queued
here stopped            stopped  queued   queued   lost     lost     queued
here crashed            lost     queued   queued   lost     lost     queued
here dead               lost     queued   queued   lost     lost     queued
elsewhere               queued   queued   queued   queued   queued   queued
elsewhere, no sign      lost     queued   queued   lost     lost     queued
"""

# a job that was submitted without retry=failed does nothing about it; a process that has it does
FAILED = """
                        none     PENDING  RUNNING  FAILED   gone     silent
no run                  failed   failed   failed   failed   failed   failed
job trains              running  failed   running  failed   running  running
job waits               queued   failed   queued   failed   queued   queued
job stopped             failed   failed   failed   failed   failed   failed
job dead                failed   failed   running  failed   failed   failed
here trains             running  running  running  running  running  running
here waits              queued   queued   queued   queued   queued   queued
here stopped            failed   failed   failed   failed   failed   failed
"""

FAILED_AND_RETRIED = """
                        none     PENDING  RUNNING  FAILED   gone     silent
no run                  failed   queued   queued   failed   failed   queued
job trains              running  queued   running  failed   running  running
job stopped             failed   queued   queued   failed   failed   queued
job dead                failed   queued   running  failed   failed   failed
here stopped            failed   queued   queued   failed   failed   queued
"""


def entries(table: str) -> list[tuple[str, str, str]]:
    found = []
    for line in table.strip("\n").splitlines()[1:]:
        run, *states = [word.strip() for word in [line[:24], *line[24:].split()]]
        found += [(run, task, state) for task, state in zip(TASKS, states, strict=True)]
    return found


def arrange(folder: Folder, scheduler: Scheduler, run: str, task: str, dead: str, retries: bool = False) -> None:
    if run != "no run":
        values = dict(RUNS[run])
        if values.get("process") == "dead":
            values["process"] = dead
        folder.keep_run(**values)
    if task != "none":
        folder.submit(retries=retries)
        scheduler.add("7_1", state="RUNNING")
    if task.isupper():
        scheduler.add("7_0", state=task)
    if task == "silent":
        scheduler.fail(on="squeue")


@pytest.mark.parametrize(("run", "task", "state"), entries(UNSTORED))
def test_a_cell_without_a_result(folder, scheduler, dead, run, task, state):
    arrange(folder, scheduler, run, task, dead)
    assert folder.state() == (None if state == "-" else state)


@pytest.mark.parametrize(("run", "task", "state"), entries(FAILED))
def test_a_cell_that_failed(folder, scheduler, dead, run, task, state):
    folder.store_result("failed", error="no memory")
    arrange(folder, scheduler, run, task, dead)
    survey = folder.look()
    assert survey.states[KEY] == state
    assert [one.error for one in survey.failures] == (["no memory"] if state == "failed" else [])


@pytest.mark.parametrize(("run", "task", "state"), entries(FAILED_AND_RETRIED))
def test_a_cell_that_failed_and_is_submitted_again(folder, scheduler, dead, run, task, state):
    folder.store_result("failed", error="no memory")
    arrange(folder, scheduler, run, task, dead, retries=True)
    assert folder.state() == state


def test_of_what_an_error_has_ended_the_reason_and_the_traceback_are_known(folder, scheduler):
    trace = "Traceback (most recent call last):\n  …\nStoreError: no space\nleft"
    folder.keep_run("1", state="stopped")
    folder.keep_run("2", state="crashed", error="StoreError: no space\nleft", traceback=trace)
    (loss,) = folder.look().losses
    assert (loss.state, loss.traceback) == ("lost", trace)
    assert loss.reason == f"its process on {platform.node()} has ended by StoreError: no space"
    folder.submit([KEY])
    scheduler.add("7", state="FAILED")
    folder.keep_run("3", state="crashed", error="StoreError: no space", traceback=trace, job="7")
    (loss,) = folder.look().losses
    assert (loss.reason, loss.traceback) == ("FAILED", trace)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("status", ["done", "diverged"])
def test_what_is_done_is_done_whoever_else_has_it(folder, scheduler, dead, status, run):
    folder.store_result(status)
    for task in TASKS:
        scheduler.recover()
        scheduler.turn("7_0", "7_1", to=None)
        arrange(folder, scheduler, run, task, dead, retries=True)
        survey = folder.look()
        assert survey.states[KEY] == status and KEY not in survey.active
        assert not any(KEY in loss.keys for loss in survey.losses)


def test_what_a_run_has_seen_fail_it_does_not_train_again(folder):
    folder.store_result("failed")
    folder.keep_run(failed=[KEY])
    assert folder.state() == "failed"


@pytest.mark.parametrize("state", sorted(slurm.QUEUED | slurm.RUNNING))
def test_all_of_slurms_states_of_a_job_that_is_not_over(folder, scheduler, state):
    folder.submit()
    scheduler.add("7_0", state=state)
    assert folder.state() == "queued"


@pytest.mark.parametrize(
    "state", ["COMPLETED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "NEW"]
)
def test_all_others_are_ends(folder, scheduler, state):
    folder.submit()
    scheduler.add("7_0", state=state)
    scheduler.add("7_1", state="RUNNING")
    survey = folder.look()
    assert survey.states == {KEY: "lost", OTHER.key: "queued"}
    (loss,) = survey.losses
    assert (loss.job, loss.reason, loss.log, loss.keys) == ("7_0", state, "/logs/7_0_0_log.out", {KEY})
    assert survey.active == {OTHER.key} and survey.jobs == ["7"]


def test_how_a_job_ended_that_the_queue_has_forgotten_is_asked_of_the_accounting(folder, scheduler):
    folder.submit([KEY], [OTHER.key], [THIRD.key])
    scheduler.forget("7_0", ended="OUT_OF_MEMORY")
    scheduler.forget("7_1", ended="CANCELLED")
    watch = SweepMonitor(folder.path)
    reasons = [{loss.job: loss.reason for loss in watch.look().losses} for _ in range(3)]
    assert reasons == [{"7_0": "OUT_OF_MEMORY", "7_1": "CANCELLED", "7_2": "ended"}] * 3
    scheduler.forget("7_2", ended="TIMEOUT")  # it had not heard of it yet
    assert {loss.job: loss.reason for loss in watch.look().losses}["7_2"] == "TIMEOUT"
    calls = len(scheduler.calls("sacct"))
    watch.look()
    assert len(scheduler.calls("sacct")) == calls, "all is known"


def test_a_sweep_of_hydras_own_launcher_has_a_folder_a_job(folder, scheduler, tmp_path):
    files = tmp_path / "submitit"
    keys = [[KEY], [OTHER.key]]
    folder.records.keep_submission(
        Submission("sweep", STOCK, str(files), 1, keys, {}, False, [Array(0, 2, "7", "jumpstart_exp")])
    )
    scheduler.add("7_0", state="TIMEOUT")
    scheduler.add("7_1", state="PENDING")
    survey = folder.look()
    assert survey.states == {KEY: "lost", OTHER.key: "queued"} and survey.jobs == ["7"]
    (loss,) = survey.losses
    assert (loss.job, loss.reason, loss.log) == ("7_0", "TIMEOUT", f"{files}/7_0/7_0_0_log.out")


def test_a_job_that_is_no_array_is_its_only_task(folder, scheduler):
    folder.submit([KEY])
    scheduler.add("7", state="FAILED")
    (loss,) = folder.look().losses
    assert (loss.job, loss.log) == ("7", "/logs/7_0_log.out")
    scheduler.turn("7", to="RUNNING")
    folder.keep_run(job="7", training={KEY: 0.5})
    survey = folder.look()
    assert survey.states == {KEY: "running"} and survey.jobs == ["7"] and survey.tasks == {"running": 1}


def test_a_sweep_that_was_resubmitted_is_queued_and_not_lost(folder, scheduler):
    folder.submit([KEY, OTHER.key], name="first")
    folder.submit([KEY], job="8", name="second")
    scheduler.add("7", state="FAILED", name="jumpstart-first")
    scheduler.add("8", state="PENDING", name="jumpstart-second")
    survey = folder.look()
    assert survey.states == {KEY: "queued", OTHER.key: "lost"}
    assert [loss.keys for loss in survey.losses] == [{OTHER.key}]


def test_a_cell_is_lost_once_however_often_it_was_tried(folder, scheduler, dead):
    folder.submit([KEY], name="first")
    folder.submit([KEY], job="8", name="second")
    folder.keep_run("a", job="7_0", process=dead)
    folder.keep_run("b", process=dead)
    scheduler.add("7", "8", state="FAILED")
    survey = folder.look()
    assert sum(len(loss.keys) for loss in survey.losses) == 1 and survey.counts()["lost"] == 1


def test_arrays_whose_numbers_were_never_written_down_are_found_by_their_names(folder, scheduler):
    arrays = [Array(0, 1, "7", "jumpstart-a"), Array(1, 1, None, "jumpstart-b"), Array(2, 1, None, "jumpstart-c")]
    folder.submit([KEY], [OTHER.key], [THIRD.key], arrays=arrays)
    scheduler.add("7", state="RUNNING", name="jumpstart-a")
    scheduler.add("8", state="PENDING", name="jumpstart-b")
    survey = folder.look()
    assert survey.states == {KEY: "queued", OTHER.key: "queued", THIRD.key: "lost"}
    (loss,) = survey.losses
    assert (loss.job, loss.reason, loss.log) == (None, "it was never submitted", None)
    assert survey.jobs == ["7", "8"] and survey.tasks == {"running": 1, "queued": 1}


def test_without_an_answer_nothing_is_lost_but_what_died(folder, scheduler, dead):
    folder.submit([KEY], [OTHER.key], [THIRD.key])
    folder.keep_run("a", job="7_0", process=dead)
    folder.keep_run("b", job="7_1", state="stopped", costs={OTHER.key: 1.0})
    scheduler.fail("echo 'Unable to contact slurm controller' >&2; exit 1", on="squeue")
    survey = folder.look()
    assert survey.states == {KEY: "lost", OTHER.key: "queued", THIRD.key: "queued"}
    assert survey.remark == "SLURM cannot be asked (Unable to contact slurm controller)"


def test_without_slurm_the_records_count_and_a_remark_says_so(folder, tmp_path, monkeypatch):
    folder.submit([KEY], [OTHER.key])
    folder.keep_run(job="7_0", host="node1", machine="another", process="1@1", training={KEY: 0.25})
    hide_slurm(tmp_path / "empty", monkeypatch)
    survey = folder.look()
    assert survey.states == {KEY: "running", OTHER.key: "queued"}
    assert survey.remark == "SLURM is not here: there is no squeue"


def test_slurm_is_not_asked_where_nothing_was_submitted(folder, scheduler):
    folder.keep_run()
    folder.store_result("done")
    assert folder.look().remark is None and not scheduler.calls("squeue")


def test_an_empty_folder_has_nothing(tmp_path):
    survey = SweepMonitor(tmp_path).look()
    assert survey.counts() == dict.fromkeys(STATES, 0)
    assert (survey.active, survey.losses, survey.failures, survey.seconds_left) == (frozenset(), [], [], 0.0)


def test_states_of_cells_that_nobody_knows_are_lost(folder):
    folder.store_result("done")
    assert folder.look().states_of([KEY, "0" * 32]) == {KEY: "done", "0" * 32: "lost"}


def test_the_time_left_is_by_the_pace_so_far_and_by_how_many_train_at_once(folder, scheduler):
    cells = [cell(seed) for seed in range(8)]
    costs = {one.key: 10.0 for one in cells}
    # two are done in three times what was estimated; of one in training a half is left
    folder.store_result("done", cells[0], seconds=30.0)
    folder.store_result("done", cells[1], seconds=30.0)
    folder.keep_run(costs=costs, training={cells[2].key: 0.5}, at_once=2)
    assert folder.look().seconds_left == pytest.approx(3 * (5 * 10 + 5) / 2)
    # one that is much longer than the others' share is what has to be waited for
    folder.keep_run(costs={**costs, cells[7].key: 1000.0}, training={cells[2].key: 0.5}, at_once=2)
    assert folder.look().seconds_left == pytest.approx(3 * 1000)


def test_the_time_left_is_not_known_before_anything_runs(folder, scheduler):
    folder.submit()
    scheduler.add("7_0", "7_1", state="PENDING")
    assert folder.look().seconds_left is None


def test_a_watch_sees_what_comes(folder, scheduler):
    folder.submit([KEY], [OTHER.key])
    scheduler.add("7_0", "7_1", state="PENDING")
    watch = SweepMonitor(folder.path)
    assert watch.look().states == {KEY: "queued", OTHER.key: "queued"}
    scheduler.turn("7_0", to="COMPLETED")
    folder.store_result("done")
    assert watch.look().states == {KEY: "done", OTHER.key: "queued"}
    scheduler.turn("7_1", to="FAILED")
    folder.store_result("failed", OTHER, error="  \n ")
    survey = watch.look()
    assert survey.states == {KEY: "done", OTHER.key: "failed"} and not survey.losses
    assert [(one.cell, one.error) for one in survey.failures] == [("moons relu 2×3 seed 1", "failed")]


def test_of_the_attempts_of_a_task_the_latest_is_at_work(folder, scheduler):
    folder.submit([KEY, OTHER.key])
    scheduler.add("7", state="RUNNING")
    folder.keep_run("1", job="7", training={KEY: 0.9})
    folder.keep_run("2", job="7", training={OTHER.key: 0.1})
    survey = folder.look()
    assert survey.states == {KEY: "queued", OTHER.key: "running"} and survey.tasks == {"running": 1}


def test_what_is_being_submitted_is_queued(folder, scheduler):
    folder.submit([KEY], job=None)
    assert folder.state() == "lost"
    with Records(folder.path).alone(lambda: None):
        assert folder.state() == "queued"
    assert folder.state() == "lost"


def test_a_process_knows_best_how_long_it_takes(folder):
    folder.keep_run(costs={KEY: 10.0, OTHER.key: 10.0}, training={KEY: 0.5}, at_once=1, seconds_left=600.0)
    assert folder.look().seconds_left == pytest.approx(600, abs=5)


def test_the_latest_of_two_runs_that_ended_tells(folder, dead):
    folder.keep_run("1", state="stopped", costs={KEY: 1.0, OTHER.key: 1.0})
    folder.keep_run("2", process=dead, costs={KEY: 1.0})
    assert folder.look().states == {KEY: "lost", OTHER.key: "stopped"}
