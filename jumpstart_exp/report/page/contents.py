"""What the page holds: a head of names and tables, and a block of numbers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.figures.scatters import method_looks
from jumpstart_exp.report.page.atlas_entries import add_atlases
from jumpstart_exp.report.page.colours import on_dark
from jumpstart_exp.report.page.curves import add_curves, read_curves
from jumpstart_exp.report.page.frontier_entries import STARTS, frontier_entries
from jumpstart_exp.report.page.packing import (
    DIFFERENCE,
    FRACTION,
    POSITIVE,
    Block,
    Scale,
    distinct,
    picked,
    text_length,
)
from jumpstart_exp.report.page.probes import probe_entries
from jumpstart_exp.report.page.provenance import provenance, statements
from jumpstart_exp.report.page.reproduce import VERIFY, Command, commands
from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.differences import best_minus_last_by_method
from jumpstart_exp.report.statistics.frontier import Start, frontier_ratio
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_INTERVAL, RESAMPLES, Floats, means
from jumpstart_exp.report.statistics.success import train_shares, trained
from jumpstart_exp.report.statistics.summary import summarise
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.result import COLUMNS
from jumpstart_exp.settings import legible
from jumpstart_exp.store import Store

LARGEST = 5_900_000
"""Bytes of a page of 20,000 cells; curves get what the rest leaves."""

STATUSES = ("done", "diverged", "failed")
"""What became of a cell, by its code in the block."""

_CENSUS = ("start", "last")
_COUNTS = ("train_acc_best_epoch", "val_acc_best_epoch", "train_loss_best_epoch", "val_loss_best_epoch")
_WHOLE = (*_COUNTS, "epochs_run", "diverged_epoch", "n_params")
_LONGEST_ERROR = 400
_KEYLESS = "the key in the store is not 32 hexadecimal digits, so no command can be checked against it"


@dataclass(frozen=True)
class Metric:
    """A number of every cell that heatmaps can show; `column` is the store's, without the moment.

    `moments` are empty where it has one value only. `better` is "high", "low" or empty.
    """

    column: str
    title: str
    scale: Scale
    moments: tuple[str, ...]
    better: str = ""

    @property
    def kind(self) -> str:
        """How its numbers are told and coloured."""
        return {DIFFERENCE: "difference", POSITIVE: "positive", FRACTION: "fraction"}[self.scale]

    @property
    def columns(self) -> list[str]:
        """One a moment."""
        return [f"{self.column}_{at_epoch}" for at_epoch in self.moments] or [self.column]


METRICS = (
    Metric("train_acc", "training accuracy", FRACTION, MOMENTS, "high"),
    Metric("val_acc", "validation accuracy", FRACTION, MOMENTS, "high"),
    Metric("train_loss", "training loss", POSITIVE, MOMENTS, "low"),
    Metric("val_loss", "validation loss", POSITIVE, MOMENTS, "low"),
    Metric("train_acc_drop", "training accuracy, best minus last", DIFFERENCE, (), "low"),
    Metric("val_acc_drop", "validation accuracy, best minus last", DIFFERENCE, (), "low"),
    Metric("dead_units", "dead units", FRACTION, _CENSUS, "low"),
    Metric("dead_points", "dead points, mean over layers", FRACTION, _CENSUS, "low"),
    Metric("linear_units", "linear units", FRACTION, _CENSUS),
    Metric("linear_points", "linear points", FRACTION, _CENSUS),
    Metric("dormant_units", "dormant units", FRACTION, _CENSUS, "low"),
    Metric("firing_rate", "firing rate", FRACTION, _CENSUS),
    Metric("penalty", "separation penalty", POSITIVE, _CENSUS, "low"),
    Metric("seconds", "seconds of training", POSITIVE, (), "low"),
)
"""Every metric but the share of seeds that train, in the order of the page's list.

Of a regression what is called accuracy here is R²: fractions of it begin at 0, what is below is 0 on the page.
"""


def page_contents(
    table: pd.DataFrame,
    store: Store,
    grids: Sequence[FigureGrid],
    *,
    room: int = LARGEST,
    beside: Sequence[dict[str, Any]] = (),
    claims: Sequence[dict[str, Any]] = (),
    layouts: Sequence[dict[str, Any]] = (),
    atlases: Sequence[Atlas] = (),
) -> tuple[dict[str, Any], Block]:
    """Everything that the page shows: the head, plain data for JSON, and the block that its entries point into.

    Args:
        table: the rows from which the grids were made.
        store: where the curves are.
        grids: the studies.
        room: bytes that head and block may take together; curves are thinned until they fit.
        beside: every grid's published values, merged into its study.
        claims: the papers' statements with their verdicts.
        layouts: which layout of the MOONS network is nearer to the published figure.
        atlases: the store's; a page without any says nothing of one.
    """
    # in the order in which the grids have them: neighbours are alike
    placed = np.concatenate([np.empty(0, np.int64), *(grid.rows.reshape(-1) for grid in grids)])
    order = pd.unique(placed[placed >= 0])
    rows = table.iloc[order].reset_index(drop=True)
    place = np.full(len(table) + 1, -1)
    place[order] = np.arange(len(order))
    keys = rows["key"].astype(str)
    is_key = keys.str.fullmatch("[0-9a-f]{32}").to_numpy(np.bool_)
    block = Block()
    _add_rows(block, rows, keys, is_key)
    origins, origin = provenance(rows)
    block.add("rows.origin", origin.astype(np.uint16))
    found, of_known = commands(rows[is_key].reset_index(drop=True))
    sets = np.full(len(rows), len(found))
    sets[is_key] = of_known
    block.add("rows.command", sets.astype(np.uint16))
    errors, error = _texts(rows, "error", lambda text: legible(text, _LONGEST_ERROR))
    block.add("rows.error", error.astype(np.uint32))
    tracebacks, traceback = _texts(rows, "traceback", _traceback)
    block.add("rows.traceback", traceback.astype(np.uint32))
    columns = {column: _measured(table, column) for metric in METRICS for column in metric.columns}
    for index, grid in enumerate(grids):
        _add_grid(block, f"study{index}", grid, place, columns)
    head: dict[str, Any] = {
        "metrics": [picked(metric, "column", "title", "moments", "better", "kind") for metric in METRICS],
        "statuses": STATUSES,
        "origins": origins,
        "verify": VERIFY,
        "commands": [asdict(each) for each in (*found, Command(reason=_KEYLESS))],
        "errors": errors,
        "tracebacks": tracebacks,
        "studies": [_study(grid) | (beside[index] if beside else {}) for index, grid in enumerate(grids)],
        "claims": claims,
        "layouts": layouts,
        "probes": probe_entries(store.results_dir, keys.tolist()),
        "resamples": RESAMPLES,
        "least_seeds": LEAST_FOR_INTERVAL,
        "made": statements(rows, grids),
    }
    if atlases:
        head["atlases"] = add_atlases(block, atlases, table, grids)
    curves = read_curves(store, keys.tolist())
    taken = len(json.dumps(head)) + 12_000  # the entries, which come last
    points, shown = add_curves(block, curves, room - taken - text_length(block.length))
    head["curves"] = {"points": points, "names": shown, "longest": curves.longest}
    head["entries"] = block.entries
    return head, block


def _add_rows(block: Block, rows: pd.DataFrame, keys: "pd.Series[str]", is_key: NDArray[np.bool_]) -> None:
    digits = "".join(keys.where(is_key, "0" * 32))
    block.add("rows.key", np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 16))
    block.add("rows.has_key", is_key.astype(np.uint8))
    status = rows["status"].map({name: code for code, name in enumerate(STATUSES)}).fillna(len(STATUSES))
    block.add("rows.status", status.to_numpy(np.uint8))
    for metric in METRICS:
        if metric.kind != "difference":
            for column in metric.columns:
                block.add(f"rows.{column}", _measured(rows, column), metric.scale)
    for name in _WHOLE:
        numbers = np.clip(np.nan_to_num(_measured(rows, name), nan=0.0), 0, 2**32 - 1)
        block.add(f"rows.{name}", numbers.astype(np.uint32))


def _measured(table: pd.DataFrame, column: str) -> Floats:
    """A column's numbers, one a row of the table, NaN where there is none; differences are made here."""
    if column.endswith("_drop"):
        name = column.removesuffix("_drop")
        return _measured(table, f"{name}_best") - _measured(table, f"{name}_last")
    numbers = np.full(len(table), np.nan)
    for name in {column, *(_stored_as(column, task) for task in COLUMNS)}:  # a row has the score of its task alone
        if name in table.columns:
            own = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            numbers = np.where(np.isnan(own), numbers, own)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _stored_as(column: str, task: str) -> str:
    """What the store calls a metric's column in rows of the task."""
    for metric, name in COLUMNS[task].items():
        if column.startswith(f"{metric}_"):
            return name + column.removeprefix(metric)
    return column


def _texts(rows: pd.DataFrame, column: str, shown: Callable[[str], str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct texts of a column as they are shown, and the place of each row's among them, from 1; 0 for none."""
    if column not in rows.columns:
        return [], np.zeros(len(rows), np.int64)
    (_, *known), places = distinct(["", *(shown(text) if isinstance(text, str) else "" for text in rows[column])])
    return known, places[1:]


def _traceback(text: str) -> str:
    """A traceback, each of its lines legible."""
    return "\n".join(legible(line, _LONGEST_ERROR) for line in text.splitlines())


def _add_grid(block: Block, name: str, grid: FigureGrid, place: NDArray[np.int64], columns: dict[str, Floats]) -> None:
    block.add(f"{name}.rows", place[grid.rows].astype(np.int32))
    done = grid.present & ~grid.diverged & ~grid.failed
    for metric in METRICS:
        for column in metric.columns:
            of = means(np.where(done, np.append(columns[column], np.nan)[grid.rows], np.nan))
            # a single value is its own mean: the page has it already
            block.add(f"{name}.{column}.mean", np.where(np.isnan(of.least), np.nan, of.mean), metric.scale)
            block.add(f"{name}.{column}.low", of.low, metric.scale)
            block.add(f"{name}.{column}.high", of.high, metric.scale)
    for at_epoch in MOMENTS:
        block.add(f"{name}.trained_{at_epoch}", trained(grid, at_epoch).astype(np.uint8))
        shares = train_shares(grid, at_epoch)
        block.add(f"{name}.trained_{at_epoch}.low", shares.low, FRACTION)
        block.add(f"{name}.trained_{at_epoch}.high", shares.high, FRACTION)


def _study(grid: FigureGrid) -> dict[str, Any]:
    return {
        **picked(
            grid, "title", "slug", "dataset", "score", "layout", "chance", "threshold", "depths", "widths", "seeds"
        ),
        "methods": _methods(grid),
        "cells": int(grid.present.sum()),
        "frontiers": {
            start: {at_epoch: frontier_entries(grid, at_epoch, start) for at_epoch in MOMENTS} for start in STARTS
        },
        "ratios": {start: {at_epoch: _ratios(grid, at_epoch, start) for at_epoch in MOMENTS} for start in STARTS},
        "summary": {at_epoch: _summary(grid, at_epoch) for at_epoch in MOMENTS},
    }


def _methods(grid: FigureGrid) -> list[dict[str, Any]]:
    """Each method: names, colour and marker as in the pictures, its colour on a dark ground, and how many seeds.

    Of the places' numbers of seeds these are the fewest and the most.
    """
    looks, counts = method_looks(grid.methods), grid.present.sum(axis=-1)
    found = []
    for label, title, own in zip(grid.methods, grid.method_titles, counts, strict=True):
        colour, marker = looks[label]
        names = {"label": legible(label), "title": title, "marker": marker}
        names |= {"colour": colour, "colour_on_dark": on_dark(colour)}
        found.append({**names, "fewest_seeds": int(own[own > 0].min()), "most_seeds": int(own.max())})
    return found


def _ratios(grid: FigureGrid, at_epoch: str, start: Start) -> list[dict[str, Any]]:
    names = ("ratio", "low", "high", "each", "distinct", "widths", "left_out", "at_least", "at_most", "seeds")
    found: list[dict[str, Any]] = []
    for index, method in enumerate(grid.methods):
        if method != BASELINE and BASELINE in grid.methods:
            ratio = frontier_ratio(grid, at_epoch, method, start=start)
            told = {"ratio": None} if ratio is None else picked(ratio, *names, without="resamples_without")
            found.append({"method": index, **told})
    return found


def _summary(grid: FigureGrid, at_epoch: str) -> dict[str, Any]:
    summary = summarise(grid, at_epoch)
    rows = [
        {
            **picked(method, "networks", "seeds", "trained", "diverged", "failed", "wins"),
            **picked(gap.trains[at_epoch], "low", "high", "least", "most", share="mean"),
            "best": {metric: best and asdict(best) for metric, best in method.best.items()},
        }
        for method, gap in zip(summary.methods, best_minus_last_by_method(grid), strict=True)
    ]
    return {"methods": rows, **picked(summary, "compared", "ties")}
