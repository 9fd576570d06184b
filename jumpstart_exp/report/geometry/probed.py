"""What the probes of stored networks tell, method by method over the seeds: numbers only.

Probes are read from the files that `python -m jumpstart_exp.inspect probe=…` wrote.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from jumpstart_exp.console import Notice
from jumpstart_exp.inspect.probe_files import ProbesError, probed_keys, read_probes
from jumpstart_exp.report.statistics.intervals import Floats, Means, means
from jumpstart_exp.report.table.grid import FigureGrid

MOMENTS = ("start", "last")
"""Of a cell before its training, and after its last epoch, of one that diverged the last before that."""


class ProbesWarning(Notice):
    """Probes are left out of the report; the message says which and why."""


@dataclass(frozen=True, eq=False)
class ProbedNetworks:
    """The probed networks of one figure at one depth and width.

    Attributes:
        title: of the figure, with the depth and width.
        slug: part of file names.
        depth: hidden layers.
        methods: labels of those that were probed.
        titles: of these.
        keys: by method, of the probed seeds.
        trained: by method, whether each probed seed's network trains, at the last epoch.
        tables: by method, the probes of each of these seeds, columns of the files.
        lasts: by method, the last epoch of each of these seeds.
    """

    title: str
    slug: str
    depth: int
    methods: tuple[str, ...]
    titles: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    trained: tuple[tuple[bool, ...], ...]
    tables: tuple[tuple[pd.DataFrame, ...], ...]
    lasts: tuple[tuple[int, ...], ...]

    def values(self, method: int, moment: str, quantity: str, layer: int) -> Floats:
        """A number of every seed, (seeds,); NaN where it was not probed."""
        found: Floats = self.by_layer(method, moment, quantity, [layer])[0]
        return found

    def probed(self, method: int, quantity: str) -> NDArray[np.bool_]:
        """Which seeds were probed for it, (seeds,)."""
        return np.array([bool((table["quantity"] == quantity).any()) for table in self.tables[method]])

    def by_layer(self, method: int, moment: str, quantity: str, layers: Sequence[int]) -> Floats:
        """A number of every layer and seed, (layers, seeds); NaN where it was not probed."""
        found = np.full((len(layers), len(self.tables[method])), np.nan)
        places = {layer: place for place, layer in enumerate(layers)}
        for seed, (table, last) in enumerate(zip(self.tables[method], self.lasts[method], strict=True)):
            epoch = 0 if moment == "start" else last
            own = table[(table["epoch"] == epoch) & (table["quantity"] == quantity) & table["layer"].isin(layers)]
            if moment == "last" and last == 0:
                continue
            for layer, value in zip(own["layer"], own["value"], strict=True):
                found[places[int(layer)], seed] = value
        return found


def probed_networks(grid: FigureGrid, table: pd.DataFrame, results_dir: Path) -> list[ProbedNetworks]:
    """The probed networks of a figure, a part a depth and width.

    Args:
        grid: the figure.
        table: the store's cells, of which the grid has the rows.
        results_dir: where the probes lie; files that cannot be used are named in a warning and left out.
    """
    try:
        known = {*probed_keys(results_dir)}
    except ProbesError as error:
        known = set()
        warnings.warn(str(error), ProbesWarning, stacklevel=2)
    if not known:
        return []
    epochs = np.append(table["epochs_run"].fillna(0).astype(np.int64).to_numpy(), 0)
    found = []
    keys = np.append(table["key"].astype(str).to_numpy(), "")
    trains = grid.trained("last")
    for depth, width in np.argwhere(grid.present.any(axis=(0, 3))).tolist():
        methods, found_keys, trained, tables, lasts = [], [], [], [], []
        for method in range(len(grid.methods)):
            own: list[tuple[str, bool, pd.DataFrame, int]] = []
            for seed, row in enumerate(grid.rows[method, depth, width]):
                key = keys[row]
                if key not in known:
                    continue
                try:
                    probes = read_probes(results_dir, key)
                    own.append((key, bool(trains[method, depth, width, seed]), probes, int(epochs[row])))
                except ProbesError as error:
                    warnings.warn(str(error), ProbesWarning, stacklevel=2)
            if own:
                methods.append(method)
                found_keys.append(tuple(each for each, *_ in own))
                trained.append(tuple(each for _, each, *_ in own))
                tables.append(tuple(each for *_, each, _ in own))
                lasts.append(tuple(each for *_, each in own))
        if methods:
            size = f"{grid.depths[depth]}×{grid.widths[width]}"
            found.append(
                ProbedNetworks(
                    title=f"{grid.title}, {size}",
                    slug=f"{grid.slug}_geometry_{size.replace('×', 'x')}",
                    depth=grid.depths[depth],
                    methods=tuple(grid.methods[method] for method in methods),
                    titles=tuple(grid.method_titles[method] for method in methods),
                    keys=tuple(found_keys),
                    trained=tuple(trained),
                    tables=tuple(tables),
                    lasts=tuple(lasts),
                )
            )
    return found


def logarithms(values: Floats) -> Floats:
    """Base 10; NaN of 0, which has none."""
    found: Floats = np.log10(values, out=np.full(values.shape, np.nan), where=values > 0)
    return found


def gradient_ratio(networks: ProbedNetworks, method: int, moment: str) -> Floats:
    """Of every seed the first layer's mean largest gradient by the last layer's; NaN where that is 0 or unknown."""
    first, last = networks.by_layer(method, moment, "mean", [1, networks.depth + 1])
    found: Floats = np.divide(first, last, out=np.full(first.shape, np.nan), where=last > 0)
    return found


_BETWEEN = {
    **dict.fromkeys(("localisation", "unsure"), (0.0, 1.0)),
    **dict.fromkeys(("regions", "cells", "born", "decision_regions", "boundary", "width"), (0.0, math.inf)),
}


def averaged(quantity: str, values: Floats) -> Means:
    """A quantity, or the logarithm of one, over the last axis, the seeds; the interval stays within what it can be."""
    return means(values, _BETWEEN.get(quantity, (-math.inf, math.inf)))


@dataclass(frozen=True)
class Explained:
    """Whether a number tells the networks that train from those that do not.

    Attributes:
        trained: networks that train and have the number.
        others: those that do not train and have it.
        higher: probability that one that trains has more than one that does not, ties halved.
        p: of the Mann–Whitney test that this is ½, two-sided.
    """

    trained: int
    others: int
    higher: float
    p: float


def explained(values: Floats, trained: Sequence[bool]) -> Explained | None:
    """How a number at the start goes with training; None where all train, or none, or fewer than two of a kind."""
    known = ~np.isnan(values)
    which = np.asarray(trained, bool)
    yes, no = values[known & which], values[known & ~which]
    if min(len(yes), len(no)) < 2:
        return None
    found = mannwhitneyu(yes, no, alternative="two-sided")
    p = float(found.pvalue)
    return Explained(len(yes), len(no), float(found.statistic) / (len(yes) * len(no)), 1.0 if math.isnan(p) else p)
