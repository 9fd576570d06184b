"""Which of several swept settings decide: each one's values against each other, the others held; statistics only."""

from collections import defaultdict
from collections.abc import Hashable
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

    Of a setting without two values that stand in one combination of the others there is none.
    """
    found = []
    for at, name in enumerate(sweep.names):
        places: dict[Value, dict[Hashable, int]] = defaultdict(dict)
        for number, value in enumerate(method.values):
            if has_effect(name, value[at]):
                places[value[:at] + value[at + 1 :]][value[at]] = number
        values = tuple(value for value in sweep.values[name] if any(value in own for own in places.values()))
        matched = [own for own in places.values() if len(own) == len(values)]
        if len(values) < 2 or not matched:
            continue
        index = np.array([[own[value] for own in matched] for value in values])
        words = tuple(value_words(name, values))
        grid = _of_values(method.grid, index, words)
        found.append(SettingEffect(name, values, words, len(matched), compare_values(grid, at_epoch)))
    return sorted(found, key=lambda effect: (-effect.spread, -np.nan_to_num(effect.accuracy_spread)))


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
