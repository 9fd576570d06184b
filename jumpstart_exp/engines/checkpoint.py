"""Checkpoints of cells in training: a cell that was killed goes on from its last one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import os
import time
import uuid
import warnings
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart_exp.console import Notice
from jumpstart_exp.late import LateModule

if TYPE_CHECKING:
    import torch
else:
    torch = LateModule("torch")

_VERSION = 3
_DIGEST = hashlib.sha256().digest_size
"""Bytes at a file's beginning that tell whether the rest is whole."""

_LOOK_EVERY = 0.02
"""Seconds between two looks at whether a request is met."""

_requests = 0

_kept_for: dict[str, int] = {}
"""The cells in training in this process, by key: how many requests there had been when each was last kept."""


def request_checkpoint() -> None:
    """Have every cell that is in training in this process kept at its next epoch, or step where `eager` trains it.

    The cell's age and the interval do not matter; training goes on. A signal handler may call it, and any thread.
    """
    global _requests
    _requests += 1


def are_all_kept() -> bool:
    """Whether every cell in training in this process has been kept since the last request, or has begun since.

    A cell that is done is in training no more, and one that cannot be kept (its engine has no `Checkpoints`, the disk
    is full) is not waited for.
    """
    return all(kept_for >= _requests for kept_for in list(_kept_for.values()))


def wait_until_kept(seconds: float) -> bool:
    """Wait at most so long for `are_all_kept`: what it says at the end.

    For a thread that does not train: an engine keeps its cells in the thread that called `train`.
    """
    deadline = time.monotonic() + seconds
    while not are_all_kept():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_EVERY)
    return True


class CheckpointWarning(Notice):
    """A checkpoint cannot be used; the message names it."""


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints lie, and how often a cell writes one.

    A checkpoint is written under a temporary name, flushed to the disk and renamed: there is a whole one or none.
    What another user keeps from being read is left alone: such a cell begins anew, and nothing is kept in its place.
    """

    folder: Path
    minutes: float

    def keys(self) -> set[str]:
        """The cells that have a checkpoint which can be read."""
        return {path.stem for path in self.folder.glob("*.pt") if not _is_locked(path)}

    def locked(self, keys: Container[str]) -> list[Path]:
        """What another user keeps from being read: the folder, or checkpoints of these cells."""
        if os.path.isdir(self.folder) and _is_locked(self.folder, os.R_OK | os.X_OK):  # noqa: PTH112 - it raises nothing
            return [self.folder]
        return [path for path in sorted(self.folder.glob("*.pt")) if path.stem in keys and _is_locked(path)]

    def load(self, key: str) -> dict[str, Any] | None:
        """The state of the cell with this key, or None; what is no checkpoint is named in a warning and left alone."""
        path = self._path(key)
        if not os.path.isfile(path) or _is_locked(path):  # noqa: PTH113 - it raises nothing
            return None
        try:
            content = path.read_bytes()
            if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
                raise ValueError("it is damaged")
            state = torch.load(io.BytesIO(content[_DIGEST:]), map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or state.get("key") != key:
                raise ValueError("it is not of this cell")
            if state.get("version") != _VERSION:
                raise ValueError(
                    f"it is of version {state.get('version')} of checkpoints, this program's is {_VERSION}"
                )
            found = state["state"]
            if not isinstance(found, dict):
                raise TypeError("it has no state")
        except Exception as error:  # whatever is wrong with the file, the cell can begin anew
            self.refuse(key, error)
            return None
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
        """Drop the checkpoints of cells whose results are stored; one that cannot be deleted does no harm."""
        for path in [
            *self.folder.glob("*.pt"),
            *self.folder.glob(".*.tmp"),
        ]:  # temporaries: a kill in mid-write left them
            if path.name.lstrip(".").partition(".")[0] in keys and not _is_locked(path):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _write(self, key: str, content: memoryview) -> None:
        if _is_locked(self._path(key)):
            raise PermissionError(errno.EACCES, "another user's is in its place")
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


def _is_locked(path: Path, wanted: int = os.R_OK) -> bool:
    """Whether it is there, and may not be used so."""
    may_not = not os.access(path, wanted, effective_ids=os.access in os.supports_effective_ids)
    return may_not and os.path.lexists(path)


class CheckpointWriter:
    """Keeps the cells that an engine has in training, each when it is due.

    Args:
        checkpoints: where; None for nowhere: nothing is due, and no request waits for the cells.
        engine: its name: another one's checkpoints are not used.
    """

    def __init__(self, checkpoints: Checkpoints | None, engine: str) -> None:
        self.checkpoints, self.engine = checkpoints, engine
        self.kept_at: dict[str, float] = {}
        self.seen = _requests

    @property
    def seconds(self) -> float:
        """Between two checkpoints of a cell; infinity where none is kept."""
        return math.inf if self.checkpoints is None else 60 * self.checkpoints.minutes

    def load(self, key: str) -> dict[str, Any] | None:
        """The state of the cell with this key, as this engine has saved it; None if there is none that can be used."""
        state = None if self.checkpoints is None else self.checkpoints.load(key)
        if state is not None and state.get("engine") != self.engine:
            self.refuse(key, ValueError(f"it is of the engine {state.get('engine')}, this is {self.engine}"))
            return None
        return state

    def refuse(self, key: str, error: Exception) -> None:
        """Say that the state of this cell cannot be used, and why."""
        if self.checkpoints is not None:
            self.checkpoints.refuse(key, error)

    def begin(self, keys: Iterable[str]) -> None:
        """These cells are in training from now on, if they were not already."""
        if self.checkpoints is None:
            return
        for key in keys:
            if key not in self.kept_at:
                self.kept_at[key], _kept_for[key] = time.monotonic(), _requests

    def is_due(self, key: str) -> bool:
        """Whether a cell in training is to be kept now: so long after the last time, or on request."""
        if self.checkpoints is None:
            return False
        return _kept_for[key] < _requests or time.monotonic() - self.kept_at[key] >= self.seconds

    def is_requested(self) -> bool:
        """Whether there was a request since this was last asked."""
        seen, self.seen = self.seen, _requests
        return self.seen > seen

    def save(self, key: str, state: dict[str, Any]) -> None:
        """Keep the state, as it is now, of a cell in training."""
        if self.checkpoints is None:
            return
        requests = _requests
        self.checkpoints.save(key, {"engine": self.engine, **state})
        self.kept_at[key], _kept_for[key] = time.monotonic(), requests

    def end(self, keys: Iterable[str]) -> None:
        """These cells are in training no more."""
        for key in keys:
            self.kept_at.pop(key, None)
            _kept_for.pop(key, None)
