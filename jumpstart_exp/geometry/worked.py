"""The worked examples of Geometry, sections 2 and 4.1, as networks and in closed form.

Regions are −1 … 1: the outputs of σ_γ, positive inside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor, nn

from jumpstart_exp.geometry.layered import LayeredNetwork, Nonlinearity, Numbers, logistic, sigmoid
from jumpstart_exp.settings import SettingError, setting_error

Array = NDArray[np.float64]

CONFIDENCE = 0.95
"""A region is sure from here on; between −0.95 and 0.95 is its transition (section 2.4)."""

REACHED = 0.995
"""What the output range comes up to once it is amplified (figure 6)."""


def inverse_sigmoid(value: float | Array, gamma: float = 1.0) -> Array:
    """σ_γ⁻¹(y) = log((1 + y)/(1 − y))/γ, of numbers in [−1, 1] of any shape; infinite at the ends.

    Raises:
        SettingError: a number outside.
    """
    y = np.asarray(value, dtype=np.float64)
    if not (np.abs(y) <= 1).all():
        raise setting_error("sigmoid", float(y[~(np.abs(y) <= 1)].flat[0]), "a number from -1 to 1")
    with np.errstate(divide="ignore"):
        return np.asarray((np.log1p(y) - np.log1p(-y)) / gamma)


def unit_width(weights: Sequence[float], gamma: float = 1.0, confidence: float = CONFIDENCE) -> float:
    """Distance between the level sets ±confidence of σ_γ(⟨a, x⟩ − β): 2σ_γ⁻¹(confidence)/‖a‖ (section 2.4)."""
    return float(2 * inverse_sigmoid(confidence, gamma) / np.linalg.norm(weights))


@dataclass(frozen=True)
class Combination:
    """⟨a, x⟩ − β of regions x, −1 … 1 each (sections 2.2.1 and 2.2.2).

    Attributes:
        weights: a, one a region; 0 for one that is not used, negative for the complement of one.
        offset: β.
    """

    weights: tuple[float, ...]
    offset: float

    def of_complements(self) -> "Combination":
        """The same of the regions' complements."""
        return Combination(tuple(-weight for weight in self.weights), self.offset)

    def complement(self) -> "Combination":
        """The complement of what it gives."""
        return Combination(tuple(-weight for weight in self.weights), -self.offset)

    def dual(self) -> "Combination":
        """By De Morgan's law: the complement of the same of complements; a union of an intersection, and back.

        The paper's formula for it has A_I where the second complement stands, and plus signs before the offsets: with
        these it would not give the union. Its result is right.
        """
        return self.of_complements().complement()

    def of_logistic(self) -> "Combination":
        """What it is of regions −1 … 1, where it was meant for regions 0 … 1 (section 2.2).

        x′ = (x + 1)/2, so A x′ − b = (A/2) x − (b − A e/2). The paper prints (x − 1)/2 and b + A e/2.
        """
        return Combination(tuple(weight / 2 for weight in self.weights), self.offset - sum(self.weights) / 2)


_ALWAYS = 100.0

BOOLEAN: Mapping[str, Combination] = {
    "true": Combination((0, 0), -_ALWAYS),
    "false": Combination((0, 0), _ALWAYS),
    "first": Combination((1, 0), 0),
    "second": Combination((0, 1), 0),
    "complement of the first": Combination((-1, 0), 0),
    "complement of the second": Combination((0, -1), 0),
    "intersection": Combination((1, 1), 1.5),
    "union": Combination((1, 1), -1.5),
}
"""Operations on two regions (section 2.2.1).

The paper has b = 100 for true and b = −100 for false: with layers ν(A x − b), as it writes them, it is the other way.
"""


def at_least(k: int, n: int) -> Combination:
    """Inside where at least k of n regions are: β = 2k − n − 1 (section 2.2.2); k = n: intersection, k = 1: union.

    Raises:
        SettingError: k is not from 1 to n.
    """
    if not 1 <= k <= n:
        raise setting_error("k", k, f"from 1 to {n}")
    return Combination((1,) * n, 2 * k - n - 1)


def combined(
    weights: Numbers, offsets: Sequence[float], first: Nonlinearity, combination: Combination, second: Nonlinearity
) -> LayeredNetwork:
    """Two layers: half-spaces, and one unit that combines them.

    Args:
        weights: of the first layer, (half-spaces, inputs).
        offsets: of the first layer, (half-spaces,).
        first: of the first layer.
        combination: of its outputs, as they are.
        second: of the second layer.
    """
    return LayeredNetwork(
        [(weights, offsets, first), ([list(map(float, combination.weights))], [combination.offset], second)]
    )


BOOLEAN_HALFSPACES = ([[9.0, 1.0], [-2.0, 6.0]], [-2.0, -1.0])
"""A₁ and b₁ of figure 3, with ν₁ = σ₃."""


def boolean_network(operation: str) -> LayeredNetwork:
    """The two half-spaces of figure 3 and an operation of BOOLEAN on them, both layers with σ₃.

    Raises:
        SettingError: there is no such operation.
    """
    if operation not in BOOLEAN:
        raise setting_error("operation", operation, f"one of {', '.join(BOOLEAN)}")
    return combined(*BOOLEAN_HALFSPACES, sigmoid(3), BOOLEAN[operation], sigmoid(3))


OUTER, INNER = 4.0, 2.0
"""Distances of figure 4's hyperplanes from the origin, which the paper shows without numbers.

With 4 the region of panel f is a circle to within a hundredth of its radius, 4.9.
"""

EIGHT_HALFSPACES: tuple[list[list[float]], list[float]] = (
    [[1.0, 0], [-1, 0], [0, 1], [0, -1], [1, 0], [-1, 0], [0, 1], [0, -1]],
    [-OUTER] * 4 + [INNER] * 4,
)
"""A₁ and b₁ of figure 4: four outer half-spaces that hold the origin and four inner ones that do not.

The paper does not say which side of a hyperplane is inside. With weights 2 and 1 these sides give totals from 6 to 10,
hence −3.5 … 0.5 at β = 9.5 and four levels above 6.5, both as it says; with the origin inside all eight they would
go up to 12.
"""


@dataclass(frozen=True)
class NaryPanel:
    """A panel of figure 4: a combination of half-spaces 0 … 1, and the layers' activations."""

    combination: Combination
    first: Nonlinearity
    second: Nonlinearity

    def network(self) -> LayeredNetwork:
        """Its network."""
        return combined(*EIGHT_HALFSPACES, self.first, self.combination, self.second)


_MIXED = (2,) * 4 + (1,) * 4

NARY: Mapping[str, NaryPanel] = {
    "b": NaryPanel(Combination(_MIXED, 9.5), logistic(10), sigmoid(50)),
    "c": NaryPanel(Combination(_MIXED, 8.5), logistic(10), sigmoid(50)),
    "d": NaryPanel(Combination((1,) * 8, 4.5), logistic(10), sigmoid(50)),
    "e": NaryPanel(Combination(_MIXED, 6.5), logistic(10), sigmoid(1)),
    "f": NaryPanel(Combination((2,) * 4 + (0,) * 4, 6.5), logistic(1), sigmoid(50)),
}
"""Panels b to f of figure 4, by their letters."""


def cell_totals(points: Array, combination: Combination) -> Array:
    """⟨a, x⟩ (points,) of the eight half-spaces as steps 0 or 1 at points (points, 2): the numbers of figure 4 a."""
    weights, offsets = map(np.asarray, EIGHT_HALFSPACES)
    inside = points @ weights.T > offsets
    return np.asarray(inside @ np.asarray(combination.weights, dtype=np.float64))


def level_set(x: Array, beta: float) -> Array:
    """The y with σ(x) + σ(y) = β, of the shape of x: the transition's centre (figure 5); NaN where there is none."""
    rest = np.asarray(beta - np.tanh(np.asarray(x, dtype=np.float64) / 2))
    return inverse_sigmoid(np.where(np.abs(rest) < 1, rest, 0.0)) + np.where(np.abs(rest) < 1, 0.0, np.nan)


def _checked(beta: float) -> float:
    if not 0 < beta < 2:
        raise setting_error("beta", beta, "between 0 and 2, where an intersection has a transition")
    return beta


def shift(beta: float) -> float:
    """The y of the transition's centre as x → ∞, σ⁻¹(β − 1), where the ideal intersection has 0 (figure 6 e).

    Raises:
        SettingError: β is not between 0 and 2.
    """
    return float(inverse_sigmoid(_checked(beta) - 1))


def amplification(beta: float) -> float:
    """γ with σ(γ(2 − β)) = 0.995 (figure 6 d).

    Raises:
        SettingError: β is not between 0 and 2.
    """
    return float(inverse_sigmoid(REACHED) / (2 - _checked(beta)))


def _half_range(beta: float, multiple: float) -> float:
    """What the sum may differ from β within the transition."""
    ratio = float(inverse_sigmoid(CONFIDENCE) / inverse_sigmoid(REACHED))
    if not multiple > ratio:
        raise setting_error(
            "multiple", multiple, f"above {ratio:.4f}: from there on the output comes up to {CONFIDENCE}"
        )
    return (2 - _checked(beta)) * ratio / multiple


def transition_width(beta: float, multiple: float = 1.0) -> float:
    """Distance of the asymptotic y of the level sets ±0.95 of σ_γ(σ(x) + σ(y) − β) as x → ∞ (figure 6 f).

    γ is a multiple of `amplification`. Infinite up to the critical β, where the set −0.95 has no asymptote.

    Raises:
        SettingError: β is not between 0 and 2, or the multiple is below 1.
    """
    half = _half_range(beta, multiple)
    if beta <= half:
        return math.inf
    return float(inverse_sigmoid(beta + half - 1) - inverse_sigmoid(beta - half - 1))


def critical_beta(multiple: float = 1.0) -> float:
    """β at which the level set −0.95 becomes the diagonal y = −x and the width infinite (figure 6 f).

    There β = σ⁻¹(0.95)/γ, hence β = 2r/(1 + r) with r = σ⁻¹(0.95)/(multiple · σ⁻¹(0.995)).

    Raises:
        SettingError: the multiple is below 1.
    """
    ratio = _half_range(1.0, multiple)
    return 2 * ratio / (1 + ratio)


def transition_network(beta: float, gamma: float = 1.0) -> LayeredNetwork:
    """σ_γ(σ(x) + σ(y) − β), the two layers of figures 5 and 6."""
    return combined([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0], sigmoid(), Combination((1, 1), beta), sigmoid(gamma))


def rotated_halfspace(degrees: float, factor: float = 1.0) -> LayeredNetwork:
    """Two small diagonal half-spaces, which the second layer makes one whose normal has the angle (figure 7 c to f).

    As ⟨a₂, A₁x⟩ = 0.1·√2·(x cos α + y sin α), α is the angle of the normal: 90° is the half-space y ≥ 0.

    Args:
        degrees: α.
        factor: of the first layer's weights; at 10 and 20 the boundary turns to the diagonal.
    """
    angle = math.radians(degrees) + math.pi / 4
    first = [[0.1 * factor, -0.1 * factor], [0.1 * factor, 0.1 * factor]]
    return combined(first, [0.0, 0.0], sigmoid(), Combination((math.cos(angle), math.sin(angle)), 0.0), sigmoid())


class ShapePrimitives(nn.Module):
    """A half-space and a Gaussian as first layer, combined by the second (section 2.6, figure 8).

    The half-space is σ₃(⟨a, x⟩ − β); the Gaussian 2 exp(−½‖A x − b‖²) − 1, of the paper's f(x) = α‖A x − b‖² + β with
    α = −½ and β = 0. The paper has no numbers for the figure; a, β, A and b are this project's choice. (Its ⟨a, x⟩ + β
    of section 2.6 is the ⟨a, x⟩ − β of all others.)

    Args:
        combination: of the two; ⟨a, x⟩ − β.
    """

    normal, offset = (1.0, 2.0), -1.0
    matrix, centre = ((0.9, 0.0), (0.0, 0.9)), (-0.81, -0.81)

    def __init__(self, combination: Combination) -> None:
        super().__init__()
        self.combination = combination
        self.second = LayeredNetwork([([list(map(float, combination.weights))], [combination.offset], sigmoid(3))])

    def primitives(self, points: Tensor) -> Tensor:
        """Half-space and Gaussian, (points, 2), −1 … 1, at points (points, 2)."""
        normal, matrix, centre = (
            torch.tensor(numbers, dtype=points.dtype) for numbers in (self.normal, self.matrix, self.centre)
        )
        halfspace = sigmoid(3).value(points @ normal - self.offset)
        gaussian = 2 * torch.exp(-0.5 * (points @ matrix.T - centre).square().sum(1)) - 1
        return torch.stack([halfspace, gaussian], 1)

    def forward(self, points: Tensor) -> Tensor:
        """The combined region (points, 1), −1 … 1."""
        found: Tensor = self.second(self.primitives(points))
        return found


AMPLIFIED = 5.0
"""γ of the second layer of section 4.1."""


def example_probability(x: Array, alpha: float = 1.0, beta: float = 0.0) -> Array:
    """p̂(x) = ℓ₅(σ(αx − β)) of points on a line, of the shape of x (section 4.1, figure 9 a)."""
    return np.asarray(np.exp(-example_loss(x, alpha, beta)))


def example_loss(x: Array, alpha: float = 1.0, beta: float = 0.0) -> Array:
    """f(x) = −log p̂(x), all points of class 1, of the shape of x (section 4.1, figure 9 b)."""
    return np.logaddexp(0, -AMPLIFIED * np.tanh((alpha * np.asarray(x, dtype=np.float64) - beta) / 2))


def example_gradients(x: Array, alpha: float = 1.0, beta: float = 0.0) -> dict[str, Array]:
    """∂f/∂α and ∂f/∂β by the names alpha and beta, each of the shape of x (section 4.1, figure 9 c)."""
    points = np.asarray(x, dtype=np.float64)
    inside = np.tanh((alpha * points - beta) / 2)
    by_offset = -AMPLIFIED * (example_probability(points, alpha, beta) - 1) * (1 - inside**2) / 2
    return {"alpha": -by_offset * points, "beta": by_offset}


def informative_interval(name: str, share: float = 0.01) -> tuple[float, float]:
    """Where |∂f/∂α| or |∂f/∂β| comes up to this share of its maximum at last, to the left and to the right.

    α = 1 and β = 0 (figure 9 c). The paper says "one percent of their asymptotic value"; both go to 0, so that it
    must mean the maximum.

    Args:
        name: alpha or beta.
        share: in (0, 1).

    Raises:
        SettingError: another name or share.
    """
    if name not in ("alpha", "beta"):
        raise setting_error("parameter", name, "alpha or beta")
    if not 0 < share < 1:
        raise setting_error("share", share, "between 0 and 1")

    def size(x: float) -> float:
        return abs(float(example_gradients(np.asarray(x), 1.0, 0.0)[name]))

    # ∂f/∂α is 0 at 0 and has a hump on either side; ∂f/∂β has one, left of 0
    grid = np.linspace(-60, 60, 24_001)
    sizes = np.abs(example_gradients(grid)[name])
    best = int(sizes.argmax())
    top = -float(minimize_scalar(lambda x: -size(x), bounds=(grid[best - 1], grid[best + 1]), method="bounded").fun)
    above = np.flatnonzero(sizes >= share * top)
    if len(above) == 0 or above[0] == 0 or above[-1] == len(grid) - 1:
        raise SettingError(f"share={share}: the gradient comes up to it beyond ±60 too, or nowhere")
    low, high = (
        float(brentq(lambda x: size(x) - share * top, grid[left], grid[left + 1], xtol=1e-12))
        for left in (above[0] - 1, above[-1])
    )
    return low, high
