"""Figures and tables that need not be made again: their files are as they were written, of the very same input.

What a job is made from is its function with all arguments: grids, tables, published numbers, options. Together with
the package's own files and the versions of the libraries that compute and draw it is the job's fingerprint. The record
`RESULTS_DIR/.drawn.json` has each fingerprint's files with their hashes. Whatever cannot be fingerprinted, is not in
the record, or has a file that is not as it was written, is made again.
"""

import contextlib
import dataclasses
import hashlib
import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jumpstart_exp.config.schema import conf_dir
from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.papers.published import published_dir
from jumpstart_exp.report.registry import Job, Stored
from jumpstart_exp.report.table.grid import FigureGrid

RECORD = ".drawn.json"
"""The record's name in the results folder."""

_LIBRARIES = ("matplotlib", "pillow", "fonttools", "jinja2", "numpy", "pandas", "scipy", "scikit-learn", "torch")
"""What computes and draws."""

_PACKAGE = __name__.partition(".")[0]
_KEPT = ("snapshots", "probes")  # folders of the results that figures read while they are drawn
_Feed = Callable[[bytes], None]


class UnknownError(TypeError):
    """Something has no fingerprint: nobody can say whether it is the same."""


class Drawn:
    """What earlier reports wrote into a results folder.

    Args:
        results_dir: the results folder.
        data_dir: folder of the datasets' files.
    """

    def __init__(self, results_dir: Path, data_dir: Path) -> None:
        self._results = results_dir
        self._folders = {results_dir: self._kept_files, data_dir: lambda feed: _feed_listing(feed, data_dir)}
        self._known: dict[int, tuple[object, bytes]] = {}  # by identity; the object is kept, so that its number is
        self._files = _read_record(results_dir / RECORD)

    def fingerprint(self, job: Job) -> str | None:
        """The hash of all that the job's files depend on; None where it cannot be told."""
        try:
            found = hashlib.blake2b(_of_program(), digest_size=16)
            self._feed(found.update, (job.folder, job.write))
        except (UnknownError, OSError, pa.ArrowException):
            return None
        return found.hexdigest()

    def unchanged(self, fingerprint: str | None) -> list[Path] | None:
        """The files of this fingerprint, if all are there as they were written; else None."""
        files = self._files.get(fingerprint or "")
        if not files or any(_hash_of(self._results / name) != wanted for name, wanted in files):
            return None
        return [self._results / name for name, _ in files]

    def note(self, fingerprint: str | None, paths: Sequence[Path]) -> None:
        """Remember the files that were just written, and that no other fingerprint's files are these any more."""
        names = [path.relative_to(self._results).as_posix() for path in paths]
        own = {*names}
        self._files = {key: files for key, files in self._files.items() if not own & {name for name, _ in files}}
        if fingerprint is not None and names:
            self._files[fingerprint] = [(name, _hash_of(self._results / name)) for name in names]

    def write(self) -> None:
        """Write the record, whole or not at all; without it all is drawn the next time."""
        with contextlib.suppress(OSError):
            write_whole(self._results / RECORD, json.dumps({"drawn": self._files}, indent=0, sort_keys=True).encode())

    def _kept_files(self, feed: _Feed) -> None:
        for name in _KEPT:
            _feed_files(feed, self._results / name)

    def _feed(self, feed: _Feed, value: object) -> None:
        """Feed a value with its type, so that no two values look alike.

        Raises:
            UnknownError: it is of a type whose content nobody told.
        """
        feed(f"{type(value).__module__}.{type(value).__qualname__}(".encode())
        match value:
            case None | bool() | int() | float() | str() | Enum():
                feed(repr(value).encode(errors="surrogatepass"))
            case bytes():
                feed(value)
            case np.generic():
                feed(repr(value.item()).encode())
            case tuple() | list():
                self._feed_each(feed, value)
            case set() | frozenset():
                self._feed_each(feed, sorted(map(self._digest, value)))
            case Mapping():
                self._feed_each(feed, [*value.items()])
            case np.ndarray():
                feed(f"{value.dtype.str}{value.shape}".encode())
                if value.dtype.hasobject:
                    self._feed_each(feed, value.ravel().tolist())
                else:
                    feed(np.ascontiguousarray(value).tobytes())
            case pd.DataFrame():
                feed(self._once(value, _feed_frame))
            case FigureGrid():  # whose rows are places in the table, which change with any other cell
                feed(self._once(value, partial(self._feed_fields, but=("rows",))))
            case Stored():
                feed(self._once(value, self._feed_stored))
            case partial():
                self._feed_each(feed, (value.func, value.args, value.keywords))
            case types.MethodType():
                self._feed_each(feed, (value.__func__, value.__self__))
            case types.FunctionType():
                self._feed_function(feed, value)
            case type() if value.__module__.partition(".")[0] == _PACKAGE:
                feed(f"{value.__module__}.{value.__qualname__}".encode())
            case Path() if value in self._folders:
                feed(self._once(self._folders[value], lambda own, of: of(own)))
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                self._feed_fields(feed, value)
            case _:
                raise UnknownError(f"{type(value).__qualname__} has no fingerprint")
        feed(b")")

    def _feed_each(self, feed: _Feed, values: Sequence[object]) -> None:
        feed(f"{len(values)}:".encode())
        for value in values:
            self._feed(feed, value)

    def _feed_fields(self, feed: _Feed, value: Any, but: Sequence[str] = ()) -> None:
        for each in dataclasses.fields(value):
            if each.name not in but:
                feed(f"{each.name}=".encode())
                self._feed(feed, getattr(value, each.name))

    def _feed_stored(self, feed: _Feed, stored: Stored) -> None:
        """The cells, the curves and all else that the folder has; the figures and sweeps are made of the cells."""
        self._feed_each(feed, (stored.table, stored.threshold, stored.each, stored.results_dir, stored.data_dir))
        _feed_files(feed, stored.store.curves_dir)

    def _feed_function(self, feed: _Feed, function: types.FunctionType) -> None:
        """Where it stands in the package, whose files are part of every fingerprint, and what it closes over."""
        if function.__module__.partition(".")[0] != _PACKAGE:
            raise UnknownError(f"{function.__module__} is not of the package")
        code = function.__code__
        feed(f"{function.__module__}.{function.__qualname__}:{code.co_firstlineno}".encode() + code.co_code)
        closed = [cell.cell_contents for cell in function.__closure__ or ()]
        self._feed_each(feed, (closed, function.__defaults__, function.__kwdefaults__))

    def _digest(self, value: object) -> bytes:
        found = hashlib.blake2b(digest_size=16)
        self._feed(found.update, value)
        return found.digest()

    def _once(self, value: object, fed_by: Callable[[_Feed, Any], None]) -> bytes:
        """The digest of what several jobs are made of, taken once."""
        if id(value) not in self._known:
            found = hashlib.blake2b(digest_size=16)
            fed_by(found.update, value)
            self._known[id(value)] = value, found.digest()
        return self._known[id(value)][1]


@cache
def _of_program() -> bytes:
    """The digest of the package's files, the configurations, the published numbers, and the libraries' versions."""
    found = hashlib.blake2b(sys.version.encode(), digest_size=16)
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found.update(f"{name}={version(name)};".encode())
    for folder in (Path(__file__).parents[1], Path(conf_dir()), published_dir()):
        _feed_files(found.update, folder)
    return found.digest()


def _feed_frame(feed: _Feed, table: pd.DataFrame) -> None:
    found = pa.Table.from_pandas(table)
    feed(str(found.schema).encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.schema) as stream:
        stream.write_table(found.combine_chunks())
    feed(sink.getvalue())


def _feed_files(feed: _Feed, folder: Path) -> None:
    """Names and contents of all files of a folder and those in it, but for what was compiled of them."""
    for path in _files_of(folder):
        if path.suffix not in (".pyc", ".so"):
            feed(f"{path.relative_to(folder)}:".encode(errors="surrogateescape"))
            with path.open("rb") as file:
                feed(hashlib.file_digest(file, "sha256").digest())


def _feed_listing(feed: _Feed, folder: Path) -> None:
    """Names, sizes and times of all files of a folder and those in it."""
    for path in _files_of(folder):
        of = path.stat()
        feed(f"{path.relative_to(folder)}:{of.st_size}:{of.st_mtime_ns};".encode(errors="surrogateescape"))


def _files_of(folder: Path, within: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files of a folder and those in it, also where links lead; none where it is not there.

    Args:
        folder: it need not be there.
        within: the folders that it is in, as they are without links.

    Raises:
        OSError: one of the folders cannot be read, or a link leads back to one that it is in.
    """
    if not folder.is_dir():
        return
    if (real := folder.resolve()) in within:
        raise OSError(f"{folder} leads in a circle")
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files_of(path, within | {real})
        else:
            yield path


def _hash_of(path: Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _read_record(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Each fingerprint's files and their hashes; of a record that is missing or damaged nothing."""
    try:
        drawn = json.loads(path.read_bytes())["drawn"]
        return {str(key): [(str(name), str(found)) for name, found in files if found] for key, files in drawn.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
