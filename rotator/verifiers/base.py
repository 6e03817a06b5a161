"""What the engine needs of a verifier: one attempt, one answer. Retrying is the engine's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rotator.secret import Secret


class Verdict(StrEnum):
    """What one attempt says about a token."""

    PASSED = "passed"
    FAILED = "failed"
    """The token does not work this way, and trying again will not change that."""
    NOT_YET = "not-yet"
    """Refused in a way that a new token's propagation explains: worth another attempt."""
    UNKNOWN = "unknown"
    """The other side could not be asked, or asking proves nothing. Worth another attempt."""


@dataclass(frozen=True)
class Attempt:
    """One attempt's answer. `project` is the token's project where the attempt could show it."""

    verdict: Verdict
    detail: str
    project: str | None = None
    unasked: str = ""
    """Why the project could not be looked up just now, though it may be later."""


class Verifier(Protocol):
    """Uses a token the way a consumer does. Safe to use from several threads."""

    type: str

    def verify(self, token: Secret, *, key: str) -> Attempt:
        """One attempt. `key` is stable over the attempts for one rotation, token and purpose, and
        serves as the idempotency key of a send. Never raises a RotatorError: an error is a verdict."""
        ...
