"""Who is better than whom on how many tasks: wins, draws and losses between methods; statistics only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.differences import LEVEL, sign_flip_p
from jumpstart_exp.report.statistics.intervals import Floats, false_discovery


@dataclass(frozen=True, eq=False)
class Wins:
    """On how many tasks the row's method is better than the column's, and on how many neither is, (methods, methods).

    `tests` comparisons were corrected for together, of `fewest` to `most` seeds each. `untested` had too few seeds in
    common for any p-value of `LEVEL`: they are draws, and where there is no common seed not even that.
    """

    won: NDArray[np.int64]
    drawn: NDArray[np.int64]
    tests: int
    untested: int
    fewest: int
    most: int

    @property
    def lost(self) -> NDArray[np.int64]:
        """On how many tasks the column's method is better, (methods, methods)."""
        return self.won.T


def wins(values: Floats) -> Wins:
    """Wins, draws and losses between all methods.

    A task is won by the higher mean over the seeds that both methods have, where the sign-flip test of their
    differences (`sign_flip_p`), corrected by Benjamini and Hochberg for all pairs of methods on all tasks, is at most
    `LEVEL`; else it is a draw. What cannot reach `LEVEL` whatever the seeds say is no test (Tarone, 1990).

    Args:
        values: (methods, tasks, seeds), more is better; NaN for none.
    """
    count = len(values)
    first, second = np.triu_indices(count, k=1)
    differences = values[first] - values[second]
    seeds = (~np.isnan(differences)).sum(axis=-1)
    is_tested = 2.0 ** (1 - seeds) <= LEVEL
    p = false_discovery(np.where(is_tested, sign_flip_p(differences), np.nan))
    is_decided = p <= LEVEL
    is_better = np.nansum(differences, axis=-1) > 0  # what is decided is not 0
    won, drawn = np.zeros((2, count, count), np.int64)
    won[first, second] = (is_decided & is_better).sum(axis=-1)
    won[second, first] = (is_decided & ~is_better).sum(axis=-1)
    drawn[first, second] = drawn[second, first] = ((seeds > 0) & ~is_decided).sum(axis=-1)
    tested = seeds[is_tested]
    ends = (int(tested.min()), int(tested.max())) if tested.size else (0, 0)
    return Wins(won, drawn, tested.size, int(((seeds > 0) & ~is_tested).sum()), *ends)
