"""Carries one rotation through its steps until it rests: lease, journal, act, journal.

The same code for every trigger, for a new rotation and for one that another process began.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rotator.audit.base import Audit, AuditBroken, AuditEvent
from rotator.clock import Clock
from rotator.destinations.base import Destination, DestinationFactory
from rotator.engine.context import Context, Observer, Progress, StepResult, Timings
from rotator.engine.ledger import Ledger
from rotator.engine.states import CLOSE, VERIFY, past_no_return, step_after, steps_of
from rotator.engine.steps import STEPS
from rotator.errors import (
    Busy,
    EndpointGone,
    Held,
    Interrupted,
    InvalidInput,
    JournalUnavailable,
    LeaseLost,
    NeedsAttention,
    Refused,
    RotatorError,
    exit_code_of,
)
from rotator.interrupt import Stop
from rotator.journal.base import Holder, Journal, Lease
from rotator.model import Policy, Rotation, State, StepOutcome, StepRecord, Trigger, VerifySpec
from rotator.provider.base import Limiter, Provider
from rotator.secret import Fingerprinter
from rotator.verifiers.base import Verifier

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ports:
    """Everything outside that a rotation touches."""

    provider: Provider
    destination: DestinationFactory
    verifier: Callable[[VerifySpec], Verifier]
    limiter: Limiter
    journal: Journal
    audit: Audit
    fingerprints: Fingerprinter
    clock: Clock
    from_snapshot: Callable[[Mapping[str, Any]], Policy]


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

    def rotate(self, policy: Policy, trigger: Trigger, reason: str) -> list[Rotation]:
        """Finishes what is unfinished for this policy, then rotates it unless that just happened.

        Raises Held, Busy, JournalUnavailable, Interrupted (before anything was begun).
        """
        steps_of(policy.strategy)
        hold = self._ports.journal.holds().get(policy.name)
        if hold is not None and trigger is not Trigger.EMERGENCY:
            raise Held(
                f"{policy.name} is held since {hold.since:%Y-%m-%d %H:%M} UTC by {hold.by}"
                + (f" ({hold.reason})" if hold.reason else ""),
                then="Nothing was changed",
                remedy=f"`rotator release {policy.name}` unfreezes it",
            )
        with self._lease(policy.projects) as lease:
            done: list[Rotation] = []
            for unfinished in self._ports.journal.unfinished(policy.project):
                fresh = not unfinished.minted
                done.append(self._finish(unfinished, lease))
                if fresh or done[-1].state is State.RUNNING:
                    # It minted just now, or was stopped: a further mint would serve nobody.
                    return done
                if done[-1].unfinished:
                    self._supersede(done[-1], lease)
            done.append(self._carry(self._begin(policy, trigger, reason), policy, lease))
            return done

    def resume(self, rotation: Rotation) -> Rotation:
        """Takes up a rotation that some process left unfinished. Raises as `rotate` does."""
        policy = self._ports.from_snapshot(rotation.snapshot)
        with self._lease(policy.projects) as lease:
            present = self._ports.journal.rotation(rotation.id)
            if present is None or not present.unfinished:
                return present or rotation  # somebody else finished it while we waited for the lease
            return self._finish(present, lease)

    # the lease

    @contextmanager
    def _lease(self, projects: tuple[str, ...]) -> Iterator[Lease]:
        lease = self._acquire(projects)
        ended = threading.Event()
        beat = threading.Thread(
            target=self._heartbeat, args=(lease, ended), name=f"heartbeat-{projects[0]}", daemon=True
        )
        beat.start()
        try:
            yield lease
        finally:
            ended.set()
            beat.join()
            try:
                self._ports.journal.release(lease)
            except JournalUnavailable as error:
                log.warning("lease not given back, it expires by itself: %s", error)

    def _acquire(self, projects: tuple[str, ...]) -> Lease:
        """Waits for a silent holder's lease, one lease time at most. Raises Busy for one with a heartbeat."""
        journal, clock, ttl = self._ports.journal, self._ports.clock, self._timings.lease
        seen: dict[str, float] = {}
        give_up_at = clock.boot() + ttl + 1
        while True:
            try:
                return journal.acquire(projects, self._holder, ttl=ttl)
            except Busy:
                if clock.boot() > give_up_at:
                    raise
                for project in projects:
                    view = journal.lease_of(project)
                    ends = clock.boot() + (view.expires_in if view else 0)
                    # A heartbeat moves the end by a third of the lease; rounding moves it by less.
                    if ends > seen.setdefault(project, ends) + ttl / 6:
                        raise
            clock.wait(ttl / 15, self._stop.requested)
            self._stop.check()

    def _heartbeat(self, lease: Lease, ended: threading.Event) -> None:
        while not ended.wait(self._timings.lease / 3):
            try:
                self._ports.journal.renew(lease, ttl=self._timings.lease)
            except LeaseLost:
                return  # the next check of the fence tells the rotation
            except JournalUnavailable as error:
                log.warning("heartbeat failed, trying again: %s", error)

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
        policy = self._ports.from_snapshot(rotation.snapshot)
        # What was proved before an interruption may no longer hold: nothing was sent, so prove it again.
        step = rotation.step if past_no_return(rotation) else steps_of(rotation.strategy)[0].name
        rotation = replace(
            rotation, state=State.RUNNING, step=step, finished_at=None, exit_code=0, message=""
        )
        return self._carry(rotation, policy, lease, resumed=True)

    def _supersede(self, rotation: Rotation, lease: Lease) -> None:
        """A newer rotation replaces the token this one still had something to do for."""
        message = f"{rotation.message} Superseded by a newer rotation.".strip()
        self._ports.journal.save(lease, replace(rotation, step="", message=message))

    def _carry(self, rotation: Rotation, policy: Policy, lease: Lease, *, resumed: bool = False) -> Rotation:
        ledger = Ledger(self._ports.journal, self._ports.audit, lease, self._ports.clock)
        destinations: dict[str, Destination] = {
            spec.ref: self._ports.destination(spec) for spec in policy.destinations
        }
        context = Context(
            policy=policy,
            rotation=rotation,
            provider=self._ports.provider,
            destinations=destinations,
            verifiers=tuple(self._ports.verifier(spec) for spec in policy.verify),
            limiter=self._ports.limiter,
            fingerprints=self._ports.fingerprints,
            ledger=ledger,
            clock=self._ports.clock,
            timings=self._timings,
            stop=self._stop,
            observer=self._observer,
        )
        ledger.forgiving = resumed and past_no_return(rotation)
        try:
            context.save()
            context.audit(
                "rotation.resume" if resumed else "rotation.start",
                step=rotation.step,
                reason=rotation.reason,
                strategy=rotation.strategy,
                destinations=list(destinations),
            )
            while self._one_step(context):
                pass
        except Interrupted as error:
            self._interrupted(context, error)
        except LeaseLost as error:
            # The record is somebody else's now: nothing may be written down by us.
            context.change(message=str(error), exit_code=error.exit_code)
            context.say(str(error))
            return context.rotation
        except RotatorError as error:
            self._rest(context, error)
        except Exception as error:
            log.exception("unexpected error in rotation %s", rotation.id)
            self._rest(context, _unexpected(error))
        self._write_leftovers(context)
        return context.rotation

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
        return True

    def _interrupted(self, context: Context, error: Interrupted) -> None:
        context.ledger.forgiving = True
        context.change(message=str(error), exit_code=exit_code_of(error))
        context.audit("rotation.interrupt", step=context.rotation.step, signal=error.signal_number)
        context.save()
        context.say(str(error))

    def _rest(self, context: Context, error: RotatorError) -> None:
        """Ends the rotation for now: given up where nothing was changed, kept open where something was."""
        rotation = context.rotation
        context.ledger.forgiving = True
        forward_only = past_no_return(rotation)
        attention = _attention_of(error, rotation)
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
                " ".join(part for part in (error.then, error.remedy) if part),
            )
        context.audit("rotation.rest", state=state, step=rotation.step, error=error.code, message=str(error))
        context.save()
        context.say(str(error))

    def _write_leftovers(self, context: Context) -> None:
        """What could not be written down is tried once more, then said out loud."""
        missing = context.ledger.unwritten()
        if not missing:
            return
        for event, at in context.ledger.spooled():
            self._unwritten(event, at)
        message = f"The {' and the '.join(missing)} could not be written; the events stand on standard error."
        if past_no_return(context.rotation):
            context.attend("audit", message, "Free space or permissions for it, then `rotator run`")
            context.ledger.unwritten()
            context.change(
                state=State.NEEDS_ATTENTION,
                exit_code=4,
                step=context.rotation.step or CLOSE.name,
                message=f"{context.rotation.message} {message}".strip(),
            )
            try:
                context.ledger.save(context.rotation)
                context.ledger.unwritten()
            except RotatorError as error:
                log.warning("not journaled: %s", error)
        self._observer(Progress(context.policy.name, context.rotation.id, context.rotation.step, message))


def _attention_of(error: RotatorError, rotation: Rotation) -> str | None:
    """The attention code of an error that a person must look at; None where nothing was changed."""
    if isinstance(error, NeedsAttention):
        return error.attention
    if isinstance(error, EndpointGone):
        return "endpoint-gone"
    if isinstance(error, AuditBroken):
        return "audit"
    if rotation.minted:
        return "verification-failed" if rotation.step == VERIFY.name else "unclear"
    return "token-dead" if past_no_return(rotation) else None


def _unexpected(error: Exception) -> RotatorError:
    # The text of an unexpected error may quote anything; its type is enough, the log has the traceback.
    return RotatorError(
        f"An unexpected {type(error).__name__} stopped the rotation",
        then="What was begun is in the journal; the log has the traceback",
        remedy="Please report it; `rotator run` takes the rotation up again",
    )
