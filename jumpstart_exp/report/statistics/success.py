"""Which networks train, and the share of seeds that do: statistics only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import Floats, share_interval
from jumpstart_exp.report.table.grid import FigureGrid


@dataclass(frozen=True, eq=False)
class Shares:
    """How many seeds train, (methods, depths, widths) each.

    `trained` of `seeds` do; `share` is their ratio, `low` and `high` its Wilson interval, all NaN where there is
    no seed. Seeds that diverged or failed count as not trained.
    """

    trained: NDArray[np.int64]
    seeds: NDArray[np.int64]
    share: Floats
    low: Floats
    high: Floats


def trained(grid: FigureGrid, at_epoch: str) -> NDArray[np.bool_]:
    """Which cells train, (methods, depths, widths, seeds); missing, diverged and failed ones do not.

    Args:
        grid: the figure's cells.
        at_epoch: "best" or "last" epoch.
    """
    return grid.trained(at_epoch)


def train_shares(grid: FigureGrid, at_epoch: str) -> Shares:
    """The share of seeds that train at every place, with its Wilson interval."""
    count = trained(grid, at_epoch).sum(axis=-1)
    seeds = grid.present.sum(axis=-1)
    return Shares(count, seeds, *share_interval(count, seeds))
