"""What a part of the check has found, and how long it may look."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

BEYOND = 1e300
"""In place of what is infinite or no number: JSON has neither."""


@dataclass
class Check:
    """A number and what is allowed."""

    name: str
    value: float
    allowed: float
    ok: bool


@dataclass
class Findings:
    """Of one part. `is_cut` says that time ended it early, `on_gpu` that nothing of it was stood in for."""

    title: str
    seconds: float = 0.0
    allotted: float = 0.0
    on_gpu: bool = True
    is_cut: bool = False
    error: str = ""
    checks: list[Check] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keep: Callable[[], None] = lambda: None
        """Writes what was found so far."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Findings":
        """What `asdict` made of it."""
        return cls(**{**values, "checks": [Check(**one) for one in values["checks"]]})

    def check(self, name: str, value: float, allowed: float) -> None:
        """Note a number that must be at most what is allowed; one that is none is too much."""
        shown = float(value) if abs(value) < BEYOND else BEYOND
        self.checks.append(Check(name, shown, float(allowed), bool(value <= allowed)))

    def expect(self, name: str, found: float, wanted: float) -> None:
        """Note a number that must be exactly the one wanted."""
        self.check(f"{name}: {found:g} of {wanted:g}", abs(found - wanted), 0)

    def row(self, table: str, **values: Any) -> None:
        """A row of a table; rows of one table have the same columns."""
        self.tables.setdefault(table, []).append(values)

    @property
    def is_ok(self) -> bool:
        """Whether it ran, and every check holds."""
        return not self.error and all(check.ok for check in self.checks)

    @property
    def words(self) -> str:
        """What became of it."""
        if self.error:
            return f"FAILED: {self.error}"
        failed = sum(not check.ok for check in self.checks)
        said = [f"{failed} of {len(self.checks)} checks FAILED" if failed else "ok"]
        said += ["ended early"] * self.is_cut + ["not on a GPU"] * (not self.on_gpu)
        return ", ".join(said)


class Clock:
    """The time that a part has."""

    def __init__(self, seconds: float, begun: float | None = None) -> None:
        self.begun, self.allotted = time.monotonic() if begun is None else begun, seconds

    @property
    def left(self) -> float:
        """Seconds, below 0 when it is over."""
        return self.begun + self.allotted - time.monotonic()

    def is_over(self, findings: Findings, what: str, needs: float = 0.0) -> bool:
        """Whether there is no time for what needs so many seconds; then it says what is left out."""
        if self.left > needs:
            return False
        findings.is_cut = True
        findings.notes.append(f"out of time: {what} left out")
        return True


def write_whole(path: Path, text: str) -> None:
    """Write a file of which nobody sees half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)


def write_findings(path: Path, parts: Mapping[str, Findings], **other: Any) -> None:
    """As JSON, with `other` before the parts."""
    found = {name: asdict(part) | {"ok": part.is_ok} for name, part in parts.items()}
    write_whole(path, json.dumps({**other, "parts": found}, indent=1) + "\n")


def markdown(parts: Mapping[str, Findings], machine: Mapping[str, Any], **other: Any) -> str:
    """The same to read."""
    lines = ["# What the GPU check found", ""]
    lines += [f"* {name}: {value}" for name, value in (other | dict(machine)).items()]
    lines += ["", "| part | seconds | of | checks | |", "|---|---|---|---|---|"]
    for part in parts.values():
        lines.append(
            f"| {part.title} | {part.seconds:.0f} | {part.allotted:.0f} | {len(part.checks)} | {_cell(part.words)} |"
        )
    for part in parts.values():
        lines += ["", f"## {part.title}", ""]
        lines += [f"* {note}" for note in part.notes]
        for name, rows in part.tables.items():
            lines += ["", f"{name}:", "", *_table(rows)]
        if part.checks:
            rows = [
                {
                    "check": check.name,
                    "found": f"{check.value:.2g}",
                    "allowed": f"{check.allowed:.2g}",
                    "": "" if check.ok else "FAILED",
                }
                for check in part.checks
            ]
            lines += ["", *_table(rows)]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return lines + ["| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |" for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
