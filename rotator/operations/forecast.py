"""What the past and the rate limit tell about rotations to come. Reads only.

A forecast says what it is made from, because a number without that is taken for a promise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rotator.engine.states import DRAINS, MINT_PUBLISH
from rotator.journal.base import Journal
from rotator.model import Policy, Rotation, State, StepRecord, Trigger

WINDOW: Final = 60.0
"""Seconds that the limit on rotate-token counts over."""
LOOKED_BACK: Final = 5
"""Rotations of a policy that a prediction is made from."""
USUAL: Final = 5.0
"""Seconds that a rotation is taken to last where none has been seen."""
_READ: Final = 20
"""Rotations among which those are looked for."""


@dataclass(frozen=True)
class Forecast:
    """What one rotation of a policy is expected to cost, by its own past."""

    outage: float | None
    """Seconds; None where none was measured."""
    outage_from: str
    """What it is made from, for people."""
    duration: float
    """Seconds from where the rate limit lets it go to its end."""
    duration_from: str


def forecast(journal: Journal, policy: Policy, steps: Collection[str] | None = None) -> Forecast:
    """The longest of its last five, for both figures: what has happened lately may happen again.

    `steps` names those that the duration is asked for, where it is not that of all: of a rotation that drains, say,
    those after the drain. Named drains of a policy that has no past are taken to last as long as they must.

    The outage counts whatever became of the rotation, because readers lived through it; only one that is
    over is measured. Rotations by another strategy, and rehearsals, say nothing about this one.
    """
    past = [
        rotation
        for rotation in journal.rotations(policy.name, limit=_READ)
        if rotation.strategy is policy.strategy and rotation.trigger is not Trigger.REHEARSAL
    ]
    outages = [r.outage.max for r in past if r.outage is not None][:LOOKED_BACK]
    completed = [r for r in past if r.state is State.COMPLETED and r.steps][:LOOKED_BACK]
    durations = [_seconds_of_work(rotation, steps) for rotation in completed]
    drains = sum(policy.drain.min.total_seconds() for name in steps or () if name in DRAINS)
    return Forecast(
        outage=_up(max(outages)) if outages else None,
        outage_from=_longest_of(len(outages), "measured") or "no rotation of it was measured yet",
        duration=_up(max(durations, default=USUAL + drains)),
        duration_from=_longest_of(len(durations), "completed")
        or "assumed, because no rotation of it has completed yet",
    )


def _longest_of(number: int, kind: str) -> str:
    if number == 0:
        return ""
    return (
        f"its only {kind} rotation" if number == 1 else f"the longest of its last {number} {kind} rotations"
    )


def _up(seconds: float) -> float:
    """To whole milliseconds, never down."""
    return math.ceil(seconds * 1000) / 1000


def _seconds_of_work(rotation: Rotation, steps: Collection[str] | None) -> float:
    """Without the time in which it lay interrupted, and without its wait for the rate limit: where a
    rotation waits is told by its start."""
    asked = [step for step in rotation.steps if steps is None or step.name in steps]
    return sum(step.seconds - _waited(rotation, step) for step in asked)


def _waited(rotation: Rotation, step: StepRecord) -> float:
    """For how many seconds of a step it waited until its mint could be sent."""
    sent = rotation.intent.sent.wall if rotation.intent else None
    end = step.at + timedelta(seconds=step.seconds)
    if step.name != MINT_PUBLISH.name or sent is None or not step.at <= sent <= end:
        return 0.0
    return (sent - step.at).total_seconds()


class MintTimes:
    """When each mint to come may be sent, by the limiter that all processes share; takes no slot.

    The limiter grants a slot when fewer than `limit` were taken in the 60 s before. So a mint waits until
    the one `limit` mints before it is 60 s old: one of ours, or one that the journal knows. The age of the
    latter is asked for with a smaller limit: with a limit of k the limiter waits for its k-th newest.
    """

    def __init__(self, journal: Journal, limit: int, now: datetime) -> None:
        self._journal = journal
        self._limit = limit
        self._now = now
        self._ours: list[datetime] = []

    def next(self, ready: datetime) -> datetime:
        """When a mint that is ready at this time, and no earlier than the one asked for before, can go."""
        if len(self._ours) < self._limit:
            place = self._limit - len(self._ours)
            wait = self._journal.take_slot("rotate", limit=place, window=WINDOW, take=False)
            free = self._now + timedelta(seconds=wait)
        else:
            free = self._ours[-self._limit] + timedelta(seconds=WINDOW)
        at = max(ready, free)
        self._ours.append(at)
        return at


def last_of(moments: Iterable[datetime | None]) -> datetime | None:
    """The latest; None of none."""
    return max((moment for moment in moments if moment is not None), default=None)
