"""Whether the census before training, or early in it, tells which networks train: the area under the ROC curve.

The score of a network is the share of its hidden units that are neither dead nor linear. That of the area is the
probability that a network that trains has a higher score than one that does not, ties one half (Hanley and McNeil,
1982).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.statistics.intervals import EQUAL, LEAST_FOR_BOOTSTRAP, Floats, drawn_counts, student_interval
from jumpstart_exp.report.statistics.success import trained

_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


@dataclass(frozen=True)
class Prediction:
    """How well a method's census at a moment tells which of its networks train at the last epoch.

    `auc` is over pairs of any two networks, `within` over pairs of one depth and width, which can tell neither; None
    where no pair has one that trains and one that does not. Intervals (95 %) are Student's t of the spread over
    resampled seeds (percentiles of ten seeds hold it in 88 to 97 % of simulations, these in 94 to 98 %), None where the
    method has fewer than `LEAST_FOR_BOOTSTRAP`, where a resample has no pair, and where all of them agree. `networks`
    have a census, `trained` of them train; `within` is of so many `pairs`.
    """

    method: str
    moment: str
    auc: float | None
    low: float | None
    high: float | None
    within: float | None
    within_low: float | None
    within_high: float | None
    networks: int
    trained: int
    pairs: int


def predictions(atlas: Atlas) -> tuple[Prediction, ...]:
    """Every method's at the start and early, in the order of the grid's methods; none of smooth activations."""
    succeeded = trained(atlas.grid, "last")
    found = []
    for index, method in enumerate(atlas.grid.methods):
        for moment in ("start", "early"):
            of = [atlas.census[measure, moment][index] for measure in ("dead_units", "linear_units")]
            score = 1 - of[0] - of[1]
            known = ~np.isnan(score)
            if known.any():
                found.append(_prediction(method, moment, score, known, succeeded[index]))
    return tuple(found)


def _prediction(
    method: str, moment: str, score: Floats, known: NDArray[np.bool_], succeeded: NDArray[np.bool_]
) -> Prediction:
    own = known.any(axis=(0, 1))
    known, succeeded = known[..., own], succeeded[..., own]
    score = np.round(score[..., own], 6)  # what differs by less differs in rounding
    wins, fails = known & succeeded, known & ~succeeded
    auc, low, high = _with_interval(*_of_any_two(score, wins, fails))
    right, pairs = _of_one_place(score, wins, fails)
    within = _with_interval(right, pairs)
    return Prediction(method, moment, auc, low, high, *within, int(known.sum()), int(wins.sum()), int(pairs.sum()))


def _of_any_two(score: Floats, wins: NDArray[np.bool_], fails: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Pairs in the right order (ties one half) and pairs, by the seed of the one that trains and of the other.

    Args:
        score: (depths, widths, seeds).
        wins: which networks have a score and train.
        fails: which have one and do not.

    Returns:
        (seeds, seeds) each.
    """
    seeds = score.shape[-1]
    good, bad = ([np.sort(score[..., seed][of[..., seed]]) for seed in range(seeds)] for of in (wins, fails))
    right, pairs = np.zeros((seeds, seeds)), np.zeros((seeds, seeds))
    for one, other in np.ndindex(seeds, seeds):
        below, up_to = (np.searchsorted(bad[other], good[one], side).sum() for side in _SIDES)
        right[one, other], pairs[one, other] = (below + up_to) / 2, len(good[one]) * len(bad[other])
    return right, pairs


def _of_one_place(score: Floats, wins: NDArray[np.bool_], fails: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """The same of the pairs of one depth and width."""
    are_pairs = wins[..., :, None] & fails[..., None, :]
    one, other = score[..., :, None], score[..., None, :]
    right = np.where(are_pairs, (one > other) + 0.5 * (one == other), 0.0)
    return right.sum(axis=(0, 1)), are_pairs.sum(axis=(0, 1)).astype(np.float64)


def _with_interval(right: Floats, pairs: Floats) -> tuple[float | None, float | None, float | None]:
    if not pairs.sum():
        return None, None, None
    value, seeds = float(right.sum() / pairs.sum()), len(pairs)
    if seeds < LEAST_FOR_BOOTSTRAP:
        return value, None, None
    drawn = drawn_counts(seeds)
    rights, counts = (np.einsum("bi,ij,bj->b", drawn, of, drawn) for of in (right, pairs))
    if not counts.all():
        return value, None, None
    # a resample of n seeds has (n − 1)/n of their variance
    spread = np.std(rights / counts) * np.sqrt(seeds / (seeds - 1))
    if spread <= EQUAL:
        return value, None, None  # what is rare is not among seeds that agree
    ends = student_interval(np.array(value), spread, seeds)
    low, high = (float(np.clip(end, 0, 1)) for end in ends)
    return value, low, high
