"""Parameter efficiency: accuracy against the number of parameters (CPAIOR, figures 3 and 4), statistics only."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jumpstart_exp.report.table.grid import FigureGrid

LEAST_PAIRS = 3
"""Depth-width pairs from which on a scatter says something."""


@dataclass(frozen=True)
class Point:
    """One network of one method: `mean`, `low` and `high` are accuracies in [0, 1] over its trained seeds.

    `partial` says that other seeds of it diverged or failed.
    """

    method: str
    depth: int
    width: int
    n_params: int
    mean: float
    low: float
    high: float
    partial: bool

    @property
    def pair(self) -> tuple[int, int]:
        """Depth and width."""
        return self.depth, self.width


def has_scatter(grid: FigureGrid) -> bool:
    """Whether the figure's cells are CNNs and have accuracies at enough depth-width pairs."""
    return grid.layout == "cnn" and len({point.pair for point in points(grid, "train_acc_best")}) >= LEAST_PAIRS


def points(grid: FigureGrid, column: str) -> list[Point]:
    """A point for every method, depth and width with an accuracy (a column of the store) and a number of parameters."""
    means, partly = grid.mean(column), grid.partly_untrained()
    found = []
    for place in zip(*np.nonzero(~np.isnan(means) & (grid.n_params > 0)), strict=True):
        method, depth, width = place
        low, high = (float(end(grid.accuracy[column][place])) for end in (np.nanmin, np.nanmax))
        found.append(
            Point(
                method=grid.methods[method],
                depth=grid.depths[depth],
                width=grid.widths[width],
                n_params=int(grid.n_params[place]),
                mean=float(means[place]),
                low=low,
                high=high,
                partial=bool(partly[place]),
            )
        )
    return found


def pareto_front(candidates: Iterable[Point]) -> list[Point]:
    """The points that no other one beats with as few parameters and as high a mean, by rising number of parameters.

    Of equal points the first by depth and width stands for all.
    """
    front: list[Point] = []
    for point in sorted(candidates, key=lambda point: (point.n_params, -point.mean, point.pair)):
        if not front or point.mean > front[-1].mean:
            front.append(point)
    return front


def best_of_pairs(candidates: Iterable[Point], most: int) -> list[Point]:
    """Each depth-width pair's best point, those most worth a label first.

    First the pairs of the best points' Pareto front, then those on the front of any method, then the others; the
    accurate before the less accurate. Where there are more than `most` pairs the others are left out.
    """
    best: dict[tuple[int, int], Point] = {}
    of_method: dict[str, list[Point]] = defaultdict(list)
    for point in candidates:
        of_method[point.method].append(point)
        if point.pair not in best or point.mean > best[point.pair].mean:
            best[point.pair] = point
    overall = {point.pair for point in pareto_front(best.values())}
    any_method = {point.pair for own in of_method.values() for point in pareto_front(own)}
    kept = best if len(best) <= most else overall | any_method
    return sorted(
        (best[pair] for pair in kept),
        key=lambda point: (point.pair not in overall, point.pair not in any_method, -point.mean, point.pair),
    )
