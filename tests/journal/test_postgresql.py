"""The PostgreSQL journal: the contract, and what only a server has to promise."""

from __future__ import annotations

import threading
import time
import traceback
from contextlib import contextmanager

import psycopg
import pytest

from rotator.audit.base import ChainHead
from rotator.clock import SystemClock
from rotator.errors import Busy, JournalUnavailable, LeaseLost
from rotator.journal.base import JournalMisconfigured, NoJournal
from rotator.journal.database import CommitUnclear
from rotator.journal.holder import this_process
from rotator.journal.migrations import MIGRATIONS, Migration
from rotator.journal.postgresql import PostgresqlJournal
from rotator.journal.postgresql_server import PostgresqlServer
from rotator.secret import Secret
from tests.journal.builders import PROJECT, rotation, stranger
from tests.journal.contract import JournalContract
from tests.postgresql_server import PASSWORD

NEXT = Migration(MIGRATIONS[-1].number + 1, ("CREATE TABLE later (name TEXT)",))


@pytest.fixture(scope="session")
def template(postgresql):
    """One database whose tables are cleared between tests: making one takes longer than most tests."""
    return postgresql.new_database()


@pytest.fixture
def database(postgresql, template):
    postgresql.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", template)
    return template


@pytest.fixture
def make_journal(postgresql, database, clock):
    opened = []

    def make(**options):
        values = {"audit_log": "host:/audit", **options}
        name = values.pop("database", database)
        url = values.pop("url", postgresql.url(name))
        opened.append(
            PostgresqlJournal.open(Secret(url), "postgresql://here/it", values.pop("clock", clock), **values)
        )
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


class TestPostgresqlJournal(JournalContract):
    """The contract, over a server. Time passes by making every row that much older, and by itself: on a busy machine a
    second and more between two lines of a test."""

    GIVE = 5.0

    @pytest.fixture
    def elapse(self, postgresql, database):
        def age(seconds):
            postgresql.execute(
                f"UPDATE leases SET expires_wall = expires_wall - {seconds}, expires_boot = expires_boot - {seconds};"
                + "".join(
                    f"UPDATE {table} SET wall = wall - {seconds}, boot = boot - {seconds};"
                    for table in ("slots", "pauses", "claims", "notices")
                ),
                database,
            )

        return age


class TestBehindAPooler(TestPostgresqlJournal):
    """The same where every transaction gets another session, as a pooler may do."""

    @pytest.fixture(autouse=True)
    def pooled(self, monkeypatch):
        monkeypatch.setattr(PostgresqlServer, "_give_back", lambda self, connection: connection.close())


def test_lease_time_is_the_servers(make_journal):
    """A lease of one second ends after a second of the server, whatever this machine's clock says."""
    journal = make_journal()
    lease = journal.acquire((PROJECT,), stranger(), ttl=1.0)
    with pytest.raises(Busy):
        journal.acquire((PROJECT,), stranger("other"), ttl=1.0)

    time.sleep(1.05)

    with pytest.raises(LeaseLost, match="without a heartbeat"):
        journal.check(lease)
    assert journal.acquire((PROJECT,), stranger("other"), ttl=1.0).epochs == {PROJECT: 2}


def test_each_audit_log_has_a_head_of_its_own(make_journal):
    """Two machines with a log each do not move each other's chain."""
    one, other = make_journal(), make_journal(audit_log="other:/audit")

    one.set_audit_head(ChainHead(9, "m9"))

    assert other.audit_head() is None
    other.set_audit_head(ChainHead(1, "n1"))
    assert (one.audit_head(), other.audit_head()) == (ChainHead(9, "m9"), ChainHead(1, "n1"))


def test_nothing_stays_in_the_session(make_journal):
    """No prepared statement, setting or lock outlives a transaction."""
    journal = make_journal()
    lease = journal.acquire((PROJECT,), stranger(), ttl=15)
    for _ in range(12):
        journal.save(lease, rotation())
    (connection,) = journal._database._idle

    assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
    assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
    assert connection.execute("SHOW application_name").fetchone() == ("rotator",)


def test_processes_that_start_together_make_one_journal(make_journal):
    """Eight openers of an empty database: one makes the journal, all have the same."""
    gate, journals = threading.Barrier(8), []

    def start():
        gate.wait()
        journals.append(make_journal())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({journal.id for journal in journals}) == 1
    assert sorted(journal.created for journal in journals) == [False] * 7 + [True]


# restarts of the server


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_between_operations_is_not_noticed(make_journal, postgresql, how):
    """Broken connections are replaced, the server is waited for, and lease and record are still there."""

    class StartingClock(SystemClock):
        """Starts the server when somebody waits for it."""

        waited = False

        def wait(self, seconds, stop=None):
            if not self.waited:
                self.waited = True
                postgresql.start()
            return super().wait(seconds, stop)

    clock = StartingClock()
    journal = make_journal(clock=clock)
    lease = journal.acquire((PROJECT,), stranger(), ttl=60)
    getattr(postgresql, how)()

    journal.save(lease, rotation())

    assert clock.waited
    assert journal.rotation("r-1") == rotation()
    journal.check(lease)


def test_a_restart_during_an_operation_is_an_outage_to_retry(make_journal, postgresql):
    """Killed inside a transaction, nothing of it was written; the message says so and the next try works."""

    def die_inside(server):
        with server.write() as inside:
            inside.execute("INSERT INTO meta (name, value) VALUES ('half', 'done')")
            postgresql.kill()
            postgresql.start()
            inside.execute("SELECT 1")

    journal = make_journal(clock=SystemClock())
    with pytest.raises(JournalUnavailable, match="Nothing of this step was written") as caught:
        die_inside(journal._database)

    assert (caught.value.exit_code, caught.value.retryable, type(caught.value)) == (
        6,
        True,
        JournalUnavailable,
    )
    assert journal._meta("half") is None


@contextmanager
def lost_commit(server, *, written):
    """The connection breaks at the next commit, before or after the server heard of it."""
    commit = server._commit

    def lose(connection):
        server._commit = commit
        if written:
            connection.execute("COMMIT")
        connection.execute("SELECT 1")
        with psycopg.connect(**connection.info.get_parameters(), password=PASSWORD) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        commit(connection)

    server._commit = lose
    yield
    server._commit = commit


def test_a_lease_whose_commit_lost_its_answer_is_looked_up(make_journal):
    """Written, it is ours; the epoch rose once."""
    journal = make_journal()
    with lost_commit(journal._database, written=True):
        lease = journal.acquire((PROJECT,), stranger(), ttl=15)

    journal.check(lease)
    assert lease.epochs == {PROJECT: 1}


def test_a_commit_that_lost_its_answer_is_not_called_a_failure(make_journal):
    """Not written, it is not ours; whoever asked hears that nobody knows, and may ask again."""
    journal = make_journal()
    with (
        lost_commit(journal._database, written=False),
        pytest.raises(CommitUnclear, match="is not known") as caught,
    ):
        journal.acquire((PROJECT,), stranger(), ttl=15)

    assert (caught.value.exit_code, caught.value.retryable) == (6, True)
    assert journal.acquire((PROJECT,), stranger(), ttl=15).epochs == {PROJECT: 1}


def test_a_server_that_is_away_is_an_outage(make_journal, postgresql, clock):
    """Away for longer than an operation waits: exit 6, nothing was written, and the next ones do not wait again."""
    journal = make_journal()
    postgresql.stop()
    try:
        with pytest.raises(JournalUnavailable, match="cannot be reached") as caught:
            journal.rotations()
        waited = len(clock.waits)
        with pytest.raises(JournalUnavailable, match="a moment ago"):
            journal.rotations()
        with pytest.raises(JournalUnavailable, match="cannot be reached"):
            make_journal()
        assert len(clock.waits) == waited > 0
    finally:
        postgresql.start()

    clock.advance(2)
    assert (caught.value.exit_code, caught.value.retryable) == (6, True)
    assert journal.rotations() == []


def test_a_writer_that_stalls_delays_others_within_bounds(make_journal, postgresql, database):
    """A lock held by somebody else's transaction ends in an error that may be retried, not in a hang."""
    journal = make_journal()
    lease = journal.acquire((PROJECT,), stranger(), ttl=60)
    with psycopg.connect(postgresql.url(database)) as other:
        other.execute("LOCK TABLE rotations")
        began = time.monotonic()
        with pytest.raises(JournalUnavailable, match=r"locked|in time"):
            journal.save(lease, rotation())

    assert time.monotonic() - began < 10
    journal.save(lease, rotation())


# what is wrong with the place


def test_no_journal_is_made_for_readers(make_journal):
    """Without `create` an empty database stays empty."""
    for _ in range(2):
        with pytest.raises(NoJournal, match="does not exist"):
            make_journal(create=False)


def refused(caught):
    """Exit 2 with a remedy, and the password nowhere, tracebacks included."""
    error = caught.value
    told = "".join(traceback.format_exception(error)) + repr(error)
    return error.exit_code == 2 and bool(error.remedy) and PASSWORD not in told and "wrong-Pa55" not in told


def test_wrong_addresses_say_what_to_mend(make_journal, postgresql, database):
    """Password, database, user, encryption and syntax: each exit 2, none with the password."""
    for url, words in (
        (postgresql.url(database, password="wrong-Pa55"), "the password"),
        (postgresql.url("nowhere"), "does not exist"),
        (postgresql.url(database) + "?sslmode=require", "as safely"),
        (postgresql.url(database) + "?no_such_option=wrong-Pa55", "does not understand"),
    ):
        with pytest.raises(JournalMisconfigured, match=words) as caught:
            make_journal(url=url)
        assert refused(caught), url


def test_missing_rights_say_what_to_grant(make_journal, postgresql, database):
    """A user that may not make tables, and one that may not write to them."""
    postgresql.execute("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'wrong-Pa55'")
    url = postgresql.url(database, "reader", "wrong-Pa55")
    with pytest.raises(JournalMisconfigured, match="may make no tables") as caught:
        make_journal(url=url)
    assert refused(caught)

    make_journal()
    postgresql.execute(
        "GRANT USAGE ON SCHEMA public TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        database,
    )
    reader = make_journal(url=url)
    assert reader.rotations() == []
    with pytest.raises(JournalUnavailable, match="rights"):
        reader.take_slot("rotate", limit=1, window=60)


def test_a_server_that_takes_no_writes(make_journal, postgresql, database):
    """A read-only session can be read from; a write says where to go."""
    make_journal()
    reader = make_journal(url=postgresql.url(database) + "?options=-cdefault_transaction_read_only%3Don")

    assert reader.rotations() == []
    with pytest.raises(JournalUnavailable, match="takes no writes") as caught:
        reader.take_slot("rotate", limit=1, window=60)
    assert "primary" in caught.value.remedy


def test_another_encoding_is_refused(make_journal, postgresql):
    """A database that cannot hold every text is named, with the command that makes a better one."""
    latin = postgresql.new_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")

    with pytest.raises(JournalMisconfigured, match="encoding LATIN1") as caught:
        make_journal(database=latin)
    assert refused(caught)


def test_tables_of_another_program_are_left_alone(make_journal, postgresql, database):
    """A schema in which a name of ours is taken is not touched."""
    postgresql.execute("CREATE TABLE meta (name TEXT, value TEXT, other TEXT)", database)

    with pytest.raises(JournalMisconfigured, match=r"another program \(meta\)"):
        make_journal()
    assert postgresql.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database) == [
        (1,)
    ]


def test_an_older_journal_is_brought_up_to_date_and_a_newer_one_refused(make_journal):
    """The newer version migrates; the older one does not open it, and one that has it open stops writing."""
    old = make_journal()
    new = make_journal(migrations=(*MIGRATIONS, NEXT))

    assert (new.id, new.created) == (old.id, False)
    with pytest.raises(JournalUnavailable, match="newer rotator"):
        old.take_slot("rotate", limit=1, window=60)
    with pytest.raises(JournalMisconfigured, match="newer rotator"):
        make_journal()
    new.take_slot("rotate", limit=1, window=60)


def test_a_journal_replaced_while_it_is_open_is_not_written_to(make_journal, postgresql, database):
    """Two journals fence nobody, so the process that knew the former one stops."""
    journal = make_journal()
    postgresql.execute("UPDATE meta SET value = 'another' WHERE name = 'id'", database)

    with pytest.raises(JournalUnavailable, match="another one than"):
        journal.take_slot("rotate", limit=1, window=60)


def test_a_dead_holder_on_the_server_is_free_at_once(make_journal, start_child, postgresql, database):
    """Of eight processes one gets the lease; killed, it holds nobody up."""
    clock = SystemClock()
    journal = make_journal(clock=clock)
    children = [start_child("lease", postgresql.url(database)) for _ in range(4)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    lines = [child.stdout.readline().strip() for child in children]
    assert sorted(lines) == ["busy"] * 3 + ["won 1"]
    me = this_process(clock, "rotator run")
    with pytest.raises(Busy):
        journal.acquire((PROJECT,), me, ttl=15)

    winner = children[lines.index("won 1")]
    winner.kill()
    winner.wait()

    assert journal.acquire((PROJECT,), me, ttl=15).epochs == {PROJECT: 2}
