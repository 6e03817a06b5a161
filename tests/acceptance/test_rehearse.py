"""`rotator rehearse`, `run` and `serve` as real processes: a rehearsal that is stopped, killed, due, or looked at."""

from __future__ import annotations

import json
import re
import signal
from typing import Any
from urllib.request import urlopen

import pytest

from rotator.secret import Secret
from tests.acceptance.checkup import assert_found, examine
from tests.acceptance.moments import INTENT_WRITTEN, MINTED, Moment
from tests.acceptance.site import Entry, Site, eventually
from tests.crash.harness import KILLED, Child

PLACE = "rehearsal.json"
ADDRESS = re.compile(r"http://127\.0\.0\.1:[0-9]+")


@pytest.fixture(autouse=True)
def patient(site: Site) -> None:
    """An answer that is late on a busy machine would be another way to go."""
    site.environment["ROTATOR_CALL_TIMEOUT"] = "2s"


def rehearsable(site: Site, **more: Any) -> Entry:
    """A policy that was rotated, with a rehearsal that was not rehearsed."""
    billing = site.add()
    assert site.rotate("billing").code == 0
    project, _ = site.simulator.add_project("rehearsal", team=site.team_token)
    place = {"type": "file", "path": str(site.folder / PLACE), "key": "token"}
    billing.document["rehearsal"] = {"project": project, "destinations": [place], **more}
    site.write_policies()
    return billing


def rehearsed_on(billing: Entry) -> str:
    return str(billing.document["rehearsal"]["project"])


def stored(site: Site) -> Secret:
    return Secret(json.loads((site.folder / PLACE).read_text(encoding="utf-8"))["token"])


def of_production(site: Site, billing: Entry) -> object:
    """What the record, the store and the provider have of the policy's own."""
    told = json.loads(site.run("history", "billing", "-o", "json").output)["rotations"]
    own = [one for one in told if one["trigger"] != "rehearsal"]
    return own, billing.store.content(), billing.mints, site.status()["token_generated_at"]


def serving(site: Site) -> tuple[Child, str]:
    """A daemon, and where it answers."""
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    child = site.start("serve")
    eventually(lambda: ADDRESS.search(child.errors))
    found = ADDRESS.search(child.errors)
    assert found is not None
    return child, found[0]


def read(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_it_rehearses_and_reports(site: Site) -> None:
    """Both paths, what they cost, and a report as an emergency gives it; the policy's own is as it was."""
    billing = rehearsable(site)
    before = of_production(site, billing)
    ended = site.run("rehearse", "billing", "--reason", "before the audit", "-o", "json")
    assert ended.code == 0, ended.errors
    told = json.loads(ended.output)
    scheduled, emergency = told["rotations"]
    assert {one["policy"] for one in told["rotations"]} == {"billing"}
    assert {one["trigger"] for one in told["rotations"]} == {"rehearsal"}
    assert {one["project"] for one in told["rotations"]} == {rehearsed_on(billing)}
    assert (scheduled["exposure_seconds"], emergency["old_token_dead"]) == (None, True)
    assert emergency["exposure_seconds"] is not None
    assert emergency["outage_seconds"] is not None
    (rehearsal,) = told["rehearsals"]
    assert rehearsal["outcome"] == "completed"
    assert rehearsal["seconds"] > 0
    assert rehearsal["rotations"] == [scheduled["id"], emergency["id"]]
    assert told["report"]["all_dead"] is True
    assert "2 calls of rotate-token on 1 project" in ended.errors
    assert of_production(site, billing) == before
    assert billing.serves_a_living_token
    assert site.simulator.is_alive(stored(site))
    assert site.audit_holds()
    status = site.status()["rehearsal"]
    assert status["last_outcome"] == "completed"
    assert status["seconds"] == rehearsal["seconds"]
    told = json.loads(site.run("history", "billing", "-o", "json").output)["rotations"]
    assert [one["trigger"] for one in told] == ["rehearsal", "rehearsal", "manual"]


def test_what_cannot_be_rehearsed_is_refused_with_the_key_to_write(site: Site) -> None:
    """Exit 2, and nothing begun, for the policies that could be either."""
    rehearsable(site)
    site.add("plain")
    ended = site.run("rehearse", "billing", "plain", "-o", "json")
    assert ended.code == 2
    assert "plain has nothing to be rehearsed on" in ended.errors
    assert "rehearsal: {project: ID, destinations: [...]}" in ended.errors
    assert not (site.folder / PLACE).exists()
    everything = site.run("rehearse", "--all", "-o", "json")
    assert everything.code == 0, everything.errors
    assert [one["policy"] for one in json.loads(everything.output)["rehearsals"]] == ["billing"]


@pytest.mark.parametrize("skipped", [0, 1], ids=["scheduled path", "emergency path"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_one_that_is_ended_at_its_mint_is_finished_by_run(site: Site, number: int, skipped: int) -> None:
    """In either path; a minted token is still written after SIGTERM, and after SIGKILL another one is."""
    billing = rehearsable(site)
    assert site.run("rehearse", "billing").code == 0
    before = of_production(site, billing)
    moment = Moment(MINTED.function, (*MINTED.arguments, skipped))
    paused = site.start_until(moment, "rehearse", "billing")
    paused.child.signal(number)
    if number == signal.SIGTERM:
        eventually(lambda: "Stopping after the step at hand" in paused.child.errors)
    ended = paused.child.wait() if number == signal.SIGKILL else paused.go_on().wait()
    paused.gate.unlink(missing_ok=True)
    assert ended.code == (143 if number == signal.SIGTERM else KILLED)
    assert site.status()["rehearsal"]["last_outcome"] == "running"
    resumed = site.run("run", "-o", "json")
    assert resumed.code == 0, resumed.errors
    assert resumed.rotations[-1]["old_token_dead"] is True
    assert site.status()["rehearsal"]["last_outcome"] == "completed"
    assert site.simulator.is_alive(stored(site))
    assert of_production(site, billing) == before
    assert site.audit_holds()
    assert site.run("run", "-o", "json").rotations == []


def test_serve_rehearses_what_is_due_and_finishes_what_was_killed(site: Site) -> None:
    """Beside the rotations of its policies, and told by its metrics; nothing of it is counted as a rotation."""
    billing = rehearsable(site, schedule={"every": "7d"})
    paused = site.start_until(INTENT_WRITTEN, "rehearse", "billing")
    paused.child.signal(signal.SIGKILL)
    assert paused.child.wait().code == KILLED
    paused.gate.unlink()
    before = of_production(site, billing)
    child, address = serving(site)

    def metrics() -> str:
        return read(f"{address}/metrics")

    ended = 'rotator_rehearsals_total{outcome="completed",policy="billing"} 1.0'
    eventually(lambda: ended in metrics())
    shown = metrics()
    page = read(f"{address}/policies/billing")
    child.signal(signal.SIGTERM)
    assert child.wait().code == 143
    (at,) = [
        float(line.split()[-1])
        for line in shown.splitlines()
        if line.startswith('rotator_rehearsal_last_success_timestamp_seconds{policy="billing"}')
    ]
    assert at > 0
    assert 'rotator_rehearsal_seconds{policy="billing"}' in shown
    assert 'rotator_rotations_total{outcome="completed",policy="billing",strategy="in-place"} 0.0' in shown
    assert "A rehearsal of an emergency." in page
    assert of_production(site, billing) == before
    assert site.audit_holds()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_daemon_that_is_ended_in_a_rehearsal_leaves_it_to_the_next(site: Site, number: int) -> None:
    """SIGTERM lets a minted token be written; whatever ends it, another command goes on."""
    billing = rehearsable(site, schedule={"every": "7d"})
    site.environment["ROTATOR_LISTEN"] = "127.0.0.1:0"
    before = of_production(site, billing)
    paused = site.start_until(MINTED, "serve")
    paused.child.signal(number)
    if number == signal.SIGTERM:
        eventually(lambda: "Stopping after the step at hand" in paused.child.errors)
        assert paused.go_on().wait().code == 143
        assert site.simulator.is_alive(stored(site))
    else:
        assert paused.child.wait().code == KILLED
        paused.gate.unlink()
    ended = site.run("run", "-o", "json")
    assert ended.code == 0, ended.errors
    assert site.status()["rehearsal"]["last_outcome"] == "completed"
    assert of_production(site, billing) == before
    assert site.audit_holds()


def test_a_policy_that_was_never_rehearsed_has_a_metric_of_zero(site: Site) -> None:
    """So that an alert on the age fires; a policy without a rehearsal has none."""
    rehearsable(site)
    site.add("plain")
    child, address = serving(site)
    shown = read(f"{address}/metrics").splitlines()
    child.signal(signal.SIGTERM)
    assert child.wait().code == 143
    name = "rotator_rehearsal_last_success_timestamp_seconds"
    assert [line for line in shown if line.startswith(name)] == [f'{name}{{policy="billing"}} 0.0']


def test_what_a_rehearsal_left_open_can_be_named(site: Site) -> None:
    """`POLICY/rehearsal` for the commands that a remedy names; the others say what to type."""
    billing = rehearsable(site)
    billing.document["rehearsal"]["verify"] = [{"type": "send", "from": "x@nowhere.example.com"}]
    site.write_policies()
    assert site.run("rehearse", "billing").code == 4
    status = site.run("status", "billing", "-o", "json")
    assert status.code == 4
    (policy,) = json.loads(status.output)["policies"]
    assert (policy["state"], policy["attention"]) == ("ok", [])
    assert [one["code"] for one in policy["rehearsal"]["attention"]] == ["verification-failed"]
    assert site.run("reconcile", "billing/rehearsal", "-o", "json").code == 4
    assert site.run("verify", "billing/rehearsal", "-o", "json").code == 4
    refused = site.run("rotate", "billing/rehearsal", "--yes")
    assert refused.code == 2
    assert "`rotator rehearse billing`" in refused.errors
    assert site.run("hold", "billing/rehearsal").code == 0
    assert site.run("rehearse", "billing").code == 5
    assert site.run("release", "billing/rehearsal").code == 0


def test_a_second_project_is_made_like_the_first(site: Site) -> None:
    """`doctor --prepare-standby` takes the rehearsal's pair by its name, and then its own strategy is rehearsed."""
    (first, _), (second, _), (standby, _) = (
        site.simulator.add_project(name, team=site.team_token) for name in ("r-1", "r-2", "standby")
    )
    billing = site.add(strategy="create-before-revoke", standby={"project": standby})
    place = {"type": "file", "path": str(site.folder / PLACE), "key": "token"}
    billing.document["rehearsal"] = {
        "project": first,
        "destinations": [place],
        "standby": {"project": second},
    }
    billing.document["rehearsal"]["drain"] = {"min": "1s", "quiet": "1s", "max": "1h"}
    site.write_policies()
    site.simulator.add_domain(f"{billing.project}.example.com", team=site.team_token, projects=[first])
    assert site.run("rehearse", "billing").code == 1
    prepared = site.run("doctor", "--prepare-standby", "billing/rehearsal", "--yes")
    assert prepared.code == 0, prepared.errors
    ended = site.run("rehearse", "billing", "-o", "json")
    assert ended.code == 0, ended.errors
    assert [one["strategy"] for one in ended.rotations] == ["create-before-revoke"] * 2
    assert ended.rotations[-1]["old_token_dead"] is True
    assert billing.stored == billing.first


# --- what doctor says --------------------------------------------------------------------------------


def test_doctor_tells_a_policy_that_was_never_rehearsed(site: Site) -> None:
    """Until it was; its project, its destinations and its verifiers are looked at as those of the policy are."""
    site.environment["ROTATOR_ROTATE_LIMIT"] = "10"
    billing = rehearsable(site)
    before = site.files()
    never = examine(site)
    assert_found(
        never, "rehearsal", code=0, detail=("never rehearsed",), hint=("`rotator rehearse billing`",)
    )
    assert never.results("rehearsal.project", rehearsed_on(billing)) == ["ok"]
    assert never.results("rehearsal.destination.read", PLACE) == ["ok"]
    assert never.results("rehearsal.destination.write", PLACE) == ["ok"]
    assert site.files().keys() == before.keys()
    assert site.run("rehearse", "billing").code == 0
    seen = examine(site)
    assert (seen.code, seen.results("rehearsal"), seen.results("rehearsal.verify")) == (0, ["ok"], ["ok"])
    assert "last rehearsed with success" in seen.of("rehearsal")[0]["detail"]
    assert not seen.warned


def test_doctor_finds_what_a_rehearsal_would_trip_over(site: Site) -> None:
    """By the names of its own checks, so that nobody takes it for production's trouble."""
    site.environment["ROTATOR_ROTATE_LIMIT"] = "10"
    billing = rehearsable(site)
    assert site.run("rehearse", "billing").code == 0
    (site.folder / PLACE).write_text('{"token": "of somebody else"}', encoding="utf-8")
    seen = examine(site)
    assert seen.code == 1
    assert seen.failed == {"rehearsal.destination.ours"}
    assert site.run("rehearse", "billing").code == 1
    latest = examine(site)
    assert latest.results("rehearsal") == ["warning"]
    assert "the latest one is refused" in latest.of("rehearsal")[0]["detail"]
    billing.document["rehearsal"]["project"] = "16fd2706-8baf-433b-82eb-8c7fada847da"
    (site.folder / PLACE).unlink()
    site.write_policies()
    assert examine(site).failed == {"rehearsal.project"}


def test_doctor_says_where_there_is_nothing_to_rehearse_on(site: Site) -> None:
    """It fails nothing, and the key to write is named."""
    site.add()
    assert site.rotate("billing").code == 0
    (one,) = examine(site).of("rehearsal")
    assert one["result"] == "skipped"
    assert "key `rehearsal`" in one["hint"]
