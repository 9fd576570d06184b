"""Rows and columns of panels with their colour bars, legend and caption, on the screen and in print: drawing only."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from jumpstart_exp.report.figures.drawing import line_height, wrapped, write_lines
from jumpstart_exp.report.figures.panels import Panel, draw_panel, legend_handles

_MOST_NUMBERED = 12  # columns or rows of a panel with a number in each cell
_NUMBERED_CELL = (0.34, 0.27)  # inches; the least that hold a readable number
_SMALL_CELL = (0.16, 0.15)  # inches; the least that hold a tick's label
_CAPTION_SIZE = 7.5  # points
_COLUMN_TITLE = 9.0  # points
_NOTE = 7.0  # points
_KEY = 9  # letters that fit beside an entry's text
_EXTENDS = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}


Bar = tuple[str, slice]
"""A colour bar: what the colours of some columns of panels, all of one scale, stand for, and which columns."""


@dataclass(frozen=True)
class Style:
    """How a figure of panels is set: `title`, `label` and `line` in points, the others in inches.

    Its height is a panel's height and `gap` a row, `margin`, and `title_line` a line of its title. `bar_aspect` is the
    length over the thickness of a colour bar, a panel that it runs along. `ticks`, `bar`, `bar_ticks` and `legend` are
    matplotlib's settings; `legend_letter` is the width in points of a letter of the legend, None where all entries
    stand in one row. Panels that are `lettered` have their titles below, after (a), (b), ….
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
    bar_ticks: Mapping[str, Any] = field(default_factory=dict)
    legend: Mapping[str, Any] = field(default_factory=lambda: {"handleheight": 1.2, "fontsize": 8})
    legend_letter: float | None = 4.3
    caption_margin: float = 1.0
    lettered: bool = False


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
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    x_label: str
    row_labels: Sequence[str]
    size: PanelSize
    width: float
    title: Sequence[str] = ()
    bars: Sequence[Bar] = (("accuracy", slice(None)),)
    caption: Sequence[str] | None = None


def panel_size(
    columns: Sequence[str], rows: int, least: tuple[float, float], *, row: float = 0.0, most: int = _MOST_NUMBERED
) -> PanelSize:
    """A panel, `least` inches or more, whose cells hold their labels, of columns, and numbers up to `most` cells.

    `row` are inches that hold a row's label.
    """
    numbered = max(len(columns), rows) <= most
    cell = _NUMBERED_CELL if numbered else _SMALL_CELL
    width = max(len(columns) * cell[0], least[0])
    turned = max(map(len, columns)) * 0.075 + 0.03 > width / len(columns)
    return PanelSize((width, max(rows * max(cell[1], row), least[1])), numbered, turned)


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
    columns, rows = tuple(map(str, depths)), tuple(map(str, widths))
    size = panel_size(columns, len(rows), least)
    letters = max(int(size.panel[1] / 0.08), 10)

    def lines(name: str) -> list[str]:
        return [line for part in name.split("\n") for line in textwrap.wrap(part, letters, break_on_hyphens=False)]

    # names stand upright: every line of a note below a name takes width
    noted = max(len(lines(name.partition("\n")[2])) for name in names)
    width = len(panels[0]) * (size.panel[0] + 0.15) + 1.0 + 0.18 * noted
    described = PanelGrid(
        panels,
        columns,
        rows,
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
        part = figure = Figure(figsize=(grid.width, height), layout="constrained")
    else:
        heights = height, (len(grid.caption) + style.caption_margin) * line_height(_CAPTION_SIZE)
        figure = Figure(figsize=(grid.width, sum(heights)), layout="constrained")
        part, below = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights), dtype=object))
        for each in (part, below):
            each.patch.set_visible(False)  # its lower end is 0 or −0, as the layout's solver happens to round
        write_lines(below, grid.caption, (0.15 / grid.width, 1.0), _CAPTION_SIZE)
    FigureCanvasAgg(figure)
    part.suptitle("\n".join(grid.title), fontsize=style.title)
    axes = np.asarray(part.subplots(rows, len(grid.panels[0]), sharex=True, sharey=True, squeeze=False), dtype=object)
    for row, panels in enumerate(grid.panels):
        for column, panel in enumerate(panels):
            ax = axes[row, column]
            draw_panel(ax, panel, numbered=grid.size.numbered)
            _label(ax, grid, style, row, column)
        axes[row, 0].set_ylabel(grid.row_labels[row], fontsize=style.label, labelpad=style.label_pad)
        for ax in axes[row, len(panels) :]:
            ax.set_visible(False)
    for label, of in grid.bars:
        _draw_bar(part, axes[:, of], [panel for panels in grid.panels for panel in panels[of]], label, style)
    _draw_legend(part, axes, style)
    return figure


def _label(ax: Axes, grid: PanelGrid, style: Style, row: int, column: int) -> None:
    """Ticks and titles of the panel of that row and column."""
    panel = grid.panels[row][column]
    ax.set_xticks(range(len(grid.columns)), grid.columns, rotation=90 if grid.size.turned else 0)
    ax.set_yticks(range(len(grid.rows)), grid.rows)
    ax.tick_params(**style.ticks)
    ax.spines[:].set_linewidth(style.line)
    if style.lettered:
        letter = "abcdefghijklmnopqrstuvwxyz"[row * len(grid.panels[0]) + column]
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


def _draw_bar(
    part: Figure | SubFigure, axes: NDArray[np.object_], panels: Sequence[Panel], label: str, style: Style
) -> None:
    scale, values = panels[0].scale, np.stack([panel.values for panel in panels])
    below, above = bool(np.any(values < scale.low)), bool(np.any(values > scale.high))
    along = axes.shape[1] if style.bar["location"] == "bottom" else axes.shape[0]
    drawn = part.colorbar(
        ScalarMappable(Normalize(scale.low, scale.high), scale.colours),
        ax=axes,
        extend=_EXTENDS[below, above],
        aspect=style.bar_aspect * along,
        **style.bar,
    )
    drawn.set_label(label, fontsize=style.label)
    drawn.ax.tick_params(**style.bar_ticks)
    drawn.outline.set_linewidth(style.line)


def _draw_legend(part: Figure | SubFigure, axes: NDArray[np.object_], style: Style) -> None:
    """The entries below the panels, as many beside each other as there is room for."""
    handles = legend_handles(axes.ravel().tolist())
    if not handles:
        return
    columns = len(handles)
    if style.legend_letter is not None:
        longest = max(len(str(handle.get_label())) for handle in handles)
        room = part.bbox.width / part.dpi * 72 - 12
        letters = max(int(room / style.legend_letter) - _KEY, 12)
        for handle in handles:
            handle.set_label("\n".join(textwrap.wrap(str(handle.get_label()), width=letters)))
        columns = int(np.clip(room // ((min(longest, letters) + _KEY) * style.legend_letter), 1, columns))
    part.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, **style.legend)
