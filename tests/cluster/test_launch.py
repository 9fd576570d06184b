"""Submitting and waiting, at a scheduler of shell scripts: what is asked of it, and what is made of its answers."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.fake_scheduler import Scheduler, hide_slurm
from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster import ClusterError, launch, slurm
from jumpstart_exp.cluster.launch import run_on_cluster
from jumpstart_exp.cluster.sweep_state import SweepMonitor
from jumpstart_exp.cluster.task import FleetTask
from jumpstart_exp.config.cluster_settings import ClusterSettings
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.settings import SettingError, field_types
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store, StoreError
from jumpstart_exp.sweep.records import Records
from jumpstart_exp.sweep.stopping import FirstFailureError, InterruptedSweepError

pytest.importorskip("submitit")

A_CELL_A_TASK = {"minutes_per_task": 0.1, "cpus_per_task": 1}
"""A start alone takes longer than so few minutes."""


def cell(seed: int, method: str = "relu", **values: Any) -> Cell:
    return Cell(depth=2, width=3, seed=seed, method=method, optimizer=OptimizerSpec(epochs=2), **values)


CELLS = [cell(seed) for seed in range(7)]


class Sweep:
    """A sweep of `CELLS` in an empty folder, and a cluster that does what a test tells it while the sweep waits."""

    def __init__(self, folder: Path, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scheduler = scheduler
        self.results = folder / "results"
        self.store, self.records = Store(self.results), Records(self.results)
        self.settings = RunSettings(results_dir=str(self.results), data_dir=str(folder / "data"), engine="eager")
        self.looks = 0
        clock = SimpleNamespace(sleep=lambda _: self._turn(), monotonic=time.monotonic, strftime=time.strftime)
        monkeypatch.setattr(launch, "time", clock)
        self._plot: Iterator[object] = iter(())

    def run(self, plot: Callable[[], Iterator[object]] | None = None, **values: Any) -> dict[str, str | None]:
        """Run it, a step of the plot between two looks."""
        return self.run_cells(CELLS, plot, **values)

    def run_cells(
        self, cells: list[Cell], plot: Callable[[], Iterator[object]] | None = None, **values: Any
    ) -> dict[str, str | None]:
        if plot is not None:
            self._plot = plot()
        own = {name: values.pop(name) for name in list(values) if name in field_types(RunSettings)}
        cluster = ClusterSettings.from_values({**A_CELL_A_TASK, **values})
        return run_on_cluster(cells, replace(self.settings, **own), cluster)

    def submit(self, **values: Any) -> dict[str, str | None]:
        """Submit it and return."""
        return self.run(wait=False, **values)

    def _turn(self) -> None:
        self.looks += 1
        assert self.looks < 200, "it waits for ever"
        next(self._plot, None)

    def keys_of(self, task: str) -> list[str]:
        """What the jobs on record have in this task."""
        (submission,) = [one for one in self.records.submissions() if task in one.jobs().values()]
        (number,) = [number for number, job in submission.jobs().items() if job == task]
        return list(submission.tasks[number])

    def end(self, *tasks: str, status: Any = "done", state: str = "COMPLETED", error: str | None = None) -> None:
        """Tasks end, with the results of their cells, or without any if the status is None."""
        by_key = {one.key: one for one in CELLS}
        for task in tasks:
            name = task if "_" in task else f"{task}_0"
            if status is not None:
                results = [
                    Result(by_key[key], status, "eager", train_acc=Metric(1.0, 1.0, 1), error=error)
                    for key in self.keys_of(name)
                ]
                self.store.write(results)
            self.scheduler.turn(task, to=state)


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    return Scheduler(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def sweep(tmp_path, scheduler, monkeypatch):
    return Sweep(tmp_path, scheduler, monkeypatch)


def submitted_function(sweep: Sweep, job: str) -> FleetTask:
    """What a job runs."""
    from submitit.core.utils import DelayedSubmission

    (path,) = sweep.records.folder.glob(f"*/{job}_submitted.pkl")
    function = DelayedSubmission.load(path).function
    assert isinstance(function, FleetTask)
    return function


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


# submitting


def test_a_sweep_is_an_array_whose_tasks_hold_every_cell_once(sweep, scheduler, capsys):
    errors = sweep.submit()
    assert errors == dict.fromkeys([one.key for one in CELLS])
    assert scheduler.tasks() == {f"7_{index}": "PENDING" for index in range(7)}
    (submission,) = sweep.records.submissions()
    assert sorted(key for task in submission.tasks for key in task) == sorted(one.key for one in CELLS)
    said = capsys.readouterr().out
    assert "7 cells: 0 stored" in said and "7 to submit" in said
    assert "submitted job 7: 7 tasks, 7 cells, eager on cpu" in said
    assert f"python -m jumpstart_exp.status results_dir='{sweep.results}'" in said


def test_what_is_asked_for_is_in_the_batch_script(sweep, scheduler):
    sweep.submit(
        minutes_per_task=3,
        cpus_per_task=2,
        mem_gb=1.5,
        timeout_min=7,
        max_at_once=5,
        partition="debug",
        account="me",
        qos="low",
        constraint="avx512&fast",
        setup=["module load python", "export X=1"],
        additional_parameters={"hold": True, "reservation": "mine"},
    )
    options = scheduler.script(7)
    asked = {
        "cpus-per-task": "2",
        "mem": "1536MB",
        "time": "7",
        "partition": "debug",
        "account": "me",
        "qos": "low",
        "constraint": "'avx512&fast'",
        "hold": "",
        "reservation": "mine",
        "nodes": "1",
    }
    assert asked.items() <= options.items()
    assert options["signal"] == "USR2@120" and "array" not in options  # all of it is one task
    script = (scheduler.folder / "7.sh").read_text()
    assert script.index("module load python\nexport X=1\n") < script.index("srun")


def test_what_is_not_asked_for_is_slurms_choice(sweep, scheduler):
    sweep.submit(max_at_once=3)
    options = scheduler.script(7)
    assert options["array"] == "0-6%3" and options["time"] == "10"
    assert not {"partition", "account", "qos", "constraint", "gpus-per-node"} & options.keys()
    # the estimate, which holds two processes of Python with torch
    assert options["mem"].endswith("GB") and 1 <= int(options["mem"].removesuffix("GB")) <= 3


def test_a_time_limit_of_a_minute_leaves_time_to_train(sweep, scheduler):
    sweep.submit(timeout_min=1)
    assert scheduler.script(7)["signal"] == "USR2@20"


def test_arrays_are_split_at_slurms_limit(sweep, scheduler):
    scheduler.limit_arrays(3)
    sweep.submit()
    assert list(scheduler.tasks()) == ["7_0", "7_1", "7_2", "8_0", "8_1", "8_2", "9"]
    keys = [key for task in ("7_0", "7_1", "7_2", "8_0", "8_1", "8_2", "9_0") for key in sweep.keys_of(task)]
    assert sorted(keys) == sorted(one.key for one in CELLS)


def test_arrays_are_split_at_the_settings_limit_which_is_not_asked_for(sweep, scheduler):
    sweep.submit(max_array_size=4)
    assert list(scheduler.tasks()) == [*(f"7_{index}" for index in range(4)), *(f"8_{index}" for index in range(3))]
    assert not scheduler.calls("scontrol")


def test_a_gpu_is_asked_for_where_something_trains_on_it(sweep, scheduler):
    images = [cell(0)]
    sweep.run_cells(images, wait=False, engine="stacked", device="cuda", gpus_per_task=1)
    assert scheduler.script(7)["gpus-per-node"] == "1"
    sweep.run_cells([cell(1)], wait=False, engine="eager", device="cpu", gpus_per_task=1)
    assert "gpus-per-node" not in scheduler.script(8)


def test_a_gpu_that_was_not_asked_for_is_refused(sweep, scheduler):
    with pytest.raises(SettingError, match="gpus_per_task"):
        sweep.submit(device="cuda")
    assert not scheduler.tasks()


def test_cells_of_several_labels_are_trained_once_and_carry_all(sweep, scheduler):
    # without a weight a penalty has no effect: the same cell under another label
    both = [cell(0, "relu"), cell(0, "sep_up", penalty=PenaltySpec(kind="UP", weight=0.0))]
    assert both[0].key == both[1].key

    def plot() -> Iterator[None]:
        sweep.end("7")
        yield

    sweep.run_cells(both, wait=False)
    fleet = submitted_function(sweep, "7")
    assert [one.method for one in fleet.cells] == ["relu", "sep_up"]  # it stores both labels, whoever waits
    errors = sweep.run_cells(both, plot)
    assert errors == {both[0].key: None} and list(scheduler.tasks()) == ["7"]
    assert sweep.store.stored()[both[0].key].labels == {"relu", "sep_up"}


# nothing twice


def test_what_is_queued_or_runs_or_is_stored_is_not_submitted_again(sweep, scheduler, capsys):
    sweep.submit()
    sweep.submit()
    assert len(scheduler.calls("sbatch")) == 1
    assert "7 running or queued, 0 to submit" in capsys.readouterr().out
    scheduler.turn("7_0", to="RUNNING")
    sweep.end("7_1")
    sweep.submit()
    assert len(scheduler.calls("sbatch")) == 1
    said = capsys.readouterr().out
    assert "1 stored" in said and "6 running or queued, 0 to submit" in said and "nothing to submit" in said


def test_what_is_lost_is_submitted_again_and_nothing_else(sweep, scheduler):
    sweep.submit()
    scheduler.turn("7_0", to="RUNNING")
    sweep.end("7_1", "7_2")
    sweep.end("7_3", status="failed", error="no memory")
    sweep.end("7_4", status="diverged")
    lost = sweep.keys_of("7_5")
    scheduler.turn("7_5", to="NODE_FAIL")
    sweep.submit()
    assert list(scheduler.tasks())[7:] == ["8"]
    assert sweep.keys_of("8_0") == lost


def test_a_larger_sweep_submits_what_is_new(sweep, scheduler):
    sweep.run_cells(CELLS[:3], wait=False)
    sweep.submit()
    assert [task for task in scheduler.tasks() if task.startswith("8")] == [f"8_{index}" for index in range(4)]


def test_failed_cells_are_trained_again_if_asked_for_and_waited_for(sweep, scheduler):
    sweep.store.write([Result(CELLS[0], "failed", "eager", error="no memory")])
    sweep.store.write([Result(one, "done", "eager") for one in CELLS[1:]])
    assert sweep.run()[CELLS[0].key] == "no memory" and not scheduler.tasks()

    def plot() -> Iterator[None]:
        yield
        assert sweep.submit(retry="failed")[CELLS[0].key] is None  # it is queued: once is enough
        assert sweep.submit()[CELLS[0].key] is None  # others know, too
        yield
        sweep.end("7")
        yield

    errors = sweep.run(plot, retry="failed")
    assert set(errors.values()) == {None} and list(scheduler.tasks()) == ["7"]


def test_a_retry_that_fails_again_is_an_end(sweep, scheduler):
    sweep.store.write([Result(one, "failed", "eager", error="no memory") for one in CELLS])

    def plot() -> Iterator[None]:
        yield
        sweep.end(*(f"7_{index}" for index in range(7)), status="failed", error="no memory again")

    errors = sweep.run(plot, retry="failed")
    assert len(scheduler.tasks()) == 7 and None not in errors.values()
    sweep.submit(retry="failed")
    assert len(scheduler.tasks()) == 14


class KilledError(BaseException):
    """Stands for SIGKILL: nobody catches it."""


@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_launcher_that_was_killed_after_sbatch_has_lost_no_job(sweep, scheduler, monkeypatch, written):
    scheduler.limit_arrays(3)
    keep, count = Records.keep_submission, [0]

    def killed(records: Records, submission: Any) -> None:
        if count[0] == written:
            raise KilledError
        count[0] += 1
        keep(records, submission)

    with monkeypatch.context() as patch:
        patch.setattr(Records, "keep_submission", killed)
        with pytest.raises(KilledError):
            sweep.submit()
    submitted = scheduler.tasks()
    assert len(submitted) == [3, 6, 7][written - 1]
    survey = launch.SweepMonitor(sweep.results).look()
    assert survey.counts()["queued"] == len(submitted) and survey.counts()["lost"] == 7 - len(submitted)
    sweep.submit()
    assert len(scheduler.tasks()) == 7

    def plot() -> Iterator[None]:
        for task in scheduler.tasks():
            # results come from tasks whose numbers nobody wrote down
            scheduler.turn(task, to="COMPLETED")
        sweep.store.write([Result(one, "done", "eager") for one in CELLS])
        yield

    assert set(sweep.run(plot).values()) == {None}


# waiting


def test_waiting_ends_with_the_last_task_and_leaves_no_record(sweep, scheduler, capsys):
    def plot() -> Iterator[None]:
        scheduler.turn("7_0", to="RUNNING")
        yield
        for index in range(7):
            sweep.end(f"7_{index}")
            yield

    assert set(sweep.run(plot).values()) == {None}
    assert sweep.looks == 8
    assert not list(sweep.records.folder.glob("*.json"))
    assert "trained now" in capsys.readouterr().out
    assert set(sweep.run().values()) == {None} and len(scheduler.calls("sbatch")) == 1


def test_whatever_went_wrong_is_told_of_each_cell(sweep, scheduler):
    seen = {}

    def plot() -> Iterator[None]:
        seen.update({task: sweep.keys_of(task)[0] for task in scheduler.tasks()})
        sweep.end("7_0", "7_1")
        sweep.end("7_2", status="diverged")
        sweep.end("7_3", status="failed", error="no memory")
        sweep.end("7_4", status=None, state="OUT_OF_MEMORY")
        scheduler.turn("7_6", to=None)
        scheduler.forget("7_5", ended="TIMEOUT")
        yield

    errors = sweep.run(plot)
    (submission,) = sweep.records.submissions()
    words = {task: errors[key] for task, key in seen.items()}
    assert [words[f"7_{index}"] for index in range(3)] == [None] * 3
    assert words["7_3"] == "no memory"
    for task, reason in (("7_4", "OUT_OF_MEMORY"), ("7_5", "TIMEOUT"), ("7_6", "ended")):
        assert words[task] == (
            f"lost: job {task}: {reason}; its output: {submission.folder}/{task}_0_log.out; "
            "the same command trains it again"
        )


def test_waiting_is_for_jobs_that_another_command_submitted(sweep, scheduler):
    sweep.submit()

    def plot() -> Iterator[None]:
        yield
        sweep.end(*(f"7_{index}" for index in range(7)))

    assert set(sweep.run(plot).values()) == {None}
    assert len(scheduler.calls("sbatch")) == 1 and sweep.looks == 2


def test_a_controller_that_is_down_for_minutes_ends_no_waiting(sweep, scheduler):
    def plot() -> Iterator[None]:
        scheduler.turn("7_0", to="RUNNING")
        yield
        scheduler.fail(on="squeue")
        yield from [None] * 50
        sweep.end("7_0", "7_1")
        yield from [None] * 50
        scheduler.turn("7_2", to="FAILED")
        scheduler.recover()
        sweep.end("7_3", "7_4", "7_5", "7_6")
        yield

    errors = sweep.run(plot)
    assert sweep.looks > 100
    assert next(error for error in errors.values() if error is not None).startswith("lost: job 7_2: FAILED")
    assert list(errors.values()).count(None) == 6


def test_what_died_while_the_controller_was_down_may_have_been_requeued(sweep, scheduler):
    def plot() -> Iterator[None]:
        scheduler.fail(on="squeue")
        sweep.end(*(f"7_{index}" for index in range(6)))
        (key,) = sweep.keys_of("7_6")
        content = {
            "version": 1,
            "name": "run",
            "host": "node1",
            "machine": "another",
            "process": "1@1",
            "job": "7_6",
            "state": "running",
        }
        more = {"at_once": 1, "log": None, "training": {key: 0.5}, "failed": []}
        (sweep.records.folder / "run.cells.json").write_text(json.dumps({key: 1.0}))
        path = sweep.records.folder / "run.run.json"
        path.write_text(json.dumps({**content, **more}))
        os.utime(path, (1, 1))
        yield from [None] * 20
        scheduler.recover()
        scheduler.turn("7_6", to="PENDING")
        yield
        sweep.end("7_6")

    assert set(sweep.run(plot).values()) == {None}


def test_a_waiting_sweep_says_that_slurm_does_not_answer(sweep, scheduler, monkeypatch, capsys):
    monkeypatch.setattr(launch, "_PLAIN_EVERY", 0.0)

    def plot() -> Iterator[None]:
        scheduler.turn("7_0", to="RUNNING")
        yield
        scheduler.fail("echo 'Unable to contact slurm controller' >&2; exit 1", on="squeue")
        yield
        scheduler.recover()
        sweep.end(*(f"7_{index}" for index in range(7)))

    sweep.run(plot)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("0/7 cells, 7 tasks queued")
    assert lines[1].startswith("0/7 cells, 1 task running, 6 tasks queued")
    assert "Unable to contact slurm controller" in lines[2]
    assert lines[-1].startswith("7/7 cells")


def test_ctrl_c_leaves_the_jobs_and_says_how_to_end_them(sweep, scheduler):
    scheduler.limit_arrays(6)

    def plot() -> Iterator[None]:
        yield
        raise KeyboardInterrupt

    with pytest.raises(InterruptedSweepError) as caught:
        sweep.run(plot)
    said = one_line(caught.value)
    assert caught.value.by == signal.SIGINT
    assert "the jobs go on" in said and "scancel 7 8 ends them" in said
    assert set(scheduler.tasks().values()) == {"PENDING"}


def test_records_that_somebody_removed_do_not_make_a_sweep_done(sweep, scheduler):
    def plot() -> Iterator[None]:
        for path in sweep.records.folder.glob("*.json"):
            path.unlink()
        yield

    errors = sweep.run(plot)
    assert all(error is not None and error.startswith("lost") for error in errors.values())


# what cannot be


def test_what_sbatch_refuses_is_said_in_a_line_and_nothing_is_left(sweep, scheduler):
    scheduler.fail(
        "printf 'sbatch: error: invalid partition specified: x\\nsbatch: error: failed\\n' >&2; exit 1",
        on="sbatch",
    )
    with pytest.raises(ClusterError) as caught:
        sweep.run()
    said = one_line(caught.value)
    assert "invalid partition specified: x" in said and "nothing was submitted" in said
    assert sweep.records.submissions() == []


def test_what_was_submitted_before_a_refusal_goes_on_and_the_rest_comes_later(sweep, scheduler):
    scheduler.limit_arrays(3)
    scheduler.fail(
        f"[ $(cat {scheduler.folder}/next) = 9 ] && {{ echo 'sbatch: error: QOSMaxSubmitJobLimit' >&2; exit 1; }}",
        on="sbatch",
    )
    with pytest.raises(ClusterError) as caught:
        sweep.run()
    said = one_line(caught.value)
    assert "QOSMaxSubmitJobLimit" in said and "6 of 7 tasks were submitted and go on" in said
    assert launch.SweepMonitor(sweep.results).look().counts()["lost"] == 0
    scheduler.recover()
    sweep.submit()
    assert len(scheduler.tasks()) == 7
    keys = [key for task in scheduler.tasks() for key in sweep.keys_of(task if "_" in task else f"{task}_0")]
    assert sorted(keys) == sorted(one.key for one in CELLS)


def test_an_answer_of_sbatch_that_has_no_number_is_an_error(sweep, scheduler):
    scheduler.fail("echo 'welcome to the cluster'; exit 0", on="sbatch")
    with pytest.raises(ClusterError, match="nothing was submitted"):
        sweep.run()


def test_a_controller_that_is_down_is_an_error_before_anything_is_submitted(sweep, scheduler):
    scheduler.fail()
    with pytest.raises(ClusterError, match="Unable to contact slurm controller"):
        sweep.run()
    scheduler.recover()
    assert not scheduler.tasks() and sweep.records.submissions() == []


@pytest.mark.parametrize("script", ["exec sleep 60", "echo no >&2; exit 1"])
def test_without_an_answer_a_sweep_that_has_jobs_submits_nothing(sweep, scheduler, monkeypatch, script):
    sweep.run_cells(CELLS[:2], wait=False)
    monkeypatch.setattr(slurm, "_SECONDS", 0.3)
    scheduler.fail(script, on="squeue")
    with pytest.raises(ClusterError) as caught:
        sweep.run()
    assert "it is needed to know what is queued already" in one_line(caught.value)
    assert len(scheduler.calls("sbatch")) == 1


def test_without_submitit_an_error_names_the_extra(sweep, scheduler, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ClusterError) as caught:
        sweep.run()
    assert one_line(caught.value) == "hydra/launcher=fleet_slurm needs the extra cluster: pip install '.[cluster]'"
    assert not sweep.results.exists() and not scheduler.tasks()


def test_without_slurm_an_error_says_where_to_start(sweep, tmp_path, monkeypatch):
    hide_slurm(tmp_path / "empty", monkeypatch)
    with pytest.raises(ClusterError) as caught:
        sweep.run()
    said = one_line(caught.value)
    assert "sbatch" in said and "login node" in said
    assert not sweep.results.exists()


@pytest.mark.parametrize("name", ["a\nb", "a%b", "a%jb", "a\\b"])
def test_a_folder_that_does_not_survive_a_batch_script_is_refused(sweep, scheduler, tmp_path, name):
    sweep.settings = replace(sweep.settings, results_dir=str(tmp_path / name / "results"))
    with pytest.raises(SettingError) as caught:
        sweep.run()
    assert one_line(caught.value).startswith("results_dir=") and "for jobs on SLURM" in str(caught.value)
    assert not (tmp_path / name).exists() and not scheduler.tasks()


def test_a_folder_may_have_spaces_accents_and_quotes(sweep, scheduler, tmp_path):
    folder = tmp_path / "größe (1), é & co; #x [y] ~ 'a' \"b\" $HOME `c`" / "-results"
    sweep.settings = replace(sweep.settings, results_dir=str(folder))
    sweep.submit()
    assert len(scheduler.tasks()) == 7 and Records(folder).submissions()


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_submitted(sweep, scheduler, tmp_path):
    sweep.results.write_text("a file")
    with pytest.raises(StoreError, match=r"cannot be (written|read)"):
        sweep.run()
    assert not scheduler.tasks()


def test_records_that_cannot_be_written_are_an_error_before_anything_is_submitted(sweep, scheduler):
    sweep.results.mkdir()
    (sweep.results / "sweeps").write_text("a file")
    with pytest.raises(ClusterError) as caught:
        sweep.run()
    assert "nothing was submitted" in one_line(caught.value)
    assert not scheduler.tasks()


# a dry run


def test_a_dry_run_needs_neither_slurm_nor_submitit_and_writes_nothing(sweep, tmp_path, monkeypatch, capsys):
    hide_slurm(tmp_path / "empty", monkeypatch)
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert sweep.run(dry_run=True, cpus_per_task=2, mem_gb=3.5) == {}
    said = capsys.readouterr().out
    assert "nothing was submitted or written" in said and "eager on cpu" in said
    assert "4 tasks of 2 CPUs and 3.5 GB" in said
    assert not sweep.results.exists()


def test_a_dry_run_leaves_out_what_is_stored_or_queued(sweep, scheduler, capsys):
    sweep.run_cells(CELLS[:4], wait=False)
    sweep.end("7_0")
    capsys.readouterr()
    before = sorted(sweep.results.rglob("*"))
    sweep.run(dry_run=True)
    rows = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if line.count("│") == 3]
    found = {name.strip(): value.strip() for name, value in rows}
    assert found["to submit"] == "3" and found["running or queued"] == "3"
    assert len(scheduler.calls("sbatch")) == 1 and sorted(sweep.results.rglob("*")) == before


# the command


def test_the_command_without_submitit_or_slurm_ends_with_one_line(answer, tmp_path, monkeypatch):
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text("import sys\nsys.modules['submitit'] = None\n")
    line = ["-m", "hydra/launcher=fleet_slurm", "depth=2,3", "optimizer.epochs=2"]
    hidden = subprocess.run(
        [sys.executable, "-m", "jumpstart_exp", *line],
        cwd=tmp_path,
        env={"PYTHONPATH": str(shim), "PATH": "/nowhere", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert hidden.returncode == 1
    assert hidden.stderr == "error: hydra/launcher=fleet_slurm needs the extra cluster: pip install '.[cluster]'\n"
    hide_slurm(tmp_path / "empty", monkeypatch)
    done = answer(*line)
    assert done.returncode == 1 and done.stderr.startswith("error: hydra/launcher=fleet_slurm has to be started where")
    assert done.stderr.count("\n") == 1
    done = answer(*line, "dry_run=true")
    assert done.returncode == 0 and "nothing was submitted" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("hydra.launcher.minutes_per_task=0", "hydra.launcher.minutes_per_task=0 is not allowed: it must be a number"),
        (
            "hydra.launcher.cpus_per_task=many",
            "hydra.launcher.cpus_per_task='many' is not allowed: it must be an integer",
        ),
        ("hydra.launcher.setup=x", "hydra.launcher.setup='x' is not allowed: it must be a list of shell commands"),
        ("+hydra.launcher.minutes=3", "hydra.launcher.minutes is not a setting"),
        ("hydra.launcher.minutes_per_taks=3", "minutes_per_task"),
    ],
)
def test_the_command_refuses_a_bad_setting_in_one_line(answer, typed, words):
    done = answer("-m", "hydra/launcher=fleet_slurm", "depth=2,3", typed, "dry_run=true")
    assert done.returncode == 2
    assert words in done.stderr and done.stderr.count("\n") == 1


# what SLURM does beside the point


def test_a_task_may_be_requeued_whatever_the_site_says(sweep, scheduler):
    sweep.submit()
    assert "#SBATCH --requeue" in (scheduler.folder / "7.sh").read_text().splitlines()


@pytest.mark.parametrize("before", [0, 3])
def test_a_job_that_slurm_took_although_sbatch_failed_is_ended(sweep, scheduler, before):
    """Its answer came too late; its files are not in their place, so it could only fail."""
    scheduler.limit_arrays(3)
    late = f"""
[ $(wc -l < {scheduler.folder}/jobs) -lt {before} ] || {{
  echo "99|0|$(sed -n 's/^#SBATCH --job-name=//p' "$1")|PENDING" >> {scheduler.folder}/jobs
  echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
  exit 1
}}
"""
    scheduler.fail(late, on="sbatch")
    with pytest.raises(ClusterError) as caught:
        sweep.submit()
    said = one_line(caught.value)
    assert "Socket timed out" in said
    assert ("nothing was submitted" in said) == (before == 0) and ("3 of 7 tasks" in said) == (before == 3)
    assert scheduler.tasks()["99_0"] == "CANCELLED"
    scheduler.recover()
    sweep.submit()
    assert sum(state == "PENDING" for state in scheduler.tasks().values()) == 7


def test_a_job_of_which_nobody_knows_is_not_submitted_again_before_slurm_answers(sweep, scheduler):
    scheduler.fail("echo 'sbatch: error: Socket timed out' >&2; exit 1", on="sbatch")
    scheduler.fail("echo 'Unable to contact slurm controller' >&2; exit 1", on="squeue")
    with pytest.raises(ClusterError, match="is not known: SLURM cannot be asked"):
        sweep.submit()
    assert len(sweep.records.submissions()) == 1
    with pytest.raises(ClusterError, match="needed to know what is queued"):
        sweep.submit()
    scheduler.recover()
    sweep.submit()
    assert len(scheduler.tasks()) == 7


def test_a_task_trains_as_it_was_planned_whatever_its_node_shows(sweep, scheduler):
    sweep.submit(engine="auto")
    task = submitted_function(sweep, "7_0")
    assert (task.settings.engine, task.settings.device) != ("auto", "auto") and task.settings.device == "cpu"


def test_two_launchers_at_once_submit_a_sweep_once(sweep, scheduler):
    scheduler.fail("sleep 1", on="sbatch")
    threads = [threading.Thread(target=sweep.submit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scheduler.tasks()) == 7 and len(scheduler.calls("sbatch")) == 1


def test_what_a_task_said_last_is_told(sweep, scheduler):
    def plot() -> Iterator[None]:
        (submission,) = sweep.records.submissions()
        folder = Path(submission.folder)
        (folder / "7_0_0_log.out").write_text(
            "trained\nSIGUSR2: begun again 20 times (max_requeues); not requeued\nsrun: x\n"
        )
        (folder / "7_1_0_log.out").write_text("")
        for index in range(7):
            scheduler.turn(f"7_{index}", to="FAILED")
        yield

    errors = sorted(error or "" for error in sweep.run(plot).values())
    assert any(
        "FAILED (SIGUSR2: begun again 20 times (max_requeues); not requeued); its output" in one for one in errors
    )
    assert any(
        "FAILED (there is none: did a command of hydra.launcher.setup fail?); its output" in one for one in errors
    )


def test_tasks_that_cannot_end_in_time_are_warned_of(sweep, scheduler, capsys):
    sweep.submit(timeout_min=1)
    assert "hydra.launcher.timeout_min" in capsys.readouterr().err


# how large it may be, and its end at the first failure


def test_more_than_is_allowed_is_refused_before_anything_is_submitted(sweep, scheduler, monkeypatch, capsys):
    with pytest.raises(
        SettingError, match=r"^the sweep has 7 cells, more than max_cells=6 allows; nothing was trained"
    ):
        sweep.submit(max_cells=6)
    monkeypatch.setattr(EagerEngine, "estimate_seconds", staticmethod(lambda _: 7190.0))
    words = r"about 8 h 00 min \(2 tasks at once, without SLURM's queue; 14 core-hours\)"
    with pytest.raises(SettingError, match=rf"^training takes {words}, more than max_hours=7.9 allows"):
        sweep.submit(max_hours=7.9, max_at_once=2)
    assert not scheduler.tasks() and not sweep.records.submissions()
    sweep.run(max_hours=7.9, max_cells=6, max_at_once=2, dry_run=True)
    said = capsys.readouterr().out
    assert "estimated time" in said and "about 8 h 00 min: 2 tasks at once" in said
    assert said.count("without dry_run=true it is refused: ") == 2
    sweep.submit(max_hours=8, max_cells=7, max_at_once=2)
    said = capsys.readouterr().out
    assert len(scheduler.tasks()) == 7
    assert "this takes about 8 h 00 min (2 tasks at once, without SLURM's queue; 14 core-hours): dry_run=true" in said


def test_a_sweep_that_its_first_failure_has_ended_says_so_and_the_same_command_submits_the_rest(sweep, scheduler):
    reason = "fail_fast=true ended the sweep: relu 2×3 seed 0 failed: no memory"

    def plot() -> Iterator[object]:
        (submission,) = sweep.records.submissions()
        task = submitted_function(sweep, "7_1")
        assert (task.submission, task.settings.fail_fast) == (submission.name, True)
        sweep.end("7_0")
        sweep.end("7_1", status="failed", error="no memory")
        sweep.records.end_submission(submission.name, reason)  # as the task does
        scheduler.turn(*(f"7_{number}" for number in range(2, 7)), to="CANCELLED")
        yield

    with pytest.raises(FirstFailureError) as caught:
        sweep.run(plot, fail_fast=True)
    assert one_line(caught.value).startswith(f"{reason}; 2 of 7 cells are stored in {sweep.results}, the same command")
    states = SweepMonitor(sweep.results).look()
    assert states.counts()["stopped"] == 5 and {loss.reason for loss in states.losses} == {reason}

    def again() -> Iterator[object]:
        assert len(scheduler.tasks()) == 12
        sweep.end(*(task for task in scheduler.tasks() if task.startswith("8")))
        yield

    errors = sweep.run(again, fail_fast=True)
    assert [error for error in errors.values() if error] == ["no memory"]
