"""Every way in which a cluster does not do what was asked, and every way to find it and be known to it."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from kubernetes.config import incluster_config

from rotator.consumers import kubernetes_api
from rotator.consumers.external_secret import ExternalSecret
from rotator.consumers.kubernetes_api import KubernetesApi
from rotator.consumers.kubernetes_restart import KubernetesRestart
from rotator.errors import CredentialRejected, InvalidInput, RateLimited, Refused, RotatorError, Unreachable
from tests.consumers import statuses
from tests.consumers.api_server import USER, ApiServer, Rule
from tests.consumers.cluster import Workload
from tests.consumers.conftest import CALL
from tests.consumers.statuses import Answer

HTML = {"Content-Type": "text/html"}


@pytest.fixture
def workload(cluster: ApiServer) -> Workload:
    return cluster.workload("Deployment", "shop", "mailer")


@pytest.fixture
def mailer(api: KubernetesApi, workload: Workload) -> KubernetesRestart:
    return KubernetesRestart(api, "Deployment", "shop", "mailer")


# --- statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "patch"])
@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (statuses.internal_error(), Unreachable, "answered 500"),
        (statuses.unavailable(), Unreachable, "answered 503"),
        (statuses.timed_out(), Unreachable, "answered 504"),
        (statuses.too_many_requests(7), RateLimited, "answered 429"),
        (statuses.not_found("apps", "deployments", "mailer"), Refused, "There is no Deployment shop/mailer"),
        (statuses.no_such_path(), Refused, "does not serve v1 of apps"),
        (
            statuses.denied_by_webhook("freeze.example.com"),
            Refused,
            "the admission policy freeze.example.com denies",
        ),
        (
            statuses.denied_by_policy("frozen", "apps", "deployments", "mailer"),
            Refused,
            "the admission policy frozen",
        ),
        (statuses.failure(422, "Invalid", "no", {"name": "mailer"}), Refused, r"answered 422 .*\(Invalid\)"),
        (
            Answer(302, "", {"Location": "https://elsewhere.example/", **HTML}),
            Refused,
            "no answer of the Kubernetes",
        ),
        (Answer(403, "<html>blocked</html>", HTML), Refused, "no answer of the Kubernetes API"),
        (Answer(200, "<html>welcome</html>", HTML), Refused, "is not the Kubernetes API"),
    ],
)
def test_what_was_not_done(
    cluster: ApiServer,
    workload: Workload,
    mailer: KubernetesRestart,
    verb: str,
    answer: Answer,
    kind: type[RotatorError],
    words: str,
) -> None:
    """Each status becomes an error of ours that says what to do; nothing was changed, and nothing was repeated."""
    cluster.fail(answer, verb=verb, times=5)
    with pytest.raises(kind, match=words) as caught:
        mailer.tell(CALL)
    assert caught.value.remedy or isinstance(caught.value, RateLimited)
    assert workload.told == []
    assert [one.verb for one in cluster.asked] == (["get"] if verb == "get" else ["get", "patch"])


def test_how_long_it_asks_to_wait(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """The seconds of Retry-After, and one where there are none that can be read."""
    plain = {"Content-Type": "text/plain"}
    headers = [
        {**plain, "Retry-After": "7"},
        plain,
        {**plain, "Retry-After": "Sun, 29 Nov 2026 12:00:00 GMT"},
    ]
    for header in headers:
        cluster.fail(Answer(429, "Too many requests, please try again later.\n", header))
    waits = []
    for _ in headers:
        with pytest.raises(RateLimited) as caught:
            mailer.mark()
        waits.append(caught.value.retry_after)
    assert waits == [7.0, 1.0, 1.0]


@pytest.mark.parametrize("verbs", [(), ("get",)])
def test_what_we_may_not_do(cluster: ApiServer, mailer: KubernetesRestart, verbs: tuple[str, ...]) -> None:
    """The verb, the object, who we are, and the rule that would allow it; found out by the preflight already."""
    cluster.rules = [Rule("shop", "apps", ("deployments",), ("mailer",), verbs)]
    with pytest.raises(CredentialRejected) as caught:
        mailer.preflight()
    denied = "patch" if verbs else "get"
    assert (
        caught.value.happened
        == f"Kubernetes does not allow {denied} of Deployment shop/mailer (403) to {USER}"
    )
    assert caught.value.remedy == (
        'Give it a Role in namespace shop with: apiGroups: ["apps"], resources: ["deployments"], '
        'resourceNames: ["mailer"], verbs: ["get", "patch"]'
    )


def test_another_namespace_and_another_name_are_not_ours(cluster: ApiServer, api: KubernetesApi) -> None:
    """A Role by name allows that name in that namespace: the stand-in keeps to it as a cluster does."""
    cluster.workload("Deployment", "shop", "mailer")
    for namespace, name in (("shop", "other"), ("bank", "mailer")):
        with pytest.raises(CredentialRejected):
            KubernetesRestart(api, "Deployment", namespace, name).preflight()


def test_a_webhook_that_cannot_pretend(
    cluster: ApiServer, workload: Workload, mailer: KubernetesRestart
) -> None:
    """An admission webhook without dry runs stands in the way of the preflight only: whoever comes as far is allowed."""
    cluster.admission = lambda _plural, _name, dry_run: (
        statuses.no_dry_run("audit.example.com") if dry_run else None
    )
    mailer.preflight()
    mailer.tell(CALL)
    assert workload.told == [CALL.id]


def test_others_write_while_we_rehearse(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """A conflict of the dry run is no lack of permission."""
    cluster.fail(statuses.conflict("apps", "deployments", "mailer"), verb="patch")
    mailer.preflight()


def test_a_policy_of_the_cluster_denies_it(
    cluster: ApiServer, workload: Workload, mailer: KubernetesRestart
) -> None:
    """Known before anything happens, because a dry run goes through admission."""
    cluster.admission = lambda _plural, _name, _dry_run: statuses.denied_by_webhook("freeze.example.com")
    with pytest.raises(Refused, match=r"freeze\.example\.com"):
        mailer.preflight()


def test_a_dry_run_changes_nothing(cluster: ApiServer, workload: Workload, mailer: KubernetesRestart) -> None:
    """The preflight's one change is marked as such, and sets what is there already."""
    version = workload.resource_version
    mailer.preflight()
    (judged,) = cluster.patches("mailer", dry_run=True)
    assert judged.query == {"fieldManager": "rotator", "dryRun": "All"}
    assert judged.body["spec"]["template"]["metadata"]["annotations"] == {"rotator/rotation": None}
    assert cluster.patches("mailer") == []
    assert (workload.resource_version, workload.generation) == (version, 1)


# --- time and connections -------------------------------------------------------------------------


def test_an_answer_that_does_not_come(
    cluster: ApiServer, workload: Workload, mailer: KubernetesRestart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is done and its answer is late: an error that may be tried again, and then one restart in all."""
    mailer.mark()
    monkeypatch.setattr(mailer._annotation._api, "_call_timeout", 0.3)
    cluster.fail(None, verb="patch", after=True, late=5.0)
    with pytest.raises(Unreachable, match=r"no answer within 0\.3 s") as caught:
        mailer.tell(CALL)
    assert "not known" in caught.value.then
    monkeypatch.setattr(mailer._annotation._api, "_call_timeout", 3.0)
    mailer.tell(CALL)
    assert workload.told == [CALL.id]


def test_a_certificate_of_somebody_else(
    cluster: ApiServer, workload: Workload, mailer: KubernetesRestart, tmp_path: Path
) -> None:
    """A server that the kubeconfig's authority does not vouch for gets no credential."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "kubeconfig.ca.crt"))
    with pytest.raises(Unreachable, match="its certificate is not accepted"):
        mailer.preflight()
    assert cluster.asked == []


def test_a_proxy_is_not_asked_for_this_machine(
    workload: Workload, mailer: KubernetesRestart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loopback address is reached as it is, whatever proxy the environment names."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    mailer.preflight()


def test_an_answer_without_an_end(cluster: ApiServer, mailer: KubernetesRestart, monkeypatch: Any) -> None:
    """What is larger than any object is not read to its end."""
    monkeypatch.setattr(kubernetes_api, "MAX_BYTES", 1000)
    cluster.fail(Answer(200, "x" * 200_000))
    with pytest.raises(Unreachable, match="larger than 1000 bytes"):
        mailer.mark()
    mailer.mark()


# --- who we are -----------------------------------------------------------------------------------


def test_a_credential_that_was_replaced(
    cluster: ApiServer, workload: Workload, mailer: KubernetesRestart, tmp_path: Path
) -> None:
    """A refused credential is read again once, and the request repeated with the new one."""
    mailer.mark()
    cluster.users = {"another-token-0123456789": USER}
    cluster.kubeconfig(tmp_path / "kubeconfig", token="another-token-0123456789")
    mailer.tell(CALL)
    assert workload.told == [CALL.id]
    assert [one.status for one in cluster.asked] == [200, 401, 200, 200]


def test_a_credential_that_stays_wrong(cluster: ApiServer, mailer: KubernetesRestart) -> None:
    """Two tries and no more; the message says what to look at."""
    cluster.users = {}
    with pytest.raises(CredentialRejected, match="does not accept our credential") as caught:
        mailer.tell(CALL)
    assert cluster.token not in str(caught.value)
    assert [one.status for one in cluster.asked] == [401, 401]


@pytest.fixture
def in_a_pod(cluster: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the projected token."""
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(cluster.port))
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text(cluster.token, encoding="ascii")
    cluster.authority.cert_pem.write_to_path(str(certificate))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(certificate))
    return token


def test_a_pod_is_its_service_account(
    cluster: ApiServer, in_a_pod: Path, workload: Workload, mailer: KubernetesRestart
) -> None:
    """Without a kubeconfig the projected token is used, and read again when it was replaced and refused."""
    mailer.preflight()
    cluster.users = {"projected-token-the-second": USER}
    in_a_pod.write_text("projected-token-the-second", encoding="ascii")
    mailer.tell(CALL)
    assert workload.told == [CALL.id]


def test_a_kubeconfig_goes_before_the_pod(
    cluster: ApiServer,
    in_a_pod: Path,
    mailer: KubernetesRestart,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a person names counts, inside a pod as well."""
    in_a_pod.write_text("nobody-knows-this-one", encoding="ascii")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    mailer.preflight()


def test_a_pod_without_a_token(in_a_pod: Path, mailer: KubernetesRestart) -> None:
    """A service account whose token is not mounted is said, with what to do."""
    in_a_pod.unlink()
    with pytest.raises(InvalidInput, match="the pod's service account cannot be used") as caught:
        mailer.preflight()
    assert "mounted" in caught.value.remedy


def plugin(tmp_path: Path, text: str) -> dict[str, Any]:
    """A user of a kubeconfig whose credential comes from a command."""
    script = tmp_path / "plugin"
    script.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(script),
            "interactiveMode": "Never",
        }
    }


def test_a_command_gives_the_credential(
    cluster: ApiServer, workload: Workload, mailer: KubernetesRestart, tmp_path: Path
) -> None:
    """As cloud providers' kubeconfigs do; asked again when what it gave is refused."""
    tokens = tmp_path / "tokens"
    tokens.write_text("stale", encoding="ascii")
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "T"},
    }
    text = json.dumps(credential).replace('"T"', f'"\'"$(cat {tokens})"\'"')
    user = plugin(tmp_path, f"echo '{text}'; echo {cluster.token} > {tokens}")
    cluster.kubeconfig(tmp_path / "kubeconfig", user=user)
    mailer.tell(CALL)
    assert workload.told == [CALL.id]
    assert [one.status for one in cluster.asked] == [401, 200, 200]


def test_a_command_that_waits_for_somebody(
    cluster: ApiServer, mailer: KubernetesRestart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up, as something that may be tried again; nothing was sent."""
    monkeypatch.setattr(mailer._annotation._api._patience, "_seconds", 0.5)
    started, ended = tmp_path / "started", tmp_path / "ended"
    command = f"echo >> {started}; until [ -e {ended} ]; do sleep 0.05; done; echo no credential; exit 1"
    cluster.kubeconfig(tmp_path / "kubeconfig", user=plugin(tmp_path, command))
    for _ in range(3):
        with pytest.raises(Unreachable, match=r"No credential for Kubernetes could be had within 0\.5 s"):
            mailer.preflight()
    # What waits already is not started a second time.
    assert started.read_text() == "\n"
    ended.touch()
    assert cluster.asked == []


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "users: [{name: me, user: {token: secret-in-a-broken-file",
        '{"apiVersion": "v1", "kind": "Config", "users": [{"name": "x", "user": {"token": "secret-in-a-broken-file"}}]}',
    ],
)
def test_a_kubeconfig_that_cannot_be_used(
    cluster: ApiServer, mailer: KubernetesRestart, tmp_path: Path, text: str | None
) -> None:
    """Missing, empty, cut or half: the message names the file and holds nothing of it, nor does anything behind it."""
    path = tmp_path / "kubeconfig"
    path.unlink()
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match="cannot be used") as caught:
        mailer.preflight()
    assert str(path) in str(caught.value)
    assert ("there is no such file" in str(caught.value)) is (text is None)
    assert "secret-in-a-broken-file" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_credential_does_not_cross_the_network_by_http(
    cluster: ApiServer, mailer: KubernetesRestart, tmp_path: Path
) -> None:
    """A server by http is refused before anything is sent, unless it is this machine."""
    path = tmp_path / "kubeconfig"
    path.write_text(
        path.read_text(encoding="utf-8").replace(cluster.url, "http://192.0.2.1:6443"), encoding="utf-8"
    )
    with pytest.raises(InvalidInput, match="by http"):
        mailer.preflight()


def test_a_token_that_cannot_be_sent(cluster: ApiServer, mailer: KubernetesRestart, tmp_path: Path) -> None:
    """A line end inside a token is said, without the token."""
    cluster.kubeconfig(tmp_path / "kubeconfig", token="first-half\nsecond-half")
    with pytest.raises(InvalidInput, match="cannot be sent") as caught:
        mailer.preflight()
    assert "half" not in str(caught.value)


def test_without_the_client(mailer: KubernetesRestart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotator without its extra says how to install it."""
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(InvalidInput) as caught:
        mailer.preflight()
    assert "pip install '.[kubernetes]'" in caught.value.remedy


def test_an_object_is_quoted_in_its_path(cluster: ApiServer, api: KubernetesApi) -> None:
    """Whatever a name holds, it stays one part of the path."""
    with pytest.raises(RotatorError):
        ExternalSecret(api, "../..", "a?b").mark()
    assert cluster.asked[-1].path.startswith("/apis/external-secrets.io/v1")
    assert "%2F" in cluster.asked[-1].path
