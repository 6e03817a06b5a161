"""A local Lettermint on loopback: `with Simulator() as lettermint: …`."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rotator.clock import Clock, Instant, SystemClock
from rotator.secret import Secret
from rotator.simulator.admin import PREFIX, Admin
from rotator.simulator.faults import Faults
from rotator.simulator.handler import API, Server
from rotator.simulator.limits import Tier
from rotator.simulator.mail import Mail
from rotator.simulator.projects import DELIVERY_MODES, INITIAL_ROUTES
from rotator.simulator.records import ABILITIES, Domain, Kind, Message, Mint, Project, Team, Token
from rotator.simulator.service import Service
from rotator.simulator.state import Effects, World
from rotator.simulator.truth import Event

if TYPE_CHECKING:
    from rotator.simulator.relay import Relay

HOST: Final = "127.0.0.1"
STATUSES: Final = ("verified", "partially_verified", "pending_verification", "failed_verification")
PATIENCE: Final = 5.0


@dataclass(frozen=True)
class Furnished:
    """A world that is ready to rotate in: one team, one verified domain, some projects."""

    team_token: Secret
    domain: str
    projects: tuple[tuple[str, Secret], ...]
    """Id and original token of each."""


class Simulator:
    """The local Lettermint. Rules are those of the vendor's public documents; see the modules beside.

    `port` 0 takes a free one. `clock` drives rate limits, token life and faults. `rotate_limit`,
    `read_limit` and `write_limit` are calls of one team token in any 60 s. `marker` (at most 10 letters
    and digits) begins the random part of every token, so that a search finds it wherever it leaked.
    `ping_is_use` says whether a ping moves `token_last_used_at`, which no source tells.

    Every method is safe to call from any thread, started or not. Unknown ids and tokens raise ValueError.
    """

    def __init__(
        self,
        port: int = 0,
        clock: Clock | None = None,
        *,
        rotate_limit: int = 3,
        read_limit: int = 300,
        write_limit: int = 60,
        marker: str = "",
        ping_is_use: bool = True,
    ) -> None:
        self.clock = clock or SystemClock()
        self.faults = Faults()
        limits = {Tier.ROTATE: rotate_limit, Tier.READ: read_limit, Tier.WRITE: write_limit}
        self._world = World(self.clock, limits=limits, marker=marker, ping_is_use=ping_is_use)
        self._service = Service(self._world)
        self._port = port
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._relay: Relay | None = None

    # --- running ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Listens, at the SMTP relay too if there is one. Raises OSError if a port is taken, RuntimeError
        if it is running."""
        if self._server is not None:
            raise RuntimeError("the simulator is running")
        server = Server(
            (HOST, self._port), service=self._service, faults=self.faults, admin=Admin(self), clock=self.clock
        )
        try:
            if self._relay is not None:
                self._relay.start()
        except (OSError, OverflowError):
            server.server_close()
            raise
        self._server = server
        self._port = self._server.server_port  # a second start listens where clients remember it
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="lettermint-simulator", daemon=True
        )
        self._thread.start()

    def open_relay(self, ca_file: Path, *, smtp_port: int = 0, smtps_port: int = 0) -> None:
        """Makes the SMTP relay, and has it listen while the simulator does.

        `ca_file` is written with the certificate of the authority that the relay's own comes from: name it
        in SSL_CERT_FILE. A port of 0 takes a free one. Raises OSError if the file cannot be written or a
        port is taken, RuntimeError if there is a relay already. Only this loads aiosmtpd and trustme.
        """
        from rotator.simulator.relay import Relay  # noqa: PLC0415 - slow to load, and seldom asked for

        if self._relay is not None:
            raise RuntimeError("the simulator has an SMTP relay")
        relay = Relay(
            Mail(self._service, self.faults), self.clock, HOST, smtp_port=smtp_port, smtps_port=smtps_port
        )
        relay.write_ca(ca_file)
        if self._server is not None:
            relay.start()
        self._relay = relay

    def stop(self) -> None:
        """Ends all connections and stops listening; the world stays and `start` takes it up again."""
        if self._relay is not None:
            self._relay.stop()
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.close_connections(PATIENCE)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first start if none was given."""
        return self._port

    @property
    def url(self) -> str:
        """Base URL of the API, for `LETTERMINT_API_URL`."""
        return f"http://{HOST}:{self._port}{API}"

    @property
    def admin_url(self) -> str:
        """Base URL of the simulator's own paths (`admin`); ends in a slash."""
        return f"http://{HOST}:{self._port}{PREFIX}"

    @property
    def smtp_url(self) -> str:
        """The relay's port for STARTTLS, for `LETTERMINT_SMTP_URL`. RuntimeError before `open_relay`."""
        return f"smtp://{HOST}:{self._the_relay.smtp_port}"

    @property
    def smtps_url(self) -> str:
        """The relay's port for TLS from the start. RuntimeError before `open_relay`."""
        return f"smtps://{HOST}:{self._the_relay.smtps_port}"

    @property
    def ca_file(self) -> Path:
        """The file to name in SSL_CERT_FILE. RuntimeError before `open_relay`."""
        return self._the_relay.ca_file

    @property
    def _the_relay(self) -> Relay:
        if self._relay is None:
            raise RuntimeError("the simulator has no SMTP relay; make one with open_relay")
        return self._relay

    # --- making things ----------------------------------------------------------------------------

    def furnish(self, projects: int = 1, *, smtp_enabled: bool = False) -> Furnished:
        """One team, `projects` projects and the verified domain example.com attached to all of them."""
        team_token = self.add_team()
        made = tuple(
            self.add_project(f"Project {n + 1}", team=team_token, smtp_enabled=smtp_enabled)
            for n in range(projects)
        )
        self.add_domain("example.com", team=team_token, projects=[identity for identity, _ in made])
        return Furnished(team_token, "example.com", made)

    def add_team(
        self,
        name: str = "Example",
        *,
        abilities: Iterable[str] = ABILITIES,
        verified: bool = True,
        account_email: str = "owner@example.com",
        daily_limit: int | None = None,
    ) -> Secret:
        """A team and its first token. `daily_limit`: live messages in 24 h."""
        with self._world.lock:
            now = self._service.settle()
            team = Team(
                id=str(uuid.uuid4()),
                name=name,
                account_email=account_email,
                verified_at=now.wall if verified else None,
                daily_limit=daily_limit,
                created_at=now.wall,
            )
            token = self._world.new_team_token(team.id, _abilities(abilities), now)
            self._world.teams[team.id] = team
            return Secret(token.text)

    def add_team_token(
        self, *, team: Secret | str | None = None, abilities: Iterable[str] = ABILITIES
    ) -> Secret:
        """One more token of a team. A team is named by one of its tokens or its id; None is the first."""
        with self._world.lock:
            now = self._service.settle()
            owner = self._team(team).id
            return Secret(self._world.new_team_token(owner, _abilities(abilities), now).text)

    def add_project(
        self,
        name: str = "Production",
        *,
        team: Secret | str | None = None,
        smtp_enabled: bool = False,
        initial_routes: str = "both",
        short_token: bool = False,
        delivery_mode: str = "live",
    ) -> tuple[str, Secret]:
        """A project: its id and its original token."""
        if delivery_mode not in DELIVERY_MODES or initial_routes not in INITIAL_ROUTES:
            raise ValueError(f"delivery_mode is one of {DELIVERY_MODES}, initial_routes of {INITIAL_ROUTES}")
        with self._world.lock:
            now = self._service.settle()
            project = self._world.new_project(
                self._team(team).id,
                name,
                now,
                smtp_enabled=smtp_enabled,
                initial_routes=initial_routes,
                short_token=short_token,
                delivery_mode=delivery_mode,
            )
            return project.id, Secret(project.original.text)

    def add_domain(
        self,
        domain: str = "example.com",
        *,
        team: Secret | str | None = None,
        status: str = "verified",
        projects: Iterable[str] = (),
    ) -> str:
        """A sending domain, attached to `projects`; returns its id."""
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}")
        with self._world.lock:
            now = self._service.settle()
            made = Domain(
                id=str(uuid.uuid4()),
                team=self._team(team).id,
                domain=domain.lower(),
                status=status,
                number=self._world.next_number(),
                created_at=now.wall,
                projects=[self._project(one).id for one in projects],
            )
            self._world.domains[made.id] = made
            return made.id

    def add_token(self, project_id: str) -> Secret:
        """A token made in the dashboard; rotate-token leaves it alone."""
        with self._world.lock:
            now = self._service.settle()
            project = self._project(project_id)
            token = self._world.new_project_token(
                project.id, Kind.DASHBOARD, short=project.short_token, alive_from=now.boot
            )
            return Secret(token.text)

    # --- what people do in the dashboard, and consumers elsewhere ---------------------------------

    def revoke(self, token: Secret) -> None:
        """Kills a token of any kind, the original included."""
        with self._world.lock:
            self._token(token).kill(self._service.settle().boot)

    def restrict(self, token: Secret, allowed_ips: Iterable[str] | None) -> None:
        """Binds a token of any kind to addresses (403 from elsewhere); None frees it again."""
        with self._world.lock:
            self._service.settle()
            self._token(token).allowed_ips = None if allowed_ips is None else frozenset(allowed_ips)

    def regenerate(self, project_id: str) -> Secret:
        """Somebody presses Regenerate: a mint that no intent of ours announced."""
        with self._world.lock:
            now = self._service.settle()
            project = self._project(project_id)
            return Secret(self._world.mint(project, now, via="dashboard", effects=Effects()).text)

    def use(self, project_id: str, *, ip: str = "203.0.113.7") -> None:
        """A consumer elsewhere uses the original token: moves `token_last_used_at` and `_ip`."""
        with self._world.lock:
            self._project(project_id).original.used(self._service.settle(), ip)

    # --- the truth --------------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Every call, in order."""
        return self._service.events()

    def events_since(self, seq: int) -> tuple[Event, ...]:
        """The calls after event number `seq`."""
        return self._service.events(seq)

    def mints(self, project_id: str) -> list[Mint]:
        """Every execution of rotate-token (and Regenerate), oldest first; creation is none."""
        with self._world.lock:
            self._service.settle()
            return list(self._project(project_id, deleted=True).mints)

    def sends(self, project_id: str) -> list[Message]:
        """Every accepted message, oldest first; a replay under an idempotency key is none."""
        with self._world.lock:
            self._service.settle()
            return list(self._project(project_id, deleted=True).messages)

    def is_alive(self, token: Secret) -> bool:
        """Whether the API would accept the token now."""
        with self._world.lock:
            now: Instant = self._service.settle()
            return self._world.living_token(token.reveal(), now) is not None

    def issued(self) -> list[Secret]:
        """Every token ever made, dead ones too: what a leak test searches for."""
        with self._world.lock:
            return [Secret(text) for text in self._world.tokens]

    def team_of(self, token: Secret) -> str:
        """Id of the team behind a token of any kind."""
        with self._world.lock:
            return self._team_of(self._token(token))

    def _team_of(self, token: Token) -> str:
        return token.owner if token.kind is Kind.TEAM else self._world.projects[token.owner].team

    def _team(self, team: Secret | str | None) -> Team:
        if isinstance(team, Secret):
            team = self._team_of(self._token(team))
        first = next(iter(self._world.teams.values()), None)
        found = first if team is None else self._world.teams.get(team)
        if found is None:
            raise ValueError("there is no such team; make one with add_team")
        return found

    def _project(self, project_id: str, *, deleted: bool = False) -> Project:
        found = self._world.projects.get(project_id)
        if found is None or (found.deleted and not deleted):
            raise ValueError("there is no such project; make one with add_project")
        return found

    def _token(self, token: Secret) -> Token:
        found = self._world.tokens.get(token.reveal())
        if found is None:
            raise ValueError("this simulator never issued that token")
        return found


def _abilities(wanted: Iterable[str]) -> frozenset[str]:
    abilities = frozenset(wanted)
    if not abilities <= ABILITIES:
        raise ValueError(f"unknown abilities: {', '.join(sorted(abilities - ABILITIES))}")
    return abilities
