"""Waits where the rate limit for reading has no room, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rotator import words
from rotator.cli.output import say

if TYPE_CHECKING:
    from rotator.clock import Clock


def waits_for_room(clock: Clock) -> Callable[[float, int], None]:
    """Takes seconds, and how many policies wait. In the main thread, so that Ctrl-C ends it at once."""

    def wait(seconds: float, count: int) -> None:
        say(
            f"Lettermint lets no more be read within this minute: {words.count(count, 'policy')} "
            f"wait{'s' if count == 1 else ''} {words.length(seconds + 1)}."
        )
        clock.wait(seconds)

    return wait
