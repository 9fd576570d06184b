"""How often a method is better than another: the probability of improvement (Agarwal et al., NeurIPS 2021), paired."""

from dataclasses import dataclass

import numpy as np

from jumpstart_exp.report.statistics.differences import sign_flip_p
from jumpstart_exp.report.statistics.intervals import EQUAL, Floats, false_discovery
from jumpstart_exp.report.statistics.seedwise import Interval, over_seeds
from jumpstart_exp.report.table.grid import FigureGrid


@dataclass(frozen=True, eq=False)
class Improvement:
    """How often each method's training accuracy is above a baseline's at the same place and seed, ties one half.

    `each` are the methods' (`Interval`: a mean over seeds of each seed's mean over places), None for the baseline and
    for methods that share no cell with it. `p` is the two-sided sign-flip test of one half, of whole seeds, because the
    places of a seed share its luck; `adjusted` is after Benjamini and Hochberg over the methods. `least_p` is the
    smallest that so many seeds can give.
    """

    baseline: str
    each: tuple[Interval | None, ...]
    p: Floats
    adjusted: Floats
    least_p: float


def improvement(grid: FigureGrid, baseline: str, at_epoch: str = "last") -> Improvement | None:
    """Every method against the baseline; None where the figure has no such method."""
    if baseline not in grid.methods:
        return None
    # a network that diverged is worse than any, and as bad as another that did
    accuracy = np.where(grid.diverged | grid.failed, -np.inf, grid.accuracy[f"train_acc_{at_epoch}"])
    index = grid.methods.index(baseline)
    both = grid.present & grid.present[index]
    with np.errstate(invalid="ignore"):
        difference = accuracy - accuracy[index]
    difference = np.where(np.isnan(difference), 0.0, difference)  # of two that diverged
    better = np.where(difference > EQUAL, 1.0, np.where(difference < -EQUAL, 0.0, 0.5))
    counts = both.sum(axis=(1, 2))
    totals = np.where(both, better, 0.0).sum(axis=(1, 2))
    by_seed = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    by_seed[index] = np.nan
    known = [bool((~np.isnan(own)).any()) for own in by_seed]
    p = sign_flip_p(by_seed - 0.5)
    return Improvement(
        baseline=baseline,
        each=tuple(over_seeds(own) if there else None for own, there in zip(by_seed, known, strict=True)),
        p=p,
        adjusted=false_discovery(p),
        least_p=float(2.0 ** (1 - int((~np.isnan(by_seed)).sum(axis=1).max(initial=1)))),
    )
