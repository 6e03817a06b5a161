"""A Vault / OpenBao server's measured behaviour over real HTTP, with knobs for what goes wrong.

    with StrictVault() as vault:
        token = vault.token({"secret/data/billing": {"read", "create", "update"}})
        vault.write("secret", "billing", {"token": "old"})
        ...  # VAULT_ADDR=vault.url, VAULT_TOKEN=token
        assert vault.read("secret", "billing") == ...

It answers as OpenBao 2.6.2 does, the newest server that was measured; with `old` set, as Vault 1.8 where
that differs. Its rules are in strict_vault_kv.py and strict_vault_auth.py; test_strict_vault.py holds it,
and any real server it is pointed at, to the same table.
`python -m tests.destinations.strict_vault --port 0` runs it alone and prints its URL as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rotator.clock import Clock
from tests.destinations.strict_vault_answers import Answer
from tests.destinations.strict_vault_auth import ISSUER, SYSTEM_TTL, AppRole, KubernetesRole
from tests.destinations.strict_vault_core import MERGE_PATCH, VaultCore, canonical
from tests.destinations.strict_vault_http import Request, Server
from tests.destinations.strict_vault_kv import KvMount, KvV1Mount, Version

Rules = dict[str, set[str]]


class StrictVault(VaultCore):
    """The server. All knobs may be turned while it runs; all methods are safe from any thread.

    With a certificate and its key (PEM files) it speaks TLS. `clock` may be exchanged at any time.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(clock)
        self._scheme = "http" if certificate is None else "https"
        self._server = Server(self.answer, port, certificate, key)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.reset()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def root(self) -> str:
        """The root token; another one after each reset."""
        return self.auth.root

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._epoch.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # --- for tests: the state ---------------------------------------------------------------------

    def reset(self) -> None:
        """Empty, unsealed, active, up to date, on its first clock, with one mount: `secret`.

        Requests that a fault still delays are dropped and never executed.
        """
        with self._lock:
            self._epoch.set()
            self._epoch = threading.Event()
            self.clock, self._offset = self._first_clock, 0.0
            self.faults.clear()
            self.requests.clear()
            self._mounts.clear()
            self._namespaces = {""}
            self.auth.clear()
            self.knobs.old, self.knobs.stale_reads = False, 0
            self._sealed, self._standby, self._active_url = False, False, ""
            self.mount("secret")

    def advance(self, seconds: float) -> None:
        """Time passes on this server only."""
        with self._lock:
            self._offset += seconds

    @property
    def old(self) -> bool:
        """Answers as Vault 1.8 did wherever that differs."""
        return self.knobs.old

    @old.setter
    def old(self, value: bool) -> None:
        self.knobs.old = value

    @property
    def stale_reads(self) -> int:
        """After each write, this many reads of that path see the former state, as on a lagging standby."""
        return self.knobs.stale_reads

    @stale_reads.setter
    def stale_reads(self, value: int) -> None:
        self.knobs.stale_reads = value

    def seal(self) -> None:
        self._sealed = True

    def unseal(self) -> None:
        self._sealed = False

    def standby(self, active_url: str | None) -> None:
        """No longer the active node, and unable to forward: redirects to that one, or knows of none."""
        self._standby, self._active_url = True, active_url or ""

    def active(self) -> None:
        self._standby = False

    # --- for tests: secrets -----------------------------------------------------------------------

    def namespace(self, name: str) -> str:
        """Makes the namespace and those above it; its path as policies and errors have it."""
        path = canonical(name)
        with self._lock:
            parts = path.split("/")[:-1]
            self._namespaces |= {"/".join(parts[: n + 1]) + "/" for n in range(len(parts))}
        return path

    def mount(
        self,
        path: str,
        *,
        cas_required: bool = False,
        max_versions: int = 0,
        namespace: str = "",
        version: int = 2,
    ) -> None:
        """An empty key-value mount, of version 2 or 1, in place of what was there."""
        with self._lock:
            where = (self.namespace(namespace), canonical(path))
            self._mounts[where] = (
                KvV1Mount()
                if version == 1
                else KvMount(self.now, self.knobs, cas_required=cas_required, max_versions=max_versions)
            )

    def write(self, mount: str, path: str, data: dict[str, Any], namespace: str = "") -> int:
        """Somebody else's write, whatever `cas_required` says; the new version's number."""
        with self._lock:
            return self._kv(mount, namespace).put(path, data)

    def read(self, mount: str, path: str, namespace: str = "") -> dict[str, Any] | None:
        """What a reader of the current version gets once all lag is over."""
        with self._lock:
            return self._kv(mount, namespace).current(path)

    def raw_versions(self, mount: str, path: str, namespace: str = "") -> dict[int, Version]:
        """All versions still kept, deleted and destroyed ones too."""
        with self._lock:
            secret = self._kv(mount, namespace).secrets.get(path)
            return dict(secret.versions) if secret else {}

    def paths(self, mount: str, namespace: str = "") -> list[str]:
        """Every path of the mount that has metadata."""
        with self._lock:
            return sorted(self._kv(mount, namespace).secrets)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, namespace: str = "") -> Answer:
        """A call with all rights that no fault, seal or record touches, for somebody else's other deeds."""
        with self._lock:
            space = canonical(namespace)
            raw = b"" if body is None else json.dumps(body).encode()
            return self._execute(Request(method, path, {}, space, self.root, MERGE_PATCH, raw))

    def _kv(self, mount: str, namespace: str) -> KvMount:
        found = self._mounts[canonical(namespace), canonical(mount)]
        assert isinstance(found, KvMount), "version 1 has no versions"
        return found

    # --- for tests: who may what ------------------------------------------------------------------

    def token(
        self,
        policies: Rules | None = None,
        *,
        ttl: float | None = None,
        max_ttl: float | None = None,
        renewable: bool = True,
        display_name: str = "",
        namespace: str = "",
    ) -> str:
        """A token as auth/token/create makes it, with one policy of these rules (None: all rights)."""
        with self._lock:
            space = self.namespace(namespace)
            root = policies is None
            names = ["root"] if policies is None else ["default", self.auth.policy(space, policies)]
            return self.auth.issue(
                names,
                display_name="token" + ("-" + display_name if display_name else ""),
                path="auth/token/create",
                ttl=ttl if ttl is not None else 0 if root else SYSTEM_TTL,
                max_ttl=max_ttl or 0,
                renewable=renewable,
                namespace=space,
            ).id

    def approle(
        self,
        name: str,
        policies: Rules,
        *,
        ttl: float = 3600,
        max_ttl: float = 0,
        mount: str = "approle",
        secret_id_num_uses: int = 0,
        namespace: str = "",
    ) -> tuple[str, str]:
        """A role and one secret_id of it, good for so many logins (0: any number): role_id, secret_id."""
        with self._lock:
            space = self.namespace(namespace)
            role = AppRole(name, [self.auth.policy(space, policies)], ttl, max_ttl)
            role_id = str(uuid.uuid4())
            self.auth.approles.setdefault((space, mount), {})[role_id] = role
            return role_id, self.secret_id(role_id, uses=secret_id_num_uses, mount=mount, namespace=namespace)

    def secret_id(self, role_id: str, *, uses: int = 0, mount: str = "approle", namespace: str = "") -> str:
        """One more secret_id for the role."""
        with self._lock:
            made = str(uuid.uuid4())
            self.auth.approles[canonical(namespace), mount][role_id].secret_ids[made] = uses
            return made

    def kubernetes(
        self,
        role: str,
        service_account: str,
        namespace: str,
        policies: Rules,
        *,
        mount: str = "kubernetes",
        ttl: float = 3600,
        max_ttl: float = 0,
        audience: str = "",
        issuer: str = "",
        vault_namespace: str = "",
    ) -> None:
        """A role for one service account of one Kubernetes namespace (each may hold `*`)."""
        with self._lock:
            space = self.namespace(vault_namespace)
            names = [self.auth.policy(space, policies)]
            made = KubernetesRole(
                [service_account], [namespace], names, ttl, max_ttl, audience=audience, issuer=issuer
            )
            self.auth.kubernetes.setdefault((space, mount), {})[role.lower()] = made

    def jwt(
        self,
        service_account: str,
        namespace: str,
        *,
        audience: str = "vault",
        ttl: float = 3600,
        issuer: str = ISSUER,
    ) -> str:
        """A projected token of that service account, which the cluster knows from now on."""
        with self._lock:
            return self.auth.jwt(service_account, namespace, audience=audience, ttl=ttl, issuer=issuer)

    def forget_account(self, service_account: str, namespace: str) -> None:
        """The service account is deleted in the cluster; its tokens are refused from now on."""
        self.auth.service_accounts.pop((service_account, namespace), None)

    def expire(self, token: str) -> None:
        """The token is dead from now on."""
        with self._lock:
            self.auth.tokens.pop(token, None)


def main() -> None:
    parser = argparse.ArgumentParser(description="A strict stand-in for Vault and OpenBao.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    with StrictVault(port=parser.parse_args().port) as vault:
        sys.stdout.write(json.dumps({"url": vault.url, "root": vault.root}) + "\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
