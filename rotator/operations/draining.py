"""What people do to a rotation that drains: wait for it, end it, go back, hand a token in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from rotator.clock import Clock, Instant
from rotator.engine.drain import next_look
from rotator.engine.recovery import open_of
from rotator.engine.runner import Runner
from rotator.engine.states import REVOKE, overlaps
from rotator.errors import Busy, Held, Interrupted, JournalUnavailable, Refused, Unreachable
from rotator.interrupt import Stop
from rotator.journal.base import Journal
from rotator.model import Form, Policy, Rotation, State
from rotator.secret import Secret

_A_MOMENT: Final = 0.05
"""Seconds after the end of a drain at which one look is sure to find it ended."""


def open_rotation(journal: Journal, policy: Policy) -> Rotation | None:
    """The unfinished rotation of a policy with an overlap, wherever it stands."""
    return next((one for one in reversed(open_of(journal, policy)) if overlaps(one)), None)


def waits(rotation: Rotation) -> bool:
    """Whether looking again later may bring it on."""
    return rotation.unfinished and (rotation.state is State.DRAINING or asks_for_revocation(rotation))


def asks_for_revocation(rotation: Rotation) -> bool:
    """Whether it waits for a person to revoke the outgoing token (`assisted`)."""
    return rotation.step == REVOKE.name and rotation.state is State.NEEDS_ATTENTION


def wait(
    runner: Runner,
    clock: Clock,
    stop: Stop,
    rotations: Iterable[Rotation],
    show: Callable[[Rotation], None],
) -> tuple[list[Rotation], Interrupted | None]:
    """Looks at resting rotations until none waits any more, or until somebody interrupts it, which is harmless.

    `show` gets what a look changed.
    """
    current = {rotation.id: rotation for rotation in rotations}
    try:
        while waiting := [one for one in current.values() if waits(one)]:
            clock.wait(min(_pause(one, clock) for one in waiting), stop.requested)
            stop.check()
            for one in waiting:
                current[one.id] = _looked(runner, one)
                if (current[one.id].state, current[one.id].message) != (one.state, one.message):
                    show(current[one.id])
    except Interrupted as error:
        return list(current.values()), error
    return list(current.values()), None


def _pause(rotation: Rotation, clock: Clock) -> float:
    """Seconds until the next look: not later than the moment at which the drain may take no longer."""
    often = next_look(rotation)
    if rotation.drain is None:
        return often
    left = rotation.drain.max_seconds - rotation.drain.since.seconds_until(Instant.read(clock))
    return min(often, left + _A_MOMENT) if left > 0 else often


def _looked(runner: Runner, rotation: Rotation) -> Rotation:
    """The rotation after one more look; what cannot be looked at now is looked at later."""
    try:
        return runner.resume(rotation)
    except (Busy, Held, Unreachable, JournalUnavailable) as error:
        return replace(rotation, message=error.happened)


def retire(runner: Runner, journal: Journal, policy: Policy, *, force: bool) -> Rotation:
    """Ends a drain now. Raises Refused where there is none, or the token is still in use and `force` is not
    given; else as `Runner.resume`."""
    rotation = open_rotation(journal, policy)
    if rotation is None or rotation.drain is None:
        raise Refused(
            f"{policy.name} does not drain",
            then="Nothing was changed",
            remedy=f"`rotator status {policy.name}` says where it stands",
        )
    return runner.end_drain(rotation, force=force)


def rollback(runner: Runner, journal: Journal, policy: Policy, reason: str) -> Rotation:
    """Promotes the outgoing token again. Raises Refused where it is retired or nothing is open."""
    # Promoted everywhere, in some places only, or nowhere yet: what is to be undone is asked of the world.
    rotation = open_rotation(journal, policy)
    if rotation is None:
        raise Refused(
            f"{policy.name} has no outgoing token to go back to",
            then="Nothing was changed",
            remedy=f"`rotator history {policy.name}` shows its rotations; a retired token cannot come back",
        )
    return runner.roll_back(rotation, reason)


def stage(runner: Runner, policy: Policy, token: Secret, reason: str) -> Rotation:
    """Takes a token that a person made. Raises Refused for a policy of another strategy; else as `Runner.take`."""
    must_be_assisted(policy)
    return runner.take(policy, token, reason)


def must_be_assisted(policy: Policy) -> None:
    """Raises Refused for a policy that makes its tokens itself."""
    if policy.form is not Form.ASSISTED:
        raise Refused(
            f"{policy.name} has the strategy {policy.strategy}, which makes its tokens itself",
            then="Nothing was changed",
            remedy=f"`rotator rotate {policy.name}` rotates it; `strategy: assisted` is for hand-made tokens",
        )
