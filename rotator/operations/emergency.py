"""An emergency over several policies: what is asked for, how it is carried out, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from rotator.clock import Clock, rfc3339
from rotator.engine.runner import Runner
from rotator.engine.states import overlaps
from rotator.errors import Interrupted, InvalidInput, RotatorError, exit_code_of
from rotator.interrupt import Stop
from rotator.journal.base import Journal
from rotator.model import Bounds, Emergency, Order, Policy, Rotation, Slot, Trigger
from rotator.operations import draining
from rotator.operations.outcome import Gathered, Outcome
from rotator.operations.several import SIDE_BY_SIDE, side_by_side
from rotator.provider.base import PingAnswer, Provider
from rotator.secret import Secret

STILL_WORKS: Final = (
    "the token that was handed in still works: rotate-token does not reach it. Revoke it in the Lettermint "
    "dashboard, in the API tokens of the project"
)


@dataclass(frozen=True)
class Target:
    """One policy that an emergency strikes, and how."""

    policy: Policy
    emergency: Emergency
    leaked: bool = False
    """Its token was handed in, and is presented until it is refused."""
    dead: bool = False
    """The leaked token is dead already and readers hold it: the rotation repairs that."""
    joins: Rotation | None = None
    """An interrupted emergency for the same token, which goes on instead of another one beginning."""


def order_for(
    policy: Policy, wanted: Order | None, slot: Slot = Slot.ACTIVE, *, kill_only: bool = False
) -> Order:
    """What comes first. Raises InvalidInput where a strategy cannot do what was asked for."""
    if kill_only or slot is Slot.OUTGOING:
        return Order.KILL_FIRST
    possible = overlaps(policy)
    if wanted is Order.REPLACE_FIRST and not possible:
        raise InvalidInput(
            f"{policy.name} cannot replace first: with the strategy {policy.strategy} the old token dies as the "
            "new one is made",
            then="Nothing was changed",
            remedy="Leave --order out: each policy then takes the order that its strategy allows",
        )
    return wanted or (Order.REPLACE_FIRST if possible else Order.KILL_FIRST)


def interrupted(journal: Journal, policy: Policy, leaked: str | None = None) -> Rotation | None:
    """The unfinished emergency of a policy; with the fingerprint of a token only one for that very token."""
    return next(
        (
            one
            for one in journal.unfinished(policy.project)
            if one.policy == policy.name
            and one.emergency is not None
            and leaked in (None, one.leaked_fingerprint)
            and not one.abandoned
        ),
        None,
    )


def going_on(target: Target, former: Rotation, wanted: Order | None) -> Target:
    """The target where an emergency for its token was interrupted: it goes on as it began, unless a person now
    wants the token killed at once."""
    emergency = former.emergency
    if emergency is None or target.emergency.kill_only:
        return target
    if wanted is Order.KILL_FIRST and emergency.order is Order.REPLACE_FIRST:
        if former.promoted is None:
            return target
        now = replace(
            target.emergency, reported=emergency.reported, slot=Slot.OUTGOING, order=Order.KILL_FIRST
        )
        return replace(target, emergency=now)
    return replace(target, emergency=emergency, joins=former)


# --- doing it -------------------------------------------------------------------------------------


_MOST: Final = 64
"""Policies at work at once, at most."""


def carry_out(
    runner: Runner,
    targets: Sequence[Target],
    reason: str,
    *,
    clock: Clock,
    stop: Stop,
    leaked: Secret | None,
    looked: Callable[[Rotation], None],
    ended: Callable[[str, Sequence[Rotation] | RotatorError], None],
) -> Outcome:
    """Rotates all of them side by side, in their order, each to its end and through its short drain.

    `looked` is told of each look at a drain, `ended` of each policy that came to its rest.
    """

    def job(target: Target) -> tuple[list[Rotation], Interrupted | None]:
        name = target.policy.name
        try:
            if target.joins is not None:
                begun = [runner.resume(target.joins)]
            else:
                begun = runner.rotate(
                    target.policy,
                    Trigger.EMERGENCY,
                    reason,
                    emergency=target.emergency,
                    leaked=leaked if target.leaked else None,
                )
            done, stopped = draining.wait(runner, clock, stop, begun, looked)
        except RotatorError as error:
            ended(name, error)
            raise
        ended(name, done)
        return done, stopped

    gathered = Gathered()
    # A token's drain ends by its own time, however long others wait for the rate limit, and keeps none of them off.
    drains = sum(1 for one in targets if one.emergency.order is Order.REPLACE_FIRST)
    jobs = {one.policy.name: partial(job, one) for one in targets}
    for name, result in side_by_side(jobs, at_once=min(SIDE_BY_SIDE + drains, _MOST)):
        if isinstance(result, RotatorError):
            gathered.fail(name, result)
            continue
        done, stopped = result
        gathered.add(done)
        if stopped is not None:
            gathered.codes.append(exit_code_of(stopped))
            gathered.notes = [str(stopped)]
    return gathered.outcome()


# --- what became of it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What an emergency came to."""

    reported_at: datetime
    """The first time that any of these was reported."""
    targets: tuple[Target, ...]
    rotations: Mapping[str, Rotation]
    """The one that tells the fate of each policy's leaked token, by policy."""
    not_done: tuple[tuple[str, str], ...]
    """Policies whose leaked token is not known to be dead, and why."""

    @property
    def exit_code(self) -> int:
        """4 where a token was handed in that still works; what else is not done, the rotations tell."""
        return 4 if STILL_WORKS in dict(self.not_done).values() else 0

    @property
    def all_dead(self) -> bool:
        return not self.not_done

    @property
    def longest_exposure(self) -> Bounds | None:
        measured = [one.exposure for one in self.rotations.values() if one.exposure is not None]
        return max(measured, key=lambda bounds: bounds.max, default=None)

    def view(self) -> dict[str, Any]:
        longest = self.longest_exposure
        return {
            "reported_at": rfc3339(self.reported_at),
            "all_dead": self.all_dead,
            "longest_exposure_seconds": {"min": longest.min, "max": longest.max} if longest else None,
            "not_done": [{"policy": name, "why": why} for name, why in self.not_done],
        }


def still_works(provider: Provider, leaked: Secret) -> bool:
    """Whether a token that was handed in is accepted after everything. Rotations present the token that readers
    held, which it may not have been."""
    try:
        return provider.ping(leaked) is PingAnswer.ALIVE
    except RotatorError:
        return False  # not known to; what the rotation proved stands


def report(targets: Sequence[Target], outcome: Outcome, *, leaked_lives: bool = False) -> Report:
    """The report over the rotations as they are now. `leaked_lives`: the one that was handed in still works."""
    errors = dict(outcome.errors)
    told: dict[str, Rotation] = {}
    not_done = []
    for target in targets:
        name = target.policy.name
        mine = [one for one in outcome.rotations if one.policy == name]
        # The one that this emergency began or joined tells; others were only finished on the way.
        best = next((one for one in reversed(mine) if one.emergency is not None), mine[-1] if mine else None)
        if best is not None:
            told[name] = best
        if target.leaked and leaked_lives:
            not_done.append((name, STILL_WORKS))
        elif best is None or best.leaked_token_dead is not True:
            not_done.append((name, _why_not(best, errors.get(name))))
    reported = min(one.emergency.reported.wall for one in targets)
    return Report(reported, tuple(targets), told, tuple(not_done))


def _why_not(rotation: Rotation | None, error: RotatorError | None) -> str:
    if error is not None:
        return error.happened
    if rotation is None:
        return "nothing was begun"
    if rotation.message:
        return rotation.message
    return (
        "the token is still alive" if rotation.leaked_token_dead is False else f"it is {rotation.state.value}"
    )
