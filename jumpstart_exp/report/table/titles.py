"""Figures that show published studies are named by them instead of by the settings that tell them from others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from jumpstart_exp.config.studies import STUDIES, VARIANTS
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.table.names import dataset_title
from jumpstart_exp.report.table.studies import StudyTable


def named_by_study(grids: Sequence[FigureGrid], table: pd.DataFrame) -> tuple[FigureGrid, ...]:
    """The grids in their order, those titled by studies that hold nothing but cells of published studies.

    Where a store has one figure only, its title is short as it is. Figures that would be called the same keep what
    tells them apart behind the studies.

    Args:
        grids: what `figure_grids` made of the table.
        table: the rows.
    """
    if len(grids) < 2:
        return tuple(grids)
    index = StudyTable(table)
    places = {
        (study.name, variant): {int(row) for row in table.index.get_indexer(index.rows(study.name, variant).index)}
        for study in STUDIES
        for variant in VARIANTS
    }
    titles = [_title(grid, places) for grid in grids]
    often = Counter(titles)
    return tuple(
        grid if title is None else replace(grid, title=title if often[title] == 1 else f"{title} · {grid.title}")
        for grid, title in zip(grids, titles, strict=True)
    )


def _title(grid: FigureGrid, places: Mapping[tuple[str, str], set[int]]) -> str | None:
    """Dataset, the fewest studies of one variant that have all the grid's rows, and the variant; None for none."""
    names = [study.name for study in STUDIES]
    for variant in VARIANTS:
        left = {int(row) for row in grid.rows.flat if row >= 0}
        needed: set[str] = set()
        while left:
            most = max(names, key=lambda name: len(left & places[name, variant]))
            if not left & places[most, variant]:
                break
            left -= places[most, variant]
            needed.add(most)
        if needed and not left:
            studies = ", ".join(name for name in names if name in needed)
            return f"{dataset_title(grid.dataset)} · {studies} · variant={variant}"
    return None
