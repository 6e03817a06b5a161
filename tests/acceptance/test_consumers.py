"""Pods that read their token once, when they start: restarted by rotator they never fail, and without it they do.

The cluster is a stand-in for kube-apiserver; its operator copies the store into a Secret, and its pods, whose mail is
real HTTP, know nothing but what the Secret held when they started.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rotator.secret import Secret
from tests.acceptance.site import PING_AND_SEND, Entry, Site, eventually
from tests.consumers.api_server import ApiServer
from tests.consumers.cluster import Synced, Workload

SEND = {
    "from": "shop@example.com",
    "to": ["ok@testing.lettermint.co"],
    "subject": "An order",
    "text": "Thanks",
}
STORE = {"type": "external-secret", "namespace": "shop", "name": "mailer"}
PODS = {"type": "kubernetes-restart", "kind": "Deployment", "namespace": "shop", "name": "mailer"}


class Mailer:
    """A Deployment that sends without pause; each roll-out has its pods read the Secret again."""

    def __init__(self, site: Site, entry: Entry, cluster: ApiServer) -> None:
        self._site = site
        self._entry = entry
        self.secret = entry.stored
        """What the operator has copied into the cluster."""
        self.token = self.secret
        self.answers: list[int] = []
        self.sync: Synced = cluster.external_secret("shop", "mailer")
        self.sync.on_sync = self._copy
        self.workload: Workload = cluster.workload("Deployment", "shop", "mailer", replicas=1)
        self.workload.on_new_pods = self._start
        self._over = threading.Event()

    def _copy(self) -> None:
        self.secret = self._entry.stored

    def _start(self) -> None:
        self.token = self.secret

    def _mail(self) -> None:
        with httpx.Client(base_url=self._site.simulator.url) as client:
            while not self._over.wait(0.01):
                headers = {"x-lettermint-token": self.token.reveal()}
                self.answers.append(client.post("/send", json=SEND, headers=headers).status_code)

    @contextmanager
    def sending(self) -> Iterator[None]:
        thread = threading.Thread(target=self._mail)
        thread.start()
        try:
            eventually(lambda: len(self.answers) > 5)
            yield
            before = len(self.answers)
            eventually(lambda: len(self.answers) > before + 5)
        finally:
            self._over.set()
            thread.join()


@pytest.fixture
def cluster() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def entry(site: Site, cluster: ApiServer, tmp_path: Path) -> Entry:
    site.environment |= {
        "KUBECONFIG": str(cluster.kubeconfig(tmp_path / "kubeconfig")),
        "ROTATOR_CALL_TIMEOUT": "5s",
        "ROTATOR_LEASE": "15s",
    }
    made = site.add("shop", verify=PING_AND_SEND, consumers=[STORE, PODS])
    site.simulator.add_domain(projects=[made.project], team=site.team_token)
    return made


def overlapping(site: Site, entry: Entry, form: str, tmp_path: Path) -> None:
    """Makes the policy one of this form, whose drain asks for no time at all."""
    if form == "pair":
        standby, _ = site.simulator.add_project("standby", team=site.team_token)
        site.simulator.add_domain(projects=[entry.project, standby], team=site.team_token)
        more: dict[str, Any] = {"standby": {"project": standby}}
    else:
        bridge = tmp_path / "bridge.json"
        bridge.write_text(json.dumps({"token": site.simulator.add_token(entry.project).reveal()}))
        more = {"standby": {"token": {"type": "file", "path": str(bridge), "key": "token"}}}
    entry.document |= {
        "strategy": "create-before-revoke",
        "drain": {"min": "0s", "quiet": "1s", "max": "10m"},
        **more,
    }
    site.write_policies()


def rotated(site: Site, *options: str) -> dict[str, Any]:
    """What `rotator rotate` tells of a rotation that went well."""
    ended = site.run("rotate", "shop", "--yes", *options, "-o", "json")
    assert ended.code == 0, ended.errors
    (rotation,) = ended.rotations
    return rotation


@pytest.mark.parametrize("form", ["pair", "bridged"])
def test_pods_that_read_once_never_fail(
    site: Site, entry: Entry, cluster: ApiServer, tmp_path: Path, form: str
) -> None:
    """The operator syncs, then the pods restart, then the outgoing token dies: not one of their sends fails."""
    overlapping(site, entry, form, tmp_path)
    mailer = Mailer(site, entry, cluster)
    with mailer.sending():
        rotation = rotated(site)
    assert rotation["state"] == "completed"
    assert [(one["type"], one["state"]) for one in rotation["consumers"]] == [
        ("external-secret", "done"),
        ("kubernetes-restart", "done"),
    ]
    assert set(mailer.answers) == {202}
    assert not site.simulator.is_alive(entry.first)
    assert mailer.token == entry.stored
    assert len(mailer.workload.told) == (2 if form == "bridged" else 1)


def test_the_same_pods_fail_where_nobody_tells_them(
    site: Site, entry: Entry, cluster: ApiServer, tmp_path: Path
) -> None:
    """The control: by time alone the bridge form ends the token that they still hold."""
    overlapping(site, entry, "bridged", tmp_path)
    del entry.document["consumers"]
    site.write_policies()
    mailer = Mailer(site, entry, cluster)
    with mailer.sending():
        rotated(site)
    assert 401 in mailer.answers
    assert mailer.token == entry.first


def test_in_place_the_pods_fail_until_they_are_restarted(
    site: Site, entry: Entry, cluster: ApiServer
) -> None:
    """Their old token is dead from the mint on; told at once, they send again when the rotation has ended."""
    mailer = Mailer(site, entry, cluster)
    with mailer.sending():
        rotated(site)
    assert mailer.answers[-1] == 202
    assert mailer.token == entry.stored
    assert mailer.workload.told == [
        cluster.patches("mailer")[-1].body["spec"]["template"]["metadata"]["annotations"]["rotator/rotation"]
    ]


def test_a_rollout_that_never_ends_keeps_the_old_token_alive(
    site: Site, entry: Entry, cluster: ApiServer, tmp_path: Path
) -> None:
    """The new pods do not come up, so the old ones go on with the outgoing token; `run` retires it once they have."""
    overlapping(site, entry, "pair", tmp_path)
    mailer = Mailer(site, entry, cluster)
    mailer.workload.stuck = True
    rotated(site, "--no-wait")
    mailer.workload.miss_deadline()
    ended = site.run("run", "-o", "json")
    assert ended.code == 4
    status = site.status("shop")
    assert [one["code"] for one in status["attention"]] == ["consumer-behind"]
    assert "Deployment shop/mailer" in status["attention"][0]["message"]
    assert site.simulator.is_alive(entry.first)
    mailer.workload.stuck = False
    mailer.workload.roll()

    def over() -> bool:
        return bool(site.run("run", "-o", "json").code == 0 and site.status("shop")["state"] == "ok")

    eventually(over, patience=30)
    assert not site.simulator.is_alive(entry.first)


def test_a_daemon_and_a_restart_of_it_tell_each_consumer_once(
    site: Site, entry: Entry, cluster: ApiServer, tmp_path: Path
) -> None:
    """Stopped and started in mid-rollout, the daemon restarts no pod a second time for the same token."""
    overlapping(site, entry, "pair", tmp_path)
    mailer = Mailer(site, entry, cluster)
    mailer.workload.held = True
    rotated(site, "--no-wait")
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    for _ in range(2):
        daemon = site.start("serve")
        eventually(lambda daemon=daemon: "serving" in daemon.errors, patience=30)  # type: ignore[misc]
        daemon.signal(15)
        assert daemon.wait().code == 143
    mailer.workload.roll()
    rotated(site)
    assert len(mailer.workload.told) == 1
    assert len(mailer.sync.syncs) == 1
    assert mailer.token == entry.stored


def test_no_secret_of_the_cluster_is_shown(site: Site, entry: Entry, cluster: ApiServer) -> None:
    """Neither the bearer token nor ours stands in what commands print, nor on disk outside the store."""
    Mailer(site, entry, cluster)
    site.environment["ROTATOR_LOG_LEVEL"] = "debug"
    ended = site.run("rotate", "shop", "--yes", "-o", "json")
    assert ended.code == 0, ended.errors
    shown = ended.output + ended.errors
    for secret in (Secret(cluster.token), entry.first, entry.stored):
        assert secret.reveal() not in shown
    state = site.folder / "state"
    kept = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert cluster.token.encode() not in kept
    assert entry.stored.reveal().encode() not in kept
