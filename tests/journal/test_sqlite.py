"""The SQLite journal: the contract, and what only a file can promise."""

from __future__ import annotations

import sqlite3
import stat

import pytest

from rotator.audit.base import ChainHead
from rotator.errors import JournalUnavailable
from rotator.journal.base import Hold, JournalMisconfigured, NoJournal
from rotator.journal.holder import this_process
from rotator.journal.migrations import MIGRATIONS, Migration
from rotator.journal.sqlite import SqliteJournal
from tests.journal.builders import PROJECT, T0, attention, facts, full_rotation, rotation, stranger, token
from tests.journal.contract import JournalContract


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def make_journal(path, clock):
    opened = []

    def make(**options):
        opened.append(SqliteJournal.open(path, clock, **options))
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


class TestSqliteJournal(JournalContract):
    """The contract, over a file."""


def fill(journal, clock):
    """One of every write."""
    lease = journal.acquire((PROJECT,), this_process(clock, "rotator run"), ttl=15)
    journal.set_key_check("c" * 32)
    journal.set_audit_head(ChainHead(3, "m" * 64))
    journal.save(lease, full_rotation())
    journal.save(
        lease, rotation("r-2", snapshot={"labels": {"tier": "prod"}, "destinations": [{"key": "LM"}]})
    )
    journal.remember_token(lease, token())
    journal.raise_attention(attention(), lease)
    journal.hold(Hold("billing-production", T0, "ana", "incident"))
    journal.take_slot("rotate", limit=3, window=60)
    journal.postpone_slots("rotate", 5)
    journal.remember_project(facts(), T0)
    return lease


def read_everything(journal, lease):
    """One of every read, and the writes that have nothing new to write."""
    return (
        journal.id,
        journal.key_check(),
        journal.audit_head(),
        journal.check(lease),
        journal.lease_of(PROJECT),
        journal.rotation("r-full"),
        journal.rotations("billing-production", limit=5),
        journal.unfinished(),
        journal.known_token(token().fingerprint),
        journal.attentions(),
        journal.holds(),
        journal.take_slot("rotate", limit=3, window=60, take=False),
        journal.project_facts(PROJECT),
        journal.remember_project(facts(), T0.replace(hour=23)),
        journal.set_audit_head(ChainHead(2, "older")),
        journal.set_key_check("c" * 32),
        journal.release_hold("nobody"),
    )


def bytes_of(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}


def test_reads_write_nothing(path, make_journal, clock):
    """Reading, and writing what is there already, leaves file and write-ahead log as they were."""
    journal = make_journal()
    lease = fill(journal, clock)
    before = bytes_of(path)
    assert set(before) == {"journal.db", "journal.db-wal"}

    read_everything(journal, lease)
    read_everything(make_journal(create=False), lease)

    assert bytes_of(path) == before


def test_a_reader_leaves_a_resting_journal_as_it_is(path, make_journal, clock):
    """Opening, reading and closing a journal nobody else uses changes no byte and leaves no file."""
    journal = make_journal()
    lease = fill(journal, clock)
    journal.close()
    before = bytes_of(path)
    assert set(before) == {"journal.db"}

    reader = make_journal(create=False)
    read_everything(reader, lease)
    reader.close()

    assert bytes_of(path) == before


def test_no_token_is_in_the_file(path, make_journal, clock):
    """After one of every write nothing in file or log has a token's prefix, whatever people typed."""
    journal = make_journal()
    leaked = "lm_" + "B" * 32
    lease = fill(journal, clock)
    journal.save(lease, rotation("r-3", reason=f"{leaked} is on a forum", message=leaked))
    journal.hold(Hold("other", T0, "ana", leaked))

    content = b"".join(bytes_of(path).values())

    assert b"fp_" in content
    assert b"is on a forum" in content
    assert b"lm_" not in content


def test_file_and_folders_are_for_their_owner_only(tmp_path, clock):
    """What is made is made with mode 0600 and 0700; folders that were there keep theirs."""
    tmp_path.chmod(0o755)
    path = tmp_path / "var" / "rotator" / "journal.db"
    journal = SqliteJournal.open(path, clock)
    fill(journal, clock)

    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    journal.close()

    assert modes == {
        "var": 0o700,
        "var/rotator": 0o700,
        "var/rotator/journal.db": 0o600,
        "var/rotator/journal.db-wal": 0o600,
        "var/rotator/journal.db-shm": 0o600,
    }
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["with space.db", "100%?x=1#y.db", "日誌.db"])
def test_any_file_name_will_do(tmp_path, clock, name):
    """Characters that mean something in a URI are only part of the name."""
    journal = SqliteJournal.open(str(tmp_path / name), clock)
    journal.close()

    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_commits_reach_the_disk_before_they_are_answered(make_journal):
    """Write-ahead log, full synchronisation and foreign keys are on."""
    connection = make_journal()._file._connection
    settings = [
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    ]

    assert settings == ["wal", 2, 1, 5000]


def test_a_journal_in_memory_leaves_no_file(tmp_path, clock, monkeypatch):
    """It behaves as an empty journal and exists nowhere else."""
    monkeypatch.chdir(tmp_path)
    journal = SqliteJournal.in_memory(clock)

    assert journal.created
    assert journal.rotations() == []
    fill(journal, clock)
    assert journal.rotation("r-full") == full_rotation()
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_journal_is_not_made_for_a_reader(path, clock):
    """Without `create` nothing appears on disk and the message says what makes a journal."""
    with pytest.raises(JournalMisconfigured, match=r"does not exist.*rotator run") as caught:
        SqliteJournal.open(path, clock, create=False)

    assert caught.value.exit_code == 2
    assert not path.exists()


def test_a_journal_whose_making_was_cut_short_is_made_again(path, clock):
    """An empty file is what a crash before the first commit leaves: nothing yet."""
    path.touch()
    with pytest.raises(NoJournal, match="does not exist"):
        SqliteJournal.open(path, clock, create=False)

    journal = SqliteJournal.open(path, clock)

    assert journal.created
    journal.close()


def test_a_closed_journal_says_so(make_journal):
    """Using a closed journal is an error of ours, told plainly; closing twice is fine."""
    journal = make_journal()
    journal.close()
    journal.close()

    with pytest.raises(JournalUnavailable, match="was closed"):
        journal.rotations()


NEXT = Migration(MIGRATIONS[-1].number + 1, ("ALTER TABLE holds ADD COLUMN colour TEXT",))


def test_an_older_journal_is_brought_forward(make_journal, clock):
    """Opening with a newer version adds what is new and keeps id and records; it is not newly made."""
    old = make_journal()
    fill(old, clock)
    old.close()

    new = make_journal(migrations=(*MIGRATIONS, NEXT))

    assert (new.created, new.id) == (False, old.id)
    assert new.rotation("r-full") == full_rotation()
    assert new._file._connection.execute("SELECT colour FROM holds").fetchall() == [(None,)]


def test_a_step_forwards_happens_whole_or_not_at_all(make_journal, clock):
    """A migration that fails half-way leaves the journal as the older version knows it."""
    fill(make_journal(), clock)
    broken = Migration(NEXT.number, (*NEXT.statements, "ALTER TABLE nothing ADD COLUMN x TEXT"))

    with pytest.raises(JournalUnavailable):
        make_journal(migrations=(*MIGRATIONS, broken))

    again = make_journal()
    assert again.holds().keys() == {"billing-production"}
    assert again._file._connection.execute("PRAGMA table_info(holds)").fetchall()[-1][1] == "document"


def test_a_newer_journal_is_refused(make_journal):
    """An older version does not touch a journal whose rules it does not know."""
    make_journal(migrations=(*MIGRATIONS, NEXT)).close()

    with pytest.raises(JournalMisconfigured, match="made by a newer rotator") as caught:
        make_journal()

    assert (caught.value.exit_code, caught.value.retryable) == (2, False)


def test_a_journal_made_newer_meanwhile_is_not_written_by_the_older(make_journal, clock):
    """A process that was running before the upgrade stops writing after it."""
    old = make_journal()
    lease = fill(old, clock)
    make_journal(migrations=(*MIGRATIONS, NEXT))

    with pytest.raises(JournalUnavailable, match=r"newer rotator.*Restart"):
        old.save(lease, rotation("r-9"))

    assert old.rotation("r-9") is None


def test_migrations_are_numbered_without_gaps():
    """Numbers rise by one from one, because the file's number is the count of steps done."""
    assert [migration.number for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


@pytest.mark.parametrize(
    ("query", "read", "named"),
    [
        (
            "UPDATE rotations SET document = replace(document, '\"running\"', '\"sleeping\"')",
            lambda journal: journal.rotation("r-2"),
            "rotation r-2: state is not one of running",
        ),
        (
            "UPDATE rotations SET document = '{}' WHERE id = 'r-full'",
            lambda journal: journal.rotations(),
            "rotation r-full: id is missing",
        ),
        (
            "UPDATE tokens SET document = ''",
            lambda journal: journal.known_token(token().fingerprint),
            "token fp_a",
        ),
        ("UPDATE holds SET document = '[]'", lambda journal: journal.holds(), "hold billing-production"),
        (
            "UPDATE attentions SET document = '[]'",
            lambda journal: journal.raise_attention(attention()),
            "attention billing-production unclear",
        ),
        (
            "UPDATE leases SET holder = '{}'",
            lambda journal: journal.lease_of(PROJECT),
            f"the lease of {PROJECT}",
        ),
        (
            "UPDATE leases SET holder = '{}'",
            lambda journal: journal.acquire((PROJECT,), stranger(), ttl=15),
            "a lease: id is missing",
        ),
        (
            "UPDATE projects SET document = '{}'",
            lambda journal: journal.project_facts(PROJECT),
            f"project {PROJECT}",
        ),
        (
            "UPDATE meta SET value = '{}' WHERE name = 'audit-head'",
            lambda j: j.audit_head(),
            "audit head: seq",
        ),
        (
            "DELETE FROM meta WHERE name = 'id'",
            lambda journal: SqliteJournal.open(journal._file.path, None),
            "id: it",
        ),
    ],
)
def test_a_record_that_cannot_be_read_is_named(make_journal, clock, query, read, named):
    """A record this version does not understand is an error that names it, never a crash or a guess."""
    journal = make_journal()
    fill(journal, clock)
    journal._file._connection.execute(query)

    with pytest.raises(JournalUnavailable, match=named) as caught:
        read(journal)

    assert caught.value.exit_code == 6
    assert not journal._file._connection.in_transaction


def test_an_interrupted_write_leaves_nothing_behind(make_journal, clock):
    """Whatever is raised inside a write undoes it and gives the lock back."""
    journal = make_journal()

    def interrupted():
        with journal._file.write() as database:
            database.execute("INSERT INTO meta (name, value) VALUES ('x', 'y')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert journal._meta("x") is None
    fill(make_journal(), clock)


def test_a_child_uses_a_connection_of_its_own(path, make_journal, clock, run_child):
    """After a fork the child opens the file anew, and the parent's connection goes on working."""
    lines = run_child("fork", path)

    assert lines == ["child: other connection, saved", "parent: same connection, sees r-child"]
    assert make_journal().rotation("r-child") is not None


def test_identity_is_kept_in_the_file(path, make_journal):
    """The header names the application, so no other database is mistaken for a journal."""
    make_journal()

    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (0x726F7461,)
    other.close()


@pytest.mark.parametrize(
    ("policy", "index"), [("billing-production", "rotations_by_policy"), (None, "rotations_by_start")]
)
def test_rotations_are_found_by_an_index(make_journal, path, monkeypatch, policy, index):
    """The newest of one policy, or of all, without reading every rotation that was ever made."""
    journal = make_journal()
    asked = []
    monkeypatch.setattr(journal, "_many", lambda *about, **values: asked.append((about[2], values)) or [])
    journal.rotations(policy, limit=2)
    ((query, values),) = asked
    with sqlite3.connect(path) as database:
        plan = " ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {query}", values))
    assert index in plan
    assert "TEMP B-TREE" not in plan
