"""The store: parquet tables of what was trained, which no crash and no neighbour can harm.

`cells/` holds one row a cell, `curves/` its training curves, both as part-files that are written once and never
changed: unique temporary name, fsync, `os.replace`, fsync of the folder. Temporaries start with a dot, so nobody
ever sees half a file, and any number of processes may write at once. A row's curves stand in the part of the
same name. No clock decides anything: where a key has several rows, done beats diverged beats failed, and among
equals the lowest part name wins.
"""

import contextlib
import dataclasses
import errno
import os
import platform
import subprocess
import uuid
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from jumpstart_exp.cell import DATASETS, NUMERICS, Cell
from jumpstart_exp.console import Notice
from jumpstart_exp.result import CENSUS, METRICS, CurveRow, LayerCensus, Result
from jumpstart_exp.settings import field_types

STORE_VERSION = 1
"""Version of the tables' layout; a store of a newer one is refused."""

_VERSION_KEY = b"jumpstart_exp.store"
_RANK = {"done": 0, "diverged": 1, "failed": 2}


class StoreError(Exception):
    """The store cannot be read or written; the message says where and why."""


class StoreWarning(Notice):
    """A part of the store is unreadable; the message names it, and everything else was read."""


@dataclass(frozen=True)
class Stored:
    """What the store knows of a key: the best row's status and error, and the methods' labels that share it."""

    status: str
    labels: frozenset[str]
    error: str | None = None


class Store:
    """The store in a results folder, which may not exist yet.

    Args:
        results_dir: the folder that holds `cells/` and `curves/`.
    """

    def __init__(self, results_dir: Path) -> None:
        self.results_dir = results_dir
        self.cells_dir = results_dir / "cells"
        self.curves_dir = results_dir / "curves"
        self._warned: set[Path] = set()

    def check_writable(self) -> None:
        """Create the folders and try a write, before anything trains.

        Raises:
            StoreError: a folder cannot be created or written.
        """
        for folder in (self.cells_dir, self.curves_dir):
            try:
                _make_folder(folder)
                probe = folder / f".probe-{uuid.uuid4().hex}"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise StoreError(
                    f"results_dir={str(self.results_dir)!r} cannot be written: {error.strerror} ({folder}); "
                    "choose a folder of your own with results_dir=…"
                ) from error

    def write(self, results: Sequence[Result]) -> None:
        """Store results; when this returns they are durable.

        Raises:
            StoreError: the folder cannot be written (no space, no permission); nothing is half stored.
        """
        if not results:
            return
        name = f"part-{uuid.uuid4().hex}.parquet"
        curves = _curve_columns(results)
        # curves first: a row that is there has its curves
        if curves["key"]:
            self._write(pa.table(curves, schema=_curve_schema()), name, self.curves_dir)
        try:
            self._write(pa.Table.from_pylist([result_row(result) for result in results], schema=cell_schema()), name)
        except StoreError:
            with contextlib.suppress(OSError):
                (self.curves_dir / name).unlink(missing_ok=True)
            raise

    def add_labels(self, labels: Iterable[tuple[str, str]]) -> None:
        """Let stored results appear under further methods' labels: (key, label) pairs.

        Raises:
            StoreError: the folder cannot be written.
        """
        wanted = list(labels)
        if not wanted:
            return
        rows = self._read_all()
        best = _best_rows(rows)
        place = dict(zip(best["key"], best["row"], strict=True))
        table = rows.take(pa.array([place[key] for key, _ in wanted])).drop_columns(["part"])
        names = pa.array([label for _, label in wanted], pa.string())
        table = table.set_column(table.schema.get_field_index("method"), "method", names)
        # a name behind all others: the row that a training wrote, and its curve, come first
        self._write(table.replace_schema_metadata(cell_schema().metadata), f"part-z-{uuid.uuid4().hex}.parquet")

    def stored(self) -> dict[str, Stored]:
        """Status and labels of every stored key."""
        rows = self._read_all(["key", "status", "method", "error"])
        best = _best_rows(rows)
        errors = rows["error"].take(pa.array(best["row"])).to_pylist()
        return {
            key: Stored(status, frozenset(labels), error)
            for key, status, labels, error in zip(best["key"], best["status"], best["labels"], errors, strict=True)
        }

    def cells(self) -> pd.DataFrame:
        """One row per key with every column of the store; `labels` lists the methods that share the result."""
        rows = self._read_all()
        best = _best_rows(rows)
        table: pd.DataFrame = rows.take(pa.array(best["row"])).drop_columns(["part"]).to_pandas()
        table["labels"] = best["labels"].to_numpy()
        return table

    def row(self, key: str) -> dict[str, Any]:
        """The stored row of one key.

        Raises:
            KeyError: the key is not stored.
        """
        rows = self._read_all()
        best = _best_rows(rows)
        found = best[best["key"] == key]
        if found.empty:
            raise KeyError(key)
        row: dict[str, Any] = rows.slice(int(found["row"].iloc[0]), 1).to_pylist()[0]
        return row

    def curves(self, keys: Iterable[str] | None = None) -> pd.DataFrame:
        """The curves of these keys (None: of all), ordered by key and epoch."""
        ranked = _ranked(self._read_all(["key", "status", "method"]))
        if keys is not None:
            ranked = ranked[ranked["key"].isin(set(keys))]
        found: dict[str, pd.DataFrame] = {}
        for part, rows in ranked.groupby("part", sort=False):
            # parts come best first, and a row that only adds a label brings no curve
            path = self.curves_dir / str(part)
            try:
                table = _read_part(path, None, _curve_schema(), missing_ok=True)
            except _UnreadableError as error:
                self._warn_unreadable(path, str(error))
                continue
            if table is not None:
                wanted = set(rows["key"]) - found.keys()
                frame = table.to_pandas()
                found |= {str(key): curve for key, curve in frame[frame["key"].isin(wanted)].groupby("key")}
        if not found:
            empty: pd.DataFrame = _curve_schema().empty_table().to_pandas()
            return empty
        return pd.concat(found.values(), ignore_index=True).sort_values(["key", "epoch"], ignore_index=True)

    def _write(self, table: pa.Table, name: str, folder: Path | None = None) -> None:
        try:
            _write_durably(table, (folder or self.cells_dir) / name)
        except OSError as error:
            raise StoreError(
                f"results_dir={str(self.results_dir)!r} cannot be written: {error.strerror or error}; "
                "everything stored before is whole, and the same command goes on from there"
            ) from error

    def _read_all(self, columns: list[str] | None = None) -> pa.Table:
        """Every row of every part, with the part's name; parts that compaction moved meanwhile are looked up again."""
        tables: dict[str, pa.Table] = {}
        broken: set[str] = set()
        gone: set[str] = set()
        while missing := sorted((names := self._parts()) - tables.keys() - broken):
            for name in missing:
                try:
                    table = _read_part(self.cells_dir / name, columns, cell_schema(), missing_ok=name not in gone)
                except FileNotFoundError:
                    broken.add(name)  # listed twice and not there twice: a link to nowhere
                    self._warn_unreadable(self.cells_dir / name, "it is listed, but not there")
                    continue
                except _UnreadableError as error:
                    broken.add(name)
                    self._warn_unreadable(self.cells_dir / name, str(error))
                    continue
                if table is None:
                    gone.add(name)
                else:
                    tables[name] = table.append_column("part", pa.array([name] * len(table), pa.string()))
        tables = {name: table for name, table in tables.items() if name in names}
        if not tables:
            schema = cell_schema() if columns is None else pa.schema([cell_schema().field(name) for name in columns])
            return schema.append(pa.field("part", pa.string())).empty_table()
        return pa.concat_tables([tables[name] for name in sorted(tables)])

    def _warn_unreadable(self, path: Path, reason: str) -> None:
        if path not in self._warned:  # once, however often the store is read
            self._warned.add(path)
            warnings.warn(f"{path} is unreadable and left out: {reason}", StoreWarning, stacklevel=5)

    def _parts(self) -> set[str]:
        try:
            names = [path.name for path in self.cells_dir.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return set()
        except OSError as error:
            raise StoreError(f"results_dir={str(self.results_dir)!r} cannot be read: {error.strerror}") from error
        return {name for name in names if name.endswith(".parquet") and not name.startswith(".")}


def _ranked(rows: pa.Table) -> pd.DataFrame:
    """Key, status, method, part and row number of every row, each key's best row first."""
    frame: pd.DataFrame = rows.select(["key", "status", "method", "part"]).to_pandas()
    frame = frame.assign(row=range(len(frame)), rank=frame["status"].map(_RANK))
    return frame.sort_values(["rank", "part", "row"], kind="stable")


def _best_rows(rows: pa.Table) -> pd.DataFrame:
    """Each key's best row, ordered by key, with the sorted labels of all its rows."""
    ranked = _ranked(rows)
    best = ranked.drop_duplicates("key").sort_values("key", ignore_index=True)
    labels = {key: [method] for key, method in zip(best["key"], best["method"], strict=True)}
    for key, names in ranked[ranked["key"].duplicated(keep=False)].groupby("key")["method"]:
        labels[str(key)] = sorted(set(names))
    return best.assign(labels=pd.Series([labels[key] for key in best["key"]], dtype=object))


@cache
def cell_schema() -> pa.Schema:
    """The columns of `cells`: key, status, every field of a cell under its override name, and the result."""
    fields = [("key", pa.string()), ("numerics", pa.int64()), ("status", pa.string()), ("method", pa.string())]
    fields += [(name, _arrow_type(hint)) for name, hint in _description_types().items()]
    fields += [("n_params", pa.int64()), ("epochs_run", pa.int64()), ("diverged_epoch", pa.int64())]
    for metric in METRICS:
        fields += [(f"{metric}_last", pa.float64()), (f"{metric}_best", pa.float64())]
        fields += [(f"{metric}_best_epoch", pa.int64())]
    fields += [("penalty_start", pa.float64()), ("penalty_last", pa.float64())]
    for moment in ("start", "last"):
        fields += [(f"{name}_{moment}", pa.float64()) for name in CENSUS]
        fields += [(f"{name}_by_layer_{moment}", pa.list_(pa.float64())) for name in CENSUS]
    fields += [("seconds", pa.float64()), ("peak_memory_bytes", pa.int64()), ("engine", pa.string())]
    fields += [("device", pa.string()), ("started", pa.string()), ("error", pa.string())]
    fields += [(name, pa.string()) for name in _versions()]
    fields += [("git_commit", pa.string()), ("git_dirty", pa.bool_())]
    return pa.schema(fields, metadata={_VERSION_KEY: str(STORE_VERSION).encode()})


def _description_types() -> dict[str, Any]:
    """Type of every description field, those of all datasets together."""
    hints: dict[str, Any] = {}
    for name, hint in field_types(Cell).items():
        if name == "dataset":
            for spec in DATASETS.values():
                hints |= {f"dataset.{inner}": kind for inner, kind in field_types(spec).items()}
        elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
            hints |= {f"{name}.{inner}": kind for inner, kind in field_types(hint).items()}
        elif name != "method":
            hints[name] = hint
    return {("dataset" if name == "dataset.name" else name): hint for name, hint in hints.items()}


def _arrow_type(hint: Any) -> pa.DataType:
    text = str(hint)
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
    for name in ("n_params", "epochs_run", "diverged_epoch", "penalty_start", "penalty_last", "seconds"):
        row[name] = getattr(result, name)
    for name in ("peak_memory_bytes", "engine", "device", "started", "error"):
        row[name] = getattr(result, name)
    for metric in METRICS:
        values = getattr(result, metric)
        row |= {f"{metric}_last": values.last, f"{metric}_best": values.best, f"{metric}_best_epoch": values.best_epoch}
    for moment in ("start", "last"):
        seen: LayerCensus | None = getattr(result, f"census_{moment}")
        if seen is not None:
            row |= {f"{name}_{moment}": seen.mean(name) for name in CENSUS}
            row |= {f"{name}_by_layer_{moment}": list(getattr(seen, name)) for name in CENSUS}
    return {**row, **_versions(), **_git_state()}


@cache
def _curve_schema() -> pa.Schema:
    names = [field.name for field in dataclasses.fields(CurveRow)]
    kinds = [("key", pa.string()), *((name, pa.int64() if name == "epoch" else pa.float64()) for name in names)]
    return pa.schema(kinds, metadata={_VERSION_KEY: str(STORE_VERSION).encode()})


def _curve_columns(results: Sequence[Result]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in _curve_schema().names}
    for result in results:
        columns["key"] += [result.cell.key] * len(result.curve)
        for name in list(columns)[1:]:
            columns[name] += [getattr(row, name) for row in result.curve]
    return columns


def _write_durably(table: pa.Table, path: Path) -> None:
    _make_folder(path.parent)
    temporary = path.parent / f".{path.name}.tmp"
    try:
        with temporary.open("xb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _UnreadableError(Exception):
    """A part that cannot be read; the message says why."""


def _read_part(
    path: Path, columns: list[str] | None, schema: pa.Schema, *, missing_ok: bool = False
) -> pa.Table | None:
    """One part with the schema's columns, those that it lacks null; None where it is gone and may be.

    Raises:
        StoreError: the part was written by a newer version.
        FileNotFoundError: the part is gone.
        _UnreadableError: it is no part of a store, or damaged.
    """
    try:
        with pq.ParquetFile(path) as part:
            found = part.schema_arrow
            written = (found.metadata or {}).get(_VERSION_KEY, b"")
            if written.isdigit() and int(written) > STORE_VERSION:
                raise StoreError(
                    f"{path} was written by a newer jumpstart_exp (store version {int(written)}, this one reads "
                    f"{STORE_VERSION}): update jumpstart_exp, or choose another results_dir"
                )
            _check_columns(found, schema)
            names = columns or schema.names
            table = part.read(columns=[name for name in names if name in found.names])
        fields = [schema.field(name) for name in names]
        arrays = [
            table[field.name].cast(field.type) if field.name in found.names else pa.nulls(len(table), field.type)
            for field in fields
        ]
        return pa.table(arrays, schema=pa.schema(fields))
    except FileNotFoundError:
        if missing_ok:
            return None
        raise
    except (pa.ArrowException, OSError) as error:
        raise _UnreadableError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _check_columns(found: pa.Schema, schema: pa.Schema) -> None:
    """Refuse a part whose columns are not a store's, whichever of them are asked for.

    Raises:
        _UnreadableError: a column has another type, or there is no key.
    """
    for field in schema:
        if field.name not in found.names:
            if field.name in ("key", "status", "method", "epoch"):
                raise _UnreadableError(f"it has no column {field.name!r}")
            continue
        kind = found.field(field.name).type
        widened = pa.types.is_integer(kind) and pa.types.is_floating(field.type)
        if not (kind == field.type or widened or pa.types.is_null(kind) or pa.types.is_large_string(kind)):
            raise _UnreadableError(f"its column {field.name!r} is {kind}, not {field.type}")


@cache
def _versions() -> dict[str, str]:
    found = {"python_version": platform.python_version()}
    for package in ("jumpstart-exp", "torch", "numpy"):
        name = package.replace("-", "_") + "_version"
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


@cache
def _git_state() -> dict[str, Any]:
    """Commit of the source tree and whether its code or configurations differ from it; None outside of git."""
    folder = Path(__file__).resolve().parent.parent
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
