"""The provider's rate limits (Team API reference): token rotation 3 to 10, other writes 60, reads 300
a minute. Whether they hold per token, team or address is not said; we take them per team token.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final, Protocol

from rotator.clock import Clock
from rotator.errors import JournalUnavailable
from rotator.model import Claim

log = logging.getLogger(__name__)

WINDOW: Final = 60.0
"""Seconds; every documented limit is one per minute."""
ROTATE_LIMIT: Final = 3
READ_LIMIT: Final = 300
WRITE_LIMIT: Final = 60
ROTATE: Final = "rotate"


class SharedSlots(Protocol):
    """The part of the journal that all processes share their slots through (`journal.base.Journal`)."""

    def take_slot(
        self, kind: str, *, limit: int, window: float, take: bool = True, claim: Claim | None = None
    ) -> float: ...

    def date_slot(self, kind: str, claim: Claim) -> None: ...

    def postpone_slots(self, kind: str, seconds: float) -> None: ...


class RateLimits:
    """The Limiter of one team token. Safe to use from several threads.

    "rotate" slots live in the journal; "read" and "write" slots are counted in this process only and
    corrected by what the provider says is left.
    """

    def __init__(
        self,
        journal: SharedSlots,
        clock: Clock,
        *,
        rotate_limit: int = ROTATE_LIMIT,
        read_limit: int = READ_LIMIT,
        write_limit: int = WRITE_LIMIT,
        window: float = WINDOW,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._rotate_limit = rotate_limit
        self._window = window
        self._lock = threading.Lock()
        self._local = {"read": _Window(read_limit, window), "write": _Window(write_limit, window)}
        self._postponed_until = 0.0
        """What the provider said about "rotate" and the journal does not know yet (boot time)."""

    def take(self, kind: str, claim: Claim | None = None) -> float:
        """As the port says. Raises JournalUnavailable for "rotate"."""
        return self._ask(kind, take=True, claim=claim)

    def peek(self, kind: str, claim: Claim | None = None) -> float:
        """As the port says. Raises JournalUnavailable for "rotate"."""
        return self._ask(kind, take=False, claim=claim)

    def sending(self, kind: str, claim: Claim) -> None:
        """As the port says; slots of this process alone are taken right before their call. Raises
        JournalUnavailable for "rotate"."""
        if kind == ROTATE:
            self._journal.date_slot(kind, claim)

    def observe(
        self, kind: str, *, remaining: int | None, resets_in: float | None, retry_after: float | None
    ) -> None:
        """As the port says. Never raises.

        An answer that may carry a new token never makes this touch the journal, because nothing may
        stand between that token and its store: what it says is kept, and told to the journal with the
        next slot asked for. A refusal for the rate carries no token and is told at once.
        """
        now = self._clock.boot()
        with self._lock:
            if kind != ROTATE:
                self._local[kind].observe(now, remaining, resets_in, retry_after)
                return
            waits = [retry_after or 0.0, (resets_in or 0.0) if remaining == 0 else 0.0]
            if max(waits) <= 0:
                return
            self._postponed_until = max(self._postponed_until, now + max(waits))
        if retry_after is not None:
            try:
                self._tell_journal()
            except JournalUnavailable:
                log.warning("the journal could not be told to postpone rotations; it is told later")

    def _ask(self, kind: str, *, take: bool, claim: Claim | None) -> float:
        if kind == ROTATE:
            self._tell_journal()
            limit = claim.share_of(self._rotate_limit) if claim is not None else self._rotate_limit
            return self._journal.take_slot(ROTATE, limit=limit, window=self._window, take=take, claim=claim)
        with self._lock:
            now = self._clock.boot()
            window = self._local[kind]
            wait = window.wait(now)
            if wait <= 0 and take:
                window.take(now)
            return wait

    def _tell_journal(self) -> None:
        with self._lock:
            until, self._postponed_until = self._postponed_until, 0.0
        seconds = until - self._clock.boot()
        if seconds <= 0:
            return
        try:
            self._journal.postpone_slots(ROTATE, seconds)
        except JournalUnavailable:
            with self._lock:
                self._postponed_until = max(self._postponed_until, until)
            raise


class _Window:
    """At most `limit` slots in any `window` seconds, and no more than the provider says are left.

    Not thread-safe; times are boot times.
    """

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._reserve = limit // 10
        """Of what the provider has left, so many are not asked for: other clients of the team token, and calls of
        ours that are under way, take from it too."""
        self._window = window
        self._taken: deque[float] = deque()
        self._left: int | None = None
        """What the provider has left for all its clients until `_resets`."""
        self._resets = 0.0
        self._closed_until = 0.0

    def wait(self, now: float) -> float:
        while self._taken and self._taken[0] + self._window <= now:
            self._taken.popleft()
        if self._resets <= now:
            self._left = None
        waits = [0.0, self._closed_until - now]
        if len(self._taken) >= self._limit:
            # Of a full window the oldest slot falls out first.
            waits.append(self._taken[0] + self._window - now)
        if self._left is not None and self._left <= self._reserve:
            waits.append(self._resets - now)
        return max(waits)

    def take(self, now: float) -> None:
        self._taken.append(now)
        if self._left is not None:
            self._left -= 1

    def observe(
        self, now: float, remaining: int | None, resets_in: float | None, retry_after: float | None
    ) -> None:
        if retry_after is not None:
            self._closed_until = max(self._closed_until, now + retry_after)
        if remaining is None or resets_in is None or resets_in <= 0:
            return
        resets = now + resets_in
        # The provider gives whole seconds, so one window's end wobbles by that much between answers.
        if self._left is not None and abs(resets - self._resets) < 2:
            # Answers overtake one another: within one window the count only falls.
            self._left = min(self._left, remaining)
        elif resets > self._resets or self._left is None:
            self._left, self._resets = remaining, resets
