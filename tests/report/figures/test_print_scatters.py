"""Scatters at a paper's column width, read back from their artists."""

from itertools import combinations

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from stored_tables import CIFAR10, cell, grid_rows, parameters, row, table

from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.figures.scatters import LOOKS, print_scatters
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids

METHODS = [("relu", "Baseline"), ("sep_up_l2_1e-1", "Jumpstart")]
DEPTHS, WIDTHS = [10, 20, 30], [2, 8, 16, 32, 64, 96, 192]


def by_place(of) -> float:
    return 0.3 + of.width / 1000 + of.depth / 1000 + 0.1 * (of.method != "relu") + 0.02 * of.seed


def grid_of(
    depths=DEPTHS, widths=WIDTHS, seeds=(0, 1), accuracy=by_place, methods=("relu", "sep_up_l2_1e-1")
) -> FigureGrid:
    (grid,) = figure_grids(table(grid_rows([*methods], depths, widths, [*seeds], accuracy, **CIFAR10)))
    return grid


def drawn(*grids: FigureGrid) -> Figure:
    columns = [(f"column {place}", grid) for place, grid in enumerate(grids)]
    with plain_style():
        return print_scatters(columns, METHODS, at_epoch="best", line="what it is", width_inches=4.8)


def lines(ax: Axes, name: str) -> list:
    return [line for line in ax.lines if str(line.get_gid()).startswith(name)]


def test_training_is_above_validation_and_a_point_is_a_network_s_mean_over_its_parameters() -> None:
    training, validation = drawn(grid_of([10, 20], [2, 16])).axes
    assert training.get_position().y0 > validation.get_position().y1
    assert training.get_xscale() == "log" and validation.get_xlabel() == "number of parameters\ncolumn 0"
    for ax, below in ((training, 0.0), (validation, 0.05)):
        for method, offset in (("relu", 0.0), ("sep_up_l2_1e-1", 0.1)):
            (points,) = lines(ax, f"points {method}")
            expected = {
                (parameters(cell(method, d, w, 0, **CIFAR10)), round(0.31 + w / 1000 + d / 1000 + offset - below, 9))
                for d in (10, 20)
                for w in (2, 16)
            }
            assert {(x, round(y, 9)) for x, y in zip(*points.get_data(), strict=True)} == expected
            assert (points.get_color(), points.get_marker()) == LOOKS[method]


def test_bars_run_from_the_worst_seed_to_the_best() -> None:
    training = drawn(grid_of([10], [2, 16])).axes[0]
    (bars,) = [each for each in training.collections if each.get_gid() == "bar relu"]
    assert sorted(tuple(segment[:, 1].round(9)) for segment in bars.get_segments()) == [(0.312, 0.332), (0.326, 0.346)]


def test_gridlines_are_solid_for_depth_30_dashed_for_20_and_dotted_for_10() -> None:
    training = drawn(grid_of()).axes[0]
    for depth, style in ((30, "-"), (20, "--"), (10, ":")):
        found = lines(training, f"depth {depth}")
        assert {line.get_linestyle() for line in found} == {style}
        expected = {parameters(cell("relu", depth, width, 0, **CIFAR10)) for width in WIDTHS}
        assert {line.get_xdata()[0] for line in found} == expected
    other = drawn(grid_of([10, 15])).axes[0]
    assert {line.get_linestyle() for line in lines(other, "depth 15")} == {"-"}


def test_pairs_are_named_above_their_lines_and_no_two_names_overlap() -> None:
    figure = drawn(grid_of(), grid_of(accuracy=lambda of: 0.2))
    figure.draw_without_rendering()
    for ax in figure.axes[:2]:
        named = {text.get_text(): text for text in ax.texts}
        assert 10 <= len(named) <= 21
        for name, text in named.items():
            depth, width = map(int, name.split("×"))
            assert text.get_position()[0] == parameters(cell("relu", depth, width, 0, **CIFAR10))
            assert text.get_window_extent().y0 >= ax.get_window_extent().y1
        boxes = [text.get_window_extent() for text in named.values()]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    few = drawn(grid_of([10, 20], [2, 64]))
    assert {text.get_text() for text in few.axes[0].texts} == {"10×2", "10×64", "20×2", "20×64"}


def test_columns_stand_beside_each_other_and_share_their_accuracies() -> None:
    figure = drawn(grid_of([10], [2, 8]), grid_of([10], [2, 8], accuracy=lambda of: 0.9))
    left, right, left_below, right_below = figure.axes
    assert left.get_position().x1 < right.get_position().x0
    assert left.get_ylim() == right.get_ylim() and left_below.get_ylim() == right_below.get_ylim()
    assert [ax.get_xlabel() for ax in (left_below, right_below)] == [
        f"number of parameters\ncolumn {n}" for n in (0, 1)
    ]


def test_a_method_s_colour_in_the_legend_is_that_of_its_points() -> None:
    figure = drawn(grid_of(accuracy=lambda of: 0.1))
    handles = {handle.get_label(): handle for handle in figure.legends[0].legend_handles}
    for label, title in METHODS:
        (points,) = lines(figure.axes[0], f"points {label}")
        assert handles[title].get_color() == points.get_color() and handles[title].get_marker() == points.get_marker()
    assert {"depth 10", "depth 20", "depth 30", "chance", "worst to best seed"} <= {*handles}
    assert "chance" not in {text.get_text() for text in drawn(grid_of()).legends[0].get_texts()}


def test_chance_is_a_line_where_it_is_in_sight() -> None:
    figure = drawn(grid_of(accuracy=lambda of: 0.1 if of.depth == 30 else 0.5))
    assert [line.get_ydata()[0] for line in lines(figure.axes[0], "chance")] == [pytest.approx(0.1)]
    assert not lines(drawn(grid_of()).axes[0], "chance")


def test_a_network_that_diverged_has_no_point() -> None:
    rows = grid_rows(["relu"], [10], [2, 8], [0], by_place, **CIFAR10)
    rows.append(row(cell("relu", 10, 16, 0, **CIFAR10), 0.9, "diverged"))
    (grid,) = figure_grids(table(rows))
    with plain_style():
        figure = print_scatters([("", grid)], METHODS[:1], at_epoch="last", line="", width_inches=4.8)
    (points,) = lines(figure.axes[0], "points relu")
    assert len(points.get_xdata()) == 2
    assert sorted(points.get_ydata()) == pytest.approx([0.3 + 0.002 + 0.01 - 0.1, 0.3 + 0.008 + 0.01 - 0.1])


def test_the_figure_is_as_wide_as_the_column_and_everything_in_it_can_be_read_and_stands_inside() -> None:
    figure = drawn(grid_of(), grid_of(accuracy=lambda of: 0.1))
    assert figure.get_figwidth() == 4.8
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 5.0
    for text in (text for text in texts if "$" not in text.get_text()):
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text
    assert {"1k", "10k", "100k", "1M"} <= {label.get_text() for label in figure.axes[-1].get_xticklabels()}
