"""Everything that is made of an atlas, in its order."""

from collections.abc import Iterator

from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.atlas.comparison_figures import prediction_jobs, profile_jobs, stability_jobs
from jumpstart_exp.report.atlas.frontier_figures import frontier_jobs
from jumpstart_exp.report.atlas.multiples import multiples_jobs
from jumpstart_exp.report.atlas.sequel import sequel_jobs
from jumpstart_exp.report.atlas.tables import prediction_table_jobs, ranking_jobs, stability_table_jobs
from jumpstart_exp.report.registry import Job, Stored, of_store

_MAKERS = (
    *(frontier_jobs, ranking_jobs, multiples_jobs, profile_jobs, prediction_jobs, prediction_table_jobs),
    *(stability_jobs, stability_table_jobs),
)


def atlas_jobs(atlas: Atlas) -> Iterator[Job]:
    """The figures and tables of one atlas."""
    for jobs in _MAKERS:
        yield from jobs(atlas)


@of_store("atlas", rank=25, title="the atlas")
def _jobs(stored: Stored) -> Iterator[Job]:
    for atlas in atlases(stored.table, stored.store):
        yield from atlas_jobs(atlas)
    yield from sequel_jobs(stored)
