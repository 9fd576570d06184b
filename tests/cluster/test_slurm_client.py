"""What SLURM is asked, of a scheduler that is a few shell scripts; and answers that do not come."""

import time

import pytest

from cluster.fake_scheduler import Scheduler, hide_slurm
from jumpstart_exp.cluster import ClusterError, slurm
from jumpstart_exp.cluster.slurm import UnreachableError


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    return Scheduler(tmp_path / "slurm", monkeypatch)


def test_the_states_of_arrays_are_those_of_their_tasks(scheduler):
    scheduler.add("7_0", "7_1", state="RUNNING")
    scheduler.add("8", state="PENDING")
    scheduler.add("9_0", state="COMPLETED")
    assert slurm.states({"7": None, "8": None}) == {"7_0": "RUNNING", "7_1": "RUNNING", "8_0": "PENDING"}
    assert slurm.states({}) == {} and len(scheduler.calls("squeue")) == 1


def test_jobs_that_slurm_has_forgotten_have_no_state(scheduler):
    assert slurm.states({"7": None}) == {}  # which is an error to squeue
    scheduler.add("8", state="RUNNING")
    assert slurm.states({"7": None, "8": None}) == {"8_0": "RUNNING"}


def test_many_arrays_are_asked_for_in_several_calls(scheduler):
    scheduler.add(*map(str, range(1000, 1450)), state="PENDING")
    assert len(slurm.states(dict.fromkeys(map(str, range(1000, 1450))))) == 450
    calls = scheduler.calls("squeue")
    assert len(calls) > 1 and max(map(len, calls)) < 2000


def test_arrays_are_found_by_their_names(scheduler):
    scheduler.add("7_0", "7_1", state="RUNNING", name="jumpstart-a-0")
    scheduler.add("8", state="PENDING", name="jumpstart-a-2")
    scheduler.add("9", state="PENDING", name="other")
    assert slurm.arrays_named(["jumpstart-a-0", "jumpstart-a-2", "jumpstart-a-3"]) == {
        "jumpstart-a-0": "7",
        "jumpstart-a-2": "8",
    }
    assert slurm.arrays_named([]) == {}


def test_ends_are_those_of_the_accounting_where_there_is_one(scheduler, tmp_path, monkeypatch):
    scheduler.add("7_0", state="OUT_OF_MEMORY")
    scheduler.add("7_1", state="CANCELLED")
    scheduler.add("8", state="TIMEOUT")
    assert slurm.ends(["7_0", "7_1", "8_0", "9_0"]) == {
        "7_0": "OUT_OF_MEMORY",
        "7_1": "CANCELLED",
        "8_0": "TIMEOUT",
    }
    scheduler.fail("echo 'Slurm accounting storage is disabled' >&2; exit 1", on="sacct")
    assert slurm.ends(["7_0"]) == {}
    hide_slurm(tmp_path / "empty", monkeypatch)
    assert slurm.ends(["7_0"]) == {}


def test_the_state_of_one_task(scheduler):
    scheduler.add("7_0", state="RUNNING")
    scheduler.add("7_1", state="COMPLETING")
    scheduler.add("8", state="PENDING")
    assert [slurm.state_of(task) for task in ("7_0", "7_1", "7_2", "8", "9")] == [
        "RUNNING",
        "COMPLETING",
        "",
        "PENDING",
        "",
    ]


@pytest.mark.parametrize(("said", "size"), [(1001, 1001), (3, 3), (1, 1), (0, 1)])
def test_the_limit_of_arrays_is_slurms(scheduler, said, size):
    scheduler.limit_arrays(said)
    assert slurm.max_array_size() == size


def test_a_requeue_is_asked_for(scheduler):
    slurm.requeue("7_3")
    assert scheduler.calls("scontrol") == ["requeue 7_3"]


ASK = {
    "squeue": lambda: slurm.states({"7": None}),
    "squeue by name": lambda: slurm.arrays_named(["a"]),
    "scontrol": slurm.max_array_size,
    "scontrol requeue": lambda: slurm.requeue("7"),
}


@pytest.mark.parametrize("question", ASK)
def test_a_controller_that_refuses_is_named_with_its_words(scheduler, question):
    scheduler.fail("printf 'error: Unable to contact\\n slurm controller\\n' >&2; exit 1")
    with pytest.raises(UnreachableError) as caught:
        ASK[question]()
    assert isinstance(caught.value, ClusterError)
    assert str(caught.value) == "SLURM cannot be asked (error: Unable to contact slurm controller)"


@pytest.mark.parametrize("script", ["exit 3", "echo only this; exit 1"])
def test_a_failure_without_a_word_is_told_by_what_there_is(scheduler, script):
    scheduler.fail(script)
    with pytest.raises(UnreachableError, match=r"exit code 3|only this"):
        slurm.states({"7": None})


@pytest.mark.parametrize("question", ASK)
def test_a_controller_that_does_not_answer_is_not_waited_for(scheduler, monkeypatch, question):
    monkeypatch.setattr(slurm, "_SECONDS", 0.3)
    scheduler.fail("exec sleep 60")
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=f"SLURM does not answer: {question.split()[0]} took longer"):
        ASK[question]()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("question", ASK)
def test_commands_that_are_not_there_are_named(tmp_path, monkeypatch, question):
    hide_slurm(tmp_path / "empty", monkeypatch)
    assert not slurm.is_here()
    with pytest.raises(UnreachableError, match=f"SLURM is not here: there is no {question.split()[0]}"):
        ASK[question]()


def test_slurm_is_here_where_jobs_can_be_submitted_and_looked_at(scheduler, monkeypatch):
    assert slurm.is_here()
    bin_dir = scheduler.folder / "bin"
    monkeypatch.setenv("PATH", str(bin_dir))
    assert slurm.is_here()
    for name in ("sbatch", "squeue"):
        (bin_dir / name).rename(bin_dir / "hidden")
        assert not slurm.is_here()
        (bin_dir / "hidden").rename(bin_dir / name)


def test_a_job_is_queued_or_runs_but_not_both():
    assert not slurm.QUEUED & slurm.RUNNING
    over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE"}
    assert not over & (slurm.QUEUED | slurm.RUNNING)


def test_a_number_that_was_given_again_is_another_job(scheduler):
    scheduler.add("7_0", "7_1", state="RUNNING", name="somebody-elses")
    assert slurm.states({"7": "jumpstart-0"}) == {}
    assert slurm.states({"7": "somebody-elses"}) == {"7_0": "RUNNING", "7_1": "RUNNING"}


def test_a_users_own_filters_hide_no_job(scheduler, monkeypatch):
    scheduler.add("7_0", state="PENDING")
    scheduler.fail('[ -z "$SQUEUE_PARTITION$SLURM_CLUSTERS" ] || exit 0', on="squeue")
    monkeypatch.setenv("SQUEUE_PARTITION", "urgent")
    monkeypatch.setenv("SLURM_CLUSTERS", "another")
    assert slurm.states({"7": None}) == {"7_0": "PENDING"}
