"""The rows that a figure can be made of: what no training writes is named and left out."""

import math
import typing
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.cell import CellField, cell_fields
from jumpstart_exp.console import Notice
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.table.fields import AXES
from jumpstart_exp.settings import legible, shown

_NEEDED = ("dataset", *AXES, "network.layout", "optimizer.epochs")  # what every figure is laid out and titled by
_MOST_PARAMETERS = 10**11  # more than any memory holds
_MEASURED: dict[str, tuple[float, float]] = {
    **{f"{metric}_{at_epoch}": (0, 1) for metric in ("train_acc", "val_acc") for at_epoch in ("best", "last")},
    "n_params": (1, _MOST_PARAMETERS),
    "seconds": (0, math.inf),
    "peak_memory_bytes": (0, math.inf),
}
_MOST_NAMED = 5


class RowWarning(Notice):
    """A row of the store is left out of the report; the message says which and why."""


def sound_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the rows whose settings or results no training can have; a warning names each.

    A null where a figure needs a value, a number out of its setting's range or not finite, a text that is none of
    its setting's choices, an accuracy beyond [0, 1].
    """
    if table.empty:
        return table
    reasons: dict[int, str] = {}
    for name, wrong in _wrong_values(table):
        for row in np.flatnonzero(wrong):
            reasons.setdefault(int(row), f"{name}={shown(_python(table[name].iloc[row]))}")
    keys = table["key"].tolist()
    for place, reason in [*sorted(reasons.items())][:_MOST_NAMED]:
        _warn(f"the row of key {legible(str(keys[place]))} is left out: no training has {reason}")
    if len(reasons) > _MOST_NAMED:
        _warn(f"{len(reasons) - _MOST_NAMED} more rows are left out that no training can have written")
    return table.drop(index=table.index[[*reasons]]) if reasons else table


def _wrong_values(table: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each column that can be wrong, and the rows in which it is."""
    fields = cell_fields()
    for name in dict.fromkeys((*_NEEDED, *fields, *_MEASURED)):
        if name not in table.columns:
            continue
        values = table[name]
        if name in _MEASURED:
            low, high = _MEASURED[name]
            right = _is_within(values, {"low": low, "high": high})
        elif name == "dataset":
            right = values.isin([*DATASETS]).to_numpy()
        else:
            right = _is_allowed(values, fields[name])
        yield name, ~right if name in _NEEDED else ~right & values.notna().to_numpy()


def _is_allowed(values: pd.Series, field: CellField) -> NDArray[np.bool_]:
    """Which of the values the field can have; for null any answer."""
    kinds = (field.type, *typing.get_args(field.type))
    if field.rules.get("choices"):
        return np.asarray(values.isin(field.rules["choices"]))
    if str in kinds:
        return np.array([isinstance(value, str) for value in values], np.bool_)
    if any(typing.get_origin(kind) is tuple for kind in kinds):
        lists = [np.asarray(value, np.float64) if np.size(value) > 1 or pd.notna(value) else 0.0 for value in values]
        return np.array([bool(np.all(np.isfinite(each))) for each in lists], np.bool_)
    return _is_within(values, field.rules)


def _is_within(values: pd.Series, rules: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which of the values are finite numbers, or truths, that the rules allow."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    right = np.isfinite(numbers)
    for name, allowed in (("low", np.greater_equal), ("above", np.greater), ("high", np.less_equal)):
        if rules.get(name) is not None:
            right &= allowed(numbers, rules[name])
    return np.asarray(right)


def _python(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _warn(message: str) -> None:
    warnings.warn(message, RowWarning, stacklevel=4)
