"""Cells that diverge or run out of memory, and cells that were killed: each is told apart, and nothing else suffers."""

import resource
from collections import Counter
from pathlib import Path

import pytest

from faults.sweeps import STARTING, TRAINING, Deed, How, Sweeps, die
from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster.sweep_state import SweepMonitor
from jumpstart_exp.engines import ENGINES
from jumpstart_exp.report.figures.drawing import figure_title
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.store import Store
from jumpstart_exp.sweep.fleets import form_fleets

ENGINES_HERE = [name for name, engine in ENGINES.items() if engine.refuses(Cell()) is None]
EACH_ENGINE = [pytest.param(name, marks=[] if name == ENGINES_HERE[-1] else pytest.mark.soak) for name in ENGINES_HERE]

LIMIT = 800_000_000
"""Bytes that a process may have of its own: Python with torch takes a third of it."""

SIZES = {
    "eager": ("method=relu", "depth=2", "width=3,6000", "seed=0,1"),
    "stacked": ("method=relu", "depth=2000,8000", "width=32", "seed=0,1"),
    "native": ("method=relu", "depth=2,600", "width=256", "seed=0,1"),
}
"""Cells that have room, and as many that have not."""

COUNT = 8


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))


@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_what_became_of_each_cell_is_told_apart(engine: str, sweeps: Sweeps, tmp_path: Path) -> None:
    more = [f"engine={engine}", "device=cpu", "hydra.launcher.workers=1", "optimizer.epochs=2", "curve_every=1"]
    grid = ["-m", *SIZES[engine], "optimizer.lr=0.01,1e200", *more]
    results, each = tmp_path / "results", COUNT // 4

    code, said = sweeps.run(tmp_path, grid, How(deeds=(Deed(STARTING, 1, limit_memory),)))
    assert code == 1, said
    assert f"error: {2 * each} of {COUNT} cells failed:" in said
    assert "Traceback" not in said
    rows = Store(results).cells()
    large = rows["depth" if engine != "eager" else "width"] > 500
    large &= rows["depth"] != 2000
    expected = [
        "failed" if big else "diverged" if lr > 1 else "done"
        for big, lr in zip(large, rows["optimizer.lr"], strict=True)
    ]
    assert rows["status"].tolist() == expected
    assert rows.loc[large, "error"].str.contains("memory", case=False).all()
    assert rows.loc[~large, "error"].isna().all()

    missing = ["-m", *SIZES[engine][:-1], "seed=9", "optimizer.lr=0.01", *more]
    sweeps.start(tmp_path, missing, How(deeds=(Deed(TRAINING, 1, die, (0, True)),))).ended()
    counts = SweepMonitor(results).look().counts()
    assert {state: count for state, count in counts.items() if count} == {
        "done": each,
        "diverged": each,
        "failed": 2 * each,
        "lost": 2,
    }
    code, said = sweeps.run(tmp_path, [], module="jumpstart_exp.status")
    assert code == 3
    assert [line.split() for line in said.splitlines() if line.startswith("failed: ")] != []
    titles = [figure_title(one, "best", 200) for one in figure_grids(Store(results).cells())]
    assert sorted(title.rpartition("· ")[2] for title in titles) == [f"{each} failed"] * 2
    assert sum(f"{each} diverged" in title for title in titles) == 1

    code, said = sweeps.run(tmp_path, [*grid, "retry=failed"])
    assert code == 0, said
    rows = Store(results).cells()
    assert Counter(rows["status"]) == {"done": 2 * each, "diverged": 2 * each}
    assert rows["status"].tolist() == ["diverged" if lr > 1 else "done" for lr in rows["optimizer.lr"]]


def test_the_stacked_fleets_of_that_sweep_are_of_both_kinds_of_cells() -> None:
    cells = [
        Cell(depth=depth, width=32, seed=seed, optimizer=OptimizerSpec(epochs=2, lr=lr))
        for depth in (2000, 8000)
        for seed in (0, 1)
        for lr in (0.01, 1e200)
    ]
    engine = ENGINES["stacked"]
    fleets = form_fleets(engine, "cpu", cells, {cell.key: engine.estimate_seconds(cell) for cell in cells}, 1)
    assert any({cell.depth for cell in fleet} == {2000, 8000} for fleet in fleets), "they have to be split"
