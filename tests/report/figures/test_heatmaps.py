"""What a drawn figure shows, read back from its artists."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from seaborn.cm import rocket
from stored_tables import CIFAR10, METHODS, MNIST, cell, draw_heatmaps, grid_rows, row, table

from jumpstart_exp.report.__main__ import main
from jumpstart_exp.report.figures.heatmaps import heatmap_figure
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.result import Metric, Result
from jumpstart_exp.store import Store, StoreError

DEPTHS = [1, 2, 3, 4, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150]
WIDTHS = [1, 2, 3, 4, 5, 10, 15, 20, 25]


def drawn(rows: list[dict], at_epoch: str = "best") -> Figure:
    (grid,) = figure_grids(table(rows))
    return heatmap_figure(grid, at_epoch)


def panels(figure: Figure) -> list[Axes]:
    """Training panels from left to right, then the validation panels."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def values(ax: Axes) -> np.ma.MaskedArray:
    """The panel's accuracies, (widths upwards, depths)."""
    return ax.collections[0].get_array()


def marked(ax: Axes, hatch: str) -> set[tuple[int, int]]:
    """Places (depth index, width index) under a hatch."""
    found = [collection for collection in ax.collections if collection.get_hatch() and hatch in collection.get_hatch()]
    return {
        tuple(int(c) for c in path.vertices[:4].mean(axis=0).round()) for item in found for path in item.get_paths()
    }


def by_place(c) -> float:
    return 0.5 + c.depth / 100 + c.width / 1000


def test_depth_runs_to_the_right_and_width_upwards() -> None:
    figure = drawn(grid_rows(["relu"], [1, 5, 30], [2, 4], [0], by_place))
    training, validation = panels(figure)
    expected = np.array([[0.5 + d / 100 + w / 1000 for d in (1, 5, 30)] for w in (2, 4)])
    np.testing.assert_allclose(values(training), expected)
    np.testing.assert_allclose(values(validation), expected - 0.05)
    for ax in (training, validation):
        assert ax.get_xlim() == (-0.5, 2.5) and ax.get_ylim() == (-0.5, 1.5)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["2", "4"]
    assert [label.get_text() for label in validation.get_xticklabels()] == ["1", "5", "30"]
    assert training.get_position().y0 > validation.get_position().y0


def test_cells_are_of_one_size_with_their_ticks_in_the_middle() -> None:
    figure = drawn(grid_rows(["relu"], [1, 5, 100], [2, 40], [0], by_place))
    for ax in panels(figure):
        corners = ax.collections[0].get_coordinates()
        assert np.ptp(np.diff(corners[..., 0], axis=1)) == 0 and np.ptp(np.diff(corners[..., 1], axis=0)) == 0
        assert list(ax.get_xticks()) == [0, 1, 2] and list(ax.get_yticks()) == [0, 1]


def test_colours_run_from_chance_to_one_in_rocket() -> None:
    figure = drawn(grid_rows(["relu", "sep_up"], [1, 5], [2], [0], by_place))
    for ax in panels(figure):
        assert ax.collections[0].get_clim() == (0.5, 1.0)
        assert ax.collections[0].get_cmap().colors == rocket.colors
    (bar,) = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bar.get_ylabel() == "accuracy"


@pytest.mark.parametrize(("name", "chance"), [("mnist", 0.1), ("cifar10", 0.1), ("cifar100", 0.01)])
@pytest.mark.parametrize("widths", [[2, 4, 8], [8]])
def test_colours_begin_at_the_datasets_chance(name, chance, widths) -> None:
    settings = {**MNIST, "dataset": {"name": name}}
    figure = drawn(grid_rows(["relu", "sep_up"], [2, *range(4, 69, 4)], widths, [0], lambda c: 0.9, **settings))
    for ax in panels(figure):
        assert ax.collections[0].get_clim() == (chance, 1.0)
    (bar,) = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
    assert bar.get_ylim() == (chance, 1.0)


PUBLISHED = {  # CIFAR-10, width 10 (ICLR, figure 3)
    "relu": ([0.72, 0.82, 0.10, 0.10, 0.10], [0.60, 0.60, 0.10, 0.10, 0.10]),
    "relu_bn": ([0.91, 0.82, 0.70, 0.67, 0.60], [0.57, 0.54, 0.54, 0.53, 0.45]),
    "sep_up": ([0.69, 0.79, 0.74, 0.70, 0.68], [0.59, 0.57, 0.54, 0.53, 0.53]),
}


def test_networks_of_one_width_are_one_panel_with_a_row_a_method_and_its_numbers() -> None:
    rows = []
    for method, (training, validation) in PUBLISHED.items():
        for depth, one, other in zip((2, 10, 25, 30, 40), training, validation, strict=True):
            rows.append(row(cell(method, depth, 10, 0, **CIFAR10), one) | {"val_acc_best": other})
    figure = drawn(rows)
    found = panels(figure)
    assert [ax.get_ylabel() for ax in found] == ["training", "validation"]
    assert found[0].get_position().y0 > found[1].get_position().y0
    assert found[1].get_xlabel() == "depth (width 10)"
    for metric, ax in enumerate(found):
        named = {
            round(tick): label.get_text() for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
        }
        numbers: dict[str, list[str]] = {}
        for text in sorted(ax.texts, key=lambda text: text.get_position()):
            numbers.setdefault(named[text.get_position()[1]], []).append(text.get_text())
        titles = {"ReLU": "relu", "ReLU + BN": "relu_bn", "Sep-UP": "sep_up"}
        assert numbers == {title: [f"{v:.2f}" for v in PUBLISHED[m][metric]] for title, m in titles.items()}
        assert [named[place] for place in (2, 1, 0)] == [*titles], "the first method at the top"
        np.testing.assert_allclose(values(ax), [PUBLISHED[m][metric] for m in reversed(titles.values())])
    assert [label.get_text() for label in found[1].get_xticklabels()] == ["2", "10", "25", "30", "40"]


def test_what_is_missing_is_marked_in_the_row_of_its_method() -> None:
    rows = grid_rows(["relu", "sep_up"], [1, 5, 9], [2], [0, 1], by_place)[1:]
    rows = [each for each in rows if (each["method"], each["depth"]) != ("sep_up", 5)]
    for each in rows:
        if (each["method"], each["depth"]) == ("relu", 9):
            each |= {"status": "diverged", "train_acc_last": None, "val_acc_last": None}
    for ax in panels(drawn(rows)):
        assert marked(ax, "/") == {(1, 0)} and marked(ax, "x") == {(2, 1)}


def test_one_depth_and_one_width_keep_a_panel_a_method() -> None:
    assert len(panels(drawn(grid_rows(["relu", "sep_up"], [5], [2], [0], by_place)))) == 4


def test_columns_are_methods_under_the_papers_names_and_rows_are_named() -> None:
    figure = drawn([row(cell(name, 2, 2, 0), 0.8) for name in [*METHODS, "mine"]])
    found = panels(figure)
    assert [ax.get_title() for ax in found[:8]] == [
        "ReLU",
        "ReLU + BN",
        "Sep-U",
        "Sep-P",
        "Sep-UP",
        "Sep-L",
        "Zero init",
        "mine",
    ]
    assert found[0].get_ylabel() == "training\nwidth" and found[8].get_ylabel() == "validation\nwidth"


def test_best_and_last_show_their_own_accuracies_and_say_so() -> None:
    rows = grid_rows(["relu"], [1], [2], [0, 1, 2], lambda c: 0.8)
    for at_epoch, value in (("best", 0.8), ("last", 0.7)):
        figure = drawn(rows, at_epoch)
        assert values(panels(figure)[0])[0, 0] == pytest.approx(value)
        assert figure.get_suptitle() == f"MOONS · mlp · 5000 epochs\n{at_epoch} epoch · 3 seeds"


def test_missing_and_untrained_cells_are_told_apart_and_explained() -> None:
    rows = grid_rows(["relu"], [1, 5, 9], [2, 4], [0, 1], by_place)
    rows = [each for each in rows if (each["depth"], each["width"]) != (9, 4)]
    rows = [each for each in rows if (each["depth"], each["width"], each["seed"]) != (1, 2, 1)]
    for each in rows:
        if (each["depth"], each["width"]) == (5, 2):
            each |= {"status": "failed" if each["seed"] else "diverged", "train_acc_last": None, "val_acc_last": None}
    for at_epoch in ("best", "last"):
        figure = drawn(rows, at_epoch)
        for ax in panels(figure):
            assert marked(ax, "/") == {(2, 1)}
            assert marked(ax, "x") == {(1, 0)}
            assert np.argwhere(np.ma.getmaskarray(values(ax))).tolist() == [[0, 1], [1, 2]]
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["missing", "diverged or failed"]
        assert figure.get_suptitle().replace("\n", " ").endswith("1–2 seeds · 1 diverged · 1 failed")


def test_a_full_grid_has_neither_hatch_nor_legend() -> None:
    figure = drawn(grid_rows(["relu"], [1, 5], [2, 4], [0], by_place))
    assert not figure.legends
    assert all(len(ax.collections) == 1 for ax in panels(figure))


def test_small_grids_carry_their_numbers_in_a_contrasting_colour() -> None:
    rows = [row(cell("relu", 1, 2, 0), 0.55), row(cell("relu", 2, 2, 0), 0.987)]
    training = panels(drawn(rows))[0]
    assert [(text.get_position(), text.get_text(), text.get_color()) for text in training.texts] == [
        ((0, 0), "0.55", "white"),
        ((1, 0), "0.99", "black"),
    ]


def test_large_grids_carry_no_numbers() -> None:
    assert not panels(drawn(grid_rows(["relu"], DEPTHS, WIDTHS, [0], by_place)))[0].texts


def test_drawing_leaves_matplotlib_as_it_was_and_ignores_the_users_style(tmp_path: Path) -> None:
    rows = table([row(cell("relu", 1, 2, 0), 0.6)])
    plain = draw_heatmaps(rows, tmp_path / "plain")
    with matplotlib.rc_context({"axes.facecolor": "green", "font.size": 30}):
        before = dict(matplotlib.rcParams)
        styled = draw_heatmaps(rows, tmp_path / "styled")
        assert dict(matplotlib.rcParams) == before
    assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in styled]


def test_a_figure_of_which_nothing_trained_is_drawn(tmp_path: Path) -> None:
    rows = [row(cell("relu", d, 2, 0), None, status="failed") for d in (1, 2)]
    figure = drawn(rows)
    assert marked(panels(figure)[0], "x") == {(0, 0), (1, 0)}
    assert len(draw_heatmaps(table(rows), tmp_path)) == 4


def stored(results_dir: Path) -> list[Path]:
    """Three trained cells of relu and a diverged one in a store, and the figures it should have."""
    cells = [cell("relu", depth, 2, seed, optimizer__epochs=77) for depth in (1, 5) for seed in (0, 1)]
    results = [
        Result(each, "diverged" if each is cells[3] else "done", "eager", train_acc=Metric(0.9, 0.95, 3))
        for each in cells
    ]
    Store(results_dir).write(results)
    (grid,) = figure_grids(Store(results_dir).cells())
    return [results_dir / "figures" / f"{grid.slug}_{at_epoch}.png" for at_epoch in ("best", "last")]


def test_the_command_draws_what_is_stored_and_lists_it(tmp_path: Path, capsys) -> None:
    paths = stored(tmp_path)
    assert main([f"results_dir={tmp_path}", "only=heatmaps"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "MOONS · mlp · 77 epochs: 4 cells, 1 method, 2 seeds",
        *(f"  {path} (and .pdf)" for path in paths),
    ]
    assert all(path.is_file() and path.with_suffix(".pdf").is_file() for path in paths)


@pytest.mark.parametrize("make", [False, True])
def test_without_results_the_command_says_what_to_run(tmp_path: Path, capsys, make: bool) -> None:
    results_dir = tmp_path / "results"
    if make:
        results_dir.mkdir()
    assert main([f"results_dir={results_dir}"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and str(results_dir) in shown
    assert "python -m jumpstart_exp -m +experiment=quick" in shown and "make heatmaps" in shown
    assert not (results_dir / "figures").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys) -> None:
    stored(tmp_path)
    (tmp_path / "figures").write_text("in the way")
    assert main([f"results_dir={tmp_path}", "only=heatmaps"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and str(tmp_path / "figures") in shown


@pytest.mark.usefixtures("undrawn")
def test_an_unreadable_part_is_named_and_the_rest_is_drawn(tmp_path: Path, capsys) -> None:
    paths = stored(tmp_path)
    (tmp_path / "cells" / "part-broken.parquet").write_bytes(b"no parquet")
    assert main([f"results_dir={tmp_path}"]) == 0
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and shown.startswith("warning: ") and "part-broken.parquet" in shown
    assert all(path.is_file() for path in paths)


def test_results_that_cannot_be_told_apart_are_one_line(tmp_path: Path, capsys, monkeypatch) -> None:
    one = row(cell("relu", 1, 2, 0), 0.6)
    monkeypatch.setattr(Store, "cells", lambda self: table([one, {**one, "key": "other"}]))
    assert main([f"results_dir={tmp_path}"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "two results for relu 1×2 seed 0" in shown


def test_a_store_that_refuses_is_one_line(tmp_path: Path, capsys, monkeypatch) -> None:
    def setting_error(self: Store) -> None:
        raise StoreError("written by a newer version")

    monkeypatch.setattr(Store, "cells", setting_error)
    assert main([f"results_dir={tmp_path}"]) == 1
    assert capsys.readouterr().err == "error: written by a newer version\n"


def test_help_says_how_and_a_bad_argument_is_one_line(capsys) -> None:
    assert main(["--help"]) == 0
    assert "results_dir=" in capsys.readouterr().out
    assert main(["resultsdir=x"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and "resultsdir=x" in shown.err


def test_places_that_lack_some_seeds_are_marked() -> None:
    rows = [row(cell("relu", 1, 2, seed), 0.9, "done" if seed else "diverged") for seed in range(3)]
    rows += [row(cell("relu", 3, 2, seed), 0.9) for seed in range(3)]
    (grid,) = figure_grids(table(rows))
    assert grid.partly_untrained()[0, :, 0].tolist() == [True, False]
    figure = heatmap_figure(grid, "best")
    marks = [
        collection
        for ax in figure.axes
        for collection in ax.collections
        if str(collection.get_label()).startswith("some seeds")
    ]
    assert len(marks) == 2, "one in the panel of training, one in that of validation"
    for mark in marks:
        (path,) = mark.get_paths()
        assert path.vertices[:, 0].max() <= 0.5, "the depth of which a seed diverged, not the other"
