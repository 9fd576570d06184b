"""The summary of a figure in a few numbers a method (CPAIOR, table 1): statistics only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import EQUAL, Floats
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid

SUMMARISED = ("train_acc", "val_acc")
"""What is summarised, in the order of a method's columns."""


@dataclass(frozen=True)
class BestNetwork:
    """The network with the highest accuracy; of equal ones the first by depth, width and seed."""

    accuracy: float
    depth: int
    width: int
    seed: int


@dataclass(frozen=True)
class MethodSummary:
    """One method's numbers. `best` and `wins` have an entry for each of SUMMARISED.

    `networks` counts every depth, width and seed that the store has, `trained` those that train, `wins` the
    depth-width pairs at which no method comes near, `beats_baseline` those at which it is better than plain ReLU, and
    how many both have (CPAIOR, section 4, of CIFAR-10); None for ReLU itself, or without it.
    """

    networks: int
    seeds: int
    trained: int
    diverged: int
    failed: int
    best: Mapping[str, BestNetwork | None]
    wins: Mapping[str, int]
    beats_baseline: Mapping[str, tuple[int, int]] | None


@dataclass(frozen=True)
class Summary:
    """All methods' numbers, in the grid's order, and for each of SUMMARISED how many depth-width pairs were what.

    `compared` pairs have an accuracy of every method for one seed at least; `ties` of them nobody won, and
    `left_out` are the figure's other pairs. `threshold` is the training accuracy from which on a network trains.
    """

    threshold: float
    methods: tuple[MethodSummary, ...]
    compared: Mapping[str, int]
    ties: Mapping[str, int]
    left_out: Mapping[str, int]


def summarise(grid: FigureGrid, at_epoch: str) -> Summary:
    """Summarise the figure; `at_epoch` is "best" or "last".

    A pair is won by the highest mean over the seeds for which every method has an accuracy.
    """
    succeeded = trained(grid, at_epoch)
    winners = {metric: _winners(grid, f"{metric}_{at_epoch}") for metric in SUMMARISED}
    any_method = grid.present.any(axis=(0, 3))

    def pairs(where: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> dict[str, int]:
        return {metric: int(where(of).sum()) for metric, of in winners.items()}

    methods = tuple(
        MethodSummary(
            networks=int(grid.present[method].sum()),
            seeds=int(grid.present[method].any(axis=(0, 1)).sum()),
            trained=int(succeeded[method].sum()),
            diverged=int(grid.diverged[method].sum()),
            failed=int(grid.failed[method].sum()),
            best={metric: _best(grid, f"{metric}_{at_epoch}", method) for metric in SUMMARISED},
            wins=pairs(partial(np.equal, method)),
            beats_baseline=_beats_baseline(grid, at_epoch, method),
        )
        for method in range(len(grid.methods))
    )
    return Summary(
        threshold=grid.threshold,
        methods=methods,
        compared=pairs(lambda of: of >= _TIE),
        ties=pairs(lambda of: of == _TIE),
        left_out=pairs(lambda of: any_method & (of < _TIE)),
    )


_TIE = -1
_LEFT_OUT = -2


def _winners(grid: FigureGrid, column: str) -> NDArray[np.int64]:
    """The winning method's index at each pair, (depths, widths); or that it is a tie, or not compared."""
    count, means = _common_means(grid.accuracy[column])
    highest = means.max(axis=0)
    shared = (means > highest - EQUAL).sum(axis=0) > 1
    return np.where(count == 0, _LEFT_OUT, np.where(shared, _TIE, means.argmax(axis=0)))


def _beats_baseline(grid: FigureGrid, at_epoch: str, method: int) -> Mapping[str, tuple[int, int]] | None:
    if BASELINE not in grid.methods or grid.methods[method] == BASELINE:
        return None
    found = {}
    for metric in SUMMARISED:
        both = grid.accuracy[f"{metric}_{at_epoch}"][[grid.methods.index(BASELINE), method]]
        count, (base, own) = _common_means(both)
        compared = count > 0
        found[metric] = (int((compared & (own > base + EQUAL)).sum()), int(compared.sum()))
    return found


def _common_means(values: Floats) -> tuple[NDArray[np.int64], Floats]:
    """How many seeds every method has at each pair, and each method's mean over these (methods, depths, widths)."""
    common = ~np.isnan(values).any(axis=0)
    count = common.sum(axis=-1)
    return count, np.where(common, np.nan_to_num(values), 0.0).sum(axis=-1) / np.maximum(count, 1)


def _best(grid: FigureGrid, column: str, method: int) -> BestNetwork | None:
    values = grid.accuracy[column][method]
    if np.isnan(values).all():
        return None
    depth, width, seed = np.unravel_index(np.nanargmax(values), values.shape)
    return BestNetwork(float(values[depth, width, seed]), grid.depths[depth], grid.widths[width], grid.seeds[seed])
