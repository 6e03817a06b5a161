"""As much of the Kubernetes API as consumers are told by, with the rights of a chart: whoever asks for more is refused.

Controllers are at once: a patched workload has new pods, a patched ExternalSecret has synced.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.deploy.manifests import Manifest

Right = tuple[str, str, str, str, str]
"""Namespace, group, resource, name, verb."""
RESOURCES = {
    "Deployment": ("apps", "deployments"),
    "StatefulSet": ("apps", "statefulsets"),
    "DaemonSet": ("apps", "daemonsets"),
    "ExternalSecret": ("external-secrets.io", "externalsecrets"),
}
VERSIONS = {"apps": "v1", "external-secrets.io": "v1"}
_PATH = re.compile(
    r"/apis/(?P<group>[^/]+)/(?P<version>[^/]+)/namespaces/(?P<space>[^/]+)/(?P<resource>[^/]+)/(?P<name>[^/]+)"
)
_TOKEN = "a-service-account-" + "token"
_VERBS = {"GET": "get", "PATCH": "patch"}


class Cluster:
    """A server on a port of its own, with the objects named. A context manager."""

    def __init__(self, objects: Iterable[Manifest], allowed: set[Right]) -> None:
        """`objects`: kind, namespace and name of each."""
        self.allowed = allowed
        self.used: set[Right] = set()
        """Every right that a request made use of."""
        self.refused: set[Right] = set()
        self.patched: list[str] = []
        """Names of those that were changed, a rehearsed change not counted."""
        self._withheld = ""
        self.executed = threading.Event()
        """Set when a change was made whose answer is withheld."""
        self._over = threading.Event()
        self._objects = {}
        for one in objects:
            group, resource = RESOURCES[one["kind"]]
            self._objects[one["namespace"], group, resource, one["name"]] = _new(**one)
        self._lock = threading.Lock()
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Quiet."""

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                known = self.headers.get("Authorization") == f"Bearer {_TOKEN}"
                status, document = (
                    cluster.answer(self.command, self.path, body) if known else _failure(401, "Unauthorized")
                )
                if self.command == "PATCH" and cluster.withholds(self.path):
                    self.close_connection = True
                    return
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  # the library looks for these

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def kubeconfig(self, path: Path) -> Path:
        """A file that leads here, written to this path."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "rotator", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "rotator"}}],
            "current-context": "here",
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        path.chmod(0o600)
        return path

    @contextmanager
    def withholding(self, name: str) -> Iterator[None]:
        """Meanwhile a change of the object is made, and who asked for it gets no answer."""
        self._withheld = name
        try:
            yield
        finally:
            self._withheld = ""
            self._over.set()

    def withholds(self, target: str) -> bool:
        """Waits, where the answer is withheld, until nobody waits for it any more."""
        parts = urlsplit(target)
        if not self._withheld or parts.path.rpartition("/")[2] != self._withheld or "dryRun" in parts.query:
            return False
        self.executed.set()
        return self._over.wait(60)

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Manifest]:
        """Status and document."""
        parts = urlsplit(target)
        found = _PATH.fullmatch(parts.path)
        if found is None or VERSIONS.get(found["group"]) != found["version"]:
            # Whoever lists, or asks for another kind of thing, asks for what no Role of ours has.
            self.refused.add(("", "", parts.path, "", method))
            return _failure(403, "Forbidden")
        place = (found["space"], found["group"], found["resource"], found["name"])
        right = (*place, _VERBS.get(method, method))
        with self._lock:
            if right not in self.allowed:
                self.refused.add(right)
                return _failure(403, "Forbidden", name=found["name"])
            self.used.add(right)
            held = self._objects.get(place)
            if held is None:
                return _failure(404, "NotFound", name=found["name"])
            if method == "PATCH":
                change = json.loads(body)
                wanted = change.get("metadata", {}).pop("resourceVersion", None)
                if wanted not in (None, held["metadata"]["resourceVersion"]):
                    return _failure(409, "Conflict", name=found["name"])
                merged = _merged(held, change)
                if parse_qs(parts.query).get("dryRun"):
                    return 200, merged
                if merged != held:
                    self.patched.append(f"{held['kind']} {found['space']}/{found['name']}")
                    _follow(merged)
                self._objects[place] = held = merged
            return 200, held


def _new(kind: str, namespace: str, name: str) -> Manifest:
    group, _ = RESOURCES[kind]
    made: Manifest = {
        "apiVersion": f"{group}/{VERSIONS[group]}",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 0, "resourceVersion": "0"},
        "spec": {} if kind == "ExternalSecret" else {"replicas": 1, "template": {"metadata": {}}},
    }
    _follow(made)
    return made


def _follow(one: Manifest) -> None:
    """What server and controllers write after a change."""
    metadata = one["metadata"]
    metadata["generation"] += 1
    metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
    if one["kind"] == "ExternalSecret":
        one["status"] = {
            "refreshTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "syncedResourceVersion": metadata["resourceVersion"],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        return
    counts = (
        ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
        if one["kind"] == "DaemonSet"
        else ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    )
    revision = f"r{metadata['generation']}"
    one["status"] = {
        "observedGeneration": metadata["generation"],
        "currentRevision": revision,
        "updateRevision": revision,
        **dict.fromkeys(counts, 1),
    }


def _merged(onto: Any, change: Any) -> Any:
    """A merge patch (RFC 7396)."""
    if not isinstance(change, dict):
        return change
    held = onto if isinstance(onto, dict) else {}
    found = {key: value for key, value in held.items() if change.get(key, value) is not None}
    for key, value in change.items():
        if value is not None:
            found[key] = _merged(held.get(key), value)
    return json.loads(json.dumps(found))


def _failure(code: int, reason: str, **details: str) -> tuple[int, Manifest]:
    document = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason}
    return code, {**document, "details": details}
