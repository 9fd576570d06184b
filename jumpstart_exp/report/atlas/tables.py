"""The atlas as tables: the ranking, what the census predicts, and who trains stably."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from jumpstart_exp.report.atlas.area import areas, ranking
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.expense import expense
from jumpstart_exp.report.atlas.improvement import Improvement, improvement
from jumpstart_exp.report.atlas.prediction import predictions
from jumpstart_exp.report.atlas.stability import stability, trained_shares
from jumpstart_exp.report.captions import counted
from jumpstart_exp.report.statistics.intervals import LEAST_FOR_BOOTSTRAP
from jumpstart_exp.report.table.grid import FigureGrid
from jumpstart_exp.report.tables.table import MISSING, Column, Table

BASELINES = ("relu", "sep_up")
"""What every method is compared with."""

_NAMED = 6  # methods that lack seeds


def ranking_values(atlas: Atlas) -> pd.DataFrame:
    """All numbers of the ranking, a row a method, the largest area at the last epoch first."""
    grid, last, best = atlas.grid, areas(atlas, "last"), areas(atlas, "best")
    cost, against = expense(grid), {name: improvement(grid, name) for name in BASELINES}
    seeds = grid.present.any(axis=(1, 2)).sum(axis=1)
    columns: dict[str, Any] = {
        "rank": last.rank,
        "rank_first": last.first,
        "rank_last": last.last,
        "method": grid.methods,
        "title": grid.method_titles,
        "learning_rate": [atlas.rates[method] for method in grid.methods],
        "seeds": seeds,
        "lacking": last.lacking,
        "area": last.area,
        "area_low": last.low,
        "area_high": last.high,
        "area_best": best.area,
        "area_best_low": best.low,
        "area_best_high": best.high,
        "trains_last": trained_shares(grid, "last"),
        "trains_best": trained_shares(grid, "best"),
    }
    for name, found in against.items():
        columns |= _against(name, found, len(grid.methods))
    for name in ("time", "lower", "upper", "parameters"):
        own = np.full(len(grid.methods), np.nan) if cost is None else getattr(cost, name)
        columns[name if name == "parameters" else f"time_{name}".replace("time_time", "time")] = own
    return pd.DataFrame(columns).iloc[last.order()].reset_index(drop=True)


def _against(name: str, found: Improvement | None, methods: int) -> dict[str, list[float]]:
    """The columns of the comparison with one baseline, NaN for what is not compared."""
    each = [None] * methods if found is None else found.each
    p = np.full((2, methods), np.nan) if found is None else np.array([found.p, found.adjusted])
    values = [[np.nan if of is None else of.value, *_ends(of)] for of in each]
    columns = {f"over_{name}{end}": [row[at] for row in values] for at, end in enumerate(("", "_low", "_high"))}
    return columns | {f"over_{name}_p": p[0].tolist(), f"over_{name}_p_adjusted": p[1].tolist()}


def _ends(of: Any) -> tuple[float, float]:
    return (np.nan, np.nan) if of is None or of.low is None else (of.low, of.high)


def ranking_table(atlas: Atlas) -> Table:
    """Methods by the area under their frontier, with what they cost."""
    values = ranking_values(atlas)
    common, grid = areas(atlas, "last").seeds, atlas.grid
    caption = (
        f"{atlas.title}. Each method at its own learning rate. Area: the mean over the {len(grid.widths)} "
        "widths of the greatest depth up to which at least half of the seeds train, from the first depth on that "
        f"trains, over the deepest, {grid.depths[-1]}; a width without any counts 0. "
        f"{_intervals_told(common)} P: the probability that a network of the method has a higher training accuracy at "
        "the last epoch than one of the baseline at the same depth, width and seed, ties one half. Its p-value flips "
        "the signs of whole seeds and is corrected for the number of methods (Westfall and Young, step-down)."
        f"{_least_told(grid)} Time: median of the ratios of seconds to those of ReLU at the same place and seed by one "
        "engine on one device, with quartiles; cells are trained side by side, so it is rough. "
        f"{_incomplete(values)}"
    )
    columns = (
        Column("rank", _rank),
        Column("method", "{title}", "l"),
        Column("learning rate", "{learning_rate:g}"),
        Column("seeds", "{seeds}"),
        Column("area, last epoch", _with_ends("area", "{:.3f}")),
        Column("area, best", "{area_best:.3f}"),
        Column("networks that train, last (best)", "{trains_last:.1%} ({trains_best:.1%})"),
        Column("P over ReLU", partial(_improvement, "relu")),
        Column("P over Sep-UP", partial(_improvement, "sep_up")),
        Column("time", _time),
        Column("parameters", "× {parameters:.2f}"),
    )
    return Table(caption.strip(), values, columns, digits=6)


def _intervals_told(seeds: int) -> str:
    if seeds < LEAST_FOR_BOOTSTRAP:
        return (
            f"No intervals: {counted(seeds, 'seed')} that all methods have everywhere are too few to resample, "
            f"{LEAST_FOR_BOOTSTRAP} are needed."
        )
    return (
        f"Intervals hold for all methods at once (95 %, the {seeds} seeds resampled together), ranks in brackets are "
        "those that the differences of all pairs do not exclude."
    )


def _least_told(grid: FigureGrid) -> str:
    """How small a p-value can be at all: of few seeds none is small."""
    found = [of.least_p for name in BASELINES if (of := improvement(grid, name)) and not np.isnan(of.least_p)]
    return f" With so many seeds none can be below {min(found):.2g}." if found else ""


def _incomplete(values: pd.DataFrame) -> str:
    own = values[values["lacking"] > 0]
    if not len(own):
        return ""
    most = own.sort_values("lacking", ascending=False, kind="stable")[:_NAMED]
    named = [f"{row.title} ({row.lacking})" for row in most.itertuples()]
    if others := len(own) - len(named):
        named.append(f"{others} others")
    return (
        "Depth-width pairs at which a method has fewer seeds than others, so that its area may be too small: "
        f"{'; '.join(named)}."
    )


def _rank(row: Any) -> str:
    if np.isnan(row.rank_first):
        return f"{row.rank}"
    return f"{row.rank} [{row.rank_first:.0f}–{row.rank_last:.0f}]"


def _with_ends(name: str, form: str) -> Any:
    def text(row: Any) -> str:
        value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
        ends = "" if np.isnan(low) else f" ({form.format(low)} to {form.format(high)})"
        return form.format(value) + ends

    return text


def _improvement(name: str, row: Any) -> str:
    value, p = getattr(row, f"over_{name}"), getattr(row, f"over_{name}_p_adjusted")
    return MISSING if np.isnan(value) else f"{value:.2f} (p {p:.2g})"


def _time(row: Any) -> str:
    return MISSING if np.isnan(row.time) else f"× {row.time:.2f} ({row.time_lower:.2f} to {row.time_upper:.2f})"


def prediction_values(atlas: Atlas) -> pd.DataFrame:
    """How well the census predicts who trains, a row a method and moment, in the order of the ranking."""
    titles = dict(zip(atlas.grid.methods, atlas.grid.method_titles, strict=True))
    order = ranking(atlas)
    found = sorted(predictions(atlas), key=lambda each: order.index(each.method))
    rows = [{"title": titles[each.method], **vars(each)} for each in found]
    columns = ["title", "method", "moment", "auc", "low", "high", "within", "within_low", "within_high"]
    return pd.DataFrame(rows, columns=[*columns, "networks", "trained", "pairs"]).astype(
        {"auc": float, "within": float}
    )


def prediction_table(atlas: Atlas) -> Table:
    """The census at the start and early against who trains at the end."""
    values = prediction_values(atlas)
    caption = (
        f"{atlas.title}. Does the census tell which networks train at the last epoch? The area under the ROC curve of "
        "the share of units that are neither dead nor linear: the probability that a network that trains has more of "
        "them than one that does not (0.5: it tells nothing). At one place: only among networks of one depth and "
        f"width. Early is after {atlas.early} epochs. Smooth activations have no such units. Intervals (95 %) over "
        f"resampled seeds from {LEAST_FOR_BOOTSTRAP} seeds on."
    )
    columns = (
        Column("method", "{title}", "l"),
        Column("census", "{moment}", "l"),
        Column("AUC", partial(_auc, "auc", "")),
        Column("AUC at one place", partial(_auc, "within", "within_")),
        Column("pairs at one place", "{pairs:,}"),
        Column("networks that train", "{trained} of {networks}"),
    )
    return Table(caption, values, columns, digits=6)


def _auc(name: str, prefix: str, row: Any) -> str:
    value, low, high = getattr(row, name), getattr(row, f"{prefix}low"), getattr(row, f"{prefix}high")
    if value is None or np.isnan(value):
        return MISSING
    return f"{value:.2f}" + ("" if low is None or np.isnan(low) else f" ({low:.2f} to {high:.2f})")


def stability_values(atlas: Atlas) -> pd.DataFrame:
    """Networks that train at best and at last, a row a method, in the order of the ranking."""
    found, grid = stability(atlas.grid), atlas.grid
    values = pd.DataFrame({"title": grid.method_titles, "method": grid.methods, **vars(found)})
    return values.iloc[areas(atlas, "last").order()].reset_index(drop=True)


def stability_table(atlas: Atlas) -> Table:
    """Who trains stably."""
    caption = (
        f"{atlas.title}. Networks that train at their best epoch, those that still do at the last one, and the share "
        "that was lost between, with Wilson's interval (95 %), which takes networks as independent."
    )
    columns = (
        Column("method", "{title}", "l"),
        Column("train at best", "{best} of {networks}"),
        Column("at last", "{last}"),
        Column("lost", _lost),
    )
    return Table(caption, stability_values(atlas), columns, digits=6)


def _lost(row: Any) -> str:
    return MISSING if np.isnan(row.lost) else f"{row.lost:.1%} ({row.low:.1%} to {row.high:.1%})"
