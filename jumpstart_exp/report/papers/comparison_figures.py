"""Published heatmap, ours, and their difference side by side: drawing only."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from seaborn.cm import rocket

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.figures.panels import (
    MOST_NUMBERED,
    NUMBERED_CELL,
    SMALL_CELL,
    Measures,
    Panel,
    Scale,
    draw_legend,
    draw_panel,
    legend_handles,
)
from jumpstart_exp.report.papers.comparison import GridComparison
from jumpstart_exp.report.papers.layouts import TITLES
from jumpstart_exp.report.papers.published import METRICS
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.table.names import dataset_title

METRIC_TITLES = dict(zip(METRICS, ("training accuracy", "validation accuracy"), strict=True))
"""The published accuracies in words."""

LAYOUT_METHODS = ("relu", "sep_up")
"""What the figure of the layouts shows: what CPAIOR's figure 2 shows."""

_LEAST_PANEL = (1.5, 0.7)  # inches
_TITLE_SIZE = 11.0  # points
_CAPTION_SIZE = 7.5  # points
_LETTER = 0.54  # of a text's size; the width of a letter
_DIFFERENCES = "PuOr_r"  # purple and orange: apart for every kind of colour blindness

_Entry = TypeVar("_Entry", bound=np.generic)


@dataclass(frozen=True, eq=False)
class _Column:
    title: str
    values: Floats
    scale: Scale
    number: str
    untrained: NDArray[np.bool_]
    partly_untrained: NDArray[np.bool_]


def draw_comparison(comparison: GridComparison, folder: Path) -> list[Path]:
    """Draw published, ours and difference, a row a method, as STUDY_VARIANT_published_METRIC, PNG and PDF.

    Raises:
        OSError: the folder cannot be written.
    """
    name = f"{comparison.study}_{comparison.variant}_published"
    return [
        path
        for metric in METRICS
        for path in save_figure(partial(comparison_figure, comparison, metric), folder, f"{name}_{metric}")
    ]


def draw_layouts(comparisons: Mapping[str, GridComparison], folder: Path) -> list[Path]:
    """Draw both layouts of the MOONS network beside the published figure, as moons_layouts_METRIC, PNG and PDF.

    Raises:
        OSError: the folder cannot be written.
    """
    return [
        path
        for metric in METRICS
        for path in save_figure(partial(layouts_figure, comparisons, metric), folder, f"moons_layouts_{metric}")
    ]


def comparison_figure(comparison: GridComparison, metric: str) -> Figure:
    """Published, ours (mean over seeds) and ours minus published at the best epoch; a row a method.

    `metric` is train_acc_best or val_acc_best. The colours of the difference are symmetric around 0. Places that are
    not published, or that the store has not, are hatched.
    """
    published, mean = comparison.published[metric], comparison.mean[metric]
    difference = comparison.difference(metric)
    lost, partly = _without(comparison)
    nothing = np.zeros_like(lost)
    accuracy = Scale(rocket, comparison.grid.chance, 1.0)
    end = difference_end(difference)
    columns = [
        _Column("published (one seed)", published, accuracy, "{:.2f}", nothing, nothing),
        _Column(f"ours (mean, {seeds_in_words([comparison])})", mean, accuracy, "{:.2f}", lost, partly),
        _Column("ours minus published", difference, Scale(colormaps[_DIFFERENCES], -end, end), "{:+.2f}", lost, partly),
    ]
    name = dataset_title(comparison.grid.dataset)
    variant = TITLES[comparison.variant] if comparison.grid.dataset == "moons" else f"variant={comparison.variant}"
    title = f"{name}, {METRIC_TITLES[metric]} at the best epoch: published and ours, {variant}"
    figure, axes = _figure(comparison, comparison.method_titles, columns, title, caption(comparison))
    _draw_bar(axes[:, :2], columns[:2], "accuracy")
    _draw_bar(axes[:, 2:], columns[2:], "ours minus published")
    return figure


def layouts_figure(comparisons: Mapping[str, GridComparison], metric: str) -> Figure:
    """The published figure of ReLU and Sep-UP beside ours in both layouts, one column each; `metric` as above."""
    first = next(iter(comparisons.values()))
    methods = [method for method in LAYOUT_METHODS if all(method in of.methods for of in comparisons.values())]
    accuracy = Scale(rocket, first.grid.chance, 1.0)
    nothing = np.zeros((len(methods), len(first.depths), len(first.widths)), dtype=np.bool_)
    columns = [
        _Column(
            "published (one seed)", _of(first, first.published[metric], methods), accuracy, "{:.2f}", nothing, nothing
        )
    ]
    for variant in VARIANTS:
        if variant in comparisons:
            own = comparisons[variant]
            lost, partly = (_of(own, of, methods) for of in _without(own))
            title = f"{TITLES[variant]}\nmean, {seeds_in_words([own])}"
            columns.append(_Column(title, _of(own, own.mean[metric], methods), accuracy, "{:.2f}", lost, partly))
    titles = [first.method_titles[first.methods.index(method)] for method in methods]
    title = f"MOONS, {METRIC_TITLES[metric]} at the best epoch: the published figure and both layouts"
    figure, axes = _figure(first, titles, columns, title, "")
    _draw_bar(axes, columns, "accuracy")
    return figure


def caption(comparison: GridComparison) -> str:
    """What the figure leaves out: depths and methods without a published value."""
    parts = []
    if comparison.other_depths:
        word = "depth" if len(comparison.other_depths) == 1 else "depths"
        parts.append(f"{word} {', '.join(map(str, comparison.other_depths))}")
    if comparison.other_methods:
        parts.append(f"methods {', '.join(comparison.other_methods)}")
    return f"Trained, but without a published value: {'; '.join(parts)}." if parts else ""


def seeds_in_words(comparisons: Sequence[GridComparison]) -> str:
    """How many seeds the compared places have: 10 seeds, or 3–10 seeds."""
    counts = np.concatenate([seeds[seeds > 0] for of in comparisons for seeds in of.seeds.values()])
    if not len(counts):
        return "no seed"
    fewest, most = int(counts.min()), int(counts.max())
    return f"{fewest} seed{'s' * (fewest != 1)}" if fewest == most else f"{fewest}–{most} seeds"


def difference_end(difference: Floats) -> float:
    """The end of a scale symmetric around 0 that holds every difference: a tenth, at least 0.1."""
    known = np.abs(difference[~np.isnan(difference)])
    return max(float(np.ceil(known.max() * 10 - 1e-9) / 10), 0.1) if len(known) else 0.1


def _without(comparison: GridComparison) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where there are seeds and none, and where only some, have an accuracy, (methods, depths, widths)."""
    known = ~np.isnan(comparison.values[METRICS[0]])
    lost = comparison.present & ~known
    some, none = np.any(lost, axis=-1), ~np.any(known, axis=-1)
    return np.asarray(some & none), np.asarray(some & ~none)


def _of(comparison: GridComparison, values: NDArray[_Entry], methods: Sequence[str]) -> NDArray[_Entry]:
    """The rows of these methods."""
    return values[[comparison.methods.index(method) for method in methods]]


def _figure(
    comparison: GridComparison, rows: Sequence[str], columns: Sequence[_Column], title: str, note: str
) -> tuple[Figure, NDArray[np.object_]]:
    """The panels, (rows, columns), over a caption."""
    depths, widths = len(comparison.depths), len(comparison.widths)
    numbered = max(depths, widths) <= MOST_NUMBERED
    cell = NUMBERED_CELL if numbered else SMALL_CELL
    panel = (max(depths * cell[0], _LEAST_PANEL[0]), max(widths * cell[1], _LEAST_PANEL[1]))
    measures = Measures(panel, (panel[0] / depths, panel[1] / widths), numbered)
    width = len(columns) * (panel[0] + 0.15) + 1.0
    titles, notes = _wrapped(title, width, _TITLE_SIZE), _wrapped(note, width, _CAPTION_SIZE)
    heights = (len(rows) * (panel[1] + 0.12) + 1.5 + 0.2 * len(titles), (len(notes) + 0.3) * _CAPTION_SIZE * 1.3 / 72)
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights), dtype=object))
    upper.suptitle("\n".join(titles), fontsize=_TITLE_SIZE)
    lower.text(0.15 / width, 1.0, "\n".join(notes), fontsize=_CAPTION_SIZE, va="top", linespacing=1.25)
    axes = np.asarray(upper.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False), dtype=object)
    labels = tuple(map(str, comparison.depths)), tuple(map(str, comparison.widths))
    for row, name in enumerate(rows):
        for index, column in enumerate(columns):
            panel_of = Panel(column.values[row], column.untrained[row], column.partly_untrained[row], *labels)
            draw_panel(axes[row, index], panel_of, column.scale, measures, column.number)
        named = textwrap.wrap(name, width=max(int(panel[1] / 0.08), 10), break_on_hyphens=False)
        axes[row, 0].set_ylabel("\n".join([*named, "width"]))
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(column.title, fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("depth")
    draw_legend(upper, legend_handles(axes.ravel().tolist()))
    return figure, axes


def _wrapped(text: str, width: float, size: float) -> list[str]:
    return textwrap.wrap(text, width=int((width - 0.3) * 72 / (size * _LETTER)), break_on_hyphens=False)


def _draw_bar(axes: NDArray[np.object_], columns: Sequence[_Column], label: str) -> None:
    scale = columns[0].scale
    below = any(bool(np.any(column.values < scale.low)) for column in columns)
    axes[0, 0].get_figure(root=False).colorbar(
        ScalarMappable(Normalize(scale.low, scale.high), scale.colours),
        ax=axes,
        label=label,
        extend="min" if below else "neither",
        location="bottom",
        aspect=26 * axes.shape[1],
        pad=0.02,
        shrink=0.9,
    )
