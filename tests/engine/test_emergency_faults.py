"""A leaked token dies although something is away, or the process dies in the middle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from rotator.errors import AuditUnavailable, UnclearOutcome, Unreachable
from rotator.model import Order, Slot, State, Trigger
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.emergencies import DRAIN, assert_measured, furnish, kill_first, leak, respond
from tests.engine.test_resumption import run

MakeBench = Callable[..., Bench]


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


def take_away(bench: Bench, number: int = 0) -> Callable[[], None]:
    """No call reaches one destination until the function that is returned is called."""
    destination = bench.wiring.destination(bench.policy.destinations[number])
    names = ("read", "read_staged", "preflight", "stage", "promote", "publish", "recall")

    def away(*_: object, **__: object) -> Any:
        raise Unreachable("The store is away")

    for name in names:
        setattr(destination, name, away)

    def back() -> None:
        for name in names:
            delattr(destination, name)

    return back


# --- a store is away ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["in-place", "standby", "bridge"])
def test_kill_only_needs_no_store_and_the_next_run_publishes(bench: Bench, form: str) -> None:
    """The token dies and its death is proved; mail stops; the run that reaches the store mints and publishes."""
    furnish(bench, form)
    back = take_away(bench)
    rotation = respond(bench, leak(bench, kill_only=True), bench.first)[-1]
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4), rotation.message
    assert bench.attention == {"token-dead"}
    assert not bench.simulator.is_alive(bench.first)
    assert rotation.old_token_dead is True
    assert_measured(bench, rotation)
    exposure = rotation.exposure
    assert run(bench).exit_code == 4
    assert bench.mints == 1
    back()
    bench.new_process()
    bench.clock.advance(3600)
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert bench.mints == 2
    bench.assert_served()
    assert ended.exposure == exposure
    assert ended.outage is not None
    assert ended.outage.min >= 3600
    assert bench.attention == set()
    bench.assert_audit_holds()


def test_kill_only_without_the_token_proves_its_death_later(bench: Bench) -> None:
    """Nothing could be presented while the store was away; the store gives the old token back."""
    back = take_away(bench)
    rotation = respond(bench, leak(bench, kill_only=True))[-1]
    assert rotation.exit_code == 4
    assert rotation.exposure is None
    assert not bench.simulator.is_alive(bench.first)
    back()
    bench.clock.advance(60)
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert ended.old_fingerprint == bench.wiring.fingerprints.of(bench.first)
    assert ended.old_token_dead is True
    assert_measured(bench, ended)
    bench.assert_served()


def test_kill_only_of_a_pair_without_evidence_kills_nothing(bench: Bench) -> None:
    """No store, no leaked token, no promote in the journal: which project's token it is cannot be known."""
    furnish(bench, "standby")
    take_away(bench)
    rotation = respond(bench, leak(bench, kill_only=True))[-1]
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4)
    assert "--leaked-stdin" in rotation.message
    assert bench.rotate_calls == 0


def test_kill_only_of_a_dead_token_kills_nothing(bench: Bench) -> None:
    """What is dead already needs no outage."""
    bench.simulator.revoke(bench.first)
    rotation = respond(bench, leak(bench, kill_only=True), bench.first)[-1]
    assert (rotation.state, rotation.exit_code) == (State.REFUSED, 1)
    assert bench.rotate_calls == 0


@pytest.mark.parametrize("executed", [True, False])
def test_kill_only_with_an_unclear_answer(bench: Bench, executed: bool) -> None:
    """A lost answer is no loss: executed, it is found to be; not executed, it is sent again."""
    take_away(bench)
    real = bench.wiring.provider.rotate_token

    def once(project: str) -> object:
        bench.wiring.provider.rotate_token = real  # type: ignore[method-assign]
        if executed:
            bench.clock.advance(1)
            real(project)
        raise UnclearOutcome("No answer came")

    bench.wiring.provider.rotate_token = once  # type: ignore[method-assign, assignment]
    rotation = respond(bench, leak(bench, kill_only=True), bench.first)[-1]
    assert rotation.exit_code == 4
    assert bench.mints == 1
    assert not bench.simulator.is_alive(bench.first)
    assert_measured(bench, rotation)


def test_kill_first_without_a_store_kills_nothing_and_names_kill_only(bench: Bench) -> None:
    """The new token would have nowhere to go: free to refuse, exit 6."""
    take_away(bench)
    rotation = kill_first(bench)
    assert rotation.exit_code == 6
    assert "--kill-only" in rotation.message
    assert bench.rotate_calls == 0


def test_kill_first_publishes_when_the_store_returns(make_bench: MakeBench) -> None:
    """The store goes away after the mint: the token is tried until it is back."""
    bench = make_bench(publish_budget=30.0)
    destination = bench.wiring.destination(bench.policy.authoritative)
    real, tries = destination.publish, iter(range(3))

    def publish(token: Secret, **options: Any) -> object:
        if next(tries, None) is not None:
            raise Unreachable("The store is away")
        return real(token, **options)

    destination.publish = publish  # type: ignore[method-assign, assignment]
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    assert bench.mints == 1
    bench.assert_served()


def test_kill_first_leaves_a_follower_that_is_away_behind(make_bench: MakeBench) -> None:
    """One store of two keeps no leaked token alive: it is told to be behind, and brought into line later."""
    bench = make_bench(followers=("second.json",))
    back = take_away(bench, 1)
    rotation = kill_first(bench)
    assert rotation.exit_code == 4
    assert bench.attention == {"destination-behind"}
    assert not bench.simulator.is_alive(bench.first)
    bench.assert_served()
    back()
    assert run(bench).exit_code == 0
    assert bench.stored(bench.folder / "second.json") == bench.stored()
    assert bench.attention == set()


@pytest.mark.parametrize("number", [0, 1])
def test_replace_first_without_a_store_fails_free(make_bench: MakeBench, number: int) -> None:
    """Before the promote nothing was changed for anybody, whichever store is away."""
    bench = furnish(make_bench(followers=("second.json",)), "standby")
    take_away(bench, number)
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert rotation.exit_code == 6, rotation.message
    assert bench.rotate_calls == 0
    assert bench.stored() == bench.first
    assert bench.simulator.is_alive(bench.first)


def test_replace_first_retires_although_a_follower_went_away(make_bench: MakeBench) -> None:
    """After the promote the leaked token dies in time; the store that is behind is told and mended later."""
    bench = furnish(make_bench(followers=("second.json",)), "standby")
    second = bench.wiring.destination(bench.policy.destinations[1])

    def away(*_: object, **__: object) -> Any:
        raise Unreachable("The store is away")

    second.promote = away  # type: ignore[method-assign]
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert rotation.exit_code == 4
    bench.clock.advance(DRAIN + 1)
    assert run(bench).exit_code == 4
    assert not bench.simulator.is_alive(bench.first)
    assert bench.attention == {"destination-behind"}
    del second.promote
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert bench.stored(bench.folder / "second.json") == bench.stored()
    assert bench.rotate_calls == 2
    bench.assert_served()
    assert bench.attention == set()


# --- the audit is away ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["in-place", "standby"])
def test_audit_that_takes_nothing_stops_no_emergency(bench: Bench, form: str) -> None:
    """Everything goes on, the same lines reach standard error, exit 4; a scheduled rotation is refused."""
    furnish(bench, form)
    audit = bench.wiring.ports.audit

    def full(*_: object, **__: object) -> Any:
        raise AuditUnavailable("No space left on device")

    audit.record = full  # type: ignore[method-assign]
    audit.check_writable = full  # type: ignore[method-assign]
    assert bench.runner.rotate(bench.policy, Trigger.SCHEDULE, "due")[-1].exit_code == 6
    assert bench.rotate_calls == 0
    bench.unwritten.clear()
    rotation = kill_first(bench)
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4), rotation.message
    assert "audit" in rotation.message
    assert not bench.simulator.is_alive(bench.first)
    bench.assert_served()
    told = [event.event for event in bench.unwritten]
    assert told[0] == "rotation.start"
    assert {"mint.token.intent", "mint.token.outcome", "token.prove-dead"} <= set(told)
    assert bench.attention == {"audit"}
    del audit.record, audit.check_writable
    assert run(bench).exit_code == 0
    assert bench.attention == set()


# --- the process dies -----------------------------------------------------------------------------


def calls_of(bench: Bench) -> list[tuple[object, str]]:
    destination = bench.wiring.destination(bench.policy.authoritative)
    provider = bench.wiring.provider
    return [
        (provider, "project"),
        (provider, "ping"),
        (provider, "rotate_token"),
        *((destination, name) for name in ("read", "preflight", "stage", "promote", "publish", "discard")),
    ]


def die_at(bench: Bench, number: int, *, after: bool) -> list[int]:
    """The process is gone before, or after, the call of this number to the outside. Returns the count."""
    count = [0]

    def guard(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **options: Any) -> object:
            count[0] += 1
            if count[0] == number and not after:
                raise Killed
            answer = real(*arguments, **options)
            if count[0] == number:
                raise Killed
            return answer

        return call

    for port, name in calls_of(bench):
        setattr(port, name, guard(getattr(port, name)))
    return count


@pytest.mark.one_in(4, 4)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("form", "order", "kill_only"),
    [
        ("in-place", Order.KILL_FIRST, False),
        ("in-place", Order.KILL_FIRST, True),
        ("standby", Order.KILL_FIRST, False),
        ("standby", Order.REPLACE_FIRST, False),
        ("bridge", Order.REPLACE_FIRST, False),
    ],
    ids=["in-place", "kill-only", "pair-kill-first", "pair-replace-first", "bridge-replace-first"],
)
@pytest.mark.parametrize("number", range(2, 18, 3))
def test_emergency_that_died_is_finished_by_any_run(
    bench: Bench, form: str, order: Order, kill_only: bool, number: int, after: bool
) -> None:
    """Killed around a call to the outside, then `run`: the leaked token is dead if anything was begun, readers
    hold a living one, and the drain is still the emergency's."""
    furnish(bench, form)
    die_at(bench, number, after=after)
    emergency = leak(bench, order, kill_only=kill_only)
    with contextlib.suppress(Killed):
        respond(bench, emergency, bench.first)
    bench.new_process()
    begun = bench.mints > 0 or bool(bench.wiring.journal.unfinished())
    for _ in range(4):
        bench.clock.advance(DRAIN + 1)
        run(bench)
    assert bench.wiring.journal.unfinished() == []
    bench.assert_served()
    if begun:
        last = bench.wiring.journal.rotations("billing")[0]
        assert last.state is State.COMPLETED, last.message
        assert not bench.simulator.is_alive(bench.first)
        assert last.trigger is Trigger.EMERGENCY
        assert last.emergency == emergency
        assert last.exposure is not None
    else:
        assert bench.stored() == bench.first
    assert bench.attention == set()


def die_after_the_mint(bench: Bench) -> None:
    """The next mint is executed, and the process ends before it has the answer."""
    real = bench.wiring.provider.rotate_token

    def die(project: str) -> object:
        real(project)
        raise Killed

    bench.wiring.provider.rotate_token = die  # type: ignore[method-assign, assignment]


def test_emergency_over_an_unclear_mint_mints_no_second_time(bench: Bench) -> None:
    """Another rotation's call may still be executed: it is waited for and joined, whatever the order."""
    die_after_the_mint(bench)
    with pytest.raises(Killed):
        bench.rotate()
    bench.new_process()
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    assert bench.mints == 2  # the lost one, and the one in its place
    assert not bench.simulator.is_alive(bench.first)
    assert rotation.exposure is not None
    bench.assert_served()


def test_staged_token_of_a_bridge_rotation_dies_by_a_further_mint(bench: Bench) -> None:
    """Readers stand on the bridge: the leaked token is replaced before anybody got it."""
    furnish(bench, "bridge")
    bench.rotate()
    bench.clock.advance(2.1 * 3600)
    destination = bench.wiring.destination(bench.policy.authoritative)

    def refuse(*_: object, **__: object) -> Any:
        raise Killed

    destination.promote = refuse  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run(bench)
    bench.new_process()
    staged = bench.wiring.destination(bench.policy.authoritative).read_staged()
    assert staged is not None
    rotation = respond(bench, leak(bench, slot=Slot.STAGED))[-1]
    assert rotation.exit_code == 0, rotation.message
    assert not bench.simulator.is_alive(staged.value)
    bench.assert_served()
    assert bench.stored() != staged.value


def test_waiting_for_the_rate_limit_says_until_when(make_bench: MakeBench) -> None:
    """An emergency that must wait says for how long, and goes on by itself."""
    bench = make_bench(rotate_limit=1)
    bench.rotate()
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    waits = [one.text for one in bench.progress if "rate limit" in one.text]
    assert waits
    assert all("until 12:" in text for text in waits)


def test_whoever_takes_up_an_interrupted_kill_publishes_at_once(bench: Bench) -> None:
    """Nobody asked `run` to leave it at the kill: one is enough for readers to hold a living token."""
    die_after_the_mint(bench)
    with pytest.raises(Killed):
        respond(bench, leak(bench, kill_only=True))
    bench.new_process()
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert not bench.simulator.is_alive(bench.first)
    bench.assert_served()
    assert bench.attention == set()
