"""`hydra/launcher=fleet_slurm` on a real SLURM: tasks told to end, killed, cancelled, preempted; a launcher killed.

Trainings are long enough to be disturbed, and checkpoints further apart than a test takes: what goes on where it was
has been kept because it was told to end.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.conftest import Slurm, Start, rows, wait_for
from jumpstart_exp.cell import Cell
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store

pytestmark = pytest.mark.cluster

PLAIN, TOLD, KILLED, CANCELLED, PREEMPTED = 50, 3000, 3001, 3002, 7000
"""Epochs of the cells of one sweep, which differ in nothing else."""

ALL = [PLAIN, TOLD, KILLED, CANCELLED, PREEMPTED]
GRID = ["method=relu", "depth=2", "width=3", "engine=eager", "device=cpu", "checkpoint_minutes=600"]
EPOCHS = f"optimizer.epochs={','.join(map(str, ALL))}"

CLUSTER = ["hydra/launcher=fleet_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.minutes_per_task=0.1"]
"""A cell a task: a start alone takes longer than so few minutes."""

OF_THE_RUN = ["seconds", "peak_memory_bytes", "started", "git_commit", "git_dirty"]

KILLED_BEFORE_THE_NUMBER_IS_WRITTEN = """
import os, signal
from jumpstart_exp.sweep.records import Records

keep = Records.keep_submission

def keep_and_die(self, submission):
    if submission.arrays[0].job is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    keep(self, submission)

Records.keep_submission = keep_and_die
"""


def key(epochs: int) -> str:
    return Cell(depth=2, width=3, optimizer=OptimizerSpec(epochs=epochs)).key


def jobs_on_record(folder: Path) -> dict[str, str]:
    """By key the job of each cell, where a task has one cell."""
    found = {}
    for path in folder.glob("results/sweeps/*.submission.json"):
        submission = json.loads(path.read_bytes())
        for array in submission["arrays"]:
            for index in range(array["count"] if array["job"] else 0):
                (one,) = submission["tasks"][array["first"] + index]
                found[one] = f"{array['job']}_{index}" if array["count"] > 1 else array["job"]
    return found


def in_training(folder: Path) -> set[str]:
    """Keys that processes say to be training."""
    found: set[str] = set()
    for path in folder.glob("results/sweeps/*.run.json"):
        with suppress(FileNotFoundError):  # a run that has ended since the folder was listed takes its record along
            record = json.loads(path.read_bytes())
            found.update(record["training"] if record["state"] == "running" else ())
    return found


def status(folder: Path, results: str = "results") -> tuple[int, dict[str, Any]]:
    """Exit code and words of `python -m jumpstart_exp.status`."""
    return answer(ask_status(folder, results))


def ask_status(folder: Path, results: str = "results") -> "subprocess.Popen[bytes]":
    line = [sys.executable, "-m", "jumpstart_exp.status", "format=json", f"results_dir={results}"]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def answer(asked: "subprocess.Popen[bytes]") -> tuple[int, dict[str, Any]]:
    said, error = asked.communicate(timeout=120)
    assert asked.returncode in (0, 3), error
    return asked.returncode, json.loads(said)


def stored(folder: Path, results: str = "results") -> pd.DataFrame:
    return Store(folder / results).cells().set_index("key").drop(columns=OF_THE_RUN)


@dataclass
class Fates:
    """A sweep of five tasks in two arrays, to four of which something happened in mid-training."""

    folder: Path
    arguments: list[str]
    done: "subprocess.CompletedProcess[str]"
    jobs: dict[int, str]
    states: dict[str, str]
    restarts: dict[int, int]
    status: tuple[int, dict[str, Any]]
    again: "subprocess.CompletedProcess[str]"

    def log(self, epochs: int) -> Path:
        (path,) = self.folder.glob(f"results/sweeps/*/{self.jobs[epochs]}_0_log.out")
        return path


@pytest.fixture(scope="module")
def fates(slurm: Slurm, start_in: Callable[[Path], Start], tmp_path_factory: pytest.TempPathFactory) -> Fates:
    folder = tmp_path_factory.mktemp("fates")
    start = start_in(folder)
    arguments = ["-m", *CLUSTER, "hydra.launcher.max_array_size=4", *GRID, EPOCHS]
    sweep = start(*arguments)

    def submitted() -> dict[str, str]:
        assert sweep.process.poll() is None, sweep.stderr.read_text()
        found = jobs_on_record(folder)
        return found if len(found) == len(ALL) else {}

    by_key = wait_for("everything is submitted", submitted)
    jobs = {epochs: by_key[key(epochs)] for epochs in ALL}
    again = start(*arguments, "hydra.launcher.wait=false")
    asked = None
    waiting = {TOLD, KILLED, CANCELLED, PREEMPTED}
    while waiting:
        now = wait_for("they are in training", lambda: {one for one in waiting if key(one) in in_training(folder)}, 180)
        asked = asked or ask_status(folder)
        for epochs in now:
            if epochs == KILLED:
                for pid in slurm.pids(jobs[KILLED]):
                    os.kill(pid, signal.SIGKILL)
            elif epochs == CANCELLED:
                slurm.cancel(jobs[CANCELLED])
            elif epochs == TOLD:
                slurm.cancel(jobs[TOLD], send="USR2")
            elif waiting == {PREEMPTED}:  # which happens to everything that runs
                kept = folder / "results" / "checkpoints" / f"{key(TOLD)}.pt"
                wait_for("what was told is kept", kept.exists)
                with slurm.preempting():
                    wait_for("it has to wait", lambda: slurm.queue(jobs[PREEMPTED])[jobs[PREEMPTED]] == "PENDING")
            else:
                continue
            waiting.remove(epochs)
        time.sleep(0.1)
    second = again.finish()
    done = sweep.finish()
    assert asked is not None
    return Fates(
        folder,
        arguments,
        done,
        jobs,
        slurm.queue(*{job.partition("_")[0] for job in jobs.values()}),
        {epochs: slurm.restarts(job) for epochs, job in jobs.items()},
        answer(asked),
        second,
    )


def test_tasks_are_in_arrays_below_the_limit_as_squeue_and_sacct_have_them(fates, slurm):
    arrays = sorted({job.partition("_")[0] for job in fates.jobs.values()}, key=int)
    said = re.findall(r"^submitted job (\d+): (\d) tasks?, (\d) cells?, eager on cpu$", fates.done.stdout, re.MULTILINE)
    assert said == [(arrays[0], "4", "4"), (arrays[1], "1", "1")]
    assert fates.states.keys() == set(fates.jobs.values()) == {*(f"{arrays[0]}_{i}" for i in range(4)), arrays[1]}
    known = ["sacct", "-n", "-X", "-P", "-o", "JobID,State", "-j", ",".join(arrays)]
    wait_for("the accounting knows them", lambda: rows(slurm.call(*known)).keys() == fates.states.keys())


def test_the_same_command_while_it_runs_submits_nothing(fates):
    assert fates.again.returncode == 0, fates.again.stderr
    assert "5 running or queued, 0 to submit" in fates.again.stdout and "nothing to submit" in fates.again.stdout


def test_the_status_of_a_sweep_that_runs(fates):
    code, found = fates.status
    cells = found["cells"]
    assert sum(cells.values()) == 5 and cells["running"] + cells["queued"] >= 1 and cells["failed"] == 0
    assert code == (3 if cells["lost"] else 0) and found["remark"] is None
    assert {job.partition("_")[0] for job in fates.jobs.values()} >= set(found["jobs"]) > set()


@pytest.mark.parametrize(("epochs", "by"), [(TOLD, "SIGUSR2"), (PREEMPTED, "SIGTERM")], ids=["told", "preempted"])
def test_a_task_that_makes_room_is_requeued_and_goes_on_where_it_was(fates, epochs, by):
    assert fates.restarts[epochs] >= 1
    log = fates.log(epochs).read_text()
    said = [
        f"task {fates.jobs[epochs]} on ",
        "stopping: what is in training is kept for the next run",
        f"{by}: {fates.jobs[epochs]} is requeued",
        "begun again for the first time",
        "1 cell goes on from a checkpoint",
    ]
    places = [log.index(words) for words in said]
    assert places == sorted(places)


@pytest.mark.parametrize(("epochs", "end"), [(KILLED, "FAILED"), (CANCELLED, "CANCELLED")], ids=["killed", "cancelled"])
def test_a_task_that_dies_is_lost_and_not_requeued_and_its_siblings_finish(fates, epochs, end):
    assert fates.done.returncode == 1
    job = fates.jobs[epochs]
    assert fates.states[job] == end and fates.restarts[epochs] == 0
    assert fates.done.stderr.count("2 of 5 cells failed:") == 1
    (line,) = re.findall(rf"^  .*optimizer\.epochs={epochs}: .*$", fates.done.stderr, re.MULTILINE)
    assert f": lost: job {job}: {end}" in line
    assert line.endswith(f"; its output: {fates.log(epochs)}; the same command trains it again")


def test_the_same_command_submits_only_what_was_lost_and_the_results_are_those_of_one_machine(fates, slurm, start_in):
    assert set(stored(fates.folder)["optimizer.epochs"]) == {PLAIN, TOLD, PREEMPTED}
    code, found = status(fates.folder)
    assert code == 3 and found["cells"]["lost"] == 2 and found["cells"]["done"] == 3
    assert {key for one in found["lost"] for key in one["keys"]} == {key(KILLED), key(CANCELLED)}
    start = start_in(fates.folder)
    done = start(*fates.arguments).finish()
    assert done.returncode == 0, done.stderr
    assert "5 cells: 3 stored in" in done.stdout and "2 to submit" in done.stdout
    (array,) = re.findall(r"^submitted job (\d+): 2 tasks, 2 cells", done.stdout, re.MULTILINE)
    assert slurm.queue(array) == {f"{array}_0": "COMPLETED", f"{array}_1": "COMPLETED"}
    code, found = status(fates.folder)
    assert code == 0 and found["cells"]["done"] == sum(found["cells"].values()) == 5 and found["seconds_left"] == 0
    assert not list(fates.folder.glob("results/sweeps/*.json")) and not list(fates.folder.glob("results/checkpoints/*"))
    # every cell once, and bit for bit as a machine has them that trains undisturbed
    done = start("-m", *GRID, EPOCHS, "results_dir=here").finish()
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(stored(fates.folder), stored(fates.folder, "here"), check_exact=True)
    pd.testing.assert_frame_equal(
        Store(fates.folder / "results").curves(), Store(fates.folder / "here").curves(), check_exact=True
    )
    parts = [pd.read_parquet(path) for path in fates.folder.glob("results/cells/*.parquet")]
    assert sorted(pd.concat(parts)["key"]) == sorted(map(key, ALL))


def test_jobs_whose_launcher_was_killed_are_known_and_not_submitted_again(slurm, start, tmp_path):
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "sitecustomize.py").write_text(KILLED_BEFORE_THE_NUMBER_IS_WRITTEN)
    # one diverges, and no machine has the memory for the other
    grid = ["method=relu", "depth=2", "width=3,4000000", "optimizer.epochs=9", "optimizer.lr=1e30", "engine=eager"]
    line = ["-m", "hydra/launcher=fleet_slurm", "hydra.launcher.cpus_per_task=2", "hydra.launcher.mem_gb=2", *grid]
    name = "größe [1], 'a' \"b\" $HOME `c`;&*#~"
    line += ["device=cpu", "+hydra.launcher.additional_parameters.hold=true", f"results_dir={name}"]
    before = slurm.queue().keys()
    killed = start(*line, environment={"PYTHONPATH": str(tmp_path / "shim")}).finish()
    assert killed.returncode == -signal.SIGKILL
    (job,) = slurm.queue().keys() - before
    code, found = status(tmp_path, name)
    assert code == 0 and found["cells"]["queued"] == 2 and found["tasks"] == {"queued": 1} and found["jobs"] == [job]
    again = start(*line)
    wait_for("it waits", lambda: "2 running or queued, 0 to submit" in again.stdout.read_text())
    slurm.call("scontrol", "release", job)
    done = again.finish()
    assert slurm.queue().keys() - before == {job}
    assert done.returncode == 1 and "1 of 2 cells failed" in done.stderr
    assert re.search(r"width=4000000 .*: RuntimeError: .*(memory|allocate)", done.stderr)
    assert list(stored(tmp_path, name).sort_values("width")["status"]) == ["diverged", "failed"]


def test_a_task_whose_time_is_up_is_told_by_slurm_and_goes_on_in_a_new_one(slurm, start, tmp_path):
    shortest = ["hydra.launcher.timeout_min=1"]  # in which SLURM tells a task after 10 to 40 s, 50 to 20 before its end
    sweep = start("-m", *GRID, "optimizer.epochs=10000000", *CLUSTER, *shortest)  # no machine is done with it in time
    ((_, job),) = wait_for("it is submitted", lambda: jobs_on_record(tmp_path)).items()
    assert " TimeLimit=00:01:00 " in slurm.call("scontrol", "--oneliner", "show", "job", job)

    def log() -> str:
        return "".join(path.read_text() for path in tmp_path.glob(f"results/sweeps/*/{job}_0_log.out"))

    wait_for("it goes on", lambda: "1 cell goes on from a checkpoint" in log(), seconds=180)
    assert slurm.restarts(job) >= 1
    told = f"SIGUSR2: {job} is requeued"
    assert log().index(told) < log().index("begun again for the ") < log().index("1 cell goes on from a checkpoint")
    slurm.call("scancel", job)
    done = sweep.finish()
    assert done.returncode == 1 and f"lost: job {job}: CANCELLED" in done.stderr
    assert len(list(tmp_path.glob("results/checkpoints/*.pt"))) == 1
