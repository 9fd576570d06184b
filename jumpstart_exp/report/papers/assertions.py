"""A statement of a paper: what it says, how it is measured, and what ours have to be for it to be reproduced."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jumpstart_exp.config.entries import EntryError, read_entries
from jumpstart_exp.config.studies import study
from jumpstart_exp.report.papers.measures import MEASURES
from jumpstart_exp.report.papers.published import Published

ABOVE_ZERO = math.nextafter(0.0, 1.0)
"""The least of a criterion that 0 itself does not meet."""


@dataclass(frozen=True)
class Criterion:
    """What a measure has to be: from `least` to `most`, both included; `reason` says where the ends come from."""

    least: float = -math.inf
    most: float = math.inf
    reason: str = ""

    def in_words(self) -> str:
        """The criterion as it stands beside the verdict."""
        return f"{self._ends()} ({self.reason})" if self.reason else self._ends()

    def _ends(self) -> str:
        if self.least == ABOVE_ZERO:
            return "above 0"
        if math.isinf(self.least):
            return f"at most {self.most:g}"
        return f"at least {self.least:g}" if math.isinf(self.most) else f"from {self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Assertion:
    """One statement of a paper, an entry of claims.yaml, which says what the keys mean."""

    name: str
    paper: str
    study: str
    statement: str
    numbers: tuple[str, ...]
    measure: str
    of: Mapping[str, Any]
    measured: str
    digits: int
    criterion: str
    by: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""

    def published(self, published: Published) -> tuple[float, ...]:
        """The published numbers.

        Raises:
            PublishedError: one is not there.
        """
        return tuple(published.number(name) for name in self.numbers)

    def required(self, published: Published) -> Criterion:
        """What ours have to be."""
        return CRITERIA[self.criterion](*self.published(published), **self.by)

    def where(self, published: Published) -> str:
        """Where in the paper: as the first number's line says, unless it is a table's."""
        stated = published.statements.get(self.numbers[0])
        place = self.place or (stated.place if stated else "table 1")
        return place.removeprefix(f"{self.paper}, ")

    def quote(self, published: Published) -> str:
        """The paper's own sentences, each once."""
        found = [published.statements[name].quote for name in self.numbers if name in published.statements]
        return " ".join(dict.fromkeys(found))


def at_least(number: float, *_: float, value: float | None = None, tolerance: float = 0) -> Criterion:
    """The measure comes up to the first published number, or to `value`."""
    return Criterion(least=round((number if value is None else value) - tolerance, 6))


def at_most(number: float, *_: float, value: float | None = None, tolerance: float = 0) -> Criterion:
    """The measure does not go beyond the first published number, or beyond `value`."""
    return Criterion(most=round((number if value is None else value) + tolerance, 6))


def within(number: float, *, distance: float) -> Criterion:
    """The measure is the published number or no further from it."""
    return Criterion(number - distance, number + distance, f"within {distance:g} of the published {number:g}")


def near(number: float, *, share: float) -> Criterion:
    """The measure is the published number or off by no more than this share of it."""
    return Criterion(round(number * (1 - share), 3), round(number * (1 + share), 3))


def above_zero(*_: float) -> Criterion:
    """The measure, a difference, has the published sign."""
    return Criterion(least=ABOVE_ZERO)


def more_than_half(*numbers: float) -> Criterion:
    """The measure, a count, is more than half of the last published number."""
    return Criterion(least=numbers[-1] // 2 + 1)


CRITERIA: Mapping[str, Callable[..., Criterion]] = {
    criterion.__name__: criterion for criterion in (at_least, at_most, within, near, above_zero, more_than_half)
}
"""What a claim's `criterion` can be."""


@cache
def assertions() -> tuple[Assertion, ...]:
    """Every statement of claims.yaml."""
    return read_assertions(Path(__file__).with_name("claims.yaml"))


def read_assertions(path: Path) -> tuple[Assertion, ...]:
    """The statements of a file such as claims.yaml.

    Raises:
        EntryError: an entry has a wrong key or value, or a study, measure, criterion or argument that there is not.
    """
    found = read_entries(path, Assertion)
    for claim in found:
        where = f"{path.name}: {claim.name}"
        try:
            study(claim.study)
        except ValueError as error:
            raise EntryError(f"{where}: {error}") from None
        _check_call(f"{where}: measure", claim.measure, MEASURES, ("cells",), claim.of)
        _check_call(f"{where}: criterion", claim.criterion, CRITERIA, claim.numbers, claim.by)
    return found


def _check_call(
    where: str, name: str, known: Mapping[str, Callable[..., Any]], first: tuple[str, ...], given: Mapping[str, Any]
) -> None:
    """Whether there is such a function, and it can be called with these arguments.

    Raises:
        EntryError: not so.
    """
    if name not in known:
        raise EntryError(f"{where}={name} is not allowed: one of {', '.join(known)}")
    try:
        inspect.signature(known[name]).bind(*first, **given)
    except TypeError as error:
        raise EntryError(f"{where}={name}: {error}") from None
