"""A stored training done again, to the bit where its engine is here, with its states kept on the way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jumpstart_exp.cell import NUMERICS, Cell
from jumpstart_exp.data import DATASETS
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.engines.eager.engine import EagerEngine, torch_for
from jumpstart_exp.engines.eager.forward import forward_of
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.probe import Tensors
from jumpstart_exp.engines.state_recorder import StateRecorder
from jumpstart_exp.inspect.recorded_states import CURVE, RecordedStates, cell_of, load_tensors, packed
from jumpstart_exp.inspect.turning_points import epochs_to_keep, turning_points
from jumpstart_exp.networks.build import build, dtype, parameter_shapes
from jumpstart_exp.result import CENSUS, METRICS, Result
from jumpstart_exp.settings import SettingError, legible
from jumpstart_exp.store import cell_schema
from jumpstart_exp.store.schema import description_columns, result_row

MOST_STATES = 100
"""States of a cell that are kept by default."""

_MOST_BYTES = 20_000_000
"""Of a file by default: a large network has fewer states."""

_MOST_ROWS = 20_000
"""Rows of a curve."""

_NUMBERS_AT_ONCE = 1 << 22
"""Numbers of a layer's activations that a census has in memory."""

_COMPARED = (
    *("status", "epochs_run", "diverged_epoch", "penalty_start", "penalty_last"),
    *(f"{metric}_{moment}" for metric in METRICS for moment in ("last", "best", "best_epoch")),
    *(f"{name}_{moment}" for name in CENSUS for moment in ("start", "last")),
)
"""Columns of the stored row that the training gives again."""


class InspectError(Exception):
    """A cell cannot be trained again; the message says which and why."""


@dataclass(frozen=True)
class Trainer:
    """The engine and device that train a cell again; `doubt` says why the numbers need not be the stored ones."""

    engine: str
    device: str
    doubt: str


def cell_of_row(row: Mapping[str, Any]) -> Cell:
    """The cell that a stored row describes.

    Raises:
        InspectError: the row is a failed one's, of another version of the program, or of settings that it lacks.
    """
    key = str(row["key"])
    if row["status"] == "failed":
        error = legible(str(row["error"] or "").partition("\n")[0])
        raise InspectError(f"key={legible(key)} failed, there is no training to look at: {error}")
    settings = {name: row[name] for name in sorted(description_columns() - {"key"}) if name in row}
    if settings.get("dataset") in DATASETS:
        cell = _cell(settings, row)
        if cell.key == key:
            return cell
    numerics = row.get("numerics")
    raise InspectError(
        f"key={legible(key)} was trained by another version of this program (numerics {numerics}, this is {NUMERICS}): "
        "its settings no longer give this key"
    )


def trainer_of(row: Mapping[str, Any], cell: Cell) -> Trainer:
    """What trains a stored cell again: its own engine on the CPU, else the fastest that can.

    Raises:
        InspectError: none here can.
    """
    stored, device = str(row["engine"]), str(row["device"])
    engines: dict[str, type[NativeEngine] | type[EagerEngine]] = {"native": NativeEngine, "eager": EagerEngine}
    usable = [name for name, engine in engines.items() if engine.refuses(cell) is None]
    target = "cpu"
    if cell.precision == "tf32":
        if not torch.cuda.is_available():
            raise InspectError(f"key={cell.key} rounds to TF32, which takes a CUDA device: torch finds none here")
        usable, target = ["eager"], "cuda"
    if stored in usable and device == target == "cpu":
        return Trainer(stored, "cpu", "")
    if device != "cpu":
        doubt = f"it was trained on {legible(device)} by {legible(stored)}"
    elif stored in engines:
        doubt = f"it was trained by {stored}, which cannot be had here: {engines[stored].refuses(cell)}"
    else:
        doubt = f"it was trained by {legible(stored)}, which hands out no states"
    return Trainer(usable[0], target, f"{doubt}; {usable[0]} need not take the same way")


def epochs_of(row: Mapping[str, Any], cell: Cell) -> int:
    """Epochs after which the stored training has a network: all, or those before it diverged."""
    diverged = row["diverged_epoch"]
    return cell.optimizer.epochs if diverged is None else int(diverged) - 1


def states_to_keep(cell: Cell, asked: int | None) -> int:
    """How many states of a cell are kept: as asked, else 100, and fewer of a network that would fill 20 MB."""
    if asked is not None:
        return asked
    numbers = sum(int(np.prod(shape)) for shape in parameter_shapes(cell).values())
    return max(2, min(MOST_STATES, _MOST_BYTES // (numbers * (8 if cell.precision == "float64" else 4))))


def passes(last: int, epochs: Sequence[int] | None, count: int) -> int:
    """How often a cell is trained: twice where its own curve has to say first which of its epochs are worth keeping."""
    return 1 if epochs is not None or last < count else 2


def retrain(
    row: Mapping[str, Any],
    cell: Cell,
    data_dir: Path,
    *,
    epochs: Sequence[int] | None,
    count: int,
    on_progress: Callable[[float], None],
) -> RecordedStates:
    """Train a stored cell again and keep its states.

    Args:
        row: the stored row.
        cell: of the row.
        data_dir: folder of the datasets' files.
        epochs: to be kept beside 0 and the last one; None for about `count` of them, where the training turns.
        count: of states, where `epochs` is None.
        on_progress: called with the epochs done, over all passes.

    Raises:
        DataError: the dataset's files are missing or damaged.
        InspectError: the training failed, or gave no states.
    """
    data, trainer, last = load(cell.dataset, data_dir), trainer_of(row, cell), epochs_of(row, cell)
    done_before = 0
    if epochs is not None:
        wanted = sorted({*epochs, 0, last})
    elif passes(last, None, count) == 1:
        wanted = list(range(last + 1))
    else:
        rows = _curve(_train(cell, data, trainer, [], on_progress)[0])
        points = turning_points(rows[:, 0].astype(np.int64), rows[:, CURVE.index("train_acc")], _chance(data))
        wanted = epochs_to_keep(points, last, count)
        done_before = cell.optimizer.epochs
    result, states = _train(cell, data, trainer, wanted, lambda done: on_progress(done_before + done))
    return _snapshots(cell, data, result, states, _agreement(row, result), 0 if epochs is not None else count)


def differences(row: Mapping[str, Any], result: Result) -> list[str]:
    """What the training gave otherwise than the stored one: a text a column."""
    found = result_row(result)
    names = [name for name in _COMPARED if name in cell_schema().names and row.get(name) != found.get(name)]
    return [f"{name} {_number(found.get(name))}, stored {_number(row.get(name))}" for name in names]


def _agreement(row: Mapping[str, Any], result: Result) -> str:
    found = differences(row, result)
    if not found:
        return ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more


def _cell(settings: Mapping[str, Any], row: Mapping[str, Any]) -> Cell:
    try:
        return cell_of(settings, str(row["method"]))
    except SettingError as error:
        raise InspectError(f"key={legible(str(row['key']))} is of settings that this program lacks: {error}") from error


def _train(
    cell: Cell, data: Data, trainer: Trainer, epochs: Sequence[int], on_progress: Callable[[float], None]
) -> tuple[Result, dict[int, Tensors]]:
    """The training's result, and its states by the epochs done."""
    states: dict[int, Tensors] = {}
    results: list[Result] = []

    def keep(_: Cell, epoch: int, tensors: Tensors) -> None:
        states[epoch] = tensors

    watch = StateRecorder([epoch for epoch in epochs if epoch > 0], keep)
    every = max(1, -(-cell.optimizer.epochs // _MOST_ROWS))
    engine: NativeEngine | EagerEngine
    if trainer.engine == "native":
        engine = NativeEngine(curve_every=every, watch=watch)
    else:
        engine = EagerEngine(trainer.device, curve_every=every, watch=watch)
    engine.train([cell], data, on_result=results.append, on_progress=lambda _, done: on_progress(done))
    (result,) = results
    if result.status == "failed":
        raise InspectError(f"key={cell.key} failed this time: {legible((result.error or '').partition(chr(10))[0])}")
    if 0 in epochs:
        initial = build(cell).state_dict()
        states[0] = {name: value.double().numpy() for name, value in initial.items() if value.is_floating_point()}
    return result, states


def _snapshots(
    cell: Cell, data: Data, result: Result, states: Mapping[int, Tensors], agreement: str, asked: int
) -> RecordedStates:
    epochs = sorted(states)
    if not epochs:
        raise InspectError(f"key={cell.key} gave no state: there was no memory for one")
    pairs = [packed(states[epoch], cell) for epoch in epochs]
    return RecordedStates(
        cell=cell,
        engine=result.engine,
        device=result.device,
        diverged_epoch=result.diverged_epoch,
        agreement=agreement,
        asked=asked,
        epochs=np.array(epochs, np.int64),
        parameters=np.array([values for values, _ in pairs]),
        running=np.array([running for _, running in pairs]),
        census=_census(cell, data, [states[epoch] for epoch in epochs]),
        curve=_curve(result),
    )


def _census(cell: Cell, data: Data, states: Sequence[Tensors]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Fractions of each layer on the training points, (states, 4, depth), in evaluation mode."""
    forward = forward_of(cell, torch.device("cpu"))
    at_once = max(1, _NUMBERS_AT_ONCE // max(cell.width * cell.positions, cell.dataset.features))
    found = []
    with torch_for(cell):
        for tensors in states:
            load_tensors(forward.network, tensors)
            chunks = (data.inputs(part, dtype(cell)) for part in torch.split(data.x_train, at_once))
            _, seen = forward.evaluate_training_set(chunks)
            found.append([getattr(seen, name) for name in CENSUS])
    return np.array(found)


def _curve(result: Result) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rows = [[np.nan if (value := getattr(row, name)) is None else value for name in CURVE] for row in result.curve]
    return np.array(rows, dtype=np.float64).reshape(-1, len(CURVE))


def _chance(data: Data) -> float:
    """The share of the largest class: what a dead network has."""
    return float(torch.bincount(data.y_train).max() / len(data.y_train))


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
