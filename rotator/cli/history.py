"""`rotator history`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rotator.cli import pick
from rotator.cli.output import say
from rotator.cli.session import Session
from rotator.errors import InvalidInput, InvalidPolicies
from rotator.rehearsal import policy_of

if TYPE_CHECKING:
    from rotator.journal.base import Journal
    from rotator.wiring import Wiring


def history(
    session: Session,
    policy: Annotated[str | None, typer.Argument(metavar="POLICY", hidden=True)] = None,
    rotation: Annotated[
        str | None, typer.Option("--rotation", metavar="ID", help="one rotation with every step of it")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="show so many, the newest")] = 100,
) -> int:
    """Show rotations, newest first, or one with its steps.

    Rehearsals of a policy are among its rotations, with the trigger `rehearsal`.
    """
    wiring = session.wiring()
    journal = wiring.journal_to_read
    from rotator.cli import tables  # noqa: PLC0415
    from rotator.operations.rehearsals import with_rehearsals_of  # noqa: PLC0415
    from rotator.views import rotations_view  # noqa: PLC0415

    if rotation is not None:
        found = journal.rotation(rotation)
        if found is None or policy not in (None, found.policy, policy_of(found.policy)):
            raise InvalidInput(
                f"There is no rotation {rotation}" + (f" of {policy}" if policy else ""),
                then="Nothing was shown",
                remedy="`rotator history` lists them",
            )
        session.emit(rotations_view([found]), lambda: tables.rotation(found, steps=True))
        return 0
    several = with_rehearsals_of(journal, policy, limit) if policy else journal.rotations(limit=limit)
    if policy is not None and not several:
        _must_exist(wiring, journal, policy)
    session.emit(rotations_view(several), lambda: tables.history(several) if several else "")
    if not several:
        say("No rotation was made yet.")
    elif len(several) == limit:
        say(f"The newest {limit} are shown; --limit shows more.")
    return 0


def _must_exist(wiring: Wiring, journal: Journal, policy: str) -> None:
    """A policy that was taken out of the files still has its history, and broken files hide none."""
    names = {one.policy for one in journal.rotations()}
    try:
        names |= {one.name for one in wiring.policies}
    except InvalidPolicies:
        say("warning: The policy files cannot be read; `rotator validate` says why.")
    if policy not in names:
        raise pick.unknown(policy, names)
