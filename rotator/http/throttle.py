"""How often something may happen. Memory is bounded, whoever calls and however often."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from typing import Final

from rotator.clock import Clock

_ADDRESSES: Final = 1024


class Throttle:
    """At most `limit` in any `window` seconds. Not for several threads: it belongs to the event loop."""

    def __init__(self, clock: Clock, limit: int, window: float) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._taken: deque[float] = deque()

    def wait(self) -> float:
        """Seconds until one more may happen; 0.0 now."""
        now = self._clock.boot()
        while self._taken and self._taken[0] <= now - self._window:
            self._taken.popleft()
        return self._taken[0] + self._window - now if len(self._taken) >= self._limit else 0.0

    def take(self) -> None:
        """It happened."""
        self.wait()
        if len(self._taken) < self._limit:
            self._taken.append(self._clock.boot())


class ByAddress:
    """A throttle for each caller; of those beyond the first thousand the one seen longest ago is forgotten."""

    def __init__(self, clock: Clock, limit: int, window: float) -> None:
        self._clock = clock
        self._limit = limit
        self._window = window
        self._callers: OrderedDict[str, Throttle] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until this caller may try again; 0.0 now."""
        caller = self._callers.get(_network(address))
        return caller.wait() if caller else 0.0

    def take(self, address: str) -> None:
        """It happened to this caller."""
        key = _network(address)
        if key not in self._callers:
            self._callers[key] = Throttle(self._clock, self._limit, self._window)
        self._callers.move_to_end(key)
        self._callers[key].take()
        if len(self._callers) > _ADDRESSES:
            self._callers.popitem(last=False)


def _network(address: str) -> str:
    """One machine has a whole /64 of IPv6 addresses to call from."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found)
