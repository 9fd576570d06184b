"""Small trainings of which the states are kept, for tests of the inside."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.inspect.recorded_states import RecordedStates, write_recorded_states
from jumpstart_exp.inspect.retraining import retrain
from jumpstart_exp.result import Result
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store, result_row

ENGINES = {"native": NativeEngine, "eager": EagerEngine}
UP = PenaltySpec(kind="UP", weight=0.01)
CELLS: dict[str, dict[str, Any]] = {
    "relu": {},
    "sep_up": {"penalty": UP},
    "relu_bn": {"network": NetworkSpec(norm="batch")},
    "zero_init": {
        "network": NetworkSpec(init="zero"),
        "penalty": PenaltySpec(kind="UP", balance=0.51),
        "dropout": DropoutSpec(0.9, 20),
    },
    "sep_l": {"penalty": PenaltySpec(kind="L", weight=0.1), "task_loss": False},
    "conv": {"network": NetworkSpec(layout="conv2x1", norm="batch"), "penalty": UP},
}
"""Methods and a layout, by label."""


def cell_of(method: str = "sep_up", **fields: Any) -> Cell:
    given = {"depth": 6, "width": 4, "optimizer": OptimizerSpec(epochs=40), "method": method}
    return Cell(**{**given, **CELLS.get(method, {}), **fields})


def moons() -> Data:
    return load(Moons(), Path("nowhere"))


@cache
def trained(cell: Cell, engine: str = "eager") -> Result:
    """The cell's result, as a sweep stores it."""
    results: list[Result] = []
    ENGINES[engine]().train([cell], moons(), on_result=results.append, on_progress=lambda *_: None)
    return results[0]


@cache
def row_of(cell: Cell, engine: str = "eager") -> dict[str, Any]:
    """The cell's stored row."""
    return result_row(trained(cell, engine))


@cache
def kept(cell: Cell, engine: str = "eager", epochs: tuple[int, ...] | None = None, count: int = 12) -> RecordedStates:
    """The cell's states."""
    row = row_of(cell, engine)
    return retrain(row, cell, Path("nowhere"), epochs=epochs, count=count, on_progress=lambda _: None)


def stored(results_dir: Path, cells: Sequence[Cell], engine: str = "eager", *, with_states: bool = True) -> Store:
    """A store of these cells, and their states beside it."""
    store = Store(results_dir)
    store.write([trained(cell, engine) for cell in cells])
    for cell in cells if with_states else ():
        write_recorded_states(kept(cell, engine), results_dir)
    return store


def made_up(cell: Cell, accuracy: Sequence[float], epochs: Sequence[int], **fields: Any) -> RecordedStates:
    """States all alike, with a curve of these training accuracies, an epoch each."""
    real = kept(cell, epochs=(0,))
    curve = np.full((len(accuracy), real.curve.shape[1]), 0.25)
    curve[:, 0], curve[:, 1] = np.arange(1, len(accuracy) + 1), accuracy
    states = len(epochs)
    values: dict[str, Any] = {
        "cell": cell,
        "engine": "eager",
        "device": "cpu",
        "diverged_epoch": None,
        "agreement": "",
        "asked": 0,
        "epochs": np.array(epochs),
        "parameters": np.repeat(real.parameters[-1:], states, axis=0),
        "running": np.repeat(real.running[-1:], states, axis=0),
        "census": np.repeat(real.census[-1:], states, axis=0),
        "curve": curve,
    }
    return RecordedStates(**{**values, **fields})
