"""Heatmaps at a paper's column width, read back from their artists."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from stored_tables import cell, grid_rows, row, table

from jumpstart_exp.report.figures.colour_maps import rocket
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.figures.heatmaps import SMALLEST, method_panel, print_heatmaps, rows_panel
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids

LINE = (
    "CPAIOR, figure 2, ours: mean of the best epoch, 1 to 10 seeds · variant=code (2×1 layout) · 422 of 432 networks "
    "missing · 22 diverged · MMMMMMMM WWWWWWWWWWW"
)
DEPTHS, WIDTHS = [1, 10, 100], [2, 4]


def by_place(of) -> float:
    return 0.6 + of.depth / 1000 + of.width / 100 + 0.02 * of.seed + 0.05 * (of.method == "sep_up")


def grid_of(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


def drawn(grid: FigureGrid, depths=DEPTHS, widths=WIDTHS, columns: int = 2, line: str = "what it is") -> Figure:
    panels = [method_panel(grid, name, "train_acc_best", name, depths, widths) for name in ("relu", "sep_up")]
    rows = [*map(str, widths)]
    with plain_style():
        return print_heatmaps(panels, depths, rows, ("depth", "width"), columns=columns, line=line, width_inches=4.8)


def panels_of(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>" and ax.get_visible()]


def shown(ax: Axes) -> np.ndarray:
    """The panel's accuracies, (widths upwards, depths); NaN for none."""
    return np.ma.filled(ax.collections[0].get_array(), np.nan)


def hatched(ax: Axes, hatch: str) -> set[tuple[int, int]]:
    found = [each for each in ax.collections if each.get_hatch() and hatch in each.get_hatch()]
    return {tuple(map(int, path.vertices[:4].mean(axis=0).round())) for each in found for path in each.get_paths()}


def test_each_panel_has_its_method_s_mean_over_seeds_at_depth_across_and_width_upwards() -> None:
    relu, sep_up = panels_of(drawn(grid_of(grid_rows(["relu", "sep_up"], DEPTHS, WIDTHS, [0, 1], by_place))))
    for ax, offset in ((relu, 0.0), (sep_up, 0.05)):
        expected = [[0.6 + d / 1000 + w / 100 + 0.01 + offset for d in DEPTHS] for w in WIDTHS]
        np.testing.assert_allclose(shown(ax), expected)
        assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "10", "100"]
    assert [label.get_text() for label in relu.get_yticklabels()] == ["2", "4"]
    assert relu.get_ylim() == (-0.5, 1.5) and relu.get_xlim() == (-0.5, 2.5)


def test_what_the_study_has_and_the_store_lacks_is_hatched_at_its_place_and_nothing_moves() -> None:
    rows = grid_rows(["relu", "sep_up"], [10, 100], [4], [0], by_place)
    rows.append(row(cell("relu", 1, 2, 0), None, "failed"))
    relu, sep_up = panels_of(drawn(grid_of(rows)))
    assert shown(relu)[1, 1] == pytest.approx(0.65) and np.isnan(shown(relu)).sum() == 4
    assert hatched(relu, "/") == {(1, 0), (2, 0), (0, 1)} and hatched(relu, "x") == {(0, 0)}
    assert hatched(sep_up, "/") == {(0, 0), (1, 0), (2, 0), (0, 1)}


def test_what_the_store_has_beyond_the_study_is_left_out() -> None:
    rows = grid_rows(["relu", "sep_up"], [1, 5, 10, 100], [2, 3, 4], [0], by_place)
    relu, _ = panels_of(drawn(grid_of(rows)))
    np.testing.assert_allclose(shown(relu), [[0.6 + d / 1000 + w / 100 for d in DEPTHS] for w in WIDTHS])


def test_a_method_without_a_row_is_an_empty_panel() -> None:
    relu, sep_up = panels_of(drawn(grid_of(grid_rows(["relu"], DEPTHS, WIDTHS, [0], by_place))))
    assert not np.isnan(shown(relu)).any()
    assert np.isnan(shown(sep_up)).all() and len(hatched(sep_up, "/")) == 6


def test_chance_is_the_black_end_and_one_the_cream_end() -> None:
    figure = drawn(grid_of(grid_rows(["relu", "sep_up"], DEPTHS, WIDTHS, [0], by_place)))
    mesh = panels_of(figure)[0].collections[0]
    assert mesh.get_clim() == (0.5, 1.0) and mesh.get_cmap() is rocket
    assert max(rocket(0.0)[:3]) < 0.11 and min(rocket(1.0)[:3]) > 0.85


def test_sub_captions_are_lettered_in_rows_from_the_left() -> None:
    figure = drawn(grid_of(grid_rows(["relu", "sep_up"], DEPTHS, WIDTHS, [0], by_place)))
    left, right = panels_of(figure)
    assert [ax.get_xlabel().split("\n")[1] for ax in (left, right)] == ["(a) relu", "(b) sep_up"]
    assert left.get_position().x1 < right.get_position().x0
    assert figure.get_suptitle() == "what it is"
    above, below = panels_of(drawn(grid_of(grid_rows(["relu"], DEPTHS, WIDTHS, [0], by_place)), columns=1))
    assert above.get_position().y0 > below.get_position().y1


def test_rows_are_methods_the_first_at_the_top_with_their_numbers() -> None:
    grid = grid_of(grid_rows(["relu", "sep_up"], [2, 10], [10], [0], by_place))
    panel = rows_panel(grid, ["relu", "sep_up"], "val_acc_best", "Validation", [2, 10], 10)
    rows, labels = ["Sep-UP", "ReLU"], ("depth (width 10)", "")
    with plain_style():
        (ax,) = panels_of(print_heatmaps([panel], [2, 10], rows, labels, columns=1, line="", width_inches=5.5))
    expected = {(d, m): 0.65 + depth / 1000 + 0.05 * m for d, depth in enumerate((2, 10)) for m in (0, 1)}
    numbers = {(int(text.get_position()[0]), 1 - int(text.get_position()[1])): text.get_text() for text in ax.texts}
    assert numbers == {place: f"{value:.2f}" for place, value in expected.items()}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Sep-UP", "ReLU"] and ax.get_ylabel() == ""


def test_the_figure_is_as_wide_as_the_column_and_everything_in_it_can_be_read_and_stands_inside() -> None:
    depths, widths = [1, 2, 3, 4, 5, *range(10, 55, 5), *range(60, 160, 10)], [1, 2, 3, 4, 5, 10, 15, 20, 25]
    figure = drawn(grid_of(grid_rows(["relu"], depths, widths, [0], lambda of: 0.7)), depths, widths, line=LINE)
    assert figure.get_figwidth() == 4.8
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= SMALLEST == 5.0
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    for ax in panels_of(figure):
        boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
        assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
