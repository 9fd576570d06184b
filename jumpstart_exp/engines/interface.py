"""One interface for all engines: ways to train cells that agree with the reference, `eager`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.result import Result, traceback_of

Answer = TypeVar("Answer")


class Engine(Protocol):
    """Trains cells on `device`, keeping a curve row every `curve_every` epochs (None: about 100 a cell).

    Cells that take long are kept in `checkpoints` from time to time, and go on from there. What it says of a cell
    before it trains it (`refuses`, `fleet_group`, `estimate_seconds`, `estimate_memory_bytes`) does not depend on the
    cell's seed.
    """

    name: str
    uses_threads: bool  # one process of it uses all cores; otherwise a process a core
    devices: tuple[str, ...]  # where it can run
    imports: tuple[str, ...]  # large modules that training imports: worker processes share them

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


def once_for_all_seeds(asked: Callable[[Cell], Answer]) -> Callable[[Cell], Answer]:
    """What an engine says of a cell before it trains it, asked once for all cells that differ in seed and label only.

    Args:
        asked: one of the engine's functions that do not depend on the seed.
    """
    known: dict[Hashable, Answer] = {}

    def answer(cell: Cell) -> Answer:
        like = cell.but_for_seed
        if like not in known:
            known[like] = asked(cell)
        return known[like]

    return answer


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
        if data.content != cells[0].dataset.content:  # part of the key
            raise DataError(
                f"the files of {cells[0].dataset.name} in {data_dir} were changed since the cell was planned"
            )
    except Exception as error:  # whatever a loader raises is the cells' failure, not the caller's
        told, trace = f"{type(error).__name__}: {error}", traceback_of(error)
        for cell in cells:
            on_result(Result(cell, "failed", engine.name, error=told, traceback=trace))
        return
    engine.train(cells, data, on_result=on_result, on_progress=on_progress)
