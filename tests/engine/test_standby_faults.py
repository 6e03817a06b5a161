"""Two projects, and things that go wrong: whatever happens, readers hold a living token."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from rotator.engine.carrier import Carrier
from rotator.errors import UnclearOutcome, Unreachable
from rotator.model import Rotation, State, Trigger
from rotator.operations import draining
from rotator.operations.reconcile import name_active
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.test_resumption import run
from tests.engine.test_standby import HOUR, drained, make_pair, pair

__all__ = ["make_pair", "pair"]  # fixtures


class Died(BaseException):
    """The process ends here."""


def lose_answers(bench: Bench, *, executed: bool, times: int = 1) -> None:
    real = bench.wiring.provider.rotate_token
    left = [times]

    def rotate_token(project: str) -> object:
        if not left[0]:
            return real(project)
        left[0] -= 1
        if executed:
            real(project)
        raise UnclearOutcome("The answer got lost")

    bench.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]


def ended_by(bench: Bench, rotation: Rotation) -> Rotation:
    """The rotation at its end, whether it drains first or not."""
    return drained(bench) if rotation.state is State.DRAINING else rotation


@pytest.mark.parametrize("executed", [True, False])
def test_lost_mint_costs_another_mint_and_nothing_else(pair: Bench, *, executed: bool) -> None:
    """The idle project's token is nobody's, so a lost one is replaced after its deadline."""
    lose_answers(pair, executed=executed)
    rotation = pair.rotate()
    assert rotation.state is State.DRAINING, rotation.message
    assert drained(pair).state is State.COMPLETED
    assert pair.simulator.is_alive(pair.stored())
    assert not pair.simulator.is_alive(pair.first)


@pytest.mark.parametrize("executed", [True, False])
def test_lost_answer_of_the_retirement_is_no_loss(pair: Bench, *, executed: bool) -> None:
    """Nobody wants the token in it; whether it was executed is looked up, and the death is proved."""
    assert pair.rotate().state is State.DRAINING
    lose_answers(pair, executed=executed)
    ended = drained(pair)
    assert ended.state is State.COMPLETED, ended.message
    assert ended.old_token_dead is True
    assert not pair.simulator.is_alive(pair.first)
    pair.assert_served()


STEPS = ["mint+stage", "verify-staged", "promote", "verify", "drain", "retire", "prove-dead", "close"]


@pytest.mark.one_in(2, 8)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_process_that_dies_at_a_step_is_taken_up_by_a_run(
    pair: Bench, monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool
) -> None:
    """Before or after any step another process goes on; at no time do readers hold a dead token."""
    real = Carrier._one_step
    armed = [True]

    def one_step(self: Carrier, context: Any) -> bool:
        due = armed[0] and context.rotation.step == step
        if due and not after:
            armed[0] = False
            raise Died
        more = real(self, context)
        if due and after:
            armed[0] = False
            raise Died
        return more

    monkeypatch.setattr(Carrier, "_one_step", one_step)
    for _ in range(20):
        try:
            outcome = run(pair) if pair.wiring.journal.rotations("billing") else None
            last = outcome.rotations[-1] if outcome and outcome.rotations else pair.rotate()
        except Died:
            pair.new_process()
            pair.assert_served()
            continue
        pair.assert_served()
        if not last.unfinished:
            break
        pair.clock.advance(HOUR / 2)
    assert not armed[0]
    assert last.state is State.COMPLETED, last.message
    assert not pair.simulator.is_alive(pair.first)
    assert pair.attention == set()
    pair.assert_audit_holds()


def test_journal_that_was_lost_does_not_turn_the_sides_round(pair: Bench) -> None:
    """After a rotation the journal is deleted: a test send shows the active side, and the other one is minted in."""
    assert pair.rotate().state is State.DRAINING
    assert drained(pair).state is State.COMPLETED
    current = pair.stored()
    pair.wiring.close()
    shutil.rmtree(pair.folder / "state")
    pair.new_process()
    rotation = pair.rotate()
    assert rotation.state is State.DRAINING, rotation.message
    assert rotation.incoming == pair.project
    assert pair.simulator.is_alive(current)
    assert drained(pair).state is State.COMPLETED
    pair.assert_served()


def test_side_that_a_person_changed_is_seen(pair: Bench) -> None:
    """Somebody regenerated the standby's token and put it into the store by hand: minting goes to the main one."""
    by_hand = pair.simulator.regenerate(pair.other_project)
    pair.write_secret(pair.secret_file, by_hand)
    rotation = pair.rotate()
    assert rotation.incoming == pair.project, rotation.message
    assert pair.simulator.is_alive(by_hand)
    assert drained(pair).state is State.COMPLETED
    assert not pair.simulator.is_alive(by_hand)


def test_unknown_side_is_refused_until_a_person_says_it(pair: Bench) -> None:
    """Without a test send nothing shows whose token it is: nothing is minted; `--active` says it."""
    pair.document["verify"] = [{"type": "ping"}]
    pair.policy = pair.load_policy()
    rotation = pair.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert "--active" in rotation.message
    assert pair.rotate_calls == 0
    name_active(pair.wiring.ports, pair.runner, pair.policy, pair.project)
    rotation = pair.rotate()
    assert rotation.state is State.DRAINING, rotation.message
    assert rotation.incoming == pair.other_project
    assert pair.attention == set()


def test_follower_that_does_not_promote_keeps_its_readers_served(make_pair: Callable[..., Bench]) -> None:
    """Half promoted: those behind use the outgoing token, which lives; the next run finishes the rest."""
    pair = make_pair(followers=("second.json",))
    follower = pair.wiring.destination(pair.policy.destinations[1])
    real = follower.promote

    def away(*_: Any, **__: Any) -> Any:
        raise Unreachable("The second store is away")

    follower.promote = away  # type: ignore[method-assign]
    rotation = pair.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert pair.attention == {"destination-behind"}
    assert pair.stored(pair.folder / "second.json") == pair.first
    assert pair.simulator.is_alive(pair.first)
    pair.clock.advance(5 * HOUR)
    assert run(pair).exit_code == 4
    assert pair.simulator.is_alive(pair.first)
    follower.promote = real  # type: ignore[method-assign]
    assert run(pair).rotations[-1].state is State.DRAINING
    assert pair.stored(pair.folder / "second.json") == pair.stored()
    assert drained(pair).state is State.COMPLETED
    assert pair.attention == set()


def test_store_restored_in_mid_drain_keeps_the_old_token_alive(make_pair: Callable[..., Bench]) -> None:
    """A destination goes back to the outgoing token while it drains: it is not retired under its readers."""
    pair = make_pair(followers=("second.json",))
    assert pair.rotate().state is State.DRAINING
    pair.write_secret(pair.folder / "second.json", pair.first)
    pair.clock.advance(4 * HOUR)
    outcome = run(pair)
    assert outcome.exit_code == 4
    assert pair.simulator.is_alive(pair.first)
    assert pair.attention == {"destination-behind"}


def test_retire_now_asks_for_quiet_unless_forced(pair: Bench) -> None:
    """A token in use is not retired on a word; `--force` retires it."""
    from rotator.errors import Refused  # noqa: PLC0415

    assert pair.rotate().state is State.DRAINING
    pair.simulator.use(pair.project)
    with pytest.raises(Refused, match="--force"):
        draining.retire(pair.runner, pair.wiring.journal, pair.policy, force=False)
    assert pair.simulator.is_alive(pair.first)
    pair.clock.advance(HOUR + 1)
    ended = draining.retire(pair.runner, pair.wiring.journal, pair.policy, force=False)
    assert ended.state is State.COMPLETED, ended.message
    assert not pair.simulator.is_alive(pair.first)


def test_forced_retirement_is_recorded(pair: Bench) -> None:
    """The record and the audit say that a person ended the drain."""
    assert pair.rotate().state is State.DRAINING
    ended = draining.retire(pair.runner, pair.wiring.journal, pair.policy, force=True)
    assert ended.state is State.COMPLETED, ended.message
    assert ended.drain is not None
    assert ended.drain.result == "forced"
    (said,) = [event["data"] for event in pair.audited() if event["event"] == "drain.end"]
    assert said["result"] == "forced"
    (order,) = [event["data"] for event in pair.audited() if event["event"] == "drain.retire"]
    assert order["force"] is True


def test_other_edits_of_the_secret_between_stage_and_promote_survive(pair: Bench) -> None:
    """Somebody changes another field meanwhile: it is merged, not lost."""
    destination = pair.wiring.destination(pair.policy.authoritative)
    real = destination.promote
    edited = []

    def promote(staged: Any, **options: Any) -> None:
        if not edited:
            edited.append(True)
            text = pair.secret_file.read_text(encoding="utf-8")
            pair.secret_file.write_text(text.replace("{", '{"new": 1, ', 1), encoding="utf-8")
        real(staged, **options)

    destination.promote = promote  # type: ignore[method-assign]
    rotation = pair.rotate()
    assert rotation.state is State.DRAINING, rotation.message
    assert '"new": 1' in pair.secret_file.read_text(encoding="utf-8")
    pair.assert_served()


def test_pair_that_differs_is_refused(pair: Bench) -> None:
    """Every difference that consumers would feel is told before anything is minted."""
    pair.simulator.add_domain("other.example", projects=[pair.project])
    rotation = pair.rotate()
    assert rotation.state is State.REFUSED
    assert "other.example" in rotation.message
    assert "--prepare-standby" in rotation.message
    assert pair.rotate_calls == 0


def test_hold_keeps_a_drain_from_ending(pair: Bench) -> None:
    """A held policy's outgoing token is not retired; released, it is."""
    from rotator.journal.base import Hold  # noqa: PLC0415

    assert pair.rotate().state is State.DRAINING
    pair.wiring.journal.hold(Hold("billing", pair.clock.now(), "ana@desk", ""))
    pair.clock.advance(5 * HOUR)
    assert run(pair).exit_code == 0
    assert pair.simulator.is_alive(pair.first)
    pair.wiring.journal.release_hold("billing")
    assert drained(pair).state is State.COMPLETED


def test_emergency_style_trigger_goes_the_same_way(pair: Bench) -> None:
    """The trigger changes no step."""
    assert pair.rotate(Trigger.API).state is State.DRAINING


def test_secrets_stay_masked_in_the_record(pair: Bench) -> None:
    """Neither journal nor audit holds a token of either side."""
    assert pair.rotate().state is State.DRAINING
    assert drained(pair).state is State.COMPLETED
    tokens: list[Secret] = list(pair.simulator.issued())
    assert len(tokens) >= 4
    for path in (pair.folder / "state").iterdir():
        content = path.read_bytes()
        assert not any(token.reveal().encode() in content for token in tokens), path
