"""Hidden layers with norms, skips, trained slopes and Farkas' last unit, against the same written entry by entry."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.networks.build import build
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.layer_norm import LayerNorm
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.networks.norms import NORMS
from jumpstart_exp.specs.network import NetworkSpec

Array = NDArray[np.float64]


def cell_of(depth: int, width: int, *, images: bool = False, **network: Any) -> Cell:
    dataset = Mnist() if images else Cell().dataset
    return Cell(dataset=dataset, depth=depth, width=width, network=NetworkSpec(**network), precision="float64")


def network_of(depth: int, width: int, **network: Any) -> RectangularMLP | RectangularCNN:
    """With every parameter moved from where it begins, so that nothing is 0 or 1."""
    built = build(cell_of(depth, width, images=network.get("layout") == "cnn", **network))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return built


def points(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# Norms


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 2), (5, 3, 4, 2), (1, 1), (4, 1)])
def test_layer_norm_is_over_a_points_units_and_positions(shape: tuple[int, ...]) -> None:
    norm, x = LayerNorm(shape[1], 0.01).double(), points(*shape)
    with torch.no_grad():
        norm.weight.copy_(points(shape[1]))
        norm.bias.copy_(points(shape[1]) + 1)
    expected = np.empty(shape)
    for index in np.ndindex(*shape):
        one, unit = x[index[0]].numpy(), index[1]
        normal = (x[index].item() - one.mean()) / math.sqrt(one.var() + 0.01)  # the biased variance
        expected[index] = norm.weight[unit].item() * normal + norm.bias[unit].item()
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_layer_norm_of_points_is_torchs() -> None:
    norm, torchs, x = LayerNorm(6, 1e-3).double(), nn.LayerNorm(6, eps=1e-3, dtype=torch.float64), points(7, 6)
    torch.testing.assert_close(norm(x), torchs(x))
    assert {name: tuple(value.shape) for name, value in norm.named_parameters()} == {"weight": (6,), "bias": (6,)}


@pytest.mark.parametrize("name", [name for name, row in NORMS.items() if row.module is not None])
@pytest.mark.parametrize("positions", [(), (2,), (3, 2)])
def test_gradients_of_a_norm_are_finite_differences(name: str, positions: tuple[int, ...]) -> None:
    make = NORMS[name].module
    assert make is not None
    norm = make(3, max(1, len(positions)), 1e-2, 0.1).double()
    parameters = [parameter.detach() + 0.3 for parameter in norm.parameters()]

    def normal(x: Tensor, *values: Tensor) -> Tensor:
        tensors = dict(zip((name for name, _ in norm.named_parameters()), values, strict=True))
        found: Tensor = functional_call(copy.deepcopy(norm), tensors, (x,))
        return found

    inputs = [points(5, 3, *positions), *parameters]
    assert torch.autograd.gradcheck(normal, [value.requires_grad_() for value in inputs], rtol=1e-6, atol=1e-8)


# Skips


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def arrays(network: nn.Module) -> dict[str, Array]:
    return {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("scale", ["1", "zero"])
@pytest.mark.parametrize(("depth", "every"), [(6, 2), (5, 1), (5, 3), (3, 4)])
def test_a_skip_adds_what_entered_its_block(depth: int, every: int, scale: str) -> None:
    """Blocks begin behind the first layer; what is left over at the end, two layers of 5 by threes, is plain."""
    network = network_of(depth, 4, skip_every=every, skip_scale=scale)
    p, x, h = arrays(network), points(6, 2), points(6, 2).numpy()
    dropout = [points(6, 2) + 1, *(points(6, 4) + 1 for _ in range(depth - 1))]
    found, pre_activations = network(x, dropout)
    entered, pre = h, []
    for layer in range(depth):
        block, position = divmod(layer - 1, every)
        in_block = layer > 0 and (block + 1) * every <= depth - 1
        if in_block and position == 0:
            entered = h
        pre.append(h * dropout[layer].numpy() @ p[f"hidden.{layer}.weight"].T + p[f"hidden.{layer}.bias"])
        h = relu(pre[-1])
        if in_block and position == every - 1:
            h = entered + (p[f"skips.{block}"] if scale == "zero" else 1.0) * h
    for one, wanted in zip(pre_activations, pre, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), wanted, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.detach().numpy(), h @ p["output.weight"].T + p["output.bias"], rtol=1e-12)


def test_rezero_begins_as_its_first_layer_alone() -> None:
    deep, shallow = (build(cell_of(depth, 4, skip_every=1, skip_scale="zero", init="he_normal")) for depth in (40, 1))
    x = points(9, 2)
    one, other = deep.through_hidden(x)[0], shallow.through_hidden(x)[0]
    assert torch.equal(one, other)
    loss = deep(x)[0].square().sum()
    gradients = torch.autograd.grad(loss, list(deep.skips))
    assert all(gradient.abs() > 0 for gradient in gradients), "every branch is woken by the first step"


def test_fixup_is_that_of_zhang() -> None:
    """A bias before every affine map and every activation, a multiplier, no others; the skip before the last ReLU."""
    network = network_of(6, 4, skip_every=2, skip_scale="fixup")
    p, x = arrays(network), points(6, 2)
    h = relu(x.numpy() @ p["hidden.0.weight"].T + p["hidden.0.bias"])
    pre = []
    for block, (one, two) in enumerate(((1, 2), (3, 4))):
        b = p[f"skips.{block}"]
        pre += [(h + b[0]) @ p[f"hidden.{one}.weight"].T + b[1]]
        pre += [h + b[4] * ((relu(pre[-1]) + b[2]) @ p[f"hidden.{two}.weight"].T) + b[3]]
        h = relu(pre[-1])
    pre += [h @ p["hidden.5.weight"].T + p["hidden.5.bias"]]
    logits = relu(pre[-1]) @ p["output.weight"].T + p["output.bias"]
    found, pre_activations = network(x)
    for own, wanted in zip(pre_activations[1:], pre, strict=True):
        np.testing.assert_allclose(own.detach().numpy(), wanted, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.detach().numpy(), logits, rtol=1e-12)


@pytest.mark.parametrize("layout", ["mlp", "conv2x1", "cnn"])
def test_fixup_begins_as_its_first_layer_with_every_logit_zero(layout: str) -> None:
    cell = cell_of(7, 4, images=layout == "cnn", layout=layout, skip_every=3, skip_scale="fixup", init="he_normal")
    network = build(cell)
    x = points(5, *(cell.dataset.image or (2,)))
    inside = x.unsqueeze(1) if layout == "conv2x1" else x
    with torch.no_grad():
        h, pre_activations = network.through_hidden(inside)
        assert torch.equal(h, torch.relu(pre_activations[0])), "two branches that are off"
        assert not network(x)[0].any()


# Farkas layers


@pytest.mark.parametrize("network", [{}, {"layout": "conv2x1"}, {"layout": "cnn"}])
def test_a_farkas_layer_has_the_last_unit_of_pooladian(network: dict[str, str]) -> None:
    built = network_of(3, 5, farkas=True, **network)
    layer, x = built.hidden[1], points(6, 5, *{"conv2x1": (3,), "cnn": (4, 3)}.get(network.get("layout", ""), ()))
    bias = layer.bias.detach().numpy()
    z = built._product(x, layer.weight).detach().numpy()
    assert z.shape[1] == 4 and bias.shape == (5,)
    g = layer(x).detach().numpy()
    np.testing.assert_allclose(g[:, :4], z + bias[:4].reshape(-1, *[1] * (z.ndim - 2)), rtol=1e-13)
    np.testing.assert_allclose(g[:, 4], max(-bias[:4].mean(), bias[4]) - z.mean(axis=1), rtol=1e-12)
    floor = max(0.0, bias[:4].mean() + bias[4])
    np.testing.assert_allclose(g[:, :4].mean(axis=1) + g[:, 4], floor, atol=1e-12)


@pytest.mark.parametrize("network", [{}, {"layout": "conv2x1"}, {"skip_every": 2}, {"init": "kaiming_uniform"}])
def test_no_farkas_layer_is_dead_for_any_point(network: dict[str, Any]) -> None:
    """At any weights and biases: in each layer every point, and position, has a unit that is on."""
    for width in (2, 3, 10):
        built = network_of(60, width, farkas=True, **network)
        with torch.no_grad():
            for scale in (1.0, 30.0):
                for name, parameter in built.named_parameters():
                    if name.endswith("bias"):
                        parameter.mul_(scale)
                _, pre_activations = built(points(200, 2))
                assert all((pre.amax(dim=1) > 0).all() for pre in pre_activations)
    plain = network_of(60, 3, **network)
    assert any((pre.amax(dim=1) <= 0).any() for pre in plain(points(200, 2))[1]), "as those of others are"


# Trained slopes, two outputs a unit


def test_prelu_has_one_trained_slope_a_layer() -> None:
    network = network_of(3, 4, activation="prelu", prelu_start=0.4)
    built = build(cell_of(3, 4, activation="prelu", prelu_start=0.4))
    assert [slope.tolist() for slope in built.slopes] == [[0.4]] * 3
    h, p = points(6, 2), dict(network.named_parameters())
    for layer in range(3):
        h = h @ p[f"hidden.{layer}.weight"].T + p[f"hidden.{layer}.bias"]
        h = nn.functional.prelu(h, p[f"slopes.{layer}"])
    expected = h @ p["output.weight"].T + p["output.bias"]
    found = network(points(6, 2))[0]
    torch.testing.assert_close(found, expected)
    for own, wanted in zip(
        *(torch.autograd.grad(value.sin().sum(), list(p.values())) for value in (found, expected)), strict=True
    ):
        torch.testing.assert_close(own, wanted)


def test_crelu_hands_on_the_positive_parts_and_then_the_negative_ones() -> None:
    network = network_of(2, 3, activation="crelu")
    p, h = arrays(network), points(6, 2).numpy()
    for layer in range(2):
        g = h @ p[f"hidden.{layer}.weight"].T + p[f"hidden.{layer}.bias"]
        h = np.concatenate([relu(g), relu(-g)], axis=1)
    found = network(points(6, 2))[0].detach().numpy()
    np.testing.assert_allclose(found, h @ p["output.weight"].T + p["output.bias"], rtol=1e-12)


def test_widths_are_the_layers_own() -> None:
    network = build(cell_of(1, 1, widths=(42, 100, 7), norm="layer"))
    assert [tuple(layer.weight.shape) for layer in network.hidden] == [(42, 2), (100, 42), (7, 100)]
    assert network.output.weight.shape == (1, 7)
    assert [tuple(norm.weight.shape) for norm in network.norms] == [(42,), (100,), (7,)]


# As a function


@pytest.mark.parametrize(
    "network",
    [
        {"activation": "tat", "norm": "layer"},
        {"activation": "crelu", "layout": "conv2x1", "norm": "layer"},
        {"activation": "prelu", "skip_every": 2, "skip_scale": "zero"},
        {"skip_every": 2, "skip_scale": "fixup"},
        {"farkas": True, "layout": "conv2x1"},
        {"widths": (3, 5), "activation": "gelu"},
    ],
)
def test_many_networks_are_one_function_of_stacked_parameters(network: dict[str, Any]) -> None:
    """By functional_call and vmap, values and gradients."""
    built, x = network_of(5, 4, **network), points(6, 2)
    stacked = {
        name: torch.stack([value.detach() * factor for factor in (1.0, 0.7)]).requires_grad_()
        for name, value in built.named_parameters()
    }

    def outputs(parameters: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(built, parameters, (x,))[0]
        return found

    found = vmap(outputs)(stacked)
    expected = torch.stack([outputs({name: value[index] for name, value in stacked.items()}) for index in range(2)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for own, wanted in zip(
        *(torch.autograd.grad(value.sin().sum(), list(stacked.values())) for value in (found, expected)), strict=True
    ):
        torch.testing.assert_close(own, wanted, rtol=1e-11, atol=1e-13)
