"""A disk that is full, read-only or forbidden in the middle of a sweep: said in a line, and nothing is harmed."""

import contextlib
import ctypes
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.sweeps import CELLS, CURVES, STARTING, Deed, How, Reader, Sweeps, assert_same_results, rows_by_key
from jumpstart_exp.cell import Cell
from jumpstart_exp.engines import ENGINES
from jumpstart_exp.store import Store

COUNT = 40
GRID = ["-m", "method=relu,sep_up", "depth=2,3", "width=3", "seed=range(10)", "optimizer.epochs=20", "curve_every=10"]
STORED_AT_A_TIME = 16
"""So in three parts."""

FASTEST = [name for name, engine in ENGINES.items() if engine.refuses(Cell()) is None][-1]
MORE = [f"engine={FASTEST}", "device=cpu", "hydra.launcher.workers=1"]


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave not a byte."""
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        for size in (2**16, 2**10, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def obey_permissions() -> None:
    """Give up root's right to write everywhere (CAP_DAC_OVERRIDE), for this thread's process alone."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget(header, sets)
    sets[0] &= ~(1 << 1)
    assert ctypes.CDLL(None).capset(header, sets) == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the undisturbed sweep."""
    folder = tmp_path_factory.mktemp("whole")
    with Sweeps() as sweeps:
        code, said = sweeps.run(folder, [*GRID, *MORE])
    assert code == 0, said
    return folder / "results"


def assert_refused(code: int, said: str, results: str, number: int) -> None:
    assert code == 1, said
    errors = [line for line in said.splitlines() if "error" in line.lower()]
    reason = "; everything stored before is whole, and the same command goes on from there"
    assert errors == [f"error: results_dir={results!r} cannot be written: {os.strerror(number)}{reason}"]
    assert "Traceback" not in said


def assert_goes_on(sweeps: Sweeps, folder: Path, whole: Path) -> None:
    kept = len(Store(folder / "results").stored())
    assert 0 < kept < COUNT
    code, said = sweeps.run(folder, [*GRID, *MORE])
    assert code == 0, said
    assert f"{COUNT} cells: {kept} stored in results, {COUNT - kept} to train" in said
    assert_same_results(folder / "results", whole)
    assert set(rows_by_key(folder / "results").values()) == {1}


@pytest.mark.parametrize("phase", [pytest.param(CURVES, marks=pytest.mark.soak), CELLS])
def test_a_disk_that_fills_up_loses_nothing(phase: str, sweeps: Sweeps, whole: Path, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "3m") as disk, Reader(disk / "results"):
        code, said = sweeps.run(
            disk, [*GRID, *MORE], How(deeds=(Deed(phase, 2, fill, (disk,)),), store_after=STORED_AT_A_TIME)
        )
        assert_refused(code, said, "results", errno.ENOSPC)
        assert [path.name for path in disk.rglob(".*")] == []
        (disk / "filler").unlink()
        assert_goes_on(sweeps, disk, whole)


def test_a_disk_that_becomes_read_only_loses_nothing(sweeps: Sweeps, whole: Path, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "3m") as disk, Reader(disk / "results"):
        code, said = sweeps.run(
            disk, [*GRID, *MORE], How(deeds=(Deed(CELLS, 2, remount, (disk, "ro")),), store_after=STORED_AT_A_TIME)
        )
        assert_refused(code, said, "results", errno.EROFS)
        remount(disk, "rw")
        assert_goes_on(sweeps, disk, whole)


def test_a_folder_that_becomes_forbidden_loses_nothing(sweeps: Sweeps, whole: Path, tmp_path: Path) -> None:
    cells = tmp_path / "here" / "results" / "cells"
    deeds = (Deed(STARTING, 1, obey_permissions), Deed(CELLS, 2, os.chmod, (cells, 0o555)))
    with Reader(cells.parent):
        code, said = sweeps.run(tmp_path / "here", [*GRID, *MORE], How(deeds=deeds, store_after=STORED_AT_A_TIME))
        assert_refused(code, said, "results", errno.EACCES)
        cells.chmod(0o755)
        assert_goes_on(sweeps, tmp_path / "here", whole)


def test_a_full_disk_for_checkpoints_and_records_stops_no_training(sweeps: Sweeps, whole: Path, tmp_path: Path) -> None:
    results = tmp_path / "here" / "results"
    with tmpfs(results / "checkpoints", "64k") as checkpoints, tmpfs(results / "sweeps", "64k") as records:
        fill(checkpoints)
        fill(records)
        code, said = sweeps.run(tmp_path / "here", [*GRID, *MORE, "checkpoint_minutes=1e-9"])
        assert code == 0, said
        lines = [line for line in said.splitlines() if "checkpoint" in line]
        why = f"takes no checkpoint, the cell is trained without: {os.strerror(errno.ENOSPC)}"
        assert lines == [f"warning: results/checkpoints {why}"]
        assert "Traceback" not in said
        assert [path.name for disk in (checkpoints, records) for path in disk.iterdir()] == ["filler", "filler"]
        assert_same_results(results, whole)
