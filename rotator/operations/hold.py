"""`hold` and `release`: freezes and unfreezes a policy, on the record."""

from __future__ import annotations

from rotator.audit.base import Audit, AuditEvent
from rotator.clock import Clock
from rotator.journal.base import Hold, Journal
from rotator.model import Policy


def hold(journal: Journal, audit: Audit, clock: Clock, policy: Policy, *, by: str, reason: str) -> None:
    """No command but an emergency starts a rotation of a held policy. What is past its mint still finishes."""
    audit.record(AuditEvent("policy.hold", policy.name, policy.project, data={"by": by, "reason": reason}))
    journal.hold(Hold(policy.name, clock.now(), by, reason))


def release(journal: Journal, audit: Audit, policy: Policy, *, by: str) -> bool:
    """False when it was not held."""
    if policy.name not in journal.holds():
        return False
    audit.record(AuditEvent("policy.release", policy.name, policy.project, data={"by": by}))
    return journal.release_hold(policy.name)
