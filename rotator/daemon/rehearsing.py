"""What the daemon does about rehearsals: it goes on with what is open, and begins what is due while no rotation waits.

Each is a policy beside its own, by a name of its own; whatever becomes of it, the policy's rotations go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rotator.daemon.agenda import Agenda
from rotator.daemon.backoff import seconds_until_ready
from rotator.engine.drain import next_look
from rotator.engine.ports import Ports
from rotator.engine.runner import Runner
from rotator.interrupt import Stop
from rotator.model import Policy, State
from rotator.operations.outcome import Outcome
from rotator.operations.rehearsals import decision, open_rotations, past_of
from rotator.operations.rehearse import advance
from rotator.policies.schedule import NextCron
from rotator.rehearsal import rehearsal_of

USUAL: Final = 60.0
"""Seconds between two looks at a rehearsal that is not due."""
SOONEST: Final = 2.0


class Rehearsing:
    """One job for each look. Safe to use from several threads."""

    def __init__(
        self,
        runner: Runner,
        ports: Ports,
        next_cron: NextCron,
        stop: Stop,
        agenda: Agenda,
        *,
        lease: float,
        waiting: Callable[[], int],
        tell: Callable[[Policy, Outcome], None],
        rehearsed: Callable[[str, str], None],
    ) -> None:
        """`waiting` counts rotations that wait for a thread, `rehearsed` is told of each rehearsal that came to its
        end: the policy and the outcome."""
        self._runner = runner
        self._ports = ports
        self._next_cron = next_cron
        self._stop = stop
        self._agenda = agenda
        self._lease = lease
        self._waiting = waiting
        self._tell = tell
        self._rehearsed = rehearsed

    def look(self, policy: Policy) -> None:
        """Does what there is to do, and says when to look next. Raises JournalUnavailable, Interrupted."""
        rehearsal = rehearsal_of(policy)
        lease = self._ports.journal.lease_of(rehearsal.project)
        if lease is not None and lease.holder is not None and lease.expires_in > 0:
            # Somebody is at work on it, perhaps a person who waits for it.
            self._agenda.later(rehearsal.name, self._lease / 3)
            return
        done = advance(
            self._runner, self._ports, policy, self._next_cron, self._stop, may_begin=self._may_begin
        )
        self._tell(rehearsal, done.outcome)
        if done.ended is not None:
            self._rehearsed(policy.name, done.ended.outcome)
        self._agenda.later(rehearsal.name, self._until(rehearsal, failed=done.outcome.exit_code != 0))

    def _may_begin(self, rehearsal: Policy) -> bool:
        return not self._waiting() and seconds_until_ready(self._ports, rehearsal) <= 0

    def _until(self, rehearsal: Policy, *, failed: bool) -> float:
        """Seconds to the next look."""
        journal = self._ports.journal
        unfinished = open_rotations(journal, rehearsal)
        if unfinished and unfinished[0].state is State.DRAINING:
            return next_look(unfinished[0])
        if failed:
            return self._agenda.pause(rehearsal.name)
        self._agenda.went_well(rehearsal.name)
        now = self._ports.clock.now()
        past, held = past_of(journal, rehearsal), rehearsal.name in journal.holds()
        due_at = decision(rehearsal, past, self._next_cron, now, held=held).due_at
        left = (due_at - now).total_seconds() if due_at is not None else USUAL
        return min(USUAL, max(left, SOONEST, seconds_until_ready(self._ports, rehearsal)))
