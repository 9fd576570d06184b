"""What tells two stores apart, cell by cell: `python -m jumpstart_exp.store diff A B`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jumpstart_exp.settings import legible
from jumpstart_exp.store import OUTCOME, OUTCOME_IF_COUNTED, TRAINED_ON, Store, differ

_SHOWN = ("method", "depth", "width", "seed", "dataset")


@dataclass(frozen=True)
class Difference:
    """A cell of which two stores have different results.

    `values` are both stores' by the name of what differs; `is_same_machine` is whether engine, device, machine and
    versions are those of the other, where results have the same bits (but for those of `stacked`).
    """

    key: str
    cell: str
    values: Mapping[str, tuple[Any, Any]]
    engines: tuple[str, str]
    is_same_machine: bool


@dataclass(frozen=True)
class Comparison:
    """Two stores beside each other: cells, in words by key, that only one has, how many are equal, and all others."""

    only_first: Mapping[str, str]
    only_second: Mapping[str, str]
    equal: int
    different: Sequence[Difference]

    @property
    def is_equal(self) -> bool:
        """Whether both have the same cells with the same results."""
        return not (self.only_first or self.only_second or self.different)


def compare(first: Store, second: Store) -> Comparison:
    """The cells of two stores by their keys, and their results bit by bit.

    Compared are the status, metrics, penalty, census and the epochs that were run (`OUTCOME`; of what is not counted in
    every version, what both have). Ignored are time, memory, engine, machine, versions, date, labels and the words of
    an error. Rows of other numerics are in neither.

    Raises:
        StoreError: a store cannot be read.
    """
    columns = list(dict.fromkeys([*_SHOWN, "status", *OUTCOME, *OUTCOME_IF_COUNTED, *TRAINED_ON]))
    one, other = (store.cells(columns).set_index("key") for store in (first, second))
    both = one.index.intersection(other.index)
    different = [*_differences(one.loc[both], other.loc[both])]
    return Comparison(
        _in_words(one.drop(index=both)), _in_words(other.drop(index=both)), len(both) - len(different), different
    )


def _differences(one: pd.DataFrame, other: pd.DataFrame) -> Iterator[Difference]:
    """The rows that differ, of tables of the same keys."""
    names = {name: _known(one[name], other[name], name in OUTCOME) for name in (*OUTCOME, *OUTCOME_IF_COUNTED)}
    words = _in_words(one)
    machines = [one[list(TRAINED_ON)].map(str), other[list(TRAINED_ON)].map(str)]
    for row, key in enumerate(one.index):
        values = {name: (a[row], b[row]) for name, (a, b) in names.items() if a[row] is not b[row]}
        values = {name: pair for name, pair in values.items() if differ(*pair)}
        if values:
            engines = (str(one["engine"].iloc[row]), str(other["engine"].iloc[row]))
            is_same = bool((machines[0].iloc[row] == machines[1].iloc[row]).all())
            yield Difference(str(key), words[str(key)], values, engines, is_same)


def _known(one: "pd.Series[Any]", other: "pd.Series[Any]", is_always: bool) -> tuple[list[Any], list[Any]]:
    """Both columns as plain values, null and NaN as None; None in both where one was not counted and need not be."""
    columns = [[_plain(value) for value in column] for column in (one, other)]
    if not is_always:
        for row, pair in enumerate(zip(*columns, strict=True)):
            if None in pair:
                columns[0][row] = columns[1][row] = None
    return columns[0], columns[1]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return tuple(value)
    return None if value is None or value != value or value is pd.NA else value


def _in_words(rows: pd.DataFrame) -> dict[str, str]:
    """The cells in a few words, by key."""
    columns = (rows[name] for name in _SHOWN)
    return {
        str(key): f"{legible(str(dataset))} {legible(str(method))} {depth}×{width} seed {seed}"
        for key, method, depth, width, seed, dataset in zip(rows.index, *columns, strict=True)
    }
