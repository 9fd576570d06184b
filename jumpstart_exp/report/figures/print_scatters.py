"""Scatters of accuracy against parameters at a paper's column width (CPAIOR, figures 3 and 4): drawing only."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from jumpstart_exp.report.figures.drawing import METRICS
from jumpstart_exp.report.figures.print_heatmaps import LETTER, SMALL, SMALLEST
from jumpstart_exp.report.figures.scatters import Look, depth_styles, method_looks
from jumpstart_exp.report.statistics.efficiency import Point, points
from jumpstart_exp.report.table.grid import FigureGrid

_PANEL_HEIGHT = 1.45  # inches
_AROUND = 1.15  # inches above and below the panels: line, pairs, axis, legend
_MARKER = 3.0  # points
_FEW_DECADES = 300  # largest number of parameters over the smallest
_PAPER_STYLES: Mapping[int, Any] = {30: "-", 20: "--", 10: ":"}
_GRIDLINE: Mapping[str, Any] = {"color": "0.75", "linewidth": 0.5}
_CHANCE: Mapping[str, Any] = {"color": "0.45", "linewidth": 0.7, "linestyle": (0, (4, 2, 1, 2))}


@dataclass(frozen=True, eq=False)
class ScatterColumn:
    """Networks that stand above each other, training and validation, and what tells them from the other columns."""

    title: str
    grid: FigureGrid


def print_scatters(
    columns: Sequence[ScatterColumn],
    methods: Sequence[tuple[str, str]],
    *,
    moment: str,
    line: str,
    width_inches: float,
) -> Figure:
    """Training above validation, a vertical line a depth-width pair, dashed by depth; pairs are named where they fit.

    Args:
        columns: what stands beside each other.
        methods: label and title of the methods that are shown, in the legend's order.
        moment: "best" or "last" epoch.
        line: what stands above the figure.
        width_inches: the column's width.
    """
    lines = textwrap.wrap(line, int(width_inches / LETTER))
    keys = -(-(len(methods) + 5) // 4)
    size = width_inches, len(METRICS) * _PANEL_HEIGHT + _AROUND + 0.1 * (len(lines) + keys)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(lines), fontsize=SMALL)
    axes = figure.subplots(len(METRICS), len(columns), sharex="col", sharey="row", squeeze=False)
    looks = method_looks([name for name, _ in methods])
    depths = sorted({depth for column in columns for depth in column.grid.depths})
    styles = dict(_PAPER_STYLES) if {*depths} <= {*_PAPER_STYLES} else depth_styles(depths)
    labels: list[list[Text]] = []
    at_chance = False
    for place, column in enumerate(columns):
        for row, (metric, metric_name) in enumerate(METRICS.items()):
            ax = axes[row, place]
            shown = [point for point in points(column.grid, f"{metric}_{moment}") if point.method in looks]
            _draw(ax, shown, looks, styles)
            if place == 0:
                ax.set_ylabel(f"{metric_name} accuracy", fontsize=SMALL, labelpad=2)
            if row == 0:
                labels.append(_name_pairs(ax, shown))
        _set_ticks(axes[-1, place], [point.n_params for point in shown])
        axes[-1, place].set_xlabel(f"number of parameters\n{column.title}".rstrip(), fontsize=SMALL)
    for ax, column in zip(axes.T.flat, (each for each in columns for _ in METRICS), strict=True):
        if ax.get_ylim()[0] <= column.grid.chance:
            at_chance = True
            ax.axhline(column.grid.chance, gid="chance", zorder=1, **_CHANCE)
    seeds = max(len(column.grid.seeds) for column in columns)
    _draw_legend(
        figure, methods, looks, {depth: styles[depth] for depth in depths}, several=seeds > 1, chance=at_chance
    )
    figure.draw_without_rendering()
    for of_column in labels:
        _drop_overlapping(of_column)
    return figure


def _draw(ax: Axes, shown: Sequence[Point], looks: Mapping[str, Look], styles: Mapping[int, Any]) -> None:
    ax.set_xscale("log")
    for depth, _, count in _pairs(shown):
        ax.axvline(count, linestyle=styles[depth], gid=f"depth {depth}", zorder=0.5, **_GRIDLINE)
    for order, (method, (colour, marker)) in enumerate(looks.items()):
        own = [point for point in shown if point.method == method]
        bars = [point for point in own if point.low < point.high]
        if bars:
            lows, highs = [point.low for point in bars], [point.high for point in bars]
            ax.vlines([point.n_params for point in bars], lows, highs, color=colour, linewidth=0.6, gid=f"bar {method}")
        ax.plot(
            [point.n_params for point in own],
            [point.mean for point in own],
            linestyle="none",
            marker=marker,
            markersize=_MARKER,
            markeredgewidth=0.3,
            markeredgecolor="white",
            color=colour,
            zorder=3 + order / 100,
            gid=f"points {method}",
        )
    ax.tick_params(length=1.5, width=0.4, pad=1.5, labelsize=SMALLEST, which="both")
    ax.spines[:].set_linewidth(0.4)


def _set_ticks(ax: Axes, counts: Sequence[int]) -> None:
    """Powers of ten, and where there are few of them, twice and five times these."""
    low, high = (min(counts), max(counts)) if counts else (1, 1)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high < _FEW_DECADES * low else (1,)
    ax.xaxis.set_major_locator(FixedLocator([digit * 10.0**decade for decade in decades for digit in digits]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count(value)))
    margin = max((high / low) ** 0.05, 1.15)
    ax.set_xlim(low / margin, high * margin)


def _count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _pairs(shown: Sequence[Point]) -> list[tuple[int, int, int]]:
    """Depth, width and number of parameters of each network, the smallest first."""
    return sorted({(point.depth, point.width, point.n_params) for point in shown}, key=lambda pair: (pair[2], pair))


def _name_pairs(ax: Axes, shown: Sequence[Point]) -> list[Text]:
    return [
        ax.text(
            count,
            1.02,
            f"{depth}×{width}",
            transform=ax.get_xaxis_transform(),
            rotation=90,
            fontsize=SMALLEST,
            ha="center",
            va="bottom",
        )
        for depth, width, count in _pairs(shown)
    ]


def _drop_overlapping(labels: Sequence[Text]) -> None:
    """Leave as many labels, from the left, as stand free."""
    end = -np.inf
    for label in labels:
        extent = label.get_window_extent()
        if extent.x0 < end:
            label.remove()
        else:
            end = extent.x1


def _draw_legend(
    figure: Figure,
    methods: Sequence[tuple[str, str]],
    looks: Mapping[str, Look],
    styles: Mapping[int, Any],
    *,
    several: bool,
    chance: bool,
) -> None:
    handles = [
        Line2D([], [], color=looks[name][0], marker=looks[name][1], linestyle="none", markersize=_MARKER, label=title)
        for name, title in methods
    ]
    handles += [Line2D([], [], linestyle=style, label=f"depth {depth}", **_GRIDLINE) for depth, style in styles.items()]
    if several:
        handles.append(
            Line2D([], [], color="0.35", marker="|", linestyle="none", markersize=6, label="worst to best seed")
        )
    if chance:
        handles.append(Line2D([], [], label="chance", **_CHANCE))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=SMALLEST,
        borderpad=0,
        handlelength=2.4,
    )
