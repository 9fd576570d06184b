"""The C++ engine: one call trains one network for all its epochs, everything in cache, one thread a network."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.checkpoint import Checkpoints, Keeper
from jumpstart_exp.engines.native.cost import seconds_of
from jumpstart_exp.engines.native.extension import missing, native
from jumpstart_exp.engines.native.kernels import instruction_sets
from jumpstart_exp.engines.optimizers import optimizer
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.state_recorder import Watch, running_tensors
from jumpstart_exp.engines.training_state import CURVE_COLUMNS, TrainingState, load_training_state
from jumpstart_exp.memory import peak_memory_bytes
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.build import parameter_shapes, running_shape
from jumpstart_exp.result import METRICS, CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.settings import refuse

WIDEST, DEEPEST = 256, 1000
"""The largest networks that the engine is built and tested for."""

_MOST_NUMBERS = 2**30
"""Numbers of a layer's activations, or of the points, that its indices reach with room to spare."""

_MOST_LANES = 96
"""Points that the last, padded block of vectors may add."""

_LEAST_EPS = {"float32": 1e-30, "float64": 1e-290}
"""Below it an ε counts as 0 where numbers below the normal ones do, and a dead network's 0/ε becomes 0/0."""


class NativeEngine:
    """Trains MLP cells on threads that take networks from a queue, largest first; hand-written forward and backward.

    Args:
        device: "cpu".
        curve_every: epochs between the rows of a curve; None for about 100 rows a cell.
        threads: networks in training at once; neither their number nor the order changes a result.
        checkpoints: where cells in training are kept; None for nowhere.
        watch: epochs whose states are handed out; None for none.
        evaluate: False leaves out everything that is measured on the way: for timing the training alone.
        instruction_set: one of `instruction_sets()`; None for the first, the fastest that this processor has.

    Raises:
        SettingError: another device, no thread, or an instruction set that this processor does not have.
    """

    name = "native"
    uses_threads = True
    devices: tuple[str, ...] = ("cpu",)

    def __init__(
        self,
        device: str = "cpu",
        curve_every: int | None = None,
        threads: int = 1,
        checkpoints: Checkpoints | None = None,
        *,
        watch: Watch | None = None,
        evaluate: bool = True,
        instruction_set: str | None = None,
    ) -> None:
        if device != "cpu":
            raise refuse("device", device, "cpu for the engine native")
        if threads < 1:
            raise refuse("threads", threads, "at least 1")
        if instruction_set is not None and instruction_set not in instruction_sets():
            raise refuse("instruction_set", instruction_set, "one of " + ", ".join(instruction_sets()))
        self.curve_every, self.threads, self.watch, self.evaluate = curve_every, threads, watch, evaluate
        self.instruction_set = instruction_set or ""
        self.keeper = Keeper(checkpoints if evaluate else None, self.name)

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """Mini-batches, networks beyond its largest, what is not on its list; every cell where it is not built."""
        if native is None:
            return f"the C++ engine is not built: {missing()}"
        if cell.dataset.image is not None:
            return "only eager trains on images"
        if cell.penalty_weight and cell.penalty.layers != "hidden":
            return "only eager constrains the output layer"
        if cell.batch_size < cell.dataset.sizes()[0]:
            return "the engine native trains full batches only"
        if cell.width > WIDEST or cell.depth > DEEPEST:
            return f"the engine native trains networks up to depth {DEEPEST} and width {WIDEST}"
        if min(cell.optimizer.eps, cell.network.norm_eps) < _LEAST_EPS.get(cell.precision, 0.0):
            return f"the engine native takes no ε below {_LEAST_EPS[cell.precision]:g} in {cell.precision}"
        points = max(cell.dataset.sizes()) + _MOST_LANES
        if points * max(cell.width * cell.positions, cell.dataset.features, cell.dataset.classes) > _MOST_NUMBERS:
            return f"the engine native takes at most {_MOST_NUMBERS} numbers a layer"
        return unsupported(NativeEngine.name, cell)

    @staticmethod
    def fleet_group(cell: Cell) -> Hashable:
        """All cells of one dataset go together."""
        return None

    @staticmethod
    def fleet_limit(cells: Sequence[Cell], device: str) -> int:
        """Any number: only as many as there are threads are in memory."""
        return len(cells)

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        """Seconds on one core of a processor with AVX-512; `scripts/fit_costs.py` fits the constants."""
        return seconds_of(cell, cell.optimizer.epochs)

    @staticmethod
    def share_done(cell: Cell, epochs: float) -> float:
        """The share of the cell's time that its first epochs take: those with dropout take longer."""
        return seconds_of(cell, epochs) / seconds_of(cell, cell.optimizer.epochs)

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        """The network's workspace: activations, parameters and Adam's moments."""
        if NativeEngine.refuses(cell) is not None:
            return 0
        train, val = cell.dataset.sizes()
        return int(native.workspace_bytes(_spec(cell, 1, evaluate=True), train, val))

    def train(
        self,
        cells: Sequence[Cell],
        data: Data,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, float], None],
    ) -> None:
        """Train the cells; both functions are called from this thread while the others train.

        Ctrl-C ends the training within an epoch, after every result that is finished was handed over.
        """
        largest_first = sorted(cells, key=lambda cell: -self.estimate_seconds(cell))
        keeper, watch, specs = self.keeper, self.watch, []
        watched = [] if watch is None else list(watch.epochs)
        for cell in largest_first:
            every = self.curve_every or max(1, round(cell.optimizer.epochs / 100))
            state = _resumed(load_training_state(keeper, cell))
            specs.append({**_spec(cell, every, self.evaluate), "state": state, "watched": watched})

        def progress(index: int, epochs: int) -> None:
            keeper.begin([largest_first[index].key])
            on_progress(largest_first[index], epochs)

        def result(index: int, found: Mapping[str, Any]) -> None:
            keeper.end([largest_first[index].key])
            on_result(_result(largest_first[index], found, evaluated=self.evaluate))

        def keep(index: int, found: Mapping[str, Any]) -> None:
            cell = largest_first[index]
            state = _training_state(cell, found)
            if watch is not None and found["is_watched"]:
                tensors = _tensors(state.network["parameters"], parameter_shapes(cell))
                watch.on_state(cell, state.epochs, {**tensors, **running_tensors(state.network["running"])})
            if found["is_due"]:
                keeper.save(cell.key, state.content(cell))

        keeper.is_requested()  # what was requested before concerns other cells
        try:
            native.train(
                specs,
                *_arrays(data),
                self.threads,
                self.instruction_set,
                keeper.seconds,
                keeper.is_requested,
                result,
                progress,
                keep,
            )
        finally:
            keeper.end([cell.key for cell in cells])

    def probe(self, cell: Cell, data: Data, steps: int = 0, initial: Tensors | None = None) -> Probe:
        """The full-batch step after `steps` steps, from the cell's initial weights or from `initial`."""
        shapes = parameter_shapes(cell)
        values = [] if initial is None else np.concatenate([np.ravel(initial[name]) for name in shapes]).tolist()
        found = native.probe(_spec(cell, 1, True), *_arrays(data), self.instruction_set, steps, values)
        return Probe(
            found["task_loss"],
            found["penalty"],
            gradients=_tensors(found["gradients"], shapes),
            parameters=_tensors(found["parameters"], shapes),
        )


def _spec(cell: Cell, curve_every: int, evaluate: bool) -> dict[str, Any]:
    """The cell as the C++ engine takes it: choices by their names, of which it refuses those that it does not know."""
    penalty, network, adam, dropout = cell.penalty, cell.network, cell.optimizer, cell.dropout
    is_constrained = cell.penalty_weight > 0
    return {
        "depth": cell.depth,
        "width": cell.width,
        "features": cell.dataset.features,
        "outputs": cell.dataset.outputs,
        "task": cell.dataset.task,
        "layout": network.layout,
        "activation": network.activation,
        "norm": network.norm,
        "norm_eps": network.norm_eps,
        "norm_momentum": network.norm_momentum,
        "init": network.init,
        "gain": block(ACTIVATIONS, "network.activation", network.activation).gain,
        "precision": cell.precision,
        "task_loss": cell.task_loss,
        "kind": penalty.kind if is_constrained else "none",
        "scope": penalty.scope,
        "layers": penalty.layers if is_constrained else "hidden",
        "aggregate": penalty.aggregate,
        "ties": penalty.ties,
        "layer_weights": list(penalty.layer_weights or ()) if is_constrained else [],
        "weight": penalty.weight,
        "balance": penalty.balance,
        "margin_above": penalty.margin_above,
        "margin_below": penalty.margin_below,
        "dropout_rate": dropout.rate,
        "dropout_anneal_epochs": float(dropout.anneal_epochs),
        "optimizer": adam.name,
        "lr": adam.lr,
        "beta1": adam.beta1,
        "beta2": adam.beta2,
        "eps": adam.eps,
        "eps_rule": adam.eps_rule,
        "epochs": adam.epochs,
        "curve_every": curve_every,
        "evaluate": evaluate,
        "seed": cell.seed,
        "state": None,
        "watched": [],
    }


def _resumed(state: TrainingState | None) -> dict[str, Any] | None:
    """A training as the C++ engine takes it up."""
    if state is None:
        return None
    return {
        "epochs": state.epochs,
        "parameters": state.network["parameters"],
        "slots": np.concatenate([np.empty(0), *state.optimizer.values()]),
        "running": state.network["running"].ravel(),
        "metrics": state.metrics,
        "penalty_start": state.penalty_start,
        "census_start": np.ascontiguousarray(state.census_start.T),
        "curve": state.curve,
        "seconds": state.seconds,
        "started": datetime.fromisoformat(state.started).timestamp(),
    }


def _training_state(cell: Cell, found: Mapping[str, Any]) -> TrainingState:
    """A training as the C++ engine hands it over."""
    names = optimizer(cell.optimizer).slots
    slots = found["slots"].reshape(len(names), -1)
    return TrainingState(
        epochs=found["epochs"],
        network={"parameters": found["parameters"], "running": found["running"].reshape(running_shape(cell))},
        method={},
        optimizer=dict(zip(names, slots, strict=True)),
        metrics=found["metrics"].reshape(len(METRICS), 3),
        penalty_start=found["penalty_start"],
        census_start=found["census_start"].reshape(cell.depth, -1).T,
        curve=found["curve"].reshape(-1, CURVE_COLUMNS),
        pending=np.empty(0),
        seconds=found["seconds"],
        started=_started(found["started"]),
    )


def _started(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _arrays(data: Data) -> tuple[np.ndarray[Any, Any], ...]:
    x_train, x_val = (np.ascontiguousarray(x.numpy(), dtype=np.float64) for x in (data.x_train, data.x_val))
    y_train, y_val = (np.ascontiguousarray(y.numpy(), dtype=np.int64) for y in (data.y_train, data.y_val))
    return x_train, y_train, x_val, y_val


def _tensors(values: Sequence[float] | np.ndarray[Any, Any], shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
    parts = np.split(np.asarray(values, dtype=np.float64), ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _result(cell: Cell, found: Mapping[str, Any], *, evaluated: bool) -> Result:
    started = _started(found["started"])
    if found["error"]:
        return Result(
            cell, "failed", NativeEngine.name, seconds=found["seconds"], started=started, error=found["error"]
        )
    done = not found["diverged_epoch"]
    train_acc, val_acc, train_loss, val_loss = (
        Metric(last if done else None, best, best_epoch) for last, best, best_epoch in (found[name] for name in METRICS)
    )
    has_penalty = bool(cell.penalty_weight) and evaluated
    rows = [CurveRow(*row) for row in found["curve"]]
    return Result(
        cell,
        "done" if done else "diverged",
        NativeEngine.name,
        n_params=found["n_params"],
        epochs_run=found["epochs_run"],
        diverged_epoch=found["diverged_epoch"] or None,
        train_acc=train_acc,
        val_acc=val_acc,
        train_loss=train_loss,
        val_loss=val_loss,
        penalty_start=found["penalty_start"] if has_penalty else None,
        penalty_last=found["penalty_last"] if has_penalty and done else None,
        census_start=_census(found["census_start"]) if evaluated else None,
        census_last=_census(found["census_last"]) if evaluated and done else None,
        seconds=found["seconds"],
        peak_memory_bytes=peak_memory_bytes(),
        started=started,
        curve=tuple(rows if has_penalty else (replace(row, penalty=None) for row in rows)),
    )


def _census(numbers: Sequence[float]) -> LayerCensus:
    return LayerCensus(*(tuple(numbers[which::4]) for which in range(4)))
