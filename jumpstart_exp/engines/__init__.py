"""Engines: ways to train cells. All keep one interface, and agree with the reference, `eager`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from jumpstart_exp.cell import Cell
from jumpstart_exp.datasets import Data, load
from jumpstart_exp.engines.eager import EagerEngine
from jumpstart_exp.result import Result
from jumpstart_exp.settings import refuse


class Engine(Protocol):
    """Trains cells on `device`, keeping a curve row every `curve_every` epochs (None: about 100 a cell)."""

    name: str

    def __init__(self, device: str, curve_every: int | None) -> None: ...

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        """Why this engine cannot train the cell; None if it can."""

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        """Seconds that one core needs for the cell: a guess to start from, which a sweep's progress corrects."""

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        """Peak memory of one worker process that trains the cell."""

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


ENGINES: dict[str, type[Engine]] = {"eager": EagerEngine}
"""Every engine by name, the reference first."""


def choose_engine(name: str, cells: Sequence[Cell]) -> str:
    """The engine for these cells: the one asked for, or for `auto` the last of `ENGINES` that can train them all.

    Raises:
        SettingError: there is no such engine, or it cannot train one of the cells.
    """
    if name != "auto" and name not in ENGINES:
        raise refuse("engine", name, "one of auto, " + ", ".join(ENGINES))
    for candidate in [name] if name != "auto" else reversed(ENGINES):
        reasons = (ENGINES[candidate].refuses(cell) for cell in cells)
        reason = next((reason for reason in reasons if reason is not None), None)
        if reason is None:
            return candidate
    raise refuse("engine", name, "one that can train every cell", reason or "")


def load_and_train(
    engine: Engine,
    cells: Sequence[Cell],
    data_dir: Path,
    *,
    on_result: Callable[[Result], None],
    on_progress: Callable[[Cell, int], None],
) -> None:
    """Train cells of one dataset; where the data cannot be had, every cell becomes a `failed` result."""
    try:
        data = load(cells[0].dataset, data_dir)
    except Exception as error:  # whatever a loader raises is the cells' failure, not the caller's
        for cell in cells:
            on_result(Result(cell, "failed", engine.name, error=f"{type(error).__name__}: {error}"))
        return
    engine.train(cells, data, on_result=on_result, on_progress=on_progress)
