"""The settings of the store's rows: what a cell's fields say of their role, and one value for what means the same."""

from __future__ import annotations

import typing
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jumpstart_exp.cell import OF_OPTIMIZER, SPECS, cell_fields
from jumpstart_exp.config.filters import Filter, filtered_settings, left_nothing
from jumpstart_exp.data import DATASETS
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import field_types

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    np = LateModule("numpy")
    pd = LateModule("pandas")

AXES = ("depth", "width", "seed")
"""Along what a figure's cells are laid out."""

Settings = Mapping[str, Hashable]
"""Values of a row by the settings' names: numbers as floats, null as None."""

NULL = "null"
"""Of a setting whose null is a value beside others, in figures: None would say that it has no effect."""

OWN_SEED = "${seed}"
"""Of a dataset's setting that is the cell's own seed, as configurations have it."""

_LAYER_WEIGHTS = "penalty.layer_weights"
_IN_FILE_NAMES = ("dataset.augment",)  # file names have always said it, neutral or not


def described(table: pd.DataFrame) -> list[str]:
    """The table's columns that describe cells, sorted; those of a version that this one does not know, too."""
    parts = tuple(f"{part}." for part in ("dataset", *SPECS))
    known = {*cell_fields(), "numerics"}
    return sorted(name for name in table.columns if name in known or name.startswith(parts))


def is_of_method(name: str) -> bool:
    """Whether the setting tells compared methods apart; what this version does not know separates figures."""
    return name in cell_fields() and cell_fields()[name].role == "method"


def usual(name: str) -> Hashable:
    """What a cell has that says nothing of the setting: the neutral value, else the default; None if unknown."""
    if name == _LAYER_WEIGHTS:
        return 1.0
    field = cell_fields().get(name)
    if field is None:
        return None
    return plain(field.default if field.neutral is None or field.default is None else field.neutral)


def off(name: str) -> Hashable:
    """The value that says that a method does without the thing altogether; None where there is none."""
    if name == "penalty.kind":  # the keys of all cells without penalty say none: it is not left out as neutral
        return "none"
    return plain(cell_fields()[name].neutral) if is_of_method(name) and not cell_fields()[name].tunes else None


def is_optional(name: str) -> bool:
    """Whether null is a value of the setting."""
    return name in cell_fields() and type(None) in typing.get_args(cell_fields()[name].type)


def found_settings() -> frozenset[str]:
    """The settings that follow from a dataset's others, or are what its files hold: they tell rows apart last."""
    return frozenset(f"dataset.{name}" for spec in DATASETS.values() for name in (*spec.found, "content"))


def optimizers_own() -> frozenset[str]:
    """The settings that only some optimizers have."""
    return frozenset(f"optimizer.{name}" for of_one in OF_OPTIMIZER.values() for name in of_one)


def follows_from_optimizer(settings: Iterable[Settings], *, rate: bool = False) -> frozenset[str]:
    """The settings of optimizers that, among these, each optimizer has with one value: its name tells them.

    With `rate` the learning rate is one of them: optimizers are compared each at its own.
    """
    names = optimizers_own() | {"optimizer.lr"} if rate else optimizers_own()
    found: dict[tuple[str, Hashable], set[Hashable]] = defaultdict(set)
    for of in settings:
        for name in names & of.keys():
            found[name, of.get("optimizer.name")].add(of[name])
    return names - {name for (name, _), values in found.items() if len(values) > 1}


def told(settings: Settings) -> dict[str, Hashable]:
    """The settings without those that file names leave out: what has no effect, or its neutral value."""
    neutral = {name for name, field in cell_fields().items() if field.neutral is not None} - {*_IN_FILE_NAMES}
    return {
        name: value
        for name, value in settings.items()
        if value is not None and not (name in neutral and value == usual(name))
    }


def seed_of_points(dataset: Hashable, value: Hashable, seed: Hashable) -> Hashable:
    """What the setting that draws a dataset's points (`drawn_by`) has: OWN_SEED where it is the cell's own seed."""
    drawn_by = DATASETS[dataset].drawn_by if isinstance(dataset, str) and dataset in DATASETS else None
    return OWN_SEED if drawn_by is not None and value is not None and value == seed else value


def setting_columns(table: pd.DataFrame) -> dict[str, list[Hashable]]:
    """Every setting's plain values, row by row, by name: what means the same is the same value.

    A null, or a column that the table lacks, is the neutral value where the setting has one and can have an effect:
    one of a dataset under this dataset, one of the penalty under a penalty, one of optimizers under those that have it,
    any other that does not tune. What stays None has no effect.
    """
    fields = cell_fields()
    columns = {name: plain_values(table[name]) for name in described(table)}
    nothing: list[Hashable] = [None] * len(table)
    kinds, datasets = columns.get("penalty.kind", nothing), columns.get("dataset", nothing)
    optimizers = columns.get("optimizer.name", ["adam"] * len(table))
    own = {name: {f"dataset.{inner}" for inner in field_types(spec)} for name, spec in DATASETS.items()}
    for name in [_LAYER_WEIGHTS, *(name for name, field in fields.items() if field.neutral is not None)]:
        values = columns.get(name, nothing)
        if name == _LAYER_WEIGHTS:  # one number for all layers means the same at every depth
            values = [value[0] if isinstance(value, tuple) and len({*value}) == 1 else value for value in values]
        if name.startswith("penalty."):
            acts = [kind not in (None, "none") for kind in kinds]
        elif name.startswith("dataset."):
            acts = [name in own.get(str(dataset), ()) for dataset in datasets]
        elif name in optimizers_own():
            acts = [name.partition(".")[2] in OF_OPTIMIZER.get(str(optimizer), ()) for optimizer in optimizers]
        else:  # a strength of what only some networks have: the others stand in the figures of all its values
            acts = [not fields[name].tunes] * len(table)
        same, one = (None, plain(fields[name].neutral)), usual(name)
        columns[name] = [one if act and value in same else value for act, value in zip(acts, values, strict=True)]
    for name in {f"dataset.{spec.drawn_by}" for spec in DATASETS.values() if spec.drawn_by} & columns.keys():
        rows = zip(datasets, columns[name], columns.get("seed", nothing), strict=True)
        columns[name] = [seed_of_points(*row) for row in rows]
    return dict(sorted(columns.items()))


def rows_where(table: pd.DataFrame, where: str | None) -> pd.DataFrame:
    """The rows of a table of cells that a filter keeps, each with those of its labels that it keeps; all without one.

    Raises:
        SettingError: the filter cannot be read, has no answer for a row, or leaves none.
    """
    if where is None:
        return table
    chosen = Filter(where)
    columns = setting_columns(table)
    seen: dict[str, dict[Hashable, None]] = {name: {} for name in chosen.names}
    kept: list[list[str]] = []
    for row, labels in enumerate(table["labels"]):
        kept.append([])
        description = {name: values[row] for name, values in columns.items()}
        title = "{}×{} seed {}".format(*(int(table[name].iloc[row]) for name in AXES))
        for label in labels:
            values = filtered_settings(chosen.names, description, label)
            for name in chosen.names:
                seen[name][values[name]] = None
            if chosen.keeps(values, f"{label} {title}"):
                kept[-1].append(label)
    if not any(kept):
        raise left_nothing(where, len(table), seen)
    return table.assign(labels=pd.Series(kept, index=table.index, dtype=object))[[bool(labels) for labels in kept]]


def plain_values(column: pd.Series[Any]) -> list[Hashable]:
    """A column's plain values, row by row."""
    if column.dtype == object:  # where equal values may be of unlike types
        return [plain(value) for value in column]
    codes, values = pd.factorize(column, use_na_sentinel=False)
    found = [plain(value) for value in values.tolist()]
    return [found[code] for code in codes.tolist()]


def plain(value: Any) -> Hashable:
    """A hashable value that is equal wherever the setting is: numbers as floats, every null as None."""
    if type(value) is str or type(value) is bool:  # most are
        return value
    if type(value) in (int, float):
        return None if value != value else float(value)
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(plain(item) for item in value)
    if value is None or pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | float | np.number):
        return float(value)
    return str(value)
