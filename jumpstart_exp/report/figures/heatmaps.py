"""Accuracy over depth × width as heatmaps in the papers' manner (CPAIOR fig. 2, ICLR fig. 1 and 3): drawing only."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from seaborn.cm import rocket

from jumpstart_exp.report.figures.drawing import METRICS, figure_title, save_figures, title_lines
from jumpstart_exp.report.figures.panel_grid import PanelGrid, PanelSize, Style, draw_panels, panel_size
from jumpstart_exp.report.figures.panels import FrontierPlaces, Panel, Scale, stacked
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.frontier import frontiers
from jumpstart_exp.report.table.grid import FigureGrid

_STYLE = Style(gap=0.1, margin=0.95, bar={"location": "right", "pad": 0.01}, bar_aspect=15)
_MOST_NUMBERED = 30  # depths or methods of a panel whose rows are methods, with a number in each cell
_LEAST_PANEL = (1.15, 1.05)  # inches; room for the titles of a panel
_LEAST_ROWS = 0.7  # inches; a panel whose rows are methods, with few of them


def heatmap_figure(grid: FigureGrid, at_epoch: str) -> Figure:
    """One figure, training above validation; `at_epoch` is "best" or "last".

    A column of depth × width panels a method, with the frontier where there are two depths or more; where all networks
    are equally wide, one panel with a row a method (ICLR, fig. 3).
    """
    described = (_of_methods if len(grid.widths) > 1 or len(grid.depths) == 1 else _of_one_width)(grid, at_epoch)
    title_size = float(np.clip(described.width, 10.0, 14.0))
    title = figure_title(grid, at_epoch, (described.width - 0.3) * 72 / (title_size * 0.56)).split("\n")
    style = replace(_STYLE, title=title_size, title_line=title_size * 0.017)
    return draw_panels(replace(described, title=title), style)


def frontier_places(grid: FigureGrid, at_epoch: str) -> list[FrontierPlaces]:
    """Every method's frontier as places of the grid's depths, by width; no frontier where there is but one depth.

    Where the grid's shallowest depth fails, it is counted from the first depth that trains.
    """
    if len(grid.depths) == 1:
        return [[None] * len(grid.widths) for _ in grid.methods]
    found: list[FrontierPlaces] = []
    strict, late = (frontiers(grid, at_epoch, start=start) for start in ("grid", "first"))
    for own, other in zip(strict, late, strict=True):
        places: list[tuple[int, bool] | None] = [None] * len(grid.widths)
        for point, later in zip(own.points, other.points, strict=True):
            if later.depth is not None:
                places[grid.widths.index(point.width)] = (grid.depths.index(later.depth), point.depth is None)
        found.append(places)
    return found


def _of_methods(grid: FigureGrid, at_epoch: str) -> PanelGrid:
    depths, widths = tuple(map(str, grid.depths)), tuple(map(str, grid.widths))
    names = [title_lines(title) for title in grid.method_titles]
    least = max(_LEAST_PANEL[0], 0.085 * _longest(names)), _LEAST_PANEL[1]
    size = panel_size(depths, len(widths), least)
    labels = [f"{name}\nwidth" for name in METRICS.values()]
    panels = _panels(grid, at_epoch, ["\n".join(lines) for lines in names])
    return PanelGrid(panels, depths, widths, "depth", labels, size, _width(len(names), size, 1.5))


def _of_one_width(grid: FigureGrid, at_epoch: str) -> PanelGrid:
    """The panels of all methods become the rows of one, the first at the top."""
    depths, names = tuple(map(str, grid.depths)), [title_lines(title) for title in reversed(grid.method_titles)]
    row = 0.13 * max(map(len, names)) + 0.06
    size = panel_size(depths, len(names), (_LEAST_PANEL[0], _LEAST_ROWS), row=row, most=_MOST_NUMBERED)
    panels = [[stacked(panels[::-1])] for panels in _panels(grid, at_epoch, grid.method_titles)]
    rows, x_label = tuple("\n".join(lines) for lines in names), f"depth (width {grid.widths[0]})"
    width = _width(1, size, 1.3 + 0.07 * _longest(names))
    return PanelGrid(panels, depths, rows, x_label, [*METRICS.values()], size, width)


def _panels(grid: FigureGrid, at_epoch: str, titles: Sequence[str]) -> list[list[Panel]]:
    """A panel of depths × widths a method, training above validation."""
    scale, lost, partly = Scale(rocket, grid.chance, 1.0), grid.untrained(), grid.partly_untrained()
    reached, means = frontier_places(grid, at_epoch), [grid.mean(f"{metric}_{at_epoch}") for metric in METRICS]
    return [
        [Panel(mean[at], lost[at], partly[at], scale, title, frontier=reached[at]) for at, title in enumerate(titles)]
        for mean in means
    ]


def _longest(names: list[list[str]]) -> int:
    return max(len(line) for lines in names for line in lines)


def _width(columns: int, size: PanelSize, beside: float) -> float:
    """Inches of the figure, with as many beside the panels."""
    return max(columns * (size.panel[0] + 0.12) + beside, 4.0)


@of_grid("heatmaps", rank=0)
def _heatmaps(grid: FigureGrid) -> Iterator[Job]:
    yield Job("figures", partial(save_figures, grid, heatmap_figure, name=grid.slug))
