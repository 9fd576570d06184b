"""A small atlas, made without any training: eight methods of atlas_moons at 3 depths × 2 widths."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from study_rows import at_seed

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.result import CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.store import Store

METHODS = ("relu", "sep_up", "he", "crelu", "rezero", "gelu", "sep_up_he", "deep_narrow")
DEPTHS, WIDTHS, SEEDS = (1, 10, 50), (2, 4), (0, 1, 2)


@cache
def cells() -> tuple[Cell, ...]:
    """Their cells at seed 0."""
    return tuple(
        cell
        for cell in experiment_cells("atlas_moons", "paper")
        if cell.method in METHODS and cell.depth in DEPTHS and cell.width in WIDTHS
    )


def points(of: Cell, at_epoch: str) -> int:
    """How many of the 85 training points the made-up network gets right."""
    reach = {"relu": 1, "he": 10, "sep_up": 10, "gelu": 10}.get(of.method, 50)
    right = 85 if of.depth <= reach and (of.width > 2 or of.seed < 2) else 45
    return right - (at_epoch == "last" and of.method == "sep_up" and of.seed == 1) * 20


def result(of: Cell) -> Result:
    """A made-up result: dead units 0.1, 0.2 and 0.3 at the start, early and at the end, each plus seed / 100."""
    own = None if of.method == "gelu" else of.seed % 10 / 100
    census = [
        LayerCensus(*(None if own is None else (share + own,) * of.depth for share in (dead, 0.05, 0.5, 0.0)))
        for dead in (0.1, 0.3)
    ]
    counted = (None,) * 4 if own is None else (0.2 + own, 0.05, 0.5, 0.0)
    curve = tuple(
        CurveRow(epoch, 0.5, 0.5, 0.7, 0.7, None, *(counted if epoch == 100 else (0.9, 0.9, 0.9, 0.0)))
        for epoch in (1, 100, 200)
    )
    best, last = (points(of, at_epoch) / 85 for at_epoch in ("best", "last"))
    return Result(
        of,
        "done",
        "native",
        n_params=3 * of.width + (of.depth - 1) * of.width * (of.width + 1) + of.width + 1,
        epochs_run=of.optimizer.epochs,
        train_acc=Metric(last, best, 50),
        val_acc=Metric(0.6, 0.8, 60),
        train_loss=Metric(0.25, 0.125, 70),
        val_loss=Metric(2.5, 0.5, 80),
        census_start=census[0],
        census_last=census[1],
        seconds=float(np.float32(0.1 * of.depth)),
        curve=curve,
    )


def write_store(folder: Path, seeds: Iterable[int] = SEEDS, methods: Iterable[str] = METHODS) -> Store:
    """A store of these methods' cells at these seeds."""
    chosen = {*methods}
    store = Store(folder)
    found = {
        at_seed(cell, seed).key: at_seed(cell, seed) for cell in cells() if cell.method in chosen for seed in seeds
    }
    store.write([result(cell) for cell in found.values()])
    return store
