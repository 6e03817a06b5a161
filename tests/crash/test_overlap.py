"""The crash suite for the forms whose tokens overlap: whatever is killed wherever, consumers never read a dead token.

Without --long every third point of a pair is tried once, of the other forms every fourth, with the three resuming
commands in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash import table
from tests.crash.cells import Cell, Maker, crashes_of, in_turn, points_of, survive
from tests.crash.harness import Nursery
from tests.crash.stage import OverlapStage, ReturnStage
from tests.crash.stores import AwsStore, FileStore, Store
from tests.destinations.strict_secrets_manager import StrictSecretsManager

MINT = "provider POST /v1/projects/ID/rotate-token"
FORMS = ("standby", "bridge", "assisted")
BACK = "standby, taken back"
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
    (BACK, 1): {"provider GET /v1/ping", "file rename temporary", "journal commit"},
    (BACK, 2): {MINT, "journal commit"},
}
DOES = {
    "standby": ("rotate", "retire"),
    "bridge": ("rotate", "mint", "close"),
    "assisted": ("stage", "ask to revoke", "prove"),
    BACK: ("rollback", "discard"),
}
"""What each command of a rotation comes to."""


@pytest.mark.parametrize("form", FORMS)
def test_consumers_never_read_a_dead_token(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    folder: Path,
    form: str,
    long: bool,
    record_property: table.Record,
) -> None:
    """Killed at any call, every destination serves a living token then and ever after, and commands bring it to a
    clean rest."""
    make = maker(lettermint, folder, form, FileStore)
    cells, there = cells_of(nursery, make, f"{form}, file", long=long)
    survive(nursery, cells, record_property, there=there)


def test_consumers_of_aws_never_read_a_dead_token(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    aws: tuple[StrictSecretsManager, Any],
    folder: Path,
    long: bool,
    record_property: table.Record,
) -> None:
    """The same where the authoritative secret of a pair lives in AWS Secrets Manager."""
    if not long:
        pytest.skip("takes minutes; --long runs it")
    make = maker(lettermint, folder, "standby", lambda _: AwsStore(*aws))
    cells, there = cells_of(nursery, make, "standby, aws", long=long)
    survive(nursery, cells, record_property, there=there)


def test_way_back_leaves_no_reader_behind(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    folder: Path,
    long: bool,
    record_property: table.Record,
) -> None:
    """A rollback in mid-drain that is killed at any call, and the command that kills what was given up."""

    def make(name: str) -> ReturnStage:
        place = folder / name
        place.mkdir()
        return ReturnStage(place, *lettermint, FileStore(place))

    cells, there = cells_of(nursery, make, BACK, long=long, begun=1)
    survive(nursery, cells, record_property, there=there)


def cells_of(
    nursery: Nursery, make: Maker, row: str, *, long: bool, begun: int = 0
) -> tuple[list[Cell], dict[str, int]]:
    """The crashes of every command of a rotation but those before the first to be killed, and how many points each
    has."""
    cells: list[Cell] = []
    there: dict[str, int] = {}
    form = BACK if row == BACK else make("form").form
    for command, does in enumerate(DOES[form], start=begun):
        points = points_of(nursery, make(f"undisturbed-{command}"), command)
        assert set(points) >= EXPECTED[form, command], sorted(set(points))
        every = crashes_of(points)
        there[f"{row}: {does}"] = len(every)
        chosen = in_turn(every, long=long, every=3 if form == "standby" else 4)
        cells += [
            Cell(make, f"{command}-{number}", command, (crash,), resumer, f"{row}: {does}")
            for number, (crash, resumer) in enumerate(chosen)
        ]
    return cells, there


def maker(
    lettermint: tuple[Simulator, Secret], folder: Path, form: str, store: Callable[[Path], Store]
) -> Maker:
    def make(name: str) -> OverlapStage:
        place = folder / name
        place.mkdir()
        return OverlapStage(place, *lettermint, store(place), form=form)

    return make
