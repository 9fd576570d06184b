"""Rows of the store as labelled arrays: `to_xarray(rows, columns)`, the one place where tables become arrays.

    to_xarray(rows: pandas.DataFrame, columns: Sequence[str] | None = None) -> xarray.Dataset

`rows` is what `Store.cells` gives, whole or in part: a row a cell, with the settings' columns. Nothing is averaged, and
no two rows share a place.
"""

import itertools
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.cell import cell_fields
from jumpstart_exp.result import ACTIVITY, CENSUS, DEAD_AT_SOME_LAYER, STORED_METRICS
from jumpstart_exp.settings import legible, nearest, without_none
from jumpstart_exp.store.fields import AXES, described, found_settings, setting_columns

if TYPE_CHECKING:
    import xarray

LABEL = "method"

FIRST = ("depth", "width", LABEL, "seed")
"""The dimensions that every array has, in this order; settings that tell rows of one place apart come behind."""

LAYER = "layer"
"""The last dimension of what is measured layer by layer, counted from 1."""

MEASURES = (
    *(f"{metric}_{moment}" for metric in STORED_METRICS for moment in ("last", "best", "best_epoch")),
    *("penalty_start", "penalty_last"),
    *(f"{name}_{moment}" for name in (*CENSUS, DEAD_AT_SOME_LAYER, *ACTIVITY) for moment in ("start", "last")),
    *("n_params", "epochs_run", "diverged_epoch", "seconds", "peak_memory_bytes"),
)
"""What a training gave, a number a cell: the columns where none are chosen."""

_STATUS = "status"

MOST_PLACES = 50_000_000
"""Places of an array: 400 MB of numbers."""

_UNITS = {"seconds": "s", "peak_memory_bytes": "byte"}
_WORDS = {
    LABEL: "label of the method",
    "seed": "seed of all that is random in a cell",
    _STATUS: "done, diverged or failed; empty: there is no such cell",
    "n_params": "number of parameters",
    "epochs_run": "epochs that were trained",
    "diverged_epoch": "epoch of the first number that is not finite; NaN: it did not diverge",
    "seconds": "time of the training",
    "peak_memory_bytes": "memory of the training at its peak",
    DEAD_AT_SOME_LAYER: "share of points that are dead at one layer or more",
}
_PARTS = {"train": "training", "val": "validation", "acc": "accuracy"}
_MOMENTS = {
    "best_epoch": "the first epoch with the best {}",
    "best": "{} at its best epoch",
    "last": "{} at the last epoch",
    "start": "{} before the first step",
}


class ArrayError(ValueError):
    """Rows cannot be laid out as an array; the message says why, in one line."""


def to_xarray(rows: pd.DataFrame, columns: Sequence[str] | None = None) -> "xarray.Dataset":
    """Rows of the store as arrays of depth × width × method × seed, and of further settings where these do not suffice.

    Settings on which all rows agree are attributes of the dataset. Of the others those that follow from a dimension,
    or several, are coordinates along it (λ along `method`); as many as it takes to give every row a place of its own
    are dimensions. Nothing that varies follows from the seed, so a mean over `seed` is one over seeds only.

    Args:
        rows: a row a cell, as `Store.cells` gives them; one with several `labels` stands at each of them.
        columns: names of what is measured (None: all of `MEASURES` that are there); settings among them are coordinates
            or attributes anyway. Lists by layer have the dimension `layer` behind the others.

    Returns:
        A variable for each column: numbers as float64, NaN where a value is null or there is no such cell; texts, ""
        there. `status` always comes along: what a diverged cell has at its best epoch is from before. As xarray's `sel`
        has an argument `method` itself, one is chosen by `sel({"method": "relu"})`.

    Raises:
        ArrayError: there are no rows, a column is not there, two rows have the same settings, or the array would be
            much larger than the rows.
    """
    import xarray

    rows = row_a_label(rows)
    names = _measured(rows, columns)
    settings = typed_settings(rows)
    axes = {name: rows[name].tolist() for name in FIRST}
    varying = {name: values for name, values in settings.items() if len({*values}) > 1}
    further, follows = _dimensions(axes, varying)
    along = {**axes, **{name: varying[name] for name in further}}
    values = {name: sorted({*column}, key=_order) for name, column in along.items()}
    layers = max((_layers(rows[name]) for name in names), default=0)
    _check_size({name: len(own) for name, own in values.items()}, layers, len(rows))
    places = _places(rows, along, values)
    coordinates: dict[str, Any] = {name: (name, _coordinate(own), _about(name)) for name, own in values.items()}
    for name, dimensions in follows.items():
        array = _placed(_coordinate(varying[name]), {one: len(values[one]) for one in dimensions}, places)
        coordinates[name] = (dimensions, array, _about(name))
    if layers:
        coordinates[LAYER] = (LAYER, np.arange(1, layers + 1), {"long_name": "hidden layer, counted from 1"})
    shape = {name: len(own) for name, own in values.items()}
    found = {}
    for name in names:
        is_layered = _layers(rows[name]) > 0
        cells = _of_layers(rows[name], layers) if is_layered else _of_cells(rows[name])
        found[name] = ([*shape, *([LAYER] if is_layered else [])], _placed(cells, shape, places), _about(name))
    attributes = {name: _attribute(own[0]) for name, own in settings.items() if name not in varying}
    comment = "NaN, or an empty text: the value is null, or there is no such cell; the status tells"
    return xarray.Dataset(found, coordinates, {"comment": comment, **attributes})


def row_a_label(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each label of a result, axes as integers.

    Raises:
        ArrayError: there are no rows, or they lack an axis.
    """
    for name in FIRST:
        if name not in rows.columns:
            raise ArrayError(f"the rows have no column {name}: all settings have to be there")
    if rows.empty:
        raise ArrayError("there are no rows")
    if "labels" in rows.columns:
        rows = rows.assign(**{LABEL: rows["labels"]}).explode(LABEL)
    return rows.reset_index(drop=True).astype({**dict.fromkeys(AXES, "int64"), LABEL: "object"})


def _measured(rows: pd.DataFrame, columns: Sequence[str] | None) -> list[str]:
    """The columns that become variables.

    Raises:
        ArrayError: one is not there.
    """
    settings = {*described(rows), *cell_fields(), LABEL, "labels"}
    for name in columns or ():
        if name not in rows.columns and name not in settings:
            raise ArrayError(f"{legible(str(name))} is not a column{nearest(str(name), map(str, rows.columns))}")
    wanted = [_STATUS, *(MEASURES if columns is None else columns)]
    return [name for name in dict.fromkeys(wanted) if name in rows.columns and name not in settings]


def typed_settings(rows: pd.DataFrame) -> dict[str, list[Hashable]]:
    """All settings but the axes, row by row, by name, as `setting_columns` has them; integers where they are some."""
    return {name: _typed(name, values) for name, values in setting_columns(rows).items() if name not in AXES}


def _typed(name: str, values: Sequence[Hashable]) -> list[Hashable]:
    """A setting's plain values, which have numbers as floats: integers where it is one."""
    is_whole = name in cell_fields() and without_none(cell_fields()[name].type)[0] is int
    return [int(value) if is_whole and isinstance(value, float) else value for value in values]


def _dimensions(
    axes: Mapping[str, Sequence[Hashable]], varying: Mapping[str, Sequence[Hashable]]
) -> tuple[list[str], dict[str, list[str]]]:
    """Settings that are dimensions, as few as tell all others, and from which dimensions each other one follows."""
    known = {name: values for name, values in axes.items() if name != "seed"}
    # datasets first, and of theirs the texts: from these most settings follow, from what the points tell none
    place, found = {name: at for at, name in enumerate(cell_fields())}, found_settings()

    def rank(name: str) -> tuple[bool, bool, bool, int, str]:
        is_of_dataset = name.partition(".")[0] == "dataset"
        is_text = all(isinstance(value, str) for value in varying[name])
        return name in found, not is_of_dataset, is_of_dataset and not is_text, place.get(name, len(place)), name

    order = sorted(varying, key=rank)
    chosen: list[str] = []
    for name in order:
        if not _follows(varying[name], [*known.values(), *(varying[one] for one in chosen)]):
            chosen.append(name)
    for name in [*chosen]:  # one that only a later one made superfluous
        others = [varying[one] for one in chosen if one != name]
        if _follows(varying[name], [*known.values(), *others]):
            chosen.remove(name)
    candidates = {LABEL: axes[LABEL], **{name: varying[name] for name in chosen}, **known}
    follows = {}
    for name in order:
        if name not in chosen:
            sets = (few for size in (1, 2, len(candidates)) for few in itertools.combinations(candidates, size))
            follows[name] = [*next(few for few in sets if _follows(varying[name], [candidates[one] for one in few]))]
    return chosen, follows


def _follows(values: Sequence[Hashable], others: Sequence[Sequence[Hashable]]) -> bool:
    """Whether rows that agree in all of the others agree in this."""
    told: dict[tuple[Hashable, ...], Hashable] = {}
    return all(told.setdefault(tuple(at), value) == value for value, *at in zip(values, *others, strict=True))


def _check_size(shape: Mapping[str, int], layers: int, count: int) -> None:
    """Refuse what is nearly empty and would fill the memory.

    Raises:
        ArrayError: it has more than `MOST_PLACES`.
    """
    places = math.prod(shape.values()) * max(layers, 1)
    if places > MOST_PLACES:
        words = " × ".join(f"{size} {name}" for name, size in [*shape.items(), *([(LAYER, layers)] if layers else [])])
        raise ArrayError(
            f"{words} are {places} places for {count} rows, more than {MOST_PLACES}: "
            "take fewer rows (where=…) or columns, or a table (CSV)"
        )


def _places(
    rows: pd.DataFrame, along: Mapping[str, Sequence[Hashable]], values: Mapping[str, Sequence[Hashable]]
) -> dict[str, NDArray[np.int64]]:
    """Each row's index along every dimension, by the dimension's name.

    Raises:
        ArrayError: two rows have one place.
    """
    indices = {name: {value: place for place, value in enumerate(own)} for name, own in values.items()}
    places = {name: np.array([indices[name][value] for value in column]) for name, column in along.items()}
    owners: dict[tuple[int, ...], int] = {}
    for row, place in enumerate(zip(*places.values(), strict=True)):
        if (other := owners.setdefault(place, row)) != row:
            at = ", ".join(f"{name}={legible(str(along[name][row]))}" for name in along)
            keys = " and ".join(legible(str(rows["key"][one])) for one in (other, row)) if "key" in rows else "two rows"
            raise ArrayError(f"{keys} have one place, {at}: what tells them apart is no setting")
    return places


def _placed(values: NDArray[Any], shape: Mapping[str, int], places: Mapping[str, NDArray[np.int64]]) -> NDArray[Any]:
    """The rows' values, (rows, …), at their places along these dimensions; elsewhere NaN, or "" of texts."""
    is_text = values.dtype == object
    array = np.full((*shape.values(), *values.shape[1:]), "" if is_text else np.nan, object if is_text else np.float64)
    array[tuple(places[name] for name in shape)] = values
    return array


def _layers(column: "pd.Series[Any]") -> int:
    """How many layers the lists of a column have at most; 0 where it has none."""
    lists = (value for value in column if isinstance(value, list | tuple | np.ndarray))
    return max(map(len, lists), default=0)


def _of_layers(column: "pd.Series[Any]", layers: int) -> NDArray[np.float64]:
    """Lists as (rows, layers), NaN behind their ends."""
    array = np.full((len(column), layers), np.nan)
    for row, value in enumerate(column):
        if isinstance(value, list | tuple | np.ndarray):
            array[row, : len(value)] = value
    return array


def _of_cells(column: "pd.Series[Any]") -> NDArray[Any]:
    """Numbers and truths as float64, null as NaN; texts as objects, null as ""."""
    known = column.dropna()
    if len(known) and all(isinstance(value, str) for value in known):
        return column.astype(object).where(column.notna(), "").to_numpy(dtype=object)
    return column.astype("float64").to_numpy(dtype=np.float64)


def _coordinate(values: Sequence[Hashable]) -> NDArray[Any]:
    """Values of a setting: integers, numbers with NaN for null, or texts (truths, lists and null as they are typed)."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int}:
        return np.array(values, dtype=np.int64) if None not in values else np.array(values, dtype=np.float64)
    if kinds <= {float, int}:
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    return np.array([value if isinstance(value, str) else json.dumps(value) for value in values], dtype=object)


def _order(value: Hashable) -> tuple[int, Any]:
    """A sort key: numbers, then all else as text, null last."""
    if value is None:
        return 2, ""
    return (0, value) if isinstance(value, int | float) and not isinstance(value, bool) else (1, str(value))


def _about(name: str) -> dict[str, str]:
    """What a coordinate or variable is, as attributes: long_name, and the unit where it has one."""
    if name in _WORDS:
        return {"long_name": _WORDS[name], **({"units": _UNITS[name]} if name in _UNITS else {})}
    if name in cell_fields():
        rules = cell_fields()[name].rules
        null = {"null": "NaN or null: it has no effect there, or is null"} if name not in AXES else {}
        return {"long_name": str(rules.get("about") or name), **null}
    for moment, words in _MOMENTS.items():
        if name.endswith(f"_{moment}"):
            return {"long_name": words.format(_quantity(name.removesuffix(f"_{moment}")))}
    return {"long_name": name}


def _quantity(name: str) -> str:
    """train_acc as training accuracy."""
    if name in _WORDS:
        return _WORDS[name]
    words = name.removesuffix("_by_layer")
    spelled = " ".join(_PARTS.get(word, word) for word in words.split("_"))
    return f"share of {spelled}" if words in CENSUS else spelled


def _attribute(value: Hashable) -> Any:
    """A setting of all rows, as netCDF can have it."""
    return value if isinstance(value, str | float | int) and not isinstance(value, bool) else json.dumps(value)
