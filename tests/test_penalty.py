import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.settings import SettingError

Array = NDArray[np.float64]

KINDS = ("U", "P", "UP", "L")
AGGREGATES = ("sum", "mean", "l2", "sum_sq", "balanced")
TIES = ("shared", "single", "random")

# (points, units) of each layer, then the same with positions: flat layers, small images, sequences, single entries.
SHAPES = (
    [(5, 3)],
    [(7, 2), (7, 2), (7, 2)],
    [(4, 1)],
    [(1, 4)],
    [(3, 2, 4)],
    [(4, 3, 2, 3), (4, 3, 2, 3)],
    [(4, 2, 3, 3), (4, 5)],
    [(1, 1, 1)],
)


def reference_pairs(
    g: Array,
    kind: str,
    balance: float,
    margin_above: float,
    margin_below: float,
    scope: str,
    *,
    sides: str = "both",
    point_sides: str | None = None,
    upper_bound: float | None = None,
) -> Array:
    """v = ρ·max(0, A − max g, max g − B) + (1 − ρ)·max(0, min g − b, −B − min g) of a layer's constraints."""
    g = g.reshape(g.shape[0], g.shape[1], -1)
    points, units, positions = range(3)
    axes = {
        ("U", "channel"): (points, positions),
        ("U", "position"): (points,),
        ("P", "channel"): (units, positions),
        ("P", "position"): (units,),
        ("L", "channel"): (points, units, positions),
        ("L", "position"): (points, units, positions),
    }
    bound = np.inf if upper_bound is None else upper_bound
    pairs = []
    for each in kind:
        most, least = g.max(axis=axes[each, scope]), g.min(axis=axes[each, scope])
        above = np.maximum(np.maximum(0.0, margin_above - most), most - bound)
        below = np.maximum(np.maximum(0.0, least - margin_below), -bound - least)
        counting = point_sides if each == "P" and point_sides else sides
        v = np.zeros_like(most)
        if counting in ("both", "above"):
            v += balance * above
        if counting in ("both", "below"):
            v += (1 - balance) * below
        pairs.append(np.ravel(v))
    return np.concatenate(pairs)


def reference(
    layers: Sequence[Array],
    kind: str = "UP",
    *,
    balance: float = 0.5,
    margin_above: float = 1.0,
    margin_below: float = -1.0,
    aggregate: str = "sum",
    scope: str = "channel",
    layer_weights: Sequence[float] | None = None,
    **others: Any,
) -> float:
    weights = layer_weights or [1.0] * len(layers)

    def pairs(of: str) -> Array:
        return np.concatenate(
            [
                weight * reference_pairs(g, of, balance, margin_above, margin_below, scope, **others)
                for weight, g in zip(weights, layers, strict=True)
            ]
        )

    v = pairs(kind)
    if aggregate == "balanced":
        return float(sum(pairs(each).sum() / len(pairs(each)) for each in kind))
    if aggregate == "sum":
        return float(v.sum())
    if aggregate == "mean":
        return float(v.sum() / len(v))
    squares = float((v**2).sum())
    return squares**0.5 if aggregate == "l2" else squares


def random_layers(shapes: Sequence[tuple[int, ...]], seed: int, spread: float = 1.0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(rng.normal(), spread, shape) for shape in shapes]


def tensors(layers: Sequence[Array]) -> list[Tensor]:
    return [torch.tensor(g, dtype=torch.float64, requires_grad=True) for g in layers]


def gradients(penalty: SeparationPenalty, layers: Sequence[Array], **call: object) -> list[Array]:
    leaves = tensors(layers)
    penalty(leaves, **call).backward()
    return [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]


def finite_differences(value: Callable[[list[Array]], float], layers: Sequence[Array]) -> list[Array]:
    """Central differences of a function of the layers, entry by entry."""
    slopes = []
    step = 1e-6
    for index, g in enumerate(layers):
        slope = np.zeros_like(g)
        for entry in np.ndindex(*g.shape):
            sides = []
            for sign in (1, -1):
                moved = [layer.copy() for layer in layers]
                moved[index][entry] += sign * step
                sides.append(value(moved))
            slope[entry] = (sides[0] - sides[1]) / (2 * step)
        slopes.append(slope)
    return slopes


# --- Values ---------------------------------------------------------------------------------------------------

# Two units on three points, in numbers that are exact in binary.
#            unit 0   unit 1     max     min     ψ⁺ = max(0, 1 − max)   ψ⁻ = max(0, 1 + min)
EXAMPLE = [
    np.array(
        [
            [0.5, -2.0],  #      0.5    −2      0.5                    0
            [2.0, -0.5],  #      2      −0.5    0                      0.5
            [-0.25, 0.25],  #    0.25   −0.25   0.75                   0.75
        ]
    )
]
#      max   2        0.25
#      min   −0.25    −2
#      ξ⁺    0        0.75
#      ξ⁻    0.75     0
# Over the layer: max 2, min −2: both sides met.
#
# ρ = 1/2: U: v = (0.375, 0.375); P: v = (0.25, 0.25, 0.75).
#   sums 0.75 and 1.25; squares 2·0.140625 = 0.28125 and 2·0.0625 + 0.5625 = 0.6875.
# ρ = 1/4: U: v = (0.75·0.75, 0.25·0.75) = (0.5625, 0.1875); P: v = (0.125, 0.375, 0.75).
#   squares 0.31640625 + 0.03515625 = 0.3515625 and 0.015625 + 0.140625 + 0.5625 = 0.71875.


@pytest.mark.parametrize(
    ("kind", "balance", "aggregate", "expected"),
    [
        ("U", 0.5, "sum", 0.75),
        ("P", 0.5, "sum", 1.25),
        ("UP", 0.5, "sum", 2.0),
        ("L", 0.5, "sum", 0.0),
        ("U", 0.5, "mean", 0.375),
        ("P", 0.5, "mean", 1.25 / 3),
        ("UP", 0.5, "mean", 0.4),
        ("U", 0.5, "sum_sq", 0.28125),
        ("P", 0.5, "sum_sq", 0.6875),
        ("UP", 0.5, "sum_sq", 0.96875),
        ("UP", 0.5, "l2", 0.96875**0.5),
        ("U", 0.25, "sum_sq", 0.3515625),
        ("P", 0.25, "sum_sq", 0.71875),
        ("UP", 0.25, "sum_sq", 1.0703125),
        ("U", 1.0, "sum", 0.75),  # ξ⁺ alone: 0 + 0.75
        ("U", 0.0, "sum", 0.75),  # ξ⁻ alone: 0.75 + 0
        ("P", 1.0, "sum", 1.25),  # ψ⁺ alone: 0.5 + 0 + 0.75
        ("P", 0.0, "sum", 1.25),  # ψ⁻ alone: 0 + 0.5 + 0.75
    ],
)
def test_the_worked_example(kind: str, balance: float, aggregate: str, expected: float) -> None:
    value = SeparationPenalty(kind, balance=balance, aggregate=aggregate)(tensors(EXAMPLE))
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, rel=1e-15)


def test_the_worked_example_with_other_margins() -> None:
    # Above 3, below −4: the layer's max 2 lacks 1, its min −2 lacks 2: v = ½·1 + ½·2.
    assert SeparationPenalty("L", margin_above=3.0, margin_below=-4.0)(tensors(EXAMPLE)).item() == 1.5


@pytest.mark.parametrize(("lowest", "deficit"), [(-3.0, 0.0), (-1.0, 0.0), (-0.25, 0.75), (0.0, 1.0), (0.5, 1.5)])
@pytest.mark.parametrize("kind", ["U", "P", "L"])
def test_the_deficit_below_is_one_plus_the_minimum(kind: str, lowest: float, deficit: float) -> None:
    # CPAIOR prints max(0, −1 − min g) in (10) and (12): that would be 2 for −3 and 0 for every violated constraint.
    g = np.array([[lowest, 5.0]])
    layer = g if kind == "P" else g.T
    assert SeparationPenalty(kind, balance=0.0)(tensors([layer])).item() == deficit


@pytest.mark.parametrize(("highest", "deficit"), [(3.0, 0.0), (1.0, 0.0), (0.25, 0.75), (0.0, 1.0), (-0.5, 1.5)])
@pytest.mark.parametrize("kind", ["U", "P", "L"])
def test_the_deficit_above_is_one_minus_the_maximum(kind: str, highest: float, deficit: float) -> None:
    g = np.array([[highest, -5.0]])
    layer = g if kind == "P" else g.T
    assert SeparationPenalty(kind, balance=1.0)(tensors([layer])).item() == deficit


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["channel", "position"])
def test_values_are_those_of_the_formulas(kind: str, aggregate: str, scope: str, shapes: list[tuple[int, ...]]) -> None:
    for seed, ties in enumerate(TIES):
        layers = random_layers(shapes, seed, spread=0.7)
        choices = {"balance": 0.51, "margin_above": 1.25, "margin_below": -0.5, "aggregate": aggregate, "scope": scope}
        value = SeparationPenalty(kind, ties=ties, **choices)(tensors(layers)).item()
        np.testing.assert_allclose(value, reference(layers, kind, **choices), rtol=1e-12)


@given(
    points=st.integers(1, 6),
    units=st.integers(1, 5),
    positions=st.lists(st.integers(1, 3), max_size=2),
    depth=st.integers(1, 4),
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    kind=st.sampled_from(KINDS),
    aggregate=st.sampled_from(AGGREGATES),
    scope=st.sampled_from(["channel", "position"]),
    ties=st.sampled_from(TIES),
    balance=st.floats(0, 1),
    margin_above=st.floats(0.1, 3),
    margin_below=st.floats(-3, 0),
    sides=st.sampled_from(["both", "above", "below"]),
    upper_bound=st.none() | st.floats(3, 5),
    weighted=st.booleans(),
)
def test_any_penalty_is_that_of_the_formulas(
    points: int,
    units: int,
    positions: list[int],
    depth: int,
    seed: int,
    spread: float,
    kind: str,
    ties: str,
    weighted: bool,
    **choices: object,
) -> None:
    layers = random_layers([(points, units, *positions)] * depth, seed, spread)
    weights = np.random.default_rng(seed).uniform(0, 2, depth).tolist() if weighted else None
    value = SeparationPenalty(kind, ties=ties, layer_weights=weights, **choices)(tensors(layers)).item()
    expected = reference(layers, kind, layer_weights=weights, **choices)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_layer_weights_scale_each_layers_pairs_but_not_their_number(aggregate: str) -> None:
    # One unit, all at 0: v = 1 in each of three layers, so the weighted pairs are 2, 0 and 0.5.
    layers = [np.zeros((4, 1))] * 3
    expected = {"sum": 2.5, "mean": 2.5 / 3, "l2": 4.25**0.5, "sum_sq": 4.25, "balanced": 2.5 / 3}[aggregate]
    penalty = SeparationPenalty("U", aggregate=aggregate, layer_weights=(2.0, 0.0, 0.5))
    assert penalty(tensors(layers)).item() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("aggregate", ["sum", "sum_sq"])
def test_up_is_u_and_p_together(aggregate: str) -> None:
    layers = tensors(random_layers([(6, 4), (6, 4)], 3))
    u, p, up = (SeparationPenalty(kind, aggregate=aggregate)(layers).item() for kind in ("U", "P", "UP"))
    assert u > 0 and p > 0
    assert up == pytest.approx(u + p, rel=1e-14)


def test_a_position_scope_counts_one_constraint_per_position() -> None:
    # Everything at 0 makes every v = 1, so the sum is the number of constraints.
    layers = tensors([np.zeros((5, 3, 2, 4))])
    counts = {
        (kind, scope): SeparationPenalty(kind, scope=scope)(layers).item()
        for kind, scope in itertools.product(KINDS, ("channel", "position"))
    }
    assert counts["U", "channel"] == 3
    assert counts["U", "position"] == 3 * 8
    assert counts["P", "channel"] == 5
    assert counts["P", "position"] == 5 * 8
    assert counts["UP", "position"] == 8 * 8
    assert counts["L", "channel"] == counts["L", "position"] == 1


def test_a_layer_of_one_unit_cannot_separate_its_points() -> None:
    # max = min = g: the deficits add up to at least 2 wherever g stands within the margins.
    layers = [np.array([[-0.5], [0.0], [0.75]])]
    assert SeparationPenalty("P")(tensors(layers)).item() == pytest.approx(3.0, rel=1e-15)


# The example's U deficits: above 0 and 0.75, below 0.75 and 0; P: above 0.5, 0, 0.75, below 0, 0.5, 0.75.
@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"aggregate": "balanced"}, 0.75 / 2 + 1.25 / 3),
        ({"aggregate": "balanced", "layer_weights": (2.0,)}, 0.75 + 2.5 / 3),
        ({"sides": "above"}, 0.5 * 0.75 + 0.5 * 1.25),
        ({"sides": "below", "balance": 0.25}, 0.75 * 0.75 + 0.75 * 1.25),
        # one of the four left out: the units' lower side
        ({"sides": "above", "point_sides": "both"}, 0.5 * 0.75 + 1.25),
        ({"sides": "both", "point_sides": "below"}, 0.75 + 0.5 * 1.25),
        # the bound 1.5: unit 0 reaches 2, unit 1 −2, point 0 −2, point 1 2: each 0.5 beyond it, half of it in v
        ({"upper_bound": 1.5}, 0.75 + 1.25 + 0.5 * 4 * 0.5),
        ({"upper_bound": 1.5, "sides": "above"}, 0.375 + 0.625 + 0.5 * 2 * 0.5),
        ({"upper_bound": 2.0}, 2.0),
    ],
)
def test_the_worked_example_with_sides_and_bound(choices: dict[str, Any], expected: float) -> None:
    assert SeparationPenalty("UP", **choices)(tensors(EXAMPLE)).item() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
def test_a_side_alone_is_the_pairs_term_whatever_the_other(balance: float) -> None:
    layers = tensors(random_layers([(7, 3)], 2, spread=0.5))
    whole, *sides = (SeparationPenalty("UP", balance=balance, sides=own)(layers) for own in ("both", "above", "below"))
    assert sum(side.item() for side in sides) == pytest.approx(whole.item(), rel=1e-14)


# --- Gradients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("scope", ["channel", "position"])
@pytest.mark.parametrize("ties", TIES)
def test_gradients_away_from_ties_are_the_slopes_of_the_formulas(
    kind: str, aggregate: str, scope: str, ties: str
) -> None:
    layers = random_layers([(4, 3, 2), (4, 3, 2)], seed=11, spread=0.4)
    choices = {"balance": 0.3, "aggregate": aggregate, "scope": scope, "layer_weights": (0.5, 2.0)}
    found = gradients(SeparationPenalty(kind, ties=ties, **choices), layers)
    expected = finite_differences(lambda moved: reference(moved, kind, **choices), layers)
    assert any(np.abs(slope).max() > 1e-3 for slope in expected)
    for gradient, slope in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, slope, atol=1e-7)


@pytest.mark.parametrize("spread", [0.3, 1.5], ids=["within the margins", "beyond the bound"])
@pytest.mark.parametrize("point_sides", [None, "both", "above", "below"])
@pytest.mark.parametrize("sides", ["both", "above", "below"])
@pytest.mark.parametrize("aggregate", ["balanced", "l2"])
def test_gradients_of_sides_and_bound_are_the_slopes_of_the_formulas(
    sides: str, point_sides: str | None, aggregate: str, spread: float
) -> None:
    layers = random_layers([(4, 3), (4, 3)], seed=5, spread=spread)
    choices = {"sides": sides, "point_sides": point_sides, "upper_bound": 1.1, "aggregate": aggregate, "balance": 0.3}
    found = gradients(SeparationPenalty("UP", **choices), layers)
    expected = finite_differences(lambda moved: reference(moved, "UP", **choices), layers)
    assert any(np.abs(slope).max() > 1e-3 for slope in expected)
    for gradient, slope in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, slope, atol=1e-7)


def test_the_gradient_is_0_at_the_bound_and_points_inward_beyond_it() -> None:
    # unit 0: max just at the bound, min beyond −2; unit 1: max beyond it, min at it
    gradient = gradients(SeparationPenalty("U", upper_bound=2.0), [np.array([[2.0, 3.0], [-2.5, -2.0]])])[0]
    np.testing.assert_array_equal(gradient, [[0.0, 0.5], [-0.5, 0.0]])


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1.0, 4.0], ids=["exactly met", "met with room"])
def test_where_every_constraint_is_met_the_gradient_is_zero(kind: str, aggregate: str, ties: str, size: float) -> None:
    layers = [size * np.array([[1.0, -1.0], [-1.0, 1.0]])] * 2
    penalty = SeparationPenalty(kind, aggregate=aggregate, ties=ties)
    assert penalty(tensors(layers)).item() == 0.0
    for gradient in gradients(penalty, layers):
        np.testing.assert_array_equal(gradient, 0.0)


def test_a_side_exactly_at_its_margin_has_no_gradient() -> None:
    # max = 1 is met exactly; min = −0.5 lacks 0.5.
    gradient = gradients(SeparationPenalty("U", balance=0.25), [np.array([[1.0], [-0.5]])])[0]
    np.testing.assert_array_equal(gradient, [[0.0], [0.75]])


def test_a_constraint_that_is_met_takes_no_part_in_the_l2_gradient() -> None:
    # Unit 0 is met; unit 1: ξ⁺ = 0.5, ξ⁻ = 0, v = 0.25 = ‖v‖, so dv/‖v‖ = 1 and the slope is −ρ.
    gradient = gradients(SeparationPenalty("U", aggregate="l2"), [np.array([[2.0, 0.5], [-2.0, -2.0]])])[0]
    np.testing.assert_allclose(gradient, [[0.0, -0.5], [0.0, 0.0]], rtol=1e-15)


# --- Ties -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ties", "balance", "expected"),
    [
        # Every unit and every point has v = 1 and the slope (1 − ρ) − ρ = −0.02, to be given to its tied entries.
        # single: each unit to its first point, each point to its first unit.
        ("single", 0.51, [[-0.04, -0.02], [-0.02, 0.0], [-0.02, 0.0]]),
        # shared: a third of it from the unit, half of it from the point.
        ("shared", 0.51, [[-0.02 / 3 - 0.01] * 2] * 3),
        ("single", 0.5, [[0.0, 0.0]] * 3),
        ("shared", 0.5, [[0.0, 0.0]] * 3),
    ],
)
def test_everything_tied_at_zero(ties: str, balance: float, expected: list[list[float]]) -> None:
    layers = [np.zeros((3, 2))]
    penalty = SeparationPenalty("UP", balance=balance, ties=ties)
    assert penalty(tensors(layers)).item() == pytest.approx(5.0, rel=1e-15)
    gradient = gradients(penalty, layers)[0]
    if balance == 0.5:  # the sides cancel exactly, not nearly
        np.testing.assert_array_equal(gradient, expected)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        # Unit 0: max 0.5 at points 1 and 3, min −0.5 at point 0. Unit 1: max 0 at point 2, min −0.25 at 0, 1 and 3.
        ("single", [[0.5, 0.5], [-0.5, 0.0], [0.0, -0.5], [0.0, 0.0]]),
        ("shared", [[0.5, 0.5 / 3], [-0.25, 0.5 / 3], [0.0, -0.5], [-0.25, 0.5 / 3]]),
    ],
)
def test_ties_among_some_points(ties: str, expected: list[list[float]]) -> None:
    layers = [np.array([[-0.5, -0.25], [0.5, -0.25], [0.0, 0.0], [0.5, -0.25]])]
    np.testing.assert_allclose(gradients(SeparationPenalty("U", ties=ties), layers)[0], expected, rtol=1e-14)


def tied_image() -> Array:
    """2 points, 2 channels, 2 × 2 positions, all −0.5 but for the maxima 0.25."""
    g = np.full((2, 2, 2, 2), -0.5)
    g[0, 1, 1, 0] = g[0, 1, 0, 1] = g[1, 1, 0, 0] = g[1, 0, 1, 1] = 0.25
    return g


@pytest.mark.parametrize(
    ("kind", "firsts"),
    [
        # channel 0: only (1, 0, 1, 1); channel 1: (0, 1, 0, 1), (0, 1, 1, 0), (1, 1, 0, 0).
        ("U", [(1, 0, 1, 1), (0, 1, 0, 1)]),
        # point 0: (0, 1, 0, 1), (0, 1, 1, 0); point 1: (1, 0, 1, 1), (1, 1, 0, 0): the lower channel is first.
        ("P", [(0, 1, 0, 1), (1, 0, 1, 1)]),
        ("L", [(0, 1, 0, 1)]),
    ],
)
def test_the_single_winner_is_first_in_point_channel_position_order(kind: str, firsts: list[tuple[int, ...]]) -> None:
    expected = np.zeros((2, 2, 2, 2))
    for entry in firsts:
        expected[entry] -= 1.0
    gradient = gradients(SeparationPenalty(kind, balance=1.0, ties="single"), [tied_image()])[0]
    np.testing.assert_array_equal(gradient, expected)


def test_shared_ties_split_over_points_and_positions() -> None:
    gradient = gradients(SeparationPenalty("U", balance=1.0, ties="shared"), [tied_image()])[0]
    expected = np.zeros((2, 2, 2, 2))
    expected[1, 0, 1, 1] = -1.0
    expected[0, 1, 0, 1] = expected[0, 1, 1, 0] = expected[1, 1, 0, 0] = -1 / 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)


def test_per_position_ties_are_among_points_for_units_and_among_channels_for_points() -> None:
    layers = [np.zeros((2, 3, 2))]
    unit = gradients(SeparationPenalty("U", balance=1.0, ties="single", scope="position"), layers)[0]
    np.testing.assert_array_equal(unit[0], -1.0)
    np.testing.assert_array_equal(unit[1], 0.0)
    point = gradients(SeparationPenalty("P", balance=1.0, ties="shared", scope="position"), layers)[0]
    np.testing.assert_allclose(point, -1 / 3, rtol=1e-14)


class RandomBits:
    """Tie draws from a table by constraint and layer, 0 elsewhere; remembers what it was asked."""

    def __init__(self, table: dict[tuple[str, int], list[int]]) -> None:
        self.table = table
        self.asked: dict[tuple[str, int], int] = {}

    def __call__(self, constraint: str, layer: int, count: int) -> Tensor:
        self.asked[constraint, layer] = count
        return torch.tensor(self.table.get((constraint, layer), [0] * count), dtype=torch.int64)


LAST = 2**32 - 1
THIRD = 2**32 // 3  # 3 · THIRD = 2³² − 1: the last draw of the first third; 2 · THIRD that of the second


def test_a_draw_chooses_among_the_tied_entries() -> None:
    # Unit 0: points 0, 2, 3 tie above (1 lower); unit 1: all four tie above.
    layer = np.array([[0.5, 0.0], [0.0, 0.0], [0.5, 0.0], [0.5, 0.0]])
    penalty = SeparationPenalty("U", balance=1.0, ties="random")
    for random_bits, points in [
        ([0, 0], (0, 0)),
        ([THIRD, 2**30 - 1], (0, 0)),
        ([THIRD + 1, 2**30], (2, 1)),
        ([2 * THIRD, 2**31], (2, 2)),
        ([2 * THIRD + 1, 3 * 2**30 - 1], (3, 2)),
        ([LAST, LAST], (3, 3)),
    ]:
        expected = np.zeros((4, 2))
        expected[points[0], 0] = expected[points[1], 1] = -1.0
        gradient = gradients(penalty, [layer], tie_draws=RandomBits({("U+", 0): random_bits}))[0]
        np.testing.assert_array_equal(gradient, expected)


def test_every_side_of_every_constraint_and_layer_has_its_own_draws() -> None:
    # Two layers of 3 points × 2 units at 0: everything ties. ρ = ¼: −0.25 to the chosen maximum, 0.75 to the minimum.
    table = {
        ("U+", 0): [0, LAST],  # unit 0: point 0; unit 1: point 2
        ("U-", 0): [LAST, 0],  # unit 0: point 2; unit 1: point 0
        ("P+", 0): [0, LAST, 0],  # units 0, 1, 0
        ("P-", 0): [0, 0, LAST],  # units 0, 0, 1
        ("U+", 1): [2**31, 2**31],  # point 1, both
        ("U-", 1): [2**31, 2**31],
        ("P+", 1): [LAST, LAST, LAST],
        ("P-", 1): [LAST, LAST, LAST],
    }
    random_bits = RandomBits(table)
    first, second = gradients(
        SeparationPenalty("UP", balance=0.25, ties="random"), [np.zeros((3, 2))] * 2, tie_draws=random_bits
    )
    assert random_bits.asked == {**{("U+", k): 2 for k in (0, 1)}, **{("U-", k): 2 for k in (0, 1)}} | {
        ("P" + side, k): 3 for side in "+-" for k in (0, 1)
    }
    units = np.array([[-0.25, 0.75], [0.0, 0.0], [0.75, -0.25]])
    points = np.array([[-0.25 + 0.75, 0.0], [0.75, -0.25], [-0.25, 0.75]])
    np.testing.assert_array_equal(first, units + points)
    np.testing.assert_array_equal(second, [[0.0, 0.5], [0.5, 1.0], [0.0, 0.5]])


@pytest.mark.parametrize(
    ("kind", "scope", "count", "tied"),
    [
        ("U", "channel", 3, lambda unit: [(i, unit, x) for i in range(2) for x in range(2)]),
        ("P", "channel", 2, lambda point: [(point, j, x) for j in range(3) for x in range(2)]),
        ("U", "position", 6, lambda unit: [(i, unit // 2, unit % 2) for i in range(2)]),
        ("P", "position", 4, lambda point: [(point // 2, j, point % 2) for j in range(3)]),
        ("L", "channel", 1, lambda _: list(itertools.product(range(2), range(3), range(2)))),
        ("L", "position", 1, lambda _: list(itertools.product(range(2), range(3), range(2)))),
    ],
)
def test_draws_count_along_points_channels_and_positions(
    kind: str, scope: str, count: int, tied: Callable[[int], list[tuple[int, ...]]]
) -> None:
    values = np.random.default_rng(5).integers(0, 2**32, count).tolist()
    random_bits = RandomBits({(kind + "+", 0): values})
    penalty = SeparationPenalty(kind, balance=1.0, ties="random", scope=scope)
    gradient = gradients(penalty, [np.zeros((2, 3, 2))], tie_draws=random_bits)[0]
    expected = np.zeros((2, 3, 2))
    for constraint, draw in enumerate(values):
        entries = tied(constraint)
        expected[entries[draw * len(entries) // 2**32]] -= 1.0
    np.testing.assert_array_equal(gradient, expected)
    assert random_bits.asked[kind + "+", 0] == count


def test_draws_come_from_torchs_generator_by_default() -> None:
    layers = [np.zeros((4, 1))]
    penalty = SeparationPenalty("U", balance=1.0, ties="random")
    torch.manual_seed(1)
    first = [gradients(penalty, layers)[0] for _ in range(40)]
    torch.manual_seed(1)
    again = [gradients(penalty, layers)[0] for _ in range(40)]
    np.testing.assert_array_equal(first, again)
    winners = {int(gradient.argmin()) for gradient in first}
    assert winners == {0, 1, 2, 3}
    assert all(sorted(gradient.ravel()) == [-1.0, 0.0, 0.0, 0.0] for gradient in first)


# --- Padding --------------------------------------------------------------------------------------------------


def padded(g: Array, units: int, points: int, seed: int) -> Array:
    """The layer with more units and points of arbitrary content behind the real ones."""
    filling = np.random.default_rng(seed).normal(0, 50, (g.shape[0] + points, g.shape[1] + units, *g.shape[2:]))
    filling[: g.shape[0], : g.shape[1]] = g
    return filling


def first_of(real: int, padding: int) -> Tensor:
    return torch.arange(real + padding) < real


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("scope", ["channel", "position"])
@pytest.mark.parametrize("ties", ["shared", "single"])
@pytest.mark.parametrize("rounding", [0, 6], ids=["tied", "untied"])
@pytest.mark.parametrize(("units", "points"), [(2, 0), (0, 3), (2, 3)])
def test_padding_takes_no_part(
    kind: str, aggregate: str, scope: str, ties: str, rounding: int, units: int, points: int
) -> None:
    layers = [np.round(g, rounding) for g in random_layers([(4, 3, 2), (4, 3, 2)], seed=2, spread=0.6)]
    wide = [padded(g, units, points, seed) for seed, g in enumerate(layers)]
    masks = {"unit_mask": first_of(3, units), "point_mask": first_of(4, points)}
    penalty = SeparationPenalty(kind, balance=0.4, aggregate=aggregate, scope=scope, ties=ties)
    value = penalty(tensors(wide), **masks).item()
    np.testing.assert_allclose(
        value, reference(layers, kind, balance=0.4, aggregate=aggregate, scope=scope), rtol=1e-12
    )
    for bare, gradient in zip(gradients(penalty, layers), gradients(penalty, wide, **masks), strict=True):
        np.testing.assert_allclose(gradient[:4, :3], bare, rtol=1e-12, atol=1e-16)
        np.testing.assert_array_equal(gradient[4:], 0.0)
        np.testing.assert_array_equal(gradient[:, 3:], 0.0)


def test_padding_never_ties_with_what_it_equals() -> None:
    # Two real units and points among zeros: a tie at zero is shared by the real ones alone.
    gradient = gradients(
        SeparationPenalty("UP", balance=1.0, ties="shared"),
        [np.zeros((3, 4))],
        unit_mask=torch.tensor([False, True, False, True]),
        point_mask=torch.tensor([True, False, True]),
    )[0]
    # A half from its unit, a half from its point.
    np.testing.assert_allclose(gradient, [[0, -1, 0, -1], [0, 0, 0, 0], [0, -1, 0, -1]], rtol=1e-14)


def test_padding_is_not_drawn() -> None:
    def highest(constraint: str, layer: int, count: int) -> Tensor:
        return torch.full((count,), LAST, dtype=torch.int64)

    gradient = gradients(
        SeparationPenalty("U", balance=1.0, ties="random"),
        [np.zeros((4, 2))],
        point_mask=torch.tensor([True, False, True, False]),
        tie_draws=highest,
    )[0]
    np.testing.assert_array_equal(gradient, [[0, 0], [0, 0], [-1, -1], [0, 0]])


def test_padding_is_not_counted_by_the_mean() -> None:
    layers = tensors([np.zeros((5, 4))])
    mean = SeparationPenalty("UP", aggregate="mean")
    assert mean(layers, unit_mask=first_of(1, 3), point_mask=first_of(2, 3)).item() == pytest.approx(1.0, rel=1e-15)


# --- Any torch model ------------------------------------------------------------------------------------------


def small_network(*, inplace: bool) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 3), nn.ReLU(inplace=inplace), nn.Linear(3, 3), nn.ReLU(inplace=inplace), nn.Linear(3, 1)
    ).double()


def pre_activations_by_hand(model: nn.Sequential, points: Tensor) -> list[Tensor]:
    first = model[0](points)
    second = model[2](first.clamp_min(0))
    return [first, second]


@pytest.mark.parametrize("inplace", [False, True])
def test_a_watched_model_gives_the_penalty_of_its_last_forward_pass(inplace: bool) -> None:
    model = small_network(inplace=inplace)
    penalty = SeparationPenalty("UP", balance=0.51)
    assert penalty.watch(model) is penalty
    generator = torch.Generator().manual_seed(4)
    for _ in range(2):
        points = torch.randn(6, 2, dtype=torch.float64, generator=generator)
        layers = pre_activations_by_hand(small_network(inplace=False), points)
        model(points)
        expected = reference([g.detach().numpy() for g in layers], "UP", balance=0.51)
        np.testing.assert_allclose(penalty().item(), expected, rtol=1e-12)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_penalty_of_a_watched_model_trains_its_weights(inplace: bool) -> None:
    points = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    model, twin = small_network(inplace=inplace), small_network(inplace=False)
    penalty = SeparationPenalty("UP").watch(model)
    task = model(points).square().sum()
    (task + penalty()).backward()
    (twin(points).square().sum() + SeparationPenalty("UP")(pre_activations_by_hand(twin, points))).backward()
    for found, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-12, atol=1e-14)


def test_a_relu_that_is_used_twice_is_two_layers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2).double()
            self.relu = nn.ReLU()

        def forward(self, points: Tensor) -> Tensor:
            return self.relu(self.linear(self.relu(self.linear(points))))

    model = Twice()
    penalty = SeparationPenalty("UP").watch(model)
    points = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    model(points)
    first = model.linear(points)
    second = model.linear(first.clamp_min(0))
    expected = reference([first.detach().numpy(), second.detach().numpy()])
    np.testing.assert_allclose(penalty().item(), expected, rtol=1e-12)


def test_watching_leaves_the_models_output_as_it_is() -> None:
    points = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    watched, plain = small_network(inplace=True), small_network(inplace=True)
    SeparationPenalty("UP").watch(watched)
    torch.testing.assert_close(watched(points), plain(points), rtol=0, atol=0)


# --- Bad arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kind": "PU"}, "kind"),
        ({"kind": "u"}, "kind"),
        ({"aggregate": "max"}, "aggregate"),
        ({"ties": "first"}, "ties"),
        ({"sides": "upper"}, "sides"),
        ({"kind": "U", "point_sides": "above"}, "point_sides"),
        ({"upper_bound": 0.5}, "upper_bound"),
        ({"upper_bound": 1.5, "margin_below": -2.0}, "upper_bound"),
        ({"scope": "pixel"}, "scope"),
        ({"balance": 1.5}, "balance"),
        ({"balance": -0.1}, "balance"),
        ({"margin_above": -1.0, "margin_below": 1.0}, "margin"),
        ({"balance": float("nan")}, "balance"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        SeparationPenalty(**arguments)


def test_layer_weights_must_be_as_many_as_the_layers() -> None:
    with pytest.raises(SettingError, match="layer_weights"):
        SeparationPenalty("U", layer_weights=(1.0, 2.0))(tensors([np.zeros((2, 2))]))


def test_without_pre_activations_a_model_must_have_been_watched_and_run() -> None:
    with pytest.raises(SettingError):
        SeparationPenalty("UP")()
    with pytest.raises(SettingError):
        SeparationPenalty("UP").watch(small_network(inplace=False))()


def test_a_watched_model_can_be_copied() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    penalty = SeparationPenalty("UP").watch(model)
    model(torch.randn(5, 2))
    copied = copy.deepcopy(model)
    copied(torch.randn(4, 2))
    assert penalty().requires_grad, "the copy records for itself"


def test_a_forward_pass_without_gradients_is_pointed_out() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    penalty = SeparationPenalty("UP").watch(model)
    with torch.no_grad():
        model(torch.randn(5, 2))
    with pytest.warns(UserWarning, match="without gradients"):
        penalty()
    with torch.no_grad():
        penalty()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 1, 3, 2), (0, 3, 1, 2), (3, 0, 1, 2), (2, 3, 1, 0)])
def test_the_layout_in_memory_is_of_no_matter(order: tuple[int, ...]) -> None:
    """Whatever order the axes have in memory, the gradient is that of the contiguous tensor."""
    generator = torch.Generator().manual_seed(3)
    g = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    found = []
    for layout in ((0, 1, 2, 3), order):
        inverse = [layout.index(axis) for axis in range(4)]
        leaf = g.permute(layout).contiguous().requires_grad_()
        penalty = SeparationPenalty("UP", margin_above=9.0, margin_below=-9.0)([leaf.permute(inverse)])
        found.append(torch.autograd.grad(penalty, leaf)[0].permute(inverse))
    assert torch.equal(found[0], found[1])
