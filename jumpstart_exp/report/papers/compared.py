"""Everything that the store supports against the published numbers: what is compared, and the files that show it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd

from jumpstart_exp.config.studies import VARIANTS, study
from jumpstart_exp.report.papers.claims import Claim, judged_claims
from jumpstart_exp.report.papers.claims_tables import write_claims
from jumpstart_exp.report.papers.comparison import (
    GridComparison,
    MethodComparison,
    PlaceComparison,
    by_method,
    compare_grid,
    places,
)
from jumpstart_exp.report.papers.comparison_figures import draw_comparison, draw_layouts
from jumpstart_exp.report.papers.comparison_tables import write_layouts, write_mnist, write_places, write_small_table
from jumpstart_exp.report.papers.layouts import LayoutComparison, compare_layouts
from jumpstart_exp.report.papers.measures import MOONS, StudyGrids
from jumpstart_exp.report.papers.mnist_table import TableComparison, compare_table
from jumpstart_exp.report.papers.published import Published, PublishedPlace, read_published
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.table.studies import StudyState, studies_in


@dataclass(frozen=True)
class Compared:
    """What the store has, against the published numbers.

    `grids` are published grids beside ours, by study ("moons", "table2_50x4", "iclr_cifar10") and variant; `places`
    and `methods` the same number by number, and method by method. `tables` is CPAIOR's table 1 by variant, in the
    published order, ours None where it is not trained. `layouts` says which layout of the MOONS network is nearer, for
    all methods first; empty where neither is there. `missing` are the published grids and tables of which the store
    has nothing: study, variant, and the command that trains it.
    """

    studies: tuple[StudyState, ...]
    claims: tuple[Claim, ...]
    grids: Mapping[tuple[str, str], GridComparison]
    places: Mapping[tuple[str, str], tuple[PlaceComparison, ...]]
    methods: Mapping[tuple[str, str], tuple[MethodComparison, ...]]
    tables: Mapping[str, tuple[TableComparison, ...]]
    layouts: tuple[LayoutComparison, ...]
    missing: tuple[tuple[str, str, str], ...]
    published: Mapping[str, Mapping[PublishedPlace, float]]

    def published_at(self, study: str, method: str, metric: str, depth: int, width: int) -> float | None:
        """The published accuracy of a study's network, a fraction in [0, 1]; None where none is published."""
        own = self.published.get(MOONS if study in _OF_MOONS else study, {})
        return own.get(PublishedPlace(method, metric, depth, width))


_TABLE = "mnist_table1"
_TRAINED_BY = {MOONS: "cpaior_moons"}
_OF_MOONS = ("cpaior_moons", "iclr_moons", "sepcons_moons")


def compared(table: pd.DataFrame, published: Published, threshold: float | None = None) -> Compared:
    """Compare the store's cells with the published numbers.

    Args:
        table: the store's cells.
        published: the published numbers.
        threshold: training accuracy from which on a network trains; None for each dataset's own.
    """
    values = {MOONS: published.moons, "table2_50x4": published.moons_50x4, "iclr_cifar10": published.cifar10}
    figures = StudyGrids(table, threshold)
    states = studies_in(table)
    grids = {
        (name, variant): found
        for name, of_study in values.items()
        for variant in VARIANTS
        if (found := compare_grid(name, variant, figures.rows(name, variant), of_study)) is not None
    }
    moons = {variant: of for (name, variant), of in grids.items() if name == MOONS}
    tables = {variant: tuple(compare_table(figures.grid(_TABLE, variant), published)) for variant in VARIANTS}
    return Compared(
        studies=states,
        claims=judged_claims(figures, states, published),
        grids=grids,
        places={key: tuple(places(of)) for key, of in grids.items()},
        methods={key: tuple(by_method(of)) for key, of in grids.items()},
        tables=tables,
        layouts=compare_layouts(moons, published.moons, threshold),
        missing=tuple(
            (name, variant, study(_TRAINED_BY.get(name, name)).command(variant))
            for name in (*values, _TABLE)
            for variant in VARIANTS
            if (name, variant) not in grids and all(line.ours is None for line in tables[variant] if name == _TABLE)
        ),
        published=values,
    )


@lru_cache(maxsize=1)
def compared_of(stored: Stored) -> Compared:
    """The comparison of what the report is made of, made once."""
    return compared(stored.table, read_published(), stored.threshold)


def comparison_jobs(found: Compared) -> Iterator[Job]:
    """The files that show a comparison; nothing where there is nothing to compare."""
    if not found.grids:
        return
    yield Job("tables", partial(write_claims, found.claims))
    for (name, variant), grid in found.grids.items():
        own = found.places[name, variant]
        if name == "table2_50x4":
            yield Job("tables", partial(write_small_table, grid, own))
        else:
            yield Job("figures", partial(draw_comparison, grid))
            yield Job("tables", partial(write_places, grid, own, found.methods[name, variant]))
    moons = {variant: grid for (name, variant), grid in found.grids.items() if name == MOONS}
    if len(moons) == len(VARIANTS):
        yield Job("figures", partial(draw_layouts, moons))
    if found.layouts:
        yield Job("tables", partial(write_layouts, found.layouts))
    for variant, table in found.tables.items():
        if any(line.ours is not None for line in table):
            yield Job("tables", partial(write_mnist, table, variant))


@of_store("comparison", rank=0, title="ours against the published")
def _comparison(stored: Stored) -> Iterator[Job]:
    yield from comparison_jobs(compared_of(stored))
