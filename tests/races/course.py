"""Where races are run: stages whose policy is due once, children that halt, and what must be true at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from rotator.secret import Secret
from rotator.simulator.records import timestamp
from rotator.simulator.server import Simulator
from tests.crash.cells import PATIENCE, Life
from tests.crash.harness import Child
from tests.crash.stage import OverlapStage, Stage
from tests.crash.stores import FileStore

LOOK: Final = 0.02


def stage_of(
    form: str,
    folder: Path,
    lettermint: tuple[Simulator, Secret],
    environment: Mapping[str, str] | None = None,
) -> Stage:
    folder.mkdir()
    if form == "in-place":
        return Stage(folder, *lettermint, FileStore(folder), environment or {})
    return OverlapStage(folder, *lettermint, FileStore(folder), environment or {}, form=form)


def make_due(stage: Stage) -> None:
    """The stored token was generated 31 days ago; the next one will not be due."""
    world = stage.simulator._world
    with world.lock:
        for project in stage.projects:
            old = stage.simulator.clock.now() - timedelta(days=31)
            world.projects[project].generated[:] = [(0.0, timestamp(old))]


def mints_in_flight(stage: Stage, latency: float = 0.0) -> list[str]:
    """Calls of rotate-token for one project of which one came before the former was answered, by the simulator's
    truth log. `latency` is how long it holds each answer back, in seconds."""
    wrong = []
    for project in stage.projects:
        calls = [one for one in stage.simulator.events if one.call == "rotate" and one.project == project]
        wrong += [
            f"two mints of {project} in flight: calls {earlier.seq} and {later.seq}"
            for earlier, later in pairwise(calls)
            if earlier.at.seconds_until(later.arrived) < latency
        ]
    return wrong


def until(child: Child, came: Callable[[], bool], what: str) -> Life:
    """Waits until a child has come so far."""
    give_up_at = time.monotonic() + PATIENCE
    while not came():
        ended = child.ended()
        assert ended is None, f"it ended before {what}: {ended.code}: {ended.output}\n{ended.errors}"
        assert time.monotonic() < give_up_at, f"it never came to {what}: {child.errors}"
        yield LOOK


def asleep(child: Child) -> Life:
    """Waits until a child has stopped itself by SIGSTOP."""

    def stopped() -> bool:
        return Path(f"/proc/{child.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "T"

    return until(child, stopped, "its halt")
