"""MOONS: two interleaved half circles, as published (CPAIOR, section 4)."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from jumpstart_exp.data.base import DatasetSpec, Split
from jumpstart_exp.settings import setting, setting_error


@dataclass(frozen=True)
class Moons(DatasetSpec):
    """MOONS as published: `make_moons` over its range, split 85 / 15 (paper CPAIOR, section 4)."""

    name: str = setting("moons")
    n_samples: int = setting(100, low=4, about="points before the split")
    noise: float | None = setting(
        None, low=0, neutral=0.0, about="standard deviation of the Gaussian noise; null for none"
    )
    random_state: int = setting(10, low=0, high=2**32 - 1, about="seed of make_moons")
    test_size: float = setting(0.15, above=0, high=0.9, about="share of the points that validates")
    split_random_state: int = setting(42, low=0, high=2**32 - 1, about="seed of train_test_split")

    title: ClassVar[str] = "MOONS"
    task: ClassVar[str] = "classification"
    classes: ClassVar[int] = 2
    features: ClassVar[int] = 2
    threshold: ClassVar[float] = 0.95
    imports: ClassVar[tuple[str, ...]] = ("sklearn.datasets", "sklearn.model_selection")

    def full_sizes(self) -> tuple[int, int]:
        """Training and validation points as `train_test_split` counts them: the test share is rounded up."""
        val = math.ceil(self.n_samples * self.test_size)
        return self.n_samples - val, val

    def load(self, data_dir: Path) -> Split:
        """`make_moons` over its range X.max() − X.min(), then split; it has no files."""
        from sklearn.datasets import make_moons
        from sklearn.model_selection import train_test_split

        x, y = make_moons(n_samples=self.n_samples, shuffle=True, noise=self.noise, random_state=self.random_state)
        x = x / (x.max() - x.min())
        x_train, x_val, y_train, y_val = train_test_split(
            x, y, test_size=self.full_sizes()[1], random_state=self.split_random_state
        )
        return x_train, y_train.astype(np.int64), x_val, y_val.astype(np.int64)

    def check(self) -> None:
        """Raise SettingError where the split leaves no training point."""
        if self.full_sizes()[0] < 2:
            raise setting_error("dataset.test_size", self.test_size, "small enough to leave two training points")
        super().check()
