"""How a signal reaches work in progress."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Iterator
from typing import Final

from rotator.errors import Interrupted

SLICE: Final = 1.0
"""Seconds that are waited for at a time. A signal that comes just before the main thread begins to wait, as one right
after another may, wakes nobody: Python runs its handler when the wait ends."""


class Flag:
    """Set once and for all, also by a signal handler.

    The lock of a `threading.Event` is not reentrant: a handler that sets the event while the main thread is about to
    wait for it, or has just woken, waits for a lock that its own thread holds, for ever.
    """

    def __init__(self) -> None:
        self._set = False
        # A turnstile, locked until it is set; whoever comes through lets the next one through. No more than single
        # operations of the interpreter, between which a handler may run.
        self._turnstile = threading.Lock()
        self._turnstile.acquire()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        self._open()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits at most so many seconds; whether it is set."""
        for seconds in _slices(timeout):
            if self._set:
                break
            if self._turnstile.acquire(timeout=seconds):
                self._open()
        return self._set

    def _open(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is open
            self._turnstile.release()


class Stop:
    """Asked for once: finish the step at hand. Asked for twice: give up even a publish being retried."""

    def __init__(self) -> None:
        self.requested = Flag()
        self.hurry = Flag()
        self.signal_number = 0

    def request(self, signal_number: int) -> None:
        """Called from a signal handler; the first signal names the exit code."""
        if self.requested.is_set():
            self.hurry.set()
        else:
            self.signal_number = signal_number
            self.requested.set()

    def check(self) -> None:
        """Raises Interrupted if somebody asked us to stop."""
        if self.requested.is_set():
            raise Interrupted(self.signal_number)


def join(thread: threading.Thread, timeout: float | None = None) -> None:
    """Waits at most so many seconds for the end of a thread; handlers of signals run meanwhile."""
    for seconds in _slices(timeout):
        if not thread.is_alive():
            return
        thread.join(seconds)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """While the main thread reads what somebody types: nobody can read for a second at a time, so an alarm every
    second wakes it, and does nothing else."""
    former = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, SLICE, SLICE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def _slices(timeout: float | None) -> Iterator[float]:
    """How long to wait each time, until it is so many seconds together; without end for None."""
    left = math.inf if timeout is None else timeout
    while left > 0:
        yield min(left, SLICE)
        left -= SLICE


def leave_signals_to_main() -> None:
    """Called first in a thread that works, and true for every thread it starts.

    Python runs a handler in the main thread only, and a main thread that waits for others does not
    notice a signal that the kernel gave to one of them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
