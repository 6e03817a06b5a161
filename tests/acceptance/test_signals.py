"""A process that is told to stop, killed, or put to sleep, at moments that matter."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.acceptance.moments import (
    INTENT_WRITTEN,
    MINTED,
    PROJECT_READ,
    VERIFIED,
    VERIFIER_TRIED,
    is_asleep,
)
from tests.acceptance.site import PING_AND_SEND, AwsStore, Entry, Site, eventually
from tests.crash.harness import KILLED, Child
from tests.destinations.strict_secrets_manager import StrictSecretsManager

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}
MOMENTS = {
    "project read": PROJECT_READ,
    "verifier tried": VERIFIER_TRIED,
    "minted": MINTED,
    "verified": VERIFIED,
}


@pytest.fixture
def billing(site: Site) -> Entry:
    entry = site.add(verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[entry.project])
    return entry


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_stops_after_the_step_at_hand(site: Site, billing: Entry, moment: str, number: int) -> None:
    """Before the mint nothing is changed, after it the token is stored; `run` finishes what was begun."""
    paused = site.start_until(MOMENTS[moment], "rotate", "billing", "--yes")
    paused.child.signal(number)
    eventually(lambda: "Stopping after the step at hand" in paused.child.errors)
    ended = paused.go_on().wait()
    assert ended.code == SIGNALS[signal.Signals(number)], ended.errors
    assert billing.mints == (1 if moment in ("minted", "verified") else 0)
    assert billing.serves_a_living_token
    assert [one["state"] for one in ended.rotations] == ["running"]
    resumed = site.run("run", "-o", "json")
    assert (resumed.code, [one["state"] for one in resumed.rotations]) == (0, ["completed"]), resumed.errors
    assert billing.mints == 1
    assert billing.serves_a_living_token
    assert site.audit_holds()
    assert site.run("run", "-o", "json").rotations == []


def minted_and_refused(site: Site, strict: StrictSecretsManager, store: AwsStore) -> tuple[Entry, Child]:
    """A rotation that holds the minted token in memory, because the store takes no write."""
    billing = site.add(store=store)
    paused = site.start_until(MINTED, "rotate", "billing", "--yes")
    strict.denied = {"PutSecretValue"}
    child = paused.go_on()
    eventually(lambda: "in memory only" in child.errors)
    return billing, child


def test_a_second_signal_gives_up_a_publish(
    site: Site, strict: StrictSecretsManager, strict_store: AwsStore
) -> None:
    """A store that takes no write after the mint: the first signal waits for it, the second ends with 4."""
    billing, child = minted_and_refused(site, strict, strict_store)
    child.signal(signal.SIGTERM)
    eventually(lambda: "Stopping after" in child.errors)
    child.signal(signal.SIGTERM)
    ended = child.wait()
    assert ended.code == 4, ended.errors
    assert "rotator run" in ended.errors
    assert not billing.serves_a_living_token
    assert [one["code"] for one in site.status()["attention"]] == ["token-dead"]
    strict.denied = set()
    assert site.run("run", "-o", "json").code == 0
    assert billing.mints == 2
    assert billing.serves_a_living_token
    assert site.status()["state"] == "ok"


def test_a_store_that_comes_back_gets_the_token_in_memory(
    site: Site, strict: StrictSecretsManager, strict_store: AwsStore
) -> None:
    """While the process lives the minted token is kept and written as soon as the store takes it: one mint."""
    billing, child = minted_and_refused(site, strict, strict_store)
    strict.denied = set()
    ended = child.wait()
    assert ended.code == 0, ended.errors
    assert billing.mints == 1
    assert billing.serves_a_living_token


def test_a_kill_during_the_mint(site: Site, billing: Entry) -> None:
    """SIGKILL between the mint and its answer: the next `run` mints once more, at once."""
    site.environment["ROTATOR_CALL_TIMEOUT"] = "3s"
    site.simulator.faults.add("rotate", "answer-latency", seconds=3.0, project=billing.project)
    child = site.start("rotate", "billing", "--yes")
    eventually(lambda: billing.mints)
    child.signal(signal.SIGKILL)
    assert child.wait().code == KILLED
    assert not billing.serves_a_living_token
    assert site.status()["state"] in ("running", "needs-attention")
    site.environment["ROTATOR_CALL_TIMEOUT"] = "1.5s"
    ended = site.run("run", "-o", "json")
    assert (ended.code, billing.mints) == (0, 2), ended.errors
    assert billing.serves_a_living_token
    assert site.audit_holds()


SLEEPS = {"project read": (PROJECT_READ, 0), "intent written": (INTENT_WRITTEN, 0), "minted": (MINTED, 1)}


@pytest.mark.parametrize("moment", SLEEPS)
def test_a_sleeper_that_wakes_up_does_no_harm(site: Site, moment: str) -> None:
    """Stopped past its lease, overtaken, continued: it neither mints nor writes, and says that it lost."""
    where, minted = SLEEPS[moment]
    billing = site.add()
    site.environment["ROTATOR_LEASE"] = "2s"
    paused = site.start_until(where, "rotate", "billing", "--yes")
    sleeper = paused.child
    sleeper.signal(signal.SIGSTOP)
    eventually(lambda: is_asleep(sleeper.pid))
    assert billing.mints == minted
    other = site.rotate("billing")
    assert other.code == 0, other.errors
    assert billing.serves_a_living_token
    after = truth(site, billing)
    paused.go_on()
    sleeper.signal(signal.SIGCONT)
    ended = sleeper.wait()
    assert ended.code == 5, ended.errors
    assert "lease" in ended.errors
    assert truth(site, billing) == after
    assert site.status()["state"] == "ok"
    assert site.audit_holds()
    assert site.run("run", "-o", "json").rotations == []


def truth(site: Site, entry: Entry) -> tuple[Any, ...]:
    sidecar = site.folder / "store" / "billing.json.rotator"
    return entry.store.content(), sidecar.read_text("utf-8"), entry.mints, entry.rotate_calls
