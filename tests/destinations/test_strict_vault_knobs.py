"""What only the strict Vault fake can be made to do: states, faults, an older version, and its own record."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import hvac
import hvac.exceptions
import pytest
import trustme

from tests.conftest import FakeClock
from tests.destinations.strict_vault import StrictVault
from tests.destinations.vault_servers import Caller

DATA = "secret/data/x"
BODY = {"data": {"a": 1}}
MARK = "mark" + "ed" * 8


@pytest.fixture
def call(vault):
    caller = Caller(vault.url, vault.root)
    yield caller
    caller.close()


# --- states ---------------------------------------------------------------------------------------


def test_a_sealed_server(vault, call):
    """503 to everything but seal-status, whoever asks; health tells why; unsealed it has lost nothing."""
    call("POST", DATA, BODY)
    vault.seal()
    for path, token in ((DATA, None), (DATA, ""), ("nowhere/x", "wrong"), ("auth/token/lookup-self", None)):
        reply = call("GET", path, token=token)
        assert (reply.status, reply.errors) == (503, ["Vault is sealed"])
    assert call("POST", "auth/approle/login", {}, token="").status == 503
    health = call("GET", "sys/health?standbyok=true", token="")
    assert (health.status, health.body["sealed"], health.body["standby"]) == (503, True, True)
    assert call("GET", "sys/health?sealedcode=299").status == 299
    status = call("GET", "sys/seal-status", token="")
    assert (status.status, status.body["sealed"]) == (200, True)

    vault.unseal()
    assert call("GET", DATA).data["data"] == {"a": 1}


def test_hvac_calls_a_sealed_server_down(vault):
    """503 is a class of its own in the library, a dropped connection one of requests."""
    client = hvac.Client(url=vault.url, token=vault.root)
    vault.seal()
    with pytest.raises(hvac.exceptions.VaultDown):
        client.auth.token.lookup_self()
    vault.unseal()
    vault.faults.add("error-before")
    with pytest.raises(hvac.exceptions.InternalServerError):
        client.auth.token.lookup_self()
    vault.faults.add("rate-limit")
    with pytest.raises(hvac.exceptions.RateLimitExceeded):
        client.auth.token.lookup_self()
    client.adapter.close()


def test_a_standby_sends_to_the_active_node(vault, call):
    """307 with the whole path and query, no content, token or not; health says 429."""
    vault.standby("http://127.0.0.1:1")
    for method in ("GET", "POST", "LIST"):
        reply = call(method, f"{DATA}?version=1", token="wrong")
        assert (reply.status, reply.body) == (307, None)
        assert reply.headers["location"] == f"http://127.0.0.1:1/v1/{DATA}?version=1"
    health = call("GET", "sys/health")
    assert (health.status, health.body["standby"], health.body["sealed"]) == (429, True, False)
    assert call("GET", "sys/health?standbyok=true").status == 200
    assert call("GET", "sys/health?standbycode=250").status == 250

    vault.active()
    assert call("POST", DATA, BODY).status == 200


def test_a_standby_may_know_of_no_active_node(vault, call):
    """As in a failover, after the old node's address is forgotten and before there is a new one: 500."""
    vault.standby(None)
    reply = call("GET", DATA)
    assert (reply.status, reply.errors) == (
        500,
        ["local node not active but active cluster node not found"],
    )


def test_a_redirect_leads_to_the_other_server(vault, call):
    """A client that follows it with its token gets the answer."""
    with StrictVault() as other:
        vault.standby(other.url)
        location = call("GET", DATA).headers["location"]
        caller = Caller(other.url, other.root)
        other.write("secret", "x", {"a": 2})
        assert caller("GET", location.removeprefix(f"{other.url}/v1/")).data["data"] == {"a": 2}
        caller.close()


def test_reads_may_lag(vault, call):
    """After a write so many reads of that path still see the state before it; other paths do not."""
    vault.write("secret", "x", {"a": 1})
    vault.write("secret", "y", {"a": 1})
    vault.stale_reads = 2
    vault.write("secret", "x", {"a": 2})

    assert call("GET", "secret/data/y").data["data"] == {"a": 1}
    assert vault.read("secret", "x") == {"a": 2}
    assert [call("GET", DATA).data["data"]["a"] for _ in range(3)] == [1, 1, 2]
    vault.write("secret", "z", {"a": 1})
    assert [call("GET", "secret/data/z").status for _ in range(3)] == [404, 404, 200]


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "executed"),
    [
        ("error-before", 500, False),
        ("error-after", 500, True),
        ("drop-before", 0, False),
        ("lost-answer", 0, True),
        ("rate-limit", 429, False),
        ("upgrading", 400, False),
        ("delay", 200, True),
        ("delay-answer", 200, True),
    ],
)
def test_a_fault_hits_one_request(vault, kind, status, executed):
    """Each kind says truly whether the request was executed, and the next request is served."""
    vault.faults.add(kind, "secret/data/*", method="POST")
    connection = http.client.HTTPConnection(vault.url.removeprefix("http://"))

    def post():
        connection.request("POST", f"/v1/{DATA}", json.dumps(BODY), {"X-Vault-Token": vault.root})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    if status:
        assert post() == status
    else:
        with pytest.raises(http.client.RemoteDisconnected):
            post()
    assert (vault.read("secret", "x") is not None) is executed
    assert len(vault.faults) == 0
    assert post() == 200
    assert [seen.status for seen in vault.requests] == [status, 200]
    connection.close()


def test_faults_are_aimed(vault, call):
    """By path, method and count: requests let pass and requests hit are counted separately."""
    vault.faults.add("error-before", "secret/data/x", method="GET", skip=1, times=2, status=502)
    statuses = [call("GET", DATA).status for _ in range(4)]

    assert statuses == [404, 502, 502, 404]
    vault.faults.add("error-before", "auth/*", times=9)
    assert call("GET", DATA).status == 404
    assert call("GET", "auth/token/lookup-self").errors == ["internal error"]
    vault.faults.clear()
    assert call("GET", "auth/token/lookup-self").status == 200


@pytest.mark.parametrize(("kind", "executed_at_once"), [("delay", False), ("delay-answer", True)])
def test_delays(vault, kind, executed_at_once):
    """One waits before the deed, the other after it; a client that gives up cannot tell them apart."""
    vault.faults.add(kind, seconds=60)
    connection = http.client.HTTPConnection(vault.url.removeprefix("http://"), timeout=0.3)
    connection.request("POST", f"/v1/{DATA}", json.dumps(BODY), {"X-Vault-Token": vault.root})
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()

    assert (vault.read("secret", "x") is not None) is executed_at_once


def test_reset_drops_what_still_waits(vault):
    """A delayed request of one test is not executed in the next."""
    vault.faults.add("delay", seconds=60)
    connection = http.client.HTTPConnection(vault.url.removeprefix("http://"), timeout=30)
    connection.request("POST", f"/v1/{DATA}", json.dumps(BODY), {"X-Vault-Token": vault.root})
    while len(vault.faults):
        time.sleep(0.01)
    vault.reset()
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    connection.close()

    assert (vault.read("secret", "x"), vault.requests) == (None, [])


def test_a_fault_may_do_something_first(vault, call):
    """Somebody else's write comes between, or the token ends in that very moment."""
    vault.faults.add("call", DATA, method="POST", action=lambda: vault.write("secret", "x", {"a": 0}))
    assert call("POST", DATA, {**BODY, "options": {"cas": 0}}).status == 400
    token = vault.token()
    vault.faults.add("call", DATA, action=lambda: vault.expire(token))
    assert call("GET", DATA, token=token).status == 403


def test_closing_does_not_wait_for_delays():
    """A server that still owes an answer ends at once."""
    with StrictVault() as vault:
        vault.faults.add("delay", seconds=600)
        connection = http.client.HTTPConnection(vault.url.removeprefix("http://"), timeout=0.2)
        connection.request("GET", "/v1/sys/health")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    connection.close()


# --- what Vault 1.8 did otherwise -----------------------------------------------------------------


def test_1_8_says_400_without_a_token(vault, call):
    """To a wrong token it says what newer ones say."""
    vault.old = True
    reply = call("GET", DATA, token="")
    assert (reply.status, reply.errors) == (400, ["missing client token"])
    assert call("GET", DATA, token="wrong").errors == ["permission denied"]


def test_1_8_has_no_patch(vault, call):
    """405, for data and for metadata."""
    vault.old = True
    call("POST", DATA, BODY)
    for path in (DATA, "secret/metadata/x"):
        assert call("PATCH", path, BODY).status == 405


def test_1_8_drops_custom_metadata(vault, call):
    """It says 204, keeps nothing, and does not name it anywhere."""
    vault.old = True
    call("POST", DATA, BODY)
    assert call("POST", "secret/metadata/x", {"custom_metadata": {"a": "b"}}).status == 204
    assert "custom_metadata" not in call("GET", "secret/metadata/x").data
    assert "custom_metadata" not in call("GET", DATA).data["metadata"]


def test_1_8_names_the_wrong_half_of_an_approle(vault, call):
    """Newer ones do not say which half was wrong; a missing role_id was 400."""
    vault.old = True
    role_id, secret_id = vault.approle("role", {}, secret_id_num_uses=1)
    login = {"role_id": role_id, "secret_id": secret_id}
    assert call("POST", "auth/approle/login", login).status == 200
    for wrong, text in (
        (login, "invalid secret id"),
        ({**login, "role_id": "x"}, "invalid role ID"),
        ({}, "missing role_id"),
    ):
        reply = call("POST", "auth/approle/login", wrong)
        assert (reply.status, reply.errors) == (400, [text])


def test_1_8_refuses_kubernetes_logins_with_500(vault, call):
    """A 5xx that is a refusal all the same; an unknown role is 400 as ever."""
    vault.old = True
    vault.kubernetes("role", "rotator", "prod", {}, issuer="cluster")
    for jwt, text in (
        (vault.jwt("other", "prod", issuer="cluster"), "service account name not authorized"),
        (vault.jwt("rotator", "test", issuer="cluster"), "namespace not authorized"),
        (vault.jwt("rotator", "prod", ttl=-600), "token is expired"),
        (vault.jwt("rotator", "prod", issuer="other"), 'claim "iss" is invalid'),
        ("nonsense", "error parsing token"),
    ):
        reply = call("POST", "auth/kubernetes/login", {"role": "role", "jwt": jwt})
        assert reply.status == 500
        assert text in reply.errors[0]
    good = {"role": "role", "jwt": vault.jwt("rotator", "prod", issuer="cluster")}
    assert call("POST", "auth/kubernetes/login", good).status == 200
    unknown = call("POST", "auth/kubernetes/login", {"role": "x", "jwt": jwt})
    assert (unknown.status, unknown.errors) == (400, ['invalid role name "x"'])


def test_1_8_says_sealed_in_more_words(vault, call):
    """The text ends with the same words."""
    vault.old = True
    vault.seal()
    assert call("GET", DATA).errors == ["error performing token check: Vault is sealed"]
    assert call("GET", "sys/health").body["version"].startswith("1.8")


# --- TLS ------------------------------------------------------------------------------------------


def test_tls(tmp_path):
    """With a certificate it speaks TLS only; who trusts another CA gets no answer, and nobody else suffers."""
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    with StrictVault(certificate=tmp_path / "server.pem", key=tmp_path / "server.pem") as vault:
        assert vault.url.startswith("https://127.0.0.1:")

        def health(ca):
            context = ssl.create_default_context(cafile=tmp_path / ca)
            where = vault.url.removeprefix("https://")
            connection = http.client.HTTPSConnection(where, context=context, timeout=10)
            try:
                connection.request("GET", "/v1/sys/health")
                return connection.getresponse().status
            finally:
                connection.close()

        with pytest.raises(ssl.SSLCertVerificationError):
            health("stranger.pem")
        plain = http.client.HTTPConnection(vault.url.removeprefix("https://"), timeout=10)
        plain.request("GET", "/v1/sys/health")
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            plain.getresponse()
        plain.close()
        assert health("ca.pem") == 200


# --- what tests look at and turn ------------------------------------------------------------------


def test_the_record_holds_no_secret(vault, call):
    """Method, path, namespace and status of each request in order, and nothing of tokens or values."""
    vault.namespace("team")
    role_id, secret_id = vault.approle("role", {})
    jwt = vault.jwt("rotator", "prod")
    call("POST", DATA, {"data": {"a": MARK}})
    call("GET", f"secret/data/x?q={MARK}", namespace="team", token=MARK)
    call("POST", "auth/approle/login", {"role_id": role_id, "secret_id": secret_id})
    call("POST", "auth/kubernetes/login", {"role": "x", "jwt": jwt})

    assert [(seen.method, seen.path, seen.namespace, seen.status) for seen in vault.requests] == [
        ("POST", DATA, "", 200),
        ("GET", DATA, "team", 403),
        ("POST", "auth/approle/login", "", 200),
        ("POST", "auth/kubernetes/login", "", 404),
    ]
    assert not any(text in repr(vault.requests) for text in (MARK, vault.root, secret_id, jwt))


def test_somebody_else_writes_by_the_same_rules(vault, call):
    """Numbers go on and old versions are pruned, but a mount that requires cas does not ask it of them."""
    vault.mount("strict", cas_required=True, max_versions=2)
    assert [vault.write("strict", "x", {"a": number}) for number in range(3)] == [1, 2, 3]
    assert sorted(vault.raw_versions("strict", "x")) == [2, 3]
    assert vault.read("strict", "x") == {"a": 2}
    assert vault.paths("strict") == ["x"]

    assert vault.call("DELETE", "strict/data/x").status == 204
    assert vault.read("strict", "x") is None
    assert vault.raw_versions("strict", "x")[3].data == {"a": 2}
    assert vault.raw_versions("strict", "nothing") == {}
    assert vault.requests == []


def test_a_callers_clock_is_the_servers(vault, call):
    """Tokens live by it; `advance` moves this server alone."""
    clock = FakeClock()
    vault.clock = clock
    token = vault.token({}, ttl=100)
    clock.advance(99)
    assert call("GET", "auth/token/lookup-self", token=token).data["ttl"] == 1
    vault.advance(1)
    assert call("GET", "auth/token/lookup-self", token=token).status == 403
    call("POST", DATA, BODY)
    assert call("GET", DATA).data["metadata"]["created_time"].startswith("2026-11-21T12:01:40")


def test_a_token_can_be_ended(vault, call):
    """At once, root's too."""
    tokens = [vault.token({}), vault.token(ttl=60), vault.root]
    for token in tokens:
        assert call("GET", "auth/token/lookup-self", token=token).status == 200
        vault.expire(token)
        assert call("GET", "auth/token/lookup-self", token=token).errors == ["permission denied"]


def test_more_secret_ids(vault, call):
    """Each of a role's secret_ids has uses of its own."""
    role_id, first = vault.approle("role", {}, secret_id_num_uses=1)
    second = vault.secret_id(role_id)
    for secret_id, statuses in ((first, [200, 400]), (second, [200, 200])):
        login = {"role_id": role_id, "secret_id": secret_id}
        assert [call("POST", "auth/approle/login", login).status for _ in range(2)] == statuses


def test_reset_forgets_everything(vault, call):
    """One empty mount, a new root token, no faults, no states, no record."""
    vault.mount("other", namespace="team")
    vault.write("secret", "x", {"a": 1})
    vault.faults.add("error-before", times=9)
    vault.seal()
    vault.standby(None)
    vault.old, vault.stale_reads, root = True, 3, vault.root
    vault.clock = FakeClock()
    vault.advance(1e9)
    before = vault.now()
    vault.reset()

    assert vault.root != root
    assert vault.now() < before
    assert not isinstance(vault.clock, FakeClock)
    assert (vault.old, vault.stale_reads, vault.requests, len(vault.faults)) == (False, 0, [], 0)
    assert call("GET", DATA, token=vault.root).body == {"errors": []}
    assert call("GET", DATA, token=root).status == 403
    assert call("GET", "other/data/x", token=vault.root, namespace="team").errors == ["namespace not found"]


def test_threads_may_do_anything_at_once(vault, call):
    """Writers, a sealer and a resetter together leave a server that still answers."""
    stop = threading.Event()
    odd = []

    def write():
        caller = Caller(vault.url, "")
        while not stop.is_set():
            status = caller("POST", DATA, BODY, token=vault.root).status
            if status not in (200, 403, 503):
                odd.append(status)
        caller.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        vault.seal()
        vault.unseal()
        vault.reset()
    stop.set()
    for thread in threads:
        thread.join()

    assert odd == []
    assert call("GET", "sys/health").status == 200


def test_it_runs_alone():
    """Started as a program it prints its URL and root token, and serves until it is stopped."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.destinations.strict_vault", "--port", "0"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        try:
            told = json.loads(process.stdout.readline())
            caller = Caller(told["url"], told["root"])
            assert caller("POST", DATA, BODY).status == 200
            caller.close()
        finally:
            process.terminate()
