"""What a process may have: the machine's CPUs and memory, a SLURM job's, a control group's, whichever is least."""

import io
import os
import sys
from pathlib import Path

import pytest

from jumpstart_exp.limits import available_memory_bytes, cpu_count, memory_kills

GIB = 2**30

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and control groups are Linux's")


class Machine:
    """Stands in for /proc and /sys: these files, and no others, are there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, str] = {"/proc/self/cgroup": ""}
        self.free(100 * GIB)
        read = Path.read_text
        opened = Path.open
        own = self

        def text_of(path: Path) -> str:
            if str(path) not in own.files:
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return own.files[str(path)]

        def read_text(path: Path, *arguments: object, **options: object) -> str:
            return text_of(path) if path.parts[1:2] in (("proc",), ("sys",)) else read(path, *arguments, **options)

        def open_(path: Path, *arguments: object, **options: object) -> object:
            if path.parts[1:2] not in (("proc",), ("sys",)):
                return opened(path, *arguments, **options)
            return io.StringIO(text_of(path))

        monkeypatch.setattr(Path, "read_text", read_text)
        monkeypatch.setattr(Path, "open", open_)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
        for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
            monkeypatch.delenv(name, raising=False)

    def free(self, available: int) -> None:
        self.files["/proc/meminfo"] = f"MemTotal: {2 * available // 1024} kB\nMemAvailable: {available // 1024} kB\n"

    def old_group(self, name: str, limit: int, used: int, cached: int = 0) -> None:
        """A control group of version 1."""
        folder = f"/sys/fs/cgroup/memory{name}".rstrip("/")
        self.files[f"{folder}/memory.limit_in_bytes"] = f"{limit}\n"
        self.files[f"{folder}/memory.usage_in_bytes"] = f"{used}\n"
        self.files[f"{folder}/memory.stat"] = f"inactive_file 4096\ntotal_rss {used}\ntotal_inactive_file {cached}\n"

    def group(self, name: str, limit: int | str, used: int, cached: int = 0) -> None:
        """A control group of version 2 of this name, such as "/job/step"."""
        folder = f"/sys/fs/cgroup{name}".rstrip("/")
        self.files[f"{folder}/memory.max"] = f"{limit}\n"
        self.files[f"{folder}/memory.current"] = f"{used}\n"
        self.files[f"{folder}/memory.stat"] = f"anon {used - cached}\nfile {cached}\ninactive_file {cached}\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_a_machine_gives_what_it_has_available(machine):
    assert available_memory_bytes() == 100 * GIB


def test_a_machine_that_does_not_say_is_taken_for_a_small_one(machine):
    machine.files["/proc/meminfo"] = "MemTotal: 1 kB\n"
    assert available_memory_bytes() == 4_000_000_000
    del machine.files["/proc/meminfo"]
    assert available_memory_bytes() == 4_000_000_000


@pytest.mark.parametrize(
    ("variables", "gibibytes"),
    [
        ({"SLURM_MEM_PER_NODE": "2048"}, 2),
        ({"SLURM_MEM_PER_NODE": "2048", "SLURM_MEM_PER_CPU": "9", "SLURM_CPUS_ON_NODE": "1"}, 2),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "3"}, 3),
        ({"SLURM_MEM_PER_NODE": "0"}, 100),  # all of the node
        ({"SLURM_MEM_PER_NODE": str(200 * 1024)}, 100),  # more than there is
        ({"SLURM_MEM_PER_CPU": "1024"}, 100),
        ({"SLURM_CPUS_ON_NODE": "3"}, 100),
        ({"SLURM_MEM_PER_NODE": "2G"}, 100),
        ({"SLURM_MEM_PER_CPU": "x", "SLURM_CPUS_ON_NODE": "3"}, 100),
        ({"SLURM_MEM_PER_NODE": ""}, 100),
    ],
)
def test_a_slurm_job_has_what_it_was_granted(machine, monkeypatch, variables, gibibytes):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert available_memory_bytes() == gibibytes * GIB


def test_a_control_group_gives_what_is_left_of_its_limit(machine):
    machine.files["/proc/self/cgroup"] = "1:name=systemd:/x\n0::/job/step\n"
    machine.group("/job/step", 8 * GIB, 5 * GIB)
    assert available_memory_bytes() == 3 * GIB


def test_the_groups_above_count_and_those_without_a_limit_do_not(machine):
    machine.files["/proc/self/cgroup"] = "0::/job/step/task\n"
    machine.group("/job/step/task", "max", 6 * GIB)
    machine.group("/job/step", 50 * GIB, 6 * GIB)
    machine.group("/job", 10 * GIB, 8 * GIB)
    assert available_memory_bytes() == 2 * GIB


def test_a_container_is_the_root_of_its_own_groups(machine):
    machine.files["/proc/self/cgroup"] = "0::/\n"
    machine.group("/", 4 * GIB, 1 * GIB)
    assert available_memory_bytes() == 3 * GIB


def test_files_that_the_group_only_caches_are_free(machine):
    machine.files["/proc/self/cgroup"] = "0::/job\n"
    machine.group("/job", 8 * GIB, 7 * GIB, cached=5 * GIB)
    assert available_memory_bytes() == 6 * GIB


OLD = "9:name=systemd:/x\n4:memory:/job/step\n2:cpu,cpuacct:/job/step\n0::/\n"
"""What a process is in where control groups are of version 1, or of both."""


def test_a_control_group_of_version_1_gives_what_is_left_of_its_limit(machine):
    machine.files["/proc/self/cgroup"] = OLD
    machine.old_group("/job/step", 8 * GIB, 5 * GIB, cached=GIB)
    machine.old_group("/job", 9223372036854771712, 7 * GIB)  # no limit
    assert available_memory_bytes() == 4 * GIB
    machine.old_group("", 6 * GIB, 5 * GIB)
    assert available_memory_bytes() == 1 * GIB


def test_in_a_container_the_groups_name_is_that_of_outside(machine):
    machine.files["/proc/self/cgroup"] = "4:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n"
    machine.old_group("", 2 * GIB, 1 * GIB)
    machine.files["/sys/fs/cgroup/cpu/cpu.cfs_quota_us"] = "300000\n"
    machine.files["/sys/fs/cgroup/cpu/cpu.cfs_period_us"] = "100000\n"
    assert available_memory_bytes() == 1 * GIB
    assert cpu_count() == 3


@pytest.mark.parametrize("groups", ["", "4:cpuset:/other\n", "nonsense", "0::/gone\n", "0:\n:::::\n"])
def test_without_such_a_group_the_machine_counts(machine, groups):
    machine.files["/proc/self/cgroup"] = groups
    machine.group("/other", 1 * GIB, 0)
    machine.files["/sys/fs/cgroup/other/cpu.max"] = "100000 100000\n"
    assert available_memory_bytes() == 100 * GIB
    assert cpu_count() == 64


def test_a_quota_bounds_the_cpus_and_is_rounded_up(machine):
    machine.files["/proc/self/cgroup"] = "0::/job/step\n"
    for quota, count in (("max 100000", 64), ("100000 100000", 1), ("150000 100000", 2), ("1000 100000", 1)):
        machine.files["/sys/fs/cgroup/job/step/cpu.max"] = quota + "\n"
        assert cpu_count() == count
    machine.files["/sys/fs/cgroup/job/step/cpu.max"] = "800000 100000\n"
    machine.files["/sys/fs/cgroup/job/cpu.max"] = "200000 50000\n"
    assert cpu_count() == 4, "the least of all groups counts"


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_bounds_the_cpus_too(machine, mount):
    machine.files["/proc/self/cgroup"] = OLD
    for quota, count in (("-1", 64), ("50000", 1), ("250000", 3), ("garbage", 64), ("", 64)):
        machine.files[f"/sys/fs/cgroup/{mount}/job/step/cpu.cfs_quota_us"] = quota + "\n"
        machine.files[f"/sys/fs/cgroup/{mount}/job/step/cpu.cfs_period_us"] = "100000\n"
        assert cpu_count() == count


def test_the_affinity_bounds_the_cpus(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert cpu_count() == 2


@pytest.mark.parametrize(
    ("groups", "file", "text"),
    [
        ("", "/proc/vmstat", "nr_free_pages 17\noom_kill {}\nballoon_inflate 0\n"),
        ("0::/job/step\n", "/sys/fs/cgroup/job/step/memory.events", "low 0\noom 9\noom_kill {}\noom_group_kill 0\n"),
        (OLD, "/sys/fs/cgroup/memory/job/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"),
    ],
)
def test_a_kill_for_memory_is_counted(machine, groups, file, text):
    machine.files["/proc/self/cgroup"] = groups
    assert memory_kills() == 0
    machine.files[file] = text.format(3)
    before = memory_kills()
    machine.files[file] = text.format(4)
    assert memory_kills() > before


def test_no_files_of_groups_at_all(machine):
    del machine.files["/proc/self/cgroup"]
    assert available_memory_bytes() == 100 * GIB
    assert cpu_count() == 64


def test_the_least_counts(machine, monkeypatch):
    machine.files["/proc/self/cgroup"] = "0::/job\n"
    machine.group("/job", 8 * GIB, 1 * GIB)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", str(5 * 1024))
    assert available_memory_bytes() == 5 * GIB
    machine.free(2 * GIB)
    assert available_memory_bytes() == 2 * GIB


def test_this_machine_has_some():
    assert 0 < available_memory_bytes() < 2**50
    assert 1 <= cpu_count() <= len(os.sched_getaffinity(0))
    assert memory_kills() >= 0
