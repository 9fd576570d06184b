"""Memory that this process has used, and that it can have."""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """The process's largest resident size so far.

    Linux counts its parent's size in `ru_maxrss` too; its own is in /proc.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """The process's resident size now; where the system does not say, its largest so far."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.is_file() else peak_memory_bytes()


def reset_peak_memory() -> None:
    """Let the peak begin anew, where the system allows it (Linux): what is free goes back to it first."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def available_memory_bytes(device: str = "cpu") -> int:
    """Memory that the machine, or a CUDA device, can give out to this process; a guess where it does not say."""
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    room = [_free_of_machine()]
    if (granted := _granted_by_slurm()) is not None:
        room.append(granted)
    if (left := _left_of_cgroup()) is not None:
        room.append(left)
    return min(room)


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


def _left_of_cgroup() -> int | None:
    """What is left of the limit that the process's control group, or one above it, has (version 2)."""
    left = None
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()
        path = Path("/sys/fs/cgroup") / next(line[4:] for line in own if line.startswith("0::/"))
        for folder in [path, *path.parents]:
            with contextlib.suppress(OSError, ValueError):
                limit = int((folder / "memory.max").read_text())  # "max" is none
                free = limit - int((folder / "memory.current").read_text()) + _cached(folder)
                left = free if left is None else min(left, free)
    except (OSError, StopIteration):
        return None
    return left


def _cached(folder: Path) -> int:
    """What a control group's files take in memory and nobody has used lately: it goes when memory is needed."""
    lines = (folder / "memory.stat").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
