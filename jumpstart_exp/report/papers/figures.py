"""The papers' figures and tables by name: what each shows, of which study, and what the store has for it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from jumpstart_exp.config.entries import EntryError, read_entries
from jumpstart_exp.config.studies import VARIANTS, small_study, study, study_cells
from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.settings import legible

Kind = Literal[
    "heatmaps",
    "rows",
    "scatters",
    "summary",
    "performance",
    "transforms",
    "dynamics",
    "landscapes",
    "densities",
    "widths",
    "growth",
    "limits",
    "computed",
    "statements",
]
"""How a figure is drawn; figures.yaml says what each is."""

_NETWORK = ["method", "depth", "width", "optimizer.lr"]
_LAYOUTS = {"mlp": "MLP", "conv2x1": "2×1 layout", "cnn": "CNN"}


class PaperError(ValueError):
    """A figure cannot be drawn; the message says why, and which commands make it possible."""


@dataclass(frozen=True)
class Paper:
    """A paper, an entry of papers.yaml: `width` of its text in inches, and its names of the `methods`."""

    name: str
    width: float
    methods: Mapping[str, str]


@dataclass(frozen=True)
class PaperFigure:
    """One figure or table of a paper, an entry of figures.yaml, which says what the keys mean."""

    name: str
    paper: str
    place: str
    kind: Kind
    shows: Mapping[str, tuple[str, ...]]
    caption: str
    metrics: tuple[str, ...] = ("train_acc", "val_acc")
    columns: int = 3

    @property
    def studies(self) -> tuple[str, ...]:
        """The studies that it shows."""
        return tuple(self.shows)

    @property
    def methods(self) -> tuple[tuple[str, str], ...]:
        """The methods of the first study in the paper's order, each with the paper's name for it."""
        return tuple((label, PAPERS[self.paper].methods[label]) for label in self.shows[self.studies[0]])

    @property
    def width(self) -> float:
        """Width of the paper's text in inches."""
        return PAPERS[self.paper].width

    @property
    def is_inside(self) -> bool:
        """Whether it shows the inside of trained networks, for which they are trained once more."""
        return self.kind in ("transforms", "dynamics", "landscapes") or self.has_every_network

    @property
    def is_computed(self) -> bool:
        """Whether all of it is computed, of no stored result."""
        return self.kind in ("computed", "statements")

    @property
    def has_every_network(self) -> bool:
        """Whether it shows every network of its study, of one seed; otherwise one a method."""
        return self.kind in ("densities", "widths", "growth", "limits")

    @property
    def has_every_seed(self) -> bool:
        """Whether it shows the inside of every seed's network; otherwise of one."""
        return self.kind == "landscapes"

    @property
    def is_table(self) -> bool:
        """Whether it is a table."""
        return self.kind in ("summary", "performance", "statements")


@dataclass(frozen=True, eq=False)
class PaperSource:
    """What the store has for a figure: the study and variant, and its rows of the figure's methods.

    `study` may be the study in small. `networks` are the figure's depths, widths, methods and learning rates,
    `missing` those of them without any row, `absent` the titles of the methods without any.
    """

    study: str
    variant: str
    rows: pd.DataFrame
    networks: int
    missing: int
    absent: tuple[str, ...]

    @property
    def is_small(self) -> bool:
        """Whether it is the study in small: fewer networks, images and epochs."""
        return study(self.study).small_of is not None

    def seed_range(self) -> tuple[int, int]:
        """Fewest and most seeds of a network that has any."""
        seeds = self.rows.groupby(_NETWORK, dropna=False)["seed"].nunique()
        return int(seeds.min()), int(seeds.max())


def read_figures(path: Path) -> Mapping[str, PaperFigure]:
    """The figures and tables of a file such as figures.yaml, by name.

    Raises:
        EntryError: an entry has a wrong key or value, a study, paper or method that there is not.
    """
    found = read_entries(path, PaperFigure)
    for figure in found:
        where = f"{path.name}: {figure.name}"
        if figure.paper not in PAPERS:
            raise EntryError(f"{where}: paper={figure.paper} is not allowed: one of {', '.join(PAPERS)}")
        for name, labels in figure.shows.items():
            try:
                study(name)
            except ValueError as error:
                raise EntryError(f"{where}: shows: {error}") from None
            for label in labels:
                if label not in PAPERS[figure.paper].methods:
                    raise EntryError(f"{where}: shows: {figure.paper} has no name of the method {label}")
    return {figure.name: figure for figure in found}


PAPERS = {paper.name: paper for paper in read_entries(Path(__file__).with_name("papers.yaml"), Paper)}
"""The papers by name."""

FIGURES = read_figures(Path(__file__).with_name("figures.yaml"))
"""Every figure and table by name, in the papers' order."""


def paper_figure(name: str) -> PaperFigure:
    """The figure or table of this name.

    Raises:
        PaperError: there is none; the message has the nearest name.
    """
    if name in FIGURES:
        return FIGURES[name]
    near = difflib.get_close_matches(name, FIGURES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise PaperError(f"figure={legible(name)} is not a paper's figure: {hint}one of {', '.join(FIGURES)}")


def paper_source(figure: PaperFigure, table: pd.DataFrame, variant: str | None = None) -> PaperSource | None:
    """What the store's table has for the figure; None for nothing.

    Without a variant the one with more of the figure's methods, of equal ones the paper's. The study in small stands
    in only where there is nothing of the study itself.

    Raises:
        PaperError: there is no such variant.
    """
    variants, index, small = variants_of(variant), StudyTable(table), small_study(figure.studies[0])
    for name in (figure.studies[0], *([] if small is None else [small.name])):
        found = [_source(figure, index, name, of) for of in variants]
        best = min(found, key=lambda each: len(each.absent))  # of equal ones the first
        if len(best.rows):
            return best
    return None


def variants_of(variant: str | None) -> tuple[str, ...]:
    """The variants that may be drawn: the one that is asked for, else all.

    Raises:
        PaperError: there is no such variant.
    """
    if variant is not None and variant not in VARIANTS:
        raise PaperError(f"variant={legible(variant)} is not allowed: one of {', '.join(VARIANTS)}")
    return VARIANTS if variant is None else (variant,)


def paper_line(figure: PaperFigure, source: PaperSource, at_epoch: str) -> str:
    """What the drawn figure is: paper and place, that it is ours, of which seeds and variant, and what is missing."""
    fewest, most = source.seed_range()
    seeds = counted(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    layouts = ", ".join(_LAYOUTS.get(str(each), str(each)) for each in sorted(source.rows["network.layout"].unique()))
    parts = [f"{figure.paper}, {figure.place}, ours: mean of the {at_epoch} epoch, {seeds}"]
    parts.append(f"variant={source.variant} ({layouts})")
    if source.is_small:
        parts.append(f"only in small ({source.study}: fewer images, epochs and networks)")
    if source.absent:
        parts.append(f"not trained: {', '.join(source.absent)}")
    elif source.missing:
        parts.append(f"{source.missing} of {source.networks} networks missing")
    counts = {word: int((source.rows["status"] == word).sum()) for word in ("diverged", "failed")}
    return " · ".join([*parts, *(f"{count} {word}" for word, count in counts.items() if count)])


def _source(figure: PaperFigure, index: StudyTable, name: str, variant: str) -> PaperSource:
    titles = dict(figure.methods)
    rows = index.rows(name, variant)
    rows = rows[rows["method"].isin([*titles])] if len(rows) else rows
    if not len(rows):  # nor need the study be composed
        return PaperSource(name, variant, rows, 0, 0, tuple(titles.values()))
    networks = {
        (cell.method, cell.depth, cell.width, cell.optimizer.lr)
        for cell in study_cells(name, variant)
        if cell.method in titles
    }
    there = {*rows[_NETWORK].itertuples(index=False, name=None)}
    absent = {method for method, *_ in networks} - {method for method, *_ in there}
    names = tuple(title for label, title in figure.methods if label in absent)
    return PaperSource(name, variant, rows, len(networks), len(networks - there), names)
