"""Several policies in one command, and several commands on one policy."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.acceptance.moments import LEASE_TAKEN, MINTED, Moment
from tests.acceptance.refusals import unchanged
from tests.acceptance.site import PING_AND_SEND, Entry, Site, eventually


def test_all_policies_rotate(site: Site) -> None:
    """Four policies that all succeed: exit 0, one mint each, every store serves a living token."""
    entries = [site.add(name) for name in ("a", "b", "c", "d")]
    ended = site.rotate()
    assert ended.code == 0, ended.errors
    assert sorted(one["policy"] for one in ended.rotations) == ["a", "b", "c", "d"]
    assert [entry.mints for entry in entries] == [1] * 4
    assert all(entry.serves_a_living_token for entry in entries)
    assert site.audit_holds()


OUTCOMES = {
    "one refused": (["refused"], 1),
    "all refused": (["refused", "refused"], 1),
    "good and refused": (["good", "refused"], 3),
    "good and unreachable": (["good", "unreachable"], 3),
    "good and held": (["good", "held"], 3),
    "held alone": (["held"], 5),
    "refused and held": (["refused", "held"], 3),
    "attention wins": (["good", "refused", "attention"], 4),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_exit_codes_of_several(site: Site, case: str) -> None:
    """All alike: that code; different: 3; any that needs attention: 4. Nobody is stopped by another."""
    kinds, code = OUTCOMES[case]
    entries = {f"{kind}-{number}": add(site, kind, f"{kind}-{number}") for number, kind in enumerate(kinds)}
    ended = site.rotate(*entries)
    assert ended.code == code, ended.errors
    for name, entry in entries.items():
        kind = name.partition("-")[0]
        assert entry.mints == (1 if kind in ("good", "attention") else 0), name
        assert name in ended.errors + ended.output


def add(site: Site, kind: str, name: str) -> Entry:
    """A policy that will fare as its kind says."""
    if kind == "unreachable":
        entry = site.add(name)
        site.simulator.faults.add("project", "dropped", project=entry.project, times=None)
        return entry
    if kind == "attention":
        # The verifier works before the mint and fails after it: the token is stored, and a person must look.
        entry = site.add(name, verify=PING_AND_SEND)
        site.simulator.add_domain(team=site.team_token, projects=[entry.project])
        site.simulator.faults.add("send", "status", status=422, skip=1)
        return entry
    entry = site.add(name)
    if kind == "refused":
        entry.store.write('{"token": "something else"}')
    if kind == "held":
        assert site.run("hold", name).code == 0
    return entry


def test_a_held_policy_rests_until_released(site: Site) -> None:
    """`rotate` refuses a held policy with 5, `run` passes over it with 0, `release` frees it."""
    billing = site.add(schedule={"every": "1s"})
    assert site.run("hold", "billing").code == 0
    with unchanged(billing):
        refused = site.rotate("billing")
        passed = site.run("run", "-o", "json")
    assert refused.code == 5
    for words in ("held", "Nothing was changed", "rotator release billing"):
        assert words in refused.errors
    assert (passed.code, passed.rotations) == (0, [])
    assert "billing: passed over" in passed.errors
    assert site.status()["state"] == "held"
    assert site.run("release", "billing").code == 0
    assert site.rotate("billing").code == 0
    assert billing.serves_a_living_token


def test_two_rotations_of_one_policy_at_once(site: Site) -> None:
    """The second one finds the lease taken while the first has a token in memory: exit 5, it sends nothing."""
    billing = site.add()
    first = site.start_until(MINTED, "rotate", "billing", "--yes")
    second = site.rotate("billing")
    assert second.code == 5, second.errors
    for words in ("billing", "is being worked on by", "Nothing was changed", "Wait for it"):
        assert words in second.errors
    assert first.go_on().wait().code == 0
    assert (billing.mints, billing.rotate_calls) == (1, 1)
    assert billing.serves_a_living_token
    assert site.audit_holds()


def test_many_rotations_started_together(site: Site) -> None:
    """Four processes at one policy at the same moment: each ends with 0 or 5, mints never overlap."""
    billing = site.add()
    site.simulator.faults.add("rotate", "answer-latency", seconds=0.1, project=billing.project, times=None)
    children = [site.start("rotate", "billing", "--yes", "-o", "json") for _ in range(4)]
    codes = [child.wait().code for child in children]
    assert set(codes) <= {0, 5}
    assert codes.count(0) == billing.mints == billing.rotate_calls >= 1
    assert billing.serves_a_living_token
    calls = [event for event in site.simulator.events_since(billing.seq) if event.call == "rotate"]
    for earlier, later in pairwise(calls):
        # The former token had been stored and verified when the next call arrived.
        assert earlier.at.seconds_until(later.arrived) > 0.1
    assert site.audit_holds()
    assert site.status()["state"] == "ok"


@pytest.mark.parametrize("moment", [LEASE_TAKEN, MINTED], ids=["lease taken", "minted"])
def test_run_passes_over_what_another_is_at_work_on(site: Site, moment: Moment) -> None:
    """`run` while a rotation is under way: says so on stderr, exit 0, and rotates the others that are due."""
    billing, other = (
        site.add("billing", schedule={"every": "1s"}),
        site.add("other", schedule={"every": "1s"}),
    )
    eventually(lambda: due(site, "billing") and due(site, "other"))
    first = site.start_until(moment, "rotate", "billing", "--yes")
    run = site.run("run", "-o", "json")
    assert run.code == 0, run.errors
    assert "billing: passed over" in run.errors
    assert [one["policy"] for one in run.rotations] == ["other"]
    assert first.go_on().wait().code == 0
    assert (billing.mints, other.mints) == (1, 1)


def due(site: Site, name: str) -> bool:
    ended = site.run("status", name, "--refresh", "-o", "json")
    return '"overdue": true' in ended.output or '"state": "due"' in ended.output


def test_the_rate_limit_is_shared(site: Site) -> None:
    """With one rotate-token call in 60 s a second policy waits: SIGTERM finds it unrotated and unharmed."""
    first, second = site.add("first"), site.add("second")
    site.environment["ROTATOR_ROTATE_LIMIT"] = "1"
    assert site.rotate("first").code == 0
    child = site.start("rotate", "second", "--yes")
    eventually(lambda: "rate limit" in child.errors)
    child.signal(15)
    assert child.wait().code == 143
    assert (first.mints, second.mints) == (1, 0)
    assert second.serves_a_living_token
