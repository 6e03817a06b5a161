"""Back from a new token that readers have seen already: those that have kept it are to notice nothing either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rotator.errors import Refused
from rotator.journal.base import Hold
from rotator.model import Order, Rotation, Slot, State
from rotator.operations import draining
from rotator.operations.leaked import Leaked, find
from rotator.operations.reconcile import reconcile
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.emergencies import assert_measured, kill_first, leak, respond
from tests.engine.test_overlap_windows import die_before
from tests.engine.test_resumption import run
from tests.engine.test_standby import HOUR, drained, make_pair, pair
from tests.engine.test_standby_faults import Died, lose_answers

__all__ = ["make_pair", "pair"]  # fixtures


def rolled_back(bench: Bench, reason: str = "") -> tuple[Rotation, Secret]:
    """A rotation that a person takes back in mid-drain, and the token that it had made."""
    assert bench.rotate().state is State.DRAINING
    given_up = bench.stored()
    return back(bench, reason), given_up


def back(bench: Bench, reason: str = "") -> Rotation:
    return draining.rollback(bench.runner, bench.wiring.journal, bench.policy, reason)


def looked_for(bench: Bench, leaked: Secret) -> Leaked:
    """What `--leaked-stdin` finds."""
    wiring = bench.wiring
    return find(
        leaked,
        [bench.policy],
        provider=wiring.provider,
        destination=wiring.destination,
        journal=wiring.journal,
        fingerprints=wiring.fingerprints,
    )


def test_rollback_in_mid_drain_gives_the_old_token_back(pair: Bench) -> None:
    """Until retire the outgoing token comes back at a word; the one minted for the rotation dies once it was unused
    for as long as the policy asks of any token that consumers are to leave."""
    rotation, given_up = rolled_back(pair, "it was the wrong day")
    assert (rotation.state, rotation.step, rotation.exit_code) == (State.DRAINING, "drain-incoming", 1)
    assert "it was the wrong day" in rotation.message
    assert "at least 2:00:00 more and the token that was given up unused for 1:00:00 more" in rotation.message
    assert pair.stored() == pair.first
    assert "rotation.rollback" in [event["event"] for event in pair.audited()]
    pair.clock.advance(2 * HOUR - 1)
    waiting = run(pair)
    assert (waiting.exit_code, waiting.rotations[-1].state) == (0, State.DRAINING)
    assert pair.simulator.is_alive(given_up)
    pair.clock.advance(2)
    ended = run(pair)
    assert (ended.exit_code, ended.rotations[-1].state) == (1, State.FAILED)
    assert "Consumers keep the token they had" in ended.rotations[-1].message
    assert not pair.simulator.is_alive(given_up)
    assert pair.stored() == pair.first
    assert pair.simulator.is_alive(pair.first)
    assert pair.attention == set()
    again = pair.rotate()
    assert (again.state, again.incoming) == (State.DRAINING, pair.other_project)
    pair.assert_audit_holds()


def test_what_a_drain_goes_by_is_audited(pair: Bench) -> None:
    """Which project's token is watched, for how long, and how it ended: twice, for there were two drains."""
    rotation, _ = rolled_back(pair)
    drained(pair)
    told = [(e["event"], e["data"]) for e in pair.audited() if e["event"].startswith("drain.")]
    assert [(event, data.get("of"), data.get("result")) for event, data in told] == [
        ("drain.start", pair.project, None),
        ("drain.start", pair.other_project, None),
        ("drain.end", None, "quiet"),
    ]
    assert rotation.incoming == pair.other_project


def test_token_that_was_given_up_and_is_still_used_is_not_killed(pair: Bench) -> None:
    """A consumer that stays on it is named at `max`, and may go on; once it has left, the token dies."""
    rotation, given_up = rolled_back(pair)
    for _ in range(26):
        pair.clock.advance(HOUR)
        pair.simulator.use(pair.other_project, ip="203.0.113.9")
        last = run(pair)
    assert last.exit_code == 4
    assert pair.attention == {"drain-stuck"}
    (stuck,) = pair.wiring.journal.attentions("billing")
    assert "The token that was given up is still in use" in stuck.message
    assert "203.0.113.9" in stuck.message
    assert "rollback" not in stuck.next
    assert reconcile(pair.wiring.ports, pair.policy).action == "wait"
    assert pair.simulator.is_alive(given_up)
    pair.clock.advance(HOUR + 1)
    assert run(pair).rotations[-1].id == rotation.id
    assert not pair.simulator.is_alive(given_up)
    assert pair.attention == set()


def test_token_that_was_given_up_dies_at_max_where_the_policy_says_so(
    make_pair: Callable[..., Bench],
) -> None:
    """`on_max: retire` holds for it as for any other; the record names who used it."""
    bench = make_pair()
    bench.document["drain"] = {"min": "2h", "quiet": "1h", "max": "1d", "on_max": "retire"}
    bench.policy = bench.load_policy()
    _, given_up = rolled_back(bench)
    for _ in range(26):
        bench.clock.advance(HOUR)
        bench.simulator.use(bench.other_project, ip="203.0.113.9")
        last = run(bench)
        if not bench.simulator.is_alive(given_up):
            break
    assert last.rotations[-1].state is State.FAILED
    (detail,) = [step.detail for step in last.rotations[-1].steps if step.name == "drain-incoming"]
    assert detail == "still used from 203.0.113.9; killed at `max`, as the policy says"


def test_person_ends_it_when_nobody_uses_the_token(pair: Bench) -> None:
    """`retire` asks for quiet, `retire --force` does not; both are for the token that was given up."""
    _, given_up = rolled_back(pair)
    with pytest.raises(Refused, match="The token that was given up of billing was used at"):
        draining.retire(pair.runner, pair.wiring.journal, pair.policy, force=False)
    assert pair.simulator.is_alive(given_up)
    ended = draining.retire(pair.runner, pair.wiring.journal, pair.policy, force=True)
    assert (ended.state, ended.exit_code) == (State.FAILED, 1)
    assert not pair.simulator.is_alive(given_up)
    assert pair.simulator.is_alive(pair.first)


def test_quiet_token_is_killed_at_a_word_before_its_shortest_time(make_pair: Callable[..., Bench]) -> None:
    """`retire` without force is enough where nobody has used it for `quiet`."""
    bench = make_pair()
    _, given_up = rolled_back(bench)
    bench.clock.advance(HOUR + 1)
    ended = draining.retire(bench.runner, bench.wiring.journal, bench.policy, force=False)
    assert ended.state is State.FAILED
    assert not bench.simulator.is_alive(given_up)


def test_verification_that_fails_after_promote_goes_back_and_waits(pair: Bench) -> None:
    """Nobody has asked for it, and it has failed (1); consumers that have read the new token by then keep it alive."""
    pair.simulator.faults.add("send", "status", status=422, project=pair.other_project, skip=1)
    rotation = pair.rotate()
    assert (rotation.state, rotation.step, rotation.exit_code) == (State.DRAINING, "drain-incoming", 1)
    assert "does not pass verification" in rotation.message
    assert pair.stored() == pair.first
    given_up = pair.simulator.issued()[-1]
    assert pair.simulator.is_alive(given_up)
    assert drained(pair).state is State.FAILED
    assert not pair.simulator.is_alive(given_up)


def test_nothing_is_waited_for_that_no_reader_has_seen(pair: Bench) -> None:
    """A staged token that fails verification dies at once."""
    pair.simulator.faults.add("send", "status", status=422, project=pair.other_project)
    rotation = pair.rotate()
    assert rotation.state is State.FAILED, rotation.message
    assert pair.stored() == pair.first
    assert (
        len(pair.simulator.mints(pair.other_project)) == 2
    )  # the second killed the first, and nobody has seen it
    skipped = {step.name: step.detail for step in rotation.steps}["drain-incoming"]
    assert skipped == "no reader has seen the new token"


def test_dead_token_is_not_waited_for(pair: Bench) -> None:
    """Somebody has revoked the new one: readers are back on the outgoing one, and that was all."""
    assert pair.rotate().state is State.DRAINING
    pair.simulator.revoke(pair.stored())
    rotation = back(pair)
    assert rotation.state is State.FAILED, rotation.message
    assert pair.stored() == pair.first
    assert {s.name: s.detail for s in rotation.steps}["drain-incoming"] == "the new token is dead already"


def test_dead_reader_is_not_left_waiting(pair: Bench) -> None:
    """The outgoing token dies while readers have it again: only another rotation helps, and that needs the project."""
    rolled_back(pair)
    pair.simulator.revoke(pair.first)
    outcome = run(pair)
    assert outcome.exit_code == 4
    assert pair.attention == {"token-dead"}
    assert not outcome.rotations[0].unfinished
    repaired = pair.rotate()
    assert repaired.state in (State.DRAINING, State.COMPLETED), repaired.message
    pair.assert_served()


@pytest.mark.parametrize("step", ["rollback", "drain-incoming", "discard", "close"])
def test_process_that_dies_on_the_way_back_is_taken_up(
    pair: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before any of its steps: the next run goes on, and waits for what is left to wait for."""
    assert pair.rotate().state is State.DRAINING
    given_up = pair.stored()

    def until_it_ends() -> None:
        back(pair)
        drained(pair)

    die_before(pair, monkeypatch, step, until_it_ends)
    assert pair.simulator.is_alive(given_up) is (step != "close")
    ended = run(pair).rotations[-1]
    if ended.state is State.DRAINING:
        assert pair.simulator.is_alive(given_up)
        ended = drained(pair)
    assert ended.state is State.FAILED
    assert not pair.simulator.is_alive(given_up)
    assert pair.stored() == pair.first


def test_process_that_dies_after_the_last_write_waits_all_the_same(
    pair: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every destination is back, and the record does not know it: that no reader is on the new token now does not say
    that none has kept it."""
    assert pair.rotate().state is State.DRAINING
    given_up = pair.stored()
    destination = pair.wiring.destination(pair.policy.authoritative)
    real = destination.publish

    def die_after(*args: Any, **options: Any) -> Any:
        real(*args, **options)
        raise Died

    monkeypatch.setattr(destination, "publish", die_after)
    with pytest.raises(Died):
        back(pair)
    assert pair.stored() == pair.first
    pair.new_process()
    went_on = run(pair).rotations[-1]
    assert (went_on.state, went_on.step) == (State.DRAINING, "drain-incoming")
    assert pair.simulator.is_alive(given_up)
    assert drained(pair).state is State.FAILED
    assert not pair.simulator.is_alive(given_up)


def test_store_that_a_person_has_put_back_before_does_not_hurry_it(pair: Bench) -> None:
    """The outgoing token is under readers again by hand; those that read the new one before may still have it."""
    assert pair.rotate().state is State.DRAINING
    given_up = pair.stored()
    pair.write_secret(pair.secret_file, pair.first)
    assert back(pair).state is State.DRAINING
    assert pair.simulator.is_alive(given_up)
    assert drained(pair).state is State.FAILED
    assert not pair.simulator.is_alive(given_up)


def test_token_put_back_under_readers_is_not_killed(pair: Bench) -> None:
    """A person promotes what was given up by hand: it lives on, and a person is told."""
    _, given_up = rolled_back(pair)
    pair.write_secret(pair.secret_file, given_up)
    ended = drained(pair)
    assert ended.state is State.NEEDS_ATTENTION
    assert pair.attention == {"out-of-band"}
    assert pair.simulator.is_alive(given_up)


def test_token_that_is_used_between_its_drain_and_its_death_drains_on(
    pair: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died in between, and the next one comes late."""
    _, given_up = rolled_back(pair)
    die_before(pair, monkeypatch, "discard", lambda: drained(pair))
    pair.simulator.use(pair.other_project, ip="203.0.113.9")
    rotation = run(pair).rotations[-1]
    assert (rotation.state, rotation.step) == (State.DRAINING, "drain-incoming")
    assert pair.simulator.is_alive(given_up)
    assert drained(pair).state is State.FAILED
    assert not pair.simulator.is_alive(given_up)


@pytest.mark.parametrize("executed", [True, False])
def test_lost_answer_of_its_death_is_no_loss(pair: Bench, *, executed: bool) -> None:
    """Whether the call was executed is looked up; either way the token is dead in the end."""
    _, given_up = rolled_back(pair)
    lose_answers(pair, executed=executed)
    assert drained(pair).state is State.FAILED
    assert not pair.simulator.is_alive(given_up)


def test_second_rollback_does_not_begin_anew(pair: Bench) -> None:
    """It is on its way back already: another look, and neither the audit nor the waiting starts again."""
    rotation, given_up = rolled_back(pair)
    pair.clock.advance(HOUR)
    again = back(pair, "once more")
    assert again.returned == rotation.returned
    assert again.exit_code == 1
    assert [event["event"] for event in pair.audited()].count("rotation.rollback") == 1
    pair.clock.advance(HOUR + 1)
    assert run(pair).rotations[-1].state is State.FAILED
    assert not pair.simulator.is_alive(given_up)


def test_rotation_that_is_asked_for_meanwhile_waits_for_it(pair: Bench) -> None:
    """The next mint would kill the token under those that have kept it; `hold` stops it all."""
    rotation, given_up = rolled_back(pair)
    assert pair.rotate().id == rotation.id
    assert pair.simulator.is_alive(given_up)
    pair.wiring.journal.hold(Hold("billing", pair.clock.now(), "ana@desk", ""))
    pair.clock.advance(5 * HOUR)
    assert run(pair).exit_code == 0
    assert pair.simulator.is_alive(given_up)
    pair.wiring.journal.release_hold("billing")
    pair.clock.advance(1)
    begun = pair.rotate()
    assert begun.id != rotation.id
    assert begun.state is State.DRAINING


def test_leaked_token_is_waited_for_as_long_as_was_said(pair: Bench) -> None:
    """An emergency takes readers back to the outgoing token at once; the leaked one dies when its time is over."""
    assert pair.rotate().state is State.DRAINING
    leaked = pair.stored()
    emergency = leak(pair, Order.REPLACE_FIRST)
    rotation = respond(pair, emergency)[-1]
    assert (rotation.state, rotation.exit_code) == (State.DRAINING, 0), rotation.message
    assert pair.stored() == pair.first
    pair.simulator.use(pair.other_project)
    pair.clock.advance(emergency.drain - 1)
    run(pair)
    assert pair.simulator.is_alive(leaked)
    pair.clock.advance(2)
    ended = run(pair).rotations[-1]
    assert (ended.state, ended.exit_code) == (State.FAILED, 0), ended.message
    assert not pair.simulator.is_alive(leaked)
    assert_measured(pair, ended, pair.other_project)


def test_leaked_token_that_was_given_up_already_dies_now(pair: Bench) -> None:
    """It drains, so it is the outgoing token of that drain: whoever still uses it, it is killed and proved dead."""
    _, leaked = rolled_back(pair)
    pair.simulator.use(pair.other_project)
    found = looked_for(pair, leaked)
    assert (found.slot, found.stored, found.alive) == (Slot.OUTGOING, False, True)
    ended = respond(pair, leak(pair, slot=Slot.OUTGOING), leaked)[-1]
    assert (ended.state, ended.exit_code) == (State.FAILED, 0), ended.message
    assert not pair.simulator.is_alive(leaked)
    assert pair.stored() == pair.first
    pair.assert_served()
    assert_measured(pair, ended, pair.other_project)
    assert (ended.leaked_fingerprint, ended.leaked_token_dead) == (ended.new_fingerprint, True)
    assert "token.prove-dead" in [event["event"] for event in pair.audited()]


def test_outgoing_token_that_leaked_and_is_current_again_is_not_called_dead(pair: Bench) -> None:
    """It was to be retired at once, the new one turned out dead, and a person went back as they were told: then readers
    hold the leaked token, and nobody may be told that all is done."""
    assert pair.rotate().state is State.DRAINING
    pair.simulator.revoke(pair.stored())
    stuck = respond(pair, leak(pair, slot=Slot.OUTGOING), pair.first)[-1]
    assert stuck.state is State.NEEDS_ATTENTION
    ended = back(pair)
    assert (ended.state, ended.exit_code) == (State.NEEDS_ATTENTION, 4), ended.message
    assert pair.stored() == pair.first
    assert pair.simulator.is_alive(pair.first)
    assert ended.leaked_token_dead is None
    (told,) = [one for one in pair.wiring.journal.attentions("billing") if one.code == "old-token-alive"]
    assert "--order kill-first" in told.next
    assert kill_first(pair).old_token_dead is True
    assert pair.attention == set()


def test_leak_of_the_token_that_is_coming_back_is_of_what_readers_hold(
    pair: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollback has died after its last write, and its record does not know: the outgoing token is what readers
    hold, and it is that one that is killed."""
    assert pair.rotate().state is State.DRAINING
    destination = pair.wiring.destination(pair.policy.authoritative)
    real = destination.publish

    def die_after(*args: Any, **options: Any) -> Any:
        real(*args, **options)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(destination, "publish", die_after)
        with pytest.raises(Died):
            back(pair)
    pair.new_process()
    found = looked_for(pair, pair.first)
    assert (found.slot, found.stored) == (Slot.ACTIVE, True)
    done = respond(pair, leak(pair, slot=found.slot), pair.first)
    assert done[-1].old_token_dead is True, done[-1].message
    assert not pair.simulator.is_alive(pair.first)
    pair.assert_served()


@pytest.mark.parametrize("handed_in", [True, False])
def test_leaked_token_that_no_store_keeps_is_proved_dead_only_by_who_has_it(
    pair: Bench, monkeypatch: pytest.MonkeyPatch, *, handed_in: bool
) -> None:
    """Its project's rotation kills it either way. As it was handed in it is presented; where nobody has it any more, a
    person is to make sure."""
    _, leaked = rolled_back(pair)
    for destination in (pair.wiring.destination(spec) for spec in pair.policy.destinations):
        monkeypatch.setattr(destination, "recall", lambda _: None)
    ended = respond(pair, leak(pair, slot=Slot.OUTGOING), leaked if handed_in else None)[-1]
    assert not pair.simulator.is_alive(leaked)
    proved = (State.FAILED, 0, True, set())
    unproved = (State.NEEDS_ATTENTION, 4, None, {"unclear"})
    told = (ended.state, ended.exit_code, ended.leaked_token_dead, pair.attention)
    assert told == (proved if handed_in else unproved), ended.message


def test_no_way_back_from_a_leaked_token_says_that_it_has_leaked(pair: Bench) -> None:
    """The outgoing one is dead, so readers keep what has leaked: a person kills it first."""
    assert pair.rotate().state is State.DRAINING
    leaked = pair.stored()
    pair.simulator.revoke(pair.first)
    ended = respond(pair, leak(pair, Order.REPLACE_FIRST))[-1]
    assert (ended.state, ended.exit_code) == (State.NEEDS_ATTENTION, 4), ended.message
    assert "old-token-alive" in pair.attention
    assert "Readers hold the leaked token" in ended.message
    assert pair.simulator.is_alive(leaked)


def test_record_of_an_earlier_drain_starts_no_other(pair: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of before there was such a drain: the one it keeps is that of the outgoing token, and says nothing of
    the one that was given up. It ends."""
    _, given_up = rolled_back(pair)
    die_before(pair, monkeypatch, "discard", lambda: drained(pair))
    (kept,) = pair.wiring.journal.unfinished()
    assert kept.drain is not None
    former = replace(kept, returned=None, drain=replace(kept.drain, last_used_at="2020-01-01T00:00:00Z"))
    lease = pair.wiring.journal.acquire(pair.policy.projects, pair.wiring.holder, ttl=1e6)
    pair.wiring.journal.save(lease, former)
    pair.wiring.journal.release(lease)
    assert run(pair).rotations[-1].state is State.FAILED
    assert not pair.simulator.is_alive(given_up)


def test_leak_of_what_readers_hold_waits_for_no_token_that_was_given_up(pair: Bench) -> None:
    """The other project is needed now, and whoever has kept its token reads the newest one from then on."""
    _, given_up = rolled_back(pair)
    done = respond(pair, replace(leak(pair, Order.REPLACE_FIRST), drain=0.0))
    assert not pair.simulator.is_alive(given_up)
    assert not pair.simulator.is_alive(pair.first)
    assert done[-1].state is State.COMPLETED, done[-1].message
    # What was only finished on the way says nothing of the leak.
    assert done[0].leaked_token_dead is None
    assert done[0].exposure is None
    assert_measured(pair, done[-1], pair.project)
    pair.assert_served()


def test_retirement_finished_on_the_way_measures_no_exposure(
    pair: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What readers hold has leaked while the former token was about to be proved dead: that death is not the leak's."""
    assert pair.rotate().state is State.DRAINING
    leaked = pair.stored()
    die_before(pair, monkeypatch, "prove-dead", lambda: drained(pair))
    done = respond(pair, replace(leak(pair, Order.REPLACE_FIRST), drain=0.0))
    assert (done[0].old_token_dead, done[0].exposure) == (True, None)
    assert_measured(pair, done[-1], pair.other_project)
    assert not pair.simulator.is_alive(leaked)
