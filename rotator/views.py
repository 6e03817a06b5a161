"""The JSON that leaves rotator: `rotate`, `run`, `history`, `status` (design 3.3). Fixed; only added to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from rotator.clock import Instant, parse_rfc3339, rfc3339
from rotator.model import (
    Attention,
    Bounds,
    CanaryCount,
    DestinationRecord,
    Draining,
    Rotation,
    Synced,
)
from rotator.rehearsal import policy_of

STATES: Final = ("needs-attention", "unknown", "overdue", "running", "draining", "due", "held", "ok")
"""Of a policy, the urgent ones first."""


@dataclass(frozen=True)
class Untold:
    """What one kind of notifier of a policy could not be told so far."""

    type: str
    waiting: int
    """Notices that are tried again."""
    given_up: int
    """Notices that were tried for days."""
    error: str
    """Why the last try failed."""


@dataclass(frozen=True)
class RehearsalStatus:
    """Where the rehearsals of one policy stand."""

    last_success_at: datetime | None
    """When the last that succeeded had ended."""
    age_seconds: float | None
    """Since then."""
    seconds: float | None
    """How long it took."""
    last_outcome: str | None
    """Of the latest, as the state of a rotation; None where there was none."""
    next_due_at: datetime | None
    overdue: bool
    reason: str
    """Why one is due or not, in one sentence."""
    attention: tuple[Attention, ...] = ()
    """What a person must look at; nothing of it concerns the policy's own token."""


@dataclass(frozen=True)
class PolicyStatus:
    """Where one policy stands."""

    name: str
    project: str
    active_project: str | None
    strategy: str
    state: str
    """One of `STATES`."""
    token_generated_at: datetime | None
    age_seconds: float | None
    next_due_at: datetime | None
    overdue: bool
    reason: str
    """Why it is due or not, in one sentence."""
    last_outcome: str | None
    last_outage: Bounds | None
    rotation: Rotation | None
    """The rotation that is not finished, if there is one."""
    attention: tuple[Attention, ...]
    owner: str | None = None
    """Who answers for it, as the policy has it."""
    way: tuple[str, ...] = ()
    """Names of the steps that the unfinished rotation goes through, in order."""
    untold: tuple[Untold, ...] = ()
    """Notifiers that are away; they delay nothing."""
    rehearsal: RehearsalStatus | None = None
    """None where the policy has nothing to be rehearsed on."""


def rotations_view(rotations: Iterable[Rotation]) -> dict[str, Any]:
    """What `rotate`, `run` and `history` print."""
    return {"rotations": [rotation_view(rotation) for rotation in rotations]}


def rotation_view(rotation: Rotation) -> dict[str, Any]:
    """One rotation."""
    return {
        "id": rotation.id,
        "policy": policy_of(rotation.policy),
        "project": rotation.project,
        "strategy": rotation.strategy.value,
        "trigger": rotation.trigger.value,
        "state": rotation.state.value,
        "started_at": rfc3339(rotation.started_at),
        "finished_at": _time(rotation.finished_at),
        "old_fingerprint": rotation.old_fingerprint,
        "new_fingerprint": rotation.new_fingerprint,
        "outage_seconds": _bounds(rotation.outage),
        "exposure_seconds": _bounds(rotation.exposure),
        "verified": [
            {"type": v.type, "ok": v.ok, "attempts": v.attempts, "detail": v.detail}
            for v in rotation.verified
        ],
        "old_token_dead": rotation.old_token_dead,
        "drain": _drain(rotation.drain),
        "canary": _canary(rotation.canary),
        "destinations": destinations_view(rotation.destinations),
        "consumers": [
            {"type": c.type, "ref": c.ref, "state": c.state.value, "detail": c.detail}
            for c in rotation.consumers
        ],
        "steps": [
            {
                "name": s.name,
                "at": rfc3339(s.at),
                "seconds": s.seconds,
                "outcome": s.outcome.value,
                "detail": s.detail,
            }
            for s in rotation.steps
        ],
        "reason": rotation.reason,
        "message": rotation.message,
    }


def status_view(statuses: Iterable[PolicyStatus]) -> dict[str, Any]:
    """What `status` prints."""
    return {
        "policies": [
            {
                "name": s.name,
                "project": s.project,
                "active_project": s.active_project,
                "strategy": s.strategy,
                "state": s.state,
                "token_generated_at": _time(s.token_generated_at),
                "age_seconds": s.age_seconds,
                "next_due_at": _time(s.next_due_at),
                "overdue": s.overdue,
                "reason": s.reason,
                "last_outcome": s.last_outcome,
                "last_outage_seconds": _bounds(s.last_outage),
                "rotation": rotation_view(s.rotation) if s.rotation else None,
                "attention": [attention_view(a) for a in s.attention],
                "owner": s.owner,
                "untold": [asdict(one) for one in s.untold],
                "rehearsal": _rehearsal(s.rehearsal),
            }
            for s in statuses
        ]
    }


def destinations_view(destinations: Iterable[DestinationRecord]) -> list[dict[str, Any]]:
    """What was done to destinations, in their order."""
    return [{"type": d.type, "ref": d.ref, "state": d.state.value} for d in destinations]


def synced_view(synced: Synced) -> dict[str, Any]:
    """Destinations that disagreed, and what they hold now."""
    return {
        "policy": synced.policy,
        "id": synced.id,
        "destinations": destinations_view(synced.destinations),
        "message": synced.message,
    }


def attention_view(attention: Attention) -> dict[str, Any]:
    """One thing that a person must look at."""
    return {
        "code": attention.code,
        "since": rfc3339(attention.since),
        "message": attention.message,
        "next": attention.next,
    }


def _rehearsal(one: RehearsalStatus | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "last_success_at": _time(one.last_success_at),
        "age_seconds": one.age_seconds,
        "seconds": one.seconds,
        "last_outcome": one.last_outcome,
        "next_due_at": _time(one.next_due_at),
        "overdue": one.overdue,
        "reason": one.reason,
        "attention": [attention_view(a) for a in one.attention],
    }


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None


def _bounds(bounds: Bounds | None) -> dict[str, float | None] | None:
    # Rounded outwards: the true value lies between what is printed. JSON has no infinity: null where nobody knows.
    if bounds is None:
        return None
    most = math.ceil(bounds.max * 1000) / 1000 if math.isfinite(bounds.max) else None
    return {"min": math.floor(bounds.min * 1000) / 1000, "max": most}


def _drain(draining: Draining | None) -> dict[str, Any] | None:
    if draining is None:
        return None
    return {
        "since": rfc3339(draining.since.wall),
        "min_until": rfc3339(draining.since.plus(draining.min_seconds).wall),
        "quiet_since": _instant(draining.quiet_since),
        "max_until": rfc3339(draining.latest_end.wall),
        "last_used_at": _theirs(draining.last_used_at),
        "last_used_ip": draining.last_used_ip,
        "evidence": draining.evidence.value,
        "result": draining.result.value,
    }


def _canary(count: CanaryCount | None) -> dict[str, Any] | None:
    if count is None:
        return None
    return {
        "attempts": count.attempts,
        "failures": count.failures,
        "longest_gap_seconds": math.ceil(count.longest_gap * 1000) / 1000,
    }


def _instant(moment: Instant | None) -> str | None:
    return rfc3339(moment.wall) if moment else None


def _theirs(text: str | None) -> str | None:
    """A time of the provider's in our form; one that cannot be read as it was written."""
    if text is None:
        return None
    try:
        return rfc3339(parse_rfc3339(text))
    except ValueError:
        return text
