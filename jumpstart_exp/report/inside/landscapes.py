"""Decisions over the input plane after the training, a panel a seed (RAI, figures 2 to 5)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jumpstart_exp.data.loading import Data, load
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.networks.build import dtype
from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.inside.activations import Array, accuracy_on, disagreement, surface
from jumpstart_exp.report.inside.style import (
    NORMAL,
    SMALL,
    SURFACE,
    TICKS,
    bare,
    method_name,
    network_words,
    new_figure,
    scatter_classes,
)

_FEWEST_ACROSS, _MOST_ACROSS = 3, 5
_RESOLUTION = 120
_TITLE_INCHES, _ABOVE_INCHES, _BESIDE_INCHES = 0.24, 0.4, 0.42


def landscapes_figure(
    snapshots: Sequence[RecordedStates], width_inches: float, data_dir: Path = Path("data")
) -> Figure:
    """The last state's probability of class 1 over the plane, with its boundary and the training points.

    A panel a seed, titled by the accuracies; what is evaluated is the plain network, of relaxed layers too. The title
    has the share of the plane that two seeds decide differently. `data_dir` has the datasets' files.

    Raises:
        DataError: the dataset's files are missing or damaged.
        ValueError: no networks, or they differ in more than the seed, or their points are not of two classes in a
            plane; or the figure is too narrow.
    """
    figure = new_figure(width_inches)
    if not snapshots or len({replace(one.cell, seed=0).key for one in snapshots}) > 1:
        raise ValueError("a figure of landscapes takes networks that differ in nothing but the seed")
    cell = snapshots[0].cell
    if (cell.dataset.features, cell.dataset.classes) != (2, 2):
        raise ValueError("a figure of landscapes takes points of two classes in a plane")
    data = load(cell.dataset, data_dir)
    across = min(max(len(snapshots), _FEWEST_ACROSS), _MOST_ACROSS)
    down = -(-len(snapshots) // across)
    found = [surface(one, -1, data, _RESOLUTION) for one in snapshots]
    left, right, lower, upper = found[0][1]
    panel = (width_inches - _BESIDE_INCHES) / across * (upper - lower) / (right - left)
    figure.set_figheight(down * (panel + _TITLE_INCHES) + _ABOVE_INCHES)
    axes = np.ravel(figure.subplots(down, across, squeeze=False))
    for ax, one, (probability, extent, accuracy) in zip(axes, snapshots, found, strict=False):
        _draw(ax, one, data, probability, extent, accuracy)
    for ax in axes[len(snapshots) :]:
        ax.set_axis_off()
    bar = figure.colorbar(axes[0].images[0], ax=axes.tolist(), aspect=20 * down, pad=0.01, ticks=[0, 0.5, 1])
    bar.set_label("probability of class 1", fontsize=SMALL)
    bar.ax.tick_params(**TICKS)
    bar.outline.set_linewidth(0.4)
    figure.suptitle(_title(snapshots, [probability for probability, *_ in found]), fontsize=NORMAL + 1)
    return figure


def _draw(
    ax: Axes,
    snapshots: RecordedStates,
    data: Data,
    probability: Array,
    extent: tuple[float, float, float, float],
    accuracy: float,
) -> None:
    ax.imshow(probability, extent=extent, origin="lower", cmap=SURFACE, vmin=0, vmax=1, aspect="equal")
    if probability.min() < 0.5 < probability.max():
        ax.contour(probability, levels=[0.5], extent=extent, colors="black", linewidths=0.5, zorder=2)
    scatter_classes(ax, data.x_train.double().numpy(), data.y_train.numpy(), 1.8, zorder=3)
    cell = snapshots.cell
    validation = accuracy_on(snapshots, -1, data.inputs(data.x_val, dtype(cell)), data.y_val)
    diverged = "" if snapshots.diverged_epoch is None else ", diverged"
    scores = " / ".join("–" if np.isnan(score) else f"{score:.3f}" for score in (accuracy, validation))
    ax.set_title(f"seed {cell.seed}{diverged}\n{scores}", fontsize=SMALL, pad=2)
    bare(ax)


def _title(snapshots: Sequence[RecordedStates], probabilities: Sequence[Array]) -> str:
    """Method, data and network, what the panels' numbers are, and how far the seeds disagree."""
    first = snapshots[0]
    epochs = sorted({int(one.epochs[-1]) for one in snapshots})
    after = f"after {epochs[0]:,} epochs" if len(epochs) == 1 else f"after {epochs[0]:,} to {epochs[-1]:,} epochs"
    parts = [f"{method_name(first)} · {network_words(first.cell)}, {counted(len(snapshots), 'seed')}, {after}"]
    parts.append("accuracy: training / validation")
    found = disagreement(probabilities)
    if found is not None:
        mean, least, most = found
        pairs = f" ({least:.1%} to {most:.1%})" if len(snapshots) > 2 else ""
        parts.append(f"two seeds decide {mean:.1%}{pairs} of the plane differently")
    if any(one.agreement for one in snapshots):
        parts.append("trained again, otherwise than stored")
    return " · ".join(parts)
