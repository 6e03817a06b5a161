"""Tokens, policies and logins by the rules of real servers. Nothing here knows of HTTP."""

from __future__ import annotations

import base64
import json
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.destinations.strict_vault_answers import DENIED, VaultError, rfc3339

SYSTEM_TTL = 768 * 3600
"""Seconds: both the default and the longest life of a token."""

ISSUER = "https://kubernetes.default.svc.cluster.local"

DEFAULT_POLICY = {
    "auth/token/lookup-self": {"read"},
    "auth/token/renew-self": {"update"},
    "auth/token/revoke-self": {"update"},
    "sys/capabilities-self": {"update"},
}


@dataclass
class Token:
    id: str
    accessor: str
    namespace: str
    policies: list[str]
    display_name: str
    path: str
    issued: float
    ttl: float
    """Seconds; 0 for one that never expires."""
    max_ttl: float
    renewable: bool
    expires: float | None
    meta: dict[str, str] | None = None
    renewed: float | None = None
    renews_for: float = 0
    """Seconds that a renewal without an increment gives."""
    kind: str = "service"

    @property
    def root(self) -> bool:
        return self.policies == ["root"]


@dataclass
class AppRole:
    name: str
    policies: list[str]
    ttl: float
    max_ttl: float
    secret_ids: dict[str, int] = field(default_factory=dict)
    """Uses left; 0 means any number."""


@dataclass
class KubernetesRole:
    accounts: list[str]
    namespaces: list[str]
    policies: list[str]
    ttl: float
    max_ttl: float
    audience: str = ""
    issuer: str = ""
    """Empty: any."""


class Policies:
    """Path rules with capabilities; the most specific rule decides, and `deny` beats all others in it."""

    def __init__(self) -> None:
        self.named: dict[tuple[str, str], dict[str, set[str]]] = {}
        """By namespace and name; paths are relative to the namespace."""

    def capabilities(self, token: Token, path: str, *, listing: bool = False) -> set[str]:
        if token.root:
            return {"root"} if path.startswith(token.namespace) else set()
        rules = self._rules(token)
        found = rules.get(path) if not _is_pattern(path) else None
        if found is None and listing:
            found = rules.get(path.rstrip("/"))
        if found is None:
            found = _by_pattern(rules, path)
        if found is None and listing and path.endswith("/"):
            found = _by_pattern(rules, path.rstrip("/"))
        return set() if found is None or "deny" in found else found

    def reaches(self, token: Token, mount: str) -> bool:
        """Whether any rule gives anything at or below the mount."""
        if self.capabilities(token, mount, listing=True):
            return True
        return any(
            capabilities - {"deny"} and re.match(_expression(path, mount), mount + "\0")
            for path, capabilities in self._rules(token).items()
        )

    def _rules(self, token: Token) -> dict[str, set[str]]:
        merged: dict[str, set[str]] = {}
        for name in token.policies:
            for path, capabilities in self.named.get((token.namespace, name), {}).items():
                merged.setdefault(token.namespace + path, set()).update(capabilities)
        return merged


def _is_pattern(path: str) -> bool:
    return path.endswith("*") or "+" in path.rstrip("*").split("/")


def _by_pattern(rules: dict[str, set[str]], path: str) -> set[str] | None:
    ranked = []
    for rule, capabilities in rules.items():
        if not _is_pattern(rule):
            continue
        bare = rule.removesuffix("*")
        if re.fullmatch(_expression(rule), path):
            segments = bare.split("/")
            first = bare.index("+") if "+" in segments else len(bare)
            order = (first, not rule.endswith("*"), -segments.count("+"), len(bare), bare)
            ranked.append((order, capabilities))
    return max(ranked, key=lambda item: item[0])[1] if ranked else None


def _expression(rule: str, below: str = "") -> str:
    """A regular expression for a rule; with `below`, one that a mount's path reaches into."""
    bare = rule.removesuffix("*")
    if below:
        depth = below.count("/")
        bare = "/".join(bare.split("/")[:depth]) + "/" if bare.count("/") >= depth else bare
        tail = "\0"
    else:
        tail = ".*" if rule.endswith("*") else ""
    return "/".join("[^/]*" if part == "+" else re.escape(part) for part in bare.split("/")) + tail


class Auth:
    """All tokens and roles of one server."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.policies = Policies()
        self.tokens: dict[str, Token] = {}
        self.approles: dict[tuple[str, str], dict[str, AppRole]] = {}
        """By namespace and mount, then by role_id."""
        self.kubernetes: dict[tuple[str, str], dict[str, KubernetesRole]] = {}
        self.service_accounts: dict[tuple[str, str], str] = {}
        """UIDs by name and namespace: the accounts that the cluster knows."""
        self.clear()

    def clear(self) -> None:
        for table in (self.policies.named, self.tokens, self.approles, self.kubernetes):
            table.clear()
        self.service_accounts.clear()
        self.root = self.issue(["root"], display_name="root", path="auth/token/root", ttl=0).id

    def policy(self, namespace: str, rules: dict[str, set[str]]) -> str:
        """Keeps the rules under a new name."""
        name = f"policy-{len(self.policies.named) + 1}"
        self.policies.named[namespace, "default"] = DEFAULT_POLICY
        self.policies.named[namespace, name] = rules
        return name

    def issue(
        self,
        policies: list[str],
        *,
        display_name: str,
        path: str,
        ttl: float,
        max_ttl: float = 0,
        renewable: bool = True,
        namespace: str = "",
        meta: dict[str, str] | None = None,
    ) -> Token:
        now = self._now()
        ttl = min(ttl, max_ttl or SYSTEM_TTL)
        token = Token(
            id="s." + secrets.token_urlsafe(18).replace("-", "a").replace("_", "b"),
            accessor=secrets.token_hex(12),
            namespace=namespace,
            policies=policies,
            display_name=display_name,
            path=path,
            issued=now,
            ttl=ttl,
            max_ttl=max_ttl,
            renewable=renewable and ttl > 0,
            expires=now + ttl if ttl else None,
            meta=meta,
            renews_for=ttl,
        )
        self.tokens[token.id] = token
        return token

    def living(self, token_id: str) -> Token | None:
        token = self.tokens.get(token_id)
        if token is None or (token.expires is not None and self._now() >= token.expires):
            return None
        return token

    def told(self, token: Token) -> dict[str, Any]:
        """What lookup-self says."""
        now = self._now()
        data = {
            "accessor": token.accessor,
            "creation_time": int(token.issued),
            "creation_ttl": int(token.ttl),
            "display_name": token.display_name,
            "entity_id": "",
            "expire_time": rfc3339(token.expires) if token.expires is not None else None,
            "explicit_max_ttl": int(token.max_ttl) if token.path == "auth/token/create" else 0,
            "id": token.id,
            "meta": token.meta,
            "num_uses": 0,
            "orphan": token.path != "auth/token/create",
            "path": token.path,
            "policies": token.policies,
            "ttl": int(token.expires - now) if token.expires is not None else 0,
            "type": token.kind,
        }
        data["issue_time"] = rfc3339(token.issued)
        data["renewable"] = token.renewable
        if token.renewed is not None:
            data["last_renewal"] = rfc3339(token.renewed)
            data["last_renewal_time"] = int(token.renewed)
        if token.namespace:
            data["namespace_path"] = token.namespace
        return data

    def renew(self, token: Token, increment: float) -> tuple[dict[str, Any], list[str]]:
        """Moves the end of its life, never beyond its longest life. The answer's auth and warnings."""
        if not token.renewable:
            raise VaultError(400, "lease is not renewable")
        now = self._now()
        left = int(token.issued) + (token.max_ttl or SYSTEM_TTL) - int(now)  # in whole seconds, as the server
        wanted = increment or token.renews_for
        warnings = []
        if wanted > left:
            warnings.append(
                f'TTL of "{wanted:.0f}s" exceeded the effective max_ttl of "{left:.0f}s"; '
                "TTL value is capped accordingly"
            )
        token.expires = now + min(wanted, left)
        token.renewed = now
        if token.path == "auth/token/create":
            token.renews_for = min(wanted, left)  # a role's time comes back, a made token's was changed
        return self.auth(token), warnings

    def auth(self, token: Token) -> dict[str, Any]:
        return {
            "client_token": token.id,
            "accessor": token.accessor,
            "policies": token.policies,
            "token_policies": token.policies,
            "metadata": token.meta,
            "lease_duration": round(token.expires - self._now()) if token.expires is not None else 0,
            "renewable": token.renewable,
            "entity_id": "",
            "token_type": token.kind,
            "orphan": True,
            "mfa_requirement": None,
            "num_uses": 0,
        }

    # --- logins -----------------------------------------------------------------------------------

    def approle_login(self, namespace: str, mount: str, body: dict[str, Any], *, old: bool) -> Token:
        # 1.8 named the wrong half, and had 400 for a missing role_id; newer ones look up the alias first.
        role_id, secret_id = str(body.get("role_id", "")), str(body.get("secret_id", ""))
        if not role_id:
            raise VaultError(400 if old else 500, "missing role_id")
        role = self.approles[namespace, mount].get(role_id)
        if role is None:
            raise VaultError(400, "invalid role ID" if old else "invalid role or secret ID")
        if not secret_id:
            raise VaultError(400, "missing secret_id")
        if secret_id not in role.secret_ids:
            raise VaultError(400, "invalid secret id" if old else "invalid role or secret ID")
        if role.secret_ids[secret_id] == 1:
            del role.secret_ids[secret_id]
        elif role.secret_ids[secret_id]:
            role.secret_ids[secret_id] -= 1
        return self.issue(
            ["default", *role.policies],
            display_name=mount.replace("/", "-"),
            path=f"auth/{mount}/login",
            ttl=role.ttl,
            max_ttl=role.max_ttl,
            namespace=namespace,
            meta={"role_name": role.name},
        )

    def kubernetes_login(self, namespace: str, mount: str, body: dict[str, Any], *, old: bool) -> Token:
        name, jwt = str(body.get("role", "")), str(body.get("jwt", ""))
        for field_name, value in (("role", name), ("jwt", jwt)):
            if not value:
                raise VaultError(400, f"missing {field_name}")
        role = self.kubernetes[namespace, mount].get(name.lower())
        if role is None:
            raise VaultError(400, f'invalid role name "{name}"')
        # 1.8 passed every refusal of a JWT on as its own failure; newer ones say 403, mostly with the reason.
        claims = self._accepted(jwt, role, refused=500 if old else 403)
        inner = claims["kubernetes.io"]
        account, home, uid = (
            inner["serviceaccount"]["name"],
            inner["namespace"],
            inner["serviceaccount"]["uid"],
        )
        if self.service_accounts.get((account, home)) != uid:
            raise VaultError(403, DENIED)
        return self.issue(
            ["default", *role.policies],
            display_name=f"{mount.replace('/', '-')}-{home}-{account}",
            path=f"auth/{mount}/login",
            ttl=role.ttl,
            max_ttl=role.max_ttl,
            namespace=namespace,
            meta={
                "role": name,
                "service_account_name": account,
                "service_account_namespace": home,
                "service_account_secret_name": "",
                "service_account_uid": uid,
            },
        )

    def _accepted(self, jwt: str, role: KubernetesRole, *, refused: int) -> dict[str, Any]:
        """What the JWT says, checked against the role; signatures are the cluster's business."""
        try:
            claims = self.claims(jwt)
            inner = claims["kubernetes.io"]
            account, home = inner["serviceaccount"]["name"], inner["namespace"]
        except (ValueError, KeyError, TypeError):
            raise (
                VaultError(500, "error parsing token") if refused == 500 else VaultError(403, DENIED)
            ) from None
        if self._now() > float(claims.get("exp", "inf")) + 150:  # the server's leeway, seconds
            raise VaultError(refused, "invalid expiration time (exp) claim: token is expired")
        if role.issuer and role.issuer != claims.get("iss"):
            text = 'claim "iss" is invalid' if refused == 500 else "invalid issuer (iss) claim"
            raise VaultError(refused, text)
        if role.audience and role.audience not in claims.get("aud", []):
            raise VaultError(
                refused, "invalid audience (aud) claim: audience claim does not match any expected"
            )
        if not any(fnmatchcase(account, pattern) for pattern in role.accounts):
            raise VaultError(refused, "service account name not authorized")
        if not any(fnmatchcase(home, pattern) for pattern in role.namespaces):
            raise VaultError(refused, "namespace not authorized")
        return claims

    @staticmethod
    def claims(jwt: str) -> dict[str, Any]:
        """What a JWT says; raises ValueError for what is none."""
        _, payload, _ = jwt.split(".")
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims

    def jwt(self, account: str, namespace: str, *, audience: str, ttl: float, issuer: str) -> str:
        """A projected service-account token, signed by nobody."""
        uid = self.service_accounts.setdefault((account, namespace), str(uuid.uuid4()))
        now = int(self._now())
        claims = {
            "aud": [audience],
            "iss": issuer,
            "iat": now,
            "nbf": now,
            "exp": int(now + ttl),
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
        }
        parts = [{"alg": "RS256", "typ": "JWT"}, claims]
        encoded = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
        ]
        return ".".join([*encoded, base64.urlsafe_b64encode(secrets.token_bytes(64)).rstrip(b"=").decode()])
