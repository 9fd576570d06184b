"""What a method costs: its training time and its parameters relative to plain ReLU's, at the same place and seed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.table.grid import FigureGrid


@dataclass(frozen=True, eq=False)
class Expense:
    """Ratios to the baseline's, (methods,) each: `time` is the median over cells, `lower` and `upper` its quartiles.

    Only cells that one engine on one device trained to the end, as the baseline's of the same depth, width and seed,
    are compared: `cells` of them; NaN where there is none. `parameters` is the median over places.
    """

    time: Floats
    lower: Floats
    upper: Floats
    cells: NDArray[np.int64]
    parameters: Floats


def expense(grid: FigureGrid, baseline: str = BASELINE) -> Expense | None:
    """Every method's; None where the figure has no baseline."""
    if baseline not in grid.methods:
        return None
    index = grid.methods.index(baseline)
    known = (grid.seconds > 0) & (grid.seconds[index] > 0) & (grid.trained_on == grid.trained_on[index])
    ratio = np.where(known, grid.seconds / np.where(grid.seconds[index] > 0, grid.seconds[index], np.nan), np.nan)
    counts = np.asarray(known.sum(axis=(1, 2, 3)))
    quartiles = np.full((3, len(counts)), np.nan)
    parameters = np.full(len(counts), np.nan)
    for method, count in enumerate(counts):
        if count:
            quartiles[:, method] = np.percentile(ratio[method][known[method]], (50, 25, 75))
        both = (grid.n_params[method] > 0) & (grid.n_params[index] > 0)
        if both.any():
            parameters[method] = np.median(grid.n_params[method][both] / grid.n_params[index][both])
    return Expense(quartiles[0], quartiles[1], quartiles[2], counts, parameters)
