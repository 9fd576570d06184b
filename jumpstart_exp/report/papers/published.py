"""What the papers report, read from results/published and checked: the report has published numbers from here only."""

import csv
import hashlib
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import takewhile
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
_Value = TypeVar("_Value")


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
    published = Published(
        moons=_unique(files["moons_grid.csv"], _place),
        moons_50x4=_unique(files["moons_50x4.csv"], _place),
        cifar10=_unique(files["iclr_cifar10.csv"], _place),
        mnist=_unique(files["mnist_table1.csv"], _table_value),
        statements=_unique(files["statements.csv"], _statement),
        sources={name: file.sources for name, file in files.items()},
    )
    _check_sums(where, files)
    return published


@dataclass(frozen=True)
class _Line:
    """A line of a file, its values by column."""

    file: str
    number: int
    values: Mapping[str, str]

    def choice(self, column: str, allowed: tuple[str, ...]) -> str:
        if self.values[column] not in allowed:
            raise self.wrong(column, f"one of {', '.join(allowed)}")
        return self.values[column]

    def whole(self, column: str) -> int:
        if not re.fullmatch(r"[1-9][0-9]{0,8}", self.values[column]):
            raise self.wrong(column, "an integer of at least 1")
        return int(self.values[column])

    def text(self, column: str) -> str:
        if not self.values[column].strip() or not self.values[column].isprintable():
            raise self.wrong(column, "a text")
        return self.values[column]

    def value(self) -> float:
        """A number of at least 0, as printed: digits and a point."""
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,12})?", self.values["value"]):
            raise self.wrong("value", "a number of at least 0")
        return float(self.values["value"])

    def accuracy(self, metric: str) -> float:
        value = self.value()
        if value > 1:
            raise self.wrong("value", "an accuracy from 0 to 1")
        if self.file in _COUNTED:
            exact = round(value * _POINTS[metric]) / _POINTS[metric]
            if abs(value - exact) >= ROUNDING:
                raise self.wrong("value", f"a share of {_POINTS[metric]} points, such as {exact:.4f}")
        return value

    def wrong(self, column: str, allowed: str) -> PublishedError:
        value = shown(self.values[column])
        return PublishedError(f"{self.file} line {self.number}: {column}={value} is not allowed: it must be {allowed}")


@dataclass(frozen=True)
class _File:
    sources: tuple[str, ...]
    lines: tuple[_Line, ...]
    digest: str


def _read(folder: Path, name: str) -> _File:
    """A file's source lines, and its rows with the numbers of their lines."""
    content = _content(folder, name)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise PublishedError(f"{name} is no text: byte {error.start} is not UTF-8") from None
    offset = sum(1 for _ in takewhile(lambda line: line.startswith("#"), lines))
    sources = tuple(line.removeprefix("# source:").strip() for line in lines[:offset] if line.startswith("# source:"))
    if not any(sources):
        raise PublishedError(f"{name} does not say where its numbers are from: its first line must be '# source: ...'")
    reader = csv.reader(lines[offset:], strict=True)
    try:
        rows = [(f"{name} line {offset + reader.line_num}", offset + reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise PublishedError(f"{name} line {offset + reader.line_num} cannot be read: {error}") from None
    columns = _COLUMNS[name]
    if len(rows) < 2:
        raise PublishedError(f"{name} has no values")
    for place, (where, _, row) in enumerate(rows):
        if place == 0 and tuple(row) != columns:
            raise PublishedError(f"{where}: the columns are {shown(','.join(row))}, they must be {','.join(columns)}")
        if len(row) != len(columns):
            given = shown(",".join(row))
            raise PublishedError(f"{where}: {given} has {len(row)} values, it must have {len(columns)}")
    found = tuple(_Line(name, number, dict(zip(columns, row, strict=True))) for _, number, row in rows[1:])
    return _File(sources, found, hashlib.sha256(content).hexdigest())


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise PublishedError(f"{legible(str(folder / name))} cannot be read: {error.strerror or error}") from None


def _unique(file: _File, parse: Callable[[_Line], tuple[_Key, _Value]]) -> dict[_Key, _Value]:
    """The values by key; every key stands once."""
    found: dict[_Key, _Value] = {}
    lines: dict[_Key, int] = {}
    for line in file.lines:
        key, found_value = parse(line)
        if key in found:
            what = line.values.get("name") or " ".join([*line.values.values()][:-1])
            raise PublishedError(f"{line.file} line {line.number}: {legible(what)} stands in line {lines[key]} already")
        found[key], lines[key] = found_value, line.number
    return found


def _place(line: _Line) -> tuple[PublishedPlace, float]:
    metrics = (*METRICS, *_LOSSES) if line.file == "moons_50x4.csv" else METRICS
    method, metric = line.choice("method", _METHODS), line.choice("metric", metrics)
    place = PublishedPlace(method, metric, line.whole("depth"), line.whole("width"))
    return place, line.accuracy(metric) if metric in METRICS else line.value()


def _table_value(line: _Line) -> tuple[tuple[str, str, str], float]:
    method, metric = line.choice("method", _METHODS), line.choice("metric", METRICS)
    quantity = line.choice("quantity", _QUANTITIES)
    value = line.accuracy(metric) if quantity == "best_accuracy" else float(line.whole("value"))
    return (method, metric, quantity), value


def _statement(line: _Line) -> tuple[str, Statement]:
    name = line.values["name"]
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise line.wrong("name", "of small letters, digits and _")
    paper, place = line.choice("paper", _PAPERS), line.text("place")
    return name, Statement(paper, place, line.value(), line.text("quote").strip())


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
