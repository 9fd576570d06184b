"""Units, decision regions and soft boundaries against closed forms."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_states import cell_of
from torch import Tensor, nn

from jumpstart_exp.geometry.decisions import decided_classes, decision_regions, soft_boundary, unit_activations
from jumpstart_exp.geometry.layered import LayeredNetwork, example_classes, example_network, identity, sigmoid
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.geometry.worked import unit_width
from jumpstart_exp.networks.build import build
from jumpstart_exp.settings import SettingError

LOGIT = math.log(1.95 / 0.05)
"""σ⁻¹(0.95)."""


def linear(*rows: tuple[float, float, float]) -> LayeredNetwork:
    """Logits a·u + b·v − c."""
    return LayeredNetwork([([row[:2] for row in rows], [row[2] for row in rows], identity())])


def circle(x: Tensor) -> Tensor:
    """Log-odds 8(1 − r²): class 1 within the unit circle."""
    return 8 * (1 - x.square().sum(1, keepdim=True))


def test_units_are_what_the_next_layer_is_given() -> None:
    network, plane = example_network(), Plane.rectangle((-2, -1), (2, 3))
    found = unit_activations(network, plane, 7)
    assert found.columns.tolist() == ["layer", "unit", "u", "v", "activation"]
    points = plane.grid(7).numpy()
    x1 = 2 / (1 + np.exp(-3 * (points @ np.array([[1.0, 0.4], [0.3, -1.0]]) - [-1.0, 0.5]))) - 1
    x2 = 2 / (1 + np.exp(-3 * (x1 @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]]) - 1))) - 1
    x3 = x2 @ np.array([[1, 0], [0, 1], [1, 0], [0, 1]]) + 1.1
    for layer, values in enumerate((x1, x2, x3), 1):
        for unit in range(values.shape[1]):
            own = found[(found["layer"] == layer) & (found["unit"] == unit + 1)]
            assert own[["u", "v"]].to_numpy() == pytest.approx(points)
            assert own["activation"].to_numpy() == pytest.approx(values[:, unit], abs=1e-13)
    assert len(found) == 49 * (2 + 4 + 2)


def test_a_layer_that_two_maps_are_given_is_one() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left, self.right = nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x).relu()
            return (self.left(hidden) + self.right(hidden)).sum(1, keepdim=True)

    found = unit_activations(Forked(), Plane.square(1), 4)
    assert found.groupby("layer")["unit"].max().tolist() == [3, 1]


@pytest.mark.parametrize("method", ["relu", "relu_bn", "sep_up", "rezero", "crelu"])
def test_units_of_this_projects_networks(method: str) -> None:
    network = build(cell_of(method, depth=3, width=5))
    found = unit_activations(network, Plane.square(1), 6)
    assert found["layer"].max() == 4
    inputs = Plane.square(1).grid(6)
    logits = found.loc[found["layer"] == 4, "activation"].to_numpy()
    with torch.no_grad():
        assert logits == pytest.approx(network.double().eval()(inputs)[0][:, 0].numpy(), abs=1e-12)


def test_more_values_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(SettingError, match="resolution=4000 is not allowed"):
        unit_activations(example_network(), Plane.square(1), 4000)


def test_quadrants_are_the_regions_that_they_are() -> None:
    def quadrants(x: Tensor) -> Tensor:
        return x[:, :1] * x[:, 1:]

    found = decision_regions(quadrants, Plane.rectangle((-1, -1), (3, 1)), 200)
    wanted = pd.DataFrame({"class": [0, 1], "regions": [2, 2], "share": [0.5, 0.5]})
    pd.testing.assert_frame_equal(found, wanted)


def test_a_class_nowhere_decided_for_has_no_region() -> None:
    found = decision_regions(linear((0, 0, 0), (0, 0, 5), (1, 0, 0)), Plane.square(1), 10)
    assert found["regions"].tolist() == [1, 0, 1] and found["share"].tolist() == [0.5, 0.0, 0.5]


def test_a_fifth_of_the_plane_is_misclassified() -> None:
    """The network of equation 8 with the classes of figure 10 a."""
    plane = Plane.square(5)
    decided, _ = decided_classes(example_network(), plane, 200)
    wrong = decided.ravel() != example_classes(plane.inputs(plane.grid(200))).numpy()
    assert wrong.mean() == pytest.approx(0.203, abs=0.003)


def test_a_hyperplane_on_the_strip_misclassifies_twice_its_offset_by_its_weight() -> None:
    """Between it and the axis, on −1 ≤ v ≤ 1: the area 2|β|/|a₁| (section 5.1)."""
    a, b = 25 / math.sqrt(1.09), 7.5 / math.sqrt(1.09)
    plane = Plane.rectangle((-3, -1), (3, 1))
    decided, _ = decided_classes(linear((a, b, 2 * a)), plane, 1000)
    u = plane.grid(1000)[:, 0].numpy()
    area = (decided.ravel() != (u > 0)).mean() * plane.area
    assert area == pytest.approx(2 * 2 * a / a, abs=0.01)


def test_confidence_is_that_of_the_softmax() -> None:
    torch.manual_seed(3)
    network = nn.Linear(2, 2).double()
    plane = Plane.square(2)
    decided, confidence = decided_classes(network, plane, 9)
    with torch.no_grad():
        p = network(plane.grid(9)).softmax(1).numpy()
    assert decided.ravel().tolist() == p.argmax(1).tolist()
    assert confidence.ravel() == pytest.approx(np.abs(2 * p[:, 1] - 1), abs=1e-12)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 6.28), st.floats(2.0, 30.0), st.floats(-0.5, 0.5))
def test_the_band_of_one_unit_has_its_closed_form(angle: float, size: float, shift: float) -> None:
    """Along a line across the square, away from its corners."""
    a, b = size * math.cos(angle), size * math.sin(angle)
    plane = Plane.square(10)
    found = soft_boundary(linear((a, b, size * shift)), plane, 60)
    width = 2 * LOGIT / size
    assert unit_width([a, b]) == pytest.approx(width, rel=1e-12)
    assert found.widths["width"].to_numpy() == pytest.approx(width, rel=1e-9)
    # the line's length within the square, by its ends
    low, high = line_in_square(angle, shift, 10)
    assert found.length == pytest.approx(high - low, rel=1e-9)
    area = band_in_square(angle, shift, width, 10)
    assert found.share * plane.area == pytest.approx(area, rel=1e-3)


def line_in_square(angle: float, offset: float, extent: float) -> tuple[float, float]:
    """The parameters t at which offset·n + t·(−n₂, n₁) enters and leaves the square."""
    n = np.array([math.cos(angle), math.sin(angle)])
    along = np.array([-n[1], n[0]])
    low, high = -math.inf, math.inf
    for start, step in zip(offset * n, along, strict=True):
        if abs(step) > 1e-12:
            ends = sorted(((-extent - start) / step, (extent - start) / step))
            low, high = max(low, ends[0]), min(high, ends[1])
    return low, high


def band_in_square(angle: float, offset: float, width: float, extent: float) -> float:
    """The area by the lengths of lines in parallel."""
    steps = np.linspace(-width / 2, width / 2, 2001)
    lengths = [high - low for low, high in (line_in_square(angle, offset + step, extent) for step in steps)]
    return float(np.trapezoid(lengths, steps))


def test_the_band_of_a_circle() -> None:
    found = soft_boundary(circle, Plane.square(2), 400)
    inner, outer = (1 - end * LOGIT / 8 for end in (1, -1))  # r² where the log-odds are ±σ⁻¹(0.95)
    assert found.length == pytest.approx(2 * math.pi, rel=1e-4)
    assert abs(found.length - 2 * math.pi) <= found.length_error
    assert found.share * 16 == pytest.approx(math.pi * (outer - inner), rel=1e-4)
    assert abs(found.share * 16 - math.pi * (outer - inner)) <= found.share_error * 16
    assert found.mean_width == pytest.approx((outer - inner) / 2, rel=2e-4)
    assert found.widths["width"].to_numpy() == pytest.approx(2 * LOGIT / 16, rel=1e-3)
    assert len(found.lines) == 1 and np.hypot(*found.lines[0].T) == pytest.approx(1, abs=1e-4)
    assert found.frame()["median_local_width"].item() == pytest.approx(2 * LOGIT / 16, rel=1e-3)


def test_one_logit_two_logits_and_a_confidence_are_the_same_boundary() -> None:
    def two(x: Tensor) -> Tensor:
        odds = circle(x)
        return torch.cat([3 - odds / 2, 3 + odds / 2], 1)

    def confident(x: Tensor) -> Tensor:
        return torch.tanh(circle(x) / 2)

    plane = Plane.square(2)
    one = soft_boundary(circle, plane, 400)
    other, by_confidence = soft_boundary(two, plane, 400), soft_boundary(confident, plane, 400, "confidence")
    assert (other.share, other.length) == pytest.approx((one.share, one.length), rel=1e-9)
    assert (by_confidence.share, by_confidence.length) == pytest.approx((one.share, one.length), rel=2e-3)
    assert by_confidence.widths["width"].median() == pytest.approx(2 * LOGIT / 16, rel=1e-3)


def test_a_band_narrower_than_the_grid_has_its_area() -> None:
    found = soft_boundary(linear((3000.0, 1000.0, 0.0)), Plane.square(1), 50)
    assert found.mean_width == pytest.approx(2 * LOGIT / math.hypot(3000, 1000), rel=1e-3)


def test_three_sectors() -> None:
    """Rays from 0 at 120°, each between two classes; the band's edges are half-lines at a distance."""
    rows = [(4 * math.cos(angle), 4 * math.sin(angle), 0.0) for angle in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    plane = Plane.square(10)
    found = soft_boundary(linear(*rows), plane, 400)
    rays = 10 + 2 * 10 / math.sin(math.pi / 3)
    assert found.length == pytest.approx(rays, rel=2e-3)
    slope = 4 * math.sqrt(3)
    assert found.widths["width"].to_numpy() == pytest.approx(2 * LOGIT / slope, rel=1e-9)
    sampled = np.random.default_rng(0).uniform(-10, 10, (400_000, 2))
    top = np.sort(sampled @ np.array(rows)[:, :2].T, 1)
    assert found.share == pytest.approx((top[:, 2] - top[:, 1] < LOGIT).mean(), abs=2e-3)
    assert decision_regions(linear(*rows), plane, 300)["share"].to_numpy() == pytest.approx(sector_shares(), abs=2e-3)


def sector_shares() -> list[float]:
    points = np.random.default_rng(1).uniform(-10, 10, (400_000, 2))
    sector = np.floor(((np.degrees(np.arctan2(*points.T[::-1])) + 60) % 360) / 120).astype(int)
    return (np.bincount(sector, minlength=3) / len(points)).tolist()


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_a_network_that_gives_the_same_everywhere_is_unsure_everywhere(outputs: int) -> None:
    found = soft_boundary(linear(*[(0.0, 0.0, 0.0)] * outputs), Plane.square(3), 20)
    assert found.share == pytest.approx(1) and found.length == 0 and math.isnan(found.mean_width)
    assert found.lines == () and len(found.widths) == 0
    assert math.isnan(found.frame()["median_local_width"].item())


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_where_two_classes_are_equal_the_first_is_decided_for(side: float) -> None:
    """Log-odds 0 on half of the plane: by one or two logits, or three of which one is out of the question."""

    def one(x: Tensor) -> Tensor:
        return side * x[:, :1].relu()

    def two(x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(one(x)), one(x)], 1)

    def three(x: Tensor) -> Tensor:
        return torch.cat([two(x), one(x) - 50], 1)

    lengths = []
    for model in (one, two, three):
        share = decision_regions(model, Plane.square(2), 40)["share"].tolist()
        assert share[:2] == ([0.5, 0.5] if side > 0 else [1.0, 0.0])
        found = soft_boundary(model, Plane.square(2), 40)
        assert found.share == pytest.approx(1, abs=1e-9)
        lengths.append(found.length)
    assert lengths == pytest.approx([4.0] * 3 if side > 0 else [0.0] * 3, rel=1e-6)


def test_a_slice_through_three_points_measures_distances() -> None:
    """In five dimensions: the unit's width is by its gradient within the plane."""
    torch.manual_seed(0)
    a, b, c, normal = torch.randn(4, 5, dtype=torch.float64)
    plane = Plane.through(a, b, c)

    def model(x: Tensor) -> Tensor:
        return 9 * (x @ normal)[:, None] - 9 * (a + b) @ normal / 2

    within = 9 * math.hypot(float(plane.first @ normal), float(plane.second @ normal))
    found = soft_boundary(model, plane, 40)
    assert found.widths["width"].to_numpy() == pytest.approx(2 * LOGIT / within, rel=1e-9)


def test_the_model_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    soft_boundary(network, Plane.square(1), 8)
    unit_activations(network, Plane.square(1), 8)
    assert network.training and next(network.parameters()).dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def broken(x: Tensor) -> Tensor:
    return (x[:, :1]).log()


def test_outputs_that_are_not_finite_are_refused_in_one_line() -> None:
    for probe in (decision_regions, decided_classes, soft_boundary, unit_activations):
        with pytest.raises(SettingError, match=r"the model gives \[nan\] at u = -.*: finite numbers are needed"):
            probe(broken, Plane.square(1), 20)


def test_settings_that_make_no_sense_are_refused() -> None:
    plane = Plane.square(1)
    for arguments, match in (
        ({"resolution": 2}, "resolution=2 is not allowed"),
        ({"resolution": 7}, "resolution=7 is not allowed: it must be an even number"),
        ({"confidence": 1.0}, "confidence=1.0 is not allowed"),
        ({"outputs": "votes"}, "outputs='votes' is not allowed"),
        ({"outputs": "confidence"}, "outputs='confidence' is not allowed"),
    ):
        with pytest.raises(SettingError, match=match):
            soft_boundary(circle, plane, **{"resolution": 8, **arguments})  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="resolution=1 is not allowed"):
        decision_regions(circle, plane, 1)
    with pytest.raises(SettingError, match="no gradient by its inputs"):
        soft_boundary(lambda x: circle(x.detach()), Plane.square(2), 8)


def test_the_sigmoid_unit_of_the_paper() -> None:
    """Figure 13: a hyperplane bordered by the lines where the first layer gives ±0.95."""
    unit = LayeredNetwork([([[3.0, 4.0]], [1.0], sigmoid(2))])
    found = soft_boundary(unit, Plane.square(4), 400, "confidence")
    assert found.mean_width == pytest.approx(
        unit_width([3, 4], 2), rel=2e-2
    )  # the plane's edges cut the band obliquely
    assert found.widths["width"].to_numpy() == pytest.approx(unit_width([3, 4], 2), rel=1e-6)
