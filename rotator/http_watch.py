"""Bounds one HTTP call in total, and knows whether its request was sent.

Two questions that httpx does not answer, answered through its public `trace` extension.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from rotator.clock import Clock


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
        # Sockets wait in real time, whatever clock the rest of the program is given.
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
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

    def _expire(self) -> None:
        with self._lock:
            self.late = True
            self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the other side may have closed it already
                self._socket.shutdown(socket.SHUT_RDWR)
