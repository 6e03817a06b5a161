"""One in-place rotation when everything goes well, and when the world was not as the policy says."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rotator.errors import Held
from rotator.journal.base import Hold
from rotator.model import DestinationState, State, StepOutcome, Trigger
from rotator.secret import Secret
from tests.engine.bench import Bench, outage_seen


def test_rotates_stores_verifies_and_proves_dead(bench: Bench) -> None:
    """The new token is stored, the old one is refused, other fields are untouched, one mint was made."""
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert rotation.exit_code == 0
    assert bench.mints == 1
    assert bench.stored() != bench.first
    assert bench.simulator.is_alive(bench.stored())
    assert not bench.simulator.is_alive(bench.first)
    assert rotation.old_token_dead is True
    assert rotation.old_fingerprint == bench.wiring.fingerprints.of(bench.first)
    assert rotation.new_fingerprint == bench.wiring.fingerprints.of(bench.stored())
    assert [d.state for d in rotation.destinations] == [DestinationState.CURRENT]
    assert [v.ok for v in rotation.verified] == [True]


def test_steps_are_recorded_in_order(bench: Bench) -> None:
    """Each step of the strategy appears once, done, in its order."""
    rotation = bench.rotate()
    assert [(s.name, s.outcome) for s in rotation.steps] == [
        ("preflight", StepOutcome.DONE),
        ("mint+publish", StepOutcome.DONE),
        ("verify", StepOutcome.DONE),
        ("prove-dead", StepOutcome.DONE),
        ("close", StepOutcome.DONE),
    ]


def test_journal_holds_what_was_returned(bench: Bench) -> None:
    """Another process reads the same record from the journal."""
    rotation = bench.rotate()
    assert bench.new_process().journal.rotation(rotation.id) == rotation
    assert bench.wiring.journal.unfinished() == []


def test_outage_bounds_contain_the_truth(bench: Bench) -> None:
    """The true time from the old token's death to the write lies within the bounds."""
    bench.simulator.faults.add("rotate", "answer-latency", seconds=0.2)
    rotation = bench.rotate()
    assert rotation.outage is not None
    assert rotation.outage.min <= outage_seen(bench, rotation) <= rotation.outage.max


def test_send_verifier_is_seen_by_the_provider_once(make_bench: Callable[..., Bench]) -> None:
    """A test send with the new token reaches the provider; retries would carry one idempotency key."""
    bench = make_bench(verify=[{"type": "send", "from": "rotation@example.com"}])
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    # One with the old token in preflight, one with the new token afterwards.
    assert len(bench.simulator.sends(bench.project)) == 2


def test_intent_precedes_and_outcome_follows_each_change(bench: Bench) -> None:
    """Every event that changes the outside has its intent before it and its outcome after it."""
    bench.rotate()
    events = [line["event"] for line in bench.audited()]
    for subject in ("destination.probe", "mint.token", "publish.destination", "token.verify"):
        assert events.index(f"{subject}.intent") < events.index(f"{subject}.outcome")
    assert events.index("publish.destination.intent") < events.index("mint.token.outcome")
    assert events[-1] == "rotation.close"
    bench.assert_audit_holds()


def test_first_issue_into_an_empty_field(make_bench: Callable[..., Bench]) -> None:
    """Where no token is stored yet, one is issued; there is no old token and no outage."""
    bench = make_bench(stored=False)
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert rotation.old_fingerprint is None
    assert rotation.outage is None
    assert rotation.old_token_dead is None
    bench.assert_served()


def test_second_rotation_follows_the_first(bench: Bench) -> None:
    """The token of one rotation is the old one of the next."""
    first = bench.rotate()
    second = bench.rotate()
    assert second.old_fingerprint == first.new_fingerprint
    assert bench.mints == 2


def test_held_policy_is_refused(bench: Bench) -> None:
    """A held policy is not rotated by hand either, and the message names who holds it."""
    bench.wiring.journal.hold(Hold("billing", bench.clock.now(), "ana@desk", "release freeze"))
    with pytest.raises(Held, match="ana@desk"):
        bench.rotate()
    assert bench.rotate_calls == 0


def test_dead_stored_token_is_repaired_by_a_person(bench: Bench) -> None:
    """A person's rotation replaces a dead token in place, and the outage is not invented."""
    bench.simulator.regenerate(bench.project)
    rotation = bench.rotate(Trigger.MANUAL)
    assert rotation.state is State.COMPLETED
    assert rotation.outage is None
    assert "dead already" in rotation.message
    bench.assert_served()


def test_dead_stored_token_alarms_a_scheduled_run(bench: Bench) -> None:
    """A schedule does not paper over what somebody else changed: no mint, needs attention."""
    bench.simulator.regenerate(bench.project)
    rotation = bench.rotate(Trigger.SCHEDULE)
    assert rotation.state is State.NEEDS_ATTENTION
    assert rotation.exit_code == 4
    assert bench.rotate_calls == 0
    assert bench.attention == {"token-dead"}
    assert not rotation.unfinished


def test_dead_stored_token_is_repaired_when_the_policy_says_so(make_bench: Callable[..., Bench]) -> None:
    """`on_out_of_band: rotate` lets a scheduled run repair."""
    bench = make_bench(extra={"on_out_of_band": "rotate"})
    bench.simulator.regenerate(bench.project)
    assert bench.rotate(Trigger.SCHEDULE).state is State.COMPLETED
    bench.assert_served()


def test_foreign_value_is_refused(bench: Bench) -> None:
    """Something that is no token at the place is not overwritten."""
    bench.secret_file.write_text(
        json.dumps({"other": "kept-as-it-is", "token": "not ours"}), encoding="utf-8"
    )
    before = bench.secret_file.read_bytes()
    rotation = bench.rotate()
    assert rotation.state is State.REFUSED
    assert rotation.exit_code == 1
    assert bench.rotate_calls == 0
    assert bench.secret_file.read_bytes() == before


def test_token_of_another_project_is_refused(make_bench: Callable[..., Bench]) -> None:
    """The identity proof by a test send finds a token that belongs to another project."""
    bench = make_bench(verify=[{"type": "send", "from": "rotation@example.com"}])
    bench.write_secret(bench.secret_file, bench.other_token)
    rotation = bench.rotate()
    assert rotation.state is State.REFUSED
    assert bench.other_project in rotation.message
    assert bench.rotate_calls == 0


def test_failing_verifier_refuses_before_the_mint(make_bench: Callable[..., Bench]) -> None:
    """A verifier that does not work with the living token could prove nothing later."""
    bench = make_bench(verify=[{"type": "send", "from": "someone@elsewhere.example"}])
    rotation = bench.rotate()
    assert rotation.state is State.REFUSED
    assert bench.rotate_calls == 0
    assert bench.simulator.is_alive(bench.first)


def test_dashboard_token_stays_alive_and_is_reported(bench: Bench) -> None:
    """rotate-token leaves a dashboard token alone: the rotation says that the old one still works."""
    dashboard = bench.simulator.add_token(bench.project)
    bench.write_secret(bench.secret_file, dashboard)
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert rotation.old_token_dead is False
    assert bench.attention == {"old-token-alive"}
    bench.assert_served()
    # Revoked by hand, it is proved dead by the next command that may act.
    bench.simulator.revoke(dashboard)
    resumed = bench.runner.resume(rotation)
    assert resumed.state is State.COMPLETED
    assert resumed.old_token_dead is True
    assert bench.attention == set()
    assert bench.mints == 1


def test_endpoint_gone_stops_and_says_what_to_do(bench: Bench) -> None:
    """404 on rotate-token while the project is readable: nothing changed, needs attention."""
    bench.simulator.faults.add("rotate", "gone", status=410, times=None)
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert bench.attention == {"endpoint-gone"}
    assert "assisted" in rotation.message
    assert not rotation.unfinished
    assert bench.stored() == bench.first


def test_followers_get_the_token_after_the_authoritative_one(make_bench: Callable[..., Bench]) -> None:
    """Every destination of the policy holds the new token at the end."""
    bench = make_bench(followers=("second.json",))
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.stored(bench.folder / "second.json") == bench.stored()


def test_follower_with_a_living_foreign_token_is_refused(make_bench: Callable[..., Bench]) -> None:
    """A living token that differs from the authoritative one is not ours to replace."""
    bench = make_bench(followers=("second.json",))
    bench.write_secret(bench.folder / "second.json", bench.other_token)
    rotation = bench.rotate()
    assert rotation.state is State.REFUSED
    assert bench.rotate_calls == 0


def test_rate_limit_is_waited_for_and_never_provoked(make_bench: Callable[..., Bench]) -> None:
    """At a limit of one mint a minute two rotations take a minute, without a 429."""
    bench = make_bench(rotate_limit=1)
    before = bench.clock.boot()
    bench.rotate()
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.clock.boot() - before >= 60
    assert all(event.status != 429 for event in bench.simulator.events)


def test_no_token_is_in_journal_or_audit(bench: Bench) -> None:
    """Neither the old nor the new token is in any byte of the state folder."""
    bench.rotate()
    tokens: list[Secret] = [bench.first, bench.stored()]
    for path in bench.settings.audit_log.parent.iterdir():
        content = path.read_bytes()
        assert all(token.reveal().encode() not in content for token in tokens), path


def test_the_rate_limit_counts_from_the_call(bench: Bench) -> None:
    """What is read between taking the slot and the call takes seconds: the next mint waits a whole window from the
    call, as the provider counts it."""
    real = bench.wiring.provider.project

    def slow(project: str) -> object:
        bench.clock.advance(4)
        return real(project)

    bench.wiring.provider.project = slow  # type: ignore[method-assign, assignment]
    assert bench.rotate().state is State.COMPLETED
    since = bench.clock.boot() - bench.simulator.mints(bench.project)[-1].at.boot
    wait = bench.wiring.journal.take_slot("rotate", limit=1, window=60, take=False)
    assert wait == pytest.approx(60 - since, abs=0.01)
