"""Records of who trains what: what is written is read, and what is no record is as good as none."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jumpstart_exp.store import StoreError
from jumpstart_exp.sweep import records as module
from jumpstart_exp.sweep.records import (
    STALE_SECONDS,
    Array,
    Heartbeat,
    Job,
    Records,
    RecordWarning,
    Run,
    Submission,
    is_alive,
    process_identity,
)
from jumpstart_exp.sweep.stopping import EndedError, InterruptedSweepError

COSTS = {"a": 1.0, "b": 2.5}

SUBMISSION = Submission(
    "sweep",
    "fleet_slurm",
    "/logs",
    4,
    [["a"], ["b", "c"], ["d"]],
    {"a": 1.0, "b": 2.0, "c": 0.5, "d": 3.0},
    False,
    [Array(0, 2, "12", "jumpstart-0"), Array(2, 1, None, "jumpstart-2")],
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "results")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a heartbeat counts."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def write(records: Records, name: str, content: Any) -> None:
    records.folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (records.folder / name).write_text(text)


def the_run(records: Records) -> Run:
    (run,) = records.runs()
    return run


def test_a_process_that_trains_is_on_record(records):
    heart = Heartbeat(records, COSTS, 3, Job("12_1", "/logs/12_1.out"))
    run = the_run(records)
    assert (run.name, run.host, run.job, run.log) == (heart.name, platform.node(), "12_1", "/logs/12_1.out")
    assert (run.state, run.at_once, run.costs, run.training, run.failed) == ("running", 3, COSTS, {}, frozenset())
    assert run.process.startswith(f"{os.getpid()}@") and run.age < 5
    assert is_alive(run)


def test_signs_are_given_every_ten_seconds_and_soon_after_a_cell_begins(records, clock):
    heart = Heartbeat(records, COSTS, 1)
    heart.progress("a", 0.0)
    clock[0] += 0.9
    heart.beat()
    assert the_run(records).training == {}
    clock[0] += 0.2
    heart.beat()
    assert the_run(records).training == {"a": 0.0}
    heart.progress("a", 0.25)
    clock[0] += 9.9
    heart.beat()
    assert the_run(records).training == {"a": 0.0}
    clock[0] += 0.2
    heart.beat()
    assert the_run(records).training == {"a": 0.25}


def test_what_is_finished_is_in_training_no_more_and_failures_are_noted(records, clock):
    heart = Heartbeat(records, COSTS, 2)
    heart.progress("a", 0.5)
    heart.progress("b", 0.5)
    heart.finished("a")
    heart.finished("b", has_failed=True)
    clock[0] += 11
    heart.beat()
    run = the_run(records)
    assert run.training == {} and run.failed == {"b"}


def test_nothing_is_left_of_a_run_that_is_done_but_one_that_was_stopped_stays(records):
    with pytest.raises(KeyboardInterrupt), Heartbeat(records, COSTS, 1):
        raise KeyboardInterrupt
    run = the_run(records)
    assert run.state == "stopped" and not is_alive(run) and run.error is None
    records.remove(run.name)
    with Heartbeat(records, COSTS, 1):
        assert is_alive(the_run(records))
    assert records.runs() == [] and list(records.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (KeyboardInterrupt(), "stopped"),
        (InterruptedSweepError("stopped: 2 of 5 cells", signal.SIGTERM), "stopped"),
        (EndedError(RuntimeError("timed-out too many times")), "stopped"),
        (EndedError(SystemExit(-1)), "stopped"),
        (SystemExit(1), "crashed"),
        (StoreError("no space\nleft"), "crashed"),
        (MemoryError(), "crashed"),
    ],
)
def test_a_run_was_told_to_end_by_a_signal_only_and_otherwise_says_what_ended_it(records, error, state):
    with pytest.raises(type(error)), Heartbeat(records, COSTS, 1):
        raise error
    run = the_run(records)
    assert run.state == state and not is_alive(run)
    if state == "crashed":
        assert run.error == f"{type(error).__name__}: {error}"
        assert run.traceback.startswith("Traceback (most recent call last):") and "raise error" in run.traceback
    else:
        assert run.error is None and run.traceback is None


def test_a_record_of_an_earlier_version_has_no_error(records):
    Heartbeat(records, COSTS, 1)
    (path,) = records.folder.glob("*.run.json")
    content = json.loads(path.read_text())
    del content["error"], content["traceback"], content["checksum"]
    path.write_text(json.dumps({**content, "state": "stopped"}))
    assert (the_run(records).state, the_run(records).error) == ("stopped", None)


def test_a_disk_that_takes_no_record_stops_no_training(tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    heart = Heartbeat(Records(tmp_path / "results"), COSTS, 1)
    heart.progress("a", 0.5)
    heart.beat("stopped")
    with pytest.raises(StoreError), heart:
        raise StoreError("no space left")
    with heart:
        pass
    assert Records(tmp_path / "results").runs() == []


def test_the_age_is_by_the_clock_of_the_folder(records, monkeypatch):
    Heartbeat(records, COSTS, 1)
    monkeypatch.setattr(module.time, "time", lambda: time.monotonic() - 1e6)  # this machine's clock is wrong
    assert the_run(records).age < 5
    (path,) = records.folder.glob("*.run.json")
    past = path.stat().st_mtime - 500
    os.utime(path, (past, past))
    assert the_run(records).age == pytest.approx(500, abs=5)


def test_a_look_leaves_nothing_behind(records):
    Heartbeat(records, COSTS, 1)
    before = sorted(records.folder.iterdir())
    records.runs()
    records.submissions()
    assert sorted(records.folder.iterdir()) == before


def test_a_look_at_no_folder_makes_none(records):
    assert records.runs() == [] and records.submissions() == []
    assert not records.folder.parent.exists()


def test_a_process_of_this_machine_is_alive_by_its_number_and_beginning(records):
    Heartbeat(records, COSTS, 1)
    run = replace(the_run(records), age=10 * STALE_SECONDS)
    assert is_alive(run)  # it gives no sign, but it is there
    assert not is_alive(replace(run, state="stopped"))
    number, _, beginning = run.process.partition("@")
    assert not is_alive(replace(run, process=f"{number}@{int(beginning) + 1}", age=0.0))  # the number was given again
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert process_identity(ended.pid) == ""
    assert not is_alive(replace(run, process=f"{ended.pid}@1", age=0.0))


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="no way to wait and leave the process")
def test_a_process_that_has_ended_is_not_alive_before_its_parent_looks():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert process_identity(ended.pid) == ""
    ended.wait()


@pytest.mark.parametrize("process", ["", "0", "x@1", "@", "-1@3", "²@1"])
def test_what_is_no_process_is_not_alive(records, process):
    Heartbeat(records, COSTS, 1)
    assert not is_alive(replace(the_run(records), process=process, age=0.0))


def test_a_process_of_another_machine_is_alive_while_it_gives_signs(records):
    Heartbeat(records, COSTS, 1)
    run = replace(the_run(records), host="elsewhere", machine="another", process="1@1")
    assert is_alive(replace(run, age=STALE_SECONDS - 1))
    assert not is_alive(replace(run, age=STALE_SECONDS + 1))


def test_a_submission_is_read_as_it_was_written(records):
    records.keep_submission(SUBMISSION)
    assert records.submissions() == [SUBMISSION]
    known = replace(SUBMISSION, retries=True, arrays=[SUBMISSION.arrays[0], replace(SUBMISSION.arrays[1], job="13")])
    records.keep_submission(known)
    assert records.submissions() == [known]
    records.remove("sweep")
    assert records.submissions() == []


def test_tasks_have_the_names_and_logs_that_slurm_and_submitit_give_them():
    assert SUBMISSION.jobs() == {0: "12_0", 1: "12_1"}
    assert [SUBMISSION.log(number) for number in range(3)] == ["/logs/12_0_0_log.out", "/logs/12_1_0_log.out", None]
    known = replace(SUBMISSION, arrays=[SUBMISSION.arrays[0], replace(SUBMISSION.arrays[1], job="13")])
    assert known.jobs()[2] == "13_0"
    assert known.log(2) == "/logs/13_0_log.out"  # a task alone is no array


def test_a_submission_that_cannot_be_kept_is_an_error(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(OSError):
        Records(tmp_path / "results").keep_submission(SUBMISSION)


RUN = {
    "version": 1,
    "name": "run",
    "host": "elsewhere",
    "machine": "another",
    "process": "1@1",
    "job": None,
    "state": "running",
    "at_once": 1,
    "log": None,
    "training": {"a": 0.5},
    "failed": [],
    "seconds_left": None,
}
SUBMITTED = {
    "version": 1,
    "name": "sweep",
    "launcher": "fleet_slurm",
    "folder": "/logs",
    "at_once": 1,
    "tasks": [["a"]],
    "costs": {"a": 1.0},
    "retries": False,
    "arrays": [{"first": 0, "count": 1, "job": "1", "name": "jumpstart-0"}],
}

GARBAGE = ["", "{", "null", "[]", "7", '"text"', "{}", '{"version": 1}', "\0\0\0", "[" * 100_000, "1e999", "\ud83d"]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_no_record(records, text):
    records.folder.mkdir(parents=True)
    for name in ("x.run.json", "x.cells.json", "x.submission.json"):
        (records.folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordWarning)
        assert records.runs() == [] and records.submissions() == []


ODD = [None, 7, "text", [], {}, [1], {"a": "b"}, {"a": []}, float("nan"), True, "0" * 5000]


@pytest.mark.parametrize("field", [name for name in RUN if name != "version"])
def test_a_run_whose_fields_are_of_another_kind_can_be_looked_at_or_is_none(records, field):
    write(records, "x.cells.json", COSTS)
    for value in ODD:
        write(records, "x.run.json", {**RUN, field: value})
        for run in records.runs():
            is_alive(run)
            assert all(isinstance(one, str) for one in (run.name, run.host, run.process, run.state))
            assert all(isinstance(one, str | None) for one in (run.job, run.log))
            assert sum(run.training.values()) >= 0 and isinstance(run.at_once, int)
    missing = {name: value for name, value in RUN.items() if name != field}
    write(records, "x.run.json", missing)
    assert records.runs() == [] or field == "name"  # which the file tells as well


@pytest.mark.parametrize("costs", [None, [], [1], {"a": "b"}, {"a": None}, {"a": float("inf")}, 7])
def test_a_run_without_usable_costs_is_none(records, costs):
    write(records, "x.run.json", RUN)
    assert records.runs() == []
    write(records, "x.cells.json", costs)
    assert records.runs() == []
    write(records, "x.cells.json", {"a": 1})
    assert the_run(records).costs == {"a": 1.0}


@pytest.mark.parametrize("field", [name for name in SUBMITTED if name != "version"])
def test_a_submission_whose_fields_are_of_another_kind_can_be_looked_at_or_is_none(records, field):
    for value in ODD:
        write(records, "x.submission.json", {**SUBMITTED, field: value})
        for submission in records.submissions():
            for number, keys in enumerate(submission.tasks):
                assert all(isinstance(key, str) for key in keys)
                submission.log(number)
            assert all(job.replace("_", "").isdecimal() for job in submission.jobs().values())
            assert all(isinstance(one, str) for one in (submission.name, submission.folder))
    missing = {name: value for name, value in SUBMITTED.items() if name != field}
    write(records, "x.submission.json", missing)
    assert records.submissions() == [] or field == "name"


@pytest.mark.parametrize("name", ["run", "cells", "submission"])
def test_a_flipped_bit_is_no_record_or_changes_nothing(records, name):
    Heartbeat(records, COSTS, 3, Job("12_1", "/logs/12_1.out")).progress("a", 0.25)
    records.keep_submission(SUBMISSION)
    read = records.submissions if name == "submission" else records.runs
    (before,) = read()
    (path,) = records.folder.glob(f"*.{name}.json")
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), 11):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordWarning)
            for found in read():
                assert found == replace(before, age=found.age) if name != "submission" else found == before, damaged
    path.write_bytes(whole.replace(b'"a": 1.0', b'"a": 9.0').replace(b'"host": "', b'"host": "x'))
    with pytest.warns(RecordWarning, match=rf"^{path} is damaged and left out: its checksum does not fit$"):
        assert getattr(Records(records.folder.parent), read.__name__)() == []


@pytest.mark.parametrize("name", ["run", "cells", "submission"])
def test_a_record_that_is_no_json_any_more_is_named_once(records, name):
    Heartbeat(records, COSTS, 3)
    records.keep_submission(SUBMISSION)
    read = records.submissions if name == "submission" else records.runs
    (path,) = records.folder.glob(f"*.{name}.json")
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.warns(RecordWarning, match=rf"^{path} is damaged and left out: it is not JSON$"):
        assert read() == []
    assert read() == []
    path.unlink()
    assert read() == []


ARRAY: dict[str, Any] = {"first": 0, "count": 1, "job": "1", "name": "n"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": -1},
        {"first": 1},
        {"count": 2},
        {"count": 10**15},
        {"count": -1},
        {"job": "1,2"},
        {"job": "x"},
        {"job": 3},
    ],
)
def test_arrays_that_cannot_be_are_no_submission(records, wrong):
    write(records, "x.submission.json", {**SUBMITTED, "arrays": [ARRAY]})
    assert len(records.submissions()) == 1
    write(records, "x.submission.json", {**SUBMITTED, "arrays": [{**ARRAY, **wrong}]})
    assert records.submissions() == []


def test_other_versions_temporaries_folders_and_foreign_files_are_left_alone(records):
    write(records, "x.run.json", {**RUN, "version": 2})
    write(records, "x.cells.json", COSTS)
    write(records, ".y.run.json", RUN)
    write(records, ".y.cells.json", COSTS)
    write(records, "x.submission.json", {**SUBMITTED, "version": 2})
    write(records, ".z.submission.json", SUBMITTED)
    write(records, "notes.txt", "hello")
    (records.folder / "folder.run.json").mkdir()
    (records.folder / "folder.submission.json").mkdir()
    (records.folder / "nowhere.run.json").symlink_to("nothing")
    before = sorted(records.folder.iterdir())
    assert records.runs() == [] and records.submissions() == []
    assert sorted(records.folder.iterdir()) == before


def test_half_a_file_is_never_seen(records):
    # a reader that looks at every instant of many writes
    heart = Heartbeat(records, COSTS, 1)
    code = (
        "import sys\nfrom pathlib import Path\nfrom jumpstart_exp.sweep.records import Records\n"
        "records = Records(Path(sys.argv[1]))\nprint('ready', flush=True)\n"
        "assert all(len(records.runs()) == 1 for _ in range(300))\n"
    )
    reader = subprocess.Popen([sys.executable, "-c", code, str(records.folder.parent)], stdout=subprocess.PIPE)
    assert reader.stdout is not None and reader.stdout.readline() == b"ready\n"
    while reader.poll() is None:
        heart.beat("running" if heart.next_beat == 0 else "stopped")
        heart.next_beat = 0.0
    reader.stdout.close()
    assert reader.returncode == 0


def test_one_process_submits_at_a_time(tmp_path: Path) -> None:
    """The second waits until the first has ended, however that was."""
    first = """
import sys, time
from pathlib import Path
from jumpstart_exp.sweep.records import Records
with Records(Path(sys.argv[1])).alone(lambda: None):
    print("held", flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", first, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waited: list[bool] = []

    def end_the_first() -> None:
        waited.append(holder.poll() is None)
        holder.kill()

    with Records(tmp_path).alone(end_the_first):
        assert waited == [True]
    holder.wait()
    holder.stdout.close()
    with Records(tmp_path).alone(lambda: pytest.fail("nobody else is there")):
        pass


def test_a_folder_that_cannot_be_written_does_not_keep_from_submitting(tmp_path: Path) -> None:
    (tmp_path / "sweeps").write_text("no folder")
    with Records(tmp_path).alone(lambda: pytest.fail("nobody else is there")):
        pass
