"""What the figures over seeds show, read back from their artists."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from stored_tables import cell, grid_rows, row, table

from jumpstart_exp.report.captions import pairs_told, wilson_told
from jumpstart_exp.report.figures.shares import differences_figure, moments_figure
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids


def only(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


def panels(figure: Figure) -> list[list[Axes]]:
    """The panels, row by row from above."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    columns = sum(ax.get_subplotspec().is_first_row() for ax in axes)
    return [axes[start : start + columns] for start in range(0, len(axes), columns)]


def values(ax: Axes) -> np.ndarray:
    """The panel's values, (depths, widths), NaN where it is empty."""
    return np.ma.filled(ax.collections[0].get_array(), np.nan).T


def heads(figure: Figure) -> list[str]:
    """The columns' titles."""
    return [next(text.get_text() for text in ax.texts if text.get_fontsize() == 9) for ax in panels(figure)[0]]


def caption(figure: Figure) -> str:
    return figure.subfigs[1].texts[0].get_text().replace("\n", " ")


def some() -> FigureGrid:
    """Two methods, two depths, two widths, three seeds; validation 0.05 below training, last 0.1 below best."""
    accuracy = {"relu": (0.96, 0.7, 0.96), "sep_up": (1.0, 1.0, 0.9)}
    rows = grid_rows(
        ["relu", "sep_up"], [1, 5], [2, 4], [0, 1, 2], lambda c: accuracy[c.method][c.seed] - c.depth / 100
    )
    for each in rows:
        if (each["method"], each["depth"], each["width"], each["seed"]) == ("sep_up", 5, 4, 0):
            each |= {"status": "diverged", "train_acc_last": None, "val_acc_last": None}
    return only([each for each in rows if (each["method"], each["depth"], each["width"]) != ("relu", 5, 4)])


def test_best_last_and_their_difference_stand_side_by_side() -> None:
    figure = moments_figure(some(), "train_acc")
    assert heads(figure) == ["best epoch", "last epoch", "best minus last"]
    relu, sep_up = panels(figure)
    mean = (0.96 + 0.7 + 0.96) / 3
    np.testing.assert_allclose(values(relu[0]), [[mean - 0.01] * 2, [mean - 0.05, np.nan]])
    np.testing.assert_allclose(values(relu[1]), values(relu[0]) - 0.1)
    np.testing.assert_allclose(values(relu[2]), [[0.1, 0.1], [0.1, np.nan]])
    np.testing.assert_allclose(values(sep_up[0])[1], [2.9 / 3 - 0.05, 0.95 - 0.05])
    assert [ax.get_ylabel() for ax in (relu[0], sep_up[0])] == ["ReLU\nwidth", "Sep-UP\nwidth"]
    assert [label.get_text() for label in sep_up[0].get_xticklabels()] == ["1", "5"]
    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()][1].startswith("some seeds diverged"), "seed 0 of Sep-UP 5×4"
    np.testing.assert_allclose(values(panels(moments_figure(some(), "val_acc"))[0][0]), values(relu[0]) - 0.05)


def test_accuracies_keep_the_heatmaps_colours_and_shares_have_their_own() -> None:
    accuracy, share = (panels(moments_figure(some(), measured)) for measured in ("train_acc", "trains"))
    assert [ax.collections[0].get_clim() for ax in accuracy[0]] == [(0.5, 1.0), (0.5, 1.0), (0.0, 0.5)]
    assert [ax.collections[0].get_clim() for ax in share[0]] == [(0.0, 1.0)] * 3
    maps = {ax.collections[0].get_cmap().name for ax in (accuracy[0][0], accuracy[0][2], share[0][0])}
    assert len(maps) == 3


def test_the_share_of_seeds_that_train_counts_lost_seeds() -> None:
    figure = moments_figure(some(), "trains")
    relu, sep_up = panels(figure)
    np.testing.assert_allclose(values(relu[0]), [[2 / 3, 2 / 3], [0, np.nan]])
    np.testing.assert_allclose(values(sep_up[0]), [[2 / 3, 2 / 3], [2 / 3, 1 / 3]], err_msg="seed 0 diverged")
    np.testing.assert_allclose(values(sep_up[1]), 0)
    assert len(sep_up[0].collections) == 1, "a lost seed is counted in the share, and not marked"
    shown = values(panels(moments_figure(some().at_threshold(0.8), "trains"))[1][1])
    np.testing.assert_allclose(shown, [[2 / 3, 2 / 3], [2 / 3, 1 / 3]], err_msg="the threshold is a setting")


def test_captions_say_threshold_interval_seeds_and_how_much_the_best_epoch_flatters() -> None:
    share = caption(moments_figure(some(), "trains"))
    assert "training accuracy is at least 0.95" in share and "3 seeds" in share
    assert "0 of 3: 0.00 to 0.56; 1 of 3: 0.06 to 0.79; 2 of 3: 0.21 to 0.94; 3 of 3: 0.44 to 1.00" in share
    accuracy = caption(moments_figure(some(), "train_acc"))
    assert "ReLU 0.100 (range 0.100 to 0.100)" in accuracy and "range of the seeds: 3 are too few" in accuracy
    assert "of 3 seeds it holds the true share in 0.95 of cases on average, 0.82 at the worst" in share
    assert "95 %" not in share + accuracy, "below six seeds nothing is called so"
    many = only(grid_rows(["relu", "sep_up"], [1, 5], [2], [*range(6)], lambda c: 0.9 + c.seed / 100 * c.depth / 5))
    assert "95 % interval by Student's t over whole seeds" in caption(moments_figure(many, "train_acc"))


def test_wilson_intervals_are_told_of_every_count_of_few_seeds_and_of_some_of_many() -> None:
    assert [part.split(":")[0] for part in wilson_told(5).split("; ")] == [f"{count} of 5" for count in range(6)]
    assert [part.split(":")[0] for part in wilson_told(20).split("; ")] == [f"{5 * count} of 20" for count in range(5)]


def test_differences_are_paired_and_named() -> None:
    figure = differences_figure(some(), "best")
    assert heads(figure) == ["share of seeds that train", "training accuracy", "validation accuracy"]
    ((trains, training, validation),) = panels(figure)
    assert trains.get_ylabel().replace("\n", " ") == "Sep-UP minus ReLU 3 pairs: no dot possible width"
    expected = [[0.28 / 3 + 0.0] * 2, [0.28 / 3, np.nan]]  # 0.04, 0.3, -0.06
    np.testing.assert_allclose(values(training), expected)
    np.testing.assert_allclose(values(validation), expected)
    np.testing.assert_allclose(values(trains), [[0, 0], [2 / 3, np.nan]], atol=1e-12)
    assert [len(ax.collections) for ax in (training, trains)] == [2, 2], "the missing place is marked, and nothing else"
    low, high = training.collections[0].get_clim()
    assert low == -high == -0.5
    assert training.get_title(loc="left").startswith("+0.093 (range ")
    told = caption(figure)
    assert "Benjamini and Hochberg" in told and "Bonferroni" in told and "is 0.25" in told and "6 seeds" in told
    assert not any(line.get_marker() == "o" for line in training.lines), "3 seeds cannot be significant"


def test_significant_places_have_a_dot_and_others_none() -> None:
    rows = grid_rows(
        ["relu", "sep_up"], [1, 5], [2, 4], [*range(8)],
        lambda c: 0.7 + c.seed / 100 + (0.1 + c.seed / 200) * (c.method == "sep_up" and c.depth == 5),
    )  # fmt: skip
    figure = differences_figure(only(rows), "last")
    trains, training, _ = panels(figure)[0]
    assert "no dot possible" not in trains.get_ylabel(), "2 ** -7 is 0.008"
    (dots,) = [line for line in training.lines if line.get_marker() == "o"]
    assert {(round(x), round(y)) for x, y in dots.get_xydata()} == {(1, 0), (1, 1)}
    (legend,) = figure.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["significant after correction (see below)"]


def test_fewer_than_six_pairs_can_give_no_dot() -> None:
    assert [bool(pairs_told(pairs)) for pairs in range(8)] == [False, True, True, True, True, True, False, False]
    assert pairs_told(1) == "1 pair: no dot possible"


def test_what_is_missing_and_what_is_lost_is_marked() -> None:
    rows = [row(cell(m, 1, 2, s), 0.9, "failed" if m == "relu" else "done") for m in ("relu", "sep_up") for s in (0, 1)]
    rows += [row(cell("relu", 5, 2, s), 0.9) for s in (0, 1)]
    figure = moments_figure(only(rows), "train_acc")
    texts = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert texts == ["missing", "diverged or failed"]
    relu, sep_up = panels(figure)
    assert [mark.get_hatch()[0] for mark in relu[0].collections[1:]] == ["x"]
    assert [mark.get_hatch()[0] for mark in sep_up[0].collections[1:]] == ["/"]
