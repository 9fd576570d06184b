"""The data as it passes through networks, a row a network (SepCons, figures 2 to 8; ICLR, figures 6 to 11)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jumpstart_exp.data.loading import load
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.report.inside.activations import MOST_POINTS, ROUNDING, Layer, layers_of
from jumpstart_exp.report.inside.style import (
    NORMAL,
    SMALL,
    bare,
    figure_words,
    method_name,
    new_figure,
    scatter_classes,
)

_LINE_INCHES = 0.094  # of the notes below a panel
_LETTER_INCHES, _TITLE_LETTER_INCHES = 0.041, 0.052  # about; of the notes, and of the names above
_TITLE_LETTERS = 16


def transforms_figure(
    snapshots: Sequence[RecordedStates], width_inches: float, data_dir: Path = Path("data")
) -> Figure:
    """The last state's training points at the input, the 4th, middle and last hidden layer (features), and the output.

    A row a network. Layers of more than two units are shown in the plane of their first two principal components; the
    note below says which share of the variance that is, how many distinct points are left, and what is dead. An output
    of one logit stands across, the classes one above the other; the line is where the answer changes. `data_dir` has
    the datasets' files.

    Raises:
        DataError: the dataset's files are missing or damaged.
        ValueError: no networks, or they differ in dataset or depth; or the figure is too narrow.
    """
    figure = new_figure(width_inches)
    if not snapshots or len({(one.cell.dataset, one.cell.depth) for one in snapshots}) > 1:
        raise ValueError("a figure of transforms takes networks of one dataset and depth")
    data = load(snapshots[0].cell.dataset, data_dir)
    labels = data.y_train[:MOST_POINTS].numpy()
    rows = [layers_of(one, -1, data) for one in snapshots]
    across, depth = len(rows[0]), snapshots[0].cell.depth
    panel = (width_inches - 0.4) / across
    notes = [[_notes(layer, len(labels), panel) for layer in layers] for layers in rows]
    letters = max(int(panel / _TITLE_LETTER_INCHES), 8)
    names = ["\n".join(textwrap.wrap(_layer_name(layer.number, depth), letters)) for layer in rows[0]]
    below = [0.07 + _LINE_INCHES * max(note.count("\n") + 1 for note in row) for row in notes]
    figure.set_figheight(len(rows) * panel + sum(below) + 0.27 + 0.11 * (1 + max(name.count("\n") for name in names)))
    epochs = sorted({int(one.epochs[-1]) for one in snapshots})
    shown = f"after {epochs[0]:,} epochs" if len(epochs) == 1 else f"after {epochs[0]:,} to {epochs[-1]:,} epochs"
    differs = next((one for one in snapshots if one.agreement), snapshots[0])
    figure.suptitle(f"{figure_words(differs)} · {shown}", fontsize=NORMAL + 1)
    axes = figure.subplots(len(rows), across, squeeze=False)
    for row, layers in enumerate(rows):
        for ax, layer, note in zip(axes[row], layers, notes[row], strict=True):
            _draw_layer(ax, layer, labels)
            ax.set_xlabel(note, fontsize=SMALL, labelpad=2)
        method = method_name(snapshots[row])
        beside = method if len(method) <= _TITLE_LETTERS else method.replace(", ", ",\n", 1)
        axes[row, 0].set_ylabel(beside, fontsize=NORMAL)
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name, fontsize=NORMAL, pad=3)
    return figure


def _draw_layer(ax: Axes, layer: Layer, labels: NDArray[np.int64]) -> None:
    is_line = layer.values.shape[1] == 1
    points = np.stack([layer.values[:, 0], _lanes(labels)], axis=1) if is_line else layer.points
    scatter_classes(ax, points, labels, 4.0)
    low, high, largest = points.min(axis=0), points.max(axis=0), np.abs(layer.values).max()
    # a point alone stands in the middle of its panel
    reach = np.where(high - low > ROUNDING * largest, 0.56 * (high - low), max(largest, 1.0))
    middle = (low + high) / 2
    ax.set_xlim(middle[0] - reach[0], middle[0] + reach[0])
    ax.set_ylim(middle[1] - reach[1], middle[1] + reach[1])
    if is_line:
        ax.axvline(0, color="0.4", linewidth=0.6, linestyle=(0, (2, 2)), zorder=0)
    ax.set_box_aspect(1)
    bare(ax)


def _notes(layer: Layer, count: int, inches: float) -> str:
    """What a panel cannot show, in lines that fit below it: points left, variance in the plane, what is dead."""
    notes = [f"{layer.distinct} of {count} points left"]
    if layer.shown is not None and layer.distinct > 1:
        notes.append(f"{layer.shown:.0%} of the variance")
    if layer.units:
        notes.append(f"dead units: {layer.dead_units} of {layer.units}")
        notes.append(f"dead points: {layer.dead_points}")
    letters = max(int(inches / _LETTER_INCHES), 8)
    return "\n".join(line for note in notes for line in textwrap.wrap(note, letters))


def _lanes(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """A height for each point by its class, those of a class spread by their order: equal logits are told apart."""
    heights = labels.astype(np.float64)
    for label in np.unique(labels):
        chosen = labels == label
        heights[chosen] += np.linspace(-0.3, 0.3, int(chosen.sum()))
    return heights


def _layer_name(number: int, depth: int) -> str:
    named = {0: "input", depth: f"features (layer {number})", depth + 1: "output"}
    return named.get(number, f"layer {number}")
