"""Cron expressions, as cron on Debian understands them. Implements `policies.schedule.NextCron`.

Monday is 1 and Sunday is 0 or 7. Day of month and day of week are alternatives when both are given; when
one of them begins with a star (also `*/2`), both must match.

Where clocks change, a star in front of minute or hour decides. With neither, the time is a fixed one: a
reading that is skipped comes right after the jump (several: once), one that comes twice counts the first
time. With either, the clock on the wall counts: what it skips does not come, what it shows twice comes twice.

cronsim reads the expression and tells which dates match; the search is ours. Its own (2.8) leaves the
calendar where a day has no midnight (`*/15 1 24 4 *` in Cairo is a year late), misses half an hour after a
clock change of 30 minutes (`*/15 4 * * *` on Lord Howe), and answers with a day that Samoa skipped.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from rotator.errors import Refused
from rotator.policies.schedule import clock_change

_LONGEST_TEXT: Final = 200
# Any instant would do; this one starts a cycle of 28 years in which every date meets every weekday.
_PROBE: Final = datetime(2001, 1, 1, tzinfo=UTC)
# Longest wait there is: a 29th of February on one day of the week, over a century without a leap day.
_YEARS: Final = 41
_DAY: Final = timedelta(days=1)
# `5-5/2` is 5; cronsim (2.8) takes it for `5/2`, which is from 5 on.
_SPAN_OF_ONE: Final = re.compile(r"\b(\w+)-\1/0*[1-9][0-9]*\b")


def problem_with(expression: str) -> str | None:
    """What is wrong with an expression, in our words; None when it can be used."""
    from cronsim import CronSimError  # noqa: PLC0415  # loaded only where a policy has a cron line

    fields = expression.split()
    if len(expression) > _LONGEST_TEXT or len(fields) != 5:
        return "does not have five fields"
    try:
        next_after(expression, _PROBE)
    except CronSimError as error:
        # cronsim's own words are of the form "Bad day-of-month" and quote no input (cronsim 2.8).
        name = str(error).removeprefix("Bad ")
        return f"has a {name} field that cron does not accept"
    except Refused:
        return "never comes"
    return None


def next_after(expression: str, after: datetime) -> datetime:
    """The first instant strictly after `after` (aware), in its zone.

    Raises cronsim's error for an expression that `problem_with` refuses, Refused for one that never comes
    in this zone.
    """
    zone = after.tzinfo
    assert zone is not None
    return _first(expression, zone, after.astimezone(UTC)).astimezone(zone)


@lru_cache(maxsize=8192)  # a daemon asks the same of the same anchor at every tick
def _first(expression: str, zone: tzinfo, start: datetime) -> datetime:
    times = _read(expression)
    # From yesterday on: clocks that go back over midnight show yesterday again.
    first = start.astimezone(zone).date() - _DAY
    for day in times.days(first, first.replace(year=first.year + _YEARS, day=1)):
        found = times.first(day, zone, start)
        if found is not None:
            # For the same reason tomorrow may come earlier than what is left of today.
            earlier = None if _steady(day, zone) else times.first(day + _DAY, zone, start)
            return min(found, earlier or found)
    raise Refused(
        f'The cron expression "{expression}" never comes in {zone}: clock changes skip it each time',
        then="No date was decided and nothing was changed",
        remedy="Give the policy's schedule another time",
    )


@dataclass(frozen=True)
class _Times:
    """An expression that was read."""

    minutes: tuple[int, ...]
    """Matching readings of a day, as minutes after midnight, rising."""
    months: frozenset[int]
    on: Callable[[date], bool]
    """Whether a date matches, its month aside."""
    fixed: bool

    def days(self, day: date, end: date) -> Iterator[date]:
        """Matching dates, rising."""
        while day < end:
            if day.month not in self.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            if self.on(day):
                yield day
            day += _DAY

    def first(self, day: date, zone: tzinfo, start: datetime) -> datetime | None:
        """The first matching instant after `start` (UTC) while the calendar shows this date, in UTC."""
        if day.month not in self.months or not self.on(day):
            return None
        if not _steady(day, zone):
            return min((at for at in self._instants(day, zone) if at > start), default=None)
        midnight = datetime.combine(day, time(), zone).astimezone(UTC)
        place = bisect_right(self.minutes, (start - midnight) / timedelta(minutes=1))
        return midnight + timedelta(minutes=self.minutes[place]) if place < len(self.minutes) else None

    def _instants(self, day: date, zone: tzinfo) -> Iterable[datetime]:
        """Every instant at which a reading of this date counts, near a clock change."""
        for minute in self.minutes:
            reading = datetime.combine(day, time(minute // 60, minute % 60))  # a clock on the wall
            early, late = (reading.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            if early.astimezone(zone).replace(tzinfo=None) == reading:
                yield early
                if not self.fixed:
                    yield late  # the second pass; the same instant where there is one pass only
            elif self.fixed:
                # Skipped. Of such a reading the fold of 1 lies before the jump, the fold of 0 after it.
                jump = clock_change(zone, late, early)
                assert jump is not None
                yield jump


def _steady(day: date, zone: tzinfo) -> bool:
    """Whether no clock change is near, so that readings of this date and instants run side by side.

    No zone changes its clocks twice within three days and ends as it began.
    """
    before, after = (datetime.combine(day + days * _DAY, time(), zone) for days in (-1, 2))
    return before.utcoffset() == after.utcoffset()


@lru_cache(maxsize=1024)
def _read(expression: str) -> _Times:
    from cronsim import CronSim  # noqa: PLC0415  # as above

    read = CronSim(_SPAN_OF_ONE.sub(r"\1", expression), _PROBE)
    return _Times(
        minutes=tuple(hour * 60 + minute for hour in sorted(read.hours) for minute in sorted(read.minutes)),
        months=frozenset(read.months),
        on=read.match_day,
        fixed=not any(field.startswith("*") for field in expression.split()[:2]),
    )
