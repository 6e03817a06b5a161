"""Checks the audit log from its first line to its last, and its end against the journal."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rotator.audit.base import ChainHead, unreadable
from rotator.audit.line import MAX_LINE, NO_MAC, Line, NotGenuine, Sealer
from rotator.secret import Secret


@dataclass(frozen=True)
class ChainReport:
    """What `rotator audit verify` says."""

    ok: bool
    events: int
    """Lines that were checked and found good, up to the first problem."""
    head: ChainHead | None
    """The last good one."""
    anchored: bool
    """The event that the journal remembers was found in its place. Without it a cut tail cannot show."""
    problem: str | None = None
    """One sentence, with the line's number where there is one."""

    def as_json(self) -> dict[str, Any]:
        """The JSON of `rotator audit verify -o json`."""
        return {
            "ok": self.ok,
            "events": self.events,
            "head": {"seq": self.head.seq, "mac": self.head.mac} if self.head else None,
            "anchored": self.anchored,
            "problem": self.problem,
        }


class Broken(Exception):
    """The first problem found; its text is the sentence."""


def verify(path: Path, key: Secret, anchored_head: ChainHead | None) -> ChainReport:
    """Reads the log once, a line at a time; events recorded meanwhile do no harm.

    `anchored_head` is what the journal remembers, read before the call. Raises AuditMisconfigured or
    AuditUnavailable when the file cannot be read.
    """
    head: ChainHead | None = None
    anchored = False
    problem: str | None = None
    try:
        for line in genuine_lines(path, key):
            number, head = line.head.seq, line.head
            if anchored_head is not None and head.seq == anchored_head.seq:
                if head != anchored_head:
                    raise Broken(
                        f"line {number} is not the event that the journal remembers as number {number}: "
                        "the log was written anew"
                    )
                anchored = True
        events = head.seq if head else 0
        if anchored_head is not None and events < anchored_head.seq:
            missing = anchored_head.seq - events
            raise Broken(
                f"the end is cut off after line {events}: {missing} event{'' if missing == 1 else 's'} "
                "that the journal remembers" + (" is missing" if missing == 1 else " are missing")
            )
    except Broken as broken:
        problem = str(broken)
    except OSError as error:
        raise unreadable(path, error) from error
    return ChainReport(
        ok=problem is None, events=head.seq if head else 0, head=head, anchored=anchored, problem=problem
    )


def genuine_lines(path: Path, key: Secret) -> Iterator[Line]:
    """The lines of a log, each checked against its MAC and the line before it.

    Raises Broken at the first that is wrong, and OSError. A missing log has none.
    """
    sealer = Sealer(key)
    head: ChainHead | None = None
    for number, raw in enumerate(_lines(path), start=1):
        line = _genuine(sealer, raw, number)
        _in_place(line, number, head)
        head = line.head
        yield line


def _genuine(sealer: Sealer, raw: bytes, number: int) -> Line:
    try:
        return sealer.open(raw)
    except NotGenuine as error:
        cause = "it was changed, or the log was written with another key" if number == 1 else "it was changed"
        raise Broken(f"line {number} is not as it was written ({error}): {cause}") from error


def _in_place(line: Line, number: int, before: ChainHead | None) -> None:
    seq = line.head.seq
    if seq > number:
        gone = "one event is" if seq - number == 1 else f"{seq - number} events are"
        raise Broken(f"line {number} is event {seq}: {gone} missing before it")
    if seq < number:
        raise Broken(f"line {number} is event {seq} once more: it was repeated, moved or inserted")
    if line.prev != (before.mac if before else NO_MAC):
        raise Broken(f"line {number} does not continue line {number - 1}: it comes from another log")


def _lines(path: Path) -> Iterator[bytes]:
    """Complete lines. A missing file has none."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    number = 0
    with file:
        while True:
            start = file.tell()
            raw = file.readline(MAX_LINE + 1)
            if not raw.endswith(b"\n") and len(raw) <= MAX_LINE:
                raw = _settled(file, start)
            if not raw:
                return
            number += 1
            if not raw.endswith(b"\n"):
                what = (
                    "is longer than a line may be"
                    if len(raw) > MAX_LINE
                    else f"has {len(raw)} bytes and no end"
                )
                raise Broken(f"line {number} {what}: a write was cut short, or the log was changed")
            yield raw[:-1]


def _settled(file: BinaryIO, start: int) -> bytes:
    """What stands at the end of the file when nobody is writing; nothing while somebody is."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return b""
    try:
        file.seek(start)
        return file.readline(MAX_LINE + 1)
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
