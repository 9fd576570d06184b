"""Statistics over seeds as tables."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.report import captions
from jumpstart_exp.report.figures.frontier import STARTS
from jumpstart_exp.report.figures.shares import MEASURED
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.differences import (
    COMPARED,
    LEAST_SEEDS,
    BestMinusLast,
    Estimate,
    best_minus_last_by_method,
    comparisons,
    paired_differences,
)
from jumpstart_exp.report.statistics.frontier import frontier_ratio, frontiers
from jumpstart_exp.report.statistics.intervals import Means, means
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.report.tables.table import CellOf, Column, Table, at, interval, table_job

_RATIO = (
    *("method", "baseline", "moment", "start", "threshold", "ratio", "low", "high", "seeds", "widths", "left_out"),
    *("at_least", "at_most", "each", "distinct", "resamples_without", "told", "interval"),
)
_DIFFERENCE = (
    *("method", "baseline", "measured", "depth", "width", "pairs", "left_out", "mean", "low", "high", "least", "most"),
    *("p", "p_adjusted", "significant", "estimate"),
)


def seed_jobs(grid: FigureGrid) -> Iterator[Job]:
    """Every table about seeds that the figure supports, as SLUG_NAME."""

    def job(name: str, make: Callable[..., Table], *arguments: object) -> Job:
        return table_job(f"{grid.slug}_{name}", partial(make, grid, *arguments))

    for at_epoch in MOMENTS:
        yield job(f"places_{at_epoch}", places_table, at_epoch)
    yield job("moments", moments_table)
    if len(grid.depths) > 1:
        yield job("frontier", frontier_table)
        if comparisons(grid.methods):
            yield job("frontier_ratio", ratio_table)
    if comparisons(grid.methods) and grid.seed_range()[1] >= LEAST_SEEDS:
        for at_epoch in MOMENTS:
            yield job(f"differences_{at_epoch}", differences_table, at_epoch)


of_grid("seeds", rank=32)(seed_jobs)


def places_table(grid: FigureGrid, at_epoch: str) -> Table:
    """Every grid point's share of seeds that train with Wilson's interval, and its mean accuracies with theirs."""
    shares = train_shares(grid, at_epoch)
    there = shares.seeds > 0
    method, depth, width = np.nonzero(there)
    values = {
        "method": np.array(grid.methods, object)[method],
        "depth": np.array(grid.depths)[depth],
        "width": np.array(grid.widths)[width],
        "seeds": shares.seeds[there],
        "diverged": grid.diverged.sum(axis=-1)[there],
        "failed": grid.failed.sum(axis=-1)[there],
        "trained": shares.trained[there],
        **{f"share{end}": of[there] for end, of in (("", shares.share), ("_low", shares.low), ("_high", shares.high))},
        **_of_means("train_acc", means(grid.accuracy[f"train_acc_{at_epoch}"], (0, 1)), there),
        **_of_means("val_acc", means(grid.accuracy[f"val_acc_{at_epoch}"], (0, 1)), there),
        "threshold": grid.threshold,
        "title": np.array(grid.method_titles, object)[method],
    }
    caption = (
        f"{grid.title}, {at_epoch} epoch: every place over {captions.seeds_of(grid)}. First the seeds that train, with "
        f"Wilson's interval of their share: {captions.wilson_coverage_told(grid.seed_range()[0])}; "
        f"{captions.threshold_of(grid)}. Then the mean {grid.scores}, {captions.means_told(*grid.seed_range())}. "
        f"Seeds that diverged or failed have no {grid.score}."
    )
    columns = (
        Column("method", "{title}", "l"),
        Column("depth×width", "{depth}×{width}"),
        Column("train", "{trained} of {seeds}"),
        Column("Wilson's interval of the share", "{share_low:.2f} to {share_high:.2f}"),
        *(Column("training", interval("train_acc")), Column("validation", interval("val_acc"))),
    )
    return Table(caption, pd.DataFrame(values), columns, shown_only=("title",))


def moments_table(grid: FigureGrid) -> Table:
    """How much the best epoch flatters each method."""
    shown: dict[str, tuple[str, Callable[[BestMinusLast], Estimate | None]]] = {
        "trains_best": ("cells that train, best", lambda of: of.trains.get("best")),
        "trains_last": ("cells that train, last", lambda of: of.trains.get("last")),
        "train_acc_best_minus_last": ("training: best minus last", lambda of: of.accuracy["train_acc"]),
        "val_acc_best_minus_last": ("validation: best minus last", lambda of: of.accuracy["val_acc"]),
        "train_acc_beyond_relu": ("training: beyond ReLU's", lambda of: of.beyond_baseline["train_acc"]),
        "val_acc_beyond_relu": ("validation: beyond ReLU's", lambda of: of.beyond_baseline["val_acc"]),
    }
    rows = [
        {"method": of.method, "measured": name, **vars(estimate), "title": title, "estimate": estimate}
        for of, title in zip(best_minus_last_by_method(grid), grid.method_titles, strict=True)
        for name, (_, estimate_of) in shown.items()
        if (estimate := estimate_of(of)) is not None
    ]
    caption = (
        f"{grid.title}: best epoch against last. {captions.moments_caption(grid, None)} Beyond ReLU's: by how much "
        "more than ReLU a method is flattered, at the seeds and places that both have."
    )
    columns = (
        Column("method", "{title}", "l"),
        *(
            Column(head, at("measured", name, lambda row: captions.in_interval(row.estimate)))
            for name, (head, _) in shown.items()
        ),
    )
    values = pd.DataFrame(rows, dtype=object)
    return Table(caption, values, columns, by=("method",), shown_only=("title", "estimate"))


def frontier_table(grid: FigureGrid) -> Table:
    """Every method's frontier, a column a width."""
    rows = [
        {
            "method": frontier.method,
            "moment": at_epoch,
            "start": start,
            **vars(point),
            "each": _joined(point.each),
            "title": title,
            "told": "; ".join(filter(None, (captions.point_told(point), captions.lacking(grid, point)))),
        }
        for at_epoch in MOMENTS
        for start in STARTS
        for frontier, title in zip(frontiers(grid, at_epoch, start=start), grid.method_titles, strict=True)
        for point in frontier.points
    ]
    caption = (
        f"{grid.title}. {captions.frontier_caption(grid)} A plus says at least: "
        "no deeper network was trained; not trained, that the depths which would decide are missing."
    )
    columns = (
        Column("method", "{title}", "l"),
        Column("epoch", "{moment}", "l"),
        Column("counted", lambda *rows: STARTS[rows[0].start], "l"),
        *(Column(f"width {width}", at("width", width, lambda row: row.told)) for width in grid.widths),
    )
    values = pd.DataFrame(rows, dtype=object).astype({"is_open": int, "is_cut": int})
    values = values.rename(columns={"is_open": "at_least", "is_cut": "next_is_missing"})
    return Table(caption, values, columns, by=("method", "moment", "start"), shown_only=("title", "told"))


def ratio_table(grid: FigureGrid) -> Table:
    """How many times deeper methods train than others, with the widths used and left out.

    The chosen threshold comes first, the dataset's others follow as sensitivity.
    """
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    wanted = itertools.product(comparisons(grid.methods), captions.thresholds_of(grid), MOMENTS, STARTS)
    rows = []
    for (own, other), least, at_epoch, start in wanted:
        found = frontier_ratio(grid.at_threshold(least), at_epoch, own, other, start=start)
        row = {"method": own, "baseline": other, "moment": at_epoch, "start": start, "threshold": least}
        if found is None:
            row |= {"left_out": grid.widths, "told": captions.no_ratio_told(grid, own, other)}
        else:
            ends = captions.ratio_ends_told(found)
            told = f"{ends} ({captions.distinct_told(found)})" if found.distinct else ends
            row |= {**vars(found), "told": f"× {found.ratio:.2f}", "interval": told}
        joined = {name: _joined(value) for name, value in row.items() if isinstance(value, tuple)}
        rows.append(dict.fromkeys(_RATIO, "") | row | joined)
    caption = (
        f"{grid.title}: how many times deeper. {captions.frontier_caption(grid)} Seeds: the fewest that both methods "
        "have at a place that decides. At the widths under at least, the method's frontier is the deepest of these "
        "depths, under at most the other's."
    )
    sets = {"widths": "widths", "left out": "left_out", "at least": "at_least", "at most": "at_most"}
    columns = (
        Column("method", lambda row: titles[row.method], "l"),
        Column("against", lambda row: titles[row.baseline], "l"),
        Column("epoch", "{moment}", "l"),
        Column("counted", lambda row: STARTS[row.start], "l"),
        Column("threshold", "{threshold:.4g}"),
        Column("ratio", "{told}"),
        Column("interval or seeds", "{interval}", missing=""),
        Column("seeds", "{seeds}", missing=""),
        *(Column(head, _listed(name), "l") for head, name in sets.items()),
    )
    values = pd.DataFrame(rows, columns=[*_RATIO], dtype=object)
    return Table(caption, values, columns, shown_only=("told", "interval"))


def differences_table(grid: FigureGrid, at_epoch: str) -> Table:
    """Differences between methods: over all grid points, and at how many of them they are significant.

    The CSV has every grid point, and depth and width empty for all together.
    """
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    every, rows = [], []
    for (own, other), measured in itertools.product(comparisons(grid.methods), COMPARED):
        of = paired_differences(grid, own, other, measured, at_epoch)
        every.append(of)
        if of.overall is None:
            continue
        head = {"method": own, "baseline": other, "measured": measured}
        together = {"pairs": of.overall.seeds, "left_out": int(of.left_out.sum()), "p": of.overall_p}
        rows.append(head | vars(of.overall) | together | {"estimate": of.overall})
        significant = of.significant()
        for point in map(tuple, np.argwhere(of.pairs > 0)):
            row = {name: values[point].item() for name, values in vars(of).items() if isinstance(values, np.ndarray)}
            row |= {"depth": grid.depths[point[0]], "width": grid.widths[point[1]], "p_adjusted": row["adjusted"]}
            rows.append(head | row | {"significant": int(significant[point])})
    caption = (
        f"{grid.title}, {at_epoch} epoch: differences paired by seed and place, {captions.over_places_told(grid)}; "
        "p is the mean's own, with the signs of whole seeds flipped. "
        f"{captions.correction_told(every)}"
    )
    columns = (
        Column("method", lambda *rows: titles[rows[0].method], "l"),
        Column("against", lambda *rows: titles[rows[0].baseline], "l"),
        Column("measured", lambda *rows: MEASURED[rows[0].measured], "l"),
        Column("mean over places", lambda *rows: captions.in_interval(rows[0].estimate, signed=True)),
        Column("p", "{p:.2g}"),
        Column("seeds", "{pairs}"),
        Column("places", lambda _, *points: str(len(points))),
        Column("higher at", lambda _, *points: str(sum(point.significant and point.mean > 0 for point in points))),
        Column("lower at", lambda _, *points: str(sum(point.significant and point.mean < 0 for point in points))),
    )
    values = pd.DataFrame(rows, columns=[*_DIFFERENCE], dtype=object)
    return Table(caption, values, columns, by=("method", "baseline", "measured"), shown_only=("estimate",))


def _of_means(name: str, of: Means, there: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Means as NAME, their intervals and ranges as NAME_low, NAME_high, NAME_least and NAME_most."""
    return {name if part == "mean" else f"{name}_{part}": values[there] for part, values in vars(of).items()}


def _joined(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _listed(name: str) -> CellOf:
    return lambda row: str(getattr(row, name)).replace(" ", ", ")
