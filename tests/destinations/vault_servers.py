"""The strict Vault fake and a real server behind one set of verbs, so that one table tests both.

The real one is found by VAULT_ADDR and VAULT_TOKEN (a root token) of the environment. Whatever is made
on it has a name of its own and is removed again.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

import httpx
import trustme

from rotator.simulator.listener import Listener
from tests.destinations.strict_vault import StrictVault
from tests.destinations.strict_vault_answers import parse
from tests.destinations.strict_vault_auth import ISSUER, Auth

Rules = dict[str, set[str]]
NO_HANDLER = "no handler for route"


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    """None where there is no content."""
    headers: httpx.Headers

    @property
    def errors(self) -> list[str]:
        return list(self.body["errors"])

    @property
    def data(self) -> Any:
        return self.body["data"]


class VaultServer(Protocol):
    """What the table needs of a server. Each thing made is new, and its name is the answer."""

    url: str
    root: str

    def mount(
        self, *, cas_required: bool = False, max_versions: int = 0, version: int = 2, namespace: str = ""
    ) -> str: ...

    def namespace(self) -> str: ...

    def token(
        self,
        rules: Rules,
        *,
        ttl: int = 3600,
        max_ttl: int = 0,
        renewable: bool = True,
        display_name: str = "",
        namespace: str = "",
    ) -> str: ...

    def approle(
        self, rules: Rules, *, ttl: int = 3600, max_ttl: int = 0, uses: int = 0, namespace: str = ""
    ) -> tuple[str, str, str]:
        """Its auth mount, a role_id and a secret_id."""
        ...

    def kubernetes(
        self, account: str, home: str, rules: Rules, *, audience: str = "", issuer: str = ""
    ) -> tuple[str, str]:
        """Its auth mount and a role for the service account."""
        ...

    def jwt(
        self, account: str, home: str, *, audience: str = "vault", ttl: float = 3600, issuer: str = ISSUER
    ) -> str: ...

    def forget_account(self, account: str, home: str) -> None: ...

    def pass_time(self, seconds: float) -> None: ...


class Caller:
    """Raw HTTP to one server: no client library, no retries, nothing from the environment."""

    def __init__(self, url: str, token: str) -> None:
        # Loading the machine's CAs takes longer than most tests do; plain HTTP needs none.
        secure = url.startswith("https")
        self._client = httpx.Client(base_url=f"{url}/v1/", trust_env=secure, verify=secure, timeout=30)
        self._token = token

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        namespace: str = "",
        raw: bytes | None = None,
        content_type: str | None = None,
    ) -> Reply:
        """Sends JSON with all rights, unless told otherwise; an empty token is none at all."""
        used = self._token if token is None else token
        kind = content_type or ("application/merge-patch+json" if method == "PATCH" else "application/json")
        headers = {"X-Vault-Token": used, "X-Vault-Namespace": namespace, "Content-Type": kind}
        content = json.dumps(body).encode() if body is not None else raw
        sent = {name: value for name, value in headers.items() if value}
        answer = self._client.request(method, path, content=content, headers=sent)
        return Reply(answer.status_code, answer.json() if answer.content else None, answer.headers)

    def close(self) -> None:
        self._client.close()


class FakeServer:
    """The fake, as the table sees it."""

    def __init__(self, vault: StrictVault) -> None:
        self.vault, self.url, self.root = vault, vault.url, vault.root

    def mount(
        self, *, cas_required: bool = False, max_versions: int = 0, version: int = 2, namespace: str = ""
    ) -> str:
        name = _new("kv")
        self.vault.mount(
            name, cas_required=cas_required, max_versions=max_versions, version=version, namespace=namespace
        )
        return name

    def namespace(self) -> str:
        return self.vault.namespace(_new("ns"))

    def token(self, rules: Rules, **options: Any) -> str:
        return self.vault.token(rules, **options)

    def approle(
        self, rules: Rules, *, ttl: int = 3600, max_ttl: int = 0, uses: int = 0, namespace: str = ""
    ) -> tuple[str, str, str]:
        mount = _new("approle")
        role_id, secret_id = self.vault.approle(
            "role",
            rules,
            ttl=ttl,
            max_ttl=max_ttl,
            mount=mount,
            secret_id_num_uses=uses,
            namespace=namespace,
        )
        return mount, role_id, secret_id

    def kubernetes(
        self, account: str, home: str, rules: Rules, *, audience: str = "", issuer: str = ""
    ) -> tuple[str, str]:
        mount = _new("kubernetes")
        self.vault.kubernetes("role", account, home, rules, mount=mount, audience=audience, issuer=issuer)
        return mount, "role"

    def jwt(
        self, account: str, home: str, *, audience: str = "vault", ttl: float = 3600, issuer: str = ISSUER
    ) -> str:
        return self.vault.jwt(account, home, audience=audience, ttl=ttl, issuer=issuer)

    def forget_account(self, account: str, home: str) -> None:
        self.vault.forget_account(account, home)

    def pass_time(self, seconds: float) -> None:
        self.vault.advance(seconds)


class RealServer:
    """A real server, driven over its own API."""

    def __init__(self, url: str, root: str) -> None:
        self.url, self.root = url.rstrip("/"), root
        self._call = Caller(self.url, root)
        self._cleanup: list[tuple[str, str, str]] = []
        self._cluster = Auth(time.time)
        self._reviewer: Listener | None = None

    def close(self) -> None:
        for method, path, namespace in reversed(self._cleanup):
            self._call(method, path, namespace=namespace)
        self._call.close()
        if self._reviewer is not None:
            self._reviewer.shutdown()
            self._reviewer.server_close()

    def _admin(self, method: str, path: str, body: Any = None, *, namespace: str = "") -> Any:
        reply = self._call(method, path, body, namespace=namespace)
        assert reply.status in (200, 204), reply
        return reply.body

    def _made(self, path: str, body: Any, *, namespace: str = "") -> None:
        self._admin("POST", path, body, namespace=namespace)
        self._cleanup.append(("DELETE", path, namespace))

    def mount(
        self, *, cas_required: bool = False, max_versions: int = 0, version: int = 2, namespace: str = ""
    ) -> str:
        name = _new("kv")
        self._made(
            f"sys/mounts/{name}", {"type": "kv", "options": {"version": str(version)}}, namespace=namespace
        )
        if version == 2:
            self._await_upgrade(name, namespace)
            config = {"cas_required": cas_required, "max_versions": max_versions}
            self._admin("POST", f"{name}/config", config, namespace=namespace)
        return name

    def _await_upgrade(self, name: str, namespace: str) -> None:
        """A new mount upgrades itself for a moment, and answers 400 until it is done."""
        for _ in range(100):
            if self._call("GET", f"{name}/config", namespace=namespace).status == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} never came up")

    def namespace(self) -> str:
        name = _new("ns")
        self._made(f"sys/namespaces/{name}", {})
        return name + "/"

    def _policy(self, rules: Rules, namespace: str = "") -> str:
        name = _new("policy")
        policy = {"path": {path: {"capabilities": sorted(held)} for path, held in rules.items()}}
        self._made(f"sys/policies/acl/{name}", {"policy": json.dumps(policy)}, namespace=namespace)
        return name

    def token(
        self,
        rules: Rules,
        *,
        ttl: int = 3600,
        max_ttl: int = 0,
        renewable: bool = True,
        display_name: str = "",
        namespace: str = "",
    ) -> str:
        body = {
            "policies": [self._policy(rules, namespace)],
            "ttl": f"{ttl}s",
            "explicit_max_ttl": f"{max_ttl}s",
            "renewable": renewable,
            "display_name": display_name,
        }
        made = self._admin("POST", "auth/token/create", body, namespace=namespace)
        return str(made["auth"]["client_token"])

    def approle(
        self, rules: Rules, *, ttl: int = 3600, max_ttl: int = 0, uses: int = 0, namespace: str = ""
    ) -> tuple[str, str, str]:
        mount = _new("approle")
        self._made(f"sys/auth/{mount}", {"type": "approle"}, namespace=namespace)
        role = {
            "token_policies": [self._policy(rules, namespace)],
            "token_ttl": ttl,
            "token_max_ttl": max_ttl,
            "secret_id_num_uses": uses,
        }
        where = f"auth/{mount}/role/role"
        self._admin("POST", where, role, namespace=namespace)
        role_id = self._admin("GET", f"{where}/role-id", namespace=namespace)["data"]["role_id"]
        secret_id = self._admin("POST", f"{where}/secret-id", {}, namespace=namespace)["data"]["secret_id"]
        return mount, role_id, secret_id

    def kubernetes(
        self, account: str, home: str, rules: Rules, *, audience: str = "", issuer: str = ""
    ) -> tuple[str, str]:
        mount = _new("kubernetes")
        self._made(f"sys/auth/{mount}", {"type": "kubernetes"})
        config = {
            "kubernetes_host": self._review_url(),
            # Plain HTTP uses no CA, but the server wants one unless it runs in a cluster.
            "kubernetes_ca_cert": trustme.CA().cert_pem.bytes().decode(),
            "disable_local_ca_jwt": True,
            "issuer": issuer,
            "disable_iss_validation": issuer == "",
        }
        self._admin("POST", f"auth/{mount}/config", config)
        role = {
            "bound_service_account_names": [account],
            "bound_service_account_namespaces": [home],
            "token_policies": [self._policy(rules)],
            "audience": audience,
        }
        self._admin("POST", f"auth/{mount}/role/role", role)
        return mount, "role"

    def _review_url(self) -> str:
        if self._reviewer is None:
            self._reviewer = _reviewer(self._cluster)
            threading.Thread(target=self._reviewer.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._reviewer.server_address[1]}"

    def jwt(
        self, account: str, home: str, *, audience: str = "vault", ttl: float = 3600, issuer: str = ISSUER
    ) -> str:
        return self._cluster.jwt(account, home, audience=audience, ttl=ttl, issuer=issuer)

    def forget_account(self, account: str, home: str) -> None:
        self._cluster.service_accounts.pop((account, home), None)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds + 0.2)


def _reviewer(cluster: Auth) -> Listener:
    """The one call of a Kubernetes API server that a login needs: TokenReview, by the account's UID."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = parse(self.rfile.read(int(self.headers["Content-Length"])))
            status = _reviewed(cluster, review["spec"])
            text = json.dumps({**review, "status": status}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    return Listener(("127.0.0.1", 0), Handler)


def _reviewed(cluster: Auth, spec: dict[str, Any]) -> dict[str, Any]:
    claims = cluster.claims(spec["token"])
    inner = claims["kubernetes.io"]
    account, home = inner["serviceaccount"]["name"], inner["namespace"]
    uid = cluster.service_accounts.get((account, home))
    if uid != inner["serviceaccount"]["uid"]:
        return {"authenticated": False, "error": "invalid bearer token"}
    return {
        "authenticated": True,
        "user": {"username": f"system:serviceaccount:{home}:{account}", "uid": uid},
        "audiences": claims["aud"],
    }


def _new(kind: str) -> str:
    return f"rotator-test-{kind}-{uuid.uuid4().hex[:10]}"


@contextlib.contextmanager
def real_server(skip: Callable[[str], object]) -> Iterator[RealServer]:
    """The server that VAULT_ADDR names; without one, `skip` is told and has to raise."""
    url, root = os.environ.get("VAULT_ADDR", ""), os.environ.get("VAULT_TOKEN", "")
    if not (url and root):
        skip("no real server: VAULT_ADDR and VAULT_TOKEN (a root token) are not both set")
    server = RealServer(url, root)
    try:
        yield server
    finally:
        server.close()
