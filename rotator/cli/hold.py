"""`rotator hold` and `rotator release`."""

from __future__ import annotations

from typing import Annotated

import typer

from rotator.cli import pick
from rotator.cli.output import clean
from rotator.cli.session import Session


def hold(
    session: Session,
    policy: Annotated[str, typer.Argument(metavar="POLICY", hidden=True)],
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="shown to whoever meets it")
    ] = None,
) -> int:
    """Freeze a policy until it is released.

    No command but an emergency starts a rotation of it; one that is past its mint still finishes.
    """
    wiring = session.wiring()
    chosen = pick.one(wiring.policies, policy)
    from rotator.operations import hold as operation  # noqa: PLC0415

    why = reason or wiring.settings.reason or ""
    operation.hold(wiring.journal, wiring.audit, wiring.clock, chosen, by=wiring.person, reason=why)
    _confirm(session, chosen.name, held=True, text="is held")
    return 0


def release(session: Session, policy: Annotated[str, typer.Argument(metavar="POLICY", hidden=True)]) -> int:
    """Unfreeze a policy."""
    wiring = session.wiring()
    chosen = pick.one(wiring.policies, policy)
    from rotator.operations import hold as operation  # noqa: PLC0415

    was = operation.release(wiring.journal, wiring.audit, chosen, by=wiring.person)
    _confirm(session, chosen.name, held=False, text="is released" if was else "was not held")
    return 0


def _confirm(session: Session, policy: str, *, held: bool, text: str) -> None:
    session.emit({"policy": policy, "held": held}, lambda: clean(f"{policy} {text}."))
