"""What is left when the power fails: every row that was reported, and no part that cannot be read."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from forked_writers import assert_same_frames, cell_of, epochs_of, result_of
from simulated_disk import Disk

from jumpstart_exp.store import Store, StoreError, compaction
from jumpstart_exp.store.compaction import compact

COLUMNS = ["seed", "engine", "method", "n_params"]


def test_every_reported_row_is_there_after_a_power_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    with monkeypatch.context() as patch:
        disk = Disk(patch, root)
        store = Store(root / "deep" / "results")
        store.check_writable()
        for seed in range(0, 6, 2):
            store.write([result_of(seed), result_of(seed + 1)])
            disk.reported((seed, seed + 1))
        store.add_labels([(cell_of(1).key, "further")])
        disk.reported((1, "further"))
    states = 0
    for left, reported in disk.losses(tmp_path / "left", tries=16):
        store = Store(left / "deep" / "results")
        stored = store.stored()
        labels = {(1, "further")} & set(reported)
        wanted = {cell_of(seed).key for batch in set(reported) - labels for seed in batch}
        assert stored.keys() >= wanted
        assert not labels or "further" in stored[cell_of(1).key].labels
        curves = store.curves().groupby("key")["epoch"].agg(list).to_dict()
        assert curves == {
            cell_of(seed).key: epochs_of(seed) for seed in store.cells(COLUMNS)["seed"] if epochs_of(seed)
        }
        states += 1
        shutil.rmtree(left)
    assert states > 15


def test_a_power_loss_during_compaction_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    monkeypatch.setattr(compaction, "_ROWS", 3)
    with monkeypatch.context() as patch:
        disk = Disk(patch, root)
        store = Store(root / "results")
        for seed in range(4):
            store.write([result_of(seed), result_of(seed + 1, engine="native")])
        store.add_labels([(cell_of(1).key, "further"), (cell_of(2).key, "further")])
        store.add_labels([(cell_of(3).key, "another")])
        before, curves, begin = store.cells(COLUMNS), store.curves(), len(disk.calls)
        found = compact(store)
        assert (found.parts_before, found.rows) == (6, 8)
        assert found.parts_after < 6
        assert_same_frames(store.cells(COLUMNS), before)
    states = 0
    for left, _ in disk.losses(tmp_path / "left", tries=16, begin=begin):
        store = Store(left / "results")
        assert_same_frames(store.cells(COLUMNS), before)
        assert_same_frames(store.curves(), curves)
        states += 1
        shutil.rmtree(left)
    assert states > 15


def test_rows_that_are_there_keep_their_curves_when_only_the_folder_cannot_be_flushed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    store.check_writable()
    fsync, calls = os.fsync, 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:  # the curves' file and folder, the cells' file
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(StoreError, match="cannot be written"):
            store.write([result_of(1)])
    assert set(store.stored()) == {cell_of(1).key}
    assert list(store.curves()["epoch"]) == epochs_of(1)
