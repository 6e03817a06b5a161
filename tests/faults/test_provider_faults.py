"""The provider and the network before it go wrong, at every form and phase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.world import PHASES, check_afterwards, check_while_it_lasts, history_at, strike

ANSWERS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "5xx": [("error-before", {"status": 500}), ("error-after", {"status": 502, "page": True})],
    "time-out": [("lost-answer", {"hang": 20}), ("dropped", {"hang": 20})],
    "reset": [("lost-answer", {}), ("dropped", {})],
    "half answer": [("truncated", {})],
    "slow answer": [("answer-latency", {"seconds": 5})],
    "answer over the size limit": [("oversized", {"size": 4 * 1024 * 1024})],
    "wrong content type": [("wrong-content-type", {})],
}
"""What may become of a single call."""

MINTS: dict[str, dict[str, dict[str, Any]]] = {
    "late execution of a timed-out mint": {"late": {"seconds": 2.0}},
    "propagation of a new token delayed by 60 s": {"slow-new-token": {"seconds": 60}},
    "propagation of a dead token delayed by 60 s": {"slow-dead-token": {"seconds": 60}},
    "token_generated_at lags": {"lost-answer": {}, "read-lag": {"seconds": 60}},
}
"""What may become of a mint, and of how the world learns of it; several at once."""

CUT = "network cut between us and the provider"
PLACES: dict[str, tuple[tuple[str, int], ...]] = {
    "rotate": tuple(PHASES),
    "project": (("in-place", 0), ("standby", 0), ("bridge", 1)),
    "ping": (("in-place", 0), ("standby", 0), ("bridge", 1)),
    "send": (("standby", 0),),  # the others verify by ping
}
"""Where the calls of a name go wrong: mints everywhere, reads where they matter."""


def single() -> Iterator[Any]:
    """One mint that goes wrong, and every call of a name until it is over."""
    for name, kinds in ANSWERS.items():
        for kind, parameters in kinds:
            for call, places in PLACES.items():
                for form, phase in places:
                    often = 40 if call != "rotate" or (form, phase) in PLACES["project"] else 1
                    for times in sorted({1, often}) if call == "rotate" else (often,):
                        said = f"{name}: {kind} of {call} x {times}: {form} {phase}"
                        yield pytest.param(name, call, kind, parameters, times, form, phase, id=said)


CASES = {*ANSWERS, *MINTS, CUT, "token_generated_at of one-second precision"}


@pytest.mark.one_in(4, 8)
@pytest.mark.parametrize(("name", "call", "kind", "parameters", "times", "form", "phase"), list(single()))
def test_calls_that_go_wrong(
    name: str, call: str, kind: str, parameters: dict[str, Any], times: int, form: str, phase: int
) -> None:
    """One call, or all of one name until it is over: nobody is cut off unsaid, and afterwards all is well."""
    assert name in CASES
    with history_at(form, phase) as history:
        history.bench.simulator.faults.add(call, kind, times=times, **parameters)
        strike(history, phase)
        check_while_it_lasts(history)
        check_afterwards(history)


@pytest.mark.one_in(2, 4)
@pytest.mark.parametrize("name", MINTS)
@pytest.mark.parametrize(("form", "phase"), PHASES)
def test_mints_of_which_the_world_learns_late(name: str, form: str, phase: int) -> None:
    """Late execution, late life, late death, late metadata: each is waited for or found, and ends well."""
    with history_at(form, phase) as history:
        for kind, parameters in MINTS[name].items():
            history.bench.simulator.faults.add("rotate", kind, **parameters)
        strike(history, phase)
        check_while_it_lasts(history)
        check_afterwards(history)


@pytest.mark.one_in(4, 4)
@pytest.mark.parametrize("kind", ["dropped", "lost-answer"])
@pytest.mark.parametrize("calls", range(0, 15, 3))
@pytest.mark.parametrize(("form", "phase"), PHASES)
def test_cut_off_from_the_provider_after_some_calls(form: str, phase: int, calls: int, kind: str) -> None:
    """From some call on nothing gets through, either way or only the answers: wherever that strikes, all ends well."""
    with history_at(form, phase) as history:
        history.bench.simulator.faults.add("*", kind, times=None, skip=calls)
        strike(history, phase)
        check_while_it_lasts(history)
        check_afterwards(history)


@pytest.mark.parametrize("form", ["in-place", "two-places", "bridge"])
def test_two_mints_within_one_second_look_like_one(form: str) -> None:
    """The provider's times have whole seconds: a lost mint and its successor differ by what answers, not by time."""
    with history_at(form, 0) as history:
        bench = history.bench
        history.meddled = True
        present = bench.simulator.regenerate(bench.project)  # in the very second in which ours comes
        for path in history.places():
            bench.write_secret(path, present)
        bench.simulator.faults.add("rotate", "lost-answer")
        strike(history, 0)
        check_while_it_lasts(history)
        check_afterwards(history)
