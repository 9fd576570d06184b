"""Ours against the published: by hand, with stores that are made to be like the published grid, or unlike it."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from study_rows import study_table

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.papers.comparison import (
    GridComparison,
    by_method,
    compare_grid,
    compare_table,
    moons_rows,
    only_grid,
    places,
    published_grid,
)
from jumpstart_exp.report.papers.layouts import LayoutComparison, compare_layouts
from jumpstart_exp.report.papers.published import Published, PublishedPlace, read_published
from jumpstart_exp.report.statistics.seedwise import wins_by_seed
from jumpstart_exp.report.table.studies import StudyTable

POINTS = {"train_acc_best": 85, "val_acc_best": 15}


@pytest.fixture(scope="module")
def published() -> Published:
    return read_published()


def like(published: Published, shift: Callable[[Cell], float] = lambda _: 0.0) -> Callable[[Cell], tuple[float, float]]:
    """The accuracies of the authors' network as shares of the points, moved by so much; 0.5 where none is published."""

    def accuracy(cell: Cell) -> tuple[float, float]:
        found = []
        for metric, points in POINTS.items():
            value = published.moons.get(PublishedPlace(cell.method, metric, cell.depth, cell.width), 0.5)
            found.append(min(max(round(value * points) / points + shift(cell), 0.0), 1.0))
        return found[0], found[1]

    return accuracy


def moons(
    published: Published, variant: str, shift: Callable[[Cell], float] = lambda _: 0.0, seeds: int = 3
) -> GridComparison:
    store = study_table(
        "cpaior_moons", variant, range(seeds), like(published, shift), lambda cell: cell.depth in (2, 10, 60, 100)
    )
    found = compare_grid("moons", variant, only_grid(moons_rows(StudyTable(store), variant)), published.moons)
    assert found is not None
    return found


def some(published: Published) -> Published:
    """Only what `moons` has of the published grid: two methods at three depths."""
    kept = {
        place: value
        for place, value in published.moons.items()
        if place.method in ("relu", "sep_up") and place.depth in (10, 60, 100)
    }
    return dataclasses.replace(published, moons=kept)


def test_a_place_by_hand(published: Published) -> None:
    values = {0: (0.9, 0.8), 1: (0.8, 0.4), 2: None, 3: (0.7, 0.6)}
    store = study_table(
        "table2_50x4", "paper", values, lambda cell: values[cell.seed], lambda cell: cell.method == "sep_p"
    )
    found = compare_grid("table2_50x4", "paper", only_grid(store), published.moons_50x4)
    assert found is not None
    training, validation = places(found).itertuples()
    assert (training.method, training.metric, training.depth, training.width) == ("sep_p", "train_acc_best", 50, 4)
    assert training.published == 0.9294
    assert (training.mean, training.least, training.most) == pytest.approx((0.8, 0.7, 0.9))
    assert (training.seeds, training.is_inside, training.reached) == (3, False, 0), "the diverged seed has no accuracy"
    assert training.difference == pytest.approx(0.8 - 0.9294)
    assert math.isnan(training.low) and math.isnan(training.high), "three seeds have a range and no interval"
    assert (validation.published, validation.is_inside, validation.reached) == (0.8, True, 1)
    # Wilson (1927) by hand: 1 of 3, z = 1.959964
    z = 1.959963984540054
    middle, spread = 1 / 3 + z**2 / 6, z * np.sqrt(1 / 3 * 2 / 3 / 3 + z**2 / 36)
    expected = ((middle - spread) / (1 + z**2 / 3), (middle + spread) / (1 + z**2 / 3))
    assert (validation.reached_low, validation.reached_high) == pytest.approx(expected)
    first, second = by_method(places(found)).itertuples()
    assert (first.places, first.distance, first.shift) == (1, pytest.approx(0.1294), pytest.approx(-0.1294))
    assert (second.inside, second.judged, second.expected) == (1, 1, 0.5)


def test_printed_digits_that_are_cut_off_are_reached(published: Published) -> None:
    def exact(_: Cell) -> tuple[float, float]:
        return 69 / 85, 9 / 15  # printed as 0.8117

    store = study_table("table2_50x4", "paper", range(2), exact, lambda cell: cell.method == "relu_bn")
    found = compare_grid("table2_50x4", "paper", only_grid(store), published.moons_50x4)
    assert found is not None
    assert places(found)[["reached", "is_inside"]].to_numpy().tolist() == [[2, True]] * 2


def test_one_seed_has_no_range_and_no_interval(published: Published) -> None:
    found = moons(published, "paper", seeds=1)
    assert places(found)["seeds"].eq(1).all() and places(found)[["low", "high", "is_inside"]].isna().all(axis=None)
    assert by_method(places(found))["judged"].eq(0).all()


def test_only_published_depths_are_compared_and_the_others_are_named(published: Published) -> None:
    found = moons(published, "paper")
    ours = found.ours
    assert ours.depths == (1, *range(10, 121, 10)) and ours.widths == (1, 2, 3, 4, 5, 10, 15, 20, 25)
    assert found.other_depths == (2,) and found.other_methods == ()
    assert {*places(found)["depth"]} == {10, 60, 100}
    assert len(places(found)) == 2 * 2 * 3 * 9
    assert places(found)["reached"].eq(places(found)["seeds"]).all(), "80/85 comes up to the printed 0.9412"
    assert np.isnan(ours.mean("train_acc_best")[:, ours.depths.index(20)]).all()
    assert np.abs(np.nan_to_num(found.difference("train_acc_best"))).max() < 1e-4


def test_a_corrupted_published_value_changes_the_comparison(published: Published) -> None:
    place = PublishedPlace("sep_up", "train_acc_best", 60, 3)
    wrong = dataclasses.replace(published, moons={**published.moons, place: 0.5176})
    at = "method == 'sep_up' and metric == 'train_acc_best' and depth == 60 and width == 3"
    (right,) = places(moons(published, "paper")).query(at).itertuples()
    store = study_table("cpaior_moons", "paper", range(3), like(published), lambda cell: cell.depth == 60)
    changed = compare_grid("moons", "paper", only_grid(moons_rows(StudyTable(store), "paper")), wrong.moons)
    assert changed is not None
    (found,) = places(changed).query(at).itertuples()
    assert (right.is_inside, found.is_inside) == (True, False)
    assert (right.difference, found.difference) == (pytest.approx(0, abs=1e-4), pytest.approx(1 - 0.5176))


def test_rows_that_several_studies_share_count_once(published: Published) -> None:
    store = study_table("cpaior_moons", "paper", range(2), like(published), lambda cell: cell.depth in (5, 10))
    rows = moons_rows(StudyTable(store), "paper")
    assert sorted(rows["key"]) == sorted(store["key"])
    grid = only_grid(rows)
    assert grid is not None and (grid.methods, grid.depths, grid.seeds) == (("relu", "sep_up"), (5, 10), (0, 1))


def test_the_published_grid_as_a_figure_has_shares_of_points(published: Published) -> None:
    grid = published_grid(published.moons)
    assert grid.methods == ("relu", "relu_bn", "sep_u", "sep_p", "sep_up", "zero_init")
    at = (grid.methods.index("relu"), grid.depths.index(30), grid.widths.index(25), 0)
    assert grid.accuracy["train_acc_best"][at] == 44 / 85 and grid.accuracy["val_acc_best"][at] == 6 / 15


def layouts(published: Published, paper: float, code: float, seeds: int = 6) -> LayoutComparison:
    """Both layouts, off by so much at every place, more or less by seed."""
    published = some(published)
    both = {
        variant: moons(published, variant, lambda cell, off=off: -off * (1 + cell.seed / 10), seeds)
        for variant, off in (("paper", paper), ("code", code))
    }
    return compare_layouts(both, published.moons)[0]


def test_the_nearer_layout_is_found_either_way(published: Published) -> None:
    near, far = layouts(published, 0.2, 0.01), layouts(published, 0.01, 0.2)
    assert (near.nearer, far.nearer) == ("code", "paper")
    assert near.verdict.startswith("2×1 (variant=code) is nearer") and far.verdict.startswith("MLP (variant=paper)")
    distance, agreement = near.measures
    assert near.places == 2 * 3 * 9 and near.seeds == 6
    # 0.2, 0.22, …, 0.3 off, but not below 0; and 0.01 to 0.015
    assert distance.of["paper"].value == pytest.approx(0.25) and distance.of["code"].value == pytest.approx(0.0125)
    assert distance.difference is not None and distance.difference.value == pytest.approx(0.2375)
    assert agreement.of["code"].value > agreement.of["paper"].value
    assert near.between_seeds["paper"] == pytest.approx(0.02 * (5 * 1 + 4 * 2 + 3 * 3 + 2 * 4 + 5) / 15)


def test_layouts_that_do_not_differ_or_have_few_seeds_decide_nothing(published: Published) -> None:
    same, few = layouts(published, 0.05, 0.05), layouts(published, 0.2, 0.01, seeds=5)
    assert same.nearer is None and "no interval of the difference leaves out 0" in same.verdict
    assert few.nearer is None and "undecided with 5 seeds in common, 6 are needed" in few.verdict


def test_layouts_that_are_trained_in_part_decide_nothing(published: Published) -> None:
    both = {
        variant: moons(published, variant, lambda _, off=off: -off) for variant, off in (("paper", 0.2), ("code", 0.01))
    }
    found = compare_layouts(both, published.moons)[0]
    assert found.nearer is None and all(measure.nearer is None for measure in found.measures)
    assert "undecided, 54 of the 234 published places are trained so far" in found.verdict


def test_one_layout_alone_decides_nothing_and_names_the_command(published: Published) -> None:
    (both, *each) = compare_layouts({"paper": moons(published, "paper")}, published.moons)
    assert both.nearer is None and [own.methods for own in each] == [("relu",), ("sep_up",)]
    assert "python -m jumpstart_exp -m +experiment=cpaior_moons variant=code seed=0,1,...,9" in both.verdict
    assert compare_layouts({}, published.moons) == ()


def test_agreement_counts_the_networks_on_the_same_side(published: Published) -> None:
    def shift(cell: Cell) -> float:
        return -0.5 if (cell.method, cell.depth, cell.width) == ("sep_up", 10, 25) else 0.0

    (both, *_) = compare_layouts({"paper": moons(published, "paper", shift)}, published.moons)
    agreement = both.measures[1].of["paper"]
    assert agreement.value == pytest.approx(53 / 54), "of 54 networks one does not train as the published one does"


def test_table_1_is_a_number_a_complete_seed(published: Published) -> None:
    def accuracy(cell: Cell) -> tuple[float, float] | None:
        if cell.method == "sep_up":
            return (0.9, 0.8) if cell.depth > 4 else (0.5, 0.4 + cell.seed / 100)
        if cell.depth > 12:
            return None if cell.depth == 68 else (0.1, 0.1)
        return 0.6, 0.6

    def everywhere(cell: Cell) -> bool:
        return True

    whole = study_table("mnist_table1", "paper", (0, 1), accuracy, everywhere)
    part = study_table("mnist_table1", "paper", (2,), accuracy, lambda cell: cell.depth < 68)
    grid = only_grid(StudyTable(pd.concat([whole, part], ignore_index=True)).rows("mnist_table1", "paper"))
    found = {(own.method, own.metric, own.quantity): own for own in compare_table(grid, published).itertuples()}
    assert len(found) == 12

    def ours(method: str, metric: str, quantity: str) -> float:
        own = found[method, metric, quantity]
        assert own.seeds == 2
        return float(own.ours)

    assert ours("relu", "train_acc_best", "networks_that_train") == 12, "depths 2, 4, 8, 12 at three widths"
    assert ours("sep_up", "train_acc_best", "networks_that_train") == 54
    assert ours("sep_up", "train_acc_best", "best_for_the_pair") == 48, "all but those of depth 2 and 4"
    assert ours("relu", "val_acc_best", "best_for_the_pair") == 6
    assert ours("relu", "train_acc_best", "best_accuracy") == 0.6
    best = found["sep_up", "val_acc_best", "best_accuracy"]
    assert (best.published, best.least, best.most) == (0.9911, 0.8, 0.8)
    assert compare_table(None, published).empty


def test_a_diverged_network_loses_its_pair() -> None:
    one, other = np.array([[0.2, np.nan], [np.nan, 0.5]]), np.array([[np.nan, 0.3], [np.nan, 0.5 + 1e-12]])
    assert wins_by_seed(one, other).tolist() == [1, 0]
    assert wins_by_seed(other, one).tolist() == [0, 1]
