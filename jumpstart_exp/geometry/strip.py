"""One hidden unit after another on the strip [−R, R] × [−1, 1], whose classes the y-axis divides (Geometry, section 5).

Layers are ν(Wx + b), where the paper has ν(Ax − b). Everything is in float64 NumPy, any number of networks at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.settings import SettingError

Array = NDArray[np.float64]

_LEVEL = 1e-7
"""Slope across the strip, as a share of where a hyperplane is or of 1, from which on the closed form has its digits."""


@dataclass(frozen=True, eq=False)
class Boundary:
    """Where networks change their decision: they say class 1 where normal · x + offset > 0.

    Attributes:
        normal: (…, 2).
        offset: (…,), infinite where the network says one class everywhere.
    """

    normal: Array
    offset: Array


def boundary(weights: Sequence[Array], biases: Sequence[Array], gamma: float = 1.0) -> Boundary:
    """The decision boundary of networks of one sigmoid unit a layer and two classes: a hyperplane of the first layer.

    Args:
        weights: of each layer, (…, 1, 2) first, (…, 1, 1) of later units, (…, 1 or 2, 1) of the outputs last.
        biases: of each layer, (…, 1), and (…, 1 or 2) of the outputs.
        gamma: γ of the sigmoid 2/(1 + exp(−γx)) − 1.

    Raises:
        SettingError: layers of other shapes.
    """
    shapes = [each.shape[-2:] for each in weights]
    if len(shapes) < 2 or shapes[0] != (1, 2) or {*shapes[1:-1]} > {(1, 1)} or shapes[-1] not in ((1, 1), (2, 1)):
        raise SettingError(f"layers of shapes {shapes}: one unit a layer is needed, of two inputs and two classes")
    weight, bias = weights[-1][..., -1, 0], biases[-1][..., -1]
    if shapes[-1] == (2, 1):  # what class 1 has more than class 0
        weight, bias = weight - weights[-1][..., 0, 0], bias - biases[-1][..., 0]
    normal = weights[0][..., 0, :]
    for own, shift in zip(weights[-2::-1], biases[-2::-1], strict=True):
        sign, at = _turn(weight, bias, gamma)  # from here on the decision is that of sign · (z − at)
        normal, bias = sign[..., None] * own[..., 0, :], sign * (shift[..., 0] - at)
        weight = normal[..., 0]
    return Boundary(normal, bias)


def _turn(weight: Array, bias: Array, gamma: float) -> tuple[Array, Array]:
    """Where weight · σ(z) + bias changes its sign with growing z, and the sign that it then has; ±∞ for nowhere."""
    with np.errstate(divide="ignore", invalid="ignore"):
        at = 2 / gamma * np.arctanh(np.clip(-bias / weight, -1, 1))
    is_constant = weight == 0
    return np.where(weight < 0, -1.0, 1.0), np.where(is_constant, -np.copysign(np.inf, bias), at)


def misclassified_area(of: Boundary, half_length: float) -> Array:
    """The area of the strip on which the decision is not the sign of the first coordinate, (…,), from 0 to 4R.

    In closed form: the area between the y-axis and the hyperplane, cut off at the strip's ends; 2|b|/|a| for a vertical
    one (section 5.2). Figures 13 (e), 14 (a), 15 (b) and 16 (b).
    """
    a, c, b = of.normal[..., 0], of.normal[..., 1], of.offset
    level = a == 0
    with np.errstate(invalid="ignore"):
        at, slope = -b / np.where(level, 1.0, a), -c / np.where(level, 1.0, a)  # cut at height y: at + slope · y
    near = np.abs(slope) <= _LEVEL * np.maximum(1.0, np.where(np.isfinite(at), np.abs(at), 1.0))
    safe = np.where(near, 1.0, slope)
    with np.errstate(invalid="ignore"):
        between = np.where(
            near | np.isinf(at),
            2 * np.minimum(np.abs(at), half_length),
            (_integral(at + safe, half_length) - _integral(at - safe, half_length)) / safe,
        )
    # to the left of the cut is class 0 where a is positive; one class everywhere is wrong on half of the strip
    area = np.where(a > 0, between, 4 * half_length - between)
    return np.where(level | np.isinf(b), 2 * half_length, area)


def _integral(x: Array, half_length: float) -> Array:
    """Of min(|x|, R) from 0 to x."""
    inside = np.minimum(np.abs(x), half_length)
    return np.asarray(np.sign(x) * (inside**2 / 2 + half_length * (np.abs(x) - inside)))


def distance_to_nearest(of: Boundary, points: Array) -> Array:
    """From the hyperplanes to the nearest of the points, (points, 2): (…,) (figure 13 f)."""
    products = of.normal @ points.T + of.offset[..., None]
    return np.asarray(np.abs(products).min(axis=-1) / np.linalg.norm(of.normal, axis=-1))


def first_layer_gradient(
    points: Array, classes: NDArray[np.int64], normal: Array, offset: Array, weight: float, gamma: float = 1.0
) -> Array:
    """Each point's gradient of the cross-entropy of σ(weight · ν(normal · x + offset)), its log-odds of class 1.

    Args:
        points: (points, 2).
        classes: 0 or 1, (points,).
        normal: of the first unit, (…, 2).
        offset: its bias, (…,); the paper's b is its negative.
        weight: of the log-odds, twice the paper's weight 3 of either class.
        gamma: γ of the sigmoid ν.

    Returns:
        (…, points, 3): with respect to the two weights and the bias (figures 13 c, 14 c and d).
    """
    activation = np.tanh(gamma / 2 * (normal @ points.T + offset[..., None]))
    likely = (1 + np.tanh(weight * activation / 2)) / 2
    backward = (likely - classes) * weight * gamma / 2 * (1 - activation**2)
    return np.asarray(backward[..., None] * np.concatenate([points, np.ones((len(points), 1))], axis=1))


def half_transition(normal: Array, gamma: float = 1.0, level: float = 0.95) -> Array:
    """How far from the hyperplane the unit's activation is ±level, (…,) (figure 13's dashed lines)."""
    return np.asarray(2 * np.arctanh(level) / (gamma * np.linalg.norm(normal, axis=-1)))
