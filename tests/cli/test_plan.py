"""`plan`: order, times by the rate limit, predicted outage; and what it cannot find out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rotator.cli import tables
from rotator.clock import Instant, rfc3339
from rotator.errors import Unreachable
from rotator.journal.base import Hold, Holder
from rotator.journal.sqlite import SqliteJournal
from rotator.model import (
    Attention,
    Bounds,
    Drain,
    DrainEvidence,
    Draining,
    Form,
    Intent,
    Policy,
    ProjectFacts,
    Rotation,
    Schedule,
    State,
    StepOutcome,
    StepRecord,
    Strategy,
    Trigger,
)
from rotator.operations.plan import Plan, Planned, plan
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

    def plan(self, *policies: Policy, **options: Any) -> tuple[Planned, ...]:
        return self.whole(*policies, **options).entries

    def whole(self, *policies: Policy, rotate_limit: int = 3, asked_for: bool = False) -> Plan:
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
    ) -> Rotation:
        """A rotation of the past; `took` is the work of its one step."""
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
            steps=(StepRecord("mint+publish", now, took, StepOutcome.DONE),),
        )
        rotation = replace(rotation, **changes)  # type: ignore[arg-type]
        lease = self.journal.acquire((project,), HOLDER, ttl=15)
        self.journal.save(lease, rotation)
        self.journal.release(lease)
        return rotation

    def intent(self, sent: datetime) -> Intent:
        """One that was sent at this time."""
        instant = Instant(sent, "boot-1", 0.0)
        return Intent("project-1", instant, instant.plus(15), None, ())

    def wait(self, moment: datetime | None) -> float:
        """Seconds from now."""
        assert moment is not None
        return (moment - self.clock.now()).total_seconds()


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


def test_mints_in_the_past_free_one_slot_each(planning: Planning) -> None:
    """Two mints of others, 20 s apart: each of ours waits for the third before it, to the second."""
    planning.days = {f"project-{n}": 31.0 for n in range(1, 6)}
    for pause in (20, 10):
        assert planning.journal.take_slot("rotate", limit=3, window=60) == 0
        planning.clock.advance(pause)
    found = planning.whole(*(policy(n) for n in range(1, 6)))
    assert [planning.wait(one.starts_at) for one in found.entries] == [0, 30, 50, 60, 90]
    assert [one.limited for one in found.entries] == [False, True, True, True, True]
    summary = found.view()["summary"]
    assert (summary["count"], summary["mints"]) == (5, 5)
    assert summary["rate_limit"] == {"mints": 3, "seconds": 60}
    assert summary["starts_at"] == rfc3339(planning.clock.now())
    assert summary["last_starts_at"] == rfc3339(planning.clock.now() + timedelta(seconds=90))
    assert summary["ends_at"] == rfc3339(planning.clock.now() + timedelta(seconds=95))


def test_what_has_a_date_later_meets_the_limit_too(planning: Planning) -> None:
    """Five due at the same later time start by the limit from then on, and are no part of the summary."""
    planning.days = {f"project-{n}": 1.0 for n in range(1, 6)}
    found = planning.whole(*(policy(n) for n in range(1, 6)), rotate_limit=2)
    assert [planning.wait(one.starts_at) - 29 * 86_400 for one in found.entries] == [0, 0, 60, 60, 120]
    assert (found.summary.count, found.summary.starts_at, found.summary.ends_at) == (0, None, None)
    # Those that are due go first, and leave no room for a while.
    planning.days["project-1"] = 31
    assert [one.starts_now for one in planning.plan(*(policy(n) for n in range(1, 6)))] == [
        True,
        *[False] * 4,
    ]


def test_what_rotate_is_asked_for_keeps_its_order(planning: Planning) -> None:
    """`rotate` takes them as named; `run` the most overdue first, after what is unfinished."""
    planning.days = {"project-1": 31, "project-2": 40, "project-3": 1}
    planning.save(policy="policy-3", state=State.RUNNING, step="verify", minted=True)
    three = [policy(1), policy(2), policy(3)]
    assert [one.policy.name for one in planning.plan(*three)] == ["policy-3", "policy-2", "policy-1"]
    asked = planning.plan(*three, asked_for=True)
    assert [one.policy.name for one in asked] == ["policy-1", "policy-2", "policy-3"]


def test_the_outage_is_predicted_from_its_own_past(planning: Planning) -> None:
    """The longest of its last five measured ones, rounded up; it says how many they were."""
    planning.days = {"project-1": 1, "project-2": 1}

    def predicted() -> tuple[float | None, str]:
        view = planning.plan(policy(1))[0].view()
        return view["predicted_outage_seconds"], view["predicted_outage_from"]

    planning.save(policy="policy-2", outage=77.0)
    planning.save(outage=None)
    assert predicted() == (None, "no rotation of it was measured yet")
    planning.save(outage=9.0)
    assert predicted() == (9.0, "its only measured rotation")
    for outage in (0.25, None, 0.5001, 0.125, 0.25):
        planning.save(outage=outage)
    assert predicted() == (9.0, "the longest of its last 5 measured rotations")
    planning.save(outage=0.25)
    assert predicted() == (0.501, "the longest of its last 5 measured rotations")


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"state": State.NEEDS_ATTENTION}, True),
        ({"state": State.FAILED}, True),
        ({"trigger": Trigger.EMERGENCY}, True),
        ({"trigger": Trigger.REHEARSAL}, False),
        ({"strategy": Strategy.ASSISTED}, False),
    ],
)
def test_which_outages_count(planning: Planning, changes: dict[str, object], counts: bool) -> None:
    """Whatever became of the rotation, readers lived through it; another strategy or project is no guide."""
    planning.days = {"project-1": 1}
    planning.save(outage=30.0, **changes)
    assert planning.plan(policy(1))[0].forecast.outage == (30.0 if counts else None)


def test_the_end_is_the_start_and_what_it_took_before(planning: Planning) -> None:
    """The longest of its last completed ones; a usual length where there was none, and it says so."""
    planning.days = {"project-1": 1}

    def lasts() -> tuple[float, str]:
        one = planning.plan(policy(1), asked_for=True)[0]
        assert one.starts_at is not None
        assert one.ends_at is not None
        seconds = one.view()["predicted_duration_seconds"]
        assert seconds == (one.ends_at - one.starts_at).total_seconds()
        return seconds, one.view()["predicted_duration_from"]

    planning.save(took=99, state=State.FAILED)
    assert lasts() == (5, "assumed, because no rotation of it has completed yet")
    planning.save(took=2)
    assert lasts() == (2, "its only completed rotation")
    planning.save(took=12)
    assert lasts() == (12, "the longest of its last 2 completed rotations")


def test_a_wait_is_no_work(planning: Planning) -> None:
    """Neither the wait for a slot, which the start tells, nor a night between two processes."""
    planning.days = {"project-1": 1}
    now = planning.clock.now()
    steps = (
        StepRecord("preflight", now, 1.5, StepOutcome.DONE),
        StepRecord("mint+publish", now + timedelta(seconds=2), 60.0, StepOutcome.DONE),
        StepRecord("verify", now + timedelta(hours=9), 0.25, StepOutcome.DONE),
    )
    planning.save(took=40_000, steps=steps, intent=planning.intent(now + timedelta(seconds=59)))
    assert planning.plan(policy(1))[0].forecast.duration == 1.5 + 3 + 0.25
    planning.save(took=40_000, steps=steps)
    assert planning.plan(policy(1))[0].forecast.duration == 1.5 + 60 + 0.25


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


def test_a_hold_does_not_stop_a_rescue(planning: Planning, clock: FakeClock) -> None:
    """Past the point of no return `run` goes on although it is held; before it, it waits."""
    planning.days = {"project-1": 1, "project-2": 1}
    for number in (1, 2):
        planning.journal.hold(Hold(f"policy-{number}", clock.now(), "me", ""))
    intent = planning.intent(clock.now())
    planning.save(policy="policy-1", state=State.RUNNING, step="mint+publish", intent=intent)
    planning.save(policy="policy-2", state=State.RUNNING, step="preflight")
    rescued, waiting = planning.plan(policy(1), policy(2))
    assert (rescued.policy.name, rescued.starts_now, rescued.mints) == ("policy-1", True, 1)
    assert rescued.past_no_return
    assert rescued.decision.reason == "a rotation is unfinished and comes first"
    assert (waiting.starts_at, waiting.past_no_return) == (None, False)


def test_what_is_minted_takes_no_slot(planning: Planning, clock: FakeClock) -> None:
    """The rest of an unfinished rotation starts at once; asked for, a whole one follows, with its mint."""
    planning.days = {"project-1": 1, "project-2": 31}
    planning.save(state=State.NEEDS_ATTENTION, step="mint+publish", minted=True)
    assert planning.journal.take_slot("rotate", limit=1, window=60) == 0
    rest, due = planning.plan(policy(1), policy(2), rotate_limit=1)
    assert (rest.mints, planning.wait(rest.starts_at)) == (0, 0)
    assert (due.mints, planning.wait(due.starts_at)) == (1, 60)
    (asked,) = planning.plan(policy(1), asked_for=True, rotate_limit=1)
    assert (asked.mints, planning.wait(asked.starts_at), asked.past_no_return) == (1, 60, False)
    assert asked.steps[0].name == "preflight"


def test_a_drain_goes_on_when_it_may_end(planning: Planning, clock: FakeClock) -> None:
    """Not now: the rest of it starts when `min` has passed and nobody has used the token for `quiet`. One whose old
    token a person must revoke has no date."""
    planning.days = {"project-1": 1, "project-2": 1}
    pair = {"strategy": Strategy.CREATE_BEFORE_REVOKE, "standby_project": "project-9"}
    since = Instant.read(clock)
    drain = Draining(since, DrainEvidence.LAST_USED, 600.0, 300.0, 86_400.0, quiet_since=since.plus(400))
    open_pair = {"form": Form.STANDBY, "outgoing": "project-1", "incoming": "project-9", "promoted": since}
    planning.save(state=State.DRAINING, step="drain", minted=True, drain=drain, finished_at=None, **open_pair)
    planning.save(policy="policy-2", state=State.NEEDS_ATTENTION, step="revoke", form=Form.ASSISTED)
    found = planning.whole(policy(1, **pair), policy(2, strategy=Strategy.ASSISTED))
    by_name = {one.policy.name: one for one in found.entries}
    one = by_name["policy-1"]
    assert (one.starts_at, one.starts_now, one.goes_on) == (since.plus(700).wall, False, True)
    assert one.ends_at is not None
    assert one.ends_at - since.plus(700).wall == timedelta(seconds=5)
    assert by_name["policy-2"].starts_at is None
    assert found.summary.count == 0


def test_a_rotation_without_a_past_drains_for_as_long_as_it_must(planning: Planning) -> None:
    """What is assumed of an overlap has its drain in it."""
    planning.days = {"project-1": 31}
    drain = Drain(min=timedelta(hours=2))
    pair = policy(1, strategy=Strategy.CREATE_BEFORE_REVOKE, standby_project="project-9", drain=drain)
    assert planning.plan(pair)[0].forecast.duration == 7200 + 5


def test_what_run_leaves_alone(planning: Planning, clock: FakeClock) -> None:
    """Without rotate-token at the provider `run` does nothing; `rotate` asks again."""
    planning.days = {"project-1": 31}
    planning.journal.raise_attention(Attention("policy-1", "endpoint-gone", clock.now(), "", ""))
    one = planning.plan(policy(1))[0]
    assert (one.decision.due, one.starts_now, one.starts_at) == (True, False, None)
    assert one.explanation.endswith(
        " The provider has taken rotate-token away, so `rotator run` leaves it alone; "
        "`rotator rotate policy-1` asks again."
    )
    asked = planning.plan(policy(1), asked_for=True)[0]
    assert (asked.starts_now, "leaves it alone" in asked.explanation) == (True, False)


def test_what_cannot_be_found_out_is_said(planning: Planning) -> None:
    """A project nobody answers for: not known, with the reason, beside the others. One whose token a person
    makes has no date before its first promote."""
    planning.days = {"project-1": 31, "project-3": 31}
    found = planning.plan(policy(2), policy(3, strategy=Strategy.ASSISTED), policy(1))
    assert [(one.policy.name, one.state) for one in found] == [
        ("policy-1", "overdue"),
        ("policy-2", "unknown"),
        ("policy-3", "not due"),
    ]
    assert found[2].decision.reason == "no token was ever promoted; `rotator stage` takes the first"
    assert "`rotator stage policy-3` takes the first" in found[2].explanation
    assert found[1].view()["reason"] == "not known: nobody answered"
    assert found[1].view()["explanation"] == "Nothing is known about its date: nobody answered."
    assert found[1].view()["starts_at"] is None


def test_the_json_of_a_plan(planning: Planning) -> None:
    """Its keys, the explanation among them, and the summary beside the list."""
    planning.days = {"project-1": 31}
    view = planning.whole(policy(1)).view()
    assert set(view) == {"plan", "summary"}
    assert set(view["plan"][0]) == {
        *("policy", "due", "due_at", "reason", "explanation", "strategy", "steps", "mints"),
        *("predicted_outage_seconds", "predicted_outage_from"),
        *("predicted_duration_seconds", "predicted_duration_from"),
        *("starts_at", "ends_at"),
    }
    assert view["plan"][0]["explanation"] == (
        "30d after the token was generated on Wed 21 Oct 2026 12:00 UTC is Fri 20 Nov 12:00 UTC; "
        "due since then; overdue since Sat 21 Nov 12:00 UTC, a day later."
    )


# --- what a person sees ---------------------------------------------------------------------------


@pytest.fixture
def shown(planning: Planning, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A plan as it is drawn, 80 columns wide and without colour."""
    monkeypatch.setenv("COLUMNS", "80")

    def draw(*policies: Policy, **options: Any) -> list[str]:
        drawn = tables.plan(planning.whole(*policies, **options), planning.clock.now())
        assert all(len(line) <= 80 for line in drawn.splitlines())
        return drawn.splitlines()

    return draw


def test_the_point_of_no_return_is_a_line(planning: Planning, shown: Callable[..., list[str]]) -> None:
    """Before it what can be thrown away, after it the rest; what cannot be undone has a star and is told."""
    planning.days = {"project-1": 1}
    lines = shown(policy(1))
    place = lines.index("  steps     preflight")
    assert lines[place + 1 : place + 5] == [
        "            ----- point of no return -----",
        "            mint+publish* > verify > prove-dead > close",
        "            * cannot be undone: mint; the old token dies; write the new one at",
        "            once",
    ]


def test_past_the_point_of_no_return_it_says_so(planning: Planning, shown: Callable[..., list[str]]) -> None:
    """What is left of an unfinished rotation goes only forward."""
    planning.days = {"project-1": 1}
    planning.save(state=State.RUNNING, step="verify", minted=True)
    lines = shown(policy(1))
    place = lines.index("  steps     past the point of no return, only forward:")
    assert lines[place + 1] == "            verify > prove-dead > close"
    assert "point of no return -----" not in "".join(lines)


def test_of_many_policies_the_steps_are_told_once(
    planning: Planning, shown: Callable[..., list[str]]
) -> None:
    """Up to three cards are whole; of four the steps stand below, by strategy."""
    planning.days = {f"project-{n}": 31.0 for n in range(1, 5)}
    assert "\n".join(shown(*(policy(n) for n in range(1, 4)))).count("point of no return") == 3
    lines = shown(*(policy(n) for n in range(1, 5)))
    assert "\n".join(lines).count("point of no return") == 1
    assert lines.index("in-place") > lines.index("policy-4  overdue")


def test_the_summary_in_words(planning: Planning, shown: Callable[..., list[str]]) -> None:
    """How many, at which rate, from when to when; or what comes next; or that nothing does."""

    def summary(*policies: Policy, **options: Any) -> str:
        return " ".join(" ".join(shown(*policies, **options)).rpartition("in all")[2].split())

    planning.days = {f"project-{n}": 31.0 for n in range(1, 91)}
    ninety = [policy(n) for n in range(1, 91)]
    assert summary(*ninety, rotate_limit=30) == (
        "90 rotations at 30 mints in any 60 s: the first starts at 2026-11-21 12:00:00 UTC, the last at "
        "2026-11-21 12:02:00 UTC, and all have ended about 2026-11-21 12:02:05 UTC."
    )
    assert summary(policy(1), rotate_limit=1) == (
        "1 rotation at 1 mint in any 60 s: it starts at 2026-11-21 12:00:00 UTC and ends about "
        "2026-11-21 12:00:05 UTC."
    )
    planning.days |= {"project-1": 1, "project-2": 2}
    assert (
        summary(policy(1), policy(2)) == "Nothing rotates now. The next is policy-2, on 2026-12-19 12:00 UTC."
    )
    assert summary(policy(1, schedule=None)) == "Nothing rotates now, and nothing has a date."
    planning.days["project-2"] = 31
    planning.save(state=State.RUNNING, step="verify", minted=True)
    assert summary(policy(1), policy(2)) == (
        "2 rotations with 1 mint, at 3 mints in any 60 s: all start at 2026-11-21 12:01:00 UTC and have ended "
        "about 2026-11-21 12:01:05 UTC."
    )


def test_figures_say_what_they_are_made_from(planning: Planning, shown: Callable[..., list[str]]) -> None:
    """Outage and length, measured or not; and what waits for the rate limit says so."""
    planning.days = {"project-1": 31, "project-2": 31}
    fresh = shown(policy(1))
    assert "  outage    not known: no rotation of it was measured yet" in fresh
    assert "  lasts     5.00 s: assumed, because no rotation of it has completed yet" in fresh
    planning.save(took=2, outage=0.5)
    planning.save(took=3, outage=0.25)
    lines = shown(policy(1), policy(2), rotate_limit=1)
    assert "  outage    up to 0.500 s: the longest of its last 2 measured rotations" in lines
    assert "  lasts     3.00 s: the longest of its last 2 completed rotations" in lines
    assert any(line.endswith("in 1m, when the rate limit has room") for line in lines)


def test_the_card_of_a_plan(rotator: Rotator) -> None:
    """State, why, where the date comes from, when, and the outage."""
    ran = rotator("plan", "billing", LONG_NAME, "-o", "table")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "billing  not due"
    assert "  why       not due yet: every 30d" in lines
    assert lines[2].startswith("  date      30d after the token was generated on ")
    assert "  outage    not known: no rotation of it was measured yet" in lines
    assert lines[-1].startswith("  ")
    assert "Nothing rotates now. The next is billing, on " in ran.out
