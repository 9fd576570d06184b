"""What the frontier's figure, and the frontier over the heatmaps, show, read back from their artists."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from readable import check_readable
from stored_tables import CIFAR10, cell, grid_rows, row, table

from jumpstart_exp.report.figures.frontier import frontier_figure, shown_starts
from jumpstart_exp.report.figures.heatmaps import heatmap_figure
from jumpstart_exp.report.figures.panel_grid import FRONTIER, LATE_FRONTIER
from jumpstart_exp.report.statistics.intervals import resamples
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids

DEPTHS = [1, 5, 10, 20]


def only(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


def reaching(reach: dict[tuple[str, int], list[tuple[int, int]]]) -> FigureGrid:
    """Networks of a (method, width) that train at depths from the one to the other, seed by seed, best and last."""
    rows = []
    for (method, width), of_seeds in reach.items():
        for seed, (least, most) in enumerate(of_seeds):
            for depth in DEPTHS:
                accuracy = 1.0 if least <= depth <= most else 0.6
                rows.append(row(cell(method, depth, width, seed), accuracy) | {"train_acc_last": accuracy})
    return only(rows)


GRID = {
    ("relu", 2): [(1, 1), (1, 1), (1, 5)],
    ("relu", 4): [(5, 5), (5, 5), (1, 5)],
    ("sep_up", 2): [(1, 10), (1, 10), (1, 5)],
    ("sep_up", 4): [(1, 20), (1, 20), (1, 20)],
}


def curves(ax: Axes, name: str) -> list[list[tuple[float, float]]]:
    """The points of the lines of that name, their widths' places rounded."""
    lines = [line for line in ax.lines if line.get_gid() == name]
    return [[(round(float(x)), float(y)) for x, y in line.get_xydata()] for line in lines]


def test_width_runs_across_and_depth_upwards_with_none_below() -> None:
    best, last, late, _ = frontier_figure(reaching(GRID)).axes
    assert [ax.get_title() for ax in (best, last, late)] == [
        "best epoch, from the grid's shallowest depth",
        "last epoch, from the grid's shallowest depth",
        "best epoch, from the first depth that trains",
    ]
    assert [label.get_text() for label in best.get_xticklabels()] == ["2", "4"]
    ((relu, nothing),) = curves(best, "relu")
    assert relu == (0, 1) and np.isnan(nothing[1])
    assert curves(best, "sep_up") == [[(0, 10), (1, 20)]]
    assert curves(late, "relu") == [[(0, 1), (1, 5)]]
    none = next(
        tick
        for tick, label in zip(best.get_yticks(), best.get_yticklabels(), strict=True)
        if label.get_text() == "none"
    )
    assert none < 0 and curves(best, "none relu") == [[(1, none)]] and curves(best, "none sep_up") == [[]]


MANY = {place: of_seeds * 5 for place, of_seeds in GRID.items()}


def test_below_ten_seeds_every_seed_has_a_mark_and_there_is_no_bar() -> None:
    figure = frontier_figure(reaching(GRID))
    best = figure.axes[0]
    none = best.get_yticks()[0]
    assert curves(best, "interval relu") == curves(best, "interval sep_up") == []
    assert curves(best, "seeds relu") == [[(0, 1), (0, 1), (0, 5)], [(1, none), (1, none), (1, 5)]]
    assert curves(best, "seeds sep_up") == [[(0, 10), (0, 10), (0, 5)], [(1, 20)] * 3]
    texts = [text.get_text() for text in (*figure.texts, *figure.legends[0].get_texts())]
    assert "95 %" not in " ".join(texts) and "3 seeds are too few for intervals" in " ".join(" ".join(texts).split())


def test_bars_are_intervals_and_arrows_say_at_least() -> None:
    best = frontier_figure(reaching(MANY)).axes[0]
    none = best.get_yticks()[0]
    assert curves(best, "interval relu") == [[(0, 1), (0, 5)], [(1, none), (1, 5)]], "from none at all to 5"
    (bar,) = curves(best, "interval sep_up")
    assert bar == [(0, 5), (0, 10)], "no bar where all resamples agree"
    assert curves(best, "seeds relu") == []
    arrows = [text for text in best.texts if str(text.get_gid()).startswith("open")]
    assert [(arrow.get_gid(), round(arrow.xy[0])) for arrow in arrows] == [("open sep_up", 1)]
    assert arrows[0].xy[1] > 20


def test_lines_have_the_methods_colours_of_the_legend() -> None:
    figure = frontier_figure(reaching(MANY))
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["ReLU", "Sep-UP", "95 % interval", "at least: no deeper\nnetwork was trained"]
    for name, handle in zip(("relu", "sep_up"), legend.legend_handles, strict=False):
        drawn = next(line for line in figure.axes[0].lines if line.get_gid() == name)
        assert (drawn.get_color(), drawn.get_marker()) == (handle.get_color(), handle.get_marker())


def test_ratios_stand_below_with_interval_and_the_widths_left_out() -> None:
    texts = {text.get_gid(): text.get_text().replace("\n  ", "") for text in frontier_figure(reaching(MANY)).texts}
    # the last kind of seed drawn in half of a resample or more: ReLU reaches 5 and 5, Sep-UP 5 and 20, so √(1 · 4)
    told = " ".join(texts["ratios grid best"].split())
    assert told.startswith("Sep-UP against ReLU: × 10.00 (2.00 to 10.00), widths 2; without 4; interval of ")
    assert told.endswith("distinct ratios in 2000 resamples"), "width 2 has both frontiers whatever the resample"
    few = {text.get_gid(): text.get_text().replace("\n  ", "") for text in frontier_figure(reaching(GRID)).texts}
    assert few["ratios grid best"] == "Sep-UP against ReLU: × 10.00 (seeds 2.00, 10.00, 10.00), widths 2; without 4"
    never = {**MANY, ("relu", 2): [(1, 1), (1, 1), (5, 5)] * 5, ("relu", 4): [(5, 5)] * 15}
    (text, *_) = [
        text.get_text() for text in frontier_figure(reaching(never)).texts if str(text.get_gid()).endswith("best")
    ]
    without = sum((drawn % 3 == 2).sum() > 7 for drawn in resamples(15))
    assert f"distinct ratio in 2000 resamples, without {without} that have no width" in " ".join(text.split())
    late = texts["ratios first best"]
    assert "× 6.32 (" in late and "widths 2, 4" in late and "at least, at 4" in late  # √(10 · 4)


def test_a_width_whose_deciding_depths_are_missing_is_marked_apart_from_one_that_fails() -> None:
    rows = grid_rows(["relu"], DEPTHS, [2, 4], [0, 1], lambda c: 1.0 if c.width == 4 else 0.6)
    figure = frontier_figure(only([each for each in rows if (each["depth"], each["width"]) != (1, 4)]))
    best = figure.axes[0]
    (missing, none), *_ = [sorted(best.get_yticks()[:2])]
    assert curves(best, "none relu") == [[(0, none)]] and curves(best, "missing relu") == [[(1, missing)]]
    labels = {label.get_text() for label in best.get_yticklabels()}
    assert {"none", "missing"} <= labels
    assert figure.legends[0].get_texts()[-1].get_text().startswith("missing: ")
    late = figure.axes[2]
    assert curves(late, "missing relu") == [[]] and curves(late, "relu")[0][1] == (1, 20)
    check_readable(figure)
    axes = [ax.get_window_extent() for ax in figure.axes]
    assert not [one for ax in figure.axes for one in axes if one.overlaps(ax.yaxis.label.get_window_extent())]


def test_both_starts_are_drawn_only_where_they_differ() -> None:
    grid = reaching({place: of for place, of in GRID.items() if place != ("relu", 4)})
    assert shown_starts(grid) == ("grid",) and len(frontier_figure(grid).axes) == 2
    assert shown_starts(reaching(GRID)) == ("grid", "first") and len(frontier_figure(reaching(GRID)).axes) == 4


def test_one_seed_says_that_it_has_no_interval() -> None:
    figure = frontier_figure(reaching({place: of[:1] for place, of in GRID.items()}))
    texts = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "One seed: no intervals." in texts and "(one seed: no interval)" in texts
    assert not any(str(line.get_gid()).startswith("interval") for ax in figure.axes for line in ax.lines)
    assert "95 % interval" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_threshold_is_said_and_used() -> None:
    figure = frontier_figure(reaching(GRID).at_threshold(0.55))
    assert curves(figure.axes[0], "relu") == [[(0, 20), (1, 20)]]
    assert "at least 0.55" in figure.texts[-1].get_text().replace("\n", " ")


def frontier_lines(ax: Axes) -> dict[str, list[tuple[float, float]]]:
    return {str(line.get_label()): [(float(x), float(y)) for x, y in line.get_xydata()] for line in ax.lines}


def test_over_the_heatmap_a_step_line_stands_behind_the_last_depth_that_trains() -> None:
    figure = heatmap_figure(reaching(GRID), "best")
    relu, sep_up = figure.axes[:2]
    solid, dashed = frontier_lines(relu)[FRONTIER], frontier_lines(relu)[LATE_FRONTIER]
    assert solid[:2] == [(0.5, -0.5), (0.5, 0.5)] and np.isnan(solid[2]).all(), "width 2 up to depth 1"
    assert np.isnan(dashed[0]).all() and dashed[1:] == [(1.5, 0.5), (1.5, 1.5)], "width 4 at depth 5, not at 1"
    (line,) = frontier_lines(sep_up).values()
    assert line[:2] == [(2.5, -0.5), (2.5, 0.5)] and 3.3 < line[2][0] < 3.5, "at the grid's end it stays visible"
    above, below = (repr([frontier_lines(ax) for ax in axes]) for axes in (figure.axes[:2], figure.axes[2:4]))
    assert above == below, "of training and of validation alike"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [FRONTIER, LATE_FRONTIER]


def test_over_the_heatmap_the_threshold_is_a_setting_and_one_depth_has_no_frontier() -> None:
    ax = heatmap_figure(reaching(GRID).at_threshold(0.55), "best").axes[0]
    assert {x for x, _ in frontier_lines(ax)[FRONTIER]} == {3.42}
    single = only(grid_rows(["relu"], [5], [2, 4], [0], lambda c: 1.0))
    assert not heatmap_figure(single, "best").axes[0].lines


def test_rows_of_methods_have_their_own_frontiers() -> None:
    rows = grid_rows(
        ["relu", "sep_up"],
        [2, 10, 25],
        [10],
        [0],
        lambda c: 0.5 if c.method == "sep_up" or c.depth < 10 else 0.1,
        **CIFAR10,
    )
    ax = heatmap_figure(only(rows), "best").axes[0]
    line = frontier_lines(ax)[FRONTIER]
    assert line[0][1] == -0.5 and line[0][0] == pytest.approx(2.42), "Sep-UP below, to the end"
    assert line[2:] == [(0.5, 0.5), (0.5, 1.5)], "ReLU above, to depth 2"
