"""Everything that the store supports against the published numbers: what is compared, and the files that show it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd

from jumpstart_exp.config.studies import STUDIES, VARIANTS
from jumpstart_exp.report.papers.claims import Claim, claims
from jumpstart_exp.report.papers.claims_tables import claims_table
from jumpstart_exp.report.papers.comparison import (
    GridComparison,
    MethodComparison,
    PlaceComparison,
    by_method,
    compare_grid,
    places,
)
from jumpstart_exp.report.papers.comparison_figures import draw_comparison, draw_layouts
from jumpstart_exp.report.papers.comparison_tables import (
    layouts_table,
    methods_table,
    mnist_table,
    places_table,
    small_table,
)
from jumpstart_exp.report.papers.layouts import LayoutComparison, compare_layouts
from jumpstart_exp.report.papers.measures import MOONS, StudyCells
from jumpstart_exp.report.papers.mnist_table import TableComparison, compare_table
from jumpstart_exp.report.papers.published import Published, read_published
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.table.studies import StudyTable, studies_in
from jumpstart_exp.report.tables.table import table_job


@dataclass(frozen=True)
class Compared:
    """What the store has, against the published numbers.

    `grids` are published grids beside ours, by study ("moons", "table2_50x4", "iclr_cifar10") and variant; `places`
    and `methods` the same number by number, and method by method. `tables` is CPAIOR's table 1 by variant, in the
    published order, ours None where it is not trained. `layouts` says which layout of the MOONS network is nearer, for
    all methods first; empty where neither is there.
    """

    claims: tuple[Claim, ...]
    grids: Mapping[tuple[str, str], GridComparison]
    places: Mapping[tuple[str, str], tuple[PlaceComparison, ...]]
    methods: Mapping[tuple[str, str], tuple[MethodComparison, ...]]
    tables: Mapping[str, tuple[TableComparison, ...]]
    layouts: tuple[LayoutComparison, ...]


_TABLE = "mnist_table1"


def compared(table: pd.DataFrame, published: Published, threshold: float | None = None) -> Compared:
    """Compare the store's cells with the published numbers.

    Args:
        table: the store's cells.
        published: the published numbers.
        threshold: training accuracy from which on a network trains; None for each dataset's own.
    """
    values = {MOONS: published.moons, "table2_50x4": published.moons_50x4, "iclr_cifar10": published.cifar10}
    index = StudyTable(table)
    names = (MOONS, *(each.name for each in STUDIES))
    cells = {(name, of): StudyCells(index, name, of, threshold) for name in names for of in VARIANTS}
    grids = {
        (name, variant): found
        for name, of_study in values.items()
        for variant in VARIANTS
        if (found := compare_grid(name, variant, cells[name, variant].figure, of_study)) is not None
    }
    each = {key: tuple(places(of)) for key, of in grids.items()}
    moons = {variant: of for (name, variant), of in grids.items() if name == MOONS}
    return Compared(
        claims=claims(cells, studies_in(index), published, threshold),
        grids=grids,
        places=each,
        methods={key: tuple(by_method(of)) for key, of in each.items()},
        tables={of: tuple(compare_table(cells[_TABLE, of].figure, published)) for of in VARIANTS},
        layouts=compare_layouts(moons, published.moons, threshold),
    )


@lru_cache(maxsize=1)
def compared_of(stored: Stored) -> Compared:
    """The comparison of what the report is made of, made once."""
    return compared(stored.table, read_published(), stored.threshold)


def comparison_jobs(found: Compared) -> Iterator[Job]:
    """The files that show a comparison; nothing where there is nothing to compare."""
    if not found.grids:
        return
    yield table_job("published_claims", partial(claims_table, found.claims))
    for (name, variant), grid in found.grids.items():
        own = found.places[name, variant]
        stem = f"{name}_{variant}_published"
        if name == "table2_50x4":
            yield table_job(stem, partial(small_table, grid, own))
        else:
            yield Job("figures", partial(draw_comparison, grid))
            yield table_job(stem, partial(methods_table, grid, found.methods[name, variant]))
            yield table_job(f"{stem}_places", partial(places_table, own))
    moons = {variant: grid for (name, variant), grid in found.grids.items() if name == MOONS}
    if len(moons) == len(VARIANTS):
        yield Job("figures", partial(draw_layouts, moons))
    if found.layouts:
        yield table_job("moons_layouts", partial(layouts_table, found.layouts))
    for variant, table in found.tables.items():
        if any(line.ours is not None for line in table):
            yield table_job(f"mnist_table1_{variant}_published", partial(mnist_table, table, variant))


@of_store("comparison", rank=0, title="ours against the published")
def _comparison(stored: Stored) -> Iterator[Job]:
    yield from comparison_jobs(compared_of(stored))
