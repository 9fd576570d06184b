"""What is small enough for a page: quantised arrays in one compressed block of bytes, lists without repetition."""

import base64
import zlib
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 6
"""Of zlib's compression; the same level and input give the same bytes."""

_SMALLEST, _LARGEST = 2.0**-60, 2.0**60
_T = TypeVar("_T", bound=Hashable)


@dataclass(frozen=True)
class Scale:
    """How numbers become codes: 1 … `codes` run from `low` to `high`, 0 stands for no value.

    A logarithmic scale (`log`) keeps 0 itself as code 1 and takes no negative numbers. Numbers beyond an end become
    that end.
    """

    low: float
    high: float
    codes: int
    log: bool = False

    def encode(self, values: ArrayLike) -> NDArray[Any]:
        """The codes of numbers of any shape; NaN becomes 0."""
        numbers = np.asarray(values, np.float64)
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.log(numbers / self.low) / np.log(self.high / self.low)
            code = np.where(numbers > 0, 2 + np.rint(np.clip(share, 0, 1) * (self.codes - 2)), 1.0)
        else:
            share = (numbers - self.low) / (self.high - self.low)
            code = 1 + np.rint(np.clip(share, 0, 1) * (self.codes - 1))
        known: NDArray[np.float64] = np.where(np.isnan(numbers), 0, code)
        return known.astype(np.uint8 if self.codes < 2**8 else np.uint16)


FRACTION = Scale(0.0, 1.0, 65_501)
"""Fractions to 1/65500: multiples of 1/100 and 1/500 are exact."""

COARSE_FRACTION = Scale(0.0, 1.0, 251)
"""Fractions of curves, to 1/250."""

COARSE_POSITIVE = Scale(_SMALLEST, _LARGEST, 4_201, log=True)
"""Losses of curves, to one part in a hundred."""

DIFFERENCE = Scale(-1.0, 1.0, 65_501)
"""Differences of two fractions."""

POSITIVE = Scale(_SMALLEST, _LARGEST, 65_535, log=True)
"""Losses, seconds and other numbers that are not negative, to one part in a thousand."""


@dataclass
class Block:
    """Arrays one after the other in one block of bytes, each compressed by itself; `entries` says where each stands."""

    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    length: int = 0

    def add(self, name: str, array: NDArray[Any], scale: Scale | None = None) -> None:
        """Add an array; with a scale its numbers are quantised first.

        Multi-byte numbers are stored byte by byte: first all lowest bytes, last all highest, which compresses better.
        """
        codes: NDArray[Any] = np.ascontiguousarray(array if scale is None else scale.encode(array))
        planes = codes.astype(codes.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        content = zlib.compress(planes.reshape(codes.size, codes.dtype.itemsize).T.tobytes(), LEVEL)
        entry = {"type": codes.dtype.name, "shape": [*codes.shape], "start": self.length, "length": len(content)}
        if scale is not None:
            entry["scale"] = asdict(scale)
        self.entries[name] = entry
        self.parts.append(content)
        self.length += len(content)

    def text(self) -> str:
        """The whole block in base64."""
        return base64.b64encode(b"".join(self.parts)).decode("ascii")


def text_length(count: int) -> int:
    """How many characters of base64 so many bytes take."""
    return -(-count // 3) * 4


def distinct(values: Iterable[_T]) -> tuple[list[_T], NDArray[np.int64]]:
    """The distinct values in the order in which they come, and the place of each value among them."""
    every = [*values]
    places = {value: place for place, value in enumerate(dict.fromkeys(every))}
    return [*places], np.array([places[value] for value in every], np.int64)


def picked(of: object, *names: str, **renamed: str) -> dict[str, Any]:
    """Attributes as plain data: these, and others under new names (new=old)."""
    return {new: getattr(of, old) for new, old in ({name: name for name in names} | renamed).items()}
