"""States that engines hand out in the middle of a training: the right ones, and the training goes on as without."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import Case, cloud, train_one, what_was_computed
from keeping import drifting_away, saves

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native import engine as native
from jumpstart_exp.engines.native.description import spec_of
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.engines.probe import Tensors
from jumpstart_exp.engines.state_recorder import StateRecorder, running_tensors
from jumpstart_exp.inspect.recorded_states import load_tensors
from jumpstart_exp.networks.build import build
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

EPOCHS = 20
UP = PenaltySpec(kind="UP", weight=0.05, balance=0.51)
needs_native = pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")


def cell_of(epochs: int = EPOCHS, **fields: Any) -> Cell:
    given = {"dataset": cloud(21, 5), "depth": 4, "width": 5, "optimizer": OptimizerSpec(epochs=epochs), "seed": 3}
    return Cell(**{**given, **fields})


CELLS: dict[str, dict[str, Any]] = {
    "relu": {},
    "float64": {"precision": "float64", "penalty": UP},
    "batch norm": {"network": NetworkSpec(norm="batch")},
    "dropout": {"dropout": DropoutSpec(0.5, 12), "penalty": UP},
    "2×1": {"network": NetworkSpec(layout="conv2x1", norm="batch"), "penalty": UP},
    "three classes": {"dataset": cloud(33, 7, classes=3, features=4), "penalty": UP},
}
ENGINES = [pytest.param("native", marks=needs_native), "eager"]


def watched(engine: str, cell: Cell, epochs: list[int], **options: Any) -> tuple[Any, dict[int, Tensors]]:
    """What was computed, and the states by their epochs."""
    states: dict[int, Tensors] = {}

    def on_state(seen: Cell, epoch: int, tensors: Tensors) -> None:
        assert seen == cell and epoch not in states
        states[epoch] = tensors

    kind = {"native": NativeEngine, "eager": EagerEngine}[engine]
    result = train_one(kind(curve_every=1, watch=StateRecorder(epochs, on_state), **options), cell)
    return result, states


def equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", CELLS)
def test_states_are_those_of_shorter_trainings_and_nothing_changes(engine: str, name: str) -> None:
    cell = cell_of(**CELLS[name])
    found, states = watched(engine, cell, [1, 2, 7, EPOCHS])
    kind = {"native": NativeEngine, "eager": EagerEngine}[engine]
    assert what_was_computed(found) == what_was_computed(train_one(kind(curve_every=1), cell))
    assert list(states) == [1, 2, 7, EPOCHS]
    for epochs in (1, 7):
        _, shorter = watched(engine, cell_of(epochs, **CELLS[name]), [epochs])
        assert equal(states[epochs], shorter[epochs])
    assert not equal(states[1], states[2])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["relu", "batch norm", "2×1"])
def test_a_network_with_the_state_validates_as_the_curve_says(engine: str, name: str) -> None:
    """With the running statistics: torch's own network, in evaluation mode."""
    cell = cell_of(**CELLS[name])
    result, states = watched(engine, cell, list(range(1, EPOCHS + 1)))
    data = Case(cell).data
    for row in result.curve:
        network = build(cell)
        load_tensors(network, states[row.epoch])
        with torch.no_grad():
            logits = network.eval()(data.x_val.float())[0][:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, data.y_val.float())
        assert loss.item() == pytest.approx(row.val_loss, rel=1e-4)


@needs_native
@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_native_hands_out_what_its_probe_computes(instruction_set: str) -> None:
    """The probe steps by itself, without the loop that hands states out."""
    cell = cell_of(penalty=UP, precision="float64")
    _, states = watched("native", cell, [3, 9], instruction_set=instruction_set)
    engine = NativeEngine(instruction_set=instruction_set)
    for epoch in (3, 9):
        assert equal(states[epoch], engine.probe(cell, Case(cell).data, epoch).parameters)


@needs_native
def test_native_keeps_checkpoints_beside(tmp_path: Path) -> None:
    """A checkpoint after every epoch but the last, each whole, and the states that are watched."""
    cell, seen = cell_of(penalty=UP), []
    with saves(lambda key, state: seen.append((state["epochs"], len(state["curve"])))):
        found, states = watched("native", cell, [4, EPOCHS], checkpoints=Checkpoints(tmp_path, 0.0))
    assert seen == [(epoch, epoch) for epoch in range(1, EPOCHS)]
    assert list(states) == [4, EPOCHS]
    assert what_was_computed(found) == what_was_computed(train_one(NativeEngine(curve_every=1), cell))


@needs_native
def test_native_threads_hand_out_every_cells_own_states() -> None:
    cells = [cell_of(depth=depth, width=width, seed=depth) for depth, width in [(1, 1), (9, 3), (3, 17), (5, 2)]]
    states: dict[tuple[str, int], Tensors] = {}
    watch = StateRecorder(
        list(range(1, EPOCHS + 1)), lambda cell, epoch, found: states.update({(cell.key, epoch): found})
    )
    engine = NativeEngine(threads=3, watch=watch)
    engine.train(cells, Case(cells[0]).data, on_result=lambda _: None, on_progress=lambda *_: None)
    assert len(states) == len(cells) * EPOCHS
    for cell in cells:
        _, alone = watched("native", cell, [11])
        assert equal(states[cell.key, 11], alone[11])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_that_diverges_hands_out_what_was_before(engine: str) -> None:
    cell, data = drifting_away()
    epochs: list[int] = []
    watch = StateRecorder([1, 11, 12, 13, 99], lambda _, epoch, __: epochs.append(epoch))
    kind = {"native": NativeEngine, "eager": EagerEngine}[engine]
    results: list[Any] = []
    kind(watch=watch).train([cell], data, on_result=results.append, on_progress=lambda *_: None)
    assert results[0].diverged_epoch == 12 and epochs == [1, 11]


def test_epochs_of_a_watch_ascend() -> None:
    for epochs in ([2, 1], [1, 1]):
        with pytest.raises(ValueError, match="ascending"):
            StateRecorder(epochs, lambda *_: None)


@needs_native
def test_cpp_takes_ascending_epochs_only() -> None:
    cell = cell_of()
    with pytest.raises(ValueError, match="ascending"):
        native.native.workspace_bytes({**spec_of(cell, 1, True), "watched": [2, 1]}, 21, 5)


def test_running_statistics_by_name() -> None:
    running = np.arange(12.0).reshape(2, 3, 2)
    tensors = running_tensors(running, Cell(depth=3, width=2, network=NetworkSpec(norm="batch")))
    assert len(tensors) == 6
    assert tensors["norms.1.running_mean"].tolist() == [2, 3]
    assert tensors["norms.2.running_var"].tolist() == [10, 11]
    assert running_tensors(np.empty((2, 3, 0)), Cell(depth=3, width=2)) == {}
