"""Jobs that several processes share."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from page_stores import cell, result

from jumpstart_exp.report import processes
from jumpstart_exp.report.__main__ import main
from jumpstart_exp.report.processes import ProcessError, Processes, processes_for
from jumpstart_exp.store import Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process does it all")


class OddError(Exception):
    """It cannot be sent to another process."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("odd")
        self.file = sys.stdout


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_job_is_done_once_by_as_many_processes(count) -> None:
    with Processes(lambda place: (place**2, os.getpid()), [3, 1, 2], count) as work:
        found = [(done.place, *done.value) for done in work.done()]
    assert sorted((place, value) for place, value, _ in found) == [(1, 1), (2, 4), (3, 9)]
    pids = {pid for _, _, pid in found}
    assert (pids == {os.getpid()}) is (count == 1) and len(pids) <= min(count, 3)


def test_an_error_comes_with_its_childs_traceback() -> None:
    def fail(place: int) -> None:
        raise KeyError(place) if place else OddError(1, 2)

    for place, kind in ((1, KeyError), (0, ProcessError)):
        with pytest.raises(kind) as caught, Processes(fail, [place, place], 2) as work:
            [*work.done()]
        assert "in fail" in "".join(getattr(caught.value, "__notes__", [])) + str(caught.value)


def test_a_process_that_is_killed_is_told() -> None:
    with (
        pytest.raises(ProcessError, match="killed by SIGKILL"),
        Processes(lambda _: os.kill(os.getpid(), signal.SIGKILL), [0, 1], 2) as work,
    ):
        [*work.done()]


def test_processes_end_with_their_context_whatever_they_are_at() -> None:
    with Processes(lambda place: time.sleep(60 * place) or os.getpid(), [0, 1], 2) as work:
        pid = next(work.done()).value
        pids = [worker.pid for worker in work._workers.values()]
    assert pid in pids and len(pids) == 2 and all(map(ended, pids))


def test_there_are_no_more_processes_than_jobs_cpus_and_memory_for(monkeypatch) -> None:
    monkeypatch.setattr(processes, "cpu_count", lambda: 4)
    monkeypatch.setattr(processes, "available_memory_bytes", lambda: 100_000_000_000)
    assert [processes_for(jobs) for jobs in (0, 1, 3, 9)] == [1, 1, 3, 4]
    monkeypatch.setattr(processes, "available_memory_bytes", lambda: 2 * processes._MEMORY + 1)
    assert processes_for(9) == 2
    monkeypatch.setattr(processes, "available_memory_bytes", lambda: 0)
    assert processes_for(9) == 1


def test_files_and_lines_are_the_same_whatever_the_number_of_processes(tmp_path, monkeypatch, capsys) -> None:
    cells = [cell(method, depth, 2, 0) for method in ("relu", "sep_up") for depth in (1, 2)]
    made = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        Store(folder).write([result(of, curve=()) for of in cells])
        monkeypatch.setattr("jumpstart_exp.report.__main__.processes_for", lambda _, count=count: count)
        assert main([f"results_dir={folder}", "only=seeds"]) == 0
        files = [path for kind in ("figures", "tables") for path in sorted((folder / kind).iterdir())]
        made[count] = (
            {path.name: path.read_bytes() for path in files},
            capsys.readouterr().out.replace(str(folder), ""),
        )
    assert made[1] == made[2] and len(made[1][0]) > 5


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys) -> None:
    cells = [cell(method, depth, 2, 0) for method in ("relu", "sep_up") for depth in (1, 2)]
    Store(tmp_path).write([result(of, curve=()) for of in cells])
    Path(tmp_path, "tables").touch()
    assert main([f"results_dir={tmp_path}", "only=seeds"]) == 1
    shown = capsys.readouterr().err
    assert shown == f"error: cannot write into {tmp_path}/tables: File exists\n"
