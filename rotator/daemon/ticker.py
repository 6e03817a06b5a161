"""APScheduler as the ticker, and nothing more: when a policy is due is computed, never scheduled in it.

So a tick that was missed (a busy machine, a laptop that slept) loses nothing: the next one sees all that is due.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from apscheduler.schedulers.background import BackgroundScheduler

SECONDS: Final = 1.0


class Ticker:
    """Calls `tick` about once a second in one thread, never twice at once."""

    def __init__(self, tick: Callable[[], None], *, seconds: float = SECONDS) -> None:
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._scheduler.add_job(
            tick,
            "interval",
            seconds=seconds,
            next_run_time=datetime.now(UTC),  # else the first one comes after the first interval
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    def start(self) -> None:
        # Its threads inherit the mask: a signal must reach the main thread.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._scheduler.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def stop(self) -> None:
        """Ends after the tick at hand."""
        self._scheduler.shutdown(wait=True)
