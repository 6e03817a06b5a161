"""A few threads that take jobs in the order of their urgency."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from rotator.interrupt import join, leave_signals_to_main

log = logging.getLogger(__name__)

Key = tuple[float, float]
"""Rank, then the moment since which it is due; the smaller goes first."""


class Workers:
    """`submit` never waits. Safe to use from several threads."""

    def __init__(self, number: int, name: str) -> None:
        self._waiting: list[tuple[Key, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._ended = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, key: Key, job: Callable[[], None]) -> None:
        """Adds a job, which handles its own errors. After `stop` nothing is taken any more."""
        with self._changed:
            if not self._ended:
                heapq.heappush(self._waiting, (key, next(self._order), job))
                self._changed.notify()

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        with self._changed:
            return len(self._waiting)

    def stop(self, seconds: float | None = None) -> bool:
        """Forgets what waits, and returns when what is at work has ended, or after so many seconds: whether it
        has."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()
        give_up_at = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            join(thread, None if give_up_at is None else give_up_at - time.monotonic())
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        leave_signals_to_main()
        while True:
            with self._changed:
                while not self._waiting and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                _, _, job = heapq.heappop(self._waiting)
            try:
                job()
            except Exception:
                log.exception("unexpected error in a job of the daemon")
