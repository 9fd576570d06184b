"""Where gradients live over the inputs, and how noisy they are when sampled (Geometry, figures 10, 11, 12, 17, 18)."""

import math
from collections.abc import Mapping, Sequence
from string import ascii_lowercase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor, nn

from jumpstart_exp.geometry.bounds import partial_backpropagation
from jumpstart_exp.geometry.gradients import Classes, GradientField, backpropagation, gradient_field
from jumpstart_exp.geometry.layered import example_classes, example_network
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.variation import (
    exact_variation,
    fitted_variation,
    gradient_variation,
    strip_network,
    strip_sampler,
)
from jumpstart_exp.report.figures.colour_maps import rocket_r
from jumpstart_exp.report.figures.drawing import label_powers
from jumpstart_exp.report.inside.style import CLASS_COLOURS, NORMAL, SMALL, SURFACE, TICKS, bare, new_figure

Array = NDArray[np.float64]

_RESOLUTION = 300
_TITLE_INCHES, _TWO_LINES_INCHES, _BESIDE_INCHES, _ABOVE_INCHES = 0.2, 0.31, 0.42, 0.2
_GAMMAS = (1, 2, 3)
_THRESHOLDS = (0.05, 0.01)
_MOST_LAYERS = 5

_SIZES = (25, 50, 100, 200, 400, 800, 1600, 3200)
_WEIGHTS = (1, 4, 16, 49, 100)
_ALL_WEIGHTS = (1, 2, 4, 9, 16, 25, 36, 49, 64, 81, 100)
_DRAWS = 150
_PAPER_SCALE = 1.1


_NORMS = {"frobenius": "2-norms, equation 14", "maximum": "entries, equation 15"}
"""What is bounded in figure 17."""


def _low(number: int) -> str:
    """A small number as an index: the report draws no formulas."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _choices(extent: float) -> str:
    """What the paper leaves open."""
    return f"on [−{extent:g}, {extent:g}]², classes by the quadrants"


def example_forward_figure(width_inches: float, extent: float = 5.0) -> Figure:
    """Classes, outputs of every unit, and probabilities of the network of equation 8 (figure 10).

    On [−extent, extent]²; the paper does not say the extent. Classes are those of `example_classes`. In the last two
    panels the dashed lines are the wanted boundaries, the line is where both classes are equally probable.

    Raises:
        ValueError: the figure is too narrow.
        SettingError: the extent is not above 0.
    """
    plane, figure = Plane.square(extent), new_figure(width_inches)
    points = plane.grid(_RESOLUTION)
    passed = backpropagation(example_network(), points, example_classes)
    classes = 1.0 - 2.0 * example_classes(points).double()
    probabilities = passed.outputs.softmax(1)
    panels = [("classes", classes, (-1, 1))]
    for layer, outputs in enumerate(passed.inputs[1:], 1):
        panels += [(f"[x{_low(layer)}]{_low(unit + 1)}", values, (-1, 1)) for unit, values in enumerate(outputs.T)]
    panels += [(f"[μ(v₃)]{_low(unit + 1)}", values, (0, 1)) for unit, values in enumerate(probabilities.T)]
    axes = _panels(figure, width_inches - _BESIDE_INCHES, 2, 5, _TITLE_INCHES)
    for letter, ax, (title, values, (low, high)) in zip(ascii_lowercase, axes, panels, strict=False):
        image = _surface(ax, plane, values)
        image.set(cmap=SURFACE, clim=(low, high))
        ax.set_title(f"({letter}) {title}", fontsize=NORMAL, pad=2)
        if low == 0:
            ax.contour(_grid(values), levels=[0.5], extent=_extent(plane), colors="black", linewidths=0.6)
            ax.axhline(0, color="black", linewidth=0.5, linestyle="--")
            ax.axvline(0, color="black", linewidth=0.5, linestyle="--")
    axes[-1].set_axis_off()
    bar = figure.colorbar(axes[1].images[0], ax=axes.tolist(), aspect=30, pad=0.01, ticks=[-1, 0, 1])
    bar.set_ticklabels(["−1, p = 0", "0, p = ½", "1, p = 1"])
    bar.ax.tick_params(**TICKS)
    bar.outline.set_linewidth(0.4)
    figure.suptitle(_choices(extent))
    return figure


def backpropagation_figure(width_inches: float, extent: float = 5.0) -> Figure:
    """How the error of the network of equation 8 is propagated back (figure 11); all values are absolute.

    A row a layer: what arrives, what it is multiplied with, and what comes out. Each panel has its own scale from 0 to
    its greatest value, which its title says. On [−extent, extent]², with the classes of `example_classes`.

    Raises:
        ValueError: the figure is too narrow.
        SettingError: the extent is not above 0.
    """
    plane, figure = Plane.square(extent), new_figure(width_inches)
    points = plane.grid(_RESOLUTION)
    passed = backpropagation(example_network(), points, example_classes)
    y, z, x, masks = passed.y, passed.z, passed.inputs, passed.masks
    panels = [
        ("|[y₃]₁|", y[2][:, 0]),
        ("|[x₂]₂|", x[2][:, 1]),
        ("|∂f/∂[A₃]₁,₂|", passed.weight_gradient(3)[:, 0, 1]),
        ("|[z₃]₂|", z[1][:, 1]),
        ("σ₃′([v₂]₂)", masks[1][:, 1]),
        ("|[y₂]₂|", y[1][:, 1]),
        ("|[x₁]₁|", x[1][:, 0]),
        ("|∂f/∂[A₂]₂,₁|", passed.weight_gradient(2)[:, 1, 0]),
        ("|[z₂]₁|", z[0][:, 0]),
        ("σ₃′([v₁]₁)", masks[0][:, 0]),
        ("|[y₁]₁|", y[0][:, 0]),
        ("|∂f/∂[A₁]₁,₁|", passed.weight_gradient(1)[:, 0, 0]),
    ]
    axes = _panels(figure, width_inches, 3, 4, _TWO_LINES_INCHES)
    for letter, ax, (title, values) in zip(ascii_lowercase, axes, panels, strict=False):
        largest = float(values.abs().max())
        _surface(ax, plane, values.abs()).set(cmap=rocket_r, clim=(0, largest))
        ax.set_title(f"({letter}) {title}\n≤ {_number(largest)}", fontsize=NORMAL, pad=2)
    figure.suptitle(_choices(extent))
    return figure


def gradient_field_figure(width_inches: float, extent: float = 5.0) -> Figure:
    """The greatest |∂f/∂A_k| over the plane for the network of equation 8, scaled by γ = 1, 2, 3 (figure 12).

    A row a γ, a column a layer; each panel has its own scale from 0. Titles: the greatest value, and the least share of
    the plane with 90 % of the sum of max |∂f/∂A_k|. On [−extent, extent]², classes of `example_classes`.

    Raises:
        ValueError: the figure is too narrow.
        SettingError: the extent is not above 0.
    """
    plane, figure = Plane.square(extent), new_figure(width_inches)
    fields = {
        f"γ = {gamma}": gradient_field(example_network().scaled(gamma), plane, example_classes, across=_RESOLUTION)
        for gamma in _GAMMAS
    }
    axes = _panels(figure, width_inches - _BESIDE_INCHES / 2, len(fields), 3, _TWO_LINES_INCHES)
    _draw_fields(axes.reshape(len(fields), 3), plane, fields, (1, 2, 3))
    figure.suptitle(f"max |∂f/∂A| of each layer, dark where large, {_choices(extent)}")
    return figure


def trained_field_figure(
    networks: Mapping[str, nn.Module],
    plane: Plane,
    classes: Classes,
    width_inches: float,
    layers: Sequence[int] | None = None,
) -> Figure:
    """The greatest |∂f/∂A_k| of given networks over a plane, and how it localises over the depth (as figure 12).

    A row a network, a column a layer, each panel with its own scale from 0; below, over the layers, the least share of
    the plane with 90 % of the sum of max |∂f/∂A_k|, and its greatest value. Where the gradient is 0 all over the plane
    there is no share, and no point on a curve.

    Args:
        networks: torch models of logits, by the names that are shown; all of the same number of layers.
        plane: of their inputs.
        classes: of the plane's grid of 300 × 300 points or, rather, a function of the inputs.
        width_inches: of the figure.
        layers: which to show as panels, from 1, at most five; None for five from the first to the last.

    Raises:
        ValueError: the figure is too narrow, there is no network, they differ in depth, or there is no such layer.
        SettingError: a network has no field.
    """
    figure = new_figure(width_inches)
    fields = {name: gradient_field(network, plane, classes, across=_RESOLUTION) for name, network in networks.items()}
    depths = {len(field.layers) for field in fields.values()}
    if len(depths) != 1:
        raise ValueError(f"networks of {sorted(depths)} layers: a figure takes one or more of one depth")
    (depth,) = depths
    shown = _spread(depth) if layers is None else tuple(layers)
    if not 0 < len(shown) <= _MOST_LAYERS or any(not 1 <= layer <= depth for layer in shown):
        raise ValueError(f"layers={shown} is not allowed: it must be 1 to {_MOST_LAYERS} of 1 to {depth}")
    (left, lower), (right, upper) = plane.low, plane.high
    panel = (width_inches - _BESIDE_INCHES / 2) / len(shown)
    fields_inches = len(fields) * (panel * (upper - lower) / (right - left) + _TWO_LINES_INCHES)
    curves_inches = 0.32 * width_inches + _ABOVE_INCHES
    figure.set_figheight(fields_inches + curves_inches)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[fields_inches, curves_inches])[:, 0]
    _draw_fields(above.subplots(len(fields), len(shown), squeeze=False), plane, fields, shown)
    share, largest = below.subplots(1, 2)
    for number, (name, field) in enumerate(fields.items()):
        found = field.localisation()
        for ax, values in ((share, 100 * found.localisation), (largest, found.maximum)):
            style = {"color": CLASS_COLOURS[number % len(CLASS_COLOURS)], "linewidth": 0.8}
            ax.plot(found.layer, values.where(values > 0), marker=".", markersize=2, label=name, **style)
    share.set(ylim=(0, 100), ylabel="% of the plane with 90 % of it")
    largest.set(yscale="log", ylabel="greatest max |∂f/∂A|")
    label_powers(largest.yaxis)
    for ax in (share, largest):
        _letters(ax)
        ax.set_xlabel("layer", fontsize=SMALL)
    share.legend(fontsize=SMALL, frameon=False)
    return figure


def partial_figure(width_inches: float, extent: float = 5.0) -> Figure:
    """Where backpropagation reaches layer 2, and layer 1, by the bounds of equations 14 and 15 (figure 17).

    The network of equation 8, scaled by γ = 1, 2, 3; thresholds 0.05 for layer 1 and 0.01 for layer 2. The upper row
    bounds ‖∂f/∂A_k‖_F and ‖∂f/∂b_k‖₂ by equation 14, the lower one every entry by equation 15. Titles: the shares of
    the plane from which the error reaches layer 2 and layer 1. On [−extent, extent]², classes of `example_classes`.

    Raises:
        ValueError: the figure is too narrow.
        SettingError: the extent is not above 0.
    """
    plane, figure = Plane.square(extent), new_figure(width_inches)
    points = plane.grid(_RESOLUTION)
    axes = _panels(figure, width_inches - _BESIDE_INCHES / 2, 2, len(_GAMMAS), _TITLE_INCHES).reshape(2, -1)
    for row, norm in zip(axes, _NORMS, strict=True):
        for ax, gamma in zip(row, _GAMMAS, strict=True):
            found = partial_backpropagation(example_network().scaled(gamma), points, example_classes, _THRESHOLDS, norm)
            shares = found.frame().set_index("layer")["share"]
            steps = (found.reached <= 2).double() + (found.reached <= 1).double()
            _surface(ax, plane, steps).set(cmap="Blues", clim=(0, 2.4))
            ax.set_title(f"γ = {gamma}: {shares[2]:.1%}, {shares[1]:.1%}", fontsize=SMALL, pad=2)
        row[0].set_ylabel(_NORMS[norm], fontsize=NORMAL)
    figure.suptitle(f"reaching layer 2 (light), layer 1 (dark), {_choices(extent)}")
    return figure


def variation_figure(width_inches: float, extent: float = 3.0) -> Figure:
    """Coefficient of variation of the sampled gradient against batch size and weight (figure 18).

    Of [A_1]_1 of one unit on [−extent, extent] × [−1, 1] (section 5.1.1), classes by the sign of the first input, w the
    norm of A_1, σ_1. Left: sampled, 150 batches a point, with the fits c(w)/√N. Right: c(w) of 3,200 × 25 points of a
    grid without sampling, its fit k·√w, and the paper's 1.1·√w. The paper's two sections name the extents 3 and 6.

    Raises:
        ValueError: the figure is too narrow.
        SettingError: the extent is not above 0.
    """
    points, figure = Plane.rectangle((-extent, -1.0), (extent, 1.0)).grid(3200, 25), new_figure(width_inches)
    figure.set_figheight(0.42 * width_inches)
    left, right = figure.subplots(1, 2)
    entries, part = {"weights.0": [(0, 0)]}, "weights.0[0, 0]"
    sizes = np.array(_SIZES, dtype=float)
    for colour, weight in zip(CLASS_COLOURS, _WEIGHTS, strict=False):
        sampled = gradient_variation(
            strip_network(weight), strip_sampler(extent), _SIZES, draws=_DRAWS, entries=entries, seed=weight
        )
        sampled = sampled[sampled.part == part]
        c = float(fitted_variation(sampled).c[0])
        left.plot(sampled["size"], sampled.variation, ".", color=colour, markersize=3, label=f"w = {weight}")
        left.plot(sizes, c / np.sqrt(sizes), "--", color=colour, linewidth=0.7)
    weights = np.array(_ALL_WEIGHTS, dtype=float)
    constants = np.array(
        [
            exact_variation(strip_network(weight), points, (points[:, 0] < 0).long(), entries=entries, chunk=20_000)
            .set_index("part")
            .c[part]
            for weight in weights
        ]
    )
    scale = math.exp(float(np.mean(np.log(constants / np.sqrt(weights)))))
    right.plot(weights, constants, ".", color="black", markersize=3, label="c(w)")
    right.plot(weights, scale * np.sqrt(weights), "--", color="black", linewidth=0.7, label=f"{scale:.2f}·√w")
    right.plot(weights, _PAPER_SCALE * np.sqrt(weights), color=CLASS_COLOURS[1], linewidth=0.7, label="1.1·√w (paper)")
    left.set(xscale="log", yscale="log", xlabel="points a batch, N", ylabel="coefficient of variation")
    right.set(xlabel="w, the norm of A₁", ylabel="c(w)", xlim=(0, None), ylim=(0, None))
    label_powers(left.xaxis)
    label_powers(left.yaxis)
    for letter, ax in zip("ab", (left, right), strict=True):
        _letters(ax)
        ax.set_title(f"({letter})", fontsize=NORMAL, pad=2)
        ax.legend(fontsize=SMALL, frameon=False)
    figure.suptitle(f"on [−{extent:g}, {extent:g}] × [−1, 1], component [A₁]₁, {_DRAWS} batches a point")
    return figure


def _draw_fields(
    axes: NDArray[np.object_], plane: Plane, fields: Mapping[str, GradientField], layers: Sequence[int]
) -> None:
    """The greatest |∂f/∂A_k|: a row a field, a column a layer, from 1."""
    for row, (name, field) in zip(axes, fields.items(), strict=True):
        found = field.localisation()
        for ax, layer in zip(row, layers, strict=True):
            largest, share = (found[column].to_numpy()[layer - 1] for column in ("maximum", "localisation"))
            _surface(ax, plane, field.maximum[layer - 1]).set(cmap=rocket_r, clim=(0, largest if largest > 0 else 1))
            told = "0 everywhere" if largest == 0 else f"90 % in {100 * share:.1f} %"
            ax.set_title(f"layer {layer}, ≤ {_number(largest)}\n{told}", fontsize=SMALL, pad=2)
        row[0].set_ylabel(name, fontsize=NORMAL)


def _panels(figure: Figure, width_inches: float, down: int, across: int, title_inches: float) -> NDArray[np.object_]:
    """Square panels, row by row; sets the figure's height."""
    figure.set_figheight(down * (width_inches / across + title_inches))
    return np.ravel(figure.subplots(down, across, squeeze=False))


def _surface(ax: Axes, plane: Plane, values: Tensor) -> AxesImage:
    image = ax.imshow(_grid(values), extent=_extent(plane), origin="lower", aspect="equal", interpolation="nearest")
    bare(ax)
    return image


def _grid(values: Tensor) -> Array:
    """(points,) of a plane's grid as (down, across)."""
    found: Array = values.numpy().reshape(_RESOLUTION, _RESOLUTION)
    return found


def _extent(plane: Plane) -> tuple[float, float, float, float]:
    (left, lower), (right, upper) = plane.low, plane.high
    return left, right, lower, upper


def _number(value: float) -> str:
    """Three digits, of small numbers as a power of ten."""
    return f"{value:.3g}" if value == 0 or 0.001 <= value < 10_000 else f"{value:.1e}"


def _spread(depth: int) -> tuple[int, ...]:
    count = min(_MOST_LAYERS, depth)
    return tuple(round(layer) for layer in np.linspace(1, depth, count))


def _letters(ax: Axes) -> None:
    ax.tick_params(**TICKS)
    ax.xaxis.label.set_fontsize(SMALL)
    ax.yaxis.label.set_fontsize(SMALL)
    ax.spines[:].set_linewidth(0.4)
