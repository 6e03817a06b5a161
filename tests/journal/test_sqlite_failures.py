"""What goes wrong with a file: each kind has its exit code and says what to do."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess

import pytest

from rotator.errors import JournalUnavailable
from rotator.journal.base import JournalMisconfigured
from rotator.journal.holder import this_process
from rotator.journal.sqlite import SqliteJournal
from tests.journal.builders import PROJECT, rotation


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def opened(path, clock):
    """A journal with one rotation and its lease."""
    journal = SqliteJournal.open(path, clock)
    lease = journal.acquire((PROJECT,), this_process(clock, "rotator run"), ttl=15)
    journal.save(lease, rotation("r-first"))
    yield journal, lease
    journal.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB of its own, and a function that mounts it again with other options."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder, lambda options: subprocess.run([mount, "-o", f"remount,{options}", folder], check=True)
    subprocess.run(["umount", "-l", folder], check=True)


def save_until_refused(journal, lease):
    """Saves ever more; gives the error and how many were saved."""
    for number in range(5000):
        try:
            journal.save(lease, rotation(f"r-{number}", message="x" * 20_000))
        except JournalUnavailable as error:
            return error, number
    pytest.fail("the disk never got full")


def test_a_full_disk_loses_nothing_saved(small_disk, clock):
    """On a full disk a save fails with exit code 6, everything saved before stays, and room heals it."""
    folder, remount = small_disk
    journal = SqliteJournal.open(folder / "journal.db", clock)
    lease = journal.acquire((PROJECT,), this_process(clock, "rotator run"), ttl=15)

    error, saved = save_until_refused(journal, lease)

    assert saved > 3
    assert "the disk is full" in str(error)
    assert (error.exit_code, error.retryable) == (6, True)
    assert len(journal.rotations()) == saved
    remount("size=4m")
    journal.save(lease, rotation("r-after"))
    assert journal.rotation("r-after") is not None
    journal.close()


def test_a_full_database_is_told_as_a_full_disk(opened):
    """SQLITE_FULL, whoever set the limit, is a full disk to the reader, and nothing half-written stays."""
    journal, lease = opened
    journal._file._connection.execute("PRAGMA max_page_count = 60")

    error, saved = save_until_refused(journal, lease)

    assert "the disk is full" in str(error)
    assert "Free some space" in error.remedy
    assert len(journal.rotations()) == saved + 1
    assert not journal._file._connection.in_transaction


def test_a_read_only_file_system_is_unavailable(small_disk, clock):
    """A file system that turned read-only is exit code 6, while open and when opened anew."""
    folder, remount = small_disk
    path = folder / "journal.db"
    journal = SqliteJournal.open(path, clock)
    lease = journal.acquire((PROJECT,), this_process(clock, "rotator run"), ttl=15)
    journal.close()
    remount("ro")

    for target in (path, folder / "other.db", folder / "new" / "journal.db"):
        with pytest.raises(JournalUnavailable, match="read-only file system") as caught:
            SqliteJournal.open(target, clock).save(lease, rotation())
        assert caught.value.exit_code == 6


def test_a_locked_journal_is_unavailable_for_the_moment(path, clock, opened):
    """Somebody else's endless transaction stops a write, not a read, and says what to look for."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = SqliteJournal.open(path, clock, busy_seconds=0.05)

    with pytest.raises(JournalUnavailable, match="locked by another process") as caught:
        waiting.set_key_check("c" * 32)
    assert (caught.value.exit_code, caught.value.retryable) == (6, True)
    assert waiting.rotation("r-first") is not None

    other.execute("ROLLBACK")
    waiting.set_key_check("c" * 32)
    waiting.close()
    other.close()


@pytest.mark.parametrize("content", [b"x" * 10, b"x" * 5000, b"SQLite format 4\0" + b"\0" * 4080])
def test_a_file_that_is_no_database_is_refused(path, clock, content):
    """A settings mistake: exit code 2, and the file is as it was."""
    path.write_bytes(content)

    with pytest.raises(JournalMisconfigured, match=r"not an SQLite database.*ROTATOR_JOURNAL") as caught:
        SqliteJournal.open(path, clock)

    assert (caught.value.exit_code, caught.value.retryable) == (2, False)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 7", "PRAGMA application_id = 7"]
)
def test_a_database_of_another_program_is_refused_untouched(path, clock, statement):
    """Somebody else's database is neither used nor switched to another journal mode."""
    with sqlite3.connect(path) as theirs:
        theirs.execute(statement)
    theirs.close()
    before = path.read_bytes()

    with pytest.raises(JournalMisconfigured, match="another program"):
        SqliteJournal.open(path, clock)

    assert path.read_bytes() == before


def test_a_damaged_journal_is_unavailable(path, clock, opened):
    """Pages of garbage are noticed, with advice that keeps the evidence."""
    journal, lease = opened
    for number in range(40):
        journal.save(lease, rotation(f"r-{number}", message="x" * 2000))
    journal.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)

    with pytest.raises(JournalUnavailable, match=r"is damaged \(SQLITE_\w+\).*rotator reconcile") as caught:
        SqliteJournal.open(path, clock).rotations()

    assert caught.value.exit_code == 6


@pytest.mark.parametrize("kind", ["folder", "pipe", "below a file", "too long"])
def test_a_path_that_cannot_be_a_journal_is_refused(path, clock, kind):
    """A folder, a pipe, a place below a file, a name no file can have: settings mistakes, exit code 2."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "below a file":
        path.touch()
        path = path / "journal.db"
    else:
        path = path / ("x" * 300)

    with pytest.raises(JournalMisconfigured) as caught:
        SqliteJournal.open(path, clock)

    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    assert "Name the journal's file in ROTATOR_JOURNAL" in caught.value.remedy


@pytest.fixture
def anybodys(tmp_path):
    """A folder that every user may reach, with the journal's folder in it."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder != folder.parent and not os.path.ismount(folder):
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "how", "expected"),
    [
        (0o777, 0o666, "create", "opened 1"),
        (0o777, 0o600, "create", "2 The journal .* cannot be opened: Permission denied"),
        (0o777, 0o444, "create", "2 The journal .* cannot be opened: Permission denied"),
        (0o777, 0o600, "read", "2 The journal .* may not be written: permission denied for .*journal.db"),
        (0o755, 0o666, "create", "2 The journal .* may not be written: permission denied for .*var"),
        (0o700, 0o666, "create", "2 The journal .* cannot be opened: Permission denied"),
        (0o755, None, "create", "2 The journal .* cannot be opened: Permission denied"),
    ],
)
def test_missing_permission_is_a_settings_mistake(
    anybodys, clock, run_child, folder_mode, file_mode, how, expected
):
    """Who may not open, write or make the journal is told so and what to change: exit code 2."""
    path = anybodys / "var" / "journal.db"
    if file_mode is None:
        path.parent.mkdir()
    else:
        journal = SqliteJournal.open(path, clock)
        journal.save(journal.acquire((PROJECT,), this_process(clock, "x"), ttl=1), rotation())
        journal.close()
        path.chmod(file_mode)
    path.parent.chmod(folder_mode)

    (line,) = run_child("as_nobody", path, how)
    path.parent.chmod(0o700)

    assert re.match(expected, line), line
    if expected.startswith("2"):
        assert "Give this user read and write permission for the file and its folder" in line


@pytest.mark.parametrize("what", ["deleted", "moved", "replaced"])
def test_a_journal_that_is_not_where_it_was_is_not_written(path, clock, opened, what):
    """A file taken away under an open journal stops it: two journals would fence nobody."""
    journal, lease = opened
    aside = path.with_name("aside.db")
    if what == "deleted":
        path.unlink()
    else:
        path.rename(aside)
    if what == "replaced":
        path.touch()

    with pytest.raises(JournalUnavailable, match="moved, deleted or replaced"):
        journal.save(lease, rotation("r-2"))
    with pytest.raises(JournalUnavailable, match="moved, deleted or replaced"):
        journal.check(lease)

    if what == "moved":
        aside.rename(path)
        journal.save(lease, rotation("r-2"))
        assert journal.rotation("r-2") is not None


def test_no_message_quotes_the_database(path, clock, opened):
    """Errors name SQLite's code, never its text, which may quote a statement or a value."""
    journal, lease = opened
    journal._file._connection.execute("DROP TABLE rotations")

    with pytest.raises(JournalUnavailable, match=r"failed \(SQLITE_ERROR\)") as caught:
        journal.save(lease, rotation())

    assert "rotations" not in str(caught.value)
