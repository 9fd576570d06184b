"""Every row of the table of activations against finite differences, torch and its recipe."""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.networks.activations import ACTIVATIONS, activation_of, tat_slope
from jumpstart_exp.specs.network import NetworkSpec

NUMBERS = {"leaky_relu": 0.3, "prelu": 0.25, "sigmoid": 1.7, "tat": 0.43}
"""One for each row that has one."""

TORCHS = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(NUMBERS["leaky_relu"]),
    "prelu": nn.PReLU(init=NUMBERS["prelu"], dtype=torch.float64),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
    "logistic": nn.Sigmoid(),
    "softplus": nn.Softplus(),
}


def points(*, near: float = 0.01) -> Tensor:
    """(50, 4): around 0 but no nearer than `near`, where some have a kink, and far out on both sides."""
    x = torch.randn(40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2
    return torch.cat([x + near * x.sign(), torch.linspace(-35, 35, 40, dtype=torch.float64).reshape(10, 4)])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivative_is_that_of_the_value(name: str) -> None:
    """By central differences, by autograd, and at 0 as autograd has it."""
    row, number, x, step = ACTIVATIONS[name], NUMBERS.get(name, 0.0), points(), 1e-5
    differences = (row.value(x + step, number) - row.value(x - step, number)) / (2 * step)
    found = row.derivative(x, number)
    assert found.shape == row.value(x, number).shape == (len(x), 4 * row.outputs)
    torch.testing.assert_close(found, differences, rtol=1e-8, atol=1e-9)
    x = torch.cat([x, torch.zeros(1, 4, dtype=torch.float64)]).requires_grad_()
    value = row.value(x, number)
    pull = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (expected,) = torch.autograd.grad(value, x, pull)
    out = torch.empty(x.shape, dtype=torch.float64)
    row.backward(pull, x.detach(), out, number)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-14)
    row.write(x.detach(), written := torch.empty_like(value), number)
    assert torch.equal(written, value)


@pytest.mark.parametrize("name", [name for name, row in ACTIVATIONS.items() if row.is_trained])
def test_the_derivative_by_a_trained_number(name: str) -> None:
    row, x, number, step = ACTIVATIONS[name], points(), NUMBERS[name], 1e-6
    assert row.of_number is not None
    differences = (row.value(x, number + step) - row.value(x, number - step)) / (2 * step)
    torch.testing.assert_close(row.of_number(x), differences, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", TORCHS)
def test_values_and_gradients_are_torchs(name: str) -> None:
    x = torch.cat([points(near=0), torch.zeros(1, 4, dtype=torch.float64)])
    ours, torchs = (x.clone().requires_grad_() for _ in range(2))
    value, expected = ACTIVATIONS[name].value(ours, NUMBERS.get(name, 0.0)), TORCHS[name](torchs)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=1e-15)
    value.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, torchs.grad, rtol=1e-14, atol=1e-15)


def test_the_rest_is_its_formula() -> None:
    """What torch does not have: (van den Berg 2014; Zhang et al. 2022; Shang et al. 2016)."""
    x, slope, gamma = points().numpy(), NUMBERS["tat"], NUMBERS["sigmoid"]
    expected = {
        "sigmoid": 2 / (1 + np.exp(-gamma * x)) - 1,
        "tat": math.sqrt(2 / (1 + slope**2)) * np.where(x > 0, x, slope * x),
        "crelu": np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1),
    }
    assert expected.keys() == ACTIVATIONS.keys() - TORCHS.keys()
    for name, wanted in expected.items():
        found = ACTIVATIONS[name].value(torch.from_numpy(x), NUMBERS.get(name, 0.0)).numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)


def test_a_network_gives_the_activation_its_number() -> None:
    spec = NetworkSpec(leaky_slope=0.1, prelu_start=0.2, sigmoid_gamma=3.0)
    found = {name: row.number(spec, 50) for name, row in ACTIVATIONS.items()}
    assert {name: number for name, number in found.items() if number} == {
        "leaky_relu": 0.1,
        "prelu": 0.2,
        "sigmoid": 3.0,
        "tat": tat_slope(50, 0.9),
    }
    assert activation_of(NetworkSpec(activation="elu")) is ACTIVATIONS["elu"]


def test_gains_are_those_of_he_for_leaky_kinds_and_else_one() -> None:
    leaky = {"relu": 0.0, "crelu": 0.0, "leaky_relu": 0.3, "prelu": 0.25}
    for name, row in ACTIVATIONS.items():
        wanted = nn.init.calculate_gain("leaky_relu", leaky[name]) if name in leaky else 1.0
        assert row.gain(NUMBERS.get(name, 0.0)) == pytest.approx(wanted, rel=1e-15)


@pytest.fixture
def transformed() -> Callable[..., Any]:
    """What makes the authors' activations. absl, which it imports, would close the stream that pytest captures."""
    from absl import logging

    logging.get_absl_handler().python_handler.stream = sys.__stderr__
    from dks.base.activation_transform import get_transformed_activations

    found: Callable[..., Any] = get_transformed_activations
    return found


@pytest.mark.parametrize(("depth", "eta"), [(14, 0.9), (20, 0.9), (50, 0.9), (150, 0.9), (3, 0.5), (100, 0.99)])
def test_tat_is_that_of_its_authors(transformed: Callable[..., Any], depth: int, eta: float) -> None:
    """Against the package of the paper's authors."""

    def whole(c: float, layer: object) -> float:
        for _ in range(depth):
            c = layer(c)  # type: ignore[operator]
        return c

    authors = transformed(("leaky_relu",), method="TAT", tat_params={"c_val_0_target": eta}, subnet_max_func=whole)[
        "leaky_relu"
    ]
    x, row = points(), ACTIVATIONS["tat"]
    number = row.number(NetworkSpec(activation="tat", tat_eta=eta), depth)
    np.testing.assert_allclose(row.value(x, number).numpy(), authors(x.numpy()), rtol=1e-6)


def test_tats_slopes_by_depth() -> None:
    """As solved beforehand to three digits; twelve layers of ReLUs stay below 0.9 by themselves."""
    assert [round(tat_slope(depth, 0.9), 3) for depth in (20, 30, 50, 100, 150)] == [0.181, 0.303, 0.431, 0.57, 0.638]
    assert [tat_slope(depth, 0.9) for depth in (1, 5, 12)] == [0, 0, 0]


def test_a_number_may_be_one_a_network() -> None:
    """As tensors that broadcast: networks of different slopes and γ as one batch."""
    x = points().reshape(2, 25, 4)
    for name, number in NUMBERS.items():
        row, numbers = ACTIVATIONS[name], torch.tensor([number, 0.5], dtype=torch.float64)[:, None, None]
        for rule in (row.value, row.derivative):
            both = rule(x, numbers)
            torch.testing.assert_close(both, torch.stack([rule(x[0], number), rule(x[1], 0.5)]), rtol=1e-15, atol=0)


def test_softplus_is_x_where_torchs_is() -> None:
    x = torch.tensor([25.0, 1000.0], dtype=torch.float64)
    assert torch.equal(ACTIVATIONS["softplus"].value(x, 0.0), F.softplus(x))
    assert ACTIVATIONS["softplus"].derivative(x, 0.0).tolist() == [1, 1]
