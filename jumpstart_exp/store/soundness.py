"""Which rows a training can have written: their key is that of their settings, and their numbers are in range."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jumpstart_exp.cell import NUMERICS, SCHEMA_VERSION, CellField, cell_fields, fields_of
from jumpstart_exp.data import DATASETS
from jumpstart_exp.late import LateModule
from jumpstart_exp.result import ACTIVITY, CENSUS, DEAD_AT_SOME_LAYER, STORED_METRICS
from jumpstart_exp.settings import is_allowed, shown
from jumpstart_exp.store.parts import Part
from jumpstart_exp.store.schema import label_check

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from numpy.typing import NDArray
else:
    np = LateModule("numpy")
    pa = LateModule("pyarrow")
    pc = LateModule("pyarrow.compute")

_json = json.JSONEncoder(separators=(",", ":")).encode

_Encoded: TypeAlias = "tuple[NDArray[np.int64], list[Any]]"
"""A column: the place of each row's value in the list of its distinct values, and these."""

_NEEDED = ("dataset", "depth", "width", "seed", "network.layout", "optimizer.epochs")
"""Settings that act in every cell."""

_ACCURACIES = [metric for metric in STORED_METRICS if metric.endswith("_acc")]
_R2S = [metric for metric in STORED_METRICS if metric.endswith("_r2")]
_LOSSES = [metric for metric in STORED_METRICS if metric.endswith("_loss")]

_LARGEST = sys.float_info.max
"""The end of a range whose numbers are finite."""

_ROUNDING = 1e-6
"""How far rounding in float32 may carry a number out of its range."""

_LAYERWISE = (*CENSUS, *ACTIVITY)
_FRACTIONS = (*_LAYERWISE, *(f"{name}_by_layer" for name in _LAYERWISE), DEAD_AT_SOME_LAYER)

_RANGES: Mapping[str, tuple[float, float]] = {
    **{f"{metric}_{moment}": (0, 1) for metric in _ACCURACIES for moment in ("last", "best")},
    **{f"{metric}_{moment}": (-_LARGEST, 1) for metric in _R2S for moment in ("last", "best")},
    **{f"{metric}_{moment}": (0, _LARGEST) for metric in _LOSSES for moment in ("last", "best")},
    **{f"{metric}_best_epoch": (1, _LARGEST) for metric in STORED_METRICS},
    **{f"{name}_{moment}": (0, 1) for name in _FRACTIONS for moment in ("start", "last")},
    "n_params": (1, 1e11),  # more than any memory holds
    "epochs_run": (0, _LARGEST),
    "diverged_epoch": (1, _LARGEST),
    "seconds": (0, _LARGEST),
    "peak_memory_bytes": (0, _LARGEST),
}
"""From where to where a measured number goes, or each one of a list, by its column; losses are cross-entropies or
squared errors."""

_RANGES_IF_DONE: Mapping[str, tuple[float, float]] = {
    f"penalty_{moment}": (-_LARGEST, _LARGEST) for moment in ("start", "last")
}
"""The same of what may be infinite where a training has diverged."""

_ORDERED = (
    *((name, "optimizer.epochs") for name in ("epochs_run", "diverged_epoch")),
    *((f"{metric}_best_epoch", "optimizer.epochs") for metric in STORED_METRICS),
    *((f"{metric}_last", f"{metric}_best") for metric in (*_ACCURACIES, *_R2S)),
    *((f"{metric}_best", f"{metric}_last") for metric in _LOSSES),
)
"""Pairs of columns, of which the first is at most the second: trainings compare the numbers that are stored."""

_CURVE_RANGES: Mapping[str, tuple[float, float]] = {
    "epoch": (1, _LARGEST),
    **dict.fromkeys((*_ACCURACIES, *CENSUS), (0, 1)),
    **dict.fromkeys(_R2S, (-_LARGEST, 1)),
    **dict.fromkeys(_LOSSES, (0, math.inf)),
}
"""The same of curves; their losses and penalties may be infinite, or no numbers, on the way."""


@dataclass(frozen=True)
class Soundness:
    """What was found of a part's rows.

    Attributes:
        is_sound: rows of today's numerics that can be believed, (rows,).
        is_other: rows of other numerics, (rows,).
        flaws: why a row of today's numerics cannot be believed, by its place.
        doubtful: how many rows of other numerics there are whose settings do not give their key.
    """

    is_sound: NDArray[np.bool_]
    is_other: NDArray[np.bool_]
    flaws: Mapping[int, str]
    doubtful: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing is wrong with any row."""
        return not self.flaws and not self.doubtful


_TELLING = ("penalty.kind", "network.norm", "network.init")
"""Settings that tell the package's methods from each other."""

_LOOKED_AT = ("key", "numerics", "status", "method", "label_check", *_RANGES, *_RANGES_IF_DONE)
"""Columns of `cells` that tell whether a row is sound, beside the settings."""


def soundness_of_part(part: Part) -> tuple[Soundness, list[str]]:
    """What can be believed of a part of `cells`, and its rows' keys.

    Raises:
        UnreadableError: the part is damaged.
    """
    if part.is_sound:
        rows = part.read(["key", "numerics"])
        is_other = _numerics(rows) != NUMERICS
        return Soundness(~is_other, is_other, {}, 0), rows["key"].to_pylist()
    rows = part.read([*_LOOKED_AT, *cell_fields()])
    return soundness_of(rows, has_label_checks=part.has("label_check")), rows["key"].to_pylist()


def soundness_of(rows: pa.Table, *, has_label_checks: bool = True) -> Soundness:
    """What can be believed of rows of `cells`.

    Args:
        rows: their columns `_LOOKED_AT` and all settings.
        has_label_checks: whether they were written with `label_check`, which the oldest parts do not have.
    """
    numerics = _numerics(rows)
    keys, methods, checks = (rows[name].to_pylist() for name in ("key", "method", "label_check"))
    flaws: dict[int, str] = {}
    own_keys = _check_settings(rows, numerics, flaws)
    for name, limits in _RANGES.items():
        _check_range(rows, name, limits, flaws)
    is_done = pc.equal(rows["status"], "done").to_numpy()
    for name, limits in _RANGES_IF_DONE.items():
        _check_range(rows, name, limits, flaws, is_done)
    for lower, upper in _ORDERED:
        _check_order(rows, lower, upper, flaws)
    doubtful = [place for place, key in enumerate(keys) if own_keys[place] != key]
    _note(flaws, ((place, f"its settings have the key {own_keys[place]}") for place in doubtful))
    for place, (key, method, check) in enumerate(zip(keys, methods, checks, strict=True)):
        if check is None and has_label_checks:
            flaws.setdefault(place, "it does not tell that its label is the one it was stored under")
        elif check is not None and check != label_check(key, method):
            flaws.setdefault(place, f"it was stored under another label than {shown(method)}")
    if not has_label_checks:
        _check_labels(rows, flaws)
    is_other = numerics != NUMERICS
    flaws = {place: reason for place, reason in flaws.items() if not is_other[place]}
    is_sound = ~is_other
    is_sound[[*flaws]] = False
    return Soundness(is_sound, is_other, flaws, int(is_other[doubtful].sum()))


@cache
def _stock_methods() -> Mapping[str, Mapping[str, Any]]:
    """What each of the package's methods sets of `_TELLING`, conf/method/NAME.yaml."""
    import yaml

    from jumpstart_exp.config.schema import conf_dir

    files = {path.stem: yaml.safe_load(path.read_bytes()) for path in Path(conf_dir(), "method").glob("*.yaml")}
    places = {name: name.split(".") for name in _TELLING}
    return {
        method: {name: own[part][key] for name, (part, key) in places.items() if key in own.get(part, {})}
        for method, own in files.items()
    }


def _check_labels(rows: pa.Table, flaws: dict[int, str]) -> None:
    """Note the rows labelled as one of the package's methods that do not have what it sets, or what only others set."""
    stock = _stock_methods()
    of_method, methods = _encoded(rows["method"])
    for name in _TELLING:
        of_value, values = _encoded(rows[name])
        set_by_any = {own[name] for own in stock.values() if name in own} - {cell_fields()[name].default}
        for number, method in enumerate(methods):
            if (own := stock.get(method)) is None:
                continue
            fits = [value == own[name] if name in own else value not in set_by_any for value in values]
            for place in np.flatnonzero((of_method == number) & ~np.array(fits, np.bool_)[of_value]):
                reason = f"method={method} has not {name}={shown(values[of_value[place]])}"
                flaws.setdefault(int(place), reason)


def curve_flaws(rows: pa.Table) -> Mapping[int, str]:
    """Why rows of curves cannot be believed, by their place."""
    flaws: dict[int, str] = {}
    for name, limits in _CURVE_RANGES.items():
        _check_range(rows, name, limits, flaws)
    return flaws


def _numerics(rows: pa.Table) -> NDArray[np.int64]:
    """Each row's numerics, (rows,): a row that does not say them is of the first."""
    numbers = (1 if number is None else number for number in rows["numerics"].to_pylist())
    return np.fromiter(numbers, np.int64, len(rows))


def _note(flaws: dict[int, str], found: Iterable[tuple[Any, str]]) -> None:
    """Keep what was found, of each row the first."""
    for place, reason in found:
        flaws.setdefault(int(place), reason)


def _check_settings(rows: pa.Table, numerics: NDArray[np.int64], flaws: dict[int, str]) -> list[str]:
    """The key that each row's own settings give (`Cell.key`); empty where the dataset is not known."""
    keys = np.full(len(rows), "", object)
    of_dataset, datasets = _encoded(rows["dataset"])
    for number, dataset in enumerate(datasets):
        places = np.flatnonzero(of_dataset == number)
        if dataset not in DATASETS:
            _note(flaws, ((place, f"no training has dataset={shown(dataset)}") for place in places))
            continue
        own = rows if len(places) == len(rows) else rows.take(pa.array(places))
        fields = fields_of(dataset)
        settings = {name: _encoded(own[name]) for name in sorted(cell_fields())}
        for name, (of_value, values) in settings.items():
            is_right = np.array([_can_have(name, fields.get(name), value) for value in values], np.bool_)
            for place in [] if is_right.all() else np.flatnonzero(~is_right[of_value]):
                reason = f"no training has {name}={shown(values[of_value[place]])}"
                flaws.setdefault(int(places[place]), reason)
        for name in DATASETS[dataset].unkeyed:
            del settings[f"dataset.{name}"]
        keys[places] = _keys(settings, fields, numerics[places])
    return [str(key) for key in keys]


def _can_have(name: str, field: CellField | None, value: Any) -> bool:
    """Whether a cell's field can have the value; None: it has no effect. No field: it is another dataset's."""
    if value is None:
        return name not in _NEEDED
    return name == "dataset" or (field is not None and is_allowed(field.type, field.rules, value))


def _keys(settings: Mapping[str, _Encoded], fields: Mapping[str, CellField], numerics: NDArray[np.int64]) -> list[str]:
    """As `Cell.key` has it, for many rows at once: the canonical JSON is put together column by column."""
    columns: list[Any] = []
    for name, (of_value, values) in settings.items():
        neutral, begin = fields[name].neutral if name in fields else None, f",{_json(name)}:"
        texts = [
            "" if value is None or (neutral is not None and value == neutral) else begin + _json(value)
            for value in values
        ]
        columns.append(texts[0] if len(texts) == 1 else pa.array(texts, pa.string()).take(pa.array(of_value)))
    columns.append(pa.array([""] * len(numerics)))  # where every cell has the same settings there is no other array
    joined = pc.binary_join_element_wise(*columns, "").to_pylist()
    documents = (
        f'{{"cell":{{{described[1:]}}},"numerics":{number},"schema":{SCHEMA_VERSION}}}'
        for described, number in zip(joined, numerics.tolist(), strict=True)
    )
    return [hashlib.sha256(document.encode()).hexdigest()[:32] for document in documents]


def _encoded(column: pa.ChunkedArray) -> _Encoded:
    array = column.combine_chunks()
    if array.null_count == len(array):
        return np.zeros(len(array), np.int64), [None]
    if pa.types.is_list(array.type):
        places: dict[Any, int] = {}
        lists = [None if value is None else tuple(value) for value in array.to_pylist()]
        of_value = [places.setdefault(value, len(places)) for value in lists]
        return np.array(of_value), [*places]
    found = pc.dictionary_encode(array, null_encoding="encode")
    return found.indices.to_numpy(), found.dictionary.to_pylist()


def _check_range(
    rows: pa.Table,
    name: str,
    limits: tuple[float, float],
    flaws: dict[int, str],
    where: NDArray[np.bool_] | bool = True,
) -> None:
    """Note the rows in whose column is a number beyond the limits; of lists all numbers are looked at.

    NaN is beyond all limits but infinity.
    """
    array = rows[name].combine_chunks()
    if array.null_count == len(array):
        return
    row_of = np.arange(len(array))
    if pa.types.is_list(array.type):
        row_of, array = pc.list_parent_indices(array).to_numpy(), pc.list_flatten(array)
    numbers = array.to_numpy(zero_copy_only=False).astype(np.float64)
    is_right = (numbers >= limits[0] - _ROUNDING) & (numbers <= limits[1] + _ROUNDING)
    is_right |= np.isnan(numbers) & (limits[1] == math.inf)
    is_there = array.is_valid().to_numpy(zero_copy_only=False)
    is_asked = np.broadcast_to(where, len(rows))[row_of]
    for place in np.flatnonzero(is_asked & is_there & ~is_right):
        flaws.setdefault(int(row_of[place]), f"no training has {name}={shown(array[int(place)].as_py())}")


def _check_order(rows: pa.Table, lower: str, upper: str, flaws: dict[int, str]) -> None:
    """Note the rows that have a larger number in the column `lower` than in the column `upper`."""
    is_wrong = pc.greater(rows[lower], rows[upper]).fill_null(False).to_numpy()
    for place in np.flatnonzero(is_wrong).tolist():
        values = {name: shown(rows[name][place].as_py()) for name in (lower, upper)}
        flaws.setdefault(place, f"no training has {lower}={values[lower]} with {upper}={values[upper]}")
