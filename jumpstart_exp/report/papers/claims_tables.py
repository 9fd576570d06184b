"""The papers' statements with their verdicts as Markdown, LaTeX and CSV: writing only."""

from collections.abc import Sequence
from pathlib import Path

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.papers.claims import NOT_TRAINED, VERDICTS, Claim, Finding, count_verdicts
from jumpstart_exp.report.papers.comparison_tables import ComparisonTable, WithCommand, blank, write_table
from jumpstart_exp.report.table.names import dataset_title

FRONTIER_TOLD = (
    "Greatest depths of MOONS are counted from a width's first depth that trains, because with one hidden layer plain "
    "ReLU networks of up to 15 units reach 0.95 on MOONS in fewer than half of the seeds; of the authors' depths 1, "
    "10, 20, … that gives the same as counting from 10, whereas ours can also end at the depths between, if the study "
    "has them. The headline × is counted word for word, from the grid's shallowest depth: it stands in the frontier's "
    "tables, with this one and lower thresholds beside it as its sensitivity."
)
"""How the claims count frontiers, and why."""

_NUMBERS = (
    *("name", "paper", "place", "statement", "published", "measured", "criterion", "by_table", "variant"),
    *("value", "low", "high", "count", "unit", "is_at_least", "verdict", "note", "command", "quote"),
)
_COLUMNS = (2.0, 4.5, 4.5, 1.8, 1.4, *(width for _ in VARIANTS for width in (2.2, 3.0)))  # centimetres, in LaTeX


def write_claims(claims: Sequence[Claim], folder: Path) -> list[Path]:
    """Write every statement with its verdicts as published_claims.md, .tex and .csv, those not trained at the end.

    Raises:
        OSError: the folder cannot be written.
    """
    heads = ["paper", "statement", "measured", "criterion", "by table"]
    heads += [f"{variant}: {word}" for variant in VARIANTS for word in ("ours", "verdict")]
    numbers: list[list[object]] = [[*_NUMBERS]]
    ordered = sorted(claims, key=_is_untrained)
    numbers += [_numbers(claim, finding) for claim in ordered for finding in claim.findings]
    rows = [_row(claim) for claim in ordered]
    columns = f"llllr{'ll' * len(VARIANTS)}"
    table = ComparisonTable(claims_caption(claims), tuple(heads), rows, numbers, columns, _COLUMNS)
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


def _row(claim: Claim) -> list[str | WithCommand]:
    row: list[str | WithCommand] = [
        f"{claim.paper}, {claim.place}",
        claim.statement,
        claim.measured,
        claim.criterion,
        claim.by_table or "–",
    ]
    for finding in claim.findings:
        said = "; ".join(part for part in (finding.verdict, finding.note) if part)
        row += [finding.ours or "–", said if finding.command is None else WithCommand(said, finding.command)]
    return row


def _numbers(claim: Claim, finding: Finding) -> list[object]:
    published = " ".join(f"{number:g}" for number in claim.published)
    said: list[object] = [claim.name, claim.paper, claim.place, claim.statement, published, claim.measured]
    own = finding.measure
    measured: list[object] = [""] * 6
    if own is not None:
        measured = [own.value, blank(own.low), blank(own.high), own.count, own.unit, own.is_at_least]
    verdict = [finding.verdict, finding.note, finding.command or "", claim.quote]
    return [*said, claim.criterion, claim.by_table, finding.variant, *measured, *verdict]
