"""When a schedule rehearses, what `run` does about it, and what `status` tells of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rotator.errors import Unreachable
from rotator.model import State, Trigger
from rotator.operations.status import statuses
from rotator.policies.cron import next_after
from rotator.views import RehearsalStatus, status_view
from tests.engine.bench import Bench
from tests.engine.test_resumption import run
from tests.operations.rehearsing import Untouched, of_rehearsal, past, rehearsable, rehearse, schedule

DAY = 86_400.0


def status(bench: Bench) -> RehearsalStatus:
    (found,) = statuses(bench.wiring.journal, bench.clock, [bench.policy], next_after)
    assert found.rehearsal is not None
    return found.rehearsal


@pytest.fixture
def weekly(make_bench: Callable[..., Bench]) -> Bench:
    """Rehearsed every week, and never yet."""
    bench = rehearsable("in-place", make_bench)
    schedule(bench, every="7d")
    return bench


def test_the_first_is_due_at_once_and_the_next_a_week_after_it_succeeded(weekly: Bench) -> None:
    """Counted from the end of the last success, on our clock; in between `run` rehearses nothing."""
    before = Untouched(weekly)
    outcome = run(weekly)
    assert [one.trigger for one in outcome.rotations] == [Trigger.REHEARSAL, Trigger.REHEARSAL]
    assert outcome.exit_code == 0
    before.check()
    ended = past(weekly).success
    assert ended is not None
    weekly.clock.advance(7 * DAY - 60)
    assert run(weekly).rotations == ()
    assert status(weekly).next_due_at == ended.ended_at + timedelta(days=7)
    weekly.clock.advance(61)
    assert len(run(weekly).rotations) == 2


def test_without_a_schedule_run_rehearses_nothing(make_bench: Callable[..., Bench]) -> None:
    """Only a person does."""
    bench = rehearsable("in-place", make_bench)
    assert run(bench).rotations == ()
    assert of_rehearsal(bench) == []
    assert status(bench).reason == "no schedule: rehearsed only when asked to"


def test_a_window_keeps_the_first_one_waiting(weekly: Bench) -> None:
    """As it does a rotation."""
    schedule(weekly, every="7d")
    hour = weekly.clock.now().hour
    weekly.document["rehearsal"]["schedule"] = {
        "every": "7d",
        "window": {"start": f"{(hour + 2) % 24:02}:00", "end": f"{(hour + 3) % 24:02}:00"},
    }
    weekly.policy = weekly.load_policy()
    assert run(weekly).rotations == ()
    assert status(weekly).reason == "never rehearsed with success"
    weekly.clock.advance(2 * 3600)
    assert len(run(weekly).rotations) == 2


def test_production_goes_first_in_a_run(weekly: Bench) -> None:
    """What is due for production has ended before the rehearsal begins."""
    weekly.clock.advance(31 * DAY)
    production, *rehearsal = run(weekly).rotations
    assert production.trigger is Trigger.SCHEDULE
    assert production.finished_at is not None
    assert [one.trigger for one in rehearsal] == [Trigger.REHEARSAL, Trigger.REHEARSAL]
    assert all(one.started_at >= production.finished_at for one in rehearsal)


def test_a_failed_rehearsal_keeps_no_rotation_from_its_turn(weekly: Bench) -> None:
    """It gives the run its exit code, is tried again by the next, and its date stays where it was."""
    place = weekly.folder / "rehearsal.json"
    place.write_text("no json", encoding="utf-8")
    weekly.clock.advance(31 * DAY)
    outcome = run(weekly)
    assert outcome.exit_code == 3
    assert outcome.rotations[0].state is State.COMPLETED
    assert outcome.rotations[0].trigger is Trigger.SCHEDULE
    assert status(weekly).last_outcome == "refused"
    assert status(weekly).last_success_at is None
    place.unlink()
    assert run(weekly).exit_code == 0
    assert status(weekly).last_outcome == "completed"


def test_a_trouble_of_production_keeps_no_rehearsal_from_its_turn(weekly: Bench) -> None:
    """Each policy has its own outcome, and so has its rehearsal."""
    weekly.clock.advance(31 * DAY)
    real = weekly.wiring.provider.project

    def project(name: str) -> Any:
        if name == weekly.project:
            raise Unreachable("it does not answer", then="Nothing was changed")
        return real(name)

    weekly.wiring.provider.project = project  # type: ignore[method-assign]
    outcome = run(weekly)
    assert [one.trigger for one in outcome.rotations] == [Trigger.REHEARSAL, Trigger.REHEARSAL]
    assert [name for name, _ in outcome.errors] == ["billing"]


def test_a_rehearsal_that_drains_is_left_for_the_next_run(make_bench: Callable[..., Bench]) -> None:
    """`run` never waits for a drain; each takes the rehearsal as far as it goes."""
    bench = rehearsable("standby", make_bench, overlap="standby")
    schedule(bench, every="7d")
    states = []
    for _ in range(6):
        outcome = run(bench)
        assert outcome.exit_code == 0, outcome
        states += [(one.emergency is not None, one.state.value) for one in outcome.rotations]
        bench.clock.advance(60)
    # The very first token replaces none, so only the emergency has something to drain.
    assert states == [(False, "completed"), (True, "draining"), (True, "completed")]
    assert past(bench).success is not None


def test_status_tells_age_duration_and_outcome(make_bench: Callable[..., Bench]) -> None:
    """Nulls before the first, then what the journal knows; a policy without a rehearsal has null."""
    weekly = rehearsable("standby", make_bench, overlap="standby")
    schedule(weekly, every="7d")
    never = status_view(statuses(weekly.wiring.journal, weekly.clock, [weekly.policy], next_after))
    told = never["policies"][0]["rehearsal"]
    assert (told["last_success_at"], told["age_seconds"], told["seconds"]) == (None, None, None)
    assert (told["last_outcome"], told["overdue"]) == (None, False)
    assert rehearse(weekly)[0].exit_code == 0
    weekly.clock.advance(9 * DAY)
    found = status(weekly)
    assert found.age_seconds == pytest.approx(9 * DAY, abs=1)
    # The clock moves only where something is waited for: for the drain of its emergency path.
    assert found.seconds == pytest.approx(10, abs=5)
    assert (found.last_outcome, found.overdue) == ("completed", True)
    del weekly.document["rehearsal"]
    weekly.policy = weekly.load_policy()
    (without,) = statuses(weekly.wiring.journal, weekly.clock, [weekly.policy], next_after)
    assert without.rehearsal is None
    assert without.state == "ok"


def test_many_failures_do_not_hide_the_last_success(weekly: Bench) -> None:
    """However often a rehearsal has failed since, the age counts from when one succeeded."""
    assert rehearse(weekly)[0].exit_code == 0
    before = status(weekly).last_success_at
    (weekly.folder / "rehearsal.json").write_text("no json", encoding="utf-8")
    for _ in range(12):
        weekly.clock.advance(7 * DAY)
        rehearse(weekly)
    assert (status(weekly).last_success_at, status(weekly).last_outcome) == (before, "refused")
