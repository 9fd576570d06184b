"""Dead units and points at initialisation over depth, a line a width, measured beside the formulas: drawing only."""

import textwrap
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from jumpstart_exp.report.captions import wilson_coverage_told
from jumpstart_exp.report.figures.drawing import figure_job
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.statistics.initialisation import MEASURES, Initialisation, InitialisedDataset, initialisations
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_INTERVAL

_PANEL = (0.95, 1.35)  # inches of a panel and its gap; wider where there are few
_LEAST_WIDTH = 6.5  # inches; room for the caption
_MARGIN = (0.8, 1.9)  # inches beside and around the panels: labels, title, legend and caption
_MOST_WIDTHS = 10
_LETTERS = 0.062  # inches of a letter of the caption
_SEED = 1.5  # points
_BAND = 0.2  # opacity of an interval
_LAYOUTS = {"mlp": ("MLP", "#0072b2"), "conv2x1": ("2×1 convolution", "#d55e00")}
_MEASURE_TITLES = {
    "dead_units": "dead units",
    "dead_points": "points dead\nin some layer",
    "dead_layer": "networks with\na dead layer",
}
_UNDERFLOW = (
    " In the 2×1 layout activations about halve from layer to layer, because Glorot's bound counts two positions and "
    "the second one is padded; after some 120 layers they are below float32's normal range, which the engine native "
    "counts as 0, and even wide networks are dead, of which the formulas know nothing."
)


def initialisation_figure(dataset: InitialisedDataset) -> Figure:
    """A row of panels a measure and a column a width, each over depth, a colour a layout, formulas dashed."""
    widths = sorted({width for layout in dataset.layouts for width in layout.widths})
    places = np.linspace(0, len(widths) - 1, min(len(widths), _MOST_WIDTHS)).round().astype(int)
    panel = max(_PANEL[0], (_LEAST_WIDTH - _MARGIN[0]) / len(places))
    size = len(places) * panel + _MARGIN[0], len(MEASURES) * _PANEL[1] + _MARGIN[1]
    figure = Figure(figsize=size, layout="constrained")
    axes = np.asarray(figure.subplots(len(MEASURES), len(places), sharex=True, sharey=True, squeeze=False))
    for row, measure in zip(axes, MEASURES, strict=True):
        for ax, place in zip(row, places, strict=True):
            for layout in dataset.layouts:
                if widths[place] in layout.widths:
                    _draw(ax, layout, measure, widths[place])
        row[0].set_ylabel(_MEASURE_TITLES[measure])
    for top, bottom, place in zip(axes[0], axes[-1], places, strict=True):
        top.set_title(f"width {widths[place]}", fontsize=8)
        bottom.set_xlabel("depth")
    colours = dict(_LAYOUTS[layout.layout] for layout in dataset.layouts)
    handles = [
        *(Line2D([], [], color=colour, label=title) for title, colour in colours.items()),
        *_spread_handles(dataset),
        Line2D([], [], color="0.3", linestyle="--", linewidth=0.9, label="formula"),
    ]
    figure.legend(  # a title of the figure would be drawn across a legend outside
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        fontsize=8,
        title=f"{dataset.title} before training: what is dead, measured and by the formulas",
        title_fontsize=10,
    )
    caption = textwrap.fill(initialisation_caption(dataset), int(size[0] / _LETTERS))
    figure.supxlabel(caption, fontsize=7, x=0.02, ha="left")
    return figure


def initialisation_caption(dataset: InitialisedDataset) -> str:
    """What is drawn, by which formulas, and why the two differ."""
    fewest, most = _seed_range(dataset)
    seeds = f"{most} seed{'s' * (most != 1)}" if fewest == most else f"{fewest} to {most} seeds"
    doubled = any(layout.layout == "conv2x1" for layout in dataset.layouts)
    activations = "twice the width in the 2×1 layout, else the width" if doubled else "the width"
    widths = {width for layout in dataset.layouts for width in layout.widths}
    points, layers = (f"1 − (1 − {share}ⁿ)^depth".replace(" ", "\N{NO-BREAK SPACE}") for share in "qp")
    some = f"{_MOST_WIDTHS} of {len(widths)} widths; " if len(widths) > _MOST_WIDTHS else ""
    return (
        f"Glorot uniform weights, zero biases, {seeds}; {_spread_told(fewest, most)}{some}at each "
        "depth a seed's network begins with the layers of its shallower ones. A point that is dead in a layer is dead "
        "in all later ones, because biases are zero, so it "
        f"is counted in the last. Formulas (ICLR, A.2; CPAIOR, section 3): points {points} with q = ½ and n "
        f"activations a layer ({activations}); layers {layers} with n = width and the share p of dead units as "
        "measured in layer 1, and for all later layers in layer 2; units p. The formulas take units and layers as "
        "independent. They are not: inputs of later layers are nonnegative and end up near one line, where a unit is "
        "active for all points or for none, so p grows with depth, and units, and points, die together."
        + (_UNDERFLOW if doubled else "")
    )


def _seed_range(dataset: InitialisedDataset) -> tuple[int, int]:
    counts = [int(count) for layout in dataset.layouts for count in layout.seeds[layout.seeds > 0]]
    return min(counts), max(counts)


def _spread_handles(dataset: InitialisedDataset) -> list[Artist]:
    """What the legend has of the seeds' spread: the band, and the dots of few seeds."""
    most = _seed_range(dataset)[1]
    is_mean = most >= LEAST_FOR_INTERVAL
    label = "95 % interval over seeds" if is_mean else "Wilson's interval of the share of networks"
    dots = Line2D([], [], color="0.3", linestyle="none", marker=".", markersize=2 * _SEED, label="a seed")
    return [Patch(color="0.3", alpha=_BAND, linewidth=0, label=label), *([dots] if most > 1 else [])]


def _spread_told(fewest: int, most: int) -> str:
    """What bands and dots are, as the beginning of a clause; empty of one seed."""
    if most < 2:
        return ""
    wilson = f"of networks with a dead layer Wilson's interval ({wilson_coverage_told(fewest)})"
    if most < LEAST_FOR_INTERVAL:
        return f"a dot a seed, and {wilson}; "
    return f"bands are 95 % intervals by Student's t (none where all seeds agree or are few: a dot each), {wilson}; "


def _draw(ax: Axes, layout: Initialisation, measure: str, width: int) -> None:
    index, (_, colour) = layout.widths.index(width), _LAYOUTS[layout.layout]
    measured, formula = layout.measured[measure], layout.formula[measure]
    known = ~np.isnan(measured.share[:, index])
    depths = np.array(layout.depths)[known]
    low, high = measured.low[known, index], measured.high[known, index]
    each = measured.each[known, index]
    few = np.isnan(low) & ((~np.isnan(each)).sum(axis=-1) > 1)
    if few.any():
        style: dict[str, Any] = {"linestyle": "none", "marker": ".", "markersize": _SEED, "alpha": 0.6}
        ax.plot(depths[few], each[few], color=colour, gid=f"seeds {layout.layout}", **style)
    ax.fill_between(depths, low, high, color=colour, alpha=_BAND, linewidth=0, gid=f"interval {layout.layout}")
    ax.plot(depths, formula[known, index], color=colour, linestyle="--", linewidth=0.9, gid=f"formula {layout.layout}")
    ax.plot(depths, measured.share[known, index], color=colour, linewidth=1.3, gid=f"measured {layout.layout}")
    ax.set_ylim(-0.04, 1.04)
    ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    ax.grid(color="0.92", linewidth=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(length=2, width=0.6, labelsize=7)


@of_store("initialisation", rank=20, title="dead at initialisation")
def _initialisation(stored: Stored) -> Iterator[Job]:
    # of many values of a dataset's setting, those of the figures that are drawn by themselves
    kept = {int(row) for grid in stored.alone for row in grid.rows.flat}
    over = [sweep for sweep in stored.sweeps if any(name.startswith("dataset.") for name in sweep.names)]
    swept = {int(row) for sweep in over for grid in sweep.grids for row in grid.rows.flat}
    for dataset in initialisations(stored.table.drop(index=stored.table.index[sorted(swept - kept - {-1})])):
        yield figure_job(dataset.slug, partial(initialisation_figure, dataset))
