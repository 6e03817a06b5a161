"""What the engine needs of the provider.

The errors are the contract's heart: each call says whether a failure *certainly* left nothing behind
(`Unreachable`, `RateLimited`, `CredentialRejected`, `Refused`, `EndpointGone`) or whether it may have
been executed (`UnclearOutcome`). Only `rotate_token` can end unclear; a read that fails is
`Unreachable`, and a test send is repeatable under its idempotency key.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from rotator.errors import Refused
from rotator.model import Claim, ProjectFacts, ProjectSetup
from rotator.secret import Secret


class ProjectNotVisible(Refused):
    """The project does not exist, or the team token may not see it (404; the API does not tell which)."""

    code = "project-not-visible"


class SendRejected(Refused):
    """The provider understood the test send and will not take it (400, 409, 422): retrying is no use."""

    code = "send-rejected"


class SendConflict(SendRejected):
    """409: the first request under this idempotency key is still running, or its body was another.

    Our body never changes under one key, so it is the former: repeating it later is of use.
    """

    code = "send-conflict"


class PingAnswer(StrEnum):
    """What `GET /ping` says about a token."""

    ALIVE = "alive"
    DEAD = "dead"
    """401: missing, invalid or revoked (SDK 3.2.0)."""
    FORBIDDEN = "forbidden"
    """403: known but not allowed from here, such as an IP restriction. Neither alive nor dead to us."""


class SendAnswer(StrEnum):
    """What `POST /send` says about the token that carried it."""

    ACCEPTED = "accepted"
    DEAD = "dead"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True)
class Minted:
    """The one answer that carries a new token."""

    token: Secret
    generated_at: str | None
    """`data.token_generated_at` as the provider wrote it; None if it was left out."""


@dataclass(frozen=True)
class TestMessage:
    """A test send. Frozen, because a retry under one idempotency key must send the very same body."""

    __test__ = False  # the name is the field's; pytest must not collect it

    sender: str
    to: str
    subject: str
    text: str


@dataclass(frozen=True)
class SendReceipt:
    """The provider's answer to a test send."""

    answer: SendAnswer
    message_id: str | None = None


@dataclass(frozen=True)
class Greeting:
    """How the provider meets a ping with an invented token: shows that it is there, without a credential."""

    invented: PingAnswer
    """DEAD is due: anything else means that a ping proves nothing about a token."""
    clock_ahead: float | None
    """Seconds by which the provider's clock is ahead of ours, to a second or so; None if it told no time."""


@dataclass(frozen=True)
class TeamFacts:
    """What the provider says about the team token."""

    name: str | None
    """The team's; None where the token lacks read:team, which no rotation needs."""
    limit: int | None
    """Reads allowed in a minute (`X-RateLimit-Limit`), if it says."""
    remaining: int | None


def invented_token() -> Secret:
    """A project token of the usual form (SDK 3.2.0) that nobody issued."""
    letters = string.ascii_letters + string.digits
    return Secret("lm_" + "".join(secrets.choice(letters) for _ in range(32)))


class Provider(Protocol):
    """One mail provider, seen with one team token. Safe to use from several threads."""

    def project(self, project_id: str) -> ProjectFacts:
        """Reads one project.

        Raises ProjectNotVisible (404), CredentialRejected (401, 403), RateLimited, Unreachable.
        """
        ...

    def setup(self, project_id: str) -> ProjectSetup:
        """Reads what consumers of a project feel: settings, routes, domains. Raises as `project` does."""
        ...

    def project_ids(self) -> Iterator[str]:
        """Every project the team token can see, all pages. Raises as `project` does."""
        ...

    def rotate_token(self, project_id: str) -> Minted:
        """Mints: the old token is assumed dead from the moment the provider executes this.

        The caller has taken a slot of the shared limiter and holds the lease.
        Raises EndpointGone (404, 405, 410 and the project is readable), ProjectNotVisible,
        CredentialRejected, Refused (422), RateLimited, Unreachable (connection refused) — all
        certainly not executed — or UnclearOutcome (time-out, reset, 5xx, an answer without a token).
        """
        ...

    def ping(self, token: Secret) -> PingAnswer:
        """Asks whether a token lives. Raises RateLimited, Unreachable (anything but 200, 401, 403)."""
        ...

    def send(self, token: Secret, message: TestMessage, idempotency_key: str) -> SendReceipt:
        """Sends one test message; repeatable with the same key and message for 24 h (vendor docs).

        Raises SendRejected (SendConflict for 409), RateLimited, Unreachable (also for 5xx and
        time-outs: repeat it).
        """
        ...

    def project_of_message(self, message_id: str) -> str | None:
        """Follows message → route → project. None where the abilities do not allow it or the message
        is not there yet. Raises RateLimited, Unreachable."""
        ...

    # asked by `doctor`: nothing of it changes anything or counts as a use of any token

    def greet(self) -> Greeting:
        """Pings with an invented token. Raises InvalidInput when something other than the provider's API
        answers, RateLimited, Unreachable."""
        ...

    def team(self) -> TeamFacts:
        """Shows the team token. Raises CredentialRejected (401), Refused, RateLimited, Unreachable."""
        ...

    def can_read(self, collection: str) -> bool:
        """Whether the team token may read single items of `messages` or `routes`, by asking for one that
        cannot exist: 404 is for who may, 403 for who may not. Raises RateLimited, Unreachable."""
        ...


@dataclass(frozen=True)
class Route:
    """One route of a project that messages are sent through."""

    id: str
    name: str
    slug: str
    type: str
    settings: Mapping[str, bool | str] = field(default_factory=dict)
    """Those with a value that a write may name (`UpdateRouteSettingsData` of SDK 3.2.0)."""


@dataclass(frozen=True)
class ProjectDetails:
    """Everything about a project that can be made alike in another one."""

    facts: ProjectFacts
    redacts: bool | None
    """`redact_email_content`; None if the provider does not say."""
    default_route: str | None
    """Its slug."""
    routes: tuple[Route, ...]
    inbound: tuple[str, ...]
    """Slugs of its inbound routes, each with an address of its own that no other route can have."""
    domains: Mapping[str, str]
    """The id of each of its sending domains, by name."""


class Preparer(Protocol):
    """The calls that make one project like another. None of them touches a token.

    Reads raise as `Provider.project`. Writes take their slots of the limiter and wait for them; they raise
    Interrupted before anything was sent, Refused (4xx), CredentialRejected, RateLimited, Unreachable, all
    certainly not executed, or UnclearOutcome.
    """

    def details(self, project_id: str) -> ProjectDetails:
        """Reads one project whole, each of its routes singly, because a list shows no settings."""
        ...

    def route_ids(self, project_id: str) -> Mapping[str, str]:
        """The id of each route by its slug."""
        ...

    def projects_of(self, domain_id: str) -> tuple[str, ...]:
        """Ids of every project that a sending domain is attached to."""
        ...

    def change_project(self, project_id: str, changes: Mapping[str, bool | str]) -> None:
        """Changes what is named: smtp_enabled, redact_email_content, delivery_mode, default_route_id."""
        ...

    def create_route(self, project_id: str, route: Route) -> None:
        """Makes a route of this name, slug, type and settings; the id is the provider's to give."""
        ...

    def change_route(self, route_id: str, settings: Mapping[str, bool | str]) -> None:
        """Changes the settings named."""
        ...

    def attach_domain(self, domain_id: str, project_ids: tuple[str, ...]) -> None:
        """Makes these the domain's projects: any other one loses it (Team API reference)."""
        ...


class Limiter(Protocol):
    """Rate limits as part of the plan: asked before a call, corrected by what each answer says.

    `kind` is "rotate" (shared by all processes through the journal), "read" or "write".
    """

    def take(self, kind: str, claim: Claim | None = None) -> float:
        """0.0: the slot is taken, call now. Otherwise nothing was taken: seconds until one may be free.

        Where slots are shared ("rotate"), a `claim` keeps less urgent ones from taking it meanwhile, for as
        long as it is asked again every few seconds.
        """
        ...

    def peek(self, kind: str, claim: Claim | None = None) -> float:
        """As `take`, without taking; a claim counts all the same."""
        ...

    def sending(self, kind: str, claim: Claim) -> None:
        """The call that a slot was taken for is about to be sent: the slot counts from now, as it will where the
        provider counts. Work done since it was taken would else let a later call come too early."""
        ...

    def observe(
        self, kind: str, *, remaining: int | None, resets_in: float | None, retry_after: float | None
    ) -> None:
        """Learns from `X-RateLimit-Remaining`, `X-RateLimit-Reset` (seconds from now) and `Retry-After`."""
        ...
