"""The crash suite for recovery itself: a command that takes up what a crash left is killed in its turn.

The first crash comes where most is at stake. The points of the command that resumes are then the second one:
without --long every tenth of them, with the three resuming commands in turn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash import table
from tests.crash.cells import Cell, crashes_at, crashes_of, in_turn, points_of, survive
from tests.crash.harness import Nursery
from tests.crash.stage import OverlapStage, Stage
from tests.crash.stores import FileStore

MINT: Final = "provider POST /v1/projects/ID/rotate-token"
STORED: Final = "file rename temporary"
FIRST: Final = {
    "in-place: rotate, its token in memory only": ("in-place", 0, MINT),
    "in-place: rotate, stored and not noted": ("in-place", 0, STORED),
    "standby: rotate, its token in memory only": ("standby", 0, MINT),
    "standby: rotate, promoted and not noted": ("standby", 0, STORED),
    "standby: retire, not noted": ("standby", 1, MINT),
    "bridge: rotate, promoted and not noted": ("bridge", 0, STORED),
    "bridge: mint, its token in memory only": ("bridge", 1, MINT),
    "assisted: stage, promoted and not noted": ("assisted", 0, STORED),
}
"""The form, the command that is killed first, and after the last of which of its calls."""
SHORT: Final = {MINT: ("in-place", "standby", "bridge"), STORED: ("assisted",)}
"""Without --long, of each form the moment at which there is most to lose."""


@pytest.mark.parametrize("resumer", table.RESUMERS)
@pytest.mark.parametrize("first", FIRST)
def test_recovery_may_be_killed_too(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    folder: Path,
    first: str,
    resumer: str,
    long: bool,
    record_property: table.Record,
) -> None:
    """Killed twice, at any call of the recovery: another recovery ends it as if nothing had happened."""
    form, command, call = FIRST[first]
    if not long and (form not in SHORT[call] or (form == "standby" and command)):
        pytest.skip("takes minutes; --long runs it")

    def make(name: object) -> Stage:
        place = folder / str(name)
        place.mkdir()
        if form == "in-place":
            return Stage(place, *lettermint, FileStore(place))
        return OverlapStage(place, *lettermint, FileStore(place), form=form)

    points = points_of(nursery, make("undisturbed"), command)
    crash = crashes_at(points, "after", lambda one: one == call)[-1]
    points = points_of(nursery, make("recovery"), command, crash, resumer)
    every = crashes_of(points)
    seconds = [second for second, by in in_turn(every, long=long, every=10) if by == resumer]
    row = f"recovery of {first}, by {resumer}"
    cells = [
        Cell(make, str(number), command, (crash, second), resumer, row)
        for number, second in enumerate(seconds)
    ]
    survive(nursery, cells, record_property, there={row: len(every)})
