"""The page as one of the report's files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from jumpstart_exp.report.page import write_page
from jumpstart_exp.report.papers.compared import compared_of
from jumpstart_exp.report.papers.published import read_published
from jumpstart_exp.report.registry import Job, Stored, of_store

PAGE = "report.html"


@of_store("page", rank=30, title="the page")
def _page(stored: Stored) -> Iterator[Job]:
    compared_of(stored)  # what cannot be compared is told before anything is drawn
    yield Job("", partial(_write, stored))


def _write(stored: Stored, folder: Path) -> list[Path]:
    found = compared_of(stored)
    path, published = folder / PAGE, read_published()
    return [
        write_page(
            stored.table,
            stored.store,
            stored.grids,
            path,
            published=published,
            claims=found.claims,
            layouts=found.layouts,
        )
    ]
