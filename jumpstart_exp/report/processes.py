"""Jobs shared over processes that are forked from this one: nothing is read or computed twice."""

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Generic, Self, TypeVar

from jumpstart_exp.limits import available_memory_bytes, cpu_count

_T = TypeVar("_T")
_MEMORY = 750_000_000
"""Bytes that a process may take for itself: the page of 20,000 cells does."""


class ProcessError(RuntimeError):
    """A process ended before its job was done."""


@dataclass(frozen=True)
class Done(Generic[_T]):
    """What a job gave, with the warnings that it raised."""

    place: int
    value: _T
    warned: Sequence[Warning]


def processes_for(jobs: int) -> int:
    """How many processes so many jobs get: no more than CPUs and memory; 1 for this one, as where there is no fork."""
    if sys.platform != "linux":  # elsewhere the systems' libraries do not bear a fork
        return 1
    return max(1, min(jobs, cpu_count(), available_memory_bytes() // _MEMORY))


class Processes(Generic[_T]):
    """Calls of a function, several at once: a context that ends the processes with it, whatever they are at.

    They are forked when this is made, so before any thread that a bar of progress may need.

    Args:
        work: what is called with a place.
        places: what it is called with, in this order.
        processes: how many call it at once; 1 is this one.
    """

    def __init__(self, work: Callable[[int], _T], places: Sequence[int], processes: int) -> None:
        self._work, self._waiting = work, [*reversed(places)]
        self._workers: dict[Connection, ForkProcess] = {}
        if processes < 2:
            return
        context = multiprocessing.get_context("fork")
        gc.collect()
        gc.freeze()  # so that the children's collector leaves alone what they share
        try:
            for _ in range(min(processes, len(places))):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_serve, args=(work, theirs, [*self._workers, ours]), daemon=True)
                worker.start()
                theirs.close()
                self._workers[ours] = worker
        except BaseException:
            self.end()
            raise
        finally:
            gc.unfreeze()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def done(self) -> Iterator[Done[_T]]:
        """What is done, as soon as it is.

        Raises:
            ProcessError: a process was killed.
            Exception: as the function raises it.
        """
        if not self._workers:
            while self._waiting:
                yield _done(self._work, self._waiting.pop())
            return
        at_work = {*self._workers}
        for ours in self._workers:
            ours.send(self._waiting.pop())
        while at_work:
            for ready in wait([*at_work]):
                assert isinstance(ready, Connection)
                try:
                    found = ready.recv()
                except (EOFError, OSError):
                    worker = self._workers[ready]
                    worker.join()
                    raise ProcessError(_end_told(worker.exitcode)) from None
                if isinstance(found, BaseException):
                    raise found
                if self._waiting:
                    ready.send(self._waiting.pop())
                else:
                    at_work.discard(ready)
                yield found

    def end(self) -> None:
        """End the processes."""
        for ours, worker in self._workers.items():
            ours.close()
            worker.kill()  # files are renamed when they are whole
            worker.join()
        self._workers = {}


def _serve(work: Callable[[int], _T], ours: Connection, others: Sequence[Connection]) -> None:
    """Do jobs until there is none, or nobody who asks: in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent who decides
    for other in others:  # else this process would hold them open after its parent's end
        other.close()
    if "torch" in sys.modules:  # whose threads a fork does not take along
        sys.modules["torch"].set_num_threads(1)
    while True:
        try:
            place = ours.recv()
        except EOFError:
            os._exit(0)
        try:
            found: object = _done(work, place)
        except Exception as error:
            found = _portable(error)
        try:
            ours.send(found)
        except BrokenPipeError:
            os._exit(0)


def _done(work: Callable[[int], _T], place: int) -> Done[_T]:
    with warnings.catch_warnings(record=True) as caught:
        value = work(place)
    return Done(place, value, [each.message for each in caught if isinstance(each.message, Warning)])


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note, or that alone where it cannot be sent."""
    told = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return ProcessError(told)
    error.add_note(told)
    return error


def _end_told(code: int | None) -> str:
    if code is not None and code < 0:
        return f"a process that drew was killed by {signal.Signals(-code).name}: is there too little memory?"
    return f"a process that drew ended with exit code {code}"
