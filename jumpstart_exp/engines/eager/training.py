"""One cell's training, step by step: the loop of the papers, and what is measured on the way."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.augmentation import flip_and_crop
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.checkpoint import Keeper
from jumpstart_exp.engines.eager.forward import forward_of
from jumpstart_exp.engines.replay import Replayed
from jumpstart_exp.losses.separation import TieDraws
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.networks.build import count_parameters, dtype
from jumpstart_exp.randomness import Stream, draws, keep_threshold
from jumpstart_exp.result import CENSUS, METRICS, CurveRow, LayerCensus, Metric, Result

_TIE_STREAMS = {
    "U+": Stream.TIE_UNIT_ABOVE,
    "U-": Stream.TIE_UNIT_BELOW,
    "P+": Stream.TIE_POINT_ABOVE,
    "P-": Stream.TIE_POINT_BELOW,
    "L+": Stream.TIE_LAYER_ABOVE,
    "L-": Stream.TIE_LAYER_BELOW,
}

_TOLD_EVERY = 1.0
"""Seconds in an epoch after which its progress is told."""

_SURVEYS = 10
"""Surveys of a training by mini-batches, for each of which all its points pass through the network, by default."""

_NUMBERS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 24}
"""Numbers of a layer's activations that an evaluation has in memory: points go through the network in chunks."""


class Training:
    """One cell's training on a device, from its beginning or from where a checkpoint was written.

    Args:
        cell: what is trained.
        data: its points.
        device: a torch device.
        curve_every: epochs between the rows of a curve; None for about 100, with penalty and census in about 10 of
            them where the training is by mini-batches.
        keeper: what keeps the state of cells in training, of which this is one; None for nothing.
    """

    epochs_run: int
    metrics: "dict[str, _Tracker]"

    def __init__(
        self,
        cell: Cell,
        data: Data,
        device: torch.device,
        curve_every: int | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.cell, self.device, self.keeper = cell, device, keeper
        epochs, is_full_batch = cell.optimizer.epochs, cell.batch_size == cell.dataset.sizes()[0]
        self.curve_every = curve_every or max(1, round(epochs / 100))
        self.survey_every = self.curve_every
        if curve_every is None and not is_full_batch:
            self.survey_every = max(1, round(epochs / _SURVEYS))
        self.data = data
        self.x_train, self.x_val = (
            x.to(device) if data.mean else x.to(device, dtype(cell)) for x in (data.x_train, data.x_val)
        )
        self.y_train, self.y_val = (_targets(y, cell).to(device) for y in (data.y_train, data.y_val))
        self.replayed = Replayed(device) if self._is_graph() else None
        self.rows: dict[int, Tensor] = {}  # by batch size, what a replayed step reads
        self.begun = time.perf_counter()
        self.diverged_epoch: int | None = None
        self._begin()
        if not self._goes_on():
            self.penalty_start, self.census_start = self._survey()
            self.penalty_last: float | None = self.penalty_start
            self.census_last: LayerCensus | None = self.census_start

    @property
    def epochs_done(self) -> float:
        """Epochs that are trained, with the share of the one in training."""
        return self.epochs_run + self.batches_done / self._batch_count()

    def epochs(self) -> Iterator[float]:
        """Train, yielding the epochs done after each and in long ones; ends early when the training diverges."""
        for epoch in range(self.epochs_run + 1, self.cell.optimizer.epochs + 1):
            yield from self._train_epoch(epoch - 1)
            train_loss, train_acc, penalty = self._seen_in_training()
            val_loss, val_acc = self._validate()
            if not (math.isfinite(train_loss + val_loss + penalty) and self._parameters_finite()):
                self.diverged_epoch = epoch
                return
            is_last = epoch == self.cell.optimizer.epochs
            if is_last or epoch == 1 or epoch % self.curve_every == 0:
                seen: LayerCensus | None = None
                survey_penalty: float | None = None
                if is_last or epoch == 1 or epoch % self.survey_every == 0:
                    survey_penalty, seen = self._survey()
                    self.penalty_last, self.census_last = survey_penalty, seen
                if math.isfinite(survey_penalty or 0.0):
                    self.curve.append(_curve_row(epoch, train_acc, val_acc, train_loss, val_loss, survey_penalty, seen))
                elif is_last:  # an earlier one is met by the next epoch's training, whatever the curve asks for
                    self.diverged_epoch = epoch
                    return
            self.epochs_run = epoch
            for name, value in zip(METRICS, (train_acc, val_acc, train_loss, val_loss), strict=True):
                self.metrics[name].add(epoch, value)
            yield epoch

    def result(self, engine: str) -> Result:
        """The cell's result once the epochs are over."""
        done = self.diverged_epoch is None
        train_acc, val_acc, train_loss, val_loss = (self.metrics[name].metric(keep_last=done) for name in METRICS)
        return Result(
            self.cell,
            "done" if done else "diverged",
            engine,
            str(self.device),
            n_params=count_parameters(self.network),
            epochs_run=self.epochs_run,
            diverged_epoch=self.diverged_epoch,
            train_acc=train_acc,
            val_acc=val_acc,
            train_loss=train_loss,
            val_loss=val_loss,
            penalty_start=self.penalty_start,
            penalty_last=self.penalty_last if done else None,
            census_start=self.census_start,
            census_last=self.census_last if done else None,
            seconds=self._seconds(),
            peak_memory_bytes=_peak_memory_bytes(self.device),
            started=self.started,
            curve=tuple(self.curve),
        )

    def loss(self, x: Tensor, y: Tensor, epoch: int, batch: int, points: Tensor | None) -> tuple[Tensor, ...]:
        """Total loss, task loss, penalty (before λ) and number of right predictions of one batch in training mode.

        Args:
            x: points as the network sees them.
            y: their targets.
            epoch: counted from 0.
            batch: number of the batch in its epoch.
            points: indices of the points in the training set; None for all in order.
        """
        cell = self.cell
        logits, penalty = self.forward.train(
            x, self._dropout(epoch, points, len(x)), self._tie_draws(epoch, batch, points)
        )
        task = _task_loss(logits, y)
        right = (_predictions(logits) == y).sum()
        total = task if cell.task_loss else torch.zeros_like(task)
        if penalty is None:
            return total, task, torch.zeros_like(task), right
        return total + cell.penalty_weight * penalty, task, penalty, right

    def full_batch(self) -> tuple[Tensor, Tensor]:
        """All training points as the network sees them, not augmented, and their targets."""
        return self.data.inputs(self.x_train, dtype(self.cell)), self.y_train

    def step(self, total: Tensor) -> None:
        """One Adam step down the gradient of the total loss."""
        self.steps += 1
        optimizer = self.cell.optimizer
        if optimizer.eps_rule == "keras":
            # ε̂ stands beside √v before the bias correction: torch's ε is ε̂ over √(1 − β₂ᵗ)
            self.adam.param_groups[0]["eps"] = optimizer.eps / math.sqrt(1 - optimizer.beta2**self.steps)
        self.adam.zero_grad()
        torch.autograd.backward(total)
        self.adam.step()

    def _begin(self) -> None:
        """The state before the first step."""
        optimizer = self.cell.optimizer
        self.forward = forward_of(self.cell, self.device)
        self.network = self.forward.network
        self.parameters = list(self.network.parameters())
        self.adam = torch.optim.Adam(
            self.parameters,
            lr=optimizer.lr,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
            fused=True,
            capturable=self.device.type == "cuda",
        )
        self.steps = 0
        self.epochs_run = 0
        self.batches_done = 0  # of the epoch in training
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.device)  # of it: loss, right predictions, penalty
        self.seconds_before = 0.0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.metrics = {name: _Tracker(largest=name.endswith("acc")) for name in METRICS}
        self.curve: list[CurveRow] = []

    def _goes_on(self) -> bool:
        """Take the state of the cell's checkpoint, if there is one that can be used."""
        state = None if self.keeper is None else self.keeper.load(self.cell.key)
        if self.keeper is None or state is None:
            return False
        try:
            self._restore(state)
        except Exception as error:  # whatever does not fit, the cell can begin anew
            self.keeper.refuse(self.cell.key, error)
            self._begin()
            return False
        return True

    def _train_epoch(self, epoch: int) -> Iterator[float]:
        told = time.monotonic()
        batches = self._batch_count()
        for batch, order in enumerate(self._batches(epoch)):
            if batch < self.batches_done:
                continue  # trained before the checkpoint from which this goes on
            points = None if order is None else torch.from_numpy(order).to(self.device)
            if self.replayed is None:
                self._train_batch(epoch, batch, points)
            else:
                self._replay(epoch, batch, points)
            self.batches_done = batch + 1
            self._keep_if_due()
            if time.monotonic() - told > _TOLD_EVERY and self.batches_done < batches:
                told = time.monotonic()
                yield epoch + self.batches_done / batches

    def _seen_in_training(self) -> tuple[float, float, float]:
        """Loss and accuracy of the epoch that was trained, and the sum of its batches' penalties; begins the next."""
        n_train = len(self.x_train)
        loss_sum, right_sum, penalty_sum = self.sums.tolist()
        self.sums.zero_()
        self.batches_done = 0
        return loss_sum / n_train, right_sum / n_train, penalty_sum

    def _train_batch(self, epoch: int, batch: int, points: Tensor | None) -> None:
        x, y = (self.x_train, self.y_train) if points is None else (self.x_train[points], self.y_train[points])
        if self.cell.dataset.is_augmented:
            rows = np.arange(len(x)) if points is None else points.cpu().numpy()
            x = flip_and_crop(x, draws(Stream.AUGMENTATION, self.cell.seed, epoch, [0], rows, 3)[0])
        total, task, penalty, right = self.loss(self.data.inputs(x, dtype(self.cell)), y, epoch, batch, points)
        self.step(total)
        self.sums += torch.stack([task.detach().double() * len(x), right.double(), penalty.detach().double()])

    def _is_graph(self) -> bool:
        """Whether a step depends on nothing but the batch's points, so that it can be a CUDA graph."""
        cell = self.cell
        draws_every_step = cell.dropout.rate > 0 or cell.dataset.is_augmented
        draws_every_step |= cell.penalty_weight > 0 and cell.penalty.ties == "random"
        return self.device.type == "cuda" and not draws_every_step and cell.optimizer.eps_rule == "torch"

    def _replay(self, epoch: int, batch: int, points: Tensor | None) -> None:
        """The batch's step as a CUDA graph: its points are read from a tensor that stays where it is."""
        assert self.replayed is not None
        size = 0 if points is None else len(points)
        if points is not None:
            self.rows.setdefault(size, torch.empty_like(points)).copy_(points)
        rows = None if points is None else self.rows[size]
        self.replayed(lambda: self._train_batch(epoch, batch, rows), size)

    def _batch_count(self) -> int:
        return math.ceil(len(self.x_train) / self.cell.batch_size)

    def _batches(self, epoch: int) -> Iterator[npt.NDArray[np.int64] | None]:
        n_train, size = len(self.x_train), self.cell.batch_size
        if size == n_train:
            yield None
            return
        order = np.arange(n_train)
        if self.cell.optimizer.shuffle:
            numbers = draws(Stream.BATCH_ORDER, self.cell.seed, epoch, [0], order, 1)[0, :, 0]
            order = np.argsort(numbers, kind="stable")
        for first in range(0, n_train, size):
            yield order[first : first + size]

    def _dropout(self, epoch: int, points: Tensor | None, count: int) -> list[Tensor] | None:
        cell, spec = self.cell, self.cell.dropout
        rate = spec.rate * (1 - epoch / spec.anneal_epochs)
        if rate <= 0:
            return None
        rows = np.arange(count) if points is None else points.cpu().numpy()
        threshold, scale = keep_threshold(rate), 1 / (1 - rate)
        first, later = self._input_shapes()
        factors: list[Tensor] = []
        # a CNN's layers one by one: their draws take many times the memory of their activations
        groups = [[layer] for layer in range(1, cell.depth)] if len(later) == 3 else [range(1, cell.depth)]
        for layers, shape in [([0], first), *((group, later) for group in groups)]:
            drawn = draws(Stream.DROPOUT, cell.seed, epoch, layers, rows, math.prod(shape))
            kept = torch.from_numpy((drawn >= threshold) * scale).to(self.device, dtype(cell))
            factors += kept.reshape(*kept.shape[:2], *shape).unbind()
        return factors

    def _input_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape of the input of the first and of every later hidden layer, without the points."""
        cell = self.cell
        if cell.network.layout == "cnn":
            assert cell.dataset.image is not None
            return cell.dataset.image, (cell.width, *cell.dataset.image[1:])
        if cell.network.layout == "conv2x1":
            return (1, 2), (cell.width, 2)
        return (cell.dataset.features,), (cell.width,)

    def _tie_draws(self, epoch: int, batch: int, points: Tensor | None) -> TieDraws | None:
        if self.cell.penalty_weight == 0 or self.cell.penalty.ties != "random":
            return None
        rows = np.arange(len(self.x_train)) if points is None else points.cpu().numpy()

        def drawn(constraint: str, layer: int, count: int) -> Tensor:
            # a unit's or layer's constraint belongs to a batch, a point's to the point
            stream, seed = _TIE_STREAMS[constraint], self.cell.seed
            if constraint.startswith("P"):
                numbers = draws(stream, seed, epoch, [layer], rows, count // len(rows))[0]
            else:
                numbers = draws(stream, seed, epoch, [layer], [batch], count)[0]
            return torch.from_numpy(numbers.reshape(-1).astype(np.int64))

        return drawn

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        count, loss, right = len(self.y_val), 0.0, 0
        for x, y in zip(self._chunks(self.x_val), self._chunks_of(self.y_val), strict=True):
            logits = self.forward.logits(x)
            loss += _task_loss(logits, y).item() * (len(y) / count)
            right += int((_predictions(logits) == y).sum().item())
        return loss, right / count

    def _survey(self) -> tuple[float | None, LayerCensus]:
        """Penalty (before λ) and census of the whole training set in evaluation mode."""
        return self.forward.survey(self._chunks(self.x_train))

    def _chunks(self, x: Tensor) -> Iterator[Tensor]:
        return (self.data.inputs(part, dtype(self.cell)) for part in self._chunks_of(x))

    def _chunks_of(self, x: Tensor) -> tuple[Tensor, ...]:
        cell = self.cell
        numbers = max(cell.width * cell.positions, cell.dataset.features)
        return torch.split(x, max(1, _NUMBERS_AT_ONCE[self.device.type] // numbers))

    def _parameters_finite(self) -> bool:
        return bool(torch.cat([parameter.detach().flatten() for parameter in self.parameters]).isfinite().all())

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.begun

    def _keep_if_due(self) -> None:
        if self.keeper is not None and self.keeper.is_due(self.cell.key):
            self.keeper.save(self.cell.key, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "adam": self.adam.state_dict(),
            "steps": self.steps,
            "epochs_run": self.epochs_run,
            "batches_done": self.batches_done,
            "sums": self.sums.cpu(),
            "seconds": self._seconds(),
            "started": self.started,
            "metrics": {name: vars(tracker) for name, tracker in self.metrics.items()},
            "curve": [asdict(row) for row in self.curve],
            "penalty": (self.penalty_start, self.penalty_last),
            "census": [None if seen is None else asdict(seen) for seen in (self.census_start, self.census_last)],
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        settings = [{**group} for group in self.adam.param_groups]
        self.adam.load_state_dict(state["adam"])
        for group, own in zip(self.adam.param_groups, settings, strict=True):
            group.update(own)  # the cell's, and this device's: the checkpoint may come from another
        for parameter in self.parameters:
            moments = self.adam.state[parameter]
            if not parameter.shape == moments["exp_avg"].shape == moments["exp_avg_sq"].shape:
                raise ValueError("a moment does not have its parameter's shape")
        self.steps, self.epochs_run, self.batches_done = (
            int(state[name]) for name in ("steps", "epochs_run", "batches_done")
        )
        batches = self._batch_count()
        is_within = 0 <= self.epochs_run <= self.cell.optimizer.epochs and 0 <= self.batches_done <= batches
        if not is_within or self.steps != self.epochs_run * batches + self.batches_done:
            raise ValueError(f"step {self.steps} is not in epoch {self.epochs_run}, batch {self.batches_done}")
        self.sums.copy_(state["sums"])
        self.seconds_before, self.started = float(state["seconds"]), str(state["started"])
        for name, values in state["metrics"].items():
            vars(self.metrics[name]).update(values)
        self.curve = [CurveRow(**row) for row in state["curve"]]
        self.penalty_start, self.penalty_last = state["penalty"]
        start, last = (LayerCensus(**seen) for seen in state["census"])
        self.census_start, self.census_last = start, last


class _Tracker:
    """Last and best value of one metric over the epochs."""

    def __init__(self, *, largest: bool) -> None:
        self.sign = 1 if largest else -1
        self.last: float | None = None
        self.best: float | None = None
        self.best_epoch: int | None = None

    def add(self, epoch: int, value: float) -> None:
        self.last = value
        if self.best is None or self.sign * value > self.sign * self.best:
            self.best, self.best_epoch = value, epoch

    def metric(self, *, keep_last: bool) -> Metric:
        return Metric(self.last if keep_last else None, self.best, self.best_epoch)


def _curve_row(
    epoch: int,
    train_acc: float,
    val_acc: float,
    train_loss: float,
    val_loss: float,
    penalty: float | None,
    seen: LayerCensus | None,
) -> CurveRow:
    fractions = (None if seen is None else seen.mean(name) for name in CENSUS)
    return CurveRow(epoch, train_acc, val_acc, train_loss, val_loss, penalty, *fractions)


def _targets(y: Tensor, cell: Cell) -> Tensor:
    """Class indices, as numbers for the binary loss."""
    return y.to(dtype(cell)) if cell.dataset.classes == 2 else y


def _task_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy in nats; one logit is the log-odds of class 1."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], y)
    return F.cross_entropy(logits, y)


def _predictions(logits: Tensor) -> Tensor:
    return logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)


def _peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the device, or on the CPU of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory_bytes()
