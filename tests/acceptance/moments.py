"""Brings a child to a halt at an exact moment, instead of hoping for it.

Each function is called in a forked child before its command (`Nursery.run(prepare=…)`).
"""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def sleep_after(target: str) -> None:
    """Sends this process to sleep (SIGSTOP) after the first call of "module:Class.method"."""
    _wrap(target, after=lambda _arguments: os.kill(os.getpid(), signal.SIGSTOP))


def sleep_after_the_intent() -> None:
    """Sends this process to sleep when the journal has just been told of a mint that is about to be sent."""

    def after(arguments: tuple[Any, ...]) -> bool:
        due = arguments[2].intent is not None
        if due:
            os.kill(os.getpid(), signal.SIGSTOP)
        return due

    _wrap("rotator.journal.sqlite:SqliteJournal.save", after=after)


def wait_before(target: str, gate: str) -> None:
    """Before the first call of "module:Class.method" makes the file `gate` and waits until it is gone."""

    def before(_: tuple[Any, ...]) -> None:
        Path(gate).touch()
        while Path(gate).exists():
            time.sleep(0.002)

    _wrap(target, before=before)


def is_asleep(pid: int) -> bool:
    """Whether a process was stopped by SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T"


Hook = Callable[[tuple[Any, ...]], object]


def _wrap(target: str, *, before: Hook | None = None, after: Hook | None = None) -> None:
    """A hook that returns False is asked again at the next call."""
    module, _, path = target.partition(":")
    owner, _, name = path.partition(".")
    cls = getattr(importlib.import_module(module), owner)
    real = getattr(cls, name)
    left = [True]

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if before is not None and left[0]:
            left[0] = before(arguments) is False
        result = real(*arguments, **named)
        if after is not None and left[0]:
            left[0] = after(arguments) is False
        return result

    setattr(cls, name, wrapped)
