"""`python -m jumpstart_exp.inspect`: the stored training once more, and what is said where it is not."""

import dataclasses
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from kept_states import cell_of, kept, moons, row_of, stored, trained

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native.extension import instruction_sets
from jumpstart_exp.inspect import retraining
from jumpstart_exp.inspect.__main__ import main
from jumpstart_exp.inspect.recorded_states import read_recorded_states, snapshot_path, unpacked
from jumpstart_exp.inspect.retraining import (
    InspectError,
    cell_of_row,
    differences,
    passes,
    retrain,
    states_to_keep,
    trainer_of,
)
from jumpstart_exp.networks.build import build
from jumpstart_exp.report.inside.transforms import transforms_figure
from jumpstart_exp.result import CENSUS, Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store, result_row

needs_native = pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")
ENGINES = [pytest.param("native", marks=needs_native), "eager"]


@pytest.fixture(autouse=True)
def _warnings_as_before() -> Iterator[None]:
    shown = warnings.showwarning
    yield
    warnings.showwarning = shown


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """The command on the folder: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*([] if "results_dir" in " ".join(arguments) else [f"results_dir={tmp_path}"]), *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["relu", "sep_up", "relu_bn", "zero_init", "conv"])
def test_the_training_is_the_stored_one_to_the_bit(method: str, engine: str) -> None:
    cell = cell_of(method)
    row = row_of(cell, engine)
    snapshots = kept(cell, engine, (7,))
    assert snapshots.agreement == "" and snapshots.engine == engine
    assert snapshots.epochs.tolist() == [0, 7, 40]
    for name in ("train_acc", "val_acc", "train_loss", "val_loss"):
        column = snapshots.column(name)
        assert column[-1] == row[f"{name}_last"]
        best = column.max() if name.endswith("acc") else column.min()
        assert best == row[f"{name}_best"]
        assert 1 + int(np.flatnonzero(column == best)[0]) == row[f"{name}_best_epoch"]
    assert snapshots.column("epoch").tolist() == list(range(1, 41))
    initial = {name: tensor.detach().numpy() for name, tensor in build(cell).named_parameters()}
    for name, values in unpacked(snapshots.parameters[0], cell).items():
        assert np.array_equal(values, initial[name]), name


@pytest.mark.parametrize("engine", ENGINES)
def test_states_are_those_of_shorter_trainings(engine: str) -> None:
    snapshots = kept(cell_of(), engine, (7, 21))
    for epoch in (7, 21):
        shorter = kept(cell_of(optimizer=OptimizerSpec(epochs=epoch)), engine, ())
        place = snapshots.epochs.tolist().index(epoch)
        assert np.array_equal(snapshots.parameters[place], shorter.parameters[-1])


def test_without_epochs_it_looks_first_where_the_training_turns() -> None:
    told: list[float] = []
    cell = cell_of()
    assert passes(40, None, 12) == 2 and passes(11, None, 12) == 1 and passes(40, (3,), 12) == 1
    snapshots = retrain(row_of(cell), cell, Path("nowhere"), epochs=None, count=12, on_progress=told.append)
    assert told[-1] == 80 and told == sorted(told)
    accuracy = snapshots.column("train_acc")
    assert int(accuracy.argmax()) in snapshots.epochs, "where it is best"
    assert 10 <= len(snapshots.epochs) <= 17 and snapshots.asked == 12
    every = kept(cell, count=100)
    assert every.epochs.tolist() == list(range(41))


def test_a_training_that_diverged_is_kept_until_then() -> None:
    cell = cell_of(optimizer=OptimizerSpec(epochs=40, lr=1e30))
    row = row_of(cell)
    assert row["status"] == "diverged"
    last = row["diverged_epoch"] - 1
    snapshots = kept(cell, epochs=())
    assert snapshots.diverged_epoch == row["diverged_epoch"] and snapshots.agreement == ""
    assert snapshots.epochs.tolist() == sorted({0, last})
    assert np.isfinite(snapshots.parameters).all()


def test_large_networks_have_fewer_states() -> None:
    assert states_to_keep(cell_of(), None) == 100
    assert states_to_keep(cell_of(), 7) == 7
    wide = cell_of(width=200, depth=20)  # 0.8 million parameters
    assert states_to_keep(wide, None) == 20_000_000 // (4 * (3 * 200 + 19 * 201 * 200 + 201))
    cnn = Cell(dataset=Mnist(), depth=30, width=190, network=NetworkSpec(layout="cnn"))
    assert states_to_keep(cnn, None) == 2


def test_differences_are_named() -> None:
    cell = cell_of()
    row, result = row_of(cell), trained(cell)
    assert differences(row, result) == []
    assert differences({**row, "train_acc_best": 0.25}, result) == [
        f"train_acc_best {result.train_acc.best!r}, stored 0.25"
    ]
    layers = [0.5, *row["dead_units_by_layer_last"][1:]]
    (told,) = differences({**row, "dead_units_by_layer_last": layers}, result)
    assert "in layer 1, stored 0.5 (1 of 6 layers differ)" in told
    assert differences({**row, "dead_points_at_some_layer_last": None}, result) == [], "of an earlier version"
    assert differences({**row, "diverged_epoch": 3}, result) == ["diverged_epoch None, stored 3"]
    other = retrain(
        {**row, "val_loss_last": 9.0}, cell, Path("nowhere"), epochs=(), count=2, on_progress=lambda _: None
    )
    assert "val_loss_last" in other.agreement and "stored 9" in other.agreement


def test_a_row_of_another_version_is_refused() -> None:
    row = row_of(cell_of())
    assert cell_of_row(row) == cell_of()
    for changed in ({"depth": 7}, {"dataset": "sines"}, {"dataset": None}, {"key": "f" * 32}):
        with pytest.raises(InspectError, match="another version"):
            cell_of_row({**row, **changed})
    with pytest.raises(InspectError, match="settings that this program lacks"):
        cell_of_row({**row, "width": -1})
    with pytest.raises(InspectError, match="failed, there is no training to look at: MemoryError: \\\\x1b"):
        cell_of_row({**row, "status": "failed", "error": "MemoryError: \x1b[31m\nmore"})


def test_who_trains_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, row = cell_of(), row_of(cell_of())
    here = "native" if instruction_sets() else "eager"
    assert trainer_of(row, cell) == retraining.Trainer("eager", "cpu", "")
    stacked = trainer_of({**row, "engine": "stacked"}, cell)
    assert (stacked.engine, stacked.device) == (here, "cpu") and "trained by stacked" in stacked.doubt
    on_gpu = trainer_of({**row, "device": "cuda:0"}, cell)
    assert on_gpu.engine == here and "cuda:0" in on_gpu.doubt
    batches = cell_of(optimizer=OptimizerSpec(epochs=40, batch_size=10))
    assert trainer_of({**row, "engine": "stacked"}, batches).engine == "eager"
    monkeypatch.setattr(retraining.NativeEngine, "refuses", staticmethod(lambda _: "it is not built"))
    elsewhere = trainer_of({**row, "engine": "native"}, cell)
    assert elsewhere.engine == "eager" and "it is not built" in elsewhere.doubt


def test_what_rounds_to_tf32_takes_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(dataset=Mnist(), network=NetworkSpec(layout="cnn"), precision="tf32")
    row = {"engine": "eager", "device": "cuda", "key": cell.key}
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InspectError, match="CUDA"):
        trainer_of(row, cell)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert trainer_of(row, cell).device == "cuda"


def test_a_cell_by_a_beginning_of_its_key(tmp_path: Path, inspect: Said) -> None:
    cells = [cell_of(), cell_of("relu")]
    stored(tmp_path, cells, with_states=False)
    code, said, _ = inspect(f"key={cells[0].key[:6]},{cells[1].key}", "epochs=3")
    assert code == 0
    lines = said.splitlines()
    assert len(lines) == 2
    for cell, line in zip(cells, lines, strict=True):
        assert f"{cell.method} 6×4 seed 0 ({cell.key[:8]}): the same values as stored; 3 states of 40 epochs" in line
        assert read_recorded_states(tmp_path, cell.key).epochs.tolist() == [0, 3, 40]


def test_what_is_there_is_left_and_more_is_added(tmp_path: Path, inspect: Said) -> None:
    cell = cell_of()
    stored(tmp_path, [cell], with_states=False)
    path = snapshot_path(tmp_path, cell.key)
    key = f"key={cell.key}"
    for arguments, is_new in (
        (("epochs=3,5",), True),
        (("epochs=5",), False),
        (("epochs=5,6",), True),
        ((), True),
        ((), False),
        (("snapshots=9",), True),
    ):
        before = path.read_bytes() if path.exists() else b""
        code, said, _ = inspect(key, *arguments)
        assert code == 0
        assert ("there already" in said) == (not is_new), arguments
        assert (path.read_bytes() != before) == is_new
    path.write_bytes(b"PK")
    code, said, noted = inspect(key, "epochs=5")
    assert code == 0 and "left out" in noted and "written anew" in noted and "the same values" in said


def test_a_store_that_says_otherwise_is_believed_and_told(tmp_path: Path, inspect: Said) -> None:
    cell = cell_of()
    result = trained(cell)
    changed = dataclasses.replace(result, val_acc=dataclasses.replace(result.val_acc, last=0.125), engine="stacked")
    Store(tmp_path).write([changed])
    code, said, noted = inspect(f"key={cell.key}", "epochs=1")
    assert code == 0
    assert "not what is stored" in said and "stored 0.125" in said
    assert "trained by stacked" in noted and "need not" in noted
    assert "stored 0.125" in read_recorded_states(tmp_path, cell.key).agreement


def test_verify_compares_the_row_and_its_curve_value_by_value(tmp_path: Path, inspect: Said) -> None:
    cells = [cell_of(), cell_of("relu_bn")]
    stored(tmp_path, cells, with_states=False)
    files = sorted(tmp_path.rglob("*"))
    code, said, noted = inspect(f"key={cells[0].key},{cells[1].key}", "verify=true")
    assert code == 0 and noted == ""
    for cell, line in zip(cells, said.splitlines(), strict=True):
        assert f"({cell.key[:8]}): the same to the bit: 44 values, 40 rows of its curve; engine eager" in line
    assert sorted(tmp_path.rglob("*")) == files, "nothing is written"


@pytest.mark.parametrize(
    ("batch_size", "curve_every"),
    [*((None, every) for every in (1, 7, 13, 39, 40, None)), *((20, every) for every in (1, 7, 40, None))],
)
def test_verify_finds_the_spacing_of_the_stored_curve(
    tmp_path: Path, inspect: Said, batch_size: int | None, curve_every: int | None
) -> None:
    cell = cell_of(optimizer=OptimizerSpec(epochs=40, batch_size=batch_size))
    results: list[Result] = []
    EagerEngine(curve_every=curve_every).train([cell], moons(), on_result=results.append, on_progress=lambda *_: None)
    Store(tmp_path).write(results)
    code, said, _ = inspect(f"key={cell.key}", "verify=true")
    assert code == 0 and f"44 values, {len(results[0].curve)} rows of its curve" in said, said


def test_verify_names_every_value_that_is_not_the_stored_one(tmp_path: Path, inspect: Said) -> None:
    cell = cell_of()
    result = trained(cell)
    assert result.census_last is not None
    census = dataclasses.replace(result.census_last, dead_units=(0.125, *result.census_last.dead_units[1:]))
    curve = [dataclasses.replace(row, val_loss=8.5) if row.epoch > 30 else row for row in result.curve]
    val_acc = dataclasses.replace(result.val_acc, last=0.125)
    Store(tmp_path).write([dataclasses.replace(result, val_acc=val_acc, census_last=census, curve=tuple(curve))])
    code, said, _ = inspect(f"key={cell.key}", "verify=true")
    assert code == 1
    head, *values = said.splitlines()
    assert "not what is stored: 3 of 44 values, 10 of 40 rows of its curve differ; engine eager" in head
    assert values[0] == f"  val_acc_last {result.val_acc.last!r}, stored 0.125"
    assert values[1].startswith("  dead_units_last ")
    assert "in layer 1, stored 0.125 (1 of 6 layers differ)" in values[2]
    assert values[3] == f"  epoch 31: val_loss {result.curve[30].val_loss!r}, stored 8.5"
    assert "engine and versions are the row's" in values[4] and len(values) == 5


def test_verify_says_where_only_distributions_agree(
    tmp_path: Path, inspect: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another engine, another version: what came out otherwise is told, and why it may."""
    cell = cell_of()
    wrong = dataclasses.replace(trained(cell), epochs_run=39)
    Store(tmp_path / "of_stacked").write([dataclasses.replace(wrong, engine="stacked")])
    with monkeypatch.context() as patch:
        patch.setattr("jumpstart_exp.store.schema._versions", lambda: {"torch_version": "1.0", "numpy_version": "1.0"})
        Store(tmp_path / "of_another_torch").write([wrong])
    agrees = "only the distribution over seeds agrees across engines, processors and versions"
    for folder, words in (("of_stacked", "trained by stacked"), ("of_another_torch", "trained with torch 1.0 (here ")):
        code, said, _ = inspect(f"key={cell.key}", "verify=true", f"results_dir={tmp_path / folder}")
        assert code == 1 and "stored 39" in said
        assert words in said and agrees in said


def test_a_study(tmp_path: Path, inspect: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's own cells, of 1000 epochs, taken from the configurations."""
    from jumpstart_exp.config.studies import study_cells

    of_study = {cell.method: cell for cell in study_cells("table2_50x4", "paper") if cell.seed == 0}
    results = [Result(of_study[method], "done", "eager") for method in ("sep_up", "relu")]
    Store(tmp_path).write([*results, Result(cell_of(), "done", "eager")])
    seen: list[str] = []
    monkeypatch.setattr(
        "jumpstart_exp.inspect.__main__._inspect_cell", lambda order, row, cell: seen.append(row["method"])
    )
    assert inspect("study=table2_50x4")[0] == 0
    assert seen == ["relu", "sep_up"], "in the papers' order"
    seen.clear()
    assert inspect("study=table2_50x4", "method=sep_up")[0] == 0
    assert seen == ["sep_up"]
    seen.clear()
    Store(tmp_path).write([Result(dataclasses.replace(of_study["relu"], seed=3), "done", "eager")])
    code, _, noted = inspect("study=table2_50x4", "seed=3,0,7,3")
    assert code == 0 and "seed=7: the store has no cell of study=table2_50x4" in noted
    assert seen == ["relu", "relu", "sep_up"], "every seed that is stored, once, in the order asked for"
    for arguments, words in (
        (
            ("study=table2_50x4", "method=sep_p"),
            "'sep_p' is not allowed: it must be one that is stored: relu, sep_up",
        ),
        (("study=table2_50x4", "seed=7"), "+experiment=table2_50x4 seed=7"),
        (("study=table2_50x4", "seed=7,8"), "+experiment=table2_50x4 seed=7,8"),
        (("study=table2_50x4", "variant=code"), "+experiment=table2_50x4 variant=code seed=0"),
        (("study=tabel2_50x4",), "did you mean table2_50x4?"),
    ):
        code, _, noted = inspect(*arguments)
        assert code == 2 and words in noted and len(noted.splitlines()) == 1


BAD = {
    "kez=abcd": "'kez=abcd' is not an argument",
    "key=": "'key=' is not an argument",
    "key=abc": "key='abc' is not allowed: it must be 4 to 32 digits",
    "key=../../etc": "key='../../etc' is not allowed",
    "key=abcd,": "key='' is not allowed",
    "key=abcd epochs=-1": "epochs='-1' is not allowed: it must be an integer of at least 0",
    "key=abcd epochs=1e3": "epochs='1e3' is not allowed",
    "key=abcd epochs=1,,2": "epochs='' is not allowed",
    "key=abcd epochs=" + "9" * 5000: "is not allowed: it must be an integer",
    "key=abcd snapshots=1": "snapshots='1' is not allowed: it must be an integer from 2 to 100000",
    "key=abcd seed=x": "seed='x' is not allowed",
    "key=abcd variant=papper": "variant='papper' is not allowed: it must be one of paper, code",
    "key=abcd study=table2_50x4": "one of them",
    "key=abcd verify=yes": "verify='yes' is not allowed: it must be true or false",
    "key=abcd verify=true epochs=3": "epochs and verify=true do not go together",
    "key=abcd snapshots=9 verify=true": "snapshots and verify=true do not go together",
    "epochs=3": "key=KEY or study=NAME is needed",
    "key=abcd method=relu": "method is for study=NAME",
    "key=abcd results_dir=~nobody-of-that-name/x": "results_dir=",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_arguments(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and BAD[arguments] in said.err
    assert len(said.err.splitlines()) == 1 and len(said.err) < 1000


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in [
        "key",
        "study",
        "variant",
        "seed",
        "method",
        "epochs",
        "snapshots",
        "verify",
        "results_dir",
        "data_dir",
    ]:
        assert name in said


def test_a_key_that_is_not_stored(tmp_path: Path, inspect: Said) -> None:
    code, _, noted = inspect("key=abcd")
    assert code == 2 and "one of the 0 keys stored" in noted
    stored(tmp_path, [cell_of()], with_states=False)
    code, _, noted = inspect("key=0123456789abcdef")
    assert code == 2 and "one of the 1 keys stored" in noted


def test_several_keys_of_one_beginning(tmp_path: Path, inspect: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, [cell_of()], with_states=False)
    monkeypatch.setattr(Store, "cells", lambda *_: pd.DataFrame({"key": ["abcd1", "abcd2", "ef012"]}))
    code, _, noted = inspect("key=abcd")
    assert code == 2 and "and 2 begin so: abcd1, abcd2" in noted


def test_an_epoch_beyond_the_training(tmp_path: Path, inspect: Said) -> None:
    stored(tmp_path, [cell_of()], with_states=False)
    code, _, noted = inspect(f"key={cell_of().key}", "epochs=41")
    assert code == 2 and f"epochs=41 is not allowed: it must be at most 40, the epochs of key={cell_of().key}" in noted


def test_a_cell_that_cannot_be_trained_costs_only_itself(tmp_path: Path, inspect: Said) -> None:
    broken = Result(cell_of("relu"), "failed", "eager", error="RuntimeError: no\nmore")
    Store(tmp_path).write([broken, trained(cell_of())])
    code, said, noted = inspect(f"key={broken.cell.key},{cell_of().key}", "epochs=1")
    assert code == 1
    assert f"key={broken.cell.key} failed, there is no training to look at: RuntimeError: no" in noted
    assert "the same values as stored" in said


def test_images_whose_files_are_missing(tmp_path: Path, inspect: Said) -> None:
    cell = Cell(dataset=Mnist(), depth=1, width=1, network=NetworkSpec(layout="cnn"), optimizer=OptimizerSpec(epochs=1))
    Store(tmp_path).write([Result(cell, "done", "eager")])
    code, _, noted = inspect(f"key={cell.key}", f"data_dir={tmp_path}")
    assert code == 1 and "missing" in noted and "Traceback" not in noted


def test_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key=abcd", f"results_dir={tmp_path / 'none'}"]) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_stopped(tmp_path: Path, inspect: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path, [cell_of()], with_states=False)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(retraining.EagerEngine, "train", stop)
    code, _, noted = inspect(f"key={cell_of().key}")
    assert code == 130 and "the same command goes on" in noted
    assert not snapshot_path(tmp_path, cell_of().key).exists()


def test_as_a_user_runs_it(command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    cell = cell_of()
    stored(tmp_path / "results", [cell], with_states=False)
    done = command(f"key={cell.key[:8]}", "epochs=2", module="jumpstart_exp.inspect")
    assert done.returncode == 0, done.stderr
    assert "the same values as stored" in done.stdout and done.stderr == ""
    assert read_recorded_states(tmp_path / "results", cell.key).cell == cell


def test_training_again_does_not_touch_the_store(tmp_path: Path, inspect: Said) -> None:
    stored(tmp_path, [cell_of()], with_states=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    inspect(f"key={cell_of().key}", "epochs=2")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def test_a_cnn_on_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mini-batches, batch norm, and a census that counts channels."""
    cell = Cell(
        dataset=Mnist(n_train=30, n_val=12),
        depth=2,
        width=3,
        network=NetworkSpec(layout="cnn", norm="batch"),
        optimizer=OptimizerSpec(epochs=3, batch_size=8),
    )
    random = torch.Generator().manual_seed(0)
    data = Data(
        torch.randint(256, (30, 1, 28, 28), dtype=torch.uint8, generator=random),
        torch.arange(30) % 10,
        torch.randint(256, (12, 1, 28, 28), dtype=torch.uint8, generator=random),
        torch.arange(12) % 10,
        (0.0,),
        (1.0,),
    )
    for module in ("inspect.retraining", "report.inside.transforms"):
        monkeypatch.setattr(f"jumpstart_exp.{module}.load", lambda *_: data)
    results: list[Result] = []
    retraining.EagerEngine().train([cell], data, on_result=results.append, on_progress=lambda *_: None)
    row = result_row(results[0])
    snapshots = retrain(row, cell, Path("nowhere"), epochs=None, count=10, on_progress=lambda _: None)
    assert snapshots.agreement == "" and snapshots.epochs.tolist() == [0, 1, 2, 3]
    for place, name in enumerate(CENSUS):
        assert snapshots.census[-1, place].tolist() == row[f"{name}_by_layer_last"]
    network, x = snapshots.network(3), data.inputs(data.x_val, torch.float32)
    with torch.no_grad():
        accuracy = (network(x)[0].argmax(dim=1) == data.y_val).double().mean().item()
    assert accuracy == row["val_acc_last"]
    notes = [ax.get_xlabel() for ax in transforms_figure([snapshots], 5.5).axes]
    assert len(notes) == 4 and "30 of 30 points left" in notes[0] and "of 3" in notes[1]
