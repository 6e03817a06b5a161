"""Records with every field a test does not care about filled in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rotator.clock import Instant
from rotator.journal.base import Holder, KnownToken
from rotator.model import (
    Attention,
    Bounds,
    CanaryCount,
    ConsumerRecord,
    ConsumerState,
    Death,
    DestinationRecord,
    DestinationState,
    DrainEvidence,
    Draining,
    DrainResult,
    Emergency,
    Form,
    Intent,
    Order,
    ProjectFacts,
    Rotation,
    Slot,
    State,
    StepOutcome,
    StepRecord,
    Strategy,
    Trigger,
    Verified,
)

T0 = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PROJECT = "0f8fad5b-d9cb-469f-a165-70867728950e"
STANDBY = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def rotation(rotation_id="r-1", **changes):
    """A rotation under way, of PROJECT."""
    plain = Rotation(
        id=rotation_id,
        policy="billing-production",
        project=PROJECT,
        strategy=Strategy.IN_PLACE,
        trigger=Trigger.SCHEDULE,
        state=State.RUNNING,
        started_at=T0,
        snapshot={"name": "billing-production", "destinations": [{"type": "file", "path": "/x"}]},
        actor="uid 1000",
        step="mint",
    )
    return replace(plain, **changes)


def full_rotation(rotation_id="r-full"):
    """A rotation with something in every field."""
    sent = Instant(at(1), "boot-1", 1001.25)
    return rotation(
        rotation_id,
        reason="monthly",
        finished_at=at(9),
        exit_code=4,
        old_fingerprint="fp_" + "0" * 20,
        new_fingerprint="fp_" + "1" * 20,
        intent=Intent(PROJECT, sent, sent.plus(15), "2026-10-01T00:00:00Z", ("fp_a", "fp_b"), {"x#k": None}),
        mints=2,
        loose=1,
        minted=True,
        generated_at_after="2026-11-21T12:00:01Z",
        death=Death(sent, sent.plus(0.5)),
        served=sent.plus(1),
        served_after=sent.plus(0.75),
        outage=Bounds(0.25, 1.5),
        exposure=Bounds(1.0, float("inf")),
        verified=(Verified("ping", True, 2, "401, then 200"),),
        old_token_dead=True,
        destinations=(DestinationRecord("file", "/x#k", DestinationState.CURRENT),),
        steps=(StepRecord("mint", at(1), 0.125, StepOutcome.UNCLEAR, "timed out"),),
        message="look at it",
        form=Form.STANDBY,
        incoming="project-b",
        outgoing=PROJECT,
        bridge_fingerprint="fp_" + "2" * 20,
        promoted=sent.plus(2),
        returned=sent,
        drain=Draining(
            sent.plus(2),
            DrainEvidence.LAST_USED,
            7200.0,
            3600.0,
            86400.0,
            looked=sent.plus(3),
            quiet_since=sent.plus(3),
            last_used_at="2026-11-21T12:00:00Z",
            last_used_ip="203.0.113.7",
            result=DrainResult.MAX,
        ),
        retiring=Intent(PROJECT, sent.plus(4), sent.plus(19), None, ()),
        retired=True,
        abandoned="it misbehaved",
        canary=CanaryCount(100, 1, 0.5),
        emergency=Emergency(
            sent, Order.KILL_FIRST, 300.0, Slot.OUTGOING, kill_only=True, own=True, passing=True
        ),
        consumers=(
            ConsumerRecord(
                "external-secret",
                "ExternalSecret shop/mailer",
                "fp_" + "1" * 20,
                ConsumerState.TOLD,
                tries=2,
                mark='["2026-11-21T12:00:00Z","1-abc",""]',
                told=sent.plus(2.5),
                detail="it has not synced yet",
            ),
        ),
    )


def facts(**changes):
    plain = ProjectFacts(
        PROJECT, "Billing", True, "transactional", "route", "2026-10-01T00:00:00Z", None, None
    )
    return replace(plain, **changes)


def attention(code="unclear", policy="billing-production", **changes):
    return replace(Attention(policy, code, T0, "It is unclear.", "Run `rotator reconcile`."), **changes)


def token(fingerprint="fp_" + "a" * 20, **changes):
    return replace(KnownToken(fingerprint, PROJECT, "billing-production", "r-1", "minted", T0), **changes)


def stranger(name="elsewhere", **changes):
    """A holder on another host, about whose life nothing can be told from here."""
    plain = Holder(name, f"{name}.example", "boot-1", 4711, "12345", "pid:[1]", f"rotator run on {name}")
    return replace(plain, **changes)
