"""What a kube-apiserver says where it does not do what was asked: its own words, as API servers are seen to answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A status, and either an object or plain text."""

    status: int
    body: dict[str, Any] | str
    headers: dict[str, str] = field(default_factory=dict)


def failure(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> Answer:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        **({"details": details} if details is not None else {}),
        "code": code,
    }
    return Answer(code, body)


def unauthorized() -> Answer:
    return failure(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, group: str, plural: str, namespace: str, name: str) -> Answer:
    return failure(
        403,
        "Forbidden",
        f'{plural}.{group} "{name}" is forbidden: User "{user}" cannot {verb} resource "{plural}" in API group '
        f'"{group}" in the namespace "{namespace}"',
        {"name": name, "group": group, "kind": plural},
    )


def not_found(group: str, plural: str, name: str) -> Answer:
    return failure(
        404,
        "NotFound",
        f'{plural}.{group} "{name}" not found',
        {"name": name, "group": group, "kind": plural},
    )


def no_such_path() -> Answer:
    """A group or version that is not served."""
    return Answer(404, "404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})


def conflict(group: str, plural: str, name: str) -> Answer:
    return failure(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {plural}.{group} "{name}": the object has been modified; please apply your '
        "changes to the latest version and try again",
        {"name": name, "group": group, "kind": plural},
    )


def unsupported_media_type() -> Answer:
    return failure(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    )


def too_many_requests(seconds: int) -> Answer:
    """As priority and fairness answers: plain text."""
    return Answer(
        429,
        "Too many requests, please try again later.\n",
        {"Content-Type": "text/plain; charset=utf-8", "Retry-After": str(seconds)},
    )


def internal_error() -> Answer:
    message = "Internal error occurred: etcdserver: request timed out"
    return failure(500, "InternalError", message, {"causes": [{"message": message.partition(": ")[2]}]})


def unavailable() -> Answer:
    return failure(503, "ServiceUnavailable", "apiserver is shutting down", {"retryAfterSeconds": 1})


def timed_out() -> Answer:
    return failure(504, "Timeout", "Timeout: request did not complete within the allotted duration", {})


def denied_by_webhook(name: str) -> Answer:
    return failure(403, "Forbidden", f'admission webhook "{name}" denied the request: annotations are frozen')


def denied_by_policy(name: str, group: str, plural: str, object_name: str) -> Answer:
    return failure(
        422,
        "Invalid",
        f"{plural}.{group} \"{object_name}\" is forbidden: ValidatingAdmissionPolicy '{name}' with binding 'all' denied "
        "request: failed expression: object == oldObject",
        {"name": object_name, "group": group, "kind": plural, "causes": [{"message": "failed expression"}]},
    )


def no_dry_run(name: str) -> Answer:
    return failure(400, "BadRequest", f'admission webhook "{name}" does not support dry run')
