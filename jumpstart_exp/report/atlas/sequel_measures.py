"""What the sequel (Riera, Puertas and Pujol, 2025) measures of methods on several tables: found in the store."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid, one_figure
from jumpstart_exp.report.table.names import method_rank
from jumpstart_exp.report.table.studies import StudyTable
from jumpstart_exp.result import COLUMNS
from jumpstart_exp.store import Store

STUDY = "sequel_tables"

LEAST_METHODS = 2
"""Methods from which on there is something to compare."""


@dataclass(frozen=True, eq=False)
class Sequel:
    """One network shape, several methods and datasets; every array is (methods, datasets, seeds), NaN for no cell.

    `trained` says by moment (MOMENTS) which networks reach their dataset's threshold, 1 or 0. `validation` is the score
    at the last epoch, accuracy or R²; `areas` the area under the curve of the training score, divided by the epochs
    that it is over, NaN without a curve. A score below guessing, or of a network that diverged or failed, counts as
    guessing. `rules` say in words when a network of each dataset trains.
    """

    methods: tuple[str, ...]
    method_titles: tuple[str, ...]
    datasets: tuple[str, ...]
    rules: tuple[str, ...]
    seeds: tuple[int, ...]
    trained: Mapping[str, Floats]
    validation: Floats
    areas: Floats


def sequel_of(index: StudyTable, store: Store) -> Sequel | None:
    """The comparison as far as the store has it; None for fewer than `LEAST_METHODS`.

    Raises:
        GridError: rows of one network contradict each other.
        StoreError: the store's curves cannot be read.
    """
    rows = index.rows_of_experiment(STUDY, "sklearn")
    if not len(rows) or len({label for labels in rows["labels"] for label in labels}) < LEAST_METHODS:
        return None
    curves = {str(key): own for key, own in store.curves(rows["key"]).groupby("key")}
    found: list[tuple[FigureGrid, Mapping[str, Floats]]] = []
    for _, own in rows.groupby("dataset.loader"):
        table = own.reset_index(drop=True)
        grid = one_figure(table)
        found.append((grid, _measured(grid, table, curves)))
    titles = {label: title for grid, _ in found for label, title in zip(grid.methods, grid.method_titles, strict=True)}
    methods = sorted(titles, key=method_rank)
    seeds = sorted({seed for grid, _ in found for seed in grid.seeds})
    every = {name: np.full((len(methods), len(found), len(seeds)), np.nan) for name in _MEASURED}
    for place, (grid, measured) in enumerate(found):
        at = [methods.index(label) for label in grid.methods], [place], [seeds.index(seed) for seed in grid.seeds]
        for name, values in measured.items():
            every[name][np.ix_(*at)] = values[:, None]
    return Sequel(
        methods=tuple(methods),
        method_titles=tuple(titles[label] for label in methods),
        datasets=tuple(grid.dataset_title.removeprefix("load_") for grid, _ in found),
        rules=tuple(f"{grid.score} {grid.threshold:.4g}" for grid, _ in found),
        seeds=tuple(seeds),
        trained={moment: every[moment] for moment in MOMENTS},
        validation=every["validation"],
        areas=every["areas"],
    )


def area(epochs: Floats, scores: Floats, last: int, guess: float) -> float:
    """The area under a curve from its first epoch to the last of the training, divided by the epochs between.

    Args:
        epochs: ascending, (points,).
        scores: accuracy or R² there; one below guessing, or NaN, counts as guessing.
        last: the training's last epoch; a curve that ends before, as of a network that diverged, is at guessing from
            there on.
        guess: the score of guessing.
    """
    heights = np.fmax(scores, guess)
    if epochs[-1] < last:
        epochs, heights = np.append(epochs, [epochs[-1], last]), np.append(heights, [guess, guess])
    if epochs[0] == epochs[-1]:
        return float(heights[0])
    between = (heights[1:] + heights[:-1]) / 2
    return float((between * np.diff(epochs)).sum() / (epochs[-1] - epochs[0]))


_MEASURED = (*MOMENTS, "validation", "areas")


def _measured(grid: FigureGrid, rows: pd.DataFrame, curves: Mapping[str, pd.DataFrame]) -> Mapping[str, Floats]:
    """What is measured of one dataset's networks (_MEASURED), each (methods, seeds), NaN for no cell."""
    guess = grid.chance
    areas = [
        guess if status == "failed" else _area_of(curves.get(str(key)), grid, int(last), guess)
        for key, status, last in rows[["key", "status", "optimizer.epochs"]].to_numpy(object)
    ]
    known = {
        **{moment: grid.trained(moment).astype(np.float64) for moment in MOMENTS},
        "validation": np.fmax(grid.accuracy["val_acc_last"], guess),
        "areas": np.asarray(areas)[grid.rows],
    }
    return {name: np.where(grid.present, values, np.nan)[:, 0, 0] for name, values in known.items()}


def _area_of(curve: pd.DataFrame | None, grid: FigureGrid, last: int, guess: float) -> float:
    """The area under a network's curve of the training score; NaN without a curve."""
    if curve is None:
        return np.nan
    scores = curve[COLUMNS[grid.task]["train_acc"]]
    return area(curve["epoch"].to_numpy(np.float64), scores.to_numpy(np.float64, na_value=np.nan), last, guess)
