"""`rotator retire`."""

from __future__ import annotations

from typing import Annotated

import typer

from rotator.cli import pick, waiting
from rotator.cli.session import Session


def retire(
    session: Session,
    policy: Annotated[str, typer.Argument(metavar="POLICY", hidden=True)],
    force: Annotated[bool, typer.Option("--force", help="although the token may still be in use")] = False,
) -> int:
    """End a drain now.

    Without waiting for its shortest time. Refused (exit 1) while the token that consumers are to leave
    was used within `drain.quiet`, unless --force is given: consumers that still use it then fail.
    """
    wiring = session.wiring("team_token")
    chosen = pick.one(wiring.policies, policy)
    from rotator.operations import draining  # noqa: PLC0415

    return waiting.carry_out(
        session,
        wiring,
        lambda: [draining.retire(wiring.runner, wiring.journal, chosen, force=force)],
        wait=False,
    )
