"""When each policy is looked at next, and which of them somebody is at work on.

All of it is in memory only: a restart looks at everything at once, and decides nothing else for that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from rotator.clock import Clock

RETRY_FIRST: Final = 15.0
RETRY_LONGEST: Final = 900.0
"""Seconds between two tries at what could not be done."""


class Agenda:
    """By the name of a policy, or of a rehearsal, which has one of its own. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._next: dict[str, float] = {}
        """When to look at it next (boot time)."""
        self._tries: dict[str, int] = {}
        self._woken: set[str] = set()
        """Woken while a job was at work on them, which began before and may not have seen why."""

    def free(self, names: Iterable[str]) -> set[str]:
        """Those whose time has come and that nobody is at work on."""
        now = self._clock.boot()
        with self._lock:
            return {name for name in names if name not in self._busy and self._next.get(name, 0.0) <= now}

    def take(self, name: str) -> None:
        """Somebody is at work on it from now on."""
        with self._lock:
            self._busy.add(name)

    def give_back(self, name: str) -> None:
        """Nobody is any more."""
        with self._lock:
            self._busy.discard(name)
            if name in self._woken:
                self._woken.discard(name)
                self._next[name] = 0.0

    def wake(self, name: str) -> None:
        """Its time has come, whatever was planned."""
        with self._lock:
            self._next[name] = 0.0
            self._tries.pop(name, None)
            if name in self._busy:
                self._woken.add(name)

    def forget(self, names: Iterable[str]) -> None:
        """They are others than they were, or gone."""
        with self._lock:
            for name in names:
                self._next.pop(name, None)
                self._tries.pop(name, None)

    def later(self, name: str, seconds: float) -> None:
        """It is looked at again in so many seconds."""
        with self._lock:
            self._next[name] = self._clock.boot() + seconds

    def went_well(self, name: str) -> None:
        """The next trouble is its first again."""
        with self._lock:
            self._tries.pop(name, None)

    def pause(self, name: str) -> float:
        """Seconds until the next try at what could not be done: more with each try in a row."""
        with self._lock:
            tries = self._tries[name] = self._tries.get(name, 0) + 1
        return float(min(RETRY_FIRST * 2 ** min(tries - 1, 10), RETRY_LONGEST))
