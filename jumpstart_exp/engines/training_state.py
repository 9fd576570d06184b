"""A full-batch training between two epochs, as plain arrays: what `native` and `stacked` keep of a cell."""

import math
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.checkpoint import Keeper
from jumpstart_exp.networks.build import dtype
from jumpstart_exp.result import CENSUS, METRICS, CurveRow

Array = npt.NDArray[np.float64]

CURVE_COLUMNS = len(fields(CurveRow))


@dataclass(frozen=True)
class Snapshot:
    """A cell's training after some epochs; the next one needs nothing else.

    Attributes:
        epochs: that are trained, from 1 to the last but one.
        parameters: (3, parameters) in torch's order: values, Adam's first and second moments.
        running: (2, depth, width), the batch norms' running means and variances; width 0 without them.
        metrics: (metrics, 3) in the order of `METRICS`: last, best, and the epoch of the best, 0 where there is none.
        penalty_start: before λ, in evaluation mode; 0 without one.
        census_start: (4, depth) in the order of `CENSUS`.
        curve: (rows, 10), as the fields of `CurveRow`; the penalty is 0 without one.
        pending: (2,) if the last epoch is not validated yet: its training accuracy and its loss; else (0,).
        seconds: of training so far.
        started: when it began, in ISO's form.
    """

    epochs: int
    parameters: Array
    running: Array
    metrics: Array
    penalty_start: float
    census_start: Array
    curve: Array
    pending: Array
    seconds: float
    started: str

    def state(self, cell: Cell) -> dict[str, Any]:
        """The content of a checkpoint: tensors, numbers and text."""
        state: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, kind in _dtypes(cell).items():
            state[name] = torch.from_numpy(np.ascontiguousarray(state[name])).to(kind)
        return state


def load_snapshot(keeper: Keeper, cell: Cell) -> Snapshot | None:
    """The cell's training as it was last kept; None where it begins anew: what cannot be used is named in a warning."""
    state = keeper.load(cell.key)
    if state is None:
        return None
    try:
        return _snapshot(state, cell)
    except Exception as error:  # whatever does not fit, the cell can begin anew
        keeper.refuse(cell.key, error)
        return None


def parameter_shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    """Shapes of an MLP's parameters by torch's names, in torch's order."""
    width, outputs = cell.width, 1 if cell.dataset.classes == 2 else cell.dataset.classes
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(cell.depth):
        fan_in = width if layer else cell.dataset.features
        if cell.network.layout == "conv2x1":
            shapes[f"hidden.{layer}.weight"] = (width, width if layer else 1, 2)
        else:
            shapes[f"hidden.{layer}.weight"] = (width, fan_in)
        shapes[f"hidden.{layer}.bias"] = (width,)
        if cell.network.norm == "batch":
            shapes |= {f"norms.{layer}.weight": (width,), f"norms.{layer}.bias": (width,)}
    return shapes | {"output.weight": (outputs, width * cell.positions), "output.bias": (outputs,)}


def curve_array(rows: "list[CurveRow] | tuple[CurveRow, ...]") -> Array:
    """(rows, 10), what is None as 0."""
    numbers = [[value or 0.0 for value in astuple(row)] for row in rows]
    return np.array(numbers, dtype=np.float64).reshape(-1, CURVE_COLUMNS)


def _dtypes(cell: Cell) -> dict[str, torch.dtype]:
    exact = dict.fromkeys(("metrics", "census_start", "curve", "pending"), torch.float64)
    return {"parameters": dtype(cell), "running": dtype(cell), **exact}


def _snapshot(state: dict[str, Any], cell: Cell) -> Snapshot:
    """The content of a checkpoint, every part of it looked at.

    Raises:
        Exception: whatever is wrong with it.
    """
    epochs, seconds, penalty_start = int(state["epochs"]), float(state["seconds"]), float(state["penalty_start"])
    if not 0 < epochs < cell.optimizer.epochs:
        raise ValueError(f"epochs={epochs} is not within the training")
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds={seconds} is no time")
    arrays = {name: _array(state, name, kind) for name, kind in _dtypes(cell).items()}
    parameters = sum(math.prod(shape) for shape in parameter_shapes(cell).values())
    shapes: dict[str, tuple[int, ...]] = {
        "parameters": (3, parameters),
        "running": (2, cell.depth, cell.width if cell.network.norm == "batch" else 0),
        "metrics": (len(METRICS), 3),
        "census_start": (len(CENSUS), cell.depth),
        "curve": (min(len(arrays["curve"]), epochs), CURVE_COLUMNS),
        "pending": (2,) if len(arrays["pending"]) else (0,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is of shape {arrays[name].shape}, not {shape}")
    best_epoch, curve_epoch = arrays["metrics"][:, 2], arrays["curve"][:, 0]
    is_sound = {
        "parameters": np.isfinite(arrays["parameters"][0]).all(),
        "metrics": (np.isin(best_epoch, np.arange(epochs + 1)) & (best_epoch == np.floor(best_epoch))).all()
        and np.isfinite(arrays["metrics"][best_epoch > 0]).all(),
        "curve": np.isfinite(arrays["curve"]).all()
        and np.isin(curve_epoch, np.arange(1, epochs + 1)).all()
        and (np.diff(curve_epoch) > 0).all(),
    }
    for name, sound in is_sound.items():
        if not sound:
            raise ValueError(f"{name} has numbers that no training gives")
    started = datetime.fromisoformat(state["started"]).isoformat(timespec="seconds")
    return Snapshot(epochs=epochs, penalty_start=penalty_start, seconds=seconds, started=started, **arrays)


def _array(state: dict[str, Any], name: str, kind: torch.dtype) -> Array:
    tensor = state[name]
    if not isinstance(tensor, Tensor) or tensor.dtype != kind:
        raise TypeError(f"{name} is not a tensor of {kind}")
    found: Array = tensor.double().contiguous().numpy()
    return found
