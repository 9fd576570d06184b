"""What a stored training came to, in one line of words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jumpstart_exp.cell import Cell

_ROUNDING = 1e-6
"""Between accuracies that are the same number of right points."""


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
    best, last, threshold = row["train_acc_best"], row["train_acc_last"], cell.dataset.threshold
    epoch = row["train_acc_best_epoch"]
    if row["status"] == "diverged":
        before = "" if best is None else f"; its best training accuracy before was {best:.4f}"
        return f"diverged in epoch {row['diverged_epoch']}, which counts as not trained{before}"
    if best is None or last is None:
        return "nothing can be said of it: the row has no training accuracy"
    if not cell.task_loss:
        start, end = row["penalty_start"], row["penalty_last"]
        return f"trained on the penalty alone, which says nothing of classes: {start:.4g} → {end:.4g}"
    if _reaches(last, threshold):
        return f"trains: training accuracy {last:.4f} at the last epoch ({threshold:.4g} or more)"
    now = _one_class(row, shares)
    if _reaches(best, threshold):
        words = (
            f"trained at its best epoch, lost it since: training accuracy {best:.4f} at epoch {epoch}, now {last:.4f}"
        )
        return f"{words}: {now}" if now else words
    known = shares()
    if known is not None and best <= max(known.train) + _ROUNDING:
        return f"stuck at chance: {now or 'it was never better than calling every point by the largest class'}"
    words = f"does not train: its best training accuracy, {best:.4f} at epoch {epoch}, is below {threshold:.4g}"
    return f"{words}; now {now}" if now else words


def _reaches(accuracy: float, threshold: float) -> bool:
    return accuracy >= threshold - 1e-9


def _one_class(row: Mapping[str, Any], shares: Callable[[], ClassShares | None]) -> str:
    """That every point is put into one class at the end, and how that is known; empty where it is not."""
    layers = row.get("dead_points_by_layer_last") or ()
    if 1.0 in layers:  # what follows is the same for all points
        return f"every point is put into one class (all are dead at layer {list(layers).index(1.0) + 1})"
    known = shares()
    if known is not None and row["val_acc_last"] is not None:
        for train, val in zip(known.train, known.val, strict=True):
            if abs(row["train_acc_last"] - train) < _ROUNDING and abs(row["val_acc_last"] - val) < _ROUNDING:
                return "every point is put into one class"
    return ""
