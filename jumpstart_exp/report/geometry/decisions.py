"""What a network decides over a plane: its units, and its classes with their soft boundary."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray
from torch import Tensor

from jumpstart_exp.geometry.decisions import Model, SoftBoundary, decided_classes, soft_boundary, unit_activations
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.worked import CONFIDENCE
from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.inside.style import (
    CLASS_COLOURS,
    NORMAL,
    SMALL,
    SURFACE,
    TICKS,
    bare,
    new_figure,
    scatter_classes,
)

Array = NDArray[np.float64]

MOST_UNITS = 8
"""Panels in a row of units."""

_RESOLUTION = 200
_TITLE_INCHES, _LETTERS_INCHES = 0.2, 0.34


def units_figure(model: Model, plane: Plane, width_inches: float, layers: Sequence[int] | None = None) -> Figure:
    """The activation of every unit over the plane, a row a layer, the outputs last (Geometry, figure 10).

    Colours go from the smallest to the largest activation of a unit, white in the middle; the line is at 0, dashed at
    half of its range where it is nowhere below 0. Of a wider layer the first units are shown, and the title says so.

    Args:
        model: any torch model.
        plane: its inputs.
        width_inches: of the figure.
        layers: which layers, from 1; None for all.

    Raises:
        ValueError: the figure is too narrow, or there is no such layer.
        SettingError: outputs are not finite.
    """
    figure = new_figure(width_inches)
    found = unit_activations(model, plane, _RESOLUTION)
    units = found.groupby("layer")["unit"].max()
    shown = [*units.index] if layers is None else [*layers]
    if unknown := [layer for layer in shown if layer not in units.index]:
        raise ValueError(f"layer {unknown[0]} is not there: from 1 to {len(units)}")
    across = min(MOST_UNITS, max(int(units[layer]) for layer in shown))
    panel = width_inches / across * _height(plane)
    figure.set_figheight(len(shown) * (panel + _TITLE_INCHES))
    axes = figure.subplots(len(shown), across, squeeze=False)
    for row, layer in zip(axes, shown, strict=True):
        values = found.loc[found["layer"] == layer, "activation"].to_numpy().reshape(-1, _RESOLUTION, _RESOLUTION)
        for ax, unit in zip(row, values, strict=False):
            _draw_unit(ax, unit, plane)
        for ax in row[len(values) :]:
            ax.set_axis_off()
        what = "outputs" if layer == units.index[-1] else f"layer {layer}"
        told = f"{what}, the first {across} of {len(values)}" * (len(values) > across) or what
        row[0].set_title(told, fontsize=NORMAL, pad=3, loc="left")
    return figure


def soft_boundary_figure(
    model: Model,
    plane: Plane,
    width_inches: float,
    *,
    outputs: str = "logits",
    points: Tensor | None = None,
    classes: Tensor | None = None,
) -> Figure:
    """Classes in their colours, paler where the network is less sure; their boundary, and the band's ends dashed.

    The title has the band's share of the plane, the boundary's length and the mean width; beside it the boundary's
    local widths.

    Args:
        model: any torch model.
        plane: its inputs.
        width_inches: of the figure.
        outputs: what the model gives, logits or confidence.
        points: coordinates (points, 2) on the plane, drawn by their classes; None for none.
        classes: of the points, (points,).

    Raises:
        ValueError: the figure is too narrow, or points come without classes.
        SettingError: the outputs are not finite, or not as told.
    """
    if (points is None) != (classes is None):
        raise ValueError("points and classes come together")
    figure = new_figure(width_inches)
    figure.set_figheight(width_inches / 2 * _height(plane) + 2 * _TITLE_INCHES + _LETTERS_INCHES)
    left, right = figure.subplots(1, 2)
    found = soft_boundary(model, plane, 2 * _RESOLUTION, outputs)
    decided, confidence = decided_classes(model, plane, 2 * _RESOLUTION, outputs)
    colours = np.array([to_rgb(CLASS_COLOURS[label % len(CLASS_COLOURS)]) for label in range(decided.max() + 1)])
    # no paler than the surfaces of the other figures
    strength = 0.7 * confidence[..., None]
    extent = _extent(plane)
    left.imshow(1 - strength * (1 - colours[decided]), extent=extent, origin="lower", interpolation="nearest")
    if confidence.min() < CONFIDENCE < confidence.max():
        left.contour(confidence, [CONFIDENCE], extent=extent, colors="0.25", linewidths=0.5, linestyles="dashed")
    for line in found.lines:
        left.plot(*line.T, color="black", linewidth=0.8, gid="boundary")
    if points is not None and classes is not None:
        scatter_classes(left, points.double().numpy(), classes.numpy(), 3, zorder=3)
    left.set(xlim=extent[:2], ylim=extent[2:])
    bare(left)
    left.set_title(_told(found), fontsize=NORMAL, pad=3)
    _draw_widths(right, found)
    return figure


def _draw_unit(ax: Axes, values: Array, plane: Plane) -> None:
    low, high = float(values.min()), float(values.max())
    ax.imshow(
        values, extent=_extent(plane), origin="lower", cmap=SURFACE, vmin=low, vmax=high if high > low else low + 1
    )
    if low < 0 < high:
        ax.contour(values, [0.0], extent=_extent(plane), colors="black", linewidths=0.5)
    elif low < high:
        ax.contour(values, [(low + high) / 2], extent=_extent(plane), colors="0.3", linewidths=0.4, linestyles="dashed")
    bare(ax)


def _draw_widths(ax: Axes, found: SoftBoundary) -> None:
    """The share of the boundary that is no wider, over the local width."""
    widths = found.widths["width"].to_numpy()
    finite = np.isfinite(widths)
    if finite.any():
        order = widths[finite].argsort()
        lengths = np.concatenate([_lengths(line) for line in found.lines])
        ax.step(
            widths[finite][order],
            lengths[finite][order].cumsum() / lengths.sum(),
            where="post",
            color="black",
            linewidth=0.9,
        )
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda width, _: f"{width:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set(ylim=(0, 1))
    ax.set_title("boundary no wider, share of its length", fontsize=NORMAL, pad=3)
    ax.set_xlabel("local width", fontsize=SMALL, labelpad=1)
    ax.tick_params(**TICKS)
    ax.spines[:].set_linewidth(0.4)


def _lengths(line: Array) -> Array:
    segments = np.hypot(*np.diff(line, axis=0).T)
    return np.asarray((np.append(segments, 0) + np.append(0, segments)) / 2)


def _told(found: SoftBoundary) -> str:
    """The band in words."""
    lines = counted(len(found.lines), "line")
    if not found.lines:
        return f"unsure: {found.share:.1%} of the plane; no boundary"
    return (
        f"unsure: {found.share:.1%} of the plane\n{lines}, length {found.length:.3g}, mean width {found.mean_width:.2g}"
    )


def _extent(plane: Plane) -> tuple[float, float, float, float]:
    return plane.low[0], plane.high[0], plane.low[1], plane.high[1]


def _height(plane: Plane) -> float:
    """Of the plane by its width."""
    return (plane.high[1] - plane.low[1]) / (plane.high[0] - plane.low[0])
