"""The C++ engine: one call trains one network for all its epochs, everything in cache, one thread a network."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.checkpoint import Checkpoints, CheckpointWriter
from jumpstart_exp.engines.native.cost import seconds_of
from jumpstart_exp.engines.native.description import spec_of
from jumpstart_exp.engines.native.extension import instruction_sets, missing, native
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.state_recorder import StateRecorder, running_tensors
from jumpstart_exp.late import LateModule
from jumpstart_exp.result import Result
from jumpstart_exp.settings import setting_error

if TYPE_CHECKING:
    import numpy as np

    from jumpstart_exp.engines.native import exchange
else:
    exchange = LateModule("jumpstart_exp.engines.native.exchange")
    np = LateModule("numpy")

WIDEST, DEEPEST = 256, 1000
"""The largest networks that the engine is built and tested for."""

_MOST_NUMBERS = 2**30
"""Numbers of a layer's activations, or of the points, that its indices reach with room to spare."""

_MOST_LANES = 96
"""Points that the last, padded block of vectors may add."""

_LEAST_EPS = {"float32": 1e-30, "float64": 1e-290}
"""Below it an ε counts as 0 where numbers below the normal ones do, and a dead network's 0/ε becomes 0/0."""


_MOST_RESET_NUMBERS = 2**25
"""Fresh parameters of all resets of a fleet, which are drawn before it trains."""


def _reset_numbers(cell: Cell) -> int:
    """How many numbers are drawn for the resets of a cell's dormant units."""
    if not cell.reset.every:
        return 0
    inputs = cell.width * cell.positions
    hidden = cell.width * (cell.dataset.features + 1) + (cell.depth - 1) * cell.width * (inputs + 1)
    return int(cell.optimizer.epochs // cell.reset.every * (hidden + cell.dataset.outputs * (inputs + 1)))


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
    imports: tuple[str, ...] = ("jumpstart_exp.engines.native.exchange",)

    def __init__(
        self,
        device: str = "cpu",
        curve_every: int | None = None,
        threads: int = 1,
        checkpoints: Checkpoints | None = None,
        *,
        watch: StateRecorder | None = None,
        evaluate: bool = True,
        instruction_set: str | None = None,
    ) -> None:
        if device != "cpu":
            raise setting_error("device", device, "cpu for the engine native")
        if threads < 1:
            raise setting_error("threads", threads, "at least 1")
        if instruction_set is not None and instruction_set not in instruction_sets():
            raise setting_error("instruction_set", instruction_set, "one of " + ", ".join(instruction_sets()))
        self.curve_every, self.threads, self.watch, self.evaluate = curve_every, threads, watch, evaluate
        self.instruction_set = instruction_set or ""
        self.keeper = CheckpointWriter(checkpoints if evaluate else None, self.name)

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """Mini-batches, networks beyond its largest, what is not on its list; every cell where it is not built."""
        if native is None:
            return f"the C++ engine is not built: {missing()}"
        if cell.dataset.image is not None:
            return "the engine native does not train on images"
        if cell.penalty_weight and cell.penalty.layers != "hidden":
            return "the engine native does not constrain the output layer"
        if cell.batch_size < cell.dataset.sizes()[0]:
            return "the engine native trains full batches only"
        if cell.width > WIDEST or cell.depth > DEEPEST:
            return f"the engine native trains networks up to depth {DEEPEST} and width {WIDEST}"
        if cell.rai_weight and cell.network.activation in ("prelu", "crelu"):
            return f"the engine native relaxes no layers with network.activation={cell.network.activation}"
        if cell.blocks and cell.network.skip_scale == "fixup" and (cell.penalty_weight or cell.positions > 1):
            return "the engine native takes network.skip_scale=fixup of perceptrons without a penalty only"
        if cell.reset.every:
            network = cell.network
            if (network.activation, network.norm, network.farkas, cell.blocks) != ("relu", "none", False, 0):
                return "the engine native resets dormant units of plain ReLU networks only"
            if _reset_numbers(cell) > _MOST_RESET_NUMBERS:
                return f"the engine native takes at most {_MOST_RESET_NUMBERS} numbers of a cell's resets"
        if cell.least_eps < _LEAST_EPS.get(cell.precision, 0.0):
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
        """Any number: only as many as there are threads are in memory, but for what resets draw beforehand."""
        most = max(map(_reset_numbers, cells), default=0)
        return max(1, _MOST_RESET_NUMBERS // most) if most else len(cells)

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
        """The network's workspace: activations, parameters and the optimizer's slots."""
        if NativeEngine.refuses(cell) is not None:
            return 0
        train, val = cell.dataset.sizes()
        return int(native.workspace_bytes(spec_of(cell, 1, evaluate=True), train, val))

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
        from jumpstart_exp.engines.training_state import load_training_state
        from jumpstart_exp.networks.build import parameter_shapes

        largest_first = sorted(cells, key=lambda cell: -self.estimate_seconds(cell))
        keeper, watch, specs = self.keeper, self.watch, []
        watched = [] if watch is None else list(watch.epochs)
        for cell in largest_first:
            every = self.curve_every or max(1, round(cell.optimizer.epochs / 100))
            state = exchange.resumed(load_training_state(keeper, cell))
            initial = exchange.initial_of(cell) if state is None else None
            spec = spec_of(cell, every, self.evaluate)
            relaxed = exchange.relaxed_initial_of(cell, data) if state is None else None
            own = {"initial": initial, "relaxed_initial": relaxed, "state": state, "watched": watched}
            own["reset_values"] = exchange.reset_values_of(cell)
            specs.append({**spec, **own})

        def progress(index: int, epochs: int) -> None:
            keeper.begin([largest_first[index].key])
            on_progress(largest_first[index], epochs)

        def result(index: int, found: Mapping[str, Any]) -> None:
            keeper.end([largest_first[index].key])
            on_result(exchange.result_of(largest_first[index], found, evaluated=self.evaluate))

        def keep(index: int, found: Mapping[str, Any]) -> None:
            cell = largest_first[index]
            state = exchange.training_state(cell, found)
            if watch is not None and found["is_watched"]:
                tensors = exchange.tensors_of(state.network["parameters"], parameter_shapes(cell))
                watch.on_state(cell, state.epochs, {**tensors, **running_tensors(state.network["running"], cell)})
            if found["is_due"]:
                keeper.save(cell.key, state.content(cell))

        keeper.is_requested()  # what was requested before concerns other cells
        try:
            native.train(
                specs,
                *exchange.arrays_of(data),
                self.threads,
                self.instruction_set,
                keeper.seconds,
                keeper.is_requested,
                result,
                progress,
                keep,
                **exchange.weights_of(data),
            )
        finally:
            keeper.end([cell.key for cell in cells])

    def probe(self, cell: Cell, data: Data, steps: int = 0, initial: Tensors | None = None) -> Probe:
        """The full-batch step after `steps` steps, from the cell's initial weights or from `initial`."""
        from jumpstart_exp.methods.relaxation import relaxed_shapes
        from jumpstart_exp.networks.build import parameter_shapes

        shapes = parameter_shapes(cell)
        values = [] if initial is None else np.concatenate([np.ravel(initial[name]) for name in shapes]).tolist()
        own = {"initial": exchange.initial_of(cell), "relaxed_initial": exchange.relaxed_initial_of(cell, data)}
        own["reset_values"] = exchange.reset_values_of(cell)
        spec = {**spec_of(cell, 1, True), **own}
        points, weights = exchange.arrays_of(data), exchange.weights_of(data)
        found = native.probe(spec, *points, self.instruction_set, steps, values, **weights)
        relaxed = relaxed_shapes(cell) if cell.rai_weight else {}
        return Probe(
            found["task_loss"],
            found["penalty"],
            gradients=exchange.tensors_of(found["gradients"], shapes),
            parameters=exchange.tensors_of(found["parameters"], shapes),
            relaxation=found["relaxation"],
            method_gradients=exchange.tensors_of(found["relaxed_gradients"], relaxed),
            method_parameters=exchange.tensors_of(found["relaxed"], relaxed),
        )
