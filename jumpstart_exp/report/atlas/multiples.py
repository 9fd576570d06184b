"""Every method's heatmap in small, the best first, all on one page, with what theory says on top; drawing only."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jumpstart_exp.report.atlas.area import Areas, areas
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.looks import titled
from jumpstart_exp.report.atlas.theory import born_dead_at_most, can_be_born_dead, depth_over_width, keeps_its_length
from jumpstart_exp.report.figures.colour_maps import rocket
from jumpstart_exp.report.figures.drawing import ReportFigure, figure_job
from jumpstart_exp.report.registry import Job
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import MOMENTS

LEVELS = (1.0, 4.0)
"""Of L/n."""

_COLUMNS = 5
_LENGTH, _DEAD = "#56b4e9", "#009e73"


def multiples_jobs(atlas: Atlas) -> Iterator[Job]:
    """The page at each moment, as STUDY_multiples_MOMENT."""
    for at_epoch in MOMENTS:
        yield figure_job(f"{atlas.study}_multiples_{at_epoch}", partial(multiples_figure, atlas, at_epoch))


def multiples_figure(atlas: Atlas, at_epoch: str) -> Figure:
    """The share of seeds that train over depth and width, a panel a method in the order of the ranking."""
    grid, found = atlas.grid, areas(atlas, "last")
    order, shares = found.order(), train_shares(grid, at_epoch).share
    columns = min(_COLUMNS, len(order))
    rows = -(-len(order) // columns)
    figure = ReportFigure(figsize=(max(4.2, 1.62 * columns), 1.35 + 1.08 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    image = None
    for panel, place in zip(panels.flat, order, strict=False):
        method = grid.methods[place]
        panel.set_facecolor("0.8")  # of what is missing
        values = np.ma.masked_invalid(shares[place].T)
        image = panel.imshow(
            values, cmap=rocket, vmin=0, vmax=1, origin="lower", aspect="auto", interpolation="nearest"
        )
        panel.set_title(_title(atlas, found, int(place)), fontsize=5.6, pad=2)
        _theory(panel, atlas, method)
        panel.set_gid(method)
        panel.tick_params(labelsize=5, length=1.5, pad=1)
    _ticks(panels[0, 0], grid.depths, grid.widths)
    for panel in panels.flat[len(order) :]:
        panel.set_visible(False)
    for column in range(columns):  # the lowest panel of each column that is there
        lowest = max(row for row in range(rows) if row * columns + column < len(order))
        panels[lowest, column].tick_params(labelbottom=True)
        panels[lowest, column].set_xlabel("depth", fontsize=6, labelpad=1)
    for row in range(rows):
        panels[row, 0].set_ylabel("width", fontsize=6, labelpad=1)
    assert image is not None
    bar = figure.colorbar(image, ax=panels, location="bottom", shrink=0.35, aspect=40, pad=0.01)
    bar.set_label("share of seeds that train; grey: no result", fontsize=6)
    bar.ax.tick_params(labelsize=6)
    _legend(figure, atlas)
    titled(figure, f"{atlas.title}: {at_epoch} epoch, by the area under the frontier at the last epoch")
    return figure


def _title(atlas: Atlas, found: Areas, place: int) -> str:
    method = atlas.grid.methods[place]
    return (
        f"{found.rank[place]}. {atlas.grid.method_titles[place]}, {found.area[place]:.2f}\nrate {atlas.rates[method]:g}"
    )


def _theory(panel: Axes, atlas: Atlas, method: str) -> None:
    """Contours on the heatmap's own axes, between whose places depth and width are interpolated."""
    settings, grid = atlas.grid.settings[method], atlas.grid
    if min(len(grid.depths), len(grid.widths)) < 2:
        return
    depth, width = np.meshgrid(np.array(grid.depths, np.float64), np.array(grid.widths, np.float64))
    drawn: dict[str, Any] = {"linewidths": 0.7}
    if keeps_its_length(settings):
        _contour(panel, depth_over_width(depth, width), LEVELS, colors=_LENGTH, **drawn)
    if can_be_born_dead(settings):
        _contour(panel, born_dead_at_most(depth, width), (0.5,), colors=_DEAD, linestyles="dashed", **drawn)


def _contour(panel: Axes, values: np.ndarray, levels: tuple[float, ...], **look: Any) -> None:
    crossed = [level for level in levels if values.min() < level < values.max()]
    if crossed:
        panel.contour(values, levels=crossed, **look)


def _legend(figure: Figure, atlas: Atlas) -> None:
    lines = []
    settings = [atlas.grid.settings[method] for method in atlas.grid.methods]
    if any(map(keeps_its_length, settings)):
        levels = ", ".join(f"{level:g}" for level in LEVELS)
        lines.append(Line2D([], [], color=_LENGTH, lw=0.9, label=f"L/n = {levels} (Hanin and Rolnick 2018)"))
    if any(map(can_be_born_dead, settings)):
        label = "born dead with probability up to 0.5 (Lu et al. 2020)"
        lines.append(Line2D([], [], color=_DEAD, lw=0.9, ls="--", label=label))
    if lines:
        figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False, fontsize=6)


def _ticks(panel: Axes, depths: tuple[int, ...], widths: tuple[int, ...]) -> None:
    for axis, values in ((panel.xaxis, depths), (panel.yaxis, widths)):
        places = range(0, len(values), max(1, round(len(values) / 5)))
        axis.set_ticks(places, [str(values[place]) for place in places])
