"""Carries one rotation through its steps until it rests: lease, journal, act, journal.

The same code for every trigger, for a new rotation and for one that another process began.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from rotator.audit.base import AuditEvent
from rotator.destinations.base import Destination
from rotator.engine.context import Context, Observer, Progress, StepResult, Timings
from rotator.engine.leasing import Leasing
from rotator.engine.ledger import Ledger
from rotator.engine.ports import Ports
from rotator.engine.resting import attention_of, in_view_of, token_known_dead, unexpected
from rotator.engine.states import CLOSE, PREFLIGHT, PROVE_DEAD, past_no_return, step_after, steps_of
from rotator.engine.steps import STEPS
from rotator.engine.sync import sync
from rotator.errors import (
    AuditUnavailable,
    Busy,
    Held,
    Interrupted,
    InvalidInput,
    LeaseLost,
    Refused,
    RotatorError,
    exit_code_of,
    sentences,
)
from rotator.interrupt import Stop
from rotator.journal.base import Holder, Lease
from rotator.model import Policy, Rotation, State, StepOutcome, StepRecord, Synced, Trigger

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
        self._stop = stop
        self._observer = observer
        self._unwritten = unwritten
        """Gets audit events that no log took, when the process would otherwise forget them."""
        self._leasing = Leasing(ports.journal, holder, ports.clock, stop, ttl=timings.lease)

    def rotate(
        self,
        policy: Policy,
        trigger: Trigger,
        reason: str,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[Rotation]:
        """Finishes what is unfinished for this policy, then rotates it unless that just happened.

        `wanted` is asked once the lease is ours: whoever held it before may have rotated meanwhile.
        Raises Held, Busy, JournalUnavailable, Interrupted (before anything was begun), and as `wanted`.
        """
        steps_of(policy.strategy)
        self._check_hold(policy.name, trigger)
        with self._leasing.lease(policy.projects) as lease:
            done: list[Rotation] = []
            # Newest first: an older one has less left to do once a newer one has minted.
            for unfinished in reversed(self._ports.journal.unfinished(policy.project)):
                done.append(self._finish(unfinished, lease))
                if done[-1].state is State.RUNNING:
                    return done  # stopped, or the lease is gone
                if not unfinished.minted and not self._stuck_elsewhere(done[-1], policy):
                    return done  # it minted just now, or tried to: a further mint would serve nobody
            if not wanted():
                return done
            begun = self._carry(self._begin(policy, trigger, reason), policy, lease)
            if not begun.minted or begun.state is State.RUNNING:
                return [*done, begun]
            return [*(self._make_way(one, lease) if one.unfinished else one for one in done), begun]

    def resume(self, rotation: Rotation) -> Rotation:
        """Takes up a rotation that some process left unfinished. Raises as `rotate` does; Held only for
        one that has not minted."""
        policy = self._ports.from_snapshot(rotation.snapshot)
        with self._leasing.lease(policy.projects) as lease:
            present = self._ports.journal.rotation(rotation.id)
            if present is None or not present.unfinished:
                return present or rotation  # somebody else finished it while we waited for the lease
            if not past_no_return(present):
                self._check_hold(present.policy, present.trigger)
            return self._finish(present, lease)

    def sync(self, policy: Policy, trigger: Trigger, reason: str, *, adopt: bool = False) -> Synced:
        """Brings destinations that differ into line with the authoritative one, as `engine.sync` tells; never
        mints.

        Raises Held, Busy (also where an unfinished rotation that has not minted comes first),
        JournalUnavailable, Interrupted, and as `engine.sync.sync`.
        """
        self._check_hold(policy.name, trigger)
        with self._leasing.lease(policy.projects) as lease:
            if any(not one.minted for one in self._ports.journal.unfinished(policy.project)):
                raise Busy(
                    f"A rotation of {policy.name} is unfinished and comes first",
                    then="Its destinations were left as they are",
                    remedy="`rotator run` takes it up",
                )
            begun = self._begin(policy, trigger, reason)
            carrier = replace(begun, id=f"sync-{begun.id}", step="")
            return sync(self._ports, self._context(carrier, policy, lease), adopt=adopt)

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
            step=steps_of(policy.strategy)[0].name,
        )

    def _finish(self, rotation: Rotation, lease: Lease) -> Rotation:
        # By the token, not by the time: the wall clock may have been set back in between.
        recent = self._ports.journal.rotations(rotation.policy, limit=_LOOKED_BACK)
        ours = rotation.new_fingerprint if rotation.minted else None
        if ours and any(other.minted and other.old_fingerprint == ours for other in recent):
            rotation = self._supersede(rotation, lease)
            if not rotation.unfinished:
                return rotation
        policy = self._ports.from_snapshot(rotation.snapshot)
        # What was proved before an interruption may no longer hold: nothing was sent, so prove it again.
        step = rotation.step if past_no_return(rotation) else steps_of(rotation.strategy)[0].name
        rotation = replace(
            rotation, state=State.RUNNING, step=step, finished_at=None, exit_code=0, message=""
        )
        return self._carry(rotation, policy, lease, resumed=True)

    def _supersede(self, rotation: Rotation, lease: Lease) -> Rotation:
        """A newer rotation has replaced the token of this one. That *its* old one is dead is still to be
        proved, if that was not done."""
        journal = self._ports.journal
        unproved = rotation.minted and bool(rotation.old_fingerprint) and not rotation.old_token_dead
        if unproved and rotation.step in (PROVE_DEAD.name, CLOSE.name):
            return rotation
        message = f"{rotation.message} A newer rotation took its place.".strip()
        rotation = replace(
            rotation,
            step=PROVE_DEAD.name if unproved else "",
            state=rotation.state if unproved else State.FAILED,
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

    def _carry(self, rotation: Rotation, policy: Policy, lease: Lease, *, resumed: bool = False) -> Rotation:
        context = self._context(rotation, policy, lease)
        context.ledger.forgiving = resumed and past_no_return(rotation)
        try:
            context.save()
            context.audit(
                "rotation.resume" if resumed else "rotation.start",
                step=rotation.step,
                reason=rotation.reason,
                strategy=rotation.strategy,
                destinations=list(context.destinations),
            )
            while self._one_step(context):
                pass
        except Interrupted as error:
            self._interrupted(context, error)
        except LeaseLost as error:
            # The record is somebody else's now: nothing may be written down by us.
            context.change(message=str(error), exit_code=error.exit_code)
            context.say(str(error))
            self._audit_leftovers(context)
            return context.rotation
        except RotatorError as error:
            self._rest(context, error)
        except Exception as error:
            log.exception("unexpected error in rotation %s", rotation.id)
            self._rest(context, unexpected(error))
        self._write_leftovers(context)
        return context.rotation

    def _context(self, rotation: Rotation, policy: Policy, lease: Lease) -> Context:
        destinations: dict[str, Destination] = {
            spec.ref: self._ports.destination(spec) for spec in policy.destinations
        }
        return Context(
            policy=policy,
            rotation=rotation,
            provider=self._ports.provider,
            destinations=destinations,
            verifiers=tuple(self._ports.verifier(spec) for spec in policy.verify),
            limiter=self._ports.limiter,
            fingerprints=self._ports.fingerprints,
            ledger=Ledger(self._ports.journal, self._ports.audit, lease, self._ports.clock),
            clock=self._ports.clock,
            timings=self._timings,
            stop=self._stop,
            observer=self._observer,
        )

    def _one_step(self, context: Context) -> bool:
        """False when the rotation rests: closing may leave a step for a later command to take up."""
        context.stop.check()
        context.ledger.check_lease()
        name = context.rotation.step
        started, began = context.clock.now(), context.clock.boot()
        strategy = context.rotation.strategy

        def record(outcome: StepOutcome, detail: str) -> None:
            step = StepRecord(name, started, round(context.clock.boot() - began, 3), outcome, detail)
            context.change(steps=(*context.rotation.steps, step))

        try:
            result: StepResult = STEPS[name](context)
        except LeaseLost:
            raise
        except RotatorError as error:
            unclear = isinstance(error, Interrupted) or error.code == "unclear"
            record(StepOutcome.UNCLEAR if unclear else StepOutcome.FAILED, error.happened)
            raise
        record(result.outcome, result.detail)
        if name == CLOSE.name:
            context.save()
            context.say(context.rotation.message or context.rotation.state)
            return False
        context.save(step=result.go_to or step_after(strategy, name))
        if result.go_to == PREFLIGHT.name:
            # It turned out that nothing was changed, so a hold counts again.
            self._check_hold(context.policy.name, context.rotation.trigger)
        return True

    def _interrupted(self, context: Context, error: Interrupted) -> None:
        context.ledger.forgiving = True
        context.change(message=str(error), exit_code=exit_code_of(error))
        if token_known_dead(context.rotation):
            context.ledger.attend(
                context.rotation,
                "token-dead",
                "Stopped by a signal after the old token died and before a new one was stored",
                "Readers hold a dead token; `rotator run` mints again",
            )
        context.audit("rotation.interrupt", step=context.rotation.step, signal=error.signal_number)
        context.save()
        context.say(str(error))

    def _rest(self, context: Context, error: RotatorError) -> None:
        """Ends the rotation for now: given up where nothing was changed, kept open where something was."""
        rotation = context.rotation
        context.ledger.forgiving = True
        forward_only = past_no_return(rotation)
        code = error.code
        error = in_view_of(rotation, error)
        attention = attention_of(error, rotation)
        if attention is not None:
            state = State.NEEDS_ATTENTION
        elif isinstance(error, Refused | InvalidInput):
            state = State.REFUSED
        else:
            state = State.FAILED
        context.change(
            state=state,
            step=rotation.step if forward_only else "",
            finished_at=context.clock.now(),
            message=" ".join([*context.notes, str(error)]),
            exit_code=4 if attention else exit_code_of(error),
        )
        if attention is not None:
            context.ledger.attend(
                context.rotation,
                attention,
                error.happened,
                sentences(error.then, error.remedy),
            )
        context.audit("rotation.rest", state=state, step=rotation.step, error=code, message=str(error))
        context.save()
        context.say(str(error))

    def _audit_leftovers(self, context: Context) -> None:
        """What the audit log did not take, when the journal is not ours to write any more."""
        try:
            context.ledger.flush_audit()
        except AuditUnavailable as error:
            log.warning("audit not written: %s", error)
            for event, at in context.ledger.spooled():
                self._unwritten(event, at)

    def _write_leftovers(self, context: Context) -> None:
        """What could not be written down is tried once more, then said out loud."""
        missing = context.ledger.unwritten()
        if not missing:
            return
        for event, at in context.ledger.spooled():
            self._unwritten(event, at)
        message = f"The {' and the '.join(missing)} could not be written; the events stand on standard error."
        if past_no_return(context.rotation):
            context.change(
                state=State.NEEDS_ATTENTION,
                exit_code=4,
                step=context.rotation.step or CLOSE.name,
                message=f"{context.rotation.message} {message}".strip(),
            )
            try:
                # The record before the attention, which would stand for ever without a step to clear it.
                context.ledger.save(context.rotation)
                context.attend("audit", message, "Free space or permissions for it, then `rotator run`")
            except RotatorError as error:
                log.warning("not journaled: %s", error)
        self._observer(Progress(context.policy.name, context.rotation.id, context.rotation.step, message))
