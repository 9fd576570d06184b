"""What SLURM is asked. Every call has a time limit: without a controller the clients hang."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from jumpstart_exp.cluster import ClusterError
from jumpstart_exp.settings import legible, setting_error

_SECONDS = 30.0
_JOBS_A_CALL = 200
_SAID = 200
_FILTERS = ("SQUEUE_", "SACCT_", "SLURM_CLUSTERS")

QUEUED = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
"""States of a job that has yet to run, or to run again."""

RUNNING = frozenset(
    {"RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
)
"""States of a job that has a node."""


_REFUSED = {"%": "%", "\\": "backslash", "\n": "line break"}
"""What SLURM replaces in the names of output files (%u is a user), unescapes, and cannot have in a batch script."""


class UnreachableError(ClusterError):
    """SLURM is not there, or does not answer."""


def check_folder(path: Path, name: str = "results_dir") -> None:
    """Refuse a folder, of the setting of this name, whose whole name SLURM or submitit cannot take.

    Raises:
        SettingError: the name, or that of a folder above it, has a character that is lost on the way to a job.
    """
    whole = str(path.expanduser().absolute())
    if bad := [words for letter, words in _REFUSED.items() if letter in whole]:
        raise setting_error(name, whole, f"a folder whose whole name has no {' and no '.join(bad)}, for jobs on SLURM")


def is_here() -> bool:
    """Whether this machine has SLURM's commands."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def states(arrays: Mapping[str, str | None]) -> dict[str, str]:
    """The state of every task of these job arrays that SLURM still knows in its queue: "ARRAY_INDEX" → state.

    Those that ended are there for some minutes (MinJobAge), then no more.

    Args:
        arrays: by their number the names that they must have, since numbers come again; None for any.

    Raises:
        UnreachableError: SLURM does not answer.
    """
    found: dict[str, str] = {}
    wanted = sorted(arrays)
    for first in range(0, len(wanted), _JOBS_A_CALL):
        some = wanted[first : first + _JOBS_A_CALL]
        try:
            text = _call(["squeue", "-h", "-r", "-t", "all", "-o", "%i|%T|%j", "-j", ",".join(some)])
        except UnreachableError as error:
            if "Invalid job id" not in str(error):
                raise
            continue  # none of them is known any more
        for line in text.splitlines():
            task, _, rest = line.strip().partition("|")
            state, _, name = rest.partition("|")
            if state and arrays.get(task.partition("_")[0]) in (None, name):
                # a job of one task that is no array has a plain number
                found[task if "_" in task else f"{task}_0"] = state
    return found


def arrays_named(names: Sequence[str]) -> dict[str, str]:
    """The job arrays in the queue that have these names: name → number.

    Raises:
        UnreachableError: SLURM does not answer.
    """
    if not names:
        return {}
    text = _call(["squeue", "-h", "-t", "all", "-o", "%j|%F", f"--name={','.join(names)}"])
    pairs = (line.strip().partition("|") for line in text.splitlines())
    return {name: number for name, _, number in pairs if number}


def ends(tasks: Sequence[str]) -> dict[str, str]:
    """How tasks ended, where an accounting knows: "ARRAY_INDEX" → state, such as `TIMEOUT` or `OUT_OF_MEMORY`."""
    found: dict[str, str] = {}
    if shutil.which("sacct") is None:
        return found
    arrays = sorted({task.partition("_")[0] for task in tasks})
    for first in range(0, len(arrays), _JOBS_A_CALL):
        try:
            text = _call(
                ["sacct", "-n", "-X", "-P", "-o", "JobID,State", "-j", ",".join(arrays[first : first + _JOBS_A_CALL])]
            )
        except UnreachableError:
            return found
        for line in text.splitlines():
            name, _, state = line.partition("|")
            found[name if "_" in name else f"{name}_0"] = state.split(" ")[0]  # "CANCELLED by 0"
    return {task: found[task] for task in tasks if task in found}


def max_array_size() -> int:
    """The most tasks that a job array may have here.

    Raises:
        UnreachableError: SLURM does not answer.
    """
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _call(["scontrol", "show", "config"]), re.MULTILINE)
    return max(1, int(match[1])) if match else 1000


def state_of(task: str) -> str:
    """The state of one task, empty if it is not in the queue.

    Raises:
        UnreachableError: SLURM does not answer.
    """
    return states({task.partition("_")[0]: None}).get(task if "_" in task else f"{task}_0", "")


def cancel(*jobs: str) -> None:
    """End jobs, or tasks of arrays.

    Raises:
        UnreachableError: SLURM does not do it, or does not answer.
    """
    for first in range(0, len(jobs), _JOBS_A_CALL):
        _call(["scancel", *jobs[first : first + _JOBS_A_CALL]])


def requeue(task: str) -> None:
    """Let a task begin again, which ends it here.

    Raises:
        UnreachableError: SLURM does not do it, or does not answer.
    """
    _call(["scontrol", "requeue", task])


def _call(command: Sequence[str]) -> str:
    try:
        # a user's own defaults would leave jobs out
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_FILTERS)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=environment)
    except FileNotFoundError:
        raise UnreachableError(f"SLURM is not here: there is no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"SLURM does not answer: {command[0]} took longer than {_SECONDS:.0f} s") from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise UnreachableError(f"SLURM cannot be asked ({legible(reason, _SAID)})")
    return done.stdout
