"""Requests to end: noted while a sweep runs, handed over or put back when it does not."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from jumpstart_exp.sweep.stopping import TIME_LIMIT, EndedError, Stop, stoppable

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2]


def test_a_scheduler_tells_of_the_time_limit_by_the_signal_that_submitit_asks_for():
    environment = pytest.importorskip("submitit.core.job_environment")
    assert environment.JobEnvironment._usr_sig() == TIME_LIMIT == signal.SIGUSR2


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_ends_nothing(number):
    with stoppable() as stop:
        assert not stop and stop.signal is None
        os.kill(os.getpid(), number)
        assert stop and stop.signal == number and not stop.is_urgent
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_urgent and stop.signal == number


def test_a_scheduler_that_asks_again_is_not_impatient():
    # the time limit's signal, then SIGTERM as it is over, then SIGTERM of the step and of the job
    with stoppable() as stop:
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert stop.signal == signal.SIGUSR2 and not stop.is_urgent
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_urgent


def test_the_handlers_from_before_are_put_back_also_after_an_error():
    def own(*_: object) -> None:
        pass

    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        signal.signal(signal.SIGTERM, own)
        signal.signal(TIME_LIMIT, signal.SIG_IGN)
        with suppress(ZeroDivisionError), stoppable():
            assert signal.getsignal(signal.SIGTERM) != own
            _ = 1 / 0
        assert signal.getsignal(signal.SIGTERM) == own
        assert signal.getsignal(TIME_LIMIT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == before[signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_hang_up_that_is_ignored_stays_so():
    """As under `nohup`: the connection may break, and the sweep goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_change_no_handler():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    seen = []

    def inside() -> None:
        with stoppable() as stop:
            seen.append(bool(stop))
            seen.append({number: signal.getsignal(number) for number in SIGNALS} == before)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_a_signal_is_handed_over_to_the_handler_from_before_and_forgotten_if_that_goes_on():
    called = []
    stop = Stop()
    stop.before = {signal.SIGUSR2: lambda number, frame: called.append(number)}
    stop.request(signal.SIGUSR2)
    stop.hand_over()
    assert called == [signal.SIGUSR2]
    assert not stop and not stop.is_urgent
    stop.request(signal.SIGUSR2)
    assert stop and not stop.is_urgent  # counted anew


@pytest.mark.parametrize("error", [RuntimeError("timed-out too many times"), SystemExit(-1)])
def test_an_error_of_the_handler_from_before_is_no_failure_of_what_is_in_training(error):
    def give_up(*_: object) -> None:
        raise error

    stop = Stop()
    stop.before = {signal.SIGUSR2: give_up}
    stop.request(signal.SIGUSR2)
    with pytest.raises(EndedError) as caught:
        stop.hand_over()
    assert caught.value.error is error and not isinstance(caught.value, Exception)


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, None, signal.default_int_handler])
def test_without_a_handler_from_before_it_is_as_ctrl_c(handler):
    stop = Stop()
    stop.before = {signal.SIGINT: handler}
    stop.request(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        stop.hand_over()


def test_a_nested_block_takes_over_and_gives_back():
    with stoppable() as outer:
        with stoppable() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner and not outer
            inner.hand_over()  # the outer one's handler notes it
            assert outer and not inner
        os.kill(os.getpid(), signal.SIGINT)
        assert outer.is_urgent
