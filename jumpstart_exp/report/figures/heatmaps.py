"""Accuracy over depth × width as heatmaps in the papers' manner (CPAIOR fig. 2, ICLR fig. 1 and 3): drawing only."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from jumpstart_exp.report.figures.colour_maps import rocket
from jumpstart_exp.report.figures.drawing import METRICS, figure_job, figure_title, in_lines
from jumpstart_exp.report.figures.panel_grid import (
    FrontierPlaces,
    Panel,
    PanelGrid,
    PanelSize,
    Scale,
    Style,
    draw_panels,
    panel_size,
    stacked,
)
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.frontier import frontiers
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid

SMALL, SMALLEST = 6.0, 5.0
"""Points of the titles and of the smallest letters of a printed figure."""

LETTER = 0.048
"""Inches of a letter of the line above a printed figure."""

_STYLE = Style(gap=0.1, margin=0.95, bar={"location": "right", "pad": 0.01}, bar_aspect=15)
_MOST_NUMBERED = 30  # depths or methods of a panel whose rows are methods, with a number in each cell
_LEAST_PANEL = (1.15, 1.05)  # inches; room for the titles of a panel
_LEAST_ROWS = 0.7  # inches; a panel whose rows are methods, with few of them

_PRINT_STYLE = Style(
    gap=0.42,
    margin=0.25,
    title=SMALL,
    title_line=0.1,
    label=SMALL,
    label_pad=1.0,
    line=0.4,
    ticks={"labelsize": SMALLEST, "length": 1.5, "width": 0.4, "pad": 1},
    bar={"location": "right", "pad": 0.01, "fraction": 0.05},
    bar_aspect=20,
    legend={"fontsize": SMALLEST, "borderpad": 0},
    in_print=True,
)
_MOST_NUMBERED_IN_PRINT = 6  # columns up to which there is room for a number in each cell
_PRINT_ROW, _PRINT_NUMBERED_ROW = 0.105, 0.2  # inches; the least that hold a tick's label, and a number
_LEAST_IN_PRINT, _LEAST_NUMBERED_IN_PRINT = 0.9, 0.55  # inches


def heatmap_figure(grid: FigureGrid, at_epoch: str) -> Figure:
    """One figure, training above validation; `at_epoch` is "best" or "last".

    A column of depth × width panels a method, with the frontier where there are two depths or more; where all networks
    are equally wide, one panel with a row a method (ICLR, fig. 3).
    """
    names = [*map(in_lines, grid.method_titles)]
    longest = max(len(line) for name in names for line in name.split("\n"))
    scale, lost, partly = Scale(rocket, grid.chance, 1.0), grid.untrained(), grid.partly_untrained()
    reached, means = _frontier_places(grid, at_epoch), [grid.mean(f"{metric}_{at_epoch}") for metric in METRICS]
    panels = [
        [Panel(mean[at], lost[at], partly[at], scale, name, frontier=reached[at]) for at, name in enumerate(names)]
        for mean in means
    ]
    rows: Sequence[int | str]
    if len(grid.widths) > 1 or len(grid.depths) == 1:
        rows, x_label, labels = grid.widths, "depth", [f"{name}\nwidth" for name in METRICS.values()]
        size = panel_size(grid.depths, len(rows), (max(_LEAST_PANEL[0], 0.085 * longest), _LEAST_PANEL[1]))
        beside = 1.5
    else:  # the panels of all methods become the rows of one, the first at the top
        panels = [[stacked(of_methods[::-1])] for of_methods in panels]
        rows, x_label, labels = names[::-1], f"depth (width {grid.widths[0]})", [*METRICS.values()]
        row = 0.13 * max(name.count("\n") + 1 for name in names) + 0.06
        size = panel_size(grid.depths, len(rows), (_LEAST_PANEL[0], _LEAST_ROWS), row=row, most=_MOST_NUMBERED)
        beside = 1.3 + 0.07 * longest
    width = max(len(panels[0]) * (size.panel[0] + 0.12) + beside, 4.0)
    title_size = float(np.clip(width, 10.0, 14.0))
    title = figure_title(grid, at_epoch, (width - 0.3) * 72 / (title_size * 0.56)).split("\n")
    style = replace(_STYLE, title=title_size, title_line=title_size * 0.017)
    bars = [(grid.score if grid.task == "classification" else f"{grid.score}, below 0 as 0", slice(None))]
    return draw_panels(PanelGrid(panels, grid.depths, rows, x_label, labels, size, width, title, bars), style)


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


def print_heatmaps(
    panels: Sequence[Panel],
    depths: Sequence[int],
    rows: Sequence[str],
    labels: tuple[str, str],
    *,
    columns: int,
    line: str,
    width_inches: float,
) -> Figure:
    """Panels at a paper's column width, in rows of `columns`, under a line that says what they show.

    `rows` are the labels of each panel's rows from below, `labels` what its columns and its rows are.
    """
    above = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    numbered = len(depths) <= _MOST_NUMBERED_IN_PRINT
    row, least = (_PRINT_NUMBERED_ROW, _LEAST_NUMBERED_IN_PRINT) if numbered else (_PRINT_ROW, _LEAST_IN_PRINT)
    panel = width_inches / columns, max(len(rows) * row, least)
    size = PanelSize(panel, numbered, turned=max(depths) > 9 and not numbered)
    title = textwrap.wrap(line, int(width_inches / LETTER))
    described = PanelGrid(above, depths, rows, labels[0], [labels[1]] * len(above), size, width_inches, title)
    return draw_panels(described, _PRINT_STYLE)


def _frontier_places(grid: FigureGrid, at_epoch: str) -> list[FrontierPlaces]:
    """Every method's frontier as places of the grid's depths, by width; no frontier where there is but one depth.

    Where the grid's shallowest depth fails, it is counted from the first depth that trains.
    """
    if len(grid.depths) == 1:
        return [()] * len(grid.methods)
    found: list[FrontierPlaces] = []
    strict, late = (frontiers(grid, at_epoch, start=start) for start in ("grid", "first"))
    for own, other in zip(strict, late, strict=True):
        places: list[tuple[int, bool] | None] = [None] * len(grid.widths)
        for point, later in zip(own.points, other.points, strict=True):
            if later.depth is not None:
                places[grid.widths.index(point.width)] = (grid.depths.index(later.depth), point.depth is None)
        found.append(places)
    return found


def heatmap_jobs(grid: FigureGrid) -> Iterator[Job]:
    """The figure's heatmaps at the best and at the last epoch."""
    for at_epoch in MOMENTS:
        yield figure_job(f"{grid.slug}_{at_epoch}", partial(heatmap_figure, grid, at_epoch))


of_grid("heatmaps", rank=0)(heatmap_jobs)
