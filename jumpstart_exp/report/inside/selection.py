"""Which of the kept states a figure shows, and curves of many epochs in few points: computed, not drawn."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.inspect.recorded_states import RecordedStates
from jumpstart_exp.inspect.turning_points import TurningPoints, largest, turning_points

Array = NDArray[np.float64]

_A_COLLAPSE = 3
"""States shown of a collapse: before it, at its worst, and the new solution."""


def turns_of(snapshots: RecordedStates, chance: float) -> TurningPoints:
    """Where the training turns, by its curve."""
    return turning_points(snapshots.column("epoch").astype(np.int64), snapshots.column("train_acc"), chance)


def shown_states(snapshots: RecordedStates, chance: float, most: int, multiple: int = 1) -> tuple[int, ...]:
    """Places of at most so many states that tell the training's story, ascending; in multiples, for full rows.

    The first and the last; where learning begins and where it is best; of the largest collapses the
    state before, the worst one, and the new solution; then, to fill the row, those farthest from all
    that are shown. A turn whose epoch was not kept is left out.
    """
    turns, kept = turns_of(snapshots, chance), snapshots.epochs.tolist()
    wanted = [kept[0], kept[-1], turns.onset, turns.best]
    room = max(most - len(wanted), 0) // _A_COLLAPSE
    for collapse in largest(turns.collapses, room):
        wanted += [collapse.before, collapse.bottom, collapse.settled]
    places = {kept.index(epoch) for epoch in wanted[: max(most, 1)] if epoch in kept}
    full = -(-len(places) // multiple) * multiple
    while len(places) < min(full, most, len(kept)):
        # by places as well as by epochs: the beginning, where states are dense, has its share
        far = [min(abs(place - other) for other in places) for place in range(len(kept))]
        places.add(int(np.argmax(far)))
    return tuple(sorted(places))


def thinned(x: Array, y: Array, bins: int = 600) -> tuple[Array, Array]:
    """The curve with at most two points a bin, its lowest and its highest, so that no spike is lost; no point is moved.

    Args:
        x: ascending, (points,).
        y: (points,); those that are not finite are left out.
        bins: equally many points each.
    """
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) <= 2 * bins:
        return x, y
    edges = np.linspace(0, len(x), bins + 1).astype(int)
    places = {0, len(x) - 1}
    for first, end in pairwise(edges):
        places |= {first + int(y[first:end].argmin()), first + int(y[first:end].argmax())}
    order = sorted(places)
    return x[order], y[order]
