"""`rotator plan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rotator.cli import pick
from rotator.cli.output import say, say_errors
from rotator.cli.room import waits_for_room
from rotator.cli.session import Session
from rotator.errors import combine_exit_codes, exit_code_of

if TYPE_CHECKING:
    from rotator.model import Policy
    from rotator.operations.plan import Plan
    from rotator.wiring import Wiring


def plan(
    session: Session,
    policies: Annotated[list[str] | None, typer.Argument(metavar="POLICY", hidden=True)] = None,
) -> int:
    """Show what would rotate, when and why.

    For the policies named, or all: whether they are due and where that date comes from, the steps and
    which of them can be undone, the outage to expect, and when the rate limit lets each start and all of
    them end. Changes nothing.
    """
    wiring = session.wiring("team_token")
    chosen = pick.all_or_named(wiring.policies, policies or [])
    return show_plan(session, planned(wiring, chosen, wait=waits_for_room(wiring.clock)))


def planned(
    wiring: Wiring,
    policies: Sequence[Policy],
    *,
    asked_for: bool = False,
    wait: Callable[[float, int], None] | None = None,
) -> Plan:
    """Asks the provider about each policy; makes no journal."""
    from rotator.operations import plan as operation  # noqa: PLC0415
    from rotator.policies.cron import next_after  # noqa: PLC0415

    return operation.plan(
        policies,
        facts=wiring.provider_to_read.project,
        journal=wiring.journal_to_read,
        next_cron=next_after,
        now=wiring.clock.now(),
        rotate_limit=wiring.settings.rotate_limit,
        asked_for=asked_for,
        wait=wait,
    )


def show_plan(session: Session, found: Plan) -> int:
    """The plan on standard output; what could not be found out on standard error."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from rotator.cli import tables  # noqa: PLC0415

    session.emit(found.view(), lambda: tables.plan(found, datetime.now(UTC)))
    if not found.entries:
        say("There are no policies.")
    say_errors((one.policy.name, one.error) for one in found.entries if one.error is not None)
    return combine_exit_codes([exit_code_of(one.error) if one.error else 0 for one in found.entries])
