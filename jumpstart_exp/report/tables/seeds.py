"""Statistics over seeds as Markdown, LaTeX and CSV: writing only."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from jumpstart_exp.report.captions import (
    correction_told,
    frontier_caption,
    in_interval,
    lacking,
    listed,
    moments_caption,
    no_ratio_told,
    point_told,
    seeds_of,
    threshold_of,
    thresholds_of,
    without_told,
)
from jumpstart_exp.report.figures.frontier import STARTS
from jumpstart_exp.report.figures.shares import MEASURED
from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.differences import (
    COMPARED,
    LEAST_SEEDS,
    comparisons,
    flatteries,
    paired_differences,
)
from jumpstart_exp.report.statistics.frontier import FrontierPoint, frontier_ratio, frontiers
from jumpstart_exp.report.statistics.intervals import mean_interval
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.report.tables.markup import csv_text, in_latex, in_markdown, markdown_table, write_texts

_LONG = 40  # rows from which on a LaTeX table breaks over pages
_DIGITS = 9  # behind the point, in CSV
_ACCURACIES = ("train_acc", "val_acc")


@dataclass(frozen=True)
class SeedTable:
    """One table: what Markdown and LaTeX show as text, and the numbers themselves for CSV, heads first.

    `columns` has a letter a column, "l" for text and "r" for numbers.
    """

    name: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[tuple[object, ...], ...]
    columns: str


def write_seed_tables(grid: FigureGrid, folder: Path) -> list[Path]:
    """Write every table that the figure supports as SLUG_NAME.md, .tex and .csv; the same grid, the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = []
    for table in seed_tables(grid):
        text = in_markdown(table.caption)
        body = [[*map(in_markdown, row)] for row in table.rows]
        texts = {
            "md": f"{text}\n\n{markdown_table(table.heads, body, table.columns)}",
            "tex": _latex(table),
            "csv": csv_text([*map(_rounded, row)] for row in table.numbers),
        }
        paths += write_texts(folder, f"{grid.slug}_{table.name}", texts)
    return paths


def seed_tables(grid: FigureGrid) -> list[SeedTable]:
    """Every table about seeds that the figure supports."""
    tables = [places_table(grid, moment) for moment in MOMENTS]
    tables.append(moments_table(grid))
    if len(grid.depths) > 1:
        tables.append(frontier_table(grid))
        if comparisons(grid.methods):
            tables.append(ratio_table(grid))
    if comparisons(grid.methods) and grid.seed_range()[1] >= LEAST_SEEDS:
        tables += [differences_table(grid, moment) for moment in MOMENTS]
    return tables


def places_table(grid: FigureGrid, moment: str) -> SeedTable:
    """Every place's mean accuracies with their intervals, and the share of its seeds that train with Wilson's."""
    means = {metric: mean_interval(grid.accuracy[f"{metric}_{moment}"]) for metric in _ACCURACIES}
    shares = train_shares(grid, moment)
    least = grid.threshold
    ends = ("", "_low", "_high")
    names = ["method", "depth", "width", "seeds", "diverged", "failed"]
    names += [f"{metric}{end}" for metric in _ACCURACIES for end in ends]
    numbers: list[tuple[object, ...]] = [(*names, "trained", *(f"share{end}" for end in ends), "threshold")]
    rows = []
    for place in map(tuple, np.argwhere(shares.seeds > 0)):
        method, depth, width = (int(index) for index in place)
        accuracies = [[float(values[place]) for values in means[metric]] for metric in _ACCURACIES]
        share = [float(values[place]) for values in (shares.share, shares.low, shares.high)]
        seeds, trained = int(shares.seeds[place]), int(shares.trained[place])
        lost = (int(grid.diverged[place].sum()), int(grid.failed[place].sum()))
        numbers.append(
            (
                *(grid.methods[method], grid.depths[depth], grid.widths[width], seeds, *lost),
                *(_known(value) for values in accuracies for value in values),
                *(trained, *share, least),
            )
        )
        rows.append(
            (
                grid.method_titles[method],
                f"{grid.depths[depth]}×{grid.widths[width]}",
                *(_mean(*values) for values in accuracies),
                f"{trained} of {seeds}",
                f"{share[1]:.2f} to {share[2]:.2f}",
            )
        )
    caption = (
        f"{grid.title}, {moment} epoch: every place over {seeds_of(grid)}. In brackets the 95 % intervals of the "
        "means, bootstrap over the place's seeds: from few seeds too narrow, from one there is none. Seeds that "
        "diverged or failed have no accuracy. Of the share of seeds that train Wilson's 95 % interval; "
        f"{threshold_of(grid)}."
    )
    heads = ("method", "depth×width", "training", "validation", "train", "interval of the share")
    return SeedTable(f"places_{moment}", caption, heads, tuple(rows), tuple(numbers), "lrrrrr")


def moments_table(grid: FigureGrid) -> SeedTable:
    """How much the best epoch flatters each method."""
    names = ("method", "measured", "mean", "low", "high", "seeds", "places")
    numbers: list[tuple[object, ...]] = [names]
    rows = []
    for of, title in zip(flatteries(grid), grid.method_titles, strict=True):
        found = {f"{metric}_best_minus_last": of.accuracy[metric] for metric in _ACCURACIES}
        found |= {f"{metric}_beyond_relu": of.beyond_baseline[metric] for metric in _ACCURACIES}
        found |= {f"trains_{moment}": of.trains.get(moment) for moment in MOMENTS}
        numbers += [
            (of.method, name, one.mean, _none(one.low), _none(one.high), one.seeds, one.places)
            for name, one in found.items()
            if one is not None
        ]
        rows.append((title, *("" if one is None else in_interval(one) for one in found.values())))
    shown = ("training: best minus last", "validation: best minus last", "training: beyond ReLU's")
    heads = ("method", *shown, "validation: beyond ReLU's", "cells that train, best", "cells that train, last")
    caption = (
        f"{grid.title}: best epoch against last. {moments_caption(grid, None)} Beyond ReLU's: by how much "
        "more than ReLU a method is flattered, at the seeds and places that both have."
    )
    return SeedTable("moments", caption, heads, tuple(rows), tuple(numbers), "lrrrrrr")


def frontier_table(grid: FigureGrid) -> SeedTable:
    """Every method's frontier, a column a width."""
    names = ("method", "moment", "start", "width", "depth", "low", "high", "seeds", "at_least")
    numbers: list[tuple[object, ...]] = [(*names, "next_is_missing", "shallowest")]
    rows = []
    for moment in MOMENTS:
        for start, words in STARTS.items():
            found = frontiers(grid, moment, start=start)
            for frontier, title in zip(found, grid.method_titles, strict=True):
                points = {point.width: point for point in frontier.points}
                numbers += [
                    (
                        *(frontier.method, moment, start, point.width, _none(point.depth)),
                        *(_none(point.low), _none(point.high), point.seeds, int(point.is_open), int(point.is_cut)),
                        point.shallowest,
                    )
                    for point in frontier.points
                ]
                rows.append((title, moment, words, *(_depth(grid, points.get(width)) for width in grid.widths)))
    caption = (
        f"{grid.title}. {frontier_caption(grid)} In brackets the intervals; a plus says at least: "
        "no deeper network was trained; not trained, that the depths which would decide are missing."
    )
    heads = ("method", "epoch", "counted", *(f"width {width}" for width in grid.widths))
    return SeedTable("frontier", caption, heads, tuple(rows), tuple(numbers), f"lll{'r' * len(grid.widths)}")


def ratio_table(grid: FigureGrid) -> SeedTable:
    """How many times deeper methods train than others, with the widths used and left out.

    The chosen threshold comes first, the dataset's others follow as sensitivity.
    """
    names = ("method", "baseline", "moment", "start", "threshold", "ratio", "low", "high", "seeds", "widths")
    numbers: list[tuple[object, ...]] = [(*names, "left_out", "at_least", "at_most", "resamples_without")]
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    rows: list[tuple[str, ...]] = []
    wanted = itertools.product(comparisons(grid.methods), thresholds_of(grid), MOMENTS, STARTS.items())
    for (own, other), least, moment, (start, words) in wanted:
        found = frontier_ratio(grid.at_threshold(least), moment, own, other, start=start)
        head = (titles[own], titles[other], moment, words, f"{least:.4g}")
        where = (own, other, moment, start, least)
        if found is None:
            numbers.append((*where, *[""] * 5, " ".join(map(str, grid.widths)), *[""] * 3))
            rows.append((*head, no_ratio_told(grid, own, other), "", "", "", listed(grid.widths), "", ""))
            continue
        sets = (found.widths, found.left_out, found.at_least, found.at_most)
        interval = "" if found.low is None else f"{found.low:.2f} to {found.high:.2f}"
        without = without_told(found)
        numbers.append(
            (
                *(*where, found.ratio, _none(found.low), _none(found.high), found.seeds),
                *(" ".join(map(str, values)) for values in sets),
                found.resamples_without,
            )
        )
        told = f"{interval} ({without})" if without else interval
        rows.append((*head, f"× {found.ratio:.2f}", told, str(found.seeds), *map(listed, sets)))
    caption = (
        f"{grid.title}: how many times deeper. {frontier_caption(grid)} Seeds: the fewest that both methods "
        "have at a place that decides. At the widths under at least, the method's frontier is the deepest of these "
        "depths, under at most the other's."
    )
    heads = ("method", "against", "epoch", "counted", "threshold", "ratio", "interval", "seeds", "widths", "left out")
    every = (*heads, "at least", "at most")
    return SeedTable("frontier_ratio", caption, every, tuple(rows), tuple(numbers), "llllrrrrllll")


def differences_table(grid: FigureGrid, moment: str) -> SeedTable:
    """Differences between methods: over all places, and the places at which they are significant.

    The CSV has every place, and depth and width empty for all places together.
    """
    names = ("method", "baseline", "measured", "depth", "width", "pairs", "left_out", "mean", "low", "high")
    numbers: list[tuple[object, ...]] = [(*names, "p", "p_adjusted", "significant")]
    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    rows, every = [], []
    for own, other in comparisons(grid.methods):
        for measured in COMPARED:
            of = paired_differences(grid, own, other, measured, moment)
            every.append(of)
            if of.overall is None:
                continue
            significant = of.significant()
            overall, places = of.overall, [*map(tuple, np.argwhere(of.pairs > 0))]
            numbers.append(
                (
                    *(own, other, measured, "", "", overall.seeds, int(of.left_out.sum()), overall.mean),
                    *(_none(overall.low), _none(overall.high), _none(of.overall_p), "", ""),
                )
            )
            numbers += [
                (
                    *(own, other, measured, grid.depths[place[0]], grid.widths[place[1]]),
                    *(int(of.pairs[place]), int(of.left_out[place])),
                    *(_known(float(values[place])) for values in (of.mean, of.low, of.high, of.p, of.adjusted)),
                    int(significant[place]),
                )
                for place in places
            ]
            better, worse = (int((significant & (sign * of.mean > 0)).sum()) for sign in (1, -1))
            rows.append(
                (
                    *(titles[own], titles[other], MEASURED[measured], in_interval(overall, signed=True)),
                    *(f"{of.overall_p:.2g}", str(overall.seeds), str(len(places)), str(better), str(worse)),
                )
            )
    caption = (
        f"{grid.title}, {moment} epoch: differences paired by seed and place; in brackets the 95 % interval, bootstrap "
        f"over whole seeds; p is the mean's own, with the signs of whole seeds flipped. {correction_told([every])}"
    )
    heads = ("method", "against", "measured", "mean over places", "p", "seeds", "places", "higher at", "lower at")
    return SeedTable(f"differences_{moment}", caption, heads, tuple(rows), tuple(numbers), "lllrrrrrr")


def _latex(table: SeedTable) -> str:
    body = [" & ".join(map(in_latex, row)) + r" \\" for row in table.rows]
    head = " & ".join(map(in_latex, table.heads)) + r" \\"
    caption = rf"\caption{{{in_latex(table.caption)}}}"
    if len(table.rows) >= _LONG:
        lines = [
            r"% needs \usepackage{longtable}",
            rf"\begin{{longtable}}{{{table.columns}}}",
            caption + r" \\",
            *(r"\hline", head, r"\hline", r"\endhead"),
            *body,
            *(r"\hline", r"\end{longtable}"),
        ]
    else:
        lines = [
            *(r"\begin{table}", r"\centering", caption, rf"\begin{{tabular}}{{{table.columns}}}"),
            *(r"\hline", head, r"\hline", *body, r"\hline"),
            *(r"\end{tabular}", r"\end{table}"),
        ]
    return "\n".join(lines) + "\n"


def _mean(mean: float, low: float, high: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _depth(grid: FigureGrid, point: FrontierPoint | None) -> str:
    return "" if point is None else "; ".join(part for part in (point_told(point), lacking(grid, point)) if part)


def _rounded(value: object) -> object:
    """A number without the digits in which processors may differ."""
    return round(value, _DIGITS) if isinstance(value, float) else value


def _known(value: float) -> object:
    return "" if np.isnan(value) else value


def _none(value: float | None) -> object:
    return "" if value is None else value


@of_grid("seeds", rank=32)
def _seeds(grid: FigureGrid) -> Iterator[Job]:
    yield Job("tables", partial(write_seed_tables, grid))
