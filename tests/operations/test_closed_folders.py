"""A folder of journal, audit log and key that this user may not enter: said as what it is, by whoever needs it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rotator.clock import SystemClock
from rotator.errors import InvalidInput, JournalUnavailable
from rotator.interrupt import Stop
from rotator.operations.doctor import disk
from rotator.operations.doctor.parts import Setup
from rotator.operations.doctor.report import Findings
from rotator.settings import resolve
from rotator.wiring import Wiring


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder with a file in it. Not below pytest's own folder, which other users cannot enter."""
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        outer.chmod(0o755)
        folder = outer / "state"
        folder.mkdir()
        (folder / "journal.db").write_bytes(b"x")
        folder.chmod(0)
        yield folder
        folder.chmod(0o700)


@contextmanager
def somebody() -> Iterator[None]:
    """As a user that is not root, who may read everything."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def setup_in(folder: Path) -> Setup:
    return Setup(
        warnings=(),
        lease=15.0,
        call_timeout=10.0,
        rotate_limit=3,
        api_url="https://api.lettermint.co/v1",
        journal=folder / "journal.db",
        audit_log=folder / "audit.jsonl",
        audit_key=folder / "audit.key",
        key_is_set=False,
    )


def test_doctor_takes_what_it_may_not_see_for_a_journal(closed: Path) -> None:
    """Then opening it tells what is wrong; taken for absent, a new one would be announced."""
    with somebody():
        assert setup_in(closed).begun
    assert not setup_in(closed.parent / "elsewhere").begun
    assert not setup_in(closed.parent / "state" / "journal.db").begun
    empty = closed.parent / "journal.db"
    empty.touch()
    assert not setup_in(closed.parent).begun
    empty.write_bytes(b"x")
    assert setup_in(closed.parent).begun


def test_doctor_looks_at_a_disk_from_outside_a_closed_folder(closed: Path) -> None:
    """A finding, and no traceback."""
    found = Findings()
    with somebody():
        assert not disk.exists(closed / "journal.db")
        disk.room(closed / "journal.db", found, "journal")
        assert not disk.folder_takes_files(closed / "new", found, "journal", variable="ROTATOR_JOURNAL")
    (check,) = found.checks
    assert "Permission denied" in check.detail
    assert "ROTATOR_JOURNAL" in check.hint


def test_reading_commands_say_that_the_folder_is_closed(closed: Path) -> None:
    """`status`, `history` and `audit` want to read: no absent journal, and nothing unexpected."""
    settings = resolve(
        {},
        {
            "ROTATOR_JOURNAL": f"sqlite:///{closed}/journal.db",
            "ROTATOR_AUDIT_LOG": str(closed / "audit.jsonl"),
        },
        None,
        stderr_is_tty=False,
    )
    announced: list[str] = []
    wiring = Wiring(
        settings,
        SystemClock(),
        stop=Stop(),
        observer=lambda _: None,
        announce=announced.append,
        unwritten=lambda *_: None,
        command="test",
    )
    with somebody():
        with pytest.raises(JournalUnavailable, match="Permission denied"):
            _ = wiring.journal_to_read
        with pytest.raises(InvalidInput, match="Permission denied"):
            _ = wiring.audit_key_to_read
    assert announced == []
