"""Coefficients of variation against closed forms, exact sums and figure 18."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from jumpstart_exp.geometry.gradients import cross_entropy, gradient_field
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.variation import (
    drawn_from,
    exact_variation,
    fitted_variation,
    gradient_variation,
    mean_loss,
    strip_network,
    strip_sampler,
)
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec

FIRST = {"weights.0": [(0, 0)]}
"""[A_1]_1 of the strip's network."""


def strip(extent: float, across: int, down: int) -> tuple[Tensor, Tensor]:
    points = Plane.rectangle((-extent, -1.0), (extent, 1.0)).grid(across, down)
    return points, (points[:, 0] < 0).long()


def small_network() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)).double()


def points_and_classes(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def test_exact_constant_is_that_of_a_closed_form() -> None:
    """Gradients 1 and 3 with equal chance: mean 2, standard deviation 1, c = 1/2."""
    model = nn.Linear(1, 1, bias=False)
    x, y = torch.tensor([[1.0], [3.0]]), torch.zeros(2)
    found = exact_variation(model, x, y, loss=lambda outputs, _: outputs[:, 0], entries={"weight": [(0, 0)]})
    assert found.part.tolist() == ["weight", "weight[0, 0]"]
    np.testing.assert_allclose(found.c, 0.5)
    np.testing.assert_allclose(found.mean_norm, 2.0)


def test_exact_constant_is_that_of_the_fields_norms() -> None:
    """E‖g‖² = mean ‖x‖²‖y‖² of the field, ‖E g‖ by one backward pass of the mean loss."""
    model, (x, y) = small_network(), points_and_classes(500)
    field = gradient_field(model, x, y)
    found = exact_variation(model, x, y, chunk=64).set_index("part")
    cross_entropy(model(x), y).mean().backward()
    for layer, name in enumerate(field.layers):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        mean_square = float(gradient.norm() ** 2)
        expected = math.sqrt(float(field.frobenius[layer].square().mean()) / mean_square - 1)
        assert found.c[name] == pytest.approx(expected, rel=1e-8)
        assert found.mean_norm[name] == pytest.approx(math.sqrt(mean_square), rel=1e-9)


def test_sampled_variation_is_the_exact_constant_over_the_root_of_the_size() -> None:
    model, (x, y) = small_network(), points_and_classes(300)
    entries = {"0.weight": [(1, 0)], "0.bias": [(2,)]}
    exact = exact_variation(model, x, y, entries=entries).set_index("part")
    found = gradient_variation(model, drawn_from(x, y), (20, 80, 320), draws=400, entries=entries, seed=3)
    assert set(found.part) == {"0.weight", "2.weight", "4.weight", "0.weight[1, 0]", "0.bias[2]"} == set(exact.index)
    for row in found.itertuples():
        assert row.variation == pytest.approx(exact.c[row.part] / math.sqrt(row.size), rel=0.25)
        assert row.mean_norm == pytest.approx(
            exact.mean_norm[row.part], rel=5 * exact.c[row.part] / math.sqrt(row.size * 400)
        )
    fits = fitted_variation(found).set_index("part")
    for part in ("0.weight", "2.weight", "4.weight"):
        assert fits.c[part] == pytest.approx(exact.c[part], rel=0.1)
        assert fits.exponent[part] == pytest.approx(-0.5, abs=0.06)


@pytest.mark.parametrize("gradients", [[1.0, 4.0, 2.5, 0.5, 3.0], [-9.0, 11.0, 3.0, -4.0]])
def test_noise_of_the_sampled_mean_is_taken_off(gradients: list[float]) -> None:
    """Batches of one point each, whose gradients are known: E(mean²) is μ² + σ²/draws, not μ²."""
    model, left = nn.Linear(1, 1, bias=False), list(gradients)

    def draw(size: int, _: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.tensor([[left.pop()]]), torch.zeros(1)

    of_mean = mean_loss(lambda outputs, _: outputs[:, 0])
    found = gradient_variation(model, draw, (1,), draws=len(gradients), loss=of_mean)
    mean, variance = np.mean(gradients), np.var(gradients, ddof=1)
    squared = mean**2 - variance / len(gradients)
    if squared > 0:
        assert found.variation[0] == pytest.approx(math.sqrt(variance / squared))
        assert found.mean_norm[0] == pytest.approx(math.sqrt(squared))
    else:
        assert found.mean_norm[0] == 0 and math.isnan(found.variation[0]), "so few cannot tell the mean from 0"


def test_gradients_that_are_not_finite_have_no_variation() -> None:
    model, x = nn.Linear(1, 1), torch.full((3, 1), torch.inf)
    found = gradient_variation(model, drawn_from(x, torch.zeros(3)), (2,), draws=3)
    assert found[["variation", "mean_norm"]].isna().to_numpy().all()


def test_loss_of_a_whole_batch_is_sampled_as_a_whole() -> None:
    """The greatest of N uniform numbers: mean N/(N + 1), variance N/((N + 1)² (N + 2))."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)

    def draw(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.rand(size, 1, generator=generator), torch.zeros(size)

    found = gradient_variation(model, draw, (1, 4, 16), draws=3000, loss=lambda model, x, _: model(x).max())
    expected = [math.sqrt(1 / (size * (size + 2))) for size in (1, 4, 16)]
    np.testing.assert_allclose(found.variation, expected, rtol=0.05)


def test_separation_penalty_is_sampled_with_the_loss() -> None:
    """Against a loop over the same batches, and NumPy."""
    torch.manual_seed(4)
    model = RectangularMLP(2, [4, 4], 1, NetworkSpec()).double()
    penalty, (x, y) = SeparationPenalty("UP"), points_and_classes(60)

    def of_batch(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        logits, pre = model(x)
        return cross_entropy(logits, y).mean() + 0.1 * penalty(pre)

    found = gradient_variation(model, drawn_from(x, y), (12,), draws=40, loss=of_batch, seed=9).set_index("part")
    generator, draw = torch.Generator().manual_seed(9), drawn_from(x, y)
    gradients = []
    for _ in range(40):
        of_batch(model, *draw(12, generator)).backward()
        gradients.append({name: one.grad.flatten().numpy().copy() for name, one in model.named_parameters()})  # type: ignore[union-attr]
        model.zero_grad()
    for part in ("hidden.0.weight", "hidden.1.weight", "output.weight"):
        sampled = np.array([each[part] for each in gradients])
        trace = np.var(sampled, axis=0, ddof=1).sum()
        left = (sampled.mean(0) ** 2).sum() - trace / 40
        assert found.variation[part] == pytest.approx(math.sqrt(trace / left))


def test_model_and_random_numbers_stay_as_they_are() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    x = points_and_classes(30)[0]
    y = (x[:, 0] > 0).long()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    first = gradient_variation(model, drawn_from(x, y), (20,), draws=50)
    second = gradient_variation(model, drawn_from(x, y), (20,), draws=50)
    pd.testing.assert_frame_equal(first, second)
    assert (first.variation > 0).all()
    assert torch.equal(state, torch.get_rng_state()) and model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model[0].weight.grad is None
    assert not first.equals(gradient_variation(model, drawn_from(x, y), (20,), draws=50, seed=1))


def test_fit_is_exact_on_exact_numbers() -> None:
    sizes = np.array([10, 100, 1000])
    frame = pd.DataFrame({"part": "a", "size": sizes, "variation": 3 * sizes**-0.5})
    frame = pd.concat([frame, pd.DataFrame({"part": "b", "size": sizes, "variation": [2 * 10**-0.3, np.nan, np.nan]})])
    fits = fitted_variation(frame).set_index("part")
    np.testing.assert_allclose(fits.loc["a"], [3, -0.5, 3, 3], rtol=1e-12)
    assert fits.c["b"] == pytest.approx(2 * 10**0.2) and math.isnan(fits.exponent["b"]) and fits["sizes"]["b"] == 1


# --- figure 18 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extent", "gamma", "output", "factor"), [(3, 1, 3, 1.21), (6, 1, 3, 1.73), (3, 3, 3, 2.1), (3, 1, 1.5, 1.10)]
)
def test_constant_of_the_strip_grows_as_the_root_of_the_weight(
    extent: float, gamma: float, output: float, factor: float
) -> None:
    """The paper has 1.1·√w; on [−3, 3] × [−1, 1] the output weights 3 give 1.2, 1.5 would give 1.1."""
    x, y = strip(extent, 4000, 40)
    weights = np.array([9.0, 25.0, 64.0, 100.0])
    constants = [
        exact_variation(strip_network(weight, gamma, output), x, y, entries=FIRST, chunk=40_000)
        .set_index("part")
        .c["weights.0[0, 0]"]
        for weight in weights
    ]
    exponent, _ = np.polyfit(np.log(weights), np.log(constants), 1)
    assert exponent == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(constants / np.sqrt(weights), factor, rtol=0.03)


def test_sampled_variation_on_the_strip_falls_as_the_root_of_the_size() -> None:
    found = gradient_variation(
        strip_network(25), strip_sampler(3), (25, 100, 400, 1600, 3200), draws=300, entries=FIRST, seed=5
    )
    fit = fitted_variation(found).set_index("part").loc["weights.0[0, 0]"]
    assert fit.c / 5 == pytest.approx(1.21, rel=0.08)
    assert fit.exponent == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"draws": 1}, "draws=1 is not allowed: it must be an integer of at least 2"),
        ({"sizes": (4, 0)}, "sizes=0 is not allowed"),
        ({"entries": {"weight": [(0, 0)]}}, "entries='weight' is not allowed: it must be one of 0.weight, 0.bias"),
        (
            {"entries": {"0.weight": [(4, 0)]}},
            r"entries of 0.weight=\(4, 0\) is not allowed: it must be an index within",
        ),
        ({"entries": {"0.weight": [(0,)]}}, r"entries of 0.weight=\(0,\) is not allowed"),
        ({"loss": lambda model, x, y: model(x)}, r"loss=\(5, 1\) is not allowed: it must be a number"),
        ({"model": nn.BatchNorm1d(2)}, "no parameter of two or more axes"),
    ],
)
def test_what_cannot_be_sampled_is_refused(change: dict[str, object], words: str) -> None:
    x, y = points_and_classes(5)
    given = {"model": small_network(), "sampler": drawn_from(x, y), "sizes": (5,), "draws": 3} | change
    with pytest.raises(SettingError, match=words):
        gradient_variation(given.pop("model"), given.pop("sampler"), given.pop("sizes"), **given)  # type: ignore[arg-type]
