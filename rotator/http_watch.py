"""Bounds one HTTP call in total, and knows whether its request was sent.

Two questions that httpx does not answer, answered through its public `trace` extension.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from rotator.clock import Clock
from rotator.interrupt import leave_signals_to_main


class NothingMayLeave(Exception):
    """The call's time was over before anything was sent, or it leads where it must not."""


class Watch:
    """Follows one call through httpx's `trace` extension: was the request sent, is its time over.

    Invariant: while the time is not over, `sent` is set before the first byte of the request leaves;
    once it is over, nothing leaves any more.
    """

    def __init__(
        self, seconds: float, clock: Clock, may_reach: Callable[[str, str], bool] | None = None
    ) -> None:
        """`may_reach` is asked with the address that was connected to and the host that was asked for. It is the
        connection that is looked at: a name may lead elsewhere when it is looked up again."""
        self.sent = False
        self.late = False
        self.forbidden = False
        """The host's name led to an address that the caller does not want to reach."""
        self._may_reach = may_reach
        self._host = ""
        self._clock = clock
        self._ends = clock.boot() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._seconds = seconds
        self.over = False
        """The call has ended, in time or not."""

    def __enter__(self) -> Self:
        _timekeeper.watch(self, self._seconds)
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore before and after each thing it does (public extension `trace`)."""
        if event.endswith(".connect_tcp.started"):
            self._host = str(info["host"])
        elif event.endswith(".connect_tcp.complete"):
            self._hold(info["return_value"].get_extra_info("socket"))
        elif event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            # The boot clock notices what a timer does not: a process or a machine that was suspended.
            with self._lock:
                self.late = self.late or self._clock.boot() >= self._ends
                if self.late or self.forbidden:
                    raise NothingMayLeave
                self.sent = True

    def _hold(self, connected: socket.socket) -> None:
        """Keeps a duplicate, because TLS takes the descriptor away from the object we are given."""
        with self._lock:
            self._socket = connected.dup()
            self.forbidden = not self._is_allowed(connected)
            if self.late or self.forbidden:
                self._shut_down()

    def _is_allowed(self, connected: socket.socket) -> bool:
        if self._may_reach is None:
            return True
        try:
            return self._may_reach(connected.getpeername()[0], self._host)
        except OSError:
            return False  # it has been closed already

    def expire(self) -> None:
        """Its time is over."""
        with self._lock:
            self.late = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the other side may have closed it already
                self._socket.shutdown(socket.SHUT_RDWR)


class _Timekeeper:
    """One thread for the time-outs of all calls. It is there while there are calls, and sleeps until the first of
    them would be late: by then most have ended, and it has nothing to do.

    Sockets wait in real time, whatever clock the rest of the program is given.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Watch]] = []
        """A heap, by the monotonic time at which a watch expires. What has ended stays until then at most."""
        self._thread: threading.Thread | None = None

    def watch(self, one: Watch, seconds: float) -> None:
        """Expires it in so many seconds, unless it is over by then."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), one))
            # In a process that was forked from ours the thread is known and does not run.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._keep, name="http-timekeeper", daemon=True)
                self._thread.start()
            elif self._due[0][2] is one:
                self._changed.notify()

    def _keep(self) -> None:
        leave_signals_to_main()
        while (late := self._next()) is not None:
            late.expire()

    def _next(self) -> Watch | None:
        """Waits for the next one that is late; None when there is none to wait for, and then the thread ends."""
        with self._changed:
            while True:
                while self._due and self._due[0][2].over:
                    heapq.heappop(self._due)
                if not self._due:
                    self._thread = None
                    return None
                left = self._due[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(left)


_timekeeper = _Timekeeper()
