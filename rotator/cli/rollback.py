"""`rotator rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from rotator.cli import options, pick, waiting
from rotator.cli.session import Session


def rollback(
    session: Session,
    policy: Annotated[str, typer.Argument(metavar="POLICY", hidden=True)],
    reason: options.Reason = None,
) -> int:
    """Promote the outgoing token again.

    Possible until it is retired. Readers get back the token they had at once, and the open rotation has
    failed (exit 1). The one that was minted for it drains, and dies when nobody uses it any more.
    """
    wiring = session.wiring("team_token")
    chosen = pick.one(wiring.policies, policy)
    from rotator.operations import draining  # noqa: PLC0415

    why = reason or wiring.settings.reason or ""
    return waiting.carry_out(
        session,
        wiring,
        lambda: [draining.rollback(wiring.runner, wiring.journal, chosen, why)],
        wait=False,
    )
