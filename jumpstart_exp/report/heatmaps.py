"""Accuracy over depth × width as heatmaps in the papers' manner (CPAIOR fig. 2, ICLR fig. 1 and 3): drawing only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from seaborn.cm import rocket

from jumpstart_exp.report.drawing import METRICS, figure_title, save_figures, title_lines
from jumpstart_exp.report.grid import FigureGrid

_NUMBERED_CELL = (0.34, 0.27)  # inches; the least that hold a readable number
_SMALL_CELL = (0.16, 0.15)  # inches; the least that hold a tick's label
_MOST_NUMBERED = 12  # depths or widths of a panel with a number in each cell
_MOST_NUMBERED_DEPTHS = 30  # depths of a panel whose rows are methods, with a number in each cell
_LEAST_ROWS = 0.7  # inches; such a panel with few methods
_LEAST_PANEL = (1.15, 1.05)  # inches; room for the titles of a panel
_TITLE_SIZE = (10.0, 14.0)  # points, in small and in wide figures
_MARK = {
    "missing": ("/////", "white"),
    "diverged or failed": ("xxxxx", "#d9dde4"),
    "some seeds diverged or failed: mean of the others": ("", "#4da3ff"),
}
"""Hatch and ground of the cells that have no accuracy, and of the corner of those that lack some."""

_SQUARE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
_CORNER = np.array([(0.15, 0.5), (0.5, 0.5), (0.5, 0.15)])


@dataclass(frozen=True)
class _Measures:
    panel: tuple[float, float]
    cell: tuple[float, float]
    numbered: bool


@dataclass(frozen=True, eq=False)
class _Panel:
    """One heatmap: mean accuracies, (columns, rows from below), and the labels of both axes."""

    mean: NDArray[np.float64]
    untrained: NDArray[np.bool_]
    partly_untrained: NDArray[np.bool_]
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    chance: float


def draw_grid(grid: FigureGrid, folder: Path) -> list[Path]:
    """Draw one figure at best and at last epoch, each as PNG and PDF, into the folder; the same grid, the same bytes.

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
    meshes = []
    for row, (metric, metric_name) in enumerate(METRICS.items()):
        for column, title in enumerate(grid.method_titles):
            ax = axes[row, column]
            panel = _Panel(
                means[metric][column],
                grid.untrained()[column],
                grid.partly_untrained()[column],
                tuple(map(str, grid.depths)),
                tuple(map(str, grid.widths)),
                grid.chance,
            )
            meshes.append(_draw_panel(ax, panel, measures))
            if row == 0:
                ax.set_title("\n".join(title_lines(title)), fontsize=9)
            if row == rows - 1:
                ax.set_xlabel("depth")
            if column == 0:
                ax.set_ylabel(f"{metric_name}\nwidth")
    _finish(figure, axes, meshes[0], list(means.values()), grid.chance)
    return figure


def _figure_of_one_width(grid: FigureGrid, moment: str) -> Figure:
    measures, margin = _measure_of_one_width(grid)
    figure, axes = _figure(grid, moment, 1, measures, margin)
    means = {metric: grid.mean(f"{metric}_{moment}") for metric in METRICS}
    upwards = slice(None, None, -1)  # the first method stands at the top
    for ax, (metric, metric_name) in zip(axes[:, 0], METRICS.items(), strict=True):
        panel = _Panel(
            means[metric][upwards, :, 0].T,
            grid.untrained()[upwards, :, 0].T,
            grid.partly_untrained()[upwards, :, 0].T,
            tuple(map(str, grid.depths)),
            tuple("\n".join(title_lines(title)) for title in grid.method_titles[upwards]),
            grid.chance,
        )
        mesh = _draw_panel(ax, panel, measures)
        ax.set_ylabel(metric_name)
    axes[-1, 0].set_xlabel(f"depth (width {grid.widths[0]})")
    _finish(figure, axes, mesh, list(means.values()), grid.chance)
    return figure


def _figure(
    grid: FigureGrid, moment: str, columns: int, measures: _Measures, margin: float
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
    _draw_legend(figure, axes.ravel().tolist())


def _draw_panel(ax: Axes, panel: _Panel, measures: _Measures) -> QuadMesh:
    """One heatmap, all cells of one size."""
    columns, rows = panel.mean.shape
    mesh = ax.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(panel.mean.T),
        cmap=rocket,
        vmin=panel.chance,
        vmax=1.0,
    )
    empty = np.isnan(panel.mean)
    missing, lost, partly = _MARK
    _mark(ax, empty & ~panel.untrained, missing, _SQUARE)
    _mark(ax, empty & panel.untrained, lost, _SQUARE)
    _mark(ax, ~empty & panel.partly_untrained, partly, _CORNER)
    if measures.numbered:
        for column, row in np.argwhere(~empty):
            _write_number(ax, int(column), int(row), float(panel.mean[column, row]), mesh)
    turned = max(map(len, panel.columns)) * 0.075 + 0.03 > measures.cell[0]
    ax.set_xticks(range(columns), panel.columns, rotation=90 if turned else 0, fontsize=7)
    ax.set_yticks(range(rows), panel.rows, fontsize=7)
    ax.tick_params(length=2, width=0.6, pad=2)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(-0.5, rows - 0.5)
    return mesh


def _mark(ax: Axes, where: NDArray[np.bool_], meaning: str, shape: NDArray[np.float64]) -> None:
    """Mark the cells, (columns, rows), where something is missing."""
    squares = [place + shape for place in np.argwhere(where)]
    if squares:
        hatch, ground = _MARK[meaning]
        ax.add_collection(
            PolyCollection(squares, label=meaning, hatch=hatch, facecolor=ground, edgecolor="0.55", linewidth=0.4)
        )


def _write_number(ax: Axes, column: int, row: int, value: float, mesh: QuadMesh) -> None:
    red, green, blue, _ = mesh.to_rgba(np.array([value]))[0]
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    colour = "black" if luminance > 0.4 else "white"
    ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)


def _draw_legend(figure: Figure, panels: list[Axes]) -> None:
    drawn = {collection.get_label() for ax in panels for collection in ax.collections}
    handles = [
        Patch(label=meaning, hatch=hatch, facecolor=ground, edgecolor="0.55", linewidth=0.4)
        for meaning, (hatch, ground) in _MARK.items()
        if meaning in drawn
    ]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, handleheight=1.2, fontsize=8
        )


def _measure(grid: FigureGrid) -> _Measures:
    depths, widths = len(grid.depths), len(grid.widths)
    numbered = max(depths, widths) <= _MOST_NUMBERED
    cell = _NUMBERED_CELL if numbered else _SMALL_CELL
    titles = max(len(line) for title in grid.method_titles for line in title_lines(title))
    panel = (max(depths * cell[0], _LEAST_PANEL[0], titles * 0.085), max(widths * cell[1], _LEAST_PANEL[1]))
    return _Measures(panel, (panel[0] / depths, panel[1] / widths), numbered)


def _measure_of_one_width(grid: FigureGrid) -> tuple[_Measures, float]:
    """Measures of the panel whose rows are methods, and the room in inches for the rows' names and the colour bar."""
    depths, methods = len(grid.depths), len(grid.methods)
    names = [title_lines(title) for title in grid.method_titles]
    numbered = depths <= _MOST_NUMBERED_DEPTHS
    least = _NUMBERED_CELL if numbered else _SMALL_CELL
    cell = (least[0], max(least[1], 0.13 * max(map(len, names)) + 0.06))
    panel = (max(depths * cell[0], _LEAST_PANEL[0]), max(methods * cell[1], _LEAST_ROWS))
    margin = 1.3 + 0.07 * max(len(line) for lines in names for line in lines)
    return _Measures(panel, (panel[0] / depths, panel[1] / methods), numbered), margin
