"""A cluster's task: what it trains, and whether it is requeued when it is told to end."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.fake_scheduler import Scheduler, hide_slurm
from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster import slurm, task
from jumpstart_exp.cluster.task import FleetTask
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.sweep.records import Array, Job, Records, Submission, current_job
from jumpstart_exp.sweep.stopping import FirstFailureError, InterruptedSweepError

CELLS = [Cell(depth=2, width=3, seed=seed, optimizer=OptimizerSpec(epochs=2)) for seed in range(3)]


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    return Scheduler(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """The task 7_3 of a sweep, which has begun for the first time."""
    for name, value in {
        "SLURM_JOB_ID": "12",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    return FleetTask(CELLS, RunSettings(results_dir=str(tmp_path / "results")), 2, 5)


def interrupt_by(monkeypatch: pytest.MonkeyPatch, by: signal.Signals) -> None:
    def run_sweep(*_: object) -> None:
        raise InterruptedSweepError("stopped: 1 of 3 cells are done and stored", by)

    monkeypatch.setattr(task, "run_sweep", run_sweep)


def test_a_task_is_a_sweep_of_its_own_and_counts_what_failed(fleet, monkeypatch, capsys):
    calls = []

    def run_sweep(*arguments: object) -> dict[str, str | None]:
        calls.append(arguments)
        return {CELLS[0].key: None, CELLS[1].key: "no memory", CELLS[2].key: None}

    monkeypatch.setattr(task, "run_sweep", run_sweep)
    assert fleet() == 1
    (call,) = calls
    assert call[:3] == (CELLS, fleet.settings, 2) and call[3].name == "7_3"
    assert capsys.readouterr().out.startswith("task 7_3 on ")


@pytest.mark.parametrize(
    ("count", "words"), [("0", ""), ("1", ", begun again for the first time"), ("4", ", begun again for the 4th time")]
)
def test_the_log_says_how_often_it_was_begun(fleet, monkeypatch, capsys, count, words):
    monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    monkeypatch.setattr(task, "run_sweep", lambda *_: {})
    fleet()
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"task 7_3 on {os.uname().nodename}{words}"


@pytest.mark.parametrize("by", [signal.SIGUSR2, signal.SIGTERM])
def test_one_that_runs_is_requeued(fleet, scheduler, monkeypatch, capsys, by):
    scheduler.add("7_3", state="RUNNING")
    interrupt_by(monkeypatch, by)
    with pytest.raises(SystemExit) as caught:
        fleet()
    assert caught.value.code == 143
    assert scheduler.calls("scontrol") == ["requeue 7_3"]
    said = capsys.readouterr().err
    assert "stopped: 1 of 3 cells are done" in said and f"{by.name}: 7_3 is requeued" in said


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING", None])
def test_one_that_slurm_ends_or_requeues_by_itself_is_not(fleet, scheduler, monkeypatch, capsys, state):
    if state is not None:
        scheduler.add("7_3", state=state)
    scheduler.add("7_4", state="RUNNING")
    interrupt_by(monkeypatch, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fleet()
    assert not scheduler.calls("scontrol")
    assert f"SLURM says {state or 'nothing'} of 7_3; not requeued" in capsys.readouterr().err


@pytest.mark.parametrize(("restarts", "is_requeued"), [("4", True), ("5", False), ("6", False)])
def test_it_is_begun_again_so_often_and_no_more(fleet, scheduler, monkeypatch, capsys, restarts, is_requeued):
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    scheduler.add("7_3", state="RUNNING")
    interrupt_by(monkeypatch, signal.SIGUSR2)
    with pytest.raises(SystemExit):
        fleet()
    assert bool(scheduler.calls("scontrol")) == is_requeued
    assert ("begun again 5 times (max_requeues); not requeued" in capsys.readouterr().err) == (restarts == "5")


def test_max_requeues_of_0_never_requeues(fleet, scheduler, monkeypatch):
    scheduler.add("7_3", state="RUNNING")
    interrupt_by(monkeypatch, signal.SIGUSR2)
    with pytest.raises(SystemExit):
        replace(fleet, max_requeues=0)()
    assert not scheduler.calls("scontrol")


@pytest.mark.parametrize("trouble", ["squeue", "scontrol", "no SLURM", "no answer"])
def test_a_controller_that_is_down_is_said_and_the_task_ends(fleet, scheduler, monkeypatch, capsys, tmp_path, trouble):
    scheduler.add("7_3", state="RUNNING")
    if trouble == "no SLURM":
        hide_slurm(tmp_path / "empty", monkeypatch)
    elif trouble == "no answer":
        monkeypatch.setattr(slurm, "_SECONDS", 0.3)
        scheduler.fail("exec sleep 60")
    else:
        scheduler.fail("echo 'cannot connect' >&2; exit 1", on=trouble)
    interrupt_by(monkeypatch, signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        fleet()
    assert caught.value.code == 143
    assert "SIGTERM: 7_3 is not requeued: SLURM" in capsys.readouterr().err


def test_what_submitit_requeues_is_the_same_task(fleet):
    pytest.importorskip("submitit")
    again = fleet.checkpoint()
    assert again.function is fleet and not again.args and not again.kwargs


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}, "7_0"),
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "7"}, "12"),
        ({}, None),
        ({"SLURM_JOB_ID": ""}, None),
        ({"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}, None),
    ],
)
def test_the_job_that_a_process_is_in(monkeypatch, variables, name):
    for variable in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    job = current_job()
    assert (job.name if job else None) == name


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="Linux tells where a process writes")
def test_a_job_knows_its_log(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    kept = os.dup(1)
    log = tmp_path / "log with spaces.out"
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            in_file = current_job()
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        in_pipe = current_job()
        os.close(reader)
        os.close(writer)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert in_file == Job("12", str(log))
    assert in_pipe == Job("12", None)


def submitted(fleet: FleetTask) -> tuple[FleetTask, Records]:
    """The task, of a submission of an array of five, whose number nobody knows yet, and of a job that is no array."""
    records = Records(Path(fleet.settings.results_dir))
    arrays = [Array(0, 5, None, "mine-0"), Array(5, 1, "8", "mine-5")]
    tasks = [[f"{number}"] for number in range(6)]
    records.keep_submission(Submission("mine", "fleet_slurm", "/logs", 1, tasks, {}, False, arrays))
    return replace(fleet, submission="mine", settings=replace(fleet.settings, fail_fast=True)), records


def fail_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_sweep(*_: object) -> None:
        raise FirstFailureError("fail_fast=true ended the sweep: relu 2×3 seed 1 failed: no; 1 of 3 cells are stored")

    monkeypatch.setattr(task, "run_sweep", run_sweep)


def test_the_first_failure_ends_all_that_was_submitted_with_it_and_nothing_else(fleet, scheduler, monkeypatch, capsys):
    fleet, records = submitted(fleet)
    for number, state in enumerate(["COMPLETED", "RUNNING", "PENDING", "RUNNING", "PENDING"]):
        scheduler.add(f"7_{number}", state=state, name="mine-0")
    scheduler.add("8", state="PENDING", name="mine-5")
    scheduler.add("9_0", state="RUNNING", name="another")
    fail_first(monkeypatch)
    assert fleet() == 1
    assert scheduler.calls("scancel") == ["7_1 7_2 7_4 8"]
    assert scheduler.tasks()["7_3"] == "RUNNING"  # the task itself, which ends by returning
    assert scheduler.tasks()["9_0"] == "RUNNING"
    assert "1 of 3 cells are stored" in capsys.readouterr().err
    reason = "fail_fast=true ended the sweep: relu 2×3 seed 1 failed: no"
    assert records.why_ended("mine") == reason
    assert [one.ended for one in records.submissions()] == [reason]
    records.remove("mine")
    assert records.why_ended("mine") is None


def test_a_task_of_a_sweep_that_is_over_trains_nothing(fleet, monkeypatch, capsys):
    fleet, records = submitted(fleet)
    records.end_submission("mine", "fail_fast=true ended the sweep: a cell failed")
    monkeypatch.setattr(task, "run_sweep", lambda *_: pytest.fail("it trains"))
    assert fleet() == 0
    assert "nothing is trained: fail_fast=true ended the sweep: a cell failed" in capsys.readouterr().out


def test_where_slurm_does_not_answer_tasks_that_begin_later_end_all_the_same(fleet, scheduler, monkeypatch, capsys):
    fleet, records = submitted(fleet)
    scheduler.fail()
    fail_first(monkeypatch)
    assert fleet() == 1
    assert "tasks beside this one may go on: SLURM cannot be asked" in capsys.readouterr().err
    assert records.why_ended("mine") is not None
