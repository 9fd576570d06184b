"""A sweep whose output nobody reads any more, or whose terminal is gone, trains on and ends as it would."""

import os
import signal
from pathlib import Path

import pytest

from faults.sweeps import STARTING, TRAINING, Deed, How, Sweeps, done, until
from jumpstart_exp.sweep.records import Records

SHORT = ["depth=2", "width=2", "seed=0,1,2", "optimizer.epochs=20,21"]


def lose_reader() -> None:
    """As in `2>&1 | head -1`, or with `| tee` after Ctrl-C."""
    read, write = os.pipe()
    os.close(read)
    for number in (1, 2):
        os.dup2(write, number)


def lose_terminal() -> None:
    theirs, ours = os.openpty()
    os.close(theirs)
    for number in (1, 2):
        os.dup2(ours, number)


@pytest.mark.parametrize("lose", [pytest.param(lose_reader, marks=pytest.mark.soak), lose_terminal])
def test_a_sweep_goes_on_to_its_end(lose, sweeps: Sweeps, tmp_path: Path) -> None:
    sweep = sweeps.start(tmp_path / "run", ["-m", *SHORT], How(deeds=(Deed(TRAINING, 1, lose),)))
    assert sweep.ended() == 0
    assert len(done(sweep.folder / "results")) == 6
    assert not Records(sweep.folder / "results").runs()


A_SWEEP, A_CELL = ["-m", "seed=0,1", "hydra.launcher.workers=2"], ["seed=0"]


@pytest.mark.parametrize(
    ("flags", "request_"),
    [
        (A_SWEEP, signal.SIGINT),
        (A_CELL, signal.SIGHUP),
        pytest.param(A_SWEEP, signal.SIGHUP, marks=pytest.mark.soak),
        pytest.param(A_CELL, signal.SIGINT, marks=pytest.mark.soak),
    ],
)
def test_what_is_in_training_is_kept_without_a_reader(flags, request_, sweeps: Sweeps, tmp_path: Path) -> None:
    endless = ["depth=2", "width=2", "optimizer.epochs=100000000", "device=cpu"]
    deed = Deed(TRAINING if "-m" in flags else STARTING, 1, lose_reader)
    sweep = sweeps.start(tmp_path / "run", [*flags, *endless], How(deeds=(deed,)))
    results = sweep.folder / "results"
    count = 2 if "-m" in flags else 1
    until(lambda: sum(len(run.training) for run in Records(results).runs()) == count, "all cells are in training")
    sweep.signal(request_, group=True)
    assert sweep.ended() == 130
    assert len(list((results / "checkpoints").glob("*.pt"))) == count
    assert [run.state for run in Records(results).runs()] == ["stopped"]
