"""What the report can draw and write of a results folder, section by section."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from jumpstart_exp.report.figures.heatmaps import draw_grid
from jumpstart_exp.report.figures.initialisation import initialisation_jobs
from jumpstart_exp.report.figures.scatters import draw_scatter
from jumpstart_exp.report.inside.jobs import inside_jobs
from jumpstart_exp.report.page import write_page
from jumpstart_exp.report.papers.compared import Compared, compared, jobs_of
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.statistics.cost import pair_costs
from jumpstart_exp.report.statistics.efficiency import has_scatter
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.tables.seeds import seed_jobs
from jumpstart_exp.report.tables.summaries import LEAST_METHODS, write_costs, write_summaries
from jumpstart_exp.store import Store

Job = Callable[[Path], list[Path]]
"""Draws or writes into a folder; gives its files."""

PAGE = "report.html"


@dataclass(frozen=True)
class Stored:
    """What the report is made of: a results folder with its table of cells and its figures, and published numbers.

    `threshold` is the training accuracy from which on a network trains; None for each dataset's own.
    """

    results_dir: Path
    data_dir: Path
    store: Store
    table: pd.DataFrame
    grids: tuple[FigureGrid, ...]
    published: Published
    threshold: float | None

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.results_dir / "figures"

    @property
    def tables(self) -> Path:
        """Folder of the tables."""
        return self.results_dir / "tables"


@dataclass(frozen=True)
class Section:
    """Jobs under one title, each with the folder that it writes into."""

    title: str
    jobs: tuple[tuple[Path, Job], ...]


def sections(stored: Stored, only: str) -> Iterator[Section]:
    """What is to be drawn and written, in order; `only` is one of the report's kinds, empty for all of them."""
    wanted = {only} if only else {"heatmaps", "scatters", "tables", "seeds", "comparison", "inside", "initialisation"}
    found: Compared | None = None
    for grid in stored.grids:
        if jobs := tuple(_jobs_of(grid, stored, wanted)):
            yield Section(_counted(grid), jobs)
    if wanted & {"comparison", "page"} or not only:
        found = compared(stored.table, stored.published, stored.threshold)
    if found is not None and "comparison" in wanted and found.grids:
        yield Section("ours against the published", tuple(_foldered(stored, jobs_of(found))))
    if "inside" in wanted and (named := inside_jobs(stored.results_dir, stored.table, stored.data_dir)):
        yield Section("inside the networks", tuple((stored.figures, job) for _, job in named))
    if "initialisation" in wanted and (named := initialisation_jobs(stored.table)):
        yield Section("dead at initialisation", tuple((stored.figures, job) for _, job in named))
    if found is not None and only in ("", "page"):
        yield Section("the page", ((stored.results_dir, partial(_page, stored, found)),))


def _jobs_of(grid: FigureGrid, stored: Stored, wanted: set[str]) -> Iterator[tuple[Path, Job]]:
    if "heatmaps" in wanted:
        yield stored.figures, partial(draw_grid, grid, threshold=stored.threshold)
    if "scatters" in wanted and has_scatter(grid):
        yield stored.figures, partial(draw_scatter, grid)
    if "tables" in wanted and len(grid.methods) >= LEAST_METHODS:
        yield stored.tables, partial(write_summaries, grid, threshold=stored.threshold)
        if pair_costs(grid):
            yield stored.tables, partial(write_costs, grid)
    if "seeds" in wanted:
        yield from _foldered(stored, seed_jobs(grid, stored.threshold))


def _foldered(stored: Stored, jobs: Iterable[tuple[str, Job]]) -> Iterator[tuple[Path, Job]]:
    """The jobs with their folders instead of these folders' names."""
    for name, job in jobs:
        yield stored.results_dir / name, job


def _page(stored: Stored, found: Compared, folder: Path) -> list[Path]:
    return [
        write_page(
            stored.table,
            stored.store,
            stored.grids,
            folder / PAGE,
            published=stored.published,
            claims=found.claims,
            layouts=found.layouts,
            threshold=stored.threshold,
        )
    ]


def _counted(grid: FigureGrid) -> str:
    counts = (int(grid.present.sum()), "cell"), (len(grid.methods), "method"), (len(grid.seeds), "seed")
    shown = ", ".join(f"{count} {noun}{'s' * (count != 1)}" for count, noun in counts)
    return f"{grid.title}: {shown}"
