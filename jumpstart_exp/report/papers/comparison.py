"""Ours against the published numbers: statistics only.

A published number is of one seed. So it is compared with every seed of ours: a seed's grid is a repetition of the
published one, and intervals are over seeds.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

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

    By metric (a column of the store): `published`, and of ours the `mean`, NaN where there is none, and `seeds`, how
    many have an accuracy, (methods, depths, widths) each. `values` are all seeds' accuracies, and `present`, `diverged`
    and `failed` are where there is such a cell, (methods, depths, widths, seeds). `other_depths` and `other_methods`
    are ours without a published value.
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
    mean: Mapping[str, Floats]
    seeds: Mapping[str, NDArray[np.int64]]
    present: NDArray[np.bool_]
    diverged: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    other_depths: tuple[int, ...]
    other_methods: tuple[str, ...]

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
    methods, depths, widths = _axes(values)
    accuracy = {
        metric: np.rint(_placed(values, metric, methods, depths, widths) * points)[..., None] / points
        for metric, points in MOONS_POINTS.items()
    }
    present = ~np.isnan(accuracy[METRICS[0]])
    nothing, unknown = np.zeros(present.shape, np.bool_), np.full(present.shape, np.nan)
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
        n_params=np.zeros(present.shape[:3], np.int64),
        accuracy=accuracy,
        present=present,
        diverged=nothing,
        failed=nothing,
        seconds=unknown,
        memory=unknown,
        trained_on=np.full(present.shape, "", dtype=object),
        rows=np.full(present.shape, -1),
    )


def compare_grid(
    study: str, variant: str, grid: FigureGrid | None, values: Mapping[PublishedPlace, float]
) -> GridComparison | None:
    """A study's figure beside its published values; None where no published place is in it."""
    if grid is None:
        return None
    published, depths, widths = _axes(values)
    methods = tuple(method for method in grid.methods if method in published)
    if not methods or not {*depths} & {*grid.depths} or not {*widths} & {*grid.widths}:
        return None
    own = np.array([grid.methods.index(method) for method in methods])
    _, to_depths, from_depths = np.intersect1d(depths, grid.depths, return_indices=True)
    _, to_widths, from_widths = np.intersect1d(widths, grid.widths, return_indices=True)

    def on_axes(of: NDArray[Any], missing: float) -> NDArray[Any]:
        """Our values on the published axes, (methods, depths, widths, seeds)."""
        found = np.full((len(methods), len(depths), len(widths), len(grid.seeds)), missing, of.dtype)
        found[np.ix_(np.arange(len(methods)), to_depths, to_widths)] = of[np.ix_(own, from_depths, from_widths)]
        return found

    seeds = {metric: on_axes(grid.accuracy[metric], np.nan) for metric in METRICS}
    return GridComparison(
        study=study,
        variant=variant,
        grid=grid,
        methods=methods,
        method_titles=tuple(grid.method_titles[method] for method in own),
        depths=depths,
        widths=widths,
        published={metric: _placed(values, metric, methods, depths, widths) for metric in METRICS},
        values=seeds,
        mean={metric: mean_interval(of)[0] for metric, of in seeds.items()},
        seeds={metric: (~np.isnan(of)).sum(axis=-1) for metric, of in seeds.items()},
        present=on_axes(grid.present, False),
        diverged=on_axes(grid.diverged, False),
        failed=on_axes(grid.failed, False),
        other_depths=tuple(depth for depth in grid.depths if depth not in depths),
        other_methods=tuple(method for method in grid.methods if method not in methods),
    )


def places(comparison: GridComparison) -> list[PlaceComparison]:
    """Every published place that has seeds of ours, by method, metric, depth and width."""
    found: dict[tuple[int, str], list[PlaceComparison]] = {}
    for metric in METRICS:
        values, published = comparison.values[metric], comparison.published[metric]
        mean, low, high = mean_interval(values)
        known = ~np.isnan(values)
        for method, depth, width in np.argwhere(~np.isnan(published) & known.any(axis=-1)):
            at = method, depth, width
            own, number = values[at][known[at]], float(published[at])
            least, most = float(own.min()), float(own.max())
            reached = int((own >= number - ROUNDING).sum())
            reached_low, reached_high = wilson(reached, len(own))
            place = PublishedPlace(
                comparison.methods[method], metric, comparison.depths[depth], comparison.widths[width]
            )
            found.setdefault((int(method), metric), []).append(
                PlaceComparison(
                    study=comparison.study,
                    variant=comparison.variant,
                    place=place,
                    published=number,
                    mean=float(mean[at]),
                    low=or_none(low[at]),
                    high=or_none(high[at]),
                    least=least,
                    most=most,
                    seeds=len(own),
                    is_inside=None if len(own) < 2 else least - ROUNDING <= number <= most + ROUNDING,
                    reached=reached,
                    reached_low=float(reached_low),
                    reached_high=float(reached_high),
                )
            )
    ordered = [(method, metric) for method in range(len(comparison.methods)) for metric in METRICS]
    return [place for key in ordered for place in found.get(key, [])]


def by_method(each: Sequence[PlaceComparison]) -> list[MethodComparison]:
    """How near ours come to the published values at these places, a line for every method and metric."""
    grouped: dict[tuple[str, str, str], list[PlaceComparison]] = defaultdict(list)
    for own in each:
        grouped[own.variant, own.place.method, own.place.metric].append(own)
    found = []
    for (variant, method, metric), of in grouped.items():
        differences = np.array([own.difference for own in of])
        judged = [own for own in of if own.is_inside is not None]
        found.append(
            MethodComparison(
                variant=variant,
                method=method,
                metric=metric,
                places=len(of),
                distance=float(np.abs(differences).mean()),
                shift=float(differences.mean()),
                inside=sum(bool(own.is_inside) for own in judged),
                judged=len(judged),
                expected=float(np.sum([(own.seeds - 1) / (own.seeds + 1) for own in judged])),
            )
        )
    return found


def _axes(values: Mapping[PublishedPlace, float]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    """The published methods, depths and widths."""
    return (
        tuple(sorted({place.method for place in values}, key=method_rank)),
        tuple(sorted({place.depth for place in values})),
        tuple(sorted({place.width for place in values})),
    )


def _placed(
    values: Mapping[PublishedPlace, float],
    metric: str,
    methods: Sequence[str],
    depths: Sequence[int],
    widths: Sequence[int],
) -> Floats:
    """Published values on the axes, (methods, depths, widths), NaN where there is none."""
    places = (PublishedPlace(method, metric, *at) for method, *at in product(methods, depths, widths))
    found = np.array([values.get(place, np.nan) for place in places], dtype=np.float64)
    return found.reshape(len(methods), len(depths), len(widths))
