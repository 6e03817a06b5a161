"""A server on a raw socket that answers each connection as its script says, well-formed or not."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TEAM_TOKEN = "lm_team_" + "T" * 20 + "x" * 20
OTHER_TEAM_TOKEN = "lm_team_" + "U" * 40
TOKEN = "lm_" + "P" * 16 + "q" * 16
NEW_TOKEN = "lm_" + "N" * 16 + "w" * 16

PROJECT_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
PROJECT = {
    "id": PROJECT_ID,
    "name": "Production",
    "delivery_mode": "live",
    "smtp_enabled": True,
    "default_route_id": None,
    "token_generated_at": "2026-11-01T08:00:00Z",
    "token_last_used_at": None,
    "token_last_used_ip": None,
}
ROTATED = {"data": PROJECT, "new_token": NEW_TOKEN, "message": "API token rotated successfully."}


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Reply = Callable[[socket.socket], None]


def answer(status: int, content: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """A well-formed answer; `content` is bytes as they are, or anything as JSON."""
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def raw(data: bytes) -> Reply:
    """These bytes, then the connection ends."""
    return lambda connection: connection.sendall(data)


def reset(connection: socket.socket) -> None:
    """The connection is reset after the request was read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang(connection: socket.socket) -> None:
    """Nothing comes until the client goes away."""
    connection.settimeout(5)
    connection.recv(1)


def drip(start: bytes, piece: bytes, pause: float = 0.05) -> Reply:
    """`start` at once, then `piece` again and again for as long as the client listens."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(start)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            connection.sendall(piece)
            time.sleep(pause)

    return reply


class Peer:
    """Answers the first connection with the first reply, and so on; the last reply serves all others."""

    def __init__(self, *replies: Reply, read: bool = True) -> None:
        self.replies = list(replies)
        self.seen: list[Seen] = []
        self.raw_bytes = b""
        self._read = read
        self._connections = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

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
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(5)
                if self._read and not self._take_request(connection):
                    return
                with self._lock:
                    reply = self.replies[min(self._connections, len(self.replies) - 1)]
                    self._connections += 1
                reply(connection)
            except OSError:
                return

    def _take_request(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            self.raw_bytes += more
            if not more:
                return False
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65536)
        method, path, _ = first.split(" ")
        with self._lock:
            self.seen.append(Seen(method, path, headers, body))
        return True
