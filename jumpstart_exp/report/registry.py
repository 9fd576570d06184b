"""What the report can make: every figure and table registers itself, under the kind that `only=` names.

A module of `figures`, `tables`, `papers`, `inside` or `page` registers a function that says which files it can make of
one figure's grid (`of_grid`) or of the whole store (`of_store`). Nothing else has to know of it.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pandas as pd

from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.store import Store

KINDS = {
    "page": "a result",
    "heatmaps": "a result",
    "scatters": "CNNs (network.layout=cnn) that trained at three depth-width pairs or more",
    "tables": "two methods or more in one figure",
    "seeds": "a result",
    "comparison": "cells of a published study, say +experiment=cpaior_moons or table2_50x4",
    "inside": "kept states of a stored cell: make inspect, or python -m jumpstart_exp.inspect key=…",
    "initialisation": "networks with Glorot's initial weights and without batch norm",
}
"""What `only=` can ask for, and what it needs."""

_PACKAGES = ("figures", "tables", "papers", "inside", "page")

Write = Callable[[Path], list[Path]]
"""Draws or writes into a folder; gives its files."""


@dataclass(frozen=True, eq=False)
class Stored:
    """What the report is made of: a results folder with its table of cells and their figures.

    `threshold` is the training accuracy from which on a network trains; None for each dataset's own. The grids have it.
    """

    results_dir: Path
    data_dir: Path
    store: Store
    table: pd.DataFrame
    grids: tuple[FigureGrid, ...]
    threshold: float | None


@dataclass(frozen=True)
class Job:
    """Files to be made, and the folder below the results that they go into ("" for the results' own)."""

    folder: str
    write: Write


@dataclass(frozen=True)
class Section:
    """Jobs under one title."""

    title: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class _OfGrid:
    kind: str
    rank: int
    jobs: Callable[[FigureGrid], Iterable[Job]]


@dataclass(frozen=True)
class _OfStore:
    kind: str
    rank: int
    title: str
    jobs: Callable[[Stored], Iterable[Job]]


_of_grids: list[_OfGrid] = []
_of_stores: list[_OfStore] = []


def of_grid(kind: str, rank: int) -> Callable[[Callable[[FigureGrid], Iterable[Job]]], None]:
    """Register what can be made of one figure's grid; of smaller rank comes first.

    Raises:
        ValueError: there is no such kind.
    """

    def register(jobs: Callable[[FigureGrid], Iterable[Job]]) -> None:
        _of_grids.append(_OfGrid(_known(kind), rank, jobs))

    return register


def of_store(kind: str, rank: int, title: str) -> Callable[[Callable[[Stored], Iterable[Job]]], None]:
    """Register what can be made of the whole store, under a title of its own; of smaller rank comes first.

    Raises:
        ValueError: there is no such kind.
    """

    def register(jobs: Callable[[Stored], Iterable[Job]]) -> None:
        _of_stores.append(_OfStore(_known(kind), rank, title, jobs))

    return register


def sections(stored: Stored, only: str) -> Iterator[Section]:
    """What is to be drawn and written, in order: figure by figure, then what is made of the whole store.

    Args:
        stored: what it is made of.
        only: one of KINDS; empty for all of them.
    """
    _discover()
    wanted = {only} if only else {*KINDS}
    for grid in stored.grids:
        found = [output for output in sorted(_of_grids, key=lambda output: output.rank) if output.kind in wanted]
        if jobs := tuple(job for output in found for job in output.jobs(grid)):
            yield Section(_counted(grid), jobs)
    for output in sorted(_of_stores, key=lambda output: output.rank):
        if output.kind in wanted and (jobs := tuple(output.jobs(stored))):
            yield Section(output.title, jobs)


def _discover() -> None:
    """Import every module that may register something."""
    report = import_module("jumpstart_exp.report")
    for package in _PACKAGES:
        for module in pkgutil.iter_modules([str(Path(path) / package) for path in report.__path__]):
            import_module(f"jumpstart_exp.report.{package}.{module.name}")


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"kind={kind} is not known: one of {', '.join(KINDS)}")
    return kind


def _counted(grid: FigureGrid) -> str:
    counts = (int(grid.present.sum()), "cell"), (len(grid.methods), "method"), (len(grid.seeds), "seed")
    shown = ", ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
    return f"{grid.title}: {shown}"
