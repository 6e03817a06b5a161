"""Many policies of one kind under one journal, each in another step of its rotation when the same signal comes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rotator.audit.chain import verify as verify_chain
from rotator.clock import SystemClock
from rotator.engine import states
from rotator.journal.base import Journal, JournalMisconfigured
from rotator.journal.sqlite import SqliteJournal
from rotator.model import Form, Rotation, State
from rotator.secret import Fingerprinter, Secret
from tests.acceptance.site import PING, PING_AND_SEND, Entry, FileStore, Site, eventually
from tests.crash.halts import ANY, BEFORE
from tests.crash.harness import Child, tokens_on_disk

STOPPED: Final = 143
TICK: Final = 0.2
"""Seconds between two ticks of the daemon; a real one takes a second."""
SOON: Final = {"min": "1s", "quiet": "1s", "max": "1h"}
ASKED: Final = "Stopping after the step at hand"
SERVE: Final = ("serve",)
STAGE: Final = ("stage", "{}", "--no-wait")
URGENT: Final = ("rotate", "--all", "--emergency", "--reason", "INC-4711", "--drain", "1s", "--yes")
KILL: Final = ("rotate", "--all", "--emergency", "--reason", "INC-4711", "--order", "kill-first", "--yes")
KILL_ONLY: Final = ("rotate", "--all", "--emergency", "--reason", "INC-4711", "--kill-only", "--yes")


@dataclass(frozen=True)
class Kind:
    """One way a rotation goes, and the part of it that is stopped."""

    name: str
    form: Form
    command: tuple[str, ...]
    """The one that gets the signal; with `{}` it is one for each policy."""
    steps: tuple[str, ...]
    """The steps that it goes through, and is stopped in."""
    mints: int
    """Calls of rotate-token that one rotation takes when nobody stops it."""
    lead: tuple[str, ...] = ()
    """What is done undisturbed before."""
    rests: int = STOPPED
    """The exit code where its last step was at hand, so that the signal takes nothing away."""

    @property
    def kills_only(self) -> bool:
        return KILL_ONLY in (self.command, self.lead)


def _steps(form: Form, first: str = "", last: str = "") -> tuple[str, ...]:
    names = [step.name for step in states._STEPS[form] if step not in states._OF_CONSUMERS]
    begin = names.index(first) if first else 0
    end = names.index(last) if last else len(names) - 1
    return tuple(names[begin : end + 1])


KINDS: Final = (
    Kind("in-place", Form.IN_PLACE, SERVE, _steps(Form.IN_PLACE), 1),
    Kind("standby", Form.STANDBY, SERVE, _steps(Form.STANDBY), 2),
    Kind("bridge", Form.BRIDGE, SERVE, _steps(Form.BRIDGE), 1),
    Kind("assisted", Form.ASSISTED, SERVE, _steps(Form.ASSISTED, "drain"), 0, lead=STAGE),
    Kind("stage", Form.ASSISTED, STAGE, _steps(Form.ASSISTED, "", "drain"), 0, rests=0),
    Kind("kill-first", Form.IN_PLACE, KILL, _steps(Form.IN_PLACE), 1),
    Kind("replace-first", Form.STANDBY, URGENT, _steps(Form.STANDBY), 2),
    Kind("replace-first-bridge", Form.BRIDGE, URGENT, _steps(Form.BRIDGE), 1),
    Kind("kill-only", Form.IN_PLACE, KILL_ONLY, (states.KILL.name,), 2, rests=4),
    Kind("after-kill-only", Form.IN_PLACE, SERVE, _steps(Form.IN_PLACE, "mint+publish"), 2, lead=KILL_ONLY),
)


@dataclass
class Row:
    """One policy, stopped in one step."""

    entry: Entry
    step: str
    projects: list[str]
    follower: FileStore
    bridge: Secret | None = None
    handed: Secret | None = None
    rotation: str = ""
    """The id under which it was stopped."""

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def stores(self) -> tuple[FileStore, FileStore]:
        assert isinstance(self.entry.store, FileStore)
        return self.entry.store, self.follower


@dataclass
class Forms(Site):
    """A site whose policies may be of any form, each with two destinations in a folder of its own."""

    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"

    def furnish(self, name: str, form: Form, step: str = "") -> Row:
        """One more policy, due a second later."""
        folder = self.folder / "store" / name  # writers of one folder wait for one another
        project = self.simulator.add_project(name, team=self.team_token)
        projects = [project[0]]
        more: dict[str, Any] = {"schedule": {"every": "1s"}}
        bridge: Secret | None = None
        handed: Secret | None = None
        if form is not Form.IN_PLACE:
            more |= {"strategy": "create-before-revoke", "drain": SOON}
        if form is Form.STANDBY:
            standby, _ = self.simulator.add_project("standby", team=self.team_token)
            projects.append(standby)
            self.simulator.add_domain(team=self.team_token, projects=projects)
            more |= {"standby": {"project": standby}}
        elif form is Form.BRIDGE:
            bridge = self.simulator.add_token(project[0])
            place = FileStore(folder / "bridge.json")
            more |= {"standby": {"token": place.spec}}
        elif form is Form.ASSISTED:
            handed = self.simulator.add_token(project[0])
            more |= {"strategy": "assisted"}
        first, follower = FileStore(folder / "first.json"), FileStore(folder / "follower.json")
        entry = self.add(
            name,
            store=first,
            verify=PING_AND_SEND if form is Form.STANDBY else PING,
            project=project,
            **more,
            destinations=[first.spec, follower.spec],
        )
        entry.seed(entry.first, follower)
        if bridge is not None:
            entry.seed(bridge, place)
        self.rows.append(Row(entry, step, projects, follower, bridge, handed))
        return self.rows[-1]

    # the truth, seen from outside

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        journal = SqliteJournal.open(self.folder / "state" / "journal.db", SystemClock(), create=False)
        try:
            yield journal
        finally:
            journal.close()

    @property
    def audit_key(self) -> Secret:
        return Secret((self.folder / "state" / "audit.key").read_text(encoding="utf-8").strip())

    @property
    def fingerprints(self) -> Fingerprinter:
        return Fingerprinter(self.audit_key)

    def audit_holds(self) -> bool:
        """Without a command, which would take as long as one of those that are tried."""
        with self.journal() as journal:
            head = journal.audit_head()
        return verify_chain(self.folder / "state" / "audit.jsonl", self.audit_key, head).ok

    def unfinished(self) -> list[Rotation]:
        """None where a command has not come to make its journal."""
        try:
            with self.journal() as journal:
                return journal.unfinished()
        except JournalMisconfigured:
            return []

    def dead_reads(self) -> list[str]:
        """Destinations whose readers get a dead token."""
        return [
            f"{row.name}: {store.path.name} serves a dead token"
            for row in self.rows
            for store in row.stores
            if not self.simulator.is_alive(row.entry.stored_in(store))
        ]

    def look(self) -> list[str]:
        """What is wrong whatever was done here, once all is at rest."""
        wrong = [*self.dead_reads(), *tokens_on_disk(self.folder, self.simulator)]
        if not self.audit_holds():
            wrong.append("the audit chain does not verify")
        wrong += [
            f"{row.name}: the destinations serve different tokens"
            for row in self.rows
            if len({row.entry.stored_in(store).reveal() for store in row.stores}) > 1
        ]
        return wrong


@dataclass
class Ward(Forms):
    """One policy for each step of a kind. `where` tells where in the step its rotation is stopped."""

    kind: Kind = KINDS[0]
    where: str = BEFORE
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        # An answer that is late on a busy machine would cost a look at what became of it.
        self.environment |= {"ROTATOR_CALL_TIMEOUT": "5s", "ROTATOR_LEASE": "15s"}
        self.gates = self.folder / "gates"
        self.gates.mkdir()
        for step in self.kind.steps:
            self.furnish(f"{self.kind.name}-{step.replace('+', '-')}", self.kind.form, step)

    # commands

    def prepare(self) -> None:
        """What is done before the command that is stopped."""
        if self.kind.lead:
            for row in self.rows if "{}" in self.kind.lead else self.rows[:1]:
                ended = self._started(self.kind.lead, row, {}).wait()
                assert ended.code == (4 if self.kind.kills_only else 0), ended.errors

    def begin(self) -> None:
        """Starts the command that is to be stopped, each rotation to its step."""
        wanted = {row.name: [row.step, self.where] for row in self.rows}
        each = "{}" in self.kind.command
        self._children = [
            self._started(self.kind.command, row, wanted) for row in (self.rows if each else self.rows[:1])
        ]
        self._expected = {row.name for row in self.rows}

    def go_on(self, *, halting: bool) -> None:
        """The next daemon takes up what is open, and halts in the first step of each."""
        for row in self.rows:
            row.entry.document["schedule"] = {"every": "30d"}
        self.write_policies()
        self._expected = {one.policy for one in self.unfinished()} if halting else set()
        wanted = {name: [ANY, BEFORE] for name in self._expected}
        self._children = [self._started(SERVE, self.rows[0], wanted)]

    def _started(self, command: tuple[str, ...], row: Row, wanted: Mapping[str, list[str]]) -> Child:
        prepare: dict[str, Any] = {
            "call": "tests.crash.halts:halt_in_steps",
            "with": [str(self.gates), wanted, TICK],
        }
        if row.handed is not None and command[0] == "stage":
            prepare["with"].append(row.handed.reveal() + "\n")
        argv = [row.name if word == "{}" else word for word in command]
        return self.start(*argv, "-o", "json", prepare=prepare)

    def stop(self) -> None:
        """The signal, when every rotation is in its step."""
        with suppress(AssertionError):
            eventually(lambda: self._there() or self._ended())
        missing = [name for name in self._expected if not (self.gates / name).exists()]
        assert not missing, (missing, [child.errors for child in self._children])
        for row in self.rows:
            gate = self.gates / row.name
            if gate.exists():
                rotation = gate.read_text(encoding="utf-8")
                if row.rotation not in ("", rotation):
                    self.wrong.append(f"{row.name}: {rotation} has taken the place of {row.rotation}")
                row.rotation = rotation
        for child in self._children:
            child.signal(signal.SIGTERM)
        eventually(lambda: all(ASKED in child.errors for child in self._children))
        for name in self._expected:
            (self.gates / name).unlink()

    def _there(self) -> bool:
        self.revoke_what_is_asked_for()
        return all((self.gates / name).exists() for name in self._expected)

    def _ended(self) -> bool:
        return any(child.ended() is not None for child in self._children)

    def wait_for_the_end(self) -> None:
        """Of what was told to stop."""
        for child in self._children:
            ended = child.wait()
            rests = child is self._children[-1] and self.rows[-1].name in self._expected
            if ended.code != STOPPED and not (rests and ended.code == self.kind.rests):
                self.wrong.append(f"exit {ended.code}: {ended.errors}")
            if "Traceback" in ended.errors:
                self.wrong.append(ended.errors)
        if not (self.kind.kills_only and self.unfinished()):
            self.wrong += self.dead_reads()

    def finish(self) -> None:
        """Until nothing is open, then the end of the daemon; a person revokes what was asked for."""
        eventually(lambda: self.revoke_what_is_asked_for() or not self.unfinished(), 90)
        self._children[0].signal(signal.SIGTERM)

    def revoke_what_is_asked_for(self) -> None:
        """What rotator asks a person to revoke in the dashboard, as its fingerprint tells."""
        try:
            with self.journal() as journal:
                asked = [one.message for one in journal.attentions() if one.code == "old-token-alive"]
        except JournalMisconfigured:
            return  # the first command is just making it
        for row in self.rows:
            fingerprint = self.fingerprints.of(row.entry.first)
            if any(fingerprint in message for message in asked):
                self.simulator.revoke(row.entry.first)

    def look(self) -> list[str]:
        """What was wrong on the way, or is wrong now that all is at rest."""
        wrong = [*self.wrong, *super().look()]
        for row in self.rows:
            with self.journal() as journal:
                rotations = journal.rotations(row.name)
                attention = [f"attention: {one.code}: {one.message}" for one in journal.attentions(row.name)]
            wrong += [f"{row.name}: {what}" for what in (*attention, *self._wrong_with(row, rotations))]
        return wrong

    def _wrong_with(self, row: Row, rotations: list[Rotation]) -> list[str]:
        if row.step == states.PREFLIGHT.name and row.handed is not None:
            return self._wrong_with_given_up(row, rotations)
        wrong = []
        if [one.id for one in rotations] != [row.rotation]:
            wrong.append(f"rotations {[one.id for one in rotations]}, and {row.rotation} was stopped")
        wrong += [
            f"{one.id} is {one.state} at {one.step}, old dead: {one.old_token_dead}: {one.message}"
            for one in rotations
            if one.state is not State.COMPLETED or one.old_token_dead is not True
        ]
        served = row.entry.stored
        if served in (row.entry.first, row.bridge):
            wrong.append("readers do not hold a new token")
        if self.simulator.is_alive(row.entry.first):
            wrong.append("the former token is alive")
        mints = sum(len(self.simulator.mints(project)) for project in row.projects)
        if mints != self.kind.mints:
            wrong.append(f"{mints} mints, and {self.kind.mints} when nobody stops it")
        return wrong

    def _wrong_with_given_up(self, row: Row, rotations: list[Rotation]) -> list[str]:
        """What a person handed in was in memory only: nothing was lost but the asking."""
        ends = [
            (one.id, one.state, f"`rotator stage {row.name}` takes it again" in one.message)
            for one in rotations
        ]
        wrong = (
            []
            if ends == [(row.rotation, State.FAILED, True)]
            else [f"{ends}, and {row.rotation} was stopped"]
        )
        if row.entry.stored != row.entry.first:
            wrong.append("readers do not have the token they had")
        return wrong
