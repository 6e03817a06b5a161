"""What the journal tells of a policy's rehearsals: the latest, the last that succeeded, when the next is due. Reads
only.

A rehearsal is two rotations in the journal, and nothing besides: the scheduled path, then the emergency path with what
the first one has stored as the leaked token. So one that was killed anywhere goes on from where it stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rotator.engine.states import overlaps, steps_of
from rotator.journal.base import Journal
from rotator.model import Attention, Decision, Policy, Rotation, State, Trigger
from rotator.planner import HELD, UNFINISHED, Facts, decide
from rotator.policies.schedule import NextCron, next_opening
from rotator.rehearsal import rehearsal_name, rehearsal_of
from rotator.views import RehearsalStatus

NO_SCHEDULE: Final = "no schedule: rehearsed only when asked to"
NEVER: Final = "never rehearsed with success"

_READ: Final = 8
"""Rotations that hold the latest rehearsals. All are read only where none of these has succeeded."""


@dataclass(frozen=True)
class Rehearsed:
    """One rehearsal as it stands."""

    scheduled: Rotation
    emergency: Rotation | None = None
    """None before the first path has completed, and where it never did."""

    @property
    def latest(self) -> Rotation:
        """The rotation that tells where it stands."""
        return self.emergency or self.scheduled

    @property
    def half(self) -> bool:
        """The scheduled path has completed and the emergency path has not begun."""
        done = self.scheduled.state is State.COMPLETED and not self.scheduled.unfinished
        return done and self.emergency is None

    @property
    def ended(self) -> bool:
        return not self.latest.unfinished and not self.half

    @property
    def succeeded(self) -> bool:
        """Both paths completed, and the token that was taken for leaked is proved dead."""
        return self.ended and self.outcome == State.COMPLETED.value

    @property
    def outcome(self) -> str:
        """As the state of a rotation."""
        if self.half:
            return State.RUNNING.value
        state = self.latest.state
        unproved = self.emergency is not None and self.emergency.old_token_dead is not True
        return (State.FAILED if state is State.COMPLETED and unproved else state).value

    @property
    def seconds(self) -> float:
        """Spent in its steps, waiting for the rate limit included; the time in which it lay interrupted is not."""
        both = (self.scheduled, self.emergency) if self.emergency else (self.scheduled,)
        return round(sum(step.seconds for one in both for step in one.steps), 3)

    @property
    def rotations(self) -> tuple[Rotation, ...]:
        return (self.scheduled, self.emergency) if self.emergency is not None else (self.scheduled,)

    @property
    def ended_at(self) -> datetime:
        return self.latest.finished_at or self.latest.started_at


@dataclass(frozen=True)
class Past:
    """The rehearsals of one policy."""

    latest: Rehearsed | None = None
    success: Rehearsed | None = None
    """The last that succeeded."""


def past_of(journal: Journal, rehearsal: Policy) -> Past:
    """What was rehearsed so far on the projects that the policy names now. Raises JournalUnavailable."""
    rotations = journal.rotations(rehearsal.name, limit=_READ)
    found = list(_grouped(rotations, rehearsal))
    if len(rotations) == _READ and not any(one.succeeded for one in found):
        found = list(_grouped(journal.rotations(rehearsal.name), rehearsal))
    return Past(next(iter(found), None), next((one for one in found if one.succeeded), None))


def _grouped(newest_first: Iterable[Rotation], rehearsal: Policy) -> Iterator[Rehearsed]:
    emergency: Rotation | None = None
    for one in newest_first:
        if one.trigger is not Trigger.REHEARSAL or one.project not in rehearsal.projects:
            continue
        if one.emergency is not None:
            emergency = one
            continue
        yield Rehearsed(one, emergency)
        emergency = None


def with_rehearsals_of(journal: Journal, policy: str, limit: int) -> list[Rotation]:
    """The rotations of a policy and those of its rehearsals, newest first. Raises JournalUnavailable."""
    both = (*journal.rotations(policy, limit=limit), *journal.rotations(rehearsal_name(policy), limit=limit))
    return sorted(both, key=lambda one: one.started_at, reverse=True)[:limit]


def open_rotations(journal: Journal, rehearsal: Policy) -> list[Rotation]:
    """Its unfinished rotations, newest first. Raises JournalUnavailable."""
    return [
        one
        for one in reversed(journal.unfinished())
        if one.policy == rehearsal.name and one.project in rehearsal.projects
    ]


def decision(rehearsal: Policy, past: Past, next_cron: NextCron, now: datetime, *, held: bool) -> Decision:
    """Whether its schedule begins one now. One that failed does not count: its date stays. Where none has succeeded
    yet, the first is due at once, inside the window."""
    if rehearsal.schedule is None:
        return Decision(due=False, due_at=None, reason=NO_SCHEDULE)
    unfinished = past.latest is not None and not past.latest.ended
    if past.success is not None:
        facts = Facts(past.success.ended_at, next_cron, held=held, unfinished=unfinished)
        return decide(rehearsal, facts, now)
    at = next_opening(rehearsal.schedule, now)
    if held or unfinished:
        return Decision(due=False, due_at=at, reason=HELD if held else UNFINISHED)
    return Decision(due=at <= now, due_at=at, reason=NEVER)


def status_of(
    journal: Journal,
    policy: Policy,
    next_cron: NextCron,
    now: datetime,
    *,
    attention: tuple[Attention, ...],
    held: bool,
) -> RehearsalStatus | None:
    """How a policy's rehearsals stand; None where it has none. `attention` and `held` are the rehearsal's own. Raises
    JournalUnavailable."""
    if policy.rehearsal is None:
        return None
    rehearsal = rehearsal_of(policy)
    past = past_of(journal, rehearsal)
    decided = decision(rehearsal, past, next_cron, now, held=held)
    success = past.success
    return RehearsalStatus(
        last_success_at=success.ended_at if success else None,
        age_seconds=round((now - success.ended_at).total_seconds(), 3) if success else None,
        seconds=success.seconds if success else None,
        last_outcome=past.latest.outcome if past.latest else None,
        next_due_at=decided.due_at,
        overdue=decided.overdue,
        reason=decided.reason,
        attention=attention,
    )


def mints_of(rehearsal: Policy) -> int:
    """Calls of rotate-token that both paths take when nothing goes wrong."""
    scheduled = sum(step.mints for step in steps_of(rehearsal))
    # Where tokens can overlap the emergency replaces first, by the same steps; else it kills by its one mint.
    return scheduled * 2 if overlaps(rehearsal) else scheduled + 1
