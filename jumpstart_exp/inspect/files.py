"""Files beside the store, one a key: listed, and written whole."""

import os
import uuid
from pathlib import Path


def keys_in(folder: Path, kind: str, failure: type[Exception]) -> list[str]:
    """Keys of which the folder has a file KEY.kind, sorted; none where there is no folder.

    Raises:
        failure: the folder cannot be read; the message names it.
    """
    try:
        return sorted(path.stem for path in folder.glob(f"*.{kind}") if not path.name.startswith("."))
    except OSError as error:
        raise failure(f"{folder} cannot be read: {error.strerror or error}") from error


def write_durably(path: Path, content: bytes | memoryview, failure: type[Exception]) -> Path:
    """Write a file whole: under a temporary name in its folder, to the disk, then renamed.

    Args:
        path: its name; the folder is made where there is none.
        content: bytes, or a buffer of them.
        failure: what is raised.

    Raises:
        failure: the folder cannot be written; the message names it.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - the atomic one, by name
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise failure(f"{path.parent} cannot be written: {error.strerror or error}") from error
    return path
