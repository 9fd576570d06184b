"""The reference engine: one network at a time, plain torch, any cell, any device; and the one that trains CNNs."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.capabilities import unsupported
from jumpstart_exp.engines.checkpoint import Checkpoints, CheckpointWriter
from jumpstart_exp.engines.eager.cost import is_fused, memory_bytes, seconds_of
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.state_recorder import StateRecorder
from jumpstart_exp.late import LateModule
from jumpstart_exp.memory import reset_peak_memory, resident_bytes
from jumpstart_exp.methods import needs_pre_activations
from jumpstart_exp.result import Result, traceback_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from jumpstart_exp.engines.eager.training import Training
else:
    np = LateModule("numpy")
    torch = LateModule("torch")


class EagerEngine:
    """Trains one cell after the other with one torch thread.

    Args:
        device: a torch device.
        curve_every: epochs between the rows of a curve; None for about 100 rows a cell.
        threads: of no use here: a small network is fastest with one, and its bits must not depend on their number.
        checkpoints: where cells in training are kept; None for nowhere.
        watch: epochs whose states are handed out; None for none.
    """

    name = "eager"
    uses_threads = False
    devices: tuple[str, ...] = ("cpu", "cuda")
    imports: tuple[str, ...] = ("jumpstart_exp.engines.eager.training", "torch._dynamo")  # the latter of torch.optim

    def __init__(
        self,
        device: str = "cpu",
        curve_every: int | None = None,
        threads: int = 1,
        checkpoints: Checkpoints | None = None,
        *,
        watch: StateRecorder | None = None,
    ) -> None:
        self.device, self.watch = torch.device(device), watch
        self.curve_every, self.keeper = curve_every, CheckpointWriter(checkpoints, self.name)

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """What is not on its list of `capabilities`, and what a CNN's fused pass would have to do and does not."""
        if reason := unsupported(EagerEngine.name, cell):
            return reason
        if cell.network.layout == "cnn" and is_fused(cell) and needs_pre_activations(cell):
            return f"the engine eager keeps no pre-activations of a CNN, which method={cell.method} needs"
        if cell.precision == "bf16" and not is_fused(cell):
            return (
                "the engine eager does not take precision='bf16' with skips, Farkas layers, dormant resets, prelu, "
                "crelu or a regulariser: a CNN's pass in bfloat16 has none of these"
            )
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
        """Seconds on one core: of an MLP from the calls that a step takes, of a CNN from its arithmetic."""
        return seconds_of(cell)

    @staticmethod
    def share_done(cell: Cell, epochs: float) -> float:
        """The share of the cell's time that its first epochs take."""
        return epochs / cell.optimizer.epochs

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        """What the cell adds to its process: activations with their gradients, parameters with theirs and slots."""
        return memory_bytes(cell)

    def probe(self, cell: Cell, data: Data, steps: int = 0, initial: Tensors | None = None) -> Probe:
        """The full-batch step after `steps` steps, from the cell's initial weights or from `initial`."""
        from jumpstart_exp.engines.eager.training import Training

        with torch_for(cell):
            training = Training(cell, data, self.device, self.curve_every)
            named = dict(training.network.named_parameters())
            if initial is not None:
                with torch.no_grad():
                    for name, parameter in named.items():
                        parameter.copy_(torch.from_numpy(np.asarray(initial[name])))
            x, y = training.full_batch()
            for epoch in range(steps):
                training.step(training.loss(x, y, epoch, 0, None).total)
            loss = training.loss(x, y, steps, 0, None)
            own = training.method_parameters
            found = torch.autograd.grad(
                loss.total, [*named.values(), *own.values()], allow_unused=True, materialize_grads=True
            )
        terms = {name: term.item() for name, term in loss.terms.items()}
        gradients = _arrays(dict(zip([*named, *own], found, strict=True)))
        return Probe(
            terms["task"],
            terms.get("separation", 0.0),
            {name: gradients[name] for name in named},
            _arrays(named),
            terms.get("relaxation", 0.0),
            {name: gradients[name] for name in own},
            _arrays(own),
        )

    def train(
        self,
        cells: Sequence[Cell],
        data: Data,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, float], None],
    ) -> None:
        """Train the cells one by one; an exception in one becomes its `failed` result."""
        from jumpstart_exp.engines.eager.training import Training

        for cell in cells:
            started, clock = datetime.now(UTC), time.perf_counter()
            on_progress(cell, 0)
            before = self._reset_peak_memory()
            self.keeper.begin([cell.key])
            try:
                with torch_for(cell):
                    training = Training(cell, data, self.device, self.curve_every, self.keeper)
                    if training.epochs_done:
                        on_progress(cell, training.epochs_done)
                    for epoch in training.epochs():
                        self._show(cell, epoch, training)
                        on_progress(cell, epoch)
                    result = training.result(self.name)
                result = replace(result, peak_memory_bytes=max(0, (result.peak_memory_bytes or 0) - before))
            except Exception as error:  # whatever it is, it costs this cell only
                result = Result(
                    cell,
                    "failed",
                    self.name,
                    str(self.device),
                    seconds=time.perf_counter() - clock,
                    started=started.isoformat(timespec="seconds"),
                    error=f"{type(error).__name__}: {error}",
                    traceback=traceback_of(error),
                )
            finally:
                self.keeper.end([cell.key])
            on_result(result)

    def _show(self, cell: Cell, epoch: float, training: Training) -> None:
        """Hand out the network's state, if that is asked for after this epoch."""
        if self.watch is None or epoch not in self.watch.epochs:
            return
        tensors = _arrays(training.network.state_dict())
        counts = ".num_batches_tracked"  # torch's own, of no use with a fixed momentum
        shown = {name: values for name, values in tensors.items() if not name.endswith(counts)}
        self.watch.on_state(cell, int(epoch), shown)

    def _reset_peak_memory(self) -> int:
        """Let the peak begin anew; bytes that the process has before the cell."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        reset_peak_memory()
        return resident_bytes()


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, npt.NDArray[np.float64]]:
    return {name: tensor.detach().double().cpu().numpy().copy() for name, tensor in tensors.items()}


@contextmanager
def torch_for(cell: Cell) -> Iterator[None]:
    """Torch's settings for the cell, put back at the end.

    One thread: a cell's bits must not depend on the thread count, and small networks run faster so. On CUDA products
    are rounded to TF32 if and only if the cell says so: torch does it in convolutions by default.
    """
    threads = torch.get_num_threads()
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    torch.set_num_threads(1)
    for backend in backends:
        backend.allow_tf32 = cell.precision == "tf32"
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
