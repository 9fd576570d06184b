"""Seeds in pictures: the share that train, best against last epoch, differences between methods; drawing only."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from seaborn.cm import mako, rocket

from jumpstart_exp.report.captions import difference_caption, in_interval, moments_caption, pairs_told
from jumpstart_exp.report.figures.drawing import save_figure, save_figures
from jumpstart_exp.report.figures.panels import (
    MOST_NUMBERED,
    NUMBERED_CELL,
    SMALL_CELL,
    Measures,
    Panel,
    Scale,
    draw_legend,
    draw_panel,
    legend_handles,
)
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.differences import COMPARED, LEAST_SEEDS, comparisons, paired_differences
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid

MEASURED = {"train_acc": "training accuracy", "val_acc": "validation accuracy", "trains": "share of seeds that train"}
"""What is shown, in words."""

_SIGNIFICANT = "significant after correction (see below)"
_DOT: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 3.2,
    "markerfacecolor": "black",
    "markeredgecolor": "white",
    "markeredgewidth": 0.5,
}
_EXTENDS = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
_LEAST_PANEL = (1.9, 0.6)  # inches; room for a panel's title
_LETTER = 0.54  # of a text's size; the width of a letter
_CAPTION_SIZE = 7.5  # points
_TITLE_SIZE = 11.0  # points
_COLUMN_SIZE = 9.0  # points


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of panels, one a row: its title, its values, (rows, depths, widths), and their colours.

    `counts_lost` says that seeds that diverged or failed are counted in the values, so that there is none to mark.
    """

    title: str
    values: NDArray[np.float64]
    scale: Scale
    number: str = "{:.2f}"
    counts_lost: bool = False


def draw_moments(grid: FigureGrid, folder: Path) -> list[Path]:
    """Draw best against last epoch: both accuracies and the share of seeds that train, as SLUG_moments_MEASURED.

    PNG and PDF each; the same grid, the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    return [
        path
        for measured in MEASURED
        for path in save_figure(partial(moments_figure, grid, measured), folder, f"{grid.slug}_moments_{measured}")
    ]


def draw_differences(grid: FigureGrid, folder: Path) -> list[Path]:
    """Draw the differences between methods at best and at last epoch, as SLUG_differences_MOMENT, PNG and PDF.

    Raises:
        OSError: the folder cannot be written.
    """
    draw = differences_figure
    return save_figures(grid, draw, folder, f"{grid.slug}_differences")


def moments_figure(grid: FigureGrid, measured: str) -> Figure:
    """Best epoch, last epoch, and best minus last side by side; a row a method.

    Args:
        grid: the figure's cells.
        measured: one of MEASURED. Accuracies are means over the seeds that have one; a seed that diverged or failed
            does not train.
    """
    if measured == "trains":
        best, last = (train_shares(grid, moment).share for moment in MOMENTS)
        scale = Scale(mako, 0.0, 1.0)
    else:
        best, last = (grid.mean(f"{measured}_{moment}") for moment in MOMENTS)
        scale = Scale(rocket, grid.chance, 1.0)
    counted = measured == "trains"
    columns = [
        _Column("best epoch", best, scale, counts_lost=counted),
        _Column("last epoch", last, scale, counts_lost=counted),
        # never below 0
        _Column("best minus last", best - last, Scale(colormaps["Oranges"], 0.0, 1.0 - scale.low), counts_lost=counted),
    ]
    title = (grid.title, f"{MEASURED[measured]}: best epoch against last")
    caption = moments_caption(grid, measured)
    figure, axes = _figure(
        grid, grid.method_titles, columns, (grid.untrained(), grid.partly_untrained()), title, caption
    )
    _draw_bar(axes[:, :2], columns[:2], MEASURED[measured])
    _draw_bar(axes[:, 2:], columns[2:], "best minus last")
    draw_legend(figure.subfigs[0], legend_handles(axes.ravel().tolist()))
    return figure


def differences_figure(grid: FigureGrid, moment: str) -> Figure:
    """What methods have more than others, paired by seed: training, validation, and seeds that train.

    A row a comparison: every method against ReLU, Sep-UP against ReLU + BN; `moment` is "best" or "last". A dot marks
    places whose difference is significant after correction; a row whose pairs are too few for any says so.
    """
    pairs = comparisons(grid.methods)
    found = [[paired_differences(grid, *pair, measured, moment) for pair in pairs] for measured in COMPARED]
    most = (1 - grid.chance, 1 - grid.chance, 1.0)
    columns = [
        _Column(
            MEASURED[measured],
            np.stack([of.mean for of in column]),
            Scale(colormaps["RdBu"], -end, end),
            number="{:+.2f}",
            counts_lost=measured == "trains",
        )
        for measured, column, end in zip(COMPARED, found, most, strict=True)
    ]
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    most_pairs = [max(int(column[row].pairs.max(initial=0)) for column in found) for row in range(len(pairs))]
    rows = [
        "\n".join(filter(None, (f"{titles[own]} minus {titles[other]}", pairs_told(count))))
        for (own, other), count in zip(pairs, most_pairs, strict=True)
    ]
    lost, partly = (
        np.stack([of[grid.methods.index(own)] | of[grid.methods.index(other)] for own, other in pairs])
        for of in (grid.untrained(), np.asarray((grid.diverged | grid.failed).any(axis=-1)))
    )
    title = (grid.title, f"differences between methods, {moment} epoch")
    caption = difference_caption(grid, found, moment)
    figure, axes = _figure(grid, rows, columns, (lost, partly), title, caption)
    aside = (-0.38, -0.32) if _measure(grid).numbered else (0.0, 0.0)  # a number stands in the middle
    for index, column in enumerate(found):
        for ax, of in zip(axes[:, index], column, strict=True):
            places = np.argwhere(of.significant())
            if len(places):
                ax.plot(*(places + aside).T, label=_SIGNIFICANT, **_DOT)
            text = "no pair" if of.overall is None else f"mean {in_interval(of.overall, signed=True)}"
            ax.set_title(text, fontsize=7, loc="left", pad=2.5)
        _draw_bar(axes[:, [index]], [columns[index]], "difference")
    handles = legend_handles(axes.ravel().tolist())
    if any(of.significant().any() for column in found for of in column):
        handles.append(Line2D([], [], label=_SIGNIFICANT, **_DOT))
    draw_legend(figure.subfigs[0], handles)
    return figure


def _figure(
    grid: FigureGrid,
    rows: Sequence[str],
    columns: Sequence[_Column],
    without: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    title: Sequence[str],
    caption: str,
) -> tuple[Figure, NDArray[np.object_]]:
    """The panels, (rows, columns), over a caption; `without` are the places of which all, and some, seeds are lost."""
    measures = _measure(grid)
    letters = max(int(measures.panel[1] / 0.08), 10)
    named = [_label_lines(name, letters) for name in rows]
    # labels stand upright: every line of a note below a name takes width
    noted = max(sum(len(_label_lines(note, letters)) for note in name.split("\n")[1:]) for name in rows)
    width = len(columns) * (measures.panel[0] + 0.15) + 1.0 + 0.18 * noted
    lines = _wrapped([caption], width, _CAPTION_SIZE)
    titles = _wrapped(title, width, _TITLE_SIZE)
    heights = (
        len(rows) * (measures.panel[1] + 0.3) + 1.45 + 0.2 * len(titles),
        (len(lines) + 1) * _CAPTION_SIZE * 1.3 / 72,
    )
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights), dtype=object))
    upper.suptitle("\n".join(titles), fontsize=_TITLE_SIZE)
    lower.text(0.15 / width, 1.0, "\n".join(lines), fontsize=_CAPTION_SIZE, va="top", linespacing=1.25)
    axes = np.asarray(upper.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False), dtype=object)
    labels = tuple(map(str, grid.depths)), tuple(map(str, grid.widths))
    for row, label in enumerate(named):
        for index, column in enumerate(columns):
            lost, partly = (of[row] & (not column.counts_lost) for of in without)
            panel = Panel(column.values[row], lost, partly, *labels)
            draw_panel(axes[row, index], panel, column.scale, measures, column.number)
        axes[row, 0].set_ylabel("\n".join([*label, "width"]))
    for ax, column in zip(axes[0], columns, strict=True):
        ax.annotate(
            column.title, (0.5, 1.0), (0, 14), "axes fraction", "offset points", ha="center", fontsize=_COLUMN_SIZE
        )
    for ax in axes[-1]:
        ax.set_xlabel("depth")
    return figure, axes


def _label_lines(name: str, letters: int) -> list[str]:
    return [line for part in name.split("\n") for line in textwrap.wrap(part, letters, break_on_hyphens=False)]


def _wrapped(texts: Sequence[str], width: float, size: float) -> list[str]:
    """The texts in lines that fit into the figure's width, in inches."""
    letters = int((width - 0.3) * 72 / (size * _LETTER))
    return [line for text in texts for line in textwrap.wrap(text, width=letters, break_on_hyphens=False)]


def _draw_bar(axes: NDArray[np.object_], columns: Sequence[_Column], label: str) -> None:
    """A colour bar below the columns, which share their colours."""
    scale, values = columns[0].scale, np.stack([column.values for column in columns])
    axes[0, 0].get_figure(root=False).colorbar(
        ScalarMappable(Normalize(scale.low, scale.high), scale.colours),
        ax=axes,
        label=label,
        extend=_EXTENDS[bool(np.any(values < scale.low)), bool(np.any(values > scale.high))],
        location="bottom",
        aspect=26 * axes.shape[1],
        pad=0.02,
        shrink=0.9,
    )


def _measure(grid: FigureGrid) -> Measures:
    depths, widths = len(grid.depths), len(grid.widths)
    numbered = max(depths, widths) <= MOST_NUMBERED
    cell = NUMBERED_CELL if numbered else SMALL_CELL
    panel = (max(depths * cell[0], _LEAST_PANEL[0]), max(widths * cell[1], _LEAST_PANEL[1]))
    return Measures(panel, (panel[0] / depths, panel[1] / widths), numbered)


@of_grid("seeds", rank=31)
def _shares(grid: FigureGrid) -> Iterator[Job]:
    if grid.seed_range()[1] >= LEAST_SEEDS:
        yield Job("figures", partial(draw_moments, grid))
        if comparisons(grid.methods):
            yield Job("figures", partial(draw_differences, grid))
