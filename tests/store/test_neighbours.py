"""Others beside: many writers of the same cells, clocks that jump, hosts that are dead, disks that are slow."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_writers import (
    COMPACTION_PHASES,
    WRITE_PHASES,
    Forked,
    assert_same_frames,
    cell_of,
    forked_server,
    result_of,
)

from jumpstart_exp.store import Store
from jumpstart_exp.store.compaction import BusyError, compact

COLUMNS = ["seed", "engine", "n_params"]


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with forked_server() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_eight_processes_write_the_same_cells_into_one_store(forked: Forked, store: Store) -> None:
    seeds = list(range(12))
    reader = forked.start("poll", store)
    writers = [forked.start("write", store, seeds=seeds, seed=number, dwell=0.002) for number in range(8)]
    outcomes = [forked.end(writer) for writer in writers]
    assert [outcome.phase for outcome in outcomes] == ["finished"] * 8
    assert all([seed for batch in outcome.reports for seed in batch] == seeds for outcome in outcomes)
    forked.ask("stop", pid=reader)
    (looks,) = forked.end(reader).reports
    assert isinstance(looks, int) and looks > 0, looks  # else it is what the reader found wrong
    cells = store.cells(COLUMNS)
    assert sorted(cells["seed"]) == seeds
    curves = store.curves()
    assert not curves.duplicated(["key", "epoch"]).any()
    assert compact(store).rows == len(seeds)
    assert_same_frames(store.cells(COLUMNS), cells)
    assert_same_frames(store.curves(), curves)


@pytest.mark.parametrize("year", [1970, 2100])
def test_no_clock_decides_what_is_read(store: Store, monkeypatch: pytest.MonkeyPatch, year: int) -> None:
    seconds = float((year - 1970) * 365 * 24 * 3600 + 1)
    store.write([result_of(1, "first")])
    (first,) = store.cells_dir.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: seconds)
        patch.setattr(time, "time_ns", lambda: int(seconds * 1e9))
        store.write([result_of(1, "second"), result_of(2)])
        store.add_labels([(cell_of(2).key, "further")])
        before = store.cells(COLUMNS)
        for folder in (store.cells_dir, store.curves_dir):
            for path in folder.iterdir():
                os.utime(path, (seconds, seconds))
                assert_same_frames(store.cells(COLUMNS), before)
        others = [path for path in store.cells_dir.iterdir() if path != first and "part-z" not in path.name]
        winner = "first" if first.name < others[0].name else "second"
        assert before.set_index("seed")["engine"][1] == winner
        compact(store)
        assert_same_frames(store.cells(COLUMNS), before)
        assert len(store.curves()) == len(store.curves([cell_of(1).key, cell_of(2).key]))


def test_what_a_dead_host_left_blocks_nobody(store: Store) -> None:
    store.write([result_of(2)])
    for folder in (store.cells_dir, store.curves_dir):
        for name in (".part-1.parquet.tmp", ".nfs000000000001", ".probe-1", ".compaction.lock", ".part-1.parquet.lock"):
            (folder / name).write_text("of a host that is dead")
    store.check_writable()
    store.write([result_of(1)])
    store.add_labels([(cell_of(1).key, "further")])
    assert compact(store).removed == 0
    assert len(store.stored()) == 2
    assert len(store.cells()) == 2


@pytest.mark.parametrize(
    ("work", "phase"),
    [
        *(("write", phase) for phase in WRITE_PHASES[1:]),
        *(("compact", phase) for phase in ("cells: before rename", *COMPACTION_PHASES[-3:])),
    ],
)
def test_a_process_that_hangs_on_its_disk_blocks_nobody(forked: Forked, store: Store, work: str, phase: str) -> None:
    for seed in range(3):
        store.write([result_of(seed)])
    hanging = forked.start(work, store, seeds=list(range(3, 400)), stops_at=phase)
    try:
        forked.ask("wait_stopped", pid=hanging)
        store.check_writable()
        store.write([result_of(1000)])
        store.add_labels([(cell_of(1000).key, "further")])
        if work == "compact":
            with pytest.raises(BusyError):
                compact(store)
        else:
            compact(store)
        assert store.stored().keys() >= {cell_of(seed).key for seed in (0, 1, 2, 1000)}
        assert set(store.cells(COLUMNS)["seed"]) >= {0, 1, 2, 1000}
        assert set(store.curves()["key"]) >= {cell_of(seed).key for seed in (1, 2)}
    finally:
        forked.ask("kill", pid=hanging, after=0.0)
    reported = [seed for batch in forked.end(hanging).reports for seed in batch] if work == "write" else []
    assert set(store.cells(COLUMNS)["seed"]) >= {0, 1, 2, 1000, *reported}
