"""The JSON of what a drain and a canary saw (design 3.3)."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from rotator.clock import Instant
from rotator.model import (
    Bounds,
    CanaryCount,
    DrainEvidence,
    Draining,
    DrainResult,
    Rotation,
    State,
    Strategy,
    Trigger,
)
from rotator.views import rotation_view
from tests.journal.builders import full_rotation

START = Instant(datetime(2026, 11, 21, 12, 0, tzinfo=UTC), "boot-1", 1000.0)
DRAINING = Draining(
    since=START,
    evidence=DrainEvidence.LAST_USED,
    min_seconds=7200,
    quiet_seconds=3600,
    max_seconds=86400 * 7,
    looked=START.plus(90),
    quiet_since=START.plus(60.5),
    last_used_at="2026-11-21T13:00:59+01:00",
    last_used_ip="203.0.113.9",
)


def shown(**changes: Any) -> dict[str, Any]:
    rotation = Rotation(
        id="r",
        policy="billing",
        project="p",
        strategy=Strategy.CREATE_BEFORE_REVOKE,
        trigger=Trigger.MANUAL,
        state=State.DRAINING,
        started_at=START.wall,
        snapshot={},
        actor="test",
    )
    return rotation_view(replace(rotation, **changes))


def test_rotation_without_drain_and_canary_says_so() -> None:
    """Both keys are there, and null."""
    found = shown()
    assert (found["drain"], found["canary"]) == (None, None)


def test_drain_tells_its_limits_and_its_evidence() -> None:
    """The eight fields of the interface; every time in UTC with milliseconds, the provider's as well."""
    assert shown(drain=DRAINING)["drain"] == {
        "since": "2026-11-21T12:00:00.000Z",
        "min_until": "2026-11-21T14:00:00.000Z",
        "quiet_since": "2026-11-21T12:01:00.500Z",
        "max_until": "2026-11-28T12:00:00.000Z",
        "last_used_at": "2026-11-21T12:00:59.000Z",
        "last_used_ip": "203.0.113.9",
        "evidence": "last-used",
        "result": "waiting",
    }


def test_drain_by_time_claims_no_evidence() -> None:
    """What the provider does not tell is null and not guessed."""
    by_time = replace(
        DRAINING,
        evidence=DrainEvidence.TIME,
        quiet_since=None,
        last_used_at=None,
        last_used_ip=None,
        result=DrainResult.QUIET,
    )
    found = shown(drain=by_time)["drain"]
    assert (found["evidence"], found["result"]) == ("time", "quiet")
    assert [found[name] for name in ("quiet_since", "last_used_at", "last_used_ip")] == [None] * 3


@pytest.mark.parametrize("written", ["a moment ago", "2026-11-21T12:00:59"])
def test_time_that_cannot_be_read_is_shown_as_written(written: str) -> None:
    """No time at all, and one without an offset: a person may still make sense of it."""
    assert shown(drain=replace(DRAINING, last_used_at=written))["drain"]["last_used_at"] == written


def test_a_bound_that_nobody_knows_is_null() -> None:
    """JSON has no infinity; a maximum without an end is null, and the least is told all the same."""
    view = rotation_view(replace(full_rotation(), exposure=Bounds(1.0, math.inf)))
    assert view["exposure_seconds"] == {"min": 1.0, "max": None}


def test_canary_has_three_numbers() -> None:
    """The longest gap is rounded up, so that it is never told shorter than it was."""
    found = shown(canary=CanaryCount(attempts=120, failures=0, longest_gap=0.1231))["canary"]
    assert found == {"attempts": 120, "failures": 0, "longest_gap_seconds": 0.124}
