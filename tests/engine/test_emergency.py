"""A leaked token dies: in both orders, of every form, in every slot, whatever is open meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rotator.errors import Refused
from rotator.journal.base import Hold
from rotator.model import DrainResult, Order, Slot, State
from tests.engine.bench import Bench
from tests.engine.emergencies import (
    DRAIN,
    assert_measured,
    bridge_of,
    furnish,
    kill_first,
    leak,
    respond,
)
from tests.engine.test_resumption import run

HOUR = 3600.0
MakeBench = Callable[..., Bench]


# --- the token that readers hold ------------------------------------------------------------------


@pytest.mark.parametrize("form", ["in-place", "standby", "bridge"])
def test_kill_first_rotates_the_active_project_and_publishes_at_once(bench: Bench, form: str) -> None:
    """Whatever the strategy: one call, the leaked token is dead, readers hold a living one, exposure is told."""
    furnish(bench, form)
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    assert bench.rotate_calls == bench.mints == 1
    assert not bench.simulator.is_alive(bench.first)
    bench.assert_served()
    assert rotation.old_token_dead is True
    assert rotation.outage is not None
    assert_measured(bench, rotation)
    bench.assert_audit_holds()


def test_kill_first_on_the_standby_side_leaves_the_idle_project_alone(bench: Bench) -> None:
    """After an alternation the active side is the standby: that one is rotated, and is known as its token's."""
    furnish(bench, "standby")
    bench.rotate()
    for _ in range(12):
        bench.clock.advance(HOUR / 2)
        run(bench)
    leaked = bench.stored()
    assert bench.mints == 1
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    assert rotation.incoming == bench.other_project
    assert len(bench.simulator.mints(bench.other_project)) == 2
    assert bench.mints == 1
    assert not bench.simulator.is_alive(leaked)
    known = bench.wiring.journal.known_token(bench.wiring.fingerprints.of(bench.stored()))
    assert known is not None
    assert known.project == bench.other_project
    assert bench.rotate().incoming == bench.project


def test_kill_first_of_a_handmade_token_gives_readers_a_minted_one(bench: Bench) -> None:
    """`assisted`: rotate-token does not reach the leaked token, so a person is told to revoke it."""
    furnish(bench, "assisted")
    leaked = bench.stored()
    rotation = kill_first(bench)
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4)
    assert bench.attention == {"old-token-alive"}
    bench.assert_served()
    assert bench.stored() != leaked
    assert rotation.exposure is None
    bench.simulator.revoke(leaked)
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert ended.exposure is not None
    assert bench.attention == set()


@pytest.mark.parametrize("form", ["standby", "bridge"])
def test_replace_first_drains_no_longer_than_it_was_given(bench: Bench, form: str) -> None:
    """A consumer that stays on the leaked token keeps it alive for the drain of the emergency, not for the policy's."""
    furnish(bench, form)
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert rotation.state is State.DRAINING, rotation.message
    assert bench.stored() != bench.first
    bench.clock.advance(DRAIN - 10)
    bench.simulator.use(bench.project)
    assert run(bench).rotations[-1].state is State.DRAINING
    assert bench.simulator.is_alive(bench.first)
    bench.clock.advance(11)
    ended = run(bench).rotations[-1]
    assert not bench.simulator.is_alive(bench.first)
    assert ended.old_token_dead is True
    if form == "bridge":
        bench.clock.advance(DRAIN)
        ended = run(bench).rotations[-1]
    else:
        assert ended.drain is not None
        assert ended.drain.result is DrainResult.MAX
    assert ended.state is State.COMPLETED, ended.message
    assert_measured(bench, ended)
    assert ended.exposure is not None
    assert ended.exposure.min >= DRAIN
    bench.assert_served()


def test_exposure_ends_with_the_proof_and_begins_with_the_report(bench: Bench) -> None:
    """Time between the report and the command counts."""
    emergency = leak(bench)
    bench.clock.advance(1000)
    rotation = respond(bench, emergency)[-1]
    assert rotation.exposure is not None
    assert 1000 <= rotation.exposure.min <= rotation.exposure.max < 1100


def test_failing_verifier_only_warns(make_bench: MakeBench) -> None:
    """Beforehand it is a note; afterwards an alarm; the token is replaced either way."""
    verify = [{"type": "ping"}, {"type": "send", "from": "rotation@elsewhere.example"}]
    bench = make_bench(verify=verify)  # not a domain of the project, so no send succeeds
    assert bench.rotate().state is State.REFUSED
    rotation = kill_first(bench)
    assert rotation.exit_code == 4
    assert "did not work beforehand" in rotation.message
    assert bench.attention == {"verification-failed"}
    assert not bench.simulator.is_alive(bench.first)
    bench.assert_served()
    assert rotation.exposure is not None


def test_hold_is_overridden_and_that_is_recorded(bench: Bench) -> None:
    """The audit and the message say that a person's hold did not stop it, and the hold stands on."""
    bench.wiring.journal.hold(Hold("billing", bench.clock.now(), "ana", "freeze"))
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    assert "held since" in rotation.message
    starts = [event for event in bench.audited() if event["event"] == "rotation.start"]
    assert starts[-1]["data"]["overrode_hold"] is True
    assert starts[-1]["data"]["order"] == "kill-first"
    assert "billing" in bench.wiring.journal.holds()


def test_held_policy_drains_on_after_an_emergency(bench: Bench) -> None:
    """A hold does not keep a leaked token alive when another process looks."""
    furnish(bench, "standby")
    bench.wiring.journal.hold(Hold("billing", bench.clock.now(), "ana", "freeze"))
    assert respond(bench, leak(bench, Order.REPLACE_FIRST))[-1].state is State.DRAINING
    bench.new_process()
    bench.clock.advance(DRAIN + 1)
    assert run(bench).rotations[-1].state is State.COMPLETED
    assert not bench.simulator.is_alive(bench.first)


@pytest.mark.parametrize("form", ["in-place", "standby"])
def test_dead_token_is_repaired_and_said_to_be_dead(bench: Bench, form: str) -> None:
    """An already dead token counts as exposed for no time at least; no outage is claimed for it."""
    furnish(bench, form)
    bench.simulator.revoke(bench.first)
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    assert "dead already, since when is not known" in rotation.message
    assert rotation.exposure is not None
    assert rotation.exposure.min == 0
    assert rotation.outage is None
    bench.assert_served()


def test_dead_token_says_since_when_it_is_known(bench: Bench) -> None:
    """The journal saw it die: the date is told."""
    bench.rotate()
    bench.write_secret(bench.secret_file, bench.first)
    rotation = kill_first(bench)
    assert "known dead since 2026-11-21" in rotation.message
    bench.assert_served()


def test_empty_journal_finds_the_active_side_by_a_test_send(bench: Bench) -> None:
    """Nothing is remembered: the identity proof tells which project's token leaked."""
    furnish(bench, "standby")
    bench.write_secret(bench.secret_file, bench.other_token)
    rotation = kill_first(bench)
    assert rotation.state is State.COMPLETED, rotation.message
    assert rotation.incoming == bench.other_project
    assert bench.mints == 0
    assert not bench.simulator.is_alive(bench.other_token)


def test_active_side_without_evidence_is_refused(bench: Bench) -> None:
    """Neither journal nor test send tells whose token it is: nothing is killed, and `reconcile` is named."""
    furnish(bench, "standby")
    bench.document["verify"] = [{"type": "ping"}]
    bench.policy = bench.load_policy()
    rotation = kill_first(bench)
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4)
    assert "--active PROJECT" in rotation.message
    assert bench.rotate_calls == 0


def test_bridge_that_is_dead_leaves_kill_first(bench: Bench) -> None:
    """Replace-first without a bridge costs nothing and names the order that does without it."""
    furnish(bench, "bridge")
    bench.simulator.revoke(bridge_of(bench))
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert rotation.state is State.REFUSED
    assert "--order kill-first" in rotation.message
    assert kill_first(bench).state is State.COMPLETED


# --- while a rotation is open ---------------------------------------------------------------------


def test_outgoing_token_of_a_drain_is_retired_now(bench: Bench) -> None:
    """The drain ends whoever still uses it, and readers keep what they have."""
    furnish(bench, "standby")
    bench.rotate()
    served = bench.stored()
    bench.simulator.use(bench.project)
    rotation = respond(bench, leak(bench, slot=Slot.OUTGOING), bench.first)[-1]
    assert rotation.state is State.COMPLETED, rotation.message
    assert not bench.simulator.is_alive(bench.first)
    assert bench.stored() == served
    bench.assert_served()
    assert_measured(bench, rotation)
    resumed = [event for event in bench.audited() if event["event"] == "rotation.resume"]
    assert resumed[-1]["data"]["slot"] == "outgoing"


def test_outgoing_token_of_no_drain_is_refused(bench: Bench) -> None:
    """Nothing is open and nothing died: nothing is guessed."""
    furnish(bench, "standby")
    with pytest.raises(Refused):
        respond(bench, leak(bench, slot=Slot.OUTGOING))
    assert bench.rotate_calls == 0


def open_before_promote(bench: Bench) -> None:
    """A rotation whose token is staged everywhere; the process then died."""
    furnish(bench, "standby")
    destination = bench.wiring.destination(bench.policy.authoritative)

    def die(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    destination.promote = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.rotate()
    bench.new_process()


def test_staged_token_that_leaked_dies_and_readers_notice_nothing(bench: Bench) -> None:
    """The open rotation is given up, its token killed and proved dead; there is nothing else to do."""
    open_before_promote(bench)
    staged = bench.wiring.destination(bench.policy.authoritative).read_staged()
    assert staged is not None
    rotation = respond(bench, leak(bench, slot=Slot.STAGED))[-1]
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 0), rotation.message
    assert not bench.simulator.is_alive(staged.value)
    assert bench.stored() == bench.first
    assert bench.simulator.is_alive(bench.first)
    assert rotation.exposure is not None
    assert bench.wiring.destination(bench.policy.authoritative).read_staged() is None
    assert bench.wiring.journal.unfinished() == []


def test_kill_first_gives_up_what_was_staged(bench: Bench) -> None:
    """The active token dies at once; the staged one, which is of no use any more, dies with its rotation."""
    open_before_promote(bench)
    staged = bench.wiring.destination(bench.policy.authoritative).read_staged()
    assert staged is not None
    rotations = respond(bench, leak(bench))
    assert rotations[-1].state is State.COMPLETED, rotations[-1].message
    assert not bench.simulator.is_alive(bench.first)
    assert not bench.simulator.is_alive(staged.value)
    bench.assert_served()
    assert bench.wiring.journal.unfinished() == []


def test_replace_first_goes_on_with_what_was_staged(bench: Bench) -> None:
    """The open rotation is joined: its token is promoted, and its drain is the emergency's."""
    open_before_promote(bench)
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert rotation.state is State.DRAINING, rotation.message
    bench.clock.advance(DRAIN + 1)
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert bench.rotate_calls == 2
    assert_measured(bench, ended)
    bench.assert_served()


def test_kill_first_during_a_drain_lets_the_drain_go_on(bench: Bench) -> None:
    """The leaked token was promoted a moment ago: its project is rotated again, and the drain of the former one
    ends as it would have."""
    furnish(bench, "standby")
    bench.rotate()
    leaked = bench.stored()
    rotations = respond(bench, leak(bench))
    assert rotations[-1].state is State.COMPLETED, rotations[-1].message
    assert not bench.simulator.is_alive(leaked)
    assert bench.simulator.is_alive(bench.first)
    bench.assert_served()
    for _ in range(8):
        bench.clock.advance(HOUR / 2)
        run(bench)
    assert bench.wiring.journal.unfinished() == []
    assert not bench.simulator.is_alive(bench.first)
    bench.assert_served()
    assert bench.attention == set()


def test_replace_first_during_a_drain_goes_back(bench: Bench) -> None:
    """The outgoing token still lives: readers get it back at once, and the leaked one dies at the end of its drain."""
    furnish(bench, "standby")
    bench.rotate()
    leaked = bench.stored()
    began = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert (began.state, began.exit_code) == (State.DRAINING, 0), began.message
    assert "at most 0:05:00 more" in began.message
    assert bench.stored() == bench.first
    bench.clock.advance(DRAIN)
    (rotation,) = run(bench).rotations
    assert (rotation.state, rotation.exit_code) == (State.FAILED, 0), rotation.message
    assert bench.stored() == bench.first
    bench.assert_served()
    assert not bench.simulator.is_alive(leaked)
    assert_measured(bench, rotation, bench.other_project)


def test_bridge_that_leaked_is_left_at_once_and_told(bench: Bench) -> None:
    """Readers who stand on it get a minted token without a drain; a person is told to revoke it, exit 4."""
    furnish(bench, "bridge")
    bench.rotate()
    leaked = bridge_of(bench)
    assert bench.stored() == leaked
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST, slot=Slot.BRIDGE))[-1]
    assert rotation.exit_code == 4
    assert bench.attention == {"old-token-alive"}
    assert bench.stored() != leaked
    bench.assert_served()
    assert "only a person can revoke it" in rotation.message
    assert run(bench).exit_code == 4
    bench.simulator.revoke(leaked)
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert ended.exposure is not None
    assert bench.attention == set()


def test_bridge_that_leaked_while_nobody_stands_on_it_is_only_told(bench: Bench) -> None:
    """Nothing is minted; which token to revoke is told until another one is in the bridge's secret."""
    furnish(bench, "bridge")
    rotation = respond(bench, leak(bench, slot=Slot.BRIDGE))[-1]
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4)
    assert bench.attention == {"old-token-alive"}
    assert bench.rotate_calls == 0
    assert bench.stored() == bench.first
    bench.write_secret(bench.folder / "bridge.json", bench.simulator.add_token(bench.project))
    ended = run(bench).rotations[-1]
    assert ended.state is State.COMPLETED, ended.message
    assert "make sure that it is revoked" in ended.message
    assert bench.attention == set()


def test_active_slot_while_readers_stand_on_the_bridge(bench: Bench) -> None:
    """What readers hold is the bridge: they leave it, the project's token dies, and the bridge is told."""
    furnish(bench, "bridge")
    bench.rotate()
    rotation = kill_first(bench)
    assert rotation.exit_code == 4
    assert bench.attention == {"old-token-alive"}
    assert not bench.simulator.is_alive(bench.first)
    assert bench.stored() != bridge_of(bench)
    bench.assert_served()


@pytest.mark.parametrize("skip", [0, 1])
def test_leak_that_could_not_be_replaced_is_not_called_done(bench: Bench, skip: int) -> None:
    """The new token does not pass verification, staged or promoted: readers keep the leaked one, so it lives, and a
    person is told what kills it. No exposure is measured."""
    furnish(bench, "standby")
    faults = bench.simulator.faults
    faults.add("send", "status", status=422, project=bench.other_project, skip=skip, times=None)
    rotation = respond(bench, leak(bench, Order.REPLACE_FIRST))[-1]
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4), rotation.message
    assert rotation.exposure is None
    assert rotation.leaked_token_dead is None
    assert bench.attention == {"old-token-alive"}
    (told,) = bench.wiring.journal.attentions("billing")
    assert "--order kill-first" in told.next
    assert bench.simulator.is_alive(bench.first)
    assert kill_first(bench).old_token_dead is True
    assert not bench.simulator.is_alive(bench.first)
    assert bench.attention == set()
    bench.assert_served()
