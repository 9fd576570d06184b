"""Published heatmap, ours, and their difference side by side: drawing only."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.figures.colour_maps import rocket
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.figures.panel_grid import Bar, Panel, Scale, Style, draw_captioned
from jumpstart_exp.report.papers.comparison import GridComparison, on_axes
from jumpstart_exp.report.papers.layouts import TITLES
from jumpstart_exp.report.papers.published import METRICS
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.table.grid import FigureGrid

METRIC_TITLES = dict(zip(METRICS, ("training accuracy", "validation accuracy"), strict=True))
"""The published accuracies in words."""

LAYOUT_METHODS = ("relu", "sep_up")
"""What the figure of the layouts shows: what CPAIOR's figure 2 shows."""

_STYLE = Style(gap=0.12, margin=1.5, caption_margin=0.3)
_LEAST = (1.5, 0.7)  # inches
_DIFFERENCES = "PuOr_r"  # purple and orange: apart for every kind of colour blindness
_PUBLISHED = "published (one seed)"


def save_of_each(draw: Callable[[str], Figure], name: str, folder: Path) -> list[Path]:
    """Draw the figure of each published accuracy, as NAME_METRIC, PNG and PDF.

    Raises:
        OSError: the folder cannot be written.
    """
    return [path for metric in METRICS for path in save_figure(partial(draw, metric), folder, f"{name}_{metric}")]


def comparison_figure(comparison: GridComparison, metric: str) -> Figure:
    """Published, ours (mean over seeds) and ours minus published at the best epoch; a row a method.

    `metric` is train_acc_best or val_acc_best. The colours of the difference are symmetric around 0. Places that are
    not published, or that the store has not, are hatched.
    """
    ours, difference = comparison.ours, comparison.difference(metric)
    accuracy, end = Scale(rocket, ours.chance, 1.0), difference_end(difference)
    around_0 = Scale(colormaps[_DIFFERENCES], -end, end)
    columns = [
        _column(_PUBLISHED, comparison.published[metric], accuracy),
        _column(f"ours (mean, {seeds_in_words(ours)})", ours.mean(metric), accuracy, ours),
        _column("ours minus published", difference, around_0, ours, "{:+.2f}"),
    ]
    name = ours.dataset_title
    variant = TITLES[comparison.variant] if ours.dataset == "moons" else f"variant={comparison.variant}"
    title = f"{name}, {METRIC_TITLES[metric]} at the best epoch: published and ours, {variant}"
    bars = [("accuracy", slice(2)), ("ours minus published", slice(2, 3))]
    return _draw(ours, columns, bars, title, caption(comparison))


def layouts_figure(comparisons: Mapping[str, GridComparison], metric: str) -> Figure:
    """The published figure of ReLU and Sep-UP beside ours in both layouts, one column each; `metric` as above."""
    first = next(iter(comparisons.values()))
    methods = [method for method in LAYOUT_METHODS if all(method in of.ours.methods for of in comparisons.values())]
    published = first.published[metric][[first.ours.methods.index(method) for method in methods]]
    accuracy = Scale(rocket, first.ours.chance, 1.0)
    columns = [_column(_PUBLISHED, published, accuracy)]
    for variant, of in comparisons.items():
        shown = on_axes(of.ours, methods)
        title = f"{TITLES[variant]}\nmean, {seeds_in_words(of.ours)}"
        columns.append(_column(title, shown.mean(metric), accuracy, shown))
    title = f"MOONS, {METRIC_TITLES[metric]} at the best epoch: the published figure and both layouts"
    return _draw(on_axes(first.ours, methods), columns, [("accuracy", slice(None))], title, "")


def caption(comparison: GridComparison) -> str:
    """What the figure leaves out: depths and methods without a published value."""
    parts = []
    if depths := comparison.other_depths:
        parts.append(f"depth{'s' * (len(depths) > 1)} {', '.join(map(str, depths))}")
    if comparison.other_methods:
        parts.append(f"methods {', '.join(comparison.other_methods)}")
    return f"Trained, but without a published value: {'; '.join(parts)}." if parts else ""


def seeds_in_words(ours: FigureGrid) -> str:
    """How many seeds the compared places have that have any accuracy: 10 seeds, or 3–10 seeds."""
    counts = np.array([(~np.isnan(ours.accuracy[metric])).sum(axis=-1) for metric in METRICS])
    counts = counts[counts > 0]
    if not len(counts):
        return "no seed"
    fewest, most = int(counts.min()), int(counts.max())
    return counted(fewest, "seed") if fewest == most else f"{fewest}–{most} seeds"


def difference_end(difference: Floats) -> float:
    """The end of a scale symmetric around 0 that holds every difference: a tenth, at least 0.1."""
    known = np.abs(difference[~np.isnan(difference)])
    return max(float(np.ceil(known.max() * 10 - 1e-9) / 10), 0.1) if len(known) else 0.1


def _column(
    title: str, values: Floats, scale: Scale, marked: FigureGrid | None = None, number: str = "{:.2f}"
) -> list[Panel]:
    """A panel a method under the title, of values, (methods, depths, widths), with the marks of a figure."""
    nowhere = np.zeros(values.shape, np.bool_)
    lost, partly = (marked.untrained(), marked.partly_untrained()) if marked else (nowhere, nowhere)
    return [Panel(*of, scale, title, number=number) for of in zip(values, lost, partly, strict=True)]


def _draw(ours: FigureGrid, columns: Sequence[Sequence[Panel]], bars: Sequence[Bar], title: str, note: str) -> Figure:
    """The columns of panels, a row a method."""
    rows = [*zip(*columns, strict=True)]
    return draw_captioned(rows, ours.depths, ours.widths, ours.method_titles, bars, [title], note, _LEAST, _STYLE)
