"""What a leaked token asks for while a rotation of its policy may be open: which are joined, given up or begun.

An emergency is a trigger, not a second code path: everything here ends in the steps of a strategy.

Invariants:
- a mint whose call may still be executed is finished before another one of its project is sent;
- the leaked token dies as soon as its order allows, whatever is open;
- every destination ends with a living token, or the policy says that it needs attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rotator.clock import Instant
from rotator.engine.drain import forced
from rotator.engine.states import (
    AWAIT,
    BRIDGE,
    CLOSE,
    DRAIN_BRIDGE,
    KILL,
    PREFLIGHT,
    REPLACE_STAGE,
    ROLLBACK,
    only_awaits_consumers,
    overlaps,
    past_no_return,
)
from rotator.errors import Refused
from rotator.model import Emergency, Form, Order, Policy, Rotation, Slot, State


@dataclass(frozen=True)
class Desk:
    """What the runner does for it, under the lease."""

    opened: Callable[[], list[Rotation]]
    """The policy's unfinished rotations, newest first, as they stand now."""
    begin: Callable[[Form, str, Emergency], Rotation]
    """A new rotation of this list of steps, carried from this step until it rests."""
    finish: Callable[[Rotation], Rotation]
    """Goes on with an open one until it rests."""
    latest: Callable[[], Rotation | None]
    """The policy's newest rotation, whatever its state."""
    held: Callable[[], str | None]
    """Fingerprint of what readers of the authoritative destination hold; None where that cannot be read."""


def respond(desk: Desk, policy: Policy, emergency: Emergency) -> list[Rotation]:
    """Carries out what the slot asks for. Raises Refused where nothing of that slot is left."""
    if emergency.kill_only:
        return [desk.begin(Form.IN_PLACE, KILL.name, emergency)]
    if emergency.slot is Slot.OUTGOING:
        return _outgoing(desk, policy, emergency)
    if emergency.slot is Slot.STAGED:
        return _staged(desk, policy, emergency)
    if emergency.slot is Slot.BRIDGE:
        return _bridge(desk, emergency)
    return _active(desk, policy, emergency)


def in_flight(opened: list[Rotation], now: Instant, longest: float) -> float:
    """Seconds until no call that a rotation announced can be executed any more, `longest` at most."""
    left = 0.0
    for one in opened:
        for intent, answered in ((one.intent, one.minted), (one.retiring, one.retired)):
            if intent is not None and not answered:
                left = max(left, min(now.seconds_until(intent.deadline), longest))
    return left


def _active(desk: Desk, policy: Policy, emergency: Emergency) -> list[Rotation]:
    done: list[Rotation] = []
    later: list[Rotation] = []
    replace_first = emergency.order is Order.REPLACE_FIRST and policy.form is not Form.ASSISTED
    for one in desk.opened():
        if only_awaits_consumers(one):
            later.append(one)
        elif _unanswered(one):
            # Its call may still be executed: whatever becomes of it, the leaked token dies with it.
            ended = desk.finish(replace(one, emergency=emergency))
            done.append(ended)
            if ended.minted or ended.unfinished:
                return done
        elif _on_bridge(desk, one):
            return [*done, *_bridge(desk, replace(emergency, slot=Slot.BRIDGE))]
        elif not (overlaps(one) and replace_first):
            later.append(one)
        elif one.abandoned or past_no_return(one) or (one.form is Form.BRIDGE and one.minted):
            former = one.emergency
            if former is None or not former.own:
                former = replace(emergency, slot=Slot.OUTGOING, passing=True)
            done.append(desk.finish(_hurried(one, replace(former, drain=0.0))))
            if done[-1].unfinished:
                return done
        elif one.promoted is None:
            return [*done, desk.finish(replace(one, emergency=emergency))]
        else:
            # Its outgoing token lives and many still hold it: nothing replaces the leaked one sooner.
            own = replace(emergency, own=True)
            return [*done, desk.finish(_given_up(one, own, "The token it promoted has leaked."))]
    form = policy.form if replace_first else Form.IN_PLACE
    begun = desk.begin(form, PREFLIGHT.name, emergency)
    if begun.minted and later:
        # They catch up with the token that readers hold now.
        done += [desk.finish(one) for one in later]
    return [*done, begun]


def _outgoing(desk: Desk, policy: Policy, emergency: Emergency) -> list[Rotation]:
    for one in desk.opened():
        leaves = (
            one.returned is not None if one.abandoned else one.promoted is not None or past_no_return(one)
        )
        if overlaps(one) and leaves:
            return [desk.finish(_hurried(one, replace(emergency, drain=0.0, own=bool(one.abandoned))))]
    if any(overlaps(one) and not one.abandoned for one in desk.opened()):
        # Nothing was promoted yet, so what is on its way out is what readers hold.
        return _active(desk, policy, replace(emergency, slot=Slot.ACTIVE))
    latest = desk.latest()
    if latest is not None and latest.old_token_dead:
        return [latest]
    raise Refused(
        f"No rotation of {policy.name} is open, so no outgoing token waits for its end",
        then="Nothing was changed",
        remedy=f"`rotator status {policy.name}` says where it stands",
    )


def _staged(desk: Desk, policy: Policy, emergency: Emergency) -> list[Rotation]:
    for one in desk.opened():
        if not overlaps(one):
            continue
        if one.form is Form.BRIDGE and past_no_return(one) and one.step != CLOSE.name:
            if _on_bridge(desk, one):
                return [desk.finish(_minted_anew(one, emergency))]
        elif one.abandoned:
            return [desk.finish(replace(one, emergency=replace(emergency, own=True)))]
        elif one.promoted is None:
            own = replace(emergency, own=True)
            return [desk.finish(_given_up(one, own, "The token it staged has leaked."))]
        return _active(desk, policy, replace(emergency, slot=Slot.ACTIVE))
    raise Refused(
        f"No rotation of {policy.name} is open, so none has a token staged",
        then="Nothing was changed",
        remedy=f"`rotator status {policy.name}` says where it stands",
    )


def _bridge(desk: Desk, emergency: Emergency) -> list[Rotation]:
    """Readers leave it if they stand on it; then a person has to revoke it."""
    done: list[Rotation] = []
    for one in desk.opened():
        if one.form is not Form.BRIDGE:
            continue
        if one.abandoned or _on_bridge(desk, one) or past_no_return(one) or one.step == CLOSE.name:
            return [desk.finish(_hurried(one, replace(emergency, drain=0.0)))]
        # Nobody stands on it yet, and nobody may any more.
        done.append(desk.finish(_given_up(one, emergency, "The bridge token has leaked.")))
        if done[-1].unfinished:
            return done
    return [*done, desk.begin(Form.BRIDGE, CLOSE.name, emergency)]


def _unanswered(one: Rotation) -> bool:
    """Whether a mint that kills what readers hold, or held, was announced and not answered."""
    return one.form in (Form.IN_PLACE, Form.BRIDGE) and one.intent is not None and not one.minted


def _on_bridge(desk: Desk, one: Rotation) -> bool:
    """Whether readers have the bridge token by now; in doubt the store is asked."""
    if one.form is not Form.BRIDGE or one.abandoned or one.step in (PREFLIGHT.name, ""):
        return False
    if one.step == BRIDGE.name:
        return one.bridge_fingerprint is not None and desk.held() == one.bridge_fingerprint
    return one.promoted is not None and one.step not in (DRAIN_BRIDGE.name, AWAIT.name, CLOSE.name)


def _hurried(one: Rotation, emergency: Emergency) -> Rotation:
    """The same rotation without any waiting for consumers."""
    return replace(one, emergency=emergency, drain=forced(one.drain))


def _given_up(one: Rotation, emergency: Emergency, why: str) -> Rotation:
    return replace(one, emergency=emergency, abandoned=why, step=ROLLBACK.name)


def _minted_anew(one: Rotation, emergency: Emergency) -> Rotation:
    """Readers stand on the bridge: a further mint kills the staged token and nothing that anybody uses."""
    assert one.intent is not None
    known = one.intent.known_fingerprints
    if one.new_fingerprint:
        known = (*known, one.new_fingerprint)
    return replace(
        one,
        emergency=emergency,
        minted=False,
        intent=replace(one.intent, known_fingerprints=known),
        step=REPLACE_STAGE.name,
    )


def caught_up(rotation: Rotation, recent: list[Rotation]) -> Rotation:
    """The same rotation after emergencies that killed first have replaced a token which it goes by."""
    if not overlaps(rotation):
        return rotation
    for newer in reversed(recent):
        if not newer.minted or overlaps(newer) or newer.old_fingerprint is None:
            continue
        if newer.old_fingerprint == rotation.new_fingerprint and not rotation.abandoned:
            # Readers were on its new token already, and are on the one that took its place.
            rotation = replace(
                rotation,
                new_fingerprint=newer.new_fingerprint,
                promoted=(newer.served or rotation.promoted) if rotation.promoted is not None else None,
            )
        elif newer.old_fingerprint == rotation.new_fingerprint:
            # What it was to give up was dead already; a further mint would kill what readers hold.
            rotation = replace(
                rotation,
                state=State.FAILED,
                step="",
                exit_code=0,
                message=f"{rotation.message} An emergency took its place.".strip(),
            )
        elif (
            newer.old_fingerprint == rotation.old_fingerprint
            and rotation.promoted is None
            and not past_no_return(rotation)
            and not rotation.abandoned
        ):
            rotation = replace(
                rotation,
                abandoned=f"Emergency {newer.id} replaced the token that readers held.",
                step=ROLLBACK.name,
            )
    return rotation
