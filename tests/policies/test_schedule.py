"""When a schedule is due: elapsed time, cron, jitter, windows and clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rotator.model import Schedule, Window
from rotator.policies.cron import next_after, problem_with
from rotator.policies.schedule import (
    LONGEST,
    due_date,
    format_duration,
    is_open,
    jitter,
    next_opening,
    parse_duration,
)

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
HOUR = timedelta(hours=1)
EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def due(schedule: Schedule, anchor: str, name: str = "billing") -> datetime:
    return due_date(schedule, policy=name, anchor=at(anchor), next_cron=next_after).at


def why(schedule: Schedule, anchor: str) -> str:
    return due_date(schedule, policy="billing", anchor=at(anchor), next_cron=next_after).why


def window(days: tuple[int, ...], start: str, end: str, zone: str = "Europe/Amsterdam") -> Schedule:
    def minutes(text: str) -> int:
        return int(text[:2]) * 60 + int(text[3:])

    return Schedule(every=HOUR, timezone=zone, window=Window(days, minutes(start), minutes(end)))


# --- durations ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("15m", 900), ("2h", 7200), ("30d", 2592000), ("007w", 4233600)],
)
def test_durations_are_one_number_and_one_unit(text: str, seconds: int) -> None:
    """Each unit means what it says; leading zeros change nothing."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "30", "d", "1.5d", "-1d", "+1d", " 1d", "1 d", "1D", "1d12h", "1y", "٣d", "1d\n"]
)
def test_nothing_else_is_a_duration(text: str) -> None:
    """Signs, fractions, spaces, combinations, other digits and other units are refused."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_the_longest_duration_is_a_hundred_years() -> None:
    """36500d is taken, a second more is not, nor is a number without end."""
    assert parse_duration("36500d") == LONGEST
    for text in (f"{36500 * 86400 + 1}s", "9" * 10_000 + "s"):
        with pytest.raises(ValueError, match="longer than 36500d"):
            parse_duration(text)


@given(st.integers(0, int(LONGEST.total_seconds())))
def test_durations_are_written_exactly(seconds: int) -> None:
    """The parts of a written duration add up to it."""
    text = format_duration(timedelta(seconds=seconds))
    parts = text.replace("d", "d ").replace("h", "h ").replace("m", "m ").split()
    assert sum(parse_duration(part).total_seconds() for part in parts) == seconds


# --- dates ----------------------------------------------------------------------------------------


def test_every_is_elapsed_time() -> None:
    """A day is 24 hours, whatever the clocks of the zone do meanwhile."""
    schedule = Schedule(every=timedelta(days=1), timezone="Europe/Amsterdam")
    assert due(schedule, "2026-03-28T12:00:00+01:00") == at("2026-03-29T13:00:00+02:00")
    assert due(schedule, "2026-10-24T12:00:00+02:00") == at("2026-10-25T11:00:00+01:00")
    assert due(Schedule(every=timedelta(days=365)), "2027-03-01T00:00:00Z") == at("2028-02-29T00:00:00Z")


def test_only_the_anchor_counts() -> None:
    """The date does not move with the time at which it is asked for: missed dates become one."""
    schedule = Schedule(cron="0 9 * * *")
    assert due(schedule, "2020-01-01T10:00:00Z") == at("2020-01-02T09:00:00Z")


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # Monday is 1, Sunday is 0 and 7
        ("0 9 * * 1", "2026-11-21T12:00:00+01:00", "2026-11-23T09:00:00+01:00"),
        ("0 9 * * 7", "2026-11-21T12:00:00+01:00", "2026-11-22T09:00:00+01:00"),
        ("0 9 * * 0", "2026-11-21T12:00:00+01:00", "2026-11-22T09:00:00+01:00"),
        # strictly after, by the smallest margin
        ("0 9 * * *", "2026-11-21T09:00:00+01:00", "2026-11-22T09:00:00+01:00"),
        ("0 9 * * *", "2026-11-21T08:59:59.999999+01:00", "2026-11-21T09:00:00+01:00"),
        # day of month or day of week
        ("0 0 13 * fri", "2026-11-21T12:00:00+01:00", "2026-11-27T00:00:00+01:00"),
        ("0 0 13 * fri", "2026-12-11T12:00:00+01:00", "2026-12-13T00:00:00+01:00"),
        # leap day
        ("0 0 29 2 *", "2026-11-21T12:00:00+01:00", "2028-02-29T00:00:00+01:00"),
        ("0 0 29 2 *", "2096-03-01T00:00:00+01:00", "2104-02-29T00:00:00+01:00"),
        # spring: 02:30 does not come, right after the jump it does, and only once
        ("30 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        ("30 2 * * *", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"),
        # autumn: 02:30 comes twice and counts once, also for an anchor between or inside the passes
        ("30 2 * * *", "2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00"),
        ("30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
        ("30 2 * * *", "2026-10-25T01:10:00+00:00", "2026-10-26T02:30:00+01:00"),
        ("30 2 * * *", "2026-10-25T01:40:00+00:00", "2026-10-26T02:30:00+01:00"),
        # autumn: every half hour goes on through both passes
        ("*/30 * * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"),
    ],
)
def test_cron_means_what_cron_means(expression: str, after: str, expected: str) -> None:
    """Weekdays, alternatives, leap days and clock changes are those of cron."""
    schedule = Schedule(cron=expression, timezone="Europe/Amsterdam")
    assert due(schedule, after) == at(expected)


@given(
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 1-3 * * 0", "59 23 31 12 *", "15 0 * * *"]),
    st.sampled_from(["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # bounds are naive
)
def test_cron_is_always_strictly_later(expression: str, zone: str, after: datetime) -> None:
    """From any instant the next time of cron lies after it, so nothing is due twice."""
    assert next_after(expression, after.astimezone(ZoneInfo(zone))).astimezone(UTC) > after


def test_an_expression_that_never_comes_is_refused() -> None:
    """Expressions are checked for form and for ever coming true."""
    assert problem_with("0 9 * * 1") is None
    assert problem_with("0 0 29 2 */7") is None
    assert problem_with("0 0 31 2,4 *") is not None
    assert problem_with("0 0 * 4 mon#9") is not None
    assert problem_with("@daily") == "does not have five fields"
    assert problem_with("0" * 5000 + " 9 * * 1") == "does not have five fields"


def test_jitter_is_drawn_once_for_all_processes() -> None:
    """It is fixed by name and date, differs between policies and dates, and stays within its limit."""
    base = datetime(2026, 11, 21, 9, tzinfo=UTC)
    drawn = jitter(2 * HOUR, policy="billing", base=base)
    # Written out, so that a later version cannot draw differently without saying so.
    assert drawn == timedelta(seconds=EXPECTED_JITTER)
    assert jitter(2 * HOUR, policy="billing", base=base + HOUR) == drawn
    assert jitter(2 * HOUR, policy="shop", base=base) != drawn
    assert jitter(2 * HOUR, policy="billing", base=base + timedelta(days=1)) != drawn
    several = {jitter(timedelta(seconds=2), policy=f"p{n}", base=base).total_seconds() for n in range(50)}
    assert several == {0, 1, 2}
    assert jitter(timedelta(0), policy="billing", base=base) == timedelta(0)


EXPECTED_JITTER = 4274


def test_jitter_comes_before_the_window() -> None:
    """A date that jitter pushes out of the window waits for the next opening."""
    base = Schedule(every=timedelta(days=1), jitter=2 * HOUR, window=Window(EVERY_DAY, 0, 9 * 60 + 1))
    shift = jitter(2 * HOUR, policy="billing", base=at("2026-11-21T09:00:00Z"))
    assert shift > timedelta(minutes=1)
    assert due(base, "2026-11-20T09:00:00Z") == at("2026-11-22T00:00:00Z")


@pytest.mark.parametrize(
    ("anchor", "expected", "limit"),
    [
        # 30 days later is inside
        ("2026-10-19T10:00:00Z", "2026-11-18T10:00:00+00:00", False),
        # a Saturday: waits for Monday 09:00
        ("2026-10-22T10:00:00Z", "2026-11-23T08:00:00+00:00", False),
        # a Thursday evening: Monday is more than three days away
        ("2026-10-20T20:00:00Z", "2026-11-22T20:00:00+00:00", True),
    ],
)
def test_max_age_cuts_the_wait_short(anchor: str, expected: str, limit: bool) -> None:
    """The window is waited for until the token is of `max_age`, and the reason tells which it was."""
    schedule = Schedule(
        every=timedelta(days=30),
        timezone="Europe/Amsterdam",
        window=Window((0, 1, 2, 3), 9 * 60, 16 * 60),
        max_age=timedelta(days=33),
    )
    assert due(schedule, anchor) == at(expected)
    assert ("cut short by max_age 33d" in why(schedule, anchor)) is limit


def test_the_date_is_explained() -> None:
    """The sentence names each thing that moved the date, and nothing that did not."""
    plain = Schedule(every=timedelta(days=30))
    assert why(plain, "2026-11-01T00:00:00Z") == "every 30d"
    assert why(Schedule(cron="0 9 * * 1", timezone="Asia/Tokyo"), "2026-11-01T00:00:00Z") == (
        'cron "0 9 * * 1" in Asia/Tokyo'
    )
    full = Schedule(
        every=timedelta(days=30),
        jitter=2 * HOUR,
        window=Window((0,), 0, 60),
        max_age=timedelta(days=31),
    )
    shift = format_duration(jitter(2 * HOUR, policy="billing", base=at("2026-12-01T00:00:00Z")))
    assert why(full, "2026-11-01T00:00:00Z") == (
        f"every 30d, plus {shift} of jitter, then its window, cut short by max_age 31d"
    )


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "moment", "expected"),
    [
        # both sides of both ends (2026-11-23 is a Monday)
        (window((0,), "09:00", "16:00"), "2026-11-23T08:59:59+01:00", "2026-11-23T09:00:00+01:00"),
        (window((0,), "09:00", "16:00"), "2026-11-23T09:00:00+01:00", "2026-11-23T09:00:00+01:00"),
        (window((0,), "09:00", "16:00"), "2026-11-23T15:59:59.5+01:00", "2026-11-23T15:59:59.5+01:00"),
        (window((0,), "09:00", "16:00"), "2026-11-23T16:00:00+01:00", "2026-11-30T09:00:00+01:00"),
        # over midnight: the day on which it starts counts
        (window((4,), "22:00", "06:00"), "2026-11-28T05:59:00+01:00", "2026-11-28T05:59:00+01:00"),
        (window((4,), "22:00", "06:00"), "2026-11-28T06:00:00+01:00", "2026-12-04T22:00:00+01:00"),
        (window((4,), "22:00", "06:00"), "2026-11-27T05:00:00+01:00", "2026-11-27T22:00:00+01:00"),
        (window((6,), "22:00", "06:00"), "2026-11-23T01:00:00+01:00", "2026-11-23T01:00:00+01:00"),
        # whole days, and up to midnight
        (window((5, 6), "00:00", "24:00"), "2026-11-27T12:00:00+01:00", "2026-11-28T00:00:00+01:00"),
        (window((5, 6), "00:00", "24:00"), "2026-11-29T23:59:59+01:00", "2026-11-29T23:59:59+01:00"),
        (window((0,), "16:00", "00:00"), "2026-11-24T00:00:00+01:00", "2026-11-30T16:00:00+01:00"),
        # a leap day
        (window((1,), "09:00", "10:00"), "2028-02-28T12:00:00+01:00", "2028-02-29T09:00:00+01:00"),
        # spring, 2026-03-29 02:00 to 03:00 is skipped: a start inside opens at the jump
        (window(EVERY_DAY, "02:30", "05:00"), "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        # a window inside the skipped hour does not open that day, or that week
        (window(EVERY_DAY, "02:10", "02:50"), "2026-03-28T12:00:00+01:00", "2026-03-30T02:10:00+02:00"),
        (window((6,), "02:10", "02:50"), "2026-03-28T12:00:00+01:00", "2026-04-05T02:10:00+02:00"),
        # autumn, 2026-10-25 02:00 to 03:00 comes twice: both passes are inside
        (window((6,), "02:15", "02:45"), "2026-10-24T12:00:00+02:00", "2026-10-25T02:15:00+02:00"),
        (window((6,), "02:15", "02:45"), "2026-10-25T02:50:00+02:00", "2026-10-25T02:15:00+01:00"),
        # and a window that has closed is open again from the moment the clocks go back into it
        (window((6,), "01:30", "02:30"), "2026-10-25T02:40:00+02:00", "2026-10-25T02:00:00+01:00"),
        (window((6,), "01:30", "02:30"), "2026-10-25T02:30:00+01:00", "2026-11-01T01:30:00+01:00"),
        # a day without midnight (Cairo, 2026-04-24)
        (
            window((4,), "00:00", "08:00", "Africa/Cairo"),
            "2026-04-23T12:00:00+02:00",
            "2026-04-24T01:00:00+03:00",
        ),
        # a day that one zone skipped altogether (Samoa, Friday 2011-12-30)
        (
            window((4,), "09:00", "10:00", "Pacific/Apia"),
            "2011-12-29T12:00:00-10:00",
            "2012-01-06T09:00:00+14:00",
        ),
    ],
)
def test_the_next_opening(schedule: Schedule, moment: str, expected: str) -> None:
    """The first instant at or after a moment at which the clock on the wall is inside the window."""
    found = next_opening(schedule, at(moment))
    assert found == at(expected)
    assert found.tzinfo is UTC
    assert is_open(schedule, found)


def test_without_a_window_it_is_always_open() -> None:
    """A schedule without a window never waits."""
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    assert next_opening(Schedule(every=HOUR), moment) == moment
    assert is_open(Schedule(every=HOUR), moment)


@given(
    st.sampled_from(["Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"]),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # bounds are naive
)
def test_no_earlier_instant_is_inside(
    zone: str, days: set[int], start: int, end: int, moment: datetime
) -> None:
    """Reading the wall clock every ten minutes finds no earlier opening than the one calculated."""
    assume(start != end)
    schedule = Schedule(every=HOUR, timezone=zone, window=Window(tuple(sorted(days)), start, end))
    opens = next_opening(schedule, moment)
    assert moment <= opens < moment + timedelta(days=9)
    assert is_open(schedule, opens)
    step = moment
    while step < opens:
        assert not is_open(schedule, step)
        step += timedelta(minutes=10)
    if opens > moment:
        assert not is_open(schedule, opens - timedelta(microseconds=1))
