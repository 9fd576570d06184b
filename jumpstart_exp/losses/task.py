"""The loss of the task that a dataset poses, and what the network's outputs say."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.data.base import DatasetSpec


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        loss: (outputs (points, outputs), targets (points,)) → the mean over the points, a scalar.
        right: (outputs, targets) → how many points the outputs say the right class of; 0 where there are no classes.
        targets: (labels (points,), type of the outputs) → what loss and `right` take.
        score: (mean loss, share of right points, spread) → accuracy, or R²; the spread is that of `spread_of`.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    right: Callable[[Tensor, Tensor], Tensor]
    targets: Callable[[Tensor, torch.dtype], Tensor]
    score: Callable[[float, float, float], float]


def task_of(dataset: DatasetSpec) -> Task:
    """The dataset's task: of classes the cross-entropy in nats, of numbers the mean squared error.

    One output is the log-odds of class 1, or the number.

    Raises:
        ValueError: the task has no loss.
    """
    match dataset.task, dataset.outputs:
        case "classification", 1:
            return Task(
                _binary_cross_entropy,
                lambda outputs, targets: ((outputs[:, 0] > 0) == targets).sum(),
                lambda labels, dtype: labels.to(dtype),
                _accuracy,
            )
        case "classification", _:
            return Task(
                F.cross_entropy,
                lambda outputs, targets: (outputs.argmax(dim=1) == targets).sum(),
                lambda labels, _: labels,
                _accuracy,
            )
        case "regression", 1:
            return Task(
                _squared_error,
                lambda outputs, _: outputs.new_zeros(()),
                lambda targets, dtype: targets.to(dtype),
                lambda loss, _, spread: 1 - loss / spread,
            )
        case other, _:
            raise ValueError(f"dataset.task={other!r} has no loss")


def spread_of(dataset: DatasetSpec, targets: Tensor) -> float:
    """The variance of a set's targets, by which R² = 1 − MSE / variance; NaN of classes, which have none.

    Args:
        dataset: whose points they are.
        targets: as they are loaded, (points,).
    """
    return float(targets.double().var(correction=0)) if dataset.task == "regression" else math.nan


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets)


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs[:, 0], targets)


def _accuracy(_: float, right: float, __: float) -> float:
    return right
