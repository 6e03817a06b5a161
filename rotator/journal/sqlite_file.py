"""The SQLite file: making it, bringing it up to date, and one guarded connection to it.

One connection with a lock is enough: a transaction takes milliseconds, and the threads of a process
would wait for each other inside SQLite anyway. Invariants:
- every write is one `BEGIN IMMEDIATE` transaction, so two processes never both read before one writes;
- after a fork the child opens a connection of its own (SQLite forbids carrying one over);
- a file that was moved, deleted or replaced under us is an error: going on would mean two journals,
  and two journals fence nobody.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
import threading
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rotator.clock import Clock, Instant
from rotator.errors import JournalUnavailable
from rotator.journal.base import JournalMisconfigured, NoJournal
from rotator.journal.database import Statements
from rotator.journal.migrations import MIGRATIONS, Migration
from rotator.journal.sqlite_errors import explain, is_read_only_system

log = logging.getLogger(__name__)

APPLICATION_ID: Final = 0x726F7461
"""In the file's header ("rota"): tells a journal from any other SQLite database."""

BUSY_SECONDS: Final = 5.0
"""How long a write waits for another process's; a third of the default lease, so a heartbeat that
waited this long still comes in time."""

_SERIAL: Final = "INTEGER PRIMARY KEY AUTOINCREMENT"
_RETRY_SECONDS: Final = 0.05


class SqliteFile:
    """An open journal file, or one in memory when `path` is None."""

    def __init__(
        self,
        path: Path | None,
        clock: Clock,
        *,
        create: bool,
        busy_seconds: float = BUSY_SECONDS,
        migrations: tuple[Migration, ...] = MIGRATIONS,
    ) -> None:
        self.path = None if path is None else path.absolute()
        self.where = "The journal in memory" if path is None else f"The journal {path}"
        self.created = False
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._migrations = migrations
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._identity: tuple[int, int] | None = None
        with self._explained(opening=True):
            self._open(create=create)
        _open_files.add(self)

    # use

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """For reading only: writes nothing to the file or its log."""
        with self._lock, self._explained():
            yield self._ready()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start; undone when the block raises."""
        with self._lock, self._explained():
            connection = self._ready()
            try:  # a signal may raise anywhere, so the transaction begins inside
                connection.execute("BEGIN IMMEDIATE")
                self._same_schema(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back(connection)
                raise

    def lock(self, database: Statements, *names: str) -> None:
        """Nothing to do: a write has the whole file to itself."""

    def now(self, database: Statements) -> Instant:
        """Whoever shares a file shares this machine's clocks."""
        del database
        return Instant.read(self._clock)

    def close(self) -> None:
        """Closes for good; harmless when it is closed."""
        with self._lock, self._explained():
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _same_schema(self, connection: sqlite3.Connection) -> None:
        if _version(connection) != self._migrations[-1].number:
            raise JournalUnavailable(
                f"{self.where} was brought to another schema by a newer rotator",
                then="This process does not write to it any more",
                remedy="Restart it with the newer version",
            )

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        # SQLite has rolled back already after some errors (a full disk), and cannot after others.
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _ready(self) -> sqlite3.Connection:
        if self._closed:
            raise JournalUnavailable(f"{self.where} was closed", then="Nothing was written")
        if self.path is not None and self._identity != _identity(self.path):
            raise JournalUnavailable(
                f"{self.where} was moved, deleted or replaced while it was open",
                then="This process does not write to either file",
                remedy="Put it back, or restart rotator to work with what is there now",
            )
        if self._connection is None:  # only after a fork
            self._connection = self._connect()
        return self._connection

    def forget_after_fork(self) -> None:
        """In the child of a fork: leaves the parent's connection alone and unused."""
        self._lock = threading.RLock()  # another thread of the parent may have held it for ever
        if self.path is not None and self._connection is not None:
            _parents_connections.append(self._connection)
            self._connection = None

    @contextmanager
    def _explained(self, *, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.where, self.path, opening=opening) from error

    # opening

    def _open(self, *, create: bool) -> None:
        if self.path is not None:
            self._prepare(self.path, create=create)
        connection = self._connect()
        try:
            if self.path is not None:
                self._identity = _identity(self.path)
            self._check(connection, create=create)
            self._use_wal(connection)
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, path: Path, *, create: bool) -> None:
        """Makes file and folder with tight permissions, or says why the file will not do."""
        if path.exists():
            if not stat.S_ISREG(path.stat().st_mode):
                raise self._misconfigured("is not a file", "Name the journal's file in ROTATOR_JOURNAL")
            if create and not is_read_only_system(path) and not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        if not create:
            raise self._missing()
        for folder in reversed([parent for parent in path.parents if not parent.exists()]):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            _sync_folder(path.parent)

    def _connect(self) -> sqlite3.Connection:
        # mode=rw: a file that vanished meanwhile is not made again, with other permissions, by SQLite.
        target = ":memory:" if self.path is None else f"{self.path.as_uri()}?mode=rw"
        connection = sqlite3.connect(
            target,
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,  # transactions are begun and ended here, in so many words
            check_same_thread=False,  # the lock sees to that
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _check(self, connection: sqlite3.Connection, *, create: bool) -> None:
        """Refuses what is not a journal of ours, before anything is changed in it."""
        connection.execute("BEGIN")  # one view of it all, while another process may be making it
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        version = _version(connection)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        newest = self._migrations[-1].number
        if application == APPLICATION_ID and version <= newest:
            return
        if application == APPLICATION_ID:
            raise self._misconfigured(
                f"was made by a newer rotator (its schema is {version}, this version knows {newest})",
                "Use that version, or name another journal in ROTATOR_JOURNAL",
            )
        if application or version or tables:
            raise self._misconfigured(
                "is a database of another program", "Name the journal's own file in ROTATOR_JOURNAL"
            )
        if not create:
            raise self._missing()

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switches a new file over. SQLite does not wait for others here, so we do."""
        if self.path is None:
            return
        attempts = int(self._busy_seconds / _RETRY_SECONDS) + 1
        for attempt in range(attempts):
            try:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == attempts - 1:
                    raise
                self._clock.wait(_RETRY_SECONDS)
        if mode != "wal":
            raise self._misconfigured(
                "is on a file system that cannot share memory between processes",
                "Name a file on a local disk in ROTATOR_JOURNAL, or use PostgreSQL",
            )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == self._migrations[-1].number:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            before = _version(connection)  # another process may have been faster
            for migration in self._migrations:
                if migration.number > before:
                    for statement in migration.statements:
                        connection.execute(statement.replace("{serial}", _SERIAL))
                    # A pragma takes no parameters; both values are our own integers.
                    connection.execute(f"PRAGMA user_version = {migration.number:d}")
            if before == 0:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
                connection.execute("INSERT INTO meta (name, value) VALUES ('id', ?)", (uuid.uuid4().hex,))
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        self.created = before == 0
        if before:
            log.info("journal schema is now %d (it was %d)", self._migrations[-1].number, before)

    def _misconfigured(self, what: str, remedy: str) -> JournalMisconfigured:
        return JournalMisconfigured(f"{self.where} {what}", then="Nothing was changed", remedy=remedy)

    def _missing(self) -> NoJournal:
        """Also of a file without a table, which is what a crash before the first commit leaves."""
        return NoJournal(
            f"{self.where} does not exist",
            then="Nothing was changed",
            remedy="Check ROTATOR_JOURNAL; `rotator run` makes a journal where there is none",
        )


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _sync_folder(folder: Path) -> None:
    """Makes the file's name durable, not only its content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_open_files: weakref.WeakSet[SqliteFile] = weakref.WeakSet()
_parents_connections: list[sqlite3.Connection] = []
"""Kept so that the child never closes what is the parent's."""


def _after_fork() -> None:
    for file in list(_open_files):
        file.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork)
