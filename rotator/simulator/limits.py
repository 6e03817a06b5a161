"""Rate tiers of the Team API: so many calls of one token in any 60 seconds.

Team API reference: 300 reads, 60 writes, and "3 to 10" calls a minute for special endpoints such as
token rotation. Whether the vendor's windows slide is not said; a sliding window is the strict reading.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rotator.clock import Instant

WINDOW: Final = 60.0


class Tier(StrEnum):
    """Which allowance a call is taken from."""

    READ = "read"
    WRITE = "write"
    ROTATE = "rotate"


@dataclass(frozen=True, slots=True)
class Room:
    """What a tier had left for one call, in the terms of its headers."""

    allowed: bool
    limit: int
    remaining: int
    resets_at: int
    """Unix seconds; a caller that waits for it finds room."""
    retry_after: int
    """Whole seconds from now, at least 1."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        shown = (
            ("X-RateLimit-Limit", str(self.limit)),
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(self.resets_at)),
        )
        return shown if self.allowed else (*shown, ("Retry-After", str(self.retry_after)))


class SlidingWindow:
    """The calls of one token in one tier. Not thread-safe; the world's lock guards it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: deque[float] = deque()

    def take(self, now: Instant) -> Room:
        """Takes a slot if there is one; a refused call takes none. A slot is free again after 60 s."""
        while self._taken and self._taken[0] + WINDOW <= now.boot:
            self._taken.popleft()
        allowed = len(self._taken) < self._limit
        if allowed:
            self._taken.append(now.boot)
        wait = self._taken[0] + WINDOW - now.boot if self._taken else WINDOW
        return Room(
            allowed=allowed,
            limit=self._limit,
            remaining=self._limit - len(self._taken),
            resets_at=math.ceil(now.wall.timestamp() + wait),
            retry_after=max(1, math.ceil(wait)),
        )
