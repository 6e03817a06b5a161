"""What the HTTP port needs of the daemon behind it."""

from __future__ import annotations

from typing import Protocol

from rotator.model import Rotation
from rotator.views import PolicyStatus


class Board(Protocol):
    """The daemon, as HTTP sees it. Safe to use from several threads at once.

    No method reaches the network, except through a journal that is a server. All but `ready` raise JournalUnavailable.
    """

    def ready(self) -> tuple[str, ...]:
        """Why no work can be done now, one sentence each; empty when ready. Never touches the network."""
        ...

    def statuses(self) -> list[PolicyStatus]:
        """Where every policy stands, in the order of the policies."""
        ...

    def status(self, policy: str) -> PolicyStatus | None:
        """Where one policy stands; None where there is none of that name, nor anything open that it left."""
        ...

    def rotations(self, policy: str | None, limit: int, *, rehearsals: bool = True) -> list[Rotation]:
        """Newest first, at most `limit`; of all policies when `policy` is None. `rehearsals`: a policy's rehearsals
        are among them."""
        ...

    def request(self, policy: str, reason: str, caller: str) -> str:
        """Has the policy rotated soon, due or not, and returns at once with the rotation's id.

        `caller` is the address that asked, for the audit trail. Raises InvalidInput for an unknown policy,
        Held, Busy, Refused, JournalUnavailable and AuditUnavailable; after any of them nothing was begun.
        """
        ...
