"""The worked examples of Geometry, figures 2 to 9."""

from collections.abc import Sequence
from itertools import pairwise
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor, nn

from jumpstart_exp.geometry.layered import LayeredNetwork, identity, sigmoid
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.worked import (
    BOOLEAN_HALFSPACES,
    CONFIDENCE,
    EIGHT_HALFSPACES,
    INNER,
    NARY,
    OUTER,
    Combination,
    ShapePrimitives,
    amplification,
    boolean_network,
    cell_totals,
    critical_beta,
    example_gradients,
    example_loss,
    example_probability,
    informative_interval,
    level_set,
    rotated_halfspace,
    shift,
    transition_network,
    transition_width,
)
from jumpstart_exp.report.inside.style import CLASS_COLOURS, NORMAL, SMALL, SURFACE, TICKS, bare, new_figure

Array = NDArray[np.float64]

_RESOLUTION = 240
_TITLE_INCHES, _ABOVE_INCHES, _BESIDE_INCHES = 0.2, 0.22, 0.42
_INK = "black"


def mapping_figure(width_inches: float) -> Figure:
    """What a unit makes of the plane [−6, 6] × [−4, 4]: before and after the sigmoid, and sharper (figure 2).

    Below the values along the axis of the first input. The extent is this project's choice.

    Raises:
        ValueError: the figure is too narrow.
    """
    plane = Plane.rectangle((-6, -4), (6, 4))
    units = {
        "⟨a, x⟩, a = (1.5, 0.5)": LayeredNetwork([([[1.5, 0.5]], [0.0], identity())]),
        "σ(⟨a, x⟩)": LayeredNetwork([([[1.5, 0.5]], [0.0], sigmoid())]),
        "σ(⟨4a, x⟩ − 12)": LayeredNetwork([([[6.0, 2.0]], [12.0], sigmoid())]),
    }
    figure, axes = _panels(width_inches, 2, 3, plane, beside=0)
    x = np.linspace(-6, 6, 1001)
    for number, (title, unit) in enumerate(units.items()):
        above, below = axes[number], axes[number + 3]
        most = 11.0 if number == 0 else 1.0
        _draw_region(above, _values(unit, plane), plane, f"({ascii_lowercase[number]}) {title}", most=most)
        values = _evaluated(unit, np.stack([x, np.zeros_like(x)], 1))
        below.plot(x, values, color=_INK, linewidth=0.9, gid="along the axis")
        below.axhline(0, color="0.7", linewidth=0.4, zorder=0)
        below.set(xlim=(-6, 6), ylim=(-1.1 * most, 1.1 * most))
        _ticks(below)
    return figure


def boolean_figure(width_inches: float) -> Figure:
    """Two half-spaces over [−1, 1]² and operations on them (figure 3).

    The extent is this project's choice, and panel d, of which the text does not tell.

    Raises:
        ValueError: the figure is too narrow.
    """
    plane = Plane.square(1)
    first = LayeredNetwork([(*BOOLEAN_HALFSPACES, sigmoid(3))])
    halfspaces = _values(first, plane, both=True)
    fields = {"R₁": halfspaces[..., 0], "R₂": halfspaces[..., 1]}
    operations = {
        "complement of R₁": "complement of the first",
        "complement of R₂": "complement of the second",
        "R₁ ∩ R₂": "intersection",
        "R₁ ∪ R₂": "union",
    }
    fields |= {title: _values(boolean_network(name), plane) for title, name in operations.items()}
    return _regions_figure(width_inches, 3, plane, fields)


def nary_figure(width_inches: float) -> Figure:
    """Eight half-spaces and what one unit makes of them (figure 4).

    Positions and sides of the half-spaces are this project's choice (EIGHT_HALFSPACES).

    Raises:
        ValueError: the figure is too narrow.
    """
    plane = Plane.square(1.5 * OUTER)
    figure, axes = _panels(width_inches, 2, 3, plane)
    _draw_cells(axes[0], plane)
    words = {
        "b": "β = 9.5",
        "c": "β = 8.5",
        "d": "unit weights, β = 4.5",
        "e": "σ₁, β = 6.5",
        "f": "outer four, ℓ₁, β = 6.5",
    }
    for ax, (letter, panel) in zip(axes[1:], NARY.items(), strict=True):
        shown = _draw_region(ax, _values(panel.network(), plane), plane, f"({letter}) {words[letter]}")
    _bar(figure, axes, shown)
    return figure


def level_sets_figure(width_inches: float) -> Figure:
    """Level sets of σ(x) + σ(y) over [−6, 6]², and the region above −1 beside the union it approximates (figure 5).

    The paper draws a surface; the extent is this project's choice.

    Raises:
        ValueError: the figure is too narrow.
    """
    plane = Plane.square(6)
    total = LayeredNetwork([([[1.0, 0], [0, 1]], [0.0, 0.0], sigmoid()), ([[1.0, 1.0]], [0.0], identity())])
    values = _values(total, plane)
    figure, axes = _panels(width_inches, 1, 2, plane)
    shown = _draw_region(axes[0], values, plane, "(a) σ(x) + σ(y) and its level sets", most=2.0, line=False)
    _draw_region(axes[1], np.where(values > -1, 1.0, -1.0), plane, "(b) above −1, and x ≥ 0 or y ≥ 0", line=False)
    x = np.linspace(-6, 6, 4001)
    for beta, style in ((-1.0, "--"), (0.0, "-"), (1.0, ":")):
        axes[0].plot(
            x,
            level_set(x, beta),
            style,
            color=_INK,
            linewidth=0.9,
            label=f"β = {beta:g}".replace("-", "−"),
            gid=f"{beta:g}",
        )
    axes[0].legend(fontsize=SMALL, loc="lower left", frameon=True, borderpad=0.3, handlelength=1.8)
    axes[1].plot(x, level_set(x, -1.0), color=_INK, linewidth=0.9, gid="-1")
    axes[1].plot([-6, 0, 0], [0, 0, -6], "--", color=_INK, linewidth=0.7, gid="union")
    for ax in axes:
        ax.set(xlim=(-6, 6), ylim=(-6, 6))
        _ticks(ax)
    _bar(figure, axes, shown)
    return figure


def transitions_figure(width_inches: float) -> Figure:
    """Transitions of an intersection: three of them, amplification, shift and width over β (figure 6).

    Contours of −0.95, 0 and 0.95, as the text says; the extent [−8, 8]² is this project's choice.

    Raises:
        ValueError: the figure is too narrow.
    """
    plane = Plane.square(8)
    figure, axes = _panels(width_inches, 2, 3, plane)
    for ax, letter, beta in zip(axes, "abc", (1.0, 1.8, 0.6), strict=False):
        network = transition_network(beta, amplification(beta))
        shown = _draw_region(ax, _values(network, plane), plane, f"({letter}) β = {beta:g}", band=True)
    betas = np.linspace(0.005, 1.995, 800)
    _curve(axes[3], betas, [amplification(each) for each in betas], "(d) amplification γ", (0, 60))
    _curve(axes[4], betas, [shift(each) for each in betas], "(e) shift", (-6, 6))
    for multiple, style in ((1, "-"), (2, "--"), (4, ":")):
        critical = critical_beta(multiple)  # near which the width grows without bound
        closer = critical + np.geomspace(1e-9, 1.995 - critical, 400)
        widths = [transition_width(each, multiple) for each in closer]
        _curve(axes[5], closer, widths, "(f) width", (0, 10), style, f"{multiple}γ" if multiple > 1 else "γ")
    axes[5].axvline(critical_beta(), linestyle="--", color="0.5", linewidth=0.7, gid="critical")
    axes[5].legend(fontsize=SMALL, frameon=False, handlelength=1.8)
    _bar(figure, axes[:3], shown)
    return figure


def rotation_figure(width_inches: float) -> Figure:
    """Two smooth diagonal half-spaces over [−5, 5]² and what the second layer makes of them (figure 7).

    Colours of each panel go to its largest value: small weights give small outputs. The extent is this project's
    choice; the line of dashes is what the second layer aims at.

    Raises:
        ValueError: the figure is too narrow.
    """
    plane = Plane.square(5)
    network = rotated_halfspace(70)
    first = LayeredNetwork([(network.weights[0], network.offsets[0], sigmoid())])
    diagonals = _values(first, plane, both=True)
    fields = {"first layer, unit 1": diagonals[..., 0], "unit 2": diagonals[..., 1]}
    wanted = {
        "α = 90°": (90, 1),
        "α = 70°": (70, 1),
        "α = 70°, weights × 10": (70, 10),
        "α = 70°, weights × 20": (70, 20),
    }
    fields |= {title: _values(rotated_halfspace(*given), plane) for title, given in wanted.items()}
    figure = _regions_figure(width_inches, 3, plane, fields, relative=True)
    for ax, (degrees, _) in zip(figure.axes[2:6], wanted.values(), strict=True):
        angle = np.radians(degrees - 90)
        ax.plot(*(np.array([[-9], [9]]) * (np.cos(angle), np.sin(angle))).T, "--", color=_INK, linewidth=0.5, gid="aim")
        ax.set(xlim=(-5, 5), ylim=(-5, 5))
    return figure


def primitives_figure(width_inches: float) -> Figure:
    """A half-space, a Gaussian, and their union over [−3, 3]² (figure 8; all numbers are this project's choice).

    Raises:
        ValueError: the figure is too narrow.
    """
    plane = Plane.square(3)
    network = ShapePrimitives(Combination((1, 1), -0.9))
    inputs = plane.inputs(plane.grid(_RESOLUTION))
    shapes = network.primitives(inputs).numpy().reshape(_RESOLUTION, _RESOLUTION, 2)
    fields = {"half-space": shapes[..., 0], "Gaussian": shapes[..., 1], "union": _values(network, plane)}
    return _regions_figure(width_inches, 3, plane, fields)


def importance_figure(width_inches: float) -> Figure:
    """Probability, loss and gradients of points on a line (figure 9).

    Vertical lines are where a gradient falls below a hundredth of its maximum.

    Raises:
        ValueError: the figure is too narrow.
    """
    figure = new_figure(width_inches)
    figure.set_figheight(width_inches / 3 * 0.85 + _TITLE_INCHES)
    axes = list(figure.subplots(1, 3))
    x = np.linspace(-12, 12, 2401)
    axes[0].plot(x, example_probability(x), color=_INK, linewidth=0.9, gid="probability")
    axes[1].plot(x, example_loss(x), color=_INK, linewidth=0.9, gid="loss")
    for (name, values), colour in zip(example_gradients(x).items(), CLASS_COLOURS, strict=False):
        label = {"alpha": "∂f/∂α", "beta": "∂f/∂β"}[name]
        axes[2].plot(x, values, color=colour, linewidth=0.9, label=label, gid=name)
        for end in informative_interval(name):
            axes[2].axvline(end, color=colour, linewidth=0.6, linestyle="--", gid=f"end of {name}")
    axes[2].legend(fontsize=SMALL, frameon=False, loc="upper right", handlelength=1.5)
    titles = ("(a) p̂(x) = ℓ₅(σ(x))", "(b) f(x) = −log p̂(x)", "(c) its gradients")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, fontsize=NORMAL, pad=3)
        ax.set(xlim=(-12, 12))
        _ticks(ax)
    return figure


def _regions_figure(
    width_inches: float, across: int, plane: Plane, fields: dict[str, Array], *, relative: bool = False
) -> Figure:
    """Panels of regions −1 … 1 in a row or two, lettered; `relative`: each to its largest value."""
    figure, axes = _panels(width_inches, -(-len(fields) // across), across, plane)
    for ax, letter, (title, values) in zip(axes, ascii_lowercase, fields.items(), strict=False):
        most = float(np.abs(values).max()) if relative else 1.0
        told = f"({letter}) {title}" + f", to ±{most:.2g}" * relative
        shown = _draw_region(ax, values, plane, told, most=most)
    if not relative:
        _bar(figure, axes, shown)
    return figure


def _panels(
    width_inches: float, down: int, across: int, plane: Plane, beside: float = _BESIDE_INCHES
) -> tuple[Figure, list[Axes]]:
    """A figure with panels of the plane's shape."""
    figure = new_figure(width_inches)
    (left, lower), (right, upper) = plane.low, plane.high
    panel = (width_inches - beside) / across * (upper - lower) / (right - left)
    figure.set_figheight(down * (panel + _TITLE_INCHES) + _ABOVE_INCHES)
    return figure, list(np.ravel(figure.subplots(down, across, squeeze=False)))


def _values(model: nn.Module, plane: Plane, *, both: bool = False) -> Array:
    """What the model gives over the plane, row by row from the lowest v; `both` for all outputs."""
    found = _evaluated(model, plane.inputs(plane.grid(_RESOLUTION)))
    shaped = found.reshape(_RESOLUTION, _RESOLUTION, -1)
    return shaped if both else shaped[..., 0]


def _evaluated(model: nn.Module, points: Tensor | Array) -> Array:
    with torch.no_grad():
        return np.asarray(model(torch.as_tensor(points)).numpy(), dtype=np.float64)


def _draw_region(
    ax: Axes, values: Array, plane: Plane, title: str, *, most: float = 1.0, line: bool = True, band: bool = False
) -> AxesImage:
    """Values −most … most in colours, the line at 0, and with `band` the contours ±0.95."""
    extent = (plane.low[0], plane.high[0], plane.low[1], plane.high[1])
    shown = ax.imshow(values, extent=extent, origin="lower", cmap=SURFACE, vmin=-most, vmax=most, aspect="equal")
    levels = [-CONFIDENCE, 0.0, CONFIDENCE] if band else [0.0]
    inside = [level for level in levels if values.min() < level < values.max()]
    if line and inside:
        styles = ["solid" if level == 0 else "dashed" for level in inside]
        ax.contour(values, levels=inside, extent=extent, colors=_INK, linewidths=0.6, linestyles=styles)
    ax.set_title(title, fontsize=NORMAL, pad=3)
    bare(ax)
    return shown


def _draw_cells(ax: Axes, plane: Plane) -> None:
    """The eight half-spaces, arrows to the inner side, and every cell's total."""
    edges = [-1.5 * OUTER, -OUTER, -INNER, INNER, OUTER, 1.5 * OUTER]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    points = np.array([(x, y) for x in middles for y in middles])
    for (x, y), total in zip(points, cell_totals(points, NARY["b"].combination), strict=True):
        ax.text(x, y, f"{total:g}", fontsize=SMALL, ha="center", va="center")
    for (along, up), offset in zip(*EIGHT_HALFSPACES, strict=True):
        place, beyond = offset * (along + up), (offset + 0.55) * (along + up)
        line: dict[str, Any] = {"color": _INK, "linestyle": "--", "linewidth": 1.3 if offset < 0 else 0.6}
        arrow = {"arrowstyle": "->", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 5}
        corner = -1.4 * OUTER
        if along:
            ax.axvline(place, **line)
            ax.annotate("", (beyond, corner), (place, corner), arrowprops=arrow)
        else:
            ax.axhline(place, **line)
            ax.annotate("", (corner, beyond), (corner, place), arrowprops=arrow)
    ax.set(xlim=(plane.low[0], plane.high[0]), ylim=(plane.low[1], plane.high[1]), aspect="equal")
    ax.set_title("(a) totals; weights 2 (thick), 1", fontsize=NORMAL, pad=3)
    bare(ax)


def _curve(
    ax: Axes,
    x: Array,
    values: Sequence[float],
    title: str,
    limits: tuple[float, float],
    style: str = "-",
    label: str | None = None,
) -> None:
    """Values over β, infinite ones left out."""
    finite = np.where(np.isfinite(values), values, np.nan)
    ax.plot(x, finite, style, color=_INK, linewidth=0.9, label=label, gid=title)
    ax.set(xlim=(0, 2), ylim=limits)
    ax.set_title(title, fontsize=NORMAL, pad=3)
    ax.set_xlabel("β", fontsize=SMALL, labelpad=1)
    _ticks(ax)


def _ticks(ax: Axes) -> None:
    ax.tick_params(**TICKS)
    ax.spines[:].set_linewidth(0.4)


def _bar(figure: Figure, axes: list[Axes], shown: AxesImage) -> None:
    bar = figure.colorbar(shown, ax=axes, aspect=25, pad=0.01)
    bar.ax.tick_params(**TICKS)
    bar.outline.set_linewidth(0.4)
