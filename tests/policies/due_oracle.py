"""When a schedule is due, calculated a second time, slowly: by walking through time minute by minute.

Shares no code with rotator and takes plain values. Every zone's offset is a whole number of minutes since
2000, so whatever a clock on the wall does, it does at a whole minute of UTC.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
NAMES = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}


@dataclass(frozen=True)
class Written:
    """A schedule as a person would write it down: seconds, minutes of the day, Monday is 0."""

    zone: str
    every: int | None = None
    cron: str | None = None
    days: tuple[int, ...] = ()
    start: int = 0
    end: int = 0
    jitter: int = 0
    max_age: int | None = None


# --- the clock on the wall: minutes since 1970, of UTC and as shown --------------------------------


@lru_cache(maxsize=5000)
def walls(zone: str, day: int) -> array[int]:
    """What the wall shows at each minute of a day of UTC."""

    def shown(minute: int) -> int:
        local = (EPOCH + minute * MINUTE).astimezone(ZoneInfo(zone))
        return (local.toordinal() - EPOCH.toordinal()) * 1440 + local.hour * 60 + local.minute

    found: array[int] = array("q")
    for hour in range(day * 1440, (day + 1) * 1440, 60):
        first = shown(hour)
        if shown(hour + 60) == first + 60:
            found.extend(range(first, first + 60))
        else:
            found.extend(map(shown, range(hour, hour + 60)))
    return found


def inside(written: Written, shown: int) -> bool:
    """Whether the wall shows a time of the window that began today or yesterday."""
    length = written.end - written.start
    if length <= 0:
        length += 1440
    day, since_it_opened = divmod(shown - written.start, 1440)
    # 1970 began on a Thursday.
    return since_it_opened < length and (day + 3) % 7 in written.days


def first_inside(written: Written, moment: datetime) -> datetime:
    """The moment, or the first whole minute after it at which the wall shows a time of the window."""
    if not written.days:
        return moment
    minute = (moment - EPOCH) // MINUTE
    found = minute
    while not inside(written, walls(written.zone, found // 1440)[found % 1440]):
        found += 1
    return moment if found == minute else EPOCH + found * MINUTE


# --- cron -----------------------------------------------------------------------------------------


def numbers(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            begin, end = low, high
        elif "-" in span:
            begin, end = (int(NAMES.get(one, one)) for one in span.split("-"))
        else:
            begin = end = int(NAMES.get(span, span))
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


@dataclass(frozen=True)
class Cron:
    times: frozenset[int]
    """Minutes of a day."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool
    wild: bool

    @classmethod
    @lru_cache(maxsize=1000)
    def read(cls, text: str) -> Cron:
        minute, hour, day, month, weekday = text.split()
        return cls(
            frozenset(60 * h + m for h in numbers(hour, 0, 23) for m in numbers(minute, 0, 59)),
            frozenset(numbers(day, 1, 31)),
            frozenset(numbers(month, 1, 12)),
            frozenset(number % 7 for number in numbers(weekday, 0, 7)),
            both=day[0] == "*" or weekday[0] == "*",
            wild=minute[0] == "*" or hour[0] == "*",
        )

    def on(self, number: int) -> bool:
        """Whether the date so many days after that of 1970 matches."""
        day = EPOCH.date() + number * DAY
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (of_month and of_week if self.both else of_month or of_week)


@lru_cache(maxsize=2000)
def fires(cron: Cron, zone: str, day: int) -> tuple[int, ...]:
    """At which minutes of a day of UTC a cron daemon would start the job.

    A job with a star at minute or hour follows the wall. Any other is started for each reading once: at
    its first showing, or when the clocks jump over it.
    """
    found: list[int] = []
    # From four hours before, to know what was shown before the day began.
    walk = walls(zone, day - 1)[-240:] + walls(zone, day)
    latest = walk[0]
    for minute, shown in enumerate(walk, start=day * 1440 - 240):
        due = False
        for reading in (shown,) if cron.wild else range(latest + 1, shown + 1):
            due = due or (reading % 1440 in cron.times and cron.on(reading // 1440))
        latest = max(latest, shown)
        if due and minute >= day * 1440:
            found.append(minute)
    return tuple(found)


def first_of_cron(text: str, zone: str, after: datetime) -> datetime:
    cron, day = Cron.read(text), (after - EPOCH) // DAY
    while True:
        # The wall shows the date of UTC, the one before or the one after.
        if any(cron.on(day + near) for near in (-1, 0, 1)):
            for minute in fires(cron, zone, day):
                if EPOCH + minute * MINUTE > after:
                    return EPOCH + minute * MINUTE
        day += 1


# --- the date -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Due:
    at: datetime
    limit: datetime | None


def due(written: Written, policy: str, anchor: datetime) -> Due:
    """From the anchor alone."""
    if written.every is not None:
        base = anchor + timedelta(seconds=written.every)
    else:
        assert written.cron is not None
        base = first_of_cron(written.cron, written.zone, anchor)
    text = f"{policy}\n{base.astimezone(ZoneInfo(written.zone)):%Y-%m-%d}"
    drawn = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) % (written.jitter + 1)
    at = first_inside(written, base + timedelta(seconds=drawn))
    limit = anchor + timedelta(seconds=written.max_age) if written.max_age is not None else None
    return Due(at if limit is None or at <= limit else limit, limit)


def starts(written: Written, policy: str, anchor: datetime, awake: datetime) -> datetime:
    """The first instant from `awake` on at which a daemon starts the rotation."""
    found = due(written, policy, anchor)
    if found.at >= awake:
        return found.at
    opens = first_inside(written, awake)
    return opens if found.limit is None else min(opens, max(found.limit, awake))
