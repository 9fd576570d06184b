"""Trainings of one unit a layer on the strip, from their kept states (Geometry, figures 13 to 16)."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from jumpstart_exp.data.loading import load
from jumpstart_exp.data.strip import Strip
from jumpstart_exp.geometry.strip import (
    Boundary,
    boundary,
    distance_to_nearest,
    first_layer_gradient,
    half_transition,
    misclassified_area,
)
from jumpstart_exp.inspect.recorded_states import RecordedStates, unpacked
from jumpstart_exp.report.figures.drawing import label_powers
from jumpstart_exp.report.inside.style import (
    CLASS_COLOURS,
    NORMAL,
    SMALL,
    TICKS,
    network_words,
    new_figure,
    scatter_classes,
)

Array = NDArray[np.float64]

_PANEL_INCHES = 1.35

AREA = "misclassified area, u × v"
"""An area of the strip, not a share of it."""
_FEW, _MANY = 50, 800
"""Points of the trainings that figure 13 shows by themselves."""

_BELOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

_SLOPES = (1, 2, 4, 8, 16)
"""Of figures 14 (c) and (d): a of A₁ = [a, 0]; the paper names 8 and 16."""


class StripTraining:
    """A training of one unit a layer on the strip.

    Attributes:
        cell: what was trained.
        spec: its points.
        epochs: done at each kept state, (states,); with full batches they are the paper's iterations.
        weights: of each layer, the outputs' last, (states, units, inputs).
        biases: of each layer, (states, units); the paper's b is their negative.
    """

    def __init__(self, states: RecordedStates) -> None:
        cell = states.cell
        if not isinstance(cell.dataset, Strip) or max(cell.widths) > 1:
            raise ValueError("a figure of the strip takes networks of one unit a layer on it")
        self.states, self.cell, self.spec = states, cell, cell.dataset
        self.epochs = states.epochs.astype(np.float64)
        tensors = [unpacked(each.astype(np.float64), cell) for each in states.parameters]
        layers = [*(f"hidden.{layer}" for layer in range(cell.depth)), "output"]
        self.weights = [np.stack([each[f"{name}.weight"] for each in tensors]) for name in layers]
        self.biases = [np.stack([each[f"{name}.bias"] for each in tensors]) for name in layers]

    @cached_property
    def boundary(self) -> Boundary:
        """Where the network changes its decision, at each state."""
        return boundary(self.weights, self.biases, self.cell.network.sigmoid_gamma)

    @cached_property
    def unit(self) -> Boundary:
        """The first unit's hyperplane, at each state."""
        return Boundary(self.weights[0][:, 0], self.biases[0][:, 0])

    @property
    def area(self) -> Array:
        """What the network misclassifies of the strip, at each state."""
        return misclassified_area(self.boundary, self.spec.half_length)

    def norm(self, layer: int) -> Array:
        """The longest row of a layer's weights, at each state: layers count from 0, the outputs' is the last."""
        return np.asarray(np.linalg.norm(self.weights[layer], axis=-1).max(axis=-1))

    def loss(self) -> tuple[Array, Array]:
        """Epochs done and the training loss there, as the curve has them: nothing of a penalty is in it."""
        return self.states.column("epoch") - 1, self.states.column("train_loss")


def density_figure(snapshots: Sequence[RecordedStates], width_inches: float, data_dir: Path = Path("data")) -> Figure:
    """How the number of points decides a hyperplane's way to the y-axis (figure 13).

    Two sets of points with the unit where it begins, and where its activation is ±0.95; the size of each point's
    gradient with respect to the first weight at the beginning; where 50 points have brought the unit; the misclassified
    area over the iterations; and, with 50 points, how fast it falls and how near the nearest point is.

    Raises:
        ValueError: other networks than those of geometry_13.
    """
    runs = _by(snapshots, lambda run: run.spec.n_samples)
    if not {_FEW, _MANY} <= runs.keys():
        raise ValueError(f"figure 13 takes trainings with {_FEW} and with {_MANY} points")
    figure, axes = _panels(width_inches, 2, 3)
    few, many = runs[_FEW], runs[_MANY]
    for ax, run, state, words in (
        (axes[0], few, 0, f"{_FEW} points, at the beginning"),
        (axes[1], many, 0, f"{_MANY} points, at the beginning"),
        (axes[3], few, -1, f"{_FEW} points, after {int(few.epochs[-1]):,} iterations"),
    ):
        _draw_points(ax, run, state, data_dir)
        _title(ax, words)
    _draw_field(axes[2], few)
    for ax in axes[:4]:
        ax.set(xlabel="x₁", ylabel="x₂")
    for n, run in runs.items():
        axes[4].plot(run.epochs, run.area, label=f"n = {n:,}", linewidth=0.8, gid=f"area {n}")
    _lines(axes[4], AREA, "iteration")
    axes[4].set_ylim(top=1.6 * max(run.area.max() for run in runs.values()))  # room for the names above the lines
    axes[4].legend(loc="upper right", ncols=2, frameon=False, fontsize=SMALL - 0.5, handlelength=1.2, borderpad=0.1)
    _draw_rate(axes[5], few, data_dir)
    return _said(figure, [*runs.values()])


def widths_figure(snapshots: Sequence[RecordedStates], width_inches: float, data_dir: Path = Path("data")) -> Figure:
    """How the size of the first weights decides a hyperplane's way to the y-axis (figure 14).

    Misclassified area and loss over the iterations, by the norm that the weights begin with; and the norms of the mean
    gradient of the first layer for A₁ = [a, 0] and a hyperplane anywhere on the strip, on the training points.

    Raises:
        ValueError: no networks, or not on the strip.
    """
    runs = _by(snapshots, lambda run: run.cell.network.init_norm)
    figure, axes = _panels(width_inches, 2, 2)
    for norm, run in runs.items():
        label = f"‖A₁‖ = {norm:g}"
        axes[0].plot(run.epochs[1:], run.area[1:], label=label, linewidth=0.8, gid=f"area {norm:g}")
        epochs, loss = run.loss()
        axes[1].plot(epochs[1:], loss[1:], label=label, linewidth=0.8, gid=f"loss {norm:g}")
    for ax, words in zip(axes, (AREA, "loss"), strict=False):
        _lines(ax, words, "iteration")
        _in_decades(ax, "x")
    _in_decades(axes[1], "y")
    first = next(iter(runs.values()))
    data = load(first.spec, data_dir)
    at, norms = gradient_norms(first, data.x_train.double().numpy(), data.y_train.numpy())
    for slope, of_slope in zip(_SLOPES, norms, strict=True):
        for ax, values, name in zip(axes[2:], of_slope, ("A", "b"), strict=True):
            ax.plot(at, values, label=f"a = {slope}", linewidth=0.8, gid=f"{name} {slope}")
    for ax, words in zip(axes[2:], ("norm of the gradient, A₁", "norm of the gradient, b₁"), strict=True):
        _lines(ax, words, "location of the hyperplane")
    return _said(figure, [*runs.values()])


def gradient_norms(run: StripTraining, points: Array, classes: NDArray[np.int64]) -> tuple[Array, Array]:
    """The norms of the mean gradient for A₁ = [a, 0] where the hyperplane is at each place of the first axis.

    The other weights and the points, (points, 2), are the training's, whose first layer is not asked.

    Returns:
        The places, (places,), and with respect to A₁ and b₁, (slopes, 2, places), for every a of 1, 2, 4, 8, 16.
    """
    at = np.linspace(-run.spec.half_length, run.spec.half_length, 121)
    output = run.weights[-1][0, :, 0]
    found = []
    for slope in _SLOPES:
        normal = np.tile([float(slope), 0.0], (len(at), 1))
        weight, gamma = float(output[-1] - output[0]), run.cell.network.sigmoid_gamma
        mean = first_layer_gradient(points, classes, normal, -slope * at, weight, gamma).mean(axis=1)
        found.append((np.linalg.norm(mean[:, :2], axis=1), np.abs(mean[:, 2])))
    return at, np.asarray(found)


def growth_figure(snapshots: Sequence[RecordedStates], width_inches: float, data_dir: Path = Path("data")) -> Figure:
    """How the rows of every layer grow where all are trained, and the misclassified area (figure 15).

    Raises:
        ValueError: no networks, or not on the strip.
    """
    (run, *_) = map(StripTraining, snapshots)
    figure, axes = _panels(width_inches, 1, 2)
    for layer in range(run.cell.depth + 1):
        axes[0].plot(
            run.epochs,
            run.norm(layer),
            label="A" + str(layer + 1).translate(_BELOW),
            linewidth=0.8,
            gid=f"norm {layer + 1}",
        )
    _lines(axes[0], "norm of a row", "iteration")
    axes[1].plot(run.epochs, run.area, linewidth=0.8, color="black", gid="area")
    _lines(axes[1], AREA, "iteration", has_legend=False)
    return _said(figure, [run])


def limits_figure(snapshots: Sequence[RecordedStates], width_inches: float, data_dir: Path = Path("data")) -> Figure:
    """What a penalty or a limit on the length of the first layer's row changes (figure 16).

    Over the iterations that length, the misclassified area, |b| and the loss, in which no penalty is.

    Raises:
        ValueError: no networks, or not on the strip.
    """
    figure, axes = _panels(width_inches, 2, 2)
    runs = [StripTraining(states) for states in snapshots]
    for run in runs:
        optimizer, method = run.cell.optimizer, run.cell.method
        label = "standard"
        if optimizer.row_penalty:
            label = f"λ = {optimizer.row_penalty:g}"
        elif optimizer.row_limit is not None:
            label = f"κ = {optimizer.row_limit:g}"
        epochs, loss = run.loss()
        for ax, name, x, y in (
            (axes[0], "norm", run.epochs, run.norm(0)),
            (axes[1], "area", run.epochs, run.area),
            (axes[2], "b", run.epochs, np.abs(run.unit.offset)),
            (axes[3], "loss", epochs, loss),
        ):
            ax.plot(x, y, label=label, linewidth=0.8, gid=f"{name} {method}")
    for ax, words in zip(axes, ("norm of A₁", AREA, "|b₁|", "loss"), strict=True):
        _lines(ax, words, "iteration")
    _in_decades(axes[3], "y")
    return _said(figure, runs)


def _by(snapshots: Sequence[RecordedStates], number: Callable[[StripTraining], float]) -> dict[float, StripTraining]:
    """The trainings by a number of theirs, ascending.

    Raises:
        ValueError: two have the same, or there are none.
    """
    runs = sorted(map(StripTraining, snapshots), key=number)
    found = {number(run): run for run in runs}
    if not found or len(found) < len(runs):
        raise ValueError("a figure of the strip takes one training of each kind")
    return found


def _panels(width_inches: float, down: int, across: int) -> tuple[Figure, list[Axes]]:
    figure = new_figure(width_inches)
    figure.set_figheight(down * _PANEL_INCHES + 0.35)
    axes: list[Axes] = np.ravel(figure.subplots(down, across, squeeze=False)).tolist()
    for letter, ax in zip(ascii_lowercase, axes, strict=False):
        ax.set_title(f"({letter})", fontsize=NORMAL, pad=3)
        ax.tick_params(pad=2, **TICKS)
        ax.xaxis.label.set_fontsize(SMALL)
        ax.yaxis.label.set_fontsize(SMALL)
    return figure, axes


def _said(figure: Figure, runs: Sequence[StripTraining]) -> Figure:
    """The figure with its title: the network, the seed of the points, and whether it is the stored training."""
    first = runs[0].states
    other = " · trained again, otherwise than stored" if any(run.states.agreement for run in runs) else ""
    figure.suptitle(f"{network_words(first.cell)}, seed {first.cell.seed}{other}", fontsize=NORMAL + 1)
    return figure


def _title(ax: Axes, words: str) -> None:
    ax.set_title(f"{ax.get_title()} {words}", fontsize=SMALL, pad=3)


def _lines(ax: Axes, words: str, of: str, *, has_legend: bool = True) -> None:
    """Name a panel of lines and its axes."""
    _title(ax, words)
    ax.set_xlabel(of, fontsize=SMALL)
    ax.set_ylim(bottom=0)
    if of == "iteration":
        _count(ax)
    if has_legend:
        ax.legend(frameon=False, fontsize=SMALL - 0.5, handlelength=1.2, labelspacing=0.2, borderpad=0.1)


def _count(ax: Axes) -> None:
    """Few iterations along the axis, as whole numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))


def _in_decades(ax: Axes, axis: Literal["x", "y"]) -> None:
    """A logarithmic axis, whose ends are those of the lines."""
    values = np.concatenate([np.asarray(line.get_xydata(), np.float64)[:, "xy".index(axis)] for line in ax.lines])
    positive = values[values > 0]
    low, high = float(positive.min()) / 1.2, float(positive.max()) * 1.2
    match axis:
        case "x":
            ax.set(xscale="log", xlim=(low, high))
            label_powers(ax.xaxis)
        case "y":
            ax.set(yscale="log", ylim=(low, high))
            label_powers(ax.yaxis)


def _draw_points(ax: Axes, run: StripTraining, state: int, data_dir: Path) -> None:
    data = load(run.spec, data_dir)
    scatter_classes(ax, data.x_train.double().numpy(), data.y_train.numpy(), 2.0)
    ax.axvline(0, color="0.6", linewidth=0.5, zorder=0)
    _draw_hyperplane(ax, run, state)
    ax.set(xlim=(-run.spec.half_length, run.spec.half_length), ylim=(-1, 1))


def _draw_hyperplane(ax: Axes, run: StripTraining, state: int) -> None:
    """The first unit's hyperplane, and where its activation is ±0.95."""
    normal, offset = run.unit.normal[state], run.unit.offset[state]
    width = half_transition(normal, run.cell.network.sigmoid_gamma) * np.linalg.norm(normal)
    y = np.array([-1.0, 1.0])
    for shift, style in ((0.0, {"linewidth": 1.4}), *((by, {"linewidth": 0.7, "linestyle": "--"}) for by in (-1, 1))):
        x = (shift * width - offset - normal[1] * y) / normal[0]
        ax.plot(x, y, color="black", gid=f"hyperplane {shift:+g}", **style)  # type: ignore[arg-type]


def _draw_field(ax: Axes, run: StripTraining) -> None:
    """|∂f/∂[A₁]₁| of a point of either class's half, anywhere on the strip, at the beginning."""
    length = run.spec.half_length
    x, y = np.linspace(-length, length, 301), np.linspace(-1, 1, 101)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    output, gamma = run.weights[-1][0, :, 0], run.cell.network.sigmoid_gamma
    found = first_layer_gradient(
        points,
        (points[:, 0] >= 0).astype(np.int64),
        run.unit.normal[0],
        run.unit.offset[0],
        float(output[-1] - output[0]),
        gamma,
    )
    shown = np.abs(found[:, 0]).reshape(len(y), len(x))
    image: Any = ax.imshow(shown, extent=(-length, length, -1, 1), origin="lower", cmap="magma_r", aspect="auto")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, aspect=30, label="")
    bar.ax.tick_params(**TICKS)
    bar.outline.set_linewidth(0.4)
    _title(ax, "|∂f/∂[A₁]₁| at the beginning")


def _draw_rate(ax: Axes, run: StripTraining, data_dir: Path) -> None:
    """How fast the area falls between two states, and the distance to the nearest point."""
    points = load(run.spec, data_dir).x_train.double().numpy()
    rate = -np.diff(run.area) / np.diff(run.epochs)
    middle = (run.epochs[1:] + run.epochs[:-1]) / 2
    ax.plot(middle, rate, color=CLASS_COLOURS[0], linewidth=0.8, gid="rate")
    ax.set_ylabel("reduction of the area per iteration", fontsize=SMALL, color=CLASS_COLOURS[0])
    _in_decades(ax, "y")
    other = ax.twinx()
    distance = distance_to_nearest(run.unit, points)
    other.plot(run.epochs, distance, color=CLASS_COLOURS[1], linewidth=0.8, linestyle="--", gid="distance")
    other.set_ylabel("distance to the nearest point", fontsize=SMALL, color=CLASS_COLOURS[1])
    other.tick_params(pad=2, **TICKS)
    other.set_ylim(bottom=0)
    ax.set_xlabel("iteration", fontsize=SMALL)
    _count(ax)
    _title(ax, f"rate and distance, {run.spec.n_samples} points")
