"""Every method's heatmap in small, all on one page, with what theory says on top; drawing only."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jumpstart_exp.report.atlas.area import areas
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.looks import titled
from jumpstart_exp.report.atlas.theory import can_be_born_dead, dead_point, depth_over_width, keeps_its_length
from jumpstart_exp.report.figures.colour_maps import rocket
from jumpstart_exp.report.figures.drawing import ReportFigure, figure_job, wrapped
from jumpstart_exp.report.registry import Job
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid

LENGTHS = (1.0, 5.0, 20.0)
"""Of L/n, at which there are contours."""

DEAD = 0.5
"""Of the probability that a point is dead, at which there is one."""

_COLUMNS = 5
_FINE = 12  # points of a contour from one depth or width of the grid to the next
_LENGTH, _DEAD = "#56b4e9", "#009e73"
_SMALL = 6.0  # points


def multiples_jobs(atlas: Atlas, order: Sequence[str]) -> Iterator[Job]:
    """The page at each moment, as STUDY_multiples_MOMENT, with the methods in this order."""
    for at_epoch in MOMENTS:
        yield figure_job(f"{atlas.study}_multiples_{at_epoch}", partial(multiples_figure, atlas, order, at_epoch))


def multiples_figure(atlas: Atlas, order: Sequence[str], at_epoch: str) -> Figure:
    """The share of seeds that train over depth and width, a panel a method in this order.

    Raises:
        ValueError: `order` is not the atlas's methods, each once.
    """
    grid = atlas.grid
    if sorted(order) != sorted(grid.methods):
        wrong = [method for method in order if method not in grid.methods or [*order].count(method) > 1]
        lacks = [method for method in grid.methods if method not in order]
        told = f"order={','.join(wrong or lacks)} {'stands in it wrongly' if wrong else 'is left out'}"
        raise ValueError(f"{told}: it has to be the methods of {atlas.study}, each once")
    shares = train_shares(grid, at_epoch).share
    columns = min(_COLUMNS, len(order))
    rows = -(-len(order) // columns)
    figure = ReportFigure(figsize=(max(4.4, 1.62 * columns), 1.5 + 1.09 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for panel, method in zip(panels.flat, order, strict=False):
        panel.set_facecolor("0.7")  # of what is missing; the colours have no grey
        values = np.ma.masked_invalid(shares[grid.methods.index(method)].T)
        panel.imshow(values, cmap=rocket, vmin=0, vmax=1, origin="lower", aspect="auto", interpolation="nearest")
        panel.set_title(_title(atlas, method), fontsize=5.6, pad=2)
        _theory(panel, grid, method)
        panel.set_gid(method)
        panel.tick_params(labelsize=5, length=1.5, pad=1)
    _ticks(panels[0, 0], grid.depths, grid.widths)
    for panel in panels.flat[len(order) :]:
        panel.set_visible(False)
    for column in range(columns):  # the lowest panel of each column that is there
        lowest = max(row for row in range(rows) if row * columns + column < len(order))
        panels[lowest, column].tick_params(labelbottom=True)
        panels[lowest, column].set_xlabel("depth", fontsize=_SMALL, labelpad=1)
    for row in range(rows):
        panels[row, 0].set_ylabel("width", fontsize=_SMALL, labelpad=1)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), rocket), ax=panels, location="bottom", shrink=0.35, aspect=40, pad=0.01
    )
    bar.set_label("share of seeds that train; grey: no result", fontsize=_SMALL)
    bar.ax.tick_params(labelsize=_SMALL)
    _legend(figure, grid)
    told = "Above each panel its rank and area under the frontier at the last epoch, and its learning rate"
    titled(figure, f"{atlas.title}, {at_epoch} epoch. {told}")
    return figure


def _title(atlas: Atlas, method: str) -> str:
    """Rank, name and area, then the rate and what the method lacks."""
    found, place = areas(atlas, "last"), atlas.grid.methods.index(method)
    lacking = int(found.lacking[place])
    lacks = f"; fewer seeds at {lacking} places" if lacking else ""
    title = atlas.grid.method_titles[place]
    return f"{found.rank[place]}. {title}, {found.area[place]:.2f}\nrate {atlas.rates[method]:g}{lacks}"


def _theory(panel: Axes, grid: FigureGrid, method: str) -> None:
    """The contours of what is said of the method's initial network."""
    settings = grid.settings[method]
    if min(len(grid.depths), len(grid.widths)) < 2:
        return
    if keeps_its_length(settings):
        _contour(panel, grid, depth_over_width, LENGTHS, colors=_LENGTH, linewidths=0.8)
    if can_be_born_dead(settings):
        _contour(panel, grid, dead_point, (DEAD,), colors=_DEAD, linewidths=0.8, linestyles="dashed")


def _contour(
    panel: Axes, grid: FigureGrid, value: Callable[[Floats, Floats], Floats], levels: Sequence[float], **look: Any
) -> None:
    """Contours on the heatmap's own axes: the grid's places, with depths and widths in between."""
    across, up = (np.linspace(0, len(of) - 1, _FINE * (len(of) - 1) + 1) for of in (grid.depths, grid.widths))
    depths = np.interp(across, np.arange(len(grid.depths)), grid.depths)
    widths = np.interp(up, np.arange(len(grid.widths)), grid.widths)
    values = value(*np.meshgrid(depths, widths))
    crossed = [level for level in levels if values.min() < level < values.max()]
    if crossed:
        panel.contour(across, up, values, levels=crossed, **look)


def _legend(figure: Figure, grid: FigureGrid) -> None:
    """What the contours are, below all panels."""
    settings = [grid.settings[method] for method in grid.methods]
    lines = []
    if any(map(keeps_its_length, settings)):
        levels = ", ".join(f"{level:g}" for level in LENGTHS)
        label = (
            f"L/n = {levels} from the upper left: the squared length of a point's activations has a relative "
            "variance of (1 + 5/n)ᴸ − 1 before training (Hanin and Rolnick 2018)"
        )
        lines.append((label, "-", _LENGTH))
    if any(map(can_be_born_dead, settings)):
        label = (
            f"a point is dead before training with a probability of {DEAD:g}, 1 − (1 − 2⁻ⁿ)ᴸ, below it with more; a "
            "network is born dead with at most that (Lu et al. 2020)"
        )
        lines.append((label, "--", _DEAD))
    if lines:
        room = figure.get_figwidth() - 0.6
        labels = ["\n".join(wrapped(label, room, _SMALL, 0.52)) for label, _, _ in lines]
        handles = [Line2D([], [], color=colour, lw=1.0, ls=dashes) for _, dashes, colour in lines]
        figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=_SMALL)


def _ticks(panel: Axes, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
    for axis, values in ((panel.xaxis, depths), (panel.yaxis, widths)):
        places = range(0, len(values), max(1, round(len(values) / 5)))
        axis.set_ticks(places, [str(values[place]) for place in places])
