"""The census of every layer over a training: four pictures of layer × epoch (CPAIOR, definitions 1 and 2)."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray
from seaborn.cm import rocket_r

from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.inside.style import NORMAL, SMALL, check_width, figure_words, method_name, new_figure
from jumpstart_exp.result import CENSUS

_PANEL_INCHES = 1.05


def census_figure(snapshots: RecordedStates, width_inches: float, data_dir: Path = Path("data")) -> Figure:
    """Shares of dead and linear units and points of each hidden layer at the kept epochs, on the training points.

    Epochs stand on the scale of their square root, so that the beginning has room; each column of a picture is a kept
    state, and reaches half way to its neighbours.

    Args:
        snapshots: of one cell.
        width_inches: of the figure, at least 3.
        data_dir: of no use here: the census is kept with the states.
    """
    check_width(width_inches)
    epochs, depth = snapshots.epochs.astype(np.float64), snapshots.cell.depth
    with plain_style():
        figure = new_figure(width_inches, 2 * _PANEL_INCHES + 0.75)
        figure.suptitle(f"{method_name(snapshots)} · {figure_words(snapshots)}", fontsize=NORMAL + 1.5)
        axes = figure.subplots(2, 2, sharex=True, sharey=True)
        for place, name in enumerate(CENSUS):
            ax = axes[place // 2, place % 2]
            mesh = ax.pcolormesh(
                np.sqrt(column_edges(epochs)),
                np.arange(depth + 1) + 0.5,
                snapshots.census[:, place].T,
                cmap=rocket_r,
                vmin=0,
                vmax=1,
                rasterized=True,
            )
            ax.set_title(name.replace("_", " "), fontsize=NORMAL, pad=3)
            ax.tick_params(length=2, width=0.5, pad=2, labelsize=SMALL)
            ax.xaxis.set_major_locator(FixedLocator([float(np.sqrt(tick)) for tick in root_ticks(int(epochs[-1]))]))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda root, _: f"{round(root**2):,}"))
            ax.xaxis.set_minor_locator(NullLocator())
            if place // 2 == 1:
                ax.set_xlabel("epochs done (square-root scale)", fontsize=NORMAL)
            if place % 2 == 0:
                ax.set_ylabel("layer", fontsize=NORMAL)
        bar = figure.colorbar(mesh, ax=axes, aspect=30, pad=0.01)
        bar.set_label("share of the layer", fontsize=NORMAL)
        bar.ax.tick_params(length=2, width=0.5, labelsize=SMALL)
        bar.outline.set_linewidth(0.5)
        return figure


def column_edges(epochs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the columns of the kept epochs, (states,), begin and end, (states + 1,): half way to their neighbours."""
    if len(epochs) == 1:
        return np.array([max(epochs[0] - 0.5, 0.0), epochs[0] + 0.5])
    middles = (epochs[1:] + epochs[:-1]) / 2
    return np.array([epochs[0], *middles, epochs[-1]])


def root_ticks(last: int) -> list[int]:
    """Epochs to be labelled on the scale of square roots: 0, the last, and three of two digits between."""
    if last < 8:
        return list(range(last + 1))
    ticks = {0, last}
    for share in (1 / 16, 1 / 4, 9 / 16):  # evenly on that scale
        power = 10.0 ** np.floor(np.log10(share * last / 10))
        ticks.add(int(np.floor(share * last / power) * power) if power >= 1 else round(share * last))
    return sorted(ticks)
