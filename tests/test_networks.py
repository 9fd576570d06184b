import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.networks.build import build, count_parameters, initial_parameters
from jumpstart_exp.networks.mlp import RectangularMLP

Array = NDArray[np.float64]


def network_of(depth: int, width: int, *, seed: int = 0, precision: str = "float32", **network: Any) -> RectangularMLP:
    config = {"depth": depth, "width": width, "seed": seed, "precision": precision, "network": network}
    return build(Cell.from_config(config, "test"))


def affine_layers(network: RectangularMLP) -> list[nn.Module]:
    return [*network.hidden, network.output]


def hexes(tensor: Tensor) -> list[str]:
    """The exact bits of every entry; a float32 number is written as the float64 that equals it."""
    return [float(value).hex() for value in tensor.detach().flatten()]


# Depth 3 and width 2, seed 0: weights, then biases, of every layer. Computed apart, from Philox4x64-10 in Python's
# integers: key (seed, layer), counters from 1, the upper 53 bits of each word, 2u − 1, times the bound.
GLOROT = [
    ["-0x1.324b483e3ca93p+0", "-0x1.4422173d8eacep-1", "-0x1.e7536d9adb45ep-1", "0x1.4323b5b9b4385p-3"],
    ["0x1.88fd4de4c6eefp-1", "0x1.3b3458ba9714cp-1", "0x1.ae8b1e77389a1p-2", "-0x1.52a34f621eb93p-5"],
    ["0x1.8a57e4b38ebddp-1", "-0x1.2e983505a0b28p-3", "-0x1.f65b951990f68p-2", "0x1.17fbedc9f515ep-2"],
    ["-0x1.1fc97a9af3230p-4", "-0x1.17dbe0a69a9b3p-5"],
]
KAIMING = [
    ["-0x1.61ad8cbdca124p-1", "-0x1.7646d89a10de7p-2", "-0x1.195b947c50cabp-1", "0x1.75211cc0da2dep-4"],
    ["0x1.c5c8ffbee9202p-2", "0x1.6bf77efdb5ae2p-2", "0x1.f1261378737c8p-3", "-0x1.8706809f9166bp-6"],
    ["0x1.c75934a36e9c3p-2", "-0x1.5d67f62f9047fp-4", "-0x1.2209501c298c3p-2", "0x1.434c3bd046bd3p-3"],
    ["-0x1.1fc97a9af322fp-5", "-0x1.17dbe0a69a9b2p-6"],
]
KAIMING_BIASES = [
    ["0x1.b917ad7938da2p-9", "-0x1.420fc0318c479p-2"],
    ["0x1.292787f598456p-2", "-0x1.48a00df568edep-2"],
    ["0x1.cef96591e7443p-2", "0x1.bbbafefad2bfep-3"],
    ["0x1.4008ac779dcd5p-4"],
]
# The same in float32.
GLOROT_FLOAT32 = [
    ["-0x1.324b480000000p+0", "-0x1.4422180000000p-1", "-0x1.e7536e0000000p-1", "0x1.4323b60000000p-3"],
    ["0x1.88fd4e0000000p-1", "0x1.3b34580000000p-1", "0x1.ae8b1e0000000p-2", "-0x1.52a3500000000p-5"],
    ["0x1.8a57e40000000p-1", "-0x1.2e98360000000p-3", "-0x1.f65b960000000p-2", "0x1.17fbee0000000p-2"],
    ["-0x1.1fc97a0000000p-4", "-0x1.17dbe00000000p-5"],
]
# The 2×1 layout at depth 2 and width 2, seed 7: (outputs, inputs, taps), then the output layer.
CONV2X1 = [
    ["0x1.7d00d2e0a7a7ep-1", "-0x1.a317799038ce0p-2", "-0x1.4747a81af9558p-3", "-0x1.83836ba4e4598p-3"],
    [
        *("0x1.532ce7fd87d1fp-1", "-0x1.d08d6e54b09d8p-3", "0x1.e46705b735a29p-6", "-0x1.2a575026db1e8p-2"),
        *("0x1.82f56ab71f84ap-2", "0x1.81513df2eb75ep-2", "-0x1.a02a5984fd061p-3", "0x1.7b8e8b8032077p-1"),
    ],
    ["-0x1.2b650aa157319p-2", "-0x1.c12dd615d3ea8p-3", "0x1.865cbbe740e63p-1", "0x1.855e48c053c85p-2"],
]


def test_glorot_weights_are_these_bits() -> None:
    for precision, expected in (("float64", GLOROT), ("float32", GLOROT_FLOAT32)):
        layers = affine_layers(network_of(3, 2, precision=precision))
        assert [hexes(layer.weight) for layer in layers] == expected
        assert all(not layer.bias.any() for layer in layers)


def test_kaiming_weights_and_biases_are_these_bits() -> None:
    layers = affine_layers(network_of(3, 2, precision="float64", init="kaiming_uniform"))
    assert [hexes(layer.weight) for layer in layers] == KAIMING
    assert [hexes(layer.bias) for layer in layers] == KAIMING_BIASES


def test_weights_of_the_2x1_layout_are_these_bits() -> None:
    layers = affine_layers(network_of(2, 2, seed=7, precision="float64", layout="conv2x1"))
    assert [hexes(layer.weight) for layer in layers] == CONV2X1


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
def test_zero_initialisation_is_zero_everywhere(layout: str) -> None:
    network = network_of(3, 4, init="zero", layout=layout)
    assert all(not parameter.any() for parameter in network.parameters())


def test_batch_norm_starts_as_the_identity() -> None:
    network = network_of(2, 3, norm="batch", norm_eps=0.5, norm_momentum=0.25)
    for norm in network.norms:
        assert isinstance(norm, nn.BatchNorm1d)
        assert norm.weight.tolist() == [1.0] * 3 and norm.bias.tolist() == [0.0] * 3
        assert (norm.eps, norm.momentum) == (0.5, 0.25)
    # the affine layers are those of the network without norm, hidden biases are kept
    for layer, plain in zip(affine_layers(network), affine_layers(network_of(2, 3)), strict=True):
        assert torch.equal(layer.weight, plain.weight) and torch.equal(layer.bias, plain.bias)


@pytest.mark.parametrize(
    ("layout", "fans"),
    [
        # (fan in, fan out) of the first, a later and the output layer at width 30
        ("mlp", [(2, 30), (30, 30), (30, 1)]),
        ("conv2x1", [(2 * 1, 2 * 30), (2 * 30, 2 * 30), (2 * 30, 1)]),
    ],
)
@pytest.mark.parametrize("init", ["glorot_uniform", "kaiming_uniform"])
def test_weights_fill_their_bounds(init: str, layout: str, fans: list[tuple[int, int]]) -> None:
    bounds = [math.sqrt(6 / (a + b)) if init == "glorot_uniform" else 1 / math.sqrt(a) for a, b in fans]
    largest, mean = [0.0] * 3, [0.0] * 3
    for seed in range(4):
        layers = affine_layers(network_of(2, 30, seed=seed, init=init, layout=layout, precision="float64"))
        for index, layer in enumerate(layers):
            numbers = [layer.weight.flatten()] + ([layer.bias] if init == "kaiming_uniform" else [])
            entries = torch.cat(numbers).abs()
            largest[index] = max(largest[index], entries.max().item())
            mean[index] += entries.mean().item() / 4
    for bound, high, middle in zip(bounds, largest, mean, strict=True):
        assert 0.9 * bound < high <= bound
        assert middle == pytest.approx(bound / 2, rel=0.15)


def test_an_mlp_may_begin_with_the_fans_of_a_valid_2x1_convolution() -> None:
    """The authors' runs at 50×4: torch counts the fans of Keras's Conv2D(4, (2, 1), padding='valid') on one channel."""
    fans = nn.init._calculate_fan_in_and_fan_out(nn.Conv2d(1, 4, (2, 1)).weight)
    assert fans == (2, 8)
    inits = ("glorot_uniform", "glorot_uniform_2x1")
    plain, authors = (network_of(50, 4, seed=3, init=init, precision="float64") for init in inits)
    ratio = math.sqrt(6 / sum(fans)) / math.sqrt(6 / (2 + 4))
    assert torch.allclose(authors.hidden[0].weight, ratio * plain.hidden[0].weight, rtol=1e-15)
    for layer, same in zip(affine_layers(authors)[1:], affine_layers(plain)[1:], strict=True):
        assert torch.equal(layer.weight, same.weight) and not layer.bias.any()
    first = [network_of(1, 4, seed=seed, init="glorot_uniform_2x1").hidden[0].weight.abs().max() for seed in range(50)]
    assert 0.77 < max(first) <= 0.775, "0.775, where an MLP's own fans give 1"


@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 6), extra=st.integers(1, 4), width=st.integers(1, 5))
def test_a_layers_weights_depend_on_seed_and_layer_alone(seed: int, depth: int, extra: int, width: int) -> None:
    shallow, deep = (network_of(d, width, seed=seed, init="kaiming_uniform") for d in (depth, depth + extra))
    for layer, same in zip(shallow.hidden, deep.hidden, strict=False):
        assert torch.equal(layer.weight, same.weight) and torch.equal(layer.bias, same.bias)


def test_seeds_and_layers_have_different_weights() -> None:
    weights = {
        tuple(layer.weight.flatten().tolist()) for seed in range(5) for layer in network_of(5, 2, seed=seed).hidden
    }
    assert len(weights) == 25


def test_initialising_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(0)
    first = affine_layers(network_of(2, 3))
    torch.manual_seed(1)
    second = affine_layers(network_of(2, 3))
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(first, second, strict=True))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    initial_parameters(Cell(depth=2, width=3))
    assert torch.equal(state, torch.get_rng_state())


def plain_forward(network: RectangularMLP, x: Array, layout: str) -> tuple[Array, list[Array]]:
    """Logits and pre-activations, entry by entry from the definition: (points, channels, positions)."""
    positions = 2 if layout == "conv2x1" else 1
    h = x[:, None, :] if positions == 2 else x[:, :, None]
    pre_activations = []
    for layer in network.hidden:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        g = np.zeros((len(x), len(bias), positions))
        for n, out, position in np.ndindex(g.shape):
            total = bias[out]
            for channel in range(h.shape[1]):
                if positions == 1:
                    total += weight[out, channel] * h[n, channel, 0]
                else:
                    following = h[n, channel, 1] if position == 0 else 0.0
                    total += weight[out, channel, 0] * h[n, channel, position] + weight[out, channel, 1] * following
            g[n, out, position] = total
        pre_activations.append(g)
        h = np.where(g > 0, g, 0.0)
    weight, bias = network.output.weight.detach().numpy(), network.output.bias.detach().numpy()
    logits = np.full((len(x), len(bias)), bias)
    for n, channel, position in np.ndindex(h.shape):
        logits[n] += weight[:, positions * channel + position] * h[n, channel, position]
    return logits, pre_activations


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (1, 4), (4, 3)])
def test_forward_is_affine_relu_affine(depth: int, width: int, layout: str) -> None:
    network = network_of(depth, width, layout=layout, init="kaiming_uniform", precision="float64", seed=depth)
    x = np.random.default_rng(0).normal(size=(5, 2))
    logits, pre_activations = network(torch.from_numpy(x))
    expected_logits, expected = plain_forward(network, x, layout)
    assert logits.shape == (5, 1)
    np.testing.assert_allclose(logits.detach().numpy(), expected_logits, rtol=1e-12, atol=1e-14)
    assert len(pre_activations) == depth
    for g, wanted in zip(pre_activations, expected, strict=True):
        assert g.shape == ((5, width) if layout == "mlp" else (5, width, 2))
        np.testing.assert_allclose(g.detach().numpy().reshape(wanted.shape), wanted, rtol=1e-12, atol=1e-14)


def test_with_norm_the_pre_activation_is_what_the_relu_sees() -> None:
    network = network_of(1, 3, norm="batch", norm_eps=1e-3, precision="float64")
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(6, 2)))
    _, (g,) = network(x)
    affine = x.numpy() @ network.hidden[0].weight.detach().numpy().T
    expected = (affine - affine.mean(axis=0)) / np.sqrt(affine.var(axis=0) + 1e-3)
    np.testing.assert_allclose(g.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_dropout_factors_stand_at_the_input_of_every_hidden_layer() -> None:
    network = network_of(2, 3, init="kaiming_uniform", precision="float64")
    rng = np.random.default_rng(2)
    x, factors = rng.normal(size=(4, 2)), [rng.uniform(size=(4, 2)), rng.uniform(size=(4, 3))]
    logits, pre_activations = network(torch.from_numpy(x), [torch.from_numpy(factor) for factor in factors])
    h = x
    for layer, factor, g in zip(network.hidden, factors, pre_activations, strict=True):
        expected = (h * factor) @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        np.testing.assert_allclose(g.detach().numpy(), expected, rtol=1e-12, atol=1e-14)
        h = np.maximum(expected, 0.0)
    expected = h @ network.output.weight.detach().numpy().T + network.output.bias.detach().numpy()
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


@given(depth=st.integers(1, 12), width=st.integers(1, 9))
def test_parameter_counts(depth: int, width: int) -> None:
    # affine 2 → w, then w → w, then w → 1; a norm has scale and shift; a 2×1 filter has two taps a channel
    mlp = (2 * width + width) + (depth - 1) * (width * width + width) + (width + 1)
    conv = (2 * width + width) + (depth - 1) * (2 * width * width + width) + (2 * width + 1)
    norms = 2 * depth * width
    assert count_parameters(network_of(depth, width)) == mlp
    assert count_parameters(network_of(depth, width, norm="batch")) == mlp + norms
    assert count_parameters(network_of(depth, width, layout="conv2x1")) == conv
    assert count_parameters(network_of(depth, width, layout="conv2x1", norm="batch")) == conv + norms


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("float64", torch.float64)])
def test_two_classes_have_one_logit_in_the_cells_precision(precision: str, dtype: torch.dtype) -> None:
    network = network_of(2, 3, precision=precision, norm="batch")
    assert network.output.out_features == 1
    assert {parameter.dtype for parameter in network.parameters()} == {dtype}
