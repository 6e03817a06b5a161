"""Notifiers in every state: told, refused, away. Their addresses and keys are secrets, too."""

from __future__ import annotations

import socket
from typing import Any

from tests.leaks.flows import Flow, look_around
from tests.leaks.watched import MARKER, WatchedSite
from tests.notifiers.conftest import Peer

ROUTING_KEY = f"{MARKER}RoutingKey0123456789"
SIGNING_KEY = f"{MARKER}SigningKey/0123456789+abcdef"
PATH = f"services/T000/{MARKER}PathOfSlack0123456789"


def _site(site: WatchedSite, address: str) -> None:
    """A policy whose notifiers listen at an address of this machine."""
    url = f"http://{address}/{PATH}"
    secrets = site.folder / "secrets"
    secrets.mkdir(exist_ok=True)
    for name, text in (("slack", url), ("pagerduty", ROUTING_KEY), ("siem", SIGNING_KEY)):
        (secrets / name).write_text(text)
        site.hidden.add(f"secrets/{name}")
    site.more_secrets += [ROUTING_KEY, SIGNING_KEY, PATH]
    site.environment["ROTATOR_PAGERDUTY_URL"] = f"http://{address}/enqueue"
    every: dict[str, Any] = {"on": ["completed", "failed", "needs-attention", "emergency"]}
    site.add(
        notify=[
            {"type": "slack", "url_file": str(secrets / "slack"), **every},
            {"type": "pagerduty", "routing_key_file": str(secrets / "pagerduty"), **every},
            {
                "type": "webhook",
                "url": f"http://{address}/in",
                "signing_key_file": str(secrets / "siem"),
                **every,
            },
        ]
    )


def _address(peer: Peer) -> str:
    return peer.url.removeprefix("http://").partition("/")[0]


def notifiers_are_told(site: WatchedSite) -> None:
    peer = Peer()
    try:
        _site(site, _address(peer))
        site.simulator.regenerate(site.entries["billing"].project)
        assert site.run("run").code == 4
        assert site.rotate("billing").code == 0
        assert len(peer.got) >= 5
        look_around(site)
    finally:
        peer.close()


def notifiers_refuse(site: WatchedSite) -> None:
    peer = Peer()
    peer.answers = [404, 500, 302, 403] * 10
    try:
        _site(site, _address(peer))
        assert site.rotate("billing").code == 0
        look_around(site)
    finally:
        peer.close()


def notifiers_are_away(site: WatchedSite) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        _site(site, f"127.0.0.1:{taken.getsockname()[1]}")
        site.simulator.regenerate(site.entries["billing"].project)
        assert site.run("run").code == 4
        (site.folder / "secrets" / "pagerduty").unlink()
        (site.folder / "secrets" / "slack").write_text(f"ftp://{PATH}")
        assert site.rotate("billing").code == 0
        look_around(site)


FLOWS: dict[str, Flow] = {
    "notifiers are told": notifiers_are_told,
    "notifiers refuse": notifiers_refuse,
    "notifiers are away": notifiers_are_away,
}
