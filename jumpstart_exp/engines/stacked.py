"""The stacked engine: many MLPs as one batch of matrices, on the CPU, or as one CUDA graph a step on a GPU.

A *row* is a hidden layer of a network. Networks are sorted deepest first, so that layer l is a batched matrix product
over the first n_l networks, and all rows lie in one tensor, layer after layer. Units are padded to the widest network:
padded weights are zero, so padded units are zero and stay so. The 2×1 layout is an MLP of width·2 units, unit =
channel·2 + position, whose matrices are put together from the kernels. A bias is a weight of an input that is 1.
The backward pass is written out, so that all of a step's work is a fixed list of calls on fixed tensors.

Training and validation points go through the network together: what the training of an epoch sees of the validation
points is how the epoch before it validates. So an epoch is settled in the step after it, or by the survey.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.datasets import Data
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.networks import build, dtype
from jumpstart_exp.randomness import Stream
from jumpstart_exp.result import METRICS, CurveRow, LayerCensus, Metric, Result

Array = npt.NDArray[np.float64]

_LOOK_EVERY = 0.25
"""Seconds of work between two looks at which networks are done: on a GPU it then waits for its work."""

_MOST_CELLS = {"cpu": 512, "cuda": 16_384}
_CACHED_NUMBERS = {"cpu": 1 << 17, "cuda": 1 << 26}
"""Numbers of a tensor that long element-wise passes treat at a time: on a CPU what its second-level cache holds."""

_MOST_TIED = 1 << 24
"""Entries of a layer up to which float32 counts exactly, as the ranks of tied entries need it."""


class StackedEngine:
    """Trains fleets of MLP cells, each as one batch, with one torch thread.

    A fleet that does not fit into the memory, or fails, is halved and both halves are trained, down to single cells.

    Args:
        device: `cpu` or a CUDA device.
        curve_every: epochs between the rows of a curve; None for about 100 rows a cell.
        threads: of no use here: the calls of a step are too small to be shared.
    """

    name = "stacked"
    uses_threads = False
    devices: tuple[str, ...] = ("cpu", "cuda")

    def __init__(self, device: str = "cpu", curve_every: int | None = None, threads: int = 1) -> None:
        self.device = torch.device(device)
        self.curve_every = curve_every

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """Mini-batches, and numbers that padding would turn into 0/0."""
        if cell.batch_size < cell.dataset.sizes()[0]:
            return "the engine stacked trains full batches only"
        if cell.precision == "float32" and min(cell.optimizer.eps, cell.network.norm_eps) < 1e-30:
            return "the engine stacked takes no ε below 1e-30 in float32"
        if _width_class(cell) * cell.positions * cell.batch_size > _MOST_TIED:
            return f"the engine stacked takes at most {_MOST_TIED} activations a layer"
        return None

    @staticmethod
    def fleet_group(cell: Cell) -> Hashable:
        """What a step's list of calls depends on, and the width up to a factor of two: padding is work for nothing."""
        penalty = cell.penalty
        positions_matter = cell.positions > 1 and penalty.kind != "L"
        return (
            cell.network.layout,
            cell.network.norm,
            (penalty.kind, penalty.aggregate, penalty.ties, penalty.scope if positions_matter else "")
            if cell.penalty_weight
            else None,
            cell.dropout.rate > 0,
            cell.precision,
            cell.optimizer.epochs,
            _width_class(cell),
        )

    @staticmethod
    def fleet_limit(cells: Sequence[Cell], device: str) -> int:
        """As many as fit into three quarters of the free memory; on the CPU into a core's share of it."""
        where = torch.device(device)
        if where.type == "cuda":
            free = torch.cuda.mem_get_info(where)[0]
        else:
            free = _available_memory_bytes() // (os.cpu_count() or 1)
        largest = max(StackedEngine.estimate_memory_bytes(cell) for cell in cells)
        return max(1, min(_MOST_CELLS[where.type], int(0.75 * free) // largest))

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        """Seconds of one CPU core for a cell among dozens of its like, fitted to fleets of 72 at depths 1 to 150."""
        units = cell.width * cell.positions
        a_number = 2.2e-9 + (7e-9 if cell.penalty_weight else 0.0) + (9.5e-9 if cell.network.norm == "batch" else 0.0)
        if cell.dropout.rate:
            a_number += 18e-9 * min(1.0, cell.dropout.anneal_epochs / cell.optimizer.epochs)
        a_layer = 0.3e-6 + a_number * units * sum(cell.dataset.sizes()) + 9.6e-9 * units**2
        a_step = (4e-6 + cell.depth * a_layer) * (2 if cell.precision == "float64" else 1)
        return cell.optimizer.epochs * a_step

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        """Activations with their gradients, parameters with theirs and Adam's, all padded to the group's width."""
        n_train, n_val = cell.dataset.sizes()
        units = _width_class(cell) * cell.positions
        buffers = 3 + (cell.network.norm == "batch") + (cell.dropout.rate > 0)
        weights = units * (units + 1)
        stored = 5 * weights // cell.positions + (2 * weights if cell.positions > 1 else 0)
        outside = (cell.dataset.features + cell.dataset.classes + 4) * (n_train + n_val + units)
        return (8 if cell.precision == "float64" else 4) * (
            cell.depth * (buffers * units * (n_train + n_val) + stored) + 5 * outside + units * (n_train + n_val)
        )

    def probe(self, cell: Cell, data: Data, steps: int = 0, initial: Tensors | None = None) -> Probe:
        """The full-batch step after `steps` steps, from the cell's initial weights or from `initial`."""
        with _one_thread():
            return Fleet([cell], data, self.device, self.curve_every, initial=initial).probe(steps)[0]

    def train(
        self,
        cells: Sequence[Cell],
        data: Data,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, int], None],
    ) -> None:
        """Train cells of one dataset and one `fleet_group`; results come as their networks are done."""
        with _one_thread():
            fleets = [list(cells)]
            while fleets:
                fleets += self._train_fleet(fleets.pop(), data, on_result, on_progress)[::-1]

    def _train_fleet(
        self,
        cells: Sequence[Cell],
        data: Data,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, int], None],
    ) -> list[list[Cell]]:
        """Train a fleet; where it fails, the halves of what is left of it, to be trained again."""
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        for cell in cells:
            on_progress(cell, 0)
        left = dict(enumerate(cells))
        shares = [self.estimate_seconds(cell) for cell in cells]
        events = self._events(cells, data)
        while True:
            try:
                finished = next(events, None)
            except Exception as error:  # whatever it is: it costs one cell, once that is alone
                reason = f"{type(error).__name__}: {error}"
                break
            if finished is None:
                return []
            epochs, outcomes = finished
            for index, outcome in outcomes.items():
                cell = left.pop(index)
                seconds = (time.perf_counter() - clock) * shares[index] / sum(shares)
                on_result(outcome.result(cell, self, started, seconds))
            for cell in left.values():
                on_progress(cell, epochs)
        del events  # and all that the fleet has allocated
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        again = list(left.values())
        if len(again) > 1:
            middle = (len(again) + 1) // 2
            return [again[:middle], again[middle:]]
        seconds = time.perf_counter() - clock
        for cell in again:
            on_result(
                Result(cell, "failed", self.name, str(self.device), seconds=seconds, started=started, error=reason)
            )
        return []

    def _events(self, cells: Sequence[Cell], data: Data) -> "Iterator[tuple[int, dict[int, Outcome]]]":
        """Train a fleet in slices of time: epochs done, and what became of cells since, by index."""
        fleet = Fleet(cells, data, self.device, self.curve_every)
        while fleet.is_training:
            outcomes = fleet.train_for(_LOOK_EVERY)
            yield fleet.epochs_done, outcomes


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

    def result(self, cell: Cell, engine: StackedEngine, started: str, seconds: float) -> Result:
        """The cell's result; the seconds are its share of the fleet's."""
        train_acc, val_acc, train_loss, val_loss = self.metrics
        on_cuda = engine.device.type == "cuda"
        return Result(
            cell,
            "done" if self.diverged_epoch is None else "diverged",
            engine.name,
            str(engine.device),
            n_params=self.n_params,
            epochs_run=self.epochs_run,
            diverged_epoch=self.diverged_epoch,
            train_acc=train_acc,
            val_acc=val_acc,
            train_loss=train_loss,
            val_loss=val_loss,
            penalty_start=self.penalty_start,
            penalty_last=self.penalty_last,
            census_start=self.census_start,
            census_last=self.census_last,
            seconds=seconds,
            peak_memory_bytes=torch.cuda.max_memory_allocated(engine.device) if on_cuda else peak_memory_bytes(),
            started=started,
            curve=self.curve,
        )


class Fleet:
    """Networks in training as one batch.

    Args:
        cells: of one dataset and one `StackedEngine.fleet_group`.
        data: their dataset.
        device: where they are trained.
        curve_every: epochs between surveys; None for about 100 in all.
        initial: weights by torch's names for the network of a single cell; None for the cells' own.
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
    ) -> None:
        self.places = sorted(range(len(cells)), key=lambda index: -cells[index].depth)
        self.cells = cells = [cells[index] for index in self.places]
        self.epochs, self.epochs_done = cells[0].optimizer.epochs, 0
        self.curve_every = curve_every or max(1, round(self.epochs / 100))
        self.anneal_epochs = max(cell.dropout.anneal_epochs if cell.dropout.rate else 0 for cell in cells)
        self.stack = _Stack(cells, data, device)
        self.n_params = self.stack.load(initial)
        self.penalty = _Penalty(self.stack) if cells[0].penalty_weight else None
        self.adam = _Adam(self.stack)
        self.ledger = _Ledger(len(cells), device)
        self.n_train = len(data.y_train)
        y = torch.cat([data.y_train, data.y_val]).to(device)
        self.y = y.expand(len(cells), -1).contiguous()
        self.y_number = self.y.to(self.stack.dtype)
        self.is_class = F.one_hot(y, cells[0].dataset.classes).T.to(self.stack.dtype)[-self.stack.outputs :]
        task = torch.tensor([float(cell.task_loss) for cell in cells], dtype=torch.float64) / self.n_train
        self.task_weight = task.to(device, self.stack.dtype)[:, None, None]
        self.replayed = _Replayed(device) if device.type == "cuda" else None
        self.handed_over: set[int] = set()
        self.curve: list[tuple[int, Array, npt.NDArray[np.bool_]]] = []
        with _flushed_to_zero():
            self.at_start = self.at_last = self._survey()

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
                    self.replayed(self.step, dropout)
                self.epochs_done += 1
                epoch, is_last = self.epochs_done, self.epochs_done == self.epochs
                if is_last or epoch == 1 or epoch % self.curve_every == 0:
                    self.at_last = self._survey()
                    self._keep_curve_row(epoch)
                if is_last or time.perf_counter() - clock >= seconds:
                    return self._outcomes()

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

    def _named(self, blocks: "_Blocks", index: int) -> dict[str, Array]:
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


@dataclass(frozen=True)
class _Blocks:
    """Every parameter of a fleet, or a number for each, in one flat tensor with views of its parts.

    The last column of a matrix is the bias; a kernel's columns are (channel, position).
    """

    flat: Tensor
    first: Tensor  # (networks, width, features + 1)
    hidden: Tensor  # (rows after the first layer's, width, units + 1)
    norm: Tensor  # (2, rows, width): gain and offset; width 0 without batch norm
    output: Tensor  # (networks, outputs, units + 1)

    @classmethod
    def zeros(cls, shapes: Sequence[tuple[int, ...]], device: torch.device, of: torch.dtype) -> "_Blocks":
        sizes = [math.prod(shape) for shape in shapes]
        flat = torch.zeros(sum(sizes), device=device, dtype=of)
        return cls(flat, *(part.view(shape) for part, shape in zip(torch.split(flat, sizes), shapes, strict=True)))

    def row_sums(self) -> Tensor:
        """The sum over each row's parameters."""
        return torch.cat([self.first.sum((1, 2)), self.hidden.sum((1, 2))]) + self.norm.sum((0, 2))


@dataclass(frozen=True)
class _Layer:
    """A hidden layer of the networks that have it: views of the stack's tensors, (networks, units, points) each."""

    rows: slice
    weights: Tensor  # (networks, units, inputs + 1)
    weights_back: Tensor  # (networks, inputs, units)
    entering: Tensor | None  # the layer's inputs; None for the points themselves
    kept: Tensor | None  # their dropout
    affine: Tensor
    pre_train: Tensor
    leaving: Sequence[tuple[Tensor, Tensor, Tensor | None]]  # pre-activations, where their ReLU goes, its dropout
    slope: Tensor
    back: Tensor


class _Stack:
    """The networks' tensors, and what runs through them: dropout, forward and backward pass, census."""

    def __init__(self, cells: Sequence[Cell], data: Data, device: torch.device) -> None:
        self.cells, self.device, self.dtype = cells, device, dtype(cells[0])
        one = cells[0]
        self.positions, self.features = one.positions, one.dataset.features
        self.width = max(cell.width for cell in cells)
        self.units = self.width * self.positions
        self.outputs = 1 if one.dataset.classes == 2 else one.dataset.classes
        self.has_norm, self.has_dropout = one.network.norm == "batch", one.dropout.rate > 0
        self._number_rows()
        self.n_train = len(data.x_train)
        self.training_points = torch.arange(self.n_train, device=device)
        self.seeds = self.numbers(cell.seed for cell in cells)
        x = torch.cat([data.x_train, data.x_val]).to(device, self.dtype).T
        self.x = torch.cat([x, torch.ones_like(x[:1])])
        self._allocate(self.x.shape[1])
        self.norm = _Norm(self) if self.has_norm else None
        self.layers = [self._layer(index) for index in range(one.depth)]

    def _number_rows(self) -> None:
        depths = [cell.depth for cell in self.cells]
        self.counts = [sum(depth > layer for depth in depths) for layer in range(depths[0])]
        self.starts = [0, *itertools.accumulate(self.counts)]
        self.rows = self.starts[-1]
        rows_of = np.full((len(depths), depths[0]), self.rows)
        for layer, (start, count) in enumerate(zip(self.starts, self.counts, strict=False)):
            rows_of[:count, layer] = range(start, start + count)
        self.rows_of = torch.from_numpy(rows_of).to(self.device)
        self.owner = self.numbers(index for count in self.counts for index in range(count))
        self.layer_of = self.numbers(layer for layer, count in enumerate(self.counts) for _ in range(count))
        self.row_width = self.numbers(cell.width for cell in self.cells)[self.owner]
        self.is_real = torch.arange(self.width, device=self.device) < self.row_width[:, None]
        self.is_padded = any(cell.width < self.width for cell in self.cells)

    def _allocate(self, points: int) -> None:
        networks, rows, units = len(self.cells), self.rows, self.units

        def new(*shape: int) -> Tensor:
            return torch.ones(shape, device=self.device, dtype=self.dtype)

        self.inputs, self.last = new(rows - networks, units + 1, points), new(networks, units + 1, points)
        self.pre, self.logits = new(rows, units, points), new(networks, self.outputs, points)
        self.affine = new(rows, units, points) if self.has_norm else self.pre
        self.pre_train = self.by_channel(self.pre)[..., : self.n_train]
        self.slope, self.back = new(rows, units, self.n_train), new(networks, units, self.n_train)
        if self.has_dropout:
            self.kept, self.dropped_x = new(rows - networks, units, points), self.x.expand(networks, -1, -1).clone()
            rates = (cell.dropout.rate for cell in self.cells)
            epochs = (float(cell.dropout.anneal_epochs) for cell in self.cells)
            self.rates, self.anneal_epochs = self.numbers(rates), self.numbers(epochs)
        self.block_shapes = [
            (networks, self.width, self.features + 1),
            (rows - networks, self.width, units + 1),
            (2, rows, self.width if self.has_norm else 0),
            (networks, self.outputs, units + 1),
        ]
        self.weights, self.gradients = (_Blocks.zeros(self.block_shapes, self.device, self.dtype) for _ in range(2))
        # the matrices over units, first and hidden: the blocks' own, or room for those made of kernels
        self.matrices = [self.weights.first, self.weights.hidden]
        self.matrix_gradients = [self.gradients.first, self.gradients.hidden]
        if self.positions > 1:
            shapes = [(len(block), units, block.shape[2]) for block in self.matrices]
            self.matrices, self.matrix_gradients = ([new(*shape).zero_() for shape in shapes] for _ in range(2))

    def _layer(self, index: int) -> _Layer:
        networks, count, train = len(self.cells), self.counts[index], slice(0, self.n_train)
        deeper = self.counts[index + 1] if index + 1 < len(self.counts) else 0
        rows = slice(self.starts[index], self.starts[index] + count)
        here = slice(rows.start - networks, rows.stop - networks)  # among the rows of later layers
        onward = slice(here.stop, here.stop + deeper)
        pre = self.pre[rows]
        leaving: list[tuple[Tensor, Tensor, Tensor | None]] = []
        if deeper:
            kept = self.kept[onward] if self.has_dropout else None
            leaving.append((pre[:deeper], self.inputs[onward, :-1], kept))
        if deeper < count:
            leaving.append((pre[deeper:], self.last[deeper:count, :-1], None))
        weights = self.matrices[1][here] if index else self.matrices[0]
        return _Layer(
            rows=rows,
            weights=weights,
            weights_back=weights[:, :, :-1].transpose(1, 2),
            entering=self.inputs[here] if index else None,
            kept=self.kept[here, :, train] if index and self.has_dropout else None,
            affine=self.affine[rows],
            pre_train=pre[..., train],
            leaving=leaving,
            slope=self.slope[rows],
            back=self.back[:count],
        )

    def numbers(self, values: Iterable[float]) -> Tensor:
        """A tensor of int64 or float64 numbers on the device."""
        return torch.from_numpy(np.array(list(values))).to(self.device)

    def by_channel(self, tensor: Tensor) -> Tensor:
        """(rows, channels, positions, points) of a tensor of (rows, units, points)."""
        return tensor.view(len(tensor), self.width, self.positions, tensor.shape[2])

    def by_network(self, rows: Tensor) -> Tensor:
        """The sum over each network's rows, of a number for each row: no network sees another's NaN."""
        return torch.cat([rows, rows.new_zeros(1)])[self.rows_of].sum(1)

    def chunks(self) -> Iterator[slice]:
        """All rows, in parts that are worked on together."""
        size = max(1, _CACHED_NUMBERS[self.device.type] // (self.units * self.n_train))
        return (slice(first, min(first + size, self.rows)) for first in range(0, self.rows, size))

    def beyond(self, bound: float) -> Tensor | None:
        """What is added to pre-activations (rows, channels, 1, 1) so that padding is never the extreme."""
        if not self.is_padded:
            return None
        return torch.where(self.is_real, 0.0, bound).to(self.dtype)[:, :, None, None]

    def named(self, blocks: _Blocks, index: int) -> dict[str, Tensor]:
        """A network's parts of the blocks by torch's names and in torch's shapes: views."""
        cell, networks, found = self.cells[index], len(self.cells), {}
        width, units = cell.width, cell.width * self.positions
        for layer in range(cell.depth):
            row = self.starts[layer] + index
            block = blocks.hidden[row - networks] if layer else blocks.first[index]
            weight = block[:width, : units if layer else self.features]
            found[f"hidden.{layer}.weight"] = weight.view(width, -1, 2) if self.positions > 1 else weight
            found[f"hidden.{layer}.bias"] = block[:width, -1]
            if self.has_norm:
                found[f"norms.{layer}.weight"], found[f"norms.{layer}.bias"] = blocks.norm[:, row, :width]
        found["output.weight"], found["output.bias"] = blocks.output[index, :, :units], blocks.output[index, :, -1]
        return found

    def owners(self) -> Tensor:
        """The network of every number in `weights.flat`."""
        networks = len(self.cells)
        first, later, rows = self.owner[:networks, None, None], self.owner[networks:, None, None], self.owner[:, None]
        blocks = zip((first, later, rows, first), self.block_shapes, strict=True)
        return torch.cat([owner.expand(shape).flatten() for owner, shape in blocks])

    def load(self, initial: Tensors | None) -> list[int]:
        """Give the networks their initial weights, the cells' own or those by torch's names: how many each has."""
        host, counts = _Blocks.zeros(self.block_shapes, torch.device("cpu"), self.dtype), []
        for index, cell in enumerate(self.cells):
            own = {name: value.detach() for name, value in build(cell).named_parameters()}
            for name, view in self.named(host, index).items():
                view.copy_(own[name] if initial is None else torch.from_numpy(np.asarray(initial[name])))
            counts.append(sum(value.numel() for value in own.values()))
        self.weights.flat.copy_(host.flat)
        return counts

    def drop(self, epoch: Tensor) -> None:
        """Draw what the networks' inputs and hidden layers lose in an epoch (counted from 0)."""
        rate = (self.rates * (1 - epoch / self.anneal_epochs)).clamp_min(0)  # in float64
        threshold, factor = (rate * 2**32).floor().long(), (1 / (1 - rate)).to(self.dtype)

        def keep(layers: Tensor, owner: Tensor, units: int) -> Tensor:
            drawn = _draws(Stream.DROPOUT, self.seeds[owner], epoch, layers, self.training_points, units)
            return (drawn >= threshold[owner, None, None]) * factor[owner, None, None]

        networks, train = len(self.cells), slice(0, self.n_train)
        x = self.x[:-1, train]
        torch.mul(x, keep(self.layer_of[:networks], self.owner[:networks], len(x)), out=self.dropped_x[:, :-1, train])
        for rows in self.chunks():
            later = slice(max(rows.start, networks), rows.stop)
            if later.start < later.stop:
                here = slice(later.start - networks, later.stop - networks)
                self.kept[here, :, train] = keep(self.layer_of[later], self.owner[later], self.units)

    def forward(self, *, training: bool, dropout: bool) -> None:
        """From the points to `pre` and `logits`; in training mode with the training points' own statistics."""
        if self.positions > 1:
            for block, matrix in zip((self.weights.first, self.weights.hidden), self.matrices, strict=True):
                _unfold(block, matrix)
        if self.norm is not None:
            self.norm.prepare()
        for layer in self.layers:
            if layer.entering is not None:
                torch.bmm(layer.weights, layer.entering, out=layer.affine)
            elif dropout:
                torch.bmm(layer.weights, self.dropped_x, out=layer.affine)
            else:
                torch.mm(layer.weights.flatten(0, 1), self.x, out=layer.affine.flatten(0, 1))
            if self.norm is not None:
                self.norm.forward(layer.rows, training=training)
            for pre, post, kept in layer.leaving:
                torch.clamp_min(pre, 0, out=post)
                if dropout and kept is not None:
                    post.mul_(kept)
        torch.bmm(self.weights.output, self.last, out=self.logits)
        if self.norm is not None and training:
            self.norm.update()

    def backward(self, logits_slope: Tensor, *, has_penalty: bool, dropout: bool) -> None:
        """All gradients, from the logits' (networks, outputs, training points) and, in `slope`, the penalty's."""
        train = slice(0, self.n_train)
        torch.bmm(logits_slope, self.last[:, :, train].transpose(1, 2), out=self.gradients.output)
        torch.bmm(self.weights.output[:, :, :-1].transpose(1, 2), logits_slope, out=self.back)
        if self.norm is not None:
            self.norm.normalise()
        for layer in reversed(self.layers):
            # `back` holds the gradients of this layer's outputs, the output layer's own where a network ends here
            passed = layer.back if has_penalty else layer.slope
            torch.ops.aten.threshold_backward.grad_input(layer.back, layer.pre_train, 0, grad_input=passed)
            if has_penalty:
                layer.slope.add_(layer.back)
            if self.norm is not None:
                self.norm.backward(layer.rows)
            if layer.entering is not None:
                torch.bmm(layer.weights_back, layer.slope, out=layer.back)
                if dropout and layer.kept is not None:
                    layer.back.mul_(layer.kept)
        networks = len(self.cells)
        first, hidden = self.matrix_gradients
        slope = self.slope[:networks]
        if dropout:
            torch.bmm(slope, self.dropped_x[:, :, train].transpose(1, 2), out=first)
        else:
            torch.mm(slope.flatten(0, 1), self.x[:, train].T, out=first.flatten(0, 1))
        torch.bmm(self.slope[networks:], self.inputs[:, :, train].transpose(1, 2), out=hidden)
        if self.positions > 1:
            for block, matrix in zip((self.gradients.first, self.gradients.hidden), (first, hidden), strict=True):
                _fold(matrix, block)

    def finite_networks(self) -> Tensor:
        """Which networks have finite parameters only; the gradients' place serves as scratch."""
        torch.mul(self.weights.flat, 0, out=self.gradients.flat)
        return (self.by_network(self.gradients.row_sums()) + self.gradients.output.sum((1, 2))).isfinite()

    def census(self) -> Tensor:
        """Fractions (4, rows) of dead and linear units and points among the training points."""
        above = self.beyond(math.inf)
        found = []
        for rows in self.chunks():
            pre, is_real = self.pre_train[rows], self.is_real[rows]
            raised = pre if above is None else pre + above[rows]
            units = (pre.amax((2, 3)) <= 0) & is_real, (pre.amin((2, 3)) > 0) & is_real
            points = pre.amax((1, 2)) <= 0, raised.amin((1, 2)) > 0
            found.append(
                torch.stack(
                    [
                        *(fulfilled.sum(1).double() / self.row_width[rows] for fulfilled in units),
                        *(fulfilled.double().mean(1) for fulfilled in points),
                    ]
                )
            )
        return torch.cat(found, 1)


def _unfold(kernels: Tensor, matrices: Tensor) -> None:
    """Kernels (rows, channels out, channels in·2 + 1) as matrices over units: the second position sees only itself."""
    first, second = matrices.view(len(matrices), matrices.shape[1] // 2, 2, matrices.shape[2]).unbind(2)
    first.copy_(kernels)
    second[:, :, 1:-1:2].copy_(kernels[:, :, :-1:2])
    second[:, :, -1].copy_(kernels[:, :, -1])


def _fold(matrices: Tensor, kernels: Tensor) -> None:
    """The kernels' gradient from that of their matrices."""
    first, second = matrices.view(len(matrices), matrices.shape[1] // 2, 2, matrices.shape[2]).unbind(2)
    kernels.copy_(first)
    kernels[:, :, :-1:2].add_(second[:, :, 1:-1:2])
    kernels[:, :, -1].add_(second[:, :, -1])


class _Norm:
    """Batch norm of all rows: a channel's statistics run over positions and training points.

    Validation points, and all points in evaluation mode, are normalised by the running averages.
    """

    def __init__(self, stack: _Stack) -> None:
        shape = (stack.rows, stack.width, 1, 1)

        def of_cells(values: Iterable[float]) -> Tensor:
            return stack.numbers(values)[stack.owner].to(stack.dtype)[:, None, None, None]

        self.eps = of_cells(cell.network.norm_eps for cell in stack.cells)
        self.momentum = of_cells(cell.network.norm_momentum for cell in stack.cells)
        self.gain, self.offset = (part.view(shape) for part in stack.weights.norm)
        self.gain_slope, self.offset_slope = (part.view(shape) for part in stack.gradients.norm)
        like = stack.weights.norm.new_zeros(shape)
        self.mean, self.variance = like.clone(), like + 1
        self.batch_mean, self.batch_variance, self.batch_scale = like.clone(), like.clone(), like.clone()
        self.fixed_scale, self.fixed_shift = like.clone(), like.clone()
        self.n_train, self.count = stack.n_train, stack.n_train * stack.positions
        self.affine, self.pre, self.slope = map(stack.by_channel, (stack.affine, stack.pre, stack.slope))

    def prepare(self) -> None:
        """What the running averages, as they are now, do to an affine map."""
        torch.mul(self.gain, (self.variance + self.eps).rsqrt(), out=self.fixed_scale)
        torch.sub(self.offset, self.mean * self.fixed_scale, out=self.fixed_shift)

    def forward(self, rows: slice, *, training: bool) -> None:
        """Pre-activations of rows from their affine maps."""
        first = self.n_train if training else 0
        affine, pre = self.affine[rows], self.pre[rows]
        torch.addcmul(self.fixed_shift[rows], affine[..., first:], self.fixed_scale[rows], out=pre[..., first:])
        if training:
            variance, mean = torch.var_mean(affine[..., :first], (2, 3), correction=0, keepdim=True)
            scale = self.gain[rows] * (variance + self.eps[rows]).rsqrt()
            torch.addcmul(self.offset[rows] - mean * scale, affine[..., :first], scale, out=pre[..., :first])
            self.batch_mean[rows], self.batch_variance[rows], self.batch_scale[rows] = mean, variance, scale

    def update(self) -> None:
        """Move the running averages to the statistics of the batch, the variance to its unbiased one."""
        self.mean.lerp_(self.batch_mean, self.momentum)
        self.variance.lerp_(self.batch_variance * (self.count / (self.count - 1)), self.momentum)

    def normalise(self) -> None:
        """Turn the training points' affine maps into what gain and offset act on."""
        self.affine[..., : self.n_train].sub_(self.batch_mean).mul_((self.batch_variance + self.eps).rsqrt())

    def backward(self, rows: slice) -> None:
        """Turn the slopes of pre-activations into those of affine maps."""
        slope, normalised = self.slope[rows], self.affine[rows, ..., : self.n_train]
        gain_slope = (slope * normalised).sum((2, 3), keepdim=True)
        offset_slope = slope.sum((2, 3), keepdim=True)
        self.gain_slope[rows], self.offset_slope[rows] = gain_slope, offset_slope
        slope.addcmul_(normalised, gain_slope, value=-1 / self.count).sub_(offset_slope, alpha=1 / self.count)
        slope.mul_(self.batch_scale[rows])


_TIE_STREAMS = {
    ("U", "above"): Stream.TIE_UNIT_ABOVE,
    ("U", "below"): Stream.TIE_UNIT_BELOW,
    ("P", "above"): Stream.TIE_POINT_ABOVE,
    ("P", "below"): Stream.TIE_POINT_BELOW,
    ("L", "above"): Stream.TIE_LAYER_ABOVE,
    ("L", "below"): Stream.TIE_LAYER_BELOW,
}


class _Penalty:
    """The separation penalty of every network, and its gradient.

    Axes are (rows, channels, positions, points) throughout; the maxima and minima of a constraint run over some of
    the last three, which stay as axes of length 1.
    """

    def __init__(self, stack: _Stack) -> None:
        self.stack = stack
        cells, spec = stack.cells, stack.cells[0].penalty
        self.aggregate, self.ties = spec.aggregate, spec.ties
        self.axes = {kind: _axes(kind, spec.scope) for kind in spec.kind}
        specs = [cell.penalty for cell in cells]
        rows = list(zip(stack.owner.tolist(), stack.layer_of.tolist(), strict=True))
        layer_weights = stack.numbers(1.0 if (own := specs[i].layer_weights) is None else own[k] for i, k in rows)

        def by_row(values: Iterable[float]) -> Tensor:
            return stack.numbers(values)[stack.owner]

        def rounded(numbers: Tensor) -> Tensor:
            return numbers.to(stack.dtype)[:, None, None, None]

        balance = by_row(own.balance for own in specs)
        shares = {"above": rounded(layer_weights * balance), "below": rounded(layer_weights * (1 - balance))}
        # a constraint of a padded unit counts for nothing
        real = {kind: stack.is_real[:, :, None, None] if kind == "U" else 1 for kind in self.axes}
        self.shares = {(kind, side): share * real[kind] for kind in self.axes for side, share in shares.items()}
        self.margins = {
            "above": rounded(by_row(own.margin_above for own in specs)),
            "below": rounded(by_row(own.margin_below for own in specs)),
        }
        self.beyond = {"above": stack.beyond(-math.inf), "below": stack.beyond(math.inf)}
        pairs = [
            cell.depth * sum(_constraints(kind, spec.scope, cell, stack.n_train) for kind in self.axes)
            for cell in cells
        ]
        self.pairs = stack.numbers(pairs).to(stack.dtype)
        per_pair = {"sum": [1.0] * len(cells), "mean": [1 / own for own in pairs], "sum_sq": [2.0] * len(cells)}
        factors = per_pair.get(spec.aggregate, per_pair["sum"])
        self.weight = rounded(by_row(own.weight * factor for own, factor in zip(specs, factors, strict=True)))
        # the largest where the entry comes first in (point, channel, position) order
        entries = stack.n_train * stack.units
        order = torch.arange(entries, 0, -1, device=stack.device, dtype=stack.dtype)
        self.bits = torch.int64 if stack.dtype == torch.float64 else torch.int32
        self.rank = order.view(stack.n_train, stack.width, stack.positions).permute(1, 2, 0).contiguous()

    def __call__(self, pre: Tensor, slope: Tensor | None = None, epoch: Tensor | None = None) -> Tensor:
        """The penalty of every network before λ; λ times its gradient is added to `slope`.

        Args:
            pre: pre-activations of all rows on the training points.
            slope: of the same shape; None for the value alone.
            epoch: counted from 0, for the draws of random ties.
        """
        if self.aggregate != "l2":
            total = self._sweep(pre, slope, self.weight, epoch)
            return total / self.pairs if self.aggregate == "mean" else total
        norm = self._sweep(pre, None, self.weight, None).sqrt()
        if slope is not None:
            inverse = norm.reciprocal().masked_fill_(norm == 0, 0)
            self._sweep(pre, slope, self.weight * inverse[self.stack.owner, None, None, None], epoch)
        return norm

    def _sweep(self, pre: Tensor, slope: Tensor | None, weight: Tensor, epoch: Tensor | None) -> Tensor:
        """Σv or Σv² of every network; adds weight·∂v (times v where squared) to the slope."""
        is_squared = self.aggregate in ("l2", "sum_sq")
        totals = []
        for rows in self.stack.chunks():
            total = pre.new_zeros(rows.stop - rows.start)
            for kind, axes in self.axes.items():
                found = {side: self._deficits(pre[rows], rows, side, axes) for side in ("above", "below")}
                above, below = (found[side][2] * self.shares[kind, side][rows] for side in found)
                pair = above + below
                total += (pair.square() if is_squared else pair).sum((1, 2, 3))
                if slope is None:
                    continue
                for side, (entries, extreme, deficit) in found.items():
                    steepness = self.shares[kind, side][rows] * weight[rows]
                    coefficient = deficit.sign_().mul_(steepness * pair if is_squared else steepness)
                    chosen = torch.eq(entries, extreme, out=torch.empty_like(slope[rows]))
                    if self.ties == "shared":
                        coefficient = coefficient / chosen.sum(axes, keepdim=True)
                    elif self.ties == "single":
                        # no number is negative, so their bits are in the same order, and faster to compare
                        lowest = chosen.mul_(self.rank).view(self.bits).amax(axes, keepdim=True)
                        torch.eq(chosen, lowest.view(chosen.dtype), out=chosen)
                    else:
                        chosen = self._drawn(chosen, kind, side, axes, rows, epoch)
                    slope[rows].addcmul_(chosen, coefficient, value=-1 if side == "above" else 1)
            totals.append(total)
        return self.stack.by_network(torch.cat(totals))

    def _deficits(self, pre: Tensor, rows: slice, side: str, axes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """The entries, where padding is beyond all others; every constraint's extreme; its deficit."""
        beyond, margin = self.beyond[side], self.margins[side][rows]
        entries = pre if beyond is None or 1 not in axes else pre + beyond[rows]
        if side == "above":
            extreme = entries.amax(axes, keepdim=True)
            return entries, extreme, (margin - extreme).clamp_min_(0)
        extreme = entries.amin(axes, keepdim=True)
        return entries, extreme, (extreme - margin).clamp_min_(0)

    def _drawn(
        self, tied: Tensor, kind: str, side: str, axes: tuple[int, ...], rows: slice, epoch: Tensor | None
    ) -> Tensor:
        """1 at the k-th tied entry of every constraint in (point, channel, position) order, k = ⌊draw · tied / 2³²⌋."""
        stack = self.stack
        assert epoch is not None
        points = stack.training_points if kind == "P" else stack.training_points[:1]
        constraints = [1 if axis in axes else tied.shape[axis] for axis in (1, 2, 3)]
        numbers = _draws(
            _TIE_STREAMS[kind, side],
            stack.seeds[stack.owner[rows]],
            epoch,
            stack.layer_of[rows],
            points,
            constraints[0] * constraints[1],
        )
        kept_axes = [axis for axis in (1, 2, 3) if axis not in axes]
        entry_axes = [axis for axis in (3, 1, 2) if axis in axes]
        order = [0, *kept_axes, *entry_axes]
        arranged = tied.permute(order)
        is_tied = arranged.flatten(1 + len(kept_axes)) > 0
        k = (numbers.view(is_tied.shape[:-1]) * is_tied.sum(-1)) >> 32
        is_chosen = is_tied & (is_tied.cumsum(-1) == k[..., None] + 1)
        back = [order.index(axis) for axis in range(4)]
        return is_chosen.view(arranged.shape).permute(back).to(tied.dtype)


def _axes(kind: str, scope: str) -> tuple[int, ...]:
    """The axes over which a constraint's maximum runs."""
    if kind == "L":
        return (1, 2, 3)
    own = 3 if kind == "U" else 1
    return (own,) if scope == "position" else tuple(sorted((own, 2)))


def _constraints(kind: str, scope: str, cell: Cell, points: int) -> int:
    """Pairs of constraints that a hidden layer has."""
    each = cell.positions if scope == "position" else 1
    return {"U": cell.width * each, "P": points * each, "L": 1}[kind]


class _Adam:
    """Adam on all parameters at once, part by part; its state lives on the device."""

    def __init__(self, stack: _Stack) -> None:
        specs = [cell.optimizer for cell in stack.cells]
        owners: Tensor | None = stack.owners()
        if len({(own.lr, own.beta1, own.beta2, own.eps, own.eps_rule) for own in specs}) == 1:
            specs, owners = specs[:1], None  # one number serves all
        self.owners = owners
        self.lr, self.beta1, self.beta2, self.eps = (
            stack.numbers(getattr(own, name) for own in specs) for name in ("lr", "beta1", "beta2", "eps")
        )
        self.is_keras = stack.numbers(own.eps_rule == "keras" for own in specs)
        self.dtype = stack.dtype
        self.weights, self.gradients = stack.weights.flat, stack.gradients.flat
        self.first_moment, self.second_moment = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.size = _CACHED_NUMBERS[stack.device.type]
        self.scratch = torch.empty_like(self.weights[: self.size])
        # what every parameter needs, in the parameters' precision
        self.keep_second, self.new_first, self.new_second = map(
            self._spread, (self.beta2, 1 - self.beta1, 1 - self.beta2)
        )

    def step(self, steps: Tensor) -> None:
        """One step down the gradients, which it spends, after so many others (a number on the device)."""
        correction1, correction2 = (1 - beta ** (steps + 1) for beta in (self.beta1, self.beta2))
        root = correction2.sqrt()
        # Keras's ε̂ stands beside √v before the bias correction
        eps = self._spread(torch.where(self.is_keras, self.eps / root, self.eps))
        root, downhill = self._spread(root), self._spread(-self.lr / correction1)
        for first in range(0, len(self.weights), self.size):
            part = slice(first, first + self.size)
            weight, gradient = self.weights[part], self.gradients[part]
            moment1, moment2 = self.first_moment[part], self.second_moment[part]
            scratch = self.scratch[: len(weight)]
            moment1.lerp_(gradient, _part(self.new_first, part))
            torch.mul(gradient, _part(self.new_second, part), out=scratch)
            moment2.mul_(_part(self.keep_second, part)).addcmul_(scratch, gradient)
            torch.sqrt(moment2, out=scratch).div_(_part(root, part)).add_(_part(eps, part))
            weight.addcdiv_(torch.mul(moment1, _part(downhill, part), out=gradient), scratch)

    def _spread(self, numbers: Tensor) -> Tensor:
        """Each parameter's own of the networks' numbers; the only one where it serves all."""
        numbers = numbers.to(self.dtype)
        return numbers[0] if self.owners is None else numbers[self.owners]


def _part(numbers: Tensor, part: slice) -> Tensor:
    return numbers[part] if numbers.dim() else numbers


class _Ledger:
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

    def note(self, accuracy: Tensor, loss: Tensor, is_finite: Tensor) -> None:
        """An epoch's training is over; `is_finite` is of its penalty and of the parameters after it."""
        self.train_acc.copy_(accuracy)
        self.train_loss.copy_(loss)
        self.was_finite.copy_(is_finite)
        self.epochs_done.add_(1)
        self.is_open.fill_(True)

    def settle(self, accuracy: Tensor, loss: Tensor, is_finite: Tensor | None = None) -> None:
        """Validation after the epoch that is open, if one is; `is_finite` is what a survey adds."""
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


class _Replayed:
    """A step as CUDA graphs: run as it is a few times on a stream of its own, then captured and replayed.

    What the step depends on lies in tensors on the device; only whether there is dropout makes a graph of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.warm_up = device, 3
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.graphs: dict[bool, Any] = {}

    def __call__(self, step: Callable[[bool], None], dropout: bool) -> None:
        """One step, always the same one."""
        with torch.cuda.device(self.device):
            if self.warm_up:
                self.warm_up -= 1
                self.stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self.stream):
                    step(dropout)
                torch.cuda.current_stream().wait_stream(self.stream)
                return
            if dropout not in self.graphs:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=self.stream):
                    step(dropout)
                self.graphs[dropout] = graph
            self.graphs[dropout].replay()


_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF


def _draws(stream: Stream, seeds: Tensor, epoch: Tensor, layers: Tensor, points: Tensor, units: int) -> Tensor:
    """The draws of `jumpstart_exp.randomness.draws` for many networks, on their device: (rows, units, points), int64.

    Args:
        stream: what they are for.
        seeds: of every row.
        epoch: a number on the device.
        layers: of every row.
        points: their indices.
        units: how many, counted from 0.
    """
    blocks = torch.arange((units + 3) // 4, device=points.device)
    shape = (len(seeds), len(blocks), len(points))
    word0, word1 = blocks[:, None].expand(shape), points.expand(shape)
    word2, word3 = layers[:, None, None].expand(shape), epoch.expand(shape)
    key0, key1 = seeds[:, None, None], int(stream)
    for _ in range(10):
        # products wrap around at 64 bits, and what a signed shift draws in is masked away
        product0, product1 = word0 * _MULTIPLIERS[0], word2 * _MULTIPLIERS[1]
        word0 = ((product1 >> 32) & _WORD) ^ word1 ^ key0
        word2 = ((product0 >> 32) & _WORD) ^ word3 ^ key1
        word1, word3 = product1 & _WORD, product0 & _WORD
        key0, key1 = (key0 + _WEYL[0]) & _WORD, (key1 + _WEYL[1]) & _WORD
    return torch.stack([word0, word1, word2, word3], 2).flatten(1, 2)[:, :units]


def _metric(last: float, best: float, best_epoch: float, keep_last: bool) -> Metric:
    if best_epoch == 0:
        return Metric()
    return Metric(float(last) if keep_last else None, float(best), int(best_epoch))


def _array(tensor: Tensor) -> Array:
    return tensor.double().cpu().numpy()


def _width_class(cell: Cell) -> int:
    """The width, rounded up to the power of two, from 4 on."""
    return max(4, 1 << (cell.width - 1).bit_length())


def _available_memory_bytes() -> int:
    """Memory that this machine can give out; a guess where it does not say."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4_000_000_000


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: the calls are small, and a core trains another fleet."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _flushed_to_zero() -> Iterator[None]:
    """Denormal numbers as zeros on the CPU, as on a GPU: the moments of dead units decay to them, 25 times slower."""
    was_flushed = bool((torch.tensor(1e-320, dtype=torch.float64) * 1).item() == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_flushed)
