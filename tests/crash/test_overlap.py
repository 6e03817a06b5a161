"""The crash suite for the forms whose tokens overlap: whatever is killed wherever, consumers never read a dead token.

All crashes of one command go side by side, command after command, so that they share the waiting for the drain.

What a crash leaves is the same after a call and before the next one, and the same before and after an fsync: a
killed process loses nothing that it wrote. So each state of the world is left once: before every call but fsync, and
after the last. With --long it is before and after every call all the same.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash.harness import (
    AWS,
    KILLED,
    AwsStore,
    FileStore,
    Nursery,
    running_aws,
    running_lettermint,
    running_nursery,
)
from tests.crash.overlapping import DRAIN, RUN, OverlapStage
from tests.destinations.strict_secrets_manager import StrictSecretsManager

ROUNDS = 8
"""Runs after a crash in which it must have come to rest."""
SAMPLE = 4
"""Without --long every fourth crash of the forms that share their steps with `standby`."""
MINT = "provider POST /v1/projects/ID/rotate-token"
# Calls that must be among the points of each command, or the tracer has lost a door.
EXPECTED = {
    ("standby", 0): {MINT, "provider POST /v1/send", "file rename temporary", "journal commit"},
    ("standby", 1): {MINT, "provider GET /v1/ping", "journal commit"},
    ("bridge", 0): {"provider GET /v1/ping", "journal commit"},
    ("bridge", 1): {MINT, "provider GET /v1/ping", "journal commit"},
    ("bridge", 2): {"provider GET /v1/projects/ID", "journal commit"},
    ("assisted", 0): {"provider GET /v1/ping", "journal commit"},
    ("assisted", 1): {"provider GET /v1/ping", "journal commit"},
    ("assisted", 2): {"provider GET /v1/ping", "journal commit"},
}
Maker = Callable[[str], OverlapStage]

nursery = pytest.fixture(scope="module", name="nursery")(running_nursery)
lettermint = pytest.fixture(scope="module", name="lettermint")(running_lettermint)
aws = pytest.fixture(scope="module", name="aws")(running_aws)


@dataclass(frozen=True)
class Crash:
    """Where a command is killed."""

    number: int
    when: str
    call: str

    def __str__(self) -> str:
        return f"{self.number:03d} {self.when} {self.call}"


@dataclass
class Cell:
    """One crash: where it happened, and what was wrong from then on."""

    crash: Crash
    stage: OverlapStage
    problems: list[str] = field(default_factory=list)

    def look(self, when: str) -> None:
        self.problems += [f"{when}: {problem}" for problem in self.stage.dead_reads()]


def drained(began: float) -> None:
    """Waits until a drain that began before `began` is over."""
    time.sleep(max(0.0, began + DRAIN + 0.1 - time.monotonic()))


def lead_up(nursery: Nursery, stages: list[OverlapStage], command: int) -> None:
    """Brings rotations to the moment before one of their commands."""
    for number in range(command):
        for stage in stages:
            ended = stage.command(nursery, number)
            assert ended.code in (0, 4), ended.errors
            assert stage.dead_reads() == []
        drained(time.monotonic())


def points_of(nursery: Nursery, stage: OverlapStage, command: int) -> list[str]:
    """Every call of one undisturbed command, in order."""
    record = stage.folder / "points"
    lead_up(nursery, [stage], command)
    ended = stage.command(nursery, command, {"record": str(record)})
    assert ended.code in (0, 4), ended.errors
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def bring_to_rest(nursery: Nursery, cells: list[Cell]) -> None:
    """`rotator run` again and again, as cron would; readers are asked after each."""
    for number in range(1, ROUNDS + 1):
        began = time.monotonic()
        for cell in cells:
            run = nursery.run(*RUN, stage=cell.stage)
            if run.code not in (0, 1, 4):
                cell.problems.append(f"run {number} ended with {run.code}: {run.output} {run.errors}")
            cell.look(f"after run {number}")
            cell.stage.answer_attention()
        cells = [cell for cell in cells if cell.stage.open_rotations()]
        if not cells:
            return
        drained(began)
    for cell in cells:
        cell.problems.append(f"unfinished after {ROUNDS} runs")


def crashes_of(points: list[str], *, long: bool) -> list[Crash]:
    """Where to kill a command that makes these calls."""
    crashes = [
        Crash(number, when, call)
        for number, call in enumerate(points, start=1)
        for when in ("before", "after")
    ]
    if long:
        return crashes
    one_each = [one for one in crashes if one.when == "before" and not one.call.startswith("file fsync")]
    return [*one_each, crashes[-1]]


def crash_everywhere(
    nursery: Nursery, make: Maker, command: int, chosen: slice, *, long: bool
) -> tuple[Counter[str], dict[str, list[str]]]:
    """How those crashes of a command ended that are chosen, and what was wrong with which."""
    model = make("undisturbed")
    points = points_of(nursery, model, command)
    assert set(points) >= EXPECTED[model.form, command], sorted(set(points))
    crashes = crashes_of(points, long=long)[chosen]
    cells = [Cell(crash, make(f"cell-{number}")) for number, crash in enumerate(crashes)]
    lead_up(nursery, [cell.stage for cell in cells], command)
    for cell in cells:
        trace = {"kill_at": cell.crash.number, "when": cell.crash.when}
        killed = cell.stage.command(nursery, command, trace)
        if killed.code != KILLED:
            cell.problems.append(f"not killed: exit {killed.code}\n{killed.errors}")
        cell.look("after the crash")
    bring_to_rest(nursery, cells)
    endings: Counter[str] = Counter()
    for cell in cells:
        ended, wrong = cell.stage.rest()
        endings[ended] += 1
        cell.problems += wrong
        if command and ended != "completed":
            cell.problems.append(f"{ended}, although its token was promoted")
    return endings, {str(cell.crash): cell.problems for cell in cells if cell.problems}


COMMANDS = {"standby": 2, "bridge": 3, "assisted": 3}
CASES = [(form, command) for form in ("bridge", "assisted") for command in range(COMMANDS[form])]
HALVES = ("even", "odd")
"""Two tests of a command that takes long, so that two workers share them."""


def file_maker(lettermint: tuple[Simulator, Secret], folder: Path, form: str) -> Maker:
    def make(name: str) -> OverlapStage:
        place = folder / name
        place.mkdir()
        return OverlapStage(place, *lettermint, FileStore(place), form=form)

    return make


def check(nursery: Nursery, make: Maker, command: int, chosen: slice, *, long: bool) -> None:
    endings, wrong = crash_everywhere(nursery, make, command, chosen, long=long)
    assert not wrong, json.dumps(wrong, indent=1)
    assert endings["completed"] > 0, endings


def half_of(half: str) -> slice:
    return slice(HALVES.index(half), None, len(HALVES))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("command", range(COMMANDS["standby"]))
def test_consumers_of_a_pair_never_read_a_dead_token(
    nursery: Nursery, lettermint: tuple[Simulator, Secret], folder: Path, command: int, half: str, long: bool
) -> None:
    """Two projects: killed at any call, every destination serves a living token then and ever after, and runs
    bring it to a clean rest."""
    check(nursery, file_maker(lettermint, folder, "standby"), command, half_of(half), long=long)


@pytest.mark.parametrize(("form", "command"), CASES)
def test_consumers_never_read_a_dead_token(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    folder: Path,
    form: str,
    command: int,
    long: bool,
) -> None:
    """The same with a bridge token, and with a token that a person makes."""
    chosen = slice(None, None, 1 if long else SAMPLE)
    check(nursery, file_maker(lettermint, folder, form), command, chosen, long=long)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("command", range(COMMANDS["standby"]))
def test_consumers_of_aws_never_read_a_dead_token(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    aws: tuple[StrictSecretsManager, Any],
    folder: Path,
    command: int,
    half: str,
    long: bool,
) -> None:
    """The same where the authoritative secret lives in AWS Secrets Manager."""
    if not long:
        pytest.skip("takes minutes; --long runs it")

    def make(name: str) -> OverlapStage:
        place = folder / name
        place.mkdir()
        environment = {**AWS, "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws[0].url}
        return OverlapStage(place, *lettermint, AwsStore(aws[1]), environment, form="standby")

    check(nursery, make, command, half_of(half), long=long)
