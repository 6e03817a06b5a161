"""Consumers in every state: told, refused, away. The cluster's bearer token and keys are secrets, too, and the path of
a URL is not shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.consumers import statuses
from tests.consumers.api_server import USER, ApiServer
from tests.consumers.statuses import Answer
from tests.leaks.flows import Flow, look_around
from tests.leaks.search import leaks
from tests.leaks.watched import MARKER, WatchedSite
from tests.notifiers.conftest import Peer

BEARER = f"{MARKER}BearerOfTheCluster0123456789"
SIGNING_KEY = f"{MARKER}SigningKeyOfReload0123456789"
PATH = f"reload/{MARKER}PathOfTheWebhookOfMailer"


@contextmanager
def _told(site: WatchedSite) -> Iterator[tuple[ApiServer, Peer]]:
    """A policy with one consumer of each type, and what they lead to."""
    peer = Peer()
    key = site.folder / "reload.key"
    key.write_text(SIGNING_KEY)
    site.hidden |= {"reload.key", "kubeconfig"}
    site.more_secrets += [BEARER, SIGNING_KEY]
    with ApiServer(token=BEARER) as cluster:
        cluster.users = {BEARER: USER}
        cluster.workload("Deployment", "shop", "mailer", replicas=1)
        cluster.external_secret("shop", "mailer")
        site.environment["KUBECONFIG"] = str(cluster.kubeconfig(site.folder / "kubeconfig"))
        consumers: list[dict[str, Any]] = [
            {"type": "kubernetes-restart", "kind": "Deployment", "namespace": "shop", "name": "mailer"},
            {"type": "webhook", "url": peer.url.replace("/in", f"/{PATH}"), "signing_key_file": str(key)},
            # Last, so that nobody waits for it.
            {"type": "external-secret", "namespace": "shop", "name": "mailer"},
        ]
        site.add(consumers=consumers)
        try:
            yield cluster, peer
        finally:
            peer.close()
    # It stands in the policy, and so in the journal's copy of that; nobody need say it aloud.
    assert leaks([PATH], site.printed) == []


def _echo() -> Answer:
    """What a confused server sends back is the request."""
    return statuses.failure(400, "BadRequest", f"what is Authorization: Bearer {BEARER}?")


def consumers_are_told(site: WatchedSite) -> None:
    with _told(site) as (cluster, peer):
        assert site.run("doctor").code == 0
        assert site.rotate("billing").code == 0
        assert cluster.patches("mailer")
        assert [got.path for got in peer.got] == [f"/{PATH}"]
        look_around(site)


def consumers_refuse(site: WatchedSite) -> None:
    with _told(site) as (cluster, peer):
        peer.answers = [404] * 50
        cluster.admission = lambda _plural, _name, dry_run: None if dry_run else _echo()
        assert site.rotate("billing").code == 4
        assert site.run("run").code == 4
        look_around(site)


def consumers_know_us_no_more(site: WatchedSite) -> None:
    with _told(site) as (cluster, _):
        cluster.users = {}
        assert site.run("doctor").code == 2
        assert site.rotate("billing").code == 2
        look_around(site)


def consumers_are_away(site: WatchedSite) -> None:
    with _told(site) as (cluster, peer):
        cluster.stop()
        peer.close()
        assert site.run("doctor").code == 6
        assert site.rotate("billing").code == 6
        look_around(site)


FLOWS: dict[str, Flow] = {
    "consumers are told": consumers_are_told,
    "consumers refuse": consumers_refuse,
    "consumers know us no more": consumers_know_us_no_more,
    "consumers are away": consumers_are_away,
}
