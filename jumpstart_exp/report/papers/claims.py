"""What the papers state in words, beside ours, each with a verdict that the interval supports: statistics only."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jumpstart_exp.config.studies import VARIANTS, Study, study
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.papers.assertions import Assertion, Criterion, assertions
from jumpstart_exp.report.papers.comparison import MOONS_STUDIES, published_grid
from jumpstart_exp.report.papers.layouts import LEAST_SEEDS
from jumpstart_exp.report.papers.measures import MEASURES, ON_ONE_FIGURE, Measure, StudyCells
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.studies import StudyState, only_small

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
NOT_TRAINED = "not trained"

VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TRAINED)
"""What can be said of a statement."""


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
        numbers, criterion = assertion.published(published), assertion.required(published)
        dataset = study(assertion.study).dataset
        found.append(
            Claim(
                name=assertion.name,
                paper=assertion.paper,
                place=assertion.where(published),
                statement=assertion.statement.format(*numbers),
                quote=assertion.quote(published),
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
    ends = (
        "" if measure.low is None or measure.high is None else f" [{measure.low:.{digits}f}, {measure.high:.{digits}f}]"
    )
    unit = measure.unit if measure.count != 1 else measure.unit.removesuffix("s")
    return f"{_value(measure, digits)}{ends}, {measure.count} {unit}"


def count_verdicts(of: Sequence[Claim]) -> Mapping[str, Mapping[str, int]]:
    """How many statements got which verdict, by variant."""
    counts = Counter((finding.variant, finding.verdict) for claim in of for finding in claim.findings)
    return {variant: {verdict: counts[variant, verdict] for verdict in VERDICTS} for variant in VARIANTS}


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
