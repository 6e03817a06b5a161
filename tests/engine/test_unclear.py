"""Answers that got lost, calls that ran late, stores that refuse: evidence instead of blind retries."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rotator.destinations.base import Reading
from rotator.destinations.file import FileDestination
from rotator.errors import Unreachable
from rotator.model import State, Trigger
from rotator.secret import Secret
from tests.engine.bench import Bench, outage_seen


@pytest.mark.parametrize(
    ("kind", "options", "mints"),
    [
        ("lost-answer", {}, 2),
        ("error-after", {"status": 502, "page": True}, 2),
        ("malformed", {}, 2),
        ("truncated", {}, 2),
        ("oversized", {"size": 4 * 1024 * 1024}, 2),
        ("error-before", {"status": 500}, 1),
        ("dropped", {}, 1),
    ],
)
def test_unclear_answer_ends_with_the_living_token_in_the_store(
    bench: Bench, kind: str, options: dict[str, object], mints: int
) -> None:
    """Executed and lost: two mints. Not executed: one. The same command ends with a living token."""
    bench.simulator.faults.add("rotate", kind, **options)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert rotation.exit_code == 0
    assert bench.mints == mints
    assert bench.rotate_calls == 2
    assert not bench.simulator.is_alive(bench.first)
    bench.assert_served()
    bench.assert_audit_holds()


def test_outage_of_a_lost_answer_counts_from_the_first_call(bench: Bench) -> None:
    """Mail was out from the lost mint on, so the bounds contain the deadline that was waited for."""
    bench.simulator.faults.add("rotate", "lost-answer")
    rotation = bench.rotate()
    first = bench.simulator.mints(bench.project)[0]
    assert rotation.outage is not None
    assert rotation.served is not None
    seen = first.old_dead_from.seconds_until(rotation.served)
    assert seen >= bench.timings.call + bench.timings.settle
    assert rotation.outage.min <= seen <= rotation.outage.max


def test_outage_of_a_call_that_never_ran_does_not_count_the_waiting(bench: Bench) -> None:
    """The old token was seen alive after the dropped call, so the wait for the deadline was no outage."""
    bench.simulator.faults.add("rotate", "dropped")
    rotation = bench.rotate()
    assert rotation.outage is not None
    assert rotation.outage.min <= outage_seen(bench, rotation) <= rotation.outage.max
    assert rotation.outage.max < bench.timings.call


def test_a_call_executed_before_the_deadline_is_counted_as_executed(bench: Bench) -> None:
    """A timed-out call that runs a second later is found by the look after the deadline."""
    bench.simulator.faults.add("rotate", "late", seconds=1.0)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.mints == 2
    bench.assert_served()


def test_a_call_executed_after_the_deadline_is_found_and_repaired(bench: Bench) -> None:
    """A late execution that kills the published token is seen by the reading after it: minted again."""
    # Later than the deadline and the look, but before the verification reads the project again.
    seconds = bench.timings.call + bench.timings.settle + bench.timings.read_gap + 0.5
    bench.simulator.faults.add("rotate", "late", seconds=seconds)
    bench.simulator.faults.add("rotate", "slow-new-token", seconds=3, skip=1)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.mints == 3
    bench.assert_served()


def test_refused_calls_are_given_up_when_none_was_executed(bench: Bench) -> None:
    """A provider that never executes leaves the old token alive: failed, safe to repeat, exit 6."""
    bench.simulator.faults.add("rotate", "error-before", times=None, status=503)
    rotation = bench.rotate()
    assert rotation.state is State.FAILED
    assert rotation.exit_code == 6
    assert bench.rotate_calls == bench.timings.mints
    assert not rotation.unfinished
    assert bench.stored() == bench.first
    assert bench.simulator.is_alive(bench.first)


def test_every_answer_lost_ends_as_needs_attention_and_a_later_run_finishes(bench: Bench) -> None:
    """The budget of mints is bounded; what is left is resumable and ends well once answers arrive."""
    fault = bench.simulator.faults.add("rotate", "lost-answer", times=None)
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert rotation.exit_code == 4
    assert bench.attention == {"token-dead"}
    assert rotation.unfinished
    bench.simulator.faults.remove(fault)
    bench.new_process()
    resumed = bench.runner.resume(rotation)
    assert resumed.state is State.COMPLETED
    assert bench.attention == set()
    bench.assert_served()


def test_429_is_obeyed(bench: Bench) -> None:
    """After a 429 the next call waits for as long as the provider asked."""
    bench.simulator.faults.add("rotate", "too-many", retry_after=7)
    before = bench.clock.boot()
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.clock.boot() - before >= 7
    assert bench.mints == 1


def test_slow_new_token_is_waited_for(bench: Bench) -> None:
    """A new token that is refused for a while passes verification in the end."""
    bench.simulator.faults.add("rotate", "slow-new-token", seconds=20)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert rotation.verified[0].attempts > 1


def test_new_token_that_stays_refused_is_an_alarm_and_no_rollback(bench: Bench) -> None:
    """Past the propagation budget: stored all the same, needs attention, verified by a later command."""
    bench.simulator.faults.add("rotate", "slow-new-token", seconds=100)
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert bench.attention == {"verification-failed"}
    assert bench.stored() != bench.first
    bench.clock.advance(60)
    resumed = bench.runner.resume(rotation)
    assert resumed.state is State.COMPLETED
    assert bench.mints == 1


def test_slow_death_of_the_old_token_is_waited_for(bench: Bench) -> None:
    """An old token that is accepted for a while longer is presented until it is refused."""
    bench.simulator.faults.add("rotate", "slow-dead-token", seconds=20)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert rotation.old_token_dead is True


def test_lagging_time_of_generation_does_not_lose_the_token(bench: Bench) -> None:
    """A `token_generated_at` that lags behind an executed and lost mint still ends with a living token."""
    bench.simulator.faults.add("rotate", "lost-answer")
    bench.simulator.faults.add("rotate", "read-lag", seconds=30)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    bench.assert_served()


def test_dashboard_regenerate_right_after_our_mint_is_an_alarm(bench: Bench) -> None:
    """Somebody else's mint right after ours is not answered with another one."""
    bench.let_somebody_else_mint_next()
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert "out-of-band" in bench.attention
    assert bench.rotate_calls == 1


class Stubborn:
    """A file destination that refuses its next writes once a token was minted."""

    def __init__(self, bench: Bench, failures: int) -> None:
        self.inner: FileDestination = bench.wiring.destination(bench.policy.authoritative)  # type: ignore[assignment]
        self.spec = self.inner.spec
        self.failures = failures
        self.refused = 0
        bench.wiring._destinations[self.spec.ref] = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def publish(self, token: Secret, *, rotation: str, base: Reading) -> None:
        if self.refused < self.failures:
            self.refused += 1
            raise Unreachable("The store is away")
        self.inner.publish(token, rotation=rotation, base=base)


def test_store_away_after_the_mint_is_tried_until_it_takes_the_token(bench: Bench) -> None:
    """The minted token waits in memory; one mint is enough when the store comes back."""
    Stubborn(bench, failures=6)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.mints == 1
    bench.assert_served()


def test_store_away_for_good_rests_and_the_next_process_mints_again(bench: Bench) -> None:
    """After the budget the rotation rests with exit 4; a later process mints anew and finishes it."""
    Stubborn(bench, failures=10_000)
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert rotation.exit_code == 4
    assert bench.attention == {"token-dead"}
    assert not bench.simulator.is_alive(bench.stored())
    bench.new_process()
    resumed = bench.runner.rotate(bench.policy, Trigger.MANUAL, "again")
    assert [r.id for r in resumed] == [rotation.id]
    assert resumed[0].state is State.COMPLETED
    assert bench.mints == 2
    bench.assert_served()


def test_other_fields_written_meanwhile_survive(bench: Bench) -> None:
    """Somebody changes another field between our reading and our write: merged again, nothing lost."""
    destination = bench.wiring.destination(bench.policy.authoritative)
    real = destination.publish
    raced = []

    def racing(token: Secret, *, rotation: str, base: Reading) -> None:
        if not raced:
            raced.append(True)
            text = bench.secret_file.read_text(encoding="utf-8")
            bench.secret_file.write_text(text.replace("{", '{"added": 1, ', 1), encoding="utf-8")
        real(token, rotation=rotation, base=base)

    destination.publish = racing  # type: ignore[method-assign]
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert '"added": 1' in bench.secret_file.read_text(encoding="utf-8")
    bench.assert_served()


def test_stop_before_the_mint_changes_nothing_and_is_resumed(bench: Bench) -> None:
    """A signal before the point of no return leaves a resumable rotation and the old token alive."""
    bench.stop.request(signal.SIGTERM)
    rotation = bench.rotate()
    assert rotation.exit_code == 143
    assert rotation.state is State.RUNNING
    assert bench.rotate_calls == 0
    bench.new_process()
    assert bench.runner.resume(rotation).state is State.COMPLETED


def test_audit_unwritable_refuses_before_the_mint(bench: Bench) -> None:
    """No audit, no rotation: nothing is asked of the provider's rotate-token."""
    bench.wiring.audit  # noqa: B018  # opened while its folder was fine
    bench.settings.audit_log.unlink(missing_ok=True)
    bench.settings.audit_log.mkdir()
    rotation = bench.rotate()
    assert rotation.exit_code in {2, 6}
    assert bench.rotate_calls == 0
    assert bench.stored() == bench.first


def test_audit_lost_after_the_mint_does_not_delay_the_publish(bench: Bench) -> None:
    """An audit log that fails after the mint: published all the same, events to the last resort, exit 4."""
    real = bench.wiring.provider.rotate_token
    kept = bench.settings.audit_log.with_suffix(".kept")

    def break_audit(project: str) -> object:
        minted = real(project)
        bench.settings.audit_log.rename(kept)
        bench.settings.audit_log.mkdir()
        return minted

    bench.wiring.provider.rotate_token = break_audit  # type: ignore[method-assign, assignment]
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert rotation.exit_code == 4
    assert "audit" in bench.attention
    assert {event.event for event in bench.unwritten} >= {"mint.token.outcome", "publish.destination.outcome"}
    bench.assert_served()
    bench.settings.audit_log.rmdir()
    kept.rename(bench.settings.audit_log)
    bench.new_process()
    assert bench.runner.resume(rotation).state is State.COMPLETED
    bench.assert_audit_holds()


def test_journal_lost_after_the_mint_does_not_delay_the_publish(
    make_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    """A journal that takes no write after the mint: published all the same, and the next process knows."""
    bench = make_bench()
    journal = bench.wiring.journal
    real_rotate = bench.wiring.provider.rotate_token
    broken: list[bool] = []

    def break_journal(project: str) -> object:
        minted = real_rotate(project)
        broken.append(True)
        return minted

    def save(*args: object) -> None:
        from rotator.errors import JournalUnavailable  # noqa: PLC0415

        if broken:
            raise JournalUnavailable("disk full")
        real_save(*args)  # type: ignore[arg-type]

    real_save = journal.save
    journal.save = save  # type: ignore[method-assign]
    bench.wiring.provider.rotate_token = break_journal  # type: ignore[method-assign, assignment]
    rotation = bench.rotate()
    assert rotation.exit_code == 4
    bench.assert_served()
    left = bench.new_process().journal.unfinished(bench.project)
    assert [r.id for r in left] == [rotation.id]
    assert bench.runner.resume(left[0]).state is State.COMPLETED
    assert bench.mints == 1
    bench.assert_served()
