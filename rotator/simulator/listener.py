"""An HTTP server that is idle while nobody asks, and ends as soon as it is told to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from selectors import EVENT_READ, DefaultSelector
from socket import SHUT_RDWR, socket, socketpair
from threading import Condition, Event
from typing import Any


class Listener(ThreadingHTTPServer):
    """A thread per connection, which ends with the process. The library's own loop looks many times a second whether
    it is to end; this one is woken."""

    daemon_threads = True
    request_queue_size = 256
    # For `handle_request`, which is called once a client waits: one that has gone again is not waited for.
    timeout = 0

    def __init__(self, address: tuple[str, int], handler: Callable[..., Any]) -> None:
        """Raises OSError if the port is taken."""
        self._open: set[socket] = set()
        self._changed = Condition()
        self._told, self._teller = socketpair()
        self._ended = Event()
        super().__init__(address, handler)  # last: it closes what is there when the port is taken

    def serve_forever(self, poll_interval: float = 0) -> None:  # noqa: ARG002  # the base class's signature
        """Until `shutdown` is called by another thread, or was called before."""
        try:
            with DefaultSelector() as waiting:
                waiting.register(self, EVENT_READ)
                waiting.register(self._told, EVENT_READ)
                while all(key.fileobj is self for key, _ in waiting.select()):
                    self.handle_request()
        finally:
            self._ended.set()

    def shutdown(self) -> None:
        """Returns once nothing is accepted any more. Connections stay until `server_close`. Harmless when repeated."""
        if not self._ended.is_set():
            self._teller.send(b"\0")
        self._ended.wait()

    def server_close(self) -> None:
        """Frees the port, and ends every connection without waiting for its thread."""
        super().server_close()
        self.close_connections(0)
        self._told.close()
        self._teller.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def close_connections(self, patience: float) -> None:
        """Ends every connection; waits up to `patience` seconds for their threads to notice."""
        with self._changed:
            for one in self._open:
                with contextlib.suppress(OSError):  # it was closed already
                    one.shutdown(SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, patience)
