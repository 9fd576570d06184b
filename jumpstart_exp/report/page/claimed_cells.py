"""Which cells of the page a statement of the papers is about, so that the page can show them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.config.studies import small_study
from jumpstart_exp.report.papers.claims import Assertion, assertions
from jumpstart_exp.report.papers.comparison import moons_rows
from jumpstart_exp.report.papers.measures import cost_ratio, times_deeper
from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.seedwise import MOMENT
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.studies import StudyTable

Shown = list[dict[str, Any]]
"""Parts of studies of the page: each `study`, the places `methods` × `depths` × `widths` as indices, `count` cells."""


class ClaimedCells:
    """The cells that statements are about, as places of the page's studies.

    Args:
        table: the rows from which the grids were made.
        grids: the page's studies.
    """

    def __init__(self, table: pd.DataFrame, grids: Sequence[FigureGrid]) -> None:
        self._table, self._index = table, StudyTable.of(table)
        self._places: dict[int, dict[int, tuple[int, ...]]] = defaultdict(dict)
        for study, grid in enumerate(grids):
            for place in np.argwhere(grid.rows >= 0).tolist():
                self._places[int(grid.rows[tuple(place)])][study] = tuple(place[:3])

    def of(self, name: str, variant: str) -> Shown:
        """The cells that decide the statement of this name in a variant; empty where the store has none of them."""
        assertion = _assertion(name)
        # what the penalty costs is also told by the study in small
        small = small_study(assertion.study) if assertion.measure == cost_ratio.__name__ else None
        names = (assertion.study, *([] if small is None else [small.name]))
        found = [rows for name in names if len(rows := self._index.rows(name, variant))]
        return self._shown(pd.concat([rows[_is_about(assertion, rows)] for rows in found])) if found else []

    def of_layout(self, variant: str, methods: Iterable[str]) -> Shown:
        """The cells of these methods that are compared with the published figure of MOONS, in one variant's layout."""
        rows = moons_rows(self._index, variant)
        return self._shown(rows[_has_method(rows, methods)]) if len(rows) else []

    def metric_of(self, name: str) -> str:
        """The page's metric that the statement of this name is measured by, at the best epoch."""
        return str(_assertion(name).of.get("metric", "train_acc")).removesuffix(f"_{MOMENT}")

    def _shown(self, rows: pd.DataFrame) -> Shown:
        """These rows as places of the fewest studies that hold them all, the one with the most of them first."""
        left = {int(row) for row in self._table.index.get_indexer(rows.index)} & self._places.keys()
        found: Shown = []
        while left:
            counts = Counter(study for row in left for study in self._places[row])
            study = min(counts, key=lambda each: (-counts[each], each))
            own = [row for row in left if study in self._places[row]]
            axes = (sorted(set(of)) for of in zip(*(self._places[row][study] for row in own), strict=True))
            names = ("methods", "depths", "widths")
            found.append({"study": study, "count": len(own), **dict(zip(names, axes, strict=True))})
            left -= {*own}
        return found


def _assertion(name: str) -> Assertion:
    return next(each for each in assertions() if each.name == name)


def _is_about(assertion: Assertion, rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which of the study's rows the statement is about, by what its measure is told."""
    of: Mapping[str, Any] = assertion.of
    methods = {of.get("method"), of.get("other"), *of.get("methods", ())} - {None}
    methods |= {BASELINE} if assertion.measure == times_deeper.__name__ else set()
    chosen = _has_method(rows, methods) if methods else np.ones(len(rows), np.bool_)
    for name, column in (("depth", "depth"), ("width", "width"), ("rate", "optimizer.lr")):
        values = {of.get(name), *of.get(f"{name}s", ())} - {None}
        if values:
            chosen &= rows[column].isin(values).to_numpy(np.bool_)
    return chosen


def _has_method(rows: pd.DataFrame, methods: Iterable[str]) -> NDArray[np.bool_]:
    wanted = {*methods}
    return np.array([bool(wanted & {*labels}) for labels in rows["labels"]], np.bool_)
