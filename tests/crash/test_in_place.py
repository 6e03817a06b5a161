"""The crash suite for `in-place`: whatever is killed wherever, one command ends it with a living token.

Without --long every third point is tried once, of AWS and Vault every sixth, with the three resuming commands in
turn.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.crash import table
from tests.crash.cells import Cell, crashes_of, in_turn, points_of, survive
from tests.crash.harness import Nursery
from tests.crash.stage import Stage
from tests.crash.stores import AwsStore, FileStore, Store, VaultStore
from tests.destinations.strict_secrets_manager import StrictSecretsManager
from tests.destinations.strict_vault import StrictVault

MINT = "provider POST /v1/projects/ID/rotate-token"
ALWAYS = {
    "provider GET /v1/ping",
    "provider POST /v1/send",
    MINT,
    "journal commit",
    "file ftruncate audit.jsonl",
}
# Calls that must be among the points, or the tracer has lost a door.
EXPECTED = {
    "file": ALWAYS | {"file rename temporary", "file fsync store", "file fsync audit.jsonl"},
    "aws": ALWAYS | {"store PutSecretValue", "store UpdateSecretVersionStage", "store GetSecretValue"},
    "vault": ALWAYS | {"store GET /v1/secret/data/prod/ID", "store POST /v1/secret/data/prod/ID"},
}


@pytest.fixture
def stores(aws: tuple[StrictSecretsManager, Any], vault: StrictVault) -> dict[str, Callable[[Path], Store]]:
    """What makes each kind of store, given the folder of the stage."""
    return {"file": FileStore, "aws": lambda _: AwsStore(*aws), "vault": lambda _: VaultStore(vault)}


@pytest.mark.parametrize("store", EXPECTED)
def test_one_command_ends_every_crash(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    stores: dict[str, Callable[[Path], Store]],
    folder: Path,
    store: str,
    long: bool,
    record_property: table.Record,
) -> None:
    """Killed at any call, readers have a living token after the next command, and nothing is left to do."""

    def make(name: object) -> Stage:
        place = folder / str(name)
        place.mkdir()
        return Stage(place, *lettermint, stores[store](place))

    points = points_of(nursery, make("undisturbed"), 0)
    assert set(points) >= EXPECTED[store], sorted(set(points))
    every = crashes_of(points)
    crashes = in_turn(every, long=long, every=3 if store == "file" else 6)
    row = f"in-place, {store}: rotate"
    cells = [
        Cell(make, str(number), 0, (crash,), resumer, row) for number, (crash, resumer) in enumerate(crashes)
    ]
    survive(nursery, cells, record_property, there={row: len(every)})
