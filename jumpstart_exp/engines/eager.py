"""The reference engine: one network at a time, plain torch.nn, autograd and torch.optim, any cell, any device."""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.census import census
from jumpstart_exp.datasets import Data
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.networks import RectangularMLP, build, count_parameters, dtype
from jumpstart_exp.penalty import SeparationPenalty
from jumpstart_exp.randomness import Stream, draws, keep_threshold
from jumpstart_exp.result import METRICS, CurveRow, LayerCensus, Metric, Result

_TIE_STREAMS = {
    "U+": Stream.TIE_UNIT_ABOVE,
    "U-": Stream.TIE_UNIT_BELOW,
    "P+": Stream.TIE_POINT_ABOVE,
    "P-": Stream.TIE_POINT_BELOW,
    "L+": Stream.TIE_LAYER_ABOVE,
    "L-": Stream.TIE_LAYER_BELOW,
}


class EagerEngine:
    """Trains one cell after the other with one torch thread.

    Args:
        device: a torch device.
        curve_every: epochs between the rows of a curve; None for about 100 rows a cell.
        threads: of no use here: a small network is fastest with one.
    """

    name = "eager"
    uses_threads = False
    devices: tuple[str, ...] = ("cpu", "cuda")

    def __init__(self, device: str = "cpu", curve_every: int | None = None, threads: int = 1) -> None:
        self.device = torch.device(device)
        self.curve_every = curve_every

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """Never: the reference trains every cell."""
        return None

    @staticmethod
    def fleet_group(cell: Cell) -> Hashable:
        """One for all: it trains any cells one after the other."""
        return None

    @staticmethod
    def fleet_limit(cells: Sequence[Cell], device: str) -> int:
        """One: nothing is gained by more."""
        return 1

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        """Seconds on one core, from the time that torch's calls take in a step: they outweigh the arithmetic."""
        steps = cell.optimizer.epochs * math.ceil(cell.dataset.sizes()[0] / cell.batch_size)
        a_layer = 90e-6 * (3.0 if cell.positions > 1 else 1.0) + (90e-6 if cell.network.norm == "batch" else 0.0)
        a_layer += 40e-6 if cell.penalty_weight else 0.0
        a_step = 500e-6 + (450e-6 if cell.penalty_weight else 0.0) + a_layer * cell.depth
        arithmetic = 6 * cell.batch_size * cell.depth * (cell.width * cell.positions) ** 2 / 10e9
        return steps * (a_step + arithmetic)

    @staticmethod
    def share_done(cell: Cell, epochs: int) -> float:
        """The share of the cell's time that its first epochs take."""
        return epochs / cell.optimizer.epochs

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        """What the cell adds to its process: activations with their gradients, parameters with theirs and Adam's."""
        number = 8 if cell.precision == "float64" else 4
        units = cell.depth * cell.width * cell.positions
        return number * (8 * units * cell.batch_size + 5 * units * cell.width * cell.positions)

    def probe(self, cell: Cell, data: Data, steps: int = 0, initial: Tensors | None = None) -> Probe:
        """The full-batch step after `steps` steps, from the cell's initial weights or from `initial`."""
        with _one_thread():
            training = Training(cell, data, self.device, self.curve_every)
            named = dict(training.network.named_parameters())
            if initial is not None:
                with torch.no_grad():
                    for name, parameter in named.items():
                        parameter.copy_(torch.from_numpy(np.asarray(initial[name])))
            for epoch in range(steps):
                training.step(training.loss(training.x_train, training.y_train, epoch, 0, None)[0])
            total, task, penalty, _ = training.loss(training.x_train, training.y_train, steps, 0, None)
            gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True, materialize_grads=True)
        return Probe(task.item(), penalty.item(), _arrays(dict(zip(named, gradients, strict=True))), _arrays(named))

    def train(
        self,
        cells: Sequence[Cell],
        data: Data,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, int], None],
    ) -> None:
        """Train the cells one by one; an exception in one becomes its `failed` result."""
        with _one_thread():
            for cell in cells:
                started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
                on_progress(cell, 0)
                try:
                    training = Training(cell, data, self.device, self.curve_every)
                    for epoch in training.epochs():
                        on_progress(cell, epoch)
                    result = training.result(started, time.perf_counter() - clock)
                except Exception as error:  # whatever it is, it costs this cell only
                    result = Result(
                        cell,
                        "failed",
                        self.name,
                        str(self.device),
                        seconds=time.perf_counter() - clock,
                        started=started,
                        error=f"{type(error).__name__}: {error}",
                    )
                on_result(result)


class Training:
    """One cell's training: the loop of the papers, and what is measured on the way."""

    def __init__(self, cell: Cell, data: Data, device: torch.device, curve_every: int | None) -> None:
        self.cell, self.device = cell, device
        self.curve_every = curve_every or max(1, round(cell.optimizer.epochs / 100))
        self.network: RectangularMLP = build(cell).to(device)
        self.x_train, self.x_val = (x.to(device, dtype(cell)) for x in (data.x_train, data.x_val))
        self.y_train, self.y_val = (_targets(y, cell).to(device) for y in (data.y_train, data.y_val))
        self.penalty = SeparationPenalty.from_spec(cell.penalty) if cell.penalty_weight else None
        self.parameters = list(self.network.parameters())
        optimizer = cell.optimizer
        self.adam = torch.optim.Adam(
            self.parameters,
            lr=optimizer.lr,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
            fused=True,
        )
        self.steps = 0
        self.diverged_epoch: int | None = None
        self.epochs_run = 0
        self.metrics = {name: _Tracker(largest=name.endswith("acc")) for name in METRICS}
        self.curve: list[CurveRow] = []
        self.penalty_start, self.census_start = self._survey()
        self.penalty_last: float | None = self.penalty_start
        self.census_last: LayerCensus | None = self.census_start

    def epochs(self) -> Iterator[int]:
        """Train, yielding the number of epochs done after each; ends early when the training diverges."""
        for epoch in range(1, self.cell.optimizer.epochs + 1):
            train_loss, train_acc, penalty = self._train_epoch(epoch - 1)
            val_loss, val_acc = self._validate()
            if not (math.isfinite(train_loss + val_loss + penalty) and self._parameters_finite()):
                self.diverged_epoch = epoch
                return
            is_last = epoch == self.cell.optimizer.epochs
            if is_last or epoch == 1 or epoch % self.curve_every == 0:
                self.penalty_last, self.census_last = self._survey()
                if math.isfinite(self.penalty_last or 0.0):
                    self.curve.append(
                        _curve_row(epoch, train_acc, val_acc, train_loss, val_loss, self.penalty_last, self.census_last)
                    )
                elif is_last:  # an earlier one is met by the next epoch's training, whatever the curve asks for
                    self.diverged_epoch = epoch
                    return
            self.epochs_run = epoch
            for name, value in zip(METRICS, (train_acc, val_acc, train_loss, val_loss), strict=True):
                self.metrics[name].add(epoch, value)
            yield epoch

    def result(self, started: str, seconds: float) -> Result:
        """The cell's result once the epochs are over."""
        done = self.diverged_epoch is None
        train_acc, val_acc, train_loss, val_loss = (self.metrics[name].metric(keep_last=done) for name in METRICS)
        return Result(
            self.cell,
            "done" if done else "diverged",
            EagerEngine.name,
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
            seconds=seconds,
            peak_memory_bytes=_peak_memory_bytes(self.device),
            started=started,
            curve=tuple(self.curve),
        )

    def loss(self, x: Tensor, y: Tensor, epoch: int, batch: int, points: Tensor | None) -> tuple[Tensor, ...]:
        """Total loss, task loss, penalty (before λ) and number of right predictions of one batch in training mode.

        Args:
            x: points (points, features).
            y: their targets.
            epoch: counted from 0.
            batch: number of the batch in its epoch.
            points: indices of the points in the training set; None for all in order.
        """
        cell = self.cell
        logits, pre_activations = self.network(x, self._dropout(epoch, points, len(x)))
        task = _task_loss(logits, y)
        right = (_predictions(logits) == y).sum()
        total = task if cell.task_loss else torch.zeros_like(task)
        penalty = torch.zeros_like(task)
        if self.penalty is not None:
            penalty = self.penalty(pre_activations, tie_draws=self._tie_draws(epoch, batch, points))
            total = total + cell.penalty_weight * penalty
        return total, task, penalty, right

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

    def _train_epoch(self, epoch: int) -> tuple[float, float, float]:
        n_train, loss_sum, right_sum, penalty_sum = len(self.x_train), 0.0, 0, 0.0
        for batch, points in enumerate(self._batches(epoch)):
            x, y = (self.x_train, self.y_train) if points is None else (self.x_train[points], self.y_train[points])
            total, task, penalty, right = self.loss(x, y, epoch, batch, points)
            self.step(total)
            loss_sum += task.item() * len(x)
            right_sum += int(right.item())
            penalty_sum += penalty.item()
        return loss_sum / n_train, right_sum / n_train, penalty_sum

    def _batches(self, epoch: int) -> Iterator[Tensor | None]:
        n_train, size = len(self.x_train), self.cell.batch_size
        if size == n_train:
            yield None
            return
        order = np.arange(n_train)
        if self.cell.optimizer.shuffle:
            numbers = draws(Stream.BATCH_ORDER, self.cell.seed, epoch, [0], order, 1)[0, :, 0]
            order = np.argsort(numbers, kind="stable")
        for first in range(0, n_train, size):
            yield torch.from_numpy(order[first : first + size]).to(self.device)

    def _dropout(self, epoch: int, points: Tensor | None, count: int) -> list[Tensor] | None:
        spec = self.cell.dropout
        rate = spec.rate * (1 - epoch / spec.anneal_epochs)
        if rate <= 0:
            return None
        rows = np.arange(count) if points is None else points.cpu().numpy()
        positions = self.cell.positions
        threshold, scale = keep_threshold(rate), 1 / (1 - rate)
        first = draws(Stream.DROPOUT, self.cell.seed, epoch, [0], rows, self.cell.dataset.features)
        later = draws(
            Stream.DROPOUT, self.cell.seed, epoch, range(1, self.cell.depth), rows, self.cell.width * positions
        )
        factors = [
            torch.from_numpy((kept >= threshold) * scale).to(self.device, dtype(self.cell)) for kept in (first, later)
        ]
        if positions > 1:
            factors = [factor.reshape(*factor.shape[:2], factor.shape[2] // positions, positions) for factor in factors]
        return [*factors[0], *factors[1]]

    def _tie_draws(self, epoch: int, batch: int, points: Tensor | None) -> Callable[[str, int, int], Tensor] | None:
        if self.cell.penalty.ties != "random":
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
        with self._evaluation_mode():
            logits, _ = self.network(self.x_val)
        right = (_predictions(logits) == self.y_val).sum()
        return _task_loss(logits, self.y_val).item(), int(right.item()) / len(self.y_val)

    @torch.no_grad()
    def _survey(self) -> tuple[float | None, LayerCensus]:
        """Penalty (before λ) and census of the whole training set in evaluation mode."""
        with self._evaluation_mode():
            _, pre_activations = self.network(self.x_train)
        penalty = None
        if self.penalty is not None:
            penalty = self.penalty(pre_activations, tie_draws=self._tie_draws(0, 0, None)).item()
        return penalty, census([torch.relu(pre_activation) for pre_activation in pre_activations])

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        # only batch norm depends on the mode, and network.eval() walks through hundreds of modules every epoch
        for norm in self.network.norms:
            norm.training = False
        yield
        for norm in self.network.norms:
            norm.training = True

    def _parameters_finite(self) -> bool:
        return bool(torch.cat([parameter.detach().flatten() for parameter in self.parameters]).isfinite().all())


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
    seen: LayerCensus,
) -> CurveRow:
    fractions = (
        seen.mean("dead_units"),
        seen.mean("linear_units"),
        seen.mean("dead_points"),
        seen.mean("linear_points"),
    )
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


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, npt.NDArray[np.float64]]:
    return {name: tensor.detach().double().cpu().numpy().copy() for name, tensor in tensors.items()}


def _peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the device, or on the CPU of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory_bytes()


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: a cell's bits must not depend on the thread count, and small networks run faster so."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
