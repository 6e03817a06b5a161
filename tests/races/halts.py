"""Halts a child before or after one step of its rotation. Called in a forked child before its command."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rotator.engine import table


def wait_at(step: str, when: str, gate: str) -> None:
    """Makes the file `gate` and waits until somebody takes it away; other threads, the heartbeat, go on."""

    def wait(_: Any) -> None:
        Path(gate).touch()
        while Path(gate).exists():
            time.sleep(0.01)

    _at(step, when, wait)


def sleep_at(step: str, when: str) -> None:
    """The whole process stops by SIGSTOP until somebody sends SIGCONT."""
    _at(step, when, _sleep)


def begin_later(seed: str, longest: float) -> None:
    """Waits for a time that the seed tells."""
    time.sleep(random.Random(seed).uniform(0, longest))


def _sleep(context: Any) -> None:
    # With the lock, so that the heartbeat is not in a transaction, which would keep everybody from the journal; to
    # this thread, because a signal to the process may reach another one first, while this one still goes on.
    with context.ledger._journal._database._lock:
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def _at(step: str, when: str, halt: Callable[[Any], None]) -> None:
    """Halts at the first call of the step only."""
    left = [True]

    def halting(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(context: Any) -> Any:
            here = left.pop() if left else False
            if here and when == "before":
                halt(context)
            result = real(context)
            if here and when == "after":
                halt(context)
            return result

        return call

    for steps in (table._IN_PLACE, table._OVERLAP):
        if step in steps:
            steps[step] = halting(steps[step])
