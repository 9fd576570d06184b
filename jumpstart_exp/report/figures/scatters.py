"""Accuracy against the number of parameters as scatters (CPAIOR, figures 3 and 4): drawing only."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from jumpstart_exp.report.figures.drawing import DPI, METRICS, figure_title, save_figures, title_lines
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.efficiency import Point, best_of_pairs, has_scatter, pareto_front, points
from jumpstart_exp.report.table.grid import FigureGrid

Look = tuple[str, str]
"""Colour and marker of a method."""

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

_TITLE_SIZE = 11.0
_SIZE = (8.6, 6.6)  # inches
_MARKER = 4.5  # points
_LABEL_SIZE = 6.5  # points
_GAP = 1.5  # points around a label that stay free
_RINGS = (0.0, 7.0)  # points added to a label's distance from its marker; a leader joins the far ones
_DIRECTIONS = ((0, 1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (1, -1), (-1, -1))
_FEW_DEPTHS: tuple[Any, ...] = ("-", "--", ":", "-.")
_PARTIAL = "some seeds diverged or failed: mean of the others"
_CHANCE: dict[str, Any] = {"color": "0.6", "linewidth": 0.8, "linestyle": (0, (1, 3))}
_MOST_TICKS = 9
_MOST_LABELS = 30  # pairs up to which those off the Pareto fronts have a label too
_DEPTHS_IN_LEGEND = 5


def draw_scatter(grid: FigureGrid, folder: Path) -> list[Path]:
    """Draw one figure at best and at last epoch, each as PNG and PDF, into the folder; the same grid, the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    return save_figures(grid, scatter_figure, folder, f"{grid.slug}_scatter")


def scatter_figure(grid: FigureGrid, moment: str) -> Figure:
    """One figure: training above validation, a colour a method; `moment` is "best" or "last".

    Thin lines join networks of equal depth, bars run from the worst seed to the best, thick steps are the Pareto
    fronts of the means.
    """
    looks, styles = method_looks(grid.methods), depth_styles(grid.depths)
    figure = Figure(figsize=_SIZE, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    title = figure_title(grid, moment, (_SIZE[0] - 0.3) * 72 / (_TITLE_SIZE * 0.56))
    figure.suptitle(title, fontsize=_TITLE_SIZE)
    axes = figure.subplots(len(METRICS), 1, sharex=True)
    shown = {metric: points(grid, f"{metric}_{moment}") for metric in METRICS}
    for ax, (metric, metric_name) in zip(axes, METRICS.items(), strict=True):
        ax.set_xscale("log")
        _draw_points(ax, grid, shown[metric], looks, styles)
        ax.set_ylabel(f"{metric_name} accuracy")
        ax.grid(color="0.92", linewidth=0.5)
        ax.set_axisbelow(True)
    _scale(axes, [point for of_metric in shown.values() for point in of_metric])
    axes[-1].set_xlabel("number of parameters")
    partial = any(point.partial for of_metric in shown.values() for point in of_metric)
    at_chance = [ax for ax in axes if ax.get_ylim()[0] <= grid.chance]
    for ax in at_chance:
        ax.axhline(grid.chance, gid="chance", zorder=1, **_CHANCE)
    _draw_legend(figure, grid, looks, styles, partial=partial, chance=bool(at_chance))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # labels are placed in the final layout
    for ax, metric in zip(axes, METRICS, strict=True):
        _label_pairs(ax, shown[metric])
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


def _draw_points(
    ax: Axes, grid: FigureGrid, shown: list[Point], looks: dict[str, Look], styles: dict[int, Any]
) -> None:
    most = max((point.n_params for point in shown), default=1) * 1.25
    for order, method in enumerate(grid.methods):
        colour, marker = looks[method]
        own = [point for point in shown if point.method == method]
        front = pareto_front(own)
        if front:
            xs, ys = [point.n_params for point in front], [point.mean for point in front]
            ax.step(
                [*xs, most], [*ys, ys[-1]], where="post", color=colour, linewidth=2.4, alpha=0.3, gid=f"front {method}"
            )
        for depth, of_depth in groupby(own, key=lambda point: point.depth):
            line = sorted(of_depth, key=lambda point: point.n_params)
            xs, ys = [point.n_params for point in line], [point.mean for point in line]
            ax.plot(xs, ys, linestyle=styles[depth], color=colour, linewidth=0.8, gid=f"depth {depth} {method}")
        bars = [point for point in own if point.low < point.high]
        if bars:
            lows, highs = [point.low for point in bars], [point.high for point in bars]
            ax.vlines([point.n_params for point in bars], lows, highs, color=colour, linewidth=0.6, gid=f"bar {method}")
        for is_partial in (False, True):
            some = [point for point in own if point.partial == is_partial]
            ax.plot(
                [point.n_params for point in some],
                [point.mean for point in some],
                linestyle="none",
                marker=marker,
                markersize=_MARKER,
                markeredgewidth=0.8 if is_partial else 0.4,
                markeredgecolor=colour if is_partial else "white",
                markerfacecolor="white" if is_partial else colour,
                zorder=3 + order / 100,
                gid=f"points {method}",
            )


def _scale(axes: Sequence[Axes], shown: list[Point]) -> None:
    """Room for labels around the points, and ticks that can be read."""
    if not shown:
        for ax in axes:
            ax.xaxis.set_major_locator(NullLocator())
            ax.xaxis.set_minor_locator(NullLocator())
        return
    fewest, most = min(point.n_params for point in shown), max(point.n_params for point in shown)
    margin = max((most / fewest) ** 0.05, 1.15)
    for ax in axes:
        ax.margins(y=0.11)
        ax.set_ylim(ax.get_ylim())  # what is added later leaves the scale alone
        ax.set_xlim(fewest / margin, most * margin)
        ax.xaxis.set_major_locator(FixedLocator(_ticks(fewest / margin, most * margin)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
        ax.tick_params(length=2, width=0.6, labelsize=7)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two, as many as can be read."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tenths, fifths = [ten / 10 for ten in range(10, 100)], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9]
    for digits in (tenths, fifths, [1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 5], [1, 3], [1]):
        found = [digit * 10.0**decade for decade in decades for digit in digits if low <= digit * 10.0**decade <= high]
        if len(found) <= _MOST_TICKS:
            break
    return found


def _count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _draw_legend(
    figure: Figure, grid: FigureGrid, looks: dict[str, Look], styles: dict[int, Any], *, partial: bool, chance: bool
) -> None:
    handles = []
    for method, title in zip(grid.methods, grid.method_titles, strict=True):
        colour, marker = looks[method]
        handles.append(_key(title, color=colour, marker=marker, linestyle="none"))
    joined = {_depth_of(line) for ax in figure.axes for line in ax.lines} - {None}
    depths = [depth for depth in styles if depth in joined]
    if len(depths) > _DEPTHS_IN_LEGEND:
        depths = [depths[int(index)] for index in np.linspace(0, len(depths) - 1, _DEPTHS_IN_LEGEND).round()]
    handles += [_key(f"depth {depth}", linestyle=styles[depth]) for depth in depths]
    handles.append(_key("Pareto front", linewidth=2.4, alpha=0.3))
    if len(grid.seeds) > 1:
        handles.append(_key("worst to best seed", linestyle="none", marker="|", markersize=9))
    if partial:
        handles.append(_key(_PARTIAL, linestyle="none", marker="o", markerfacecolor="white"))
    if chance:
        handles.append(_key("chance", **_CHANCE))
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=7.5, handlelength=3.2)


def _key(label: str, **style: Any) -> Line2D:
    """An entry of the legend."""
    return Line2D(
        [],
        [],
        label="\n".join(title_lines(label)),
        **{"color": "0.35", "linewidth": 0.9, "markersize": _MARKER, **style},
    )


def _depth_of(line: Line2D) -> int | None:
    """The depth whose networks the line joins; None for another line, or a single network's."""
    kind, _, rest = str(line.get_gid()).partition(" ")
    return int(rest.split(" ")[0]) if kind == "depth" and len(line.get_path()) > 1 else None


def _label_pairs(ax: Axes, shown: list[Point]) -> None:
    """Write depth×width beside each pair's best point, where there is room; the others stay without."""
    scale = DPI / 72  # pixels a point of type
    taken = [_marker_box(ax, point, scale) for point in shown]
    room = ax.get_window_extent()
    text = ax.text(0, 0, "", fontsize=_LABEL_SIZE)
    lines = [line.get_transform().transform_path(line.get_path()) for line in ax.lines if _depth_of(line)]
    for point in best_of_pairs(shown, _MOST_LABELS):
        text.set_text(f"{point.depth}×{point.width}")
        extent = text.get_window_extent()
        own = taken[shown.index(point)]
        places = _candidates(own, extent.width + _GAP * scale, extent.height + _GAP * scale, scale)
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
            _write_label(ax, point, text.get_text(), box, is_far=is_far, scale=scale)
    text.remove()


def _write_label(ax: Axes, point: Point, text: str, box: Bbox, *, is_far: bool, scale: float) -> None:
    x, y = ax.transData.transform((point.n_params, point.mean))
    leader = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.4, "shrinkA": 0, "shrinkB": _MARKER / 2}
    ax.annotate(
        text,
        (point.n_params, point.mean),
        (((box.x0 + box.x1) / 2 - x) / scale, ((box.y0 + box.y1) / 2 - y) / scale),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_LABEL_SIZE,
        color="0.1",
        arrowprops=leader if is_far else None,
        path_effects=[withStroke(linewidth=1.5, foreground="white")],
        zorder=5,
    )


def _marker_box(ax: Axes, point: Point, scale: float) -> Bbox:
    """The pixels that a point takes, marker and bar."""
    half = (_MARKER / 2 + 0.6) * scale
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


@of_grid("scatters", rank=10)
def _scatters(grid: FigureGrid) -> Iterator[Job]:
    if has_scatter(grid):
        yield Job("figures", partial(draw_scatter, grid))
