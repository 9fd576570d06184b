"""One cell's training in eager, step by step: the loop of the papers, and what is measured on the way."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.augmentation import flip_and_crop
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.checkpoint import CheckpointWriter
from jumpstart_exp.engines.eager.forward import DenseForward, evaluation_mode, forward_of
from jumpstart_exp.engines.eager.metrics import Tracker, trackers
from jumpstart_exp.engines.eager.random_draws import Points, batches, dropout_factors, is_drawn, tie_draws
from jumpstart_exp.engines.eager.resets import is_due, reset_dormant_units
from jumpstart_exp.engines.eager.states import restore, state_of
from jumpstart_exp.engines.layers import is_trained, limit_rows, row_weights
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.engines.replay import Replayed
from jumpstart_exp.engines.schedules import hidden_factor, penalty_factor, rate_factor
from jumpstart_exp.losses.separation import TieDraws
from jumpstart_exp.losses.task import spread_of, task_of
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.methods import methods_of, relaxation_of
from jumpstart_exp.methods.interface import Batch
from jumpstart_exp.methods.regulariser import Regulariser
from jumpstart_exp.methods.relaxation import RelaxedPass
from jumpstart_exp.networks.build import count_parameters, dtype
from jumpstart_exp.randomness import Stream, random_bits
from jumpstart_exp.result import CENSUS, METRICS, CurveRow, LayerCensus, Result, relaxed_row
from jumpstart_exp.settings import setting_error
from jumpstart_exp.specs.optimizer import OptimizerSpec

_TOLD_EVERY = 1.0
"""Seconds in an epoch after which its progress is told."""

_WHOLE_SETS = 10
"""Evaluations of the whole training set in a training by mini-batches, by default: all its points pass each time."""

_NUMBERS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 24}
"""Numbers of a layer's activations that an evaluation has in memory: points go through the network in chunks."""


@dataclass(frozen=True)
class Loss:
    """The loss of one batch.

    Attributes:
        terms: by name, scalars before their weights: `task`, and what the methods add.
        weights: of the terms.
        right: how many points are put into their class.
    """

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]
    right: Tensor

    @property
    def total(self) -> Tensor:
        """What is descended."""
        weighted = [
            term if self.weights[name] == 1 else self.weights[name] * term
            for name, term in self.terms.items()
            if self.weights[name] != 0
        ]
        total = weighted[0]
        for term in weighted[1:]:
            total = total + term
        return total


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
    metrics: dict[str, Tracker]
    latest: Batch | None  # pass in training, whose dormant units may begin anew

    def __init__(
        self,
        cell: Cell,
        data: Data,
        device: torch.device,
        curve_every: int | None = None,
        keeper: CheckpointWriter | None = None,
    ) -> None:
        self.cell, self.device, self.keeper = cell, device, keeper
        epochs, is_full_batch = cell.optimizer.epochs, cell.batch_size == cell.dataset.sizes()[0]
        self.curve_every = curve_every or max(1, round(epochs / 100))
        self.evaluate_every = self.curve_every
        if curve_every is None and not is_full_batch:
            self.evaluate_every = max(1, round(epochs / _WHOLE_SETS))
        self.data = data
        self.x_train, self.x_val = (
            x.to(device) if data.mean else x.to(device, dtype(cell)) for x in (data.x_train, data.x_val)
        )
        self.task, self.methods = task_of(cell.dataset), methods_of(cell)
        self.relaxation = relaxation_of(self.methods)
        scaled = [
            None if weights is None else weights.double() / weights.double().mean()
            for weights in (data.weights_train, data.weights_val)
        ]
        targets = (data.y_train, data.y_val)
        self.spreads = [spread_of(cell.dataset, y, weights) for y, weights in zip(targets, scaled, strict=True)]
        self.weights_train, self.weights_val = (
            None if weights is None else weights.to(device, dtype(cell)) for weights in scaled
        )
        self.y_train, self.y_val = (self.task.targets(y, dtype(cell)).to(device) for y in (data.y_train, data.y_val))
        self.weights = {"task": float(cell.task_loss)}
        for method in self.methods:
            self.weights |= method.weights
        self.batch_count = math.ceil(len(self.x_train) / cell.batch_size)
        self.total_steps = epochs * self.batch_count
        self.replayed = Replayed(device) if self._is_graph() else None
        self.rows: dict[int, Tensor] = {}  # by batch size, what a replayed step reads
        self.begun = time.perf_counter()
        self.diverged_epoch: int | None = None
        self._begin()
        if not self._goes_on():
            self.penalty_start, self.census_start = self._evaluate_training_set()
            self.penalty_last: float | None = self.penalty_start
            self.census_last: LayerCensus | None = self.census_start

    @property
    def epochs_done(self) -> float:
        """Epochs that are trained, with the share of the one in training."""
        return self.epochs_run + self.batches_done / self.batch_count

    def epochs(self) -> Iterator[float]:
        """Train, yielding the epochs done after each and in long ones; ends early when the training diverges."""
        for epoch in range(self.epochs_run + 1, self.cell.optimizer.epochs + 1):
            yield from self._train_epoch(epoch - 1)
            train_loss, train_acc, method_terms = self._seen_in_training()
            val_loss, val_acc = self._validate()
            if not (
                math.isfinite(train_loss + val_loss + train_acc + val_acc + method_terms) and self._parameters_finite()
            ):
                self.diverged_epoch = epoch
                return
            is_last = epoch == self.cell.optimizer.epochs
            if is_last or epoch == 1 or epoch % self.curve_every == 0:
                seen: LayerCensus | None = None
                penalty: float | None = None
                if is_last or epoch == 1 or epoch % self.evaluate_every == 0:
                    penalty, seen = self._evaluate_training_set()
                    self.penalty_last, self.census_last = penalty, seen
                if math.isfinite(penalty or 0.0):
                    row = _curve_row(epoch, train_acc, val_acc, train_loss, val_loss, penalty, seen)
                    self.curve.append(row if self.relaxation is None else self._with_relaxation(row))
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
            seconds=self.seconds,
            peak_memory_bytes=_peak_memory_bytes(self.device),
            started=self.started,
            curve=tuple(self.curve),
        )

    def loss(self, x: Tensor, y: Tensor, epoch: int, batch: int, points: Tensor | None) -> Loss:
        """The loss of one batch in training mode.

        Args:
            x: points as the network sees them.
            y: their targets.
            epoch: counted from 0.
            batch: number of the batch in its epoch.
            points: indices of the points in the training set; None for all in order.
        """
        dropout, ties = self._draws(len(x), epoch, batch, points)
        if self.relaxation is None:
            seen = self.forward.train(x, dropout, ties)
            judged = seen.outputs
        else:
            if self.relaxation.is_renewed(self.steps):
                self._renew(x)
            seen, judged = self._dense.relaxed(x, RelaxedPass(self.relaxation, self.method_parameters), ties)
        seen = self._with_parameters(seen)
        self.latest = seen if self.cell.reset.every else None
        weights = self._weights_of(points)
        terms = {"task": self.task.loss(judged, y, weights)}
        for method in self.methods:
            terms |= method.loss_terms(seen)
            if isinstance(method, Regulariser):
                method.check_gradient(terms["regulariser"])
        return Loss(terms, self._weights_now(), self.task.right(judged, y, weights))

    def _draws(
        self, count: int, epoch: int, batch: int, points: Tensor | None
    ) -> tuple[list[Tensor] | None, TieDraws | None]:
        """A batch's dropout factors and draws for ties; None of what is not drawn.

        Indices go to the host only where something is drawn for them: that waits for the device, and ends a CUDA graph.
        """
        if not is_drawn(self.cell, epoch):
            return None, None
        rows: Points = np.arange(count) if points is None else points.cpu().numpy()
        return dropout_factors(self.cell, epoch, rows, self.device), tie_draws(self.cell, epoch, batch, rows)

    def _weights_of(self, points: Tensor | None) -> Tensor | None:
        """Of the points of a batch in the task's loss, the training set's mean 1; None where they have none."""
        return self.weights_train if self.weights_train is None or points is None else self.weights_train[points]

    @torch.no_grad()
    def _renew(self, x: Tensor) -> None:
        """Relaxed values anew, from a plain pass of all points."""
        assert self.relaxation is not None
        seen = self._dense.train(x, None, None)
        outs = self._dense.network.activated(seen.pre_activations)
        for name, value in self.relaxation.renewed(seen.pre_activations, outs, seen.outputs).items():
            self.method_parameters[name].copy_(value)

    @property
    def _dense(self) -> DenseForward:
        assert isinstance(self.forward, DenseForward)
        return self.forward

    def _weights_now(self) -> dict[str, float]:
        """Of the loss's terms in the step to come, λ by its schedule."""
        weights = dict(self.weights)
        if "separation" in weights:
            weights["separation"] *= penalty_factor(self.cell.penalty, self.steps, self.total_steps)
        if "relaxation" in weights:
            weights["relaxation"] *= hidden_factor(self.cell.rai, self.steps, self.total_steps)
        return weights

    def full_batch(self) -> tuple[Tensor, Tensor]:
        """All training points as the network sees them, not augmented, and their targets."""
        return self.data.inputs(self.x_train, dtype(self.cell)), self.y_train

    def step(self, total: Tensor) -> None:
        """One step of the optimizer down the gradient of the total loss."""
        self.steps += 1
        spec = self.cell.optimizer
        factor = rate_factor(spec, self.steps, self.total_steps, self.batch_count)
        for own, own_spec in self.optimizers:
            own.param_groups[0]["lr"] = own_spec.lr * factor
            optimizer(own_spec).before_step(own, own_spec, self.steps)
            own.zero_grad()
        torch.autograd.backward(total, inputs=self.trained if spec.trained_layers is not None else None)
        # decay and penalty act on those too that the loss does not reach
        for parameter in self.trained if spec.weight_decay else self.row_weights if spec.row_penalty else ():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if spec.row_penalty:
            for weight in self.row_weights:
                assert weight.grad is not None
                weight.grad.add_(weight.detach(), alpha=spec.row_penalty)
        if spec.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, spec.clip_norm)
        for own, _ in self.optimizers:
            if self.replayed is not None:  # torch warns of the flag outside of a capture, and of none inside
                own.param_groups[0]["capturable"] = self.replayed.is_capturing
            own.step()
        if spec.row_limit is not None:
            for weight in self.row_weights:
                limit_rows(weight.detach(), spec.row_limit)
        if self.latest is not None and is_due(self.cell, self.steps):
            seen = self.latest.pre_activations
            reset_dormant_units(self.cell, self.network, self.optimizer, seen, self.steps)

    def _begin(self) -> None:
        """The state before the first step."""
        self.forward = forward_of(self.cell, self.device)
        self.network = self.forward.network
        of_methods = [
            {name: value.to(self.device, dtype(self.cell)).requires_grad_() for name, value in extra.items()}
            for extra in (method.extra_parameters(self.cell, self.data) for method in self.methods)
        ]
        self.method_parameters = {name: value for own in of_methods for name, value in own.items()}
        self.named_parameters = dict(self.network.named_parameters())
        self.parameters = [*self.named_parameters.values(), *self.method_parameters.values()]
        of_network = [value for name, value in self.named_parameters.items() if is_trained(self.cell, name)]
        self.trained = [*of_network, *self.method_parameters.values()]
        self.row_weights = [self.named_parameters[name] for name in row_weights(self.cell)]
        self.optimizers = [self._optimizer_of(of_network, self.cell.optimizer)]
        for method, own in zip(self.methods, of_methods, strict=True):
            if own:
                spec = replace(self.cell.optimizer, lr=self.cell.optimizer.lr * method.rate, weight_decay=0.0)
                self.optimizers.append(self._optimizer_of(list(own.values()), spec))
        self.optimizer = self.optimizers[0][0]
        self.latest = None
        self.steps = 0
        self.epochs_run = 0
        self.batches_done = 0  # of the epoch in training
        # of it: right predictions, the task's loss, the methods' terms
        self.sums = torch.zeros(1 + len(self.weights), dtype=torch.float64, device=self.device)
        self.seconds_before = 0.0
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.metrics = trackers()
        self.curve: list[CurveRow] = []

    def _optimizer_of(
        self, parameters: Sequence[Tensor], spec: OptimizerSpec
    ) -> tuple[torch.optim.Optimizer, OptimizerSpec]:
        return optimizer(spec).build(parameters, spec), spec

    def _goes_on(self) -> bool:
        """Take the state of the cell's checkpoint, if there is one that can be used."""
        state = None if self.keeper is None else self.keeper.load(self.cell.key)
        if self.keeper is None or state is None:
            return False
        try:
            restore(self, state)
        except Exception as error:  # whatever does not fit, the cell can begin anew
            self.keeper.refuse(self.cell.key, error)
            self._begin()
            return False
        return True

    def _train_epoch(self, epoch: int) -> Iterator[float]:
        told = time.monotonic()
        for batch, order in enumerate(batches(self.cell, len(self.x_train), epoch)):
            if batch < self.batches_done:
                continue  # trained before the checkpoint from which this goes on
            points = None if order is None else torch.from_numpy(order).to(self.device)
            if self.replayed is None:
                self._train_batch(epoch, batch, points)
            else:
                self._replay(epoch, batch, points)
            self.batches_done = batch + 1
            self._keep_if_due()
            if time.monotonic() - told > _TOLD_EVERY and self.batches_done < self.batch_count:
                told = time.monotonic()
                yield epoch + self.batches_done / self.batch_count

    def _seen_in_training(self) -> tuple[float, float, float]:
        """Loss and score of the epoch that was trained, and the sum of the methods' terms; begins the next."""
        n_train = len(self.x_train)
        right_sum, loss_sum, *term_sums = self.sums.tolist()
        self.sums.zero_()
        self.batches_done = 0
        loss = loss_sum / n_train
        return loss, self.task.score(loss, right_sum / n_train, self.spreads[0]), sum(term_sums)

    def _train_batch(self, epoch: int, batch: int, points: Tensor | None) -> None:
        x, y = (self.x_train, self.y_train) if points is None else (self.x_train[points], self.y_train[points])
        match getattr(self.cell.dataset, "augment", "none"):
            case "none":
                pass
            case "flip_crop":
                rows = np.arange(len(x)) if points is None else points.cpu().numpy()
                x = flip_and_crop(x, random_bits(Stream.AUGMENTATION, self.cell.seed, epoch, [0], rows, 3)[0])
            case other:
                raise setting_error("dataset.augment", other, "none or flip_crop")
        inputs = self.data.inputs(x, dtype(self.cell))
        loss = self.loss(inputs, y, epoch, batch, points)
        found, right = loss.terms["task"], loss.right
        if self.relaxation is not None:  # what is told is of the plain composition
            outputs = self.forward.outputs(inputs)
            weights = self._weights_of(points)
            found, right = self.task.loss(outputs, y, weights), self.task.right(outputs, y, weights)
        self.step(loss.total)
        terms = (loss.terms[name].detach().double() for name in self.weights if name != "task")
        self.sums += torch.stack([right.double(), found.detach().double() * len(x), *terms])

    def _is_graph(self) -> bool:
        """Whether the steps are replayed as a CUDA graph."""
        return self.device.type == "cuda" and unsupported("graph", self.cell) is None

    def _replay(self, epoch: int, batch: int, points: Tensor | None) -> None:
        """The batch's step as a CUDA graph: its points are read from a tensor that stays where it is."""
        assert self.replayed is not None
        size = 0 if points is None else len(points)
        if points is not None:
            self.rows.setdefault(size, torch.empty_like(points)).copy_(points)
        rows = None if points is None else self.rows[size]
        self.replayed(lambda: self._train_batch(epoch, batch, rows), size)
        self.steps = epoch * self.batch_count + batch + 1  # a graph counts nothing

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        count, loss, right = len(self.y_val), 0.0, 0.0
        weights = None if self.weights_val is None else self._chunks_of(self.weights_val)
        for at, (x, y) in enumerate(zip(self._chunks(self.x_val), self._chunks_of(self.y_val), strict=True)):
            outputs, own = self.forward.outputs(x), None if weights is None else weights[at]
            loss += self.task.loss(outputs, y, own).item() * (len(y) / count)
            right += self.task.right(outputs, y, own).item()
        return loss, self.task.score(loss, right / count, self.spreads[1])

    @torch.no_grad()
    def _evaluate_training_set(self) -> tuple[float | None, LayerCensus]:
        """Penalty (before λ) and census of the whole training set in evaluation mode."""
        seen, census = self.forward.evaluate_training_set(self._chunks(self.x_train))
        measured: dict[str, float] = {}
        for method in self.methods:
            found = method.evaluate(self._with_parameters(seen))
            measured |= {name: value.item() for name, value in found.items()}
        penalty = measured.pop("separation", None)
        if measured:
            raise ValueError(f"there is no column for what a method measures: {', '.join(measured)}")
        return penalty, census

    @torch.no_grad()
    def _with_relaxation(self, row: CurveRow) -> CurveRow:
        """With how far the relaxed pass is from the plain one, in evaluation mode."""
        assert self.relaxation is not None
        x, _ = self.full_batch()
        plain = self.forward.outputs(x)
        with evaluation_mode(self._dense.network.norms):
            seen, judged = self._dense.relaxed(x, RelaxedPass(self.relaxation, self.method_parameters))
        measured = self.relaxation.measured(seen.relaxed or [], judged, plain, self.method_parameters)
        return relaxed_row(row, measured.tolist())

    def _with_parameters(self, seen: Batch) -> Batch:
        """With what is trained: the network's parameters, and what the methods have beside them."""
        return replace(seen, parameters=self.method_parameters, network=self.named_parameters)

    def _chunks(self, x: Tensor) -> Iterator[Tensor]:
        return (self.data.inputs(part, dtype(self.cell)) for part in self._chunks_of(x))

    def _chunks_of(self, x: Tensor) -> tuple[Tensor, ...]:
        cell = self.cell
        numbers = max(cell.width * cell.positions, cell.dataset.features)
        return torch.split(x, max(1, _NUMBERS_AT_ONCE[self.device.type] // numbers))

    def _parameters_finite(self) -> bool:
        return bool(torch.cat([parameter.detach().flatten() for parameter in self.parameters]).isfinite().all())

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self.seconds_before + time.perf_counter() - self.begun

    def _keep_if_due(self) -> None:
        if self.keeper is not None and self.keeper.is_due(self.cell.key):
            self.keeper.save(self.cell.key, state_of(self))


def _curve_row(
    epoch: int,
    train_acc: float,
    val_acc: float,
    train_loss: float,
    val_loss: float,
    penalty: float | None,
    seen: LayerCensus | None,
) -> CurveRow:
    dead_units, linear_units, dead, linear = (None if seen is None else seen.mean(name) for name in CENSUS)
    return CurveRow(epoch, train_acc, val_acc, train_loss, val_loss, penalty, dead_units, linear_units, dead, linear)


def _peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the device, or on the CPU of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory_bytes()
