"""How often a method is better than another: the probability of improvement (Agarwal et al., NeurIPS 2021), paired."""

from dataclasses import dataclass

import numpy as np

from jumpstart_exp.report.statistics.differences import (
    MOST_ENUMERATED,
    over_places,
    seed_parts,
    sign_flip_p,
    sign_flips,
)
from jumpstart_exp.report.statistics.intervals import EQUAL, Floats
from jumpstart_exp.report.statistics.seedwise import Interval
from jumpstart_exp.report.table.grid import FigureGrid


@dataclass(frozen=True, eq=False)
class Improvement:
    """How often each method's training accuracy is above a baseline's at the same place and seed, ties one half.

    `each` are the methods', a mean over places with its interval over seeds, None for the baseline and for methods
    that share no cell with it. `p` is the two-sided sign-flip test of one half: whole seeds are flipped, because the
    places of a seed share its luck. `adjusted` is corrected for the number of methods (`stepdown`). `least_p` is the
    smallest `p` that the most seeds can give; `adjusted` is never below it.
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
    index = grid.methods.index(baseline)
    accuracy, lost = grid.accuracy[f"train_acc_{at_epoch}"], grid.diverged | grid.failed
    # a network that diverged or failed is worse than any, and as bad as another that did
    by_loss = lost[index].astype(np.float64) - lost
    difference = np.where(lost | lost[index], by_loss, accuracy - accuracy[index])
    difference[~(grid.present & grid.present[index])] = np.nan
    beyond = np.where(np.abs(difference) <= EQUAL, 0.0, np.sign(difference)) / 2
    beyond[index] = np.nan
    parts = np.stack([seed_parts(own) for own in beyond])
    p = sign_flip_p(parts)
    seeds = int((~np.isnan(parts)).sum(axis=1).max())
    return Improvement(
        baseline=baseline,
        each=tuple(_half_more(own) for own in beyond),
        p=p,
        adjusted=stepdown(parts),
        least_p=1 / len(_flips(seeds)) if seeds else np.nan,
    )


def stepdown(parts: Floats) -> Floats:
    """P-values of many sign-flip tests on the same seeds, adjusted so that the chance of any false one is the level.

    Holm's procedure with all tests' flips done together (Westfall and Young 1993, algorithm 2.8; for sign flips Winkler
    et al., NeuroImage 2014): the smallest p-value counts how many flips give any of the tests so small a one, the next
    how many give one of the others, and so on. Holm (1979) adds these up as if no flip did so for two tests: with ten
    seeds, whose least p-value is 1/512, and forty methods nothing could ever be significant. This one assumes that
    methods that are not different stay so together when a seed's sign is flipped.

    Args:
        parts: what each seed adds, (tests, seeds), NaN for none.

    Returns:
        (tests,), NaN where there is no seed.
    """
    adjusted = np.full(len(parts), np.nan)
    known = np.flatnonzero((~np.isnan(parts)).any(axis=1))
    if not len(known):
        return adjusted
    values = np.nan_to_num(parts[known])
    sums = np.abs(_flips(parts.shape[1]) @ values.T)  # (flips, tests)
    # sums that differ in rounding only are equal
    unit = EQUAL * np.maximum(np.abs(values).sum(axis=1), EQUAL)
    ordered = np.sort(sums, axis=0)
    of_flips = np.column_stack(
        [
            1 - np.searchsorted(of, own - least, "left") / len(of)
            for of, own, least in zip(ordered.T, sums.T, unit, strict=True)
        ]
    )
    order = np.argsort(of_flips[0], kind="stable")  # the first flip is none
    largest = 0.0
    for step, test in enumerate(order):
        as_small = of_flips[:, order[step:]].min(axis=1) <= of_flips[0, test] + EQUAL
        largest = max(largest, float(as_small.mean()))
        adjusted[known[test]] = largest
    return adjusted


def _flips(seeds: int) -> Floats:
    """Sign flips of so many seeds, (flips, seeds), the first of which leaves them as they are."""
    flips = sign_flips(seeds)
    return flips if seeds <= MOST_ENUMERATED else np.vstack([np.ones(seeds), flips])


def _half_more(beyond: Floats) -> Interval | None:
    """The probability of improvement, of halves of signs."""
    of = over_places(beyond)
    if of is None:
        return None
    low, high, least, most = (
        None if end is None else min(1.0, max(0.0, 0.5 + end)) for end in (of.low, of.high, of.least, of.most)
    )
    return Interval(0.5 + of.mean, low, high, least, most, of.seeds)
