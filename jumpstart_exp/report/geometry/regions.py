"""The linear regions of networks on a plane, a panel a network."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jumpstart_exp.geometry import Regions
from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.inside.style import NORMAL, SMALL, TICKS, bare, new_figure, scatter_classes
from jumpstart_exp.settings import setting_error

Array = NDArray[np.float64]

COLOURINGS = ("layer", "region")
"""Cells by the layer that cut them last, or by their linear region."""

_ACROSS = 4
_TITLE_INCHES, _ABOVE_INCHES, _BESIDE_INCHES = 0.36, 0.3, 0.42
_LINES_UP_TO = 3000
_REGION_COLOURS = ListedColormap(list(colormaps["Pastel1"].colors))  # type: ignore[attr-defined]


def regions_figure(
    networks: Sequence[tuple[str, Regions]],
    width_inches: float,
    *,
    colouring: str = "layer",
    points: tuple[Array, NDArray[np.int64]] | None = None,
) -> Figure:
    """The cells of each network on its plane, with the boundary between its classes.

    A panel's title has the numbers of cells and of linear regions. Up to 3,000 cells their edges are drawn.

    Args:
        networks: a title and the regions of each.
        width_inches: of the figure.
        colouring: "layer", how deep the layer is that cut a cell last, or "region".
        points: coordinates in the plane, (points, 2), and their classes.

    Raises:
        SettingError: there is no such colouring.
        ValueError: no networks, or the figure is too narrow.
    """
    if colouring not in COLOURINGS:
        raise setting_error("colouring", colouring, " or ".join(COLOURINGS))
    if not networks:
        raise ValueError("a figure of regions takes one network or more")
    figure = new_figure(width_inches)
    across = min(len(networks), _ACROSS)
    down = -(-len(networks) // across)
    (left, lower), (right, upper) = networks[0][1].plane.low, networks[0][1].plane.high
    panel = (width_inches - _BESIDE_INCHES) / across * min((upper - lower) / (right - left), 2.0)
    figure.set_figheight(down * (panel + _TITLE_INCHES) + _ABOVE_INCHES)
    axes = np.ravel(figure.subplots(down, across, squeeze=False))
    deepest = max(1, *(int(found.layer.max()) for _, found in networks))
    for ax, (title, found) in zip(axes, networks, strict=False):
        cells = _draw(ax, title, found, colouring, deepest)
        if points is not None:
            scatter_classes(ax, *points, 1.8, zorder=3)
    for ax in axes[len(networks) :]:
        ax.set_axis_off()
    if colouring == "layer":
        bar = figure.colorbar(cells, ax=axes.tolist(), aspect=20 * down, pad=0.01, ticks=MaxNLocator(integer=True))
        bar.set_label("layer that cut the cell last", fontsize=SMALL)
        bar.ax.tick_params(**TICKS)
        bar.outline.set_linewidth(0.4)
    what = "the layer that cut them last" if colouring == "layer" else "their linear region"
    figure.suptitle(f"cells by {what} · black: boundary between classes", fontsize=NORMAL)
    return figure


def _draw(ax: Axes, title: str, found: Regions, colouring: str, deepest: int) -> PolyCollection:
    cells = PolyCollection([found.vertices[cell] for cell in found.cells], rasterized=True)
    if colouring == "layer":
        cells.set(array=found.layer, cmap="YlGnBu", norm=Normalize(0, deepest))
    else:
        cells.set(array=found.region % _REGION_COLOURS.N, cmap=_REGION_COLOURS)
    if found.cell_count <= _LINES_UP_TO:
        cells.set(edgecolor="#555555", linewidth=0.15)
    else:
        cells.set(edgecolor="face", linewidth=0.05)
    ax.add_collection(cells)
    ax.add_collection(LineCollection(list(boundary(found)), colors="black", linewidths=0.8, zorder=2))
    (left, lower), (right, upper) = found.plane.low, found.plane.high
    ax.set(xlim=(left, right), ylim=(lower, upper), aspect="equal")
    counts = f"{counted(found.cell_count, 'cell')}\n{counted(found.region_count, 'linear region')}"
    ax.set_title(f"{title}\n{counts}", fontsize=SMALL, pad=2)
    bare(ax)
    return cells


def boundary(found: Regions) -> Iterator[Array]:
    """The boundary between classes, a straight piece (2, 2) a cell and pair of classes.

    Of one output where it is 0; of several where two are equal and no other is larger.
    """
    outputs = found.outputs
    if outputs.shape[1] == 1:
        outputs = np.concatenate([outputs, np.zeros_like(outputs)], 1)
    winners = outputs.argmax(1)
    for cell in found.cells:
        classes = np.unique(winners[cell])
        if len(classes) > 1:
            for one, other in combinations(range(outputs.shape[1]) if len(classes) > 2 else classes.tolist(), 2):
                yield from _equal(found.vertices[cell], outputs[cell], one, other)


def _equal(corners: Array, outputs: Array, one: int, other: int) -> Iterator[Array]:
    """Where two outputs are equal within a cell and above all others, as the outputs are affine there."""
    margin = outputs[:, one] - outputs[:, other]
    ends = []
    for at, low in enumerate(margin):
        high = margin[at - 1]
        if low * high < 0:
            share = low / (low - high)
            ends.append(np.concatenate([(1 - share) * each[at] + share * each[at - 1] for each in (corners, outputs)]))
    if len(ends) != 2:
        return
    start, end = ends
    above = [each[2 + one] - np.delete(each[2:], [one, other]) for each in (start, end)]
    first, last = 0.0, 1.0
    for low, high in zip(*above, strict=True):
        if low < 0 and high < 0:
            return
        if low < 0:
            first = max(first, low / (low - high))
        elif high < 0:
            last = min(last, low / (low - high))
    if first < last:
        yield np.stack([start[:2] + share * (end[:2] - start[:2]) for share in (first, last)])
