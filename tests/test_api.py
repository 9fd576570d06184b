"""The command line from Python: the same cells, store and resume; tables that say what they hold."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from hydra import compose, initialize, version
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

import jumpstart_exp
from jumpstart_exp import grid, load, train
from jumpstart_exp.api import CellsFailedWarning, Grid, Results
from jumpstart_exp.cell import Cell
from jumpstart_exp.config.from_python import override
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.engines import load_and_train
from jumpstart_exp.result import Result
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store, StoreError
from jumpstart_exp.sweep import runner
from jumpstart_exp.sweep.workers import EngineSetup, Progress, Stop

ROOT = Path(jumpstart_exp.__file__).parents[1]
KEYS = [json.loads(line) for line in (Path(__file__).parent / "keys.jsonl").read_text().splitlines()]
SHORT = OptimizerSpec(epochs=2)
SMALL = [
    Cell(depth=depth, width=3, seed=seed, method=method, penalty=PenaltySpec(kind=kind), optimizer=SHORT)
    for depth in (1, 2)
    for method, kind in (("relu", "none"), ("sep_up", "UP"))
    for seed in (0, 1)
]
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)

Events = Generator[Progress | Result | None]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Cells are really trained, but in this process; those that were."""
    trained: list[Cell] = []

    def train_here(fleets: Sequence[Sequence[Cell]], setup: EngineSetup, workers: int, stop: Stop) -> Events:
        for fleet in fleets:
            results: list[Result] = []
            load_and_train(setup.make(), fleet, setup.data_dir, on_result=results.append, on_progress=lambda *_: None)
            trained.extend(fleet)
            yield from results

    monkeypatch.setattr(runner, "train_in_parallel", train_here)
    return trained


def of(cells: Sequence[Cell]) -> Grid:
    return Grid(tuple(cells), RunSettings())


def seeds(count: int) -> Grid:
    return of([Cell(seed=seed, optimizer=SHORT) for seed in range(count)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results_of(cells: Sequence[Cell], outcome: Callable[[Result], Result] = lambda result: result) -> Any:
    """Stands in for the workers: every cell comes out as it is told."""

    def told(fleets: Sequence[Sequence[Cell]], setup: EngineSetup, workers: int, stop: Stop) -> Events:
        for number, cell in enumerate(cell for fleet in fleets for cell in fleet):
            if number == len(cells):
                os.kill(os.getpid(), signal.SIGINT)
            if stop:
                return
            yield outcome(Result(cell, "done", setup.engine.name))

    return told


# What is to be trained


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [
        ("depth", 3, "depth=3"),
        ("depth", [1, 10], "depth=1,10"),
        ("depth", (1, 10, ..., 150), "depth=1,10,...,150"),
        ("depth", "1,10,...,150", "depth=1,10,...,150"),
        ("depth", np.arange(1, 4), "depth=1,2,3"),
        ("depth", pd.Series([4, 5]), "depth=4,5"),
        ("depth", (n * n for n in (1, 2)), "depth=1,4"),
        ("seed", range(5), "seed=range(0,5,1)"),
        ("optimizer.lr", np.float64(1e-3), "optimizer.lr=0.001"),
        ("optimizer.lr", "logrange(1e-3,1e-1,3)", "optimizer.lr=logrange(1e-3,1e-1,3)"),
        ("optimizer.batch_size", None, "optimizer.batch_size=null"),
        ("optimizer.batch_size", [None, 32], "optimizer.batch_size=null,32"),
        ("download", [True, False], "download=true,false"),
        ("method", ["relu", "sep_up"], "method=relu,sep_up"),
        ("method", ["a,b", "null", "..."], "method='a,b','null','...'"),
        ("penalty.layer_weights", [1, 0.5], "penalty.layer_weights=[1,0.5]"),
        ("penalty.layer_weights", [[1, 0.5], None], "penalty.layer_weights=[1,0.5],null"),
        ("dataset.path", Path("my data, 2.csv"), "dataset.path='my data, 2.csv'"),
        ("dataset.path", "Größe (1).csv", "dataset.path='Größe (1).csv'"),
        ("dataset.path", ["a.csv", "Größe.csv"], "dataset.path=a.csv,'Größe.csv'"),
        ("dataset.target", "a,b", "dataset.target=a,b"),
        ("experiment", "quick", "+experiment=quick"),
        ("regulariser.settings", {"layers": [1, 2], "of": [None]}, "regulariser.settings={layers:[1,2],of:[null]}"),
        ("regulariser.settings", {"target": 0.5, "deep": True}, "regulariser.settings={target:0.5,deep:true}"),
    ],
)
def test_values_are_written_as_they_are_typed(name: str, value: Any, typed: str) -> None:
    assert override(name, value) == typed


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((), {"depth": [1, 10, ..., 30], "optimizer__lr": [0.1, 0.01], "seed": range(2)}),
        (({"depth": "1,10,...,30", "optimizer.lr": [0.1, 0.01]}, "seed=range(2)"), {}),
        (("depth=1,10,20,30", "optimizer.lr=logrange(0.1,0.01,2)"), {"seed": np.arange(2)}),
    ],
)
def test_all_ways_to_say_it_give_the_same_cells(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    wanted = [(depth, lr, seed) for depth in (1, 10, 20, 30) for lr in (0.1, 0.01) for seed in (0, 1)]
    assert [(cell.depth, cell.optimizer.lr, cell.seed) for cell in grid(*given, **named)] == wanted


def test_keys_are_those_of_the_command_line() -> None:
    wanted = {row["method"]: row["key"] for row in KEYS[:2]}
    cells = grid(depth=20, width=5, seed=3, method=list(wanted))
    assert {cell.method: cell.key for cell in cells} == wanted


def test_a_study_by_its_name_with_other_seeds() -> None:
    cells = grid(experiment="constraints_only_50x4", variant="code", seed=range(3, 5))
    assert {(cell.key, cell.method, cell.seed) for cell in cells} == {
        (again.key, again.method, seed)
        for cell in study_cells("constraints_only_50x4", "code")
        for seed in (3, 4)
        for again in [replace(cell, seed=seed)]
    }


def test_a_grid_says_how_many() -> None:
    assert repr(grid(depth=[1, 2, 3], seed=range(2))) == "Grid(6 cells; depth: 3, seed: 2)"
    assert repr(seeds(1)) == "Grid(1 cell)"


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        ((), {"dpeth": 3}, "dpeth is not a setting; did you mean depth?"),
        ((), {"depth": 0}, "depth=0 is not allowed: it must be an integer from 1 to 100000 (hidden layers)"),
        ((), {"depth": []}, "the sweep is empty: depth has no values"),
        ((), {"depth": {1, 2}}, "depth={1, 2} is not allowed"),
        ((), {"optimizer": {"lr": 0.1}}, "optimizer={'lr': 0.1} is not allowed"),
        ((), {"depth": ["one", 2]}, "depth='one' is not allowed: it must be an integer"),
        ((), {"method": "rlu"}, "did you mean relu?"),
        ((), {"engine": "eager"}, "engine is no setting of a cell: it goes to train(…, engine=…)"),
        ((), {"workers": 2}, "workers is no setting of a cell"),
        (("hydra/launcher=fleet_slurm",), {}, "hydra/launcher is for the command line"),
        (("--config-dir=x",), {}, "--config-dir is for the command line"),
        (("depth=1",), {"depth": 2}, "depth is given twice: depth=1 and depth=2"),
        ((3,), {}, "3 is no override"),
        (({3: 4},), {}, "3 is not the name of a setting"),
        ((), {"config_dir": "nowhere"}, "config_dir='nowhere' is not allowed: there is no such folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given: tuple[Any, ...], named: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        grid(*given, **named)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_methods_of_a_folder_of_ones_own_are_read_again_when_they_change(folder: Path) -> None:
    file = folder / "mine" / "method" / "same.yaml"
    file.parent.mkdir(parents=True)
    for weight in (0.5, 0.25):
        file.write_text(f"# @package _global_\npenalty:\n  kind: UP\n  weight: {weight}\n")
        (cell,) = grid(method="same", config_dir="mine")
        assert (cell.method, cell.penalty.weight) == ("same", weight)
    file.write_text("# @package _global_\npenalty:\n  wieght: 1\n")
    with pytest.raises(SettingError, match=r"same\.yaml: penalty\.wieght is not a setting; did you mean weight"):
        grid(method="same", config_dir="mine")


def test_a_program_that_uses_hydra_has_it_as_it_was(folder: Path) -> None:
    store, own = ConfigStore.instance(), {"mine": 1}
    before, base = store.repo, version.VersionBase.instance().version_base
    store.repo = {**before}
    store.store(name="schema", node=own)  # the name that this package's has
    try:
        with initialize(config_path=None, version_base="1.2"):
            running = GlobalHydra.instance().hydra
            assert len(grid(depth=[1, 2])) == len(grid(depth=[3, 4])) == 2
            with pytest.raises(SettingError):
                grid(depth=0)
            assert GlobalHydra.instance().hydra is running
            assert str(version.getbase()) == "1.2"
            assert OmegaConf.to_container(compose("schema")) == own
    finally:
        store.repo, version.VersionBase.instance().version_base = before, base


def test_threads_may_compose_at_once() -> None:
    found: dict[int, set[int]] = {}

    def composed(depth: int) -> None:
        found[depth] = {cell.depth for cell in grid(depth=depth, seed=range(5))}

    threads = [threading.Thread(target=composed, args=(depth,)) for depth in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {depth: {depth} for depth in (1, 2, 3)}


# Training it


def test_the_command_line_and_python_share_the_store(folder: Path, here: list[Cell], answer: Command) -> None:
    first = train(grid(depth=[1, 2], width=3, optimizer__epochs=2))
    assert list(first["status"]) == ["done"] * 2
    assert len(here) == 2
    said = answer("-m", "depth=1,2,3", "width=3", "optimizer.epochs=2")
    assert said.returncode == 0, said.stderr
    assert "3 cells: 2 stored in results, 1 to train" in said.stdout
    both = train(grid(depth=[1, 2, 3], width=3, optimizer__epochs=2))
    assert len(here) == 3, "nothing is trained again"
    pd.testing.assert_frame_equal(pd.DataFrame(both.iloc[:2]), pd.DataFrame(first))


def test_the_table_has_a_row_a_cell_and_label_in_the_grids_order(folder: Path, here: list[Cell]) -> None:
    up, relu = SMALL[2], SMALL[0]
    cells = [*(replace(each, method=label) for label in ("sep_up", "same") for each in (up, SMALL[3])), relu, up]
    table = train(of(cells))
    assert isinstance(table, Results)
    assert list(zip(table["key"], table["method"], strict=True)) == [(one.key, one.method) for one in cells[:-1]]
    assert len(here) == 3, "equal cells are trained once"
    assert list(table.columns[:15]) == [
        *("dataset", "method", "depth", "width", "seed", "status"),
        *("train_acc_best", "train_acc_last", "val_acc_best", "val_acc_last"),
        *("train_r2_best", "train_r2_last", "val_r2_best", "val_r2_last", "key"),
    ]
    assert "labels" not in table.columns
    stored = Store(folder / "results").cells().set_index("key")
    assert table["val_loss_last"].tolist() == stored["val_loss_last"][table["key"]].tolist()
    assert table["penalty.weight"].isna().tolist() == [False] * 4 + [True]

    whole = load()
    assert sorted(zip(whole["key"], whole["method"], strict=True)) == sorted({(one.key, one.method) for one in cells})
    arrays = table[table["method"] != "same"].to_xarray(["train_acc_best"])
    for row in table.iloc[[0, 4]].itertuples():
        at = arrays["train_acc_best"].sel({name: getattr(row, name) for name in ("depth", "width", "method", "seed")})
        assert float(at) == row.train_acc_best


def test_cells_that_failed_are_rows_with_their_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(result: Result) -> Result:
        return replace(result, status="failed", error="no luck") if result.cell.depth == 2 else result

    cells = of([Cell(depth=depth, seed=seed) for depth in (1, 2) for seed in (0, 1)])
    monkeypatch.setattr(runner, "train_in_parallel", results_of(range(9), outcome))
    words = r"2 of 4 cells failed: unnamed 2×4 seed \d: no luck; unnamed 2×4 seed \d: no luck \(.*retry=\"failed\""
    with pytest.warns(CellsFailedWarning, match=words):
        table = train(cells)
    assert list(table["status"]) == ["done", "done", "failed", "failed"]
    assert table["error"].tolist()[2:] == ["no luck", "no luck"]
    monkeypatch.setattr(runner, "train_in_parallel", results_of(range(9)))
    with pytest.warns(CellsFailedWarning, match="no luck"):
        assert list(train(cells)["status"]) == list(table["status"]), "they are not tried again by themselves"
    assert list(train(cells, retry="failed")["status"]) == ["done"] * 4


def test_ctrl_c_stores_what_is_finished(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = seeds(5)
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(runner, "train_in_parallel", results_of(range(2)))
    words = "stopped: 2 of 5 cells are done and stored in results; run the same command again to go on"
    with pytest.raises(KeyboardInterrupt, match=words):
        train(cells)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(load()) == 2
    monkeypatch.setattr(runner, "train_in_parallel", results_of(range(9)))
    assert list(train(cells)["status"]) == ["done"] * 5


def test_what_asks_to_end_otherwise_has_the_say_again_afterwards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def asked(fleets: Sequence[Sequence[Cell]], setup: EngineSetup, workers: int, stop: Stop) -> Events:
        yield Result(fleets[0][0], "done", "native")
        os.kill(os.getpid(), signal.SIGTERM)
        assert told == [], "not before all is stored"

    monkeypatch.setattr(runner, "train_in_parallel", asked)
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(len(load())))
    try:
        with pytest.raises(KeyboardInterrupt, match="1 of 3 cells"):
            train(seeds(3))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [1]


def test_a_dry_run_gives_what_is_stored(folder: Path, here: list[Cell], capsys: pytest.CaptureFixture[str]) -> None:
    cells = of(SMALL)
    assert train(cells, dry_run=True).empty
    assert "dry run: nothing was trained or written" in capsys.readouterr().out
    assert not (folder / "results").exists()
    train(of(SMALL[4:6]))
    assert train(cells, dry_run=True)["depth"].tolist() == [2, 2]
    assert len(here) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"engin": "eager"}, "engin is not a setting of train; did you mean engine?"),
        ({"depth": 3}, "depth is a setting of cells: it goes to grid(depth=…)"),
        ({"optimizer__lr": 3}, "optimizer__lr is a setting of cells"),
        ({"retry": "all"}, "retry='all' is not allowed: it must be one of none, failed"),
        ({"engine": "fast"}, "fast"),
        ({"plot": True}, "plot=True draws one cell"),
        ({"results_dir": "s3://bucket"}, "results_dir='s3://bucket' is not allowed"),
        ({"workers": 0}, "workers=0 is not allowed"),
    ],
)
def test_run_settings_are_checked(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        train(seeds(1), **settings)
    assert message in str(caught.value)
    assert not (folder / "results").exists()


def test_a_filter_leaves_cells_out_and_bounds_refuse(folder: Path, here: list[Cell]) -> None:
    table = train(of(SMALL), where="depth*width<=3 and method!='relu'")
    assert [(cell.depth, cell.method) for cell in here] == [(1, "sep_up")] * 2
    assert set(zip(table["depth"], table["method"], strict=True)) == {(1, "sep_up")}
    with pytest.raises(SettingError, match="more than max_cells=3 allows"):
        train(of(SMALL), max_cells=3)
    assert len(here) == 2


def test_train_takes_what_grid_gives() -> None:
    with pytest.raises(TypeError, match=r"train takes what grid\(…\) gives, and not a dict"):
        train({"depth": 3})  # type: ignore[arg-type]


def test_a_study_of_ones_own_may_say_how_it_is_run(folder: Path, here: list[Cell]) -> None:
    file = folder / "mine" / "experiment" / "own.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nresults_dir: elsewhere\noptimizer:\n  epochs: 2\n")
    cells = grid(experiment="own", depth=1, config_dir="mine")
    assert isinstance(cells, Grid)
    train(cells)
    assert len(load("elsewhere")) == 1
    train(cells, results_dir=folder / "third")
    assert len(load(folder / "third")) == 1


# Reading it


def test_load_takes_columns_rows_and_curves(folder: Path, here: list[Cell]) -> None:
    train(of(SMALL), curve_every=1)
    some = load(columns=["val_acc_last"], where={"depth": 1, "method": "relu"})
    assert some["seed"].tolist() == sorted(some["seed"]) or len(some) == 2
    assert set(zip(some["depth"], some["method"], strict=True)) == {(1, "relu")}
    assert some["depth"].dtype == np.int64
    assert "val_acc_last" in some.columns and "val_acc_best" not in some.columns
    assert "optimizer.lr" in some.columns, "settings always come along"
    curves = load("results", curves=True, columns=["optimizer.lr"], where={"seed": [1, 7]})
    assert len(curves) == 4 * 2, "cells × epochs"
    assert set(curves["seed"]) == {1}
    assert list(curves.columns[:7]) == ["dataset", "method", "depth", "width", "seed", "status", "key"]
    assert set(curves["optimizer.lr"]) == {0.01}
    last = curves[(curves["epoch"] == 2)].set_index("key")["train_loss"]
    stored = Store("results").cells().set_index("key")["train_loss_last"]
    assert last.to_dict() == stored[last.index].to_dict()


def test_load_says_what_is_wrong(folder: Path) -> None:
    with pytest.raises(StoreError, match="results_dir='reslts' cannot be read: there is no such folder"):
        load("reslts")
    (folder / "results").mkdir()
    assert load().empty
    assert load(curves=True).empty
    with pytest.raises(KeyError, match=r"did you mean optimizer\.lr"):
        load(columns=["optimizer.lrr"])
    with pytest.raises(TypeError, match="must be a list of names"):
        load(columns="depth")
    with pytest.raises(ValueError, match="where depth="):
        load(where={"depth": "deep"})


# In a program, whatever kind


def test_names_are_there_and_others_are_not() -> None:
    assert {"SeparationPenalty", "census_of", "grid", "heatmap", "load", "train"} <= {*dir(jumpstart_exp)}
    assert jumpstart_exp.SeparationPenalty.__module__ == "jumpstart_exp.losses.separation"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = jumpstart_exp.trian


def program(folder: Path, *arguments: str, script: str | None = None) -> str:
    """What a program says that Python runs in the folder, warnings being errors."""
    ran = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", *arguments],
        cwd=folder,
        input=script,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


LIGHT = """
import sys
import jumpstart_exp
heavy = {"torch", "pandas", "hydra", "matplotlib"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
from jumpstart_exp import grid, load, train
try:
    load("nothing")
except Exception as error:
    print(error)
assert not {"torch", "matplotlib"} & sys.modules.keys()
"""
TRAINING = """
from jumpstart_exp import grid, train
print(len(train(grid(depth=[1, 2], width=3, optimizer__epochs=2), workers=1)), "rows")
"""


def test_it_is_light_to_import(tmp_path: Path) -> None:
    assert "there is no such folder" in program(tmp_path, "-c", LIGHT)


@pytest.mark.soak
def test_from_c_and_from_standard_input(tmp_path: Path) -> None:
    for how, script in ((["-c", TRAINING], None), (["-"], TRAINING.replace("width=3", "width=4"))):
        said = program(tmp_path, *how, script=script)
        assert said.count("2 cells: 0 stored") == 1, "workers do not begin anew"
        assert said.endswith("2 rows\n")


def test_the_documented_example_is_a_script_without_a_guard(tmp_path: Path) -> None:
    assert EXAMPLE is not None
    assert "optimizer__epochs=500" in EXAMPLE[1]
    (tmp_path / "example.py").write_text(EXAMPLE[1].replace("epochs=500", "epochs=20"))
    said = program(tmp_path, "example.py")
    assert said.count("72 cells: 0 stored") == 1, "workers do not run the script again"
    assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"method +relu +sep_up\ndepth +\n1 .*\n5 .*\n10 .*\n20 .*\n$", said)
