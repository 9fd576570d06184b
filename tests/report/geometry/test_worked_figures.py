"""Figures of the worked examples, read back from their artists."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from readable import check_readable
from torch import nn

from jumpstart_exp.geometry.layered import example_network
from jumpstart_exp.geometry.plane import Plane
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.geometry import worked
from jumpstart_exp.report.geometry.decisions import MOST_UNITS, soft_boundary_figure, units_figure

FIGURES: dict[int, Callable[[float], Figure]] = {
    2: worked.mapping_figure,
    3: worked.boolean_figure,
    4: worked.nary_figure,
    5: worked.level_sets_figure,
    6: worked.transitions_figure,
    7: worked.rotation_figure,
    8: worked.primitives_figure,
    9: worked.importance_figure,
}


def drawn(number: int, width_inches: float = 5.5) -> Figure:
    with plain_style():
        return FIGURES[number](width_inches)


def shown(ax: Axes, x: float, y: float) -> float:
    """The image's value nearest to a point."""
    (image,) = ax.images
    left, right, lower, upper = image.get_extent()
    values = np.asarray(image.get_array())
    column = int((x - left) / (right - left) * values.shape[1])
    return float(values[int((y - lower) / (upper - lower) * values.shape[0]), column])


def titled(figure: Figure, letter: str) -> Axes:
    (found,) = [ax for ax in figure.axes if ax.get_title().startswith(f"({letter})")]
    return found


def curve(ax: Axes, gid: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in ax.lines if line.get_gid() == gid]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


@pytest.mark.parametrize("number", FIGURES)
@pytest.mark.parametrize("width", [5.5, 6.75])
def test_texts_can_be_read(number: int, width: float) -> None:
    with plain_style():
        check_readable(FIGURES[number](width), least=2)


@pytest.mark.parametrize("number", FIGURES)
def test_a_figure_too_narrow_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="width_inches=2"):
        drawn(number, 2)


def test_a_unit_before_and_after_the_sigmoid() -> None:
    figure = drawn(2)
    assert shown(titled(figure, "a"), 2.0, 1.0) == pytest.approx(3.5, abs=0.06)
    assert shown(titled(figure, "b"), 2.0, 1.0) == pytest.approx(np.tanh(3.5 / 2), abs=0.01)
    assert shown(titled(figure, "c"), 2.3, -1.0) == pytest.approx(np.tanh((6 * 2.3 - 2 - 12) / 2), abs=0.1)
    x, y = curve(figure.axes[5], "along the axis")
    assert y == pytest.approx(np.tanh((6 * x - 12) / 2), abs=1e-12)


def test_operations_on_two_halfspaces() -> None:
    figure = drawn(3)
    points = {(0.8, 0.8): (1, 1), (0.8, -0.8): (1, 0), (-0.8, 0.8): (0, 1), (-0.8, -0.8): (0, 0)}
    for (x, y), (p, q) in points.items():
        wanted = {"a": p, "b": q, "c": not p, "d": not q, "e": p and q, "f": p or q}
        assert {letter: shown(titled(figure, letter), x, y) > 0 for letter in wanted} == wanted


def test_cells_are_named_by_their_totals() -> None:
    texts = [text for text in titled(drawn(4), "a").texts if text.get_text()]
    assert len(texts) == 25
    for text in texts:
        x, y = map(abs, text.get_position())
        outer, inner = int(x < 4) + int(y < 4) + 2, int(x > 2) + int(y > 2)
        assert text.get_text() == str(2 * outer + inner)


def test_level_sets_are_where_the_sum_is_the_level() -> None:
    ax = titled(drawn(5), "a")
    for level in (-1, 0, 1):
        x, y = curve(ax, str(level))
        there = np.isfinite(y)
        assert there.any()
        assert (np.tanh(x / 2) + np.tanh(y / 2))[there] == pytest.approx(level, abs=1e-9)


def test_widths_start_where_they_are_infinite() -> None:
    figure = drawn(6)
    assert curve(titled(figure, "d"), "(d) amplification γ")[1][0] == pytest.approx(np.log(399) / 1.995)
    x, y = curve(titled(figure, "e"), "(e) shift")
    assert np.tanh(y / 2) == pytest.approx(x - 1, abs=1e-9)
    ax = titled(figure, "f")
    starts = [line.get_xdata()[np.isfinite(line.get_ydata())][0] for line in ax.lines if line.get_gid() == "(f) width"]
    ratio = np.log(39) / np.log(399)
    wanted = [2 * ratio / (multiple + ratio) for multiple in (1, 2, 4)]
    assert starts == pytest.approx(wanted, abs=0.003)
    assert curve(ax, "critical")[0][0] == pytest.approx(wanted[0])


def test_the_aim_is_at_a_right_angle_to_the_normal() -> None:
    figure = drawn(7)
    for letter, degrees in zip("cdef", (90, 70, 70, 70), strict=True):
        x, y = curve(titled(figure, letter), "aim")
        normal = np.radians(degrees)
        assert (x[1] - x[0]) * np.cos(normal) + (y[1] - y[0]) * np.sin(normal) == pytest.approx(0, abs=1e-12)


def test_a_union_of_primitives_has_both() -> None:
    figure = drawn(8)
    for x, y, halfspace, gaussian in ((2, 2, 1, 0), (-0.9, -1.5, 0, 1), (2, -2.5, 0, 0)):
        found = [shown(titled(figure, letter), x, y) > 0 for letter in "abc"]
        assert found == [halfspace, gaussian, halfspace or gaussian]


def test_gradients_are_the_slopes_of_the_loss() -> None:
    figure = drawn(9)
    x, loss = curve(titled(figure, "b"), "loss")
    assert np.exp(-loss) == pytest.approx(curve(titled(figure, "a"), "probability")[1])
    by_offset = curve(titled(figure, "c"), "beta")[1]
    # with α = 1, moving the offset is moving the point the other way
    assert -np.gradient(loss, x)[1:-1] == pytest.approx(by_offset[1:-1], abs=1e-4)
    assert curve(titled(figure, "c"), "alpha")[1] == pytest.approx(-x * by_offset)


def test_every_unit_of_every_layer_has_a_panel() -> None:
    with plain_style():
        figure = units_figure(example_network(), Plane.square(4), 5.5)
    assert [len([ax for ax in figure.axes[row : row + 4] if ax.images]) for row in (0, 4, 8)] == [2, 4, 2]
    assert [ax.get_title("left") for ax in figure.axes[::4]] == ["layer 1", "layer 2", "outputs"]
    assert shown(figure.axes[0], 1.0, 2.0) == pytest.approx(np.tanh(1.5 * (1 + 0.6 + 1)), abs=1e-3)


def test_a_wide_layer_says_how_many_of_its_units_are_shown() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 20), nn.ReLU(), nn.Linear(20, 1))
    with plain_style():
        figure = units_figure(network, Plane.square(1), 5.5, layers=[1])
    assert figure.axes[0].get_title("left") == f"layer 1, the first {MOST_UNITS} of 20"
    with pytest.raises(ValueError, match="layer 3 is not there: from 1 to 2"):
        units_figure(network, Plane.square(1), 5.5, layers=[3])


def test_the_soft_boundary_is_drawn_and_told() -> None:
    plane = Plane.square(2)

    def circle(x: torch.Tensor) -> torch.Tensor:
        return 8 * (1 - x.square().sum(1, keepdim=True))

    points, classes = torch.tensor([[0.0, 0.0], [1.5, 1.5]]), torch.tensor([1, 0])
    with plain_style():
        figure = soft_boundary_figure(circle, plane, 5.5, points=points, classes=classes)
        check_readable(figure)
    left, right = figure.axes
    x, y = curve(left, "boundary")
    assert np.hypot(x, y) == pytest.approx(1, abs=1e-3)
    share = np.pi * 2 * np.log(39) / 8 / 16
    assert left.get_title() == f"unsure: {share:.1%} of the plane\n1 line, length 6.28, mean width 0.46"
    assert right.lines[0].get_ydata()[-1] == pytest.approx(1)
    assert sorted(str(found.get_gid()) for found in left.collections if found.get_gid()) == ["class 0", "class 1"]
    with pytest.raises(ValueError, match="come together"):
        soft_boundary_figure(circle, plane, 5.5, points=points)


def test_no_boundary_is_told_too() -> None:
    with plain_style():
        figure = soft_boundary_figure(lambda x: 0 * x[:, :1] + 9, Plane.square(2), 5.5)
    assert figure.axes[0].get_title() == "unsure: 0.0% of the plane; no boundary"
