"""Checkpoints of cells in training: a cell that was killed goes on from its last one."""

import hashlib
import io
import os
import uuid
import warnings
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jumpstart_exp.console import Notice

_VERSION = 1
_DIGEST = hashlib.sha256().digest_size
"""Bytes at a file's beginning that tell whether the rest is whole."""


class CheckpointWarning(Notice):
    """A checkpoint cannot be used; the message names it."""


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints lie, and how often a cell writes one.

    A checkpoint is written under a temporary name, flushed to the disk and renamed: there is a whole one or none.
    """

    folder: Path
    minutes: float

    def load(self, key: str) -> dict[str, Any] | None:
        """The state of the cell with this key, or None; what cannot be read is named in a warning and left alone."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
                raise ValueError("it is damaged")
            state = torch.load(io.BytesIO(content[_DIGEST:]), map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or state.get("version") != _VERSION or state.get("key") != key:
                raise ValueError("it is not of this version")
        except Exception as error:  # whatever is wrong with the file, the cell can begin anew
            self.refuse(key, error)
            return None
        found: dict[str, Any] = state["state"]
        return found

    def refuse(self, key: str, error: Exception) -> None:
        """Say that the checkpoint of this key cannot be used, and why."""
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        warnings.warn(
            f"{self._path(key)} cannot be used, the cell begins anew: {reason}", CheckpointWarning, stacklevel=2
        )

    def save(self, key: str, state: dict[str, Any]) -> None:
        """Keep the state in place of an earlier one; where that cannot be done a warning says why."""
        content = io.BytesIO()
        torch.save({"version": _VERSION, "key": key, "state": state}, content)
        try:
            self._write(key, content.getbuffer())
        except OSError as error:
            reason = f"{self.folder} takes no checkpoint, the cell is trained without: {error.strerror or error}"
            warnings.warn(reason, CheckpointWarning, stacklevel=2)

    def remove(self, keys: Container[str]) -> None:
        """Drop the checkpoints of cells whose results are stored."""
        for path in self.folder.glob("*.pt"):
            if path.stem in keys:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.tmp"):  # what a kill in mid-write left
            if path.name.split(".")[1] in keys:
                path.unlink(missing_ok=True)

    def _write(self, key: str, content: memoryview) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{key}.{uuid.uuid4().hex}.tmp"
        try:
            with temporary.open("wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path(key))  # noqa: PTH105 - the atomic one, by name
        finally:
            temporary.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"
