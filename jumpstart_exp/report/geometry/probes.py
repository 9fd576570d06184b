"""Figures and tables of the probes of stored networks: by layer, before training and after it, a line a method."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from jumpstart_exp.inspect.probe_files import QUANTITIES
from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.figures.drawing import figure_job, power_of_ten, wrapped
from jumpstart_exp.report.figures.scatters import method_looks
from jumpstart_exp.report.geometry.probed import (
    MOMENTS,
    ProbedNetworks,
    averaged,
    explained,
    gradient_ratio,
    logarithms,
    probed_networks,
)
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.statistics.intervals import Floats, share_interval
from jumpstart_exp.report.tables.table import Column, Table, interval, table_job

_MOST_METHODS = 8
"""Lines of a figure."""

_PANELS = (
    ("localisation", "share of the plane with 90 %\nof the gradient"),
    ("mean", "mean over the plane\nof max |∂f/∂A|"),
    ("born", "cells that the layer cuts"),
    ("variation", "variation of a batch's gradient,\n× √N"),
)
_LOGARITHMIC = ("mean", "variation")
_WORDS = {"start": "before training", "last": "after training"}
_PANEL, _AROUND, _SMALL = (1.85, 1.35), (0.4, 1.3), 6.5

_WHOLE = (
    ("regions", "regions"),
    ("cells", "cells"),
    ("decision_regions", "decision regions"),
    ("unsure", "unsure"),
    ("width", "width"),
)


@of_store("geometry", rank=12, title="what networks do to the plane")
def _geometry(stored: Stored) -> Iterator[Job]:
    for grid in stored.alone:
        for networks in probed_networks(grid, stored.table, stored.results_dir):
            parts = range(0, len(networks.methods), _MOST_METHODS)
            for number, first in enumerate(parts, 1):
                part = f"_part{number}" if len(parts) > 1 else ""
                yield figure_job(f"{networks.slug}{part}", partial(layers_figure, networks, first))
            yield table_job(networks.slug, partial(probes_table, networks))
            if len(explained_table(networks).values):
                yield table_job(f"{networks.slug}_explained", partial(explained_table, networks))


def layers_figure(networks: ProbedNetworks, first: int = 0) -> Figure:
    """By layer, before training and after it: where the gradient is, how large, what the layers cut, how noisy.

    A line a method: the mean over its seeds, of gradients and variation that of the logarithm, with its interval from
    six seeds on, else the seeds' range. A layer without any gradient has no place of it, and 0 no logarithm: such seeds
    are left out, and where more than half of them are, so is the layer. At most eight methods, from `first` on.
    """
    chosen = range(first, min(first + _MOST_METHODS, len(networks.methods)))
    layers = [*range(1, networks.depth + 2)]
    shown = [
        (quantity, title)
        for quantity, title in _PANELS
        if any(
            not np.isnan(networks.by_layer(method, moment, quantity, layers)).all()
            for method in chosen
            for moment in MOMENTS
        )
    ]
    size = len(shown) * _PANEL[0] + _AROUND[0], 2 * _PANEL[1] + _AROUND[1]
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(2, len(shown), squeeze=False, sharex=True, sharey="col")
    looks = method_looks(networks.methods)
    for row, moment in zip(axes, MOMENTS, strict=True):
        for ax, (quantity, _) in zip(row, shown, strict=True):
            for method in chosen:
                values = networks.by_layer(method, moment, quantity, layers)[:, networks.probed(method, quantity)]
                _draw_line(ax, layers, values, looks[networks.methods[method]][0], quantity)
            ax.tick_params(length=2, width=0.6, labelsize=_SMALL)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if quantity in _LOGARITHMIC:
                ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
                ax.yaxis.set_major_formatter(FuncFormatter(_of_logarithm))
        row[0].set_ylabel(_WORDS[moment], fontsize=_SMALL + 0.5)
    for ax, (_, title) in zip(axes[0], shown, strict=True):
        ax.set_title(title, fontsize=_SMALL)
    for ax in axes[-1]:
        ax.set_xlabel("layer", fontsize=_SMALL)
    lines = [
        Line2D([], [], color=looks[networks.methods[method]][0], label=_with_trained(networks, method))
        for method in chosen
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(4, len(lines)), fontsize=_SMALL, frameon=False)
    told = f"{_title(networks)} · where half of a method's seeds or more have a gradient, or a number above 0"
    figure.suptitle("\n".join(wrapped(told, size[0] - 0.3, 7.5, 0.56)), fontsize=7.5)
    return figure


def probes_table(networks: ProbedNetworks) -> Table:
    """Every method's probes before training and after it, over the seeds."""
    rows = []
    for method, title in enumerate(networks.titles):
        trained = np.array(networks.trained[method])
        _, low, high = share_interval(np.array(trained.sum()), np.array(len(trained)))
        for moment in MOMENTS:
            row: dict[str, Any] = {"method": networks.methods[method], "title": title, "moment": _WORDS[moment]}
            row |= {"seeds": len(trained), "trained": int(trained.sum())}
            row |= {"trained_low": float(low), "trained_high": float(high)}
            for quantity, _ in _WHOLE:
                row |= _over_seeds(quantity, networks.values(method, moment, quantity, 0))
            row |= _over_seeds("localisation", networks.values(method, moment, "localisation", 1))
            ratio = gradient_ratio(networks, method, moment)
            row |= _over_seeds("ratio", logarithms(ratio))
            none = networks.values(method, moment, "maximum", 1)
            row |= {"none": int((none == 0).sum()), "probed": int((~np.isnan(none)).sum())}
            row |= _over_seeds("variation", logarithms(networks.values(method, moment, "variation", 1)))
            rows.append(row)
    whole, share, power = "{:.1f} ({:.1f} to {:.1f})", "{:.3f} ({:.3f} to {:.3f})", "{:+.1f} ({:+.1f} to {:+.1f})"
    words = {**QUANTITIES["regions"], **QUANTITIES["decisions"]}
    told = "; ".join(f"{heading}: {words[quantity]}" for quantity, heading in _WHOLE)
    caption = (
        f"{_title(networks)}. {told[0].upper()}{told[1:]}. Of the first layer: the share of the plane with 90 % of its "
        "gradient; log₁₀ of its mean gradient by the last layer's, of seeds where there is one; seeds whose first "
        "layer has no gradient anywhere; log₁₀ of c, where the gradient of a batch of N points varies by c/√N. In "
        "brackets Student's 95 % interval of the mean, of fewer than six seeds or where all agree their range. Means "
        "are of the seeds that have the number: there is no width without a boundary, and no regions where float64 "
        "does not resolve them; the CSV file says how many have it."
    )
    columns = (
        Column("method", "{title}", "l"),
        Column("", "{moment}", "l"),
        Column("train", "{trained} of {seeds}"),
        Column("regions", interval("regions", None, whole)),
        Column("cells", interval("cells", None, whole)),
        Column("decision regions", interval("decision_regions", None, whole)),
        Column("unsure", interval("unsure", None, share)),
        Column("width", interval("width", None, share)),
        Column("90 % of gradient", interval("localisation", None, share)),
        Column("log₁₀ first/last", interval("ratio", None, power)),
        Column("no gradient", "{none} of {probed}"),
        Column("log₁₀ c", interval("variation", None, power)),
    )
    return Table(caption, pd.DataFrame(rows), columns, shown_only=("title",))


_EXPLAINING = (
    ("regions", 0, "linear regions"),
    ("cells", 0, "cells"),
    ("localisation", 1, "share of the plane with 90 % of the first layer's gradient"),
    ("maximum", 1, "largest gradient of the first layer"),
    ("variation", 1, "variation of a batch's gradient in the first layer"),
)


def explained_table(networks: ProbedNetworks) -> Table:
    """Whether what is seen before training tells which seeds' networks train, method by method.

    Of methods of which at least two seeds train and two do not.
    """
    rows: list[dict[str, Any]] = []
    for method, title in enumerate(networks.titles):
        for quantity, layer, words in _EXPLAINING:
            values = networks.values(method, "start", quantity, layer)
            if found := explained(values, networks.trained[method]):
                row = {"method": networks.methods[method], "title": title, "quantity": words}
                rows.append(row | vars(found))
    caption = (
        f"{_title(networks)}. Whether a number before training tells the seeds whose networks train at the last epoch: "
        "the probability that one that trains has more of it than one that does not (½ tells nothing), and p of the "
        "Mann–Whitney test, not corrected for the lines of this table."
    )
    columns = (
        Column("method", "{title}", "l"),
        Column("before training", "{quantity}", "l"),
        Column("train", "{trained}"),
        Column("do not", "{others}"),
        Column("has more", "{higher:.2f}"),
        Column("p", "{p:.2g}"),
    )
    return Table(caption, pd.DataFrame(rows), columns, shown_only=("title",))


def _of_logarithm(value: float, _: int | None = None) -> str:
    """The number whose logarithm it is: where an axis is shorter than a decade its ticks are between powers."""
    return power_of_ten(10.0**value) if value == round(value) else f"{10.0**value:.2g}"


def _over_seeds(name: str, values: Floats) -> dict[str, float]:
    found = averaged(name, values)
    ends = {end: float(getattr(found, end)) for end in ("low", "high", "least", "most")}
    seeds = int((~np.isnan(values)).sum())
    return {name: float(found.mean), **{f"{name}_{end}": value for end, value in ends.items()}, f"{name}_seeds": seeds}


def _draw_line(ax: Axes, layers: list[int], values: Floats, colour: str, quantity: str) -> None:
    if not values.shape[1]:
        return
    values = logarithms(values) if quantity in _LOGARITHMIC else values
    found = averaged(quantity, values)
    # of few seeds a line would stand for what most of them have not
    is_told = 2 * (~np.isnan(values)).sum(1) >= values.shape[1]
    if not is_told.any():
        return
    mean = np.where(is_told, found.mean, np.nan)
    alone = is_told & ~np.roll(np.append(is_told, False), 1)[:-1] & ~np.append(is_told[1:], False)
    ax.plot(layers, mean, color=colour, linewidth=1.0)
    ax.plot(np.array(layers)[alone], mean[alone], "o", color=colour, markersize=2, gid="alone")
    low, high = (
        np.where(is_told, np.where(np.isnan(end), seeds, end), np.nan)
        for end, seeds in ((found.low, found.least), (found.high, found.most))
    )
    ax.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)


def _with_trained(networks: ProbedNetworks, method: int) -> str:
    trained = networks.trained[method]
    return f"{networks.titles[method]} ({sum(trained)} of {len(trained)} train)"


def _title(networks: ProbedNetworks) -> str:
    counts = sorted({len(tables) for tables in networks.tables})
    seeds = counted(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    return f"{networks.title} · {seeds}"
