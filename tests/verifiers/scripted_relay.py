"""An SMTP relay on a raw socket that does at each stage what its script says, well-formed or not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

PATIENCE = 5.0
DEFAULTS = {
    "greeting": b"220 relay.example.com ready\r\n",
    "hello": b"250-relay.example.com\r\n250-SIZE 1000\r\n250 STARTTLS\r\n",
    "starttls": b"220 go ahead\r\n",
    "secure": b"250-relay.example.com\r\n250 AUTH LOGIN PLAIN\r\n",
    "auth": b"235 2.7.0 welcome\r\n",
    "quit": b"221 bye\r\n",
}
"""What a good relay says, by stage. `hello` is before TLS, `secure` the same within."""


class Gone(Exception):
    """The script says to be gone."""


@dataclass
class Line:
    """One connection."""

    socket: socket.socket
    heard: bytes = b""
    """The line that is being answered."""

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def listen(self) -> bytes:
        """One line; empty when the client is gone."""
        data = b""
        while not data.endswith(b"\n"):
            more = self.socket.recv(1)
            if not more:
                return b""
            data += more
        return data


Say = bytes | Callable[[Line], None]


def close(_line: Line) -> None:
    """The connection ends in place of an answer."""
    raise Gone


def reset(line: Line) -> None:
    """The connection is reset in place of an answer."""
    line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Gone


def silence(line: Line) -> None:
    """Nothing comes until the client goes away."""
    while line.socket.recv(100):
        pass
    raise Gone


def drip(piece: bytes, pause: float = 0.02) -> Callable[[Line], None]:
    """`piece` again and again, for as long as the client listens."""

    def say(line: Line) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            line.say(piece)
            time.sleep(pause)
        raise Gone

    return say


def echo(code: int) -> Callable[[Line], None]:
    """Refuses, and repeats the whole command."""
    return lambda line: line.say(b"%d refused: %s\r\n" % (code, line.heard.strip()))


class ScriptedRelay:
    """Listens from the start. `heard` has every line, each with whether it came under TLS."""

    def __init__(
        self, context: ssl.SSLContext, *, implicit: bool, host: str = "127.0.0.1", **script: Say
    ) -> None:
        assert set(script) <= set(DEFAULTS), script
        self.heard: list[tuple[bool, bytes]] = []
        self.connections = 0
        self._context = context
        self._implicit = implicit
        self._script: dict[str, Say] = {**DEFAULTS, **script}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        port = self._listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'smtps' if implicit else 'smtp'}://{shown}:{port}"
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def commands(self) -> list[str]:
        return [line.decode("latin-1").split()[0] for _, line in self.heard]

    @property
    def auths(self) -> list[tuple[bool, bytes]]:
        return [(secure, line) for secure, line in self.heard if line.upper().startswith(b"AUTH")]

    def close(self) -> None:
        """No connection is accepted any more; closing twice is harmless."""
        if self._listener.fileno() < 0:
            return
        # Waking the accept needs more than closing the descriptor.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        line = Line(connection)
        try:
            with contextlib.suppress(OSError, Gone):
                self._talk(line)
        finally:
            line.socket.close()

    def _talk(self, line: Line) -> None:
        secure = self._implicit
        if secure:
            line.socket = self._context.wrap_socket(line.socket, server_side=True)
        self._say("greeting", line)
        while heard := line.listen():
            line.heard = heard
            self.heard.append((secure, heard))
            command = heard.split()[0].upper()
            if command == b"EHLO":
                self._say("secure" if secure else "hello", line)
            elif command == b"STARTTLS":
                self._say("starttls", line)
                line.socket = self._context.wrap_socket(line.socket, server_side=True)
                secure = True
            elif command in (b"AUTH", b"QUIT"):
                self._say(command.decode().lower(), line)
                if command == b"QUIT":
                    return
            else:
                line.say(b"500 what?\r\n")

    def _say(self, stage: str, line: Line) -> None:
        said = self._script[stage]
        if isinstance(said, bytes):
            line.say(said)
        else:
            said(line)
