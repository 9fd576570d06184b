"""No text of a figure is cut or overlaps another one, whatever the methods, depths and widths."""

from collections.abc import Iterator

import pytest
from readable import check_readable
from stored_tables import CIFAR10, METHODS, MNIST, VARIANTS, grid_rows, table

from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.figures.frontier import frontier_figure
from jumpstart_exp.report.figures.heatmaps import heatmap_figure
from jumpstart_exp.report.figures.shares import differences_figure, moments_figure
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids

DEPTHS, WIDTHS = [1, 2, 3, 4, 5, *range(10, 51, 5), *range(60, 151, 10)], [1, 2, 3, 4, 5, 10, 15, 20, 25]
LONG = "a_label_that_nobody_would_ever_want_to_type"


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with plain_style():
        yield


def grid_of(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


@pytest.mark.parametrize(
    ("methods", "depths", "widths", "settings"),
    [
        (["relu"], [1, 2], [2, 4], {}),
        ([LONG], [1], [1000], {"optimizer__lr": 0.00123}),
        (["relu", "relu_bn", "sep_up"], [1, 5, 10, 20, 50], [1, 2, 3, 4, 10], {}),
        (["relu", "sep_up"], list(range(1, 13)), list(range(1, 13)), {}),
        (list(METHODS), DEPTHS, WIDTHS, {}),
        (["relu", *VARIANTS], [10, 20, 30], [2, 8, 16, 32, 64, 96, 192], CIFAR10),
        (["relu", "sep_up"], [2, *range(4, 69, 4)], [2, 4, 8], MNIST),
        (["relu", "relu_bn", "sep_up"], [2, 10, 25, 30, 40], [10], CIFAR10),
        (["relu", LONG, "Some words that are many"], [2, 10], [1000], {}),
        ([*METHODS, *VARIANTS], DEPTHS, [4], {}),
        (["relu", "sep_up"], list(range(1, 60)), [4], {}),
    ],
)
def test_heatmaps(methods, depths, widths, settings) -> None:
    rows = grid_rows(methods, depths, widths, [0], lambda c: 0.9, **settings)
    check_readable(heatmap_figure(grid_of(rows[1:] if len(rows) > 1 else rows), "best"))


@pytest.mark.parametrize(
    ("methods", "depths", "widths", "settings"),
    [
        (["relu", "sep_up"], [1], [4], {}),
        (["relu", LONG, "Some words that are many"], [2, 10], [1000], {}),
        (["relu", *VARIANTS][:3], [10, 20, 30], [2, 8, 16, 32, 64, 96, 192], CIFAR10),
        (list(METHODS)[:3], [1, *range(10, 151, 10)], WIDTHS, {}),
    ],
)
def test_moments_and_differences(methods, depths, widths, settings) -> None:
    grid = grid_of(grid_rows(methods, depths, widths, [0, 1], lambda c: 0.9 + c.seed / 100, **settings)[1:])
    check_readable(moments_figure(grid, "trains"))
    check_readable(differences_figure(grid, "best"))


@pytest.mark.parametrize(
    ("methods", "widths"),
    [
        (["relu"], [2]),
        (["relu", LONG, "Some words that are many and more than that"], [1000]),
        ([*METHODS], WIDTHS),
        (["relu", "sep_up"], [*range(1, 40)]),
    ],
)
def test_frontiers(methods: list[str], widths: list[int]) -> None:
    rows = grid_rows(methods, [1, 5, 150], widths, [0, 1], lambda c: 1.0 if c.depth in (5, 150) else 0.6)
    check_readable(frontier_figure(grid_of(rows)))
