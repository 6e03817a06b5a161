"""Random schedules in random zones, near clock changes above all, against a calculation that walks through
time minute by minute (`due_oracle`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from rotator.errors import Refused
from rotator.model import Policy, Schedule, Strategy, Window
from rotator.planner import Facts, decide, explain
from rotator.policies.cron import next_after, problem_with
from rotator.policies.schedule import due_date, next_opening
from tests.policies import due_oracle as oracle
from tests.policies.due_oracle import Written

INSTANT = timedelta(microseconds=1)
DAY = timedelta(days=1)
ZONES = (
    "UTC",
    "Europe/Amsterdam",
    "America/New_York",
    "Africa/Cairo",  # clocks jump over midnight
    "America/Sao_Paulo",  # the same until 2019, and back over midnight
    "America/St_Johns",  # changed at one minute past midnight until 2011
    "America/Havana",
    "Asia/Beirut",
    "Asia/Gaza",
    "Atlantic/Azores",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # skipped Friday 2011-12-30
    "Antarctica/Troll",  # two hours
    "Antarctica/Casey",  # three hours
    "Africa/Casablanca",  # back for Ramadan
    "Europe/Dublin",
    "Asia/Pyongyang",
    "America/Caracas",
    "Asia/Kathmandu",
    "Pacific/Chatham",
)
PATIENT = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=settings().max_examples // 2
)
"""The walk takes its time. How many examples: 50, with `--long` more."""


@lru_cache
def changes(zone: str) -> list[datetime]:
    """The last hour before each clock change from 2005 to 2035."""

    def offset(moment: datetime) -> timedelta | None:
        return moment.astimezone(ZoneInfo(zone)).utcoffset()

    found, day = [], datetime(2005, 1, 1, tzinfo=UTC)
    today = offset(day)
    while day.year < 2035:
        tomorrow = offset(day + DAY)
        if tomorrow != today:
            hours = (day + timedelta(hours=hour) for hour in range(24))
            found.append(next(hour for hour in hours if offset(hour + timedelta(hours=1)) != today))
        day, today = day + DAY, tomorrow
    return found


@dataclass(frozen=True)
class Scene:
    """A zone, a moment in it, mostly just before or after a clock change, and what the wall shows then."""

    zone: str
    moment: datetime
    minute: int
    """Of the day, as shown in the hour of the change, or near it."""
    day: int
    """Of the week."""


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    zone = draw(st.sampled_from(ZONES))
    start, end = datetime(2005, 1, 1), datetime(2035, 1, 1)  # noqa: DTZ001  # bounds are naive
    near = draw(st.datetimes(start, end, timezones=st.just(UTC)))
    if changes(zone) and draw(st.integers(0, 5)):
        near = draw(st.sampled_from(changes(zone)))
    seconds = draw(st.integers(-3 * 86_400, 86_400) | st.integers(-10_000, 10_000))
    fraction = draw(st.sampled_from((0, 0, 0, 1, 500_000, 999_999)))
    whole = draw(st.sampled_from((1, 60, 1800)))
    moment = near + timedelta(seconds=seconds // whole * whole, microseconds=fraction)
    shown = near.astimezone(ZoneInfo(zone))
    off = draw(st.integers(-90, 150) | st.integers(-3, 5).map(lambda n: 30 * n))
    return Scene(zone, moment, (shown.hour * 60 + shown.minute + off) % 1440, shown.weekday())


def parts(low: int, high: int, *, wide: bool = True) -> st.SearchStrategy[str]:
    """One field of a cron expression."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    one = number.map(str)
    span = pair.map(lambda two: f"{two[0]}-{two[1]}")
    step = st.tuples(st.just("*") | span, st.integers(1, max(2, high // 3))).map(lambda t: f"{t[0]}/{t[1]}")
    several = st.lists(one | span, min_size=2, max_size=3).map(",".join)
    return st.one_of(st.just("*"), one, one, span, step, several) if wide else one | several


@st.composite
def crons(draw: st.DrawFn, scene: Scene) -> str:
    """Expressions that come at least every few years."""
    day, weekday = draw(st.just("*") | parts(1, 31)), draw(st.just("*") | parts(0, 7))
    month = draw(st.just("*") | st.just("*") | parts(1, 12))
    hour = draw(st.just(str(scene.minute // 60)) | parts(0, 3, wide=False) | parts(0, 23))
    minute = draw(st.just(str(scene.minute % 60)) | parts(0, 59))
    expression = f"{minute} {hour} {day} {month} {weekday}"
    assume(problem_with(expression) is None)
    return expression


@st.composite
def windows(draw: st.DrawFn, scene: Scene) -> tuple[tuple[int, ...], int, int]:
    """Days, start and end."""
    near = st.sampled_from([(scene.day + n) % 7 for n in (-1, 0, 1)])
    days = draw(st.sets(near, min_size=1) | st.sets(st.integers(0, 6), min_size=1))
    start = draw(st.just(scene.minute) | st.just(scene.minute) | st.integers(0, 1439))
    end = draw(st.integers(1, 240).map(lambda length: (start + length) % 1440) | st.integers(0, 1440))
    assume(start != end)
    return tuple(sorted(days)), start, end


@st.composite
def written(draw: st.DrawFn, scene: Scene) -> Written:
    """A whole schedule, mostly with something to do at the time of the scene."""
    every = draw(st.none() | st.integers(1, 90 * 86_400) | st.integers(1, 90).map(lambda days: days * 86_400))
    days, start, end = draw(windows(scene)) if draw(st.booleans()) else ((), 0, 0)
    jitter = draw(st.just(0) | st.integers(0, min(every or 86_400, 3 * 86_400)))
    longer = st.integers(1, 40 * 86_400) | st.integers(1, 3 * 86_400)
    return Written(
        zone=scene.zone,
        every=every,
        cron=None if every is not None else draw(crons(scene)),
        days=days,
        start=start,
        end=end,
        jitter=jitter,
        max_age=draw(st.none() | longer.map(lambda seconds: seconds + (every or 0))),
    )


@st.composite
def policies(draw: st.DrawFn) -> tuple[Written, datetime]:
    """A schedule and an anchor, such that the base, not only the anchor, lies near a clock change."""
    scene = draw(scenes())
    plain = draw(written(scene))
    return plain, scene.moment - timedelta(seconds=plain.every or 0)


def as_schedule(plain: Written) -> Schedule:
    return Schedule(
        every=timedelta(seconds=plain.every) if plain.every is not None else None,
        cron=plain.cron,
        timezone=plain.zone,
        window=Window(plain.days, plain.start, plain.end) if plain.days else None,
        jitter=timedelta(seconds=plain.jitter),
        max_age=timedelta(seconds=plain.max_age) if plain.max_age is not None else None,
    )


def as_policy(plain: Written) -> Policy:
    return Policy("billing", "p1", Strategy.IN_PLACE, (), schedule=as_schedule(plain))


@PATIENT
@given(policies())
def test_every_date_is_that_of_the_independent_calculation(drawn: tuple[Written, datetime]) -> None:
    """Base, jitter, window and max_age together, from any anchor, to the microsecond."""
    plain, anchor = drawn
    found = due_date(as_schedule(plain), policy="billing", anchor=anchor, next_cron=next_after)
    expected = oracle.due(plain, "billing", anchor)
    assert (found.at, found.limit) == (expected.at, expected.limit)


@settings(PATIENT, max_examples=2 * settings().max_examples)
@given(scenes(), st.data())
def test_a_window_opens_when_the_wall_says_so(scene: Scene, data: st.DataObject) -> None:
    """From just before a clock change, for windows that begin, end or lie in it, in both directions."""
    days, start, end = data.draw(windows(scene))
    plain = Written(scene.zone, every=0, days=days, start=start, end=end)
    assert next_opening(as_schedule(plain), scene.moment) == oracle.first_inside(plain, scene.moment)


@PATIENT
@given(st.data())
def test_cron_is_that_of_a_daemon_watching_the_wall(data: st.DataObject) -> None:
    """Fields, alternatives and clock changes, from any instant, also three times in a row."""
    scene = data.draw(scenes())
    expression, zone, moment = data.draw(crons(scene)), scene.zone, scene.moment
    for _ in range(3):
        expected = oracle.first_of_cron(expression, zone, moment)
        found = next_after(expression, moment.astimezone(ZoneInfo(zone)))
        assert found.astimezone(UTC) == expected
        moment = expected


@PATIENT
@given(policies(), st.data())
def test_a_policy_is_due_exactly_when_the_calculation_says(
    drawn: tuple[Written, datetime], data: st.DataObject
) -> None:
    """Looked at at any time, also long after the date: due or not, and since or from when."""
    plain, anchor = drawn
    date = oracle.due(plain, "billing", anchor)
    if plain.days and data.draw(st.integers(0, 3)):
        # A window that was missed, and `max_age` not long after.
        age = (date.at - anchor) // timedelta(seconds=1) + data.draw(st.integers(1, 5 * 86_400))
        plain = replace(plain, max_age=age)
        date = oracle.due(plain, "billing", anchor)
    policy, facts = as_policy(plain), Facts(anchor, next_after)
    limit = date.limit or date.at
    some = timedelta(seconds=data.draw(st.integers(0, 36) | st.integers(0, 480)) * 3_600)
    now = data.draw(
        st.sampled_from(
            (
                date.at,
                date.at - INSTANT,
                date.at - some,
                date.at + some,
                max(date.at, limit - some),
                limit,
                limit - INSTANT,
                limit + some,
            )
        )
    )
    decision = decide(policy, facts, now)
    event(f"{decision.reason.partition(':')[0]}, by max_age: {date.limit == decision.due_at}")
    starts = oracle.starts(plain, "billing", anchor, now)
    assert decision.due == (starts == now)
    assert decision.due_at == (date.at if decision.due else starts)
    assert explain(policy, facts, now).endswith(".")


@pytest.mark.parametrize(
    ("zone", "day", "start", "end", "moment", "expected"),
    [
        # Sunday has begun, and then it is Saturday again.
        ("America/St_Johns", 5, 23 * 60 + 30, 0, "2010-11-07T02:30:30Z", "2010-11-06T23:30:00-03:30"),
        # Friday is skipped; Saturday's window is the next day but one.
        ("Pacific/Apia", 5, 9 * 60, 10 * 60, "2011-12-29T12:00:00-10:00", "2011-12-31T09:00:00+14:00"),
        # The start is skipped: it opens at the jump.
        ("Australia/Lord_Howe", 6, 2 * 60 + 10, 240, "2026-10-03T12:00:00Z", "2026-10-04T02:30:00+11:00"),
        ("Africa/Cairo", 4, 30, 120, "2026-04-23T12:00:00Z", "2026-04-24T01:00:00+03:00"),
        # The whole window is skipped: a week later.
        ("Africa/Cairo", 4, 0, 60, "2026-04-23T12:00:00Z", "2026-05-01T00:00:00+03:00"),
    ],
)
def test_windows_that_are_easily_got_wrong(
    zone: str, day: int, start: int, end: int, moment: str, expected: str
) -> None:
    """Each is what both calculations say."""
    plain = Written(zone, every=0, days=(day,), start=start, end=end)
    anchor, wanted = datetime.fromisoformat(moment).astimezone(UTC), datetime.fromisoformat(expected)
    assert due_date(as_schedule(plain), policy="b", anchor=anchor, next_cron=next_after).at == wanted
    assert oracle.due(plain, "b", anchor).at == wanted


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # A day without midnight: the hour after it is part of it.
        ("*/15 1 24 4 *", "Africa/Cairo", "2026-04-20T00:00:00Z", "2026-04-24T01:00:00+03:00"),
        # What the wall does not show does not come, for an expression with a star.
        ("*/15 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-25T00:00:00+03:00"),
        ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-24T01:00:00+03:00"),
        # Half an hour forward, half an hour back: no reading of a later hour is lost.
        ("*/15 4 * * *", "Australia/Lord_Howe", "2026-10-03T14:30:00Z", "2026-10-04T04:00:00+11:00"),
        ("* 4 * * *", "Australia/Lord_Howe", "2026-04-04T10:30:00Z", "2026-04-05T04:00:00+10:30"),
        # Back over midnight: Sunday begins, then it is Saturday again.
        ("*/15 * * * *", "America/St_Johns", "2010-11-07T02:29:30Z", "2010-11-07T00:00:00-02:30"),
        ("*/15 * * * *", "America/St_Johns", "2010-11-07T02:30:00Z", "2010-11-06T23:15:00-03:30"),
        ("30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00:00Z", "2018-02-17T23:30:00-02:00"),
        ("30 23 * * *", "America/Sao_Paulo", "2018-02-18T01:30:00Z", "2018-02-18T23:30:00-03:00"),
        # A day that was skipped altogether: a fixed time comes right after it, the wall never showed another.
        ("0 9 30 12 *", "Pacific/Apia", "2011-12-20T00:00:00Z", "2011-12-31T00:00:00+14:00"),
        ("* * 30 12 *", "Pacific/Apia", "2011-12-20T00:00:00Z", "2012-12-30T00:00:00+14:00"),
        # Fixed times that are skipped together come once.
        ("0,30 2 * * *", "Europe/Amsterdam", "2026-03-28T12:00:00Z", "2026-03-29T03:00:00+02:00"),
        ("0,30 2 * * *", "Europe/Amsterdam", "2026-03-29T01:00:00Z", "2026-03-30T02:00:00+02:00"),
        # A step is a star too: both days must match.
        ("0 0 */2 * mon", "UTC", "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("0 0 1-31/2 * mon", "UTC", "2026-11-21T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("0 0 1-31/2 * mon", "UTC", "2026-11-23T00:00:00Z", "2026-11-25T00:00:00Z"),
    ],
)
def test_clock_changes_that_are_easily_got_wrong(
    expression: str, zone: str, after: str, expected: str
) -> None:
    """Each is what both calculations say."""
    moment = datetime.fromisoformat(after)
    wanted = datetime.fromisoformat(expected)
    assert next_after(expression, moment.astimezone(ZoneInfo(zone))).astimezone(UTC) == wanted
    assert oracle.first_of_cron(expression, zone, moment) == wanted


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        # The last day, weekday and Friday of a month, and its second Monday: more than Debian's cron knows.
        ("0 9 L * *", [30, 31]),
        ("0 9 LW * *", [30, 31]),
        ("0 9 * * 5L", [27, 25]),
        ("0 9 * * mon#2", [14, 11]),
        # From five on, every twentieth; and a span of one is one.
        ("0 9 5/20 * *", [25, 5]),
        ("0 9 5-5/20 * *", [5, 5]),
    ],
)
def test_what_else_an_expression_may_say(expression: str, days: list[int]) -> None:
    """As cronsim reads it; from 23 November 2026 on."""
    first = next_after(expression, datetime(2026, 11, 23, tzinfo=UTC))
    assert [first.day, next_after(expression, first.replace(day=1) + 31 * DAY).day] == days


def test_what_never_comes_in_a_zone_is_refused_in_words() -> None:
    """Elsewhere it comes, and here clocks change over it each time: no date, and what to do."""
    expression = "*/5 0 25-31 3 */7"  # the last Sunday of March, in the hour that the Azores skip
    assert problem_with(expression) is None
    with pytest.raises(Refused, match="never comes in Atlantic/Azores: clock changes skip it") as raised:
        next_after(expression, datetime(2026, 11, 1, tzinfo=ZoneInfo("Atlantic/Azores")))
    assert raised.value.remedy


@PATIENT
@given(
    st.lists(
        st.text("0123456789*/-,LW#?monsunfeb", min_size=1, max_size=6) | parts(0, 40), min_size=4, max_size=6
    )
)
def test_whatever_is_typed_is_taken_or_refused_in_words(typed: list[str]) -> None:
    """No text breaks the check, and what passes it has a date."""
    expression, now = " ".join(typed), datetime(2026, 11, 1, tzinfo=UTC)
    if problem_with(expression) is None:
        assert next_after(expression, now) > now
