"""Trainings that are killed when some of their checkpoints are there, for any engine."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import Case, cloud

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.checkpoint import Checkpoints
from jumpstart_exp.result import Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec


class Killed(BaseException):
    """The process ends here."""


State = dict[str, Any]

Before = Callable[[str, State], bool | None]
"""Called with a cell's key and its state before a checkpoint is written; False leaves it out: writing takes time."""


@contextmanager
def saves(before: Before) -> Iterator[None]:
    """Call `before` for every checkpoint."""
    save = Checkpoints.save

    def noting(self: Checkpoints, key: str, state: State) -> None:
        if before(key, state) is not False:
            save(self, key, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", noting)
        yield


def kill_after(epochs: int) -> Before:
    """The process ends before a later state than that after these epochs is written."""

    def before(key: str, state: State) -> bool:
        if state["epochs"] > epochs:
            raise Killed
        return bool(state["epochs"] == epochs)

    return before


def train_kept(
    engine: Engine, cells: Sequence[Cell], data: Data, before: Before | None = None
) -> tuple[dict[str, Result], dict[str, list[float]]]:
    """Results and what was said of the progress, by key, until the training is over or killed."""
    results: dict[str, Result] = {}
    progress: dict[str, list[float]] = {}
    with saves(before or (lambda key, state: None)):
        try:
            engine.train(
                cells,
                data,
                on_result=lambda result: results.__setitem__(result.cell.key, result),
                on_progress=lambda cell, epochs: progress.setdefault(cell.key, []).append(epochs),
            )
        except Killed:
            return results, progress
    assert results.keys() == {cell.key for cell in cells}
    return results, progress


def path_of(checkpoints: Checkpoints, cell: Cell) -> Path:
    return checkpoints.folder / f"{cell.key}.pt"


def state_of(checkpoints: Checkpoints, cell: Cell) -> State:
    """The state in the cell's file."""
    content = path_of(checkpoints, cell).read_bytes()[32:]
    state: State = torch.load(io.BytesIO(content), weights_only=True)["state"]
    return state


def same(one: State, other: State) -> bool:
    """Whether two states are equal to the bit, apart from clocks."""

    def equal(value: Any, against: Any) -> bool:
        if isinstance(value, dict):
            return same(value, against)
        return torch.equal(value, against) if isinstance(value, torch.Tensor) else bool(value == against)

    clocks = ("seconds", "started")
    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one if name not in clocks)


def drifting_away() -> tuple[Cell, Data]:
    """A cell of 50 epochs whose one bias leaves the numbers of float32 in the 12th, step after step."""
    cell = Cell(
        dataset=cloud(),
        depth=1,
        width=1,
        network=NetworkSpec(init="zero"),
        penalty=PenaltySpec(kind="U", balance=0.0, margin_below=-3e38),
        optimizer=OptimizerSpec(lr=3e37, epochs=50),
        task_loss=False,
    )
    data = Case(cell).data
    return cell, Data(torch.zeros_like(data.x_train), data.y_train, torch.zeros_like(data.x_val), data.y_val)
