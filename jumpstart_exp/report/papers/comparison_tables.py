"""The comparison with the published numbers, and the papers' statements with their verdicts, as tables."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.captions import lost_told, means_told, over_seeds_told, wilson_coverage_told
from jumpstart_exp.report.papers.claims import VERDICTS, Claim
from jumpstart_exp.report.papers.comparison import GridComparison, by_method
from jumpstart_exp.report.papers.comparison_figures import METRIC_TITLES, caption, seeds_in_words
from jumpstart_exp.report.papers.layouts import IN_BRACKETS, TITLES, LayoutComparison
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_BOOTSTRAP, LEAST_FOR_INTERVAL
from jumpstart_exp.report.statistics.seedwise import Interval
from jumpstart_exp.report.table.names import dataset_title, method_title
from jumpstart_exp.report.tables.table import MISSING, Cell, Column, Table, WithCommand, at, interval

FRONTIER_TOLD = (
    "Greatest depths of MOONS are counted from a width's first depth that trains, because with one hidden layer plain "
    "ReLU networks of up to 15 units reach 0.95 on MOONS in fewer than half of the seeds. A statement about what the "
    "authors' table has is judged at the depths that both have, and says so: between them ours could end, theirs not. "
    "The headline × is counted word for word, from the grid's shallowest depth: it stands in the frontier's "
    "tables, with this one and lower thresholds beside it as its sensitivity."
)
"""How the claims count frontiers, and why."""

_QUANTITIES = {
    "best_accuracy": "best overall accuracy",
    "networks_that_train": "networks that train",
    "best_for_the_pair": "best for the depth-width pair",
}
_MEASURES = {"distance": "mean absolute difference", "agreement": "share on the same side of the threshold"}
_FINDING = (
    *("name", "paper", "place", "statement", "published", "measured", "criterion", "by_table", "variant"),
    *(
        "value",
        "low",
        "high",
        "least",
        "most",
        "count",
        "unit",
        "is_at_least",
        "is_at_most",
        "verdict",
        "note",
        "command",
        "quote",
        "ours",
    ),
)
_METHOD = Column("method", lambda row: method_title(row.method, None, None), "l")
_METRIC = Column("metric", lambda row: METRIC_TITLES[row.metric], "l")


def methods_table(comparison: GridComparison, each: pd.DataFrame) -> Table:
    """A grid's comparison, of its `places`, method by method."""
    text = (
        f"{_title(comparison)}: ours (mean over seeds) against the published values "
        "(one seed). Inside: places whose published value lies between our lowest and highest seed, of those with two "
        "seeds or more; were it one more seed of ours, at least the expected number would, of each "
        "place (n − 1)/(n + 1) with n seeds. "
        f"{_left_out(comparison)} {caption(comparison)}"
    ).strip()
    columns = (
        *(_METHOD, _METRIC),
        Column("places", "{places}"),
        Column("mean absolute difference", "{distance:.3f}"),
        Column("mean difference", "{shift:+.3f}"),
        Column("inside", "{inside} of {judged}"),
        Column("expected inside", "{expected:.1f}"),
    )
    return Table(text, by_method(each), columns)


def small_table(comparison: GridComparison, each: pd.DataFrame) -> Table:
    """A published table of few networks (SepCons, table 2) beside ours, of its `places`."""
    fewest, most = comparison.ours.seed_range()
    text = (
        f"{_title(comparison)}: ours against the published values (one seed). "
        "Reached: the share of seeds that come up to the published value, with its Wilson interval "
        f"({wilson_coverage_told(fewest)}); ours: the mean, {means_told(fewest, most)}; range from our lowest to our "
        "highest seed. The published losses were taken at the best "
        "accuracy; the store's best loss is the smallest, so losses are not compared. "
        f"{_left_out(comparison)}"
    )
    columns = (
        *(_METHOD, _METRIC),
        Column("depth×width", "{depth}×{width}"),
        Column("published", "{published:.4f}"),
        Column("reached", "{reached} of {seeds} [{reached_low:.2f}, {reached_high:.2f}]"),
        Column("ours", interval("mean", "", IN_BRACKETS)),
        Column("range", "{least:.3f} to {most:.3f}"),
    )
    return Table(text, each, columns)


def layouts_table(layouts: Sequence[LayoutComparison]) -> Table:
    """Which layout of the MOONS network is nearer to the published figure."""
    lost = "; ".join(f"{TITLES[variant]}: {words}" for variant, words in layouts[0].lost.items())
    text = (
        "Which layout of the MOONS network reproduces the published figure? Training accuracy at the best epoch, every "
        f"seed of ours against the published one; {over_seeds_told(_most(layouts))}; the difference is paired by "
        f"seed and place. {lost}: left out of the mean absolute difference, counted as not trained. All methods: "
        f"{layouts[0].verdict}"
    )
    rows = []
    for own in layouts:
        for measure in own.measures:
            row: dict[str, object] = {"methods": " ".join(own.methods), "measure": measure.name}
            for variant in VARIANTS:
                row |= _with_ends(variant, measure.of.get(variant))
                row[f"{variant}_between_seeds"] = own.between_seeds.get(variant)
            row |= _with_ends("difference", measure.difference)
            row |= {"nearer": measure.nearer, "places": own.places, "seeds": own.seeds, "verdict": own.verdict}
            rows.append(row | {"title": "all" if len(own.methods) > 1 else method_title(own.methods[0], None, None)})
    columns = (
        Column("methods", "{title}", "l"),
        Column("measure", lambda row: _MEASURES[row.measure], "l"),
        *(Column(TITLES[variant], interval(variant, form=IN_BRACKETS)) for variant in VARIANTS),
        Column("difference", interval("difference", form=IN_BRACKETS)),
        Column("nearer", lambda row: "undecided" if row.nearer is None else TITLES[row.nearer], "l"),
        Column("places", "{places}"),
        Column("seeds", lambda row: str(row.seeds or MISSING)),
    )
    return Table(text, pd.DataFrame(rows, dtype=object), columns, shown_only=("title",))


def mnist_table(table: pd.DataFrame, variant: str) -> Table:
    """CPAIOR's table 1 beside ours."""
    text = (
        f"MNIST, CPAIOR's table 1 beside ours (variant={variant}), one number for each of the "
        f"{table['seeds'].iloc[0]} seeds that have the whole table: their mean, "
        f"{over_seeds_told(int(table['seeds'].max()))}, and the range from the lowest "
        "to the highest seed."
    )
    columns = (
        Column("quantity", lambda row: _QUANTITIES[row.quantity], "l"),
        *(_METHOD, _METRIC),
        Column("published", "{published:g}"),
        Column("ours", interval("ours", "", IN_BRACKETS)),
        Column("range", "{least:.4g} to {most:.4g}"),
    )
    return Table(text, table, columns)


def claims_table(claims: Sequence[Claim]) -> Table:
    """Every statement with its verdicts, those not trained at the end."""
    rows = [
        {
            **vars(claim),
            "published": " ".join(f"{number:g}" for number in claim.published),
            **({} if finding.measure is None else vars(finding.measure)),
            **vars(finding),
        }
        for claim in sorted(claims, key=lambda claim: all(finding.measure is None for finding in claim.findings))
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
    return Table(claims_caption(claims), values, columns, by=("name",), shown_only=("ours",))


def claims_caption(claims: Sequence[Claim]) -> str:
    """How verdicts are made, and how many there are of each."""
    counts = Counter((finding.variant, finding.verdict) for claim in claims for finding in claim.findings)
    summary = "; ".join(
        f"variant={variant}: " + ", ".join(f"{counts[variant, verdict]} {verdict}" for verdict in VERDICTS)
        for variant in VARIANTS
    )
    measures = [own.measure for claim in claims for own in claim.findings if own.measure is not None]
    most = max((measure.count for measure in measures if measure.unit == "seeds"), default=0)
    frontiers = ", of frontiers by a bootstrap" * (most >= LEAST_FOR_INTERVAL)
    brackets = f", {over_seeds_told(most)}{frontiers}" if most else ""
    return (
        f"The papers' statements beside ours at the best epoch{brackets}. A statement "
        "is reproduced if the whole interval (where all seeds agree, their value) meets the criterion, not reproduced "
        "if none of it does, else undecided; contested where this variant meets the criterion and the other not. Fewer "
        f"than {LEAST_FOR_INTERVAL} seeds, at any of the places that it is about, decide nothing, nor do "
        f"fewer than {LEAST_FOR_BOOTSTRAP} about a frontier unless they agree. Toy: only the study in small is "
        "trained, on less data or for fewer epochs than published, which decides nothing. "
        f"{_thresholds_told(claims)}{FRONTIER_TOLD} By table: what the authors' own table of MOONS (one seed) gives by "
        f"the same rule. {summary}."
    )


def _thresholds_told(claims: Sequence[Claim]) -> str:
    """From which training accuracy on a network trains, of every data set that the statements are about."""
    used: dict[float | None, list[str]] = {}
    for dataset, threshold in dict.fromkeys((claim.dataset, claim.threshold) for claim in claims):
        used.setdefault(threshold, []).append(dataset_title(dataset))
    told = (f"{least:.4g} on {' and '.join(datasets)}" for least, datasets in used.items())
    return f"A network trains if its training accuracy is at least {', '.join(told)}. "


def _verdict(row: Any) -> Cell:
    said = "; ".join(part for part in (row.verdict, row.note) if part)
    return said if row.command is None else WithCommand(said, row.command)


def _with_ends(name: str, of: Interval | None) -> dict[str, float | None]:
    """The number as NAME, its interval and range as NAME_low, NAME_high, NAME_least and NAME_most."""
    ends = {end: None if of is None else getattr(of, end) for end in ("low", "high", "least", "most")}
    return {name: None if of is None else of.value, **{f"{name}_{end}": value for end, value in ends.items()}}


def _most(layouts: Sequence[LayoutComparison]) -> int:
    """The most seeds behind any number of the comparison."""
    return max((of.count for own in layouts for measure in own.measures for of in measure.of.values()), default=0)


def _title(comparison: GridComparison) -> str:
    layout = TITLES[comparison.variant] if comparison.study == "moons" else f"variant={comparison.variant}"
    seeds = seeds_in_words(comparison.ours)
    return f"{comparison.ours.dataset_title}, {layout}, best epoch, {seeds}"


def _left_out(comparison: GridComparison) -> str:
    return f"{lost_told(comparison.ours)}: left out of means, ranges and counts."
