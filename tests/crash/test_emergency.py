"""The crash suite for emergencies: killed at any call to the outside, then begun again, or left to `rotator run`.

Each cell is a policy with a folder of its own; those of one case go side by side, a few at a time. As everywhere
in this suite a state of the world is left once, before every call that writes and after the last one. Without --long
one of so many is tried.
"""

from __future__ import annotations

import json
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from rotator.model import Form
from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.acceptance.site import eventually
from tests.crash import table
from tests.crash.cells import NO_ANSWER
from tests.crash.halts import BEFORE
from tests.crash.harness import KILLED, Nursery
from tests.crash.trace import writes
from tests.crash.ward import Forms

DRAIN: Final = 1.0
ROUNDS: Final = 6
"""Commands after a crash in which it must have come to rest."""
AT_ONCE: Final = 6
AGAIN, RUN = "again", "run"
ACTIVE, OUTGOING, STAGED, BRIDGE = "active", "outgoing", "staged", "bridge"
URGENT: Final = ("--emergency", "--reason", "INC-4711", "--yes", "-o", "json")
RUN_ONCE: Final = ("run", "-o", "json")


@dataclass(frozen=True)
class Case:
    """What has leaked, and what is done about it."""

    form: Form
    options: tuple[str, ...]
    slot: str = ACTIVE
    """ACTIVE by the policy's name; others by the token, on standard input."""
    code: int = 0
    sample: int = 1
    """Without --long one of so many crashes."""

    @property
    def kills_only(self) -> bool:
        return "--kill-only" in self.options


@dataclass(frozen=True)
class Crash:
    """Where a command is killed."""

    number: int
    when: str
    call: str

    def __str__(self) -> str:
        return f"{self.number:03d} {self.when} {self.call}"


CASES: Final = {
    "kill-first": Case(Form.IN_PLACE, ("--order", "kill-first"), sample=7),
    "kill-first, pair": Case(Form.STANDBY, ("--order", "kill-first"), sample=10),
    "kill-first, bridge": Case(Form.BRIDGE, ("--order", "kill-first"), sample=10),
    "replace-first, pair": Case(Form.STANDBY, ("--drain", "1s"), sample=16),
    "replace-first, bridge": Case(Form.BRIDGE, ("--drain", "1s"), sample=16),
    "kill-only": Case(Form.IN_PLACE, ("--kill-only",), code=4, sample=6),
    "outgoing": Case(Form.STANDBY, (), OUTGOING, sample=6),
    "staged": Case(Form.STANDBY, (), STAGED, sample=6),
    "bridge": Case(Form.BRIDGE, ("--drain", "1s"), BRIDGE, code=4, sample=6),
}


@dataclass
class Cell(Forms):
    """One emergency, killed at one call, and the command that takes it up."""

    case: Case = CASES["kill-first"]
    crash: Crash | None = None
    resumer: str = RUN
    problems: list[str] = field(default_factory=list)
    leaked: Secret = field(init=False)
    begun: bool = field(default=False, init=False)
    """Whether anything of it is left, for `run` to go on with."""
    tried: bool = field(default=False, init=False)
    late: bool = field(default=False, init=False)
    """An answer that came too late ended it before the crash could."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Long beside an answer on a busy machine; one that never came is waited for as long.
        self.environment |= {"ROTATOR_CALL_TIMEOUT": "1.5s", "ROTATOR_LEASE": "5s"}
        self.row = self.furnish("billing", self.case.form)
        self.row.entry.document["schedule"] = {"every": "30d"}
        if self.case.slot == OUTGOING:
            self.row.entry.document["drain"] = {"min": "1h", "quiet": "1h", "max": "1d"}
        self.write_policies()
        self.leaked = self.row.entry.first

    def __str__(self) -> str:
        return f"{self.crash}, resumed by {self.resumer}"

    # what happens

    def lead_up(self) -> None:
        """What was going on when the token leaked."""
        if self.case.slot == OUTGOING:
            ended = self.run("rotate", "billing", "--yes", "--no-wait", "-o", "json")
            assert ended.code == 0, ended.errors
        elif self.case.slot == STAGED:
            wanted = {"billing": ["promote", BEFORE]}
            halt = {"call": "tests.crash.halts:halt_in_steps", "with": [str(self.folder), wanted, 1.0]}
            child = self.start("rotate", "billing", "--yes", prepare=halt)
            eventually((self.folder / "billing").exists)
            child.signal(signal.SIGKILL)
            child.wait()
            (self.folder / "billing").unlink()
            self.leaked = Secret(self.simulator._world.projects[self.row.projects[1]].original.text)
        elif self.case.slot == BRIDGE:
            assert self.row.bridge is not None
            self.leaked = self.row.bridge
        self._mints = self.mints

    def begin(self, *trace: object) -> None:
        """Starts the emergency. `trace`: a file for the calls, or None; at which call it dies; before or after."""
        named = ("billing",) if self.case.slot == ACTIVE else ("billing", "--leaked-stdin")
        given = None if self.case.slot == ACTIVE else self.leaked.reveal() + "\n"
        prepare = {"call": "tests.crash.halts:killed_at", "with": [given, *(trace or (None, 0, ""))]}
        self.child = self.start("rotate", *named, *self.case.options, *URGENT, prepare=prepare)

    def crashed(self) -> None:
        """What the crash left."""
        ended = self.child.wait()
        self.tried = True
        if ended.code != KILLED:
            # One that drains looks more or less often, so the last of its calls may not come this time.
            self.late = NO_ANSWER in ended.errors or ended.code == 0
            self.problems.append(f"not killed: exit {ended.code}\n{ended.errors}")
        urgent = any(one.urgent for one in self.unfinished())
        self.begun = urgent or self.mints > self._mints

    def resume(self) -> None:
        if self.resumer == AGAIN:
            self.begin()
        else:
            self.child = self.start(*RUN_ONCE)

    def resumed(self) -> None:
        """The end of a command that took it up."""
        ended = self.child.wait()
        if ended.code not in (0, self.case.code):
            self.problems.append(f"{self.resumer} ended with {ended.code}: {ended.output} {ended.errors}")
        if not (self.resumer == AGAIN and self.case.kills_only):
            self.problems += [f"after {self.resumer}: {what}" for what in self.dead_reads()]

    def revoke_what_is_asked_for(self) -> None:
        """The part of a person, in the dashboard: no call of the API reaches a bridge token."""
        if self.case.slot == BRIDGE:
            with self.journal() as journal:
                asked = [one.message for one in journal.attentions("billing")]
            if any(self.fingerprints.of(self.leaked) in message for message in asked):
                self.simulator.revoke(self.leaked)

    @property
    def open(self) -> bool:
        """Whether something is left to do. A drain of a rotation in which no emergency began may take its time."""
        waits = self.case.slot == OUTGOING and not self.begun and self.resumer == RUN
        return bool(self.unfinished()) and not waits

    # the truth, seen from outside

    @property
    def mints(self) -> int:
        return sum(len(self.simulator.mints(project)) for project in self.row.projects)

    def look(self) -> list[str]:
        if self.problems:
            return self.problems
        wrong = super().look()
        served = self.row.entry.stored
        with self.journal() as journal:
            rotations = journal.rotations("billing")
            attention = {one.code for one in journal.attentions("billing")}
            known = journal.known_token(self.fingerprints.of(served))
        must_die = self.begun or self.resumer == AGAIN
        if must_die and served == self.leaked:
            wrong.append("readers hold the leaked token")
        if must_die and self.simulator.is_alive(self.leaked):
            wrong.append("the leaked token is alive")
        if must_die and self.case.slot in (ACTIVE, OUTGOING) and not any(one.exposure for one in rotations):
            wrong.append("no exposure was measured")
        if attention:
            wrong.append(f"attention: {attention}")
        owner = self.simulator._token(served).owner
        if served != self.row.entry.first and (known is None or known.project != owner):
            wrong.append(f"the journal says {known} of a token of project {owner}")
        log = self.folder / "state" / "audit.jsonl"
        # Killed before anything was written down, it left nothing for `run` to do, and nothing to tell.
        audit = log.read_text(encoding="utf-8") if log.exists() else ""
        announced = len(re.findall(r'"(?:mint|retire)\.token\.intent"', audit))
        if self.mints > announced:
            wrong.append(f"{self.mints} mints, of which {announced} were announced")
        return wrong


def points_of(cell: Cell) -> list[str]:
    """Every call of the undisturbed emergency, in order."""
    cell.lead_up()
    record = cell.folder / "points"
    cell.begin(str(record), 0, "")
    ended = cell.child.wait()
    assert ended.code == cell.case.code, ended.errors
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def crashes_of(points: list[str]) -> list[Crash]:
    """Before every call that writes, and after the last: see `cells`."""
    numbered = list(enumerate(points, start=1))
    return [
        *(Crash(number, "before", call) for number, call in numbered if writes(call)),
        Crash(len(points), "after", points[-1]),
    ]


def survive(cells: list[Cell]) -> None:
    """Kills all of them, and takes each up until nothing is left to do."""
    for cell in cells:
        cell.lead_up()
    for cell in cells:
        assert cell.crash is not None
        cell.begin(None, cell.crash.number, cell.crash.when)
    for cell in cells:
        cell.crashed()
    left = cells
    for number in range(ROUNDS):
        began = time.monotonic()
        for cell in left:
            cell.resume()
        for cell in left:
            cell.resumed()
            cell.revoke_what_is_asked_for()
        left = [cell for cell in left if cell.open]
        if not left:
            return
        for cell in left:
            cell.resumer = RUN  # `again` once: then cron does the rest
        if number:
            time.sleep(max(0.0, began + DRAIN - time.monotonic()))
    for cell in left:
        cell.problems.append(f"unfinished: {[(one.id, one.step, one.message) for one in cell.unfinished()]}")


@pytest.mark.parametrize("resumer", [AGAIN, RUN])
@pytest.mark.parametrize("name", CASES)
def test_an_emergency_survives_every_crash(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    folder: Path,
    name: str,
    resumer: str,
    long: bool,
    record_property: table.Record,
) -> None:
    """Killed anywhere, readers end with a living token, nothing is open or unknown to the journal, and the leaked
    token is dead: always when the emergency is begun again, and by `run` alone when anything of it had begun."""
    case = CASES[name]

    def make(name: object, crash: Crash | None = None) -> Cell:
        place = folder / str(name)
        place.mkdir()
        return Cell(place, *lettermint, nursery, case=case, crash=crash, resumer=resumer)

    points = points_of(make(0))
    crashes = crashes_of(points)
    first = 0 if resumer == RUN else case.sample // 2
    chosen = crashes if long else crashes[first :: case.sample]
    wrong: dict[str, list[str]] = {}
    for start in range(0, len(chosen), AT_ONCE):
        cells = [make(start + n + 1, crash) for n, crash in enumerate(chosen[start : start + AT_ONCE])]
        survive(cells)
        # What was not tried because an answer was late on a busy machine is tried anew.
        cells = [make(f"{cell.folder.name}-again", cell.crash) if cell.late else cell for cell in cells]
        survive([cell for cell in cells if not cell.tried])
        wrong |= {f"{cell.crash}": found for cell in cells if (found := cell.look())}
    assert not wrong, json.dumps(wrong, indent=1)
    row = f"emergency: {name}"
    table.tell(record_property, [(row, str(crash), resumer) for crash in chosen], there={row: len(crashes)})
