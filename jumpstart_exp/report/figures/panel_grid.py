"""Rows and columns of panels with their colour bars, legend and caption, on the screen and in print: drawing only."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from jumpstart_exp.report.figures.drawing import ReportFigure, line_height, wrapped, write_lines

FRONTIER = "frontier: at least half the seeds train up to here"
LATE_FRONTIER = "the same, from the first depth that trains"
SIGNIFICANT = "significant after correction (see below)"
BEST = "best value"
ALIKE = "several values equally good"
NONE_TRAINS = "no network trains"
NO_EFFECT = "no effect on this method"

_EDGE: dict[str, Any] = {"edgecolor": "0.55", "linewidth": 0.4}
_MISSING, _LOST, _PARTLY = "missing", "diverged or failed", "some seeds diverged or failed: mean of the others"
_MARKS: dict[str, dict[str, Any]] = {
    _MISSING: {"hatch": "/////", "facecolor": "white", **_EDGE},
    _LOST: {"hatch": "xxxxx", "facecolor": "#d9dde4", **_EDGE},
    _PARTLY: {"hatch": "", "facecolor": "#4da3ff", **_EDGE},
    ALIKE: {"hatch": "", "facecolor": "#e3e3e3", **_EDGE},
    NONE_TRAINS: {"hatch": "", "facecolor": "#2b2b2b", **_EDGE},
    NO_EFFECT: {"hatch": "\\\\\\\\", "facecolor": "white", **_EDGE},
}
"""Cells without a value: never trained, and lost; the corner of those that lack some seeds; why none is the best."""

_LINE: dict[str, Any] = {
    "color": "#19d3f5",  # none of the colour maps has it
    "linewidth": 1.8,
    "path_effects": [Stroke(linewidth=3.2, foreground="black"), Normal()],
    "solid_capstyle": "butt",
    "solid_joinstyle": "miter",
}
_LINES: dict[str, dict[str, Any]] = {
    FRONTIER: {**_LINE, "linestyle": "-"},
    LATE_FRONTIER: {**_LINE, "linestyle": (0, (2.5, 1.5))},
    SIGNIFICANT: {
        "linestyle": "none",
        "marker": "o",
        "markersize": 3.2,
        "markerfacecolor": "black",
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    },
    BEST: {
        "linestyle": "none",
        "marker": "*",
        "markersize": 7.0,
        "markerfacecolor": "#19d3f5",
        "markeredgecolor": "black",
        "markeredgewidth": 0.6,
    },
}
_SQUARE = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
_CORNER = np.array([(0.15, 0.5), (0.5, 0.5), (0.5, 0.15)])
_BESIDE_NUMBER = (-0.38, -0.32)  # of a cell; a number stands in the middle
_LABEL_LETTER = 0.052  # inches of a letter of a label that stands in a cell
_MOST_TICKS = 7  # of a colour bar with labels

_MOST_NUMBERED = 12  # columns or rows of a panel with a number in each cell
_NUMBERED_CELL = (0.34, 0.27)  # inches; the least that hold a readable number
_SMALL_CELL = (0.16, 0.15)  # inches; the least that hold a tick's label
_CAPTION_SIZE = 7.5  # points
_COLUMN_TITLE = 9.0  # points
_NOTE = 7.0  # points
_KEY = 9  # letters that fit beside an entry's text in the legend
_LETTER = 4.3  # points; the width of a letter of the legend
_EXTENDS = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}

Bar = tuple[str, slice]
"""A colour bar: what the colours of some columns of panels, all of one scale, stand for, and which columns."""

FrontierPlaces = Sequence[tuple[int, bool] | None]
"""Of each row from below: the column that the frontier stands behind, and whether a lesser one fails; None for none."""


@dataclass(frozen=True)
class Scale:
    """Colours of values from `low` to `high`; `labels` name 0, 1, 2 and so on."""

    colours: Colormap
    low: float
    high: float
    labels: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Panel:
    """Values, (columns, rows from below), NaN for none, on a scale of colours.

    `untrained` are the cells without any value of which all seeds diverged or failed, `partly_untrained` those of which
    some did; `marked` are others without a value, by what their mark means. `number` is how a cell's number is written,
    `significant` are cells with a dot, `best` with a star. `title` stands over the column of panels, in print below
    each; `note` between it and the panel, None where there is no room for one.
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
    best: Sequence[tuple[int, int]] = ()
    marked: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class Style:
    """How a figure of panels is set: `title`, `label` and `line` in points, the others in inches.

    Its height is a panel's height and `gap` a row, `margin`, and `title_line` a line of its title. `bar_aspect` is the
    length over the thickness of a colour bar, a panel that it runs along. `ticks`, `bar` and `legend` are matplotlib's
    settings. Where it is `in_print` panels have their titles below, after (a), (b), …, colour bars the panels' ticks,
    and the legend's entries stand in one row.
    """

    gap: float
    margin: float
    title: float = 11.0
    title_line: float = 0.2
    label: float = 8.0
    label_pad: float = 4.0
    line: float = 0.6
    ticks: Mapping[str, Any] = field(default_factory=lambda: {"length": 2, "width": 0.6, "pad": 2, "labelsize": 7})
    bar: Mapping[str, Any] = field(default_factory=lambda: {"location": "bottom", "pad": 0.02, "shrink": 0.9})
    bar_aspect: float = 26.0
    legend: Mapping[str, Any] = field(default_factory=lambda: {"handleheight": 1.2, "fontsize": 8})
    caption_margin: float = 1.0
    in_print: bool = False


@dataclass(frozen=True)
class PanelSize:
    """Width and height of a panel in inches, whether its cells carry numbers, and whether its columns' labels lie."""

    panel: tuple[float, float]
    numbered: bool
    turned: bool


@dataclass(frozen=True, eq=False)
class PanelGrid:
    """A figure of panels: rows from above, of which the last may be shorter.

    `columns` and `rows` are the labels of all panels' cells, `x_label` what the columns are, `row_labels` stand beside
    the rows of panels. `title` and `caption` are lines; without a caption (None) there is no room for one. `width` is
    the figure's, in inches.
    """

    panels: Sequence[Sequence[Panel]]
    columns: Sequence[int | str]
    rows: Sequence[int | str]
    x_label: str
    row_labels: Sequence[str]
    size: PanelSize
    width: float
    title: Sequence[str] = ()
    bars: Sequence[Bar] = (("accuracy", slice(None)),)
    caption: Sequence[str] | None = None


def panel_size(
    columns: Sequence[int | str], rows: int, least: tuple[float, float], *, row: float = 0.0, most: int = _MOST_NUMBERED
) -> PanelSize:
    """A panel, `least` inches or more, whose cells hold their labels, of columns, and numbers up to `most` cells.

    `row` are inches that hold a row's label.
    """
    numbered = max(len(columns), rows) <= most
    cell = _NUMBERED_CELL if numbered else _SMALL_CELL
    width = max(len(columns) * cell[0], least[0])
    turned = max(len(str(column)) for column in columns) * 0.075 + 0.03 > width / len(columns)
    return PanelSize((width, max(rows * max(cell[1], row), least[1])), numbered, turned)


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


def draw_captioned(
    panels: Sequence[Sequence[Panel]],
    depths: Sequence[int],
    widths: Sequence[int],
    names: Sequence[str],
    bars: Sequence[Bar],
    titles: Sequence[str],
    caption: str,
    least: tuple[float, float],
    style: Style,
) -> Figure:
    """Panels over depth × width, `least` inches or more, above a caption and their colour bars.

    A row of panels has each of the `names`, of which notes may stand in further lines; each title begins a line.
    """
    size = panel_size(depths, len(widths), least)
    letters = max(int(size.panel[1] / 0.08), 10)

    def lines(name: str) -> list[str]:
        return [line for part in name.split("\n") for line in textwrap.wrap(part, letters, break_on_hyphens=False)]

    # names stand upright: every line of a note below a name takes width
    noted = max(len(lines(name.partition("\n")[2])) for name in names)
    width = len(panels[0]) * (size.panel[0] + 0.15) + 1.0 + 0.18 * noted
    described = PanelGrid(
        panels,
        depths,
        widths,
        "depth",
        ["\n".join([*lines(name), "width"]) for name in names],
        size,
        width,
        [line for title in titles for line in wrapped(title, width - 0.3, style.title, 0.54)],
        bars,
        wrapped(caption, width - 0.3, _CAPTION_SIZE, 0.54),
    )
    return draw_panels(described, style)


def draw_panels(grid: PanelGrid, style: Style) -> Figure:
    """The figure that the description says."""
    rows = len(grid.panels)
    height = rows * (grid.size.panel[1] + style.gap) + style.margin + style.title_line * len(grid.title)
    part: Figure | SubFigure
    if grid.caption is None:
        part = figure = ReportFigure(figsize=(grid.width, height), layout="constrained")
    else:
        heights = height, (len(grid.caption) + style.caption_margin) * line_height(_CAPTION_SIZE)
        figure = ReportFigure(figsize=(grid.width, sum(heights)), layout="constrained")
        part, below = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights), dtype=object))
        for each in (part, below):
            each.patch.set_visible(False)  # its lower end is 0 or −0, as the layout's solver happens to round
        write_lines(below, grid.caption, (0.15 / grid.width, 1.0), _CAPTION_SIZE)
    part.suptitle("\n".join(grid.title), fontsize=style.title)
    axes = np.asarray(part.subplots(rows, len(grid.panels[0]), sharex=True, sharey=True, squeeze=False), dtype=object)
    for row, panels in enumerate(grid.panels):
        for column, panel in enumerate(panels):
            letters = int(grid.size.panel[0] / len(grid.columns) / _LABEL_LETTER)
            _draw_panel(axes[row, column], panel, letters if grid.size.numbered else 0)
            _label(axes[row, column], grid, style, row, column)
        axes[row, 0].set_ylabel(grid.row_labels[row], fontsize=style.label, labelpad=style.label_pad)
        for ax in axes[row, len(panels) :]:
            ax.set_visible(False)
    for label, of in grid.bars:
        shown = [panel for panels in grid.panels for panel in panels[of]]
        scale, values = shown[0].scale, np.stack([panel.values for panel in shown])
        along = axes[:, of].shape[1 if style.bar["location"] == "bottom" else 0]
        bar = part.colorbar(
            ScalarMappable(Normalize(scale.low, scale.high), scale.colours),
            ax=axes[:, of],
            extend=_EXTENDS[bool(np.any(values < scale.low)), bool(np.any(values > scale.high))],
            aspect=style.bar_aspect * along,
            **style.bar,
        )
        bar.set_label(label, fontsize=style.label)
        bar.outline.set_linewidth(style.line)
        if scale.labels:
            shown_at = np.linspace(0, len(scale.labels) - 1, min(len(scale.labels), _MOST_TICKS)).round().astype(int)
            bar.set_ticks(shown_at.tolist(), labels=[scale.labels[at] for at in shown_at])
            bar.ax.tick_params(labelsize=7)
        if style.in_print:
            bar.ax.tick_params(**style.ticks)
    _draw_legend(part, axes, style)
    return figure


def _draw_panel(ax: Axes, panel: Panel, letters: int) -> None:
    """One heatmap, all cells of one size, with its marks; cells carry their numbers, or labels of so many letters."""
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
    known = np.any([empty & False, *panel.marked.values()], axis=0)
    without = empty & ~known
    lost = {_MISSING: without & ~panel.untrained, _LOST: without & panel.untrained}
    for meaning, where in {**lost, _PARTLY: ~empty & panel.partly_untrained, **panel.marked}.items():
        if where.any():
            places = [place + (_CORNER if meaning == _PARTLY else _SQUARE) for place in np.argwhere(where)]
            ax.add_collection(PolyCollection(places, label=meaning, **_MARKS[meaning]))
    if letters:
        for column, row in np.argwhere(~empty):
            value = float(panel.values[column, row])
            text = panel.scale.labels[round(value)] if panel.scale.labels else panel.number.format(value)
            if panel.scale.labels and len(text) > letters:
                continue
            ground = mesh.to_rgba(np.array([value]))[0]
            colour = "black" if ground[:3] @ (0.2126, 0.7152, 0.0722) > 0.4 else "white"
            ax.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(-0.5, rows - 0.5)
    _draw_frontier(ax, panel.frontier, columns)
    if panel.significant:
        aside = _BESIDE_NUMBER if letters else (0.0, 0.0)
        ax.plot(*(np.array(panel.significant) + aside).T, label=SIGNIFICANT, **_LINES[SIGNIFICANT])
    if panel.best:
        aside = _BESIDE_NUMBER if letters else (0.0, 0.0)
        ax.plot(*(np.array(panel.best) + aside).T, label=BEST, **_LINES[BEST])


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


def _label(ax: Axes, grid: PanelGrid, style: Style, row: int, column: int) -> None:
    """Ticks and titles of the panel of that row and column."""
    panel = grid.panels[row][column]
    ax.set_xticks(range(len(grid.columns)), [*map(str, grid.columns)], rotation=90 if grid.size.turned else 0)
    ax.set_yticks(range(len(grid.rows)), [*map(str, grid.rows)])
    ax.tick_params(**style.ticks)
    ax.spines[:].set_linewidth(style.line)
    if style.in_print:
        letter = ascii_lowercase[row * len(grid.panels[0]) + column]
        ax.set_xlabel(f"{grid.x_label}\n({letter}) {panel.title}", fontsize=style.label)
        ax.tick_params(labelbottom=True)
        return
    if row == len(grid.panels) - 1:
        ax.set_xlabel(grid.x_label, fontsize=style.label)
    title = panel.title if row == 0 else ""
    if panel.note is None:
        ax.set_title(title, fontsize=_COLUMN_TITLE)
        return
    ax.set_title(panel.note, fontsize=_NOTE, loc="left", pad=2.5)
    place = (0.5, 1.0), (0, 14), "axes fraction", "offset points"
    if title:
        ax.annotate(title, *place, ha="center", fontsize=_COLUMN_TITLE)


def _draw_legend(part: Figure | SubFigure, axes: NDArray[np.object_], style: Style) -> None:
    """An entry for each kind of mark and line that the panels have, as many beside each other as there is room for."""
    drawn = {artist.get_label() for ax in axes.ravel().tolist() for artist in (*ax.collections, *ax.lines)}
    handles: list[Patch | Line2D] = [Patch(label=name, **look) for name, look in _MARKS.items() if name in drawn]
    handles += [Line2D([], [], label=name, **look) for name, look in _LINES.items() if name in drawn]
    if not handles:
        return
    columns = len(handles)
    if not style.in_print:
        longest = max(len(str(handle.get_label())) for handle in handles)
        room = part.bbox.width / part.dpi * 72 - 12
        letters = max(int(room / _LETTER) - _KEY, 12)
        for handle in handles:
            handle.set_label("\n".join(textwrap.wrap(str(handle.get_label()), width=letters)))
        columns = int(np.clip(room // ((min(longest, letters) + _KEY) * _LETTER), 1, columns))
    part.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, **style.legend)
