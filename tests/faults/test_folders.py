"""Folders of any name, and clocks that jump."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from faults.sweeps import How, Reader, Sweeps, assert_same_results, rows_by_key, until
from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import ENGINES
from jumpstart_exp.store import Store

FASTEST = [name for name, engine in ENGINES.items() if engine.refuses(Cell()) is None][-1]
MORE = [f"engine={FASTEST}", "device=cpu", "hydra.launcher.workers=1", "optimizer.epochs=30"]
GRID = ["-m", "method=relu,sep_up", "depth=2,3", "width=3,4", *MORE]

HARDEST = "a newline, a tab, accents and signs"
NAMES = {
    "spaces and quotes": """ it's  "quoted", isn't it """,
    "a leading dash": "-m",
    HARDEST: "Äußerst früh: 1=2, {a}[b] $HOME\nsecond\tthird ~ %j * ü#",
    "200 characters": "long " * 40,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with Sweeps() as sweeps:
        code, said = sweeps.run(folder, GRID)
    assert code == 0, said
    return folder / "results"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, id=kind, marks=[] if kind == HARDEST else pytest.mark.soak) for kind, name in NAMES.items()],
)
def test_a_folder_of_any_name_will_do(name: str, sweeps: Sweeps, whole: Path, tmp_path: Path) -> None:
    here = tmp_path / name
    results, where = here / name, f"results_dir={name}"
    code, said = sweeps.run(here, [*GRID, "seed=0", where])
    assert code == 0, said
    assert_same_results(results, whole)
    assert {path.name for path in here.iterdir()} == {name}

    code, said = sweeps.run(here, [*GRID, "seed=0,1", where])
    assert (code, "16 cells: 8 stored in " in said, ", 8 to train" in said) == (0, True, True), said
    code, said = sweeps.run(here, [where, "format=json"], module="jumpstart_exp.status")
    assert (code, '"done": 16' in said) == (0, True), said
    code, said = sweeps.run(here, ["compact", where], module="jumpstart_exp.store")
    assert (code, "2 parts became 1 part" in said) == (0, True), said
    code, said = sweeps.run(here, [where, "only=tables"], module="jumpstart_exp.report")
    assert code == 0, said
    assert list((results / "tables").glob("*.md"))
    assert len(Store(results).cells()) == 16
    assert {path.name for path in here.iterdir()} == {name}


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long offset(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_OFFSET"), "r");
    if (file != NULL) {
        if (fscanf(file, "%ld", &seconds) != 1) seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now != NULL) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""
"""A C library's clock that is off by as many seconds as a file says; what tells durations runs on as it did."""

LONG_GRID = ["-m", "method=relu,sep_up", "depth=2,3,150", "width=3", "seed=0,1", *MORE[:-1]]
LONG_GRID += [f"optimizer.epochs={8000 if FASTEST == 'native' else 100}", "checkpoint_minutes=0.001"]
"""Some seconds of training, so that there is a time left to be shown, and checkpoints tell that it has begun."""


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library to be preloaded."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the clock that jumps is written in C, for Linux")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    library.with_suffix(".c").write_text(CLOCK)
    build = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(library.with_suffix(".c")), "-ldl"]
    subprocess.run(build, check=True)
    return library


@pytest.fixture(scope="module")
def long_whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with Sweeps() as sweeps:
        code, said = sweeps.run(folder, LONG_GRID)
    assert code == 0, said
    return folder / "results"


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(-3600, id="an hour back"), pytest.param(365 * 86400, id="a year forward", marks=pytest.mark.soak)],
)
def test_a_clock_that_jumps_in_mid_sweep_does_nothing(
    seconds: int, sweeps: Sweeps, clock: Path, long_whole: Path, tmp_path: Path
) -> None:
    offset, results = tmp_path / "offset", tmp_path / "here" / "results"
    offset.write_text("0")
    wrong = {"LD_PRELOAD": str(clock), "CLOCK_OFFSET": str(offset)}
    before = datetime.now(UTC)
    with Reader(results):
        sweep = sweeps.start(tmp_path / "here", LONG_GRID, How(fresh=True, environment=wrong))
        until(lambda: any((results / "checkpoints").glob("*.pt")), "it trains")
        offset.write_text(str(seconds))
        assert sweep.ended() == 0, sweep.output()
        code, said = sweeps.run(tmp_path / "here", LONG_GRID)
        assert (code, "12 cells: 12 stored in results, 0 to train" in said) == (0, True), said
    assert re.search(r"12 cells in (\d+ min )?\d+(\.\d)? s, stored", sweep.output())
    assert set(rows_by_key(results).values()) == {1}
    assert_same_results(results, long_whole)
    rows = Store(results).cells()
    assert rows["seconds"].between(0, 300).all()
    started = pd.to_datetime(rows["started"])
    late = started.max() if seconds > 0 else started.min()
    assert abs((late - before).total_seconds() - seconds) < 300, "the clock did jump"
    assert list((results / "sweeps").iterdir()) == []
