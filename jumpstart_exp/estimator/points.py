"""Points as they are trained on: distinct ones with their weights, standardised, and what is held out of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from jumpstart_exp.settings import setting_error

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WeightedPoints:
    """Points (points, features) with their targets, (points,) class indices or numbers, and weights above 0."""

    x: Array
    y: npt.NDArray[Any]
    weights: Array

    @property
    def is_weighted(self) -> bool:
        """Whether any point counts more than another."""
        return bool((self.weights != self.weights[0]).any())

    def part(self, rows: npt.NDArray[np.intp]) -> "WeightedPoints":
        """Some of them."""
        return WeightedPoints(self.x[rows], self.y[rows], self.weights[rows])

    def held_out(self, share: float, *, stratified: bool, seed: int) -> "tuple[WeightedPoints, WeightedPoints]":
        """A share of the points for training, and the rest for validation; of classes stratified.

        Raises:
            SettingError: there are too few points.
        """
        try:
            parts = train_test_split(
                np.arange(len(self.y)), test_size=share, random_state=seed, stratify=self.y if stratified else None
            )
        except ValueError as error:
            allowed = f"such that either side of {len(self.y)} distinct points has some of every class"
            raise setting_error("validation_fraction", share, allowed, " ".join(str(error).split())) from None
        train, val = map(self.part, parts)
        return train, val


def distinct(x: Array, y: npt.NDArray[Any], weights: Array) -> WeightedPoints:
    """Every point with its target once, in an order of their own: one that is given k times has k times the weight.

    So a weight of k is the same training, to the bit, as k copies, and the order of the points decides nothing.

    Args:
        x: (points, features).
        y: (points,), class indices or numbers.
        weights: (points,), above 0.
    """
    rows = np.ascontiguousarray(np.column_stack([x, y]) + 0.0)  # −0 is 0
    as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, place = np.unique(as_bytes, return_index=True, return_inverse=True)
    sums: Array = np.bincount(place.ravel(), weights, len(first)).astype(np.float64)
    return WeightedPoints(x[first], y[first], sums)


@dataclass(frozen=True)
class Scale:
    """Means and deviations of columns, by which they are centred and scaled; of a constant column the latter is 1."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, columns: Array, weights: Array) -> "Scale":
        """Of (points, …), by the points' weights.

        Raises:
            ValueError: their squares are too large for float64.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.average(columns, axis=0, weights=weights)
            deviation = np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weights))
        if not np.isfinite(deviation).all():
            raise ValueError("the values are too large to be standardised: their variance is beyond float64")
        # of a column that is constant rounding can leave a little
        is_constant = (columns == columns[0]).all(axis=0) | (deviation == 0)
        return cls(np.where(is_constant, columns[0], mean), np.where(is_constant, 1.0, deviation))

    def apply(self, columns: Array) -> Array:
        """Centred and scaled."""
        scaled: Array = (columns - self.mean) / self.deviation
        return scaled

    def undo(self, columns: Array) -> Array:
        """Back in their own units."""
        found: Array = columns * self.deviation + self.mean
        return found
