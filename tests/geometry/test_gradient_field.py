"""Gradient fields against autograd a point at a time, finite differences and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from jumpstart_exp.geometry.gradients import backpropagation, cross_entropy, gradient_field
from jumpstart_exp.geometry.layered import (
    LayeredNetwork,
    example_classes,
    example_network,
    identity,
    logistic,
    named,
    sigmoid,
)
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec

SQUARE = Plane.square(3.0)


def by_sign(points: Tensor) -> Tensor:
    return (points.flatten(1)[:, 0] > 0).long()


def one_at_a_time(model: nn.Module, points: Tensor, classes: Tensor, names: tuple[str, ...]) -> np.ndarray:
    """Greatest entry and 2-norm of the gradient by each weight, (2, layers, points), a backward pass a point."""
    sizes = np.zeros((2, len(names), len(points)))
    parameters = dict(model.named_parameters())
    for number in range(len(points)):
        outputs = model(points[number : number + 1])
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        loss = cross_entropy(outputs, classes[number : number + 1]).sum()
        gradients = torch.autograd.grad(loss, [parameters[name] for name in names], allow_unused=True)
        for layer, gradient in enumerate(gradients):
            entries = np.zeros(1) if gradient is None else gradient.numpy().ravel()
            sizes[:, layer, number] = np.abs(entries).max(), math.sqrt((entries**2).sum())
    return sizes


class Tied(nn.Module):
    """One matrix three times, once where no linear map is seen."""

    def __init__(self, *, in_secret: bool) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.in_secret = in_secret

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.shared(torch.tanh(self.first(x))))
        x = x @ self.shared.weight if self.in_secret else self.shared(x)
        return self.last(x)


class InPlace(nn.Module):
    """The pre-activations are changed in place after they were computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 1)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu_(self.layers[0](x), 0.3)
        return self.layers[2](F.relu_(self.layers[1](x).mul_(2.0)))


class Tokens(nn.Module):
    """Several positions of a point through one linear map, and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear, self.out = nn.Conv1d(1, 3, 2, padding=1), nn.Linear(3, 4), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv(x[:, None])).movedim(1, 2)
        return self.out(torch.tanh(self.linear(x)).flatten(1))


def small(activation: str, **settings: object) -> RectangularMLP:
    torch.manual_seed(3)
    return RectangularMLP(2, [4, 4, 4], 1, NetworkSpec(activation=activation, **settings)).double()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        example_network,
        *(lambda name=name: small(name) for name in ACTIVATIONS),
        lambda: small("relu", norm="batch"),
        lambda: small("relu", norm="layer"),
        lambda: small("tanh", skip_every=1, skip_scale="zero"),
        lambda: small("relu", skip_every=2, skip_scale="fixup"),
        lambda: small("relu", farkas=True),
        lambda: small("relu", layout="conv2x1"),
        lambda: Tied(in_secret=False),
        lambda: Tied(in_secret=True),
        InPlace,
        Tokens,
    ],
)
def test_sizes_are_those_of_autograd_a_point_at_a_time(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(5)
    model = make().double().eval()
    points = SQUARE.inputs(SQUARE.grid(7, 5))
    field = gradient_field(model, points, by_sign)
    expected = one_at_a_time(model, points, by_sign(points), field.layers)
    assert expected.max() > 0
    np.testing.assert_allclose(field.maximum, expected[0], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(field.frobenius, expected[1], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("make", [example_network, InPlace, Tokens, lambda: small("relu", layout="conv2x1")])
def test_bias_sizes_are_those_of_autograd_a_point_at_a_time(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(6)
    model = make().double().eval()
    points = SQUARE.inputs(SQUARE.grid(5, 4))
    field = gradient_field(model, points, by_sign)
    biases = tuple(
        {"weights": name.replace("weights", "offsets")}.get(name.split(".")[0], name.replace("weight", "bias"))
        for name in field.layers
    )
    expected = one_at_a_time(model, points, by_sign(points), biases)
    np.testing.assert_allclose(field.bias_maximum, expected[0], rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(field.bias_norm, expected[1], rtol=1e-9, atol=1e-14)


def test_many_points_in_parts_are_as_few() -> None:
    model = small("tanh")
    points = SQUARE.inputs(SQUARE.grid(150))
    whole = gradient_field(model, points, by_sign)
    few = gradient_field(model, points[20_000:20_010], by_sign)
    np.testing.assert_allclose(whole.maximum[:, 20_000:20_010], few.maximum, rtol=1e-12)
    np.testing.assert_allclose(whole.outputs[20_000:20_010], few.outputs, rtol=1e-12)


def test_layer_without_biases_has_no_size_of_them() -> None:
    field = gradient_field(nn.Sequential(nn.Linear(2, 3, bias=False), nn.Tanh(), nn.Linear(3, 1)), SQUARE, by_sign)
    assert field.bias_norm[0].isnan().all() and not field.bias_norm[1].isnan().any()


def test_layer_that_the_loss_does_not_see_has_gradient_zero() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(2, 3), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.first(x).detach())
            return out

    field = gradient_field(Cut(), SQUARE, by_sign, across=5)
    assert (field.maximum[0] == 0).all() and (field.maximum[1] > 0).all()
    assert math.isnan(field.localisation().localisation[0])


def test_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    field = gradient_field(model, SQUARE, by_sign, across=6)
    assert model.training and not model[0].weight.requires_grad and model[3].weight.grad is None
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (field.maximum[0] > 0).any(), "frozen weights have a gradient, too"


def test_given_loss_is_differentiated() -> None:
    network = LayeredNetwork([([[2.0, 0.0]], [0.5], identity())])
    points = torch.tensor([[1.0, -3.0], [0.0, 4.0]], dtype=torch.float64)
    aims = torch.tensor([1.0, 1.0], dtype=torch.float64)
    field = gradient_field(network, points, aims, loss=lambda outputs, aims: (outputs[:, 0] - aims) ** 2)
    # outputs 1.5 and −0.5: y = 1 and −3
    np.testing.assert_allclose(field.losses, [0.25, 2.25])
    np.testing.assert_allclose(field.maximum, [[3.0, 12.0]])
    np.testing.assert_allclose(field.frobenius, [[math.sqrt(10), 12.0]])
    np.testing.assert_allclose(field.bias_norm, [[1.0, 3.0]])


class Bilinear(nn.Module):
    """One matrix that no linear map is given."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Bilinear(2, 2, 1), nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.inner(x, x))
        return out


class Rearranged(nn.Module):
    """The linear map is given rows that are no points."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(1, 3), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(torch.tanh(self.inner(x.reshape(-1, 1))).reshape(-1, 6))
        return out


class Idle(nn.Module):
    """A matrix that nothing is computed with."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(2, 3), nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x)
        return out


@pytest.mark.parametrize("model", [Bilinear(), Rearranged(), Idle()])
def test_unseen_matrix_is_refused(model: nn.Module) -> None:
    with pytest.raises(
        SettingError, match=r"parameter inner.weight of shape \(.*\) is not seen: a matrix of parameters"
    ):
        gradient_field(model, SQUARE, by_sign, across=3)


def test_made_weights_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.utils.parametrizations.weight_norm(nn.Linear(3, 1)))
    with pytest.raises(SettingError, match=r"parameter 2.parametrizations.weight.original0 .* is not seen"):
        gradient_field(model, SQUARE, by_sign, across=3)


class Beside(nn.Module):
    """A point's output depends on the other points."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x - x.mean(0))
        return out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": Beside()}, "the output of point 0 depends on the other points"),
        ({"loss": lambda outputs, classes: outputs[:, 0] - outputs.mean()}, "the loss of point 0 depends"),
        ({"loss": lambda outputs, classes: outputs.mean()}, r"loss=\(\) is not allowed"),
        ({"classes": torch.zeros(8, dtype=torch.long)}, "one for each of the 9 points"),
        ({"classes": torch.full((9,), 2)}, "classes=2 is not allowed: it must be from 0 to 1 for 1 outputs"),
        ({"classes": torch.zeros(9)}, r"it must be integers \(points,\)"),
        ({"across": 0}, "across=0 is not allowed"),
        ({"where": torch.zeros(0, 2)}, "at least one point"),
        ({"model": nn.BatchNorm1d(2)}, "no parameter that is the weight"),
    ],
)
def test_what_has_no_field_is_refused(change: dict[str, object], words: str) -> None:
    given = {"model": nn.Linear(2, 1), "where": SQUARE, "classes": by_sign, "across": 3} | change
    with pytest.raises(SettingError, match=words):
        gradient_field(given.pop("model"), given.pop("where"), given.pop("classes"), **given)  # type: ignore[arg-type]


# --- localisation ---------------------------------------------------------------------------------------------------


def test_localisation_is_the_least_share_of_the_points() -> None:
    network = LayeredNetwork([([[1.0]], [0.0], identity())])
    points = torch.tensor([[1.0], [2.0], [3.0], [4.0], [90.0]], dtype=torch.float64)
    field = gradient_field(network, points, torch.zeros(5), loss=lambda outputs, _: outputs[:, 0])
    # gradients 1, 2, 3, 4, 90, of sum 100
    assert field.localisation(0.9).localisation[0] == pytest.approx(0.2)
    assert field.localisation(0.91).localisation[0] == pytest.approx(0.4)
    assert field.localisation(1.0).localisation[0] == 1.0
    assert field.localisation(of="bias_norm").localisation[0] == 1.0  # five ones: 0.9 needs all five
    assert field.localisation().maximum[0] == 90 and field.localisation()["mean"][0] == 20


@pytest.mark.parametrize(("given", "words"), [({"share": 0.0}, "share=0"), ({"of": "size"}, "of='size'")])
def test_localisation_of_nothing_known_is_refused(given: dict[str, object], words: str) -> None:
    field = gradient_field(nn.Linear(2, 1), SQUARE, by_sign, across=3)
    with pytest.raises(SettingError, match=words):
        field.localisation(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gamma", "localised", "largest"),
    [(1, (0.175, 0.589, 0.805), 12.5), (2, (0.044, 0.076, 0.199), 62), (3, (0.018, 0.021, 0.184), 155)],
)
def test_field_of_the_papers_network_localises_towards_the_first_layer(
    gamma: float, localised: tuple[float, ...], largest: float
) -> None:
    """Figure 12, on [−5, 5]²: the paper does not say the extent."""
    field = gradient_field(example_network().scaled(gamma), Plane.square(5.0), example_classes, across=300)
    found = field.localisation()
    np.testing.assert_allclose(found.localisation, localised, atol=0.002)
    assert found.maximum[0] == pytest.approx(largest, rel=0.02)


def test_fifth_of_the_plane_is_misclassified_by_the_papers_network() -> None:
    points = Plane.square(5.0).grid(200)
    wrong = example_network()(points).argmax(1) != example_classes(points)
    assert float(wrong.double().mean()) == pytest.approx(0.203, abs=0.003)
    top_of_lower_left = (points[:, 0] < 0) & (points[:, 1] < 0) & (points[:, 1] > -0.5)
    assert wrong[top_of_lower_left].double().mean() > 0.5


def test_frame_has_a_row_a_layer_and_point() -> None:
    field = gradient_field(example_network(), SQUARE, example_classes, across=4)
    frame = field.frame()
    assert list(frame) == ["layer", "weight", "u", "v", "maximum", "frobenius", "bias_maximum", "bias_norm"]
    assert len(frame) == 3 * 16
    row = frame[(frame.layer == 2) & (frame.u == 0.75) & (frame.v == -2.25)]
    assert row.frobenius.item() == float(field.frobenius[1, 2])
    alone = gradient_field(example_network(), torch.ones(1, 2), example_classes).frame()
    assert list(alone)[:3] == ["layer", "weight", "point"]


# --- equations 9 and 10 ---------------------------------------------------------------------------------------------


def random_network(name: str, seed: int, last: str = "identity") -> LayeredNetwork:
    generator = torch.Generator().manual_seed(seed)
    widths = [2, 4, 3, 5, 3]
    number = {"leaky_relu": 0.1, "prelu": 0.25, "sigmoid": 2.0, "tat": 0.3}.get(name, 0.0)
    kinds = [named(name, number)] * 3 + [identity() if last == "identity" else logistic(1.5)]
    return LayeredNetwork(
        [
            (
                torch.randn(units, inputs, generator=generator, dtype=torch.float64),
                torch.randn(units, generator=generator, dtype=torch.float64),
                kind,
            )
            for inputs, units, kind in zip(widths[:-1], widths[1:], kinds, strict=True)
        ]
    )


@pytest.mark.parametrize("name", [name for name, each in ACTIVATIONS.items() if each.outputs == 1])
@pytest.mark.parametrize("last", ["identity", "logistic"])
def test_parts_of_equation_9_give_the_gradients_of_autograd(name: str, last: str) -> None:
    network = random_network(name, 4, last)
    points = SQUARE.inputs(SQUARE.grid(6, 5))
    classes = torch.arange(30) % 3
    passed = backpropagation(network, points, classes)
    losses = cross_entropy(network(points), classes)
    for number in (0, 7, 29):
        wanted = [*network.weights, *network.offsets]
        gradients = torch.autograd.grad(losses[number], wanted, retain_graph=True)
        for layer in range(1, 5):
            torch.testing.assert_close(passed.weight_gradient(layer)[number], gradients[layer - 1])
            torch.testing.assert_close(passed.bias_gradient(layer)[number], gradients[3 + layer])


def test_parts_of_equation_9_by_hand() -> None:
    points = np.array([[0.7, -1.3], [-2.0, 0.4], [3.0, 3.0]])
    classes = np.array([0, 1, 1])
    passed = backpropagation(example_network(), torch.tensor(points), torch.tensor(classes))
    a1, b1 = np.array([[1.0, 0.3], [0.4, -1.0]]), np.array([-1.0, 0.5])
    a2, b2 = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]), np.ones(4)
    a3, b3 = np.array([[1, 0, 1, 0], [0, 1, 0, 1]]), np.array([-1.1, -1.1])

    def sigma(v: np.ndarray) -> np.ndarray:
        return 2 / (1 + np.exp(-3 * v)) - 1

    def slope(v: np.ndarray) -> np.ndarray:
        share = 1 / (1 + np.exp(-3 * v))
        return 2 * 3 * (share - share**2)  # section 4.1

    v1 = points @ a1.T - b1
    v2 = sigma(v1) @ a2.T - b2
    v3 = sigma(v2) @ a3.T - b3
    y3 = np.exp(v3) / np.exp(v3).sum(1, keepdims=True) - np.eye(2)[classes]
    z3 = y3 @ a3
    y2 = slope(v2) * z3
    y1 = slope(v1) * (y2 @ a2)
    for found, expected in zip(passed.pre, (v1, v2, v3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(passed.masks[1], slope(v2), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(passed.z[1], z3, rtol=1e-9)
    for found, expected in zip(passed.y, (y1, y2, y3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(passed.weight_gradient(1)[0], np.outer(y1[0], points[0]), rtol=1e-9)
    np.testing.assert_allclose(y3[:, 0], -y3[:, 1], rtol=1e-12)  # as the paper notes


def test_two_layer_example_of_section_4_1() -> None:
    """∂f/∂α = γ[ℓ_γ(σ(αx − β)) − 1] σ'(αx − β) x, f = −log ℓ_5(σ(αx − β))."""
    network = LayeredNetwork([([[1.0]], [0.0], sigmoid(1)), ([[1.0]], [0.0], logistic(5))])
    x = torch.linspace(-12, 12, 49, dtype=torch.float64)[:, None]
    passed = backpropagation(network, x, torch.ones(49), loss=lambda p, _: -p[:, 0].log())
    inner = np.tanh(x.numpy()[:, 0] / 2)
    slope = (1 - inner**2) / 2
    expected = 5 * (1 / (1 + np.exp(-5 * inner)) - 1) * slope * x.numpy()[:, 0]
    np.testing.assert_allclose(passed.weight_gradient(1)[:, 0, 0], expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(
        passed.bias_gradient(1)[x[:, 0] != 0, 0], -expected[expected != 0] / x.numpy()[x != 0], rtol=1e-9, atol=1e-15
    )


def test_gradients_are_finite_differences() -> None:
    network = random_network("gelu", 9)
    points, classes = torch.tensor([[0.3, -0.8]], dtype=torch.float64), torch.tensor([2])
    passed = backpropagation(network, points, classes)
    step = 1e-6
    for layer, weight in enumerate(network.weights, 1):
        for index in np.ndindex(*weight.shape):
            losses = []
            for sign in (1, -1):
                with torch.no_grad():
                    weight[index] += sign * step
                    losses.append(float(cross_entropy(network(points), classes)))
                    weight[index] -= sign * step
            assert float(passed.weight_gradient(layer)[0][index]) == pytest.approx(
                (losses[0] - losses[1]) / (2 * step), rel=1e-5, abs=1e-8
            )


def test_units_of_two_outputs_have_no_mask() -> None:
    network = LayeredNetwork([([[1.0, 0.0]], [0.0], named("crelu")), ([[1.0, 1.0]], [0.0], identity())])
    with pytest.raises(SettingError, match="outputs of a unit=2 is not allowed"):
        backpropagation(network, torch.ones(1, 2), torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize("extent", [28])
def test_slice_through_images(extent: int) -> None:
    """A plane in a space of images through a network of convolutions."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3 * 13 * 13, 10)
    ).double()
    a, b, c = torch.rand(3, 1, extent, extent)
    plane = Plane.through(a, b, c)
    field = gradient_field(model, plane, torch.zeros(16, dtype=torch.long), across=4)
    points = plane.inputs(plane.grid(4))
    expected = one_at_a_time(model, points, torch.zeros(16, dtype=torch.long), field.layers)
    np.testing.assert_allclose(field.maximum, expected[0], rtol=1e-9, atol=1e-14)
    assert field.layers == ("0.weight", "3.weight")
