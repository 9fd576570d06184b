"""Trainings with relaxed layers: losses, hidden losses layer by layer, how far z is from the network; drawing only."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.figures.drawing import figure_job, label_powers, wrapped
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.result import LOSSES
from jumpstart_exp.store.fields import Settings

_MOST_ROWS = 6
_PANEL, _AROUND = (2.5, 1.35), (0.9, 1.25)
"""Inches of a panel, and of what is beside and around all."""
_SMALL = 7
_MOST_LAYERS = 5  # that are labelled
_MOST_DECADES = 6  # below the largest value: a loss may fall to 0
_RELAXED, _ORDINARY, _GAP, _LARGEST = "#D55E00", "#7F7F7F", "#0072B2", "#CC79A7"
_LEAST = 1e-12  # of a hidden loss's colour: a forward start's rounding, and 0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RelaxedTraining:
    """A method with relaxed layers at one depth and width, and the ordinary training of the same network.

    `layers` are the relaxed layers in words, as a curve's hidden losses have them; `diverged` seeds of the `seeds` did.
    `seeds` and `ordinary` are the curves of each seed, the columns of the store; the latter is empty where the figure
    has no method that differs in the relaxation alone.
    """

    title: str
    depth: int
    width: int
    layers: tuple[str, ...]
    diverged: int
    seeds: tuple[pd.DataFrame, ...]
    ordinary: tuple[pd.DataFrame, ...]


def relaxed_trainings(grid: FigureGrid, table: pd.DataFrame, curves: pd.DataFrame) -> list[RelaxedTraining]:
    """The figure's trainings with relaxed layers of which there are curves, the deepest and widest networks first.

    Args:
        grid: a figure of the store.
        table: the store's cells, of which the grid has the rows.
        curves: the store's curves of the grid's cells.
    """
    by_key = {str(key): own for key, own in curves.groupby("key")}

    def of(method: int, depth: int, width: int) -> dict[str, pd.DataFrame]:
        rows = grid.rows[method, depth, width]
        keys = [str(table["key"].iloc[row]) for row in rows if row >= 0]
        return {key: by_key[key] for key in keys if key in by_key}

    found, shown = [], set[str]()
    for index, label in enumerate(grid.methods):
        if not is_relaxed(grid, label):
            continue
        plain = _without_relaxation(grid, label)
        others = [grid.methods.index(name) for name in grid.methods if name != label and _same(grid, name, plain)]
        for place in np.argwhere(grid.present[index].any(axis=-1)).tolist():
            seeds = {key: own for key, own in of(index, *place).items() if own["logit_gap"].notna().any()}
            if not seeds or seeds.keys() <= shown:  # the same cells under another label
                continue
            shown |= seeds.keys()
            depth, width = grid.depths[place[0]], grid.widths[place[1]]
            found.append(
                RelaxedTraining(
                    title=grid.method_titles[index],
                    depth=depth,
                    width=width,
                    layers=_layers(grid.settings[label], depth),
                    diverged=int(grid.diverged[index, place[0], place[1]].sum()),
                    seeds=tuple(seeds.values()),
                    ordinary=tuple(of(others[0], *place).values()) if others else (),
                )
            )
    return sorted(found, key=lambda each: (-each.depth, -each.width))


def _layers(settings: Settings, depth: int) -> tuple[str, ...]:
    """The relaxed layers, from 1 on, and "out" for the outputs."""
    layers, every = settings.get("rai.layers"), settings.get("rai.every")
    if isinstance(layers, tuple):
        own = [int(layer) for layer in layers]
    elif isinstance(every, float):
        own = [*range(int(every), depth + 1, int(every))]
    else:  # the outputs alone
        own = []
    return (*map(str, own), *(["out"] if settings.get("rai.include_output") is True else []))


def is_relaxed(grid: FigureGrid, label: str) -> bool:
    """Whether a method of the figure relaxes layers."""
    weight = grid.settings[label].get("rai.weight")
    return isinstance(weight, float) and weight > 0


def relaxation_figure(grid: FigureGrid, trainings: Sequence[RelaxedTraining]) -> Figure:
    """A row a method and network: losses, hidden losses by layer, and how far the relaxed values are from the network.

    At most six rows, the deepest and widest networks.

    Raises:
        ValueError: no training.
    """
    if not trainings:
        raise ValueError("a figure of relaxation takes trainings with relaxed layers, and there is none")
    shown = trainings[:_MOST_ROWS]
    size = 3 * _PANEL[0] + _AROUND[0], len(shown) * _PANEL[1] + _AROUND[1]
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(shown), 3, squeeze=False)
    longest = max(int(own["epoch"].max()) for training in shown for own in (*training.seeds, *training.ordinary))
    for row, training in zip(axes, shown, strict=True):
        _draw_losses(row[0], training, grid.task)
        _draw_layers(figure, row[1], training)
        _draw_distance(row[2], training)
        for ax in row:
            ax.tick_params(length=2, width=0.6, labelsize=_SMALL)
            ax.set_xlim(0, longest)
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for ax, title in zip(
        axes[0], ("loss of the network by itself", "hidden loss by layer", "relaxed values"), strict=True
    ):
        ax.set_title(title, fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("epoch", fontsize=_SMALL)
    handles = [Line2D([], [], color=_RELAXED, label="relaxed")]
    if any(training.ordinary for training in shown):
        handles.append(Line2D([], [], color=_ORDINARY, label="trained as usual"))
    handles.append(Line2D([], [], color=_GAP, label="mean |relaxed − plain output|"))
    handles.append(Line2D([], [], color=_LARGEST, label="largest |z|"))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        fontsize=_SMALL,
        title="\n".join(wrapped(grid.title, size[0] - 0.3, 9, 0.55)),
        title_fontsize=9,
    )
    figure.supxlabel(
        "\n".join(wrapped(_caption(shown, len(trainings)), size[0] - 0.2, 7, 0.56)), fontsize=7, x=0.02, ha="left"
    )
    return figure


def _caption(shown: Sequence[RelaxedTraining], count: int) -> str:
    some = "" if count == len(shown) else f"{len(shown)} of {counted(count, 'network')}, the deepest and widest. "
    return (
        f"{some}A thin line a seed, to where it diverged, if it did. Losses, as all scores, are those of the network "
        "by itself, without relaxed values. Hidden losses before their weight, the median of the seeds that have one; "
        "white: 0, black: not finite. The gap is between what the training's loss is of and the network's own output, "
        "a mean over the training points."
    )


def _draw_losses(ax: Axes, training: RelaxedTraining, task: str) -> None:
    for curves, colour, gid in ((training.ordinary, _ORDINARY, "ordinary"), (training.seeds, _RELAXED, "relaxed")):
        _draw_lines(ax, curves, "train_loss", colour, gid)
    _in_powers(ax)
    lost = f", {training.diverged} diverged" if training.diverged else ""
    ax.set_ylabel(f"{training.title}\n{training.depth}×{training.width}{lost}\n{LOSSES[task]}", fontsize=_SMALL)


def _draw_distance(ax: Axes, training: RelaxedTraining) -> None:
    for column, colour in (("logit_gap", _GAP), ("largest_z", _LARGEST)):
        _draw_lines(ax, training.seeds, column, colour, column)
    _in_powers(ax)


def _in_powers(ax: Axes) -> None:
    """A logarithmic axis over whole powers of ten, so that two at least are labelled."""
    ax.set_yscale("log")
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in ax.lines])
    if np.isfinite(values).any():
        low, high = np.floor(np.log10(np.nanmin(values))), np.ceil(np.log10(np.nanmax(values)))
        low = max(low, high - _MOST_DECADES)
        ax.set_ylim(10**low, 10 ** max(high, low + 1))
    label_powers(ax.yaxis)


def _draw_lines(ax: Axes, curves: Sequence[pd.DataFrame], column: str, colour: str, gid: str) -> None:
    for own in curves:
        values = own[column].to_numpy(np.float64)
        values = np.where(np.isfinite(values) & (values > 0), values, np.nan)  # a logarithm has no place for 0
        alone = "." if np.isfinite(values).sum() == 1 else ""
        ax.plot(own["epoch"], values, color=colour, linewidth=0.7, marker=alone, alpha=0.7, gid=gid)


def hidden_losses(curves: Sequence[pd.DataFrame]) -> tuple[Floats, Floats]:
    """The epochs of these curves, (epochs,), and each relaxed layer's hidden loss, (epochs, relaxed layers).

    It is the median over the curves that have the epoch and a finite loss; NaN where none has.
    """
    measured = [own[own["hidden_losses"].notna()].set_index("epoch")["hidden_losses"] for own in curves]
    epochs = sorted(set().union(*({*own.index} for own in measured)))
    values = np.full((len(measured), len(epochs), len(measured[0].iloc[0])), np.nan)
    for number, own in enumerate(measured):
        values[number, np.searchsorted(epochs, own.index)] = np.vstack([*own])
    values[~np.isfinite(values)] = np.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return np.array(epochs, np.float64), np.asarray(np.nanmedian(values, axis=0))


def _draw_layers(figure: Figure, ax: Axes, training: RelaxedTraining) -> None:
    epochs, losses = hidden_losses(training.seeds)
    ax.set_ylabel("relaxed layer", fontsize=_SMALL)
    positive = losses[losses > 0]
    if not len(positive):
        words = "all 0" if (losses == 0).all() else "none positive and finite"
        ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=_SMALL)
        ax.set_yticks([])
        return
    high = float(positive.max())
    low = min(max(float(positive.min()), _LEAST), high / 10)
    colours = matplotlib.colormaps["viridis"].with_extremes(under="white", bad="black")
    shown = np.ma.masked_invalid(np.where(losses == 0, low / 2, np.maximum(losses, low)))
    places = np.arange(losses.shape[1])
    mesh = ax.pcolormesh(
        epochs, places, shown.T, norm=LogNorm(low, high), cmap=colours, shading="nearest", rasterized=True
    )
    ticks = np.unique(np.linspace(0, len(places) - 1, min(len(places), _MOST_LAYERS)).round().astype(int))
    ax.set_yticks(ticks.tolist(), [training.layers[at] for at in ticks])
    bar = figure.colorbar(mesh, ax=ax, pad=0.02)
    label_powers(bar.ax.yaxis)
    bar.ax.tick_params(which="both", length=2, width=0.6, labelsize=6)


@of_store("relaxation", rank=15, title="relaxed layers over the training")
def _relaxation(stored: Stored) -> Iterator[Job]:
    for grid in stored.alone:
        if any(is_relaxed(grid, label) for label in grid.methods):
            keys = stored.table["key"].iloc[grid.rows[grid.rows >= 0]]
            if found := relaxed_trainings(grid, stored.table, stored.store.curves(keys)):
                yield figure_job(f"{grid.slug}_relaxation", partial(relaxation_figure, grid, found))


def _without_relaxation(grid: FigureGrid, label: str) -> dict[str, object]:
    return {name: value for name, value in grid.settings[label].items() if not name.startswith("rai.")}


def _same(grid: FigureGrid, label: str, plain: dict[str, object]) -> bool:
    return not is_relaxed(grid, label) and _without_relaxation(grid, label) == plain
