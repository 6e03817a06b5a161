"""What a notifier is told, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol


class Event(StrEnum):
    """The words of `on` in a policy's `notify`."""

    COMPLETED = "completed"
    FAILED = "failed"
    NEEDS_ATTENTION = "needs-attention"
    EMERGENCY = "emergency"


@dataclass(frozen=True)
class Notice:
    """One thing to tell. The same event has the same `id`, whoever notices it and however often."""

    id: str
    event: Event
    policy: str
    at: datetime
    """When it happened."""
    matter: str
    """What it is about, the same when it begins and when it is over: `failed`, `token-dead`, …"""
    title: str
    """One line."""
    message: str = ""
    next: str = ""
    """What a person may do."""
    over: bool = False
    """What was told before under the same matter has ended."""
    urgent: bool = False
    """Mail stands still, or a token has leaked."""
    owner: str | None = None
    data: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """For programs; holds no token."""


class Notifier(Protocol):
    """One receiver. Safe to use from several threads."""

    def send(self, notice: Notice) -> None:
        """Returns when the receiver has it. The same notice may come twice: the receiver can tell by its id.

        Raises RotatorError (Unreachable, UnclearOutcome, Refused, InvalidInput) with words that name no secret.
        """
        ...
