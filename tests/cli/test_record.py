"""`history`, `hold`, `reconcile` and the audit commands."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from tests.cli.workshop import LONG_NAME, Ran, Workshop

Rotator = Callable[..., Ran]


def test_history_is_newest_first_and_limited(rotator: Rotator) -> None:
    """Of one policy or of all, so many as asked for; a cut list says so."""
    first = rotator("rotate", "newsletter", "--yes").rotations[0]["id"]
    second = rotator("rotate", "billing", "--yes").rotations[0]["id"]
    third = rotator("rotate", "newsletter", "--yes").rotations[0]["id"]
    assert [one["id"] for one in rotator("history").rotations] == [third, second, first]
    assert [one["id"] for one in rotator("history", "newsletter").rotations] == [third, first]
    cut = rotator("history", "--limit", "2")
    assert [one["id"] for one in cut.rotations] == [third, second]
    assert "The newest 2 are shown" in cut.err
    assert rotator("history", "--limit", "4").err == ""


def test_history_of_one_rotation(rotator: Rotator) -> None:
    """`--rotation` prints it with every step; an unknown id, or one of another policy, is exit 2."""
    made = rotator("rotate", "newsletter", "--yes").rotations[0]
    names = ["preflight", "mint+publish", "verify", "prove-dead", "close"]
    shown = rotator("history", "--rotation", made["id"])
    assert [step["name"] for step in shown.rotations[0]["steps"]] == names
    table = rotator("history", "--rotation", made["id"], "-o", "table").out
    assert [line.split()[0] for line in table.splitlines()[-5:]] == names
    for arguments in (("--rotation", "nope"), ("billing", "--rotation", made["id"])):
        ran = rotator("history", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert "There is no rotation" in ran.err


def test_history_outlives_its_policy(rotator: Rotator, workshop: Workshop) -> None:
    """Rotations of a policy that is gone, or beside broken files, are still shown."""
    rotator("rotate", "newsletter", "--yes")
    (workshop.policies / "mail.yaml").write_text("policies: nonsense\n", encoding="utf-8")
    assert len(rotator("history", "newsletter").rotations) == 1
    ran = rotator("history", "newsleter")
    assert ran.code == 2
    assert "did you mean newsletter?" in ran.err
    assert "`rotator validate` says why" in ran.err


def test_hold_and_release(rotator: Rotator) -> None:
    """Both confirm what is so afterwards, also when it was so before."""
    assert rotator("release", "billing", "-o", "table").out == "billing was not held.\n"
    assert rotator("hold", "billing", "-o", "table").out == "billing is held.\n"
    assert rotator("status", "billing").json["policies"][0]["state"] == "held"
    assert rotator("hold", "billing").json == {"policy": "billing", "held": True}
    assert rotator("release", "billing", "-o", "table").out == "billing is released.\n"
    assert rotator("release", "billing").json == {"policy": "billing", "held": False}


def test_run_passes_over_what_is_held(rotator: Rotator, workshop: Workshop) -> None:
    """Said on standard error, exit 0."""
    rotator("hold", "billing")
    ran = rotator("run")
    assert (ran.code, ran.rotations) == (0, [])
    assert "billing: passed over: held by" in ran.err


def test_reconcile_with_nothing_to_do(rotator: Rotator) -> None:
    """All is well: facts, no action, exit 0."""
    rotator("rotate", "newsletter", "--yes")
    ran = rotator("reconcile", "newsletter")
    assert ran.code == 0
    assert ran.json["next"]["action"] == "none"
    assert "rotations" not in ran.json


def test_reconcile_shows_and_waits_for_a_yes(rotator: Rotator, workshop: Workshop) -> None:
    """Something is to be done and nobody can be asked: it is shown, exit 4, nothing is changed."""
    workshop.simulator.revoke(workshop.tokens[2])
    ran = rotator("reconcile", "newsletter")
    assert ran.code == 4
    assert ran.json["next"] == {
        "action": "rotate",
        "why": "readers hold a dead token; a new one repairs that",
    }
    assert "`--yes` does it" in ran.err
    assert workshop.simulator.mints(workshop.projects[2]) == []
    table = rotator("reconcile", "newsletter", "-o", "table")
    assert "  next  rotate: readers hold a dead token" in table.out
    done = rotator("reconcile", "newsletter", "--yes")
    assert done.code == 0
    assert [one["state"] for one in done.rotations] == ["completed"]
    assert len(workshop.simulator.mints(workshop.projects[2])) == 1


@pytest.mark.parametrize(("answer", "code", "mints"), [("y\n", 0, 1), ("n\n", 4, 0)])
def test_reconcile_asks_on_a_terminal(workshop: Workshop, answer: str, code: int, mints: int) -> None:
    """The findings first, then a question that names the policy and the project."""
    workshop.simulator.revoke(workshop.tokens[2])
    ran = workshop.on_terminal("reconcile", "newsletter", answers=[answer], NO_COLOR="1")
    assert ran.code == code
    question = f"Rotate newsletter now? The old token of project {workshop.projects[2]} dies at once. [y/N]"
    assert question in ran.out
    assert ran.out.index("readers hold a dead token") < ran.out.index(question)
    assert len(workshop.simulator.mints(workshop.projects[2])) == mints


def test_reconcile_of_a_policy_that_is_gone(rotator: Rotator, workshop: Workshop) -> None:
    """Its unfinished rotation remembers the policy, so the advice that `run` gives can be followed."""
    # The first one comes before those words.
    workshop.simulator.faults.add("ping", "latency", seconds=4, skip=1)
    begun = workshop.interrupted(
        "rotate", "newsletter", "--yes", at="takes a write", signals=(signal.SIGTERM,)
    )
    text = (workshop.policies / "mail.yaml").read_text(encoding="utf-8")
    (workshop.policies / "mail.yaml").write_text(text.partition("  - name: newsletter")[0], encoding="utf-8")
    orphan = rotator("run")
    assert orphan.code == 4
    assert "`rotator reconcile newsletter`" in orphan.err
    ran = rotator("reconcile", "newsletter", "--yes")
    assert "is in no policy file any more" in ran.err
    assert [(one["id"], one["state"]) for one in ran.rotations] == [(begun.rotations[0]["id"], "completed")]


def test_audit_verify(rotator: Rotator, workshop: Workshop) -> None:
    """A whole chain is exit 0 and anchored; a changed line is exit 4 and named."""
    rotator("rotate", "newsletter", "--yes")
    good = rotator("audit", "verify")
    assert good.code == 0
    assert (good.json["ok"], good.json["anchored"], good.json["problem"]) == (True, True, None)
    assert good.json["head"]["seq"] == good.json["events"]
    log = workshop.folder / ".rotator/audit.jsonl"
    log.write_text(log.read_text(encoding="utf-8").replace("newsletter", "newsletteR", 1), encoding="utf-8")
    bad = rotator("audit", "verify")
    assert (bad.code, bad.json["ok"]) == (4, False)
    assert bad.json["problem"].startswith("line ")
    assert "problem" in rotator("audit", "verify", "-o", "table").out


def test_audit_verify_with_another_key(rotator: Rotator, workshop: Workshop) -> None:
    """A wrong key is a wrong setting, not a broken chain."""
    rotator("rotate", "newsletter", "--yes")
    ran = rotator("audit", "verify", ROTATOR_AUDIT_KEY="another-key-of-32-characters-or-so")
    assert (ran.code, ran.out) == (2, "")
    assert "is not the key that the journal" in ran.err


def test_audit_search_knows_our_tokens(rotator: Rotator, workshop: Workshop) -> None:
    """Told by a pipe: the dead token, the living one, and one that never was ours (exit 1)."""
    old = workshop.tokens[2]
    rotator("rotate", "newsletter", "--yes")
    new = (workshop.folder / "secrets/newsletter").read_text(encoding="utf-8")
    found = rotator("audit", "search", stdin=f"{old.reveal()}\n")
    assert found.code == 0
    assert (found.json["known"], found.json["policy"]) == (True, "newsletter")
    assert found.json["project"] == workshop.projects[2]
    assert found.json["first_seen"] <= found.json["dead_since"]
    assert found.json["events"]
    alive = rotator("audit", "search", stdin=new).json
    assert (alive["known"], alive["dead_since"]) == (True, None)
    stranger = rotator("audit", "search", stdin="lm_" + "D4" * 16)
    assert (stranger.code, stranger.json["known"], stranger.json["events"]) == (1, False, [])
    for ran in (found, stranger):
        assert old.reveal() not in ran.out + ran.err
    assert "newsletter" in rotator("audit", "search", "-o", "table", stdin=new).out
    nothing = rotator("audit", "search", stdin=" \n")
    assert (nothing.code, nothing.out) == (2, "")


def test_audit_search_on_a_terminal_shows_no_token(workshop: Workshop) -> None:
    """What is typed at the question is not echoed."""
    workshop.process("rotate", "newsletter", "--yes")
    token = workshop.tokens[2].reveal()
    ran = workshop.on_terminal("audit", "search", answers=[f"{token}\n"], NO_COLOR="1")
    assert ran.code == 0
    assert "Token (it is not shown): " in ran.out
    assert token not in ran.out
    assert "policy      newsletter" in ran.out


def test_ctrl_c_while_a_token_is_typed(workshop: Workshop) -> None:
    """130, on a line of its own."""
    workshop.process("rotate", "newsletter", "--yes")
    ran = workshop.on_terminal("audit", "search", answers=["\x03"])
    assert (ran.code, ran.out) == (130, "Token (it is not shown): \n")


def test_audit_tail(rotator: Rotator) -> None:
    """The last events as JSON, or one line each."""
    rotator("rotate", "newsletter", "--yes")
    events = rotator("audit", "tail", "-n", "3").json["events"]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert len(events) == 3
    lines = rotator("audit", "tail", "-n", "2", "-o", "table").out.splitlines()
    assert len(lines) == 2
    at, event, policy, rest = lines[-1].split("  ", 3)
    assert (at, event, policy) == (events[-1]["at"], events[-1]["event"], "newsletter")
    assert json.loads(rest.partition("  ")[2]) == events[-1]["data"]
    assert len(rotator("audit", "tail").json["events"]) > 3


def test_the_schema_accepts_the_policies(rotator: Rotator) -> None:
    """`schema` prints a JSON Schema whatever `-o` says."""
    shown = rotator("schema", "-o", "table")
    assert shown.json["properties"]["policies"]
    assert LONG_NAME not in shown.out
