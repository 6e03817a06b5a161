"""What the commands show of rotations, states and plans to a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from rotator.cli import words
from rotator.cli.render import Column, card, table
from rotator.model import Rotation, State, Verified
from rotator.operations.plan import Planned
from rotator.views import PolicyStatus

_CARDS: int = 3
"""Up to so many rotations are shown in full."""


def rotations(found: Sequence[Rotation]) -> str:
    """A few rotations in full; many as a list, and below it what did not complete."""
    if len(found) <= _CARDS:
        return "\n\n".join(rotation(one) for one in found)
    troubled = [one for one in found if one.state is not State.COMPLETED]
    return "\n\n".join([history(found), *(rotation(one) for one in troubled)])


def history(found: Iterable[Rotation]) -> str:
    """One line per rotation."""
    columns = (
        Column("policy", whole=True),
        Column("rotation", whole=True),
        Column("state", whole=True),
        Column("outage"),
    )
    rows = ((r.policy, r.id, r.state.value, words.bounds(r.outage)) for r in found)
    return table(columns, rows, longest_first=20)


def rotation(one: Rotation, *, steps: bool = False) -> str:
    """Everything about one rotation that a person asks first; with every step if asked for."""
    took = (one.finished_at - one.started_at).total_seconds() if one.finished_at else None
    lines = [
        ("rotation", one.id),
        ("project", one.project),
        ("strategy", one.strategy.value),
        ("trigger", one.trigger.value + (f", {one.reason}" if one.reason else "")),
        (
            "started",
            _moment(one.started_at) + (f", took {words.seconds(took)} s" if took is not None else ""),
        ),
        ("outage", words.bounds(one.outage) if one.outage else "none measured"),
        ("exposure", words.bounds(one.exposure) if one.exposure else ""),
        ("old token", _old_token(one)),
        ("new token", one.new_fingerprint or ""),
        *(("verified" if not n else "", _verified(v)) for n, v in enumerate(one.verified)),
        *(
            ("destination" if not n else "", f"{d.state.value}: {d.ref}")
            for n, d in enumerate(one.destinations)
        ),
        ("message", one.message),
    ]
    shown = card(one.policy, one.state.value, lines)
    return f"{shown}\n\n{_steps(one)}" if steps and one.steps else shown


def status(found: Sequence[PolicyStatus], now: datetime) -> str:
    """One line per policy, then what needs attention and the command to type for each."""
    columns = (
        Column("policy", whole=True),
        Column("state", whole=True),
        Column("age", whole=True),
        Column("next due"),
        Column("last"),
    )
    rows = (
        (
            one.name,
            one.state,
            words.length(one.age_seconds) if one.age_seconds is not None else "-",
            words.distance(one.next_due_at, now) if one.next_due_at else "-",
            _last(one),
        )
        for one in found
    )
    parts = [table(columns, rows)]
    parts += [
        card(
            f"{one.name}: {attention.code}",
            "",
            (
                ("since", f"{_moment(attention.since)}, {words.distance(attention.since, now)}"),
                ("what", attention.message),
                ("next", attention.next),
            ),
        )
        for one in found
        for attention in one.attention
    ]
    return "\n\n".join(parts)


def plan(found: Iterable[Planned], now: datetime) -> str:
    """One card per policy, in the order in which they would rotate."""
    return "\n\n".join(_planned(one, now) for one in found)


def _planned(one: Planned, now: datetime) -> str:
    outage = one.predicted_outage_seconds
    steps = " > ".join(step.name if step.reversible else f"{step.name}*" for step in one.steps)
    lines = [
        ("why", one.decision.reason),
        ("due at", _moment(one.decision.due_at) if one.decision.due_at else ""),
        (
            "rotates",
            f"{_moment(one.starts_at)}, {words.distance(one.starts_at, now)}" if one.starts_at else "",
        ),
        ("strategy", one.policy.strategy.value),
        ("steps", steps),
        ("", "* cannot be undone" if one.steps else ""),
        (
            "outage",
            f"up to {words.seconds(outage)} s, by its last rotations"
            if outage is not None
            else "not known: no rotation of it was measured yet",
        ),
    ]
    return card(one.policy.name, one.state, lines)


def _steps(one: Rotation) -> str:
    columns = (
        Column("step", whole=True),
        Column("at", whole=True),
        Column("seconds", whole=True, right=True),
        Column("outcome", whole=True),
        Column("detail"),
    )
    return table(
        columns,
        ((s.name, f"{s.at:%H:%M:%S}", f"{s.seconds:.3f}", s.outcome.value, s.detail) for s in one.steps),
    )


def _last(one: PolicyStatus) -> str:
    if one.last_outcome is None:
        return "-"
    return f"{one.last_outcome}, {words.bounds(one.last_outage)}" if one.last_outage else one.last_outcome


def _old_token(one: Rotation) -> str:
    if one.old_fingerprint is None:
        return "there was none" if one.new_fingerprint else ""
    fate = {True: "dead", False: "ALIVE", None: "not proved dead"}[one.old_token_dead]
    return f"{one.old_fingerprint}, {fate}"


def _verified(verified: Verified) -> str:
    tries = words.count(verified.attempts, "attempt")
    return f"{verified.type} {'passed' if verified.ok else 'FAILED'}, {tries}" + (
        f": {verified.detail}" if verified.detail else ""
    )


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
