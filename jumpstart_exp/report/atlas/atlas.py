"""The atlas: one study of many methods, each at its own learning rate, found among the store's rows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.atlas.rates import seeds_of_rates
from jumpstart_exp.report.table.grid import FigureGrid, GridError, one_figure
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.store import Store

STUDIES = {
    "atlas_moons": "moons",
    "atlas_quick": "moons",
    "atlas_digits": "sklearn",
    "atlas_wine": "sklearn",
    "atlas_breast_cancer": "sklearn",
    "atlas_diabetes": "sklearn",
    "atlas_circles": "sklearn",
    "atlas_spirals": "spirals",
}
"""The atlas's studies, files of conf/experiment, and their datasets."""

EARLY = 100
"""The epoch after which the census is looked at beside the first and the last: the studies' curves have it."""

MEASURES = ("dead_units", "linear_units")
MOMENTS = ("start", "early", "last")

LEAST_METHODS = 6
"""Methods of a study from which on it is an atlas: a store with the papers' own MOONS has some of them, too."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """One study of many methods, each at its own learning rate.

    `study` is one of STUDIES. `grid` has all methods in one figure: what tells their contexts apart, the learning
    rate, stands in `rates`, by label. `census` are shares of the hidden units by measure (MEASURES) and moment
    (MOMENTS, "early" is after epoch `early`), (methods, depths, widths, seeds): means over layers, NaN where there is
    no cell, no curve, or an activation that has no linear piece.
    """

    study: str
    grid: FigureGrid
    rates: Mapping[str, float]
    census: Mapping[tuple[str, str], NDArray[np.float64]]
    early: int = EARLY

    @property
    def title(self) -> str:
        """The study, what it is of, and of how much."""
        fewest, most = self.grid.seed_range()
        seeds = f"{most} seed{'s' * (most > 1)}" if fewest == most else f"{fewest} to {most} seeds"
        return f"The atlas, {self.study}: {self.grid.title}, {len(self.grid.methods)} methods, {seeds}"


def atlas_of(study: str, index: StudyTable, store: Store) -> Atlas | None:
    """The study's atlas of what the store has; None for fewer than `LEAST_METHODS` of its methods.

    Raises:
        GridError: rows of one network contradict each other, or a method has several learning rates.
        StoreError: the store's curves cannot be read.
    """
    rows = index.rows_of_experiment(study, STUDIES[study])
    rows = _with_methods_that_are_there(rows[~rows["seed"].isin(seeds_of_rates())])
    if len({label for labels in rows["labels"] for label in labels}) < LEAST_METHODS:
        return None
    grid = one_figure(rows, ["optimizer.lr"])
    found = _by_place(grid, rows["optimizer.lr"])
    rates = {}
    for label, of_method in zip(grid.methods, found, strict=True):
        own = sorted({*of_method[~np.isnan(of_method)].tolist()})
        if len(own) != 1:
            told = " and ".join(f"{rate:g}" for rate in own)
            raise GridError(f"{study}: {label} is trained at several learning rates: {told}")
        rates[label] = own[0]
    early = _early(store, rows)
    taken = {"start": rows, "early": early.reindex(rows["key"]).add_suffix("_early"), "last": rows}
    census = {
        (measure, moment): _by_place(grid, taken[moment][f"{measure}_{moment}"])
        for measure in MEASURES
        for moment in MOMENTS
    }
    return Atlas(study, grid, rates, census)


def atlases(table: pd.DataFrame, store: Store) -> list[Atlas]:
    """Every atlas that the store's table of cells has, in the order of STUDIES.

    Raises:
        GridError, StoreError: as of `atlas_of`.
    """
    if len({label for labels in table["labels"] for label in labels}) < LEAST_METHODS:
        return []  # at once: a study has to be composed to be found
    index = StudyTable.of(table)
    found = (atlas_of(study, index, store) for study in STUDIES)
    return [atlas for atlas in found if atlas is not None]


def _with_methods_that_are_there(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, without the labels of methods that have no network of their own among them.

    A shallow network without room for a skip is several methods' network at once.
    """
    own = {labels[0] for labels in rows["labels"] if len(labels) == 1}
    kept = [[label for label in labels if label in own] for labels in rows["labels"]]
    return rows.assign(labels=pd.Series(kept, index=rows.index, dtype=object)).reset_index(drop=True)


def _by_place(grid: FigureGrid, values: pd.Series) -> NDArray[np.float64]:
    """A column's values at the figure's cells, (methods, depths, widths, seeds), NaN for none."""
    numbers = pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(grid.rows >= 0, numbers[grid.rows], np.nan)


def _early(store: Store, rows: pd.DataFrame) -> pd.DataFrame:
    """The census after epoch `EARLY`, a row a key of these rows; keys whose curve has no such row are left out."""
    curves = store.curves(rows["key"], EARLY)
    return curves.drop_duplicates("key").set_index("key")[[*MEASURES]]
