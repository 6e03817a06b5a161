"""`doctor --prepare-standby`: makes the standby project like the main one, change by change, on the record.

Tokens are never touched. No rotation of the policy runs meanwhile, because both projects are leased.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from rotator.audit.base import Audit, AuditEvent
from rotator.clock import Clock
from rotator.engine.leasing import Leasing
from rotator.errors import (
    AuditUnavailable,
    Interrupted,
    LeaseLost,
    Refused,
    RotatorError,
    UnclearOutcome,
    combine_exit_codes,
    exit_code_of,
)
from rotator.journal.base import Journal
from rotator.model import Trigger
from rotator.operations.standby_changes import Change
from rotator.operations.standby_plan import LEFT, Plan
from rotator.provider.base import Preparer


@dataclass(frozen=True)
class Made:
    """What became of one change."""

    change: Change
    outcome: str
    """done, failed, unclear or not-tried."""


@dataclass(frozen=True)
class Prepared:
    """What became of a plan."""

    made: tuple[Made, ...]
    errors: tuple[RotatorError, ...]
    left: Plan | None
    """The comparison afterwards; None where an error came before it."""

    @property
    def exit_code(self) -> int:
        codes = [exit_code_of(error) for error in self.errors]
        return combine_exit_codes(codes) if codes else self.left.exit_code if self.left else LEFT


@dataclass(frozen=True)
class Record:
    """Where changes are told before and after they are made."""

    audit: Audit
    clock: Clock
    by: str
    unwritten: Callable[[AuditEvent, datetime], None]
    """Takes the outcome that the audit log would not."""

    def intent(self, plan: Plan, change: Change, written: Mapping[str, Any]) -> None:
        """Raises AuditUnavailable: then the change is not made."""
        self.audit.record(self._event("standby.prepare.intent", plan, change, {"writes": dict(written)}))

    def outcome(self, plan: Plan, change: Change, error: RotatorError | None) -> None:
        """Raises AuditUnavailable after it handed the event on."""
        result = {"ok": error is None, **({"error": error.code} if error else {})}
        event, at = self._event("standby.prepare.outcome", plan, change, result), self.clock.now()
        try:
            self.audit.record(event, at=at)
        except AuditUnavailable:
            self.unwritten(event, at)
            raise

    def _event(self, name: str, plan: Plan, change: Change, data: Mapping[str, Any]) -> AuditEvent:
        told = {"by": self.by, "change": change.kind, "subject": change.subject, "now": change.now, **data}
        return AuditEvent(name, plan.policy, plan.standby, trigger=Trigger.MANUAL.value, data=told)


def apply(
    plan: Plan,
    preparer: Preparer,
    record: Record,
    journal: Journal,
    leasing: Leasing,
    again: Callable[[], Plan],
    tell: Callable[[str], None],
) -> Prepared:
    """Makes the changes of a plan one after the other. `again` makes the plan anew, before and after.

    A change that is refused keeps no other one back; every other error ends it, and repeating the command goes
    on from there. Raises, before anything was changed, Refused where the plan holds no more, what `again`
    raises, and Busy, JournalUnavailable or Interrupted as the lease does.
    """
    made: list[Made] = []
    errors: list[RotatorError] = []
    with leasing.lease(tuple(sorted((plan.project, plan.standby)))) as lease:
        if again().changes != plan.changes:
            raise Refused(
                "The projects, or what readers hold, changed since the plan was made",
                then="Nothing was changed",
                remedy="Repeat the command: it compares them anew",
            )
        for change in plan.changes:
            outcome, error = "not-tried", None
            if all(isinstance(one, Refused) for one in errors):
                fence = partial(journal.check, lease)
                outcome, error = _make(plan, change, preparer, record, fence)
                tell(f"{change.text}: {outcome}")
            if error is not None:
                errors.append(error)
            made.append(Made(change, outcome))
        left = None
        if not errors:
            try:
                left = again()
            except RotatorError as error:
                errors.append(error)
    return Prepared(tuple(made), tuple(errors), left)


def _make(
    plan: Plan, change: Change, preparer: Preparer, record: Record, fence: Callable[[], None]
) -> tuple[str, RotatorError | None]:
    announced = False

    def announce(written: Mapping[str, Any]) -> None:
        nonlocal announced
        record.intent(plan, change, written)
        announced = True

    error: RotatorError | None = None
    outcome = "done"
    try:
        fence()
        change.make(preparer, plan.standby, announce)
    except (Interrupted, LeaseLost) as caught:
        error, outcome = caught, "not-tried"
    except UnclearOutcome as caught:
        error, outcome = caught, "unclear"
    except RotatorError as caught:
        error, outcome = caught, "failed"
    if announced:
        try:
            record.outcome(plan, change, error)
        except AuditUnavailable as unwritten:
            error = error or unwritten
    return outcome, error
