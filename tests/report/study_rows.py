"""Rows of a published study as the store gives them, made without any training."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
from stored_tables import row

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.studies import study_cells


def at_seed(cell: Cell, seed: int) -> Cell:
    """The cell at another seed, which in studies draws the points, too, where it can."""
    drawn_by = cell.dataset.drawn_by
    dataset = dataclasses.replace(cell.dataset, **({} if drawn_by is None else {drawn_by: seed}))
    return dataclasses.replace(cell, seed=seed, dataset=dataset)


def study_table(
    name: str,
    variant: str,
    seeds: Iterable[int],
    accuracy: Callable[[Cell], tuple[float, float] | None],
    where: Callable[[Cell], bool] = lambda _: True,
    **columns: Any,
) -> pd.DataFrame:
    """A study's cells at these seeds; `accuracy` is training and validation accuracy at best, None for diverged."""
    rows = []
    for cell in study_cells(name, variant):
        if not where(cell):
            continue
        for seed in seeds:
            own = at_seed(cell, seed)
            found = accuracy(own)
            made = row(own, None if found is None else found[0], "done" if found else "diverged")
            if found:
                made["val_acc_best"] = found[1]
            rows.append(made | columns)
    return pd.DataFrame(rows)
