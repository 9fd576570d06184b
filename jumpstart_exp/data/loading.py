"""Datasets as tensors: what a cell's dataset names, loaded and split exactly as published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart_exp.data.base import DatasetSpec, Split, check_content
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.late import LateModule

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor
else:
    np = LateModule("numpy")
    torch = LateModule("torch")


@dataclass(frozen=True)
class Data:
    """Training and validation points with their class indices, or float64 targets, y of shape (points,).

    x is (points, features) in float64, or for images (points, channels, height, width) in uint8: a set as it is
    published, in an eighth of the memory. `inputs` makes of it what a network sees. `content` is what the files held.

    Points may have weights w > 0, (points,) in float64: the task's loss is then Σ w·ℓ / Σ w over the set, and so are
    accuracy and R². The penalty, a norm and the census see every point alike. `eager` and `native` know them.

    Raises:
        ValueError: weights are not one finite number above 0 a point, of a finite sum.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    mean: tuple[float, ...] = ()  # of each channel of an image scaled to [0, 1]
    std: tuple[float, ...] = ()
    content: str | None = None
    weights_train: Tensor | None = None
    weights_val: Tensor | None = None

    def __post_init__(self) -> None:
        """A weight of 0 would leave a point's constraints: such a point is left out."""
        for name, weights, y in (
            ("weights_train", self.weights_train, self.y_train),
            ("weights_val", self.weights_val, self.y_val),
        ):
            if weights is None:
                continue
            is_sound = (
                weights.shape == y.shape and bool((weights > 0).all()) and bool(weights.double().sum().isfinite())
            )
            if not is_sound:
                raise ValueError(f"{name} must be one finite number above 0 a point, of a finite sum")

    @property
    def is_weighted(self) -> bool:
        """Whether points have weights."""
        return self.weights_train is not None or self.weights_val is not None

    def inputs(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Points as a network sees them: images as (x / 255 − mean) / std of their channel."""
        if not self.mean:
            return x.to(dtype)
        mean, std = (_by_channel(values, dtype, x.device) for values in (self.mean, self.std))
        return (x.to(dtype) / 255 - mean) / std


@lru_cache
def _by_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: a CUDA graph cannot fetch numbers from the host."""
    return torch.tensor(values, dtype=dtype, device=device)[:, None, None]


@lru_cache(maxsize=8)
def load(spec: DatasetSpec, data_dir: Path) -> Data:
    """The dataset that `spec` describes as tensors; arguments, errors and points are those of `load_arrays`."""
    content, arrays = load_arrays(spec, data_dir)
    x_train, y_train, x_val, y_val = map(torch.from_numpy, arrays)
    return Data(x_train, y_train, x_val, y_val, *spec.mean_and_std(), content=content)


def load_arrays(spec: DatasetSpec, data_dir: Path) -> tuple[str | None, Split]:
    """What the files hold (`content`) and the dataset's points; `data_dir` holds the files of those that have any.

    A subset (`n_train`, `n_val`) is stratified by class and seeded, so it is the same everywhere. Standardised are the
    features of tables, and the targets of a regression, by the training points that are left.

    Raises:
        DataError: files are missing or damaged, or hold something else than `spec.content`; nothing is downloaded.
    """
    content = spec.content_in(data_dir)
    check_content(spec, content, data_dir)
    x_train, y_train, x_val, y_val = spec.load(data_dir)
    is_regression = spec.task == "regression"
    x_train, y_train = _subset(x_train, y_train, spec.n_train, stratified=not is_regression)
    x_val, y_val = _subset(x_val, y_val, spec.n_val, stratified=not is_regression)
    if spec.is_standardised:
        x_train, x_val = _standardised(x_train, x_val)
        if is_regression:
            for name, values in (("n_train", y_train), ("n_val", y_val)):
                if values.min() == values.max():
                    raise DataError(f"dataset.{name}={getattr(spec, name)}: the targets of these points are all equal")
            y_train, y_val = _standardised(y_train, y_val)
    return content, (np.ascontiguousarray(x_train), y_train, np.ascontiguousarray(x_val), y_val)


def prepare(spec: DatasetSpec, data_dir: Path, download: bool) -> None:
    """See to it that the dataset's files are there and whole: once, before any process loads them.

    Raises:
        DataError: files are missing or damaged and `download` is false, or the download fails.
    """
    spec.prepare(data_dir, download=download)


def _standardised(train: npt.NDArray[Any], val: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both, centred by the training part's mean and divided by its deviation (of a constant column by 1)."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # of a column that is constant rounding can leave a little
    scale = np.where((train == train[0]).all(axis=0) | (deviation == 0), 1.0, deviation)
    return (train - mean) / scale, (val - mean) / scale


def _subset(
    x: npt.NDArray[Any], y: npt.NDArray[Any], count: int | None, *, stratified: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A subset in the order of the whole; stratified, each class keeps its share, rounded by largest remainder."""
    if count is None or count == len(y):
        return x, y
    order = np.random.RandomState(0).permutation(len(y))
    if not stratified:
        rows = np.sort(order[:count])
        return x[rows], y[rows]
    classes, sizes = np.unique(y, return_counts=True)
    shares = count * sizes / len(y)
    kept = np.floor(shares).astype(int)
    kept[np.argsort(kept - shares, kind="stable")[: count - kept.sum()]] += 1
    chosen = [order[y[order] == label][:number] for label, number in zip(classes, kept, strict=True)]
    rows = np.sort(np.concatenate(chosen))
    return x[rows], y[rows]
