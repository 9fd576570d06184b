"""Every initialisation against what its source says of it, computed another way."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.base import DatasetSpec
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.data.spirals import Spirals
from jumpstart_exp.data.strip import Strip
from jumpstart_exp.networks.activations import ACTIVATIONS, tat_slope
from jumpstart_exp.networks.build import build, initial_parameters, parameter_shapes
from jumpstart_exp.networks.initialisation import INITIALISATIONS
from jumpstart_exp.randomness import InitialDraws
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec

Array = NDArray[np.float64]


def cell_of(depth: int, width: int, *, seed: int = 0, images: bool = False, **network: Any) -> Cell:
    dataset = Mnist() if images else Cell().dataset
    return Cell(
        dataset=dataset, depth=depth, width=width, seed=seed, network=NetworkSpec(**network), precision="float64"
    )


def matrices(cell: Cell) -> list[Array]:
    """Weights of every affine layer, flat after the outputs."""
    return [
        value.reshape(len(value), -1)
        for name, value in initial_parameters(cell).items()
        if name.endswith("weight") and not name.startswith("norms")
    ]


def biases(cell: Cell) -> list[Array]:
    found = initial_parameters(cell)
    return [value for name, value in found.items() if name.endswith("bias") and not name.startswith("norms")]


def of_streams(rule: Callable[[InitialDraws, int, int, int], Array], cell: Cell) -> list[Array]:
    """What a rule of (stream, outputs, inputs, layer) makes of every layer."""
    return [
        rule(InitialDraws(cell.seed, layer), *weights.shape, layer).reshape(weights.shape)
        for layer, weights in enumerate(matrices(cell))
    ]


def test_normal_numbers_are_normal_and_each_is_of_one_word() -> None:
    numbers = InitialDraws(3, 7).normal(20_000)
    assert stats.kstest(numbers, "norm").pvalue > 0.01
    assert InitialDraws(3, 7).normal(5).tolist() == numbers[:5].tolist()
    words = np.random.Philox(key=3 + (7 << 64)).random_raw(5)
    expected = [stats.norm.ppf((int(word >> 12) + 0.5) / 2**52) for word in words]
    np.testing.assert_allclose(numbers[:5], expected, rtol=1e-14)
    lowest, highest = (((word >> 12) + 0.5) * 2.0**-52 for word in (0, 2**64 - 1))
    assert 0 < lowest < highest < 1, "no number is infinite"


def test_another_draw_of_a_layer_is_another_stream() -> None:
    drawn = {InitialDraws(3, layer, draw).symmetric(1)[0] for layer in range(3) for draw in range(3)}
    assert len(drawn) == 9
    assert InitialDraws(3, 1, 2).symmetric(1) == InitialDraws(3, 1 + (2 << 32)).symmetric(1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_he_reckons_with_the_slope_of_leaky_kinds(activation: str) -> None:
    cell = cell_of(2, 30, activation=activation, init="he_normal", leaky_slope=0.3)
    slope = {"leaky_relu": 0.3, "prelu": 0.25}.get(activation, 0.0)

    def he(draws: InitialDraws, outputs: int, inputs: int, layer: int) -> Array:
        return draws.normal(outputs * inputs) * nn.init.calculate_gain("leaky_relu", slope) / math.sqrt(inputs)

    for found, expected in zip(matrices(cell), of_streams(he, cell), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert not any(value.any() for value in biases(cell))


def test_lecun_and_glorot_and_torchs_default_know_no_gain() -> None:
    for init in ("lecun_normal", "glorot_uniform", "kaiming_uniform"):
        cells = [cell_of(2, 5, activation=name, init=init) for name in ("relu", "tanh", "leaky_relu")]
        for weights in zip(*(matrices(cell) for cell in cells), strict=True):
            assert all(np.array_equal(weights[0], other) for other in weights[1:])
    for weights in matrices(cell_of(3, 100, init="lecun_normal"))[1:3]:
        assert stats.kstest(weights.ravel() * 10, "norm").pvalue > 0.001


@pytest.mark.parametrize("network", [{}, {"layout": "conv2x1"}, {"layout": "cnn", "head": "max_avg_pool"}])
def test_orthogonal_weights_have_their_gain_for_singular_values(network: dict[str, Any]) -> None:
    images = network.get("layout") == "cnn"
    for activation, gain in (("relu", math.sqrt(2)), ("leaky_relu", math.sqrt(2 / 1.09)), ("tat", 1.0)):
        cell = cell_of(3, 7, images=images, init="orthogonal", activation=activation, leaky_slope=0.3, **network)
        *hidden, output = matrices(cell)
        for weights in hidden:
            np.testing.assert_allclose(np.linalg.svd(weights)[1], gain, rtol=1e-12)
        np.testing.assert_allclose(np.linalg.svd(output)[1], 1, rtol=1e-12)


def test_orthogonal_weights_are_uniform_among_orthogonal_ones() -> None:
    """An entry of a uniform rotation of 3: uniform on [−1, 1] (Archimedes); without R's signs it is not."""
    entries = [matrices(cell_of(2, 3, seed=seed, init="orthogonal", activation="tanh"))[1] for seed in range(400)]
    for row, column in np.ndindex(3, 3):
        assert stats.kstest([weights[row, column] for weights in entries], "uniform", args=(-1, 2)).pvalue > 1e-3


def linearity(cell: Cell) -> tuple[Array, float]:
    """The network at its start as a matrix, (outputs, features), and how far it is from it at random points."""
    network = build(cell)
    x = torch.randn(40, cell.dataset.features, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    seen = x if cell.network.layout != "cnn" else x.reshape(-1, *(cell.dataset.image or ()))
    with torch.no_grad():
        values = network(seen)[0].numpy()
    matrix = np.linalg.lstsq(x.numpy(), values, rcond=None)[0]
    return matrix.T, float(np.abs(x.numpy() @ matrix - values).max())


@pytest.mark.parametrize(("width", "network"), [(4, {"activation": "crelu"}), (5, {"activation": "crelu"}), (6, {})])
def test_looks_linear_and_block_orthogonal_are_an_isometry_at_the_start(width: int, network: dict[str, str]) -> None:
    """Two features go to units of the same length, and the output layer's row is a unit vector: so is the whole."""
    init = "looks_linear" if network else "block_orthogonal"
    for depth in (1, 2, 30):
        cell = cell_of(depth, width, init=init, **network)
        x = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            pre = build(cell)(x)[1][-1]
        units = pre if network else pre[:, : width // 2]
        torch.testing.assert_close(units.norm(dim=1), x.norm(dim=1), rtol=1e-12, atol=0)
        matrix, off = linearity(cell)
        assert off < 1e-13
        assert np.linalg.norm(matrix) <= 1 + 1e-12
    assert off / np.abs(matrix).max() < 1e-10


def test_looks_linear_is_linear_in_convolutions_too() -> None:
    for layout, head in (("conv2x1", "flatten"), ("cnn", "flatten")):
        cell = cell_of(4, 3, images=layout == "cnn", layout=layout, head=head, activation="crelu", init="looks_linear")
        network = build(cell)
        shape = cell.dataset.image or (2,)
        x, y = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            whole = network(x + 2 * y)[0]
            torch.testing.assert_close(whole, network(x)[0] + 2 * network(y)[0], rtol=1e-10, atol=1e-12)
        assert whole.abs().max() > 0


def test_block_orthogonal_weights_are_blocks_and_an_odd_unit_is_hes() -> None:
    first, hidden, output = matrices(cell_of(2, 7, init="block_orthogonal"))
    half = hidden[:3, :3]
    np.testing.assert_allclose(half @ half.T, np.eye(3), atol=1e-14)
    np.testing.assert_array_equal(hidden[:6, :6], np.block([[half, -half], [-half, half]]))
    np.testing.assert_array_equal(first[3:6], -first[:3])
    np.testing.assert_array_equal(output[:, 3:6], -output[:, :3])
    odd = [
        np.concatenate([weights[6], weights[:6, 6]])
        for seed in range(200)
        for weights in [matrices(cell_of(2, 7, seed=seed, init="block_orthogonal"))[1]]
    ]
    assert stats.kstest(np.concatenate(odd) / math.sqrt(2 / 7), "norm").pvalue > 0.01
    assert matrices(cell_of(2, 1, init="block_orthogonal"))[1].shape == (1, 1)


def test_deep_narrow_weights_are_those_of_the_paper() -> None:
    """By NumPy's decomposition, whose signs are another's to choose: square ones are the identity."""
    cell = cell_of(3, 4, init="deep_narrow")
    first, *hidden, output = matrices(cell)

    def q(n: int) -> Array:
        found, r = np.linalg.qr(np.ones((n, n)) + 0.1 * np.eye(n))
        return found * np.sign(np.diag(r))

    np.testing.assert_allclose(first, q(4)[:, :2] @ q(2).T, atol=1e-14)
    np.testing.assert_allclose(output, q(1) @ q(4)[:, :1].T, atol=1e-14)
    for weights in hidden:
        np.testing.assert_allclose(weights, np.eye(4), atol=1e-14)
    others = matrices(cell_of(3, 4, seed=1, init="deep_narrow"))
    assert all(np.array_equal(one, other) for one, other in zip(matrices(cell), others, strict=True))


def strip_cell(depth: int = 1, dataset: DatasetSpec | None = None, **network: Any) -> Cell:
    spec = NetworkSpec(init="hyperplane", activation="sigmoid", **network)
    return Cell(dataset=dataset or Strip(), depth=depth, width=1, network=spec)


def test_a_hyperplane_goes_through_the_papers_point() -> None:
    """Geometry, section 5.1.1: A₁ = 25/√1.09·[1, 0.3], b₁ = A₁·[2, 0]ᵀ, A₂ = [3; −3] where class 1 comes first."""
    cell = strip_cell()
    (first, output), (bias, *others) = matrices(cell), biases(cell)
    np.testing.assert_allclose(first, [[25 / 1.09**0.5, 7.5 / 1.09**0.5]], rtol=1e-15)
    np.testing.assert_allclose(first @ [2, 0] + bias, 0, atol=1e-13)
    assert output.tolist() == [[-3], [3]] and not np.concatenate(others).any()
    far = strip_cell(depth=3, init_norm=1.0, init_at=25.0, init_gain=2.0)  # equation 12 has the gain 3
    first, *later = matrices(far)
    np.testing.assert_allclose(first @ [25, 0] + biases(far)[0], 0, atol=1e-13)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-15)
    assert [each.tolist() for each in later] == [[[2]], [[2]], [[-2], [2]]]
    one = strip_cell(dataset=Moons())
    assert matrices(one)[-1].tolist() == [[6]], "of one output, the log-odds, the difference"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 2}, "width=2 is not allowed: it must be 1 (network.init=hyperplane is of one unit a layer)"),
        ({"widths": (1, 3)}, "network.widths=[1, 3] is not allowed: it must be 1 for every layer"),
        ({"dataset": Spirals(arms=3)}, "another one for spirals (it is for two classes in a plane)"),
        ({"activation": "crelu"}, "another one with network.activation=crelu"),
        ({"layout": "conv2x1"}, "another one for network.layout=conv2x1"),
        ({"farkas": True}, "another one with network.farkas"),
        ({"init_norm": 0}, "network.init_norm=0 is not allowed: it must be a number above 0"),
    ],
)
def test_a_hyperplane_is_of_one_unit_in_a_plane(fields: dict[str, Any], words: str) -> None:
    own = {name: fields.pop(name) for name in ("width", "dataset") if name in fields}
    with pytest.raises(SettingError) as caught:
        Cell(**{"width": 1, "depth": 2, "dataset": Strip(), **own}, network=NetworkSpec(init="hyperplane", **fields))
    assert words in str(caught.value)


def test_asymmetric_rows_have_one_entry_from_a_beta() -> None:
    """Against the algorithm of Lu et al. on the same numbers; the positive one may be the bias."""
    chosen = []
    for seed in range(60):
        cell = cell_of(2, 5, seed=seed, init="asymmetric")
        for layer, (weights, bias) in enumerate(zip(matrices(cell), biases(cell), strict=True)):
            draws, (outputs, inputs) = InitialDraws(seed, layer), weights.shape
            rows = draws.normal(outputs * (inputs + 1)).reshape(outputs, -1) * 0.6007 / inputs**0.5
            which = np.floor(draws.open_unit(outputs) * (inputs + 1)).astype(int)
            betas = stats.beta(2, 1).ppf(draws.open_unit(outputs))
            for row, at, beta in zip(rows, which, betas, strict=True):
                row[at] = beta
            np.testing.assert_allclose(np.column_stack([weights, bias]), rows, rtol=1e-12)
            chosen += [at / inputs for at in which]
    assert np.mean(np.array(chosen) == 1) == pytest.approx(2 / 9, abs=0.1), "as often the bias as any weight"


SHARES = {"he_normal": (0.917, 0.623, 0.147, 0.002), "asymmetric": (0.258, 0.079, 0.007, 0.0)}


@pytest.mark.parametrize("trials", [100, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("init", SHARES)
def test_as_many_networks_are_born_dead_as_lu_says(init: str, trials: int) -> None:
    """Ten layers, widths 2, 3, 5 and 10 on moons: all points equal behind them (shares from 1000 trials before)."""
    points = torch.from_numpy(Cell().dataset.load(None)[0]).double()  # type: ignore[arg-type]
    before = 1000
    for width, share in zip((2, 3, 5, 10), SHARES[init], strict=True):
        dead = 0
        for seed in range(trials):
            h = points
            drawn = initial_parameters(cell_of(10, width, seed=seed, init=init))
            for layer in range(10):
                weight, bias = (torch.from_numpy(drawn[f"hidden.{layer}.{name}"]) for name in ("weight", "bias"))
                h = torch.relu(h @ weight.T + bias)
            dead += bool((h == h[0]).all())
        deviation = math.sqrt((share * (1 - share) + 1 / before) * (1 / trials + 1 / before))
        assert abs(dead / trials - share) < 4 * deviation, f"{dead} of {trials} at width {width}"


def test_fixup_begins_with_its_branches_off() -> None:
    """Zhang et al. 2019: the others of a branch of m layers are smaller by L^(−1/(2m−2)), L branches."""
    fixup = {"skip_every": 3, "skip_scale": "fixup", "init": "he_normal"}
    cell, plain = (cell_of(11, 4, **network) for network in (fixup, {"init": "he_normal"}))
    found, expected = initial_parameters(cell), initial_parameters(plain)
    assert cell.blocks == 3
    for layer in range(11):
        factor = 1.0 if layer in (0, 10) else 0.0 if layer in (3, 6, 9) else 3 ** (-1 / 4)
        np.testing.assert_allclose(found[f"hidden.{layer}.weight"], factor * expected[f"hidden.{layer}.weight"])
        assert (f"hidden.{layer}.bias" in found) == (layer in (0, 10))
    assert not found["output.weight"].any() and not found["output.bias"].any()
    assert [found[f"skips.{index}"].tolist() for index in range(3)] == [[0] * 6 + [1]] * 3


def test_every_initialisation_is_a_choice_and_every_choice_is_one() -> None:
    choices = NetworkSpec.__dataclass_fields__["init"].metadata["choices"]
    assert {*INITIALISATIONS} == {*choices}


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"init": "looks_linear"}, "network.init='looks_linear' is not allowed: it must be another one without"),
        ({"init": "block_orthogonal", "activation": "crelu"}, "another one with network.activation=crelu"),
        ({"init": "block_orthogonal", "layout": "conv2x1"}, "another one for network.layout=conv2x1"),
        ({"init": "deep_narrow", "layout": "conv2x1"}, "another one for network.layout=conv2x1"),
        ({"init": "asymmetric", "farkas": True}, "another one with network.farkas (its last unit has no weights)"),
        ({"norm": "layer", "farkas": True}, "network.norm='layer' is not allowed: it must be none with"),
        ({"skip_every": 2, "skip_scale": "fixup", "norm": "batch"}, "none with network.skip_scale=fixup"),
        ({"skip_every": 2, "skip_scale": "fixup", "init": "asymmetric"}, "what it skips has no biases"),
        ({"skip_every": 2, "skip_scale": "fixup", "farkas": True}, "network.farkas=True is not allowed"),
        ({"skip_every": 1, "skip_scale": "fixup"}, "network.skip_every=1 is not allowed"),
        ({"skip_every": 1, "activation": "crelu"}, "0 with network.activation=crelu"),
        ({"widths": (3, 4), "layout": "conv2x1"}, "null for network.layout=conv2x1"),
        ({"widths": (3, 4), "skip_every": 1}, "0 with layers of different widths"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(network: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as caught:
        cell_of(5, 4, **network)
    assert words in str(caught.value)


def test_pooled_images_do_not_look_linear() -> None:
    network = {"layout": "cnn", "head": "max_avg_pool", "activation": "crelu", "init": "looks_linear"}
    with pytest.raises(SettingError, match=r"another one with network\.head=max_avg_pool"):
        cell_of(3, 4, images=True, **network)


def test_parameters_come_layer_by_layer() -> None:
    """The order that engines and checkpoints rely on."""
    rezero = cell_of(4, 3, skip_every=2, skip_scale="zero", norm="layer", activation="prelu")
    a_layer = ["weight", "bias"]
    names = [
        name
        for layer in range(4)
        for name in [
            *(f"hidden.{layer}.{part}" for part in a_layer),
            *(f"norms.{layer}.{part}" for part in a_layer),
            f"slopes.{layer}",
            *(["skips.0"] if layer == 2 else []),
        ]
    ]
    assert list(parameter_shapes(rezero)) == [*names, "output.weight", "output.bias"]
    assert tat_slope(4, 0.9) == 0


EVERY_KIND: tuple[dict[str, Any], ...] = (
    {"activation": "crelu"},
    {"activation": "prelu", "norm": "layer"},
    {"skip_every": 1, "skip_scale": "zero"},
    {"skip_every": 2, "skip_scale": "fixup", "activation": "prelu"},
    {"skip_every": 2},
    {"farkas": True},
    {"farkas": True, "activation": "crelu"},
    {"widths": (3, 5, 2), "activation": "crelu", "norm": "batch"},
    {"layout": "conv2x1", "activation": "crelu", "farkas": True},
    {"layout": "conv2x1", "skip_every": 2, "skip_scale": "fixup"},
    {"layout": "cnn", "activation": "crelu", "head": "max_avg_pool"},
    {"layout": "cnn", "farkas": True, "norm": "none", "skip_every": 3},
    {"layout": "cnn", "skip_every": 2, "skip_scale": "fixup"},
)


@pytest.mark.parametrize("network", EVERY_KIND)
def test_shapes_and_initial_values_are_those_of_torchs_network(network: dict[str, Any]) -> None:
    cell = cell_of(6, 4, images=network.get("layout") == "cnn", **network)
    torchs = {name: parameter.detach().numpy() for name, parameter in build(cell).named_parameters()}
    assert {name: value.shape for name, value in torchs.items()} == parameter_shapes(cell)
    initial = initial_parameters(cell)
    assert list(initial) == list(parameter_shapes(cell))
    assert all(np.array_equal(torchs[name], value) for name, value in initial.items())
