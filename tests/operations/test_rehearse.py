"""A rehearsal is the real thing, twice, where nobody depends on it; the policy's own is not touched by a byte."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from rotator.engine.resting import claim_of, token_known_dead
from rotator.engine.states import steps_of
from rotator.errors import Busy, InvalidInput
from rotator.journal.base import Hold, SpoolState
from rotator.journal.holder import this_process
from rotator.model import REHEARSAL_RANK, Policy, State, Trigger
from rotator.operations import rehearse as operation
from rotator.operations.rehearsals import mints_of
from rotator.operations.rehearse import HANDOVER, Work
from rotator.operations.status import statuses
from rotator.policies.cron import next_after
from rotator.provider.base import PingAnswer
from rotator.rehearsal import rehearsal_of
from rotator.secret import Secret
from tests.engine.bench import Bench
from tests.engine.test_resumption import Killed, run
from tests.operations.rehearsing import (
    Untouched,
    die_at_the_mint,
    of_rehearsal,
    past,
    rehearsable,
    rehearse,
    stored,
)

WAYS = (
    ("in-place", ""),
    ("two-places", ""),
    ("assisted", ""),
    ("standby", ""),
    ("standby", "standby"),
    ("bridge", "bridge"),
)


@pytest.mark.parametrize(("form", "overlap"), WAYS)
def test_both_paths_are_carried_out_and_nothing_of_production_changes(
    form: str, overlap: str, make_bench: Callable[..., Bench]
) -> None:
    """Rows, files and times of generation of the policy stand byte for byte, whatever strategy is rehearsed."""
    bench = rehearsable(form, make_bench, overlap=overlap)
    before = Untouched(bench)
    outcome, (told,), report = rehearse(bench)
    before.check()
    assert outcome.exit_code == 0, outcome
    scheduled, emergency = of_rehearsal(bench)
    assert (scheduled.state, emergency.state) == (State.COMPLETED, State.COMPLETED)
    assert {one.trigger for one in (scheduled, emergency)} == {Trigger.REHEARSAL}
    assert (scheduled.emergency, emergency.old_token_dead) == (None, True)
    assert emergency.old_fingerprint == scheduled.new_fingerprint
    assert bench.wiring.fingerprints.of(stored(bench)) == emergency.new_fingerprint
    assert bench.simulator.is_alive(stored(bench))
    assert [step.name for step in scheduled.steps] == [s.name for s in steps_of(rehearsal_of(bench.policy))]
    assert told.view()["outcome"] == "completed"
    assert report is not None
    assert report.all_dead
    assert report.longest_exposure is not None
    assert past(bench).success is not None


@pytest.mark.parametrize(("form", "overlap"), WAYS)
def test_it_takes_as_many_mints_as_it_says(form: str, overlap: str, make_bench: Callable[..., Bench]) -> None:
    """From the second rehearsal on, when a token to replace is there."""
    bench = rehearsable(form, make_bench, overlap=overlap)
    assert rehearse(bench)[0].exit_code == 0
    bench.clock.advance(120)
    calls = bench.rotate_calls
    assert rehearse(bench)[0].exit_code == 0
    assert bench.rotate_calls - calls == mints_of(rehearsal_of(bench.policy))


# --- what goes wrong in the middle -------------------------------------------------------------------


KILLS = [
    *(("in-place", "", number, executed) for number in (1, 2) for executed in (False, True)),
    *(("standby", "standby", number, True) for number in (1, 2, 3, 4)),
    *(("bridge", "bridge", number, True) for number in (1, 2)),
]


@pytest.mark.one_in(2, 7)
@pytest.mark.parametrize(("form", "overlap", "number", "executed"), KILLS)
def test_whoever_comes_next_ends_what_was_killed_in_the_middle(
    form: str, overlap: str, number: int, executed: bool, make_bench: Callable[..., Bench]
) -> None:
    """At each mint of both paths; `run` needs no schedule for that, and production is untouched throughout."""
    bench = rehearsable(form, make_bench, overlap=overlap)
    assert rehearse(bench)[0].exit_code == 0
    bench.clock.advance(120)
    before = Untouched(bench)
    die_at_the_mint(bench, number, executed=executed)
    with pytest.raises(Killed):
        rehearse(bench)
    bench.new_process()
    assert past(bench).latest != past(bench).success
    for _ in range(20):
        outcome = run(bench)
        assert outcome.exit_code == 0, outcome
        before.check()
        latest = past(bench).latest
        assert latest is not None
        if latest.ended:
            break
        bench.clock.advance(30)
    assert latest.succeeded, latest
    assert bench.simulator.is_alive(stored(bench))
    assert len(of_rehearsal(bench)) == 4
    events = [one["event"] for one in bench.audited() if one["event"].startswith("rehearsal.")]
    assert events == ["rehearsal.start", "rehearsal.end"] * 2


def test_one_killed_between_its_paths_goes_on_with_the_second(make_bench: Callable[..., Bench]) -> None:
    """Whoever is about to begin the second path is given a moment; then `run` does, and once."""
    bench = rehearsable("in-place", make_bench)
    bench.runner.rotate(rehearsal_of(bench.policy), Trigger.REHEARSAL, "a drill")
    latest = past(bench).latest
    assert latest is not None
    assert (latest.half, latest.outcome) == (True, "running")
    assert run(bench).rotations == ()
    bench.clock.advance(HANDOVER)
    (emergency,) = run(bench).rotations
    assert emergency.emergency is not None
    assert past(bench).success is not None
    assert run(bench).rotations == ()


def test_a_person_takes_up_what_was_killed(make_bench: Callable[..., Bench]) -> None:
    """`rehearse` ends the open one, and begins none besides."""
    bench = rehearsable("in-place", make_bench)
    die_at_the_mint(bench, 2, executed=True)
    with pytest.raises(Killed):
        rehearse(bench)
    bench.new_process()
    outcome, _, report = rehearse(bench)
    assert outcome.exit_code == 0, outcome
    assert report is not None
    assert report.all_dead
    assert len(of_rehearsal(bench)) == 2
    assert past(bench).success is not None


def test_a_rehearsal_that_fails_says_so_and_takes_no_token_for_leaked(
    make_bench: Callable[..., Bench],
) -> None:
    """Whatever keeps the first path from its end is the outcome; production is none the wiser."""
    bench = rehearsable("in-place", make_bench)
    place = bench.folder / "rehearsal.json"
    place.write_text('{"token": "of somebody else"}', encoding="utf-8")
    before = Untouched(bench)
    outcome, (told,), report = rehearse(bench)
    before.check()
    assert outcome.exit_code == 1
    assert told.view()["outcome"] == "refused"
    assert report is None
    assert past(bench).success is None
    assert place.read_text(encoding="utf-8") == '{"token": "of somebody else"}'


def test_one_that_cannot_be_verified_is_begun_anew_when_its_cause_is_mended(
    make_bench: Callable[..., Bench],
) -> None:
    """The first one finishes by the verifiers that it began with; `rehearse` puts another one in its place."""
    bench = rehearsable("in-place", make_bench)
    bench.document["rehearsal"]["verify"] = [{"type": "send", "from": "rotation@nowhere.example.com"}]
    bench.policy = bench.load_policy()
    before = Untouched(bench)
    outcome, (told,), _ = rehearse(bench)
    assert (outcome.exit_code, told.view()["outcome"]) == (4, "needs-attention")
    assert [a.code for a in bench.wiring.journal.attentions("billing/rehearsal")] == ["verification-failed"]
    before.check()
    bench.document["rehearsal"]["verify"] = [{"type": "ping"}]
    bench.policy = bench.load_policy()
    bench.clock.advance(120)
    outcome, (told,), _ = rehearse(bench)
    assert (outcome.exit_code, told.view()["outcome"]) == (0, "completed"), outcome
    assert bench.wiring.journal.attentions("billing/rehearsal") == []


def test_a_death_that_is_not_proved_fails_the_rehearsal(make_bench: Callable[..., Bench]) -> None:
    """Both paths may have ended well by themselves: what a rehearsal is for is the proof."""
    bench = rehearsable("in-place", make_bench)
    real = bench.wiring.provider.ping

    def ping(token: Secret) -> PingAnswer:
        answer = real(token)
        return PingAnswer.ALIVE if answer is PingAnswer.DEAD else answer

    assert rehearse(bench)[0].exit_code == 0
    bench.clock.advance(120)
    bench.wiring.provider.ping = ping  # type: ignore[method-assign]
    outcome, (told,), _ = rehearse(bench)
    assert outcome.exit_code == 4
    assert told.view()["outcome"] == "needs-attention"


# --- beside others -----------------------------------------------------------------------------------


def test_a_policy_that_is_held_is_rehearsed_and_a_held_rehearsal_is_not(
    make_bench: Callable[..., Bench],
) -> None:
    """The hold freezes what it names: the policy, or its rehearsal."""
    bench = rehearsable("in-place", make_bench)
    journal = bench.wiring.journal
    journal.hold(Hold("billing", bench.clock.now(), "ana@desk", "frozen"))
    assert rehearse(bench)[0].exit_code == 0
    journal.release_hold("billing")
    journal.hold(Hold("billing/rehearsal", bench.clock.now(), "ana@desk", "no more of it"))
    bench.clock.advance(120)
    outcome, (told,), _ = rehearse(bench)
    assert (outcome.exit_code, told.rehearsed) == (5, None)
    assert len(of_rehearsal(bench)) == 2
    assert bench.rotate().state is State.COMPLETED


def test_two_commands_side_by_side_rehearse_once(make_bench: Callable[..., Bench]) -> None:
    """Whoever gets the lease later finds that it was done, and begins nothing."""
    bench = rehearsable("in-place", make_bench)
    slower = Work(bench.runner, bench.wiring.ports, bench.policy, "slower", bench.stop)
    assert rehearse(bench)[0].exit_code == 0
    assert slower.begin(anew=True) == []
    assert slower.leak() == []
    assert len(of_rehearsal(bench)) == 2


def sharing(bench: Bench) -> Policy:
    """Another policy that is rehearsed on the same project, with a place of its own."""
    return replace(
        bench.policy,
        name="other",
        rehearsal=replace(
            bench.policy.rehearsal,
            destinations=(
                replace(
                    bench.policy.rehearsal.destinations[0],
                    place="file:/o",
                    options={"path": str(bench.folder / "rehearsal-2.json"), "format": "json", "mode": None},
                ),
            ),
        ),
        snapshot={**bench.policy.snapshot, "name": "other"},
    )


def test_policies_that_share_a_project_end_one_another_s_rehearsals(
    make_bench: Callable[..., Bench],
) -> None:
    """Each kills what the other has stored; the next one repairs that first, and an open one is finished, not
    hurried."""
    bench = rehearsable("in-place", make_bench)
    other = sharing(bench)
    die_at_the_mint(bench, 1, executed=True)
    with pytest.raises(Killed):
        rehearse(bench)
    bench.new_process()
    outcome, (told,), _ = rehearse(bench, other)
    assert (outcome.exit_code, told.rehearsed) == (0, None)
    assert "came first" in " ".join(outcome.notes)
    assert [one.emergency for one in of_rehearsal(bench)] == [None]
    outcome, (told,), _ = rehearse(bench, other)
    assert (outcome.exit_code, told.view()["outcome"]) == (0, "completed")
    assert rehearse(bench)[0].exit_code == 0
    assert past(bench).success is not None


def test_the_emergency_is_measured_and_not_its_wait_for_the_rate_limit(
    make_bench: Callable[..., Bench],
) -> None:
    """A rehearsal waits for everybody, an emergency for nobody: the token is taken for leaked when there is room."""
    bench = rehearsable("in-place", make_bench, rotate_limit=2)
    began = bench.clock.boot()
    said: list[tuple[str, str]] = []
    outcome, _, report = operation.rehearse(
        bench.runner,
        bench.wiring.ports,
        (bench.policy,),
        "a drill",
        bench.stop,
        lambda _: None,
        lambda name, text: said.append((name, text)),
    )
    assert outcome.exit_code == 0
    assert bench.clock.boot() - began >= 55
    assert report is not None
    assert report.longest_exposure is not None
    assert report.longest_exposure.max < 5
    ((name, text),) = said
    assert name == "billing/rehearsal"
    assert text.startswith("before the emergency: waiting")


def test_a_signal_while_it_waits_for_room_leaves_it_half(make_bench: Callable[..., Bench]) -> None:
    """What was done is told, and the second path is for whoever comes next."""
    bench = rehearsable("in-place", make_bench, rotate_limit=2)
    outcome, (told,), report = operation.rehearse(
        bench.runner,
        bench.wiring.ports,
        (bench.policy,),
        "a drill",
        bench.stop,
        lambda _: None,
        lambda _name, _text: bench.stop.request(signal.SIGTERM),
    )
    assert outcome.exit_code == 143
    assert [one.state for one in outcome.rotations] == [State.COMPLETED]
    assert (told.view()["outcome"], report) == ("running", None)
    bench.new_process()
    bench.clock.advance(HANDOVER)
    assert run(bench).exit_code == 0
    assert past(bench).success is not None


def test_policies_that_share_a_project_are_rehearsed_in_turn(make_bench: Callable[..., Bench]) -> None:
    """By one command; each from its beginning to its end, so none finds the other at work."""
    bench = rehearsable("in-place", make_bench)
    outcome, told, report = rehearse(bench, bench.policy, sharing(bench))
    assert outcome.exit_code == 0, outcome
    assert [one.view()["outcome"] for one in told] == ["completed", "completed"]
    assert report is not None
    assert report.all_dead
    spans = sorted((one.started_at, one.finished_at, one.policy) for one in outcome.rotations)
    assert [policy for _, _, policy in spans] == [*["billing/rehearsal"] * 2, *["other/rehearsal"] * 2]


def test_a_rehearsal_leaves_room_for_whatever_leaks_next(make_bench: Callable[..., Bench]) -> None:
    """Of the shared limit one slot stays free, so an emergency right after a rehearsal's mint waits for nothing."""
    bench = rehearsable("in-place", make_bench, rotate_limit=3)
    started = bench.clock.boot()
    assert rehearse(bench)[0].exit_code == 0
    assert bench.clock.boot() - started < 10
    begun = bench.clock.boot()
    assert bench.rotate().state is State.COMPLETED
    assert bench.clock.boot() - begun < 10
    bench.clock.advance(120)
    # Three in a row would fill it: the third mint of rehearsals waits.
    assert rehearse(bench)[0].exit_code == 0
    begun = bench.clock.boot()
    assert rehearse(bench)[0].exit_code == 0
    assert bench.clock.boot() - begun > 30


def test_without_anything_to_rehearse_on_the_key_is_named(bench: Bench) -> None:
    """A refusal that says what to write, before anything was begun."""
    with pytest.raises(InvalidInput, match="nothing to be rehearsed on") as refused:
        rehearse(bench)
    assert "`rehearsal: {project: ID" in refused.value.remedy


def test_a_rehearsal_that_was_taken_out_of_the_file_is_an_orphan(make_bench: Callable[..., Bench]) -> None:
    """What it left open is shown under its own name, and ends when a person says how."""
    bench = rehearsable("in-place", make_bench)
    die_at_the_mint(bench, 1, executed=True)
    with pytest.raises(Killed):
        rehearse(bench)
    del bench.document["rehearsal"]
    bench.policy = bench.load_policy()
    bench.new_process()
    outcome = run(bench)
    assert outcome.exit_code == 4
    found = statuses(bench.wiring.journal, bench.clock, [bench.policy], next_after)
    assert [(one.name, one.state) for one in found] == [
        ("billing", "ok"),
        ("billing/rehearsal", "needs-attention"),
    ]


def test_nobody_is_told_of_a_rehearsal(make_bench: Callable[..., Bench]) -> None:
    """A consumer that would be restarted is left alone, and a notifier hears nothing, even of a failure."""
    bench = rehearsable("in-place", make_bench)
    # Nobody listens there: whoever called would fail, and say so.
    bench.document["consumers"] = [{"type": "webhook", "url": "http://127.0.0.1:9/reload"}]
    every = ["completed", "failed", "needs-attention", "emergency"]
    bench.document["notify"] = [{"type": "webhook", "url": "http://127.0.0.1:9/siem", "on": every}]
    bench.policy = bench.load_policy()

    def spooled() -> set[str]:
        bench.wiring.notifications.tell((bench.policy,), bench.stop, seconds=1)
        return {one.notice for one in bench.wiring.journal.spool.entries(*SpoolState)}

    before = spooled()  # of its own rotation
    assert rehearse(bench)[0].exit_code == 0
    assert [one.consumers for one in of_rehearsal(bench)] == [(), ()]
    assert not [s for one in of_rehearsal(bench) for s in one.steps if "consumers" in s.name]
    (bench.folder / "rehearsal.json").write_text("no json", encoding="utf-8")
    assert rehearse(bench)[0].exit_code == 1
    assert spooled() == before


def test_no_mint_of_a_rehearsal_is_urgent(make_bench: Callable[..., Bench]) -> None:
    """Not even in its emergency path, nor where what it has stored is dead: nobody reads that."""
    bench = rehearsable("in-place", make_bench)
    assert rehearse(bench)[0].exit_code == 0
    scheduled, emergency = of_rehearsal(bench)
    dead = replace(emergency, minted=False)
    assert dead.urgent
    assert token_known_dead(dead)
    ranks = {claim_of(one).rank for one in (scheduled, emergency, dead)}
    assert ranks == {REHEARSAL_RANK}
    assert claim_of(replace(dead, trigger=Trigger.SCHEDULE)).rank == 0


def test_a_rehearsed_emergency_takes_the_lease_from_nobody(make_bench: Callable[..., Bench]) -> None:
    """A real one would; whoever is at work on the rehearsal's project goes on."""
    bench = rehearsable("in-place", make_bench)
    rehearsal = rehearsal_of(bench.policy)
    bench.runner.rotate(rehearsal, Trigger.REHEARSAL, "a drill")
    other = replace(this_process(bench.clock, "other"), id="other")
    lease = bench.wiring.journal.acquire(rehearsal.projects, other, ttl=1e9)
    work = Work(bench.runner, bench.wiring.ports, bench.policy, "a drill", bench.stop)
    with pytest.raises(Busy):
        work.leak()
    bench.wiring.journal.check(lease)
