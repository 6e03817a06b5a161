"""Time is an argument: everything that needs the time takes a `Clock`."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


class Waitable(Protocol):
    """What may end a wait: a `threading.Event`, or what a signal sets."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class Clock(Protocol):
    """Wall time for people and schedules, boot time for leases, deadlines and durations."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        ...

    def boot(self) -> float:
        """Seconds since this machine booted, sleep included; never goes back while it is up."""
        ...

    @property
    def boot_id(self) -> str:
        """Names this boot of this machine; boot times are comparable only within one."""
        ...

    def wait(self, seconds: float, stop: Waitable | None = None) -> bool:
        """Waits; True as soon as `stop` is set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._boot_id = _read_boot_id()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def boot(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def wait(self, seconds: float, stop: Waitable | None = None) -> bool:
        return (stop or threading.Event()).wait(max(0.0, seconds))


def _read_boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        # A sandbox without that file: the moment of boot names the boot well enough. By the boot clock,
        # because the monotonic one stands still in suspend and would name a new boot after each.
        return f"booted-{int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))}"


@dataclass(frozen=True)
class Instant:
    """A moment on both clocks, so that durations survive a jump of the wall clock."""

    wall: datetime
    boot_id: str
    boot: float

    @classmethod
    def read(cls, clock: Clock) -> Instant:
        return cls(wall=clock.now(), boot_id=clock.boot_id, boot=clock.boot())

    def seconds_until(self, later: Instant) -> float:
        """Seconds from this moment to `later`; by the boot clock where both are of one boot."""
        if self.boot_id == later.boot_id:
            return later.boot - self.boot
        return (later.wall - self.wall).total_seconds()

    def plus(self, seconds: float) -> Instant:
        return Instant(self.wall + timedelta(seconds=seconds), self.boot_id, self.boot + seconds)


def rfc3339(moment: datetime) -> str:
    """UTC with milliseconds, the form of every time in JSON. Raises ValueError for a naive time."""
    if moment.tzinfo is None:
        raise ValueError(f"time without an offset: {moment!r}")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Reads any RFC 3339 time; raises ValueError for one without an offset."""
    moment = datetime.fromisoformat(text.upper())  # RFC 3339 allows "t" and "z"
    if moment.tzinfo is None:
        raise ValueError(f"time without an offset: {text!r}")
    return moment.astimezone(UTC)
