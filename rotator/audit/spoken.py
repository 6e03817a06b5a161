"""The audit trail as lines for whoever collects standard error, where no file can take them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from rotator.audit.base import AuditEvent
from rotator.clock import Clock


class SpokenAudit:
    """Implements `Audit`. `tell` says one event; nothing chains the lines, so nothing proves them later."""

    def __init__(self, tell: Callable[[AuditEvent, datetime], None], clock: Clock) -> None:
        self._tell = tell
        self._clock = clock

    def record(self, event: AuditEvent, *, at: datetime | None = None) -> None:
        """Says the event. Never raises."""
        self._tell(event, at or self._clock.now())

    def check_writable(self) -> None:
        """There is always somewhere to say it."""
