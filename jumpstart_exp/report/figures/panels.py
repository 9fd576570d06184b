"""One panel of values over depth × width, its marks and the frontier on it: drawing only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

MISSING = "missing"
UNTRAINED = "diverged or failed"
PARTLY_UNTRAINED = "some seeds diverged or failed: mean of the others"
FRONTIER = "frontier: at least half the seeds train up to here"
LATE_FRONTIER = "the same, from the first depth that trains"
SIGNIFICANT = "significant after correction (see below)"

_MARKS = {MISSING: ("/////", "white"), UNTRAINED: ("xxxxx", "#d9dde4"), PARTLY_UNTRAINED: ("", "#4da3ff")}
"""Hatch and ground of the cells that have no value, and of the corner of those that lack some seeds."""

_LINE: dict[str, Any] = {
    "color": "#19d3f5",  # none of the colour maps has it
    "linewidth": 1.8,
    "path_effects": [Stroke(linewidth=3.2, foreground="black"), Normal()],
    "solid_capstyle": "butt",
    "solid_joinstyle": "miter",
}
_DOT: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 3.2,
    "markerfacecolor": "black",
    "markeredgecolor": "white",
    "markeredgewidth": 0.5,
}
_LINES: dict[str, dict[str, Any]] = {
    FRONTIER: {**_LINE, "linestyle": "-"},
    LATE_FRONTIER: {**_LINE, "linestyle": (0, (2.5, 1.5))},
    SIGNIFICANT: _DOT,
}
_SQUARE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
_CORNER = np.array([(0.15, 0.5), (0.5, 0.5), (0.5, 0.15)])
_BESIDE_NUMBER = (-0.38, -0.32)  # of a cell; a number stands in the middle

FrontierPlaces = Sequence[tuple[int, bool] | None]
"""Of each row from below: the column that the frontier stands behind, and whether a lesser one fails; None for none."""


@dataclass(frozen=True)
class Scale:
    """Colours of values from `low` to `high`."""

    colours: Colormap
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Panel:
    """Values, (columns, rows from below), NaN for none, on a scale of colours.

    `untrained` are the cells without any value of which all seeds diverged or failed, `partly_untrained` those of which
    some did. `number` is how a cell's number is written, `significant` are cells with a dot. `title` stands over the
    column of panels, in print below each; `note` between it and the panel, None where there is no room for one.
    """

    values: NDArray[np.float64]
    untrained: NDArray[np.bool_]
    partly_untrained: NDArray[np.bool_]
    scale: Scale
    title: str = ""
    note: str | None = None
    number: str = "{:.2f}"
    frontier: FrontierPlaces = ()
    significant: Sequence[tuple[int, int]] = ()


def stacked(panels: Sequence[Panel], title: str = "") -> Panel:
    """The panels' rows above each other, those of the first panel below."""
    return Panel(
        np.hstack([panel.values for panel in panels]),
        np.hstack([panel.untrained for panel in panels]),
        np.hstack([panel.partly_untrained for panel in panels]),
        panels[0].scale,
        title,
        frontier=[place for panel in panels for place in panel.frontier],
    )


def draw_panel(ax: Axes, panel: Panel, *, numbered: bool) -> None:
    """One heatmap, all cells of one size, with its marks; `numbered` cells carry their numbers."""
    columns, rows = panel.values.shape
    mesh = ax.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(panel.values.T),
        cmap=panel.scale.colours,
        vmin=panel.scale.low,
        vmax=panel.scale.high,
    )
    empty = np.isnan(panel.values)
    _mark(ax, empty & ~panel.untrained, MISSING, _SQUARE)
    _mark(ax, empty & panel.untrained, UNTRAINED, _SQUARE)
    _mark(ax, ~empty & panel.partly_untrained, PARTLY_UNTRAINED, _CORNER)
    if numbered:
        for column, row in np.argwhere(~empty):
            value = float(panel.values[column, row])
            ground = mesh.to_rgba(np.array([value]))[0]
            colour = "black" if ground[:3] @ (0.2126, 0.7152, 0.0722) > 0.4 else "white"
            ax.text(column, row, panel.number.format(value), ha="center", va="center", fontsize=6.5, color=colour)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(-0.5, rows - 0.5)
    _draw_frontier(ax, panel.frontier, columns)
    if panel.significant:
        aside = _BESIDE_NUMBER if numbered else (0.0, 0.0)
        ax.plot(*(np.array(panel.significant) + aside).T, label=SIGNIFICANT, **_DOT)


def legend_handles(panels: Sequence[Axes]) -> list[Patch | Line2D]:
    """An entry for each kind of mark and line that the panels have."""
    drawn = {str(artist.get_label()) for ax in panels for artist in (*ax.collections, *ax.lines)}
    patches = [
        Patch(label=meaning, hatch=hatch, facecolor=ground, edgecolor="0.55", linewidth=0.4)
        for meaning, (hatch, ground) in _MARKS.items()
        if meaning in drawn
    ]
    return [*patches, *(Line2D([], [], label=meaning, **_LINES[meaning]) for meaning in _LINES if meaning in drawn)]


def _draw_frontier(ax: Axes, places: FrontierPlaces, columns: int) -> None:
    """A step line, row by row from below; solid where no lesser column fails."""
    for meaning, is_late in ((FRONTIER, False), (LATE_FRONTIER, True)):
        line: list[tuple[float, float]] = []
        for row, place in enumerate(places):
            if place is None or place[1] != is_late:
                line.append((np.nan, np.nan))
                continue
            x = min(place[0] + 0.5, columns - 0.5 - 0.08)  # at the grid's end the whole line stays visible
            line += [(x, row - 0.5), (x, row + 0.5)]
        if np.isfinite(line).any():
            ax.plot(*zip(*line, strict=True), label=meaning, scalex=False, scaley=False, **_LINES[meaning])


def _mark(ax: Axes, where: NDArray[np.bool_], meaning: str, shape: NDArray[np.float64]) -> None:
    """Mark the cells, (columns, rows), where something is missing."""
    if where.any():
        hatch, ground = _MARKS[meaning]
        places = [place + shape for place in np.argwhere(where)]
        ax.add_collection(
            PolyCollection(places, label=meaning, hatch=hatch, facecolor=ground, edgecolor="0.55", linewidth=0.4)
        )
