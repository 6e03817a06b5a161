"""The daemon's loop on a clock that moves when told to."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from rotator.daemon.backoff import FIRST, LONGEST
from rotator.errors import JournalUnavailable, RateLimited, Unreachable
from rotator.journal.base import Hold
from rotator.model import ProjectFacts, Rotation, Schedule, State, Trigger
from rotator.policies.cron import next_after
from rotator.policies.schedule import due_date
from tests.conftest import FakeClock
from tests.daemon.small import Town, of, policy
from tests.journal.builders import rotation

HOUR = 3600.0
EVERY_DAY = Schedule(every=timedelta(days=1))


@pytest.fixture
def clock() -> FakeClock:
    """Just before the night in which Europe's clocks go back."""
    return FakeClock(datetime(2026, 10, 24, 12, 0, tzinfo=UTC))


def mixed(number: int) -> Schedule:
    """Schedules of every kind, in zones that change their clocks that night and in one that does not."""
    zone = ("Europe/Amsterdam", "America/New_York", "UTC", "Australia/Lord_Howe")[number % 4]
    if number % 3 == 0:
        return Schedule(cron=f"{number % 60} {number % 24} * * *", timezone=zone)
    if number % 3 == 1:
        return Schedule(every=timedelta(hours=5 + number % 30), timezone=zone)
    return Schedule(cron=f"{number % 60} 2 * * *", timezone=zone, jitter=timedelta(minutes=number % 50))


def test_a_day_over_the_change_of_the_clocks(clock: FakeClock) -> None:
    """A hundred policies, 25 hours: every due date is met once, by the next tick, and none twice."""
    policies = tuple(policy(f"p{number}", mixed(number)) for number in range(100))
    town = Town(clock, policies, looks_a_minute=5)
    began = clock.now()
    expected = {}
    for one in policies:
        dates, anchor = [], began
        while True:
            assert one.schedule is not None
            due = due_date(one.schedule, policy=one.name, anchor=anchor, next_cron=next_after)
            assert due is not None
            if due.at > began + timedelta(hours=25):
                break
            # It is met by the first tick from then on, and the next date counts from there.
            met = began + timedelta(minutes=-(-(due.at - began).total_seconds() // 60))
            dates.append(met)
            anchor = met
        expected[one.name] = dates
    town.daemon.tick()
    town.pass_time(25 * HOUR)
    assert {one.name: of(town, one.name) for one in policies} == expected
    assert sum(map(len, expected.values())) > 100


def test_what_is_asked_for_during_a_look_does_not_wait_for_the_next(clock: FakeClock) -> None:
    """A rotation that is enrolled while its policy is being looked at is taken up by the next tick, not a minute
    later: the look began before it was there."""
    town = Town(clock, (policy("billing", EVERY_DAY),))
    facts = town.facts

    def enrolled_meanwhile(project: str) -> ProjectFacts:
        found = facts(project)
        if not town.resumed:
            town.save(rotation(policy="billing", project=project))
            town.daemon.wake("billing")
        return found

    town.ports.provider.project = enrolled_meanwhile
    town.daemon.tick()
    assert town.resumed == []
    town.pass_time(1, step=1)
    assert town.resumed == ["r-1"]


def test_a_full_rate_limit_is_said_once_and_waited_for(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred policies at the start, and room for thirty reads a minute: one warning, no growing pause, and all
    are looked at."""
    policies = tuple(policy(f"p{n}", EVERY_DAY) for n in range(100))
    town = Town(clock, policies, looks_a_minute=20)
    facts, looked, room = town.facts, set[str](), [30]

    def limited(project: str) -> ProjectFacts:
        if not room[0]:
            raise RateLimited("no room", retry_after=30.0)
        room[0] -= 1
        looked.add(project)
        return facts(project)

    town.ports.provider.project = limited
    town.daemon.tick()
    for _ in range(10):
        room[0] = 30
        town.pass_time(60, step=5)
    assert len(looked) == 100
    assert sum("rate limit" in one.message for one in caplog.records) == 1


def test_looks_are_rationed(clock: FakeClock) -> None:
    """However many policies there are, looking at them costs so many reads a minute and no more."""
    town = Town(clock, tuple(policy(f"p{n}", EVERY_DAY) for n in range(100)), looks_a_minute=10)
    town.daemon.tick()
    town.looks = 0
    town.pass_time(2 * HOUR)
    assert 120 * 10 * 0.8 < town.looks < 120 * 10 * 1.2


def test_ticks_that_were_missed_are_caught_up_once(clock: FakeClock) -> None:
    """A machine that slept for three days rotates once when it wakes, not three times."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.daemon.tick()
    clock.advance(3 * 24 * HOUR + 5)
    town.daemon.tick()
    town.pass_time(HOUR)
    assert len(town.mints) == 1


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_of_the_wall_clock_runs_nothing_twice(clock: FakeClock, jump: float) -> None:
    """The clock is set right after a rotation: the next one comes a day after it all the same."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.daemon.tick()
    town.pass_time(24 * HOUR + 120)
    assert len(town.mints) == 1
    clock.jump_wall(jump)
    town.pass_time(20 * HOUR)
    assert len(town.mints) == 1
    town.pass_time(7 * HOUR)
    assert len(town.mints) == 2


def test_a_restart_changes_nothing(clock: FakeClock) -> None:
    """What the loop remembers is only when to look next."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    for _ in range(50):
        town.new_daemon().tick()
        clock.advance(HOUR)
    assert len(town.mints) == 2


def test_back_off_doubles_and_survives_a_restart(clock: FakeClock) -> None:
    """A rotation that is refused is tried again after a minute, two, four, up to an hour, counted in the journal."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.failures["a"] = State.REFUSED
    town.daemon.tick()
    clock.advance(24 * HOUR)
    tried = []
    for _ in range(12 * 60):
        before = len(town.journal.rotations())
        town.new_daemon().tick()
        if len(town.journal.rotations()) > before:
            tried.append(clock.now())
        clock.advance(60)
    gaps = [(after - before) / FIRST for before, after in pairwise(tried)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert set(gaps[6:]) == {LONGEST / FIRST}
    town.failures.clear()
    town.pass_time(2 * HOUR)
    assert len(town.mints) == 1


def fail_often(town: Town) -> None:
    town.failures["a"] = State.FAILED
    town.daemon.tick()
    town.pass_time(30 * HOUR)
    town.failures.clear()
    assert len(town.journal.rotations()) > 5


def test_a_changed_policy_ends_the_back_off(clock: FakeClock) -> None:
    """A person has mended it: it is tried at once."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    fail_often(town)
    mended = replace(town.files.policies[0], owner="ana", snapshot={"name": "a", "owner": "ana"})
    town.files.written = (mended,)
    town.pass_time(120)
    assert len(town.mints) == 1


def test_a_rotation_by_a_person_ends_the_back_off(clock: FakeClock) -> None:
    """One that was started by hand, whatever became of it, begins the counting anew."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    fail_often(town)
    newest = town.journal.rotations()[0]
    by_hand = replace(newest, id="by-hand", trigger=Trigger.MANUAL, started_at=clock.now())
    town.save(by_hand)
    town.daemon.wake("a")
    town.daemon.tick()
    assert len(town.mints) == 1


def test_held_policies_are_left_alone(clock: FakeClock) -> None:
    """Nothing rotates while held; what became due meanwhile rotates when it is released."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.journal.hold(Hold("a", clock.now(), "ana@desk", ""))
    town.daemon.tick()
    town.pass_time(30 * HOUR)
    assert town.mints == []
    town.journal.release_hold("a")
    town.pass_time(60)
    assert len(town.mints) == 1


def test_the_most_overdue_goes_first(clock: FakeClock) -> None:
    """Where more is due than may be minted now, the queue is ordered by the due dates."""
    town = Town(clock, tuple(policy(f"p{n}", EVERY_DAY) for n in range(6)))
    for number in range(6):
        town.generated[f"project-p{number}"] = clock.now() - timedelta(days=2, hours=(number * 5) % 6)
    minters: Any = town.daemon._minters
    minters.held_back = True
    town.daemon.tick()
    order = [key for key, _ in minters.waiting_jobs]
    assert len(order) == 6
    for _, job in sorted(minters.waiting_jobs, key=lambda entry: entry[0]):
        job()
    assert [name for name, _ in town.mints] == sorted(
        (f"p{n}" for n in range(6)), key=lambda name: -((int(name[1:]) * 5) % 6)
    )


def test_a_policy_has_one_job_at_a_time(clock: FakeClock) -> None:
    """While one waits for the rate limit, ticks hand out no second one."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    minters: Any = town.daemon._minters
    minters.held_back = True
    town.generated["project-a"] -= timedelta(days=3)
    for _ in range(10):
        clock.advance(600)
        town.daemon.tick()
    assert len(minters.waiting_jobs) == 1


def test_an_away_journal_is_said_once_and_lived_through(clock: FakeClock, caplog: Any) -> None:
    """While the journal is away nothing is done; when it is back, what is due is rotated."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.daemon.tick()
    real = town.journal.unfinished

    def away(*_: Any) -> list[Rotation]:
        raise JournalUnavailable("The journal is away")

    town.journal.unfinished = away  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO):
        town.pass_time(30 * HOUR)
        assert town.mints == []
        town.journal.unfinished = real  # type: ignore[method-assign]
        town.pass_time(120)
    assert len(town.mints) == 1
    assert caplog.text.count("The journal is away") == 1
    assert caplog.text.count("the journal is back") == 1


def test_nothing_is_begun_once_it_was_asked_to_stop(clock: FakeClock) -> None:
    """A tick after SIGTERM hands out nothing."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.generated["project-a"] -= timedelta(days=3)
    town.stop.request(15)
    town.daemon.tick()
    assert (town.mints, town.looks) == ([], 0)


def test_every_rotation_that_ended_is_told(clock: FakeClock) -> None:
    """Whoever counts rotations hears of each once."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.daemon.tick()
    town.pass_time(50 * HOUR)
    assert [one.id for one in town.ended] == ["r-1", "r-2"]


def opened(town: Town, name: str, state: State = State.DRAINING) -> Rotation:
    """An open rotation of a policy, as another process left it."""
    one = next(policy for policy in town.files.policies if policy.name == name)
    rotation = Rotation(
        id=f"open-{name}",
        policy=name,
        project=one.project,
        strategy=one.strategy,
        trigger=Trigger.MANUAL,
        state=state,
        started_at=town.clock.now(),
        snapshot=one.snapshot,
        actor="test",
        step="preflight",
    )
    town.save(rotation)
    return rotation


def test_what_is_open_does_not_wait_behind_the_queue_of_what_is_due(clock: FakeClock) -> None:
    """While rotations that are due wait for the rate limit, an open one goes on."""
    town = Town(clock, tuple(policy(f"p{n}", EVERY_DAY) for n in range(12)))
    for number in range(11):
        town.generated[f"project-p{number}"] -= timedelta(days=3)
    minters: Any = town.daemon._minters
    minters.held_back = True
    town.daemon.tick()
    assert len(minters.waiting_jobs) == 11
    opened(town, "p11")
    town.daemon.wake("p11")
    town.daemon.tick()
    assert town.resumed == ["open-p11"]


def test_an_open_rotation_is_left_alone_while_held_and_taken_up_at_once_when_released(
    clock: FakeClock,
) -> None:
    """Nothing was changed yet, so the hold counts; its end is noticed by the next tick, however long it lasted."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    opened(town, "a", State.RUNNING)
    town.journal.hold(Hold("a", clock.now(), "ana@desk", ""))
    town.pass_time(3 * HOUR)
    assert town.resumed == []
    town.journal.release_hold("a")
    town.pass_time(1, step=1)
    assert town.resumed == ["open-a"]


def test_a_trouble_is_said_once_and_again_when_it_comes_back(clock: FakeClock, caplog: Any) -> None:
    """While it lasts it is one line; after it was over it is news again."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    for _ in range(2):
        town.away = Unreachable("The provider is away")
        town.pass_time(2 * HOUR)
        town.away = None
        town.pass_time(2 * HOUR)
    assert caplog.text.count("The provider is away") == 2


def test_a_policy_that_only_moved_in_its_file_keeps_its_back_off(clock: FakeClock) -> None:
    """Lines above it were added: nobody has mended anything."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    town.failures["a"] = State.FAILED
    town.daemon.tick()
    town.pass_time(30 * HOUR)
    tried = len(town.journal.rotations())
    (one,) = town.files.policies
    town.files.written = (replace(one, line=40, snapshot={**one.snapshot, "line": 40}),)
    town.pass_time(120)
    assert len(town.journal.rotations()) == tried


def test_a_long_queue_says_when_it_may_end(clock: FakeClock, caplog: Any) -> None:
    """Ten are due at three mints a minute: how many wait and when the last may start, once and not ten times."""
    town = Town(clock, tuple(policy(f"p{n}", EVERY_DAY) for n in range(10)), rotate_limit=3)
    for number in range(10):
        town.generated[f"project-p{number}"] -= timedelta(days=3)
    for _ in range(3):
        assert town.journal.take_slot("rotate", limit=3, window=60) == 0
    minters: Any = town.daemon._minters
    minters.held_back = True
    with caplog.at_level(logging.INFO):
        town.daemon.tick()
        town.pass_time(30, step=1)
    said = [line for line in caplog.messages if "wait for the rate limit" in line]
    assert said == [
        "10 rotations wait for the rate limit; the last of them may start at 2026-10-24T12:04:00.000Z"
    ]


def test_several_daemons_share_what_they_read(clock: FakeClock) -> None:
    """The second one starts right after the first: it takes the journal's word, and looks by itself a minute later."""
    town = Town(clock, tuple(policy(f"p{n}", EVERY_DAY) for n in range(20)))
    town.daemon.tick()
    assert town.looks == 20
    town.new_daemon().tick()
    assert town.looks == 20
    town.pass_time(120)
    assert town.looks >= 40


def test_what_becomes_due_during_the_look_is_rotated_by_the_next_tick(clock: FakeClock) -> None:
    """The look asked a second too early, and took two: nothing waits for the usual time between two looks."""
    town = Town(clock, (policy("a", EVERY_DAY),))
    clock.advance(24 * HOUR - 1)
    read = town.ports.destination

    def slowly(spec: Any) -> Any:
        clock.advance(2)
        return read(spec)

    town.ports.destination = slowly
    town.daemon.tick()
    assert of(town, "a") == []
    clock.advance(1)
    town.daemon.tick()
    assert of(town, "a") == [clock.now()]
