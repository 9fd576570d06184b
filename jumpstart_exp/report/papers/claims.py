"""What the papers state in words, beside ours, each with a verdict that the interval supports: statistics only."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jumpstart_exp.config.entries import EntryError, read_entries
from jumpstart_exp.config.studies import VARIANTS, Study, study
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.papers.comparison import LEAST_SEEDS, MOONS_STUDIES, published_grid
from jumpstart_exp.report.papers.measures import MEASURES, ON_ONE_FIGURE, Measure, StudyCells
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.studies import StudyState, only_small

VERDICTS = REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TRAINED = (
    "reproduced",
    "not reproduced",
    "undecided",
    "not trained",
)
"""What can be said of a statement."""

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
        if self.least == ABOVE_ZERO:
            ends = "above 0"
        elif math.isinf(self.least):
            ends = f"at most {self.most:g}"
        elif math.isinf(self.most):
            ends = f"at least {self.least:g}"
        else:
            ends = f"from {self.least:g} to {self.most:g}"
        return f"{ends} ({self.reason})" if self.reason else ends


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


@dataclass(frozen=True)
class Finding:
    """A statement on ours in one variant.

    `ours` is the measure in words, empty where there is none; `note` says why there is none, or what is missing.
    `command` trains what is missing, None where nothing is.
    """

    variant: str
    verdict: str
    ours: str
    measure: Measure | None
    note: str
    command: str | None


@dataclass(frozen=True)
class Claim:
    """A published statement, and what ours say of it in both variants.

    `criterion` is what the measure has to be for the statement to be reproduced. `published` are its numbers;
    `by_table` is what the authors' own table of MOONS gives for the same measure, empty where there is no such table.
    A network of `dataset` trains if its training accuracy is at least `threshold`.
    """

    name: str
    paper: str
    place: str
    statement: str
    quote: str
    measured: str
    published: tuple[float, ...]
    by_table: str
    criterion: str
    findings: tuple[Finding, ...]
    dataset: str = ""
    threshold: float | None = None


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


def claims(
    cells: Mapping[tuple[str, str], StudyCells],
    states: Sequence[StudyState],
    published: Published,
    threshold: float | None,
) -> tuple[Claim, ...]:
    """Every statement with its verdicts, in the papers' order.

    Args:
        cells: by study and variant.
        states: how much of every study and variant the store has.
        published: the published numbers.
        threshold: training accuracy from which on a network trains, as in `cells`; None for each dataset's own.
    """
    authors = published_grid(published.moons).at_threshold(threshold)
    found = []
    for assertion in assertions():
        numbers = tuple(map(published.number, assertion.numbers))
        stated = {name: published.statements[name] for name in assertion.numbers if name in published.statements}
        criterion = CRITERIA[assertion.criterion](*numbers, **assertion.by)
        dataset = study(assertion.study).dataset
        found.append(
            Claim(
                name=assertion.name,
                paper=assertion.paper,
                place=(assertion.place or stated[assertion.numbers[0]].place).removeprefix(f"{assertion.paper}, "),
                statement=assertion.statement.format(*numbers),
                quote=" ".join(dict.fromkeys(statement.quote for statement in stated.values())),
                measured=assertion.measured,
                published=numbers,
                by_table=_by_table(assertion, authors),
                criterion=criterion.in_words(),
                findings=tuple(
                    _finding(assertion, criterion, cells[assertion.study, variant], states, variant)
                    for variant in VARIANTS
                ),
                dataset=dataset,
                threshold=DATASETS[dataset].threshold if threshold is None else threshold,
            )
        )
    return tuple(found)


def judge(measure: Measure, criterion: Criterion) -> str:
    """The verdict: reproduced if the whole interval meets the criterion, not reproduced if none of it does.

    With fewer than three seeds (or pairs), at any place that it is about, nothing is decided. Of a measure that may be
    greater only the lower end counts.
    """
    if measure.low is None or measure.high is None or measure.count < LEAST_SEEDS or measure.few_places:
        return UNDECIDED
    high = math.inf if measure.is_at_least else measure.high
    if criterion.least <= measure.low and high <= criterion.most:
        return REPRODUCED
    if high < criterion.least or measure.low > criterion.most:
        return NOT_REPRODUCED
    return UNDECIDED


def in_words(measure: Measure, digits: int) -> str:
    """The measure with its interval and its seeds: 60 [25, 60], 10 seeds."""
    ends = "" if measure.low is None else f" [{measure.low:.{digits}f}, {measure.high:.{digits}f}]"
    unit = measure.unit if measure.count != 1 else measure.unit.removesuffix("s")
    return f"{_value(measure, digits)}{ends}, {measure.count} {unit}"


def _value(measure: Measure, digits: int) -> str:
    return f"{'at least ' if measure.is_at_least else ''}{measure.value:.{digits}f}"


def _by_table(assertion: Assertion, authors: FigureGrid) -> str:
    if assertion.measure not in ON_ONE_FIGURE or assertion.study not in MOONS_STUDIES:
        return ""
    measure = ON_ONE_FIGURE[assertion.measure](authors, **assertion.of)
    return "" if measure is None else _value(measure, assertion.digits)


def _finding(
    assertion: Assertion, criterion: Criterion, cells: StudyCells, states: Sequence[StudyState], variant: str
) -> Finding:
    command = study(assertion.study).command(variant)
    measure = MEASURES[assertion.measure](cells, **assertion.of)
    if measure is None:
        note = _why_not(study(assertion.study), states, variant)
        return Finding(variant, NOT_TRAINED, "", None, note, command)
    verdict, ours = judge(measure, criterion), in_words(measure, assertion.digits)
    note = _too_few(measure) if verdict == UNDECIDED else ""
    needs_more = note != "" or (verdict == UNDECIDED and measure.is_at_least)
    return Finding(variant, verdict, ours, measure, note, command if needs_more else None)


def _too_few(measure: Measure) -> str:
    """Why so few seeds decide nothing; empty where there are enough."""
    if measure.few_places:
        count = measure.few_places
        return f"{count} place{'s have' if count > 1 else ' has'} fewer than {LEAST_SEEDS} seeds"
    return f"fewer than {LEAST_SEEDS} {measure.unit}" if measure.count < LEAST_SEEDS else ""


def _why_not(wanted: Study, states: Sequence[StudyState], variant: str) -> str:
    """What the store has of a study that is not enough for a measure."""
    state = next((own for own in states if (own.study, own.variant) == (wanted, variant)), None)
    if state is not None:
        complete = len(state.complete_seeds)
        return f"{state.present} of {state.places} places have a seed, {complete} seeds are complete"
    small = only_small(states, wanted.name, variant)
    return "" if small is None else f"only {small.name} is trained, which is not comparable"


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
