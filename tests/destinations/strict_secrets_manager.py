"""AWS Secrets Manager's documented rules over real HTTP, with knobs for what goes wrong.

    with StrictSecretsManager() as aws:
        aws.seed("prod/billing", '{"token": "old"}')
        ...  # AWS_ENDPOINT_URL_SECRETS_MANAGER=aws.url
        assert aws.text("prod/billing") == ...

Rules are from the Secrets Manager API reference (as shipped in botocore 1.44.5) and its quotas page.
It speaks the JSON protocol of boto3 and the CLI; credentials are looked at by name only, never checked.
`python -m tests.destinations.strict_secrets_manager --port 0` runs it alone and prints its URL as JSON.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

from rotator.simulator.listener import Listener

REGION = "eu-central-1"
ACCOUNT = "111122223333"
CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
MAX_BYTES = 65_536
MAX_LABELS = 20
MAX_VERSIONS = 100
KEPT_SECONDS = 24 * 3600


class AwsError(Exception):
    """An error answer: a code of AWS's, and the HTTP status that goes with it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Version:
    id: str
    created: float
    string: str | None
    binary: str | None
    labels: list[str] = field(default_factory=list)


@dataclass
class StoredSecret:
    name: str
    arn: str
    versions: dict[str, Version] = field(default_factory=dict)
    deleted: float | None = None
    rotation_enabled: bool = False
    owning_service: str | None = None
    primary_region: str | None = None
    former: dict[str, Version] = field(default_factory=dict)
    """The versions before the latest write: what a stale read sees."""
    stale_left: int = 0

    def holder(self, label: str) -> Version | None:
        return next((version for version in self.versions.values() if label in version.labels), None)


class StrictSecretsManager:
    """The server. All knobs may be turned while it runs; all methods are safe from any thread."""

    def __init__(self, port: int = 0) -> None:
        self._lock = threading.RLock()
        self._clock_offset = 0.0
        self.secrets: dict[str, StoredSecret] = {}
        self.stale_reads = 0
        """After each write, this many reads of that secret still see the former state."""
        self.latency = 0.0
        """Seconds before each answer."""
        self.denied: set[str] = set()
        """Actions that are answered with AccessDeniedException."""
        self.bad_keys: dict[str, str] = {}
        """Access key ids that are not accepted, with the error code they get."""
        self.kms_error: str | None = None
        """Code that GetSecretValue and PutSecretValue get because of the KMS key."""
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Every call that was executed or refused, without the values."""
        self._faults: list[list[Any]] = []
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # --- for tests --------------------------------------------------------------------------------

    def reset(self) -> None:
        with self._lock:
            self.secrets.clear()
            self.calls.clear()
            self._faults.clear()
            self.denied.clear()
            self.bad_keys.clear()
            self.stale_reads, self.latency, self._clock_offset, self.kms_error = 0, 0.0, 0.0, None

    def inject(self, kind: str, action: str = "*", times: int = 1) -> None:
        """The next `times` calls of the action meet a fault.

        `throttle`; `error-before` and `error-after` (500, without or with execution); `drop-before` and
        `lost-answer` (the connection closes, without or with execution).
        """
        assert kind in ("throttle", "error-before", "error-after", "drop-before", "lost-answer")
        with self._lock:
            self._faults.append([kind, action, times])

    def seed(self, name: str, text: str | None = None, *, binary: bytes | None = None) -> str:
        """Somebody else's write: a new current version, or an empty secret. The version's id."""
        with self._lock:
            if name not in self.secrets:
                self.execute("CreateSecret", {"Name": name})
            if text is None and binary is None:
                return ""
            value = {
                "SecretString": text,
                "SecretBinary": base64.b64encode(binary).decode() if binary else None,
            }
            request = {"SecretId": name, "ClientRequestToken": str(uuid.uuid4()), **value}
            return str(self.execute("PutSecretValue", request)["VersionId"])

    def text(self, name: str, stage: str = CURRENT) -> str | None:
        """What a reader of the label gets once all lag is over; None where there is nothing."""
        with self._lock:
            secret = self.secrets.get(name)
            version = secret.holder(stage) if secret else None
            return version.string if version else None

    def labels(self, name: str) -> dict[str, str]:
        """Label to version id."""
        with self._lock:
            versions = self.secrets[name].versions.values()
            return {label: version.id for version in versions for label in version.labels}

    def age(self, hours: float) -> None:
        """Time passes on this server."""
        with self._lock:
            self._clock_offset += hours * 3600

    # --- the protocol -----------------------------------------------------------------------------

    def answer(self, action: str, request: dict[str, Any], access_key: str | None) -> tuple[int, Any]:
        """Status and body; status 0 means that the connection is to be dropped."""
        if self.latency:
            time.sleep(self.latency)
        with self._lock:
            shown = {
                name: value
                for name, value in request.items()
                if not name.startswith("Secret") or name == "SecretId"
            }
            self.calls.append((action, shown))
            fault = self._take_fault(action)
            if fault == "drop-before":
                return 0, None
            if fault == "error-before":
                return _error(AwsError("InternalServiceError", "An error occurred on the server side.", 500))
            if fault == "throttle":
                return _error(AwsError("ThrottlingException", "Rate exceeded"))
            try:
                self._authorize(action, access_key)
                body = self.execute(action, request)
            except AwsError as error:
                return _error(error) if fault != "lost-answer" else (0, None)
            if fault == "lost-answer":
                return 0, None
            if fault == "error-after":
                return _error(AwsError("InternalServiceError", "An error occurred on the server side.", 500))
            return 200, body

    def _take_fault(self, action: str) -> str | None:
        for fault in self._faults:
            if fault[1] in ("*", action):
                fault[2] -= 1
                if fault[2] <= 0:
                    self._faults.remove(fault)
                return str(fault[0])
        return None

    def _authorize(self, action: str, access_key: str | None) -> None:
        if access_key is None:
            raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token")
        if access_key in self.bad_keys:
            raise AwsError(
                self.bad_keys[access_key], "The security token included in the request is invalid."
            )
        if action in self.denied:
            raise AwsError(
                "AccessDeniedException",
                f"User: arn:aws:iam::{ACCOUNT}:user/rotator is not authorized to perform: secretsmanager:{action}",
            )

    def execute(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        """One call by the rules, without faults and permissions."""
        rules: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateSecret": self._create,
            "PutSecretValue": self._put,
            "GetSecretValue": self._get,
            "DescribeSecret": self._describe,
            "UpdateSecretVersionStage": self._update_stage,
            "ListSecretVersionIds": self._list_versions,
            "DeleteSecret": self._delete,
            "RestoreSecret": self._restore,
        }
        if action not in rules:
            raise AwsError("UnknownOperationException", f"no rule for {action}")
        with self._lock:
            return rules[action](request)

    # --- the rules --------------------------------------------------------------------------------

    def _now(self) -> float:
        return time.time() + self._clock_offset

    def _find(self, request: dict[str, Any], *, deleted_is_fine: bool = False) -> StoredSecret:
        wanted = request.get("SecretId", "")
        for secret in self.secrets.values():
            if wanted in (secret.name, secret.arn, secret.arn[:-7]):  # a partial ARN lacks the random tail
                if secret.deleted is not None and not deleted_is_fine:
                    raise AwsError(
                        "InvalidRequestException",
                        "You can't perform this operation on the secret because it was marked for deletion.",
                    )
                return secret
        raise AwsError("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("Name", "")
        if not re.fullmatch(r"[A-Za-z0-9/_+=.@-]{1,512}", name):
            raise AwsError("ValidationException", "Invalid name. Must be a valid name containing ...")
        has_value = "SecretString" in request or "SecretBinary" in request
        existing = self.secrets.get(name)
        if existing is not None:
            if existing.deleted is not None:
                raise AwsError(
                    "InvalidRequestException",
                    "You can't create this secret because a secret with this name is already scheduled for deletion.",
                )
            same = existing.versions.get(request.get("ClientRequestToken", "")) if has_value else None
            if same is not None and _value(request) == (same.string, same.binary):
                return {"ARN": existing.arn, "Name": name, "VersionId": same.id}
            raise AwsError(
                "ResourceExistsException", f"The operation failed because the secret {name} already exists."
            )
        tail = uuid.uuid4().hex[:6]
        arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-{tail}"
        secret = StoredSecret(name, arn)
        body: dict[str, Any] = {"ARN": arn, "Name": name}
        if has_value:
            version = self._new_version(secret, request)
            version.labels.append(CURRENT)
            body["VersionId"] = version.id
        self.secrets[name] = secret
        return body

    def _put(self, request: dict[str, Any]) -> dict[str, Any]:
        labels = request.get("VersionStages")
        if labels is not None and not 1 <= len(labels) <= MAX_LABELS:
            raise AwsError("ValidationException", "Value at 'versionStages' failed to satisfy constraint")
        secret = self._find(request)
        if secret.primary_region is not None or secret.owning_service is not None:
            raise AwsError("InvalidRequestException", "Operation not permitted on this secret")
        self._check_kms()
        same = secret.versions.get(request.get("ClientRequestToken", ""))
        if same is not None:
            if _value(request) != (same.string, same.binary):
                raise AwsError(
                    "ResourceExistsException",
                    f"You can't use ClientRequestToken {same.id} because that value is already in use "
                    f"for a version of secret {secret.arn}.",
                )
            return {
                "ARN": secret.arn,
                "Name": secret.name,
                "VersionId": same.id,
                "VersionStages": list(same.labels),
            }
        wanted = list(dict.fromkeys(labels or [CURRENT]))
        if not secret.versions and CURRENT not in wanted:
            wanted.append(CURRENT)
        former = copy.deepcopy(secret.versions)
        self._prune(secret)
        version = self._new_version(secret, request)
        for label in wanted:
            self._attach(secret, label, version)
        self._written(secret, former)
        return {
            "ARN": secret.arn,
            "Name": secret.name,
            "VersionId": version.id,
            "VersionStages": list(version.labels),
        }

    def _new_version(self, secret: StoredSecret, request: dict[str, Any]) -> Version:
        token = request.get("ClientRequestToken")
        if not isinstance(token, str) or not 32 <= len(token) <= 64:
            raise AwsError("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
        string, binary = _value(request)
        if (string is None) == (binary is None):
            raise AwsError(
                "InvalidParameterException", "You must provide either SecretString or SecretBinary."
            )
        size = len((string or "").encode()) or len(base64.b64decode(binary or ""))
        if not 1 <= size <= MAX_BYTES:
            raise AwsError(
                "ValidationException", "Value at 'secretString' failed to satisfy constraint: length"
            )
        version = Version(token, self._now(), string, binary)
        secret.versions[token] = version
        return version

    def _prune(self, secret: StoredSecret) -> None:
        """Above the quota, unlabelled versions go, the oldest first, but none younger than 24 hours."""
        old = [
            version
            for version in secret.versions.values()
            if not version.labels and self._now() - version.created > KEPT_SECONDS
        ]
        for version in sorted(old, key=lambda candidate: candidate.created):
            if len(secret.versions) < MAX_VERSIONS:
                return
            del secret.versions[version.id]
        if len(secret.versions) >= MAX_VERSIONS:
            raise AwsError("LimitExceededException", "You have exceeded the number of versions of a secret.")

    def _attach(self, secret: StoredSecret, label: str, version: Version) -> None:
        holder = secret.holder(label)
        if holder is not None and holder is not version:
            holder.labels.remove(label)
            if label == CURRENT:
                previous = secret.holder(PREVIOUS)
                if previous is not None:
                    previous.labels.remove(PREVIOUS)
                holder.labels.append(PREVIOUS)
        if label not in version.labels:
            if len(version.labels) >= MAX_LABELS:
                raise AwsError("LimitExceededException", "You have exceeded the labels on one version.")
            version.labels.append(label)

    def _update_stage(self, request: dict[str, Any]) -> dict[str, Any]:
        secret = self._find(request)
        if secret.primary_region is not None:
            raise AwsError("InvalidRequestException", "Operation not permitted on a replica secret.")
        label = request.get("VersionStage", "")
        if not 1 <= len(label) <= 256:
            raise AwsError(
                "ValidationException", "Value at 'versionStage' failed to satisfy constraint: length"
            )
        to, removed_from = request.get("MoveToVersionId"), request.get("RemoveFromVersionId")
        holder = secret.holder(label)
        if to is None and removed_from is None:
            raise AwsError(
                "InvalidParameterException", "You must provide a version to move to or to remove from."
            )
        if to is not None and to not in secret.versions:
            raise AwsError(
                "ResourceNotFoundException", "Secrets Manager can't find the specified secret version."
            )
        if removed_from is not None and (holder is None or holder.id != removed_from):
            raise AwsError(
                "InvalidParameterException",
                f"The parameter RemoveFromVersionId is not valid: {label} is not attached to it.",
            )
        if to is None:
            if label == CURRENT:
                raise AwsError(
                    "InvalidParameterException", "You can't remove AWSCURRENT; you can only move it."
                )
        elif holder is not None and holder.id != to and removed_from is None:
            raise AwsError(
                "InvalidParameterException",
                f"The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to "
                f"version {holder.id}, so you must explicitly reference that version in RemoveFromVersionId.",
            )
        former = copy.deepcopy(secret.versions)
        if to is None:
            assert holder is not None
            holder.labels.remove(label)
        else:
            moved = secret.versions[to]
            if len(moved.labels) >= MAX_LABELS and label not in moved.labels:
                raise AwsError("LimitExceededException", "You have exceeded the labels on one version.")
            self._attach(secret, label, moved)
        self._written(secret, former)
        return {"ARN": secret.arn, "Name": secret.name}

    def _written(self, secret: StoredSecret, former: dict[str, Version]) -> None:
        secret.former, secret.stale_left = former, self.stale_reads

    def _seen(self, secret: StoredSecret) -> dict[str, Version]:
        """What this read sees: for a while after a write, the state before it."""
        if secret.stale_left > 0:
            secret.stale_left -= 1
            return secret.former
        return secret.versions

    def _get(self, request: dict[str, Any]) -> dict[str, Any]:
        secret = self._find(request)
        versions = self._seen(secret)
        wanted, label = request.get("VersionId"), request.get("VersionStage")
        if wanted is None:
            label = label or CURRENT
            version = next((found for found in versions.values() if label in found.labels), None)
        else:
            version = versions.get(wanted)
            if version is not None and label is not None and label not in version.labels:
                raise AwsError(
                    "InvalidRequestException",
                    "You provided a VersionStage that is not associated to the provided VersionId.",
                )
        if version is None or (version.string is None and version.binary is None):
            which = f"VersionId: {wanted}" if wanted else f"staging label: {label}"
            raise AwsError(
                "ResourceNotFoundException",
                f"Secrets Manager can't find the specified secret value for {which}",
            )
        self._check_kms()
        body = {
            "ARN": secret.arn,
            "Name": secret.name,
            "VersionId": version.id,
            "VersionStages": list(version.labels),
            "CreatedDate": version.created,
            "SecretString": version.string,
            "SecretBinary": version.binary,
        }
        return {name: value for name, value in body.items() if value is not None}

    def _check_kms(self) -> None:
        if self.kms_error is not None:
            raise AwsError(self.kms_error, "Access to KMS is not allowed")

    def _describe(self, request: dict[str, Any]) -> dict[str, Any]:
        secret = self._find(request, deleted_is_fine=True)
        labelled = {
            version.id: list(version.labels) for version in self._seen(secret).values() if version.labels
        }
        body = {
            "ARN": secret.arn,
            "Name": secret.name,
            "DeletedDate": secret.deleted,
            "RotationEnabled": secret.rotation_enabled or None,
            "OwningService": secret.owning_service,
            "PrimaryRegion": secret.primary_region,
            "VersionIdsToStages": labelled or None,
        }
        return {name: value for name, value in body.items() if value is not None}

    def _list_versions(self, request: dict[str, Any]) -> dict[str, Any]:
        secret = self._find(request, deleted_is_fine=True)
        versions = [
            version
            for version in self._seen(secret).values()
            if version.labels or request.get("IncludeDeprecated")
        ]
        start = int(request.get("NextToken") or 0)
        size = int(request.get("MaxResults") or 100)
        if not 1 <= size <= 100:
            raise AwsError("ValidationException", "Value at 'maxResults' failed to satisfy constraint")
        body: dict[str, Any] = {
            "ARN": secret.arn,
            "Name": secret.name,
            "Versions": [
                {
                    "VersionId": version.id,
                    "VersionStages": list(version.labels),
                    "CreatedDate": version.created,
                }
                for version in versions[start : start + size]
            ],
        }
        if start + size < len(versions):
            body["NextToken"] = str(start + size)
        return body

    def _delete(self, request: dict[str, Any]) -> dict[str, Any]:
        secret = self._find(request)
        if request.get("ForceDeleteWithoutRecovery"):
            del self.secrets[secret.name]
        else:
            secret.deleted = self._now() + 30 * 24 * 3600
        return {"ARN": secret.arn, "Name": secret.name, "DeletionDate": secret.deleted or self._now()}

    def _restore(self, request: dict[str, Any]) -> dict[str, Any]:
        secret = self._find(request, deleted_is_fine=True)
        secret.deleted = None
        return {"ARN": secret.arn, "Name": secret.name}


def _value(request: dict[str, Any]) -> tuple[str | None, str | None]:
    return request.get("SecretString"), request.get("SecretBinary")


def _error(error: AwsError) -> tuple[int, Any]:
    return error.status, {"__type": error.code, "message": error.message}


class _Server(Listener):
    def __init__(self, aws: StrictSecretsManager, port: int) -> None:
        self.aws = aws
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        action = self.headers.get("X-Amz-Target", "").removeprefix("secretsmanager.")
        credential = re.search(r"Credential=([^/]+)/", self.headers.get("Authorization", ""))
        server: Any = self.server
        if self.headers.get("Content-Type") != "application/x-amz-json-1.1":
            status, answer = 404, {"__type": "UnknownOperationException"}
        else:
            status, answer = server.aws.answer(
                action, json.loads(body), credential.group(1) if credential else None
            )
        if status == 0:
            self.close_connection = True
            return
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("x-amzn-RequestId", str(uuid.uuid4()))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Says nothing: a line per request would drown a test's output."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A strict stand-in for AWS Secrets Manager.")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    with StrictSecretsManager(parser.parse_args().port) as aws:
        sys.stdout.write(json.dumps({"url": aws.url}) + "\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
