"""A statement of a paper: what it says, how it is measured, and what ours have to be for it to be reproduced."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jumpstart_exp.report.papers.measures import Measure, StudyGrids
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.table.grid import FigureGrid

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
    """One statement of a paper.

    `quoted` are its published numbers: names of lines of statements.csv, METHOD/METRIC/QUANTITY of mnist_table1.csv, or
    METHOD/METRIC/DEPTH/WIDTH of moons_50x4.csv and iclr_cifar10.csv. `template` is the statement with places for them,
    and `required` makes the criterion of them. `measured` says what is measured, `digits` are those of the number.
    `measure` takes the store's figures and the variant; `of_grid`, where the measure is of one figure of `study`, that
    figure.
    """

    name: str
    paper: str
    place: str
    study: str
    quoted: tuple[str, ...]
    template: str
    measured: str
    required: Callable[..., Criterion]
    digits: int
    measure: Callable[[StudyGrids, str], Measure | None]
    of_grid: Callable[[FigureGrid], Measure | None] | None = None

    def statement(self, published: Published) -> str:
        """The statement with its published numbers."""
        return self.template.format(*self.numbers(published))

    def criterion(self, published: Published) -> Criterion:
        """What ours have to be."""
        return self.required(*self.numbers(published))

    def numbers(self, published: Published) -> tuple[float, ...]:
        """The published numbers.

        Raises:
            PublishedError: one is not there.
        """
        return tuple(published.number(name) for name in self.quoted)

    def where(self, published: Published) -> str:
        """Where in the paper: as the first quoted line says, unless it is a table's."""
        stated = published.statements.get(self.quoted[0])
        place = self.place or (stated.place if stated else "table 1")
        return place.removeprefix(f"{self.paper}, ")

    def quote(self, published: Published) -> str:
        """The paper's own sentences, each once."""
        found = [published.statements[name].quote for name in self.quoted if name in published.statements]
        return " ".join(dict.fromkeys(found))


Measured = Callable[[FigureGrid], Measure | None]


def of_figure(study: str, of_grid: Measured) -> Callable[[StudyGrids, str], Measure | None]:
    """The measure of a study's one figure, where the store has it."""

    def measure(grids: StudyGrids, variant: str) -> Measure | None:
        grid = grids.grid(study, variant)
        return None if grid is None else of_grid(grid)

    return measure


def at_least(value: float, *_: float) -> Criterion:
    """The measure comes up to the first published number."""
    return Criterion(least=value)


def at_most(value: float, *_: float) -> Criterion:
    """The measure does not go beyond the first published number."""
    return Criterion(most=value)


def positive(*_: float) -> Criterion:
    """The measure, a difference, has the published sign."""
    return Criterion(least=ABOVE_ZERO)
