"""The task's loss of a fleet: its value, its gradient, accuracy or R²."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.losses.task import spread_of


class Classification:
    """Mean cross-entropy in nats; one output is the log-odds of class 1.

    Args:
        cells: of one dataset, in the fleet's order.
        data: their dataset.
        device: where the networks are.
        dtype: of their parameters.
    """

    def __init__(self, cells: Sequence[Cell], data: Data, device: torch.device, dtype: torch.dtype) -> None:
        dataset = cells[0].dataset
        self.n_train, self.outputs = len(data.y_train), dataset.outputs
        y = torch.cat([data.y_train, data.y_val]).to(device)
        self.y = y.expand(len(cells), -1).contiguous()
        self.y_number = self.y.to(dtype)
        self.is_class = F.one_hot(y, dataset.classes).T.to(dtype)[-self.outputs :]
        weight = torch.tensor([float(cell.task_loss) for cell in cells], dtype=torch.float64) / self.n_train
        self.weight = weight.to(device, dtype)[:, None, None]

    def judge(self, outputs: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Accuracy and mean loss of every network, on the training and on the validation points.

        Args:
            outputs: of the networks, (networks, outputs, points), the training points first.
        """
        if self.outputs == 1:
            losses = F.binary_cross_entropy_with_logits(outputs[:, 0], self.y_number, reduction="none")
            right = (outputs[:, 0] > 0) == self.y_number
        else:
            losses = -outputs.log_softmax(1).gather(1, self.y[:, None])[:, 0]
            right = outputs.argmax(1) == self.y
        parts = slice(0, self.n_train), slice(self.n_train, None)
        train, val = ((right[:, part].double().mean(1), losses[:, part].mean(1)) for part in parts)
        return train, val

    def gradient(self, outputs: Tensor) -> Tensor:
        """The gradient of the training points' weighted loss, (networks, outputs, training points)."""
        outputs = outputs[..., : self.n_train]
        likely = outputs.sigmoid() if self.outputs == 1 else outputs.softmax(1)
        return (likely - self.is_class[:, : self.n_train]) * self.weight


class Regression:
    """Mean squared error of the one output, and R² by each set's own variance.

    Args:
        cells: of one dataset, in the fleet's order.
        data: their dataset.
        device: where the networks are.
        dtype: of their parameters.
    """

    def __init__(self, cells: Sequence[Cell], data: Data, device: torch.device, dtype: torch.dtype) -> None:
        self.n_train = len(data.y_train)
        self.y = torch.cat([data.y_train, data.y_val]).to(device, dtype)
        self.spreads = [spread_of(cells[0].dataset, y) for y in (data.y_train, data.y_val)]
        weight = torch.tensor([2 * float(cell.task_loss) for cell in cells], dtype=torch.float64) / self.n_train
        self.weight = weight.to(device, dtype)[:, None, None]

    def judge(self, outputs: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """R² and mean squared error of every network, on the training and on the validation points.

        Args:
            outputs: of the networks, (networks, 1, points), the training points first.
        """
        errors = (outputs[:, 0] - self.y).square()
        parts = errors[:, : self.n_train].mean(1), errors[:, self.n_train :].mean(1)
        train, val = ((1 - loss.double() / spread, loss) for loss, spread in zip(parts, self.spreads, strict=True))
        return train, val

    def gradient(self, outputs: Tensor) -> Tensor:
        """The gradient of the training points' weighted loss, (networks, 1, training points)."""
        return (outputs[..., : self.n_train] - self.y[: self.n_train]) * self.weight


def task_of(cells: Sequence[Cell], data: Data, device: torch.device, dtype: torch.dtype) -> Classification | Regression:
    """What the networks of a fleet learn."""
    match cells[0].dataset.task:
        case "classification":
            return Classification(cells, data, device, dtype)
        case "regression":
            return Regression(cells, data, device, dtype)
        case other:
            raise ValueError(f"the engine stacked does not know the task {other}")
