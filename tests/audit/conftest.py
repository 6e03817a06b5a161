"""A trail to write to, and an anchor that remembers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rotator.audit.base import AuditEvent, ChainHead
from rotator.audit.jsonl import JsonlAudit
from rotator.errors import JournalUnavailable
from rotator.secret import Secret
from tests.conftest import FakeClock

KEY = Secret("0123456789abcdef" * 4)
ACTOR = {"host": "node-1", "user": "rotator", "pid": "4711", "command": "rotator run"}


class MemoryAnchor:
    """What a journal does for the audit: keeps the latest head. Can be told to fail."""

    def __init__(self) -> None:
        self.head: ChainHead | None = None
        self.readable = True
        self.writable = True

    def audit_head(self) -> ChainHead | None:
        if not self.readable:
            raise JournalUnavailable("The journal cannot be read")
        return self.head

    def set_audit_head(self, head: ChainHead) -> None:
        if not self.writable:
            raise JournalUnavailable("The journal cannot be written")
        if self.head is None or head.seq > self.head.seq:
            self.head = head


class Trail:
    """One log file with everything a test wants to do to it."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.path = path
        self.clock = clock
        self.anchor = MemoryAnchor()

    def writer(self, key: Secret = KEY, **options: Any) -> JsonlAudit:
        return JsonlAudit(self.path, key, self.anchor, self.clock, ACTOR, **options)

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            self.writer().record(AuditEvent("test.step", policy="billing", data={"n": self.clock.boot()}))
            self.clock.advance(1)

    @property
    def lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines(keepends=True)

    @lines.setter
    def lines(self, lines: list[bytes]) -> None:
        self.path.write_bytes(b"".join(lines))

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def trail(tmp_path: Path, clock: FakeClock) -> Trail:
    return Trail(tmp_path / ".rotator" / "audit.jsonl", clock)


@pytest.fixture
def another_trail(tmp_path: Path) -> Callable[[str], Trail]:
    return lambda name: Trail(tmp_path / name / "audit.jsonl", FakeClock())
