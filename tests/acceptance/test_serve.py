"""`rotator serve` as a real process."""

from __future__ import annotations

import json
import re
import signal

import httpx
import pytest

from tests.acceptance.moments import MINTED, VERIFIED, VERIFIER_TRIED, Moment
from tests.acceptance.site import PING_AND_SEND, AwsStore, Entry, Site, eventually
from tests.crash.harness import KILLED, Child
from tests.destinations.strict_secrets_manager import StrictSecretsManager

SOON = {"every": "2s"}
"""Due again and again; the simulator's tokens are as young as the test."""
STOPPED = 143


@pytest.fixture(autouse=True)
def any_port(site: Site) -> None:
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    # An answer that is late on a busy machine would cost a minute of back-off.
    site.environment["ROTATOR_CALL_TIMEOUT"] = "2s"


def settled(site: Site) -> None:
    """After whatever ended the daemon: one run, and nothing is left to do."""
    site.environment["ROTATOR_POLICIES"] = str(site.folder / "policies")
    ended = site.run("run", "-o", "json")
    assert ended.code == 0, ended.errors
    assert site.audit_holds()


def started(site: Site) -> Child:
    child = site.start("serve")
    eventually(lambda: "serving" in child.errors)
    return child


def end(child: Child, number: int = signal.SIGTERM, code: int = STOPPED) -> str:
    child.signal(number)
    ended = child.wait()
    assert ended.code == code, ended.errors
    return ended.errors


def test_it_rotates_what_is_due_until_it_is_stopped(site: Site) -> None:
    """Due policies rotate again and again, others do not; SIGTERM ends it with 143 and nothing is left open."""
    due, idle = site.add("due", schedule=SOON), site.add("idle")
    child = started(site)
    eventually(lambda: due.mints >= 2)
    errors = end(child)
    assert "Traceback" not in errors
    assert idle.mints == 0
    assert due.serves_a_living_token
    settled(site)


def test_ctrl_c_ends_it_too(site: Site) -> None:
    """Idle, without a policy that is due: at once, with 130."""
    site.add()
    end(started(site), signal.SIGINT, 130)


@pytest.mark.parametrize("moment", [VERIFIER_TRIED, MINTED, VERIFIED], ids=["tried", "minted", "verified"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_what_it_leaves_is_taken_up(site: Site, moment: Moment, number: int) -> None:
    """Ended in mid-rotation, before and after the mint: the next daemon finishes it, and no token is lost."""
    entry = site.add(schedule=SOON, verify=PING_AND_SEND)
    site.simulator.add_domain(team=site.team_token, projects=[entry.project])
    eventually_due(site, entry)
    paused = site.start_until(moment, "serve")
    paused.child.signal(number)
    if number == signal.SIGKILL:
        paused.child.wait()
        paused.gate.unlink()
    else:
        eventually(lambda: "Stopping after the step at hand" in paused.child.errors)
        assert paused.go_on().wait().code == STOPPED
    entry.document["schedule"] = {"every": "30d"}
    site.write_policies()
    child = started(site)
    eventually(lambda: states(site) == ["completed"])
    assert entry.serves_a_living_token
    end(child)
    settled(site)


def eventually_due(site: Site, entry: Entry) -> None:
    """The token is two seconds old by the clock of the provider, which counts whole ones."""
    eventually(lambda: site.run("plan", "-o", "json").output.count('"due": true') == 1)
    assert entry.mints == 0


def states(site: Site) -> list[str]:
    return [one["state"] for one in json.loads(site.run("history", "-o", "json").output)["rotations"]]


def test_two_share_the_policies(site: Site) -> None:
    """Two daemons on one journal, one of them killed: each due date is met by one of them."""
    entries = [site.add(f"p{number}", schedule={"every": "3s"}) for number in range(4)]
    first, second = started(site), started(site)
    eventually(lambda: all(entry.mints >= 1 for entry in entries), 40)
    first.signal(signal.SIGKILL)
    assert first.wait().code == KILLED
    before = [entry.mints for entry in entries]
    eventually(lambda: all(entry.mints > former for entry, former in zip(entries, before, strict=True)), 40)
    end(second)
    assert all(entry.serves_a_living_token for entry in entries)
    for entry in entries:
        # Each mint of a rotation that was not disturbed is followed by three quiet seconds at least.
        times = [mint.at.boot for mint in site.simulator.mints(entry.project)]
        assert len(times) <= (times[-1] - times[0]) / 2 + 2
    settled(site)


def test_changed_policies_are_read_and_bad_ones_are_not(site: Site) -> None:
    """A policy that is added rotates; a file that goes bad is told with its line, and the others go on."""
    first = site.add("first", schedule=SOON)
    child = started(site)
    eventually(lambda: first.mints >= 1)
    second = site.add("second", schedule=SOON)
    eventually(lambda: second.mints >= 1)
    broken = site.folder / "policies" / "broken.yaml"
    broken.write_text("policies:\n  - name: third\n    colour: red\n", encoding="utf-8")
    child.signal(signal.SIGHUP)
    eventually(lambda: "broken.yaml:3" in child.errors)
    before = first.mints
    eventually(lambda: first.mints > before)
    broken.unlink()
    eventually(lambda: child.errors.count("policies read again") >= 2)
    end(child)
    settled(site)


def test_a_drain_goes_on_over_a_restart(site: Site) -> None:
    """One daemon promotes, the next one retires: a drain costs no thread and survives the process."""
    entry = site.add(
        strategy="create-before-revoke",
        drain={"min": "2s", "quiet": "1s", "max": "1h"},
        verify=[{"type": "ping"}, {"type": "send", "from": "rotation@example.com"}],
    )
    standby, _ = site.simulator.add_project("standby", team=site.team_token)
    site.simulator.add_domain(team=site.team_token, projects=[entry.project, standby])
    entry.document["standby"] = {"project": standby}
    site.write_policies()
    assert site.run("rotate", "--all", "--yes", "--no-wait", "-o", "json").code == 0
    child = started(site)
    end(child)
    assert site.simulator.is_alive(entry.stored)
    child = started(site)
    eventually(lambda: states(site) == ["completed"])
    assert not site.simulator.is_alive(entry.first)
    assert entry.serves_a_living_token
    end(child)
    settled(site)


def address(child: Child) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", child.errors)
    assert found is not None, child.errors
    return found[0]


def test_it_is_asked_over_http(site: Site) -> None:
    """A POST with the token begins a rotation that is not due, which the metrics count and the status shows."""
    entry = site.add("billing")
    site.environment["ROTATOR_API_TOKEN"] = "an-api-token-of-thirty-characters"
    child = started(site)
    with httpx.Client(base_url=address(child), trust_env=False) as client:
        assert client.get("/healthz").text.strip() == "ok"
        assert client.get("/readyz").status_code == 200
        path = "/api/v1/policies/billing/rotate"
        assert client.post(path, json={"reason": "spring cleaning"}).status_code == 401
        bearer = {"Authorization": "Bearer an-api-token-of-thirty-characters"}
        answer = client.post(path, json={"reason": "spring cleaning"}, headers=bearer)
        assert answer.status_code == 202, answer.text
        eventually(lambda: states(site) == ["completed"])
        eventually(lambda: 'outcome="completed",policy="billing"' in client.get("/metrics").text)
        metrics = client.get("/metrics").text
        assert 'rotator_provider_requests_total{call="rotate-token",status="200"} 1.0' in metrics
        (status,) = client.get("/api/v1/status").json()["policies"]
        assert (status["name"], status["state"], status["last_outcome"]) == ("billing", "ok", "completed")
        assert '<a href="/policies/billing">' in client.get("/").text
        page = client.get("/policies/billing").text
        assert answer.json()["rotation"] in page
        assert "Asked for over HTTP." in page
        assert 'class="b-outage"' in page
    shown = json.loads(site.run("history", "-o", "json").output)["rotations"][0]
    assert (shown["id"], shown["trigger"]) == (answer.json()["rotation"], "api")
    audit = (site.folder / "state" / "audit.jsonl").read_text(encoding="utf-8")
    assert '"rotation.request"' in audit
    assert "127.0.0.1" in audit
    assert entry.mints == 1
    errors = end(child)
    assert "an-api-token-of" not in errors + audit
    settled(site)


def test_a_rotation_that_was_asked_for_survives_the_daemon(site: Site) -> None:
    """202 is a promise: killed right after it, the next daemon rotates."""
    entry = site.add("billing")
    site.environment["ROTATOR_API_TOKEN"] = "an-api-token-of-thirty-characters"
    site.simulator.faults.add("ping", "latency", seconds=0.3, times=2)
    child = started(site)
    answer = httpx.post(
        f"{address(child)}/api/v1/policies/billing/rotate",
        json={"reason": "now"},
        headers={"Authorization": "Bearer an-api-token-of-thirty-characters"},
        trust_env=False,
    )
    child.signal(signal.SIGKILL)
    assert answer.status_code == 202
    assert child.wait().code == KILLED
    assert entry.mints == 0
    child = started(site)
    eventually(lambda: states(site) == ["completed"])
    end(child)
    settled(site)


def test_it_refuses_to_listen_to_everybody_without_a_token(site: Site) -> None:
    """Off loopback anybody could ask: exit 2 before anything is started, with what to do."""
    site.add()
    site.environment["ROTATOR_LISTEN"] = "0.0.0.0:0"
    ended = site.run("serve")
    assert ended.code == 2
    assert "ROTATOR_API_TOKEN_FILE" in ended.errors


def test_a_taken_port_is_a_clear_error(site: Site) -> None:
    """Two daemons at one address: the second says which."""
    site.add()
    child = started(site)
    site.environment["ROTATOR_LISTEN"] = address(child).removeprefix("http://")
    ended = site.run("serve")
    assert ended.code == 2, ended.errors
    assert site.environment["ROTATOR_LISTEN"] in ended.errors
    end(child)


def test_the_grace_ends_a_publish_that_is_still_tried(
    site: Site, strict: StrictSecretsManager, strict_store: AwsStore
) -> None:
    """A store that takes no write after the mint: SIGTERM alone ends it with 143, and the next run mints again."""
    site.environment["ROTATOR_GRACE"] = "6s"
    billing = site.add(store=strict_store, schedule=SOON)
    paused = site.start_until(MINTED, "serve")
    strict.denied = {"PutSecretValue"}
    errors = end(paused.go_on())
    assert "the grace has ended" in errors
    assert not billing.serves_a_living_token
    assert site.status()["state"] == "needs-attention"
    strict.denied = set()
    settled(site)
    assert billing.serves_a_living_token


def refused_after_the_mint(site: Site, strict: StrictSecretsManager, store: AwsStore) -> tuple[Entry, Child]:
    """A daemon that holds a minted token in memory, because the store takes no write."""
    billing = site.add(store=store, schedule=SOON)
    paused = site.start_until(MINTED, "serve")
    strict.denied = {"PutSecretValue"}
    billing.document["schedule"] = {"every": "30d"}
    site.write_policies()
    return billing, paused.go_on()


def test_a_publish_uses_the_grace(site: Site, strict: StrictSecretsManager, strict_store: AwsStore) -> None:
    """Told to stop while a store takes no write, it goes on trying; the store comes back, and nothing is lost."""
    billing, child = refused_after_the_mint(site, strict, strict_store)
    child.signal(signal.SIGTERM)
    eventually(lambda: "Stopping after" in child.errors)
    tried = len(strict.calls)
    eventually(lambda: len(strict.calls) > tried)
    strict.denied = set()
    ended = child.wait()
    assert ended.code == STOPPED, ended.errors
    assert "the grace has ended" not in ended.errors
    assert billing.mints == 1
    assert billing.serves_a_living_token
    settled(site)
    assert billing.mints == 1


def test_a_second_signal_gives_a_publish_up(
    site: Site, strict: StrictSecretsManager, strict_store: AwsStore
) -> None:
    """The first signal leaves it the grace, the second does not: 143 at once, attention, and `run` mints again."""
    site.environment["ROTATOR_GRACE"] = "10m"
    billing, child = refused_after_the_mint(site, strict, strict_store)
    child.signal(signal.SIGTERM)
    eventually(lambda: "Stopping after" in child.errors)
    child.signal(signal.SIGTERM)
    ended = child.wait(20)
    assert ended.code == STOPPED, ended.errors
    assert "Giving up" in ended.errors
    assert not billing.serves_a_living_token
    assert [one["code"] for one in site.status()["attention"]] == ["token-dead"]
    strict.denied = set()
    settled(site)
    assert billing.mints == 2
    assert billing.serves_a_living_token
