"""The daemon's thread that tells notifiers, so that no rotation waits for one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final

from rotator.interrupt import Stop, leave_signals_to_main
from rotator.model import Policy
from rotator.operations.notices import Notifications

PAUSE: Final = 5.0
"""Seconds between two looks."""
AT_ONCE: Final = 60.0
"""What one look gives to sending, so that changed policies are seen between."""


class Teller:
    """Looks until it is stopped. `stop` may be called once."""

    def __init__(
        self,
        notifications: Notifications,
        policies: Callable[[], Iterable[Policy]],
        *,
        pause: float = PAUSE,
    ) -> None:
        self._notifications = notifications
        self._policies = policies
        self._pause = pause
        self._stop = Stop()
        self._thread = threading.Thread(target=self._work, name="notices", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Lets the message at hand end, and gives what is left of the time to what still waits."""
        self._stop.request(0)
        self._thread.join(seconds)
        if not self._thread.is_alive():
            self._notifications.tell(self._policies(), Stop(), seconds=seconds / 2)

    def _work(self) -> None:
        leave_signals_to_main()
        while not self._stop.requested.is_set():
            self._notifications.tell(self._policies(), self._stop, seconds=AT_ONCE)
            self._stop.requested.wait(self._pause)
