"""The stacked engine: many MLPs as one batch of matrices, on the CPU, or as one CUDA graph a step on a GPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.checkpoint import Checkpoints, CheckpointWriter
from jumpstart_exp.engines.eager.engine import torch_for
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.stacked.cost import memory_bytes, seconds
from jumpstart_exp.engines.stacked.paths import (
    PADDED_NUMBERS,
    VECTORISED_NUMBERS,
    is_padded,
    optimizer_group,
    width_class,
)
from jumpstart_exp.late import LateModule
from jumpstart_exp.limits import available_memory_bytes, cpu_count
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.result import Result, traceback_of
from jumpstart_exp.settings import is_function_name

if TYPE_CHECKING:
    import torch

    from jumpstart_exp.engines.stacked.fleet import Fleet
    from jumpstart_exp.engines.stacked.functional import FunctionalFleet
    from jumpstart_exp.engines.stacked.record import Outcome
    from jumpstart_exp.engines.training_state import TrainingState
else:
    torch = LateModule("torch")

_LOOK_EVERY = 0.25
"""Seconds of work between two looks at which networks are done: on a GPU it then waits for its work."""

_MOST_CELLS = {"cpu": 512, "cuda": 16_384}

_LEAST_EPS = {"float32": 1e-30, "float64": 1e-290}
"""Below it an ε counts as 0 where numbers below the normal ones do, and a dead network's 0/ε becomes 0/0."""


class StackedEngine:
    """Trains fleets of MLP cells, each as one batch, with one torch thread.

    A fleet that does not fit into the memory, or fails, is halved and both halves are trained, down to single cells.

    Args:
        device: `cpu` or a CUDA device.
        curve_every: epochs between the rows of a curve; None for about 100 rows a cell.
        threads: of no use here: the calls of a step are too small to be shared.
        checkpoints: where cells in training are kept; None for nowhere.
    """

    name = "stacked"
    uses_threads = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    imports: tuple[str, ...] = ("jumpstart_exp.engines.stacked.fleet", "jumpstart_exp.engines.stacked.functional")

    def __init__(
        self,
        device: str = "cpu",
        curve_every: int | None = None,
        threads: int = 1,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.curve_every = curve_every
        self.keeper = CheckpointWriter(checkpoints, self.name)

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """Numbers that flushing would turn into 0/0, what is not on its list, functions that cannot be vectorised."""
        least = _LEAST_EPS.get(cell.precision, 0.0)
        if cell.least_eps < least:
            return f"the engine stacked takes no ε below {least:g} in {cell.precision}"
        reason = unsupported(StackedEngine.name, cell)
        if reason is None and (is_function_name(cell.network.activation) or cell.regulariser_weight):
            from jumpstart_exp.engines.stacked.vectorising import why_not_vectorised

            return why_not_vectorised(cell)
        return reason

    @staticmethod
    def fleet_group(cell: Cell) -> Hashable:
        """What a step's list of calls depends on; of padded networks, too, the width up to a factor of two.

        Padding is work for nothing. What is vectorised is equal in depth and width.
        """
        own = PADDED_NUMBERS if is_padded(cell) else VECTORISED_NUMBERS
        shared = ((name, value) for name, value in cell.description().items() if name not in own)
        size = width_class(cell) if is_padded(cell) else None
        return (*shared, cell.dropout.rate > 0, size, optimizer_group(cell))

    @staticmethod
    def fleet_limit(cells: Sequence[Cell], device: str) -> int:
        """As many as fit into three quarters of the free memory; on the CPU into a core's share of it."""
        where = device.partition(":")[0]
        free = available_memory_bytes(device) if where == "cuda" else available_memory_bytes() // cpu_count()
        largest = max(StackedEngine.estimate_memory_bytes(cell) for cell in cells)
        return max(1, min(_MOST_CELLS[where], int(0.75 * free) // largest))

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        """Seconds of one CPU core for a cell among dozens of its like."""
        return seconds(cell)

    @staticmethod
    def share_done(cell: Cell, epochs: float) -> float:
        """The share of the cell's time that its first epochs take."""
        return epochs / cell.optimizer.epochs

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        """Activations with their gradients, parameters with theirs and slots, padded where the networks are."""
        return memory_bytes(cell)

    def probe(self, cell: Cell, data: Data, steps: int = 0, initial: Tensors | None = None) -> Probe:
        """The full-batch step after `steps` steps, from the cell's initial weights or from `initial`."""
        _check_unweighted(data)
        with torch_for(cell):
            return _fleet([cell])([cell], data, self.device, self.curve_every, initial=initial).probe(steps)[0]

    def train(
        self,
        cells: Sequence[Cell],
        data: Data,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, float], None],
    ) -> None:
        """Train cells of one dataset and one `fleet_group`; results come as their networks are done.

        Cells that go on from their checkpoints form a fleet with those that were kept after the same epoch.

        Raises:
            ValueError: points have weights.
        """
        _check_unweighted(data)
        with torch_for(cells[0]):
            fleets = self._fleets(cells)
            while fleets:
                part = fleets.pop()
                try:
                    fleets += self._train_fleet(part, data, on_result, on_progress)[::-1]
                finally:
                    self.keeper.end([cell.key for cell in part.cells])

    def _fleets(self, cells: Sequence[Cell]) -> list[_FleetPart]:
        """Those that are furthest come last: they are trained first."""
        from jumpstart_exp.engines.training_state import load_training_state

        groups: dict[tuple[int, int], _FleetPart] = {}
        for cell in cells:
            state = load_training_state(self.keeper, cell)
            progress = (0, 0) if state is None else (state.epochs, len(state.pending))
            part = groups.setdefault(progress, _FleetPart([], []))
            part.cells.append(cell)
            if state is not None:
                part.states.append(state)
        return [groups[progress] for progress in sorted(groups)]

    def _train_fleet(
        self,
        part: _FleetPart,
        data: Data,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, float], None],
    ) -> list[_FleetPart]:
        """Train a fleet; where it fails, the halves of what is left of it, to be trained again."""
        cells, states = part.cells, part.states
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        now, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        started = [state.started for state in states] or [now] * len(cells)
        before = [state.seconds for state in states] or [0.0] * len(cells)
        for cell in cells:
            on_progress(cell, 0)
        for cell, state in zip(cells, states, strict=False):
            on_progress(cell, state.epochs)
        self.keeper.begin([cell.key for cell in cells])
        left = dict(enumerate(cells))
        total = sum(self.estimate_seconds(cell) for cell in cells)
        shares = [self.estimate_seconds(cell) / total for cell in cells]

        def seconds(index: int) -> float:
            return before[index] + (time.perf_counter() - clock) * shares[index]

        events = self._events(part, data, left)
        while True:
            try:
                finished = next(events, None)
            except Exception as error:  # whatever it is: it costs one cell, once that is alone
                reason, trace = f"{type(error).__name__}: {error}", traceback_of(error)
                break
            if finished is None:
                return []
            epochs, outcomes, kept = finished
            for index, outcome in outcomes.items():
                cell = left.pop(index)
                self.keeper.end([cell.key])
                on_result(self._result(cell, outcome, started[index], seconds(index)))
            for cell in left.values():
                on_progress(cell, epochs)
            for index, state in kept.items():
                own = replace(state, seconds=seconds(index), started=started[index])
                self.keeper.save(cells[index].key, own.content(cells[index]))
        del events  # and all that the fleet has allocated
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
        again = list(left)
        if len(again) > 1:
            middle = (len(again) + 1) // 2
            return [part.part(again[:middle]), part.part(again[middle:])]
        for index, cell in left.items():
            on_result(
                Result(
                    cell,
                    "failed",
                    self.name,
                    str(self.device),
                    seconds=seconds(index),
                    started=started[index],
                    error=reason,
                    traceback=trace,
                )
            )
        return []

    def _events(
        self, part: _FleetPart, data: Data, left: Mapping[int, Cell]
    ) -> Iterator[tuple[int, dict[int, Outcome], dict[int, TrainingState]]]:
        """Train a fleet in slices of time: epochs done, what became of cells since, and the others if they are due.

        Cells are given by index; those of a fleet are begun together, and kept together.
        """
        make = _fleet(part.cells)
        fleet = make(part.cells, data, self.device, self.curve_every, states=part.states or None)
        while fleet.is_training:
            outcomes = fleet.train_for(_LOOK_EVERY)
            is_due = any(self.keeper.is_due(cell.key) for cell in left.values())
            yield fleet.epochs_done, outcomes, fleet.states() if is_due else {}

    def _result(self, cell: Cell, outcome: Outcome, started: str, seconds: float) -> Result:
        """The cell's result; the seconds are its share of the fleet's."""
        train_acc, val_acc, train_loss, val_loss = outcome.metrics
        on_cuda = self.device.type == "cuda"
        return Result(
            cell,
            "done" if outcome.diverged_epoch is None else "diverged",
            self.name,
            str(self.device),
            n_params=outcome.n_params,
            epochs_run=outcome.epochs_run,
            diverged_epoch=outcome.diverged_epoch,
            train_acc=train_acc,
            val_acc=val_acc,
            train_loss=train_loss,
            val_loss=val_loss,
            penalty_start=outcome.penalty_start,
            penalty_last=outcome.penalty_last,
            census_start=outcome.census_start,
            census_last=outcome.census_last,
            seconds=seconds,
            peak_memory_bytes=torch.cuda.max_memory_allocated(self.device) if on_cuda else peak_memory_bytes(),
            started=started,
            curve=outcome.curve,
        )


@dataclass(frozen=True)
class _FleetPart:
    """Cells to be trained as a fleet, with their states, all after the same epoch; none where they begin."""

    cells: list[Cell]
    states: list[TrainingState]

    def part(self, indices: Sequence[int]) -> _FleetPart:
        return _FleetPart([self.cells[index] for index in indices], [self.states[i] for i in indices if self.states])


def _fleet(cells: Sequence[Cell]) -> type[Fleet | FunctionalFleet]:
    """Which way a fleet is trained: padded matrices for what they are written for, else vectorised by torch.func."""
    from jumpstart_exp.engines.stacked.fleet import Fleet
    from jumpstart_exp.engines.stacked.functional import FunctionalFleet

    return Fleet if is_padded(cells[0]) else FunctionalFleet


def _check_unweighted(data: Data) -> None:
    if data.is_weighted:
        raise ValueError("the engine stacked takes no weights of points: eager and native do")
