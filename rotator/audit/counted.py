"""An audit whose failures somebody counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rotator.audit.base import Audit, AuditEvent
from rotator.errors import AuditUnavailable


class CountedAudit:
    """Implements `audit.base.Audit` by another one. Safe to use from several threads if that one is."""

    def __init__(self, audit: Audit, failed: Callable[[], None]) -> None:
        self._audit = audit
        self._failed = failed

    def record(self, event: AuditEvent, *, at: datetime | None = None) -> None:
        try:
            self._audit.record(event, at=at)
        except AuditUnavailable:
            self._failed()
            raise

    def check_writable(self) -> None:
        try:
            self._audit.check_writable()
        except AuditUnavailable:
            self._failed()
            raise
