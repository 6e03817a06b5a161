"""`run` over policies: what is due by now, what somebody else changed, what has lost its policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rotator.model import State, Trigger
from rotator.operations import rotate as operation
from rotator.operations.reconcile import reconcile
from rotator.operations.status import statuses
from rotator.policies.cron import next_after
from tests.engine.bench import Bench
from tests.engine.test_resumption import (
    die_at_the_mint,
    fail_verification,
    rotate_and_die,
    run,
)
from tests.engine.typing_commands import reconciled

DAY = 86_400.0


def test_policy_that_another_process_rotated_meanwhile_is_not_rotated_again(bench: Bench) -> None:
    """Two cron jobs find the policy due; the slower one gets the lease when the first has finished."""
    bench.clock.advance(31 * DAY)
    slower, faster = bench.runner, bench.wiring.provider
    real = faster.project
    raced: list[bool] = []

    def project(project_id: str) -> object:
        facts = real(project_id)
        if not raced:
            raced.append(True)
            assert bench.runner.rotate(bench.policy, Trigger.SCHEDULE, "due")[-1].state is State.COMPLETED
        return facts

    faster.project = project  # type: ignore[method-assign, assignment]
    outcome = operation.run(slower, bench.wiring.ports, (bench.policy,), next_after, bench.stop)
    assert bench.mints == 1
    assert outcome.exit_code == 0
    assert "passed over" in " ".join(outcome.notes)


def test_dead_token_is_noticed_though_nothing_is_due(bench: Bench) -> None:
    """A token regenerated in the dashboard makes the policy young again, and readers hold a dead one: alarm."""
    assert bench.rotate().state is State.COMPLETED
    assert run(bench).exit_code == 0
    bench.clock.advance(DAY)
    regenerated = bench.simulator.regenerate(bench.project)
    outcome = run(bench)
    assert outcome.exit_code == 4
    assert bench.attention == {"token-dead"}
    assert bench.mints == 2  # ours and the dashboard's
    again = run(bench)
    assert again.exit_code == 4
    assert again.rotations == ()
    # A person puts the dashboard's token into the store: nobody is cut off, and it is not ours until somebody says so.
    bench.write_secret(bench.secret_file, regenerated)
    assert run(bench).exit_code == 4
    assert bench.attention == {"out-of-band"}
    assert reconciled(bench) == 0
    assert run(bench).exit_code == 0
    assert bench.attention == set()
    assert bench.stored() == regenerated


def test_dead_token_is_repaired_when_the_policy_says_so(make_bench: Callable[..., Bench]) -> None:
    """`on_out_of_band: rotate`: the same run issues a new token, due or not."""
    bench = make_bench(extra={"on_out_of_band": "rotate"})
    bench.rotate()
    bench.clock.advance(DAY)
    bench.simulator.regenerate(bench.project)
    outcome = run(bench)
    assert outcome.exit_code == 0
    assert [r.trigger for r in outcome.rotations] == [Trigger.SCHEDULE]
    bench.assert_served()


def test_journal_made_new_finds_a_dead_token(bench: Bench) -> None:
    """With the journal went the intent: the dead token is noticed at the first run, and told."""
    die_at_the_mint(bench, executed=True)
    rotate_and_die(bench)
    bench.wiring.close()
    state = bench.settings.audit_log.parent
    for path in state.iterdir():
        path.unlink()
    bench.new_process()
    assert run(bench).exit_code == 4
    assert bench.attention == {"token-dead"}
    assert bench.rotate_calls == 0 or bench.mints == 1


def test_journal_made_new_over_a_living_token_changes_nothing(bench: Bench) -> None:
    """A lost journal makes nothing due that was not."""
    bench.rotate()
    bench.wiring.close()
    for path in bench.settings.audit_log.parent.iterdir():
        path.unlink()
    bench.new_process()
    outcome = run(bench)
    assert (outcome.exit_code, outcome.rotations) == (0, ())
    assert bench.mints == 1


def test_somebody_elses_mint_after_a_refused_call_is_not_taken_for_ours(bench: Bench) -> None:
    """A 429 was certainly not executed: who minted after us was somebody else, and is not minted over."""
    bench.simulator.faults.add("rotate", "too-many", retry_after=1)
    bench.let_somebody_else_mint_next()
    rotation = bench.rotate()
    assert rotation.state is State.NEEDS_ATTENTION
    assert "out-of-band" in bench.attention
    assert bench.rotate_calls == 2


def test_somebody_elses_mint_after_a_lost_answer_is_not_taken_for_ours(bench: Bench) -> None:
    """The lost call was seen to have been executed; it cannot be executed once more."""
    bench.simulator.faults.add("rotate", "lost-answer")
    bench.let_somebody_else_mint_next()
    rotation = bench.rotate()
    assert "out-of-band" in bench.attention
    assert rotation.state is State.NEEDS_ATTENTION
    assert bench.rotate_calls == 2


def test_token_killed_late_is_not_kept_while_it_still_answers(bench: Bench) -> None:
    """A late call killed the published token, whose death spreads slowly: it must not be found and kept."""
    seconds = bench.timings.call + bench.timings.settle + bench.timings.read_gap + 30
    bench.simulator.faults.add("rotate", "late", seconds=seconds)
    bench.simulator.faults.add("rotate", "slow-dead-token", seconds=50)
    verifier = bench.wiring.verifier(bench.policy.verify[0])
    real = verifier.verify

    def verify(*args: Any, **options: Any) -> Any:
        if bench.mints == 1:
            bench.clock.advance(40)
        return real(*args, **options)

    verifier.verify = verify  # type: ignore[method-assign]
    rotation = bench.rotate()
    bench.clock.advance(200)
    assert rotation.state is State.COMPLETED
    assert rotation.old_token_dead is True
    bench.assert_served()


def test_orphan_past_its_mint_is_shown_until_its_policy_is_back(bench: Bench) -> None:
    """Only a person may finish it: exit 4, seen in `status`; with the policy back `run` finishes it."""
    die_at_the_mint(bench, executed=True)
    left = rotate_and_die(bench)
    journal = bench.wiring.journal
    outcome = operation.run(bench.runner, bench.wiring.ports, (), next_after, bench.stop)
    assert outcome.exit_code == 4
    assert bench.attention == {"orphan"}
    (shown,) = statuses(journal, bench.clock, (), next_after)
    assert (shown.name, shown.state) == ("billing", "needs-attention")
    assert shown.rotation is not None
    assert shown.rotation.id == left.id
    assert run(bench).exit_code == 0
    assert bench.attention == set()
    bench.assert_served()


def test_status_keeps_the_last_measured_outage(bench: Bench) -> None:
    """A refused attempt afterwards measured nothing and does not hide what was measured."""
    rotation = bench.rotate()
    bench.simulator.faults.add("project", "status", status=401, times=None)
    assert bench.rotate().exit_code == 2
    (shown,) = statuses(bench.wiring.journal, bench.clock, (bench.policy,), next_after)
    assert shown.last_outage == rotation.outage
    assert shown.last_outcome == "refused"


def test_reconcile_repairs_readers_that_hold_a_dead_token(bench: Bench) -> None:
    """An open rotation whose published token died is not resumed in vain: the next thing is a new token."""
    fail_verification(bench)
    bench.simulator.regenerate(bench.project)
    assert reconcile(bench.wiring.ports, bench.policy).action == "rotate"


@pytest.mark.parametrize("retry_after", [3600])
def test_a_wait_longer_than_the_budget_is_not_sat_through(bench: Bench, retry_after: int) -> None:
    """The provider asks for an hour: exit 6 at once, safe to repeat, and the lease is free again."""
    bench.simulator.faults.add("rotate", "too-many", retry_after=retry_after, times=None)
    before = bench.clock.boot()
    rotation = bench.rotate()
    assert rotation.exit_code == 6
    assert bench.clock.boot() - before < bench.timings.publish_budget
    assert not rotation.unfinished
