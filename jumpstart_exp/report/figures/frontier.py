"""The frontier as curves: how deep networks of each width train, one line a method; drawing only."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jumpstart_exp.report.captions import frontier_caption, no_ratio_told, ratio_told
from jumpstart_exp.report.figures.drawing import figure_job, in_lines, line_height, wrapped, write_lines
from jumpstart_exp.report.figures.scatters import Look, method_looks
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.differences import comparisons
from jumpstart_exp.report.statistics.frontier import Frontier, Start, frontier_ratio, frontiers
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid

STARTS: dict[Start, str] = {
    "grid": "from the grid's shallowest depth",
    "first": "from the first depth that trains",
}
"""Rows of the figure: where a frontier begins."""

_MARGIN = (0.62, 0.15)  # inches left of a panel and right of the legend
_LEGEND = 2.15  # inches
_PANEL = (4.0, 2.3)  # inches
_GAP = 0.7  # inches between panels
_TITLES = 0.3  # inches above a panel
_TICKS = 0.45  # inches below a panel
_TEXT_SIZE = 7.0  # points
_TITLE_SIZE = 11.0  # points
_LETTER = 0.53  # of a text's size; the width of a letter
_NONE = -0.11  # of the axis, where a width without frontier stands
_MISSING = -0.22  # of the axis, where a width stands whose depths that would decide are not in the store
_MARKER = 4.5  # points
_SEED = 2.2  # points; a seed's own frontier
_BAR: dict[str, Any] = {"linewidth": 2.6, "alpha": 0.35}
_ARROW: dict[str, Any] = {
    "arrowstyle": "-|>,head_width=0.18,head_length=0.35",
    "linewidth": 0.9,
    "shrinkA": 0,
    "shrinkB": 0,
}


def frontier_figure(grid: FigureGrid) -> Figure:
    """Width across, depth upwards, one line a method; best epoch beside last.

    Where it makes a difference, both ways to begin stand below each other. Bars are the intervals, dots the seeds' own
    frontiers where there is none, arrows say "at least". Below each panel stands how many times deeper the methods
    train than others.
    """
    panel = (max(_PANEL[0], 0.3 * len(grid.widths)), _PANEL[1])
    width = _MARGIN[0] + 2 * panel[0] + _GAP + 0.2 + _LEGEND + _MARGIN[1]
    starts, line = shown_starts(grid), line_height(_TEXT_SIZE)
    told = {start: [_told(grid, at_epoch, start, panel[0]) for at_epoch in MOMENTS] for start in starts}
    texts = [max(map(len, told[start])) * line + 0.12 for start in starts]
    title = wrapped(f"{grid.title}: frontier", width, _TITLE_SIZE, 0.56)
    caption = wrapped(frontier_caption(grid, both_starts=len(starts) > 1), width - 0.3, _TEXT_SIZE, _LETTER)
    above, below = 0.1 + 0.2 * len(title), (len(caption) + 1) * line
    height = above + sum(_TITLES + panel[1] + _TICKS + text for text in texts) + below
    figure = Figure(figsize=(width, height))
    figure.suptitle("\n".join(title), fontsize=_TITLE_SIZE, y=1 - 0.07 / height, va="top")
    looks = method_looks(grid.methods)
    top = height - above
    for start, text in zip(starts, texts, strict=True):
        bottom = top - _TITLES - panel[1]
        for column, at_epoch in enumerate(MOMENTS):
            left = _MARGIN[0] + column * (panel[0] + _GAP)
            ax = figure.add_axes((left / width, bottom / height, panel[0] / width, panel[1] / height))
            ax.set_title(f"{at_epoch} epoch, {STARTS[start]}", fontsize=8.5)
            _draw_frontiers(ax, grid, frontiers(grid, at_epoch, start=start), looks)
            place, gid = (left / width, (bottom - _TICKS) / height), f"ratios {start} {at_epoch}"
            write_lines(figure, told[start][column], place, _TEXT_SIZE, gid)
        top = bottom - _TICKS - text
    write_lines(figure, caption, (0.15 / width, below / height), _TEXT_SIZE)
    _draw_legend(figure, grid, looks, (1 - (_LEGEND + _MARGIN[1]) / width, 1 - (above + _TITLES) / height))
    return figure


def shown_starts(grid: FigureGrid) -> tuple[Start, ...]:
    """The ways to begin a frontier: one where both give the same depths at all widths and moments."""

    def depths(start: Start) -> list[int | None]:
        found = (frontier for at_epoch in MOMENTS for frontier in frontiers(grid, at_epoch, start=start))
        return [point.depth for frontier in found for point in frontier.points]

    return ("grid",) if depths("grid") == depths("first") else ("grid", "first")


def _told(grid: FigureGrid, at_epoch: str, start: Start, room: float) -> list[str]:
    """The ratios of all comparisons in lines that fit into so many inches."""
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    lines = []
    for own, other in comparisons(grid.methods):
        ratio = frontier_ratio(grid, at_epoch, own, other, start=start)
        told = no_ratio_told(grid, own, other) if ratio is None else ratio_told(ratio)
        lines += wrapped(f"{titles[own]} against {titles[other]}: {told}", room, _TEXT_SIZE, _LETTER, indent="   ")
    return lines


def _draw_frontiers(ax: Axes, grid: FigureGrid, found: Sequence[Frontier], looks: dict[str, Look]) -> None:
    """The curves of one panel; widths stand at equal distances, methods beside each other."""
    deepest = grid.depths[-1]
    none = _NONE * deepest
    for order, frontier in enumerate(found):
        colour, marker = looks[frontier.method]
        shift = (order - (len(found) - 1) / 2) * min(0.7 / len(found), 0.14)
        xs = np.array([grid.widths.index(point.width) + shift for point in frontier.points])
        ys = np.array([np.nan if point.depth is None else point.depth for point in frontier.points])
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": _MARKER, "zorder": 3 + order / 100}
        ax.plot(xs, ys, linewidth=1.1, markeredgecolor="white", markeredgewidth=0.4, gid=frontier.method, **style)
        absent = np.array([point.depth is None and point.is_cut for point in frontier.points], dtype=np.bool_)
        for kind, where, y, look in (
            ("none", np.isnan(ys) & ~absent, none, {"markerfacecolor": "white", "markeredgewidth": 0.8}),
            ("missing", absent, _MISSING * deepest, {"marker": "x", "markeredgewidth": 1.1}),
        ):
            gid = f"{kind} {frontier.method}"
            ax.plot(xs[where], np.full(int(where.sum()), y), linestyle="none", gid=gid, **{**style, **look})
        for x, point in zip(xs, frontier.points, strict=True):
            if point.low is not None and point.high is not None and point.low != point.high:
                ends, gid = (point.low or none, point.high or none), f"interval {frontier.method}"
                ax.plot([x, x], ends, color=colour, solid_capstyle="butt", gid=gid, **_BAR)
            if point.low is None and len(point.each) > 1:
                own = [depth or none for depth in point.each]
                dots: dict[str, Any] = {
                    "linestyle": "none",
                    "marker": ".",
                    "markersize": _SEED,
                    "alpha": 0.6,
                    "zorder": 3.9,
                }
                ax.plot([x] * len(own), own, color=colour, gid=f"seeds {frontier.method}", **dots)
            if point.is_open and point.depth is not None:
                tip, arrow, gid = point.depth + 0.09 * deepest, {**_ARROW, "color": colour}, f"open {frontier.method}"
                ax.annotate("", (x, tip), (x, point.depth), arrowprops=arrow, gid=gid)
    ticks = [tick for tick in MaxNLocator(6, integer=True).tick_values(0, deepest) if 0 < tick <= deepest * 1.1]
    lowest = [(none, "none")]
    if any(point.depth is None and point.is_cut for frontier in found for point in frontier.points):
        lowest.append((_MISSING * deepest, "missing"))
        ax.axhline((none + _MISSING * deepest) / 2, color="0.8", linewidth=0.6)
    named = [*lowest, *((tick, f"{tick:g}") for tick in ticks)]
    ax.set_yticks([place for place, _ in named], [text for _, text in named], fontsize=7)
    ax.set_xticks(range(len(grid.widths)), [str(width) for width in grid.widths], fontsize=7)
    ax.set_xlim(-0.6, len(grid.widths) - 0.4)
    ax.set_ylim(lowest[-1][0] - 0.06 * deepest, deepest * 1.13)
    ax.axhline(none / 2, color="0.8", linewidth=0.6)
    ax.tick_params(length=2, width=0.6, pad=2)
    ax.grid(axis="y", color="0.92", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.set_xlabel("width", labelpad=1)
    ax.set_ylabel("depth", labelpad=1)


def _draw_legend(figure: Figure, grid: FigureGrid, looks: dict[str, Look], place: tuple[float, float]) -> None:
    handles = []
    for method, title in zip(grid.methods, grid.method_titles, strict=True):
        colour, marker = looks[method]
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": _MARKER, "linewidth": 1.1}
        handles.append(Line2D([], [], label=in_lines(title), **style))
    grey: dict[str, Any] = {"color": "0.35"}
    drawn = {str(line.get_gid()).split()[0] for ax in figure.axes for line in ax.lines}
    if "interval" in drawn:
        handles.append(Line2D([], [], label="95 % interval", **_BAR, **grey))
    if "seeds" in drawn:
        label = "a seed's own frontier"
        handles.append(Line2D([], [], label=label, linestyle="none", marker=".", markersize=2 * _SEED, **grey))
    if any(str(text.get_gid()).startswith("open ") for ax in figure.axes for text in ax.texts):
        label = "at least: no deeper\nnetwork was trained"
        handles.append(Line2D([], [], label=label, linestyle="none", marker="^", **grey))
    missing = (line for ax in figure.axes for line in ax.lines if str(line.get_gid()).startswith("missing "))
    if any(len(np.atleast_1d(line.get_xdata())) for line in missing):
        label = "missing: depths that\nwould decide are\nnot trained"
        handles.append(Line2D([], [], label=label, linestyle="none", marker="x", markersize=_MARKER, **grey))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=place,
        frameon=False,
        fontsize=7.5,
        handlelength=2.4,
        borderaxespad=0,
    )


@of_grid("seeds", rank=30)
def _frontiers(grid: FigureGrid) -> Iterator[Job]:
    if len(grid.depths) > 1:
        yield figure_job(f"{grid.slug}_frontier", partial(frontier_figure, grid))
