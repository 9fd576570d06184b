"""How large a sweep may be, what is said of a long one, and the end of a sweep at its first failure."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store
from jumpstart_exp.sweep import runner
from jumpstart_exp.sweep.records import Records
from jumpstart_exp.sweep.runner import run_cell, run_sweep
from jumpstart_exp.sweep.stopping import FirstFailureError, Stop
from jumpstart_exp.sweep.workers import EngineSetup, Progress

HOURS_2 = 7200.0


def cell(seed: int = 0) -> Cell:
    return Cell(depth=2, width=3, seed=seed, method="relu", optimizer=OptimizerSpec(epochs=2))


class Pool:
    """Stands in for the workers: the cell of seed 1 fails; when it is told to end, one more has just finished."""

    def __init__(self) -> None:
        self.calls, self.was_stopped, self.last_words = 0, False, True

    def __call__(
        self, fleets: Sequence[Sequence[Cell]], setup: EngineSetup, workers: int, stop: Stop
    ) -> Generator[Progress | Result | None]:
        self.calls += 1
        cells = sorted((one for fleet in fleets for one in fleet), key=lambda one: one.seed)
        for one in cells:
            if stop:
                self.was_stopped = True
                if self.last_words:
                    yield self.outcome(one)
                return
            yield Progress(one, 1)
            yield self.outcome(one)

    def outcome(self, of: Cell) -> Result:
        if of.seed == 1:
            return Result(of, "failed", "eager", error="RuntimeError: no\nmore", traceback="…")
        return Result(of, "done", "eager", train_acc=Metric(0.5, 0.5, 1), epochs_run=2)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    made = Pool()
    monkeypatch.setattr(runner, "train_in_parallel", made)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., RunSettings]:
    return lambda **values: RunSettings(
        results_dir=str(tmp_path / "results"), data_dir=str(tmp_path), engine="eager", **values
    )


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell is estimated to take two hours."""
    from jumpstart_exp.engines.eager.engine import EagerEngine

    for engine in (EagerEngine, NativeEngine):
        monkeypatch.setattr(engine, "estimate_seconds", staticmethod(lambda _: HOURS_2))


CELLS = [cell(seed) for seed in range(4)]


def test_more_cells_than_are_allowed_are_refused_before_anything_is_written(pool, settings, tmp_path):
    with pytest.raises(SettingError) as caught:
        run_sweep(CELLS, settings(max_cells=3), 1)
    assert str(caught.value) == (
        "the sweep has 4 cells, more than max_cells=3 allows; "
        "nothing was trained, and dry_run=true shows what it would do"
    )
    assert (pool.calls, (tmp_path / "results").exists()) == (0, False)
    run_sweep(CELLS[:3], settings(max_cells=3), 1)
    assert pool.calls == 1


def test_more_hours_than_are_allowed_are_refused_before_anything_is_written(pool, slow, settings, tmp_path):
    with pytest.raises(SettingError) as caught:
        run_sweep(CELLS, settings(max_hours=3.9), 2)
    assert str(caught.value) == (
        "training takes about 4 h 00 min (2 at once), more than max_hours=3.9 allows; "
        "nothing was trained, and dry_run=true shows what it would do"
    )
    assert (pool.calls, (tmp_path / "results").exists()) == (0, False)
    run_sweep(CELLS, settings(max_hours=4), 2)
    assert pool.calls == 1


def test_what_is_stored_takes_no_hours(pool, slow, settings, tmp_path):
    Store(tmp_path / "results").write([pool.outcome(one) for one in CELLS[1:]])
    run_sweep(CELLS, settings(max_hours=2), 1)
    assert pool.calls == 1
    with pytest.raises(SettingError, match="max_cells=3"):  # which counts what was typed
        run_sweep(CELLS, settings(max_cells=3), 1)


def test_a_dry_run_shows_what_would_be_refused(pool, slow, settings, capsys):
    assert run_sweep(CELLS, settings(max_hours=1, max_cells=1, dry_run=True), 1) == {}
    said = capsys.readouterr().out
    assert "dry run" in said
    assert "without dry_run=true it is refused: the sweep has 4 cells, more than max_cells=1 allows" in said
    assert (
        "without dry_run=true it is refused: training takes about 8 h 00 min (1 at once), more than max_hours" in said
    )


def test_a_single_cell_has_its_hours_too(slow, settings, capsys):
    with pytest.raises(SettingError, match=r"training takes about 2 h 00 min \(1 at once\), more than max_hours=1"):
        run_cell(cell(), settings(max_hours=1, max_cells=1))
    run_cell(cell(), settings(max_hours=1, dry_run=True))
    assert "is refused: training takes about 2 h 00 min" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "is_said"), [(899.0, False), (901.0, True)])
def test_a_sweep_of_more_than_an_hour_says_how_to_see_what_it_would_do(
    pool, settings, capsys, monkeypatch, seconds, is_said
):
    from jumpstart_exp.engines.eager.engine import EagerEngine

    monkeypatch.setattr(EagerEngine, "estimate_seconds", staticmethod(lambda _: seconds))
    run_sweep(CELLS, settings(), 1)
    words = "this takes about 1 h 00 min (1 at once): dry_run=true shows what it would do, and trains nothing"
    assert (words in capsys.readouterr().out) == is_said


def test_the_command_line_says_how_many_it_would_have_been(answer, tmp_path):
    line = ["-m", "depth=1,2,...,20", "width=1,2,...,10", "method=relu,sep_up", "max_cells=300"]
    done = answer(*line)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the sweep has 400 cells (20 depth × 10 width × 2 method), more than max_cells=300 allows" in done.stderr
    assert not (tmp_path / "results").exists()
    few = answer(*line, "where=depth<3", "dry_run=true")
    assert few.returncode == 0 and "where keeps 40 of 400 cells" in few.stdout and "refused" not in few.stdout
    assert answer("-m", "depth=1,2", "max_hours=1,2").stderr.count("max_hours cannot be swept") == 1
    for name, value in (("max_cells", "0"), ("max_hours", "-0.5"), ("fail_fast", "2")):
        wrong = answer("depth=2", f"{name}={value}")
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and f"{name}={value} is not" in wrong.stderr


@pytest.mark.parametrize("is_asked_for", [False, True])
def test_the_first_failure_ends_a_sweep_if_that_is_asked_for(pool, settings, tmp_path, is_asked_for):
    if not is_asked_for:
        errors = run_sweep(CELLS, settings(), 1)
        assert [errors[one.key] is None for one in CELLS] == [True, False, True, True]
        return
    with pytest.raises(FirstFailureError) as caught:
        run_sweep(CELLS, settings(fail_fast=True), 1)
    assert pool.was_stopped
    stored = Store(tmp_path / "results").stored()
    # what had finished meanwhile is kept, too
    assert {one.seed: stored[one.key].status for one in CELLS if one.key in stored} == {
        0: "done",
        1: "failed",
        2: "done",
    }
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(
        "fail_fast=true ended the sweep: relu 2×3 seed 1 failed: RuntimeError: no; 3 of 4 cells are"
    )
    assert "go on from checkpoints with the same command; retry=failed tries the failed one again" in message
    (run,) = Records(tmp_path / "results").runs()
    assert run.state == "stopped"
    run_sweep(CELLS, settings(fail_fast=True), 1)  # the rest
    assert len(Store(tmp_path / "results").stored()) == 4


def test_an_earlier_failure_ends_nothing(pool, settings, tmp_path):
    Store(tmp_path / "results").write([pool.outcome(CELLS[1])])
    errors = run_sweep(CELLS, settings(fail_fast=True), 1)
    assert (errors[CELLS[1].key], pool.was_stopped) == ("RuntimeError: no\nmore", False)


def test_the_command_line_ends_at_the_first_failure_with_code_1(command, tmp_path):
    line = ["-m", "depth=2", "width=1000000,2", "optimizer.epochs=2", "engine=eager", "fail_fast=true"]
    done = command(*line, timeout=100)
    assert done.returncode == 1, done.stderr
    (message,) = [words for words in done.stderr.splitlines() if words.startswith("error: ")]
    assert message.startswith("error: fail_fast=true ended the sweep: sep_up 2×1000000 seed 0 failed: RuntimeError")
    assert 1000000 in Store(tmp_path / "results").cells()["width"].tolist()


def test_hydras_own_launchers_refuse_it(answer):
    done = answer("-m", "hydra/launcher=basic", "depth=2,3", "fail_fast=true")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "fail_fast=True is not allowed: it must be false for Hydra's own launchers" in done.stderr
    bounded = answer("-m", "hydra/launcher=basic", "depth=2,3", "max_cells=1")
    assert bounded.returncode == 2 and "the sweep has 2 cells (2 depth), more than max_cells=1" in bounded.stderr
    long = answer("-m", "hydra/launcher=basic", "depth=2,3", "optimizer.epochs=900000000000", "max_hours=1")
    assert long.returncode == 2 and "1 at once, a cell a job), more than max_hours=1 allows" in long.stderr
    assert replace(RunSettings(), fail_fast=True).fail_fast
