"""Convolutional networks: initial weights, forward pass, sizes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import ImageSpec
from jumpstart_exp.networks.build import build, count_parameters
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.specs.network import NetworkSpec

Array = NDArray[np.float64]

HEADS = ("flatten", "max_avg_pool")


@dataclass(frozen=True)
class Pictures(ImageSpec):
    """Images of 2 channels and 5 × 4 pixels in three classes."""

    name: str = "pictures"

    classes = 3
    features = 40
    image = (2, 5, 4)

    def full_sizes(self) -> tuple[int, int]:
        return 6, 4


@dataclass(frozen=True)
class TwoClasses(Pictures):
    classes = 2


def cell_of(depth: int, width: int, **values: Any) -> Cell:
    network = NetworkSpec(layout="cnn", **values.pop("network", {}))
    return Cell(
        **{"dataset": Pictures("pictures"), "precision": "float64", **values}, depth=depth, width=width, network=network
    )


def network_of(depth: int, width: int, *, seed: int = 0, **network: Any) -> RectangularCNN:
    built = build(cell_of(depth, width, seed=seed, network=network))
    assert isinstance(built, RectangularCNN)
    return built


def affine_layers(network: RectangularCNN) -> list[nn.Module]:
    return [*network.hidden, network.output]


def published(dataset: str, depth: int, width: int, head: str, **values: Any) -> Cell:
    network = {"layout": "cnn", "head": head, **values.pop("network", {})}
    return Cell.from_config({"dataset": {"name": dataset}, "depth": depth, "width": width, "network": network}, "test")


# Initial weights


def philox_uniform(seed: int, layer: int, count: int) -> Array:
    """±1-uniform numbers from the upper 53 bits of Philox4x64's words, keyed by (seed, layer)."""
    words = np.random.Philox(key=np.array([seed, layer], dtype=np.uint64)).random_raw(count)
    return np.array([2 * ((int(word) >> 11) / 2**53) - 1 for word in words])


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("init", ["glorot_uniform", "kaiming_uniform"])
def test_weights_are_the_stream_times_the_bound_of_the_fans(init: str, head: str, kernel: int) -> None:
    """A convolution's fans are k·k·in and k·k·out; weights in the order (out, in, row, column), then biases."""
    depth, width, seed = 3, 4, 12
    network = network_of(depth, width, seed=seed, init=init, head=head, kernel=kernel)
    seen_by_output = 2 * width if head == "max_avg_pool" else width * 20
    sizes = [(2, width, kernel), (width, width, kernel), (width, width, kernel), (seen_by_output, 3, 1)]
    for index, (layer, (inputs, outputs, k)) in enumerate(zip(affine_layers(network), sizes, strict=True)):
        shape = (outputs, inputs, k, k) if index < depth else (outputs, inputs)
        fan_in, fan_out = k * k * inputs, k * k * outputs
        bound = math.sqrt(6 / (fan_in + fan_out)) if init == "glorot_uniform" else math.sqrt(1 / fan_in)
        numbers = bound * philox_uniform(seed, index, math.prod(shape) + outputs)
        biases = numbers[math.prod(shape) :] if init == "kaiming_uniform" else np.zeros(outputs)
        np.testing.assert_allclose(
            layer.weight.detach().numpy(), numbers[: math.prod(shape)].reshape(shape), rtol=1e-14
        )
        np.testing.assert_allclose(layer.bias.detach().numpy(), biases, rtol=1e-14)


@pytest.mark.parametrize("init", ["glorot_uniform", "kaiming_uniform"])
def test_weights_fill_their_bounds(init: str) -> None:
    """CIFAR-10 at width 30, several seeds: uniform between the bounds, in every place of the filter."""
    fans = [(9 * 3, 9 * 30), (9 * 30, 9 * 30), (60, 10)]
    bounds = [math.sqrt(6 / (a + b)) if init == "glorot_uniform" else 1 / math.sqrt(a) for a, b in fans]
    weights: list[list[Tensor]] = [[], [], []]
    for seed in range(4):
        config = {
            "dataset": {"name": "cifar10"},
            "depth": 2,
            "width": 30,
            "seed": seed,
            "network": {"layout": "cnn", "head": "max_avg_pool", "init": init},
        }
        for index, layer in enumerate(affine_layers(build(Cell.from_config(config, "test")))):
            weights[index].append(layer.weight.detach())
    for bound, drawn in zip(bounds, weights, strict=True):
        entries = torch.cat(drawn).flatten(2) if drawn[0].ndim == 4 else torch.cat(drawn)[:, :, None]
        assert 0.99 * bound < entries.abs().max().item() <= bound
        assert entries.square().mean().item() == pytest.approx(bound**2 / 3, rel=0.1)
        for place in range(entries.shape[2]):
            assert abs(entries[:, :, place].mean().item()) < 0.15 * bound


@pytest.mark.parametrize("head", HEADS)
def test_zero_initialisation_is_zero_everywhere(head: str) -> None:
    assert all(not parameter.any() for parameter in network_of(3, 4, init="zero", head=head).parameters())


@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 4), extra=st.integers(1, 3), width=st.integers(1, 4))
def test_a_layers_weights_depend_on_seed_and_layer_alone(seed: int, depth: int, extra: int, width: int) -> None:
    shallow, deep = (network_of(d, width, seed=seed, init="kaiming_uniform") for d in (depth, depth + extra))
    for layer, same in zip(shallow.hidden, deep.hidden, strict=False):
        assert torch.equal(layer.weight, same.weight) and torch.equal(layer.bias, same.bias)


def test_torchs_generator_has_no_say() -> None:
    torch.manual_seed(5)
    first = network_of(2, 3, init="kaiming_uniform")
    torch.manual_seed(6)
    for layer, same in zip(affine_layers(first), affine_layers(network_of(2, 3, init="kaiming_uniform")), strict=True):
        assert torch.equal(layer.weight, same.weight) and torch.equal(layer.bias, same.bias)


def test_batch_norm_starts_as_the_identity_a_channel() -> None:
    network = network_of(2, 3, norm="batch", norm_eps=0.5, norm_momentum=0.25)
    assert len(network.norms) == 2
    for norm in network.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.weight.tolist() == [1.0] * 3 and norm.bias.tolist() == [0.0] * 3
        assert norm.running_mean.tolist() == [0.0] * 3 and norm.running_var.tolist() == [1.0] * 3
        assert (norm.eps, norm.momentum) == (0.5, 0.25)
    # the affine layers are those of the network without norm, hidden biases are kept
    for layer, plain in zip(affine_layers(network), affine_layers(network_of(2, 3)), strict=True):
        assert torch.equal(layer.weight, plain.weight) and torch.equal(layer.bias, plain.bias)


# Forward


def plain_forward(network: RectangularCNN, x: Array, kernel: int, head: str) -> tuple[Array, list[Array]]:
    """Logits and pre-activations, entry by entry from the definition."""
    reach, h, pre_activations = (kernel - 1) // 2, x, []
    points, _, rows, columns = x.shape
    for layer in network.hidden:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        g = np.zeros((points, len(bias), rows, columns))
        for n, out, row, column in np.ndindex(g.shape):
            total = bias[out]
            for channel, down, right in np.ndindex(weight.shape[1:]):
                i, j = row + down - reach, column + right - reach
                if 0 <= i < rows and 0 <= j < columns:
                    total += weight[out, channel, down, right] * h[n, channel, i, j]
            g[n, out, row, column] = total
        pre_activations.append(g)
        h = np.where(g > 0, g, 0.0)
    weight, bias = network.output.weight.detach().numpy(), network.output.bias.detach().numpy()
    logits = np.zeros((points, len(bias))) + bias
    for n in range(points):
        if head == "flatten":
            for channel, row, column in np.ndindex(h.shape[1:]):
                logits[n] += weight[:, (channel * rows + row) * columns + column] * h[n, channel, row, column]
        else:
            width = h.shape[1]
            for channel in range(width):
                pixels = h[n, channel].reshape(-1).tolist()
                logits[n] += weight[:, channel] * sum(pixels) / len(pixels)
                logits[n] += weight[:, width + channel] * max(pixels)
    return logits, pre_activations


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (3, 2)])
def test_forward_is_convolutions_relu_head(depth: int, width: int, kernel: int, head: str) -> None:
    network = network_of(depth, width, kernel=kernel, head=head, init="kaiming_uniform", seed=depth)
    x = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    logits, pre_activations = network(torch.from_numpy(x))
    expected_logits, expected = plain_forward(network, x, kernel, head)
    assert logits.shape == (3, 3)
    np.testing.assert_allclose(logits.detach().numpy(), expected_logits, rtol=1e-12, atol=1e-14)
    assert len(pre_activations) == depth
    for g, wanted in zip(pre_activations, expected, strict=True):
        np.testing.assert_allclose(g.detach().numpy(), wanted, rtol=1e-12, atol=1e-14)


def test_with_norm_the_pre_activation_is_what_the_relu_sees() -> None:
    plain, network = (network_of(1, 3, norm=norm, init="kaiming_uniform") for norm in ("none", "batch"))
    x = np.random.default_rng(1).normal(size=(4, 2, 5, 4))
    _, (affine,) = plain_forward(plain, x, 3, "flatten")
    _, (g,) = network(torch.from_numpy(x))
    mean, variance = affine.mean(axis=(0, 2, 3), keepdims=True), affine.var(axis=(0, 2, 3), keepdims=True)
    expected = (affine - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(g.detach().numpy(), expected, rtol=1e-11, atol=1e-13)


# Sizes


@given(
    depth=st.integers(1, 6),
    width=st.integers(1, 6),
    kernel=st.sampled_from([1, 3, 5, 7]),
    head=st.sampled_from(HEADS),
    norm=st.sampled_from(["none", "batch"]),
)
def test_parameter_counts(depth: int, width: int, kernel: int, head: str, norm: str) -> None:
    convolutions = kernel**2 * 2 * width + width + (depth - 1) * (kernel**2 * width**2 + width)
    output = (2 * width if head == "max_avg_pool" else 20 * width) * 3 + 3
    norms = 2 * depth * width if norm == "batch" else 0
    network = network_of(depth, width, kernel=kernel, head=head, norm=norm)
    assert count_parameters(network) == convolutions + output + norms


# Multiplied out apart: 9·in·out + out a convolution; the output layer sees 784 pixels a channel, or 2 numbers.
PUBLISHED = [
    # 20 (first: 9·1·2 + 2); 1 more: 9·2·2 + 2 = 38; output 1568·10 + 10 = 15690
    ("mnist", 2, 2, "flatten", 20 + 38 + 15_690),
    # 80; 19 · 584 = 11096; 6272·10 + 10 = 62730
    ("mnist", 20, 8, "flatten", 73_906),
    # 80; 67 · 584 = 39128; 62730
    ("mnist", 68, 8, "flatten", 101_938),
    # 5376; 29 · 331968 = 9627072; 384·10 + 10 = 3850
    ("cifar10", 30, 192, "max_avg_pool", 9_636_298),
    # 280; 39 · 910 = 35490; 20·10 + 10 = 210
    ("cifar10", 40, 10, "max_avg_pool", 35_980),
    # 1792; 19 · 36928 = 701632; 128·100 + 100 = 12900
    ("cifar100", 20, 64, "max_avg_pool", 716_324),
]


@pytest.mark.parametrize(("dataset", "depth", "width", "head", "count"), PUBLISHED)
def test_parameter_counts_of_the_published_networks(
    dataset: str, depth: int, width: int, head: str, count: int
) -> None:
    assert count_parameters(build(published(dataset, depth, width, head))) == count
    if width < 100:
        with_norm = published(dataset, depth, width, head, network={"norm": "batch"})
        assert count_parameters(build(with_norm)) == count + 2 * depth * width


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("float32", torch.float32), ("tf32", torch.float32), ("bf16", torch.float32), ("float64", torch.float64)],
)
def test_two_classes_have_one_logit_in_the_cells_precision(precision: str, dtype: torch.dtype) -> None:
    """The weights of the rounded precisions are float32: products and activations alone are rounded."""
    network = build(cell_of(2, 3, dataset=TwoClasses("pictures"), precision=precision, network={"norm": "batch"}))
    assert network.output.out_features == 1
    assert {parameter.dtype for parameter in network.parameters()} == {dtype}
