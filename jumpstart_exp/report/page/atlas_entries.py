"""The atlases as entries of the page's head, and what they have at every place as arrays of its block."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jumpstart_exp.report.atlas.atlas import STUDIES, Atlas
from jumpstart_exp.report.atlas.improvement import improvement
from jumpstart_exp.report.atlas.tables import BASELINES
from jumpstart_exp.report.figures.scatters import LOOKS
from jumpstart_exp.report.page.atlas_numbers import (
    prediction_entries,
    profile_entries,
    ranking_entries,
    stability_entries,
)
from jumpstart_exp.report.page.colours import on_dark
from jumpstart_exp.report.page.frontier_entries import frontier_entries
from jumpstart_exp.report.page.packing import FRACTION, Block, picked
from jumpstart_exp.report.page.reproduce import PROGRAM
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_BOOTSTRAP
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.settings import legible

MOST_BEST = 5
"""Methods of the highest ranks that stand out in the charts before anything is chosen."""

_SLOTS = ("relu", "sep_up", "relu_bn", "sep_u", "sep_p", "sep_l", "sep_up_mean_1", "zero_init")
"""Of LOOKS: the colours and marks of what is chosen, for forty methods have no colours of their own."""


def add_atlases(
    block: Block, atlases: Sequence[Atlas], table: pd.DataFrame, grids: Sequence[FigureGrid]
) -> list[dict[str, Any]]:
    """Add every atlas's numbers of seeds to the block; gives the atlases as plain data.

    Args:
        block: the page's.
        atlases: what `atlases` made of the table.
        table: the rows from which the grids were made.
        grids: the page's studies, to which the methods lead.
    """
    index = StudyTable.of(table)
    found = []
    for number, atlas in enumerate(atlases):
        _add_places(block, f"atlas{number}", atlas.grid)
        rows = index.rows_of_experiment(atlas.study, STUDIES[atlas.study])
        found.append(_atlas(atlas) | {"methods": _methods(atlas, table, rows, grids)})
    return found


def _atlas(atlas: Atlas) -> dict[str, Any]:
    grid = atlas.grid
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    ranking = ranking_entries(atlas)
    order = [each["method"] for each in ranking]
    baselines = [grid.methods.index(label) for label in BASELINES if label in titles]
    there = np.asarray(grid.present.any(axis=-1))
    return {
        **picked(atlas, "study", "title", "early"),
        **picked(grid, "score", "threshold", "depths", "widths"),
        "least_bootstrap": LEAST_FOR_BOOTSTRAP,
        "least_p": min(
            (of.least_p for label in BASELINES if (of := improvement(grid, label)) and not np.isnan(of.least_p)),
            default=None,
        ),
        "places": there[0].size,
        "missing": int(there.size - there.sum()),
        "baselines": [{"label": label, "title": titles[label]} for label in BASELINES if label in titles],
        "emphasised": [*dict.fromkeys([*order[:MOST_BEST], *baselines])],
        "slots": [
            {
                "label": label,
                "colour": LOOKS[label][0],
                "colour_on_dark": on_dark(LOOKS[label][0]),
                "marker": LOOKS[label][1],
            }
            for label in _SLOTS
        ],
        "ranking": ranking,
        "frontiers": {at_epoch: frontier_entries(grid, at_epoch, "first") for at_epoch in MOMENTS},
        "profiles": profile_entries(atlas),
        "prediction": prediction_entries(atlas, order),
        "stability": stability_entries(atlas, order),
        "commands": {
            "train": f"{PROGRAM} -m +experiment={atlas.study} seed={','.join(map(str, grid.seeds))}",
            "draw": f"{PROGRAM}.report atlas summary=write",
        },
    }


def _add_places(block: Block, name: str, grid: FigureGrid) -> None:
    """How many seeds each place has, (methods, depths, widths), how many of them train, and Wilson's interval."""
    block.add(f"{name}.seeds", grid.present.sum(axis=-1).astype(np.uint16))
    for at_epoch in MOMENTS:
        shares = train_shares(grid, at_epoch)
        block.add(f"{name}.trained_{at_epoch}", shares.trained.astype(np.uint16))
        block.add(f"{name}.trained_{at_epoch}.low", shares.low, FRACTION)
        block.add(f"{name}.trained_{at_epoch}.high", shares.high, FRACTION)


def _methods(
    atlas: Atlas, table: pd.DataFrame, rows: pd.DataFrame, grids: Sequence[FigureGrid]
) -> list[dict[str, Any]]:
    """Each method: names, learning rate, fewest and most seeds of its places, and the study that has its cells."""
    grid = atlas.grid
    places: dict[str, list[int]] = defaultdict(list)
    for place, labels in zip(table.index.get_indexer(rows.index), rows["labels"], strict=True):
        for label in labels:
            places[label].append(int(place))
    return [
        {
            "label": legible(label),
            "title": title,
            "rate": atlas.rates[label],
            "fewest_seeds": int(own[own > 0].min()),
            "most_seeds": int(own.max()),
            "cells": _study_of(label, places[label], grids),
        }
        for label, title, own in zip(grid.methods, grid.method_titles, grid.present.sum(axis=-1), strict=True)
    ]


def _study_of(label: str, places: Sequence[int], grids: Sequence[FigureGrid]) -> int | None:
    """The study that has most of the method's rows under its label; None where none has any."""
    counts = [
        int(np.isin(grid.rows[grid.methods.index(label)], places).sum()) if label in grid.methods else 0
        for grid in grids
    ]
    return int(np.argmax(counts)) if any(counts) else None
