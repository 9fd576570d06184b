"""A stored training done again, to the bit where its engine is here: compared, or with its states kept on the way."""

import math
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
from jumpstart_exp.result import ACTIVITY, CENSUS, COLUMNS, DEAD_AT_SOME_LAYER, STORED_METRICS, Result
from jumpstart_exp.settings import SettingError, legible
from jumpstart_exp.store.schema import description_columns, result_row

MOST_STATES = 100
"""States of a cell that are kept by default."""

_MOST_BYTES = 20_000_000
"""Of a file by default: a large network has fewer states."""

_MOST_ROWS = 20_000
"""Rows of a curve."""

_NUMBERS_AT_ONCE = 1 << 22
"""Numbers of a layer's activations that a census has in memory."""

_JOINED_LATER = (
    *(f"{name}_{moment}" for name in (DEAD_AT_SOME_LAYER, *ACTIVITY) for moment in ("start", "last")),
    *(f"{name}_by_layer_{moment}" for name in ACTIVITY for moment in ("start", "last")),
)
"""Columns that rows of earlier versions do not have."""

_COMPARED = (
    *("status", "n_params", "epochs_run", "diverged_epoch", "penalty_start", "penalty_last"),
    *(f"{metric}_{moment}" for metric in STORED_METRICS for moment in ("last", "best", "best_epoch")),
    *(f"{name}_{moment}" for name in CENSUS for moment in ("start", "last")),
    *(f"{name}_by_layer_{moment}" for name in CENSUS for moment in ("start", "last")),
    *_JOINED_LATER,
)
"""Columns of the stored row that the training gives again."""

_VERSIONS = {"torch": "torch_version", "numpy": "numpy_version", "this program": "jumpstart_exp_version"}


class InspectError(Exception):
    """A cell cannot be trained again; the message says which and why."""


@dataclass(frozen=True)
class Trainer:
    """The engine and device that train a cell again; `doubt` says why the numbers need not be the stored ones."""

    engine: str
    device: str
    doubt: str


@dataclass(frozen=True)
class Verification:
    """A stored training beside the same done again.

    Attributes:
        values: of the row, how many were compared.
        differences: a text for each of them that came out otherwise.
        rows: of the stored curve, how many were compared.
        differing_rows: how many of these came out otherwise.
        first_difference: of the first of these, its epoch and what differs; empty where none does.
        engine: by which it was done again.
        doubt: why the numbers need not be the stored ones; empty where they have to be.
    """

    values: int
    differences: tuple[str, ...]
    rows: int
    differing_rows: int
    first_difference: str
    engine: str
    doubt: str

    @property
    def is_same(self) -> bool:
        """Whether every value is the stored one, to the bit."""
        return not self.differences and not self.differing_rows


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
        rows = _curve(_train(cell, data, trainer, [], on_progress, _every(cell))[0])
        points = turning_points(rows[:, 0].astype(np.int64), rows[:, CURVE.index("train_acc")], _chance(cell, data))
        wanted = epochs_to_keep(points, last, count)
        done_before = cell.optimizer.epochs
    result, states = _train(cell, data, trainer, wanted, lambda done: on_progress(done_before + done), _every(cell))
    return _snapshots(cell, data, result, states, _agreement(row, result), 0 if epochs is not None else count)


def verify(
    row: Mapping[str, Any],
    cell: Cell,
    curve: Sequence[Mapping[str, Any]],
    data_dir: Path,
    *,
    on_progress: Callable[[float], None],
) -> Verification:
    """Train a stored cell again and compare it with its row and curve, value by value.

    Args:
        row: the stored row.
        cell: of the row.
        curve: its stored curve, a mapping of the store's columns for each row, in the order of the epochs.
        data_dir: folder of the datasets' files.
        on_progress: called with the epochs done.

    Raises:
        DataError: the dataset's files are missing or damaged.
        InspectError: no engine here can train it, or the training failed.
    """
    trainer = trainer_of(row, cell)
    between = [int(stored["epoch"]) for stored in curve][1:-1]  # multiples of what was curve_every
    every = math.gcd(*between) or cell.optimizer.epochs
    # without curve_every a training by mini-batches has its census in few of the rows
    is_usual = not curve or any(_is_null(stored["dead_units"]) for stored in curve)
    result, _ = _train(cell, load(cell.dataset, data_dir), trainer, [], on_progress, None if is_usual else every)
    by_epoch = {again.epoch: again for again in result.curve}
    unlike: dict[int, str] = {}
    for stored in curve:
        columns = {COLUMNS[cell.dataset.task].get(name, name): name for name in CURVE}
        epoch, names = int(stored["epoch"]), [name for name in columns if not _is_null(stored[name])]
        again = {name: getattr(by_epoch.get(epoch), columns[name], None) for name in names}
        if other := [name for name in names if not _is_same(again[name], stored[name])]:
            unlike[epoch] = f"epoch {epoch}: {_difference(other[0], again[other[0]], stored[other[0]])}"
    return Verification(
        values=len(_compared(row)),
        differences=tuple(differences(row, result)),
        rows=len(curve),
        differing_rows=len(unlike),
        first_difference=next(iter(unlike.values()), ""),
        engine=result.engine,
        doubt=trainer.doubt or _other_versions(row, result),
    )


def differences(row: Mapping[str, Any], result: Result) -> list[str]:
    """What the training gave otherwise than the stored one: a text a column."""
    found = result_row(result)
    return [
        _difference(name, found.get(name), row.get(name))
        for name in _compared(row)
        if not _is_same(found.get(name), row.get(name))
    ]


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


def _compared(row: Mapping[str, Any]) -> list[str]:
    return [name for name in _COMPARED if name not in _JOINED_LATER or not _is_null(row.get(name))]


def _other_versions(row: Mapping[str, Any], result: Result) -> str:
    """In which versions that round the row and this training differ, in words."""
    here = result_row(result)
    other = [
        f"{name} {legible(str(row.get(column)))} (here {here[column]})"
        for name, column in _VERSIONS.items()
        if row.get(column) != here[column]
    ]
    return f"it was trained with {', '.join(other)}" if other else ""


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_same(found: Any, stored: Any) -> bool:
    return bool(found == stored) or (_is_null(found) and _is_null(stored))


def _difference(name: str, found: Any, stored: Any) -> str:
    if isinstance(found, list) and isinstance(stored, list) and len(found) == len(stored):
        places = [place for place, pair in enumerate(zip(found, stored, strict=True)) if not _is_same(*pair)]
        first = places[0]
        return (
            f"{name} {_number(found[first])} in layer {first + 1}, stored {_number(stored[first])}"
            f" ({len(places)} of {len(found)} layers differ)"
        )
    return f"{name} {_number(found)}, stored {_number(stored)}"


def _every(cell: Cell) -> int:
    """Epochs between the rows of a curve that shows every turn."""
    return max(1, -(-cell.optimizer.epochs // _MOST_ROWS))


def _train(
    cell: Cell,
    data: Data,
    trainer: Trainer,
    epochs: Sequence[int],
    on_progress: Callable[[float], None],
    every: int | None,
) -> tuple[Result, dict[int, Tensors]]:
    """The training's result, its curve every so many epochs, and its states by the epochs done."""
    states: dict[int, Tensors] = {}
    results: list[Result] = []

    def keep(_: Cell, epoch: int, tensors: Tensors) -> None:
        states[epoch] = tensors

    watch = StateRecorder([epoch for epoch in epochs if epoch > 0], keep)
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
    """Fractions of each layer on the training points, (states, 6, depth), in evaluation mode."""
    forward = forward_of(cell, torch.device("cpu"))
    at_once = max(1, _NUMBERS_AT_ONCE // max(cell.width * cell.positions, cell.dataset.features))
    found = []
    with torch_for(cell):
        for tensors in states:
            load_tensors(forward.network, tensors)
            chunks = (data.inputs(part, dtype(cell)) for part in torch.split(data.x_train, at_once))
            _, seen = forward.evaluate_training_set(chunks)
            uncounted = (np.nan,) * cell.depth
            found.append([getattr(seen, name) or uncounted for name in (*CENSUS, *ACTIVITY)])
    return np.array(found)


def _curve(result: Result) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rows = [[np.nan if (value := getattr(row, name)) is None else value for name in CURVE] for row in result.curve]
    return np.array(rows, dtype=np.float64).reshape(-1, len(CURVE))


def _chance(cell: Cell, data: Data) -> float:
    """What a dead network has: the share of the largest class, or the R² of the mean."""
    if cell.dataset.task == "regression":
        return cell.dataset.chance
    return float(torch.bincount(data.y_train).max() / len(data.y_train))


def _number(value: Any) -> str:
    """With as many digits as tell it from every other number."""
    return repr(value) if isinstance(value, float) else legible(str(value))
