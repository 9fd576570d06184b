"""A full-batch training between two epochs, as plain arrays: what `native` and `stacked` keep of a cell."""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.checkpoint import CheckpointWriter
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.methods.relaxation import relaxed_shapes
from jumpstart_exp.networks.build import dtype, parameter_shapes, running_shape
from jumpstart_exp.result import ACTIVITY, CENSUS, METRICS, RELAXED, CurveRow, relaxed_row

Array = npt.NDArray[np.float64]

CURVE_COLUMNS = len(fields(CurveRow)) - len(RELAXED)
"""Numbers of a curve's row without relaxed layers."""

_PENALTY = [field.name for field in fields(CurveRow)].index("penalty")

_BRANCHES = ("network", "method", "optimizer")
"""Of the state's tree, in the cell's precision."""

_EXACT = ("metrics", "census_start", "curve", "pending")
"""Arrays that are kept in float64."""


@dataclass(frozen=True)
class TrainingState:
    """A cell's training after some epochs; the next one needs nothing else.

    Attributes:
        epochs: that are trained, from 1 to the last but one.
        network: `parameters` (parameters,) in torch's order and `running` (2, depth, width), the norms' running means
            and variances; width 0 without them.
        method: `z` (numbers,), where layers are relaxed: all relaxed values, in the order of `relaxed_shapes`.
        optimizer: every slot by its name, (parameters,) in torch's order, then those of `z`.
        metrics: (metrics, 3) in the order of `METRICS`: last, best, and the epoch of the best, 0 where there is none.
        penalty_start: before λ, in evaluation mode; 0 without one.
        census_start: (6, depth) in the order of `CENSUS`, then `ACTIVITY`; NaN for what the activation has not.
        dead_at_some_layer_start: fraction of the points; NaN where it is not known.
        curve: (rows, 10), as the fields of `CurveRow`; the penalty is 0 without one, a census NaN without. With relaxed
            layers (rows, 12 + layers): then the gap, the largest |z|, the hidden losses.
        pending: (2,) if the last epoch is not validated yet: its training accuracy and its loss; else (0,).
        seconds: of training so far.
        started: when it began, in ISO's form.
    """

    epochs: int
    network: Mapping[str, Array]
    method: Mapping[str, Array]
    optimizer: Mapping[str, Array]
    metrics: Array
    penalty_start: float
    census_start: Array
    dead_at_some_layer_start: float
    curve: Array
    pending: Array
    seconds: float
    started: str

    def content(self, cell: Cell) -> dict[str, Any]:
        """The content of a checkpoint: tensors, numbers and text."""
        content: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for branch in _BRANCHES:
            content[branch] = {name: _tensor(value, dtype(cell)) for name, value in content[branch].items()}
        return content | {name: _tensor(content[name], torch.float64) for name in _EXACT}


def known(number: float) -> float | None:
    """The number; None for the NaN that stands for what was not counted."""
    return None if math.isnan(number) else float(number)


def curve_row(epoch: int, *numbers: Any) -> CurveRow:
    """A row of a curve from its numbers, NaN in its census for None."""
    plain, relaxed = numbers[: CURVE_COLUMNS - 1], numbers[CURVE_COLUMNS - 1 :]
    before = len(plain) - len(CENSUS)
    row = CurveRow(epoch, *plain[:before], *(None if one is None else known(one) for one in plain[before:]))
    return relaxed_row(row, relaxed) if relaxed else row


def curve_columns(cell: Cell) -> int:
    """Numbers of a row of the cell's curve."""
    return CURVE_COLUMNS + (2 + len(relaxed_shapes(cell)) if cell.rai_weight else 0)


def method_count(cell: Cell) -> int:
    """How many numbers the cell's methods train beside the network."""
    return sum(map(math.prod, relaxed_shapes(cell).values())) if cell.rai_weight else 0


def load_training_state(keeper: CheckpointWriter, cell: Cell) -> TrainingState | None:
    """The cell's training as it was last kept; None where it begins anew: what cannot be used is named in a warning."""
    content = keeper.load(cell.key)
    if content is None:
        return None
    try:
        return _training_state(content, cell)
    except Exception as error:  # whatever does not fit, the cell can begin anew
        keeper.refuse(cell.key, error)
        return None


def curve_array(rows: "list[CurveRow] | tuple[CurveRow, ...]") -> Array:
    """(rows, 10), a penalty that is None as 0, a census that is None as NaN."""
    numbers = [[math.nan if value is None else value for value in astuple(row)[:CURVE_COLUMNS]] for row in rows]
    relaxed = [[row.logit_gap, row.largest_z, *(row.hidden_losses or ())] for row in rows if row.hidden_losses]
    found = np.array(numbers, dtype=np.float64).reshape(-1, CURVE_COLUMNS)
    if relaxed:
        found = np.concatenate([found, np.array(relaxed, dtype=np.float64)], 1)
    found[:, _PENALTY] = np.nan_to_num(found[:, _PENALTY], posinf=np.inf, neginf=-np.inf)
    return found


def _training_state(content: dict[str, Any], cell: Cell) -> TrainingState:
    """The content of a checkpoint, every part of it looked at.

    Raises:
        Exception: whatever is wrong with it.
    """
    epochs, seconds, penalty_start = int(content["epochs"]), float(content["seconds"]), float(content["penalty_start"])
    dead = float(content.get("dead_at_some_layer_start", math.nan))
    if not 0 < epochs < cell.optimizer.epochs:
        raise ValueError(f"epochs={epochs} is not within the training")
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds={seconds} is no time")
    if not (0 <= dead <= 1 or math.isnan(dead)):
        raise ValueError(f"dead_at_some_layer_start={dead} is no fraction")
    parameters = (sum(math.prod(shape) for shape in parameter_shapes(cell).values()),)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "network": {"parameters": parameters, "running": running_shape(cell)},
        "method": {"z": (method_count(cell),)} if cell.rai_weight else {},
        "optimizer": dict.fromkeys(optimizer(cell.optimizer).slots, (parameters[0] + method_count(cell),)),
    }
    tree: dict[str, Any] = {}
    for branch, names in shapes.items():
        if content[branch].keys() != names.keys():
            raise ValueError(f"{branch} has {', '.join(content[branch])}, not {', '.join(names)}")
        tree[branch] = {name: _array(content[branch], name, dtype(cell), shape) for name, shape in names.items()}
    rows, pending = len(content["curve"]), len(content["pending"])
    census = content["census_start"]
    if census.shape == (len(CENSUS), cell.depth):  # from before `ACTIVITY` was counted
        unknown = census.new_full((len(ACTIVITY), cell.depth), math.nan)
        content = {**content, "census_start": torch.cat([census, unknown])}
    exact_shapes = {
        "metrics": (len(METRICS), 3),
        "census_start": (len(CENSUS) + len(ACTIVITY), cell.depth),
        "curve": (min(rows, epochs), curve_columns(cell)),
        "pending": (2,) if pending else (0,),
    }
    exact: dict[str, Any] = {name: _array(content, name, torch.float64, exact_shapes[name]) for name in _EXACT}
    best_epoch, curve_epoch = exact["metrics"][:, 2], exact["curve"][:, 0]
    is_sound = {
        "parameters": np.isfinite(tree["network"]["parameters"]).all(),
        "z": np.isfinite(tree["method"].get("z", 0.0)).all(),
        "metrics": (np.isin(best_epoch, np.arange(epochs + 1)) & (best_epoch == np.floor(best_epoch))).all()
        and np.isfinite(exact["metrics"][best_epoch > 0]).all(),
        "curve": np.isfinite(exact["curve"][:, : CURVE_COLUMNS - len(CENSUS)]).all()
        and not np.isinf(exact["curve"]).any()
        and np.isin(curve_epoch, np.arange(1, epochs + 1)).all()
        and (np.diff(curve_epoch) > 0).all(),
    }
    for name, sound in is_sound.items():
        if not sound:
            raise ValueError(f"{name} has numbers that no training gives")
    started = datetime.fromisoformat(content["started"]).isoformat(timespec="seconds")
    return TrainingState(
        epochs=epochs,
        penalty_start=penalty_start,
        dead_at_some_layer_start=dead,
        seconds=seconds,
        started=started,
        **tree,
        **exact,
    )


def _tensor(array: Array, kind: torch.dtype) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(kind)


def _array(content: Mapping[str, Any], name: str, kind: torch.dtype, shape: tuple[int, ...]) -> Array:
    tensor = content[name]
    if not isinstance(tensor, Tensor) or tensor.dtype != kind:
        raise TypeError(f"{name} is not a tensor of {kind}")
    if tensor.shape != shape:
        raise ValueError(f"{name} is of shape {tuple(tensor.shape)}, not {shape}")
    found: Array = tensor.double().contiguous().numpy()
    return found
