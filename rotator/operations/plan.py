"""`plan`: what would rotate, when, and what it would cost. Looks, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rotator.clock import rfc3339
from rotator.engine.states import Step, past_no_return, steps_of
from rotator.errors import RotatorError
from rotator.journal.base import Journal
from rotator.model import Decision, Policy, ProjectFacts, Rotation, State
from rotator.planner import Facts, anchor_from, decide, most_overdue_first
from rotator.policies.schedule import NextCron

_WINDOW = 60.0
"""Seconds that the limit on rotate-token counts over."""
_LOOKED_BACK = 5
"""Rotations of a policy that a prediction is made from."""
_USUAL = 5.0
"""Seconds that a rotation is taken to last where none was seen yet."""


@dataclass(frozen=True)
class Planned:
    """What is foreseen for one policy."""

    policy: Policy
    decision: Decision
    steps: tuple[Step, ...]
    """Empty for a strategy that this version does not carry out."""
    predicted_outage_seconds: float | None
    """The longest of its last completed rotations; None if none was measured."""
    starts_at: datetime | None
    """When the rate limit lets it start; None if nothing would start it."""
    ends_at: datetime | None
    error: RotatorError | None = None
    """Why nothing could be found out about it."""

    @property
    def state(self) -> str:
        """One word for a person."""
        if self.error is not None:
            return "unknown"
        if self.decision.due:
            return "overdue" if self.decision.overdue else "due"
        return "not due"

    def view(self) -> dict[str, Any]:
        return {
            "policy": self.policy.name,
            "due": self.decision.due,
            "due_at": _time(self.decision.due_at),
            "reason": self.decision.reason,
            "strategy": self.policy.strategy.value,
            "steps": [{"name": step.name, "reversible": step.reversible} for step in self.steps],
            "predicted_outage_seconds": self.predicted_outage_seconds,
            "starts_at": _time(self.starts_at),
            "ends_at": _time(self.ends_at),
        }


def plan(
    policies: Sequence[Policy],
    *,
    facts: Callable[[str], ProjectFacts],
    journal: Journal,
    next_cron: NextCron,
    now: datetime,
    rotate_limit: int,
    asked_for: bool = False,
) -> list[Planned]:
    """One entry per policy, in the order in which they would rotate.

    `facts` asks the provider; what it raises is kept in the policy's entry. `asked_for`: as if `rotate`
    named these policies now, whatever their schedules say.
    """
    held = journal.holds()
    unfinished = {rotation.policy: rotation for rotation in journal.unfinished()}
    entries: list[tuple[_Entry, Decision]] = []
    for policy in policies:
        entry = _Entry(policy, unfinished.get(policy.name), held=policy.name in held)
        try:
            anchor = anchor_from(facts(policy.project).token_generated_at)
            entry.steps = _steps_left(policy, entry.unfinished)
            known = Facts(anchor, next_cron, held=entry.held, unfinished=entry.unfinished is not None)
            entry.decision = decide(policy, known, now)
        except RotatorError as error:
            entry.error = error
            entry.decision = Decision(due=False, due_at=None, reason=f"not known: {error.happened}")
        entry.starts_now = (entry.error is None and not entry.held) and (
            asked_for or entry.decision.due or entry.unfinished is not None
        )
        entries.append((entry, entry.decision))
    ordered = most_overdue_first(entries)
    first = [entry for entry in ordered if entry.starts_now]
    later = [entry for entry in ordered if not entry.starts_now]
    wait = journal.take_slot("rotate", limit=rotate_limit, window=_WINDOW, take=False)
    starts = [now + timedelta(seconds=wait + _WINDOW * (n // rotate_limit)) for n in range(len(first))]
    return [
        *(entry.planned(journal, start) for entry, start in zip(first, starts, strict=True)),
        *(entry.planned(journal, None if entry.held else entry.decision.due_at) for entry in later),
    ]


class _Entry:
    """One policy while its plan is made."""

    def __init__(self, policy: Policy, unfinished: Rotation | None, *, held: bool) -> None:
        self.policy = policy
        self.held = held
        self.unfinished = unfinished
        self.steps: tuple[Step, ...] = ()
        self.decision = Decision(due=False, due_at=None, reason="")
        self.error: RotatorError | None = None
        self.starts_now = False

    def planned(self, journal: Journal, starts_at: datetime | None) -> Planned:
        done = [r for r in journal.rotations(self.policy.name, limit=20) if r.state is State.COMPLETED]
        outages = [r.outage.max for r in done[:_LOOKED_BACK] if r.outage is not None]
        return Planned(
            policy=self.policy,
            decision=self.decision,
            steps=self.steps,
            predicted_outage_seconds=math.ceil(max(outages) * 1000) / 1000 if outages else None,
            starts_at=starts_at,
            ends_at=starts_at + timedelta(seconds=_lasts(done[:_LOOKED_BACK])) if starts_at else None,
            error=self.error,
        )


def _steps_left(policy: Policy, unfinished: Rotation | None) -> tuple[Step, ...]:
    if unfinished is None or not past_no_return(unfinished):
        return steps_of(policy.strategy)
    steps = steps_of(unfinished.strategy)
    names = [step.name for step in steps]
    return steps[names.index(unfinished.step) :]


def _lasts(done: Iterable[Rotation]) -> float:
    took = [(r.finished_at - r.started_at).total_seconds() for r in done if r.finished_at is not None]
    return max(took, default=_USUAL)


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
