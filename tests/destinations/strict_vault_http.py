"""The strict Vault fake's HTTP, with or without TLS: requests in, answers out, no rules."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from rotator.simulator.listener import Listener
from tests.destinations.strict_vault_answers import Answer, parse


@dataclass
class Request:
    method: str
    path: str
    """What comes after /v1/."""
    query: dict[str, str]
    namespace: str
    token: str
    content_type: str
    raw: bytes

    def body(self) -> dict[str, Any]:
        return parse(self.raw)


class Server(Listener):
    """Gives each request to `answer`; None from it means that the connection is to be dropped."""

    def __init__(
        self,
        answer: Callable[[Request], Answer | None],
        port: int,
        certificate: Path | None,
        key: Path | None,
    ) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", port), _Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            # The handshake is left to the request's own thread; a client that stalls holds up nobody else.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up or trusts another CA is its own test's business; the rest is a bug."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Any:
        """One door for every method, LIST and unknown ones too."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        target = urlsplit(self.path)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        method = self.command
        if method == "GET" and query.pop("list", "").lower() in ("true", "1"):
            method = "LIST"
        bearer = self.headers.get("Authorization", "")
        request = Request(
            method,
            unquote(target.path).removeprefix("/v1/"),
            query,
            self.headers.get("X-Vault-Namespace", ""),
            self.headers.get("X-Vault-Token") or bearer.removeprefix("Bearer ").strip(),
            self.headers.get("Content-Type", ""),
            raw,
        )
        server: Any = self.server
        known = target.path.startswith("/v1/")
        answer = server.answer(request) if known else Answer(404, {"errors": []})
        if answer is None:
            self.close_connection = True
            return
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        text = b"" if answer.body is None else json.dumps(answer.body).encode() + b"\n"
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        if answer.status != 307:
            self.send_header("Content-Type", "application/json")  # even where there is no content
        if answer.status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Says nothing: a line per request would drown a test's output."""
