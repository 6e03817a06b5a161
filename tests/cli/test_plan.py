"""`plan`: order, times by the rate limit, predicted outage; and what it cannot find out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from rotator.clock import rfc3339
from rotator.errors import Unreachable
from rotator.journal.base import Hold, Holder
from rotator.journal.sqlite import SqliteJournal
from rotator.model import (
    Bounds,
    Policy,
    ProjectFacts,
    Rotation,
    Schedule,
    State,
    Strategy,
    Trigger,
)
from rotator.operations.plan import Planned, plan
from tests.cli.workshop import LONG_NAME, Ran
from tests.conftest import FakeClock

Rotator = Callable[..., Ran]
HOLDER = Holder("h", "host", "boot-1", 1, "1", "ns", "test")


def policy(number: int, **changes: object) -> Policy:
    made = Policy(
        name=f"policy-{number}",
        project=f"project-{number}",
        strategy=Strategy.IN_PLACE,
        destinations=(),
        schedule=Schedule(every=timedelta(days=30)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Planning:
    """A journal in memory and facts about projects whose tokens are so many days old."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.journal = SqliteJournal.in_memory(clock)
        self.days: dict[str, float] = {}

    def facts(self, project: str) -> ProjectFacts:
        if project not in self.days:
            raise Unreachable("nobody answered")
        generated = rfc3339(self.clock.now() - timedelta(days=self.days[project]))
        return ProjectFacts(project, project, True, "live", None, generated, None, None)

    def plan(self, *policies: Policy, rotate_limit: int = 3, asked_for: bool = False) -> list[Planned]:
        return plan(
            policies,
            facts=self.facts,
            journal=self.journal,
            next_cron=lambda _expression, after: after,
            now=self.clock.now(),
            rotate_limit=rotate_limit,
            asked_for=asked_for,
        )

    def save(
        self, *, policy: str = "policy-1", took: float = 2, outage: float | None = 0.5, **changes: object
    ) -> None:
        now = self.clock.now()
        self.clock.advance(60)
        project = policy.replace("policy", "project")
        rotation = Rotation(
            id=f"r-{now.timestamp()}",
            policy=policy,
            project=project,
            strategy=Strategy.IN_PLACE,
            trigger=Trigger.MANUAL,
            state=State.COMPLETED,
            started_at=now,
            finished_at=now + timedelta(seconds=took),
            snapshot={},
            actor="test",
            outage=Bounds(0.1, outage) if outage is not None else None,
        )
        lease = self.journal.acquire((project,), HOLDER, ttl=15)
        self.journal.save(lease, replace(rotation, **changes))  # type: ignore[arg-type]
        self.journal.release(lease)


@pytest.fixture
def planning(clock: FakeClock) -> Planning:
    return Planning(clock)


def test_the_rate_limit_spreads_the_starts(planning: Planning, clock: FakeClock) -> None:
    """Three at once, the fourth a minute later; the most overdue first, what is not due last."""
    planning.days = {"project-1": 31, "project-2": 40, "project-3": 35, "project-4": 32, "project-5": 1}
    found = planning.plan(*(policy(n) for n in (5, 1, 2, 3, 4)))
    assert [one.policy.name for one in found] == [f"policy-{n}" for n in (2, 3, 4, 1, 5)]
    waits = [(one.starts_at - clock.now()).total_seconds() for one in found if one.starts_at]
    assert waits == [0, 0, 0, 60, 29 * 86_400]
    assert [one.decision.due for one in found] == [True, True, True, True, False]


def test_slots_that_are_taken_count(planning: Planning, clock: FakeClock) -> None:
    """When the limit is used up by others the first start waits for it; looking takes no slot."""
    planning.days = {"project-1": 31}
    for _ in range(2):
        assert planning.journal.take_slot("rotate", limit=3, window=60) == 0
    assert planning.plan(policy(1))[0].starts_at == clock.now()
    assert planning.journal.take_slot("rotate", limit=3, window=60) == 0
    starts_at = planning.plan(policy(1))[0].starts_at
    assert starts_at is not None
    assert 59 <= (starts_at - clock.now()).total_seconds() <= 61


def test_the_outage_is_predicted_from_its_own_past(planning: Planning) -> None:
    """The longest of its last five completed rotations; those of others, older and failed ones do not count."""
    planning.days = {"project-1": 1, "project-2": 1}
    assert planning.plan(policy(1))[0].predicted_outage_seconds is None
    planning.save(outage=9.0)
    planning.save(outage=99.0, state=State.FAILED)
    planning.save(policy="policy-2", outage=77.0)
    assert planning.plan(policy(1))[0].predicted_outage_seconds == 9.0
    for outage in (0.25, None, 0.5001, 0.125, 0.25):
        planning.save(outage=outage)
    assert planning.plan(policy(1))[0].predicted_outage_seconds == 0.501


def test_the_end_is_the_start_and_what_it_took_before(planning: Planning) -> None:
    """The longest of its last rotations; a usual length where there was none."""
    planning.days = {"project-1": 1}

    def lasts() -> float:
        one = planning.plan(policy(1), asked_for=True)[0]
        assert one.starts_at is not None
        assert one.ends_at is not None
        return (one.ends_at - one.starts_at).total_seconds()

    assert lasts() == 5
    planning.save(took=2)
    planning.save(took=12)
    assert lasts() == 12


def test_held_unscheduled_and_unfinished(planning: Planning, clock: FakeClock) -> None:
    """What is held never starts; what has no schedule only when asked; what is unfinished starts now."""
    planning.days = {"project-1": 31, "project-2": 31, "project-3": 1}
    planning.journal.hold(Hold("policy-1", clock.now(), "me", ""))
    planning.save(policy="policy-3", state=State.RUNNING, step="verify", minted=True)
    three = [policy(1), policy(2, schedule=None), policy(3)]
    by_name = {one.policy.name: one for one in planning.plan(*three)}
    assert by_name["policy-1"].starts_at is None
    assert by_name["policy-2"].starts_at is None
    assert by_name["policy-3"].starts_at == clock.now()
    assert [step.name for step in by_name["policy-3"].steps] == ["verify", "prove-dead", "close"]
    asked = {one.policy.name: one for one in planning.plan(*three, asked_for=True)}
    assert asked["policy-1"].starts_at is None
    assert asked["policy-2"].starts_at == clock.now()


def test_what_cannot_be_found_out_is_said(planning: Planning) -> None:
    """A project nobody answers for, a strategy not carried out: not due, with the reason, beside the others."""
    planning.days = {"project-1": 31, "project-3": 31}
    found = planning.plan(policy(2), policy(3, strategy=Strategy.ASSISTED), policy(1))
    assert [(one.policy.name, one.state) for one in found] == [
        ("policy-1", "overdue"),
        ("policy-2", "unknown"),
        ("policy-3", "unknown"),
    ]
    assert found[1].view()["reason"] == "not known: nobody answered"
    assert found[1].view()["starts_at"] is None


def test_the_card_of_a_plan(rotator: Rotator) -> None:
    """Why, when, which steps, which of them cannot be undone, and the outage."""
    shown = rotator("plan", "billing", LONG_NAME, "-o", "table")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0] == "billing  not due"
    assert "  why       not due yet: every 30d" in lines
    assert "  steps     preflight > mint+publish* > verify > prove-dead > close" in lines
    assert "            * cannot be undone" in lines
    assert "  outage    not known: no rotation of it was measured yet" in lines
