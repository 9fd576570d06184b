"""Networks in training as one batch, and what became of them.

Training and validation points go through the network together: what the training of an epoch sees of the validation
points is how the epoch before it validates. So an epoch is settled in the step after it, or by the survey.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.replay import Replayed
from jumpstart_exp.engines.stacked.adam import Adam
from jumpstart_exp.engines.stacked.layers import Stack
from jumpstart_exp.engines.stacked.metrics import Ledger
from jumpstart_exp.engines.stacked.parameters import Blocks
from jumpstart_exp.engines.stacked.penalty import Penalty
from jumpstart_exp.engines.training_state import Snapshot, curve_array
from jumpstart_exp.result import CurveRow, LayerCensus, Metric

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What became of a network."""

    n_params: int
    epochs_run: int
    diverged_epoch: int | None
    metrics: Sequence[Metric]
    penalty_start: float | None
    penalty_last: float | None
    census_start: LayerCensus
    census_last: LayerCensus | None
    curve: tuple[CurveRow, ...]


class Fleet:
    """Networks in training as one batch.

    Args:
        cells: of one dataset and one `StackedEngine.fleet_group`.
        data: their dataset.
        device: where they are trained.
        curve_every: epochs between surveys; None for about 100 in all.
        initial: weights by torch's names for the network of a single cell; None for the cells' own.
        snapshots: where the cells go on from, all after the same epoch; None to begin.
    """

    @torch.no_grad()
    def __init__(
        self,
        cells: Sequence[Cell],
        data: Data,
        device: torch.device,
        curve_every: int | None = None,
        *,
        initial: Tensors | None = None,
        snapshots: Sequence[Snapshot] | None = None,
    ) -> None:
        self.places = sorted(range(len(cells)), key=lambda index: -cells[index].depth)
        self.cells = cells = [cells[index] for index in self.places]
        self.epochs, self.epochs_done = cells[0].optimizer.epochs, 0
        self.curve_every = curve_every or max(1, round(self.epochs / 100))
        self.anneal_epochs = max(cell.dropout.anneal_epochs if cell.dropout.rate else 0 for cell in cells)
        self.stack = Stack(cells, data, device)
        self.n_params = self.stack.load(initial)
        self.penalty = Penalty(self.stack) if cells[0].penalty_weight else None
        self.adam = Adam(self.stack)
        self.ledger = Ledger(len(cells), device)
        self.n_train = len(data.y_train)
        y = torch.cat([data.y_train, data.y_val]).to(device)
        self.y = y.expand(len(cells), -1).contiguous()
        self.y_number = self.y.to(self.stack.dtype)
        self.is_class = F.one_hot(y, cells[0].dataset.classes).T.to(self.stack.dtype)[-self.stack.outputs :]
        task = torch.tensor([float(cell.task_loss) for cell in cells], dtype=torch.float64) / self.n_train
        self.task_weight = task.to(device, self.stack.dtype)[:, None, None]
        self.replayed = Replayed(device) if device.type == "cuda" else None
        self.handed_over: set[int] = set()
        self.curve: list[tuple[int, Array, npt.NDArray[np.bool_]]] = []
        self.curves_before: list[list[CurveRow]] = [[] for _ in cells]
        with _flushed_to_zero():
            if snapshots is None:
                self.at_start = self.at_last = self._survey()
            else:
                self._restore([snapshots[place] for place in self.places])

    @property
    def is_training(self) -> bool:
        """Whether there are networks that are not done."""
        return len(self.handed_over) < len(self.cells)

    @torch.no_grad()
    def train_for(self, seconds: float) -> dict[int, Outcome]:
        """Train on for about so long: what became of networks that are done since, by their index among the cells."""
        clock = time.perf_counter()
        with _flushed_to_zero():
            while True:
                dropout = self.epochs_done < self.anneal_epochs
                if self.replayed is None:
                    self.step(dropout)
                else:
                    self.replayed(partial(self.step, dropout), dropout)
                self.epochs_done += 1
                epoch, is_last = self.epochs_done, self.epochs_done == self.epochs
                if is_last or epoch == 1 or epoch % self.curve_every == 0:
                    self.at_last = self._survey()
                    self._keep_curve_row(epoch)
                if is_last or time.perf_counter() - clock >= seconds:
                    return self._outcomes()

    def snapshots(self) -> dict[int, Snapshot]:
        """The networks that are not done as they are now, by their index among the cells; seconds are 0."""
        stack, ledger = self.stack, self.ledger
        shapes, device = stack.block_shapes, torch.device("cpu")
        parts = [
            Blocks.of(flat.to(device), shapes)
            for flat in (stack.weights.flat, self.adam.first_moment, self.adam.second_moment)
        ]
        running = None if stack.norm is None else torch.stack([stack.norm.mean, stack.norm.variance]).cpu()[..., 0, 0]
        metrics = np.stack([_array(own) for own in (ledger.last, ledger.best, ledger.best_epoch)], -1)
        pending = np.stack([_array(own) for own in (ledger.train_acc, ledger.train_loss)], -1)
        is_open = bool(ledger.is_open)
        # where an open epoch's numbers are not finite, the next step will say so
        goes_on = _array(ledger.is_alive & ledger.was_finite if is_open else ledger.is_alive) > 0
        found = {}
        for index, place in enumerate(self.places):
            if index in self.handed_over or not goes_on[index]:
                continue
            cell, rows = self.cells[index], stack.rows_of[index, : self.cells[index].depth].cpu()
            found[place] = Snapshot(
                epochs=self.epochs_done,
                parameters=np.stack([_array(stack.flat(blocks, index)) for blocks in parts]),
                running=np.zeros((2, cell.depth, 0)) if running is None else _array(running[:, rows, : cell.width]),
                metrics=metrics[:, index],
                penalty_start=self.at_start.penalty_of(index) or 0.0,
                census_start=self.at_start.census[:, rows.numpy()],
                curve=curve_array(list(self._curve_rows(index))),
                pending=pending[index] if is_open else pending[index, :0],
                seconds=0.0,
                started="",
            )
        return found

    def _restore(self, snapshots: Sequence[Snapshot]) -> None:
        """Every network as its snapshot has it, in the fleet's order."""
        stack, ledger = self.stack, self.ledger
        self.epochs_done = snapshots[0].epochs
        targets = (stack.weights.flat, self.adam.first_moment, self.adam.second_moment)
        for part, target in enumerate(targets):
            host = Blocks.zeros(stack.block_shapes, torch.device("cpu"), stack.dtype)
            for index, own in enumerate(snapshots):
                stack.fill(host, index, own.parameters[part])
            target.copy_(host.flat)
        if stack.norm is not None:
            host_running = torch.stack([stack.norm.mean, stack.norm.variance]).cpu()
            for index, own in enumerate(snapshots):
                rows = stack.rows_of[index, : self.cells[index].depth].cpu()
                host_running[:, rows, : self.cells[index].width, 0, 0] = _tensor(own.running, stack.dtype)
            stack.norm.mean.copy_(host_running[0])
            stack.norm.variance.copy_(host_running[1])
        is_open = len(snapshots[0].pending) > 0
        ledger.epochs_done.fill_(self.epochs_done)
        ledger.epochs_run.fill_(self.epochs_done - is_open)
        ledger.is_open.fill_(is_open)
        metrics = np.stack([own.metrics for own in snapshots], 1)
        for number, target in enumerate((ledger.last, ledger.best, ledger.best_epoch)):
            target.copy_(_tensor(metrics[..., number], target.dtype))
        if is_open:
            pending = np.stack([own.pending for own in snapshots])
            for number, target in enumerate((ledger.train_acc, ledger.train_loss)):
                target.copy_(_tensor(pending[:, number], target.dtype))
        census = np.zeros((4, stack.n_rows))
        for index, own in enumerate(snapshots):
            census[:, stack.rows_of[index, : self.cells[index].depth].cpu().numpy()] = own.census_start
            rows_before = [CurveRow(int(epoch), *numbers) for epoch, *numbers in own.curve.tolist()]
            self.curves_before[index] = [
                row if self.penalty is not None else replace(row, penalty=None) for row in rows_before
            ]
        penalty = None if self.penalty is None else np.array([own.penalty_start for own in snapshots])
        self.at_start = self.at_last = _Survey(penalty, census)

    @torch.no_grad()
    def probe(self, steps: int) -> list[Probe]:
        """Every cell's next step after so many, before its update."""
        for epoch in range(steps):
            self.step(epoch < self.anneal_epochs)
        _, task, penalty = self.compute(steps < self.anneal_epochs)
        weights, gradients = self.stack.weights, self.stack.gradients
        probes = {
            place: Probe(
                task[index].item(), penalty[index].item(), self._named(gradients, index), self._named(weights, index)
            )
            for index, place in enumerate(self.places)
        }
        return [probes[place] for place in sorted(probes)]

    def _named(self, blocks: Blocks, index: int) -> dict[str, Array]:
        return {name: _array(value).copy() for name, value in self.stack.named(blocks, index).items()}

    def step(self, dropout: bool) -> None:
        """One epoch of every network: calls on fixed tensors that neither wait for the device nor ask it anything."""
        train_acc, train_loss, penalty = self.compute(dropout)
        self.adam.step(self.ledger.epochs_done)
        self.ledger.note(train_acc, train_loss, penalty.isfinite() & self.stack.finite_networks())

    def compute(self, dropout: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Training accuracy, task loss and penalty (before λ) of every network; the gradients of their total losses.

        What the validation points give settles the epoch before.
        """
        stack, epoch = self.stack, self.ledger.epochs_done
        if dropout:
            stack.drop(epoch)
        stack.forward(training=True, dropout=dropout)
        (train_acc, train_loss), validation = self._judge()
        self.ledger.settle(*validation)
        penalty = torch.zeros_like(train_loss)
        if self.penalty is not None:
            stack.slope.zero_()
            penalty = self.penalty(stack.pre_train, stack.by_channel(stack.slope), epoch)
        logits = stack.logits[..., : self.n_train]
        likely = logits.sigmoid() if stack.outputs == 1 else logits.softmax(1)
        stack.backward(
            (likely - self.is_class[:, : self.n_train]) * self.task_weight,
            has_penalty=self.penalty is not None,
            dropout=dropout,
        )
        return train_acc, train_loss, penalty

    def _judge(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Accuracy and mean cross-entropy (nats) of every network, on the training and on the validation points."""
        logits = self.stack.logits
        if self.stack.outputs == 1:
            losses = F.binary_cross_entropy_with_logits(logits[:, 0], self.y_number, reduction="none")
            right = (logits[:, 0] > 0) == self.y_number
        else:
            losses = -logits.log_softmax(1).gather(1, self.y[:, None])[:, 0]
            right = logits.argmax(1) == self.y
        train, val = ((right[:, part].double().mean(1), losses[:, part].mean(1)) for part in self._parts())
        return train, val

    def _parts(self) -> tuple[slice, slice]:
        return slice(0, self.n_train), slice(self.n_train, None)

    def _survey(self) -> "_Survey":
        """Penalty and census of the training points in evaluation mode; settles the epoch."""
        stack = self.stack
        stack.forward(training=False, dropout=False)
        penalty = None if self.penalty is None else self.penalty(stack.pre_train)
        is_last = self.epochs_done == self.epochs
        self.ledger.settle(*self._judge()[1], penalty.isfinite() if is_last and penalty is not None else None)
        return _Survey(None if penalty is None else _array(penalty), _array(stack.census()))

    def _keep_curve_row(self, epoch: int) -> None:
        survey, rows_of = self.at_last, self.stack.rows_of.cpu().numpy()
        rows = np.concatenate([survey.census, np.zeros((4, 1))], axis=1)[:, rows_of]
        fractions = rows.sum(2) / [cell.depth for cell in self.cells]
        kept, penalty = _array(self.ledger.is_alive) > 0, np.zeros(len(self.cells))
        if survey.penalty is not None:
            penalty = survey.penalty
            kept &= np.isfinite(penalty)
        self.curve.append((epoch, np.concatenate([_array(self.ledger.last), penalty[None], fractions]), kept))

    def _outcomes(self) -> dict[int, Outcome]:
        ledger = self.ledger
        alive, diverged_epoch, epochs_run = map(_array, (ledger.is_alive, ledger.diverged_epoch, ledger.epochs_run))
        last, best, best_epoch = map(_array, (ledger.last, ledger.best, ledger.best_epoch))
        is_over = self.epochs_done == self.epochs
        outcomes = {}
        for index, place in enumerate(self.places):
            if (alive[index] and not is_over) or index in self.handed_over:
                continue
            self.handed_over.add(index)
            done = bool(alive[index])
            outcomes[place] = Outcome(
                self.n_params[index],
                int(epochs_run[index]),
                None if done else int(diverged_epoch[index]),
                [_metric(last[row, index], best[row, index], best_epoch[row, index], done) for row in range(4)],
                self.at_start.penalty_of(index),
                self.at_last.penalty_of(index) if done else None,
                self._census(self.at_start, index),
                self._census(self.at_last, index) if done else None,
                tuple(self._curve_rows(index)),
            )
        return outcomes

    def _census(self, survey: "_Survey", index: int) -> LayerCensus:
        rows = self.stack.rows_of[index, : self.cells[index].depth].cpu().numpy()
        return LayerCensus(*(tuple(fractions[rows].tolist()) for fractions in survey.census))

    def _curve_rows(self, index: int) -> Iterator[CurveRow]:
        yield from self.curves_before[index]
        for epoch, values, kept in self.curve:
            if kept[index]:
                numbers = values[:, index].tolist()
                if self.penalty is None:
                    numbers[4] = None
                yield CurveRow(epoch, *numbers)


@dataclass(frozen=True)
class _Survey:
    """Penalty (networks,) and census (4, rows) of the training points."""

    penalty: Array | None
    census: Array

    def penalty_of(self, index: int) -> float | None:
        return None if self.penalty is None else float(self.penalty[index])


def _metric(last: float, best: float, best_epoch: float, keep_last: bool) -> Metric:
    if best_epoch == 0:
        return Metric()
    return Metric(float(last) if keep_last else None, float(best), int(best_epoch))


def _array(tensor: Tensor) -> Array:
    return tensor.double().cpu().numpy()


def _tensor(array: Array, of: torch.dtype) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(of)


@contextmanager
def _flushed_to_zero() -> Iterator[None]:
    """Denormal numbers as zeros on the CPU, as on a GPU: the moments of dead units decay to them, 25 times slower."""
    was_flushed = bool((torch.tensor(1e-320, dtype=torch.float64) * 1).item() == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)
