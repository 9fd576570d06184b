"""The strip of paper Geometry (section 5): two classes of points in a plane, either side of the y-axis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jumpstart_exp.data.base import DatasetSpec, Split
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import setting, setting_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LateModule("numpy")

_AT_INTERFACE = 4
"""Points at the interface of the classes, two a class."""


@dataclass(frozen=True)
class Strip(DatasetSpec):
    """Points of [−R, R] × [−1, 1], of class 0 where the first entry is negative, else of class 1 (section 5.1).

    With a `gap` g the first four are (±g, ±½), and the others are uniform where the first entry is g or more away from
    0; without one all are uniform over their class's half. The classes' numbers differ by at most one. `n_fresh_val`
    points, uniform over both halves, validate. The paper says neither where the four points are nor what validates.

    As in the paper a network has two outputs, one a class, and not the log-odds of one.
    """

    name: str = setting("strip")
    half_length: float = setting(3.0, above=0, about="R, half of the strip's length; its height is 2")
    n_samples: int = setting(800, low=4, about="training points of both classes, those at the interface included")
    gap: float = setting(0.1, low=0, about="first entry of two points a class at the interface; 0: there are none")
    n_fresh_val: int = setting(1000, low=2, about="validation points that are drawn anew")
    random_state: int = setting(0, low=0, high=2**32 - 1, about="seed of the points")

    title: ClassVar[str] = "Strip"
    task: ClassVar[str] = "classification"
    classes: ClassVar[int] = 2
    outputs: ClassVar[int] = 2
    features: ClassVar[int] = 2
    threshold: ClassVar[float] = 0.99
    drawn_by: ClassVar[str | None] = "random_state"

    def full_sizes(self) -> tuple[int, int]:
        """Training and validation points."""
        return self.n_samples, self.n_fresh_val

    def load(self, data_dir: Path) -> Split:
        """Drawn, each set from its own stream of random numbers; it has no files."""
        train, val = (np.random.RandomState([self.random_state, of_set]) for of_set in range(2))
        x, y = self._uniform(train, self.n_samples - (_AT_INTERFACE if self.gap else 0), self.gap)
        if self.gap:
            at_interface = np.array([(side * self.gap, height) for side in (-1, 1) for height in (-0.5, 0.5)])
            x, y = np.concatenate([at_interface, x]), np.concatenate([np.array([0, 0, 1, 1]), y])
        return x, y, *self._uniform(val, self.n_fresh_val, 0.0)

    def _uniform(
        self, random: np.random.RandomState, count: int, gap: float
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """So many points, (points, 2), no closer to the y-axis than `gap`, and their classes, 1 of the odd one."""
        y = np.repeat([0, 1], [count // 2, count - count // 2])
        distance = self.half_length - (self.half_length - gap) * random.random_sample(count)  # never 0: either side
        x = np.stack([np.where(y == 0, -distance, distance), 2 * random.random_sample(count) - 1], axis=1)
        return x, y.astype(np.int64)

    def check(self) -> None:
        """Raise SettingError where the points at the interface would lie beyond the strip."""
        if self.gap >= self.half_length:
            raise setting_error("dataset.gap", self.gap, f"below dataset.half_length={self.half_length:g}")
        super().check()
