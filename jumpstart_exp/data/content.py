"""What files hold, in a word: part of the key of every cell that reads them."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

_DIGITS = 16


def content_of(sources: Sequence[Path]) -> str:
    """SHA-256 of the bytes of all sources in their order, as "sha256-" and 16 hex digits.

    Args:
        sources: files, whose names do not matter, and folders: all files below by their names there, but hidden ones.

    Raises:
        OSError: a file is not there or cannot be read.
    """
    digest = hashlib.sha256()
    for source in sources:
        for name, path in _files(source):
            with path.open("rb") as file:
                digest.update(
                    f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode("utf-8", "surrogateescape")
                )
    return f"sha256-{digest.hexdigest()[:_DIGITS]}"


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """The names and paths of a source's files, sorted."""
    if not source.is_dir():
        yield "", source
        return
    found = []
    for folder, below, names in os.walk(source, onerror=_refuse, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    for path in sorted(found):
        yield path.relative_to(source).as_posix(), path


def _refuse(error: OSError) -> None:
    raise error
