"""Accuracy against the number of parameters as scatters (CPAIOR, figures 3 and 4): drawing only."""

import hashlib
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator
from matplotlib.transforms import Bbox

from jumpstart_exp.report.figures.drawing import DPI, METRICS, figure_job, figure_title, in_lines
from jumpstart_exp.report.figures.heatmaps import LETTER, SMALL, SMALLEST
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.efficiency import Point, best_of_pairs, has_scatter, pareto_front, points
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid

Look = tuple[str, str]
"""Colour and marker of a method."""

Scatter = tuple[Axes, list[Point]]
"""One panel and what it shows."""

LOOKS: dict[str, Look] = {
    "relu": ("#4d4d4d", "o"),
    "sep_up": ("#0072b2", "D"),
    "sep_up_l2_1e-3": ("#56b4e9", "^"),
    "sep_up_l2_1e-1": ("#332288", "D"),
    "sep_up_mean_1e-1": ("#ee8866", "v"),
    "sep_up_mean_1": ("#b2182b", "s"),
    "relu_bn": ("#e69f00", "X"),
    "sep_u": ("#44aa99", "<"),
    "sep_p": ("#cc79a7", ">"),
    "sep_l": ("#882255", "P"),
    "zero_init": ("#999933", "h"),
}
"""Colour-blind safe; a variant's λ is light or dark."""

_TITLE_SIZE = 11.0  # points
_SIZE = (8.6, 6.6)  # inches
_FRONT: Mapping[str, Any] = {"linewidth": 2.4, "alpha": 0.3}
_FEW_DEPTHS: tuple[Any, ...] = ("-", "--", ":", "-.")
_MOST_TICKS = 9
_DEPTHS_IN_LEGEND = 5

_LABEL_SIZE = 6.5  # points
_LABEL_GAP = 1.5  # points around a label that stay free
_RINGS = (0.0, 7.0)  # points added to a label's distance from its marker; a leader joins the far ones
_DIRECTIONS = ((0, 1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (1, -1), (-1, -1))
_LEADER: dict[str, Any] = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.4, "shrinkA": 0}
_MOST_LABELS = 30  # pairs up to which those off the Pareto fronts have a label too

_PRINT_PANEL_HEIGHT = 1.45  # inches
_AROUND = 1.15  # inches above and below the panels: line, pairs, axis, legend
_FEW_DECADES = 300  # largest number of parameters over the smallest
_PAPER_STYLES: Mapping[int, Any] = {10: ":", 20: "--", 30: "-"}


@dataclass(frozen=True)
class ScatterStyle:
    """How scatters are drawn: sizes in points, `headroom` as a share of the accuracies' range.

    Where networks are `joined`, lines run along equal depth, Pareto fronts are thick steps, and networks that lack some
    seeds are hollow; otherwise a vertical line stands at each depth-width pair. `round_counts` are the ticks between
    the fewest and most parameters, with a margin, a factor. `labels`, `ticks`, `key` and `depth_key` (entries of the
    legend), `chance` and `legend` are matplotlib's settings.
    """

    joined: bool
    round_counts: Callable[[float, float, float], list[float]]
    marker: float
    edge: float
    labels: Mapping[str, Any]
    line: float
    headroom: float
    bar_key: float
    ticks: Mapping[str, Any]
    key: Mapping[str, Any]
    depth_key: Mapping[str, Any]
    chance: Mapping[str, Any]
    legend: Mapping[str, Any]


def scatter_figure(grid: FigureGrid, at_epoch: str) -> Figure:
    """One figure, training above validation, a colour a method; `at_epoch` is "best" or "last".

    Thin lines join networks of equal depth, bars run from the worst seed to the best, thick steps are the Pareto
    fronts of the means.
    """
    figure = Figure(figsize=_SIZE, dpi=DPI, layout="constrained")
    title = figure_title(grid, at_epoch, (_SIZE[0] - 0.3) * 72 / (_TITLE_SIZE * 0.56))
    figure.suptitle(title, fontsize=_TITLE_SIZE)
    methods = dict(zip(grid.methods, grid.method_titles, strict=True))
    (column,) = _draw_scatters(figure, [grid], methods, depth_styles(grid.depths), at_epoch, _STYLE)
    for ax, _ in column:
        ax.grid(color="0.92", linewidth=0.5)
        ax.set_axisbelow(True)
    ax.set_xlabel("number of parameters")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # labels are placed in the final layout
    for ax, shown in column:
        _label_pairs(ax, shown, _STYLE.marker)
    return figure


def print_scatters(
    columns: Sequence[tuple[str, FigureGrid]],
    methods: Sequence[tuple[str, str]],
    *,
    at_epoch: str,
    line: str,
    width_inches: float,
) -> Figure:
    """Scatters at a paper's column width; a vertical line a depth-width pair, dashed by depth, named where it fits.

    `columns` are titles and networks of what stands beside each other, `methods` labels and titles in the legend's
    order; `line` stands above the figure.
    """
    lines = textwrap.wrap(line, int(width_inches / LETTER))
    keys = -(-(len(methods) + 5) // 4)
    size = width_inches, len(METRICS) * _PRINT_PANEL_HEIGHT + _AROUND + 0.1 * (len(lines) + keys)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle("\n".join(lines), fontsize=SMALL)
    depths = sorted({depth for _, grid in columns for depth in grid.depths})
    every = _PAPER_STYLES if {*depths} <= {*_PAPER_STYLES} else depth_styles(depths)
    styles = {depth: every[depth] for depth in depths}
    drawn = _draw_scatters(figure, [grid for _, grid in columns], dict(methods), styles, at_epoch, _PRINT_STYLE)
    for (title, _), (_, (lowest, _)) in zip(columns, drawn, strict=True):
        lowest.set_xlabel(f"number of parameters\n{title}".rstrip(), fontsize=SMALL)
    for (ax, shown), _ in drawn:
        for count, depth, width in _depth_width_pairs(shown):
            place: dict[str, Any] = {
                "transform": ax.get_xaxis_transform(),
                "ha": "center",
                "va": "bottom",
                "rotation": 90,
            }
            ax.text(count, 1.02, f"{depth}×{width}", fontsize=SMALLEST, **place)
    figure.draw_without_rendering()
    for (ax, _), _ in drawn:  # as many names, from the left, as stand free
        end = -np.inf
        for name in [*ax.texts]:
            extent = name.get_window_extent()
            if extent.x0 < end:
                name.remove()
            else:
                end = extent.x1
    return figure


def method_looks(methods: Sequence[str]) -> dict[str, Look]:
    """Colour and marker of each method: the same in every figure, and of other labels where the figure leaves them."""
    looks = {method: LOOKS[method] for method in methods if method in LOOKS}
    every = [*LOOKS.values()]
    for method in methods:
        if method not in looks:
            start = int(hashlib.sha256(method.encode()).hexdigest(), 16)
            order = [every[(start + step) % len(every)] for step in range(len(every))]
            looks[method] = next((look for look in order if look not in looks.values()), order[0])
    return looks


def depth_styles(depths: Sequence[int]) -> dict[int, Any]:
    """Line style of each depth: solid for the deepest; the shallower, the shorter the dashes."""
    deepest_first = sorted(depths, reverse=True)
    if len(depths) <= len(_FEW_DEPTHS):
        return dict(zip(deepest_first, _FEW_DEPTHS, strict=False))
    dashes = np.geomspace(12, 1, len(depths) - 1)
    return {deepest_first[0]: "-"} | {
        depth: (0, (round(float(dash), 2), 1.6)) for depth, dash in zip(deepest_first[1:], dashes, strict=True)
    }


def _draw_scatters(
    figure: Figure,
    grids: Sequence[FigureGrid],
    methods: Mapping[str, str],
    styles: Mapping[int, Any],
    at_epoch: str,
    style: ScatterStyle,
) -> list[list[Scatter]]:
    """Columns of scatters in an empty figure, a grid each, training above validation, and their legend.

    `methods` are labels and titles of the methods that are shown, in the legend's order, `styles` the line styles of
    the depths, `at_epoch` is "best" or "last".
    """
    looks = method_looks([*methods])
    axes = figure.subplots(len(METRICS), len(grids), sharex="col", sharey="row", squeeze=False)
    columns = []
    for grid, of_column in zip(grids, axes.T, strict=True):
        column = []
        for ax, metric in zip(of_column, METRICS, strict=True):
            shown = [point for point in points(grid, f"{metric}_{at_epoch}") if point.method in methods]
            ax.set_xscale("log")
            for count, depth, _ in [] if style.joined else _depth_width_pairs(shown):
                ax.axvline(count, linestyle=styles[depth], gid=f"depth {depth}", zorder=0.5, **style.depth_key)
            for order, method in enumerate(methods):
                _draw_method(ax, method, looks[method], shown, styles, style, 3 + order / 100)
            ax.margins(y=style.headroom)
            ax.tick_params(**style.ticks)
            ax.spines[:].set_linewidth(style.line)
            column.append((ax, shown))
        _set_counts(column, style)
        columns.append(column)
    for ax, name in zip(axes[:, 0], METRICS.values(), strict=True):
        ax.set_ylabel(f"{name} accuracy", **style.labels)
    for grid, of_column in zip(grids, axes.T, strict=True):
        for ax in of_column:
            ax.set_ylim(ax.get_ylim())  # what is added later leaves the scale alone
            if ax.get_ylim()[0] <= grid.chance:
                ax.axhline(grid.chance, gid="chance", zorder=1, **style.chance)
    several = any(len(grid.seeds) > 1 for grid in grids)
    handles = _legend_handles([*chain(*columns)], methods, looks, styles, style, several=several)
    figure.legend(handles=handles, frameon=False, **style.legend)
    return columns


def _depth_width_pairs(shown: Sequence[Point]) -> list[tuple[int, int, int]]:
    """Number of parameters, depth and width of each network, the smallest first."""
    return sorted({(point.n_params, point.depth, point.width) for point in shown})


def _draw_method(
    ax: Axes,
    method: str,
    look: Look,
    shown: Sequence[Point],
    styles: Mapping[int, Any],
    style: ScatterStyle,
    zorder: float,
) -> None:
    colour, marker = look
    own = [point for point in shown if point.method == method]
    if style.joined and own:
        most = max(point.n_params for point in shown) * 1.25
        xs, ys = _coordinates(pareto_front(own))
        ax.step([*xs, most], [*ys, ys[-1]], where="post", color=colour, gid=f"front {method}", **_FRONT)
        for depth, of_depth in groupby(own, key=lambda point: point.depth):
            line = _coordinates(sorted(of_depth, key=lambda point: point.n_params))
            ax.plot(*line, linestyle=styles[depth], color=colour, linewidth=0.8, gid=f"depth {depth} {method}")
    bars = [point for point in own if point.low < point.high]
    if bars:
        lows, highs = [point.low for point in bars], [point.high for point in bars]
        ax.vlines(_coordinates(bars)[0], lows, highs, color=colour, linewidth=0.6, gid=f"bar {method}")
    for is_hollow in (False, True) if style.joined else (False,):
        ax.plot(
            *_coordinates([point for point in own if not style.joined or point.partial == is_hollow]),
            linestyle="none",
            color=colour,
            marker=marker,
            markersize=style.marker,
            markeredgewidth=0.8 if is_hollow else style.edge,
            markeredgecolor=colour if is_hollow else "white",
            markerfacecolor="white" if is_hollow else colour,
            zorder=zorder,
            gid=f"points {method}",
        )


def _coordinates(some: Sequence[Point]) -> tuple[list[int], list[float]]:
    return [point.n_params for point in some], [point.mean for point in some]


def _set_counts(column: Sequence[Scatter], style: ScatterStyle) -> None:
    """Room around the points, and ticks that can be read."""
    counts = [point.n_params for _, shown in column for point in shown]
    fewest, most = min(counts, default=1), max(counts, default=1)
    margin = max((most / fewest) ** 0.05, 1.15)
    for ax, _ in column:
        ax.xaxis.set_major_locator(FixedLocator(style.round_counts(fewest, most, margin) if counts else []))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.set_xlim(fewest / margin, most * margin)


def _decades(fewest: float, most: float, _: float) -> list[float]:
    """Powers of ten, and where there are few of them, twice and five times these."""
    decades = range(math.floor(math.log10(fewest)), math.ceil(math.log10(most)) + 1)
    digits = (1, 2, 5) if most < _FEW_DECADES * fewest else (1,)
    return [digit * 10.0**decade for decade in decades for digit in digits]


def _round_counts(fewest: float, most: float, margin: float) -> list[float]:
    """Round numbers in sight, as many as can be read."""
    low, high = fewest / margin, most * margin
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tenths, fifths = [ten / 10 for ten in range(10, 100)], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9]
    for digits in (tenths, fifths, [1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 5], [1, 3], [1]):
        found = [digit * 10.0**decade for decade in decades for digit in digits if low <= digit * 10.0**decade <= high]
        if len(found) <= _MOST_TICKS:
            break
    return found


def _legend_handles(
    scatters: Sequence[Scatter],
    methods: Mapping[str, str],
    looks: Mapping[str, Look],
    styles: Mapping[int, Any],
    style: ScatterStyle,
    *,
    several: bool,
) -> list[Line2D]:
    """What the panels have: methods, depths, and what bars, fronts and hollow markers mean."""

    def key(label: str, **own: Any) -> Line2D:
        text = in_lines(label) if style.joined else label
        return Line2D([], [], label=text, **{"color": "0.35", "markersize": style.marker, **style.key, **own})

    lines = [line for ax, _ in scatters for line in ax.lines]
    handles = [
        key(title, color=looks[method][0], marker=looks[method][1], linestyle="none")
        for method, title in methods.items()
    ]
    joined = {_depth_of(line) for line in lines} if style.joined else {*styles}
    depths = [depth for depth in styles if depth in joined]
    if style.joined and len(depths) > _DEPTHS_IN_LEGEND:
        depths = [depths[int(index)] for index in np.linspace(0, len(depths) - 1, _DEPTHS_IN_LEGEND).round()]
    handles += [key(f"depth {depth}", linestyle=styles[depth], **style.depth_key) for depth in depths]
    if style.joined:
        handles.append(key("Pareto front", **_FRONT))
    if several:
        handles.append(key("worst to best seed", linestyle="none", marker="|", markersize=style.bar_key))
    if style.joined and any(point.partial for _, shown in scatters for point in shown):
        text = "some seeds diverged or failed: mean of the others"
        handles.append(key(text, linestyle="none", marker="o", markerfacecolor="white"))
    if any(line.get_gid() == "chance" for line in lines):
        handles.append(key("chance", **style.chance))
    return handles


def _depth_of(line: Line2D) -> int | None:
    """The depth whose networks the line joins; None for another line, or a single network's."""
    kind, _, rest = str(line.get_gid()).partition(" ")
    return int(rest.split(" ")[0]) if kind == "depth" and len(line.get_path()) > 1 else None


def _label_pairs(ax: Axes, shown: Sequence[Point], marker: float) -> None:
    """Write depth×width beside each pair's best point, where there is room; the others stay without.

    The figure must have its final layout. `marker` is the size in points of the markers; bars run from the worst seed
    to the best. Labels keep off markers, bars and each other, and where they can off lines.
    """
    scale = DPI / 72  # pixels a point of type
    taken = [_marker_box(ax, point, marker, scale) for point in shown]
    room = ax.get_window_extent()
    text = ax.text(0, 0, "", fontsize=_LABEL_SIZE)
    lines = [line.get_transform().transform_path(line.get_path()) for line in ax.lines if _depth_of(line)]
    for point in best_of_pairs(shown, _MOST_LABELS):
        text.set_text(f"{point.depth}×{point.width}")
        extent = text.get_window_extent()
        own = taken[shown.index(point)]
        places = _candidates(own, extent.width + _LABEL_GAP * scale, extent.height + _LABEL_GAP * scale, scale)
        free = [
            (box, is_far)
            for box, is_far in places
            if room.x0 < box.x0 and box.x1 < room.x1 and room.y0 < box.y0 and box.y1 < room.y1
            if not box.count_overlaps(taken)
        ]
        # a line behind a label is worse than a leader to it, and better than no label
        clear = [(box, is_far) for box, is_far in free if not any(line.intersects_bbox(box, False) for line in lines)]
        for box, is_far in (clear or free)[:1]:
            taken.append(box)
            x, y = ax.transData.transform((point.n_params, point.mean))
            ax.annotate(
                text.get_text(),
                (point.n_params, point.mean),
                (((box.x0 + box.x1) / 2 - x) / scale, ((box.y0 + box.y1) / 2 - y) / scale),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=_LABEL_SIZE,
                color="0.1",
                arrowprops=_LEADER | {"shrinkB": marker / 2} if is_far else None,
                path_effects=[withStroke(linewidth=1.5, foreground="white")],
                zorder=5,
            )
    text.remove()


def _marker_box(ax: Axes, point: Point, marker: float, scale: float) -> Bbox:
    """The pixels that a point takes, marker and bar."""
    half = (marker / 2 + 0.6) * scale
    x, low = ax.transData.transform((point.n_params, point.low))
    middle, high = (ax.transData.transform((point.n_params, value))[1] for value in (point.mean, point.high))
    return Bbox.from_extents(x - half, min(low, middle - half), x + half, max(high, middle + half))


def _candidates(own: Bbox, width: float, height: float, scale: float) -> Iterator[tuple[Bbox, bool]]:
    """Boxes for a label around the box of its point, in pixels, the best first, and whether it is far from it."""
    middle_x, middle_y = (own.x0 + own.x1) / 2, (own.y0 + own.y1) / 2
    for ring in _RINGS:
        for right, up in _DIRECTIONS:
            x = middle_x + right * ((own.width + width) / 2 + ring * scale) * (0.85 if up else 1.0)
            y = middle_y + up * ((own.height + height) / 2 + ring * scale)
            yield Bbox.from_extents(x - width / 2, y - height / 2, x + width / 2, y + height / 2), ring > 0


_STYLE = ScatterStyle(
    joined=True,
    round_counts=_round_counts,
    marker=4.5,
    edge=0.4,
    labels={"fontsize": 8.0},
    line=0.6,
    headroom=0.11,
    bar_key=9,
    ticks={"length": 2, "width": 0.6, "labelsize": 7},
    key={"linewidth": 0.9},
    depth_key={},
    chance={"color": "0.6", "linewidth": 0.8, "linestyle": (0, (1, 3))},
    legend={"loc": "outside right center", "fontsize": 7.5, "handlelength": 3.2},
)
_PRINT_STYLE = ScatterStyle(
    joined=False,
    round_counts=_decades,
    marker=3.0,
    edge=0.3,
    labels={"fontsize": SMALL, "labelpad": 2},
    line=0.4,
    headroom=0.05,
    bar_key=6,
    ticks={"length": 1.5, "width": 0.4, "pad": 1.5, "labelsize": SMALLEST, "which": "both"},
    key={},
    depth_key={"color": "0.75", "linewidth": 0.5},
    chance={"color": "0.45", "linewidth": 0.7, "linestyle": (0, (4, 2, 1, 2))},
    legend={"loc": "outside lower center", "fontsize": SMALLEST, "handlelength": 2.4, "ncols": 4, "borderpad": 0},
)


@of_grid("scatters", rank=10)
def _scatters(grid: FigureGrid) -> Iterator[Job]:
    for at_epoch in MOMENTS if has_scatter(grid) else ():
        yield figure_job(f"{grid.slug}_scatter_{at_epoch}", partial(scatter_figure, grid, at_epoch))
