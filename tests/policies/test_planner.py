"""Whether a policy is due, for which reason, and in which order several are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rotator.errors import Refused
from rotator.model import Decision, DestinationSpec, Policy, Schedule, Strategy, Window
from rotator.planner import Facts, anchor_from, decide, most_overdue_first
from rotator.policies.cron import next_after

DAY = timedelta(days=1)
ANCHOR = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)  # a Monday
OFFICE = Window((0, 1, 2, 3), 9 * 60, 16 * 60)


def policy(schedule: Schedule | None) -> Policy:
    spec = DestinationSpec("file", "file:/x")
    return Policy("billing", "p1", Strategy.IN_PLACE, (spec,), schedule=schedule)


def facts(**changes: object) -> Facts:
    return replace(Facts(ANCHOR, next_after), **changes)


def decision(schedule: Schedule | None, now: datetime, **changes: object) -> Decision:
    return decide(policy(schedule), facts(**changes), now)


MONTHLY = Schedule(every=30 * DAY)
DUE_AT = ANCHOR + 30 * DAY


def test_not_before_its_date_and_from_then_on() -> None:
    """A microsecond before the date it is not due, at the date it is."""
    before = decision(MONTHLY, DUE_AT - timedelta(microseconds=1))
    assert before == Decision(due=False, due_at=DUE_AT, reason="not due yet: every 30d")
    assert decision(MONTHLY, DUE_AT) == Decision(due=True, due_at=DUE_AT, reason="due: every 30d")


def test_a_whole_day_late_is_overdue() -> None:
    """One microsecond short of a day late is due, a day late is overdue."""
    assert not decision(MONTHLY, DUE_AT + DAY - timedelta(microseconds=1)).overdue
    late = decision(MONTHLY, DUE_AT + DAY)
    assert late == Decision(due=True, due_at=DUE_AT, reason="overdue: every 30d", overdue=True)


def test_a_token_older_than_max_age_is_overdue() -> None:
    """At `max_age` it is not, past it it is, even if the date was less than a day ago."""
    schedule = replace(MONTHLY, max_age=30 * DAY + timedelta(hours=2))
    limit = DUE_AT + timedelta(hours=2)
    assert not decision(schedule, limit).overdue
    assert decision(schedule, limit + timedelta(microseconds=1)).overdue


def test_a_long_stop_makes_it_due_once() -> None:
    """After years without a run it is due now, by its first date, and not due again after a rotation."""
    now = ANCHOR + 1000 * DAY
    assert decision(MONTHLY, now).due_at == DUE_AT
    assert decision(MONTHLY, now).due
    assert not decision(MONTHLY, now, anchor=now).due


def test_a_missed_window_is_waited_for_again() -> None:
    """Nobody ran it while the window was open: it waits for the next one, and is overdue meanwhile."""
    schedule = replace(MONTHLY, window=OFFICE)
    saturday = datetime(2026, 12, 5, 12, 0, tzinfo=UTC)
    monday = datetime(2026, 12, 7, 9, 0, tzinfo=UTC)
    assert decision(schedule, saturday) == Decision(
        due=False,
        due_at=monday,
        reason="waits for its window, which is closed: every 30d",
        overdue=True,
    )
    assert decision(schedule, monday - timedelta(seconds=1)).due is False
    inside = decision(schedule, monday)
    assert (inside.due, inside.due_at) == (True, DUE_AT)


def test_max_age_outside_the_window_rotates_and_says_so() -> None:
    """Until `max_age` a closed window is waited for, from then on it does not matter."""
    schedule = replace(MONTHLY, window=OFFICE, max_age=33 * DAY)
    limit = ANCHOR + 33 * DAY  # a Saturday
    waiting = decision(schedule, limit - timedelta(seconds=1))
    assert (waiting.due, waiting.due_at) == (False, limit)
    forced = decision(schedule, limit)
    assert forced.due
    assert forced.reason == "due outside its window: older than max_age 33d"


def test_without_a_schedule_nothing_is_due() -> None:
    """Only a person starts it then."""
    assert decision(None, DUE_AT) == Decision(
        due=False, due_at=None, reason="no schedule: rotates only when asked to"
    )


def test_a_project_without_a_token_is_not_due() -> None:
    """The first token is issued by a person, not by a schedule."""
    assert decision(MONTHLY, DUE_AT, anchor=None) == Decision(
        due=False, due_at=None, reason="no token was ever generated; `rotator rotate` issues the first"
    )


@pytest.mark.parametrize(
    ("schedule", "changes", "reason"),
    [
        (MONTHLY, {"held": True, "unfinished": True}, "held: `rotator release` lets it rotate again"),
        (MONTHLY, {"unfinished": True}, "a rotation is unfinished and comes first"),
        (None, {"held": True}, "held: `rotator release` lets it rotate again"),
        (None, {"anchor": None}, "no schedule: rotates only when asked to"),
        (MONTHLY, {"held": True, "anchor": None}, "held: `rotator release` lets it rotate again"),
    ],
)
def test_the_first_reason_wins(schedule: Schedule | None, changes: dict[str, object], reason: str) -> None:
    """Held before unfinished before no schedule before no token."""
    found = decision(schedule, DUE_AT + 2 * DAY, **changes)
    assert (found.due, found.reason) == (False, reason)


def test_dates_are_told_for_what_is_held() -> None:
    """A hold does not hide when it would have been due, and that it is late."""
    found = decision(MONTHLY, DUE_AT + 2 * DAY, held=True)
    assert (found.due_at, found.overdue) == (DUE_AT, True)


def test_the_most_overdue_goes_first() -> None:
    """Earlier dates first, no date last; equals keep their order."""
    queue = [
        (name, Decision(due=True, due_at=when, reason=""))
        for name, when in (("none", None), ("b", DUE_AT), ("c", DUE_AT), ("a", DUE_AT - DAY))
    ]
    assert most_overdue_first(queue) == ["a", "b", "c", "none"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("2026-11-01T08:00:00Z", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("2026-11-01t08:00:00z", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("2026-11-01T08:00:00.5Z", datetime(2026, 11, 1, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-01T08:00:00.123456789Z", datetime(2026, 11, 1, 8, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-11-01T09:30:00.000+01:30", datetime(2026, 11, 1, 8, tzinfo=UTC)),
    ],
)
def test_the_providers_times_are_read(text: str | None, expected: datetime | None) -> None:
    """With `Z` or an offset, fractional or not; null is a project without a token."""
    assert anchor_from(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-01", "2026-11-01T08:00:00", "soon", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59"],
)
def test_what_is_no_time_is_refused_in_words(text: str) -> None:
    """A time without an offset, none at all, or one out of any calendar stops only this decision."""
    with pytest.raises(Refused, match="token_generated_at is not a time that can be read") as raised:
        anchor_from(text)
    assert raised.value.remedy
