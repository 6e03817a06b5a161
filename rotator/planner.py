"""Decides whether a policy is due. A pure chain of checks: the first one that is violated wins.

The reasons are the words that `status`, `plan`, `run` and the audit repeat, so they are short, stable
and carry no date: `due_at` stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from rotator.clock import parse_rfc3339
from rotator.errors import Refused
from rotator.model import Decision, Policy
from rotator.policies.schedule import (
    DueDate,
    NextCron,
    due_date,
    format_duration,
    is_open,
    next_opening,
)

HELD: Final = "held: `rotator release` lets it rotate again"
UNFINISHED: Final = "a rotation is unfinished and comes first"
NO_SCHEDULE: Final = "no schedule: rotates only when asked to"
NEVER_GENERATED: Final = "no token was ever generated; `rotator rotate` issues the first"

_A_DAY_LATE: Final = timedelta(days=1)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Facts:
    """What a decision is made from, besides the policy and the time."""

    anchor: datetime | None
    """The active side's `token_generated_at` (for `assisted`: the promote); None if the provider says
    that the project has no token yet."""
    next_cron: NextCron
    held: bool = False
    unfinished: bool = False
    """A rotation of the policy has a step left to do."""


def decide(policy: Policy, facts: Facts, now: datetime) -> Decision:
    """Whether the policy's schedule starts a rotation now.

    `due_at` and `overdue` are about the dates alone and are told for a held policy too.
    """
    schedule = policy.schedule
    date: DueDate | None = None
    if schedule is not None and facts.anchor is not None:
        date = due_date(schedule, policy=policy.name, anchor=facts.anchor, next_cron=facts.next_cron)
    overdue = date is not None and _overdue(date, now)
    at = date.at if date is not None else None
    if facts.held:
        return Decision(due=False, due_at=at, reason=HELD, overdue=overdue)
    if facts.unfinished:
        return Decision(due=False, due_at=at, reason=UNFINISHED, overdue=overdue)
    if schedule is None:
        return Decision(due=False, due_at=None, reason=NO_SCHEDULE)
    if date is None:
        return Decision(due=False, due_at=None, reason=NEVER_GENERATED)
    if now < date.at:
        return Decision(due=False, due_at=date.at, reason=f"not due yet: {date.why}")
    if not is_open(schedule, now):
        if date.limit is None or now < date.limit:
            opens = next_opening(schedule, now)
            return Decision(
                due=False,
                due_at=opens if date.limit is None else min(opens, date.limit),
                reason=f"waits for its window, which is closed: {date.why}",
                overdue=overdue,
            )
        assert schedule.max_age is not None
        return Decision(
            due=True,
            due_at=date.at,
            reason=f"due outside its window: older than max_age {format_duration(schedule.max_age)}",
            overdue=overdue,
        )
    word = "overdue" if overdue else "due"
    return Decision(due=True, due_at=date.at, reason=f"{word}: {date.why}", overdue=overdue)


def _overdue(date: DueDate, now: datetime) -> bool:
    return now - date.at >= _A_DAY_LATE or (date.limit is not None and now > date.limit)


def most_overdue_first(queue: Iterable[tuple[Item, Decision]]) -> list[Item]:
    """The order in which rotations wait for the rate limit; those without a date keep theirs, last."""
    last = datetime.max.replace(tzinfo=UTC)
    ordered = sorted(queue, key=lambda entry: entry[1].due_at or last)
    return [item for item, _ in ordered]


def anchor_from(token_generated_at: str | None) -> datetime | None:
    """Reads the provider's `token_generated_at`: RFC 3339 with `Z` or an offset, or null for a project
    that never had a token (Team API reference).

    Raises Refused for anything else.
    """
    if token_generated_at is None:
        return None
    try:
        moment = parse_rfc3339(token_generated_at)
    except (ValueError, OverflowError):
        moment = None
    # Far-off years would leave the calendar once an interval is added; no token is of such a date.
    if moment is None or not 2000 <= moment.year < 3000:
        raise Refused(
            "The provider's token_generated_at is not a time that can be read",
            then="No date was decided and nothing was changed",
            remedy="`rotator rotate` does not need it; report the provider's answer if it stays so",
        )
    return moment
