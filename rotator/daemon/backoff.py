"""How long the daemon leaves a policy alone after failures. Read from the journal, so that it survives a restart."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from rotator.engine.ports import Ports
from rotator.model import Policy, Rotation, State, Trigger, as_written

FIRST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(hours=1)

LOOKED_BACK: Final = 10
"""Rotations of a policy that the longest back-off takes to be reached, and a few more."""


def ready_again(policy: Policy, newest_first: Iterable[Rotation]) -> datetime | None:
    """When a schedule may begin the policy's next rotation; None: now.

    A minute after the first failure in a row, doubled by each further one, up to an hour. A changed policy and
    any rotation that a person started begin anew.
    """
    failures: list[Rotation] = []
    # Who began a rehearsal makes no difference to what the next one would meet.
    by_schedule = Trigger.REHEARSAL if policy.rehearses else Trigger.SCHEDULE
    for rotation in newest_first:
        if rotation.trigger is not by_schedule or as_written(rotation.snapshot) != as_written(
            policy.snapshot
        ):
            break
        if rotation.state not in (State.FAILED, State.REFUSED, State.NEEDS_ATTENTION):
            break
        failures.append(rotation)
    if not failures:
        return None
    ended = failures[0].finished_at or failures[0].started_at
    pause: timedelta = min(FIRST * (1 << (len(failures) - 1)), LONGEST)
    return ended + pause


def seconds_until_ready(ports: Ports, policy: Policy) -> float:
    """For how long a schedule may not begin the policy's next rotation; 0.0: it may now. Raises
    JournalUnavailable."""
    ready = ready_again(policy, ports.journal.rotations(policy.name, limit=LOOKED_BACK))
    return max(0.0, (ready - ports.clock.now()).total_seconds()) if ready is not None else 0.0
