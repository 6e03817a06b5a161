"""Policies whose old and new token live side by side, and what must be true of them at every moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rotator.clock import SystemClock
from rotator.journal.base import Journal
from rotator.journal.sqlite import SqliteJournal
from rotator.model import Rotation, State
from rotator.secret import Fingerprinter, Secret
from tests.crash.harness import Ended, FileStore, Nursery, Stage, Store

FORMS = ("standby", "bridge", "assisted")
DRAIN = 2.0
"""Seconds until the outgoing token may go; long beside one command, which must find it draining."""
RUN = ("run", "-o", "json")
SEND = {"type": "send", "from": "rotation@example.com"}


@dataclass
class OverlapStage(Stage):
    """One policy with two destinations. `form` says how its tokens overlap."""

    form: str = "standby"

    def document(self) -> dict[str, Any]:
        self.follower = FileStore(self.folder, "follower.json")
        self.follower.seed(self.first)
        self.projects = [self.project]
        self.bridge: FileStore | None = None
        self.handed: Secret | None = None
        more: dict[str, Any] = {"strategy": "create-before-revoke"}
        drain = {"min": f"{DRAIN:.0f}s", "quiet": "1s", "max": "1h"}
        if self.form == "standby":
            standby, _ = self.simulator.add_project(team=self.team_token)
            self.projects.append(standby)
            # Of such a pair only a test send tells at first whose the stored token is.
            self.simulator.add_domain(team=self.team_token, projects=self.projects)
            more |= {"standby": {"project": standby}, "verify": [{"type": "ping"}, SEND]}
            drain = {"min": "0s", "quiet": f"{DRAIN:.0f}s", "max": "1h"}
        elif self.form == "bridge":
            self.bridge = FileStore(self.folder, "bridge.json")
            self.bridge_token = self.simulator.add_token(self.project)
            self.bridge.seed(self.bridge_token)
            more |= {"standby": {"token": self.bridge.spec}}
        else:
            self.handed = self.simulator.add_token(self.project)
            more = {"strategy": "assisted"}
        return {
            **super().document(),
            "destinations": [store.spec for store in self.stores],
            "drain": drain,
            **more,
        }

    @property
    def stores(self) -> tuple[Store, ...]:
        return (self.store, self.follower)

    # commands

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """One undisturbed rotation. Between two of them a drain comes to its end."""
        first = ("rotate", "billing", "--yes", "--no-wait", "-o", "json")
        if self.form == "standby":
            return (first, RUN)
        if self.form == "assisted":
            first = ("stage", "billing", "--no-wait", "-o", "json")
        return (first, RUN, RUN)

    def command(self, nursery: Nursery, number: int, trace: dict[str, Any] | None = None) -> Ended:
        """Runs one of `commands`, the person's part before it included."""
        if number:
            self.answer_attention()
        prepare = None
        if self.handed is not None and number == 0:
            given = self.handed.reveal() + "\n"
            prepare = {"call": "tests.leaks.accidents:standard_input", "with": [given]}
        return nursery.run(*self.commands[number], stage=self, trace=trace, prepare=prepare)

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

    # the truth, seen from outside

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        journal = SqliteJournal.open(self.folder / "state" / "journal.db", SystemClock(), create=False)
        try:
            yield journal
        finally:
            journal.close()

    @property
    def fingerprints(self) -> Fingerprinter:
        return Fingerprinter(
            Secret((self.folder / "state" / "audit.key").read_text(encoding="utf-8").strip())
        )

    def dead_reads(self) -> list[str]:
        """Destinations whose readers get a dead token; must be none whatever the moment."""
        wrong = [
            f"{store.spec.get('path', store.spec['type'])} serves a dead token"
            for store in self.stores
            if not self.simulator.is_alive(store.read())
        ]
        if self.bridge is not None and self.bridge.read() != self.bridge_token:
            wrong.append("the bridge's own secret was changed")
        return wrong

    def open_rotations(self) -> list[Rotation]:
        with self.journal() as journal:
            return journal.unfinished()

    def rest(self) -> tuple[str, list[str]]:
        """How it ended (`untouched`, `completed`, `failed`), and what of the invariant does not hold."""
        served = self.store.read()
        wrong = self.dead_reads()
        if self.follower.read() != served:
            wrong.append("the destinations serve different tokens")
        wrong += [f"{store.spec} keeps a staged token" for store in self.stores if store.stages()]
        with self.journal() as journal:
            rotations = journal.rotations("billing")
            known = journal.known_token(self.fingerprints.of(served))
            wrong += [f"attention: {one.code}: {one.message}" for one in journal.attentions("billing")]
        if len(rotations) > 1:
            wrong.append(f"{len(rotations)} rotations")
        ended = "untouched"
        if rotations:
            ended = rotations[0].state.value
            if rotations[0].unfinished or rotations[0].state not in (State.COMPLETED, State.FAILED):
                wrong.append(f"it rests as {ended} at {rotations[0].step}: {rotations[0].message}")
            owner = self.simulator._token(served).owner
            if known is None or known.project != owner:
                wrong.append(f"the journal says {known} of a token of project {owner}")
        if ended == "completed":
            if served == self.first or self.simulator.is_alive(self.first):
                wrong.append("completed, and the outgoing token is served, or alive")
            if self.bridge is not None and served == self.bridge_token:
                wrong.append("completed, and consumers are still on the bridge")
            if rotations[0].old_token_dead is not True:
                wrong.append("the death of the outgoing token is not recorded")
        elif served != self.first:
            wrong.append(f"{ended}, and readers do not have the token they had")
        return ended, wrong + self.broken_chain() + self.tokens_on_disk()
