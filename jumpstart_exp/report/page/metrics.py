"""What the page's heatmaps can show: metrics with their moments, and their intervals over seeds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.page.packing import DIFFERENCE, FRACTION, POSITIVE, Scale
from jumpstart_exp.report.statistics.intervals import mean_interval
from jumpstart_exp.report.table.grid import FigureGrid

_FIT = ("best", "last")
_CENSUS = ("start", "last")


@dataclass(frozen=True)
class Metric:
    """A number of every cell; `column` is the store's, without the moment.

    `moments` are empty where it has one value only. `less` names the moment that is subtracted: best minus last.
    `better` is "high", "low" or empty.
    """

    column: str
    title: str
    scale: Scale
    moments: tuple[str, ...]
    better: str = ""
    is_difference: bool = False

    def columns(self) -> list[str]:
        """The metric's columns, one a moment."""
        return [f"{self.column}_{at_epoch}" for at_epoch in self.moments] or [self.column]

    def described(self) -> dict[str, Any]:
        """The metric for the page."""
        kind = "difference" if self.is_difference else "positive" if self.scale.log else "fraction"
        return {
            "column": self.column,
            "title": self.title,
            "moments": list(self.moments),
            "better": self.better,
            "kind": kind,
        }


METRICS = (
    Metric("train_acc", "training accuracy", FRACTION, _FIT, "high"),
    Metric("val_acc", "validation accuracy", FRACTION, _FIT, "high"),
    Metric("train_loss", "training loss", POSITIVE, _FIT, "low"),
    Metric("val_loss", "validation loss", POSITIVE, _FIT, "low"),
    Metric("train_acc_drop", "training accuracy, best minus last", DIFFERENCE, (), "low", is_difference=True),
    Metric("val_acc_drop", "validation accuracy, best minus last", DIFFERENCE, (), "low", is_difference=True),
    Metric("dead_units", "dead units", FRACTION, _CENSUS, "low"),
    Metric("dead_points", "dead points", FRACTION, _CENSUS, "low"),
    Metric("linear_units", "linear units", FRACTION, _CENSUS),
    Metric("linear_points", "linear points", FRACTION, _CENSUS),
    Metric("penalty", "separation penalty", POSITIVE, _CENSUS, "low"),
    Metric("seconds", "seconds of training", POSITIVE, (), "low"),
)
"""Every metric but the share of seeds that train, in the order of the page's list."""


def measured(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column's numbers, one a row of the table, NaN where there is none; differences are made here."""
    if column.endswith("_drop"):
        name = column.removesuffix("_drop")
        return measured(table, f"{name}_best") - measured(table, f"{name}_last")
    if column not in table.columns:
        return np.full(len(table), np.nan)
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def intervals(grid: FigureGrid, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean, low and high over the seeds that are done, (methods, depths, widths); NaN with fewer than two of them.

    Args:
        grid: the figure.
        values: the metric of every row of the table.
    """
    done = grid.present & ~grid.diverged & ~grid.failed
    placed = np.where(done, np.append(values, np.nan)[grid.rows], np.nan)
    mean, low, high = mean_interval(placed)
    # a single value is its own mean: the page has it already
    return np.where(np.isnan(low), np.nan, mean), low, high
