"""Linear regions on a plane and along a line, against regioncam, sampled activation patterns and closed forms."""

import math
import os
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import regioncam
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.geometry import Plane, Regions, linear_pieces, linear_regions, maximum_cells
from jumpstart_exp.networks.build import build
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec

REAL = Path(os.environ.get("JUMPSTART_DATA", Path(__file__).parent.parent.parent / "data"))


class Made(nn.Module):
    """A model of a function and the modules that it uses."""

    def __init__(self, function: Callable[..., object], *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.function = nn.ModuleList(parts), function

    def forward(self, x: Tensor) -> object:
        return self.function(x, *self.parts)


def mlp(
    widths: Sequence[int],
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    seed: int = 0,
    bias: float = 0.3,
    inputs: int = 2,
    outputs: int = 2,
) -> nn.Sequential:
    """He's initial weights, and normal biases."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for width in widths:
        linear = nn.Linear(inputs, width, dtype=torch.float64)
        nn.init.normal_(linear.weight, 0, math.sqrt(2 / inputs), generator=generator)
        nn.init.normal_(linear.bias, 0, bias, generator=generator)
        layers += [linear, activation()]
        inputs = width
    last = nn.Linear(inputs, outputs, dtype=torch.float64)
    nn.init.normal_(last.weight, 0, 1 / math.sqrt(inputs), generator=generator)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last).double()


def patterns(pre_activations: Sequence[Tensor]) -> set[bytes]:
    """Different activation patterns of points, by whether each unit is above 0."""
    above = torch.cat([pre.flatten(1) > 0 for pre in pre_activations], 1)
    return {row.tobytes() for row in np.packbits(above.numpy(), axis=1)}


def of_sequential(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """What its activations are given."""
    found = []
    for layer in model:
        if not isinstance(layer, nn.Linear | nn.BatchNorm1d | nn.Conv2d | nn.Flatten):
            found.append(x)
        x = layer(x)
    return found


def assert_cells_are_the_patterns(
    found: Regions, plane: Plane, pre_activations: Callable[[Tensor], Sequence[Tensor]], across: int = 200
) -> None:
    """One cell a pattern: those of the centres all differ, and a dense grid has no other."""
    with torch.no_grad():
        of_cells = patterns(pre_activations(plane.inputs(torch.from_numpy(found.centres()))))
        of_grid = patterns(pre_activations(plane.inputs(plane.grid(across))))
    assert len(of_cells) == found.cell_count
    assert of_grid <= of_cells


def assert_fills(found: Regions, plane: Plane) -> None:
    assert found.areas().min() > 0
    assert found.areas().sum() == pytest.approx(plane.area, rel=1e-12)


# --- how many


@pytest.mark.parametrize(
    ("n", "d", "r"), [(0, 2, 1), (1, 2, 2), (2, 2, 4), (3, 2, 7), (4, 2, 11), (5, 3, 26), (3, 5, 8)]
)
def test_maximum_cells_are_those_of_equation_6(n: int, d: int, r: int) -> None:
    assert maximum_cells(n, d) == r


@pytest.mark.parametrize("units", [1, 2, 3, 5, 8, 13])
def test_lines_of_one_layer_in_general_position_reach_the_bound(units: int) -> None:
    angles = torch.arange(units, dtype=torch.float64) * math.pi / units + 0.1
    model = mlp([units], seed=units)
    with torch.no_grad():
        model[0].weight.copy_(torch.stack([angles.cos(), angles.sin()], 1))
    found = linear_regions(model, Plane.square(300))
    assert found.cell_count == found.region_count == maximum_cells(units, 2)
    assert found.by_layer().to_dict("list") == {
        "layer": [1],
        "cells": [maximum_cells(units, 2)],
        "born": [maximum_cells(units, 2) - 1],
        "lines": [units],
        "bound": [maximum_cells(units, 2)],
    }


NETWORKS = [
    ([12], nn.ReLU, 0.3),
    ([8, 8, 8], nn.ReLU, 0.3),
    ([8, 8, 8], nn.ReLU, 0.0),
    ([4] * 10, nn.ReLU, 0.3),
    ([4] * 50, nn.ReLU, 0.3),
    ([6] * 6, lambda: nn.LeakyReLU(0.1), 0.0),
    ([4] * 20, lambda: nn.LeakyReLU(0.1), 0.3),
    ([4] * 50, lambda: nn.LeakyReLU(0.1), 0.1),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("widths", "activation", "bias"), NETWORKS)
def test_regioncam_counts_as_many_cells(
    widths: list[int], activation: Callable[[], nn.Module], bias: float, seed: int
) -> None:
    model = mlp(widths, activation, seed=seed, bias=bias)
    oracle = regioncam.Regioncam(size=1)
    oracle.add(model.float())
    assert linear_regions(model, Plane.square(1)).cell_count == oracle.num_faces


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.sampled_from([nn.ReLU, nn.PReLU, lambda: nn.LeakyReLU(0.2), lambda: nn.LeakyReLU(-1.0)]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(0, 2**31),
    st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_every_cell_is_an_activation_pattern_and_every_pattern_a_cell(
    widths: list[int], activation: Callable[[], nn.Module], bias: float, seed: int, scale: float
) -> None:
    model, plane = (
        mlp(widths, activation, seed=seed, bias=scale * bias),
        Plane.rectangle((-scale, 0), (2 * scale, scale)),
    )
    found = linear_regions(model, plane)
    assert_cells_are_the_patterns(found, plane, lambda x: of_sequential(model, x), 60)
    assert_fills(found, plane)
    assert found.region_count <= found.cell_count
    layers = found.by_layer()
    assert layers["born"].sum() == found.cell_count - 1 and (layers["cells"] <= layers["bound"]).all()


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(),
        NetworkSpec(layout="conv2x1"),
        NetworkSpec(activation="prelu"),
        NetworkSpec(activation="leaky_relu", leaky_slope=0.1),
        NetworkSpec(activation="tat"),
        NetworkSpec(activation="crelu"),
        NetworkSpec(norm="batch"),
        NetworkSpec(farkas=True),
        NetworkSpec(skip_every=2),
        NetworkSpec(skip_every=1, skip_scale="zero"),
        NetworkSpec(skip_every=2, skip_scale="fixup", init="he_normal"),
    ],
    ids=str,
)
def test_cells_of_our_networks_are_their_patterns(spec: NetworkSpec) -> None:
    network = build(Cell(depth=5, width=4, network=spec)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # as after a training
        for name, parameter in network.named_parameters():
            if "weight" not in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    plane = Plane.square(2)
    found = linear_regions(network, plane)
    network.eval()
    assert found.cell_count > 10
    assert_cells_are_the_patterns(found, plane, lambda x: network(x)[1], 150)
    assert_fills(found, plane)


@pytest.mark.parametrize("depth", [1, 10, 50])
def test_without_biases_all_cells_meet_in_the_origin(depth: int) -> None:
    network = build(Cell(depth=depth, width=4, network=NetworkSpec(activation="leaky_relu", leaky_slope=0.1)))
    found = linear_regions(network, Plane.square(2))
    (origin,) = np.flatnonzero(np.hypot(*found.vertices.T) < 1e-9)
    assert all(origin in cell for cell in found.cells)
    # a ray an edge at the origin: on the circle each crosses once
    circle = 2 * math.pi * torch.arange(100_000, dtype=torch.float64) / 100_000
    above = torch.cat(network.double()(torch.stack([circle.cos(), circle.sin()], 1))[1], 1) > 0
    assert (above != above.roll(1, 0)).any(1).sum() <= found.cell_count
    assert len(patterns([above])) <= found.cell_count


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("extent", [0.01, 1.0, 100.0])
def test_lines_of_wide_layers_through_the_origin_meet_in_one_vertex(seed: int, extent: float) -> None:
    found = linear_regions(mlp([10] * 3, lambda: nn.LeakyReLU(-1.0), seed=seed, bias=0.0), Plane.square(extent))
    assert (np.hypot(*found.vertices.T) < 1e-6 * extent).sum() == 1
    assert not found.is_thin.any()


def exact_pattern(model: nn.Sequential, point: Sequence[Fraction]) -> tuple[int, ...]:
    """Of a ReLU network, the side of every unit in rational arithmetic."""
    sides: list[int] = []
    x = list(point)
    for layer in list(model)[:-1:2]:
        weight, bias = (one.detach().tolist() for one in (layer.weight, layer.bias))
        pre = [
            sum((Fraction(w) * one for w, one in zip(row, x, strict=True)), Fraction(b))
            for row, b in zip(weight, bias, strict=True)
        ]
        sides += [(one > 0) - (one < 0) for one in pre]
        x = [max(one, Fraction(0)) for one in pre]
    return tuple(sides)


@pytest.mark.parametrize("seed", range(12))
def test_cells_of_networks_with_many_coincidences_are_those_of_rational_arithmetic(seed: int) -> None:
    # weights of halves: lines meet by threes and fours, units are alike, sums cancel
    widths = [[10, 10], [6] * 4, [3] * 8][seed % 3]
    model = mlp(widths, seed=seed, bias=[0.0, 1.0][seed % 2])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_((2 * parameter).round() / 2)
    found = linear_regions(model, Plane.square(1))
    of_cells = {exact_pattern(model, [Fraction(one) for one in centre]) for centre in found.centres().tolist()}
    of_grid = {
        exact_pattern(model, [Fraction(2 * u + 1, 24) - 1 + Fraction(1, 997), Fraction(2 * v + 1, 24) - 1])
        for u in range(24)
        for v in range(24)
    }
    assert len(of_cells) == found.cell_count
    assert {one for one in of_grid if 0 not in one} <= of_cells


def test_slopes_of_very_different_size_are_kept_apart() -> None:
    model = mlp([2] * 10, lambda: nn.LeakyReLU(0.01), seed=1156, bias=0.001)
    plane = Plane.square(100)
    found = linear_regions(model, plane)
    sizes = np.abs(found.gradient).max((1, 2))
    assert sizes.max() > 1e6 * sizes.min()
    assert_cells_are_the_patterns(found, plane, lambda x: of_sequential(model, x))


# --- linear regions


ONE = torch.ones(1, 2, dtype=torch.float64)


def sums(x: Tensor) -> Tensor:
    return x @ ONE.T


@pytest.mark.parametrize(
    ("function", "cells", "regions"),
    [
        (lambda x: 2 * x + 1, 1, 1),
        (lambda x: sums(x).relu() - (-sums(x)).relu(), 2, 1),
        (lambda x: sums(x).abs(), 2, 2),
        (lambda x: 0 * sums(x).relu(), 2, 1),
        (lambda x: sums(x).clamp(-0.5, 0.25), 3, 3),
        (lambda x: nn.functional.hardtanh(sums(x), -0.5, 0.25), 3, 3),
        (lambda x: nn.functional.relu6(6 * sums(x)), 3, 3),
        (lambda x: nn.functional.hardsigmoid(6 * sums(x)), 3, 3),
        (lambda x: nn.functional.softshrink(sums(x)), 3, 3),
        (lambda x: torch.maximum(x[:, :1], x[:, 1:]), 2, 2),
        (lambda x: torch.where(x > 0, x, 0.1 * x), 4, 4),
        # two strips of the same 0 that do not hang together
        (lambda x: x[:, :1].relu() - 2 * (x[:, :1] - 0.2).relu() + (x[:, :1] - 0.4).relu(), 4, 4),
        (lambda x: torch.cat([x.relu(), (-x).relu()], 1), 4, 4),
        (lambda x: x.relu_().relu() + 0, 4, 4),
    ],
)
def test_regions_are_cells_of_one_affine_function(
    function: Callable[[Tensor], Tensor], cells: int, regions: int
) -> None:
    found = linear_regions(Made(lambda x: function(x.clone())), Plane.square(1))
    assert (found.cell_count, found.region_count) == (cells, regions)


def test_a_collapsed_network_has_one_region() -> None:
    model = mlp([4] * 8, seed=3)
    with torch.no_grad():
        model[10].bias.fill_(-100.0)
    found = linear_regions(model, Plane.square(1))
    assert found.cell_count > 10 and found.region_count == 1
    assert (found.gradient == 0).all()
    assert found.by_layer()["born"][6:].sum() == 0
    assert linear_pieces(model, -torch.ones(2), torch.ones(2)).piece_count == 1


def test_two_units_alike_cut_as_one() -> None:
    model = mlp([4, 6, 3], seed=5)
    twice = mlp([4, 6, 3], seed=5)
    with torch.no_grad():
        twice[2].weight[1] = 3 * twice[2].weight[0] / 7
        twice[2].bias[1] = 3 * twice[2].bias[0] / 7
        model[2].weight[1].zero_()
        model[2].bias[1] = 1.0
    plane = Plane.square(2)
    first = [linear_regions(nn.Sequential(*one[:4]), plane).cell_count for one in (model, twice)]
    assert first[0] == first[1] > 10


def test_gradient_and_outputs_are_the_model_s() -> None:
    model, plane = mlp([6, 5], seed=2, outputs=3), Plane.rectangle((-1, -2), (1, 1))
    found = linear_regions(model, plane)
    centres = torch.from_numpy(found.centres())
    jacobian = torch.func.vmap(torch.func.jacrev(model))(centres)
    np.testing.assert_allclose(found.gradient, jacobian.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        found.outputs, model(torch.from_numpy(found.vertices)).detach().numpy(), rtol=1e-12, atol=1e-14
    )


def test_frame_has_a_row_a_cell() -> None:
    found = linear_regions(mlp([5, 5], seed=1), Plane.square(1))
    frame = found.frame()
    assert list(frame.columns) == ["cell", "region", "layer", "area", "u", "v", "vertices", "is_thin"]
    assert len(frame) == found.cell_count and frame["area"].sum() == pytest.approx(4)
    assert frame["region"].nunique() == found.region_count
    assert set(frame["layer"]) == {1, 2}
    assert frame["vertices"].sum() == sum(map(len, found.cells))


# --- lines


@pytest.mark.parametrize("folds", [1, 2, 5, 10])
def test_a_tent_folded_over_and_over_has_breakpoints_at_the_binary_fractions(folds: int) -> None:
    def tents(x: Tensor) -> Tensor:
        for _ in range(folds):
            x = 2 * x.relu() - 4 * (x - 0.5).relu()
        return x

    found = linear_pieces(Made(tents), torch.tensor([0.0]), torch.tensor([1.0]))
    np.testing.assert_allclose(found.breakpoints, np.arange(1, 2**folds) / 2**folds, rtol=1e-9)
    assert found.piece_count == 2**folds
    np.testing.assert_allclose(np.abs(found.derivative), 2.0**folds)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from([nn.ReLU, lambda: nn.LeakyReLU(0.1)]))
def test_pieces_along_a_line_are_the_cells_that_it_crosses(
    seed: int, depth: int, activation: Callable[[], nn.Module]
) -> None:
    model = mlp([5] * depth, activation, seed=seed)
    start, end = 2 * torch.rand(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    line = linear_pieces(model, start, end)
    ends = np.concatenate([[0], line.breakpoints, [1]])
    shares = torch.from_numpy((ends[1:] + ends[:-1]) / 2)[:, None]
    with torch.no_grad():
        middles = patterns(of_sequential(model, start + shares * (end - start)))
        dense = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None]
        assert patterns(of_sequential(model, start + dense * (end - start))) <= middles
    assert len(middles) == len(line.breakpoints) + 1
    cells = linear_regions(model, Plane.square(1))
    cut = 0
    for cell in cells.cells:  # the line's sides of its corners: it crosses those cells that have both
        away = cells.vertices[cell] - start.numpy()
        way = (end - start).numpy()
        cut += clipped(cells.vertices[cell], start.numpy(), way)
        assert away.shape[1] == 2
    assert cut == len(middles)


def clipped(corners: np.ndarray, start: np.ndarray, way: np.ndarray) -> bool:
    """Whether part of the line lies within a convex polygon, its corners against the clock."""
    low, high = 0.0, 1.0
    for corner, following in zip(corners, np.roll(corners, -1, 0), strict=True):
        normal = np.array([corner[1] - following[1], following[0] - corner[0]])  # inwards
        at, slope = normal @ (start - corner), normal @ way
        if slope > 0:
            low = max(low, -at / slope)
        elif slope < 0:
            high = min(high, -at / slope)
        elif at < 0:
            return False
    return high - low > 1e-12


def test_frame_of_a_line_has_a_row_an_interval() -> None:
    found = linear_pieces(mlp([5, 5], seed=1), -torch.ones(2), torch.ones(2))
    frame = found.frame()
    assert frame["begins"].tolist() == [0.0, *found.breakpoints] and frame["ends"].iloc[-1] == 1
    assert frame["layer"].iloc[0] == 0 and set(frame["layer"][1:]) <= {1, 2}
    assert frame["piece"].iloc[-1] == found.piece_count - 1


# --- planes in other spaces


def test_a_plane_through_three_inputs_of_a_perceptron() -> None:
    model = mlp([16, 16], seed=4, inputs=20, outputs=10)
    plane = Plane.through(*torch.randn(3, 20, generator=torch.Generator().manual_seed(0)).double())
    found = linear_regions(model, plane)
    assert found.cell_count > 50
    assert_cells_are_the_patterns(found, plane, lambda x: of_sequential(model, x))
    assert_fills(found, plane)


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 10)
    )


def test_a_plane_through_three_images_of_a_convolutional_network() -> None:
    model, images = convolutional(), torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    plane = Plane.through(*images.double())
    found = linear_regions(model, plane)
    copied = convolutional().double()
    copied.load_state_dict(model.state_dict())
    assert found.cell_count > 200
    assert_cells_are_the_patterns(found, plane, lambda x: of_sequential(copied, x), 100)
    line = linear_pieces(model, images[0], images[1])
    assert 10 < len(line.breakpoints) + 1 < found.cell_count


def test_a_plane_through_three_digits() -> None:
    if not (REAL / "MNIST" / "raw").is_dir():
        pytest.skip(f"no mnist in {REAL}")
    data = load(Mnist(), REAL)
    digits = data.inputs(data.x_train[:3], torch.float64).flatten(1)
    model = mlp([32, 32], inputs=784, outputs=10, seed=0)
    plane = Plane.through(*digits)
    found = linear_regions(model, plane)
    assert found.cell_count > 100
    assert_cells_are_the_patterns(found, plane, lambda x: of_sequential(model, x))


# --- the model stays, and what does not matter


def test_the_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    linear_regions(model, Plane.square(1))
    assert model.training and all(one.training for one in model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model[0].weight.dtype == torch.float32 and model[0].weight.grad is None


def test_a_network_and_its_plane_scaled_alike_have_the_same_regions() -> None:
    plain = linear_regions(mlp([6, 6, 6], seed=7, bias=0.3), Plane.square(1))
    for scale in (1e-9, 1e9):
        model = mlp([6, 6, 6], seed=7, bias=0.3)
        with torch.no_grad():
            for layer in model[::2]:
                layer.bias *= scale
        scaled = linear_regions(model, Plane.square(scale))
        assert scaled.cell_count == plain.cell_count
        np.testing.assert_allclose(np.sort(scaled.areas()) / scale**2, np.sort(plain.areas()), rtol=1e-6, atol=1e-12)


def test_a_parameter_of_as_many_rows_as_points_is_not_taken_for_values() -> None:
    weight = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))

    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(weight)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.weight.clamp(min=-1.0)).relu()

    assert linear_regions(Clamped(), Plane.square(1)).cell_count == 8


@pytest.mark.parametrize("kept", [0, 2000, 2**25])
def test_kinks_come_in_parts_where_memory_is_short(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    model, plane = mlp([8, 8, 8], seed=1), Plane.square(1)
    whole = linear_regions(model, plane)
    monkeypatch.setattr("jumpstart_exp.geometry.regions._NUMBERS", 300)
    monkeypatch.setattr("jumpstart_exp.geometry.regions._KEPT", kept)
    parts = linear_regions(model, plane)
    assert parts.cell_count == whole.cell_count > 80 and parts.region_count == whole.region_count
    np.testing.assert_allclose(np.sort(parts.areas()), np.sort(whole.areas()), atol=1e-12)


# --- refused


def refused(model: nn.Module, **more: int) -> str:
    for look in (
        lambda: linear_regions(model, Plane.square(1), **more),
        lambda: linear_pieces(model, -torch.ones(2), torch.tensor([1.0, 0.7])),
    ):
        with pytest.raises(SettingError) as error:
            look()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.Tanh(), "tanh"),
        (nn.Softmax(1), "softmax"),
        (nn.LayerNorm(3), "layer_norm"),
        (nn.ELU(), "elu"),
        (nn.GELU(), "gelu"),
        (nn.MaxPool1d(2), "max_pool1d"),
    ],
)
def test_refuses_what_is_not_of_straight_pieces_by_its_name(activation: nn.Module, name: str) -> None:
    assert name in refused(nn.Sequential(nn.Linear(2, 3), activation))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * x.flip(1),
        lambda x: x.T.relu().T,
        lambda x: x.unsqueeze(0).relu()[0],
        lambda x: (x > 0).double(),
        lambda x: x - x.mean(0),
        lambda x: x.float().double(),
    ],
    ids=["product", "transposed", "unsqueezed", "step", "of all points", "float32"],
)
def test_refuses_kinks_that_are_not_seen_and_what_is_not_affine(function: Callable[[Tensor], Tensor]) -> None:
    assert re.search("not affine between the kinks|gradient is not that of its values", refused(Made(function)))


def test_refuses_what_is_random() -> None:
    assert "a second time" in refused(Made(lambda x: x + 0.1 * torch.rand_like(x)))
    assert "a second time" in refused(Made(lambda x: x.relu() + 1e-14 * torch.rand_like(x)))


@pytest.mark.parametrize("offset", [1e9, 1e12, 1e14])
def test_refuses_what_cancels_too_much(offset: float) -> None:
    assert "does not resolve" in refused(Made(lambda x: ((x + offset).relu() - offset).relu() - 0.1 * x))


def test_refuses_more_pieces_than_are_wanted() -> None:
    model = mlp([8, 8], seed=0)
    pieces = len(linear_pieces(model, -torch.ones(2), torch.ones(2)).piece)
    assert len(linear_pieces(model, -torch.ones(2), torch.ones(2), most_pieces=pieces).piece) == pieces > 3
    for most in (pieces - 1, 0):
        with pytest.raises(SettingError, match=f"most_pieces={most} is not allowed"):
            linear_pieces(model, -torch.ones(2), torch.ones(2), most_pieces=most)


def test_refuses_values_that_are_detached() -> None:
    assert "detached" in refused(Made(lambda x: x.detach() + x.relu()))


def test_refuses_values_that_are_not_finite() -> None:
    model = mlp([4, 4])
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    assert "not finite" in refused(model)


def test_refuses_more_cells_than_are_wanted() -> None:
    model, plane = mlp([8, 8], seed=0), Plane.square(1)
    cells = linear_regions(model, plane).cell_count
    assert linear_regions(model, plane, most_cells=cells).cell_count == cells
    with pytest.raises(SettingError, match=f"most_cells={cells - 1} is not allowed"):
        linear_regions(model, plane, most_cells=cells - 1)
    with pytest.raises(SettingError, match="most_cells=0 is not allowed: it must be at least 1"):
        linear_regions(model, plane, most_cells=0)


def test_refuses_what_is_no_module_and_cannot_be_evaluated() -> None:
    with pytest.raises(SettingError, match="model='function' is not allowed"):
        linear_regions(lambda x: x, Plane.square(1))  # type: ignore[arg-type]
    with pytest.raises(
        SettingError, match=r"cannot be evaluated in float64 at inputs of shape \(points, 2\): mat1 and mat2"
    ):
        linear_regions(nn.Linear(3, 1), Plane.square(1))
    with pytest.raises(SettingError, match="inputs of shapes"):
        linear_pieces(nn.Linear(2, 1), torch.zeros(2), torch.zeros(3))
    with pytest.raises(TypeError, match="a row a point"):
        linear_regions(Made(lambda x: x.sum()), Plane.square(1))


@pytest.mark.parametrize("first", [2, 3, 4])
def test_refuses_a_model_that_computes_other_functions_at_other_points(first: int) -> None:
    passes: list[int] = []

    def forked(x: Tensor) -> Tensor:
        passes.append(len(x))
        return x.relu() if len(passes) <= first else x.clamp(max=0.5)

    with pytest.raises(SettingError, match="the same at all"):
        linear_regions(Made(lambda x: forked(x.relu())), Plane.square(1))
