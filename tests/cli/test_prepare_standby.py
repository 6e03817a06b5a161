"""What a person and a program see of `rotator doctor --prepare-standby`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.workshop import Ran, Workshop, ended

Rotator = Callable[..., Ran]
WRITES = {"update-project", "create-route", "update-route", "domain-projects", "rotate", "create-project"}
PREPARE = ("doctor", "--prepare-standby", "checkout")


@pytest.fixture
def standby(workshop: Workshop) -> str:
    """A policy `checkout` with a standby project that lacks the domain, a route and SMTP; its id."""
    main, token = workshop.simulator.add_project("Checkout", smtp_enabled=True)
    other, _ = workshop.simulator.add_project("Checkout B", initial_routes="transactional")
    workshop.simulator.add_domain("checkout.example", projects=[main])
    workshop.secret("standby.txt", token.reveal())
    workshop.write_policies(
        extra=f"""\
  - name: checkout
    project: {main}
    strategy: create-before-revoke
    standby: {{project: {other}}}
    destinations:
      - {{type: file, path: ../secrets/standby.txt}}
"""
    )
    return other


def written(workshop: Workshop) -> list[str]:
    return [event.call for event in workshop.simulator.events if event.call in WRITES]


def changes(shown: Ran) -> list[tuple[str, str, Any]]:
    return [(one["change"], one["subject"], one["outcome"]) for one in shown.json["changes"]]


def test_without_yes_it_is_a_plan(rotator: Rotator, workshop: Workshop, standby: str) -> None:
    """As JSON, with the words for a person; nothing is sent that changes anything, no journal is made; exit 4."""
    shown = rotator(*PREPARE)
    assert shown.code == 4
    assert list(shown.json) == ["policy", "project", "standby", "changes", "by_hand", "left", "errors"]
    assert (shown.json["policy"], shown.json["standby"]) == ("checkout", standby)
    assert changes(shown) == [
        ("create-route", "broadcast", None),
        ("setting", "smtp_enabled", None),
        ("attach-domain", "checkout.example", None),
    ]
    assert list(shown.json["changes"][0]) == ["change", "subject", "now", "wanted", "text", "outcome"]
    assert {one["blocks"] for one in shown.json["by_hand"]} == {False}
    assert (shown.json["left"], shown.json["errors"]) == (None, [])
    assert "Nothing was changed; `--yes` does it." in shown.err
    assert written(workshop) == []
    assert workshop.files() == set()


def test_yes_does_it_and_the_second_time_nothing(rotator: Rotator, workshop: Workshop, standby: str) -> None:
    """Every change done, exit 0; then nothing to do, exit 0, with and without --yes; doctor agrees."""
    shown = rotator(*PREPARE, "--yes")
    assert shown.code == 0
    assert {one[2] for one in changes(shown)} == {"done"}
    assert (shown.json["left"], shown.json["errors"]) == ([], [])
    assert "checkout: SMTP: off becomes on: done\n" in shown.err
    assert shown.err.endswith("checkout: 3 done.\n")
    assert written(workshop) == ["create-route", "update-project", "domain-projects"]
    for more in ((), ("--yes",)):
        again = rotator(*PREPARE, *more)
        assert (again.code, again.json["changes"]) == (0, [])
        assert "Nothing was changed" not in again.err
    assert len(written(workshop)) == 3
    checked = rotator("doctor", "checkout")
    assert [one["result"] for one in checked.json["checks"] if one["check"] == "standby.alike"] == ["ok"]
    trail = rotator("audit", "verify")
    assert trail.json["ok"] is True


def test_the_table(rotator: Rotator, standby: str) -> None:
    """For a person: the two projects, the changes, what is to be remembered; then what was done."""
    shown = rotator(*PREPARE, "-o", "table", "--yes", COLUMNS="200")
    assert shown.code == 0
    assert [line.split("  ")[1].strip() for line in shown.out.splitlines()[1:]] == [
        *("project", "standby", "changes", "", "", "remember", "", ""),
    ]
    assert "domain checkout.example: is attached" in shown.out
    assert "webhooks: " in shown.out
    again = rotator(*PREPARE, "-o", "table", COLUMNS="200")
    assert again.code == 0
    assert "changes   none" in again.out


def test_what_only_the_standby_has_is_said(rotator: Rotator, workshop: Workshop, standby: str) -> None:
    """What is left to a person is shown, and left at the end as well: exit 4 though all was done."""
    workshop.simulator.add_domain("extra.example", projects=[standby])
    shown = rotator(*PREPARE, "--yes", "-o", "table", COLUMNS="200")
    assert shown.code == 4
    assert "by hand   Domain extra.example is attached only to the standby project" in shown.out
    assert shown.err.count("extra.example") == 1
    assert "the projects still differ" in shown.err
    planned = rotator(*PREPARE)
    assert (planned.code, planned.json["changes"]) == (4, [])
    assert "`--yes`" not in planned.err


def test_a_failure_says_what_was_done_and_what_not(
    rotator: Rotator, workshop: Workshop, standby: str
) -> None:
    """The answer to the second change is lost: done, unclear, not tried; exit 4, and again is safe."""
    workshop.simulator.faults.add("update-project", "lost-answer")
    shown = rotator(*PREPARE, "--yes")
    assert shown.code == 4
    assert [one[2] for one in changes(shown)] == ["done", "unclear", "not-tried"]
    assert shown.json["left"] is None
    assert [one["code"] for one in shown.json["errors"]] == ["unclear"]
    assert "error: checkout: " in shown.err
    assert "Repeating the command is safe" in shown.err
    assert shown.err.endswith("checkout: 1 done, 1 unclear, 1 not tried.\n")
    assert rotator(*PREPARE, "--yes").code == 0


@pytest.mark.parametrize(
    ("form", "answer", "code", "calls"),
    [("table", "y\n", 0, 3), ("table", "\n", 4, 0), ("json", "n\n", 4, 0)],
)
def test_a_person_is_asked(
    workshop: Workshop, standby: str, form: str, answer: str, code: int, calls: int
) -> None:
    """On a terminal the plan is shown first, whatever the form, and only y does it."""
    shown = workshop.on_terminal(*PREPARE, "-o", form, answers=[answer], columns=160, NO_COLOR="1")
    assert shown.code == code, shown.out
    before, question, _ = shown.out.partition("Make 3 changes to the standby project of checkout? [y/N] ")
    assert question
    assert "SMTP: off becomes on" in before
    assert len(written(workshop)) == calls


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("doctor", "--yes"), "without --prepare-standby"),
        (("doctor", "billing", "--prepare-standby", "checkout"), "together with policies to check"),
        (("doctor", "--prepare-standby", "chekout", "--yes"), "There is no policy chekout"),
    ],
)
def test_usage(
    rotator: Rotator, workshop: Workshop, standby: str, arguments: tuple[str, ...], words: str
) -> None:
    """What cannot be meant is exit 2, and nothing is asked of anybody."""
    shown = rotator(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert words in shown.err
    assert workshop.simulator.events == ()


def test_refusals(rotator: Rotator, workshop: Workshop, standby: str) -> None:
    """A policy without a standby project is exit 1; a team token that may not read is exit 2 and the ability named."""
    shown = rotator("doctor", "--prepare-standby", "billing")
    assert (shown.code, shown.out) == (1, "")
    assert "billing has no standby project" in shown.err
    token = workshop.simulator.add_team_token(abilities=["read:projects", "read:routes"])
    shown = rotator(*PREPARE, LETTERMINT_TEAM_TOKEN=token.reveal())
    assert shown.code == 2
    assert "read:domains" in shown.err
    token = workshop.simulator.add_team_token(abilities=["read:projects", "write:routes", "read:domains"])
    shown = rotator(*PREPARE, "--yes", LETTERMINT_TEAM_TOKEN=token.reveal())
    assert shown.code == 2
    assert [one[2] for one in changes(shown)] == ["done", "failed", "not-tried"]
    assert "write:projects" in shown.err


def test_no_token_gets_out(workshop: Workshop, standby: str) -> None:
    """Neither output nor log nor audit holds a token, at DEBUG and with a failure in between."""
    workshop.simulator.faults.add("update-project", "error-after")
    shown = [
        workshop.process(*PREPARE, *more, ROTATOR_LOG_LEVEL="debug")
        for more in ((), ("--yes",), ("--yes", "-o", "table"))
    ]
    assert [one.code for one in shown] == [4, 4, 0]
    text = "".join(one.out + one.err for one in shown)
    text += (workshop.folder / ".rotator" / "audit.jsonl").read_text(encoding="utf-8")
    assert "standby.prepare.intent" in text
    assert not [token for token in workshop.simulator.issued() if token.reveal() in text]


def test_it_stops_after_the_change_at_hand(workshop: Workshop, standby: str) -> None:
    """A signal during a change lets that end, begins no other, and says how to go on; exit 143."""
    workshop.simulator.faults.add("create-route", "latency", seconds=4)
    child = workshop.start(*PREPARE, "--yes", "-o", "json")
    while workshop.simulator.faults.waiting():
        time.sleep(0.02)
    child.signal(signal.SIGTERM)
    shown = ended(child)
    assert shown.code == 143
    assert [one[2] for one in changes(shown)] == ["done", "not-tried", "not-tried"]
    assert "Stopping after the change at hand." in shown.err
    assert "Repeating the command does what is left." in shown.err
    assert written(workshop) == ["create-route"]
