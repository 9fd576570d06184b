"""Networks in training as one batch, and what became of them.

Training and validation points go through the network together: what the training of an epoch sees of the validation
points is how the epoch before it validates. So an epoch is settled in the step after it, or with the whole set.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.replay import Replayed
from jumpstart_exp.engines.stacked.layers import Stack
from jumpstart_exp.engines.stacked.metrics import FleetMetrics
from jumpstart_exp.engines.stacked.optimizers import optimizer_of
from jumpstart_exp.engines.stacked.parameters import Blocks
from jumpstart_exp.engines.stacked.penalty import Penalty
from jumpstart_exp.engines.stacked.states import Array, array, restore
from jumpstart_exp.engines.stacked.task import task_of
from jumpstart_exp.engines.training_state import TrainingState, known
from jumpstart_exp.result import CurveRow, LayerCensus, Metric


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
        curve_every: epochs between evaluations of the training set; None for about 100 in all.
        initial: weights by torch's names for the network of a single cell; None for the cells' own.
        states: where the cells go on from, all after the same epoch; None to begin.
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
        states: Sequence[TrainingState] | None = None,
    ) -> None:
        self.places = sorted(range(len(cells)), key=lambda index: -cells[index].depth)
        self.cells = cells = [cells[index] for index in self.places]
        self.epochs, self.epochs_done = cells[0].optimizer.epochs, 0
        self.curve_every = curve_every or max(1, round(self.epochs / 100))
        self.anneal_epochs = max(cell.dropout.anneal_epochs if cell.dropout.rate else 0 for cell in cells)
        self.stack = Stack(cells, data, device)
        self.n_params = self.stack.load(initial)
        self.penalty = Penalty(self.stack) if cells[0].penalty_weight else None
        self.optimizer = optimizer_of(cells, self.stack.weights.flat, self.stack.gradients.flat, self.stack.owners)
        self.ledger = FleetMetrics(len(cells), device)
        self.task = task_of(cells, data, device, self.stack.dtype)
        self.replayed = Replayed(device) if device.type == "cuda" else None
        self.handed_over: set[int] = set()
        self.curve: list[tuple[int, Array, npt.NDArray[np.bool_]]] = []
        self.curves_before: list[list[CurveRow]] = [[] for _ in cells]
        with _flushed_to_zero():
            if states is None:
                self.at_start = self.at_last = self._evaluate_training_set()
            else:
                self.at_start = self.at_last = _WholeSet(*restore(self, [states[place] for place in self.places]))

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
                    self.at_last = self._evaluate_training_set()
                    self._keep_curve_row(epoch)
                if is_last or time.perf_counter() - clock >= seconds:
                    return self._outcomes()

    @torch.no_grad()
    def probe(self, steps: int) -> list[Probe]:
        """Every cell's next step after so many, before its update."""
        for epoch in range(steps):
            self.step(epoch < self.anneal_epochs)
        _, terms = self.compute(steps < self.anneal_epochs)
        task, penalty = terms["task"], terms.get("separation", torch.zeros_like(terms["task"]))
        weights, gradients = self.stack.weights, self.stack.gradients
        probes = {
            place: Probe(
                task[index].item(), penalty[index].item(), self._named(gradients, index), self._named(weights, index)
            )
            for index, place in enumerate(self.places)
        }
        return [probes[place] for place in sorted(probes)]

    def _named(self, blocks: Blocks, index: int) -> dict[str, Array]:
        return {name: array(value).copy() for name, value in self.stack.named(blocks, index).items()}

    def step(self, dropout: bool) -> None:
        """One epoch of every network: calls on fixed tensors that neither wait for the device nor ask it anything."""
        train_acc, terms = self.compute(dropout)
        self.optimizer.step(self.ledger.epochs_done)
        is_finite = self.stack.finite_networks()
        for name, term in terms.items():
            if name != "task":  # of which validation sees to it
                is_finite &= term.isfinite()
        self.ledger.record_training(train_acc, terms["task"], is_finite)

    def compute(self, dropout: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Training accuracy and loss terms before their weights, by name, of every network; their losses' gradients.

        What the validation points give settles the epoch before.
        """
        stack, epoch = self.stack, self.ledger.epochs_done
        if dropout:
            stack.drop(epoch)
        stack.forward(training=True, dropout=dropout)
        (train_acc, train_loss), validation = self.task.judge(stack.logits)
        self.ledger.record_validation(*validation)
        terms = {"task": train_loss}
        if self.penalty is not None:
            stack.grad_pre.zero_()
            terms["separation"] = self.penalty(stack.pre_train, stack.by_channel(stack.grad_pre), epoch)
        stack.backward(self.task.gradient(stack.logits), has_penalty=self.penalty is not None, dropout=dropout)
        return train_acc, terms

    def _evaluate_training_set(self) -> "_WholeSet":
        """Penalty and census of the training points in evaluation mode; settles the epoch."""
        stack = self.stack
        stack.forward(training=False, dropout=False)
        penalty = None if self.penalty is None else self.penalty(stack.pre_train)
        is_last = self.epochs_done == self.epochs
        self.ledger.record_validation(
            *self.task.judge(stack.logits)[1], penalty.isfinite() if is_last and penalty is not None else None
        )
        return _WholeSet(None if penalty is None else array(penalty), *map(array, stack.census()))

    def _keep_curve_row(self, epoch: int) -> None:
        seen, rows_of = self.at_last, self.stack.rows_of.cpu().numpy()
        rows = np.concatenate([seen.census, np.zeros((4, 1))], axis=1)[:, rows_of]
        fractions = rows.sum(2) / [cell.depth for cell in self.cells]
        kept, penalty = array(self.ledger.is_alive) > 0, np.zeros(len(self.cells))
        if seen.penalty is not None:
            penalty = seen.penalty
            kept &= np.isfinite(penalty)
        self.curve.append((epoch, np.concatenate([array(self.ledger.last), penalty[None], fractions]), kept))

    def _outcomes(self) -> dict[int, Outcome]:
        ledger = self.ledger
        alive, diverged_epoch, epochs_run = map(array, (ledger.is_alive, ledger.diverged_epoch, ledger.epochs_run))
        last, best, best_epoch = map(array, (ledger.last, ledger.best, ledger.best_epoch))
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
                tuple(self.curve_rows(index)),
            )
        return outcomes

    def _census(self, seen: "_WholeSet", index: int) -> LayerCensus:
        rows = self.stack.rows_of[index, : self.cells[index].depth].cpu().numpy()
        dead_units, linear_units, dead, linear = (tuple(fractions[rows].tolist()) for fractions in seen.census)
        return LayerCensus(dead_units, linear_units, dead, linear, known(seen.dead_at_some_layer[index]))

    def curve_rows(self, index: int) -> Iterator[CurveRow]:
        """What is kept of a network's curve."""
        yield from self.curves_before[index]
        for epoch, values, kept in self.curve:
            if kept[index]:
                numbers = values[:, index].tolist()
                if self.penalty is None:
                    numbers[4] = None
                yield CurveRow(epoch, *numbers)


@dataclass(frozen=True)
class _WholeSet:
    """Penalty (networks,) and census (4, rows) of the training points; which share of them is dead at some layer."""

    penalty: Array | None
    census: Array
    dead_at_some_layer: Array  # (networks,); NaN where it is not known

    def penalty_of(self, index: int) -> float | None:
        return None if self.penalty is None else float(self.penalty[index])


def _metric(last: float, best: float, best_epoch: float, keep_last: bool) -> Metric:
    if best_epoch == 0:
        return Metric()
    return Metric(float(last) if keep_last else None, float(best), int(best_epoch))


@contextmanager
def _flushed_to_zero() -> Iterator[None]:
    """Denormal numbers as zeros on the CPU, as on a GPU: the moments of dead units decay to them, 25 times slower."""
    was_flushed = bool((torch.tensor(1e-320, dtype=torch.float64) * 1).item() == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)
