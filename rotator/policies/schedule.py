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
from datetime import UTC, datetime, time, timedelta
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


@dataclass(frozen=True)
class DueDate:
    """When a schedule wants the next rotation. `at` is never after `limit`."""

    at: datetime
    """In UTC."""
    limit: datetime | None
    """When `max_age` is reached, in UTC; from then on the window does not matter."""
    why: str
    """A part of a sentence: what makes it this date."""


def due_date(schedule: Schedule, *, policy: str, anchor: datetime, next_cron: NextCron) -> DueDate:
    """The first instant at which the rotation may start, seen from the anchor alone."""
    zone = ZoneInfo(schedule.timezone)
    if schedule.every is not None:
        base = anchor.astimezone(UTC) + schedule.every
        why = f"every {format_duration(schedule.every)}"
    else:
        assert schedule.cron is not None
        base = next_cron(schedule.cron, anchor.astimezone(zone)).astimezone(UTC)
        why = f'cron "{schedule.cron}" in {schedule.timezone}'
    shift = jitter(schedule.jitter, policy=policy, base=base.astimezone(zone))
    if shift:
        why += f", plus {format_duration(shift)} of jitter"
    wanted = base + shift
    at = wanted
    if schedule.window is not None:
        at = next_opening(schedule, wanted)
        if at > wanted:
            why += ", then its window"
    limit = None
    if schedule.max_age is not None:
        limit = anchor.astimezone(UTC) + schedule.max_age
        if limit < at:
            at = limit
            why += f", cut short by max_age {format_duration(schedule.max_age)}"
    return DueDate(at=at, limit=limit, why=why)


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
    entries = [
        entry
        for entry in _entries(window, zone, moment)
        if entry > moment and _inside(window, entry.astimezone(zone))
    ]
    return min(entries)


def _inside(window: Window, local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    if window.start < window.end:
        return window.start <= minute < window.end and local.weekday() in window.days
    if minute >= window.start:
        return local.weekday() in window.days
    return minute < window.end and (local.weekday() - 1) % 7 in window.days


def _entries(window: Window, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    start = time(window.start // 60, window.start % 60, tzinfo=zone)
    today = moment.astimezone(zone).date()
    for ahead in range(-1, _DAYS_AHEAD):
        day = today + timedelta(days=ahead)
        # A reading that comes twice differs by its fold; one that never comes lands outside the window
        # or inside it by chance, and the jump that skipped it is found below and is earlier.
        for fold in (0, 1):
            yield datetime.combine(day, start).replace(fold=fold).astimezone(UTC)
    for ahead in range(-1, _DAYS_AHEAD):
        yield from _jump(zone, moment + timedelta(days=ahead), moment + timedelta(days=ahead + 1))


def _jump(zone: ZoneInfo, before: datetime, after: datetime) -> Iterator[datetime]:
    """The first instant of the new offset, if the zone's offset changes between the two (UTC)."""
    old = before.astimezone(zone).utcoffset()
    if after.astimezone(zone).utcoffset() == old:
        return
    low = before.replace(microsecond=0)
    high = after.replace(microsecond=0) + timedelta(seconds=1)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=1) // 2)
        if middle.astimezone(zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    yield high
