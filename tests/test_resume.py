"""A sweep that is killed, stopped or finished: nothing that was done is lost, and the rest is trained."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from jumpstart_exp.store import Store

SWEEP = ["-m", "method=relu,sep_up", "depth=2,12", "width=3", "seed=0,1,2", "optimizer.epochs=600"]
RUN_DEPENDENT = ["seconds", "peak_memory_bytes", "started", "labels"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def run() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "jumpstart_exp", *SWEEP],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(holds: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Children that train: not multiprocessing's own resource tracker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def cpu_ticks(pids: list[int]) -> int:
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def comparable(folder: Path) -> pd.DataFrame:
    return Store(folder).cells().drop(columns=RUN_DEPENDENT).sort_values("key", ignore_index=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
@pytest.mark.slow
def test_killed_sweep_resumes_to_the_uninterrupted_result(start, command, tmp_path):
    whole = command(*SWEEP, "results_dir=whole")
    assert whole.returncode == 0, whole.stderr
    store = Store(tmp_path / "results")

    process = start()
    until(lambda: len(store.stored()) >= 2, "two cells are stored")
    workers = workers_of(process)
    before = cpu_ticks(workers)
    until(lambda: cpu_ticks(workers) > before + 10, "the workers compute")
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = store.stored()
    assert len(workers) >= 1 and 2 <= len(kept) < 12, "cells were in training at the kill"
    until(lambda: not any(alive(pid) for pid in workers), "the workers end with their parent", 30)

    again = command(*SWEEP)
    assert again.returncode == 0, again.stderr
    assert f"12 cells: {len(kept)} stored in results, {12 - len(kept)} to train" in again.stdout
    pd.testing.assert_frame_equal(comparable(tmp_path / "results"), comparable(tmp_path / "whole"))
    curves = [Store(tmp_path / name).curves() for name in ("results", "whole")]
    pd.testing.assert_frame_equal(*curves)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stopped_sweep_keeps_what_is_done_and_says_how_to_go_on(start, tmp_path, stop):
    store = Store(tmp_path / "results")
    process = start()
    until(lambda: len(store.stored()) >= 2, "two cells are stored")
    os.killpg(process.pid, stop)  # Ctrl-C and a scheduler's request reach the whole group
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    done = len(store.stored())
    assert f"stopped: {done} of 12 cells are done" in output and "same command again" in output
    assert "Traceback" not in output
    assert 2 <= done < 12
