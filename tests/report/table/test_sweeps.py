"""Which figures are one sweep, what of it is an axis, and which of them keep files of their own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored_tables import cell, grid_rows, row, table

from jumpstart_exp.report.registry import MOST_ALIKE, Stored, sections
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.report.table.sweeps import MOST_ALONE, Sweep, sweeps, value_words
from jumpstart_exp.store import Store

RATES = [float(rate) for rate in np.geomspace(1e-4, 1, 30)]


def found(rows: list[dict], *, each: bool = False) -> tuple[Sweep, ...]:
    cells = table(rows)
    return sweeps(figure_grids(cells), cells, each=each)


def rates(values: list[float], methods: tuple[str, ...] = ("relu", "sep_up"), **settings: Any) -> list[dict]:
    """Best at 0.01: by a factor of 10 from there the accuracy falls by 0.1."""
    return [
        of
        for rate in values
        for of in grid_rows(
            [*methods], [1, 5], [2, 4], [0, 1], lambda _, r=rate: 1 - abs(np.log10(r) + 2) / 10,
            optimizer__lr=rate, **settings,
        )
    ]  # fmt: skip


def penalties(values: list[float], **settings: Any) -> list[dict]:
    """ReLU once, and Sep-UP at every λ."""
    rows = grid_rows(["relu"], [1, 5], [2, 4], [0, 1], lambda _: 0.6, **settings)
    for weight in values:
        rows += grid_rows(["sep_up"], [1, 5], [2, 4], [0, 1], lambda _: 0.97, penalty__weight=weight, **settings)
    return rows


def test_thirty_learning_rates_are_one_sweep_and_the_best_alone_keeps_its_own_files() -> None:
    (sweep,) = found(rates(RATES))
    assert (sweep.names, sweep.title) == (("optimizer.lr",), "MOONS · mlp · 5000 epochs")
    assert sweep.values == {"optimizer.lr": tuple(RATES)}
    assert [(method.label, len(method.values)) for method in sweep.methods] == [("relu", 30), ("sep_up", 30)]
    (best,) = [grid for grid in sweep.grids if grid.slug in sweep.own]
    nearest = min(RATES, key=lambda rate: abs(np.log10(rate) + 2))
    assert best.settings["relu"]["optimizer.lr"] == nearest
    (all_of_them,) = found(rates(RATES), each=True)
    assert len(all_of_them.own) == 30


def test_a_swept_methods_cells_stand_at_their_value_pair_and_seed() -> None:
    (sweep,) = found(rates([0.1, 0.01, 0.001])[::-1])
    grid = sweep.methods[1].grid
    assert (grid.methods, grid.depths, grid.widths, grid.seeds) == (("0.001", "0.01", "0.1"), (1, 5), (2, 4), (0, 1))
    np.testing.assert_allclose(grid.accuracy["train_acc_best"][:, 1, 0, 1], [0.9, 1.0, 0.9])
    np.testing.assert_allclose(grid.accuracy["val_acc_last"][:, 0, 1, 0], [0.75, 0.85, 0.75])


def test_three_weights_and_two_rates_are_one_sweep_over_both_with_relu_over_the_rates_alone() -> None:
    rows = [of for rate in (0.01, 0.001) for of in penalties([1e-5, 1e-4, 1e-3], optimizer__lr=rate)]
    (sweep,) = found(rows)
    assert sweep.names == ("penalty.weight", "optimizer.lr") and len(sweep.grids) == 6
    relu, sep_up = sweep.methods
    assert relu.values == ((None, 0.001), (None, 0.01)) and relu.grid.methods == (
        "optimizer.lr=0.001",
        "optimizer.lr=0.01",
    )
    assert len(sep_up.values) == 6 and sep_up.grid.methods[0] == "penalty.weight=1e-5, optimizer.lr=0.001"
    assert len(sweep.own) == 1


def test_few_values_keep_all_their_files() -> None:
    (sweep,) = found(rates(RATES[:MOST_ALONE]))
    assert len(sweep.own) == MOST_ALONE
    (sweep,) = found(rates(RATES[: MOST_ALONE + 1]))
    assert len(sweep.own) == 1


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("optimizer__batch_size", [16, None]),
        ("optimizer__epochs", [100, 200]),
        ("dataset__noise", [None, 0.2]),
        ("penalty__balance", [0.5, 0.6]),
        ("penalty__aggregate", ["sum", "l2"]),
        ("network__init", ["glorot_uniform", "kaiming_uniform"]),
        ("precision", ["float32", "float64"]),
        ("optimizer__shuffle", [True, False]),
    ],
)
def test_any_setting_of_numbers_texts_or_truths_is_an_axis(setting: str, values: list[Any]) -> None:
    more = {"optimizer__batch_size": 16} if setting == "optimizer__shuffle" else {}
    rows = [of for v in values for of in grid_rows(["sep_up"], [1, 5], [2], [0], lambda _: 0.9, **{setting: v}, **more)]
    (sweep,) = found(rows)
    assert sweep.names == (setting.replace("__", "."),)
    assert len(sweep.methods[0].values) == 2


ADAM = {"optimizer__name": "adam"}
SGD = {"optimizer__name": "sgd", "optimizer__momentum": 0.9, "optimizer__nesterov": True}
RMSPROP = {"optimizer__name": "rmsprop"}


def optimizers(*of: dict[str, Any]) -> list[dict]:
    return [row for settings in of for row in grid_rows(["relu"], [1, 5], [2, 4], [0], lambda _: 0.9, **settings)]


@pytest.mark.parametrize("chosen", [(ADAM, SGD, RMSPROP), (SGD, RMSPROP)])
def test_what_only_an_optimizer_has_is_told_by_its_name(chosen: tuple[dict[str, Any], ...]) -> None:
    (sweep,) = found(optimizers(*chosen))
    assert sweep.names == ("optimizer.name",)
    assert sweep.values["optimizer.name"] == tuple(sorted(of["optimizer__name"] for of in chosen))
    assert sweep.title == "MOONS · mlp · 5000 epochs · sgd with momentum=0.9, nesterov=true"
    titles = {grid.title for grid in sweep.grids}
    sgd = "optimizer.momentum=0.9 · optimizer.nesterov=true · optimizer.name=sgd"
    assert f"MOONS · mlp · 5000 epochs · {sgd}" in titles
    assert "MOONS · mlp · 5000 epochs · optimizer.name=rmsprop" in titles


def test_what_an_optimizer_has_with_two_values_is_swept_itself() -> None:
    slower = {**SGD, "optimizer__momentum": 0.5}
    (sweep,) = found(optimizers(ADAM, SGD, slower))
    assert {*sweep.names} == {"optimizer.name", "optimizer.momentum"}
    assert sweep.title == "MOONS · mlp · 5000 epochs · sgd with nesterov=true"
    assert sweep.methods[0].values == ((None, "adam"), (0.5, "sgd"), (0.9, "sgd"))


def test_figures_that_differ_in_more_than_one_setting_at_once_are_no_sweep() -> None:
    rows = rates([0.01], optimizer__epochs=100) + rates([0.001], optimizer__epochs=200)
    assert found(rows) == ()
    assert found(rates([0.01]) + rates([0.001], dataset={"name": "moons", "noise": 0.3})) == ()


def test_figures_of_other_networks_are_no_sweep() -> None:
    small = grid_rows(["relu"], [1, 2], [2], [0], lambda _: 0.9, optimizer__epochs=100)
    large = grid_rows(["relu"], [1, 2, 3, 4, 5], [2], [0], lambda _: 0.9, optimizer__epochs=200)
    assert found(small + large) == (), "two of five depths in common"
    (sweep,) = found(small + large[:4])
    assert sweep.methods[0].grid.depths == (1, 2), "compared are the networks that all values have"


def test_other_numerics_are_never_an_axis() -> None:
    rows = rates([0.01])
    assert (
        found([of | {"numerics": 1} for of in rows] + [of | {"numerics": 2, "key": of["key"][::-1]} for of in rows])
        == ()
    )


def test_sweeps_of_two_methods_are_one_with_each_over_its_own_setting() -> None:
    rows = [
        of for eps in (0.001, 0.1) for of in grid_rows(["relu_bn"], [1], [2], [0], lambda _: 0.9, network__norm_eps=eps)
    ]
    (sweep,) = found(rows + [of for of in penalties([1e-5, 1e-4, 1e-3]) if of["depth"] == 1 and of["width"] == 2])
    values = {method.label: method.values for method in sweep.methods}
    assert sweep.names == ("penalty.weight", "network.norm_eps")
    assert values == {"relu": ((None, None),), "relu_bn": ((None, 0.001), (None, 0.1)),
                      "sep_up": tuple((weight, None) for weight in (1e-5, 1e-4, 1e-3))}  # fmt: skip


def test_more_values_methods_and_seeds_keep_the_name() -> None:
    (few,) = found(rates([0.01, 0.1]))
    assert few.slug.startswith("moons_mlp_5000epochs_over_optimizer-lr_")
    (many,) = found(rates(RATES[::3]) + rates(RATES[::3], ("sep_p",)))
    assert many.slug == few.slug
    (other,) = found(rates([0.01, 0.1], optimizer__beta1=0.5))
    assert other.slug != few.slug


def test_two_sweeps_of_one_setting_have_names_of_their_own() -> None:
    deep = [
        row(cell("relu", 50, 2, 0, optimizer__lr=rate), 0.9) for rate in (0.5, 0.25)
    ]  # no network in common with the others
    one, other = found(rates([0.01, 0.1]) + deep)
    assert one.slug != other.slug


def test_values_are_told_in_few_digits_where_that_tells_them_apart() -> None:
    assert value_words("optimizer.lr", [1e-5, 0.0031622776601683794, 5000.0]) == ["1e-5", "0.003162", "5000"]
    assert value_words("optimizer.lr", [0.123451, 0.123452]) == ["0.123451", "0.123452"]
    assert value_words("optimizer.batch_size", [None, 16.0]) == ["full batch", "16"]


def test_a_figure_of_a_published_study_keeps_its_files(tmp_path: Path) -> None:
    cells = table(rates(RATES[::4]))
    grids = figure_grids(cells)
    kept = [replace(grids[0], studies=("quick",)), *grids[1:]]
    stored = Stored(tmp_path, tmp_path, Store(tmp_path), cells, tuple(kept), sweeps(grids, cells), None)
    assert [grid.slug for grid in stored.alone if grid.studies] == [grids[0].slug] and len(stored.alone) == 2


def test_the_number_of_figures_with_files_is_bounded_where_no_sweep_joins_them(tmp_path: Path) -> None:
    """Pairs drawn at random: no two figures differ in one setting only."""
    rows = [
        of
        for number in range(20)
        for of in grid_rows(
            ["sep_up"], [1, 5], [2], [0], lambda _, n=number: 1 - n / 40,
            optimizer__lr=1e-4 * (1 + number), penalty__weight=1e-5 * (1 + number),
        )
    ]  # fmt: skip
    cells = table(rows)
    grids = tuple(figure_grids(cells))
    assert len(grids) == 20 and sweeps(grids, cells) == ()
    grids = (*grids[:-1], replace(grids[-1], studies=("quick",)))
    stored = Stored(tmp_path, tmp_path, Store(tmp_path), cells, grids, (), None)
    assert len(stored.alone) == MOST_ALIKE + 1, "a published study's has its own"
    own = [grid for grid in stored.alone if not grid.studies]
    assert {number for number in range(20) for grid in own
            if grid.settings["sep_up"]["optimizer.lr"] == 1e-4 * (1 + number)} >= {0, 1, 2}, "the best"  # fmt: skip
    titles = [title for title, _ in sections(stored, "heatmaps")]
    assert all(
        title.endswith("; 7 others of these methods on the page only (swept=all draws each)") for title in titles
    )
    assert len(replace(stored, each=True).alone) == 20


def test_which_layers_are_relaxed_is_swept_and_outputs_alone_are_a_value_of_their_own() -> None:
    """Lists, every layer (null), every second one, and a stride beyond the depth, which leaves the outputs alone."""
    choices = ({"layers": (1, 2)}, {"layers": (3,)}, {}, {"every": 2}, {"every": 9})
    cells = [
        cell("rai", 4, 3, seed, rai__weight=1.0, rai__include_output=True, **{f"rai__{k}": v for k, v in of.items()})
        for of in choices
        for seed in (0, 1)
    ]
    stored = table([row(each, 0.9) for each in cells])
    (sweep,) = sweeps(figure_grids(stored), stored)
    assert set(sweep.names) == {"rai.layers", "rai.every"}
    assert len(sweep.methods[0].values) == len(choices), "each by itself, and no two results at one place"
