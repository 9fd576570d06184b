"""Checkpoints of cells in training: a cell that was killed goes on from its last one."""

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
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or state.get("version") != _VERSION or state.get("key") != key:
                raise ValueError("it is not of this version")
        except Exception as error:  # whatever is wrong with the file, the cell can begin anew
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"{path} cannot be used, the cell begins anew: {reason}", CheckpointWarning, stacklevel=2)
            return None
        found: dict[str, Any] = state["state"]
        return found

    def save(self, key: str, state: dict[str, Any]) -> None:
        """Keep the state in place of an earlier one.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{key}.{uuid.uuid4().hex}.tmp"
        try:
            with temporary.open("wb") as file:
                torch.save({"version": _VERSION, "key": key, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path(key))  # noqa: PTH105 - the atomic one, by name
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, keys: Container[str]) -> None:
        """Drop the checkpoints of cells whose results are stored."""
        for path in self.folder.glob("*.pt"):
            if path.stem in keys:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"
