"""Memory that this process has used."""

import contextlib
import ctypes
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
