"""A process that is stopped by SIGSTOP past its lease, and goes on when somebody else has done its work."""

from __future__ import annotations

import json
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from rotator.engine.states import CLOSE
from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash.cells import PATIENCE, Life, crashes_at, finished, lead_up, points_of, side_by_side
from tests.crash.harness import Nursery
from tests.crash.stage import DRAIN, RUN, Stage
from tests.races.course import LOOK, asleep, mints_in_flight, stage_of, steps_of_stage

LEASE: Final = {"ROTATOR_CALL_TIMEOUT": "1.5s", "ROTATOR_LEASE": "2s"}
PAST: Final = 2.2
"""Seconds after which the lease of a process that was stopped is over."""
HELD: Final = 4.0
"""Seconds after which whoever waits for a lock that is held within the call is not waited for."""
ROUNDS: Final = 6
MINT: Final = "provider POST /v1/projects/ID/rotate-token"
WRITE: Final = "file rename temporary"


@dataclass
class Stopped:
    """One command, and where it was stopped."""

    stage: Stage
    command: int
    where: str
    how: dict[str, Any]
    """Arguments for `Nursery.start`."""
    taken: bool = True
    """Whether somebody takes the lease meanwhile."""
    inside: bool = False
    """Stopped within a call, which may be executed afterwards."""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.stage.form}, command {self.command}, {self.where}, {'taken' if self.taken else 'not taken'}"

    def outside(self) -> object:
        """What the stopped process may not change any more."""
        stage = self.stage
        with stage.journal() as journal:
            rotations = journal.rotations("billing") if self.taken else ()
        mints = [len(stage.simulator.mints(project)) for project in stage.projects]
        store = sorted((path.name, path.read_bytes()) for path in (stage.folder / "store").iterdir())
        return rotations, mints, [(name, content) for name, content in store if "lock" not in name]


def life(nursery: Nursery, one: Stopped) -> Life:
    stage = one.stage
    yield from lead_up(nursery, stage, one.command)
    child = nursery.start(*stage.commands[one.command], stage=stage, **one.how)
    yield from asleep(child)
    yield PAST
    other = nursery.start(*RUN, stage=stage) if one.taken else None
    give_up_at = time.monotonic() + (HELD if one.inside else PATIENCE)
    while other is not None and other.ended() is None and time.monotonic() < give_up_at:
        yield LOOK
    before = one.outside()
    child.signal(signal.SIGCONT)
    ended = yield from finished(child)
    if other is not None:
        yield from finished(other)
    if not one.inside:
        if ended.code not in ((5,) if one.taken else (0, 5)):
            one.problems.append(f"it ended with {ended.code}: {ended.output}\n{ended.errors}")
        if one.outside() != before:
            one.problems.append("it changed something after its lease")
    for _ in range(ROUNDS):
        run = yield from finished(nursery.start(*RUN, stage=stage))
        if not stage.open_rotations() and run.code == 0:
            break
        yield DRAIN
    _, wrong = stage.rest()
    one.problems += wrong + mints_in_flight(stage)
    if not one.problems:
        shutil.rmtree(stage.folder)


def check(nursery: Nursery, stopped: list[Stopped]) -> None:
    side_by_side(life(nursery, one) for one in stopped)
    wrong = {str(one): one.problems for one in stopped if one.problems}
    assert not wrong, json.dumps(wrong, indent=1)


@pytest.mark.parametrize("form", ["in-place", "standby", "bridge"])
def test_stopped_between_steps_it_neither_mints_nor_writes(
    nursery: Nursery, lettermint: tuple[Simulator, Secret], folder: Path, form: str, long: bool
) -> None:
    """Stopped at the boundaries of every step and continued after its lease: no mint, no write to a store, and where
    somebody has gone on with it none to the journal, and exit 5. (Where nobody has, what was done is written down.)
    Without --long, of the forms with two tokens only before each step: there is the end of the one before it."""
    model = stage_of(form, folder / "model", lettermint)
    stopped = [
        Stopped(
            stage_of(form, folder / f"{number}-{when}-{taken}", lettermint, LEASE),
            command,
            f"{when} {step}",
            {"prepare": {"call": "tests.races.halts:sleep_at", "with": [step, when]}},
            taken,
        )
        for number, (command, step) in enumerate(steps_of_stage(model))
        for when in (("before", "after") if long or form == "in-place" else ("before",))
        if (step, when) != (CLOSE.name, "after")  # it has ended then
        for taken in ((True, False) if long or (form == "in-place" and number % 2) else (True,))
    ]
    check(nursery, stopped)


INSIDE: Final = (("in-place", 0), ("standby", 0), ("standby", 1), ("bridge", 1))
"""Commands that mint or write to a store."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("form", "command"), INSIDE)
def test_stopped_inside_a_call_the_store_ends_with_a_living_token(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    folder: Path,
    form: str,
    command: int,
    when: str,
    long: bool,
) -> None:
    """A mint or a write is executed after the lease, or its answer read: nothing can prevent it, and runs repair
    it. Without --long every mint, and every other write."""
    points = points_of(nursery, stage_of(form, folder / "model", lettermint), command)
    stopped = [
        Stopped(
            stage_of(form, folder / f"{crash.number}", lettermint, LEASE),
            command,
            str(crash),
            {"trace": {**crash.trace, "signal": int(signal.SIGSTOP)}},
            inside=True,
        )
        for number, crash in enumerate(crashes_at(points, when, lambda call: call in (MINT, WRITE)))
        if long or crash.call == MINT or number % 2 == 0
    ]
    check(nursery, stopped)
