"""What paper Geometry states that needs no training: computed, each with a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from jumpstart_exp.config.entries import EntryError, read_entries
from jumpstart_exp.report.papers.claims import NOT_REPRODUCED, REPRODUCED, Criterion, check_call
from jumpstart_exp.report.papers.computed_measures import MEASURES
from jumpstart_exp.report.tables.table import Column, Table


@dataclass(frozen=True)
class Statement:
    """An entry of computed.yaml, which says what the keys mean."""

    name: str
    place: str
    statement: str
    measure: str
    measured: str
    of: Mapping[str, Any] = field(default_factory=dict)
    published: float | None = None
    least: float | None = None
    most: float | None = None
    reason: str = ""
    choice: str = ""
    digits: int = 2

    @property
    def criterion(self) -> Criterion:
        """What the measure has to be."""
        ends = {name: value for name, value in (("least", self.least), ("most", self.most)) if value is not None}
        return Criterion(reason=self.reason, **ends)

    def value(self) -> float:
        """The measure."""
        return MEASURES[self.measure](**self.of)


def read_statements(path: Path) -> tuple[Statement, ...]:
    """The statements of a file such as computed.yaml.

    Raises:
        EntryError: an entry has a wrong key or value, a measure or argument that there is not, or no criterion.
    """
    found = read_entries(path, Statement)
    for statement in found:
        where = f"{path.name}: {statement.name}"
        check_call(f"{where}: measure", statement.measure, MEASURES, (), statement.of)
        if statement.least is None and statement.most is None:
            raise EntryError(f"{where}: least or most is missing: nothing would be decided")
    return found


@cache
def statements() -> tuple[Statement, ...]:
    """Every statement of computed.yaml, in the paper's order."""
    return read_statements(Path(__file__).with_name("computed.yaml"))


def verdict(value: float, criterion: Criterion) -> str:
    """Reproduced if the value meets the criterion, else not reproduced.

    Raises:
        ValueError: the value is not a number.
    """
    if value != value:
        raise ValueError("a measure that is not a number decides nothing")
    return REPRODUCED if criterion.least <= value <= criterion.most else NOT_REPRODUCED


def geometry_claims_table() -> Table:
    """Every computed statement with the paper's number, ours, the criterion, the choice and the verdict."""
    rows = []
    for each in statements():
        value = each.value()
        rows.append(
            {
                "name": each.name,
                "place": each.place,
                "statement": each.statement,
                "published": each.published,
                "measured": each.measured,
                "ours": value,
                "shown": _shown(value, each.digits),
                "criterion": each.criterion.in_words(),
                "choice": each.choice,
                "verdict": verdict(value, each.criterion),
            }
        )
    values = pd.DataFrame(rows)
    counts = values["verdict"].value_counts()
    told = ", ".join(f"{counts.get(name, 0)} {name}" for name in (REPRODUCED, NOT_REPRODUCED))
    return Table(
        caption=f"What paper Geometry states that needs no training: {told}. Nothing is drawn at random but the lines "
        "of one statement and the batches of another, so that there are no intervals.",
        values=values,
        columns=(
            Column("where", "{place}", "l"),
            Column("the paper", "{statement}", "l", width=4.5),
            Column("published", "{published:g}"),
            Column("what is computed", "{measured}", "l", width=4),
            Column("ours", "{shown}"),
            Column("criterion", "{criterion}", "l", width=2.5),
            Column("choice", "{choice}", "l", missing="", width=3.5),
            Column("verdict", "{verdict}", "l"),
        ),
        shown_only=("shown",),
    )


def _shown(value: float, digits: int) -> str:
    """With so many digits behind the point; what would be 0 then, and is not, by its power of ten."""
    return f"{value:.{digits}f}" if value == 0 or abs(value) >= 10**-digits else f"{value:.0e}"
