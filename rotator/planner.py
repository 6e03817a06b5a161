"""Decides whether a policy is due. A pure chain of checks: the first one that is violated wins.

The reasons are the words that `status`, `plan`, `run` and the audit repeat, so they are short, stable
and carry no date: `due_at` stands beside them. `explain` says for a person where that date comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from rotator.clock import parse_rfc3339
from rotator.errors import Refused
from rotator.model import Decision, Policy, Schedule, Strategy
from rotator.policies.schedule import (
    Dates,
    DueDate,
    NextCron,
    describe_window,
    due_date,
    format_duration,
    is_open,
    next_opening,
)

HELD: Final = "held: `rotator release` lets it rotate again"
UNFINISHED: Final = "a rotation is unfinished and comes first"
NO_SCHEDULE: Final = "no schedule: rotates only when asked to"
NEVER_GENERATED: Final = "no token was ever generated; `rotator rotate` issues the first"
NEVER_STAGED: Final = "no token was ever promoted; `rotator stage` takes the first"

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
    date = _date(policy, facts)
    overdue = date is not None and _overdue(date, now)
    at = date.at if date is not None else None
    if facts.held:
        return Decision(due=False, due_at=at, reason=HELD, overdue=overdue)
    if facts.unfinished:
        return Decision(due=False, due_at=at, reason=UNFINISHED, overdue=overdue)
    if schedule is None:
        return Decision(due=False, due_at=None, reason=NO_SCHEDULE)
    if date is None:
        assisted = policy.strategy is Strategy.ASSISTED
        return Decision(due=False, due_at=None, reason=NEVER_STAGED if assisted else NEVER_GENERATED)
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


def _date(policy: Policy, facts: Facts) -> DueDate | None:
    if policy.schedule is None or facts.anchor is None:
        return None
    return due_date(policy.schedule, policy=policy.name, anchor=facts.anchor, next_cron=facts.next_cron)


def explain(policy: Policy, facts: Facts, now: datetime, *, asked_for: bool = False) -> str:
    """Where the date of `decide` comes from, with every date in it, in one sentence for a person.

    `asked_for`: as if a person started it now, whatever its schedule says. Raises as `decide`.
    """
    parts: list[str] = []
    if facts.held:
        parts.append(f"held: nothing rotates it before `rotator release {policy.name}`")
    elif facts.unfinished:
        parts.append("a rotation is unfinished and is finished first, whatever the date")
    elif asked_for:
        parts.append("asked for now, whatever the date")
    date, schedule = _date(policy, facts), policy.schedule
    if schedule is None:
        parts.append("it has no schedule, so no date: it rotates only when asked to")
    elif date is None:
        assisted = policy.strategy is Strategy.ASSISTED
        parts.append(
            f"no token was ever {'promoted' if assisted else 'generated'}, so there is nothing to count from: "
            f"`rotator {'stage' if assisted else 'rotate'} {policy.name}` "
            f"{'takes' if assisted else 'issues'} the first"
        )
    else:
        assert facts.anchor is not None
        story = _Story(schedule, date, now)
        parts += story.how_it_came_about(facts.anchor, policy.strategy)
        parts += story.since_then()
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


class _Story:
    """Says one date, part by part. Zone, year and window are told with their first mention."""

    def __init__(self, schedule: Schedule, date: DueDate, now: datetime) -> None:
        self._schedule = schedule
        self._date = date
        self._now = now
        self._say = Dates(schedule.timezone).say
        self._window_told = False

    def how_it_came_about(self, anchor: datetime, strategy: Strategy) -> Iterator[str]:
        """From the anchor to the date."""
        schedule, date = self._schedule, self._date
        done = "promoted" if strategy is Strategy.ASSISTED else "generated"
        born = f"after the token was {done} on {self._say(anchor)}"
        if schedule.every is not None:
            yield f"{format_duration(schedule.every)} {born} is {self._say(date.base)}"
        else:
            yield f'{born}, cron "{schedule.cron}" first comes on {self._say(date.base)}'
        if date.shift:
            yield f"jitter adds {format_duration(date.shift)}, which makes it {self._say(date.wanted)}"
        cut = date.at < date.opens
        if date.opens > date.wanted:
            yield f"{self._window()} {'would open' if cut else 'opens'} on {self._say(date.opens)}"
        elif schedule.window is not None and not cut:
            yield f"that is inside {self._window()}"
        if cut:
            yield f"but {self._max_age()} is reached before, on {self._say(date.at)}"

    def since_then(self) -> Iterator[str]:
        """From the date to now; nothing where it has not come."""
        date, now = self._date, self._now
        if now < date.at:
            return
        closed = not is_open(self._schedule, now)
        waits = closed and (date.limit is None or now < date.limit)
        yield "nothing rotated it then" if waits else "due since then"
        if _overdue(date, now):
            yield self._overdue_since()
        if not closed:
            return
        opens = next_opening(self._schedule, now)
        again = f"{self._window()} is closed now and opens on {self._say(opens)}"
        if not waits:
            yield f"{again}, but a token older than {self._max_age()} does not wait for it"
        elif date.limit is not None and date.limit < opens:
            yield f"{again}, but {self._max_age()} is reached before, on {self._say(date.limit)}"
        else:
            yield again

    def _overdue_since(self) -> str:
        date = self._date
        late = date.at + _A_DAY_LATE
        if date.limit is None or late <= date.limit:
            return f"overdue since {self._say(late)}, a day later"
        if date.limit == date.at:
            return "overdue from that moment on"
        return f"overdue since {self._say(date.limit)}, when {self._max_age()} was reached"

    def _window(self) -> str:
        told, self._window_told = self._window_told, True
        return "the window" if told else f"the window ({describe_window(self._schedule)})"

    def _max_age(self) -> str:
        assert self._schedule.max_age is not None
        return f"max_age {format_duration(self._schedule.max_age)}"


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
