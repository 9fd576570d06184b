import errno
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jumpstart_exp.store as stores
from jumpstart_exp.cell import Cell
from jumpstart_exp.data.npz import Npz
from jumpstart_exp.result import CENSUS, DEAD_AT_SOME_LAYER, METRICS, RELAXED, CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import STORE_VERSION, Store, StoreError, StoreWarning, cell_schema
from jumpstart_exp.store import parts as part_files
from jumpstart_exp.store.compaction import compact
from jumpstart_exp.store.parts import make_folder

# What people and scripts rely on.
COLUMNS = {
    *("key", "status", "dataset", "method", "depth", "width", "seed", "n_params", "seconds", "engine", "error"),
    *("git_commit", "git_dirty", "penalty_start", "penalty_last"),
    *(f"{metric}_{moment}" for metric in METRICS for moment in ("last", "best", "best_epoch")),
    *(f"{fraction}_{moment}" for fraction in (*CENSUS, DEAD_AT_SOME_LAYER) for moment in ("start", "last")),
}

NOBODY = 65534


def cell(seed: int = 0, method: str = "sep_up", **values: Any) -> Cell:
    return Cell(depth=2, width=3, seed=seed, method=method, penalty=PenaltySpec(kind="UP"), **values)


def curve(*epochs: int, penalty: float | None = 0.5) -> tuple[CurveRow, ...]:
    return tuple(CurveRow(epoch, 0.5, 0.25, 0.75, 1.25, penalty, 0.0, 0.1, 0.2, 0.3) for epoch in epochs)


def result(of: Cell, status: Any = "done", **values: Any) -> Result:
    return Result(of, status, "eager", **values)


def parts(store: Store) -> list[Path]:
    return sorted(store.cells_dir.iterdir())


def files(store: Store) -> list[Path]:
    """Everything in the results folder, hidden or not, but for folders."""
    return sorted(path for path in store.results_dir.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def named_parts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the next parts that are written these names, in this order."""

    def name(*names: str) -> None:
        coming = iter(names)
        monkeypatch.setattr(uuid, "uuid4", lambda: type("Named", (), {"hex": next(coming)}))

    return name


# Written and read back

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)
losses = st.floats(0, allow_infinity=False)
epochs = st.none() | st.integers(1, 5000)


def metrics_of(values: st.SearchStrategy[float], *, largest: bool) -> st.SearchStrategy[Metric]:
    """Metrics whose best value is the better one of two; any of their numbers may be missing."""
    pairs = st.tuples(values, values).map(lambda pair: sorted(pair, reverse=largest))
    return st.builds(
        lambda pair, has_last, has_best, epoch: Metric(
            pair[1] if has_last else None, pair[0] if has_best else None, epoch
        ),
        pairs,
        st.booleans(),
        st.booleans(),
        epochs,
    )


accuracies, of_losses = metrics_of(shares, largest=True), metrics_of(losses, largest=False)
fractions = st.lists(st.floats(0, 1), min_size=2, max_size=2).map(tuple)
censuses = st.none() | st.builds(LayerCensus, *[fractions] * 4, st.none() | st.floats(0, 1))
curve_rows = st.builds(
    CurveRow,
    st.integers(1, 10**6),
    *[shares] * 2,
    *[losses | st.just(math.inf)] * 2,
    numbers,
    *[shares] * 4,
    *[st.none() | losses] * 2,
    st.none() | st.lists(losses, min_size=1, max_size=4).map(tuple),
)
texts = st.text(st.characters(codec="utf-8"))
results = st.builds(
    Result,
    cell=st.builds(cell, st.integers(0, 100), texts),
    status=st.sampled_from(["done", "diverged", "failed"]),
    engine=texts,
    device=texts,
    n_params=st.none() | st.integers(1, 10**11),
    epochs_run=st.integers(0, 5000),
    diverged_epoch=epochs,
    train_acc=accuracies,
    val_acc=accuracies,
    train_loss=of_losses,
    val_loss=of_losses,
    penalty_start=numbers,
    penalty_last=numbers,
    census_start=censuses,
    census_last=censuses,
    seconds=st.floats(0, 1e6),
    peak_memory_bytes=st.none() | st.integers(0, 2**62),
    started=texts,
    error=st.none() | texts,
    curve=st.lists(curve_rows, max_size=3, unique_by=lambda row: row.epoch).map(tuple),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(written=results)
def test_what_is_written_is_read_back(tmp_path: Path, written: Result) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        store = Store(Path(folder))
        store.write([written])
        row = store.row(written.cell.key)
        curves = store.curves()
    assert row["key"] == written.cell.key
    assert (row["method"], row["status"]) == (written.cell.method, written.status)
    for name, value in written.cell.description().items():
        assert row[name] == value, name
    for name in ("n_params", "epochs_run", "diverged_epoch", "penalty_start", "penalty_last", "seconds"):
        assert row[name] == getattr(written, name), name
    for name in ("peak_memory_bytes", "engine", "device", "started", "error"):
        assert row[name] == getattr(written, name), name
    for metric in METRICS:
        expected: Metric = getattr(written, metric)
        found = Metric(row[f"{metric}_last"], row[f"{metric}_best"], row[f"{metric}_best_epoch"])
        assert found == expected, metric
    for moment in ("start", "last"):
        census: LayerCensus | None = getattr(written, f"census_{moment}")
        for name in CENSUS:
            layers = None if census is None else list(getattr(census, name))
            assert row[f"{name}_by_layer_{moment}"] == layers
            assert row[f"{name}_{moment}"] == (None if layers is None else pytest.approx(np.mean(layers), abs=1e-15))
        assert row[f"{DEAD_AT_SOME_LAYER}_{moment}"] == (None if census is None else census.dead_at_some_layer)
    assert list(curves["epoch"]) == sorted(row.epoch for row in written.curve)
    by_epoch = {row.epoch: row for row in written.curve}
    for found_row in curves.to_dict("records"):
        assert found_row["key"] == written.cell.key
        for name in ("train_acc", "val_acc", "train_loss", "val_loss", *CENSUS):
            assert found_row[name] == getattr(by_epoch[found_row["epoch"]], name)
        own = by_epoch[found_row["epoch"]]
        for name in ("penalty", "logit_gap", "largest_z"):
            value = getattr(own, name)
            assert pd.isna(found_row[name]) if value is None else found_row[name] == value
        hidden = found_row["hidden_losses"]
        assert hidden is None if own.hidden_losses is None else tuple(hidden) == own.hidden_losses


def test_every_promised_column_is_there(store: Store) -> None:
    assert set(store.cells().columns) >= COLUMNS  # of a store without rows, too
    store.write([result(cell())])
    cells = store.cells()
    assert set(cells.columns) >= COLUMNS
    assert set(cells.columns) >= set(cell().description())
    assert cells["n_params"].isna().all()


def test_widths_are_stored_as_whole_numbers(store: Store) -> None:
    """As the key has them: read again, the row is believed."""
    odd = Cell(network=NetworkSpec(widths=(42, 100, 42)))
    store.write([result(odd)])
    row = Store(store.results_dir).row(odd.key)
    assert (row["network.widths"], row["depth"], row["width"]) == ([42, 100, 42], 3, 100)
    assert isinstance(row["network.widths"][0], int)


def test_layer_weights_are_stored_as_a_list(store: Store) -> None:
    weighted = Cell(depth=2, penalty=PenaltySpec(kind="U", layer_weights=(1, 0.5)))
    store.write([result(weighted)])
    assert store.row(weighted.key)["penalty.layer_weights"] == [1.0, 0.5]


def test_an_infinite_loss_on_the_way_is_stored(store: Store) -> None:
    store.write([result(cell(), "diverged", diverged_epoch=3, curve=(replace(curve(1)[0], val_loss=float("inf")),))])
    assert list(store.curves()["val_loss"]) == [float("inf")]


def test_a_store_that_does_not_exist_is_empty(store: Store) -> None:
    assert store.stored() == {}
    assert store.cells().empty
    assert store.curves().empty
    assert list(store.curves().columns)[:2] == ["key", "epoch"]
    assert not store.results_dir.exists()
    with pytest.raises(KeyError):
        store.row(cell().key)


def test_a_folder_may_be_given_as_a_text(store: Store) -> None:
    store.write([result(cell(), curve=curve(1))])
    same = Store(str(store.results_dir))
    pd.testing.assert_frame_equal(same.cells(), store.cells())
    pd.testing.assert_frame_equal(same.curves(), store.curves())


def test_a_column_that_does_not_exist_is_named_with_the_nearest_one(store: Store) -> None:
    for asked in ({"columns": ["dpth"]}, {"where": {"dpth": 2}}):
        with pytest.raises(KeyError, match=r"dpth is not a column of the store; did you mean depth\?"):
            store.cells(**asked)  # type: ignore[arg-type]


def test_one_name_is_no_list_of_columns(store: Store) -> None:
    with pytest.raises(TypeError, match=r"^columns='depth' is not allowed: .* list of names, \['depth'\]$"):
        store.cells("depth")


def test_nothing_to_write_writes_nothing(store: Store) -> None:
    store.write([])
    store.add_labels([])
    assert not store.results_dir.exists()


def test_other_tools_read_the_folders_as_one_dataset(store: Store) -> None:
    for seed in range(3):
        store.write([result(cell(seed), curve=curve(1, 2))])
    assert len(pd.read_parquet(store.cells_dir)) == 3
    assert len(pq.read_table(store.curves_dir)) == 6


def test_curves_from_before_relaxed_layers_are_read_and_compacted(store: Store) -> None:
    """Parts without their columns stand beside parts with them."""
    older, newer = cell(1), cell(2)
    store.write([result(older, curve=curve(1, 2))])
    (path,) = store.curves_dir.iterdir()
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([*RELAXED]).replace_schema_metadata(table.schema.metadata), path)
    rows = tuple(replace(row, logit_gap=0.5, largest_z=2.0, hidden_losses=(0.25, 4.0)) for row in curve(1))
    store.write([result(newer, curve=rows)])

    def check(curves: pd.DataFrame) -> None:
        old, new = (curves[curves["key"] == one.key] for one in (older, newer))
        assert list(old["epoch"]) == [1, 2] and old[[*RELAXED]].isna().all(axis=None)
        assert (new["logit_gap"].item(), new["largest_z"].item()) == (0.5, 2.0)
        assert list(new["hidden_losses"].item()) == [0.25, 4.0]

    check(store.curves())
    compact(store)
    assert len(list(store.curves_dir.iterdir())) == 1
    check(Store(store.results_dir).curves())


def test_curves_are_ordered_by_key_and_epoch(store: Store) -> None:
    cells = [cell(seed) for seed in range(4)]
    store.write([result(one, curve=curve(3, 1, 2)) for one in cells])
    curves = store.curves()
    expected = [(key, epoch) for key in sorted(one.key for one in cells) for epoch in (1, 2, 3)]
    assert list(zip(curves["key"], curves["epoch"], strict=True)) == expected
    assert set(store.curves([cells[1].key])["key"]) == {cells[1].key}
    assert store.curves([]).empty
    assert store.curves(["0" * 32]).empty


# One row per key


@pytest.mark.parametrize(
    ("first", "second", "best"),
    [
        ("done", "diverged", "done"),
        ("diverged", "done", "done"),
        ("diverged", "failed", "diverged"),
        ("failed", "diverged", "diverged"),
        ("failed", "done", "done"),
        ("done", "failed", "done"),
    ],
)
def test_done_beats_diverged_beats_failed(
    store: Store, named_parts: Callable[..., None], first: str, second: str, best: str
) -> None:
    named_parts("1", "2")
    store.write([result(cell(), first, error=first)])
    store.write([result(cell(), second, error=second)])
    assert store.stored()[cell().key].status == best
    assert list(store.cells()["error"]) == [best]
    assert store.row(cell().key)["error"] == best


@pytest.mark.parametrize("order", [("1", "2", "3"), ("3", "1", "2"), ("2", "3", "1")])
def test_among_equals_the_lowest_part_name_wins(
    store: Store, named_parts: Callable[..., None], order: tuple[str, ...]
) -> None:
    named_parts(*order)
    for name in order:
        store.write([replace(result(cell()), engine=name)])
    assert list(store.cells()["engine"]) == ["1"]
    assert store.row(cell().key)["engine"] == "1"


def test_a_part_that_comes_later_may_have_the_lower_name(store: Store, named_parts: Callable[..., None]) -> None:
    named_parts("2", "1")
    follower = store.follow(["engine"])
    for name in ("2", "1"):
        store.write([replace(result(cell()), engine=name)])
        assert list(follower.cells()["engine"]) == [name]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["done", "diverged", "failed"])), min_size=1, max_size=8))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_row_a_key_whatever_was_written(tmp_path: Path, written: list[tuple[int, str]]) -> None:
    rank = ["done", "diverged", "failed"]
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        store = Store(Path(folder))
        for seed, status in written:
            store.write([result(cell(seed), status)])
        found = {key: known.status for key, known in store.stored().items()}
        cells = store.cells()
    expected = {
        cell(seed).key: min((status for other, status in written if other == seed), key=rank.index)
        for seed, _ in written
    }
    assert found == expected
    assert dict(zip(cells["key"], cells["status"], strict=True)) == expected


def test_a_key_twice_in_one_part_is_one_row(store: Store) -> None:
    store.write([result(cell(), "failed"), result(cell(), "done")])
    assert list(store.cells()["status"]) == ["done"]


def test_the_curves_are_those_of_the_chosen_row(store: Store, named_parts: Callable[..., None]) -> None:
    named_parts("1", "3", "2")
    store.write([result(cell(), "diverged", curve=curve(1))])
    store.write([result(cell(), "done", curve=curve(1, 2, 3))])
    store.write([result(cell(), "done", curve=curve(1, 2))])
    assert list(store.curves()["epoch"]) == [1, 2]


# Labels


def test_one_result_has_the_labels_of_all_methods_that_share_it(store: Store) -> None:
    store.write([result(cell(0, "b")), result(cell(1, "b"))])
    store.write([result(cell(0, "a"), "failed")])
    cells = store.cells().set_index("key")
    assert list(cells["labels"][cell(0).key]) == ["a", "b"]
    assert list(cells["labels"][cell(1).key]) == ["b"]
    assert store.stored()[cell(0).key].labels == {"a", "b"}


def test_added_labels_leave_result_and_curve_as_they_were(store: Store) -> None:
    one, other = cell(0, "own"), cell(1, "own")
    for seed in range(2):
        known = result(cell(seed, "own"), n_params=17, train_acc=Metric(0.5, 0.75, 3), curve=curve(1, 2))
        store.write([known])
    curves = store.curves()
    store.add_labels([(one.key, "x"), (one.key, "y"), (other.key, "x"), (one.key, "z")])
    assert store.stored()[one.key].labels == {"own", "x", "y", "z"}
    assert store.stored()[other.key].labels == {"own", "x"}
    cells = store.cells()
    assert list(cells["key"]) == sorted([one.key, other.key])
    assert list(cells["n_params"]) == [17, 17]
    assert list(cells["train_acc_best"]) == [0.75, 0.75]
    pd.testing.assert_frame_equal(store.curves(), curves)


@pytest.mark.parametrize("label_part", ["0", "2"])
def test_an_added_label_does_not_rename_the_result(
    store: Store, named_parts: Callable[..., None], label_part: str
) -> None:
    named_parts("1", label_part)
    store.write([result(cell(0, "own"))])
    store.add_labels([(cell().key, "further")])
    assert list(store.cells()["method"]) == ["own"]


def test_the_curve_follows_the_row_that_a_label_copied(store: Store, named_parts: Callable[..., None]) -> None:
    # Two processes trained the cell; the label was added to the first one's row before the second had written.
    named_parts("3", "1", "2")
    store.write([result(cell(), n_params=3, curve=curve(3))])
    store.add_labels([(cell().key, "further")])
    store.write([result(cell(), n_params=2, curve=curve(2))])
    assert list(store.curves()["epoch"]) == list(store.cells()["n_params"])


def test_labels_of_what_is_not_stored_are_an_error(store: Store) -> None:
    store.write([result(cell())])
    with pytest.raises(KeyError):
        store.add_labels([(cell(1).key, "further")])


# Durability


class Disk:
    """What the store asks of the disk, in order; the call of the given number fails."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, store: Store, fails_at: int | None = None, code: int = errno.ENOSPC
    ) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.fails_at, self.code = fails_at, code
        fsync, rename = os.fsync, os.replace

        def recorded_fsync(descriptor: int) -> None:
            opened = os.fstat(descriptor)
            everything = store.results_dir.rglob("*")
            self.call("fsync", next(path for path in everything if os.path.samestat(path.stat(), opened)))
            fsync(descriptor)

        def recorded_replace(source: Any, target: Any, **options: Any) -> None:
            self.call("replace", Path(source), Path(target))
            rename(source, target, **options)

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(os, "replace", recorded_replace)

    def call(self, what: str, path: Path, target: Path | None = None) -> None:
        if len(self.calls) == self.fails_at:
            self.calls.append((what, "failed", ""))
            raise OSError(self.code, os.strerror(self.code), str(path))
        if target is not None:
            assert target.parent == path.parent
            assert not target.exists()
        folder = path if path.is_dir() else path.parent
        kind = "folder" if path.is_dir() else "temporary" if path.name.startswith(".") else "part"
        self.calls.append((what, folder.name, kind))


def test_a_result_is_durable_before_it_is_visible_and_curves_before_cells(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([result(cell(1), curve=curve(1))])
    disk = Disk(monkeypatch, store)
    store.write([result(cell(), curve=curve(1))])
    assert disk.calls == [
        (what, folder, kind)
        for folder in ("curves", "cells")
        for what, kind in (("fsync", "temporary"), ("replace", "temporary"), ("fsync", "folder"))
    ]


def test_new_folders_are_durable_before_anything_is_written_into_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: (synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())), fsync(descriptor)),
    )
    store.check_writable()
    assert str(store.results_dir.resolve()) in synced, "the entries of cells/ and curves/"
    assert str(store.results_dir.resolve().parent) in synced, "the entry of the results folder"


def test_labels_are_durable_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write([result(cell())])
    disk = Disk(monkeypatch, store)
    store.add_labels([(cell().key, "further")])
    expected = [("fsync", "temporary"), ("replace", "temporary"), ("fsync", "folder")]
    assert [(what, kind) for what, _, kind in disk.calls] == expected


def test_a_reader_never_sees_half_a_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write([result(cell(0))])
    write_pieces, seen = part_files.write_pieces, []

    def watched(file: Any, content: memoryview, *, is_sound: bool) -> None:
        class Watched:
            def write(self, piece: bytes) -> None:
                file.write(piece)
                file.flush()
                seen.append(store.stored())

        write_pieces(Watched(), content, is_sound=is_sound)  # type: ignore[arg-type]

    monkeypatch.setattr(part_files, "write_pieces", watched)
    store.write([result(cell(1))])
    assert [set(known) for known in seen] == [{cell(0).key}] * 4
    assert set(store.stored()) == {cell(0).key, cell(1).key}


def test_curves_of_both_tasks_are_stored_together_null_and_nan_told_apart(store: Store) -> None:
    table = Npz(path="x.npz", task="regression", features=2, train_points=20, val_points=5, content="0")
    rows = [CurveRow(epoch, 0.5, 0.25, 1.0, 2.0, penalty, *[0.5] * 4) for epoch, penalty in [(1, None), (2, math.nan)]]
    written = [cell(0), replace(cell(1), dataset=table), cell(2)]
    store.write([result(of, curve=tuple(rows)) for of in written])
    part = pq.read_table(next(store.curves_dir.iterdir())).to_pylist()
    assert [row["key"] for row in part] == [of.key for of in written for _ in rows]
    assert [row["train_acc"] for row in part] == [0.5, 0.5, None, None, 0.5, 0.5]
    assert [row["train_r2"] for row in part] == [None, None, 0.5, 0.5, None, None]
    assert [row["val_loss"] for row in part] == [2.0] * 6
    assert [row["epoch"] for row in part] == [1, 2] * 3
    assert [row["penalty"] is None for row in part] == [True, False] * 3
    assert all(math.isnan(row["penalty"]) for row in part[1::2])


def assert_failed_write_left_nothing(store: Store, write: Callable[[], None], before: list[Path]) -> None:
    with pytest.raises(StoreError) as caught:
        write()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"results_dir={str(store.results_dir)!r} cannot be written: ")
    assert "everything stored before is whole" in message
    assert files(store) == before
    assert set(store.stored()) == {cell(0).key}
    assert list(store.curves()["epoch"]) == [1, 2]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("fails_at", [0, 1])
@pytest.mark.parametrize("with_curve", [False, True])
def test_a_write_that_fails_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int, fails_at: int, with_curve: bool
) -> None:
    store.write([result(cell(0), curve=curve(1, 2))])
    before = files(store)
    further = result(cell(1), curve=curve(1) if with_curve else ())
    with monkeypatch.context() as patch:
        Disk(patch, store, fails_at, code)
        with pytest.raises(StoreError, match=os.strerror(code)):
            store.write([further])
    with monkeypatch.context() as patch:
        Disk(patch, store, fails_at, code)
        assert_failed_write_left_nothing(store, lambda: store.write([further]), before)
    store.write([further])
    assert set(store.stored()) == {cell(0).key, cell(1).key}


@pytest.mark.parametrize("fails_at", [3, 4])
def test_a_write_whose_cells_fail_leaves_no_curves_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    store.write([result(cell(0), curve=curve(1, 2))])
    before = files(store)
    with monkeypatch.context() as patch:
        Disk(patch, store, fails_at)
        assert_failed_write_left_nothing(store, lambda: store.write([result(cell(1), curve=curve(1))]), before)


@pytest.mark.parametrize("fails_at", [0, 1])
def test_labels_that_cannot_be_written_leave_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    store.write([result(cell(0), curve=curve(1, 2))])
    before = files(store)
    with monkeypatch.context() as patch:
        Disk(patch, store, fails_at)
        assert_failed_write_left_nothing(store, lambda: store.add_labels([(cell(0).key, "further")]), before)


@pytest.mark.parametrize("fails_at", range(6))
def test_a_folder_that_cannot_be_made_durable_is_an_error_and_leaves_no_temporary(
    store: Store, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    store.write([result(cell(0), curve=curve(1, 2))])
    with monkeypatch.context() as patch:
        Disk(patch, store, fails_at)
        with pytest.raises(StoreError):
            store.write([result(cell(1), curve=curve(1))])
    assert not [path for path in files(store) if path.name.startswith(".")]
    assert cell(0).key in store.stored()
    assert len(store.curves([cell(0).key])) == 2


def test_a_write_that_is_interrupted_leaves_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write([result(cell(0))])
    before = files(store)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.write([result(cell(1))])
    assert files(store) == before


# What does not belong there


def test_temporaries_and_hidden_files_are_ignored(store: Store) -> None:
    store.write([result(cell(), curve=curve(1))])
    for folder in (store.cells_dir, store.curves_dir):
        (folder / ".part-0.parquet.tmp").write_bytes(b"PAR1 half a file")
        (folder / ".part-0.parquet").write_bytes(b"PAR1 half a file")
        (folder / ".nfs0000000000000001").write_bytes(b"")
        (folder / ".hidden").mkdir()
        (folder / "README.txt").write_text("not a part")
    assert set(store.stored()) == {cell().key}
    assert len(store.cells()) == 1
    assert len(store.curves()) == 1
    store.write([result(cell(1))])
    assert len(store.cells()) == 2


def truncated(whole_part: Path, bad: Path) -> None:
    content = whole_part.read_bytes()
    bad.write_bytes(content[: len(content) // 2])


def empty(_: Path, bad: Path) -> None:
    bad.write_bytes(b"")


def text(_: Path, bad: Path) -> None:
    bad.write_text("this is no parquet file\n" * 100)


def folder_of_that_name(_: Path, bad: Path) -> None:
    bad.mkdir()


def wrong_type(whole_part: Path, bad: Path) -> None:
    table = pq.read_table(whole_part)
    place = table.schema.get_field_index("depth")
    words = pa.array(["ten"] * len(table))
    keys = pa.array([cell(99).key] * len(table))
    pq.write_table(table.set_column(place, "depth", words).set_column(0, "key", keys), bad)


def without_keys(_: Path, bad: Path) -> None:
    pq.write_table(pa.table({"depth": [1, 2]}), bad)


@pytest.mark.parametrize("damage", [truncated, empty, text, folder_of_that_name, wrong_type, without_keys])
@pytest.mark.parametrize("reader", ["stored", "cells", "row", "curves"])
@pytest.mark.parametrize("name", ["part-0.parquet", "part-x.parquet"])
def test_an_unreadable_part_is_named_and_all_others_are_read(
    store: Store, damage: Callable[[Path, Path], None], reader: str, name: str
) -> None:
    for seed in range(2):
        store.write([result(cell(seed), curve=curve(1))])
    bad = store.cells_dir / name
    damage(parts(store)[0], bad)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if reader == "row":
            assert store.row(cell(1).key)["seed"] == 1
        else:
            found = getattr(store, reader)()
            keys = set(found) if reader == "stored" else set(found["key"])
            assert keys == {cell(0).key, cell(1).key}
    (warning,) = caught
    assert issubclass(warning.category, StoreWarning)
    assert str(bad) in str(warning.message)
    assert "\n" not in str(warning.message)


@pytest.mark.parametrize("damage", [truncated, empty, text])
def test_an_unreadable_curve_costs_only_itself(store: Store, damage: Callable[[Path, Path], None]) -> None:
    for seed in range(2):
        store.write([result(cell(seed), curve=curve(1))])
    bad, good = sorted(store.curves_dir.iterdir())
    damage(good, bad)
    with pytest.warns(StoreWarning, match=bad.name):
        curves = store.curves()
    assert len(curves) == 1
    assert len(store.cells()) == 2


def test_a_part_of_a_newer_version_is_refused(store: Store) -> None:
    store.write([result(cell())])
    (part,) = parts(store)
    newer = {b"jumpstart_exp.store": str(STORE_VERSION + 1).encode()}
    pq.write_table(pq.read_table(part).replace_schema_metadata(newer), store.cells_dir / "part-newer.parquet")
    for read in (store.stored, store.cells, store.curves):
        with pytest.raises(StoreError) as caught:
            read()
        message = str(caught.value)
        assert "part-newer.parquet was written by a newer jumpstart_exp" in message
        assert f"store version {STORE_VERSION + 1}" in message
        assert "update jumpstart_exp" in message
        assert "\n" not in message


def test_columns_that_an_older_part_lacks_are_null(store: Store) -> None:
    store.write([result(cell(0), peak_memory_bytes=1000), result(cell(1), "failed")])
    (part,) = parts(store)
    older = pq.read_table(part).drop_columns(["peak_memory_bytes", "penalty.scope", "git_dirty", "traceback"])
    pq.write_table(older, part)
    store.write([result(cell(2), peak_memory_bytes=2000)])
    cells = store.cells().set_index("seed")
    assert cells["peak_memory_bytes"].isna().to_dict() == {0: True, 1: True, 2: False}
    assert cells["penalty.scope"].isna().all()
    assert store.row(cell(0).key)["git_dirty"] is store.row(cell(1).key)["traceback"] is None
    assert {key: known.status for key, known in store.stored().items()} == {
        cell(0).key: "done",
        cell(1).key: "failed",
        cell(2).key: "done",
    }
    assert set(store.cells().columns) >= COLUMNS


def test_a_column_of_another_programme_is_left_out(store: Store) -> None:
    store.write([result(cell())])
    (part,) = parts(store)
    pq.write_table(pq.read_table(part).append_column("mine", pa.array([1])), part)
    assert "mine" not in store.cells().columns
    assert len(store.cells()) == 1


@pytest.mark.parametrize("reader", ["stored", "cells", "curves"])
def test_a_link_to_nowhere_does_not_block_readers(store: Store, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    store.write([result(cell(), curve=curve(1))])
    (store.cells_dir / "part-link.parquet").symlink_to(store.results_dir / "gone.parquet")
    attempts, opened = count(), stores.open_part

    def counted(path: Path, schema: pa.Schema) -> Any:
        assert next(attempts) < 1000, "the reader tries for ever"
        return opened(path, schema)

    monkeypatch.setattr(stores, "open_part", counted)
    with pytest.warns(StoreWarning, match=r"part-link\.parquet"):
        assert len(getattr(store, reader)()) == 1


# Several at once


@pytest.mark.parametrize("reader", ["stored", "cells"])
def test_parts_that_are_compacted_while_they_are_read_are_found_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    for seed in range(3):
        store.write([result(cell(seed))])
    opened = stores.open_part
    moved: list[Path] = []

    def compacting(path: Path, schema: pa.Schema) -> Any:
        if not moved:
            both = [path, next(part for part in parts(store) if part != path)]
            pq.write_table(pa.concat_tables([pq.read_table(part) for part in both]), store.cells_dir / ".new")
            (store.cells_dir / ".new").rename(store.cells_dir / "compacted-1.parquet")
            for part in both:
                part.unlink()
            moved.append(path)
        return opened(path, schema)

    monkeypatch.setattr(stores, "open_part", compacting)
    found = getattr(store, reader)()
    assert moved
    assert set(found if reader == "stored" else found["key"]) == {cell(seed).key for seed in range(3)}


def test_curves_that_vanish_while_they_are_read_are_left_out(store: Store) -> None:
    for seed in range(2):
        store.write([result(cell(seed), curve=curve(1))])
    sorted(store.curves_dir.iterdir())[0].unlink()
    assert len(store.curves()) == 1


# What cannot be written


def assert_refused(results_dir: Path, reason: str) -> None:
    """Both the check before a sweep and the write itself say what is wrong with the folder, in one line."""
    store = Store(results_dir)
    for attempt in (store.check_writable, lambda: store.write([result(cell(), curve=curve(1))])):
        with pytest.raises(StoreError) as caught:
            attempt()
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"results_dir={str(results_dir)!r} cannot be written: ")
        assert reason in message


def test_a_writable_folder_passes_and_is_left_clean(store: Store) -> None:
    store.check_writable()
    store.check_writable()
    assert store.cells_dir.is_dir()
    assert files(store) == []


def test_a_results_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert_refused(tmp_path / "file", "")
    assert_refused(tmp_path / "file" / "results", os.strerror(errno.ENOTDIR))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, which nobody can write")
def test_a_results_dir_that_cannot_be_created_is_refused() -> None:
    assert_refused(Path("/proc/results"), os.strerror(errno.ENOENT))


def test_a_results_dir_with_an_impossible_name_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / ("x" * 300), os.strerror(errno.ENAMETOOLONG))


AS_NOBODY = f"""
import os, sys, tempfile
from pathlib import Path
from jumpstart_exp.cell import Cell
from jumpstart_exp.result import Result
from jumpstart_exp.store import Store, StoreError

def attempt(what, store):
    if what == "check":
        store.check_writable()
    if what == "write":
        store.write([Result(Cell(), "done", "eager")])
    if what == "read":
        return len(store.stored())

with tempfile.TemporaryDirectory() as folder:  # imports everything while it is allowed to
    for what in ("check", "write", "read"):
        attempt(what, Store(Path(folder)))
if os.getuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
try:
    print(attempt(sys.argv[2], Store(Path(sys.argv[1]))))
except StoreError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A store with one cell in a folder that its user, `nobody` where the tests run as root, may not write."""
    root = Path(tempfile.mkdtemp())  # other users cannot enter pytest's own folder
    root.chmod(0o755)
    store = Store(root / "results")
    store.write([result(cell())])
    folders = [store.cells_dir, store.curves_dir, store.results_dir]
    store.curves_dir.mkdir(exist_ok=True)
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield store.results_dir
    finally:
        for folder in reversed(folders):
            folder.chmod(0o755)
        shutil.rmtree(root)


def as_nobody(results_dir: Path, attempt: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(results_dir), attempt], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("attempt", ["check", "write"])
@pytest.mark.parametrize("inside", ["", "new"])
def test_a_folder_of_someone_else_is_refused(foreign: Path, attempt: str, inside: str) -> None:
    refused = as_nobody(foreign / inside, attempt)
    message = refused.stderr.strip()
    assert message.startswith(f"results_dir={str(foreign / inside)!r} cannot be written: ")
    assert os.strerror(errno.EACCES) in message
    assert "\n" not in message
    assert refused.returncode == 1


def test_a_folder_of_someone_else_can_be_read(foreign: Path) -> None:
    found = as_nobody(foreign, "read")
    assert (found.stdout.strip(), found.stderr) == ("1", "")


def test_a_folder_that_may_not_be_read_is_not_taken_for_empty(foreign: Path) -> None:
    (foreign / "cells").chmod(0o300)
    refused = as_nobody(foreign, "read")
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"results_dir={str(foreign)!r} cannot be read: ")
    assert os.strerror(errno.EACCES) in refused.stderr


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[bool]:
    """Whether a tmpfs could be mounted on the folder; it is gone afterwards."""
    folder.mkdir()
    try:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        done = mount.returncode == 0
    except OSError:
        done = False
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_file_system_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path / "mount", "ro") as done:
        if done:
            assert_refused(tmp_path / "mount" / "results", os.strerror(errno.EROFS))
            return
    # without the right to mount: a file system that takes no folders from anybody
    frozen = next(path for path in (Path("/sys"), Path("/proc"), Path("/dev/fd")) if path.is_dir())
    assert_refused(frozen / "results", "")


def fill(store: Store) -> None:
    for seed in range(200):
        store.write([result(cell(seed), curve=curve(1))])


def test_a_full_disk_is_refused_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mounted(tmp_path / "mount", "size=200k") as done:
        store = Store(tmp_path / "mount" / "results")
        if not done:  # without the right to mount: the device that is always full
            monkeypatch.setattr(pq, "write_table", lambda *_, **__: Path("/dev/full").write_bytes(b"x"))
        with pytest.raises(StoreError) as caught:
            fill(store)
        message = str(caught.value)
        assert message.startswith(f"results_dir={str(store.results_dir)!r} cannot be written: ")
        assert os.strerror(errno.ENOSPC) in message
        assert not [path for path in files(store) if path.name.startswith(".")]
        assert len(store.stored()) == len(parts(store))
        assert bool(store.stored()) == done


# Size


@pytest.mark.soak
def test_twenty_thousand_cells_are_read_in_seconds(store: Store) -> None:
    cells_a_part, n_parts = 64, 313
    store.write([result(cell(seed), curve=curve(1)) for seed in range(cells_a_part)])
    table = pq.read_table(parts(store)[0])
    table = table.drop_columns(["label_check"])  # as older parts are
    for number in range(1, n_parts):
        seeds = range(number * cells_a_part, (number + 1) * cells_a_part)
        own = table.set_column(0, "key", pa.array([cell(seed).key for seed in seeds]))
        own = own.set_column(own.schema.get_field_index("seed"), "seed", pa.array(seeds))
        pq.write_table(own, store.cells_dir / f"part-{number:04}.parquet")
    started = time.monotonic()
    assert len(store.stored()) == cells_a_part * n_parts
    stored_seconds = time.monotonic() - started
    assert len(store.cells()) == cells_a_part * n_parts
    cells_seconds = time.monotonic() - started - stored_seconds
    assert stored_seconds < 20
    assert cells_seconds < 20


def test_the_schema_has_a_column_for_every_field_of_a_cell() -> None:
    described = Cell(optimizer=OptimizerSpec(batch_size=10)).description()
    assert set(described) <= set(cell_schema().names)


def test_a_filter_of_another_type_is_refused_in_one_line(store: Store) -> None:
    store.write([result(cell())])
    with pytest.raises(ValueError, match=r"^where width=\['four'\] is not allowed: the column is of int64$"):
        store.cells(where={"width": "four"})


def test_rows_chosen_by_what_is_no_setting_come_without_empty_ones(store: Store) -> None:
    cells = [cell(seed, "a" if seed % 2 else "b") for seed in range(6)]
    store.write([result(one, "failed" if one.seed == 5 else "done") for one in cells])
    for where, seeds in (({"method": "a"}, {1, 3, 5}), ({"status": "failed"}, {5}), ({"method": "b", "seed": 4}, {4})):
        found = store.cells(["seed"], where)
        assert set(found["seed"]) == seeds
        assert len(found) == len(seeds)
        assert [list(labels) for labels in found["labels"]] == [["a" if seed % 2 else "b"] for seed in found["seed"]]


def test_a_folder_that_another_process_makes_at_that_instant_is_used(tmp_path, monkeypatch):
    wanted, is_dir = tmp_path / "results" / "runs", Path.is_dir

    def another_is_faster(path: Path) -> bool:
        if found := is_dir(path):
            return found
        monkeypatch.undo()
        path.mkdir(parents=True)
        return found

    monkeypatch.setattr(Path, "is_dir", another_is_faster)
    make_folder(wanted)
    assert wanted.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file")
