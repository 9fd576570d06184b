"""Atlases of known numbers, made by hand."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.atlas.atlas import MEASURES, MOMENTS, Atlas
from jumpstart_exp.report.table.grid import FigureGrid

Array = NDArray[np.float64]


def atlas_made(
    last: Array,
    *,
    best: Array | None = None,
    depths: Sequence[int] = (1, 5, 10),
    widths: Sequence[int] = (2, 4, 10),
    methods: Sequence[str] = (),
    census: Array | None = None,
    diverged: NDArray[np.bool_] | None = None,
    seconds: Array | None = None,
    n_params: NDArray[np.int64] | None = None,
) -> Atlas:
    """An atlas of these training accuracies, (methods, depths, widths, seeds), NaN for a cell that is missing.

    A network trains from 0.95 on. `census` are dead units at the start and early; no unit is linear.
    """
    methods = tuple(methods) or ("relu", "sep_up", *(f"rival_{number}" for number in range(len(last) - 2)))[: len(last)]
    lost = np.zeros(last.shape, dtype=bool) if diverged is None else diverged
    present = ~np.isnan(last) | lost
    own = np.where(lost, np.nan, last)
    accuracy = {"train_acc_last": own, "train_acc_best": own if best is None else best}
    grid = FigureGrid(
        title="MOONS · mlp · 5000 epochs",
        slug="made",
        dataset="moons",
        dataset_title="MOONS",
        task="classification",
        layout="mlp",
        chance=0.5,
        threshold=0.95,
        methods=methods,
        method_titles=tuple(f"the {method}" for method in methods),
        penalised=("sep_up",),
        depths=tuple(depths),
        widths=tuple(widths),
        seeds=tuple(range(last.shape[-1])),
        n_params=np.full(last.shape[:-1], 10) if n_params is None else n_params,
        accuracy={**accuracy, "val_acc_last": own, "val_acc_best": own},
        present=present,
        diverged=lost,
        failed=np.zeros(last.shape, dtype=bool),
        seconds=np.where(present & ~lost, 1.0, np.nan) if seconds is None else seconds,
        memory=np.full(last.shape, np.nan),
        trained_on=np.where(present & ~lost, "native, cpu", "").astype(object),
        rows=np.where(present, 0, -1),
        settings={method: {} for method in methods},
    )
    dead = np.where(present, 0.25, np.nan) if census is None else census
    of = {"dead_units": dead, "linear_units": np.where(np.isnan(dead), np.nan, 0.0)}
    return Atlas(
        "atlas_moons",
        grid,
        dict.fromkeys(methods, 0.01),
        {(measure, moment): of[measure] for measure in MEASURES for moment in MOMENTS},
    )


def seeds_made(
    random: np.random.Generator, methods: int, seeds: int, depths: Sequence[int] = (1, 5, 10)
) -> tuple[Array, Array]:
    """Accuracies of methods that reach ever deeper, and the probability that each place trains.

    The seeds have a luck of their own, which all of a seed's networks share.
    """
    from scipy.stats import norm

    reach = np.geomspace(2, 20, methods)[:, None, None] * np.sqrt([1, 2, 4])
    middle = np.log(reach / np.array(depths)[:, None])
    luck, noise = 0.4 * random.normal(size=seeds), 0.4 * random.normal(size=(*middle.shape, seeds))
    trains = middle[..., None] + luck + noise > 0
    return np.where(trains, 1.0, random.uniform(0.5, 0.94, trains.shape)), norm.cdf(middle / np.hypot(0.4, 0.4))
