"""Rehearses policies: the scheduled path, then the emergency path, by the steps and the engine of every rotation.

`rehearse` is for a person, who waits. `advance` does whatever can be done now, for `run` and `serve`.
Invariants:
- nothing is read or written under the policy's own name, so its rows, holds and alarms stay what they are;
- of one rehearsal each path is begun once, whoever is at work on it: that is asked under the lease.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from rotator.audit.base import AuditEvent
from rotator.clock import Instant, rfc3339
from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.resting import waiting_until
from rotator.engine.runner import Runner
from rotator.errors import Interrupted, RotatorError, exit_code_of
from rotator.interrupt import Stop
from rotator.model import REHEARSAL_RANK, Claim, Emergency, Policy, Rotation, Trigger
from rotator.operations import draining
from rotator.operations.emergency import Report, Target, order_for, report
from rotator.operations.outcome import Gathered, Outcome
from rotator.operations.rehearsals import Past, Rehearsed, decision, open_rotations, past_of
from rotator.operations.several import attempted, side_by_side
from rotator.policies.schedule import NextCron
from rotator.rehearsal import rehearsal_name, rehearsal_of

log = logging.getLogger(__name__)

Result = TypeVar("Result")

DRAIN: Final = 300.0
"""Seconds that the emergency path drains at most, as `rotate --emergency` does unless told."""
HANDOVER: Final = 120.0
"""Seconds within which whoever completed the first path begins the second, once the rate limit has room; after that
anybody may."""
ASK_AGAIN: Final = 5.0
"""Seconds between two questions whether it has, so that the claim is kept."""
NOT_PROVED: Final = 1
"""Exit code where both paths completed and the death of the leaked token is not proved."""


@dataclass(frozen=True)
class Told:
    """What one policy's rehearsal came to."""

    policy: Policy
    rehearsal: Policy
    rehearsed: Rehearsed | None
    """None where nothing was begun."""

    def view(self) -> dict[str, Any]:
        """For JSON."""
        one = self.rehearsed
        return {
            "policy": self.policy.name,
            "project": self.rehearsal.project,
            "strategy": self.rehearsal.strategy.value,
            "outcome": one.outcome if one else None,
            "seconds": one.seconds if one else None,
            "ended_at": rfc3339(one.ended_at) if one and one.ended else None,
            "rotations": [rotation.id for rotation in one.rotations] if one else [],
        }


@dataclass
class Work:
    """One policy's rehearsal and what is at work on it."""

    runner: Runner
    ports: Ports
    policy: Policy
    reason: str
    stop: Stop
    say: Callable[[str], None] = lambda _: None
    """Tells whoever watches."""
    rehearsal: Policy = field(init=False)
    ended: Rehearsed | None = None
    """The rehearsal that came to its end by this work."""

    def __post_init__(self) -> None:
        self.rehearsal = rehearsal_of(self.policy)
        self._before = self.past().latest
        self._ours: set[str] = set()
        """Rotations that this work has had a hand in."""

    def past(self) -> Past:
        return past_of(self.ports.journal, self.rehearsal)

    @property
    def done(self) -> Rehearsed | None:
        """The latest, where this work has had a hand in it."""
        latest = self.past().latest
        ours = latest is not None and any(one.id in self._ours for one in latest.rotations)
        return latest if ours else None

    def begin(self, *, anew: bool) -> list[Rotation]:
        """Takes up what is open, and begins the scheduled path: always, or, unless `anew`, where what was open could
        not be brought on. Raises as `Runner.rotate`, AuditUnavailable."""

        def wanted() -> bool:
            latest = self.past().latest
            if anew:
                # Somebody may have begun another one while the lease was waited for.
                if latest != self._before:
                    return False
            elif latest is not None and (latest.half or latest.succeeded):
                return False
            self._event("rehearsal.start", None, reason=self.reason, strategy=self.rehearsal.strategy)
            return True

        return self._rotate(wanted, None)

    def leak(self) -> list[Rotation]:
        """Takes what the first path has stored for leaked. Raises as `begin`, Interrupted.

        Not before the rate limit has room: a real emergency would wait for no rehearsal, and what is measured should
        be the emergency.
        """
        self._await_room()

        def wanted() -> bool:
            # An open rotation of the project, be it another policy's, would be made to hurry instead.
            latest = self.past().latest
            return latest is not None and latest.half and not open_of(self.ports.journal, self.rehearsal)

        reported = Instant.read(self.ports.clock)
        return self._rotate(wanted, Emergency(reported, order_for(self.rehearsal, None), DRAIN))

    def _await_room(self) -> None:
        ports, claim = self.ports, Claim(REHEARSAL_RANK, self.rehearsal.name)
        told = False
        while (seconds := ports.limiter.peek("rotate", claim)) > 0:
            if not told:
                self.say(f"before the emergency: {waiting_until(ports.clock, seconds)}")
                told = True
            ports.clock.wait(min(seconds, ASK_AGAIN), self.stop.requested)
            self.stop.check()

    def resume(self, rotation: Rotation) -> list[Rotation]:
        """Takes up one that is open. Raises as `Runner.resume`."""
        self._ours.add(rotation.id)
        return [self.runner.resume(rotation)]

    def note_end(self) -> None:
        """Audits the end of what it had a hand in. Raises AuditUnavailable, JournalUnavailable."""
        latest = self.done
        if latest is None or not latest.ended or latest == self._before or latest.latest.id not in self._ours:
            return
        self.ended = latest
        self._event(
            "rehearsal.end",
            latest.latest.id,
            outcome=latest.outcome,
            seconds=latest.seconds,
            rotations=[one.id for one in latest.rotations],
        )

    def _rotate(self, wanted: Callable[[], bool], emergency: Emergency | None) -> list[Rotation]:
        found = self.runner.rotate(
            self.rehearsal, Trigger.REHEARSAL, self.reason, wanted=wanted, emergency=emergency
        )
        # Policies may share what they rehearse on; what was finished for another one is told there.
        mine = [one for one in found if one.policy == self.rehearsal.name]
        self._ours.update(one.id for one in mine)
        return mine

    def _event(self, event: str, rotation: str | None, **data: Any) -> None:
        self.ports.audit.record(
            AuditEvent(event, self.policy.name, self.rehearsal.project, rotation, Trigger.REHEARSAL, data)
        )


def _apart(
    works: Sequence[Work], do: Callable[[Work], Result]
) -> Iterator[tuple[str, Result | RotatorError]]:
    """Does it for each, side by side; those that share a project one after the other, because they need the same
    lease."""
    chains: list[list[Work]] = []
    for work in works:
        mine = set(work.rehearsal.projects)
        shared = [chain for chain in chains if any(mine & set(one.rehearsal.projects) for one in chain)]
        chains = [chain for chain in chains if chain not in shared]
        chains.append([*(one for chain in shared for one in chain), work])

    def in_turn(chain: Sequence[Work]) -> list[tuple[str, Result | RotatorError]]:
        return [(work.policy.name, attempted(partial(do, work))) for work in chain]

    for name, results in side_by_side({chain[0].policy.name: partial(in_turn, chain) for chain in chains}):
        yield from [(name, results)] if isinstance(results, RotatorError) else results


# --- for a person ----------------------------------------------------------------------------------


def rehearse(
    runner: Runner,
    ports: Ports,
    policies: Iterable[Policy],
    reason: str,
    stop: Stop,
    looked: Callable[[Rotation], None],
    said: Callable[[str, str], None] = lambda _name, _text: None,
) -> tuple[Outcome, list[Told], Report | None]:
    """Rehearses the policies side by side, those that share a project in turn, each through both paths and their
    drains. The report is the emergency paths', as an emergency gives it.

    `looked` is told of each look at a drain, `said` what a rehearsal waits for. Raises InvalidInput where a policy
    has nothing to be rehearsed on; JournalUnavailable.
    """
    works = [
        Work(runner, ports, policy, reason, stop, partial(said, rehearsal_name(policy.name)))
        for policy in policies
    ]
    gathered = Gathered()
    for name, result in _apart(works, lambda work: _both_paths(work, looked)):
        if isinstance(result, RotatorError):
            gathered.fail(name, result)
            continue
        rotations, stopped = result
        gathered.add(rotations)
        if not rotations and stopped is None:
            gathered.notes.append(
                f"{name}: nothing was begun: another rehearsal on the same project came first. Repeat it."
            )
        if stopped is not None:
            gathered.codes.append(exit_code_of(stopped))
            gathered.notes = [*dict.fromkeys((*gathered.notes, str(stopped)))]
    told = [Told(work.policy, work.rehearsal, work.done) for work in works]
    gathered.codes += [NOT_PROVED for work in works if _not_proved(work.ended)]
    outcome = gathered.outcome()
    return outcome, told, _report(works, outcome)


def _both_paths(work: Work, looked: Callable[[Rotation], None]) -> tuple[list[Rotation], Interrupted | None]:
    stop = work.stop
    done: dict[str, Rotation] = {}

    def waited(rotations: Sequence[Rotation]) -> Interrupted | None:
        # Where it rests is told even if somebody stops the waiting.
        rested, stopped = draining.wait(work.runner, work.ports.clock, stop, rotations, looked)
        done.update((one.id, one) for one in rested)
        return stopped

    try:
        latest = work.past().latest
        if latest is None or not latest.half:
            stopped = waited(work.begin(anew=latest is None or latest.ended))
            latest = work.past().latest
        else:
            stopped = None
        if stopped is None and latest is not None and latest.half:
            stop.check()
            stopped = waited(work.leak())
    except Interrupted as error:
        stopped = error
    work.note_end()
    return list(done.values()), stopped


def _not_proved(one: Rehearsed | None) -> bool:
    return one is not None and one.ended and not one.succeeded and one.latest.exit_code == 0


def _report(works: Sequence[Work], outcome: Outcome) -> Report | None:
    targets = [
        Target(work.rehearsal, one.emergency)
        for work in works
        for one in outcome.rotations
        if one.policy == work.rehearsal.name and one.emergency is not None
    ]
    return report(targets, outcome) if targets else None


# --- for `run` and `serve` --------------------------------------------------------------------------


@dataclass(frozen=True)
class Advanced:
    """What one pass over one policy's rehearsal did."""

    outcome: Outcome
    ended: Rehearsed | None = None


def advance(
    runner: Runner,
    ports: Ports,
    policy: Policy,
    next_cron: NextCron,
    stop: Stop,
    *,
    may_begin: Callable[[Policy], bool] = lambda _: True,
) -> Advanced:
    """Takes up what is open, begins what is due, as far as it goes without waiting for a drain.

    `may_begin` is asked with the rehearsal before one that is due begins. Raises JournalUnavailable, Interrupted.
    """
    return _advance(_for_advance(runner, ports, policy, stop), next_cron, may_begin)


def _for_advance(runner: Runner, ports: Ports, policy: Policy, stop: Stop) -> Work:
    return Work(
        runner, ports, policy, "begun before", stop, partial(log.info, "%s: %s", rehearsal_name(policy.name))
    )


def _advance(work: Work, next_cron: NextCron, may_begin: Callable[[Policy], bool]) -> Advanced:
    gathered, ports, stop = Gathered(), work.ports, work.stop
    taken_up = False
    for rotation in open_rotations(ports.journal, work.rehearsal):
        gathered.take(work.rehearsal.name, attempted(partial(work.resume, rotation)))
        taken_up = True
    stop.check()
    latest = work.past().latest
    if latest is None or latest.ended:
        held = work.rehearsal.name in ports.journal.holds()
        now = decision(work.rehearsal, work.past(), next_cron, ports.clock.now(), held=held)
        if now.due and not taken_up and may_begin(work.rehearsal):
            work.reason = now.reason
            gathered.take(work.rehearsal.name, attempted(partial(work.begin, anew=True)))
            latest, taken_up = work.past().latest, True
    if latest is not None and latest.half and (taken_up or _left_alone(ports, latest)):
        stop.check()
        gathered.take(work.rehearsal.name, attempted(work.leak))
    work.note_end()
    if work.ended is not None and _not_proved(work.ended):
        gathered.codes.append(NOT_PROVED)
    return Advanced(gathered.outcome(), work.ended)


def _left_alone(ports: Ports, half: Rehearsed) -> bool:
    return (ports.clock.now() - half.ended_at).total_seconds() >= HANDOVER


def run_due(
    runner: Runner, ports: Ports, policies: Iterable[Policy], next_cron: NextCron, stop: Stop, into: Gathered
) -> None:
    """The rehearsals of one `run`, after everything else: their outcome is added to `into`."""
    works = [_for_advance(runner, ports, policy, stop) for policy in policies if policy.rehearsal is not None]
    for name, result in _apart(works, lambda work: _advance(work, next_cron, lambda _: True)):
        if isinstance(result, RotatorError):
            into.fail(name, result)
            continue
        into.rotations += result.outcome.rotations
        into.errors += result.outcome.errors
        into.notes += result.outcome.notes
        into.codes += result.outcome.codes
