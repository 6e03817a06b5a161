"""Rotations that another process has to take up: what may be done with them, and what may not."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rotator.destinations.base import DestinationRefused, Reading
from rotator.engine.context import Progress
from rotator.errors import Held, JournalUnavailable, Unreachable
from rotator.journal.base import Hold
from rotator.model import Rotation, State, Trigger
from rotator.operations import rotate as operation
from rotator.operations.outcome import Outcome
from rotator.policies.cron import next_after
from rotator.provider.base import PingAnswer
from tests.conftest import FakeClock
from tests.engine.bench import Bench


class Killed(BaseException):
    """Stands for the end of the process: no handler of the engine sees it."""


def run(bench: Bench) -> Outcome:
    """`rotator run` in the bench's present process."""
    return operation.run(bench.runner, bench.wiring.ports, (bench.policy,), next_after, bench.stop)


def rotate_and_die(bench: Bench) -> Rotation:
    """Rotates in a process that some port kills; the next process's view of what it left."""
    with pytest.raises(Killed):
        bench.rotate()
    return bench.new_process().journal.unfinished()[-1]


def die_at_the_mint(bench: Bench, *, executed: bool) -> None:
    """The process dies in rotate-token, before the provider's execution or after it."""
    real = bench.wiring.provider.rotate_token

    def rotate_token(project: str) -> object:
        if executed:
            real(project)
        raise Killed

    bench.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]


def interrupted_before_the_mint(bench: Bench) -> Rotation:
    bench.stop.request(signal.SIGTERM)
    left = bench.rotate()
    assert left.unfinished
    bench.new_process()
    return left


def test_held_policy_is_left_alone_before_its_mint(bench: Bench) -> None:
    """An interrupted rotation that sent nothing does not go on while its policy is held, and does after."""
    left = interrupted_before_the_mint(bench)
    bench.wiring.journal.hold(Hold("billing", bench.clock.now(), "ana@desk", ""))
    outcome = run(bench)
    assert outcome.exit_code == 0
    assert "held" in " ".join(outcome.notes)
    assert bench.rotate_calls == 0
    with pytest.raises(Held):
        bench.runner.resume(left)
    bench.wiring.journal.release_hold("billing")
    assert [r.state for r in run(bench).rotations] == [State.COMPLETED]


def test_held_policy_is_finished_past_its_mint(bench: Bench) -> None:
    """Readers hold a dead token: a hold does not keep `run` from finishing."""
    die_at_the_mint(bench, executed=True)
    rotate_and_die(bench)
    bench.wiring.journal.hold(Hold("billing", bench.clock.now(), "ana@desk", ""))
    assert run(bench).exit_code == 0
    bench.assert_served()


def test_held_policy_is_not_minted_for_when_the_call_never_ran(bench: Bench) -> None:
    """The interrupted call was not executed, so the hold counts again: nothing is minted."""
    die_at_the_mint(bench, executed=False)
    rotate_and_die(bench)
    bench.wiring.journal.hold(Hold("billing", bench.clock.now(), "ana@desk", ""))
    outcome = run(bench)
    assert outcome.exit_code == 5
    assert bench.rotate_calls == 0
    assert bench.simulator.is_alive(bench.first)
    assert not bench.wiring.journal.unfinished()


def test_preflight_is_repeated_when_the_interrupted_call_never_ran(bench: Bench) -> None:
    """What was proved by the dead process may no longer hold: a store that takes no write stops the mint."""
    die_at_the_mint(bench, executed=False)
    left = rotate_and_die(bench)
    destination = bench.wiring.destination(bench.policy.authoritative)

    def refuse() -> None:
        raise DestinationRefused("The store takes no write", then="Nothing was changed")

    destination.preflight = refuse  # type: ignore[method-assign]
    rotation = bench.runner.resume(left)
    assert rotation.state is State.REFUSED
    assert bench.rotate_calls == 0
    assert bench.simulator.is_alive(bench.stored())


def test_follower_that_is_away_does_not_keep_readers_without_a_token(
    make_bench: Callable[..., Bench],
) -> None:
    """After a lost mint only the authoritative destination must answer; the follower is behind, and said so."""
    bench = make_bench(followers=("second.json",))
    die_at_the_mint(bench, executed=True)
    left = rotate_and_die(bench)
    follower = bench.wiring.destination(bench.policy.destinations[1])
    real = follower.read

    def away() -> Reading:
        raise Unreachable("The second store is away")

    follower.read = away  # type: ignore[method-assign]
    rotation = bench.runner.resume(left)
    bench.assert_served()
    assert rotation.state is State.NEEDS_ATTENTION
    assert bench.attention == {"destination-behind"}
    follower.read = real  # type: ignore[method-assign]
    assert bench.runner.resume(rotation).state is State.COMPLETED
    assert bench.stored(bench.folder / "second.json") == bench.stored()


def test_token_found_in_a_follower_only_is_published(make_bench: Callable[..., Bench]) -> None:
    """The minted token survived in a second place while the first was restored: it is kept, not minted anew."""
    bench = make_bench(followers=("second.json",))
    real = bench.wiring.provider.rotate_token

    def rotate_token(project: str) -> object:
        bench.write_secret(bench.folder / "second.json", real(project).token)
        raise Killed

    bench.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    left = rotate_and_die(bench)
    rotation = bench.runner.resume(left)
    assert rotation.state is State.COMPLETED
    assert bench.mints == 1
    bench.assert_served()
    published = [e for e in bench.audited() if e["event"] == "publish.destination.outcome"]
    assert [e["data"]["ok"] for e in published] == [True]


def test_kept_token_is_recorded_though_the_project_cannot_be_read(bench: Bench) -> None:
    """The token is in the store already: a provider that does not tell its time does not stop the rotation."""
    die_after(bench, "publish")
    left = rotate_and_die(bench)
    provider = bench.wiring.provider
    real = provider.project
    calls = []

    def project(project_id: str) -> object:
        calls.append(project_id)
        if len(calls) == 2:  # one to look, then the one that records
            raise Unreachable("The provider is away")
        return real(project_id)

    provider.project = project  # type: ignore[method-assign, assignment]
    rotation = bench.runner.resume(left)
    assert rotation.state is State.COMPLETED
    assert bench.mints == 1


def die_after(bench: Bench, name: str) -> None:
    """The process dies right after a method of the authoritative destination did its work."""
    destination = bench.wiring.destination(bench.policy.authoritative)
    real = getattr(destination, name)

    def call(*args: Any, **options: Any) -> None:
        real(*args, **options)
        raise Killed

    setattr(destination, name, call)


def test_emptied_destination_is_filled_again(bench: Bench) -> None:
    """Somebody emptied the field after the process died with its token: a new one is minted and stored."""
    die_at_the_mint(bench, executed=True)
    left = rotate_and_die(bench)
    bench.secret_file.write_text(json.dumps({"other": "kept-as-it-is"}), encoding="utf-8")
    rotation = bench.runner.resume(left)
    assert rotation.state is State.COMPLETED
    bench.assert_served()


def test_wall_clock_jump_and_reboot_do_not_shorten_the_deadline(bench: Bench) -> None:
    """After a reboot the times of the intent mean nothing: the whole span is waited for once more."""
    die_at_the_mint(bench, executed=True)
    left = rotate_and_die(bench)
    bench.clock.boot_id = "boot-2"
    bench.clock.jump_wall(3600)
    before = bench.clock.boot()
    assert bench.runner.resume(left).state is State.COMPLETED
    assert bench.clock.boot() - before >= bench.timings.call + bench.timings.settle


def test_wall_clock_set_back_does_not_close_a_rotation_in_favour_of_an_older_one(bench: Bench) -> None:
    """A completed rotation that seems to be of a later hour is not the successor of an interrupted one."""
    assert bench.rotate().state is State.COMPLETED
    bench.clock.jump_wall(-3600)
    die_at_the_mint(bench, executed=True)
    rotate_and_die(bench)
    outcome = run(bench)
    assert [r.state for r in outcome.rotations] == [State.COMPLETED]
    bench.assert_served()


def test_interruption_with_a_dead_token_in_the_store_is_told(bench: Bench) -> None:
    """Stopped between a lost mint and the next one: exit 143, and `status` says that readers are cut off."""
    bench.simulator.faults.add("rotate", "lost-answer", times=None)
    real = bench.wiring.provider.rotate_token
    calls = []

    def rotate_token(project: str) -> object:
        calls.append(project)
        if len(calls) == 2:
            bench.stop.request(signal.SIGTERM)
        return real(project)

    bench.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    rotation = bench.rotate()
    assert rotation.exit_code == 143
    assert not bench.simulator.is_alive(bench.stored())
    assert bench.attention == {"token-dead"}
    bench.simulator.faults.clear()
    bench.new_process()
    assert bench.runner.resume(rotation).state is State.COMPLETED
    assert bench.attention == set()


def fail_verification(bench: Bench) -> Rotation:
    """A rotation whose new token is stored and does not pass: open, with its verification to do."""
    bench.simulator.faults.add("rotate", "slow-new-token", seconds=100_000)
    rotation = bench.rotate()
    assert bench.attention == {"verification-failed"}
    bench.new_process()
    return rotation


def test_new_rotation_after_a_failed_verification_ends_well(bench: Bench) -> None:
    """`rotator rotate`, as the message says, makes another token: exit 0 and no attention left."""
    first = fail_verification(bench)
    outcome = operation.rotate(bench.runner, [bench.policy], Trigger.MANUAL, "again")
    assert outcome.exit_code == 0
    assert [r.state for r in outcome.rotations] == [State.COMPLETED]
    assert bench.attention == set()
    assert not bench.wiring.journal.unfinished()
    kept = bench.wiring.journal.rotation(first.id)
    assert kept is not None
    assert "newer rotation" in kept.message
    bench.assert_served()


def test_refused_rotation_does_not_supersede_an_open_one(make_bench: Callable[..., Bench]) -> None:
    """A follower is behind and the next rotation is refused: the follower is still brought up later."""
    bench = make_bench(followers=("second.json",))
    follower = bench.wiring.destination(bench.policy.destinations[1])

    def full(*_: object, **__: object) -> None:
        raise DestinationRefused("The second store is full")

    follower.publish = full  # type: ignore[method-assign]
    left = bench.rotate()
    assert bench.attention == {"destination-behind"}
    follower.preflight = full  # type: ignore[method-assign]
    again = bench.runner.rotate(bench.policy, Trigger.MANUAL, "again")
    assert again[-1].state is State.REFUSED
    bench.new_process()
    assert bench.runner.resume(left).state is State.COMPLETED
    assert bench.stored(bench.folder / "second.json") == bench.stored()
    assert bench.attention == set()


def test_old_token_that_lives_is_not_forgotten_by_the_next_rotation(bench: Bench) -> None:
    """A further rotation proves its own old token dead, and says nothing about the one before it."""
    dashboard = bench.simulator.add_token(bench.project)
    bench.write_secret(bench.secret_file, dashboard)
    first = bench.rotate()
    assert bench.attention == {"old-token-alive"}
    bench.new_process()
    second = bench.runner.rotate(bench.policy, Trigger.MANUAL, "again")[-1]
    assert second.state is State.COMPLETED
    assert bench.simulator.is_alive(dashboard)
    assert bench.attention == {"old-token-alive"}
    bench.simulator.revoke(dashboard)
    outcome = run(bench)
    assert [(r.id, r.old_token_dead) for r in outcome.rotations] == [(first.id, True)]
    assert outcome.exit_code == 0
    assert bench.attention == set()


def test_two_open_rotations_of_one_project_are_taken_up_one_after_the_other(bench: Bench) -> None:
    """One process is not its own rival: the newest goes first, the older one has nothing left to do then."""
    older = fail_verification(bench)
    die_at_the_mint(bench, executed=True)
    newer = rotate_and_die(bench)
    assert {r.id for r in bench.wiring.journal.unfinished()} == {older.id, newer.id}
    outcome = run(bench)
    assert outcome.exit_code == 0
    assert outcome.notes == ()
    assert not bench.wiring.journal.unfinished()
    bench.assert_served()


def test_rotation_stuck_at_a_place_that_is_gone_does_not_block_a_new_policy(bench: Bench) -> None:
    """Its token cannot be written where it began; a person's rotation by the policy's new place goes on."""
    die_at_the_mint(bench, executed=True)
    stuck = rotate_and_die(bench)
    old_place = bench.wiring.destination(bench.policy.authoritative)

    def gone() -> Reading:
        raise DestinationRefused("The secret is scheduled for deletion")

    old_place.read = gone  # type: ignore[method-assign]
    moved = bench.folder / "moved.json"
    bench.write_secret(moved, bench.first)
    bench.document["destinations"][0]["path"] = str(moved)
    bench.policy = bench.load_policy()
    done = bench.runner.rotate(bench.policy, Trigger.MANUAL, "moved")
    assert done[-1].state is State.COMPLETED
    assert bench.simulator.is_alive(bench.stored(moved))
    assert not bench.wiring.journal.unfinished()
    assert bench.attention == set()
    assert [r.exit_code for r in done] == [0, 0]
    kept = bench.wiring.journal.rotation(stuck.id)
    assert kept is not None
    assert "newer rotation" in kept.message


def test_journal_lost_before_a_second_mint_stops_it(bench: Bench) -> None:
    """With a dead token in the store a further call is sent only when its intent stands in the journal."""
    bench.simulator.faults.add("rotate", "lost-answer")
    journal = bench.wiring.journal
    real_save = journal.save
    real_rotate = bench.wiring.provider.rotate_token
    away = [0]
    unwritten_calls = []

    def save(lease: Any, rotation: Rotation) -> None:
        if bench.rotate_calls == 1 and rotation.mints == 2 and away[0] < 2:
            away[0] += 1
            raise JournalUnavailable("disk full")
        real_save(lease, rotation)

    def rotate_token(project: str) -> object:
        written = journal.unfinished()[0]
        if written.mints != bench.rotate_calls + 1:
            unwritten_calls.append(written.mints)
        return real_rotate(project)

    journal.save = save  # type: ignore[method-assign]
    bench.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    rotation = bench.rotate()
    assert away == [2]
    assert unwritten_calls == []
    assert rotation.state is State.COMPLETED
    bench.assert_served()


def test_deadline_outlasts_a_call_whose_intent_was_written_slowly(bench: Bench) -> None:
    """Slow journal writes move the deadline on, so the call always ends before it."""
    journal = bench.wiring.journal
    real = journal.save
    slow = [0]

    def save(lease: Any, rotation: Rotation) -> None:
        if rotation.intent is not None and not rotation.minted and slow[0] < 2:
            slow[0] += 1
            bench.clock.advance(4)
        real(lease, rotation)

    seen = []
    real_rotate = bench.wiring.provider.rotate_token

    def rotate_token(project: str) -> object:
        intent = journal.unfinished()[0].intent
        assert intent is not None
        seen.append(intent.deadline.boot - bench.clock.boot())
        return real_rotate(project)

    journal.save = save  # type: ignore[method-assign]
    bench.wiring.provider.rotate_token = rotate_token  # type: ignore[method-assign, assignment]
    assert bench.rotate().state is State.COMPLETED
    assert slow == [2]
    assert seen[0] >= bench.timings.call


def test_journal_that_stays_slow_is_not_minted_with(bench: Bench) -> None:
    """No deadline can be kept: nothing is sent, exit 6, safe to repeat."""
    journal = bench.wiring.journal
    real = journal.save

    def save(lease: Any, rotation: Rotation) -> None:
        bench.clock.advance(4)
        real(lease, rotation)

    journal.save = save  # type: ignore[method-assign]
    rotation = bench.rotate()
    assert rotation.exit_code == 6
    assert bench.rotate_calls == 0
    assert not rotation.unfinished


def test_death_is_not_presumed_when_a_store_could_not_be_searched(bench: Bench) -> None:
    """The old token's last copy is in a store that is away: unclear, and presented by a later command."""
    die_after(bench, "publish")
    left = rotate_and_die(bench)
    destination = bench.wiring.destination(bench.policy.authoritative)
    real = destination.recall

    def away(_: object) -> None:
        raise Unreachable("The store is away")

    destination.recall = away  # type: ignore[method-assign, assignment]
    rotation = bench.runner.resume(left)
    assert rotation.state is State.NEEDS_ATTENTION
    assert bench.attention == {"unclear"}
    destination.recall = real  # type: ignore[method-assign]
    resumed = bench.runner.resume(rotation)
    assert resumed.state is State.COMPLETED
    assert resumed.old_token_dead is True


def test_forbidden_old_token_is_neither_dead_nor_alive(bench: Bench) -> None:
    """A 403 to the old token proves nothing: it is not said to work, nor to be dead."""
    real = bench.wiring.provider.ping

    def ping(token: object) -> PingAnswer:
        if token == bench.first and bench.mints:
            return PingAnswer.FORBIDDEN
        return real(token)  # type: ignore[arg-type]

    bench.wiring.provider.ping = ping  # type: ignore[method-assign, assignment]
    rotation = bench.rotate()
    assert rotation.old_token_dead is None
    assert bench.attention == {"unclear"}


def test_mended_follower_is_not_complained_about_any_more(make_bench: Callable[..., Bench]) -> None:
    """Attention goes when its cause went, though something else still needs a person."""
    bench = make_bench(followers=("second.json",))
    dashboard = bench.simulator.add_token(bench.project)
    for path in (bench.secret_file, bench.folder / "second.json"):
        bench.write_secret(path, dashboard)
    follower = bench.wiring.destination(bench.policy.destinations[1])
    real = follower.publish

    def full(*_: object, **__: object) -> None:
        raise DestinationRefused("The second store is full")

    follower.publish = full  # type: ignore[method-assign]
    left = bench.rotate()
    assert bench.attention == {"destination-behind", "old-token-alive"}
    follower.publish = real  # type: ignore[method-assign]
    assert bench.runner.resume(left).state is State.NEEDS_ATTENTION
    assert bench.attention == {"old-token-alive"}


def test_first_issue_leaves_a_living_foreign_token_alone(make_bench: Callable[..., Bench]) -> None:
    """Nothing stands in the authoritative place, a living token in the other: it differs, so it is refused."""
    bench = make_bench(stored=False, followers=("second.json",))
    bench.write_secret(bench.folder / "second.json", bench.other_token)
    rotation = bench.rotate()
    assert rotation.state is State.REFUSED
    assert bench.rotate_calls == 0


def test_outcome_is_audited_though_the_lease_was_lost_meanwhile(bench: Bench) -> None:
    """The token was written; that the journal belongs to somebody else now does not hide it from the audit."""
    destination = bench.wiring.destination(bench.policy.authoritative)
    real = destination.publish

    def publish(*args: Any, **options: Any) -> None:
        real(*args, **options)
        journal = bench.wiring.journal
        lease = journal.lease_of(bench.project)
        assert lease is not None
        assert lease.holder is not None
        bench.clock.advance(2e6)
        journal.acquire((bench.project,), replace(lease.holder, id="another"), ttl=5)

    destination.publish = publish  # type: ignore[method-assign]
    rotation = bench.rotate()
    assert rotation.exit_code == 5
    assert {"mint.token.outcome", "publish.destination.outcome"} <= {e["event"] for e in bench.audited()}


def test_unexpected_error_of_the_store_does_not_lose_the_token(bench: Bench) -> None:
    """A defect in the store's client is tried again like any other failure: one mint, nothing lost."""
    destination = bench.wiring.destination(bench.policy.authoritative)
    real = destination.publish
    failed = []

    def publish(*args: Any, **options: Any) -> None:
        if not failed:
            failed.append(True)
            raise KeyError("a defect")
        real(*args, **options)

    destination.publish = publish  # type: ignore[method-assign]
    rotation = bench.rotate()
    assert rotation.state is State.COMPLETED
    assert bench.mints == 1


def test_credential_lost_after_a_crash_does_not_claim_that_nothing_changed(bench: Bench) -> None:
    """The look needs a team token that is refused now: attention says what readers may hold."""
    die_at_the_mint(bench, executed=True)
    left = rotate_and_die(bench)
    fault = bench.simulator.faults.add("project", "status", status=401, times=None)
    rotation = bench.runner.resume(left)
    assert rotation.exit_code == 4
    assert rotation.unfinished
    assert "Nothing was changed" not in rotation.message
    assert "dead token" in rotation.message
    bench.simulator.faults.remove(fault)
    assert bench.runner.resume(rotation).state is State.COMPLETED
    assert bench.attention == set()


def test_stopped_anywhere_the_next_run_brings_it_to_rest(tmp_path: Path) -> None:
    """A signal at every point that shows progress: 143 or done, then one run ends with a living token."""
    wrong = []
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        bench = Bench(folder, FakeClock(), followers=("second.json",))
        try:
            stopped = stop_at(bench, number)
            rotation = bench.rotate()
            bench.new_process()
            outcome = run(bench)
            at_rest = bench.simulator.is_alive(bench.stored()) and not bench.wiring.journal.unfinished()
            if rotation.exit_code not in (0, 143) or outcome.exit_code or not at_rest or bench.mints != 1:
                wrong.append((number, rotation.exit_code, outcome.exit_code, bench.mints))
            bench.assert_audit_holds()
            if not stopped:
                break
        finally:
            bench.close()
    assert not wrong
    assert number > 8


def stop_at(bench: Bench, number: int) -> list[bool]:
    """Asks to stop at the numbered line of progress; what is returned is filled when that was reached."""
    stopped: list[bool] = []

    class Watching(list[Progress]):
        def append(self, line: Progress) -> None:
            super().append(line)
            if len(self) == number:
                stopped.append(True)
                bench.stop.request(signal.SIGTERM)

    bench.progress = Watching()
    bench.new_process()
    return stopped


def test_what_a_dead_writer_left_beside_a_follower_is_removed(make_bench: Callable[..., Bench]) -> None:
    """It died after the write, in the middle of noting it: the next run finds the token there and clears up."""
    bench = make_bench(followers=("second.json",))
    follower = bench.wiring.destination(bench.policy.destinations[1])
    real = follower.publish
    left = bench.folder / ".second.json.rotator-tmp-1-left"

    def die(*given: Any, **named: Any) -> Any:
        real(*given, **named)
        left.write_text("a token", encoding="utf-8")
        raise Killed

    follower.publish = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        bench.rotate()
    bench.new_process()
    assert run(bench).rotations[-1].state is State.COMPLETED
    assert not left.exists()
