"""Accuracy over depth × width as heatmaps in the papers' manner (CPAIOR fig. 2, ICLR fig. 1): drawing only."""

import io
import os
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from seaborn.cm import rocket

from jumpstart_exp.report.grid import MOMENTS, FigureGrid

METHOD_TITLES = {
    "relu": "ReLU",
    "relu_bn": "ReLU + BN",
    "sep_u": "Sep-U",
    "sep_p": "Sep-P",
    "sep_up": "Sep-UP",
    "sep_l": "Sep-L",
    "zero_init": "Zero init",
}
"""Column titles as the papers write them; other labels stand as they are."""

METRICS = {"train_acc": "training", "val_acc": "validation"}
"""The rows of a figure, from above."""

_STYLE = {"pdf.fonttype": 42, "hatch.linewidth": 0.6, "hatch.color": "0.55", "font.size": 8.0, "axes.linewidth": 0.6}
_DPI = 150
_NUMBERED_CELL = (0.34, 0.27)  # inches; the least that hold a readable number
_SMALL_CELL = (0.16, 0.15)  # inches; the least that hold a tick's label
_MOST_NUMBERED = 12  # depths or widths of a panel with a number in each cell
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


def draw_grid(grid: FigureGrid, folder: Path) -> list[Path]:
    """Draw one figure at best and at last epoch, each as PNG and PDF, into the folder; the same grid, the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for moment in MOMENTS:
        with _plain_style():
            figure = heatmap_figure(grid, moment)
            for kind, metadata in (("png", {}), ("pdf", {"CreationDate": None})):
                content = io.BytesIO()
                figure.savefig(content, format=kind, dpi=_DPI, metadata=metadata)
                path = folder / f"{grid.slug}_{moment}.{kind}"
                _write(path, content.getvalue())
                paths.append(path)
    return paths


def heatmap_figure(grid: FigureGrid, moment: str) -> Figure:
    """One figure: training above validation, a column a method; `moment` is "best" or "last"."""
    measures = _measure(grid)
    rows, columns = len(METRICS), len(grid.methods)
    width = max(columns * (measures.panel[0] + 0.12) + 1.5, 4.0)
    title_size = float(np.clip(width, *_TITLE_SIZE))
    title = _wrapped_title(grid, moment, (width - 0.3) * 72 / (title_size * 0.56))
    height = rows * (measures.panel[1] + 0.1) + 0.95 + title_size * 0.017 * (title.count("\n") + 1)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    means = {metric: grid.mean(f"{metric}_{moment}") for metric in METRICS}
    meshes = []
    for row, (metric, metric_name) in enumerate(METRICS.items()):
        for column, method in enumerate(grid.methods):
            ax = axes[row, column]
            meshes.append(_draw_panel(ax, grid, means[metric][column], column, measures))
            if row == 0:
                ax.set_title("\n".join(_method_title(method)), fontsize=9)
            if row == rows - 1:
                ax.set_xlabel("depth")
            if column == 0:
                ax.set_ylabel(f"{metric_name}\nwidth")
    below = any(bool(np.nanmin(mean) < grid.chance) for mean in means.values() if not np.isnan(mean).all())
    bar = figure.colorbar(
        meshes[0], ax=axes, label="accuracy", extend="min" if below else "neither", aspect=30, pad=0.01
    )
    bar.outline.set_linewidth(0.6)
    figure.suptitle(title, fontsize=title_size)
    _draw_legend(figure, axes.ravel().tolist())
    return figure


def _draw_panel(ax: Axes, grid: FigureGrid, mean: NDArray[np.float64], method: int, measures: _Measures) -> QuadMesh:
    """One heatmap of mean accuracies, (depths, widths): depth to the right, width upwards, all cells of one size."""
    depths, widths = mean.shape
    upward = np.ma.masked_invalid(mean.T)
    mesh = ax.pcolormesh(
        np.arange(depths + 1) - 0.5,
        np.arange(widths + 1) - 0.5,
        upward,
        cmap=rocket,
        vmin=grid.chance,
        vmax=1.0,
    )
    empty = np.isnan(mean)
    untrained = grid.untrained()[method]
    missing, lost, partly = _MARK
    _mark(ax, empty & ~untrained, missing, _SQUARE)
    _mark(ax, empty & untrained, lost, _SQUARE)
    _mark(ax, ~empty & grid.partly_untrained()[method], partly, _CORNER)
    if measures.numbered:
        for depth, width in np.argwhere(~empty):
            _write_number(ax, int(depth), int(width), float(mean[depth, width]), mesh)
    turned = max(len(str(value)) for value in grid.depths) * 0.075 + 0.03 > measures.cell[0]
    ax.set_xticks(range(depths), [str(value) for value in grid.depths], rotation=90 if turned else 0, fontsize=7)
    ax.set_yticks(range(widths), [str(value) for value in grid.widths], fontsize=7)
    ax.tick_params(length=2, width=0.6, pad=2)
    ax.set_xlim(-0.5, depths - 0.5)
    ax.set_ylim(-0.5, widths - 0.5)
    return mesh


def _mark(ax: Axes, where: NDArray[np.bool_], meaning: str, shape: NDArray[np.float64]) -> None:
    """Mark the cells, (depths, widths), where something is missing."""
    squares = [place + shape for place in np.argwhere(where)]
    if squares:
        hatch, ground = _MARK[meaning]
        ax.add_collection(
            PolyCollection(squares, label=meaning, hatch=hatch, facecolor=ground, edgecolor="0.55", linewidth=0.4)
        )


def _write_number(ax: Axes, depth: int, width: int, value: float, mesh: QuadMesh) -> None:
    red, green, blue, _ = mesh.to_rgba(np.array([value]))[0]
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    colour = "black" if luminance > 0.4 else "white"
    ax.text(depth, width, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)


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
    titles = max(len(line) for method in grid.methods for line in _method_title(method))
    panel = (max(depths * cell[0], _LEAST_PANEL[0], titles * 0.085), max(widths * cell[1], _LEAST_PANEL[1]))
    return _Measures(panel, (panel[0] / depths, panel[1] / widths), numbered)


def _method_title(method: str) -> list[str]:
    return textwrap.wrap(METHOD_TITLES.get(method, method), width=24) or [method]


def _wrapped_title(grid: FigureGrid, moment: str, letters: float) -> str:
    """What the figure shows, then moment, seeds and losses, in lines of at most that many letters."""
    fewest, most = grid.seed_range()
    seeds = f"{fewest} seed{'s' * (fewest != 1)}" if fewest == most else f"{fewest}–{most} seeds"
    parts = [f"{moment} epoch", seeds]
    for count, word in ((int(grid.diverged.sum()), "diverged"), (int(grid.failed.sum()), "failed")):
        if count:
            parts.append(f"{count} {word}")
    lines: list[str] = []
    for text in (grid.title, " · ".join(parts)):
        unbroken = text.replace(" ", "\N{NO-BREAK SPACE}").replace("·\N{NO-BREAK SPACE}", "· ")
        lines += textwrap.wrap(unbroken, width=int(letters), break_on_hyphens=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


@contextmanager
def _plain_style() -> Iterator[None]:
    """Matplotlib's own defaults and the report's, whatever the user's matplotlibrc says; restored afterwards."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def _write(path: Path, content: bytes) -> None:
    """Write the file under a temporary name, then rename: nobody sees half a figure."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105 - the atomic one, by name
    finally:
        temporary.unlink(missing_ok=True)
