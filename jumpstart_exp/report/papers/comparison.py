"""Ours against the published numbers: statistics only.

A published number is of one seed. So it is compared with every seed of ours: a seed's grid is a repetition of the
published one, and intervals are over seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jumpstart_exp.data.moons import Moons
from jumpstart_exp.report.papers.published import METRICS, POINTS, ROUNDING, Published, PublishedPlace
from jumpstart_exp.report.statistics.cost import BASELINE
from jumpstart_exp.report.statistics.intervals import Floats, means, wilson
from jumpstart_exp.report.statistics.seedwise import MOMENT, complete_seeds, over_seeds, wins_by_seed
from jumpstart_exp.report.statistics.success import trained
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.table.names import method_rank, method_title
from jumpstart_exp.report.table.studies import StudyTable

MOONS_STUDIES = ("cpaior_moons", "iclr_moons", "sepcons_moons")
"""The studies of MOONS over depth and width: their cells overlap, and are compared with one published grid."""

PAIRS = 54
"""Depth-width pairs of CPAIOR's table 1: 18 depths × 3 widths."""

JUMPSTART = "sep_up"
"""The label of what CPAIOR calls jumpstart."""

_NOTHING: Mapping[str, Any] = {
    "n_params": 0,
    "present": False,
    "diverged": False,
    "failed": False,
    "seconds": np.nan,
    "memory": np.nan,
    "trained_on": "",
    "rows": -1,
}
"""What stands in a figure's arrays where there is no cell."""

_Axes = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]
"""Methods, depths and widths."""


@dataclass(frozen=True, eq=False)
class GridComparison:
    """A published grid beside ours at the best epoch.

    `ours` is the study's figure on the published depths and widths, of its methods that are published too; `published`
    are the values by metric (a column of the store), (methods, depths, widths), NaN where there is none. `other_depths`
    and `other_methods` are ours without a published value.
    """

    study: str
    variant: str
    ours: FigureGrid
    published: Mapping[str, Floats]
    other_depths: tuple[int, ...]
    other_methods: tuple[str, ...]

    def difference(self, metric: str) -> Floats:
        """Our mean minus the published value, (methods, depths, widths)."""
        return self.ours.mean(metric) - self.published[metric]


def moons_rows(index: StudyTable, variant: str) -> pd.DataFrame:
    """The rows of all studies of MOONS over depth and width, each once, under all names that the studies give it."""
    rows = pd.concat([index.rows(name, variant) for name in MOONS_STUDIES])
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


def on_axes(
    grid: FigureGrid,
    methods: Sequence[str] | None = None,
    depths: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
) -> FigureGrid:
    """The figure with these methods of its own, depths, widths and seeds, None for all; empty where it has none."""
    known: list[Sequence[Any]] = [grid.methods, grid.depths, grid.widths, grid.seeds]
    wanted = (methods, depths, widths, seeds)
    axes = [tuple(own if chosen is None else chosen) for own, chosen in zip(known, wanted, strict=True)]
    # −1 is the padding at the end
    places = [
        [own.index(value) if value in own else -1 for value in axis] for own, axis in zip(known, axes, strict=True)
    ]

    def placed(values: NDArray[Any], nothing: object) -> NDArray[Any]:
        padded = np.pad(values, (0, 1), constant_values=nothing)  # type: ignore[call-overload]
        return np.asarray(padded[np.ix_(*places[: values.ndim])])

    titles = dict(zip(grid.methods, grid.method_titles, strict=True))
    arrays: dict[str, Any] = {name: placed(getattr(grid, name), nothing) for name, nothing in _NOTHING.items()}
    return replace(
        grid,
        methods=axes[0],
        method_titles=tuple(titles[method] for method in axes[0]),
        penalised=tuple(method for method in axes[0] if method in grid.penalised),
        depths=axes[1],
        widths=axes[2],
        seeds=axes[3],
        accuracy={column: placed(values, np.nan) for column, values in grid.accuracy.items()},
        **arrays,
    )


def published_grid(values: Mapping[PublishedPlace, float]) -> FigureGrid:
    """The published grid of MOONS as a figure with one seed, so that every rule of ours can be applied to it.

    Accuracies are the shares of 85 and 15 points that the printed digits stand for.
    """
    axes = methods, depths, widths = _axes(values)
    accuracy = {
        metric: np.rint(_placed(values, metric, axes) * points)[..., None] / points for metric, points in POINTS.items()
    }
    present = ~np.isnan(accuracy[METRICS[0]])
    return FigureGrid(
        title="MOONS as published",
        slug="moons_published",
        dataset="moons",
        dataset_title=Moons.title,
        task=Moons.task,
        layout="",
        chance=1 / Moons.classes,
        threshold=Moons.threshold,
        methods=methods,
        method_titles=tuple(method_title(method, None, None) for method in methods),
        penalised=(),
        depths=depths,
        widths=widths,
        seeds=(0,),
        accuracy=accuracy,
        settings={},
        **{name: np.full(present.shape, nothing) for name, nothing in _NOTHING.items()}
        | {"present": present, "n_params": np.zeros(present.shape[:3], np.int64)},
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
    return GridComparison(
        study=study,
        variant=variant,
        ours=on_axes(grid, methods, depths, widths),
        published={metric: _placed(values, metric, (methods, depths, widths)) for metric in METRICS},
        other_depths=tuple(depth for depth in grid.depths if depth not in depths),
        other_methods=tuple(method for method in grid.methods if method not in methods),
    )


def places(comparison: GridComparison) -> pd.DataFrame:
    """Every published number that has seeds of ours, a row each, by method, metric, depth and width.

    `mean` is ours with its interval `low` to `high`, lowest and highest seed, `least` and `most` (`Means`),
    `difference` our mean minus the published value; `is_inside` says whether that lies between our lowest and highest
    seed, missing with fewer than two. `reached` is how many of our `seeds` come up to it, `reached_low` and
    `reached_high` are the share's Wilson interval.
    """
    ours = comparison.ours
    values, published = (
        np.stack([of[metric] for metric in METRICS], axis=1) for of in (ours.accuracy, comparison.published)
    )
    at = np.nonzero(~np.isnan(published) & ~np.isnan(values).all(axis=-1))
    own, number = values[at], published[at]
    of = means(own, (0, 1))
    seeds, reached = (~np.isnan(own)).sum(axis=-1), (own >= number[:, None] - ROUNDING).sum(axis=-1)
    reached_low, reached_high = wilson(reached, seeds)
    is_inside = pd.Series((of.least - ROUNDING <= number) & (number <= of.most + ROUNDING), dtype="boolean")
    axes = zip((ours.methods, METRICS, ours.depths, ours.widths), at, strict=True)
    method, metric, depth, width = (np.array(axis, object)[place] for axis, place in axes)
    return pd.DataFrame(
        {
            "method": method,
            "metric": metric,
            "depth": depth,
            "width": width,
            "published": number,
            **vars(of),
            "seeds": seeds,
            "difference": of.mean - number,
            "is_inside": is_inside.where(seeds > 1),
            "reached": reached,
            "reached_low": reached_low,
            "reached_high": reached_high,
        }
    )


def by_method(each: pd.DataFrame) -> pd.DataFrame:
    """How near ours come to the published values at these `places`, a row for every method and metric.

    `distance` is the mean absolute difference of our mean, `shift` the mean difference. Of the places with two seeds
    or more, `inside` of `judged` have the published value between our lowest and highest seed; if it were one more
    seed of ours, at least `expected` of them would.
    """
    more = each.assign(distance=each["difference"].abs(), expected=(each["seeds"] - 1) / (each["seeds"] + 1))
    return more.groupby(["method", "metric"], sort=False, as_index=False).agg(
        places=("published", "size"),
        distance=("distance", "mean"),
        shift=("difference", "mean"),
        inside=("is_inside", "sum"),
        judged=("is_inside", "count"),
        expected=("expected", "sum"),  # of one seed it is 0
    )


def compare_table(grid: FigureGrid | None, published: Published) -> pd.DataFrame:
    """CPAIOR's table 1 (MNIST) beside ours, a row a published number, over the seeds that have all of it.

    `ours` is the mean of one number a seed with its interval `low` to `high`, lowest and highest seed, `least` and
    `most` (`Interval`). Without any seed that has the whole table there is no row.
    """
    methods = (BASELINE, JUMPSTART)
    seeds = () if grid is None else complete_seeds(grid, methods, PAIRS)
    if grid is None or not len(seeds):
        return pd.DataFrame()
    rows = []
    for (method, metric, quantity), value in published.mnist.items():
        index, other = (grid.methods.index(name) for name in (methods if method == BASELINE else methods[::-1]))
        accuracy = grid.accuracy[metric][..., seeds]
        match quantity:
            case "best_accuracy":
                own = np.fmax.reduce(accuracy[index], axis=(0, 1))
            case "networks_that_train":
                own = trained(grid, MOMENT)[index][..., seeds].sum(axis=(0, 1)).astype(np.float64)
            case "best_for_the_pair":
                own = wins_by_seed(accuracy[index], accuracy[other]).astype(np.float64)
        row = {"quantity": quantity, "method": method, "metric": metric, "published": value}
        rows.append(row | vars(over_seeds(own)))
    return pd.DataFrame(rows, dtype=object).rename(columns={"value": "ours", "count": "seeds"})


def _axes(values: Mapping[PublishedPlace, float]) -> _Axes:
    methods, depths, widths = ({getattr(place, axis) for place in values} for axis in ("method", "depth", "width"))
    return tuple(sorted(methods, key=method_rank)), tuple(sorted(depths)), tuple(sorted(widths))


def _placed(values: Mapping[PublishedPlace, float], metric: str, axes: _Axes) -> Floats:
    """Published values on the axes, (methods, depths, widths), NaN where there is none."""
    found = [values.get(PublishedPlace(method, metric, *at), np.nan) for method, *at in product(*axes)]
    return np.reshape(found, [len(axis) for axis in axes])
