"""The things of the simulated world, as plain records. The rules stand in the modules beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from rotator.clock import Instant
from rotator.simulator.limits import SlidingWindow, Tier

ABILITIES: Final = frozenset(
    {
        *("read:team", "write:team", "read:members", "write:members", "read:messages"),
        *("read:projects", "write:projects", "read:routes", "write:routes", "read:domains", "write:domains"),
        *("read:webhooks", "write:webhooks", "read:suppressions", "write:suppressions"),
    }
)
"""Every ability a team token may have (vendor docs, team API tokens)."""


def timestamp(moment: datetime) -> str:
    """RFC 3339 with whole seconds, the precision of every time the API shows."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def short_digest(token: str) -> str:
    """How the truth log names a token: 12 hex digits of its SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


class Kind(StrEnum):
    """What a token is for. Only the original of a project is touched by rotate-token."""

    TEAM = "team"
    ORIGINAL = "original"
    DASHBOARD = "dashboard"


@dataclass(slots=True, eq=False)
class Token:
    """One token. Alive from `alive_from` to just before `dead_from`, both boot seconds."""

    text: str = field(repr=False)
    kind: Kind
    owner: str
    """Id of the team or of the project."""
    alive_from: float
    dead_from: float | None = None
    born_late: float = 0.0
    """Seconds after `alive_from` in which the SMTP relay does not know it yet."""
    dies_late: float = 0.0
    """Seconds after `dead_from` in which the SMTP relay still takes it."""
    abilities: frozenset[str] = frozenset()
    allowed_ips: frozenset[str] | None = None
    """None: from anywhere. Else any other address gets a 403."""
    last_used_at: str | None = None
    last_used_ip: str | None = None
    windows: Mapping[Tier, SlidingWindow] = field(default_factory=dict, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = short_digest(self.text)

    def alive(self, now: Instant) -> bool:
        return self.alive_from <= now.boot and (self.dead_from is None or now.boot < self.dead_from)

    def alive_at_relay(self, now: Instant) -> bool:
        """Whether the SMTP relay takes it, which may notice birth and death later than the API."""
        born = self.alive_from + self.born_late <= now.boot
        return born and (self.dead_from is None or now.boot < self.dead_from + self.dies_late)

    def kill(self, at: float) -> None:
        """Dead from `at` on, or from earlier if it was to die earlier."""
        self.dead_from = at if self.dead_from is None else min(self.dead_from, at)

    def used(self, now: Instant, ip: str) -> None:
        self.last_used_at, self.last_used_ip = timestamp(now.wall), ip


@dataclass(slots=True)
class Team:
    """A team, owner of everything else."""

    id: str
    name: str
    account_email: str
    verified_at: datetime | None
    daily_limit: int | None
    """Live messages in any 24 h; None: no limit. Test addresses do not count."""
    created_at: datetime


@dataclass(slots=True)
class Route:
    """A route of a project."""

    id: str
    project: str
    name: str
    slug: str
    route_type: str
    number: int
    created_at: datetime
    updated_at: datetime
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Domain:
    """A sending domain of a team and the projects it is attached to."""

    id: str
    team: str
    domain: str
    status: str
    number: int
    created_at: datetime
    projects: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Message:
    """An accepted message. `result` is the end it came to; delivery is instant here."""

    id: str
    project: str
    team: str
    route: str
    at: Instant
    token: str
    """Short digest of the token that carried it."""
    sender: str
    to: tuple[str, ...]
    request: Mapping[str, Any]
    delivery_mode: str
    result: str
    billed: bool
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Mint:
    """One execution of rotate-token, or of Regenerate in the dashboard: the truth about it."""

    at: Instant
    project: str
    via: str
    """`rotate-token` or `dashboard`."""
    old: str
    """Short digest of the token that this mint killed."""
    new: str
    old_dead_from: Instant
    """The first instant at which the old token is refused."""
    new_alive_from: Instant


@dataclass(slots=True)
class Kept:
    """The answer kept under one idempotency key."""

    body_digest: str
    answer: Any
    busy_until: float
    expires: float


@dataclass(slots=True)
class Project:
    """A project. A deleted one stays, unseen, so that its truth can still be asked for."""

    id: str
    team: str
    name: str
    delivery_mode: str
    smtp_enabled: bool
    redact_email_content: bool
    short_token: bool
    number: int
    """Order of creation: breaks ties of `created_at`, which has whole seconds."""
    created_at: datetime
    updated_at: datetime
    original: Token = field(repr=False)
    default_route_id: str | None = None
    deleted: bool = False
    generated: list[tuple[float, str]] = field(default_factory=list)
    """`token_generated_at` values and the boot second from which a read shows each, in order."""
    mints: list[Mint] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)

    def generated_at(self, now: Instant) -> str:
        """What a read shows now; behind the truth while a read lag lasts."""
        return next(text for shown_from, text in reversed(self.generated) if shown_from <= now.boot)
