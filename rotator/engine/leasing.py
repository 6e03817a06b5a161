"""The lease of a policy's projects: taken, kept by a heartbeat, given back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from rotator.clock import Clock
from rotator.errors import Busy, JournalUnavailable, LeaseLost
from rotator.interrupt import Stop
from rotator.journal.base import Holder, Journal, Lease

log = logging.getLogger(__name__)

_LOOK = 0.2
"""Seconds between two looks at a call that an emergency waits for."""


class Leasing:
    """Takes leases for one process. Safe to use from several threads."""

    def __init__(self, journal: Journal, holder: Holder, clock: Clock, stop: Stop, *, ttl: float) -> None:
        self._journal = journal
        self._holder = holder
        self._clock = clock
        self._stop = stop
        self._ttl = ttl

    @contextmanager
    def lease(
        self, projects: tuple[str, ...], *, in_flight: Callable[[], float] | None = None
    ) -> Iterator[Lease]:
        """Holds the lease of these projects. Raises Busy, JournalUnavailable, Interrupted.

        With `in_flight` it is an emergency's, and taken from a living holder too, once that says for how many
        seconds a call of the holder's may still be executed, and it is none.
        """
        lease = self._acquire(projects) if in_flight is None else self._take_over(projects, in_flight)
        ended = threading.Event()
        beat = threading.Thread(
            target=self._heartbeat, args=(lease, ended), name=f"heartbeat-{projects[0]}", daemon=True
        )
        beat.start()
        try:
            yield lease
        finally:
            ended.set()
            beat.join()
            try:
                self._journal.release(lease)
            except JournalUnavailable as error:
                log.warning("lease not given back, it expires by itself: %s", error)

    def _acquire(self, projects: tuple[str, ...]) -> Lease:
        """Waits for a silent holder's lease, one lease time at most. Raises Busy for one with a heartbeat."""
        seen: dict[str, float] = {}
        give_up_at = self._clock.boot() + self._ttl + 1
        while True:
            try:
                return self._journal.acquire(projects, self._holder, ttl=self._ttl)
            except Busy:
                if self._clock.boot() > give_up_at:
                    raise
                for project in projects:
                    view = self._journal.lease_of(project)
                    ends = self._clock.boot() + (view.expires_in if view else 0)
                    # A heartbeat moves the end by a third of the lease; rounding moves it by less.
                    if ends > seen.setdefault(project, ends) + self._ttl / 6:
                        raise
            self._clock.wait(self._ttl / 15, self._stop.requested)
            self._stop.check()

    def _take_over(self, projects: tuple[str, ...], in_flight: Callable[[], float]) -> Lease:
        while (left := in_flight()) > 0 and self._held(projects):
            self._clock.wait(min(left, self._ttl / 15, _LOOK), self._stop.requested)
            self._stop.check()
        # The loser names the holder when it finds out.
        holder = replace(self._holder, label=f"an emergency ({self._holder.label})")
        return self._journal.acquire(projects, holder, ttl=self._ttl, preempt=True)

    def _held(self, projects: tuple[str, ...]) -> bool:
        views = [self._journal.lease_of(project) for project in projects]
        return any(view is not None and view.holder is not None and view.expires_in > 0 for view in views)

    def _heartbeat(self, lease: Lease, ended: threading.Event) -> None:
        while not ended.wait(self._ttl / 3):
            try:
                self._journal.renew(lease, ttl=self._ttl)
            except LeaseLost:
                return  # the next check of the fence tells the rotation
            except JournalUnavailable as error:
                log.warning("heartbeat failed, trying again: %s", error)
