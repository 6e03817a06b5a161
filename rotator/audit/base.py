"""What the engine needs of the audit trail.

Event names have the grammar `subject.action` or `subject.action.phase`, where the phase of anything
that changes the outside world is `intent` (written before the call) or `outcome` (after it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from rotator.errors import AuditUnavailable, InvalidInput

EVENT: Final = re.compile(r"[a-z]+(?:-[a-z]+)*\.[a-z]+(?:-[a-z]+)*(?:\.(?:intent|outcome))?")


class AuditMisconfigured(InvalidInput, AuditUnavailable):
    """The audit log cannot be where the settings put it: no permission, no folder, no regular file.
    Exit code 2."""

    retryable = False
    code = "audit-settings"


class AuditBroken(AuditUnavailable):
    """The log is not the one whose end the journal remembers: gone, cut, or its end was changed.

    Nothing is appended, because a chain that begins anew without a word proves nothing. Exit code 4.
    """

    exit_code = 4
    retryable = False
    code = "audit-broken"


def unreadable(path: Path, error: OSError) -> AuditUnavailable:
    """The error for a log that cannot be read."""
    kind = AuditMisconfigured if isinstance(error, PermissionError | IsADirectoryError) else AuditUnavailable
    return kind(
        f"The audit log {path} cannot be read: {error.strerror}",
        remedy="ROTATOR_AUDIT_LOG must name a file that this user may read",
    )


@dataclass(frozen=True)
class AuditEvent:
    """One fact for an investigator. `data` is plain JSON; tokens appear as fingerprints only."""

    event: str
    policy: str | None = None
    project: str | None = None
    rotation: str | None = None
    trigger: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not EVENT.fullmatch(self.event):
            raise ValueError(f"not an audit event name: {self.event!r}")


@dataclass(frozen=True)
class ChainHead:
    """The last event of the chain: its sequence number (from 1) and its MAC."""

    seq: int
    mac: str


class Anchor(Protocol):
    """Keeps the chain's head outside the file, so that a cut tail shows."""

    def audit_head(self) -> ChainHead | None: ...

    def set_audit_head(self, head: ChainHead) -> None:
        """Remembers a head unless a later one is known."""
        ...


class Audit(Protocol):
    """The audit trail. Safe to use from several threads and processes."""

    def record(self, event: AuditEvent, *, at: datetime | None = None) -> None:
        """Appends one event durably. `at` is when it happened, if that was not now (a spooled event).

        Raises AuditUnavailable; then nothing of the event is in the log.
        """
        ...

    def check_writable(self) -> None:
        """Raises AuditUnavailable if an event could not be recorded now; AuditMisconfigured and AuditBroken
        are kinds of it. Writes nothing."""
        ...
