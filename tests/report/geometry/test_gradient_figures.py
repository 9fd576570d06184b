"""Figures 10, 11, 12, 17 and 18 of Geometry show what the probes find."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from jumpstart_exp.geometry.bounds import partial_backpropagation
from jumpstart_exp.geometry.gradients import gradient_field
from jumpstart_exp.geometry.layered import example_classes, example_network
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.report.geometry import gradients
from jumpstart_exp.report.geometry.gradients import (
    backpropagation_figure,
    example_forward_figure,
    gradient_field_figure,
    partial_figure,
    trained_field_figure,
    variation_figure,
)
from jumpstart_exp.settings import SettingError

PLANE = Plane.square(5.0)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_RESOLUTION", 40)
    monkeypatch.setattr(gradients, "_SIZES", (20, 80))
    monkeypatch.setattr(gradients, "_WEIGHTS", (4, 16))
    monkeypatch.setattr(gradients, "_DRAWS", 60)


def images(figure: Figure) -> list[np.ndarray]:
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.images]


def by_sign(points: torch.Tensor) -> torch.Tensor:
    return (points[:, 0] > 0).long()


def test_forward_figure_shows_classes_units_and_probabilities() -> None:
    shown = images(example_forward_figure(6.0))
    points = PLANE.grid(40)
    network = example_network()
    first = torch.tanh(1.5 * (points @ network.weights[0].T - network.offsets[0]))
    assert len(shown) == 9
    np.testing.assert_allclose(shown[2].ravel(), first[:, 1].detach())
    np.testing.assert_allclose(shown[7].ravel(), network(points).softmax(1)[:, 0].detach())
    assert ((shown[0].ravel() > 0) == (example_classes(points) == 0).numpy()).all()
    assert shown[0][-1, 0] > 0 and shown[0][0, -1] > 0 and shown[0][0, 0] < 0, "the lowest row is the first"


def test_backpropagation_figure_multiplies_its_panels() -> None:
    figure = backpropagation_figure(6.0)
    shown = images(figure)
    assert len(shown) == 12
    for left, mask, product in ((0, 1, 2), (3, 4, 5), (5, 6, 7), (8, 9, 10)):
        np.testing.assert_allclose(shown[left] * shown[mask], shown[product], rtol=1e-9)
    np.testing.assert_allclose(shown[10].ravel() * PLANE.grid(40)[:, 0].abs().numpy(), shown[11].ravel(), rtol=1e-9)
    for title, values in zip(titles(figure), shown, strict=True):
        assert float(title.rpartition("≤ ")[2]) == pytest.approx(values.max(), rel=0.01)


def test_field_figure_has_a_row_a_gamma_with_the_localisation_in_titles() -> None:
    figure = gradient_field_figure(6.0)
    shown, told = images(figure), titles(figure)
    for row, gamma in enumerate((1, 2, 3)):
        field = gradient_field(example_network().scaled(gamma), PLANE, example_classes, across=40)
        for column, share in enumerate(field.localisation().localisation):
            np.testing.assert_allclose(shown[3 * row + column].ravel(), field.maximum[column])
            assert told[3 * row + column].startswith(f"layer {column + 1}, ≤ ")
            assert told[3 * row + column].endswith(f"90 % in {100 * share:.1f} %")
        assert figure.axes[3 * row].get_ylabel().endswith(f"= {gamma}")


def test_partial_figure_shows_where_each_layer_is_reached_by_both_bounds() -> None:
    figure = partial_figure(6.0)
    shown, told = images(figure), titles(figure)
    for row, norm in enumerate(("frobenius", "maximum")):
        for column, gamma in enumerate((1, 2, 3)):
            found = partial_backpropagation(
                example_network().scaled(gamma), PLANE.grid(40), example_classes, (0.05, 0.01), norm
            )
            second, first = ((found.reached <= layer).numpy() for layer in (2, 1))
            assert (shown[3 * row + column].ravel() == second.astype(int) + first).all()
            assert told[3 * row + column] == f"γ = {gamma}: {second.mean():.1%}, {first.mean():.1%}"


def test_variation_figure_fits_the_roots() -> None:
    figure = variation_figure(6.0)
    left, right = figure.axes
    assert len(left.lines) == 4
    sizes, fit = left.lines[1].get_data()
    np.testing.assert_allclose(np.asarray(fit) * np.sqrt(sizes), fit[0] * np.sqrt(20))
    measured = np.asarray(left.lines[0].get_data()[1])
    np.testing.assert_allclose(np.exp(np.mean(np.log(measured / fit))), 1)
    (scale,) = re.findall(r"1\.2\d", right.get_legend().get_texts()[1].get_text())
    weights, constants = right.lines[0].get_data()
    np.testing.assert_allclose(constants / np.sqrt(weights), float(scale), rtol=0.1)


def thin(depth: int, activation: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(depth)
    layers: list[nn.Module] = [nn.Linear(2, 3), activation()]
    for _ in range(depth - 1):
        layers += [nn.Linear(3, 3), activation()]
    return nn.Sequential(*layers, nn.Linear(3, 1))


def test_trained_figure_has_panels_and_curves_of_every_network() -> None:
    networks = {"one": thin(6, nn.Tanh), "other": thin(6, nn.ReLU)}
    figure = trained_field_figure(networks, PLANE, by_sign, 6.0, layers=(1, 7))
    shown = images(figure)
    assert len(shown) == 4
    share, largest = (ax for ax in figure.axes if not ax.images)
    for row, (name, network) in enumerate(networks.items()):
        field = gradient_field(network, PLANE, by_sign, across=40)
        found = field.localisation()
        np.testing.assert_allclose(shown[2 * row + 1].ravel(), field.maximum[6])
        assert share.lines[row].get_label() == name
        np.testing.assert_allclose(share.lines[row].get_ydata(), 100 * found.localisation)
        np.testing.assert_allclose(largest.lines[row].get_ydata(), found.maximum.where(found.maximum > 0))


def test_gradient_of_zero_is_said() -> None:
    network = thin(3, nn.ReLU)
    nn.init.constant_(network[2].bias, -100.0)  # the second layer is dead
    figure = trained_field_figure({"dead": network}, PLANE, by_sign, 6.0)
    assert [title.partition("\n")[2] == "0 everywhere" for title in titles(figure)] == [True, True, True, False]
    share = next(ax for ax in figure.axes if not ax.images)
    assert np.isnan(share.lines[0].get_ydata()[:3]).all()


@pytest.mark.parametrize(
    "draw",
    [example_forward_figure, backpropagation_figure, gradient_field_figure, partial_figure, variation_figure],
)
def test_narrow_figures_and_empty_extents_are_refused(draw: Callable[..., Figure]) -> None:
    with pytest.raises(ValueError, match="width_inches=1 is not allowed"):
        draw(1)
    with pytest.raises(SettingError, match="is not allowed"):
        draw(6.0, extent=-1.0)


@pytest.mark.parametrize(
    ("networks", "layers", "words"),
    [
        ({}, None, r"networks of \[\] layers"),
        ({"a": thin(2, nn.ReLU), "b": thin(3, nn.ReLU)}, None, r"networks of \[3, 4\] layers"),
        ({"a": thin(2, nn.ReLU)}, (4,), r"layers=\(4,\) is not allowed: it must be 1 to 5 of 1 to 3"),
        ({"a": thin(2, nn.ReLU)}, (), r"layers=\(\) is not allowed"),
    ],
)
def test_networks_that_do_not_go_together_are_refused(
    networks: dict[str, nn.Module], layers: tuple[int, ...] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        trained_field_figure(networks, PLANE, by_sign, 6.0, layers=layers)
