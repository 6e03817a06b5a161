"""Clocks and times."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from rotator.clock import Instant, SystemClock, parse_rfc3339, rfc3339
from tests.conftest import FakeClock

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    """Any offset becomes Z; what is finer than a millisecond is cut, never rounded up."""
    assert rfc3339(NOON) == "2026-11-21T12:00:00.000Z"
    assert rfc3339(NOON.replace(microsecond=999_999)) == "2026-11-21T12:00:00.999Z"
    assert rfc3339(NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2026-11-21T12:00:00.000Z"


def test_a_time_without_an_offset_is_refused_both_ways() -> None:
    """Whoever forgot the offset hears of it, instead of getting this machine's zone."""
    with pytest.raises(ValueError, match="without an offset"):
        rfc3339(datetime(2026, 11, 21, 12, 0))  # noqa: DTZ001  # the mistake this test is about
    with pytest.raises(ValueError, match="without an offset"):
        parse_rfc3339("2026-11-21T12:00:00")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T12:00:00Z",
        "2026-11-21T12:00:00.000000Z",
        "2026-11-21t12:00:00.000z",
        "2026-11-21T13:00:00+01:00",
        "2026-11-21 12:00:00-00:00",
    ],
)
def test_every_spelling_of_a_time_is_read(text: str) -> None:
    """The provider, AWS and Vault write times differently; all come out as UTC."""
    moment = parse_rfc3339(text)
    assert moment == NOON
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-21", "2026-13-01T00:00:00Z", "2026-11-21T25:00:00Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Anything else raises ValueError."""
    with pytest.raises(ValueError):
        parse_rfc3339(text)


def test_writing_and_reading_agree() -> None:
    """A time read back is the time written, to the millisecond."""
    moment = NOON + timedelta(milliseconds=123)
    assert parse_rfc3339(rfc3339(moment)) == moment


def test_durations_survive_a_jump_of_the_wall_clock() -> None:
    """Within one boot the boot clock measures, whatever somebody does to the wall clock."""
    clock = FakeClock()
    start = Instant.read(clock)
    clock.advance(10)
    clock.jump_wall(-3600)
    assert start.seconds_until(Instant.read(clock)) == 10


def test_durations_across_boots_are_those_of_the_wall_clock() -> None:
    """Boot times of different boots are not comparable."""
    before = Instant(NOON, "boot-1", 90_000.0)
    after = Instant(NOON + timedelta(seconds=30), "boot-2", 12.0)
    assert before.seconds_until(after) == 30
    assert after.seconds_until(before) == -30


def test_a_later_instant_is_later_on_both_clocks() -> None:
    """`plus` moves wall and boot time together."""
    start = Instant(NOON, "boot-1", 100.0)
    later = start.plus(1.5)
    assert (later.wall - start.wall).total_seconds() == 1.5
    assert start.seconds_until(later) == 1.5


def test_the_system_clock_reads_this_machine() -> None:
    """Wall time is aware and in UTC; boot time rises and is at least the time without sleep."""
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 60
    first = clock.boot()
    assert clock.boot() >= first
    assert first + 1 >= time.monotonic()


def test_the_boot_id_is_the_same_in_every_process() -> None:
    """Leases of different processes are compared by it."""
    other = subprocess.run(
        [sys.executable, "-c", "from rotator.clock import SystemClock; print(SystemClock().boot_id)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == SystemClock().boot_id
    assert SystemClock().boot_id


def test_waiting_ends_at_once_when_asked_to_stop() -> None:
    """True means stopped; False means that the time passed; no time is no wait."""
    clock = SystemClock()
    stop = threading.Event()
    assert clock.wait(0.001, stop) is False
    assert clock.wait(-5) is False
    stop.set()
    assert clock.wait(3600, stop) is True
