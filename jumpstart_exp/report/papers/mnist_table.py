"""CPAIOR's table 1 (MNIST) beside ours: statistics only."""

from dataclasses import dataclass

import numpy as np

from jumpstart_exp.report.papers.published import METRICS, Published
from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.statistics.seedwise import MOMENT, Interval, complete_seeds, over_seeds, wins_by_seed
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid

PAIRS = 54
"""Depth-width pairs of the table: 18 depths × 3 widths."""

JUMPSTART = "sep_up"
"""The label of what CPAIOR calls jumpstart."""


@dataclass(frozen=True)
class TableComparison:
    """A number of a published table beside ours over the seeds that have the whole table; None where none has."""

    method: str
    metric: str
    quantity: str
    published: float
    ours: Interval | None
    least: float | None
    most: float | None


def compare_table(grid: FigureGrid | None, published: Published) -> list[TableComparison]:
    """CPAIOR's table 1 beside ours, over the seeds that have all of it."""
    ours = {} if grid is None else _table_values(grid)
    found = []
    for (method, metric, quantity), value in published.mnist.items():
        own = ours.get((method, metric, quantity))
        known = (None, None, None) if own is None else (over_seeds(own), float(own.min()), float(own.max()))
        found.append(TableComparison(method, metric, quantity, value, *known))
    return found


def _table_values(grid: FigureGrid) -> dict[tuple[str, str, str], Floats]:
    """One number a complete seed for every method, metric and quantity of the table."""
    methods = (BASELINE, JUMPSTART)
    seeds = complete_seeds(grid, methods, PAIRS)
    if not len(seeds):
        return {}
    counts = trained(grid, MOMENT)[..., seeds].sum(axis=(1, 2))
    found: dict[tuple[str, str, str], Floats] = {}
    for metric in METRICS:
        accuracy = {method: grid.accuracy[metric][grid.methods.index(method)][..., seeds] for method in methods}
        for method, other in (methods, methods[::-1]):
            found[method, metric, "best_accuracy"] = np.fmax.reduce(accuracy[method], axis=(0, 1))
            found[method, metric, "networks_that_train"] = counts[grid.methods.index(method)].astype(np.float64)
            wins = wins_by_seed(accuracy[method], accuracy[other])
            found[method, metric, "best_for_the_pair"] = wins.astype(np.float64)
    return found
