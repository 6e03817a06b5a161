"""`rotator rotate` and `rotator run` when nothing goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from rotator.clock import Instant, SystemClock
from rotator.secret import Secret
from rotator.simulator.server import Simulator
from tests.acceptance.conftest import aws_store
from tests.acceptance.site import PING_AND_SEND, AwsStore, FileStore, Site, Store
from tests.crash.harness import ROOT, Nursery
from tests.destinations.strict_secrets_manager import StrictSecretsManager


@pytest.fixture(params=["file", "moto", "strict"])
def store(request: pytest.FixtureRequest, site: Site) -> Store:
    """A secret in a file, in moto, and in the strict fake of AWS."""
    if request.param == "file":
        return FileStore(site.folder / "store" / "billing.json")
    made: AwsStore = request.getfixturevalue(f"{request.param}_store")
    return made


def ping(simulator: Simulator, token: Secret) -> int:
    """The status that the provider answers this token, asked without rotator."""
    request = Request(f"{simulator.url}/ping", headers={"x-lettermint-token": token.reveal()})
    try:
        with urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as refused:
        return refused.code


def test_rotation_keeps_every_promise(site: Site, store: Store) -> None:
    """The new token is stored beside untouched fields and works, the old one gets 401, the audit verifies."""
    billing = site.add(store=store, verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[billing.project])
    ended = site.rotate("billing")
    assert ended.code == 0, ended.errors
    (rotation,) = ended.rotations
    assert rotation["state"] == "completed"
    assert rotation["old_token_dead"] is True
    assert [one["type"] for one in rotation["verified"] if one["ok"]] == ["ping", "send"]
    assert [one["state"] for one in rotation["destinations"]] == ["current"]
    # From outside, without rotator: `stored` also compares the other fields.
    assert billing.stored != billing.first
    assert ping(site.simulator, billing.stored) == 200
    assert ping(site.simulator, billing.first) == 401
    assert billing.mints == 1
    minted = site.simulator.mints(billing.project)[0]
    assert minted.new in {message.token for message in site.simulator.sends(billing.project)}
    assert site.audit_holds()
    assert site.status()["state"] == "ok"


def test_run_after_a_rotation_writes_nothing(site: Site, store: Store) -> None:
    """`rotator run` right after: exit 0, no rotation, and not one byte of anything is different."""
    billing = site.add(store=store)
    assert site.rotate("billing").code == 0
    files, content, seq = site.files(), store.content(), len(site.simulator.events)
    assert "state/journal.db" in files
    ended = site.run("run", "-o", "json")
    assert (ended.code, ended.rotations) == (0, [])
    assert "Nothing was due" in ended.errors
    assert site.files() == files
    assert store.content() == content
    assert {event.call for event in site.simulator.events_since(seq)} <= {"project", "ping"}
    assert (billing.mints, billing.rotate_calls) == (1, 1)


class SometimeClock(SystemClock):
    """The system clock, so many days ago."""

    days_ago = 0.0

    def now(self) -> datetime:
        return super().now() - timedelta(days=self.days_ago)


@pytest.mark.parametrize(("days", "due"), [(29.9, False), (30.1, True)])
def test_run_rotates_what_is_older_than_its_schedule(
    tmp_path: Path, nursery: Nursery, days: float, due: bool
) -> None:
    """With `every: 30d` a token of 30.1 days is rotated by `run`, one of 29.9 days is not."""
    clock = SometimeClock()
    with Simulator(clock=clock) as simulator:
        clock.days_ago = days
        team = simulator.furnish(0).team_token
        site = Site(tmp_path, simulator, team, nursery)
        billing = site.add()
        clock.days_ago = 0.0
        ended = site.run("run", "-o", "json")
        assert ended.code == 0, ended.errors
        assert [(one["state"], one["trigger"]) for one in ended.rotations] == (
            [("completed", "schedule")] if due else []
        )
        assert billing.mints == int(due)
        assert billing.serves_a_living_token
        assert site.run("run", "-o", "json").rotations == []
        assert billing.mints == int(due)


class TimedStore(StrictSecretsManager):
    """Knows when a secret's current version changed, and takes its time before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: list[Instant] = []

    def execute(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        before = self.current(request.get("SecretId", ""))
        answer = super().execute(action, request)
        if self.current(request.get("SecretId", "")) != before:
            self.changed.append(Instant.read(SystemClock()))
        return answer

    def current(self, name: str) -> str | None:
        return self.text(name) if name in self.secrets else None


@pytest.mark.parametrize("store_latency", [0.0, 0.15])
def test_outage_bounds_contain_what_the_provider_saw(site: Site, store_latency: float) -> None:
    """From the old token's true death to the true change of the secret lies between the bounds stated."""
    with TimedStore() as aws:
        billing = site.add(store=aws_store(site, aws.url))
        aws.latency = store_latency
        site.simulator.faults.add("rotate", "latency", seconds=0.1, project=billing.project)
        site.simulator.faults.add("rotate", "answer-latency", seconds=0.1, project=billing.project)
        ended = site.rotate("billing")
        assert ended.code == 0, ended.errors
        (mint,) = site.simulator.mints(billing.project)
        true = mint.old_dead_from.seconds_until(aws.changed[-1])
        stated = ended.rotations[0]["outage_seconds"]
        assert stated["min"] <= true <= stated["max"]
        assert true >= 0.1 + store_latency


def test_the_console_command_does_the_same(site: Site) -> None:
    """`python -m rotator` as a process of its own rotates, prints JSON to a pipe and exits with 0."""
    billing = site.add()
    ended = subprocess.run(
        [sys.executable, "-m", "rotator", "rotate", "billing", "--yes", "--reason", "by hand"],
        env={**site.environment, "PYTHONPATH": str(ROOT)},
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (rotation,) = json.loads(ended.stdout)["rotations"]
    assert (rotation["state"], rotation["reason"]) == ("completed", "by hand")
    assert billing.serves_a_living_token
    assert not site.simulator.is_alive(billing.first)


def test_first_issue_fills_an_empty_place(site: Site) -> None:
    """A destination without a token gets the first one; then there is no old token and no outage."""
    billing = site.add()
    billing.seed("")
    ended = site.rotate("billing")
    assert ended.code == 0, ended.errors
    (rotation,) = ended.rotations
    assert (rotation["old_fingerprint"], rotation["old_token_dead"], rotation["outage_seconds"]) == (
        None,
    ) * 3
    assert billing.serves_a_living_token
