"""What the store has for a paper's figure: the study, the variant, the rows, and what is missing."""

import difflib
from dataclasses import dataclass

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS, small_study, study, study_cells
from jumpstart_exp.report.papers.figures import FIGURES, PaperFigure
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.settings import legible

_PLACE = ["method", "depth", "width", "optimizer.lr"]
_LAYOUTS = {"mlp": "MLP", "conv2x1": "2×1 layout", "cnn": "CNN"}


class PaperError(ValueError):
    """A figure cannot be drawn; the message says why, and which commands make it possible."""


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
        seeds = self.rows.groupby(_PLACE, dropna=False)["seed"].nunique()
        return int(seeds.min()), int(seeds.max())


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
    variants, index = variants_of(variant), StudyTable(table)
    small = small_study(figure.studies[0])
    for name in (figure.studies[0], *([] if small is None else [small.name])):
        found = [_source(figure, index, name, of) for of in variants]
        best = max(found, key=lambda each: len(figure.methods) - len(each.absent))  # of equal ones the first
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
    seeds = f"{most} seed{'s' * (most != 1)}" if fewest == most else f"{fewest} to {most} seeds"
    layouts = ", ".join(_LAYOUTS.get(str(each), str(each)) for each in sorted(source.rows["network.layout"].unique()))
    parts = [f"{figure.paper}, {figure.place}, ours: mean of the {at_epoch} epoch, {seeds}"]
    parts.append(f"variant={source.variant} ({layouts})")
    if source.is_small:
        parts.append(f"only in small ({source.study}: fewer images, epochs and networks)")
    if source.absent:
        parts.append(f"not trained: {', '.join(source.absent)}")
    if source.missing and not source.absent:
        parts.append(f"{source.missing} of {source.networks} networks missing")
    for word in ("diverged", "failed"):
        count = int((source.rows["status"] == word).sum())
        parts += [f"{count} {word}"] * bool(count)
    return " · ".join(parts)


def _source(figure: PaperFigure, index: StudyTable, name: str, variant: str) -> PaperSource:
    titles = dict(figure.methods)
    rows = index.rows(name, variant)
    rows = rows[rows["method"].isin([*titles])] if len(rows) else rows
    if not len(rows):
        return PaperSource(name, variant, rows, 0, 0, tuple(titles.values()))
    networks = {
        (cell.method, cell.depth, cell.width, cell.optimizer.lr)
        for cell in study_cells(name, variant)
        if cell.method in titles
    }
    there = {*rows[_PLACE].itertuples(index=False, name=None)}
    absent = {method for method, *_ in networks} - {method for method, *_ in there}
    titles_absent = tuple(title for label, title in figure.methods if label in absent)
    return PaperSource(name, variant, rows, len(networks), len(networks - there), titles_absent)
