"""The comparison with the published numbers as tables."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.captions import lost_told
from jumpstart_exp.report.papers.comparison import GridComparison, MethodComparison, PlaceComparison
from jumpstart_exp.report.papers.comparison_figures import METRIC_TITLES, caption, seeds_in_words
from jumpstart_exp.report.papers.layouts import TITLES, LayoutComparison
from jumpstart_exp.report.papers.mnist_table import TableComparison
from jumpstart_exp.report.statistics.seedwise import Interval
from jumpstart_exp.report.table.names import dataset_title, method_title
from jumpstart_exp.report.tables.table import MISSING, Column, Table, interval, write_table

_QUANTITIES = {
    "best_accuracy": "best overall accuracy",
    "networks_that_train": "networks that train",
    "best_for_the_pair": "best for the depth-width pair",
}
_MEASURES = {"distance": "mean absolute difference", "agreement": "share on the same side of the threshold"}
_IN_BRACKETS = "{:.3f} [{:.3f}, {:.3f}]"  # a number with its interval
_PLACE = (
    *("method", "metric", "depth", "width", "published", "mean", "low", "high", "least", "most", "seeds", "difference"),
    *("is_inside", "reached", "reached_low", "reached_high"),
)


def write_places(
    comparison: GridComparison, places: Sequence[PlaceComparison], methods: Sequence[MethodComparison], folder: Path
) -> list[Path]:
    """Write a grid's comparison method by method as STUDY_VARIANT_published, and number by number as …_places.csv.

    Raises:
        OSError: the folder cannot be written.
    """
    name = f"{comparison.study}_{comparison.variant}_published"
    titles = dict(zip(comparison.methods, comparison.method_titles, strict=True))
    text = (
        f"{_title(comparison)}, {seeds_in_words([comparison])}: ours (mean over seeds) against the published values "
        "(one seed). Inside: places whose published value lies between our lowest and highest seed, of those with two "
        "seeds or more; were it one more seed of ours, at least the expected number would, of each "
        "place (n − 1)/(n + 1) with n seeds. "
        f"{_left_out(comparison)} {caption(comparison)}"
    ).strip()
    columns = (
        Column("method", lambda row: titles[row.method], "l"),
        Column("metric", lambda row: METRIC_TITLES[row.metric], "l"),
        Column("places", "{places}"),
        Column("mean absolute difference", "{distance:.3f}"),
        Column("mean difference", "{shift:+.3f}"),
        Column("inside", "{inside} of {judged}"),
        Column("expected inside", "{expected:.1f}"),
    )
    names = ["method", "metric", "places", "distance", "shift", "inside", "judged", "expected"]
    values = pd.DataFrame([vars(own) for own in methods], columns=names, dtype=object)
    return [
        *write_table(Table(text, values, columns), folder, name),
        *write_table(Table("", _place_values(places)), folder, f"{name}_places", ("csv",)),
    ]


def write_small_table(comparison: GridComparison, places: Sequence[PlaceComparison], folder: Path) -> list[Path]:
    """Write a published table of few networks (SepCons, table 2) beside ours as STUDY_VARIANT_published.

    Raises:
        OSError: the folder cannot be written.
    """
    titles = dict(zip(comparison.methods, comparison.method_titles, strict=True))
    text = (
        f"{_title(comparison)}, {seeds_in_words([comparison])}: ours against the published values (one seed). In "
        "brackets the 95 % interval; range from our lowest to our highest seed; reached: the share of seeds that come "
        "up to the published value, with its Wilson interval (95 %). The published losses were taken at the best "
        "accuracy; the store's best loss is the smallest, so losses are not compared. "
        f"{_left_out(comparison)}"
    )
    columns = (
        Column("method", lambda row: titles[row.method], "l"),
        Column("metric", lambda row: METRIC_TITLES[row.metric], "l"),
        Column("depth×width", "{depth}×{width}"),
        Column("published", "{published:.4f}"),
        Column("ours", interval("mean", "low", "high", _IN_BRACKETS)),
        Column("range", "{least:.3f} to {most:.3f}"),
        Column("reached", "{reached} of {seeds} [{reached_low:.2f}, {reached_high:.2f}]"),
    )
    table = Table(text, _place_values(places), columns)
    return write_table(table, folder, f"{comparison.study}_{comparison.variant}_published")


def write_layouts(layouts: Sequence[LayoutComparison], folder: Path) -> list[Path]:
    """Write which layout of the MOONS network is nearer to the published figure as moons_layouts.md, .tex and .csv.

    Raises:
        OSError: the folder cannot be written.
    """
    lost = "; ".join(f"{TITLES[variant]}: {words}" for variant, words in layouts[0].lost.items())
    text = (
        "Which layout of the MOONS network reproduces the published figure? Training accuracy at the best epoch, every "
        "seed of ours against the published one; in brackets the 95 % interval over seeds; the difference is paired by "
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
        *(Column(TITLES[variant], interval(variant, form=_IN_BRACKETS)) for variant in VARIANTS),
        Column("difference", interval("difference", form=_IN_BRACKETS)),
        Column("nearer", lambda row: "undecided" if row.nearer is None else TITLES[row.nearer], "l"),
        Column("places", "{places}"),
        Column("seeds", lambda row: str(row.seeds or MISSING)),
    )
    table = Table(text, pd.DataFrame(rows, dtype=object), columns, shown_only=("title",))
    return write_table(table, folder, "moons_layouts")


def write_mnist(table: Sequence[TableComparison], variant: str, folder: Path) -> list[Path]:
    """Write CPAIOR's table 1 beside ours as mnist_table1_VARIANT_published.md, .tex and .csv.

    Raises:
        OSError: the folder cannot be written.
    """
    seeds = next(line.ours.seeds for line in table if line.ours is not None)
    text = (
        f"MNIST, CPAIOR's table 1 beside ours (variant={variant}), one number for each of the {seeds} seeds that have "
        "the whole table: their mean, in brackets its 95 % interval, and the range from the lowest to the highest seed."
    )
    rows = [
        {
            "quantity": own.quantity,
            "method": own.method,
            "metric": own.metric,
            "published": own.published,
            **_with_ends("ours", own.ours),
            "seeds": None if own.ours is None else own.ours.seeds,
            "least": own.least,
            "most": own.most,
        }
        for own in table
    ]
    values = pd.DataFrame(rows, dtype=object).rename(columns={"ours_low": "low", "ours_high": "high"})
    columns = (
        Column("quantity", lambda row: _QUANTITIES[row.quantity], "l"),
        Column("method", lambda row: method_title(row.method, None, None), "l"),
        Column("metric", lambda row: METRIC_TITLES[row.metric], "l"),
        Column("published", "{published:g}"),
        Column("ours", interval("ours", "low", "high", _IN_BRACKETS)),
        Column("range", "{least:.4g} to {most:.4g}"),
    )
    return write_table(Table(text, values, columns), folder, f"mnist_table1_{variant}_published")


def _place_values(places: Sequence[PlaceComparison]) -> pd.DataFrame:
    """A row for every published number, with ours."""
    rows = [{**vars(own.place), **vars(own), "difference": own.difference} for own in places]
    return pd.DataFrame(rows, columns=[*_PLACE], dtype=object)


def _with_ends(name: str, of: Interval | None) -> dict[str, float | None]:
    """The number and its interval as NAME, NAME_low and NAME_high."""
    value, low, high = (None, None, None) if of is None else (of.value, of.low, of.high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _title(comparison: GridComparison) -> str:
    layout = TITLES[comparison.variant] if comparison.study == "moons" else f"variant={comparison.variant}"
    return f"{dataset_title(comparison.grid.dataset)}, {layout}, best epoch"


def _left_out(comparison: GridComparison) -> str:
    lost = lost_told(comparison.diverged, comparison.failed, comparison.present)
    return f"{lost}: left out of means, ranges and counts."
