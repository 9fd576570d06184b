"""Compaction: many parts become few, while others read and write.

New parts are durable before the old ones go, so every row is in at least one part at any instant; readers drop what
they meet twice. A kill leaves both, and the next compaction goes on. Nothing but parts that were read whole is ever
deleted: an unreadable one stays where it is.
"""

import contextlib
import fcntl
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from jumpstart_exp.store import Store, StoreError, ranked
from jumpstart_exp.store.parts import (
    COMPACT_LABEL_PREFIX,
    COMPACT_PREFIX,
    LABEL_PREFIX,
    GoneError,
    UnreadableError,
    count_rows,
    part_names,
    read_whole_part,
    sync_folder,
    write_durably,
)
from jumpstart_exp.store.schema import cell_schema, curve_schema

MANY_PARTS = 2000
"""Parts from which on a sweep compacts the store before it begins: reading them takes seconds."""

_ROWS = 5000
"""Rows of a compacted part, at most twice as many."""

_CURVE_ROWS = 2_000_000
"""Rows of curves in a compacted part, unless a single part has more: they are in memory together."""

_STALE_SECONDS = 24 * 3600.0
"""A temporary that has not changed for so long is of a process that was killed: a write takes seconds."""


@dataclass(frozen=True)
class Compaction:
    """What a compaction did: parts before and after, rows that are left, temporaries and orphans removed."""

    parts_before: int
    parts_after: int
    rows: int
    removed: int


@dataclass(frozen=True)
class _Chunk:
    """Parts that become one, and which of their rows stay, in this order."""

    sources: list[str]
    rows: pd.DataFrame  # part, row within it, in the order of rank
    name: str


def compact(store: Store, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Compaction:
    """Put the store's parts into few, and remove what killed writers left a day ago or earlier.

    Args:
        store: the store; others may read and write it meanwhile.
        on_progress: is told how many of how many parts are done.

    Raises:
        StoreError: the store cannot be read or written, or another compaction is at work.
    """
    if not store.cells_dir.is_dir():
        raise StoreError(f"results_dir={str(store.results_dir)!r} has no store: there is no {store.cells_dir}")
    try:
        with _alone(store.cells_dir):
            before = part_names(store.cells_dir)
            while True:
                try:
                    rows = _compact_parts(store, on_progress)
                    break
                except GoneError:  # another machine's compaction, whose lock is not seen here
                    continue
            removed = _remove_stale(store)
            return Compaction(len(before), len(part_names(store.cells_dir)), rows, removed)
    except OSError as error:
        raise StoreError(
            f"results_dir={str(store.results_dir)!r} cannot be compacted: {error.strerror or error}; "
            "everything stored is there"
        ) from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's compaction lock, which ends with the process.

    Raises:
        StoreError: another process has it.
    """
    with (folder / ".compaction.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another compaction of {folder} is at work") from None
        except OSError:  # a file system without locks: two at once do the work twice, and no harm
            pass
        yield


def _compact_parts(store: Store, on_progress: Callable[[int, int], None]) -> int:
    """Write the new parts and delete the old ones; how many rows there are now."""
    rows = ranked(store._read_all(["key", "status", "method"]))
    first = rows.groupby("part", sort=False)["row"].transform("min")
    rows = rows.assign(inner=rows["row"] - first)
    # a key's best row, and one row for every other label under which it appears
    kept = rows[~rows["key"].duplicated() | ~rows.duplicated(["key", "method"])]
    chunks = list(_chunks(store, rows, kept))
    total, done = sum(len(chunk.sources) for chunk in chunks), 0
    for chunk in chunks:
        on_progress(done, total)
        _write_chunk(store, chunk)
        done += len(chunk.sources)
        on_progress(done, total)
    return len(kept)


def _chunks(store: Store, rows: pd.DataFrame, kept: pd.DataFrame) -> Iterator[_Chunk]:
    """Parts in groups; those that are large and have no row too many stay as they are."""
    counts, kept_counts = rows.groupby("part").size(), kept.groupby("part").size()
    # in the order of the parts that they replace: which of equal rows is read does not change
    number = max((_number(part) for part in counts.index), default=0)
    for prefix, is_label in ((COMPACT_PREFIX, False), (COMPACT_LABEL_PREFIX, True)):
        own = [part for part in sorted(counts.index) if part.startswith(LABEL_PREFIX) == is_label]
        # an empty part has no row in the table: it does no harm where it is
        small = [part for part in own if counts[part] < _ROWS or kept_counts.get(part, 0) < counts[part]]
        groups: list[list[str]] = []
        size = curve_size = 0
        for part in small:
            curve_rows = _curve_rows(store, part)
            if not groups or size >= _ROWS or curve_size + curve_rows > _CURVE_ROWS:
                groups.append([])
                size = curve_size = 0
            groups[-1].append(part)
            size += int(kept_counts.get(part, 0))
            curve_size += curve_rows
        for group in groups:
            of_group = kept[kept["part"].isin(group)]
            if len(group) > 1 or len(of_group) < counts[group[0]]:
                number += 1
                yield _Chunk(group, of_group, f"{prefix}{number:08d}-{uuid.uuid4().hex}.parquet")


def _number(part: str) -> int:
    found = re.match(rf"(?:{COMPACT_PREFIX}|{COMPACT_LABEL_PREFIX})(\d{{8}})-", part)
    return int(found[1]) if found else 0


def _curve_rows(store: Store, part: str) -> int:
    try:
        return count_rows(store.curves_dir / part)
    except (GoneError, UnreadableError):
        return 0


def _write_chunk(store: Store, chunk: _Chunk) -> None:
    curves, unreadable = _curves_of(store, chunk)
    sources = [part for part in chunk.sources if part not in unreadable]
    rows = chunk.rows[chunk.rows["part"].isin(sources)]
    if not sources or (len(sources) == 1 and unreadable):
        return
    tables = []
    for part, own in rows.groupby("part", sort=True):
        table = read_whole_part(store.cells_dir / str(part), cell_schema())
        tables.append(table.take(pa.array(np.sort(own["inner"].to_numpy()))))
    if curves is not None:
        write_durably(curves, store.curves_dir / chunk.name)
    if tables:
        # columns that this version does not know stay
        table = pa.concat_tables(tables, promote_options="permissive")
        write_durably(table.replace_schema_metadata(cell_schema().metadata), store.cells_dir / chunk.name)
    for folder in (store.cells_dir, store.curves_dir):  # rows first: those that are there have their curves
        for part in sources:
            (folder / part).unlink(missing_ok=True)
        if folder.is_dir():
            sync_folder(folder)


def _curves_of(store: Store, chunk: _Chunk) -> tuple[pa.Table | None, set[str]]:
    """The curves of the chunk's keys, each once, and the parts whose curves cannot be read: those stay."""
    tables: list[pa.Table] = []
    unreadable: set[str] = set()
    seen: set[str] = set()
    for part, own in chunk.rows.groupby("part", sort=False):  # in the order of rank, as the reader takes them
        try:
            table = read_whole_part(store.curves_dir / str(part), curve_schema())
        except GoneError:
            continue
        except UnreadableError:
            unreadable.add(str(part))
            continue
        wanted = set(own["key"]) - seen
        keys = table["key"].to_pandas()
        table = table.filter(pa.array(keys.isin(wanted)))
        seen |= set(keys) & wanted
        tables.append(table)
    tables = [table for table in tables if len(table)]
    if not tables:
        return None, unreadable
    whole = pa.concat_tables(tables, promote_options="permissive")
    return whole.replace_schema_metadata(curve_schema().metadata), unreadable


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
            with contextlib.suppress(FileNotFoundError):
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
