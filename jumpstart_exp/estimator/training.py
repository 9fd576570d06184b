"""An estimator's training, by the C++ engine or the reference: every epoch is looked at."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager.engine import EagerEngine, torch_for
from jumpstart_exp.engines.eager.forward import forward_of
from jumpstart_exp.engines.eager.training import Training
from jumpstart_exp.engines.native.description import spec_of
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.exchange import (
    arrays_of,
    initial_of,
    relaxed_initial_of,
    resumed,
    tensors_of,
    training_state,
    weights_of,
)
from jumpstart_exp.engines.native.extension import native
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.engines.state_recorder import running_tensors
from jumpstart_exp.engines.training_state import TrainingState, curve_columns
from jumpstart_exp.networks.activations import activation_of
from jumpstart_exp.networks.build import dtype, parameter_shapes, running_shape
from jumpstart_exp.result import ACTIVITY, CENSUS, METRICS, LayerCensus
from jumpstart_exp.settings import setting_error

Array = npt.NDArray[np.float64]

ENGINES: Mapping[str, type[NativeEngine] | type[EagerEngine]] = {"native": NativeEngine, "eager": EagerEngine}
"""What trains estimators, the fastest first."""


@dataclass(frozen=True)
class State:
    """A network between two epochs.

    Attributes:
        epochs: that are trained.
        parameters: (parameters,), in the order of `parameter_shapes`.
        running: statistics of norms, of the shape of `running_shape`.
        slots: what the optimizer keeps of every parameter, (parameters,) each, by its names.
    """

    epochs: int
    parameters: Array
    running: Array
    slots: Mapping[str, Array]

    def tensors(self, cell: Cell) -> dict[str, Array]:
        """Parameters and running statistics by torch's names."""
        return {**tensors_of(self.parameters, parameter_shapes(cell)), **running_tensors(self.running, cell)}


@dataclass
class Follower:
    """What is kept of one network in training: the state after its last epoch, or after the best one.

    Attributes:
        patience: epochs without a better validation score after which it ends; None: it is trained to its end.
        tol: by how much a score has to be better to count.
        losses: the task's mean loss in every epoch, as seen in training.
        scores: the validation score after every epoch, where it may end early.
        state: what is kept.
        diverged_epoch: from 1; None where it did not.
    """

    patience: int | None
    tol: float
    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    state: State | None = None
    diverged_epoch: int | None = None
    without_better: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be seen of it."""
        return self.patience is not None and self.without_better >= self.patience

    def see(self, loss: float, score: float, is_last: bool, state: Callable[[], State]) -> None:
        """Look at the network after an epoch; scikit-learn's rule of when a score is better."""
        if self.is_over:
            return
        self.losses.append(loss)
        if self.patience is None:
            if is_last:
                self.state = state()
            return
        best = max(self.scores, default=-np.inf)
        self.scores.append(score)
        self.without_better = self.without_better + 1 if score < best + self.tol else 0
        if score > best:
            self.state = state()


class _Over(Exception):  # noqa: N818
    """All networks are over: the C++ engine is to end."""


def engine_of(name: str, cell: Cell) -> str:
    """The engine that trains a cell: the first that can, or the one that is asked for.

    Raises:
        SettingError: none can, and why.
    """
    refusals = {}
    for candidate in ENGINES if name == "auto" else [name]:
        reason = ENGINES[candidate].refuses(cell)
        if reason is None:
            return candidate
        refusals[candidate] = reason
    raise setting_error("engine", name, "one that can train this network", "; ".join(refusals.values()))


def train(
    engine: str,
    cells: Sequence[Cell],
    data: Data,
    followers: Sequence[Follower],
    *,
    threads: int = 1,
    start: State | None = None,
    with_slots: bool = False,
) -> None:
    """Train networks of one dataset; each is followed.

    Args:
        engine: of `ENGINES`.
        cells: what is trained.
        data: their points.
        followers: one a cell.
        threads: networks in training at once (native).
        start: where they begin; None for the cells' own initial weights.
        with_slots: whether the training goes on from `start`, with its optimizer's slots, statistics and epochs;
            else it begins anew from its parameters.

    Raises:
        RuntimeError: a training failed.
    """
    match engine:
        case "native":
            _train_native(cells, data, followers, threads, start, with_slots)
        case "eager":
            for cell, follower in zip(cells, followers, strict=True):
                _train_eager(cell, data, follower, start, with_slots)
        case other:
            raise setting_error("engine", other, " or ".join(ENGINES))


def census_of_state(cell: Cell, data: Data, state: State) -> LayerCensus:
    """The census of the training points, in evaluation mode (METHOD.md, section 10)."""
    with torch_for(cell):
        forward = forward_of(cell, torch.device("cpu"))
        _load(forward.network, state.tensors(cell))
        return forward.evaluate_training_set(iter([data.inputs(data.x_train, dtype(cell))]))[1]


def activation_number(cell: Cell) -> float:
    """What the cell's activation is tuned by, as it begins."""
    return activation_of(cell.network).number(cell.network, cell.depth)


def _train_native(
    cells: Sequence[Cell],
    data: Data,
    followers: Sequence[Follower],
    threads: int,
    start: State | None,
    with_slots: bool,
) -> None:
    specs = []
    for cell in cells:
        spec = {**spec_of(cell, cell.optimizer.epochs, evaluate=True), "initial": initial_of(cell)}
        spec["relaxed_initial"] = relaxed_initial_of(cell, data)
        spec["watched"] = list(range(1, cell.optimizer.epochs + 1))
        if start is not None and with_slots:
            spec["state"] = resumed(_training_state(cell, start))
        elif start is not None:
            spec |= {"init": "given", "initial": start.parameters}
        specs.append(spec)
    train_loss, val_score = METRICS.index("train_loss"), METRICS.index("val_acc")
    stopping = False

    def keep(index: int, found: Mapping[str, Any]) -> None:
        nonlocal stopping
        last = found["metrics"].reshape(len(METRICS), 3)[:, 0]
        is_last = found["epochs"] == cells[index].optimizer.epochs
        followers[index].see(
            float(last[train_loss]), float(last[val_score]), is_last, lambda: _state_of(cells[index], found)
        )
        if not stopping and all(follower.is_over for follower in followers):
            stopping = True
            raise _Over

    def result(index: int, found: Mapping[str, Any]) -> None:
        if found["error"]:
            raise RuntimeError(f"the engine native failed: {found['error']}")
        if not followers[index].is_over:
            followers[index].diverged_epoch = found["diverged_epoch"] or None

    with contextlib.suppress(_Over):
        native.train(
            specs,
            *arrays_of(data),
            threads,
            "",
            np.inf,
            lambda: False,
            result,
            lambda *_: None,
            keep,
            **weights_of(data),
        )


def _state_of(cell: Cell, found: Mapping[str, Any]) -> State:
    """A state as the C++ engine hands it over."""
    state = training_state(cell, found)
    slots = {name: values[: len(state.network["parameters"])] for name, values in state.optimizer.items()}
    return State(state.epochs, state.network["parameters"], state.network["running"], slots)


def _training_state(cell: Cell, state: State) -> TrainingState:
    """A state to go on from, of which nothing was measured."""
    return TrainingState(
        epochs=state.epochs,
        network={"parameters": state.parameters, "running": state.running},
        method={},
        optimizer=state.slots,
        metrics=np.zeros((len(METRICS), 3)),
        penalty_start=0.0,
        census_start=np.zeros((len(CENSUS) + len(ACTIVITY), cell.depth)),
        dead_at_some_layer_start=0.0,
        curve=np.empty((0, curve_columns(cell))),
        pending=np.empty(0),
        seconds=0.0,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _train_eager(cell: Cell, data: Data, follower: Follower, start: State | None, with_slots: bool) -> None:
    with torch_for(cell):
        training = Training(cell, data, torch.device("cpu"), cell.optimizer.epochs)
        if start is not None and with_slots:
            _load(training.network, start.tensors(cell))
            shapes = parameter_shapes(cell)
            slots = {slot: tensors_of(values, shapes) for slot, values in start.slots.items()}
            for name, parameter in training.named_parameters.items():
                training.optimizer.state[parameter] = {
                    "step": torch.tensor(float(start.epochs)),
                    **{slot: torch.from_numpy(values[name]).to(parameter) for slot, values in slots.items()},
                }
            training.steps = training.epochs_run = start.epochs
        elif start is not None:
            _load(training.network, tensors_of(start.parameters, parameter_shapes(cell)))
        for epoch in training.epochs():
            if not isinstance(epoch, int):  # within one
                continue
            loss, score = training.metrics["train_loss"].last, training.metrics["val_acc"].last
            assert loss is not None and score is not None
            is_last = epoch == cell.optimizer.epochs
            follower.see(loss, score, is_last, lambda: _state_of_training(training))
            if follower.is_over:
                return
        follower.diverged_epoch = training.diverged_epoch


def _state_of_training(training: Training) -> State:
    """A state of the reference, in the order and the precision of all."""
    cell, named = training.cell, training.named_parameters
    names = list(parameter_shapes(cell))

    def vector(values: Mapping[str, torch.Tensor]) -> Array:
        return np.concatenate([values[name].detach().double().numpy().ravel() for name in names])

    slots = {
        slot: vector({name: training.optimizer.state[parameter][slot] for name, parameter in named.items()})
        for slot in optimizer(cell.optimizer).slots
    }
    running = np.zeros(running_shape(cell))
    buffers = dict(training.network.named_buffers())
    for name, place in running_tensors(running, cell).items():
        place[:] = buffers[name].double().numpy()
    return State(training.epochs_run, vector(named), running, slots)


def _load(network: torch.nn.Module, tensors: Mapping[str, Array]) -> None:
    """Parameters, and statistics where there are any, by torch's names."""
    places = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        for name, values in tensors.items():
            places[name].copy_(torch.from_numpy(np.ascontiguousarray(values)))
