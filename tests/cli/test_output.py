"""Standard output is data and nothing else; what is printed is scrubbed and harmless."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from rotator.audit.base import AuditEvent
from rotator.cli.output import clean, emit_json, say
from rotator.cli.session import say_unwritten
from rotator.secret import Secret
from tests.cli.workshop import PATIENCE, Ran, Workshop
from tests.conftest import FakeClock

Rotator = Callable[..., Ran]

ROTATION_KEYS = {
    "id",
    "policy",
    "project",
    "strategy",
    "trigger",
    "state",
    "started_at",
    "finished_at",
    "old_fingerprint",
    "new_fingerprint",
    "outage_seconds",
    "exposure_seconds",
    "verified",
    "old_token_dead",
    "drain",
    "canary",
    "destinations",
    "steps",
    "message",
}
STATUS_KEYS = {
    "name",
    "project",
    "active_project",
    "strategy",
    "state",
    "token_generated_at",
    "age_seconds",
    "next_due_at",
    "overdue",
    "last_outcome",
    "last_outage_seconds",
    "rotation",
    "attention",
}
PLAN_KEYS = {
    "policy",
    "due",
    "due_at",
    "reason",
    "strategy",
    "steps",
    "predicted_outage_seconds",
    "starts_at",
    "ends_at",
}


def test_json_of_every_command(workshop: Workshop) -> None:
    """Each command, as a real process at DEBUG, prints one JSON document of its documented form."""

    def ran(*arguments: str, stdin: str = "") -> Ran:
        done = workshop.process(*arguments, stdin=stdin, ROTATOR_LOG_LEVEL="debug")
        assert done.code == 0, (arguments, done.err)
        assert done.out.count("\n") == 1
        return done

    assert ran("validate").json == {"problems": []}
    plan = ran("plan").json["plan"]
    assert all(set(one) >= PLAN_KEYS for one in plan)
    assert plan[0]["steps"][1] == {"name": "mint+publish", "reversible": False}
    (rotation,) = ran("rotate", "billing", "--yes", "--reason", "test").rotations
    assert set(rotation) >= ROTATION_KEYS
    assert (rotation["state"], rotation["trigger"], rotation["reason"]) == ("completed", "manual", "test")
    assert ran("run").json == {"rotations": [], "synced": []}
    status = ran("status", "--refresh").json["policies"]
    assert len(status) == 3
    assert set(status[0]) >= STATUS_KEYS
    assert ran("history").rotations == [rotation] == ran("history", "billing", "--limit", "1").rotations
    assert ran("history", "--rotation", rotation["id"]).rotations == [rotation]
    verified = ran("verify", "billing").json
    assert verified["policy"] == "billing"
    assert [set(one) for one in verified["verified"]] == [{"type", "ok", "attempts", "detail"}]
    reconciled = ran("reconcile", "billing").json
    assert set(reconciled) == {"policy", "facts", "unknown", "next"}
    assert set(reconciled["next"]) == {"action", "why"}
    assert ran("hold", "billing").json == {"policy": "billing", "held": True}
    assert ran("release", "billing").json == {"policy": "billing", "held": False}
    assert set(ran("audit", "verify").json) == {"ok", "events", "head", "anchored", "problem"}
    found = ran("audit", "search", stdin=workshop.tokens[0].reveal()).json
    assert set(found) >= {"fingerprint", "known", "project", "policy", "first_seen", "dead_since", "events"}
    assert [set(one) for one in ran("audit", "tail", "-n", "2").json["events"]]
    assert ran("schema").json["$defs"]


def test_validate_names_file_line_and_field(rotator: Rotator, workshop: Workshop) -> None:
    """Problems as JSON have exactly four keys; as text they are `file:line: field: message`; exit 2."""
    workshop.write_policies(extra="  - {name: Bad_Name, project: x}\n")
    ran = rotator("validate")
    assert ran.code == 2
    assert {frozenset(one) for one in ran.json["problems"]} == {
        frozenset({"file", "line", "field", "message"})
    }
    text = rotator("validate", "policies/mail.yaml", "-o", "table")
    assert text.code == 2
    assert text.out.startswith("policies/mail.yaml:21: policies[3].")
    assert text.err.endswith("found.\n")


def test_broken_policies_stop_every_command_that_needs_them(rotator: Rotator, workshop: Workshop) -> None:
    """The problems are lines on standard error, exit 2, and nothing is made."""
    workshop.write_policies(extra="  - {name: Bad_Name, project: x}\n")
    for arguments in (("run",), ("status",), ("rotate", "--all", "--yes")):
        ran = rotator(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("policies/mail.yaml:21: ")
        assert "then: Nothing was done." in ran.err
    assert workshop.files() == set()


def test_warnings_of_validate_are_no_problems(rotator: Rotator, workshop: Workshop) -> None:
    """A file that everybody may read is allowed and worth a warning: exit 0."""
    text = (workshop.policies / "mail.yaml").read_text(encoding="utf-8")
    (workshop.policies / "mail.yaml").write_text(
        text.replace("../secrets/newsletter}", '../secrets/newsletter, mode: "0644"}'), encoding="utf-8"
    )
    ran = rotator("validate")
    assert (ran.code, ran.json) == (0, {"problems": []})
    assert ran.err.startswith("warning: policies/mail.yaml:")


def test_reading_makes_nothing(rotator: Rotator, workshop: Workshop) -> None:
    """Commands that only look leave no journal, no key and no audit log behind."""
    for arguments in (
        ("validate",),
        ("plan",),
        ("status",),
        ("history",),
        ("rotate", "--all", "--dry-run"),
        ("audit", "tail"),
        ("schema",),
    ):
        assert rotator(*arguments).code == 0, arguments
    assert rotator("audit", "verify").code == 2
    assert workshop.files() == set()
    assert workshop.simulator.mints(workshop.projects[0]) == []


def test_progress_is_lines_on_standard_error(rotator: Rotator) -> None:
    """Without a terminal progress is `policy: text`, one line each."""
    ran = rotator("rotate", "newsletter", "--yes")
    assert "newsletter: minting\n" in ran.err
    assert "\x1b" not in ran.err + ran.out
    assert all(
        line.startswith(("newsletter: ", "An audit key", "A new journal")) for line in ran.err.splitlines()
    )


def test_what_is_printed_is_scrubbed(capsys: pytest.CaptureFixture[str]) -> None:
    """A known secret and anything token-shaped never appear, in JSON neither as a name nor as a value."""
    known, shaped = "s3cr3t-" + "value-1", "lm_" + "B8" * 16
    Secret(known)
    say(f"{known} and {shaped}")
    emit_json({known: [shaped, {"a": f"x{known}y"}], "n": 1, "none": None})
    shown = capsys.readouterr()
    assert shown.err == "[secret] and [secret]\n"
    assert json.loads(shown.out) == {"[secret]": ["[secret]", {"a": "x[secret]y"}], "n": 1, "none": None}


def test_control_characters_are_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    """Text from outside cannot move the cursor or colour the terminal; line ends of ours stay."""
    assert clean("a\x1b[31mb\rc\x9bd\ne\tf") == "a\\x1b[31mb\\x0dc\\x9bd\ne\tf"
    say("\x1b]0;title\x07")
    assert capsys.readouterr().err == "\\x1b]0;title\\x07\n"


def test_an_unwritten_audit_event_is_one_json_line(
    capsys: pytest.CaptureFixture[str], clock: FakeClock
) -> None:
    """An event that no log took is on standard error with a prefix to look for, scrubbed."""
    token = "lm_" + "C7" * 16
    event = AuditEvent("rotation.start", "billing", "p-1", "r-1", "manual", {"detail": token})
    say_unwritten(event, clock.now())
    prefix, _, line = capsys.readouterr().err.partition(": ")
    assert prefix == "audit-event"
    assert json.loads(line) == {
        "at": "2026-11-21T12:00:00.000Z",
        "event": "rotation.start",
        "policy": "billing",
        "project": "p-1",
        "rotation": "r-1",
        "trigger": "manual",
        "data": {"detail": "[secret]"},
    }


def test_a_reader_that_goes_away_changes_nothing(workshop: Workshop) -> None:
    """A closed pipe and a full disk: no traceback, and the exit code is the work's; lost data is told."""
    for redirect in ("| true", ">/dev/full", "2>/dev/full | true"):
        script = f'"$0" -m rotator rotate newsletter --yes {redirect}; echo "${{PIPESTATUS[0]}}"'
        done = subprocess.run(
            ["bash", "-c", script, sys.executable],
            capture_output=True,
            text=True,
            cwd=workshop.folder,
            env=workshop.environment,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "0", redirect
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        lost = "Standard output cannot be written: No space left on device"
        assert (lost in done.stderr) is (redirect == ">/dev/full")
    assert len(workshop.simulator.mints(workshop.projects[2])) == 3


def test_a_terminal_without_utf8_is_no_reason_to_fail(workshop: Workshop) -> None:
    """A character that the encoding lacks is shown as its number."""
    hold = workshop.from_scratch("hold", "billing", "--reason", "caf\u00e9", PYTHONIOENCODING="ascii")
    assert "Traceback" not in hold.communicate(timeout=PATIENCE)[1]
    assert hold.returncode == 0
    rotate = workshop.from_scratch("rotate", "billing", "--yes", PYTHONIOENCODING="ascii")
    assert "(caf\\xe9)" in rotate.communicate(timeout=PATIENCE)[1]
    assert rotate.returncode == 5
