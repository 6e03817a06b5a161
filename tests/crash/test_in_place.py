"""The crash suite for `in-place`: every call to the outside, before and after, then `rotator run`."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    Stage,
    Store,
    running_aws,
    running_lettermint,
    running_nursery,
)
from tests.destinations.strict_secrets_manager import StrictSecretsManager

STORES = ("file", "aws-secrets-manager")
# Calls that must be among the points, or the tracer has lost a door.
EXPECTED = {
    "file": {
        "provider GET /v1/projects/ID",
        "provider POST /v1/projects/ID/rotate-token",
        "provider GET /v1/ping",
        "journal commit",
        "file fsync audit.jsonl",
    },
    "aws-secrets-manager": {
        "provider POST /v1/projects/ID/rotate-token",
        "store PutSecretValue",
        "store UpdateSecretVersionStage",
        "store GetSecretValue",
        "journal commit",
        "file fsync audit.jsonl",
    },
}


nursery = pytest.fixture(scope="module", name="nursery")(running_nursery)
lettermint = pytest.fixture(scope="module", name="lettermint")(running_lettermint)
aws = pytest.fixture(scope="module", name="aws")(running_aws)


@pytest.fixture
def make_stage(
    tmp_path: Path, lettermint: tuple[Simulator, Secret], aws: tuple[StrictSecretsManager, Any]
) -> Callable[[str, str], Stage]:
    def make(store: str, name: str) -> Stage:
        folder = tmp_path / name
        folder.mkdir()
        place: Store = FileStore(folder) if store == "file" else AwsStore(aws[1])
        environment = {**AWS, "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws[0].url}
        return Stage(folder, *lettermint, place, environment)

    return make


def points_of(nursery: Nursery, stage: Stage) -> list[str]:
    """Every call of one undisturbed rotation, in order."""
    record = stage.folder / "points"
    ended = nursery.run(
        "rotate", "billing", "--yes", "-o", "json", stage=stage, trace={"record": str(record)}
    )
    assert ended.code == 0, ended.errors
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("store", STORES)
def test_run_brings_every_crash_to_rest(
    nursery: Nursery, make_stage: Callable[[str, str], Stage], store: str, when: str
) -> None:
    """Killed before or after any call, the next run ends with a living token and a whole audit chain."""
    points = points_of(nursery, make_stage(store, "undisturbed"))
    assert set(points) >= EXPECTED[store]
    assert len(points) > 30
    wrong: dict[str, list[str]] = {}
    for number, label in enumerate(points, start=1):
        cell = f"{number:03d} {when} {label}"
        stage = make_stage(store, f"cell-{number}")
        killed = nursery.run(
            "rotate", "billing", "--yes", "-o", "json", stage=stage, trace={"kill_at": number, "when": when}
        )
        problems = [] if killed.code == KILLED else [f"not killed: exit {killed.code}\n{killed.errors}"]
        run = nursery.run("run", "-o", "json", stage=stage)
        if run.code != 0:
            problems.append(f"run ended with {run.code}: {run.output} {run.errors}")
        problems += stage.violations(nursery)
        again = nursery.run("run", "-o", "json", stage=stage)
        if again.code != 0 or again.rotations:
            problems.append(f"a second run found something to do: {again.output}")
        if problems:
            wrong[cell] = problems
    assert not wrong, json.dumps(wrong, indent=1)
