"""`rotator doctor` and the consumers of a policy: what is wrong, what to change, and that nobody is disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.checkup import assert_found, examine
from tests.acceptance.site import Site
from tests.consumers.api_server import ApiServer
from tests.consumers.cluster import Synced, Workload
from tests.notifiers.conftest import Peer, peer

__all__ = ["peer"]

KEY = "thirty-two-bytes-of-signing-key!"


@dataclass
class Shop:
    """A policy with one consumer of each type, and what they lead to."""

    cluster: ApiServer
    mailer: Workload
    secret: Synced
    peer: Peer
    key: Path

    def undisturbed(self) -> bool:
        """Nobody was told anything."""
        return (self.mailer.told, self.secret.annotations, self.peer.got) == ([], {}, [])


@pytest.fixture
def shop(site: Site, peer: Peer) -> Iterator[Shop]:
    key = site.folder / "reload.key"
    key.write_text(KEY)
    site.environment["ROTATOR_ROTATE_LIMIT"] = "10"
    site.add(
        consumers=[
            {"type": "external-secret", "namespace": "shop", "name": "mailer"},
            {"type": "kubernetes-restart", "kind": "Deployment", "namespace": "shop", "name": "mailer"},
            {"type": "webhook", "url": peer.url, "signing_key_file": str(key)},
        ]
    )
    with ApiServer() as cluster:
        site.environment["KUBECONFIG"] = str(cluster.kubeconfig(site.folder / "kubeconfig"))
        made = cluster.workload("Deployment", "shop", "mailer"), cluster.external_secret("shop", "mailer")
        yield Shop(cluster, *made, peer, key)


def test_all_can_be_told(site: Site, shop: Shop) -> None:
    """Each in the policy's order; nothing was changed, restarted, synced or called, and no journal was made."""
    before = site.files()
    seen = examine(site)
    assert seen.code == 0
    assert [one["subject"] for one in seen.of("consumer")] == [
        "ExternalSecret shop/mailer",
        "Deployment shop/mailer",
        "webhook at 127.0.0.1",
    ]
    assert seen.results("consumer") == ["ok", "ok", "ok"]
    assert shop.undisturbed()
    assert site.files() == before


def test_a_right_that_is_missing(site: Site, shop: Shop) -> None:
    """The rule to grant, exit 2; the others are tried all the same."""
    shop.cluster.rules = [one for one in shop.cluster.rules if one.group != "apps"]
    seen = examine(site)
    hint = ("Role in namespace shop", 'resourceNames: ["mailer"]', 'verbs: ["get", "patch"]')
    assert_found(
        seen, "consumer", code=2, detail=("Deployment shop/mailer (403)",), hint=hint, subject="Deployment"
    )
    assert sorted(seen.results("consumer")) == ["failed", "ok", "ok"]
    assert shop.undisturbed()


def test_what_would_have_no_effect(site: Site, shop: Shop) -> None:
    """A paused Deployment would not restart: exit 1 with what resumes it."""
    shop.mailer.spec["paused"] = True
    seen = examine(site)
    assert_found(seen, "consumer", code=1, detail=("paused",), hint=("kubectl -n shop rollout resume",))
    assert shop.undisturbed()


def test_a_key_that_is_too_short(site: Site, shop: Shop) -> None:
    """Exit 2, and one finding for one thing that is wrong."""
    shop.key.write_text("short")
    seen = examine(site)
    assert_found(
        seen, "consumer", code=2, detail=("fewer than 16 bytes",), hint=("whsec_",), subject="webhook"
    )
    assert seen.failed == {"consumer"}
    assert "file" not in {one["check"] for one in seen.checks}


def test_a_cluster_that_is_away(site: Site, shop: Shop) -> None:
    """Exit 6; what needs no cluster is well."""
    shop.cluster.stop()
    seen = examine(site)
    assert_found(seen, "consumer", code=6, detail=("Kubernetes gave no answer",), hint=("network",))
    assert seen.results("consumer") == ["failed", "failed", "ok"]
