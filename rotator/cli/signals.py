"""Signals ask work to stop at the next safe place; commands that only look stop at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from rotator.interrupt import Stop

_FIRST = (
    "Stopping after the step at hand; a minted token is still written to its store. "
    "A second signal gives that up too: the next `rotator run` then mints again."
)
_SECOND = "Giving up what is still being tried."


def exit_when_terminated() -> None:
    """SIGTERM ends the process with 143. Without a handler the first process of a container ignores it."""

    def ended(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, ended)


@contextmanager
def stopping(stop: Stop, tell: Callable[[str], None]) -> Iterator[None]:
    """Turns SIGINT and SIGTERM into requests to stop while the work inside goes on."""

    def asked(number: int, _frame: FrameType | None) -> None:
        first = not stop.requested.is_set()
        stop.request(number)
        tell(_FIRST if first else _SECOND)

    former = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
