"""Trainings that are interrupted and go on: what comes out is what an uninterrupted one gives, to the bit."""

import dataclasses
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.data.base import ImageSpec
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines import checkpoint as checkpoint_module
from jumpstart_exp.engines.checkpoint import Checkpoints, CheckpointWarning
from jumpstart_exp.engines.eager import training as training_module
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.result import Result
from jumpstart_exp.settings import setting
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store
from jumpstart_exp.sweep import runner

REAL = Path(os.environ.get("JUMPSTART_DATA", Path(__file__).parents[2] / "data")).resolve()
RUN_DEPENDENT = ["seconds", "peak_memory_bytes", "started", "labels"]


class Killed(BaseException):
    """The process ends here."""


@dataclass(frozen=True)
class Pictures(ImageSpec):
    """13 random images to train on, 7 that validate: an epoch in batches of 5 ends with one of 3."""

    name: str = setting("pictures")
    classes: ClassVar[int] = 3
    features: ClassVar[int] = 60
    image: ClassVar[tuple[int, int, int] | None] = (2, 6, 5)

    def full_sizes(self) -> tuple[int, int]:
        return 13, 7


EPOCHS, BATCHES = 4, 3


def cell_of(**values: Any) -> Cell:
    network = NetworkSpec(**{"layout": "cnn", **values.pop("network", {})})
    penalty = PenaltySpec(**{"kind": "UP", "weight": 0.05, **values.pop("penalty", {})})
    optimizer = OptimizerSpec(**{"epochs": EPOCHS, "batch_size": 5, "lr": 0.01, **values.pop("optimizer", {})})
    dropout = DropoutSpec(**values.pop("dropout", {}))
    given = {"dataset": Pictures(), "depth": 3, "width": 4, "seed": 5, **values}
    return Cell(network=network, penalty=penalty, optimizer=optimizer, dropout=dropout, **given)


CELLS = {
    "single, channel": cell_of(),
    "shared, position": cell_of(penalty={"ties": "shared", "scope": "position"}),
    "random ties": cell_of(penalty={"ties": "random", "balance": 0.7, "weight": 1.0}, network={"init": "zero"}),
    "batch norm": cell_of(network={"norm": "batch"}, penalty={"kind": "none"}),
    "pooled": cell_of(network={"head": "max_avg_pool"}),
    "augmented": cell_of(dataset=Pictures(augment="flip_crop")),
    "dropout": cell_of(dropout={"rate": 0.5, "anneal_epochs": 3}),
    "ε of Keras": cell_of(optimizer={"eps_rule": "keras", "eps": 1e-4}),
    "adamw, clipped, cosine": cell_of(
        optimizer={"name": "adamw", "weight_decay": 0.1, "clip_norm": 0.05, "schedule": "cosine", "warmup_steps": 5}
    ),
    "sgd": cell_of(optimizer={"name": "sgd"}),
    "sgd, Nesterov, falling": cell_of(
        optimizer={"name": "sgd", "momentum": 0.9, "nesterov": True, "schedule": "step", "step_every": 2}
    ),
    "rmsprop, momentum": cell_of(optimizer={"name": "rmsprop", "momentum": 0.5}),
    "rprop": cell_of(optimizer={"name": "rprop", "lr": 1e-3}),
    "rows, some layers": cell_of(
        optimizer={"row_penalty": 0.1, "row_limit": 0.5, "row_layers": [1, 4], "trained_layers": [1, 3, 4]}
    ),
    "λ falls": cell_of(penalty={"schedule": "cosine", "upper_bound": 1.2, "aggregate": "balanced"}),
    "decay of the penalty alone": cell_of(task_loss=False, optimizer={"weight_decay": 0.1}),
    "in order": cell_of(optimizer={"shuffle": False}),
    "penalty alone": cell_of(task_loss=False),
    "bfloat16": cell_of(precision="bf16"),
    "float64": cell_of(precision="float64"),
    "MLP": cell_of(dataset=Moons(n_samples=16), network={"layout": "mlp", "norm": "batch"}),
    "full batch": cell_of(optimizer={"batch_size": None, "epochs": 12}),
    "diverging": cell_of(optimizer={"lr": 1e20}),
}
"""Every one of 12 steps, but for the one that diverges before."""


def data_of(cell: Cell) -> Data:
    if not isinstance(cell.dataset, Pictures):
        return load(cell.dataset, Path("no files needed"))
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.integers(0, 256, (20, 2, 6, 5), dtype=np.uint8))
    y = torch.from_numpy(rng.permutation(np.arange(20) % 3))
    return Data(x[:13], y[:13], x[13:], y[13:], (0.4, 0.5), (0.2, 0.3))


@dataclass
class Trained:
    """What became of a training: its result, its weights at the end and how many steps it took."""

    result: Result | None
    weights: dict[str, torch.Tensor]
    steps: int

    def computed(self) -> Result:
        """The result without what a clock or the process says."""
        assert self.result is not None
        return dataclasses.replace(self.result, seconds=0.0, started="", peak_memory_bytes=None)


Kill = Callable[[float, str], None]
"""Called with the steps or epochs done and where: "before" or "after" a step, or where an "epoch" is reported."""


def train(cell: Cell, checkpoints: Checkpoints | None = None, kill: Kill | None = None) -> Trained:
    """Train with the reference engine; `kill` may end the process wherever it is called."""
    trained = Trained(None, {}, 0)
    step, result = Training.step, Training.result

    def noting_step(self: Training, total: torch.Tensor) -> None:
        if kill is not None:
            kill(trained.steps, "before")
        step(self, total)
        trained.steps += 1
        if kill is not None:
            kill(trained.steps, "after")

    def noting_result(self: Training, engine: str) -> Result:
        trained.weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        return result(self, engine)

    def taken(found: Result) -> None:
        trained.result = found

    def progress(_: Cell, epochs: float) -> None:
        if kill is not None:
            kill(epochs, "epoch")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "step", noting_step)
        patch.setattr(Training, "result", noting_result)
        try:
            EagerEngine(checkpoints=checkpoints).train([cell], data_of(cell), on_result=taken, on_progress=progress)
        except Killed:
            trained.result = None
    return trained


@cache
def whole(cell: Cell) -> Trained:
    """The uninterrupted training that all others of the cell are compared with."""
    return train(cell)


def killed(count: float, where: str) -> Kill:
    def kill(done: float, place: str) -> None:
        if (done, place) == (count, where):
            raise Killed

    return kill


def check_same(found: Trained, expected: Trained) -> None:
    assert found.computed() == expected.computed()
    assert found.weights.keys() == expected.weights.keys() and found.weights
    for name, value in expected.weights.items():
        assert torch.equal(found.weights[name], value), name


def path_of(checkpoints: Checkpoints, cell: Cell) -> Path:
    return checkpoints.folder / f"{cell.key}.pt"


@pytest.fixture
def always(tmp_path: Path) -> Checkpoints:
    """A checkpoint after every step."""
    return Checkpoints(tmp_path / "checkpoints", 0.0)


# Going on


@pytest.mark.parametrize("name", [name for name in CELLS if name != "diverging"])
def test_what_is_interrupted_ends_as_if_it_were_not(name: str, always: Checkpoints) -> None:
    """In the first epoch, in the second, between two, where a step's checkpoint is not written, before the last."""
    cell, expected = CELLS[name], whole(CELLS[name])
    assert expected.steps == 12 and expected.computed().status == "done"
    for count, where, kept in (
        (2, "before", 2),
        (3, "before", 5),
        (1, "before", 6),
        (3, "after", 8),
        (3, "before", 11),
    ):
        leg = train(cell, always, killed(count, where))
        assert leg.result is None and leg.steps == count
        assert read(path_of(always, cell))["state"]["steps"] == kept
    again = train(cell, always)
    check_same(again, expected)
    assert again.steps == 1


@pytest.mark.parametrize("count", [2, 5, 6, 11])
@pytest.mark.parametrize("name", ["random ties", "augmented"])
def test_what_is_interrupted_once_ends_as_if_it_were_not(name: str, count: int, always: Checkpoints) -> None:
    cell = CELLS[name]
    assert train(cell, always, killed(count, "before")).result is None
    again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == 12 - count


@pytest.mark.parametrize(("epochs", "left"), [(1, 9), (3, 3), (4, 0)])
@pytest.mark.parametrize("name", ["single, channel", "batch norm", "dropout", "MLP"])
def test_interrupted_where_an_epoch_is_reported(name: str, epochs: int, left: int, always: Checkpoints) -> None:
    """The epoch's last step is in the checkpoint, its validation is not: it is done again."""
    cell = CELLS[name]
    assert train(cell, always, killed(epochs, "epoch")).result is None
    again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == left


@pytest.mark.parametrize(("batches", "left"), [(1, 8), (2, 7)])
def test_interrupted_where_progress_within_an_epoch_is_reported(
    batches: int, left: int, always: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "_TOLD_EVERY", -1.0)
    cell = CELLS["single, channel"]
    assert train(cell, always, killed(1 + batches / BATCHES, "epoch")).result is None
    again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == left


def test_interrupted_again_and_again(always: Checkpoints) -> None:
    cell = CELLS["dropout"]
    steps = [train(cell, always, killed(count, "before")).steps for count in (1, 1, 4, 2, 3)]
    again = train(cell, always)
    check_same(again, whole(cell))
    assert [*steps, again.steps] == [1, 1, 4, 2, 3, 1]


def test_before_the_first_checkpoint_there_is_nothing_to_go_on_from(always: Checkpoints) -> None:
    cell = CELLS["single, channel"]
    train(cell, always, killed(0, "before"))
    assert not always.folder.exists()
    again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == 12


@pytest.mark.parametrize("count", [1, 2])
def test_a_training_that_diverges_does_so_in_the_same_epoch(count: int, always: Checkpoints) -> None:
    cell = CELLS["diverging"]
    expected = whole(cell)
    assert expected.computed().status == "diverged"
    train(cell, always, killed(count, "before"))
    again = train(cell, always)
    assert again.computed() == expected.computed()
    assert again.steps == expected.steps - count


def test_penalty_and_census_of_an_earlier_epoch_are_kept(always: Checkpoints) -> None:
    """Every second of 25 epochs ends with the whole set, the last one too: the curve has rows without a penalty."""
    cell = cell_of(optimizer={"epochs": 25})
    for count in (10, 30, 34):  # the 10th, 40th and 74th step
        assert train(cell, always, killed(count, "before")).steps == count
    again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == 1
    assert {row.penalty is None for row in again.computed().curve} == {True, False}


def test_a_finished_training_that_was_not_stored_takes_no_step(always: Checkpoints) -> None:
    cell = CELLS["pooled"]
    expected = train(cell, always)
    again = train(cell, always)
    check_same(again, expected)
    assert again.steps == 0


def test_checkpoints_change_no_result(always: Checkpoints) -> None:
    for name, cell in CELLS.items():
        if name == "diverging":
            assert train(cell, always).computed() == whole(cell).computed()
        else:
            check_same(train(cell, always), whole(cell))


def test_each_cell_goes_on_from_its_own(always: Checkpoints) -> None:
    cells = [CELLS["single, channel"], CELLS["pooled"]]
    for cell, count in zip(cells, (3, 7), strict=True):
        train(cell, always, killed(count, "before"))
    for cell, left in zip(cells, (9, 5), strict=True):
        again = train(cell, always)
        check_same(again, whole(cell))
        assert again.steps == left


# Clocks


class Clock:
    """Stands still unless it is moved; what it shows is what training and checkpoints see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        fake = SimpleNamespace(perf_counter=lambda: self.seconds, monotonic=lambda: self.seconds)
        monkeypatch.setattr(training_module, "time", fake)
        monkeypatch.setattr(checkpoint_module, "time", fake)
        monkeypatch.setattr(training_module, "datetime", SimpleNamespace(now=self.now))

    def now(self, zone: Any) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_seconds_add_up_and_the_start_is_the_first(always: Checkpoints, clock: Clock) -> None:
    cell = CELLS["single, channel"]

    def slow(count: int) -> Kill:
        def kill(done: float, where: str) -> None:
            if where == "before" and done == count:
                clock.seconds += 30.0  # after the last checkpoint: lost
                raise Killed
            clock.seconds += 7.0 * (where == "after")

        return kill

    train(cell, always, slow(4))
    clock.seconds += 50_000.0
    train(cell, always, slow(3))
    clock.seconds += 50_000.0
    result = train(cell, always, slow(99)).result
    assert result is not None
    assert result.seconds == pytest.approx(12 * 7.0)
    assert result.started == "2026-01-01T00:16:40+00:00"


@pytest.mark.parametrize(
    ("minutes", "written_after"),
    [
        (0.0, list(range(1, 13))),
        (0.5, [5, 10]),  # 35 s, and 35 s after that
        (0.35, [3, 6, 9, 12]),  # 21 s to the second
        (1.0, [9]),
        (10.0, []),
    ],
)
def test_minutes_say_how_often(
    minutes: float, written_after: list[int], tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step takes 7 s."""
    saved: list[int] = []
    save = Checkpoints.save

    def noting(self: Checkpoints, key: str, state: dict[str, Any]) -> None:
        saved.append(state["steps"])
        save(self, key, state)

    def slow(done: float, where: str) -> None:
        clock.seconds += 7.0 * (where == "after")

    monkeypatch.setattr(Checkpoints, "save", noting)
    cell, checkpoints = CELLS["single, channel"], Checkpoints(tmp_path / "checkpoints", minutes)
    train(cell, checkpoints, slow)
    assert saved == written_after
    assert checkpoints.folder.exists() == bool(written_after)


# Files that cannot be used: SHA-256 of the rest, then what torch.save wrote


def read(path: Path) -> Any:
    return torch.load(io.BytesIO(path.read_bytes()[32:]), weights_only=True)


def sealed(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def write(path: Path, document: object) -> None:
    content = io.BytesIO()
    torch.save(document, content)
    path.write_bytes(sealed(content.getvalue()))


def one_bit_off(path: Path, _: Checkpoints) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path, _: Checkpoints) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_by_a_byte(path: Path, _: Checkpoints) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path, _: Checkpoints) -> None:
    path.write_bytes(b"")


def zeros(path: Path, _: Checkpoints) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def of_another_cell(path: Path, checkpoints: Checkpoints) -> None:
    other = dataclasses.replace(CELLS["single, channel"], seed=6)
    train(other, checkpoints, killed(2, "before"))
    path_of(checkpoints, other).replace(path)


def of_another_version(path: Path, _: Checkpoints) -> None:
    write(path, {**read(path), "version": 2})


def not_a_checkpoint(path: Path, _: Checkpoints) -> None:
    write(path, [1, 2, 3])


class Runs:
    def __reduce__(self) -> Any:
        return Path.touch, (Path(os.environ["RAN"]),)


def running_code(path: Path, _: Checkpoints) -> None:
    path.write_bytes(sealed(pickle.dumps(Runs(), 2)))


DAMAGES = [
    one_bit_off,
    cut,
    cut_by_a_byte,
    empty,
    zeros,
    of_another_cell,
    of_another_version,
    not_a_checkpoint,
    running_code,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_cannot_be_used_is_named_and_the_cell_begins_anew(
    damage: Callable[[Path, Checkpoints], None], always: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    cell = CELLS["single, channel"]
    train(cell, always, killed(5, "before"))
    path = path_of(always, cell)
    damage(path, always)
    with pytest.warns(CheckpointWarning) as caught:
        again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == 12
    (warning,) = caught
    assert str(path) in str(warning.message) and "\n" not in str(warning.message)
    assert not (tmp_path / "ran").exists()
    assert train(cell, always).steps == 0, "the next one can be used"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_cannot_be_used_is_left_alone(
    damage: Callable[[Path, Checkpoints], None], always: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    cell = CELLS["single, channel"]
    train(cell, always, killed(5, "before"))
    path = path_of(always, cell)
    damage(path, always)
    before = path.read_bytes()
    with pytest.warns(CheckpointWarning):
        assert always.load(cell.key) is None
    assert path.read_bytes() == before


def lacking(name: str) -> Callable[[dict[str, Any]], None]:
    def spoil(state: dict[str, Any]) -> None:
        del state[name]

    return spoil


def with_other_moments(state: dict[str, Any]) -> None:
    moments = state["optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:1].clone()


def without_moments(state: dict[str, Any]) -> None:
    del state["optimizer"]["state"][1]


UNFIT: dict[str, Callable[[dict[str, Any]], None]] = {
    "no curve": lacking("curve"),
    "no engine": lacking("engine"),
    "another engine": lambda state: state.update(engine="native"),
    "moments of another shape": with_other_moments,
    "no moments of a parameter": without_moments,
    "steps that are no number": lambda state: state.update(steps=float("nan")),
    "epochs below 0": lambda state: state.update(epochs_run=-1),
    "epochs beyond the last": lambda state: state.update(epochs_run=EPOCHS + 1, steps=(EPOCHS + 1) * BATCHES),
    "a batch beyond the last": lambda state: state.update(batches_done=BATCHES + 1),
    "steps of another epoch": lambda state: state.update(epochs_run=0),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_state_that_does_not_fit_is_named_and_the_cell_begins_anew(name: str, always: Checkpoints) -> None:
    cell = CELLS["single, channel"]
    train(cell, always, killed(5, "before"))
    state = read(path_of(always, cell))["state"]
    UNFIT[name](state)
    always.save(cell.key, state)
    with pytest.warns(CheckpointWarning, match=cell.key):
        again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == 12


def test_where_it_goes_on_is_told_at_once(always: Checkpoints) -> None:
    """After the 0 with which every cell begins, with the share of the epoch in training."""
    cell, told = CELLS["single, channel"], list[float]()
    train(cell, always, killed(5, "before"))
    train(cell, always, lambda done, where: told.append(done) if where == "epoch" else None)
    assert told[:3] == [0, 1 + 2 / BATCHES, 2]


def test_a_checkpoint_that_cannot_be_written_does_not_cost_the_cell(always: Checkpoints) -> None:
    cell = CELLS["single, channel"]
    always.folder.write_text("a file in place of the folder")
    with pytest.warns(CheckpointWarning) as caught:
        found = train(cell, always)
    check_same(found, whole(cell))
    assert all(str(always.folder) in str(warning.message) for warning in caught)
    assert not any("\n" in str(warning.message) for warning in caught)


def test_a_stray_temporary_file_does_no_harm(always: Checkpoints) -> None:
    cell = CELLS["single, channel"]
    train(cell, always, killed(5, "before"))
    stray = always.folder / f".{cell.key}.0123456789abcdef.tmp"
    stray.write_bytes(path_of(always, cell).read_bytes()[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == 7


def test_a_flipped_bit_is_named_and_the_file_left_alone(always: Checkpoints) -> None:
    always.save("key", {"numbers": torch.arange(100)})
    path = always.folder / "key.pt"
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), 8 * len(whole) // 100):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.warns(CheckpointWarning, match=r"key\.pt cannot be used.*damaged"):
            assert always.load("key") is None
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    function: str, always: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = CELLS["single, channel"]
    calls = 0
    real = getattr(os, function)

    def dying(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, function, dying)
        assert train(cell, always).steps == 6
    again = train(cell, always)
    check_same(again, whole(cell))
    assert again.steps == 7


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    always: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(descriptor: int) -> None:
        happened.append(("flushed", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def noting_replace(source: Path, target: Path) -> None:
        happened.append(("named", source.stat().st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    always.save("key", {"numbers": torch.arange(1000)})
    size = (always.folder / "key.pt").stat().st_size
    assert happened == [("flushed", size), ("named", size)] and size > 8000
    assert [path.name for path in always.folder.iterdir()] == ["key.pt"]


# Removing them


def test_only_what_is_given_is_removed(always: Checkpoints) -> None:
    always.remove({"nothing is there yet"})
    assert not always.folder.exists()
    for key in ("a", "b", "ab", "c"):
        always.save(key, {})
    others = [always.folder / name for name in (".b.0123.tmp", "a.txt", "a")]
    (always.folder / ".a.0123.tmp").write_text("what a kill left")
    for path in others:
        path.write_text("not a checkpoint")
    always.remove({"a", "c", "d"})
    assert {path.name for path in always.folder.iterdir()} == {"b.pt", "ab.pt", *(path.name for path in others)}
    always.remove(frozenset())
    assert always.load("b") == always.load("ab") == {}


def test_a_cell_that_failed_and_is_tried_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker was killed, for want of memory perhaps; a finished cell's checkpoint is of no use."""
    cells = [cell_of(dataset=Moons(), network={"layout": "mlp"}, seed=seed) for seed in (0, 1)]
    Store(tmp_path).write([Result(cells[0], "failed", "eager", error="killed"), Result(cells[1], "done", "eager")])
    checkpoints = Checkpoints(tmp_path / "checkpoints", 10.0)
    for cell in cells:
        checkpoints.save(cell.key, {})
    there: list[Path] = []

    def train_nothing(*_: Any) -> Iterator[Result]:
        there.extend(checkpoints.folder.iterdir())
        yield Result(cells[0], "done", "eager")

    monkeypatch.setattr(runner, "train_in_parallel", train_nothing)
    runner.run_sweep(cells, RunSettings(results_dir=str(tmp_path), retry="failed"), 1)
    assert there == [path_of(checkpoints, cells[0])]
    assert list(checkpoints.folder.iterdir()) == []


# A sweep that is killed


def real_mnist() -> Path:
    """The folder of the published files; on the machine that decides they have to be there."""
    if not (REAL / "MNIST" / "raw").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no mnist in {REAL}")
        pytest.skip(f"no mnist in {REAL}")
    return REAL


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `python -m jumpstart_exp`; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "jumpstart_exp", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(holds: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def alive(group: int) -> bool:
    """Whether a process of the group still runs: a worker ends with its parent, but not at once."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
@pytest.mark.soak
def test_a_sweep_of_cnns_that_is_killed_goes_on_within_its_cells(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    sweep = ["-m", "dataset=mnist", f"data_dir={real_mnist()}", "dataset.n_train=512", "dataset.n_val=100"]
    sweep += ["method=sep_up", "seed=0,1", "depth=3", "width=4", "penalty.weight=1e-4", "optimizer.epochs=40"]
    sweep += ["optimizer.batch_size=64", "hydra.launcher.workers=2", "device=cpu", "checkpoint_minutes=0.001"]

    process = start(*sweep)
    folder = tmp_path / "results" / "checkpoints"
    until(lambda: len(list(folder.glob("*.pt"))) == 2, "both cells have a checkpoint")
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not alive(process.pid), "the workers end with their parent", 30)
    assert Store(tmp_path / "results").stored() == {}, "both cells were in training at the kill"
    kept = {path.stem: read(path)["state"] for path in folder.glob("*.pt")}
    assert all(0 < state["steps"] < 40 * 8 for state in kept.values())

    restarted = datetime.now(UTC)
    again = start(*sweep)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert "2 cells: 0 stored in results, 2 to train" in output
    assert list(folder.glob("*.pt")) == []
    found = Store(tmp_path / "results").cells().set_index("key")
    for key, state in kept.items():
        assert found["started"][key] == state["started"]
        assert datetime.fromisoformat(found["started"][key]) < restarted, "it did not begin anew"
        assert found["seconds"][key] > state["seconds"]

    optimizer = OptimizerSpec(lr=0.001, epochs=40, batch_size=64)
    penalty, network = PenaltySpec("UP", 1e-4), NetworkSpec("cnn")
    cells = [
        Cell(Mnist(n_train=512, n_val=100), 3, 4, network, penalty, optimizer=optimizer, seed=seed, method="sep_up")
        for seed in (0, 1)
    ]
    assert {cell.key for cell in cells} == set(kept)
    whole: list[Result] = []
    EagerEngine().train(
        cells, load(cells[0].dataset, REAL), on_result=whole.append, on_progress=lambda cell, epochs: None
    )
    Store(tmp_path / "whole").write(whole)
    tables = []
    for name in ("results", "whole"):
        store = Store(tmp_path / name)
        tables.append((store.cells().drop(columns=RUN_DEPENDENT).sort_values("key", ignore_index=True), store.curves()))
    for table, expected in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(table, expected, check_exact=True)
    assert set(tables[0][0]["status"]) == {"done"} and len(tables[0][1]) == 2 * 40
