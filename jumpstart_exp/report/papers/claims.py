"""What the papers state in words, beside ours, each with a verdict that the interval supports: statistics only."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS, Study, study
from jumpstart_exp.data import DATASETS
from jumpstart_exp.report.papers.assertions import Assertion, Criterion
from jumpstart_exp.report.papers.assertions_images import IMAGE_ASSERTIONS
from jumpstart_exp.report.papers.assertions_moons import MOONS_ASSERTIONS
from jumpstart_exp.report.papers.comparison import MOONS_STUDIES, published_grid
from jumpstart_exp.report.papers.layouts import LEAST_SEEDS
from jumpstart_exp.report.papers.measures import Measure, StudyGrids
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.studies import StudyState, only_small, studies_in

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
NOT_TRAINED = "not trained"

VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TRAINED)
"""What can be said of a statement."""

ASSERTIONS: tuple[Assertion, ...] = (
    *(one for one in (*MOONS_ASSERTIONS, *IMAGE_ASSERTIONS) if one.paper == "CPAIOR"),
    *(one for one in (*MOONS_ASSERTIONS, *IMAGE_ASSERTIONS) if one.paper != "CPAIOR"),
)
"""Every statement, CPAIOR's first."""


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


def claims(table: pd.DataFrame, published: Published, threshold: float | None = None) -> tuple[Claim, ...]:
    """Every statement with its verdicts, in the papers' order.

    Args:
        table: the store's cells.
        published: the published numbers.
        threshold: training accuracy from which on a network trains; None for each dataset's own.
    """
    return judged_claims(StudyGrids(table, threshold), studies_in(table), published)


def judged_claims(grids: StudyGrids, states: Sequence[StudyState], published: Published) -> tuple[Claim, ...]:
    """Every statement with its verdicts, of figures that are made already."""
    authors = published_grid(published.moons).at_threshold(grids.threshold)
    found = []
    for assertion in ASSERTIONS:
        criterion = assertion.criterion(published)
        found.append(
            Claim(
                name=assertion.name,
                paper=assertion.paper,
                place=assertion.where(published),
                statement=assertion.statement(published),
                quote=assertion.quote(published),
                measured=assertion.measured,
                published=assertion.numbers(published),
                by_table=_by_table(assertion, authors),
                criterion=criterion.in_words(),
                findings=tuple(_finding(assertion, criterion, grids, states, variant) for variant in VARIANTS),
                dataset=(dataset := study(assertion.study).dataset),
                threshold=DATASETS[dataset].threshold if grids.threshold is None else grids.threshold,
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
    least = "at least " if measure.is_at_least else ""
    unit = measure.unit if measure.count != 1 else measure.unit.removesuffix("s")
    return f"{least}{measure.value:.{digits}f}{ends}, {measure.count} {unit}"


def count_verdicts(of: Sequence[Claim]) -> Mapping[str, Mapping[str, int]]:
    """How many statements got which verdict, by variant."""
    return {
        variant: {
            verdict: sum(
                finding.verdict == verdict for claim in of for finding in claim.findings if finding.variant == variant
            )
            for verdict in VERDICTS
        }
        for variant in VARIANTS
    }


def _by_table(assertion: Assertion, authors: FigureGrid) -> str:
    if assertion.of_grid is None or assertion.study not in MOONS_STUDIES:
        return ""
    measure = assertion.of_grid(authors)
    if measure is None:
        return ""
    return f"{'at least ' if measure.is_at_least else ''}{measure.value:.{assertion.digits}f}"


def _finding(
    assertion: Assertion, criterion: Criterion, grids: StudyGrids, states: Sequence[StudyState], variant: str
) -> Finding:
    trained_by = study(assertion.study)
    measure = assertion.measure(grids, variant)
    if measure is None:
        note = _why_not(trained_by, states, variant)
        return Finding(variant, NOT_TRAINED, "", None, note, trained_by.command(variant))
    verdict = judge(measure, criterion)
    few = _too_few(measure)
    needs_more = verdict == UNDECIDED and (few != "" or measure.is_at_least)
    note = few if verdict == UNDECIDED else ""
    command = trained_by.command(variant) if needs_more else None
    return Finding(variant, verdict, in_words(measure, assertion.digits), measure, note, command)


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
