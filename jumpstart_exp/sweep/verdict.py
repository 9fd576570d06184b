"""What a stored training came to, in one line of words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.result import COLUMNS, SCORES

_ROUNDING = 1e-6
"""Between accuracies that are the same number of right points."""

_MEANINGLESS = 0.01
"""R² of a network that says little else than the mean."""


@dataclass(frozen=True)
class ClassShares:
    """The share of each class among the training and among the validation points, fractions in [0, 1], (classes,)."""

    train: Sequence[float]
    val: Sequence[float]


def verdict(cell: Cell, row: Mapping[str, Any], shares: Callable[[], ClassShares | None]) -> str:
    """Whether the network trains, lost it again, or is stuck at chance, and how that is seen.

    Args:
        cell: what was trained.
        row: its stored row, of status done or diverged.
        shares: gives the classes' shares; None where the points are not at hand. Called only where they are needed.
    """
    task, threshold = cell.dataset.task, cell.dataset.threshold
    column, score = COLUMNS[task]["train_acc"], SCORES[task]
    best, last, epoch = (row[f"{column}_{moment}"] for moment in ("best", "last", "best_epoch"))
    if row["status"] == "diverged":
        before = "" if best is None else f"; its best training {score} before was {best:.4f}"
        return f"diverged in epoch {row['diverged_epoch']}, which counts as not trained{before}"
    if best is None or last is None:
        return f"nothing can be said of it: the row has no training {score}"
    if not cell.task_loss:
        start, end = row["penalty_start"], row["penalty_last"]
        said = "classes" if task == "classification" else "targets"
        return f"trained on the penalty alone, which says nothing of {said}: {start:.4g} → {end:.4g}"
    if _reaches(last, threshold):
        return f"trains: training {score} {last:.4f} at the last epoch ({threshold:.4g} or more)"
    now = _one_answer(cell, row, shares)
    if _reaches(best, threshold):
        words = (
            f"trained at its best epoch, lost it since: training {score} {best:.4f} at epoch {epoch}, now {last:.4f}"
        )
        return f"{words}: {now}" if now else words
    if task == "regression" and best <= _MEANINGLESS:
        return f"stuck at chance: {now or 'it was never better than the mean of the targets'}"
    known = shares()
    if known is not None and best <= max(known.train) + _ROUNDING:
        return f"stuck at chance: {now or 'it was never better than calling every point by the largest class'}"
    words = f"does not train: its best training {score}, {best:.4f} at epoch {epoch}, is below {threshold:.4g}"
    return f"{words}; now {now}" if now else words


def _reaches(accuracy: float, threshold: float) -> bool:
    return accuracy >= threshold - 1e-9


def _one_answer(cell: Cell, row: Mapping[str, Any], shares: Callable[[], ClassShares | None]) -> str:
    """That every point gets the same answer at the end, and how that is known; empty where it is not."""
    is_class = cell.dataset.task == "classification"
    layers = row.get("dead_points_by_layer_last") or ()
    if 1.0 in layers:  # what follows is the same for all points
        words = "every point is put into one class" if is_class else "every point gets one number"
        return f"{words} (all are dead at layer {list(layers).index(1.0) + 1})"
    if not is_class:
        return ""
    known = shares()
    if known is not None and row["val_acc_last"] is not None:
        for train, val in zip(known.train, known.val, strict=True):
            if abs(row["train_acc_last"] - train) < _ROUNDING and abs(row["val_acc_last"] - val) < _ROUNDING:
                return "every point is put into one class"
    return ""
