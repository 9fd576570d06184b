"""Tables as the store gives them, made from cells without any training."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.figures.heatmaps import heatmap_figure
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid, figure_grids

METHODS: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu_bn": {"network": {"norm": "batch"}},
    "sep_u": {"penalty": {"kind": "U"}},
    "sep_p": {"penalty": {"kind": "P"}},
    "sep_up": {"penalty": {"kind": "UP"}},
    "sep_l": {"penalty": {"kind": "L"}},
    "zero_init": {
        "penalty": {"kind": "UP", "balance": 0.51},
        "network": {"init": "zero"},
        "dropout": {"rate": 0.9, "anneal_epochs": 1000},
    },
}

VARIANTS: dict[str, dict[str, Any]] = {
    "sep_up_l2_1e-3": {"penalty": {"kind": "UP", "aggregate": "l2", "weight": 1e-3}},
    "sep_up_l2_1e-1": {"penalty": {"kind": "UP", "aggregate": "l2", "weight": 0.1}},
    "sep_up_mean_1e-1": {"penalty": {"kind": "UP", "aggregate": "mean", "weight": 0.1}},
    "sep_up_mean_1": {"penalty": {"kind": "UP", "aggregate": "mean", "weight": 1.0}},
}

CIFAR10: dict[str, Any] = {
    "dataset": {"name": "cifar10"},
    "network__layout": "cnn",
    "network__head": "max_avg_pool",
    "optimizer__epochs": 400,
    "optimizer__batch_size": 128,
}
MNIST: dict[str, Any] = {**CIFAR10, "dataset": {"name": "mnist"}, "network__head": "flatten"}


def cell(method: str, depth: int, width: int, seed: int, **settings: Any) -> Cell:
    """A cell of a method; settings are dotted with two underscores, as in optimizer__epochs=10."""
    config: dict[str, Any] = {part: dict(values) for part, values in {**METHODS, **VARIANTS}.get(method, {}).items()}
    config |= {"depth": depth, "width": width, "seed": seed}
    for name, value in settings.items():
        part, _, inner = name.partition("__")
        if inner:
            config.setdefault(part, {})[inner] = value
        else:
            config[part] = value
    return Cell.from_config(config, method)


def parameters(of: Cell) -> int:
    """Trainable numbers of an MLP (k = 1) or a CNN with k × k kernels, counted layer by layer."""
    channels, k = (of.dataset.image[0], of.network.kernel) if of.dataset.image else (of.dataset.features, 1)
    inputs = [channels] + [of.width] * (of.depth - 1)
    hidden = sum(n * of.width * k * k + of.width for n in inputs)
    norm = 2 * of.width * of.depth * (of.network.norm == "batch")
    seen = of.width * (2 if of.network.head == "max_avg_pool" and of.dataset.image else of.positions)
    logits = 1 if of.dataset.classes == 2 else of.dataset.classes
    return hidden + norm + (seen + 1) * logits


def row(of: Cell, accuracy: float | None, status: str = "done", labels: list[str] | None = None) -> dict[str, Any]:
    """A row of the store: training accuracy at best `accuracy`, 0.1 less at last; validation 0.05 below."""
    values: dict[str, Any] = {"key": of.key, "status": status, **of.description(), "method": of.method}
    values["labels"] = labels or [of.method]
    values |= {"n_params": parameters(of), "engine": "eager", "device": "cpu"}
    values |= {"seconds": 1.0, "peak_memory_bytes": 1_000_000}
    for metric, offset in (("train_acc", 0.0), ("val_acc", 0.05)):
        last = None if status != "done" or accuracy is None else accuracy - offset - 0.1
        values[f"{metric}_best"] = None if accuracy is None else accuracy - offset
        values[f"{metric}_last"] = last
    return values


def grid_rows(
    methods: list[str],
    depths: list[int],
    widths: list[int],
    seeds: list[int],
    accuracy: Callable[[Cell], float],
    **settings: Any,
) -> list[dict[str, Any]]:
    """Rows of a full grid."""
    cells = [cell(m, d, w, s, **settings) for m in methods for d in depths for w in widths for s in seeds]
    return [row(each, accuracy(each)) for each in cells]


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as one table."""
    return pd.DataFrame(rows)


def only(rows: list[dict[str, Any]]) -> FigureGrid:
    """The rows' one figure."""
    (grid,) = figure_grids(table(rows))
    return grid


def draw_heatmaps(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Every figure of the table."""
    return [
        path
        for grid in figure_grids(table)
        for at_epoch in MOMENTS
        for path in save_figure(partial(heatmap_figure, grid, at_epoch), folder, f"{grid.slug}_{at_epoch}")
    ]
