"""What `doctor` does to the outside, told to the audit log where there is one that takes it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rotator.audit.base import Audit, AuditEvent
from rotator.clock import Clock
from rotator.errors import RotatorError
from rotator.model import Policy, Trigger

log = logging.getLogger(__name__)


class Trail:
    """Records probes and test sends of one policy.

    No audit stops no check: that the log takes nothing is a finding of its own, and before the first
    rotation there is none.
    """

    def __init__(self, clock: Clock, audit: Audit | None, policy: Policy) -> None:
        self._clock = clock
        self._audit = audit
        self._policy = policy

    def record(self, event: str, data: Mapping[str, Any]) -> None:
        if self._audit is None:
            return
        made = AuditEvent(
            event, self._policy.name, self._policy.project, trigger=Trigger.MANUAL.value, data=dict(data)
        )
        try:
            self._audit.record(made, at=self._clock.now())
        except RotatorError as error:
            log.warning("not audited: %s (%s)", event, error.code)
