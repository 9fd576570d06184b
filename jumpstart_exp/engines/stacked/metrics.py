"""What is known of the networks of a fleet: last and best values, divergence."""

import math

import torch
from torch import Tensor

from jumpstart_exp.result import METRICS


class FleetMetrics:
    """What is known of every network, epoch by epoch, kept on the device.

    `last`, `best` and `best_epoch` are of shape (metrics, networks), in the order of `METRICS`.
    """

    def __init__(self, networks: int, device: torch.device) -> None:
        def new(*shape: int, fill: float = 0.0, of: torch.dtype = torch.int64) -> Tensor:
            return torch.full(shape, fill, device=device, dtype=of)

        self.epochs_done = new()
        self.is_open = new(of=torch.bool)  # an epoch is noted and not settled
        self.is_alive, self.was_finite = (new(networks, fill=True, of=torch.bool) for _ in range(2))
        self.epochs_run, self.diverged_epoch = new(networks), new(networks)
        self.train_acc, self.train_loss = (new(networks, of=torch.float64) for _ in range(2))
        self.sign = torch.tensor([[1.0 if name.endswith("acc") else -1.0] for name in METRICS], device=device)
        self.last = new(len(METRICS), networks, of=torch.float64)
        self.best = -math.inf * self.sign.double().expand_as(self.last)
        self.best_epoch = new(len(METRICS), networks)

    def record_training(self, accuracy: Tensor, loss: Tensor, is_finite: Tensor) -> None:
        """An epoch's training is over; `is_finite` is of its penalty and of the parameters after it."""
        self.train_acc.copy_(accuracy)
        self.train_loss.copy_(loss)
        self.was_finite.copy_(is_finite)
        self.epochs_done.add_(1)
        self.is_open.fill_(True)

    def record_validation(self, accuracy: Tensor, loss: Tensor, is_finite: Tensor | None = None) -> None:
        """Validation after the epoch that is open, if one is; `is_finite` adds what was found on the training set."""
        values = torch.stack([self.train_acc, accuracy.double(), self.train_loss, loss.double()])
        finite = values.sum(0).isfinite() & self.was_finite
        if is_finite is not None:
            finite &= is_finite
        alive = self.is_alive & self.is_open
        counts, diverged = alive & finite, alive & ~finite
        self.diverged_epoch.add_(diverged * self.epochs_done)
        self.is_alive &= ~diverged
        torch.where(counts, self.epochs_done, self.epochs_run, out=self.epochs_run)
        torch.where(counts, values, self.last, out=self.last)
        better = counts & (self.sign * values > self.sign * self.best)
        torch.where(better, values, self.best, out=self.best)
        torch.where(better, self.epochs_done, self.best_epoch, out=self.best_epoch)
        self.is_open.fill_(False)
