"""The page: every result in one HTML file that needs nothing else, not even a network."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.page.contents import LARGEST, page_contents
from jumpstart_exp.report.page.published_values import claim_entries, layout_entries, published_beside
from jumpstart_exp.report.papers.claims import Claim
from jumpstart_exp.report.papers.layouts import LayoutComparison
from jumpstart_exp.report.papers.published import Published
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.store import Store

__all__ = ["write_page"]

_SCRIPTS = ("data", "colours", "elements", "study", "heatmap", "cell", "charts", "tables", "page")
"""Files of assets/, in the order in which they are put together."""


def write_page(
    table: pd.DataFrame,
    store: Store,
    grids: Sequence[FigureGrid],
    path: Path,
    *,
    published: Published | None = None,
    claims: Sequence[Claim] = (),
    layouts: Sequence[LayoutComparison] = (),
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

    Raises:
        OSError: the file cannot be written.
        StoreError: the curves cannot be read.
    """
    style, script = _asset("page.css"), _script()
    room = LARGEST - sum(len(text.encode()) for text in (_asset("page.html"), style, script))
    beside = published_beside(table, grids, published) if published is not None else []
    contents = page_contents(
        table,
        store,
        grids,
        room=room,
        beside=beside,
        claims=claim_entries(claims),
        layouts=layout_entries(layouts),
    )
    write_whole(path, _page(style, script, contents.head, contents.block.text()).encode())
    return path


def _page(style: str, script: str, head: dict[str, Any], block: str) -> str:
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    template = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    # what is made here and cannot be mistaken for markup; all else that a template is given is escaped
    own = {name: Markup(text) for name, text in {"style": style, "script": script, "head": _json(head)}.items()}
    return template.from_string(_asset("page.html")).render(policy=Markup(policy), block=block, **own)


def _json(head: dict[str, Any]) -> str:
    """JSON that can stand in a script element: no tag can begin or end in it."""
    text = json.dumps(head, separators=(",", ":"), sort_keys=True, allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _script() -> str:
    from seaborn.cm import rocket

    colours = "".join(f"{round(255 * part):02x}" for colour in rocket.colors for part in colour[:3])
    parts = "\n".join(_asset(f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\nconst ROCKET = "{colours}";\n{parts}\n}})();\n'


def _asset(name: str) -> str:
    return (files(__name__) / "assets" / name).read_text(encoding="utf-8")
