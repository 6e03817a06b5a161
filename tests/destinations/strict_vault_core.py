"""The strict Vault fake's one door: in which state the server is, who may call, and whose rules apply."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from rotator.clock import Clock, SystemClock
from tests.destinations.strict_vault_answers import (
    DENIED,
    LACKS_POLICY,
    Answer,
    VaultError,
    envelope,
    unsupported,
)
from tests.destinations.strict_vault_auth import Auth, Token
from tests.destinations.strict_vault_faults import Faults
from tests.destinations.strict_vault_http import Request
from tests.destinations.strict_vault_kv import Knobs, KvMount, KvV1Mount

VERSION = {False: "2.6.2", True: "1.8.0-dev"}
MERGE_PATCH = "application/merge-patch+json"
CAPABILITY = {
    "GET": "read",
    "LIST": "list",
    "DELETE": "delete",
    "PATCH": "patch",
    "POST": "update",
    "PUT": "update",
}


UPGRADING = (
    "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and "
    "will resume service shortly."
)


@dataclass(frozen=True)
class Seen:
    """One request as the record keeps it; nothing in it is secret. Status 0: the connection was dropped."""

    method: str
    path: str
    namespace: str
    status: int


class VaultCore:
    """The server without HTTP. The caller's thread is the request's; state is guarded by one lock."""

    def __init__(self, clock: Clock | None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._first_clock = self.clock
        self._offset = 0.0
        self.knobs = Knobs()
        self.faults = Faults()
        self.requests: list[Seen] = []
        self.auth = Auth(self.now)
        self._epoch = threading.Event()
        """Set when this epoch is over: at a reset and at the end. What still waits is dropped then."""
        self._lock = threading.RLock()
        self._mounts: dict[tuple[str, str], KvMount | KvV1Mount] = {}
        self._namespaces: set[str] = set()
        self._sealed, self._standby, self._active_url = False, False, ""

    def now(self) -> float:
        return self.clock.now().timestamp() + self._offset

    def answer(self, request: Request) -> Answer | None:
        """The answer; None means that the connection is to be dropped."""
        epoch = self._epoch
        fault = self.faults.take(request.method, request.path)
        kind = fault.kind if fault else ""
        if fault is not None and fault.action is not None:
            fault.action()
        if fault is not None and kind == "delay" and epoch.wait(fault.seconds):
            return None
        answer = None
        if kind not in ("error-before", "drop-before", "rate-limit", "upgrading"):
            answer = self._guarded(request)
        if fault is not None and kind == "delay-answer" and epoch.wait(fault.seconds):
            return None
        if fault is not None and kind in ("error-before", "error-after"):
            answer = Answer(fault.status, {"errors": ["internal error"]})
        elif kind == "rate-limit":
            text = f'request path "{request.path}": rate limit quota exceeded'
            answer = Answer(429, {"errors": [text]})
        elif kind == "upgrading":
            answer = Answer(400, {"errors": [UPGRADING]})
        elif kind in ("drop-before", "lost-answer"):
            answer = None
        status = answer.status if answer else 0
        self.requests.append(Seen(request.method, request.path, request.namespace, status))
        return answer

    def _guarded(self, request: Request) -> Answer:
        """The call, if this server is in a state to take it."""
        if request.path == "sys/health":
            if canonical(request.namespace):
                return Answer(400, {"errors": ["operation unavailable in namespaces"]})
            return self._health(request.query)
        if request.path == "sys/seal-status":
            return self._seal_status()
        if self._sealed:
            # 1.8 found out while it looked up the token; newer ones look before.
            text = "error performing token check: Vault is sealed" if self.knobs.old else "Vault is sealed"
            return Answer(503, {"errors": [text]})
        if self._standby and self._active_url:
            query = "?" + urlencode(request.query) if request.query else ""
            location = f"{self._active_url}/v1/{quote(request.path)}{query}"
            return Answer(307, headers={"Location": location})
        if self._standby:
            return Answer(500, {"errors": ["local node not active but active cluster node not found"]})
        with self._lock:
            try:
                return self._execute(request)
            except VaultError as error:
                return error.answer

    def _health(self, query: dict[str, str]) -> Answer:
        status = int(query.get("activecode", "200"))
        if self._sealed:
            status = int(query.get("sealedcode", "503"))
        elif self._standby and query.get("standbyok", "false").lower() not in ("true", "1", ""):
            status = int(query.get("standbycode", "429"))
        body = {
            "initialized": True,
            "sealed": self._sealed,
            "standby": self._sealed or self._standby,
            "replication_performance_mode": "disabled",
            "replication_dr_mode": "disabled",
            "server_time_utc": int(self.now()),
            "version": VERSION[self.knobs.old],
        }
        return Answer(status, body)

    def _seal_status(self) -> Answer:
        body = {
            "type": "shamir",
            "initialized": True,
            "sealed": self._sealed,
            "t": 1,
            "n": 1,
            "progress": 0,
            "version": VERSION[self.knobs.old],
        }
        return Answer(200, body)

    def _execute(self, request: Request) -> Answer:
        """One call by the rules; raises VaultError for a refusal."""
        if request.method not in CAPABILITY:
            raise VaultError(405)
        space, path = self._resolve(request.namespace, request.path)
        writing = request.method in ("POST", "PUT", "PATCH")
        if request.method == "LIST":
            path = path.rstrip("/") + "/"
        if writing and path.endswith("/"):
            raise VaultError(400, "cannot write to a path ending in '/'")
        if request.method == "PATCH" and request.content_type.partition(";")[0] != MERGE_PATCH:
            raise VaultError(
                415, f"PATCH requires Content-Type of {MERGE_PATCH}, provided {request.content_type}"
            )
        body = request.body() if writing else {}
        login = self._login(space, path)
        if login is not None:
            if request.method not in ("POST", "PUT"):
                raise unsupported()
            return Answer(200, envelope(auth=self.auth.auth(login(body))))
        token = self._token(request)
        if path.startswith("sys/internal/ui/mounts/"):
            return self._mount_info(space, path.removeprefix("sys/internal/ui/mounts/"), token)
        if path in ("auth/token/lookup-self", "auth/token/renew-self", "auth/token/revoke-self"):
            space = token.namespace  # these mean the token, wherever the call says it is
        self._authorize(space, path, request.method, body, token)
        if path == "sys/capabilities-self":
            return self._capabilities(space, body, token)
        if path.startswith("auth/token/"):
            return self._token_call(path.removeprefix("auth/token/"), request.method, body, token)
        found = self._find(space, path)
        if found is None:
            raise VaultError(404, f'no handler for route "{path}". route entry not found.')
        where, engine = found
        return engine.handle(request.method, path.removeprefix(where), request.query, body)

    def _resolve(self, header: str, path: str) -> tuple[str, str]:
        """Namespace and the path in it; the header and the front of the path may each name a part of it."""
        space = canonical(header)
        if space not in self._namespaces:
            raise VaultError(404, "namespace not found")
        inner = max((known for known in self._namespaces if (space + path).startswith(known)), key=len)
        if len(inner) > len(space):
            return inner, (space + path).removeprefix(inner)
        return space, path

    def _login(self, space: str, path: str) -> Callable[[dict[str, Any]], Token] | None:
        mount = path.removeprefix("auth/").removesuffix("/login")
        if path != f"auth/{mount}/login":
            return None
        if (space, mount) in self.auth.approles:
            return lambda body: self.auth.approle_login(space, mount, body, old=self.knobs.old)
        if (space, mount) in self.auth.kubernetes:
            return lambda body: self.auth.kubernetes_login(space, mount, body, old=self.knobs.old)
        return None

    def _token(self, request: Request) -> Token:
        if not request.token:
            # 1.8 said so with 400; newer ones treat it as a wrong token.
            raise VaultError(400, "missing client token") if self.knobs.old else VaultError(403, DENIED)
        token = self.auth.living(request.token)
        if token is None:
            raise VaultError(403, DENIED)
        return token

    def _authorize(self, space: str, path: str, method: str, body: dict[str, Any], token: Token) -> None:
        needed = CAPABILITY[method]
        found = self._find(space, path)
        if needed == "update" and found is not None:
            where, engine = found
            engine.precheck(path.removeprefix(where), body)
            if engine.exists(path.removeprefix(where)) is False:
                needed = "create"
        held = self.auth.policies.capabilities(token, space + path, listing=method == "LIST")
        if not {needed, "root"} & held:
            raise VaultError(403, LACKS_POLICY)

    def _find(self, space: str, path: str) -> tuple[str, KvMount | KvV1Mount] | None:
        fitting = [
            where for owner, where in self._mounts if owner == space and (path + "/").startswith(where)
        ]
        where = max(fitting, key=len, default="")
        return (where, self._mounts[space, where]) if where else None

    def _capabilities(self, space: str, body: dict[str, Any], token: Token) -> Answer:
        paths = body.get("paths") or body.get("path") or []
        paths = paths.split(",") if isinstance(paths, str) else paths
        if not paths:
            raise VaultError(400, "paths must be supplied")
        held = {
            path: sorted(self.auth.policies.capabilities(token, space + path, listing=True)) or ["deny"]
            for path in paths
        }
        data = {**held, "capabilities": held[paths[0]]} if len(paths) == 1 else held
        return Answer(200, {**envelope(data), **data})

    def _mount_info(self, space: str, path: str, token: Token) -> Answer:
        found = self._find(space, path)
        # The same refusal for a mount that is not there, so that mounts cannot be guessed.
        if found is None or not self.auth.policies.reaches(token, space + found[0]):
            raise VaultError(
                403,
                "preflight capability check returned 403, please ensure client's policies grant access to path "
                f'"{path.strip("/")}/"',
            )
        where, engine = found
        version = "1" if isinstance(engine, KvV1Mount) else "2"
        return Answer(200, envelope({"path": where, "type": "kv", "options": {"version": version}}))

    def _token_call(self, name: str, method: str, body: dict[str, Any], token: Token) -> Answer:
        match name, method:
            case "lookup-self", "GET":
                return Answer(200, envelope(self.auth.told(token)))
            case "renew-self", "POST" | "PUT":
                auth, warnings = self.auth.renew(token, _seconds(body.get("increment", 0)))
                return Answer(200, envelope(auth=auth, warnings=warnings or None))
            case "revoke-self", "POST" | "PUT":
                self.auth.tokens.pop(token.id, None)
                return Answer(204)
        raise unsupported()


def canonical(path: str) -> str:
    """Of a namespace or a mount: no slash before it, one after it; the root namespace is empty."""
    bare = path.strip("/")
    return bare + "/" if bare else ""


def _seconds(text: Any) -> float:
    digits = str(text).rstrip("smh")
    return float(digits or 0) * {"m": 60, "h": 3600}.get(str(text)[-1:], 1)
