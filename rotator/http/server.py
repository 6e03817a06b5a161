"""Serves an application on one address, in a thread of its own, with limits that no client can lift."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any, Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from rotator.errors import InvalidInput
from rotator.http.answers import SECURITY_HEADERS
from rotator.http.guard import HEADER_BYTES
from rotator.settings_values import Listen

log = logging.getLogger(__name__)

CONNECTIONS: Final = 128
HEADER_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 30.0
KEEP_ALIVE_SECONDS: Final = 5
_START_SECONDS: Final = 10.0


class HttpServer:
    """One address, served from `start` to `stop`."""

    def __init__(self, app: ASGIApp, address: Listen) -> None:
        self._app = app
        self._address = address
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> Listen:
        """Where it listens; the real port once started."""
        return self._address

    def start(self) -> None:
        """Listens when it returns. Raises InvalidInput when the address cannot be had."""
        listener = _bound(self._address)
        self._address = Listen(self._address.host, listener.getsockname()[1])
        config = uvicorn.Config(
            self._app,
            loop="asyncio",
            http=_Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            # It believes X-Forwarded-For from loopback otherwise, and callers are counted by their address.
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            h11_max_incomplete_event_size=HEADER_BYTES,
            backlog=CONNECTIONS,
        )
        self._server = _Server(config)
        # Signals are the daemon's: off the main thread uvicorn leaves them alone.
        self._thread = threading.Thread(
            target=_serve, args=(self._server, listener), name="http", daemon=True
        )
        self._thread.start()
        if not self._server.listening.wait(_START_SECONDS) or not self._server.started:
            listener.close()
            raise InvalidInput(
                "The HTTP port did not start", then="Nothing was done", remedy="Look at the log"
            )

    def stop(self, seconds: float) -> None:
        """Takes no more requests, lets those that run end within `seconds`, then cuts them off."""
        if self._server is None or self._thread is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(1)
        self._server = self._thread = None


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


def _serve(server: _Server, listener: socket.socket) -> None:
    try:
        server.run([listener])
    except Exception:
        log.exception("the HTTP port ended in an error")
    finally:
        server.listening.set()
        listener.close()


def _bound(address: Listen) -> socket.socket:
    host, port = address.host, address.port
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if not host:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=CONNECTIONS)
        family, _, _, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(place[:2], family=family, backlog=CONNECTIONS)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no such name"
        raise InvalidInput(
            f"The HTTP port cannot listen on {shown}: {why}",
            then="Nothing was started",
            remedy="Set ROTATOR_LISTEN to a free address of this machine",
        ) from None


class _Connection(H11Protocol):
    """uvicorn's, with the limits that it lacks: on connections, on slow headers, on slow readers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Anybody could fill the log with its warnings of what is no HTTP.
        self.logger = logging.getLogger("rotator.http.connection")
        self.logger.setLevel(logging.ERROR)
        # Switching it off in the configuration is not enough where something else handles its records.
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._arm(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            # Set once, not with every byte: it counts from the first one.
            self._arm(HEADER_SECONDS)
        former = self.cycle
        super().data_received(data)
        if self.cycle is not former and not self.cycle.response_complete:
            self._arm(REQUEST_SECONDS)

    def on_response_complete(self) -> None:
        self._disarm()
        super().on_response_complete()
        if self.transport.is_closing() or not self.cycle.response_complete:
            # What is not read by the other side would keep a closing connection for ever.
            self._arm(REQUEST_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._arm(REQUEST_SECONDS)

    def send_400_response(self, msg: str) -> None:
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Connection", "close"),
            *SECURITY_HEADERS.items(),
        ]
        try:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=f"{msg}\n".encode()),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            pass  # an answer was under way already
        self.transport.close()
        self._arm(HEADER_SECONDS)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
