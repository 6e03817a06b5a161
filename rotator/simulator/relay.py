"""The SMTP relay on loopback: one port for STARTTLS and one for TLS from the start, over the rules of `mail`.

AUTH PLAIN and LOGIN are offered under TLS only. CRAM-MD5, which the vendor offers too, is left out: the
library behind this has none, and nothing here uses it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from asyncio import Server
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from aiosmtpd.smtp import MISSING, SMTP, AuthResult, Envelope, Session, TLSSetupException

from rotator.clock import Clock
from rotator.simulator.calls import SMTP_AUTH, SMTP_SEND
from rotator.simulator.certificates import Certificates
from rotator.simulator.faults import Plan
from rotator.simulator.mail import MAX_MESSAGE, Mail, Reply

log = logging.getLogger(__name__)

IDENT: Final = "lettermint-simulator"
_LOGIN_NEEDED: Final = "530 5.7.0 Authentication required"


class Relay:
    """Listens from `start` to `stop`, on the same ports each time. A port of 0 takes a free one."""

    def __init__(self, mail: Mail, clock: Clock, host: str, *, smtp_port: int, smtps_port: int) -> None:
        self.smtp_port, self.smtps_port = smtp_port, smtps_port
        self.ca_file = Path()
        # aiosmtpd's own: it logs messages line by line, and what is sent as a password where it is no base64.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        self._host = host
        self._handler = _Handler(mail, clock)
        self._certificates = Certificates()
        self._thread: threading.Thread | None = None
        self._end: Future[None] = Future()

    def write_ca(self, path: Path) -> None:
        """Writes the certificate that clients have to trust. Raises OSError."""
        path.write_bytes(self._certificates.ca_pem)
        self.ca_file = path

    def start(self) -> None:
        """Listens. Raises OSError if a port is taken, OverflowError if there is no such port."""
        self._handler.stopping.clear()
        self._end = Future()
        listening: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name="lettermint-relay", daemon=True
        )
        self._thread.start()
        try:
            listening.result()
        except (OSError, OverflowError):
            self._thread.join()
            self._thread = None
            raise

    def stop(self) -> None:
        """Ends all connections, those that wait in a fault too. Harmless when it is not running."""
        if self._thread is None:
            return
        self._handler.stopping.set()
        self._end.set_result(None)
        self._thread.join()
        self._thread = None

    async def _serve(self, listening: Future[None]) -> None:
        servers: list[Server] = []
        try:
            self.smtp_port = await self._listen(servers, self.smtp_port, tls_from_start=False)
            self.smtps_port = await self._listen(servers, self.smtps_port, tls_from_start=True)
        except (OSError, OverflowError) as problem:
            listening.set_exception(problem)
        else:
            listening.set_result(None)
            await asyncio.wrap_future(self._end)
        for server in servers:
            server.close()
        self._handler.hang_up()

    async def _listen(self, servers: list[Server], port: int, *, tls_from_start: bool) -> int:
        loop = asyncio.get_running_loop()
        context = self._certificates.server

        def session() -> SMTP:
            made = SMTP(
                self._handler,
                loop=loop,
                hostname="localhost",
                ident=IDENT,
                data_size_limit=MAX_MESSAGE,
                tls_context=None if tls_from_start else context,
                # The library sees its own STARTTLS only: behind TLS from the start it would offer nothing.
                auth_require_tls=not tls_from_start,
                authenticator=_presented,
            )
            self._handler.sessions.add(made)
            return made

        server = await loop.create_server(session, self._host, port, ssl=context if tls_from_start else None)
        servers.append(server)
        taken: int = server.sockets[0].getsockname()[1]
        return taken


def _presented(
    _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, presented: Any
) -> AuthResult:
    """Lets the library read the credentials; `_Handler` judges them, because it may have to wait."""
    return AuthResult(success=True, auth_data=presented)


class _Handler:
    """What aiosmtpd calls, by the names it looks for."""

    def __init__(self, mail: Mail, clock: Clock) -> None:
        self.sessions: weakref.WeakSet[SMTP] = weakref.WeakSet()
        self.stopping = threading.Event()
        self._mail = mail
        self._clock = clock

    def hang_up(self) -> None:
        """Ends every connection."""
        for session in tuple(self.sessions):
            _drop(session)

    async def auth_PLAIN(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802 - the library's
        return await self._judge(server, await server.auth_PLAIN("PLAIN", args))

    async def auth_LOGIN(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802 - the library's
        return await self._judge(server, await server.auth_LOGIN("LOGIN", args))

    async def _judge(self, server: SMTP, read: AuthResult) -> AuthResult:
        if not read.success or read.auth_data is None:  # the library has answered already
            return read
        user, password = (part.decode("utf-8", "replace") for part in read.auth_data)
        arrival, plan = self._mail.arrive(SMTP_AUTH, password, _ip(server))
        await self._wait(plan.latency)
        reply = await self._answer(server, plan, self._mail.log_in(arrival, plan, user))
        if reply.code >= 300:
            return AuthResult(success=False, handled=False, message=str(reply))
        return AuthResult(success=True, message=str(reply), auth_data=password)

    async def handle_MAIL(  # noqa: N802 - the library's
        self, _server: SMTP, session: Session, _envelope: Envelope, _address: str, _options: list[str]
    ) -> Any:
        return MISSING if session.authenticated else _LOGIN_NEEDED

    async def handle_VRFY(self, _server: SMTP, session: Session, _envelope: Envelope, _address: str) -> Any:  # noqa: N802 - the library's
        return MISSING if session.authenticated else _LOGIN_NEEDED

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - the library's
        arrival, plan = self._mail.arrive(SMTP_SEND, str(session.auth_data), _ip(server))
        await self._wait(plan.latency)
        content = envelope.original_content or b""
        reply = self._mail.deliver(arrival, plan, envelope.rcpt_tos, content)
        return str(await self._answer(server, plan, reply))

    async def handle_exception(self, problem: Exception) -> str:
        """A client that does not trust us is no event; anything else is a bug of ours. What was sent
        stays out of the log."""
        if not isinstance(problem, TLSSetupException):
            log.error("simulator: a mail command ended in an error (%s)", type(problem).__name__)
        return "451 4.3.0 Local error"

    async def _answer(self, server: SMTP, plan: Plan, reply: Reply | None) -> Reply:
        await self._wait(plan.answer_latency)
        if reply is not None:
            return reply
        await self._wait(plan.hang)
        _drop(server)
        # The session ends here: the library cancels it when its connection is gone.
        never: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        return await never

    async def _wait(self, seconds: float) -> None:
        """On the clock that everything else here goes by, which may wait without waiting."""
        if seconds > 0:
            await asyncio.to_thread(self._clock.wait, seconds, self.stopping)


def _ip(server: SMTP) -> str:
    """The client's address."""
    peer = server.session.peer if server.session is not None else None
    return str(peer[0]) if peer else ""


def _drop(server: SMTP) -> None:
    # The first releases of Python 3.11 fail when a TLS transport that has ended is aborted.
    if isinstance(server.transport, asyncio.Transport) and not server.transport.is_closing():
        server.transport.abort()
