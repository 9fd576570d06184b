"""Memory that this process has used."""

import contextlib
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


def reset_peak_memory() -> None:
    """Let the peak begin anew, where the system allows it (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
