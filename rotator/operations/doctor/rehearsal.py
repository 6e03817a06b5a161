"""What a policy is rehearsed on: when that last went well, and whether the next one would go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rotator import words
from rotator.clock import Clock
from rotator.errors import RotatorError
from rotator.model import Policy
from rotator.operations.doctor.parts import Records
from rotator.operations.doctor.report import Findings
from rotator.operations.rehearsals import past_of
from rotator.rehearsal import rehearsal_of

NAME = "rehearsal"
"""Of the check; those of its project and its destinations have it before their own."""


def examine_rehearsal(
    policy: Policy,
    records: Records,
    clock: Clock,
    found: Findings,
    examine: Callable[[Policy, Findings], None],
) -> None:
    """`examine` looks at the rehearsal as at any policy."""
    if policy.rehearsal is None:
        found.skipped(
            NAME,
            "It is never rehearsed: the policy has no `rehearsal`, so nothing shows beforehand what an emergency does.",
            "Give the policy the key `rehearsal`, with a project that no policy rotates.",
        )
        return
    rehearsal = rehearsal_of(policy)
    _age(rehearsal, records, clock, found)
    apart = Findings(found.policy)
    try:
        examine(rehearsal, apart)
    finally:
        found.checks += [replace(check, name=f"{NAME}.{check.name}") for check in apart.checks]


def _age(rehearsal: Policy, records: Records, clock: Clock, found: Findings) -> None:
    hint = f"`{rehearsal.renewal}` does it now, for real, and touches nothing of the policy's own."
    try:
        past = past_of(records.journal, rehearsal) if records.journal is not None else None
    except RotatorError as error:
        found.error(NAME, error)
        return
    if past is None or past.latest is None:
        found.warning(NAME, "It was never rehearsed.", hint)
        return
    success, latest = past.success, past.latest
    last = (
        f"It was last rehearsed with success {words.distance(success.ended_at, clock.now())}, "
        f"in {words.seconds(success.seconds)} s"
        if success is not None
        else "It was never rehearsed with success"
    )
    if success == latest:
        found.ok(NAME, f"{last}.")
    else:
        found.warning(NAME, f"{last}; the latest one is {latest.outcome}: {latest.latest.message}", hint)
