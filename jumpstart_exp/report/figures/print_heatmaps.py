"""Heatmaps at a paper's column width, its panels lettered (a), (b), …: drawing only."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from seaborn.cm import rocket

from jumpstart_exp.report.figures.panel_grid import PanelGrid, PanelSize, Style, draw_panels
from jumpstart_exp.report.figures.panels import Panel, Scale, stacked
from jumpstart_exp.report.table.grid import FigureGrid

SMALL, SMALLEST = 6.0, 5.0
"""Points of the titles and of the smallest letters of a printed figure."""

LETTER = 0.048
"""Inches of a letter of the line above a printed figure."""

_TICKS = {"labelsize": SMALLEST, "length": 1.5, "width": 0.4, "pad": 1}
_STYLE = Style(
    gap=0.42,
    margin=0.25,
    title=SMALL,
    title_line=0.1,
    label=SMALL,
    label_pad=1.0,
    line=0.4,
    ticks=_TICKS,
    bar={"location": "right", "pad": 0.01, "fraction": 0.05},
    bar_aspect=20,
    bar_ticks=_TICKS,
    legend={"fontsize": SMALLEST, "borderpad": 0},
    legend_letter=None,
    lettered=True,
)
_MOST_NUMBERED = 6  # columns up to which there is room for a number in each cell
_ROW, _NUMBERED_ROW = 0.105, 0.2  # inches; the least that hold a tick's label, and a number
_LEAST_PANEL, _LEAST_NUMBERED = 0.9, 0.55  # inches


@dataclass(frozen=True)
class PrintAxes:
    """The labels of all panels' columns and rows from below, and what they are; without a row label none is drawn."""

    columns: tuple[str, ...]
    rows: tuple[str, ...]
    column_label: str = "depth"
    row_label: str = "width"


def method_panel(
    grid: FigureGrid, method: str, column: str, title: str, depths: Sequence[int], widths: Sequence[int]
) -> Panel:
    """One method's accuracies (a column of the store) at the study's depths and widths, all NaN where it has no row.

    Black is chance, cream 1.
    """
    shape = len(depths), len(widths)
    arrays = np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    if method in grid.methods:
        index = grid.methods.index(method)
        _, own_depths, there_depths = np.intersect1d(grid.depths, depths, return_indices=True)
        _, own_widths, there_widths = np.intersect1d(grid.widths, widths, return_indices=True)
        own, there = np.ix_(own_depths, own_widths), np.ix_(there_depths, there_widths)
        for array, values in zip(arrays, (grid.mean(column), grid.untrained(), grid.partly_untrained()), strict=True):
            array[there] = values[index][own]
    return Panel(*arrays, Scale(rocket, grid.chance, 1.0), title=title)


def rows_panel(
    grid: FigureGrid, methods: Sequence[str], column: str, title: str, depths: Sequence[int], width: int
) -> Panel:
    """Networks of one width: a row a method, the first at the top (ICLR, figure 3)."""
    return stacked([method_panel(grid, each, column, "", depths, [width]) for each in reversed(methods)], title)


def print_heatmaps(panels: Sequence[Panel], axes: PrintAxes, *, columns: int, line: str, width_inches: float) -> Figure:
    """The panels in rows of `columns` under a line that says what they show."""
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    numbered = len(axes.columns) <= _MOST_NUMBERED
    row, least = (_NUMBERED_ROW, _LEAST_NUMBERED) if numbered else (_ROW, _LEAST_PANEL)
    size = PanelSize(
        (width_inches / columns, max(len(axes.rows) * row, least)),
        numbered,
        turned=max(map(len, axes.columns)) > 1 and not numbered,
    )
    described = PanelGrid(
        rows,
        axes.columns,
        axes.rows,
        axes.column_label,
        [axes.row_label] * len(rows),
        size,
        width_inches,
        title=textwrap.wrap(line, int(width_inches / LETTER)),
    )
    return draw_panels(described, _STYLE)
