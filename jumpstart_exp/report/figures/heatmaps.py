"""Accuracy over depth × width as heatmaps in the papers' manner (CPAIOR fig. 2, ICLR fig. 1 and 3): drawing only."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray
from seaborn.cm import rocket

from jumpstart_exp.report.figures.drawing import METRICS, figure_title, save_figures, title_lines
from jumpstart_exp.report.figures.panels import (
    MOST_NUMBERED,
    NUMBERED_CELL,
    SMALL_CELL,
    Measures,
    Panel,
    Scale,
    draw_frontier,
    draw_legend,
    draw_panel,
    legend_handles,
)
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.frontier import frontiers
from jumpstart_exp.report.table.grid import FigureGrid

_MOST_NUMBERED_DEPTHS = 30  # depths of a panel whose rows are methods, with a number in each cell
_LEAST_ROWS = 0.7  # inches; such a panel with few methods
_LEAST_PANEL = (1.15, 1.05)  # inches; room for the titles of a panel
_TITLE_SIZE = (10.0, 14.0)  # points, in small and in wide figures

Places = list[tuple[int, bool] | None]
"""Of each width, from the narrowest: the frontier's depth by its place, and whether a lesser depth fails."""


def draw_grid(grid: FigureGrid, folder: Path) -> list[Path]:
    """Draw one figure at best and at last epoch, each as PNG and PDF, into the folder; the same grid, the same bytes.

    The frontier is drawn over it where there are two depths or more.

    Raises:
        OSError: the folder cannot be written.
    """
    return save_figures(grid, heatmap_figure, folder, grid.slug)


def heatmap_figure(grid: FigureGrid, moment: str) -> Figure:
    """One figure, training above validation; `moment` is "best" or "last".

    A column of depth × width panels a method; where all networks are equally wide, one panel with a row a method,
    its numbers in the cells (ICLR, fig. 3).
    """
    if len(grid.widths) == 1 and len(grid.depths) > 1:
        return _figure_of_one_width(grid, moment)
    measures = _measure(grid)
    rows, columns = len(METRICS), len(grid.methods)
    figure, axes = _figure(grid, moment, columns, measures, 1.5)
    means = {metric: grid.mean(f"{metric}_{moment}") for metric in METRICS}
    scale, reached = Scale(rocket, grid.chance, 1.0), frontier_places(grid, moment)
    meshes = []
    for row, (metric, metric_name) in enumerate(METRICS.items()):
        for column, title in enumerate(grid.method_titles):
            ax = axes[row, column]
            panel = Panel(
                means[metric][column],
                grid.untrained()[column],
                grid.partly_untrained()[column],
                tuple(map(str, grid.depths)),
                tuple(map(str, grid.widths)),
            )
            meshes.append(draw_panel(ax, panel, scale, measures))
            draw_frontier(ax, reached[column])
            if row == 0:
                ax.set_title("\n".join(title_lines(title)), fontsize=9)
            if row == rows - 1:
                ax.set_xlabel("depth")
            if column == 0:
                ax.set_ylabel(f"{metric_name}\nwidth")
    _finish(figure, axes, meshes[0], list(means.values()), grid.chance)
    return figure


def frontier_places(grid: FigureGrid, moment: str) -> list[Places]:
    """Every method's frontier as places of the grid's depths, by width; no frontier where there is but one depth.

    Where the grid's shallowest depth fails, it is counted from the first depth that trains.
    """
    if len(grid.depths) == 1:
        return [[None] * len(grid.widths) for _ in grid.methods]
    found = []
    strict, late = (frontiers(grid, moment, start=start) for start in ("grid", "first"))
    for own, other in zip(strict, late, strict=True):
        places: Places = [None] * len(grid.widths)
        for point, later in zip(own.points, other.points, strict=True):
            if later.depth is not None:
                places[grid.widths.index(point.width)] = (grid.depths.index(later.depth), point.depth is None)
        found.append(places)
    return found


def _figure_of_one_width(grid: FigureGrid, moment: str) -> Figure:
    measures, margin = _measure_of_one_width(grid)
    figure, axes = _figure(grid, moment, 1, measures, margin)
    means = {metric: grid.mean(f"{metric}_{moment}") for metric in METRICS}
    scale, reached = Scale(rocket, grid.chance, 1.0), frontier_places(grid, moment)
    upwards = slice(None, None, -1)  # the first method stands at the top
    for ax, (metric, metric_name) in zip(axes[:, 0], METRICS.items(), strict=True):
        panel = Panel(
            means[metric][upwards, :, 0].T,
            grid.untrained()[upwards, :, 0].T,
            grid.partly_untrained()[upwards, :, 0].T,
            tuple(map(str, grid.depths)),
            tuple("\n".join(title_lines(title)) for title in grid.method_titles[upwards]),
        )
        mesh = draw_panel(ax, panel, scale, measures)
        draw_frontier(ax, [of_method[0] for of_method in reached[upwards]])
        ax.set_ylabel(metric_name)
    axes[-1, 0].set_xlabel(f"depth (width {grid.widths[0]})")
    _finish(figure, axes, mesh, list(means.values()), grid.chance)
    return figure


def _figure(
    grid: FigureGrid, moment: str, columns: int, measures: Measures, margin: float
) -> tuple[Figure, NDArray[np.object_]]:
    """An empty figure of training above validation under its title, and its axes, (metrics, columns)."""
    width = max(columns * (measures.panel[0] + 0.12) + margin, 4.0)
    title_size = float(np.clip(width, *_TITLE_SIZE))
    title = figure_title(grid, moment, (width - 0.3) * 72 / (title_size * 0.56))
    height = len(METRICS) * (measures.panel[1] + 0.1) + 0.95 + title_size * 0.017 * (title.count("\n") + 1)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=title_size)
    axes = figure.subplots(len(METRICS), columns, sharex=True, sharey=True, squeeze=False)
    return figure, np.asarray(axes, dtype=object)


def _finish(
    figure: Figure, axes: NDArray[np.object_], mesh: ScalarMappable, means: list[NDArray[np.float64]], chance: float
) -> None:
    below = any(bool(np.any(mean < chance)) for mean in means)
    bar = figure.colorbar(mesh, ax=axes, label="accuracy", extend="min" if below else "neither", aspect=30, pad=0.01)
    bar.outline.set_linewidth(0.6)
    draw_legend(figure, legend_handles(axes.ravel().tolist()))


def _measure(grid: FigureGrid) -> Measures:
    depths, widths = len(grid.depths), len(grid.widths)
    numbered = max(depths, widths) <= MOST_NUMBERED
    cell = NUMBERED_CELL if numbered else SMALL_CELL
    titles = max(len(line) for title in grid.method_titles for line in title_lines(title))
    panel = (max(depths * cell[0], _LEAST_PANEL[0], titles * 0.085), max(widths * cell[1], _LEAST_PANEL[1]))
    return Measures(panel, (panel[0] / depths, panel[1] / widths), numbered)


def _measure_of_one_width(grid: FigureGrid) -> tuple[Measures, float]:
    """Measures of the panel whose rows are methods, and the room in inches for the rows' names and the colour bar."""
    depths, methods = len(grid.depths), len(grid.methods)
    names = [title_lines(title) for title in grid.method_titles]
    numbered = depths <= _MOST_NUMBERED_DEPTHS
    least = NUMBERED_CELL if numbered else SMALL_CELL
    cell = (least[0], max(least[1], 0.13 * max(map(len, names)) + 0.06))
    panel = (max(depths * cell[0], _LEAST_PANEL[0]), max(methods * cell[1], _LEAST_ROWS))
    margin = 1.3 + 0.07 * max(len(line) for lines in names for line in lines)
    return Measures(panel, (panel[0] / depths, panel[1] / methods), numbered), margin


@of_grid("heatmaps", rank=0)
def _heatmaps(grid: FigureGrid) -> Iterator[Job]:
    yield Job("figures", partial(draw_grid, grid))
