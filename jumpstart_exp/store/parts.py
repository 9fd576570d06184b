"""Part-files: written durably or not at all, read whole or named as unreadable.

A part carries a SHA-256 of itself between its last page and its footer, where parquet has nothing and no reader looks,
beside the checksums that parquet has for every page. Parts of before have neither, and are read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import shown
from jumpstart_exp.store.schema import STORE_VERSION, VERSION_KEY

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa = LateModule("pyarrow")
    pq = LateModule("pyarrow.parquet")

LABEL_PREFIX = "part-z-"
"""Parts of copied rows under further labels: they sort last, so the row that a training wrote comes first."""

COMPACT_PREFIX = "part-0-"
"""Parts that compaction wrote: they sort first, so what was the best row of a key stays it."""

COMPACT_LABEL_PREFIX = "part-z-0-"
"""Parts of copied rows that compaction wrote."""

STATUS_RANK = {"done": 0, "diverged": 1, "failed": 2}
"""What a row can be; of several rows of one key the lowest rank counts."""

_MARK = b"\xff\xfejumpstart_exp\xfe"
"""Bytes before a part's checksum: no text has them."""

_DIGEST = hashlib.sha256().digest_size

_SOUND = b"\x01"
"""Stands behind the mark where all rows were found sound before they were written; another, if more is looked at."""

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


def write_durably(table: pa.Table, path: Path, *, is_sound: bool = False) -> None:
    """Write a part that is there as a whole after a crash at any instant, or not at all.

    Args:
        table: its rows.
        path: where.
        is_sound: whether the rows were looked at and can be believed, which the part then says.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        # in memory first: the many small pieces of a part take longer on their way to a file than in it
        content = pa.BufferOutputStream()
        pq.write_table(table, content, compression="zstd", write_page_checksum=True)
        with temporary.open("xb") as file:
            write_pieces(file, memoryview(content.getvalue()), is_sound=is_sound)
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
    make_folder(folder.parent)
    try:
        folder.mkdir(exist_ok=True)  # another may have made it since
    except FileExistsError:
        if not folder.exists():
            raise
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
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


@dataclass(frozen=True)
class Part:
    """A part in memory, as `open_part` gives it.

    Attributes:
        path: where it was.
        identity: tells the file from a later one of the same name.
        has_checksum: whether it carries one, which fits; parts of before have none.
        is_sound: whether its rows were found sound when they were written, and are what was written.
    """

    path: Path
    identity: tuple[int, int, int]
    has_checksum: bool
    is_sound: bool
    _file: Any
    _found: pa.Schema
    _schema: pa.Schema

    def has(self, column: str) -> bool:
        """Whether the part has the column itself, be it null."""
        return column in self._found.names

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """These columns of the schema, those that the part lacks null; None for all.

        Raises:
            UnreadableError: the part is damaged, or has rows that no training writes.
        """
        names, there = self._schema.names if columns is None else columns, {*self._found.names}
        with _named_errors(self.path):
            # without threads: a part is small, and handing its columns out takes longer than reading them
            table = self._file.read(columns=[name for name in names if name in there], use_threads=False)
            _check_content(table)
            if not self._found.equals(self._schema):
                return _completed(table, pa.schema([self._schema.field(name) for name in names]))
            return table.select(names).replace_schema_metadata(None)

    def read_whole(self) -> pa.Table:
        """All columns as they are, also those that the schema does not know; raises as `read` does."""
        with _named_errors(self.path):
            table = self._file.read(use_threads=False)
            _check_content(table)
            return table


def open_part(path: Path, schema: pa.Schema) -> Part:
    """A part, its checksum and its columns looked at.

    Args:
        path: the file.
        schema: what its columns have to be.

    Raises:
        StoreError: the part was written by a newer version.
        GoneError: the part is not there.
        UnreadableError: it is no part of a store, or damaged.
    """
    with _named_errors(path):
        found_as = path.stat()
        if not stat.S_ISREG(found_as.st_mode):  # opening a pipe would wait for a writer
            raise UnreadableError("it is no file")
        content = path.read_bytes()
        told = _told(memoryview(content), content.rfind(_MARK))
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        found = file.schema_arrow
        written = (found.metadata or {}).get(VERSION_KEY, b"")
        if written.isdigit() and int(written) > STORE_VERSION:
            raise StoreError(
                f"{path} was written by a newer jumpstart_exp (store version {int(written)}, this one reads "
                f"{STORE_VERSION}): update jumpstart_exp, or choose another results_dir"
            )
        if not found.equals(schema):
            _check_columns(found, schema)
        identity = found_as.st_ino, found_as.st_size, found_as.st_mtime_ns
        return Part(path, identity, told is not None, told == _SOUND, file, found, schema)


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """What a file that cannot be read raises, as one of ours."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in _GONE:
            raise GoneError(str(path)) from error
        if isinstance(error, MemoryError):  # the part is sound
            raise
        raise UnreadableError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def write_pieces(file: BinaryIO, content: memoryview, *, is_sound: bool) -> None:
    """Write a parquet file, piece by piece, with its checksum before its footer."""
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    told = _MARK + (_SOUND if is_sound else b"\0")
    digest = hashlib.sha256(content[:footer])
    digest.update(told)
    digest.update(content[footer:])
    for piece in (content[:footer], told, digest.digest(), content[footer:]):
        file.write(piece)


def _told(content: memoryview, mark: int) -> bytes | None:
    """What stands before the checksum of a file, whose mark is there; None for no mark: the file has no checksum.

    Raises:
        UnreadableError: the checksum is not that of the file.
    """
    if mark < 0:
        return None
    begin = mark + len(_MARK) + len(_SOUND)
    digest = hashlib.sha256(content[:begin])
    digest.update(content[begin + _DIGEST :])
    if digest.digest() != content[begin : begin + _DIGEST]:
        raise UnreadableError("it is damaged: its checksum does not fit")
    return bytes(content[begin - len(_SOUND) : begin])


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
    there = dict(zip(table.column_names, table.columns, strict=True))
    arrays = []
    for field in schema:
        column = there.get(field.name)
        if column is None:
            arrays.append(pa.nulls(len(table), field.type))
        else:
            arrays.append(column if column.type == field.type else column.cast(field.type))
    return pa.table(arrays, schema=schema)


def _check_content(table: pa.Table) -> None:
    """Refuse a part with values that are none, or rows that no training writes.

    Raises:
        UnreadableError: a row without key, status or method, or of a status that does not exist.
    """
    table.validate(full=True)  # a text may hold bytes that are none
    for name in ("key", "status", "method", "epoch"):
        if name in table.column_names and table[name].null_count:
            raise UnreadableError(f"its column {name!r} has empty entries")
    if "status" in table.column_names:
        unknown = set(table["status"].to_pylist()) - STATUS_RANK.keys()
        if unknown:
            raise UnreadableError(f"its column 'status' has {shown(sorted(unknown)[0])}")
