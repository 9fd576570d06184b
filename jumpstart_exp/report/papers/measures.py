"""What the papers' statements are about, measured on ours: statistics only. A claim names one of `MEASURES`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

from jumpstart_exp.config.studies import small_study, study_cells
from jumpstart_exp.report.papers.comparison import LEAST_SEEDS, moons_rows, on_axes, only_grid
from jumpstart_exp.report.statistics.cost import BASELINE, PairCost, pair_costs
from jumpstart_exp.report.statistics.frontier import Start, deepest_frontier, frontier, frontier_ratio
from jumpstart_exp.report.statistics.intervals import Floats, mean_interval, percentile_interval, resamples
from jumpstart_exp.report.statistics.seedwise import MOMENT, complete_seeds, or_none, over_seeds, wins_by_seed
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.table.studies import StudyTable

MOONS = "moons"
"""Stands for all studies of MOONS over depth and width together."""

START: Start = "first"
"""Frontiers of statements are counted from a width's first depth that trains.

With one hidden layer plain ReLU networks of up to 15 units reach 0.95 on MOONS in fewer than half of the seeds.
"""

_PLACES = (0, 1, 2, 3)
"""Of the axes (rates, methods, depths, widths, seeds) all but the seeds."""


@dataclass(frozen=True)
class Measure:
    """A number of ours with its interval (95 %), None with fewer than two seeds.

    `is_at_least` says that it may be greater: deeper networks are not in the store. `unit` is what `count` counts.
    `few_places` of the places that it is about have fewer seeds than decide anything.
    """

    value: float
    low: float | None
    high: float | None
    count: int
    unit: str = "seeds"
    is_at_least: bool = False
    few_places: int = 0


Figures = Mapping[float, FigureGrid]
"""A study's figures by learning rate."""


class StudyCells:
    """What the store has of a study in one variant, and what measures are of; each part is made once.

    A network trains if its training accuracy reaches `threshold`; None for the dataset's own.
    """

    def __init__(self, index: StudyTable, name: str, variant: str, threshold: float | None = None) -> None:
        self._index, self._name, self._variant, self._threshold = index, name, variant, threshold

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Its rows."""
        if self._name == MOONS:
            return moons_rows(self._index, self._variant)
        return self._index.rows(self._name, self._variant)

    @cached_property
    def figures(self) -> Figures:
        """Its figures by learning rate, the greatest first, those that the store has."""
        column = self.rows["optimizer.lr"] if len(self.rows) else pd.Series(dtype=np.float64)
        rates = sorted(column.unique(), reverse=True)
        grids = {float(rate): only_grid(self.rows[column == rate]) for rate in rates}
        return {rate: grid.at_threshold(self._threshold) for rate, grid in grids.items() if grid is not None}

    @property
    def figure(self) -> FigureGrid | None:
        """Its figure, of a study with one learning rate; None where the store has nothing of it."""
        (found,) = self.figures.values() or [None]
        return found

    @cached_property
    def costs(self) -> list[PairCost]:
        """The penalty's cost at every pair of the study, and of the study in small, that was trained both ways."""
        small = small_study(self._name)
        rows = [self.rows, *([] if small is None else [self._index.rows(small.name, self._variant)])]
        return [cost for own in rows for grid in figure_grids(own) for cost in pair_costs(grid)]

    def complete(self, methods: Sequence[str]) -> Figures:
        """Its figures by learning rate, of these methods over the seeds that have every cell of them.

        Empty where no seed has.
        """
        if not self.figures:  # nor need the study be composed
            return {}
        cells = study_cells(self._name, self._variant)
        if not {cell.optimizer.lr for cell in cells} <= self.figures.keys():
            return {}
        pairs = len({(cell.depth, cell.width) for cell in cells})
        found = self.figures.values()
        seeds = [{grid.seeds[i] for i in complete_seeds(grid, tuple(methods), pairs)} for grid in found]
        common = sorted(set.intersection(*seeds))
        return {rate: on_axes(grid, methods, seeds=common) for rate, grid in self.figures.items() if common}

    def few_places(self, methods: Sequence[str], width: int | None) -> int | None:
        """How many of the study's places have fewer than `LEAST_SEEDS` seeds; None where one has no seed at all.

        The places are those of these methods, at one width or (None) at all.
        """
        if self.figure is None:
            return None
        axes = product(self.figure.methods, self.figure.depths, self.figure.widths)
        seeds = dict(zip(axes, self.figure.present.sum(axis=-1).ravel().tolist(), strict=True))
        places = {
            (cell.method, cell.depth, cell.width)
            for cell in study_cells(self._name, self._variant)
            if cell.method in methods and width in (None, cell.width)
        }
        counts = [seeds.get(place, 0) for place in places]
        return sum(count < LEAST_SEEDS for count in counts) if all(counts) else None


def frontier_depth(cells: StudyCells, method: str, width: int | None = None) -> Measure | None:
    """`frontier_of` the study's figure, where no depth is missing: a frontier would end at it."""
    return _of_whole(cells, (method,), width, lambda grid: frontier_of(grid, method, width))


def times_deeper(cells: StudyCells, method: str) -> Measure | None:
    """`ratio_of` the study's figure, where no depth is missing: a frontier would end at it."""
    return _of_whole(cells, (BASELINE, method), None, lambda grid: ratio_of(grid, method))


def frontier_of(grid: FigureGrid, method: str, width: int | None = None) -> Measure | None:
    """The frontier of a method at one width or (None) the greatest of all widths.

    0 where no depth trains; None where there is no network, or where one that would decide is missing.
    """
    if method not in grid.methods:
        return None
    if width is None:
        point = deepest_frontier(grid, MOMENT, method, start=START)
    else:
        points = frontier(grid, MOMENT, method, start=START).points
        point = next((point for point in points if point.width == width), None)
    if point is None or (point.is_cut and point.depth is None):
        return None
    low, high = (None if end is None else float(end) for end in (point.low, point.high))
    return Measure(float(point.depth or 0), low, high, point.seeds, is_at_least=point.is_open)


def ratio_of(grid: FigureGrid, method: str) -> Measure | None:
    """How many times deeper the method trains than ReLU; None where no width has both frontiers."""
    if any(name not in grid.methods for name in (BASELINE, method)):
        return None
    ratio = frontier_ratio(grid, MOMENT, method, BASELINE, start=START)
    if ratio is None:
        return None
    return Measure(ratio.ratio, ratio.low, ratio.high, ratio.seeds, is_at_least=bool(ratio.at_least))


def lowest_mean(cells: StudyCells, methods: Sequence[str], metric: str) -> Measure | None:
    """The lowest of the methods' mean accuracies at a study's one place, over the seeds that all of them have."""
    found = cells.complete(methods)
    if not found:
        return None
    values = _accuracies(found, methods, metric)[0, :, 0, 0]
    values = values[:, ~np.isnan(values).any(axis=0)]
    count = values.shape[1]
    if not count:
        return None
    low, high = None, None
    if count > 1:
        low, high = map(or_none, percentile_interval(values[:, resamples(count)].mean(axis=-1).min(axis=0)))
    return Measure(float(values.mean(axis=-1).min()), low, high, count)


def difference_at(cells: StudyCells, method: str, other: str, metric: str, depth: int) -> Measure | None:
    """Mean accuracy at one depth of one method minus that of another, over the seeds that both have."""
    grid = cells.figure
    if grid is None or depth not in grid.depths or any(name not in grid.methods for name in (method, other)):
        return None
    one, two = on_axes(grid, (method, other), [depth]).accuracy[metric][:, 0]
    return _over_seeds((one - two).mean(axis=0))


def of_each_seed(number: Callable[..., Floats]) -> Callable[..., Measure | None]:
    """The measure of one number a seed, over the seeds that have every cell of all methods that its arguments name.

    `number` takes the study's figures of these seeds; None where no seed has all.
    """

    @wraps(number)
    def measure(cells: StudyCells, **of: Any) -> Measure | None:
        named = (of.get("method"), *of.get("methods", ()), of.get("other"), *of.get("beside", ()))
        found = cells.complete([method for method in named if method is not None])
        return _over_seeds(number(found, **of)) if found else None

    return measure


@of_each_seed
def networks_that_train(found: Figures, method: str, depths: Sequence[int] = ()) -> Floats:
    """How many of a method's networks train (of some depths only)."""
    grids = [on_axes(grid, [method], depths or None) for grid in found.values()]
    return np.asarray(np.sum([trained(grid, MOMENT) for grid in grids], axis=_PLACES), np.float64)


@of_each_seed
def deepest_trained(found: Figures, methods: Sequence[str], beside: Sequence[str]) -> Floats:
    """The greatest depth at which any network of these methods trains, over the seeds that have those `beside` too."""
    grids = [on_axes(grid, methods) for grid in found.values()]
    by_depth = np.any([trained(grid, MOMENT) for grid in grids], axis=(0, 1, 3))
    return np.asarray(np.where(by_depth, np.array(grids[0].depths, np.float64)[:, None], 0.0).max(axis=0))


@of_each_seed
def best_accuracy(found: Figures, methods: Sequence[str], metric: str, beside: Sequence[str] = ()) -> Floats:
    """The best accuracy of all networks of these methods, over the seeds that have those `beside` too."""
    return _best(found, methods, metric)


@of_each_seed
def best_difference(found: Figures, methods: Sequence[str], other: str, metric: str) -> Floats:
    """The best accuracy of these methods minus that of another one."""
    return _best(found, methods, metric) - _best(found, [other], metric)


@of_each_seed
def pairs_won(found: Figures, methods: Sequence[str], other: str, metric: str, rate: float | None = None) -> Floats:
    """At how many pairs of depth and width (at one learning rate or all) a method is better than another one.

    Mean of `methods`.
    """
    theirs = _accuracies(found, [other], metric, rate)
    wins = [wins_by_seed(_accuracies(found, [own], metric, rate), theirs) for own in methods]
    return np.asarray(np.mean(wins, axis=0))


@of_each_seed
def mean_gain(found: Figures, methods: Sequence[str], other: str, metric: str, depth: int) -> Floats:
    """Mean accuracy at a depth of these methods minus that of another one."""
    there = {rate: on_axes(grid, depths=[depth]) for rate, grid in found.items()}
    gains = _accuracies(there, methods, metric) - _accuracies(there, [other], metric)
    return np.asarray(np.nanmean(gains, axis=_PLACES))


def cost_ratio(cells: StudyCells, quantity: Literal["seconds", "memory"]) -> Measure | None:
    """Geometric mean of what a training costs with the penalty over without it, over depth-width pairs."""
    ratios = [cost.memory_ratio if quantity == "memory" else cost.time_ratio for cost in cells.costs]
    known = [ratio for ratio in ratios if ratio is not None and np.isfinite(ratio) and ratio > 0]
    if not known:
        return None
    value, low, high = (float(np.exp(end)) for end in mean_interval(np.log(known)))
    return Measure(value, or_none(low), or_none(high), len(known), unit="pairs")


MEASURES: Mapping[str, Callable[..., Measure | None]] = {
    measure.__name__: measure
    for measure in (
        *(frontier_depth, times_deeper, lowest_mean, difference_at, networks_that_train, deepest_trained),
        *(best_accuracy, best_difference, pairs_won, mean_gain, cost_ratio),
    )
}
"""What a claim's `measure` can be."""

ON_ONE_FIGURE: Mapping[str, Callable[..., Measure | None]] = {"frontier_depth": frontier_of, "times_deeper": ratio_of}
"""The same of a figure whatever else there should be, such as the authors' own table: by measure."""


def _of_whole(
    cells: StudyCells, methods: Sequence[str], width: int | None, of_grid: Callable[[FigureGrid], Measure | None]
) -> Measure | None:
    few = cells.few_places(methods, width)
    found = None if few is None or cells.figure is None else of_grid(cells.figure)
    return None if few is None or found is None else replace(found, few_places=few)


def _accuracies(found: Figures, methods: Sequence[str], metric: str, rate: float | None = None) -> Floats:
    """Accuracies of these methods at one learning rate or (None) at all, (rates, methods, depths, widths, seeds)."""
    grids = [grid for known, grid in found.items() if rate in (None, known)]
    return np.array([grid.accuracy[metric][[grid.methods.index(method) for method in methods]] for grid in grids])


def _best(found: Figures, methods: Sequence[str], metric: str) -> Floats:
    """Each seed's best accuracy; NaN where no network has one."""
    return np.asarray(np.fmax.reduce(_accuracies(found, methods, metric), axis=_PLACES))


def _over_seeds(values: Floats) -> Measure | None:
    """One number a seed as a measure; None where no seed has one."""
    own = over_seeds(values)
    return Measure(own.value, own.low, own.high, own.seeds) if own.seeds else None
