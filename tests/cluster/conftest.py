"""For tests with a real SLURM, which `make test-cluster` starts: what is asked of it, and sweeps beside it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from program import Program

T = TypeVar("T")

CALL_SECONDS = 30.0
"""SLURM's clients hang when the controller is down."""


def wait_for(what: str, look: Callable[[], T], seconds: float = 90.0, every: float = 0.2) -> T:
    """Look until what is seen is true; it is returned."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(every)
    return seen


class Slurm:
    """What a test asks of SLURM and does to jobs; a job is "12" (an array with all its tasks) or "12_3"."""

    def queue(self, *jobs: str) -> dict[str, str]:
        """State by task, of these jobs or of all: those that ended stay in it for some minutes."""
        chosen = ["-j", ",".join(jobs)] if jobs else []
        return rows(self.call("squeue", "-h", "-r", "-t", "all", "-o", "%i|%T", *chosen))

    def accounting(self, *jobs: str) -> dict[str, str]:
        """State by task, as the accounting has it, which lags by some seconds; of these jobs or of all."""
        chosen = ["-j", ",".join(jobs)] if jobs else []
        found = rows(self.call("sacct", "-n", "-X", "-P", "--array", "-o", "JobID,State", *chosen))
        return {job: state.split()[0] for job, state in found.items()}  # "CANCELLED by 0"

    def restarts(self, job: str) -> int:
        """How often a task was requeued."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return int(next(word for word in words if word.startswith("Restarts=")).removeprefix("Restarts="))

    def cancel(self, *jobs: str, send: str | None = None) -> None:
        """`scancel`: end jobs, or send a signal to their tasks."""
        self.call("scancel", *([f"--signal={send}"] if send else []), *jobs)

    def requeue(self, job: str) -> None:
        """Let a job begin again."""
        self.call("scontrol", "requeue", job)

    def pids(self, job: str) -> list[int]:
        """The processes that a task trains in: those whose environment has its number."""
        array, _, index = job.partition("_")
        wanted = {f"SLURM_ARRAY_JOB_ID={array}", f"SLURM_ARRAY_TASK_ID={index}"} if index else {f"SLURM_JOB_ID={array}"}
        return [pid for pid in python_processes() if wanted <= environment(pid)]

    @contextmanager
    def preempting(self, cpus: int = 16) -> Iterator[str]:
        """Submit a job to `urgent` that preempts what runs in `debug` on so many CPUs; it goes at the block's end.

        What it preempts gets SIGTERM at once and is killed up to half a minute later: SLURM ends the grace time late.
        """
        line = ["--parsable", "--partition=urgent", f"--ntasks={cpus}", "--job-name=filler", "--output=/dev/null"]
        filler = self.call("sbatch", *line, "--wrap=sleep 600").strip()
        try:
            yield filler
        finally:
            self.cancel(filler)

    def call(self, *command: str) -> str:
        """What one of SLURM's clients says."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done.stdout


@dataclass
class Running:
    """`python -m jumpstart_exp …` that has been started; what it says goes to files."""

    process: subprocess.Popen[bytes] | Program
    stdout: Path
    stderr: Path

    def finish(self, seconds: float = 180.0) -> "subprocess.CompletedProcess[str]":
        """Wait for its end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not done within {seconds:.0f} s\n{self.stdout.read_text()}\n{self.stderr.read_text()}")
        return subprocess.CompletedProcess(self.process.args, code, self.stdout.read_text(), self.stderr.read_text())

    def interrupt(self) -> None:
        """Ctrl-C as a terminal does it: to everything that was started here."""
        os.killpg(self.process.pid, signal.SIGINT)


Start = Callable[..., Running]


@pytest.fixture(scope="session")
def slurm(request: pytest.FixtureRequest) -> Slurm:
    """SLURM; one that does not answer is a failure where cluster tests were asked for."""
    try:
        done = subprocess.run(
            ["sinfo", "--noheader"], capture_output=True, text=True, timeout=CALL_SECONDS, check=False
        )
        reason = done.stderr if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason:
        say = pytest.skip if "cluster" not in request.config.option.markexpr else pytest.fail
        say(f"no SLURM answers, make test-cluster starts one: {reason}")
    return Slurm()


@pytest.fixture(scope="module")
def start_in() -> Iterator[Callable[[Path], Start]]:
    """A `start` for a folder, for fixtures of a whole module."""
    running: list[Running] = []

    def of(folder: Path) -> Start:
        def start(*arguments: str, environment: dict[str, str] | None = None) -> Running:
            stdout, stderr = (folder / f"{name}{len(running)}.txt" for name in ("stdout", "stderr"))
            with stdout.open("wb") as out, stderr.open("wb") as err:
                process = subprocess.Popen(
                    [sys.executable, "-m", "jumpstart_exp", *arguments],
                    cwd=folder,
                    env={**os.environ, **(environment or {})},
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            running.append(Running(process, stdout, stderr))
            return running[-1]

        return start

    yield of
    for started in running:
        if started.process.poll() is None:
            os.killpg(started.process.pid, signal.SIGKILL)
            started.process.wait()


@pytest.fixture
def start(start_in: Callable[[Path], Start], tmp_path: Path) -> Start:
    """Start `python -m jumpstart_exp ARGUMENTS` in an empty folder; what still runs at the end is killed."""
    return start_in(tmp_path)


@pytest.fixture
def start_forked(tmp_path: Path) -> Iterator[Start]:
    """As `start`, without the seconds in which Python imports torch."""
    running: list[Program] = []

    def start(*arguments: str) -> Running:
        errors = tmp_path / f"stderr{len(running)}.txt"
        running.append(Program("jumpstart_exp", arguments, tmp_path, errors=errors))
        return Running(running[-1], running[-1].stdout, errors)

    yield start
    for program in running:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def rows(text: str) -> dict[str, str]:
    return dict(line.strip().split("|", 1) for line in text.splitlines() if "|" in line)


def python_processes() -> Sequence[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if first_word(path).startswith("python")]


def first_word(process: Path) -> str:
    try:
        return Path((process / "cmdline").read_bytes().split(b"\0")[0].decode()).name
    except OSError:
        return ""


def environment(pid: int) -> set[str]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0"))
    except OSError:
        return set()
