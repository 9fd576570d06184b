"""What the papers' statements are about, measured on ours: statistics only."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.config.studies import STUDIES, study_cells
from jumpstart_exp.report.papers.comparison import moons_rows, only_grid
from jumpstart_exp.report.papers.layouts import LEAST_SEEDS
from jumpstart_exp.report.statistics.cost import BASELINE, PairCost, pair_costs
from jumpstart_exp.report.statistics.frontier import Start, deepest_frontier, frontier, frontier_ratio
from jumpstart_exp.report.statistics.intervals import Floats, mean_interval, percentile_interval, resamples
from jumpstart_exp.report.statistics.seedwise import MOMENT, Interval, complete_seeds, over_seeds, wins_by_seed
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


class StudyGrids:
    """The figures of the published studies that a table has, each made once.

    A network trains if its training accuracy reaches `threshold`; None for each dataset's own.
    """

    def __init__(self, table: pd.DataFrame, threshold: float | None = None) -> None:
        self.index = StudyTable(table)
        self.threshold = threshold
        self._found: dict[tuple[str, str, float | None], FigureGrid | None] = {}

    def rows(self, study: str, variant: str) -> pd.DataFrame:
        """The study's rows."""
        return moons_rows(self.index, variant) if study == MOONS else self.index.rows(study, variant)

    def grid(self, study: str, variant: str, rate: float | None = None) -> FigureGrid | None:
        """The study's figure, at one learning rate where it has several; None where the store has none of it."""
        key = (study, variant, rate)
        if key not in self._found:
            rows = self.rows(study, variant)
            if rate is not None and len(rows):
                rows = rows.loc[np.isclose(rows["optimizer.lr"].to_numpy(dtype=np.float64), rate)]
            found = only_grid(rows)
            self._found[key] = found and found.at_threshold(self.threshold)
        return self._found[key]

    def few_places(self, study: str, variant: str, methods: tuple[str, ...], width: int | None) -> int | None:
        """How many of the study's places have fewer than `LEAST_SEEDS` seeds; None where one has no seed at all.

        The places are those of these methods, at one width or (None) at all.
        """
        grid = self.grid(study, variant)
        if grid is None or any(method not in grid.methods for method in methods):
            return None
        counts = grid.present.sum(axis=-1)
        seeds = {
            (grid.methods[method], grid.depths[depth], grid.widths[own]): int(counts[method, depth, own])
            for method, depth, own in np.argwhere(counts > 0)
        }
        wanted = {
            (cell.method, cell.depth, cell.width)
            for cell in study_cells(study, variant)
            if cell.method in methods and width in (None, cell.width)
        }
        if not wanted <= seeds.keys():
            return None
        return sum(seeds[place] < LEAST_SEEDS for place in wanted)

    def all_grids(self, study: str, variant: str) -> list[FigureGrid]:
        """The study's figures, and those of the study in small."""
        names = [study, *(other.name for other in STUDIES if other.small_of == study)]
        return [grid for name in names for grid in figure_grids(self.rows(name, variant))]


def frontier_of(grid: FigureGrid, method: str, width: int | None) -> Measure | None:
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


def times_deeper(grid: FigureGrid, method: str) -> Measure | None:
    """How many times deeper the method trains than ReLU; None where no width has both frontiers."""
    if any(name not in grid.methods for name in (BASELINE, method)):
        return None
    ratio = frontier_ratio(grid, MOMENT, method, BASELINE, start=START)
    if ratio is None:
        return None
    return Measure(ratio.ratio, ratio.low, ratio.high, ratio.seeds, is_at_least=bool(ratio.at_least))


def lowest_mean(grid: FigureGrid, methods: tuple[str, ...], metric: str) -> Measure | None:
    """The lowest of the methods' mean accuracies, over the seeds that all of them have."""
    if any(method not in grid.methods for method in methods):
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


def best_difference(grid: FigureGrid, method: str, other: str, metric: str, pairs: int) -> Measure | None:
    """The best accuracy of one method minus that of another, over the seeds that have all their pairs."""
    return _each_seed(
        grid,
        (method, other),
        pairs,
        lambda seeds: _best(grid, method, metric, seeds) - _best(grid, other, metric, seeds),
    )


def best_accuracy(grid: FigureGrid, method: str, metric: str, pairs: int) -> Measure | None:
    """The best accuracy of all of a method's networks, over the seeds that have all of its pairs."""
    return _each_seed(grid, (method,), pairs, lambda seeds: _best(grid, method, metric, seeds))


def networks_that_train(
    grid: FigureGrid, method: str, pairs: int, depths: tuple[int, ...] | None = None
) -> Measure | None:
    """How many of a method's networks train (of some depths only), over the seeds that have all of its pairs."""
    chosen = [depth in depths if depths else True for depth in grid.depths]
    succeeded = trained(grid, MOMENT)

    def count(seeds: NDArray[np.int64]) -> Floats:
        counts = succeeded[grid.methods.index(method)][chosen][..., seeds].sum(axis=(0, 1))
        return np.asarray(counts, dtype=np.float64)

    return _each_seed(grid, (method,), pairs, count)


def pairs_won(grid: FigureGrid, method: str, other: str, metric: str, pairs: int) -> Measure | None:
    """At how many pairs one method is better than another, over the seeds that have all pairs of both."""

    def wins(seeds: NDArray[np.int64]) -> Floats:
        one, two = (grid.accuracy[metric][grid.methods.index(name)][..., seeds] for name in (method, other))
        return wins_by_seed(one, two).astype(np.float64)

    return _each_seed(grid, (method, other), pairs, wins)


def difference_at(grid: FigureGrid, method: str, other: str, metric: str, depth: int) -> Measure | None:
    """Mean accuracy at one depth of one method minus that of another, over the seeds that both have."""
    if depth not in grid.depths or any(name not in grid.methods for name in (method, other)):
        return None
    one, two = (grid.accuracy[metric][grid.methods.index(name), grid.depths.index(depth)] for name in (method, other))
    difference = one - two
    known = ~np.isnan(difference).any(axis=0)
    return measure_of(over_seeds(difference[:, known].mean(axis=0))) if known.any() else None


def cost_ratio(costs: list[PairCost], of_memory: bool) -> Measure | None:
    """Geometric mean of what a training costs with the penalty over without it, over depth-width pairs."""
    ratios = [cost.memory_ratio if of_memory else cost.time_ratio for cost in costs]
    known = [ratio for ratio in ratios if ratio is not None and np.isfinite(ratio) and ratio > 0]
    if not known:
        return None
    ends = [float(np.exp(end)) for end in mean_interval(np.log(known))]
    low, high = (None, None) if len(known) < 2 else ends[1:]
    return Measure(ends[0], low, high, len(known), unit="pairs")


def costs_of(grids: StudyGrids, study: str, variant: str) -> list[PairCost]:
    """The penalty's cost at every pair of a study, and of the study in small, that was trained both ways."""
    return [cost for grid in grids.all_grids(study, variant) for cost in pair_costs(grid)]


def measure_of(interval: Interval) -> Measure:
    """An interval over seeds as a measure."""
    return Measure(interval.value, interval.low, interval.high, interval.seeds)


def _each_seed(
    grid: FigureGrid, methods: tuple[str, ...], pairs: int, statistic: Callable[[NDArray[np.int64]], Floats]
) -> Measure | None:
    seeds = complete_seeds(grid, methods, pairs)
    if not len(seeds):
        return None
    values = statistic(seeds)
    return None if np.isnan(values).all() else measure_of(over_seeds(values))


def _best(grid: FigureGrid, method: str, metric: str, seeds: NDArray[np.int64]) -> Floats:
    values = grid.accuracy[metric][grid.methods.index(method)][..., seeds]
    return np.asarray(np.fmax.reduce(values, axis=(0, 1)))
