"""A disk that forgets what was not flushed: the states that a power loss may leave, from the calls that were made.

What POSIX promises: a file's bytes are safe after fsync of the file, a name (made, renamed or removed) after fsync of
its folder. Anything else may be there or not, each by itself.
"""

import os
import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class State:
    """What is surely on the disk and what may be: bytes by file number, file numbers by name."""

    safe_bytes: dict[int, bytes] = field(default_factory=dict)
    last_bytes: dict[int, bytes] = field(default_factory=dict)
    safe_names: dict[Path, int | None] = field(default_factory=dict)  # None: a folder
    pending: list[list[tuple[Path, int | None, bool]]] = field(default_factory=list)  # name, number, made or removed


class Disk:
    """Records what is asked of the disk below a folder, which has to be empty.

    Args:
        monkeypatch: takes the recording back.
        root: the folder, which is safe itself.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.calls: list[tuple[str, Any, Any]] = []
        fsync, replace, unlink, mkdir = os.fsync, os.replace, os.unlink, os.mkdir

        def recorded_fsync(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                self.calls.append(("fsync folder", path, None))
            else:
                self.calls.append(("fsync file", path, path.read_bytes()))

        def recorded_replace(source: Any, target: Any) -> None:
            content = Path(source).read_bytes()
            replace(source, target)
            self.calls.append(("rename", (Path(source), Path(target)), content))

        def recorded_unlink(path: Any) -> None:
            unlink(path)
            self.calls.append(("unlink", Path(path), None))

        def recorded_mkdir(path: Any, mode: int = 0o777) -> None:
            mkdir(path, mode)
            self.calls.append(("mkdir", Path(path), None))

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(os, "replace", recorded_replace)
        monkeypatch.setattr(os, "unlink", recorded_unlink)
        monkeypatch.setattr(os, "mkdir", recorded_mkdir)

    def reported(self, what: Any) -> None:
        """Note that something is promised from now on."""
        self.calls.append(("reported", what, None))

    def losses(self, folder: Path, tries: int, begin: int = 0) -> Iterator[tuple[Path, list[Any]]]:
        """After every call the states that a power loss may leave, and what had been reported by then.

        Args:
            folder: gets a folder for each state.
            tries: random states after each call, beside the two in which all that is not safe is lost or only bytes.
            begin: the number of the first call after which the power may fail.
        """
        chance = random.Random(1)
        state, reported = State(), []
        seen: set[tuple[frozenset[tuple[Path, bytes | None]], int]] = set()
        numbers: dict[Path, int] = {}
        for place, (what, path, content) in enumerate(self.calls):
            if what == "reported":
                reported.append(path)
            elif what == "mkdir":
                state.pending.append([(path, None, True)])
            elif what == "fsync file":
                number = numbers.setdefault(path, place)
                state.safe_bytes[number] = state.last_bytes[number] = content
                state.pending.append([(path, number, True)])
            elif what == "rename":
                source, target = path
                number = numbers.pop(source, place)
                numbers[target] = number
                state.last_bytes[number] = content
                state.pending.append([(source, number, False), (target, number, True)])
            elif what == "unlink":
                state.pending.append([(path, numbers.pop(path, None), False)])
            elif what == "fsync folder":
                for change in state.pending:
                    self.apply(state.safe_names, [one for one in change if one[0].parent == path])
                state.pending = [
                    rest for change in state.pending if (rest := [one for one in change if one[0].parent != path])
                ]
            if place < begin:
                continue
            everything = [True] * len(state.pending)
            states = [([False] * len(state.pending), 0.0), (everything, 0.0), (everything, 0.5)]
            states.extend(([chance.random() < 0.5 for _ in everything], chance.random()) for _ in range(tries))
            for number, (kept, part) in enumerate(states):
                files = self.files(state, kept, part)
                if (content := (frozenset(files.items()), len(reported))) not in seen:
                    seen.add(content)
                    yield self.build(files, folder / f"{place}-{number}"), list(reported)

    def files(self, state: State, kept: list[bool], part: float) -> dict[Path, bytes | None]:
        """A state's files (None: a folder): with these pending changes, this part of the bytes that are not safe."""
        names = dict(state.safe_names)
        for change, is_kept in zip(state.pending, kept, strict=True):
            if is_kept:
                self.apply(names, change)
        files: dict[Path, bytes | None] = {self.root: None}
        for path, number in sorted(names.items()):
            if path.parent in files:  # or the name of its folder is lost
                whole = b"" if number is None else state.last_bytes[number]
                unsafe = whole[: int(len(whole) * part)]
                files[path] = None if number is None else state.safe_bytes.get(number, unsafe)
        return files

    def build(self, files: dict[Path, bytes | None], folder: Path) -> Path:
        for path, content in files.items():
            target = folder / path.relative_to(self.root)
            if content is None:
                target.mkdir(parents=True)
            else:
                target.write_bytes(content)
        return folder

    @staticmethod
    def apply(names: dict[Path, int | None], change: list[tuple[Path, int | None, bool]]) -> None:
        for path, number, made in change:
            if made:
                names[path] = number
            else:
                names.pop(path, None)
