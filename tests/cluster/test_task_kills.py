"""Tasks of `fleet_slurm` killed at random instants on a real SLURM: no row is lost, and only the rest runs again."""

import itertools
import json
import os
import random
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Command
from faults.sweeps import STARTING, STORING, TRAINING, Kills, assert_same_results, done, is_running, rows_by_key

from cluster.conftest import Slurm, wait_for
from jumpstart_exp.sweep.records import Records

pytestmark = pytest.mark.cluster

KILLS = 8
COUNT = 24
GRID = ["-m", "method=relu", "depth=2,3", "width=3", "seed=range(12)", "engine=eager", "device=cpu"]
GRID += ["optimizer.epochs=300", "checkpoint_minutes=600"]
CLUSTER = ["hydra/launcher=fleet_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.wait=false"]
CLUSTER += ["hydra.launcher.minutes_per_task=0.19"]
"""About four tasks."""

LOADING = "planning or loading"
"""It has a record, and trains nothing yet."""

ENDED = {"COMPLETED", "FAILED"}


@dataclass
class Fate:
    """A task's end: SIGKILL so many seconds after the phase `goal` has begun, whatever it is about by then."""

    goal: str
    seconds: float
    whole: bool  # or only the process that the others belong to
    at: float = field(default=float("inf"))


def phase(results: Path, job: str) -> str:
    """What a task that runs is about, as its record tells."""
    runs = [run for run in Records(results).runs() if run.job == job]
    if not runs:
        return STARTING
    return TRAINING if runs[-1].training else LOADING


def tasks_on_record(results: Path) -> dict[str, set[str]]:
    """By job the keys of its cells."""
    return {
        job: set(keys)
        for submission in Records(results).submissions()
        for number, keys in enumerate(submission.tasks)
        if (job := submission.job(number)) is not None
    }


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@dataclass
class Sweep:
    """A sweep on the cluster that is submitted again and again, and everything that was submitted for it."""

    command: Command
    results: Path
    tasks: dict[str, set[str]] = field(default_factory=dict)

    def submit(self, missing: set[str] | None = None) -> None:
        """Submit what is missing (None: all), and see to it that it is just that."""
        wanted = None if missing is None else sorted(missing)
        said = self.command(*CLUSTER, *GRID, f"results_dir={self.results}")
        assert said.returncode == 0, said.stderr
        new = {job: keys for job, keys in tasks_on_record(self.results).items() if job not in self.tasks}
        submitted = sorted(itertools.chain(*new.values()))
        assert len(submitted) == COUNT if wanted is None else submitted == wanted
        told = re.search(rf"^{COUNT} cells: .*?(\d+) to submit$", said.stdout, re.MULTILINE)
        assert told is not None and int(told[1]) == len(submitted), said.stdout
        assert ("nothing to submit" in said.stdout) == (not submitted)
        self.tasks |= new


def kill(slurm: Slurm, sweep: Sweep, job: str, kills: Kills, *, whole: bool) -> None:
    """Kill a task, look at what is left, and submit what it took along."""
    before, during = done(sweep.results), phase(sweep.results, job)
    pids = slurm.pids(job)
    first = [pid for pid in pids if parent_of(pid) not in pids]
    for pid in pids if whole else first:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for("SLURM knows", lambda: slurm.queue(job)[job] in ENDED, 60)
    wait_for("nothing is left of it", lambda: not any(map(is_running, pids)), 30)
    if slurm.queue(job)[job] == "COMPLETED":  # it was faster
        return
    after = done(sweep.results)
    kills.hit(STORING if (after - before) & sweep.tasks[job] else during, len(before - after))
    assert before <= after, "rows that were there are gone"
    assert set(rows_by_key(sweep.results).values()) <= {1}
    sweep.submit(sweep.tasks[job] - after)


def test_tasks_killed_at_any_instant_cost_what_they_had_not_stored(
    slurm: Slurm, command: Command, tmp_path: Path
) -> None:
    assert command(*GRID, "results_dir=whole").returncode == 0
    rng = random.Random(0)
    with Kills("cluster task").logged() as kills:
        for number in itertools.count():
            harm(slurm, Sweep(command, tmp_path / f"harmed {number}"), kills, rng)
            results = tmp_path / f"harmed {number}"
            assert_same_results(results, tmp_path / "whole")
            assert set(rows_by_key(results).values()) == {1}
            if kills.hits.total() >= KILLS:
                break
        assert set(kills.hits) >= {STARTING, TRAINING}
        assert not kills.lost.total()


def harm(slurm: Slurm, sweep: Sweep, kills: Kills, rng: random.Random) -> None:
    """Kill tasks as they run, until there were enough kills; then let the rest finish."""
    sweep.submit()
    assert 3 <= len(sweep.tasks) <= 6
    fates: dict[str, Fate] = {}
    goals = itertools.cycle([STARTING, TRAINING])
    seen: set[str] = set()
    deadline = time.monotonic() + 300
    while True:
        assert time.monotonic() < deadline, json.dumps(slurm.queue(*sweep.tasks))
        states = slurm.queue(*sweep.tasks)
        assert seen <= (seen := done(sweep.results)), "rows that were there are gone"
        if all(states[job] in ENDED for job in sweep.tasks):
            break
        for job in [job for job in sweep.tasks if states[job] == "RUNNING"]:
            if kills.hits.total() >= KILLS or not slurm.pids(job):
                continue
            if job not in fates:
                fates[job] = Fate(next(goals), rng.uniform(0, 2), rng.random() < 0.5)
            fate, now = fates[job], phase(sweep.results, job)
            if fate.at == float("inf") and fate.goal in (now, STARTING):
                fate.at = time.monotonic() + fate.seconds
            if time.monotonic() >= fate.at:
                kill(slurm, sweep, job, kills, whole=fate.whole)
        time.sleep(0.05)
    wait_for("everything is stored", lambda: len(done(sweep.results)) == COUNT, 10)
    sweep.submit(set())
