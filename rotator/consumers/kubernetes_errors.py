"""What the statuses of the Kubernetes API mean for us. No library is imported here.

An error of the API is a `Status` object. Its message names objects and users and may repeat a part of the request,
so of the server's text only names are told, found by the forms below (Kubernetes 1.20 to 1.36) and cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from rotator import reply
from rotator.errors import (
    CredentialRejected,
    RateLimited,
    Refused,
    RotatorError,
    Unreachable,
    VersionConflict,
)
from rotator.secret import scrub

_AGAIN: Final = "Nothing was changed; repeating it is safe"
_UNKNOWN: Final = "Whether it was done is not known; repeating it is safe"
_RETRY_AFTER: Final = 1.0
"""Seconds, where a server that is asked too much does not say for how long."""
_NO_DRY_RUN: Final = "does not support dry run"
_USER: Final = re.compile(r'User "([A-Za-z0-9:._@/+-]{1,200})" cannot ')
_ADMISSION: Final = (
    re.compile(r'admission webhook "([A-Za-z0-9._/-]{1,200})" (?:denied|does not)'),
    re.compile(r"ValidatingAdmissionPolicy '([A-Za-z0-9._/-]{1,200})'"),
)
_REASON: Final = re.compile(r"[A-Za-z]{1,40}")


@dataclass(frozen=True)
class Resource:
    """One object of a namespace."""

    group: str
    versions: tuple[str, ...]
    """Those that we can use, the one to ask for first in front."""
    plural: str
    kind: str
    namespace: str
    name: str

    def path(self, version: str) -> str:
        place = f"{quote(self.namespace, safe='')}/{self.plural}/{quote(self.name, safe='')}"
        return f"/apis/{self.group}/{version}/namespaces/{place}"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Reply(reply.Reply):
    """An answer of the API server's."""

    retry_after: float | None = None
    """Seconds."""

    @property
    def failure(self) -> Mapping[str, Any]:
        """The API's own words for a failure; empty where something else answered."""
        found = self.json()
        return found if found.get("kind") == "Status" else {}

    @property
    def message(self) -> str:
        return str(self.failure.get("message", ""))

    @property
    def is_no_such_path(self) -> bool:
        """The server knows no such group or version. An object that is not there has a `Status` that names it."""
        return self.status == 404 and not self.failure.get("details")

    @property
    def lacks_dry_run(self) -> bool:
        """An admission webhook would have to act, and cannot only pretend to: so we are allowed as far as there."""
        return self.status == 400 and _NO_DRY_RUN in self.message


def explain(resource: Resource, verb: str, reply: Reply) -> RotatorError:
    """Our error for an answer that is no success."""
    said = f"Kubernetes answered {reply.status} to {verb} of {resource}"
    status = reply.status
    then = _AGAIN if verb == "get" else _UNKNOWN
    if status == 429:
        return RateLimited(
            f"{said}: too many requests", retry_after=reply.retry_after or _RETRY_AFTER, then=_AGAIN
        )
    if status >= 500:
        remedy = "Try again; look at the API server's health (`kubectl get --raw /readyz`) if it lasts"
        return Unreachable(said, then=then, remedy=remedy)
    if policy := _admission(reply):
        return Refused(
            f"{said}: the admission policy {policy} denies it",
            then="Nothing was changed",
            remedy="Ask whoever keeps that policy to allow this annotation",
        )
    if status == 401:
        return CredentialRejected(
            f"{said}: it does not accept our credential",
            then="Nothing was changed",
            remedy="Log in to the cluster anew (`kubectl get --raw /version` shows whether that works), or look at the "
            "pod's service account; the credential is read again at each refusal",
        )
    if not reply.failure:
        remedy = "Check the server in the kubeconfig, and what stands between here and the cluster"
        what = "which is no answer of the Kubernetes API"
        if reply.is_no_such_path:
            what = f"it does not serve {' or '.join(resource.versions)} of {resource.group}"
            remedy = f"Install what serves {resource.kind} objects, or take the consumer out of the policy"
        return Refused(f"{said}: {what}", then="Nothing was changed", remedy=remedy)
    if status == 403:
        return CredentialRejected(
            f"Kubernetes does not allow {verb} of {resource} (403){_whom(reply)}",
            then="Nothing was changed",
            remedy=f"Give it a Role in namespace {resource.namespace} with: {rule(resource)}",
        )
    if status == 404:
        return Refused(
            f"There is no {resource} (404)",
            then="Nothing was changed",
            remedy="Correct `kind`, `namespace` or `name` of this consumer in the policy, or make the object",
        )
    if status == 409:
        return VersionConflict(
            f"{resource} was changed by somebody else meanwhile (409)", then="Nothing was changed"
        )
    why = _REASON.fullmatch(str(reply.failure.get("reason", "")))
    return Refused(
        f"{said}{f' ({why[0]})' if why else ''}",
        then="Nothing was changed",
        remedy=f"Look at the object: `kubectl -n {resource.namespace} describe {resource.plural} {resource.name}`",
    )


def rule(resource: Resource) -> str:
    """The rule of a Role that allows all we do to an object, and nothing more."""
    return (
        f'apiGroups: ["{resource.group}"], resources: ["{resource.plural}"], resourceNames: ["{resource.name}"], '
        'verbs: ["get", "patch"]'
    )


def no_answer(resource: Resource, verb: str, why: str, *, sent: bool) -> RotatorError:
    """Our error for a connection that failed, or an answer that got lost."""
    return Unreachable(
        f"Kubernetes gave no answer to {verb} of {resource}: {why}",
        then=_UNKNOWN if sent and verb != "get" else _AGAIN,
        remedy="Check the network between here and the cluster, and the server in the kubeconfig",
    )


def _whom(reply: Reply) -> str:
    found = _USER.search(reply.message)
    return f" to {scrub(found[1])}" if found else ""


def _admission(reply: Reply) -> str:
    for form in _ADMISSION:
        if found := form.search(reply.message):
            return scrub(found[1])
    return ""
