"""Compaction changes nothing that anybody reads, whatever the store holds and whoever works beside it."""

import errno
import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked_writers import assert_same_frames, cell_of, epochs_of, no_locks, result_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jumpstart_exp.result import CurveRow, Result
from jumpstart_exp.store import STORE_VERSION, Store, StoreError, StoreWarning, compaction, parts
from jumpstart_exp.store.compaction import BusyError, compact

DAY = 24 * 3600
COLUMNS = ["seed", "method", "status", "engine", "n_params", "dead_units_by_layer_last"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_ROWS", 3)


def files(store: Store) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(store.results_dir.rglob("*")) if path.is_file()}


def cell_parts(store: Store) -> list[str]:
    return sorted(parts.part_names(store.cells_dir))


def reading(store: Store) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Everything that can be read."""
    cells = store.cells(COLUMNS)
    assert {key: (known.status, known.labels) for key, known in store.stored().items()} == {
        row.key: (row.status, frozenset(row.labels)) for row in cells.itertuples()
    }
    return cells, store.curves()


def assert_reads(store: Store, expected: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    for found, wanted in zip(reading(store), expected, strict=True):
        assert_same_frames(found, wanted)


def filled(store: Store, labels: bool = True) -> Store:
    """A store with a key twice, statuses that beat each other, labels, and a cell without a curve."""
    store.write([result_of(0), result_of(1, "first")])
    store.write([result_of(1, "second"), result_of(2, status="failed")])
    store.write([result_of(2), result_of(3)])
    if labels:
        store.add_labels([(cell_of(1).key, "b"), (cell_of(0).key, "a")])
        store.add_labels([(cell_of(3).key, "a"), (cell_of(1).key, "b")])
    return store


# Any store

rows = st.tuples(
    st.integers(0, 3),  # seed
    st.sampled_from(["done", "diverged", "failed"]),
    st.sampled_from("ab"),  # label
    st.lists(st.integers(1, 9), max_size=2, unique=True),  # epochs
)
writes = st.lists(rows, min_size=1, max_size=3, unique_by=lambda row: row[0])
labelled = st.tuples(st.integers(0, 3), st.sampled_from("abc"))
steps = st.lists(
    writes.map(lambda value: ("write", value))
    | st.lists(labelled, min_size=1, max_size=2).map(lambda value: ("labels", value))
    | st.sampled_from([2, 4, 100]).map(lambda value: ("compact", value)),
    max_size=9,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, names=st.randoms(use_true_random=False))
def test_any_store_reads_the_same_before_and_after(tmp_path: Path, steps: list[tuple[str, Any]], names: Any) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder, pytest.MonkeyPatch.context() as patch:
        unique = count()
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=names.getrandbits(64) << 64 | next(unique)))
        patch.setattr(os, "fsync", lambda _: None)
        store = Store(Path(folder))
        follower = store.follow(COLUMNS)
        for number, (step, value) in enumerate([*steps, ("compact", 2), ("compact", 100)]):
            if step == "write":
                store.write([result_with(number, *row) for row in value])
            elif step == "labels":
                stored = store.stored()
                store.add_labels([(cell_of(seed).key, label) for seed, label in value if cell_of(seed).key in stored])
            elif store.cells_dir.is_dir():
                before = reading(store)
                patch.setattr(compaction, "_ROWS", value)
                patch.setattr(compaction, "_CURVE_ROWS", value)
                found = compact(store)
                assert_same_frames(follower.cells()[["key", "engine"]], before[0][["key", "engine"]])
                parts_now = cell_parts(store)
                assert (found.parts_after, found.removed) == (len(parts_now), 0)
                assert found.rows == sum(pq.read_metadata(store.cells_dir / part).num_rows for part in parts_now)
                compact(store)
                assert len(cell_parts(store)) <= len(parts_now)
                assert_reads(store, before)


def result_with(number: int, seed: int, status: Any, label: str, epochs: list[int]) -> Result:
    """A result that says which training it is from."""
    curve = tuple(CurveRow(epoch, 0.5, 0.5, number, 0.5, None, 0.0, 0.0, 0.0, 0.0) for epoch in epochs)
    return Result(replace(cell_of(seed), method=label), status, f"training {number}", n_params=number + 1, curve=curve)


@pytest.mark.usefixtures("small_parts")
def test_which_of_equal_rows_is_read_stays_beside_a_part_that_is_large_already(store: Store) -> None:
    def write(name: str, results: list[Result]) -> None:
        store.write(results)
        (new,) = (part for part in cell_parts(store) if not part.startswith("part-0-"))
        for folder in (store.cells_dir, store.curves_dir):
            (folder / new).rename(folder / f"part-0-{name}.parquet")

    write("00000001-a", [result_with(1, 0, "done", "a", [1]), result_with(1, 9, "failed", "a", [1])])
    write("00000002-b", [result_with(2, seed, "done", "b", [2]) for seed in (0, 1, 2)])
    store.write([result_with(3, 9, "done", "a", [3])])
    before = reading(store)
    compact(store)
    assert "part-0-00000002-b.parquet" in cell_parts(store)
    assert "part-0-00000001-a.parquet" not in cell_parts(store)
    assert_reads(store, before)


def test_many_parts_become_few_and_curves_go_with_their_rows(store: Store) -> None:
    for seed in range(0, 40, 2):
        store.write([result_of(seed), result_of(seed + 1)])
    before = reading(store)
    found = compact(store)
    assert (found.parts_before, found.parts_after, found.rows) == (20, 1, 40)
    assert len(cell_parts(store)) == 1
    assert cell_parts(store) == sorted(parts.part_names(store.curves_dir))
    assert_reads(store, before)
    (part,) = store.curves_dir.glob("[!.]*")
    assert len(pq.read_table(part)) == sum(len(epochs_of(seed)) for seed in range(40))


def test_rows_that_lose_are_dropped_and_labels_are_not(store: Store) -> None:
    filled(store)
    compact(store)
    rows = pd.concat([pq.read_table(store.cells_dir / part).to_pandas() for part in cell_parts(store)])
    assert sorted(zip(rows["seed"], rows["method"], rows["status"], strict=True)) == [
        (0, "UP", "done"),
        (0, "a", "done"),
        (1, "UP", "done"),
        (1, "b", "done"),
        (2, "UP", "done"),
        (3, "UP", "done"),
        (3, "a", "done"),
    ]


# Beside others


def at_every_call(monkeypatch: pytest.MonkeyPatch, wrapped: list[tuple[Any, str]], happen: Callable[[], None]) -> None:
    """Let something happen before the first and after every one of these calls, but not within itself.

    What is after one is before the next.
    """
    inside, has_begun = False, False

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            nonlocal inside, has_begun
            if inside:
                return call(*arguments, **options)
            if not has_begun:
                inside = has_begun = True
                happen()
                inside = False
            try:
                return call(*arguments, **options)
            finally:
                inside = True
                happen()
                inside = False

        return wrapper

    for owner, name in wrapped:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))


WRITING = [(pq, "write_table"), (os, "fsync"), (os, "replace"), (os, "unlink")]
READING = [(os, "listdir"), (pq, "ParquetFile")]


def test_readers_see_the_same_at_every_step_of_a_compaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(store)
    before = reading(store)
    follower = store.follow(["engine"])
    looks: list[list[str]] = [[]]

    def look() -> None:
        listed = [*cell_parts(store), *sorted(parts.part_names(store.curves_dir))]
        if listed == looks[-1]:  # nothing that is read has changed
            return
        looks.append(listed)
        assert_reads(store, before)
        assert_same_frames(follower.cells()[["key", "engine"]], before[0][["key", "engine"]])
        assert store.row(cell_of(1).key)["engine"] == before[0].set_index("seed")["engine"][1]

    names = count(1)  # a part that replaces another of the same number comes behind it
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(names)))
    for rows, seeds in ((3, ()), (100, (11,)), (100, (12, 13))):
        monkeypatch.setattr(compaction, "_ROWS", rows)
        store.write([result_of(seed) for seed in seeds])
        before = reading(store)
        with monkeypatch.context() as patch:
            at_every_call(patch, WRITING, look)
            compact(store)
        assert_reads(store, before)
    assert len(looks) > 20


def nth_time(number: int, happen: Callable[[], Any]) -> Callable[[], None]:
    times = 0

    def counted() -> None:
        nonlocal times
        times += 1
        if times == number:
            happen()

    return counted


def compact_once(store: Store, done: list[Any]) -> None:
    done.append(compact(store))


def copies(store: Store, folder: Path, step: int = 1) -> Iterator[tuple[int, Store]]:
    """The same store again and again, with numbers from 1."""
    for number in range(1, 200, step):
        shutil.copytree(store.results_dir, folder / str(number))
        yield number, Store(folder / str(number))
        shutil.rmtree(folder / str(number))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("reader", ["stored", "cells", "curves", "row", "follow"])
def test_a_whole_compaction_at_every_step_of_a_reader(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    filled(store)
    read: Callable[[Store], Any] = {
        "stored": lambda one: one.stored(),
        "cells": lambda one: one.cells(COLUMNS).to_dict("records"),
        "curves": lambda one: one.curves().to_dict("records"),
        "row": lambda one: one.row(cell_of(1).key),
        "follow": lambda one: one.follow(["engine"]).cells().to_dict("records"),
    }[reader]
    expected = repr(read(store))
    for number, copy in copies(store, tmp_path):
        done: list[Any] = []
        with monkeypatch.context() as patch:
            at_every_call(patch, READING, nth_time(number, partial(compact_once, copy, done)))
            assert repr(read(copy)) == expected, number
        if not done:
            break
    assert number > 10


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("reader", ["stored", "cells", "curves", "row", "follow"])
@pytest.mark.parametrize("torn", range(4))
def test_a_listing_that_shows_neither_the_old_parts_nor_the_new_ones(
    store: Store, monkeypatch: pytest.MonkeyPatch, reader: str, torn: int
) -> None:
    """What a folder's listing may show that runs beside a compaction; the follower has seen an emptier store."""
    store.write([result_of(9)])
    follower = store.follow(["engine"])
    follower.cells()
    filled(store, labels=False)
    listdir, listings = os.listdir, 0

    def tearing(folder: Any) -> list[str]:
        nonlocal listings
        names = listdir(folder)
        if Path(folder) != store.cells_dir:
            return names
        listings += 1
        if listings - 1 != torn:
            return names
        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", listdir)
            compact(store)
        return sorted(set(names) & set(listdir(folder)))

    monkeypatch.setattr(os, "listdir", tearing)
    expected = {cell_of(seed).key for seed in (0, 1, 2, 3, 9)}
    if reader == "curves":
        assert set(store.curves()["key"]) == expected - {cell_of(0).key}
    elif reader == "row":
        assert store.row(cell_of(3).key)["seed"] == 3
    else:
        keys = store.stored() if reader == "stored" else (follower if reader == "follow" else store).cells()["key"]
        assert set(keys) == expected


def test_two_torn_listings_one_after_the_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(store, labels=False)
    listdir, listings = os.listdir, 0

    def tearing(folder: Any) -> list[str]:
        nonlocal listings
        listings += 1
        names = set(listdir(folder))
        if listings <= 2:
            with monkeypatch.context() as patch:
                patch.setattr(os, "listdir", listdir)
                compact(store)
                moved = set(listdir(folder))
                if listings == 1:
                    store.write([result_of(10)])
            return sorted(names & moved | (set(listdir(folder)) - moved))
        return sorted(names)

    monkeypatch.setattr(os, "listdir", tearing)
    assert store.stored().keys() >= {cell_of(seed).key for seed in range(4)}
    assert listings > 2


def test_rows_that_were_read_are_not_lost_however_many_listings_are_torn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store, labels=False)
    listdir, listings = os.listdir, 0

    def tearing(folder: Any) -> list[str]:
        nonlocal listings
        listings += 1
        if listings in (2, 3):  # each is torn by a compaction of its own
            with monkeypatch.context() as patch:
                patch.setattr(os, "listdir", listdir)
                store.write([result_of(10 + listings)])
                names = listdir(folder)
                compact(store)
            return sorted(set(names) & set(listdir(folder)))
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", tearing)
    assert store.stored().keys() >= {cell_of(seed).key for seed in range(4)}


def test_writers_do_not_keep_a_reader_busy_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write([result_of(0)])
    seeds = iter(range(1, 30))
    with monkeypatch.context() as patch:
        at_every_call(patch, [(os, "listdir")], lambda: store.write([result_of(next(seeds))]))
        assert cell_of(0).key in store.stored()
    assert next(seeds) < 29


def test_a_second_compaction_is_refused_while_one_is_at_work(store: Store) -> None:
    filled(store)
    before = files(store)
    with (store.cells_dir / ".compaction.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=r"another compaction of .* is at work"):
            compact(store)
        assert {path: content for path, content in files(store).items() if path.suffix != ".lock"} == before
    compact(store)
    assert len(cell_parts(store)) < 5


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("calls", [WRITING, READING])
def test_two_compactions_without_locks_lose_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[Any, str]]
) -> None:
    filled(store)
    expected = reading(store)
    monkeypatch.setattr(fcntl, "flock", no_locks)
    for number, copy in copies(store, tmp_path, step=2):
        done: list[Any] = []
        with monkeypatch.context() as patch:
            at_every_call(patch, calls, nth_time(number, partial(compact_once, copy, done)))
            compact(copy)
        assert_reads(copy, expected)
        compact(copy)
        assert_reads(copy, expected)
        if not done:
            break
    assert number > 10


# What compaction leaves alone


def damaged(path: Path) -> None:
    """Other bytes in the middle of one column's data: what is at the end of the file is sound."""
    content = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(list(pq.read_schema(path).names).index("n_params"))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("damage", [cut, damaged])
def test_an_unreadable_part_stays_and_no_row_is_dropped_for_one_in_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    coming = iter(f"{number:032x}" for number in range(1, 100))
    monkeypatch.setattr(uuid, "uuid4", lambda: type("Named", (), {"hex": next(coming)}))
    for engine in ("first", "second"):
        store.write([result_of(1, engine)])
    store.write([result_of(2)])
    store.write([result_of(3)])
    bad = store.cells_dir / cell_parts(store)[0]
    damage(bad)
    left = bad.read_bytes(), (store.curves_dir / bad.name).read_bytes()
    with pytest.warns(StoreWarning, match=bad.name):
        before = store.cells()
    assert list(before.set_index("seed")["engine"].sort_index()) == ["second", "eager", "eager"]
    with pytest.warns(StoreWarning, match=bad.name):
        assert compact(Store(store.results_dir)).parts_after == 2
    assert (bad.read_bytes(), (store.curves_dir / bad.name).read_bytes()) == left
    assert_same_frames(store.cells(), before)


@pytest.mark.parametrize("damage", [cut, lambda path: path.write_text("no curves")])
def test_a_part_whose_curves_are_unreadable_stays(store: Store, damage: Callable[[Path], None]) -> None:
    for seed in range(1, 5):
        store.write([result_of(seed)])
    bad = store.curves_dir / cell_parts(store)[1]
    damage(bad)
    left = bad.read_bytes(), (store.cells_dir / bad.name).read_bytes()
    with pytest.warns(StoreWarning, match=bad.name):
        before = reading(store)
    with pytest.warns(StoreWarning, match=bad.name):
        found = compact(Store(store.results_dir))
    assert (found.parts_after, found.rows) == (2, 4)
    assert (bad.read_bytes(), (store.cells_dir / bad.name).read_bytes()) == left
    assert_reads(store, before)


def test_which_row_is_read_stays_beside_a_part_whose_curves_are_unreadable(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(f"{number:032x}" for number in range(1, 100))
    monkeypatch.setattr(uuid, "uuid4", lambda: type("Named", (), {"hex": next(coming)}))
    store.write([result_with(1, 1, "done", "a", [1])])
    store.write([result_with(2, 1, "done", "b", [2]), result_with(2, 2, "done", "a", [2])])
    store.write([result_with(3, 2, "done", "b", [3])])
    store.write([result_with(4, 3, "done", "b", [3])])
    store.write([result_with(5, 4, "done", "b", [3])])
    cut(store.curves_dir / cell_parts(store)[0])
    with pytest.warns(StoreWarning):
        before = reading(store)
    with pytest.warns(StoreWarning):
        compact(Store(store.results_dir))
    assert_reads(store, before)
    assert len(cell_parts(store)) == 4


def test_columns_of_a_later_version_stay(store: Store) -> None:
    for seed in range(1, 4):
        store.write([result_of(seed)])
    for folder in (store.cells_dir, store.curves_dir):
        for number, part in enumerate(cell_parts(store)[:2]):
            table = pq.read_table(folder / part)
            values = pa.array([[float(number)]] * len(table))
            pq.write_table(table.append_column("of tomorrow", values), folder / part)
    compact(store)
    (part,) = cell_parts(store)
    assert sorted(map(str, pq.read_table(store.cells_dir / part)["of tomorrow"].to_pylist())) == [
        "None",
        "[0.0]",
        "[1.0]",
    ]
    assert "of tomorrow" in pq.read_schema(store.curves_dir / part).names
    assert "of tomorrow" not in store.cells().columns


def test_parts_that_cannot_be_put_together_stay(store: Store) -> None:
    for seed in range(1, 5):
        store.write([result_of(seed)])
    for part, value in zip(cell_parts(store)[:2], ([1], ["text"]), strict=True):
        table = pq.read_table(store.cells_dir / part)
        pq.write_table(table.append_column("mine", pa.array(value)), store.cells_dir / part)
    before = reading(store)
    with pytest.warns(StoreWarning, match=cell_parts(store)[1]):
        assert compact(store).parts_after == 2
    assert_reads(store, before)


@pytest.mark.parametrize("folder", ["cells", "curves"])
def test_a_part_of_a_newer_store_version_is_an_error_and_nothing_is_touched(store: Store, folder: str) -> None:
    filled(store)
    path = store.results_dir / folder / max(parts.part_names(store.curves_dir))
    newer = {b"jumpstart_exp.store": str(STORE_VERSION + 1).encode()}
    pq.write_table(pq.read_table(path).replace_schema_metadata(newer), path)
    before = files(store)
    with pytest.raises(StoreError, match="was written by a newer jumpstart_exp"):
        compact(store)
    assert {path: content for path, content in files(store).items() if path.suffix != ".lock"} == before


@pytest.mark.parametrize(
    ("code", "fails_at"), [*((errno.EIO, number) for number in range(10)), (errno.ENOSPC, 0), (errno.ENOSPC, 5)]
)
def test_a_disk_that_fails_in_the_middle_harms_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, fails_at: int, code: int
) -> None:
    monkeypatch.setattr(compaction, "_ROWS", 3)
    filled(store)
    before = reading(store)
    calls = 0
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > fails_at:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(StoreError) as caught:
            compact(store)
    message = str(caught.value)
    assert message.startswith(f"results_dir={str(store.results_dir)!r} cannot be compacted: {os.strerror(code)}")
    assert "everything stored is there" in message
    assert not [path for path in files(store) if path.suffix == ".tmp"]
    assert_reads(store, before)
    compact(store)
    assert_reads(store, before)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs on the folder; the test is skipped where that is not allowed."""
    folder.mkdir()
    try:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    except OSError:
        pytest.skip("there is no mount here")
    if mount.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(store: Store) -> None:
    for seed in range(1, 100):
        store.write([result_of(seed)])


def test_a_full_disk_harms_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "mount", "size=600k"):
        store = Store(tmp_path / "mount" / "results")
        store.write([result_of(0)])
        with pytest.raises(StoreError, match="No space left"):
            fill(store)
        before = reading(store)
        left = {path: content for path, content in files(store).items() if path.suffix != ".lock"}
        with pytest.raises(StoreError, match="cannot be compacted: No space left"):
            compact(store)
        assert {path: content for path, content in files(store).items() if path.suffix != ".lock"} == left
        assert_reads(store, before)


def test_a_read_only_store_is_refused_and_read(tmp_path: Path) -> None:
    with mounted(tmp_path / "mount", "size=2m"):
        store = filled(Store(tmp_path / "mount" / "results"))
        before = reading(store)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "mount")], check=True)
        with pytest.raises(StoreError, match="cannot be compacted: Read-only file system"):
            compact(store)
        with pytest.raises(StoreError, match="cannot be written: Read-only file system"):
            store.write([result_of(7)])
        assert_reads(store, before)


# What killed writers left


def test_left_over_files_go_when_they_are_a_day_old_and_not_before(store: Store) -> None:
    filled(store)
    left = []
    for folder in (store.cells_dir, store.curves_dir):
        for name in (".part-1.parquet.tmp", ".probe-1", ".nfs000001", "notes.txt", ".part-2.parquet.tmp"):
            (folder / name).write_bytes(b"x")
            left.append(folder / name)
        (folder / ".part-3.parquet.tmp").mkdir()
    shutil.copy(next(store.curves_dir.glob("part-*")), store.curves_dir / "part-orphan.parquet")
    shutil.copy(next(store.curves_dir.glob("part-*")), store.curves_dir / "part-young.parquet")
    now = (store.cells_dir / "notes.txt").stat().st_mtime
    for folder in (store.cells_dir, store.curves_dir):
        for path in folder.iterdir():
            os.utime(path, (now, now - DAY - 60))
        os.utime(folder / ".part-2.parquet.tmp", (now, now - DAY + 600))
    os.utime(store.curves_dir / "part-young.parquet", (now, now - DAY + 600))
    before = reading(store)
    assert compact(store).removed == 5
    assert_reads(store, before)
    gone = {path.relative_to(store.results_dir).as_posix() for path in left if not path.exists()}
    assert gone == {
        f"{folder}/{name}" for folder in ("cells", "curves") for name in (".part-1.parquet.tmp", ".probe-1")
    }
    assert not (store.curves_dir / "part-orphan.parquet").exists()
    assert (store.curves_dir / "part-young.parquet").exists()


def test_old_curves_stay_where_a_listing_has_missed_their_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that runs beside another machine's rename may."""
    filled(store)
    curves = list(store.curves_dir.glob("part-*"))
    for path in curves:
        os.utime(path, (path.stat().st_mtime, path.stat().st_mtime - DAY - 60))
    monkeypatch.setattr(compaction, "part_names", lambda folder: set())
    assert compact(store).removed == 0
    assert curves and all(path.exists() for path in curves)


# The command


@pytest.mark.parametrize("name", ["results", "my results", "it's", 'say "x"', "[a] results", "ä/ö"])
def test_the_command_compacts_whatever_the_folder_is_called(answer: Any, tmp_path: Path, name: str) -> None:
    store = filled(Store(tmp_path / name))
    before = reading(store)
    done = answer("compact", f"results_dir={name}", module="jumpstart_exp.store")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{name}: 7 rows, 5 parts became 2 parts\n"
    assert_reads(store, before)


def test_quotes_around_the_folder_are_taken_off(answer: Any, tmp_path: Path) -> None:
    filled(Store(tmp_path / "my results"))
    done = answer("compact", "results_dir='my results'", module="jumpstart_exp.store")
    assert done.stdout == "my results: 7 rows, 5 parts became 2 parts\n"


def test_the_command_names_what_it_cannot_read(answer: Any, tmp_path: Path) -> None:
    store = filled(Store(tmp_path / "results"))
    bad = store.cells_dir / "part-1.parquet"
    bad.write_text("no part")
    done = answer("compact", module="jumpstart_exp.store")
    assert done.returncode == 0
    assert done.stdout == "results: 7 rows, 6 parts became 3 parts\n"
    (line,) = done.stderr.splitlines()
    assert "results/cells/part-1.parquet is unreadable and left out" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one command is needed: compact, verify, diff A B or export to=FILE"),
        (["results_dir=x"], "one command is needed"),
        (["compact", "verify"], "one command is needed"),
        (
            ["compress"],
            "'compress' is not an argument of the store: compact, verify, diff A B, export to=",
        ),
        (["compact", "results_dir="], "'results_dir=' is not an argument of the store"),
        (["compact", "--results_dir=x"], "'--results_dir=x' is not an argument of the store"),
    ],
)
def test_a_bad_argument_is_refused_in_a_line(answer: Any, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = answer(*arguments, module="jumpstart_exp.store")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["-h", "--help"])
def test_help_says_how_it_is_used(answer: Any, argument: str) -> None:
    done = answer(argument, module="jumpstart_exp.store")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: python -m jumpstart_exp.store compact [results_dir=results]\n")
    assert "2,000 parts" in done.stdout


def test_where_there_is_no_store_the_command_says_so(answer: Any, tmp_path: Path) -> None:
    done = answer("compact", module="jumpstart_exp.store")
    assert (done.returncode, done.stdout) == (1, "")
    assert "results_dir='results' has no store: there is no results/cells" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_warnings_are_none_on_a_sound_store(store: Store) -> None:
    filled(store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compact(store)
        reading(store)
