"""Engines: ways to train cells. All keep one interface, and agree with the reference, `eager`."""

from collections.abc import Callable, Sequence
from typing import Protocol

from jumpstart_exp.cell import Cell
from jumpstart_exp.datasets import Data
from jumpstart_exp.engines.eager import EagerEngine
from jumpstart_exp.result import Result
from jumpstart_exp.settings import refuse


class Engine(Protocol):
    """Trains the cells of a fleet, one after the other or all at once."""

    name: str

    def refuses(self, cell: Cell) -> str | None:
        """Why this engine cannot train the cell; None if it can."""

    def train(
        self,
        cells: Sequence[Cell],
        data: Data,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, int], None],
    ) -> None:
        """Train cells of one dataset; hand each result over when it is done, and (cell, epochs done) on the way.

        A cell that fails becomes a result of status `failed`; the others go on.
        """


ENGINES: dict[str, type[EagerEngine]] = {"eager": EagerEngine}
"""Every engine by name."""


def choose_engine(name: str, cells: Sequence[Cell]) -> str:
    """The engine for these cells: the one asked for, or for `auto` the fastest that can train them all.

    Raises:
        SettingError: there is no such engine, or it cannot train one of the cells.
    """
    if name != "auto" and name not in ENGINES:
        raise refuse("engine", name, "one of auto, " + ", ".join(ENGINES))
    return "eager" if name == "auto" else name


def create_engine(name: str, *, device: str, curve_every: int | None) -> Engine:
    """An engine that trains on `device` and keeps a curve row every `curve_every` epochs (None: about 100 a cell)."""
    return ENGINES[name](device=device, curve_every=curve_every)


def estimate_seconds(name: str, cell: Cell) -> float:
    """Seconds that one core needs for the cell: a guess to start from, which a sweep's progress corrects."""
    return ENGINES[name].estimate_seconds(cell)


def estimate_memory_bytes(name: str, cell: Cell) -> int:
    """Peak memory of one worker process that trains the cell."""
    return ENGINES[name].estimate_memory_bytes(cell)
