"""Everything that is made of an atlas, in its order."""

from collections.abc import Iterator
from functools import partial

from jumpstart_exp.report.atlas.area import ranking
from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.atlas.comparison_figures import prediction_figure, profile_figure, stability_figure
from jumpstart_exp.report.atlas.frontier_figures import frontier_jobs
from jumpstart_exp.report.atlas.multiples import multiples_jobs
from jumpstart_exp.report.atlas.sequel import sequel_jobs
from jumpstart_exp.report.atlas.tables import prediction_table, ranking_table, stability_table
from jumpstart_exp.report.figures.drawing import figure_job
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.tables.table import table_job

_TABLES = {"ranking": ranking_table, "prediction": prediction_table, "stability": stability_table}
_FIGURES = {"profiles": profile_figure, "prediction": prediction_figure, "stability": stability_figure}


def atlas_jobs(atlas: Atlas) -> Iterator[Job]:
    """The figures and tables of one atlas, as STUDY_WHAT."""
    yield from frontier_jobs(atlas)
    yield from multiples_jobs(atlas, ranking(atlas))
    for name, table in _TABLES.items():
        yield table_job(f"{atlas.study}_{name}", partial(table, atlas))
    for name, figure in _FIGURES.items():
        yield figure_job(f"{atlas.study}_{name}", partial(figure, atlas))


@of_store("atlas", rank=25, title="the atlas")
def _jobs(stored: Stored) -> Iterator[Job]:
    for atlas in atlases(stored.table, stored.store):
        yield from atlas_jobs(atlas)
    yield from sequel_jobs(stored)
