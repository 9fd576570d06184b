"""What is known of the networks of a fleet in training: metrics, curves, census, what became of them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.stacked.metrics import FleetMetrics
from jumpstart_exp.engines.training_state import TrainingState, curve_array, curve_row
from jumpstart_exp.result import CENSUS, CurveRow, LayerCensus, Metric

Array = npt.NDArray[np.float64]

Branches = tuple[Mapping[str, Array], Mapping[str, Array], Mapping[str, Array]]
"""`network`, `method` and `optimizer` of a training state."""


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


@dataclass(frozen=True)
class WholeSet:
    """The training points in evaluation mode: penalty (networks,), of every network its census (6, depth).

    In the order of `CENSUS`, then `ACTIVITY`. And which share of the points is dead at some layer, (networks,). NaN is
    what was not counted. With relaxed layers what a curve has of them, (networks, 2 + relaxed layers).
    """

    penalty: Array | None
    census: Sequence[Array]
    dead_at_some_layer: Array
    relaxed: Array | None = None

    def penalty_of(self, index: int) -> float | None:
        """A network's penalty before λ; None without one."""
        return None if self.penalty is None else float(self.penalty[index])

    def census_of(self, index: int) -> LayerCensus:
        """A network's census."""
        return LayerCensus.of_rows(self.census[index].tolist(), self.dead_at_some_layer[index])


class FleetRecord(ABC):
    """Networks in training as one batch: their epochs, and what is known of them.

    Args:
        cells: of one dataset and one `StackedEngine.fleet_group`.
        places: the order in which they are trained: indices among the cells.
        device: where they are trained.
        curve_every: epochs between evaluations of the training set; None for about 100 in all.
    """

    at_start: WholeSet
    at_last: WholeSet
    n_params: Sequence[int]

    def __init__(
        self, cells: Sequence[Cell], places: Sequence[int], device: torch.device, curve_every: int | None
    ) -> None:
        self.places, self.cells = places, [cells[place] for place in places]
        self.epochs, self.epochs_done = cells[0].optimizer.epochs, 0
        self.curve_every = curve_every or max(1, round(self.epochs / 100))
        self.ledger = FleetMetrics(len(cells), device)
        self.handed_over: set[int] = set()
        self.curve: list[tuple[int, Array, npt.NDArray[np.bool_]]] = []
        self.curves_before: list[list[CurveRow]] = [[] for _ in cells]

    @abstractmethod
    def train_epoch(self) -> None:
        """One epoch of every network, noted in the ledger; it is settled by then or with the next."""

    @abstractmethod
    def evaluate_training_set(self) -> WholeSet:
        """Penalty and census of the training points in evaluation mode; settles the epoch."""

    @abstractmethod
    def branches(self) -> Callable[[int], Branches]:
        """What gives a network's branches of its training state, as they are now."""

    @abstractmethod
    def fill(self, states: Sequence[TrainingState]) -> None:
        """The other way: every network's, in the fleet's order."""

    @property
    def is_training(self) -> bool:
        """Whether there are networks that are not done."""
        return len(self.handed_over) < len(self.cells)

    @torch.no_grad()
    def train_for(self, seconds: float) -> dict[int, Outcome]:
        """Train on for about so long: what became of networks that are done since, by their index among the cells."""
        clock = time.perf_counter()
        with flushed_to_zero():
            while True:
                self.train_epoch()
                self.epochs_done += 1
                epoch, is_last = self.epochs_done, self.epochs_done == self.epochs
                if is_last or epoch == 1 or epoch % self.curve_every == 0:
                    self.at_last = self.evaluate_training_set()
                    self._keep_curve_row(epoch)
                if is_last or time.perf_counter() - clock >= seconds:
                    return self._outcomes()

    def begin(self, states: Sequence[TrainingState] | None) -> None:
        """Evaluate the networks as they begin, or put them where they were, all after the same epoch."""
        with flushed_to_zero():
            if states is None:
                self.at_start = self.at_last = self.evaluate_training_set()
            else:
                self.at_start = self.at_last = self._restore([states[place] for place in self.places])

    @torch.no_grad()
    def states(self) -> dict[int, TrainingState]:
        """The networks that are not done as they are now, by their index among the cells; seconds are 0."""
        ledger = self.ledger
        metrics = np.stack([array(own) for own in (ledger.last, ledger.best, ledger.best_epoch)], -1)
        pending = np.stack([array(own) for own in (ledger.train_acc, ledger.train_loss)], -1)
        is_open = bool(ledger.is_open)
        # where an open epoch's numbers are not finite, the next step will say so
        goes_on = array(ledger.is_alive & ledger.was_finite if is_open else ledger.is_alive) > 0
        branches, found = self.branches(), {}
        for index, place in enumerate(self.places):
            if index in self.handed_over or not goes_on[index]:
                continue
            network, method, optimizer = branches(index)
            found[place] = TrainingState(
                epochs=self.epochs_done,
                network=network,
                method=method,
                optimizer=optimizer,
                metrics=metrics[:, index],
                penalty_start=self.at_start.penalty_of(index) or 0.0,
                census_start=self.at_start.census[index],
                dead_at_some_layer_start=float(self.at_start.dead_at_some_layer[index]),
                curve=curve_array(list(self.curve_rows(index))),
                pending=pending[index] if is_open else pending[index, :0],
                seconds=0.0,
                started="",
            )
        return found

    def curve_rows(self, index: int) -> Iterator[CurveRow]:
        """What is kept of a network's curve."""
        yield from self.curves_before[index]
        for epoch, values, kept in self.curve:
            if kept[index]:
                yield self._curve_row(epoch, values[:, index].tolist())

    def _restore(self, states: Sequence[TrainingState]) -> WholeSet:
        """Put every network into its state, in the fleet's order; what was evaluated before the first step."""
        ledger, is_open = self.ledger, len(states[0].pending) > 0
        self.epochs_done = states[0].epochs
        self.fill(states)
        ledger.epochs_done.fill_(self.epochs_done)
        ledger.epochs_run.fill_(self.epochs_done - is_open)
        ledger.is_open.fill_(is_open)
        metrics = np.stack([own.metrics for own in states], 1)
        for number, target in enumerate((ledger.last, ledger.best, ledger.best_epoch)):
            target.copy_(tensor(metrics[..., number], target.dtype))
        if is_open:
            pending = np.stack([own.pending for own in states])
            for number, target in enumerate((ledger.train_acc, ledger.train_loss)):
                target.copy_(tensor(pending[:, number], target.dtype))
        for index, own in enumerate(states):
            self.curves_before[index] = [self._curve_row(int(epoch), numbers) for epoch, *numbers in own.curve.tolist()]
        has_penalty = self.cells[0].penalty_weight > 0
        return WholeSet(
            np.array([own.penalty_start for own in states]) if has_penalty else None,
            [own.census_start for own in states],
            np.array([own.dead_at_some_layer_start for own in states]),
        )

    def _curve_row(self, epoch: int, numbers: list[float]) -> CurveRow:
        train_acc, val_acc, train_loss, val_loss, penalty, *fractions = numbers
        has_penalty = self.cells[0].penalty_weight > 0
        return curve_row(epoch, train_acc, val_acc, train_loss, val_loss, penalty if has_penalty else None, *fractions)

    def _keep_curve_row(self, epoch: int) -> None:
        seen = self.at_last
        fractions = np.stack([census[: len(CENSUS)].mean(1) for census in seen.census], 1)
        kept, penalty = array(self.ledger.is_alive) > 0, np.zeros(len(self.cells))
        if seen.penalty is not None:
            penalty = seen.penalty
            kept &= np.isfinite(penalty)
        parts = [array(self.ledger.last), penalty[None], fractions]
        if seen.relaxed is not None:
            parts.append(seen.relaxed.T)
        self.curve.append((epoch, np.concatenate(parts), kept))

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
                self.at_start.census_of(index),
                self.at_last.census_of(index) if done else None,
                tuple(self.curve_rows(index)),
            )
        return outcomes


def array(tensor: Tensor) -> Array:
    """In float64, on the CPU."""
    found: Array = tensor.double().cpu().numpy()
    return found


def tensor(array: Array, of: torch.dtype) -> Tensor:
    """The other way, on the CPU."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(of)


@contextmanager
def flushed_to_zero() -> Iterator[None]:
    """Denormal numbers as zeros on the CPU, as on a GPU: the moments of dead units decay to them, 25 times slower."""
    was_flushed = bool((torch.tensor(1e-320, dtype=torch.float64) * 1).item() == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)


def _metric(last: float, best: float, best_epoch: float, keep_last: bool) -> Metric:
    if best_epoch == 0:
        return Metric()
    return Metric(float(last) if keep_last else None, float(best), int(best_epoch))
