"""The rows that a figure can be made of: what no training writes is named and left out."""

import typing
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.cell import cell_fields
from jumpstart_exp.console import Notice
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.table.fields import AXES
from jumpstart_exp.settings import legible, shown

_NEEDED = ("dataset", *AXES, "network.layout", "optimizer.epochs")  # what every figure is laid out and titled by
_MOST_PARAMETERS = 10**11  # more than any memory holds
_MEASURED: Mapping[str, Mapping[str, float]] = {
    **{f"{metric}_{end}": {"low": 0, "high": 1} for metric in ("train_acc", "val_acc") for end in ("best", "last")},
    "n_params": {"low": 1, "high": _MOST_PARAMETERS},
    "seconds": {"low": 0},
    "peak_memory_bytes": {"low": 0},
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
    for name in (name for name in dict.fromkeys((*_NEEDED, *cell_fields(), *_MEASURED)) if name in table.columns):
        wrong = ~_is_allowed(table[name], name)
        for row in np.flatnonzero(wrong if name in _NEEDED else wrong & table[name].notna().to_numpy()):
            value = table[name].iloc[row]
            python = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
            reasons.setdefault(int(row), f"{name}={shown(python)}")
    named = sorted(reasons.items())[:_MOST_NAMED]
    keys = {place: legible(str(table["key"].iloc[place])) for place, _ in named}
    told = [f"the row of key {keys[place]} is left out: no training has {reason}" for place, reason in named]
    if len(reasons) > _MOST_NAMED:
        told.append(f"{len(reasons) - _MOST_NAMED} more rows are left out that no training can have written")
    for message in told:
        warnings.warn(message, RowWarning, stacklevel=3)
    return table.drop(index=table.index[[*reasons]]) if reasons else table


def _is_allowed(values: pd.Series, name: str) -> NDArray[np.bool_]:
    """Which of a column's values a training can have; for null any answer."""
    if name in _MEASURED:
        return _is_within(values, _MEASURED[name])
    if name == "dataset":
        return values.isin([*DATASETS]).to_numpy()
    field = cell_fields()[name]
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
