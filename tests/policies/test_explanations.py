"""Where a date comes from, in one sentence: every branch, word for word."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rotator.model import Policy, Schedule, Strategy, Window
from rotator.planner import Facts, decide, explain
from rotator.policies.cron import next_after
from rotator.policies.schedule import Dates, describe_window

DAY = timedelta(days=1)
BORN = datetime(2026, 11, 2, 9, 12, tzinfo=UTC)  # a Monday
OFFICE = Window((0, 1, 2, 3), 9 * 60, 16 * 60)
HERE = "Europe/Amsterdam"
MONTHLY = Schedule(every=30 * DAY)
LOCAL = Schedule(every=30 * DAY, timezone=HERE, window=OFFICE)
BASE = "30d after the token was generated on Mon 2 Nov 2026 09:12 UTC is Wed 2 Dec 09:12 UTC"
BASE_HERE = (
    "30d after the token was generated on Mon 2 Nov 2026 10:12 Europe/Amsterdam (09:12 UTC) "
    "is Wed 2 Dec 10:12 (09:12 UTC)"
)
OFFICE_HERE = "the window (Mon-Thu 09:00-16:00 Europe/Amsterdam)"


def said(
    schedule: Schedule | None,
    after: timedelta = timedelta(0),
    *,
    born: datetime | None = BORN,
    strategy: Strategy = Strategy.IN_PLACE,
    asked_for: bool = False,
    **facts: bool,
) -> str:
    policy = Policy("billing", "p1", strategy, (), schedule=schedule)
    known = Facts(born, next_after, **facts)
    return explain(policy, known, (born or BORN) + after, asked_for=asked_for)


# --- how the date came about ----------------------------------------------------------------------


def test_every_without_anything_else() -> None:
    """The anchor, the interval and the date; in UTC each is said once."""
    assert said(MONTHLY) == f"{BASE}."


def test_a_new_year_is_named() -> None:
    """A year is told where it is not that of the date before."""
    assert said(Schedule(every=80 * DAY)) == (
        "80d after the token was generated on Mon 2 Nov 2026 09:12 UTC is Thu 21 Jan 2027 09:12 UTC."
    )


def test_cron_in_a_zone() -> None:
    """In the zone of the policy, named once, and in UTC, with its date where that is another."""
    assert said(Schedule(cron="0 9 1 * *", timezone="Asia/Tokyo")) == (
        "After the token was generated on Mon 2 Nov 2026 18:12 Asia/Tokyo (09:12 UTC), "
        'cron "0 9 1 * *" first comes on Tue 1 Dec 09:00 (00:00 UTC).'
    )
    assert said(Schedule(cron="0 8 1 1 *", timezone="Asia/Tokyo")) == (
        "After the token was generated on Mon 2 Nov 2026 18:12 Asia/Tokyo (09:12 UTC), "
        'cron "0 8 1 1 *" first comes on Fri 1 Jan 2027 08:00 (Thu 31 Dec 2026 23:00 UTC).'
    )


def test_assisted_counts_from_the_promote() -> None:
    """A token made by a person is as old as its promote."""
    sentence = said(MONTHLY, strategy=Strategy.ASSISTED)
    assert sentence.startswith("30d after the token was promoted on Mon 2 Nov 2026 09:12 UTC is ")


def test_jitter_is_added() -> None:
    """How much it adds, and what that makes it."""
    schedule = replace(MONTHLY, jitter=timedelta(hours=2))
    assert said(schedule) == f"{BASE}; jitter adds 15m37s, which makes it Wed 2 Dec 09:27:37 UTC."


def test_a_date_inside_the_window() -> None:
    """The window is named although it moves nothing."""
    assert said(LOCAL) == f"{BASE_HERE}; that is inside {OFFICE_HERE}."


def test_a_date_before_the_window() -> None:
    """Jitter first, then the next opening."""
    schedule = replace(LOCAL, jitter=timedelta(hours=2), window=replace(OFFICE, start=10 * 60 + 28))
    assert said(schedule) == (
        f"{BASE_HERE}; jitter adds 15m37s, which makes it Wed 2 Dec 10:27:37 (09:27:37 UTC); "
        "the window (Mon-Thu 10:28-16:00 Europe/Amsterdam) opens on Wed 2 Dec 10:28 (09:28 UTC)."
    )


def test_max_age_before_the_window_opens() -> None:
    """The opening that is not waited for, and the date that comes first."""
    schedule = Schedule(every=31 * DAY, window=Window((0,), 540, 600), max_age=33 * DAY)
    assert said(schedule) == (
        "31d after the token was generated on Mon 2 Nov 2026 09:12 UTC is Thu 3 Dec 09:12 UTC; "
        "the window (Mon 09:00-10:00 UTC) would open on Mon 7 Dec 09:00 UTC; "
        "but max_age 33d is reached before, on Sat 5 Dec 09:12 UTC."
    )


def test_max_age_before_the_date_itself() -> None:
    """A cron that comes too seldom; the window plays no part and is not named."""
    schedule = Schedule(cron="0 9 1 * *", window=Window((1,), 540, 600), max_age=10 * DAY)
    assert said(schedule) == (
        "After the token was generated on Mon 2 Nov 2026 09:12 UTC, "
        'cron "0 9 1 * *" first comes on Tue 1 Dec 09:00 UTC; '
        "but max_age 10d is reached before, on Thu 12 Nov 09:12 UTC."
    )


def test_max_age_that_changes_nothing_is_not_told() -> None:
    """At the very instant of the opening it cuts nothing short."""
    schedule = Schedule(every=30 * DAY, max_age=30 * DAY + timedelta(seconds=1))
    assert said(schedule) == f"{BASE}."


# --- since then -----------------------------------------------------------------------------------


def test_due() -> None:
    """From the date on, not a moment before."""
    assert said(MONTHLY, 30 * DAY - timedelta(microseconds=1)) == f"{BASE}."
    assert said(MONTHLY, 30 * DAY) == f"{BASE}; due since then."


def test_overdue_after_a_day() -> None:
    """Since when it is overdue, and why then."""
    assert said(MONTHLY, 31 * DAY) == (
        f"{BASE}; due since then; overdue since Thu 3 Dec 09:12 UTC, a day later."
    )


def test_overdue_by_max_age() -> None:
    """Sooner than a day later, when the token reaches max_age."""
    schedule = replace(MONTHLY, max_age=30 * DAY + timedelta(hours=2))
    assert said(schedule, 30 * DAY + timedelta(hours=3)) == (
        f"{BASE}; due since then; overdue since Wed 2 Dec 11:12 UTC, when max_age 30d2h was reached."
    )


def test_overdue_from_a_date_that_max_age_made() -> None:
    """The date is that of max_age, so past it is overdue."""
    schedule = Schedule(cron="0 9 1 * *", max_age=10 * DAY)
    assert said(schedule, 10 * DAY + timedelta(seconds=1)).endswith(
        "is reached before, on Thu 12 Nov 09:12 UTC; due since then; overdue from that moment on."
    )


def test_a_window_that_has_closed_again() -> None:
    """Nobody rotated it in time: when the window opens next."""
    assert said(LOCAL, 30 * DAY + timedelta(hours=12)) == (
        f"{BASE_HERE}; that is inside {OFFICE_HERE}; nothing rotated it then; "
        "the window is closed now and opens on Thu 3 Dec 09:00 (08:00 UTC)."
    )


def test_a_closed_window_and_overdue() -> None:
    """Both are told."""
    assert said(LOCAL, 32 * DAY) == (
        f"{BASE_HERE}; that is inside {OFFICE_HERE}; nothing rotated it then; "
        "overdue since Thu 3 Dec 10:12 (09:12 UTC), a day later; "
        "the window is closed now and opens on Mon 7 Dec 09:00 (08:00 UTC)."
    )


def test_a_closed_window_that_max_age_will_not_wait_for() -> None:
    """What comes before the opening."""
    schedule = replace(LOCAL, max_age=33 * DAY)
    assert said(schedule, 32 * DAY).endswith(
        "the window is closed now and opens on Mon 7 Dec 09:00 (08:00 UTC), "
        "but max_age 33d is reached before, on Sat 5 Dec 10:12 (09:12 UTC)."
    )


def test_a_closed_window_that_max_age_does_not_wait_for() -> None:
    """Due outside the window, and why."""
    schedule = replace(LOCAL, max_age=33 * DAY)
    assert said(schedule, 33 * DAY).endswith(
        "; due since then; overdue since Thu 3 Dec 10:12 (09:12 UTC), a day later; the window is closed now "
        "and opens on Mon 7 Dec 09:00 (08:00 UTC), but a token older than max_age 33d does not wait for it."
    )


def test_the_window_is_described_where_it_is_first_named() -> None:
    """Also where it played no part in the date."""
    schedule = Schedule(cron="0 9 1 * *", window=Window((1,), 540, 600), max_age=10 * DAY)
    assert said(schedule, 10 * DAY).endswith(
        "; due since then; the window (Tue 09:00-10:00 UTC) is closed now and opens on Tue 17 Nov 09:00 UTC, "
        "but a token older than max_age 10d does not wait for it."
    )


# --- what the date does not decide ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "begin"),
    [
        ({"held": True, "unfinished": True}, "Held: nothing rotates it before `rotator release billing`; "),
        ({"unfinished": True}, "A rotation is unfinished and is finished first, whatever the date; "),
        ({"asked_for": True}, "Asked for now, whatever the date; "),
        ({"asked_for": True, "held": True}, "Held: nothing rotates it before `rotator release billing`; "),
        ({}, ""),
    ],
)
def test_what_comes_before_the_date(facts: dict[str, bool], begin: str) -> None:
    """Held, unfinished, asked for: the date stands behind it all the same."""
    assert said(MONTHLY, 30 * DAY, **facts) == f"{begin}{BASE}; due since then."


def test_no_schedule() -> None:
    """There is no date to explain."""
    assert said(None) == "It has no schedule, so no date: it rotates only when asked to."
    assert said(None, held=True) == (
        "Held: nothing rotates it before `rotator release billing`; "
        "it has no schedule, so no date: it rotates only when asked to."
    )


def test_never_generated() -> None:
    """There is nothing to count from, and the command that helps."""
    assert said(MONTHLY, born=None) == (
        "No token was ever generated, so there is nothing to count from: "
        "`rotator rotate billing` issues the first."
    )


# --- its words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "start", "end", "text"),
    [
        ((0, 1, 2, 3), 540, 960, "Mon-Thu 09:00-16:00 UTC"),
        ((5, 6), 0, 1440, "Sat-Sun 00:00-24:00 UTC"),
        ((6, 0), 1320, 360, "Mon, Sun 22:00-06:00 UTC"),
        ((0, 2, 4), 0, 5, "Mon, Wed, Fri 00:00-00:05 UTC"),
        ((0, 1, 3, 4, 6), 60, 0, "Mon-Tue, Thu-Fri, Sun 01:00-00:00 UTC"),
        ((0, 1, 2, 3, 4, 5, 6), 60, 120, "every day 01:00-02:00 UTC"),
    ],
)
def test_a_window_in_words(days: tuple[int, ...], start: int, end: int, text: str) -> None:
    """Days as runs, hours as written, the zone."""
    assert describe_window(Schedule(every=DAY, window=Window(days, start, end))) == text


def test_a_date_in_words() -> None:
    """The zone once, the year when it changes, UTC where it reads differently, seconds where there are any."""
    say = Dates("Europe/London").say
    assert say(datetime(2026, 7, 1, 12, 0, 5, 999_999, tzinfo=UTC)) == (
        "Wed 1 Jul 2026 13:00:05 Europe/London (12:00:05 UTC)"
    )
    assert say(datetime(2026, 7, 31, 23, 30, tzinfo=UTC)) == "Sat 1 Aug 00:30 (Fri 31 Jul 23:30 UTC)"
    assert say(datetime(2026, 12, 31, 23, 30, tzinfo=UTC)) == "Thu 31 Dec 23:30 UTC"
    assert say(datetime(2027, 1, 1, tzinfo=UTC)) == "Fri 1 Jan 2027 00:00 UTC"


def test_decision_and_sentence_agree() -> None:
    """Whatever is due is called due, and nothing else."""
    schedule = replace(LOCAL, max_age=33 * DAY, jitter=timedelta(hours=2))
    policy = Policy("billing", "p1", Strategy.IN_PLACE, (), schedule=schedule)
    known = Facts(BORN, next_after)
    seen = set()
    for hours in range(24 * 40):
        now = BORN + timedelta(hours=hours)
        due = decide(policy, known, now).due
        assert due == ("due since then" in explain(policy, known, now))
        seen.add(due)
    assert seen == {True, False}
