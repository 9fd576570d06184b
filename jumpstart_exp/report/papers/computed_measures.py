"""What the statements of computed.yaml are measured by: numbers of the geometry's probes that need no training."""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from torch import nn

from jumpstart_exp.geometry.bounds import partial_backpropagation
from jumpstart_exp.geometry.gradients import backpropagation, gradient_field
from jumpstart_exp.geometry.layered import LayeredNetwork, example_classes, example_network, identity, sigmoid
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.regions import linear_regions
from jumpstart_exp.geometry.theorems import maximum_cells
from jumpstart_exp.geometry.variation import exact_variation, strip_network, strip_sampler
from jumpstart_exp.geometry.worked import (
    BOOLEAN,
    NARY,
    OUTER,
    at_least,
    cell_totals,
    critical_beta,
    example_gradients,
    inverse_sigmoid,
    level_set,
    rotated_halfspace,
    shift,
    transition_width,
    unit_width,
)

_TRUTH: Mapping[str, Callable[[bool, bool], bool]] = {
    "complement of the first": lambda p, q: not p,
    "intersection": lambda p, q: p and q,
    "union": lambda p, q: p or q,
}

_STEPS = tuple(product((-1.0, 1.0), repeat=2))

_EXTENT = 5.0
"""Of the plane of equation 8's network, which the paper does not name: [−5, 5]²."""


def sigmoid_at(x: float, gamma: float = 1.0) -> float:
    """σ_γ(x)."""
    return float(np.tanh(gamma * x / 2))


def width_ratio(factor: float) -> float:
    """The width of a unit by that of one whose weights are so many times as large."""
    return unit_width([1.5, 0.5]) / unit_width([factor * 1.5, factor * 0.5])


def wrong_operations() -> float:
    """Of complement, intersection and union with steps −1 or 1 as inputs: lines of the truth tables that are wrong."""
    return sum(
        (float(np.dot(BOOLEAN[name].weights, steps)) - BOOLEAN[name].offset > 0) != truth(steps[0] > 0, steps[1] > 0)
        for name, truth in _TRUTH.items()
        for steps in _STEPS
    )


def wrong_in_derived_union() -> float:
    """Lines that are wrong of the union's truth table by the formula as printed: A_I, and plus signs."""

    def printed(x: float, y: float) -> float:
        intersection = (x + 0) + (-y + 0) + 1.5
        return -intersection + 0

    return sum((printed(*steps) > 0) != (max(steps) > 0) for steps in _STEPS)


def wrong_nary(most: int) -> float:
    """Lines of the truth tables of "at least k of n" that are wrong, over all k and all n up to `most`."""
    return sum(
        (sum(steps) - at_least(k, n).offset > 0) != (steps.count(1.0) >= k)
        for n in range(1, most + 1)
        for k in range(1, n + 1)
        for steps in product((-1.0, 1.0), repeat=n)
    )


def logistic_of_sigmoid() -> float:
    """The greatest difference between (x − 1)/2 of the sigmoid's output x and the logistic function."""
    at = np.linspace(-8, 8, 1601)
    return float(np.abs((np.tanh(at / 2) - 1) / 2 - 1 / (1 + np.exp(-at))).max())


def _totals() -> Any:
    points = Plane.square(1.5 * OUTER)
    return cell_totals(points.grid(97).numpy(), NARY["b"].combination)


def least_nary_value() -> float:
    """The least total of figure 4 a, minus 9.5."""
    return float(_totals().min() - 9.5)


def greatest_nary_value() -> float:
    """The greatest total of figure 4 a, minus 9.5."""
    return float(_totals().max() - 9.5)


def confidence_levels() -> float:
    """Different totals of figure 4 a above 6.5."""
    totals = _totals()
    return float(len(np.unique(totals[totals > 6.5])))


def roundness() -> float:
    """The greatest by the least distance of figure 4 f's boundary from the origin."""
    network, radii = NARY["f"].network(), torch.linspace(0, 1.5 * OUTER, 1201, dtype=torch.float64)
    angles = torch.linspace(0, 2 * torch.pi, 361, dtype=torch.float64)
    rays = torch.stack([angles.cos(), angles.sin()], 1)
    with torch.no_grad():
        inside = network((radii[:, None, None] * rays).reshape(-1, 2)).reshape(len(radii), -1) > 0
    ends = radii[inside.sum(0) - 1]
    return float(ends.max() / ends.min())


def shift_error() -> float:
    """How far the level set at x = 30 is from the shift, at most, over β."""
    return max(abs(float(level_set(np.array(30.0), beta)) - shift(beta)) for beta in np.linspace(0.1, 1.9, 19))


def distance_from_diagonal() -> float:
    """How far the level set −0.95 is from y = −x at the critical β, at most, for x from −3 to 3."""
    x = np.linspace(-3, 3, 61)
    beta = critical_beta()
    gamma = float(inverse_sigmoid(0.995)) / (2 - beta)
    return float(np.abs(level_set(x, beta - float(inverse_sigmoid(0.95)) / gamma) + x).max())


def critical_beta_gain(multiple: float) -> float:
    """The critical β at γ minus that at a multiple of it."""
    return critical_beta() - critical_beta(multiple)


def transition_width_ratio(beta: float, multiple: float) -> float:
    """The width of a transition at a multiple of γ, by that at γ."""
    return transition_width(beta, multiple) / transition_width(beta)


def normal_angle(degrees: float, factor: float, radius: float = 5.0) -> float:
    """Degrees of the normal of figure 7's boundary, as a line through 0 and the boundary's point at the radius."""
    angles = torch.linspace(degrees - 90 - 60, degrees - 90 + 60, 48_001, dtype=torch.float64).deg2rad()
    with torch.no_grad():
        values = rotated_halfspace(degrees, factor)(radius * torch.stack([angles.cos(), angles.sin()], 1))[:, 0]
    (crossing,) = (values.sign().diff() != 0).nonzero()[:, 0].tolist()
    return float(angles[crossing].rad2deg()) + 90


def turned(degrees: float, factors: tuple[float, float]) -> float:
    """Degrees by which the second factor turns the normal further than the first."""
    first, second = (normal_angle(degrees, factor) for factor in factors)
    return first - second


def cells_beside_the_most(lines: int) -> float:
    """Parts that so many random lines cut a large plane into, by the greatest number r(n, 2)."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(2, lines, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(lines, 2, generator=generator, dtype=torch.float64))
        layer.bias.copy_(torch.randn(lines, generator=generator, dtype=torch.float64))
    found = linear_regions(nn.Sequential(layer, nn.ReLU(), nn.Linear(lines, 1, dtype=torch.float64)), Plane.square(1e4))
    return found.cell_count / maximum_cells(lines, 2)


def example_gradient_error() -> float:
    """How far ∂f/∂α and ∂f/∂β as printed are from autograd's, at most, on [−12, 12]."""
    x = torch.linspace(-12, 12, 241, dtype=torch.float64)
    alpha, beta = torch.ones_like(x).requires_grad_(), torch.zeros_like(x).requires_grad_()
    loss = nn.functional.softplus(-5 * torch.tanh((alpha * x - beta) / 2))
    by = torch.autograd.grad(loss.sum(), (alpha, beta))
    found = example_gradients(x.numpy())
    return max(float(np.abs(found[name] - own.numpy()).max()) for name, own in zip(("alpha", "beta"), by, strict=True))


def gradient_from(distance: float, name: str) -> float:
    """The greatest gradient of the example at |x| ≥ distance, by the greatest of all."""
    x = np.linspace(-12, 12, 24_001)
    size = np.abs(example_gradients(x)[name])
    return float(size[np.abs(x) >= distance].max() / size.max())


def gradient_beyond(low: float, high: float, name: str) -> float:
    """The part of the example's gradient, summed over [−12, 12], that lies outside of low … high."""
    x = np.linspace(-12, 12, 24_001)
    size = np.abs(example_gradients(x)[name])
    return float(size[(x < low) | (x > high)].sum() / size.sum())


def unequal_errors() -> float:
    """|[y₃]₁ + [y₃]₂| at most, of the network of equation 8."""
    points = Plane.square(_EXTENT).grid(60)
    return float(backpropagation(example_network(), points, example_classes).y[-1].sum(1).abs().max())


@cache
def _field(gamma: float) -> Any:
    field = gradient_field(example_network().scaled(gamma), Plane.square(_EXTENT), example_classes, across=200)
    return field.localisation()


def localisation(layer: int, gamma: float) -> float:
    """The share of the plane that has 90 % of the layer's max |∂f/∂A|."""
    return float(_field(gamma)["localisation"][layer - 1])


def localisation_out_of_order() -> float:
    """How often a layer's localisation is not below that of the next, or at γ not above that at γ + 1; γ = 1, 2, 3."""
    shares = np.array([[localisation(layer, gamma) for layer in (1, 2, 3)] for gamma in (1.0, 2.0, 3.0)])
    return float((np.diff(shares, axis=1) <= 0).sum() + (np.diff(shares, axis=0) >= 0).sum())


def gradient_ratio(layer: int, gamma: float, of: str) -> float:
    """The layer's `maximum` or `mean` gradient over the plane at γ, by that at γ = 1."""
    return float(_field(gamma)[of][layer - 1] / _field(1.0)[of][layer - 1])


@cache
def _partial(gamma: float, norm: str) -> Any:
    points = Plane.square(_EXTENT).grid(200)
    return partial_backpropagation(example_network().scaled(gamma), points, example_classes, (0.05, 0.01), norm)


def propagated_not_falling() -> float:
    """How often the share of the plane that reaches a layer does not fall with γ, or towards layer 1, in both norms."""
    wrong = 0
    for norm in ("frobenius", "maximum"):
        shares = [_partial(gamma, norm).frame()["share"].tolist() for gamma in (1.0, 2.0, 3.0)]
        wrong += sum(now[0] >= before[0] or now[1] >= before[1] for before, now in pairwise(shares))
        wrong += sum(first >= second for first, second in shares)
    return float(wrong)


def largest_by_bound() -> float:
    """The greatest ratio of a gradient to its bound, by (14) and by (15), at γ = 1, 2 and 3."""
    ratios = [
        float((found.sizes[:-1] / found.bounds)[found.bounds > 0].max())
        for found in (_partial(gamma, norm) for norm in ("frobenius", "maximum") for gamma in (1.0, 2.0, 3.0))
    ]
    return max(ratios)


def equivalent_scaling(alpha: float) -> float:
    """The first layer's gradient with αA₁, αb₁ and σ_{γ/α}, by that with A₁, b₁ and σ_γ: at most over the plane."""
    points = Plane.square(_EXTENT).grid(40)

    def gradient(factor: float) -> torch.Tensor:
        first = [[factor, 0.3 * factor], [0.4 * factor, -factor]], [-factor, 0.5 * factor], sigmoid(3 / factor)
        second = [[1.0, -1.0], [-1.0, 0.5]], [0.2, -0.1], identity()
        return backpropagation(LayeredNetwork([first, second]), points, example_classes).weight_gradient(1)

    own, scaled = gradient(1.0), gradient(alpha)
    large = own.abs() > 1e-9
    return float((scaled / own)[large].mean())


_ENTRY, _PART = {"weights.0": [(0, 0)]}, "weights.0[0, 0]"
"""[A₁]₁ of the unit on the strip."""


@cache
def _variation_fit(extent: float) -> tuple[float, float]:
    """Exponent and scale of c(w) = scale · w^exponent, of w from 10 to 100, points of a grid on the strip."""
    points = Plane.rectangle((-extent, -1.0), (extent, 1.0)).grid(1600, 15)
    weights = (10.0, 25.0, 50.0, 100.0)
    found = [
        exact_variation(strip_network(weight), points, (points[:, 0] < 0).long(), entries=_ENTRY, chunk=24_000)
        for weight in weights
    ]
    constants = [float(frame.set_index("part").c[_PART]) for frame in found]
    exponent, _ = np.polyfit(np.log(weights), np.log(constants), 1)
    return float(exponent), float(np.exp(np.mean(np.log(constants) - np.log(weights) / 2)))


def variation_exponent(extent: float) -> float:
    """The exponent of w, the norm of A₁, in the variation of its gradient."""
    return _variation_fit(extent)[0]


def variation_scale(extent: float) -> float:
    """The k of c(w) = k·√w."""
    return _variation_fit(extent)[1]


def batch_exponent(extent: float, draws: int) -> float:
    """The exponent of the batch size in the coefficient of variation of sampled gradients, w = 25."""
    generator, sample = torch.Generator().manual_seed(0), strip_sampler(extent)
    sizes, found = (50, 200, 800), []
    for size in sizes:
        points, classes = sample(size * draws, generator)
        gradient = backpropagation(strip_network(25), points, classes).weight_gradient(1)[:, 0, 0]
        means = gradient.reshape(draws, size).mean(1)
        found.append(float(means.std() / means.mean().abs()))
    return float(np.polyfit(np.log(sizes), np.log(found), 1)[0])


MEASURES: Mapping[str, Callable[..., float]] = {
    measure.__name__: measure
    for measure in (
        *(sigmoid_at, width_ratio, wrong_operations, wrong_in_derived_union, wrong_nary, logistic_of_sigmoid),
        *(least_nary_value, greatest_nary_value, confidence_levels, roundness, shift_error, distance_from_diagonal),
        *(critical_beta_gain, transition_width_ratio, normal_angle, turned, cells_beside_the_most),
        *(example_gradient_error, gradient_from, gradient_beyond, unequal_errors),
        *(localisation_out_of_order, gradient_ratio, propagated_not_falling, largest_by_bound, equivalent_scaling),
        *(variation_exponent, variation_scale, batch_exponent),
    )
}
"""What a statement's `measure` can be."""
