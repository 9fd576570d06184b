"""A rectangle of a plane of inputs: its coordinates, its grid, and what spans none."""

import math

import pytest
import torch

from jumpstart_exp.geometry import Plane
from jumpstart_exp.settings import SettingError


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_a_plane_through_three_points_has_them_at_their_distances(shape: tuple[int, ...]) -> None:
    a, b, c = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plane = Plane.through(a, b, c, margin=0.25)
    first, second = plane.first.flatten(), plane.second.flatten()
    assert first.norm().item() == pytest.approx(1) == second.norm().item()
    assert (first @ second).item() == pytest.approx(0, abs=1e-12)
    of_b = torch.tensor([(b - a).norm(), 0.0], dtype=torch.float64)
    along = ((c - a).flatten() @ (b - a).flatten()) / (b - a).norm()
    of_c = torch.stack([along, ((c - a).norm() ** 2 - along**2).sqrt()])
    coordinates = torch.stack([torch.zeros(2, dtype=torch.float64), of_b, of_c])
    torch.testing.assert_close(plane.inputs(coordinates), torch.stack([a, b, c]))
    low, high = coordinates.min(0).values, coordinates.max(0).values
    torch.testing.assert_close(torch.tensor(plane.low).double(), low - 0.25 * (high - low))
    torch.testing.assert_close(torch.tensor(plane.high).double(), high + 0.25 * (high - low))


def test_the_grid_goes_row_by_row_from_the_lowest_v_through_middles() -> None:
    plane = Plane.rectangle((0, 10), (4, 16))
    assert plane.area == 24
    assert plane.grid(2, 3).tolist() == [[1, 11], [3, 11], [1, 13], [3, 13], [1, 15], [3, 15]]
    assert len(plane.grid(3)) == 9
    assert plane.inputs(plane.grid(2, 3)).tolist() == plane.grid(2, 3).tolist()
    assert plane.corners().tolist() == [[0, 10], [4, 10], [4, 16], [0, 16]]


def test_around_points_is_their_range_and_a_part_of_it_more() -> None:
    plane = Plane.around(torch.tensor([[0.0, 1.0], [10.0, 3.0], [5.0, 2.0]]))
    assert (plane.low, plane.high) == (pytest.approx((-1, 0.8)), pytest.approx((11, 3.2)))
    assert (Plane.square(2).low, Plane.square(2).high) == ((-2, -2), (2, 2))


def test_what_spans_no_plane_is_refused() -> None:
    a, b = torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])
    for c in (2 * b, a, b):
        with pytest.raises(SettingError, match="on a line"):
            Plane.through(a, b, c)
    with pytest.raises(SettingError, match="on a line"):
        Plane.through(a, a, b)
    with pytest.raises(SettingError, match="one is needed"):
        Plane.through(a, b, torch.zeros(2))
    for low, high in (((0, 0), (0, 1)), ((1, 0), (0, 1)), ((0, 0), (math.inf, 1)), ((math.nan, 0), (1, 1))):
        with pytest.raises(SettingError, match="the lower first"):
            Plane.rectangle(low, high)
