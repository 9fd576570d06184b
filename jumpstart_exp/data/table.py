"""Tables: points as rows of numbers with a target each, whose size and classes only the files, or the draws, tell."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jumpstart_exp.data.base import DatasetSpec, Split
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import legible, setting, setting_error, shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = LateModule("numpy")

TASKS = ("classification", "regression")
"""What a table can be learned for."""

FOUND = ("features", "classes", "train_points", "val_points")
"""Settings that tell what a table holds."""


@dataclass(frozen=True)
class TableSpec(DatasetSpec):
    """A table whose points are known once it is examined; what was found becomes settings of the dataset.

    A class says its `task`, gives the table in `parts`, and its `content_in`. Features are standardised by the training
    points, and so are the targets of a regression; classes are numbered in the order of their sorted names.
    """

    features: int = setting(0, low=0, about="numbers a point; 0: as is found")
    classes: int = setting(0, low=0, about="classes of the target; 0: as is found, or none in a regression")
    train_points: int = setting(0, low=0, about="training points before n_train; 0: as is found")
    val_points: int = setting(0, low=0, about="validation points before n_val; 0: as is found")
    threshold: float = setting(
        0.9,
        above=0,
        high=1,
        neutral=0.9,
        about="training accuracy, or R² of a regression, from which on a network trains",
    )

    is_standardised: ClassVar[bool] = True
    found: ClassVar[frozenset[str]] = frozenset(FOUND)

    def parts(self, data_dir: Path) -> Split:
        """The points as they are, targets not yet numbered.

        Raises:
            DataError, SettingError: it cannot be read, or is no table of numbers that can be split.
        """
        raise TypeError(f"{type(self).__name__} does not say how its table is read")

    @property
    def is_examined(self) -> bool:
        """Whether the table was looked at."""
        return self.content is not None

    def full_sizes(self) -> tuple[int, int]:
        """As found; 0 before."""
        return self.train_points, self.val_points

    def without_effect(self) -> Sequence[str]:
        """A regression has no classes."""
        return [*super().without_effect(), *(["classes"] if self.task == "regression" else [])]

    def examined(self, data_dir: Path, content: str | None) -> Self:
        """With what the table holds."""
        x, y, _, y_val = self.load(data_dir)
        is_regression = self.task == "regression"
        found = dict(
            zip(FOUND, (x.shape[1], 0 if is_regression else int(y.max()) + 1, len(y), len(y_val)), strict=True)
        )
        for name, value in found.items():
            if getattr(self, name) not in (0, value):
                raise setting_error(f"dataset.{name}", getattr(self, name), f"{value}, which is what {self.name} has")
        if not is_regression:
            share = float(np.bincount(y).max()) / len(y)
            if share >= self.threshold:
                allowed = f"above {share:.4g}, the largest class's share of the training points"
                raise setting_error("dataset.threshold", self.threshold, allowed, "who guesses would train")
        return replace(self, content=content, **found)

    def load(self, data_dir: Path) -> Split:
        """The table, split, with its targets as class indices or float64 numbers."""
        x, y, x_val, y_val = self.parts(data_dir)
        match self.task:
            case "classification":
                return x, *_numbered(self.name, y, y_val, x_val)
            case "regression":
                for part, values in (("training", y), ("validation", y_val)):
                    if len(np.unique(values)) < 2:
                        raise DataError(f"{self.name}: the {part} points' targets are all equal: no R² of them")
                return x, y.astype(np.float64), x_val, y_val.astype(np.float64)
            case other:
                raise setting_error("dataset.task", other, " or ".join(TASKS))

    def check(self) -> None:
        """Raise SettingError where what is stated beside a content is no table."""
        if not self.is_examined:
            if self.name != type(self).name:
                raise setting_error("dataset.name", self.name, f"{type(self).name} for {type(self).__name__}")
            return
        least = {
            "features": 1,
            "classes": 2 if self.task == "classification" else 0,
            "train_points": 2,
            "val_points": 1,
        }
        for name, number in least.items():
            if getattr(self, name) < number:
                allowed = f"at least {number} beside dataset.content"
                raise setting_error(f"dataset.{name}", getattr(self, name), allowed, "both are found together")
        if self.task == "regression" and self.classes:
            raise setting_error("dataset.classes", self.classes, "0 for a regression")
        super().check()


@dataclass(frozen=True)
class FileSpec(TableSpec):
    """A table in a file of one's own: `path` lies in the datasets' folder, or is absolute."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str = setting("", about="the file, in data_dir or from / or ~ on")
    task: str = setting("classification", choices=TASKS, about="what the target is")

    @property
    def title(self) -> str:
        """The file's name."""
        return legible(Path(self.path).name) or self.name

    def file(self, data_dir: Path) -> Path:
        """Where the file is.

        Raises:
            SettingError: no file is named.
        """
        if not self.path.strip() or "\0" in self.path:
            raise setting_error("dataset.path", self.path, "the name of a file, in data_dir or from / or ~ on")
        try:
            return data_dir / Path(self.path).expanduser()
        except RuntimeError:
            raise setting_error(
                "dataset.path", self.path, "a file's name, and ~ one of a user who has a home"
            ) from None

    def sources(self, data_dir: Path) -> Sequence[Path]:
        """The file."""
        return (self.file(data_dir),)

    def examined(self, data_dir: Path, content: str | None) -> Self:
        """With what the file holds."""
        return super().examined(data_dir, self.content_in(data_dir))

    def content_in(self, data_dir: Path) -> str | None:
        """The hash of the file."""
        path = self.file(data_dir)
        if path.is_file():
            return super().content_in(data_dir)
        reason = "is no file" if path.exists() else "is not there"
        here = Path(self.path).expanduser()
        hint = f"; {here.absolute()} is: dataset.path takes that too" if here.is_file() else ""
        raise DataError(f"dataset.path={legible(self.path)}: {legible(str(path.absolute()), 300)} {reason}{hint}")


def split(name: str, x: npt.NDArray[Any], y: npt.NDArray[Any], task: str, share: float, seed: int) -> Split:
    """Training and validation points, by scikit-learn's `train_test_split`: of classes stratified.

    Args:
        name: of the dataset, for errors.
        x: (points, features).
        y: targets, (points,).
        task: what is learned.
        share: of the points that validates, rounded up.
        seed: of the split.

    Raises:
        DataError: a class has one point.
        SettingError: a side would have too few points.
    """
    from sklearn.model_selection import train_test_split

    val = math.ceil(len(y) * share)
    least, of_what = 2, "two points"
    if task == "classification":
        names, sizes = np.unique(y, return_counts=True)
        if len(names) < 2:
            raise DataError(f"{name}: the target has the one class {shown(names[0].item())}: nothing to tell apart")
        if sizes.min() < 2:
            lone = [label.item() for label in names[sizes < 2]]
            numbers = "; dataset.task=regression learns numbers" if y.dtype.kind in "iuf" else ""
            more = f" and {len(lone) - 1} others have" if len(lone) > 1 else " has"
            raise DataError(f"{name}: the class {shown(lone[0])}{more} one point, a split takes two{numbers}")
        least, of_what = len(names), f"{len(names)} points, one of each class"
    if val < least or len(y) - val < least:
        allowed = f"such that of {len(y)} points either side has at least {of_what}"
        raise setting_error("dataset.test_size", share, allowed)
    stratified = y if task == "classification" else None
    x, x_val, y, y_val = train_test_split(x, y, test_size=val, random_state=seed, stratify=stratified)
    return x, y, x_val, y_val


def content_of_arrays(arrays: Sequence[npt.NDArray[Any]]) -> str:
    """SHA-256 of arrays of numbers rounded to float32, as processors round the last digits otherwise."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array, dtype="<f4").tobytes())
    return f"sha256-{digest.hexdigest()[:16]}"


def _numbered(
    name: str, y: npt.NDArray[Any], y_val: npt.NDArray[Any], x_val: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Class indices of the training points, the validation points, and their class indices."""
    names = np.unique(y)
    unseen = np.setdiff1d(y_val, names)
    if len(unseen):
        raise DataError(f"{name}: the class {shown(unseen[0].item())} of a validation point has no training point")
    if len(names) < 2:
        raise DataError(f"{name}: the target has the one class {shown(names[0].item())}: nothing to tell apart")
    return np.searchsorted(names, y), x_val, np.searchsorted(names, y_val)
