"""Two processes at one policy at the same time, whatever their commands: never two mints in flight.

Without --long 50 races with seeds that stay the same; with it 1,000. A race that goes wrong names its seed, and
everything that is random in it comes from that.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash.cells import STOPPED, Life, finished, side_by_side
from tests.crash.harness import Child, Nursery
from tests.crash.stage import ROTATE, RUN, Stage
from tests.postgresql_server import PostgresqlServer
from tests.races.course import make_due, mints_in_flight, stage_of, until

RACES: Final = 25
LONG_RACES: Final = 500
"""On each journal."""
AT_ONCE: Final = 6
COMMANDS: Final = {"run": RUN, "rotate": ROTATE, "serve": ("serve",)}
PAIRS: Final = tuple((one, other) for one in COMMANDS for other in COMMANDS if one <= other)
LATENCY: Final = 0.15
"""Seconds at most for which the answer to a mint is held back; a token that was minted is in memory until then."""
APART: Final = 0.25
"""Seconds at most between the two starts: as long as a rotation takes."""
KEY: Final = "an-audit-key-that-several-machines-share"


@dataclass
class Race:
    """Two commands, the time between them, and how slow the provider answers, all from the seed."""

    seed: str
    stage: Stage
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        self.commands = chance.choice(PAIRS)
        self.latency = chance.choice([0.0, chance.uniform(0, LATENCY)])
        self.first = chance.randrange(2)
        self.apart = chance.uniform(0, APART)

    def __str__(self) -> str:
        return f"seed {self.seed}: {' against '.join(self.commands)}"

    def start(self, nursery: Nursery, command: str, number: int) -> Child:
        prepare = None
        if number == self.first:
            prepare = {"call": "tests.races.halts:begin_later", "with": [self.seed, APART]}
        return nursery.start(*COMMANDS[command], stage=self.stage, prepare=prepare)

    def mints(self) -> int:
        return sum(len(self.stage.simulator.mints(project)) for project in self.stage.projects)


def life(nursery: Nursery, race: Race) -> Life:
    stage = race.stage
    make_due(stage)
    stage.simulator.faults.add(
        "rotate", "answer-latency", seconds=race.latency, project=stage.projects[0], times=None
    )
    children = [race.start(nursery, command, number) for number, command in enumerate(race.commands)]
    for child, command in zip(children, race.commands, strict=True):
        if command == "serve":
            yield from until(child, lambda child=child: "serving" in child.errors, "serving")
            yield from until(child, lambda: race.mints() > 0 and not stage.open_rotations(), "a rotation")
            child.signal(signal.SIGTERM)
        ended = yield from finished(child)
        if ended.code not in ((STOPPED,) if command == "serve" else (0, 5)):
            race.problems.append(f"{command} ended with {ended.code}: {ended.output}\n{ended.errors}")
    how, wrong = stage.rest()
    race.problems += wrong + mints_in_flight(stage, race.latency)
    most = 1 + race.commands.count("rotate")
    if how != "completed" or not 1 <= race.mints() <= most:
        race.problems.append(f"{how}, {race.mints()} mints, at most {most} are right")
    if not race.problems:
        shutil.rmtree(stage.folder)


@pytest.mark.parametrize("journal", ["sqlite", "postgresql"])
def test_two_processes_never_mint_at_once(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    folder: Path,
    journal: str,
    long: bool,
    request: pytest.FixtureRequest,
) -> None:
    """A policy that is due is rotated once by all that find it due, and readers end with a living token."""

    def environment() -> dict[str, str]:
        if journal == "sqlite":
            return {}
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        return {"ROTATOR_JOURNAL": server.url(server.new_database()), "ROTATOR_AUDIT_KEY": KEY}

    races: list[Race] = []

    def lives() -> Life:
        for number in range(LONG_RACES if long else RACES):
            seed = f"{journal}-{number}"
            races.append(Race(seed, stage_of("in-place", folder / seed, lettermint, environment())))
            yield life(nursery, races[-1])

    side_by_side(lives(), AT_ONCE)
    wrong = {str(race): race.problems for race in races if race.problems}
    assert not wrong, json.dumps(wrong, indent=1)
