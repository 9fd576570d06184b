"""Everything that is made of an atlas, in its order."""

from collections.abc import Iterator

from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.registry import Job, Stored, of_store


def atlas_jobs(atlas: Atlas) -> Iterator[Job]:
    """The figures and tables of one atlas."""
    yield from ()


@of_store("atlas", rank=25, title="the atlas")
def _jobs(stored: Stored) -> Iterator[Job]:
    for atlas in atlases(stored.table, stored.store):
        yield from atlas_jobs(atlas)
