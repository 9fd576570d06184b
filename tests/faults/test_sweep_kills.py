"""Kills at random instants: nothing that was reported done is lost, nothing is trained twice, no reader fails."""

import itertools
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.sweeps import (
    CELLS,
    CURVES,
    FINISHING,
    FLEET_FOR,
    PHASES,
    STARTING,
    TRAINING,
    Deed,
    How,
    Kills,
    Reader,
    Sweep,
    Sweeps,
    assert_same_results,
    die,
    done,
    is_running,
    rows_by_key,
    until,
)
from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster.sweep_state import SweepMonitor
from jumpstart_exp.engines import ENGINES
from jumpstart_exp.store import Store

ENGINES_HERE = [name for name, engine in ENGINES.items() if engine.refuses(Cell()) is None]
FASTEST = ENGINES_HERE[-1]

EACH_ENGINE = [pytest.param(name, marks=[] if name == FASTEST else pytest.mark.soak) for name in ENGINES_HERE]

IMPORTS = 1.5
"""Seconds that Python takes at least until it has imported torch."""

SLOW_DISK = 0.03
"""Seconds of an fsync, so that there is an instant at which it can be hit."""
STORED_AT_A_TIME = 16
COUNT = 68
MANY = [
    *("-m", "method=relu,sep_up", "depth=1,2,...,16,150", "width=3", "seed=0,1", "device=cpu"),
    *(f"engine={FASTEST}", f"optimizer.epochs={1500 if FASTEST == 'native' else 150}", "checkpoint_minutes=0.0005"),
]
"""Many tiny cells and some that are long enough to be kept on the way."""


def longest(sweep: Sweep) -> dict[str, float]:
    """How long each phase of a sweep that has ended lasted at most."""
    phases = sweep.phases()
    found: dict[str, float] = {}
    for (begun, phase), (ended, _) in itertools.pairwise(phases):
        found[phase] = max(found.get(phase, 0.0), ended - begun)
    return found


@dataclass(frozen=True)
class Death:
    """SIGKILL so many seconds after a phase has begun for the `entry`-th time, of the process or its whole group."""

    phase: str
    entry: int
    seconds: float
    of_group: bool

    def how(self) -> How:
        if self.phase == STARTING:
            return How(fresh=True)
        return How(
            deeds=(Deed(self.phase, self.entry, die, (self.seconds, self.of_group)),),
            slow_disk=SLOW_DISK,
            store_after=STORED_AT_A_TIME,
        )


def deaths(lasts: dict[str, float], rng: random.Random) -> Iterator[Death]:
    """At the beginnings of all phases, and then at random instants of all of them, again and again."""
    for number in itertools.count():
        for phase in [*rng.sample(PHASES[:-1], len(PHASES) - 1), FINISHING]:  # after the last one nothing is left
            seconds = rng.uniform(0, lasts[phase] if phase != STARTING else IMPORTS) if number else 0.0
            yield Death(phase, rng.choice((1, 1, 2)) if phase in (CURVES, CELLS) else 1, seconds, rng.random() < 0.5)


@pytest.mark.parametrize("least", [len(PHASES), pytest.param(22, marks=pytest.mark.soak)])
def test_a_sweep_killed_at_any_instant_goes_on_from_there(least: int, sweeps: Sweeps, tmp_path: Path) -> None:
    """At the beginning of every phase once; then at random instants of them."""
    whole = sweeps.start(tmp_path / "whole", MANY, How(slow_disk=SLOW_DISK, store_after=STORED_AT_A_TIME))
    assert whole.ended() == 0, whole.output()
    coming = deaths(longest(whole), random.Random(0))
    with Kills("SIGKILL of the sweep").logged() as kills:
        for number in range(least):
            folder = tmp_path / f"harmed {number}"
            with Reader(folder / "results") as reader:
                while kill_once(sweeps, folder, reader, kills, next(coming)) and kills.hits.total() < least:
                    pass
                code, said = sweeps.run(folder, MANY)
                assert code == 0, said
            assert_same_results(folder / "results", tmp_path / "whole" / "results")
            assert set(rows_by_key(folder / "results").values()) == {1}
            assert not list((folder / "results" / "checkpoints").glob("*"))
            if kills.hits.total() >= least and set(kills.hits) >= set(PHASES):
                break
        assert set(kills.hits) >= set(PHASES), "every phase is hit"
        assert not kills.lost.total()


def kill_once(sweeps: Sweeps, folder: Path, reader: Reader, kills: Kills, death: Death) -> bool:
    """Start the sweep, kill it, look at what is left; False if it ended before, or there is nothing left to do."""
    results = folder / "results"
    before = done(results)
    sweep = sweeps.start(folder, MANY, death.how())
    if death.phase == STARTING:
        time.sleep(death.seconds)
        sweep.signal(signal.SIGKILL, group=death.of_group)
    trainers: set[int] = set()
    while not sweep.has_ended:
        trainers.update(sweep.workers())
        time.sleep(0.02)
    if (code := sweep.ended()) != -signal.SIGKILL:
        assert code == 0, sweep.output()
        return False
    until(lambda: not any(map(is_running, trainers)), "its workers end by themselves", 60)
    after = done(results)
    kills.hit(sweep.phase(), max(0, len(before) + sweep.reported() - len(after)) + len(reader.seen - after))
    assert before <= after
    assert reader.seen <= after
    assert len(before) + sweep.reported() <= len(after)
    assert set(rows_by_key(results).values()) <= {1}
    if told := re.search(rf"^{COUNT} cells: (\d+) stored in results, (\d+) to train", sweep.output(), re.M):
        assert (int(told[1]), int(told[2])) == (len(before), COUNT - len(before))
    counts = SweepMonitor(results).look().counts()
    assert (counts["done"], counts["running"], counts["queued"]) == (len(after), 0, 0)
    assert counts["lost"] in (0, COUNT - len(after))
    return len(after) < COUNT


KILLED_WORKERS = 2
"""In each engine."""

SOME = {
    "eager": ("depth=2,3", "optimizer.epochs=250", "hydra.launcher.workers=2"),
    "stacked": ("depth=2,3,40", "optimizer.epochs=800", "hydra.launcher.workers=1"),
    "native": ("depth=2,3,150", "optimizer.epochs=4000", "hydra.launcher.workers=2"),
}
"""A few seconds of work."""


@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_killed_workers_cost_the_cells_that_they_had_alone(engine: str, sweeps: Sweeps, tmp_path: Path) -> None:
    grid = ["-m", "method=relu,sep_up", "width=3", "seed=range(3)", "device=cpu", f"engine={engine}", *SOME[engine]]
    assert sweeps.run(tmp_path / "whole", grid)[0] == 0
    whole = tmp_path / "whole" / "results"
    keys, rng = done(whole), random.Random(1)
    with Kills(f"SIGKILL of a worker ({engine})").logged() as kills:
        for number in itertools.count():
            folder = tmp_path / f"harmed {number}"
            with Reader(folder / "results") as reader:
                while done(folder / "results") < keys and kills.hits.total() < KILLED_WORKERS:
                    harm(sweeps.start(folder, [*grid, "retry=failed"]), keys, reader, kills, rng)
                code, said = sweeps.run(folder, [*grid, "retry=failed"])
                assert code == 0, said
            assert done(folder / "results") == keys
            if engine != "stacked":  # there, which cells are trained together changes the last bits
                assert_same_results(folder / "results", whole)
            if kills.hits.total() >= KILLED_WORKERS:
                break


def harm(sweep: Sweep, keys: set[str], reader: Reader, kills: Kills, rng: random.Random) -> None:
    """Kill workers of a sweep as long as it lasts: every cell is done, or has failed by it."""
    results = sweep.folder / "results"
    while kills.hits.total() < KILLED_WORKERS and kill_a_worker(sweep, kills, rng):
        assert reader.seen <= done(results)
    code, failed = sweep.ended(), keys - done(results)
    assert code == (1 if failed else 0), sweep.output()
    assert "Traceback" not in sweep.output()
    assert reader.seen <= done(results)
    rows = Store(results).cells()
    assert set(rows["key"]) == keys, "every cell has a row"
    assert len(failed) <= kills.hits.total()
    assert rows.loc[rows["key"].isin(failed), "error"].str.contains("SIGKILL").all()


def kill_a_worker(sweep: Sweep, kills: Kills, rng: random.Random) -> bool:
    """Kill a worker at a random instant of its start, or of its training; False if there is none any more."""
    goal = STARTING if kills.hits.total() == 1 else TRAINING
    victim = 0
    while not victim and not sweep.has_ended:
        fed = {int(name.split()[-1]) for _, name in sweep.phases() if name.startswith(FLEET_FOR)}
        workers = [pid for pid in sweep.workers() if (pid in fed) == (goal == TRAINING)]
        victim = rng.choice(workers) if workers else 0
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.3))
    if not is_running(victim):
        return not sweep.has_ended
    fed = {int(name.split()[-1]) for _, name in sweep.phases() if name.startswith(FLEET_FOR)}
    os.kill(victim, signal.SIGKILL)
    kills.hit(TRAINING if victim in fed else STARTING, 0)
    until(lambda: not is_running(victim), "it is gone", 30)
    return True
