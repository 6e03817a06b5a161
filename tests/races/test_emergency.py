"""An emergency against a rotation that is under way, at each of its steps."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash.cells import Life, finished, lead_up, side_by_side
from tests.crash.harness import Nursery, tokens_on_disk
from tests.crash.stage import DRAIN, RUN, Stage
from tests.races.course import mints_in_flight, stage_of, steps_of_stage, until

URGENT: Final = ("rotate", "billing", "--emergency", "--reason", "INC-4711", "--yes", "-o", "json")
SOON: Final = ("--drain", "1s")
"""Where tokens can overlap."""
ROUNDS: Final = 6


@dataclass
class Clash:
    """A rotation that waits before one of its steps while the emergency comes."""

    stage: Stage
    command: int
    step: str
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.stage.form}, command {self.command}, before {self.step}"


def life(nursery: Nursery, clash: Clash) -> Life:
    stage, gate = clash.stage, clash.stage.folder / "gate"
    yield from lead_up(nursery, stage, clash.command)
    prepare = {"call": "tests.races.halts:wait_at", "with": [clash.step, "before", str(gate)]}
    child = nursery.start(*stage.commands[clash.command], stage=stage, prepare=prepare)
    yield from until(child, gate.exists, "its gate")
    leaked = stage.store.read()
    urgent = yield from finished(nursery.start(*URGENT, *(SOON if stage.drains else ()), stage=stage))
    if urgent.code not in (0, 4):
        clash.problems.append(f"the emergency ended with {urgent.code}: {urgent.output}\n{urgent.errors}")
    if stage.simulator.is_alive(leaked):
        clash.problems.append("the leaked token lives")
    served = stage.store.read()
    gate.unlink()
    lost = yield from finished(child)
    if lost.code != 5:
        clash.problems.append(f"the rotation ended with {lost.code}: {lost.output}\n{lost.errors}")
    if stage.store.read() != served:
        clash.problems.append("the rotation wrote after the emergency")
    for _ in range(ROUNDS):
        run = yield from finished(nursery.start(*RUN, stage=stage))
        if run.code == 0 and not stage.open_rotations():
            break
        yield DRAIN
    with stage.journal() as journal:
        clash.problems += [f"attention: {one.code}: {one.message}" for one in journal.attentions("billing")]
        clash.problems += [f"{one.id} rests at {one.step}" for one in journal.unfinished()]
        rotations = journal.rotations("billing")
    clash.problems += stage.dead_reads() + stage.broken_chain() + stage.unknown_mints(rotations)
    clash.problems += mints_in_flight(stage) + tokens_on_disk(stage.folder, stage.simulator)
    if not clash.problems:
        shutil.rmtree(stage.folder)


@pytest.mark.parametrize("form", ["in-place", "standby"])
def test_emergency_takes_over_at_any_step(
    nursery: Nursery, lettermint: tuple[Simulator, Secret], folder: Path, form: str
) -> None:
    """The token that readers hold is dead when it ends, the rotation finds out (5) and writes nothing more, and
    readers keep a living one; no two mints are in flight."""
    model = stage_of(form, folder / "model", lettermint)
    clashes = [
        Clash(stage_of(form, folder / str(number), lettermint), command, step)
        for number, (command, step) in enumerate(steps_of_stage(model))
    ]
    side_by_side(life(nursery, clash) for clash in clashes)
    wrong = {str(clash): clash.problems for clash in clashes if clash.problems}
    assert not wrong, json.dumps(wrong, indent=1)
