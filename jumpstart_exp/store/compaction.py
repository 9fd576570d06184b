"""Compaction: many parts become few, while others read and write.

New parts are durable before the old ones go, so every row is in at least one part at any instant; readers drop what
they meet twice. A kill leaves both, and the next compaction goes on. Everything is read before anything is written:
an unreadable part stays where it is, and no row is dropped for one that cannot be read or believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart_exp.late import LateModule
from jumpstart_exp.store import Store, StoreError, ranked, with_part
from jumpstart_exp.store.parts import (
    COMPACT_LABEL_PREFIX,
    COMPACT_PREFIX,
    LABEL_PREFIX,
    GoneError,
    UnreadableError,
    open_part,
    part_names,
    sync_folder,
    write_durably,
)
from jumpstart_exp.store.schema import cell_schema, curve_schema, label_check

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc
else:
    pd = LateModule("pandas")
    pa = LateModule("pyarrow")
    pc = LateModule("pyarrow.compute")

MANY_PARTS = 2000
"""Parts from which on a sweep compacts the store before it begins: reading them takes seconds."""

_ROWS = 5000
"""Rows of a compacted part, at most twice as many."""

_CURVE_ROWS = 2_000_000
"""Rows of curves in a compacted part, unless a single part has more: they are in memory together."""

_STALE_SECONDS = 24 * 3600.0
"""A temporary that has not changed for so long is of a process that was killed: a write takes seconds."""


class BusyError(StoreError):
    """Another compaction is at work."""


@dataclass(frozen=True)
class Compaction:
    """What a compaction did: parts before and after, rows that are left, temporaries and orphans removed."""

    parts_before: int
    parts_after: int
    rows: int
    removed: int


@dataclass(frozen=True)
class _Chunk:
    """Parts that become one, and which of their rows stay."""

    sources: list[str]
    rows: pd.DataFrame  # key, part, place within it, whether it is the key's best
    name: str


def compact(store: Store, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Compaction:
    """Put the store's parts into few, and remove what killed writers left a day ago or earlier.

    Args:
        store: the store; others may read and write it meanwhile.
        on_progress: is told how many of how many parts are done.

    Raises:
        StoreError: the store cannot be read or written.
        BusyError: another compaction is at work.
    """
    if not store.cells_dir.is_dir():
        raise StoreError(f"results_dir={str(store.results_dir)!r} has no store: there is no {store.cells_dir}")
    try:
        with alone(store.cells_dir):
            before = part_names(store.cells_dir)
            while True:
                try:
                    rows = _compact_parts(store, on_progress)
                    break
                except GoneError:  # another machine's compaction, whose lock is not seen here
                    continue
            removed = _remove_stale(store)
            return Compaction(len(before), len(part_names(store.cells_dir)), rows, removed)
    except (OSError, UnreadableError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StoreError(
            f"results_dir={str(store.results_dir)!r} cannot be compacted: {reason}; everything stored is there"
        ) from error


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's compaction lock, which ends with the process.

    Raises:
        BusyError: another process has it.
    """
    path = folder / ".compaction.lock"
    try:
        lock = path.open("w")
    except PermissionError:
        if not path.exists():
            raise
        lock = path.open()  # someone else's; whoever may read it can hold it
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"another compaction of {folder} is at work") from None
        except OSError:  # a file system without locks: two at once do the work twice, and no harm
            pass
        yield


def _compact_parts(store: Store, on_progress: Callable[[int, int], None]) -> int:
    """Write the new parts and delete the old ones; how many rows there are now."""
    on_progress(0, 0)
    table, curve_rows, staying = _parts_to_merge(store)
    rows = ranked(table)
    first = rows.groupby("part", sort=False)["row"].transform("min")
    rows = rows.assign(place=rows["row"] - first, best=~rows["key"].duplicated())
    # a key's best row, and one row for every other label under which it appears
    kept = rows[rows["best"] | ~rows.duplicated(["key", "method"])]
    chunks = list(_chunks(rows, kept, curve_rows))
    total, done = sum(len(chunk.sources) for chunk in chunks), 0
    for chunk in chunks:
        on_progress(done, total)
        _write_chunk(store, chunk)
        done += len(chunk.sources)
        on_progress(done, total)
    return len(kept) + staying


def _parts_to_merge(store: Store) -> tuple[pa.Table, dict[str, int], int]:
    """Read every part once, rows and curves.

    Returns:
        key, status, method and part of the rows that may be moved; how many rows of curves their parts have; how many
        rows stay where they are, because something of their part cannot be read, believed, or put together with the
        others, or because their key has two different results.
    """
    columns = ["key", "status", "method"]
    empty = pa.schema([(name, pa.string()) for name in [*columns, "part"]]).empty_table()
    tables: dict[str, pa.Table] = {}
    curve_rows: dict[str, int] = {}
    stays: set[str] = set()
    joined = cell_schema(), curve_schema()
    for name in sorted(part_names(store.cells_dir)):
        path = store.cells_dir / name
        try:
            part = open_part(path, cell_schema())
            cells, found = part.read_whole(), store.soundness(part)
        except GoneError:
            continue
        except UnreadableError as error:
            store.warn_unreadable(path, str(error))
            continue
        tables[name] = with_part(cells.select(columns), name)
        if not found.is_complete:
            stays.add(name)
        try:
            curves = _read_curves(store, name)
            joined = _joined(joined[0], cells.schema), _joined(joined[1], curves.schema)
        except UnreadableError as error:
            store.warn_unreadable(store.curves_dir / name, str(error))
            stays.add(name)
        else:
            curve_rows[name] = len(curves)
    store.warn_of_flaws()
    sound = [table for name, table in tables.items() if name not in stays]
    # which of two different results is right, nobody knows: both stay
    staying_keys = {*store.warn_of_differing_results(pa.concat_tables([empty, *sound], promote_options="permissive"))}
    for name, table in tables.items():
        keys = set(table["key"].to_pylist())
        # a part moves to the front, but not past one that has rows of its keys
        if name in stays or keys & staying_keys:
            stays.add(name)
            staying_keys |= keys
    moving = [table for name, table in tables.items() if name not in stays]
    rows = pa.concat_tables([empty, *moving], promote_options="permissive")
    return rows, curve_rows, sum(len(tables[name]) for name in stays)


def _joined(schema: pa.Schema, other: pa.Schema) -> pa.Schema:
    """The columns of both.

    Raises:
        UnreadableError: a column that this version does not know has a type in each that does not go with the other's.
    """
    try:
        return pa.unify_schemas([schema, other], promote_options="permissive")
    except pa.ArrowException as error:
        raise UnreadableError(str(error).splitlines()[0]) from error


def _chunks(rows: pd.DataFrame, kept: pd.DataFrame, curve_rows: dict[str, int]) -> Iterator[_Chunk]:
    """Neighbouring parts in groups, named so that the order of all parts stays as it is: who is read of equal rows."""
    # an empty part has no row in the table: it does no harm where it is
    counts, kept_counts = rows.groupby("part").size(), kept.groupby("part").size()
    last = max((_number(part) for part in counts.index), default=0)
    for prefix, is_label in ((COMPACT_PREFIX, False), (COMPACT_LABEL_PREFIX, True)):
        groups: list[list[str]] = [[]]
        size = curve_size = 0
        for part in sorted(counts.index):
            if part.startswith(LABEL_PREFIX) != is_label:
                continue
            left = int(kept_counts.get(part, 0))
            complete = _number(part) > 0 and counts[part] >= _ROWS and left == counts[part]
            if complete or size >= _ROWS or (size and curve_size + curve_rows[part] > _CURVE_ROWS):
                groups.append([])
                size = curve_size = 0
            if not complete:
                groups[-1].append(part)
                size += left
                curve_size += curve_rows[part]
        groups = [group for group in groups if group]
        for group in groups:
            of_group = kept[kept["part"].isin(group)]
            if len(group) == 1 and len(of_group) == counts[group[0]] and (_number(group[0]) or group is groups[-1]):
                continue
            number = _number(group[0])
            if not number:
                last += 1
                number = last
            yield _Chunk(group, of_group, f"{prefix}{number:08d}-{uuid.uuid4().hex}.parquet")


def _number(part: str) -> int:
    """The number of a part that compaction wrote; 0 for any other."""
    found = re.match(rf"(?:{COMPACT_PREFIX}|{COMPACT_LABEL_PREFIX})(\d{{8}})-", part)
    return int(found[1]) if found else 0


def _write_chunk(store: Store, chunk: _Chunk) -> None:
    curves, cells = [], []
    for name, own in chunk.rows.groupby("part", sort=True):
        part = str(name)
        # curves first: another machine's compaction, whose lock is not seen here, deletes them last
        table = _read_curves(store, part)
        curves.append(table.filter(pc.is_in(table["key"], pa.array(own.loc[own["best"], "key"], pa.string()))))
        table = open_part(store.cells_dir / part, cell_schema()).read_whole()
        if "label_check" not in table.column_names:  # its labels go with its settings
            checks = map(label_check, table["key"].to_pylist(), table["method"].to_pylist())
            table = table.append_column("label_check", pa.array(checks, pa.string()))
        cells.append(table.take(pa.array(own["place"].sort_values())))
    # columns that this version does not know stay
    if any(len(table) for table in curves):
        whole = pa.concat_tables(curves, promote_options="permissive").replace_schema_metadata(curve_schema().metadata)
        write_durably(whole, store.curves_dir / chunk.name)
    if cells:
        whole = pa.concat_tables(cells, promote_options="permissive").replace_schema_metadata(cell_schema().metadata)
        try:
            write_durably(whole, store.cells_dir / chunk.name, is_sound=True)
        except OSError:
            with contextlib.suppress(OSError):
                if not (store.cells_dir / chunk.name).exists():  # only the folder's fsync failed: the rows are there
                    (store.curves_dir / chunk.name).unlink(missing_ok=True)
            raise
    for folder in (store.cells_dir, store.curves_dir):  # rows first: those that are there have their curves
        for part in chunk.sources:
            (folder / part).unlink(missing_ok=True)
        if folder.is_dir():
            sync_folder(folder)


def _read_curves(store: Store, part: str) -> pa.Table:
    """All curves of a part, which may have none."""
    try:
        return open_part(store.curves_dir / part, curve_schema()).read_whole()
    except GoneError:
        return curve_schema().empty_table()


def _remove_stale(store: Store) -> int:
    """Remove old temporaries, and old curves that belong to no rows, by the file system's own clock."""
    removed = 0
    for folder in (store.cells_dir, store.curves_dir):
        if not folder.is_dir():
            continue
        now = _clock_of(folder)
        rows = part_names(store.cells_dir)
        for path in folder.iterdir():
            temporary = path.name.startswith(".") and (path.suffix == ".tmp" or path.name.startswith(".probe-"))
            orphan = folder == store.curves_dir and path.suffix == ".parquet" and path.name not in rows
            if not (temporary or orphan):
                continue
            with contextlib.suppress(OSError):  # what cannot be removed is in nobody's way
                # a listing that ran beside a compaction may miss what is there
                if orphan and (store.cells_dir / path.name).exists():
                    continue
                if now - path.lstat().st_mtime > _STALE_SECONDS:
                    path.unlink()
                    removed += 1
    return removed


def _clock_of(folder: Path) -> float:
    """What time it is for the machine that keeps the files: the only clock that their ages can be told by."""
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        probe.unlink(missing_ok=True)
