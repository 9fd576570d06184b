"""A store of 100,000 deep cells: it is read in seconds, a sweep of as many plans on it, within a gigabyte."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jumpstart_exp.cell import Cell, cell_fields
from jumpstart_exp.result import Result
from jumpstart_exp.store import Store, cell_schema, result_row
from jumpstart_exp.store.parts import write_durably

CELLS, CELLS_A_PART, DEPTH, OLD = 100_000, 64, 50, 10_240
SECONDS = 120  # on a busy machine; a quiet one needs half of it at most, for compaction
GIBIBYTE = 2**20  # in KiB

MEASURED = """
import json, sys, time
from pathlib import Path
from jumpstart_exp.store import Store
from jumpstart_exp.store.compaction import compact

store = Store(Path(sys.argv[1]))
started = time.process_time()
found = {
    "stored": lambda: len(store.stored()),
    "filtered": lambda: len(store.cells(["val_acc_best"], {"depth": [3], "method": "UP"})),
    "cells": lambda: len(store.cells()),
    "compact": lambda: compact(store).parts_after,
}[sys.argv[2]]()
seconds = time.process_time() - started
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([found, seconds, peak]))
"""

SWEEP = ["-m", "method=relu", "depth=range(1,51)", "width=3,4", "seed=range(1000)", "device=cpu", "dry_run=true"]
STORED_SEEDS = 20
"""Of the sweep's seeds at width 3."""

SWEEP_SECONDS = 60  # a quiet machine needs a quarter

MEASURED_COMMAND = """
import json, runpy, time
runpy.run_module("jumpstart_exp", run_name="__main__", alter_sys=True)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([time.process_time(), peak]))
"""


def column(field: pa.Field, size: int, base: dict[str, Any], numbers: np.random.Generator) -> pa.Array:
    """Random fractions where a number was measured, the best ones possible, else what the base has."""
    if "by_layer" in field.name:
        offsets = pa.array(np.arange(size + 1) * DEPTH, pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.array(numbers.random(size * DEPTH)))
    if field.name.endswith("_acc_best"):
        return pa.array([1.0] * size)
    if field.name.endswith("_loss_best"):
        return pa.array([0.0] * size)
    is_setting, is_of_regressions = field.name in cell_fields(), "_r2_" in field.name
    if not is_setting and not is_of_regressions and pa.types.is_floating(field.type):
        return pa.array(numbers.random(size))
    return pa.array([base[field.name]] * size, field.type)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of a store with 100,000 rows, a hundredth of them of `SWEEP`.

    The first tenth is as the earliest versions wrote it: each row has to be looked at. The others say that they were.
    """
    folder = tmp_path_factory.mktemp("large")
    schema, numbers = cell_schema(), np.random.default_rng(1)
    base = {**dict.fromkeys(schema.names), **result_row(Result(Cell(width=3), "done", "native", n_params=9))}
    part = pa.table([column(field, CELLS_A_PART, base, numbers) for field in schema], schema)
    (folder / "cells").mkdir()
    for start in range(0, CELLS, CELLS_A_PART):
        own = [cell_of(place) for place in range(start, min(start + CELLS_A_PART, CELLS))]
        table = part.slice(0, len(own))
        values: dict[str, list[Any]] = {
            "key": [key_of(place) for place in range(start, start + len(own))],
            "depth": [cell.depth for cell in own],
            "seed": [cell.seed for cell in own],
            "method": ["UP"] * len(own),
        }
        for name, entries in values.items():
            at = schema.get_field_index(name)
            table = table.set_column(at, schema.field(at), pa.array(entries, schema.field(at).type))
        path = folder / "cells" / f"part-{start:032x}.parquet"
        if start < OLD:
            pq.write_table(table.drop_columns(["label_check"]), path, compression="zstd")
        else:
            write_durably(table, path, is_sound=True)
    return folder


def key_of(place: int) -> str:
    """The cell's key where it is looked at, else any."""
    return cell_of(place).key if place < OLD else hashlib.md5(str(place).encode()).hexdigest()


def cell_of(place: int) -> Cell:
    """The first are `SWEEP`'s at width 3, the others of seeds that it has not."""
    seed, depth = divmod(place, 50)
    return Cell(depth=1 + depth, width=3, seed=seed if seed < STORED_SEEDS else 10_000 + seed)


def measured(large: Path, what: str, expected: int) -> None:
    arguments = [sys.executable, "-c", MEASURED, str(large), what, str(CELLS)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600)
    assert not done.stderr, done.stderr
    found, seconds, peak = json.loads(done.stdout)
    print(f"{what}: {seconds:.1f} s of processor time, {peak / 2**10:.0f} MiB at most")
    assert found == expected
    assert seconds < SECONDS
    assert peak < GIBIBYTE * (1.25 if what == "cells" else 1)  # all columns: lists of a number a layer in twelve


@pytest.mark.soak
def test_a_sweep_of_a_hundred_thousand_cells_is_planned_in_a_gigabyte(large: Path) -> None:
    arguments = [sys.executable, "-c", MEASURED_COMMAND, *SWEEP, f"results_dir={large}"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=1200, cwd=large.parent)
    assert (done.returncode, done.stderr) == (0, "")
    stored = 50 * STORED_SEEDS
    assert re.search(rf"already stored +│ {stored} stored in ", done.stdout), done.stdout
    assert re.search(rf"to train +│ {CELLS - stored} ", done.stdout), done.stdout
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    print(f"planned: {seconds:.1f} s of processor time, {peak / 2**10:.0f} MiB at most")
    assert seconds < SWEEP_SECONDS
    assert peak < GIBIBYTE


@pytest.mark.soak
def test_a_hundred_thousand_cells_are_read_in_seconds_and_a_gigabyte(large: Path) -> None:
    expected = {"stored": CELLS, "filtered": CELLS // 50, "cells": CELLS}
    for what, count in expected.items():
        measured(large, what, count)
    measured(large, "compact", 20)
    for what, count in expected.items():
        measured(large, what, count)
    row = Store(large).row(key_of(CELLS - 1))
    assert (row["depth"], len(row["dead_units_by_layer_last"])) == (50, DEPTH)
