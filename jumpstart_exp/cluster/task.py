"""What a cluster's task does: train its cells as a sweep of its own, and begin again where its time runs out."""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster import slurm
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.console import notes, output, set_up_output
from jumpstart_exp.sweep.records import Job, Records, current_job
from jumpstart_exp.sweep.runner import run_sweep
from jumpstart_exp.sweep.stopping import FirstFailureError, InterruptedSweepError

_STOPPED_EXIT = 143
"""Exit code of a task that was told to end, as a shell would have it for SIGTERM."""


@dataclass(frozen=True)
class FleetTask:
    """A task: called on a node it trains its cells, leaving out what the store has by then.

    `cells` may hold equal cells under several methods' labels; `submission` is the name of what was submitted, of which
    this is a task. Everything that a task finished is in the store, so
    that beginning again (requeued, or submitted anew) means calling it again.
    """

    cells: Sequence[Cell]
    settings: RunSettings
    cpus: int
    max_requeues: int
    submission: str = ""

    def __call__(self) -> int:
        """Train; how many cells failed. A task that is told to end stores what is finished, and ends or is requeued."""
        set_up_output()
        job = current_job() or Job("0")
        name = job.name
        restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
        begun = f"task {name} on {os.uname().nodename}"
        output().print(begun + (f", begun again for the {_times(restarts)} time" if restarts else ""))
        records = Records(Path(self.settings.results_dir))
        if (reason := records.why_ended(self.submission)) is not None:
            output().print(f"nothing is trained: {reason}", markup=False)
            return 0
        try:
            errors = run_sweep(self._cells(name, restarts), self.settings, self.cpus, job)
        except FirstFailureError as error:
            notes().print(str(error), markup=False)
            self._end_all(records, name, str(error).partition(";")[0])
            return 1
        except InterruptedSweepError as error:
            notes().print(str(error).partition(";")[0], markup=False)
            self._end(name, restarts, error.by)
        return sum(error is not None for error in errors.values())

    def _cells(self, name: str, restarts: int) -> Sequence[Cell]:
        """What is to be trained: with retry=failed, not again what has failed in this task before it was requeued."""
        if not restarts or self.settings.retry != "failed":
            return self.cells
        runs = Records(Path(self.settings.results_dir)).runs()
        failed = {key for run in runs if run.job == name for key in run.failed}
        return [cell for cell in self.cells if cell.key not in failed]

    def checkpoint(self) -> Any:
        """What is to run again where a signal comes before or after the training: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _end_all(self, records: Records, own: str, reason: str) -> None:
        """End what else was submitted with this task: what runs keeps its training, what waits never begins."""
        try:
            records.end_submission(self.submission, reason)
            (submission,) = [one for one in records.submissions() if one.name == self.submission]
            jobs = slurm.arrays_named([array.name for array in submission.arrays])
            counts = {jobs[array.name]: array.count for array in submission.arrays if array.name in jobs}
            at_work = [
                task if counts[task.partition("_")[0]] > 1 else task.partition("_")[0]
                for task, state in slurm.states(dict.fromkeys(counts)).items()
                if state in slurm.QUEUED | slurm.RUNNING and task != (own if "_" in own else f"{own}_0")
            ]
            slurm.cancel(*at_work)
        except (OSError, ValueError, slurm.UnreachableError) as error:
            notes().print(f"tasks beside this one may go on: {error}", markup=False)

    def _end(self, name: str, restarts: int, by: signal.Signals) -> None:
        """Be requeued, unless SLURM is ending the job for good or requeues it by itself."""
        try:
            state = slurm.state_of(name)
            if state != "RUNNING":
                notes().print(f"{by.name}: SLURM says {state or 'nothing'} of {name}; not requeued", markup=False)
            elif restarts >= self.max_requeues:
                notes().print(f"{by.name}: begun again {restarts} times (max_requeues); not requeued", markup=False)
            else:
                slurm.requeue(name)
                notes().print(f"{by.name}: {name} is requeued", markup=False)
        except slurm.UnreachableError as error:
            notes().print(f"{by.name}: {name} is not requeued: {error}", markup=False)
        sys.exit(_STOPPED_EXIT)


def _times(count: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(count, f"{count}th")
