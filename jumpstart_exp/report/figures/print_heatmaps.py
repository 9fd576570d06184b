"""Heatmaps at a paper's column width, its panels lettered (a), (b), …: drawing only."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from numpy.typing import NDArray
from seaborn.cm import rocket

from jumpstart_exp.report.figures.panels import Measures, Panel, Scale, draw_panel, legend_handles
from jumpstart_exp.report.table.grid import FigureGrid

SMALL, SMALLEST = 6.0, 5.0
"""Points of the titles and of the smallest letters of a printed figure."""

_ROW = 0.105  # inches; the least that hold a tick's label
_NUMBERED_ROW = 0.2  # inches
_MOST_NUMBERED = 6  # columns up to which there is room for a number in each cell
_LEAST_PANEL, _LEAST_NUMBERED = 0.9, 0.55  # inches
_AROUND_PANEL = 0.42  # inches above and below: ticks, axis and sub-caption
LETTER = 0.048
"""Inches of a letter of the line above a printed figure."""


@dataclass(frozen=True, eq=False)
class PrintPanel:
    """One heatmap: `mean` accuracies, NaN for none, and which cells all or some seeds did not finish.

    All three are (columns, rows from below); `title` is its sub-caption without the letter.
    """

    title: str
    mean: NDArray[np.float64]
    untrained: NDArray[np.bool_]
    partly_untrained: NDArray[np.bool_]


@dataclass(frozen=True)
class PrintAxes:
    """The labels of all panels' columns and rows from below, and what they are; without a row label none is drawn."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    column_label: str = "depth"
    row_label: str = "width"


def method_panel(
    grid: FigureGrid, method: str, column: str, title: str, depths: Sequence[int], widths: Sequence[int]
) -> PrintPanel:
    """One method's accuracies (a column of the store) at the study's depths and widths, all NaN where it has no row."""
    shape = len(depths), len(widths)
    panel = PrintPanel(title, np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_))
    if method not in grid.methods:
        return panel
    index = grid.methods.index(method)
    axes = ((grid.depths, depths), (grid.widths, widths))
    own = np.ix_(*([place for place, value in enumerate(of_grid) if value in of_study] for of_grid, of_study in axes))
    there = np.ix_(
        *([[*of_study].index(value) for value in of_grid if value in of_study] for of_grid, of_study in axes)
    )
    panel.mean[there] = grid.mean(column)[index][own]
    panel.untrained[there] = grid.untrained()[index][own]
    panel.partly_untrained[there] = grid.partly_untrained()[index][own]
    return panel


def rows_panel(
    grid: FigureGrid, methods: Sequence[str], column: str, title: str, depths: Sequence[int], width: int
) -> PrintPanel:
    """Networks of one width: a row a method, the first at the top (ICLR, figure 3)."""
    each = [method_panel(grid, method, column, title, depths, [width]) for method in reversed(methods)]
    arrays = ([getattr(panel, name) for panel in each] for name in ("mean", "untrained", "partly_untrained"))
    return PrintPanel(title, *(np.hstack(array) for array in arrays))


def print_heatmaps(
    panels: Sequence[PrintPanel], axes: PrintAxes, *, columns: int, chance: float, line: str, width_inches: float
) -> Figure:
    """The panels in rows of `columns`, black at chance and cream at 1, under a line that says what they show."""
    rows = -(-len(panels) // columns)
    numbered = len(axes.columns) <= _MOST_NUMBERED
    least, row = (_LEAST_NUMBERED, _NUMBERED_ROW) if numbered else (_LEAST_PANEL, _ROW)
    lines = textwrap.wrap(line, int(width_inches / LETTER))
    height = rows * (max(len(axes.rows) * row, least) + _AROUND_PANEL) + 0.1 * len(lines) + 0.25
    figure = Figure(figsize=(width_inches, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(lines), fontsize=SMALL)
    places = np.asarray(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False), dtype=object)
    meshes = []
    for place, panel in enumerate(panels):
        ax = places.flat[place]
        meshes.append(_draw(ax, panel, axes, chance=chance, numbered=numbered))
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(f"{axes.column_label}\n({'abcdefghijklmnopqrstuvwxyz'[place]}) {panel.title}", fontsize=SMALL)
        if place % columns == 0 and axes.row_label:
            ax.set_ylabel(axes.row_label, fontsize=SMALL, labelpad=1)
    for ax in places.flat[len(panels) :]:
        ax.set_visible(False)
    below = any(bool(np.any(panel.mean < chance)) for panel in panels)
    bar = figure.colorbar(
        meshes[0], ax=places, extend="min" if below else "neither", aspect=20 * rows, pad=0.01, fraction=0.05
    )
    bar.set_label("accuracy", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALLEST, length=1.5, width=0.4, pad=1)
    bar.outline.set_linewidth(0.4)
    handles = legend_handles([*places.flat])
    if handles:
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles),
            frameon=False,
            fontsize=SMALLEST,
            borderpad=0,
        )
    return figure


def _draw(ax: Axes, panel: PrintPanel, axes: PrintAxes, *, chance: float, numbered: bool) -> QuadMesh:
    panel_of_names = Panel(panel.mean, panel.untrained, panel.partly_untrained, axes.columns, axes.rows)
    turned = max(map(len, axes.columns)) > 1 and not numbered
    measures = Measures((0.0, 0.0), (0.0 if turned else np.inf, 0.0), numbered)
    mesh = draw_panel(ax, panel_of_names, Scale(rocket, chance, 1.0), measures)
    ax.tick_params(labelsize=SMALLEST, length=1.5, width=0.4, pad=1)
    ax.spines[:].set_linewidth(0.4)
    return mesh
