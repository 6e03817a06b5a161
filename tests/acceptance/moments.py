"""Brings a child to a halt at an exact moment, instead of hoping for it.

Each `wait_…` is called in a forked child before its command (`Nursery.run(prepare=…)`). At its moment
the child makes the file `gate` and waits until somebody takes that away; its other threads go on.
`Site.start_until` starts a command and returns when it has come to its moment.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Moment:
    """One of the functions below, and its arguments after the gate."""

    function: str
    arguments: tuple[Any, ...] = ()

    def prepare(self, gate: Path) -> dict[str, Any]:
        """For `Nursery.start`."""
        return {"call": f"{__name__}:{self.function}", "with": [str(gate), *self.arguments]}


_LETTERMINT = "rotator.provider.lettermint:LettermintProvider."
LEASE_TAKEN = Moment("wait_before", ("rotator.journal.sqlite:SqliteJournal.save",))
PROJECT_READ = Moment("wait_after", (f"{_LETTERMINT}project",))
VERIFIER_TRIED = Moment("wait_after", (f"{_LETTERMINT}send",))
INTENT_WRITTEN = Moment("wait_after_the_intent")
MINTED = Moment("wait_after", (f"{_LETTERMINT}rotate_token",))
"""The token is in memory and nowhere else."""
VERIFIED = Moment("wait_after", (f"{_LETTERMINT}send", 1))


def wait_before(gate: str, target: str) -> None:
    """Waits before the first call of "module:Class.method"."""
    _wrap(target, before=lambda _: _wait(gate))


def wait_after(gate: str, target: str, skip: int = 0) -> None:
    """Waits after the first call of "module:Class.method", or after `skip` others."""
    left = [skip]

    def after(_: tuple[Any, ...]) -> bool:
        left[0] -= 1
        if left[0] < 0:
            _wait(gate)
        return left[0] < 0

    _wrap(target, after=after)


def wait_after_the_intent(gate: str) -> None:
    """Waits when the journal has just been told of a mint that is about to be sent."""

    def after(arguments: tuple[Any, ...]) -> bool:
        due = arguments[2].intent is not None
        if due:
            _wait(gate)
        return due

    _wrap("rotator.journal.sqlite:SqliteJournal.save", after=after)


def is_asleep(pid: int) -> bool:
    """Whether a process was stopped by SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T"


def _wait(gate: str) -> None:
    Path(gate).touch()
    while Path(gate).exists():
        time.sleep(0.01)


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
