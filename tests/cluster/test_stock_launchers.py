"""Hydra's own launchers: a cell a job, nothing twice, and an account of every cell whatever becomes of its job."""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from cluster.conftest import Running, Slurm, Start, environment, python_processes, wait_for
from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster.slurm import check_folder
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.records import Records

EPOCHS = 4000
"""What `eager` takes some seconds for."""

LONG = ["method=relu", "width=3", "engine=eager", "device=cpu", "checkpoint_minutes=0.005"]


def key(depth: int, epochs: int = EPOCHS) -> str:
    return Cell(depth=depth, width=3, optimizer=OptimizerSpec(epochs=epochs)).key


def is_in_training(folder: Path, depth: int, epochs: int = EPOCHS) -> bool:
    """Whether the cell has left a checkpoint."""
    return (folder / "results" / "checkpoints" / f"{key(depth, epochs)}.pt").exists()


def stored(folder: Path, results: str = "results") -> pd.DataFrame:
    return Store(folder / results).cells()


@dataclass
class Disturbed:
    """A sweep on SLURM of four cells, to each of whose jobs something happened in mid-training."""

    folder: Path
    arguments: list[str]
    done: "subprocess.CompletedProcess[str]"
    array: str
    restarts: dict[int, int]
    disturbed_at: dict[int, datetime] = field(default_factory=dict)


WARNED, KILLED, CANCELLED, PREEMPTED = 2, 3, 4, 30
"""Depths of the four."""
DEPTHS = [WARNED, KILLED, CANCELLED, PREEMPTED]


@pytest.fixture(scope="module")
def disturbed(slurm: Slurm, start_in: Callable[[Path], Start], tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    folder = tmp_path_factory.mktemp("disturbed")
    depths = f"depth={','.join(map(str, DEPTHS))}"
    arguments = ["-m", "hydra/launcher=submitit_slurm", depths, f"optimizer.epochs={EPOCHS}", *LONG]
    before = slurm.queue()
    sweep = start_in(folder)(*arguments)
    array = submitted(slurm, sweep, before)
    tasks = {depth: f"{array}_{index}" for index, depth in enumerate(DEPTHS)}
    happens: dict[int, Callable[[str], None]] = {
        WARNED: lambda task: slurm.cancel(task, send="USR2"),
        KILLED: lambda task: send(signal.SIGKILL, slurm.pids(task)),
        CANCELLED: lambda task: cancel(slurm, task),
        PREEMPTED: lambda task: preempt(slurm, task),
    }  # only the last one waits: the others might be done meanwhile
    at: dict[int, datetime] = {}
    while rest := [depth for depth in DEPTHS if depth not in at]:
        # the others are shorter, and preempted with it once they are begun again
        wait_for("one is in training", lambda rest=rest: any(is_in_training(folder, depth) for depth in rest))
        depth = next(depth for depth in rest if is_in_training(folder, depth))
        if depth == PREEMPTED and len(rest) == 1:
            wait_for("it is killed", lambda: not is_held(slurm, tasks[CANCELLED]))
        if depth != PREEMPTED or len(rest) == 1:
            at[depth] = datetime.now(UTC)
            happens[depth](tasks[depth])
    done = sweep.finish()
    restarts = {depth: slurm.restarts(task) for depth, task in tasks.items()}
    return Disturbed(folder, arguments, done, array, restarts, at)


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def is_held(slurm: Slurm, task: str) -> bool:
    """Whether the task is still there; it gets no further, or it might be done in the seconds until it is killed."""
    pids = slurm.pids(task)
    send(signal.SIGSTOP, pids)
    return bool(pids)


def cancel(slurm: Slurm, task: str) -> None:
    slurm.cancel(task)
    is_held(slurm, task)


def preempt(slurm: Slurm, task: str) -> None:
    """Let another job run in the place of this one."""
    with slurm.preempting() as other:
        wait_for("it is killed", lambda: not is_held(slurm, task))
        wait_for("the other runs", lambda: slurm.queue(other)[other] == "RUNNING")
        assert slurm.queue(task)[task] == "PENDING"


def submitted(slurm: Slurm, sweep: Running, before: dict[str, str]) -> str:
    """The job array of a sweep that has just been started."""

    def new() -> set[str]:
        assert sweep.process.poll() is None, sweep.stderr.read_text()
        return {task.partition("_")[0] for task in slurm.queue() if task not in before}

    (array,) = wait_for("jobs are submitted", new)
    return array


@pytest.mark.cluster
@pytest.mark.parametrize("depth", [WARNED, PREEMPTED], ids=["told of its time limit", "preempted"])
def test_a_job_that_makes_room_is_requeued_and_goes_on_where_it_was(disturbed, depth):
    assert disturbed.restarts[depth] >= 1
    table = stored(disturbed.folder).set_index("depth")
    assert table.loc[depth, "status"] == "done" and table.loc[depth, "epochs_run"] == EPOCHS
    # a training that goes on from a checkpoint keeps the time of its first beginning
    assert datetime.fromisoformat(table.loc[depth, "started"]) < disturbed.disturbed_at[depth]


@pytest.mark.cluster
def test_what_lost_its_job_is_listed_with_its_log_and_all_others_are_stored(disturbed):
    assert disturbed.done.returncode == 1
    assert set(stored(disturbed.folder)["depth"]) == {WARNED, PREEMPTED}
    assert "2 of 4 cells failed" in disturbed.done.stderr
    listed = dict(re.findall(r"^  depth=(\d+) .*?: (.*)$", disturbed.done.stderr, re.MULTILINE))
    assert listed.keys() == {str(KILLED), str(CANCELLED)}
    for depth, reason in listed.items():
        log = Path(disturbed.folder, re.search(r"\((.*)\)$", reason)[1])
        assert f"{disturbed.array}_{DEPTHS.index(int(depth))}_" in log.name and log.is_file()
    assert "CANCELLED" in listed[str(CANCELLED)] and "CANCELLED" not in listed[str(KILLED)]


@pytest.mark.cluster
def test_the_same_command_again_submits_only_the_rest(disturbed, slurm, start_in):
    start = start_in(disturbed.folder)
    before = slurm.queue()
    again = start(*disturbed.arguments)
    array = submitted(slurm, again, before)
    done = again.finish()
    assert done.returncode == 0 and "4 cells: 2 stored in results, 2 to train, a job each" in done.stdout
    assert slurm.queue(array).keys() == {f"{array}_0", f"{array}_1"}
    assert set(stored(disturbed.folder)["depth"]) == set(DEPTHS)
    before = slurm.queue()
    done = start(*disturbed.arguments).finish()
    assert done.returncode == 0 and "4 cells: 4 stored in results, nothing to train" in done.stdout
    assert slurm.queue().keys() <= before.keys()  # those of long ago leave it meanwhile


@pytest.mark.cluster
def test_equal_cells_are_one_job_and_a_folder_may_have_almost_any_name(slurm, start, tmp_path):
    name = "größe [b], 'a' \"b\" $HOME #c;&*"
    before = slurm.queue()
    grid = ["method=relu", "depth=2", "optimizer.epochs=3", "penalty.weight=1,2", f"results_dir={name}"]
    done = start("-m", "hydra/launcher=submitit_slurm", *grid).finish()
    assert done.returncode == 0, done.stderr
    assert len(slurm.queue().keys() - before.keys()) == 1
    assert f"0 stored in {name}, 1 to train, a job each" in done.stdout
    assert list(stored(tmp_path, name)["depth"]) == [2]


@pytest.mark.cluster
def test_ctrl_c_leaves_the_jobs_and_says_how_to_end_them(slurm, start):
    before = slurm.queue()
    sweep = start("-m", "hydra/launcher=submitit_slurm", "depth=2,3", "optimizer.epochs=10000000", *LONG)
    array = submitted(slurm, sweep, before)
    sweep.interrupt()
    done = sweep.finish()
    assert done.returncode == 130 and f"scancel {array} ends them" in done.stderr
    assert set(slurm.queue(array).values()) <= {"RUNNING", "PENDING"}
    slurm.cancel(array)


@pytest.mark.cluster
def test_what_sbatch_refuses_is_said_in_a_line(slurm, start):
    before = slurm.queue()
    line = ["depth=2,3", "hydra.launcher.partition=nowhere"]
    done = start("-m", "hydra/launcher=submitit_slurm", *line).finish()
    assert done.returncode == 1 and slurm.queue().keys() <= before.keys()
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "nothing was submitted" in error and "nvalid partition" in error


def test_ctrl_c_here_ends_the_jobs_too(start_forked, tmp_path):
    sweep = start_forked("-m", "hydra/launcher=submitit_local", "depth=2,3", "optimizer.epochs=10000000", *LONG)
    wait_for("both are in training", lambda: all(is_in_training(tmp_path, depth, 10_000_000) for depth in (2, 3)))
    sweep.interrupt()
    done = sweep.finish()
    assert done.returncode == 130 and "the jobs are stopped, too" in done.stderr
    assert not [pid for pid in python_processes() if Path(f"/proc/{pid}/cwd").resolve() == tmp_path]


def test_ctrl_c_ends_the_job_in_training_and_begins_no_other(start_forked, tmp_path):
    sweep = start_forked("-m", "hydra/launcher=basic", "depth=2,3", "optimizer.epochs=10000000", *LONG)
    wait_for("the first is in training", lambda: is_in_training(tmp_path, 2, 10_000_000))
    sweep.interrupt()
    done = sweep.finish()
    assert done.returncode == 130
    assert "stopping: what is in training is kept for the next run" in done.stderr
    assert done.stderr.endswith("stopped: a checkpoint is kept; the same command goes on from there\n")
    assert not is_in_training(tmp_path, 3, 10_000_000)


@pytest.mark.soak  # submitit waits for a minute and more before it gives a job up
def test_a_job_that_is_killed_here_takes_no_other_along(start, tmp_path):
    depths = ["depth=2,120", f"optimizer.epochs={EPOCHS}"]  # the second is not done when submitit gives up the first
    sweep = start("-m", "hydra/launcher=submitit_local", *depths, *LONG)
    wait_for("the first is in training", lambda: is_in_training(tmp_path, 2))
    jobs = sorted(tmp_path.glob("results/jobs/*/.submitit/*/*_submitted.pkl"), key=lambda path: path.stat().st_mtime_ns)
    mark = f"SUBMITIT_LOCAL_JOB_ID={jobs[0].parent.name}"
    send(signal.SIGKILL, [pid for pid in python_processes() if mark in environment(pid)])
    done = sweep.finish(seconds=600)
    assert done.returncode == 1 and "1 of 2 cells failed" in done.stderr
    assert "waiting for the others: 1 of 2" in done.stderr
    assert re.search(r"^  depth=2 .*\(.*_0_log\.(out|err)\)$", done.stderr, re.MULTILINE)
    assert list(stored(tmp_path)["depth"]) == [120]
    done = start("-m", "hydra/launcher=submitit_local", *depths, *LONG).finish()
    assert done.returncode == 0 and "2 cells: 1 stored in results, 1 to train, a job each" in done.stdout
    assert sorted(stored(tmp_path)["depth"]) == [2, 120]


def test_a_dry_run_shows_the_table_and_launches_nothing(answer, tmp_path):
    done = answer("-m", "hydra/launcher=submitit_local", "depth=2,3", "dry_run=true")
    assert done.returncode == 0 and "dry run" in done.stdout and "2, a cell each" in done.stdout
    assert not (tmp_path / "results").exists()


def test_equal_cells_share_one_job_and_carry_both_labels(command, tmp_path):
    line = [
        "-m",
        "hydra/launcher=basic",
        "method=relu,sep_up",
        "penalty.weight=0,1e-3",
        "depth=2",
        "optimizer.epochs=2",
    ]
    done = command(*line)
    assert done.returncode == 0, done.stderr
    assert "2 cells: 0 stored in results, 2 to train, a job each" in done.stdout
    assert "2 cells: 2 done, stored in results/cells" in done.stdout
    assert sorted(map(tuple, stored(tmp_path)["labels"])) == [("relu", "sep_up"), ("sep_up",)]


def test_failed_cells_are_launched_again_only_if_that_is_asked_for(command):
    line = ["-m", "hydra/launcher=basic", "depth=2", "width=4,1000000", "optimizer.epochs=2"]
    first, again, retried = command(*line), command(*line), command(*line, "retry=failed")
    for done in (first, again, retried):
        assert done.returncode == 1
        assert "1 of 2 cells failed:\n  depth=2 width=1000000 optimizer.epochs=2" in done.stderr
    assert "2 stored (1 failed) in results, nothing to train" in again.stdout
    assert "retry=failed trains them again" in again.stdout
    assert "2 stored (1 failed) in results, 1 to train, a job each" in retried.stdout


@pytest.fixture
def false_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Set what a command of SLURM's does, in a shell's words; without that it fails."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def does(name: str, action: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{action}\n")
        (folder / name).chmod(0o755)

    does("srun", "exit 1")  # submitit knows by it that there is a SLURM
    for name in ("sbatch", "squeue", "sacct", "scontrol"):
        does(name, f"touch {tmp_path}/called.{name}; echo out of order >&2; exit 1")
    return does


def test_more_jobs_than_an_array_takes_are_refused(false_slurm, command, tmp_path):
    false_slurm("scontrol", "echo 'MaxArraySize            = 2'")
    done = command("-m", "hydra/launcher=submitit_slurm", "depth=2,3,4", "optimizer.epochs=2")
    assert done.returncode == 1
    assert all(word in done.stderr for word in ("a job a cell, 3", "2 at once", "fleet_slurm")), done.stderr
    assert not (tmp_path / "called.sbatch").exists() and not (tmp_path / "results" / "jobs").exists()


def test_a_folder_for_jobs_on_slurm_is_checked_first(false_slurm, command, tmp_path):
    for name in ("results_dir", "hydra.sweep.dir", "hydra.launcher.submitit_folder"):
        done = command("-m", "hydra/launcher=submitit_slurm", "depth=2,3", f"{name}='50%'")
        assert done.returncode == 2 and f"error: {name}=" in done.stderr and "50%" in done.stderr
        assert not list(tmp_path.glob("called.*")) and not (tmp_path / "50%").exists()


def test_what_was_never_submitted_is_not_on_record(false_slurm, command, tmp_path):
    false_slurm("scontrol", "echo 'MaxArraySize            = 1000'")
    done = command("-m", "hydra/launcher=submitit_slurm", "depth=2,3", "optimizer.epochs=2")
    assert done.returncode == 1 and "nothing was submitted" in done.stderr and "out of order" in done.stderr
    assert (tmp_path / "called.sbatch").exists()
    assert Records(tmp_path / "results").submissions() == []


def test_what_was_submitted_is_on_record_whatever_becomes_of_it(false_slurm, command, tmp_path):
    false_slurm("scontrol", "echo 'MaxArraySize            = 1000'")
    false_slurm("sacct", "echo 'JobID|State|NodeList'; echo '7_0|FAILED|n'; echo '7_1|FAILED|n'")
    false_slurm("sbatch", "echo Submitted batch job 7")
    false_slurm("squeue", "exit 0")
    done = command("-m", "hydra/launcher=submitit_slurm", "depth=2,3", "optimizer.epochs=2")
    assert done.returncode == 1 and "2 of 2 cells failed" in done.stderr
    (kept,) = Records(tmp_path / "results").submissions()
    assert len(kept.tasks) == 2


def test_a_sweep_has_one_folder_that_no_other_of_the_same_second_has(command, tmp_path):
    assert command("-m", "hydra/launcher=submitit_local", "depth=2", "optimizer.epochs=2").returncode == 0
    (folder,) = (tmp_path / "results" / "jobs").iterdir()
    datetime.strptime(folder.name, "%Y-%m-%d_%H-%M-%S-%f").astimezone()
    assert {path.name for path in folder.iterdir()} == {".submitit"}, "nothing empty is left"


def test_what_no_job_can_do_is_said_once(command):
    line = ["engine=native", "optimizer.batch_size=10", "optimizer.epochs=2"]
    done = command("-m", "hydra/launcher=basic", "depth=2,3", *line)
    assert done.returncode == 2 and done.stderr.count("error:") == 1 and "engine='native'" in done.stderr


@pytest.mark.parametrize("name", ["50%", "a\\b", "a\nb"])
def test_a_folder_that_slurm_cannot_take_is_refused_wherever_the_letter_is(name):
    for path in (Path(name), Path("/data") / name / "results"):
        with pytest.raises(SettingError, match="results_dir="):
            check_folder(path)


def test_all_other_folders_are_taken():
    check_folder(Path("größe [1], 'a' \"b\" $HOME #c;&*\t"))
