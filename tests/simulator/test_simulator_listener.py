"""The server below the simulator and the strict fakes: it waits, and ends when it is told to."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from rotator.simulator.listener import Listener


def running(server: Listener) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return thread


def test_it_ends_when_it_was_told_to_before_it_began() -> None:
    """Whoever stops it need not know how far its thread has come."""
    server = Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    told = threading.Thread(target=server.shutdown)
    told.start()
    assert select.select([server._told], [], [], 10)[0]
    thread = running(server)
    thread.join(10)
    told.join(10)
    assert not thread.is_alive()
    assert not told.is_alive()
    server.server_close()


def test_it_may_be_told_to_end_again() -> None:
    """Also once it is closed."""
    server = Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    thread = running(server)
    server.shutdown()
    thread.join(10)
    server.server_close()
    server.shutdown()
    server.server_close()


def test_a_client_that_has_gone_again_is_not_waited_for() -> None:
    """`handle_request`, called without a client, returns: else nothing would be heard until the next one came."""
    server = Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_request()
    server.server_close()


@contextmanager
def kept_alive(server: Listener) -> Iterator[socket.socket]:
    """A connection of a server that has accepted it and accepts no more."""
    thread = running(server)
    with socket.create_connection(server.server_address[:2], timeout=10) as client:  # type: ignore[arg-type]
        while not server._open:
            assert thread.is_alive()
        server.shutdown()
        yield client


def test_a_connection_that_is_kept_alive_ends_when_it_is_told_to() -> None:
    """Its thread ends with it."""
    server = Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    with kept_alive(server) as client:
        server.close_connections(10)
        assert client.recv(1) == b""
        assert not server._open
    server.server_close()


def test_a_connection_that_is_kept_alive_ends_with_the_server() -> None:
    """Nobody has to end it before."""
    server = Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    with kept_alive(server) as client:
        server.server_close()
        assert client.recv(1) == b""


def test_a_port_that_is_taken() -> None:
    """OSError, and nothing stays open."""
    first = Listener(("127.0.0.1", 0), BaseHTTPRequestHandler)
    with pytest.raises(OSError, match="in use"):
        Listener(("127.0.0.1", first.server_port), BaseHTTPRequestHandler)
    first.server_close()
