"""How the composition root makes consumers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rotator.errors import Refused
from rotator.wiring import Wiring
from tests.consumers.api_server import ApiServer
from tests.consumers.conftest import CALL
from tests.notifiers.conftest import Peer
from tests.wired import wired


@pytest.fixture
def wiring(tmp_path: Path) -> Iterator[Wiring]:
    made = wired(tmp_path)
    yield made
    made.close()


ENTRIES: tuple[dict[str, Any], ...] = (
    {"type": "kubernetes-restart", "kind": "Deployment", "namespace": "shop", "name": "mailer"},
    {"type": "kubernetes-restart", "kind": "StatefulSet", "namespace": "shop", "name": "mailer"},
    {"type": "external-secret", "namespace": "shop", "name": "mailer"},
    {"type": "webhook", "url": "https://mailer.example.com/reload"},
)


def test_each_entry_has_one_consumer(wiring: Wiring) -> None:
    """The same entry, the same object; and those in Kubernetes share one client."""
    made = [wiring.consumer(entry) for entry in ENTRIES]
    assert [wiring.consumer(dict(reversed(entry.items()))) for entry in ENTRIES] == made
    assert len({id(one) for one in made}) == len(ENTRIES)
    assert [one.describe() for one in made] == [
        "Deployment shop/mailer",
        "StatefulSet shop/mailer",
        "ExternalSecret shop/mailer",
        "webhook at mailer.example.com",
    ]


def test_making_one_does_nothing_yet(tmp_path: Path, wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, no journal and no key are needed before something is asked."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    for entry in ENTRIES:
        wiring.consumer({**entry, "signing_key_file": str(tmp_path / "missing")})
    assert not list(tmp_path.iterdir())


def test_they_work(tmp_path: Path, wiring: Wiring, cluster: ApiServer, peer: Peer) -> None:
    """Put together as in a rotation, each reaches what it tells; the webhook's key is read each time."""
    workload = cluster.workload("Deployment", "shop", "mailer")
    synced = cluster.external_secret("shop", "mailer")
    key = tmp_path / "key"
    webhook = {"type": "webhook", "url": peer.url, "signing_key_file": str(key)}
    key.write_text("first-signing-key-0123456789", encoding="ascii")
    for entry in (ENTRIES[0], ENTRIES[2], webhook):
        wiring.consumer(entry).tell(CALL)
    key.write_text("second-signing-key-0123456789", encoding="ascii")
    wiring.consumer(webhook).tell(CALL)
    assert workload.told == [CALL.id]
    assert synced.annotations == {"force-sync": CALL.id}
    first, second = (got.headers["webhook-signature"] for got in peer.got)
    assert first != second


def test_private_networks_are_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook whose name leads inside is refused, and allowed by its network."""
    real = socket.getaddrinfo

    def inside(host: Any, *rest: Any, **named: Any) -> Any:
        return real("10.1.2.3" if "example" in str(host) else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", inside)
    closed, opened = wired(tmp_path), wired(tmp_path, ROTATOR_WEBHOOK_NETWORKS="10.1.0.0/16")
    with pytest.raises(Refused, match="private address"):
        closed.consumer(ENTRIES[3]).preflight()
    opened.consumer(ENTRIES[3]).preflight()
    closed.close()
    opened.close()
