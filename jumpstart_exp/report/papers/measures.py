"""What the papers' statements are about, measured on ours: statistics only. A claim names one of `MEASURES`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.report.papers.comparison import moons_rows, on_axes, only_grid
from jumpstart_exp.report.statistics.cost import BASELINE, PairCost, pair_costs
from jumpstart_exp.report.statistics.frontier import (
    FrontierPoint,
    FrontierRatio,
    Start,
    deepest_frontier,
    frontier_ratio,
)
from jumpstart_exp.report.statistics.intervals import CONFIDENCE, LEAST_FOR_INTERVAL, Floats, student_interval, wilson
from jumpstart_exp.report.statistics.seedwise import (
    MOMENT,
    Interval,
    complete_seeds,
    over_seeds,
    wins_by_seed,
)
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
class Measure(Interval):
    """A number of ours with its interval and range.

    `is_at_least` says that it may be greater: deeper networks are not in the store; `is_at_most` that it may be
    smaller, as a ratio where the baseline's are not. `unit` is what `count` counts. `few_places` of the
    places that it is about have fewer seeds than decide anything.
    """

    unit: str = "seeds"
    is_at_least: bool = False
    is_at_most: bool = False
    few_places: int = 0


Figures = Mapping[float, FigureGrid]
"""A study's figures by learning rate."""


@dataclass(frozen=True, eq=False)
class StudyCells:
    """What the store has of a study in one variant, and what measures are of; each part is made once.

    A network trains if its training accuracy reaches `threshold`; None for the dataset's own. Of a study's depths only
    those among `depths` count; None for all.
    """

    index: StudyTable
    name: str
    variant: str
    threshold: float | None = None
    depths: tuple[int, ...] | None = None

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Its rows."""
        if self.name == MOONS:
            return moons_rows(self.index, self.variant)
        return self.index.rows(self.name, self.variant)

    @cached_property
    def figures(self) -> Figures:
        """Its figures by learning rate, the greatest first, those that the store has."""
        column = self.rows["optimizer.lr"] if len(self.rows) else pd.Series(dtype=np.float64)
        rates = sorted(column.unique(), reverse=True)
        grids = {float(rate): only_grid(self.rows[column == rate]) for rate in rates}
        found = {rate: grid.at_threshold(self.threshold) for rate, grid in grids.items() if grid is not None}
        if self.depths is None:
            return found
        return {rate: on_axes(grid, depths=[*filter(self._counts, grid.depths)]) for rate, grid in found.items()}

    @cached_property
    def places(self) -> tuple[Cell, ...]:
        """The study's cells at their own seeds."""
        return tuple(cell for cell in study_cells(self.name, self.variant) if self._counts(cell.depth))

    def _counts(self, depth: int) -> bool:
        return self.depths is None or depth in self.depths

    @property
    def figure(self) -> FigureGrid | None:
        """Its figure, of a study with one learning rate; None where the store has nothing of it."""
        (found,) = self.figures.values() or [None]
        return found

    @cached_property
    def costs(self) -> list[PairCost]:
        """The penalty's cost at every pair of the study that was trained both ways."""
        return [cost for grid in figure_grids(self.rows) for cost in pair_costs(grid)]

    def complete(self, methods: Sequence[str]) -> Figures:
        """Its figures by learning rate, of these methods over the seeds that have every cell of them.

        Empty where no seed has.
        """
        if not self.figures:  # nor need the study be composed
            return {}
        cells = self.places
        if not {cell.optimizer.lr for cell in cells} <= self.figures.keys():
            return {}
        pairs = len({(cell.depth, cell.width) for cell in cells})
        found = self.figures.values()
        seeds = [{grid.seeds[i] for i in complete_seeds(grid, tuple(methods), pairs)} for grid in found]
        common = sorted(set.intersection(*seeds))
        return {rate: on_axes(grid, methods, seeds=common) for rate, grid in self.figures.items() if common}

    def few_places(self, methods: Sequence[str], widths: Sequence[int]) -> int | None:
        """How many of the study's places have fewer than `LEAST_FOR_INTERVAL` seeds; None where one has none at all.

        The places are those of these methods, at these widths or (none) at all.
        """
        if self.figure is None:
            return None
        axes = product(self.figure.methods, self.figure.depths, self.figure.widths)
        seeds = dict(zip(axes, self.figure.present.sum(axis=-1).ravel().tolist(), strict=True))
        places = {
            (cell.method, cell.depth, cell.width)
            for cell in self.places
            if cell.method in methods and (not widths or cell.width in widths)
        }
        counts = [seeds.get(place, 0) for place in places]
        return sum(count < LEAST_FOR_INTERVAL for count in counts) if all(counts) else None


def frontier_depth(cells: StudyCells, method: str, widths: Sequence[int] = ()) -> Measure | None:
    """`frontier_of` the study's figure, where no depth is missing: a frontier would end at it."""
    return _of_whole(cells, (method,), widths, lambda grid: frontier_of(grid, method, widths))


def times_deeper(cells: StudyCells, method: str) -> Measure | None:
    """`ratio_of` the study's figure, where no depth is missing: a frontier would end at it."""
    return _of_whole(cells, (BASELINE, method), (), lambda grid: ratio_of(grid, method))


def frontier_of(grid: FigureGrid, method: str, widths: Sequence[int] = ()) -> Measure | None:
    """The greatest frontier of a method, at these widths or (none) at all.

    0 where no depth trains; None where there is no network, or where one that would decide is missing.
    """
    if method not in grid.methods:
        return None
    own = on_axes(grid, [method], widths=[width for width in grid.widths if not widths or width in widths])
    point = deepest_frontier(own, MOMENT, method, start=START) if own.present.any() else None
    if point is None or (point.is_cut and point.depth is None):
        return None
    return _bootstrapped(float(point.depth or 0), point, point.seeds, point.is_open)


def ratio_of(grid: FigureGrid, method: str) -> Measure | None:
    """How many times deeper the method trains than ReLU; None where no width has both frontiers."""
    if any(name not in grid.methods for name in (BASELINE, method)):
        return None
    ratio = frontier_ratio(grid, MOMENT, method, BASELINE, start=START)
    if ratio is None:
        return None
    found = _bootstrapped(ratio.ratio, ratio, ratio.seeds, bool(ratio.at_least))
    return replace(found, is_at_most=bool(ratio.at_most))


def lowest_mean(cells: StudyCells, methods: Sequence[str], metric: str) -> Measure | None:
    """The lowest of the methods' mean accuracies at a study's one place, over the seeds that all of them have.

    Its interval is from the lowest to the lowest end of the methods' intervals, which hold all their means together
    (Bonferroni); its seeds are those of the method that has it.
    """
    found = cells.complete(methods)
    if not found:
        return None
    values = _accuracies(found, methods, metric)[0, :, 0, 0]
    values = values[:, ~np.isnan(values).any(axis=0)]
    count = values.shape[1]
    if not count:
        return None
    every = values.mean(axis=-1)
    lowest = over_seeds(values[every.argmin()])
    if lowest.low is None:
        return Measure(**vars(lowest))
    errors = values.std(axis=-1, ddof=1) / np.sqrt(count)
    ends = student_interval(every, errors, count, 1 - (1 - CONFIDENCE) / len(every))
    low, high = (float(np.clip(of.min(), 0, 1)) for of in ends)
    return Measure(**{**vars(lowest), "low": low, "high": high})


def difference_at(cells: StudyCells, method: str, other: str, metric: str, depth: int) -> Measure | None:
    """Mean accuracy at one depth of one method minus that of another, over the seeds that both have."""
    grid = cells.figure
    if grid is None or depth not in grid.depths or any(name not in grid.methods for name in (method, other)):
        return None
    one, two = on_axes(grid, (method, other), [depth]).accuracy[metric][:, 0]
    return _over_seeds((one - two).mean(axis=0))


def success_share(cells: StudyCells, method: str) -> Measure | None:
    """The share of a method's networks at a study's one place that train, with Wilson's interval, a network a seed."""
    grid = cells.figure
    if grid is None or method not in grid.methods:
        return None
    own = on_axes(grid, [method])
    count = int(own.present.sum())
    if not count:
        return None
    trains = int(trained(own, MOMENT).sum())
    low, high = (float(end) for end in wilson(trains, count))
    return Measure(trains / count, low, high, None, None, count, few_places=int(count < LEAST_FOR_INTERVAL))


def mean_loss(cells: StudyCells, method: str, column: str) -> Measure | None:
    """A method's mean loss at a study's one place; at least that where a seed has none, because it diverged.

    `column` is one of the store's losses: train_loss_last, say.
    """
    rows = cells.rows
    if not len(rows) or not (rows["method"] == method).any():
        return None
    values = rows.loc[rows["method"] == method, column].to_numpy(np.float64)
    found = _over_seeds(values)
    return None if found is None else replace(found, is_at_least=bool(np.isnan(values).any()))


def epochs_until_right(cells: StudyCells, method: str, settings: Mapping[str, float] | None = None) -> Measure | None:
    """Epochs of a method until every training point is right, over the seeds; at least all epochs where one never is.

    Args:
        cells: the study.
        method: its label.
        settings: values of columns of the store by which the study's networks are told apart; None for one network.
    """
    rows = cells.rows[cells.rows["method"] == method] if len(cells.rows) else cells.rows
    for name, value in (settings or {}).items():
        rows = rows[rows[name] == value] if len(rows) else rows
    if not len(rows):
        return None
    is_right = rows["train_acc_best"] == 1
    # an epoch is judged before its step
    found = _over_seeds(
        np.where(is_right, rows["train_acc_best_epoch"] - 1, rows["optimizer.epochs"]).astype(np.float64)
    )
    return None if found is None else replace(found, is_at_least=not is_right.all())


def minus_lowest(cells: StudyCells, method: str, others: Sequence[str], column: str) -> Measure | None:
    """A column of the store of a method minus the lowest of other methods', over the seeds that have all of them."""
    if not len(cells.rows):
        return None
    values = cells.rows.pivot_table(index="seed", columns="method", values=column, dropna=False)
    if not {method, *others} <= {*values.columns}:
        return None
    whole = values[[method, *others]].dropna()
    return _over_seeds((whole[method] - whole[[*others]].min(axis=1)).to_numpy(np.float64))


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
def depth_range(found: Figures, method: str, metric: str) -> Floats:
    """How far accuracy varies with depth: the highest minus the lowest of the depths' means over widths.

    A network without an accuracy, because it diverged or failed, counts as 0.
    """
    accuracy = np.nan_to_num(_accuracies(found, [method], metric)[0, 0])
    return np.asarray(np.ptp(accuracy.mean(axis=1), axis=0))


@of_each_seed
def deepest_trained(found: Figures, methods: Sequence[str], beside: Sequence[str]) -> Floats:
    """The greatest depth at which any network of these methods trains, over the seeds that have those `beside` too."""
    grids = [on_axes(grid, methods) for grid in found.values()]
    by_depth = np.any([trained(grid, MOMENT) for grid in grids], axis=(0, 1, 3))
    return np.asarray(np.where(by_depth, np.array(grids[0].depths, np.float64)[:, None], 0.0).max(axis=0))


@of_each_seed
def best_accuracy(
    found: Figures, methods: Sequence[str], metric: str, beside: Sequence[str] = (), depths: Sequence[int] = ()
) -> Floats:
    """The best accuracy of all networks of these methods (of some depths only), where a seed has those `beside` too."""
    there = {rate: on_axes(grid, depths=depths or None) for rate, grid in found.items()}
    return _best(there, methods, metric)


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
    of = over_seeds(np.log(known))
    low, high, least, most = (
        None if end is None else float(np.exp(end)) for end in (of.low, of.high, of.least, of.most)
    )
    return Measure(float(np.exp(of.value)), low, high, least, most, of.count, unit="pairs")


MEASURES: Mapping[str, Callable[..., Measure | None]] = {
    measure.__name__: measure
    for measure in (
        *(frontier_depth, times_deeper, lowest_mean, difference_at, networks_that_train, depth_range, deepest_trained),
        *(best_accuracy, best_difference, pairs_won, mean_gain, cost_ratio, success_share, mean_loss),
        *(epochs_until_right, minus_lowest),
    )
}
"""What a claim's `measure` can be."""

ON_ONE_FIGURE: Mapping[str, Callable[..., Measure | None]] = {"frontier_depth": frontier_of, "times_deeper": ratio_of}
"""The same of a figure whatever else there should be, such as the authors' own table: by measure."""


def _of_whole(
    cells: StudyCells, methods: Sequence[str], widths: Sequence[int], of_grid: Callable[[FigureGrid], Measure | None]
) -> Measure | None:
    few = cells.few_places(methods, widths)
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
    return Measure(**vars(own)) if own.count else None


def _bootstrapped(value: float, of: FrontierPoint | FrontierRatio, seeds: int, is_at_least: bool) -> Measure:
    """A frontier or a ratio of frontiers; its range is that of the seeds by themselves."""
    low, high = (None if end is None else float(end) for end in (of.low, of.high))
    least, most = (float(min(of.each)), float(max(of.each))) if len(of.each) > 1 else (None, None)
    return Measure(value, low, high, least, most, seeds, is_at_least=is_at_least)
