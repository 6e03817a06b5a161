"""A rehearsal is the real thing, twice, where nobody depends on it; the policy's own is not touched by a byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rotator.engine.states import steps_of
from rotator.model import State, Trigger
from rotator.operations.rehearsals import mints_of
from rotator.rehearsal import rehearsal_of
from tests.engine.bench import Bench
from tests.operations.rehearsing import Untouched, of_rehearsal, past, rehearsable, rehearse, stored

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
