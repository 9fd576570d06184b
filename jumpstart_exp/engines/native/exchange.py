"""A cell, its data, state and result as the C++ engine takes and gives them: plain dicts and arrays."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.native.description import draws_weights
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.engines.probe import Tensors
from jumpstart_exp.engines.training_state import TrainingState, curve_columns, curve_row
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.methods.relaxation import Relaxation
from jumpstart_exp.networks.build import affine_layer, initial_parameters, parameter_shapes, running_shape
from jumpstart_exp.networks.initialisation import drawn
from jumpstart_exp.result import ACTIVITY, CENSUS, METRICS, LayerCensus, Metric, Result


def relaxed_initial_of(cell: Cell, data: Data) -> np.ndarray[Any, Any] | None:
    """Relaxed values that a cell begins with, in the order of `relaxed_shapes`; None for those of a forward pass."""
    if not cell.rai_weight or cell.rai.start == "forward":
        return None
    begins = Relaxation(cell).extra_parameters(cell, data)
    return np.concatenate([value.double().numpy().ravel() for value in begins.values()])


def initial_of(cell: Cell) -> np.ndarray[Any, Any] | None:
    """The parameters that a cell begins with, in the contract's order; None where the C++ engine draws them itself."""
    if draws_weights(cell):
        return None
    return np.concatenate([np.ravel(value) for value in initial_parameters(cell).values()])


def reset_values_of(cell: Cell) -> np.ndarray[Any, Any] | None:
    """What dormant units begin anew with, reset after reset, each in the contract's order; None without resets.

    Only weights and biases of hidden layers are taken from it.
    """
    if not cell.reset.every:
        return None
    draws, shapes = range(1, 1 + cell.optimizer.epochs // cell.reset.every), parameter_shapes(cell)
    found = [np.zeros(0)]
    for draw in draws:
        for layer in range(cell.depth):
            shape = shapes[f"hidden.{layer}.weight"]
            own = drawn(affine_layer(cell, layer, shape, draw), cell.network.init, cell.network.init_source)
            found += [np.ravel(part) for part in own]
        found += [np.zeros(math.prod(shapes[name])) for name in ("output.weight", "output.bias")]
    return np.concatenate(found)


def resumed(state: TrainingState | None) -> dict[str, Any] | None:
    """A training as the C++ engine takes it up."""
    if state is None:
        return None
    count, empty = len(state.network["parameters"]), np.empty(0)
    return {
        "epochs": state.epochs,
        "parameters": state.network["parameters"],
        "slots": np.concatenate([np.empty(0), *(slot[:count] for slot in state.optimizer.values())]),
        "relaxed": np.concatenate([state.method.get("z", empty), *(slot[count:] for slot in state.optimizer.values())]),
        "running": state.network["running"].ravel(),
        "metrics": state.metrics,
        "penalty_start": state.penalty_start,
        "census_start": np.ascontiguousarray(state.census_start.T),
        "dead_at_some_layer_start": state.dead_at_some_layer_start,
        "curve": state.curve,
        "seconds": state.seconds,
        "started": datetime.fromisoformat(state.started).timestamp(),
    }


def training_state(cell: Cell, found: Mapping[str, Any]) -> TrainingState:
    """A training as the C++ engine hands it over."""
    names = optimizer(cell.optimizer).slots
    slots = np.split(found["slots"], len(names)) if names else []
    relaxed, *of_relaxed = np.split(found["relaxed"], 1 + len(names))
    slots = [np.concatenate(both) for both in zip(slots, of_relaxed, strict=True)]
    return TrainingState(
        epochs=found["epochs"],
        network={"parameters": found["parameters"], "running": found["running"].reshape(running_shape(cell))},
        method={"z": relaxed} if cell.rai_weight else {},
        optimizer=dict(zip(names, slots, strict=True)),
        metrics=found["metrics"].reshape(len(METRICS), 3),
        penalty_start=found["penalty_start"],
        census_start=_layers(found["census_start"]),
        dead_at_some_layer_start=found["dead_at_some_layer_start"],
        curve=found["curve"].reshape(-1, curve_columns(cell)),
        pending=np.empty(0),
        seconds=found["seconds"],
        started=_started(found["started"]),
    )


def _started(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def arrays_of(data: Data) -> tuple[np.ndarray[Any, Any], ...]:
    """Training and validation points (points, features), each with its labels or targets (points,): all in float64."""
    x_train, x_val = (np.ascontiguousarray(x.numpy(), dtype=np.float64) for x in (data.x_train, data.x_val))
    y_train, y_val = (np.ascontiguousarray(y.numpy(), dtype=np.float64) for y in (data.y_train, data.y_val))
    return x_train, y_train, x_val, y_val


def weights_of(data: Data) -> dict[str, np.ndarray[Any, Any] | None]:
    """Weights of the points (points,) by the C++ engine's names of them; None where there are none."""
    return {
        name: None if weights is None else np.ascontiguousarray(weights.numpy(), dtype=np.float64)
        for name, weights in (("weights_train", data.weights_train), ("weights_val", data.weights_val))
    }


def tensors_of(values: Sequence[float] | np.ndarray[Any, Any], shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Parts of a vector by their names, in the shapes' order."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()], dtype=np.int64)
    *parts, rest = np.split(np.asarray(values, dtype=np.float64), ends)
    assert rest.size == 0
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def result_of(cell: Cell, found: Mapping[str, Any], *, evaluated: bool) -> Result:
    """A cell's result as the C++ engine hands it over; nothing is known of what was not evaluated."""
    started = _started(found["started"])
    if found["error"]:
        known = f"engine native on cpu, {cell.title()}: {found['error']}"  # C++ keeps no stack
        return Result(
            cell, "failed", "native", seconds=found["seconds"], started=started, error=found["error"], traceback=known
        )
    done = not found["diverged_epoch"]
    train_acc, val_acc, train_loss, val_loss = (
        Metric(last if done else None, best, best_epoch) for last, best, best_epoch in (found[name] for name in METRICS)
    )
    has_penalty = bool(cell.penalty_weight) and evaluated
    relaxed = np.reshape(found["relaxed_curve"], (len(found["curve"]), -1)) if found["curve"] else np.empty((0, 0))
    rows = [curve_row(*row, *own) for row, own in zip(found["curve"], relaxed.tolist(), strict=True)]
    return Result(
        cell,
        "done" if done else "diverged",
        "native",
        n_params=found["n_params"],
        epochs_run=found["epochs_run"],
        diverged_epoch=found["diverged_epoch"] or None,
        train_acc=train_acc,
        val_acc=val_acc,
        train_loss=train_loss,
        val_loss=val_loss,
        penalty_start=found["penalty_start"] if has_penalty else None,
        penalty_last=found["penalty_last"] if has_penalty and done else None,
        census_start=_census(found, "start") if evaluated else None,
        census_last=_census(found, "last") if evaluated and done else None,
        seconds=found["seconds"],
        peak_memory_bytes=peak_memory_bytes(),
        started=started,
        curve=tuple(rows if has_penalty else (replace(row, penalty=None) for row in rows)),
    )


def _census(found: Mapping[str, Any], moment: str) -> LayerCensus:
    return LayerCensus.of_rows(_layers(found[f"census_{moment}"]).tolist(), found[f"dead_at_some_layer_{moment}"])


def _layers(numbers: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(6, depth) from the numbers of one layer after the other."""
    return np.asarray(numbers, dtype=np.float64).reshape(-1, len(CENSUS) + len(ACTIVITY)).T
