"""A training over its epochs: losses, accuracy, census, and the decision surface where it turns (ICLR, figure 12)."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.inspect.turning_points import largest, turning_points
from jumpstart_exp.report.figures.colour_maps import rocket_r
from jumpstart_exp.report.figures.drawing import power_of_ten
from jumpstart_exp.report.inside.activations import Array, surface
from jumpstart_exp.report.inside.style import (
    NORMAL,
    SMALL,
    SURFACE,
    TICKS,
    bare,
    figure_words,
    method_name,
    new_figure,
    scatter_classes,
)
from jumpstart_exp.result import ACTIVITY, CENSUS, LOSSES

_CURVE_INCHES, _SURFACE_INCHES, _CENSUS_INCHES = 0.85, 0.66, 1.05
_SURFACE_ROWS = 2
_LANES = 4  # letters one over the other
_LEAST_APART = 0.022  # of the panel's width: letters closer than that go one over the other
_A_COLLAPSE = 3  # states shown of a collapse: before it, at its worst, and the new solution

_CURVES = {
    "loss": {
        "train_loss": ("{loss}, training", "#0072B2"),
        "val_loss": ("{loss}, validation", "#56B4E9"),
        "penalty": ("penalty (before λ)", "#D55E00"),
    },
    "accuracy": {
        "train_acc": ("training", "#0072B2"),
        "val_acc": ("validation", "#56B4E9"),
    },
    "share": {
        "dead_units": ("dead units", "#000000"),
        "linear_units": ("linear units", "#E69F00"),
        "dead_points": ("dead points", "#CC79A7"),
        "linear_points": ("linear points", "#009E73"),
    },
}
"""The panels from above: their labels, and the curves that each has."""

_SCORES = {"classification": "accuracy", "regression": "R² (from 0 on)"}

_ONE_EPOCH_LATER = ("train_loss", "train_acc")
"""Measured before the epoch's step: of the parameters one epoch earlier."""


def dynamics_figure(
    snapshots: RecordedStates, width_inches: float, data_dir: Path = Path("data"), *, rows: int = _SURFACE_ROWS
) -> Figure:
    """Loss and penalty, accuracy and census over the epochs; below them decision surfaces at the epochs that matter.

    The epochs are lettered on the curves. Networks whose points have more than two features have no surfaces.
    `data_dir` has the datasets' files; of surfaces there are at most so many `rows`, 0 for none.

    Raises:
        ValueError: the figure is too narrow.
    """
    figure = new_figure(width_inches)
    dataset = snapshots.cell.dataset
    data = _data(dataset, data_dir)
    # of the points the share of the largest class
    chance = dataset.chance if data is None else float(torch.bincount(data.y_train).max() / len(data.y_train))
    across = max(3, int((width_inches - 0.1) / _SURFACE_INCHES))
    states = shown_states(snapshots, chance, rows * across, across) if data is not None and rows else ()
    down = -(-len(states) // across)
    curves = len(_CURVES) * _CURVE_INCHES
    below = down * ((width_inches - 0.1) / across + 0.14)
    figure.set_figheight(curves + below + 0.65)
    figure.suptitle(f"{method_name(snapshots)} · {figure_words(snapshots)}", fontsize=NORMAL + 1.5)
    heights = [curves + 0.45, below] if down else [1]
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part in parts:
        part.patch.set_visible(False)  # its lower end is 0 or −0, as the layout's solver happens to round
    axes = parts[0].subplots(len(_CURVES), 1, sharex=True)
    for ax, panel in zip(axes, _CURVES, strict=True):
        _draw_curves(ax, snapshots, panel)
    axes[1].axhline(chance, color="0.6", linewidth=0.6, linestyle=(0, (1, 1)), zorder=0)
    axes[-1].set_xlabel("epochs done", fontsize=NORMAL)
    _letter(axes, snapshots, states)
    if data is not None and down:
        panels = np.ravel(parts[1].subplots(down, across, squeeze=False))
        for place, state in enumerate(states):
            _draw_surface(panels[place], snapshots, state, data, letter_of(place))
        for ax in panels[len(states) :]:
            ax.set_axis_off()
    return figure


def census_figure(snapshots: RecordedStates, width_inches: float) -> Figure:
    """The census of every layer over a training: pictures of layer × epoch (CPAIOR, definitions 1 and 2).

    Shares of dead and linear units and points of each hidden layer at the kept epochs, on the training points; of a
    smooth activation the dormant units and the firing rates. Epochs
    stand on the scale of their square root, so that the beginning has room; each column of a picture is a kept state,
    and reaches half way to its neighbours.

    Raises:
        ValueError: the figure is too narrow.
    """
    figure = new_figure(width_inches)
    figure.set_figheight(2 * _CENSUS_INCHES + 0.75)
    figure.suptitle(f"{method_name(snapshots)} · {figure_words(snapshots)}", fontsize=NORMAL + 1.5)
    names = (*CENSUS, *ACTIVITY)
    shown = CENSUS if not np.isnan(snapshots.census[:, : len(CENSUS)]).any() else ACTIVITY
    axes = figure.subplots(2, len(shown) // 2, sharex=True, sharey=True, squeeze=False)
    epochs, layers = snapshots.epochs.astype(np.float64), np.arange(snapshots.cell.depth + 1) + 0.5
    for ax, name in zip(axes.flat, shown, strict=True):
        across, shares = np.sqrt(column_edges(epochs)), snapshots.census[:, names.index(name)].T
        mesh = ax.pcolormesh(across, layers, shares, cmap=rocket_r, vmin=0, vmax=1, rasterized=True)
        ax.set_title(name.replace("_", " "), fontsize=NORMAL, pad=3)
        ax.tick_params(pad=2, **TICKS)
        ax.xaxis.set_major_locator(FixedLocator(np.sqrt(root_ticks(int(epochs[-1]))).tolist()))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda root, _: f"{round(root**2):,}"))
    for ax in axes[-1]:
        ax.set_xlabel("epochs done (square-root scale)", fontsize=NORMAL)
    for ax in axes[:, 0]:
        ax.set_ylabel("layer", fontsize=NORMAL)
    bar = figure.colorbar(mesh, ax=axes, aspect=30, pad=0.01)
    bar.set_label("share of the layer", fontsize=NORMAL)
    bar.ax.tick_params(**TICKS)
    bar.outline.set_linewidth(0.5)
    return figure


def shown_states(snapshots: RecordedStates, chance: float, most: int, multiple: int = 1) -> tuple[int, ...]:
    """Places of at most so many states that tell the training's story, ascending; in multiples, for full rows.

    The first and the last; where learning begins and where it is best; of the largest collapses the
    state before, the worst one, and the new solution; then, to fill the row, those farthest from all
    that are shown. A turn whose epoch was not kept is left out.
    """
    turns = turning_points(snapshots.column("epoch").astype(np.int64), snapshots.column("train_acc"), chance)
    kept = snapshots.epochs.tolist()
    wanted = [kept[0], kept[-1], turns.onset, turns.best]
    for collapse in largest(turns.collapses, max(most - len(wanted), 0) // _A_COLLAPSE):
        wanted += [collapse.before, collapse.bottom, collapse.settled]
    places = {kept.index(epoch) for epoch in wanted[: max(most, 1)] if epoch in kept}
    full = -(-len(places) // multiple) * multiple
    while len(places) < min(full, most, len(kept)):
        # by places as well as by epochs: the beginning, where states are dense, has its share
        far = [min(abs(place - other) for other in places) for place in range(len(kept))]
        places.add(int(np.argmax(far)))
    return tuple(sorted(places))


def thinned(x: Array, y: Array, bins: int = 600) -> tuple[Array, Array]:
    """The curve with at most two points a bin, its lowest and its highest, so that no spike is lost; no point is moved.

    `x`, ascending, and `y` are (points,), of which those that are not finite are left out; bins have equally many.
    """
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) <= 2 * bins:
        return x, y
    edges = np.linspace(0, len(x), bins + 1).astype(int)
    places = {0, len(x) - 1}
    for first, end in pairwise(edges):
        places |= {first + int(y[first:end].argmin()), first + int(y[first:end].argmax())}
    order = sorted(places)
    return x[order], y[order]


def column_edges(epochs: Array) -> Array:
    """Where the columns of the kept epochs, (states,), begin and end, (states + 1,): half way to their neighbours."""
    if len(epochs) == 1:
        return np.array([max(epochs[0] - 0.5, 0.0), epochs[0] + 0.5])
    return np.array([epochs[0], *(epochs[1:] + epochs[:-1]) / 2, epochs[-1]])


def root_ticks(last: int) -> list[int]:
    """Epochs to be labelled on the scale of square roots: 0, the last, and three of two digits between."""
    if last < 8:
        return list(range(last + 1))
    ticks = {0, last}
    for share in (1 / 16, 1 / 4, 9 / 16):  # evenly on that scale
        power = 10.0 ** np.floor(np.log10(share * last / 10))
        ticks.add(int(np.floor(share * last / power) * power) if power >= 1 else round(share * last))
    return sorted(ticks)


def letter_of(place: int) -> str:
    """The letter of a panel: a to z, then aa, ab and so on, as the papers count their panels."""
    before, last = divmod(place, 26)
    return (letter_of(before - 1) if before else "") + chr(ord("a") + last)


def _draw_curves(ax: Axes, snapshots: RecordedStates, panel: str) -> None:
    is_loss, task = panel == "loss", snapshots.cell.dataset.task
    handles = []
    for name, (words, colour) in _CURVES[panel].items():
        x, y = snapshots.column("epoch") - (name in _ONE_EPOCH_LATER), snapshots.column(name)
        if is_loss:
            y = np.where(y > 0, y, np.nan)  # a logarithm has no place for 0
        x, y = thinned(x, y)
        words = words.format(loss=LOSSES[task])
        if len(x):
            order = 1.5 if name.startswith("val") else 2.0  # the few validation points' line jumps: below the other
            ax.plot(x, y, color=colour, linewidth=0.7, label=words, gid=name, zorder=order)
            handles.append(Line2D([], [], color=colour, linewidth=1.4, label=words))
    if is_loss:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        ax.yaxis.set_minor_formatter(NullFormatter())
        y = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in ax.lines] or [np.ones(1)])
        low, high = np.floor(np.log10(y.min())), np.ceil(np.log10(y.max()))
        ax.set_ylim(10**low, 10 ** max(high, low + 1))
    else:
        ax.set_ylim(-0.03, 1.03)
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlim(0, max(int(snapshots.epochs[-1]), 1))
    ax.set_ylabel(_SCORES[task] if panel == "accuracy" else panel, fontsize=NORMAL)
    ax.tick_params(pad=2, **TICKS)
    if handles:
        ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.02),
            frameon=False,
            fontsize=SMALL,
            handlelength=1.2,
            borderaxespad=0.3,
        )


def _letter(axes: NDArray[np.object_], snapshots: RecordedStates, states: Sequence[int]) -> None:
    """A line in every panel at each epoch that is shown below, and its letter above the topmost."""
    span = max(int(snapshots.epochs[-1]), 1)
    ends = [-np.inf] * _LANES
    for place, state in enumerate(states):
        epoch = int(snapshots.epochs[state])
        for ax in axes:
            ax.axvline(epoch, color="0.75", linewidth=0.5, zorder=0)
        lane = next((lane for lane in range(_LANES) if epoch / span - ends[lane] >= _LEAST_APART), int(np.argmin(ends)))
        ends[lane] = epoch / span
        axes[0].annotate(
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
    probability, extent, accuracy = surface(snapshots, state, data)
    ax.imshow(probability, extent=extent, origin="lower", cmap=SURFACE, vmin=0, vmax=1, aspect="auto")
    scatter_classes(ax, data.x_train.double().numpy(), data.y_train.numpy(), 1.6, zorder=2)
    scatter_classes(ax, data.x_val.double().numpy(), data.y_val.numpy(), 2.6, zorder=3, hollow=True)
    ax.set_title(f"({letter}) {snapshots.epochs[state]:,}: {accuracy:.2f}", fontsize=SMALL, pad=2)
    bare(ax)


def _data(dataset: DatasetSpec, data_dir: Path) -> Data | None:
    """The points, where they are in a plane and so have surfaces."""
    if dataset.features != 2 or dataset.classes != 2:
        return None
    try:
        return load(dataset, data_dir)
    except DataError:
        return None
