"""Everything that the store supports against the published numbers: what is compared, and the files that show it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import pandas as pd

from jumpstart_exp.config.studies import STUDIES, VARIANTS
from jumpstart_exp.report.papers import comparison_tables as tables
from jumpstart_exp.report.papers.claims import Claim, claims
from jumpstart_exp.report.papers.comparison import GridComparison, compare_grid, compare_table, places
from jumpstart_exp.report.papers.comparison_figures import comparison_figure, layouts_figure, save_of_each
from jumpstart_exp.report.papers.layouts import LayoutComparison, compare_layouts
from jumpstart_exp.report.papers.measures import MOONS, StudyCells
from jumpstart_exp.report.papers.published import Published, read_published
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.table.studies import StudyTable, studies_in
from jumpstart_exp.report.tables.table import Table, table_job


@dataclass(frozen=True)
class Compared:
    """What the store has, against the published numbers.

    `grids` are published grids beside ours, by study ("moons", "table2_50x4", "iclr_cifar10") and variant. `mnist` is
    CPAIOR's table 1 by variant, in the published order, empty where no seed has all of it. `layouts` says which layout
    of the MOONS network is nearer, for all methods first; empty where neither is there.
    """

    claims: tuple[Claim, ...]
    grids: Mapping[tuple[str, str], GridComparison]
    mnist: Mapping[str, pd.DataFrame]
    layouts: tuple[LayoutComparison, ...]


def compared(table: pd.DataFrame, published: Published, threshold: float | None = None) -> Compared:
    """Compare the store's cells with the published numbers.

    Args:
        table: the store's cells.
        published: the published numbers.
        threshold: training accuracy from which on a network trains; None for each dataset's own.
    """
    values = {MOONS: published.moons, "table2_50x4": published.moons_50x4, "iclr_cifar10": published.cifar10}
    index = StudyTable.of(table)
    names = (MOONS, *(each.name for each in STUDIES))
    cells = {(name, of): StudyCells(index, name, of, threshold) for name in names for of in VARIANTS}
    grids = {
        (name, variant): found
        for name, of_study in values.items()
        for variant in VARIANTS
        if (found := compare_grid(name, variant, cells[name, variant].figure, of_study)) is not None
    }
    return Compared(
        claims=claims(cells, studies_in(index), published, threshold),
        grids=grids,
        mnist={of: compare_table(cells["mnist_table1", of].figure, published) for of in VARIANTS},
        layouts=compare_layouts(_of_moons(grids), published.moons),
    )


@lru_cache(maxsize=1)
def compared_of(stored: Stored) -> Compared:
    """The comparison of what the report is made of, made once."""
    return compared(stored.table, read_published(), stored.threshold)


def comparison_jobs(found: Compared) -> Iterator[Job]:
    """The files that show a comparison; nothing where there is nothing to compare."""
    if not found.grids and all(own.measure is None for claim in found.claims for own in claim.findings):
        return
    yield table_job("published_claims", partial(tables.claims_table, found.claims))
    for (name, variant), grid in found.grids.items():
        stem, each = f"{name}_{variant}_published", places(grid)
        if name == "table2_50x4":
            yield table_job(stem, partial(tables.small_table, grid, each))
        else:
            yield Job("figures", partial(save_of_each, partial(comparison_figure, grid), stem))
            yield table_job(stem, partial(tables.methods_table, grid, each))
            yield table_job(f"{stem}_places", partial(Table, "", each, kinds=("csv",)))
    moons = _of_moons(found.grids)
    if len(moons) == len(VARIANTS):
        yield Job("figures", partial(save_of_each, partial(layouts_figure, moons), "moons_layouts"))
    if found.layouts:
        yield table_job("moons_layouts", partial(tables.layouts_table, found.layouts))
    for variant, table in found.mnist.items():
        if len(table):
            yield table_job(f"mnist_table1_{variant}_published", partial(tables.mnist_table, table, variant))


of_store("comparison", rank=0, title="ours against the published")(lambda stored: comparison_jobs(compared_of(stored)))


def _of_moons(grids: Mapping[tuple[str, str], GridComparison]) -> Mapping[str, GridComparison]:
    return {variant: grid for (name, variant), grid in grids.items() if name == MOONS}
