"""What the tables' code needs of a database: transactions, named locks, and the time that counts there.

One set of tables, leases and slots works on every database that implements this. Statements are written
with SQLite's placeholders (`?` and `:name`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from rotator.clock import Instant
from rotator.errors import JournalUnavailable

Values = Sequence[Any] | Mapping[str, Any]


class CommitUnclear(JournalUnavailable):
    """The answer to a commit was lost: the transaction may or may not have been written."""

    code = "journal-unclear"


class Rows(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Statements(Protocol):
    """One open transaction."""

    def execute(self, sql: str, values: Values = ..., /) -> Rows: ...

    def executemany(self, sql: str, values: Sequence[Values], /) -> object: ...


class Database(Protocol):
    """An open database. Every method raises JournalUnavailable."""

    where: str
    """Names the journal for people, as the beginning of a sentence; without a password."""
    created: bool

    def read(self) -> AbstractContextManager[Statements]:
        """For reading only."""
        ...

    def write(self) -> AbstractContextManager[Statements]:
        """One transaction, undone when the block raises. Raises CommitUnclear where that can happen."""
        ...

    def lock(self, database: Statements, *names: str) -> None:
        """Waits for every other transaction that locked one of these names, and keeps later ones out until
        this one ends. Name what is read before it is written; the leases before everything else."""
        ...

    def now(self, database: Statements) -> Instant:
        """The time that leases and slots count by. Ask after `lock`, which may have waited."""
        ...

    def close(self) -> None: ...
