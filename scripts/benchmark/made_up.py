"""A store of made-up results at the published grids, written as a sweep writes them: nothing is trained.

MOONS (three papers' grids, in the papers' words and as the code did it), MNIST and CIFAR-10 as scatters of CNNs, a
sweep over learning rate and λ, and a regression; some cells diverged, some failed. Deeper and thinner networks train
less often.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.result import CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.runner import STORE_AFTER_CELLS

CURVE_ROWS = 100

_STUDIES = (
    ("cpaior_moons", "paper"),
    ("iclr_moons", "paper"),
    ("sepcons_moons", "paper"),
    ("table2_50x4", "paper"),
    ("mnist_table1", "paper"),
    ("cpaior_cifar10", "paper"),
    ("iclr_cifar10", "paper"),
    ("cpaior_moons", "code"),
    ("table2_50x4", "code"),
)
_KINDS = {"relu": "none", "sep_up": "UP", "sep_u": "U"}
_REGRESSION: Mapping[str, Any] = {
    "name": "csv",
    "path": "made/up.csv",
    "target": "y",
    "task": "regression",
    "content": "sha256-of-nothing",
    "features": 8,
    "train_points": 200,
    "val_points": 50,
    "threshold": 0.8,
}
_HOLD = {"relu": 0.0, "relu_bn": 0.35, "sep_u": 0.55, "sep_p": 0.45, "sep_l": 0.6, "sep_up": 0.8, "zero_init": 0.5}
"""How much better than ReLU a method holds on as networks become deeper, in logarithms of the depth."""


def write_store(folder: Path, count: int) -> Store:
    """Write results of `count` cells, seed by seed; the same count gives the same results."""
    store, waiting, keys = Store(folder), [], set()
    for cell in _cells():
        if cell.key in keys:  # the papers share cells
            continue
        keys.add(cell.key)
        waiting.append(result(cell))
        if len(waiting) == STORE_AFTER_CELLS or len(keys) == count:
            store.write(waiting)
            waiting = []
        if len(keys) == count:
            break
    return store


def result(cell: Cell) -> Result:
    """What could have become of the cell."""
    rng = np.random.default_rng(int(cell.key[:16], 16))
    epochs = cell.optimizer.epochs
    status = str(rng.choice(["done", "diverged", "failed"], p=[0.985, 0.01, 0.005]))
    if status == "failed":
        return Result(cell, "failed", "native", error="MemoryError: made up", traceback="made up\n")
    is_regression = cell.dataset.task == "regression"
    chance = 0.0 if is_regression else 1 / cell.dataset.classes
    hold = max((value for name, value in _HOLD.items() if cell.method.startswith(name)), default=0.0)
    reach = math.log(4 + 3 * cell.width) + hold - 0.15 * abs(math.log10(cell.optimizer.lr) + 2)
    odds = 4 * (reach - math.log(cell.depth)) + rng.normal()
    share = 1 / (1 + math.exp(-odds))
    ceiling = 1.0 if cell.dataset.name == "moons" else 0.75
    best = chance + (ceiling - chance) * min(1.0, 0.3 + 0.8 * share) * (share > 0.2)
    last = best - (best - chance) * 0.3 * rng.random() ** 4
    val_best, val_last = best - 0.02 * (best > chance), last - 0.02 * (last > chance)
    at = int(rng.integers(1, epochs + 1))
    losses = {"best": 0.7 * (1.05 - share), "last": 0.75 * (1.05 - share)}
    is_done = status == "done"
    ended = epochs if is_done else at
    diverged = {} if is_done else {"diverged_epoch": at}

    def metric(best: float, last: float) -> Metric:
        return Metric(last if is_done else None, best, at)

    return Result(
        cell,
        "done" if is_done else "diverged",
        "native",
        n_params=_parameters(cell),
        epochs_run=ended,
        train_acc=metric(best, last),
        val_acc=metric(val_best, val_last),
        train_loss=metric(losses["best"], losses["last"]),
        val_loss=metric(losses["best"], losses["last"]),
        penalty_start=1.5 if cell.penalty.kind != "none" else None,
        penalty_last=0.1 if cell.penalty.kind != "none" and is_done else None,
        census_start=_census(cell, rng),
        census_last=_census(cell, rng) if is_done else None,
        seconds=1e-4 * epochs * cell.depth * (1.4 if cell.penalty.kind != "none" else 1.0) * rng.uniform(0.9, 1.1),
        peak_memory_bytes=1_000_000 * cell.depth,
        curve=_curve(rng, chance, best, ended),
        **diverged,
    )


def _cells() -> Iterator[Cell]:
    seed = 0
    while True:
        for name, variant in _STUDIES:
            yield from (_at_seed(cell, seed) for cell in study_cells(name, variant))
        yield from _swept(seed)
        yield from _regression(seed)
        seed += 1


def _at_seed(cell: Cell, seed: int) -> Cell:
    """The cell at another seed, which in studies draws the points, too, where it can."""
    drawn_by = cell.dataset.drawn_by
    dataset = dataclasses.replace(cell.dataset, **({} if drawn_by is None else {drawn_by: seed}))
    return dataclasses.replace(cell, seed=seed, dataset=dataset)


def _swept(seed: int) -> Iterator[Cell]:
    for rate in (0.001, 0.003, 0.03, 0.1):
        for depth in (10, 20, 30, 50):
            for width in (4, 10):
                for weight in (None, 0.01, 0.1):
                    penalty = {"kind": "none"} if weight is None else {"kind": "UP", "weight": weight}
                    config = {"depth": depth, "width": width, "seed": seed, "penalty": penalty}
                    yield Cell.from_config(
                        {**config, "optimizer": {"lr": rate, "epochs": 2000}}, "relu" if weight is None else "sep_up"
                    )


def _regression(seed: int) -> Iterator[Cell]:
    for method, kind in _KINDS.items():
        for depth in (1, 5, 10, 20, 30, 50):
            for width in (2, 4, 8, 16):
                config = {"depth": depth, "width": width, "seed": seed, "penalty": {"kind": kind}}
                yield Cell.from_config({**config, "dataset": dict(_REGRESSION)}, method)


def _census(cell: Cell, rng: np.random.Generator) -> LayerCensus:
    shares = np.round(rng.random((6, cell.depth)), 2)
    return LayerCensus.of_rows(shares.tolist(), float(shares[2].max()))


def _curve(rng: np.random.Generator, chance: float, best: float, epochs: int) -> tuple[CurveRow, ...]:
    at = np.unique(np.linspace(1, epochs, min(CURVE_ROWS, epochs)).astype(int))
    risen = chance + (best - chance) * np.clip(1.5 * at / epochs + 0.1 * rng.standard_normal(len(at)), 0, 1)
    losses = 0.7 * np.exp(-2 * at / epochs) + 0.02 * rng.random(len(at))
    shares = np.round(rng.random((len(at), 4)), 3)
    return tuple(
        CurveRow(int(epoch), float(score), float(score), float(loss), float(loss), float(loss), *map(float, census))
        for epoch, score, loss, census in zip(at, risen, losses, shares, strict=True)
    )


def _parameters(cell: Cell) -> int:
    """Trainable numbers, counted layer by layer, of an MLP (k = 1) or a CNN with k × k kernels."""
    image = getattr(cell.dataset, "image", None)
    channels, kernel = (image[0], cell.network.kernel) if image else (cell.dataset.features, 1)
    inputs = [channels, *[cell.width] * (cell.depth - 1)]
    logits = 1 if cell.dataset.classes == 2 else max(cell.dataset.classes, 1)
    return sum(n * cell.width * kernel**2 + cell.width for n in inputs) + (cell.width + 1) * logits
