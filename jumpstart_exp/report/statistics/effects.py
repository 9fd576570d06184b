"""Which of several swept settings decide: each one's values against each other, the others held; statistics only."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.statistics.values import ValueComparison, compare_values
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.sweeps import Sweep, SweptMethod, Value, has_effect, value_words


@dataclass(frozen=True, eq=False)
class SettingEffect:
    """One swept setting of a method: its values over the same combinations of the other settings.

    `values` are those compared, with their `words`; each stands in each of the `combinations`, so that the values
    differ in this setting alone. `found` compares them, its pairs being combinations × depth-width pairs.
    """

    name: str
    values: tuple[Hashable, ...]
    words: tuple[str, ...]
    combinations: int
    found: ValueComparison

    @property
    def spread(self) -> float:
        """The highest share of networks that train minus the lowest."""
        return float(np.ptp(self.found.share))

    @property
    def accuracy_spread(self) -> float:
        """The same of the training scores; NaN where one value has none."""
        return float(np.ptp(self.found.train_acc))


def setting_effects(sweep: Sweep, method: SweptMethod, at_epoch: str) -> list[SettingEffect]:
    """The effects of a method's swept settings at an epoch, "best" or "last", the one that decides most first.

    Of a setting without two values that stand in one combination of the others there is none; a value that stands in
    few, as ordinary training does in none but its own, is left out.
    """
    found = []
    for at, name in enumerate(sweep.names):
        places: dict[Value, dict[Hashable, int]] = defaultdict(dict)
        for number, value in enumerate(method.values):
            if has_effect(name, value[at]):
                places[value[:at] + value[at + 1 :]][value[at]] = number
        values = _compared(sweep.values[name], [*places.values()])
        matched = [own for own in places.values() if own.keys() >= {*values}]
        if len(values) < 2:
            continue
        index = np.array([[own[value] for own in matched] for value in values])
        words = tuple(value_words(name, values))
        grid = _of_values(method.grid, index, words)
        found.append(SettingEffect(name, values, words, len(matched), compare_values(grid, at_epoch)))
    return sorted(found, key=lambda effect: (-effect.spread, -np.nan_to_num(effect.accuracy_spread)))


def _compared(values: Sequence[Hashable], combinations: Sequence[Collection[Hashable]]) -> tuple[Hashable, ...]:
    """Those of a setting's values that compare the most: as many as can be in as many combinations as can be."""
    found = {frozenset(own) for own in combinations if len(own) > 1}

    def compared(own: frozenset[Hashable]) -> tuple[int, int]:
        return len(own) * sum(own <= {*other} for other in combinations), len(own)

    best: frozenset[Hashable] = max(sorted(found, key=_in_order), key=compared, default=frozenset())
    return tuple(value for value in values if value in best)


def _in_order(values: Collection[Hashable]) -> list[str]:
    return sorted(map(repr, values))


def _of_values(grid: FigureGrid, index: NDArray[np.int64], words: tuple[str, ...]) -> FigureGrid:
    """The grid with a setting's values as methods; `index`, (values, combinations), are places of its own methods.

    The combinations lie along the depths.
    """

    def joined(values: NDArray[Any]) -> NDArray[Any]:
        found = values[index]
        return np.asarray(found.reshape(len(words), -1, *found.shape[3:]))

    accuracy: dict[str, Floats] = {name: joined(values) for name, values in grid.accuracy.items()}
    return replace(
        grid,
        methods=words,
        method_titles=words,
        depths=tuple(range(index.shape[1] * len(grid.depths))),
        accuracy=accuracy,
        n_params=joined(grid.n_params),
        settings={},
        present=joined(grid.present),
        diverged=joined(grid.diverged),
        failed=joined(grid.failed),
        seconds=joined(grid.seconds),
        memory=joined(grid.memory),
        trained_on=joined(grid.trained_on),
        rows=joined(grid.rows),
    )
