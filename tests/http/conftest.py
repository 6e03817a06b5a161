"""A real server on a real port, with a small board behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from rotator.errors import InvalidInput
from rotator.http.app import make_app
from rotator.http.metrics import Metrics
from rotator.http.server import HttpServer
from rotator.model import Rotation, State
from rotator.secret import Secret
from rotator.settings_values import Listen
from rotator.views import PolicyStatus
from tests.journal.builders import T0, rotation

TOKEN = "http-api-" + "token-7f3a9c51d2e84b60"


def policy(name: str = "billing-production", **changes: Any) -> PolicyStatus:
    """A policy with nothing wrong."""
    plain = PolicyStatus(
        name=name,
        project="0f8fad5b-d9cb-469f-a165-70867728950e",
        active_project=None,
        strategy="in-place",
        state="ok",
        token_generated_at=T0 - timedelta(days=3),
        age_seconds=259200.0,
        next_due_at=T0 + timedelta(days=27),
        overdue=False,
        reason="every 30d after the token was made",
        last_outcome="completed",
        last_outage=None,
        rotation=None,
        attention=(),
    )
    return replace(plain, **changes)


def ended(rotation_id: str = "r-1", **changes: Any) -> Rotation:
    """A rotation that completed nine seconds after it began."""
    done = {"state": State.COMPLETED, "step": "", "finished_at": T0 + timedelta(seconds=9)}
    return rotation(rotation_id, **{**done, **changes})


class SmallBoard:
    """A daemon that has all it knows in lists."""

    def __init__(self) -> None:
        self.reasons: tuple[str, ...] = ()
        self.policies = [policy()]
        self.past: list[Rotation] = []
        self.requests: list[tuple[str, str, str]] = []
        self.asked: list[tuple[str | None, int]] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def _enter(self) -> None:
        self.entered.set()
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error

    def ready(self) -> tuple[str, ...]:
        return self.reasons

    def statuses(self) -> list[PolicyStatus]:
        self._enter()
        return list(self.policies)

    def status(self, policy: str) -> PolicyStatus | None:
        return next((one for one in self.statuses() if one.name == policy), None)

    def rotations(self, policy: str | None, limit: int, *, rehearsals: bool = True) -> list[Rotation]:
        self._enter()
        self.asked.append((policy, limit))
        names = (policy, f"{policy}/rehearsal") if rehearsals else (policy,)
        return [one for one in self.past if policy is None or one.policy in names][:limit]

    def request(self, policy: str, reason: str, caller: str) -> str:
        self._enter()
        if policy not in {one.name for one in self.policies}:
            raise InvalidInput(f"There is no policy {policy}", then="Nothing was done")
        self.requests.append((policy, reason, caller))
        return f"r-{len(self.requests)}"


@pytest.fixture
def board():
    made = SmallBoard()
    yield made
    made.gate.set()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def serve(board, metrics, clock) -> Callable[..., HttpServer]:
    """Starts a server over the board; ended with the test."""
    running: list[HttpServer] = []

    def start(token: Secret | None = None, *, open_to_network: bool = False) -> HttpServer:
        read = (lambda: token) if token is not None else None
        app = make_app(board, metrics, read, open_to_network=open_to_network, clock=clock)
        server = HttpServer(app, Listen("127.0.0.1", 0))
        server.start()
        running.append(server)
        return server

    yield start
    board.gate.set()
    for server in running:
        server.stop(2)


@pytest.fixture
def client(serve) -> httpx.Client:
    """Of a server on loopback with a token."""
    with client_of(serve(Secret(TOKEN))) as made:
        yield made


@pytest.fixture
def outside(serve) -> httpx.Client:
    """Of a server that other machines can reach."""
    with client_of(serve(Secret(TOKEN), open_to_network=True)) as made:
        yield made


def client_of(server: HttpServer) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{server.address.port}", timeout=20, trust_env=False)


BEARER = {"Authorization": f"Bearer {TOKEN}"}
ROTATE = "/api/v1/policies/billing-production/rotate"


def raw(port: int, *pieces: bytes, timeout: float = 10) -> bytes:
    """Sends the pieces and reads until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        for piece in pieces:
            connection.sendall(piece)
        found = b""
        try:
            while got := connection.recv(65536):
                found += got
        except ConnectionResetError:
            pass
        return found
