"""What a person sees of `rotator doctor`, and that it ends when told to."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.cli.workshop import LONG_NAME, Ran, Workshop, ended

Rotator = Callable[..., Ran]
MARKS = ("ok", "warn", "FAIL", "skip", "?")


def test_the_table_is_grouped_and_says_what_to_do(rotator: Rotator, workshop: Workshop) -> None:
    """Who we are, what all share, then policy by policy; hints below what is wrong; the counts last."""
    workshop.simulator.regenerate(workshop.projects[0])
    shown = rotator("doctor", "-o", "table")
    assert shown.code == 4
    lines = shown.out.splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings[:-1] == ["runs as", "this rotator", "billing", LONG_NAME, "newsletter"]
    assert lines[1].split() == ["lettermint", "team", "Example"]
    dead = next(place for place, line in enumerate(lines) if line.startswith("  FAIL"))
    assert lines[dead].split()[:2] == ["FAIL", "destination.token"]
    below = lines[dead + 1 :]
    hint = next(line for line in below if line.lstrip().startswith("do: "))
    assert "`rotator rotate billing`" in hint
    assert not any(line.split()[:1] == ["ok"] for line in below[: below.index(hint)])
    assert lines[-1] == "33 checks: 27 ok, 1 FAIL, 4 skip, 1 ?"
    assert shown.err == "Checking 3 policies.\n"


def test_every_check_has_a_mark_and_a_place_is_said_once(rotator: Rotator, workshop: Workshop) -> None:
    """Five marks that can be told apart without colour; a destination's place stands above its checks."""
    shown = rotator("doctor", "billing", "-o", "table", LETTERMINT_API_URL="http://127.0.0.1:9/v1")
    assert shown.code == 6
    marked = [line.split()[0] for line in shown.out.splitlines() if line[:2] == "  " and line[2] != " "]
    assert {"ok", "FAIL", "skip"} <= set(marked)
    assert set(marked) - set(MARKS) == {"file"}
    assert shown.out.count("billing.json") == 1
    # What is skipped rests on what failed, and the hint stands there.
    assert shown.out.count("do: ") == 1
    assert "\x1b" not in shown.out


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_it_fits_the_terminal(workshop: Workshop, columns: int) -> None:
    """No line is wider than the terminal, but for a place or a name that could not be copied if it were cut."""
    workshop.simulator.revoke(workshop.tokens[1])
    shown = workshop.on_terminal("doctor", columns=columns, NO_COLOR="1").out
    assert "\x1b" not in shown
    assert "\u2026" not in shown
    places = (LONG_NAME, str(workshop.folder))
    for line in shown.splitlines():
        assert len(line) <= columns or any(place in line for place in places), line


def test_colour_repeats_what_the_mark_says(workshop: Workshop) -> None:
    """On a terminal marks are coloured."""
    workshop.simulator.revoke(workshop.tokens[0])
    shown = workshop.on_terminal("doctor", "billing").out
    assert "\x1b[32mok" in shown
    assert "\x1b[1;31mFAIL" in shown


def test_json_has_every_check_with_its_fields(rotator: Rotator, workshop: Workshop) -> None:
    """`ok`, who we are, and for each check policy, name, subject, result, detail and hint."""
    shown = rotator("doctor", "newsletter")
    assert shown.code == 0
    assert shown.json["ok"] is True
    assert [one["store"] for one in shown.json["identities"]] == ["lettermint", "file"]
    for check in shown.json["checks"]:
        assert list(check) == ["policy", "check", "subject", "result", "detail", "hint"]
    assert {check["policy"] for check in shown.json["checks"]} == {None, "newsletter"}


def test_no_policies(rotator: Rotator, workshop: Workshop) -> None:
    """A file without policies is a finding like any other, and the rest is checked."""
    (workshop.policies / "mail.yaml").write_text("policies: []\n", encoding="utf-8")
    shown = rotator("doctor")
    assert shown.code == 2
    results = {one["check"]: one["result"] for one in shown.json["checks"]}
    assert (results["policies"], results["provider.token"]) == ("failed", "ok")


@pytest.mark.parametrize("call", ["ping", "project"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_stops_at_once(workshop: Workshop, call: str, number: int, code: int) -> None:
    """A signal ends it although calls are still waited for, before and during the checks side by side."""
    workshop.simulator.faults.add(call, "latency", seconds=60, times=3)
    child = workshop.start("doctor")
    while len(workshop.simulator.faults.waiting()) and workshop.simulator.faults.waiting()[0]["times"] == 3:
        assert child.ended() is None, child.errors
        time.sleep(0.02)
    began = time.monotonic()
    child.signal(number)
    shown = ended(child)
    assert (shown.code, shown.out) == (code, "")
    assert "Traceback" not in shown.err
    assert time.monotonic() - began < 5


def test_nothing_is_left_behind(workshop: Workshop) -> None:
    """Where nothing was, nothing is: no journal, no key, no log, no leftover of a proof."""
    secrets = sorted(path.name for path in (workshop.folder / "secrets").iterdir())
    assert workshop.process("doctor").code == 0
    assert workshop.files() == set()
    assert sorted(path.name for path in (workshop.folder / "secrets").iterdir()) == secrets
