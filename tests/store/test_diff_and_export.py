"""Two stores beside each other, and a store's rows as a file for other programs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray

from jumpstart_exp.cell import Cell
from jumpstart_exp.result import LayerCensus, Metric, Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store
from jumpstart_exp.store.arrays import to_xarray
from jumpstart_exp.store.comparison import compare
from jumpstart_exp.store.export import table_of

LARGEST_SEED = 2**32 - 1
STORE = "jumpstart_exp.store"


def cell(depth: int = 2, width: int = 3, seed: int = 0, method: str = "relu", **values: Any) -> Cell:
    penalty = PenaltySpec(kind="UP" if method == "sep_up" else "none")
    return Cell(
        depth=depth, width=width, seed=seed, method=method, penalty=penalty, optimizer=OptimizerSpec(epochs=9), **values
    )


def trained(of: Cell, **values: Any) -> Result:
    census = LayerCensus(*([0.25] * of.depth for _ in range(4)), 0.5)
    accuracy = Metric(0.1, 0.1 + of.depth / 7, 1)
    made = Result(of, "done", "eager", "cpu", n_params=7, epochs_run=9, train_acc=accuracy, census_last=census)
    return replace(made, **values)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, results: Sequence[Result]) -> Path:
        Store(tmp_path / name).write(results)
        return tmp_path / name

    return written


CELLS = [cell(depth, seed=seed, method=method) for depth in (1, 5) for seed in (0, 1) for method in ("relu", "sep_up")]
TRAINED = [trained(one) for one in CELLS]


def test_stores_with_the_same_results_are_equal_whoever_trained_them_when_and_how_fast(write):
    again = [replace(one, seconds=3.0, engine="native", peak_memory_bytes=5, started="2020") for one in TRAINED]
    a, b = write("a", TRAINED), write("b", again[::-1])
    Store(b).add_labels([(CELLS[0].key, "another")])
    found = compare(Store(a), Store(b))
    assert (found.is_equal, found.equal, found.different) == (True, 8, [])


def test_what_only_one_has_and_what_differs_is_told_apart(write):
    census = LayerCensus(*([0.5] * 5 for _ in range(4)), 0.5)
    changed = [
        *TRAINED[2:5],
        replace(TRAINED[5], train_acc=Metric(0.1, np.nextafter(TRAINED[5].train_acc.best or 0, 1), 1)),
        replace(TRAINED[6], status="diverged", diverged_epoch=4, epochs_run=4, train_acc=Metric(None, 0.5, 1)),
        replace(TRAINED[7], census_last=census, engine="native"),
        trained(cell(3)),
    ]
    found = compare(Store(write("a", TRAINED)), Store(write("b", changed)))
    assert found.only_first == {one.key: f"moons {one.method} 1×3 seed 0" for one in CELLS[:2]}
    assert found.only_second == {cell(3).key: "moons relu 3×3 seed 0"}
    assert (found.equal, found.is_equal) == (3, False)
    by_key = {one.key: one for one in found.different}
    assert by_key.keys() == {one.key for one in CELLS[5:]}
    assert [*by_key[CELLS[5].key].values] == ["train_acc_best"]
    assert by_key[CELLS[6].key].values["status"] == ("done", "diverged")
    assert by_key[CELLS[6].key].values["train_acc_last"] == (0.1, None)
    assert by_key[CELLS[6].key].is_same_machine
    last = by_key[CELLS[7].key]
    assert (last.engines, last.is_same_machine) == (("eager", "native"), False)
    assert last.values["dead_units_by_layer_last"] == ((0.25,) * 5, (0.5,) * 5)


def test_what_one_version_did_not_count_is_no_difference(write):
    without = [replace(one, census_last=None) for one in TRAINED]
    found = compare(Store(write("a", TRAINED)), Store(write("b", without)))
    # the census itself always was; by layer, and at some layer, was not
    assert {name for one in found.different for name in one.values} == {
        f"{name}_last" for name in ("dead_units", "linear_units", "dead_points", "linear_points")
    }


def test_the_command_says_it_like_diff(write, answer):
    write("a", TRAINED)
    write("b", [replace(TRAINED[0], train_acc=Metric(0.2, 0.5, 1)), *TRAINED[1:]])
    write("c", TRAINED[1:])
    done = answer("diff", "a", "b", module=STORE)
    assert done.returncode == 1
    words = "moons relu 1×3 seed 0: train_acc_last 0.1 and 0.2 and 1 more (eager and eager)"
    assert f"! {CELLS[0].key} {words}\n" in done.stdout
    assert done.stdout.endswith(
        "only in a: 0\nonly in b: 0\nequal: 7\ndifferent: 1, 1 of one engine, machine and versions\n"
    )
    same = answer("diff", "a", "a", module=STORE)
    assert (same.returncode, same.stdout) == (0, "only in a: 0\nonly in a: 0\nequal: 8\ndifferent: 0\n")
    less = answer("diff", "a", "c", "format=json", module=STORE)
    assert less.returncode == 1
    assert json.loads(less.stdout) == {"only_first": [CELLS[0].key], "only_second": [], "equal": 7, "different": []}
    for typed, words in [
        (["diff", "a"], "diff takes two results folders, diff A B, and not 1"),
        (["diff", "a", "nowhere"], "no results in nowhere: there is no such folder"),
        (["diff", "a", "b", "show=-1"], "show='-1' is not allowed"),
        (["diff", "a", "b", "format=xml"], "format=xml is not allowed: one of text, json"),
        (["diff", "a", "b", "results_dir=a"], "results_dir= does not go with diff"),
        (["verify", "a"], "'a' is not an argument"),
    ]:
        wrong = answer(*typed, module=STORE)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1), wrong.stderr
        assert words in wrong.stderr


def test_a_long_difference_is_cut_unless_all_is_asked_for(write, answer):
    write("a", TRAINED)
    (Path(write("b", TRAINED[:1])).parent / "empty").mkdir()
    short = answer("diff", "a", "empty", "show=2", module=STORE)
    assert short.stdout.count("\n< ") + short.stdout.startswith("< ") == 2
    assert "  … 6 more only in a (show=all)" in short.stdout
    assert answer("diff", "a", "empty", "show=all", module=STORE).stdout.count("< ") == 8


def test_a_csv_is_a_tidy_table_that_pandas_reads_back(write, answer, tmp_path):
    write("results", [*TRAINED, trained(cell(6), status="failed", error="out, of\nmemory", train_acc=Metric())])
    Store(tmp_path / "results").add_labels([(CELLS[0].key, "plain")])
    done = answer("export", "to=all.csv", module=STORE)
    assert (done.returncode, done.stderr) == (0, "")
    table = pd.read_csv(tmp_path / "all.csv")
    assert done.stdout == f"all.csv: {len(table)} rows of {len(table.columns)} columns\n"
    assert len(table) == 10  # a row for each label
    assert sorted(table.loc[table["key"] == CELLS[0].key, "method"]) == ["plain", "relu"]
    by_key = table.drop_duplicates("key").set_index("key")
    for one in TRAINED:
        row = by_key.loc[one.cell.key]
        assert (row["depth"], row["seed"], row["optimizer.epochs"]) == (one.cell.depth, one.cell.seed, 9)
        assert row["train_acc_best"] == one.train_acc.best  # to the bit
        assert (row["penalty.weight"] == 1e-4) == (one.cell.method == "sep_up")
    failed = by_key.loc[cell(6).key]
    assert (failed["status"], failed["error"]) == ("failed", "out, of\nmemory")
    assert np.isnan(failed["train_acc_best"])
    assert not {"dataset.noise", "dead_units_by_layer_last", "label_check", "labels"} & {*table.columns}
    layered = table_of(Store(tmp_path / "results").cells(), ["dead_units_by_layer_last"])
    assert layered["dead_units_by_layer_last"].tolist()[0] in ("[0.25]", "[0.25, 0.25, 0.25, 0.25, 0.25]")


def test_a_netcdf_is_the_labelled_array_that_xarray_reads_back(write, answer, tmp_path):
    write("results", [*TRAINED, trained(cell(5, seed=LARGEST_SEED))])
    done = answer("export", "to=grid.nc", "columns=train_acc_best,n_params,dead_units_by_layer_last", module=STORE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "grid.nc: 4 arrays of 2 depth × 1 width × 2 method × 3 seed × 5 layer\n"
    with xarray.open_dataset(tmp_path / "grid.nc", engine="scipy") as found:
        expected = to_xarray(Store(tmp_path / "results").cells(), [*found.data_vars])
        for name, array in expected.data_vars.items():
            assert found[name].dims == array.dims
            np.testing.assert_array_equal(found[name].values.astype(array.dtype), array.values)
        assert found["seed"].values.tolist() == [0, 1, LARGEST_SEED]
        assert found["method"].values.tolist() == ["relu", "sep_up"]
        assert found["penalty.kind"].values.tolist() == ["none", "UP"]
        assert found["depth"].attrs["long_name"] == "hidden layers"
        assert (found.attrs["dataset"], found.attrs["optimizer.epochs"]) == ("moons", 9)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_a_filter_chooses_what_is_written(write, answer, tmp_path):
    write("results", TRAINED)
    Store(tmp_path / "results").add_labels([(CELLS[0].key, "plain")])
    where = "where=depth*width<=3 and method!='relu' and penalty.weight<1"
    assert answer("export", "to=some.csv", where, "columns=val_acc_best", module=STORE).returncode == 0
    table = pd.read_csv(tmp_path / "some.csv")
    assert sorted(zip(table["method"], table["depth"], table["seed"], strict=True)) == [
        ("plain", 1, 0),
        ("sep_up", 1, 0),
        ("sep_up", 1, 1),
    ]
    assert "val_acc_best" in table.columns and "train_acc_best" not in table.columns


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ([], 2, "export needs a file: to=FILE.csv or to=FILE.nc"),
        (["to=a.txt"], 2, "to='a.txt' is not allowed: it must be a file that ends in .csv or .nc"),
        (["to=a.csv", "columns=train_ac_best"], 2, "is not a column of the store; did you mean train_acc_best?"),
        (["to=a.csv", "where=depth>9"], 2, "where='depth>9' leaves none of 8 cells: depth is 1, 5"),
        (["to=a.csv", "where=train_acc_best>0.5"], 2, "train_acc_best is not a setting of a cell"),
        (["to=nowhere/a.csv"], 1, "to='nowhere/a.csv' cannot be written: No such file or directory"),
        (["to=a.csv", "results_dir=none"], 1, "no results in none: there is no such folder"),
        (["to=a.nc", "results_dir=empty"], 1, "empty: there are no rows"),
        (["to=a.csv", "results_dir=empty"], 1, "empty: there are no rows"),
        (["to=a.csv", "format=json"], 2, "format= does not go with export"),
    ],
)
def test_what_cannot_be_exported_is_one_line(write, answer, tmp_path, typed, code, words):
    write("results", TRAINED)
    (tmp_path / "empty").mkdir()
    done = answer("export", *typed, module=STORE)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert words in done.stderr
    assert not (tmp_path / "a.csv").exists()
