"""Windows in which an overlap could go wrong: the world changes between two steps, and readers must not pay for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rotator.engine.carrier import Carrier
from rotator.errors import CredentialRejected, Held, Refused, Unreachable
from rotator.journal.base import Hold
from rotator.model import Rotation, State
from rotator.operations import draining
from rotator.operations.reconcile import name_active
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.test_assisted import assisted, hand_in
from tests.engine.test_bridge import bridge, bridged
from tests.engine.test_resumption import run
from tests.engine.test_standby import HOUR, drained, make_pair, pair
from tests.engine.test_standby_faults import Died

__all__ = ["assisted", "bridged", "make_pair", "pair"]  # fixtures


def die_before(bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, go_on: Callable[[], Any]) -> None:
    """Goes on until the process dies before a step."""
    real = Carrier._one_step

    def one_step(self: Carrier, context: Any) -> bool:
        if context.rotation.step == step:
            raise Died
        return real(self, context)

    with monkeypatch.context() as patched:
        patched.setattr(Carrier, "_one_step", one_step)
        with pytest.raises(Died):
            go_on()
    bench.new_process()


def second_file(bench: Bench) -> Path:
    return bench.folder / "second.json"


def let_follower_refuse(bench: Bench) -> Callable[[], None]:
    """The second destination does not promote, until the returned function is called."""
    follower = bench.wiring.destination(bench.policy.destinations[1])
    real = follower.promote

    def away(*_: Any, **__: Any) -> Any:
        raise Unreachable("The second store is away")

    follower.promote = away  # type: ignore[method-assign]
    return lambda: setattr(follower, "promote", real)


# --- what a mint in the idle project would kill ---------------------------------------------------


def test_idle_project_in_use_is_not_minted_in(pair: Bench) -> None:
    """Its token would die under whoever uses it: refused with the address, until it was unused for `quiet`."""
    pair.clock.advance(60)
    pair.simulator.use(pair.other_project, ip="203.0.113.9")
    refused = pair.rotate()
    assert (refused.state, refused.exit_code) == (State.REFUSED, 1), refused.message
    assert "203.0.113.9" in refused.message
    assert pair.simulator.is_alive(pair.other_token)
    pair.clock.advance(HOUR + 1)
    assert pair.rotate().state is State.DRAINING


def test_journal_lost_in_mid_drain_does_not_end_it_without_evidence(pair: Bench) -> None:
    """The next rotation would mint in the draining project: not while its token was used within `quiet`."""
    assert pair.rotate().state is State.DRAINING
    pair.wiring.close()
    shutil.rmtree(pair.folder / "state")
    pair.new_process()
    pair.clock.advance(60)
    pair.simulator.use(pair.project)
    assert pair.rotate().state is State.REFUSED
    assert pair.simulator.is_alive(pair.first)
    pair.clock.advance(HOUR + 1)
    assert pair.rotate().state is State.DRAINING
    assert drained(pair).state is State.COMPLETED


def test_side_changed_by_hand_before_a_resumed_mint_is_seen(
    pair: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies in the mint, somebody moves readers to the idle project's token: it is not killed."""
    real = pair.wiring.provider.rotate_token

    def rotate_token(project: str) -> object:
        raise Died

    pair.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    with pytest.raises(Died):
        pair.rotate()
    pair.wiring.provider.rotate_token = real  # type: ignore[method-assign]
    pair.new_process()
    by_hand = pair.simulator.regenerate(pair.other_project)
    pair.write_secret(pair.secret_file, by_hand)
    outcome = run(pair)
    assert pair.simulator.is_alive(by_hand)
    assert outcome.exit_code == 4, outcome.rotations[-1].message
    assert not outcome.rotations[-1].unfinished
    assert pair.attention == {"out-of-band"}
    again = pair.rotate()
    assert again.incoming == pair.project, again.message
    assert drained(pair).state is State.COMPLETED
    assert pair.attention == set()


def test_follower_that_lives_is_not_killed_by_a_repair(make_pair: Callable[..., Bench]) -> None:
    """The authoritative token is dead and a follower holds the main project's living one: the other is minted in."""
    pair = make_pair(followers=("second.json",))
    dead = pair.simulator.add_token(pair.project)
    name_active(pair.wiring.ports, pair.runner, pair.policy, pair.project)
    pair.simulator.revoke(dead)
    pair.write_secret(pair.secret_file, dead)
    seen: list[bool] = []
    real = pair.wiring.provider.rotate_token

    def rotate_token(project: str) -> object:
        minted = real(project)
        seen.append(pair.simulator.is_alive(pair.stored(second_file(pair))))
        return minted

    pair.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    pair.rotate()
    assert all(seen)


def test_mint_that_was_certainly_not_executed_leaves_nothing_open(pair: Bench) -> None:
    """The provider refuses our credentials: nothing was minted, so nothing has to be killed."""
    calls: list[str] = []

    def rotate_token(project: str) -> object:
        calls.append(project)
        raise CredentialRejected("The team token was refused (403)")

    pair.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    rotation = pair.rotate()
    assert len(calls) == 1
    assert not rotation.unfinished
    assert rotation.exit_code == 2
    assert pair.attention == set()


def test_unexecuted_mint_leaves_the_way_back_from_the_bridge_open(bridged: Bench) -> None:
    """Nothing died, so readers can go back to the token they had."""
    assert bridged.rotate().state is State.DRAINING
    bridged.clock.advance(2.1 * HOUR)

    def rotate_token(project: str) -> object:
        raise CredentialRejected("The team token was refused (403)")

    real = bridged.wiring.provider.rotate_token
    bridged.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    assert run(bridged).exit_code == 4
    bridged.wiring.provider.rotate_token = real  # type: ignore[method-assign]
    rotation = draining.rollback(bridged.runner, bridged.wiring.journal, bridged.policy, "")
    assert rotation.state is State.FAILED, rotation.message
    assert bridged.stored() == bridged.first
    assert not rotation.unfinished


def test_bridge_that_readers_left_is_crossed_again_before_the_mint(
    bridged: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dead before the mint; meanwhile the store was restored: readers go back to the bridge, nothing is killed."""
    assert bridged.rotate().state is State.DRAINING
    bridged.clock.advance(2.1 * HOUR)
    die_before(bridged, monkeypatch, "mint+stage", lambda: run(bridged))
    bridged.write_secret(bridged.secret_file, bridged.first)
    again = run(bridged).rotations[-1]
    assert bridged.simulator.is_alive(bridged.first)
    assert bridged.stored() == bridge(bridged)
    assert again.state is State.DRAINING, again.message
    bridged.clock.advance(2.1 * HOUR)
    assert run(bridged).rotations[-1].state is State.DRAINING
    bridged.clock.advance(2.1 * HOUR)
    assert run(bridged).rotations[-1].state is State.COMPLETED


# --- promote and the ways back --------------------------------------------------------------------


def test_staged_token_that_died_meanwhile_is_not_promoted(
    pair: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies before the promote, and the staged token before the next one: readers never see it."""
    die_before(pair, monkeypatch, "promote", pair.rotate)
    pair.simulator.regenerate(pair.other_project)
    destination = pair.wiring.destination(pair.policy.authoritative)
    promoted: list[Any] = []
    real = destination.promote

    def promote(staged: Any, **options: Any) -> None:
        promoted.append(staged)
        real(staged, **options)

    destination.promote = promote  # type: ignore[method-assign]
    rotation = run(pair).rotations[-1]
    assert not promoted
    assert rotation.state is State.FAILED, rotation.message
    assert pair.stored() == pair.first
    assert not rotation.unfinished


def test_half_promoted_rotation_can_be_rolled_back(make_pair: Callable[..., Bench]) -> None:
    """As the notice says: where one destination does not promote, `rollback` goes back."""
    pair = make_pair(followers=("second.json",))
    let_follower_refuse(pair)
    assert pair.rotate().state is State.NEEDS_ATTENTION
    rotation = draining.rollback(pair.runner, pair.wiring.journal, pair.policy, "")
    assert rotation.state is State.DRAINING, rotation.message
    assert pair.stored() == pair.first == pair.stored(second_file(pair))
    assert drained(pair).state is State.FAILED
    assert pair.attention == set()


def test_rollback_to_a_dead_token_ends_and_leaves_the_next_rotation_free(pair: Bench) -> None:
    """Readers keep the new token, a person is told, and nothing is stuck."""
    assert pair.rotate().state is State.DRAINING
    new = pair.stored()
    pair.simulator.revoke(pair.first)
    rotation = draining.rollback(pair.runner, pair.wiring.journal, pair.policy, "")
    assert (rotation.state, rotation.exit_code) == (State.NEEDS_ATTENTION, 4), rotation.message
    assert pair.stored() == new
    assert pair.simulator.is_alive(new)
    assert not rotation.unfinished
    assert pair.attention == {"verification-failed"}
    again = pair.rotate()
    assert again.id != rotation.id
    assert again.state is State.DRAINING, again.message
    assert drained(pair).state is State.COMPLETED
    assert pair.attention == set()


def test_rollback_between_two_dead_tokens_is_told_as_one(pair: Bench) -> None:
    """Neither lives: readers hold a dead token, and a person's rotation repairs that."""
    assert pair.rotate().state is State.DRAINING
    pair.simulator.revoke(pair.first)
    pair.simulator.revoke(pair.stored())
    rotation = draining.rollback(pair.runner, pair.wiring.journal, pair.policy, "")
    assert rotation.exit_code == 4
    assert pair.attention == {"token-dead"}
    repaired = pair.rotate()
    pair.assert_served()
    assert repaired.state is State.COMPLETED, repaired.message
    assert pair.attention == set()


def test_living_token_that_fails_is_minted_again_from_the_bridge(bridged: Bench) -> None:
    """A notice says that the next run mints again, so the same token is not tried for ever."""
    assert bridged.rotate().state is State.DRAINING
    bridged.clock.advance(2.1 * HOUR)
    import rotator.engine.overlap_verify as module  # noqa: PLC0415

    real = module.verify_with_all
    try:
        module.verify_with_all = lambda context, token: (
            *(replace(one, ok=False, detail="no") for one in real(context, token)),
        )
        failed = run(bridged).rotations[-1]
    finally:
        module.verify_with_all = real
    assert failed.state is State.NEEDS_ATTENTION
    assert bridged.rotate_calls == 1
    again = run(bridged).rotations[-1]
    assert again.state is State.DRAINING, again.message
    assert bridged.rotate_calls == 2


def test_dead_bridge_is_not_gone_back_to(bridged: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new token fails a verifier and the bridge has died: readers get the one that lives."""
    assert bridged.rotate().state is State.DRAINING
    bridged.clock.advance(2.1 * HOUR)
    import rotator.engine.overlap_verify as module  # noqa: PLC0415

    real = module.verify_with_all

    def fails(context: Any, token: Secret) -> Any:
        bridged.simulator.revoke(bridge(bridged))
        return tuple(replace(one, ok=False, detail="no") for one in real(context, token))

    monkeypatch.setattr(module, "verify_with_all", fails)
    rotation = run(bridged).rotations[-1]
    assert rotation.exit_code == 4
    assert "verification-failed" in bridged.attention
    bridged.assert_served()


# --- the drain and its end ------------------------------------------------------------------------


def test_evidence_is_looked_at_again_before_a_late_retirement(
    pair: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between drain and retire; a consumer uses the token again: it drains on."""
    assert pair.rotate().state is State.DRAINING
    pair.clock.advance(HOUR)
    run(pair)
    pair.clock.advance(1.5 * HOUR)
    die_before(pair, monkeypatch, "retire", lambda: run(pair))
    pair.simulator.use(pair.project)
    assert run(pair).rotations[-1].state is State.DRAINING
    assert pair.simulator.is_alive(pair.first)
    assert drained(pair).state is State.COMPLETED


def test_held_policy_is_waited_for(pair: Bench) -> None:
    """A hold while `rotate` waits for the drain ends no waiting, and nothing is retired under it."""
    rotation = pair.rotate()
    pair.wiring.journal.hold(Hold("billing", pair.clock.now(), "ana@desk", ""))
    shown: list[Rotation] = []

    def show(one: Rotation) -> None:
        shown.append(one)
        if len(shown) == 1:
            pair.wiring.journal.release_hold("billing")

    ended, stopped = draining.wait(pair.runner, pair.clock, pair.stop, [rotation], show)
    assert "held" in shown[0].message
    assert [one.state for one in ended] == [State.COMPLETED]
    assert stopped is None


def test_held_policy_is_not_retired_by_hand(pair: Bench) -> None:
    """Frozen is frozen: the person releases it first. Going back stays possible."""
    assert pair.rotate().state is State.DRAINING
    pair.wiring.journal.hold(Hold("billing", pair.clock.now(), "ana@desk", ""))
    with pytest.raises(Held):
        draining.retire(pair.runner, pair.wiring.journal, pair.policy, force=True)
    assert pair.simulator.is_alive(pair.first)
    rotation = draining.rollback(pair.runner, pair.wiring.journal, pair.policy, "")
    assert rotation.state is State.DRAINING
    assert pair.stored() == pair.first


def test_drain_without_evidence_is_ended_by_force_only(bridged: Bench) -> None:
    """Nothing tells whether the bridged token is used: ending the wait early takes a person's `--force`."""
    assert bridged.rotate().state is State.DRAINING
    with pytest.raises(Refused, match="--force"):
        draining.retire(bridged.runner, bridged.wiring.journal, bridged.policy, force=False)
    assert bridged.simulator.is_alive(bridged.first)
    draining.retire(bridged.runner, bridged.wiring.journal, bridged.policy, force=True)
    assert not bridged.simulator.is_alive(bridged.first)


def test_looks_at_a_drain_are_not_audited_one_by_one(pair: Bench) -> None:
    """A drain is looked at every minute for days; what the looks find is audited, not that one looked."""
    assert pair.rotate().state is State.DRAINING
    before = len(pair.audited())
    for _ in range(10):
        pair.clock.advance(60)
        run(pair)
    assert len(pair.audited()) == before


def test_sides_that_were_swapped_in_the_file_join_the_open_drain(pair: Bench) -> None:
    """`project` and `standby` change places while it drains: the outgoing token is not minted over."""
    first = pair.rotate()
    pair.document |= {"project": pair.other_project, "standby": {"project": pair.project}}
    pair.policy = pair.load_policy()
    joined = pair.rotate()
    assert joined.id == first.id
    assert pair.simulator.is_alive(pair.first)
    assert draining.open_rotation(pair.wiring.journal, pair.policy) is not None


# --- what is told ---------------------------------------------------------------------------------


def test_repair_of_a_dead_token_claims_no_uninterrupted_service(pair: Bench) -> None:
    """Readers held a dead token, since when is not known: no outage of zero is claimed."""
    pair.simulator.revoke(pair.first)
    repaired = pair.rotate()
    assert repaired.state is State.COMPLETED, repaired.message
    assert repaired.outage is None
    pair.assert_served()


def test_old_bridge_is_an_alarm_that_stays_until_it_is_renewed(bridged: Bench) -> None:
    """It delays no rotation and outlives a completed one; a new bridge token ends it."""

    def through() -> Rotation:
        assert bridged.rotate().state is State.DRAINING
        for _ in range(2):
            bridged.clock.advance(2.1 * HOUR)
            last = run(bridged).rotations[-1]
        return last

    assert through().state is State.COMPLETED
    bridged.clock.advance(200 * 24 * HOUR)
    old = through()
    assert (old.state, old.exit_code) == (State.COMPLETED, 0), old.message
    assert bridged.attention == {"bridge-old"}
    bridged.write_secret(bridged.folder / "bridge.json", bridged.simulator.add_token(bridged.project))
    assert through().state is State.COMPLETED
    assert bridged.attention == set()


def test_outgoing_token_that_nobody_keeps_is_still_to_be_revoked(assisted: Bench) -> None:
    """It cannot be watched, and lives perhaps: a person is told, instead of everything being well."""
    assert hand_in(assisted, assisted.simulator.add_token(assisted.project)).state is State.DRAINING
    assisted.new_process()
    for name in ("billing.json", "second.json"):
        shutil.rmtree(assisted.folder / f"{name}.rotator", ignore_errors=True)
    assisted.clock.advance(2.1 * HOUR)
    ended = run(assisted).rotations[-1]
    assert ended.exit_code == 4, ended.message
    assert assisted.attention == {"old-token-alive"}


def test_first_token_drains_nothing(assisted: Bench) -> None:
    """Where no token was, none has to be waited for or revoked."""
    assisted.secret_file.write_text('{"other": "kept-as-it-is"}', encoding="utf-8")
    (assisted.folder / "second.json").write_text('{"other": "kept-as-it-is"}', encoding="utf-8")
    done = hand_in(assisted, assisted.simulator.add_token(assisted.project))
    assert (done.state, done.exit_code) == (State.COMPLETED, 0), done.message
