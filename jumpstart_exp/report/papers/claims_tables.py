"""The papers' statements with their verdicts as a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.papers.claims import NOT_TRAINED, VERDICTS, Claim, count_verdicts
from jumpstart_exp.report.table.names import dataset_title
from jumpstart_exp.report.tables.table import MISSING, Cell, Column, Table, WithCommand, at, write_table

FRONTIER_TOLD = (
    "Greatest depths of MOONS are counted from a width's first depth that trains, because with one hidden layer plain "
    "ReLU networks of up to 15 units reach 0.95 on MOONS in fewer than half of the seeds; of the authors' depths 1, "
    "10, 20, … that gives the same as counting from 10, whereas ours can also end at the depths between, if the study "
    "has them. The headline × is counted word for word, from the grid's shallowest depth: it stands in the frontier's "
    "tables, with this one and lower thresholds beside it as its sensitivity."
)
"""How the claims count frontiers, and why."""

_FINDING = (
    *("name", "paper", "place", "statement", "published", "measured", "criterion", "by_table", "variant"),
    *("value", "low", "high", "count", "unit", "is_at_least", "verdict", "note", "command", "quote", "ours"),
)


def write_claims(claims: Sequence[Claim], folder: Path) -> list[Path]:
    """Write every statement with its verdicts as published_claims.md, .tex and .csv, those not trained at the end.

    Raises:
        OSError: the folder cannot be written.
    """
    ordered = sorted(claims, key=_is_untrained)
    rows = [
        {
            **vars(claim),
            "published": " ".join(f"{number:g}" for number in claim.published),
            **({} if finding.measure is None else vars(finding.measure)),
            **vars(finding),
        }
        for claim in ordered
        for finding in claim.findings
    ]
    columns = [
        Column("paper", "{paper}, {place}", "l", width=2.0),
        Column("statement", "{statement}", "l", width=4.5),
        Column("measured", "{measured}", "l", width=4.5),
        Column("criterion", "{criterion}", "l", width=1.8),
        Column("by table", "{by_table}", width=1.4),
    ]
    for variant in VARIANTS:
        ours = at("variant", variant, lambda row: row.ours or MISSING)
        columns.append(Column(f"{variant}: ours", ours, "l", width=2.2))
        columns.append(Column(f"{variant}: verdict", at("variant", variant, _verdict), "l", width=3.0))
    values = pd.DataFrame(rows, columns=[*_FINDING], dtype=object)
    table = Table(claims_caption(claims), values, columns, by=("name",), shown_only=("ours",))
    return write_table(table, folder, "published_claims")


def claims_caption(claims: Sequence[Claim]) -> str:
    """How verdicts are made, and how many there are of each."""
    counts = count_verdicts(claims)
    summary = "; ".join(
        f"variant={variant}: " + ", ".join(f"{counts[variant][verdict]} {verdict}" for verdict in VERDICTS)
        for variant in VARIANTS
    )
    return (
        "The papers' statements beside ours at the best epoch. In brackets the 95 % interval over seeds. A statement "
        "is reproduced if the whole interval meets the criterion, not reproduced if none of it does, else undecided; "
        "fewer than three seeds, at any of the places that it is about, decide nothing. "
        f"{_thresholds_told(claims)}{FRONTIER_TOLD} By table: what the authors' own table of MOONS (one seed) gives by "
        f"the same rule. {summary}."
    )


def _thresholds_told(claims: Sequence[Claim]) -> str:
    """From which training accuracy on a network trains, of every data set that the statements are about."""
    used: dict[float, list[str]] = {}
    for claim in claims:
        if claim.threshold is not None and claim.dataset not in (names := used.setdefault(claim.threshold, [])):
            names.append(claim.dataset)
    if not used:
        return ""
    told = (f"{least:.4g} on {' and '.join(map(dataset_title, names))}" for least, names in used.items())
    return f"A network trains if its training accuracy is at least {', '.join(told)}. "


def _is_untrained(claim: Claim) -> bool:
    return all(finding.verdict == NOT_TRAINED for finding in claim.findings)


def _verdict(row: Any) -> Cell:
    said = "; ".join(part for part in (row.verdict, row.note) if part)
    return said if row.command is None else WithCommand(said, row.command)
