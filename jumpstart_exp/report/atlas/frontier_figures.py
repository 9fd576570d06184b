"""How deep every method trains at every width: the methods that stand out, and all of them by family; drawing only.

A frontier at the grid's end, and none at all, are no depths: they stand in bands above and below the depths, each line
on a height of its own there, so that methods that agree are told apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.families import families
from jumpstart_exp.report.atlas.looks import COLOURS, MUTED, Look, emphasised, look_of, titled
from jumpstart_exp.report.captions import threshold_of
from jumpstart_exp.report.figures.drawing import ReportFigure, figure_job, wrapped
from jumpstart_exp.report.registry import Job
from jumpstart_exp.report.statistics.frontier import FrontierPoint, frontier
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_BOOTSTRAP, Floats
from jumpstart_exp.report.table.grid import FigureGrid

_MARKERS = "osD^vPpX<>"
_MORE_COLOURS = (*COLOURS, "#999933", "#44aa99")
_SPREAD = 0.3  # of the distance of two widths, over which the methods stand beside each other
_GAP = 0.03  # of the deepest depth: between the depths and their bands, and from a band to the next
_STEP, _BAND = 0.026, 0.16  # likewise: between two lines in a band at most, and a band at least
_LABEL = {"frontier": 7.0, "families": 6.0}  # points
_CAPTION = 6.5  # points
_ARROW: dict[str, Any] = {"arrowstyle": "-|>,head_width=0.15,head_length=0.3", "lw": 0.8, "shrinkA": 0, "shrinkB": 0}


@dataclass(frozen=True)
class _Heights:
    """Where one line stands: beside the widths, and in the bands, on the axis of depths that ends at `deepest`."""

    shift: float
    deepest: int
    open: float
    none: float

    def of(self, depth: int) -> float:
        """The height of a frontier, 0 for none."""
        if depth == 0:
            return self.none
        return self.open if depth == self.deepest else float(depth)


@dataclass(frozen=True)
class _Bands:
    """The axis of depths with its bands for so many lines, on each side of the depths."""

    deepest: int
    lines: int
    has_missing: bool

    @property
    def step(self) -> float:
        """From line to line in a band."""
        return self.deepest * min(_STEP, _BAND / max(1, self.lines - 1))

    @property
    def width(self) -> float:
        """Of a band."""
        return self.step * (self.lines - 1) + 2 * _GAP * self.deepest

    @property
    def missing(self) -> float:
        """The height of what is missing, below both bands."""
        return -self.width - 3 * _GAP * self.deepest

    def heights(self, place: int) -> _Heights:
        """Of the line at this place, the first one highest in the upper band."""
        above = 2 * _GAP * self.deepest + self.step * (self.lines - 1 - place)
        below = 2 * _GAP * self.deepest + self.step * place
        shift = (place - (self.lines - 1) / 2) * _SPREAD / self.lines
        return _Heights(shift, self.deepest, self.deepest + above, -below)

    def muted(self) -> _Heights:
        """Of all lines that do not stand out: at the bands' inner edges."""
        return _Heights(0.0, self.deepest, (1 + _GAP) * self.deepest, -_GAP * self.deepest)


def frontier_jobs(atlas: Atlas) -> Iterator[Job]:
    """The frontiers of all methods, as STUDY_frontier, and family by family, as STUDY_families."""
    if len(atlas.grid.depths) > 1:
        yield figure_job(f"{atlas.study}_frontier", partial(frontier_figure, atlas))
        yield figure_job(f"{atlas.study}_families", partial(families_figure, atlas))


def frontier_figure(atlas: Atlas) -> Figure:
    """The greatest depth that trains over width, last epoch beside best, a line a method; few of them stand out."""
    figure = ReportFigure(figsize=(8.2, 3.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shown = emphasised(atlas)
    looks = {method: look_of(method, shown) for method in shown}
    bands = _bands(atlas.grid, shown, ("last", "best"))
    others = [method for method in atlas.grid.methods if method not in shown]
    for panel, at_epoch in zip(panels, ("last", "best"), strict=True):
        for method in others:
            _line(panel, atlas.grid, method, at_epoch, MUTED, bands.muted())
        _lines(panel, atlas, at_epoch, looks, bands, _LABEL["frontier"])
        panel.set_title(f"{at_epoch} epoch", fontsize=8)
    panels[0].set_ylabel("greatest depth that trains")
    titled(figure, f"{atlas.title}: the frontier")
    told = f" Grey: {len(others)} others." if others else ""
    _caption(figure, atlas, ("last", "best"), shown, told)
    return figure


def families_figure(atlas: Atlas) -> Figure:
    """The same at the last epoch, a panel a family and every method with a line of its own."""
    found = families(atlas)
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = ReportFigure(figsize=(4.1 * columns, 0.8 + 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"hspace": 0.04})
    for panel, (name, methods) in zip(panels.flat, found.items(), strict=False):
        looks = {method: _look(place) for place, method in enumerate(methods)}
        bands = _bands(atlas.grid, methods, ("last",))
        _lines(panel, atlas, "last", looks, bands, _LABEL["families"])
        panel.set_title(name, fontsize=8)
    for panel in panels.flat[len(found) :]:
        panel.set_visible(False)
    for panel in panels[:, 0]:
        panel.set_ylabel("greatest depth that trains")
    titled(figure, f"{atlas.title}: the frontier at the last epoch")
    _caption(figure, atlas, ("last",), atlas.grid.methods, "")
    return figure


def _bands(grid: FigureGrid, methods: Sequence[str], moments: Sequence[str]) -> _Bands:
    return _Bands(grid.depths[-1], len(methods), any(map(_is_missing, _points(grid, methods, moments))))


def _points(grid: FigureGrid, methods: Sequence[str], moments: Sequence[str]) -> list[FrontierPoint]:
    """All points of these methods' frontiers."""
    found = (frontier(grid, at_epoch, method, start="first") for at_epoch in moments for method in methods)
    return [point for each in found for point in each.points]


def _look(place: int) -> Look:
    colour, marker = (of[place % len(of)] for of in (_MORE_COLOURS, _MARKERS))
    return Look(colour, "--" if place >= len(_MORE_COLOURS) else "-", 1.0, 3, marker)


def _lines(
    panel: Axes, atlas: Atlas, at_epoch: str, looks: Mapping[str, Look], bands: _Bands, label_size: float
) -> None:
    """These methods' lines, each with its name at its end, on the axes of widths and depths."""
    grid, ends = atlas.grid, []
    for place, (method, look) in enumerate(looks.items()):
        heights = bands.heights(place)
        end = _line(panel, grid, method, at_epoch, look, heights)
        points = frontier(grid, at_epoch, method, start="first").points
        lost = [point for point in points if _is_missing(point)]
        for point in points:
            _spread_of(panel, grid, method, point, look.colour, heights)
        if lost:
            at = [grid.widths.index(point.width) + heights.shift for point in lost]
            marks: dict[str, Any] = {"ls": "none", "marker": "x", "markersize": 4, "color": look.colour, "zorder": 4}
            panel.plot(at, [bands.missing] * len(at), gid=f"missing {method}", **marks)
        ends.append(end or (len(grid.widths) - 1.0, bands.missing))
    _axes(panel, grid, bands)
    _names(panel, atlas, looks, ends, label_size)


def _line(
    panel: Axes, grid: FigureGrid, method: str, at_epoch: str, look: Look, heights: _Heights
) -> tuple[float, float] | None:
    """One method's line, with a gap at each width without a known frontier; its last point, None without any."""
    ys = np.full(len(grid.widths), np.nan)
    for point in frontier(grid, at_epoch, method, start="first").points:
        if not _is_missing(point):
            ys[grid.widths.index(point.width)] = heights.of(point.depth or 0)
    xs = np.arange(len(ys)) + heights.shift
    panel.plot(xs, ys, gid=method, **look.line, **look.points)
    known = np.flatnonzero(~np.isnan(ys))
    return (float(xs[known[-1]]), float(ys[known[-1]])) if len(known) else None


def _is_missing(point: FrontierPoint) -> bool:
    """Whether a depth that would decide is not in the store: that is no failure."""
    return point.depth is None and point.is_cut


def _is_at_least(point: FrontierPoint, deepest: int) -> bool:
    """Whether the store ends before the grid does, with no failing depth before."""
    return point.is_open and point.depth is not None and point.depth < deepest


def _spread_of(
    panel: Axes, grid: FigureGrid, method: str, point: FrontierPoint, colour: str, heights: _Heights
) -> None:
    """The interval, without one the seeds' own frontiers, and an arrow where no deeper network is in the store."""
    at = grid.widths.index(point.width) + heights.shift
    if point.low is not None and point.high is not None:
        if point.high > point.low:
            ends = heights.of(point.low), heights.of(point.high)
            panel.plot([at, at], ends, color=colour, lw=2.2, alpha=0.35, zorder=2, gid=f"interval {method}")
    elif len(point.each) > 1 and not _is_missing(point):
        own = [heights.of(depth) for depth in point.each]
        dots: dict[str, Any] = {"ls": "none", "marker": ".", "markersize": 2.4, "alpha": 0.6, "zorder": 2}
        panel.plot([at] * len(own), own, color=colour, gid=f"seeds {method}", **dots)
    if _is_at_least(point, heights.deepest):
        tip = (point.depth or 0) + 0.08 * heights.deepest
        gid = f"open {method}"
        panel.annotate("", (at, tip), (at, point.depth or 0), arrowprops={**_ARROW, "color": colour}, gid=gid, zorder=4)


def _axes(panel: Axes, grid: FigureGrid, bands: _Bands) -> None:
    """Widths at equal distances; depths, with the bands in grey."""
    deepest, width = bands.deepest, bands.width
    middle = (width + _GAP * deepest) / 2
    named = [(-middle, "none"), (deepest + middle, f"{deepest}+")]
    low, top = -width - _GAP * deepest, deepest + width + _GAP * deepest
    for start in (low, deepest + _GAP * deepest / 2):
        panel.axhspan(start, start + width + _GAP * deepest / 2, color="0.955", lw=0, zorder=0)
    if bands.has_missing:
        named.append((bands.missing, "missing"))
        low = bands.missing - 1.5 * _GAP * deepest
    named += [
        (tick, f"{tick:g}") for tick in MaxNLocator(6, integer=True).tick_values(0, deepest) if 0 < tick < deepest
    ]
    panel.set_yticks([place for place, _ in named], [text for _, text in named], fontsize=7)
    panel.set_ylim(low, top)
    panel.set_xticks(range(len(grid.widths)), [str(width) for width in grid.widths], fontsize=7)
    panel.set_xlabel("width", labelpad=1)
    panel.set_xlim(-0.4, len(grid.widths) - 0.6)
    panel.grid(color="0.92", lw=0.5)
    panel.set_axisbelow(True)
    panel.tick_params(length=2, width=0.6, pad=2)


def _names(
    panel: Axes, atlas: Atlas, looks: Mapping[str, Look], ends: Sequence[tuple[float, float]], size: float
) -> None:
    """Every line's name, to the right of the panel, as near its end as the others allow, tied to it."""
    titles = dict(zip(atlas.grid.methods, atlas.grid.method_titles, strict=True))
    low, high = panel.get_ylim()
    # of the axis: what a line of letters takes in a panel of about two inches
    gap = min(size * 1.25 / 72 / 2.0, 1 / len(looks)) * (high - low)
    placed = spread_out([y for _, y in ends], gap, low + gap / 2, high - gap / 2)
    edge = len(atlas.grid.widths) - 0.6
    beside = 0.06 * len(atlas.grid.widths)
    for (method, look), (x, y), at in zip(looks.items(), ends, placed, strict=True):
        tie: dict[str, Any] = {"color": look.colour, "lw": 0.5, "alpha": 0.8, "clip_on": False, "zorder": 2}
        panel.plot([x, edge, edge + beside], [y, y, at], gid=f"tie {method}", **tie)
        mark: dict[str, Any] = {**look.points, "color": look.colour, "clip_on": False, "ls": "none"}
        panel.plot([edge + beside], [at], gid=f"mark {method}", **mark)
        panel.text(edge + 1.7 * beside, at, titles[method], fontsize=size, va="center", gid=f"name {method}")
    panel.set_xlim(-0.4, edge)
    panel.set_ylim(low, high)


def spread_out(places: Sequence[float], gap: float, low: float, high: float) -> Floats:
    """Places between `low` and `high`, each two at least `gap` apart, in the given order, moved little.

    Equal ones stand with the first highest. The room must do: (count − 1) · gap at most.
    """
    order = np.lexsort((-np.arange(len(places)), np.asarray(places)))  # from below
    steps = gap * np.arange(len(places))
    # without the steps the places must not fall: the least squares of that pool those that do
    blocks: list[list[float]] = []
    for value in np.asarray(places, np.float64)[order] - steps:
        blocks.append([float(value)])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    found = np.empty(len(places))
    found[order] = np.clip(level, low, high - gap * (len(places) - 1)) + steps
    return found


def _caption(figure: Figure, atlas: Atlas, moments: Sequence[str], methods: Sequence[str], more: str) -> None:
    """What a frontier is, and what else is drawn, below the panels."""
    grid = atlas.grid
    every = _points(grid, methods, moments)
    text = (
        "Frontier: the depth up to which at least half of the seeds train, counted from the first depth at which they "
        f"do; {threshold_of(grid)}. Upper band: the grid's end or deeper; lower band: no depth."
    )
    if any(point.low is not None for point in every):
        text += " Bars: 95 % intervals, whole seeds resampled."
    if any(point.low is None and len(point.each) > 1 for point in every):
        text += f" Dots: the seeds' own frontiers, where fewer than {LEAST_FOR_BOOTSTRAP} are too few for an interval."
    if all(len(point.each) < 2 for point in every):
        text += " One seed: no intervals."
    if any(_is_at_least(point, grid.depths[-1]) for point in every):
        text += " Arrows: at least; the next deeper one is not in the store."
    if any(map(_is_missing, every)):
        text += " Missing: a depth that would decide is not in the store."
    if len(every) < len(moments) * len(methods) * len(grid.widths):
        text += " No point: no network of that width is in the store."
    lines = wrapped(text + more, figure.get_figwidth() - 0.3, _CAPTION, 0.52)
    figure.supxlabel("\n".join(lines), fontsize=_CAPTION, x=0.01, ha="left")
