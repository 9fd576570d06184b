"""Compactions that are killed while another process writes and a third reads: nothing lost, nothing twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_writers import (
    COMPACTION_PHASES,
    Forked,
    KillLog,
    assert_same_frames,
    cell_of,
    forked_server,
    kills,
    result_of,
)

from jumpstart_exp.store import Store
from jumpstart_exp.store.compaction import compact

KILLS_A_STORE = 10
COLUMNS = ["seed", "method", "status", "engine", "n_params", "dead_units_by_layer_last"]


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with forked_server() as server:
        yield server


def filled(results_dir: Path) -> Store:
    """A store with equal rows, statuses that beat each other, and labels."""
    store = Store(results_dir)
    store.write([result_of(0), result_of(1, "first")])
    store.write([result_of(1, "second"), result_of(2, status="failed")])
    store.write([result_of(2), result_of(3)])
    store.add_labels([(cell_of(1).key, "b"), (cell_of(0).key, "a")])
    return store


@pytest.mark.parametrize("more", [0, pytest.param(20, marks=pytest.mark.soak)])
def test_a_killed_compaction_changes_nothing(forked: Forked, tmp_path: Path, more: int) -> None:
    log = KillLog("compaction")
    coming = list(kills(COMPACTION_PHASES, more, within=0.15, seed=3))
    for first in range(0, len(coming), KILLS_A_STORE):
        store = filled(tmp_path / str(first))
        before, curves = store.cells(COLUMNS), store.curves()
        reader = forked.start("poll", store, seed=first, pause=0.05)
        writer = forked.start("write", store, seeds=list(range(10, 2000)), pause=0.3)
        for number, kill in enumerate(coming[first : first + KILLS_A_STORE]):
            outcome = forked.end(kill.start(forked, "compact", store, times=1000, rows=20, seed=number))
            assert outcome.killed, outcome
            cells = store.cells(COLUMNS)
            assert cells["key"].is_unique
            log.add(outcome.phase, len(set(before["key"]) - set(cells["key"])))
            assert_same_frames(cells[cells["key"].isin(before["key"])], before)
            assert_same_frames(store.curves(before["key"]), curves)
            before, curves = cells, store.curves(cells["key"])
        forked.ask("kill", pid=writer, after=0.0)
        written = {seed for batch in forked.end(writer).reports for seed in batch}
        forked.ask("stop", pid=reader)
        (looks,) = forked.end(reader).reports
        assert isinstance(looks, int) and looks > 0, looks  # else it is what the reader found wrong
        compact(store)
        cells = store.cells(COLUMNS)
        assert cells["key"].is_unique
        assert set(cells["seed"]) >= written | {0, 1, 2, 3}
        assert_same_frames(cells[cells["key"].isin(before["key"])], before)
        assert_same_frames(store.curves(before["key"]), curves)
    log.show()
    assert set(log.kills) == set(COMPACTION_PHASES)
    assert log.lost.total() == 0


@pytest.mark.parametrize("locks", [False, True])
def test_several_compactions_at_once_lose_nothing(forked: Forked, tmp_path: Path, locks: bool) -> None:
    store = filled(tmp_path / "results")
    before = store.cells(COLUMNS)
    reader = forked.start("poll", store)
    writer = forked.start("write", store, seeds=list(range(10, 30)), pause=0.02)
    compactors = [forked.start("compact", store, times=4, locks=locks, seed=seed, dwell=0.001) for seed in range(3)]
    outcomes = [forked.end(one) for one in [*compactors, writer]]
    forked.ask("stop", pid=reader)
    (looks,) = forked.end(reader).reports
    assert isinstance(looks, int) and looks > 0, looks
    ends = {outcome.phase.split(":")[0] for outcome in outcomes}
    assert ends <= ({"finished", "BusyError"} if locks else {"finished"}), outcomes
    cells = store.cells(COLUMNS)
    assert set(cells["seed"]) == {0, 1, 2, 3, *range(10, 30)}
    assert_same_frames(cells[cells["seed"] < 10], before)
