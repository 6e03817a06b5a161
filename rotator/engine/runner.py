"""What is done for a policy under its lease: finish what is open, begin, join, end a drain, go back.

The same code for every trigger; `carrier` takes each rotation through its steps.
One module because all of it stands between the lease and the record.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime

from rotator.audit.base import AuditEvent
from rotator.clock import Instant
from rotator.engine.carrier import Carrier
from rotator.engine.context import Observer, Timings
from rotator.engine.drain import refuse_if_used
from rotator.engine.emergency import Desk, caught_up, in_flight, respond
from rotator.engine.leasing import Leasing
from rotator.engine.ports import Ports
from rotator.engine.recovery import open_of
from rotator.engine.sides import last_incoming
from rotator.engine.states import (
    CLOSE,
    DRAINS,
    PROMOTE,
    PROVE_DEAD,
    ROLLBACK,
    VERIFY_STAGED,
    changed,
    only_awaits_consumers,
    overlaps,
    past_no_return,
    steps_of,
)
from rotator.engine.sync import sync
from rotator.errors import (
    Busy,
    Held,
    Refused,
    RotatorError,
)
from rotator.interrupt import Stop
from rotator.journal.base import Holder, KnownToken, Lease
from rotator.model import (
    CanaryCount,
    DrainResult,
    Emergency,
    Form,
    Policy,
    Rotation,
    State,
    Synced,
    Trigger,
)
from rotator.secret import Secret

log = logging.getLogger(__name__)

_LOOKED_BACK = 50
"""Rotations of a policy among which one that took another's place is looked for."""


class Runner:
    """Runs rotations, one per call. Safe to use from several threads."""

    def __init__(
        self,
        ports: Ports,
        holder: Holder,
        timings: Timings,
        stop: Stop,
        observer: Observer,
        unwritten: Callable[[AuditEvent, datetime], None],
    ) -> None:
        self._ports = ports
        self._holder = holder
        self._timings = timings
        self._carrier = Carrier(ports, timings, stop, observer, unwritten, self._check_hold)
        self._leasing = Leasing(ports.journal, holder, ports.clock, stop, ttl=timings.lease)

    def rotate(
        self,
        policy: Policy,
        trigger: Trigger,
        reason: str,
        *,
        wanted: Callable[[], bool] = lambda: True,
        emergency: Emergency | None = None,
        leaked: Secret | None = None,
    ) -> list[Rotation]:
        """Finishes what is unfinished for this policy, then rotates it unless that just happened.

        `wanted` is asked once the lease is ours: whoever held it before may have rotated meanwhile.
        With an `emergency` the lease is taken from whoever has it, and `engine.emergency` tells what is done;
        `leaked` is the token itself where somebody has it, and is kept in memory only. A rehearsed emergency takes
        the lease from nobody, gives way to a hold, and is `wanted` like any other rotation.
        Raises Held, Busy, JournalUnavailable, Interrupted (before anything was begun), and as `wanted`.
        """
        if emergency is not None:
            return self._respond(policy, trigger, reason, emergency, leaked, wanted)
        self._check_hold(policy.name, trigger)
        with self._leasing.lease(policy.projects) as lease:
            done: list[Rotation] = []
            # Newest first: an older one has less left to do once a newer one has minted.
            for unfinished in reversed(open_of(self._ports.journal, policy)):
                done.append(self._finish(unfinished, lease))
                if done[-1].state is State.RUNNING:
                    return done  # stopped, or the lease is gone
                if only_awaits_consumers(done[-1]):
                    continue
                if overlaps(unfinished):
                    if unfinished.abandoned and not done[-1].unfinished:
                        continue
                    return done  # the open one is joined, whether it rests in its drain or has just ended
                if not unfinished.minted and not self._stuck_elsewhere(done[-1], policy):
                    return done  # it minted just now, or tried to: a further mint would serve nobody
            if not wanted():
                return done
            if policy.form is Form.ASSISTED:
                raise _made_by_a_person(policy)
            begun = self._carrier.carry(self._begin(policy, trigger, reason), policy, lease)
            if not begun.minted or begun.abandoned or begun.state is State.RUNNING:
                return [*done, begun]
            return [*(self._make_way(one, lease) if one.unfinished else one for one in done), begun]

    def _respond(
        self,
        policy: Policy,
        trigger: Trigger,
        reason: str,
        emergency: Emergency,
        leaked: Secret | None,
        wanted: Callable[[], bool],
    ) -> list[Rotation]:
        rehearsed = trigger is Trigger.REHEARSAL
        if rehearsed:
            self._check_hold(policy.name, trigger)
        journal, clock, timings = self._ports.journal, self._ports.clock, self._timings
        fingerprints = self._ports.fingerprints

        def flying() -> float:
            opened = open_of(journal, policy)
            return in_flight(opened, Instant.read(clock), timings.call + timings.settle)

        with self._leasing.lease(policy.projects, in_flight=None if rehearsed else flying) as lease:
            if not wanted():
                return []

            def begin(form: Form, step: str, emergency: Emergency) -> Rotation:
                incoming = last_incoming(journal, policy) if emergency.kill_only else None
                begun = self._begin(policy, trigger, reason)
                begun = replace(begun, form=form, step=step, emergency=emergency, incoming=incoming)
                old = leaked if emergency.kill_only else None
                return self._carrier.carry(begun, policy, lease, old=old)

            def finish(rotation: Rotation) -> Rotation:
                what = fingerprints.of(leaked) if leaked is not None else None
                old = leaked if what == rotation.old_fingerprint else None
                new = leaked if what == rotation.new_fingerprint else None
                return self._finish(rotation, lease, old, new)

            def held() -> str | None:
                try:
                    token = self._ports.destination(policy.authoritative).read().value_if_token
                except RotatorError as error:
                    log.warning("what readers hold could not be read: %s", error)
                    return None
                return fingerprints.of(token) if token is not None else None

            return respond(
                Desk(
                    opened=lambda: list(reversed(open_of(journal, policy))),
                    begin=begin,
                    finish=finish,
                    latest=lambda: next(iter(journal.rotations(policy.name, limit=1)), None),
                    held=held,
                ),
                policy,
                emergency,
            )

    def enrol(self, policy: Policy, trigger: Trigger, reason: str, *, caller: str) -> str:
        """Writes down that a rotation was asked for, for whoever takes up what is unfinished. Returns its id; that
        of the open one, where there is one. `caller` is who asked, for the audit trail.

        Raises Refused (`assisted`), Held, Busy, JournalUnavailable, AuditUnavailable; nothing was begun then.
        """
        if policy.form is Form.ASSISTED:
            raise _made_by_a_person(policy)
        self._check_hold(policy.name, trigger)
        if opened := open_of(self._ports.journal, policy):
            return opened[-1].id
        with self._leasing.lease(policy.projects) as lease:
            if opened := open_of(self._ports.journal, policy):
                return opened[-1].id
            begun = self._begin(policy, trigger, reason)
            self._audit_order("rotation.request", begun, caller=caller, reason=reason)
            self._ports.journal.save(lease, begun)
            return begun.id

    def resume(self, rotation: Rotation) -> Rotation:
        """Takes up a rotation that some process left unfinished. Raises as `rotate` does; Held only for
        one that has not minted."""
        policy = self._ports.from_snapshot(rotation.snapshot)
        with self._leasing.lease(policy.projects) as lease:
            present = self._ports.journal.rotation(rotation.id)
            if present is None or not present.unfinished:
                return present or rotation  # somebody else finished it while we waited for the lease
            if not (past_no_return(present) or present.urgent):
                self._check_hold(present.policy, present.trigger)
            return self._finish(present, lease)

    def take(self, policy: Policy, token: Secret, reason: str) -> Rotation:
        """Rotates to a token that a person made (`assisted`). Raises as `rotate`, and Refused while another
        rotation of the policy is open."""
        self._check_hold(policy.name, Trigger.MANUAL)
        with self._leasing.lease(policy.projects) as lease:
            if unfinished := open_of(self._ports.journal, policy):
                raise Refused(
                    f"Rotation {unfinished[-1].id} of {policy.name} is open: {unfinished[-1].state}",
                    then="The token that was handed in was not used",
                    remedy=f"`rotator run` goes on with it, `rotator rollback {policy.name}` goes back",
                )
            return self._carrier.carry(
                self._begin(policy, Trigger.MANUAL, reason), policy, lease, token=token
            )

    def adopt(self, policy: Policy, token: Secret, project: str) -> None:
        """Writes down that a token belongs to a project, on a person's word. Raises as `rotate`."""
        fingerprint = self._ports.fingerprints.of(token)
        with self._leasing.lease(policy.projects) as lease:
            self._ports.audit.record(
                AuditEvent("token.adopt", policy.name, project, data={"fingerprint": fingerprint})
            )
            self._ports.journal.remember_token(
                lease,
                KnownToken(fingerprint, project, policy.name, None, "adopted", self._ports.clock.now()),
            )
            self._ports.journal.note_active(policy.name, project, self._ports.clock.now())

    def end_drain(self, rotation: Rotation, *, force: bool) -> Rotation:
        """Ends a drain now. Raises Held, and Refused where its token is still in use, or nothing tells whether it is,
        and `force` is not given."""
        policy = self._ports.from_snapshot(rotation.snapshot)
        self._check_hold(policy.name, Trigger.MANUAL)
        with self._leasing.lease(policy.projects) as lease:
            present = self._still_draining(rotation)
            assert present.drain is not None
            if not force:
                look = self._finish(present, lease)
                if look.state is not State.DRAINING or look.drain is None:
                    return look
                present = look
                refuse_if_used(present, Instant.read(self._ports.clock))
            assert present.drain is not None
            self._audit_order("drain.retire", present, force=force)
            ended = replace(present, drain=replace(present.drain, result=DrainResult.FORCED))
            self._ports.journal.save(lease, ended)
            return self._finish(ended, lease)

    def roll_back(self, rotation: Rotation, reason: str) -> Rotation:
        """Promotes the outgoing token again and gives the rotation up. Raises Refused once it is retired."""
        policy = self._ports.from_snapshot(rotation.snapshot)
        with self._leasing.lease(policy.projects) as lease:
            present = self._ports.journal.rotation(rotation.id)
            if present is None or not present.unfinished or past_no_return(present):
                raise Refused(
                    f"Rotation {rotation.id} cannot be taken back: its outgoing token is dead, or about to be",
                    then="Nothing was changed",
                    remedy=f"`{policy.renewal}` makes another token",
                )
            if present.abandoned:
                look = self._finish(present, lease)
                return replace(look, exit_code=look.exit_code or 1)  # as it was told the first time
            self._audit_order("rotation.rollback", present, reason=reason)
            given_up = replace(
                present,
                abandoned=f"Rolled back by a person{f': {reason}' if reason else ''}.",
                step=ROLLBACK.name,
            )
            self._ports.journal.save(lease, given_up)
            return self._finish(given_up, lease)

    def _audit_order(self, event: str, rotation: Rotation, **data: str | bool) -> None:
        """A person's word, written down before it is carried out; no audit, no deed."""
        self._ports.audit.record(
            AuditEvent(event, rotation.policy, rotation.project, rotation.id, rotation.trigger, data)
        )

    def _still_draining(self, rotation: Rotation) -> Rotation:
        present = self._ports.journal.rotation(rotation.id)
        if present is None or present.drain is None or present.step not in DRAINS:
            raise Refused(
                f"Rotation {rotation.id} does not drain any more",
                then="Nothing was changed",
                remedy=f"`rotator status {rotation.policy}` says where it stands",
            )
        return present

    def sync(self, policy: Policy, trigger: Trigger, reason: str, *, adopt: bool = False) -> Synced:
        """Brings destinations that differ into line with the authoritative one, as `engine.sync` tells; never
        mints.

        Raises Held, Busy (also where an unfinished rotation that has not minted comes first),
        JournalUnavailable, Interrupted, and as `engine.sync.sync`.
        """
        self._check_hold(policy.name, trigger)
        with self._leasing.lease(policy.projects) as lease:
            if any(not one.minted for one in open_of(self._ports.journal, policy)):
                raise Busy(
                    f"A rotation of {policy.name} is unfinished and comes first",
                    then="Its destinations were left as they are",
                    remedy="`rotator run` takes it up",
                )
            begun = self._begin(policy, trigger, reason)
            carrier = replace(begun, id=f"sync-{begun.id}", step="")
            return sync(self._ports, self._carrier.context(carrier, policy, lease), adopt=adopt)

    def _check_hold(self, name: str, trigger: Trigger) -> None:
        hold = self._ports.journal.holds().get(name)
        if hold is not None and trigger is not Trigger.EMERGENCY:
            raise Held(
                f"{name} is held since {hold.since:%Y-%m-%d %H:%M} UTC by {hold.by}"
                + (f" ({hold.reason})" if hold.reason else ""),
                then="Nothing was changed",
                remedy=f"`rotator release {name}` unfreezes it",
            )

    # one rotation

    def _begin(self, policy: Policy, trigger: Trigger, reason: str) -> Rotation:
        now = self._ports.clock.now()
        return Rotation(
            id=f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
            policy=policy.name,
            project=policy.project,
            strategy=policy.strategy,
            trigger=trigger,
            state=State.RUNNING,
            started_at=now,
            snapshot=policy.snapshot,
            actor=self._holder.label,
            reason=reason,
            step=steps_of(policy)[0].name,
            form=policy.form,
        )

    def _finish(
        self, rotation: Rotation, lease: Lease, old: Secret | None = None, new: Secret | None = None
    ) -> Rotation:
        # By the token, not by the time: the wall clock may have been set back in between.
        recent = self._ports.journal.rotations(rotation.policy, limit=_LOOKED_BACK)
        replaceable = not overlaps(rotation) or only_awaits_consumers(rotation)
        held = rotation.old_fingerprint if rotation.abandoned else rotation.new_fingerprint
        ours = held if rotation.minted and replaceable else None
        if ours and any(
            other.minted and not other.abandoned and other.old_fingerprint == ours for other in recent
        ):
            rotation = self._supersede(rotation, lease)
            if not rotation.unfinished:
                return rotation
        rotation = caught_up(rotation, recent)
        if not rotation.unfinished:
            self._ports.journal.save(lease, rotation)
            return rotation
        policy = self._ports.from_snapshot(rotation.snapshot)
        # What was proved before an interruption may no longer hold: nothing was sent, so prove it again.
        step = rotation.step if changed(rotation) else steps_of(rotation)[0].name
        if step == PROMOTE.name:
            step = VERIFY_STAGED.name
        rotation = replace(
            rotation, state=State.RUNNING, step=step, finished_at=None, exit_code=0, message=""
        )
        return self._carrier.carry(rotation, policy, lease, resumed=True, token=new, old=old)

    def _supersede(self, rotation: Rotation, lease: Lease) -> Rotation:
        """A newer rotation has replaced the token of this one. That *its* old one is dead is still to be
        proved, if that was not done."""
        journal = self._ports.journal
        proves = rotation.minted and not rotation.abandoned
        unproved = proves and bool(rotation.old_fingerprint) and not rotation.old_token_dead
        if unproved and rotation.step in (PROVE_DEAD.name, CLOSE.name):
            return rotation
        only_consumers = only_awaits_consumers(rotation)
        why = (
            "A newer token was made before every consumer had this one."
            if only_consumers
            else "A newer rotation took its place."
        )
        message = f"{rotation.message} {why}".strip()
        ended = State.COMPLETED if only_consumers and not rotation.abandoned else State.FAILED
        rotation = replace(
            rotation,
            step=PROVE_DEAD.name if unproved else "",
            state=rotation.state if unproved else ended,
            # What became of it is told by the newer one.
            exit_code=0,
            finished_at=rotation.finished_at or self._ports.clock.now(),
            message=message,
        )
        journal.save(lease, rotation)
        kept = ("old-token-alive", "unclear") if unproved else ()
        gone = tuple(
            entry.code
            for entry in journal.attentions(rotation.policy)
            if entry.rotation == rotation.id and entry.code not in kept
        )
        journal.clear_attention(rotation.policy, gone, lease)
        return rotation

    def _make_way(self, rotation: Rotation, lease: Lease) -> Rotation:
        """After a newer one has minted: does what is left, unless that was just tried."""
        left = self._supersede(rotation, lease)
        return self._finish(left, lease) if left.unfinished and left.step != rotation.step else left

    def _stuck_elsewhere(self, tried: Rotation, policy: Policy) -> bool:
        """Whether a rotation could not be finished in the places it began with, and the policy names others
        now. Its call cannot be in flight any more: the trying has waited for the deadline."""
        return (
            tried.unfinished
            and not tried.minted
            and self._ports.from_snapshot(tried.snapshot).destinations != policy.destinations
        )

    # what was seen from outside

    def note_canary(self, rotation: Rotation, count: CanaryCount) -> Rotation:
        """Adds to a rotation's record what a canary saw while it ran; an earlier flight's count is kept in it.

        Returns the rotation as it was handed in, with the sum. Raises Busy, JournalUnavailable,
        AuditUnavailable, Interrupted.
        """
        policy = self._ports.from_snapshot(rotation.snapshot)
        with self._leasing.lease(policy.projects) as lease:
            # Somebody may have gone on with it since: only this one field is ours.
            present = self._ports.journal.rotation(rotation.id) or rotation
            total = _together(present.canary, count)
            self._ports.journal.save(lease, replace(present, canary=total))
            self._ports.audit.record(
                AuditEvent(
                    "rotation.canary",
                    policy=rotation.policy,
                    project=rotation.project,
                    rotation=rotation.id,
                    trigger=rotation.trigger.value,
                    data=asdict(count),
                )
            )
        return replace(rotation, canary=total)


def _made_by_a_person(policy: Policy) -> Refused:
    return Refused(
        f"{policy.name} has the strategy assisted: a person makes its token",
        then="Nothing was changed",
        remedy=f"Make one in the Lettermint dashboard, then `rotator stage {policy.name}` takes it",
    )


def _together(former: CanaryCount | None, count: CanaryCount) -> CanaryCount:
    if former is None:
        return count
    return CanaryCount(
        attempts=former.attempts + count.attempts,
        failures=former.failures + count.failures,
        longest_gap=max(former.longest_gap, count.longest_gap),
    )
