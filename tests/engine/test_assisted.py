"""A person makes the token, rotator does the rest, and a person revokes the former one."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from rotator.errors import Refused
from rotator.model import Rotation, State
from rotator.operations import draining
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.test_resumption import run

HOUR = 3600.0


@pytest.fixture
def assisted(make_bench: Callable[..., Bench]) -> Bench:
    bench = make_bench(followers=("second.json",))
    bench.document |= {"strategy": "assisted", "drain": {"min": "2h", "quiet": "1h", "max": "1d"}}
    bench.policy = bench.load_policy()
    return bench


def hand_in(bench: Bench, token: Secret) -> Rotation:
    return draining.stage(bench.runner, bench.policy, token, "made in the dashboard")


def on(bench: Bench, hours: float) -> Rotation:
    bench.clock.advance(hours * HOUR)
    return run(bench).rotations[-1]


def test_handed_in_token_is_promoted_and_the_former_one_watched(assisted: Bench) -> None:
    """Verified, promoted everywhere, drained; then a person is asked, and the death is seen."""
    token = assisted.simulator.add_token(assisted.project)
    first = hand_in(assisted, token)
    assert first.state is State.DRAINING, first.message
    assert assisted.stored() == token == assisted.stored(assisted.folder / "second.json")
    assert assisted.rotate_calls == 0
    asked = on(assisted, 2.1)
    assert asked.state is State.NEEDS_ATTENTION
    assert assisted.attention == {"old-token-alive"}
    assert "dashboard" in assisted.wiring.journal.attentions("billing")[0].next
    assisted.simulator.revoke(assisted.first)
    ended = on(assisted, 0.1)
    assert ended.state is State.COMPLETED, ended.message
    assert ended.old_token_dead is True
    assert assisted.attention == set()
    assisted.assert_audit_holds()


def test_dead_token_is_not_taken(assisted: Bench) -> None:
    """Nothing is staged, and readers keep what they have."""
    token = assisted.simulator.add_token(assisted.project)
    assisted.simulator.revoke(token)
    rotation = hand_in(assisted, token)
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 1), rotation.message
    assert "401" in rotation.message
    assert assisted.stored() == assisted.first
    assert not rotation.unfinished


def test_present_token_is_not_taken(assisted: Bench) -> None:
    """The token that readers hold already is no new one."""
    rotation = hand_in(assisted, assisted.first)
    assert rotation.state is State.FAILED
    assert "already" in rotation.message
    assert assisted.stored() == assisted.first
    assert not rotation.unfinished


def test_other_strategies_take_no_token(bench: Bench) -> None:
    """A policy that makes its tokens itself says so."""
    with pytest.raises(Refused, match="in-place"):
        hand_in(bench, Secret("lm_" + "A" * 32))


def test_rollback_gives_the_former_token_back(assisted: Bench) -> None:
    """Until the former one is revoked a person may go back, and is told what to revoke."""
    token = assisted.simulator.add_token(assisted.project)
    assert hand_in(assisted, token).state is State.DRAINING
    rotation = draining.rollback(assisted.runner, assisted.wiring.journal, assisted.policy, "it misbehaves")
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 1), rotation.message
    assert assisted.stored() == assisted.first == assisted.stored(assisted.folder / "second.json")
    assert "revoke it" in rotation.message
    assert not rotation.unfinished


def test_due_policy_waits_for_a_person(assisted: Bench) -> None:
    """Nothing is due before the first promote; later a run says that a person has to make the token."""
    assisted.clock.advance(40 * 24 * HOUR)
    assert run(assisted).exit_code == 0
    token = assisted.simulator.add_token(assisted.project)
    hand_in(assisted, token)
    assisted.simulator.revoke(assisted.first)
    assert on(assisted, 2.1).state is State.COMPLETED
    assisted.clock.advance(31 * 24 * HOUR)
    outcome = run(assisted)
    assert outcome.exit_code == 4
    assert "rotator stage billing" in " ".join(outcome.notes)
    assert assisted.stored() == token


def test_whoever_waits_sees_the_revocation(assisted: Bench) -> None:
    """Waiting goes through the drain and on until the person has revoked the former token; each change is told."""
    told: list[str] = []

    def show(rotation: Rotation) -> None:
        told.append(f"{rotation.state}: {rotation.message}")
        if draining.asks_for_revocation(rotation):
            assisted.simulator.revoke(assisted.first)

    first = hand_in(assisted, assisted.simulator.add_token(assisted.project))
    ended, stopped = draining.wait(assisted.runner, assisted.clock, assisted.stop, [first], show)
    assert stopped is None
    assert (ended[0].state, ended[0].old_token_dead) == (State.COMPLETED, True), ended[0].message
    assert len([line for line in told if "only a person can revoke it" in line]) == 1
    assert assisted.attention == set()


def test_waiting_for_the_revocation_may_be_stopped(assisted: Bench) -> None:
    """It stays a matter for a person, and the next run looks again."""

    def show(rotation: Rotation) -> None:
        if draining.asks_for_revocation(rotation):
            assisted.stop.request(signal.SIGINT)

    first = hand_in(assisted, assisted.simulator.add_token(assisted.project))
    left, stopped = draining.wait(assisted.runner, assisted.clock, assisted.stop, [first], show)
    assert stopped is not None
    assert left[0].state is State.NEEDS_ATTENTION
    assisted.new_process()
    assisted.simulator.revoke(assisted.first)
    assert on(assisted, 0.1).state is State.COMPLETED
