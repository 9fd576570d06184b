"""One panel of values over depth × width, its marks and the frontier on it: drawing only."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import Colormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

NUMBERED_CELL = (0.34, 0.27)
"""Inches; the least that hold a readable number."""

SMALL_CELL = (0.16, 0.15)
"""Inches; the least that hold a tick's label."""

MOST_NUMBERED = 12
"""Depths or widths of a panel with a number in each cell."""

MISSING = "missing"
UNTRAINED = "diverged or failed"
PARTLY_UNTRAINED = "some seeds diverged or failed: mean of the others"
FRONTIER = "frontier: at least half the seeds train up to here"
LATE_FRONTIER = "the same, from the first depth that trains"

_MARKS = {MISSING: ("/////", "white"), UNTRAINED: ("xxxxx", "#d9dde4"), PARTLY_UNTRAINED: ("", "#4da3ff")}
"""Hatch and ground of the cells that have no value, and of the corner of those that lack some seeds."""

_LINES: dict[str, Any] = {FRONTIER: "-", LATE_FRONTIER: (0, (2.5, 1.5))}
_LINE_COLOUR = "#19d3f5"  # none of the colour maps has it
_LETTER = 4.3  # points; a letter of the legend
_KEY = 9  # letters that fit beside an entry's text
_SQUARE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
_CORNER = np.array([(0.15, 0.5), (0.5, 0.5), (0.5, 0.15)])


@dataclass(frozen=True)
class Measures:
    """Size of a panel and of its cells in inches, and whether the cells carry their numbers."""

    panel: tuple[float, float]
    cell: tuple[float, float]
    numbered: bool


@dataclass(frozen=True)
class Scale:
    """Colours of values from `low` to `high`."""

    colours: Colormap
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Panel:
    """Values, (columns, rows from below), NaN for none, and the labels of both axes.

    `untrained` are places without any value of which all seeds diverged or failed, `partly_untrained` those of which
    some did.
    """

    values: NDArray[np.float64]
    untrained: NDArray[np.bool_]
    partly_untrained: NDArray[np.bool_]
    columns: tuple[str, ...]
    rows: tuple[str, ...]


def draw_panel(ax: Axes, panel: Panel, scale: Scale, measures: Measures, number: str = "{:.2f}") -> QuadMesh:
    """One heatmap, all cells of one size; `number` is how a cell's number is written."""
    columns, rows = panel.values.shape
    mesh = ax.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(panel.values.T),
        cmap=scale.colours,
        vmin=scale.low,
        vmax=scale.high,
    )
    empty = np.isnan(panel.values)
    _mark(ax, empty & ~panel.untrained, MISSING, _SQUARE)
    _mark(ax, empty & panel.untrained, UNTRAINED, _SQUARE)
    _mark(ax, ~empty & panel.partly_untrained, PARTLY_UNTRAINED, _CORNER)
    if measures.numbered:
        for column, row in np.argwhere(~empty):
            value = float(panel.values[column, row])
            _write_number(ax, int(column), int(row), number.format(value), mesh.to_rgba(np.array([value]))[0])
    turned = max(map(len, panel.columns)) * 0.075 + 0.03 > measures.cell[0]
    ax.set_xticks(range(columns), panel.columns, rotation=90 if turned else 0, fontsize=7)
    ax.set_yticks(range(rows), panel.rows, fontsize=7)
    ax.tick_params(length=2, width=0.6, pad=2)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(-0.5, rows - 0.5)
    return mesh


def draw_frontier(ax: Axes, places: Sequence[tuple[int, bool] | None]) -> None:
    """Draw a step line behind the last column that trains, row by row from below.

    Args:
        ax: the panel.
        places: each row's frontier: its column, and whether a lesser depth fails; None where there is none.
    """
    right = ax.get_xlim()[1]
    for meaning, is_late in ((FRONTIER, False), (LATE_FRONTIER, True)):
        line: list[tuple[float, float]] = []
        for row, place in enumerate(places):
            if place is None or place[1] != is_late:
                line.append((np.nan, np.nan))
                continue
            x = min(place[0] + 0.5, right - 0.08)  # at the grid's end the whole line stays visible
            line += [(x, row - 0.5), (x, row + 0.5)]
        if np.isfinite(line).any():
            ax.plot(*zip(*line, strict=True), label=meaning, scalex=False, scaley=False, **_line_style(meaning))


def legend_handles(panels: Sequence[Axes]) -> list[Patch | Line2D]:
    """An entry for each kind of mark and line that the panels have."""
    drawn = {str(artist.get_label()) for ax in panels for artist in (*ax.collections, *ax.lines)}
    patches = [
        Patch(label=meaning, hatch=hatch, facecolor=ground, edgecolor="0.55", linewidth=0.4)
        for meaning, (hatch, ground) in _MARKS.items()
        if meaning in drawn
    ]
    lines = [Line2D([], [], label=meaning, **_line_style(meaning)) for meaning in _LINES if meaning in drawn]
    return [*patches, *lines]


def draw_legend(figure: Figure | SubFigure, handles: Sequence[Patch | Line2D]) -> None:
    """The entries below the panels, as many beside each other as there is room for."""
    if not handles:
        return
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = figure.bbox.width / figure.dpi * 72 - 12
    letters = max(int(room / _LETTER) - _KEY, 12)
    for handle in handles:
        handle.set_label("\n".join(textwrap.wrap(str(handle.get_label()), width=letters)))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=int(np.clip(room // ((min(longest, letters) + _KEY) * _LETTER), 1, len(handles))),
        frameon=False,
        handleheight=1.2,
        fontsize=8,
    )


def _line_style(meaning: str) -> dict[str, Any]:
    outline = [Stroke(linewidth=3.2, foreground="black"), Normal()]
    return {
        "color": _LINE_COLOUR,
        "linewidth": 1.8,
        "linestyle": _LINES[meaning],
        "path_effects": outline,
        "solid_capstyle": "butt",
        "solid_joinstyle": "miter",
    }


def _mark(ax: Axes, where: NDArray[np.bool_], meaning: str, shape: NDArray[np.float64]) -> None:
    """Mark the cells, (columns, rows), where something is missing."""
    squares = [place + shape for place in np.argwhere(where)]
    if squares:
        hatch, ground = _MARKS[meaning]
        ax.add_collection(
            PolyCollection(squares, label=meaning, hatch=hatch, facecolor=ground, edgecolor="0.55", linewidth=0.4)
        )


def _write_number(ax: Axes, column: int, row: int, text: str, ground: Sequence[float]) -> None:
    luminance = 0.2126 * ground[0] + 0.7152 * ground[1] + 0.0722 * ground[2]
    colour = "black" if luminance > 0.4 else "white"
    ax.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
