"""Everything that is made of an atlas, in its order."""

from collections.abc import Iterator

from jumpstart_exp.report.atlas.area import ranking
from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.atlas.comparison_figures import prediction_jobs, profile_jobs, stability_jobs
from jumpstart_exp.report.atlas.frontier_figures import frontier_jobs
from jumpstart_exp.report.atlas.multiples import multiples_jobs
from jumpstart_exp.report.atlas.sequel import sequel_jobs
from jumpstart_exp.report.atlas.tables import prediction_table_jobs, ranking_jobs, stability_table_jobs
from jumpstart_exp.report.registry import Job, Stored, of_store


def atlas_jobs(atlas: Atlas) -> Iterator[Job]:
    """The figures and tables of one atlas."""
    yield from frontier_jobs(atlas)
    yield from ranking_jobs(atlas)
    yield from multiples_jobs(atlas, ranking(atlas))
    yield from profile_jobs(atlas)
    yield from prediction_jobs(atlas)
    yield from prediction_table_jobs(atlas)
    yield from stability_jobs(atlas)
    yield from stability_table_jobs(atlas)


@of_store("atlas", rank=25, title="the atlas")
def _jobs(stored: Stored) -> Iterator[Job]:
    for atlas in atlases(stored.table, stored.store):
        yield from atlas_jobs(atlas)
    yield from sequel_jobs(stored)
