"""Which networks train, and the share of seeds that do: statistics only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import Floats, wilson
from jumpstart_exp.report.table.grid import FigureGrid

THRESHOLDS = {
    "moons": 0.95,
    "mnist": 2 * 6742 / 60_000,
    "cifar10": 2 * 5_000 / 50_000,
    "cifar100": 2 * 500 / 50_000,
}
"""Training accuracy from which on a network trains: of images twice the share of the largest class."""


@dataclass(frozen=True, eq=False)
class Shares:
    """How many seeds train, (methods, depths, widths) each.

    `trained` of `seeds` do; `share` is their ratio, `low` and `high` its Wilson interval (95 %), all NaN where there is
    no seed. Seeds that diverged or failed count as not trained.
    """

    trained: NDArray[np.int64]
    seeds: NDArray[np.int64]
    share: Floats
    low: Floats
    high: Floats


def training_threshold(dataset: str) -> float:
    """The training accuracy from which on a network of this dataset trains."""
    return THRESHOLDS[dataset]


def trained(grid: FigureGrid, moment: str, threshold: float | None = None) -> NDArray[np.bool_]:
    """Which cells train, (methods, depths, widths, seeds); missing, diverged and failed ones do not.

    Args:
        grid: the figure's cells.
        moment: "best" or "last" epoch.
        threshold: training accuracy from which on they do; None for the dataset's own.
    """
    least = training_threshold(grid.dataset) if threshold is None else threshold
    # accuracies are ratios of whole numbers: one that reaches the threshold may be a rounding below it
    return np.asarray(np.nan_to_num(grid.accuracy[f"train_acc_{moment}"], nan=-1.0) >= least - 1e-9)


def train_shares(grid: FigureGrid, moment: str, threshold: float | None = None) -> Shares:
    """The share of seeds that train at every place, with its Wilson interval."""
    count = trained(grid, moment, threshold).sum(axis=-1)
    seeds = grid.present.sum(axis=-1)
    low, high = wilson(count, seeds)
    share = np.divide(count, seeds, out=np.full(count.shape, np.nan), where=seeds > 0)
    return Shares(count, seeds, share, low, high)
