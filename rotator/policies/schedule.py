"""What a schedule means in time. Pure: standard library only, and the time is an argument.

A date is found in four steps: the base (`every` after the anchor, or the first time of `cron` after
it), then jitter, then the first instant inside the window, then `max_age`, which cuts waiting short.
The anchor is the only input that changes, so dates missed during a long stop fall together into one,
and a lost journal makes nothing due that was not.

*Inside a window* is what a clock on the wall shows: an instant is inside when local time reads at or
after `start` and before `end`, on a day of `days` (over midnight: the day on which the window starts).
So when clocks go forward, a window that starts in the skipped hour opens at the jump, one that lies in
it altogether does not open that day; when clocks go back, both passes of the repeated hour count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from rotator.model import Schedule, Window

_DURATION: Final = re.compile(r"([0-9]+)([smhdw])")
_UNIT_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}

LONGEST: Final = timedelta(days=36_500)
"""No duration is longer than 100 years, so that date arithmetic never leaves the calendar."""

# Days looked at for the next opening: a week has every weekday once, and a window whose one day of
# this week is swallowed by a clock change (or by a zone that skipped a whole day) opens the week after.
_DAYS_AHEAD: Final = 16
_NONE: Final = timedelta(0)
# Not from strftime, which would speak the machine's language.
_DAYS: Final = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class NextCron(Protocol):
    """Finds the next time of a cron expression (`policies.cron.next_after`)."""

    def __call__(self, expression: str, after: datetime) -> datetime:
        """The first instant strictly after `after`, in its zone. The expression was checked before."""
        ...


def parse_duration(text: str) -> timedelta:
    """Reads one number and one unit (`s m h d w`), such as `30d`; raises ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration: one number and one unit of s, m, h, d, w, such as 30d")
    number, unit = match.groups()
    # Cut before int(): digits without end would be slow, and Python refuses more than 4300 of them.
    digits = number.lstrip("0") or "0"
    if len(digits) > 12 or int(digits) * _UNIT_SECONDS[unit] > LONGEST.total_seconds():
        raise ValueError(f"longer than {LONGEST.days}d")
    return timedelta(seconds=int(digits) * _UNIT_SECONDS[unit])


def format_duration(length: timedelta) -> str:
    """Whole seconds in the fewest units, such as `30d` or `1h12m5s`; weeks are written as days."""
    rest = int(length.total_seconds())
    if not rest:
        return "0s"
    text = ""
    for unit in "dhms":
        count, rest = divmod(rest, _UNIT_SECONDS[unit])
        text += f"{count}{unit}" if count else ""
    return text


def describe_window(schedule: Schedule) -> str:
    """For people: `Mon-Thu 09:00-16:00 Europe/Amsterdam`. The schedule has a window."""
    window = schedule.window
    assert window is not None
    runs: list[list[int]] = []
    for day in sorted(window.days):
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    names = [f"{_DAYS[run[0]]}-{_DAYS[run[-1]]}" if len(run) > 1 else _DAYS[run[0]] for run in runs]
    days = "every day" if len(window.days) == 7 else ", ".join(names)
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in (window.start, window.end))
    return f"{days} {start}-{end} {schedule.timezone}"


class Dates:
    """Writes the dates of one sentence in a zone, and in UTC where that reads differently.

    `Mon 2 Nov 2026 10:12 Europe/Amsterdam (09:12 UTC)`: the zone is named with the first date, a year
    where it is not that of the date before, seconds where there are any.
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._name = f" {timezone}"
        self._year: int | None = None

    def say(self, moment: datetime) -> str:
        """One date. What is below a second is left away."""
        local, utc = moment.astimezone(self._zone), moment.astimezone(UTC)
        text = f"{_day(local, self._year)} {_clock(local)}"
        self._year = local.year
        if local.utcoffset() == _NONE:
            return f"{text} UTC"
        name, self._name = self._name, ""
        other = _clock(utc) if utc.date() == local.date() else f"{_day(utc, local.year)} {_clock(utc)}"
        return f"{text}{name} ({other} UTC)"


def _day(moment: datetime, year: int | None) -> str:
    text = f"{_DAYS[moment.weekday()]} {moment.day} {_MONTHS[moment.month - 1]}"
    return text if moment.year == year else f"{text} {moment.year}"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


@dataclass(frozen=True)
class DueDate:
    """When a schedule wants the next rotation, and how that came about. All times in UTC."""

    at: datetime
    """The date. Never after `limit`."""
    limit: datetime | None
    """When `max_age` is reached; from then on the window does not matter."""
    why: str
    """A part of a sentence: what makes it this date."""
    base: datetime
    """`every` after the anchor, or the first time of `cron` after it."""
    shift: timedelta
    """Jitter, added to the base."""
    opens: datetime
    """The first instant from then on that is inside the window; where there is none, base and jitter."""

    @property
    def wanted(self) -> datetime:
        """Where neither window nor `max_age` move it."""
        return self.base + self.shift


def due_date(schedule: Schedule, *, policy: str, anchor: datetime, next_cron: NextCron) -> DueDate:
    """The first instant at which the rotation may start, seen from the anchor alone. Raises as `next_cron`."""
    zone = ZoneInfo(schedule.timezone)
    if schedule.every is not None:
        base = anchor.astimezone(UTC) + schedule.every
        why = f"every {format_duration(schedule.every)}"
    else:
        assert schedule.cron is not None
        base = next_cron(schedule.cron, anchor.astimezone(zone)).astimezone(UTC)
        why = f'cron "{schedule.cron}" in {schedule.timezone}'
    shift = jitter(schedule.jitter, policy=policy, base=base.astimezone(zone)) if schedule.jitter else _NONE
    if shift:
        why += f", plus {format_duration(shift)} of jitter"
    wanted = base + shift
    at = opens = next_opening(schedule, wanted)
    if opens > wanted:
        why += ", then its window"
    limit = None
    if schedule.max_age is not None:
        limit = anchor.astimezone(UTC) + schedule.max_age
        if limit < at:
            at = limit
            why += f", cut short by max_age {format_duration(schedule.max_age)}"
    return DueDate(at=at, limit=limit, why=why, base=base, shift=shift, opens=opens)


def jitter(longest: timedelta, *, policy: str, base: datetime) -> timedelta:
    """Whole seconds from 0 to `longest`, both included.

    Derived from the policy's name and the base's local date, so that every process, on every machine,
    draws the same, and a restart draws nothing new.
    """
    digest = hashlib.sha256(f"{policy}\n{base.date().isoformat()}".encode()).digest()
    seconds = int(longest.total_seconds())
    return timedelta(seconds=int.from_bytes(digest[:8], "big") % (seconds + 1))


def is_open(schedule: Schedule, moment: datetime) -> bool:
    """Whether a scheduled rotation may start at this moment, as far as the window is concerned."""
    if schedule.window is None:
        return True
    return _inside(schedule.window, moment.astimezone(ZoneInfo(schedule.timezone)))


def next_opening(schedule: Schedule, moment: datetime) -> datetime:
    """The first instant at or after `moment` that lies inside the window, in UTC."""
    moment = moment.astimezone(UTC)
    window, zone = schedule.window, ZoneInfo(schedule.timezone)
    if window is None or _inside(window, moment.astimezone(zone)):
        return moment
    # Local time enters the window by reading `start`, or by a jump of the clocks; nothing else.
    for ahead in range(_DAYS_AHEAD):
        span = (moment + timedelta(days=ahead), moment + timedelta(days=ahead + 1))
        entries = [
            entry for entry in _entries(window, zone, *span) if _inside(window, entry.astimezone(zone))
        ]
        if entries:
            return min(entries)
    raise AssertionError("a window opens within two weeks, whatever the clocks do")


def _inside(window: Window, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    if window.start < window.end:
        return window.start <= minute < window.end and local.weekday() in window.days
    if minute >= window.start:
        return local.weekday() in window.days
    return minute < window.end and (local.weekday() - 1) % 7 in window.days


def _entries(window: Window, zone: ZoneInfo, after: datetime, until: datetime) -> Iterator[datetime]:
    """Instants after `after` and up to `until` (a day apart, UTC) at which local time may enter the window."""
    start = time(window.start // 60, window.start % 60, tzinfo=zone)
    today, near = after.astimezone(zone).date(), range(2)
    change = clock_change(zone, after, until)
    if change is not None:
        yield change
        near = range(-1, 3)  # clocks that go back over midnight show yesterday again, others skip a day
    for ahead in near:
        reading = datetime.combine(today + timedelta(days=ahead), start)
        # A reading that comes twice differs by its fold; one that never comes lands outside the window
        # or inside it by chance, and then the jump that skipped it is earlier.
        for fold in (0, 1):
            entry = reading.replace(fold=fold).astimezone(UTC)
            if after < entry <= until:
                yield entry


def clock_change(zone: tzinfo, before: datetime, after: datetime) -> datetime | None:
    """The first instant of the new offset, if the zone's offset changes between the two (whole seconds, UTC).

    They lie so close together (days) that it changes once at most.
    """
    old = before.astimezone(zone).utcoffset()
    if after.astimezone(zone).utcoffset() == old:
        return None
    low = before.replace(microsecond=0)
    high = after.replace(microsecond=0) + timedelta(seconds=1)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=1) // 2)
        if middle.astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return high
