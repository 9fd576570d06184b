"""Checkpoints that `native` and `stacked` cannot use are named, left alone, and cost the cell nothing but time."""

import hashlib
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import what_was_computed
from keeping import State, kill_after, path_of, state_of, train_kept

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines import ENGINES, Engine
from jumpstart_exp.engines.checkpoint import Checkpoints, CheckpointWarning
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.stacked import engine as stacked
from jumpstart_exp.result import CENSUS, Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

EPOCHS, KEPT = 20, 7
CELL = Cell(
    dataset=Moons(n_samples=24),
    depth=3,
    width=4,
    network=NetworkSpec(norm="batch"),
    penalty=PenaltySpec(kind="UP", weight=0.1),
    optimizer=OptimizerSpec(epochs=EPOCHS),
)
DATA = load(CELL.dataset, Path("no files needed"))


@pytest.fixture(params=[name for name in ("native", "stacked") if name != "native" or instruction_sets()])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Engine]:
    monkeypatch.setattr(stacked, "_LOOK_EVERY", 0.0)
    engine = ENGINES[request.param]
    return lambda checkpoints: engine(curve_every=3, checkpoints=checkpoints)


@pytest.fixture
def always(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", 0.0)


FILES: dict[str, bytes] = {}
"""Of every engine the file that it leaves after the epochs that are kept."""

RESULTS: dict[str, Result] = {}
"""Of every engine what an uninterrupted training ends with."""


def keep(make: Callable[..., Engine], checkpoints: Checkpoints) -> None:
    """The checkpoint of a training that was killed."""
    name, path = make(None).name, path_of(checkpoints, CELL)
    if name not in FILES:
        train_kept(make(checkpoints), [CELL], DATA, kill_after(KEPT))
        FILES[name] = path.read_bytes()
    checkpoints.folder.mkdir(exist_ok=True)
    path.write_bytes(FILES[name])


def uninterrupted(make: Callable[..., Engine]) -> Result:
    name = make(None).name
    if name not in RESULTS:
        found, _ = train_kept(make(None), [CELL], DATA)
        RESULTS[name] = what_was_computed(found[CELL.key])
    return RESULTS[name]


def begins_anew(make: Callable[..., Engine], checkpoints: Checkpoints, reason: str) -> None:
    """One warning names the file and the reason; the file is left alone; the result is the uninterrupted one's."""
    path = path_of(checkpoints, CELL)
    before = path.read_bytes()
    epochs: list[int] = []

    def note(key: str, state: State) -> bool:
        epochs.append(state["epochs"])
        return False

    with pytest.warns(CheckpointWarning) as caught:
        found, _ = train_kept(make(checkpoints), [CELL], DATA, note)
    (warning,) = caught
    message = str(warning.message)
    assert str(path) in message and reason in message and "\n" not in message
    assert path.read_bytes() == before
    assert epochs == list(range(1, EPOCHS))
    assert what_was_computed(found[CELL.key]) == uninterrupted(make)


def put(name: str, where: Any, value: float) -> Callable[[State], None]:
    """Another number in a tensor."""

    def changed(own: torch.Tensor) -> torch.Tensor:
        own = own.clone()
        own[where] = value
        return own

    return instead(name, changed)


def instead(name: str, value: Any) -> Callable[[State], None]:
    """Another value, or one made of what is there, at a dotted name in the state's tree."""
    *branches, leaf = name.split(".")

    def spoil(state: State) -> None:
        for branch in branches:
            state = state[branch]
        state[leaf] = value(state[leaf]) if callable(value) else value

    return spoil


HOSTILE: dict[str, Callable[[State], None]] = {
    "one parameter fewer": instead("network.parameters", lambda own: own[:-1].clone()),
    "one parameter more": instead("network.parameters", lambda own: own[[0, *range(len(own))]]),
    "no moments": instead("optimizer", {}),
    "one moment": lambda state: state["optimizer"].pop("exp_avg_sq"),
    "a moment too many": instead("optimizer", lambda own: {**own, "step": own["exp_avg"]}),
    "a short moment": instead("optimizer.exp_avg", lambda own: own[:-1].clone()),
    "another method's": instead("method", {"shift": torch.zeros(1)}),
    "parameters in two rows": instead("network.parameters", lambda own: torch.stack([own, own])),
    "another precision": instead("network.parameters", lambda own: own.double()),
    "whole numbers": instead("network.parameters", lambda own: own.long()),
    "no memory": instead("network.parameters", lambda own: torch.empty_like(own, device="meta")),
    "a list": instead("network.parameters", lambda own: own.tolist()),
    "nothing": instead("network.parameters", None),
    "a parameter that is no number": put("network.parameters", 3, math.nan),
    "an infinite parameter": put("network.parameters", 0, -math.inf),
    "no statistics": instead("network.running", lambda own: own[..., :0].clone()),
    "statistics of another depth": instead("network.running", lambda own: own[:, :2].clone()),
    "three metrics": instead("metrics", lambda own: own[:3].clone()),
    "an infinite best": put("metrics", (1, 1), math.inf),
    "a best epoch that is no number": put("metrics", (0, 2), math.nan),
    "a best epoch below 0": put("metrics", (0, 2), -1),
    "a best epoch to come": put("metrics", (0, 2), KEPT + 1),
    "half a best epoch": put("metrics", (0, 2), 1.5),
    "census of one layer": instead("census_start", lambda own: own[:, :1].clone()),
    "a share of dead points beyond 1": instead("dead_at_some_layer_start", 1.5),
    "half rows": instead("curve", lambda own: own[:, :5].clone()),
    "no rows at all": instead("curve", torch.tensor(0.0, dtype=torch.float64)),
    "more rows than epochs": instead("curve", lambda own: own[:1].repeat(KEPT + 1, 1)),
    "rows in another order": instead("curve", lambda own: own.flip(0)),
    "a row of epoch 0": put("curve", (0, 0), 0),
    "a row of an epoch to come": put("curve", (-1, 0), KEPT + 1),
    "a row of no epoch": put("curve", (0, 0), math.nan),
    "an infinite loss": put("curve", (0, 3), math.inf),
    "half of what is pending": instead("pending", lambda own: torch.ones(1, dtype=torch.float64)),
    "epochs that are no number": instead("epochs", math.nan),
    "infinite epochs": instead("epochs", math.inf),
    "no epoch": instead("epochs", 0),
    "epochs below 0": instead("epochs", -1),
    "all epochs": instead("epochs", EPOCHS),
    "epochs beyond": instead("epochs", 2**80),
    "a text for epochs": instead("epochs", "seven"),
    "seconds that are no number": instead("seconds", math.nan),
    "seconds below 0": instead("seconds", -1.0),
    "infinite seconds": instead("seconds", math.inf),
    "no day": instead("started", "yesterday"),
    "a number for the day": instead("started", 5),
    "a text for the penalty": instead("penalty_start", "much"),
    "another engine's": instead("engine", "eager"),
    "no engine's": lambda state: state.pop("engine"),
    **{
        f"without {name}": lambda state, name=name: state.pop(name)
        for name in (
            "epochs",
            "network",
            "method",
            "optimizer",
            "metrics",
            "penalty_start",
            "census_start",
            "curve",
            "pending",
        )
    },
    "without anything": lambda state: state.clear(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_state_that_no_training_leaves_is_named_and_the_cell_begins_anew(
    name: str, make: Callable[..., Engine], always: Checkpoints
) -> None:
    keep(make, always)
    state = state_of(always, CELL)
    HOSTILE[name](state)
    always.save(CELL.key, state)
    begins_anew(make, always, "")


def test_a_checkpoint_of_an_older_version_is_refused_by_name(make: Callable[..., Engine], always: Checkpoints) -> None:
    keep(make, always)
    path = path_of(always, CELL)
    torch.save({"version": 2, "key": CELL.key, "state": state_of(always, CELL)}, path)
    path.write_bytes(hashlib.sha256(path.read_bytes()).digest() + path.read_bytes())
    begins_anew(make, always, "it is of version 2 of checkpoints, this program's is 3")


def test_what_is_sound_is_taken(make: Callable[..., Engine], always: Checkpoints) -> None:
    """The counterpart: the same way with nothing spoilt."""
    keep(make, always)
    always.save(CELL.key, state_of(always, CELL))
    found, progress = train_kept(make(always), [CELL], DATA)
    assert progress[CELL.key][:2] == [0, KEPT]
    assert what_was_computed(found[CELL.key]) == uninterrupted(make)


def test_a_checkpoint_from_before_dead_points_were_counted_at_any_layer_is_taken(
    make: Callable[..., Engine], always: Checkpoints
) -> None:
    """Days of training are not lost to a column that joined: what was not counted is not known."""
    keep(make, always)
    state = state_of(always, CELL)
    del state["dead_at_some_layer_start"]
    state["census_start"] = state["census_start"][: len(CENSUS)]
    always.save(CELL.key, state)
    found, progress = train_kept(make(always), [CELL], DATA)
    assert progress[CELL.key][:2] == [0, KEPT]
    start, last = found[CELL.key].census_start, found[CELL.key].census_last
    assert start is not None and start.dead_at_some_layer is None and start.firing_rate is None
    assert start.dead_units is not None
    assert last is not None and last.dead_at_some_layer is not None


def test_another_engines_checkpoint_is_not_used(make: Callable[..., Engine], always: Checkpoints) -> None:
    own = make(None).name
    for other in ENGINES:
        if other == own or (other == "native" and not instruction_sets()):
            continue
        path_of(always, CELL).unlink(missing_ok=True)  # what the engine before left
        engine = ENGINES[other](checkpoints=always)
        train_kept(engine, [CELL], DATA, lambda key, state: state.get("epochs", state.get("steps")) == KEPT)
        begins_anew(make, always, f"it is of the engine {other}, this is {own}")


class Runs:
    def __reduce__(self) -> Any:
        return Path.touch, (Path(os.environ["RAN"]),)


@pytest.mark.parametrize("damage", ["code", "a bit", "half", "empty", "no state", "a list for a state"])
def test_a_damaged_file_is_named_and_runs_no_code(
    damage: str, make: Callable[..., Engine], always: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    keep(make, always)
    path = path_of(always, CELL)
    content = path.read_bytes()
    if damage == "code":
        pickled = pickle.dumps(Runs(), 2)
        content = hashlib.sha256(pickled).digest() + pickled
    elif damage == "a bit":
        content = content[:500] + bytes([content[500] ^ 1]) + content[501:]
    elif damage == "half":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = b""
    else:
        document: dict[str, Any] = {"version": 3, "key": CELL.key}
        if damage == "a list for a state":
            document["state"] = [1, 2]
        torch.save(document, path)
        content = hashlib.sha256(path.read_bytes()).digest() + path.read_bytes()
    path.write_bytes(content)
    begins_anew(make, always, "")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_cannot_be_written_does_not_cost_the_cell(
    make: Callable[..., Engine], always: Checkpoints
) -> None:
    always.folder.write_text("a file in place of the folder")
    with pytest.warns(CheckpointWarning, match="takes no checkpoint"):
        found, _ = train_kept(make(always), [CELL], DATA)
    assert what_was_computed(found[CELL.key]) == uninterrupted(make)
