"""Memory that a process can have: the machine's, a SLURM job's, a control group's, whichever is least."""

import sys
from pathlib import Path

import pytest

from jumpstart_exp import memory
from jumpstart_exp.memory import available_memory_bytes, peak_memory_bytes, reset_peak_memory, resident_bytes

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
            import io

            return io.StringIO(text_of(path))

        monkeypatch.setattr(memory.Path, "read_text", read_text)
        monkeypatch.setattr(memory.Path, "open", open_)
        for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
            monkeypatch.delenv(name, raising=False)

    def free(self, available: int) -> None:
        self.files["/proc/meminfo"] = f"MemTotal: {2 * available // 1024} kB\nMemAvailable: {available // 1024} kB\n"

    def group(self, name: str, limit: int | str, used: int, cached: int = 0) -> None:
        """A control group of this name, such as "/job/step"."""
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


@pytest.mark.parametrize("groups", ["", "4:memory:/old\n", "nonsense", "0::/gone\n"])
def test_without_such_a_group_the_machine_counts(machine, groups):
    machine.files["/proc/self/cgroup"] = groups
    machine.group("/old", 1 * GIB, 0)
    assert available_memory_bytes() == 100 * GIB


def test_no_files_of_groups_at_all(machine):
    del machine.files["/proc/self/cgroup"]
    assert available_memory_bytes() == 100 * GIB


def test_the_least_counts(machine, monkeypatch):
    machine.files["/proc/self/cgroup"] = "0::/job\n"
    machine.group("/job", 8 * GIB, 1 * GIB)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", str(5 * 1024))
    assert available_memory_bytes() == 5 * GIB
    machine.free(2 * GIB)
    assert available_memory_bytes() == 2 * GIB


def test_this_machine_has_some():
    assert 0 < available_memory_bytes() < 2**50


def test_the_peak_is_of_this_process_and_can_begin_anew():
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    with_block = peak_memory_bytes()
    assert with_block >= resident_bytes() - 2**20 and resident_bytes() > len(block)
    del block
    reset_peak_memory()
    assert peak_memory_bytes() < with_block - 100 * 2**20
