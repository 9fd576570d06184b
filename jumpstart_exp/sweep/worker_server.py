"""Worker processes are forked from one that has imported what they need, so that each starts in hundredths of a second.

This server is an interpreter that is begun anew: it has nothing of its parent (threads, CUDA, a main module), and does
nothing but import and fork. So it has one thread, and what is forked from it may use OpenMP and CUDA. It ends with
its parent, and its workers end with it.
"""

import atexit
import contextlib
import errno
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import connection, popen_forkserver, process, spawn, util
from multiprocessing.forkserver import read_signed, write_signed
from typing import NoReturn

from jumpstart_exp.sweep.stopping import REQUESTS

ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in ("OMP", "MKL", "OPENBLAS")}
ONE_THREAD["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # of pyarrow, which pandas imports
"""With these no library begins a thread when it is imported: what is forked has none of them."""

Work = Callable[[connection.Connection, connection.Connection, int], int]
"""A worker's life, from the pipes that it has to its exit code; what ends with the server is the last."""

NO_EXIT_CODE = 255
"""Of a worker whose server has ended before it."""

_OWN = "jumpstart_exp."
"""What of an engine's modules the server imports at once: the large ones of others only where they are needed."""

_FORK = b"fork"
_IMPORTED = b"!"
_LONGEST_REQUEST = 1 << 16


class ServerEndedError(Exception):
    """The server has ended by itself; `code` is its exit code, negative for a signal's number."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the server of worker processes has ended with code {code}")
        self.code = code


class WorkerServer:
    """This process's end of the server."""

    def __init__(self) -> None:
        # something can be read of it when the server may be ready, and when it has ended
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.modules: set[str] = set()
        self.awaited = 1  # answers: that it has imported what every worker needs, and what it was asked to
        with theirs, requests_held():
            self.process = begin(theirs)

    def load(self, modules: Iterable[str]) -> None:
        """Have it import modules, those that can be: a worker that needs another one has the error.

        Raises:
            ServerEndedError: the server is not there any more.
        """
        if new := {*modules} - self.modules:
            self._ask(json.dumps(sorted(new)).encode(), [])
            self.modules |= new
            self.awaited += 1

    def is_ready(self) -> bool:
        """Whether it has imported everything, so that a worker starts at once.

        Raises:
            ServerEndedError: the server is not there any more.
        """
        while self.awaited and connection.wait([self.requests], 0):
            try:
                answer = self.requests.recv(1)
            except ConnectionResetError:
                answer = b""
            if not answer:
                raise self._ended()
            self.awaited -= 1
        return not self.awaited

    def fork(self, descriptors: Iterable[int]) -> tuple[int, int]:
        """Fork a worker that has the descriptors.

        Returns:
            its process id, and a pipe from which its exit code can be read when it has ended.

        Raises:
            ServerEndedError: the server is not there any more.
            OSError: there may be no more processes.
        """
        status, theirs = os.pipe()
        try:
            self._ask(_FORK, [*descriptors, theirs])
        except ServerEndedError:
            os.close(status)
            raise
        finally:
            os.close(theirs)
        try:
            pid = read_signed(status)
        except EOFError:
            os.close(status)
            raise self._ended() from None
        if pid < 0:
            os.close(status)
            raise OSError(-pid, os.strerror(-pid))
        return pid, status

    def _ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        try:
            socket.send_fds(self.requests, [request], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            raise self._ended() from None

    def has_ended(self) -> bool:
        """Whether it is not there any more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)  # what it had open is closed some time before
        return self.process.poll() is not None

    def _ended(self) -> ServerEndedError:
        """The error, once: whoever needs a server after that begins another one."""
        with _lock:
            if _servers.get(os.getpid()) is self:
                del _servers[os.getpid()]
        self.stop()
        return ServerEndedError(self.process.wait())

    def stop(self) -> None:
        """End it at once, and all of its workers."""
        self.requests.close()
        self.process.kill()
        self.process.wait()


class WorkerProcess(process.BaseProcess):
    """A worker that the server forks: to be started, waited for and killed as any process of multiprocessing."""

    def __init__(self, server: WorkerServer, descriptors: Iterable[int]) -> None:
        super().__init__(name="worker", daemon=True)
        self.server, self.descriptors = server, descriptors

    @staticmethod
    def _Popen(worker: "WorkerProcess") -> "_Forked":  # noqa: N802
        return _Forked(worker)


class _Forked(popen_forkserver.Popen):
    """As of multiprocessing's own fork server, whose exit codes come through a pipe too."""

    def _launch(self, worker: WorkerProcess) -> None:
        self.pid, self.sentinel = worker.server.fork(worker.descriptors)
        self.finalizer = util.Finalize(self, os.close, (self.sentinel,))


_lock = threading.Lock()
_servers: dict[int, WorkerServer] = {}
"""This process's server, by its process id: one that it has from a fork of its parent's is not its own."""


def worker_server() -> WorkerServer:
    """The server of this process, begun where there is none; it may not be ready yet.

    Raises:
        ServerEndedError: it has ended since it was asked for last.
    """
    with _lock:
        server = _servers.get(os.getpid())
        if server is None:
            server = _servers[os.getpid()] = WorkerServer()
    if server.process.poll() is not None:
        raise server._ended()
    return server


@atexit.register
def _stop() -> None:
    if (server := _servers.pop(os.getpid(), None)) is not None:
        server.stop()


def begin(requests: socket.socket) -> "subprocess.Popen[bytes]":
    """The server's process, which is to serve the socket."""
    path = [str(folder) for folder in sys.path]
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    code = f"import sys; sys.path[:] = {path!r}; from {__name__} import serve; serve({requests.fileno()})"
    return subprocess.Popen(
        [spawn.get_executable(), *flags, "-c", code],
        env={**os.environ, **ONE_THREAD},
        pass_fds=[requests.fileno()],
        stdin=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def requests_held() -> Iterator[None]:
    """A process that starts in the block is not reached by requests to end: they wait until it lets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(descriptor: int) -> NoReturn:
    """The server's life: fork what is asked for and tell what became of it, until the parent ends.

    Requests to end, which reach the whole group, are blocked in it from its beginning.
    """
    from jumpstart_exp.engines import ENGINES
    from jumpstart_exp.sweep import workers

    of_engines = {module for engine in ENGINES.values() for module in engine.imports if module.startswith(_OWN)}
    for module in ("torch", "scipy.special", "jumpstart_exp.data.loading", *sorted(of_engines)):
        importlib.import_module(module)
    ended, has_ended = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    signal.set_wakeup_fd(has_ended)
    lives, alive = os.pipe()  # the end of `alive`, which the server alone has, tells its workers of its own
    statuses: dict[int, int] = {}
    requests = socket.socket(fileno=descriptor)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent has ended
        requests.send(_IMPORTED)
        while True:
            readable, _, _ = select.select([descriptor, ended], [], [])
            if ended in readable:
                _tell_of_the_ended(ended, statuses)
            if descriptor not in readable:
                continue
            request, received, _, _ = socket.recv_fds(requests, _LONGEST_REQUEST, 3)
            if not request:
                break
            if request != _FORK:
                for module in json.loads(request):
                    with contextlib.suppress(Exception):
                        importlib.import_module(module)
                requests.send(_IMPORTED)
                continue
            pipe, control_pipe, status = received
            try:
                child = os.fork()
            except OSError as error:
                child = -(error.errno or errno.EAGAIN)
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for own in (ended, has_ended, alive, status, descriptor, *statuses.values()):
                    os.close(own)
                requests.detach()
                _live(workers.work, pipe, control_pipe, lives)
            write_signed(status, child)
            os.close(pipe)
            os.close(control_pipe)
            if child > 0:
                statuses[child] = status
            else:
                os.close(status)
    os._exit(0)


def _tell_of_the_ended(ended: int, statuses: dict[int, int]) -> None:
    """Give the exit codes of workers that have ended to whoever waits for them."""
    with contextlib.suppress(BlockingIOError):
        os.read(ended, 1 << 16)
    while statuses:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        with contextlib.suppress(BrokenPipeError):
            write_signed(statuses[child], os.waitstatus_to_exitcode(status))
        os.close(statuses.pop(child))


def _live(work: Work, pipe: int, control_pipe: int, server: int) -> NoReturn:
    """A worker from its fork to its end."""
    code = 1
    try:
        code = work(connection.Connection(pipe), connection.Connection(control_pipe), server)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
