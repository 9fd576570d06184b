"""The loss of the task that a dataset poses, and what the network's outputs say."""

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
        predictions: outputs → what they say of each point, to be compared with the targets.
        targets: (labels (points,), type of the outputs) → what loss and predictions take.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    predictions: Callable[[Tensor], Tensor]
    targets: Callable[[Tensor, torch.dtype], Tensor]


def task_of(dataset: DatasetSpec) -> Task:
    """The dataset's task: of classes the cross-entropy in nats; one output is the log-odds of class 1.

    Raises:
        ValueError: the task has no loss.
    """
    match dataset.task, dataset.outputs:
        case "classification", 1:
            return Task(
                _binary_cross_entropy, lambda outputs: outputs[:, 0] > 0, lambda labels, dtype: labels.to(dtype)
            )
        case "classification", _:
            return Task(F.cross_entropy, lambda outputs: outputs.argmax(dim=1), lambda labels, _: labels)
        case other, _:
            raise ValueError(f"dataset.task={other!r} has no loss")


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets)
