"""A training over its epochs: losses, accuracy, census, and the decision surface where it turns (ICLR, figure 12)."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.inside.activations import surface
from jumpstart_exp.report.inside.selection import shown_states, thinned
from jumpstart_exp.report.inside.style import (
    CLASS_COLOURS,
    NORMAL,
    SMALL,
    SURFACE,
    bare,
    check_width,
    figure_words,
    method_name,
    new_figure,
    scatter_classes,
)

_CURVE_INCHES, _SURFACE_INCHES = 0.85, 0.66
_LANE = 0.13  # of a curve's panel: between two letters one over the other
_LANES = 4
_LEAST_APART = 0.022  # of the panel's width: letters closer than that go one over the other

_COLOURS = {
    "train_loss": "#0072B2",
    "val_loss": "#56B4E9",
    "penalty": "#D55E00",
    "train_acc": "#0072B2",
    "val_acc": "#56B4E9",
    "dead_units": "#000000",
    "linear_units": "#E69F00",
    "dead_points": "#CC79A7",
    "linear_points": "#009E73",
}
_WORDS = {
    "train_loss": "cross-entropy, training",
    "val_loss": "cross-entropy, validation",
    "penalty": "penalty (before λ)",
    "train_acc": "training",
    "val_acc": "validation",
    "dead_units": "dead units",
    "linear_units": "linear units",
    "dead_points": "dead points",
    "linear_points": "linear points",
}
_PANELS = {
    "loss": ("train_loss", "val_loss", "penalty"),
    "accuracy": ("train_acc", "val_acc"),
    "census": ("dead_units", "linear_units", "dead_points", "linear_points"),
}
_ONE_EPOCH_LATER = ("train_loss", "train_acc")
"""Measured before the epoch's step: of the parameters one epoch earlier."""


def dynamics_figure(
    snapshots: RecordedStates, width_inches: float, data_dir: Path = Path("data"), rows: int = 2
) -> Figure:
    """Loss and penalty, accuracy and census over the epochs; below them decision surfaces at the epochs that matter.

    The epochs are lettered on the curves. Networks whose points have more than two features have no surfaces.

    Args:
        snapshots: of one cell.
        width_inches: of the figure, at least 3.
        data_dir: folder of the datasets' files; MOONS needs none.
        rows: of surfaces, at most.
    """
    check_width(width_inches)
    data = _data(snapshots, data_dir)
    chance = _chance(snapshots, data)
    across = max(3, int((width_inches - 0.1) / _SURFACE_INCHES))
    states: tuple[int, ...] = ()
    if data is not None:
        states = shown_states(snapshots, chance, rows * across, across)
    down = -(-len(states) // across)
    curves = len(_PANELS) * _CURVE_INCHES
    below = down * ((width_inches - 0.1) / across + 0.14)
    with plain_style():
        figure = new_figure(width_inches, curves + below + 0.65)
        figure.suptitle(f"{method_name(snapshots)} · {figure_words(snapshots)}", fontsize=NORMAL + 1.5)
        parts = figure.subfigures(
            2 if down else 1, 1, height_ratios=[curves + 0.45, below] if down else [1], squeeze=False
        )
        for part in parts.flat:
            part.patch.set_visible(False)  # its lower end is 0 or −0, as the layout's solver happens to round
        axes = parts[0, 0].subplots(len(_PANELS), 1, sharex=True)
        for ax, name in zip(axes, _PANELS, strict=True):
            _draw_curves(ax, snapshots, name)
        axes[1].axhline(chance, color="0.6", linewidth=0.6, linestyle=(0, (1, 1)), zorder=0)
        axes[-1].set_xlabel("epochs done", fontsize=NORMAL)
        _letter(axes[0], axes, snapshots, states)
        if data is not None and down:
            panels = np.ravel(parts[1, 0].subplots(down, across, squeeze=False))
            for ax, place in zip(panels, range(len(panels)), strict=True):
                if place < len(states):
                    _draw_surface(ax, snapshots, states[place], data, letter_of(place))
                else:
                    ax.set_axis_off()
        return figure


def letter_of(place: int) -> str:
    """The letter of a panel: a to z, then aa, ab and so on, as the papers count their panels."""
    before, last = divmod(place, 26)
    return (letter_of(before - 1) if before else "") + chr(ord("a") + last)


def _draw_curves(ax: Axes, snapshots: RecordedStates, panel: str) -> None:
    is_loss = panel == "loss"
    if is_loss:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(_power))
        ax.yaxis.set_minor_formatter(NullFormatter())
    for name in _PANELS[panel]:
        y = snapshots.column(name)
        x = snapshots.column("epoch") - (name in _ONE_EPOCH_LATER)
        if is_loss:
            y = np.where(y > 0, y, np.nan)  # a logarithm has no place for 0
        x, y = thinned(x, y)
        if len(x):
            order = 1.5 if name.startswith("val") else 2.0  # the few validation points' line jumps: below the other
            ax.plot(x, y, color=_COLOURS[name], linewidth=0.7, label=_WORDS[name], gid=name, zorder=order)
    if is_loss:
        ax.set_ylim(*_decades(ax))
    else:
        ax.set_ylim(-0.03, 1.03)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlim(0, max(int(snapshots.epochs[-1]), 1))
    ax.set_ylabel({"census": "share"}.get(panel, panel), fontsize=NORMAL)
    ax.tick_params(length=2, width=0.5, pad=2, labelsize=SMALL)
    drawn = [str(line.get_gid()) for line in ax.lines]
    if drawn:
        ax.legend(
            handles=[Line2D([], [], color=_COLOURS[name], linewidth=1.4, label=_WORDS[name]) for name in drawn],
            loc="upper left",
            bbox_to_anchor=(1.0, 1.02),
            frameon=False,
            fontsize=SMALL,
            handlelength=1.2,
            borderaxespad=0.3,
        )


def _decades(ax: Axes) -> tuple[float, float]:
    """The powers of ten around what is drawn: at least one decade."""
    y = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in ax.lines] or [np.ones(1)])
    y = y if len(y) else np.ones(1)
    low, high = np.floor(np.log10(y.min())), np.ceil(np.log10(y.max()))
    return float(10**low), float(10 ** max(high, low + 1))


def _power(value: float, _: int | None = None) -> str:
    """A power of ten in plain letters: the report draws no formulas."""
    return "10" + str(round(np.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _letter(
    top: Axes,
    axes: np.ndarray[tuple[int, ...], np.dtype[np.object_]],
    snapshots: RecordedStates,
    states: tuple[int, ...],
) -> None:
    """A line in every panel at each epoch that is shown below, and its letter above the topmost."""
    span = max(int(snapshots.epochs[-1]), 1)
    ends = [-np.inf] * _LANES
    for place, state in enumerate(states):
        epoch = int(snapshots.epochs[state])
        for ax in axes:
            ax.axvline(epoch, color="0.75", linewidth=0.5, zorder=0)
        lane = next((lane for lane in range(_LANES) if epoch / span - ends[lane] >= _LEAST_APART), int(np.argmin(ends)))
        ends[lane] = epoch / span
        top.annotate(
            letter_of(place),
            (epoch / span, 1.0),
            (0, 1 + 5.5 * lane),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL,
        )


def _draw_surface(ax: Axes, snapshots: RecordedStates, state: int, data: Data, letter: str) -> None:
    found = surface(snapshots, state, data)
    ax.imshow(found.probability, extent=found.extent, origin="lower", cmap=SURFACE, vmin=0, vmax=1, aspect="auto")
    for x, y, is_training in ((data.x_train, data.y_train, True), (data.x_val, data.y_val, False)):
        style = {"zorder": 2} if is_training else {"facecolors": "white", "linewidths": 0.4, "alpha": 1.0, "zorder": 3}
        points, labels = x.double().numpy(), y.numpy()
        if is_training:
            scatter_classes(ax, points, labels, 1.6, **style)
            continue
        for label in np.unique(labels):
            scatter_classes(
                ax, points[labels == label], labels[labels == label], 2.6, edgecolors=CLASS_COLOURS[label], **style
            )
    ax.set_title(f"({letter}) {snapshots.epochs[state]:,}: {found.accuracy:.2f}", fontsize=SMALL, pad=2)
    bare(ax)


def _data(snapshots: RecordedStates, data_dir: Path) -> Data | None:
    """The points, where they are in a plane and so have surfaces."""
    dataset = snapshots.cell.dataset
    if dataset.features != 2 or dataset.classes != 2:
        return None
    try:
        return load(dataset, data_dir)
    except DataError:
        return None


def _chance(snapshots: RecordedStates, data: Data | None) -> float:
    """The share of the largest class, where the points are there; else that of one of equal classes."""
    if data is None:
        return 1 / snapshots.cell.dataset.classes
    return float(torch.bincount(data.y_train).max() / len(data.y_train))
