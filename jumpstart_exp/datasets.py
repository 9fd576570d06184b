"""Datasets as tensors: what a cell's dataset names, loaded and split exactly as published.

`python -m jumpstart_exp.datasets` downloads and checks those that have files.
"""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from jumpstart_exp.cell import Cifar10, Cifar100, DatasetSpec, Mnist, Moons
from jumpstart_exp.images import IMAGE_SETS, DataError, DataWarning, ImageSet

Split = tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.int64]]

USAGE = (
    """\
Usage: python -m jumpstart_exp.datasets NAME... [data_dir=data]

Downloads the named datasets into DATA_DIR, where they are not there and whole already.
NAME is one of """
    + ", ".join(images.name for images in IMAGE_SETS.values())
    + ".\n"
)

CROP_PADDING = 4
"""Pixels by which `flip_and_crop` moves an image at most."""


@dataclass(frozen=True)
class Data:
    """Training and validation points with their class indices, y of shape (points,).

    x is (points, features) in float64, or for images (points, channels, height, width) in uint8: a set as it is
    published, in an eighth of the memory. `inputs` makes of it what a network sees.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    mean: tuple[float, ...] = ()  # of each channel of an image scaled to [0, 1]
    std: tuple[float, ...] = ()

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
    """The dataset that `spec` describes; `data_dir` holds the files of those that have any.

    A subset (`n_train`, `n_val`) is stratified and seeded, so it is the same everywhere.

    Raises:
        DataError: files are missing or damaged; nothing is downloaded.
    """
    x_train, y_train, x_val, y_val = _LOADERS[type(spec)](spec, data_dir)
    x_train, y_train = _subset(x_train, y_train, spec.n_train)
    x_val, y_val = _subset(x_val, y_val, spec.n_val)
    return Data(
        torch.from_numpy(np.ascontiguousarray(x_train)),
        torch.from_numpy(y_train),
        torch.from_numpy(np.ascontiguousarray(x_val)),
        torch.from_numpy(y_val),
        *_mean_and_std(spec),
    )


def prepare(spec: DatasetSpec, data_dir: Path, download: bool) -> None:
    """See to it that the dataset's files are there and whole: once, before any process loads them.

    Raises:
        DataError: files are missing or damaged and `download` is false, or the download fails.
    """
    if type(spec) in IMAGE_SETS:
        IMAGE_SETS[type(spec)].prepare(data_dir, download=download)


def flip_and_crop(x: Tensor, numbers: npt.NDArray[np.uint32]) -> Tensor:
    """Images cut out of themselves padded by 4 pixels of zeros, then mirrored at random, as torchvision does.

    Args:
        x: images of shape (points, channels, height, width), as published: before they are normalised.
        numbers: draws of shape (points, 3): mirrored left to right where the first is below 2³¹; the second and the
            third give the cut's top and left, ⌊draw · 9 / 2³²⌋ pixels into the padded image.
    """
    height, width = x.shape[2:]
    offsets = (numbers[:, 1:].astype(np.uint64) * (2 * CROP_PADDING + 1)) >> np.uint64(32)
    top, left = torch.from_numpy(offsets.astype(np.int64)).to(x.device).unbind(1)
    mirrored = torch.from_numpy(numbers[:, 0] < 2**31).to(x.device)
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device).expand(len(x), width)
    columns = left[:, None] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    padded = functional.pad(x, (CROP_PADDING,) * 4)
    points, channels = (torch.arange(size, device=x.device) for size in x.shape[:2])
    return padded[
        points[:, None, None, None], channels[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]


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


def images(spec: DatasetSpec, data_dir: Path) -> Split:
    """A published image set, split as published; the test set validates."""
    return IMAGE_SETS[type(spec)].read(data_dir)


_LOADERS: dict[type[DatasetSpec], Callable[..., Split]] = {
    Moons: moons,
    Mnist: images,
    Cifar10: images,
    Cifar100: images,
}

_NORMALISATION = {
    Cifar10: ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    Cifar100: ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


def _mean_and_std(spec: DatasetSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if isinstance(spec, Cifar10) and spec.scaling == "normalised":
        return _NORMALISATION[type(spec)]
    channels = spec.image[0] if spec.image else 0
    return (0.0,) * channels, (1.0,) * channels


def _subset(
    x: npt.NDArray[Any], y: npt.NDArray[np.int64], count: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
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


def main(arguments: list[str]) -> int:
    """Download and check sets; returns the exit code: 0, 1 if one cannot be had, 2 for a bad argument, 130."""
    names: list[str] = []
    data_dir = "data"
    known = {images.name: images for images in IMAGE_SETS.values()}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        if name == "data_dir" and value:
            data_dir = value[1:-1] if value[0] == value[-1] in ("'", '"') else value
        elif argument in known:
            names.append(argument)
        else:
            return _complain(f"{argument!r} is not one of {', '.join(known)}, data_dir=FOLDER or --help", 2)
    if not names:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        return max([_fetch(known[name], Path(data_dir).expanduser()) for name in dict.fromkeys(names)])
    except KeyboardInterrupt:
        return _complain("stopped: no set is left half there", 130)


def _fetch(wanted: ImageSet, data_dir: Path) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = _show_warning
            wanted.prepare(data_dir, download=True)
    except DataError as error:
        return _complain(str(error))
    where = data_dir / wanted.folder
    print(f"{wanted.name}: {where}, {wanted.n_train:,} training and {wanted.n_val:,} test images")
    return 0


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _complain(message: str, code: int = 1) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
