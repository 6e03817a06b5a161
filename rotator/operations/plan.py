"""`plan`: what would rotate, when, and what it would cost. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rotator.clock import rfc3339
from rotator.engine.sides import remembered_side
from rotator.engine.states import (
    MINT_PUBLISH,
    MINT_STAGE,
    Step,
    changed,
    overlaps,
    past_no_return,
    steps_left,
    steps_of,
)
from rotator.errors import RateLimited, RotatorError
from rotator.journal.base import Journal
from rotator.model import Decision, Policy, ProjectFacts, Rotation, State
from rotator.operations.anchor import anchor_of
from rotator.operations.draining import asks_for_revocation
from rotator.operations.forecast import WINDOW, Forecast, MintTimes, forecast, last_of
from rotator.operations.several import with_room
from rotator.planner import Facts, decide, explain, most_overdue_first
from rotator.policies.schedule import NextCron

ENDPOINT_GONE = "endpoint-gone"
"""Attention: the provider has taken rotate-token away. `run` leaves such a policy alone."""


@dataclass(frozen=True)
class Planned:
    """What is foreseen for one policy."""

    policy: Policy
    decision: Decision
    explanation: str
    """Where its date comes from, in one sentence with the dates in it."""
    steps: tuple[Step, ...]
    """Those left to do."""
    mints: int
    """Calls of rotate-token that they take."""
    past_no_return: bool
    """An unfinished rotation goes on, and only forward."""
    forecast: Forecast
    starts_now: bool
    """Nothing but the rate limit stands before it."""
    starts_at: datetime | None
    """When the rate limit lets it start; None if nothing would start it."""
    ends_at: datetime | None
    limited: bool = False
    """It waits for the rate limit."""
    goes_on: bool = False
    """It is the rest of a rotation that has begun."""
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
            "explanation": self.explanation,
            "strategy": self.policy.strategy.value,
            "steps": [{"name": step.name, "reversible": step.reversible} for step in self.steps],
            "mints": self.mints,
            "predicted_outage_seconds": self.forecast.outage,
            "predicted_outage_from": self.forecast.outage_from,
            "predicted_duration_seconds": self.forecast.duration,
            "predicted_duration_from": self.forecast.duration_from,
            "starts_at": _time(self.starts_at),
            "ends_at": _time(self.ends_at),
        }


@dataclass(frozen=True)
class Summary:
    """What would start now, taken together."""

    count: int
    mints: int
    """Calls of rotate-token that all of them take."""
    rotate_limit: int
    """Such calls in any 60 s."""
    starts_at: datetime | None
    """The first start; None where nothing would start."""
    last_starts_at: datetime | None
    ends_at: datetime | None
    """When the last of them ends."""

    def view(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "mints": self.mints,
            "rate_limit": {"mints": self.rotate_limit, "seconds": WINDOW},
            "starts_at": _time(self.starts_at),
            "last_starts_at": _time(self.last_starts_at),
            "ends_at": _time(self.ends_at),
        }


@dataclass(frozen=True)
class Plan:
    """What is foreseen, in the order in which it would happen."""

    entries: tuple[Planned, ...]
    summary: Summary

    def view(self) -> dict[str, Any]:
        return {"plan": [one.view() for one in self.entries], "summary": self.summary.view()}


def plan(
    policies: Sequence[Policy],
    *,
    facts: Callable[[str], ProjectFacts],
    journal: Journal,
    next_cron: NextCron,
    now: datetime,
    rotate_limit: int,
    asked_for: bool = False,
    wait: Callable[[float, int], None] | None = None,
) -> Plan:
    """One entry per policy, in the order in which they would rotate: what starts now first, as `run` or
    `rotate` takes it up, then what has a date, then the rest.

    `facts` asks the provider; what it raises is kept in the policy's entry. `asked_for`: as if `rotate`
    named these policies now, whatever their schedules say. `wait` takes the seconds until the rate limit for
    reading has room again, and for how many policies; without it they stay unknown. Raises JournalUnavailable.
    """
    held = journal.holds()
    unfinished = {rotation.policy: rotation for rotation in journal.unfinished()}
    gone = {entry.policy for entry in journal.attentions() if entry.code == ENDPOINT_GONE}
    looks = [
        _Look(
            policy,
            unfinished.get(policy.name),
            held=policy.name in held,
            gone=policy.name in gone,
            asked_for=asked_for,
        )
        for policy in policies
    ]

    def ask(some: Sequence[_Look]) -> list[tuple[_Look, float]]:
        # One after the other: a command that only looks stops at once, and threads could not be left behind.
        for look in some:
            look.ask(journal, facts, next_cron, now)
        return [(look, look.error.retry_after) for look in some if isinstance(look.error, RateLimited)]

    with_room(ask, looks, wait)
    waiting = [look for look in looks if look.starts_now(now)]
    if not asked_for:
        waiting = [
            *(look for look in waiting if look.unfinished is not None),
            *most_overdue_first((look, look.decision) for look in waiting if look.unfinished is None),
        ]
    rest = most_overdue_first((look, look.decision) for look in looks if not look.starts_now(now))
    times = MintTimes(journal, rotate_limit, now)
    entries = tuple(look.planned(journal, times, now) for look in (*waiting, *rest))
    return Plan(entries, _summary(entries, rotate_limit))


def _summary(entries: Sequence[Planned], rotate_limit: int) -> Summary:
    now = [entry for entry in entries if entry.starts_now]
    return Summary(
        count=len(now),
        mints=sum(entry.mints for entry in now),
        rotate_limit=rotate_limit,
        starts_at=min((entry.starts_at for entry in now if entry.starts_at), default=None),
        last_starts_at=last_of(entry.starts_at for entry in now),
        ends_at=last_of(entry.ends_at for entry in now),
    )


class _Look:
    """One policy while its plan is made."""

    def __init__(
        self, policy: Policy, unfinished: Rotation | None, *, held: bool, gone: bool, asked_for: bool
    ) -> None:
        self.policy = policy
        self.unfinished = unfinished
        # Past the point of no return a hold does not stop the rescue.
        self._held = held and not (unfinished is not None and past_no_return(unfinished))
        self._gone = gone
        self._asked_for = asked_for
        self.decision = Decision(due=False, due_at=None, reason="")
        self._explanation = ""
        self._steps: tuple[Step, ...] = ()
        self.error: RotatorError | None = None

    def ask(
        self, journal: Journal, facts: Callable[[str], ProjectFacts], next_cron: NextCron, now: datetime
    ) -> None:
        """Finds out what can be found out about it."""
        try:
            told = facts(remembered_side(journal, self.policy))
            anchor = anchor_of(journal, self.policy, told)
            self._steps = self._left_to_do()
            known = Facts(anchor, next_cron, held=self._held, unfinished=self.unfinished is not None)
            self.decision = decide(self.policy, known, now)
            self._explanation = explain(self.policy, known, now, asked_for=self._asked_for)
        except RotatorError as error:
            self.failed(error)
        else:
            self.error = None
        if self._left_alone:
            self._explanation += (
                " The provider has taken rotate-token away, so `rotator run` leaves it alone; "
                f"`rotator rotate {self.policy.name}` asks again."
            )

    def failed(self, error: RotatorError) -> None:
        """Nothing could be found out, and why."""
        self.error = error
        self.decision = Decision(due=False, due_at=None, reason=f"not known: {error.happened}")
        self._explanation = f"Nothing is known about its date: {error.happened}."

    def starts_now(self, now: datetime) -> bool:
        """Whether nothing but the rate limit stands before it."""
        if self.error is not None or self._held or self._left_alone or self._rests(now):
            return False
        return self._asked_for or self.decision.due or self.unfinished is not None

    def _rests(self, now: datetime) -> bool:
        """An unfinished rotation has nothing to do now but to look: it drains, or waits for a person."""
        if self.unfinished is None:
            return False
        ends = self._drain_ends
        return asks_for_revocation(self.unfinished) or (ends is not None and ends > now)

    @property
    def _drain_ends(self) -> datetime | None:
        """When the drain that it is in may end at the earliest."""
        if (
            self.unfinished is None
            or self.unfinished.state is not State.DRAINING
            or not self.unfinished.drain
        ):
            return None
        return self.unfinished.drain.earliest_end.wall

    @property
    def _left_alone(self) -> bool:
        return self._gone and self.decision.due and not self._asked_for

    @property
    def _goes_on(self) -> bool:
        """Only the rest of a rotation is left, which is joined and not begun anew."""
        if self.unfinished is None:
            return False
        if overlaps(self.unfinished):
            return changed(self.unfinished)
        # `rotate` finishes one that has minted, and then does what it was asked for.
        return past_no_return(self.unfinished) and not (self._asked_for and self.unfinished.minted)

    def _left_to_do(self) -> tuple[Step, ...]:
        if self.unfinished is None or not self._goes_on:
            return steps_of(self.policy)
        left = steps_left(self.unfinished)
        if not self.unfinished.minted:
            return left
        # What was minted is not minted again: of that step only the writing is left.
        mints = (MINT_PUBLISH.name, MINT_STAGE.name)
        return tuple(replace(step, mints=0) if step.name in mints else step for step in left)

    @property
    def _ready_later(self) -> datetime | None:
        """When something would start that does not start now; None where that has no date."""
        if self._held or self._left_alone or (self.unfinished and asks_for_revocation(self.unfinished)):
            return None
        return self._drain_ends or self.decision.due_at

    def planned(self, journal: Journal, times: MintTimes, now: datetime) -> Planned:
        # A drain that it is in is told by its own end.
        left = [step.name for step in self._steps]
        past = forecast(journal, self.policy, left[1:] if self._drain_ends else left)
        starts_now = self.starts_now(now)
        ready = now if starts_now else self._ready_later
        starts = ends = None
        if ready is not None:
            # Those after the first are counted as if they came at once; a drain between them is not foreseen.
            goes = [times.next(ready) for _ in range(_mints(self._steps))] or [ready]
            starts, ends = goes[0], goes[-1] + timedelta(seconds=past.duration)
        return Planned(
            policy=self.policy,
            decision=self.decision,
            explanation=self._explanation,
            steps=self._steps,
            mints=_mints(self._steps),
            past_no_return=self.unfinished is not None and self._goes_on and past_no_return(self.unfinished),
            forecast=past,
            starts_now=starts_now,
            starts_at=starts,
            ends_at=ends,
            limited=starts is not None and ready is not None and starts > ready,
            goes_on=self.unfinished is not None and self._goes_on,
            error=self.error,
        )


def _mints(steps: Sequence[Step]) -> int:
    return sum(step.mints for step in steps)


def _time(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
