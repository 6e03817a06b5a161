"""Ways a rehearsal can go: two more tokens of a project that nobody depends on, and just as secret."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import httpx

from rotator.secret import Secret
from tests.acceptance.moments import MINTED
from tests.acceptance.site import Entry, eventually
from tests.crash.harness import KILLED
from tests.leaks.flows import SHOWING, Flow, accident, look_around
from tests.leaks.flows_of_emergency import form
from tests.leaks.flows_of_overlap import SOON
from tests.leaks.watched import WatchedSite

FLOWS: dict[str, Flow] = {}
PLACE = "rehearsal.json"


def flow(function: Flow) -> Flow:
    FLOWS[function.__name__.replace("_", " ")] = function
    return function


def rehearsable(site: WatchedSite, **more: Any) -> Entry:
    """A policy that can be rehearsed; nothing was rotated yet."""
    billing = site.add()
    project, _ = site.simulator.add_project("rehearsal", team=site.team_token)
    place = {"type": "file", "path": str(site.folder / "store" / PLACE), "key": "token"}
    billing.document["rehearsal"] = {"project": project, "destinations": [place], **more}
    site.write_policies()
    return billing


def stored(site: WatchedSite) -> Secret:
    return Secret(json.loads((site.folder / "store" / PLACE).read_text(encoding="utf-8"))["token"])


@flow
def a_rehearsal(site: WatchedSite) -> None:
    billing = rehearsable(site)
    ended = site.run("rehearse", "billing", "--reason", "a drill", "-o", form(site))
    assert ended.code == 0, ended.errors
    assert site.simulator.is_alive(stored(site))
    assert billing.stored == billing.first
    look_around(site, len(SHOWING))
    assert site.run("doctor", "-o", form(site)).code == 0


@flow
def a_rehearsal_of_an_overlap(site: WatchedSite) -> None:
    billing = site.add("billing")
    (first, _), (second, _) = (
        site.simulator.add_project(name, team=site.team_token) for name in ("r1", "r2")
    )
    place = {"type": "file", "path": str(site.folder / "store" / PLACE), "key": "token"}
    billing.document["rehearsal"] = {"project": first, "destinations": [place]}
    billing.document["rehearsal"] |= {"standby": {"project": second}, "drain": SOON}
    standby, _ = site.simulator.add_project("standby", team=site.team_token)
    billing.document |= {"strategy": "create-before-revoke", "standby": {"project": standby}}
    site.simulator.add_domain(team=site.team_token, projects=[first, second])
    site.write_policies()
    for _ in range(2):
        ended = site.run("rehearse", "billing", "-o", form(site))
        assert ended.code == 0, ended.errors
    assert site.simulator.is_alive(stored(site))


@flow
def a_rehearsal_that_was_killed_and_goes_on(site: WatchedSite) -> None:
    rehearsable(site)
    paused = site.start_until(MINTED, "rehearse", "billing")
    paused.child.signal(signal.SIGKILL)
    assert paused.child.wait().code == KILLED
    paused.gate.unlink()
    look_around(site, 6)
    assert site.run("run", "-o", form(site)).code == 0
    assert site.simulator.is_alive(stored(site))


@flow
def a_rehearsal_whose_store_takes_nothing(site: WatchedSite) -> None:
    rehearsable(site)
    assert site.run("rehearse", "billing").code == 0
    (site.folder / "store" / PLACE).write_text(
        "no json, and a token in it: " + stored(site).reveal(), "utf-8"
    )
    assert site.run("rehearse", "billing", "-o", form(site)).code == 1
    assert site.run("status", "-o", form(site)).code == 0
    assert site.run("doctor", "-o", form(site)).code == 1


@flow
def a_rehearsal_s_token_that_leaks(site: WatchedSite) -> None:
    rehearsable(site)
    assert site.run("rehearse", "billing").code == 0
    given = accident("standard_input", stored(site).reveal() + "\n")
    found = site.run(
        *("rotate", "--leaked-stdin", "--emergency", "--reason", "seen in a log", "--yes", "-o", form(site)),
        prepare=given,
    )
    assert found.code == 1
    assert "`rotator rehearse billing`" in found.errors
    given = accident("standard_input", stored(site).reveal() + "\n")
    assert site.run("audit", "search", "-o", form(site), prepare=given).code == 0


@flow
def a_daemon_that_rehearses(site: WatchedSite) -> None:
    rehearsable(site, schedule={"every": "1d"})
    site.environment |= {"ROTATOR_LISTEN": "127.0.0.1:0", "ROTATOR_CALL_TIMEOUT": "2s"}
    child = site.start("serve")
    audit = site.folder / "state" / "audit.jsonl"
    eventually(lambda: audit.exists() and b"rehearsal.end" in audit.read_bytes())
    (address,) = set(re.findall(r"http://127\.0\.0\.1:[1-9]\d*", child.errors)) - {site.simulator.url}
    with httpx.Client(base_url=address, trust_env=False) as client:
        for path in (
            "/",
            "/policies/billing",
            "/api/v1/status",
            "/api/v1/rotations?policy=billing",
            "/metrics",
        ):
            answer = client.get(path)
            assert answer.status_code == 200
            site.printed[path] = answer.content
    child.signal(signal.SIGTERM)
    assert site.end(child).code == 143
