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
from matplotlib.text import Text

from jumpstart_exp.report.figures.drawing import METRICS
from jumpstart_exp.report.figures.print_heatmaps import LETTER, SMALL, SMALLEST
from jumpstart_exp.report.figures.scatters import ScatterStyle, depth_styles, depth_width_pairs, draw_scatters
from jumpstart_exp.report.table.grid import FigureGrid

_PANEL_HEIGHT = 1.45  # inches
_AROUND = 1.15  # inches above and below the panels: line, pairs, axis, legend
_FEW_DECADES = 300  # largest number of parameters over the smallest
_PAPER_STYLES: Mapping[int, Any] = {10: ":", 20: "--", 30: "-"}


@dataclass(frozen=True, eq=False)
class ScatterColumn:
    """Networks that stand above each other, training and validation, and what tells them from the other columns."""

    title: str
    grid: FigureGrid


def print_scatters(
    columns: Sequence[ScatterColumn],
    methods: Sequence[tuple[str, str]],
    *,
    at_epoch: str,
    line: str,
    width_inches: float,
) -> Figure:
    """Training above validation, a vertical line a depth-width pair, dashed by depth; pairs are named where they fit.

    Args:
        columns: what stands beside each other.
        methods: label and title of the methods that are shown, in the legend's order.
        at_epoch: "best" or "last" epoch.
        line: what stands above the figure.
        width_inches: the column's width.
    """
    lines = textwrap.wrap(line, int(width_inches / LETTER))
    keys = -(-(len(methods) + 5) // 4)
    size = width_inches, len(METRICS) * _PANEL_HEIGHT + _AROUND + 0.1 * (len(lines) + keys)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(lines), fontsize=SMALL)
    depths = sorted({depth for column in columns for depth in column.grid.depths})
    every = _PAPER_STYLES if {*depths} <= {*_PAPER_STYLES} else depth_styles(depths)
    styles = {depth: every[depth] for depth in depths}
    drawn = draw_scatters(figure, [column.grid for column in columns], dict(methods), styles, at_epoch, _STYLE)
    for column, scatters in zip(columns, drawn, strict=True):
        scatters[-1][0].set_xlabel(f"number of parameters\n{column.title}".rstrip(), fontsize=SMALL)
    labels = [[_name_pair(ax, *pair) for pair in depth_width_pairs(shown)] for ((ax, shown), *_) in drawn]
    figure.draw_without_rendering()
    for of_column in labels:
        _drop_overlapping(of_column)
    return figure


def _decades(fewest: float, most: float, _: float) -> list[float]:
    """Powers of ten, and where there are few of them, twice and five times these."""
    decades = range(math.floor(math.log10(fewest)), math.ceil(math.log10(most)) + 1)
    digits = (1, 2, 5) if most < _FEW_DECADES * fewest else (1,)
    return [digit * 10.0**decade for decade in decades for digit in digits]


def _name_pair(ax: Axes, count: int, depth: int, width: int) -> Text:
    where: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    return ax.text(count, 1.02, f"{depth}×{width}", rotation=90, fontsize=SMALLEST, **where)


def _drop_overlapping(labels: Sequence[Text]) -> None:
    """Leave as many labels, from the left, as stand free."""
    end = -np.inf
    for label in labels:
        extent = label.get_window_extent()
        if extent.x0 < end:
            label.remove()
        else:
            end = extent.x1


_STYLE = ScatterStyle(
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
