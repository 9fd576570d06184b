"""Part-files: written durably or not at all, read whole or named as unreadable."""

import contextlib
import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jumpstart_exp.settings import shown
from jumpstart_exp.store.schema import STORE_VERSION, VERSION_KEY

LABEL_PREFIX = "part-z-"
"""Parts of copied rows under further labels: they sort last, so the row that a training wrote comes first."""

COMPACT_PREFIX = "part-0-"
"""Parts that compaction wrote: they sort first, so what was the best row of a key stays it."""

COMPACT_LABEL_PREFIX = "part-z-0-"
"""Parts of copied rows that compaction wrote."""

STATUS_RANK = {"done": 0, "diverged": 1, "failed": 2}
"""What a row can be; of several rows of one key the lowest rank counts."""

_GONE = (errno.ENOENT, errno.ESTALE)
"""What opening a file that another machine has deleted says."""

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What file systems say that cannot flush a folder: they do it by themselves, or never."""


class StoreError(Exception):
    """The store cannot be read or written; the message says where and why."""


class UnreadableError(Exception):
    """A part that cannot be read; the message says why."""


class GoneError(Exception):
    """A part was listed, but is not there (any more)."""


def part_names(folder: Path) -> set[str]:
    """The parts in a folder, temporaries left out; none where there is no such folder.

    Raises:
        OSError: the folder cannot be listed.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208 - 100,000 paths would take a while to make
    except (FileNotFoundError, NotADirectoryError):
        return set()
    return {name for name in names if name.endswith(".parquet") and not name.startswith(".")}


def write_durably(table: pa.Table, path: Path) -> None:
    """Write a part that is there as a whole after a crash at any instant, or not at all.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    make_folder(path.parent)
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
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably."""
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def read_part(path: Path, columns: Sequence[str] | None, schema: pa.Schema) -> pa.Table:
    """One part with the schema's columns, those that it lacks null.

    Args:
        path: the file.
        columns: names to be read; None for all of the schema.
        schema: what the columns have to be.

    Raises:
        StoreError: the part was written by a newer version.
        GoneError: the part is not there.
        UnreadableError: it is no part of a store, or damaged.
    """
    names = schema.names if columns is None else columns
    with _opened(path) as (part, found):
        # without threads: a part is small, and handing its columns out takes longer than reading them
        if found.equals(schema):
            table = part.read(columns=names, use_threads=False).select(names)
        else:
            _check_columns(found, schema)
            table = part.read(columns=[name for name in names if name in found.names], use_threads=False)
            table = _completed(table, pa.schema([schema.field(name) for name in names]))
        table.validate(full=True)  # a text may hold bytes that are none
        _check_rows(table)
        return table.replace_schema_metadata(None)


def read_whole_part(path: Path, schema: pa.Schema) -> pa.Table:
    """One part with all of its columns, also those that the schema does not know; raises as `read_part` does."""
    with _opened(path) as (part, found):
        _check_columns(found, schema)
        table = part.read(use_threads=False)
        table.validate(full=True)  # a text may hold bytes that are none
        _check_rows(table)
        return table


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise UnreadableError("it is no file")
        with pq.ParquetFile(path) as part:
            schema = part.schema_arrow
            written = (schema.metadata or {}).get(VERSION_KEY, b"")
            if written.isdigit() and int(written) > STORE_VERSION:
                raise StoreError(
                    f"{path} was written by a newer jumpstart_exp (store version {int(written)}, this one reads "
                    f"{STORE_VERSION}): update jumpstart_exp, or choose another results_dir"
                )
            yield part, schema
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in _GONE:
            raise GoneError(str(path)) from error
        if isinstance(error, MemoryError):  # the part is sound
            raise
        raise UnreadableError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def _check_columns(found: pa.Schema, schema: pa.Schema) -> None:
    """Refuse a part whose columns are not a store's, whichever of them are asked for.

    Raises:
        UnreadableError: a column has another type or stands there twice, or there is no key.
    """
    counts = Counter(found.names)
    for field in schema:
        count = counts[field.name]
        if not count:
            if field.name in ("key", "status", "method", "epoch"):
                raise UnreadableError(f"it has no column {field.name!r}")
            continue
        if count > 1:
            raise UnreadableError(f"its column {field.name!r} is there {count} times")
        kind = found.field(field.name).type
        widened = pa.types.is_integer(kind) and pa.types.is_floating(field.type)
        widened |= pa.types.is_large_string(kind) and pa.types.is_string(field.type)
        if not (kind == field.type or widened or pa.types.is_null(kind)):
            raise UnreadableError(f"its column {field.name!r} is {kind}, not {field.type}")


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with just these columns, of these types; those that it lacks are null."""
    arrays = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _check_rows(table: pa.Table) -> None:
    """Refuse a part with rows that no training writes.

    Raises:
        UnreadableError: a row without key, status or method, or of a status that does not exist.
    """
    for name in ("key", "status", "method", "epoch"):
        if name in table.column_names and table[name].null_count:
            raise UnreadableError(f"its column {name!r} has empty entries")
    if "status" in table.column_names:
        unknown = set(table["status"].unique().to_pylist()) - STATUS_RANK.keys()
        if unknown:
            raise UnreadableError(f"its column 'status' has {shown(sorted(unknown)[0])}")
