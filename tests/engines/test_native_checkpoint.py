"""The C++ engine's trainings that are interrupted and go on: to the bit what an uninterrupted one gives."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract import Case, cloud, train_one, what_was_computed
from keeping import Killed, State, drifting_away, kill_after, same, state_of, train_kept

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.native import exchange
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.reset import ResetSpec

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")

EPOCHS = 30
BATCH, CONV = NetworkSpec(norm="batch"), NetworkSpec(layout="conv2x1")
UP = PenaltySpec(kind="UP", weight=0.05, balance=0.51)


def cell_of(**fields: Any) -> Cell:
    given = {"dataset": cloud(21, 5), "depth": 4, "width": 5, "optimizer": OptimizerSpec(epochs=EPOCHS), "seed": 3}
    return Cell(**{**given, **fields})


CELLS = {
    "relu": cell_of(),
    "float64": cell_of(precision="float64", penalty=UP),
    "batch norm": cell_of(network=BATCH),
    "batch norm, float64": cell_of(network=dataclasses.replace(BATCH, norm_momentum=0.3), precision="float64"),
    "dropout": cell_of(dropout=DropoutSpec(0.5, 20), penalty=UP),
    "sep_up": cell_of(penalty=UP),
    "sep_l": cell_of(penalty=PenaltySpec(kind="L", weight=0.1, aggregate="sum_sq")),
    "l2 under batch norm": cell_of(penalty=dataclasses.replace(UP, aggregate="l2"), network=BATCH),
    "random ties": cell_of(
        penalty=dataclasses.replace(UP, ties="random"), network=NetworkSpec(init="zero"), dropout=DropoutSpec(0.9, 1000)
    ),
    "shared ties": cell_of(penalty=dataclasses.replace(UP, ties="shared"), network=NetworkSpec(init="zero")),
    "2×1, batch norm, a pair a position": cell_of(
        penalty=dataclasses.replace(UP, scope="position", ties="random"),
        network=NetworkSpec(layout="conv2x1", norm="batch"),
        dropout=DropoutSpec(0.3, 12),
    ),
    "2×1 as published": cell_of(
        penalty=dataclasses.replace(UP, scope="position", ties="shared", aggregate="sum_sq"),
        network=CONV,
        optimizer=OptimizerSpec(epochs=EPOCHS, eps=1e-7, eps_rule="keras"),
    ),
    "three classes": cell_of(dataset=cloud(33, 7, classes=3, features=4), penalty=UP),
    "constraints only": cell_of(penalty=UP, task_loss=False),
    "one layer of one unit": cell_of(depth=1, width=1, penalty=UP),
    "adamw, clipped, cosine": cell_of(
        optimizer=OptimizerSpec(
            "adamw", epochs=EPOCHS, weight_decay=0.1, clip_norm=0.05, schedule="cosine", warmup_steps=9
        )
    ),
    "sgd": cell_of(optimizer=OptimizerSpec("sgd", epochs=EPOCHS)),
    "sgd, Nesterov, falling": cell_of(
        optimizer=OptimizerSpec(
            "sgd", epochs=EPOCHS, momentum=0.9, nesterov=True, schedule="step", step_every=7, clip_norm=1.0
        )
    ),
    "rmsprop": cell_of(optimizer=OptimizerSpec("rmsprop", epochs=EPOCHS)),
    "rmsprop, momentum": cell_of(optimizer=OptimizerSpec("rmsprop", epochs=EPOCHS, momentum=0.5), network=BATCH),
    "rprop": cell_of(optimizer=OptimizerSpec("rprop", epochs=EPOCHS), penalty=UP),
    "rows, some layers": cell_of(
        optimizer=OptimizerSpec(epochs=EPOCHS, row_penalty=0.1, row_limit=0.5, row_layers=(1, 3), trained_layers=(1, 3))
    ),
    "Farkas layers": cell_of(network=NetworkSpec(farkas=True, init="he_normal"), penalty=UP),
    "fixup": cell_of(depth=5, network=NetworkSpec(skip_every=2, skip_scale="fixup", init="he_normal")),
    "resets": cell_of(network=NetworkSpec(init="he_normal"), reset=ResetSpec(5, 0.6)),
    "λ falls": cell_of(
        penalty=dataclasses.replace(UP, schedule="linear", upper_bound=2.0, aggregate="balanced", sides="above")
    ),
    "wide": cell_of(depth=2, width=70, network=BATCH, penalty=UP, dataset=cloud(97, 33)),
}


@pytest.fixture
def always(tmp_path: Path) -> Checkpoints:
    """A checkpoint after every epoch."""
    return Checkpoints(tmp_path / "checkpoints", 0.0)


def data_of(cell: Cell) -> Data:
    return Case(cell).data


@pytest.mark.parametrize(
    ("name", "count"),
    [*((name, 11) for name in CELLS), *itertools.product(("batch norm", "random ties"), (1, EPOCHS - 1))],
)
def test_what_is_interrupted_ends_as_if_it_were_not(name: str, count: int, always: Checkpoints) -> None:
    """The result, and every state on the way, with all parameters and moments."""
    cell, states = CELLS[name], {}

    def note(key: str, state: State) -> bool:
        assert same(state, states.setdefault(state["epochs"], state))
        return False

    expected = train_one(NativeEngine(), cell)
    assert expected.status == "done"
    kept, _ = train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell), note)
    assert what_was_computed(kept[cell.key]) == what_was_computed(expected)
    assert sorted(states) == list(range(1, EPOCHS))

    train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell), kill_after(count))
    assert state_of(always, cell)["epochs"] == count
    again, progress = train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell), note)
    assert what_was_computed(again[cell.key]) == what_was_computed(expected)
    assert progress[cell.key][:2] == [0, count]


@pytest.mark.parametrize("name", ["batch norm", "random ties", "2×1, batch norm, a pair a position"])
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_interrupted_with_any_instruction_set(name: str, instruction_set: str, always: Checkpoints) -> None:
    cell = CELLS[name]
    expected = train_one(NativeEngine(instruction_set=instruction_set), cell)
    engine = NativeEngine(checkpoints=always, instruction_set=instruction_set)
    train_kept(engine, [cell], data_of(cell), kill_after(7))
    again, _ = train_kept(engine, [cell], data_of(cell))
    assert what_was_computed(again[cell.key]) == what_was_computed(expected)


def test_another_instruction_set_goes_on(always: Checkpoints) -> None:
    """What is kept has no padding: the parameters are those of the cell."""
    cell = cell_of(precision="float64", network=BATCH, penalty=UP)
    train_kept(NativeEngine(checkpoints=always, instruction_set="portable"), [cell], data_of(cell), kill_after(20))
    again, progress = train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell))
    expected = train_one(NativeEngine(instruction_set="portable"), cell)
    assert progress[cell.key][:2] == [0, 20]
    assert again[cell.key].val_loss.last == pytest.approx(expected.val_loss.last, rel=1e-6)
    assert [row.epoch for row in again[cell.key].curve] == [row.epoch for row in expected.curve]


def test_several_threads_with_cells_that_begin_and_cells_that_go_on(always: Checkpoints) -> None:
    cells = [
        cell_of(depth=depth, width=width, seed=seed, penalty=UP, optimizer=OptimizerSpec(epochs=40 + 5 * seed))
        for seed, (depth, width) in enumerate([(1, 1), (30, 3), (5, 17), (12, 4), (60, 2), (2, 64), (8, 8)])
    ]
    expected = {cell.key: what_was_computed(train_one(NativeEngine(), cell)) for cell in cells}
    saved = 0

    def kill(key: str, state: State) -> None:
        nonlocal saved
        saved += 1
        if saved > 90:
            raise Killed

    finished, _ = train_kept(NativeEngine(threads=3, checkpoints=always), cells, data_of(cells[0]), kill)
    there = {path.stem for path in always.folder.glob("*.pt")}
    assert there - finished.keys() and expected.keys() - there, "some were in training, some had not begun"
    left = [cell for cell in cells if cell.key not in finished]
    found, progress = train_kept(NativeEngine(threads=3, checkpoints=always), left, data_of(cells[0]))
    found |= finished
    assert {key: what_was_computed(result) for key, result in found.items()} == expected
    for cell in left:
        told = list(dict.fromkeys(progress[cell.key]))
        assert told[0] == 0 and (len(told) > 1 and told[1] > 0 if cell.key in there else True)


def test_interrupted_again_and_again(always: Checkpoints) -> None:
    cell = CELLS["dropout"]
    for count in (1, 2, 9, 9, 28):
        train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell), kill_after(count))
        assert state_of(always, cell)["epochs"] == count
    again, _ = train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell))
    assert what_was_computed(again[cell.key]) == what_was_computed(train_one(NativeEngine(), cell))


@pytest.mark.parametrize("count", [1, 6, 11])
def test_a_training_that_diverges_does_so_in_the_same_epoch(count: int, always: Checkpoints) -> None:
    cell, data = drifting_away()
    expected = train_one(NativeEngine(), cell, data)
    assert (expected.status, expected.diverged_epoch) == ("diverged", 12)
    train_kept(NativeEngine(checkpoints=always), [cell], data, kill_after(count))
    again, progress = train_kept(NativeEngine(checkpoints=always), [cell], data)
    assert progress[cell.key][:2] == [0, count]
    assert what_was_computed(again[cell.key]) == what_was_computed(expected)


@pytest.mark.parametrize("rows", [(1, 10), (10, 1), (7, 3)])
def test_a_curve_may_go_on_with_other_rows(rows: tuple[int, int], always: Checkpoints) -> None:
    cell, (before, after) = CELLS["sep_up"], rows
    train_kept(NativeEngine(curve_every=before, checkpoints=always), [cell], data_of(cell), kill_after(20))
    again, _ = train_kept(NativeEngine(curve_every=after, checkpoints=always), [cell], data_of(cell))
    kept = [epoch for epoch in range(1, 21) if epoch == 1 or epoch % before == 0]
    later = [epoch for epoch in range(21, EPOCHS + 1) if epoch == EPOCHS or epoch % after == 0]
    assert [row.epoch for row in again[cell.key].curve] == kept + later


def test_seconds_add_up_and_the_start_is_the_first(always: Checkpoints) -> None:
    cell = CELLS["relu"]
    train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell), kill_after(20))
    state = state_of(always, cell)
    assert 0 < state["seconds"] < 60
    always.save(cell.key, {**state, "seconds": 5000.0, "started": "2001-02-03T04:05:06+00:00"})
    again, _ = train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell), kill_after(25))
    state = state_of(always, cell)
    assert 5000 < state["seconds"] < 5060 and state["started"] == "2001-02-03T04:05:06+00:00"
    again, _ = train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell))
    assert state["seconds"] < again[cell.key].seconds < 5060
    assert again[cell.key].started == "2001-02-03T04:05:06+00:00"


@pytest.mark.parametrize("minutes", [None, 10.0])
def test_where_nothing_is_due_nothing_is_written(minutes: float | None, tmp_path: Path) -> None:
    cell, folder = CELLS["sep_up"], tmp_path / "checkpoints"
    checkpoints = None if minutes is None else Checkpoints(folder, minutes)
    train_kept(NativeEngine(checkpoints=checkpoints), [cell], data_of(cell))
    assert not folder.exists()


def test_minutes_are_counted_from_the_last_checkpoint(tmp_path: Path) -> None:
    """A cell of some tenths of a second, and a checkpoint every twentieth."""
    every = 0.05
    cell = cell_of(depth=20, width=20, dataset=cloud(97, 33), optimizer=OptimizerSpec(epochs=1500), penalty=UP)
    seconds: list[float] = []
    checkpoints = Checkpoints(tmp_path / "checkpoints", every / 60)
    results, _ = train_kept(
        NativeEngine(checkpoints=checkpoints),
        [cell],
        data_of(cell),
        lambda key, state: seconds.append(state["seconds"]),
    )
    most = results[cell.key].seconds / every
    assert 1 <= len(seconds) <= most
    assert all(later - before >= every for before, later in zip([0.0, *seconds], seconds, strict=False))


def test_a_measurement_of_the_training_alone_keeps_nothing(always: Checkpoints) -> None:
    cell = CELLS["relu"]
    result = train_one(NativeEngine(checkpoints=always, evaluate=False), cell)
    assert result.status == "done" and not always.folder.exists()


HOSTILE: dict[str, tuple[str, Any]] = {
    "parameters": ("parameters", 1),
    "moments": ("slots", -1),
    "statistics": ("running", 1),
    "census": ("census_start", 1),
    "metrics": ("metrics", 1),
    "half a row": ("curve", 1),
    "no epochs": ("epochs", 0),
    "epochs below zero": ("epochs", -(2**62)),
    "all epochs": ("epochs", EPOCHS),
    "epochs beyond": ("epochs", 2**62),
    "a text": ("parameters", "abc"),
    "nothing": ("metrics", None),
    "best epoch": ("metrics", math.nan),
    "best epoch beyond": ("metrics", 1e300),
    "row of no epoch": ("curve", math.nan),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_cpp_takes_no_state_that_does_not_fit(name: str, always: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Python lets through: it is an exception, and no memory beyond an array is read."""
    cell = CELLS["batch norm"]
    train_kept(NativeEngine(checkpoints=always), [cell], data_of(cell), kill_after(7))
    state_from, (entry, value) = exchange.resumed, HOSTILE[name]

    def spoilt(snapshot: Any) -> Any:
        state = state_from(snapshot)
        assert state is not None
        if isinstance(value, float):
            state[entry] = state[entry].copy()
            state[entry].reshape(-1, 3 if entry == "metrics" else 10)[1, 2 if entry == "metrics" else 0] = value
        elif entry == "epochs" or not isinstance(value, int):
            state[entry] = value
        else:
            state[entry] = np.resize(state[entry].ravel(), state[entry].size + value)
        return state

    monkeypatch.setattr(exchange, "resumed", spoilt)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        train_one(NativeEngine(checkpoints=always), cell)
