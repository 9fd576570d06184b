"""A cell's description, which cells that differ in depth, width, seed and label alone mostly share, and its key.

Thousands of cells of a sweep have a handful of descriptions: each is made once, with its canonical JSON in pieces
between which a cell's own numbers stand.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.settings import is_function_name

AXES = ("depth", "seed", "width")
"""The numbers in which the cells of one description differ, in the order of their names."""

OWN_FUNCTIONS = {
    "network.activation": "network.activation_source",
    "network.init": "network.init_source",
    "regulariser.function": "regulariser.source",
}
"""Fields that may name a function of the user's, with the field of its source's hash."""

_REMEMBERED = 4096
"""Descriptions that are kept: one more is made again when it is asked for again."""


class Described:
    """What a cell is but for depth, width, seed and label; `describe` makes one for all equal cells that are near.

    Args:
        settings: every field of the cell under its dotted override name; None where it has no effect.
        parts: the cell's parts by the names of its fields.
        neutral: the neutral value of every field that has one, under its dotted override name.

    Attributes:
        settings: as they were given; those of AXES are of any cell.
        neutral: likewise.
        dataset: the cell's dataset.
    """

    def __init__(self, settings: Mapping[str, Any], parts: Mapping[str, Any], neutral: Mapping[str, Any]) -> None:
        self.settings, self.neutral = settings, neutral
        self.dataset: DatasetSpec = parts["dataset"]
        self._pieces: tuple[str, ...] | None = None

    def with_axes(self, depth: int, seed: int, width: int) -> dict[str, Any]:
        """Every field of the cell with these numbers under its dotted override name, in a fixed order."""
        return {**self.settings, "depth": depth, "seed": seed, "width": width}

    def json(self, depth: int, seed: int, width: int) -> str:
        """What acts, and is not neutral, of `with_axes`, as canonical JSON: sorted names, no spaces.

        Raises:
            ValueError: the dataset's files, or the source of a function of the user's, were not read.
        """
        if self._pieces is None:
            self._pieces = self._json_around_axes()
        before, between, behind, end = self._pieces
        return f"{before}{depth}{between}{seed}{behind}{width}{end}"

    def _json_around_axes(self) -> tuple[str, ...]:
        """The canonical JSON, cut where the numbers of AXES stand."""
        if not self.dataset.is_examined:
            raise ValueError(f"dataset={self.dataset.name} has no key before its files are examined (with_contents)")
        for name, source in OWN_FUNCTIONS.items():
            if is_function_name(self.settings[name]) and self.settings[source] is None:
                raise ValueError(f"{name}={self.settings[name]} has no key before its source is read (with_contents)")
        unkeyed = {f"dataset.{name}" for name in self.dataset.unkeyed}
        described = {
            name: value
            for name, value in self.settings.items()
            if name in AXES
            or (value is not None and name not in unkeyed and value != self.neutral.get(name, _NO_NEUTRAL))
        }
        pieces = ["{"]
        for name in sorted(described):
            pieces[-1] += ("" if pieces == ["{"] else ",") + _json(name) + ":"
            if name in AXES:
                pieces.append("")
            else:
                pieces[-1] += _json(described[name])
        pieces[-1] += "}"
        return tuple(pieces)


_NO_NEUTRAL = object()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@lru_cache(maxsize=_REMEMBERED)
def describe(
    cell: type, parts: tuple[Any, ...], without_effect: tuple[str, ...], instead: tuple[tuple[str, Any], ...]
) -> Described:
    """The description of a cell.

    Args:
        cell: its class.
        parts: the values of the class's fields, but those of AXES and the label, in their order; checked, so that
            equal ones are written alike.
        without_effect: dotted override names of the fields that change nothing.
        instead: what stands for a value that means the same.
    """
    own = dict(zip(part_names(cell), parts, strict=True))
    flat: dict[str, Any] = {}
    neutral = dict(neutral_of(cell))
    for field in dataclasses.fields(cell):
        value = own.get(field.name)
        kind: type = type(value)
        if dataclasses.is_dataclass(kind):
            prefix = f"{field.name}."
            neutral |= {prefix + name: each for name, each in neutral_of(kind)}
            flat |= {prefix + inner.name: getattr(value, inner.name) for inner in dataclasses.fields(kind)}
        elif field.name != "method":
            flat[field.name] = value
    flat = {("dataset" if name == "dataset.name" else name): value for name, value in flat.items()}
    return Described(flat | dict.fromkeys(without_effect) | dict(instead), own, neutral)


@cache
def part_names(cell: type) -> tuple[str, ...]:
    """The fields of a cell but those of AXES and the label, in their order."""
    return tuple(field.name for field in dataclasses.fields(cell) if field.name not in (*AXES, "method"))


@cache
def neutral_of(cls: type) -> Sequence[tuple[str, Any]]:
    """The neutral value of every field of a dataclass that has one, by the field's name."""
    neutral = {field.name: field.metadata.get("neutral") for field in dataclasses.fields(cls)}
    return tuple((name, value) for name, value in neutral.items() if value is not None)
