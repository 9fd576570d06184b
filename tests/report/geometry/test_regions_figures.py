"""Figures of linear regions: where the boundary between classes lies, and what a panel has."""

import numpy as np
import pytest
import torch
from torch import nn

from jumpstart_exp.geometry import Plane, Regions, linear_regions
from jumpstart_exp.report.geometry.regions import boundary, regions_figure
from jumpstart_exp.settings import SettingError


def network(outputs: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, outputs)).double()


def length(found: Regions) -> float:
    return sum(float(np.hypot(*(end - start))) for start, end in boundary(found))


def centred(outputs: int, seed: int) -> nn.Sequential:
    """With every class somewhere near the middle of the plane."""
    model = network(outputs, seed)
    with torch.no_grad():
        model[-1].bias -= model(torch.zeros(1, 2, dtype=torch.float64))[0]
    return model


@pytest.mark.parametrize(("outputs", "seed"), [(1, 0), (2, 1), (3, 2), (5, 3)])
def test_the_boundary_is_where_two_outputs_are_equal_and_no_other_is_larger(outputs: int, seed: int) -> None:
    model = centred(outputs, seed)
    pieces = list(boundary(linear_regions(model, Plane.square(2))))
    assert len(pieces) > 3
    shares = np.linspace(0.01, 0.99, 5)[:, None]
    on = torch.from_numpy(np.concatenate([start + shares * (end - start) for start, end in pieces]))
    with torch.no_grad():
        found = model(on) if outputs > 1 else torch.cat([model(on), torch.zeros(len(on), 1)], 1)
    first, second = found.sort(1, descending=True).values[:, :2].T
    assert torch.allclose(first, second, atol=1e-12)


def test_the_boundary_of_known_classes_has_its_length() -> None:
    linear = nn.Linear(2, 3, bias=False)
    with torch.no_grad():  # three sectors of a third each
        angles = torch.tensor([90.0, 210.0, 330.0]).deg2rad()
        linear.weight.copy_(torch.stack([angles.cos(), angles.sin()], 1))
    # down, and to the sides at 30 degrees up
    assert length(linear_regions(linear, Plane.square(1))) == pytest.approx(1 + 2 * 2 / np.sqrt(3), rel=1e-6)
    with torch.no_grad():
        linear.weight[1:] = 0
        linear.bias = nn.Parameter(torch.tensor([-0.5, 0.0, -9.0]))
    assert length(linear_regions(linear, Plane.square(1))) == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize("colouring", ["layer", "region"])
def test_a_panel_has_every_cell_and_its_title_their_number(colouring: str) -> None:
    networks = [(f"seed {seed}", linear_regions(network(2, seed), Plane.square(2))) for seed in range(5)]
    points = (np.zeros((3, 2)), np.array([0, 1, 1]))
    figure = regions_figure(networks, 6.5, colouring=colouring, points=points)
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert len(panels) == 5
    for ax, (title, found) in zip(panels, networks, strict=True):
        assert len(ax.collections[0].get_paths()) == found.cell_count
        assert ax.get_title() == f"{title}\n{found.cell_count} cells\n{found.region_count} linear regions"
        expected = found.layer if colouring == "layer" else found.region % 9
        assert np.array_equal(ax.collections[0].get_array(), expected)


def test_refuses_no_networks_and_colourings_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="one network or more"):
        regions_figure([], 6.5)
    with pytest.raises(SettingError, match="colouring='area' is not allowed: it must be layer or region"):
        regions_figure([("one", linear_regions(network(2), Plane.square(1)))], 6.5, colouring="area")
