"""Which epochs of a training are worth a look: where it begins to learn, is best, breaks down and comes back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ONSET, _LOST, _HELD = 0.25, 0.5, 0.8
"""Shares of the way from chance to the best accuracy: where learning begins, where it is lost, where it holds."""

_LEAST_HELD = 0.01
"""Share of the training for which a solution has to hold: what comes and goes in between is one collapse."""


@dataclass(frozen=True)
class Collapse:
    """A solution that is lost, in epochs done.

    Attributes:
        before: the last epoch at which the solution is as good as in the middle (median) of its time.
        after: the first at which it is lost.
        bottom: the worst before one is back.
        back: the first with a solution again; None where none comes back.
        settled: when the new solution is first at its best; None where none comes back.
        held: epochs that the old solution had held.
        lost: epochs until a new one is back, or until the end.
    """

    before: int
    after: int
    bottom: int
    back: int | None
    settled: int | None
    held: int
    lost: int


@dataclass(frozen=True)
class TurningPoints:
    """Epochs done at which something happens; None for what does not.

    Attributes:
        onset: the first above chance by a quarter of the way to the best.
        best: the first at its best.
        collapses: in the order of the epochs.
    """

    onset: int | None
    best: int | None
    collapses: tuple[Collapse, ...]


def turning_points(epochs: NDArray[np.int64], accuracy: NDArray[np.float64], chance: float) -> TurningPoints:
    """Where a training turns, by its training accuracy.

    A solution holds from 0.8 of the way from chance to the best accuracy on, and is lost below half of it: a network
    in between has neither found nor lost one. What holds for less than a hundredth of the training is no solution. A
    network that never gets a quarter of the way to 1 has none.

    Args:
        epochs: of the curve's rows, counted from 1, ascending, (rows,).
        accuracy: as seen during each epoch, fractions in [0, 1], (rows,): that of the parameters one epoch earlier.
        chance: accuracy of guessing.
    """
    done = epochs - 1  # what an epoch sees are the parameters before its step
    if not len(done) or not np.isfinite(accuracy).all():
        return TurningPoints(None, None, ())
    best = int(accuracy.argmax())
    gain = float(accuracy[best]) - chance
    if gain < _ONSET * (1 - chance):
        return TurningPoints(None, int(done[best]), ())
    onset = int(np.argmax(accuracy >= chance + _ONSET * gain))
    holds, is_lost = accuracy >= chance + _HELD * gain, accuracy < chance + _LOST * gain
    return TurningPoints(int(done[onset]), int(done[best]), _collapses(done, accuracy, holds, is_lost))


def largest(collapses: tuple[Collapse, ...], most: int) -> tuple[Collapse, ...]:
    """So many of the collapses, in the order of the epochs: of solutions that had held long, or were lost for long."""
    ranked = sorted(collapses, key=lambda collapse: (-collapse.held - collapse.lost, collapse.before))[:most]
    return tuple(sorted(ranked, key=lambda collapse: collapse.before))


def spread(last: int, count: int) -> list[int]:
    """About so many epochs from 0 to the last, ascending: half of them evenly, half of them denser at the beginning."""
    if last < count:
        return list(range(last + 1))
    half = max(count // 2, 1)
    even = np.linspace(0, last, half + 1)
    early = np.geomspace(1, last, count - half)
    return sorted({0, last, *np.rint(even).astype(int).tolist(), *np.rint(early).astype(int).tolist()})


def epochs_to_keep(points: TurningPoints, last: int, count: int) -> list[int]:
    """About so many epochs, ascending: those where the training turns, at most half of them, and others spread over it.

    Args:
        points: where it turns.
        last: epochs of the training.
        count: of epochs.
    """
    a_collapse = 6
    turns = {epoch for epoch in (points.onset, points.best) if epoch is not None}
    for collapse in largest(points.collapses, max(count // 2 - len(turns), 0) // a_collapse):
        turns |= {collapse.before - collapse.held // 2, collapse.before, collapse.after, collapse.bottom}
        turns |= {last if epoch is None else epoch for epoch in (collapse.back, collapse.settled)}
    turns = {epoch for epoch in turns if 0 <= epoch <= last}
    return sorted({*turns, *spread(last, max(count - len(turns), 2))})


def _collapses(
    done: NDArray[np.int64], accuracy: NDArray[np.float64], holds: NDArray[np.bool_], is_lost: NDArray[np.bool_]
) -> tuple[Collapse, ...]:
    # alternately a solution is found and lost: the rows at which it is
    turns = [int(np.argmax(holds))]
    while True:
        wanted = is_lost if len(turns) % 2 else holds
        later = np.flatnonzero(wanted[turns[-1] :])
        if not len(later):
            break
        turns.append(turns[-1] + int(later[0]))
    ends = [*turns[1:], len(done)]
    least = max(1, round(_LEAST_HELD * len(done)))
    held = [(found, lost) for found, lost in zip(turns[::2], ends[::2], strict=True) if lost - found >= least]
    nexts = [*held, (len(done), len(done))][1:]
    return tuple(
        _collapse(done, accuracy, found, lost, *after)
        for (found, lost), after in zip(held, nexts, strict=True)
        if lost < len(done)
    )


def _collapse(
    done: NDArray[np.int64], accuracy: NDArray[np.float64], found: int, lost: int, back: int, end: int
) -> Collapse:
    """The collapse of the solution that is found at one row and lost at another; the next is found, and ends."""
    usual = np.median(accuracy[found:lost])
    before = found + int(np.flatnonzero(accuracy[found:lost] >= usual)[-1])
    is_back = back < len(done)
    return Collapse(
        before=int(done[before]),
        after=int(done[lost]),
        bottom=int(done[lost + int(accuracy[lost:back].argmin())]),
        back=int(done[back]) if is_back else None,
        settled=int(done[back + int(accuracy[back:end].argmax())]) if is_back else None,
        held=int(done[lost] - done[found]),
        lost=int(done[min(back, len(done) - 1)] - done[lost]),
    )
