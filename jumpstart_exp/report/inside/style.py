"""What the figures of the inside share: sizes, colours, how points and titles look."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from jumpstart_exp.cell import Cell
from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.report.table.names import method_title
from jumpstart_exp.result import LOSSES

SMALL, NORMAL = 5.5, 6.5
"""Points of the letters in and beside panels."""

LEAST_WIDTH = 3.0
"""Inches: in a narrower figure the letters would not fit."""

CLASS_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
CLASS_MARKERS = "o^sDvPX*<>"
"""Classes are told apart by both; colours of Okabe and Ito, whom the colour-blind can follow."""


def new_figure(width_inches: float) -> Figure:
    """An empty figure of that width, whose height is yet to be set.

    Raises:
        ValueError: it is too narrow for its letters.
    """
    if not width_inches >= LEAST_WIDTH:
        raise ValueError(f"width_inches={width_inches} is not allowed: it must be at least {LEAST_WIDTH:g}")
    layout = ConstrainedLayoutEngine(h_pad=0.02, w_pad=0.02, hspace=0.0, wspace=0.0)
    return Figure(figsize=(width_inches, width_inches), layout=layout)


def method_name(snapshots: RecordedStates) -> str:
    """The cell's method as the papers write it, and that it was trained on the constraints alone, where it was."""
    cell = snapshots.cell
    name = method_title(cell.method, cell.penalty.aggregate, cell.penalty.weight)
    return name if cell.task_loss else f"{name}, no {LOSSES[cell.dataset.task]}"


def network_words(cell: Cell) -> str:
    """Dataset, size and layout: "MOONS, 50×4"; the units of each layer where they differ."""
    layout = {"mlp": "", "conv2x1": " (2×1)", "cnn": " (CNN)"}[cell.network.layout]
    size = f"{cell.depth}×{cell.width}" if cell.network.widths is None else "-".join(map(str, cell.widths))
    return f"{cell.dataset.title}, {size}{layout}"


def figure_words(snapshots: RecordedStates) -> str:
    """Dataset, layout, size and seed of the network, and whether it is the stored one."""
    words = f"{network_words(snapshots.cell)}, seed {snapshots.cell.seed}"
    return f"{words} · trained again, otherwise than stored" if snapshots.agreement else words


def scatter_classes(
    ax: Axes,
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    size: float,
    *,
    hollow: bool = False,
    zorder: float = 1,
) -> None:
    """Points in a plane, (points, 2), by their class; those of a class one on the other are seen as darker."""
    for label in np.unique(labels):
        colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
        x, y = points[labels == label].T
        ax.scatter(
            x,
            y,
            s=size,
            marker=CLASS_MARKERS[label % len(CLASS_MARKERS)],
            facecolors="white" if hollow else colour,
            edgecolors=colour if hollow else None,
            linewidths=0.4 if hollow else 0.0,
            alpha=1.0 if hollow else 0.75,
            zorder=zorder,
            gid=f"class {label}",
        )


SURFACE = LinearSegmentedColormap.from_list("surface", ["#56A0CF", "#FFFFFF", "#EE9A5E"])
"""Probability of class 1, from class 0's colour to class 1's."""

TICKS: dict[str, Any] = {"length": 2, "width": 0.5, "labelsize": SMALL}


def bare(ax: Axes) -> None:
    """Take a panel's ticks, and make the lines around it thin."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_linewidth(0.4)
