"""Bounds (14) and (15): never violated, on thousands of random networks of every activation; and figure 17."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from jumpstart_exp.geometry.bounds import (
    NORMS,
    SMALLEST,
    gradient_bounds,
    gradient_sizes,
    layers_of,
    maximum_norm_bounds,
    partial_backpropagation,
    two_norm_bounds,
)
from jumpstart_exp.geometry.gradients import backpropagation, cross_entropy
from jumpstart_exp.geometry.layered import LayeredNetwork, example_classes, example_network, identity, named
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec

NUMBERS = {"leaky_relu": 0.1, "prelu": 0.25, "sigmoid": 3.0, "tat": 0.3}
ACTIVATION_NAMES = [name for name, each in ACTIVATIONS.items() if each.outputs == 1]


def holds(sizes: Tensor, bounds: Tensor) -> bool:
    return bool(((sizes <= bounds) | (sizes < SMALLEST)).all())


def two_norms(rows: Tensor) -> Tensor:
    """Without squares, which may be too small for float64."""
    return torch.tensor([math.hypot(*row) for row in rows.tolist()], dtype=torch.float64)


def random_network(generator: torch.Generator, name: str) -> LayeredNetwork:
    depth, scale = (
        int(torch.randint(1, 7, (), generator=generator)),
        10 ** float(torch.rand((), generator=generator) * 2 - 1),
    )
    widths = [2, *torch.randint(1, 7, (depth,), generator=generator).tolist(), 3]

    def drawn(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    kinds = [named(name, NUMBERS.get(name, 0.0))] * depth + [identity()]
    return LayeredNetwork(
        [
            (drawn(units, inputs), drawn(units), kind)
            for inputs, units, kind in zip(widths[:-1], widths[1:], kinds, strict=True)
        ]
    )


def autograd_sizes(network: LayeredNetwork, points: Tensor, classes: Tensor, order: float) -> np.ndarray:
    """The greater of the norms of ∂f/∂A_k and ∂f/∂b_k of each point, (layers, points), by autograd."""
    sizes = np.zeros((len(network.weights), len(points)))
    for number in range(len(points)):
        loss = cross_entropy(network(points[number : number + 1]), classes[number : number + 1]).sum()
        for parameters in (network.weights, network.offsets):
            for layer, gradient in enumerate(torch.autograd.grad(loss, list(parameters), retain_graph=True)):
                size = np.linalg.norm(gradient.numpy().ravel(), order)
                sizes[layer, number] = max(sizes[layer, number], size)
    return sizes


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_no_bound_is_violated(name: str) -> None:
    """200 networks an activation, of weights 0.1 to 10, 8 points each: from every layer to every earlier one."""
    generator = torch.Generator().manual_seed(len(name) + sum(map(ord, name)))
    tightest = 0.0
    for _ in range(200):
        network = random_network(generator, name)
        points = 4 * torch.rand(8, 2, generator=generator, dtype=torch.float64) - 2
        passed = backpropagation(network, points, torch.randint(3, (8,), generator=generator))
        for norm in NORMS:
            sizes = gradient_sizes(passed, norm)
            for known in range(1, len(passed.y) + 1):
                bounds = gradient_bounds(network, passed, known, norm)
                assert bounds.shape == (known - 1, 8)
                assert holds(sizes[: known - 1], bounds)
                if known > 1:
                    is_known = bounds[known - 2] > SMALLEST
                    ratios = sizes[known - 2][is_known] / bounds[known - 2][is_known]
                    tightest = max([tightest, *ratios.tolist()])
    assert 0.99 < tightest <= 1, "some bound is attained: it could not be smaller"


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_each_form_bounds_the_next_gradient_and_the_second_is_looser(name: str) -> None:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    for _ in range(50):
        network = random_network(generator, name)
        points = 4 * torch.rand(8, 2, generator=generator, dtype=torch.float64) - 2
        passed = backpropagation(network, points, torch.randint(3, (8,), generator=generator))
        for layer in range(1, len(passed.y)):
            mask, weight, y, below = (
                *(passed.masks[layer - 1], network.weights[layer].detach()),
                *(passed.y[layer], passed.y[layer - 1]),
            )
            for (first, second), size in (
                (two_norm_bounds(mask, weight, y), two_norms(below)),
                (maximum_norm_bounds(mask, weight, two_norms(y)), below.abs().amax(1)),
            ):
                assert holds(size, first)
                assert holds(first, second * (1 + 1e-11))


def test_forms_of_the_bounds_are_the_papers() -> None:
    """With y = (3, 4) and A = ((1, 0), (0, 2)): A'y = (3, 8), σ_max = 2, columns 1 and 2."""
    mask = torch.tensor([[0.5, -0.25]], dtype=torch.float64)
    weight, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]).double(), torch.tensor([[3.0, 4.0]]).double()
    first, second = two_norm_bounds(mask, weight, y)
    np.testing.assert_allclose([first.item(), second.item()], [0.5 * math.sqrt(73), 0.5 * 2 * 5])
    first, second = maximum_norm_bounds(mask, weight, y.norm(dim=1))
    np.testing.assert_allclose([first.item(), second.item()], [0.5 * 5, 0.5 * 5 * 2])


def test_rows_in_place_of_columns_would_be_violated() -> None:
    """The paper writes [A_k]_i; z = A'y, so it has to be the columns: with rows this network breaks the bound."""
    weight, y = torch.tensor([[1.0], [1.0]]).double(), torch.tensor([[1.0, 1.0]]).double()
    mask, below = torch.ones(1, 1).double(), y @ weight
    assert below.item() > weight.norm(dim=1).max() * y.norm()
    assert below.item() <= maximum_norm_bounds(mask, weight, y.norm(dim=1))[0].item()


@pytest.mark.parametrize(("norm", "order"), [("frobenius", 2), ("maximum", np.inf)])
@pytest.mark.parametrize("name", ["tanh", "gelu", "leaky_relu"])
def test_sizes_are_the_greater_of_weights_and_biases_by_autograd(name: str, norm: str, order: float) -> None:
    generator = torch.Generator().manual_seed(11)
    network = random_network(generator, name)
    points, classes = torch.randn(6, 2, generator=generator, dtype=torch.float64), torch.arange(6) % 3
    found = gradient_sizes(backpropagation(network, points, classes), norm)
    np.testing.assert_allclose(found, autograd_sizes(network, points, classes, order), rtol=1e-9, atol=1e-15)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(ACTIVATION_NAMES),
    norm=st.sampled_from(sorted(NORMS)),
    threshold=st.floats(1e-6, 10),
)
def test_what_is_left_out_is_below_the_thresholds(seed: int, name: str, norm: str, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    network = random_network(generator, name)
    points, classes = torch.randn(12, 2, generator=generator, dtype=torch.float64), torch.arange(12) % 3
    thresholds = [threshold / layer for layer in range(1, len(network.weights))]
    found = partial_backpropagation(network, points, classes, thresholds, norm)
    true = autograd_sizes(network, points, classes, 2 if norm == "frobenius" else np.inf)
    for layer, limit in enumerate(thresholds, 1):
        assert (true[layer - 1, (found.reached > layer).numpy()] < limit * (1 + 1e-9)).all()
    frame = found.frame()
    assert (frame.largest_left_out < frame.threshold).all()
    assert (frame.share.diff().dropna() >= 0).all(), "whoever reaches a layer has reached the later ones"


def test_threshold_zero_propagates_all_and_a_huge_one_nothing() -> None:
    points = Plane.square(2.0).grid(10)
    all_of_them = partial_backpropagation(example_network(), points, example_classes, (0, 0))
    nothing = partial_backpropagation(example_network(), points, example_classes, (1e9, 1e9))
    assert (all_of_them.reached == 1).all() and (all_of_them.frame().lost == 0).all()
    assert (nothing.reached == 3).all() and (nothing.frame().lost == 1).all()


@pytest.mark.parametrize(("gamma", "shares"), [(1, (0.508, 1.0)), (2, (0.165, 0.269)), (3, (0.073, 0.089))])
def test_shares_of_figure_17(gamma: float, shares: tuple[float, float]) -> None:
    """[−5, 5]², thresholds 0.05 for layer 1 and 0.01 for layer 2; the paper states no shares and no extent."""
    points = Plane.square(5.0).grid(200)
    frame = partial_backpropagation(example_network().scaled(gamma), points, example_classes, (0.05, 0.01)).frame()
    np.testing.assert_allclose(frame.share, shares, atol=0.003)
    assert (frame.lost < np.array([0.002, 0.0125])).all()
    by_entries = partial_backpropagation(
        example_network().scaled(gamma), points, example_classes, (0.05, 0.01), "maximum"
    ).frame()
    np.testing.assert_allclose(by_entries.share, shares, atol=0.013)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"thresholds": (0.1,)}, "it must be 2 numbers of at least 0, one a layer but the last"),
        ({"thresholds": (0.1, -1)}, "it must be 2 numbers of at least 0"),
        ({"thresholds": (0.1, math.nan)}, "it must be 2 numbers of at least 0"),
        ({"norm": "spectral"}, "norm='spectral' is not allowed: it must be one of maximum, frobenius"),
    ],
)
def test_what_is_not_defined_is_refused(change: dict[str, object], words: str) -> None:
    given = {"thresholds": (0.1, 0.1), "norm": "maximum"} | change
    with pytest.raises(SettingError, match=words):
        partial_backpropagation(example_network(), torch.zeros(3, 2), example_classes, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("known", [0, 4])
def test_layer_that_is_not_there_is_refused(known: int) -> None:
    passed = backpropagation(example_network(), torch.zeros(3, 2), example_classes)
    with pytest.raises(SettingError, match=f"known={known} is not allowed"):
        gradient_bounds(example_network(), passed, known)


# --- networks of ours ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATION_NAMES)
def test_multilayer_perceptron_is_the_same_network(name: str) -> None:
    torch.manual_seed(1)
    model = RectangularMLP(2, [4, 3, 4], 3, NetworkSpec(activation=name, sigmoid_gamma=2.0)).double()
    if model.slopes:
        nn.init.constant_(model.slopes[1], 0.7)
    points = torch.randn(9, 2, dtype=torch.float64)
    torch.testing.assert_close(layers_of(model)(points), model(points)[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm": "batch"}, "has norms"),
        ({"skip_every": 1}, "has skips"),
        ({"activation": "crelu"}, "has units of two outputs"),
        ({"layout": "conv2x1"}, "has convolutions"),
        ({"farkas": True}, "has Farkas layers"),
    ],
)
def test_other_parts_are_refused(settings: dict[str, object], words: str) -> None:
    model = RectangularMLP(2, [4, 4, 4], 1, NetworkSpec(**settings))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=words):
        layers_of(model)


def test_other_models_are_refused() -> None:
    with pytest.raises(SettingError, match="model='Linear' is not allowed: it must be a RectangularMLP"):
        layers_of(nn.Linear(2, 1))
