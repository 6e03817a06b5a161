"""Syncs of ExternalSecrets: what counts as one, and which never come."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rotator.consumers.external_secret import ExternalSecret
from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.errors import Refused
from tests.consumers.api_server import ApiServer
from tests.consumers.conftest import CALL


@pytest.fixture
def mailer(api: KubernetesApi) -> ExternalSecret:
    return ExternalSecret(api, "shop", "mailer")


def test_two_syncs_within_one_second(cluster: ApiServer, mailer: ExternalSecret) -> None:
    """Times are whole seconds: a sync is known by the version of what was synced, not by its time alone."""
    synced = cluster.external_secret("shop", "mailer")
    synced.status["refreshTime"] = "2026-11-29T12:00:00Z"
    mark = mailer.mark()
    mailer.tell(CALL)
    synced.sync()
    synced.status["refreshTime"] = "2026-11-29T12:00:00Z"
    assert mailer.standing(CALL, mark).done


def test_a_sync_that_began_before_the_call(cluster: ApiServer, mailer: ExternalSecret) -> None:
    """It read the store when the old token was there; its later time does not make it ours."""
    synced = cluster.external_secret("shop", "mailer")
    synced.held = True
    mark = mailer.mark()
    mailer.tell(CALL)
    synced.status["refreshTime"] = "2099-01-01T00:00:00Z"
    assert not mailer.standing(CALL, mark).done


def test_an_operator_that_tells_no_version(cluster: ApiServer, mailer: ExternalSecret) -> None:
    """Then the time decides; one that never synced before has none."""
    synced = cluster.external_secret("shop", "mailer")
    synced.held = True
    synced.status = {}
    mark = mailer.mark()
    assert mark == ""
    mailer.tell(CALL)
    assert not mailer.standing(CALL, mark).done
    ready = [{"type": "Ready", "status": "True", "reason": "SecretSynced"}]
    synced.status = {"conditions": ready, "refreshTime": None}
    assert not mailer.standing(CALL, mark).done
    synced.status = {"conditions": ready, "refreshTime": "2026-11-29T12:00:01Z"}
    assert mailer.standing(CALL, mark).done


def test_a_sync_that_fails(cluster: ApiServer, mailer: ExternalSecret) -> None:
    """Its reason is told, in one line that is not too long; it may still come, so it is not stuck."""
    synced = cluster.external_secret("shop", "mailer")
    synced.failure = ("SecretSyncedError", "could not get secret data from provider\n" + "x" * 1000)
    mark = mailer.mark()
    mailer.tell(CALL)
    for _ in range(3):
        standing = mailer.standing(CALL, mark)
    assert (standing.done, standing.stuck) == (False, False)
    assert standing.detail.startswith(
        "it is not ready (SecretSyncedError: could not get secret data from provider x"
    )
    assert len(standing.detail) < 300
    synced.failure = None
    synced.sync()
    assert mailer.standing(CALL, mark).done


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"refreshPolicy": "CreatedOnce"}, "CreatedOnce"),
        ({"target": {"name": "mailer", "immutable": True}}, "immutable"),
    ],
)
def test_one_that_never_reads_again(
    cluster: ApiServer, mailer: ExternalSecret, spec: dict[str, object], words: str
) -> None:
    """Refused beforehand and when told, without a change."""
    synced = cluster.external_secret("shop", "mailer", **spec)
    for act in (mailer.preflight, lambda: mailer.tell(CALL)):
        with pytest.raises(Refused, match=words):
            act()
    assert synced.annotations == {}


@pytest.mark.parametrize("served", [("v1beta1",), ("v1", "v1beta1"), ("v1",)])
def test_the_version_that_the_cluster_serves(
    cluster: ApiServer, mailer: ExternalSecret, served: tuple[str, ...]
) -> None:
    """v1 where it is served, else the one before; found once, and kept."""
    cluster.external_secret("shop", "mailer")
    cluster.served = {("external-secrets.io", version) for version in served}
    mailer.preflight()
    cluster.asked.clear()
    mailer.tell(CALL)
    assert {one.path.split("/")[3] for one in cluster.asked} == {served[0]}


def test_an_operator_that_is_upgraded_meanwhile(cluster: ApiServer, mailer: ExternalSecret) -> None:
    """The version that answered is not served any more: the other one is found."""
    cluster.external_secret("shop", "mailer")
    cluster.served = {("external-secrets.io", "v1beta1")}
    mailer.preflight()
    cluster.served = {("external-secrets.io", "v1")}
    mailer.preflight()


def test_a_cluster_without_the_operator(cluster: ApiServer, mailer: ExternalSecret) -> None:
    """Said as that, unlike an ExternalSecret that is not there."""
    cluster.external_secret("shop", "mailer")
    cluster.served = set()
    with pytest.raises(Refused, match="does not serve v1 or v1beta1 of external"):
        mailer.preflight()


def test_a_call_that_was_taken_before_its_mark(cluster: ApiServer, mailer: ExternalSecret) -> None:
    """A process died between the call and its record. A sync counts that began in a second after the call's."""
    synced = cluster.external_secret("shop", "mailer")
    now = datetime.now(UTC)
    mailer.tell(CALL)
    synced.sync()
    mark = mailer.mark()
    mailer.tell(CALL)
    assert mailer.standing(replace(CALL, at=now - timedelta(seconds=5)), mark).done
    assert not mailer.standing(replace(CALL, at=now + timedelta(seconds=5)), mark).done
    assert len(synced.syncs) == 1
