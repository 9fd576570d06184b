"""The page: every result in one HTML file that needs nothing else, not even a network."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_hex

from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.figures.colour_maps import rocket
from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.page.claimed_cells import ClaimedCells
from jumpstart_exp.report.page.contents import LARGEST, page_contents
from jumpstart_exp.report.page.published_values import claim_entries, layout_entries, published_beside
from jumpstart_exp.report.papers.claims import Claim
from jumpstart_exp.report.papers.compared import compared_of
from jumpstart_exp.report.papers.layouts import LayoutComparison
from jumpstart_exp.report.papers.published import Published, read_published
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.store import Store

_SCRIPTS = (
    "data",
    "colours",
    "elements",
    "study",
    "heatmap",
    "cell",
    "charts",
    "tables",
    "atlas",
    "atlas_charts",
    "page",
)
"""Files of assets/, in the order in which they are put together."""


@of_store("page", rank=30, title="the page")
def _page(stored: Stored) -> Iterator[Job]:
    compared_of(stored)  # what cannot be compared is told before anything is drawn
    yield Job("", partial(_write, stored), is_long=True)


def _write(stored: Stored, folder: Path) -> list[Path]:
    found = compared_of(stored)
    write = partial(write_page, stored.table, stored.store, stored.grids, folder / "report.html")
    of_atlas = atlases(stored.table, stored.store)
    return [write(published=read_published(), claims=found.claims, layouts=found.layouts, of_atlas=of_atlas)]


def write_page(
    table: pd.DataFrame,
    store: Store,
    grids: Sequence[FigureGrid],
    path: Path,
    *,
    published: Published | None = None,
    claims: Sequence[Claim] = (),
    layouts: Sequence[LayoutComparison] = (),
    of_atlas: Sequence[Atlas] = (),
) -> Path:
    """Write the page of all studies; the same store gives the same bytes.

    Args:
        table: the rows from which the grids were made.
        store: where the training curves are.
        grids: what `figure_grids` made of the table.
        path: the HTML file.
        published: the published values; None for none.
        claims: the papers' statements with ours and the verdicts.
        layouts: which layout of the MOONS network is nearer to the published figure, for all methods first.
        of_atlas: the atlases that `atlases` made of the table; none for a page without their section.

    Raises:
        OSError: the file cannot be written.
        StoreError: the curves cannot be read.
    """
    page, script = _asset("page.html"), _script()
    style = "".join(_asset(name) for name in ("page.css", *(["atlas.css"] if of_atlas else [])))
    cells = ClaimedCells(table, grids)
    head, block = page_contents(
        table,
        store,
        grids,
        room=LARGEST - sum(len(text.encode()) for text in (page, style, script)),
        beside=published_beside(table, grids, published) if published is not None else [],
        claims=claim_entries(claims, cells),
        layouts=layout_entries(layouts, cells),
        atlases=of_atlas,
    )
    text = json.dumps(head, separators=(",", ":"), sort_keys=True, allow_nan=False)
    # no tag can begin or end in it
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    template = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    template.filters["digest"] = _digest
    # what is made here and cannot be mistaken for markup; all else that a template is given is escaped
    own = {"style": Markup(style), "script": Markup(script), "head": Markup(text), "has_atlas": bool(of_atlas)}
    write_whole(path, template.from_string(page).render(block=block.text(), **own).encode())
    return path


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _script() -> str:
    colours = "".join(to_hex(rocket(place))[1:] for place in range(rocket.N))
    parts = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\nconst ROCKET = "{colours}";\n{parts}\n}})();\n'


def _asset(name: str) -> str:
    return (files(__name__) / "assets" / name).read_text(encoding="utf-8")
