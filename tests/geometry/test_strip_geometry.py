"""One unit on the strip: its boundary, what it misclassifies, its gradient; against sums over a grid and autograd."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.geometry.strip import (
    Boundary,
    boundary,
    distance_to_nearest,
    first_layer_gradient,
    half_transition,
    misclassified_area,
)
from jumpstart_exp.settings import SettingError

NUMBER = st.floats(-8, 8).filter(lambda x: abs(x) > 1e-3 or x == 0)


def area_of(a: float, c: float, b: float, half_length: float = 3.0) -> float:
    return float(misclassified_area(Boundary(np.array([a, c]), np.array(b)), half_length))


def area_on_a_grid(a: float, c: float, b: float, half_length: float) -> float:
    x = (np.arange(1200) + 0.5) / 600 * half_length - half_length
    y = (np.arange(400) + 0.5) / 200 - 1
    wrong = (a * x[:, None] + c * y[None] + b > 0) != (x[:, None] > 0)
    return float(wrong.mean() * 4 * half_length)


def test_the_area_beside_a_vertical_hyperplane_is_the_papers() -> None:
    """2|b|/|a| (section 5.2), but no more than there is."""
    assert area_of(4.0, 0.0, -2.0) == 2 * 2 / 4
    assert area_of(4.0, 0.0, 2.0) == 1.0
    assert area_of(1.0, 0.0, -5.0) == 6.0, "beyond the strip's end"
    assert area_of(-4.0, 0.0, 0.0) == 12.0, "the classes the wrong way round"
    assert area_of(0.0, 1.0, 0.2) == 6.0, "level: half of every height"
    assert area_of(1.0, 0.3, np.inf) == area_of(1.0, 0.3, -np.inf) == 6.0, "one class everywhere"


def test_the_papers_start_misclassifies_an_area_of_four() -> None:
    """Through (2, 0) along (1, 0.3): the slant takes away what it adds (figure 13 e)."""
    assert area_of(1.0, 0.3, -2.0) == pytest.approx(4.0, abs=1e-12)


@given(a=NUMBER, c=NUMBER, b=NUMBER, half_length=st.sampled_from([0.5, 3.0, 30.0]))
def test_the_area_is_what_a_grid_counts(a: float, c: float, b: float, half_length: float) -> None:
    expected = area_on_a_grid(a, c, b, half_length)
    assert area_of(a, c, b, half_length) == pytest.approx(expected, abs=0.02 * half_length)


@given(b=st.floats(-9, 9), exponent=st.floats(-9, -3))
def test_the_area_of_a_nearly_vertical_hyperplane_keeps_its_digits(b: float, exponent: float) -> None:
    slope = 10**exponent  # by no more than which the cut moves at any height
    assert area_of(1.0, slope, b) == pytest.approx(area_of(1.0, 0.0, b), abs=1.01 * slope)


@given(st.lists(NUMBER, min_size=9, max_size=9), st.sampled_from([1, 2, 3]), st.sampled_from([0.5, 1.0, 3.0]))
def test_the_boundary_is_where_the_decision_changes(numbers: list[float], depth: int, gamma: float) -> None:
    a, c, b, w2, b2, w3, b3, w, bias = numbers
    weights = [np.array([[a, c]]), *[np.array([[each]]) for each in (w2, w3)[: depth - 1]], np.array([[-w], [w]])]
    biases = [np.array([b]), *[np.array([each]) for each in (b2, b3)[: depth - 1]], np.array([0.0, bias])]
    points = np.random.default_rng(0).uniform(-3, 3, (300, 2))
    h = points
    for weight, shift in zip(weights[:-1], biases[:-1], strict=True):
        h = np.tanh(gamma / 2 * (h @ weight.T + shift))
    log_odds = (h @ weights[-1].T + biases[-1]) @ [-1, 1]
    found = boundary(weights, biases, gamma)
    clear = np.abs(log_odds) > 1e-6  # no rounding decides
    assert ((points @ found.normal + found.offset > 0) == (log_odds > 0))[clear].all()
    one = boundary([*weights[:-1], weights[-1][1:] - weights[-1][:1]], [*biases[:-1], biases[-1][1:]], gamma)
    np.testing.assert_array_equal([*one.normal, one.offset], [*found.normal, found.offset])


def test_boundaries_of_many_networks_are_those_of_each() -> None:
    random = np.random.default_rng(1)
    weights = [random.normal(size=(5, *shape)) for shape in ((1, 2), (1, 1), (2, 1))]
    biases = [random.normal(size=(5, size)) for size in (1, 1, 2)]
    together = boundary(weights, biases)
    for i in range(5):
        alone = boundary([each[i] for each in weights], [each[i] for each in biases])
        np.testing.assert_array_equal(together.normal[i], alone.normal)
        assert together.offset[i] == alone.offset
        assert misclassified_area(together, 3.0)[i] == misclassified_area(alone, 3.0)
    with pytest.raises(SettingError, match=r"^layers of shapes .*: one unit a layer is needed"):
        boundary([np.ones((2, 2)), np.ones((2, 2))], [np.zeros(2), np.zeros(2)])


@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_the_gradient_is_that_of_autograd(gamma: float) -> None:
    random = np.random.default_rng(2)
    points, classes = random.uniform(-3, 3, (20, 2)), random.integers(0, 2, 20)
    first, outputs = np.array([2.0, -0.6, -1.5]), torch.tensor([[-3.0], [3.0]], dtype=torch.float64)
    found = first_layer_gradient(points, classes, first[:2], np.array(first[2]), 6.0, gamma)
    for i in range(20):
        of = torch.tensor(first, requires_grad=True)
        z = of[:2] @ torch.tensor(points[i]) + of[2]
        logits = outputs[:, 0] * (2 / (1 + torch.exp(-gamma * z)) - 1)
        F.cross_entropy(logits[None], torch.tensor(classes[i : i + 1])).backward()  # type: ignore[no-untyped-call]
        assert of.grad is not None
        np.testing.assert_allclose(found[i], of.grad.numpy(), rtol=1e-9, atol=1e-15)
    several = first_layer_gradient(points, classes, np.stack([first[:2]] * 3), np.full(3, first[2]), 6.0, gamma)
    np.testing.assert_allclose(several, np.stack([found] * 3), rtol=1e-12)


def test_distances_and_widths_are_along_the_normal() -> None:
    of = Boundary(np.array([3.0, 4.0]), np.array(-5.0))  # 1 from the origin
    assert distance_to_nearest(of, np.array([[0.0, 0.0], [0.6, 0.9]])) == pytest.approx(0.08)
    width = half_transition(of.normal, gamma=2.0)
    at = of.normal / 5 * (1 + width)
    assert 2 / (1 + np.exp(-2 * (of.normal @ at + of.offset))) - 1 == pytest.approx(0.95)
