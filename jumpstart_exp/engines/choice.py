"""Which engine trains which cell."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.interface import Engine, once_for_all_seeds
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.stacked.engine import StackedEngine
from jumpstart_exp.settings import setting_error

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
        raise setting_error("engine", name, "one of auto, " + ", ".join(ENGINES))

    @cache
    def there() -> bool:  # asked where it matters: it is torch that knows
        return _has_cuda() if has_cuda is None else has_cuda

    if device == "cuda" and not there():
        why = (
            "torch finds no CUDA device on this machine" if has_cuda is None else "no GPU is asked for (gpus_per_task)"
        )
        raise setting_error("device", "cuda", "auto or cpu here", why)

    @cache
    def place(candidate: str) -> str | None:
        devices = ENGINES[candidate].devices
        if device != "auto":
            return device if device in devices else None
        return next((one for one in reversed(devices) if one == "cpu" or there()), None)

    if name != "auto" and place(name) is None:
        allowed = " or ".join(["auto", *ENGINES[name].devices])
        raise setting_error("device", device, allowed, f"that is where {name} runs")
    candidates = [*reversed(ENGINES)] if name == "auto" else [name]
    choose = once_for_all_seeds(lambda cell: _choose(cell, candidates, place, name))
    return [*map(choose, cells)]


def _choose(cell: Cell, candidates: Sequence[str], place: Callable[[str], str | None], name: str) -> Choice:
    reasons: list[str] = []
    if cell.precision == "tf32" and {place(candidate) for candidate in candidates} <= {"cpu", None}:
        raise setting_error("precision", "tf32", "another one on the CPU", "only CUDA devices round to TF32")
    for candidate in candidates:
        device = place(candidate)
        if device is None:
            continue
        reason = ENGINES[candidate].refuses(cell)
        if reason is None:
            return Choice(ENGINES[candidate], device, "; ".join(dict.fromkeys(reasons)))
        reasons.append(reason)
    raise setting_error("engine", name, "one that can train every cell", "; ".join(reasons))


def _has_cuda() -> bool:
    """Whether torch finds a CUDA device; torch, which takes seconds, is asked only where the system has a device."""
    if sys.platform == "linux" and not _has_gpu_files():
        return False
    import torch

    return torch.cuda.is_available()


def _has_gpu_files() -> bool:
    """Whether Linux has a device file that could be a GPU's: NVIDIA's, also of WSL and Tegra, or AMD's."""
    try:
        names = [path.name for path in Path("/dev").iterdir()]
    except OSError:
        return True
    is_disk = ("nvme", "nvram")
    return any(one in ("dxg", "kfd") or (one.startswith("nv") and not one.startswith(is_disk)) for one in names)


def passed_over_lines(choices: Sequence[Choice], cells: Sequence[Cell], in_words: Callable[[float], str]) -> list[str]:
    """Why cells have no faster engine, and the time that a cell takes so: a line for every reason.

    Args:
        choices: of `cells`, in order.
        cells: what is to be trained.
        in_words: seconds in words.
    """
    seconds: dict[tuple[type[Engine], str], list[float]] = {}
    estimates = {choice.engine: once_for_all_seeds(choice.engine.estimate_seconds) for choice in choices}
    for choice, cell in zip(choices, cells, strict=True):
        if choice.passed_over:
            own = seconds.setdefault((choice.engine, choice.passed_over), [])
            own.append(estimates[choice.engine](cell))
    lines = []
    for (engine, reason), of_cells in seconds.items():
        count, takes = len(of_cells), f"about {in_words(sum(of_cells) / len(of_cells))} a cell on one core"
        lines.append(
            f"{reason}: training on {engine.name}, {takes}"
            if count == len(choices)
            else f"{count} cell{'s' * (count != 1)} on {engine.name}, {takes}: {reason}"
        )
    return lines
