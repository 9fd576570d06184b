"""Engines: ways to train cells. All keep one interface, and agree with the reference, `eager`."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jumpstart_exp.cell import Cell
from jumpstart_exp.datasets import Data, load
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager import EagerEngine
from jumpstart_exp.engines.native import NativeEngine
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.stacked import StackedEngine
from jumpstart_exp.result import Result
from jumpstart_exp.settings import refuse


class Engine(Protocol):
    """Trains cells on `device`, keeping a curve row every `curve_every` epochs (None: about 100 a cell).

    Cells that take long are kept in `checkpoints` from time to time, and go on from there.
    """

    name: str
    uses_threads: bool  # one process of it uses all cores; otherwise a process a core
    devices: tuple[str, ...]  # where it can run

    def __init__(
        self,
        device: str = "cpu",
        curve_every: int | None = None,
        threads: int = 1,
        checkpoints: Checkpoints | None = None,
    ) -> None: ...

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """Why this engine cannot train the cell; None if it can."""

    @staticmethod
    def fleet_group(cell: Cell) -> Hashable:
        """Cells of one dataset with equal groups can be trained in one call."""

    @staticmethod
    def fleet_limit(cells: Sequence[Cell], device: str) -> int:
        """How many of these cells, largest first and of one group, a call should train at most."""

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        """Seconds that one core needs for the cell, from a fitted model; a sweep's progress corrects its scale."""

    @staticmethod
    def share_done(cell: Cell, epochs: float) -> float:
        """The share of the cell's time, from 0 to 1, that its first epochs take."""

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        """Memory that the cell takes while it is trained, beside the process's own."""

    def probe(self, cell: Cell, data: Data, steps: int = 0, initial: Tensors | None = None) -> Probe:
        """The full-batch step after `steps` steps, from the cell's initial weights or from `initial`."""

    def train(
        self,
        cells: Sequence[Cell],
        data: Data,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, float], None],
    ) -> None:
        """Train cells of one dataset; hand each result over when it is done, and (cell, epochs done) on the way.

        The first word on every cell is (cell, 0), before anything of it is computed: should the process die, the
        cells that were in training are known. A cell that fails becomes a result of status `failed`; the others go on.
        """


ENGINES: dict[str, type[Engine]] = {"eager": EagerEngine, "stacked": StackedEngine, "native": NativeEngine}
"""Every engine by name, the reference first, the fastest last."""


@dataclass(frozen=True)
class Choice:
    """The engine and device that train a cell, and why no faster engine does (empty where there is none)."""

    engine: type[Engine]
    device: str
    passed_over: str = ""


def choose_engines(name: str, device: str, cells: Sequence[Cell], has_cuda: bool | None = None) -> list[Choice]:
    """The engine and device of every cell, in order.

    Args:
        name: an engine; `auto` takes the last of `ENGINES` that can train the cell on the device.
        device: `cpu` or `cuda`; `auto` takes the last of the engine's devices that the machine has.
        cells: what is to be trained.
        has_cuda: whether there is a CUDA device where they are trained; None for here.

    Raises:
        SettingError: there is no such engine or device, or no engine allowed can train one of the cells.
    """
    if name != "auto" and name not in ENGINES:
        raise refuse("engine", name, "one of auto, " + ", ".join(ENGINES))
    is_here = has_cuda is None
    has_cuda = device != "cpu" and (_has_cuda() if has_cuda is None else has_cuda)
    if device == "cuda" and not has_cuda:
        why = "torch finds no CUDA device on this machine" if is_here else "no GPU is asked for (gpus_per_task)"
        raise refuse("device", "cuda", "auto or cpu here", why)
    there = {"cpu", "cuda"} if has_cuda else {"cpu"}
    devices: dict[str, str] = {}
    for candidate in reversed(ENGINES) if name == "auto" else [name]:
        possible = [one for one in ENGINES[candidate].devices if one in (there if device == "auto" else {device})]
        if possible:
            devices[candidate] = possible[-1]
        elif name != "auto":
            raise refuse("device", device, " or ".join(["auto", *ENGINES[name].devices]), f"that is where {name} runs")
    return [_choose(cell, devices, name) for cell in cells]


def _choose(cell: Cell, devices: dict[str, str], name: str) -> Choice:
    reasons: list[str] = []
    if cell.precision == "tf32" and set(devices.values()) == {"cpu"}:
        raise refuse("precision", "tf32", "another one on the CPU", "only CUDA devices round to TF32")
    for candidate, device in devices.items():
        reason = ENGINES[candidate].refuses(cell)
        if reason is None:
            return Choice(ENGINES[candidate], device, "; ".join(dict.fromkeys(reasons)))
        reasons.append(reason)
    raise refuse("engine", name, "one that can train every cell", "; ".join(reasons))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def passed_over_lines(choices: Sequence[Choice]) -> list[str]:
    """Why cells have no faster engine: a line for every reason."""
    reasons = Counter((choice.engine, choice.passed_over) for choice in choices if choice.passed_over)
    return [
        f"{reason}: training on {engine.name}"
        if count == len(choices)
        else f"{count} cell{'s' * (count != 1)} on {engine.name}: {reason}"
        for (engine, reason), count in reasons.items()
    ]


def load_and_train(
    engine: Engine,
    cells: Sequence[Cell],
    data_dir: Path,
    *,
    on_result: Callable[[Result], None],
    on_progress: Callable[[Cell, float], None],
) -> None:
    """Train cells of one dataset; where the data cannot be had, every cell becomes a `failed` result."""
    try:
        data = load(cells[0].dataset, data_dir)
    except Exception as error:  # whatever a loader raises is the cells' failure, not the caller's
        for cell in cells:
            on_result(Result(cell, "failed", engine.name, error=f"{type(error).__name__}: {error}"))
        return
    engine.train(cells, data, on_result=on_result, on_progress=on_progress)
