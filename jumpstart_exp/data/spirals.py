"""Spirals that wind around each other, a class an arm (Lang and Witbrock, 1988, have two of three turns)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jumpstart_exp.data.base import DatasetSpec, Split
from jumpstart_exp.data.table import split
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import setting, setting_error

if TYPE_CHECKING:
    import numpy as np
else:
    np = LateModule("numpy")


@dataclass(frozen=True)
class Spirals(DatasetSpec):
    """Point i of n of arm k of a lies at radius t = (i + 1) / n and angle 2π (turns · t + k / a), plus noise.

    With 194 points and 3 turns it is the two-spiral problem up to its scale and its innermost points. The split is
    stratified.
    """

    name: str = setting("spirals")
    arms: int = setting(2, low=2, high=1000, about="spirals, a class each")
    turns: float = setting(1.5, above=0, high=100, about="turns of each from the centre to radius 1")
    n_samples: int = setting(400, low=8, about="points of all arms before the split")
    noise: float = setting(0.0, low=0, neutral=0.0, about="standard deviation of the Gaussian noise of a coordinate")
    random_state: int = setting(0, low=0, high=2**32 - 1, about="seed of the noise")
    test_size: float = setting(0.25, above=0, high=0.9, about="share of the points that validates")
    split_random_state: int = setting(42, low=0, high=2**32 - 1, about="seed of train_test_split")

    title: ClassVar[str] = "Spirals"
    task: ClassVar[str] = "classification"
    features: ClassVar[int] = 2
    threshold: ClassVar[float] = 0.95

    @property
    def classes(self) -> int:
        """The arms."""
        return self.arms

    def full_sizes(self) -> tuple[int, int]:
        """Training and validation points; the validation share is rounded up."""
        val = math.ceil(self.n_samples * self.test_size)
        return self.n_samples - val, val

    def without_effect(self) -> list[str]:
        """The seed of noise that is none."""
        return [*super().without_effect(), *(["random_state"] if self.noise == 0 else [])]

    def load(self, data_dir: Path) -> Split:
        """By the formula; it has no files. Where the arms do not share the points evenly the first have one more."""
        sizes = [self.n_samples // self.arms + (arm < self.n_samples % self.arms) for arm in range(self.arms)]
        t = np.concatenate([np.arange(1, size + 1) / size for size in sizes])
        y = np.repeat(np.arange(self.arms), sizes)
        angle = 2 * np.pi * (self.turns * t + y / self.arms)
        x = t[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        x = x + self.noise * np.random.RandomState(self.random_state).standard_normal(x.shape)
        return split(self.name, x, y, self.task, self.test_size, self.split_random_state)

    def check(self) -> None:
        """Raise SettingError where an arm has too few points for either side."""
        if min(self.full_sizes()) < self.arms or self.n_samples < 2 * self.arms:
            allowed = f"such that {self.arms} arms have points on either side of the split"
            raise setting_error("dataset.n_samples", self.n_samples, allowed)
        super().check()
