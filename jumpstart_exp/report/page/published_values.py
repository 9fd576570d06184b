"""What the papers publish, placed beside each study of the page."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.papers.claims import NOT_TRAINED, Claim
from jumpstart_exp.report.papers.layouts import TITLES, LayoutComparison, interval_words
from jumpstart_exp.report.papers.published import METRICS, Published, PublishedPlace
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.names import method_title
from jumpstart_exp.report.table.studies import StudyTable

_MARKS = {"reproduced": "yes", "not reproduced": "no"}


def published_beside(table: pd.DataFrame, grids: Sequence[FigureGrid], published: Published) -> list[dict[str, Any]]:
    """For each grid its published values, as entries of the page's head; empty where there are none.

    A value stands beside a method if rows of it belong to the published study, in the papers' words or as the
    authors' code did it, whatever their seeds.
    """
    of_keys = _published_of(table, published)
    keys = table["key"].astype(str).tolist()
    found: list[dict[str, Any]] = []
    for grid in grids:
        values: list[tuple[str, int, int, int, float]] = []
        sources: list[str] = []
        elsewhere = 0
        for index in range(len(grid.methods)):
            own = {keys[row] for row in grid.rows[index].reshape(-1) if row >= 0}
            named = {entry for key in own for entry in of_keys.get(key, ())}
            for source, method in sorted(named):
                sources += _sources(source, published)
                for place, value in _values(source, published, method):
                    if place.depth in grid.depths and place.width in grid.widths:
                        at = grid.depths.index(place.depth), grid.widths.index(place.width)
                        values.append((place.metric.removesuffix("_best"), index, *at, value))
                    else:
                        elsewhere += 1
        if values:
            entry = {"values": sorted(set(values)), "sources": list(dict.fromkeys(sources)), "elsewhere": elsewhere}
            found.append({"published": entry})
        else:
            found.append({})
    return found


def claim_entries(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """The papers' statements with ours and the verdicts, as entries of the page's head."""
    return [
        {
            "place": f"{claim.paper}, {claim.place}",
            "statement": claim.statement,
            "quote": claim.quote,
            "measured": claim.measured,
            "published": " / ".join(f"{value:g}" for value in claim.published),
            "by_table": claim.by_table,
            "criterion": claim.criterion,
            "is_trained": any(finding.verdict != NOT_TRAINED for finding in claim.findings),
            "findings": [
                {
                    "variant": finding.variant,
                    "verdict": finding.verdict,
                    "mark": _MARKS.get(finding.verdict, "open"),
                    "ours": finding.ours,
                    "note": finding.note,
                    "command": finding.command,
                }
                for finding in claim.findings
            ],
        }
        for claim in claims
    ]


def layout_entries(layouts: Sequence[LayoutComparison]) -> list[dict[str, Any]]:
    """Which layout of the MOONS network is nearer to the published figure, as entries of the page's head."""
    return [
        {
            "methods": "all methods"
            if index == 0 and len(own.methods) > 1
            else ", ".join(method_title(label, None, None) for label in own.methods),
            "places": own.places,
            "seeds": own.seeds,
            "verdict": own.verdict,
            "lost": [f"{TITLES[variant]}: {own.lost[variant]}" for variant in VARIANTS if variant in own.lost],
            "variants": [TITLES[variant] for variant in VARIANTS],
            "measures": [
                {
                    "name": measure.name,
                    "of": [interval_words(measure.of[each]) if each in measure.of else "–" for each in VARIANTS],
                    "difference": "–" if measure.difference is None else interval_words(measure.difference),
                    "nearer": "undecided" if measure.nearer is None else TITLES[measure.nearer],
                }
                for measure in own.measures
            ],
        }
        for index, own in enumerate(layouts)
    ]


_FILES = {"moons": "moons_grid.csv", "moons_50x4": "moons_50x4.csv", "cifar10": "iclr_cifar10.csv"}
_STUDIES = {
    "moons": ("cpaior_moons", "iclr_moons", "sepcons_moons"),
    "moons_50x4": ("table2_50x4",),
    "cifar10": ("iclr_cifar10",),
}


def _published_of(table: pd.DataFrame, published: Published) -> Mapping[str, set[tuple[str, str]]]:
    """By the rows' keys: which published numbers (their field) they repeat, under which method's name."""
    studies = StudyTable(table)
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for source, names in _STUDIES.items():
        for name in names:
            for variant in VARIANTS:
                rows = studies.rows(name, variant)
                for key, labels in zip(rows["key"].astype(str), rows["labels"], strict=True):
                    found[key] |= {(source, label) for label in labels}
    return found


def _values(source: str, published: Published, method: str) -> list[tuple[PublishedPlace, float]]:
    values: Mapping[PublishedPlace, float] = getattr(published, source)
    return [(place, value) for place, value in values.items() if place.method == method and place.metric in METRICS]


def _sources(source: str, published: Published) -> Sequence[str]:
    return published.sources.get(_FILES[source], ())
