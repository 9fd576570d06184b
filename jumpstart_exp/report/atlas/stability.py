"""Who trains stably: networks that train at their best epoch, and what is left of them at the last one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import Floats, share_interval
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid


@dataclass(frozen=True, eq=False)
class Stability:
    """Networks of every method, (methods,) each: how many there are, train at the best and at the last epoch.

    `lost` is the share of those that train at best and do not at last; `low` and `high` are its Wilson interval, which
    takes networks as independent; NaN where none trains at best.
    """

    networks: NDArray[np.int64]
    best: NDArray[np.int64]
    last: NDArray[np.int64]
    lost: Floats
    low: Floats
    high: Floats


def stability(grid: FigureGrid) -> Stability:
    """Best against last epoch, by method."""
    best, last = (trained(grid, at_epoch).sum(axis=(1, 2, 3)) for at_epoch in ("best", "last"))
    gone = (trained(grid, "best") & ~trained(grid, "last")).sum(axis=(1, 2, 3))
    return Stability(grid.present.sum(axis=(1, 2, 3)), best, last, *share_interval(gone, best))


def trained_shares(grid: FigureGrid, at_epoch: str) -> Floats:
    """The share of each method's networks that train, (methods,); NaN for none."""
    count = grid.present.sum(axis=(1, 2, 3))
    return np.where(count > 0, trained(grid, at_epoch).sum(axis=(1, 2, 3)) / np.maximum(count, 1), np.nan)
