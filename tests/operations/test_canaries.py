"""Canaries beside real rotations: what they saw stands in the record, and no trouble of theirs does harm."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rotator.clock import SystemClock
from rotator.errors import AuditUnavailable, Busy, InvalidInput
from rotator.interrupt import Stop
from rotator.model import CanaryCount, State, Trigger
from rotator.operations.canaries import Canaries
from rotator.operations.outcome import Outcome
from rotator.operations.rotate import rotate
from rotator.views import rotation_view
from tests.engine.bench import Bench

PING_AND_SEND = [{"type": "ping"}, {"type": "send", "from": "rotation@example.com"}]
RATE = 50.0


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Any]:
    """On the machine's clock, because a canary flies in a thread of its own."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(tmp_path, SystemClock(), lease=15.0, **{"verify": PING_AND_SEND, **options}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bench in made:
        bench.close()


def as_pair(bench: Bench) -> None:
    """Two projects of one domain, alternated."""
    bench.simulator.add_domain(projects=[bench.project, bench.other_project])
    bench.document |= {
        "strategy": "create-before-revoke",
        "standby": {"project": bench.other_project},
        "drain": {"min": "1h", "quiet": "1h", "max": "1d"},
    }
    bench.policy = bench.load_policy()


def watched(bench: Bench, canaries: Canaries) -> Outcome:
    with canaries:
        return rotate(bench.runner, [bench.policy], Trigger.MANUAL, "test")


def canaries_of(bench: Bench, stop: Stop | None = None) -> Canaries:
    return Canaries(bench.wiring.ports, [bench.policy], RATE, stop or Stop())


def sends(bench: Bench, key: str = "rotator-canary-") -> int:
    found = [*bench.simulator.sends(bench.project), *bench.simulator.sends(bench.other_project)]
    return sum(1 for message in found if (message.idempotency_key or "").startswith(key))


def test_no_send_fails_while_two_projects_change_places(make_bench: Any) -> None:
    """Before, while and after the promote every send is accepted; record, JSON and audit tell how many."""
    bench = make_bench()
    as_pair(bench)
    canaries = canaries_of(bench)
    outcome = watched(bench, canaries)
    (noted,) = canaries.noted(bench.runner, outcome.rotations)
    assert noted.state is State.DRAINING, noted.message
    count = noted.canary
    assert count is not None
    assert (count.failures, count.attempts) == (0, sends(bench))
    assert count.attempts > 20
    assert 0 < count.longest_gap < 5
    by_side = [len(bench.simulator.sends(one)) for one in (bench.project, bench.other_project)]
    assert min(by_side) > 10, "some before and some after"
    kept = bench.wiring.journal.rotation(noted.id)
    assert kept is not None
    assert kept.canary == count
    assert rotation_view(noted)["canary"] == {
        "attempts": count.attempts,
        "failures": 0,
        "longest_gap_seconds": count.longest_gap,
    }
    (told,) = [line for line in bench.audited() if line["event"] == "rotation.canary"]
    assert told["data"]["attempts"] == count.attempts
    bench.assert_audit_holds()


def test_in_place_the_canary_feels_the_outage(make_bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Old and new token do not overlap: with a store that is slow, some sends fail, and the gap is told; at
    DEBUG no token is."""
    caplog.set_level("DEBUG")
    bench = make_bench()
    destination = bench.wiring.destination(bench.policy.authoritative)
    real = destination.publish

    def slow(*arguments: Any, **options: Any) -> None:
        threading.Event().wait(0.5)
        real(*arguments, **options)

    destination.publish = slow
    canaries = canaries_of(bench)
    (noted,) = canaries.noted(bench.runner, watched(bench, canaries).rotations)
    assert noted.state is State.COMPLETED, noted.message
    assert noted.exit_code == 0
    assert noted.canary is not None
    assert 0 < noted.canary.failures < noted.canary.attempts
    assert noted.canary.longest_gap >= 0.5
    told = caplog.text + json.dumps(rotation_view(noted))
    assert "canary of billing" in told
    assert [token for token in bench.simulator.issued() if token.reveal() in told] == []


def test_canary_that_always_fails_fails_no_rotation(make_bench: Any) -> None:
    """Its sender may not send: every attempt fails, and the rotation completes."""
    bench = make_bench(verify=[{"type": "ping"}])
    canaries_of_another = Canaries(
        bench.wiring.ports, [_with_sender(bench, "who@nobody.example")], RATE, Stop()
    )
    (noted,) = canaries_of_another.noted(bench.runner, watched(bench, canaries_of_another).rotations)
    assert (noted.state, noted.exit_code) == (State.COMPLETED, 0)
    assert noted.canary is not None
    assert noted.canary.attempts == noted.canary.failures > 0


def _with_sender(bench: Bench, sender: str) -> Any:
    bench.document["verify"] = [{"type": "send", "from": sender}]
    changed = bench.load_policy()
    bench.document["verify"] = [{"type": "ping"}]
    bench.policy = bench.load_policy()
    return changed


def test_policy_without_a_sender_is_refused_in_words(make_bench: Any) -> None:
    """Nothing is sent, and the words name the policy and what to add to it; exit 2."""
    bench = make_bench(verify=[{"type": "ping"}])
    with pytest.raises(InvalidInput, match=r"no sender address for billing.*type: send, from") as caught:
        canaries_of(bench)
    assert caught.value.exit_code == 2
    assert sends(bench) == 0


def test_second_flight_adds_to_the_first(make_bench: Any) -> None:
    """One record, two flights: attempts and failures add up, the longer gap stays."""
    bench = make_bench()
    rotation = bench.rotate()
    bench.runner.note_canary(rotation, CanaryCount(10, 1, 0.7))
    bench.runner.note_canary(rotation, CanaryCount(5, 0, 0.2))
    kept = bench.wiring.journal.rotation(rotation.id)
    assert kept is not None
    assert kept.canary == CanaryCount(15, 1, 0.7)
    assert (kept.state, kept.step) == (State.COMPLETED, "")


class _Elsewhere:
    """A runner whose lease is in other hands."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def note_canary(self, *_: object) -> None:
        raise self._error


def test_count_that_cannot_be_journaled_is_told_all_the_same(
    make_bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The rotation is returned with its count, and the log says why it is not kept."""
    bench = make_bench()
    canaries = canaries_of(bench)
    outcome = watched(bench, canaries)
    for error in (Busy("Another process has it"), AuditUnavailable("The disk is full")):
        caplog.clear()
        (noted,) = canaries.noted(_Elsewhere(error), outcome.rotations)  # type: ignore[arg-type]
        assert noted.canary is not None
        assert noted.canary.attempts > 0
        assert noted.id in caplog.text
        assert error.happened in caplog.text


def test_only_the_last_rotation_of_a_policy_gets_the_count(make_bench: Any) -> None:
    """One that was finished on the way belongs to an earlier command."""
    bench = make_bench()
    first = bench.rotate()
    canaries = canaries_of(bench)
    outcome = watched(bench, canaries)
    noted = canaries.noted(bench.runner, [first, *outcome.rotations])
    assert noted[0] is first
    assert noted[1].canary is not None


def test_signal_is_not_kept_waiting(make_bench: Any) -> None:
    """Once somebody asked to stop there are no sends before and after for their own sake."""
    bench = make_bench()
    stop = Stop()
    stop.request(15)
    clock = SystemClock()
    began = clock.boot()
    with canaries_of(bench, stop):
        pass
    assert clock.boot() - began < 1.5
