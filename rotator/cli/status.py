"""`rotator status`."""

from __future__ import annotations

from typing import Annotated

import typer

from rotator.cli import pick
from rotator.cli.output import say, say_errors
from rotator.cli.room import waits_for_room
from rotator.cli.session import Session
from rotator.errors import combine_exit_codes, exit_code_of
from rotator.rehearsal import policy_of


def status(
    session: Session,
    policies: Annotated[list[str] | None, typer.Argument(metavar="POLICY", hidden=True)] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="ask Lettermint, and compare the destinations, first")
    ] = False,
) -> int:
    """Show where policies stand; exit 4 if one needs attention.

    For the policies named, or all, from the journal alone unless --refresh is given.
    """
    wiring = session.wiring(*(("team_token",) if refresh else ()))
    from rotator.cli import tables  # noqa: PLC0415
    from rotator.operations import status as operation  # noqa: PLC0415
    from rotator.policies.cron import next_after  # noqa: PLC0415
    from rotator.views import status_view  # noqa: PLC0415

    # Of a rehearsal its policy's entry tells.
    chosen = pick.all_or_named(wiring.policies, [policy_of(name) for name in policies or []])
    unknown = operation.refresh(wiring.ports, chosen, waits_for_room(wiring.clock)) if refresh else []
    say_errors(unknown)
    journal = wiring.journal if refresh else wiring.journal_to_read
    found = operation.statuses(journal, wiring.clock, chosen, next_after)
    session.emit(status_view(found), lambda: tables.status(found, wiring.clock.now()) if found else "")
    if not found:
        say("There are no policies.")
    attention = (
        [4] if any(one.attention or (one.rehearsal and one.rehearsal.attention) for one in found) else []
    )
    return combine_exit_codes(attention or [exit_code_of(error) for _, error in unknown])
