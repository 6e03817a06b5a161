"""What a consumer is told when readers get another token, and what can be asked of it afterwards.

Telling is idempotent: the same call has the same id, and a consumer that had it already is not disturbed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

RESTART_ANNOTATION: Final = "rotator/rotation"
"""Of a pod template: changing it makes Kubernetes replace the pods. Its value is the call's id."""
SYNC_ANNOTATION: Final = "force-sync"
"""Of an ExternalSecret: the one that the External Secrets Operator's own documents use."""


@dataclass(frozen=True)
class Call:
    """What a consumer is told: that readers get another token now. Never the token itself."""

    id: str
    """The rotation's id and the beginning of the token's fingerprint: one per token that readers got."""
    rotation: str
    policy: str
    owner: str | None
    fingerprint: str
    at: datetime
    """When every destination served the token: whoever read one later has it."""


@dataclass(frozen=True)
class Standing:
    """How far a consumer that was told has come."""

    done: bool
    detail: str
    """In words: `3 of 4 pods are new`."""
    stuck: bool = False
    """It says itself that it will not come further."""


class Consumer(Protocol):
    """One consumer of a policy. Safe to use from several threads.

    Every method raises RotatorError: Unreachable where trying again may help, else Refused or InvalidInput, in words
    that name no secret.
    """

    def preflight(self) -> None:
        """Proves that `tell` would be allowed, and disturbs nobody."""
        ...

    def mark(self) -> str:
        """What `standing` needs to know of how things stood before `tell`; written down first. Empty for nothing."""
        ...

    def tell(self, call: Call) -> None:
        """Has the consumer read its token again. Returns when it was taken, not when it is done; a call that was
        taken before is not repeated."""
        ...

    def standing(self, call: Call, mark: str) -> Standing:
        """How far it has come since `tell`."""
        ...

    def describe(self) -> str:
        """For people: `Deployment shop/mailer`."""
        ...
