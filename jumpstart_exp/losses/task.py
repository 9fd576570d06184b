"""The loss of the task that a dataset poses, and what the network's outputs say."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.data.base import DatasetSpec


class Rule(Protocol):
    """A number of outputs, targets and, where points have them, weights."""

    def __call__(self, outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """A scalar."""


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        loss: (outputs (points, outputs), targets (points,), weights (points,) or None) → the mean over the points, a
            scalar; with weights that of weight × loss.
        right: (outputs, targets, weights or None) → how many points the outputs say the right class of, or their
            weights' sum; 0 where there are no classes.
        targets: (labels (points,), type of the outputs) → what loss and `right` take.
        score: (mean loss, share of right points, spread) → accuracy, or R², 0 without a spread: that of `spread_of`.
    """

    loss: Rule
    right: Rule
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
                lambda outputs, targets, weights=None: _count((outputs[:, 0] > 0) == targets, weights),
                lambda labels, dtype: labels.to(dtype),
                _accuracy,
            )
        case "classification", _:
            return Task(
                _cross_entropy,
                lambda outputs, targets, weights=None: _count(outputs.argmax(dim=1) == targets, weights),
                lambda labels, _: labels,
                _accuracy,
            )
        case "regression", 1:
            return Task(
                _squared_error,
                lambda outputs, _, __=None: outputs.new_zeros(()),
                lambda targets, dtype: targets.to(dtype),
                lambda loss, _, spread: 1 - loss / spread if spread > 0 else 0.0,
            )
        case other, _:
            raise ValueError(f"dataset.task={other!r} has no loss")


def spread_of(dataset: DatasetSpec, targets: Tensor, weights: Tensor | None = None) -> float:
    """The variance of a set's targets, by which R² = 1 − MSE / variance; NaN of classes, which have none.

    Args:
        dataset: whose points they are.
        targets: as they are loaded, (points,).
        weights: of the points, (points,), of the mean 1; None for none.
    """
    if dataset.task != "regression":
        return math.nan
    targets = targets.double()
    if weights is None:
        return float(targets.var(correction=0))
    return float((weights * (targets - (weights * targets).mean()) ** 2).mean())


def _count(is_right: Tensor, weights: Tensor | None) -> Tensor:
    return is_right.sum() if weights is None else (is_right * weights).sum()


def _binary_cross_entropy(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets, weights)


def _cross_entropy(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    if weights is None:
        return F.cross_entropy(outputs, targets)
    return (weights * F.cross_entropy(outputs, targets, reduction="none")).mean()


def _squared_error(outputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    if weights is None:
        return F.mse_loss(outputs[:, 0], targets)
    return (weights * (outputs[:, 0] - targets) ** 2).mean()


def _accuracy(_: float, right: float, __: float) -> float:
    return right
