"""A cluster, a web peer, and one of each kind of consumer with a way to look at what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rotator.clock import SystemClock
from rotator.consumers.base import Call, Consumer
from rotator.consumers.external_secret import ExternalSecret
from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.consumers.kubernetes_restart import KubernetesRestart
from rotator.consumers.webhook import WebhookConsumer
from rotator.http_client import HttpClient
from rotator.posting import EventPoster
from rotator.secret import Secret
from rotator.urls import may_reach
from tests.consumers.api_server import ApiServer
from tests.notifiers.conftest import Peer, peer

__all__ = ["peer"]

SIGNING_KEY = "thirty-two-bytes-of-signing-key!"
CALL = Call(
    id="01JE9Q4-1a2b3c4d",
    rotation="01JE9Q4",
    policy="billing",
    owner="team-billing",
    fingerprint="fp_1a2b3c4d5e6f70819203",
    at=datetime(2026, 11, 29, 12, 0, 0, 250_000, tzinfo=UTC),
)
LATER = replace(CALL, id="01JF000-99887766", rotation="01JF000", at=CALL.at + timedelta(days=30))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster that a kubeconfig of this process names."""
    with ApiServer() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield server


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    made = KubernetesApi(call_timeout=3.0)
    yield made
    made.close()


@pytest.fixture
def http() -> Iterator[HttpClient]:
    made = HttpClient(
        SystemClock(), call_timeout=2.0, may_reach=lambda address, host: may_reach(address, host, ())
    )
    yield made
    made.close()


@dataclass
class Case:
    """One consumer, and what a test needs to know of the other side."""

    consumer: Consumer
    heard: Callable[[], list[str]]
    """The ids of the calls that had an effect, in order."""
    lose_answer: Callable[[], None]
    """The next change is done, and its answer is lost."""
    go_away: Callable[[], None]


KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ExternalSecret", "webhook")


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest) -> Case:
    ask = request.getfixturevalue
    if request.param == "webhook":
        return _webhook(ask("peer"), ask("http"))
    return _in_kubernetes(request.param, ask("cluster"), ask("api"))


def poster(http: HttpClient, url: str, key: str | None = SIGNING_KEY) -> EventPoster:
    signing_key = (lambda: Secret(key)) if key is not None else None
    return EventPoster(http, SystemClock(), url, signing_key, source=lambda: "/rotator/j")


def _webhook(peer: Peer, http: HttpClient) -> Case:
    return Case(
        WebhookConsumer(poster(http, peer.url)),
        # A receiver drops what it had under the same id.
        lambda: list(dict.fromkeys(got.headers["webhook-id"] for got in peer.got)),
        lambda: peer.answers.append(504),
        peer.close,
    )


def _in_kubernetes(kind: str, cluster: ApiServer, api: KubernetesApi) -> Case:
    from tests.consumers.statuses import timed_out  # noqa: PLC0415

    def lose() -> None:
        cluster.fail(timed_out(), verb="patch", after=True)

    consumer: Consumer
    if kind == "ExternalSecret":
        synced = cluster.external_secret("shop", "mailer")
        consumer = ExternalSecret(api, "shop", "mailer")
        return Case(consumer, lambda: [one for one in synced.syncs if one], lose, cluster.stop)
    workload = cluster.workload(kind, "shop", "mailer")
    consumer = KubernetesRestart(api, kind, "shop", "mailer")
    return Case(consumer, lambda: list(workload.told), lose, cluster.stop)
