"""Policies and rotations of every kind, for pages to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rotator.clock import Instant
from rotator.engine.states import way_of
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
    Form,
    Intent,
    Rotation,
    State,
    StepOutcome,
    StepRecord,
    Strategy,
    Trigger,
    Verified,
)
from rotator.views import PolicyStatus, RehearsalStatus
from tests.journal.builders import PROJECT, STANDBY, T0, full_rotation, rotation

LONG = "a" + "-very-long-name-of-a-policy" * 2 + "-x"
OWNERS = ("team-billing", "プラットフォーム基盤チーム", "🚒 on-call 🚒", "فريق الدفع", "o" * 120)
DEAD, DONE = "fp_" + "0" * 20, StepOutcome.DONE


def instant(moment: datetime) -> Instant:
    return Instant(moment, "boot-1", (moment - T0).total_seconds() + 1e6)


def steps(
    begin: datetime, *told: tuple[str, float, str] | tuple[str, float, str, str]
) -> tuple[StepRecord, ...]:
    """Steps one after the other: name, seconds, outcome, detail. A step named `-` is a pause."""
    found = []
    for name, seconds, outcome, *detail in told:
        if name != "-":
            found.append(StepRecord(name, begin, seconds, StepOutcome(outcome), detail[0] if detail else ""))
        begin += timedelta(seconds=seconds)
    return tuple(found)


def _common(name: str, begin: datetime, **more: Any) -> Rotation:
    about = {
        "policy": name,
        "started_at": begin,
        "state": State.COMPLETED,
        "step": "",
        "actor": "rotator serve on ops-1 (uid 65532, pid 7)",
        "old_fingerprint": DEAD,
        "new_fingerprint": "fp_" + "1a2b3c4d5e" * 2,
        "old_token_dead": True,
        "verified": (
            Verified("ping", ok=True, attempts=1),
            Verified("send", ok=True, attempts=2, detail="queued"),
        ),
        "destinations": (
            DestinationRecord(
                "aws-secrets-manager",
                "eu-central-1/prod/billing/lettermint#LETTERMINT_PROJECT_TOKEN",
                DestinationState.CURRENT,
            ),
            DestinationRecord("vault-kv", "secret/prod/billing/lettermint#token", DestinationState.CURRENT),
        ),
        "message": "The new token is stored and verified; the old one is dead",
    }
    return replace(rotation(more.pop("id")), **{**about, **more})


def in_place(name: str = "billing-production", days: float = 3, **more: Any) -> Rotation:
    begin = T0 - timedelta(days=days)
    sent, got, served = (instant(begin + timedelta(seconds=s)) for s in (0.4, 0.62, 0.79))
    made = _common(
        name,
        begin,
        id=f"r-in-place-{days}",
        finished_at=begin + timedelta(seconds=2.9),
        death=Death(sent, got),
        served=served,
        outage=Bounds(0.17, 0.39),
        minted=True,
        steps=steps(
            begin,
            ("preflight", 0.38, "done"),
            ("mint+publish", 0.45, "done", "published to `prod/billing/lettermint` as version 7"),
            ("verify", 1.6, "done", "ping and send passed"),
            ("prove-dead", 0.3, "done", "401 at the first attempt"),
            ("close", 0.02, "done"),
        ),
    )
    return replace(made, **more)


def pair(name: str = "checkout-production", days: float = 2, **more: Any) -> Rotation:
    begin = T0 - timedelta(days=days)
    promoted, sent = begin + timedelta(seconds=5.08), begin + timedelta(seconds=10_809.6)
    made = _common(
        name,
        begin,
        id=f"r-pair-{days}",
        form=Form.STANDBY,
        strategy=Strategy.CREATE_BEFORE_REVOKE,
        finished_at=sent + timedelta(seconds=2),
        promoted=instant(promoted),
        outage=Bounds(0.0, 0.0),
        death=Death(instant(sent), instant(sent + timedelta(seconds=0.3))),
        incoming=STANDBY,
        outgoing=PROJECT,
        minted=True,
        canary=CanaryCount(10_800, 0, 1.02),
        steps=steps(
            begin,
            ("preflight", 1.2, "done"),
            ("mint+stage", 0.9, "done"),
            ("verify-staged", 2.1, "done"),
            ("promote", 0.9, "done"),
            ("verify", 1.4, "done"),
            ("drain", 10_803, "done", "not used for 1h"),
            ("retire", 0.4, "done"),
            ("prove-dead", 0.3, "done"),
            ("close", 0.02, "done"),
        ),
    )
    return replace(made, **more)


def rolled_back(name: str = "checkout-production", days: float = 3) -> Rotation:
    """A pair's rotation that a person took back in mid-drain; what it had made drained for three hours."""
    whole = pair(name, days=days)
    begin, sent = whole.started_at, whole.started_at + timedelta(seconds=11_000)
    back = begin + timedelta(seconds=150)
    return replace(
        whole,
        id=f"r-back-{days}",
        state=State.FAILED,
        exit_code=1,
        finished_at=sent + timedelta(seconds=2),
        promoted=None,
        intent=full_rotation().intent,
        returned=instant(back),
        outage=None,
        old_token_dead=None,
        canary=None,
        abandoned="Rolled back by a person: it was the wrong day.",
        message="Rolled back by a person: it was the wrong day. Consumers keep the token they had.",
        death=Death(instant(sent), instant(sent + timedelta(seconds=0.3))),
        steps=(
            *whole.steps[:5],
            *steps(
                begin + timedelta(seconds=6.5),
                ("drain", 142, "done", "draining: at least 1:57:00 more"),
                ("rollback", 0.9, "done", "the outgoing token is current again"),
                ("drain-incoming", 10_849.9, "done", "the token that was given up was not used any more"),
                ("discard", 0.8, "done", "the token minted for it was killed by a further mint"),
                ("close", 0.02, "done"),
            ),
        ),
    )


def draining(name: str = "checkout-production") -> Rotation:
    whole = pair(name, days=0.05)
    since = whole.promoted
    assert since is not None
    seconds = (T0 - since.wall).total_seconds() - 2
    return replace(
        whole,
        id="r-draining",
        state=State.DRAINING,
        step="drain",
        finished_at=None,
        death=None,
        old_token_dead=None,
        outage=None,
        canary=None,
        steps=(*whole.steps[:5], replace(whole.steps[5], seconds=seconds, detail="")),
        drain=Draining(since, DrainEvidence.LAST_USED, 7200, 3600, 86400 * 7),
        message="The outgoing token was last used 4m ago by 203.0.113.7; waiting for 1h without use",
    )


def bridge(name: str = "newsletter", days: float = 9) -> Rotation:
    begin = T0 - timedelta(days=days)
    minted = begin + timedelta(seconds=7208.3)
    return replace(
        pair(name, days),
        id="r-bridge",
        form=Form.BRIDGE,
        promoted=instant(minted + timedelta(seconds=5.6)),
        death=None,  # nobody measures it: readers hold the bridge
        intent=Intent(PROJECT, instant(minted), instant(minted).plus(15), None, ()),
        mints=1,
        finished_at=minted + timedelta(hours=2),
        steps=steps(
            begin,
            ("preflight", 1.2, "done"),
            ("promote-bridge", 0.8, "done"),
            ("verify-bridge", 1.4, "done"),
            ("drain", 7204.6, "done"),
            ("mint+stage", 0.9, "done"),
            ("prove-dead", 0.3, "done"),
            ("verify-staged", 2.1, "done"),
            ("promote", 2.7, "done"),
            ("verify", 1.4, "done"),
            ("drain-bridge", 7200, "done"),
            ("close", 0.02, "done"),
        ),
    )


def crashed(name: str = "billing-production", days: float = 33) -> Rotation:
    begin = T0 - timedelta(days=days)
    sent, served = instant(begin + timedelta(seconds=0.4)), instant(begin + timedelta(seconds=342.2))
    return replace(
        in_place(name, days),
        id="r-crashed",
        trigger=Trigger.MANUAL,
        reason="quarterly exercise <b>with</b> Ανδρέας",
        death=Death(sent, instant(begin + timedelta(seconds=331))),
        served=served,
        outage=Bounds(11.2, 341.8),
        mints=2,
        finished_at=begin + timedelta(seconds=346),
        steps=steps(
            begin,
            ("preflight", 0.38, "done"),
            ("mint+publish", 10.1, "unclear", "no answer within 10 s"),
            ("-", 320, ""),
            ("mint+publish", 11.8, "done", "the token of the lost answer is lost; another was minted"),
            ("verify", 1.6, "failed", "the relay did not answer"),
            ("verify", 1.6, "done"),
            ("prove-dead", 0.3, "done"),
            ("close", 0.02, "done"),
        ),
    )


def refused(name: str = "billing-production", days: float = 64) -> Rotation:
    begin = T0 - timedelta(days=days)
    return _common(
        name,
        begin,
        id="r-refused",
        state=State.REFUSED,
        new_fingerprint=None,
        old_token_dead=None,
        verified=(),
        destinations=(),
        finished_at=begin + timedelta(seconds=0.5),
        steps=steps(begin, ("preflight", 0.5, "failed", "the secret has native rotation enabled")),
        message="Nothing was changed: the secret `prod/billing/lettermint` has native rotation enabled",
    )


def stuck(name: str, begin: datetime = T0 - timedelta(minutes=21)) -> Rotation:
    """Minted and not taken by the store: readers hold a dead token."""
    whole = in_place(name)
    sent = instant(begin + timedelta(seconds=0.4))
    return replace(
        whole,
        id="r-stuck",
        started_at=begin,
        state=State.NEEDS_ATTENTION,
        step="mint+publish",
        finished_at=None,
        death=Death(sent, sent.plus(0.2)),
        served=None,
        outage=None,
        old_token_dead=None,
        verified=(),
        trigger=Trigger.EMERGENCY,
        exposure=Bounds(0.4, 0.6),
        steps=steps(
            begin,
            ("preflight", 0.4, "done"),
            ("mint+publish", 600, "failed", "AccessDeniedException on PutSecretValue"),
        ),
        message="The store does not take the new token; trying again in 40 s",
    )


CONSUMERS = (
    ConsumerRecord(
        "external-secret",
        "ExternalSecret shop/mailer",
        "fp_" + "3" * 20,
        ConsumerState.DONE,
        detail="it has synced",
    ),
    ConsumerRecord(
        "kubernetes-restart",
        f"Deployment {'n' * 63}/{'w' * 63}",
        "fp_" + "3" * 20,
        ConsumerState.FAILED,
        detail="1 of 3 pods is new; its progress deadline has passed",
    ),
)
"""One that has come to its end, and one with a long name that has not."""
REHEARSED = RehearsalStatus(
    last_success_at=T0 - timedelta(days=40),
    age_seconds=40 * 86400.0,
    seconds=12.5,
    last_outcome="needs-attention",
    next_due_at=T0 - timedelta(days=10),
    overdue=True,
    reason="10d over: every 30d",
)


def status(_name: str = "billing-production", **changes: Any) -> PolicyStatus:
    age = timedelta(days=3, hours=4)
    plain = PolicyStatus(
        name=_name,
        project=PROJECT,
        active_project=PROJECT,
        strategy="in-place",
        state="ok",
        token_generated_at=T0 - age,
        age_seconds=age.total_seconds(),
        next_due_at=T0 + timedelta(days=26, hours=20),
        overdue=False,
        reason="not due yet: every 30d after the token was made",
        last_outcome="completed",
        last_outage=Bounds(0.17, 0.39),
        rotation=None,
        attention=(),
        owner="team-billing",
    )
    return replace(plain, **changes)


def with_rotation(one: Rotation, **changes: Any) -> PolicyStatus:
    way = tuple(step.name for step in way_of(one))
    state = "draining" if one.state is State.DRAINING else "running"
    return status(one.policy, **{"state": state, "rotation": one, "way": way, **changes})


def attention(_name: str, code: str = "token-dead", **changes: Any) -> Attention:
    plain = Attention(
        _name,
        code,
        T0 - timedelta(minutes=20),
        "The token that readers hold is dead, and eu-central-1/prod/billing/lettermint does not take the new one: "
        "AccessDeniedException on PutSecretValue",
        f"Give this role secretsmanager:PutSecretValue on it; the daemon goes on by itself, or `rotator rotate {_name}`",
    )
    return replace(plain, **changes)


def one_policy() -> list[PolicyStatus]:
    return [status()]


def many(count: int = 500) -> list[PolicyStatus]:
    """Of everything something, and names as long as they may be."""
    found = [
        with_rotation(
            stuck("orders-production"), attention=(attention("orders-production"),), state="needs-attention"
        ),
        status(
            LONG,
            state="needs-attention",
            owner=OWNERS[4],
            attention=(
                attention(
                    LONG,
                    "drain-stuck",
                    since=T0 - timedelta(hours=5),
                    message="The outgoing token is still used after 7d, last by 2001:db8::7",
                    next=f"Look who that is, then `rotator retire {LONG} --force` or `rotator rollback {LONG}`",
                ),
            ),
        ),
        with_rotation(draining(), strategy="create-before-revoke", owner=OWNERS[1], last_outage=None),
        status("newsletter", state="held", owner=OWNERS[3], reason="held since 2026-11-20 by ana: migration"),
        status(
            "reports",
            state="overdue",
            overdue=True,
            owner=OWNERS[2],
            next_due_at=T0 - timedelta(days=2, hours=3),
            reason="due since 2026-11-19 09:00 UTC: every 30d; the window opens on Monday at 09:00",
        ),
    ]
    for number in range(count - len(found)):
        due = T0 + timedelta(hours=7 + number * 1.4)
        found.append(status(f"service-{number:03}-production", next_due_at=due, owner=OWNERS[number % 4]))
    return found[:count]


def history(name: str = "billing-production") -> Sequence[Rotation]:
    """One of each kind, under one name."""
    return (
        draining(name),
        in_place(name),
        bridge(name, 9),
        pair(name, 15),
        crashed(name, 33),
        refused(name, 64),
        replace(in_place(name, 70), old_fingerprint=None, outage=None, death=None, old_token_dead=None),
    )
