"""The store's rows as a file for other programs: a tidy table (CSV), or labelled arrays (netCDF)."""

import json
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jumpstart_exp.settings import SettingError, legible, nearest, setting_error
from jumpstart_exp.store import Store, cell_schema
from jumpstart_exp.store.arrays import LABEL, MEASURES, row_a_label, to_xarray, typed_settings
from jumpstart_exp.store.fields import AXES, rows_where

if TYPE_CHECKING:
    import xarray

_ABOUT = ("engine", "device", "machine", "started", "git_commit", "error")
"""What a table has of a row beside its settings and measurements."""

_LARGEST = 2**31 - 1
"""Integers of netCDF's classic format have 32 bits."""


def export(store: Store, path: Path, columns: Sequence[str] | None = None, where: str | None = None) -> str:
    """Write the rows of a store into a file, which is replaced if it is there; what was written, in words.

    Args:
        store: the store.
        path: its ending says what it becomes: .csv a row for each cell and label, .nc arrays (netCDF, classic format).
        columns: what is measured, by the columns' names; None for all but lists by layer.
        where: a filter of the cells.

    Raises:
        SettingError: another ending, a column that is not there, or a filter that cannot be read or leaves nothing.
        ArrayError: the rows cannot be laid out as arrays, or there are none.
        OSError: the file cannot be written.
        StoreError: the store cannot be read.
    """
    if path.suffix not in _WRITERS:
        raise setting_error("to", str(path), f"a file that ends in {' or '.join(_WRITERS)}")
    known = cell_schema().names
    for name in columns or ():
        if name not in known:
            raise SettingError(f"columns={legible(name)} is not a column of the store{nearest(name, known)}")
    rows = rows_where(store.cells(), where)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        words = _WRITERS[path.suffix](rows, columns, temporary)
        os.replace(temporary, path)  # noqa: PTH105 - nobody sees half a file
    finally:
        temporary.unlink(missing_ok=True)
    return words


def table_of(rows: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A tidy table: a row for each cell and label, with its settings under their override names and what was measured.

    Settings that no row has are left out, others are the neutral value in rows from before they were there.

    Raises:
        ArrayError: there are no rows.
    """
    rows = row_a_label(rows)
    settings = {name: values for name, values in typed_settings(rows).items() if {*values} != {None}}
    wanted = (*MEASURES, *_ABOUT) if columns is None else columns
    names = [name for name in dict.fromkeys(wanted) if name in rows.columns and name not in settings]
    first = ["key", "status", LABEL, *AXES]
    own = {name: pd.Series(values, dtype=object) for name, values in settings.items()}
    table = pd.concat([rows[first], pd.DataFrame(own), rows[[name for name in names if name not in first]]], axis=1)
    for name in table.columns:
        if table[name].map(lambda value: isinstance(value, list | tuple | np.ndarray)).any():
            table[name] = table[name].map(_as_json)
    return table


def _as_json(value: Any) -> str | None:
    return None if value is None or value is pd.NA or isinstance(value, float) else json.dumps([*map(float, value)])


def _write_csv(rows: pd.DataFrame, columns: Sequence[str] | None, path: Path) -> str:
    table = table_of(rows, columns)
    with path.open("w", encoding="utf-8", newline="") as file:
        table.to_csv(file, index=False)
    return f"{len(table)} rows of {len(table.columns)} columns"


def _write_netcdf(rows: pd.DataFrame, columns: Sequence[str] | None, path: Path) -> str:
    arrays = _classic(to_xarray(rows, columns))
    arrays.to_netcdf(path, engine="scipy", format="NETCDF3_64BIT")
    dimensions = " × ".join(f"{size} {name}" for name, size in arrays.sizes.items())
    return f"{len(arrays.data_vars)} arrays of {dimensions}"


def _classic(arrays: "xarray.Dataset") -> "xarray.Dataset":
    """The same, integers that have more than 32 bits as numbers."""
    large = {
        name: coordinate.astype("float64")
        for name, coordinate in arrays.coords.items()
        if coordinate.dtype.kind == "i" and abs(coordinate).max() > _LARGEST
    }
    attributes = {
        name: float(value) if isinstance(value, int) and abs(value) > _LARGEST else value
        for name, value in arrays.attrs.items()
    }
    return arrays.assign_coords(large).assign_attrs(attributes)


_WRITERS: dict[str, Callable[[pd.DataFrame, Sequence[str] | None, Path], str]] = {
    ".csv": _write_csv,
    ".nc": _write_netcdf,
}
