"""What a figure holds: nothing but the seed is averaged, and names last."""

import random

import numpy as np
import pandas as pd
import pytest
from stored_tables import CIFAR10, VARIANTS, cell, grid_rows, only, row, table

from jumpstart_exp.report.table.grid import FigureGrid, GridError, figure_grids


def at(grid: FigureGrid, method: str, depth: int, width: int, column: str = "train_acc_best") -> float:
    place = grid.methods.index(method), grid.depths.index(depth), grid.widths.index(width)
    return float(grid.mean(column)[place])


def test_axes_ascend_whatever_the_order_of_the_rows() -> None:
    rows = grid_rows(["relu"], [10, 2, 5], [25, 3], [1, 0], lambda c: c.depth / 100 + c.width / 1000)
    random.Random(1).shuffle(rows)
    grid = only(rows)
    assert (grid.depths, grid.widths, grid.seeds) == ((2, 5, 10), (3, 25), (0, 1))
    assert grid.accuracy["train_acc_best"].shape == (1, 3, 2, 2)
    for depth in grid.depths:
        for width in grid.widths:
            assert at(grid, "relu", depth, width) == pytest.approx(depth / 100 + width / 1000)


def test_seeds_are_averaged_per_metric_and_moment() -> None:
    grid = only([row(cell("relu", 3, 4, seed), value) for seed, value in enumerate((0.6, 0.7, 1.0))])
    assert at(grid, "relu", 3, 4) == pytest.approx(2.3 / 3)
    assert at(grid, "relu", 3, 4, "train_acc_last") == pytest.approx(2.3 / 3 - 0.1)
    assert at(grid, "relu", 3, 4, "val_acc_best") == pytest.approx(2.3 / 3 - 0.05)
    assert at(grid, "relu", 3, 4, "val_acc_last") == pytest.approx(2.3 / 3 - 0.15)


def test_methods_stand_in_the_papers_order_and_others_follow_alphabetically() -> None:
    names = ["zebra", "zero_init", "sep_l", "sep_up", "sep_p", "sep_u", "relu_bn", "relu", "ant"]
    grid = only([row(cell(name, 2, 2, 0), 0.5) for name in names])
    assert grid.methods == (
        "relu",
        "relu_bn",
        "sep_u",
        "sep_p",
        "sep_up",
        "sep_l",
        "zero_init",
        "ant",
        "zebra",
    )


def test_a_methods_variants_follow_it_by_aggregate_and_weight_under_readable_titles() -> None:
    names = [*reversed(VARIANTS), "sep_l", "sep_up", "relu"]
    grid = only([row(cell(name, 10, 8, 0, **CIFAR10), 0.5) for name in names])
    assert grid.title == "CIFAR-10 · cnn · 400 epochs"
    assert dict(zip(grid.methods, grid.method_titles, strict=True)) == {
        "relu": "ReLU",
        "sep_up": "Sep-UP",
        "sep_up_l2_1e-3": "Sep-UP ℓ₂ λ=0.001",
        "sep_up_l2_1e-1": "Sep-UP ℓ₂ λ=0.1",
        "sep_up_mean_1e-1": "Sep-UP mean λ=0.1",
        "sep_up_mean_1": "Sep-UP mean λ=1",
        "sep_l": "Sep-L",
    }
    assert grid.methods == ("relu", "sep_up", *VARIANTS, "sep_l")
    assert grid.layout == "cnn" and grid.chance == 0.1


def test_a_label_that_says_another_weight_than_it_has_stands_as_it_is() -> None:
    rows = [row(cell("sep_up_l2_1e-1", 2, 2, 0, penalty__weight=w), 0.5) for w in (0.1, 0.5)]
    assert [grid.method_titles for grid in figure_grids(table(rows))] == [("Sep-UP ℓ₂ λ=0.1",), ("sep_up_l2_1e-1",)]
    rows = [row(cell("sep_up_l2_1e-1", 2, 2, 0, penalty__aggregate="mean"), 0.5)]
    assert only(rows).method_titles == ("sep_up_l2_1e-1",)


def test_two_labels_of_one_meaning_are_told_apart_by_their_labels() -> None:
    penalty = {"kind": "UP", "aggregate": "l2", "weight": 0.1}
    rows = [row(cell(label, 2, 2, 0, penalty=penalty), 0.5) for label in ("sep_up_l2_0.1", "sep_up_l2_1e-1")]
    assert only(rows).method_titles == only(rows).methods == ("sep_up_l2_0.1", "sep_up_l2_1e-1")


def test_parameters_are_those_that_all_seeds_agree_on() -> None:
    rows = [row(cell("relu", 2, 3, seed), 0.6) for seed in (0, 1)] + [row(cell("relu_bn", 2, 3, 0), None, "failed")]
    rows[0]["n_params"] = rows[2]["n_params"] = None
    grid = only(rows)
    assert grid.n_params.tolist() == [[[2 * 3 + 3 + 3 * 3 + 3 + 3 + 1]], [[0]]]
    rows[0]["n_params"] = 26
    with pytest.raises(GridError, match="n_params of relu 2×3 differs between its seeds: 25 and 26"):
        figure_grids(table(rows))


def test_costs_are_those_of_trainings_that_are_done() -> None:
    rows = [row(cell("relu", 2, 3, seed), 0.6, status) for seed, status in enumerate(("done", "diverged", "failed"))]
    grid = only(rows)
    assert grid.trained_on[0, 0, 0].tolist() == ["eager, cpu", "", ""]
    np.testing.assert_array_equal(grid.seconds[0, 0, 0], [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(grid.memory[0, 0, 0], [1e6, np.nan, np.nan])


def test_penalised_are_the_methods_that_differ_from_relu_by_a_penalty_with_weight() -> None:
    names = ["relu", "relu_bn", "sep_u", "zero_init", *VARIANTS]
    rows = [row(cell(name, 2, 2, 0), 0.5) for name in names]
    rows += [row(cell("normed", 2, 2, 0, penalty={"kind": "U"}, network__norm="batch"), 0.5)]
    assert only(rows).penalised == ("sep_u", *VARIANTS)
    zero = row(cell("relu", 2, 2, 0), 0.5, labels=["relu", "sep_up"])
    strong = row(cell("sep_up", 2, 2, 0), 0.6)
    assert [grid.penalised for grid in figure_grids(table([zero, strong]))] == [(), ("sep_up",)]


@pytest.mark.parametrize(
    ("setting", "one", "other", "words"),
    [
        ("optimizer__epochs", 1500, 5000, ("1500 epochs", "5000 epochs")),
        ("optimizer__lr", 0.01, 0.001, ("optimizer.lr=0.01", "optimizer.lr=0.001")),
        ("optimizer__batch_size", None, 32, ("full batch", "optimizer.batch_size=32")),
        ("dataset__noise", None, 0.2, ("no noise", "dataset.noise=0.2")),
        ("precision", "float32", "float64", ("precision=float32", "precision=float64")),
        ("network__layout", "mlp", "conv2x1", ("mlp", "conv2x1")),
        ("penalty__weight", 1e-4, 1e-5, ("penalty.weight=0.0001", "penalty.weight=1e-5")),
        ("penalty__balance", 0.5, 0.6, ("penalty.balance=0.5", "penalty.balance=0.6")),
        ("penalty__aggregate", "sum", "l2", ("penalty.aggregate=sum", "penalty.aggregate=l2")),
        ("network__init", "glorot_uniform", "kaiming_uniform", ("glorot_uniform", "kaiming_uniform")),
        ("dropout__rate", 0.0, 0.5, ("dropout.rate=0", "dropout.rate=0.5")),
        ("penalty__layers", "hidden", "all", ("penalty.layers=hidden", "penalty.layers=all")),
    ],
)
def test_rows_that_differ_in_anything_but_seed_are_separate_figures_titled_by_it(setting, one, other, words) -> None:
    rows = [row(cell("sep_up", 2, 2, 0, **{setting: one}), 0.6), row(cell("sep_up", 2, 2, 0, **{setting: other}), 0.9)]
    grids = figure_grids(table(rows))
    shown = {at(grid, "sep_up", 2, 2): grid.title for grid in grids}
    assert sorted(shown) == [0.6, 0.9]
    assert words[0] in shown[0.6].split(" · ") or words[0] in shown[0.6]
    assert words[1] in shown[0.9].split(" · ") or words[1] in shown[0.9]
    assert len({grid.title for grid in grids}) == len({grid.slug for grid in grids}) == 2


@pytest.mark.parametrize(
    ("setting", "one", "other", "words"),
    [
        ("dataset", {"name": "cifar10"}, {"name": "cifar10", "augment": "flip_crop"}, ("none", "flip_crop")),
        ("dataset", {"name": "cifar10"}, {"name": "cifar10", "scaling": "unit"}, ("normalised", "unit")),
        ("network__kernel", 3, 5, ("network.kernel=3", "network.kernel=5")),
        ("network__head", "flatten", "max_avg_pool", ("flatten", "max_avg_pool")),
        ("precision", "float32", "bf16", ("precision=float32", "precision=bf16")),
    ],
)
def test_cnns_that_differ_in_anything_but_seed_are_separate_figures_titled_by_it(setting, one, other, words) -> None:
    rows = [row(cell("relu", 2, 2, 0, **(CIFAR10 | {setting: v})), a) for v, a in ((one, 0.6), (other, 0.9))]
    shown = {at(grid, "relu", 2, 2): grid.title for grid in figure_grids(table(rows))}
    assert sorted(shown) == [0.6, 0.9]
    assert words[0] in shown[0.6] and words[1] in shown[0.9] and words[1] not in shown[0.6]


def test_a_title_names_dataset_layout_and_epochs_and_nothing_that_all_figures_share() -> None:
    grid = only(grid_rows(["relu", "sep_up", "zero_init"], [2], [2], [0], lambda c: 0.7, optimizer__lr=0.003))
    assert grid.title == "MOONS · mlp · 5000 epochs"


def test_a_weight_sweep_shows_relu_in_every_figure() -> None:
    rows = [row(cell("relu", 2, 2, 0), 0.55)]
    rows += [row(cell("sep_up", 2, 2, 0, penalty__weight=w), v) for w, v in ((1e-5, 0.7), (1e-4, 0.8), (1e-3, 0.9))]
    grids = figure_grids(table(rows))
    assert [(at(grid, "relu", 2, 2), at(grid, "sep_up", 2, 2)) for grid in grids] == [
        (0.55, 0.7),
        (0.55, 0.8),
        (0.55, 0.9),
    ]


def test_a_weight_sweep_from_zero_keeps_the_penalty_kinds_together() -> None:
    zero = cell("sep_up", 2, 2, 0, penalty__weight=0.0)
    assert zero.key == cell("relu", 2, 2, 0).key
    rows = [row(zero, 0.55, labels=["relu", "sep_p", "sep_up"])]
    rows += [
        row(cell(method, 2, 2, 0, penalty__weight=w), w * 10) for method in ("sep_p", "sep_up") for w in (0.06, 0.08)
    ]
    grids = figure_grids(table(rows))
    assert [grid.methods for grid in grids] == [("relu", "sep_p", "sep_up")] * 3
    assert [round(at(grid, "sep_up", 2, 2), 3) for grid in grids] == [0.55, 0.6, 0.8]
    assert [grid.title.split(" · ")[-1] for grid in grids] == [
        "penalty.weight=0",
        "penalty.weight=0.06",
        "penalty.weight=0.08",
    ]


def test_a_label_with_one_weight_stays_out_of_the_figures_of_other_weights() -> None:
    rows = [row(cell("sep_up", 2, 2, 0, penalty__weight=w), 0.7) for w in (1e-4, 1e-3)]
    rows.append(row(cell("sep_p", 2, 2, 0, penalty__weight=1e-4), 0.6))
    shown = {grid.title.split(" · ")[-1]: grid.methods for grid in figure_grids(table(rows))}
    assert shown == {"penalty.weight=0.0001": ("sep_p", "sep_up"), "penalty.weight=0.001": ("sep_up",)}


def test_labels_with_settings_of_their_own_share_a_figure() -> None:
    rows = [row(cell("sep_up", 2, 2, 0), 0.7), row(cell("strong", 2, 2, 0, penalty={"kind": "UP", "weight": 1.0}), 0.8)]
    assert only(rows).methods == ("sep_up", "strong")


def test_sweeps_of_two_methods_are_crossed_so_that_each_figure_is_complete() -> None:
    rows = [row(cell("relu_bn", 2, 2, 0, network__norm_eps=eps), 0.5 + eps) for eps in (0.001, 0.1)]
    rows += [row(cell("sep_up", 2, 2, 0, penalty__weight=w), 0.7 + w) for w in (0.001, 0.1)]
    pairs = {(at(g, "relu_bn", 2, 2), at(g, "sep_up", 2, 2)) for g in figure_grids(table(rows))}
    assert pairs == {(b, s) for b in (0.501, 0.6) for s in (0.701, 0.7 + 0.1)}


def test_a_result_stands_under_each_of_its_labels() -> None:
    grid = only([row(cell("relu", 2, 2, 0), 0.6, labels=["baseline", "relu"]), row(cell("sep_up", 2, 2, 0), 0.9)])
    assert grid.methods == ("relu", "sep_up", "baseline")
    assert at(grid, "relu", 2, 2) == at(grid, "baseline", 2, 2) == 0.6


def test_equal_layer_weights_are_one_setting_at_every_depth() -> None:
    def rows(weight: float | None, value: float) -> list[dict]:
        return [
            row(cell("sep_up", d, 2, 0, penalty__layer_weights=None if weight is None else [weight] * d), value)
            for d in (2, 3)
        ]

    grids = figure_grids(table(rows(None, 0.6) + rows(0.5, 0.9)))
    assert [(grid.depths, at(grid, "sep_up", 3, 2)) for grid in grids] == [((2, 3), 0.9), ((2, 3), 0.6)]


def test_diverged_and_failed_cells_are_counted_but_never_averaged() -> None:
    rows = [
        row(cell("relu", 2, 2, 0), 0.6),
        row(cell("relu", 2, 2, 1), 0.99, status="diverged"),
        row(cell("relu", 2, 2, 2), None, status="failed"),
        row(cell("relu", 3, 2, 0), 0.99, status="diverged"),
        row(cell("relu", 3, 4, 0), 0.8),
    ]
    grid = only(rows)
    for column in grid.accuracy:
        offset = 0.05 * column.startswith("val") + 0.1 * column.endswith("last")
        assert at(grid, "relu", 2, 2, column) == pytest.approx(0.6 - offset)
        assert np.isnan(at(grid, "relu", 3, 2, column))
    assert (grid.diverged.sum(), grid.failed.sum(), grid.present.sum()) == (2, 1, 5)
    assert grid.untrained()[0].tolist() == [[False, False], [True, False]]
    assert np.isnan(at(grid, "relu", 2, 4)) and not grid.untrained()[0, 0, 1]
    assert grid.seed_range() == (1, 3)


def test_two_results_in_one_place_are_an_error_that_names_them() -> None:
    one = row(cell("relu", 2, 3, 7), 0.6)
    with pytest.raises(GridError, match=r"two results for relu 2×3 seed 7.*: keys .* and other"):
        figure_grids(table([one, {**one, "key": "other"}]))


def test_an_unknown_dataset_is_an_error_that_says_which() -> None:
    with pytest.raises(GridError, match="dataset=suns"):
        figure_grids(table([{**row(cell("relu", 2, 3, 7), 0.6), "dataset": "suns"}]))


def test_an_empty_table_has_no_figure() -> None:
    assert figure_grids(pd.DataFrame()) == []


@pytest.mark.parametrize("null", [None, float("nan"), pd.NA])
def test_every_kind_of_null_and_number_gives_the_same_figure(null) -> None:
    rows = grid_rows(["relu", "sep_up", "zero_init"], [2, 3], [2], [0, 1], lambda c: 0.7)
    rows[0] |= {"status": "diverged", "train_acc_last": None, "val_acc_last": None}
    plain = only(rows)
    other = only(
        [{k: null if v is None else float(v) if k == "optimizer.epochs" else v for k, v in r.items()} for r in rows]
    )
    assert (other.slug, other.title, other.methods) == (plain.slug, plain.title, plain.methods)
    for column in plain.accuracy:
        np.testing.assert_array_equal(other.accuracy[column], plain.accuracy[column])


def test_the_table_as_parquet_gives_it_is_the_same_figure(tmp_path) -> None:
    stored = table(grid_rows(["relu", "sep_up", "zero_init"], [2, 3], [2], [0, 1], lambda c: 0.7))
    stored.to_parquet(tmp_path / "cells.parquet")
    (before,), (after,) = figure_grids(stored), figure_grids(pd.read_parquet(tmp_path / "cells.parquet"))
    assert (after.slug, after.title, after.methods) == (before.slug, before.title, before.methods)


def test_a_slug_says_dataset_layout_epochs_and_is_safe_as_a_file_name() -> None:
    grid = only(grid_rows(["relu"], [2], [2], [0], lambda c: 0.7, optimizer__epochs=1500))
    assert pytest.approx(0.7) == at(grid, "relu", 2, 2)
    head, digest = grid.slug.rsplit("_", 1)
    assert head == "moons_mlp_1500epochs"
    assert len(digest) == 8 and int(digest, 16) >= 0


def test_more_data_does_not_rename_a_figure() -> None:
    first = grid_rows(["relu", "sep_up"], [2], [2], [0], lambda c: 0.7)
    slug = only(first).slug
    more = first + grid_rows(["zero_init", "sep_p"], [2, 9], [2], [0, 1], lambda c: 0.7)
    assert only(more).slug == slug
    more += grid_rows(["sep_up"], [2], [2], [0], lambda c: 0.9, penalty__weight=1e-3)
    more += grid_rows(["relu", "sep_up"], [2], [2], [0], lambda c: 0.9, optimizer__epochs=7)
    more += grid_rows(["relu"], [2], [2], [0], lambda c: 0.9, dataset__noise=0.1)
    grids = figure_grids(table(more))
    kept = [grid for grid in grids if grid.slug == slug]
    assert len(grids) == len({grid.slug for grid in grids}) == 4
    assert [at(grid, "sep_up", 2, 2) for grid in kept] == [0.7]


def test_a_sweep_does_not_rename_the_figure_of_another_weight() -> None:
    strong = grid_rows(["relu", "sep_up"], [2], [2], [0], lambda c: 0.9, penalty__weight=1e-3)
    (slug,) = [grid.slug for grid in figure_grids(table(strong[1:]))]
    rows = strong[1:] + grid_rows(["sep_up"], [2], [2], [0], lambda c: 0.7)
    assert {grid.slug: at(grid, "sep_up", 2, 2) for grid in figure_grids(table(rows))}[slug] == 0.9


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("optimizer__clip_norm", 1.0),
        ("penalty__upper_bound", 5.0),
        ("penalty__point_sides", "above"),
        ("regulariser__settings", {"scale": 3}),
        ("regulariser__function", None),
    ],
)
def test_a_null_that_is_a_value_is_a_figure_beside_the_others(setting: str, value: object) -> None:
    own = {"regulariser__function": "my_ideas:mean", "regulariser__source": "sha256-0"}
    usual = own if setting.startswith("regulariser") else {}
    rows = [row(cell("relu", 2, 2, 0), 0.5), row(cell("sep_up", 2, 2, 0, **usual), 0.7)]
    (slug,) = [grid.slug for grid in figure_grids(table(rows))]
    changed = {} if value is None else {**usual, setting: value}
    grids = figure_grids(table([*rows, row(cell("sep_up", 2, 2, 0, **changed), 0.9)]))
    assert sorted((at(grid, "relu", 2, 2), at(grid, "sep_up", 2, 2)) for grid in grids) == [(0.5, 0.7), (0.5, 0.9)]
    assert f"{setting.replace('__', '.')}=null" in " ".join(grid.title for grid in grids)
    if value is not None:
        assert slug in {grid.slug for grid in grids}, "a figure that was there keeps its name"
    (without,) = [grid for grid in grids if "=null" in grid.title]
    assert without.penalised == (() if "settings" in setting else ("sep_up",)), "null is nothing beside the penalty"


def test_without_a_penalty_a_method_is_in_the_figures_of_its_null_and_of_its_values() -> None:
    rows = [row(cell("sep_up", 2, 2, 0, penalty__weight=w), 0.5 + w) for w in (0.0, 0.1)]
    rows.append(row(cell("sep_up", 2, 2, 0, penalty__weight=0.1, penalty__upper_bound=5.0), 0.9))
    titles = [grid.title.partition("epochs")[2] for grid in figure_grids(table(rows))]
    assert titles == [
        " · penalty.upper_bound=5 · penalty.weight=0.1",
        " · penalty.upper_bound=null · penalty.weight=0.1",
        " · penalty.weight=0",
    ]
