"""`rotator audit export`, as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.workshop import Ran, Workshop

Rotator = Callable[..., Ran]
LOG = Path(".rotator/audit.jsonl")


@pytest.fixture
def log(rotator: Rotator, workshop: Workshop) -> Path:
    """The log of one rotation."""
    assert rotator("rotate", "billing", "--reason", "spring cleaning", "--yes").code == 0
    return workshop.folder / LOG


def exported(ran: Ran) -> list[dict]:
    return [json.loads(line) for line in ran.out.splitlines()]


@pytest.mark.parametrize("form", [(), ("-o", "json"), ("-o", "table")])
def test_each_event_is_a_line_of_json(rotator: Rotator, log: Path, form: tuple[str, ...]) -> None:
    """As many as the log has, in its order, whatever form is asked for; the count is on standard error."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    ran = rotator("audit", "export", *form)
    assert ran.code == 0
    events = exported(ran)
    assert [one["data"]["metadata"]["event_code"] for one in events] == [one["event"] for one in lines]
    assert [one["data"]["unmapped"]["data"] for one in events] == [one["data"] for one in lines]
    assert ran.err == f"{len(lines)} events of {len(lines)} exported, up to number {len(lines)}.\n"
    started = next(one for one in events if one["type"] == "rotator.audit.rotation.start.v1")
    assert (started["subject"], started["data"]["comment"]) == ("billing", "spring cleaning")


def test_a_forwarder_goes_on_after_what_it_has(rotator: Rotator, log: Path) -> None:
    """The number of the last event it has sent is all that it needs to keep."""
    first = exported(rotator("audit", "export"))
    assert exported(rotator("audit", "export", "--after", first[-1]["id"])) == []
    assert rotator("hold", "billing", "--reason", "audit week").code == 0
    (new,) = exported(rotator("audit", "export", "--after", first[-1]["id"]))
    assert (new["data"]["activity_name"], new["source"]) == ("Suspend", first[0]["source"])


@pytest.mark.parametrize(
    ("since", "all_of_them"),
    [("2026-11-01", True), ("2020-01-01T00:00:00+02:00", True), ("1h", True), ("9999-01-01", False)],
)
def test_since_takes_a_time_a_day_or_a_while(
    rotator: Rotator, log: Path, since: str, all_of_them: bool
) -> None:
    """What happened then or later."""
    ran = rotator("audit", "export", "--since", since)
    assert ran.code == 0
    assert bool(exported(ran)) == all_of_them


@pytest.mark.parametrize(
    "since", ["yesterday", "", "2026-13-01", "2026-11-21T09:00:00", "0s", "9999999999999w"]
)
def test_what_is_no_time_is_refused(rotator: Rotator, log: Path, since: str) -> None:
    """Exit 2, with what is accepted; nothing is written."""
    ran = rotator("audit", "export", f"--since={since}")
    assert (ran.code, ran.out) == (2, "")
    assert "2026-11-21T09:00:00Z" in ran.err


@pytest.mark.parametrize("harm", ["changed", "cut"])
def test_a_broken_chain_is_not_exported(rotator: Rotator, log: Path, harm: str) -> None:
    """Exit 4 before the first line: half a trail would be taken for a whole one."""
    text = log.read_bytes()
    log.write_bytes(
        text.replace(b"spring", b"summer") if harm == "changed" else text[: text[:-1].rindex(b"\n") + 1]
    )
    ran = rotator("audit", "export")
    assert (ran.code, ran.out) == (4, "")
    assert "is not as it was written" in ran.err
    assert "Nothing was exported" in ran.err


def test_without_a_key_nothing_can_be_told(rotator: Rotator, workshop: Workshop) -> None:
    """Exit 2 where nothing was ever rotated, and no journal, key or log is made."""
    assert rotator("audit", "export").code == 2
    assert workshop.files() == set()


def test_a_reader_that_goes_away_does_no_harm(workshop: Workshop, log: Path) -> None:
    """`rotator audit export | head -1` ends well, without a traceback."""
    child = workshop.from_scratch("audit", "export")
    assert child.stdout is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.stderr is not None
    assert "Traceback" not in child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 0
