"""What the papers report, read from results/published and checked: the report has published numbers from here only."""

import csv
import hashlib
import math
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jumpstart_exp.data import DATASETS
from jumpstart_exp.settings import legible, shown

ROUNDING = 1e-4
"""Accuracies of the papers have four digits, some cut off and not rounded: 0.8117 is 69/85."""

CHECKSUMS = "SHA256SUMS"
"""The file with every file's checksum, as sha256sum writes it."""

METRICS = ("train_acc_best", "val_acc_best")
"""The published accuracies, as the store's columns are called."""

_LOSSES = ("train_loss_at_best_acc", "val_loss_at_best_acc")
_VALUE_COLUMNS = ("method", "metric", "depth", "width", "value")
_TABLE_COLUMNS = ("method", "metric", "quantity", "value")
_STATEMENT_COLUMNS = ("name", "paper", "place", "value", "quote")
_COLUMNS = {
    "moons_grid.csv": _VALUE_COLUMNS,
    "moons_50x4.csv": _VALUE_COLUMNS,
    "iclr_cifar10.csv": _VALUE_COLUMNS,
    "mnist_table1.csv": _TABLE_COLUMNS,
    "statements.csv": _STATEMENT_COLUMNS,
}
_COUNTED = {"moons_grid.csv", "moons_50x4.csv"}
"""Files whose accuracies are of the MOONS points: shares of 85 and of 15."""

_POINTS = dict(zip(METRICS, DATASETS["moons"]().sizes(), strict=True))
_QUANTITIES = ("best_accuracy", "networks_that_train", "best_for_the_pair")
_PAPERS = ("CPAIOR", "ICLR", "SepCons")
_METHODS = ("relu", "relu_bn", "sep_u", "sep_p", "sep_up", "sep_l", "zero_init")
_CHECKSUM = re.compile(r"([0-9a-f]{64})[ ][ *](\S+)")

_Key = TypeVar("_Key", bound=Hashable)


class PublishedError(ValueError):
    """A file of published numbers is missing, unreadable or altered; the message names file, line and value."""


@dataclass(frozen=True, order=True)
class PublishedPlace:
    """What a published number is of: a method's metric (a column of the store) at one depth and width."""

    method: str
    metric: str
    depth: int
    width: int


@dataclass(frozen=True)
class Statement:
    """A number that a paper states in words, and the sentence in which it does."""

    paper: str
    place: str
    value: float
    quote: str


@dataclass(frozen=True)
class Published:
    """All published numbers; accuracies are fractions in [0, 1].

    `moons` is the authors' grid (ICLR, figures 1, 4 and 5), `moons_50x4` SepCons's table 2, losses included, `cifar10`
    ICLR's figure 3. `mnist` is CPAIOR's table 1 by (method, metric, quantity). `sources` are the source lines by file.
    """

    moons: Mapping[PublishedPlace, float]
    moons_50x4: Mapping[PublishedPlace, float]
    cifar10: Mapping[PublishedPlace, float]
    mnist: Mapping[tuple[str, str, str], float]
    statements: Mapping[str, Statement]
    sources: Mapping[str, tuple[str, ...]]

    def number(self, name: str) -> float:
        """A published number by its name.

        A statement's, METHOD/METRIC/QUANTITY of `mnist`, or METHOD/METRIC/DEPTH/WIDTH of `moons_50x4` or `cifar10`.

        Raises:
            PublishedError: it is not published.
        """
        match name.split("/"):
            case [method, metric, quantity] if (method, metric, quantity) in self.mnist:
                return self.mnist[method, metric, quantity]
            case [method, metric, depth, width]:
                place = PublishedPlace(method, metric, int(depth), int(width))
                for values in (self.moons_50x4, self.cifar10):
                    if place in values:
                        return values[place]
            case [statement] if statement in self.statements:
                return self.statements[statement].value
        raise PublishedError(f"there is no published number {name}, which the report compares with")


def published_dir() -> Path:
    """Folder of the published numbers: inside the package when installed from a wheel, else in the checkout."""
    package = Path(__file__).resolve().parent.parent.parent
    inside = package / "published"
    return inside if inside.is_dir() else package.parent / "results" / "published"


def read_published(folder: Path | None = None) -> Published:
    """All published numbers, every file checked: source, columns, values, checksum.

    Args:
        folder: where the files are; None for `published_dir()`.

    Raises:
        PublishedError: a file is missing, has no source, a value that cannot be, or was altered.
    """
    where = published_dir() if folder is None else folder
    files = {name: _read(where, name) for name in _COLUMNS}
    values = {name: _values(name, files[name]) for name in files if _COLUMNS[name] is _VALUE_COLUMNS}
    table = _unique(
        "mnist_table1.csv", files["mnist_table1.csv"], lambda row: (row["method"], row["metric"], row["quantity"])
    )
    named = _unique("statements.csv", files["statements.csv"], lambda row: row["name"])
    published = Published(
        moons=values["moons_grid.csv"],
        moons_50x4=values["moons_50x4.csv"],
        cifar10=values["iclr_cifar10.csv"],
        mnist={key: _table_value("mnist_table1.csv", *line) for key, line in table.items()},
        statements={name: _statement("statements.csv", *line) for name, line in named.items()},
        sources={name: file.sources for name, file in files.items()},
    )
    _check_sums(where, files)
    return published


@dataclass(frozen=True)
class _File:
    sources: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    digest: str


def _read(folder: Path, name: str) -> _File:
    """A file's source lines, and its rows with the numbers of their lines."""
    content = _content(folder, name)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise PublishedError(f"{name} is no text: byte {error.start} is not UTF-8") from None
    lines = text.splitlines()
    comments = [line for line in lines if line.startswith("#")]
    sources = tuple(line.removeprefix("# source:").strip() for line in comments if line.startswith("# source:"))
    if not any(sources):
        raise PublishedError(f"{name} does not say where its numbers are from: its first line must be '# source: ...'")
    offset = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    reader = csv.reader(lines[offset:], strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    columns = _COLUMNS[name]
    try:
        head = next(reader, [])
        if tuple(head) != columns:
            raise PublishedError(
                f"{name} line {offset + 1}: the columns are {shown(','.join(head))}, they must be {','.join(columns)}"
            )
        for row in reader:
            if len(row) != len(columns):
                raise PublishedError(
                    f"{name} line {offset + reader.line_num}: {shown(','.join(row))} has {len(row)} values, "
                    f"it must have {len(columns)}"
                )
            rows.append((offset + reader.line_num, dict(zip(columns, row, strict=True))))
    except csv.Error as error:
        raise PublishedError(f"{name} line {offset + reader.line_num} cannot be read: {error}") from None
    if not rows:
        raise PublishedError(f"{name} has no values")
    return _File(sources, tuple(rows), hashlib.sha256(content).hexdigest())


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise PublishedError(f"{legible(str(folder / name))} cannot be read: {error.strerror or error}") from None


def _unique(name: str, file: _File, key_of: Callable[[dict[str, str]], _Key]) -> dict[_Key, tuple[int, dict[str, str]]]:
    """The rows with their lines by key; every key stands once."""
    found: dict[_Key, tuple[int, dict[str, str]]] = {}
    for line, row in file.rows:
        key = key_of(row)
        if key in found:
            what = " ".join(key) if isinstance(key, tuple) else str(key)
            raise PublishedError(f"{name} line {line}: {legible(what)} stands in line {found[key][0]} already")
        found[key] = (line, row)
    return found


def _values(name: str, file: _File) -> dict[PublishedPlace, float]:
    metrics = (*METRICS, *_LOSSES) if name == "moons_50x4.csv" else METRICS
    for line, row in file.rows:
        _choice(name, line, row, "method", _METHODS)
        _choice(name, line, row, "metric", metrics)
        _whole(name, line, row, "depth")
        _whole(name, line, row, "width")
    lines = _unique(name, file, lambda row: (row["method"], row["metric"], row["depth"], row["width"]))
    return {
        PublishedPlace(method, metric, int(depth), int(width)): (
            _accuracy(name, *line) if metric in METRICS else _number(name, *line)
        )
        for (method, metric, depth, width), line in lines.items()
    }


def _accuracy(name: str, line: int, row: Mapping[str, str]) -> float:
    value = _number(name, line, row)
    if value > 1:
        raise _wrong(name, line, row, "value", "an accuracy from 0 to 1")
    if name in _COUNTED:
        points = _POINTS[row["metric"]]
        exact = round(value * points) / points
        if abs(value - exact) >= ROUNDING:
            raise _wrong(name, line, row, "value", f"a share of {points} points, such as {exact:.4f}")
    return value


def _table_value(name: str, line: int, row: Mapping[str, str]) -> float:
    _choice(name, line, row, "method", _METHODS)
    _choice(name, line, row, "metric", METRICS)
    if _choice(name, line, row, "quantity", _QUANTITIES) == "best_accuracy":
        return _accuracy(name, line, row)
    return float(_whole(name, line, row, "value"))


def _statement(name: str, line: int, row: Mapping[str, str]) -> Statement:
    if not re.fullmatch(r"[a-z0-9_]+", row["name"]):
        raise _wrong(name, line, row, "name", "of small letters, digits and _")
    for column in ("place", "quote"):
        if not row[column].strip() or not row[column].isprintable():
            raise _wrong(name, line, row, column, "a text")
    return Statement(
        _choice(name, line, row, "paper", _PAPERS), row["place"], _number(name, line, row), row["quote"].strip()
    )


def _choice(name: str, line: int, row: Mapping[str, str], column: str, allowed: tuple[str, ...]) -> str:
    if row[column] not in allowed:
        raise _wrong(name, line, row, column, f"one of {', '.join(allowed)}")
    return row[column]


def _whole(name: str, line: int, row: Mapping[str, str], column: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", row[column]):
        raise _wrong(name, line, row, column, "an integer of at least 1")
    return int(row[column])


def _number(name: str, line: int, row: Mapping[str, str]) -> float:
    """A number of at least 0, as printed: digits and a point."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,12})?", row["value"]) or not math.isfinite(float(row["value"])):
        raise _wrong(name, line, row, "value", "a number of at least 0")
    return float(row["value"])


def _wrong(name: str, line: int, row: Mapping[str, str], column: str, allowed: str) -> PublishedError:
    return PublishedError(f"{name} line {line}: {column}={shown(row[column])} is not allowed: it must be {allowed}")


def _check_sums(folder: Path, files: Mapping[str, _File]) -> None:
    lines = _content(folder, CHECKSUMS).decode(errors="replace").splitlines()
    matches = [_CHECKSUM.fullmatch(line) for line in lines]
    wanted = {match[2]: match[1] for match in matches if match}
    for name, file in files.items():
        if name not in wanted:
            raise PublishedError(f"{CHECKSUMS} has no checksum of {name}")
        if wanted[name] != file.digest:
            raise PublishedError(
                f"{name} was altered: its SHA-256 is {file.digest[:12]}…, {CHECKSUMS} says {wanted[name][:12]}…"
            )
