"""`rotator stage`."""

from __future__ import annotations

from typing import Annotated

import typer

from rotator.cli import ask, options, pick, waiting
from rotator.cli.session import Session


def stage(
    session: Session,
    policy: Annotated[str, typer.Argument(metavar="POLICY", hidden=True)],
    reason: options.Reason = None,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="return as soon as the former token drains, or is yours to revoke"),
    ] = False,
) -> int:
    """Take a token that a person made.

    For a policy with `strategy: assisted`. Reads the token from standard input (a terminal does not show
    it), stages and verifies it, makes it the current one, drains the former one, and says which to
    revoke in the Lettermint dashboard. Then watches until that one is dead.
    """
    wiring = session.wiring("team_token")
    chosen = pick.one(wiring.policies, policy)
    from rotator.operations import draining  # noqa: PLC0415

    draining.must_be_assisted(chosen)
    token = ask.read_token()
    why = reason or wiring.settings.reason or ""
    return waiting.carry_out(
        session, wiring, lambda: [draining.stage(wiring.runner, chosen, token, why)], wait=not no_wait
    )
