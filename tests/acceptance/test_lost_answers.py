"""Answers to rotate-token that never came or said nothing: as many mints as needed, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.site import Site

CASES = {
    "executed and the connection dropped": ("lost-answer", {}, 2),
    "executed and the answer too late": ("lost-answer", {"hang": 1.0}, 2),
    "dropped before execution": ("dropped", {}, 1),
    "500 before execution": ("error-before", {"status": 500}, 1),
    "502 after execution": ("error-after", {"status": 502}, 2),
    "502 after execution, a proxy's page": ("error-after", {"status": 502, "page": True}, 2),
    "executed and an answer without the token": ("malformed", {}, 2),
    "executed and an answer cut in half": ("truncated", {}, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_command_ends_with_a_living_token(site: Site, case: str) -> None:
    """Whatever became of the first call, one command mints once or twice and stores the token that lives."""
    kind, params, mints = CASES[case]
    billing = site.add()
    fault(site, kind, params)
    ended = site.rotate("billing")
    assert ended.code == 0, ended.errors
    assert (billing.mints, billing.rotate_calls) == (mints, 2)
    assert billing.serves_a_living_token
    (rotation,) = ended.rotations
    assert (rotation["state"], rotation["old_token_dead"]) == ("completed", True)
    assert site.audit_holds()
    assert site.run("run", "-o", "json").rotations == []
    assert billing.mints == mints


def test_two_lost_answers_in_a_row(site: Site) -> None:
    """Losing the second answer as well costs a third mint and nothing else."""
    billing = site.add()
    site.simulator.faults.add("rotate", "lost-answer", times=2)
    ended = site.rotate("billing")
    assert ended.code == 0, ended.errors
    assert billing.mints == 3
    assert billing.serves_a_living_token


def test_an_outage_is_counted_from_the_lost_call(site: Site) -> None:
    """The old token died with the first call: the stated outage reaches back to it."""
    billing = site.add()
    site.simulator.faults.add("rotate", "lost-answer")
    (rotation,) = site.rotate("billing").rotations
    first, second = site.simulator.mints(billing.project)
    assert rotation["outage_seconds"]["max"] >= first.old_dead_from.seconds_until(second.at)


def fault(site: Site, kind: str, params: dict[str, Any]) -> None:
    site.simulator.faults.add("rotate", kind, **params)
