"""A signal stops work at the next safe place, and what was begun can be taken up."""

from __future__ import annotations

import signal
import time

import pytest

from tests.cli.workshop import Workshop, ended


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", [("rotate", "newsletter", "--yes"), ("reconcile", "newsletter", "--yes")])
def test_before_the_mint_it_stops_and_can_be_taken_up(
    workshop: Workshop, verb: tuple[str, ...], number: int, code: int
) -> None:
    """In preflight: nothing is minted, the rotation is told as running, and `run` completes it."""
    looks = verb[0] == "reconcile"  # which pings before it rotates
    if looks:
        workshop.simulator.revoke(workshop.tokens[2])
    workshop.simulator.faults.add("ping", "latency", seconds=4, skip=int(looks))
    # Right before the ping that takes its time.
    ran = workshop.interrupted(*verb, at="reading the project", signals=(number,))
    assert ran.code == code
    assert [one["state"] for one in ran.rotations] == ["running"]
    assert workshop.simulator.mints(workshop.projects[2]) == []
    assert "Stopping after the step at hand" in ran.err
    assert "Traceback" not in ran.err
    taken_up = workshop.process("run")
    assert [(one["id"], one["state"]) for one in taken_up.rotations] == [
        (ran.rotations[0]["id"], "completed")
    ]


def test_a_token_in_hand_is_stored_first(workshop: Workshop) -> None:
    """During the mint: the token is still written, then it stops; nobody is left with a dead token."""
    workshop.simulator.faults.add("rotate", "answer-latency", seconds=4)
    ran = workshop.interrupted("rotate", "newsletter", "--yes", at=": minting", signals=(signal.SIGTERM,))
    assert ran.code == 143
    (rotation,) = ran.rotations
    assert rotation["destinations"][0]["state"] == "current"
    assert workshop.process("verify", "newsletter").code == 0


def test_a_second_signal_hurries(workshop: Workshop) -> None:
    """What is still being tried is given up, and both signals are answered with a line."""
    workshop.simulator.faults.add("rotate", "answer-latency", seconds=4)
    child = workshop.interrupted(
        "rotate",
        "newsletter",
        "--yes",
        at=": minting",
        signals=(signal.SIGINT, signal.SIGTERM),
        gap=0.3,
    )
    assert child.code == 130
    assert "Stopping after the step at hand" in child.err
    assert "Giving up what is still being tried." in child.err


def test_run_tells_what_it_took_up_before_the_signal(workshop: Workshop) -> None:
    """A signal while it asks what is due: exit code of the signal, and rotations as JSON all the same."""
    workshop.simulator.faults.add("project", "latency", seconds=4)
    child = workshop.start("run")
    while workshop.simulator.faults.waiting():
        time.sleep(0.02)
    child.signal(signal.SIGTERM)
    ran = ended(child)
    assert ran.code == 143
    assert ran.rotations == []
    assert "Stopped by a signal" in ran.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_looking_stops_at_once(workshop: Workshop, number: int, code: int) -> None:
    """A command that only looks has nothing to finish."""
    workshop.simulator.faults.add("project", "latency", seconds=60)
    child = workshop.start("plan", "billing")
    while workshop.simulator.faults.waiting():
        time.sleep(0.02)
    began = time.monotonic()
    child.signal(number)
    shown = ended(child)
    assert (shown.code, shown.out) == (code, "")
    assert "Traceback" not in shown.err
    assert time.monotonic() - began < 5
