"""The store: parquet tables of what was trained, which no crash and no neighbour can harm.

`cells/` holds one row a cell, `curves/` its training curves, both as part-files that are written once and never
changed: unique temporary name, fsync, `os.replace`, fsync of the folder. Temporaries start with a dot, so nobody
ever sees half a file, and any number of processes may write at once. A row's curves stand in the part of the
same name. No clock decides anything: where a key has several rows, done beats diverged beats failed, and among
equals the lowest part name wins. Compaction (`python -m jumpstart_exp.store compact`) puts many parts into few.
"""

from __future__ import annotations

import contextlib
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jumpstart_exp.console import Notice
from jumpstart_exp.folders import named_folder
from jumpstart_exp.late import LateModule
from jumpstart_exp.result import Result
from jumpstart_exp.settings import legible, nearest, shown
from jumpstart_exp.store.columns import empty_table, integers, text_in_every_row, texts, truths
from jumpstart_exp.store.parts import (
    LABEL_PREFIX,
    STATUS_RANK,
    GoneError,
    Part,
    StoreError,
    UnreadableError,
    make_folder,
    open_part,
    part_names,
    write_durably,
)
from jumpstart_exp.store.schema import (
    OUTCOME,
    OUTCOME_IF_COUNTED,
    STORE_VERSION,
    cell_schema,
    curve_schema,
    curve_table,
    description_columns,
    label_check,
    result_row,
    version_columns,
)
from jumpstart_exp.store.soundness import Soundness, curve_flaws, soundness_of, soundness_of_part

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
    from numpy.typing import NDArray
else:
    np = LateModule("numpy")
    pd = LateModule("pandas")
    pa = LateModule("pyarrow")
    pc = LateModule("pyarrow.compute")

__all__ = [
    "OUTCOME",
    "OUTCOME_IF_COUNTED",
    "STORE_VERSION",
    "TRAINED_ON",
    "Store",
    "StoreError",
    "StoreWarning",
    "Stored",
    "cell_schema",
    "differ",
    "ranked",
    "result_row",
]


_TABLES_TOGETHER = 64
"""So many parts are put together in memory: a table a part takes twice the memory of its rows."""


TRAINED_ON = ("engine", "device", "machine", *version_columns())
"""On what a cell's result has the same bits whenever it is trained, unless its engine is one of `_FLEET_BOUND`."""

_FLEET_BOUND = ("stacked",)
"""Engines that give the same bits only in the same fleet."""

_MOST_NAMED = 5
"""Rows, or keys with two results, that are named one by one."""


class StoreWarning(Notice):
    """Something in the store cannot be read or believed; the message names it, and everything else was read."""


@dataclass(frozen=True)
class Stored:
    """What the store knows of a key: the best row's status and error, and the methods' labels that share it."""

    status: str
    labels: frozenset[str]
    error: str | None = None


class Store:
    """The store in a results folder, which may not exist yet.

    Args:
        results_dir: the folder that holds `cells/` and `curves/`; ~ is a user's home.

    Raises:
        SettingError: it cannot be a folder of this machine.
    """

    def __init__(self, results_dir: Path | str) -> None:
        self.results_dir = named_folder("results_dir", results_dir)
        self.cells_dir = self.results_dir / "cells"
        self.curves_dir = self.results_dir / "curves"
        self._warned: set[Path] = set()
        self._soundness: dict[Path, tuple[tuple[int, int, int], Soundness]] = {}
        self._new_flaws: list[str] = []
        self._compared: set[tuple[str, frozenset[str]]] = set()
        self._differing: set[str] = set()
        self._other_keys: set[str] = set()

    def check_writable(self) -> None:
        """Create the folders and try a write, before anything trains.

        Raises:
            StoreError: a folder cannot be created or written.
        """
        for folder in (self.cells_dir, self.curves_dir):
            try:
                make_folder(folder)
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
        curves = curve_table(results)
        # curves first: a row that is there has its curves
        if len(curves):
            self._write(curves, name, self.curves_dir)
        try:
            self._write(pa.Table.from_pylist([result_row(result) for result in results], schema=cell_schema()), name)
        except StoreError:
            with contextlib.suppress(OSError):
                if not (self.cells_dir / name).exists():  # only the folder's fsync failed: the rows are there
                    (self.curves_dir / name).unlink(missing_ok=True)
            raise

    @property
    def left_out(self) -> int:
        """Rows of cells that were left out so far because no training can have written them."""
        return sum(len(found.flaws) for _, found in self._soundness.values())

    @property
    def of_other_numerics(self) -> int:
        """Keys of rows of other numerics that were seen so far: no sweep, resume or figure takes them."""
        return len(self._other_keys)

    def add_labels(self, labels: Iterable[tuple[str, str]]) -> None:
        """Let stored results appear under further methods' labels: (key, label) pairs.

        Raises:
            StoreError: the folder cannot be written.
        """
        wanted = list(labels)
        if not wanted:
            return
        rows = self._read_all()
        place = {one.key: one.row for one in _best_rows(rows)}
        table = rows.take(pa.array([place[key] for key, _ in wanted])).drop_columns(["part"])
        checks = [label_check(key, label) for key, label in wanted]
        for name, values in {"method": [label for _, label in wanted], "label_check": checks}.items():
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
        # a name behind all others: the row that a training wrote, and its curve, come first
        self._write(table.replace_schema_metadata(cell_schema().metadata), f"{LABEL_PREFIX}{uuid.uuid4().hex}.parquet")

    def stored(self) -> dict[str, Stored]:
        """Status and labels of every stored key."""
        with contextlib.suppress(OSError):  # who reads the store says so
            if not self.cells_dir.exists():  # nothing of pyarrow is needed to know
                return {}
        rows = self._read_all(["key", "status", "method", "error"])
        best = _best_rows(rows)
        errors = rows["error"].to_pylist()
        same: dict[tuple[str, tuple[str, ...], str | None], Stored] = {}  # of 100,000 cells mostly a handful
        found: dict[str, Stored] = {}
        for one in best:
            known = (one.status, one.labels, errors[one.row])
            if known not in same:
                same[known] = Stored(one.status, frozenset(one.labels), errors[one.row])
            found[one.key] = same[known]
        return found

    def cells(self, columns: Sequence[str] | None = None, where: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """One row per key, ordered by key; `labels` lists the methods that share the result.

        Args:
            columns: names of columns; None for every column of the store. `key` and `labels` always come along.
            where: values that columns must have, name → value or list of values; `method` means any of the labels.
                A column of the cell's own settings is filtered while reading, so the rest takes no memory. Rows of
                other numerics than today's come only where `numerics` asks for them.

        Raises:
            KeyError: the store has no such column.
            TypeError: `columns` is one name, and not a list of names.
            ValueError: a value of another type than its column.
            StoreError: the store cannot be read, or a part is of a newer version.
        """
        if isinstance(columns, str):
            raise TypeError(f"columns={columns!r} is not allowed: it must be a list of names, [{columns!r}]")
        filters = {name: value if isinstance(value, list) else [value] for name, value in (where or {}).items()}
        known = cell_schema().names
        for name in [*(columns or ()), *filters]:
            if name not in known:
                raise KeyError(f"{name} is not a column of the store{nearest(name, known)}")
        early = {name: values for name, values in filters.items() if name in description_columns()}
        late = {name: values for name, values in filters.items() if name not in early}
        asked = None
        if columns is not None:
            asked = list(dict.fromkeys(["key", "status", "method", *columns, *late]))
        rows = self._read_all(asked, where=early, other_numerics="numerics" in filters)
        best = _best_rows(rows)
        for name, values in late.items():
            if name == "method":
                best = [one for one in best if not set(values).isdisjoint(one.labels)]
            else:
                best = [*compress(best, rows[name].take(_places(best)).to_pandas().isin(values))]
        wanted = [name for name in rows.column_names if name != "part"]
        if columns is not None:
            wanted = list(dict.fromkeys(["key", *columns]))
        places = _places(best)
        found: dict[str, pd.Series[Any]] = {}
        for name in wanted:  # one by one: the lists of 100,000 deep networks, twice, would not go into a gigabyte
            if pa.types.is_list(cell_schema().field(name).type):
                lists = pa.table({name: rows[name]}).to_pandas()[name].to_numpy()
                found[name] = pd.Series(lists[places.to_numpy()], dtype=object)
            else:
                found[name] = pa.table({name: rows[name].take(places)}).to_pandas()[name]
            rows = rows.drop_columns([name])
            pa.default_memory_pool().release_unused()
        return pd.DataFrame({**found, "labels": pd.Series([[*one.labels] for one in best], dtype=object)})

    def row(self, key: str) -> dict[str, Any]:
        """The stored row of one key, whichever its numerics.

        Raises:
            KeyError: the key is not stored.
        """
        rows = self._read_all(where={"key": [key]}) or self._read_all(where={"key": [key]}, other_numerics=True)
        best = _best_rows(rows)
        if not best:
            raise KeyError(key)
        row: dict[str, Any] = rows.drop_columns(["part"]).slice(best[0].row, 1).to_pylist()[0]
        return row

    def curves(self, keys: Iterable[str] | None = None, epoch: int | None = None) -> pd.DataFrame:
        """The curves of these keys (None: of all), ordered by key and epoch; of one `epoch` only those rows."""
        wanted_keys = None if keys is None else set(keys)
        while True:
            found, moved = self._find_curves(wanted_keys, epoch)
            if not moved:
                break
        if not found:
            empty: pd.DataFrame = curve_schema().empty_table().to_pandas()
            return empty
        return pd.concat(found, ignore_index=True).sort_values(["key", "epoch"], ignore_index=True)

    def follow(self, columns: Sequence[str]) -> Follower:
        """A reader for many looks at a growing store, each of which reads only the parts that are new."""
        return Follower(self, columns)

    def _find_curves(self, keys: set[str] | None, epoch: int | None) -> tuple[list[pd.DataFrame], bool]:
        """The curves of the keys' best rows, and whether compaction moved parts before they were read."""
        keys_of_part: dict[str, list[str]] = {}
        for one in _best_rows(self._read_all(["key", "status", "method"])):
            if keys is None or one.key in keys:
                keys_of_part.setdefault(one.part, []).append(one.key)
        found: list[pd.DataFrame] = []
        without: set[str] = set()
        for part, own in sorted(keys_of_part.items()):
            path = self.curves_dir / part
            try:
                table = open_part(path, curve_schema()).read()
            except GoneError:
                without.add(part)
            except UnreadableError as error:
                self.warn_unreadable(path, str(error))
            else:
                table = table.filter(pc.is_in(table["key"], pa.array(own, pa.string())))
                table = self.believable_curves(path, table)
                found.append((table if epoch is None else table.filter(pc.equal(table["epoch"], epoch))).to_pandas())
        return found, bool(without - self._parts())

    def _write(self, table: pa.Table, name: str, folder: Path | None = None) -> None:
        try:
            is_sound = folder is None and soundness_of(table).is_complete  # who reads it need not look again
            write_durably(table, (folder or self.cells_dir) / name, is_sound=is_sound)
        except OSError as error:
            raise StoreError(
                f"results_dir={str(self.results_dir)!r} cannot be written: {error.strerror or error}; "
                "everything stored before is whole, and the same command goes on from there"
            ) from error

    def _read_all(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: Mapping[str, Sequence[Any]] | None = None,
        known: _Parts | None = None,
        other_numerics: bool = False,
    ) -> pa.Table:
        """The sound rows of every part, with its name; parts that compaction moved meanwhile are looked up again.

        Args:
            columns: names, `key` and `status` among them; None for all.
            where: values that description columns must have.
            known: what was read before, to which the new parts are added.
            other_numerics: whether rows of other numerics come along.

        Returns:
            the rows in the order of their parts' names.
        """
        parts = _Parts() if known is None else known
        names = cell_schema().names if columns is None else columns
        wanted = {name: _allowed(name, values) for name, values in (where or {}).items()}
        broken: set[str] = set()
        gone: set[str] = set()
        listed: set[str] | None = None
        again = True
        while again:
            # a listing is no snapshot: one that ran beside a compaction may show neither the old part nor the new one,
            # but the next one shows the new one
            before, listed = listed, self._parts()
            again = before is None or bool(before - listed)
            for name in sorted(listed - parts.names - broken):
                path = self.cells_dir / name
                try:
                    parts.add(name, self._rows_of(path, names, wanted, other_numerics=other_numerics))
                except GoneError:
                    again = True
                    if name in gone:
                        broken.add(name)  # listed twice and not there twice: a link to nowhere
                        self.warn_unreadable(path, "it is listed, but not there")
                    gone.add(name)
                except UnreadableError as error:
                    broken.add(name)
                    self.warn_unreadable(path, str(error))
        rows = parts.rows(pa.schema([cell_schema().field(name) for name in names]))
        self.warn_of_flaws()
        self.warn_of_differing_results(rows)
        return rows

    def _rows_of(
        self, path: Path, columns: Sequence[str], where: Mapping[str, _Allowed], *, other_numerics: bool = False
    ) -> pa.Table:
        """A part's sound rows with these values; what nobody asked for is not read."""
        part = open_part(path, cell_schema())
        found = self.soundness(part)
        taken = found.is_sound | found.is_other if other_numerics else found.is_sound
        if where:
            narrow = part.read(list(where))
            taken = taken & np.all([allowed.is_met(narrow[name]) for name, allowed in where.items()], axis=0)
        if not taken.any():
            return empty_table(pa.schema([cell_schema().field(name) for name in columns]))
        table = part.read(columns)
        return table if taken.all() else table.filter(truths(taken))

    def soundness(self, part: Part) -> Soundness:
        """What can be believed of a part's rows; looked at once, however often the part is read.

        Raises:
            UnreadableError: the part is damaged.
        """
        identity, found = self._soundness.get(part.path, (None, None))
        if found is None or identity != part.identity:
            found, keys = soundness_of_part(part)
            self._soundness[part.path] = part.identity, found
            for place, reason in found.flaws.items():
                self._new_flaws.append(f"{part.path}: the row of key {legible(keys[place])} is left out: {reason}")
            self._other_keys.update(keys[place] for place in np.flatnonzero(found.is_other))
        return found

    def warn_of_flaws(self) -> None:
        """Name the rows that were left out since this was called before."""
        flaws, self._new_flaws = self._new_flaws, []
        for words in flaws[:_MOST_NAMED]:
            self._warn(words)
        if len(flaws) > _MOST_NAMED:
            self._warn(f"{len(flaws) - _MOST_NAMED} more rows are left out that no training can have written")

    def warn_of_differing_results(self, rows: pa.Table) -> frozenset[str]:
        """Name keys of which one engine on one machine gave two results that differ: both parts, and what differs.

        Args:
            rows: sound rows with their key, status and part.

        Returns:
            all such keys that were met so far; each is named once.
        """
        parts_of_key: dict[str, list[str]] = {}
        for key, status, part in zip(*(rows[name].to_pylist() for name in ("key", "status", "part")), strict=True):
            if status != "failed" and not part.startswith(LABEL_PREFIX):  # a failure is no result, a label's row a copy
                parts_of_key.setdefault(key, []).append(part)
        keys_of_part: dict[str, set[str]] = {}
        for key, own in parts_of_key.items():
            if len(own) > 1 and (one := (key, frozenset(own))) not in self._compared:
                self._compared.add(one)
                for part in own:
                    keys_of_part.setdefault(part, set()).add(key)
        firsts: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
        found: dict[str, str] = {}
        for part, keys in sorted(keys_of_part.items()):
            columns = ["key", "status", *TRAINED_ON, *OUTCOME[1:], *OUTCOME_IF_COUNTED]
            try:
                results = self._rows_of(self.cells_dir / part, columns, {"key": _allowed("key", sorted(keys))})
            except (GoneError, UnreadableError):  # compaction has moved it: what it says of equal keys comes first
                continue
            for row in results.to_pylist():
                if row["status"] == "failed" or row["engine"] in _FLEET_BOUND:
                    continue
                place = (row["key"], *(row[name] for name in TRAINED_ON))
                first, same = firsts.setdefault(place, (part, row))
                counted = [name for name in OUTCOME_IF_COUNTED if None not in (row[name], same[name])]
                differing = [name for name in (*OUTCOME[1:], *counted) if differ(row[name], same[name])]
                if differing:
                    name = differing[0]
                    found[row["key"]] = (
                        f"key {row['key']} has two different results of {legible(str(row['engine']))} on "
                        f"{legible(str(row['device']))}, in {self.cells_dir / first} and {self.cells_dir / part}: "
                        f"{name} is {shown(same[name])} and {shown(row[name])}"
                    )
        for words in [*found.values()][:_MOST_NAMED]:
            self._warn(words)
        if len(found) > _MOST_NAMED:
            self._warn(f"{len(found) - _MOST_NAMED} more keys have two different results of one engine and machine")
        self._differing.update(found)
        return frozenset(self._differing)

    def warn_of_doubtful(self, path: Path, count: int) -> None:
        """Name a part with so many rows of other numerics whose settings do not give their key, once."""
        self._warn_once(path, f"{path}: {count} rows of other numerics do not have the key of their settings")

    def believable_curves(self, path: Path, curves: pa.Table) -> pa.Table:
        """The rows of a part of curves that a training can have written; a warning names the part of others."""
        flaws = curve_flaws(curves)
        if not flaws:
            return curves
        self._warn_once(path, f"{path}: {len(flaws)} rows of curves are left out: {next(iter(flaws.values()))}")
        return curves.filter(pa.array(~np.isin(np.arange(len(curves)), [*flaws])))

    def warn_unreadable(self, path: Path, reason: str) -> None:
        """Name a part that is left out, once."""
        self._warn_once(path, f"{path} is unreadable and left out: {reason}")

    def _warn_once(self, path: Path, words: str) -> None:
        if path not in self._warned:  # however often the store is read
            self._warned.add(path)
            self._warn(words)

    @staticmethod
    def _warn(words: str) -> None:
        warnings.warn(words, StoreWarning, stacklevel=5)

    def _parts(self) -> set[str]:
        try:
            return part_names(self.cells_dir)
        except OSError as error:
            raise StoreError(f"results_dir={str(self.results_dir)!r} cannot be read: {error.strerror}") from error


class _Parts:
    """Parts that were read."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._tables: list[pa.Table] = []
        self._in_order = True
        self._last = ""
        self._single = 0  # tables at the end that are of one part each

    def add(self, name: str, table: pa.Table) -> None:
        """Add a part's rows."""
        self.names.add(name)
        self._in_order &= name > self._last
        self._last = name
        self._tables.append(with_part(table, name))
        self._single += 1
        if self._single == _TABLES_TOGETHER:
            together = pa.concat_tables(self._tables[-_TABLES_TOGETHER:]).combine_chunks()
            self._tables[-_TABLES_TOGETHER:] = [together]
            self._single = 0

    def rows(self, schema: pa.Schema) -> pa.Table:
        """All rows, with the name of their part, ordered by it."""
        rows = pa.concat_tables([with_part(empty_table(schema), ""), *self._tables])
        if self._in_order:
            return rows
        places = np.argsort(rows["part"].to_numpy(), kind="stable")
        return rows.take(pa.array(places))


class Follower:
    """Looks at a growing store again and again, each time reading only what is new.

    Args:
        store: the store.
        columns: names of the columns to be read beside key, status and method.
    """

    def __init__(self, store: Store, columns: Sequence[str]) -> None:
        self.store = store
        self.columns = list(dict.fromkeys(["key", "status", "method", *columns]))
        self.parts = _Parts()

    def rows(self) -> dict[str, dict[str, Any]]:
        """One row per key, ordered by key, with the columns asked for."""
        rows = self.store._read_all(self.columns, known=self.parts)
        values = [rows[name].to_pylist() for name in self.columns]
        return {
            one.key: {name: column[one.row] for name, column in zip(self.columns, values, strict=True)}
            for one in _best_rows(rows)
        }

    def cells(self) -> pd.DataFrame:
        """The same as a data frame."""
        rows = self.store._read_all(self.columns, known=self.parts)
        table: pd.DataFrame = rows.select(self.columns).take(_places(_best_rows(rows))).to_pandas()
        return table


def differ(value: Any, other: Any) -> bool:
    """Whether two results' values are not the same; NaN, a diverged training's penalty, is the same as NaN."""
    return bool(value != other) and not (value != value and other != other)


def ranked(rows: pa.Table) -> pd.DataFrame:
    """Key, status, method, part and row number of every row, each key's best row first.

    The rows stand in the order of their parts' names.
    """
    frame: pd.DataFrame = rows.select(["key", "status", "method", "part"]).to_pandas()
    return frame.assign(row=range(len(frame))).iloc[_best_first(rows)]


def _best_first(rows: pa.Table) -> list[int]:
    """The rows' numbers: those of the best status first, of equal ones the first."""
    ranks = [STATUS_RANK[status] for status in rows["status"].to_pylist()]
    return sorted(range(len(ranks)), key=ranks.__getitem__)


def with_part(table: pa.Table, name: str) -> pa.Table:
    """The rows with the name of their part."""
    return table.append_column("part", text_in_every_row(name, len(table)))


class _Best(NamedTuple):
    """A key's best row: its part, its number among all rows, and the sorted labels of all the key's rows."""

    key: str
    status: str
    part: str
    row: int
    labels: tuple[str, ...]


def _best_rows(rows: pa.Table) -> list[_Best]:
    """Each key's best row, ordered by key; the rows stand in the order of their parts' names."""
    keys, statuses, methods, parts = (rows[name].to_pylist() for name in ("key", "status", "method", "part"))
    labels: dict[str, set[str]] = {}
    for key, method in zip(keys, methods, strict=True):
        labels.setdefault(key, set()).add(method)
    best: dict[str, int] = {}
    for row in _best_first(rows):
        best.setdefault(keys[row], row)
    return [_Best(key, statuses[row], parts[row], row, tuple(sorted(labels[key]))) for key, row in sorted(best.items())]


def _places(best: Sequence[_Best]) -> pa.Array:
    return integers([one.row for one in best])


@dataclass(frozen=True)
class _Allowed:
    """Values that a column may have; null is one of them or not."""

    values: pa.Array
    null: bool

    def is_met(self, column: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Which of the column's values are among them."""
        found = pc.is_in(column, value_set=self.values)
        found = pc.or_(found, pc.is_null(column)) if self.null else found
        return np.array(found.to_pylist(), np.bool_)


def _allowed(name: str, values: Sequence[Any]) -> _Allowed:
    """These values of a column of `cells`.

    Raises:
        ValueError: one of them is of another type.
    """
    kind = cell_schema().field(name).type
    known = [value for value in values if value is not None]
    if pa.types.is_string(kind) and all(isinstance(value, str) for value in known):
        return _Allowed(texts(known), None in values)
    try:
        return _Allowed(pa.array(known, kind), None in values)
    except pa.ArrowException:
        raise ValueError(f"where {name}={shown(list(values))} is not allowed: the column is of {kind}") from None
