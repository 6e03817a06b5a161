"""Two projects, alternated: nobody is ever without a living token, and the old one dies on evidence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from rotator.errors import Unreachable
from rotator.model import Rotation, State, Trigger
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.test_resumption import run

PING_AND_SEND = [{"type": "ping"}, {"type": "send", "from": "rotation@example.com"}]
HOUR = 3600.0


@pytest.fixture
def make_pair(make_bench: Callable[..., Bench]) -> Callable[..., Bench]:
    """A policy with two projects of one domain."""

    def make(**options: Any) -> Bench:
        bench = make_bench(verify=PING_AND_SEND, **options)
        bench.simulator.add_domain(projects=[bench.project, bench.other_project])
        bench.document |= {
            "strategy": "create-before-revoke",
            "standby": {"project": bench.other_project},
            "drain": {"min": "2h", "quiet": "1h", "max": "1d"},
        }
        bench.policy = bench.load_policy()
        return bench

    return make


@pytest.fixture
def pair(make_pair: Callable[..., Bench]) -> Bench:
    return make_pair()


def drained(bench: Bench, *, hours: float = 3.0) -> Rotation:
    """Looks at the open drain until it has ended."""
    for _ in range(round(hours * 4)):
        bench.clock.advance(HOUR / 4)
        outcome = run(bench)
        if outcome.rotations and outcome.rotations[-1].state is not State.DRAINING:
            return outcome.rotations[-1]
    raise AssertionError("it drains for ever")


def test_rotation_goes_to_the_other_project_and_rests_in_its_drain(pair: Bench) -> None:
    """The new token serves readers and the old one lives until it was unused for long enough."""
    rotation = pair.rotate()
    assert rotation.state is State.DRAINING, rotation.message
    assert rotation.exit_code == 0
    assert pair.stored() != pair.first
    assert pair.simulator.is_alive(pair.stored())
    assert pair.simulator.is_alive(pair.first)
    ended = drained(pair)
    assert ended.state is State.COMPLETED, ended.message
    assert ended.old_token_dead is True
    assert not pair.simulator.is_alive(pair.first)
    assert pair.simulator.is_alive(pair.stored())
    pair.assert_audit_holds()


def rotated(bench: Bench) -> Rotation:
    """One rotation to its end."""
    assert bench.rotate().state is State.DRAINING
    ended = drained(bench)
    assert ended.state is State.COMPLETED, ended.message
    return ended


def test_two_projects_alternate(pair: Bench) -> None:
    """Ten rotations: the active side changes each time, and every outgoing token is dead afterwards."""
    sides, tokens = [], [pair.first]
    for _ in range(10):
        sides.append(rotated(pair).incoming)
        tokens.append(pair.stored())
    assert sides == [pair.other_project, pair.project] * 5
    assert [pair.simulator.is_alive(token) for token in tokens] == [False] * 10 + [True]
    pair.assert_audit_holds()


@pytest.mark.parametrize("after", [1, 2, 3])
def test_alternation_survives_the_loss_of_the_journal(pair: Bench, after: int) -> None:
    """With an empty journal a test send shows which side is active, whichever it is: it is the one that is left."""
    for _ in range(after):
        last = rotated(pair)
    pair.wiring.close()
    shutil.rmtree(pair.folder / "state")
    pair.new_process()
    assert pair.wiring.journal.created
    following = rotated(pair)
    assert (following.outgoing, following.incoming) == (last.incoming, last.outgoing)
    pair.assert_served()


@pytest.mark.parametrize("after", [1, 2])
def test_alternation_follows_a_hand_made_change_of_the_active_side(pair: Bench, after: int) -> None:
    """A person puts a new token of the idle side into the store: the next rotation leaves that one alone, and
    the one that readers held before until it was unused for `quiet`."""
    for _ in range(after):
        last = rotated(pair)
    assert last.outgoing is not None
    made, former = pair.simulator.regenerate(last.outgoing), pair.stored()
    pair.write_secret(pair.secret_file, made)
    assert pair.rotate().state is State.REFUSED
    assert pair.simulator.is_alive(former)
    pair.clock.advance(HOUR + 1)
    assert pair.rotate().state is State.DRAINING
    assert pair.simulator.is_alive(made)
    following = drained(pair)
    assert (following.outgoing, following.incoming) == (last.outgoing, last.incoming)
    assert not pair.simulator.is_alive(made)
    pair.assert_served()


def test_consumer_that_stays_on_the_old_token_keeps_it_alive(pair: Bench) -> None:
    """A drain at `max` holds, names the address, and ends when the consumer has gone."""
    assert pair.rotate().state is State.DRAINING
    for _ in range(26):
        pair.clock.advance(HOUR)
        pair.simulator.use(pair.project, ip="203.0.113.9")
        last = run(pair)
    assert last.exit_code == 4
    assert pair.attention == {"drain-stuck"}
    assert "203.0.113.9" in last.rotations[-1].message
    assert pair.simulator.is_alive(pair.first)
    pair.clock.advance(HOUR / 2)
    assert run(pair).exit_code == 4
    assert pair.simulator.is_alive(pair.first)
    pair.clock.advance(HOUR / 2 + 1)
    ended = run(pair).rotations[-1]
    assert ended.state is State.COMPLETED
    assert pair.attention == set()
    assert not pair.simulator.is_alive(pair.first)


def test_staged_token_that_fails_costs_consumers_nothing(pair: Bench) -> None:
    """The verifier refuses the staged token: failed, exit 1, nothing staged, the minted token is dead."""
    destination = pair.wiring.destination(pair.policy.authoritative)
    minted: list[Secret] = []
    real = destination.stage

    def stage(token: Secret, **options: Any) -> object:
        minted.append(token)
        staged = real(token, **options)
        pair.simulator.revoke(token)
        return staged

    destination.stage = stage  # type: ignore[method-assign, assignment]
    rotation = pair.rotate()
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 1), rotation.message
    assert "verification" in rotation.message
    assert pair.stored() == pair.first
    assert pair.simulator.is_alive(pair.first)
    assert destination.read_staged() is None
    assert not pair.simulator.is_alive(minted[0])
    assert pair.attention == set()
    assert not rotation.unfinished


def test_unreachable_follower_before_promote_is_thrown_away(make_pair: Callable[..., Bench]) -> None:
    """All are staged before any is promoted: one that does not stage ends it, and consumers never notice."""
    pair = make_pair(followers=("second.json",))
    follower = pair.wiring.destination(pair.policy.destinations[1])

    def away(*_: Any, **__: Any) -> Any:
        raise Unreachable("The second store is away")

    follower.stage = away  # type: ignore[method-assign]
    rotation = pair.rotate()
    assert rotation.state is State.FAILED
    assert pair.stored() == pair.first == pair.stored(pair.folder / "second.json")
    assert not rotation.unfinished


def test_promoted_token_that_fails_is_taken_back(pair: Bench) -> None:
    """It passes while staged and dies right after the promote: readers get the outgoing token back."""
    destination = pair.wiring.destination(pair.policy.authoritative)
    real = destination.promote

    def promote(staged: Any, **options: Any) -> None:
        real(staged, **options)
        pair.simulator.revoke(staged.value)

    destination.promote = promote  # type: ignore[method-assign]
    rotation = pair.rotate()
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 1), rotation.message
    assert "Consumers keep the token they had" in rotation.message
    assert pair.stored() == pair.first
    assert pair.simulator.is_alive(pair.first)


def test_rotate_joins_an_open_drain(pair: Bench) -> None:
    """A second `rotate` on a draining policy begins nothing new."""
    first = pair.rotate()
    again = pair.runner.rotate(pair.policy, Trigger.MANUAL, "again")
    assert [one.id for one in again] == [first.id]
    assert pair.rotate_calls == 1
