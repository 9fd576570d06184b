"""The atlas's statistics as plain data of the page's head; methods are places among the grid's, numbers are rounded."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.prediction import Prediction, predictions
from jumpstart_exp.report.atlas.profiles import profiles
from jumpstart_exp.report.atlas.stability import stability
from jumpstart_exp.report.atlas.tables import BASELINES, ranking_values
from jumpstart_exp.report.statistics.intervals import Floats, share_interval
from jumpstart_exp.report.statistics.seedwise import or_none
from jumpstart_exp.report.table.grid import MOMENTS

DIGITS = 5
"""Of every number: what is less than the page's other fractions tell."""

Entry = dict[str, Any]


def ranking_entries(atlas: Atlas) -> list[Entry]:
    """Every method by the area under its frontier at the last epoch, with what else the ranking tells of it."""
    return [
        {
            "method": atlas.grid.methods.index(row["method"]),
            "rank": int(row["rank"]),
            "ranks": None if np.isnan(row["rank_first"]) else [int(row["rank_first"]), int(row["rank_last"])],
            "lacking": int(row["lacking"]),
            "area_last": _named(row, "area", "area_low", "area_high"),
            "area_best": _named(row, "area_best", "area_best_low", "area_best_high"),
            "trains_last": _number(row["trains_last"]),
            "trains_best": _number(row["trains_best"]),
            "over": {label: _over(row, f"over_{label}") for label in BASELINES},
            "cost": _named(row, "time", "time_lower", "time_upper"),
            "parameters": _number(row["parameters"]),
        }
        for row in ranking_values(atlas).to_dict("records")
    ]


def profile_entries(atlas: Atlas) -> Entry:
    """The share of each method's places that at least so many of the seeds train, at both moments."""
    found = {at_epoch: profiles(atlas.grid, at_epoch) for at_epoch in MOMENTS}
    return {
        "thresholds": _numbers(found["last"].tau),
        **{
            end: {at_epoch: [_numbers(own) for own in getattr(of, end)] for at_epoch, of in found.items()}
            for end in ("share", "low", "high")
        },
    }


def prediction_entries(atlas: Atlas, order: Sequence[int]) -> Entry:
    """How well each method's census tells which of its networks train, and the methods of which nothing is known."""
    found = {(each.method, each.moment): each for each in predictions(atlas)}
    rows, unknown = [], []
    for method in order:
        of = {moment: found.get((atlas.grid.methods[method], moment)) for moment in ("start", "early")}
        row = {moment: _auc(own, "auc", "") for moment, own in of.items()}
        row |= {f"{moment}_within": _auc(own, "within", "within_") for moment, own in of.items()}
        if any(own is not None for own in row.values()):
            pairs = max(own.pairs for own in of.values() if own is not None)
            rows.append({"method": method, "pairs": pairs, **row})
        else:
            unknown.append(method)
    return {"rows": rows, "unknown": unknown}


def stability_entries(atlas: Atlas, order: Sequence[int]) -> list[Entry]:
    """Which share of each method's networks trains at the best and at the last epoch, and how many are lost between."""
    of = stability(atlas.grid)
    best, last = (share_interval(count, of.networks) for count in (of.best, of.last))
    return [
        {
            "method": method,
            "networks": int(of.networks[method]),
            "trained_best": int(of.best[method]),
            "trained_last": int(of.last[method]),
            "best": _at(*best, method),
            "last": _at(*last, method),
            "lost": _at(of.lost, of.low, of.high, method),
        }
        for method in order
    ]


def _over(row: Mapping[Hashable, Any], name: str) -> Entry | None:
    found = _named(row, name, f"{name}_low", f"{name}_high")
    return found and {**found, "p": _number(row[f"{name}_p_adjusted"])}


def _auc(of: Prediction | None, name: str, prefix: str) -> Entry | None:
    if of is None or getattr(of, name) is None:
        return None
    return _of(*(getattr(of, field) for field in (name, f"{prefix}low", f"{prefix}high")))


def _named(row: Mapping[Hashable, Any], value: str, low: str, high: str) -> Entry | None:
    """A number of a table's row with its ends; None where it has none."""
    return None if np.isnan(row[value]) else _of(row[value], row[low], row[high])


def _at(value: Floats, low: Floats, high: Floats, method: int) -> Entry | None:
    """A method's number with its ends; None where it has none."""
    return None if np.isnan(value[method]) else _of(value[method], low[method], high[method])


def _of(value: float, low: float | None, high: float | None) -> Entry:
    return {"value": _number(value), "low": _number(low), "high": _number(high)}


def _number(value: float | None) -> float | None:
    return None if value is None else or_none(round(float(value), DIGITS))


def _numbers(values: Floats) -> list[float | None]:
    return [_number(value) for value in values]
