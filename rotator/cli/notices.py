"""Tells the notifiers of policies what a command has done, before it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rotator.cli.session import Session
    from rotator.wiring import Wiring

SECONDS: Final = 10.0
"""What a command gives to it at most; what is not told by then waits in the journal for the next."""


def tell(session: Session, wiring: Wiring) -> None:
    """Never raises, and never changes how the command ends."""
    if any(policy.notify for policy in wiring.policies):
        wiring.notifications.tell(wiring.policies, session.stop, seconds=SECONDS)
