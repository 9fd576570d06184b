"""Figures over swept settings, read back from their artists."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from readable import check_readable
from stored_tables import cell, grid_rows, row, table

from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.figures.sweeps import best_values_figure, crossed_values_figure, values_figure, values_told
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.report.table.sweeps import Sweep, sweeps


def the_sweep(rows: list[dict]) -> Sweep:
    cells = table(rows)
    (sweep,) = sweeps(figure_grids(cells), cells)
    return sweep


def over_rates(rates: list[float], depths: list[int], seeds: int, **settings: Any) -> list[dict]:
    """ReLU trains at 0.01 and depth 1, Sep-UP at 0.01 and 0.001; the last epoch is 0.1 below the best."""
    rows = []
    for rate in rates:
        rows += grid_rows(
            ["relu", "sep_up"], depths, [2, 4], [*range(seeds)],
            lambda c: 0.6 + 0.36 * (c.optimizer.lr == 0.01 and (c.depth == 1 or c.method == "sep_up"))
            + 0.35 * (c.optimizer.lr == 0.001 and c.method == "sep_up") + c.seed / 1000,
            optimizer__lr=rate, **settings,
        )  # fmt: skip
    return rows


def crossed() -> Sweep:
    rows = []
    for rate in (0.01, 0.001):
        rows += grid_rows(["relu"], [1, 5], [2, 4], [0, 1], lambda c: 0.9 + c.optimizer.lr, optimizer__lr=rate)
        for weight in (1e-5, 1e-4, 1e-3):
            rows += grid_rows(
                ["sep_up"], [1, 5], [2, 4], [0, 1],
                lambda c: 1.0 if c.penalty.weight == 1e-4 and (c.optimizer.lr == 0.01) == (c.depth == 1) else 0.7,
                optimizer__lr=rate, penalty__weight=weight,
            )  # fmt: skip
    return the_sweep(rows)


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def line(ax: Axes, gid: str) -> np.ndarray:
    (found,) = [line for line in ax.lines if line.get_gid() == gid]
    return np.asarray(found.get_xydata())


def values(ax: Axes) -> np.ndarray:
    return np.ma.filled(ax.collections[0].get_array(), np.nan).T


def marks(ax: Axes) -> dict[str, int]:
    return {str(mark.get_label()): len(mark.get_paths()) for mark in ax.collections[1:]}


def test_one_setting_is_an_axis_with_a_line_a_method_its_seeds_and_its_best_value() -> None:
    figure = values_figure(the_sweep(over_rates([0.1, 0.01, 0.001], [1, 5], 3)))
    share, accuracy, share_at_last, _ = panels(figure)
    assert share.get_xscale() == "log" and accuracy.get_xlabel() == "optimizer.lr"
    np.testing.assert_allclose(line(share, "line relu"), [(0.001, 0), (0.01, 0.5), (0.1, 0)])
    np.testing.assert_allclose(line(share, "line sep_up"), [(0.001, 1), (0.01, 1), (0.1, 0)])
    np.testing.assert_allclose(line(share, "best relu"), [(0.01, 0.5)])
    np.testing.assert_allclose(line(share, "best sep_up"), [(0.01, 1)], err_msg="the higher accuracy")
    assert line(share, "seeds relu").shape == (9, 2)
    assert len(line(share_at_last, "best relu")) == 0, "no network trains"
    np.testing.assert_allclose(line(accuracy, "line sep_up")[:, 1], [0.901, 0.911, 0.551])


def test_a_single_pair_has_wilsons_intervals() -> None:
    sweep = the_sweep([of for of in over_rates([0.1, 0.01], [1], 4) if of["width"] == 2])
    share = panels(values_figure(sweep))[0]
    (bars,) = [bars for bars in share.collections if bars.get_gid() == "interval relu"]
    np.testing.assert_allclose([path.vertices[:, 1] for path in bars.get_paths()], [[0.51, 1], [0, 0.49]], atol=0.005)


def test_a_method_without_the_setting_is_level_and_one_with_a_single_value_is_a_mark() -> None:
    rows = grid_rows(["relu"], [1], [2], [0, 1], lambda _: 0.96)
    for weight in (0.1, 0.2):
        rows += grid_rows(["sep_up"], [1], [2], [0, 1], lambda _: 0.97, penalty__weight=weight)
    rows += grid_rows(["sep_p"], [1], [2], [0, 1], lambda _: 0.5, penalty__weight=0.2)
    sweep = the_sweep(rows)
    share = panels(values_figure(sweep))[0]
    assert share.get_xscale() == "linear"
    np.testing.assert_allclose(line(share, "level relu")[:, 1], 1)
    np.testing.assert_allclose(line(share, "line sep_p"), [(0.2, 0)])
    assert values_told(sweep, "best")[0] == "ReLU: 2 of 2 train (no effect)"
    assert values_told(sweep, "best")[1] == "Sep-P: 0 of 2 train (0.2)"


@pytest.mark.parametrize(
    ("setting", "given", "told"),
    [
        ("penalty__weight", [0.0, 1e-5, 1e-1], ["0", "1e-5", "0.1"]),
        ("penalty__aggregate", ["sum", "l2"], ["l2", "sum"]),
        ("optimizer__batch_size", [None, 8, 16], ["full batch", "8", "16"]),
    ],
)
def test_values_without_a_scale_of_their_own_stand_at_equal_distances(setting, given, told) -> None:
    rows = [of for v in given for of in grid_rows(["sep_up"], [1], [2], [0], lambda _: 0.97, **{setting: v})]
    accuracy = panels(values_figure(the_sweep(rows)))[1]
    assert [label.get_text() for label in accuracy.get_xticklabels()] == told
    np.testing.assert_allclose(line(accuracy, "line sep_up")[:, 0], range(len(given)))


def test_what_differs_is_told_below_each_panel() -> None:
    sweep = the_sweep(over_rates([0.1, 0.01, 0.001], [1, 5], 8))
    relu, sep_up = values_told(sweep, "best")
    assert relu.startswith(
        "ReLU: best 0.01 (16 of 32 train); the values differ (p 0.0005); 0 of 2 others not told apart"
    )
    assert sep_up.startswith("Sep-UP: best 0.01 (32 of 32 train)")
    assert values_told(sweep, "last")[0].startswith("ReLU: no network trains at any value")


def test_two_settings_are_crossed_and_relu_is_the_same_along_what_has_no_effect_on_it() -> None:
    figure = crossed_values_figure(crossed())
    share, _, accuracy, _ = panels(figure)[:4]
    assert (share.get_xlabel(), share.get_ylabel()) == ("", "ReLU\noptimizer.lr")
    np.testing.assert_allclose(values(accuracy), [[0.851, 0.86]] * 3)
    np.testing.assert_allclose(values(panels(figure)[4]), [[0, 0], [0.5, 0.5], [0, 0]])
    assert [label.get_text() for label in panels(figure)[4].get_xticklabels()] == ["1e-5", "0.0001", "0.001"]
    assert [label.get_text() for label in share.get_yticklabels()] == ["0.001", "0.01"]


def test_every_pairs_best_value_stands_at_its_depth_and_width() -> None:
    figure = best_values_figure(crossed())
    relu_weight, _, relu_rate, _, weight, _, rate, last = panels(figure)
    assert marks(relu_weight) == {"no effect on this method": 4} and marks(relu_rate) == {"no network trains": 4}
    np.testing.assert_allclose(values(weight), 1, err_msg="1e-4 is the second of three weights")
    np.testing.assert_allclose(values(rate), [[1, 1], [0, 0]])
    assert {text.get_text() for text in rate.texts} >= {"0.01", "0.001"}
    assert marks(last) == {"no network trains": 4}


def test_a_pair_without_a_best_value_says_why() -> None:
    rows = [row(cell("relu", depth, 2, 0, optimizer__lr=rate), {1: 1.0, 2: 0.5, 3: 0.95 + rate}[depth])
            for depth in (1, 2, 3) for rate in (0.01, 0.02)]  # fmt: skip
    best, _ = panels(best_values_figure(the_sweep(rows)))
    assert marks(best) == {"several values equally good": 1, "no network trains": 1}
    np.testing.assert_allclose(values(best)[:, 0], [np.nan, np.nan, 1])


@pytest.mark.parametrize("draw", [crossed_values_figure, best_values_figure])
def test_crossed_figures_can_be_read(draw) -> None:
    with plain_style():
        check_readable(draw(crossed()))


@pytest.mark.parametrize("rates", [[0.1, 0.01, 0.001], [*np.geomspace(1e-4, 1, 30).tolist()]])
def test_figures_over_a_setting_can_be_read(rates) -> None:
    sweep = the_sweep(over_rates(rates, [1, 5], 2))
    with plain_style():
        check_readable(values_figure(sweep))
        check_readable(best_values_figure(sweep))
