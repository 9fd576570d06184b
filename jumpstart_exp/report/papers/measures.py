"""What the papers' statements are about, measured on ours: statistics only. A claim names one of `MEASURES`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.config.studies import small_study, study_cells
from jumpstart_exp.report.papers.comparison import moons_rows, only_grid
from jumpstart_exp.report.papers.layouts import LEAST_SEEDS
from jumpstart_exp.report.papers.published import METRICS
from jumpstart_exp.report.statistics.cost import BASELINE, PairCost, pair_costs
from jumpstart_exp.report.statistics.frontier import Start, deepest_frontier, frontier, frontier_ratio
from jumpstart_exp.report.statistics.intervals import Floats, mean_interval, percentile_interval, resamples
from jumpstart_exp.report.statistics.seedwise import MOMENT, complete_seeds, over_seeds, wins_by_seed
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.table.studies import StudyTable

MOONS = "moons"
"""Stands for all studies of MOONS over depth and width together."""

START: Start = "first"
"""Frontiers of statements are counted from a width's first depth that trains.

With one hidden layer plain ReLU networks of up to 15 units reach 0.95 on MOONS in fewer than half of the seeds.
"""


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


@dataclass(frozen=True, eq=False)
class CompleteSeeds:
    """A study's cells over the seeds that have every cell of the methods in question.

    `accuracy` by metric, and whether a network trains, are (rates, methods, depths, widths, seeds), of the learning
    rates and `methods` in question.
    """

    rates: tuple[float, ...]
    methods: tuple[str, ...]
    depths: tuple[int, ...]
    accuracy: Mapping[str, Floats]
    trained: NDArray[np.bool_]

    def of(self, methods: Sequence[str], metric: str, rate: float | None = None) -> Floats:
        """Accuracies of some methods, at one learning rate or (None) at all."""
        own = [place for place, known in enumerate(self.rates) if rate in (None, known)]
        return self.accuracy[metric][np.ix_(own, [self.methods.index(method) for method in methods])]


class StudyCells:
    """What the store has of a study in one variant, and what measures are of; each part is made once.

    A network trains if its training accuracy reaches `threshold`; None for the dataset's own.
    """

    def __init__(self, index: StudyTable, name: str, variant: str, threshold: float | None = None) -> None:
        self._index, self._name, self._variant, self._threshold = index, name, variant, threshold

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Its rows."""
        own = self._index, self._variant
        return moons_rows(*own) if self._name == MOONS else self._index.rows(self._name, self._variant)

    @cached_property
    def figure(self) -> FigureGrid | None:
        """Its figure, of a study with one learning rate; None where the store has nothing of it."""
        return self._at_threshold(self.rows)

    @cached_property
    def costs(self) -> list[PairCost]:
        """The penalty's cost at every pair of the study, and of the study in small, that was trained both ways."""
        small = small_study(self._name)
        rows = [self.rows, *([] if small is None else [self._index.rows(small.name, self._variant)])]
        return [cost for own in rows for grid in figure_grids(own) for cost in pair_costs(grid)]

    def complete(self, methods: Sequence[str]) -> CompleteSeeds | None:
        """The cells over the seeds that have every cell of these methods; None where no seed has."""
        if not len(self.rows):
            return None
        cells = study_cells(self._name, self._variant)
        rates = sorted({cell.optimizer.lr for cell in cells}, reverse=True)
        grids = self._by_rate(rates)
        pairs = len({(cell.depth, cell.width) for cell in cells})
        seeds = [{grid.seeds[i] for i in complete_seeds(grid, tuple(methods), pairs)} for grid in grids]
        common = sorted(set.intersection(*seeds)) if len(grids) == len(rates) else []
        if not common:
            return None

        def chosen(grid: FigureGrid, values: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
            own = [grid.methods.index(method) for method in methods]
            return np.asarray(values[own][..., [grid.seeds.index(seed) for seed in common]])

        return CompleteSeeds(
            tuple(rates),
            tuple(methods),
            grids[0].depths,
            {metric: np.array([chosen(grid, grid.accuracy[metric]) for grid in grids]) for metric in METRICS},
            np.array([chosen(grid, trained(grid, MOMENT)) for grid in grids]),
        )

    def few_places(self, methods: Sequence[str], width: int | None) -> int | None:
        """How many of the study's places have fewer than `LEAST_SEEDS` seeds; None where one has no seed at all.

        The places are those of these methods, at one width or (None) at all.
        """
        grid = self.figure
        if grid is None or any(method not in grid.methods for method in methods):
            return None
        counts = grid.present.sum(axis=-1)
        seeds = {
            (grid.methods[method], grid.depths[depth], grid.widths[own]): int(counts[method, depth, own])
            for method, depth, own in np.argwhere(counts > 0)
        }
        wanted = {
            (cell.method, cell.depth, cell.width)
            for cell in study_cells(self._name, self._variant)
            if cell.method in methods and width in (None, cell.width)
        }
        return sum(seeds[place] < LEAST_SEEDS for place in wanted) if wanted <= seeds.keys() else None

    def _by_rate(self, rates: Sequence[float]) -> list[FigureGrid]:
        """The figures at these learning rates that the store has."""
        if len(rates) == 1:
            return [] if self.figure is None else [self.figure]
        own = self.rows["optimizer.lr"].to_numpy(dtype=np.float64)
        found = [self._at_threshold(self.rows.loc[np.isclose(own, rate)]) for rate in rates]
        return [grid for grid in found if grid is not None]

    def _at_threshold(self, rows: pd.DataFrame) -> FigureGrid | None:
        found = only_grid(rows)
        return found and found.at_threshold(self._threshold)


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
    """The lowest of the methods' mean accuracies, over the seeds that all of them have."""
    grid = cells.figure
    if grid is None or any(method not in grid.methods for method in methods):
        return None
    values = grid.accuracy[metric][[grid.methods.index(method) for method in methods], 0, 0]
    values = values[:, ~np.isnan(values).any(axis=0)]
    count = values.shape[1]
    if not count:
        return None
    low: float | None = None
    high: float | None = None
    if count > 1:
        ends = percentile_interval(values[:, resamples(count)].mean(axis=-1).min(axis=0))
        low, high = (float(end) for end in ends)
    return Measure(float(values.mean(axis=-1).min()), low, high, count)


def difference_at(cells: StudyCells, method: str, other: str, metric: str, depth: int) -> Measure | None:
    """Mean accuracy at one depth of one method minus that of another, over the seeds that both have."""
    grid = cells.figure
    if grid is None or depth not in grid.depths or any(name not in grid.methods for name in (method, other)):
        return None
    one, two = (grid.accuracy[metric][grid.methods.index(name), grid.depths.index(depth)] for name in (method, other))
    return _over_seeds((one - two).mean(axis=0))


def networks_that_train(cells: StudyCells, method: str, depths: Sequence[int] = ()) -> Measure | None:
    """How many of a method's networks train (of some depths only), over the seeds that have all of them."""

    def count(found: CompleteSeeds) -> Floats:
        chosen = [not depths or depth in depths for depth in found.depths]
        return np.asarray(found.trained[:, :, chosen].sum(axis=_PLACES), dtype=np.float64)

    return _each_seed(cells, (method,), count)


def deepest_trained(cells: StudyCells, methods: Sequence[str], beside: Sequence[str]) -> Measure | None:
    """The greatest depth at which any network of these methods trains, over the seeds that have those `beside` too."""

    def deepest(found: CompleteSeeds) -> Floats:
        by_depth = found.trained[:, : len(methods)].any(axis=(0, 1, 3))
        return np.asarray(np.where(by_depth, np.array(found.depths, np.float64)[:, None], 0.0).max(axis=0))

    return _each_seed(cells, (*methods, *beside), deepest)


def best_accuracy(cells: StudyCells, methods: Sequence[str], metric: str, beside: Sequence[str] = ()) -> Measure | None:
    """The best accuracy of all networks of these methods, over the seeds that have those `beside` too."""
    return _each_seed(cells, (*methods, *beside), lambda found: _best(found, methods, metric))


def best_difference(cells: StudyCells, methods: Sequence[str], other: str, metric: str) -> Measure | None:
    """The best accuracy of these methods minus that of another one, over the seeds that have all cells of both."""
    both = (*methods, other)
    return _each_seed(cells, both, lambda found: _best(found, methods, metric) - _best(found, (other,), metric))


def pairs_won(
    cells: StudyCells, methods: Sequence[str], other: str, metric: str, rate: float | None = None
) -> Measure | None:
    """At how many pairs of depth and width (at one learning rate or all) a method is better than another one.

    Mean of `methods`, over the seeds that have all cells of both.
    """

    def wins(found: CompleteSeeds) -> Floats:
        theirs = found.of((other,), metric, rate)
        return np.asarray(np.mean([wins_by_seed(found.of((own,), metric, rate), theirs) for own in methods], axis=0))

    return _each_seed(cells, (*methods, other), wins)


def mean_gain(cells: StudyCells, methods: Sequence[str], other: str, metric: str, depth: int) -> Measure | None:
    """Mean accuracy at a depth of these methods minus that of another one, over the seeds that have all of both."""

    def gain(found: CompleteSeeds) -> Floats:
        gains = found.of(methods, metric) - found.of((other,), metric)
        return np.asarray(np.nanmean(gains[:, :, found.depths.index(depth)], axis=(0, 1, 2)))

    return _each_seed(cells, (*methods, other), gain)


def cost_ratio(cells: StudyCells, quantity: Literal["seconds", "memory"]) -> Measure | None:
    """Geometric mean of what a training costs with the penalty over without it, over depth-width pairs."""
    ratios = [cost.memory_ratio if quantity == "memory" else cost.time_ratio for cost in cells.costs]
    known = [ratio for ratio in ratios if ratio is not None and np.isfinite(ratio) and ratio > 0]
    if not known:
        return None
    ends = [float(np.exp(end)) for end in mean_interval(np.log(known))]
    low, high = (None, None) if len(known) < 2 else ends[1:]
    return Measure(ends[0], low, high, len(known), unit="pairs")


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

_PLACES = (0, 1, 2, 3)
"""The axes of `CompleteSeeds` but the seeds."""


def _of_whole(
    cells: StudyCells, methods: Sequence[str], width: int | None, of_grid: Callable[[FigureGrid], Measure | None]
) -> Measure | None:
    few = cells.few_places(methods, width)
    found = None if few is None or cells.figure is None else of_grid(cells.figure)
    return None if few is None or found is None else replace(found, few_places=few)


def _each_seed(cells: StudyCells, methods: Sequence[str], of: Callable[[CompleteSeeds], Floats]) -> Measure | None:
    """One number of every seed that has all cells of these methods; None where no seed has."""
    found = cells.complete(methods)
    return None if found is None else _over_seeds(of(found))


def _best(found: CompleteSeeds, methods: Sequence[str], metric: str) -> Floats:
    """Each seed's best accuracy; NaN where no network has one."""
    return np.asarray(np.fmax.reduce(found.of(methods, metric), axis=_PLACES))


def _over_seeds(values: Floats) -> Measure | None:
    """One number a seed as a measure; None where no seed has one."""
    if np.isnan(values).all():
        return None
    own = over_seeds(values)
    return Measure(own.value, own.low, own.high, own.seeds)
