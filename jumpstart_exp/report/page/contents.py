"""What the page holds: a head of names and tables, and a block of numbers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report.figures.scatters import method_looks
from jumpstart_exp.report.page.curves import add_curves, read_curves
from jumpstart_exp.report.page.metrics import METRICS, intervals, measured
from jumpstart_exp.report.page.packing import FRACTION, Block, text_length
from jumpstart_exp.report.page.provenance import provenance, statements
from jumpstart_exp.report.page.reproduce import Command, commands
from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.differences import BestMinusLast, best_minus_last_by_method
from jumpstart_exp.report.statistics.frontier import Start, frontier_ratio, frontiers
from jumpstart_exp.report.statistics.intervals import RESAMPLES
from jumpstart_exp.report.statistics.success import train_shares, trained
from jumpstart_exp.report.statistics.summary import summarise
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.settings import legible
from jumpstart_exp.store import Store

LARGEST = 5_900_000
"""Bytes of a page of 20,000 cells; curves get what the rest leaves."""

STATUSES = ("done", "diverged", "failed")
"""What became of a cell, by its code in the block."""

STARTS: tuple[Start, ...] = ("first", "grid")
"""From where a frontier can be counted, the page's first choice first."""

_COUNTS = ("train_acc_best_epoch", "val_acc_best_epoch", "train_loss_best_epoch", "val_loss_best_epoch")
_WHOLE = (*_COUNTS, "epochs_run", "diverged_epoch", "n_params")
_LONGEST_ERROR = 400
_KEYLESS = "the key in the store is not 32 hexadecimal digits, so no command can be checked against it"


@dataclass(frozen=True)
class Contents:
    """The head, plain data for JSON, and the block that its entries point into."""

    head: dict[str, Any]
    block: Block


def page_contents(
    table: pd.DataFrame,
    store: Store,
    grids: Sequence[FigureGrid],
    *,
    room: int = LARGEST,
    beside: Sequence[dict[str, Any]] = (),
    claims: Sequence[dict[str, Any]] = (),
    layouts: Sequence[dict[str, Any]] = (),
) -> Contents:
    """Everything that the page shows.

    Args:
        table: the rows from which the grids were made.
        store: where the curves are.
        grids: the studies.
        room: bytes that head and block may take together; curves are thinned until they fit.
        beside: every grid's published values, merged into its study.
        claims: the papers' statements with their verdicts.
        layouts: which layout of the MOONS network is nearer to the published figure.
    """
    order = _order(grids)
    rows = table.iloc[order].reset_index(drop=True)
    place = np.full(len(table) + 1, -1)
    place[order] = np.arange(len(order))
    block = Block()
    is_key = np.array([_is_key(key) for key in rows["key"].astype(str)], np.bool_)
    _add_rows(block, rows, is_key)
    origins, origin = provenance(rows)
    block.add("rows.origin", origin.astype(np.uint16))
    found, sets = _commands(rows, is_key)
    block.add("rows.command", sets.astype(np.uint16))
    errors, error = _texts(rows, "error", lambda text: legible(text, _LONGEST_ERROR))
    block.add("rows.error", error.astype(np.uint32))
    tracebacks, traceback = _texts(rows, "traceback", _traceback)
    block.add("rows.traceback", traceback.astype(np.uint32))
    columns = {column: measured(table, column) for metric in METRICS for column in metric.columns()}
    studies = []
    for index, grid in enumerate(grids):
        _add_grid(block, f"study{index}", grid, place, columns)
        studies.append({**_study(grid), **(beside[index] if beside else {})})
    head: dict[str, Any] = {
        "metrics": [metric.described() for metric in METRICS],
        "statuses": list(STATUSES),
        "origins": origins,
        "commands": [{"before": each.before, "after": each.after, "reason": each.reason} for each in found],
        "errors": errors,
        "tracebacks": tracebacks,
        "studies": studies,
        "claims": list(claims),
        "layouts": list(layouts),
        "resamples": RESAMPLES,
        "made": statements(rows, grids),
    }
    curves = read_curves(store, rows["key"].astype(str).tolist())
    points, shown = add_curves(block, curves, room - _length(head) - text_length(block.length))
    head["curves"] = {"points": points, "names": list(shown), "longest": curves.longest}
    head["entries"] = block.entries
    return Contents(head, block)


def _length(head: dict[str, Any]) -> int:
    return len(json.dumps(head)) + 12_000  # the entries, which come last


def _order(grids: Sequence[FigureGrid]) -> NDArray[np.int64]:
    """The places of the rows that any grid shows, in the order in which the grids have them: neighbours are alike."""
    placed = np.concatenate([grid.rows.reshape(-1) for grid in grids]) if grids else np.empty(0, np.int64)
    placed = placed[placed >= 0]
    _, first = np.unique(placed, return_index=True)
    return np.asarray(placed[np.sort(first)], np.int64)


def _add_rows(block: Block, rows: pd.DataFrame, is_key: NDArray[np.bool_]) -> None:
    keys = zip(rows["key"].astype(str), is_key, strict=True)
    digits = "".join(key if known else "0" * 32 for key, known in keys)
    block.add("rows.key", np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 16))
    block.add("rows.has_key", is_key.astype(np.uint8))
    status = rows["status"].map({name: code for code, name in enumerate(STATUSES)}).fillna(len(STATUSES))
    block.add("rows.status", status.to_numpy(np.uint8))
    for metric in METRICS:
        if not metric.is_difference:
            for column in metric.columns():
                block.add(f"rows.{column}", measured(rows, column), metric.scale)
    for name in _WHOLE:
        numbers = np.clip(np.nan_to_num(measured(rows, name), nan=0.0), 0, 2**32 - 1)
        block.add(f"rows.{name}", numbers.astype(np.uint32))


def _is_key(text: str) -> bool:
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)


def _commands(rows: pd.DataFrame, is_key: NDArray[np.bool_]) -> tuple[list[Command], NDArray[np.int64]]:
    """The commands of the rows, and which is each row's; those without a key share the last one, a reason."""
    found, sets = commands(rows[is_key].reset_index(drop=True))
    of_rows = np.full(len(rows), len(found), np.int64)
    of_rows[is_key] = sets
    return [*found, Command(reason=_KEYLESS)], of_rows


def _texts(rows: pd.DataFrame, column: str, shown: Callable[[str], str]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct texts of a column as they are shown, and the place of each row's among them, from 1; 0 for none."""
    if column not in rows.columns:
        return [], np.zeros(len(rows), np.int64)
    texts = [shown(text) if isinstance(text, str) else "" for text in rows[column]]
    known = list(dict.fromkeys(text for text in texts if text))
    number = {text: index + 1 for index, text in enumerate(known)}
    return known, np.array([number.get(text, 0) for text in texts], np.int64)


def _traceback(text: str) -> str:
    """A traceback, each of its lines legible."""
    return "\n".join(legible(line, _LONGEST_ERROR) for line in text.splitlines())


def _add_grid(
    block: Block,
    name: str,
    grid: FigureGrid,
    place: NDArray[np.int64],
    columns: dict[str, NDArray[np.float64]],
) -> None:
    block.add(f"{name}.rows", place[grid.rows].astype(np.int32))
    for metric in METRICS:
        for column in metric.columns():
            for part, values in zip(("mean", "low", "high"), intervals(grid, columns[column]), strict=True):
                block.add(f"{name}.{column}.{part}", values, metric.scale)
    for at_epoch in MOMENTS:
        block.add(f"{name}.trained_{at_epoch}", trained(grid, at_epoch).astype(np.uint8))
        shares = train_shares(grid, at_epoch)
        block.add(f"{name}.trained_{at_epoch}.low", shares.low, FRACTION)
        block.add(f"{name}.trained_{at_epoch}.high", shares.high, FRACTION)


def _study(grid: FigureGrid) -> dict[str, Any]:
    found = best_minus_last_by_method(grid)
    return {
        "title": grid.title,
        "slug": grid.slug,
        "dataset": grid.dataset,
        "layout": grid.layout,
        "chance": grid.chance,
        "threshold": grid.threshold,
        "methods": _methods(grid),
        "depths": list(grid.depths),
        "widths": list(grid.widths),
        "seeds": list(grid.seeds),
        "cells": int(grid.present.sum()),
        "frontiers": {start: {at_epoch: _frontiers(grid, at_epoch, start) for at_epoch in MOMENTS} for start in STARTS},
        "ratios": {start: {at_epoch: _ratios(grid, at_epoch, start) for at_epoch in MOMENTS} for start in STARTS},
        "summary": {at_epoch: _summary(grid, at_epoch, found) for at_epoch in MOMENTS},
    }


def _methods(grid: FigureGrid) -> list[dict[str, Any]]:
    """Each method: names, colour and marker as in the pictures, and the fewest and most seeds of a place."""
    looks, counts = method_looks(grid.methods), grid.present.sum(axis=-1)
    found = []
    for label, title, own in zip(grid.methods, grid.method_titles, counts, strict=True):
        colour, marker = looks[label]
        seeds = own[own > 0].tolist() or [0]
        found.append(
            {
                "label": legible(label),
                "title": title,
                "colour": colour,
                "marker": marker,
                "fewest_seeds": min(seeds),
                "most_seeds": max(seeds),
            }
        )
    return found


def _frontiers(grid: FigureGrid, at_epoch: str, start: Start) -> list[list[dict[str, Any]]]:
    return [
        [
            {
                "width": point.width,
                "depth": point.depth,
                "low": point.low,
                "high": point.high,
                "seeds": point.seeds,
                "open": point.is_open,
                "cut": point.is_cut,
            }
            for point in frontier.points
        ]
        for frontier in frontiers(grid, at_epoch, start=start)
    ]


def _ratios(grid: FigureGrid, at_epoch: str, start: Start) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if BASELINE not in grid.methods:
        return found
    for index, method in enumerate(grid.methods):
        if method == BASELINE:
            continue
        ratio = frontier_ratio(grid, at_epoch, method, start=start)
        if ratio is None:
            found.append({"method": index, "ratio": None})
            continue
        found.append(
            {
                "method": index,
                "ratio": ratio.ratio,
                "low": ratio.low,
                "high": ratio.high,
                "widths": list(ratio.widths),
                "left_out": list(ratio.left_out),
                "at_least": list(ratio.at_least),
                "at_most": list(ratio.at_most),
                "seeds": ratio.seeds,
                "without": ratio.resamples_without,
            }
        )
    return found


def _summary(grid: FigureGrid, at_epoch: str, found: Sequence[BestMinusLast]) -> dict[str, Any]:
    summary = summarise(grid, at_epoch)
    trained_cells = trained(grid, at_epoch).sum(axis=(1, 2, 3))
    rows = []
    for index, (method, gap) in enumerate(zip(summary.methods, found, strict=True)):
        share = gap.trains.get(at_epoch)
        rows.append(
            {
                "networks": method.networks,
                "seeds": method.seeds,
                "trained": int(trained_cells[index]),
                "share": None if share is None else share.mean,
                "low": None if share is None else share.low,
                "high": None if share is None else share.high,
                "diverged": method.diverged,
                "failed": method.failed,
                "best": {
                    metric: None
                    if best is None
                    else {"accuracy": best.accuracy, "depth": best.depth, "width": best.width, "seed": best.seed}
                    for metric, best in method.best.items()
                },
                "wins": dict(method.wins),
            }
        )
    return {"methods": rows, "compared": dict(summary.compared), "ties": dict(summary.ties)}
