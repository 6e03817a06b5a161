"""One secret as AWS knows it: versions, their labels, and the calls on them. No library is imported here.

Facts are from the Secrets Manager API reference (as shipped in botocore 1.44.5):

- A version never changes, and its id is the `ClientRequestToken` of the write: repeating a write with the
  same id and content does nothing.
- A write without `VersionStages` becomes current at once, so none is ever sent without.
- `UpdateSecretVersionStage` moves a label only if `RemoveFromVersionId` names its present holder.
- Versions cannot be deleted; those without a label go after a while.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from rotator.clock import Clock
from rotator.destinations.aws_errors import EXISTS, INVALID_PARAMETER, NOT_FOUND
from rotator.destinations.base import DestinationRefused
from rotator.errors import Unreachable, VersionConflict

CURRENT: Final = "AWSCURRENT"
PREVIOUS: Final = "AWSPREVIOUS"
MAX_BYTES: Final = 65_536
"""Of a value (Secrets Manager quotas)."""

_PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.6, 2.4)
"""Seconds between looks after a write: AWS may answer reads with the former state for a moment."""
_LIST_PAGES: Final = 5


class Answered(Exception):
    """AWS answered with an error code that the caller said it would decide about itself."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Call(Protocol):
    """Makes one call. Raises `Answered` for the codes in `expected`, else an error of ours."""

    def __call__(self, operation: str, *expected: str, **parameters: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Version:
    """One version with its value; `text` is None where the value is binary."""

    id: str
    labels: tuple[str, ...]
    text: str | None = field(repr=False)


class AwsSecret:
    """Calls on one secret. `where` names it for people."""

    def __init__(self, call: Call, clock: Clock, *, name: str, where: str) -> None:
        self._call = call
        self._clock = clock
        self._name = name
        self.where = where

    def looks(self) -> Iterator[None]:
        """At once, then after growing pauses; about 6 s in all."""
        yield
        for pause in _PAUSES:
            self._clock.wait(pause)
            yield

    def fetch(self, *, stage: str | None = None, version: str | None = None) -> Version | None:
        """One version by label or id, never the default one. None where there is none, or no value in it."""
        which = {"VersionStage": stage} if stage is not None else {"VersionId": version}
        try:
            answer = self._call("GetSecretValue", NOT_FOUND, SecretId=self._name, **which)
        except Answered:
            return None
        return Version(
            id=str(answer["VersionId"]),
            labels=tuple(answer.get("VersionStages", ())),
            text=answer.get("SecretString"),
        )

    def about(self) -> dict[str, Any] | None:
        """DescribeSecret; None where there is no such secret. Refuses one that is scheduled for deletion."""
        try:
            about = self._call("DescribeSecret", NOT_FOUND, SecretId=self._name)
        except Answered:
            return None
        if about.get("DeletedDate"):
            raise DestinationRefused(
                f"{self.where} is scheduled for deletion",
                then="Nothing was changed",
                remedy="Restore it with `aws secretsmanager restore-secret`, or name another secret",
            )
        return about

    def refuse_what_others_manage(self) -> None:
        """Refuses a secret that AWS itself, or another region, writes."""
        about = self.about() or {}
        primary = about.get("PrimaryRegion")
        if about.get("RotationEnabled"):
            why = "has AWS's own rotation enabled"
            remedy = "Turn it off (`aws secretsmanager cancel-rotate-secret`), or name another secret"
        elif about.get("OwningService"):
            why, remedy = "is managed by another AWS service", "Name a secret of your own"
        elif primary and primary != region_of_arn(str(about.get("ARN", ""))):
            why, remedy = f"is a replica; the secret itself is in {primary}", f"Say `region: {primary}`"
        else:
            return
        raise DestinationRefused(f"{self.where} {why}", then="Nothing was changed", remedy=remedy)

    def create(self) -> bool:
        """Makes the secret, without a version; False if it exists already."""
        try:
            self._call("CreateSecret", EXISTS, Name=self._name)
        except Answered:
            return False
        return True

    def put(self, version_id: str, text: str, label: str, *expected: str) -> None:
        """Writes a version under a private label."""
        self.check_size(text)
        self._call(
            "PutSecretValue",
            *expected,
            SecretId=self._name,
            ClientRequestToken=version_id,
            SecretString=text,
            VersionStages=[label],
        )

    def check_size(self, text: str) -> None:
        """Refuses a value that AWS would not store."""
        if len(text.encode()) > MAX_BYTES:
            raise DestinationRefused(
                f"{self.where} has no room for a token: AWS stores {MAX_BYTES} bytes",
                then="Nothing was changed",
                remedy="Take something out of it, or use a secret of its own for the token",
            )

    def move(self, label: str, *, to: str, removed_from: str | None) -> bool:
        """Moves a label; False if AWS refuses, because the holder is another one or `to` is not there."""
        return self._relabel(label, MoveToVersionId=to, RemoveFromVersionId=removed_from)

    def unlabel(self, label: str, version_id: str) -> bool:
        """Takes a label off a version; False if the version does not have it (any more)."""
        return self._relabel(label, RemoveFromVersionId=version_id)

    def _relabel(self, label: str, **move: str | None) -> bool:
        given = {name: version for name, version in move.items() if version is not None}
        try:
            self._call(
                "UpdateSecretVersionStage",
                INVALID_PARAMETER,
                NOT_FOUND,
                SecretId=self._name,
                VersionStage=label,
                **given,
            )
        except Answered:
            return False
        return True

    def former_versions(self) -> list[str]:
        """Ids of all versions but the current one: AWSPREVIOUS, then labelled ones, then the youngest."""
        if self.about() is None:
            return []
        versions: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        for _ in range(_LIST_PAGES):
            page = self._call(
                "ListSecretVersionIds", SecretId=self._name, IncludeDeprecated=True, MaxResults=100, **more
            )
            versions += page.get("Versions", [])
            if not page.get("NextToken"):
                break
            more = {"NextToken": page["NextToken"]}

        def order(version: dict[str, Any]) -> tuple[bool, bool, float]:
            labels = version.get("VersionStages", [])
            created = version.get("CreatedDate")
            return PREVIOUS not in labels, not labels, -created.timestamp() if created else 0.0

        former = [version for version in versions if CURRENT not in version.get("VersionStages", [])]
        return [str(version["VersionId"]) for version in sorted(former, key=order)]

    def conflict(self) -> VersionConflict:
        """The error for a current version that is not the one we based our write on."""
        return VersionConflict(
            f"{self.where} was changed by somebody else meanwhile",
            then="Their change was left as it is",
            remedy="Read it again and write on top of it",
        )

    def not_visible_yet(self) -> Unreachable:
        """The error for a write that AWS accepted and does not show."""
        return Unreachable(
            f"{self.where} was written, but AWS still answers with the former state",
            then="Repeating the call is safe",
            remedy="Try again in a few seconds",
        )


def region_of_arn(text: str) -> str | None:
    """The region in the ARN of a secret; None for anything else, such as a name."""
    match = re.match(r"arn:[^:]*:secretsmanager:([^:]+):", text)
    return match.group(1) if match else None


def holder_of(about: dict[str, Any] | None, label: str) -> str | None:
    """The id of the version that has a label, in an answer of DescribeSecret."""
    versions: dict[str, list[str]] = (about or {}).get("VersionIdsToStages") or {}
    return next((version for version, labels in versions.items() if label in labels), None)
