"""The time left of a phase of a sweep, from estimated costs and what was done of them so far."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

_FEW = 20
"""Units left a worker from which on the end of the work is no longer ragged enough to be looked at one by one."""


def makespan(units: Iterable[float], at_once: int, begun: Iterable[float] = ()) -> float:
    """How long workers take for units in the order given, each worker taking the next when it is free.

    Args:
        units: what each takes.
        at_once: workers.
        begun: what workers have left of units that they have begun.
    """
    free = list(begun)
    free += [0.0] * (at_once - len(free))
    heapq.heapify(free)
    for unit in units:
        heapq.heapreplace(free, free[0] + unit)
    return max(free)


class TimeLeft:
    """How long the rest takes at the pace of what was done.

    Costs count, not numbers of cells, and only their ratios: the pace gives the seconds that one worker takes for
    one unit of cost. It counts from the first sign of work, because before it workers only start; what lies longer
    back counts less, in proportion to the time since then, because estimates err in the same way for similar cells
    and machines have other things to do.

    Args:
        units: what a worker trains at a time, each a mapping from the cells' keys to their costs, in their order.
        at_once: workers.
    """

    def __init__(self, units: Sequence[Mapping[str, float]], at_once: int) -> None:
        self.at_once = at_once
        self.cost = {key: cost for unit in units for key, cost in unit.items()}
        self.unit_of = {key: number for number, unit in enumerate(units) for key in unit}
        self.left = [sum(unit.values()) for unit in units]
        self.total_left = sum(self.left)
        self.unfinished = [len(unit) for unit in units]
        self.units_left = sum(map(bool, units))
        self.begun: set[int] = set()
        self.largest_first = sorted(range(len(units)), key=lambda number: -self.left[number])
        self.first_unbegun = 0  # of the largest
        self.fraction: dict[str, float] = {}
        self.worked = 0.0
        self.worker_seconds = 0.0
        self.first_sign: float | None = None
        self.last_sign = 0.0

    def note(self, key: str, fraction: float, now: float) -> None:
        """This fraction of a cell is done; less than before means that it was begun again."""
        if key not in self.unit_of:
            return
        gained = self.cost[key] * (fraction - self.fraction.get(key, 0.0))
        if self.first_sign is None:
            if fraction > 0:  # until then workers only warm up
                self.first_sign = now
        elif now > self.first_sign:
            faded = (self.last_sign - self.first_sign) / (now - self.first_sign)
            self.worker_seconds *= faded
            self.worker_seconds += (now - self.last_sign) * min(self.at_once, self.units_left)
            self.worked = self.worked * faded + max(0.0, gained)
        self.last_sign = now
        self.fraction[key] = fraction
        self._take(self.unit_of[key], gained)

    def finish(self, key: str, fraction: float, now: float) -> None:
        """Nothing is left to do of a cell, of which this fraction was done (less than 1 where it ended early)."""
        if key not in self.unit_of:
            return
        self.note(key, max(fraction, self.fraction.get(key, 0.0)), now)
        unit = self.unit_of.pop(key)
        self._take(unit, self.cost[key] * (1 - self.fraction.pop(key)))
        self.unfinished[unit] -= 1
        if not self.unfinished[unit]:
            self.total_left -= self.left[unit]  # what rounding left
            self.left[unit] = 0.0
            self.begun.discard(unit)
            self.units_left -= 1

    def seconds_per_cost(self) -> float | None:
        """Seconds that one worker takes for one unit of cost; None before anything was done."""
        return self.worker_seconds / self.worked if self.worked > 0 else None

    def seconds_left(self, seconds_per_cost: float, now: float) -> float:
        """Seconds until all is done, the units in their order."""
        while self.first_unbegun < len(self.left) and self._was_begun(self.largest_first[self.first_unbegun]):
            self.first_unbegun += 1
        begun = [self.left[unit] for unit in self.begun]
        if self.units_left <= _FEW * self.at_once:
            rest = (left for unit, left in enumerate(self.left) if not self._was_begun(unit))
            left = makespan(rest, self.at_once, begun)
        else:
            unbegun = (self.left[unit] for unit in self.largest_first[self.first_unbegun : self.first_unbegun + 1])
            left = max(self.total_left / self.at_once, *begun, *unbegun)
        since = now - self.last_sign if self.first_sign is not None else 0.0
        return max(0.0, seconds_per_cost * left - since)

    def _was_begun(self, unit: int) -> bool:
        return unit in self.begun or not self.unfinished[unit]

    def _take(self, unit: int, cost: float) -> None:
        self.begun.add(unit)
        self.left[unit] -= cost
        self.total_left -= cost
