"""What the papers report, read from results/published and checked: the report has published numbers from here only."""

import csv
import hashlib
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from jumpstart_exp.data import DATASETS
from jumpstart_exp.settings import legible, shown

ROUNDING = 1e-4
"""Accuracies of the papers have four digits, some cut off and not rounded: 0.8117 is 69/85."""

CHECKSUMS = "SHA256SUMS"
"""The file with every file's checksum, as sha256sum writes it."""

METRICS = ("train_acc_best", "val_acc_best")
"""The published accuracies, as the store's columns are called."""

POINTS = dict(zip(METRICS, DATASETS["moons"]().sizes(), strict=True))
"""The points of MOONS that an accuracy is a share of: 85 in training, 15 in validation."""

_COUNTED = ("moons_grid.csv", "moons_50x4.csv")
"""Files whose accuracies are shares of `POINTS`."""

_CHECKSUM = re.compile(r"([0-9a-f]{64})[ ][ *](\S+)")

_Rule = tuple[Callable[[str], object], str]
"""Whether a text can stand in a column, and what can, in words."""


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
        if name not in self._numbers:
            raise PublishedError(f"there is no published number {name}, which the report compares with")
        return self._numbers[name]

    @cached_property
    def _numbers(self) -> Mapping[str, float]:
        places = {**self.cifar10, **self.moons_50x4}
        return {
            **{"/".join(map(str, vars(place).values())): value for place, value in places.items()},
            **{"/".join(key): value for key, value in self.mnist.items()},
            **{name: statement.value for name, statement in self.statements.items()},
        }


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
    files = {field: _read(where, *of) for field, of in _FILES.items()}
    _check_sums(where, files.values())
    values: dict[str, Any] = {field: file.values for field, file in files.items()}
    return Published(**values, sources={file.name: file.sources for file in files.values()})


def _one_of(*names: str) -> _Rule:
    return names.__contains__, f"one of {', '.join(names)}"


_TEXT: _Rule = (lambda text: text.strip() and text.isprintable()), "a text"
_WHOLE: _Rule = re.compile(r"[1-9][0-9]{0,8}").fullmatch, "an integer of at least 1"
_NUMBER: _Rule = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?").fullmatch, "a number of at least 0"  # as it is printed
_NAME: _Rule = re.compile(r"[a-z0-9_]+").fullmatch, "of small letters, digits and _"
_PAPER = _one_of("CPAIOR", "ICLR", "SepCons", "RAI", "Geometry")
_METHOD = _one_of("relu", "relu_bn", "sep_u", "sep_p", "sep_up", "sep_l", "zero_init")
_METRIC = _one_of(*METRICS)
_METRIC_OR_LOSS = _one_of(*METRICS, "train_loss_at_best_acc", "val_loss_at_best_acc")
_QUANTITY = _one_of("best_accuracy", "networks_that_train", "best_for_the_pair")
_PLACE = {"method": _METHOD, "metric": _METRIC, "depth": _WHOLE, "width": _WHOLE, "value": _NUMBER}

_FILES = {
    "moons": ("moons_grid.csv", _PLACE),
    "moons_50x4": ("moons_50x4.csv", {**_PLACE, "metric": _METRIC_OR_LOSS}),
    "cifar10": ("iclr_cifar10.csv", _PLACE),
    "mnist": ("mnist_table1.csv", {"method": _METHOD, "metric": _METRIC, "quantity": _QUANTITY, "value": _NUMBER}),
    "statements": (
        "statements.csv",
        {"name": _NAME, "paper": _PAPER, "place": _TEXT, "value": _NUMBER, "quote": _TEXT},
    ),
}
"""The files by the field of `Published` that has their values, with their columns and what can stand there."""


@dataclass(frozen=True)
class _File:
    """What stands in a file: its sources, its values by key, and the SHA-256 of all of it."""

    name: str
    sources: tuple[str, ...]
    values: Mapping[Hashable, object]
    digest: str


def _read(folder: Path, name: str, rules: Mapping[str, _Rule]) -> _File:
    """A file's source lines, and its values, of which every key stands once."""
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
        rows = [(f"{name} line {offset + reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise PublishedError(f"{name} line {offset + reader.line_num} cannot be read: {error}") from None
    if len(rows) < 2:
        raise PublishedError(f"{name} has no values")
    where, head = rows[0]
    if head != [*rules]:
        raise PublishedError(f"{where}: the columns are {shown(','.join(head))}, they must be {','.join(rules)}")
    values: dict[Hashable, object] = {}
    lines_of: dict[Hashable, str] = {}
    for where, row in rows[1:]:
        if len(row) != len(rules):
            given = shown(",".join(row))
            raise PublishedError(f"{where}: {given} has {len(row)} values, it must have {len(rules)}")
        texts = dict(zip(rules, row, strict=True))
        for column, (is_right, words) in rules.items():
            _require(is_right(texts[column]), where, column, texts, words)
        key, value = _entry(name, where, texts)
        if key in values:
            what = legible(texts.get("name") or " ".join(row[:-1]))
            raise PublishedError(f"{where}: {what} stands in {lines_of[key]} already")
        values[key], lines_of[key] = value, where.removeprefix(f"{name} ")
    return _File(name, sources, values, hashlib.sha256(content).hexdigest())


def _entry(file: str, where: str, texts: Mapping[str, str]) -> tuple[Hashable, object]:
    """A line's key and value, of texts by column that the columns' rules allow."""
    value = float(texts["value"])
    if file == "statements.csv":
        return texts["name"], Statement(texts["paper"], texts["place"], value, texts["quote"].strip())
    method, metric, quantity = texts["method"], texts["metric"], texts.get("quantity", "best_accuracy")
    if quantity != "best_accuracy":
        _require(_WHOLE[0](texts["value"]), where, "value", texts, _WHOLE[1])
    elif metric in METRICS:
        _require(value <= 1, where, "value", texts, "an accuracy from 0 to 1")
        if file in _COUNTED:
            exact = round(value * POINTS[metric]) / POINTS[metric]
            words = f"a share of {POINTS[metric]} points, such as {exact:.4f}"
            _require(abs(value - exact) < ROUNDING, where, "value", texts, words)
    if "quantity" in texts:
        return (method, metric, quantity), value
    return PublishedPlace(method, metric, int(texts["depth"]), int(texts["width"])), value


def _require(is_right: object, where: str, column: str, texts: Mapping[str, str], words: str) -> None:
    if not is_right:
        raise PublishedError(f"{where}: {column}={shown(texts[column])} is not allowed: it must be {words}")


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise PublishedError(f"{legible(str(folder / name))} cannot be read: {error.strerror or error}") from None


def _check_sums(folder: Path, files: Iterable[_File]) -> None:
    lines = _content(folder, CHECKSUMS).decode(errors="replace").splitlines()
    wanted = {match[2]: match[1] for match in map(_CHECKSUM.fullmatch, lines) if match}
    for file in files:
        if file.name not in wanted:
            raise PublishedError(f"{CHECKSUMS} has no checksum of {file.name}")
        if wanted[file.name] != file.digest:
            given, known = file.digest[:12], wanted[file.name][:12]
            raise PublishedError(f"{file.name} was altered: its SHA-256 is {given}…, {CHECKSUMS} says {known}…")
