"""Ours against the published numbers: statistics only.

A published number is of one seed. So it is compared with every seed of ours: a seed's grid is a repetition of the
published one, and intervals are over seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.data.moons import Moons
from jumpstart_exp.report.papers.published import METRICS, ROUNDING, PublishedPlace
from jumpstart_exp.report.statistics.intervals import Floats, mean_interval, wilson
from jumpstart_exp.report.statistics.seedwise import or_none
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.table.names import method_rank, method_title
from jumpstart_exp.report.table.studies import StudyTable

MOONS_STUDIES = ("cpaior_moons", "iclr_moons", "sepcons_moons")
"""The studies of MOONS over depth and width: their cells overlap, and are compared with one published grid."""

MOONS_POINTS = {"train_acc_best": 85, "val_acc_best": 15}
"""Points whose shares the published accuracies of MOONS are."""


@dataclass(frozen=True, eq=False)
class GridComparison:
    """A published grid beside ours at the best epoch, on the published depths and widths.

    By metric (a column of the store): `published`, and of ours `mean`, `low`, `high` (95 %), `least`, `most`, each
    (methods, depths, widths), NaN where there is none, and `seeds`, how many have an accuracy. `values` are all seeds'
    and `present`, `diverged` and `failed` are where there is such a cell, (methods, depths, widths, seeds).
    `other_depths` and `other_methods` are ours without a published value.
    """

    study: str
    variant: str
    grid: FigureGrid
    methods: tuple[str, ...]
    method_titles: tuple[str, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    published: Mapping[str, Floats]
    values: Mapping[str, Floats]
    present: NDArray[np.bool_]
    mean: Mapping[str, Floats]
    low: Mapping[str, Floats]
    high: Mapping[str, Floats]
    least: Mapping[str, Floats]
    most: Mapping[str, Floats]
    seeds: Mapping[str, NDArray[np.int64]]
    other_depths: tuple[int, ...]
    other_methods: tuple[str, ...]
    diverged: NDArray[np.bool_]
    failed: NDArray[np.bool_]

    def difference(self, metric: str) -> Floats:
        """Our mean minus the published value, (methods, depths, widths)."""
        return np.asarray(self.mean[metric] - self.published[metric])


@dataclass(frozen=True)
class PlaceComparison:
    """One published number beside ours.

    `is_inside` says whether it lies between our lowest and highest seed; None with fewer than two. `reached` is how
    many of our seeds come up to it, `reached_low` and `reached_high` the share's Wilson interval (95 %).
    """

    study: str
    variant: str
    place: PublishedPlace
    published: float
    mean: float
    low: float | None
    high: float | None
    least: float
    most: float
    seeds: int
    is_inside: bool | None
    reached: int
    reached_low: float
    reached_high: float

    @property
    def difference(self) -> float:
        """Our mean minus the published value."""
        return self.mean - self.published


@dataclass(frozen=True)
class MethodComparison:
    """A method's metric over all its published places that have seeds of ours.

    `distance` is the mean absolute difference of our mean, `shift` the mean difference. Of the places with two seeds
    or more, `inside` of `judged` have the published value between our lowest and highest seed; if it were one more
    seed of ours, at least `expected` of them would.
    """

    variant: str
    method: str
    metric: str
    places: int
    distance: float
    shift: float
    inside: int
    judged: int
    expected: float


def moons_rows(index: StudyTable, variant: str) -> pd.DataFrame:
    """The rows of all studies of MOONS over depth and width, each once, under all names that the studies give it."""
    parts = [index.rows(name, variant) for name in MOONS_STUDIES]
    rows = pd.concat(parts)
    return rows.loc[~rows["key"].duplicated()] if len(rows) else rows


def only_grid(rows: pd.DataFrame) -> FigureGrid | None:
    """The one figure that a study's rows make; None for no rows.

    Raises:
        ValueError: they make several.
    """
    grids = figure_grids(rows)
    if len(grids) > 1:
        raise ValueError(f"the rows make {len(grids)} figures: {'; '.join(grid.title for grid in grids)}")
    return grids[0] if grids else None


def published_grid(values: Mapping[PublishedPlace, float]) -> FigureGrid:
    """The published grid of MOONS as a figure with one seed, so that every rule of ours can be applied to it.

    Accuracies are the shares of 85 and 15 points that the printed digits stand for.
    """
    methods = tuple(sorted({place.method for place in values}, key=method_rank))
    depths = tuple(sorted({place.depth for place in values}))
    widths = tuple(sorted({place.width for place in values}))
    shape = (len(methods), len(depths), len(widths), 1)
    accuracy = {}
    for metric, points in MOONS_POINTS.items():
        exact = np.rint(_placed(values, metric, methods, depths, widths) * points) / points
        accuracy[metric] = exact[..., None]
    present = ~np.isnan(accuracy[METRICS[0]])
    nothing, unknown = np.zeros(shape, np.bool_), np.full(shape, np.nan)
    return FigureGrid(
        title="MOONS as published",
        slug="moons_published",
        dataset="moons",
        layout="",
        chance=1 / Moons.classes,
        threshold=Moons.threshold,
        methods=methods,
        method_titles=tuple(method_title(method, None, None) for method in methods),
        penalised=(),
        depths=depths,
        widths=widths,
        seeds=(0,),
        n_params=np.zeros(shape[:3], np.int64),
        accuracy=accuracy,
        present=present,
        diverged=nothing,
        failed=nothing,
        seconds=unknown,
        memory=unknown,
        trained_on=np.full(shape, "", dtype=object),
        rows=np.full(shape, -1),
    )


def compare_grid(
    study: str, variant: str, rows: pd.DataFrame, values: Mapping[PublishedPlace, float]
) -> GridComparison | None:
    """A study's rows beside its published values; None where no published place has a row."""
    grid = only_grid(rows)
    if grid is None:
        return None
    published = {place.method for place in values}
    methods = tuple(method for method in grid.methods if method in published)
    depths = tuple(sorted({place.depth for place in values}))
    widths = tuple(sorted({place.width for place in values}))
    if not methods or not {*depths} & {*grid.depths} or not {*widths} & {*grid.widths}:
        return None
    seeds = {metric: _on_axes(grid, grid.accuracy[metric], methods, depths, widths) for metric in METRICS}
    where = {
        name: _on_axes(grid, of.astype(np.float64), methods, depths, widths) == 1
        for name, of in (("present", grid.present), ("diverged", grid.diverged), ("failed", grid.failed))
    }
    intervals = {metric: mean_interval(of) for metric, of in seeds.items()}
    known = {metric: ~np.isnan(of) for metric, of in seeds.items()}
    return GridComparison(
        study=study,
        variant=variant,
        grid=grid,
        methods=methods,
        method_titles=tuple(grid.method_titles[grid.methods.index(method)] for method in methods),
        depths=depths,
        widths=widths,
        published={metric: _placed(values, metric, methods, depths, widths) for metric in METRICS},
        values=seeds,
        present=where["present"],
        diverged=where["diverged"],
        failed=where["failed"],
        mean={metric: interval[0] for metric, interval in intervals.items()},
        low={metric: interval[1] for metric, interval in intervals.items()},
        high={metric: interval[2] for metric, interval in intervals.items()},
        least={metric: _extreme(of, np.inf) for metric, of in seeds.items()},
        most={metric: _extreme(of, -np.inf) for metric, of in seeds.items()},
        seeds={metric: of.sum(axis=-1) for metric, of in known.items()},
        other_depths=tuple(depth for depth in grid.depths if depth not in depths),
        other_methods=tuple(method for method in grid.methods if method not in methods),
    )


def places(comparison: GridComparison) -> list[PlaceComparison]:
    """Every published place that has seeds of ours, by method, metric, depth and width."""
    found = []
    for method, label in enumerate(comparison.methods):
        for metric in METRICS:
            both = ~np.isnan(comparison.published[metric][method]) & (comparison.seeds[metric][method] > 0)
            for depth, width in np.argwhere(both):
                at = (method, int(depth), int(width))
                published = float(comparison.published[metric][at])
                least, most = float(comparison.least[metric][at]), float(comparison.most[metric][at])
                seeds = int(comparison.seeds[metric][at])
                # a comparison with NaN is false: a seed without accuracy does not come up to anything
                reached = int((comparison.values[metric][at] >= published - ROUNDING).sum())
                low, high = wilson(reached, seeds)
                found.append(
                    PlaceComparison(
                        comparison.study,
                        comparison.variant,
                        PublishedPlace(label, metric, comparison.depths[at[1]], comparison.widths[at[2]]),
                        published,
                        float(comparison.mean[metric][at]),
                        or_none(comparison.low[metric][at]),
                        or_none(comparison.high[metric][at]),
                        least,
                        most,
                        seeds,
                        None if seeds < 2 else least - ROUNDING <= published <= most + ROUNDING,
                        reached,
                        float(low),
                        float(high),
                    )
                )
    return found


def by_method(comparison: GridComparison) -> list[MethodComparison]:
    """How near ours come to the published values, a line for every method and metric."""
    each = places(comparison)
    found = []
    for label in comparison.methods:
        for metric in METRICS:
            own = [place for place in each if (place.place.method, place.place.metric) == (label, metric)]
            if not own:
                continue
            judged = [place for place in own if place.is_inside is not None]
            expected = [(place.seeds - 1) / (place.seeds + 1) for place in judged]
            found.append(
                MethodComparison(
                    comparison.variant,
                    label,
                    metric,
                    len(own),
                    float(np.mean([abs(place.difference) for place in own])),
                    float(np.mean([place.difference for place in own])),
                    sum(bool(place.is_inside) for place in judged),
                    len(judged),
                    float(np.sum(expected)),
                )
            )
    return found


def _placed(
    values: Mapping[PublishedPlace, float],
    metric: str,
    methods: tuple[str, ...],
    depths: tuple[int, ...],
    widths: tuple[int, ...],
) -> Floats:
    """Published values on the axes, (methods, depths, widths), NaN where there is none."""
    return np.array(
        [
            [[values.get(PublishedPlace(method, metric, depth, width), np.nan) for width in widths] for depth in depths]
            for method in methods
        ],
        dtype=np.float64,
    )


def _on_axes(
    grid: FigureGrid, values: Floats, methods: tuple[str, ...], depths: tuple[int, ...], widths: tuple[int, ...]
) -> Floats:
    """Our values on other axes, (methods, depths, widths, seeds), NaN where the grid has none."""
    found = np.full((len(methods), len(depths), len(widths), len(grid.seeds)), np.nan)
    own = [grid.methods.index(method) for method in methods]
    to_depths = [(i, grid.depths.index(depth)) for i, depth in enumerate(depths) if depth in grid.depths]
    to_widths = [(i, grid.widths.index(width)) for i, width in enumerate(widths) if width in grid.widths]
    for depth, own_depth in to_depths:
        for width, own_width in to_widths:
            found[:, depth, width] = values[own, own_depth, own_width]
    return found


def _extreme(values: Floats, end: float) -> Floats:
    """The lowest (end = ∞) or highest (end = −∞) seed, NaN where there is none."""
    filled = np.where(np.isnan(values), end, values)
    found = filled.min(axis=-1) if end > 0 else filled.max(axis=-1)
    return np.where(np.isinf(found), np.nan, found)
