"""`rotate`: which policies, the question before it, and what it does when nobody can answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.cli.workshop import KEY, LONG_NAME, PATIENCE, Ran, Workshop

Rotator = Callable[..., Ran]


def mints(workshop: Workshop) -> list[int]:
    return [len(workshop.simulator.mints(project)) for project in workshop.projects]


def test_without_terminal_and_yes_it_refuses(rotator: Rotator, workshop: Workshop) -> None:
    """Nobody can be asked: exit 2, both ways out are named, nothing is made."""
    ran = rotator("rotate", "billing")
    assert (ran.code, ran.out) == (2, "")
    assert "This would rotate 1 policy, and nobody can be asked" in ran.err
    assert "--yes" in ran.err
    assert "--dry-run" in ran.err
    assert mints(workshop) == [0, 0, 0]
    assert workshop.files() == set()


def test_the_question_names_what_will_happen(workshop: Workshop) -> None:
    """On a terminal it names policies, projects, places, the death of the old token and the outage; no is 1."""
    ran = workshop.on_terminal("rotate", "billing", LONG_NAME, answers=["n\n"])
    assert ran.code == 1
    for text in (
        "This rotates 2 policies now:",
        workshop.projects[0],
        workshop.projects[1],
        f"file:{workshop.folder}/secrets/billing.json#{KEY}",
        "dies at once, when the new one is minted; this cannot be undone",
        "not known: no rotation of it was measured yet",
        f"  {LONG_NAME}\n",
        "Nothing was changed.",
    ):
        assert text in ran.out
    assert mints(workshop) == [0, 0, 0]
    assert workshop.files() == set()


@pytest.mark.parametrize("answer", ["\n", "x\n", "\x04", "no\n"])
def test_anything_but_yes_is_no(workshop: Workshop, answer: str) -> None:
    """Enter, other letters and the end of input leave everything as it is."""
    ran = workshop.on_terminal("rotate", "billing", answers=[answer])
    assert ran.code == 1
    assert mints(workshop) == [0, 0, 0]


def test_ctrl_c_at_the_question_stops_at_once(workshop: Workshop) -> None:
    """Nothing was begun, so nothing has to be finished: 130."""
    ran = workshop.on_terminal("rotate", "billing", answers=["\x03"])
    assert ran.code == 130
    assert ran.out.endswith("Rotate now? [y/N] ^C\n")
    assert "Traceback" not in ran.out
    assert mints(workshop) == [0, 0, 0]


def test_yes_on_the_terminal_rotates(workshop: Workshop) -> None:
    """The answer y rotates; the result is a card, and the next question knows the outage."""
    ran = workshop.on_terminal("rotate", "billing", answers=["y\n"], NO_COLOR="1")
    assert ran.code == 0
    assert "billing  completed" in ran.out
    assert mints(workshop) == [1, 0, 0]
    stored = json.loads((workshop.folder / "secrets/billing.json").read_text(encoding="utf-8"))
    assert stored["other"] == "kept"
    assert stored[KEY] not in ran.out
    again = workshop.on_terminal("rotate", "billing", answers=["n\n"])
    assert " s: its only measured rotation" in again.out


def test_yes_skips_the_question(rotator: Rotator, workshop: Workshop) -> None:
    """`--yes` asks nothing and rotates what was named, in one run."""
    ran = rotator("rotate", "newsletter", "billing", "newsletter", "--yes")
    assert ran.code == 0
    assert sorted(one["policy"] for one in ran.rotations) == ["billing", "newsletter"]
    assert mints(workshop) == [1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (("--all",), {"billing", LONG_NAME, "newsletter"}),
        (("-l", "tier=prod"), {"billing", LONG_NAME}),
        (("-l", "tier=prod", "--label", "region=eu"), {LONG_NAME}),
        (("newsletter",), {"newsletter"}),
    ],
)
def test_selection(rotator: Rotator, arguments: tuple[str, ...], chosen: set[str]) -> None:
    """By name, by labels (all of them) or all."""
    ran = rotator("rotate", *arguments, "--dry-run")
    assert {one["policy"] for one in ran.json["plan"]} == chosen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "It was not said which policies to rotate"),
        (("billing", "--all"), "POLICY and --all were given together"),
        (("billing", "-l", "tier=prod"), "POLICY and -l were given together"),
        (("-l", "tier=prod", "--all"), "-l and --all were given together"),
        (("-l", "tier"), "-l tier is not a label"),
        (("-l", "tier=none"), "Labels there are: region=eu, tier=prod"),
    ],
)
def test_selections_that_say_nothing_clear(rotator: Rotator, arguments: tuple[str, ...], said: str) -> None:
    """No selection, two kinds of it, or one that matches nothing: exit 2."""
    ran = rotator("rotate", *arguments, "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_selection_and_reason_from_the_environment(rotator: Rotator, workshop: Workshop) -> None:
    """A Job without arguments: the variables are taken, and arguments win over them."""
    job = {"ROTATOR_SELECT": "newsletter, billing", "ROTATOR_REASON": "INC-4711"}
    ran = rotator("rotate", "--yes", **job)
    assert ran.code == 0
    assert {(one["policy"], one["reason"]) for one in ran.rotations} == {
        ("newsletter", "INC-4711"),
        ("billing", "INC-4711"),
    }
    named = rotator("rotate", LONG_NAME, "--reason", "mine", "--yes", **job)
    assert [(one["policy"], one["reason"]) for one in named.rotations] == [(LONG_NAME, "mine")]
    everything = rotator("rotate", "--all", "--dry-run", **job)
    assert len(everything.json["plan"]) == 3
    assert mints(workshop) == [1, 1, 1]


def test_dry_run_shows_the_plan(rotator: Rotator) -> None:
    """`--dry-run` needs no answer, starts nothing, and says when each would start now."""
    ran = rotator("rotate", "newsletter", "--dry-run")
    assert ran.code == 0
    (one,) = ran.json["plan"]
    assert (one["policy"], one["due"], one["due_at"]) == ("newsletter", False, None)
    assert one["starts_at"] is not None
    assert one["ends_at"] > one["starts_at"]
    assert rotator("plan", "newsletter").json["plan"][0]["starts_at"] is None


def test_no_wait_is_accepted(rotator: Rotator) -> None:
    """An in-place rotation has no drain to wait for."""
    assert rotator("rotate", "newsletter", "--yes", "--no-wait").code == 0


@pytest.mark.parametrize(
    ("verb", "answers"),
    [(("status",), ()), (("rotate", "billing"), ("n\n",)), (("rotate", "billing"), ("\x03",))],
    ids=["table", "question", "Ctrl-C"],
)
def test_a_new_process_shows_the_same(
    workshop: Workshop, verb: tuple[str, ...], answers: tuple[str, ...]
) -> None:
    """What these tests fork shows on a terminal, to the letter, what `python -m rotator` does; so does a pipe."""
    forked = workshop.on_terminal(*verb, answers=answers)
    assert "billing" in forked.out
    assert workshop.on_terminal_from_scratch(*verb, answers=answers) == forked
    forked = workshop.process(*verb)
    new = workshop.from_scratch(*verb)
    out, err = new.communicate(timeout=PATIENCE)
    assert Ran(new.returncode, out, err) == forked
