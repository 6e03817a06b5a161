"""`rotate --dry-run` shows what `plan` shows, as if asked for now, and touches nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.workshop import LONG_NAME, Ran, Workshop

Rotator = Callable[..., Ran]


def everything(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Each file and folder: its bytes, its mode, and when it was last changed."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mode,
            path.stat().st_mtime_ns if path.is_file() else 0,
        )
        for path in sorted(folder.rglob("*"))
    }


def provider(workshop: Workshop) -> list[object]:
    """What there is at the provider: tokens and who lives, mints, sends, and each project's metadata."""
    simulator = workshop.simulator
    world = simulator._world
    return [
        [(token.reveal(), simulator.is_alive(token)) for token in simulator.issued()],
        [simulator.mints(project) for project in workshop.projects],
        [simulator.sends(project) for project in workshop.projects],
        [(p.id, p.updated_at, p.generated, p.original.last_used_at) for p in world.projects.values()],
    ]


@pytest.mark.parametrize("output", ["json", "table"])
@pytest.mark.parametrize("state", ["new", "used", "unfinished", "held"])
def test_a_dry_run_touches_nothing(workshop: Workshop, state: str, output: str) -> None:
    """Journal, audit log, key, stores and provider are the same byte for byte; only projects are read."""
    if state != "new":
        assert workshop.process("rotate", "billing", LONG_NAME, "--yes").code == 0
    if state == "held":
        assert workshop.process("hold", "billing").code == 0
    if state == "unfinished":
        stopped = workshop.interrupted("rotate", "newsletter", "--yes", at="minting", signals=(9,))
        assert stopped.code == -9
        # After a kill SQLite folds its own log into the journal as soon as anybody reads it.
        assert workshop.process("history").code == 0
    files, world = everything(workshop.folder), provider(workshop)
    seen = workshop.simulator.events[-1].seq if workshop.simulator.events else 0
    for _ in range(2):
        ran = workshop.process("rotate", "--all", "--dry-run", "-o", output)
        assert ran.code == 0, ran.err
        assert LONG_NAME in ran.out
    assert everything(workshop.folder) == files
    assert provider(workshop) == world
    assert {event.call for event in workshop.simulator.events_since(seen)} == {"project"}


def test_a_dry_run_shows_what_plan_shows(rotator: Rotator) -> None:
    """The same entries with the same words; only that each starts now, and that it was asked for."""
    planned = {one["policy"]: one for one in rotator("plan").json["plan"]}
    dry = rotator("rotate", "--all", "--dry-run").json
    assert set(dry) == {"plan", "summary"}
    assert (dry["summary"]["count"], dry["summary"]["mints"]) == (3, 3)
    for one in dry["plan"]:
        plan = planned[one["policy"]]
        same = set(one) - {"explanation", "starts_at", "ends_at"}
        assert {key: one[key] for key in same} == {key: plan[key] for key in same}
        assert (
            one["explanation"].lower() == f"asked for now, whatever the date; {plan['explanation']}".lower()
        )
        assert one["starts_at"] is not None


def test_a_dry_run_in_words_ends_with_the_summary(rotator: Rotator) -> None:
    """Several at once, as the rate limit lets them start."""
    shown = " ".join(rotator("rotate", "--all", "--dry-run", "-o", "table").out.split())
    assert "3 rotations at 3 mints in any 60 s: " in shown


def test_the_question_tells_how_long_several_take(workshop: Workshop) -> None:
    """Before several are rotated it says when the last would start and end; nothing is made by asking."""
    before = everything(workshop.folder)
    asked = workshop.on_terminal("rotate", "--all", answers=["n\n"])
    assert asked.code == 1
    assert "3 rotations at 3 mints in any 60 s: " in " ".join(asked.out.split())
    assert everything(workshop.folder) == before
