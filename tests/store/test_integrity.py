"""No number that is wrong without a word: damaged files, rows that were altered, rows of other numerics."""

import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked_writers import assert_same_frames

from jumpstart_exp import cell as cells
from jumpstart_exp.cell import NUMERICS, Cell
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.result import CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.status import main as status
from jumpstart_exp.store import Store, StoreWarning, cell_schema, parts, result_row, schema, soundness
from jumpstart_exp.store.__main__ import main as command
from jumpstart_exp.store.compaction import compact
from jumpstart_exp.store.verification import verify

FIXTURE = Path(__file__).parent.parent / "keys.jsonl"


def cell(seed: int = 0, method: str = "sep_up", **values: Any) -> Cell:
    penalty = PenaltySpec(kind="none" if method == "relu" else "UP")
    return Cell(**{"depth": 2, "width": 3, "seed": seed, "method": method, "penalty": penalty, **values})


def result(of: Cell, accuracy: float = 0.75, status: Any = "done", **values: Any) -> Result:
    curve = (CurveRow(1, 0.5, 0.25, 0.75, 1.25, None, 0.0, 0.1, 0.2, 0.3),)
    metrics = {"train_acc": Metric(accuracy, accuracy, 1), "val_acc": Metric(accuracy, accuracy, 1)}
    values = {"n_params": 10, "seconds": 1.5, **metrics, **values}
    return Result(of, status, values.pop("engine", "native"), curve=curve, **values)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of three cells in one part."""
    store = Store(tmp_path / "results")
    store.write([result(cell(seed)) for seed in range(3)])
    return store


def part_of(folder: Path) -> Path:
    (part,) = folder.glob("*.parquet")
    return part


def altered(store: Store, name: str, value: Any, place: int = 0, to: str | None = None) -> Path:
    """The store's part with another value in a row, written by another program: in its place, or beside it."""
    path = part_of(store.cells_dir)
    table = pq.read_table(path)
    values = table[name].to_pylist()
    values[place] = value
    column = table.schema.get_field_index(name)
    table = table.set_column(column, name, pa.array(values, table.schema.field(name).type))
    pq.write_table(table, path.with_name(to) if to else path)
    return path.with_name(to) if to else path


def told(read: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What is read, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read()
    assert all(issubclass(warning.category, StoreWarning) for warning in caught)
    return found, [str(warning.message) for warning in caught]


def flipped(content: bytes, count: int) -> Iterator[bytes]:
    """The content with one bit flipped, at so many places."""
    for place in np.linspace(0, 8 * len(content) - 1, count, dtype=int):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << (place % 8)
        yield bytes(damaged)


# Damaged parts


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("reader", ["cells", "curves"])
def test_a_flipped_bit_is_named_or_changes_nothing(store: Store, reader: str, count: int) -> None:
    expected = getattr(store, reader)()
    path = part_of(store.results_dir / reader)
    whole, named = path.read_bytes(), 0
    for damaged in flipped(whole, count):
        path.write_bytes(damaged)
        found, messages = told(
            Store(store.results_dir).stored if reader == "cells" else Store(store.results_dir).curves
        )
        if messages:
            assert len(found) == 0 and str(path) in messages[0]
            named += 1
        else:
            assert_same_frames(getattr(store, reader)(), expected)
    assert named > 0.99 * count - 2  # what stands before the checksum tells that there is one


def without_checksum(content: bytes) -> bytes:
    """The parquet file as it was before its checksum was put into it."""
    begin = content.rfind(parts._MARK)
    return content[:begin] + content[begin + len(parts._MARK) + 1 + 32 :]


def test_pages_carry_checksums_that_are_looked_at(store: Store) -> None:
    path = part_of(store.cells_dir)
    bare = without_checksum(path.read_bytes())
    path.write_bytes(bare)
    assert len(store.cells()) == 3
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)  # the keys
    end = column.dictionary_page_offset + column.total_compressed_size
    path.write_bytes(bare[: end - 1] + bytes([bare[end - 1] ^ 1]) + bare[end:])
    found, (message,) = told(Store(store.results_dir).cells)
    assert len(found) == 0 and str(path) in message and "crc" in message.lower()


def test_parts_of_before_are_read_and_get_a_checksum(store: Store) -> None:
    before = store.cells(), store.curves()
    for folder in (store.cells_dir, store.curves_dir):
        pq.write_table(pq.read_table(part_of(folder)), part_of(folder))
    again = Store(store.results_dir)
    for _ in range(2):
        for found, expected in zip((again.cells(), again.curves()), before, strict=True):
            assert_same_frames(found, expected)
        verified = verify(again)
    assert (verified.parts, verified.added, verified.damaged, verified.left_out) == (2, 0, 0, 0)
    assert all(parts.open_part(part_of(store.cells_dir), cell_schema()).has_checksum for _ in range(1))
    assert not [path for path in store.cells_dir.iterdir() if path.name.endswith(".tmp")]


def test_verify_names_what_is_wrong_and_leaves_it_as_it_is(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    arguments = ["verify", f"results_dir={store.results_dir}"]
    assert command(arguments) == 0
    assert capsys.readouterr() == (f"{store.results_dir}: 2 parts, nothing damaged\n", "")
    wrong = altered(store, "depth", 40, to="part-old.parquet")
    damaged = part_of(store.curves_dir)
    damaged.write_bytes(damaged.read_bytes()[:-20] + b"\0" * 20)
    (store.cells_dir / "part-whole.parquet").write_bytes(without_checksum(_only_row(store, 1)))
    before = {path: path.read_bytes() for path in (wrong, damaged)}
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert command(arguments) == 3
    out, err = capsys.readouterr()
    words = "4 parts, 1 got a checksum, 1 damaged, 1 rows that no training can have written"
    assert out == f"{store.results_dir}: {words}\n"
    assert str(wrong) in err and str(damaged) in err and err.count("\n") == 2
    assert {path: path.read_bytes() for path in (wrong, damaged)} == before


def _only_row(store: Store, place: int) -> bytes:
    """A part with one of the store's rows."""
    path = store.results_dir / "one" / "part.parquet"
    (whole,) = (path for path in store.cells_dir.glob("part-*.parquet") if path.name != "part-old.parquet")
    parts.write_durably(pq.read_table(whole).slice(place, 1), path)
    return path.read_bytes()


# Rows that were altered


def test_the_key_of_every_row_comes_out_of_its_own_settings() -> None:
    rows = [json.loads(line) for line in FIXTURE.read_text().splitlines()]
    made = [Cell.from_config(row["cell"], row["method"]) for row in rows]
    table = pa.Table.from_pylist([result_row(result(one)) for one in made], schema=cell_schema())
    found = soundness.soundness_of(table)
    assert found.is_sound.all() and found.is_complete
    assert {row["key"] for row in rows} == {one.key for one in made}
    column = table.schema.get_field_index("seed")
    other = table.set_column(column, "seed", pa.array([(one.seed + 1) % 2**32 for one in made]))
    assert len(soundness.soundness_of(other).flaws) == 300


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("depth", 40, r"its settings have the key [0-9a-f]{32}"),
        ("penalty.weight", 0.5, "its settings have the key"),
        ("penalty.weight", None, "its settings have the key"),
        ("dropout.rate", 0.5, "its settings have the key"),
        ("key", "0" * 32, "its settings have the key"),
        ("dataset", "mnist", r"no training has dataset\.n_samples=100"),
        ("dataset.augment", "flip_crop", r"no training has dataset\.augment='flip_crop'"),
        ("method", "relu", "it was stored under another label than 'relu'"),
        ("train_acc_best", 7e307, r"no training has train_acc_best=7e\+307"),
        ("val_loss_last", float("inf"), "no training has val_loss_last=inf"),
        ("train_loss_best", -5.0, r"no training has train_loss_best=-5\.0"),
        ("dead_points_at_some_layer_last", 1.5, r"no training has dead_points_at_some_layer_last=1\.5"),
        ("linear_units_by_layer_start", [0.5, -7.0], r"no training has linear_units_by_layer_start=-7\.0"),
        ("epochs_run", 6000, "no training has epochs_run=6000 with optimizer.epochs="),
        ("val_acc_best_epoch", 6000, "no training has val_acc_best_epoch=6000 with optimizer.epochs="),
        ("diverged_epoch", 6000, "no training has diverged_epoch=6000 with optimizer.epochs="),
        ("train_acc_best", 0.5, r"no training has train_acc_last=0\.75 with train_acc_best=0\.5"),
        ("label_check", None, "it does not tell that its label is the one it was stored under"),
    ],
)
def test_an_altered_row_is_named_left_out_and_trained_again(store: Store, name: str, value: Any, reason: str) -> None:
    key = value if name == "key" else cell(0).key
    path = altered(store, name, value)
    store = Store(store.results_dir)
    found, (message,) = told(store.stored)
    assert set(found) == {cell(1).key, cell(2).key} and store.left_out == 1
    assert message.startswith(f"{path}: the row of key {key} is left out: ")
    assert pd.Series([message]).str.contains(reason).all()
    assert told(store.cells)[1] == []  # once, however often it is read
    store.write([result(cell(0), 0.5)])
    assert store.cells()["train_acc_best"].tolist() == [
        {0: 0.5}.get(seed, 0.75) for seed in store.cells()["seed"].tolist()
    ]


def test_a_loss_is_at_best_no_larger_than_at_the_end(store: Store) -> None:
    store.write([result(cell(3), val_loss=Metric(0.25, 0.125, 1)), result(cell(4), val_loss=Metric(0.125, 0.25, 1))])
    found, (message,) = told(store.stored)
    assert cell(3).key in found and cell(4).key not in found
    assert message.endswith("no training has val_loss_best=0.25 with val_loss_last=0.125")


def test_what_rounds_in_float32_and_what_diverged_is_believed(store: Store) -> None:
    above = 1 + 1e-7
    census = LayerCensus((above, 0.5), (0.0, 0.5), (above, 1.0), (0.0, 0.0), above)
    loss = Metric(-1e-8, -1e-8, 1)
    store.write([result(cell(3), census_start=census, census_last=census, train_loss=loss, epochs_run=1000)])
    last = {name: Metric(None, 0.5, 1) for name in ("train_acc", "val_acc", "train_loss", "val_loss")}
    nan = float("nan")
    diverged = result(cell(4), status="diverged", diverged_epoch=2, penalty_start=nan, census_start=census, **last)
    for _ in range(2):
        store.write([diverged])
    assert len(store.cells()) == 5


def of_before(store: Store, label: str) -> Path:
    """The store's part as it was before rows had a label check, one row under another label."""
    path = altered(store, "method", label)
    pq.write_table(pq.read_table(path).drop_columns(["label_check"]), path)
    return path


@pytest.mark.parametrize(
    ("settings", "label", "reason"),
    [
        ({}, "sep_up", None),
        ({}, "sep_up_mean_1", None),
        ({}, "of_my_own", None),
        ({}, "relu", "penalty.kind='UP'"),
        ({}, "sep_p", "penalty.kind='UP'"),
        ({}, "zero_init", "network.init='glorot_uniform'"),
        ({"method": "relu"}, "relu", None),
        ({"method": "relu"}, "sep_up", "penalty.kind='none'"),
        ({"method": "relu"}, "relu_bn", "network.norm='none'"),
        ({"method": "relu", "network": NetworkSpec(norm="batch")}, "relu_bn", None),
        ({"method": "relu", "network": NetworkSpec(norm="batch")}, "relu", "network.norm='batch'"),
        ({"network": NetworkSpec(init="zero")}, "zero_init", None),
        ({"network": NetworkSpec(init="zero")}, "sep_up", "network.init='zero'"),
    ],
)
def test_a_label_of_before_is_believed_if_the_settings_are_the_methods(
    tmp_path: Path, settings: Any, label: str, reason: str | None
) -> None:
    store = Store(tmp_path)
    store.write([result(cell(0, **settings))])
    path = of_before(store, label)
    content = path.read_bytes()
    found, messages = told(lambda: verify(Store(tmp_path)))
    if reason is None:
        assert (found.left_out, messages) == (0, []) and len(store.cells()) == 1
    else:
        words = f"the row of key {cell(0, **settings).key} is left out: method={label} has not {reason}"
        assert (found.left_out, messages) == (1, [f"{path}: {words}"]) and path.read_bytes() == content


def test_compaction_gives_the_rows_of_before_their_label_check(store: Store) -> None:
    of_before(store, "sep_up")
    store.write([result(cell(3))])
    compact(store)
    path = part_of(store.cells_dir)
    assert pq.read_table(path)["label_check"].null_count == 0
    pq.write_table(pq.read_table(path), path)
    assert len(Store(store.results_dir).stored()) == 4


def test_labels_of_before_take_no_time() -> None:
    rows = pa.Table.from_pylist([result_row(result(cell(seed))) for seed in range(100)], schema=cell_schema())
    many = pa.concat_tables([rows] * 1000)
    flaws: dict[int, str] = {}
    begun = time.process_time()
    soundness._check_labels(many, flaws)
    assert time.process_time() - begun < 2 and not flaws


def test_an_altered_key_does_not_end_the_report(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    altered(store, "key", "0" * 32)
    store.write([result(cell(0))])
    (grid,) = figure_grids(told(store.cells)[0])
    assert grid.present.all()
    code, _ = told(lambda: status([f"results_dir={store.results_dir}", "format=json"]))
    assert (code, json.loads(capsys.readouterr().out)["left_out"]) == (0, 1)


def test_where_a_training_diverged_its_penalty_may_be_infinite(store: Store) -> None:
    store.write([result(cell(3), status="diverged", penalty_start=float("inf"), diverged_epoch=1)])
    assert len(store.cells()) == 4
    store.write([result(cell(4), penalty_start=float("inf"))])
    assert told(Store(store.results_dir).stored)[1][0].endswith("no training has penalty_start=inf")


def test_two_results_of_one_key_are_named_with_both_parts(store: Store) -> None:
    lower = altered(store, "train_acc_best", 1.0, place=1, to="part-0.parquet")
    store = Store(store.results_dir)
    found, (message,) = told(store.cells)
    assert found.set_index("seed")["train_acc_best"].to_dict() == {0: 0.75, 1: 1.0, 2: 0.75}
    (higher,) = (path for path in store.cells_dir.iterdir() if path != lower)
    assert message == (
        f"key {cell(1).key} has two different results of native on cpu, in {lower} and {higher}: "
        "train_acc_best is 1.0 and 0.75"
    )
    assert told(store.stored)[1] == []
    assert told(lambda: compact(Store(store.results_dir)))[1] == [message]


def test_compaction_keeps_both_of_two_different_results(store: Store) -> None:
    store.write([result(cell(0), 0.25)])
    for seed in (3, 4):
        store.write([result(cell(seed))])
    before = {path for path in store.cells_dir.iterdir() if cell(0).key in pq.read_table(path)["key"].to_pylist()}
    expected, messages = told(store.cells)
    assert len(before) == 2 and len(messages) == 1
    for again in (store, Store(store.results_dir)):
        found = told(lambda again=again: compact(again))[0]
        assert (found.parts_after, found.rows) == (3, 6) and all(path.exists() for path in before)
    assert_same_frames(told(Store(store.results_dir).cells)[0], expected)


CENSUS = LayerCensus((0.5, 0.25), (0.0, 0.5), (1.0, 1.0), (0.0, 0.0), 1.0)


def test_two_results_that_differ_in_one_layer_are_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write([result(cell(0), census_last=CENSUS)])
    store.write([result(cell(0), census_last=replace(CENSUS, dead_units=(0.25, 0.5)))])
    assert ": dead_units_by_layer_last is [0." in told(store.cells)[1][0]


def test_what_was_not_counted_differs_from_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for somewhere in (None, 1.0):
        store.write([result(cell(0), census_last=replace(CENSUS, dead_at_some_layer=somewhere))])
    assert len(store.cells()) == 1


def test_verify_counts_what_is_doubtful(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    path = part_of(store.curves_dir)
    table = pq.read_table(path)
    column = table.schema.get_field_index("val_loss")
    pq.write_table(table.set_column(column, "val_loss", pa.array([0.5, 7.0, -5.0])), path)
    doubtful = altered(store, "numerics", NUMERICS + 1, to="part-odd.parquet")
    store.write([result(cell(1), 0.25)])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert command(["verify", f"results_dir={store.results_dir}"]) == 3
    out, err = capsys.readouterr()
    wrong = ("1 such rows of curves", "1 keys with two different results", "1 rows of other numerics with another key")
    assert out == f"{store.results_dir}: 5 parts, {', '.join(wrong)}\n"
    assert f"{path}: 1 rows of curves are left out: no training has val_loss=-5.0\n" in err
    assert f"{doubtful}: 1 rows of other numerics do not have the key of their settings\n" in err
    assert err.count("\n") == 3 and f"key {cell(1).key} has two different results" in err


@pytest.mark.parametrize(
    ("other", "column"),
    [
        ({"engine": "eager"}, None),
        ({"device": "cuda"}, None),
        ({"engine": "stacked"}, None),
        ({}, "machine"),
        ({}, "torch_version"),
        ({}, "jumpstart_exp_version"),
        ({"status": "failed"}, None),
    ],
)
def test_results_of_another_engine_or_machine_may_differ(store: Store, other: Any, column: str | None) -> None:
    if other.get("engine") == "stacked":  # the same bits only in the same fleet
        store.write([result(cell(0), 0.5, **other)])
    store.write([result(cell(0), 0.25, **other)])
    if column:
        (new,) = (path for path in store.cells_dir.iterdir() if len(pq.read_table(path)) == 1)
        table = pq.read_table(new)
        pq.write_table(table.set_column(table.schema.get_field_index(column), column, pa.array(["another"])), new)
    assert len(store.cells()) == 3


def test_equal_results_and_labels_are_no_two_results(store: Store) -> None:
    store.write([result(cell(0))])
    store.add_labels([(cell(0).key, "another")])
    assert len(store.cells()) == 3


def test_rows_of_curves_that_cannot_be_are_left_out(store: Store) -> None:
    path = part_of(store.curves_dir)
    table = pq.read_table(path)
    column = table.schema.get_field_index("val_acc")
    pq.write_table(table.set_column(column, "val_acc", pa.array([0.5, 7e307, -0.5])), path)
    found, (message,) = told(store.curves)
    assert found["val_acc"].tolist() == [0.5]
    assert message == f"{path}: 2 rows of curves are left out: no training has val_acc=7e+307"


def test_compaction_drops_no_row_for_one_that_is_not_believed(store: Store) -> None:
    wrong = altered(store, "train_acc_best", 7.0, to="part-0.parquet")
    before = told(store.cells)[0]
    compact(store)
    assert wrong.exists()
    assert_same_frames(told(Store(store.results_dir).cells)[0], before)
    assert before["train_acc_best"].tolist() == [0.75] * 3


# Rows of other numerics


@pytest.fixture
def older(store: Store, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A cell that another version has trained, in the same store; its key there is kept."""
    with monkeypatch.context() as patch:
        for module in (cells, schema, soundness):
            patch.setattr(module, "NUMERICS", NUMERICS + 1)
        of = cell(7)
        store.write([result(of)])
        assert of.key != cell(7).key or cells.NUMERICS != NUMERICS
    return of


def test_rows_of_other_numerics_are_not_read_but_counted(
    store: Store, older: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert older.key != cell(7).key
    assert set(store.stored()) == {cell(seed).key for seed in range(3)}
    assert set(store.cells()["numerics"]) == {NUMERICS} and set(store.curves()["key"]) == set(store.stored())
    assert store.of_other_numerics == 1 and store.left_out == 0
    assert store.cells(where={"numerics": NUMERICS + 1})["key"].tolist() == [older.key]
    assert store.row(older.key)["numerics"] == NUMERICS + 1
    assert status([f"results_dir={store.results_dir}"]) == 0
    assert "other numerics" in capsys.readouterr().out
    assert status([f"results_dir={store.results_dir}", "format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["other_numerics"] == 1 and found["cells"]["done"] == 3


def test_a_follower_and_a_compaction_keep_them_apart(store: Store, older: Cell) -> None:
    follower = store.follow(["seed"])
    assert len(follower.cells()) == 3
    found = compact(store)
    assert (found.parts_after, found.rows) == (1, 4)
    assert len(follower.cells()) == 3 and store.row(older.key)["seed"] == 7


def test_a_row_that_only_says_other_numerics_displaces_none(store: Store) -> None:
    altered(store, "numerics", NUMERICS + 1, to="part-0.parquet")
    assert len(store.stored()) == 3 and store.of_other_numerics == 1
    compact(store)
    assert len(Store(store.results_dir).stored()) == 3
