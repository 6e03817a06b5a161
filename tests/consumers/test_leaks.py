"""No consumer shows a bearer token, a signing key or a URL's path: not in a message, a repr, a log at debug."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from rotator.consumers.base import Consumer
from rotator.consumers.external_secret import ExternalSecret
from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.consumers.kubernetes_restart import KubernetesRestart
from rotator.consumers.webhook import WebhookConsumer
from rotator.errors import RotatorError
from rotator.http_client import HttpClient
from tests.consumers import statuses
from tests.consumers.api_server import ApiServer
from tests.consumers.conftest import CALL, poster
from tests.consumers.statuses import Answer
from tests.leaks.search import leaks
from tests.notifiers.conftest import Peer

BEARER = "LeakMarkerBearer0123456789abcdef"
KEY = "LeakMarkerSigningKey0123456789ab"
PATH = "reload/LeakMarkerPath0123456789"
ANSWERS = (
    statuses.unauthorized(),
    statuses.forbidden("u", "get", "apps", "deployments", "shop", "mailer"),
    statuses.internal_error(),
    statuses.too_many_requests(1),
    # What a confused server sends back is the request.
    Answer(
        400, {"kind": "Status", "message": f"bad header Authorization: Bearer {BEARER}", "reason": BEARER}
    ),
    Answer(500, f"Authorization: Bearer {BEARER}", {"Content-Type": "text/plain"}),
)


def act_on(consumer: Consumer, told: list[str], locals_too: list[str]) -> None:
    """Everything that can be asked of it, and all that a program would write of an error."""
    acts: list[Callable[[], object]] = [
        consumer.preflight,
        consumer.mark,
        lambda: consumer.tell(CALL),
        lambda: consumer.standing(CALL, ""),
        consumer.describe,
    ]
    for act in acts:
        try:
            told.append(repr(act()))
        except RotatorError as error:
            told += [str(error), repr(error), *traceback.format_exception(error)]
            # Without this frame, whose lists grow by what is written here.
            below = error.__traceback__ and error.__traceback__.tb_next
            found = traceback.TracebackException(type(error), error, below, capture_locals=True)
            locals_too += list(found.format())
    told += [repr(consumer), repr(vars(consumer))]


def test_nothing_shows_a_credential_of_the_cluster(
    cluster: ApiServer, api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In success and in every failure; not even the local variables of a traceback hold the token."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    cluster.users = {BEARER: "system:serviceaccount:rotator:rotator"}
    cluster.kubeconfig(tmp_path / "kubeconfig", token=BEARER)
    cluster.workload("Deployment", "shop", "mailer")
    synced = cluster.external_secret("shop", "mailer")
    api._connected()
    # The client silences its libraries when it is loaded; here they say all that they can.
    for name in ("urllib3", "kubernetes", "client"):
        caplog.set_level(logging.DEBUG, logger=name)
    consumers = [
        KubernetesRestart(api, "Deployment", "shop", "mailer"),
        ExternalSecret(api, "shop", "mailer"),
    ]
    for consumer in consumers:
        act_on(consumer, told, told)
        for answer in ANSWERS:
            cluster.fail(answer, times=10)
            act_on(consumer, told, told)
            cluster.faults.clear()
    synced.failure = ("SecretSyncedError", f"provider said: bearer {BEARER}")
    synced.sync()
    act_on(consumers[1], told, told)
    cluster.stop()
    act_on(consumers[0], told, told)
    told += [repr(api), repr(vars(api)), repr(api._connected())]
    assert any("GET /apis" in record.getMessage() for record in caplog.records)
    assert leaks([BEARER], {"told": "\n".join(told).encode(), "log": caplog.text.encode()}) == []


def test_nothing_shows_a_key_or_a_path(
    http: HttpClient, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    """In success and in every failure."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    local: list[str] = []
    made = poster(http, peer.url.replace("/in", f"/{PATH}"), KEY)
    peer.answers = [200, 404, 500, 302]
    for _ in range(4):
        act_on(WebhookConsumer(made), told, local)
    assert {got.path for got in peer.got} == {f"/{PATH}"}
    peer.close()
    act_on(WebhookConsumer(made), told, local)
    told += [repr(made), repr(vars(made))]
    assert leaks([KEY, PATH], {"told": "\n".join(told).encode(), "log": caplog.text.encode()}) == []
    assert leaks([KEY], {"local variables": "\n".join(local).encode()}) == []
