"""MOONS: two interleaved half circles, as published (CPAIOR, section 4)."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jumpstart_exp.data.base import DatasetSpec, Split
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import setting, setting_error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = LateModule("numpy")


@dataclass(frozen=True)
class Moons(DatasetSpec):
    """MOONS as published: `make_moons` over its range, split 85 / 15 (paper CPAIOR, section 4).

    With `n_fresh_val` nothing is split: all `n_samples` train, and so many points of the same distribution, drawn by
    the seed `random_state` + 1, validate; they are divided by the range of the training points.
    """

    name: str = setting("moons")
    n_samples: int = setting(100, low=4, about="points before the split")
    noise: float | None = setting(
        None, low=0, neutral=0.0, about="standard deviation of the Gaussian noise; null for none"
    )
    random_state: int = setting(10, low=0, high=2**32 - 1, about="seed of make_moons")
    test_size: float = setting(0.15, above=0, high=0.9, about="share of the points that validates")
    split_random_state: int = setting(42, low=0, high=2**32 - 1, about="seed of train_test_split")
    n_fresh_val: int | None = setting(
        None, low=2, about="validation points that are drawn anew, by random_state + 1; null splits n_samples"
    )

    title: ClassVar[str] = "MOONS"
    task: ClassVar[str] = "classification"
    classes: ClassVar[int] = 2
    features: ClassVar[int] = 2
    threshold: ClassVar[float] = 0.95

    @property
    def is_published(self) -> bool:
        """Whether these are the published points, whichever part of them is taken."""
        return replace(self, n_train=None, n_val=None, content=None) == Moons()

    @property
    def imports(self) -> tuple[str, ...]:  # type: ignore[override]
        """None for the published points, which are in a table."""
        return () if self.is_published else ("sklearn.datasets", "sklearn.model_selection")

    def full_sizes(self) -> tuple[int, int]:
        """Training and validation points; where they are split the validation share is rounded up, as sklearn does."""
        if self.n_fresh_val is not None:
            return self.n_samples, self.n_fresh_val
        val = math.ceil(self.n_samples * self.test_size)
        return self.n_samples - val, val

    def without_effect(self) -> list[str]:
        """How to split what is not split."""
        is_split = self.n_fresh_val is None
        return [*super().without_effect(), *([] if is_split else ["test_size", "split_random_state"])]

    def load(self, data_dir: Path) -> Split:
        """`make_moons` over its range X.max() − X.min(), then split, or beside fresh points; it has no files.

        The published points are read from a table of what scikit-learn gives, which takes seconds to import.
        """
        if self.is_published:
            return _published()
        from sklearn.datasets import make_moons
        from sklearn.model_selection import train_test_split

        x, y = make_moons(n_samples=self.n_samples, shuffle=True, noise=self.noise, random_state=self.random_state)
        spread = x.max() - x.min()
        x = x / spread
        if self.n_fresh_val is not None:
            x_val, y_val = make_moons(
                n_samples=self.n_fresh_val, shuffle=True, noise=self.noise, random_state=self.random_state + 1
            )
            return x, y.astype(np.int64), x_val / spread, y_val.astype(np.int64)
        x_train, x_val, y_train, y_val = train_test_split(
            x, y, test_size=self.full_sizes()[1], random_state=self.split_random_state
        )
        return x_train, y_train.astype(np.int64), x_val, y_val.astype(np.int64)

    def check(self) -> None:
        """Raise SettingError where the split leaves no training point, or there is no seed for fresh points."""
        if self.n_fresh_val is not None and self.random_state == 2**32 - 1:
            allowed = f"at most {2**32 - 2} with dataset.n_fresh_val"
            raise setting_error("dataset.random_state", self.random_state, allowed, "fresh points take the next seed")
        if self.full_sizes()[0] < 2:
            raise setting_error("dataset.test_size", self.test_size, "small enough to leave two training points")
        super().check()


def _published() -> Split:
    with Path(__file__).with_name("moons_published.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found: list[npt.NDArray[Any]] = []
    for part in ("train", "val"):
        own = [row for row in rows if row["set"] == part]
        found.append(np.array([[float(row["x"]), float(row["y"])] for row in own]))
        found.append(np.array([int(row["label"]) for row in own], np.int64))
    return found[0], found[1], found[2], found[3]
