"""What the papers publish, placed beside each study of the page."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.page.claimed_cells import ClaimedCells
from jumpstart_exp.report.page.packing import picked
from jumpstart_exp.report.papers.claims import NOT_TRAINED, Claim
from jumpstart_exp.report.papers.layouts import TITLES, LayoutComparison, interval_words
from jumpstart_exp.report.papers.published import METRICS, Published
from jumpstart_exp.report.statistics.seedwise import Interval
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.names import method_title
from jumpstart_exp.report.table.studies import StudyTable

_MARKS = {"reproduced": "yes", "not reproduced": "no"}
_FILES = {"moons": "moons_grid.csv", "moons_50x4": "moons_50x4.csv", "cifar10": "iclr_cifar10.csv"}
_STUDIES = {
    "moons": ("cpaior_moons", "iclr_moons", "sepcons_moons"),
    "moons_50x4": ("table2_50x4",),
    "cifar10": ("iclr_cifar10",),
}


def published_beside(table: pd.DataFrame, grids: Sequence[FigureGrid], published: Published) -> list[dict[str, Any]]:
    """For each grid its published values, as entries of the page's head; empty where there are none.

    A value stands beside a method if rows of it belong to the published study, in the papers' words or as the
    authors' code did it, whatever their seeds.
    """
    repeated = _repeated(table)
    keys = table["key"].astype(str).tolist()
    found: list[dict[str, Any]] = []
    for grid in grids:
        values: set[tuple[str, int, int, int, float]] = set()
        sources: list[str] = []
        elsewhere = 0
        for index, own in enumerate(grid.rows):
            for source, method in sorted({entry for row in own[own >= 0] for entry in repeated.get(keys[row], ())}):
                sources += published.sources.get(_FILES[source], ())
                for place, value in getattr(published, source).items():
                    if place.method != method or place.metric not in METRICS:
                        continue
                    if place.depth in grid.depths and place.width in grid.widths:
                        at = grid.depths.index(place.depth), grid.widths.index(place.width)
                        values.add((place.metric.removesuffix("_best"), index, *at, value))
                    else:
                        elsewhere += 1
        entry = {"values": sorted(values), "sources": [*dict.fromkeys(sources)], "elsewhere": elsewhere}
        found.append({"published": entry} if values else {})
    return found


def _repeated(table: pd.DataFrame) -> Mapping[str, set[tuple[str, str]]]:
    """By the rows' keys: which published numbers (their field) they repeat, under which method's name."""
    studies = StudyTable.of(table)
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for source, names in _STUDIES.items():
        for name in names:
            for variant in VARIANTS:
                rows = studies.rows(name, variant)
                for key, labels in zip(rows["key"].astype(str), rows["labels"], strict=True):
                    found[key] |= {(source, label) for label in labels}
    return found


def claim_entries(claims: Iterable[Claim], cells: ClaimedCells) -> list[dict[str, Any]]:
    """The papers' statements with ours, verdicts and the cells that they are about, as entries of the page's head."""
    return [
        {
            **picked(claim, "name", "statement", "quote", "measured", "by_table", "criterion"),
            "place": f"{claim.paper}, {claim.place}",
            "published": " / ".join(f"{value:g}" for value in claim.published),
            "metric": cells.metric_of(claim.name),
            "is_trained": any(finding.verdict != NOT_TRAINED for finding in claim.findings),
            "findings": [
                {
                    **picked(finding, "variant", "verdict", "ours", "note", "command"),
                    "mark": _MARKS.get(finding.verdict, "open"),
                    "measure": finding.measure and picked(finding.measure, "value", "low", "high", "count", "unit"),
                    "cells": cells.of(claim.name, finding.variant),
                }
                for finding in claim.findings
            ],
        }
        for claim in claims
    ]


def layout_entries(layouts: Sequence[LayoutComparison], cells: ClaimedCells) -> list[dict[str, Any]]:
    """Which layout of the MOONS network is nearer to the published figure, as entries of the page's head."""
    return [
        {
            **picked(own, "places", "seeds", "verdict"),
            "methods": "all methods"
            if index == 0 and len(own.methods) > 1
            else ", ".join(method_title(label, None, None) for label in own.methods),
            "lost": [f"{TITLES[variant]}: {own.lost[variant]}" for variant in VARIANTS if variant in own.lost],
            "variants": [TITLES[variant] for variant in VARIANTS],
            "cells": [cells.of_layout(variant, own.methods) for variant in VARIANTS],
            "measures": [
                {
                    "name": measure.name,
                    "of": [_interval(measure.of.get(each)) for each in VARIANTS],
                    "difference": _interval(measure.difference),
                    "nearer": "undecided" if measure.nearer is None else TITLES[measure.nearer],
                }
                for measure in own.measures
            ],
        }
        for index, own in enumerate(layouts)
    ]


def _interval(of: Interval | None) -> dict[str, Any]:
    return {"words": "–"} if of is None else {"words": interval_words(of), **picked(of, "value", "low", "high")}
