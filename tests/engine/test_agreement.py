"""Destinations that disagree: found by `run`, `reconcile` and `status --refresh`, synced, never minted for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rotator.audit.base import AuditEvent
from rotator.errors import (
    AuditUnavailable,
    Busy,
    CredentialRejected,
    InvalidInput,
    NeedsAttention,
    Unreachable,
)
from rotator.journal.base import Hold, KnownToken
from rotator.model import Policy, State, Trigger
from rotator.operations import rotate as operation
from rotator.operations.reconcile import Reconciliation, act, reconcile
from rotator.operations.status import refresh
from rotator.policies.cron import next_after
from rotator.policies.load import load_policies
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.test_resumption import die_at_the_mint, rotate_and_die, run
from tests.engine.typing_commands import reconciled

LONG_AGO = Secret("lm_" + "Z" * 32)


@pytest.fixture
def second(make_bench: Callable[..., Bench]) -> Bench:
    """A policy with two files, rotated once."""
    bench = make_bench(followers=("second.json",))
    assert bench.rotate().state is State.COMPLETED
    return bench


def follower(bench: Bench) -> Path:
    return bench.folder / "second.json"


def finding(bench: Bench) -> Reconciliation:
    return reconcile(bench.wiring.ports, bench.policy)


def test_restored_follower_is_brought_into_line_by_the_next_run(second: Bench) -> None:
    """The backup's dead token is replaced by the living one: no mint, other fields kept, all of it audited."""
    second.write_secret(follower(second), second.first)
    outcome = run(second)
    assert outcome.exit_code == 0
    assert outcome.rotations == ()
    assert [one.destinations[0].state for one in outcome.synced] == ["current"]
    assert second.stored(follower(second)) == second.stored()
    assert second.mints == 1
    assert second.attention == set()
    events = [line["event"] for line in second.audited()][-3:]
    assert events == ["destination.sync", "publish.destination.intent", "publish.destination.outcome"]
    second.assert_audit_holds()
    assert run(second).synced == ()


def test_added_destination_gets_the_token(second: Bench) -> None:
    """A destination that the policy names since yesterday is filled without waiting for the next rotation."""
    third = second.folder / "third.json"
    third.write_text(json.dumps({"other": "kept-as-it-is"}), encoding="utf-8")
    second.document["destinations"].append(
        {"type": "file", "path": str(third), "format": "json", "key": "token"}
    )
    second.policy = second.load_policy()
    second.new_process()
    assert run(second).exit_code == 0
    assert second.stored(third) == second.stored()
    assert second.mints == 1


def test_living_token_of_somebody_else_is_left_in_place(second: Bench) -> None:
    """A follower with another living token may serve somebody: a person is asked, and nothing is written."""
    theirs = second.simulator.add_token(second.project)
    second.write_secret(follower(second), theirs)
    outcome = run(second)
    assert outcome.exit_code == 4
    assert "second.json, field token could not be brought into line" in " ".join(outcome.notes)
    assert second.attention == {"destination-behind"}
    assert second.stored(follower(second)) == theirs
    found = finding(second)
    assert found.action == "wait"
    assert "living token" in found.why


def test_overwrite_allows_what_would_be_refused(make_bench: Callable[..., Bench]) -> None:
    """With `overwrite: true` even something that is no token makes way."""
    bench = make_bench(followers=("second.json",))
    bench.document["destinations"][1]["overwrite"] = True
    bench.policy = bench.load_policy()
    assert bench.rotate().state is State.COMPLETED
    bench.write_secret(follower(bench), Secret("not a token at all"))
    assert run(bench).exit_code == 0
    assert bench.stored(follower(bench)) == bench.stored()


def test_dead_authoritative_token_is_never_spread(second: Bench) -> None:
    """The authoritative store restored from a backup holds a dead token: alarm, and the living copy stays."""
    living = second.stored()
    second.write_secret(second.secret_file, second.first)
    outcome = run(second)
    assert outcome.exit_code == 4
    assert second.attention == {"token-dead"}
    assert second.stored(follower(second)) == living
    assert second.mints == 1
    again = run(second)
    assert again.exit_code == 4
    assert second.mints == 1
    # A person repairs it, everywhere.
    assert second.rotate().state is State.COMPLETED
    assert second.stored(follower(second)) == second.stored()
    assert second.attention == set()
    assert run(second).exit_code == 0


@pytest.mark.parametrize("ours", [True, False])
def test_dead_token_beside_one_that_is_not_ours_names_what_a_rotation_will_refuse(
    second: Bench, ours: bool
) -> None:
    """`rotator rotate` is told as the remedy with what stands in its way, and only then."""
    second.write_secret(second.secret_file, second.first)
    if not ours:
        second.write_secret(follower(second), second.simulator.add_token(second.project))
    assert run(second).exit_code == 4
    [entry] = second.wiring.journal.attentions("billing")
    assert "`rotator rotate billing`" in entry.next
    assert ("out of its way" in entry.next) is not ours
    assert (second.rotate().state is State.REFUSED) is not ours


def test_dead_authoritative_token_is_repaired_where_the_policy_allows_it(
    make_bench: Callable[..., Bench],
) -> None:
    """With `on_out_of_band: rotate` the run replaces the dead token in all destinations."""
    bench = make_bench(followers=("second.json",), extra={"on_out_of_band": "rotate"})
    assert bench.rotate().state is State.COMPLETED
    bench.write_secret(bench.secret_file, bench.first)
    assert run(bench).exit_code == 0
    bench.assert_served()
    assert bench.stored(follower(bench)) == bench.stored()
    assert bench.mints == 2


def test_living_token_that_nobody_of_us_wrote_waits_for_a_person(second: Bench) -> None:
    """Somebody put another living token into the authoritative store: alarm; `reconcile` then spreads it."""
    theirs = second.simulator.add_token(second.project)
    second.write_secret(second.secret_file, theirs)
    ours = second.stored(follower(second))
    assert run(second).exit_code == 4
    assert second.attention == {"out-of-band"}
    assert second.stored(follower(second)) == ours
    found = finding(second)
    assert found.action == "sync"
    done = act(second.wiring.ports, second.runner, second.policy, found)
    assert done.exit_code == 0
    assert second.stored(follower(second)) == theirs
    assert run(second).exit_code == 0
    assert second.attention == set()
    assert second.mints == 1


def words_of(bench: Bench, code: str) -> str:
    """The message of one attention."""
    (entry,) = (one for one in bench.wiring.journal.attentions("billing") if one.code == code)
    return entry.message


def know_as_of_the_other_project(bench: Bench, token: Secret) -> None:
    """From now on the journal knows the token as the other project's."""
    journal = bench.wiring.journal
    lease = journal.acquire(("another",), bench.wiring.holder, ttl=10.0)
    fingerprint = bench.wiring.fingerprints.of(token)
    journal.remember_token(
        lease, KnownToken(fingerprint, bench.other_project, "shipping", None, "minted", bench.clock.now())
    )
    journal.release(lease)


def test_token_of_another_project_is_not_spread_even_by_a_person(second: Bench) -> None:
    """What the journal knows as another project's token stays where it is."""
    know_as_of_the_other_project(second, second.other_token)
    second.write_secret(second.secret_file, second.other_token)
    assert run(second).exit_code == 4
    assert second.attention == {"out-of-band"}
    assert finding(second).action == "wait"
    with pytest.raises(NeedsAttention, match="another project"):
        second.runner.sync(second.policy, Trigger.MANUAL, "test", adopt=True)
    assert second.stored(follower(second)) != second.other_token


def test_policy_that_was_never_rotated_is_synced_too(make_bench: Callable[..., Bench]) -> None:
    """With a journal that knows nothing, the authoritative token is adopted and written to an empty place."""
    bench = make_bench(followers=("second.json",))
    bench.write_secret(follower(bench), Secret(""))
    assert run(bench).exit_code == 0
    assert bench.stored(follower(bench)) == bench.first
    assert bench.rotate_calls == 0


def test_policy_without_a_schedule_is_looked_at(make_bench: Callable[..., Bench]) -> None:
    """No schedule means no rotation by itself; its destinations agree all the same."""
    bench = make_bench(followers=("second.json",))
    del bench.document["schedule"]
    bench.policy = bench.load_policy()
    bench.write_secret(follower(bench), LONG_AGO)
    assert run(bench).exit_code == 0
    assert bench.stored(follower(bench)) == bench.first
    assert bench.rotate_calls == 0


def test_held_policy_is_not_synced(second: Bench) -> None:
    """A freeze freezes everything that writes."""
    second.write_secret(follower(second), second.first)
    second.wiring.journal.hold(Hold("billing", second.clock.now(), "ana@desk", "a look first"))
    outcome = run(second)
    assert outcome.exit_code == 0
    assert second.stored(follower(second)) == second.first
    assert "held" in " ".join(outcome.notes)


def test_store_that_is_away_is_told_and_no_alarm(second: Bench) -> None:
    """What cannot be read may well agree: exit 6, safe to repeat, and no attention."""
    destination = second.wiring.destination(second.policy.destinations[1])

    def away() -> Any:
        raise Unreachable("The second store is away")

    destination.read = away  # type: ignore[method-assign]
    outcome = run(second)
    assert outcome.exit_code == 6
    assert second.attention == set()
    assert [name for name, _ in refresh(second.wiring.ports, [second.policy])] == ["billing"]
    assert second.attention == set()


def test_place_that_can_never_be_read_is_an_alarm(make_bench: Callable[..., Bench]) -> None:
    """A secret that somebody deleted comes back by nobody's waiting; made again, it is filled."""
    bench = make_bench(followers=("second.json",))
    bench.document["destinations"][1]["create"] = False
    bench.policy = bench.load_policy()
    assert bench.rotate().state is State.COMPLETED
    text = follower(bench).read_text(encoding="utf-8")
    follower(bench).unlink()
    assert run(bench).exit_code == 4
    assert bench.attention == {"destination-behind"}
    follower(bench).write_text(text.replace(bench.stored().reveal(), ""), encoding="utf-8")
    assert run(bench).exit_code == 0
    assert bench.attention == set()
    assert bench.stored(follower(bench)) == bench.stored()


def test_status_refresh_finds_disagreement_and_its_end(second: Bench) -> None:
    """`status --refresh` writes nothing to a store; it raises attention, and takes it away again."""
    second.write_secret(follower(second), second.first)
    assert refresh(second.wiring.ports, [second.policy]) == []
    assert second.attention == {"destination-behind"}
    [entry] = second.wiring.journal.attentions("billing")
    assert "earlier token" in entry.message
    assert "rotator reconcile billing" in entry.next
    assert second.stored(follower(second)) == second.first
    second.write_secret(follower(second), second.stored())
    assert refresh(second.wiring.ports, [second.policy]) == []
    assert second.attention == set()


def test_reconcile_syncs_and_then_has_nothing_left(second: Bench) -> None:
    """The one safe next thing for a restored follower is a write, and doing it ends the state."""
    second.write_secret(follower(second), second.first)
    found = finding(second)
    assert found.action == "sync"
    done = act(second.wiring.ports, second.runner, second.policy, found)
    assert (done.exit_code, done.rotations) == (0, ())
    assert finding(second).action == "none"
    assert second.mints == 1


def test_one_store_away_does_not_keep_another_from_being_synced(make_bench: Callable[..., Bench]) -> None:
    """Of two followers one is unreachable: the other is brought into line, and the first is told."""
    bench = make_bench(followers=("second.json", "third.json"))
    assert bench.rotate().state is State.COMPLETED
    bench.write_secret(bench.folder / "third.json", bench.first)
    destination = bench.wiring.destination(bench.policy.destinations[1])

    def away() -> Any:
        raise Unreachable("The second store is away")

    destination.read = away  # type: ignore[method-assign]
    outcome = run(bench)
    assert bench.stored(bench.folder / "third.json") == bench.stored()
    assert [type(error) for _, error in outcome.errors] == [Unreachable]
    bench.write_secret(bench.folder / "third.json", bench.first)
    assert finding(bench).action == "sync"


def test_follower_that_takes_no_write_stays_an_alarm(second: Bench) -> None:
    """A write that fails for good ends as attention with exit 4, and the next run tries again."""
    second.write_secret(follower(second), second.first)
    destination = second.wiring.destination(second.policy.destinations[1])
    real = destination.publish

    def full(*_: Any, **__: Any) -> None:
        raise Unreachable("The second store is full")

    destination.publish = full  # type: ignore[method-assign]
    outcome = run(second)
    assert outcome.exit_code == 4
    assert second.attention == {"destination-behind"}
    assert [one.destinations[0].state for one in outcome.synced] == ["behind"]
    destination.publish = real  # type: ignore[method-assign]
    assert run(second).exit_code == 0
    assert second.attention == set()


def test_no_audit_no_sync(second: Bench) -> None:
    """What cannot be recorded beforehand is not written."""
    second.write_secret(follower(second), second.first)
    audit = second.wiring.ports.audit

    def record(_: AuditEvent, **__: Any) -> None:
        raise AuditUnavailable("The audit log takes no line")

    audit.record = record  # type: ignore[method-assign]
    assert run(second).exit_code == 6
    assert second.stored(follower(second)) == second.first


def test_sync_waits_for_a_mint_that_nobody_knows_the_outcome_of(make_bench: Callable[..., Bench]) -> None:
    """While a mint is unclear nothing is spread: the unfinished rotation comes first, and syncs on its way."""
    bench = make_bench(followers=("second.json",))
    die_at_the_mint(bench, executed=True)
    rotate_and_die(bench)
    bench.write_secret(follower(bench), LONG_AGO)
    with pytest.raises(Busy, match="unfinished"):
        bench.runner.sync(bench.policy, Trigger.MANUAL, "test")
    assert refresh(bench.wiring.ports, [bench.policy]) == []
    assert bench.stored(follower(bench)) == LONG_AGO
    bench.new_process()
    assert run(bench).exit_code == 0
    bench.assert_served()
    assert bench.stored(follower(bench)) == bench.stored()


def test_follower_away_for_half_a_minute_is_waited_for(make_bench: Callable[..., Bench]) -> None:
    """A store that comes back 30 s after the mint holds the token when the rotation ends, and the outage
    lasts until then."""
    bench = make_bench(followers=("second.json",))
    destination = bench.wiring.destination(bench.policy.destinations[1])
    real, back_at = destination.publish, bench.clock.boot() + 30

    def away_for_a_while(*args: Any, **options: Any) -> None:
        if bench.clock.boot() < back_at:
            raise Unreachable("The second store is away")
        real(*args, **options)

    destination.publish = away_for_a_while  # type: ignore[method-assign]
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.stored(follower(bench)) == bench.stored()
    assert rotation.outage is not None
    assert rotation.outage.max >= 30
    assert bench.mints == 1


# --- what nobody would have been told --------------------------------------------------------------------


def test_dead_token_in_every_destination_is_noticed(second: Bench) -> None:
    """All stores restored from one backup agree, on a token that the journal saw die: agreement is no proof of life."""
    second.write_secret(second.secret_file, second.first)
    second.write_secret(follower(second), second.first)
    assert run(second).exit_code == 4
    assert second.attention == {"token-dead"}
    assert second.mints == 1


def test_dead_token_is_noticed_though_a_follower_is_away(second: Bench) -> None:
    """That one store cannot be asked says nothing about what readers of the other one hold."""
    second.write_secret(second.secret_file, second.first)
    take_away(second)
    assert run(second).exit_code == 4
    assert second.attention == {"token-dead"}


def test_dead_token_in_every_destination_is_shown_by_status(second: Bench) -> None:
    """`status --refresh` says so without a word of disagreement, and takes it back when a living one is there."""
    living = second.stored()
    for path in (second.secret_file, follower(second)):
        second.write_secret(path, second.first)
    assert refresh(second.wiring.ports, [second.policy]) == []
    [entry] = second.wiring.journal.attentions("billing")
    assert (entry.code, "disagree" in entry.message) == ("token-dead", False)
    for path in (second.secret_file, follower(second)):
        second.write_secret(path, living)
    assert refresh(second.wiring.ports, [second.policy]) == []
    assert second.attention == set()


def test_status_does_not_hide_a_dead_token_from_the_next_run(bench: Bench) -> None:
    """Somebody regenerated the token: whoever looks first, `status --refresh` or `run`, raises the alarm, once."""
    assert bench.rotate().state is State.COMPLETED
    bench.clock.advance(60)
    bench.simulator.regenerate(bench.project)
    assert refresh(bench.wiring.ports, [bench.policy]) == []
    assert bench.attention == {"token-dead"}
    [entry] = bench.wiring.journal.attentions("billing")
    assert "`rotator rotate billing`" in entry.next
    assert run(bench).exit_code == 4
    assert bench.attention == {"token-dead"}
    assert bench.rotate_calls == 1
    # Mended by hand: seen by `status --refresh` too, which takes that token for ours only at a person's word.
    bench.write_secret(bench.secret_file, bench.simulator.add_token(bench.project))
    assert refresh(bench.wiring.ports, [bench.policy]) == []
    assert bench.attention == {"out-of-band"}
    assert reconciled(bench) == 0
    assert bench.attention == set()


def test_status_keeps_a_changed_token_for_later_when_the_store_is_away(bench: Bench) -> None:
    """What could not be looked at now is looked at by the next run."""
    assert bench.rotate().state is State.COMPLETED
    bench.clock.advance(60)
    bench.simulator.regenerate(bench.project)
    back = take_away(bench, 0)
    assert [name for name, _ in refresh(bench.wiring.ports, [bench.policy])] == ["billing"]
    back()
    assert run(bench).exit_code == 4
    assert bench.attention == {"token-dead"}


def test_status_leaves_a_dead_token_to_the_run_that_may_repair_it(make_bench: Callable[..., Bench]) -> None:
    """With `on_out_of_band: rotate` the attention of `status --refresh` ends with the repair."""
    bench = make_bench(extra={"on_out_of_band": "rotate"})
    assert bench.rotate().state is State.COMPLETED
    bench.clock.advance(60)
    bench.simulator.regenerate(bench.project)
    assert refresh(bench.wiring.ports, [bench.policy]) == []
    [entry] = bench.wiring.journal.attentions("billing")
    assert "`rotator run`" in entry.next
    assert run(bench).exit_code == 0
    assert bench.attention == set()
    bench.assert_served()


@pytest.mark.parametrize(
    ("value", "words"), [("", "holds no token"), ("not a token at all", "not a project token")]
)
def test_authoritative_place_that_lost_its_token_is_an_alarm(second: Bench, value: str, words: str) -> None:
    """Emptied, or overwritten with something else, after we wrote there: said, not passed over as a first issue."""
    living = second.stored()
    second.write_secret(second.secret_file, Secret(value))
    outcome = run(second)
    assert outcome.exit_code == 4
    assert second.attention == {"out-of-band"}
    [entry] = second.wiring.journal.attentions("billing")
    assert words in entry.message
    assert ("overwrite: true" in entry.next) is bool(value)
    assert second.stored(follower(second)) == living
    assert refresh(second.wiring.ports, [second.policy]) == []
    assert second.attention == {"out-of-band"}
    # Somebody puts it back.
    second.write_secret(second.secret_file, living)
    assert run(second).exit_code == 0
    assert second.attention == set()


def test_authoritative_place_without_a_first_token_is_no_alarm(make_bench: Callable[..., Bench]) -> None:
    """Before the first rotation an empty place is as it should be."""
    bench = make_bench(followers=("second.json",), stored=False)
    assert run(bench).exit_code == 0
    assert bench.attention == set()


def test_what_a_run_raises_it_says(second: Bench) -> None:
    """An alarm found by comparing is told in the words of the attention, with what to type."""
    second.write_secret(second.secret_file, second.simulator.add_token(second.project))
    outcome = run(second)
    assert outcome.exit_code == 4
    assert "no rotation of ours wrote" in " ".join(outcome.notes)
    assert "`rotator reconcile billing`" in " ".join(outcome.notes)


# --- a token that must not be spread ----------------------------------------------------------------------


def test_token_that_a_rotation_replaced_is_not_spread_though_it_answers(second: Bench) -> None:
    """A dashboard-made token, replaced and never revoked, comes back from a backup: it lives and the journal knows
    it, and all the same the newest token stays where it is, whoever asks."""
    earlier = second.simulator.add_token(second.project)
    for path in (second.secret_file, follower(second)):
        second.write_secret(path, earlier)
    assert second.rotate().unfinished
    for path in second.folder.glob("*.rotator"):
        path.unlink()  # no destination keeps a copy that could be presented
    second.new_process()
    run(second)
    assert second.wiring.journal.unfinished() == []
    newest = second.stored()
    second.write_secret(second.secret_file, earlier)
    assert run(second).exit_code == 4
    assert "out-of-band" in second.attention
    [entry] = [one for one in second.wiring.journal.attentions("billing") if one.code == "out-of-band"]
    assert "replaced and which still answers" in entry.message
    assert "newest token of ours" in entry.message
    assert finding(second).action == "wait"
    with pytest.raises(NeedsAttention, match="replaced"):
        second.runner.sync(second.policy, Trigger.MANUAL, "test", adopt=True)
    assert second.stored(follower(second)) == newest
    second.rotate()
    assert second.stored(follower(second)) == second.stored() != newest


def test_many_failures_do_not_make_a_journal_forget_that_it_minted(second: Bench) -> None:
    """However many rotations were refused since, a token that is not ours waits for a person."""
    second.simulator.restrict(second.stored(), ["192.0.2.1"])
    for _ in range(25):
        assert second.rotate().state is not State.COMPLETED
    ours, theirs = second.stored(), second.simulator.add_token(second.project)
    second.write_secret(second.secret_file, theirs)
    assert run(second).exit_code == 4
    assert "out-of-band" in second.attention
    assert second.stored(follower(second)) == ours


# --- attention that must end, words that must fit ---------------------------------------------------------


def take_away(bench: Bench, place: int = 1) -> Callable[[], None]:
    """One destination cannot be read from now on. Gives what brings it back."""
    destination = bench.wiring.destination(bench.policy.destinations[place])

    def away() -> Any:
        raise Unreachable("The store is away")

    destination.read = away  # type: ignore[method-assign]
    return lambda: delattr(destination, "read")


def test_dead_token_of_a_policy_without_a_schedule_is_no_alarm_for_ever(second: Bench) -> None:
    """Mended by hand, the alarm that comparing raised ends with the next run."""
    del second.document["schedule"]
    second.policy = second.load_policy()
    living = second.stored()
    second.write_secret(second.secret_file, second.first)
    assert run(second).exit_code == 4
    assert run(second).exit_code == 4
    assert second.attention == {"token-dead"}
    second.write_secret(second.secret_file, living)
    assert run(second).exit_code == 0
    assert second.attention == set()


def test_dead_token_of_one_destination_without_a_schedule_stays_an_alarm_while_it_is_dead(
    bench: Bench,
) -> None:
    """What `status --refresh` raised ends with a living token, and not with a run, nor with an emptied place."""
    del bench.document["schedule"]
    bench.policy = bench.load_policy()
    assert bench.rotate().state is State.COMPLETED
    bench.clock.advance(60)
    theirs = bench.simulator.regenerate(bench.project)
    assert refresh(bench.wiring.ports, [bench.policy]) == []
    for token in (bench.stored(), Secret("")):
        bench.write_secret(bench.secret_file, token)
        run(bench)
        assert "token-dead" in bench.attention
    bench.write_secret(bench.secret_file, theirs)
    run(bench)
    assert bench.attention == {"out-of-band"}
    assert reconciled(bench) == 0
    assert run(bench).exit_code == 0
    assert bench.attention == set()


def test_emptied_place_neither_proves_nor_ends_a_dead_token(bench: Bench) -> None:
    """Where no token is stored there is none to present: what moved meanwhile is kept in mind, and an alarm that
    stands goes on standing."""
    assert bench.rotate().state is State.COMPLETED
    bench.clock.advance(60)
    bench.simulator.regenerate(bench.project)
    dead = bench.stored()
    bench.write_secret(bench.secret_file, Secret(""))
    assert run(bench).exit_code == 4
    assert bench.attention == {"out-of-band"}
    bench.write_secret(bench.secret_file, dead)
    assert run(bench).exit_code == 4
    assert "token-dead" in bench.attention
    bench.write_secret(bench.secret_file, Secret(""))
    assert run(bench).exit_code == 4
    assert bench.attention == {"token-dead", "out-of-band"}


def test_attention_stands_while_the_store_is_away(second: Bench) -> None:
    """What cannot be compared is not known to agree."""
    second.write_secret(follower(second), second.simulator.add_token(second.project))
    assert run(second).exit_code == 4
    take_away(second)
    assert run(second).exit_code == 6
    assert second.attention == {"destination-behind"}


def test_attention_for_a_destination_that_the_policy_names_no_more_ends(second: Bench) -> None:
    """A follower that stayed behind was taken out of the policy: nothing is behind any more."""
    second.write_secret(follower(second), second.simulator.add_token(second.project))
    assert run(second).exit_code == 4
    assert second.attention == {"destination-behind"}
    second.document["destinations"].pop()
    second.policy = second.load_policy()
    assert run(second).exit_code == 0
    assert second.attention == set()


def test_refresh_in_the_middle_of_a_rotation_raises_nothing(second: Bench) -> None:
    """Between its first destination and the others a rotation disagrees with itself, which is no news."""
    destination = second.wiring.destination(second.policy.destinations[1])
    real = destination.publish
    seen: list[set[str]] = []

    def look_before_publishing(*args: Any, **options: Any) -> None:
        refresh(second.wiring.ports, [second.policy])
        seen.append(second.attention)
        real(*args, **options)

    destination.publish = look_before_publishing  # type: ignore[method-assign]
    assert second.rotate().state is State.COMPLETED
    assert seen == [set()]


def test_restored_follower_of_a_rotation_at_rest_is_shown(second: Bench) -> None:
    """A rotation that waits for a person does not hide that a destination differs, nor does a look end what it
    raised."""
    destination = second.wiring.destination(second.policy.destinations[1])
    real = destination.publish

    def full(*_: Any, **__: Any) -> None:
        raise Unreachable("The second store is full")

    destination.publish = full  # type: ignore[method-assign]
    assert second.rotate().unfinished
    destination.publish = real  # type: ignore[method-assign]
    assert refresh(second.wiring.ports, [second.policy]) == []
    assert second.attention == {"destination-behind"}
    # Mended by hand: the rotation is still to be closed, by a run.
    second.write_secret(follower(second), second.stored())
    assert refresh(second.wiring.ports, [second.policy]) == []
    assert second.attention == {"destination-behind"}
    assert run(second).exit_code == 0
    assert second.attention == set()


def test_settings_that_this_process_lacks_are_no_attention(second: Bench) -> None:
    """A person who looks without the settings of a store raises no alarm for everybody else."""
    destination = second.wiring.destination(second.policy.destinations[1])

    def unset() -> Any:
        raise InvalidInput("VAULT_ADDR is not set")

    destination.read = unset  # type: ignore[method-assign]
    [(_, error)] = refresh(second.wiring.ports, [second.policy])
    assert isinstance(error, InvalidInput)
    assert second.attention == set()
    assert run(second).exit_code == 2


def test_refused_credential_of_a_follower_is_an_alarm(second: Bench) -> None:
    """A store that does not take our credential stays behind until somebody mends that."""
    destination = second.wiring.destination(second.policy.destinations[1])

    def rejected() -> Any:
        raise CredentialRejected("The second store does not accept our token")

    destination.read = rejected  # type: ignore[method-assign]
    assert run(second).exit_code == 4
    assert second.attention == {"destination-behind"}


def test_destination_that_could_not_be_compared_is_told_by_a_sync(make_bench: Callable[..., Bench]) -> None:
    """`reconcile` brings one into line and says that it could not look at the other: exit 6, not 0."""
    bench = make_bench(followers=("second.json", "third.json"))
    assert bench.rotate().state is State.COMPLETED
    bench.write_secret(bench.folder / "third.json", bench.first)
    back = take_away(bench)
    done = act(bench.wiring.ports, bench.runner, bench.policy, finding(bench))
    assert done.synced is not None
    assert "third.json, field token was brought into line" in done.synced.message
    assert "second.json, field token could not be compared: The store is away" in done.synced.message
    assert done.exit_code == 6
    again = bench.runner.sync(bench.policy, Trigger.MANUAL, "test")
    assert "agree" not in again.message
    assert again.exit_code == 6
    back()
    clean = bench.runner.sync(bench.policy, Trigger.MANUAL, "test")
    assert (clean.message, clean.exit_code) == ("all destinations agree", 0)


def test_what_a_follower_holds_is_told_as_it_is(second: Bench) -> None:
    """The newest token is not called an earlier one, and what is not ours is not called the old token."""
    second.write_secret(second.secret_file, second.first)
    run(second)
    [entry] = second.wiring.journal.attentions("billing")
    assert "second.json, field token holds the newest token of ours" in entry.message
    second.write_secret(second.secret_file, second.stored(follower(second)))
    run(second)
    know_as_of_the_other_project(second, second.other_token)
    second.write_secret(follower(second), second.other_token)
    refresh(second.wiring.ports, [second.policy])
    assert "second.json, field token holds another token" in words_of(second, "destination-behind")
    second.write_secret(follower(second), Secret("not a token at all"))
    refresh(second.wiring.ports, [second.policy])
    assert "holds something that is not a project token" in words_of(second, "destination-behind")
    second.write_secret(follower(second), Secret(""))
    refresh(second.wiring.ports, [second.policy])
    assert "holds no token" in words_of(second, "destination-behind")
    second.write_secret(follower(second), Secret("not a token at all"))
    run(second)
    [entry] = second.wiring.journal.attentions("billing")
    assert "is not ours to write: it holds something that is not a Lettermint project token" in entry.message
    assert "old token" not in entry.message


def two_policies(second: Bench) -> tuple[Policy, Policy]:
    """`billing`, due once a year, and `shipping`, due after 30 days, each with two files."""
    places = [second.folder / "shipping.json", second.folder / "shipping-second.json"]
    for path in places:
        second.write_secret(path, second.other_token)
    shipping = {
        **second.document,
        "name": "shipping",
        "project": second.other_project,
        "destinations": [
            {"type": "file", "path": str(path), "format": "json", "key": "token"} for path in places
        ],
    }
    text = json.dumps({"policies": [shipping]})
    (second.folder / "policies" / "shipping.yaml").write_text(text, encoding="utf-8")
    second.document["schedule"] = {"every": "365d"}
    second.load_policy()
    billing, other = load_policies([second.folder / "policies"]).policies
    return billing, other


def test_defect_met_at_one_policy_stops_no_other(second: Bench) -> None:
    """What no store should raise is told for its policy, and the run goes on."""
    billing, shipping = two_policies(second)
    destination = second.wiring.destination(billing.destinations[1])

    def broken() -> Any:
        raise KeyError("what nobody thought of")

    destination.read = broken  # type: ignore[method-assign]
    second.clock.advance(timedelta(days=31).total_seconds())
    outcome = operation.run(second.runner, second.wiring.ports, (billing, shipping), next_after, second.stop)
    assert [(one.policy, one.state) for one in outcome.rotations] == [("shipping", State.COMPLETED)]
    [(name, error)] = outcome.errors
    assert name == "billing"
    assert "KeyError" in error.happened
    assert "nobody" not in str(error)
    assert [name for name, _ in refresh(second.wiring.ports, [billing, shipping])] == ["billing"]


@pytest.mark.parametrize("command", ["run", "status"])
def test_policies_are_looked_at_side_by_side(second: Bench, command: str) -> None:
    """A store that takes its time is not waited for once per policy."""
    policies = two_policies(second)
    together = threading.Barrier(2)

    def slow(real: Callable[[], Any]) -> Callable[[], Any]:
        def read() -> Any:
            together.wait(timeout=10)  # broken, and so an error, unless both are asked at once
            return real()

        return read

    for policy in policies:
        destination = second.wiring.destination(policy.destinations[1])
        destination.read = slow(destination.read)  # type: ignore[method-assign]
    if command == "run":
        outcome = operation.run(second.runner, second.wiring.ports, policies, next_after, second.stop)
        assert outcome.exit_code == 0
    else:
        assert refresh(second.wiring.ports, policies) == []


def test_policy_that_was_never_rotated_leaves_nothing_to_do(bench: Bench) -> None:
    """A living token and an empty journal: all is well, and `reconcile` says so."""
    found = finding(bench)
    assert found.action == "none", found
    assert any("knows no rotation" in fact for fact in found.facts)
