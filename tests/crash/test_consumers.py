"""The crash suite for policies with consumers: killed anywhere, pods never have a dead token where two live side by
side, end with the token of the store, and nobody is restarted twice for one token.

Without --long every third point from the first consumer that is told to the last one that is asked is tried once,
with the three resuming commands in turn; what comes before and after is what the other suites kill.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.consumers.api_server import ApiServer
from tests.crash import table
from tests.crash.cells import Cell, crashes_of, in_turn, points_of, survive
from tests.crash.harness import Nursery
from tests.crash.pods import in_cluster
from tests.crash.stage import Stage

RESTART = "consumer PATCH /apis/apps/v1/namespaces/shop/deployments/ID"
SYNC = "consumer PATCH /apis/external-secrets.io/v1/namespaces/shop/externalsecrets/ID"
DOES = {"in-place": ("rotate",), "standby": ("rotate", "retire")}
"""What each command of a rotation comes to."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.mark.parametrize("form", DOES)
def test_pods_survive_every_crash(
    nursery: Nursery,
    lettermint: tuple[Simulator, Secret],
    cluster: ApiServer,
    folder: Path,
    form: str,
    long: bool,
    record_property: table.Record,
) -> None:
    """Whoever takes it up tells those who were not told, and waits for those who were."""

    def make(name: str) -> Stage:
        return in_cluster(cluster, (folder / name, *lettermint), form)

    cells: list[Cell] = []
    there: dict[str, int] = {}
    for command, does in enumerate(DOES[form]):
        points = points_of(nursery, make(f"undisturbed-{command}"), command)
        if command == 0:
            assert set(points) >= {RESTART, SYNC}, sorted(set(points))
        crashes = crashes_of(points)
        row = f"{form}, consumers: {does}"
        there[row] = len(crashes)
        chosen = crashes if long else [one for one in crashes if one.number in theirs(points)]
        cells += [
            Cell(make, f"{command}-{number}", command, (crash,), resumer, row)
            for number, (crash, resumer) in enumerate(in_turn(chosen, long=long, every=3))
        ]
    survive(nursery, cells, record_property, there=there)


def theirs(points: list[str]) -> range:
    """The numbers of the calls from the last one before a consumer is told to the first one after all were asked."""
    numbers = [
        number
        for number, call in enumerate(points, start=1)
        if call.startswith("consumer ") and (SYNC in points[:number] or SYNC not in points)
    ]
    return range(numbers[0] - 1, numbers[-1] + 2) if numbers else range(0)
