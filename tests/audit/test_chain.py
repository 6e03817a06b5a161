"""Checking the log: whatever was done to it is found, and said with its line."""

from __future__ import annotations

import fcntl
import json
import os
import tracemalloc
from collections.abc import Callable

import pytest

from rotator.audit.base import AuditEvent, AuditMisconfigured, ChainHead
from rotator.audit.chain import ChainReport, verify
from rotator.audit.line import MAX_LINE, Sealer
from rotator.secret import Secret
from tests.audit.conftest import KEY, Trail


def check(trail: Trail) -> ChainReport:
    return verify(trail.path, KEY, trail.anchor.head)


def test_an_intact_log_verifies(trail: Trail) -> None:
    """All lines good, the head named, the anchor found."""
    trail.write(5)
    last = trail.events[-1]
    assert check(trail) == ChainReport(ok=True, events=5, head=ChainHead(5, last["mac"]), anchored=True)


def test_the_report_as_json(trail: Trail) -> None:
    """The JSON of `audit verify` has these fields and no others, with and without a head."""
    assert check(trail).as_json() == {
        "ok": True,
        "events": 0,
        "head": None,
        "anchored": False,
        "problem": None,
    }
    trail.write()
    assert check(trail).as_json() == {
        "ok": True,
        "events": 1,
        "head": {"seq": 1, "mac": trail.events[0]["mac"]},
        "anchored": True,
        "problem": None,
    }


def test_no_log_and_no_anchor_is_an_intact_log(trail: Trail) -> None:
    """Before the first event there is nothing to be wrong; the same for an empty file."""
    assert check(trail).ok
    trail.path.parent.mkdir()
    trail.path.touch()
    assert check(trail).ok


@pytest.mark.parametrize("line", range(5))
def test_every_single_changed_byte_is_found(trail: Trail, line: int) -> None:
    """A byte flipped anywhere in a line: the line is named, and the events before it counted."""
    trail.write(5)
    trail.anchor.head = None
    lines = trail.lines
    for position in range(0, len(lines[line]), 7):
        changed = bytearray(lines[line])
        changed[position] ^= 1
        trail.lines = [*lines[:line], bytes(changed), *lines[line + 1 :]]
        report = check(trail)
        assert not report.ok
        assert report.events == line
        assert f"line {line + 1} " in (report.problem or "")


def test_the_same_fields_in_another_spelling_are_a_change(trail: Trail) -> None:
    """Spaces, order, escapes and doubled keys are not what rotator writes, though the JSON says the same."""
    trail.write()
    (line,) = trail.lines
    event = json.loads(line)
    for spelling in (
        json.dumps(event).encode(),
        line.replace(b"billing", b"b\\u0069lling"),
        line.replace(b'{"actor"', b'{"policy":"other","actor"'),
        line.replace(b"}\n", b"} \n"),
        line.replace(b"\n", b"\r\n"),
    ):
        trail.lines = [spelling if spelling.endswith(b"\n") else spelling + b"\n"]
        assert check(trail).problem is not None, spelling


DAMAGE: list[tuple[str, Callable[[list[bytes]], list[bytes]], str]] = [
    ("first line removed", lambda a: a[1:], "line 1 is event 2: one event is missing before it"),
    ("one line removed", lambda a: a[:2] + a[3:], "line 3 is event 4: one event is missing before it"),
    ("two lines removed", lambda a: a[:1] + a[3:], "line 2 is event 4: 2 events are missing before it"),
    ("two lines swapped", lambda a: [a[0], a[2], a[1], *a[3:]], "line 2 is event 3: one event is missing"),
    ("a line doubled", lambda a: [*a[:2], a[1], *a[2:]], "line 3 is event 2 once more"),
    ("an old line at the end", lambda a: [*a, a[0]], "line 6 is event 1 once more"),
    ("an old line at the start", lambda a: [a[4], *a], "line 1 is event 5: 4 events are missing before it"),
    ("an empty line", lambda a: [*a[:3], b"\n", *a[3:]], "line 4 is not as it was written"),
    ("a foreign line", lambda a: [*a[:3], b'{"event":"x.y"}\n', *a[3:]], "line 4 is not as it was written"),
    (
        "the end cut off",
        lambda a: a[:3],
        "cut off after line 3: 2 events that the journal remembers are missing",
    ),
    (
        "one event cut off",
        lambda a: a[:4],
        "cut off after line 4: 1 event that the journal remembers is missing",
    ),
    ("everything cut off", lambda _: [], "cut off after line 0: 5 events"),
    ("half a line cut off", lambda a: [*a[:4], a[4][:50]], "line 5 has 50 bytes and no end"),
    ("a line end cut off", lambda a: [*a[:4], a[4][:-1]], "line 5 has "),
    ("a line joined to the next", lambda a: [a[0], a[1][:-1], *a[2:]], "line 2 is not as it was written"),
]


@pytest.mark.parametrize(("damage", "said"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_damage_is_found_and_named(
    trail: Trail, damage: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    """Removed, moved, repeated, inserted, cut: one sentence says what, and where."""
    trail.write(5)
    trail.lines = damage(trail.lines)
    report = check(trail)
    assert not report.ok
    assert said in (report.problem or "")


def test_a_removed_file_is_a_cut_log(trail: Trail) -> None:
    """Where the journal remembers events, a missing file is no empty log."""
    trail.write(2)
    trail.path.unlink()
    assert (
        check(trail).problem
        == "the end is cut off after line 0: 2 events that the journal remembers are missing"
    )


def test_without_an_anchor_a_cut_tail_cannot_show_and_the_report_says_so(trail: Trail) -> None:
    """`anchored` false: the chain holds as far as it goes, and nobody knows how far it went."""
    trail.write(5)
    trail.lines = trail.lines[:3]
    trail.anchor.head = None
    report = check(trail)
    assert (report.ok, report.events, report.anchored) == (True, 3, False)


def test_an_anchor_that_is_behind_is_found_on_the_way(trail: Trail) -> None:
    """The journal may have missed the last events; the one it remembers is in its place."""
    trail.write(3)
    trail.anchor.writable = False
    trail.write(2)
    report = check(trail)
    assert (report.ok, report.events, report.anchored) == (True, 5, True)


def test_a_log_written_anew_with_the_right_key_is_found(trail: Trail) -> None:
    """Whoever has the key can forge a chain, but not the one the journal remembers."""
    trail.write(3)
    remembered = trail.anchor.head
    trail.path.unlink()
    trail.anchor.head = None
    trail.write(4)
    report = verify(trail.path, KEY, remembered)
    assert (report.ok, report.anchored, report.events) == (False, False, 3)
    assert "line 3 is not the event that the journal remembers as number 3" in (report.problem or "")


def test_lines_of_another_log_with_the_same_key_do_not_fit(
    trail: Trail, another_trail: Callable[[str], Trail]
) -> None:
    """A genuine line with the right number from elsewhere continues another chain."""
    trail.write(3)
    other = another_trail("other")
    other.clock.advance(100)
    other.write(3)
    trail.lines = [*trail.lines[:2], other.lines[2]]
    trail.anchor.head = None
    assert check(trail).problem == "line 3 does not continue line 2: it comes from another log"


def test_the_wrong_key_is_named_as_a_possible_cause(trail: Trail) -> None:
    """If not even the first line fits, it may be the key."""
    trail.write(2)
    report = verify(trail.path, Secret("another key entirely"), None)
    assert (report.ok, report.events, report.head) == (False, 0, None)
    assert "line 1 " in (report.problem or "")
    assert "another key" in (report.problem or "")


def test_a_line_sealed_without_a_number_is_not_a_line(trail: Trail) -> None:
    """Genuine by its MAC but without the fields of a line: not ours."""
    trail.write()
    raw, _ = Sealer(KEY).seal({"event": "x.y"})
    trail.lines = [*trail.lines, raw + b"\n"]
    assert "line 2 is not as it was written" in (check(trail).problem or "")


def test_a_line_being_written_is_no_damage(trail: Trail) -> None:
    """While a writer holds the lock, half a line at the end is its business; once it is free, it is torn."""
    trail.write(2)
    with trail.path.open("ab") as file:
        file.write(b'{"half":')
    fd = os.open(trail.path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert check(trail).ok
    os.close(fd)
    assert "line 3 has 8 bytes and no end" in (check(trail).problem or "")


def test_checking_does_not_stop_writers(trail: Trail) -> None:
    """The lock is not kept: after a check of a torn log the next writer repairs it at once."""
    trail.write(2)
    with trail.path.open("ab") as file:
        file.write(b'{"half":')
    assert not check(trail).ok
    before = trail.clock.boot()
    trail.writer().record(AuditEvent("test.step"))
    assert trail.clock.boot() == before
    assert check(trail).ok


@pytest.mark.parametrize("end", [b"\n", b""])
def test_an_endless_line_is_read_in_bounded_memory(trail: Trail, end: bytes) -> None:
    """However long a line is, no more than a little over one line's length is held."""
    trail.write()
    with trail.path.open("ab") as file:
        file.truncate(trail.path.stat().st_size + 64 * MAX_LINE)
        file.seek(0, os.SEEK_END)
        file.write(end)
    tracemalloc.start()
    try:
        report = check(trail)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "line 2 is longer than a line may be" in (report.problem or "")
    assert peak < 8 * MAX_LINE


def test_deeply_nested_json_is_a_changed_line(trail: Trail) -> None:
    """A line made to exhaust the parser is reported like any other."""
    trail.write()
    trail.lines = [*trail.lines, b"[" * 100_000 + b"\n", b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n"]
    assert "line 2 is not as it was written" in (check(trail).problem or "")


def test_a_log_that_cannot_be_read_is_an_error(trail: Trail) -> None:
    """Not a problem of the chain: the settings name something that is no file."""
    trail.path.mkdir(parents=True)
    with pytest.raises(AuditMisconfigured, match="cannot be read"):
        check(trail)
