"""Requests to end: Ctrl-C, a scheduler's signals and SIGHUP are noted, so that what is finished can be stored first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TIME_LIMIT = signal.SIGUSR2
"""What a scheduler sends some time before a job's time is up, where it was asked to (as submitit does)."""

REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, TIME_LIMIT)
"""What asks a process to end: Ctrl-C, a scheduler, a terminal or a connection that is gone, and the time limit."""


class InterruptedSweepError(Exception):
    """A sweep was stopped by a signal; everything that was finished is stored."""

    def __init__(self, message: str, by: signal.Signals) -> None:
        super().__init__(message)
        self.by = by


class FirstFailureError(Exception):
    """A cell failed, which ended its sweep as fail_fast asks; everything that was finished is stored."""


class EndedError(BaseException):
    """A signal's handler has ended the training by an error of its own: no failure of the cell in training."""

    def __init__(self, error: Exception | SystemExit) -> None:
        self.error = error


TOLD_TO_END = (EndedError, FirstFailureError, InterruptedSweepError, KeyboardInterrupt)
"""What a training ends by when a signal, or fail_fast, has asked for it; any other exception is a crash."""


class Stop:
    """Which signal has asked to end, if any, and whether Ctrl-C came after it: `is_urgent`."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.is_urgent = False
        self.before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def keep_seconds(self) -> float:
        """Seconds that there are for checkpoints: schedulers kill half a minute after SIGTERM; of a limit they warn."""
        return 90.0 if self.signal == TIME_LIMIT else 20.0

    def request(self, number: int, _frame: FrameType | None = None) -> None:
        """A signal handler."""
        # a scheduler sends several signals to one end, and waits after each: only a person gets impatient
        self.is_urgent |= self.signal is not None and number == signal.SIGINT
        self.signal = self.signal or signal.Signals(number)

    def hand_over(self) -> None:
        """Let the handler from before have the signal; if that goes on, nothing was requested.

        Raises:
            KeyboardInterrupt: there was none, or it is Python's own for Ctrl-C.
            EndedError: it ended the training, as submitit's does for a job that may not be requeued.
        """
        number, self.signal, self.is_urgent = self.signal, None, False
        handler = self.before.get(number) if number is not None else None
        if not callable(handler):
            raise KeyboardInterrupt
        try:
            handler(number, None)
        except (Exception, SystemExit) as error:
            raise EndedError(error) from error


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Note what asks to end instead of ending by it; the handlers from before are put back at the end.

    A SIGHUP that is ignored (`nohup`) stays so. Signals belong to the main thread: elsewhere nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is threading.main_thread():
        ignores_hangup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        stop.before = {
            number: signal.signal(number, stop.request)
            for number in REQUESTS
            if not (number == signal.SIGHUP and ignores_hangup)
        }
    try:
        yield stop
    finally:
        for number, handler in stop.before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
