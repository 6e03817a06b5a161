"""Addresses that a policy's URL must not lead to, unless the settings allow them."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from rotator.clock import SystemClock
from rotator.http_client import HttpClient, NotSent
from rotator.urls import may_reach
from tests.notifiers.conftest import Peer
from tests.notifiers.test_notifiers import NOTICE
from tests.wired import wired

ALLOWED = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("address", "host", "may"),
    [
        ("93.184.216.34", "example.com", True),
        ("2606:4700::6810:84e5", "example.com", True),
        ("169.254.169.254", "metadata.example.com", False),
        ("fe80::1%eth0", "example.com", False),
        ("10.0.0.1", "example.com", False),
        ("10.1.2.3", "mailer.internal", True),
        ("192.168.1.1", "example.com", False),
        ("100.64.0.1", "example.com", False),
        ("fd12::1", "mailer.internal", True),
        ("::ffff:10.0.0.1", "example.com", False),
        ("::ffff:10.1.0.1", "mailer.internal", True),
        ("127.0.0.1", "example.com", False),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("0.0.0.0", "example.com", False),  # an address that is refused
        ("224.0.0.1", "example.com", False),
    ],
)
def test_which_addresses_may_be_reached(address: str, host: str, may: bool) -> None:
    """Public ones, allowed networks, and this machine where the URL names it."""
    assert may_reach(address, host, ALLOWED) is may


@pytest.mark.parametrize("name", ["innocent.example", "INNOCENT.example", "ünschuldig.example"])
def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is the connection that is judged, not an earlier look-up, and no spelling of a name gets around it: the peer
    never gets a byte of the request."""
    port = int(peer.url.rpartition(":")[2].partition("/")[0])
    real = socket.getaddrinfo

    def inside(host: str | bytes | None, *rest: object, **named: object) -> object:
        assert host is not None
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name.endswith(".example") else host, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    client = HttpClient(
        SystemClock(), call_timeout=2.0, may_reach=lambda address, host: may_reach(address, host, ())
    )
    with pytest.raises(NotSent, match="private address") as refused:
        client.call("POST", f"http://{name}:{port}/in", body=b"x")
    assert "ROTATOR_WEBHOOK_NETWORKS" in refused.value.remedy
    assert peer.got == []
    client.call("POST", peer.url, body=b"x")
    assert len(peer.got) == 1
    client.close()


def test_the_setting_reaches_the_notifiers(
    tmp_path: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook at a name that leads to a private address is refused, and told once the settings allow its network."""
    port = peer.url.rpartition(":")[2].partition("/")[0]
    real = socket.getaddrinfo

    def inside(host: Any, *rest: Any, **named: Any) -> Any:
        return real("127.0.0.1" if "example" in str(host) else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    entry = {"type": "webhook", "url": f"http://mailer.example:{port}/in"}
    for networks, told in (("", 0), ("127.0.0.0/8", 1)):
        wiring = wired(tmp_path, ROTATOR_WEBHOOK_NETWORKS=networks)
        refused = nullcontext() if told else pytest.raises(NotSent, match="private address")
        with refused:
            wiring._make_notifier(entry).send(NOTICE)
        wiring.close()
        assert len(peer.got) == told
