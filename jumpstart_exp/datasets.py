"""Datasets as tensors: what a cell's dataset names, loaded and split exactly as published."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.cell import DatasetSpec, Moons

Split = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Data:
    """Training and validation points: x of shape (points, features) in float64, y the class indices (points,)."""

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor


@lru_cache(maxsize=8)
def load(spec: DatasetSpec, data_dir: Path) -> Data:
    """The dataset that `spec` describes; `data_dir` holds the files of those that have any.

    A subset (`n_train`, `n_val`) is stratified and seeded, so it is the same everywhere.
    """
    x_train, y_train, x_val, y_val = _LOADERS[type(spec)](spec, data_dir)
    x_train, y_train = _subset(x_train, y_train, spec.n_train)
    x_val, y_val = _subset(x_val, y_val, spec.n_val)
    return Data(
        torch.from_numpy(np.ascontiguousarray(x_train)),
        torch.from_numpy(y_train),
        torch.from_numpy(np.ascontiguousarray(x_val)),
        torch.from_numpy(y_val),
    )


def moons(spec: Moons, data_dir: Path) -> Split:
    """MOONS: `make_moons` over its range X.max() − X.min(), then split (85 / 15 as published; CPAIOR, section 4)."""
    from sklearn.datasets import make_moons
    from sklearn.model_selection import train_test_split

    x, y = make_moons(n_samples=spec.n_samples, shuffle=True, noise=spec.noise, random_state=spec.random_state)
    x = x / (x.max() - x.min())
    x_train, x_val, y_train, y_val = train_test_split(
        x, y, test_size=spec.full_sizes()[1], random_state=spec.split_random_state
    )
    return x_train, y_train.astype(np.int64), x_val, y_val.astype(np.int64)


_LOADERS: dict[type[DatasetSpec], Callable[..., Split]] = {Moons: moons}


def _subset(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.int64], count: int | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """A stratified subset in the order of the whole: each class keeps its share, rounded by largest remainder."""
    if count is None or count == len(y):
        return x, y
    classes, sizes = np.unique(y, return_counts=True)
    shares = count * sizes / len(y)
    kept = np.floor(shares).astype(int)
    kept[np.argsort(kept - shares, kind="stable")[: count - kept.sum()]] += 1
    order = np.random.RandomState(0).permutation(len(y))
    chosen = [order[y[order] == label][:number] for label, number in zip(classes, kept, strict=True)]
    rows = np.sort(np.concatenate(chosen))
    return x[rows], y[rows]
