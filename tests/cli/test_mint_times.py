"""The rate limit's arithmetic in `plan`, against the limiter that rotations really wait for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from rotator.journal.sqlite import SqliteJournal
from rotator.operations.forecast import WINDOW, MintTimes
from tests.conftest import FakeClock

# Eighths of a second are exact in binary, so that nobody has to wait for a rounding error.
eighths = st.integers(0, 8 * 75).map(lambda n: n / 8)


def taken_by(clock: FakeClock, past: Sequence[float], pause: float) -> SqliteJournal:
    """A journal that knows mints, each so long after the one before, and perhaps a word of the provider."""
    journal = SqliteJournal.in_memory(clock)
    for seconds in past:
        clock.advance(seconds)
        assert journal.take_slot("rotate", limit=1000, window=WINDOW) == 0
    if pause:
        journal.postpone_slots("rotate", pause)
    return journal


@settings(deadline=None)
@given(
    limit=st.integers(1, 7),
    past=st.lists(eighths, max_size=12),
    pause=st.just(0.0) | eighths.map(lambda seconds: 3 * seconds),
    idle=eighths,
    ready=st.lists(st.just(0.0) | eighths.map(lambda seconds: 2 * seconds), min_size=1, max_size=20),
)
def test_every_mint_starts_when_the_limiter_lets_it(
    limit: int, past: list[float], pause: float, idle: float, ready: list[float]
) -> None:
    """Whatever was minted before, whenever each is ready, at any limit: to the microsecond, and no slot taken."""
    clock = FakeClock()
    journal = taken_by(clock, past, pause)
    clock.advance(idle)
    begin = clock.now()
    times = MintTimes(journal, limit, begin)
    ready = sorted(ready)
    planned = [(times.next(_after(begin, seconds)) - begin).total_seconds() for seconds in ready]

    really = []
    for seconds in ready:
        clock.advance(max(0.0, seconds - (clock.now() - begin).total_seconds()))
        while (wait := journal.take_slot("rotate", limit=limit, window=WINDOW)) > 0:
            clock.advance(wait)
        really.append((clock.now() - begin).total_seconds())
    assert planned == really


def _after(begin: datetime, seconds: float) -> datetime:
    clock = FakeClock(begin)
    clock.advance(seconds)
    return clock.now()


def test_ninety_at_thirty_a_minute() -> None:
    """Thirty at once, thirty a minute later, thirty after two; one that was minted 20 s ago takes a place."""
    clock = FakeClock()
    journal = taken_by(clock, [0.0], 0.0)
    clock.advance(20)
    times = MintTimes(journal, 30, clock.now())
    waits = [(times.next(clock.now()) - clock.now()).total_seconds() for _ in range(90)]
    assert waits == [*[0.0] * 29, 40.0, *[60.0] * 29, 100.0, *[120.0] * 29, 160.0]


def test_another_boot_is_believed_as_the_limiter_believes_it() -> None:
    """Mints before a restart of the machine count by the wall clock."""
    clock = FakeClock()
    journal = taken_by(clock, [0.0, 10.0], 0.0)
    clock.advance(15)
    clock.boot_id = "boot-2"
    times = MintTimes(journal, 2, clock.now())
    waits = [(times.next(clock.now()) - clock.now()).total_seconds() for _ in range(3)]
    assert waits == [35.0, 45.0, 95.0]
    assert journal.take_slot("rotate", limit=2, window=WINDOW) == 35.0
