"""`python -m MODULE` without its first seconds: a process forked from one that has imported the large packages.

So is the server of its worker processes.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

LARGE = [
    "hydra.main",
    "jumpstart_exp.engines",
    "jumpstart_exp.launcher",
    "pyarrow.parquet",
    "sklearn.datasets",
    "sklearn.model_selection",
    "torch._dynamo",
]
TESTS = Path(__file__).parent
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(LARGE)


class Program:
    """A `python -m MODULE` in a folder, as `subprocess.Popen` has it, in a session of its own.

    Standard error goes where output does, unless a file is named for it. `first` is called in it before it begins.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        errors: Path | None = None,
        first: Callable[[], None] | None = None,
    ) -> None:
        self.args = [sys.executable, "-m", module, *arguments]
        number = len(list(folder.parent.glob(f"{folder.name}.*.output")))
        self.stdout = folder.with_name(f"{folder.name}.{number}.output")
        self.stdout.touch()
        values = (module, arguments, folder, dict(os.environ if environment is None else environment))
        self._process = FORKED.Process(target=_become, args=(*values, self.stdout, errors, first))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def output(self) -> str:
        """What it has said until now."""
        return self.stdout.read_text(errors="replace")

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0, self.output())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self.output(), None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def run_forked(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives, of a process in the folder."""
    errors = folder.with_name(f"{folder.name}.errors")
    program = Program(module, arguments, folder, environment, errors)
    try:
        code = program.wait(timeout)
    except subprocess.TimeoutExpired:
        program.kill()
        raise
    assert code is not None
    return subprocess.CompletedProcess(program.args, code, program.output(), errors.read_text())


def _become(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    output: Path,
    errors: Path | None,
    first: Callable[[], None] | None,
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if errors is not None:
        with errors.open("wb") as file:
            os.dup2(file.fileno(), 2)
    fork_server_of_workers()
    if first is not None:
        first()
    sys.argv = [module, *arguments]
    sys.path[:] = [str(folder), *(path for path in sys.path if not Path(path).is_relative_to(TESTS))]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def fork_server_of_workers() -> None:
    """Let the server of this process's workers be forked from it, too, instead of importing torch again."""
    from jumpstart_exp.sweep import worker_server

    worker_server.begin = _begin_forked  # type: ignore[assignment]


def _begin_forked(requests: socket.socket) -> "_ForkedServer":
    gc.freeze()  # nothing that is closed here is closed once more, when its number is another file's
    pid = os.fork()
    if pid:
        return _ForkedServer(pid)
    try:
        from jumpstart_exp.sweep.worker_server import serve

        descriptor = requests.fileno()
        os.closerange(3, descriptor)
        os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        serve(descriptor)
    finally:
        os._exit(1)


class _ForkedServer:
    """As `subprocess.Popen` has it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int | None:
        return self._wait(0)

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def _wait(self, options: int) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, options)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code


def store_at_once() -> None:
    """Let this process store a result when it comes, and not two seconds later."""
    from jumpstart_exp.sweep import runner

    runner.STORE_AFTER_SECONDS = 0.0


def stand_still_with_two_stored() -> None:
    """Let this process store results at once; when two are, and a cell is in training, it and its workers stop."""
    from jumpstart_exp.store import Store
    from jumpstart_exp.sweep.records import Heartbeat

    store_at_once()
    write, progress = Store.write, Heartbeat.progress
    stored = 0

    def counting(store: Any, results: Any) -> None:
        nonlocal stored
        write(store, results)
        stored += len(results)

    def standing_still(heart: Any, key: str, share: float) -> None:
        progress(heart, key, share)
        if stored >= 2:
            for pid in [*worker_processes(os.getpid()), os.getpid()]:
                os.kill(pid, signal.SIGSTOP)

    Store.write = counting  # type: ignore[method-assign]
    Heartbeat.progress = standing_still  # type: ignore[method-assign]


def ask_to_end(cells: int, request: int, *, group: bool) -> None:
    """Let this process, or its group, be asked to end as soon as it knows of so many cells that a part is trained."""
    from jumpstart_exp.sweep.records import Heartbeat

    progress, begun = Heartbeat.progress, set[str]()

    def asking(heart: Any, key: str, share: float) -> None:
        known = len(begun)
        progress(heart, key, share)
        if share > 0:
            begun.add(key)
        if known < len(begun) == cells:
            (os.killpg if group else os.kill)(os.getpid(), request)

    Heartbeat.progress = asking  # type: ignore[method-assign]


def worker_processes(sweep: int) -> list[int]:
    """The workers of a process: its children's children, for its server forks them."""
    return [worker for child in _children(sweep) for worker in _children(child)]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
