"""The worked examples of Geometry against formulas of their own, and the paper's numbers."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from jumpstart_exp.geometry.worked import (
    BOOLEAN,
    EIGHT_HALFSPACES,
    INNER,
    NARY,
    OUTER,
    Combination,
    ShapePrimitives,
    amplification,
    at_least,
    boolean_network,
    cell_totals,
    critical_beta,
    example_gradients,
    example_loss,
    example_probability,
    informative_interval,
    inverse_sigmoid,
    level_set,
    rotated_halfspace,
    shift,
    transition_network,
    transition_width,
    unit_width,
)
from jumpstart_exp.settings import SettingError


def sigmoid(x: float | np.ndarray, gamma: float = 1.0) -> np.ndarray:
    return 2 / (1 + np.exp(-gamma * np.asarray(x))) - 1


def at(network: torch.nn.Module, *points: tuple[float, float]) -> np.ndarray:
    with torch.no_grad():
        return network(torch.tensor(points, dtype=torch.float64)).numpy()[:, 0]


TRUTH = {
    "true": lambda p, q: True,
    "false": lambda p, q: False,
    "first": lambda p, q: p,
    "second": lambda p, q: q,
    "complement of the first": lambda p, q: not p,
    "complement of the second": lambda p, q: not q,
    "intersection": lambda p, q: p and q,
    "union": lambda p, q: p or q,
}


def value(combination: Combination, inputs: tuple[float, ...]) -> float:
    return sum(a * x for a, x in zip(combination.weights, inputs, strict=True)) - combination.offset


@pytest.mark.parametrize("operation", BOOLEAN)
def test_operations_have_their_truth_table(operation: str) -> None:
    for p, q in product((False, True), repeat=2):
        steps = (2.0 * p - 1, 2.0 * q - 1)
        assert (value(BOOLEAN[operation], steps) > 0) == TRUTH[operation](p, q)


@pytest.mark.parametrize("operation", BOOLEAN)
def test_operations_hold_of_soft_regions_far_from_their_boundaries(operation: str) -> None:
    # a point in each of the four cells of 9x + y = −2 and −2x + 6y = −1
    points = [(3.0, 3.0), (3.0, -3.0), (-3.0, 3.0), (-3.0, -3.0)]
    for (x, y), found in zip(points, at(boolean_network(operation), *points), strict=True):
        assert (found > 0) == TRUTH[operation](9 * x + y > -2, -2 * x + 6 * y > -1)


def test_boolean_networks_are_the_formula() -> None:
    x, y = 0.13, -0.4
    first, second = sigmoid(9 * x + y + 2, 3), sigmoid(-2 * x + 6 * y + 1, 3)
    assert at(boolean_network("union"), (x, y))[0] == pytest.approx(sigmoid(first + second + 1.5, 3), abs=1e-14)
    assert at(boolean_network("complement of the first"), (x, y))[0] == pytest.approx(sigmoid(-first, 3), abs=1e-14)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(SettingError, match="operation='xor' is not allowed"):
        boolean_network("xor")


def test_union_is_the_dual_of_intersection() -> None:
    assert BOOLEAN["intersection"].dual() == BOOLEAN["union"]
    assert BOOLEAN["union"].dual() == BOOLEAN["intersection"]


@pytest.mark.parametrize("n", range(1, 7))
def test_at_least_k_of_n(n: int) -> None:
    for k in range(1, n + 1):
        for steps in product((-1.0, 1.0), repeat=n):
            assert (value(at_least(k, n), steps) > 0) == (steps.count(1.0) >= k)
    for k in (0, n + 1):
        with pytest.raises(SettingError, match=f"k={k} is not allowed"):
            at_least(k, n)


def test_a_combination_of_logistic_outputs_is_one_of_sigmoid_outputs() -> None:
    meant = Combination((2.0, -1.0, 0.5), 0.7)
    x = np.linspace(-3, 3, 7)
    for inputs in product(x, repeat=3):
        logistic = tuple(1 / (1 + np.exp(-each)) for each in inputs)
        symmetric = tuple(sigmoid(each) for each in inputs)
        assert value(meant.of_logistic(), symmetric) == pytest.approx(value(meant, logistic), abs=1e-12)


def test_totals_of_eight_halfspaces() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-2 * OUTER, 2 * OUTER, (4000, 2))
    outer = sum((np.abs(points[:, axis]) < OUTER) + 1 for axis in (0, 1))  # one of two opposite ones always holds
    inner = sum((np.abs(points[:, axis]) > INNER).astype(int) for axis in (0, 1))
    totals = cell_totals(points, NARY["b"].combination)
    assert totals.tolist() == (2 * outer + inner).tolist()
    # the paper: −3.5 … 0.5 at β = 9.5, and four levels above 6.5
    assert totals.min() - 9.5 == -3.5 and totals.max() - 9.5 == 0.5
    assert sorted(set(totals[totals > 6.5])) == [7, 8, 9, 10]


@pytest.mark.parametrize("letter", "bcde")
def test_steep_halfspaces_give_the_regions_of_the_totals(letter: str) -> None:
    edges = [-1.5 * OUTER, -OUTER, -INNER, INNER, OUTER, 1.5 * OUTER]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    points = [(x, y) for x in middles for y in middles]
    panel = NARY[letter]
    wanted = cell_totals(np.array(points), panel.combination) > panel.combination.offset
    assert (at(panel.network(), *points) > 0).tolist() == wanted.tolist()


def test_four_soft_halfspaces_make_a_circle() -> None:
    weights, offsets = map(np.array, EIGHT_HALFSPACES)
    angles = np.linspace(0, 2 * np.pi, 721)
    rays = np.stack([np.cos(angles), np.sin(angles)], 1)
    radii = np.linspace(0, 8, 4001)
    points = radii[:, None, None] * rays
    pre = points @ weights[:4].T - offsets[:4]
    is_inside = 2 * (1 / (1 + np.exp(-pre))).sum(-1) > 6.5
    radius = radii[is_inside.sum(0)]  # inside up to there, on every ray
    assert radius.max() / radius.min() < 1.01 and 4.8 < radius.mean() < 5
    drawn = at(NARY["f"].network(), *((radius.mean() * 0.98 * rays).tolist()))
    assert (drawn > 0).all() and (at(NARY["f"].network(), *((radius.mean() * 1.02 * rays).tolist())) < 0).all()


def test_the_inverse_sigmoid_inverts() -> None:
    x = np.linspace(-6, 6, 61)
    for gamma in (0.5, 1.0, 3.0):
        assert inverse_sigmoid(sigmoid(x, gamma), gamma) == pytest.approx(x, abs=1e-8)
    assert inverse_sigmoid(np.array([-1.0, 1.0])).tolist() == [-np.inf, np.inf]
    with pytest.raises(SettingError, match=r"sigmoid=1.5 is not allowed"):
        inverse_sigmoid(1.5)


def test_the_width_of_a_unit_is_the_distance_of_its_level_sets() -> None:
    a, beta, gamma = np.array([3.0, -4.0]), 2.0, 1.7
    start, step = beta * a / 25, a / 5 * unit_width([3, -4], gamma) / 2
    assert sigmoid(a @ (start + step) - beta, gamma) == pytest.approx(0.95, abs=1e-12)
    assert sigmoid(a @ (start - step) - beta, gamma) == pytest.approx(-0.95, abs=1e-12)


@pytest.mark.parametrize("beta", [-1.0, 0.0, 0.4, 1.0, 1.8])
def test_level_sets_hold_their_level(beta: float) -> None:
    x = np.linspace(-8, 8, 401)
    y = level_set(x, beta)
    is_there = np.abs(beta - sigmoid(x)) < 1
    assert np.isfinite(y).tolist() == is_there.tolist()
    assert (sigmoid(x) + sigmoid(y))[is_there] == pytest.approx(beta, abs=1e-12)


@pytest.mark.parametrize("beta", [0.1, 0.6, 1.0, 1.8])
def test_shift_is_where_the_level_set_goes(beta: float) -> None:
    assert level_set(np.array([40.0]), beta)[0] == pytest.approx(shift(beta), abs=1e-9)


@pytest.mark.parametrize("beta", [0.1, 0.6, 1.0, 1.8])
def test_amplification_reaches_its_output(beta: float) -> None:
    far = at(transition_network(beta, amplification(beta)), (60.0, 60.0), (-60.0, -60.0))
    assert far[0] == pytest.approx(0.995, abs=1e-12) and far[1] <= -0.995


@pytest.mark.parametrize(("beta", "multiple"), [(0.8, 1), (1.0, 1), (1.8, 1), (0.5, 2), (1.0, 4), (1.9, 8)])
def test_width_is_the_distance_of_the_contours_far_out(beta: float, multiple: float) -> None:
    network = transition_network(beta, multiple * amplification(beta))
    ys = np.linspace(-20, 20, 400_001)
    values = at(network, *[(60.0, y) for y in ys[::10]])
    low, high = (np.interp(level, values, ys[::10]) for level in (-0.95, 0.95))
    assert high - low == pytest.approx(transition_width(beta, multiple), abs=2e-3)


@pytest.mark.parametrize("multiple", [0.7, 1, 2, 4])
def test_the_critical_beta_is_where_the_lower_contour_is_the_diagonal(multiple: float) -> None:
    beta = critical_beta(multiple)
    network = transition_network(beta, multiple * amplification(beta))
    assert at(network, *[(x, -x) for x in (-5.0, 0.0, 0.3, 7.0)]) == pytest.approx(-0.95, abs=1e-12)
    assert transition_width(beta - 1e-6, multiple) == np.inf and transition_width(beta + 1e-6, multiple) < 30


def test_a_transition_out_of_range_is_refused() -> None:
    for beta in (0.0, 2.0, float("nan")):
        for function in (shift, amplification, transition_width):
            with pytest.raises(SettingError, match="beta="):
                function(beta)
    with pytest.raises(SettingError, match=r"multiple=0.5 is not allowed"):
        transition_width(1.0, 0.5)


@pytest.mark.parametrize("degrees", [1, 30, 70, 90, 200])
def test_the_rotated_halfspace_has_its_normal(degrees: float) -> None:
    network = rotated_halfspace(degrees)
    x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    angle = np.degrees(np.arctan2(*gradient[0].numpy()[::-1])) % 360
    assert angle == pytest.approx(degrees, abs=1e-9)


def test_large_first_weights_turn_the_boundary_to_the_diagonal() -> None:
    turned = []
    for factor in (1, 10, 20, 1000):
        angles = np.radians(np.linspace(-60, 20, 80_001))  # about the boundary's −20°
        values = at(rotated_halfspace(70, factor), *np.stack([5 * np.cos(angles), 5 * np.sin(angles)], 1).tolist())
        (crossing,) = np.flatnonzero(np.diff(np.sign(values)) != 0)
        turned.append(-np.degrees(angles[crossing]))
    assert turned == sorted(turned)
    assert turned[0] == pytest.approx(20, abs=1) and turned[-1] == pytest.approx(45, abs=0.1)


def test_primitives_are_a_halfspace_and_a_gaussian() -> None:
    network = ShapePrimitives(BOOLEAN["union"])
    x, y = -0.3, 0.8
    halfspace = sigmoid(x + 2 * y + 1, 3)
    gaussian = 2 * np.exp(-0.5 * ((0.9 * x + 0.81) ** 2 + (0.9 * y + 0.81) ** 2)) - 1
    found = network.primitives(torch.tensor([[x, y]], dtype=torch.float64))[0].tolist()
    assert found == pytest.approx([halfspace, gaussian], abs=1e-14)
    assert at(network, (x, y))[0] == pytest.approx(sigmoid(halfspace + gaussian + 1.5, 3), abs=1e-14)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (-0.7, 1.3)])
def test_gradients_of_the_example_are_those_of_autograd(alpha: float, beta: float) -> None:
    x = torch.linspace(-12, 12, 97, dtype=torch.float64)
    weight, offset = (torch.full_like(x, each).requires_grad_() for each in (alpha, beta))
    loss = -torch.log(1 / (1 + torch.exp(-5 * (2 / (1 + torch.exp(-(weight * x - offset))) - 1))))
    by_weight, by_offset = torch.autograd.grad(loss.sum(), (weight, offset))
    found = example_gradients(x.numpy(), alpha, beta)
    assert example_loss(x.numpy(), alpha, beta) == pytest.approx(loss.detach().numpy(), abs=1e-12)
    assert example_probability(x.numpy(), alpha, beta) == pytest.approx(np.exp(-loss.detach().numpy()), abs=1e-12)
    assert found["alpha"] == pytest.approx(by_weight.numpy(), abs=1e-12)
    assert found["beta"] == pytest.approx(by_offset.numpy(), abs=1e-12)


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("share", [0.01, 0.1])
def test_the_gradient_is_small_outside_the_interval_alone(name: str, share: float) -> None:
    x = np.linspace(-60, 60, 1_200_001)
    size = np.abs(example_gradients(x)[name])
    above = x[size >= share * size.max()]
    assert informative_interval(name, share) == pytest.approx((above[0], above[-1]), abs=2e-4)


def test_an_interval_of_something_else_is_refused() -> None:
    with pytest.raises(SettingError, match="parameter='gamma' is not allowed"):
        informative_interval("gamma")
    with pytest.raises(SettingError, match=r"share=1.5 is not allowed"):
        informative_interval("alpha", 1.5)
