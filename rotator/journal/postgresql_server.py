"""The PostgreSQL server: a few connections to it, its transactions, and bringing its tables up to date.

Invariants:
- each operation is one short transaction, and nothing of it outlives its end in the session: no prepared
  statement, no setting, no session lock. So a pooler that gives each transaction another session does no harm;
- what is read before it is written is locked by name, with an advisory lock that ends with the transaction;
- the time that counts is the server's, asked for after the locks;
- a connection that broke while it was idle is replaced before anything was sent that could count.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from rotator.clock import Clock, Instant
from rotator.errors import JournalUnavailable
from rotator.journal.base import JournalMisconfigured, NoJournal
from rotator.journal.database import CommitUnclear, Statements, Values
from rotator.journal.migrations import MIGRATIONS, Migration
from rotator.journal.postgresql_errors import GRANT, PRIMARY, broken, explain, explain_connection, passes
from rotator.secret import Secret

log = logging.getLogger(__name__)

CONNECTIONS: Final = 4
"""At most so many of one process; further threads wait for milliseconds."""

WAIT_SECONDS: Final = 5.0
"""How long an operation waits for another thread, for a lock and for an answer; a third of the default lease."""

RECONNECT_SECONDS: Final = 2.0
"""How long an operation waits for a server that restarts. Short, because a minted token may wait to be published
meanwhile, and whoever publishes it can record that later."""

_REST_SECONDS: Final = 1.0
"""After that was in vain, operations fail at once for so long: one outage is waited for once."""

_RETRY_SECONDS: Final = 0.2
_SERIAL: Final = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
_CLOCK: Final = "postgresql"
"""Stands for a boot in the tables: the server has one clock only."""

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('rotator ' || ?, 0))"
_BEGIN: Final = (
    "SET LOCAL statement_timeout = 5000; SET LOCAL lock_timeout = 5000;"
    " SET LOCAL idle_in_transaction_session_timeout = 5000"
)
_IDENTITY: Final = "SELECT name, value FROM meta WHERE name IN ('id', 'schema')"
_TABLES: Final = re.compile(r"CREATE TABLE (\w+)")
_PLACEHOLDER: Final = re.compile(r"\?|(?<!:):([a-z_]+)")

_DEFAULTS: Final[Mapping[str, Any]] = {
    "application_name": "rotator",
    "connect_timeout": "2",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Where the address says nothing else. Milliseconds for the last one, seconds for the others."""


class _Transaction:
    """Statements with SQLite's placeholders."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._cursor = psycopg.ClientCursor(connection)

    def execute(self, sql: str, values: Values = (), /) -> psycopg.Cursor[Any]:
        return self._cursor.execute(_translated(sql), values or None)

    def executemany(self, sql: str, values: Sequence[Values], /) -> None:
        for each in values:
            self.execute(sql, each)

    def several(self, sql: str) -> psycopg.Cursor[Any]:
        """Statements without values in one message; gives what the last one gave."""
        cursor = self._cursor.execute(sql)
        while cursor.nextset():
            pass
        return cursor


class PostgresqlServer:
    """Implements `database.Database`. `url` is an address as libpq takes it, `shown` the same for people."""

    def __init__(
        self,
        url: Secret,
        shown: str,
        clock: Clock,
        *,
        create: bool,
        connections: int = CONNECTIONS,
        migrations: tuple[Migration, ...] = MIGRATIONS,
    ) -> None:
        self.where = f"The journal {shown}"
        self.created = False
        self._url = url
        self._clock = clock
        self._migrations = migrations
        self._connections = connections
        self._opened: str | None = None
        """The journal's id, once it is known."""
        self._closed = False
        self._down: float | None = None
        """Until when, by the boot clock, nobody tries to connect."""
        self._forget()
        try:
            self._open(create=create)
        except BaseException:
            self.close()
            raise

    # use

    @contextmanager
    def read(self) -> Iterator[Statements]:
        """One transaction, which a read-only server takes too."""
        with self._transaction("BEGIN READ ONLY") as (database, _):
            yield database

    @contextmanager
    def write(self) -> Iterator[Statements]:
        """One transaction on the journal that was opened, and no other."""
        with self._transaction("BEGIN", _IDENTITY) as (database, found):
            self._same(dict(found))
            yield database

    def lock(self, database: Statements, *names: str) -> None:
        for name in names:
            database.execute(_LOCK, (name,))

    def now(self, database: Statements) -> Instant:
        row = database.execute("SELECT extract(epoch FROM clock_timestamp())::double precision").fetchone()
        return Instant(datetime.fromtimestamp(row[0], UTC), _CLOCK, row[0])

    def close(self) -> None:
        self._closed = True
        with self._guard:
            while self._idle:
                self._idle.pop().close()

    # transactions

    @contextmanager
    def _transaction(
        self, begin: str, first: str = "SELECT 1", *, opening: bool = False
    ) -> Iterator[tuple[_Transaction, list[Any]]]:
        """Begins on a connection that works; gives it back or, after an error that it may not survive, ends it."""
        connection: psycopg.Connection[Any] | None = None
        if self._pid != os.getpid():
            self._forget()  # a fork: the parent's connections are the parent's
        free = self._free
        if not free.acquire(timeout=WAIT_SECONDS):
            raise JournalUnavailable(
                f"{self.where} is in use by {self._connections} threads of this process",
                then="Nothing of this step was written to the journal",
            )
        try:
            connection, transaction, found = self._begun(f"{begin}; {_BEGIN}; {first}", opening=opening)
            try:
                yield transaction, found
            except psycopg.Error as error:
                raise explain(error, self.where, opening=opening) from error
            self._commit(connection)
        except BaseException:
            if connection is not None:
                self._roll_back(connection)
            raise
        finally:
            if connection is not None:
                self._give_back(connection)
            free.release()

    def _begun(self, statements: str, *, opening: bool) -> tuple[Any, _Transaction, list[Any]]:
        """A transaction begun. Nothing was written by then, so a broken connection is simply replaced."""
        give_up_at = self._clock.boot() + RECONNECT_SECONDS
        while True:
            connection, fresh = self._connection(give_up_at, opening=opening)
            try:
                transaction = _Transaction(connection)
                return connection, transaction, transaction.several(statements).fetchall()
            except psycopg.Error as error:
                gone = broken(error) or error.sqlstate == "57P03"
                self._roll_back(connection)
                if gone:
                    connection.close()
                self._give_back(connection)
                if not gone or (fresh and self._clock.boot() >= give_up_at):
                    raise explain(error, self.where, opening=opening) from error
                if fresh:
                    self._clock.wait(_RETRY_SECONDS)
            except BaseException:
                connection.close()
                raise

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            if not broken(error):
                raise explain(error, self.where, opening=False) from error
            raise CommitUnclear(
                f"{self.where} broke off the connection while it wrote",
                then="Whether this step was written to the journal is not known",
                remedy="Try again when the server is up; what was written is then found there",
            ) from error

    def _roll_back(self, connection: psycopg.Connection[Any]) -> None:
        if connection.closed:
            return
        status = connection.info.transaction_status
        if status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR):
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK")
        if connection.info.transaction_status != pq.TransactionStatus.IDLE:
            connection.close()

    # connections

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._free = threading.BoundedSemaphore(self._connections)
        self._idle: list[psycopg.Connection[Any]] = []

    def _connection(self, give_up_at: float, *, opening: bool) -> tuple[psycopg.Connection[Any], bool]:
        """A connection, and whether it was made just now."""
        if self._closed:
            raise JournalUnavailable(f"{self.where} was closed", then="Nothing was written")
        with self._guard:
            if self._idle:
                return self._idle.pop(), False
        if self._down is not None and self._clock.boot() < self._down:
            raise JournalUnavailable(
                f"{self.where} could not be reached a moment ago",
                then="Nothing of this step was written to the journal",
                remedy="Try again when the server is up",
            )
        while True:
            try:
                made = self._connect()
                self._down = None
                return made, True
            except psycopg.Error as error:
                # The driver's text may quote the address, so it is no part of what is raised.
                last = explain_connection(error, self.where, opening=opening)
                again = not opening and passes(error) and self._clock.boot() < give_up_at
            if not again:
                self._down = self._clock.boot() + _REST_SECONDS
                raise last
            self._clock.wait(_RETRY_SECONDS)

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            named = conninfo_to_dict(self._url.reveal())
        except psycopg.Error:
            named = None
        if named is None:  # outside of the handler, whose error quotes the address
            raise JournalMisconfigured(
                f"{self.where} has an address that the driver does not understand",
                then="Nothing was changed",
                remedy="Write it as postgresql://user:password@host/database, special characters as %xx",
            )
        return psycopg.connect(
            **{**_DEFAULTS, **named},
            client_encoding="utf8",
            autocommit=True,  # transactions are begun and ended here, in so many words
            prepare_threshold=None,
        )

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        if connection.closed:
            return
        with self._guard:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    # opening

    def _open(self, *, create: bool) -> None:
        with self._transaction("BEGIN READ ONLY", opening=True) as (database, _):
            version, tables = self._state(database)
            (encoding,) = database.execute("SHOW server_encoding").fetchone() or ("",)
            (may_create,) = database.execute(
                "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
            ).fetchone() or (False,)
            (standby,) = database.execute("SELECT pg_is_in_recovery()").fetchone() or (False,)
        if encoding != "UTF8":
            raise self._misconfigured(
                f"is in a database with the encoding {encoding}",
                "Make it a database of its own: CREATE DATABASE rotator ENCODING 'UTF8' TEMPLATE template0",
            )
        newest = self._migrations[-1].number
        if version is None and tables:
            raise self._misconfigured(
                f"shares its schema with tables of another program ({', '.join(tables)})",
                "Name a database of its own in ROTATOR_JOURNAL",
            )
        if version is None and not may_create:
            raise self._misconfigured("does not exist, and this user may make no tables there", GRANT)
        if version is None and not create:
            raise NoJournal(
                f"{self.where} does not exist",
                then="Nothing was changed",
                remedy="Check ROTATOR_JOURNAL; `rotator run` makes a journal where there is none",
            )
        if version is not None and version > newest:
            raise self._misconfigured(
                f"was made by a newer rotator (its schema is {version}, this version knows {newest})",
                "Use that version, or name another journal in ROTATOR_JOURNAL",
            )
        if standby and (create or version != newest):
            raise self._misconfigured("is on a standby server, which takes no writes", PRIMARY)
        if version != newest:
            self._migrate()
        with self._transaction("BEGIN READ ONLY", _IDENTITY, opening=True) as (_, found):
            self._opened = dict(found).get("id")

    def _state(self, database: _Transaction) -> tuple[int | None, list[str]]:
        """The schema's number, None without a journal; and which of our tables' names are taken."""
        names = [
            match[1]
            for step in self._migrations
            for text in step.statements
            for match in [_TABLES.match(text)]
            if match
        ]
        taken = [
            name for name in names if database.execute("SELECT to_regclass(?)", (name,)).fetchone() != (None,)
        ]
        ours = database.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND table_name = 'meta' AND column_name IN ('name', 'value')"
        ).fetchone() == (2,)
        found = database.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() if ours else None
        return (int(found[0]), taken) if found is not None and found[0].isdecimal() else (None, taken)

    def _migrate(self) -> None:
        """Under a lock of its own: of several processes that start together one does it."""
        with self._transaction("BEGIN", opening=True) as (database, _):
            database.execute(_LOCK, ("migrations",))
            before, _ = self._state(database)
            for migration in self._migrations:
                if migration.number > (before or 0):
                    for statement in migration.statements:
                        database.execute(statement.replace("{serial}", _SERIAL))
            database.execute(
                "INSERT INTO meta (name, value) VALUES ('schema', ?)"
                " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(self._migrations[-1].number),),
            )
            if before is None:
                database.execute("INSERT INTO meta (name, value) VALUES ('id', ?)", (uuid.uuid4().hex,))
        self.created = before is None
        if before:
            log.info("journal schema is now %d (it was %d)", self._migrations[-1].number, before)

    def _same(self, found: Mapping[str, str]) -> None:
        if found.get("id") != self._opened:
            raise JournalUnavailable(
                f"{self.where} is another one than the one that was opened",
                then="This process does not write to either",
                remedy="Put it back, or restart rotator to work with what is there now",
            )
        if found.get("schema") != str(self._migrations[-1].number):
            raise JournalUnavailable(
                f"{self.where} was brought to another schema by a newer rotator",
                then="This process does not write to it any more",
                remedy="Restart it with the newer version",
            )

    def _misconfigured(self, what: str, remedy: str) -> JournalMisconfigured:
        return JournalMisconfigured(f"{self.where} {what}", then="Nothing was changed", remedy=remedy)


def _translated(sql: str) -> str:
    """SQLite's placeholders as psycopg's."""
    return _PLACEHOLDER.sub(lambda match: f"%({match[1]})s" if match[1] else "%s", sql)
