"""Many sweeps on one store at once, and somebody who reads it all the while."""

from pathlib import Path

import pandas as pd
import pytest

from faults.sweeps import Reader, Sweeps, assert_same_results, comparable, rows_by_key
from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import ENGINES
from jumpstart_exp.store import Store

FASTEST = [name for name, engine in ENGINES.items() if engine.refuses(Cell()) is None][-1]
MORE = [f"engine={FASTEST}", "device=cpu", "hydra.launcher.workers=1", "optimizer.epochs=30"]


def grid(seeds: str) -> list[str]:
    return ["-m", "method=relu,sep_up", "depth=2,3", "width=3", f"seed=range({seeds})", *MORE]


@pytest.mark.soak
def test_eight_sweeps_over_the_same_grid_at_once(sweeps: Sweeps, tmp_path: Path) -> None:
    code, said = sweeps.run(tmp_path / "alone", grid("0,20"))
    assert code == 0, said
    with Reader(tmp_path / "together" / "results") as reader:
        together = [sweeps.start(tmp_path / "together", grid("0,20")) for _ in range(8)]
        for one in together:
            assert one.ended() == 0, one.output()
    results = tmp_path / "together" / "results"
    assert len(reader.seen) <= 80 == len(Store(results).cells())
    assert len(rows_by_key(results)) == 80
    assert_same_results(results, tmp_path / "alone" / "results")
    assert list((results / "sweeps").iterdir()) == []


def test_two_sweeps_over_overlapping_grids_at_once(sweeps: Sweeps, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with Reader(results):
        together = [sweeps.start(tmp_path, grid(seeds)) for seeds in ("0,20", "10,30")]
        for one in together:
            assert one.ended() == 0, one.output()
    rows = comparable(results)
    assert sorted(rows.groupby("seed").size().items()) == [(seed, 4) for seed in range(30)]
    code, said = sweeps.run(tmp_path, grid("0,30"))
    assert (code, "120 cells: 120 stored in results, 0 to train" in said) == (0, True), said
    pd.testing.assert_frame_equal(comparable(results), rows)
