"""Carries one rotation from step to step until it rests: journal, act, journal.

The same code for every strategy, for a new rotation and for one that another process began.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from rotator.audit.base import AuditEvent
from rotator.clock import rfc3339
from rotator.destinations.base import Destination
from rotator.engine.context import Context, Observer, Progress, StepResult, Timings
from rotator.engine.ledger import Ledger
from rotator.engine.overlap_verify import GivenUp
from rotator.engine.ports import Ports
from rotator.engine.resting import attention_of, in_view_of, token_known_dead, unexpected
from rotator.engine.states import (
    CLOSE,
    DRAINS,
    PREFLIGHT,
    ROLLBACK,
    WATCHED,
    can_be_thrown_away,
    changed,
    past_no_return,
    step_after,
    tells_consumers,
)
from rotator.engine.table import function_of
from rotator.errors import (
    Interrupted,
    InvalidInput,
    JournalUnavailable,
    LeaseLost,
    Refused,
    RotatorError,
    exit_code_of,
    sentences,
)
from rotator.interrupt import Stop
from rotator.journal.base import Lease
from rotator.model import Policy, Rotation, State, StepOutcome, StepRecord, Trigger
from rotator.secret import Secret

log = logging.getLogger(__name__)

_RECENT = 10
"""Rotations of a policy among which the emergency that took its lease is looked for."""


class Carrier:
    """Carries rotations, one per call. Safe to use from several threads."""

    def __init__(
        self,
        ports: Ports,
        timings: Timings,
        stop: Stop,
        observer: Observer,
        unwritten: Callable[[AuditEvent, datetime], None],
        check_hold: Callable[[str, Trigger], None],
    ) -> None:
        self._ports = ports
        self._timings = timings
        self._stop = stop
        self._observer = observer
        self._unwritten = unwritten
        """Gets audit events that no log takes, at once: the process may end before one does."""
        self._check_hold = check_hold

    def carry(
        self,
        rotation: Rotation,
        policy: Policy,
        lease: Lease,
        *,
        resumed: bool = False,
        token: Secret | None = None,
        old: Secret | None = None,
    ) -> Rotation:
        """Ends when the rotation rests, for whatever reason; never raises a RotatorError. The lease is held.
        `token` is one that a person handed in, `old` the leaked one."""
        context = self.context(rotation, policy, lease)
        context.new = token
        context.old = old
        context.resumed = resumed
        context.ledger.audit_optional = rotation.urgent
        context.ledger.forgiving = resumed and past_no_return(rotation)
        try:
            self._carry(context, resumed=resumed)
        except LeaseLost as error:
            # The record is somebody else's now: nothing may be written down by us.
            message = f"{error}{self._taken_by_emergency(rotation)}"
            context.change(message=message, exit_code=error.exit_code)
            context.say(message)
            context.ledger.leave_audit()
            return context.rotation
        self._write_leftovers(context)
        return context.rotation

    def _carry(self, context: Context, *, resumed: bool) -> None:
        """As `carry`, but raises LeaseLost: also where it shows while something else is written down."""
        try:
            context.save()
            urgency = self._urgency(context)
            # A drain is looked at every minute for days: what a look finds is audited, not that one looked.
            context.looked_again = resumed and context.rotation.step in WATCHED
            if not context.looked_again or urgency:
                context.audit(
                    "rotation.resume" if resumed else "rotation.start",
                    step=context.rotation.step,
                    reason=context.rotation.reason,
                    strategy=context.rotation.strategy,
                    owner=context.policy.owner,
                    destinations=list(context.destinations),
                    **urgency,
                )
            while self._one_step_or_back(context):
                pass
        except Interrupted as error:
            self._interrupted(context, error)
        except LeaseLost:
            raise
        except RotatorError as error:
            self._rest(context, error)
        except Exception as error:
            log.exception("unexpected error in rotation %s", context.rotation.id)
            self._rest(context, unexpected(error))

    def context(self, rotation: Rotation, policy: Policy, lease: Lease) -> Context:
        """What the steps of a rotation get to work with."""
        destinations: dict[str, Destination] = {
            spec.ref: self._ports.destination(spec) for spec in policy.destinations
        }
        return Context(
            bridge=self._ports.destination(policy.standby_token) if policy.standby_token else None,
            policy=policy,
            rotation=rotation,
            provider=self._ports.provider,
            destinations=destinations,
            verifiers=tuple(self._ports.verifier(spec) for spec in policy.verify),
            consumers=tuple((entry, self._ports.consumer(entry)) for entry in policy.consumers)
            if tells_consumers(rotation)
            else (),
            limiter=self._ports.limiter,
            fingerprints=self._ports.fingerprints,
            ledger=Ledger(self._ports.journal, self._ports.audit, lease, self._ports.clock, self._unwritten),
            clock=self._ports.clock,
            timings=self._timings,
            stop=self._stop,
            observer=self._observer,
        )

    def _one_step_or_back(self, context: Context) -> bool:
        """As `_one_step`; what fails while it can still be thrown away, or does not do, is undone."""
        try:
            return self._one_step(context)
        except (Interrupted, LeaseLost):
            raise
        except RotatorError as error:
            if not (can_be_thrown_away(context.rotation) or isinstance(error, GivenUp)):
                raise
            context.say(f"{error.happened}; undoing what was begun")
            context.audit("rotation.abandon", step=context.rotation.step, error=error.code)
            # What follows is told when it has happened: only what was wrong, and the remedy, are kept.
            context.save(abandoned=sentences(error.happened, error.remedy), step=ROLLBACK.name)
            return True

    def _one_step(self, context: Context) -> bool:
        """False when the rotation rests: closing may leave a step for a later command to take up."""
        context.stop.check()
        context.ledger.check_lease()
        name = context.rotation.step
        started, began = context.clock.now(), context.clock.boot()

        def record(outcome: StepOutcome, detail: str) -> None:
            step = StepRecord(name, started, round(context.clock.boot() - began, 3), outcome, detail)
            steps = context.rotation.steps
            if steps and steps[-1].name == name and name in WATCHED:
                # A drain is looked at every minute for days: one record that begins with the first look.
                step = replace(
                    step, at=steps[-1].at, seconds=round((started - steps[-1].at).total_seconds(), 3)
                )
                steps = steps[:-1]
            context.change(steps=(*steps, step))

        try:
            result: StepResult = function_of(context.rotation.form, name)(context)
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
        if result.rest:
            self._rest_here(context, result)
            return False
        context.save(step=result.go_to or step_after(context.rotation, name))
        if result.go_to == PREFLIGHT.name:
            # It turned out that nothing was changed, so a hold counts again.
            urgent = context.rotation.urgent
            self._check_hold(context.policy.name, Trigger.EMERGENCY if urgent else context.rotation.trigger)
        return True

    def _taken_by_emergency(self, rotation: Rotation) -> str:
        """Why the lease was lost, where the journal tells: one that has ended does not name its holder."""
        if rotation.urgent:
            return ""
        try:
            recent = self._ports.journal.rotations(rotation.policy, limit=_RECENT)
        except JournalUnavailable:
            return ""
        for one in recent:
            if one.urgent and (one.id == rotation.id or one.started_at >= rotation.started_at):
                return f" It was an emergency that took over: see rotation {one.id}."
        return ""

    def _urgency(self, context: Context) -> dict[str, object]:
        """What an emergency overrode and was asked for, for the audit; a hold is told to people too."""
        emergency = context.rotation.emergency
        if not context.rotation.urgent:
            return {}
        hold = self._ports.journal.holds().get(context.policy.name)
        if hold is not None:
            context.notes.append(
                f"{context.policy.name} is held since {hold.since:%Y-%m-%d %H:%M} UTC by {hold.by}; "
                "the emergency went ahead."
            )
        asked = (
            {
                "slot": emergency.slot,
                "order": emergency.order,
                "drain": emergency.drain,
                "kill_only": emergency.kill_only,
                "reported": rfc3339(emergency.reported.wall),
            }
            if emergency is not None
            else {}
        )
        return {"overrode_hold": hold is not None, **asked}

    def _rest_here(self, context: Context, result: StepResult) -> None:
        """A drain that waits, or something that only a person or another look can end."""
        raised = bool(context.ledger.raised)
        given_up = context.rotation.abandoned
        # Whoever gives it up is told that it has failed, and once more at its end; a look in between only waits.
        failed = bool(given_up) and not context.rotation.urgent and not context.looked_again
        context.change(
            state=State.NEEDS_ATTENTION if raised else State.DRAINING,
            step=result.go_to or context.rotation.step,
            finished_at=context.clock.now() if raised else None,
            exit_code=4 if raised else int(failed),
            message=" ".join(context.notes) if raised else _after_why(given_up, result.detail),
        )
        context.save()
        context.say(result.detail)

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
        if rotation.step in DRAINS and error.retryable:
            self._could_not_look(context, error)
            return
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
            step=rotation.step if forward_only or changed(rotation) else "",
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

    def _could_not_look(self, context: Context, error: RotatorError) -> None:
        """A drain waits anyway: what is away for now is no reason for an alarm."""
        context.change(
            state=State.DRAINING,
            message=_after_why(context.rotation.abandoned, str(error)),
            exit_code=exit_code_of(error),
        )
        context.save()
        context.say(str(error))

    def _write_leftovers(self, context: Context) -> None:
        """What could not be written down is tried once more, then said out loud."""
        missing = context.ledger.unwritten()
        if not missing:
            return
        message = f"The {' and the '.join(missing)} could not be written; the events stand on standard error."
        urgent = context.rotation.urgent
        if urgent and not changed(context.rotation):
            context.change(exit_code=4, message=f"{context.rotation.message} {message}".strip())
        elif urgent or past_no_return(context.rotation):
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


def _after_why(abandoned: str, text: str) -> str:
    """What a resting rotation waits for, after the sentences that say why it was given up, where it was."""
    return f"{abandoned} {text[:1].upper()}{text[1:]}" if abandoned else text
