"""A process that is told to stop, killed, or put to sleep, at moments that matter."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.acceptance.moments import is_asleep
from tests.acceptance.site import PING_AND_SEND, AwsStore, Entry, Site, eventually
from tests.crash.harness import KILLED, Child
from tests.destinations.strict_secrets_manager import StrictSecretsManager

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}
HELD = 1.0
"""Seconds by which an answer is held back; longer than a signal needs, and shorter than the call's time."""
MOMENTS: dict[str, tuple[str, int, str]] = {
    # call held back, matching calls to let pass first, where that is
    "reading the project": ("project", 0, "before"),
    "trying the verifier": ("send", 0, "before"),
    "the mint": ("rotate", 0, "during"),
    "verifying": ("send", 1, "after"),
}


def start(site: Site, *argv: str) -> Child:
    return site.start(*argv, "-o", "json")


def hold_back(site: Site, entry: Entry, call: str, skip: int = 0) -> None:
    """Holds back the answer to one call, after its execution."""
    site.simulator.faults.add(
        call, "answer-latency", seconds=HELD, skip=skip, project=None if call == "send" else entry.project
    )


@pytest.fixture
def billing(site: Site) -> Entry:
    site.environment |= {"ROTATOR_CALL_TIMEOUT": "3s"}
    entry = site.add(verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[entry.project])
    return entry


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_stops_after_the_step_at_hand(site: Site, billing: Entry, moment: str, number: int) -> None:
    """Before the mint nothing is changed, after it the token is stored; `run` finishes what was begun."""
    call, skip, where = MOMENTS[moment]
    hold_back(site, billing, call, skip)
    child = start(site, "rotate", "billing", "--yes")
    eventually(lambda: not site.simulator.faults.waiting())
    child.signal(number)
    ended = child.wait()
    assert ended.code == SIGNALS[signal.Signals(number)], ended.errors
    assert "Stopping after the step at hand" in ended.errors
    assert billing.mints == (0 if where == "before" else 1)
    assert billing.serves_a_living_token
    assert [one["state"] for one in ended.rotations] == ["running"]
    resumed = site.run("run", "-o", "json")
    assert (resumed.code, [one["state"] for one in resumed.rotations]) == (0, ["completed"]), resumed.errors
    assert billing.mints == 1
    assert billing.serves_a_living_token
    assert site.audit_holds()
    assert site.run("run", "-o", "json").rotations == []


def test_a_second_signal_gives_up_a_publish(
    site: Site, strict: StrictSecretsManager, strict_store: AwsStore
) -> None:
    """A store that takes no write after the mint: the first signal waits for it, the second ends with 4."""
    billing = site.add(store=strict_store)
    site.simulator.faults.add("rotate", "answer-latency", seconds=0.3, project=billing.project)
    child = start(site, "rotate", "billing", "--yes")
    eventually(lambda: billing.mints)
    strict.denied = {"PutSecretValue"}
    eventually(lambda: "in memory only" in child.errors)
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
    billing = site.add(store=strict_store)
    site.simulator.faults.add("rotate", "answer-latency", seconds=0.3, project=billing.project)
    child = start(site, "rotate", "billing", "--yes")
    eventually(lambda: billing.mints)
    strict.denied = {"PutSecretValue"}
    eventually(lambda: "in memory only" in child.errors)
    strict.denied = set()
    ended = child.wait()
    assert ended.code == 0, ended.errors
    assert billing.mints == 1
    assert billing.serves_a_living_token


def test_a_kill_during_the_mint(site: Site, billing: Entry) -> None:
    """SIGKILL between the mint and its answer: the next `run` mints once more, at once."""
    hold_back(site, billing, "rotate")
    child = start(site, "rotate", "billing", "--yes")
    eventually(lambda: billing.mints)
    child.signal(signal.SIGKILL)
    assert child.wait().code == KILLED
    assert not billing.serves_a_living_token
    assert site.status()["state"] in ("running", "needs-attention")
    site.environment["ROTATOR_CALL_TIMEOUT"] = "0.4s"
    ended = site.run("run", "-o", "json")
    assert (ended.code, billing.mints) == (0, 2), ended.errors
    assert billing.serves_a_living_token
    assert site.audit_holds()


MOMENT = "tests.acceptance.moments:"
SLEEPS: dict[str, tuple[dict[str, Any], int]] = {
    # how it falls asleep, and whether it has minted by then
    "having read the project": (
        {"call": f"{MOMENT}sleep_after", "with": ["rotator.provider.lettermint:LettermintProvider.project"]},
        0,
    ),
    "right before the mint": ({"call": f"{MOMENT}sleep_after_the_intent"}, 0),
    "with the new token in memory": (
        {
            "call": f"{MOMENT}sleep_after",
            "with": ["rotator.provider.lettermint:LettermintProvider.rotate_token"],
        },
        1,
    ),
}


@pytest.mark.parametrize("moment", SLEEPS)
def test_a_sleeper_that_wakes_up_does_no_harm(site: Site, moment: str) -> None:
    """Stopped past its lease, overtaken, continued: it neither mints nor writes, and says that it lost."""
    prepare, minted = SLEEPS[moment]
    billing = site.add()
    site.environment["ROTATOR_LEASE"] = "1s"
    sleeper = site.start("rotate", "billing", "--yes", "-o", "json", prepare=prepare)
    eventually(lambda: is_asleep(sleeper.pid))
    assert billing.mints == minted
    site.environment["ROTATOR_LEASE"] = "4s"
    other = site.rotate("billing")
    assert other.code == 0, other.errors
    assert billing.serves_a_living_token
    after = truth(site, billing)
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
