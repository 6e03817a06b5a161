"""One request to the Kubernetes API and its whole answer. The only module that imports the official client.

The client finds the cluster, keeps the credential fresh and makes the connections. Its calls above that are not used:
they write bodies to the log, read an answer of any size, and hide what they repeat.

- Where the cluster is: the file that KUBECONFIG names, else the pod's own service account, else ~/.kube/config.
- A service account's token is read again every minute, and every credential when one was refused (401); then the
  request, which was not executed, is sent a second time.
- Nothing else is repeated here, and no redirect is followed.
- A call may take 5 s to connect and `call_timeout` of silence before it is answered; the body comes within
  `call_timeout` more, and is no larger than 4 MiB. A command that a kubeconfig names (`exec`) may take 30 s.
- Errors of the libraries hold the request, credential included, so none leaves this module, not even as the context
  of one of ours.
- The client keeps certificates and keys that stand inside a kubeconfig in files of the machine's folder for those
  that pass (mode 0600), and removes them when the process ends.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import rotator
from rotator.consumers.kubernetes_errors import Reply, Resource, explain, no_answer
from rotator.errors import InvalidInput, Refused, RotatorError, Unreachable
from rotator.interrupt import leave_signals_to_main
from rotator.secret import Secret
from rotator.urllib3_calls import bounds, reason, whole_body
from rotator.urls import is_loopback

MAX_BYTES: Final = 4 * 1024 * 1024
"""Of an answer. What the API keeps is 1.5 MiB at most."""
_CONNECT: Final = 5.0
_CREDENTIAL: Final = 30.0
"""Seconds for a credential to be had; a kubeconfig may name a command that asks elsewhere."""
_HOME: Final = Path("~/.kube/config")
_OWNER: Final = "rotator"
"""Whom the API names as the manager of what we set."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Session:
    """The cluster as it was found: where it is, connections, and who we are."""

    address: str
    pool: Any = field(repr=False)
    credential: Callable[[], Secret | None] = field(repr=False)
    """The header `Authorization`, fresh; None where a certificate says who we are."""


class KubernetesApi:
    """Asks the cluster that this process belongs to. Safe to use from several threads; loads the client when used."""

    def __init__(self, *, call_timeout: float) -> None:
        """`call_timeout` in seconds."""
        self._call_timeout = call_timeout
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._patience = _Patience(_CREDENTIAL)
        self._versions: dict[str, str] = {}
        """By group: the version that answered last."""

    def get(self, resource: Resource) -> dict[str, Any]:
        """The object. Raises as `patch` does."""
        return self._found(resource, "get", self._ask(resource, "get"))

    def patch(self, resource: Resource, change: Mapping[str, Any]) -> dict[str, Any]:
        """Merges a change into the object, and returns what became of it.

        Raises VersionConflict where the change names a `resourceVersion` that the object has no more;
        CredentialRejected when we are not allowed, with the rule that would; Refused for an object that is not there;
        Unreachable (RateLimited) where trying again may help; InvalidInput where no cluster or no client is.
        """
        return self._found(resource, "patch", self._ask(resource, "patch", change))

    def rehearse_patch(self, resource: Resource, change: Mapping[str, Any]) -> None:
        """Has the API judge a change as it would judge it, and keep nothing of it. Raises as `patch` does."""
        reply = self._ask(resource, "patch", change, dry_run=True)
        if not reply.lacks_dry_run:
            self._found(resource, "patch", reply)

    def close(self) -> None:
        """Ends the connections; a later request opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.pool.clear()

    def _found(self, resource: Resource, verb: str, reply: Reply) -> dict[str, Any]:
        if not reply.ok:
            raise explain(resource, verb, reply)
        found = reply.json()
        if found.get("kind") != resource.kind:
            raise Refused(
                f"What answered {reply.status} to {verb} of {resource} is not the Kubernetes API",
                then="Nothing is known of the object",
                remedy="Check the server in the kubeconfig, and what stands between here and the cluster",
            )
        return found

    def _ask(
        self, resource: Resource, verb: str, change: Mapping[str, Any] | None = None, *, dry_run: bool = False
    ) -> Reply:
        """The answer of the first version of the group that the server serves."""
        known = self._versions.get(resource.group)
        reply = Reply(404)
        for version in sorted(resource.versions, key=lambda one: one != known):
            session = self._connected()
            reply = self._send(session, resource, version, verb, change, dry_run=dry_run)
            if reply.status == 401:
                self._forget(session)
                reply = self._send(self._connected(), resource, version, verb, change, dry_run=dry_run)
            if not reply.is_no_such_path:
                self._versions[resource.group] = version
                break
        return reply

    def _forget(self, session: _Session) -> None:
        """Others may be using its connections, so they are left to end by themselves."""
        with self._lock:
            if self._session is session:
                self._session = None

    def _send(
        self,
        session: _Session,
        resource: Resource,
        version: str,
        verb: str,
        change: Mapping[str, Any] | None,
        *,
        dry_run: bool,
    ) -> Reply:
        authorization = self._patience.wait(session.credential)
        url = session.address + resource.path(version)
        if change is not None:
            url += f"?fieldManager={_OWNER}" + ("&dryRun=All" if dry_run else "")
        outcome = self._exchange(session, verb, url, change, authorization)
        if isinstance(outcome, Reply):
            return outcome
        why, sent = outcome
        raise no_answer(resource, verb, why, sent=sent)

    def _exchange(
        self,
        session: _Session,
        verb: str,
        url: str,
        change: Mapping[str, Any] | None,
        authorization: Secret | None,
    ) -> Reply | tuple[str, bool]:
        """The answer, or why there is none and whether the request was sent. Raises nothing: this frame holds the
        credential's plaintext."""
        headers = {
            "Accept": "application/json",
            # Nothing to unpack, so a small answer cannot become a large one.
            "Accept-Encoding": "identity",
            "User-Agent": f"rotator/{rotator.__version__}",
        }
        if authorization is not None:
            headers["Authorization"] = authorization.reveal()
        options: dict[str, Any] = {}
        if change is not None:
            headers["Content-Type"] = "application/merge-patch+json"
            options["body"] = json.dumps(change).encode()
        try:
            response = session.pool.request(
                verb.upper(),
                url,
                headers=headers,
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=bounds(connect=_CONNECT, silence=self._call_timeout),
                **options,
            )
            body = whole_body(response, seconds=self._call_timeout, most=MAX_BYTES)
            text = body.decode("utf-8", errors="replace")
            return Reply(int(response.status), text, _seconds(response.headers.get("Retry-After")))
        # Whatever a library throws becomes an error of ours.
        except Exception as error:  # noqa: BLE001
            return reason(error, connect=_CONNECT, silence=self._call_timeout, most=MAX_BYTES)

    def _connected(self) -> _Session:
        with self._lock:
            if self._session is None:
                self._session = self._patience.wait(_connect)
            return self._session


def _connect() -> _Session:
    """Raises InvalidInput when the client is not installed, or there is no cluster to be found."""
    try:
        from kubernetes import client, config  # noqa: PLC0415  # an extra, and slow to load
        from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415
    except ImportError:
        raise InvalidInput(
            "A consumer in Kubernetes needs the package kubernetes, which does not load here",
            then="Nothing was done",
            remedy="Install rotator with it, in the folder of its source: `pip install '.[kubernetes]'`",
        ) from None
    configuration = client.Configuration()
    named = os.environ.get("KUBECONFIG", "")
    in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and not named
    where = "the pod's service account" if in_pod else named or str(_HOME)
    try:
        if in_pod:
            config.load_incluster_config(configuration)
        else:
            files = named or str(_HOME.expanduser())
            config.load_kube_config(files, client_configuration=configuration, persist_config=False)
        server = urlsplit(configuration.host)
        # The client takes HTTP_PROXY for https as well, and a proxy for this machine.
        configuration.proxy = None if is_loopback(server.hostname) else getproxies().get(server.scheme)
        session = _Session(
            configuration.host.rstrip("/"),
            RESTClientObject(configuration).pool_manager,
            lambda: _authorization(configuration),
        )
        who = session.credential()
    except RotatorError:
        raise
    # Whatever a library throws may quote the file, with the credentials in it.
    except Exception as error:  # noqa: BLE001
        problem = _unusable(error, named or str(_HOME), in_pod=in_pod)
    else:
        if who is not None and server.scheme != "https" and not is_loopback(server.hostname):
            raise InvalidInput(
                f"{where} names a server by http, which would show our credential to the network",
                then="Nothing was sent",
                remedy="Give the server's address with https",
            )
        return session
    raise InvalidInput(
        f"No Kubernetes cluster can be asked: {where} cannot be used: {problem}",
        then="Nothing was done",
        remedy="Let `kubectl get --raw /version` work for this user, name the file in KUBECONFIG, or run in a pod "
        "whose service account's token is mounted",
    )


def _unusable(error: Exception, files: str, *, in_pod: bool) -> str:
    if in_pod:
        return f"its token or certificate is not mounted ({type(error).__name__})"
    if not any(Path(one).expanduser().is_file() for one in files.split(os.pathsep) if one):
        return "there is no such file"
    return f"it does not lead to a cluster, or its credential cannot be had ({type(error).__name__})"


def _authorization(configuration: Any) -> Secret | None:
    found = configuration.auth_settings().get("BearerToken", {}).get("value")
    if not found:
        return None
    credential = Secret(str(found).strip())
    Secret(credential.reveal().partition(" ")[2])  # as it is written elsewhere, without the word before it
    if not credential.reveal().isprintable() or not credential.reveal().isascii():
        raise InvalidInput(
            "The credential for Kubernetes holds a line end or another character that cannot be sent",
            then="Nothing was sent",
            remedy="Correct the token in the kubeconfig",
        )
    return credential


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


class _Patience:
    """Waits for credentials, and not for ever. Safe to use from several threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late: threading.Thread | None = None

    def wait(self, do: Callable[[], T]) -> T:
        """What `do` gives or raises. Raises Unreachable when it takes longer, and at once while an earlier one that
        took longer has not ended: whatever it waits for, another one would wait as well."""
        if self._late is None or not self._late.is_alive():
            heard: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
            thread = threading.Thread(
                target=_put, args=(heard, do), name="kubernetes-credential", daemon=True
            )
            thread.start()
            try:
                return _taken(*heard.get(timeout=self._seconds))
            except queue.Empty:
                self._late = thread
        raise Unreachable(
            f"No credential for Kubernetes could be had within {self._seconds:g} s",
            then="Nothing was sent; it is tried again",
            remedy="Look at the command that the kubeconfig names (`exec`): does it wait for somebody?",
        )


def _put(heard: queue.SimpleQueue[tuple[T | None, BaseException | None]], do: Callable[[], T]) -> None:
    leave_signals_to_main()
    try:
        heard.put((do(), None))
    except BaseException as error:  # noqa: BLE001  # raised where it is waited for
        heard.put((None, error))


def _taken(found: T | None, error: BaseException | None) -> T:
    if isinstance(error, RotatorError):
        raise error
    if error is not None:
        raise InvalidInput(
            f"The credential for Kubernetes cannot be renewed ({type(error).__name__})",
            then="Nothing was sent",
            remedy="Let `kubectl get --raw /version` work for this user",
        )
    return found  # type: ignore[return-value]  # there was no error
