"""The result of a cell: what an engine hands over and the store keeps."""

import math
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from jumpstart_exp.cell import Cell

Status = Literal["done", "diverged", "failed"]

METRICS = ("train_acc", "val_acc", "train_loss", "val_loss")
"""Measured every epoch: the score and the mean loss of the dataset's task.

Of classes these are accuracies, fractions in [0, 1], and cross-entropies in nats. Of a regression the score is R², at
most 1 and negative for what is worse than the mean, and the loss the mean squared error of standardised targets.
"""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "classification": {name: name for name in METRICS},
    "regression": {name: name.replace("acc", "r2") for name in METRICS},
}
"""What the store calls each metric, by the task: those of the other task are null."""

STORED_METRICS = tuple(dict.fromkeys([*METRICS, *(name for of in COLUMNS.values() for name in of.values())]))
"""The columns of all tasks."""

SCORES: Mapping[str, str] = {"classification": "accuracy", "regression": "R²"}
"""What the score is called, by the task."""

LOSSES: Mapping[str, str] = {"classification": "cross-entropy", "regression": "squared error"}
"""What the loss is called, by the task."""

CENSUS = ("dead_units", "linear_units", "dead_points", "linear_points")
"""Fractions in [0, 1] of the hidden units, or of the (hidden layer, training point) pairs: the mean over layers.

Of activations that are linear on either side of 0: dead is a derivative of exactly 0, linear a pre-activation above 0.
Smooth ones have none of them, and `ACTIVITY` beside.
Of dead points the papers have two others: those dead at some layer (ICLR, equation 7), which is `DEAD_AT_SOME_LAYER`,
and those dead at every layer (SepCons, equation 9), which are not counted.
"""

ACTIVITY = ("dormant_units", "firing_rate")
"""Fractions in [0, 1], means over layers, of any activation: dormant hidden units, and positive pre-activations.

A unit is dormant (Sokar et al. 2023) if its mean |output| over the points is at most `DORMANT_TAU` times the mean of
its layer's units (plus 1e-9); its firing rate is the share of the points for which its pre-activation is above 0.
"""

DORMANT_TAU = 0.025

DEAD_AT_SOME_LAYER = "dead_points_at_some_layer"
"""Fraction in [0, 1] of the training points that are dead at one hidden layer or more (ICLR, equation 7)."""


@dataclass(frozen=True)
class Metric:
    """One metric over a training: at the last epoch, at its best, and the epoch (from 1) that first reached it.

    The best score is the largest, the best loss the smallest.
    """

    last: float | None = None
    best: float | None = None
    best_epoch: int | None = None


@dataclass(frozen=True)
class LayerCensus:
    """Fractions per hidden layer, input to output, each of length depth (CPAIOR, definitions 1 and 2).

    The first four are None of smooth activations, `dormant_units` and `firing_rate` (see `ACTIVITY`) where they were
    not counted.
    `dead_at_some_layer` is the fraction of the points that are dead at one layer or more (ICLR, equation 7); None where
    that was not counted: layers that see different numbers of points, or a checkpoint of an earlier version.
    """

    dead_units: tuple[float, ...] | None
    linear_units: tuple[float, ...] | None
    dead_points: tuple[float, ...] | None
    linear_points: tuple[float, ...] | None
    dead_at_some_layer: float | None = None
    dormant_units: tuple[float, ...] | None = None
    firing_rate: tuple[float, ...] | None = None

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[float]], dead_at_some_layer: float) -> "LayerCensus":
        """From numbers (6, depth) in the order of `CENSUS`, then `ACTIVITY`; NaN for what was not counted."""
        counted = (None if any(map(math.isnan, row)) else tuple(map(float, row)) for row in rows)
        dead_units, linear_units, dead, linear, dormant, firing = counted
        somewhere = None if math.isnan(dead_at_some_layer) else float(dead_at_some_layer)
        return cls(dead_units, linear_units, dead, linear, somewhere, dormant, firing)

    def __str__(self) -> str:
        """A line a layer, then the points that are dead at some layer; fractions with two digits."""
        names = [name for name in (*CENSUS, *ACTIVITY) if getattr(self, name) is not None]
        lines = ["layer  " + "  ".join(name.replace("_", " ") for name in names)]
        for layer, row in enumerate(zip(*(getattr(self, name) for name in names), strict=True), start=1):
            cells = (f"{value:.2f}".rjust(len(name)) for name, value in zip(names, row, strict=True))
            lines.append(f"{layer:>5}  " + "  ".join(cells))
        if self.dead_at_some_layer is not None:
            lines.append(f"points dead at some layer: {self.dead_at_some_layer:.2f}")
        return "\n".join(lines)

    def mean(self, name: str) -> float | None:
        """The layers' mean, which of equally wide ones is the fraction over all units or points; None of None."""
        values: tuple[float, ...] | None = getattr(self, name)
        return None if values is None else sum(values) / len(values)


def traceback_of(error: BaseException) -> str:
    """The whole traceback as Python prints it, in letters that can be stored."""
    return "".join(traceback.format_exception(error)).encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class CurveRow:
    """What one epoch (counted from 1) looked like; penalty and census are taken after it, in evaluation mode.

    They are None where only the scores and losses, which the training has anyway, were taken.

    Of a training with relaxed layers (relaxed activation identity), after the epoch: `logit_gap`, the mean over
    training points and outputs of |what its loss is of − outputs of the plain composition|; `largest_z`, the largest
    |relaxed value|; `hidden_losses` of each relaxed layer from input to output, before their weight. Else None.
    """

    epoch: int
    train_acc: float
    val_acc: float
    train_loss: float
    val_loss: float
    penalty: float | None
    dead_units: float | None
    linear_units: float | None
    dead_points: float | None
    linear_points: float | None
    logit_gap: float | None = None
    largest_z: float | None = None
    hidden_losses: tuple[float, ...] | None = None


RELAXED = ("logit_gap", "largest_z", "hidden_losses")
"""What only a training with relaxed layers has in the rows of its curve."""


def relaxed_row(row: CurveRow, measured: Sequence[float]) -> CurveRow:
    """A curve's row with what is measured of relaxed layers: `logit_gap`, `largest_z`, then the hidden losses."""
    gap, largest, *losses = measured
    return replace(row, logit_gap=gap, largest_z=largest, hidden_losses=tuple(losses))


@dataclass(frozen=True)
class Result:
    """What became of a cell.

    `train_*` is as seen during the epoch (before its last update, dropout on, batch statistics), `val_*` after
    it in evaluation mode. Census and `penalty_*` (before λ; None without a penalty) are of the whole training
    set in evaluation mode, before the first and after the last step. A `diverged` cell met a non-finite loss,
    penalty or parameter in epoch `diverged_epoch`: its last values are None, its best ones are from before. Of a
    `failed` one `error` is the last line, `traceback` all that is known beyond it.
    """

    cell: Cell
    status: Status
    engine: str
    device: str = "cpu"
    n_params: int | None = None
    epochs_run: int = 0
    diverged_epoch: int | None = None
    train_acc: Metric = Metric()
    val_acc: Metric = Metric()
    train_loss: Metric = Metric()
    val_loss: Metric = Metric()
    penalty_start: float | None = None
    penalty_last: float | None = None
    census_start: LayerCensus | None = None
    census_last: LayerCensus | None = None
    seconds: float = 0.0
    peak_memory_bytes: int | None = None
    started: str = ""
    error: str | None = None
    traceback: str | None = None
    curve: tuple[CurveRow, ...] = field(default=(), repr=False)
