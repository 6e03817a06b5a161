"""Which project of a pair is active: by what readers hold, whoever put it there, and whatever the journal forgot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rotator.clock import Instant
from rotator.errors import Unreachable
from rotator.model import Emergency, Order, Slot, State, Trigger
from rotator.operations import rotate as operation
from rotator.operations.status import refresh
from rotator.policies.cron import next_after
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.forms import HOUR, begun, bench_of, ended, rotated
from tests.engine.test_resumption import run
from tests.engine.typing_commands import finding, reconciled, shown, type_command

DAY = 24 * HOUR


@pytest.fixture
def pair(make_bench: Callable[..., Bench]) -> Bench:
    """Rotated once: the standby project is active, the main one idle."""
    bench = rotated("standby", make_bench)
    assert shown(bench).active_project == bench.other_project
    return bench


def move_by_hand(bench: Bench) -> Secret:
    """Somebody makes a token of the main project and gives it to readers."""
    bench.clock.advance(10 * DAY)
    token = bench.simulator.regenerate(bench.project)
    bench.write_secret(bench.secret_file, token)
    return token


def moved(bench: Bench) -> Secret:
    token = move_by_hand(bench)
    run(bench)
    assert finding(bench).action == "adopt"
    assert reconciled(bench) == 0
    return token


def test_dates_count_from_the_side_that_readers_hold(pair: Bench) -> None:
    """After the change was taken over, age and due date are those of the token that is stored."""
    before = shown(pair).next_due_at
    moved(pair)
    status = shown(pair)
    assert (status.active_project, status.state) == (pair.project, "ok")
    assert status.age_seconds is not None
    assert status.age_seconds < HOUR
    assert before is not None
    assert status.next_due_at is not None
    assert (status.next_due_at - before).days >= 9
    pair.clock.advance(21 * DAY)
    assert run(pair).rotations == ()  # the other side's token would be due
    pair.clock.advance(10 * DAY)
    assert run(pair).rotations[-1].state is State.DRAINING


def test_the_next_rotation_goes_to_the_other_side(pair: Bench) -> None:
    """What somebody put there is replaced from the project that became idle, and dies on evidence."""
    token = moved(pair)
    rotation = begun(pair)
    assert rotation.incoming == pair.other_project, rotation.message
    assert pair.simulator.is_alive(token)
    assert ended(pair, rotation).state is State.COMPLETED
    assert not pair.simulator.is_alive(token)
    assert shown(pair).active_project == pair.other_project


def test_a_person_may_say_which_side_it_is(make_bench: Callable[..., Bench]) -> None:
    """Without a test send only `--active` tells; `status` then goes by it."""
    bench = rotated("standby", make_bench)
    bench.document["verify"] = [{"type": "ping"}]
    bench.policy = bench.load_policy()
    move_by_hand(bench)
    assert run(bench).exit_code == 4
    found = finding(bench)
    assert found.action == "wait"
    assert "--active PROJECT" in found.why
    assert type_command(bench, f"reconcile billing --active {bench.project}") == 0
    assert shown(bench).active_project == bench.project
    assert bench.attention == set()


def test_an_older_token_of_ours_put_back_turns_the_sides_round(pair: Bench) -> None:
    """Moved by hand and back again: the journal knows that token, and any look goes by it."""
    first = pair.stored()
    moved(pair)
    pair.clock.advance(60)
    pair.write_secret(pair.secret_file, first)
    assert refresh(pair.wiring.ports, [pair.policy]) == []
    assert shown(pair).active_project == pair.other_project


def test_an_emergency_without_a_store_kills_the_side_that_was_found_active(pair: Bench) -> None:
    """`--kill-only` has nothing but the journal to go by: what was found current since the last promote counts."""
    token = moved(pair)
    reported = Instant.read(pair.clock)
    emergency = Emergency(reported, Order.KILL_FIRST, 0.0, Slot.ACTIVE, kill_only=True)
    destination = pair.wiring.destination(pair.policy.authoritative)

    def away() -> Any:
        raise Unreachable("The store is away")

    destination.read = away  # type: ignore[method-assign]
    pair.runner.rotate(pair.policy, Trigger.EMERGENCY, "leaked", emergency=emergency)
    assert not pair.simulator.is_alive(token)


def test_ten_rotations_with_hands_and_losses_in_between(make_bench: Callable[..., Bench]) -> None:
    """Sides alternate through it all: a change by hand, a lost journal; readers hold a living token at every look."""
    bench = bench_of("standby", make_bench)
    for number in range(10):
        active = shown(bench).active_project
        rotation = begun(bench)
        assert rotation.state is State.DRAINING, rotation.message
        assert rotation.incoming != active
        bench.assert_served()
        assert ended(bench, rotation).state is State.COMPLETED
        assert shown(bench).active_project == rotation.incoming
        bench.clock.advance(2 * HOUR)
        if number == 3:
            idle = next(one for one in bench.policy.projects if one != rotation.incoming)
            bench.write_secret(bench.secret_file, bench.simulator.regenerate(idle))
            run(bench)
            assert reconciled(bench) == 0
            assert shown(bench).active_project == idle
        if number == 6:
            bench.wiring.close()
            for path in (bench.folder / "state").iterdir():
                path.unlink()
            bench.new_process()
            assert finding(bench).action == "adopt"
            assert reconciled(bench) == 0
            assert shown(bench).active_project == rotation.incoming
        bench.assert_served()


def test_serve_counts_from_the_side_that_readers_hold(pair: Bench) -> None:
    """The daemon's look decides by the stored token's project, as `run` does."""
    moved(pair)
    seen = operation.look(pair.wiring.ports, pair.policy, next_after, pair.stop, recent=0.0)
    assert seen.decision.due_at == shown(pair).next_due_at
