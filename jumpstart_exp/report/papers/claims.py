"""What the papers state in words, beside ours, each with a verdict that the interval supports: statistics only."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from jumpstart_exp.config.entries import EntryError, read_entries
from jumpstart_exp.config.studies import VARIANTS, Study, study, study_cells
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.papers.comparison import MOONS_STUDIES, published_grid
from jumpstart_exp.report.papers.measures import MEASURES, ON_ONE_FIGURE, Measure, StudyCells
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_INTERVAL
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.studies import StudyState, only_small

VERDICTS = REPRODUCED, CONTESTED, NOT_REPRODUCED, UNDECIDED, TOY, NOT_TRAINED = (
    "reproduced",
    "contested",
    "not reproduced",
    "undecided",
    "toy",
    "not trained",
)
"""What can be said of a statement.

Contested: this variant meets the criterion, the other one does not. Toy: only the study in small is trained, on less
data or for fewer epochs than published, which decides nothing.
"""


@dataclass(frozen=True)
class Criterion:
    """What a measure has to be: from `least`, included, to `most`, included, or `below` it.

    `reason` says where the ends come from.
    """

    least: float = -math.inf
    most: float = math.inf
    reason: str = ""
    below: float = math.inf

    def in_words(self) -> str:
        """The criterion as it stands beside the verdict."""
        if not math.isinf(self.below):
            ends = f"at least {self.least:g} and below {self.below:g}"
        elif self.least == self.most:
            ends = f"{self.least:g}, no less and no more"
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

    `criterion` is what the measure has to be for the statement to be reproduced. `measured` says what the measure is,
    and at which depths if not at all of the study's. `published` are its numbers; `by_table` is what the authors' own
    table of MOONS gives for the same measure, empty where there is no such table.
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


def at_most(number: float, *_: float, value: float | None = None, tolerance: float = 0, reason: str = "") -> Criterion:
    """The measure does not go beyond the first published number, or beyond `value`."""
    return Criterion(most=round((number if value is None else value) + tolerance, 6), reason=reason)


def up_to(number: float, *_: float) -> Criterion:
    """The measure, a depth, comes up to the first published number and not beyond it."""
    return Criterion(number, number, "works up to there, and breaks down afterwards")


def breaks_down(number: float, *_: float, works_at: int) -> Criterion:
    """The measure, a depth, comes up to `works_at`, the last before the statement's, but not to the first number."""
    return Criterion(least=works_at, below=number, reason=f"works at {works_at}, breaks down at {number:g}")


def within(number: float, *, distance: float) -> Criterion:
    """The measure is the published number or no further from it."""
    return Criterion(number - distance, number + distance, f"within {distance:g} of the published {number:g}")


def near(number: float, *, share: float) -> Criterion:
    """The measure is the published number or off by no more than this share of it."""
    return Criterion(round(number * (1 - share), 3), round(number * (1 + share), 3))


def half_the_gain(number: float, other: float = 0.0) -> Criterion:
    """The measure, a difference, is half of the published one or more: of the number, or of the two numbers'."""
    gain = round(number - other, 6)
    return Criterion(least=round(gain / 2, 7), reason=f"half of the published {gain:g}")


CRITERIA: Mapping[str, Callable[..., Criterion]] = {
    criterion.__name__: criterion for criterion in (at_least, at_most, up_to, breaks_down, within, near, half_the_gain)
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
        check_call(f"{where}: measure", claim.measure, MEASURES, ("cells",), claim.of)
        check_call(f"{where}: criterion", claim.criterion, CRITERIA, claim.numbers, claim.by)
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
    at_authors = {
        (name, variant): replace(own, depths=authors.depths)
        for (name, variant), own in cells.items()
        if name in MOONS_STUDIES
    }
    found = []
    for assertion in assertions():
        numbers = tuple(map(published.number, assertion.numbers))
        stated = {name: published.statements[name] for name in assertion.numbers if name in published.statements}
        criterion = CRITERIA[assertion.criterion](*numbers, **assertion.by)
        dataset, is_of_table = study(assertion.study).dataset, _is_of_table(assertion, authors)
        own = {**cells, **at_authors} if is_of_table else cells
        findings = [_finding(assertion, criterion, own, states, variant) for variant in VARIANTS]
        found.append(
            Claim(
                name=assertion.name,
                paper=assertion.paper,
                place=(assertion.place or stated[assertion.numbers[0]].place).removeprefix(f"{assertion.paper}, "),
                statement=assertion.statement.format(*numbers),
                quote=" ".join(dict.fromkeys(statement.quote for statement in stated.values())),
                measured=assertion.measured + (_depths_told(assertion, authors) if is_of_table else ""),
                published=numbers,
                by_table=_by_table(assertion, authors) if is_of_table else "",
                criterion=criterion.in_words(),
                findings=contested(findings),
                dataset=dataset,
                threshold=DATASETS[dataset]().threshold if threshold is None else threshold,
            )
        )
    return tuple(found)


def judge(measure: Measure, criterion: Criterion) -> str:
    """The verdict: reproduced if the whole interval meets the criterion, not reproduced if none of it does.

    With too few seeds (or pairs) for an interval, at any place that it is about, nothing is decided; where all seeds
    agree, their value decides. Of a measure that may be greater only the lower end counts, of one that may be smaller
    only the upper end.
    """
    if (ends := measure.ends()) is None or measure.few_places:
        return UNDECIDED
    low = -math.inf if measure.is_at_most else ends[0]
    high = math.inf if measure.is_at_least else ends[1]
    if criterion.least <= low and high <= criterion.most and (high < criterion.below or math.isinf(criterion.below)):
        return REPRODUCED
    if high < criterion.least or low > criterion.most or low >= criterion.below:
        return NOT_REPRODUCED
    return UNDECIDED


def contested(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings of all variants, contested where one reproduces what another does not."""
    if NOT_REPRODUCED not in {finding.verdict for finding in findings}:
        return tuple(findings)
    return tuple(replace(each, verdict=CONTESTED) if each.verdict == REPRODUCED else each for each in findings)


def in_words(measure: Measure, digits: int) -> str:
    """The measure with its interval, or its range, and its seeds: 60 [25, 60], 10 seeds."""
    ends = ""
    if measure.low is not None:
        ends = f" [{measure.low:.{digits}f}, {measure.high:.{digits}f}]"
    elif measure.least is not None:
        ends = f" [range {measure.least:.{digits}f}, {measure.most:.{digits}f}]"
    unit = measure.unit if measure.count != 1 else measure.unit.removesuffix("s")
    return f"{_value(measure, digits)}{ends}, {measure.count} {unit}"


_BOUND = {(False, False): "", (True, False): "at least ", (False, True): "at most ", (True, True): "about "}
"""What stands before a measure, by whether it may be greater and whether it may be smaller."""


def _value(measure: Measure, digits: int) -> str:
    return f"{_BOUND[measure.is_at_least, measure.is_at_most]}{measure.value:.{digits}f}"


def _is_of_table(assertion: Assertion, authors: FigureGrid) -> bool:
    """Whether the authors' own table has what the statement is about: it is then judged at depths of both."""
    is_measured = assertion.measure in ON_ONE_FIGURE and assertion.study in MOONS_STUDIES
    return is_measured and {BASELINE, assertion.of["method"]} <= {*authors.methods}


def _depths_told(assertion: Assertion, authors: FigureGrid) -> str:
    own = {cell.depth for cell in study_cells(assertion.study, VARIANTS[0])}
    shared = [depth for depth in authors.depths if depth in own]
    return f"; at the {len(shared)} depths from {shared[0]} to {shared[-1]} that the authors' table has as well"


def _by_table(assertion: Assertion, authors: FigureGrid) -> str:
    measure = ON_ONE_FIGURE[assertion.measure](authors, **assertion.of)
    return "" if measure is None else _value(measure, assertion.digits)


def _finding(
    assertion: Assertion,
    criterion: Criterion,
    cells: Mapping[tuple[str, str], StudyCells],
    states: Sequence[StudyState],
    variant: str,
) -> Finding:
    wanted = study(assertion.study)
    command = wanted.command(variant)
    measure = MEASURES[assertion.measure](cells[assertion.study, variant], **assertion.of)
    if measure is None:
        small = only_small(states, wanted.name, variant)
        if small is None:
            return Finding(variant, NOT_TRAINED, "", None, _why_not(wanted, states, variant), command)
        measure = _in_small(assertion, cells[small.name, variant])
        ours = "" if measure is None else in_words(measure, assertion.digits)
        return Finding(variant, TOY, ours, measure, _smaller_told(wanted, small, variant), command)
    verdict, ours = judge(measure, criterion), in_words(measure, assertion.digits)
    note = _too_few(measure) if verdict == UNDECIDED else ""
    needs_more = note != "" or (verdict == UNDECIDED and (measure.is_at_least or measure.is_at_most))
    return Finding(variant, verdict, ours, measure, note, command if needs_more else None)


def _too_few(measure: Measure) -> str:
    """Why so few seeds decide nothing; empty where there are enough."""
    if measure.few_places:
        count = measure.few_places
        return f"{count} place{'s have' if count > 1 else ' has'} fewer than {LEAST_FOR_INTERVAL} seeds"
    if measure.count < LEAST_FOR_INTERVAL:
        return f"fewer than {LEAST_FOR_INTERVAL} {measure.unit}"
    return f"{measure.count} {measure.unit} are too few for a bootstrap" if measure.ends() is None else ""


def _why_not(wanted: Study, states: Sequence[StudyState], variant: str) -> str:
    """What the store has of a study that is not enough for a measure; empty for nothing."""
    state = next((own for own in states if (own.study, own.variant) == (wanted, variant)), None)
    if state is None:
        return ""
    complete = len(state.complete_seeds)
    return f"{state.present} of {state.places} places have a seed, {complete} seeds are complete"


def _in_small(assertion: Assertion, cells: StudyCells) -> Measure | None:
    """The measure of the study in small; None where that lacks a depth, width or rate that the statement names."""
    of, own = assertion.of, cells.places
    named = {
        "depth": {*of.get("depths", ()), *([of["depth"]] if "depth" in of else [])},
        "width": {*of.get("widths", ())},
    }
    has_all = all(values <= {getattr(cell, name) for cell in own} for name, values in named.items())
    if not has_all or of.get("rate") not in (None, *(cell.optimizer.lr for cell in own)):
        return None
    return MEASURES[assertion.measure](cells, **of)


def _smaller_told(wanted: Study, small: Study, variant: str) -> str:
    """What the study in small has of the study's training points, epochs and depth-width pairs."""
    own, whole = (study_cells(each.name, variant) for each in (small, wanted))
    parts = {
        "training points": [of[0].dataset.sizes()[0] for of in (own, whole)],
        "epochs": [of[0].optimizer.epochs for of in (own, whole)],
        "depth-width pairs": [len({(cell.depth, cell.width) for cell in of}) for of in (own, whole)],
    }
    told = ", ".join(f"{few:,} of {many:,} {words}" for words, (few, many) in parts.items())
    return f"only {small.name} is trained: {told}"


def check_call(
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
