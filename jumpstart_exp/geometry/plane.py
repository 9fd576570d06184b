"""A rectangle of a plane in the space of a network's inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from jumpstart_exp.settings import SettingError, setting_error


@dataclass(frozen=True, eq=False)
class Plane:
    """All inputs origin + u·first + v·second with u and v in the rectangle.

    Attributes:
        origin: an input of any shape, in float64.
        first: one direction, of the same shape; for a plane through three points of length 1.
        second: the other one; for a plane through three points of length 1, and at a right angle to the first.
        low: least (u, v).
        high: greatest (u, v).
    """

    origin: Tensor
    first: Tensor
    second: Tensor
    low: tuple[float, float]
    high: tuple[float, float]

    def __post_init__(self) -> None:
        for name, low, high in zip("uv", self.low, self.high, strict=True):
            if not (low < high and torch.tensor([low, high], dtype=torch.float64).isfinite().all()):
                raise setting_error(f"extent of {name}", f"{low}, {high}", "two finite numbers, the lower first")

    @classmethod
    def rectangle(cls, low: Sequence[float], high: Sequence[float]) -> "Plane":
        """The inputs of two features between two corners (u, v), which are the features themselves."""
        zero, one = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
        return cls(zero, one[0], one[1], (float(low[0]), float(low[1])), (float(high[0]), float(high[1])))

    @classmethod
    def square(cls, extent: float) -> "Plane":
        """[−extent, extent]², of inputs of two features."""
        return cls.rectangle((-extent, -extent), (extent, extent))

    @classmethod
    def around(cls, points: Tensor, margin: float = 0.1) -> "Plane":
        """The range of points of two features, (points, 2), and so much of it more on every side."""
        low, high = (each.double() for each in (points.min(0).values, points.max(0).values))
        more = margin * (high - low)
        return cls.rectangle((low - more).tolist(), (high + more).tolist())

    @classmethod
    def through(cls, a: Tensor, b: Tensor, c: Tensor, margin: float = 0.1) -> "Plane":
        """The plane through three inputs of any one shape; a is (0, 0), b lies on the axis of u.

        Coordinates are distances. The rectangle has all three, and so much of its sides more.

        Raises:
            SettingError: they are not of one shape, or lie on a line.
        """
        if not a.shape == b.shape == c.shape:
            raise SettingError(f"points of shapes {tuple(a.shape)}, {tuple(b.shape)}, {tuple(c.shape)}: one is needed")
        origin = a.detach().double()
        to_b, to_c = b.detach().double() - origin, c.detach().double() - origin
        length = to_b.norm()
        first = to_b / length
        along = (to_c * first).sum()
        across = to_c - along * first
        if not (length > 0 and across.norm() > 1e-9 * to_c.norm()):
            raise SettingError("the three points lie on a line: they span no plane")
        corners = torch.tensor([[0, 0], [length, 0], [along, across.norm()]], dtype=torch.float64)
        low, high = corners.min(0).values, corners.max(0).values
        more = margin * (high - low)
        lows, highs = (low - more).tolist(), (high + more).tolist()
        return cls(origin, first, across / across.norm(), (lows[0], lows[1]), (highs[0], highs[1]))

    @property
    def area(self) -> float:
        """Of the rectangle, in units of u times units of v."""
        return (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])

    def inputs(self, coordinates: Tensor) -> Tensor:
        """The inputs (points, …) in float64 at coordinates (points, 2)."""
        u, v = coordinates.double().T.reshape(2, -1, *[1] * self.origin.dim())
        found: Tensor = self.origin + u * self.first + v * self.second
        return found

    def grid(self, across: int, down: int | None = None) -> Tensor:
        """Coordinates (down · across, 2) of the middles of equal parts of the rectangle, row by row from the lowest v.

        `down` is `across` if it is not named.
        """
        counts = (across, across if down is None else down)
        u, v = (
            low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
            for low, high, count in zip(self.low, self.high, counts, strict=True)
        )
        return torch.cartesian_prod(v, u).flip(1)

    def corners(self) -> Tensor:
        """Coordinates (4, 2) of the rectangle's corners, against the clock."""
        (left, lower), (right, upper) = self.low, self.high
        return torch.tensor([[left, lower], [right, lower], [right, upper], [left, upper]], dtype=torch.float64)
