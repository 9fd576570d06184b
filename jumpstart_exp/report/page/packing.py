"""Numbers small enough for a page: quantised arrays, all of them in one compressed block of bytes."""

import base64
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 6
"""Of zlib's compression; the same level and input give the same bytes."""

_SMALLEST, _LARGEST = 2.0**-60, 2.0**60
_TYPES = {"u1": "uint8", "u2": "uint16", "u4": "uint32", "i4": "int32", "f4": "float32"}


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

    @property
    def step(self) -> float:
        """The distance of two codes: absolute, or the ratio less 1 on a logarithmic scale."""
        if self.log:
            return float((self.high / self.low) ** (1 / (self.codes - 2)) - 1)
        return (self.high - self.low) / (self.codes - 1)

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

    def described(self) -> dict[str, Any]:
        """What a reader of the codes needs."""
        return {"low": self.low, "high": self.high, "codes": self.codes, "log": self.log}


FRACTION = Scale(0.0, 1.0, 65_501)
"""Fractions to 1/65500: multiples of 1/100 and 1/500 are exact."""

COARSE_FRACTION = Scale(0.0, 1.0, 251)
"""Fractions of curves, to 1/250."""

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
        short = codes.dtype.newbyteorder("<").str[1:]
        entry: dict[str, Any] = {"type": _TYPES[short], "shape": list(codes.shape)}
        bytes_of = codes.astype(codes.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        content = packed(bytes_of.reshape(codes.size, codes.dtype.itemsize).T.tobytes())
        entry |= {"start": self.length, "length": len(content)}
        if scale is not None:
            entry["scale"] = scale.described()
        self.entries[name] = entry
        self.parts.append(content)
        self.length += len(content)

    def text(self) -> str:
        """The whole block in base64."""
        return base64.b64encode(b"".join(self.parts)).decode("ascii")


def packed(content: bytes) -> bytes:
    """The bytes compressed as a zlib stream, without any date."""
    return zlib.compress(content, LEVEL)


def text_length(count: int) -> int:
    """How many characters of base64 so many bytes take."""
    return -(-count // 3) * 4
