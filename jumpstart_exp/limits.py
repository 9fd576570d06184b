"""CPUs and memory that this process may have: by its affinity, its control groups (version 1 and 2) and SLURM."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")

_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of a group of version 2 and of 1: its limit, what is used, and the entry of memory.stat for files that are idle."""


def cpu_count() -> int:
    """CPUs that this process may use: those it may run on, and no more than its control groups' quotas, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([count, *(max(1, math.ceil(quota)) for quota in _cpu_quotas())])


def available_memory_bytes(device: str = "cpu") -> int:
    """Memory that the machine, or a CUDA device, can give out to this process; a guess where it does not say."""
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    room = [_free_of_machine(), *_left_of_groups()]
    if (granted := _granted_by_slurm()) is not None:
        room.append(granted)
    return min(room)


def memory_kills() -> int:
    """A number that grows when the system kills a process for memory, in this one's control groups or elsewhere."""
    files = [Path("/proc/vmstat")]
    files += [folder / name for folder in _folders("memory") for name in ("memory.events", "memory.oom_control")]
    return sum(_entry(file, "oom_kill") for file in files)


def be_killed_first() -> None:
    """Where memory is short, have the system kill this process rather than another one (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _cpu_quotas() -> Iterator[float]:
    """The CPUs that each control group grants, such as 1.5."""
    for folder in _folders("cpu"):
        for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
            with contextlib.suppress(OSError, ValueError):
                quota, period = " ".join((folder / name).read_text() for name in files).split()
                if int(quota) > 0:  # "max" and -1 are none
                    yield int(quota) / int(period)


def _left_of_groups() -> Iterator[int]:
    """What is left of each control group's limit; files that are only cached go when memory is needed."""
    for folder in _folders("memory"):
        for limit, used, cached in _MEMORY:
            with contextlib.suppress(OSError, ValueError):
                left = int((folder / limit).read_text()) - int((folder / used).read_text())  # "max" is none
                yield left + _entry(folder / "memory.stat", cached)


def _folders(controller: str) -> Iterator[Path]:
    """The folders of the control groups that the process is in for this controller, and of those above them.

    A container may see the name that its group has outside: of what is not there nothing can be read, and its own
    group is the topmost.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        if controller in controllers.split(","):
            mounts = {_GROUPS / controller, _GROUPS / controllers}
        elif not controllers:  # version 2, and where both are in use
            mounts = {_GROUPS, _GROUPS / "unified"}
        else:
            continue
        parts = [part for part in path.split("/") if part]
        for mount in sorted(mounts):
            yield from (mount.joinpath(*parts[:count]) for count in range(len(parts), -1, -1))


def _entry(file: Path, name: str) -> int:
    """The number that a file has on the line of this name; 0 where there is none."""
    with contextlib.suppress(OSError, ValueError):
        lines = [line.split() for line in file.read_text().splitlines()]
        return sum(int(line[1]) for line in lines if len(line) == 2 and line[0] == name)
    return 0


def _free_of_machine() -> int:
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4_000_000_000


def _granted_by_slurm() -> int | None:
    """What a SLURM job has on this node, whether or not anything enforces it."""
    mebibytes = os.environ.get("SLURM_MEM_PER_NODE")
    cpus = os.environ.get("SLURM_CPUS_ON_NODE")
    try:
        if mebibytes is None and cpus is not None:
            mebibytes = str(int(os.environ["SLURM_MEM_PER_CPU"]) * int(cpus))
        return (int(mebibytes) * 2**20 or None) if mebibytes else None  # 0 is all of the node
    except (KeyError, ValueError):
        return None
