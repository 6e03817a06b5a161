"""The daemon and rehearsals: begun when due and nothing waits, gone on with, and never in a rotation's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rotator.daemon.loop import Daemon
from rotator.journal.base import Hold
from rotator.model import Policy, State, Trigger
from rotator.policies.cron import next_after
from rotator.rehearsal import rehearsal_of
from tests.daemon.small import Files, Inline
from tests.engine.bench import Bench
from tests.engine.conftest import bench, make_bench
from tests.engine.test_resumption import Killed
from tests.operations.rehearsing import (
    Untouched,
    die_at_the_mint,
    of_rehearsal,
    past,
    rehearsable,
    rehearse,
    schedule,
)

__all__ = ["bench", "make_bench"]

DAY = 86_400.0


class House:
    """A bench with a daemon that works in the thread that ticks."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.rehearsed: list[tuple[str, str]] = []
        self.files = Files((bench.policy,))
        self.daemon = Daemon(
            bench.runner,
            bench.wiring.ports,
            self.files,  # type: ignore[arg-type]
            next_after,
            bench.stop,
            lease=15.0,
            rotate_limit=30,
            rehearsed=lambda policy, outcome: self.rehearsed.append((policy, outcome)),
            workers=Inline,
        )

    def pass_time(self, seconds: float, *, step: float = 60.0) -> None:
        for _ in range(round(seconds / step)):
            self.bench.clock.advance(step)
            self.daemon.tick()


def house(bench: Bench, every: str = "7d") -> House:
    """With a rehearsal that is due every so often."""
    if every:
        schedule(bench, every=every)
    return House(bench)


def test_it_rehearses_when_it_is_due(make_bench: Callable[..., Bench]) -> None:
    """At once where it never was, then by its schedule; rows, stores and tokens of the policy stay as they are."""
    bench = rehearsable("in-place", make_bench)
    before = Untouched(bench)
    home = house(bench)
    home.daemon.tick()
    assert home.rehearsed == [("billing", "completed")]
    home.pass_time(7 * DAY - 3600, step=3600)
    assert len(home.rehearsed) == 1
    home.pass_time(7200, step=300)
    assert home.rehearsed == [("billing", "completed")] * 2
    before.check()


def test_without_a_schedule_it_finishes_what_a_person_began_and_begins_nothing(
    make_bench: Callable[..., Bench],
) -> None:
    """Killed in either path."""
    bench = rehearsable("in-place", make_bench)
    die_at_the_mint(bench, 1, executed=True)
    with pytest.raises(Killed):
        rehearse(bench)
    bench.new_process()
    home = house(bench, every="")
    home.pass_time(300)
    assert home.rehearsed == [("billing", "completed")]
    home.pass_time(2 * 3600)
    assert len(of_rehearsal(bench)) == 2


def test_it_goes_on_with_drains(make_bench: Callable[..., Bench]) -> None:
    """As they come to their end, one tick after another."""
    bench = rehearsable("standby", make_bench, overlap="standby")
    home = house(bench)
    home.pass_time(180, step=2)
    assert home.rehearsed == [("billing", "completed")]
    bench.clock.advance(7 * DAY)
    home.pass_time(180, step=2)
    assert home.rehearsed == [("billing", "completed")] * 2
    assert [one.drain is not None for one in of_rehearsal(bench)] == [False, True, True, True]


def test_none_begins_while_a_rotation_waits(make_bench: Callable[..., Bench]) -> None:
    """It has its turn when the queue is empty."""
    bench = rehearsable("in-place", make_bench)
    home = house(bench)
    minters: Any = home.daemon._minters
    minters.held_back = True
    bench.clock.advance(31 * DAY)
    home.daemon.tick()
    assert len(minters.waiting_jobs) == 1
    home.pass_time(600)
    assert of_rehearsal(bench) == []
    minters.waiting_jobs.pop()[1]()
    home.pass_time(60, step=10)
    assert home.rehearsed == [("billing", "completed")]
    assert bench.wiring.journal.rotations("billing", limit=1)[0].trigger is Trigger.SCHEDULE


def test_one_that_fails_is_tried_again_with_growing_pauses(make_bench: Callable[..., Bench]) -> None:
    """And keeps no rotation from its turn."""
    bench = rehearsable("in-place", make_bench)
    (bench.folder / "rehearsal.json").write_text("no json", encoding="utf-8")
    home = house(bench)
    bench.clock.advance(31 * DAY)
    home.pass_time(4 * 3600)
    failures = of_rehearsal(bench)
    assert {one.state for one in failures} == {State.REFUSED}
    # A minute, then double, up to an hour: seven or eight within four hours.
    assert 6 <= len(failures) <= 9
    assert bench.wiring.journal.rotations("billing", limit=1)[0].trigger is Trigger.SCHEDULE
    (bench.folder / "rehearsal.json").unlink()
    home.pass_time(2 * 3600)
    assert home.rehearsed[-1] == ("billing", "completed")


def test_a_person_at_work_on_it_is_left_alone(make_bench: Callable[..., Bench]) -> None:
    """While the lease is held, and in the moment between the two paths."""
    bench = rehearsable("in-place", make_bench)
    rehearsal: Policy = rehearsal_of(bench.policy)
    journal, holder = bench.wiring.journal, bench.wiring.holder
    lease = journal.acquire(rehearsal.projects, holder, ttl=1e6)
    home = house(bench)
    home.pass_time(600)
    assert of_rehearsal(bench) == []
    journal.release(lease)
    bench.runner.rotate(rehearsal, Trigger.REHEARSAL, "by hand")
    home.daemon.tick()
    latest = past(bench).latest
    assert latest is not None
    assert latest.half
    home.pass_time(120)
    assert home.rehearsed == [("billing", "completed")]


def test_a_held_rehearsal_waits_and_a_held_policy_does_not(make_bench: Callable[..., Bench]) -> None:
    """A hold of the policy freezes what is in production, and nothing of that is touched."""
    bench = rehearsable("in-place", make_bench)
    journal = bench.wiring.journal
    journal.hold(Hold("billing/rehearsal", bench.clock.now(), "ana@desk", ""))
    journal.hold(Hold("billing", bench.clock.now(), "ana@desk", ""))
    home = house(bench)
    home.pass_time(600)
    assert home.rehearsed == []
    journal.release_hold("billing/rehearsal")
    home.pass_time(120)
    assert home.rehearsed == [("billing", "completed")]
