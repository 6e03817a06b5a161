"""Starting, stopping and addresses."""

from __future__ import annotations

import socket
import threading

import pytest

from rotator.errors import InvalidInput
from rotator.http.app import make_app
from rotator.http.metrics import Metrics
from rotator.http.server import HttpServer
from rotator.settings_values import Listen
from tests.http.conftest import SmallBoard, client_of


def server_at(host: str, port: int, board: SmallBoard | None = None) -> HttpServer:
    return HttpServer(
        make_app(board or SmallBoard(), Metrics(), None, open_to_network=False), Listen(host, port)
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "", "0.0.0.0"])
def test_it_listens_where_it_is_told(host):
    """Both families, names, and every address; the free port it took is told."""
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    server = server_at(host, 0)
    server.start()
    try:
        target = host if host not in ("", "0.0.0.0") else "127.0.0.1"
        with socket.create_connection((target, server.address.port), 5) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
    finally:
        server.stop(2)


def test_address_in_use_is_said():
    """With the setting to change; nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InvalidInput) as refused:
        server_at("127.0.0.1", taken.getsockname()[1]).start()
    assert "ROTATOR_LISTEN" in refused.value.remedy
    assert "in use" in str(refused.value)


@pytest.mark.parametrize("host", ["no-such-name.invalid", "192.0.2.1", "a" * 300])
def test_address_that_is_not_ours_is_said(host):
    """A name nobody knows, another machine's address, and no name at all."""
    with pytest.raises(InvalidInput):
        server_at(host, 0).start()


def test_it_stops_and_lets_go_of_the_port():
    """No thread and no port is left, an idle connection does not keep it, and stopping twice is harmless."""
    server = server_at("127.0.0.1", 0)
    server.start()
    with client_of(server) as client:
        assert client.get("/healthz").status_code == 200
        server.stop(5)
        server.stop(5)
    assert "http" not in {thread.name for thread in threading.enumerate()}
    again = server_at("127.0.0.1", server.address.port)
    again.start()
    again.stop(2)


def test_a_request_under_way_is_answered_before_it_stops():
    """What had begun ends; stopping does not wait longer than told."""
    board = SmallBoard()
    server = server_at("127.0.0.1", 0, board)
    server.start()
    board.gate.clear()
    found: list[int] = []

    def ask() -> None:
        with client_of(server) as client:
            found.append(client.get("/api/v1/status").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    assert board.entered.wait(10)
    threading.Timer(0.3, board.gate.set).start()
    server.stop(10)
    asking.join(10)
    assert found == [200]


@pytest.mark.parametrize(
    ("text", "host", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", True),
        ("[::1]:8080", "::1", True),
        ("localhost:8080", "localhost", True),
        (":8080", "", False),
        ("0.0.0.0:8080", "0.0.0.0", False),
        ("[::]:8080", "::", False),
    ],
)
def test_addresses_are_read(text, host, loopback):
    """What only this machine reaches is told apart; no host means every address."""
    found = Listen.parse(text)
    assert (found.host, found.port, found.loopback) == (host, 8080, loopback)
