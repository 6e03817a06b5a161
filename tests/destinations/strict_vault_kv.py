"""The rules of the key-value engines, as measured on real servers; version 2, and enough of version 1.

Error texts are Vault's own and the same in OpenBao. Nothing here knows of tokens or HTTP.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.destinations.strict_vault_answers import (
    Answer,
    VaultError,
    envelope,
    rfc3339,
    unsupported,
)
from tests.destinations.strict_vault_fields import (
    as_stored,
    custom_metadata,
    merged,
    number,
    unconvertible,
    whole,
)

KEPT_VERSIONS = 10
AREAS = {"data", "metadata", "delete", "undelete", "destroy"}
V1_LEASE = 2_764_800
"""Seconds that version 1 says a value is good for."""


@dataclass
class Knobs:
    """What holds for all mounts of a server at once, and may change while it runs."""

    old: bool = False
    stale_reads: int = 0


@dataclass
class Version:
    created: float
    data: dict[str, Any] | None
    deleted: float | None = None
    destroyed: bool = False

    def readable(self, now: float) -> bool:
        return not self.destroyed and (self.deleted is None or self.deleted >= now)


@dataclass
class StoredSecret:
    created: float
    updated: float
    versions: dict[int, Version] = field(default_factory=dict)
    current: int = 0
    oldest: int = 0
    max_versions: int = 0
    cas_required: bool = False
    custom_metadata: dict[str, str] | None = None
    metadata_version: int = 0


class KvMount:
    """One mount. The caller holds the server's lock around every call."""

    def __init__(
        self, now: Callable[[], float], knobs: Knobs, *, cas_required: bool, max_versions: int
    ) -> None:
        self._now, self._knobs = now, knobs
        self.cas_required, self.max_versions = cas_required, max_versions
        self.secrets: dict[str, StoredSecret] = {}
        self._former: dict[str, tuple[StoredSecret | None, int]] = {}

    def exists(self, route: str) -> bool | None:
        """Whether a write is an update (True) or a creation (False); None where there is no such question."""
        area, _, path = route.partition("/")
        return path in self.secrets if area in ("data", "metadata") else None

    def put(self, path: str, data: dict[str, Any]) -> int:
        """A write that needs no cas; the new version's number."""
        self._add(path, self.secrets.get(path), as_stored(data))
        return self.secrets[path].current

    def current(self, path: str) -> dict[str, Any] | None:
        """The current version's fields, without any lag."""
        secret = self.secrets.get(path)
        version = secret.versions.get(secret.current) if secret else None
        return version.data if version is not None and version.readable(self._now()) else None

    def precheck(self, route: str, body: dict[str, Any]) -> None:
        """What is refused of a write before anybody asks for permission: fields of a wrong kind."""
        area = route.partition("/")[0]
        for name in {"data": ("data", "options"), "metadata": ("custom_metadata",)}.get(area, ()):
            if not isinstance(body.get(name, {}), dict | None):
                raise unconvertible(name, body[name])

    def handle(self, method: str, route: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        area, slash, path = route.partition("/")
        if route == "config":
            return self._config(method, body)
        if not slash and area in AREAS:
            warning = "Non-listing operations on the root of a K/V v2 mount are not supported."
            return Answer(404, envelope(warnings=[warning]))
        if area not in AREAS:
            warning = "Invalid path for a versioned K/V secrets engine."
            return Answer(404, envelope(warnings=[warning]))
        match (area, method):
            case ("data", "GET"):
                return self._read(path, number(query.get("version", "0")))
            case ("data", "POST" | "PUT"):
                return self._write(path, body)
            case ("data", "PATCH"):
                return self._patch(path, body)
            case ("data", "DELETE"):
                return self._delete(path)
            case ("metadata", "GET"):
                return self._metadata(path)
            case ("metadata", "LIST"):
                return self._list(path)
            case ("metadata", "POST" | "PUT" | "PATCH"):
                return self._set_metadata(path, body, patch=method == "PATCH")
            case ("metadata", "DELETE"):
                self._changing(path)
                self.secrets.pop(path, None)
                return Answer(204)
            case ("delete" | "undelete" | "destroy", "POST" | "PUT"):
                return self._mark(area, path, body)
        raise unsupported()

    # --- data -------------------------------------------------------------------------------------

    def _read(self, path: str, number: int) -> Answer:
        secret = self._seen(path)
        number = number if number > 0 else secret.current if secret else 0
        version = secret.versions.get(number) if secret else None
        if secret is None or version is None:
            raise VaultError(404)
        readable = version.readable(self._now())
        data = {
            "data": version.data if readable else None,
            "metadata": self._of_version(secret, number),
        }
        return Answer(200 if readable else 404, envelope(data))

    def _write(self, path: str, body: dict[str, Any]) -> Answer:
        if path == "":
            raise VaultError(400, "missing path")
        if "data" not in body:
            raise VaultError(400, "no data provided")
        data = as_stored(body["data"])  # null is kept as such: a version that reads with 200 and no fields
        secret = self.secrets.get(path)
        self._check_cas(body, secret)
        return self._add(path, secret, data)

    def _patch(self, path: str, body: dict[str, Any]) -> Answer:
        if self._knobs.old:
            raise unsupported()  # 1.8; from 1.9 there is PATCH
        if "data" not in body:
            raise VaultError(400, "no data provided")
        secret = self.secrets.get(path)
        if secret is None:
            return Answer(404)
        self._check_cas(body, secret)
        version = secret.versions.get(secret.current)
        if version is None:
            return Answer(404)
        if not version.readable(self._now()):
            return Answer(404, envelope(self._of_version(secret, secret.current)))
        if version.data is None:
            raise VaultError(500, "1 error occurred:\n\t* resource does not exist\n\n")
        return self._add(path, secret, merged(version.data, as_stored(body["data"])))

    def _add(self, path: str, secret: StoredSecret | None, data: dict[str, Any] | None) -> Answer:
        now = self._now()
        self._changing(path)
        if secret is None:
            secret = self.secrets[path] = StoredSecret(now, now)
        secret.current += 1
        secret.versions[secret.current] = Version(now, data)
        secret.updated = now
        kept = max(secret.max_versions, self.max_versions) or KEPT_VERSIONS
        if secret.current - secret.oldest >= kept:
            secret.oldest = secret.current - kept + 1
            secret.versions = {n: version for n, version in secret.versions.items() if n >= secret.oldest}
        return Answer(200, envelope(self._of_version(secret, secret.current)))

    def _check_cas(self, body: dict[str, Any], secret: StoredSecret | None) -> None:
        options = body.get("options") or {}
        if "cas" in options:
            cas = whole(options["cas"])
            if cas != (secret.current if secret else 0):
                raise VaultError(400, "check-and-set parameter did not match the current version")
        elif self.cas_required or (secret is not None and secret.cas_required):
            raise VaultError(400, "check-and-set parameter required for this call")

    def _delete(self, path: str) -> Answer:
        secret = self.secrets.get(path)
        version = secret.versions.get(secret.current) if secret else None
        if version is not None and version.readable(self._now()):
            self._changing(path)
            version.deleted = self._now()
        return Answer(204)

    def _mark(self, area: str, path: str, body: dict[str, Any]) -> Answer:
        numbers = body.get("versions") or []
        numbers = numbers.split(",") if isinstance(numbers, str) else numbers
        if not numbers:
            raise VaultError(400, f"{'n' if area == 'destroy' else 'N'}o version number provided")
        secret = self.secrets.get(path)
        if secret is None:
            return Answer(204)
        self._changing(path)
        secret = self.secrets[path]
        for named in numbers:
            version = secret.versions.get(whole(named))
            if version is None or version.destroyed:
                continue
            if area == "destroy":
                version.destroyed, version.data = True, None
            elif area == "undelete":
                version.deleted = None
            elif version.readable(self._now()):
                version.deleted = self._now()
        return Answer(204)

    def _of_version(self, secret: StoredSecret, number: int) -> dict[str, Any]:
        version = secret.versions[number]
        told = {
            "created_time": rfc3339(version.created),
            "deletion_time": rfc3339(version.deleted) if version.deleted is not None else "",
            "destroyed": version.destroyed,
            "version": number,
        }
        return told if self._knobs.old else {**told, "custom_metadata": secret.custom_metadata}

    # --- metadata ---------------------------------------------------------------------------------

    def _metadata(self, path: str) -> Answer:
        secret = self._seen(path)
        if secret is None:
            raise VaultError(404)
        shown = {number: self._of_version(secret, number) for number in secret.versions}
        data = {
            "versions": {
                str(number): {key: version[key] for key in ("created_time", "deletion_time", "destroyed")}
                for number, version in shown.items()
            },
            "current_version": secret.current,
            "oldest_version": secret.oldest,
            "created_time": rfc3339(secret.created),
            "updated_time": rfc3339(secret.updated),
            "max_versions": secret.max_versions,
            "cas_required": secret.cas_required,
            "delete_version_after": "0s",
        }
        if not self._knobs.old:
            data["custom_metadata"] = secret.custom_metadata
            data["current_metadata_version"] = secret.metadata_version
            data["metadata_cas_required"] = False
        return Answer(200, envelope(data))

    def _list(self, path: str) -> Answer:
        return _listed(list(self.secrets), path)

    def _set_metadata(self, path: str, body: dict[str, Any], *, patch: bool) -> Answer:
        if patch and self._knobs.old:
            raise unsupported()
        if path == "":
            raise VaultError(400, "missing path")
        if not {"max_versions", "cas_required", "custom_metadata"} & body.keys():
            return Answer(204)
        custom = None
        if "custom_metadata" in body and not self._knobs.old:  # 1.8 took it, said 204, and kept nothing
            custom = custom_metadata(body["custom_metadata"] or {}, patch=patch)
        if patch and path not in self.secrets:
            return Answer(404)
        self._changing(path)
        now = self._now()
        secret = self.secrets.setdefault(path, StoredSecret(now, now))
        secret.metadata_version += 1
        secret.updated = now
        secret.max_versions = int(body.get("max_versions", secret.max_versions))
        secret.cas_required = bool(body.get("cas_required", secret.cas_required))
        if custom is not None:
            kept = {**(secret.custom_metadata or {}), **custom} if patch else custom
            secret.custom_metadata = {key: value for key, value in kept.items() if value is not None}
        return Answer(204)

    def _config(self, method: str, body: dict[str, Any]) -> Answer:
        if method == "GET":
            data = {"cas_required": self.cas_required, "max_versions": self.max_versions}
            return Answer(200, envelope({**data, "delete_version_after": "0s"}))
        if method not in ("POST", "PUT"):
            raise unsupported()
        self.cas_required = bool(body.get("cas_required", self.cas_required))
        self.max_versions = int(body.get("max_versions", self.max_versions))
        return Answer(204)

    # --- reads that lag ---------------------------------------------------------------------------

    def _changing(self, path: str) -> None:
        if self._knobs.stale_reads:
            self._former[path] = (copy.deepcopy(self.secrets.get(path)), self._knobs.stale_reads)

    def _seen(self, path: str) -> StoredSecret | None:
        former, left = self._former.get(path, (None, 0))
        if left == 0:
            return self.secrets.get(path)
        self._former[path] = (former, left - 1)
        return former


class KvV1Mount:
    """Version 1: whatever comes after the mount is the key, so a call meant for version 2 "works"."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}

    def exists(self, route: str) -> bool | None:
        return route in self.values

    def precheck(self, route: str, body: dict[str, Any]) -> None:
        """Version 1 takes any fields."""

    def handle(self, method: str, route: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        match method:
            case "GET" if route in self.values:
                return Answer(200, envelope(self.values[route], lease=V1_LEASE))
            case "GET":
                raise VaultError(404)
            case "LIST":
                return _listed(list(self.values), route)
            case "POST" | "PUT":
                if not body:
                    raise VaultError(400, "missing data fields")
                self.values[route] = as_stored(body)
                return Answer(204)
            case "DELETE":
                self.values.pop(route, None)
                return Answer(204)
        raise unsupported()


def _listed(names: list[str], path: str) -> Answer:
    """What stands directly in the folder; a folder in it ends with a slash."""
    folder = path.rstrip("/") + "/" if path.rstrip("/") else ""
    below = [name.removeprefix(folder) for name in names if name.startswith(folder)]
    keys = sorted({name.split("/")[0] + ("/" if "/" in name else "") for name in below})
    if not keys:
        raise VaultError(404)
    return Answer(200, envelope({"keys": keys}))
