"""Writers that are killed: what was reported done is there, once, and nobody who reads is disturbed."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from forked_writers import (
    LABEL_PHASES,
    WRITE_PHASES,
    Forked,
    KillLog,
    assert_same_frames,
    cell_of,
    epochs_of,
    forked_server,
    kills,
    result_of,
)

from jumpstart_exp.store import Store

KILLS_A_STORE = 12
COLUMNS = ["seed", "method", "engine", "n_params", "dead_units_by_layer_last"]


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with forked_server() as server:
        yield server


def check(store: Store, may_be_there: set[int]) -> set[int]:
    """The cells that a reader finds: each once, with its own numbers and its whole curve."""
    cells = store.cells(["seed", "n_params"])
    there = set(cells["seed"])
    assert len(cells) == len(there), "a key twice"
    assert there <= may_be_there
    assert list(cells["n_params"]) == list(cells["seed"] + 1)
    curves = store.curves().groupby("key")["epoch"].agg(list).to_dict()
    assert curves == {cell_of(seed).key: epochs_of(seed) for seed in there if epochs_of(seed)}
    return there


@pytest.mark.parametrize("more", [0, pytest.param(200, marks=pytest.mark.soak)])
def test_a_killed_writer_loses_nothing_that_it_reported(forked: Forked, tmp_path: Path, more: int) -> None:
    log = KillLog("store writer")
    coming = list(kills(WRITE_PHASES, more, within=0.05, seed=1))
    for first in range(0, len(coming), KILLS_A_STORE):
        store = Store(tmp_path / str(first))
        follower = store.follow(["seed"])
        reported: set[int] = set()
        there: set[int] = set()
        for kill in coming[first : first + KILLS_A_STORE]:
            seeds = [seed for seed in range(max(there, default=0) + 40) if seed not in there]  # first what is missing
            outcome = forked.end(kill.start(forked, "write", store, seeds=seeds, seed=first))
            assert outcome.killed, outcome
            reported |= {seed for batch in outcome.reports for seed in batch}
            there = check(Store(store.results_dir), there | set(seeds))
            assert set(store.stored()) == {cell_of(seed).key for seed in there}
            assert set(follower.cells()["seed"]) == there
            log.add(outcome.phase, len(reported - there))
        rows = [pq.read_metadata(part).num_rows for part in store.cells_dir.glob("[!.]*")]
        assert sum(rows) == len(there), "a row was stored twice"
        everything = range(max(there, default=0) + 1)
        store.write([result_of(seed) for seed in everything if seed not in there])
        uninterrupted = Store(tmp_path / f"{first}-uninterrupted")
        uninterrupted.write([result_of(seed) for seed in everything])
        assert_same_frames(store.cells(), uninterrupted.cells())
        assert_same_frames(store.curves(), uninterrupted.curves())
    log.show()
    assert set(log.kills) == set(WRITE_PHASES)
    assert log.lost.total() == 0


@pytest.mark.parametrize("more", [0, pytest.param(35, marks=pytest.mark.soak)])
def test_a_kill_while_labels_are_added_loses_none_that_was_reported(forked: Forked, tmp_path: Path, more: int) -> None:
    log = KillLog("store writer")
    store = Store(tmp_path / "results")
    coming = list(kills(LABEL_PHASES, more, within=0.03, seed=2))
    for number, kill in enumerate(coming):
        if number % 6 == 0:
            store = Store(tmp_path / str(number))
            store.write([result_of(seed) for seed in range(4)])
            reader = Store(store.results_dir)
            before, curves = store.cells(COLUMNS), store.curves()
            reported: set[tuple[int, str]] = set()
            tried = {(seed, "UP") for seed in range(4)}
        labels = [(place % 4, f"label {number}-{place}") for place in range(40)]
        tried |= set(labels)
        outcome = forked.end(kill.start(forked, "labels", store, labels=labels, seed=number))
        assert outcome.killed, outcome
        reported |= {(seed, label) for seed, label in outcome.reports}
        for one in (reader, Store(store.results_dir)):
            stored = one.stored()
            found = {(seed, label) for seed in range(4) for label in stored[cell_of(seed).key].labels}
            assert found <= tried
            assert_same_frames(one.cells(COLUMNS).drop(columns="labels"), before.drop(columns="labels"))
        assert_same_frames(reader.curves(), curves)
        log.add(outcome.phase, len(reported - found))
    log.show()
    assert set(log.kills) == set(LABEL_PHASES)
    assert log.lost.total() == 0
