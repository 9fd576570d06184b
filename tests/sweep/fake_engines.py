"""Engines that train nothing: a worker process imports them from here."""

import os
import signal
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.result import Metric, Result

DEADLY = 666
"""Whoever trains a cell with this seed, or a larger one, is killed."""


class OneByOne:
    """Fleets of any size, one cell after the other."""

    name = "one_by_one"
    uses_threads = False
    devices: tuple[str, ...] = ("cpu",)
    imports: tuple[str, ...] = ()
    limit = 1000

    def __init__(
        self,
        device: str = "cpu",
        curve_every: int | None = None,
        threads: int = 1,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.device, self.threads = device, threads

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        return None

    @staticmethod
    def fleet_group(cell: Cell) -> Hashable:
        return cell.network.layout

    @classmethod
    def fleet_limit(cls, cells: Sequence[Cell], device: str) -> int:
        return cls.limit

    @staticmethod
    def estimate_seconds(cell: Cell) -> float:
        return float(cell.depth)

    @staticmethod
    def share_done(cell: Cell, epochs: int) -> float:
        return epochs / cell.optimizer.epochs

    @staticmethod
    def estimate_memory_bytes(cell: Cell) -> int:
        return 2**20 * cell.depth

    def probe(self, *_: Any) -> Any:
        raise NotImplementedError

    def train(
        self,
        cells: Sequence[Cell],
        data: Any,
        *,
        on_result: Callable[[Result], None],
        on_progress: Callable[[Cell, float], None],
    ) -> None:
        for cell in cells:
            on_progress(cell, 0)
            on_result(self.trained(cell))

    def trained(self, cell: Cell) -> Result:
        if cell.seed >= DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        note = f"{self.device}, {self.threads} threads"
        return Result(cell, "done", self.name, train_acc=Metric(0.5, 0.5, 1), started=note)


class AllAtOnce(OneByOne):
    """All cells of a fleet step by step together."""

    name = "all_at_once"

    def train(self, cells, data, *, on_result, on_progress):
        for epoch in (0, 1):
            for cell in cells:
                on_progress(cell, epoch)
        for result in [self.trained(cell) for cell in cells]:
            on_result(result)


class Silent(OneByOne):
    """Does not say which cell it trains."""

    name = "silent"

    def train(self, cells, data, *, on_result, on_progress):
        for cell in cells:
            on_result(self.trained(cell))


class Threads(OneByOne):
    """One process for all cores; full batches only."""

    name = "threads"
    uses_threads = True

    @staticmethod
    def refuses(cell: Cell) -> str | None:
        return None if cell.optimizer.batch_size is None else "threads trains full batches only"

    @staticmethod
    def fleet_group(cell: Cell) -> Hashable:
        return None


class Slow(Threads):
    """A cell every second, and never an end."""

    name = "slow"

    def train(self, cells, data, *, on_result, on_progress):
        for cell in cells:
            on_progress(cell, 0)
            on_result(self.trained(cell))
            time.sleep(1)
        time.sleep(3600)


class Broken(OneByOne):
    """Cannot be started."""

    def __init__(self, *_: Any) -> None:
        raise RuntimeError("no such accelerator")


class SecondBroken(EagerEngine):
    """Trains in the first process that has it, and cannot be started in another one."""

    def __init__(self, device="cpu", curve_every=None, threads=1, checkpoints=None):
        super().__init__(device, curve_every, threads, checkpoints)
        self.folder = checkpoints.folder
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            while not (self.folder / "trains").exists():
                time.sleep(0.02)
            raise RuntimeError("no second accelerator") from None

    def train(self, cells, data, *, on_result, on_progress):
        def tell(cell, epochs):
            on_progress(cell, epochs)
            if epochs:
                (self.folder / "trains").touch()

        super().train(cells, data, on_result=on_result, on_progress=tell)


class Erring(OneByOne):
    """Has an error of its own, which is none of its cells'."""

    name = "erring"

    def train(self, cells, data, *, on_result, on_progress):
        on_progress(cells[0], 0)
        raise ValueError("nobody expects this")


class Stillborn(OneByOne):
    """Is killed before it can train."""

    def __init__(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
