"""Rows of the store as labelled arrays: every row at its place; what is a dimension, a coordinate, an attribute."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.data.sklearn import Sklearn
from jumpstart_exp.result import LayerCensus, Metric, Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store, arrays
from jumpstart_exp.store.arrays import ArrayError, to_xarray

RELU, SEP_UP = PenaltySpec(), PenaltySpec(kind="UP")


def cell(depth: int = 2, width: int = 3, seed: int = 0, method: str = "relu", **values: Any) -> Cell:
    values = {"penalty": SEP_UP if method.startswith("sep") else RELU, "optimizer": OptimizerSpec(epochs=9)} | values
    return Cell(depth=depth, width=width, seed=seed, method=method, **values)


def accuracy(of: Cell) -> float:
    """A number that tells cells apart."""
    return (of.depth + 10 * of.width + 100 * of.seed + 1000 * (of.penalty.kind == "UP")) / 10_000


def trained(of: Cell, **values: Any) -> Result:
    census = LayerCensus(*([0.25] * of.depth for _ in range(4)), 0.5)
    metric = Metric(0.001, accuracy(of), 1)
    made = Result(
        of, "done", "eager", "cpu", n_params=7, train_acc=metric, epochs_run=of.optimizer.epochs, census_last=census
    )
    return replace(made, **values)


def rows(tmp_path: Path, cells: Sequence[Cell], **values: Any) -> pd.DataFrame:
    store = Store(tmp_path)
    store.write([trained(one, **values) for one in cells])
    return store.cells()


def test_every_row_stands_at_its_depth_width_method_and_seed(tmp_path):
    cells = [cell(d, w, s, m) for d in (5, 1) for w in (2, 4) for s in (0, 7) for m in ("relu", "sep_up")]
    array = to_xarray(rows(tmp_path, cells[1:]))
    assert array["train_acc_best"].dims == ("depth", "width", "method", "seed")
    assert array.sizes == {"depth": 2, "width": 2, "method": 2, "seed": 2}
    for one in cells[1:]:
        at = array.sel({"depth": one.depth, "width": one.width, "seed": one.seed, "method": one.method})
        assert float(at["train_acc_best"]) == accuracy(one)
        assert (str(at["status"].values), float(at["n_params"])) == ("done", 7)
    missing = array.sel({"depth": 5, "width": 2, "seed": 0, "method": "relu"})
    assert (math.isnan(missing["train_acc_best"]), str(missing["status"].values)) == (True, "")
    assert array["train_acc_best"].mean("seed").sel({"depth": 1, "width": 2, "method": "relu"}) == pytest.approx(0.0371)


def test_settings_on_which_all_agree_are_attributes_and_others_follow_the_method(tmp_path):
    array = to_xarray(rows(tmp_path, [cell(), cell(method="sep_up")]))
    assert (array.attrs["dataset"], array.attrs["optimizer.epochs"]) == ("moons", 9)
    assert isinstance(array.attrs["optimizer.epochs"], int)
    assert array.attrs["optimizer.batch_size"] == "null"
    weight = array["penalty.weight"]
    assert weight.dims == ("method",)
    assert float(weight.sel({"method": "sep_up"})) == 1e-4
    assert math.isnan(weight.sel({"method": "relu"}))
    assert array["penalty.kind"].values.tolist() == ["none", "UP"]
    assert array["penalty.aggregate"].values.tolist() == ["null", "sum"]
    assert "λ" in array["penalty.weight"].attrs["long_name"]
    assert array["depth"].attrs["long_name"] == "hidden layers"
    assert array["train_acc_best"].attrs["long_name"] == "training accuracy at its best epoch"
    assert array["seconds"].attrs["units"] == "s"


def test_swept_settings_are_dimensions_and_null_a_place_of_its_own(tmp_path):
    weights = [1e-4, 1e-3]
    cells = [cell(seed=s, method="sep_up", penalty=replace(SEP_UP, weight=w)) for s in (0, 1) for w in weights]
    array = to_xarray(rows(tmp_path, [*cells, cell(seed=1)]))
    assert array["train_acc_best"].dims == ("depth", "width", "method", "seed", "penalty.weight")
    assert array["penalty.weight"].values[:2].tolist() == weights
    assert math.isnan(array["penalty.weight"].values[2])
    relu = array["status"].sel({"method": "relu", "seed": 1}).values.ravel().tolist()
    assert relu == ["", "", "done"]
    assert array["penalty.kind"].dims == ("method",)


def test_lambda_of_nothing_under_the_same_label_needs_no_second_dimension(tmp_path):
    cells = [cell(method="sep_up", penalty=replace(SEP_UP, weight=w)) for w in (0.0, 1e-4, 1e-3)]
    array = to_xarray(rows(tmp_path, cells))
    assert array["status"].dims == ("depth", "width", "method", "seed", "penalty.weight")
    assert array["penalty.kind"].dims == ("penalty.weight",)


def test_settings_that_go_together_are_one_dimension(tmp_path):
    optimizer = OptimizerSpec(epochs=2, lr=0.001, batch_size=128)
    images = [cell(method=m, dataset=Mnist(n_train=500), optimizer=optimizer) for m in ("relu", "sep_up")]
    array = to_xarray(rows(tmp_path, [*images, cell()]))
    assert array["status"].dims == ("depth", "width", "method", "seed", "dataset")
    for name in ("dataset.n_train", "optimizer.lr", "optimizer.epochs", "optimizer.batch_size"):
        assert array[name].dims == ("dataset",)
    assert array["optimizer.epochs"].sel(dataset="mnist") == 2


def test_what_follows_from_a_datasets_settings_is_no_dimension(tmp_path):
    found = {"features": 3, "classes": 2, "train_points": 8, "val_points": 2}
    tables = [
        cell(dataset=Sklearn(loader=name, n_samples=samples, content=f"sha256-{name}", **found))
        for name, samples in (("load_wine", None), ("make_moons", 40))
    ]
    array = to_xarray(rows(tmp_path, tables))
    assert array["status"].dims == ("depth", "width", "method", "seed", "dataset.loader")
    assert array["dataset.content"].sel({"dataset.loader": "load_wine"}) == "sha256-load_wine"


def test_a_regression_has_its_scores_and_every_activation_its_firing_rate(tmp_path):
    diabetes = Sklearn(loader="load_diabetes", content="sha256-0", features=10, train_points=8, val_points=2)
    activity = LayerCensus(None, None, None, None, None, (0.5, 0.5), (0.25, 0.25))
    array = to_xarray(rows(tmp_path, [cell(dataset=diabetes)], census_last=activity))
    assert array["train_r2_best"].item() == pytest.approx(accuracy(cell()))
    assert (array["dormant_units_last"].item(), array["firing_rate_last"].item()) == (0.5, 0.25)


def test_nothing_follows_from_the_seed(tmp_path):
    cells = [cell(seed=s, optimizer=OptimizerSpec(epochs=9, lr=lr)) for s, lr in ((0, 0.1), (1, 0.2))]
    array = to_xarray(rows(tmp_path, cells))
    assert array["status"].values.squeeze().tolist() == [["done", ""], ["", "done"]]
    assert array["status"].dims[-1] == "optimizer.lr"


def test_a_result_that_two_methods_share_stands_at_both(tmp_path):
    one = cell()
    table = rows(tmp_path, [one])
    Store(tmp_path).add_labels([(one.key, "plain")])
    array = to_xarray(Store(tmp_path).cells())
    assert array["method"].values.tolist() == ["plain", "relu"]
    assert (array["train_acc_best"].values == accuracy(one)).all()
    assert to_xarray(table.drop(columns="labels"))["method"].values.tolist() == ["relu"]


def test_lists_by_layer_have_a_dimension_of_layers(tmp_path):
    array = to_xarray(rows(tmp_path, [cell(1), cell(3)]), ["dead_units_by_layer_last", "train_acc_best", "depth"])
    assert set(array.data_vars) == {"status", "dead_units_by_layer_last", "train_acc_best"}
    layers = array["dead_units_by_layer_last"]
    assert layers.dims == ("depth", "width", "method", "seed", "layer")
    assert array["layer"].values.tolist() == [1, 2, 3]
    np.testing.assert_equal(layers.values.squeeze(), [[0.25, np.nan, np.nan], [0.25, 0.25, 0.25]])
    assert array["train_acc_best"].dims == ("depth", "width", "method", "seed")


def test_a_diverged_cell_says_so(tmp_path):
    table = rows(tmp_path, [cell()], status="diverged", train_acc=Metric(None, 0.5, 1), diverged_epoch=3, epochs_run=3)
    array = to_xarray(table, ["train_acc_last", "diverged_epoch"])
    assert array["status"].item() == "diverged"
    assert math.isnan(array["train_acc_last"].item())


def test_what_cannot_be_laid_out_is_one_line(tmp_path, monkeypatch):
    table = rows(tmp_path, [cell(), cell(seed=1)])
    twice = pd.concat([table, table.assign(key="again")])
    for wrong, columns, words in [
        (table.iloc[:0], None, "there are no rows"),
        (table, ["train_acc"], "train_acc is not a column; did you mean train_acc_"),
        (table.drop(columns="seed"), None, "no column seed"),
        (twice, None, f"{table['key'][0]} and again have one place, depth=2, width=3, method=relu, seed="),
    ]:
        with pytest.raises(ArrayError, match=words) as caught:
            to_xarray(wrong, columns)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(arrays, "MOST_PLACES", 1)
    with pytest.raises(ArrayError, match=r"1 depth × 1 width × 1 method × 2 seed are 2 places for 2 rows, more than 1"):
        to_xarray(table)
