"""The columns of the store's tables, and a result as a row of them."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart_exp.cell import NUMERICS, SPECS, cell_fields
from jumpstart_exp.data import DATASETS
from jumpstart_exp.late import LateModule
from jumpstart_exp.result import (
    ACTIVITY,
    CENSUS,
    COLUMNS,
    DEAD_AT_SOME_LAYER,
    STORED_METRICS,
    CurveRow,
    LayerCensus,
    Result,
)

if TYPE_CHECKING:
    from importlib import metadata

    import numpy as np
    import pyarrow as pa
else:
    metadata = LateModule("importlib.metadata")
    np = LateModule("numpy")
    pa = LateModule("pyarrow")

STORE_VERSION = 1
"""Version of the tables' layout; a store of a newer one is refused."""

VERSION_KEY = b"jumpstart_exp.store"


def cell_schema() -> pa.Schema:
    """The columns of `cells`: key, status, every field of a cell under its override name, and the result."""
    return _cell_schema(tuple(SPECS.items()), tuple(DATASETS.items()))


@cache
def _cell_schema(*_of: tuple[tuple[str, type], ...]) -> pa.Schema:
    fields = [("key", pa.string()), ("numerics", pa.int64()), ("status", pa.string()), ("method", pa.string())]
    fields += [(name, _arrow_type(field.type)) for name, field in cell_fields().items()]
    fields += [("n_params", pa.int64()), ("epochs_run", pa.int64()), ("diverged_epoch", pa.int64())]
    for metric in STORED_METRICS:
        fields += [(f"{metric}_last", pa.float64()), (f"{metric}_best", pa.float64())]
        fields += [(f"{metric}_best_epoch", pa.int64())]
    fields += [("penalty_start", pa.float64()), ("penalty_last", pa.float64())]
    for moment in ("start", "last"):
        fields += [(f"{name}_{moment}", pa.float64()) for name in CENSUS]
        fields += [(f"{name}_by_layer_{moment}", pa.list_(pa.float64())) for name in CENSUS]
        fields += [(f"{DEAD_AT_SOME_LAYER}_{moment}", pa.float64())]
        fields += [(f"{name}_{moment}", pa.float64()) for name in ACTIVITY]
        fields += [(f"{name}_by_layer_{moment}", pa.list_(pa.float64())) for name in ACTIVITY]
    fields += [("seconds", pa.float64()), ("peak_memory_bytes", pa.int64()), ("engine", pa.string())]
    fields += [("device", pa.string()), ("machine", pa.string()), ("started", pa.string())]
    fields += [("error", pa.string()), ("traceback", pa.string())]
    fields += [(name, pa.string()) for name in _versions()]
    fields += [("git_commit", pa.string()), ("git_dirty", pa.bool_()), ("label_check", pa.string())]
    return pa.schema(fields, metadata={VERSION_KEY: str(STORE_VERSION).encode()})


def description_columns() -> frozenset[str]:
    """Columns that describe a cell: all rows of one key have the same values there."""
    return frozenset(["key", *cell_fields()])


OUTCOME = (
    *("status", "epochs_run", "diverged_epoch", "penalty_start", "penalty_last"),
    *(f"{metric}_{moment}" for metric in STORED_METRICS for moment in ("last", "best", "best_epoch")),
    *(f"{name}_{moment}" for name in CENSUS for moment in ("start", "last")),
)
"""Columns of what a training gives, and gives again on the same engine and machine."""

OUTCOME_IF_COUNTED = (
    *(f"{name}_by_layer_{moment}" for name in CENSUS for moment in ("start", "last")),
    *(f"{name}_{moment}" for name in (DEAD_AT_SOME_LAYER, *ACTIVITY) for moment in ("start", "last")),
    *(f"{name}_by_layer_{moment}" for name in ACTIVITY for moment in ("start", "last")),
)
"""The same of what is null where it was not counted."""


def version_columns() -> tuple[str, ...]:
    """Columns of the versions that a row was trained with."""
    return tuple(_versions())


def label_check(key: str, method: str) -> str:
    """What a row says beside its key and label: one that was given another label by hand is known by it."""
    return hashlib.sha256(f"{key} {method}".encode()).hexdigest()[:16]


def _arrow_type(hint: Any) -> pa.DataType:
    text = str(hint)
    if "tuple[int" in text:
        return pa.list_(pa.int64())
    if "tuple" in text:
        return pa.list_(pa.float64())
    for word, kind in (("bool", pa.bool_()), ("float", pa.float64()), ("int", pa.int64())):
        if word in text:
            return kind
    return pa.string()


def result_row(result: Result) -> dict[str, Any]:
    """A result as a row of `cells`."""
    cell = result.cell
    row: dict[str, Any] = {"key": cell.key, "numerics": NUMERICS, "status": result.status, "method": cell.method}
    row |= cell.description()
    for name in _OF_RESULT:
        row[name] = getattr(result, name)
    row |= _NO_METRICS
    for metric, name in COLUMNS[cell.dataset.task].items():
        values = getattr(result, metric)
        row |= {f"{name}_last": values.last, f"{name}_best": values.best, f"{name}_best_epoch": values.best_epoch}
    for moment, names in _OF_CENSUS.items():
        seen: LayerCensus | None = getattr(result, f"census_{moment}")
        if seen is None:
            continue
        for name, column, by_layer in names:
            if (layers := getattr(seen, name)) is not None:
                row[column], row[by_layer] = seen.mean(name), list(layers)
        row[f"{DEAD_AT_SOME_LAYER}_{moment}"] = seen.dead_at_some_layer
    return row | {"label_check": label_check(cell.key, cell.method)} | _surroundings()


_OF_RESULT = (
    *("n_params", "epochs_run", "diverged_epoch", "penalty_start", "penalty_last", "seconds"),
    *("peak_memory_bytes", "engine", "device", "started", "error", "traceback"),
)
"""Columns that a result has under the same names."""

_NO_METRICS = {f"{metric}_{moment}": None for metric in STORED_METRICS for moment in ("last", "best", "best_epoch")}

_OF_CENSUS = {
    moment: [(name, f"{name}_{moment}", f"{name}_by_layer_{moment}") for name in (*CENSUS, *ACTIVITY)]
    for moment in ("start", "last")
}
"""Of each moment the fractions with their columns, of the mean and by layer."""


def _surroundings() -> dict[str, Any]:
    """Where a row comes from."""
    return {"machine": platform.node(), **_versions(), **_git_state()}


@cache
def curve_schema() -> pa.Schema:
    """The columns of `curves`: key, and what a row of a curve has."""
    names = dict.fromkeys([*(field.name for field in fields(CurveRow)), *STORED_METRICS])
    others = {"epoch": pa.int64(), "hidden_losses": pa.list_(pa.float64())}
    kinds = [("key", pa.string()), *((name, others.get(name, pa.float64())) for name in names)]
    return pa.schema(kinds, metadata={VERSION_KEY: str(STORE_VERSION).encode()})


def curve_table(results: Sequence[Result]) -> pa.Table:
    """The results' curves as rows of `curves`."""
    of_tasks = groupby(results, lambda result: result.cell.dataset.task)
    tables = [_curves_of(COLUMNS[task], [*own]) for task, own in of_tasks]
    return pa.concat_tables(tables).combine_chunks()


def _curves_of(names: Mapping[str, str], results: Sequence[Result]) -> pa.Table:
    """The curves of results of one task, which calls its metrics by these names."""
    rows = [row for result in results for row in result.curve]
    columns: dict[str, Any] = {"key": [result.cell.key for result in results for _ in result.curve]}
    kinds = {field.name: curve_schema().field(names.get(field.name, field.name)).type for field in fields(CurveRow)}
    scalars = [name for name, kind in kinds.items() if not pa.types.is_list(kind)]
    # row by row: column by column, each of thousands of rows would come from the main memory a dozen times
    values = chain.from_iterable(map(attrgetter(*scalars), rows))
    numbers = np.fromiter(values, np.float64, len(rows) * len(scalars)).reshape(len(rows), len(scalars)).T
    for name, kind in kinds.items():
        own = numbers[scalars.index(name)] if name in scalars else None
        if own is None or np.isnan(own).any():  # a list, or no number: null and NaN are told apart
            columns[names.get(name, name)] = [*map(attrgetter(name), rows)]
        else:
            columns[names.get(name, name)] = own.astype(kind.to_pandas_dtype())
    others = [name for name in curve_schema().names if name not in columns]  # what other tasks measure
    nothing = {name: pa.nulls(len(rows), curve_schema().field(name).type) for name in others}
    return pa.table({**columns, **nothing}, schema=curve_schema())


@cache
def _versions() -> dict[str, str]:
    found = {"python_version": platform.python_version()}
    for package in ("jumpstart-exp", "torch", "numpy"):
        name = package.replace("-", "_") + "_version"
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


@cache
def _git_state() -> dict[str, Any]:
    """Commit of the source tree and whether its code or configurations differ from it; None outside of git."""
    folder = Path(__file__).resolve().parent.parent.parent
    if not (folder / ".git").exists():
        return {"git_commit": None, "git_dirty": None}
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "conf", "jumpstart_exp", "hydra_plugins"])
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True).stdout
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": commit.strip(), "git_dirty": bool(changes.strip())}
