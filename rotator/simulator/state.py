"""The simulated world: every record, and the few changes that more than one rule makes.

Invariants:
- `lock` is held around every read and write of the world, and the time of each is read under it, so
  the order of the truth log is the order of the facts.
- A token's text is in `tokens` from its birth on, for ever: dead tokens are told from invented ones.
- A project has exactly one original token; `Project.original` is it.
"""

from __future__ import annotations

import secrets
import string
import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rotator.clock import Clock, Instant
from rotator.simulator.limits import SlidingWindow, Tier
from rotator.simulator.records import (
    Domain,
    Kind,
    Message,
    Mint,
    Project,
    Route,
    Team,
    Token,
    timestamp,
)

ALPHABET: Final = string.ascii_letters + string.digits
LONG, SHORT, TEAM_LENGTH = 32, 22, 40
"""Random characters of a project token, of a short one, and of a team token (SDK 3.2.0, vendor docs)."""
MAX_MARKER: Final = 10


@dataclass(frozen=True, slots=True)
class Effects:
    """How a mint shows itself late, in seconds after its execution."""

    new_token_delay: float = 0.0
    dead_token_delay: float = 0.0
    read_lag: float = 0.0
    relay_lag: float = 0.0
    """How much later than the API the SMTP relay notices it."""


class World:
    """All teams and what they own. Every method expects `lock` to be held."""

    def __init__(self, clock: Clock, *, limits: Mapping[Tier, int], marker: str, ping_is_use: bool) -> None:
        if len(marker) > MAX_MARKER or any(letter not in ALPHABET for letter in marker):
            raise ValueError(f"marker: at most {MAX_MARKER} ASCII letters and digits, or nothing")
        self.clock = clock
        self.lock = threading.RLock()
        self.ping_is_use = ping_is_use
        self.teams: dict[str, Team] = {}
        self.projects: dict[str, Project] = {}
        self.routes: dict[str, Route] = {}
        self.domains: dict[str, Domain] = {}
        self.messages: dict[str, Message] = {}
        self.tokens: dict[str, Token] = {}
        self._limits = dict(limits)
        self._marker = marker
        self._number = 0

    def now(self) -> Instant:
        return Instant.read(self.clock)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    # --- tokens -----------------------------------------------------------------------------------

    def _token(self, prefix: str, length: int, kind: Kind, owner: str, alive_from: float) -> Token:
        tail = "".join(secrets.choice(ALPHABET) for _ in range(length - len(self._marker)))
        token = Token(text=prefix + self._marker + tail, kind=kind, owner=owner, alive_from=alive_from)
        self.tokens[token.text] = token
        return token

    def new_team_token(self, team: str, abilities: Iterable[str], now: Instant) -> Token:
        token = self._token("lm_team_", TEAM_LENGTH, Kind.TEAM, team, now.boot)
        token.abilities = frozenset(abilities)
        token.windows = {tier: SlidingWindow(limit) for tier, limit in self._limits.items()}
        return token

    def new_project_token(self, project: str, kind: Kind, *, short: bool, alive_from: float) -> Token:
        return self._token("lm_", SHORT if short else LONG, kind, project, alive_from)

    def living_token(self, text: str | None, now: Instant) -> Token | None:
        """The token with this text, if it is alive and its owner still exists."""
        token = self.tokens.get(text) if text else None
        if token is None or not token.alive(now):
            return None
        if token.kind is not Kind.TEAM and self.projects[token.owner].deleted:
            return None
        return token

    def living_at_relay(self, text: str, now: Instant) -> Token | None:
        """The project token with this text, if the SMTP relay takes it for alive. Switches of the
        project do not matter here."""
        token = self.tokens.get(text)
        if token is None or token.kind is Kind.TEAM or not token.alive_at_relay(now):
            return None
        return None if self.projects[token.owner].deleted else token

    def mint(self, project: Project, now: Instant, *, via: str, effects: Effects) -> Token:
        """A new original token; the one before dies, at once unless `effects` say later.

        What the vendor does when the original was revoked in the dashboard is unknown; here a new
        original is made. A restriction to addresses is kept, so is the length.
        """
        old = project.original
        dead_from = now.plus(effects.dead_token_delay)
        alive_from = now.plus(effects.new_token_delay)
        old.kill(dead_from.boot)
        old.dies_late = effects.relay_lag
        new = self.new_project_token(
            project.id, Kind.ORIGINAL, short=project.short_token, alive_from=alive_from.boot
        )
        new.born_late = effects.relay_lag
        new.allowed_ips = old.allowed_ips
        project.original = new
        project.generated.append((now.boot + effects.read_lag, timestamp(now.wall)))
        project.updated_at = now.wall
        project.mints.append(
            Mint(
                at=now,
                project=project.id,
                via=via,
                old=old.digest,
                new=new.digest,
                old_dead_from=dead_from,
                new_alive_from=alive_from,
            )
        )
        return new

    # --- projects and what belongs to them --------------------------------------------------------

    def new_project(
        self,
        team: str,
        name: str,
        now: Instant,
        *,
        smtp_enabled: bool = False,
        initial_routes: str = "both",
        short_token: bool = False,
        delivery_mode: str = "live",
        redact_email_content: bool = False,
    ) -> Project:
        identity = str(uuid.uuid4())
        project = Project(
            id=identity,
            team=team,
            name=name,
            delivery_mode=delivery_mode,
            smtp_enabled=smtp_enabled,
            redact_email_content=redact_email_content,
            short_token=short_token,
            number=self.next_number(),
            created_at=now.wall,
            updated_at=now.wall,
            original=self.new_project_token(identity, Kind.ORIGINAL, short=short_token, alive_from=now.boot),
            generated=[(now.boot, timestamp(now.wall))],
        )
        self.projects[identity] = project
        kinds = ("transactional", "broadcast") if initial_routes == "both" else (initial_routes,)
        made = [self.new_route(project, kind.capitalize(), kind, kind, now) for kind in kinds]
        project.default_route_id = made[0].id
        return project

    def delete_project(self, project: Project, now: Instant) -> None:
        """Its tokens die with it; its truth stays."""
        project.deleted = True
        for token in self.tokens.values():
            if token.kind is not Kind.TEAM and token.owner == project.id:
                token.kill(now.boot)
        for route in tuple(project.routes):
            self.delete_route(route)
        for domain in self.domains.values():
            if project.id in domain.projects:
                domain.projects.remove(project.id)

    def new_route(self, project: Project, name: str, slug: str, route_type: str, now: Instant) -> Route:
        route = Route(
            id=str(uuid.uuid4()),
            project=project.id,
            name=name,
            slug=slug,
            route_type=route_type,
            number=self.next_number(),
            created_at=now.wall,
            updated_at=now.wall,
        )
        self.routes[route.id] = route
        project.routes.append(route)
        return route

    def delete_route(self, route: Route) -> None:
        del self.routes[route.id]
        self.projects[route.project].routes.remove(route)

    def projects_of(self, team: str) -> list[Project]:
        return [one for one in self.projects.values() if one.team == team and not one.deleted]

    def domains_of(self, project: Project) -> list[Domain]:
        return [domain for domain in self.domains.values() if project.id in domain.projects]
