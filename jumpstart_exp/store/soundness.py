"""Which rows a training can have written: their key is that of their settings, and their numbers are in range."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jumpstart_exp.cell import NUMERICS, SCHEMA_VERSION, CellField, cell_fields, fields_of
from jumpstart_exp.data import DATASETS
from jumpstart_exp.result import CENSUS, METRICS
from jumpstart_exp.settings import is_allowed, shown
from jumpstart_exp.store.parts import Part
from jumpstart_exp.store.schema import label_check

_json = json.JSONEncoder(separators=(",", ":")).encode

_Encoded = tuple[NDArray[np.int64], list[Any]]
"""A column: the place of each row's value in the list of its distinct values, and these."""

_NEEDED = ("dataset", "depth", "width", "seed", "network.layout", "optimizer.epochs")
"""Settings that act in every cell."""

_ACCURACIES = [metric for metric in METRICS if metric.endswith("_acc")]
_LOSSES = [metric for metric in METRICS if metric.endswith("_loss")]

_RANGES: Mapping[str, tuple[float, float]] = {
    **{f"{metric}_{moment}": (0, 1) for metric in _ACCURACIES for moment in ("last", "best")},
    **{f"{metric}_{moment}": (-math.inf, math.inf) for metric in _LOSSES for moment in ("last", "best")},
    **{f"{metric}_best_epoch": (1, math.inf) for metric in METRICS},
    **{f"{name}_{moment}": (0, 1) for name in CENSUS for moment in ("start", "last")},
    "n_params": (1, 1e11),  # more than any memory holds
    "epochs_run": (0, math.inf),
    "diverged_epoch": (1, math.inf),
    "seconds": (0, math.inf),
    "peak_memory_bytes": (0, math.inf),
}
"""From where to where a measured number goes, by its column; all are finite."""

_RANGES_IF_DONE: Mapping[str, tuple[float, float]] = {
    f"penalty_{moment}": (-math.inf, math.inf) for moment in ("start", "last")
}
"""The same of what may be infinite where a training has diverged."""

_CURVE_RANGES: Mapping[str, tuple[float, float]] = {
    "epoch": (1, math.inf),
    **dict.fromkeys((*_ACCURACIES, *CENSUS), (0, 1)),
}
"""The same of curves; their losses and penalties may be infinite on the way."""


@dataclass(frozen=True)
class Soundness:
    """What was found of a part's rows.

    Attributes:
        is_sound: rows of today's numerics that can be believed, (rows,).
        is_other: rows of other numerics, (rows,).
        flaws: why a row of today's numerics cannot be believed, by its place.
        has_doubtful: whether there is a row of other numerics whose settings do not give its key.
    """

    is_sound: NDArray[np.bool_]
    is_other: NDArray[np.bool_]
    flaws: Mapping[int, str]
    has_doubtful: bool

    @property
    def is_complete(self) -> bool:
        """Whether nothing is wrong with any row."""
        return not self.flaws and not self.has_doubtful


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
        return Soundness(~is_other, is_other, {}, False), rows["key"].to_pylist()
    rows = part.read([*_LOOKED_AT, *cell_fields()])
    return soundness_of(rows), rows["key"].to_pylist()


def soundness_of(rows: pa.Table) -> Soundness:
    """What can be believed of rows of `cells`, of which the columns `_LOOKED_AT` and all settings are there."""
    numerics = _numerics(rows)
    keys, methods, checks = (rows[name].to_pylist() for name in ("key", "method", "label_check"))
    flaws: dict[int, str] = {}
    own_keys = _check_settings(rows, numerics, flaws)
    for name, limits in _RANGES.items():
        _check_range(rows, name, limits, flaws)
    is_done = pc.equal(rows["status"], "done").to_numpy()
    for name, limits in _RANGES_IF_DONE.items():
        _check_range(rows, name, limits, flaws, is_done)
    doubtful = [place for place, key in enumerate(keys) if own_keys[place] != key]
    _note(flaws, ((place, f"its settings have the key {own_keys[place]}") for place in doubtful))
    for place, (key, method, check) in enumerate(zip(keys, methods, checks, strict=True)):
        if check is not None and check != label_check(key, method):  # the oldest rows do not have it
            flaws.setdefault(place, f"it was stored under another label than {shown(method)}")
    is_other = numerics != NUMERICS
    flaws = {place: reason for place, reason in flaws.items() if not is_other[place]}
    is_sound = ~is_other
    is_sound[[*flaws]] = False
    return Soundness(is_sound, is_other, flaws, bool(is_other[doubtful].any()))


def curve_flaws(rows: pa.Table) -> Mapping[int, str]:
    """Why rows of curves cannot be believed, by their place."""
    flaws: dict[int, str] = {}
    for name, limits in _CURVE_RANGES.items():
        _check_range(rows, name, limits, flaws)
    return flaws


def _numerics(rows: pa.Table) -> NDArray[np.int64]:
    """Each row's numerics, (rows,): a row that does not say them is of the first."""
    return np.asarray(rows["numerics"].fill_null(1).to_numpy(), np.int64)


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
    """Note the rows in whose column is a number beyond the limits, or none that is finite."""
    array = rows[name].combine_chunks()
    if array.null_count == len(array):
        return
    numbers = array.to_numpy(zero_copy_only=False).astype(np.float64)
    is_right = np.isfinite(numbers) & (numbers >= limits[0]) & (numbers <= limits[1])
    is_there = array.is_valid().to_numpy(zero_copy_only=False)
    for place in np.flatnonzero(where & is_there & ~is_right):
        flaws.setdefault(int(place), f"no training has {name}={shown(array[int(place)].as_py())}")
