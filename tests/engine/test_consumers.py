"""Consumers: told once per token, in order, watched to their end, and never a reason to take a rotation back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rotator.consumers.base import Call, Standing
from rotator.engine.states import steps_of
from rotator.errors import Unreachable
from rotator.model import DrainResult, Order, Rotation, Slot, State, StepOutcome, Trigger
from rotator.operations import draining
from rotator.operations.outcome import Outcome
from rotator.rehearsal import rehearsal_of
from tests.engine.bench import Bench
from tests.engine.callees import Callee, Callees, forbidden, restart, sync, with_consumers
from tests.engine.emergencies import DRAIN, bridge_of, leak, respond
from tests.engine.forms import HOUR, begun, bench_of, ended
from tests.engine.test_lost_lease import somebody_takes_the_lease
from tests.engine.test_resumption import run

FORMS = ("in-place", "standby", "bridge", "assisted")


@pytest.fixture
def told(make_bench: Callable[..., Bench]) -> Callable[..., tuple[Bench, Callees]]:
    """A bench of a form whose policy has consumers; Deployments unless said otherwise."""

    def make(form: str, *entries: dict[str, str], **options: Any) -> tuple[Bench, Callees]:
        bench = bench_of(form, make_bench, **options)
        return bench, with_consumers(bench, *entries)

    return make


Told = Callable[..., tuple[Bench, Callees]]


def again(bench: Bench) -> Outcome:
    """A cron job a minute later."""
    bench.clock.advance(60)
    bench.new_process()
    return run(bench)


def retired(bench: Bench) -> Rotation:
    """A person ends the drain, whatever a rollout does."""
    return draining.retire(bench.runner, bench.wiring.journal, bench.policy, force=True)


def newest(bench: Bench) -> Rotation:
    return bench.wiring.journal.rotations("billing", limit=1)[0]


def names(rotation: Rotation) -> list[str]:
    return [step.name for step in rotation.steps]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_tells_its_consumers_of_what_they_read(told: Told, form: str) -> None:
    """At the end each consumer was told once per token, and its pods began with the token of the rotation."""
    bench, callees = told(form)
    rotation = ended(bench, begun(bench))
    assert rotation.state is State.COMPLETED, rotation.message
    mailer = callees["mailer"]
    assert mailer.read[-1] == rotation.new_fingerprint
    assert len(mailer.calls) == (2 if form == "bridge" else 1)
    assert len({call.id for call in mailer.calls}) == len(mailer.calls)
    assert [record.state.value for record in rotation.consumers] == ["done"]
    assert bench.attention == set()
    bench.assert_audit_holds()


@pytest.mark.parametrize("form", FORMS)
def test_without_consumers_no_step_is_spent_on_them(make_bench: Callable[..., Bench], form: str) -> None:
    """A policy without consumers goes through the steps of the design and no others."""
    policy = bench_of(form, make_bench).policy
    assert not [step.name for step in steps_of(policy) if "consumers" in step.name]


def test_in_place_tells_before_it_verifies(told: Told) -> None:
    """What readers held is dead, so they are told before anything else is looked at."""
    bench, _ = told("in-place")
    assert names(bench.rotate()) == [
        "preflight",
        "mint+publish",
        "tell-consumers",
        "verify",
        "prove-dead",
        "await-consumers",
        "close",
    ]


def test_all_are_told_in_the_policys_order(told: Told) -> None:
    """Those without a sync between them are told one after the other, whether or not the first has ended."""
    bench, callees = told("in-place", restart("b"), restart("a"), restart("c"))
    callees["b"].ends = False
    order: list[str] = []

    def noting(name: str, tell: Callable[[Call], None]) -> Callable[[Call], None]:
        def noted(call: Call) -> None:
            order.append(name)
            tell(call)

        return noted

    for name in ("a", "b", "c"):
        callees[name].tell = noting(name, callees[name].tell)  # type: ignore[method-assign]
    bench.rotate()
    assert order == ["b", "a", "c"]


def test_a_rollout_is_watched_to_its_end(told: Told) -> None:
    """The rotation rests, says how far the rollout is, and completes when it has ended, nobody told twice."""
    bench, callees = told("in-place")
    mailer = callees["mailer"]
    mailer.ends = False
    rotation = bench.rotate()
    assert (rotation.state, rotation.step, rotation.exit_code) == (State.DRAINING, "await-consumers", 0)
    assert "mailer: 0 of 1 pods are new" in rotation.message
    assert rotation.old_token_dead is True
    assert again(bench).exit_code == 0
    assert newest(bench).state is State.DRAINING
    mailer.finish()
    assert again(bench).exit_code == 0
    assert newest(bench).state is State.COMPLETED
    assert len(mailer.calls) == 1
    watched = [step for step in newest(bench).steps if step.name == "await-consumers"]
    assert [step.outcome for step in watched] == [StepOutcome.DONE]


def test_a_rollout_that_takes_too_long_needs_attention(told: Told) -> None:
    """After its time a person is asked to look, with exit code 4; when it ends after all, nothing is left."""
    bench, callees = told("in-place")
    mailer = callees["mailer"]
    mailer.ends = False
    bench.rotate()
    bench.clock.advance(601)
    outcome = again(bench)
    assert outcome.exit_code == 4
    assert bench.attention == {"consumer-behind"}
    assert "mailer: 0 of 1 pods are new" in newest(bench).message
    assert bench.mints == 1
    mailer.finish()
    assert again(bench).exit_code == 0
    assert newest(bench).state is State.COMPLETED
    assert bench.attention == set()


def test_a_rollout_that_gives_up_needs_attention_at_once(told: Told) -> None:
    """Kubernetes says itself that a rollout comes no further: then nobody waits for the time-out."""
    bench, callees = told("in-place")
    callees["mailer"].ends, callees["mailer"].stuck = False, True
    rotation = bench.rotate()
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4)
    assert bench.attention == {"consumer-behind"}
    bench.assert_served()


@pytest.mark.parametrize("form", ["in-place", "standby", "bridge"])
def test_who_may_not_be_told_keeps_a_rotation_from_beginning(told: Told, form: str) -> None:
    """A Role that is missing is found before anything is changed: refused, exit code 1, readers untouched."""
    bench, callees = told(form)
    callees["mailer"].refuses = forbidden()
    rotation = bench.rotate()
    assert (rotation.state, rotation.exit_code) == (State.REFUSED, 1)
    assert bench.rotate_calls == 0
    assert bench.stored() == bench.first


def test_an_api_server_that_is_away_beforehand_is_safe_to_repeat(told: Told) -> None:
    """Nothing was changed: exit code 6."""
    bench, callees = told("in-place")
    callees["mailer"].refuses = Unreachable("the API server does not answer", then="Nothing was changed")
    assert bench.rotate().exit_code == 6
    assert bench.rotate_calls == 0


def refuse_later(bench: Bench, callee: Callee, error: Exception) -> None:
    """From the first mint on, the consumer answers with this."""
    real = bench.wiring.provider.rotate_token

    def then_refuse(project: str) -> object:
        callee.refuses = error  # type: ignore[assignment]
        return real(project)

    bench.wiring.provider.rotate_token = then_refuse  # type: ignore[method-assign, assignment]


def test_who_cannot_be_told_undoes_nothing_and_is_told_when_that_is_mended(told: Told) -> None:
    """The new token stays, the others are told, a person is asked to look; `run` tells the rest once it can."""
    bench, callees = told("in-place", restart("first"), restart("second"))
    refuse_later(bench, callees["first"], forbidden())
    rotation = bench.rotate()
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4)
    assert bench.attention == {"consumer-behind"}
    assert "first: deployments.apps is forbidden" in rotation.message
    assert len(callees["second"].calls) == 1
    bench.assert_served()
    lines = len(bench.audited())
    assert again(bench).exit_code == 4
    assert len(bench.audited()) == lines, "a look that finds nothing new is no event"
    callees["first"].refuses = None
    assert again(bench).exit_code == 0
    assert newest(bench).state is State.COMPLETED
    assert len(callees["first"].calls) == len(callees["second"].calls) == 1
    assert bench.attention == set()


def test_a_moment_without_an_answer_alarms_nobody(told: Told) -> None:
    """An API server that is away while a rollout goes on is asked again later."""
    bench, callees = told("in-place")
    mailer = callees["mailer"]
    mailer.ends = False
    bench.rotate()
    standing = mailer.standing

    def away(*_: object) -> Standing:
        raise Unreachable("no answer", then="It is asked later")

    mailer.standing = away  # type: ignore[method-assign]
    assert again(bench).exit_code == 0
    assert "could not be asked: no answer" in newest(bench).message
    mailer.standing = standing  # type: ignore[method-assign]
    mailer.finish()
    again(bench)
    assert newest(bench).state is State.COMPLETED


def test_telling_is_tried_for_a_while(told: Told) -> None:
    """An API server that comes back within the budget is told in the same process, and nobody is alarmed."""
    bench, callees = told("in-place")
    mailer = callees["mailer"]
    refuse_later(bench, mailer, Unreachable("no answer", then="told again"))
    tell = mailer.tell
    tries: list[int] = []

    def third_time(call: Call) -> None:
        tries.append(1)
        if len(tries) == 3:
            mailer.refuses = None
        tell(call)

    mailer.tell = third_time  # type: ignore[method-assign]
    assert bench.rotate().state is State.COMPLETED
    assert len(tries) == 3


def test_what_comes_after_an_external_secret_waits_for_its_sync(told: Told) -> None:
    """A pod that restarted earlier would read the former token again; one before it is told at once."""
    bench, callees = told("in-place", restart("before"), sync("store"), restart("after"))
    callees["store"].ends = False
    rotation = bench.rotate()
    assert rotation.state is State.DRAINING
    assert len(callees["before"].calls) == 1
    assert callees["after"].calls == []
    assert "after: to be told once store has synced" in rotation.message
    assert bench.attention == set()
    callees["store"].finish()
    assert again(bench).exit_code == 0
    assert newest(bench).state is State.COMPLETED
    assert len(callees["after"].calls) == 1


def test_a_sync_that_is_refused_is_not_waited_for(told: Told) -> None:
    """Who comes after it stays untold, at once and with words; a person is asked to look."""
    bench, callees = told("in-place", sync("store"), restart("after"))
    refuse_later(bench, callees["store"], forbidden())
    before = bench.clock.boot()
    rotation = bench.rotate()
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4)
    assert bench.clock.boot() - before < bench.timings.consumer_budget / 2
    assert callees["after"].calls == []
    assert rotation.consumers[1].detail == "to be told once store has synced"
    callees["store"].refuses = None
    assert again(bench).exit_code == 0
    assert len(callees["after"].calls) == 1


def test_a_quick_sync_is_waited_for_in_the_step(told: Told) -> None:
    """One that has synced by the second look lets the rest be told by the same process."""
    bench, callees = told("in-place", sync("store"), restart("after"))
    store = callees["store"]
    store.ends = False
    standing = store.standing
    asked: list[int] = []

    def second_time(call: Call, mark: str) -> Standing:
        asked.append(1)
        if len(asked) == 2:
            store.finish()
        return standing(call, mark)

    store.standing = second_time  # type: ignore[method-assign]
    assert bench.rotate().state is State.COMPLETED
    assert len(callees["after"].calls) == 1


def test_one_that_was_killed_after_telling_tells_nobody_twice(told: Told) -> None:
    """The next process repeats the call, which the consumer knows by its id."""
    bench, callees = told("in-place")
    mailer = callees["mailer"]
    tell = mailer.tell

    def die(call: Call) -> None:
        tell(call)
        raise KeyboardInterrupt

    mailer.tell = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.rotate()
    mailer.tell = tell  # type: ignore[method-assign]
    again(bench)
    assert newest(bench).state is State.COMPLETED
    assert (len(mailer.calls), mailer.repeated) == (1, 1)


def test_a_token_that_a_late_call_replaced_is_told_of_again(told: Told) -> None:
    """A mint of ours that was executed late kills the first token; pods that read it are restarted onto the second."""
    bench, callees = told("in-place")
    bench.simulator.faults.add("rotate", "late", seconds=20.0)
    mailer = callees["mailer"]
    tell = mailer.tell

    def after_the_late_one(call: Call) -> None:
        tell(call)
        bench.clock.advance(20)

    mailer.tell = after_the_late_one  # type: ignore[method-assign]
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert len(mailer.read) == 2
    assert mailer.read[-1] == rotation.new_fingerprint


@pytest.mark.parametrize("form", ["standby", "assisted"])
def test_a_drain_waits_for_rollouts(told: Told, form: str) -> None:
    """However quiet the outgoing token is, it lives until every rollout that was started has ended."""
    bench, callees = told(form)
    callees["mailer"].ends = False
    rotation = begun(bench)
    assert rotation.state is State.DRAINING
    bench.clock.advance(HOUR)
    again(bench)
    bench.clock.advance(3 * HOUR)
    outcome = again(bench)
    assert outcome.exit_code == 4
    assert bench.attention == {"consumer-behind"}
    assert bench.simulator.is_alive(bench.first)
    assert newest(bench).step == "drain"
    callees["mailer"].finish()
    assert ended(bench, newest(bench)).state is State.COMPLETED
    assert bench.attention == set()


def test_an_alarm_about_a_rollout_ends_with_it_while_the_drain_goes_on(told: Told) -> None:
    """What a look has raised the next one takes away, long before the rotation ends."""
    bench, callees = told("standby")
    mailer = callees["mailer"]
    mailer.ends, mailer.stuck = False, True
    assert begun(bench).state is State.NEEDS_ATTENTION
    assert again(bench).exit_code == 4
    assert bench.attention == {"consumer-behind"}
    mailer.finish()
    assert again(bench).exit_code == 0
    assert bench.attention == set()
    assert (newest(bench).state, newest(bench).step) == (State.DRAINING, "drain")


def test_at_max_a_drain_holds_for_consumers_too(told: Told) -> None:
    """Nobody uses the outgoing token, but a consumer may yet: the drain says whom it holds for."""
    bench, callees = told("standby")
    callees["mailer"].ends = False
    begun(bench)
    bench.clock.advance(25 * HOUR)
    again(bench)
    bench.clock.advance(2 * HOUR)
    assert again(bench).exit_code == 4
    rotation = newest(bench)
    assert rotation.drain is not None
    assert rotation.drain.result is DrainResult.MAX
    assert bench.attention == {"consumer-behind", "drain-stuck"}
    assert "consumers have not taken the new token: mailer" in rotation.message
    again(bench)
    assert [line["event"] for line in bench.audited()].count("drain.stuck") == 1
    assert bench.simulator.is_alive(bench.first)


def test_at_max_a_drain_that_may_retires_and_goes_on_watching(told: Told) -> None:
    """`on_max: retire` ends the outgoing token; the rollout is watched on, and ends the rotation when it ends."""
    bench, callees = told("standby")
    bench.document["drain"] = {"min": "2h", "quiet": "1h", "max": "1d", "on_max": "retire"}
    bench.policy = bench.load_policy()
    callees["mailer"].ends = False
    begun(bench)
    bench.clock.advance(25 * HOUR)
    again(bench)
    bench.clock.advance(2 * HOUR)
    assert again(bench).exit_code == 4
    assert not bench.simulator.is_alive(bench.first)
    assert newest(bench).step == "await-consumers"
    callees["mailer"].finish()
    assert again(bench).exit_code == 0
    assert newest(bench).state is State.COMPLETED


def test_retire_by_force_waits_for_no_consumer(told: Told) -> None:
    """A person may end a drain whatever a rollout does; what is left to watch is watched."""
    bench, callees = told("standby")
    callees["mailer"].ends = False
    begun(bench)
    rotation = retired(bench)
    assert not bench.simulator.is_alive(bench.first)
    assert (rotation.step, rotation.state) == ("await-consumers", State.DRAINING)


def test_the_bridge_is_told_of_and_then_the_new_token(told: Told) -> None:
    """Two restarts: readers must have left the old token before it dies, and the bridge afterwards."""
    bench, callees = told("bridge")
    rotation = ended(bench, begun(bench))
    assert callees["mailer"].read == [rotation.bridge_fingerprint, rotation.new_fingerprint]


def test_the_mint_over_a_bridge_waits_for_rollouts(told: Told) -> None:
    """While pods may still hold the old token nothing is minted, because that kills it."""
    bench, callees = told("bridge")
    callees["mailer"].ends = False
    begun(bench)
    bench.clock.advance(5 * HOUR)
    again(bench)
    assert bench.mints == 0
    assert bench.simulator.is_alive(bench.first)


def test_a_rollback_tells_those_who_were_told(told: Told) -> None:
    """Pods that read the new token are restarted onto the outgoing one before the new one is killed."""
    bench, callees = told("standby")
    rotation = begun(bench)
    mailer = callees["mailer"]
    mailer.ends = False
    back = draining.rollback(bench.runner, bench.wiring.journal, bench.policy, "it was the wrong day")
    assert mailer.read == [rotation.new_fingerprint, rotation.old_fingerprint]
    assert (back.state, back.step) == (State.DRAINING, "drain-incoming")
    mints = bench.rotate_calls
    bench.clock.advance(24 * 3600)
    again(bench)
    assert newest(bench).state is State.NEEDS_ATTENTION
    assert bench.attention == {"consumer-behind", "drain-stuck"}
    mailer.finish()
    again(bench)
    assert newest(bench).state is State.FAILED
    assert bench.attention == set()
    assert bench.rotate_calls == mints + 1
    assert bench.stored() == bench.first
    assert bench.simulator.is_alive(bench.first)


def test_what_is_given_up_before_anybody_was_told_tells_nobody(told: Told) -> None:
    """A staged token that fails verification ends as failed, and no pod is restarted for it."""
    bench, callees = told("standby", verify=[{"type": "ping"}])
    bench.let_somebody_else_mint_next()
    rotation = bench.rotate()
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 1)
    assert callees["mailer"].calls == []
    assert bench.stored() == bench.first


@pytest.mark.parametrize("form", ["in-place", "standby", "bridge", "assisted"])
def test_a_leaked_token_dies_whatever_consumers_do(told: Told, form: str) -> None:
    """Kill-first: no proof beforehand, no waiting; they are told afterwards, and again later where that failed."""
    bench, callees = told(form)
    mailer = callees["mailer"]
    mailer.refuses = Unreachable("the API server does not answer", then="told again")
    leaked = bench.stored()
    before = bench.clock.boot()
    rotation = respond(bench, leak(bench))[-1]
    assert bench.clock.boot() - before < bench.timings.consumer_budget / 2
    assert not bench.simulator.is_alive(leaked)
    assert rotation.old_token_dead is True
    assert rotation.exposure is not None
    assert bench.attention == {"consumer-behind"}
    mailer.refuses = None
    assert again(bench).exit_code == 0
    assert mailer.read[-1] == newest(bench).new_fingerprint
    assert newest(bench).state is State.COMPLETED


def test_replace_first_drains_no_longer_for_consumers(told: Told) -> None:
    """In an emergency the outgoing token dies after the time that was given, whatever a rollout does."""
    bench, callees = told("standby")
    callees["mailer"].ends = False
    leaked = bench.stored()
    respond(bench, leak(bench, Order.REPLACE_FIRST))
    assert bench.simulator.is_alive(leaked)
    bench.clock.advance(301)
    again(bench)
    assert not bench.simulator.is_alive(leaked)
    callees["mailer"].finish()
    again(bench)
    assert newest(bench).state is State.COMPLETED


@pytest.mark.parametrize("form", ["in-place", "standby"])
@pytest.mark.parametrize("order", list(Order))
def test_a_rollout_without_end_keeps_no_emergency_waiting(told: Told, form: str, order: Order) -> None:
    """The rotation that waits for it is ended by the newer token, of which the consumers are told."""
    bench, callees = told(form)
    mailer = callees["mailer"]
    mailer.ends = False
    former = begun(bench)
    if form == "standby":
        former = retired(bench)
    assert former.step == "await-consumers"
    bench.clock.advance(60)
    leaked = bench.stored()
    respond(bench, leak(bench, order))
    for _ in range(3):
        bench.clock.advance(301)
        again(bench)
    assert not bench.simulator.is_alive(leaked)
    bench.assert_served()
    mailer.finish()
    again(bench)
    assert newest(bench).id != former.id
    assert newest(bench).state is State.COMPLETED
    ended_by = bench.wiring.journal.rotation(former.id)
    assert ended_by is not None
    assert not ended_by.unfinished
    assert ended_by.state is State.COMPLETED
    assert "A newer token was made" in ended_by.message
    assert bench.attention == set()


@pytest.mark.parametrize("form", ["in-place", "standby"])
def test_a_person_may_rotate_again_while_a_rollout_does_not_end(told: Told, form: str) -> None:
    """The former rotation gives way once the newer one has minted; pods read the newest token."""
    bench, callees = told(form)
    mailer = callees["mailer"]
    mailer.ends = False
    former = begun(bench)
    if form == "standby":
        retired(bench)
    bench.clock.advance(60)
    rotation = bench.rotate()
    assert rotation.id != former.id
    mailer.ends = True
    assert ended(bench, rotation).state is State.COMPLETED
    assert mailer.read[-1] == bench.wiring.fingerprints.of(bench.stored())
    assert [one.unfinished for one in bench.wiring.journal.rotations("billing")] == [False, False]


def test_a_newer_rotation_that_is_given_up_leaves_the_former_one_waiting(told: Told) -> None:
    """Its token serves nobody, so the rollout of the former one is watched on, and ends that."""
    bench, callees = told("standby", verify=[{"type": "ping"}])
    mailer = callees["mailer"]
    mailer.ends = False
    former = begun(bench)
    retired(bench)
    bench.clock.advance(60)
    bench.let_somebody_else_mint_next()
    given_up = bench.rotate()
    assert given_up.abandoned
    assert given_up.id != former.id
    again(bench)
    still = bench.wiring.journal.rotation(former.id)
    assert still is not None
    assert still.step == "await-consumers"
    mailer.finish()
    again(bench)
    ended_now = bench.wiring.journal.rotation(former.id)
    assert ended_now is not None
    assert (ended_now.state, ended_now.unfinished) == (State.COMPLETED, False)
    assert len(mailer.calls) == 1


def test_a_consumer_that_is_gone_does_not_keep_a_policy_from_rotating_after_a_rollback(told: Told) -> None:
    """A person ends the drain of what was given up; that nobody waits for the consumer any more is a newer rotation's
    to say, once it is out of the policy."""
    bench, callees = told("standby")
    begun(bench)
    given_up = bench.stored()
    callees["mailer"].ends = False
    back = draining.rollback(bench.runner, bench.wiring.journal, bench.policy, "")
    ended = draining.retire(bench.runner, bench.wiring.journal, bench.policy, force=True)
    assert not bench.simulator.is_alive(given_up)
    assert (ended.id, ended.step) == (back.id, "await-consumers")
    bench.document["consumers"] = []
    bench.policy = bench.load_policy()
    newer = bench.rotate()
    assert (newer.id != back.id, newer.state) == (True, State.DRAINING)
    former = bench.wiring.journal.rotation(back.id)
    assert former is not None
    assert (former.state, former.unfinished) == (State.FAILED, False)
    assert "consumer-behind" not in bench.attention


def test_a_leaked_token_that_was_promoted_dies_before_its_pods_are_back(told: Told) -> None:
    """Given up in an emergency: pods are told of the outgoing token, and at the end of its drain the leaked one dies,
    whoever is not back by then."""
    bench, callees = told("standby")
    mailer = callees["mailer"]
    begun(bench)
    leaked = bench.stored()
    mailer.ends = False
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert mailer.read[-1] == rotation.old_fingerprint
    bench.clock.advance(DRAIN)
    again(bench)
    assert not bench.simulator.is_alive(leaked)
    rotation = newest(bench)
    assert "are not done: mailer" in rotation.message
    assert not rotation.unfinished
    assert bench.attention == set()


def test_a_leaked_bridge_is_told_of_to_a_person_whatever_a_rollout_does(told: Told) -> None:
    """Readers leave the bridge, and the person who must revoke it is told although a consumer is behind; that one is
    looked at on and on, and when both have come to their end nothing is left."""
    bench, callees = told("bridge")
    mailer = callees["mailer"]
    begun(bench)
    mailer.ends = False
    leaked = bridge_of(bench)
    respond(bench, leak(bench, slot=Slot.BRIDGE))
    for _ in range(3):
        again(bench)
    assert bench.attention == {"old-token-alive", "consumer-behind"}
    bench.simulator.revoke(leaked)
    assert again(bench).exit_code == 4
    assert bench.attention == {"consumer-behind"}
    mailer.finish()
    assert again(bench).exit_code == 0
    assert bench.attention == set()
    assert not newest(bench).unfinished


def test_a_rehearsal_tells_nobody(told: Told) -> None:
    """Its token is none of the consumers', whoever begins it: they are no part of what is rehearsed."""
    bench, callees = told("in-place")
    place = {"type": "file", "path": str(bench.folder / "rehearsal.json"), "format": "json", "key": "token"}
    bench.document["rehearsal"] = {"project": bench.other_project, "destinations": [place]}
    bench.policy = rehearsal_of(bench.load_policy())
    for trigger in (Trigger.REHEARSAL, Trigger.MANUAL):
        rotation = bench.rotate(trigger)
        assert rotation.state is State.COMPLETED
        assert "tell-consumers" not in names(rotation)
        bench.clock.advance(60)
    assert callees.by_name == {}


def test_a_consumer_that_is_gone_for_good_is_taken_out_of_the_policy(told: Told) -> None:
    """A person does what the alarm says: the policy without it, another rotation, and nothing is left to look at."""
    bench, callees = told("standby")
    mailer = callees["mailer"]
    mailer.ends = False
    former = begun(bench)
    mailer.refuses = forbidden()
    assert again(bench).exit_code == 4
    (alarm,) = bench.wiring.journal.attentions("billing")
    assert "take it out of the policy; `rotator rotate billing`" in alarm.next
    assert "`rotator retire billing --force`" in alarm.next
    retired(bench)
    bench.document["consumers"] = []
    bench.policy = bench.load_policy()
    bench.clock.advance(60)
    assert ended(bench, bench.rotate()).state is State.COMPLETED
    assert bench.attention == set()
    old = bench.wiring.journal.rotation(former.id)
    assert old is not None
    assert not old.unfinished


def test_whoever_lost_the_lease_tells_nobody(told: Told) -> None:
    """Another process has taken over after the mint: its own token is what consumers are told of."""
    bench, callees = told("in-place")
    mailer = callees["mailer"]
    mark = mailer.mark

    def taken_over() -> str:
        somebody_takes_the_lease(bench)
        return mark()

    mailer.mark = taken_over  # type: ignore[method-assign]
    assert bench.rotate().exit_code == 5
    assert mailer.calls == []


def test_telling_is_in_the_audit(told: Told) -> None:
    """Who was told, with which call, and when it had come to its end."""
    bench, callees = told("in-place")
    rotation = bench.rotate()
    lines = [line for line in bench.audited() if line["event"].startswith("consumer.")]
    assert [line["event"] for line in lines] == [
        "consumer.tell.intent",
        "consumer.tell.outcome",
        "consumer.done",
    ]
    assert {line["data"]["call"] for line in lines} == {callees["mailer"].calls[0].id}
    assert callees["mailer"].calls[0].id.startswith(rotation.id)
