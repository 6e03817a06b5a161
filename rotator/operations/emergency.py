"""An emergency over several policies: what is asked for, how it is carried out, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from rotator.clock import Instant, rfc3339
from rotator.engine.runner import Runner
from rotator.engine.states import overlaps
from rotator.errors import InvalidInput, RotatorError, exit_code_of
from rotator.model import Bounds, Emergency, Order, Policy, Rotation, Slot, State, Trigger
from rotator.operations.outcome import Outcome
from rotator.operations.several import side_by_side
from rotator.secret import Secret


@dataclass(frozen=True)
class Target:
    """One policy that an emergency strikes, and how."""

    policy: Policy
    emergency: Emergency
    leaked: bool = False
    """Its token was handed in, and is presented until it is refused."""
    dead: bool = False
    """The leaked token is dead already and readers hold it: the rotation repairs that."""


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


# --- doing it -------------------------------------------------------------------------------------


def carry_out(
    runner: Runner,
    targets: Sequence[Target],
    reason: str,
    *,
    leaked: Secret | None,
    ended: Callable[[str, Sequence[Rotation] | RotatorError], None],
) -> Outcome:
    """Rotates all of them side by side, in their order. `ended` hears of each that came to its rest."""

    def job(target: Target) -> list[Rotation]:
        name = target.policy.name
        try:
            done = runner.rotate(
                target.policy,
                Trigger.EMERGENCY,
                reason,
                emergency=target.emergency,
                leaked=leaked if target.leaked else None,
            )
        except RotatorError as error:
            ended(name, error)
            raise
        ended(name, done)
        return done

    rotations: list[Rotation] = []
    errors: list[tuple[str, RotatorError]] = []
    for name, result in side_by_side({one.policy.name: partial(job, one) for one in targets}):
        if isinstance(result, RotatorError):
            errors.append((name, result))
        else:
            # One closed because a newer one took its place tells nothing of its own.
            rotations += [one for one in result if not (one.state is State.FAILED and one.exit_code == 0)]
    codes = [*(one.exit_code for one in rotations), *(exit_code_of(error) for _, error in errors)]
    return Outcome(tuple(rotations), tuple(errors), codes=tuple(codes))


# --- what became of it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What an emergency came to."""

    reported_at: datetime
    targets: tuple[Target, ...]
    rotations: Mapping[str, Rotation]
    """The one that tells the fate of each policy's leaked token, by policy."""
    not_done: tuple[tuple[str, str], ...]
    """Policies whose leaked token is not known to be dead, and why."""

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


def report(reported: Instant, targets: Sequence[Target], outcome: Outcome) -> Report:
    """The report over the rotations as they are now."""
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
        if best is None or not _is_dead(best):
            not_done.append((name, _why_not(best, errors.get(name))))
    return Report(reported.wall, tuple(targets), told, tuple(not_done))


def _is_dead(rotation: Rotation) -> bool:
    return rotation.old_token_dead is True


def _why_not(rotation: Rotation | None, error: RotatorError | None) -> str:
    if error is not None:
        return error.happened
    if rotation is None:
        return "nothing was begun"
    if rotation.message:
        return rotation.message
    return "the token is still alive" if rotation.old_token_dead is False else f"it is {rotation.state.value}"
