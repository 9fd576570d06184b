"""Published heatmap, ours, and their difference side by side: drawing only."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from seaborn.cm import rocket

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.figures.panel_grid import Bar, Panel, Scale, Style, draw_captioned
from jumpstart_exp.report.papers.comparison import GridComparison
from jumpstart_exp.report.papers.layouts import TITLES
from jumpstart_exp.report.papers.published import METRICS
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.table.names import dataset_title

METRIC_TITLES = dict(zip(METRICS, ("training accuracy", "validation accuracy"), strict=True))
"""The published accuracies in words."""

LAYOUT_METHODS = ("relu", "sep_up")
"""What the figure of the layouts shows: what CPAIOR's figure 2 shows."""

_STYLE = Style(gap=0.12, margin=1.5, caption_margin=0.3)
_LEAST = (1.5, 0.7)  # inches
_DIFFERENCES = "PuOr_r"  # purple and orange: apart for every kind of colour blindness
_PUBLISHED = "published (one seed)"

_Marks = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def draw_comparison(comparison: GridComparison, folder: Path) -> list[Path]:
    """Draw published, ours and difference, a row a method, as STUDY_VARIANT_published_METRIC, PNG and PDF.

    Raises:
        OSError: the folder cannot be written.
    """
    draw = partial(comparison_figure, comparison)
    return _save(draw, folder, f"{comparison.study}_{comparison.variant}_published")


def draw_layouts(comparisons: Mapping[str, GridComparison], folder: Path) -> list[Path]:
    """Draw both layouts of the MOONS network beside the published figure, as moons_layouts_METRIC, PNG and PDF.

    Raises:
        OSError: the folder cannot be written.
    """
    return _save(partial(layouts_figure, comparisons), folder, "moons_layouts")


def comparison_figure(comparison: GridComparison, metric: str) -> Figure:
    """Published, ours (mean over seeds) and ours minus published at the best epoch; a row a method.

    `metric` is train_acc_best or val_acc_best. The colours of the difference are symmetric around 0. Places that are
    not published, or that the store has not, are hatched.
    """
    difference, marks = comparison.difference(metric), _without(comparison)
    accuracy, end = Scale(rocket, comparison.grid.chance, 1.0), difference_end(difference)
    columns = [
        _column(_PUBLISHED, comparison.published[metric], accuracy),
        _column(f"ours (mean, {seeds_in_words([comparison])})", comparison.mean[metric], accuracy, marks),
        _column("ours minus published", difference, Scale(colormaps[_DIFFERENCES], -end, end), marks, "{:+.2f}"),
    ]
    name = dataset_title(comparison.grid.dataset)
    variant = TITLES[comparison.variant] if comparison.grid.dataset == "moons" else f"variant={comparison.variant}"
    title = f"{name}, {METRIC_TITLES[metric]} at the best epoch: published and ours, {variant}"
    bars = [("accuracy", slice(2)), ("ours minus published", slice(2, 3))]
    return _draw(comparison, columns, comparison.methods, bars, title, caption(comparison))


def layouts_figure(comparisons: Mapping[str, GridComparison], metric: str) -> Figure:
    """The published figure of ReLU and Sep-UP beside ours in both layouts, one column each; `metric` as above."""
    first = next(iter(comparisons.values()))
    methods = [method for method in LAYOUT_METHODS if all(method in of.methods for of in comparisons.values())]
    accuracy = Scale(rocket, first.grid.chance, 1.0)
    columns = [_rows(first, _column(_PUBLISHED, first.published[metric], accuracy), methods)]
    for variant in VARIANTS:
        if own := comparisons.get(variant):
            title = f"{TITLES[variant]}\nmean, {seeds_in_words([own])}"
            columns.append(_rows(own, _column(title, own.mean[metric], accuracy, _without(own)), methods))
    title = f"MOONS, {METRIC_TITLES[metric]} at the best epoch: the published figure and both layouts"
    return _draw(first, columns, methods, [("accuracy", slice(None))], title, "")


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


def _without(comparison: GridComparison) -> _Marks:
    """Where there are seeds and none, and where only some, have an accuracy, (methods, depths, widths)."""
    known = ~np.isnan(comparison.values[METRICS[0]])
    lost = comparison.present & ~known
    some, none = np.any(lost, axis=-1), ~np.any(known, axis=-1)
    return np.asarray(some & none), np.asarray(some & ~none)


def _column(
    title: str, values: Floats, scale: Scale, marks: _Marks | None = None, number: str = "{:.2f}"
) -> list[Panel]:
    """A panel a method under the title, of values and marks, (methods, depths, widths)."""
    lost, partly = marks or (np.zeros(values.shape, np.bool_),) * 2
    return [Panel(*of, scale, title, number=number) for of in zip(values, lost, partly, strict=True)]


def _rows(comparison: GridComparison, column: Sequence[Panel], methods: Sequence[str]) -> list[Panel]:
    """The panels of these methods."""
    return [column[comparison.methods.index(method)] for method in methods]


def _draw(
    comparison: GridComparison,
    columns: Sequence[Sequence[Panel]],
    methods: Sequence[str],
    bars: Sequence[Bar],
    title: str,
    note: str,
) -> Figure:
    """The columns of panels, a row a method."""
    titles = dict(zip(comparison.methods, comparison.method_titles, strict=True))
    rows, names = [*zip(*columns, strict=True)], [titles[method] for method in methods]
    depths, widths = comparison.depths, comparison.widths
    return draw_captioned(rows, depths, widths, names, bars, [title], note, _LEAST, _STYLE)


def _save(draw: Callable[[str], Figure], folder: Path, name: str) -> list[Path]:
    return [path for metric in METRICS for path in save_figure(partial(draw, metric), folder, f"{name}_{metric}")]
