"""One policy with projects of its own, in a folder of its own: what is done there, and what is true there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rotator.audit.chain import verify as verify_chain
from rotator.clock import SystemClock
from rotator.journal.base import Journal
from rotator.journal.sqlite import SqliteJournal
from rotator.model import Rotation, State
from rotator.secret import Fingerprinter, Secret
from rotator.simulator.server import Simulator
from tests.crash.harness import Child, Nursery, tokens_on_disk
from tests.crash.stores import FileStore, Store

PING: Final = {"type": "ping"}
SEND: Final = {"type": "send", "from": "rotation@example.com"}
DRAIN: Final = 2.0
"""Seconds until the outgoing token may go; long beside one command, which must find it draining."""
RUN: Final = ("run", "-o", "json")
ROTATE: Final = ("rotate", "billing", "--yes", "--no-wait", "-o", "json")
ROLLBACK: Final = ("rollback", "billing", "-o", "json")


@dataclass
class Stage:
    """`in-place`, and what all strategies share."""

    folder: Path
    simulator: Simulator
    team_token: Secret
    store: Store
    extra_environment: Mapping[str, str] = field(default_factory=dict)

    form = "in-place"
    drains = False
    """Whether something is left to wait for between two commands."""
    commands: tuple[tuple[str, ...], ...] = field(default=(ROTATE,), init=False)
    """One undisturbed rotation. Between two of them a drain comes to its end."""
    codes: tuple[int, ...] = field(default=(0, 4), init=False)
    """Exit codes of the commands where nothing disturbs them."""
    ends: tuple[State, ...] = field(default=(State.COMPLETED,), init=False)
    """How a rotation may end once its token was promoted."""

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        project, self.first = self.simulator.add_project(team=self.team_token)
        self.projects = [project]
        self.store.seed(self.first)
        document = self.document(project)
        self.simulator.add_domain(team=self.team_token, projects=self.projects)
        policies = self.folder / "policies"
        policies.mkdir()
        (policies / "billing.yaml").write_text(json.dumps({"policies": [document]}), encoding="utf-8")
        state = self.folder / "state"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LETTERMINT_API_URL": self.simulator.url,
            "LETTERMINT_TEAM_TOKEN": self.team_token.reveal(),
            "ROTATOR_POLICIES": str(policies),
            "ROTATOR_JOURNAL": f"sqlite:///{state}/journal.db",
            "ROTATOR_AUDIT_LOG": str(state / "audit.jsonl"),
            "ROTATOR_LISTEN": "127.0.0.1:0",
            "ROTATOR_ROTATE_LIMIT": "1000",
            # Long beside an answer on a busy machine, which must not be late; what waits for it waits side by side.
            "ROTATOR_CALL_TIMEOUT": "2.5s",
            "ROTATOR_LEASE": "5s",
            **self.store.environment,
            **self.extra_environment,
        }

    def document(self, project: str) -> dict[str, Any]:
        """The policy. Called once, when project and store are there."""
        return {
            "name": "billing",
            "project": project,
            "strategy": "in-place",
            "schedule": {"every": "30d"},
            "destinations": [self.store.spec],
            "verify": [PING, SEND],
        }

    @property
    def stores(self) -> tuple[Store, ...]:
        return (self.store,)

    # what is done

    def start(self, nursery: Nursery, number: int, trace: dict[str, Any] | None = None) -> Child:
        """Starts one of `commands`."""
        return nursery.start(*self.commands[number], stage=self, trace=trace)

    def answer_attention(self) -> None:
        """Does what a person is asked for. A command must have opened the journal before."""

    # what is true, seen from outside

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        address, clock = self.environment["ROTATOR_JOURNAL"], SystemClock()
        if address.startswith("sqlite:"):
            path = self.folder / "state" / "journal.db"
            journal: Journal = SqliteJournal.open(path, clock, create=False)
        else:
            from rotator.journal.postgresql import PostgresqlJournal  # noqa: PLC0415  # slow to load

            log = f"{socket.gethostname()}:{self.environment['ROTATOR_AUDIT_LOG']}"
            journal = PostgresqlJournal.open(
                Secret(address), "the server", clock, audit_log=log, create=False
            )
        try:
            yield journal
        finally:
            journal.close()

    @property
    def audit_key(self) -> Secret:
        if given := self.environment.get("ROTATOR_AUDIT_KEY"):
            return Secret(given)
        return Secret((self.folder / "state" / "audit.key").read_text(encoding="utf-8").strip())

    @property
    def fingerprints(self) -> Fingerprinter:
        return Fingerprinter(self.audit_key)

    def dead_reads(self) -> list[str]:
        """Destinations whose readers get a dead token."""
        return [
            f"{store.spec.get('path', store.spec['type'])} serves a dead token"
            for store in self.stores
            if not self.simulator.is_alive(store.read())
        ]

    def open_rotations(self) -> list[Rotation]:
        with self.journal() as journal:
            return journal.unfinished()

    def rest(self) -> tuple[str, list[str]]:
        """How it ended (`untouched`, `completed`, `failed`), and what of the invariant does not hold.

        It is stricter than the invariant where commands could do their work: no attention is left then.
        """
        served = self.store.read()
        wrong = self.dead_reads()
        wrong += [f"{store.spec} keeps a staged token" for store in self.stores if store.stages()]
        with self.journal() as journal:
            rotations = journal.rotations("billing")
            known = journal.known_token(self.fingerprints.of(served))
            wrong += [f"attention: {one.code}: {one.message}" for one in journal.attentions("billing")]
            wrong += [f"{one.id} rests at {one.step}: {one.message}" for one in journal.unfinished()]
        ended = rotations[0].state.value if rotations else "untouched"
        if rotations:
            if rotations[0].state not in (State.COMPLETED, State.FAILED):
                wrong.append(f"it rests as {ended}: {rotations[0].message}")
            owner = self.simulator._token(served).owner
            if known is None or known.project != owner:
                wrong.append(f"the journal says {known} of a token of project {owner}")
        if ended == State.COMPLETED:
            if rotations[0].old_token_dead is not True:
                wrong.append("the death of the outgoing token is not recorded")
            if self.simulator.is_alive(self.first):
                wrong.append("completed, and the outgoing token lives")
        elif served != self.first:
            wrong.append(f"{ended}, and readers do not have the token they had")
        wrong += self.unknown_mints(rotations) + self._strays(served)
        return ended, wrong + self.broken_chain() + tokens_on_disk(self.folder, self.simulator)

    def unknown_mints(self, rotations: list[Rotation]) -> list[str]:
        """Executed mints that no intent in journal and audit announced."""
        executed = sum(len(self.simulator.mints(project)) for project in self.projects)
        audit = self.folder / "state" / "audit.jsonl"
        audited = audit.read_text(encoding="utf-8").count(".token.intent") if audit.exists() else 0
        journaled = sum(one.mints + (one.retiring is not None) for one in rotations)
        if executed > min(audited, journaled):
            return [f"{executed} mints, of which {journaled} are journaled and {audited} audited"]
        return []

    def _strays(self, served: Secret) -> list[str]:
        """Living tokens that nobody holds and nobody was told of."""
        lost = [token for token in self._living() if token != served and not self._may_live(token)]
        return [f"{len(lost)} living tokens are in no store"] if lost else []

    def _living(self) -> list[Secret]:
        everybody = list(self.simulator._world.tokens.values())
        tokens = [token for token in everybody if token.owner in self.projects]
        return [secret for one in tokens if self.simulator.is_alive(secret := Secret(one.text))]

    def _may_live(self, token: Secret) -> bool:
        """Whether a token that is not the served one may live at rest."""
        return False

    def broken_chain(self) -> list[str]:
        """What is wrong with the audit log, by its key and by the head that the journal keeps."""
        with self.journal() as journal:
            report = verify_chain(self.folder / "state" / "audit.jsonl", self.audit_key, journal.audit_head())
        return [] if report.ok else [f"audit verify: {report.problem}"]


@dataclass
class OverlapStage(Stage):
    """A policy with two destinations whose old and new token live side by side. `form` says how."""

    form: str = "standby"
    drains = True

    def document(self, project: str) -> dict[str, Any]:
        self.follower = FileStore(self.folder, "follower.json")
        self.follower.seed(self.first)
        self.bridge: FileStore | None = None
        self.handed: Secret | None = None
        self.commands = (ROTATE, RUN, RUN)
        common = {**super().document(project), "destinations": [store.spec for store in self.stores]}
        drain = {"min": f"{DRAIN:.0f}s", "quiet": "1s", "max": "1h"}
        if self.form == "standby":
            standby, _ = self.simulator.add_project(team=self.team_token)
            self.projects.append(standby)
            self.commands = (ROTATE, RUN)
            drain = {"min": "0s", "quiet": f"{DRAIN:.0f}s", "max": "1h"}
            # Of such a pair only a test send tells at first whose the stored token is.
            more: dict[str, Any] = {"strategy": "create-before-revoke", "standby": {"project": standby}}
        elif self.form == "bridge":
            self.bridge = FileStore(self.folder, "bridge.json")
            self.bridge_token = self.simulator.add_token(project)
            self.bridge.seed(self.bridge_token)
            more = {
                "strategy": "create-before-revoke",
                "standby": {"token": self.bridge.spec},
                "verify": [PING],
            }
        else:
            self.handed = self.simulator.add_token(project)
            self.commands = (("stage", "billing", "--no-wait", "-o", "json"), RUN, RUN)
            more = {"strategy": "assisted", "verify": [PING]}
        return {**common, "drain": drain, **more}

    @property
    def stores(self) -> tuple[Store, ...]:
        return (self.store, self.follower)

    def start(self, nursery: Nursery, number: int, trace: dict[str, Any] | None = None) -> Child:
        """The person's part before it included."""
        if number:
            self.answer_attention()
        prepare = None
        if self.handed is not None and number == 0:
            given = self.handed.reveal() + "\n"
            prepare = {"call": "tests.leaks.accidents:standard_input", "with": [given]}
        return nursery.start(*self.commands[number], stage=self, trace=trace, prepare=prepare)

    def answer_attention(self) -> None:
        """Revokes in the dashboard the token that rotator asks to revoke, as its fingerprint tells. A command
        must have ended before: one that was killed may leave no journal."""
        if self.handed is None:
            return
        with self.journal() as journal:
            asked = [one.message for one in journal.attentions("billing") if one.code == "old-token-alive"]
        for token in (self.first, self.handed):
            if any(self.fingerprints.of(token) in message for message in asked):
                self.simulator.revoke(token)

    def rest(self) -> tuple[str, list[str]]:
        ended, wrong = super().rest()
        served = self.store.read()
        if self.follower.read() != served:
            wrong.append("the destinations serve different tokens")
        if self.bridge is not None:
            if self.bridge.read() != self.bridge_token:
                wrong.append("the bridge's own secret was changed")
            if ended == State.COMPLETED and served == self.bridge_token:
                wrong.append("completed, and consumers are still on the bridge")
        return ended, wrong

    def _may_live(self, token: Secret) -> bool:
        """The idle project of a pair always has a token that nobody was shown; people keep what they made."""
        if self.form == "standby":
            return self.simulator._token(token).owner != self.simulator._token(self.store.read()).owner
        return token in (self.handed, self.bridge and self.bridge_token)


@dataclass
class ReturnStage(OverlapStage):
    """Of two projects, taken back by a person while the outgoing token drains."""

    def document(self, project: str) -> dict[str, Any]:
        document = super().document(project)
        self.commands = (ROTATE, ROLLBACK, RUN)
        self.codes = (0, 1)
        # What died before the word was written down is taken up as what it was.
        self.ends = (State.FAILED, State.COMPLETED)
        return document

    def rest(self) -> tuple[str, list[str]]:
        """What was given up was left in peace for as long as the policy asks."""
        ended, wrong = super().rest()
        with self.journal() as journal:
            given_up = [one for one in journal.rotations("billing") if one.abandoned and one.returned]
        for one in given_up:
            if one.retiring is None or not one.retired:
                wrong.append(f"{one.id}: what was given up was not killed")
            elif one.returned is not None and one.returned.seconds_until(one.retiring.sent) < DRAIN:
                wrong.append(f"{one.id}: what was given up was killed too soon")
        return ended, wrong
