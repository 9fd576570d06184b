"""Files of the report: a reader never sees half of one."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write the file under a temporary name in its folder, then rename it.

    Raises:
        OSError: the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)  # noqa: PTH105 - the atomic one, by name
    finally:
        temporary.unlink(missing_ok=True)


def write_files(folder: Path, name: str, contents: Mapping[str, bytes]) -> list[Path]:
    """Write NAME.KIND into the folder for the content of every kind; gives the files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_whole(path, content)
    return paths
