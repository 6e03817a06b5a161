"""How a signal reaches work in progress."""

from __future__ import annotations

import signal
import threading

from rotator.errors import Interrupted


class Stop:
    """Asked for once: finish the step at hand. Asked for twice: give up even a publish being retried."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.hurry = threading.Event()
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


def leave_signals_to_main() -> None:
    """Called first in a thread that works, and true for every thread it starts.

    Python runs a handler in the main thread only, and a main thread that waits for others does not
    notice a signal that the kernel gave to one of them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
