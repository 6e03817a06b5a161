"""HTTP/1.1 over the service: one handler per connection, and what faults do to an answer on the wire."""

from __future__ import annotations

import logging
import sys
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from rotator.clock import Clock
from rotator.simulator.admin import PREFIX as ADMIN
from rotator.simulator.admin import Admin
from rotator.simulator.answers import Answer, message
from rotator.simulator.context import Request
from rotator.simulator.faults import NO_FAULT, Faults, Plan
from rotator.simulator.listener import Listener
from rotator.simulator.service import Service

log = logging.getLogger(__name__)

API: Final = "/v1"
MAX_BODY: Final = 32 * 1024 * 1024
"""Above the 25 MB that a message may have."""
PADDING_CHUNK: Final = 64 * 1024


class Server(Listener):
    """Sockets end with the server."""

    def __init__(
        self, address: tuple[str, int], *, service: Service, faults: Faults, admin: Admin, clock: Clock
    ) -> None:
        self.service, self.faults, self.admin, self.clock = service, faults, admin, clock
        self.stopping = Event()
        super().__init__(address, Handler)
        self.base = f"http://{address[0]}:{self.server_port}"

    def close_connections(self, patience: float) -> None:
        self.stopping.set()
        super().close_connections(patience)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """A client that went away is no event; anything else is a bug of ours. Called while handling it."""
        problem = sys.exception()
        if not isinstance(problem, ConnectionError):
            log.error("simulator: a request ended in an error", exc_info=problem)


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive between requests."""

    protocol_version = "HTTP/1.1"
    server_version = "lettermint-simulator"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        body = self._read_body()
        if body is None:
            self.close_connection = True
            self._write(message(413, "The request body is too large, or has no length."), NO_FAULT)
            return
        request = Request(
            method=self.command,
            path=target.path.removeprefix(API),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            ip=self.client_address[0],
            base=self.server.base + API,
        )
        if target.path.startswith(ADMIN):
            self._write(self.server.admin.answer(self.command, target.path, request), NO_FAULT)
        else:
            self._call(request)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815 - names that http.server looks for

    def _call(self, request: Request) -> None:
        arrival = self.server.service.arrive(request)
        plan = self.server.faults.take(arrival.found.name, arrival.project)
        self._wait(plan.latency)
        answer = self.server.service.run(arrival, plan)
        self._wait(plan.answer_latency)
        if answer is None:
            self._wait(plan.hang)
            self.close_connection = True
        else:
            self._write(answer, plan)

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.server.clock.wait(seconds, self.server.stopping)

    def _read_body(self) -> bytes | None:
        """The whole body; None when it is too large or does not say how long it is."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > MAX_BODY:
            return None
        return self.rfile.read(int(length))

    def _write(self, answer: Answer, plan: Plan) -> None:
        body = answer.encoded()
        self.send_response(answer.status, _reason(answer.status))
        self.send_header("Content-Type", plan.content_type or answer.content_type)
        self.send_header("Content-Length", str(len(body) + plan.padding))
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if plan.truncate:
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
        for sent in range(0, plan.padding, PADDING_CHUNK):
            self.wfile.write(b" " * min(PADDING_CHUNK, plan.padding - sent))
        self.wfile.flush()

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - the base class's signature
        """`Date` is of the same clock as every other time."""
        return format_datetime(self.server.clock.now(), usegmt=True)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing: the truth log knows."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Says nothing: paths and headers of broken requests belong in no log."""


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Fault"
