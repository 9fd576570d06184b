"""How deep every method trains at every width: the methods that stand out, and all of them by family; drawing only."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.families import families
from jumpstart_exp.report.atlas.looks import COLOURS, MUTED, POINT, emphasised, legend, look_of, titled
from jumpstart_exp.report.figures.drawing import ReportFigure, figure_job
from jumpstart_exp.report.registry import Job
from jumpstart_exp.report.statistics.frontier import FrontierPoint, frontier
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_BOOTSTRAP

_MARKERS = "osD^vP*X<>"
_MORE_COLOURS = (*COLOURS, "#999933", "#44aa99")
_TIGHT: dict[str, Any] = {"handlelength": 1.6, "columnspacing": 1.0, "handletextpad": 0.5}
_SPREAD = 0.3  # of the distance of two widths, over which the methods stand beside each other


def frontier_jobs(atlas: Atlas) -> Iterator[Job]:
    """The frontiers of all methods, as STUDY_frontier, and family by family, as STUDY_families."""
    if len(atlas.grid.depths) > 1:
        yield figure_job(f"{atlas.study}_frontier", partial(frontier_figure, atlas))
        yield figure_job(f"{atlas.study}_families", partial(families_figure, atlas))


def frontier_figure(atlas: Atlas) -> Figure:
    """The greatest depth that trains over width, last epoch beside best, a line a method; few of them stand out."""
    figure = ReportFigure(figsize=(7.2, 4.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shown = emphasised(atlas)
    for panel, at_epoch in zip(panels, ("last", "best"), strict=True):
        for method in atlas.grid.methods:
            if method not in shown:
                _line(panel, atlas, method, at_epoch, shown)
        for method in shown:
            _line(panel, atlas, method, at_epoch, shown)
        _axes(panel, atlas)
        panel.set_title(f"{at_epoch} epoch", fontsize=8)
    panels[0].set_ylabel("greatest depth that trains")
    legend(figure, atlas, shown, with_points=True)
    titled(figure, f"{atlas.title}: the frontier. {_told(atlas)}")
    return figure


def families_figure(atlas: Atlas) -> Figure:
    """The same at the last epoch, a panel a family and every method with a line of its own."""
    found = families(atlas)
    columns = 2
    rows = -(-len(found) // columns)
    figure = ReportFigure(figsize=(7.2, 0.7 + 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False, gridspec_kw={"wspace": 0.03})
    titles = dict(zip(atlas.grid.methods, atlas.grid.method_titles, strict=True))
    for panel, (name, methods) in zip(panels.flat, found.items(), strict=False):
        for place, method in enumerate(methods):
            points = frontier(atlas.grid, "last", method, start="first").points
            xs, ys = _curve(atlas, points)
            shift = (place - (len(methods) - 1) / 2) * _SPREAD / len(methods)
            colour, marker = (of[place % len(of)] for of in (_MORE_COLOURS, _MARKERS))
            dashes, told = "--" if place >= len(_MORE_COLOURS) else "-", {"label": titles[method], "gid": method}
            _bars(panel, atlas, points, colour, shift)
            panel.plot(xs + shift, ys, color=colour, marker=marker, lw=1, ls=dashes, **POINT, **told)
        _axes(panel, atlas)
        panel.set_title(name, fontsize=8)
        panel.legend(fontsize=5.6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, **_TIGHT)
    for panel in panels.flat[len(found) :]:
        panel.set_visible(False)
    for panel in panels[:, 0]:
        panel.set_ylabel("greatest depth that trains")
    titled(figure, f"{atlas.title}: the frontier at the last epoch. {_told(atlas)}")
    return figure


def _told(atlas: Atlas) -> str:
    text = "From the first depth that trains; a depth trains if at least half of the seeds do."
    if atlas.grid.seed_range()[0] < LEAST_FOR_BOOTSTRAP:
        return f"{text} No intervals: they take {LEAST_FOR_BOOTSTRAP} seeds."
    return f"{text} Bars: 95 % of resampled seeds."


def _line(panel: Axes, atlas: Atlas, method: str, at_epoch: str, shown: Sequence[str]) -> None:
    points = frontier(atlas.grid, at_epoch, method, start="first").points
    xs, ys = _curve(atlas, points)
    look = look_of(method, shown)
    if look is MUTED:
        panel.plot(xs, ys, gid=method, **look.line)
        return
    place = shown.index(method)
    shift = (place - (len(shown) - 1) / 2) * _SPREAD / len(shown)
    _bars(panel, atlas, points, look.colour, shift)
    panel.plot(xs + shift, ys, gid=method, **look.line, **look.points)


def _curve(atlas: Atlas, points: Sequence[FrontierPoint]) -> tuple[np.ndarray, np.ndarray]:
    """Places along the widths and depths, 0 where none trains."""
    xs = np.array([atlas.grid.widths.index(point.width) for point in points], dtype=np.float64)
    return xs, np.array([point.depth or 0 for point in points], dtype=np.float64)


def _bars(panel: Axes, atlas: Atlas, points: Sequence[FrontierPoint], colour: str, shift: float) -> None:
    for point in points:
        if point.low is not None and point.high is not None and point.high > point.low:
            place = atlas.grid.widths.index(point.width) + shift
            panel.vlines(place, point.low, point.high, color=colour, lw=1, alpha=0.45, zorder=2)


def _axes(panel: Axes, atlas: Atlas) -> None:
    deepest = atlas.grid.depths[-1]
    panel.set_xticks(range(len(atlas.grid.widths)), [str(width) for width in atlas.grid.widths])
    panel.set_xlabel("width")
    panel.set_xlim(-0.4, len(atlas.grid.widths) - 0.6)
    panel.set_ylim(-0.03 * deepest, 1.04 * deepest)
    panel.grid(color="0.94", lw=0.6)
    panel.set_axisbelow(True)
