"""A stand-in for kube-apiserver: HTTPS on a port of this machine, bearer tokens, roles by name, conflicts, dry runs.

    with ApiServer() as cluster:
        mailer = cluster.workload("Deployment", "shop", "mailer")
        environment["KUBECONFIG"] = str(cluster.kubeconfig(folder / "kubeconfig"))

It does what the API's conventions say of GET and PATCH of single objects, and answers with the API's own `Status`
objects (`statuses`). What it does not know it refuses, so that nothing passes here which a cluster would not take.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import trustme

from rotator.simulator.listener import Listener
from tests.consumers import statuses
from tests.consumers.cluster import Stored, Synced, Workload
from tests.consumers.statuses import Answer

USER = "system:serviceaccount:rotator:rotator"
PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
VERBS = {"GET": "get", "PATCH": "patch"}

Kind = TypeVar("Kind", bound=Stored)


@dataclass(frozen=True)
class Rule:
    """A rule of a Role in a namespace, bound to one user."""

    namespace: str
    group: str
    resources: Collection[str]
    names: Collection[str]
    """Empty: every name."""
    verbs: Collection[str] = ("get", "patch")
    user: str = USER


@dataclass(frozen=True)
class Asked:
    """One request as it arrived, and the status of its answer."""

    verb: str
    path: str
    query: dict[str, str]
    body: dict[str, Any]
    user: str
    status: int


@dataclass
class Fault:
    """Answers instead of doing what is asked, so many times; `late` seconds before, `after`: once it is done."""

    answer: Answer | None = None
    verb: str | None = None
    times: int = 1
    late: float = 0.0
    after: bool = False


@dataclass
class ApiServer:
    """One cluster. Everything may be changed while it serves."""

    token: str = "k8s-bearer-token-0123456789abcdef"
    users: dict[str, str] = field(default_factory=dict)
    """By token; one that is not here is refused with 401."""
    rules: list[Rule] = field(default_factory=list)
    served: set[tuple[str, str]] = field(
        default_factory=lambda: {("apps", "v1"), ("external-secrets.io", "v1")}
    )
    """Groups with their versions."""
    faults: list[Fault] = field(default_factory=list)
    admission: Callable[[str, str, bool], Answer | None] = lambda _plural, _name, _dry_run: None
    """Asked before a change is kept."""
    meddle: list[Callable[[], None]] = field(default_factory=list)
    """Each is called once, between a client's look and its change."""
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.users.setdefault(self.token, USER)
        self.objects: dict[tuple[str, str, str, str], Stored] = {}
        self.lock = threading.RLock()
        self._version = 1000
        self._ended = threading.Event()
        self.authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        # The handshake belongs to the thread of the connection, not to the one that accepts them all.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody listens any more. Harmless when repeated."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # what a person sets up

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def workload(self, kind: str, namespace: str, name: str, *, replicas: int = 3, **spec: Any) -> Workload:
        """Makes one whose pods are all up, and allows rotator to restart it."""
        plural = PLURALS[kind]
        full = {"template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": []}}, **spec}
        if kind != "DaemonSet":
            full["replicas"] = replicas
        made = Workload(plural, kind, namespace, name, full, self._next_version, replicas=replicas)
        return self._add(made)

    def external_secret(self, namespace: str, name: str, **spec: Any) -> Synced:
        """Makes one that is synced, and allows rotator to have it synced again."""
        full = {"refreshInterval": "1h", "target": {"name": name}, **spec}
        return self._add(
            Synced("externalsecrets", "ExternalSecret", namespace, name, full, self._next_version)
        )

    def fail(self, answer: Answer | None = None, **more: Any) -> None:
        """Answers so instead of doing what is asked: see `Fault`."""
        self.faults.append(Fault(answer, **more))

    def kubeconfig(self, path: Path, *, token: str | None = None, user: dict[str, Any] | None = None) -> Path:
        """Writes the file that a person would have; `user` instead of a token. JSON is YAML."""
        certificate = path.with_name(f"{path.name}.ca.crt")
        self.authority.cert_pem.write_to_path(str(certificate))
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "rotator"}}],
            "clusters": [
                {"name": "test", "cluster": {"server": self.url, "certificate-authority": str(certificate)}}
            ],
            "users": [{"name": "rotator", "user": user or {"token": token or self.token}}],
        }
        path.write_text(json.dumps(document, indent=2), encoding="utf-8")
        path.chmod(0o600)
        return path

    def patches(self, name: str, *, dry_run: bool = False) -> list[Asked]:
        """The changes of an object that were kept (or only judged)."""
        return [
            one
            for one in self.asked
            if one.verb == "patch"
            and one.path.endswith(f"/{name}")
            and one.status == 200
            and ("dryRun" in one.query) is dry_run
        ]

    # what the API does

    def answer(self, method: str, target: str, authorization: str, body: bytes, media_type: str) -> Answer:
        """The answer, as it is kept in `asked`."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        scheme, _, token = authorization.partition(" ")
        user = self.users.get(token.strip(), "") if scheme.lower() == "bearer" else ""
        verb = VERBS.get(method, method.lower())
        with self.lock:
            fault = next((one for one in self.faults if one.verb in (None, verb)), None)
            if fault is not None:
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
        if fault is not None and not fault.after:
            self._ended.wait(fault.late)
        with self.lock:
            if fault is not None and fault.answer is not None and not fault.after:
                found = fault.answer
            else:
                found = self._judge(verb, parts.path, query, user, body, media_type)
            if fault is not None and fault.after and fault.answer is not None:
                found = fault.answer
            change = json.loads(body) if body and found.status == 200 else {}
            self.asked.append(Asked(verb, parts.path, query, change, user, found.status))
        if fault is not None and fault.after:
            self._ended.wait(fault.late)
        return found

    def _judge(
        self, verb: str, path: str, query: dict[str, str], user: str, body: bytes, media_type: str
    ) -> Answer:
        """In the order of a server: who is it, may they, is there such a thing, is the change allowed."""
        if not user:
            return statuses.unauthorized()
        match path.split("/"):
            case ["", "apis", group, version, "namespaces", namespace, plural, name]:
                pass
            case _:
                return statuses.no_such_path()
        if not any(self._allows(one, user, verb, group, plural, namespace, name) for one in self.rules):
            return statuses.forbidden(user, verb, group, plural, namespace, name)
        if (group, version) not in self.served:
            return statuses.no_such_path()
        stored = self.objects.get((group, plural, namespace, name))
        if stored is None:
            return statuses.not_found(group, plural, name)
        if verb == "get":
            stored.look()
            return Answer(200, stored.document(f"{group}/{version}"))
        if verb != "patch" or media_type != "application/merge-patch+json":
            return statuses.unsupported_media_type()
        return self._patch(stored, f"{group}/{version}", query, json.loads(body))

    def _patch(
        self, stored: Stored, api_version: str, query: dict[str, str], change: dict[str, Any]
    ) -> Answer:
        if self.meddle:
            self.meddle.pop(0)()
        read = change.get("metadata", {}).get("resourceVersion")
        if read is not None and read != stored.resource_version:
            return statuses.conflict(stored.group, stored.plural, stored.name)
        dry_run = query.get("dryRun") == "All"
        if (denied := self.admission(stored.plural, stored.name, dry_run)) is not None:
            return denied
        annotations, spec = stored.apply(change, keep=not dry_run)
        document = stored.document(api_version)
        document["metadata"]["annotations"], document["spec"] = annotations, spec
        return Answer(200, document)

    def _allows(
        self, rule: Rule, user: str, verb: str, group: str, plural: str, namespace: str, name: str
    ) -> bool:
        return (
            (rule.user, rule.namespace, rule.group) == (user, namespace, group)
            and plural in rule.resources
            and verb in rule.verbs
            and (not rule.names or name in rule.names)
        )

    def _add(self, made: Kind) -> Kind:
        with self.lock:
            self.objects[made.group, made.plural, made.namespace, made.name] = made
            self.rules.append(Rule(made.namespace, made.group, (made.plural,), (made.name,)))
        return made

    def _next_version(self) -> str:
        with self.lock:
            self._version += 1
            return str(self._version)


class _Listener(Listener):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up in the middle are what some tests are about."""


def _handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._serve()

        def do_PATCH(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            names = (self.headers.get("Authorization", ""), body, self.headers.get("Content-Type", ""))
            found = server.answer(self.command, self.path, *names)
            text = found.body if isinstance(found.body, str) else json.dumps(found.body)
            self.send_response(found.status)
            for name, value in {"Content-Type": "application/json", **found.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's
            pass

    return Handler
